"""A doorbell over ESP-NOW: no router, the button board sleeps, any number of chimes may listen.

Button board (ESP32-C3): button GPIO4 to GND wakes it from deep sleep. Chime boards: buzzer GPIO5.
The role is read from role.txt ("button" or "chime"). Messages carry a number, so that repeated
ones ring once.
"""
import esp32
import espnow
import machine
import network
import random
import struct
import time
from machine import PWM, Pin

BROADCAST = b"\xff" * 6
MAGIC = b"RING"
MESSAGE = "<4sIH"  # magic, number of the press, battery in millivolts
REPEATS = 5
CHANNEL = 6


def radio():
    """ESP-NOW needs the interface active but not connected, and all boards on one channel."""
    wlan = network.WLAN(network.STA_IF)
    wlan.active(True)
    wlan.config(channel=CHANNEL)
    link = espnow.ESPNow()
    link.active(True)
    link.add_peer(BROADCAST)
    return link


def next_press_number():
    """The RTC memory survives deep sleep, but not a dead battery."""
    rtc = machine.RTC()
    stored = rtc.memory()
    number = struct.unpack("<I", stored)[0] if len(stored) == 4 else random.getrandbits(16)
    number = (number + 1) & 0xFFFF
    rtc.memory(struct.pack("<I", number))
    return number


def battery_mv():
    adc = machine.ADC(Pin(3), atten=machine.ADC.ATTN_11DB)
    return 2 * adc.read_uv() // 1000  # behind a divider of two equal resistors


def button_board():
    button = Pin(4, Pin.IN, Pin.PULL_UP)
    if machine.reset_cause() == machine.DEEPSLEEP_RESET:
        message = struct.pack(MESSAGE, MAGIC, next_press_number(), battery_mv())
        link = radio()
        for _ in range(REPEATS):
            # Nobody acknowledges a broadcast: saying it a few times has to do.
            link.send(BROADCAST, message)
            time.sleep_ms(15)
        link.active(False)
    while button.value() == 0:
        time.sleep_ms(20)  # else it would wake up again at once
    esp32.wake_on_gpio((button,), esp32.WAKEUP_ALL_LOW)
    machine.deepsleep()


def chime(pwm):
    for hertz, ms in ((659, 350), (523, 600)):
        pwm.freq(hertz)
        pwm.duty_u16(32768)
        time.sleep_ms(ms)
    pwm.duty_u16(0)


def chime_board():
    link = radio()
    pwm = PWM(Pin(5), freq=500, duty_u16=0)
    heard = {}
    while True:
        host, data = link.recv(5000)
        if host is None or len(data) != struct.calcsize(MESSAGE):
            continue
        magic, number, millivolts = struct.unpack(MESSAGE, data)
        if magic != MAGIC or heard.get(bytes(host)) == number:
            continue
        heard[bytes(host)] = number
        print("ring", number, "from", host.hex(":"), "battery", millivolts, "mV")
        chime(pwm)
        if millivolts < 3300:
            time.sleep_ms(200)
            pwm.freq(200)
            pwm.duty_u16(16384)
            time.sleep_ms(150)
            pwm.duty_u16(0)


def main():
    with open("role.txt") as file:
        role = file.read().strip()
    print("I am the", role)
    button_board() if role == "button" else chime_board()


main()
