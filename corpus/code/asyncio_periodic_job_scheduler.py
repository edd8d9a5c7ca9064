"""Run jobs at fixed intervals with asyncio, and cancel or replace them while running.

Pico with nothing attached: the jobs blink the on-board LED and print the chip state.
A job that fails is logged and tried again; it never takes the others down.
"""

import asyncio
import gc
import sys
import time

from machine import Pin, freq


class Job:
    """One periodic call. Start times stay on a grid, so the period does not drift."""

    def __init__(self, name, period_ms, function):
        self.name = name
        self.period_ms = period_ms
        self.function = function
        self.runs = 0
        self.failures = 0
        self.missed = 0
        self.task = None

    async def loop(self):
        due = time.ticks_ms()
        while True:
            try:
                result = self.function()
                # Plain functions and coroutines are both welcome.
                if hasattr(result, "send"):
                    await result
                self.runs += 1
            except Exception as err:
                self.failures += 1
                print("job", self.name, "failed:")
                sys.print_exception(err)
            due = time.ticks_add(due, self.period_ms)
            late = time.ticks_diff(time.ticks_ms(), due)
            if late > 0:
                # Skip the turns that cannot be made up for.
                skipped = late // self.period_ms + 1
                self.missed += skipped
                due = time.ticks_add(due, skipped * self.period_ms)
            await asyncio.sleep_ms(time.ticks_diff(due, time.ticks_ms()))


class Scheduler:
    def __init__(self):
        self.jobs = {}

    def every(self, period_ms, name, function):
        """Add a job, or replace the one with the same name."""
        self.cancel(name)
        job = Job(name, period_ms, function)
        job.task = asyncio.create_task(job.loop())
        self.jobs[name] = job
        return job

    def cancel(self, name):
        job = self.jobs.pop(name, None)
        if job is None:
            return False
        job.task.cancel()
        return True

    def cancel_all(self):
        for name in list(self.jobs):
            self.cancel(name)

    def report(self):
        for job in self.jobs.values():
            print("  {:10s} every {:5d} ms: {} runs, {} failed, {} missed".format(
                job.name, job.period_ms, job.runs, job.failures, job.missed))


def print_memory():
    gc.collect()
    print("free memory", gc.mem_free(), "at", freq() // 1_000_000, "MHz")


async def double_flash():
    led = Pin("LED", Pin.OUT)
    for _ in range(2):
        led.on()
        await asyncio.sleep_ms(40)
        led.off()
        await asyncio.sleep_ms(120)


def make_flaky(limit):
    """A job that works a few times and then raises, to show that the others go on."""
    calls = 0

    def flaky():
        nonlocal calls
        calls += 1
        if calls > limit:
            raise RuntimeError("call number {}".format(calls))

    return flaky


async def main():
    scheduler = Scheduler()
    scheduler.every(1000, "flash", double_flash)
    scheduler.every(2500, "memory", print_memory)
    scheduler.every(700, "flaky", make_flaky(5))

    await asyncio.sleep(6)
    print("cancel the flaky job, flash faster")
    scheduler.cancel("flaky")
    scheduler.every(400, "flash", double_flash)

    await asyncio.sleep(6)
    scheduler.report()
    scheduler.cancel_all()
    await asyncio.sleep_ms(0)  # let the cancelled tasks finish


asyncio.run(main())
