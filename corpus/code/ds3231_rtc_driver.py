"""Keep the time with a DS3231 clock: read, set, detect a dead battery, sync the board.

Wiring (ESP32): SDA to GPIO21, SCL to GPIO22, VCC to 3V3. The alarm pin SQW is on GPIO19.
"""
import time
from machine import I2C, Pin, RTC

ADDRESS = 0x68
REG_SECONDS = 0x00
REG_ALARM1 = 0x07
REG_CONTROL = 0x0E
REG_STATUS = 0x0F
REG_TEMPERATURE = 0x11

OSCILLATOR_STOPPED = 0x80
ALARM1_FIRED = 0x01
HOUR_12_MODE = 0x40

DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def from_bcd(value):
    return (value >> 4) * 10 + (value & 0x0F)


def to_bcd(value):
    return value // 10 << 4 | value % 10


class DS3231:
    def __init__(self, i2c, address=ADDRESS):
        self.i2c = i2c
        self.address = address

    def _read(self, register, count=1):
        return self.i2c.readfrom_mem(self.address, register, count)

    def _write(self, register, *values):
        self.i2c.writeto_mem(self.address, register, bytes(values))

    @property
    def lost_power(self):
        """True when the oscillator stopped, which makes the time worthless."""
        return bool(self._read(REG_STATUS)[0] & OSCILLATOR_STOPPED)

    def now(self):
        """Return (year, month, day, weekday, hour, minute, second), Monday being 0."""
        second, minute, hour, weekday, day, month, year = self._read(REG_SECONDS, 7)
        if hour & HOUR_12_MODE:
            afternoon = bool(hour & 0x20)
            hour = from_bcd(hour & 0x1F) % 12 + (12 if afternoon else 0)
        else:
            hour = from_bcd(hour & 0x3F)
        return (
            2000 + from_bcd(year),
            from_bcd(month & 0x1F),  # bit 7 is the century flag
            from_bcd(day),
            (weekday - 1) % 7,
            hour,
            from_bcd(minute),
            from_bcd(second),
        )

    def set(self, year, month, day, weekday, hour, minute, second):
        if not 2000 <= year <= 2099:
            raise ValueError("the chip knows the years 2000 to 2099")
        self._write(
            REG_SECONDS,
            to_bcd(second),
            to_bcd(minute),
            to_bcd(hour),
            weekday + 1,
            to_bcd(day),
            to_bcd(month),
            to_bcd(year - 2000),
        )
        status = self._read(REG_STATUS)[0]
        self._write(REG_STATUS, status & ~OSCILLATOR_STOPPED & 0xFF)

    def alarm_every_minute_at(self, second):
        """Pull SQW low once a minute until clear_alarm() is called."""
        # Only the seconds have their mask bit clear, so only they have to match.
        self._write(REG_ALARM1, to_bcd(second), 0x80, 0x80, 0x80)
        self._write(REG_CONTROL, 0x05)
        self.clear_alarm()

    def clear_alarm(self):
        status = self._read(REG_STATUS)[0]
        self._write(REG_STATUS, status & ~ALARM1_FIRED & 0xFF)

    def temperature(self):
        whole, quarters = self._read(REG_TEMPERATURE, 2)
        if whole & 0x80:
            whole -= 256
        return whole + (quarters >> 6) / 4


def main():
    clock = DS3231(I2C(0, sda=Pin(21), scl=Pin(22), freq=400_000))
    if clock.lost_power:
        # mpremote and Thonny set the board's own clock when they connect.
        year, month, day, hour, minute, second, weekday, _ = time.localtime()
        clock.set(year, month, day, weekday, hour, minute, second)
        print("The battery was empty: time taken from the board")
    else:
        RTC().datetime(clock.now() + (0,))
        print("Board clock set from the DS3231")

    alarm = Pin(19, Pin.IN, Pin.PULL_UP)
    clock.alarm_every_minute_at(0)
    while True:
        if alarm.value() == 0:
            clock.clear_alarm()
            year, month, day, weekday, hour, minute, _ = clock.now()
            stamp = f"{DAY_NAMES[weekday]} {year}-{month:02d}-{day:02d} {hour:02d}:{minute:02d}"
            print(stamp, "case at", clock.temperature(), "C")
        time.sleep_ms(100)


if __name__ == "__main__":
    main()
