"""LoRa between field nodes with an SX1276 (RFM95): packets, signal quality, time on air.

Wiring (Pico): SCK GP18, MOSI GP19, MISO GP16, NSS GP17, RESET GP20, an antenna.
Band and duty cycle are a matter of law: 868.1 MHz at 1 per cent suits Europe.
"""
import struct
import time
from machine import Pin, SPI, unique_id

FIFO, OP_MODE, FRF, PA_CONFIG = 0x00, 0x01, 0x06, 0x09
LNA, FIFO_ADDR, TX_BASE, RX_BASE, RX_CURRENT = 0x0C, 0x0D, 0x0E, 0x0F, 0x10
IRQ_FLAGS, RX_BYTES, PKT_SNR, PKT_RSSI = 0x12, 0x13, 0x19, 0x1A
MODEM_1, MODEM_2, PREAMBLE, LENGTH, MODEM_3 = 0x1D, 0x1E, 0x20, 0x22, 0x26
SYNC_WORD, VERSION = 0x39, 0x42

LORA = 0x80
SLEEP, STANDBY, TX, RX = 0, 1, 3, 5
TX_DONE, CRC_ERROR, RX_DONE = 0x08, 0x20, 0x40

BANDWIDTH = 125_000
SPREADING = 9


class LoRa:
    def __init__(self, spi, nss, reset, hertz=868_100_000, dbm=14):
        self.spi = spi
        self.nss = nss
        reset(0)
        time.sleep_ms(1)
        reset(1)
        time.sleep_ms(10)
        if self.get(VERSION) != 0x12:
            raise RuntimeError("no SX1276")
        self.put(OP_MODE, SLEEP)
        self.put(OP_MODE, LORA | SLEEP)  # the modem can be chosen asleep only
        frf = (hertz << 19) // 32_000_000
        self.put(FRF, frf >> 16, frf >> 8 & 0xFF, frf & 0xFF)
        self.put(TX_BASE, 0, 0)
        self.put(LNA, 0x23)  # highest gain, boosted
        self.put(MODEM_1, 0x72)  # 125 kHz, coding rate 4/5, explicit header
        self.put(MODEM_2, SPREADING << 4 | 0x04)  # with check sum
        self.put(MODEM_3, 0x04)  # automatic gain
        self.put(PREAMBLE, 0, 8)
        self.put(SYNC_WORD, 0x12)
        self.put(PA_CONFIG, 0x80 | (dbm - 2))  # PA_BOOST, 2 to 17 dBm
        self.listen()

    def put(self, register, *values):
        self.nss(0)
        self.spi.write(bytes((register | 0x80,) + values))
        self.nss(1)

    def get(self, register, count=None):
        self.nss(0)
        self.spi.write(bytes((register,)))
        data = self.spi.read(count or 1)
        self.nss(1)
        return data if count else data[0]

    def listen(self):
        self.put(FIFO_ADDR, 0)
        self.put(OP_MODE, LORA | RX)

    def send(self, payload, timeout_ms=3000):
        self.put(OP_MODE, LORA | STANDBY)
        self.put(FIFO_ADDR, 0)
        self.put(FIFO, *payload)
        self.put(LENGTH, len(payload))
        self.put(IRQ_FLAGS, 0xFF)
        self.put(OP_MODE, LORA | TX)
        end = time.ticks_add(time.ticks_ms(), timeout_ms)
        while not self.get(IRQ_FLAGS) & TX_DONE:
            if time.ticks_diff(end, time.ticks_ms()) < 0:
                raise OSError("transmission does not end")
            time.sleep_ms(2)
        self.put(IRQ_FLAGS, TX_DONE)
        self.listen()

    def receive(self):
        """Return (payload, RSSI in dBm, SNR in dB), or None."""
        flags = self.get(IRQ_FLAGS)
        if not flags & RX_DONE:
            return None
        self.put(IRQ_FLAGS, RX_DONE | CRC_ERROR)
        if flags & CRC_ERROR:
            return None
        count = self.get(RX_BYTES)
        self.put(FIFO_ADDR, self.get(RX_CURRENT))
        payload = self.get(FIFO, count) if count else b""
        snr = struct.unpack("b", self.get(PKT_SNR, 1))[0] / 4
        return payload, self.get(PKT_RSSI) - 157 + min(0, snr), snr


def air_time_ms(size, sf=SPREADING, bandwidth=BANDWIDTH, preamble=8):
    """Duration of a packet by the formula of the data sheet (coding rate 4/5, header, CRC)."""
    symbol_ms = (1 << sf) * 1000 / bandwidth
    bits = 8 * size - 4 * sf + 28 + 16
    payload = 8 + max(0, -(-bits // (4 * sf)) * 5)
    return (preamble + 4.25 + payload) * symbol_ms


def main():
    spi = SPI(0, baudrate=5_000_000, sck=Pin(18), mosi=Pin(19), miso=Pin(16))
    radio = LoRa(spi, Pin(17, Pin.OUT, value=1), Pin(20, Pin.OUT, value=1))
    me = unique_id()[-2:]
    count = 0
    wait_ms = int(air_time_ms(8) * 100)  # on the air one per cent of the time
    due = time.ticks_ms()
    while True:
        if time.ticks_diff(time.ticks_ms(), due) >= 0:
            radio.send(me + struct.pack(">Hi", count, time.time()))
            count += 1
            due = time.ticks_add(time.ticks_ms(), wait_ms + me[1] * 4)
        heard = radio.receive()
        if heard and len(heard[0]) == 8:
            number, stamp = struct.unpack(">Hi", heard[0][2:])
            print("node %s no. %d, %d dBm, SNR %.1f dB" % (heard[0][:2].hex(), number, heard[1], heard[2]))
        time.sleep_ms(10)


main()
