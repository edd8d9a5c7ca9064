"""Run a soldering fume fan by an SGP30: starts with the smoke, runs on until the air is clean.

Wiring (Raspberry Pi Pico): SDA GP0, SCL GP1, 3V3; a 12 V fan's MOSFET gate on GP22.
"""
import asyncio
from machine import I2C, PWM, Pin

SGP30 = 0x58
INIT = 0x2003
MEASURE = 0x2008
SERIAL = 0x3682


def crc(two):
    c = 0xFF
    for b in two:
        c ^= b
        for _ in range(8):
            c = (c << 1 ^ 0x31) & 0xFF if c & 0x80 else c << 1
    return c


class Sgp30:
    """Commands of 16 bits; every answer word carries a check byte of its own."""

    def __init__(self, i2c):
        self.i2c = i2c

    async def command(self, code, wait_ms, words=0):
        self.i2c.writeto(SGP30, bytes((code >> 8, code & 0xFF)))
        await asyncio.sleep_ms(wait_ms)
        if not words:
            return []
        raw = self.i2c.readfrom(SGP30, 3 * words)
        answer = []
        for k in range(0, len(raw), 3):
            if crc(raw[k:k + 2]) != raw[k + 2]:
                raise OSError("SGP30 check byte")
            answer.append(raw[k] << 8 | raw[k + 1])
        return answer

    async def start(self):
        serial = await self.command(SERIAL, 1, 3)
        print("SGP30 serial %04x%04x%04x" % tuple(serial))
        await self.command(INIT, 10)

    async def tvoc(self):
        """Volatile organic compounds in ppb. The chip wants to be asked once a second, exactly."""
        _, ppb = await self.command(MEASURE, 12, 2)
        return ppb


class Fan:
    def __init__(self, pin):
        self.pwm = PWM(pin, freq=25_000, duty_u16=0)
        self.percent = 0

    async def go(self, percent):
        """Change the speed over about a second; a jump from zero would make it hum."""
        step = 5 if percent > self.percent else -5
        while self.percent != percent:
            self.percent += step
            if (step > 0) == (self.percent > percent):
                self.percent = percent
            self.pwm.duty_u16(self.percent * 65535 // 100)
            await asyncio.sleep_ms(50)


class Shared:
    ppb = 0
    clean = 20  # what counts as clean air here, learnt over time


async def sense(chip, shared):
    await chip.start()
    while True:
        try:
            shared.ppb = await chip.tvoc()
        except OSError as error:
            print(error)
        else:
            # The floor follows quickly downwards and very slowly upwards.
            rate = 0.1 if shared.ppb < shared.clean else 0.0005
            shared.clean += rate * (shared.ppb - shared.clean)
        await asyncio.sleep_ms(988)  # with the 12 ms of the measurement


async def ventilate(fan, shared):
    quiet_s = 0
    while True:
        excess = shared.ppb - shared.clean
        if excess > 60:
            quiet_s = 0
            await fan.go(100 if excess > 400 else 60)
        elif fan.percent:
            quiet_s += 1
            if quiet_s > 90:
                await fan.go(0)
        await asyncio.sleep(1)


async def show(fan, shared):
    while True:
        await asyncio.sleep(5)
        print("%d ppb (floor %.0f), fan %d %%" % (shared.ppb, shared.clean, fan.percent))


async def main():
    shared = Shared()
    chip = Sgp30(I2C(0, sda=Pin(0), scl=Pin(1), freq=400_000))
    fan = Fan(Pin(22))
    try:
        await asyncio.gather(sense(chip, shared), ventilate(fan, shared), show(fan, shared))
    finally:
        fan.pwm.duty_u16(0)


asyncio.run(main())
