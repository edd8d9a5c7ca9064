"""Renaming against hand-written results, Python's own scopes and syntax trees, and what programs print."""

from __future__ import annotations

import ast
import builtins
import contextlib
import io
import random
import re
import symtable
import tokenize
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.corpus.rewrite import compiles, rename_identifiers
from stages.corpus.rewrite.synonyms import NAMES, NOUNS, PHRASES, VERBS, Thesaurus

CORPUS = sorted((Path(__file__).parents[1] / "corpus" / "code").glob("*.py"))
SEEDS = range(24)


def variants(source: str) -> set[str]:
    """All that renaming makes of a program with some seeds."""
    found = {rename_identifiers(source, random.Random(seed)) for seed in SEEDS}
    return {variant for variant in found if variant is not None}


def cases(name: str) -> list[Any]:
    """Test cases from a file: blocks of text that begin with `## name`."""
    text = (Path(__file__).parent / "cases" / f"{name}.txt").read_text(encoding="utf-8")
    blocks = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)[1:]
    return [pytest.param(block, id=name) for name, block in zip(blocks[::2], blocks[1::2], strict=True)]


def tokens(source: str) -> list[tokenize.TokenInfo]:
    return list(tokenize.generate_tokens(io.StringIO(source).readline))


def names_changed(before: str, after: str) -> dict[str, str]:
    """Old to new name, from the tokens; fails where anything but names, comments and strings has changed."""
    changed: dict[str, str] = {}
    allowed = {"NAME", "COMMENT", "STRING", "FSTRING_MIDDLE"}
    for old, new in zip(tokens(before), tokens(after), strict=True):
        assert old.type == new.type
        if old.string != new.string:
            assert tokenize.tok_name[old.type] in allowed
            if old.type == tokenize.NAME:
                assert changed.setdefault(old.string, new.string) == new.string
    return changed


def shape(source: str) -> str:
    """The syntax tree without names and docstrings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
    for node in ast.walk(tree):
        match node:
            case ast.Name():
                node.id = "_"
            case ast.arg():
                node.arg = "_"
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                node.name = "_"
            case ast.ExceptHandler():
                node.name = node.name and "_"
            case ast.Global() | ast.Nonlocal():
                node.names = ["_" for _ in node.names]
            case ast.Expr(value=ast.Constant(value=str())):
                node.value = ast.Constant("")
    return ast.dump(tree)


def scopes(source: str) -> list[dict[str, tuple[bool, ...]]]:
    """For each scope, in order, what Python knows of its symbols."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tables = [symtable.symtable(source, "program", "exec")]
    found: list[dict[str, tuple[bool, ...]]] = []
    while tables:
        table = tables.pop()
        tables += table.get_children()
        found.append(
            {
                symbol.get_name(): (
                    symbol.is_global(), symbol.is_local(), symbol.is_free(), symbol.is_parameter(),
                    symbol.is_assigned(), symbol.is_referenced(), symbol.is_imported(),
                )
                for symbol in table.get_symbols()
            }
        )  # fmt: skip
    return found


def assert_same_program(before: str, after: str) -> None:
    changed = names_changed(before, after)
    assert shape(before) == shape(after)
    assert len(set(changed.values())) == len(changed)
    assert not set(changed.values()) & set(re.findall(r"\w+", before))
    for old, new in zip(scopes(before), scopes(after), strict=True):
        assert len(old) == len(new)
        for name, symbol in old.items():
            assert symbol in (new.get(name), new.get(changed.get(name, name)))


def printed(source: str) -> str:
    """What a program prints, and the type of the exception that ends it."""
    out = io.StringIO()
    ended = ""
    with contextlib.redirect_stdout(out):
        try:
            exec(compile(source, "program", "exec"), {"__name__": "__main__", "__builtins__": builtins})
        except Exception as error:
            ended = type(error).__name__
    return out.getvalue() + ended


# Marked names must be renamed, to these; all others must stay.
NEW = {"brightness": "intensity", "count": "counter", "counts": "counters", "freq": "frequency"}


