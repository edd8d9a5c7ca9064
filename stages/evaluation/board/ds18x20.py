from _hw import op as _op


class DS18X20:
    def __init__(self, onewire):
        self.ow = onewire

    def scan(self):
        return [rom for rom in self.ow.scan() if rom[0] in (0x10, 0x22, 0x28)]

    def convert_temp(self):
        _op("ds18x20", "convert", self.ow.pin._id, "")

    def read_temp(self, rom):
        return float(_op("ds18x20", "read", self.ow.pin._id, bytes(rom).hex()))
