"""Eight buttons and eight LEDs on an MCP23017, woken by its interrupt line.

Wiring (Raspberry Pi Pico): SDA to GP4, SCL to GP5, INTA to GP15, VDD and RESET to 3V3,
A0-A2 to GND. Buttons from GPA0-GPA7 to GND, LEDs with resistors from GPB0-GPB7 to GND.
"""
import time
from machine import I2C, Pin

# Register numbers of port A; port B follows at the next address.
IODIR = 0x00
GPINTEN = 0x04
INTCON = 0x08
IOCON = 0x0A
GPPU = 0x0C
INTCAP = 0x10
GPIO = 0x12
OLAT = 0x14

PORT_A = 0
PORT_B = 1

INT_OPEN_DRAIN = 0x04
DEBOUNCE_MS = 30


class PortExpander:
    def __init__(self, i2c, address=0x20):
        self.i2c = i2c
        self.address = address

    def write(self, register, port, value):
        self.i2c.writeto_mem(self.address, register + port, bytes([value]))

    def read(self, register, port):
        return self.i2c.readfrom_mem(self.address, register + port, 1)[0]

    def make_inputs(self, port):
        self.write(IODIR, port, 0xFF)
        self.write(GPPU, port, 0xFF)

    def make_outputs(self, port):
        self.write(OLAT, port, 0)  # first the level, then the direction: no flash at start
        self.write(IODIR, port, 0)

    def interrupt_on_change(self, port):
        self.write(INTCON, port, 0)  # compare with the previous level
        self.write(IOCON, 0, INT_OPEN_DRAIN)
        self.write(GPINTEN, port, 0xFF)
        self.read(GPIO, port)  # clears what is already pending


class ButtonPanel:
    """Toggle the LED beside every button that is pressed."""

    def __init__(self, expander, interrupt_pin):
        self.expander = expander
        self.lights = 0
        self.held = 0
        self.changed = False
        expander.make_outputs(PORT_B)
        expander.make_inputs(PORT_A)
        interrupt_pin.irq(self._on_interrupt, Pin.IRQ_FALLING)
        self.interrupt_pin = interrupt_pin
        expander.interrupt_on_change(PORT_A)

    def _on_interrupt(self, pin):
        # Only a note: the I2C bus may be in the middle of another transfer.
        self.changed = True

    def poll(self):
        """Return the mask of the buttons that went down since the last call."""
        # The level is a second look, should an edge ever be lost.
        if not self.changed and self.interrupt_pin.value():
            return 0
        # A pressed button pulls its input low, hence the inversions.
        at_interrupt = ~self.expander.read(INTCAP, PORT_A) & 0xFF
        time.sleep_ms(DEBOUNCE_MS)
        level = ~self.expander.read(GPIO, PORT_A) & 0xFF
        self.changed = False  # edges until now were bounces
        # A short tap may be over by now, but the captured value still knows it.
        pressed = (at_interrupt | level) & ~self.held
        self.held = level
        if pressed:
            self.lights ^= pressed
            self.expander.write(OLAT, PORT_B, self.lights)
        return pressed

    def close(self):
        self.interrupt_pin.irq(None)
        self.expander.write(GPINTEN, PORT_A, 0)
        self.expander.write(OLAT, PORT_B, 0)


def main():
    i2c = I2C(0, sda=Pin(4), scl=Pin(5), freq=400_000)
    expander = PortExpander(i2c)
    panel = ButtonPanel(expander, Pin(15, Pin.IN, Pin.PULL_UP))
    try:
        while True:
            pressed = panel.poll()
            for bit in range(8):
                if pressed & 1 << bit:
                    print("button", bit, "on" if panel.lights & 1 << bit else "off")
            time.sleep_ms(5)
    finally:
        panel.close()


if __name__ == "__main__":
    main()
