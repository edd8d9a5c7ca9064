"""Run MicroPython programs that nobody has read, on a simulated board, and tell what they did.

The interpreter is MicroPython's WebAssembly build under Node. Four walls stand around a program, from the inside out:

1. WebAssembly: the program can call what `interpreter/vm.mjs` hands to the module and nothing else; the package's own
   loader, which opens all of JavaScript to Python, is not used. Clock, pins and event log are on the host's side.
2. A fresh memory for every program, copied from a snapshot taken before the first; it cannot grow past a limit.
3. A Node process with its permission model (no files but ours, no children, no threads, no add-ons), no code from
   strings, no environment, an empty working folder, for a batch of programs only; on Linux, where user namespaces are
   allowed, with a network of its own that leads nowhere, which that model does not cover.
4. This module watches that process from outside: time, resident memory, length of its answers; and kills its group.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from stages.evaluation.node import INTERPRETER, Interpreter, SandboxUnavailable, find_interpreter
from stages.evaluation.wiring import Setup

STAND_INS = Path(__file__).parent / "board"
GRACE = 1.0  # seconds that a worker may be late before it is killed
PATIENCE = 4
AHEAD = 4  # programs per worker that may be done before they are asked for

Ended = Literal[
    "done", "waiting", "time_limit", "event_limit", "reset", "exception", "timeout", "memory", "output", "crashed"
]  # fmt: skip
Event = Mapping[str, Any]


@dataclass(frozen=True)
class Limits:
    """Per program; `batch` programs share a process, each with an interpreter of its own.

    Time is the processor's, so that a busy machine judges like a quiet one; PATIENCE times as much by the clock
    without any of it, or where the system does not tell it, is too long, too.
    """

    virtual_seconds: float = 10.0
    cpu_seconds: float = 5.0
    memory_mb: int = 48  # the interpreter's memory, its heap included
    process_mb: int = 640  # the resident memory of the process around it
    events: int = 20_000
    output_bytes: int = 65_536
    file_bytes: int = 1 << 20
    source_bytes: int = 262_144
    batch: int = 250
    seed: int = 1


@dataclass(frozen=True)
class Program:
    """A text to run in `setup`; `calls` are expressions evaluated after it has ended, in its own namespace."""

    id: str
    source: str
    setup: Setup = field(default_factory=Setup)
    calls: tuple[str, ...] = ()
    seconds: float | None = None  # of virtual time, instead of Limits.virtual_seconds


@dataclass(frozen=True)
class Raised:
    type: str
    message: str
    line: int | None


@dataclass(frozen=True)
class Value:
    """What a call gave: its `repr`, or where `ok` is false the name of the exception it raised."""

    ok: bool
    text: str


@dataclass(frozen=True)
class Outcome:
    """`events` in order, each with `t` (virtual µs) and `what`; `returned_us` is when the text itself ended, if it did.

    `ended`: done; waiting: its text has ended, and only interrupts of pins or UARTs could still come; time_limit,
    event_limit: still at work when its virtual time or its log was full; reset; exception; timeout (processor time),
    memory, output: over a limit; crashed: the interpreter or its process broke.
    """

    id: str
    ended: Ended
    raised: Raised | None = None
    returned_us: int | None = None
    end_us: int = 0
    stdout: str = ""
    events: tuple[Event, ...] = ()
    values: tuple[Value, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    wall_seconds: float = 0.0


def run_programs(
    programs: Sequence[Program],
    *,
    limits: Limits | None = None,
    workers: int = 1,
    interpreter: Interpreter | None = None,
) -> Generator[Outcome, None, None]:
    """Outcomes in the order of the programs; whatever a program does becomes its outcome and touches no other.

    Raises SandboxUnavailable where there is no Node or no interpreter.
    """
    limits = limits or Limits()
    interpreter = interpreter or find_interpreter()
    crew = [_Worker(interpreter, limits) for _ in range(max(1, min(workers, len(programs))))]
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    for worker in crew:
        idle.put(worker)

    def run(program: Program) -> Outcome:
        worker = idle.get()
        try:
            return worker.run(program)
        finally:
            idle.put(worker)

    pool = ThreadPoolExecutor(len(crew), thread_name_prefix="sandbox")
    ahead: deque[Future[Outcome]] = deque()  # few, for logs can be long
    try:
        for program in programs:
            ahead.append(pool.submit(run, program))
            if len(ahead) > AHEAD * len(crew):
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for worker in crew:
            worker.close()
        pool.shutdown(cancel_futures=True)
        for worker in crew:
            worker.close()


def confined(interpreter: Interpreter, limits: Limits) -> list[str]:
    """Node's command line for a process that may read our own files and do nothing else to the machine."""
    return [
        *without_network(),
        str(interpreter.node),
        interpreter.permission,
        *(f"--allow-fs-read={path}" for path in (INTERPRETER, STAND_INS, interpreter.wasm)),
        "--disallow-code-generation-from-strings",
        "--no-warnings",
        "--no-addons",
        "--no-global-search-paths",
        "--disable-proto=delete",
        f"--max-old-space-size={max(64, limits.process_mb // 2)}",
    ]


