"""Send text typed at the serial prompt as Morse code with the LED and a buzzer.

Wiring (ESP8266 NodeMCU): on-board LED on GPIO2 (active low), active buzzer on D1 (GPIO5).
Commands: "/wpm 15" changes the speed, "/quit" ends.
"""

import time
from machine import Pin, Signal
from micropython import const

LED_PIN = const(2)
BUZZER_PIN = const(5)
DEFAULT_WPM = const(12)
WPM_MIN, WPM_MAX = const(5), const(30)

CODE = {
    "A": ".-", "B": "-...", "C": "-.-.", "D": "-..", "E": ".", "F": "..-.",
    "G": "--.", "H": "....", "I": "..", "J": ".---", "K": "-.-", "L": ".-..",
    "M": "--", "N": "-.", "O": "---", "P": ".--.", "Q": "--.-", "R": ".-.",
    "S": "...", "T": "-", "U": "..-", "V": "...-", "W": ".--", "X": "-..-",
    "Y": "-.--", "Z": "--..",
    "0": "-----", "1": ".----", "2": "..---", "3": "...--", "4": "....-",
    "5": ".....", "6": "-....", "7": "--...", "8": "---..", "9": "----.",
    ".": ".-.-.-", ",": "--..--", "?": "..--..", "/": "-..-.", "=": "-...-",
    "-": "-....-", "+": ".-.-.", ":": "---...", "@": ".--.-.",
}


class MorseSender:
    """Key a list of outputs with the timing of Morse code.

    A dash lasts three dots, the gap inside a letter one dot, between letters
    three and between words seven.
    """

    def __init__(self, outputs, wpm):
        self._outputs = outputs
        self.set_speed(wpm)

    def set_speed(self, wpm):
        """Set words per minute; the standard word PARIS is 50 dots long."""
        if not WPM_MIN <= wpm <= WPM_MAX:
            raise ValueError("speed must be {}..{} wpm".format(WPM_MIN, WPM_MAX))
        self.wpm = wpm
        self.dot_ms = 60_000 // (50 * wpm)

    def _key(self, on):
        for output in self._outputs:
            output.value(on)

    def _send_symbol(self, symbol):
        self._key(1)
        time.sleep_ms(self.dot_ms * (3 if symbol == "-" else 1))
        self._key(0)
        time.sleep_ms(self.dot_ms)

    def send(self, text):
        """Send text, skipping characters that have no code; return the symbols sent."""
        words = []
        try:
            for word in text.upper().split():
                letters = [CODE[c] for c in word if c in CODE]
                for letter in letters:
                    for symbol in letter:
                        self._send_symbol(symbol)
                    # One dot of silence already followed the last symbol.
                    time.sleep_ms(2 * self.dot_ms)
                time.sleep_ms(4 * self.dot_ms)
                words.append(" ".join(letters))
        finally:
            self._key(0)
        return " / ".join(words)


def run_command(sender, line):
    """Handle a line that starts with a slash; return False to leave the program."""
    parts = line.split()
    if parts[0] == "/quit":
        return False
    if parts[0] == "/wpm" and len(parts) == 2:
        try:
            sender.set_speed(int(parts[1]))
            print("speed", sender.wpm, "wpm, dot", sender.dot_ms, "ms")
        except ValueError as error:
            print("not changed:", error)
    else:
        print("commands: /wpm N, /quit")
    return True


def main():
    # Signal hides that the LED lights at level 0 and the buzzer sounds at level 1.
    led = Signal(Pin(LED_PIN, Pin.OUT, value=1), invert=True)
    buzzer = Signal(Pin(BUZZER_PIN, Pin.OUT, value=0))
    sender = MorseSender((led, buzzer), DEFAULT_WPM)
    print("type a text and press Enter")
    running = True
    while running:
        try:
            line = input("> ").strip()
            if line.startswith("/"):
                running = run_command(sender, line)
            elif line:
                print(sender.send(line))
        except (KeyboardInterrupt, EOFError):
            running = False
    print("73")


main()
