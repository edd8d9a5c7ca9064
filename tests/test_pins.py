"""Pin changes against hand-written texts, the RP2040's functions, and what programs ask `machine` for."""

from __future__ import annotations

import ast
import io
import json
import random
import re
import tokenize
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_rewrite import cases

from stages.corpus.rewrite import change_pins, change_pins_in_messages, compiles, fenced_python

ROOT = Path(__file__).parents[1] / "corpus"
CODE = sorted((ROOT / "code").glob("*.py"))
PAIRS = sorted((ROOT / "pairs").glob("*.jsonl"))
SEEDS = range(24)

# Copied from the datasheets, not from the program.
PICO_DIGITAL, PICO_ANALOG = set(range(23)), {26, 27, 28}
ESP32_SAFE = {4, 13, 14, 16, 17, 18, 19, 21, 22, 23, 25, 26, 27, 32, 33}
ESP32_ADC1 = set(range(32, 40))
ESP8266_GPIO = {0, 2, 4, 5, 12, 13, 14, 15, 16}
I2C_SDA = {0: {0, 4, 8, 12, 16, 20}, 1: {2, 6, 10, 14, 18, 26}}
I2C_SCL = {0: {1, 5, 9, 13, 17, 21}, 1: {3, 7, 11, 15, 19, 27}}
UART_TX = {0: {0, 12, 16, 28}, 1: {4, 8, 20, 24}}
UART_RX = {0: {1, 13, 17, 29}, 1: {5, 9, 21, 25}}
SPI_SCK = {0: {2, 6, 18, 22}, 1: {10, 14, 26}}
SPI_MOSI = {0: {3, 7, 19, 23}, 1: {11, 15, 27}}
SPI_MISO = {0: {0, 4, 16, 20}, 1: {8, 12, 24, 28}}


def variants(text: str, seeds: Sequence[int] = SEEDS) -> list[str]:
    found = (change_pins(text, random.Random(seed)) for seed in seeds)
    return [variant for variant in found if variant is not None]


def numbers(text: str, pattern: str) -> list[int]:
    return [int(number) for number in re.findall(pattern, text)]


Made = tuple[str, list[Any], dict[str, Any]]


class Part:
    """Anything of `machine`: it notes in `made` what it is made with, pins by their numbers."""

    IN = OUT = PULL_UP = 0
    made: list[Made]

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self.number = plain(arguments[0]) if arguments else None
        values = {key: plain(value) for key, value in keywords.items()}
        self.made.append((type(self).__name__, [plain(value) for value in arguments], values))


def plain(value: Any) -> Any:
    return value.number if isinstance(value, Part) else value


def asked_for(source: str) -> list[Made]:
    """What a program makes of the classes of `machine`, in order."""
    made: list[Made] = []
    classes = {
        name: type(name, (Part,), {"made": made}) for name in ("Pin", "PWM", "ADC", "I2C", "SPI", "UART", "SoftI2C")
    }
    code = re.sub(r"^(?:from machine import .*|import machine)$", "", source, flags=re.MULTILINE)
    exec(code, {"machine": SimpleNamespace(**classes), "const": int, **classes})
    return made


def assert_legal(made: list[Made]) -> None:
    """Every pin of a Pico program is one the RP2040 has for that use."""
    lines = {
        "I2C": {"sda": I2C_SDA, "scl": I2C_SCL},
        "UART": {"tx": UART_TX, "rx": UART_RX},
        "SPI": {"sck": SPI_SCK, "mosi": SPI_MOSI, "miso": SPI_MISO},
    }
    for name, arguments, keywords in made:
        for key, number in keywords.items():
            if key in lines.get(name, {}):
                assert number in lines[name][key][arguments[0]]
        if name == "ADC":
            assert arguments[0] in PICO_ANALOG
        if name == "Pin" and not isinstance(arguments[0], str):
            assert arguments[0] in PICO_DIGITAL | PICO_ANALOG


@pytest.mark.parametrize("source", cases("pin_programs"))
def test_programs_ask_for_other_pins_one_to_one(source: str) -> None:
    before = asked_for(source)
    found = variants(source)
    assert len(set(found)) > 1
    for variant in found:
        after = asked_for(variant)
        assert_legal(after)
        mapping: dict[Any, Any] = {}
        for (name, old, old_keywords), (again, new, new_keywords) in zip(before, after, strict=True):
            assert name == again
            assert old_keywords.keys() == new_keywords.keys()
            pins = 1 if name in ("Pin", "ADC", "PWM") else 0
            assert old[pins:] == new[pins:]
            pairs = [*zip(old[:pins], new[:pins], strict=True)]
            pairs += [(old_keywords[key], new_keywords[key]) for key in old_keywords if key != "freq"]
            assert old_keywords.get("freq") == new_keywords.get("freq")
            for one, other in pairs:
                assert mapping.setdefault(one, other) == other
        assert len(set(mapping.values())) == len(mapping)
        assert any(old != new for old, new in mapping.items())


