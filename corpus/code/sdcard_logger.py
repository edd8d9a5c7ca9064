"""Log temperatures to an SD card, or to the internal flash when there is no card.

Wiring (Raspberry Pi Pico): SCK to GP10, MOSI to GP11, MISO to GP12, CS to GP13, 3V3, GND.
Needs the sdcard module on the board: mpremote mip install sdcard
"""
import os
import time
from machine import ADC, SPI, Pin

MOUNT_POINT = "/sd"
FILE_NAME = "log.csv"
INTERVAL_MS = 5000
FLUSH_EVERY = 6  # lines; a sudden power loss costs at most this many
FLASH_LIMIT = 64 * 1024  # the internal flash is small and also holds the programs
KEEP_FREE = 256 * 1024


def mount_card():
    """Mount the card and return True, or say why that is impossible and return False."""
    try:
        import sdcard
    except ImportError:
        print("sdcard module missing")
        return False
    spi = SPI(1, baudrate=1_000_000, sck=Pin(10), mosi=Pin(11), miso=Pin(12))
    try:
        card = sdcard.SDCard(spi, Pin(13, Pin.OUT, value=1))
        os.mount(card, MOUNT_POINT)
    except OSError as error:
        # No card, a bad contact or a file system other than FAT
        print("no usable card:", error)
        spi.deinit()
        return False
    return True


def free_bytes(path):
    stat = os.statvfs(path)
    return stat[0] * stat[3]


def file_size(path):
    try:
        return os.stat(path)[6]
    except OSError:
        return 0


def next_free_name(folder):
    """Return log.csv or, where a full one is kept already, log1.csv, log2.csv, ..."""
    taken = os.listdir(folder)
    stem, _, ending = FILE_NAME.partition(".")
    number = 1
    while "%s%d.%s" % (stem, number, ending) in taken:
        number += 1
    return "%s/%s%d.%s" % (folder.rstrip("/"), stem, number, ending)


class CsvLog:
    def __init__(self, folder, max_bytes=None):
        self.folder = folder
        self.path = folder.rstrip("/") + "/" + FILE_NAME
        self.max_bytes = max_bytes
        self.waiting = 0
        self.file = None
        self._open()

    def _open(self):
        new = file_size(self.path) == 0
        self.file = open(self.path, "a")
        if new:
            self.file.write("uptime_s,celsius\n")

    def add(self, *values):
        self.file.write(",".join(str(v) for v in values) + "\n")
        self.waiting += 1
        if self.waiting >= FLUSH_EVERY:
            self.flush()

    def flush(self):
        self.file.flush()
        self.waiting = 0
        if self.max_bytes and file_size(self.path) > self.max_bytes:
            # In the flash only the newest two files are kept.
            self.file.close()
            os.rename(self.path, self.path + ".old")
            self._open()

    def close(self):
        self.file.close()


def chip_celsius(sensor):
    volts = sensor.read_u16() * 3.3 / 65535
    return round(27 - (volts - 0.706) / 0.001721, 1)


def main():
    on_card = mount_card()
    if on_card:
        if free_bytes(MOUNT_POINT) < KEEP_FREE:
            print("the card is almost full")
        if file_size(MOUNT_POINT + "/" + FILE_NAME) > 1_000_000:
            os.rename(MOUNT_POINT + "/" + FILE_NAME, next_free_name(MOUNT_POINT))
        log = CsvLog(MOUNT_POINT)
    else:
        log = CsvLog("/", FLASH_LIMIT)
    print("logging to", log.path)

    sensor = ADC(4)
    led = Pin("LED", Pin.OUT)
    started = time.time()
    try:
        while True:
            log.add(time.time() - started, chip_celsius(sensor))
            led.toggle()
            time.sleep_ms(INTERVAL_MS)
    except OSError as error:
        print("writing failed:", error)  # the card was pulled out or is full
    except KeyboardInterrupt:
        log.close()
        print("log closed")
    finally:
        led.off()
        if on_card:
            os.umount(MOUNT_POINT)


main()
