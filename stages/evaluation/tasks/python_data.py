"""Level 1, pure Python: lists, dictionaries and numbers."""

from __future__ import annotations

from stages.evaluation.checks import returns
from stages.evaluation.task import Task

TASKS = (
    Task(
        id="python/time-covered",
        level=1,
        prompt=(
            "A pump was seen running during several spans, a list of (start, end) tuples in seconds and in no order, "
            "with end not before start. Spans may overlap, touch or lie within each other. Write a function "
            "covered(spans) that returns for how many seconds it ran altogether, each second counted once."
        ),
        prefix="def covered(spans):\n",
        calls=(
            "covered([(0, 10), (20, 25)])",
            "covered([(5, 8), (0, 6)])",
            "covered([(0, 100), (10, 20), (90, 110)])",
            "covered([])",
            "covered([(3, 4), (4, 9), (1, 1)])",
        ),
        check=lambda outcome: returns(outcome, 15.0, 8.0, 110.0, 0.0, 6.0),
        reference="""\
def covered(spans):
    total = 0
    reached = None
    for start, end in sorted(spans):
        if reached is None or start > reached:
            total += end - start
            reached = end
        elif end > reached:
            total += end - reached
            reached = end
    return total
""",
        wrong="""\
def covered(spans):
    merged = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = end
        else:
            merged.append([start, end])
    return sum(end - start for start, end in merged)
""",
        mistake="a span within another one cuts that one short",
    ),
    Task(
        id="python/nearest-resistor",
        level=1,
        prompt=(
            "Resistors of the series E12 have the values 10, 12, 15, 18, 22, 27, 33, 39, 47, 56, 68 and 82 ohms, and "
            "these times 10, 100, 1000 and so on. Write a function nearest_e12(ohms) that returns the value of the "
            "series that is nearest to ohms, which is a whole number from 10 to 1000000. When two are equally near, "
            "take the smaller one."
        ),
        calls=(
            *(f"nearest_e12({ohms})" for ohms in (10, 4700, 500, 95, 91, 90, 1000000, 999, 130, 8999, 38)),
            "[nearest_e12(n) for n in (120, 150, 180, 220, 270, 330, 390, 470, 560, 680, 820)]",
        ),
        check=lambda outcome: returns(
            outcome,
            *(10.0, 4700.0, 470.0, 100.0, 82.0, 82.0, 1000000.0, 1000.0, 120.0, 8200.0, 39.0),
            [120.0, 150.0, 180.0, 220.0, 270.0, 330.0, 390.0, 470.0, 560.0, 680.0, 820.0],
        ),
        reference="""\
E12 = (10, 12, 15, 18, 22, 27, 33, 39, 47, 56, 68, 82)


def nearest_e12(ohms):
    values = [value * 10**power for power in range(6) for value in E12]
    return min(values, key=lambda value: (abs(value - ohms), value))
""",
        wrong="""\
E12 = (10, 12, 15, 18, 22, 27, 33, 39, 47, 56, 68, 82)


def nearest_e12(ohms):
    factor = 1
    while ohms >= 100 * factor:
        factor *= 10
    best = E12[0] * factor
    for value in E12:
        if abs(value * factor - ohms) < abs(best - ohms):
            best = value * factor
    return best
""",
        mistake="never the first value of the next decade: 95 gives 82",
    ),
    Task(
        id="python/count-bins",
        level=1,
        prompt=(
            "Write a function count_bins(values, limits) where limits is a list of numbers in ascending order. Return "
            "a list with one count more than there are limits: how many of the values are below the first limit, how "
            "many from the first limit to below the second, and so on, and last how many are at or above the last "
            "limit."
        ),
        calls=(
            "count_bins([3, 10, 15, 20, 99, -4], [10, 20])",
            "count_bins([], [0])",
            "count_bins([1, 2, 3], [])",
            "count_bins([0.5, 1, 1.5, 2, 2, 7], [1, 2, 5])",
        ),
        check=lambda outcome: returns(outcome, [2, 2, 2], [0, 0], [3], [1, 2, 2, 1]),
        reference="""\
def count_bins(values, limits):
    counts = [0] * (len(limits) + 1)
    for value in values:
        counts[sum(value >= limit for limit in limits)] += 1
    return counts
""",
        wrong="""\
def count_bins(values, limits):
    counts = [0] * (len(limits) + 1)
    for value in values:
        place = 0
        while place < len(limits) and value > limits[place]:
            place += 1
        counts[place] += 1
    return counts
""",
        mistake="a value that equals a limit is counted below it",
    ),
    Task(
        id="python/deadband",
        level=1,
        prompt=(
            "To save radio time, a node sends only readings that say something new. Write a function "
            "worth_sending(values, delta) that returns the list of readings that are sent: the first one, and then "
            "each that differs by at least delta from the one sent last."
        ),
        calls=(
            "worth_sending([20, 21, 22, 23, 24, 25], 3)",
            "worth_sending([], 1)",
            "worth_sending([5, 5, 9, 4, 4, -1], 5)",
            "worth_sending([100, 98, 96, 94, 92], 4)",
        ),
        check=lambda outcome: returns(outcome, [20, 23], [], [5, -1], [100, 96, 92]),
        reference="""\
def worth_sending(values, delta):
    sent = []
    for value in values:
        if not sent or abs(value - sent[-1]) >= delta:
            sent.append(value)
    return sent
""",
        wrong="""\
def worth_sending(values, delta):
    sent = values[:1]
    for i in range(1, len(values)):
        if abs(values[i] - values[i - 1]) >= delta:
            sent.append(values[i])
    return sent
""",
        mistake="compares with the reading before instead of the one sent last, so that a slow drift is never sent",
    ),
    Task(
        id="python/extremes-by-name",
        level=1,
        prompt=(
            "Write a function extremes(readings) for a list of (name, value) tuples in the order in which they came. "
            "Return a dictionary that gives for each name a tuple of its lowest value, its highest value and the value "
            "that came last."
        ),
        calls=(
            'extremes([("attic", 31), ("cellar", -3), ("attic", 35), ("attic", 33), ("cellar", -8)])',
            "extremes([])",
            'extremes([("a", 0)])',
        ),
        check=lambda outcome: returns(outcome, {"attic": (31, 35, 33), "cellar": (-8, -3, -8)}, {}, {"a": (0, 0, 0)}),
        reference="""\
def extremes(readings):
    found = {}
    for name, value in readings:
        low, high, _ = found.get(name, (value, value, value))
        found[name] = (min(low, value), max(high, value), value)
    return found
""",
        wrong="""\
def extremes(readings):
    found = {}
    for name, value in readings:
        low, high, last = found.get(name, (0, 0, 0))
        found[name] = (min(low, value), max(high, value), value)
    return found
""",
        mistake="begins at 0, which no reading may have had",
    ),
    Task(
        id="python/number-order",
        level=1,
        prompt=(
            'The names of nodes are letters followed by a whole number, such as "node7" or "pump12". Write a function '
            "in_order(names) that returns a new list of them, sorted by the letters and, where these are equal, by the "
            "number, so that node9 comes before node10. The list that was given stays as it is."
        ),
        calls=(
            'in_order(["node10", "node9", "node1", "fan2"])',
            'in_order(["b2", "a100", "a20", "b1"])',
            "in_order([])",
            '(lambda names: (in_order(names), names))(["x3", "x2"])',
        ),
        check=lambda outcome: returns(
            outcome,
            ["fan2", "node1", "node9", "node10"],
            ["a20", "a100", "b1", "b2"],
            [],
            (["x2", "x3"], ["x3", "x2"]),
        ),
        reference="""\
def split(name):
    letters = name
    while letters and letters[-1].isdigit():
        letters = letters[:-1]
    return letters, int(name[len(letters) :])


def in_order(names):
    return sorted(names, key=split)
""",
        wrong="""\
def in_order(names):
    def key(name):
        digits = "".join(c for c in name if c.isdigit())
        return name.replace(digits, ""), digits

    return sorted(names, key=key)
""",
        mistake='the numbers are compared as texts: "10" comes before "9"',
    ),
    Task(
        id="python/long-runs",
        level=1,
        prompt=(
            "Write a function long_runs(samples, limit, count) that finds where a signal stays high: return a list of "
            "(start, length) tuples, in order, one for each unbroken run of at least count samples that are all above "
            "limit. start is the index of the first sample of the run, length the number of its samples. A run may go "
            "on to the end of the list."
        ),
        calls=(
            "long_runs([0, 5, 6, 0, 7, 7, 7, 0], 4, 2)",
            "long_runs([9, 9, 1, 9, 9, 9], 5, 3)",
            "long_runs([3, 4, 5, 3], 3, 2)",
            "long_runs([], 0, 1)",
            "long_runs([1, 1, 1, 1], 0, 4)",
            "long_runs([1, 0, 1], 0, 2)",
        ),
        check=lambda outcome: returns(outcome, [(1, 2), (4, 3)], [(3, 3)], [(1, 2)], [], [(0, 4)], []),
        reference="""\
def long_runs(samples, limit, count):
    runs = []
    length = 0
    for place, sample in enumerate(samples + [limit]):
        if sample > limit:
            length += 1
        else:
            if length and length >= count:
                runs.append((place - length, length))
            length = 0
    return runs
""",
        wrong="""\
def long_runs(samples, limit, count):
    runs = []
    start = None
    for i, sample in enumerate(samples):
        if sample > limit:
            if start is None:
                start = i
        elif start is not None:
            if i - start >= count:
                runs.append((start, i - start))
            start = None
    return runs
""",
        mistake="a run that goes on to the end is lost",
    ),
)
