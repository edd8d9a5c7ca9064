"""The vocabulary of the checks, on logs that are written down here."""

from __future__ import annotations

import pytest

from stages.evaluation.checks import (
    Wrong,
    edges,
    follows,
    high_times,
    level_at,
    low_times,
    numbers,
    regular,
    returned,
    returns,
    tells,
)
from stages.evaluation.sandbox import Outcome, Value


def levels(*changes: tuple[float, int], end: float = 10.0) -> Outcome:
    events = tuple({"t": round(t * 1e6), "what": "pin", "pin": 3, "value": value} for t, value in changes)
    return Outcome("x", "time_limit", end_us=round(end * 1e6), events=events)


def test_edges_begin_from_low_and_leave_out_what_changes_nothing() -> None:
    outcome = levels((0.0, 0), (1.0, 1), (1.5, 1), (2.0, 0), (4.0, 1))
    assert [tuple(edge) for edge in edges(outcome, 3)] == [(1.0, 1), (2.0, 0), (4.0, 1)]
    assert [tuple(pulse) for pulse in high_times(outcome, 3)] == [(1.0, 1.0)]
    assert [tuple(pulse) for pulse in low_times(outcome, 3)] == [(2.0, 2.0)]
    assert [level_at(outcome, 3, t) for t in (0.5, 1.0, 3.0, 9.0)] == [0, 1, 0, 1]


SCRIPT = ((0.0, 0), (1.0, 1), (3.0, 0))


@pytest.mark.parametrize(
    ("changes", "end", "good"),
    [
        (((1.02, 1), (3.02, 0)), 10.0, True),
        (((1.2, 1), (3.02, 0)), 10.0, False),
        (((1.02, 1), (2.0, 0), (2.1, 1), (3.02, 0)), 10.0, False),
        (((0.5, 1), (3.02, 0)), 10.0, False),
        (((1.02, 1),), 10.0, False),
        (((1.02, 1),), 2.9, False),  # it ended before the last level was due
        (((1.02, 1), (3.02, 0), (9.0, 1)), 10.0, False),
    ],
)
def test_an_output_follows_a_script_to_the_end(changes: tuple[tuple[float, int], ...], end: float, good: bool) -> None:
    if good:
        follows(levels(*changes, end=end), 3, SCRIPT)
    else:
        with pytest.raises(Wrong, match="pin 3 is not steadily"):
            follows(levels(*changes, end=end), 3, SCRIPT)


@pytest.mark.parametrize(
    ("instants", "why"),
    [
        ([1.0, 2.0, 3.0], ""),
        ([0.0, 1.04, 2.0, 3.0, 4.0], ""),
        ([1.0], "1 times"),
        ([2.5, 3.5], "first at 2.500"),
        ([1.0, 2.2, 3.2], "1.2000 s apart"),
        ([0.0, 1.0], "for the last time at 1.000 of 4.0 s"),
    ],
)
def test_instants_are_regular_from_about_the_first_period_to_the_end(instants: list[float], why: str) -> None:
    if why:
        with pytest.raises(Wrong, match=why.replace(".", r"\.")):
            regular(instants, 1.0, until=4.0, what="it beeps")
    else:
        regular(instants, 1.0, until=4.0, what="it beeps")


def test_numbers_stand_in_any_text() -> None:
    assert numbers("T=-3.5 C, 40% at 1e3, v2 and x_7; 12.5.3") == [-3.5, 40.0, 1000.0, 12.5]


def test_a_text_tells_a_number_beside_others() -> None:
    assert tells("pulses in the last 1 s: 50", 50) and tells("3.04 V", 3, 0.05)
    assert not tells("500", 50) and not tells("none", 0)


def test_values_are_literals_or_exceptions() -> None:
    outcome = Outcome("x", "done", values=(Value(True, "[1, 2.5]"), Value(False, "ValueError"), Value(True, "<f>")))
    assert returned(outcome, 0) == [1, 2.5]
    for place, why in ((1, "raised ValueError"), (2, "gave <f>"), (3, "ended before")):
        with pytest.raises(Wrong, match=why):
            returned(outcome, place)
    returns(replace_values(outcome, 2), [1, 2.5], ValueError)
    with pytest.raises(Wrong):
        returns(replace_values(outcome, 2), [1, 2], ValueError)
    with pytest.raises(Wrong):
        returns(replace_values(outcome, 2), (1, 2.5), ValueError)


def replace_values(outcome: Outcome, count: int) -> Outcome:
    return Outcome("x", "done", values=outcome.values[:count])
