"""Remote control for a model car over nRF24L01+: joystick in one hand, motors in the other.

Wiring (Pico): SCK GP2, MOSI GP3, MISO GP4, CSN GP5, CE GP6, 3V3 with 10 uF at the module.
Transmitter: joystick on GP26 and GP27. Car: motor PWM on GP14 and GP15. GP22 to GND = car.
"""
import struct
import time
from machine import ADC, PWM, Pin, SPI
from micropython import const

_CONFIG = const(0x00)
_EN_AA = const(0x01)
_SETUP_RETR = const(0x04)
_RF_CH = const(0x05)
_RF_SETUP = const(0x06)
_STATUS = const(0x07)
_RX_ADDR_P0 = const(0x0A)
_TX_ADDR = const(0x10)
_RX_PW_P0 = const(0x11)
_FIFO_STATUS = const(0x17)

_W_REGISTER = const(0x20)
_R_PAYLOAD = const(0x61)
_W_PAYLOAD = const(0xA0)
_FLUSH_TX = const(0xE1)
_FLUSH_RX = const(0xE2)

PACKET = "<hhB"  # throttle, steering, running number
SIZE = struct.calcsize(PACKET)
LOST_AFTER_MS = 300


class NRF24:
    def __init__(self, spi, csn, ce, address=b"rccar", channel=76):
        self.spi, self.csn, self.ce = spi, csn, ce
        ce(0)
        time.sleep_ms(5)
        self.put(_CONFIG, 0x08)
        self.put(_EN_AA, 0x01)
        self.put(_SETUP_RETR, 0x13)  # after 500 us, three times at most: old commands are worthless
        self.put(_RF_CH, channel)
        self.put(_RF_SETUP, 0x26)  # 250 kbit/s for range, full power
        self.put(_RX_PW_P0, SIZE)
        self.command(_W_REGISTER | _RX_ADDR_P0, address)
        self.command(_W_REGISTER | _TX_ADDR, address)
        if self.get(_RF_CH) != channel:
            raise RuntimeError("nRF24L01 does not answer")
        self.command(_FLUSH_TX)
        self.command(_FLUSH_RX)
        self.put(_STATUS, 0x70)

    def command(self, code, data=b""):
        self.csn(0)
        self.spi.write(bytes([code]) + data)
        self.csn(1)

    def put(self, register, value):
        self.command(_W_REGISTER | register, bytes([value]))

    def get(self, register):
        self.csn(0)
        self.spi.write(bytes([register]))
        value = self.spi.read(1)[0]
        self.csn(1)
        return value

    def power_up(self, receive):
        self.put(_CONFIG, 0x0E | receive)  # two bytes of check sum
        time.sleep_ms(2)
        self.ce(receive)

    def send(self, payload):
        """True when the other side acknowledged."""
        self.command(_W_PAYLOAD, payload)
        self.ce(1)
        time.sleep_us(15)
        self.ce(0)
        for _ in range(50):
            status = self.get(_STATUS)
            if status & 0x30:
                break
            time.sleep_us(200)
        self.put(_STATUS, 0x30)
        if status & 0x20:
            return True
        self.command(_FLUSH_TX)
        return False

    def receive(self):
        """The newest payload that waits, or None."""
        newest = None
        while not self.get(_FIFO_STATUS) & 0x01:
            self.csn(0)
            self.spi.write(bytes([_R_PAYLOAD]))
            newest = self.spi.read(SIZE)
            self.csn(1)
        self.put(_STATUS, 0x40)
        return newest


def centred(adc, dead=1500):
    value = adc.read_u16() - 32768
    return 0 if -dead < value < dead else value


def transmitter(radio):
    radio.power_up(0)
    throttle, steering = ADC(Pin(26)), ADC(Pin(27))
    number = sent = 0
    while True:
        sent += radio.send(struct.pack(PACKET, centred(throttle), centred(steering), number & 0xFF))
        number += 1
        if number % 100 == 0:
            print("%d %% acknowledged" % sent)
            sent = 0
        time.sleep_ms(20)


def car(radio):
    radio.power_up(1)
    left, right = PWM(Pin(14), freq=2000, duty_u16=0), PWM(Pin(15), freq=2000, duty_u16=0)
    last = time.ticks_ms()
    while True:
        packet = radio.receive()
        if packet:
            last = time.ticks_ms()
            throttle, steering, _ = struct.unpack(PACKET, packet)
            for motor, sign in ((left, 1), (right, -1)):
                motor.duty_u16(max(0, min(65535, 2 * throttle + sign * steering)))
        elif time.ticks_diff(time.ticks_ms(), last) > LOST_AFTER_MS:
            left.duty_u16(0)  # nobody at the wheel
            right.duty_u16(0)
        time.sleep_ms(5)


bus = SPI(0, baudrate=4_000_000, sck=Pin(2), mosi=Pin(3), miso=Pin(4))
chip = NRF24(bus, Pin(5, Pin.OUT, value=1), Pin(6, Pin.OUT, value=0))
is_car = Pin(22, Pin.IN, Pin.PULL_UP).value() == 0
car(chip) if is_car else transmitter(chip)
