"""Level 1: right solutions in another style and subtly wrong ones are judged rightly."""

from __future__ import annotations

import pytest

from stages.evaluation.node import SandboxUnavailable, find_interpreter
from stages.evaluation.task import judge_all
from stages.evaluation.tasks import SUITE

TASKS = {task.id: task for task in SUITE}

RIGHT = {
    "python/meter-number": """
def is_meter(text):
    if len(text) != 8:
        return False
    total = 0
    for place, digit in enumerate(text):
        value = "0123456789".find(digit)
        if value < 0:
            return False
        total += value * ((3, 1) * 4)[place] if place < 7 else -value
    return total % 10 == 0
""",
    "python/parse-settings": """\
import re
def parse_settings(text):
    result = dict()
    for raw in text.split("\\n"):
        entry = raw.strip()
        if len(entry) == 0 or entry[0] == "#": continue
        i = entry.find("=")
        k, v = entry[:i].strip(), entry[i + 1:].strip()
        result[k] = int(v) if re.match(r"^-?[0-9]+$", v) else v
    return result
""",
    "python/milli-text": """\
def milli_text(value):
    digits = str(abs(value))
    while len(digits) < 4:
        digits = "0" + digits
    text = digits[:-3] + "." + digits[-3:]
    return "-" + text if value < 0 else text
""",
    "python/glyph-text": """\
def glyph_text(rows, width):
    text = ""
    for i, row in enumerate(rows):
        if i: text += "\\n"
        mask = 1 << (width - 1)
        while mask:
            text += ".#"[bool(row & mask)]
            mask >>= 1
    return text
""",
    "python/bracket-frames": """\
def frames(text):
    out = []
    for piece in text.split(">")[:-1]:
        start = piece.rfind("<")
        if start >= 0:
            out.append(piece[start + 1:])
    return out
""",
    "python/parse-duration": """\
import re
def parse_duration(text):
    if text == "":
        raise ValueError
    seconds = 0
    while text:
        m = re.match("([0-9]+)([hms])", text)
        if m is None:
            raise ValueError("bad duration: " + text)
        seconds += int(m.group(1)) * (3600 if m.group(2) == "h" else 60 if m.group(2) == "m" else 1)
        text = text[len(m.group(0)):]
    return seconds
""",
    "python/topic-filter": """\
def topic_matches(pattern, topic):
    def fits(p, t):
        if p[:1] == ["#"]:
            return True
        if not p or not t:
            return not p and not t
        return (p[0] == "+" or p[0] == t[0]) and fits(p[1:], t[1:])
    return fits(pattern.split("/"), topic.split("/"))
""",
    "python/level-bar": """\
def bar(value, full, width):
    if value < 0: value = 0
    if value > full: value = full
    n = int(value / full * width)
    return "[{}{}]".format(n * "#", (width - n) * "-")
""",
    "python/fletcher-sum": """\
def fletcher16(data):
    s = [0, 0]
    for i in range(len(data)):
        s[0] += data[i]
        s[1] += s[0]
    return (s[1] % 255) * 256 + s[0] % 255
""",
    "python/clock-hour": """\
def hour24(register):
    if register & 64:
        h = 10 * ((register & 16) >> 4) + (register & 15)
        pm = bool(register & 32)
        if h == 12:
            return 12 if pm else 0
        return h + 12 if pm else h
    return 10 * ((register & 48) >> 4) + (register & 15)
""",
    "python/pack-record": """\
def pack_record(number, celsius, seconds):
    t = int(round(celsius * 100)) & 0xFFFF
    out = bytearray([number, t & 0xFF, t >> 8])
    out.extend(seconds.to_bytes(4, "little"))
    return out
""",
    "python/packed-samples": """\
def unpack_samples(data):
    result = []
    n = int.from_bytes(data, "big")
    for i in range(len(data) * 2 // 3 - 1, -1, -1):
        v = (n >> (12 * i)) & 4095
        result.append((v ^ 2048) - 2048)
    return result
""",
    "python/replace-bits": """\
def replace_bits(register, low, width, value):
    if value < 0 or value > (2 ** width) - 1:
        raise ValueError("does not fit: {}".format(value))
    for i in range(width):
        bit = 1 << (low + i)
        if value & (1 << i):
            register |= bit
        elif register & bit:
            register -= bit
    return register
""",
    "python/length-bytes": """\
def encode_length(n):
    if n < 0 or n >= 2**28:
        raise ValueError("length")
    out = b""
    while True:
        n, low = divmod(n, 128)
        if not n:
            return out + bytes([low])
        out += bytes([low + 128])
""",
    "python/deadline-wraps": """\
def is_due(deadline, now):
    diff = now - deadline
    if diff < -32768: diff += 65536
    if diff > 32767: diff -= 65536
    return diff >= 0
""",
    "python/time-covered": """\
def covered(spans):
    marks = []
    for a, b in spans:
        marks.append((a, 0))
        marks.append((b, 1))
    marks.sort()
    depth = total = 0
    start = None
    for t, kind in marks:
        if kind == 0:
            if depth == 0: start = t
            depth += 1
        else:
            depth -= 1
            if depth == 0: total += t - start
    return total
""",
    "python/nearest-resistor": """\
def nearest_e12(ohms):
    base = [10, 12, 15, 18, 22, 27, 33, 39, 47, 56, 68, 82, 100]
    f = 1
    while ohms >= 100 * f:
        f *= 10
    best = None
    for b in base:
        if best is None or abs(b * f - ohms) < abs(best - ohms):
            best = b * f
    return best
""",
    "python/count-bins": """\
def count_bins(values, limits):
    counts = [0 for _ in limits] + [0]
    for v in values:
        for i, limit in enumerate(limits):
            if v < limit:
                counts[i] += 1
                break
        else:
            counts[-1] += 1
    return counts
""",
    "python/deadband": """\
def worth_sending(values, delta):
    def run():
        last = None
        for v in values:
            if last is None or not (last - delta < v < last + delta):
                last = v
                yield v
    return list(run())
""",
    "python/extremes-by-name": """\
def extremes(readings):
    lists = {}
    for n, v in readings:
        if n not in lists: lists[n] = []
        lists[n].append(v)
    return {n: (min(v), max(v), v[-1]) for n, v in lists.items()}
""",
    "python/number-order": """\
import re
def in_order(names):
    result = list(names)
    def key(n):
        m = re.match("([A-Za-z]+)([0-9]+)", n)
        return (m.group(1), int(m.group(2)))
    result.sort(key=key)
    return result
""",
    "python/long-runs": """\
def long_runs(samples, limit, count):
    found, i = [], 0
    while i < len(samples):
        j = i
        while j < len(samples) and samples[j] > limit:
            j += 1
        if j - i >= count:
            found.append((i, j - i))
        i = j + 1
    return found
""",
    "python/delay-line": """\
from collections import deque
class DelayLine:
    def __init__(self, n):
        self._n = n
        self._q = deque((), n + 1)
    def push(self, value):
        self._q.append(value)
        return self._q.popleft() if len(self._q) > self._n else None
""",
    "python/code-lock": """\
class Lock:
    def __init__(self, code):
        self._code, self._buf, self._left, self._open = code, [], 3, False
    def press(self, key):
        if self._left == 0: return "blocked"
        if self._open:
            if key == "*": self._open = False
            return "open" if self._open else "locked"
        self._buf.append(key)
        if len(self._buf) == len(self._code):
            self._open = "".join(self._buf) == self._code
            self._buf = []
            self._left = 3 if self._open else self._left - 1
        return "blocked" if not self._left else "open" if self._open else "locked"
""",
    "python/ramp-generator": """\
def ramp(start, stop, step):
    sign = 1 if stop >= start else -1
    for value in range(start, stop, sign * step):
        yield value
    yield stop
""",
    "python/spread-pulses": """\
def spread(level, full):
    n = given = 0
    while True:
        n += 1
        bit = n * level // full - given
        given += bit
        yield bit
""",
    "python/undo-all": """\
def undo_all(actions):
    errors = []
    for i in range(len(actions) - 1, -1, -1):
        try:
            actions[i]()
        except Exception as e:
            errors.append(e)
    if errors:
        raise errors[0]
""",
    "python/due-jobs": """\
class Jobs:
    def __init__(self): self.jobs = []
    def add(self, name, period): self.jobs.append({"name": name, "period": period, "next": period})
    def due(self, now):
        out = []
        for job in self.jobs:
            if now >= job["next"]:
                out.append(job["name"])
                while job["next"] <= now:
                    job["next"] += job["period"]
        return out
""",
}

