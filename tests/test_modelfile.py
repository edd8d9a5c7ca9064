"""The Modelfile, read by the rules of Ollama's own parser, and its template by Go."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import ollama_template

from stages.release.errors import ReleaseError
from stages.release.modelfile import Modelfile, create_command, read_modelfile
from stages.tokens.chat import OLLAMA_TEMPLATE, Message

MODELFILE = Modelfile("tiny-q8_0.gguf", 256, 64, 0.2, "You write code.", "Trained on:\n- corpus: MIT, 3 documents\n")


def commands(text: str) -> list[tuple[str, str]]:
    """What Ollama reads from a Modelfile: one command a line, whose value goes on until its quotes are closed.

    After github.com/ollama/ollama, parser/parser.go: characters that cannot be printed are dropped, except line ends
    inside quotes, and a value ends at the first line end at which it is whole.
    """
    found, lines = [], iter(text.split("\n"))
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        name, _, value = line.partition(" ")
        assert name in {"FROM", "TEMPLATE", "PARAMETER", "SYSTEM", "LICENSE"}
        if name == "PARAMETER":
            name, _, value = value.partition(" ")
        while (whole := _unquoted(value.strip())) is None:
            value += "\n" + next(lines)
        found.append((name, "".join(c for c in whole if c.isprintable() or c in "\n\t")))
    return found


def _unquoted(value: str) -> str | None:
    for quote in ('"""', '"'):
        if value.startswith(quote):
            closed = len(value) >= 2 * len(quote) and value.endswith(quote)
            return value[len(quote) : -len(quote)] if closed else None
    return value


def test_every_command_is_what_ollama_needs() -> None:
    assert commands(MODELFILE.render()) == [
        ("FROM", "./tiny-q8_0.gguf"),
        ("TEMPLATE", OLLAMA_TEMPLATE),
        ("num_ctx", "256"),
        ("num_predict", "64"),
        ("temperature", "0.2"),
        ("repeat_penalty", "1"),
        ("stop", "<|im_end|>"),
        ("stop", "<|im_start|>"),
        ("stop", "<eos>"),
        ("SYSTEM", "You write code."),
        ("LICENSE", "Trained on:\n- corpus: MIT, 3 documents\n"),
    ]


def test_a_text_ends_at_the_token_that_ends_it_for_this_tokenizer() -> None:
    found = commands(replace(MODELFILE, eos="<|endoftext|>").render())
    assert [value for name, value in found if name == "stop"] == ["<|im_end|>", "<|im_start|>", "<|endoftext|>"]


def test_a_model_that_was_taught_no_conversation_gets_texts_as_they_are() -> None:
    told = replace(MODELFILE, answers=False)
    names = [name for name, _ in commands(told.render())]
    assert ("TEMPLATE", "{{ .Prompt }}") in commands(told.render()) and "SYSTEM" not in names
    assert names.count("stop") == 1 and "im_start" not in told.render() + replace(told, fim=True).render()
    gaps = replace(told, fim=True).template
    assert ollama_template.render(gaps, messages=[{"role": "user", "content": "x = "}]) == "x = "
    assert ollama_template.render(gaps, prompt="a", suffix="b") == "<fim_prefix>a<fim_suffix>b<fim_middle>"


def test_no_more_is_asked_for_than_fits() -> None:
    assert ("num_predict", "64") in commands(replace(MODELFILE, context_length=64, num_predict=256).render())


def test_no_system_message_is_no_line() -> None:
    text = Modelfile("a.gguf", 8, 1, 0.0, "", "MIT").render()
    assert "SYSTEM" not in text and ("temperature", "0") in commands(text)


LETTERS = st.one_of(st.sampled_from([*" \"'\n#\\é漢", '"""', '"""\n']), st.characters(categories=("L", "N", "P", "S")))
VISIBLE = st.lists(LETTERS, min_size=1).map("".join)


@given(VISIBLE, VISIBLE)
def test_whatever_the_texts_hold_they_stay_inside_their_quotes(system: str, license: str) -> None:
    found = commands(Modelfile("a.gguf", 8, 1, 0.5, system, license).render())
    assert [name for name, _ in found][-2:] == ["SYSTEM", "LICENSE"] and len(found) == 11
    for (_, told), wanted in zip(found[-2:], (system, license), strict=True):
        assert told == wanted.replace('"""', "'''")


