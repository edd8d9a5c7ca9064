"""A lamp that wakes on a double tap: the LIS3DH recognises it, the ESP32 sleeps meanwhile.

Wiring (ESP32): SDA GPIO21, SCL GPIO22, INT1 to GPIO33, LED with resistor on GPIO25.
In deep sleep only the accelerometer runs, at less than a tenth of a milliampere.
"""
import machine
import time
import esp32
from machine import I2C, PWM, Pin

LIS3DH = 0x18
WHO_AM_I = 0x0F
CTRL1 = 0x20
CTRL3 = 0x22
CTRL4 = 0x23
CTRL5 = 0x24
CLICK_CFG = 0x38
CLICK_SRC = 0x39
CLICK_THS = 0x3A
TIME_LIMIT = 0x3B
TIME_LATENCY = 0x3C
TIME_WINDOW = 0x3D

SHINE_S = 30


def put(i2c, register, value):
    i2c.writeto_mem(LIS3DH, register, bytes([value]))


def get(i2c, register):
    return i2c.readfrom_mem(LIS3DH, register, 1)[0]


def configure_double_tap(i2c):
    """All times count samples of 400 Hz, 2.5 ms each; the threshold is in steps of 1/64 g at 2 g."""
    if get(i2c, WHO_AM_I) != 0x33:
        raise RuntimeError("no LIS3DH at 0x18")
    put(i2c, CTRL1, 0x77)  # 400 Hz, all three axes
    put(i2c, CTRL3, 0x80)  # click on INT1
    put(i2c, CTRL4, 0x80)  # +-2 g, blocks of data stay together
    put(i2c, CTRL5, 0x08)  # hold the interrupt until it is read
    put(i2c, CLICK_CFG, 0x20)  # double click along z, out of the table top
    put(i2c, CLICK_THS, 0x80 | 25)
    put(i2c, TIME_LIMIT, 8)  # a tap is over within 20 ms
    put(i2c, TIME_LATENCY, 30)  # 75 ms of deafness while it rings out
    put(i2c, TIME_WINDOW, 120)  # 300 ms for the second one


def explain(source):
    if not source & 0x40:
        return "nothing"
    kind = "double" if source & 0x20 else "single"
    axis = "xyz"[(source & 0x07) >> 1] if source & 0x07 else "?"
    return "%s tap along %s%s" % (kind, "-" if source & 0x08 else "+", axis)


def shine(led, seconds):
    """Full light, and a slow fade for the last five seconds."""
    pwm = PWM(led, freq=1000)
    pwm.duty_u16(65535)
    time.sleep(seconds - 5)
    for step in range(250, -1, -1):
        pwm.duty_u16(step * step * 65535 // 62500)
        time.sleep_ms(20)
    pwm.deinit()
    led.init(Pin.OUT, value=0)


def main():
    i2c = I2C(0, scl=Pin(22), sda=Pin(21), freq=400_000)
    wake = Pin(33, Pin.IN)
    if machine.reset_cause() == machine.DEEPSLEEP_RESET:
        # The sensor kept its settings: reading the source also releases the line.
        print("woken by", explain(get(i2c, CLICK_SRC)))
        shine(Pin(25, Pin.OUT), SHINE_S)
    else:
        configure_double_tap(i2c)
        print("ready, five seconds left to press Ctrl-C")
        time.sleep(5)
    get(i2c, CLICK_SRC)
    esp32.wake_on_ext0(pin=wake, level=esp32.WAKEUP_ANY_HIGH)
    machine.deepsleep()


main()
