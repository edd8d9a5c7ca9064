"""Work in other processes: in order, with little in memory, and ended at its limits."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.shards import LimitExceeded, call_limited, map_ordered


def slow_when_even(number: int) -> tuple[int, int]:
    time.sleep(0.02 if number % 2 == 0 else 0)
    return number, os.getpid()


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_inputs(workers: int) -> None:
    results = list(map_ordered(slow_when_even, range(21), workers=workers))
    assert [number for number, _ in results] == list(range(21))
    assert (os.getpid() in {pid for _, pid in results}) is (workers == 1)


def test_no_input_gives_no_output() -> None:
    assert list(map_ordered(math.sqrt, [], workers=2)) == []


def test_inputs_are_taken_as_they_are_needed() -> None:
    taken = 0

    def inputs() -> Iterator[float]:
        nonlocal taken
        for number in range(10_000):
            taken += 1
            yield float(number)

    results = map_ordered(math.sqrt, inputs(), workers=2)
    assert [next(results) for _ in range(3)] == [0.0, 1.0, math.sqrt(2)]
    assert taken <= 20
    results.close()  # type: ignore[attr-defined]
    assert taken <= 20


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_function_is_raised_here(workers: int) -> None:
    results = map_ordered(math.sqrt, [4.0, -1.0, 9.0], workers=workers)
    assert next(results) == 2.0
    with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
        next(results)


def test_nothing_is_waited_for_when_the_rest_is_not_wanted() -> None:
    results = map_ordered(time.sleep, [0, *[60] * 20], workers=2)
    assert next(results) is None
    began = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 20


def limited(function: object, value: object, *, seconds: float = 30, megabytes: int = 2000) -> object:
    return call_limited(function, value, timeout_seconds=seconds, max_memory_mb=megabytes)  # type: ignore[arg-type]


def test_a_call_within_its_limits_returns_its_result() -> None:
    assert limited(math.factorial, 20) == math.factorial(20)
    assert limited(bytes, 10_000_000) == bytes(10_000_000)


def test_a_call_that_takes_too_long_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(LimitExceeded, match=r"took longer than 0\.5 s"):
        limited(time.sleep, 60, seconds=0.5)
    assert time.monotonic() - began < 20


@pytest.mark.skipif(sys.platform != "linux", reason="the limit holds on Linux")
def test_a_call_that_needs_too_much_memory_is_ended() -> None:
    with pytest.raises(LimitExceeded, match="needed more than 500 MB"):
        limited(bytearray, 10**9, megabytes=500)


def test_a_call_that_dies_is_told_with_its_exit_code() -> None:
    with pytest.raises(LimitExceeded, match=r"its process died \(exit 7; limit 2000 MB\)"):
        limited(os._exit, 7)
    with pytest.raises(LimitExceeded, match=r"its process died \(exit -9; "):
        limited(kill_myself, signal.SIGKILL)


def kill_myself(number: int) -> None:
    os.kill(os.getpid(), number)


def test_an_error_of_the_call_is_raised_here() -> None:
    with pytest.raises(ValueError, match="invalid literal for int"):
        limited(int, "x")
    with pytest.raises(TypeError, match="pickle"):
        limited(make_lock, None)


def make_lock(_: object) -> object:
    return threading.Lock()


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_is_left_running() -> None:
    limited(math.sqrt, 4.0)  # starts multiprocessing's own helper process, which stays
    before = children()
    with pytest.raises(LimitExceeded):
        limited(time.sleep, 60, seconds=0.1)
    assert children() == before


def test_ctrl_c_is_left_to_the_parent() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored already, as by nohup
    try:
        assert limited(signal.getsignal, signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def squared_on_a_worker(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def test_workers_end_when_their_parent_is_killed() -> None:
    code = (
        "import os, time; from pipeline.shards import map_ordered; import test_shards\n"
        "if __name__ == '__main__':\n"
        "    results = map_ordered(test_shards.squared_on_a_worker, range(10**9), workers=2)\n"
        "    print(next(results)[1], flush=True)\n"
        "    time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(200):
        if not is_running(worker):
            return
        time.sleep(0.05)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its parent by 10 s")


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")  # an orphan that nobody reaps is dead, and still there
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_ray_gives_what_processes_give() -> None:
    pytest.importorskip("ray")
    code = (
        "from pipeline.shards import map_ordered; import math\n"
        "print(list(map_ordered(math.sqrt, range(40), workers=2, engine='ray')))\n"
        "results = map_ordered(math.sqrt, [4.0, -1.0], workers=2, engine='ray')\n"
        "print(next(results))\n"
        "try:\n    next(results)\nexcept ValueError as error:\n    print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines() == [str([math.sqrt(number) for number in range(40)]), "2.0", "ValueError"]


def test_ray_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="needs Ray") as error:
        next(map_ordered(math.sqrt, [1.0], engine="ray"))
    assert "pipeline[ray]" in str(error.value.hint)


def start_another(path: str) -> int:
    """Start a process that goes on for long, note its id, and go on for long, too."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path(path).write_text(str(child.pid))
    time.sleep(60)
    return child.pid


def wait_until_gone(pid: int, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while is_running(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not is_running(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_a_call_started_is_ended_with_it(tmp_path: Path) -> None:
    with pytest.raises(LimitExceeded, match="took longer"):
        limited(start_another, str(tmp_path / "pid"), seconds=3)
    assert wait_until_gone(int((tmp_path / "pid").read_text()))


def note_and_sleep(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_call_ends_when_its_caller_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    code = f"from test_shards import *\nlimited(note_and_sleep, {str(path)!r})"
    places = [str(Path(__file__).parent), *sys.path]
    caller = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    )
    end = time.monotonic() + 30
    while not (path.exists() and path.read_text()) and time.monotonic() < end:
        time.sleep(0.02)
    caller.kill()
    caller.wait()
    assert wait_until_gone(int(path.read_text()))


class Stubborn(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def raise_stubborn(_: object) -> None:
    raise Stubborn("this", "that")


def test_an_error_that_cannot_travel_is_told_all_the_same() -> None:
    with pytest.raises(RuntimeError, match="Stubborn: this and that"):
        limited(raise_stubborn, None)


def test_the_main_script_does_not_run_again_in_each_call(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\nimport math\nfrom pipeline.shards import call_limited\n"
        "with Path('log').open('a') as file:\n    file.write('x')\n"
        "if __name__ == '__main__':\n"
        "    print([call_limited(math.sqrt, 4.0, timeout_seconds=30, max_memory_mb=2000) for _ in range(2)])\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), *sys.path]))}
    told = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert told.stdout == b"[2.0, 2.0]\n" and (tmp_path / "log").read_text() == "x"


def call_once_more(number: float) -> object:
    return limited(math.sqrt, number)


def test_a_worker_of_a_map_can_call_with_limits() -> None:
    assert list(map_ordered(call_once_more, [4.0, 9.0, 16.0], workers=2)) == [2.0, 3.0, 4.0]
