"""One model's scores on the task suite and on validation text."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.errors import Interrupted, PipelineError
from pipeline.stage import ProgressBar, Silent
from stages.evaluation.answers import code_of, completed
from stages.evaluation.api import Uses, uses
from stages.evaluation.compiling import compile_all
from stages.evaluation.estimate import Interval, mean_with_interval, pass_at_k
from stages.evaluation.judging import judge_codes
from stages.evaluation.models.interface import Answer, Chat, Model, Prompt, Text
from stages.evaluation.task import Task
from stages.tokens.encoding import UnknownCharacters
from stages.tokens.sampling import Sampling

if TYPE_CHECKING:
    from stages.evaluation.verbatim import Training
    from stages.tokens.encoding import Encoding

Record = dict[str, Any]
Progress = Callable[[float, str], AbstractContextManager[ProgressBar]]
KS = (1, 10)
EXAMPLES = 2  # per level, passed and failed each
EXCERPT = 2_000  # characters of an answer in the manifest
NAMES = 20  # unknown names told, the most frequent


@dataclass(frozen=True)
class Settings:
    """What is asked of every model: `samples` answers to each task, run if `execute`; and how likely `texts` are."""

    tasks: Sequence[Task]
    samples: int
    sampling: Sampling
    max_tokens: int
    seed: int
    execute: bool
    texts: Sequence[str] = ()
    window: int = 256


@dataclass(frozen=True)
class Attempt:
    """One answer to a task, and what was found out about it; `passed` is None where it was not run."""

    task: Task
    answer: Answer
    code: str
    compiled: bool
    uses: Uses
    passed: bool | None = None
    outcome: str = ""
    reason: str = ""


def scored(
    openers: Mapping[str, Callable[[], Model]],
    settings: Settings,
    *,
    training: Training | None,
    encoding: Encoding | None,
    say: Callable[[str], None],
    progress: Progress,
    missing: Callable[[str, PipelineError], None] | None = None,
) -> Iterator[tuple[Model, Record, list[Attempt]]]:
    """Score one model after the other; each is open until the next is asked for.

    Where one cannot be had or breaks off, `missing` hears of it by name and the next is scored; without it that raises.
    """
    for name, opener in openers.items():
        try:
            with opener() as model:
                record, attempts = score(model, settings, training=training, encoding=encoding, progress=progress)
                say(summary(record))
                yield model, record, attempts
        except Interrupted:
            raise
        except PipelineError as error:
            if missing is None:
                raise
            missing(name, error)


def score(
    model: Model,
    settings: Settings,
    *,
    training: Training | None = None,
    encoding: Encoding | None = None,
    progress: Progress | None = None,
) -> tuple[Record, list[Attempt]]:
    """The model's figures for the manifest, and its attempts in the order of tasks and samples.

    With `training` and the `encoding` of its tokens the programs are looked for in the training text. Raises what the
    model's `write` does, and SandboxUnavailable where programs cannot be run.
    """
    tasks = [task for task in settings.tasks for _ in range(settings.samples)]
    prompts = [prompt_of(task, chats=model.chats) for task in tasks]
    record: Record = {"name": model.name, "kind": model.kind, "source": model.source, "bytes": model.size}
    record |= {"validation": validation(model, settings), "asked": len(tasks), "verbatim": None}
    if not tasks:
        return record, []
    began = time.monotonic()
    with progress(len(tasks), "answers") if progress else nullcontext(Silent()) as bar:
        answers = model.write(
            prompts,
            sampling=settings.sampling,
            max_tokens=settings.max_tokens,
            seeds=[settings.seed + sample for _ in settings.tasks for sample in range(settings.samples)],
            advance=partial(bar.advance, note=model.name),
        )
    seconds = max(time.monotonic() - began, 1e-3)
    attempts = compiled([read(*each) for each in zip(tasks, answers, prompts, strict=True)])
    if settings.execute:
        attempts = judged(attempts, progress)
    record |= {
        "tokens": sum(answer.tokens for answer in answers),
        "tokens_per_second": round(written(answers, settings) / seconds, 1),
        **figures(attempts, settings),
        "levels": {
            str(level): {"tasks": len({each.task.id for each in found}), **figures(found, settings, brief=True)}
            for level, found in by_level(attempts).items()
        },
    }
    if training is not None and encoding is not None:
        record["verbatim"] = learnt_by_heart([each.code for each in attempts if each.code], training, encoding)
    return record, attempts


def written(answers: Sequence[Answer], settings: Settings) -> int:
    """How many tokens took time: at temperature 0 the samples of a task are one text, which is written once."""
    step = settings.samples if settings.sampling.temperature == 0 else 1
    return sum(answer.tokens for answer in answers[::step])


def prompt_of(task: Task, *, chats: bool) -> Prompt:
    """The task as a question; for a model that only goes on with texts, as a program that begins with it."""
    return Chat(({"role": "user", "content": task.prompt},)) if chats else Text(f'"""{task.prompt}"""\n\n{task.prefix}')


def read(task: Task, answer: Answer, prompt: Prompt) -> Attempt:
    code = code_of(answer.text) if isinstance(prompt, Chat) else completed(task.prefix, answer.text, ended=answer.ended)
    return Attempt(task, answer, code, False, Uses())


def compiled(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Which of them compile, and what they use of the API; equal programs are looked at once."""
    codes = list(dict.fromkeys(each.code for each in attempts))
    good = dict(zip(codes, compile_all(codes), strict=True))
    used = {code: uses(code) if good[code] else Uses() for code in codes}
    found = []
    for each in attempts:
        compiles = good[each.code]
        outcome = "" if compiles else "does not compile" if each.code else "no code"
        found.append(replace(each, compiled=compiles, uses=used[each.code], outcome=outcome))
    return found


