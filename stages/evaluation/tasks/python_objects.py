"""Level 1, pure Python: classes, generators and exceptions."""

from __future__ import annotations

from stages.evaluation.checks import returns
from stages.evaluation.task import Task

TASKS = (
    Task(
        id="python/delay-line",
        level=1,
        prompt=(
            "Write a class DelayLine(n) with a method push(value) that stores the value and returns the one that was "
            "pushed n pushes earlier, or None where there were not so many yet. n is at least 1."
        ),
        calls=(
            "(lambda line: [line.push(value) for value in range(10, 17)])(DelayLine(3))",
            "(lambda line: [line.push(value) for value in 'abc'])(DelayLine(1))",
            "(lambda a, b: [a.push(1), b.push(2), a.push(3), b.push(4), a.push(5)])(DelayLine(1), DelayLine(2))",
        ),
        check=lambda outcome: returns(
            outcome, [None, None, None, 10, 11, 12, 13], [None, "a", "b"], [None, None, 1, None, 3]
        ),
        reference="""\
class DelayLine:
    def __init__(self, n):
        self.values = [None] * n
        self.place = 0

    def push(self, value):
        before = self.values[self.place]
        self.values[self.place] = value
        self.place = (self.place + 1) % len(self.values)
        return before
""",
        wrong="""\
class DelayLine:
    def __init__(self, n):
        self.n = n
        self.values = []

    def push(self, value):
        self.values.append(value)
        if len(self.values) < self.n:
            return None
        return self.values.pop(0)
""",
        mistake="one push too early",
    ),
    Task(
        id="python/code-lock",
        level=1,
        prompt=(
            'Write a class Lock for a keypad: Lock("2580") is locked and has this code. Its method press(key) '
            'takes one digit as text and returns the state after it: "locked", "open" or "blocked". After as '
            "many digits as the code has, the right ones open it; wrong ones are forgotten, and the next digit "
            'begins a new entry. The third wrong entry in a row makes it "blocked" for ever; a right entry '
            'begins this count anew. While it is open, press("*") locks it and digits do nothing.'
        ),
        prefix="class Lock:\n",
        calls=tuple(
            f"(lambda lock: [lock.press(key) for key in '{keys}'][-1])(Lock('{code}'))"
            for code, keys in (
                ("2580", "2580"),
                ("2580", "258"),
                ("2580", "12580"),
                ("2580", "11112580"),
                ("12", "12345*"),
                ("12", "1234*12"),
                ("12", "333312"),
                ("12", "33333312"),
                ("12", "333312*333312"),
                ("12", "333312*333333"),
            )
        ),
        check=lambda outcome: returns(
            outcome,
            "open",
            "locked",
            "locked",
            "open",
            "locked",
            "open",
            "open",
            "blocked",
            "open",
            "blocked",
        ),
        reference="""\
class Lock:
    def __init__(self, code):
        self.code = code
        self.state = "locked"
        self.typed = ""
        self.wrong = 0

    def press(self, key):
        if self.state == "open":
            if key == "*":
                self.state = "locked"
        elif self.state == "locked":
            self.typed += key
            if len(self.typed) == len(self.code):
                if self.typed == self.code:
                    self.state = "open"
                    self.wrong = 0
                else:
                    self.wrong += 1
                    if self.wrong == 3:
                        self.state = "blocked"
                self.typed = ""
        return self.state
""",
        wrong="""\
class Lock:
    def __init__(self, code):
        self.code = code
        self.entry = ""
        self.tries = 0
        self.state = "locked"

    def press(self, key):
        if self.state == "blocked":
            return "blocked"
        if self.state == "open":
            if key == "*":
                self.state = "locked"
            return self.state
        self.entry += key
        if len(self.entry) < len(self.code):
            return self.state
        if self.entry == self.code:
            self.state = "open"
        else:
            self.tries += 1
            if self.tries >= 3:
                self.state = "blocked"
        self.entry = ""
        return self.state
""",
        mistake="a right entry does not begin the count of wrong ones anew",
    ),
    Task(
        id="python/ramp-generator",
        level=1,
        prompt=(
            "Write a generator ramp(start, stop, step) of whole numbers: it yields start, then goes towards stop, "
            "upwards or downwards, by step (above 0) at a time, and yields stop exactly as its last value, even where "
            "the last step is shorter. When start equals stop it yields that number once."
        ),
        calls=(
            "list(ramp(0, 10, 4))",
            "list(ramp(0, 8, 4))",
            "list(ramp(5, -4, 3))",
            "list(ramp(7, 7, 2))",
            "list(ramp(3, 1, 100))",
            "(lambda values: (next(values), next(values)))(ramp(0, 1000000000, 250))",
        ),
        check=lambda outcome: returns(outcome, [0, 4, 8, 10], [0, 4, 8], [5, 2, -1, -4], [7], [3, 1], (0, 250)),
        reference="""\
def ramp(start, stop, step):
    value = start
    while value != stop:
        yield value
        if value < stop:
            value = min(value + step, stop)
        else:
            value = max(value - step, stop)
    yield stop
""",
        wrong="""\
def ramp(start, stop, step):
    value = start
    while value < stop:
        yield value
        value += step
    yield stop
""",
        mistake="downwards it yields nothing but the end",
    ),
    Task(
        id="python/spread-pulses",
        level=1,
        prompt=(
            "Write a generator spread(level, full) that yields 0 and 1 for ever, with the ones spread as evenly as "
            "possible: after any number n of items, exactly n * level // full of them were ones. Both parameters are "
            "whole numbers, 0 <= level <= full, and full is above 0."
        ),
        calls=(
            "(lambda bits: [next(bits) for _ in range(13)])(spread(3, 10))",
            "(lambda bits: [next(bits) for _ in range(4)])(spread(0, 7))",
            "(lambda bits: [next(bits) for _ in range(4)])(spread(7, 7))",
            "(lambda bits: [next(bits) for _ in range(8)])(spread(3, 4))",
            "(lambda bits: sum(next(bits) for _ in range(1000)))(spread(333, 1000))",
        ),
        check=lambda outcome: returns(
            outcome,
            [0, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0],
            [0, 0, 0, 0],
            [1, 1, 1, 1],
            [0, 1, 1, 1, 0, 1, 1, 1],
            333,
        ),
        reference="""\
def spread(level, full):
    rest = 0
    while True:
        rest += level
        if rest >= full:
            rest -= full
            yield 1
        else:
            yield 0
""",
        wrong="""\
def spread(level, full):
    while True:
        for place in range(full):
            yield 1 if place < level else 0
""",
        mistake="all ones come first instead of being spread",
    ),
    Task(
        id="python/undo-all",
        level=1,
        prompt=(
            "Write a function undo_all(actions) for clearing up: actions is a list of functions without parameters. "
            "Call all of them, the last one first, each once, even when some raise an exception. When one or more did, "
            "raise the first exception that came again after all have been called; otherwise return None."
        ),
        calls=(
            'globals().setdefault("undo_log", [])',
            "undo_all([lambda: undo_log.append(1), lambda: undo_log.append(2), lambda: undo_log.append(3)])",
            "undo_log",
            'undo_all([lambda: {}["x"], lambda: undo_log.append(4), lambda: int("x"), lambda: undo_log.append(5)])',
            "undo_log",
            "undo_all([])",
        ),
        check=lambda outcome: returns(outcome, [], None, [3, 2, 1], ValueError, [3, 2, 1, 5, 4], None),
        reference="""\
def undo_all(actions):
    first = None
    for action in reversed(actions):
        try:
            action()
        except Exception as error:
            if first is None:
                first = error
    if first is not None:
        raise first
""",
        wrong="""\
def undo_all(actions):
    error = None
    try:
        for action in reversed(actions):
            action()
    except Exception as e:
        error = e
    if error:
        raise error
""",
        mistake="the first exception ends the loop, so that the rest are not called",
    ),
    Task(
        id="python/due-jobs",
        level=1,
        prompt=(
            "Write a class Jobs. Its method add(name, period) adds a job that is due at period, 2 * period, 3 "
            "* period and so on of a clock that begins at 0. Its method due(now) returns the list of the "
            "names, in the order of adding, of the jobs that came due since the last question (at first since "
            "0), now included; a job that came due several times is in it once. All jobs are added before the "
            "first question, all times are whole numbers, and now never goes back."
        ),
        calls=(
            "(lambda s: (s.add('a', 10), s.add('b', 25), [s.due(t) for t in (9, 10, 10, 27, 30, 49, 50)])[2])(Jobs())",
            "(lambda s: (s.add('x', 100), [s.due(t) for t in (450, 499, 500, 501)])[1])(Jobs())",
            "Jobs().due(5)",
        ),
        check=lambda outcome: returns(
            outcome,
            [[], ["a"], [], ["a", "b"], ["a"], ["a"], ["a", "b"]],
            [["x"], [], ["x"], []],
            [],
        ),
        reference="""\
class Jobs:
    def __init__(self):
        self.jobs = []
        self.before = 0

    def add(self, name, period):
        self.jobs.append((name, period))

    def due(self, now):
        names = [name for name, period in self.jobs if now // period > self.before // period]
        self.before = now
        return names
""",
        wrong="""\
class Jobs:
    def __init__(self):
        self.jobs = []

    def add(self, name, period):
        self.jobs.append([name, period, period])

    def due(self, now):
        names = []
        for job in self.jobs:
            if now >= job[2]:
                names.append(job[0])
                job[2] = now + job[1]
        return names
""",
        mistake="counts the next period from the question instead of the due time, and drifts",
    ),
)
