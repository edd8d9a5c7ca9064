from _hw import op as _op


class OneWireError(Exception):
    pass


class OneWire:
    SEARCH_ROM, MATCH_ROM, SKIP_ROM = 0xF0, 0x55, 0xCC

    def __init__(self, pin):
        self.pin = pin

    def scan(self):
        return [bytearray(bytes.fromhex(rom)) for rom in _op("ds18x20", "scan", self.pin._id, "").split()]

    def reset(self, required=False):
        found = bool(self.scan())
        if required and not found:
            raise OneWireError
        return found
