"""Stopwatch with laps: short press starts or takes a lap, long press stops, then resets.

Wiring (pyboard): nothing needed, the program uses the USR switch and the on-board LEDs.
"""

import time

import pyb

LONG_MS = 700
DEBOUNCE_MS = 30
POLL_MS = 5

RED, GREEN, BLUE = 1, 2, 4


def clock(ms):
    """Format milliseconds as minutes:seconds.hundredths."""
    return "{:02d}:{:02d}.{:02d}".format(ms // 60000, ms // 1000 % 60, ms // 10 % 100)


class Stopwatch:
    """Adds up running time, so that pauses do not count."""

    def __init__(self):
        self.reset()

    def reset(self):
        self._before = 0
        self._started = None
        self.laps = []

    @property
    def running(self):
        return self._started is not None

    def start(self):
        if not self.running:
            self._started = time.ticks_ms()

    def stop(self):
        self._before = self.elapsed()
        self._started = None

    def elapsed(self):
        if not self.running:
            return self._before
        return self._before + time.ticks_diff(time.ticks_ms(), self._started)

    def lap(self):
        """Store and return the time since the previous lap."""
        lap = self.elapsed() - sum(self.laps)
        self.laps.append(lap)
        return lap


class Press:
    """Turn a contact into "short" and "long" presses without blocking."""

    def __init__(self, is_closed):
        self._is_closed = is_closed
        self._since = None
        self._long_sent = False

    def poll(self):
        closed = self._is_closed()
        now = time.ticks_ms()
        if closed and self._since is None:
            self._since = now
            self._long_sent = False
        elif closed:
            # Report the long press while the finger is still down: better feedback.
            if not self._long_sent and time.ticks_diff(now, self._since) >= LONG_MS:
                self._long_sent = True
                return "long"
        elif self._since is not None:
            held = time.ticks_diff(now, self._since)
            self._since = None
            if held >= DEBOUNCE_MS and not self._long_sent:
                return "short"
        return None


def summary(watch):
    """Print all laps with the best one marked."""
    best = min(watch.laps) if watch.laps else None
    for number, lap in enumerate(watch.laps, 1):
        print("lap {:2d}  {} {}".format(number, clock(lap), "best" if lap == best else ""))
    print("total  ", clock(watch.elapsed()))


def handle(watch, event):
    if event == "short":
        if watch.running:
            print("lap", len(watch.laps) + 1, clock(watch.lap()))
            pyb.LED(BLUE).toggle()
        else:
            watch.start()
            print("running")
    elif watch.running:
        watch.stop()
        summary(watch)
    else:
        watch.reset()
        print("reset")


def main():
    watch = Stopwatch()
    button = Press(pyb.Switch().value)
    green, red = pyb.LED(GREEN), pyb.LED(RED)
    try:
        while True:
            event = button.poll()
            if event:
                handle(watch, event)
            if watch.running:
                red.off()
                # Flash for the first tenth of every second.
                (green.on if watch.elapsed() % 1000 < 100 else green.off)()
            else:
                green.off()
                red.on()
            time.sleep_ms(POLL_MS)
    finally:
        for number in (RED, GREEN, BLUE):
            pyb.LED(number).off()


main()
