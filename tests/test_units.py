"""Other units and constants: what the code does and what the words say change together, or not at all."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.corpus.rewrite import change_units, change_units_in_messages, compiles, fenced_python
from stages.corpus.rewrite.quantities import other_address, other_frequency, other_threshold
from stages.corpus.rewrite.spelling import other_units
from stages.corpus.rewrite.texts import Code, Doubt, Edit, Words, edited, read
from stages.corpus.rewrite.timewords import mentions_of_time
from stages.corpus.rewrite.timing import scaled_times

CORPUS = Path(__file__).parents[1] / "corpus"
Change = Callable[[Sequence[Code], Sequence[Words], random.Random], list[Edit]]
BLINK = (
    "from machine import Pin\nimport time\n\nled = Pin(15, Pin.OUT)\n"
    "while True:\n    led.toggle()\n    time.sleep({})\n"
)


def apply(change: Change, *texts: str, seed: int = 1) -> list[str] | None:
    try:
        return edited(texts, change(*read(texts), random.Random(seed)))
    except Doubt:
        return None


def fenced(code: str) -> str:
    return f"```python\n{code}```"


def say(text: str, factor: str) -> str:
    words = Words(0, 0, text, "prose")
    return edited([text], [mention.scaled(Fraction(factor)) for mention in mentions_of_time(words)])[0]


@pytest.mark.parametrize(
    ("before", "factor", "after"),
    [
        ("Wait 500 ms.", "2", "Wait 1000 ms."),
        ("Wait 500ms, then 2 s.", "1/2", "Wait 250ms, then 1 s."),
        ("Every second print it.", "2", "Every two seconds print it."),
        ("print every 2 seconds", "1/2", "print every second"),
        ("print every minute", "5", "print every five minutes"),
        ("each second", "1/2", "each 0.5 seconds"),
        ("every half second", "2", "every second"),
        ("for half a second", "2", "for a second"),
        ("for half a second", "1/2", "for a quarter of a second"),
        ("for half an hour", "4", "for two hours"),
        ("twice a second", "2", "once a second"),
        ("twice a second", "1/2", "four times a second"),
        ("once a second", "5", "once every five seconds"),
        ("10 times per second", "1/2", "20 times per second"),
        ("Once a minute it rings", "1/2", "Twice a minute it rings"),
        ("blinks at 2 Hz", "1/2", "blinks at 4 Hz"),
        ("a 5-second pause", "2", "a 10-second pause"),
        ("after three seconds", "4", "after twelve seconds"),
        ("after one second", "3", "after three seconds"),
        ("after 2 seconds", "1/2", "after 1 second"),
        ("in 1.5 s", "2", "in 3 s"),
        ("20 buttons, GP20, 3 times", "2", "20 buttons, GP20, 3 times"),
    ],
)
def test_times_in_words(before: str, factor: str, after: str) -> None:
    assert say(before, factor) == after


@pytest.mark.parametrize(
    "text",
    [
        "It fades slowly.", "for a few seconds", "about 100 µs", "a short beep", "60 bpm", "at 50 kHz",
        "every other second", "half the time per day", "debounced", "time.sleep takes seconds", "in a moment",
    ],
)  # fmt: skip
def test_words_about_time_that_are_not_understood_are_a_doubt(text: str) -> None:
    with pytest.raises(Doubt):
        list(mentions_of_time(Words(0, 0, text, "prose")))


@given(st.integers(1, 500), st.sampled_from(["ms", "s", "seconds", "minutes", " ms", " s", " seconds", "-second"]))
def test_a_number_of_any_unit_is_multiplied(number: int, unit: str) -> None:
    said = say(f"wait {number}{unit} here", "3")
    assert re.findall(r"\d+", said) == [str(3 * number)] and said.startswith("wait ") and said.endswith(" here")


def test_twice_a_second_changes_with_the_pause() -> None:
    """A quarter of a second between toggles is twice a second: so it is at any factor, or nothing is changed."""
    question, answer = "Blink the LED on pin 15 twice a second.", fenced(BLINK.format("0.25"))
    seen = set()
    for seed in range(20):
        changed = apply(scaled_times, question, answer, seed=seed)
        assert changed is not None
        pause = re.search(r"sleep\(([\d.]+)\)", changed[1])
        often = re.search(r"pin 15 (.*)\.", changed[0])
        assert pause and often and changed[1].replace(pause[0], "sleep(0.25)") == answer
        period = {"once a second": 1, "four times a second": 0.25, "twice a second": 0.5, "ten times a second": 0.1}
        period |= {"once every two seconds": 2, "once every five seconds": 5, "eight times a second": 0.125}
        assert float(pause[1]) * 2 == period[often[1]]
        seen.add(often[1])
    assert len(seen) >= 3 and "twice a second" not in seen


def test_a_named_time_changes_where_it_is_written() -> None:
    code = (
        "import time\n\nPAUSE_MS = 500  # half a second\n\n\ndef wait(ms):\n    time.sleep_ms(ms)\n\n\n"
        'wait(PAUSE_MS)\nwait(1000)\nprint("every", PAUSE_MS)\n'
    )
    for seed in range(8):
        changed = apply(scaled_times, code, seed=seed)
        assert changed is not None and compiles(changed[0])
        found = re.search(r"PAUSE_MS = (\d+).*wait\((\d+)\)", changed[0], re.DOTALL)
        assert found and int(found[2]) == 2 * int(found[1]) != 1000 and "half a second" not in changed[0]


@pytest.mark.parametrize(
    ("question", "code"),
    [
        ("Blink slowly.", BLINK.format(1)),  # what is slow?
        ("Blink, pausing 7 seconds at most.", BLINK.format("delay")),  # from elsewhere
        ("Blink 500 times.", BLINK.format(500)),  # 500 of what?
        ("Blink.", BLINK.format("0.1 * 5")),
        ("Blink.", BLINK.format(1) + "period = 1\nprint(60 / period)\n"),
        ("Read it.", "import time\nfrom machine import I2C\ni2c = I2C(0)\ntime.sleep_ms(750)\n"),
        ("Blink.", "import time\nN = 2\ntime.sleep(N)\nfor i in range(N):\n    print(i)\n"),  # two uses
        ("Blink.", "import time\npause_500ms = 500\ntime.sleep_ms(pause_500ms)\n"),
        ("Wait.", "import time\nt = time.ticks_ms()\nwhile True:\n    d = time.ticks_diff(time.ticks_ms(), t)\n"),
        ("What is wrong?", "import time\ntime.sleep_us(10)\ntime.sleep(1)\n"),
    ],
)
def test_in_doubt_the_speed_stays(question: str, code: str) -> None:
    assert all(apply(scaled_times, question, fenced(code), seed=seed) is None for seed in range(4))


def test_ticks_and_timers_are_times_too() -> None:
    code = (
        "import time\nfrom machine import Timer\n\nLIMIT = 3_000\nstart = time.ticks_ms()\ntimer = Timer(-1)\n"
        "timer.init(period=500, mode=Timer.PERIODIC, callback=print)\n"
        "while time.ticks_diff(time.ticks_ms(), start) < LIMIT:\n    time.sleep(0.1)\n"
    )
    changed = apply(scaled_times, code, seed=3)
    assert changed is not None
    found = re.search(r"LIMIT = ([\d_]+).*period=(\d+).*sleep\(([\d.]+)\)", changed[0], re.DOTALL)
    assert found and int(found[1]) == 6 * int(found[2]) == 30_000 * float(found[3]) and int(found[2]) != 500
    assert "_" in found[1] or len(found[1]) < 4


def test_a_rate_falls_as_a_length_of_time_rises() -> None:
    code = (
        "import time\nfrom machine import Timer\n\ntimer = Timer(freq=10, callback=print)\n"
        "time.sleep(6)  # 10 times a second\n"
    )
    for seed in range(6):
        changed = apply(scaled_times, code, seed=seed)
        assert changed is not None
        found = re.search(r"freq=(\d+).*sleep\(([\d.]+)\)  # (\w+)(?: times)? a second", changed[0], re.DOTALL)
        assert found and int(found[1]) * float(found[2]) == 60 and int(found[1]) != 10
        assert found[3] == {"1": "once", "2": "twice"}.get(found[1], found[1])


def test_a_pause_in_the_other_unit() -> None:
    assert apply(other_units, BLINK.format("0.25")) == [BLINK.replace("sleep", "sleep_ms").format(250)]
    assert apply(other_units, BLINK.replace("sleep", "sleep_ms").format(500)) == [BLINK.format("0.5")]
    assert apply(other_units, BLINK.replace("sleep", "sleep_ms").format(2000)) == [BLINK.format(2)]
    task = "import uasyncio\nimport machine\n\n\nasync def f():\n    await uasyncio.sleep({})\n"
    assert apply(other_units, task.format("0.5")) == [task.replace("sleep", "sleep_ms").format(500)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from time import sleep\nsleep(0.5)\n", "from time import sleep_ms\nsleep_ms(500)\n"),
        (
            "from time import sleep\nsleep(0.5)\nsleep(x)\n",
            "from time import sleep, sleep_ms\nsleep_ms(500)\nsleep(x)\n",
        ),
        (
            "from time import sleep, sleep_ms\nsleep(0.5)\nsleep_ms(x)\n",
            "from time import sleep_ms\nsleep_ms(500)\nsleep_ms(x)\n",
        ),
        ("from utime import sleep_ms  # ms\nsleep_ms(250)\n", "from utime import sleep  # ms\nsleep(0.25)\n"),
    ],
)
def test_the_import_is_mended(before: str, after: str) -> None:
    assert apply(other_units, "import machine\n" + before) == ["import machine\n" + after]


@pytest.mark.parametrize(
    "code",
    [
        "import time\ntime.sleep(0.5)\n",  # may be another Python
        "import time\nTEXT = '''\nimport machine\n'''\ntime.sleep(0.5)\n",
        "import board\nimport machine\nimport time\ntime.sleep(0.5)\n",
        BLINK.format("0.5") + "# sleep takes seconds\n",
        BLINK.format("pause"),
        BLINK.format("0.0005"),
        BLINK.format(90),
        BLINK.replace("sleep", "sleep_ms").format(15),
    ],
)
def test_in_doubt_the_unit_stays(code: str) -> None:
    assert apply(other_units, code) is None


def test_the_frequency_of_a_dimmed_light_changes_with_its_words() -> None:
    question = "Dim an LED on GP15 with a PWM of 1 kHz."
    code = "from machine import Pin, PWM\nled = PWM(Pin(15), freq=1000)  # 1000 Hz\nled.duty_u16(9000)\n"
    changed = apply(other_frequency, question, fenced(code))
    assert changed is not None
    new = re.search(r"freq=(\d+)", changed[1])
    assert new and new[1] != "1000" and f"# {new[1]} Hz" in changed[1] and f"{int(new[1]) / 1000:g} kHz" in changed[0]
    for about in ("Drive a servo.", "Play a tone.", "Dim it at 500 Hz.", "Dim it; 1000 is enough."):
        assert apply(other_frequency, about, fenced(code)) is None
    slow = apply(other_frequency, "Dim an LED of an ESP8266.", fenced(code))
    assert slow is not None and all(int(number) <= 1000 for number in re.findall(r"freq=(\d+)", slow[1]))


def test_a_fast_bus_may_run_at_the_standard_speed() -> None:
    code = "from machine import I2C, Pin\nbus = I2C(0, scl=Pin(1), sda=Pin(0), freq=400_000)\n"
    assert apply(other_frequency, code) == [code.replace("400_000", "100_000")]
    assert apply(other_frequency, code.replace("400_000", "100_000")) is None
    assert apply(other_frequency, code + "# fast mode\n") is None


def test_an_address_changes_everywhere() -> None:
    code = "from machine import I2C\nADDR = 0x3C\nbus = I2C(0)\nbus.writeto(ADDR, b'')\n"
    changed = apply(other_address, "My SSD1306 is at 0x3c.", fenced(code))
    assert changed == ["My SSD1306 is at 0x3D.", fenced(code.replace("0x3C", "0x3D"))]
    for about, text in (
        ("My SSD1306 is at 60.", code),
        ("My SSD1306 is at 0x3C; SDO is low.", code),
        ("My SSD1306 and BME280", code),
        ("My SSD1306", code + "bus.writeto_mem(ADDR, 1, bytes([0x3C]))\n"),
        ("My DS3231", code.replace("0x3C", "0x68")),
        ("My display", code),
    ):
        assert apply(other_address, about, fenced(text)) is None


def test_a_threshold_changes_with_its_words() -> None:
    question = "Switch a fan on GP15 on when it is warmer than 30 degrees."
    code = "def check(celsius, fan):\n    if celsius > 30:  # above 30 °C\n        fan.on()\n"
    changed = apply(other_threshold, question, fenced(code))
    assert changed is not None
    new = re.search(r"> (\d+):", changed[1])
    assert new and new[1] != "30" and 10 < int(new[1]) < 100
    assert changed == [question.replace("30", new[1]), fenced(code.replace("30", new[1]))]
    for about, text in (
        ("Switch a fan on.", code.replace("  # above 30 °C", "")),  # no words name it
        ("Above 30, or 30 degrees.", code),
        (question, code + "    if celsius < 25:\n        fan.off()\n"),  # two limits that belong together
        (question, code + "print(30)\n"),
        (question, code.replace("> 30", "== 30")),
        ("Above 100 degrees.", code.replace("30", "100")),
    ):
        assert apply(other_threshold, about, fenced(text)) is None


def test_a_conversation_keeps_what_its_messages_have_besides() -> None:
    talk = [
        {"role": "user", "content": "Blink pin 15 twice a second.", "name": "Ada"},
        {"role": "assistant", "content": fenced(BLINK.format("0.25"))},
    ]
    changed = change_units_in_messages(talk, random.Random(2))
    assert changed and [each["role"] for each in changed] == ["user", "assistant"] and changed[0]["name"] == "Ada"
    assert all(map(compiles, fenced_python(changed[1]["content"])))
    assert change_units(["Just words."], random.Random(1)) is None
    assert change_units(["```python\ndef def\n```"], random.Random(1)) is None


@given(st.text(max_size=80), st.integers(0, 9))
def test_no_text_makes_it_fail(text: str, seed: int) -> None:
    change_units([text, fenced(f"import time\ntime.sleep(1)  # {text}\n")], random.Random(seed))


def shape(source: str) -> str:
    """A program without its numbers, and with one name for both kinds of pauses."""
    source = re.sub(r"\bsleep_ms\b", "sleep", source)
    source = re.sub(r"import [\w, ]*sleep[\w, ]*", "import sleep", source)
    numbers = re.compile(r"\b(?:0x[0-9A-Fa-f]+|\d[\d_]*(?:\.\d+)?)\b")
    return numbers.sub("0", "".join(re.split(r"#[^\n]*", source)))


def test_programs_of_the_shipped_corpus_change_in_numbers_and_pauses_alone() -> None:
    made = 0
    for path in sorted((CORPUS / "pairs").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").split("\n")[::4]:
            talk = json.loads(line)["messages"] if line else []
            changed = change_units_in_messages(talk, random.Random(line))
            for old, new in zip(talk, changed or talk, strict=True):
                for before, after in zip(fenced_python(old["content"]), fenced_python(new["content"]), strict=True):
                    made += before != after
                    assert compiles(after) or not compiles(before)
                    without_strings = [re.sub(r"\"[^\"\n]*\"", '""', source) for source in (before, after)]
                    assert len({shape(source) for source in without_strings}) == 1, f"{path.name}: {after}"
    assert made >= 15
