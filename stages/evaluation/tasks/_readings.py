"""What tasks of readings have in common: a line now and then, with what a script of values says by then."""

from __future__ import annotations

from collections.abc import Sequence

from stages.evaluation.checks import end, lines, near, numbers, regular, require
from stages.evaluation.sandbox import Outcome

Says = tuple[float, ...] | str


def readings(
    outcome: Outcome, script: Sequence[tuple[float, Says]], *, every: float, within: float = 0.0, late: float = 0.1
) -> None:
    """A line every `every` seconds, to the end, with what the script says by then. Raises Wrong.

    Numbers may stand anywhere in the line, next to each other, each `within` of what is wanted; texts in either case.
    For `late` seconds after a change a line may say anything.
    """
    printed = lines(outcome)
    regular([line.t for line in printed], every, tolerance=0.15, until=end(outcome), what="a line is printed")
    for line in printed:
        if any(-0.01 < line.t - t < late for t, _ in script[1:]):
            continue
        wanted = [says for t, says in script if t <= line.t][-1]
        about = f"{line.text!r} at {line.t:.2f} s instead of {wanted}"
        if isinstance(wanted, str):
            require(wanted.lower() in line.text.lower(), about)
            continue
        found = numbers(line.text)
        windows = [found[i : i + len(wanted)] for i in range(len(found) - len(wanted) + 1)]
        require(any(all(map(lambda a, b: near(a, b, within), window, wanted)) for window in windows), about)
