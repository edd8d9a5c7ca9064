# The programmable state machines are not simulated: a program that needs them ends with an error that is counted.

from _hw import unsupported as _unsupported


class PIO:
    IN_LOW, IN_HIGH, OUT_LOW, OUT_HIGH = 0, 1, 2, 3
    SHIFT_LEFT, SHIFT_RIGHT = 0, 1
    JOIN_NONE, JOIN_TX, JOIN_RX = 0, 1, 2
    IRQ_SM0 = 256

    def __init__(self, id):
        _unsupported("rp2.PIO")


def asm_pio(**kwargs):
    return lambda function: function


def StateMachine(*args, **kwargs):
    _unsupported("rp2.StateMachine")


def bootsel_button():
    return 0


def country(code=None):
    return code
