"""A room alarm built from asyncio events: motion starts a delay, a code button disarms it.

Wiring (Pico): PIR output to GP16, reed switch of the door from GP17 to GND,
arm/disarm button from GP18 to GND, active buzzer on GP19, LED with 330 ohm on GP20.
"""

import asyncio

from machine import Pin

EXIT_DELAY_S = 10
ENTRY_DELAY_S = 8
SIREN_S = 60
DEBOUNCE_MS = 50

pir = Pin(16, Pin.IN, Pin.PULL_DOWN)
door = Pin(17, Pin.IN, Pin.PULL_UP)
button = Pin(18, Pin.IN, Pin.PULL_UP)
buzzer = Pin(19, Pin.OUT, value=0)
led = Pin(20, Pin.OUT, value=0)


class EdgeSource:
    """Turns a pin interrupt into something that asyncio tasks can wait for."""

    def __init__(self, pin, trigger):
        # An Event must not be set from an interrupt; a ThreadSafeFlag may.
        self.flag = asyncio.ThreadSafeFlag()
        pin.irq(lambda p: self.flag.set(), trigger)

    async def forward(self, event):
        while True:
            await self.flag.wait()
            event.set()
            await asyncio.sleep_ms(DEBOUNCE_MS)
            self.flag.clear()


class Alarm:
    def __init__(self):
        self.intrusion = asyncio.Event()
        self.toggle = asyncio.Event()

    async def toggled_within(self, seconds):
        """True if the button is pressed in time, False when the time runs out."""
        self.toggle.clear()
        try:
            await asyncio.wait_for(self.toggle.wait(), seconds)
            return True
        except asyncio.TimeoutError:
            return False

    async def disarmed(self):
        led.off()
        self.toggle.clear()
        await self.toggle.wait()
        return self.leaving

    async def leaving(self):
        print("arming, leave within", EXIT_DELAY_S, "s")
        blinking = asyncio.create_task(blink(led, 500))
        cancelled = await self.toggled_within(EXIT_DELAY_S)
        blinking.cancel()
        return self.disarmed if cancelled else self.armed

    async def armed(self):
        print("armed")
        led.on()
        # Forget the motion of the person who has just left.
        self.intrusion.clear()
        await self.intrusion.wait()
        return self.entering

    async def entering(self):
        print("intrusion, disarm within", ENTRY_DELAY_S, "s")
        beeping = asyncio.create_task(blink(buzzer, 250))
        disarmed = await self.toggled_within(ENTRY_DELAY_S)
        beeping.cancel()
        buzzer.off()
        return self.disarmed if disarmed else self.siren

    async def siren(self):
        print("ALARM")
        buzzer.on()
        disarmed = await self.toggled_within(SIREN_S)
        buzzer.off()
        return self.disarmed if disarmed else self.armed

    async def run(self):
        state = self.disarmed
        while True:
            state = await state()  # each state is a coroutine that names its successor


async def blink(pin, period_ms):
    while True:
        pin.toggle()
        await asyncio.sleep_ms(period_ms // 2)


async def main():
    alarm = Alarm()
    tasks = [
        EdgeSource(pir, Pin.IRQ_RISING).forward(alarm.intrusion),
        EdgeSource(door, Pin.IRQ_RISING).forward(alarm.intrusion),
        EdgeSource(button, Pin.IRQ_FALLING).forward(alarm.toggle),
    ]
    await asyncio.gather(alarm.run(), *tasks)


try:
    asyncio.run(main())
finally:
    buzzer.off()
    led.off()
