// Runs programs for sandbox.py: one request per line on stdin, one answer per line on stdout.
// node worker.mjs INTERPRETER.wasm STAND_INS OPTIONS, where OPTIONS are {"memory_bytes": …, "file_bytes": …}

import fs from "node:fs";
import { createInterface } from "node:readline";

import { Board, Stop } from "./board.mjs";
import { prepare } from "./source.mjs";
import { Interpreter, PythonError } from "./vm.mjs";

const [wasm, standIns] = process.argv.slice(2);
const { memory_bytes: memoryBytes, file_bytes: fileBytes } = JSON.parse(process.argv[4]);
const module = new WebAssembly.Module(fs.readFileSync(wasm));
const library = fs
  .readdirSync(standIns)
  .filter((name) => name.endsWith(".py"))
  .map((name) => [`lib/${name}`, fs.readFileSync(`${standIns}/${name}`)]);
const { stdin, stdout } = process;
const fail = (error) => {
  stdout.write(`${JSON.stringify({ broken: String(error?.stack ?? error) })}\n`);
};

// What programs could misuse if they ever got out of the interpreter; nothing here needs it any more.
for (const name of ["fetch", "WebSocket", "EventSource", "XMLHttpRequest", "process", "eval", "Function", "SharedArrayBuffer", "navigator"]) {
  try {
    delete globalThis[name];
  } catch {
    // not there in this version
  }
}

const vm = new Interpreter(module, { memoryBytes, fileBytes });
const silent = new Board({}, { virtual_us: 1e9, events: 1e6, cpu_seconds: 60 });
vm.call = (args) => silent.answer(args);
vm.prepare(library, "import _boot\n", { pystack: 8192, heap: 1 << 20 });

/** The line of the program in which an error came up: the innermost that is the program's own. */
function lineOf(details) {
  const found = [...details.matchAll(/File "<stdin>", line (\d+)/g)].at(-1);
  return found === undefined ? null : Number(found[1]);
}

function execute({ id, source, setup, calls, limits }) {
  vm.fresh();
  vm.random = limits.seed >>> 0;
  const board = new Board(setup, limits);
  vm.call = (args) => board.answer(args);
  vm.clock = () => {
    board.poll(); // who asks the interpreter's own clock, as select.poll does, waits for it
    return board.now;
  };
  const out = [];
  let line = [];
  let size = 0;
  let writes = 0;
  vm.files.stdin = new TextEncoder().encode(setup.stdin ?? "");
  vm.files.starved = () => {
    board.now = board.limit; // it waits for a line that never comes
    throw new Stop("time_limit");
  };
  for (const [name, text] of Object.entries(setup.files ?? {})) vm.files.add(name, new TextEncoder().encode(text));
  vm.files.stdout = (bytes) => {
    if (size + bytes.length > limits.output_bytes) throw new Stop("output");
    size += bytes.length;
    for (const byte of bytes) {
      if (byte === 13) continue;
      if (byte !== 10) {
        line.push(byte);
        continue;
      }
      const text = new TextDecoder().decode(Uint8Array.from(line));
      line = [];
      out.push(text);
      board.record("print", { text });
      board.now += 50; // interrupts that this oversteps are served at the next operation
    }
    if ((++writes & 255) === 0) board.hurry();
  };

  let ended = "done";
  let exception = null;
  let returned = null;
  const guarded = (work) => {
    try {
      work();
      return true;
    } catch (error) {
      if (error instanceof Stop) ended = error.reason;
      else if (error instanceof PythonError && error.type === "SystemExit") ended = "done";
      else if (error instanceof PythonError) {
        const message = error.message.trim().split("\n").at(-1).slice(0, 500);
        ended = error.type === "MemoryError" && vm.refusedMemory ? "memory" : "exception";
        exception = { type: error.type, message, line: lineOf(error.message) };
      } else {
        ended = "crashed"; // the interpreter itself: a corrupted heap, a stack that ran over
        exception = { type: error?.constructor?.name ?? "Error", message: String(error?.message).slice(0, 500), line: null };
      }
      return false;
    }
  };
  const finished = guarded(() => vm.run(prepare(source)));
  if (finished) returned = Math.floor(board.now);
  if (finished && calls.length > 0) {
    for (const call of calls) {
      board.asking = true;
      const before = board.values.length;
      const fine = guarded(() => vm.run(`__value__(lambda: (${call}))`));
      if (board.values.length === before) board.values.push({ ok: false, text: exception?.type ?? ended });
      if (!fine && ended !== "exception") break;
      if (!fine) [ended, exception] = ["done", null];
    }
    board.asking = false;
  } else if (finished && board.armed()) {
    guarded(() => vm.run("__run_out__()"));
    if (ended === "time_limit" && board.timers.size === 0) ended = "waiting";
  }
  if (line.length > 0) out.push(new TextDecoder().decode(Uint8Array.from(line)));
  const files = {};
  for (const [name, bytes] of vm.files.written()) files[name] = new TextDecoder().decode(bytes);
  const { events, values } = board;
  return { id, ended, exception, returned, virtual_us: Math.floor(board.now), stdout: out.join("\n"), events, values, files };
}

stdout.write(`${JSON.stringify({ ready: vm.snapshot.length })}\n`);
for await (const request of createInterface({ input: stdin, crlfDelay: Infinity })) {
  try {
    stdout.write(`${JSON.stringify(execute(JSON.parse(request)))}\n`);
  } catch (error) {
    fail(error);
    break;
  }
}
