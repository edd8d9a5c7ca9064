"""Climate log with a DHT22: values, dew point, and extremes that survive a reset.

Wiring (ESP8266, NodeMCU): DATA to D2 (GPIO4) with 10k to 3V3, a button from D3 (GPIO0) to
GND that clears the extremes.
"""
import json
import math
import os
import time
import dht
from machine import Pin

STATE_FILE = "extremes.json"
PERIOD_S = 30  # the sensor needs at least two seconds
SAVE_EVERY_S = 15 * 60  # seldom, because every save wears the flash
LINE = "{:.1f} C ({t_min} to {t_max})  {:.1f} % ({h_min} to {h_max})  dew point {:.1f}"
MAX_STEP = 8  # degrees between two readings; more is a transmission error


def dew_point(celsius, humidity):
    """Magnus formula, within half a degree from -40 to 60 degrees."""
    gamma = math.log(max(humidity, 1) / 100) + 17.62 * celsius / (243.12 + celsius)
    return 243.12 * gamma / (17.62 - gamma)


def empty():
    return {"t_min": None, "t_max": None, "h_min": None, "h_max": None, "count": 0}


def load():
    state = empty()
    try:
        with open(STATE_FILE) as f:
            state.update(json.load(f))
    except (OSError, ValueError):
        print("no stored extremes")
    return state


def save(state):
    # Writing to a second file first: a power cut then cannot destroy both.
    with open(STATE_FILE + ".new", "w") as f:
        json.dump(state, f)
    try:
        os.remove(STATE_FILE)
    except OSError:
        pass
    os.rename(STATE_FILE + ".new", STATE_FILE)


def note(state, key, value):
    """Widen the extremes called key_min and key_max; return True if one moved."""
    moved = False
    for name, wider in ((key + "_min", min), (key + "_max", max)):
        old = state[name]
        new = value if old is None else wider(old, value)
        if new != old:
            state[name] = new
            moved = True
    return moved


def measure(sensor, last_celsius):
    """Return (celsius, humidity), or None where the reading cannot be trusted."""
    try:
        sensor.measure()
    except OSError:
        print("sensor does not answer")
        return None
    except Exception as error:  # the driver's way to report a bad checksum
        print("bad data:", error)
        return None
    celsius, humidity = sensor.temperature(), sensor.humidity()
    if last_celsius is not None and abs(celsius - last_celsius) > MAX_STEP:
        print("implausible jump to", celsius)
        return None
    return celsius, humidity


def main():
    sensor = dht.DHT22(Pin(4))
    button = Pin(0, Pin.IN, Pin.PULL_UP)
    state = load()
    unsaved = False
    last_save = time.time()
    last_celsius = None
    time.sleep(2)
    while True:
        reading = measure(sensor, last_celsius)
        if reading is None:
            last_celsius = None  # after a gap every value is plausible again
        else:
            celsius, humidity = reading
            last_celsius = celsius
            state["count"] += 1
            unsaved = note(state, "t", celsius) or unsaved
            unsaved = note(state, "h", humidity) or unsaved
            print(LINE.format(celsius, humidity, dew_point(celsius, humidity), **state))
        if unsaved and time.time() - last_save >= SAVE_EVERY_S:
            save(state)
            unsaved = False
            last_save = time.time()
        for _ in range(PERIOD_S * 10):
            if button.value() == 0:
                state = empty()
                save(state)
                print("extremes cleared")
                time.sleep(1)
            time.sleep_ms(100)


main()
