// MicroPython's WebAssembly module with a host of our own: every function that it can call is written below, in
// board.mjs and in files.mjs. Of the JavaScript world it sees one callable, `_board`, and nothing else, so that
// `import js` finds an object without attributes. The loader that comes with the package is not used.

import { Files } from "./files.mjs";

const LONGJMP = Infinity; // what emscripten's longjmp throws: a number, told apart from every other error
const BOARD = 1; // the only JavaScript object that the interpreter holds a reference to
const PAGE = 65536;
const VALUE = 12; // bytes of a value on its way across
const [MP_EXCEPTION, MP_NONE, MP_BOOL, MP_INT, MP_FLOAT, MP_STR] = [-1, 1, 2, 3, 4, 5];
const [JS_NULL, JS_BOOLEAN, JS_INTEGER, JS_DOUBLE, JS_STRING, JS_OBJECT] = [1, 2, 3, 4, 5, 7];

export class PythonError extends Error {
  constructor(type, details) {
    super(details);
    this.type = type;
  }
}

export class Interpreter {
  /** `call(args)` answers the program's calls of `_board`; `clock()` gives virtual microseconds. */
  constructor(module, { memoryBytes, fileBytes }) {
    this.module = module;
    this.memoryBytes = memoryBytes;
    this.fileBytes = fileBytes;
    this.call = () => null;
    this.clock = () => 0;
    this.random = 1;
    this.refusedMemory = false;
    this.snapshot = null;
    this.fresh();
  }

  /** A new instance with new memory and new files; from the snapshot where one was taken. */
  fresh() {
    this.files = new Files(() => this.bytes, this.fileBytes);
    const instance = new WebAssembly.Instance(this.module, this.imports());
    this.wasm = instance.exports;
    this.table = this.wasm.__indirect_function_table;
    this.refusedMemory = false;
    if (this.snapshot === null) {
      this.wasm.emscripten_stack_init();
      this.wasm.__wasm_call_ctors();
    } else {
      const missing = this.snapshot.length - this.bytes.length;
      if (missing > 0) this.wasm.memory.grow(Math.ceil(missing / PAGE));
      this.bytes.set(this.snapshot);
      this.wasm.emscripten_stack_init();
      this.wasm._emscripten_stack_restore(this.stack);
      for (const [path, bytes] of this.library) this.files.add(path, bytes, true);
    }
  }

  get bytes() {
    if (this.held === undefined || this.held.buffer !== this.wasm.memory.buffer) {
      this.held = new Uint8Array(this.wasm.memory.buffer);
      this.view = new DataView(this.wasm.memory.buffer);
    }
    return this.held;
  }

  get data() {
    this.bytes;
    return this.view;
  }

  /** Start MicroPython, import the stand-ins, and remember the memory as every program shall find it. */
  prepare(library, boot, { pystack, heap }) {
    this.library = library;
    for (const [path, bytes] of library) this.files.add(path, bytes, true);
    this.wasm.mp_js_init(pystack, heap);
    this.wasm.proxy_c_init();
    const name = this.string("_board");
    const value = this.wasm.malloc(VALUE);
    this.data.setInt32(value, JS_OBJECT, true);
    this.data.setInt32(value + 4, BOARD, true);
    this.wasm.mp_js_register_js_module(name, value);
    this.wasm.free(value);
    this.wasm.free(name);
    this.run(boot);
    const words = new Float64Array(this.wasm.memory.buffer);
    const last = words.findLastIndex((word) => !Object.is(word, 0));
    this.snapshot = this.bytes.slice(0, 8 * (last + 1));
    this.stack = this.wasm.emscripten_stack_get_current();
  }

  /** Execute a text in `__main__`; raises PythonError, or what the board throws to end a program. */
  run(text) {
    const encoded = new TextEncoder().encode(text);
    const buffer = this.wasm.malloc(encoded.length + 1);
    if (buffer === 0) throw new PythonError("MemoryError", "the text is too long");
    this.bytes.set(encoded, buffer);
    this.bytes[buffer + encoded.length] = 0;
    const value = this.wasm.malloc(VALUE);
    this.wasm.mp_js_do_exec(buffer, encoded.length, value);
    this.wasm.free(buffer);
    const found = this.fromPython(value);
    this.wasm.free(value);
    return found;
  }

  string(text) {
    const encoded = new TextEncoder().encode(text);
    const at = this.wasm.malloc(encoded.length + 1);
    this.bytes.set(encoded, at);
    this.bytes[at + encoded.length] = 0;
    return at;
  }

  text(at, length) {
    if (length < 24) {
      // names of operations and pins: quicker by hand, as long as they are ASCII
      let found = "";
      let all = 0;
      for (let i = at; i < at + length; i += 1) {
        all |= this.bytes[i];
        found += String.fromCharCode(this.bytes[i]);
      }
      if (all < 128) return found;
    }
    return new TextDecoder().decode(this.bytes.subarray(at, at + length));
  }