def test_other_numbers_stay() -> None:
    source = "x = Pin(15)\ny = [15, 150, 0x15, 1.15, 'a15']\nz = print(15)\n"
    for variant in variants(source):
        assert variant.splitlines()[1:] == source.splitlines()[1:]


def test_one_mapping_for_code_comments_and_strings() -> None:
    source = (
        '"""Wiring: LED on GP15, buttons on GPIO 14 and pin 13, GP12 and 11; 15 mA at most."""\n'
        "led = Pin(15, Pin.OUT)  # GPIO15, not GP150\n# led = Pin(15)\nLED_PIN = 15\n"
        'a, b, c, d = Pin(14), Pin(13), Pin(12), Pin(11)\nprint("pin 15 blinks every 14 s", 15)\n'
    )
    for variant in variants(source):
        new = numbers(variant, r"\nled = Pin\((\d+)")[0]
        others = numbers(variant, r"Pin\((\d+)")[-4:]
        assert len({new, *others}) == 5
        assert variant == (
            f'"""Wiring: LED on GP{new}, buttons on GPIO {others[0]} and pin {others[1]},'
            f' GP{others[2]} and {others[3]}; 15 mA at most."""\n'
            f"led = Pin({new}, Pin.OUT)  # GPIO{new}, not GP150\n# led = Pin({new})\nLED_PIN = {new}\n"
            f"a, b, c, d = Pin({others[0]}), Pin({others[1]}), Pin({others[2]}), Pin({others[3]})\n"
            f'print("pin {new} blinks every 14 s", 15)\n'
        )
    assert len(variants(source)) == len(SEEDS)


def test_markdown() -> None:
    text = (
        "# Blink\n\nConnect the LED to GP15 (`LED_PIN = 15`), then call `Pin(15, Pin.OUT)` 3 times.\n\n"
        "1. Wait 15 s.\n2. Done.\n\n```python\nLED_PIN = 15\nled = Pin(LED_PIN)\n```\n\n"
        "   ```py\n   b = Pin(14)\n   ```\n\n| Part | Pin |\n|---|---|\n| LED | GP15 |\n\n"
        "```text\nGP14 --- button\n```\n"
    )
    for variant in variants(text):
        led, button = numbers(variant, r"LED_PIN = (\d+)\nled")[0], numbers(variant, r"b = Pin\((\d+)")[0]
        assert {led, button}.isdisjoint({14, 15})
        expected = text.replace("GP15", f"GP{led}").replace("LED_PIN = 15", f"LED_PIN = {led}")
        expected = (
            expected.replace("Pin(15", f"Pin({led}").replace("Pin(14", f"Pin({button}").replace("GP14", f"GP{button}")
        )
        assert variant == expected
    assert variants(text)


def test_messages_share_one_mapping() -> None:
    messages = [
        {"role": "system", "content": "You are brief."},
        {
            "role": "user",
            "content": "Blink the LED on GP15 while the button on pin 14 is pressed, 15 times.",
            "id": "7",
        },
        {
            "role": "assistant",
            "content": "GP15 is high while GP14 is low:\n\n```python\nled = Pin(15)\nb = Pin(14)\n```",
        },
        {"role": "user", "content": "and now GP13 instead of 15?"},
        {"role": "assistant", "content": "```python\nled = Pin(13)\nb = Pin(14)\n```"},
    ]
    assert all(change_pins_in_messages(messages, random.Random(seed)) is None for seed in SEEDS)  # "instead of 15"
    messages[3]["content"] = "and now GP13?"
    for seed in SEEDS:
        changed = change_pins_in_messages(messages, random.Random(seed))
        assert changed is not None
        led, button = numbers(changed[2]["content"], r"Pin\((\d+)\)")
        later = numbers(changed[4]["content"], r"Pin\((\d+)\)")
        assert later[1] == button
        assert len({led, button, later[0]}) == 3
        assert changed[1] == {
            "role": "user",
            "content": f"Blink the LED on GP{led} while the button on pin {button} is pressed, 15 times.",
            "id": "7",
        }
        assert changed[2]["content"].startswith(f"GP{led} is high while GP{button} is low:")
        assert changed[3]["content"] == f"and now GP{later[0]}?"
        assert [message["role"] for message in changed] == [message["role"] for message in messages]