# what is changed in the right solution above: it runs, and is wrong
CHANGES = (
    ("python/meter-number", "(3, 1) * 4", "(1, 3) * 4"),
    ("python/meter-number", "len(text) != 8", "len(text) < 8"),
    ("python/milli-text", "< 4", "< 3"),
    ("python/glyph-text", "width - 1", "width"),
    ("python/bracket-frames", 'text.split(">")[:-1]', 'text.split(">")'),
    ("python/parse-duration", "[0-9]+)([hms])", "[0-9]+)([hms]?)"),
    ("python/topic-filter", "return not p and not t", "return not t"),
    ("python/level-bar", "int(value / full * width)", "round(value / full * width)"),
    ("python/fletcher-sum", "s[0] % 255", "(s[0] & 255)"),
    ("python/clock-hour", "12 if pm else 0", "12"),
    ("python/pack-record", "int(round(celsius * 100))", "int(celsius * 100)"),
    ("python/packed-samples", "range(len(data) * 2 // 3 - 1, -1, -1)", "range(len(data) * 2 // 3)"),
    ("python/replace-bits", "(2 ** width) - 1", "2 ** width"),
    ("python/length-bytes", "n >= 2**28", "n > 2**28"),
    ("python/deadline-wraps", "diff >= 0", "diff > 0"),
    ("python/time-covered", "marks.sort()", "pass"),
    ("python/nearest-resistor", ") < abs(best", ") <= abs(best"),
    ("python/count-bins", "v < limit", "v <= limit"),
    ("python/deadband", "< v <", "<= v <="),
    ("python/extremes-by-name", "v[-1])", "v[0])"),
    ("python/number-order", "list(names)", "names"),
    ("python/long-runs", "samples[j] > limit", "samples[j] >= limit"),
    ("python/delay-line", "deque((), n + 1)", "deque((), n)"),
    ("python/code-lock", "3 if self._open else self._left - 1", "self._left - (not self._open)"),
    ("python/ramp-generator", "    yield stop\n", ""),
    ("python/spread-pulses", "n * level // full", "(n * level + full // 2) // full"),
    ("python/undo-all", "errors[0]", "errors[-1]"),
    ("python/due-jobs", 'while job["next"] <= now:', 'if job["next"] <= now:'),
)


def spoilt(id: str, before: str, after: str) -> tuple[str, str]:
    assert RIGHT[id].count(before) == 1, (id, before)
    return id, RIGHT[id].replace(before, after)


WRONG = [spoilt(*change) for change in CHANGES]


@pytest.mark.parametrize(("answers", "expected"), [([*RIGHT.items()], True), (WRONG, False)], ids=["right", "wrong"])
def test_other_solutions_are_judged_rightly(answers: list[tuple[str, str]], expected: bool) -> None:
    try:
        find_interpreter()
    except SandboxUnavailable as missing:
        pytest.skip(str(missing))
    judged = [*judge_all([(TASKS[id], source) for id, source in answers], workers=2)]
    assert [(task.id, v.reason) for task, _, v in judged if v.passed != expected] == []
    assert [task.id for task, outcome, _ in judged if outcome.raised is not None] == []
