# The stand-in for `machine`, near the Raspberry Pi Pico's, with what programs for the ESP32 use besides.

import _hw
from _busses import I2C, SPI, UART, SoftI2C, SoftSPI
from _pins import ADC, PWM, Pin, Signal, integer
from time import gmtime as _gmtime
from time import mktime as _mktime

_op = _hw.op
PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 2, 3, 4, 5
IDLE, SLEEP, DEEPSLEEP = 1, 2, 4
_frequency = [125000000]


class Timer:
    ONE_SHOT, PERIODIC = 0, 1
    _made = [0]

    def __init__(self, id=-1, **kwargs):
        self._id = id
        if id == -1:
            Timer._made[0] += 1
            self._id = "soft-" + str(Timer._made[0])
        if kwargs:
            self.init(**kwargs)

    def init(self, *, mode=1, freq=-1, period=-1, callback=None, tick_hz=1000, hard=False):
        if callback is not None and not callable(callback):
            raise TypeError("callback must be callable")
        us = 1e6 / freq if freq != -1 else period * 1e6 / tick_hz
        if us <= 0:
            raise ValueError("period must be positive")
        number = _hw.handler((lambda: callback(self)) if callback is not None else (lambda: None))
        _op("timer", self._id, number, float(us), mode == 1)

    def deinit(self):
        _op("timer", self._id, 0, 0.0, False)


class RTC:
    ALARM0 = 0
    _kept = [b""]

    def __init__(self, id=0):
        pass

    def datetime(self, fields=None):
        if fields is None:
            t = _gmtime(_hw.seconds())
            return (t[0], t[1], t[2], t[6], t[3], t[4], t[5], 0)
        if len(fields) != 8:
            raise ValueError("requested length 8 but object has length " + str(len(fields)))
        y, mo, d, _, h, mi, s, _ = fields
        _hw.set_seconds(_mktime((y, mo, d, h, mi, s, 0, 0)))

    def init(self, fields):
        self.datetime(fields)

    def memory(self, data=None):
        if data is None:
            return RTC._kept[0]
        RTC._kept[0] = bytes(data)


class WDT:
    def __init__(self, id=0, timeout=5000):
        if not 1 <= timeout <= 8388:
            raise ValueError("timeout exceeds 8388")
        self._us = timeout * 1000
        self.feed()

    def feed(self):
        _op("watchdog", self._us)


class _Memory:
    def __init__(self, name):
        self._name = name

    def __getitem__(self, address):
        _hw.unsupported(self._name)

    def __setitem__(self, address, value):
        _hw.unsupported(self._name)


mem8, mem16, mem32 = _Memory("mem8"), _Memory("mem16"), _Memory("mem32")


def __getattr__(name):
    if name in ("I2S", "DAC", "TouchPad", "SDCard", "CAN", "I2CTarget", "USBDevice"):
        _hw.unsupported("machine." + name)
    raise AttributeError("module 'machine' has no attribute '" + name + "'")


def freq(hz=None):
    if hz is None:
        return _frequency[0]
    _frequency[0] = integer(hz)


def unique_id():
    return b"\xe6\x61\x64\x08\x43\x2b\x1c\x2f"


def reset():
    _op("reset", "reset")


def soft_reset():
    _op("reset", "soft reset")


def bootloader(timeout_ms=0):
    _op("reset", "bootloader")


def deepsleep(ms=None):
    _op("reset", "deep sleep" if ms is None else "deep sleep for " + str(ms) + " ms")


def lightsleep(ms=None):
    _hw.until(_hw.now() + (1000 * ms if ms is not None else 1e15))


def idle():
    _op("tick")


def reset_cause():
    return PWRON_RESET


def wake_reason():
    return 0


def disable_irq():
    return _op("enable", False)


def enable_irq(state=1):
    _op("enable", bool(state))


def time_pulse_us(pin, pulse_level, timeout_us=1000000):
    return _op("pulse", pin._id, pulse_level, timeout_us)


def bitstream(pin, encoding, timing, data):
    _hw.unsupported("bitstream")