def judged(attempts: Sequence[Attempt], progress: Progress | None = None) -> list[Attempt]:
    """The attempts after their programs ran."""
    found = []
    with progress(len(attempts), "programs") if progress else nullcontext(Silent()) as bar:
        verdicts = judge_codes([(each.task, each.code) for each in attempts])
        for each, verdict in zip(attempts, verdicts, strict=True):
            found.append(replace(each, passed=verdict.passed, outcome=verdict.kind, reason=verdict.reason))
            bar.advance()
    return found


def learnt_by_heart(programs: Sequence[str], training: Training, encoding: Encoding) -> Record | None:
    """Of the programs' windows of 50 tokens the share that stands in the training text, and the longest match."""
    ids = []
    for program in dict.fromkeys(programs):
        with suppress(UnknownCharacters):  # what the tokenizer cannot say was never learnt with it
            ids.append(encoding.encode(program))
    if not ids:
        return None
    found = training.overlaps(ids)
    windows = sum(each.windows for each in found)
    longest, own = max(zip(found, ids, strict=True), key=lambda pair: pair[0].longest)
    return {
        "longest": longest.longest,
        "text": encoding.decode(own[longest.start :][: longest.longest])[:EXCERPT],
        "share": round(sum(each.seen for each in found) / windows, 4) if windows else 0.0,
        "windows": windows,
    }


def by_level(attempts: Sequence[Attempt]) -> dict[int, list[Attempt]]:
    levels = sorted({each.task.level for each in attempts})
    return {level: [each for each in attempts if each.task.level == level] for level in levels}


