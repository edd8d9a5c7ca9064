"""Scores of a model whose answers are known: rates counted by hand, programs that really run."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.evaluation.models.interface import Answer, Chat, Likelihood, Model, Prompt, Text
from stages.evaluation.node import SandboxUnavailable, find_interpreter
from stages.evaluation.score import Settings, examples, learnt_by_heart, line, prompt_of, score, written
from stages.evaluation.task import Task
from stages.evaluation.tasks import SUITE
from stages.evaluation.verbatim import Training
from stages.tokens.encoding import UnknownCharacters
from stages.tokens.sampling import Sampling

FOUR = (*[task for task in SUITE if task.level == 1][:2], *[task for task in SUITE if task.level == 2][:2])
FLUENT, BROKEN = "Gladly.\n\n```python\n{}\n```\n", "```python\nwhile True print(1)\n```"


def fenced(program: str) -> str:
    return FLUENT.format(program)


class Parrot(Model):
    """Says what it was told to, by task and sample; a likelihood of one nat for each byte."""

    name, kind, source = "parrot", "gguf", "parrot.gguf"

    def __init__(self, told: dict[str, list[str]], *, chats: bool = True, likely: bool = True) -> None:
        self.told, self.chats, self.likely = told, chats, likely
        self.size = 1000
        self.heard: list[Prompt] = []

    def stream(self, prompt: Prompt, *, sampling: Sampling, max_tokens: int, seed: int) -> Generator[str, None, Answer]:
        raise NotImplementedError
        yield

    def write(
        self,
        prompts: Sequence[Prompt],
        *,
        sampling: Sampling,
        max_tokens: int,
        seeds: Sequence[int],
        advance: Callable[[int], object] = lambda count: None,
    ) -> list[Answer]:
        self.heard += prompts
        assert len(set(zip(map(repr, prompts), seeds, strict=True))) == len(prompts), "a prompt is asked twice alike"
        by_prompt = {(task.prompt if self.chats else f'"""{task.prompt}"""\n\n{task.prefix}'): task for task in FOUR}
        said = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            asked = prompt.messages[-1]["content"] if isinstance(prompt, Chat) else prompt.text
            text = self.told[by_prompt[asked].id][seed - 7]
            said.append(Answer(text, len(text.split()), ended=text != BROKEN))
        advance(len(prompts))
        return said

    def likelihood(self, texts: Sequence[str], window: int) -> Iterator[Likelihood | None]:
        for text in texts:
            size = len(text.encode())
            yield Likelihood(float(size), size // 2, size) if self.likely else None


def settings(execute: bool, samples: int = 2, texts: tuple[str, ...] = ()) -> Settings:
    return Settings(FOUR, samples, Sampling(temperature=0), 64, 7, execute, texts, 16)


def known() -> dict[str, list[str]]:
    """Of four tasks: both answers right, the first right, none right, none a program."""
    first, second, third, fourth = FOUR
    return {
        first.id: [fenced(first.reference)] * 2,
        second.id: [fenced(second.reference), fenced(second.wrong)],
        third.id: [fenced(third.wrong), BROKEN],
        fourth.id: ["I only know pins.", ""],
    }


@pytest.fixture(scope="module")
def node() -> None:
    try:
        find_interpreter()
    except SandboxUnavailable as missing:
        pytest.skip(str(missing))


def test_passes_are_counted_over_tasks_and_by_level(node: None) -> None:
    record, attempts = score(Parrot(known()), settings(execute=True))
    assert [each.passed for each in attempts] == [True, True, True, False, False, False, False, False]
    assert record["pass"]["1"]["value"] == pytest.approx((1 + 1 / 2 + 0 + 0) / 4)
    assert "10" not in record["pass"], "two samples say nothing of ten"
    assert record["levels"]["1"]["pass"]["1"]["value"] == pytest.approx(3 / 4)
    assert record["levels"]["2"]["pass"]["1"]["value"] == 0
    assert record["outcomes"] == {"does not compile": 1, "no code": 2, "passed": 3, "wrong": 2}
    for found in (record["pass"]["1"], record["compile_rate"], record["ended"]):
        assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1


def test_without_running_programs_there_are_rates_but_no_passes() -> None:
    record, attempts = score(Parrot(known()), settings(execute=False))
    assert record["pass"] is None and all(each.passed is None for each in attempts)
    assert record["compile_rate"]["value"] == pytest.approx((1 + 1 + 1 / 2 + 0) / 4)
    assert record["ended"]["value"] == pytest.approx(7 / 8)
    assert record["asked"] == 8
    assert record["outcomes"] == {"does not compile": 1, "no code": 2, "not run": 5}
    assert record["levels"]["2"] == {
        "tasks": 2,
        "ended": record["levels"]["2"]["ended"],
        "compile_rate": record["levels"]["2"]["compile_rate"],
        "pass": None,
    }


def test_likelihood_is_summed_over_texts_in_nats_per_token_and_bits_per_byte() -> None:
    texts = ("abcd", "äö" * 8)
    record, _ = score(Parrot(known()), settings(execute=False, texts=texts))
    size = 4 + 32
    assert record["validation"]["tokens"] == size // 2 and record["validation"]["bytes"] == size
    assert record["validation"]["loss"] == pytest.approx(2.0)
    assert record["validation"]["perplexity"] == pytest.approx(math.e**2, abs=1e-3)
    assert record["validation"]["bits_per_byte"] == pytest.approx(1 / math.log(2), abs=1e-4)
    assert score(Parrot(known(), likely=False), settings(execute=False, texts=texts))[0]["validation"] is None


def test_a_model_that_only_goes_on_with_texts_gets_the_task_as_a_program_that_begins() -> None:
    model = Parrot({task.id: ["pass\n"] * 2 for task in FOUR}, chats=False)
    score(model, settings(execute=False))
    assert all(isinstance(prompt, Text) for prompt in model.heard)
    task = FOUR[0]
    text = prompt_of(task, chats=False)
    assert isinstance(text, Text) and text.text.startswith(f'"""{task.prompt}"""\n') and text.text.endswith(task.prefix)
    compile(text.text + ("    pass" if task.prefix.rstrip().endswith(":") else ""), "prompt", "exec")


def test_examples_show_some_that_passed_and_some_that_did_not(node: None) -> None:
    _, attempts = score(Parrot(known()), settings(execute=True))
    shown = examples(attempts, "parrot")
    assert [(each["task"], each["passed"]) for each in shown] == [
        (FOUR[0].id, True), (FOUR[1].id, True), (FOUR[2].id, False), (FOUR[3].id, False)
    ]  # fmt: skip
    assert shown[2]["reason"]
    told = line(attempts[5], "parrot", 1)
    assert told["task"] == FOUR[2].id and told["answer"] == BROKEN and told["outcome"] == "does not compile"


def test_progress_is_told_by_answers_and_then_by_programs(node: None) -> None:
    told: dict[str, list[float]] = {}

    class Bar:
        def __init__(self, unit: str) -> None:
            self.unit = unit

        def advance(self, amount: float = 1, note: str | None = None) -> None:
            told[self.unit].append(amount)

    @contextmanager
    def progress(total: float, unit: str) -> Iterator[Bar]:
        told[unit] = []
        yield Bar(unit)
        assert sum(told[unit]) == total

    score(Parrot(known()), settings(execute=True), progress=progress)
    assert {unit: sum(amounts) for unit, amounts in told.items()} == {"answers": 8, "programs": 8}


def test_without_tasks_there_is_the_likelihood_alone() -> None:
    record, attempts = score(Parrot({}), Settings((), 1, Sampling(), 8, 7, False, ("abcd",), 16))
    assert not attempts and "compile_rate" not in record and record["validation"]["bytes"] == 4


def test_a_program_that_never_ends_is_counted_and_the_others_are_judged(node: None) -> None:
    told = known()
    told[FOUR[3].id] = [fenced("while True:\n    x = 1"), fenced("raise SystemExit")]
    record, _ = score(Parrot(told), settings(execute=True))
    assert record["asked"] == 8 and sum(record["outcomes"].values()) == 8
    assert record["outcomes"]["passed"] == 3


def test_a_text_that_was_cut_off_loses_its_last_line_before_it_is_compiled() -> None:
    model = Parrot({task.id: ["x = 1\ny = (2,", "x = 1\ny = (2,"] for task in FOUR}, chats=False)
    cut = model.write

    def write(*arguments: Any, **named: Any) -> list[Answer]:
        return [replace(answer, ended=False) for answer in cut(*arguments, **named)]

    bare = Settings((task_without_prefix(),), 2, Sampling(temperature=0), 64, 7, False)
    model.write = write  # type: ignore[method-assign]
    record, attempts = score(model, bare)
    assert record["compile_rate"]["value"] == 1 and attempts[0].code.endswith("x = 1\n")


def task_without_prefix() -> Task:
    return next(task for task in FOUR if not task.prefix)


def test_at_temperature_0_the_samples_of_a_task_took_the_time_of_one() -> None:
    answers = [Answer("a b", 2, True)] * 6
    assert written(answers, settings(execute=False)) == 6
    drawn = replace(settings(execute=False), sampling=Sampling(temperature=0.5))
    assert written(answers, drawn) == 12


class Letters:
    """A tokenizer of single letters that does not know `!`."""

    def encode(self, text: str) -> list[int]:
        if "!" in text:
            raise UnknownCharacters("!")
        return [ord(letter) for letter in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))


def test_programs_are_looked_for_in_the_training_text(tmp_path: Path) -> None:
    text = "".join(chr(97 + (i * i + i // 7) % 26) for i in range(300))
    np.array([*map(ord, text), 2], np.uint16).tofile(tmp_path / "train.bin")
    np.array([0], np.int64).tofile(tmp_path / "train.idx")
    (tmp_path / "meta.json").write_text('{"dtype": "uint16"}')
    encoding: Any = Letters()
    training = Training(tmp_path)
    found = learnt_by_heart([text[40:140], text[40:140], "what?!"], training, encoding)
    assert found == {"longest": 100, "text": text[40:140], "share": 1.0, "windows": 51}
    half = learnt_by_heart([text[:60] + "ABC" * 30], training, encoding)
    assert half and half["longest"] == 60 and half["share"] == round(11 / (150 - 49), 4)
    assert learnt_by_heart(["!"], training, encoding) is None
