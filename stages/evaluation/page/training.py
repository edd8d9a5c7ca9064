"""The sections on training: curves over steps and tokens, and what the model wrote on the way."""

from __future__ import annotations

from collections.abc import Iterator

from stages.evaluation.page.blocks import Block, Figure, Grid, Heading, Key, Note, Section, Table, Text, Texts
from stages.evaluation.page.charts import Series, lines, thinned
from stages.evaluation.page.run import Run
from stages.evaluation.page.values import Room, column, count, line, number, plain, points, rows, share, short, weight

STAGES = (("pretrain", "Pretraining"), ("finetune", "Finetuning"))
MOST_ROWS = 25
MOST_SAMPLES = 64
STEEP = 10.0  # a loss that was so many times its median is drawn on a logarithmic scale
Point = tuple[float, float]


def section(run: Run, against: Run | None, room: Room) -> Iterator[Section]:
    blocks: list[Block] = []
    for stage, name in STAGES:
        if stage in run.manifests:
            blocks += [Heading(name), *_stage(run, against, stage)]
    if blocks:
        yield Section("training", "Training", blocks)
    if samples := list(_samples(run, room)):
        lead = "The same prompts again and again, while it learnt."
        yield Section("samples", "Samples over training", samples, lead)


def _stage(run: Run, against: Run | None, stage: str) -> Iterator[Block]:
    steps = run.number(stage, "steps")
    if not steps:
        yield Note(f"{stage} did nothing: there were no steps to take, and the weights were passed on.", quiet=True)
        return
    yield Note(_told(run, stage, steps))
    figures = [*_losses(run, against, stage), *_small(run, stage)]
    if figures:
        yield Grid(figures)
    if not run.metrics(stage, "curve"):
        again = run.command.replace("pipeline run", f"pipeline run --force {stage}", 1)
        yield Note(
            "The curve of the loss is not in this manifest, which an older version wrote. To have it:", True, again
        )


def _told(run: Run, stage: str, steps: float) -> str:
    told = [f"{count(steps)} steps"]
    if (tokens := run.number(stage, "tokens")) is not None:
        epochs = run.number(stage, "epochs")
        told.append(f"{count(tokens)} tokens" + (f" ({epochs:.3g} times through)" if epochs else ""))
    if (size := run.number(stage, "parameters")) is not None:
        told.append(f"{short(size)} parameters in {line(run.metrics(stage, 'precision') or 'unknown precision', 20)}")
    if (speed := run.number(stage, "tokens_per_second")) is not None:
        mfu = run.number(stage, "mfu")
        told.append(f"{plain(speed)} tokens per second" + (f" ({share(mfu)} of the machine's peak)" if mfu else ""))
    if (memory := run.number(stage, "peak_memory")) is not None:
        told.append(f"{weight(memory)} of memory at most")
    loss, kept = run.number(stage, "val_loss"), run.number(stage, "best_step")
    said = ", ".join(told) + "."
    if loss is not None:
        held = column(run.metrics(stage, "validation"), 1)
        lowest = min(held, key=lambda point: point[1]) if held and run.keeps_last(stage) else None
        what = "Validation loss of the weights that were kept" if run.keeps_last(stage) else "Lowest validation loss"
        said += f" {what} {plain(loss)}" + (f", at step {count(kept)}" if kept is not None else "")
        if lowest and lowest[0] != kept:
            said += f" (the lowest was {plain(lowest[1])}, at step {count(lowest[0])})"
        said += f"; perplexity {plain(perplexity)}" if (perplexity := run.number(stage, "perplexity")) else ""
        said += (
            f"; guessing by frequency alone gives {plain(guess)}."
            if (guess := run.number(stage, "unigram_loss"))
            else "."
        )
    return said


def curve(run: Run, stage: str, what: str) -> list[Point]:
    return points(run.metrics(stage, "curve", "step"), run.metrics(stage, "curve", what))


