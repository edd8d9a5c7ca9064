# Imported once, before the memory is remembered: puts the stand-ins where programs look for them.

import builtins
import collections
import sys

import _board
import _hw

for _names, _own in (
    (("time", "utime"), "_time"),
    (("micropython",), "_micropython"),
    (("machine", "umachine"), "machine"),
):
    _found = __import__(_own)
    for _name in _names:
        sys.modules[_name] = _found
_found = __import__("_aio")
sys.modules["asyncio"] = sys.modules["uasyncio"] = _found
for _name in ("network", "neopixel", "dht", "onewire", "ds18x20", "rp2", "ssd1306", "_thread"):
    __import__(_name)
_found = __import__("_refused")
for _name in ("socket", "usocket", "ssl", "urequests", "requests", "umqtt", "umqtt.simple", "umqtt.robust", "bluetooth", "ubluetooth", "ntptime"):
    sys.modules[_name] = _found
_found.simple = _found.robust = _found
for _name in ("json", "random", "struct", "os", "sys", "re", "collections", "errno", "binascii", "io", "hashlib", "heapq", "select"):
    sys.modules["u" + _name] = __import__(_name)
for _name in ("_time", "_aio", "_micropython", "_refused", "_boot", "js", "jsffi", "_asyncio"):
    if _name in sys.modules:
        del sys.modules[_name]


def _uname():
    fields = ("sysname", "nodename", "release", "version", "machine")
    return collections.namedtuple("uname_result", fields)("rp2", "rp2", "1.27.0", "v1.27.0", "simulated board with RP2040")


import os

def _urandom(count):
    import random

    return bytes(random.getrandbits(8) for _ in range(count))


os.uname = _uname
os.urandom = _urandom
os.sync = lambda: None


def _input(prompt=""):
    print(prompt, end="")
    line = sys.stdin.readline().rstrip("\r\n")
    print(line)  # a terminal echoes what is typed
    return line


def _tick():
    while _board("tick"):
        _hw.serve()
    return True


def _same(function):
    return function


def _value(function):
    try:
        _hw.op("value", repr(function()), False)
    except Exception as error:
        _hw.op("value", type(error).__name__, True)


def _run_out():
    while _hw.op("armed"):
        _hw.until(_hw.now() + 1000000)


builtins.input = _input
builtins.__tick__ = _tick
builtins.__same__ = _same
builtins.__value__ = _value
builtins.__run_out__ = _run_out
builtins.ptr8 = builtins.ptr16 = builtins.ptr32 = _same
