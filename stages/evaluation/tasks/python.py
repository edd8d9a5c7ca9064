"""Level 1, pure Python: texts and their reading. The answer is called; what it returns is compared."""

from __future__ import annotations

from stages.evaluation.checks import returns
from stages.evaluation.task import Task

METERS = {  # the digits times their weights: 12 0 21 1 9 0 6 = 49; 27 9 … = 9 × (4 × 3 + 3) = 135
    "40713029": True,
    "40713020": False,
    "99999995": True,
    "00000000": True,
    "04713029": False,
    "407130249": False,
    "4071302900": False,
    "4071309": False,
    "": False,
    "4071302x": False,
    " 4071302": False,
    "4071-302": False,
}

TASKS = (
    Task(
        id="python/meter-number",
        level=1,
        prompt=(
            "The number of a meter is a text of exactly eight digits, the last of which checks the others: multiply "
            "the first seven digits by 3, 1, 3, 1, 3, 1 and 3, and add the products; the check digit is the last digit "
            "of the sum. Write a function is_meter(text) that returns True for such a number and False for every "
            "other text."
        ),
        prefix='''\
def is_meter(text):
    """Return True for eight digits of which the last checks the others, else False."""
''',
        calls=tuple(f"is_meter({text!r})" for text in METERS),
        check=lambda outcome: returns(outcome, *METERS.values()),
        reference='''\
def is_meter(text):
    """Return True for eight digits of which the last checks the others, else False."""
    if len(text) != 8 or not all("0" <= c <= "9" for c in text):
        return False
    digits = [int(c) for c in text]
    total = sum(digits[:7]) + 2 * sum(digits[:7:2])
    return total % 10 == digits[7]
''',
        wrong="""\
def is_meter(text):
    if not text.isdigit():
        return False
    total = 0
    for i, c in enumerate(text[:7]):
        total += int(c) * (3 if i % 2 == 0 else 1)
    return total % 10 == int(text[-1])
""",
        mistake="does not look at the length",
    ),
    Task(
        id="python/parse-settings",
        level=1,
        prompt=(
            "Write a function parse_settings(text) that reads lines of the form key=value into a dictionary. Strip "
            "spaces around keys and values, skip empty lines and lines that begin with #, and turn values that are "
            "whole numbers, negative ones too, into int. A value may itself contain an equals sign."
        ),
        calls=(
            r'parse_settings("# porch light\npin = 15\n\nname = front porch \n url=mqtt://h?a=b\noffset=-4\n")',
            'parse_settings("")',
            r'parse_settings("a=1.5\nb=")',
        ),
        check=lambda outcome: returns(
            outcome, {"pin": 15, "name": "front porch", "url": "mqtt://h?a=b", "offset": -4}, {}, {"a": "1.5", "b": ""}
        ),
        reference="""\
def parse_settings(text):
    settings = {}
    for line in text.split("\\n"):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        key, value = line.split("=", 1)
        value = value.strip()
        try:
            value = int(value)
        except ValueError:
            pass
        settings[key.strip()] = value
    return settings
""",
        wrong="""\
def parse_settings(text):
    settings = {}
    for line in text.splitlines():
        line = line.strip()
        if not line or line[0] == "#":
            continue
        key, value = [part.strip() for part in line.split("=", 1)]
        settings[key] = int(value) if value.isdigit() else value
    return settings
""",
        mistake="isdigit() does not take the minus sign",
    ),
    Task(
        id="python/milli-text",
        level=1,
        prompt=(
            "Write a function milli_text(value) that takes a whole number of thousandths, for example millivolts, and "
            'returns the text of the whole unit with exactly three decimals: 3300 gives "3.300". Values may be '
            "negative; zero has no sign."
        ),
        calls=("milli_text(3300)", "milli_text(7)", "milli_text(-5)", "milli_text(-1234)", "milli_text(0)"),
        check=lambda outcome: returns(outcome, "3.300", "0.007", "-0.005", "-1.234", "0.000"),
        reference="""\
def milli_text(value):
    sign = "-" if value < 0 else ""
    whole, rest = divmod(abs(value), 1000)
    return "{}{}.{:03d}".format(sign, whole, rest)
""",
        wrong="""\
def milli_text(value):
    return "%d.%03d" % (value // 1000, value % 1000)
""",
        mistake="// and % of a negative number round downwards: -5 gives -1.995",
    ),
    Task(
        id="python/glyph-text",
        level=1,
        prompt=(
            "Write a function glyph_text(rows, width) that draws a bitmap as text. rows is a list of whole numbers, "
            "one for each line from the top; of each number the lowest width bits count, the highest of these is the "
            'leftmost pixel. A set bit becomes "#", another one ".". The lines are joined by newline characters, with '
            "none after the last line."
        ),
        calls=(
            "glyph_text([4, 14, 21, 4], 5)",
            "glyph_text([1, 0, 255], 3)",
            "glyph_text([], 8)",
            "glyph_text([64], 8)",
        ),
        check=lambda outcome: returns(outcome, "..#..\n.###.\n#.#.#\n..#..", "..#\n...\n###", "", ".#......"),
        reference="""\
def glyph_text(rows, width):
    lines = []
    for row in rows:
        lines.append("".join("#" if row >> bit & 1 else "." for bit in range(width - 1, -1, -1)))
    return "\\n".join(lines)
""",
        wrong="""\
def glyph_text(rows, width):
    lines = []
    for row in rows:
        digits = bin(row)[2:].replace("0", ".").replace("1", "#")
        lines.append("." * (width - len(digits)) + digits)
    return "\\n".join(lines)
""",
        mistake="bits above the width are drawn too",
    ),
    Task(
        id="python/bracket-frames",
        level=1,
        prompt=(
            "Write a function frames(text) that returns the contents of all complete frames in a text as a "
            'list of strings, in order. A frame begins with "<" and ends at the next ">"; another "<" before '
            "that means that the frame starts anew there. Whatever stands outside of frames, a stray bracket "
            "too, and an unfinished frame at the end are dropped. A frame may be empty."
        ),
        calls=(
            'frames("xx<T=21>,,<H=40>y")',
            'frames("<T=2<T=22>")',
            'frames("1>2<a><>b<c")',
            'frames("")',
            'frames("<<<k>>>")',
        ),
        check=lambda outcome: returns(outcome, ["T=21", "H=40"], ["T=22"], ["a", ""], [], ["k"]),
        reference="""\
def frames(text):
    found = []
    frame = None
    for character in text:
        if character == "<":
            frame = ""
        elif frame is not None:
            if character == ">":
                found.append(frame)
                frame = None
            else:
                frame += character
    return found
""",
        wrong="""\
def frames(text):
    found = []
    position = 0
    while True:
        start = text.find("<", position)
        stop = text.find(">", start + 1)
        if start < 0 or stop < 0:
            return found
        found.append(text[start + 1 : stop])
        position = stop + 1
""",
        mistake='a second "<" does not begin the frame anew',
    ),
    Task(
        id="python/parse-duration",
        level=1,
        prompt=(
            'Write a function parse_duration(text) that turns texts such as "1h30m", "45s" or "2m05s" into a number of '
            "seconds. A duration is one or more parts, each a whole number followed directly by h, m or s. Raise "
            "ValueError for everything else: an empty text, a number without a unit, a unit without a number, another "
            "unit."
        ),
        calls=(
            'parse_duration("1h30m")',
            'parse_duration("45s")',
            'parse_duration("2m05s")',
            'parse_duration("10h")',
            'parse_duration("1h2m3s")',
            'parse_duration("1h30")',
            'parse_duration("90")',
            'parse_duration("")',
            'parse_duration("m")',
            'parse_duration("5mh")',
            'parse_duration("3x")',
        ),
        check=lambda outcome: returns(outcome, 5400, 45, 125, 36000, 3723, *[ValueError] * 6),
        reference="""\
SECONDS = {"h": 3600, "m": 60, "s": 1}


def parse_duration(text):
    total = 0
    digits = ""
    for character in text:
        if character.isdigit():
            digits += character
        elif digits and character in SECONDS:
            total += int(digits) * SECONDS[character]
            digits = ""
        else:
            raise ValueError("not a duration")
    if digits or not text:
        raise ValueError("not a duration")
    return total
""",
        wrong="""\
def parse_duration(text):
    if not text:
        raise ValueError("empty")
    total = 0
    number = ""
    for character in text:
        if character.isdigit():
            number += character
        elif character in "hms":
            total += int(number) * {"h": 3600, "m": 60, "s": 1}[character]
            number = ""
        else:
            raise ValueError("unknown unit")
    return total
""",
        mistake="a number without a unit at the end is ignored",
    ),
    Task(
        id="python/topic-filter",
        level=1,
        prompt=(
            "Write a function topic_matches(pattern, topic) that returns True or False: does an MQTT topic fit a "
            'subscription? Levels are separated by "/". In the pattern, "+" stands for exactly one level of any text, '
            'and "#", which only comes last, for any number of further levels, none at all included: "a/#" fits "a", '
            '"a/b" and "a/b/c". Everything else must be equal.'
        ),
        calls=(
            'topic_matches("home/+/temp", "home/attic/temp")',
            'topic_matches("home/+", "home/attic/temp")',
            'topic_matches("home/attic/temp", "home/attic")',
            'topic_matches("home/#", "home/attic/temp")',
            'topic_matches("home/#", "home")',
            'topic_matches("home/#", "homes/a")',
            'topic_matches("+/+", "a")',
            'topic_matches("#", "x/y")',
            'topic_matches("+/b/#", "a/c/d")',
        ),
        check=lambda outcome: returns(outcome, True, False, False, True, True, False, False, True, False),
        reference="""\
def topic_matches(pattern, topic):
    wanted = pattern.split("/")
    levels = topic.split("/")
    for place, level in enumerate(wanted):
        if level == "#":
            return True
        if place >= len(levels) or level not in ("+", levels[place]):
            return False
    return len(wanted) == len(levels)
""",
        wrong="""\
def topic_matches(pattern, topic):
    for wanted, level in zip(pattern.split("/"), topic.split("/")):
        if wanted == "#":
            return True
        if wanted != "+" and wanted != level:
            return False
    return True
""",
        mistake="zip() ends with the shorter one, so that levels may be missing or left over",
    ),
    Task(
        id="python/level-bar",
        level=1,
        prompt=(
            "Write a function bar(value, full, width) that draws a level as text: a square bracket, width characters, "
            'and a closing bracket, as in "[###-------]". Of the width characters the first ones are "#", as many as '
            'the share value / full of the width, rounded down, and the rest "-". Below zero it shows an empty bar, '
            "above full a full one."
        ),
        calls=(
            "bar(3, 10, 10)",
            "bar(99, 100, 8)",
            "bar(0, 5, 4)",
            "bar(5, 5, 4)",
            "bar(130, 100, 6)",
            "bar(-20, 100, 5)",
        ),
        check=lambda outcome: returns(outcome, "[###-------]", "[#######-]", "[----]", "[####]", "[######]", "[-----]"),
        reference="""\
def bar(value, full, width):
    filled = min(width, max(0, value * width // full))
    return "[" + "#" * filled + "-" * (width - filled) + "]"
""",
        wrong="""\
def bar(value, full, width):
    filled = int(width * value / full)
    return "[" + "#" * filled + "-" * (width - filled) + "]"
""",
        mistake="a value above full or below zero makes the bar longer than width",
    ),
)
