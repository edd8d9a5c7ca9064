"""Several processes for one run: the first walks the road, the others join it for the stages that are `parallel`.

`--nproc` starts them on this machine; torchrun and its like start them on one or more. RANK, WORLD_SIZE, LOCAL_RANK,
MASTER_ADDR and MASTER_PORT tell each who it is. They meet at a key-value store of torch.distributed, where the first
says what to do and the others answer. Only the first takes the lock, speaks, and commits; all see the same folders.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pipeline import console, hardware
from pipeline.errors import Interrupted, PipelineError, StageError, UsageError
from pipeline.shards import map_ordered
from pipeline.stage import Context, Metrics, Road, Silent, Stage

if TYPE_CHECKING:
    from torch._C._distributed_c10d import TCPStore

LIFELINE = "PIPELINE_LIFELINE"  # set for processes that end when their standard input does
MARK = ".together"
POLL = 0.1  # seconds between looks at the store
PATIENCE = 300.0  # seconds for the others to come
SIGHT = 20.0  # seconds until a network file system shows a new file
GRACE = 15.0  # seconds in which the first process itself notices that another died
GRACE_TOLD = 120.0  # the same where the other gave an error that the first may be about to give, too
AGAIN = "run the same command again: it goes on from the last checkpoint"


def size() -> int:
    """How many processes the environment tells of."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def rank() -> int:
    """Which of them this is, from 0."""
    return int(os.environ.get("RANK") or 0)


def local_rank() -> int:
    """Which of them this is on its machine."""
    return int(os.environ.get("LOCAL_RANK") or 0)