@cache
def without_network() -> tuple[str, ...]:
    """The words before a command that take the network from it; none where the system does not offer that."""
    found = shutil.which("unshare") if sys.platform == "linux" else None
    if found is None:
        return ()
    words = (found, "--user", "--map-current-user", "--net")
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        if subprocess.run([*words, "true"], capture_output=True, timeout=10, check=False).returncode == 0:
            return words
    return ()


class _Worker:
    """One Node process at a time, replaced after a kill and after `limits.batch` programs."""

    def __init__(self, interpreter: Interpreter, limits: Limits) -> None:
        self.interpreter = interpreter
        self.limits = limits
        self.process: subprocess.Popen[bytes] | None = None
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        self.lines: queue.Queue[bytes] = queue.Queue()
        self.served = 0
        self.closed = False

    def run(self, program: Program) -> Outcome:
        start = time.monotonic()
        source = program.source.encode("utf-8", "replace")
        if len(source) > self.limits.source_bytes:
            return Outcome(program.id, "memory", Raised("MemoryError", "the program is longer than the limit", None))
        if self.process is None or self.served >= self.limits.batch:
            self.stop()
            self.start()
        assert self.process is not None and self.process.stdin is not None
        self.served += 1
        _restrict(self.process.pid, _cpu_seconds(self.process.pid) + self.limits.cpu_seconds + GRACE)
        try:
            self.process.stdin.write(json.dumps(self._request(program, source.decode())).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            self.stop()
            return Outcome(program.id, "crashed")
        answer = self._answer(self.limits.cpu_seconds + GRACE)
        seconds = time.monotonic() - start
        if isinstance(answer, str):
            self.stop()
            return Outcome(program.id, _ended(answer), wall_seconds=seconds)
        try:
            return _outcome(program.id, answer, seconds)
        except (LookupError, TypeError, ValueError):  # not what our worker says
            self.stop()
            return Outcome(program.id, "crashed", wall_seconds=seconds)

    def _request(self, program: Program, source: str) -> dict[str, Any]:
        limits = self.limits
        seconds = limits.virtual_seconds if program.seconds is None else program.seconds
        bounds = {
            "virtual_us": round(seconds * 1e6),
            "cpu_seconds": limits.cpu_seconds,
            "events": limits.events,
            "output_bytes": limits.output_bytes,
            "seed": limits.seed,
        }
        calls = list(program.calls)
        return {"id": program.id, "source": source, "setup": program.setup.as_json(), "calls": calls, "limits": bounds}

    def _answer(self, seconds: float) -> dict[str, Any] | str:
        """The worker's answer, or why there is none: timeout, memory, crashed."""
        assert self.process is not None
        pid = self.process.pid
        before = used = _cpu_seconds(pid)
        deadline = time.monotonic() + PATIENCE * seconds
        while True:
            with contextlib.suppress(queue.Empty):
                line = self.lines.get(timeout=0.05)
                if not line.endswith(b"\n"):
                    return "crashed"
                return _object(line)
            if (now := _cpu_seconds(pid)) > used:  # it waits for a core, not for ever
                used, deadline = now, time.monotonic() + PATIENCE * seconds
            if time.monotonic() > deadline or used - before > seconds:
                return "timeout"
            if _resident_mb(pid) > self.limits.process_mb:
                return "memory"

    def start(self) -> None:
        if self.closed:
            raise SandboxUnavailable("the sandbox was closed")
        node = self.interpreter
        options = {"memory_bytes": self.limits.memory_mb << 20, "file_bytes": self.limits.file_bytes}
        arguments = [str(node.wasm), str(STAND_INS), json.dumps(options)]
        command = [*confined(node, self.limits), str(INTERPRETER / "worker.mjs"), *arguments]
        try:
            self.folder = tempfile.TemporaryDirectory(prefix="pipeline-sandbox-")
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=self.folder.name,
                env={"SYSTEMROOT": os.environ["SYSTEMROOT"]} if "SYSTEMROOT" in os.environ else {},
                start_new_session=os.name == "posix",
            )
        except OSError as error:
            self.stop()
            raise SandboxUnavailable(
                f"no process can be started for programs: {error}", hint=f"see why with: {shlex.join(command)}"
            ) from None
        _restrict(self.process.pid, 60)
        self.lines = queue.Queue()
        self.served = 0
        # an event costs up to 400 bytes of JSON, its texts 8 MiB together (board.mjs), a byte of text up to 6
        texts = (8 << 20) + 2 * self.limits.output_bytes + self.limits.file_bytes
        longest = 400 * self.limits.events + 6 * texts + (1 << 20)
        threading.Thread(target=_listen, args=(self.process, self.lines, longest), daemon=True).start()
        if not isinstance(self._answer(60), dict):
            self.stop()
            raise SandboxUnavailable(
                f"the interpreter does not start under {node.node}", hint=f"see why with: {shlex.join(command)}"
            )

    def stop(self) -> None:
        """Kill the process and all it may have started, and remove its folder."""
        process, self.process = self.process, None
        if process is not None:
            with contextlib.suppress(OSError):
                if os.name == "posix":
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        folder, self.folder = self.folder, None
        if folder is not None:
            folder.cleanup()

    def close(self) -> None:
        self.closed = True
        self.stop()


