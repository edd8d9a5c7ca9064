"""Send packets between two RFM69 radios with acknowledgements, retries and duplicate removal.

Wiring (Raspberry Pi Pico): SCK GP18, MOSI GP19, MISO GP16, NSS GP17, 3V3, GND, an antenna.
The board with GP22 tied to GND is the sensor (address 2), the other the base (address 1).
"""
import random
import time
from machine import ADC, SPI, Pin

FREQUENCY_HZ = 868_300_000  # choose a band that your module and your country allow
NETWORK = 0x5A
BASE, SENSOR = 1, 2
ACK_TIMEOUT_MS = 60
MAX_TRIES = 5
HEADER_SIZE = 4  # to, from, sequence, flags
ACK = 0x01

FIFO, OP_MODE, FREQUENCY, VERSION, IRQ_FLAGS1, IRQ_FLAGS2 = 0x00, 0x01, 0x07, 0x10, 0x27, 0x28
STANDBY, TRANSMIT, RECEIVE = 0x04, 0x0C, 0x10
MODE_READY, FIFO_OVERRUN, PACKET_SENT, PAYLOAD_READY = 0x80, 0x10, 0x08, 0x04

# First register and the values for it and its neighbours
SETTINGS = (
    (0x02, b"\x00\x02\x40\x03\x33"),  # packets by FSK, 55.6 kbit/s, 50 kHz deviation
    (0x11, b"\x9f"),  # 13 dBm; the high-power HW types need 0x7f here
    (0x19, b"\x42"),  # 125 kHz receiver bandwidth
    (0x2E, bytes([0x88, 0x2D, NETWORK])),  # two synchronisation bytes
    (0x37, b"\x90\x3c"),  # variable length up to 60 bytes, CRC by the chip
    (0x3C, b"\x8f"),  # begin to send as soon as the FIFO is not empty
)


class PacketRadio:
    def __init__(self, spi, cs, address):
        self.spi = spi
        self.cs = cs
        self.address = address
        self.sequence = random.getrandbits(8)  # unlike the numbers before a restart
        self.last_seen = {}
        if self.read(VERSION)[0] != 0x24:
            raise RuntimeError("no RFM69 found")
        self.mode(STANDBY)
        for register, values in SETTINGS:
            self.write(register, values)
        steps = (FREQUENCY_HZ << 19) // 32_000_000  # the synthesiser counts 61 Hz steps
        self.write(FREQUENCY, steps.to_bytes(3, "big"))
        self.mode(RECEIVE)

    def read(self, register, count=1):
        self.cs.value(0)
        self.spi.write(bytes([register]))
        answer = self.spi.read(count)
        self.cs.value(1)
        return answer

    def write(self, register, values):
        self.cs.value(0)
        self.spi.write(bytes([0x80 | register]) + values)
        self.cs.value(1)

    def wait(self, register, flag):
        for _ in range(2000):
            if self.read(register)[0] & flag:
                return
        raise OSError("radio hangs")

    def mode(self, mode):
        self.write(OP_MODE, bytes([mode]))
        self.wait(IRQ_FLAGS1, MODE_READY)

    def transmit(self, to, sequence, flags, payload=b""):
        packet = bytes([to, self.address, sequence, flags]) + payload
        self.mode(STANDBY)
        self.write(IRQ_FLAGS2, bytes([FIFO_OVERRUN]))  # writing this flag empties the FIFO
        self.write(FIFO, bytes([len(packet)]) + packet)
        self.mode(TRANSMIT)
        self.wait(IRQ_FLAGS2, PACKET_SENT)
        self.mode(RECEIVE)

    def poll(self):
        """Handle one packet; return (sender, sequence, flags, payload) or None."""
        # The chip has dropped damaged packets already.
        if not self.read(IRQ_FLAGS2)[0] & PAYLOAD_READY:
            return None
        self.mode(STANDBY)
        packet = self.read(FIFO, self.read(FIFO)[0])
        self.mode(RECEIVE)
        if len(packet) < HEADER_SIZE or packet[0] != self.address:
            return None
        _, sender, sequence, flags = packet[:HEADER_SIZE]
        if not flags & ACK:
            self.transmit(sender, sequence, ACK)
            if self.last_seen.get(sender) == sequence:
                return None  # our acknowledgement was lost, the packet was not
            self.last_seen[sender] = sequence
        return sender, sequence, flags, packet[HEADER_SIZE:]

    def send(self, to, payload):
        """Return the number of tries it took, or 0 when nobody confirmed."""
        self.sequence = (self.sequence + 1) & 0xFF
        for attempt in range(1, MAX_TRIES + 1):
            self.transmit(to, self.sequence, 0, payload)
            # Random waits keep two colliding senders from colliding again.
            patience = ACK_TIMEOUT_MS + random.getrandbits(3 + attempt)
            started = time.ticks_ms()
            while time.ticks_diff(time.ticks_ms(), started) < patience:
                if self.poll() == (to, self.sequence, ACK, b""):
                    return attempt
        return 0


def main():
    address = BASE if Pin(22, Pin.IN, Pin.PULL_UP).value() else SENSOR
    spi = SPI(0, baudrate=4_000_000, sck=Pin(18), mosi=Pin(19), miso=Pin(16))
    radio = PacketRadio(spi, Pin(17, Pin.OUT, value=1), address)
    sensor = ADC(4)
    while True:
        if address == SENSOR:
            tries = radio.send(BASE, b"adc=%d" % sensor.read_u16())
            print("confirmed after %d tries" % tries if tries else "nobody answers")
            time.sleep(5)
        else:
            message = radio.poll()
            if message and message[2] != ACK:
                print("from %d: %s" % (message[0], message[3].decode()))


main()
