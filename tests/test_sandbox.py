"""Programs on the simulated board: what they did when, and that workers come and go with them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.evaluation import sandbox
from stages.evaluation.node import Interpreter, SandboxUnavailable, find_interpreter
from stages.evaluation.sandbox import Limits, Outcome, Program, run_programs
from stages.evaluation.wiring import I2CDevice, Serial, Setup

try:
    find_interpreter()
except SandboxUnavailable as missing:
    pytest.skip(str(missing), allow_module_level=True)

QUICK = Limits(cpu_seconds=0.5, virtual_seconds=5.0)
WORKER = sandbox._Worker(find_interpreter(), QUICK)  # one for all tests that need no other


@pytest.fixture(scope="module", autouse=True)
def quickly() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "GRACE", 0.2)
        yield
    WORKER.close()


def run(
    *sources: str, limits: Limits = QUICK, setup: Setup | None = None, calls: tuple[str, ...] = ()
) -> list[Outcome]:
    programs = [Program(str(i), source, setup or Setup(), calls) for i, source in enumerate(sources)]
    return list(run_programs(programs, limits=limits))


def one(source: str, setup: Setup | None = None, calls: tuple[str, ...] = ()) -> Outcome:
    return WORKER.run(Program("one", source, setup or Setup(), calls))


FINE = "from machine import Pin\nPin(3, Pin.OUT).on()\nprint('fine')\n"


def test_nothing_leaks_from_one_program_to_the_next() -> None:
    spoil = (
        "import builtins, machine, time, sys, os\n"
        "builtins.print = None\nmachine.Pin = None\ntime.sleep = None\nsys.path.clear()\nsecret = 1\n"
        "os.mkdir('left')\nopen('left/behind', 'w').close()\nmachine.RTC().memory(b'kept')\nmachine.Timer(period=1)\n"
    )
    look = "import machine, os\nprint('secret' in globals(), os.listdir(), machine.RTC().memory())\n" + FINE
    spoiled, looked = run(spoil, look)
    assert spoiled.files == {"left/behind": ""}
    assert looked.stdout == "False ['lib'] b''\nfine"
    assert looked.files == {}


def test_the_log_cannot_be_rewritten_or_read() -> None:
    # stand-ins replaced by impostors: their calls leave no trace, and no operation of the bridge gives the log
    impostor = "import machine\nclass Pin:\n    OUT = 1\n    def __init__(self, *a): pass\n    def on(self): pass\n"
    outcome = one(impostor + "machine.Pin = Pin\nmachine.Pin(5, 1).on()\n")
    assert outcome.events == ()
    source = (
        "import _board\n"
        "for name in ('events', 'record', 'log', 'setup', 'limit', 'now=', 'advance', 'drive', 'values', 'queue'):\n"
        "    print(_board(name, 'pin', 5))\n"
        "_board('value', 'forged', False)\n"
        "_board('pin_write', 5, 1)\n"  # an input: no event
    )
    outcome = one(source)
    assert set(outcome.stdout.split("\n")) == {"!ValueError:no such operation"}
    assert {event["what"] for event in outcome.events} == {"print"}
    assert outcome.values == ()


def test_time_cannot_be_turned_back() -> None:
    outcome = one("import _board, time\ntime.sleep(1)\n_board('until', 0.0)\n_board('until', -1e9)\n" + FINE)
    assert all(event["t"] >= 1_000_000 for event in outcome.events)


def test_calls_are_evaluated_after_the_program() -> None:
    outcome = one("def f(x):\n    return [x, 1 / x]\n", calls=("f(2)", "f(0)", "g(1)", "f(4)"))
    assert [(value.ok, value.text) for value in outcome.values] == [
        (True, "[2, 0.5]"),
        (False, "ZeroDivisionError"),
        (False, "NameError"),
        (True, "[4, 0.25]"),
    ]
    assert outcome.ended == "done"


def test_a_call_that_never_ends_is_a_timeout() -> None:
    outcome = one("def f():\n    exec('while 1: pass')\n", calls=("f()", "1"))
    assert outcome.ended == "timeout"


def test_an_exception_names_its_type_and_line() -> None:
    outcome = one("import time\n\n\ndef f(x):\n    return 1 / x\n\n\ntry:\n    f(1)\nfinally:\n    f(0)\n")
    assert outcome.raised is not None
    assert (outcome.ended, outcome.raised.type, outcome.raised.line) == ("exception", "ZeroDivisionError", 5)


def test_outcomes_keep_the_order_with_several_workers() -> None:
    sources = [f"import time\ntime.sleep({i % 3})\nprint({i})\n" for i in range(40)]
    programs = [Program(str(i), source) for i, source in enumerate(sources)]
    outcomes = list(run_programs(programs, limits=Limits(batch=7), workers=2))
    assert [(o.id, o.stdout) for o in outcomes] == [(str(i), str(i)) for i in range(40)]


def test_the_same_program_does_the_same_twice() -> None:
    source = (
        "import random, time, os\nfrom machine import Pin\np = Pin(1, Pin.OUT)\n"
        "for i in range(50):\n    p.toggle()\n    time.sleep_ms(random.randrange(100))\nprint(random.random())\n"
    )
    first, second = run(source, source)
    assert first.events == second.events


def test_interrupts_come_at_their_instants_inside_a_long_sleep() -> None:
    source = (
        "import time\nfrom machine import Pin, Timer\n"
        "button = Pin(7, Pin.IN, Pin.PULL_UP)\n"
        "button.irq(lambda p: print('pin', time.ticks_us()), Pin.IRQ_FALLING)\n"
        "Timer(mode=Timer.ONE_SHOT, period=1500, callback=lambda t: print('timer', time.ticks_us()))\n"
        "time.sleep(4)\nprint('end', time.ticks_us())\n"
    )
    outcome = one(source, setup=Setup(pins={7: ((0.0, None), (1.0, 0), (2.0, None), (3.0, 0))}))
    found = [(word, round(int(us) / 1e6, 3)) for word, us in (line.split() for line in outcome.stdout.split("\n"))]
    assert found == [("pin", 1.0), ("timer", 1.5), ("pin", 3.0), ("end", 4.0)]


def test_a_timer_goes_on_after_the_program_has_ended() -> None:
    outcome = one("from machine import Timer\nTimer(freq=2, callback=lambda t: print('tick'))\n")
    assert outcome.ended == "time_limit"
    assert outcome.returned_us is not None and outcome.returned_us < 1000
    ticks = [event["t"] // 1000 for event in outcome.events if event["what"] == "print"]
    assert ticks == [500 * i for i in range(1, 11)]


def test_a_flag_set_by_an_interrupt_ends_a_loop_that_never_sleeps() -> None:
    source = (
        "from machine import Timer\nimport time\nflag = False\n\ndef fire(t):\n    global flag\n    flag = True\n\n"
        "Timer(mode=Timer.ONE_SHOT, period=800, callback=fire)\nwhile not flag:\n    pass\nprint(time.ticks_ms())\n"
    )
    assert one(source).stdout == "800"


def test_a_program_that_only_waits_for_interrupts_says_so() -> None:
    press = Setup(pins={7: ((0.0, None), (1.0, 0))})
    armed = "from machine import Pin\nPin(7, Pin.IN, Pin.PULL_UP).irq(lambda p: print('down'), Pin.IRQ_FALLING)\n"
    waiting = one(armed, setup=press)
    assert (waiting.ended, waiting.end_us, waiting.stdout) == ("waiting", 5_000_000, "down")
    timer = "from machine import Timer\nTimer(period=900, callback=lambda t: None)\n"
    assert one(armed + timer, setup=press).ended == "time_limit"


def test_a_loop_that_sleeps_keeps_its_time() -> None:
    source = "import time\nfor i in range(150):\n    time.sleep_ms(10)\nprint(time.ticks_ms())\n"
    polled = source.replace("for i in range(150):", "i = 0\nwhile i < 150:\n    i += 1")
    assert [one(text).stdout for text in (source, polled)] == ["1500", "1500"]


def test_a_watchdog_that_is_not_fed_resets() -> None:
    outcome = one("from machine import WDT\nimport time\nWDT(timeout=1000)\ntime.sleep(3)\nprint('late')\n")
    assert (outcome.ended, outcome.end_us, outcome.stdout) == ("reset", 1_000_000, "")


def test_a_bus_on_the_wrong_pins_finds_nothing() -> None:
    setup = Setup(i2c=(I2CDevice(0x40, registers={1: b"\xab\xcd"}, sda=4, scl=5),))
    source = "from machine import I2C, Pin\nbus = I2C(0, sda=Pin({}), scl=Pin({}))\nprint(bus.scan())\n"
    right, wrong = run(
        source.format(4, 5) + "print(bus.readfrom_mem(0x40, 1, 2))\n",
        source.format(0, 1) + "bus.readfrom(0x40, 1)\n",
        setup=setup,
    )
    assert right.stdout == "[64]\nb'\\xab\\xcd'"
    assert wrong.stdout == "[]"
    assert wrong.raised is not None and wrong.raised.type == "OSError"


def test_a_wrong_baud_rate_garbles() -> None:
    setup = Setup(uart={0: Serial(input=((1.0, b"hello\n"),), baudrate=9600)})
    source = "from machine import UART\nimport time\nu = UART(0, {})\ntime.sleep(2)\nprint(u.read())\n"
    right, wrong = run(source.format(9600), source.format(115200), setup=setup)
    assert right.stdout == "b'hello\\n'"
    assert "hello" not in wrong.stdout


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize(("by", "ended"), [("SIGKILL", "crashed"), ("SIGSEGV", "crashed"), ("SIGSTOP", "timeout")])
def test_a_worker_that_is_killed_crashes_or_hangs_costs_only_its_own_program(
    monkeypatch: pytest.MonkeyPatch, by: str, ended: str
) -> None:
    monkeypatch.setattr(sandbox, "GRACE", 0.1)
    monkeypatch.setattr(sandbox, "PATIENCE", 2)
    worker = sandbox._Worker(find_interpreter(), Limits(cpu_seconds=0.4))
    try:
        assert worker.run(Program("before", FINE)).ended == "done"
        assert worker.process is not None
        threading.Timer(0.15, os.kill, (worker.process.pid, getattr(signal, by))).start()
        assert worker.run(Program("endless", "exec('while True: pass')\n")).ended == ended
        assert worker.run(Program("after", FINE)).stdout == "fine"
    finally:
        worker.close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_program_that_waits_for_a_core_is_not_out_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "PATIENCE", 0.5)
    limits = Limits(cpu_seconds=4.0)
    worker = sandbox._Worker(find_interpreter(), limits)
    done = threading.Event()

    def starve(pid: int) -> None:  # a core for a seventh of the time
        while not done.wait(0.05):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.3)
            os.kill(pid, signal.SIGCONT)

    try:
        assert worker.run(Program("before", FINE)).ended == "done"
        assert worker.process is not None
        thread = threading.Thread(target=starve, args=(worker.process.pid,))
        thread.start()
        outcome = worker.run(Program("slow", "exec('for i in range(2_000_000): pass')\nprint('fine')\n"))
        done.set()
        thread.join()
        assert outcome.wall_seconds > sandbox.PATIENCE * (limits.cpu_seconds + sandbox.GRACE)
        assert (outcome.ended, outcome.stdout) == ("done", "fine")
    finally:
        done.set()
        worker.close()


def test_an_answer_that_is_not_our_workers_is_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = sandbox._Worker(find_interpreter(), QUICK)
    try:
        for forged in ({}, {"exception": 5}, {"exception": None, "ended": "done", "virtual_us": None}):
            with monkeypatch.context() as patch:
                patch.setattr(worker, "start", lambda: sandbox._Worker.start(worker))
                worker.stop()
                worker.start()
                patch.setattr(worker, "_answer", lambda seconds, forged=forged: forged)
                assert worker.run(Program("forged", FINE)).ended == "crashed"
        assert worker.run(Program("after", FINE)).stdout == "fine"
    finally:
        worker.close()
    assert sandbox._object(b"[" * 100_000 + b"\n") == sandbox._object(b"{\n") == sandbox._object(b"[]\n") == "crashed"


def test_outcomes_are_made_only_a_little_ahead() -> None:
    made = []

    class Counted(tuple[str, ...]):  # asked for its calls when a program is sent
        def __iter__(self) -> Iterator[str]:
            made.append(1)
            return super().__iter__()

    generator = run_programs([Program(str(i), FINE, calls=Counted()) for i in range(60)], limits=QUICK)
    next(generator)
    time.sleep(0.5)
    generator.close()
    assert len(made) <= sandbox.AHEAD + 3


def workers_in(folder: str) -> list[str]:
    found = []
    for entry in (path for path in Path("/proc").iterdir() if path.name.isdigit()):
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink().is_relative_to(folder) and b"worker.mjs" in (entry / "cmdline").read_bytes():
                found.append(entry.name)
    return found


def test_no_process_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    generator = run_programs([Program("a", FINE), Program("b", FINE)], limits=QUICK)
    next(generator)
    assert len([*tmp_path.iterdir()]) == 1
    generator.close()
    assert [*tmp_path.iterdir()] == workers_in(str(tmp_path)) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and prlimit")
def test_a_worker_whose_parent_was_killed_ends_by_itself(tmp_path: Path) -> None:
    script = (
        "from stages.evaluation.sandbox import *\n"
        "list(run_programs([Program('a', \"exec('while True: pass')\")], limits=Limits(cpu_seconds=1.0)))\n"
    )
    root = Path(sandbox.__file__).parents[2]
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=root, env={**os.environ, "TMPDIR": str(tmp_path)})
    deadline = time.monotonic() + 30
    while not workers_in(str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    assert workers_in(str(tmp_path))
    while workers_in(str(tmp_path)) and time.monotonic() < deadline + 30:
        time.sleep(0.2)
    assert not workers_in(str(tmp_path))


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent another way")
def test_nothing_stays_behind_after_ctrl_c(tmp_path: Path) -> None:
    script = (
        "from stages.evaluation.sandbox import *\nprint('go', flush=True)\n"
        "endless = [Program(str(i), \"exec('while True: pass')\") for i in range(4)]\n"
        "list(run_programs(endless, limits=Limits(cpu_seconds=20.0), workers=2))\n"
    )
    root = Path(sandbox.__file__).parents[2]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", script], cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert parent.stdout is not None and parent.stdout.readline() == b"go\n"
    deadline = time.monotonic() + 30
    while len([*tmp_path.iterdir()]) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    parent.send_signal(signal.SIGINT)
    assert parent.wait(timeout=30) != 0
    parent.stdout.close()
    assert [*tmp_path.iterdir()] == [] and workers_in(str(tmp_path)) == []


def test_the_network_is_taken_away_only_where_that_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("PATH", str(tmp_path))
    asked = sandbox.without_network.__wrapped__  # what it found out on this machine stays as it is
    assert asked() == ()
    tool = tmp_path / "unshare"
    for status, words in ((1, ()), (0, (str(tool), "--user", "--map-current-user", "--net"))):
        tool.write_text(f"#!/bin/sh\nexit {status}\n")
        tool.chmod(0o755)
        assert asked() == words


def test_a_process_that_cannot_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Interpreter(tmp_path / "node", tmp_path / "wasm", "--permission")
    monkeypatch.setattr(sandbox, "without_network", lambda: ())
    with pytest.raises(SandboxUnavailable, match="no process can be started") as caught:
        list(run_programs([Program("a", FINE)], interpreter=gone))
    assert str(tmp_path / "node") in caught.value.hint


@pytest.mark.skipif(not sandbox.without_network(), reason="the system gives no network of its own")
def test_a_program_that_broke_out_would_find_no_network(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        script = (
            f"(await import('node:net')).connect({server.getsockname()[1]}, '127.0.0.1')"
            ".on('connect', () => process.exit(0)).on('error', (e) => { console.error(e.code); process.exit(1); })"
        )
        command = [*sandbox.confined(find_interpreter(), Limits()), "--input-type=module", "-e", script]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={}, timeout=60, check=False)
    assert (done.returncode, done.stderr.strip()) == (1, "ENETUNREACH")


@pytest.mark.parametrize(
    "script",
    [
        "(await import('node:fs')).readFileSync('/etc/passwd')",
        "(await import('node:fs')).writeFileSync('/tmp/escaped', 'x')",
        "(await import('node:child_process')).execSync('true')",
        "new (await import('node:worker_threads')).Worker('1', { eval: true })",
        "(0, eval)('1')",
        "new Function('return process')()",
    ],
)
def test_a_program_that_broke_out_would_find_the_next_wall(script: str, tmp_path: Path) -> None:
    command = [*sandbox.confined(find_interpreter(), Limits()), "--input-type=module", "-e", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={}, timeout=60, check=False)
    assert done.returncode != 0
    assert "ERR_ACCESS_DENIED" in done.stderr or "Code generation from strings disallowed" in done.stderr


def test_a_function_under_test_gives_one_value_for_each_call() -> None:
    source = "import _board\ndef f():\n    for i in range(5): _board('value', '42', False)\n    return 1\n"
    assert [value.text for value in one(source, calls=("f()", "2")).values] == ["42", "2"]
