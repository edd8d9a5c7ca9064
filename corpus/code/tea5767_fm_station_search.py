"""FM radio with a TEA5767: find the stations of the area, then step through them with a button.

Wiring (Raspberry Pi Pico): SDA GP8, SCL GP9, VCC 5 V with level-safe pull-ups to 3V3, an
antenna wire of 75 cm; button from GP10 to GND.
"""
import time
from machine import I2C, Pin

TEA5767 = 0x60
INTERMEDIATE_HZ = 225_000
CRYSTAL_HZ = 32_768
BAND_KHZ = (87_500, 108_000)
STEP_KHZ = 100


class Radio:
    def __init__(self, i2c):
        self.i2c = i2c
        self.khz = BAND_KHZ[0]
        self.muted = False

    @staticmethod
    def divider(khz):
        """PLL word for high-side injection: the oscillator runs above the station."""
        return 4 * (khz * 1000 + INTERMEDIATE_HZ) // CRYSTAL_HZ

    def tune(self, khz):
        self.khz = khz
        self._write()

    def mute(self, on):
        self.muted = on
        self._write()

    def _write(self):
        word = self.divider(self.khz)
        self.i2c.writeto(TEA5767, bytes((
            (0x80 if self.muted else 0) | word >> 8,
            word & 0xFF,
            0x10,  # high-side injection, stereo allowed
            0x12,  # 32.768 kHz crystal, noise cancelling
            0x40,  # de-emphasis 75 us; 0x00 is the 50 us of Europe
        )))

    def status(self):
        """Return (level from 0 to 15, stereo, intermediate frequency counter)."""
        data = self.i2c.readfrom(TEA5767, 5)
        return data[3] >> 4, bool(data[2] & 0x80), data[2] & 0x7F

    def is_station(self):
        level, _, counter = self.status()
        # The counter must lie near its middle, else we hear the neighbour's edge.
        return level >= 7 and 0x31 <= counter <= 0x3E


def search(radio):
    """Look at every channel; where several in a row answer, keep the strongest of them."""
    stations = []
    group = []
    radio.mute(True)
    for khz in range(BAND_KHZ[0], BAND_KHZ[1] + 1, STEP_KHZ):
        radio.tune(khz)
        time.sleep_ms(40)
        if radio.is_station():
            group.append((radio.status()[0], khz))
        elif group:
            stations.append(max(group)[1])
            group = []
    if group:
        stations.append(max(group)[1])
    radio.mute(False)
    return stations


def pressed(button):
    """True once for each press that lasts longer than the contacts bounce."""
    if button.value():
        return False
    time.sleep_ms(30)
    if button.value():
        return False
    while not button.value():
        time.sleep_ms(10)
    return True


def main():
    radio = Radio(I2C(0, sda=Pin(8), scl=Pin(9), freq=100_000))
    button = Pin(10, Pin.IN, Pin.PULL_UP)
    print("searching ...")
    stations = search(radio)
    if not stations:
        print("nothing found: is the antenna connected?")
        return
    for number, khz in enumerate(stations):
        print("%2d  %5.1f MHz" % (number, khz / 1000))
    current = 0
    radio.tune(stations[current])
    while True:
        if pressed(button):
            current = (current + 1) % len(stations)
            radio.tune(stations[current])
            time.sleep_ms(60)
            level, stereo, _ = radio.status()
            print("%5.1f MHz, level %d, %s" % (
                stations[current] / 1000, level, "stereo" if stereo else "mono"))
        time.sleep_ms(10)


main()
