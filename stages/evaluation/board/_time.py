import time as _real

from _hw import now as _now
from _hw import op as _op
from _hw import seconds as _seconds
from _hw import until as _until

_WRAP = 1 << 30
ticks_diff = _real.ticks_diff
ticks_add = _real.ticks_add


def _wait(us):
    if us > 0:
        _until(_now() + us)


def sleep(seconds):
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    _wait(seconds * 1e6)


def sleep_ms(ms):
    if not isinstance(ms, int):
        raise TypeError("can't convert " + type(ms).__name__ + " to int")
    _wait(ms * 1e3)


def sleep_us(us):
    if not isinstance(us, int):
        raise TypeError("can't convert " + type(us).__name__ + " to int")
    _wait(us)


def ticks_ms():
    return int(_op("ticks", 1000, float(_WRAP)))


def ticks_us():
    return int(_op("ticks", 1, float(_WRAP)))


def ticks_cpu():
    return ticks_us()


def time():
    return _seconds()


def time_ns():
    return _seconds() * 1000000000 + int(_now()) % 1000000 * 1000


def gmtime(seconds=None):
    return _real.gmtime(time() if seconds is None else int(seconds))


def localtime(seconds=None):
    return gmtime(seconds)


def mktime(fields):
    return _real.mktime(fields)
