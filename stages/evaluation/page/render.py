"""The page: sections of blocks through the template, as one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.evaluation.page import comparison, corpus, origins, scores, training
from stages.evaluation.page.blocks import Section
from stages.evaluation.page.figures import MEASURES
from stages.evaluation.page.finding import Finding
from stages.evaluation.page.run import Run
from stages.evaluation.page.values import Object, Room, line, shown
from stages.evaluation.page.verdict import WORDS, findings, headline

if TYPE_CHECKING:
    from jinja2 import Template

HERE = Path(__file__).parent
MOST_NOTES = 4000


def page(manifests: Mapping[str, Object], *, against: Mapping[str, Object] | None = None, notes: str = "") -> str:
    """The HTML of a report on the run that has these manifests."""
    run, other, room = Run(manifests), Run(against) if against else None, Room()
    found = findings(run)
    sections: list[Section] = [
        *comparison.section(run, other),
        *scores.section(run, room),
        *training.section(run, other, room),
        *corpus.section(run),
        *origins.section(run),
    ]
    return _template().render(
        title=run.name,
        subtitle=_subtitle(run),
        headline=headline(run, found),
        findings=found,
        words=WORDS,
        tiles=_tiles(run),
        sections=sections,
        notes=shown(notes, MOST_NOTES),
        label=run.label(run.stages[-1]) if run.stages else "",
    )


def verdict(manifests: Mapping[str, Object]) -> list[Finding]:
    return findings(Run(manifests))


def _tiles(run: Run) -> list[tuple[str, str, str]]:
    """Key figures: what, how much, and more about it."""
    found = [(each, each.value(run)) for each in MEASURES if each.key]
    return [(each.name, each.write(value), line(each.about(run), 60)) for each, value in found if value is not None]


def _subtitle(run: Run) -> str:
    last = run.last
    told = [f"profile {line(last['profile'], 40)}" if last.get("profile") else ""]
    told.append(f"seed {line(last['seed'], 30)}" if last.get("seed") is not None else "")
    told.append(line(last.get("started") or "", 30)[:10])
    return " · ".join(filter(None, told))


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    settings: dict[str, Any] = {"style": (HERE / "style.css").read_text(encoding="utf-8")}
    return environment.get_template("page.html.jinja", globals=settings)
