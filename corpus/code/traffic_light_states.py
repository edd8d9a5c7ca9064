"""Traffic light with a pedestrian crossing, driven by a state table.

Wiring (pyboard): car red X1, yellow X2, green X3; walk red X4, walk green X5, each
through 330 ohm to GND; request button between X6 and GND.
"""

import time
from machine import Pin

CAR_PINS = ("X1", "X2", "X3")
WALK_PINS = ("X4", "X5")
BUTTON_PIN = "X6"
TICK_MS = 20
MIN_GREEN_MS = 6000

# Each state: the five lamps (red, yellow, green, don't walk, walk), how long it lasts
# in milliseconds, and the state that follows. None means: stay until somebody asks.
STATES = {
    "cars go": ((0, 0, 1, 1, 0), None, "cars slow"),
    "cars slow": ((0, 1, 0, 1, 0), 3000, "all stop"),
    "all stop": ((1, 0, 0, 1, 0), 1500, "walk"),
    "walk": ((1, 0, 0, 0, 1), 7000, "hurry"),
    "hurry": ((1, 0, 0, 0, 1), 3000, "clear"),
    "clear": ((1, 0, 0, 1, 0), 2000, "get ready"),
    "get ready": ((1, 1, 0, 1, 0), 1200, "cars go"),
}


class Crossing:
    def __init__(self):
        self.lamps = [Pin(name, Pin.OUT, value=0) for name in CAR_PINS + WALK_PINS]
        self.button = Pin(BUTTON_PIN, Pin.IN, Pin.PULL_UP)
        self.requested = False
        self.enter("clear")

    def enter(self, state):
        self.state = state
        self.since = time.ticks_ms()
        self.show(STATES[state][0])
        print("state:", state)

    def show(self, levels):
        for lamp, level in zip(self.lamps, levels):
            lamp.value(level)

    def age(self):
        """Milliseconds since the current state began."""
        return time.ticks_diff(time.ticks_ms(), self.since)

    def update(self):
        """Run one tick: read the button, then let the state table decide."""
        if self.button.value() == 0 and self.state not in ("walk", "hurry"):
            if not self.requested:
                print("request noted")
            self.requested = True

        _, duration, following = STATES[self.state]
        if duration is None:
            # Cars keep a minimum of green however often the button is pressed.
            if self.requested and self.age() >= MIN_GREEN_MS:
                self.enter(following)
        elif self.age() >= duration:
            if following == "walk":
                self.requested = False
            self.enter(following)

        if self.state == "hurry":
            self.lamps[-1].value(self.age() // 250 % 2)

    def fail_safe(self):
        """Everything red: the only safe picture when the program ends."""
        self.show((1, 0, 0, 1, 0))


def main():
    crossing = Crossing()
    try:
        while True:
            crossing.update()
            time.sleep_ms(TICK_MS)
    finally:
        crossing.fail_safe()


main()
