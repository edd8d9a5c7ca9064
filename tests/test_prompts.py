"""Rephrased prompts against hand-written ones."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.corpus.rewrite import rephrase

PAIRS = sorted((Path(__file__).parents[1] / "corpus" / "pairs").glob("*.jsonl"))


def variants(prompt: str) -> set[str]:
    found = {rephrase(prompt, random.Random(seed)) for seed in range(300)}
    return {variant for variant in found if variant is not None}


def test_a_request_to_the_board() -> None:
    assert variants("Read the voltage on GP27.") == {
        "Please read the voltage on GP27.",
        "I want to read the voltage on GP27.",
        "I need to read the voltage on GP27.",
        "I'd like to read the voltage on GP27.",
        "How do I read the voltage on GP27?",
        "How can I read the voltage on GP27?",
        "Show me how to read the voltage on GP27.",
        "Write a program to read the voltage on GP27.",
        "Write code to read the voltage on GP27.",
    }


def test_politeness_comes_and_goes() -> None:
    assert "Write a class for a servo." in variants("Could you please write a class for a servo?")
    assert "Could you write a class for a servo?" in variants("Write a class for a servo.")
    assert "Blink an LED." in variants("Please blink an LED.")
    assert "Blink an LED." in variants("I'd like to blink an LED.")
    assert "please blink the led" in variants("blink the led please")


def test_the_board_may_come_first() -> None:
    assert variants("How do I use deep sleep on the ESP8266?") >= {
        "On the ESP8266, how can I use deep sleep?",
        "On the ESP8266, show me how to use deep sleep.",
        "How can I use deep sleep on the ESP8266?",
    }
    assert "on my pico w, please read both buttons" in {
        each.lower() for each in variants("Read both buttons on my Pico W")
    }
    assert "On the Pico, I'd like to read a button on GP3." in variants("Read a button on GP3 on the Pico.")
    for prompt in (
        "Which pins are on the ESP32?",
        "How do I switch the LED on the board on?",
        "The LED on the Pico is on.",
    ):
        assert not any(variant.lower().startswith("on ") for variant in variants(prompt))


def test_questions() -> None:
    assert variants("How do I stop a timer?") >= {
        "How can I stop a timer?",
        "Show me how to stop a timer.",
        "Can you show me how to stop a timer?",
    }
    assert variants("What is the difference between A and B?") == {
        "Explain the difference between A and B.",
        "Tell me the difference between A and B.",
    }
    assert variants("What does time.sleep_ms() do?") == {
        "Explain what time.sleep_ms() does.",
        "Can you explain what time.sleep_ms() does?",
        "I want to know what time.sleep_ms() does.",
    }
    assert variants("Can I use GPIO 34 as an output?") == {
        "Could I use GPIO 34 as an output?",
        "Is it possible to use GPIO 34 as an output?",
    }


def test_the_tone_stays() -> None:
    for variant in variants("blink two leds, gp16 and gp17"):
        assert variant == variant.lower()
        assert variant[-1] == "7"
    for variant in variants("Blink two LEDs"):
        assert variant[0].isupper()
        assert variant.endswith("?") == variant.startswith("How")
    for variant in variants("Fade the LED: 2 s up, 3 s down."):
        assert variant.endswith(": 2 s up, 3 s down.")
        assert "?" not in variant


def test_only_the_first_sentence_gets_another_opening() -> None:
    for variant in variants("Print the date. The clock is set at 0.5 s. Read the DS3231 once."):
        assert variant.endswith(" The clock is set at 0.5 s. Read the DS3231 once.")


def test_phrases() -> None:
    assert variants("My LED doesn't blink, why?") == {"My LED does not blink, why?"}
    assert variants("My LED does not blink, why?") == {"My LED doesn't blink, why?"}
    assert variants("It's dark, so I've several lamps") == {
        f"{dark}, so {have} {several} lamps"
        for dark in ("It's dark", "It is dark")
        for have in ("I've", "I have")
        for several in ("several", "multiple")
    } - {"It's dark, so I've several lamps"}


KEPT = [
    "```python\nled = Pin(15)  # it doesn't blink\n```",
    "`doesn't`",
    '"it doesn\'t"',
    "NameError: name 'led' isn't defined",
    "https://example.org/doesn't",
    "    x = doesn't",
]


@pytest.mark.parametrize("kept", KEPT)
def test_code_quotes_and_errors_stay(kept: str) -> None:
    assert variants(f"What about this?\n{kept}\n") == set()
    for variant in variants(f"Fix this please:\n{kept}\nIt doesn't work."):
        assert f"\n{kept}\n" in variant
    assert variants(f"Fix this please:\n{kept}\nIt doesn't work.")


@pytest.mark.parametrize(
    "prompt",
    [
        "", "   ", "\0", "What is a coroutine?", "Servo on GP0", "Blink rate too high", "Count is wrong",
        "Display stays dark",
        "Lies den Sensor an GP26 aus.", "Find the bug, e.g. in line 3.", "print(5)",
    ],
)  # fmt: skip
def test_no_rule_fits(prompt: str) -> None:
    assert variants(prompt) == set()


def test_mistakes_are_found_by_the_one_who_answers() -> None:
    assert variants("Find the bug in my code.") == {
        "Please find the bug in my code.",
        "Could you find the bug in my code?",
        "Can you find the bug in my code?",
        "I need you to find the bug in my code.",
        "I'd like you to find the bug in my code.",
    }


def test_the_same_seed_gives_the_same_words() -> None:
    assert rephrase("Read GP26.", random.Random(3)) == rephrase("Read GP26.", random.Random(3))


@given(
    st.lists(
        st.sampled_from(["Blink ", "the LED ", "on GP15", ". ", "? ", "it doesn't ", "`x` ", "\n", "please ", "ESP32 "])
    ).map("".join)
)
def test_numbers_names_and_code_stay(prompt: str) -> None:
    variant = rephrase(prompt, random.Random(1))
    if variant is not None:
        assert variant != prompt
        pattern = r"\d+|GP|LED|ESP|`[^`]*`"
        assert re.findall(pattern, variant) == re.findall(pattern, prompt)


@pytest.mark.skipif(not PAIRS, reason="no corpus")
def test_the_pairs_that_ship() -> None:
    prompts = [
        next(message["content"] for message in json.loads(line)["messages"] if message["role"] == "user")
        for path in PAIRS
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    changed = [(prompt, rephrase(prompt, random.Random(prompt))) for prompt in prompts]
    made = [(before, after) for before, after in changed if after is not None]
    assert len(made) >= 0.4 * len(prompts)
    for before, after in made:
        assert re.findall(r"\d+|[A-Z]{2,}|```.*?```", after, re.DOTALL) == re.findall(
            r"\d+|[A-Z]{2,}|```.*?```", before, re.DOTALL
        )
