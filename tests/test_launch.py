"""Several processes for one run: how they come, what they do together, and what is left when one of them goes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline import launch
from pipeline.errors import StageError, UsageError
from pipeline.launch import Crew
from pipeline.stage import Context, Metrics, Section, Stage
from pipeline.store import write_atomic

LINUX = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")


LONG = ("--set", "sum.steps=200", "--set", "sum.pause=0.02")


class SumConfig(Section):
    steps: int = 4
    pause: float = 0.0
    fails: int = 0


def prepare(context: Context) -> Metrics:
    (context.out / "start.txt").write_text("100")
    return {"torch": "torch" in sys.modules, "processes": launch.size()}


def add_up(context: Context) -> Metrics:
    """Each step adds the number of every process, from 1; the first one saves after each step."""
    import torch

    from stages.training.parallel import Group

    config, saved = context.section(SumConfig), context.out / "state.json"
    context.say("only the first is heard")
    with Group.from_environment() as group:
        start = float((context.inputs["prepare"] / "start.txt").read_text())
        state = json.loads(saved.read_text()) if saved.exists() else {"step": 0, "value": start, "pids": []}
        pids = [int(group.sum(torch.tensor(os.getpid() * (group.rank == number)))) for number in range(group.size)]
        with context.progress(config.steps, "steps") as bar, group.interrupts(context) as interrupted:
            while state["step"] < config.steps and not interrupted():
                value = state["value"] + float(group.sum(torch.tensor(group.rank + 1.0)))
                state = {"step": state["step"] + 1, "value": value, "pids": pids}
                if state["step"] == config.fails and group.rank == 1:
                    raise ZeroDivisionError("one by nought")
                if group.first:
                    write_atomic(saved, json.dumps(state).encode())
                bar.advance()
                time.sleep(config.pause)
    if group.first:
        (context.out / "sum.txt").write_text(str(state["value"]))
        saved.unlink()
    return {"processes": group.size}


def end(context: Context) -> Metrics:
    return {"torch": "torch" in sys.modules, "processes": launch.size()}


ROAD = (
    Stage("prepare", 1, __name__, prepare),
    Stage("sum", 1, __name__, add_up, {"sum": SumConfig}, ("prepare",), resumable=True, parallel=True),
    Stage("end", 1, __name__, end, needs=("sum",)),
)


def main() -> None:
    """The command line with the road above, in a process that is only for that."""
    import stages

    stages.ROAD = ROAD  # type: ignore[assignment]
    os.fsync = lambda descriptor: None
    from pipeline import cli

    cli.main()


@dataclass
class Project:
    """A folder to run the road in."""

    folder: Path

    def start(self, *arguments: str, torchrun: int = 0, **environment: str) -> subprocess.Popen[str]:
        script = self.folder / "main.py"
        script.write_text("import test_launch\ntest_launch.main()\n")
        (self.folder / "toy.yaml").write_text("name: toy\n")
        many = ["-m", "torch.distributed.run", "--nproc-per-node", str(torchrun)] if torchrun else []
        return subprocess.Popen(
            [sys.executable, *many, str(script), "run", "--config", "toy.yaml", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1", **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, torchrun: int = 0) -> tuple[int, str]:
        process = self.start(*arguments, torchrun=torchrun)
        said = process.communicate(timeout=240)[1]
        return process.returncode, said

    def start_adding(self) -> tuple[subprocess.Popen[str], list[int]]:
        """Start a long run with two processes; their numbers, when a few steps are done."""
        process = self.start("--nproc", "2", *LONG)
        limit = time.monotonic() + 200
        while (state := self.state())["step"] < 5:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < limit, "nothing happened in time"
            time.sleep(0.02)
        return process, state["pids"]

    def state(self) -> dict[str, Any]:
        found = [json.loads(path.read_text()) for path in self.folder.glob("artifacts/sum/.partial-*/state.json")]
        return max(found, key=lambda state: int(state["step"]), default={"step": 0, "pids": []})

    def made(self, stage: str) -> dict[str, Any]:
        (path,) = self.folder.glob(f"artifacts/{stage}/v*/manifest.json")
        told: dict[str, Any] = json.loads(path.read_text())
        return told

    def result(self) -> str:
        (path,) = self.folder.glob("artifacts/sum/v*/sum.txt")
        return path.read_text()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def gone(pids: list[int], within: float = 20) -> bool:
    """Whether the processes end in time."""
    limit = time.monotonic() + within
    while alive := [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
        if time.monotonic() > limit:
            return False
        time.sleep(0.05)
    return not alive


def test_one_process_works_alone_and_loads_nothing_for_company(project: Project) -> None:
    code, said = project.run("--until", "prepare")
    assert code == 0, said
    assert project.made("prepare")["metrics"] == {"torch": False, "processes": 1}


@LINUX
def test_nproc_starts_the_others_for_parallel_stages_alone(project: Project) -> None:
    code, said = project.run("--nproc", "3")
    assert code == 0, said
    assert project.result() == str(100.0 + 4 * 6)
    assert said.count("only the first is heard") == 1 and "Warning" not in said
    assert project.made("sum")["metrics"] == {"processes": 3}
    assert project.made("prepare")["metrics"] == {"torch": False, "processes": 1}
    assert list(project.made("sum")["files"]) == ["sum.txt"]
    assert [path.name for path in (project.folder / "artifacts" / "runs").iterdir()] == ["000001.json"]
    code, said = project.run("--nproc", "2")
    assert code == 0 and said.count("reuse") == 3


@pytest.mark.slow
def test_torchrun_starts_them_as_well(project: Project) -> None:
    code, said = project.run(torchrun=2)
    assert code == 0, said
    assert project.result() == str(100.0 + 4 * 3)
    assert said.count("only the first is heard") == 1


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize(
    ("whom", "number", "code", "told"),
    [
        (0, signal.SIGINT, 130, "interrupted by SIGINT; finished stages are kept"),
        (0, signal.SIGTERM, 143, "interrupted by SIGTERM; finished stages are kept"),
        (1, signal.SIGTERM, 143, "another process of this run was told to end"),
        (1, signal.SIGKILL, 1, "process 1 of 2 was ended by SIGKILL"),
        (0, signal.SIGKILL, -9, ""),
    ],
)
def test_whoever_gets_a_signal_all_end_and_the_next_run_goes_on(
    project: Project, whom: int, number: signal.Signals, code: int, told: str
) -> None:
    process, pids = project.start_adding()
    if number == signal.SIGINT:
        os.kill(pids[1], number)  # as a terminal does: all get it
    os.kill(pids[whom], number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == code and told in said, said
    assert "Traceback" not in said and gone(pids)
    assert ("hint: run the same command again" in said) == bool(told)
    done = project.state()["step"]
    assert 5 <= done < 200
    code, said = project.run(*LONG)  # alone
    assert code == 0 and "an interrupted try is there" in said, said
    assert project.result() == str(100.0 + 3 * done + 200 - done)


@LINUX
@pytest.mark.slow
def test_an_error_in_another_process_is_told_in_its_words(project: Project) -> None:
    code, said = project.run("--nproc", "3", "--set", "sum.fails=3")
    assert code == 1
    assert "error: process 1 of 3: ZeroDivisionError: one by nought" in said
    assert "hint: run the same command again" in said and "Traceback" not in said
    assert json.loads(next((project.folder / "artifacts" / "runs").iterdir()).read_text())["outcome"] == "failed"


def listens(pid: int) -> bool:
    """Whether a process has got as far as to handle SIGTERM."""
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) & 1 << signal.SIGTERM - 1)


@LINUX
@pytest.mark.slow
def test_a_process_that_waits_for_work_ends_when_asked_or_when_the_first_is_gone(project: Project) -> None:
    import torch.distributed as dist

    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    meeting = {"RANK": "1", "WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    asked, left = project.start(**meeting), project.start(**{**meeting, "RANK": "2"})
    try:
        while not (listens(asked.pid) and listens(left.pid)):
            time.sleep(0.05)
        asked.terminate()
        assert "was told to end while it waited" in asked.communicate(timeout=60)[1]
        assert left.poll() is None
        del store
        left.communicate(timeout=60)
        assert (asked.returncode, left.returncode) == (1, 1)
    finally:
        for process in (asked, left):
            process.kill()
            process.communicate()


class Meeting:
    """A store in this process."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def set(self, key: str, value: str) -> None:
        self.values[key] = value

    def get(self, key: str) -> bytes:
        return self.values[key].encode()

    def check(self, keys: list[str]) -> bool:
        return all(key in self.values for key in keys)


