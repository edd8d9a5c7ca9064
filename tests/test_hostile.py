"""Programs that mean harm end contained and counted, inside their limits, and the next one finds a fresh board."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.evaluation import sandbox
from stages.evaluation.node import SandboxUnavailable, find_interpreter
from stages.evaluation.sandbox import Limits, Outcome, Program, run_programs
from stages.evaluation.task import judge_all
from stages.evaluation.tasks import SUITE

try:
    find_interpreter()
except SandboxUnavailable as missing:
    pytest.skip(str(missing), allow_module_level=True)

LIMITS = Limits(cpu_seconds=0.3, virtual_seconds=5.0, process_mb=400)
GRACE = 0.1
FINE = "from machine import Pin\nPin(3, Pin.OUT).on()\nprint('fine')\n"
FORGED = '{"id":"0","ended":"done","exception":null,"returned":0,"virtual_us":0,"stdout":"","events":[],"values":[]}'

# Each ends by itself or at a limit that the interpreter's process keeps; its name, its text, how it may end.
STOPPED = {
    "a loop that does nothing": ("while True:\n    pass\n", {"time_limit"}),
    "an endless for": ("def f():\n    while True: yield 1\nfor x in f(): pass\n", {"time_limit", "timeout"}),
    "a flood of output": ("while True:\n    print('x' * 1000)\n", {"output"}),
    "a flood without line ends": ("while True:\n    print('x' * 1000, end='')\n", {"output"}),
    "a flood of line ends": ("import sys\nwhile True:\n    sys.stdout.write('\\r' * 999)\n", {"output"}),
    "a flood of events": (
        "from machine import Pin\np = Pin(1, Pin.OUT)\nwhile True:\n    p.toggle()\n",
        {"event_limit", "timeout"},
    ),
    "a flood of timers": (
        "from machine import Timer\nwhile True: Timer(period=1000, callback=print)\n",
        {"event_limit", "timeout"},
    ),
    "a flood of tasks": (
        "import asyncio\nasync def f():\n    while True:\n        asyncio.create_task(f())\n"
        "        await asyncio.sleep(0)\nasyncio.run(f())\n",
        {"time_limit", "timeout"},
    ),
    "errors in every interrupt": (
        "from machine import Timer\ndef f(t): raise ValueError('x' * 5000)\nTimer(period=1, callback=f)\n",
        {"output"},
    ),
    "an exit in an interrupt": (
        "from machine import Timer\nimport sys, time\nTimer(period=9, callback=lambda t: sys.exit())\ntime.sleep(1)\n",
        {"done"},
    ),
    "a flood of files": ("i = 0\nwhile True:\n    open(str(i), 'w').close()\n    i += 1\n", {"exception", "timeout"}),
    "folders in folders": ("import os\nwhile True:\n    os.mkdir('a')\n    os.chdir('a')\n", {"exception"}),
    "a file without end": ("f = open('f', 'w')\nwhile True:\n    f.write('x' * 4096)\n", {"exception"}),
    "files left open": ("x = []\nwhile True:\n    x.append(open('f', 'w'))\n", {"exception"}),
    "files with odd names": ("for n in ('__proto__', 'a\\0b', '\\ud800'): open(n, 'w').write('x')\n", {"done"}),
    "ten gigabytes at once": ("x = bytearray(10 * 1024 ** 3)\n", {"exception", "memory"}),
    "ten gigabytes in pieces": ("x = []\nwhile True:\n    x.append(bytearray(1 << 20))\n", {"memory"}),
    "doubling": ("x = b'ab'\nwhile True:\n    x = x + x\n", {"memory"}),
    "deep recursion": ("def f(n):\n    return f(n + 1) + 1\nf(0)\n", {"exception"}),
    "recursion through repr": ("x = []\nfor i in range(100000):\n    x = [x]\nprint(x)\n", {"exception", "crashed"}),
    "a regular expression that recurses": ("import re\nre.match('(a*)*b', 'a' * 40)\n", {"exception", "crashed"}),
    "deep JSON": ("import json\njson.loads('[' * 100000)\n", {"exception", "memory"}),
    "a swallowed limit": (
        "import time\nwhile True:\n    try:\n        time.sleep(100)\n    except BaseException:\n        pass\n",
        {"time_limit"},
    ),
    "a limit met by finally": (
        "import time\ntry:\n    while True: time.sleep(1)\nfinally:\n    while True: time.sleep(1)\n",
        {"time_limit"},
    ),
    "a wait for input": ("input()\ninput()\n", {"time_limit"}),
    "a poll of the input": (
        "import select, sys\np = select.poll()\np.register(sys.stdin, 1)\nwhile True: p.poll(1000)\n",
        {"time_limit"},
    ),
    "the host's files": ("print(open('/etc/passwd').read())\n", {"exception"}),
    "the worker's files": ("import os\nos.chdir('..')\nprint(open('/proc/self/environ').read())\n", {"exception"}),
    "a child process": ("import os\nos.system('touch /tmp/escaped')\n", {"exception"}),
    "a fork": ("import os\nos.fork()\n", {"exception"}),
    "the environment": ("import os\nprint(os.environ)\n", {"exception"}),
    "a socket": ("import socket\nsocket.socket()\n", {"exception"}),
    "a package from the network": ("import mip\nmip.install('requests')\n", {"exception"}),
    "a module from the network": ("import sys\nsys.path.append('http://127.0.0.1/')\nimport thing\n", {"exception"}),
    "JavaScript's process": ("import js\njs.process.exit(0)\n", {"exception"}),
    "JavaScript's globals": ("import js\njs.globalThis.fetch('http://127.0.0.1')\n", {"exception"}),
    "JavaScript's eval": ("import js\njs.eval('1')\n", {"exception"}),
    "a JavaScript proxy": ("import jsffi\njsffi.create_proxy(print).constructor('return process')()\n", {"exception"}),
    "the bridge's attributes": ("import _board\n_board.constructor.constructor('return process')()\n", {"exception"}),
    "the bridge by prototype": ("import _board\nprint(_board('constructor'), _board('__proto__'))\n", {"done"}),
    "odd arguments for the bridge": (
        "import _board\n"
        "for name in ('until', 'pin_mode', 'i2c', 'spi', 'uart_write', 'timer', 'wlan', 'neopixel', 'pulse', 'adc'):\n"
        "    for arg in (None, -1, 1e300, float('nan'), 'x' * 100000, '__proto__', print):\n"
        "        _board(name, arg, arg, arg, arg)\n",
        {"done", "crashed", "event_limit", "time_limit", "exception"},
    ),
    "a timer that is never": (
        "import _board, time\n_board('timer', 1, 1, float('nan'), True)\ntime.sleep(1)\n",
        {"exception", "time_limit"},
    ),
    "a bus of no speed": (
        "import _board\n_board('i2c_init', 0, 4, 5, float('nan'))\n_board('i2c', 0, 64, '00', 1e9)\n"
        "_board('i2c', 0, 64, '00', 9)\n_board('spi_init', 0, 18, 19, 16, -1.0, 0)\n_board('spi', 0, '00' * 99)\n",
        {"done", "time_limit"},
    ),
    "a reset by the bridge": ("import _board\n_board('reset', 'x' * 10**6)\n", {"reset"}),
    "a log of huge entries": (
        "from neopixel import NeoPixel\nfrom machine import Pin\nn = NeoPixel(Pin(1), 50000)\n"
        "while True:\n    n.write()\n",
        {"event_limit", "time_limit", "timeout"},
    ),
    "pins without end": (
        "import _board\ni = 0\nwhile True:\n    _board('pin_read', str(i))\n    i += 1\n",
        {"event_limit"},
    ),
    "nobody serves the board": ("import _hw\n_hw.op = _hw._board = lambda *a: True\nimport time\n", {"done"}),
    "the built-ins are gone": (
        "import builtins\nfor n in dir(builtins):\n    try: delattr(builtins, n)\n    except Exception: pass\n",
        {"done", "exception"},
    ),
    "the wasm memory read": ("import uctypes\nuctypes.bytearray_at(1 << 31, 100)[0]\n", {"crashed", "exception"}),
    "the wasm memory": (
        "import uctypes\nfor at in range(0, 1 << 24, 4096):\n    uctypes.bytearray_at(at, 4096)[:] = b'\\xff' * 4096\n",
        {"timeout", "crashed", "exception"},
    ),
    "a trace function": ("import sys\nsys.settrace(lambda *a: None)\n", {"exception"}),
    "an exit": ("import sys\nsys.exit(3)\n", {"done"}),
    "unicode look-alikes": ("wһile = 1\nрrint('cyrillic')\n", {"exception"}),
    "directions reversed": ("# \u202e }\u2066 if admin\nprint('\u202e')\n", {"done"}),
    "a null and a lone surrogate": ("print('\x00')\n'\ud800'\n", {"done", "exception"}),
    "the protocol in the output": (f"print({FORGED!r})\nimport sys\nsys.stdout.write('\\n{FORGED}\\n')\n", {"done"}),
    "text that never parses": ("\x00\xff" * 1000, {"exception"}),
}

# Each has to be killed from outside.
KILLED = {
    "a loop that the clock does not see": ("exec('while True: pass')\n", {"timeout"}),
    "a loop without its clock": ("import builtins\nbuiltins.__tick__ = lambda: 1\nwhile True: pass\n", {"timeout"}),
    "a huge power": ("x = 9 ** 9 ** 9\n", {"timeout", "exception", "memory"}),
    "a number of a hundred million digits": ("x = 10 ** (10 ** 8)\n", {"timeout", "exception", "memory"}),
    "numbers squared without end": ("exec('x = 3\\nwhile 1: x *= x')\n", {"timeout", "memory"}),
    "a wide format": ("print('{:999999999}'.format(1))\n", {"timeout", "memory", "output"}),
    "a wide old format": ("print('%999999999d' % 1)\n", {"timeout", "memory", "output"}),
    "a regular expression that backtracks": ("import re\nre.match('(.*)' * 9 + 'x', 'a' * 300)\n", {"timeout"}),
    "memory and no error": (
        "x = []\nwhile True:\n    try:\n        x.append(bytearray(65536))\n    except MemoryError:\n        pass\n",
        {"timeout", "time_limit"},
    ),
    "deep brackets": ("x = " + "(" * 20000 + ")" * 20000 + "\n", {"done", "exception", "crashed", "timeout"}),
    "byte code of its own": (
        "open('evil.mpy', 'wb').write(b'M\\x06\\x03\\x1f\\x02\\x00' + b'\\xff' * 300)\nimport evil\n",
        {"timeout", "exception", "crashed", "memory"},
    ),
}
HOSTILE = STOPPED | KILLED


def outcomes_of(cases: dict[str, tuple[str, set[str]]], workers: int) -> dict[str, Outcome]:
    """Every hostile program, each followed by an innocent one."""
    programs = [Program(name, text) for each, (source, _) in cases.items() for name, text in after(each, source)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "GRACE", GRACE)
        return {outcome.id: outcome for outcome in run_programs(programs, limits=LIMITS, workers=workers)}


def after(name: str, source: str) -> Iterator[tuple[str, str]]:
    yield name, source
    yield f"after {name}", FINE


@pytest.fixture(scope="module")
def stopped() -> dict[str, Outcome]:
    return outcomes_of(STOPPED, workers=2)


@pytest.fixture(scope="module")
def killed() -> dict[str, Outcome]:
    return outcomes_of(KILLED, workers=2)


def contained(outcome: Outcome) -> None:
    assert outcome.ended in HOSTILE[outcome.id][1], outcome
    assert outcome.wall_seconds < 20 * (LIMITS.cpu_seconds + GRACE) + 4  # also on a busy machine
    assert len(outcome.stdout) <= LIMITS.output_bytes
    assert len(outcome.events) <= LIMITS.events
    assert sum(len(name) + len(text) for name, text in outcome.files.items()) <= LIMITS.file_bytes


def fresh(outcome: Outcome) -> None:
    assert (outcome.ended, outcome.stdout, outcome.files) == ("done", "fine", {})
    assert [event["what"] for event in outcome.events] == ["pin_mode", "pin", "print"]


@pytest.mark.parametrize("name", STOPPED)
def test_a_hostile_program_ends_contained_and_counted(stopped: dict[str, Outcome], name: str) -> None:
    contained(stopped[name])
    fresh(stopped[f"after {name}"])


@pytest.mark.slow
@pytest.mark.parametrize("name", KILLED)
def test_one_that_has_to_be_killed_costs_nobody_else_anything(killed: dict[str, Outcome], name: str) -> None:
    contained(killed[name])
    fresh(killed[f"after {name}"])


REPRS = (
    "'[' * 9000",
    "'-' * 9000 + '1'",
    "'9' * 9000",
    "'1e999'",
    "'{' + '(),' * 3000 + '}'",
    "'\\x00'",
    "'x' * 60000",
)


def test_values_and_files_that_mean_harm_are_wrong_and_no_more() -> None:
    tasks = {task.id: task for task in SUITE}
    for_calls = "class R:\n    def __repr__(self): return {}\ndef bar(*a): return R()\n"
    answers = [(tasks["python/level-bar"], for_calls.format(text)) for text in REPRS]
    deep = "open('cal.json', 'w').write('[' * 100000)\n"
    wide = "open('log.csv', 'w').write('9' * 100000 + '\\n,' * 9000)\n"
    weigh = "import time\nwhile True:\n    print('0.0')\n    time.sleep(0.5)\n"
    answers += [(tasks["programs/kitchen-scale"], deep + weigh), (tasks["programs/thermostat-log"], wide + weigh)]
    assert [verdict.kind for _, _, verdict in judge_all(answers, limits=LIMITS)] == ["wrong"] * len(answers)


def test_nothing_of_the_host_was_seen_or_made(stopped: dict[str, Outcome]) -> None:
    assert not Path("/tmp/escaped").exists()
    assert not any("root:" in outcome.stdout or "PATH=" in outcome.stdout for outcome in stopped.values())


def test_what_was_printed_is_text_and_no_message(stopped: dict[str, Outcome]) -> None:
    assert stopped["the protocol in the output"].stdout == f"{FORGED}\n\n{FORGED}"


def test_time_is_a_number_whatever_the_board_was_asked(stopped: dict[str, Outcome]) -> None:
    for outcome in stopped.values():
        times = [event["t"] for event in outcome.events]
        assert times == sorted(times) and 0 <= outcome.end_us <= 5_000_000