def _listen(process: subprocess.Popen[bytes], lines: queue.Queue[bytes], longest: int) -> None:
    assert process.stdout is not None
    with contextlib.suppress(ValueError, OSError):  # closed from the other side
        while line := process.stdout.readline(longest):
            lines.put(line)
    lines.put(b"")


def _resident_mb(pid: int) -> float:
    """Resident memory in MiB; 0 where the system does not tell."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (OSError, ValueError, IndexError):
        return 0.0


def _cpu_seconds(pid: int) -> float:
    """Processor time that the process has used; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0


def _restrict(pid: int, seconds: float) -> None:
    """No core dumps, not one byte into any file, and `seconds` more of the processor, where the kernel can be told so.

    The last is for the day on which nobody is left to watch: a worker whose parent was killed ends by itself.
    """
    if sys.platform == "linux":
        import resource

        with contextlib.suppress(OSError, ValueError):
            resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, 0))
            resource.prlimit(pid, resource.RLIMIT_CPU, (math.ceil(seconds) + 2, resource.RLIM_INFINITY))


def _object(line: bytes) -> dict[str, Any] | Literal["crashed"]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return "crashed"
    return found if isinstance(found, dict) and "broken" not in found else "crashed"


def _ended(text: object) -> Ended:
    for known in get_args(Ended):
        if text == known:
            ended: Ended = known
            return ended
    return "crashed"


def _outcome(id: str, answer: Mapping[str, Any], seconds: float) -> Outcome:
    raised = answer["exception"]
    return Outcome(
        id=id,
        ended=_ended(answer["ended"]),
        raised=None if raised is None else Raised(raised["type"], raised["message"], raised["line"]),
        returned_us=answer["returned"],
        end_us=int(answer["virtual_us"]),
        stdout=answer["stdout"],
        events=tuple(answer["events"]),
        values=tuple(Value(value["ok"], value["text"]) for value in answer["values"]),
        files=answer["files"],
        wall_seconds=seconds,
    )
