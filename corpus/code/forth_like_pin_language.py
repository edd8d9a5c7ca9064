"""A small stack language, like Forth, to try out pins and sums at the console.

Any board. Example: `: flash 2 out 5 times 2 1 set 100 ms 2 0 set 100 ms next ;` and then `flash`.
There is also `if ... then`; `words` lists all other words, `bye` ends.
"""
import time
from machine import ADC, Pin


class ForthError(Exception):
    pass


class Machine:
    def __init__(self):
        self.stack = []
        self.user = {}
        self.pins = {}
        self.words = {
            "+": lambda: self.two(lambda a, b: a + b),
            "-": lambda: self.two(lambda a, b: a - b),
            "*": lambda: self.two(lambda a, b: a * b),
            "/": lambda: self.two(lambda a, b: a // b),
            "mod": lambda: self.two(lambda a, b: a % b),
            "<": lambda: self.two(lambda a, b: int(a < b)),
            "=": lambda: self.two(lambda a, b: int(a == b)),
            "dup": lambda: self.push(self.top()),
            "drop": self.pop,
            "swap": self.swap,
            ".": lambda: print(self.pop(), end=" "),
            ".s": lambda: print(self.stack),
            "ms": lambda: time.sleep_ms(self.pop()),
            "in": self.make_input,
            "out": lambda: self.pin(self.pop(), Pin.OUT),
            "set": self.set_pin,
            "get": lambda: self.push(self.pin(self.pop()).value()),
            "adc": lambda: self.push(ADC(Pin(self.pop())).read_u16()),
            "words": lambda: print(" ".join(sorted(list(self.words) + list(self.user)))),
        }

    def push(self, value):
        if len(self.stack) >= 64:
            raise ForthError("stack full")
        self.stack.append(value)

    def pop(self):
        if not self.stack:
            raise ForthError("stack empty")
        return self.stack.pop()

    def top(self):
        value = self.pop()
        self.stack.append(value)
        return value

    def two(self, function):
        b, a = self.pop(), self.pop()
        self.push(function(a, b))

    def swap(self):
        b, a = self.pop(), self.pop()
        self.stack += (b, a)

    def pin(self, number, mode=None):
        if mode is not None:
            self.pins[number] = Pin(number, mode)
        if number not in self.pins:
            raise ForthError("pin %d is neither in nor out" % number)
        return self.pins[number]

    def make_input(self):
        number = self.pop()
        self.pins[number] = Pin(number, Pin.IN, Pin.PULL_UP)

    def set_pin(self):
        level, number = self.pop(), self.pop()
        self.pin(number).value(level)

    # The language

    def matching(self, tokens, start, opener, closer):
        """Index of the word that closes the block which begins before start."""
        depth = 1
        for at in range(start, len(tokens)):
            if tokens[at] == opener:
                depth += 1
            elif tokens[at] == closer:
                depth -= 1
                if depth == 0:
                    return at
        raise ForthError("%s without %s" % (opener, closer))

    def run(self, tokens, depth=0):
        if depth > 12:
            raise ForthError("too deep")
        at = 0
        while at < len(tokens):
            token = tokens[at]
            at += 1
            if token == ":":
                end = self.matching(tokens, at, ":", ";")
                if end == at:
                    raise ForthError("a name is missing")
                self.user[tokens[at]] = tokens[at + 1:end]
                at = end + 1
            elif token == "times":
                end = self.matching(tokens, at, "times", "next")
                for _ in range(self.pop()):
                    self.run(tokens[at:end], depth + 1)
                at = end + 1
            elif token == "if":
                end = self.matching(tokens, at, "if", "then")
                if self.pop():
                    self.run(tokens[at:end], depth + 1)
                at = end + 1
            elif token in self.user:  # own words first, so that they can replace others
                self.run(self.user[token], depth + 1)
            elif token in self.words:
                self.words[token]()
            else:
                try:
                    self.push(int(token))
                except ValueError:
                    raise ForthError("what is %s?" % token)


def self_test():
    machine = Machine()
    machine.run(": square dup * ; : cube dup square * ; 3 cube 7 square - 0 5 times 2 + next".split())
    assert machine.stack == [-22, 10], machine.stack


def main():
    self_test()
    machine = Machine()
    while True:
        line = input("ok ")
        if line.strip() == "bye":
            return
        try:
            machine.run(line.split())
        except (ForthError, ValueError, ZeroDivisionError) as error:
            print("!", error)
            machine.stack.clear()
        except KeyboardInterrupt:
            print("! interrupted")


main()
