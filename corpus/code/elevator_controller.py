"""Controller of a model elevator with four floors: calls, direction, door, safety stop.

Wiring (Raspberry Pi Pico): call buttons GP2-GP5 to GND, floor reed switches GP6-GP9 to GND,
motor driver up GP10 and down GP11, door servo GP12, door light barrier GP13 (low = blocked).
"""

import asyncio
import time
from machine import PWM, Pin

CALL_PINS = (2, 3, 4, 5)
FLOOR_PINS = (6, 7, 8, 9)
UP_PIN, DOWN_PIN, DOOR_PIN, BARRIER_PIN = 10, 11, 12, 13

DOOR_OPEN_NS, DOOR_CLOSED_NS = 1_900_000, 1_100_000
DOOR_MOVE_MS = 800
DWELL_MS = 2500
TRAVEL_LIMIT_MS = 8000    # between two floors; longer means a jammed cable
UP, DOWN, IDLE = 1, -1, 0


class TravelError(Exception):
    pass


class Elevator:
    def __init__(self):
        self.buttons = [Pin(n, Pin.IN, Pin.PULL_UP) for n in CALL_PINS]
        self.reeds = [Pin(n, Pin.IN, Pin.PULL_UP) for n in FLOOR_PINS]
        self.barrier = Pin(BARRIER_PIN, Pin.IN, Pin.PULL_UP)
        self.up = Pin(UP_PIN, Pin.OUT, value=0)
        self.down = Pin(DOWN_PIN, Pin.OUT, value=0)
        self.door = PWM(Pin(DOOR_PIN))
        self.door.freq(50)
        self.door.duty_ns(DOOR_CLOSED_NS)
        self.calls = set()
        self.floor = None
        self.direction = IDLE

    def motor(self, direction):
        # Never both at once, not even for a moment.
        self.up.off()
        self.down.off()
        self.up.value(direction == UP)
        self.down.value(direction == DOWN)

    def floor_here(self):
        """Return the floor whose reed switch is closed, or None between floors."""
        for number, reed in enumerate(self.reeds):
            if reed.value() == 0:
                return number
        return None

    def choose_direction(self):
        """Keep going while calls lie ahead, then turn round."""
        above = any(call > self.floor for call in self.calls)
        below = any(call < self.floor for call in self.calls)
        if self.direction == UP and above or self.direction == DOWN and below:
            return self.direction
        return UP if above else DOWN if below else IDLE

    async def travel(self, direction):
        """Drive to the next floor that has a call; raise TravelError when stuck."""
        self.motor(direction)
        deadline = time.ticks_add(time.ticks_ms(), TRAVEL_LIMIT_MS)
        try:
            while True:
                here = self.floor_here()
                if here is not None and here != self.floor:
                    self.floor = here
                    print("floor", here)
                    if here in self.calls or here in (0, len(self.reeds) - 1):
                        return
                    deadline = time.ticks_add(time.ticks_ms(), TRAVEL_LIMIT_MS)
                if time.ticks_diff(deadline, time.ticks_ms()) <= 0:
                    raise TravelError("stuck beyond floor {}".format(self.floor))
                await asyncio.sleep_ms(5)
        finally:
            self.motor(IDLE)

    async def serve_door(self):
        self.door.duty_ns(DOOR_OPEN_NS)
        await asyncio.sleep_ms(DOOR_MOVE_MS + DWELL_MS)
        while True:
            while self.barrier.value() == 0:
                await asyncio.sleep_ms(100)
            self.door.duty_ns(DOOR_CLOSED_NS)
            for _ in range(DOOR_MOVE_MS // 20):
                await asyncio.sleep_ms(20)
                if self.barrier.value() == 0:
                    self.door.duty_ns(DOOR_OPEN_NS)
                    await asyncio.sleep_ms(DOOR_MOVE_MS)
                    break
            else:
                return

    async def collect_calls(self):
        while True:
            for number, button in enumerate(self.buttons):
                if button.value() == 0 and number not in self.calls:
                    self.calls.add(number)
                    print("call from floor", number)
            await asyncio.sleep_ms(20)

    async def run(self):
        asyncio.create_task(self.collect_calls())
        self.floor = self.floor_here()
        if self.floor is None:  # after a power cut between floors: look for the one below
            self.calls.update(range(len(self.reeds)))
            await self.travel(DOWN)
            self.calls.clear()
        while True:
            if self.floor in self.calls:
                await self.serve_door()
                self.calls.discard(self.floor)
            self.direction = self.choose_direction()
            if self.direction == IDLE:
                await asyncio.sleep_ms(50)
            else:
                await self.travel(self.direction)


elevator = Elevator()
try:
    asyncio.run(elevator.run())
except TravelError as error:
    print("emergency stop:", error)
finally:
    elevator.motor(IDLE)
    elevator.door.deinit()
