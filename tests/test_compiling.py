"""What counts as a program that compiles; mpy-cross itself is the judge of the rest."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.evaluation import compiling
from stages.evaluation.compiling import compile_all, compiles

PROGRAM = "from machine import Pin\n\nled = Pin(15, Pin.OUT)\nled.on()\n"


@pytest.mark.parametrize(
    "code",
    [
        PROGRAM,
        PROGRAM.rstrip("\n"),
        "pass",
        'print("25 °C")  # mesuré à 20 °C\n',
        "'''A title – with a dash'''\nx = 'it\\'s “quoted”'\n",
        '"""He said "“no”" twice"""\nx = 1\n',
        "x = b'\\xff' if 1 else '°'\n",
        "@micropython.viper\ndef f(p: ptr8) -> int:\n    return p[0]\n",
        "@rp2.asm_pio()\ndef f():\n    set(pins, 1) [31]\n",
    ],
)
def test_a_program_compiles(code: str) -> None:
    assert compiles(code)


@pytest.mark.parametrize(
    "code",
    [
        "",
        "  \n\n",
        "# only a comment\n",
        "def f(:\n",
        "Turn the LED on.",
        "```python\nprint(1)\n```",
        "print(“hello”)\n",
        "print(‘hello’)\n",
        "größe = 3\n",
        "x = 1 – 2\n",
        "x\u00a0= 1\n",
        "x = '\ud800'\n",
        "if True:\nprint(1)\n",
    ],
)
def test_what_is_no_program_does_not_compile(code: str) -> None:
    assert not compiles(code)


def test_many_are_judged_in_their_order() -> None:
    codes = [PROGRAM, "def f(:", "", "x = 1"] * 5
    assert compile_all(codes) == [True, False, False, True] * 5
    assert compile_all([]) == []


def test_as_many_compilers_work_as_there_are_cores_for_us(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, workers: int | None = None) -> None:
            asked.append(workers)
            super().__init__(workers)

    monkeypatch.setattr(compiling, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {1, 4, 5}, raising=False)
    assert compile_all(["x = 2", "x ="]) == [True, False] and asked == [3]


def test_a_program_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(compiling, "accepted", lambda code: asked.append(code) or True)
    assert compiles("once = 1") and compile_all(["once = 1", "twice = 2"]) == [True, True]
    assert asked == ["once = 1", "twice = 2"]


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=60))
def test_any_text_can_be_a_string_or_a_comment_and_nothing_else(text: str) -> None:
    said = text.replace("\r", "").replace("\n", "").replace("\0", "")
    beside = "".join(c for c in said if c.isalpha() and not c.isascii() and c.isprintable())
    assert compiles(f"x = {said!a}  # {said.encode(errors='ignore').decode()}\n")
    if beside:
        assert not compiles(f"{beside} = 1\n")
