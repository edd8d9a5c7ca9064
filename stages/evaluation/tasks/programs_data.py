"""Level 5: programs that keep data."""

from __future__ import annotations

import json
from itertools import pairwise

from stages.evaluation.checks import adc_reads, end, lines, near, numbers, regular, require, tells, texts
from stages.evaluation.sandbox import Outcome
from stages.evaluation.task import Task
from stages.evaluation.tasks._inputs import CLEAN, button
from stages.evaluation.tasks._pairs import differ
from stages.evaluation.wiring import Setup

OLD_RUNS = {"run1.csv": "11\n12\n", "run3.csv": "31\n"}


def _runs(outcome: Outcome) -> None:
    for name, text in OLD_RUNS.items():
        require(outcome.files.get(name, text) == text, f"{name}, which was there already, has changed")
    wanted = {"run2.csv": (9, 11, {500.0, 1500.0}), "run4.csv": (7, 9, {2500.0, 3500.0})}
    new = {name for name in outcome.files if name.startswith("run")} - {*OLD_RUNS}
    require(new == {*wanted}, f"new files {sorted(new)}")
    for name, (least, most, values) in wanted.items():
        rows = [row for row in outcome.files[name].splitlines() if row.strip()]
        require(least <= len(rows) <= most, f"{name} has {len(rows)} lines")
        found = [float(row) for row in rows]
        require({*found} == values and found == sorted(found), f"{name} has {found}")


LOADS = ((0.0, 12400), (2.2, 12100), (4.2, 13100))
GRAMS = ((0.0, 20.0), (2.2, 5.0), (3.1, 0.0), (4.2, 50.0))


def _scale(outcome: Outcome) -> None:
    printed = lines(outcome)
    regular([line.t for line in printed], 0.5, tolerance=0.05, until=end(outcome), what="a line is printed")
    for line in printed:
        if min(abs(line.t - t) for t, _ in GRAMS[1:]) < 0.11:
            continue
        wanted = [grams for t, grams in GRAMS if t <= line.t][-1]
        require(tells(line.text, wanted, 0.06), f"{line.text!r} at {line.t:.1f} s instead of {wanted}")
    try:
        kept = json.loads(outcome.files.get("cal.json", ""))
    except ValueError:
        kept = None
    require(kept == {"zero": 12100, "scale": 0.05, "name": "kitchen"}, f"cal.json holds {kept}")


NOISY = (3000, 3100, 65535, 2900, 3050, 0, 3200, 3300, 3150, 40000, 3250, 3100, 3000, 2950, 200, 3050, 3120, 3080)


def _steady(outcome: Outcome) -> None:
    readings = adc_reads(outcome, 26)
    require(len(readings) >= 15, f"{len(readings)} readings")
    for (before, _), (after, _) in pairwise(readings):
        require(near(after - before, 0.1, 0.005), f"readings {after - before:.4f} s apart")
    values = [value for _, value in readings]
    wanted = [sum(sorted(values[i - 5 : i])[1:4]) / 3 for i in range(5, len(values) + 1)]
    found = texts(outcome)
    require(len(wanted) - 1 <= len(found) <= len(wanted), f"{len(found)} lines after {len(values)} readings")
    for i, (mine, its) in enumerate(zip(found, wanted, strict=False)):
        whole = any(number % 1 == 0 and near(number, its, 0.51) for number in numbers(mine))
        require(whole, f"{mine!r} after reading {i + 5} instead of {its:.1f}")