def test_prompts_without_code() -> None:
    for variant in variants("Blink an LED on GP15 every 500 ms."):
        assert re.fullmatch(r"Blink an LED on GP(\d+) every 500 ms\.", variant)
        assert numbers(variant, r"GP(\d+)")[0] in PICO_DIGITAL - {15}
    for variant in variants("Read the potentiometer on GP26."):
        assert numbers(variant, r"GP(\d+)")[0] in {27, 28}
    for variant in variants("Blink LEDs on pins 2, 3 and 4 of my board with the ESP32"):
        two, three, four = numbers(variant, r"\b\d+\b")
        assert (two, three) == (2, 3)  # the LED of most boards, and the console
        assert four in ESP32_SAFE - {4}
    for variant in variants("Make a running light on GP2-GP5"):
        first, last = numbers(variant, r"GP(\d+)")
        assert last - first == 3


def test_boards() -> None:
    esp32 = "# ESP32\nled = Pin(18)\npot = ADC(Pin(34))\nI2C(0, scl=Pin(22), sda=Pin(21))\n"
    esp32 += "UART(2, tx=17, rx=16)\nPin(0)\n"
    for variant in variants(esp32):
        assert set(numbers(variant, r"Pin\((\d+)")) - {numbers(variant, r"ADC\(Pin\((\d+)")[0], 0} <= ESP32_SAFE
        assert numbers(variant, r"ADC\(Pin\((\d+)")[0] in ESP32_ADC1
        assert set(numbers(variant, r"[tr]x=(\d+)")) <= ESP32_SAFE
        assert variant.endswith("Pin(0)\n")
    esp8266 = "# NodeMCU: LED on D5 (GPIO14), sensor on D6\nled = Pin(14)\nx = Pin(12)\nADC(0)\n"
    labels = (16, 5, 4, 0, 2, 14, 12, 13, 15)
    for variant in variants(esp8266):
        led, sensor = numbers(variant, r"Pin\((\d+)")
        assert {led, sensor} <= ESP8266_GPIO - {14, 12}
        assert variant.startswith(
            f"# NodeMCU: LED on D{labels.index(led)} (GPIO{led}), sensor on D{labels.index(sensor)}\n"
        )
        assert variant.endswith("ADC(0)\n")
    for text in (esp32, esp8266):
        assert variants(text)


def test_pins_that_stay_on_the_pico() -> None:
    source = "led = Pin(25, Pin.OUT)  # on-board LED on GP25\nx = ADC(4)\ny = ADC(0)\nz = Pin(15)  # by GP26\n"
    for variant in variants(source):
        assert variant == source.replace("15", str(numbers(variant, r"z = Pin\((\d+)")[0]))
    assert variants(source)


def test_a_bus_without_pins_keeps_its_own() -> None:
    for variant in variants("i2c = I2C(0)\nspi = SPI(0)\nled = Pin(15)\n", range(200)):
        assert not {4, 5, 8, 9, 16, 18, 19} & set(numbers(variant, r"Pin\((\d+)"))