def test_with_gaps_learnt_the_template_takes_a_suffix_and_without_it_cannot() -> None:
    """Ollama says that a model can insert where its template names a suffix, and else refuses to be asked."""
    assert "Suffix" not in MODELFILE.template
    told = replace(MODELFILE, fim=True)
    assert ("TEMPLATE", told.template) in commands(told.render()) and "{{ if .Suffix }}" in told.template


contents = st.text(min_size=1, max_size=20) | st.sampled_from(
    ["{{ .System }}", "\n", " ", "<fim_middle>", "def f(:\n\t"]
)
message = st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": contents})


@pytest.fixture(scope="module", params=["go", "python"])
def ollama(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """What Ollama makes of a template, by Go's own text/template and by our reading of it."""
    if request.param == "python":
        yield ollama_template.render
    elif shutil.which("go") is None:
        pytest.skip("there is no Go here")
    else:
        go = ollama_template.Go(tmp_path_factory.mktemp("go"))
        yield go.render
        go.close()


@settings(deadline=None)
@given(contents, contents, st.lists(message, max_size=4))
def test_a_gap_is_said_as_in_training_and_knows_no_conversation(
    ollama: Callable[..., str], prefix: str, suffix: str, messages: list[Message]
) -> None:
    template = replace(MODELFILE, fim=True).template
    wanted = f"<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>"
    assert ollama(template, prompt=prefix, suffix=suffix, messages=messages) == wanted


@settings(deadline=None)
@given(st.lists(message, max_size=4))
def test_a_template_with_gaps_renders_conversations_as_one_without(
    ollama: Callable[..., str], messages: list[Message]
) -> None:
    with_gaps = ollama(replace(MODELFILE, fim=True).template, messages=messages)
    assert with_gaps == ollama(OLLAMA_TEMPLATE, messages=messages)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=30)


@settings(deadline=None)
@given(TEXT, TEXT, st.booleans())
def test_a_modelfile_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, system: str, license: str, fim: bool
) -> None:
    path = tmp_path_factory.mktemp("read") / "Modelfile"
    modelfile = replace(MODELFILE, system=system, license=license, fim=fim)
    path.write_text(modelfile.render(), encoding="utf-8", newline="\n")
    found = [(each.name, each.value) for each in read_modelfile(path)]
    quoted = [(name, text.replace('"""', "'''")) for name, text in (("SYSTEM", system), ("LICENSE", license)) if text]
    assert [pair for pair in found if pair[0] in ("SYSTEM", "LICENSE") and pair[1]] == quoted
    assert found[:2] == [("FROM", "./tiny-q8_0.gguf"), ("TEMPLATE", modelfile.template)]
    assert [name for name, _ in found[2:9]] == [
        "num_ctx", "num_predict", "temperature", "repeat_penalty", "stop", "stop", "stop"
    ]  # fmt: skip


def test_what_people_write_in_a_modelfile_is_read_as_ollama_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "Modelfile"
    path.write_text('# mine\nfrom ./a.gguf\n\n  PARAMETER num_ctx 128\nparameter stop "a b"\nSYSTEM  Be "kind". \n')
    assert [(each.name, each.value) for each in read_modelfile(path)] == commands(
        'FROM ./a.gguf\nPARAMETER num_ctx 128\nPARAMETER stop "a b"\nSYSTEM Be "kind".\n'
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("FROM ./a.gguf\nADAPTER ./b\n", "Modelfile:2: ADAPTER is not known here; known are FROM, "),
        ('FROM ./a.gguf\nSYSTEM """never\nclosed\n', "Modelfile:2: the quotes of SYSTEM are never closed"),
    ],
)
def test_a_modelfile_that_cannot_be_read_is_an_error_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "Modelfile").write_text(text)
    with pytest.raises(ReleaseError, match=re.escape(told)):
        read_modelfile(tmp_path / "Modelfile")


def test_the_command_for_people_reads_the_modelfile() -> None:
    assert create_command("tiny", Path("exports/tiny")) == ["ollama", "create", "tiny", "-f", "exports/tiny/Modelfile"]