def figures(attempts: Sequence[Attempt], settings: Settings, *, brief: bool = False) -> Record:
    """Rates over attempts, each with its interval; a task counts as one draw, however often it was answered."""
    per_task: dict[str, list[Attempt]] = {}
    for each in attempts:
        per_task.setdefault(each.task.id, []).append(each)
    found: Record = {
        "ended": told(mean_with_interval([_part(each.answer.ended for each in group) for group in per_task.values()])),
        "compile_rate": told(
            mean_with_interval([_part(each.compiled for each in group) for group in per_task.values()])
        ),
        "pass": None,
    }
    if settings.execute:
        tries = [(len(group), sum(bool(each.passed) for each in group)) for group in per_task.values()]
        found["pass"] = {
            str(k): told(mean_with_interval([pass_at_k(n, c, k) for n, c in tries]))
            for k in KS
            if k <= settings.samples
        }
    if not brief:
        unknown = Counter(name for each in attempts for name in each.uses.unknown)
        known = sum(each.uses.known for each in attempts)
        found["unknown_api"] = {
            "value": round(unknown.total() / max(known + unknown.total(), 1), 4),
            "uses": known + unknown.total(),
            "names": [list(pair) for pair in sorted(unknown.items(), key=lambda pair: (-pair[1], pair[0]))[:NAMES]],
        }
        found["outcomes"] = dict(sorted(Counter(each.outcome or "not run" for each in attempts).items()))
    return found


def told(interval: Interval) -> Record:
    return {name: round(getattr(interval, name), 4) for name in ("value", "low", "high")}


def _part(facts: Iterable[bool]) -> float:
    found = list(facts)
    return sum(found) / len(found)


def summary(record: Mapping[str, Any]) -> str:
    """A model's figures in a line."""
    parts = []
    if record["validation"]:
        parts.append(f"{record['validation']['bits_per_byte']:.3f} bits per byte")
    for name, label in (("compile_rate", "compile"), ("ended", "end by themselves")):
        if name in record:
            parts.append(f"{record[name]['value']:.0%} {label}")
    for k, found in (record.get("pass") or {}).items():
        parts.append(f"pass@{k} {found['value']:.1%}")
    if record.get("tokens_per_second"):
        parts.append(f"{record['tokens_per_second']:,.0f} tokens/s")
    return f"{record['name']:<8} {', '.join(parts)}"


def validation(model: Model, settings: Settings) -> Record | None:
    """Loss in nats per token, perplexity and bits per byte over the validation texts; None where it cannot be told."""
    found = [each for each in model.likelihood(settings.texts, settings.window) if each is not None]
    if not found or len(found) < len(settings.texts):
        return None
    loss, tokens, size = (sum(getattr(each, part) for each in found) for part in ("loss", "tokens", "bytes"))
    return {
        "loss": round(loss / tokens, 6),
        "perplexity": round(math.exp(min(loss / tokens, 700)), 4),
        "bits_per_byte": round(loss / math.log(2) / size, 4),
        "tokens": tokens,
        "bytes": size,
    }


def examples(attempts: Sequence[Attempt], model: str) -> list[Record]:
    """For each level a few first attempts that passed, or compiled if none were run, and a few that did not."""
    found = []
    for group in by_level(attempts).values():
        firsts = list({each.task.id: each for each in reversed(group)}.values())[::-1]
        good = [each for each in firsts if (each.compiled if each.passed is None else each.passed)]
        bad = [each for each in firsts if each not in good]
        found += [*good[:EXAMPLES], *bad[:EXAMPLES]]
    return [
        {
            "task": each.task.id,
            "level": each.task.level,
            "model": model,
            "passed": each.passed,
            "compiled": each.compiled,
            "reason": each.reason,
            "prompt": each.task.prompt,
            "text": each.answer.text[:EXCERPT],
        }
        for each in found
    ]


def line(attempt: Attempt, model: str, sample: int) -> Record:
    """One attempt as a line of answers.jsonl."""
    return {
        "model": model,
        "task": attempt.task.id,
        "sample": sample,
        "answer": attempt.answer.text,
        "tokens": attempt.answer.tokens,
        "ended": attempt.answer.ended,
        "code": attempt.code,
        "compiled": attempt.compiled,
        "unknown": list(attempt.uses.unknown),
        "passed": attempt.passed,
        "outcome": attempt.outcome,
        "reason": attempt.reason,
    }
