# The way to the simulated board. One function, `op`, asks for an operation; interrupts are served between operations.

import sys

import _board

_TYPES = {"OSError": OSError, "ValueError": ValueError}
_handlers = {}
_later = []


def op(*args):
    found = _board(*args)
    while found is True:
        serve()
        found = _board(*args)
    if type(found) is str and found[:1] == "!":
        kind, _, message = found[1:].partition(":")
        raise _TYPES[kind](int(message) if message.isdigit() else message)
    return found


def op_once(*args):
    # without serving interrupts: true where one is due
    return _board(*args)


def serve():
    number = _board("interrupt")
    if not number:
        return
    try:
        call(_handlers[number])
        while _later:
            function, arg = _later.pop(0)
            call(lambda: function(arg))
    finally:
        _board("served")


def call(function):
    # an error in a handler is printed and the program goes on, as on a board
    try:
        function()
    except Exception as error:
        print("uncaught exception in interrupt handler")
        sys.print_exception(error)
        _board("error", repr(error))


def handler(function):
    if function is None:
        return 0
    number = len(_handlers) + 1
    _handlers[number] = function
    return number


def serving():
    return _board("interrupt_active") == 1


def schedule(function, arg):
    if serving():
        if len(_later) >= 8:
            raise RuntimeError("schedule queue full")
        _later.append((function, arg))
    else:
        call(lambda: function(arg))


def now():
    return _board("now")


_shift = [0]  # what setting the clock has added to it


def seconds():
    # of the calendar, since 1970
    return int(_board("epoch") + _shift[0] + now() // 1000000)


def set_seconds(t):
    _shift[0] += t - seconds()


def until(t):
    op("until", float(t))


def unsupported(what):
    _board("unsupported", what)
    raise NotImplementedError(what + " is not simulated")


def digits(data):
    # bytes, a buffer or text as hexadecimal digits
    if isinstance(data, str):
        data = data.encode()
    return bytes(memoryview(data)).hex()
