"""Set the board's clock from a PCF8523 with backup cell, and let its alarm call an interrupt.

Wiring (RP2040 Feather with a data-logging wing): SDA GP2, SCL GP3, SQW/INT to GP10.
The alarm repeats every hour at the minute given.
"""
import time
from machine import I2C, Pin, RTC

ADDRESS = 0x68
CONTROL_1, CONTROL_2, CONTROL_3 = 0x00, 0x01, 0x02
SECONDS = 0x03
MINUTE_ALARM = 0x0A
CLKOUT = 0x0F

ALARM_INTERRUPT = 0x02
ALARM_FLAG = 0x08
OSCILLATOR_STOPPED = 0x80
NOT_USED = 0x80


def bcd(value):
    return value // 10 << 4 | value % 10


def plain(value):
    return (value >> 4) * 10 + (value & 0x0F)


class PCF8523:
    def __init__(self, i2c):
        self.i2c = i2c
        # Switch to the battery when the supply falls; a new chip has that turned off.
        self.write(CONTROL_3, 0x00)
        # The interrupt shares its pin with the clock output, which has to be silent.
        self.write(CLKOUT, 0x38)

    def write(self, register, *values):
        self.i2c.writeto_mem(ADDRESS, register, bytes(values))

    def read(self, register, count):
        return self.i2c.readfrom_mem(ADDRESS, register, count)

    def time_is_valid(self):
        return not self.read(SECONDS, 1)[0] & OSCILLATOR_STOPPED

    def now(self):
        """Return (year, month, day, weekday, hour, minute, second); Monday is 0."""
        s, m, h, d, w, mo, y = self.read(SECONDS, 7)
        return (2000 + plain(y), plain(mo & 0x1F), plain(d & 0x3F), w & 7,
                plain(h & 0x3F), plain(m & 0x7F), plain(s & 0x7F))

    def set(self, year, month, day, weekday, hour, minute, second):
        # Writing the seconds also clears the flag of the stopped oscillator.
        self.write(SECONDS, bcd(second), bcd(minute), bcd(hour), bcd(day), weekday, bcd(month), bcd(year - 2000))

    def alarm_at_minute(self, minute):
        self.write(MINUTE_ALARM, bcd(minute), NOT_USED, NOT_USED, NOT_USED)
        self.acknowledge()
        control = self.read(CONTROL_1, 1)[0]
        self.write(CONTROL_1, control | ALARM_INTERRUPT)

    def acknowledge(self):
        """Release the interrupt pin; it stays low until the flag is cleared."""
        flags = self.read(CONTROL_2, 1)[0]
        self.write(CONTROL_2, flags & ~ALARM_FLAG & 0xFF)


def take_over(chip):
    """Copy the chip's time to the board, or ask for it where the chip lost it."""
    if not chip.time_is_valid():
        text = input("time as YYYY-MM-DD hh:mm:ss > ")
        date, clock = text.split(" ")
        year, month, day = (int(part) for part in date.split("-"))
        hour, minute, second = (int(part) for part in clock.split(":"))
        weekday = time.localtime(time.mktime((year, month, day, 0, 0, 0, 0, 0)))[6]
        chip.set(year, month, day, weekday, hour, minute, second)
    RTC().datetime(chip.now() + (0,))


def main():
    chip = PCF8523(I2C(1, sda=Pin(2), scl=Pin(3)))
    take_over(chip)
    rang = []
    line = Pin(10, Pin.IN, Pin.PULL_UP)
    line.irq(lambda pin: rang.append(True), Pin.IRQ_FALLING)
    chip.alarm_at_minute(30)
    while True:
        if rang:
            rang.clear()
            chip.acknowledge()
            print("half past %d" % chip.now()[4])
        time.sleep_ms(200)


main()
