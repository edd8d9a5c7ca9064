"""Log the RP2040's internal temperature to CSV files that rotate when they grow.

Wiring (Raspberry Pi Pico): nothing is needed. Hold a button between GP15 and GND to
print the current file; the on-board LED on GP25 flashes with every entry.
"""

import os
import time
from machine import ADC, RTC, Pin

BUTTON_PIN = 15
LED_PIN = 25
SENSOR_CHANNEL = 4          # input 4 of the ADC is the sensor inside the chip
VREF = 3.3

LOG_FILE = "temperature.csv"
OLD_FILE = "temperature.old.csv"
MAX_BYTES = 32_000
INTERVAL_S = 30
HEADER = "time,celsius,min,max\n"


def celsius(sensor):
    """Average 64 readings and apply the formula of the RP2040 datasheet."""
    total = 0
    for _ in range(64):
        total += sensor.read_u16()
    volts = total / 64 * VREF / 65535
    # 0.706 V at 27 degrees, falling by 1.721 mV per degree.
    return 27 - (volts - 0.706) / 0.001721


def timestamp(rtc):
    year, month, day, _, hour, minute, second, _ = rtc.datetime()
    return "{:04d}-{:02d}-{:02d}T{:02d}:{:02d}:{:02d}".format(
        year, month, day, hour, minute, second
    )


def file_size(name):
    try:
        return os.stat(name)[6]
    except OSError:
        return 0


def rotate():
    """Keep one old file, so that the log can never fill the flash."""
    try:
        os.remove(OLD_FILE)
    except OSError:
        pass
    os.rename(LOG_FILE, OLD_FILE)


def append(line):
    size = file_size(LOG_FILE)
    if size > MAX_BYTES:
        rotate()
        size = 0
    # Opened and closed for every line: a power cut then loses one line at most.
    with open(LOG_FILE, "a") as log:
        if size == 0:
            log.write(HEADER)
        log.write(line + "\n")


def dump(name):
    print("----", name, file_size(name), "bytes")
    try:
        with open(name) as log:
            for line in log:
                print(line, end="")
    except OSError:
        print("no entries yet")
    print("----")


def sleep_until(due, button):
    """Wait for the due time and serve the button meanwhile."""
    while time.ticks_diff(due, time.ticks_ms()) > 0:
        if not button.value():
            dump(LOG_FILE)
            while not button.value():
                time.sleep_ms(20)
        time.sleep_ms(50)


def main():
    sensor = ADC(SENSOR_CHANNEL)
    rtc = RTC()
    led = Pin(LED_PIN, Pin.OUT, value=0)
    button = Pin(BUTTON_PIN, Pin.IN, Pin.PULL_UP)
    lowest = highest = celsius(sensor)
    due = time.ticks_ms()

    while True:
        now = celsius(sensor)
        lowest = min(lowest, now)
        highest = max(highest, now)
        line = "{},{:.2f},{:.2f},{:.2f}".format(timestamp(rtc), now, lowest, highest)
        led.on()
        try:
            append(line)
            print(line)
        except OSError as error:
            print("flash full or damaged:", error)
        led.off()
        due = time.ticks_add(due, INTERVAL_S * 1000)
        sleep_until(due, button)


try:
    main()
except KeyboardInterrupt:
    print("log kept in", LOG_FILE)
