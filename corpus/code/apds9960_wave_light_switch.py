"""Switch a lamp by holding a hand over an APDS9960; the time it is held sets the brightness.

Wiring (Raspberry Pi Pico): SDA to GP4, SCL to GP5, VIN to 3V3, INT to GP6,
gate of a logic-level MOSFET for a 12 V LED strip on GP15.
"""
import time
from machine import I2C, PWM, Pin

APDS = 0x39
ENABLE, PILT, PIHT, PERS = 0x80, 0x89, 0x8B, 0x8C
PPULSE, CONTROL, ID, STATUS, PDATA = 0x8E, 0x8F, 0x92, 0x93, 0x9C
PROXIMITY_CLEAR = 0xE5

POWER_ON = 0x01
PROXIMITY = 0x04
PROXIMITY_INTERRUPT = 0x20

NEAR, FAR = 90, 60  # proximity counts: two thresholds, so that a hand at the limit does not flicker


class ProximitySensor:
    def __init__(self, i2c, interrupt):
        self.i2c = i2c
        identity = self.get(ID)
        if identity not in (0xAB, 0xA8, 0x9C):
            raise RuntimeError("unknown chip 0x%02X" % identity)
        self.put(ENABLE, 0)
        self.put(PPULSE, 0x87)  # eight pulses of 16 microseconds
        self.put(CONTROL, 0x08)  # full LED current, proximity gain 4
        self.put(PILT, 0)
        self.put(PIHT, NEAR)
        self.put(PERS, 0x20)  # two measurements in a row before it calls
        self.put(ENABLE, POWER_ON | PROXIMITY | PROXIMITY_INTERRUPT)
        self.called = False
        interrupt.irq(self._on_interrupt, Pin.IRQ_FALLING)
        self.clear()

    def get(self, register):
        return self.i2c.readfrom_mem(APDS, register, 1)[0]

    def put(self, register, value):
        self.i2c.writeto_mem(APDS, register, bytes((value,)))

    def _on_interrupt(self, pin):
        self.called = True

    def clear(self):
        # Touching this address is enough, there is no data behind it.
        self.i2c.writeto(APDS, bytes((PROXIMITY_CLEAR,)))
        self.called = False

    def distance_count(self):
        """Reflected light from 0 (nothing) to 255 (touching)."""
        return self.get(PDATA)


class Lamp:
    STEPS = 64

    def __init__(self, pin):
        self.pwm = PWM(pin, freq=1000, duty_u16=0)
        self.on = False
        self.level = self.STEPS // 2
        self.direction = 1

    def apply(self):
        # Eyes see ratios: a square law makes equal steps look equal.
        share = (self.level / self.STEPS) ** 2 if self.on else 0
        self.pwm.duty_u16(int(share * 65535))

    def toggle(self):
        self.on = not self.on
        self.apply()

    def dim_step(self):
        self.level += self.direction
        if not 2 < self.level < self.STEPS:
            self.direction = -self.direction
        self.apply()


def follow_hand(sensor, lamp):
    """Called when a hand arrived: a short visit toggles, a long one dims."""
    arrived = time.ticks_ms()
    dimming = False
    while sensor.distance_count() > FAR:
        if time.ticks_diff(time.ticks_ms(), arrived) > 600:
            if not dimming and not lamp.on:
                lamp.toggle()
            dimming = True
            lamp.dim_step()
        time.sleep_ms(40)
    if dimming:
        lamp.direction = -lamp.direction  # the next hold goes the other way
    else:
        lamp.toggle()


def main():
    lamp = Lamp(Pin(15))
    sensor = ProximitySensor(I2C(0, sda=Pin(4), scl=Pin(5)), Pin(6, Pin.IN, Pin.PULL_UP))
    while True:
        if sensor.called:
            follow_hand(sensor, lamp)
            sensor.clear()
        time.sleep_ms(20)


main()
