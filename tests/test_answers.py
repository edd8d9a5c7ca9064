"""The program in an answer: in fences as CommonMark has them, in several, in none; and how a base model went on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from stages.evaluation.answers import LANGUAGES, code_of, completed

PROJECT = Path(__file__).parents[1]
BLINK = "from machine import Pin\n\nled = Pin(15, Pin.OUT)\nled.on()\n"


def fenced(code: str, language: str = "python", fence: str = "```") -> str:
    return f"{fence}{language}\n{code}{fence}\n"


@pytest.mark.parametrize("language", ["python", "py", "micropython", "Python", "", "python title=main.py", "{.python}"])
@pytest.mark.parametrize("fence", ["```", "~~~", "`````"])
def test_a_fenced_program_is_what_stands_between_the_fences(language: str, fence: str) -> None:
    assert code_of(f"Sure, here it is:\n\n{fenced(BLINK, language, fence)}\nIt lights the LED.") == BLINK


def test_a_block_of_another_language_is_no_program() -> None:
    for language in ("c", "bash", "json", "text", "cpp"):
        assert code_of(fenced("x = 1\n", language)) == ""
    assert code_of(fenced("mpremote run x.py\n", "bash") + fenced(BLINK)) == BLINK


def test_a_fence_that_is_not_closed_goes_on_to_the_end() -> None:
    assert code_of(f"```python\n{BLINK}") == BLINK
    assert code_of("It works like this:\n```python\n") == ""


def test_a_longer_fence_holds_a_shorter_one() -> None:
    code = 'page = """\n```\nx\n```\n"""\n'
    assert code_of(fenced(code, fence="````")) == code


def test_a_block_within_a_list_loses_the_margin_of_its_fence() -> None:
    assert code_of("1. Do this:\n   ```python\n   if x:\n       go()\n   ```\n") == "if x:\n    go()\n"


def test_windows_line_ends_are_read() -> None:
    assert code_of(fenced(BLINK).replace("\n", "\r\n")) == BLINK


def test_a_byte_order_mark_is_no_part_of_a_program() -> None:
    assert code_of(f"\ufeff{BLINK}") == code_of(fenced(f"\ufeff{BLINK}")) == code_of(f"\ufeff{fenced(BLINK)}") == BLINK


def test_of_two_programs_the_later_one_counts() -> None:
    draft = "import time\n\nwhile True:\n    time.sleep(1)\n"
    assert code_of(f"A first try:\n{fenced(draft)}Better:\n{fenced(BLINK)}") == BLINK


def test_a_later_block_brings_the_earlier_ones_that_it_needs() -> None:
    one, two, three = "def f(x):\n    return 2 * x\n", "import time\n", "print(f(3))\n"
    assert code_of(fenced(one) + fenced(two) + fenced(three)) == f"{one}\n{two}\n{three}"
    assert code_of(fenced(two) + fenced(one) + fenced(three)) == f"{one}\n{three}"


def test_a_block_of_output_is_not_the_program() -> None:
    for output in ("25.3 C\n", "23\n", "[1, 2, 3]\n", "Traceback (most recent call last):\n  x\n", ">>> x\n"):
        assert code_of(fenced(BLINK) + "It prints:\n" + fenced(output, "")) == BLINK


def test_a_broken_program_is_given_as_it_is() -> None:
    broken = "def f(:\n    pass\n"
    assert code_of(fenced(broken)) == broken


@pytest.mark.parametrize(
    "answer",
    [BLINK, "# blink\nimport time\n", "print(1)", "x = 5\n", "async def f():\n    pass\n", "'''Doc.'''\nimport time\n"],
)
def test_without_a_fence_code_is_the_program(answer: str) -> None:
    assert code_of(answer) == answer


def test_sentences_around_code_without_a_fence_are_left_out() -> None:
    assert code_of(f"Here is the program.\n\n{BLINK}\nIt lights the LED.") == BLINK
    broken = "def f(x):\n    y = (1\n    return x\n"
    assert code_of(f"Try this one:\n{broken}") == broken


@pytest.mark.parametrize(
    "answer",
    ["", "Yes", "Use a pull-up.", "Pull-up", "`pin.on()` sets it high.", "# A heading\n\nand some words on it.\n",
     "The pin is high.\nThen it is low.\nled.on()\nAll of that takes a while, and\nthe rest is a matter of taste."],
)  # fmt: skip
def test_sentences_are_no_program(answer: str) -> None:
    assert code_of(answer) == ""


def test_every_answer_of_the_corpus_is_read_as_its_reader_would() -> None:
    for path in sorted((PROJECT / "corpus/pairs").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            for message in json.loads(line)["messages"]:
                if message["role"] == "assistant":
                    tokens = MarkdownIt().parse(message["content"])
                    blocks = [token.content for token in tokens if token.type == "fence"]
                    assert code_of(message["content"]) == "\n".join(blocks), message["content"]


LINES = st.lists(st.sampled_from(["```", "```python", "~~~", "````", "x = 1", "", "words and words", "```c", "  ``` "]))


@given(LINES.map("\n".join))
@settings(max_examples=300)
def test_fences_are_found_where_commonmark_finds_them(answer: str) -> None:
    blocks = [token for token in MarkdownIt("commonmark").parse(answer) if token.type == "fence"]
    ours = [token for token in blocks if token.info.strip() in LANGUAGES and "x = 1" in token.content]
    if blocks and not ours:
        assert "x = 1" not in code_of(answer)
    if len(blocks) == len(ours) == 1:
        assert code_of(answer).rstrip("\n") == ours[0].content.rstrip("\n")


@given(st.text())
@settings(max_examples=300)
def test_any_answer_is_read(answer: str) -> None:
    code = code_of(answer)
    assert all(line.strip() in answer for line in code.split("\n"))
    assert completed("", answer) == answer or answer.startswith(completed("", answer))


def test_a_function_that_was_begun_ends_at_the_next_line_at_the_margin() -> None:
    prefix = "import math\n\ndef area(r):\n"
    body = (
        '    """Of a circle.\n\nin all."""\n    if r < 0:\n        return 0\n\n    return math.pi * (\nr * r\n    )\n\n'
    )
    for after in ("def next():\n    pass\n", "print(area(2))\n", "# more\n", "class A:\n", "@property\n", "x = 1\n"):
        assert completed(prefix, body + after) == prefix + body
    assert completed(prefix, body) == prefix + body


def test_a_function_begun_in_its_first_line_or_body_goes_on() -> None:
    assert completed("def f(a", ", b):\n    return a\nf(1, 2)\n") == "def f(a, b):\n    return a\n"
    assert completed("def f(a):\n    b = a", " + 1\n    return b\nf(1)\n") == "def f(a):\n    b = a + 1\n    return b\n"
    assert completed(
        "class A:\n    def go(self):\n", "        pass\n\n    def stop(self):\n        pass\nA()\n"
    ).endswith("stop(self):\n        pass\n")


def test_a_program_goes_on_past_functions_to_its_own_end() -> None:
    text = "def f():\n    pass\n\nfor i in range(3):\n    f()\nelse:\n    f()\nx = 1\n"
    assert completed("# Blink.\nimport time\n", text) == "# Blink.\nimport time\n" + text
    assert completed("def f():\n    pass\n\n# now use it\n", "f()\nf()\n").endswith("f()\nf()\n")


def test_nothing_is_left_of_what_cannot_be_reached_or_is_another_program() -> None:
    loop = "while True:\n    led.toggle()\n"
    assert completed(BLINK, loop + "print('never')\nimport time\n") == BLINK + loop
    assert completed(BLINK + "while True:\n", "    led.toggle()\nimport time\n") == BLINK + loop
    again = "while True:\n    if led.value():\n        break\nprint('done')\n"
    assert completed(BLINK, again) == BLINK + again
    assert (
        completed('"""Blink."""\n', 'x = 1\n"""Another program.\n\nOf another day."""\nimport time\n')
        == '"""Blink."""\nx = 1\n'
    )


def test_a_fence_or_a_marker_of_a_chat_ends_it() -> None:
    for stop in ("```\nThat is it.", "<|im_end|>", "<|user|>\nhello", "</s>"):
        assert completed(BLINK, f"led.off()\n{stop}") == BLINK + "led.off()\n"


def test_a_line_that_was_cut_off_is_left_out() -> None:
    assert completed(BLINK, "led.off()\nled.o", ended=False) == BLINK + "led.off()\n"
    assert completed("def f():\n", "    x = 1\n    retu", ended=False) == "def f():\n    x = 1\n"
    assert completed("x = ", "1 + ", ended=False) == "x = "
    assert completed("def f():\n", "    return 1\nprint(f", ended=False) == "def f():\n    return 1\n"
