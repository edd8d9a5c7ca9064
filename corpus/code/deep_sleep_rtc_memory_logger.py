"""ESP32 soil logger: sleep ten minutes, measure, keep the samples in RTC memory.

Wiring: sensor supply on GPIO25, its analogue output on GPIO34, button from GPIO27 to GND.
Flash is written only once per 24 samples. Hold the button at reset to stay awake.
"""

import struct
import time

import machine
from machine import ADC, Pin

SLEEP_MS = 10 * 60 * 1000
SAMPLES_PER_FLUSH = 24
LOG_FILE = "soil.csv"
SETTLE_MS = 150
READINGS = 16

POWER_PIN = 25
SENSOR_PIN = 34
STAY_AWAKE_PIN = 27

# RTC memory: magic, boots since power-up, number of samples; then (time, millivolts) pairs.
MAGIC = 0x50D1
HEADER = "<HIH"
SAMPLE = "<IH"
HEADER_SIZE = struct.calcsize(HEADER)
SAMPLE_SIZE = struct.calcsize(SAMPLE)


class RTCStore:
    """Samples that survive deep sleep, but not a power cut."""

    def __init__(self, rtc):
        self.rtc = rtc
        self.boots = 0
        self.samples = []
        data = rtc.memory()
        if len(data) < HEADER_SIZE:
            return
        magic, boots, count = struct.unpack_from(HEADER, data, 0)
        # Another program may have used this memory: trust it only if everything fits.
        if magic != MAGIC or len(data) != HEADER_SIZE + count * SAMPLE_SIZE:
            return
        self.boots = boots
        for i in range(count):
            self.samples.append(struct.unpack_from(SAMPLE, data, HEADER_SIZE + i * SAMPLE_SIZE))

    def save(self):
        data = struct.pack(HEADER, MAGIC, self.boots, len(self.samples))
        for sample in self.samples:
            data += struct.pack(SAMPLE, *sample)
        self.rtc.memory(data)


def read_soil():
    """Average sensor voltage in millivolts; the sensor is powered only meanwhile."""
    power = Pin(POWER_PIN, Pin.OUT, value=1)
    adc = ADC(Pin(SENSOR_PIN), atten=ADC.ATTN_11DB)
    time.sleep_ms(SETTLE_MS)
    total = 0
    for _ in range(READINGS):
        total += adc.read_uv()
        time.sleep_ms(2)
    power.off()
    return total // READINGS // 1000


def flush(samples):
    with open(LOG_FILE, "a") as f:
        for when, millivolts in samples:
            f.write("{},{}\n".format(when, millivolts))


def main():
    store = RTCStore(machine.RTC())
    woke = machine.reset_cause() == machine.DEEPSLEEP_RESET
    print("boot", store.boots, "after deep sleep" if woke else "after reset")
    store.boots += 1

    # The ESP32 clock goes on during deep sleep, counting from the last power-up.
    store.samples.append((time.time(), read_soil()))
    print("latest sample", store.samples[-1])
    if len(store.samples) >= SAMPLES_PER_FLUSH:
        try:
            flush(store.samples)
            store.samples = []
        except OSError as err:
            print("flash is full or broken:", err)
            store.samples.pop(0)
    store.save()

    stay_awake = Pin(STAY_AWAKE_PIN, Pin.IN, Pin.PULL_UP)
    if stay_awake.value() == 0:
        # Without this way out the board would be hard to reprogram.
        print("button held: back to the REPL")
        return
    machine.deepsleep(SLEEP_MS)


main()
