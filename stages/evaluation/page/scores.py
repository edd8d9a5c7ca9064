"""The sections on the model: its files, what models scored, the tasks, and what they wrote."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stages.evaluation.page.blocks import (
    Bars,
    Block,
    Figure,
    Grid,
    Heading,
    Key,
    Note,
    Section,
    Table,
    Text,
    Texts,
    bars_of,
)
from stages.evaluation.page.charts import COLOURS, Mark, intervals, scatter
from stages.evaluation.page.figures import interval
from stages.evaluation.page.run import Run
from stages.evaluation.page.values import (
    Object,
    Room,
    count,
    counts,
    dig,
    line,
    mapping,
    number,
    plain,
    plural,
    rows,
    share,
    weight,
)
from stages.evaluation.task import LEVELS

MOST_FILES, MOST_MODELS, MOST_EXAMPLES, MOST_NAMES = 60, 40, 20, 20
NOT_MEASURED = "–"
LEVEL_NAMES = {str(level): f"{level} · {name}" for level, name in LEVELS.items()}
CHOSEN = "→\u00a0"
SPEED = "tokens a second, many at once"


def section(run: Run, room: Room) -> Iterator[Section]:
    if run.files:
        lead = "What each file of the release costs in bytes, and what it loses against F16."
        yield Section("files", "Quantisation", list(_files(run)), lead)
    if "evaluate" not in run.manifests:
        return
    if run.models:
        yield Section("models", "Models compared", list(_models(run)))
        yield Section("tasks", "Tasks", [*_tasks(run), *_names(run), *_copied(run, room)])
    else:
        text = (
            "Tasks, compile rates and comparisons were not measured: an older version evaluated this run. To have them:"
        )
        again = run.command.replace("pipeline run", "pipeline run --from evaluate", 1)
        yield Section("tasks", "Tasks", [Note(text, True, again)])
    if examples := list(_examples(run, room)):
        yield Section("examples", "Example answers", examples)
    if answers := list(_answers(run, room)):
        yield Section("answers", "Answers to the prompts", answers)


def rate(entry: object, interval_too: bool = False) -> str:
    """A rate in percent, if wanted with its interval."""
    value = number(dig(entry, "value"))
    if value is None:
        return NOT_MEASURED
    ends = interval(mapping(entry)) if interval_too else ""
    return f"{share(value)} ({ends})" if ends else share(value)


def best_of(values: Sequence[Sequence[float | None]], better: Sequence[int]) -> frozenset[tuple[int, int]]:
    """For each column the cells with the best value, where several rows have different ones."""
    found = set()
    for place, sign in enumerate(better):
        told = [(row[place], i) for i, row in enumerate(values) if row[place] is not None]
        distinct = {value for value, _ in told}
        if sign and len(distinct) > 1:
            top = max(distinct, key=lambda value: sign * (value or 0.0))
            found |= {(i, place) for value, i in told if value == top}
    return frozenset(found)


# -- files -------------------------------------------------------------------------------------------------------------


def _files(run: Run) -> Iterator[Block]:
    files = list(run.files.items())[:MOST_FILES]
    columns: list[tuple[str, list[str]]] = []

    def add(head: str, cells: list[str]) -> None:
        if any(cell not in ("", NOT_MEASURED) for cell in cells):
            columns.append((head, cells))

    scored = [run.scored(name) for name, _ in files]
    for head, key, write in (
        ("size", "bytes", weight),
        ("bits per weight", "bits_per_weight", lambda value: "" if value is None else f"{value:.2f}"),
        ("KL to F16", "kl", plain),
        ("its 99th percentile", "kl_99", plain),
        ("same likeliest token", "top1", share),
        ("perplexity", "perplexity", plain),
        ("bits per byte", "bits_per_byte", plain),
    ):
        add(head, [write(number(entry.get(key))) for _, entry in files])
    add("compile", [rate(entry.get("compile_rate")) for entry in scored])
    add("pass@1", [rate(dig(entry, "pass", "1")) for entry in scored])
    add(SPEED, [plain(number(entry.get("tokens_per_second"))) for entry in scored])
    names = [CHOSEN * (name == run.chosen) + line(name, 30) for name, _ in files]
    cells = [(name, *(column[i] for _, column in columns)) for i, name in enumerate(names)]
    yield Table(("file", *(head for head, _ in columns)), cells, len(columns), "→ the file that people get")
    dots = [
        (line(name, 20), size, kl, name == run.chosen)
        for name, entry in files
        if (size := number(entry.get("bits_per_weight"))) is not None
        and (kl := number(entry.get("kl"))) is not None
        and kl > 0
    ]
    charts: list[Figure | Bars] = []
    if len(dots) >= 3:
        drawn = scatter("Size against divergence", dots, x_label="bits per weight", y_label="KL to F16, nats per token")
        charts.append(
            Figure("Size against divergence", drawn, "Lower left is better; the file that people get stands out.")
        )
    for title, key, write in (("Size", "bytes", weight), ("Divergence from F16 (KL)", "kl", plain)):
        amounts = [
            (line(name, 30), amount, write(amount))
            for name, entry in files
            if (amount := number(entry.get(key))) is not None
        ]
        if len(amounts) > 1 and (key == "bytes" or len(dots) < 3):
            charts.append(bars_of(title, amounts))
    if charts:
        yield Grid(charts)
    if len(run.files) > MOST_FILES:
        yield Note(f"and {len(run.files) - MOST_FILES:,} more files", quiet=True)
    tokens = next((found for _, entry in files if (found := number(entry.get("tokens")))), None)
    if tokens:
        yield Note(f"Measured on {count(tokens)} tokens of held-back text.", quiet=True)


# -- models ------------------------------------------------------------------------------------------------------------


def _models(run: Run) -> Iterator[Block]:
    models = run.models[:MOST_MODELS]
    heads = (
        "bits per byte",
        "perplexity",
        "compile",
        "pass@1",
        "pass@10",
        "end",
        "unknown API names",
        "copied",
        SPEED,
    )
    alike = len({str(model.get("kind")) for model in models}) == 1  # else speeds are those of kinds of runtime
    better = (-1, -1, 1, 1, 1, 1, -1, -1, 1 if alike else 0)
    values = [
        [
            number(dig(model, *path))
            for path in (
                ("validation", "bits_per_byte"), ("validation", "perplexity"), ("compile_rate", "value"),
                ("pass", "1", "value"), ("pass", "10", "value"), ("ended", "value"), ("unknown_api", "value"),
                ("verbatim", "share"), ("tokens_per_second",),
            )
        ]
        for model in models
    ]  # fmt: skip
    writers = (plain, plain, share, share, share, share, share, share, plain)
    cells = [
        (
            line(model.get("name") or "?", 40),
            line(model.get("kind") or "", 20),
            weight(number(model.get("bytes"))) or NOT_MEASURED,
            *(write(value) or NOT_MEASURED for write, value in zip(writers, told, strict=True)),
        )
        for model, told in zip(models, values, strict=True)
    ]
    best = frozenset((i, place + 3) for i, place in best_of(values, better))
    asked = run.number("evaluate", "tasks"), run.number("evaluate", "samples"), run.number("evaluate", "temperature")
    said = []
    if asked[0]:
        said.append(f"{count(asked[0])} tasks, {plural(asked[1] or 1, 'answer')} to each")
    if asked[2] is not None:
        said.append(f"temperature {plain(asked[2], 2)}")
    caption = f"{', '.join(said)}. " if said else ""
    if size := next((found for model in models if (found := number(dig(model, "validation", "bytes")))), None):
        caption += f"Bits per byte and perplexity on {count(size)} bytes of held-back text, the same for all. "
    caption += (
        "Perplexity compares only models with one tokenizer, bits per byte compare all. The best of a column is bold."
    )
    yield Table(("model", "kind", "size", *heads), cells, 10, caption, best)
    whole = [(line(m.get("name") or "?", 40), line(m.get("source") or "", 200)) for m in models]
    yield Table(("model", "read from"), whole, folded="Where the models were read from")


# -- tasks -------------------------------------------------------------------------------------------------------------


def _tasks(run: Run) -> Iterator[Block]:
    if not run.executed:
        why = run.metrics("evaluate", "why_not")
        text = (
            f"Programs were compiled, not run{f': {line(why, 300)}' if why else ''}. To have them run in the sandbox:"
        )
        yield Note(text, True, run.again("evaluate.execute=true"))
    first = [run.speaker, *(model for model in run.models if model is not run.speaker)][:4]
    key = "pass" if any(dig(model, "pass") for model in first) else "compile_rate"
    names = {"pass": "solved at the first try (pass@1)", "compile_rate": "compile"}
    levels = sorted({level for model in first for level in mapping(model.get("levels"))}, key=_in_order)[:20]
    groups = []
    cells = []
    for level in levels:
        entries = [mapping(dig(model, "levels", level)) for model in first]
        tasks = next((amount for entry in entries if (amount := number(entry.get("tasks")))), None)
        told = LEVEL_NAMES.get(level, f"level {line(level, 30)}") + (f" ({plural(tasks, 'task')})" if tasks else "")
        found = [_solved(entry, key) for entry in entries]
        marks = [mark for place, entry in enumerate(found) if (mark := _mark(entry, place))]
        groups.append((told, marks))
        cells += [
            (told if not i else "", line(model.get("name") or "?", 40), rate(entry.get("compile_rate"), True),
             rate(_solved(entry, "pass"), True))
            for i, (model, entry) in enumerate(zip(first, entries, strict=True))
        ]  # fmt: skip
    blocks: list[Figure | Bars] = []
    if any(marks for _, marks in groups):
        legend = [Key(line(model.get("name") or "?", 40), i, dot=True) for i, model in enumerate(first)]
        table = Table(("level", "model", "compile", "pass@1"), cells, 2)
        drawn = intervals(f"Tasks by level: {names[key]}", groups, x_label=names[key])
        blocks.append(Figure("By level", drawn, "Lines are intervals of 95 %.", legend, table))
    outcomes = counts(run.speaker.get("outcomes"))
    if outcomes:
        whole = sum(amount for _, amount in outcomes)
        told_outcomes = [
            (line(name, 40), amount, f"{count(amount)} · {share(amount / whole)}") for name, amount in outcomes
        ]
        name = line(run.speaker.get("name") or "", 30)
        blocks.append(
            bars_of(f"What became of the answers of {name}", told_outcomes, caption=f"{count(whole)} answers")
        )
    if blocks:
        yield Grid(blocks)
    if len(run.models) > 1 and outcomes:
        kinds = [name for name, _ in counts({n: 1 for m in run.models for n, _ in counts(m.get("outcomes"))})][:12]
        table_rows = [
            (line(m.get("name") or "?", 40), *(count(number(dig(m, "outcomes", kind)) or 0) for kind in kinds))
            for m in run.models[:MOST_MODELS]
        ]
        yield Table(("model", *(line(k, 30) for k in kinds)), table_rows, len(kinds), folded="Outcomes of all models")


def _in_order(level: str) -> tuple[float, str]:
    return (float(level) if level.isdecimal() and len(level) < 6 else 1e6, level)


def _solved(entry: Object, key: str) -> Object:
    """The estimate of a level: pass@1 may lie under `1` or be the entry itself."""
    found = mapping(entry.get(key))
    return mapping(found.get("1")) or found


def _mark(entry: Object, colour: int) -> Mark | None:
    value = number(entry.get("value"))
    if value is None:
        return None
    low, high = number(entry.get("low")), number(entry.get("high"))
    return Mark(value, value if low is None else low, value if high is None else high, colour % COLOURS)


def _names(run: Run) -> Iterator[Block]:
    found = run.speaker.get("unknown_api")
    if number(dig(found, "value")) is None:
        return
    names = [(str(row[0]), amount) for row in rows(dig(found, "names")) if isinstance(row, list) and len(row) > 1
             and (amount := number(row[1]))]  # fmt: skip
    yield Heading("Names that the API does not have")
    uses = number(dig(found, "uses"))
    yield Note(f"{rate(found, True)} of {plural(uses, 'use') if uses else 'its uses'} of the modules of MicroPython.")
    if names:
        cells = [(line(name, 60), count(amount)) for name, amount in names[:MOST_NAMES]]
        yield Table(("name", "uses"), cells, 1, code=True, folded="The commonest of them")


def _copied(run: Run, room: Room) -> Iterator[Block]:
    found = mapping(run.speaker.get("verbatim"))
    if not found:
        return
    yield Heading("Overlap with the training text")
    part, windows, longest = number(found.get("share")), number(found.get("windows")), number(found.get("longest"))
    said = f"{share(part)} of {count(windows)} windows of 50 tokens" if part is not None and windows else share(part)
    said += " of its answers stand there word for word"
    yield Note(f"{said}; the longest copy has {plural(longest, 'token')}." if longest is not None else f"{said}.")
    if found.get("text"):
        yield Texts([Text("the longest copy", room.text(found["text"], 2000))])


# -- texts -------------------------------------------------------------------------------------------------------------


def _examples(run: Run, room: Room) -> Iterator[Block]:
    """Answers that passed and that failed, or did and did not compile where none were run; the first are open."""
    told = [mapping(each) for each in rows(run.metrics("evaluate", "examples")) if mapping(each)]
    ran = any(each.get("passed") is not None for each in told)
    for good, title in ((True, "Passed" if ran else "Compiled"), (False, "Failed" if ran else "Did not compile")):
        chosen = [each for each in told if bool(each.get("passed" if ran else "compiled")) is good][
            : MOST_EXAMPLES // 2
        ]
        if not chosen:
            continue
        yield Heading(title)
        yield Texts([_example(each, good, i == 0, room) for i, each in enumerate(chosen)])


def _example(each: Object, good: bool, open_: bool, room: Room) -> Text:
    written, asked = room.text(each.get("text"), 3000), room.text(each.get("prompt"), 600)
    about = (_level(each), line(each.get("model") or "", 40), line(each.get("reason") or "", 200))
    task = line(each.get("task") or "task", 60)
    return Text(task, written, asked, " · ".join(filter(None, about)), "good" if good else "bad", open_)


def _level(example: Object) -> str:
    level = number(example.get("level"))
    return f"level {count(level)}" if level is not None else ""


def _answers(run: Run, room: Room) -> Iterator[Block]:
    told = [mapping(each) for each in rows(run.metrics("evaluate", "answers")) if mapping(each)][:20]
    if not told:
        return
    speaker = run.metrics("evaluate", "answered_by")
    if speaker:
        yield Note(f"Written by {line(speaker, 60)}.", quiet=True)
    for each in told:
        ended = each.get("ended")
        tag, tone = (
            ("", "")
            if ended is None
            else ("ended by itself", "good")
            if ended
            else ("cut off at the limit", "doubtful")
        )
        written = room.text(each.get("text") or each.get("answer")) or "(nothing)"
        yield Texts([Text("answer", written, tag=tag, tone=tone, open=True)], asked=room.text(each.get("prompt"), 1000))