def renamed(marked: str) -> str:
    """A marked program with the new names, in the case of the old ones."""

    def new_name(match: re.Match[str]) -> str:
        new = NEW[match[1].lower()]
        return new.upper() if match[1].isupper() else new.capitalize() if match[1][0].isupper() else new

    return re.sub("«(.*?)»", new_name, marked)


@pytest.mark.parametrize("marked", cases("renamed"))
def test_marked_names_are_renamed(marked: str) -> None:
    source = re.sub("[«»]", "", marked)
    # Words that are exchanged by chance are exchanged in some of the variants, and in one all are.
    found = variants(source)
    assert renamed(marked) in found
    for variant in found:
        assert_same_program(source, variant)
        again = variant
        for old, new in NEW.items():
            for style in (str.lower, str.upper, str.capitalize):
                again = again.replace(style(new), style(old))
        assert again == source


def test_line_ends_stay() -> None:
    assert variants("brightness = 1\r\nif brightness:\r\n\tprint(brightness)\r\n") == {
        "intensity = 1\r\nif intensity:\r\n\tprint(intensity)\r\n"
    }


@pytest.mark.parametrize("source", cases("names_that_stay"))
def test_names_that_stay(source: str) -> None:
    assert variants(source) == set()


@pytest.mark.parametrize(
    "source",
    [
        "def f(:\n",
        "count = 1\nprint(eval(input()))\n",
        "count = 1\nprint(globals())\n",
        "def f(count):\n    return locals()\nf(1)\n",
        "count = 1\nprint(dir())\n",
        "",
        "\x00",
        "count = '\ud800'",
        "count = " + "(" * 5000 + ")" * 5000,
    ],
)
def test_doubtful_programs_give_nothing(source: str) -> None:
    assert variants(source) == set()


def test_docstrings_stay_where_the_program_reads_them() -> None:
    source = 'def f(freq_hz):\n    "freq_hz: the rate"\n    return freq_hz\nprint(f.__doc__, f(2))\n'
    for variant in variants(source):
        assert printed(variant) == printed(source)


def test_measuring_is_not_fetching() -> None:
    found = variants("def read_sensor(): pass\ndef read_file(): pass\nread_sensor(), read_file()\nprint()\n")
    functions = {name for variant in found for name in re.findall(r"def (\w+)", variant)}
    measured = {"sample_sensor", "measure_sensor", "poll_sensor"}
    assert functions == measured | {"read_sensor", "read_file", "fetch_file", "get_file"}


def test_the_same_seed_gives_the_same_variant() -> None:
    source = CORPUS[0].read_text(encoding="utf-8") if CORPUS else "count = 1\nled = 2\nprint(count, led)\n"
    first, again = (rename_identifiers(source, random.Random(5)) for _ in range(2))
    assert first == again
    assert first != source


def test_a_synonym_in_use_is_not_taken() -> None:
    assert variants("count = 1\nprint(count)  # counter\n") == set()
    assert variants("led = 1\nlamp = light = 2\nprint(led, lamp, light)\n") != set()
    for variant in variants("led = 1\nlamp = light = 2\nprint(led, lamp, light)\n"):
        assert printed(variant) == "1 2 2\n"


def test_every_synonym_is_a_name_and_says_something_else() -> None:
    for table in (NAMES, VERBS, NOUNS):
        for word, synonyms in table.items():
            assert synonyms
            assert word not in synonyms
            assert all(re.fullmatch(r"[a-z][a-z_0-9]+", synonym) for synonym in synonyms)
    assert all(verb in VERBS for verb, _ in PHRASES)


@given(st.text("aAbBlLeEdD_019", min_size=1, max_size=12), st.integers(0, 9))
def test_respelling_keeps_the_style(name: str, seed: int) -> None:
    new = Thesaurus([], random.Random(seed), share=1.0).respell(name)
    assert len(name) - len(name.lstrip("_")) == len(new) - len(new.lstrip("_"))
    if name.isupper():
        assert new.isupper()
    if name.islower():
        assert new.islower()


NAME = st.sampled_from(["count", "value", "data", "led", "result", "index", "message", "x", "max", "buffer"])


