import _hw
from _pins import Pin, name_of

_op = _hw.op
_SDA = (4, 6)
_SCL = (5, 7)
_SPI = ((18, 19, 16), (10, 11, 8))  # SCK, MOSI, MISO
_UART = ((0, 1), (4, 5))  # TX, RX


def _id(pin, default=None):
    return default if pin is None else name_of(pin)


def _address(address):
    if not isinstance(address, int):
        raise TypeError("can't convert " + type(address).__name__ + " to int")
    if not 0 <= address <= 127:
        raise ValueError("invalid I2C address")
    return address


class I2C:
    def __init__(self, id=0, *, scl=None, sda=None, freq=400000, timeout=50000):
        if id not in (0, 1):
            raise ValueError("I2C(" + str(id) + ") doesn't exist")
        self._bus = id
        _op("i2c_init", id, _id(sda, _SDA[id]), _id(scl, _SCL[id]), freq)

    def scan(self):
        return list(bytes.fromhex(_op("i2c_scan", self._bus)))

    def writeto(self, addr, buf, stop=True):
        _op("i2c", self._bus, _address(addr), _hw.digits(buf), 0)
        return len(buf)

    def writevto(self, addr, vector, stop=True):
        return self.writeto(addr, b"".join(bytes(part) for part in vector), stop)

    def readfrom(self, addr, nbytes, stop=True):
        return bytes.fromhex(_op("i2c", self._bus, _address(addr), "", nbytes))

    def readfrom_into(self, addr, buf, stop=True):
        buf[:] = self.readfrom(addr, len(buf))

    def _register(self, memaddr, addrsize):
        return "%02x" % memaddr if addrsize == 8 else "%04x" % memaddr

    def readfrom_mem(self, addr, memaddr, nbytes, *, addrsize=8):
        return bytes.fromhex(_op("i2c", self._bus, _address(addr), self._register(memaddr, addrsize), nbytes))

    def readfrom_mem_into(self, addr, memaddr, buf, *, addrsize=8):
        buf[:] = self.readfrom_mem(addr, memaddr, len(buf), addrsize=addrsize)

    def writeto_mem(self, addr, memaddr, buf, *, addrsize=8):
        _op("i2c", self._bus, _address(addr), self._register(memaddr, addrsize) + _hw.digits(buf), 0)

    def deinit(self):
        return None


class SoftI2C(I2C):
    def __init__(self, scl, sda, *, freq=400000, timeout=50000):
        self._bus = "soft-" + str(_id(sda)) + "-" + str(_id(scl))
        _op("i2c_init", self._bus, _id(sda), _id(scl), freq)


class SPI:
    MSB, LSB, CONTROLLER = 0, 1, 0

    def __init__(self, id, baudrate=1000000, *, polarity=0, phase=0, bits=8, firstbit=0, sck=None, mosi=None, miso=None):
        if id not in (0, 1):
            raise ValueError("SPI(" + str(id) + ") doesn't exist")
        self._start(id, baudrate, polarity, phase, *(_id(pin, usual) for pin, usual in zip((sck, mosi, miso), _SPI[id])))

    def _start(self, id, baudrate, polarity, phase, sck, mosi, miso):
        self._bus = id
        self._pins = (sck, mosi, miso)
        _op("spi_init", id, _id(sck), _id(mosi), _id(miso), baudrate, 2 * polarity + phase)

    def init(self, baudrate=1000000, *, polarity=0, phase=0, bits=8, firstbit=0, sck=None, mosi=None, miso=None):
        self._start(self._bus, baudrate, polarity, phase, *(new or old for new, old in zip((sck, mosi, miso), self._pins)))

    def write(self, buf):
        _op("spi", self._bus, _hw.digits(buf))

    def read(self, nbytes, write=0):
        return bytes.fromhex(_op("spi", self._bus, _hw.digits(bytes([write]) * nbytes)))

    def readinto(self, buf, write=0):
        buf[:] = self.read(len(buf), write)

    def write_readinto(self, write_buf, read_buf):
        if len(write_buf) != len(read_buf):
            raise ValueError("buffers must be the same length")
        read_buf[:] = bytes.fromhex(_op("spi", self._bus, _hw.digits(write_buf)))

    def deinit(self):
        return None


class SoftSPI(SPI):
    def __init__(self, baudrate=500000, *, polarity=0, phase=0, bits=8, firstbit=0, sck=None, mosi=None, miso=None):
        self._start("soft-" + str(_id(sck)), baudrate, polarity, phase, sck, mosi, miso)


class UART:
    RTS, CTS, IRQ_RXIDLE, IRQ_RX, INV_TX, INV_RX = 1, 2, 64, 1, 1, 2

    def __init__(self, id, baudrate=115200, *args, **kwargs):
        if id not in (0, 1):
            raise ValueError("UART(" + str(id) + ") doesn't exist")
        self._uart = id
        self._handler = 0
        self._tx, self._rx = _UART[id]
        self._timeout = 0
        self._baudrate = baudrate
        self.init(baudrate, *args, **kwargs)

    def init(self, baudrate=None, bits=8, parity=None, stop=1, *, tx=None, rx=None, timeout=None, timeout_char=0, txbuf=256, rxbuf=256, rts=None, cts=None, flow=0, invert=0):
        self._baudrate = self._baudrate if baudrate is None else baudrate
        self._tx = self._tx if tx is None else _id(tx)
        self._rx = self._rx if rx is None else _id(rx)
        self._timeout = self._timeout if timeout is None else timeout
        self._tell()

    def _tell(self):
        _op("uart_init", self._uart, self._baudrate, self._tx, self._rx, self._handler)

    def irq(self, handler=None, trigger=64, hard=False):
        self._handler = 0 if handler is None else _hw.handler(lambda: handler(self))
        self._tell()

    def any(self):
        return _op("uart_any", self._uart)

    def _wait(self, enough):
        end = _hw.now() + 1000 * self._timeout
        while not enough() and _hw.now() < end:
            _hw.until(min(end, _hw.now() + 1000))

    def _take(self, count):
        return bytes.fromhex(_op("uart_read", self._uart, count)) or None

    def read(self, nbytes=None):
        self._wait(lambda: self.any() >= (1 if nbytes is None else nbytes))
        return self._take(self.any() if nbytes is None else nbytes)

    def readinto(self, buf, nbytes=None):
        found = self.read(len(buf) if nbytes is None else nbytes)
        if found is None:
            return None
        buf[: len(found)] = found
        return len(found)

    def readline(self):
        line = b""
        end = _hw.now() + 1000 * self._timeout
        while not line.endswith(b"\n"):
            found = self._take(1)
            if found is not None:
                line += found
            elif _hw.now() >= end:
                break
            else:
                _hw.until(_hw.now() + 1000)
        return line or None

    def write(self, buf):
        _op("uart_write", self._uart, _hw.digits(buf))
        return len(buf.encode() if isinstance(buf, str) else buf)

    def ioctl(self, request, arg):
        return arg

    def flush(self):
        return None

    def txdone(self):
        return True

    def sendbreak(self):
        return None

    def deinit(self):
        self.irq(None)
