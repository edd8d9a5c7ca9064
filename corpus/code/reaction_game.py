"""Reaction-time game: wait for the lamp, then press as fast as you can.

Wiring (Raspberry Pi Pico): LED on GP16 through 330 ohm, active buzzer on GP17, button
between GP15 and GND. The best time is kept in best.json on the flash.
"""

import json
import random
import time
from machine import Pin
from micropython import const

LED_PIN = const(16)
BUZZER_PIN = const(17)
BUTTON_PIN = const(15)

ROUNDS = const(5)
WAIT_MIN_MS = const(1500)
WAIT_MAX_MS = const(4500)
TIMEOUT_US = const(2_000_000)
BEST_FILE = "best.json"

led = Pin(LED_PIN, Pin.OUT, value=0)
buzzer = Pin(BUZZER_PIN, Pin.OUT, value=0)
button = Pin(BUTTON_PIN, Pin.IN, Pin.PULL_UP)

press_time = None


def on_press(pin):
    """Note the time of the first edge only; bounces come later."""
    global press_time
    if press_time is None:
        press_time = time.ticks_us()


def beep(duration_ms):
    buzzer.on()
    time.sleep_ms(duration_ms)
    buzzer.off()


def load_best():
    """Return the stored best time in milliseconds, or None."""
    try:
        with open(BEST_FILE) as file:
            return json.load(file)["best_ms"]
    except (OSError, ValueError, KeyError):
        return None  # first start, or a damaged file: simply begin anew


def save_best(best_ms):
    try:
        with open(BEST_FILE, "w") as file:
            json.dump({"best_ms": best_ms}, file)
    except OSError as error:
        print("could not save the record:", error)


def wait_until_released():
    while button.value() == 0:
        time.sleep_ms(5)
    time.sleep_ms(50)


def play_round():
    """Play one round; return the reaction in milliseconds, None if it does not count."""
    global press_time
    wait_until_released()
    press_time = None

    pause = random.randint(WAIT_MIN_MS, WAIT_MAX_MS)
    begin = time.ticks_ms()
    while time.ticks_diff(time.ticks_ms(), begin) < pause:
        if press_time is not None:
            print("too early!")
            beep(400)
            return None
        time.sleep_ms(1)

    led.on()
    lit_at = time.ticks_us()
    while press_time is None:
        if time.ticks_diff(time.ticks_us(), lit_at) > TIMEOUT_US:
            led.off()
            print("asleep?")
            return None
    led.off()
    beep(40)
    return time.ticks_diff(press_time, lit_at) / 1000


def play_game(best):
    results = []
    for number in range(1, ROUNDS + 1):
        print("round", number, "of", ROUNDS, "- wait for the lamp")
        reaction = play_round()
        if reaction is not None:
            results.append(reaction)
            print("{:.1f} ms".format(reaction))
        time.sleep_ms(600)

    if not results:
        print("no valid round")
        return best
    fastest = min(results)
    print("average {:.1f} ms, fastest {:.1f} ms".format(sum(results) / len(results), fastest))
    if best is None or fastest < best:
        print("new record!")
        save_best(fastest)
        return fastest
    print("record still {:.1f} ms".format(best))
    return best


button.irq(handler=on_press, trigger=Pin.IRQ_FALLING)
try:
    record = load_best()
    while True:
        record = play_game(record)
        time.sleep(3)
finally:
    button.irq(handler=None)
    led.off()
    buzzer.off()
