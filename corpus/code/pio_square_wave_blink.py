"""Exact square waves from the PIO of a Pico: a 1 Hz blink and a 2 kHz tone at once.

Wiring: LED with 330 ohm from GP15 to GND, piezo speaker from GP16 to GND.
The processor only sends a new half period when the frequency changes.
"""

import time

import rp2
from machine import Pin

LED_PIN = 15
SPEAKER_PIN = 16
STATE_MACHINE_HZ = 1_000_000
# Cycles of one half period that are not spent in the counting loop, see the program.
OVERHEAD = 5
SIREN_HZ = (500, 700, 1000, 1400, 2000)


@rp2.asm_pio(set_init=rp2.PIO.OUT_LOW)
def square_wave():
    wrap_target()
    pull(noblock)         # without new data, the value in x comes back
    mov(x, osr)           # keep it for the next turn
    set(pins, 1)
    mov(y, x) [2]         # as long as pull and mov take in the low half
    label("high")
    jmp(y_dec, "high")    # runs x + 1 times
    set(pins, 0)
    mov(y, x)
    label("low")
    jmp(y_dec, "low")
    wrap()


class SquareWave:
    """One state machine that gives a frequency on one pin, with equal halves."""

    def __init__(self, machine_id, pin_number):
        self.pin = Pin(pin_number, Pin.OUT, value=0)
        self.sm = rp2.StateMachine(
            machine_id, square_wave, freq=STATE_MACHINE_HZ, set_base=self.pin)
        self.running = False

    def frequency(self, hertz):
        """Set the frequency and return the one that was possible."""
        half = round(STATE_MACHINE_HZ / (2 * hertz))
        count = half - OVERHEAD
        if count < 0:
            raise ValueError("at most {} Hz".format(STATE_MACHINE_HZ // (2 * OVERHEAD)))
        if not self.running:
            # x must hold a count before the first pull that finds nothing.
            self.sm.restart()
            self.sm.put(count)
            self.sm.active(1)
            self.running = True
        else:
            self.sm.put(count)
        return STATE_MACHINE_HZ / (2 * half)

    def stop(self):
        self.sm.active(0)
        self.running = False
        # Stopping may happen in the high half: run one instruction by hand.
        self.sm.exec("set(pins, 0)")


def main():
    blink = SquareWave(0, LED_PIN)
    tone = SquareWave(1, SPEAKER_PIN)
    try:
        print("LED at {:.3f} Hz".format(blink.frequency(1)))
        for _ in range(3):
            for hertz in SIREN_HZ:
                actual = tone.frequency(hertz)
                print("tone {} Hz, in fact {:.2f} Hz".format(hertz, actual))
                time.sleep_ms(300)
        tone.stop()
        print("the LED goes on blinking while the program sleeps")
        time.sleep(5)
    except KeyboardInterrupt:
        pass
    finally:
        tone.stop()
        blink.stop()


main()
