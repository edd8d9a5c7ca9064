"""What of a text with a gap is said: the middle whole, and the lines nearest to it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.tokens import fim
from stages.tokens.encoding import FIM_MARKERS, FIM_MIDDLE, CharacterEncoding
from stages.tokens.fim import OLLAMA_FIM_TEMPLATE, near_middle, trained_with_gaps

TEXT = "one\ntwo\nthree\nfour\nfive\nsix\n"


def test_the_nearest_lines_come_first() -> None:
    start, end = TEXT.index("three"), TEXT.index("four")
    assert near_middle(TEXT, start, end, 100, len) == ("one\ntwo\n", "three\n", "four\nfive\nsix\n")
    assert near_middle(TEXT, start, end, 6 + 4 + 5, len) == ("two\n", "three\n", "four\n")
    assert near_middle(TEXT, start, end, 6 + 4 + 4, len) == ("", "three\n", "")
    assert near_middle(TEXT, start, end, 0, len) == ("", "three\n", "")
    assert near_middle(TEXT, start, end, 6 + 4 + 5 + 4 + 5, len) == ("one\ntwo\n", "three\n", "four\nfive\n")


def test_a_gap_inside_a_line_keeps_the_rests_of_its_line() -> None:
    start = TEXT.index("ree")
    assert near_middle(TEXT, start, start + 2, 6, len) == ("th", "re", "e\n")


def test_where_one_side_is_at_its_end_the_other_goes_on() -> None:
    assert near_middle(TEXT, 0, 4, 18, len) == ("", "one\n", "two\nthree\n")
    assert near_middle(TEXT, len(TEXT) - 4, len(TEXT), 13, len) == ("four\nfive\n"[5:], "six\n", "")


@given(st.text(st.sampled_from("ab\n\r\u2028é "), max_size=60), st.data())
def test_what_is_kept_is_one_stretch_of_the_text_around_the_whole_middle(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    room = data.draw(st.integers(0, 80))
    prefix, middle, suffix = near_middle(text, start, end, room, len)
    assert middle == text[start:end] and text[:start].endswith(prefix) and text[end:].startswith(suffix)
    assert len(prefix + suffix) == 0 or len(prefix + middle + suffix) <= room
    assert start == len(prefix) or not prefix or text[start - len(prefix) - 1] == "\n"
    if len(text) <= room:
        assert prefix + middle + suffix == text


class Marked(CharacterEncoding):
    """Characters with the markers of a gap as further ids."""

    def token_id(self, piece: str) -> int:
        markers = {marker: self.eos_id + number for number, marker in enumerate(FIM_MARKERS, 1)}
        return markers[piece] if piece in markers else super().token_id(piece)


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
@pytest.mark.parametrize("at", [None, 0, 7, 24])
def test_gaps_are_found_wherever_they_are_among_the_training_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, at: int | None
) -> None:
    monkeypatch.setattr(fim, "CHUNK", 8)
    encoding = Marked("abc")
    ids = np.zeros(25, dtype)
    if at is not None:
        ids[at] = encoding.token_id(FIM_MIDDLE)
    ids.tofile(tmp_path / "train.bin")
    (tmp_path / "meta.json").write_text(json.dumps({"dtype": dtype}))
    assert trained_with_gaps(tmp_path, encoding) is (at is not None)
    assert not trained_with_gaps(tmp_path, CharacterEncoding("abc"))


def test_the_template_says_a_gap_as_the_encoding_does() -> None:
    said = OLLAMA_FIM_TEMPLATE.replace("{{ .Prompt }}", "a").replace("{{ .Suffix }}", "b")
    encoding = Marked("abc")
    ids = [encoding.token_id(part) for part in re.findall(r"<\w+>|.", said)]
    assert ids == encoding.encode_fim("a", "", "b")