@st.composite
def expressions(draw: st.DrawFn) -> str:
    kind = draw(st.integers(0, 7))
    a, b = draw(NAME), draw(NAME)
    return [
        str(draw(st.integers(0, 9))), a, f"({a} + {b})", f"[{a} + {draw(NAME)} for {a} in range(3)]",
        f"(lambda {a}, {b}2={b}: {a} + {b}2)(1)", f"f'{{{a}}} {b} {{{b}!r}}'", f"str({a})", f"dict({a}={b})",
    ][kind]  # fmt: skip


@st.composite
def bodies(draw: st.DrawFn, depth: int = 0) -> list[str]:
    """Statements with assignments, functions, classes, loops, and declarations of all kinds."""
    lines: list[str] = []
    if depth and draw(st.booleans()):
        lines.append(f"{draw(st.sampled_from(['global', 'nonlocal']))} {draw(NAME)}")
    for _ in range(draw(st.integers(1, 4))):
        kind, name = draw(st.integers(0, 7)), draw(NAME)
        if kind <= 1:
            lines.append(f"{name} = {draw(expressions())}")
        elif kind == 2:
            lines.append(f"print('{name}', {draw(expressions())})")
        elif kind == 3:
            lines += [f"for {name} in range(2):", f"    {draw(NAME)} = {draw(expressions())}"]
        elif kind == 4:
            lines += ["try:", f"    {name} = {draw(expressions())}"]
            lines += [f"except Exception as {draw(NAME)}:", "    print(1)"]
        elif kind == 5 and depth < 3:
            inner = draw(bodies(depth + 1))
            parameter = draw(NAME)
            lines += [f"class {name.title()}:", *(f"    {line}" for line in inner)]
            lines += [f"    def m(self, {parameter}):", f"        return {draw(expressions())}"]
            lines += [f"print({name.title()}().m({draw(expressions())}), {name.title()}().m({parameter}=1))"]
        elif depth < 3:
            parameter = draw(NAME)
            inner = [line for line in draw(bodies(depth + 1)) if not line.endswith(f"al {parameter}")]
            lines += [f"def f_{name}({parameter}, *args):", *(f"    {line}" for line in inner or ["pass"])]
            lines += [f"    return {draw(expressions())}", f"print(f_{name}({draw(expressions())}))"]
        else:
            lines.append(f"del {name}")
    return lines


@settings(max_examples=250, deadline=None)
@given(bodies(), st.integers(0, 3))
def test_random_programs_print_the_same(lines: list[str], seed: int) -> None:
    # Each statement stands alone, so that an error in one does not hide the next.
    source = "count = value = 1\n" + "\n".join(lines) + "\n"
    try:
        compile(source, "program", "exec")
    except SyntaxError:
        return
    variant = rename_identifiers(source, random.Random(seed))
    if variant is not None:
        assert printed(variant) == printed(source)
        assert_same_program(source, variant)


@pytest.mark.parametrize(
    ("source", "accepted"),
    [
        ("print(1)\n", True),
        ("@micropython.viper\ndef f(p: ptr8) -> int:\n    return p[0]\n", True),
        ("@micropython.asm_thumb\ndef f(r0):\n    add(r0, r0, 1)\n", True),
        ("def f(:\n", False),
        ("x = '\ud800'\n", False),
        ("", True),
    ],
)
def test_compiles(source: str, accepted: bool) -> None:
    assert compiles(source) is accepted


def assert_corpus_keeps_its_meaning(paths: list[Path]) -> None:
    """Nearly every program has a variant; all of them compile, and are the same programs but for names."""
    made = 0
    for number, path in enumerate(paths):
        source = path.read_text(encoding="utf-8")
        variant = rename_identifiers(source, random.Random(number))
        if variant is not None:
            made += 1
            assert compiles(variant), path
            assert_same_program(source, variant)
    assert made >= 0.95 * len(paths)


def test_a_part_of_the_corpus_keeps_its_meaning() -> None:
    assert_corpus_keeps_its_meaning(CORPUS[::6])


@pytest.mark.slow
def test_all_of_the_corpus_keeps_its_meaning() -> None:
    assert_corpus_keeps_its_meaning(CORPUS)