def test_a_process_without_the_shared_folder_is_told_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "SIGHT", 0.1)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    (tmp_path / launch.MARK).write_text("of another run")
    for folder, mark in ((tmp_path, "mine"), (tmp_path / "elsewhere", "of another run")):
        problem = launch._blind({"out": str(folder), "mark": mark})
        assert problem.startswith("process 1 of 2 on ") and str(folder) in problem
        assert problem.endswith("all need one shared folder")
    assert launch._blind({"out": str(tmp_path), "mark": "of another run"}) == ""

    meeting = Meeting()
    monkeypatch.setattr(launch, "store", lambda: meeting)
    meeting.set("here-0-1", problem)
    with pytest.raises(StageError, match="all need one shared folder"):
        Crew()._await("here-0")


def test_a_process_that_does_not_come_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setattr(launch, "PATIENCE", 0.2)
    meeting = Meeting()
    monkeypatch.setattr(launch, "store", lambda: meeting)
    meeting.set("here-0-1", "")
    with pytest.raises(StageError, match="process 2 of 3 did not come within"):
        Crew()._await("here-0")


def test_processes_are_not_started_twice_nor_more_than_there_are_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.hardware.cuda_devices", lambda: ["one", "two"])
    monkeypatch.setattr("pipeline.hardware.torch_version", lambda: "2.13.0+cu130")
    with pytest.raises(UsageError, match="--nproc 3: there are 2 CUDA devices"):
        Crew(3)
    Crew(2)
    monkeypatch.setattr("pipeline.hardware.torch_version", lambda: "2.13.0+cpu")
    Crew(3)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="use one of the two"):
        Crew(2)


def test_the_package_is_a_command(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "pipeline", "log", "--json"], capture_output=True, cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, b"[]")


def test_a_stage_that_is_not_parallel_is_the_first_ones_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    work: Callable[[Any], Metrics] = lambda context: {"done": 1}  # noqa: E731
    assert Crew(4).work(Stage("a", 1, __name__, work), None) == {"done": 1}  # type: ignore[arg-type]
