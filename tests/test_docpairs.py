"""Questions and answers from docstrings: grammatical, true, and with all that the function needs."""

from __future__ import annotations

import ast
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.corpus.rewrite import compiles, docstring_pairs, fenced_python
from stages.corpus.rewrite.docpairs import description_of
from stages.corpus.rewrite.excerpts import Program
from stages.corpus.rewrite.grammar import VERBS, infinitive, sentences, third_person, third_person_of
from stages.corpus.rewrite.texts import parse

CODE = Path(__file__).parents[1] / "corpus/code"
PROGRAM = '''\
"""A demo."""
import time
from machine import ADC, Pin, PWM
from micropython import const

FULL = const(65535)
SCALE = 3.3 / FULL  # volts per count
led = Pin(15, Pin.OUT)


def volts(adc):
    """Read a pin and return its voltage in volts.

    More that nobody asks for.
    """
    raw = adc.read_u16()
    return raw * SCALE


def average(adc, count):
    """Return the mean voltage of count readings."""
    total = 0
    for _ in range(count):
        total += volts(adc)
        time.sleep_ms(2)
    return total / count


def flash():
    """Switch the LED on and off as fast as it can."""
    led.on()
    led.off()
    led.on()


def short():
    """Too short."""
    return 1
'''


def pairs(source: str = PROGRAM, seed: int = 1, limit: int = 9) -> list[tuple[str, str]]:
    return docstring_pairs(source, random.Random(seed), limit)


@pytest.mark.parametrize(
    ("imperative", "third"),
    [
        ("Return the angle in degrees.", "returns the angle in degrees."),
        ("Returns the angle in degrees.", "returns the angle in degrees."),
        ("Read a pin and return its voltage.", "reads a pin and returns its voltage."),
        ("Flash an LED; wait a second.", "flashes an LED; waits a second."),
        ("Enable or Disable the LED.", "enables or disables the LED."),
        ("Return the count and scale.", None),  # a verb or a noun?
        ("Try every address, then show the free ones.", "tries every address, then shows the free ones."),
        ("The angle in degrees.", None),
        ("Button that reports events.", None),
        ("Return", None),
    ],
)
def test_the_third_person(imperative: str, third: str | None) -> None:
    assert third_person(imperative) == third


def test_verbs_are_conjugated() -> None:
    told = {"push": "pushes", "fix": "fixes", "try": "tries", "play": "plays", "go": "goes", "pass": "passes"}
    assert {verb: third_person_of(verb) for verb in told} == told
    assert infinitive("Return the angle.") == "return the angle." and infinitive("Angle of the servo.") is None
    assert all(third_person(f"{verb.capitalize()} the pin.") == f"{third_person_of(verb)} the pin." for verb in VERBS)
    assert sentences("Return 0.5 of it. Raise `OSError` if not. `x` stays.") == [
        "Return 0.5 of it.", "Raise `OSError` if not.", "`x` stays.",
    ]  # fmt: skip


def function(docstring: str) -> ast.FunctionDef:
    found = ast.parse(f"def f(a):\n    {docstring!r}\n    return a\n").body[0]
    assert isinstance(found, ast.FunctionDef)
    return found


@pytest.mark.parametrize(
    ("docstring", "description"),
    [
        ("Return the mean\n    of all readings.\n\n    More.", "Return the mean of all readings."),
        ("Return the mean of all readings", "Return the mean of all readings."),
        ("Return the mean.", None),
        ("Return the mean of all readings, see above.", None),
        (">>> mean(1, 2)  # this is an example of use", None),
        ("Return the mean of these values:", None),
        (":param a: the first of all the values", None),
    ],
)
def test_only_a_sentence_that_says_it_all_is_a_description(docstring: str, description: str | None) -> None:
    assert description_of(function(docstring)) == description


def test_a_function_comes_with_what_it_needs_and_with_nothing_else() -> None:
    code = parse(0, 0, PROGRAM)
    assert code
    program = Program(code)
    alone = {each.name: program.alone(each) for each in program.functions()}
    assert alone["flash"] is None  # an object made at the top
    assert alone["volts"] == (
        "from micropython import const\n\nFULL = const(65535)\nSCALE = 3.3 / FULL  # volts per count\n\n\n"
        + PROGRAM[PROGRAM.index("def volts") : PROGRAM.index("\n\n\ndef average")]
        + "\n"
    )
    average = alone["average"]
    assert average and average.startswith("import time\nfrom micropython import const\n\nFULL")
    assert average.index("def volts") < average.index("def average") and "ADC" not in average


def test_questions_and_answers() -> None:
    seen = {question.split("\n")[0]: (question, answer) for seed in range(60) for question, answer in pairs(seed=seed)}
    assert not any("LED" in question + answer or "short" in question + answer for question, answer in seen.values())
    forward = {
        first: answer
        for first, (_, answer) in seen.items()
        if not first.endswith("function does.") and "?" not in first
    }
    assert "Write a MicroPython function to read a pin and return its voltage in volts." in forward
    assert "I need a MicroPython function that reads a pin and returns its voltage in volts." in forward
    assert (
        "Write a MicroPython function that returns the mean voltage of count readings. Call it `average(adc, count)`."
        in forward
    )
    for answer in forward.values():
        block = fenced_python(answer)
        assert len(block) == 1 and compiles(block[0]) and "def volts(adc):" in block[0]
    backward = [(question, answer) for first, (question, answer) in seen.items() if first not in forward]
    explained = {answer for _, answer in backward}
    assert explained == {
        "It reads a pin and returns its voltage in volts.", "It returns the mean voltage of count readings.",
    }  # fmt: skip
    for question, answer in backward:
        block = fenced_python(question)[0]
        assert compiles(block)
        asked_for = "Return the mean" if "mean" in answer else "Read a pin"
        assert asked_for not in block and answer.split()[1] + " " not in block


def test_a_limit_and_a_seed() -> None:
    assert len(pairs(limit=1)) == 1 and len(pairs()) == 2 and pairs(limit=0) == []
    assert pairs(seed=5) == pairs(seed=5)
    assert pairs("def def") == [] and pairs("    x = 1\n") == []


def test_every_pair_of_the_shipped_programs_compiles() -> None:
    made = 0
    for path in sorted(CODE.glob("*.py"))[::5]:
        for question, answer in docstring_pairs(path.read_text(encoding="utf-8"), random.Random(path.name), 3):
            made += 1
            assert all(map(compiles, fenced_python(question) + fenced_python(answer))), path.name
            assert len(fenced_python(question)) + len(fenced_python(answer)) == 1
    assert made >= 5


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.text(max_size=30))
def test_no_docstring_makes_it_fail(docstring: str, body: str) -> None:
    docstring_pairs(f"def f(a):\n    {docstring!r}\n    b = {body!r}\n    return a\n", random.Random(1), 2)
    third_person(docstring)
    infinitive(docstring)
