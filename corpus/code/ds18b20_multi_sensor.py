"""Read every DS18B20 thermometer on one wire and give the sensors names.

Wiring (ESP32): all data lines to GPIO18, 4.7k from there to 3V3, all GND together.
The names are kept in sensors.json: {"28ff641e8d3c0c9f": "boiler"}; unknown ones are added.
"""
import json
import time
from binascii import hexlify
import ds18x20
import onewire
from machine import Pin

DATA_PIN = 18
NAMES_FILE = "sensors.json"
INTERVAL_S = 10
CONVERSION_MS = 750  # at the full resolution of 12 bits
POWER_ON_VALUE = 85.0  # what a sensor reports before its first conversion
RETRIES = 3


def load_names():
    try:
        with open(NAMES_FILE) as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def save_names(names):
    with open(NAMES_FILE, "w") as file:
        json.dump(names, file)


class Thermometer:
    def __init__(self, bus, rom, name):
        self.bus = bus
        self.rom = rom
        self.name = name
        self.celsius = None
        self.failures = 0

    def fetch(self):
        """Take over the result of the last conversion; keep None after a failure."""
        self.celsius = None
        for _ in range(RETRIES):
            try:
                value = self.bus.read_temp(self.rom)
            except Exception:  # the driver raises plain exceptions on a bad checksum
                continue
            # Really 85 degrees is rare in a house, a brown-out of the sensor is not.
            if value != POWER_ON_VALUE:
                self.celsius = value
                return
        self.failures += 1


class SensorBus:
    def __init__(self, pin):
        self.bus = ds18x20.DS18X20(onewire.OneWire(pin))
        self.sensors = []

    def discover(self):
        names = load_names()
        known = {sensor.rom: sensor for sensor in self.sensors}
        found = []
        for rom in sorted(bytes(rom) for rom in self.bus.scan()):
            serial = hexlify(rom).decode()
            if serial not in names:
                names[serial] = "sensor %d" % (len(names) + 1)
                save_names(names)
            found.append(known.get(rom) or Thermometer(self.bus, rom, names[serial]))
        for sensor in self.sensors:
            if sensor not in found:
                print(sensor.name, "has disappeared")
        self.sensors = found

    def measure(self):
        """Let all sensors convert at the same time, then collect the results."""
        self.bus.convert_temp()
        time.sleep_ms(CONVERSION_MS)
        for sensor in self.sensors:
            sensor.fetch()


def report(sensors):
    parts = []
    for sensor in sensors:
        if sensor.celsius is None:
            parts.append("%s: ---" % sensor.name)
        else:
            parts.append("%s: %.2f" % (sensor.name, sensor.celsius))
    print("  ".join(parts))
    valid = [sensor.celsius for sensor in sensors if sensor.celsius is not None]
    if len(valid) > 1:
        print("   spread %.2f C" % (max(valid) - min(valid)))


def main():
    bus = SensorBus(Pin(DATA_PIN))
    while True:
        # Searching costs little, so sensors may come and go while the program runs.
        bus.discover()
        if bus.sensors:
            try:
                bus.measure()
                report(bus.sensors)
            except onewire.OneWireError:
                print("nobody answers on the wire")
        else:
            print("no sensor found on GPIO%d" % DATA_PIN)
        time.sleep(INTERVAL_S)


if __name__ == "__main__":
    main()
