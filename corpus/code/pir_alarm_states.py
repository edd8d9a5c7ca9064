"""Burglar alarm: a PIR sensor, a key switch and a siren, as a state machine in asyncio.

Wiring (Raspberry Pi Pico): PIR output on GP22 (PIR powered from VBUS), key switch between
GP21 and GND, siren relay on GP20, status LED on GP19 through 330 ohm.
"""

import asyncio
import time
from machine import Pin

PIR_PIN = 22
KEY_PIN = 21
SIREN_PIN = 20
LED_PIN = 19

WARM_UP_S = 30       # a PIR reports nonsense until it knows the empty room
EXIT_S = 20
ENTRY_S = 15
SIREN_S = 120
CONFIRM_MS = 400     # shorter motion pulses are treated as noise

DISARMED = "disarmed"
LEAVING = "leaving"
ARMED = "armed"
ENTERING = "entering"
ALARM = "alarm"

# LED on and off times in ms for each state.
BLINK = {
    DISARMED: (0, 500),
    LEAVING: (500, 500),
    ARMED: (50, 1950),
    ENTERING: (150, 150),
    ALARM: (60, 60),
}


class Alarm:
    def __init__(self):
        self.pir = Pin(PIR_PIN, Pin.IN, Pin.PULL_DOWN)
        self.key = Pin(KEY_PIN, Pin.IN, Pin.PULL_UP)
        self.siren = Pin(SIREN_PIN, Pin.OUT, value=0)
        self.led = Pin(LED_PIN, Pin.OUT, value=0)
        self.state = DISARMED
        self.entered = time.ticks_ms()
        self.motion_since = None

    def go(self, state):
        if state != self.state:
            print(self.state, "->", state)
            self.state = state
            self.entered = time.ticks_ms()
            self.siren.value(state == ALARM)

    def seconds_in_state(self):
        return time.ticks_diff(time.ticks_ms(), self.entered) / 1000

    def motion(self):
        """True once the sensor has been high long enough to believe it."""
        if not self.pir.value():
            self.motion_since = None
            return False
        if self.motion_since is None:
            self.motion_since = time.ticks_ms()
        return time.ticks_diff(time.ticks_ms(), self.motion_since) >= CONFIRM_MS

    def update(self):
        armed = self.key.value() == 0
        moving = self.motion()
        age = self.seconds_in_state()

        if not armed:
            # The key wins over everything else, in every state.
            self.go(DISARMED)
        elif self.state == DISARMED:
            self.go(LEAVING)
        elif self.state == LEAVING and age >= EXIT_S:
            self.go(ARMED)
        elif self.state == ARMED and moving:
            self.go(ENTERING)
        elif self.state == ENTERING and age >= ENTRY_S:
            self.go(ALARM)
        elif self.state == ALARM and age >= SIREN_S:
            # Neighbours need sleep too: watch again instead of howling on.
            self.go(ARMED)


async def watch(alarm):
    while True:
        alarm.update()
        await asyncio.sleep_ms(50)


async def blink(alarm):
    while True:
        on_ms, off_ms = BLINK[alarm.state]
        if on_ms:
            alarm.led.on()
            await asyncio.sleep_ms(on_ms)
        alarm.led.off()
        await asyncio.sleep_ms(off_ms)


async def main(alarm):
    print("warming up for", WARM_UP_S, "seconds")
    for _ in range(WARM_UP_S):
        alarm.led.toggle()
        await asyncio.sleep(1)
    print("ready")
    await asyncio.gather(watch(alarm), blink(alarm))


alarm = Alarm()
try:
    asyncio.run(main(alarm))
except KeyboardInterrupt:
    print("alarm stopped in state", alarm.state)
finally:
    alarm.siren.off()
    alarm.led.off()