TASKS = (
    Task(
        id="programs/numbered-runs",
        level=5,
        prompt=(
            "Write a data logger. While the switch from pin 12 to ground is closed, read ADC pin 26 (read_u16) "
            "every 200 ms, first when it closes, and write each reading as a line into a file. Each time the "
            "switch closes, begin a new file: run1.csv, run2.csv and so on, with the lowest number that has no "
            "file yet. Leave files that exist already as they are, also those from before the start. Close the "
            "file when the switch opens. It does not bounce and is open at first."
        ),
        setup=Setup(
            pins={12: ((0.0, None), (1.0, 0), (2.9, None), (4.0, 0), (5.5, None))},
            adc={26: ((0, 500), (2.05, 1500), (3.5, 2500), (4.95, 3500))},
            files=OLD_RUNS,
        ),
        check=_runs,
        seconds=7.0,
        **differ(
            """\
import os
import time
from machine import ADC, Pin

switch = Pin(12, Pin.IN, Pin.PULL_UP)
adc = ADC(Pin(26))
while True:
    while switch.value():
        time.sleep_ms(10)
    number = 1
    while "run{}.csv".format(number) in os.listdir():
        number += 1
    with open("run{}.csv".format(number), "w") as log:
        while not switch.value():
            log.write("{}\\n".format(adc.read_u16()))
            time.sleep_ms(200)
""",
            (
                '    number = 1\n    while "run{}.csv".format(number) in os.listdir():\n        number += 1\n',
                '    number = 1 + sum(name.startswith("run") for name in os.listdir())\n',
            ),
        ),
        mistake="takes the number of files for the highest number, which overwrites a file after a gap",
    ),
    Task(
        id="programs/kitchen-scale",
        level=5,
        prompt=(
            'A load cell is on ADC pin 28. The file cal.json holds a JSON object with "zero" (the 16-bit '
            'reading without a load), "scale" (grams per step) and perhaps other entries. Every half second '
            "print (reading - zero) * scale, the weight in grams, with one decimal. When the button from pin "
            "14 to ground is pressed, the present reading becomes the new zero, at once and also in cal.json, "
            "where the other entries stay as they were. It does not bounce and is pressed for at least 100 ms."
        ),
        setup=Setup(
            adc={28: LOADS},
            pins={14: button((3.1, 0.3), bounce=CLEAN)},
            files={"cal.json": '{"zero": 12000, "scale": 0.05, "name": "kitchen"}'},
        ),
        check=_scale,
        seconds=6.0,
        **differ(
            """\
import json
import time
from machine import ADC, Pin

cell = ADC(Pin(28))
button = Pin(14, Pin.IN, Pin.PULL_UP)
with open("cal.json") as file:
    settings = json.load(file)
before = 1
turn = 0
while True:
    now = button.value()
    if before and not now:
        settings["zero"] = cell.read_u16()
        with open("cal.json", "w") as file:
            json.dump(settings, file)
    before = now
    if turn % 10 == 0:
        print("{:.1f} g".format((cell.read_u16() - settings["zero"]) * settings["scale"]))
    turn += 1
    time.sleep_ms(50)
""",
            ("json.dump(settings, file)", 'json.dump({"zero": settings["zero"], "scale": settings["scale"]}, file)'),
        ),
        mistake="loses the other entries of the file",
    ),
    Task(
        id="programs/steady-reading",
        level=5,
        prompt=(
            "Read the analogue input on pin 26 (read_u16) every 100 ms and keep the last five readings. From the fifth "
            "reading on, print after every reading the mean of these five without the smallest and the largest of "
            "them, so of the three others, rounded to a whole number."
        ),
        setup=Setup(adc={26: tuple((max(0.0, 0.1 * i - 0.05), value) for i, value in enumerate(NOISY))}),
        check=_steady,
        seconds=1.78,
        **differ(
            """\
import time
from machine import ADC, Pin

adc = ADC(Pin(26))
last = []
while True:
    last.append(adc.read_u16())
    if len(last) > 5:
        last.pop(0)
    if len(last) == 5:
        middle = sorted(last)[1:4]
        print(round(sum(middle) / 3))
    time.sleep_ms(100)
""",
            (
                "        middle = sorted(last)[1:4]\n        print(round(sum(middle) / 3))\n",
                "        last.sort()\n        print(round(sum(last[1:4]) / 3))\n",
            ),
        ),
        mistake="sorts the buffer itself, so that the smallest reading is dropped instead of the oldest",
    ),
)
