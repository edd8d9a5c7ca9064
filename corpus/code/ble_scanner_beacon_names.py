"""Scan for Bluetooth advertisements and list who is near: name, services, maker, signal strength.

Any board with Bluetooth, nothing attached. Shows iBeacons and Eddystone addresses as such.
"""
import asyncio
import bluetooth
import struct
import time

IRQ_SCAN_RESULT = 5
IRQ_SCAN_DONE = 6

TYPE_UUID16 = (0x02, 0x03)
TYPE_NAME = (0x08, 0x09)
TYPE_SERVICE_DATA = 0x16
TYPE_MAKER = 0xFF

MAKERS = {0x004C: "Apple", 0x0006: "Microsoft", 0x0075: "Samsung", 0x0059: "Nordic", 0x02E5: "Espressif"}
SERVICES = {0x180A: "device information", 0x180D: "heart rate", 0x180F: "battery", 0x181A: "environment",
            0xFEAA: "Eddystone", 0x1812: "keyboard or mouse"}
SCHEMES = tuple(scheme + "://" + host for host in ("www.", "") for scheme in ("http", "https"))


def fields(payload):
    """Split advertising data into (type, value); a length of zero ends them early."""
    at = 0
    while at + 1 < len(payload):
        length = payload[at]
        if length == 0:
            return
        yield payload[at + 1], payload[at + 2:at + 1 + length]
        at += 1 + length


def describe(payload):
    """Return the facts in an advertisement as a dictionary."""
    facts = {}
    for kind, value in fields(payload):
        if kind in TYPE_NAME:
            facts["name"] = bytes(value).decode("utf-8", "ignore")
        elif kind in TYPE_UUID16:
            for at in range(0, len(value) - 1, 2):
                uuid = value[at] | value[at + 1] << 8
                facts.setdefault("services", []).append(SERVICES.get(uuid, "%04X" % uuid))
        elif kind == TYPE_MAKER and len(value) >= 2:
            company = value[0] | value[1] << 8
            facts["maker"] = MAKERS.get(company, "%04X" % company)
            if company == 0x004C and len(value) == 25 and value[2:4] == b"\x02\x15":
                major, minor, power = struct.unpack(">HHb", value[20:25])
                facts["iBeacon"] = "%d/%d" % (major, minor)
                facts["power"] = power
        elif kind == TYPE_SERVICE_DATA and value[:2] == b"\xaa\xfe" and len(value) > 5 and value[2] == 0x10:
            if value[4] < len(SCHEMES):
                facts["address"] = SCHEMES[value[4]] + bytes(value[5:]).decode("ascii", "ignore")
    return facts


def metres(rssi, power_at_1m):
    """A guess, no more: bodies and walls weigh more than distance does."""
    return 10 ** ((power_at_1m - rssi) / 20)


class Scanner:
    def __init__(self):
        self.ble = bluetooth.BLE()
        self.ble.active(True)
        self.ble.irq(self._irq)
        self.seen = {}
        self.done = asyncio.ThreadSafeFlag()

    def _irq(self, event, data):
        if event == IRQ_SCAN_RESULT:
            _, address, _, rssi, payload = data
            # The buffers are used again after this call: copy what is to be kept.
            key = bytes(address)
            entry = self.seen.setdefault(key, [rssi, {}, 0])
            entry[0] = max(entry[0], rssi)
            entry[2] += 1
            if entry[2] < 6:  # a name often comes in the scan response only
                entry[1].update(describe(bytes(payload)))
        elif event == IRQ_SCAN_DONE:
            self.done.set()

    async def scan(self, seconds):
        self.seen.clear()
        self.ble.gap_scan(seconds * 1000, 60_000, 30_000, True)
        await self.done.wait()
        return sorted(self.seen.items(), key=lambda item: -item[1][0])


async def main():
    scanner = Scanner()
    while True:
        found = await scanner.scan(8)
        print("\n%d devices at %d s" % (len(found), time.ticks_ms() // 1000))
        for address, (rssi, facts, count) in found:
            line = ", ".join("%s: %s" % (key, facts[key]) for key in sorted(facts) if key != "power")
            if "power" in facts:
                line += ", about %.1f m" % metres(rssi, facts["power"])
            print("%s %4d dBm %4dx  %s" % (address.hex(":"), rssi, count, line or "silent about itself"))


asyncio.run(main())
