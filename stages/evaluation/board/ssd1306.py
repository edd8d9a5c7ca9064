# A small display on I2C: what is drawn goes out as bytes after 0x40, commands after 0x80.

import framebuf


class SSD1306_I2C(framebuf.FrameBuffer):
    def __init__(self, width, height, i2c, addr=0x3C, external_vcc=False):
        self.width = width
        self.height = height
        self.i2c = i2c
        self.addr = addr
        self.buffer = bytearray(width * height // 8)
        super().__init__(self.buffer, width, height, framebuf.MONO_VLSB)
        self.poweron()
        self.fill(0)
        self.show()

    def write_cmd(self, command):
        self.i2c.writeto(self.addr, bytes([0x80, command]))

    def poweron(self):
        self.write_cmd(0xAF)

    def poweroff(self):
        self.write_cmd(0xAE)

    def contrast(self, contrast):
        self.write_cmd(0x81)
        self.write_cmd(contrast)

    def invert(self, invert):
        self.write_cmd(0xA6 | (invert & 1))

    def show(self):
        self.i2c.writeto(self.addr, b"\x40" + self.buffer)
