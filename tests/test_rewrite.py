"""Renaming against hand-written results, Python's own scopes (symtable), its syntax trees, and what programs print."""

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

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.corpus.rewrite import compiles, rename_identifiers
from stages.corpus.synonyms import NAMES, NOUNS, PHRASES, VERBS, Thesaurus, words_of

CORPUS = sorted((Path(__file__).parents[1] / "corpus" / "code").glob("*.py"))
SEEDS = range(24)


def variants(source: str) -> set[str]:
    """All that renaming makes of a program with some seeds."""
    found = {rename_identifiers(source, random.Random(seed)) for seed in SEEDS}
    return {variant for variant in found if variant is not None}


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


Symbol = tuple[bool, ...]


def scopes(source: str) -> list[dict[str, Symbol]]:
    """For each scope, in order, what Python knows of its symbols."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tables = [symtable.symtable(source, "program", "exec")]
    found = []
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


RENAMED = {
    "closure and nonlocal": (
        "def outer():\n    count = 0\n    def inner():\n        nonlocal count\n        count += 1\n        return count\n"
        "    return inner\nprint(outer()())\n",
        "def outer():\n    counter = 0\n    def inner():\n        nonlocal counter\n        counter += 1\n"
        "        return counter\n    return inner\nprint(outer()())\n",
    ),
    "nonlocal of the function two levels up": (
        "def a():\n    count = 0\n    def b():\n        def c():\n            nonlocal count\n            count += 1\n"
        "        c()\n        return count\n    return b()\nprint(a())\n",
        "def a():\n    counter = 0\n    def b():\n        def c():\n            nonlocal counter\n            counter += 1\n"
        "        c()\n        return counter\n    return b()\nprint(a())\n",
    ),
    "global statement": (
        "count = 0\ndef tick():\n    global count\n    count += 1\ntick()\nprint(count)\n",
        "counter = 0\ndef tick():\n    global counter\n    counter += 1\ntick()\nprint(counter)\n",
    ),
    "a global that only a function assigns": (
        "def tick():\n    global count\n    count = 1\ntick()\nprint(count)\n",
        "def tick():\n    global counter\n    counter = 1\ntick()\nprint(counter)\n",
    ),
    "read in a loop above its assignment": (
        "def f(n):\n    while n:\n        if n < 3:\n            print(brightness)\n        brightness = n\n        n -= 1\nf(5)\n",
        "def f(n):\n    while n:\n        if n < 3:\n            print(intensity)\n        intensity = n\n        n -= 1\nf(5)\n",
    ),
    "comprehensions": (
        "x = [brightness for brightness in range(3) if brightness]\nprint(x, {i: brightness for i, brightness in enumerate(x)})\n",
        "x = [intensity for intensity in range(3) if intensity]\nprint(x, {i: intensity for i, intensity in enumerate(x)})\n",
    ),
    "walrus in a comprehension": (
        "def f(a):\n    b = [brightness := x for x in a]\n    return brightness, b\nprint(f([1, 2]))\n",
        "def f(a):\n    b = [intensity := x for x in a]\n    return intensity, b\nprint(f([1, 2]))\n",
    ),
    "parameters, defaults, lambda": (
        "brightness = 3\ndef f(brightness=brightness):\n    return lambda brightness: brightness + 1\nprint(f()(1))\n",
        "intensity = 3\ndef f(intensity=intensity):\n    return lambda intensity: intensity + 1\nprint(f()(1))\n",
    ),
    "exception, with and for": (
        "try:\n    1 / 0\nexcept ZeroDivisionError as brightness:\n    print(type(brightness))\n",
        "try:\n    1 / 0\nexcept ZeroDivisionError as intensity:\n    print(type(intensity))\n",
    ),
    "del": ("brightness = 1\ndel brightness\nprint(1)\n", "intensity = 1\ndel intensity\nprint(1)\n"),
    "f-string": (
        "brightness = 5\nprint(f'{brightness:>{brightness}} brightness {brightness + 1!r}')\n",
        "intensity = 5\nprint(f'{intensity:>{intensity}} brightness {intensity + 1!r}')\n",
    ),
    "case styles": (
        "FREQ_HZ = 1\n_freq = 2\nclass FreqMeter:\n    pass\ndef set_freq(): pass\nprint(FREQ_HZ, _freq, FreqMeter, set_freq)\n",
        "FREQUENCY_HZ = 1\n_frequency = 2\nclass FrequencyMeter:\n    pass\ndef set_frequency(): pass\n"
        "print(FREQUENCY_HZ, _frequency, FrequencyMeter, set_frequency)\n",
    ),
    "const": (
        "from micropython import const\n_FREQ_HZ = const(50)\nprint(_FREQ_HZ)\n",
        "from micropython import const\n_FREQUENCY_HZ = const(50)\nprint(_FREQUENCY_HZ)\n",
    ),
    "plural": ("counts = [1]\nprint(counts)\n", "counters = [1]\nprint(counters)\n"),
    "keyword of the call stays, the variable goes": (
        "brightness = 3\nprint(dict(brightness=brightness))\n",
        "intensity = 3\nprint(dict(brightness=intensity))\n",
    ),
    "attributes stay": (
        "class A:\n    brightness = 1\n    def f(self):\n        brightness = 2\n        self.brightness = brightness + 1\n"
        "A().f()\n",
        "class A:\n    brightness = 1\n    def f(self):\n        intensity = 2\n        self.brightness = intensity + 1\n"
        "A().f()\n",
    ),
    "identifiers in comments, whole words": (
        "# freq_hz is the rate; old_freq_hz and freq_hz.py are not meant\nfreq_hz = 1\nprint(freq_hz)\n",
        "# frequency_hz is the rate; old_freq_hz and freq_hz.py are not meant\nfrequency_hz = 1\nprint(frequency_hz)\n",
    ),
    "ordinary words in comments only as code": (
        '"""The brightness of a lamp.\n\n:param brightness: 0 to 1\n"""\n# the brightness, see `brightness`, brightness(s)\n'
        "# brightness = 5\nbrightness = 1\nprint(brightness)\n",
        '"""The brightness of a lamp.\n\n:param intensity: 0 to 1\n"""\n# the brightness, see `intensity`, brightness(s)\n'
        "# intensity = 5\nintensity = 1\nprint(intensity)\n",
    ),
    "strings stay": (
        "def f():\n    freq = 1\n    print('freq', freq)\nf()\n",
        "def f():\n    frequency = 1\n    print('freq', frequency)\nf()\n",
    ),
    "formatting stays": (
        "brightness  =   1  # x\r\nif  brightness :\r\n\tprint ( brightness,)\r\n",
        "intensity  =   1  # x\r\nif  intensity :\r\n\tprint ( intensity,)\r\n",
    ),
    "text that is not ASCII": ("# übergroß\nbrightness = 'ä'; print(brightness)", "# übergroß\nintensity = 'ä'; print(intensity)"),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after"), RENAMED.values(), ids=RENAMED.keys())
def test_hand_computed_renames(before: str, after: str) -> None:
    assert variants(before) == {after}


STAYS = {
    "imports": "from machine import Pin as led\nimport config\nled(config)\n",
    "a name imported elsewhere in the program": "def f():\n    import config\ndef g():\n    config = 1\n    return config\nf()\n",
    "attributes and methods": "class A:\n    count = 0\n    def read(self):\n        return self.count\nprint(A().read())\n",
    "a class body that reads the name it binds": "count = 1\nclass A:\n    count = count\nprint(A.count)\n",
    "parameters called by keyword": "def f(interval):\n    return interval\nprint(f(interval=1))\n",
    "parameters called with **": "def f(interval):\n    return interval\nprint(f(**{'inter' + 'val': 1}))\n",
    "parameters named in a string": "def f(interval):\n    return interval\nstart_thread(f, (), {'interval': 2})\n",
    "__all__": "__all__ = ['count', 'Button']\ncount = 1\nclass Button: pass\nprint(count)\n",
    "builtins that are shadowed": "def f(max, len):\n    sum = max\n    return sum + len\nprint(f(1, 2))\n",
    "dunder and mangled names": "__count = 1\n__version__ = '1'\nprint(__count)\n",
    "self, cls and main": "def main(self, cls):\n    return self, cls\nmain(1, 2)\n",
    "assembler": (
        "import rp2\nfreq = 3\n@rp2.asm_pio(set_init=0)\ndef blink():\n    freq = 1\n    set(pins, freq)\n    label('count')\n"
        "    jmp(count)\nprint(blink)\n"
    ),
    "assembler of another name": (
        "from rp2 import asm_pio as program\n@program()\ndef blink():\n    freq = 1\n    set(pins, freq)\nprint(blink)\n"
    ),
    "thumb assembler": "@micropython.asm_thumb\ndef read(r0):\n    count = 1\n    mov(r0, count)\nprint(read(1))\n",
    "handlers that a decorator registers": "@app.route('/<number>')\ndef show(request, number):\n    pass\napp.run()\n",
    "names in text that is run": "count = 1\nexec('count += 1')\nprint(eval('count'))\n",
    "names asked of globals()": "count = 1\nprint(globals()['count'])\n",
    "names that an f-string prints": "def f(count):\n    print(f'{count=}')\nf(1)\n",
    "globals beside a star import": "try:\n    from config import *\nexcept ImportError:\n    count = 1\nprint(count)\n",
    "what a library offers": "class Button:\n    pass\ndef read_sensor(count=1):\n    pass\nMAX_COUNT = 3\n",
    "parameters that give an attribute its name": "class A:\n    def __init__(self, count):\n        self.count = count\nprint(A(1))\n",
    "words that synonyms do not fit": "pin = current = flag = i = x = foo = 1\nprint(pin, current, flag, i, x, foo)\n",
    "names whose comment may mean another": "# count_ms is set below\nled.count_ms = 1\ncount_ms = 2\nprint(count_ms)\n",
    "names used from outside in an example": '"""\n>>> sensors.get_freq_hz()\n"""\ndef get_freq_hz(): pass\nprint()\n',
    "names asked for": "def read_freq(): pass\nprint(read_freq.__name__)\n",
}


@pytest.mark.parametrize("source", STAYS.values(), ids=STAYS.keys())
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
    ],
)
def test_doubtful_programs_give_nothing(source: str) -> None:
    assert variants(source) == set()


def test_docstrings_stay_where_the_program_reads_them() -> None:
    source = 'def f(freq_hz):\n    "freq_hz: the rate"\n    return freq_hz\nprint(f.__doc__, f(2))\n'
    for variant in variants(source):
        assert printed(variant) == printed(source)


def test_methods_may_have_the_name_of_a_local_variable() -> None:
    source = "class A:\n    def brightness(self):\n        brightness = 2\n        return brightness\nprint(A().brightness())\n"
    expected = "class A:\n    def brightness(self):\n        intensity = 2\n        return intensity\nprint(A().brightness())\n"
    assert variants(source) == {expected}


def test_measuring_is_not_fetching() -> None:
    found = variants("def read_sensor():\n    return 1\ndef read_file():\n    return 2\nprint(read_sensor(), read_file())\n")
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
            lines += ["try:", f"    {name} = {draw(expressions())}", f"except Exception as {draw(NAME)}:", "    print(1)"]
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
