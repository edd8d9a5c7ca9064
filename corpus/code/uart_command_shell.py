"""A small command shell on a serial port, with a table of handlers.

Wiring (Raspberry Pi Pico): a USB serial adapter's RX to GP0, its TX to GP1, common ground.
Open it with a terminal at 115200 baud and type help.
"""
import gc
import time
import machine
from machine import ADC, PWM, UART, Pin

PROMPT = "pico> "
MAX_LINE = 80
FREE_PINS = (2, 22)  # leaves the serial port and the board's own pins alone

uart = UART(0, baudrate=115200, tx=Pin(0), rx=Pin(1))
led = Pin("LED", Pin.OUT)
started = time.time()


class CommandError(Exception):
    """A message for the person at the terminal."""


def say(text):
    uart.write(text + "\r\n")


def number(text, low, high):
    try:
        value = int(text, 0)  # also accepts 0x10
    except ValueError:
        raise CommandError("not a number: " + text) from None
    if not low <= value <= high:
        raise CommandError("allowed are %d to %d" % (low, high))
    return value


def do_help(args):
    for name in sorted(COMMANDS):
        _, usage, text = COMMANDS[name]
        say("%-26s%s" % (name + " " + usage, text))


def do_led(args):
    if args[0] not in ("on", "off", "toggle"):
        raise CommandError("say on, off or toggle")
    getattr(led, args[0])()


def do_read(args):
    pin = Pin(number(args[0], *FREE_PINS), Pin.IN, Pin.PULL_UP)
    say(str(pin.value()))


def do_write(args):
    Pin(number(args[0], *FREE_PINS), Pin.OUT, value=number(args[1], 0, 1))


def do_pwm(args):
    pin = number(args[0], *FREE_PINS)
    duty = number(args[1], 0, 100) * 65535 // 100
    PWM(Pin(pin), freq=1000, duty_u16=duty)


def do_adc(args):
    channel = number(args[0], 0, 2)
    say("%.3f V" % (ADC(26 + channel).read_u16() * 3.3 / 65535))


def do_info(args):
    gc.collect()
    say("free memory %d bytes" % gc.mem_free())
    say("clock       %d MHz" % (machine.freq() // 1_000_000))
    say("running for %d s" % (time.time() - started))


def do_reset(args):
    say("bye")
    uart.flush()
    machine.reset()


# name: (handler, usage, help); the words of the usage are the required arguments
COMMANDS = {
    "help": (do_help, "", "this list"),
    "led": (do_led, "on|off|toggle", "switch the board's LED"),
    "read": (do_read, "PIN", "read a pin with pull-up"),
    "write": (do_write, "PIN 0|1", "drive a pin"),
    "pwm": (do_pwm, "PIN PERCENT", "dim a pin"),
    "adc": (do_adc, "CHANNEL", "measure a voltage"),
    "info": (do_info, "", "memory, clock, uptime"),
    "reset": (do_reset, "", "restart the board"),
}


def execute(line):
    words = line.split()
    if not words:
        return
    if words[0] not in COMMANDS:
        raise CommandError("unknown command, try help")
    handler, usage, _ = COMMANDS[words[0]]
    if len(words) - 1 != len(usage.split()):
        raise CommandError("usage: %s %s" % (words[0], usage))
    handler(words[1:])


def run():
    line = ""
    uart.write("\r\nReady.\r\n" + PROMPT)
    while True:
        for code in uart.read() or b"":
            if code in (8, 127) and line:
                line = line[:-1]
                uart.write("\b \b")
            elif code == 13:  # terminals end a line with a carriage return
                say("")
                try:
                    execute(line)
                except (CommandError, ValueError, OSError) as error:
                    say("error: %s" % error)
                line = ""
                uart.write(PROMPT)
            elif 32 <= code < 127 and len(line) < MAX_LINE:
                line += chr(code)
                uart.write(chr(code))
        time.sleep_ms(5)


run()
