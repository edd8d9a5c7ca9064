"""A road of three tiny stages that runs in milliseconds, for the tests of the engine, in this process or in another."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, NoReturn

import pytest
from pydantic import Field

from pipeline.config import Config, load_config
from pipeline.runner import Options, Runner, Step
from pipeline.stage import Context, Metrics, Road, Section, Stage
from pipeline.store import Store, write_atomic

# What a shell starts in the background ignores Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

CONFIG = """\
name: toy
seed: 7

words:
  folder: sources   # text files
count:
  steps: 5
page:
  title: Words

profiles:
  cpu: {}
  gpu-12gb:
    count: {steps: 50}
"""


class WordsConfig(Section):
    folder: str = "sources"


class CountConfig(Section):
    steps: Annotated[int, Field(ge=1)] = 3
    pause: float = 0.0
    foreign_names: ClassVar[Mapping[str, str]] = {"num_steps": "steps"}


class PageConfig(Section):
    title: str = "Untitled"


def list_sources(sections: Mapping[str, Section], base: Path) -> Any:
    folder = base / sections["words"].model_dump()["folder"]
    return [[path.name, path.stat().st_mtime_ns] for path in sorted(folder.glob("*.txt"))]


def gather_words(context: Context) -> Metrics:
    """The different words of all files in lower case, one a line: other spacing gives the same output."""
    folder = context.base / context.section(WordsConfig).folder
    words = sorted({word.lower() for path in folder.glob("*.txt") for word in path.read_text().split()})
    (context.out / "words.txt").write_text("\n".join(words))
    return {"words": len(words)}


def hash_on(value: str, seed: int, words: bytes) -> str:
    return hashlib.sha256(f"{value} {seed}".encode() + words).hexdigest()


def count_slowly(context: Context) -> Metrics:
    """A chain of hashes, saved after each step, so that a resumed run gives what an uninterrupted one gives."""
    config, saved = context.section(CountConfig), context.out / "state.json"
    words = (context.inputs["words"] / "words.txt").read_bytes()
    state = json.loads(saved.read_bytes()) if saved.exists() else {"step": 0, "value": ""}
    if state["step"]:
        context.say(f"going on from step {state['step']}")
    with context.progress(config.steps, "steps") as bar, context.deferred_interrupts() as interrupted:
        bar.advance(state["step"])
        while state["step"] < config.steps and not interrupted():
            state = {"step": state["step"] + 1, "value": hash_on(state["value"], context.seed, words)}
            write_atomic(saved, json.dumps(state).encode())
            bar.advance()
            time.sleep(config.pause)
    (context.out / "result.txt").write_text(state["value"])
    saved.unlink()
    return {"steps": state["step"]}


def make_page(context: Context) -> Metrics:
    result = (context.inputs["count"] / "result.txt").read_text()
    (context.out / "parts").mkdir()
    (context.out / "parts" / "page.txt").write_text(f"{context.section(PageConfig).title}: {result}\n")
    return {}


def publish_page(artifact: Path, name: str, exports: Path) -> str:
    (exports / name).mkdir(parents=True, exist_ok=True)
    write_atomic(exports / name / "page.txt", (artifact / "parts" / "page.txt").read_bytes())
    return f"cat {exports / name / 'page.txt'}"


def killed_after(run: Callable[[Context], Metrics]) -> Callable[[Context], Metrics]:
    """The same work, after which the process is killed before anything is committed."""

    def work_and_die(context: Context) -> Metrics:
        run(context)
        os.kill(os.getpid(), signal.SIGKILL)
        return {}

    return work_and_die


ROAD: Road = (
    Stage("words", 1, __name__, gather_words, {"words": WordsConfig}, fingerprint=list_sources),
    Stage("count", 1, __name__, count_slowly, {"count": CountConfig}, ("words",), seeded=True, resumable=True),
    Stage("page", 1, __name__, make_page, {"page": PageConfig}, ("count",), publish=publish_page),
)


@dataclass
class Toy:
    """A project folder with a config, two sources and a store, and the road that runs in it."""

    folder: Path
    road: Road = ROAD

    def __post_init__(self) -> None:
        (self.folder / "sources").mkdir(parents=True)
        (self.folder / "sources" / "a.txt").write_text("The quick brown fox")
        (self.folder / "sources" / "b.txt").write_text("jumps over the lazy dog")
        self.write_config(CONFIG)

    @property
    def path(self) -> Path:
        return self.folder / "toy.yaml"

    @property
    def store(self) -> Store:
        return Store(self.folder / "artifacts")

    def write_config(self, text: str) -> None:
        self.path.write_text(text, encoding="utf-8")

    def config(self, *overrides: str, profile: str = "auto") -> Config:
        return load_config(self.path, self.road, profile=profile, overrides=overrides, detect="cpu")

    def runner(self, *overrides: str, **options: Any) -> Runner:
        return Runner(self.road, self.config(*overrides), self.store, self.folder / "exports", Options(**options))

    def plan(self, *overrides: str, **options: Any) -> dict[str, Step]:
        return {step.stage.name: step for step in self.runner(*overrides, **options).plan()}

    def run(self, *overrides: str, **options: Any) -> dict[str, str]:
        """Run the road and return what was done with each stage."""
        self.runner(*overrides, **options).run()
        return {name: entry["action"] for name, entry in self.store.runs()[-1]["stages"].items()}

    def replace(self, name: str, run: Callable[[Context], Metrics]) -> None:
        """Give a stage other work."""
        self.road = tuple(replace(stage, run=run) if stage.name == name else stage for stage in self.road)

    def output(self, stage: str, name: str) -> bytes:
        newest = self.store.newest(stage)
        assert newest is not None
        return (newest.path / name).read_bytes()

    def saved_step(self) -> int:
        """How far an unfinished `count` got."""
        saved = [json.loads(path.read_bytes())["step"] for path in self.store.root.glob("count/.partial-*/state.json")]
        return max(saved, default=0)

    def start_counting(self, *arguments: str, until: int, steps: int = 1000) -> subprocess.Popen[str]:
        """Start a run in another process and return when its `count` has saved a number of steps."""
        paces = ("--set", f"count.steps={steps}", "--set", "count.pause=0.001")
        process = self.start("run", "--config", "toy.yaml", *paces, *arguments)
        end = time.monotonic() + 30
        while self.saved_step() < until:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < end, "nothing happened in time"
            time.sleep(0.002)
        return process

    def start(self, *arguments: str, killed_after: str = "", **environment: str) -> subprocess.Popen[str]:
        """The command line with this road in a process of its own, which dies after the work of a stage if asked."""
        code = f"import conftest; conftest.install_road({killed_after!r}); from pipeline.cli import main; main()"
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


class FaultyDisk:
    """Counts the operations that change the disk; at the one numbered `at` the disk is full, or `fault` is done."""

    def __init__(self, at: int, fault: Callable[[], None] | None = None) -> None:
        self.at, self.fault, self.count = at, fault or self.full, 0
        self.was = {"open": io.open, **{name: getattr(os, name) for name in ("fsync", "mkdir", "rename", "replace")}}

    def __enter__(self) -> FaultyDisk:
        for name, function in self.was.items():
            setattr(io if name == "open" else os, name, self.watched(name, function))
        return self

    def __exit__(self, *_: object) -> None:
        for name, function in self.was.items():
            setattr(io if name == "open" else os, name, function)

    def watched(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if name != "open" or "w" in str(arguments[1:2]):
                self.count += 1
                if self.count == self.at:
                    self.fault()
            return function(*arguments, **options)

        return call

    @staticmethod
    def full() -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def faulty_disk() -> type[FaultyDisk]:
    return FaultyDisk


def install_road(deadly: str = "") -> None:
    """Make `from stages import ROAD` give the toy road, in a process that is only for that."""
    os.fsync = lambda fd: None
    road = (replace(stage, run=killed_after(stage.run)) if stage.name == deadly else stage for stage in ROAD)
    sys.modules["stages"] = module_of(tuple(road))


def module_of(road: Road) -> ModuleType:
    module = module_from_spec(ModuleSpec("stages", None))
    module.ROAD = road  # type: ignore[attr-defined]
    return module


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # the tests of the store look after that
    return Toy(tmp_path / "project")


@dataclass(frozen=True)
class Answer:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(toy: Toy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run a `pipeline` command on the toy road in this process."""
    cli = import_module("pipeline.cli")  # no import statement: the toy stages' code would be the whole project

    def run(*arguments: str) -> Answer:
        monkeypatch.setitem(sys.modules, "stages", module_of(toy.road))
        monkeypatch.setattr("pipeline.hardware.cuda_devices", list)
        monkeypatch.chdir(toy.folder)
        monkeypatch.setattr(sys, "argv", ["pipeline", *arguments])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as error:
            code = int(error.code or 0)
        told = capsys.readouterr()
        return Answer(code, told.out, told.err)

    return run
