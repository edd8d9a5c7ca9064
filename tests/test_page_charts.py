"""Charts: where things lie, computed by hand for small cases; and round ticks for any values."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from stages.evaluation.page.axes import axis, labels, round_step, tight
from stages.evaluation.page.charts import Mark, Series, arcs, columns, intervals, lines, scatter, thinned

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)


def drawn(svg: str) -> etree._Element:
    return etree.fromstring(svg)


def texts(svg: str, style: str) -> list[str]:
    return [str(found.text) for found in drawn(svg).iterfind("text") if style in str(found.get("class")).split()]


@pytest.mark.parametrize(
    ("values", "ticks", "wanted"),
    [
        ([0, 100], 5, [0, 20, 40, 60, 80, 100]),
        ([0.0031, 0.0069], 4, [0.003, 0.004, 0.005, 0.006, 0.007]),
        ([-3, 4], 4, [-4, -2, 0, 2, 4]),
        ([2.6, 8.3], 4, [2, 4, 6, 8, 10]),
        ([7, 7], 4, [2, 4, 6, 8, 10, 12]),
        ([], 5, [0, 0.2, 0.4, 0.6, 0.8, 1]),
    ],
)
def test_ticks_are_round_and_take_the_values_in(values: list[float], ticks: int, wanted: list[float]) -> None:
    found = axis(values, 0, 100, ticks=ticks)
    assert found.ticks == pytest.approx(wanted)
    assert (found.low, found.high) == (found.ticks[0], found.ticks[-1])


def test_a_step_is_1_2_2_5_or_5_times_a_power_of_ten() -> None:
    assert [round_step(least) for least in (0.7, 1, 1.1, 2.2, 3, 6, 0.00021)] == pytest.approx(
        [1, 1, 2, 2.5, 5, 10, 0.00025]
    )


@settings(deadline=None)
@given(st.lists(NUMBERS, max_size=20), st.booleans(), st.booleans())
def test_any_values_have_an_axis_on_which_they_lie(values: list[float], zero: bool, log: bool) -> None:
    found = axis(values, 10, 90, zero=zero, log=log)
    assert found.low < found.high
    assert all(a < b for a, b in pairwise(found.ticks)) and len(found.ticks) < 40
    assert len(labels(found.ticks)) == len(found.ticks)
    for value in values:
        slack = 1e-6 * max(abs(found.low), abs(found.high))
        assert found.low - slack <= value <= found.high + slack
        assert 10 <= found.place(value) <= 90


def test_places_are_linear_or_logarithmic() -> None:
    linear, log = axis([0, 10], 100, 300, ticks=5), axis([1, 1000], 0, 300, log=True)
    assert [linear.place(value) for value in (0, 5, 10, -99)] == [100, 200, 300, 100]
    assert [round(log.place(value)) for value in (1, 10, 100, 1000)] == [0, 100, 200, 300]
    assert log.ticks == pytest.approx((1, 10, 100, 1000))
    assert tight([3.0, 1200.0], 0, 1200).ticks == (0, 250, 500, 750, 1000)


@pytest.mark.parametrize(
    ("ticks", "unit", "wanted"),
    [
        ((0, 250, 500), "", ["0", "250", "500"]),
        ((0, 2500, 5000), "", ["0", "2,500", "5,000"]),
        ((0, 5000, 10000), "", ["0", "5 k", "10 k"]),
        ((0, 500_000, 1_000_000), "", ["0", "0.5 M", "1.0 M"]),
        ((0, 0.25, 0.5), "%", ["0 %", "25 %", "50 %"]),
        ((0, 200_000_000), "B", ["0", "200 MB"]),
        ((0, 0.0002, 0.0004), "", ["0", "2×10⁻⁴", "4×10⁻⁴"]),
        ((2.5, 3.0), "", ["2.5", "3.0"]),
    ],
)
def test_ticks_are_written_with_the_same_places_and_prefix(
    ticks: tuple[float, ...], unit: str, wanted: list[str]
) -> None:
    assert labels(ticks, unit) == wanted


def test_a_line_goes_where_its_points_are() -> None:
    """Width 440, height 236: y from 0 at 200 to 10.0 at 28, x from 0 at 14 + 6.4 × 4 letters to 100 at 426."""
    svg = lines("Loss", [Series("a", [(0, 0), (50, 10), (100, 5)])], x_label="step", y_label="nats", height=236)
    assert drawn(svg).get("viewBox") == "0 0 440 236"
    assert drawn(svg).find("path").get("d") == "M39.6 200 L232.8 28 L426 114"
    assert texts(svg, "label") == ["step", "nats"]
    assert {"0", "100", "10.0", "2.5"} <= set(texts(svg, "tick"))


def test_a_second_scale_stands_where_its_round_values_are_reached() -> None:
    """Tokens run at 10 a step: 500 tokens at step 50, the middle of the axis from 39.6 to 426."""
    points = [(0.0, 0.0), (100.0, 10.0)]
    svg = lines(
        "L", [Series("a", points)], x_label="step", y_label="y", second=[(25, 250), (100, 1000)], second_label="tokens"
    )
    above = {str(each.text): each.get("x") for each in drawn(svg).iterfind("text") if each.get("y") == "33"}
    assert above == {"250": "136.2", "500": "232.8", "750": "329.4", "1,000": "426"}


def test_columns_stand_on_each_other() -> None:
    """Two columns of (440 − 14 − 20.4) / 2 = 202.8, less 0.75 on each side; y from 0 at 200 to 4 at 28."""
    svg = columns("H", [0, 10, math.inf], [(0, [1, 2]), (1, [0, 2])], x_label="tokens", y_label="n", height=236)
    boxes = [[float(each.get(key)) for key in ("x", "y", "width", "height")] for each in drawn(svg).iterfind("rect")]
    wanted = [[21.15, 157, 201.3, 43], [223.95, 114, 201.3, 86], [223.95, 28, 201.3, 86]]
    assert all(box == pytest.approx(each, abs=0.06) for box, each in zip(boxes, wanted, strict=True))
    assert "∞" in texts(svg, "tick")


def test_a_mark_in_a_histogram_lies_between_its_edges() -> None:
    svg = columns("H", [0, 100, 200], [(0, [1, 1])], x_label="t", y_label="n", marked=150, marked_label="here")
    level = next(each for each in drawn(svg).iterfind("line") if each.get("class") == "level")
    left = 14 + 6.4 * max(len(text) for text in ("0", "1", "0.5", "0.25", "0.50", "0.75", "1.00"))
    assert float(level.get("x1")) == pytest.approx(left + 1.5 * (440 - 14 - left) / 2, abs=0.06)
    assert "here" in texts(svg, "tick")


def test_intervals_are_drawn_on_one_scale_from_zero() -> None:
    """From 0 at 16 to 50 % at 422: 25 % lies at 219, 10 % at 97.2 and 40 % at 340.8."""
    svg = intervals(
        "By level", [("one", [Mark(0.25, 0.1, 0.4, 2)]), ("two", [Mark(0.5, 0.5, 0.5, 0)])], x_label="solved"
    )
    whisker = next(each for each in drawn(svg).iterfind("line") if "whisker" in str(each.get("class")))
    assert (whisker.get("x1"), whisker.get("x2"), whisker.get("class")) == ("97.2", "340.8", "whisker c2")
    assert [each.get("cx") for each in drawn(svg).iterfind("circle")] == ["219", "422"]
    assert texts(svg, "name") == ["one", "two"]


def test_dots_are_named_without_overlap() -> None:
    svg = scatter("S", [("q8_0", 8.5, 0.0002, False), ("q4_k_m", 5.2, 0.005, True), ("q4_0", 5.2, 0.0051, False)],
                  x_label="bits", y_label="KL")  # fmt: skip
    places = [(each.get("x"), each.get("y")) for each in drawn(svg).iterfind("text") if str(each.text).startswith("q")]
    assert len(places) == len(set(places)) == 3


def test_arcs_join_each_artifact_to_what_it_was_made_from() -> None:
    svg = arcs("Lineage", [("a", "v1", "1 s"), ("b", "v1", "2 s"), ("c", "v1", "3 s")], [(0, 1), (0, 2)])
    paths = [each.get("d") for each in drawn(svg).iterfind("path")]
    assert sorted(paths) == ["M96 22 C66.1 22 66.1 66 96 66", "M96 22 L96 39"]
    assert texts(svg, "name") == ["a", "b", "c"]


def test_names_of_strangers_are_escaped_in_drawings() -> None:
    name = "<b>&\"'\x00\u202e" * 3
    for svg in (
        intervals(name, [(name, [Mark(0.1, 0.1, 0.1)])], x_label="x"),
        scatter(name, [(name, 1, 1, True), ("b", 2, 2, False)], x_label="x", y_label="y"),
        arcs(name, [(name, name, "1")], []),
        lines(name, [Series(name, [(0, 1), (1, 2)])], x_label="x", y_label="y"),
    ):
        assert drawn(svg).find("b") is None and drawn(svg).get("aria-label")


def test_nothing_to_draw_is_drawn_all_the_same() -> None:
    for svg in (
        lines("t", [], x_label="x", y_label="y"),
        lines("t", [Series("a", [(5, 5)])], x_label="x", y_label="y"),
        columns("t", [0], [], x_label="x", y_label="y"),
        intervals("t", [], x_label="x"),
        arcs("t", [], []),
    ):
        assert drawn(svg).tag == "svg"


@settings(deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=30), st.booleans())
def test_any_points_give_a_drawing_inside_its_frame(points: list[tuple[float, float]], log: bool) -> None:
    svg = lines("t", [Series("a", sorted(points), dots=True)], x_label="x", y_label="y", log=log, height=200)
    for dot in drawn(svg).iterfind("circle"):
        assert 0 <= float(dot.get("cx")) <= 440 and 0 <= float(dot.get("cy")) <= 200
    assert "nan" not in svg and "inf" not in svg


def test_long_series_are_thinned_and_keep_their_end() -> None:
    assert thinned(list(range(1000)), 100)[-1] == 999 and len(thinned(list(range(1000)), 100)) == 100
    assert thinned([1, 2, 3], 100) == [1, 2, 3]
