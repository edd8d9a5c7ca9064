"""Where programs are cut for fill-in-the-middle."""

from __future__ import annotations

import ast
import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from stages.corpus.rewrite.gaps import choose_gap

CODE = Path(__file__).parents[1] / "corpus/code"
PROGRAM = "import time\n\n\ndef wait(ms):\n    # a pause\n    time.sleep_ms(ms)\n    return ms\n\n\nwait(250)\n"


@settings(max_examples=200)
@given(st.text(st.sampled_from("ab(): \n\té="), max_size=200), st.integers(0, 99))
def test_a_gap_lies_in_the_text_and_leaves_some_of_it(text: str, seed: int) -> None:
    gap = choose_gap(text, random.Random(seed))
    if gap is not None:
        start, end = gap
        assert 0 <= start < end <= len(text) and end - start < len(text)
        assert len(text[start:end].strip()) >= 8 and end - start <= 400


def test_gaps_are_statements_lines_and_pieces_of_lines() -> None:
    text = (CODE / "battery_monitor.py").read_text(encoding="utf-8")
    gaps = [choose_gap(text, random.Random(seed)) for seed in range(300)]
    middles = [text[gap[0] : gap[1]] for gap in gaps if gap]
    assert len(middles) == 300 and len(set(middles)) > 100
    whole = [gap for gap in gaps if gap and (not gap[0] or text[gap[0] - 1] == "\n") and text[gap[1] - 1] == "\n"]
    assert 170 <= len(whole) <= 250
    statements = 0
    for gap in whole:
        block = text[gap[0] : gap[1]]
        try:
            ast.parse("if 1:\n" + block if block[0] == " " else block)
            statements += 1
        except SyntaxError:
            pass
    assert statements >= 150


def test_a_gap_stays_short_in_long_lines() -> None:
    text = "".join(f"x{number} = '{'ab ' * 90}'\n" for number in range(9))
    gaps = [choose_gap(text, random.Random(seed)) for seed in range(60)]
    lengths = [end - start for start, end in filter(None, gaps)]
    assert len(lengths) > 40 and max(lengths) <= 400


def test_a_text_that_is_no_program_gets_gaps_by_lines() -> None:
    broken = "def def\n" * 20
    assert choose_gap(broken, random.Random(1)) is not None
    assert choose_gap("", random.Random(1)) is None and choose_gap("x = 1\n", random.Random(1)) is None


def test_the_same_seed_gives_the_same_gap() -> None:
    assert len({choose_gap(PROGRAM, random.Random(7)) for _ in range(5)}) == 1
