"""Describe a device's registers as data and read or change single bit fields by name.

The example device is a VL53L0X distance sensor with its power-on settings.
Wiring (Raspberry Pi Pico): SDA to GP4, SCL to GP5, VIN to 3V3.
"""
import time
from machine import I2C, Pin


class Register:
    """One register: its address, its width in bytes and its fields.

    Every field is (highest bit, lowest bit), the way data sheets write it.
    """

    def __init__(self, address, width=1, **fields):
        self.address = address
        self.width = width
        self.fields = fields

    def place(self, name):
        """Return the lowest bit of a field and the largest value it can hold."""
        high, low = self.fields[name]
        return low, (1 << (high - low + 1)) - 1

    def extract(self, word, name):
        low, largest = self.place(name)
        return (word >> low) & largest

    def insert(self, word, name, value):
        low, largest = self.place(name)
        if not 0 <= value <= largest:
            raise ValueError("%s must be 0 to %d" % (name, largest))
        return (word & ~(largest << low)) | (value << low)


class RegisterDevice:
    """Access to a map of registers over I2C; words are big-endian."""

    def __init__(self, i2c, address, registers):
        self.i2c = i2c
        self.address = address
        self.registers = registers

    def read(self, register):
        spec = self.registers[register]
        data = self.i2c.readfrom_mem(self.address, spec.address, spec.width)
        return int.from_bytes(data, "big")

    def write(self, register, word):
        spec = self.registers[register]
        self.i2c.writeto_mem(self.address, spec.address, word.to_bytes(spec.width, "big"))

    def get(self, register, field):
        return self.registers[register].extract(self.read(register), field)

    def set(self, register, **values):
        """Change some fields and leave the register's other bits as they are."""
        spec = self.registers[register]
        word = self.read(register)
        for name in values:
            word = spec.insert(word, name, values[name])
        self.write(register, word)

    def dump(self):
        for register in sorted(self.registers):
            spec = self.registers[register]
            word = self.read(register)
            fields = ["%s=%d" % (f, spec.extract(word, f)) for f in sorted(spec.fields)]
            print("%02X %-12s 0x%04X  %s" % (spec.address, register, word, " ".join(fields)))


VL53L0X_MAP = {
    "model": Register(0xC0),
    "start": Register(0x00, start=(0, 0), mode=(3, 1)),
    "config": Register(0x0A, event=(2, 0)),
    "clear": Register(0x0B, interrupt=(0, 0)),
    "interrupt": Register(0x13, event=(2, 0), error=(4, 3)),
    "result": Register(0x14, ready=(0, 0), status=(6, 3)),
    "distance": Register(0x1E, width=2),
}

MODEL_ID = 0xEE
NEW_SAMPLE = 4
STATUS_VALID = 11
OUT_OF_RANGE_MM = 8190


class DistanceSensor(RegisterDevice):
    def __init__(self, i2c, address=0x29):
        super().__init__(i2c, address, VL53L0X_MAP)
        if self.read("model") != MODEL_ID:
            raise RuntimeError("no VL53L0X at 0x%02X" % address)
        self.set("config", event=NEW_SAMPLE)

    def measure(self, timeout_ms=200):
        """Return the distance in millimetres, or None where nothing reflects."""
        self.set("start", start=1, mode=0)
        deadline = time.ticks_add(time.ticks_ms(), timeout_ms)
        while not self.get("interrupt", "event"):
            if time.ticks_diff(deadline, time.ticks_ms()) <= 0:
                raise OSError("the sensor did not finish in time")
            time.sleep_ms(2)
        status = self.get("result", "status")
        distance = self.read("distance")
        self.set("clear", interrupt=1)
        return distance if status == STATUS_VALID and distance < OUT_OF_RANGE_MM else None


if __name__ == "__main__":
    sensor = DistanceSensor(I2C(0, sda=Pin(4), scl=Pin(5), freq=400_000))
    sensor.dump()
    while True:
        try:
            millimetres = sensor.measure()
            print("nothing in sight" if millimetres is None else "%4d mm" % millimetres)
        except OSError as error:
            print("measurement failed:", error)
        time.sleep_ms(250)
