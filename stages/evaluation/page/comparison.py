"""Two runs side by side: the figures with the better one marked, and in what their configurations differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stages.evaluation.page.blocks import Block, Heading, Note, Section, Table
from stages.evaluation.page.figures import MEASURES, Measure
from stages.evaluation.page.origins import written
from stages.evaluation.page.run import Run
from stages.evaluation.page.scores import best_of
from stages.evaluation.page.values import dig, line, mapping, plain, share

MOST_DIFFERENCES = 100


def section(run: Run, against: Run | None) -> Iterator[Section]:
    if against is None:
        return
    lead = f"{_named(run)} against {_named(against)}. The better figure is bold; curves of the other run are dashed."
    yield Section(
        "comparison", "Comparison with another run", [*_figures(run, against), *_differences(run, against)], lead
    )


def _named(run: Run) -> str:
    return run.label(run.stages[-1]) if run.stages else "nothing"


def _figures(run: Run, against: Run) -> Iterator[Block]:
    told = [(measure, measure.value(run), measure.value(against)) for measure in MEASURES]
    told = [(measure, here, there) for measure, here, there in told if here is not None or there is not None]
    cells: list[tuple[str, ...]] = []
    best: set[tuple[int, int]] = set()
    for place, (measure, here, there) in enumerate(told):
        change = ""
        if here is not None and there is not None and here != there:
            change = _change(measure, here, there)
            ours, theirs = measure.spread(run), measure.spread(against)
            if ours and theirs and ours[0] <= theirs[1] and theirs[0] <= ours[1]:
                change += ", may be chance"
            best |= {(place, 1 + at) for at, _ in best_of([[here], [there]], [measure.better])}
        cells.append((measure.name, measure.write(here) or "–", measure.write(there) or "–", change))
    yield Table(("figure", "this run", "the other", "change"), cells, 3, best=frozenset(best))


def _change(measure: Measure, here: float, there: float) -> str:
    """By how much, in points of percent where the figure is a share."""
    sign = "+" if here > there else "−"
    if measure.write is share:
        return f"{sign}{abs(here - there) * 100:.1f} points"
    return f"{sign}{share(abs(here / there - 1))}" if there else f"{sign}{plain(abs(here))}"


def _differences(run: Run, against: Run) -> Iterator[Block]:
    here, there = _values(run), _values(against)
    names = sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
    yield Heading("What was configured otherwise")
    if not names:
        yield Note("Nothing: both runs have the same configuration.")
        return
    cells = [(line(n, 80), line(here.get(n, "–"), 100), line(there.get(n, "–"), 100)) for n in names[:MOST_DIFFERENCES]]
    yield Table(("key", "this run", "the other"), cells, code=True)
    if len(names) > MOST_DIFFERENCES:
        yield Note(f"and {len(names) - MOST_DIFFERENCES:,} more", quiet=True)


def _values(run: Run) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for stage in run.stages:
        material = mapping(run.manifests[stage].get("material"))
        for name, keys in mapping(material.get("config")).items():
            found |= {f"{name}.{key}": written(value) for key, value in mapping(keys).items()}
        if dig(material, "seed") is not None:
            found["seed"] = written(material["seed"])
        if stage == "gather":
            found["files of the sources"] = str(run.manifests[stage].get("digest"))[:12]
    return found
