"""What the figures say in plain words: what is good, what is doubtful, and the one thing to try next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from stages.evaluation.page.figures import bits_per_byte, interval
from stages.evaluation.page.finding import Finding
from stages.evaluation.page.judge import CHECKS
from stages.evaluation.page.run import Run
from stages.evaluation.page.values import dig, listed, mapping, plain, share

ORDER = ("bad", "doubtful", "unknown", "good")
WORDS = {"bad": "weak", "doubtful": "doubtful", "unknown": "not measured", "good": "good"}


def findings(run: Run) -> list[Finding]:
    """All findings, the weak ones first."""
    found = sorted((each for check in CHECKS for each in check(run)), key=lambda each: ORDER.index(each.grade))
    commands: set[str] = set()
    for place, each in enumerate(found):
        if each.command in commands:
            found[place] = replace(each, next=f"{each.next}, as above", command="")
        commands |= {each.command} - {""}
    return found


def headline(run: Run, found: list[Finding]) -> str:
    """One or two sentences: what the model can do, and what stands in its way most."""
    solved, compiles, bits = run.score("pass", "1", "value"), run.score("compile_rate", "value"), bits_per_byte(run)
    if run.executed and solved is not None:
        where = interval(mapping(dig(run.speaker, "pass", "1")))
        said = f"It solves {share(solved)} of the tasks at the first try{f' ({where})' if where else ''}"
        said += f", and {share(compiles)} of its answers compile." if compiles is not None else "."
    elif compiles is not None:
        said = f"{share(compiles)} of its answers compile; whether they work was not tried."
    elif bits is not None:
        said = (
            f"It predicts held-back text at {plain(bits)} bits per byte; what its programs are worth was not measured."
        )
    elif "pretrain" in run.manifests:
        said = "It was trained, and nothing is known yet of what it writes."
    else:
        said = "There is no model yet."
    doubts = [each for each in found if each.grade in ("bad", "doubtful")]
    briefs = list(dict.fromkeys(each.brief for each in doubts if each.brief))
    if briefs:
        more = f" and {len(briefs) - 4} more" if len(briefs) > 5 else ""
        stands = ", ".join(briefs[:4]) + more if more else listed(briefs)
        return f"{said} {'Weak or doubtful' if any(e.grade == 'bad' for e in doubts) else 'Doubtful'}: {stands}."
    return said if doubts or not found else f"{said} Nothing that was measured is in doubt."


def told(found: list[Finding]) -> list[Mapping[str, str]]:
    """The findings for the manifest of the report."""
    return [{"grade": each.grade, "text": each.text, **({"next": each.next} if each.next else {})} for each in found]
