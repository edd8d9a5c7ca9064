import _hw

_op = _hw.op
_MODES = {0: "in", 1: "out", 2: "open_drain", 3: "alt"}
_PULLS = {None: "none", -1: "none", 1: "up", 2: "down"}


def name_of(id):
    if isinstance(id, Pin):
        return id._id
    if isinstance(id, str):
        if id[:2] == "GP" and id[2:].isdigit():
            id = int(id[2:])
        elif id not in ("LED", "WL_GPIO0", "WL_GPIO1", "WL_GPIO2"):
            raise ValueError("unknown named pin \"" + id + "\"")
    elif not isinstance(id, int) or isinstance(id, bool):
        raise TypeError("can't convert " + type(id).__name__ + " to int")
    elif not 0 <= id <= 48:
        raise ValueError("invalid pin")
    return id


class _Irq:
    def __init__(self, pin, trigger):
        self._pin = pin
        self._trigger = trigger

    def __call__(self):
        self._pin._handler(self._pin)

    def flags(self):
        return self._trigger

    def trigger(self, trigger=None):
        return self._trigger


class Pin:
    IN, OUT, OPEN_DRAIN, ALT = 0, 1, 2, 3
    PULL_UP, PULL_DOWN = 1, 2
    IRQ_RISING, IRQ_FALLING = 1, 2
    IRQ_LOW_LEVEL, IRQ_HIGH_LEVEL = 4, 8
    DRIVE_0, DRIVE_1, DRIVE_2, DRIVE_3 = 0, 1, 2, 3
    WAKE_LOW, WAKE_HIGH = 4, 5

    def __init__(self, id, mode=-1, pull=-1, *, value=None, drive=0, alt=-1, hold=None):
        self._id = name_of(id)
        self._handler = None
        self._mode = 0
        self._pull = None
        if mode != -1 or pull != -1 or value is not None:
            self.init(mode, pull, value=value)

    def init(self, mode=-1, pull=-1, *, value=None, drive=0, alt=-1, hold=None):
        if mode is not None and mode != -1:
            if mode not in _MODES:
                raise ValueError("invalid pin mode")
            self._mode = mode
        if pull != -1:
            if pull not in _PULLS:
                raise ValueError("invalid pull mode")
            self._pull = pull
        if value is not None:
            _op("pin_preset", self._id, 1 if value else 0)
        _op("pin_mode", self._id, _MODES[self._mode], _PULLS[self._pull])
        if value is not None:
            self.value(value)

    def value(self, x=None):
        if x is None:
            return _op("pin_read", self._id)
        _op("pin_write", self._id, 1 if x else 0)

    __call__ = value

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)

    high = on
    low = off

    def toggle(self):
        self.value(1 - _op("pin_read", self._id))

    def mode(self, mode=None):
        if mode is None:
            return self._mode
        self.init(mode)

    def pull(self, pull=-1):
        if pull == -1:
            return self._pull
        self.init(-1, pull)

    def irq(self, handler=None, trigger=3, *, priority=1, wake=None, hard=False):
        if handler is not None and not callable(handler):
            raise TypeError("handler must be callable")
        self._handler = handler
        number = 0 if handler is None else _hw.handler(lambda: handler(self))
        _op("pin_irq", self._id, number, trigger)
        return _Irq(self, trigger)

    def __repr__(self):
        return "Pin(" + repr(self._id) + ")"


class _Named:
    def __init__(self, prefix):
        self._prefix = prefix

    def __getattr__(self, name):
        if name[:len(self._prefix)] == self._prefix and name[len(self._prefix):].isdigit():
            return Pin(int(name[len(self._prefix):]))
        if name == "LED":
            return Pin(name)
        raise AttributeError(name)


Pin.board, Pin.cpu = _Named("GP"), _Named("GPIO")


class Signal:
    def __init__(self, pin, *args, invert=False, **kwargs):
        self._pin = pin if isinstance(pin, Pin) else Pin(pin, *args, **kwargs)
        self._invert = invert

    def value(self, x=None):
        if x is None:
            return self._pin.value() ^ (1 if self._invert else 0)
        self._pin.value(bool(x) != bool(self._invert))

    __call__ = value

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)


def integer(value):
    if not isinstance(value, int):
        raise TypeError("can't convert " + type(value).__name__ + " to int")
    return value


class PWM:
    def __init__(self, dest, freq=None, *, duty_u16=None, duty_ns=None, duty=None, invert=False):
        if not isinstance(dest, Pin):
            dest = Pin(dest)
        self._id = dest._id
        self._freq = 0
        self._duty = 0
        self.init(freq=freq, duty_u16=duty_u16, duty_ns=duty_ns, duty=duty)

    def init(self, freq=None, *, duty_u16=None, duty_ns=None, duty=None, invert=False):
        if freq is not None:
            self._set_freq(freq)
        if duty_u16 is not None:
            self._set_duty(integer(duty_u16))
        if duty is not None:
            self._set_duty(_of_ten_bits(duty))
        if duty_ns is not None:
            self._set_ns(duty_ns)
        self._tell()

    def _set_freq(self, freq):
        if not 1 <= integer(freq) <= 62500000:
            raise ValueError("freq out of range")
        self._freq = freq

    def _set_duty(self, duty):
        if not 0 <= duty <= 65535:
            raise ValueError("duty_u16 must be from 0 to 65535")
        self._duty = duty

    def _set_ns(self, ns):
        if integer(ns) < 0 or not self._freq:
            raise ValueError("duty_ns")
        self._set_duty(min(65535, round(ns * self._freq * 65535 / 1000000000)))

    def _tell(self):
        _op("pwm", self._id, self._freq, self._duty)

    def freq(self, freq=None):
        if freq is None:
            return self._freq
        self._set_freq(freq)
        self._tell()

    def duty_u16(self, duty=None):
        if duty is None:
            return self._duty
        self._set_duty(integer(duty))
        self._tell()

    def duty(self, duty=None):
        if duty is None:
            return self._duty >> 6
        self._set_duty(_of_ten_bits(duty))
        self._tell()

    def duty_ns(self, ns=None):
        if ns is None:
            return self._duty * 1000000000 // (65535 * (self._freq or 1))
        self._set_ns(ns)
        self._tell()

    def deinit(self):
        self._duty = 0
        _op("pwm", self._id, 0, 0)


def _of_ten_bits(duty):
    if not 0 <= integer(duty) <= 1023:
        raise ValueError("duty must be between 0 and 1023")
    return duty * 65535 // 1023


class ADC:
    CORE_TEMP = 4
    ATTN_0DB, ATTN_2_5DB, ATTN_6DB, ATTN_11DB = 0, 1, 2, 3
    WIDTH_9BIT, WIDTH_10BIT, WIDTH_11BIT, WIDTH_12BIT = 9, 10, 11, 12

    def __init__(self, id, *, atten=0, sample_ns=0):
        if isinstance(id, int) and id == 4:
            self._id = "temperature"
            return
        self._id = name_of(id)
        if isinstance(id, int) and id < 4:
            self._id = 26 + id  # a channel rather than a pin
        if isinstance(self._id, str):
            raise ValueError("Pin doesn't have ADC capabilities")

    def read_u16(self):
        return _op("adc", self._id)

    def read(self):
        return _op("adc", self._id) >> 4

    def read_uv(self):
        return _op("adc", self._id) * 3300000 // 65535

    def atten(self, value):
        return None

    def width(self, value):
        return None
