from _hw import digits as _digits
from _hw import op as _op


class NeoPixel:
    # colours are logged as the program gave them: red, green, blue(, white)

    def __init__(self, pin, n, bpp=3, timing=1):
        self.pin = pin
        self.n = n
        self.bpp = bpp
        self._data = bytearray(n * bpp)

    def __len__(self):
        return self.n

    def __setitem__(self, index, colour):
        if index < 0:
            index += self.n
        if not 0 <= index < self.n:
            raise IndexError("bytearray index out of range")
        for place in range(self.bpp):
            if not 0 <= colour[place] <= 255:
                raise ValueError("a colour is 0 to 255")
            self._data[index * self.bpp + place] = colour[place]

    def __getitem__(self, index):
        if index < 0:
            index += self.n
        if not 0 <= index < self.n:
            raise IndexError("bytearray index out of range")
        return tuple(self._data[index * self.bpp : (index + 1) * self.bpp])

    def fill(self, colour):
        for index in range(self.n):
            self[index] = colour

    def write(self):
        _op("neopixel", self.pin._id, _digits(self._data), self.bpp)
