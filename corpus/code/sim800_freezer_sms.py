"""Send a text message when a freezer gets warm, with a SIM800 modem.

Wiring (ESP32): modem TXD to GPIO16, RXD to GPIO17, its own 4 V supply good for 2 A, common
ground; DS18B20 in the freezer on GPIO4. The number to call stands in settings.json:
{"number": "<number>", "limit": -12}
"""
import json
import time
import ds18x20
import onewire
from machine import Pin, UART

CTRL_Z = "\x1a"


class ModemError(Exception):
    pass


class SIM800:
    def __init__(self, uart):
        self.uart = uart

    def expect(self, wanted, timeout_ms):
        """Collect what the modem says until one of the wanted words comes."""
        text = ""
        end = time.ticks_add(time.ticks_ms(), timeout_ms)
        while time.ticks_diff(end, time.ticks_ms()) > 0:
            data = self.uart.read()
            if data:
                text += "".join(chr(b) for b in data if b < 128)
                if "ERROR" in text:
                    raise ModemError(text.strip())
                for word in wanted:
                    if word in text:
                        return text
            time.sleep_ms(20)
        raise ModemError("no answer, got %r" % text)

    def at(self, command, wanted=("OK",), timeout_ms=2000):
        self.uart.read()
        self.uart.write("AT" + command + "\r\n")
        return self.expect(wanted, timeout_ms)

    def start(self):
        for _ in range(5):  # the modem learns our speed from the first letters
            try:
                self.at("", timeout_ms=500)
                break
            except ModemError:
                continue
        else:
            raise ModemError("modem is silent")
        self.at("E0")  # no echo
        self.at("+CMGF=1")  # messages as text

    def registered(self):
        """True at home (1) or roaming (5)."""
        state = self.at("+CREG?").split("+CREG:")[1].split(",")[1].strip()
        return state[0] in "15"

    def signal_dbm(self):
        level = int(self.at("+CSQ").split("+CSQ:")[1].split(",")[0])
        return None if level == 99 else -113 + 2 * level

    def send(self, number, text):
        self.at('+CMGS="%s"' % number, wanted=(">",), timeout_ms=5000)
        self.uart.write(text[:160] + CTRL_Z)
        self.expect(("+CMGS:",), 60_000)


class FreezerWatch:
    """Warm for ten minutes is an alarm; a door that was open for a moment is not."""

    def __init__(self, limit, patience_s=600, repeat_s=3600):
        self.limit = limit
        self.patience_s = patience_s
        self.repeat_s = repeat_s
        self.warm_since = None
        self.told_at = None

    def due(self, celsius, now):
        if celsius <= self.limit:
            self.warm_since = self.told_at = None
            return False
        if self.warm_since is None:
            self.warm_since = now
        if now - self.warm_since < self.patience_s:
            return False
        return self.told_at is None or now - self.told_at >= self.repeat_s


def main():
    with open("settings.json") as file:
        settings = json.load(file)
    modem = SIM800(UART(2, baudrate=9600, rx=16, tx=17, timeout=50))
    modem.start()
    bus = ds18x20.DS18X20(onewire.OneWire(Pin(4)))
    rom = bus.scan()[0]
    watch = FreezerWatch(settings["limit"])
    print("signal", modem.signal_dbm(), "dBm")
    while True:
        bus.convert_temp()
        time.sleep(1)
        celsius = bus.read_temp(rom)
        now = time.time()
        if watch.due(celsius, now):
            try:
                if modem.registered():
                    modem.send(settings["number"], "Freezer at %.1f C" % celsius)
                    watch.told_at = now  # only when it went out, else the next round tries again
            except ModemError as error:
                print("modem:", error)
        time.sleep(30)


main()