  /** Numbers, strings, booleans and None come across; of everything else only that it was something else. */
  fromPython(at) {
    const data = this.data;
    switch (data.getInt32(at, true)) {
      case MP_EXCEPTION: {
        const start = data.getUint32(at + 8, true);
        const [type, details] = this.text(start, data.getUint32(at + 4, true)).split("\x04");
        this.wasm.free(start);
        throw new PythonError(type, details ?? "");
      }
      case MP_NONE:
        return null;
      case MP_BOOL:
        return data.getInt32(at + 4, true) !== 0;
      case MP_INT:
        return data.getInt32(at + 4, true);
      case MP_FLOAT:
        return data.getFloat64(at + 4, true);
      case MP_STR:
        return this.text(data.getUint32(at + 8, true), data.getUint32(at + 4, true));
      default:
        return undefined;
    }
  }

  toPython(value, at) {
    let kind = JS_NULL;
    if (typeof value === "boolean") {
      kind = JS_BOOLEAN;
      this.data.setInt32(at + 4, value ? 1 : 0, true);
    } else if (Number.isInteger(value) && Math.abs(value) < 2 ** 30) {
      kind = JS_INTEGER;
      this.data.setInt32(at + 4, value, true);
    } else if (typeof value === "number") {
      kind = JS_DOUBLE;
      this.data.setFloat64(at + 4, value, true);
    } else if (typeof value === "string") {
      kind = JS_STRING;
      const encoded = new TextEncoder().encode(value);
      const start = this.wasm.malloc(encoded.length + 1);
      this.bytes.set(encoded, start);
      this.bytes[start + encoded.length] = 0;
      this.data.setInt32(at + 4, encoded.length, true);
      this.data.setInt32(at + 8, start, true);
    }
    this.data.setInt32(at, kind, true);
  }

  imports() {
    const invoke = (index, ...args) => {
      const stack = this.wasm.emscripten_stack_get_current();
      try {
        return this.table.get(index)(...args);
      } catch (error) {
        this.wasm._emscripten_stack_restore(stack);
        if (error !== LONGJMP) throw error;
        this.wasm.setThrew(1, 0);
        return 0;
      }
    };
    const nothing = () => 0;
    const none = (out) => this.toPython(null, out);
    const board = (reference, count, at, out) => {
      const args = [];
      for (let i = 0; reference === BOARD && i < count; i += 1) args.push(this.fromPython(at + VALUE * i));
      this.toPython(reference === BOARD ? this.call(args) : null, out);
    };
    const { env, wasi } = this.files.calls();
    const names = ["ii", "iiii", "v", "viii", "iiiii", "iii", "vi", "vii", "i", "viiii", "iiiiii"];
    const all = {
      ...Object.fromEntries(names.map((name) => [`invoke_${name}`, invoke])),
      ...env,
      mp_js_random_u32: () => (this.random = (Math.imul(this.random, 1664525) + 1013904223) >>> 0),
      mp_js_ticks_ms: () => Math.floor(this.clock() / 1000),
      mp_js_time_ms: () => Math.floor(this.clock() / 1000),
      call0: (reference, out) => board(reference, 0, 0, out),
      call1: (reference, _, at, out) => board(reference, 1, at, out),
      call2: (reference, _, first, second, out) => {
        if (reference !== BOARD) return none(out);
        return this.toPython(this.call([this.fromPython(first), this.fromPython(second)]), out);
      },
      calln: (reference, _, count, at, out) => board(reference, count, at, out),
      // the rest of the bridge to JavaScript leads nowhere
      call0_kwarg: (_, __, ___, ____, _____, out) => none(out),
      calln_kwarg: (_, __, ___, ____, _____, ______, _______, out) => none(out),
      lookup_attr: nothing,
      store_attr: nothing,
      has_attr: nothing,
      js_subscr_load: (_, __, out) => none(out),
      js_subscr_store: nothing,
      js_get_iter: (_, out) => none(out),
      js_iter_next: nothing,
      js_reflect_construct: (_, __, ___, out) => none(out),
      js_check_existing: () => -1,
      js_get_error_info: (_, name, message) => (none(name), none(message)),
      js_get_proxy_js_ref_info: (out) => (this.data.setInt32(out, 0, true), this.data.setInt32(out + 4, 0, true)),
      js_then_resolve: nothing,
      js_then_reject: nothing,
      js_then_continue: (_, __, ___, ____, out) => none(out),
      create_promise: (_, out) => none(out),
      proxy_js_free_obj: nothing,
      proxy_convert_mp_to_js_then_js_to_mp_obj_jsside: none,
      proxy_convert_mp_to_js_then_js_to_js_then_js_to_mp_obj_jsside: none,
      _abort_js: () => {
        throw new Error("the interpreter aborted");
      },
      _emscripten_throw_longjmp: () => {
        throw LONGJMP;
      },
      emscripten_resize_heap: (wanted) => {
        const size = wanted >>> 0;
        if (size > this.memoryBytes) {
          this.refusedMemory = true;
          return 0;
        }
        this.wasm.memory.grow(Math.ceil((size - this.bytes.length) / PAGE));
        return 1;
      },
    };
    return { env: all, wasi_snapshot_preview1: wasi };
  }
}
