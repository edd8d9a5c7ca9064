"""A few hundred strings at which tokenizers have been found to differ, made the same each time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

SPACES = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u180e\u2000\u2003\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
INVISIBLE = "\xad\u034f\u061c\u115f\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2064\u206a\ufeff\ufff9\U000e0001"
BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
EDGES = "\x7f\x80\xff\u0100\u07ff\u0800\ud7ff\ue000\uf8ff\ufffd\ufffe\uffff\U00010000\U0001f600\U000f0000\U0010ffff"
COMBINING = ("e\u0301", "é", "n\u0303o\u0308", "a" + "\u0300\u0316\u0334\u0489" * 12, "\u0301alone", "ก็็็็", "ﬁ½²Ⅷ㎏")
SCRIPTS = (
    "Straße İıſ ÆØÅ ǅ", "Привет, мир", "Ἀρχιμήδης Σς", "שָׁלוֹם עולם", "السَّلامُ عَلَيْكُم ١٢٣", "नमस्ते दुनिया ४५", "ภาษาไทย",
    "漢字かな交じり文。𠀋", "안녕 \u1112\u1161\u11ab", "ქართული Ა", "ᏣᎳᎩ ꮳ", "𝒜𝟙𝕫", "ⅷ⑧٨८៨", "ဗမာ ខ្មែរ ລາວ",
)  # fmt: skip
EMOJI = (
    "👩‍👩‍👧‍👦", "👩🏽‍💻", "🏳️‍🌈", "🇩🇪🇫🇷🇩", "1️⃣#️⃣", "❤️❤", "🐍", "👍🏿👍", "🏴\U000e0067\U000e0062\U000e0065\U000e007f",
    "\u200d🔥\ufe0f\ufe0f", "☃\ufe0e",
)  # fmt: skip
SPECIAL = (
    "<s>", "</s>", "<unk>", "<bos>", "<eos>", "<pad>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<fim_prefix>",
    "<fim_suffix>", "<fim_middle>", "<|fim_middle|>", "<|eot_id|>", "[INST]", "<0x0A>", "<0xFF>", "<0x", "▁", "▁▁x",
    "Ġ", "Ċ", "[UNK]", "[PAD7]", "##ing", "@@",
)  # fmt: skip
CODE = (
    "def f(x):\n\tif x:\n\t\treturn  x\n\n\n    # trailing   \n", "a+=1;b<<=2;c!=d;e->f;g::h;i//j;k**l",
    "if(a){b[c]=d;}", "f'{1234567890:>{width}}' \\n \\\\ \\x00", "0x1F 1e-9 1_000 3.14.15 .5 5. 00 007",
    "x\r\ny\rz\n\r\n", "it's IT'S 'll'LL I'd", "camelCaseHTTPServer2Go snake_case __dunder__",
    "http://a.example/?q=1&r=%20#x", "<!-- </b> --> {{ x }} {% y %} ${z} \\{",
    "'\"`\u2018\u201c\"\"\"", "# " + "=" * 77, "|---|:--:|\n| a | b |",
    "- [ ] x\n\t- [x] y", "I2C(0, sda=Pin(4), scl=Pin(5), freq=400_000)",
)  # fmt: skip
RUNS = " \n\ta0=-_.#\u3000é漢🐍\x00"  # each many times over
PIECES = (*SPACES, *INVISIBLE, *BIDI, *EDGES, *COMBINING, *SCRIPTS, *EMOJI, *SPECIAL, *"aZ019 _.,:;'\"()[]{}<>\n\t ")


@cache
def nasty_strings() -> tuple[str, ...]:
    """The strings, each of them valid Unicode without surrogates; some have NUL characters."""
    return tuple(dict.fromkeys(_strings()))


def _strings() -> Iterator[str]:
    yield ""
    for pieces in (SPACES, INVISIBLE, BIDI, EDGES, map(chr, range(128)), COMBINING, SCRIPTS, EMOJI, SPECIAL, CODE):
        for piece in pieces:
            yield from (piece, f"a{piece}b") if len(piece) == 1 else (piece, f" {piece}", f"{piece}\n")
    for character in RUNS:
        for length in (2, 3, 4, 7, 8, 15, 16, 17, 31, 33, 64, 257):
            yield character * length
        yield f"x{character * 9}y"
    yield from ("ab" * 700, "a " * 300, "\n " * 100, " \n" * 100, "\t \t" * 60, "é" * 999, "9" * 1000, "()" * 400)
    for marker in SPECIAL:
        yield f"{marker}{marker}user{marker} text"
    rng = random.Random(20)
    for _ in range(400):
        yield "".join(rng.choices(PIECES, k=rng.randint(2, 24)))
    for _ in range(60):
        yield "".join(_any_character(rng) for _ in range(rng.randint(1, 40)))


def _any_character(rng: random.Random) -> str:
    """A code point of any plane, assigned or not, the lower ones more often."""
    code = rng.randrange(1 << rng.choice((7, 8, 11, 14, 16, 17, 20)))
    return "\ufffd" if 0xD800 <= code < 0xE000 else chr(code)