def test_pwm_slices_are_not_shared_anew() -> None:
    source = "a = PWM(Pin(0))\nb = PWM(Pin(2))\nc = PWM(Pin(3))\nd = PWM(Pin(5))\n"
    for variant in variants(source, range(200)):
        a, b, c, d = numbers(variant, r"Pin\((\d+)")
        slices = [pin // 2 % 8 for pin in (a, b, c, d)]
        assert len({slices[0], slices[1], slices[3]}) == len({slices[0], slices[2], slices[3]}) == 3
        assert slices[1] != slices[2] or b % 2 != c % 2


def test_ranges_stay_ranges() -> None:
    source = "# Rows GP2-GP5, LED GP6.\nROW_PINS = (2, 3, 4, 5)\nrows = [Pin(n) for n in ROW_PINS]\nled = Pin(6)\n"
    for variant in variants(source):
        first, last, led = numbers(variant, r"GP(\d+)")
        assert f"ROW_PINS = ({first}, {first + 1}, {first + 2}, {last})" in variant
        assert f"led = Pin({led})" in variant
    assert variants(source)


@pytest.mark.parametrize("text", cases("pin_doubts"))
def test_doubtful_texts_give_nothing(text: str) -> None:
    assert variants(text) == []


def test_names_with_pin_that_hold_no_pin() -> None:
    source = "PIN_COUNT = 4\npin_state = 1\nNUM_PINS = 3\nPIN_CODE = 12\nx = Pin(15)\n"
    for variant in variants(source):
        assert variant.splitlines()[:4] == source.splitlines()[:4]
    assert variants(source)


def test_the_same_seed_gives_the_same_variant() -> None:
    assert variants("PINS = [2, 3, 4]\n") == variants("PINS = [2, 3, 4]\n")


def test_line_ends() -> None:
    for variant in variants("a = 'ä\u2028'\r\n\x0c\r\nled = Pin(15)\r\n"):
        assert variant == f"a = 'ä\u2028'\r\n\x0c\r\nled = Pin({numbers(variant, 'Pin.([0-9]+)')[0]})\r\n"
    assert variants("a = 'ä\u2028'\r\n\x0c\r\nled = Pin(15)\r\n")
    assert variants("a = 1\rled = Pin(15)\n") == []


def test_fenced_python() -> None:
    text = "a\n```python\nx\n```\n```\nno\n```\n- b\n  ```py\n  if y:\n    z\n  ```\n"
    text += "~~~micropython\nw\n~~~\n```c\nv\n```"
    assert fenced_python(text) == ["x\n", "if y:\n  z\n", "w\n"]


@settings(max_examples=150, deadline=None)
@given(
    st.text()
    | st.lists(st.sampled_from(["GP15 ", "pin 3", "Pin(4)", "```python\n", "```\n", "LED_PIN = 5\n", "\n", "x"])).map(
        "".join
    )
)
def test_any_text(text: str) -> None:
    variant = change_pins(text, random.Random(1))
    if variant is not None:
        assert variant != text
        assert re.sub(r"\d+", "#", variant) == re.sub(r"\d+", "#", text)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 22), min_size=1, max_size=9, unique=True), st.integers(0, 99))
def test_any_digital_pins(pins: list[int], seed: int) -> None:
    source = "".join(f"x{i} = Pin({pin})  # GP{pin}\n" for i, pin in enumerate(pins))
    variant = change_pins(source, random.Random(seed))
    assert variant is not None
    new = numbers(variant, r"Pin\((\d+)")
    assert new == numbers(variant, r"GP(\d+)")
    assert len(set(new)) == len(pins)
    assert set(new) <= PICO_DIGITAL


def assert_only_numbers_changed(before: str, after: str) -> None:
    """In code only numbers, comments and strings change, the numbers one to one."""
    mapping: dict[str, str] = {}
    old_tokens, new_tokens = (list(tokenize.generate_tokens(io.StringIO(text).readline)) for text in (before, after))
    for old, new in zip(old_tokens, new_tokens, strict=True):
        if old.string != new.string:
            assert tokenize.tok_name[old.type] in {"NUMBER", "COMMENT", "STRING", "FSTRING_MIDDLE"}
            if old.type == tokenize.NUMBER:
                assert mapping.setdefault(old.string, new.string) == new.string
            else:
                assert re.sub(r"\d+", "#", old.string) == re.sub(r"\d+", "#", new.string)
    assert len(set(mapping.values())) == len(mapping)
    ast.parse(after)


@pytest.mark.skipif(not CODE, reason="no corpus")
def test_the_corpus_keeps_its_meaning() -> None:
    made = 0
    with_pins = 0
    for number, path in enumerate(CODE):
        source = path.read_text(encoding="utf-8")
        with_pins += "Pin(" in source
        variant = change_pins(source, random.Random(number))
        if variant is not None:
            made += 1
            assert compiles(variant), path
            assert_only_numbers_changed(source, variant)
    assert made >= 0.7 * with_pins


@pytest.mark.skipif(not PAIRS, reason="no corpus")
def test_pairs_agree_after_the_change() -> None:
    for path in PAIRS:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
            messages = json.loads(line)["messages"]
            changed = change_pins_in_messages(messages, random.Random(number))
            for old, new in zip(messages, changed or messages, strict=True):
                for before, after in zip(fenced_python(old["content"]), fenced_python(new["content"]), strict=True):
                    if before != after:
                        assert_only_numbers_changed(before, after)
            if changed:
                mentioned = {int(n) for m in changed for n in re.findall(r"(?i)\bgp(?:io ?)?(\d+)", m["content"])}
                coded = {
                    int(n) for m in changed for code in fenced_python(m["content"]) for n in re.findall(r"\d+", code)
                }
                assert not coded or mentioned <= coded | {25}