def _losses(run: Run, against: Run | None, stage: str) -> Iterator[Figure]:
    loss, held_back = curve(run, stage, "loss"), column(run.metrics(stage, "validation"), 1)
    if not loss and not held_back:
        return
    series = [Series("training", loss, 0)] if loss else []
    series += [Series("validation", held_back, 1, dots=len(held_back) <= 40)] if held_back else []
    if against is not None:
        other, other_held = curve(against, stage, "loss"), column(against.metrics(stage, "validation"), 1)
        series = ([Series("training, the other run", other, 0, True, faint=True)] if other else []) + series
        series += [Series("validation, the other run", other_held, 1, True)] if other_held else []
    heights = sorted(y for each in series for _, y in each.points)
    steep = heights[0] > 0 and heights[-1] > STEEP * heights[len(heights) // 2]
    tokens = curve(run, stage, "tokens")
    guess = run.number(stage, "unigram_loss")
    legend = [Key(each.name, each.colour, each.dashed) for each in sorted(series, key=lambda each: each.dashed)]
    yield Figure(
        "Loss",
        lines(f"Loss of {stage}", series, x_label="step", y_label="nats per token", height=250, second=tokens,
              second_label="tokens" if tokens else "", level=guess, level_label="by frequency alone", log=steep),
        legend=legend,
        numbers=_numbers(run, stage, loss, held_back),
    )  # fmt: skip
    last = max(x for each in series for x, _ in each.points)
    late = [_from(each, last / 2) for each in series]
    if sum(len(each.points) for each in late) > 3:
        drawn = lines(f"Loss of {stage}, second half", [each for each in late if each.points], x_label="step",
                      y_label="nats per token", height=250, second=_late(tokens, last / 2),
                      second_label="tokens" if tokens else "")  # fmt: skip
        yield Figure("Loss, the second half", drawn, legend=legend)


def _from(series: Series, first: float) -> Series:
    kept = _late(series.points, first)
    return Series(series.name, kept, series.colour, series.dashed, series.dots, series.faint)


def _late(path: object, first: float) -> list[Point]:
    assert isinstance(path, list | tuple)
    return [point for point in path if point[0] >= first]


def _numbers(run: Run, stage: str, loss: list[Point], held_back: list[Point]) -> Table:
    chosen = thinned(loss, MOST_ROWS)
    tokens, rate, norm = (dict(curve(run, stage, what)) for what in ("tokens", "learning_rate", "grad_norm"))
    held = dict(held_back)
    steps = sorted({step for step, _ in chosen} | {step for step, _ in thinned(held_back, MOST_ROWS)})
    losses = dict(loss)
    cells = [
        (
            count(step),
            *(plain(each.get(step)) for each in (losses, held)),
            count(tokens.get(step)),
            *(plain(each.get(step)) for each in (rate, norm)),
        )
        for step in steps
    ]
    return Table(("step", "training", "validation", "tokens", "learning rate", "gradient norm"), cells, 6)


def _small(run: Run, stage: str) -> Iterator[Figure]:
    pace = run.metrics(stage, "pace")
    wanted = (
        ("Learning rate", curve(run, stage, "learning_rate"), "", "", True, False),
        ("Gradient norm, before clipping", curve(run, stage, "grad_norm"), "", "", False, True),
        ("Speed", column(pace, 1), "tokens per second", "", True, False),
        ("Memory", column(pace, 2), "resident or on the device", "B", True, False),
    )
    for title, found, label, unit, zero, log in wanted:
        if len(found) < 2:
            continue
        whole = f"{title} of {stage}"
        drawn = lines(whole, [Series(title, found, 2)], x_label="step", y_label=label,
                      y_unit=unit, height=180, zero=zero, log=log)  # fmt: skip
        yield Figure(title, drawn)


def _samples(run: Run, room: Room) -> Iterator[Block]:
    left = MOST_SAMPLES
    for stage, name in STAGES:
        by_prompt: dict[str, list[tuple[float, str]]] = {}
        for row in rows(run.metrics(stage, "samples"))[:10_000]:
            if isinstance(row, list) and len(row) == 3 and (step := number(row[0])) is not None:
                by_prompt.setdefault(str(row[1]), []).append((step, str(row[2])))
        if not by_prompt:
            continue
        yield Heading(name)
        for prompt, written in list(by_prompt.items())[:8]:
            chosen = thinned(sorted(written), max(left // 8, 1))
            asked = room.text(prompt, 600)
            texts = [Text(f"step {count(step)}", room.text(text, 2000)) for step, text in chosen]
            beside = sorted({0, len(texts) // 2, len(texts) - 1})
            yield Texts(
                [text for at, text in enumerate(texts) if at not in beside],
                asked=asked,
                code=stage == "pretrain",
                beside=[texts[at] for at in beside],
            )
    if not any(run.metrics(stage, "samples") for stage, _ in STAGES) and run.metrics("pretrain", "steps"):
        asked = run.again("pretrain.sample_prompts='[\"import machine\"]'")
        yield Note("None were asked for. To see some at each evaluation:", True, asked)
