"""A bounded queue for asyncio, which MicroPython does not include, with two producers.

Pico: a light sensor (LDR with 10 k divider) on GP26 and the internal temperature sensor
fill the queue at their own pace; one slower consumer prints averages.
"""

import asyncio
from collections import deque

from machine import ADC

LIGHT_PIN = 26
QUEUE_SIZE = 8
BATCH = 5


class QueueClosed(Exception):
    pass


class Queue:
    """get() waits while the queue is empty, put() waits while it is full."""

    def __init__(self, size):
        self.size = size
        self.items = deque((), size)
        self.not_empty = asyncio.Event()
        self.not_full = asyncio.Event()
        self.not_full.set()
        self.closed = False

    def __len__(self):
        return len(self.items)

    async def put(self, item):
        while len(self.items) >= self.size:
            # Another task may have taken the free place first, hence the loop.
            self.not_full.clear()
            await self.not_full.wait()
        if self.closed:
            raise QueueClosed
        self.items.append(item)
        self.not_empty.set()

    async def get(self):
        while not self.items:
            if self.closed:
                raise QueueClosed
            self.not_empty.clear()
            await self.not_empty.wait()
        item = self.items.popleft()
        self.not_full.set()
        return item

    def close(self):
        """No more put(); get() still hands out what is left."""
        self.closed = True
        self.not_empty.set()
        self.not_full.set()


async def produce_light(queue, count):
    sensor = ADC(LIGHT_PIN)
    for _ in range(count):
        await queue.put(("light", sensor.read_u16() * 100 / 65535))
        await asyncio.sleep_ms(80)


async def produce_temperature(queue, count):
    sensor = ADC(ADC.CORE_TEMP)
    for _ in range(count):
        volts = sensor.read_u16() * 3.3 / 65535
        await queue.put(("celsius", 27 - (volts - 0.706) / 0.001721))
        await asyncio.sleep_ms(200)


async def consume(queue):
    """Average the readings of each kind, and return how many items came through."""
    batches = {}
    handled = 0
    try:
        while True:
            kind, value = await queue.get()
            handled += 1
            batch = batches.setdefault(kind, [])
            batch.append(value)
            if len(batch) == BATCH:
                print("{:8s} {:6.1f}   (queue: {} waiting)".format(
                    kind, sum(batch) / BATCH, len(queue)))
                batch.clear()
            # Stands for slow work such as writing to an SD card.
            await asyncio.sleep_ms(100)
    except QueueClosed:
        return handled


async def main():
    queue = Queue(QUEUE_SIZE)
    consumer = asyncio.create_task(consume(queue))
    await asyncio.gather(produce_light(queue, 60), produce_temperature(queue, 25))
    queue.close()
    print("producers are done, {} items left".format(len(queue)))
    print("consumer handled", await consumer, "items")


asyncio.run(main())