def local_size() -> int:
    """How many there are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or 1)


@cache
def store() -> TCPStore:
    """Where the processes meet; kept by the first one, or by torchrun. Waits until it is there."""
    host, port = os.environ.get("MASTER_ADDR", "127.0.0.1"), int(os.environ.get("MASTER_PORT", 0))
    return _connect(host, port, keep=rank() == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True")


def _connect(host: str, port: int, *, keep: bool) -> TCPStore:
    from datetime import timedelta

    import torch.distributed as dist

    made: TCPStore = dist.TCPStore(  # type: ignore[attr-defined]
        host, port, is_master=keep, wait_for_workers=False, timeout=timedelta(minutes=30)
    )
    return made


@dataclass
class Crew:
    """The processes of a run, as the first one sees them; `processes` are asked for, where nobody else started some.

    Those to be started here are started when the first parallel stage begins, and end with the run.
    """

    processes: int = 1
    _followers: list[_Follower] = field(default_factory=list)
    _tasks: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        if self.processes == 1:
            return
        if size() > 1:
            raise UsageError("--nproc starts processes, and so did whoever set WORLD_SIZE; use one of the two")
        devices = len(hardware.cuda_devices())
        if devices and "+cpu" not in (hardware.torch_version() or "+cpu") and self.processes > devices:
            raise UsageError(f"--nproc {self.processes}: there are {devices} CUDA devices, and each process takes one")

    def __enter__(self) -> Crew:
        if size() > 1:
            store()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if size() == 1:
            return
        with suppress(Exception):
            self._tell(None)
        end = time.monotonic() + 5
        while time.monotonic() < end and error is None and self._missing("left"):
            time.sleep(POLL)
        for follower in self._followers:
            follower.end(max(end - time.monotonic(), 0))
        if self._followers:
            for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
                os.environ.pop(name, None)
            store.cache_clear()

    def work(self, stage: Stage, context: Context) -> Metrics:
        """Do a stage's work, together with the others where it is parallel. Raises StageError where one is lost."""
        if max(size(), self.processes) == 1 or not stage.parallel:
            return stage.run(context)
        if size() == 1:
            self._start()
        task: dict[str, Any] = {
            "stage": stage.name,
            "sections": {name: section.model_dump_json() for name, section in context.sections.items()},
            "inputs": {name: str(path.resolve()) for name, path in context.inputs.items()},
            "out": str(context.out.resolve()),
            "seed": context.seed,
            "base": str(context.base.resolve()),
            "name": context.name,
            "mark": secrets.token_hex(8),
        }
        mark = context.out / MARK
        mark.write_text(task["mark"])
        try:
            number = self._tell(task)
            self._await(f"here-{number}")
        finally:
            mark.unlink()
        with self._watched():
            metrics = stage.run(context)
            self._await(f"done-{number}")
        return metrics

    def _start(self) -> None:
        """Start the followers: this very command, told by the environment who they are."""
        meeting = store()
        mine = {"RANK": "0", "LOCAL_RANK": "0"}
        ours = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(meeting.port)}
        ours |= {"WORLD_SIZE": str(self.processes), "LOCAL_WORLD_SIZE": str(self.processes)}
        os.environ.update(mine | ours)
        for number in range(1, self.processes):
            theirs = {"RANK": str(number), "LOCAL_RANK": str(number), LIFELINE: "1"}
            self._followers.append(_Follower(number, {**os.environ, **theirs}))

    def _tell(self, task: dict[str, Any] | None) -> int:
        number = next(self._tasks)
        store().set(f"task-{number}", json.dumps(task))
        return number

    def _missing(self, answer: str) -> list[int]:
        """Who has not given an answer yet; raises StageError where one answers with a problem."""
        missing = []
        for number in range(1, size()):
            if not store().check([f"{answer}-{number}"]):
                missing.append(number)
            elif problem := store().get(f"{answer}-{number}").decode():
                raise StageError(problem)
        return missing

    def _await(self, answer: str) -> None:
        end = time.monotonic() + PATIENCE
        while missing := self._missing(answer):
            if lost := self._lost(store()):
                raise StageError(lost[0], hint=AGAIN)
            if time.monotonic() > end:
                raise StageError(f"process {missing[0]} of {size()} did not come within {PATIENCE:.0f} s", hint=AGAIN)
            time.sleep(POLL)

    def _lost(self, meeting: TCPStore) -> tuple[str, bool] | None:
        """What became of the process that failed first, in words, and whether it said so itself."""
        ended = [follower for follower in self._followers if follower.process.poll() is not None]
        for follower in sorted(ended, key=lambda known: known.process.returncode)[:1]:  # a signal is negative
            if follower.process.returncode < 0 or not meeting.check(["words"]):
                return f"process {follower.number} of {size()} {follower.last_words()}", False
        return (meeting.get("words").decode(), True) if meeting.check(["words"]) else None

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Around common work: another process that dies ends it, also where this one waits for it in a device's queue.

        Most often waiting for a dead process fails by itself; what comes of it is told as what it is.
        """
        over = threading.Event()
        meeting = _connect(store().host, store().port, keep=False)  # of its own: a store does one thing at a time
        watch = threading.Thread(target=self._watch, args=(over, meeting), daemon=True)
        watch.start()
        try:
            yield
        except PipelineError:
            raise
        except Exception as error:
            time.sleep(5 * POLL)  # the system tells of a death a moment after its connections are gone
            end = time.monotonic() + 3
            while not (lost := self._lost(store())) and time.monotonic() < end:
                time.sleep(POLL)
            if lost is None:
                raise
            raise StageError(lost[0], hint=AGAIN) from error
        finally:
            over.set()
            watch.join()

    def _watch(self, over: threading.Event, meeting: TCPStore) -> None:
        while not over.wait(5 * POLL):
            lost = self._lost(meeting)
            if lost and not over.wait(GRACE_TOLD if lost[1] else GRACE):
                console.fail(lost[0], AGAIN)
                for follower in self._followers:
                    follower.end(0)
                os._exit(1)


class _Follower:
    """A process that this one started: alive as long as its standard input is open."""

    def __init__(self, number: int, environment: dict[str, str]) -> None:
        self.number = number
        self.process = subprocess.Popen(
            [sys.executable, *sys.orig_argv[1:]],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self.lines: deque[str] = deque(maxlen=20)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.strip():
                self.lines.append(line.rstrip())

    def last_words(self) -> str:
        """How it ended, and the last line that it wrote."""
        code = self.process.wait()
        self.reader.join(1)
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return ": ".join([how, *list(self.lines)[-1:]])

    def end(self, patience: float) -> None:
        """Let it end by itself for some seconds, then kill it."""
        assert self.process.stdin is not None
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        self.process.kill()
        self.process.wait()
        self.reader.join(1)
        self.process.stdin.close()


def follow(road: Road) -> int:
    """Be one of the others: join the first process for each parallel stage until the run is over; the exit code."""
    if os.environ.get(LIFELINE):
        threading.Thread(target=_end_with_input, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    meeting = store()  # until it is there SIGTERM ends this process at once
    requests = _Requests()
    try:
        for number in count():
            while not meeting.check([f"task-{number}"]):
                if requests.asked:
                    raise Interrupted("was told to end while it waited", signal_number=signal.SIGTERM)
                time.sleep(POLL)
            task = json.loads(meeting.get(f"task-{number}"))
            if task is None:
                meeting.set(f"left-{rank()}", "")
                return 0
            if problem := _blind(task):
                meeting.set(f"here-{number}-{rank()}", problem)
                continue
            meeting.set(f"here-{number}-{rank()}", "")
            with suppress(Interrupted):
                _take_part(road, task, requests)
            meeting.set(f"done-{number}-{rank()}", "")
    except Exception as error:
        words = str(error) if isinstance(error, PipelineError) else f"{type(error).__name__}: {error}"
        with suppress(Exception):  # of several only the first gets through: others fail because it did
            meeting.compare_set("words", "", f"process {rank()} of {size()}: {words}")
        print(words, file=sys.stderr, flush=True)
        os._exit(1)  # tearing down what the others were in the middle of would abort, and look like a crash
    return 1


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


class _Requests:
    """SIGTERM to a process that does not decide: a wish, of which the others are told at the next step."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, lambda number, frame: setattr(self, "asked", True))

    @contextmanager
    def deferred(self) -> Iterator[Callable[[], bool]]:
        yield lambda: self.asked


def _blind(task: dict[str, Any]) -> str:
    """Why this process cannot work in the folder of a task; empty where it sees what the first wrote there."""
    mark, end = Path(task["out"]) / MARK, time.monotonic() + SIGHT
    while True:
        with suppress(OSError):
            list(mark.parent.iterdir())  # has a network file system look again
            if mark.read_text() == task["mark"]:
                return ""
        if time.monotonic() > end:
            here = f"process {rank()} of {size()} on {socket.gethostname()}"
            return f"{here} does not see what the first wrote to {mark.parent}: all need one shared folder"
        time.sleep(POLL)


def _take_part(road: Road, task: dict[str, Any], requests: _Requests) -> None:
    stage = next(known for known in road if known.name == task["stage"])
    stage.run(
        Context(
            sections={n: stage.sections[n].model_validate_json(text) for n, text in task["sections"].items()},
            inputs={name: Path(path) for name, path in task["inputs"].items()},
            out=Path(task["out"]),
            seed=task["seed"],
            base=Path(task["base"]),
            name=task["name"],
            map=partial(map_ordered, workers=1),
            say=lambda message: None,
            warn=lambda message: None,
            progress=lambda total, unit: nullcontext(Silent()),
            deferred_interrupts=requests.deferred,
        )
    )
