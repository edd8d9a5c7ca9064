"""Numbers as people read them, and texts that hide nothing."""

from __future__ import annotations

import math
import shlex
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.evaluation.page.run import Run
from stages.evaluation.page.values import (
    Room,
    column,
    count,
    counts,
    line,
    listed,
    number,
    plain,
    plural,
    points,
    power,
    share,
    short,
    shown,
    time,
    weight,
)


@pytest.mark.parametrize("value", [None, True, "1", math.nan, math.inf, 10**400, [], {}])
def test_only_finite_numbers_are_numbers(value: Any) -> None:
    assert number(value) is None


def test_numbers_are_written_for_people() -> None:
    assert [share(value) for value in (0, 0.0042, 0.0831, 0.66, 0.9995, 1, 12.5)] == [
        "0 %", "0.42 %", "8.3 %", "66.0 %", "100 %", "100 %", "1,250 %",
    ]  # fmt: skip
    assert [plain(value) for value in (0, 0.000226, 0.0213, 1.5077, 44.4397, 812.3, 5037.6, 1e-9, 1e12)] == [
        "0", "0.000226", "0.0213", "1.508", "44.44", "812.3", "5,038", "1×10⁻⁹", "1×10¹²",
    ]  # fmt: skip
    assert [short(value) for value in (12, 464_259, 4_196_608, 25_100_000)] == ["12", "464 k", "4.20 M", "25.1 M"]
    assert [count(value) for value in (1234567, 2.5e9, 1e300)] == ["1,234,567", "2.50 G", "1×10³⁰⁰"]
    assert [weight(2_851_232), time(314), power(-0.00032)] == ["2.9 MB", "5 min 14 s", "-3.2×10⁻⁴"]
    assert [share(None), plain(None), count(None), weight(None), time(None)] == [""] * 5
    assert [plural(1, "step"), plural(2000, "step")] == ["1 step", "2,000 steps"]
    assert [listed(["a"]), listed(["a", "b", "c"])] == ["a", "a, b and c"]


def test_what_cannot_be_seen_becomes_its_number() -> None:
    assert shown("a\tb\r\nc\x00\x9b\u202e\u200b\ufeff\u2028\ud800\ue000\ufdd0\U0001fffe") == (
        "a\tb\nc⟨U+0000⟩⟨U+009B⟩⟨U+202E⟩⟨U+200B⟩⟨U+FEFF⟩⟨U+2028⟩⟨U+D800⟩⟨U+E000⟩⟨U+FDD0⟩⟨U+1FFFE⟩"
    )
    assert shown("Grüße, 世界, שלום, 🙂") == "Grüße, 世界, שלום, 🙂"
    assert line("a\nb\x07  c") == "a b⟨U+0007⟩ c"


@settings(deadline=None)
@given(st.text(st.characters(), max_size=50), st.integers(1, 60))
def test_every_text_can_be_written_and_says_that_it_was_cut(text: str, most: int) -> None:
    seen = shown(text, most)
    seen.encode()
    assert ("more characters" in seen) == (len(text) > most)
    assert "\n" not in line(text)


def test_a_long_name_is_cut_in_its_middle() -> None:
    assert line("abcdefghij" * 10, 10) == "abcdef…hij"


def test_the_room_on_a_page_is_shared_and_never_exceeded() -> None:
    room = Room(1000)
    assert room.text("a" * 600) == "a" * 600
    assert room.text("<" * 300) == "<" * 60 + " … and 240 more characters"
    assert sum(len(room.text("x" * 5000)) for _ in range(50)) < 5000


def test_numbers_are_taken_from_whatever_shape() -> None:
    assert counts({"b": 2, "a": 2, "c": 9, "d": 0, "e": "x", "f": math.nan}) == [("c", 9), ("a", 2), ("b", 2)]
    assert counts([1]) == [] and points(None, [1]) == [] and column({"a": 1}, 1) == []
    assert points([2, 1, None, 3], [20, 10, 5, "x"]) == [(1, 10), (2, 20)]
    assert column([[1, 5.0, 7], [2], "x", [3, math.inf]], 1) == [(1, 5.0)]


def test_advice_is_the_same_command_with_what_was_given_on_the_command_line() -> None:
    origins = {"evaluate.execute": "--set", "evaluate.prompts": "--set", "evaluate.top_k": "mine.yaml:3"}
    asked = {"execute": True, "prompts": ["it's"], "top_k": 40}
    manifests = {
        "pretrain": {"origins": {"pretrain.max_steps": "base.yaml:1", "pretrain.precision": "base.yaml:2"}},
        "evaluate": {"origins": origins, "material": {"config": {"evaluate": asked}}, "profile": "cpu"},
    }
    run = Run(manifests)
    start = "pipeline run --config mine.yaml --profile cpu"
    given = shlex.quote('evaluate.prompts=["it\'s"]')
    assert run.again("pretrain.max_steps=5") == (
        f"{start} --set evaluate.execute=true --set {given} --set pretrain.max_steps=5"
    )
    assert shlex.split(run.again("evaluate.execute=false"))[6:] == [
        "--set", 'evaluate.prompts=["it\'s"]', "--set", "evaluate.execute=false"
    ]  # fmt: skip
    assert Run({}).again() == "pipeline run --config CONFIG.yaml"
