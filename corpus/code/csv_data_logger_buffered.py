"""Log two voltages of a Pico to CSV files, writing to flash only now and then.

Wiring: signals from 0 to 3.3 V on GP26 and GP27, button from GP15 to GND to stop the log.
Rows wait in a RAM buffer; a full file is followed by the next number, the oldest is deleted.
"""

import os
import time

from machine import ADC, Pin

CHANNELS = {"left_v": 26, "right_v": 27}
STOP_PIN = 15
SAMPLE_EVERY_MS = 500
FLUSH_ROWS = 60
MAX_FILE_BYTES = 32 * 1024
MAX_FILES = 5
PREFIX = "log_"
VREF = 3.3


class CSVLogger:
    def __init__(self, header):
        self.header = header
        self.rows = []
        self.bytes_in_file = 0
        # Never continue an old file: its last row may be incomplete.
        numbers = self._numbers()
        self.number = numbers[-1] if numbers else 0
        self._next_file()

    def add(self, *values):
        fields = []
        for value in values:
            fields.append("{:.4f}".format(value) if isinstance(value, float) else str(value))
        self.rows.append(",".join(fields))
        if len(self.rows) >= FLUSH_ROWS:
            self.flush()

    def flush(self):
        if not self.rows:
            return
        text = "\n".join(self.rows) + "\n"
        if self.bytes_in_file + len(text) > MAX_FILE_BYTES:
            self._next_file()
        started = time.ticks_ms()
        with open(self._name(self.number), "a") as f:
            f.write(text)
        self.bytes_in_file += len(text)
        took = time.ticks_diff(time.ticks_ms(), started)
        print("wrote {} rows to {} in {} ms".format(len(self.rows), self._name(self.number), took))
        self.rows.clear()

    def close(self):
        self.flush()

    def _next_file(self):
        self.number += 1
        with open(self._name(self.number), "w") as f:
            self.bytes_in_file = f.write(",".join(self.header) + "\n")
        for number in self._numbers()[:-MAX_FILES]:
            os.remove(self._name(number))

    @staticmethod
    def _name(number):
        return "{}{:05d}.csv".format(PREFIX, number)

    @staticmethod
    def _numbers():
        """Numbers of the log files on flash, oldest first."""
        found = []
        for name in os.listdir():
            if name.startswith(PREFIX) and name.endswith(".csv"):
                try:
                    found.append(int(name[len(PREFIX):-4]))
                except ValueError:
                    pass  # some other file with a similar name
        found.sort()
        return found


def average_volts(adc, count=8):
    """Mean of a few readings: the lowest bits of the converter are noise."""
    total = 0
    for _ in range(count):
        total += adc.read_u16()
    return total / count * VREF / 65535


def main():
    names = list(CHANNELS)
    inputs = [ADC(Pin(CHANNELS[name])) for name in names]
    stop = Pin(STOP_PIN, Pin.IN, Pin.PULL_UP)
    logger = CSVLogger(["ms"] + names)
    elapsed = 0
    due = time.ticks_ms()
    try:
        while stop.value():
            due = time.ticks_add(due, SAMPLE_EVERY_MS)
            logger.add(elapsed, *[average_volts(adc) for adc in inputs])
            # Counted rather than measured, because ticks_ms() wraps after some days.
            elapsed += SAMPLE_EVERY_MS
            time.sleep_ms(max(0, time.ticks_diff(due, time.ticks_ms())))
    except KeyboardInterrupt:
        pass
    finally:
        # Up to FLUSH_ROWS rows are still in RAM.
        logger.close()
        print("log closed")


if __name__ == "__main__":
    main()
