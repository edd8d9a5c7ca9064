"""The built-in strings: what has to be among them, and that they are the same each time and in every process."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from stages.release.nasty import nasty_strings

EVERYTHING = "\n".join(nasty_strings())


def test_they_are_many_small_and_each_there_once() -> None:
    strings = nasty_strings()
    assert 500 < len(strings) == len(set(strings)) and sum(len(text.encode()) for text in strings) < 200_000


def test_another_process_makes_the_same() -> None:
    code = "from stages.release.nasty import nasty_strings; print(ascii(nasty_strings()))"
    root = Path(__file__).parents[1]
    told = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert told.stdout == ascii(nasty_strings()) + "\n"


def test_every_class_of_characters_is_there_but_surrogates() -> None:
    classes = {unicodedata.category(character) for character in EVERYTHING}
    every = {unicodedata.category(chr(code)) for code in range(sys.maxunicode + 1)}
    assert classes == every - {"Cs"}


@pytest.mark.parametrize(
    "text",
    [
        "", "\x00", "\r\n", "\ud7ff", "\ue000", "\U0010ffff", "\u200d", "\u202e", "e\u0301", "🏳️‍🌈", "<bos>",
        "<|im_end|>", "<0x0A>", "\u2581", "\t" * 257, " " * 257, "9" * 1000, "\x7f", "\x80", "\ufeff", "١٢٣", "\x85",
    ],
)  # fmt: skip
def test_what_has_gone_wrong_elsewhere_is_there(text: str) -> None:
    assert text in EVERYTHING


def test_some_are_not_in_normal_form() -> None:
    assert any(unicodedata.normalize("NFC", text) != text for text in nasty_strings())
