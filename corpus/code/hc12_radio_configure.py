"""Configure a pair of HC-12 radio modules, then use them as a wireless serial line with a range test.

Wiring (Raspberry Pi Pico): HC-12 RXD to GP4, TXD to GP5, SET to GP6, VCC 3V3 with 100 uF.
Start one board with the argument "far": it only sends back what it hears.
"""
import time
from machine import Pin, UART

CHANNEL = 21  # 433.4 MHz + 400 kHz x (channel - 1)
AIR_BAUD = 9600
POWER = 5  # 1 to 8 are -1 to 20 dBm


class HC12:
    def __init__(self, uart_id, tx, rx, set_pin):
        self.set_pin = Pin(set_pin, Pin.OUT, value=1)
        self.uart = UART(uart_id, baudrate=9600, tx=Pin(tx), rx=Pin(rx), timeout=100)

    def _command(self, text):
        """Send one AT command and return the answer without its line end."""
        self.uart.read()
        self.uart.write(text)
        time.sleep_ms(150)
        answer = self.uart.read() or b""
        return answer.decode("ascii", "ignore").strip() if answer else ""

    def __enter__(self):
        # While SET is low the module listens to commands; its manual asks for 40 ms.
        self.set_pin(0)
        time.sleep_ms(60)
        return self

    def __exit__(self, *_):
        self.set_pin(1)
        time.sleep_ms(100)

    def find_speed(self):
        """A module keeps its speed without power: try the likely ones."""
        for baud in (9600, 1200, 2400, 4800, 19200, 38400, 57600, 115200):
            self.uart.init(baudrate=baud)
            if self._command("AT") == "OK":
                return baud
        raise RuntimeError("HC-12 does not answer, check SET and the supply")

    def configure(self, channel, baud, power):
        with self:
            self.find_speed()
            wanted = (
                "AT+C%03d" % channel,
                "AT+P%d" % power,
                "AT+B%d" % baud,
            )
            for command in wanted:
                answer = self._command(command)
                if not answer.startswith("OK"):
                    raise RuntimeError("%s was refused: %r" % (command, answer))
        # The new speed counts from the moment SET goes high again.
        self.uart.init(baudrate=baud)

    def send(self, line):
        self.uart.write(line + "\n")

    def receive(self, timeout_ms):
        end = time.ticks_add(time.ticks_ms(), timeout_ms)
        line = b""
        while time.ticks_diff(end, time.ticks_ms()) > 0:
            line += self.uart.readline() or b""
            if line.endswith(b"\n"):
                return line.strip()
        return None


def far_end(radio):
    while True:
        line = radio.receive(1000)
        if line:
            radio.send(line.decode())


def range_test(radio, count=20):
    """Per cent of the messages that came back, and the mean time there and back."""
    back = 0
    total_ms = 0
    for number in range(count):
        message = "ping %04d" % number
        started = time.ticks_ms()
        radio.send(message)
        if radio.receive(800) == message.encode():
            back += 1
            total_ms += time.ticks_diff(time.ticks_ms(), started)
    return 100 * back // count, total_ms // back if back else None


def main(role="near"):
    radio = HC12(1, tx=4, rx=5, set_pin=6)
    radio.configure(CHANNEL, AIR_BAUD, POWER)
    print("channel %d is %.1f MHz" % (CHANNEL, 433.4 + 0.4 * (CHANNEL - 1)))
    if role == "far":
        far_end(radio)
    while True:
        percent, mean_ms = range_test(radio)
        print("%3d %% came back," % percent, "no time" if mean_ms is None else "%d ms" % mean_ms)


main()
