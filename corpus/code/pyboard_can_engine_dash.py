"""Show engine data of a small CAN bus on a pyboard, and answer requests for its own status.

Wiring (pyboard v1.1): CAN transceiver (3.3 V) TXD to Y4, RXD to Y3; 120 ohm at both ends of the bus.
Messages: 0x100 speed and temperature every 20 ms, 0x101 fuel, 0x7DF a request to all nodes.
"""
import struct

import pyb
from pyb import CAN

BITRATE = 500_000
ID_ENGINE = 0x100
ID_FUEL = 0x101
ID_REQUEST = 0x7DF
ID_ANSWER = 0x7E9

STALE_MS = 500
RED_LINE = 6000


class Signal:
    """A value that becomes invalid when nothing has been heard of it for a while."""

    def __init__(self, unit):
        self.unit = unit
        self.value = None
        self.at = 0

    def set(self, value):
        self.value = value
        self.at = pyb.millis()

    def __str__(self):
        if self.value is None or pyb.elapsed_millis(self.at) > STALE_MS:
            return "-- " + self.unit
        return "{:.0f} {}".format(self.value, self.unit)


class Dash:
    def __init__(self, can):
        self.can = can
        self.rpm = Signal("rpm")
        self.coolant = Signal("C")
        self.fuel = Signal("%")
        self.warning = pyb.LED(1)
        self.alive = pyb.LED(3)
        self.handlers = {
            ID_ENGINE: self.on_engine,
            ID_FUEL: self.on_fuel,
            ID_REQUEST: self.on_request,
        }
        self.unknown = 0

    def on_engine(self, data):
        if len(data) < 3:
            return
        quarter_rpm, shifted = struct.unpack_from(">HB", data)
        self.rpm.set(quarter_rpm / 4)
        self.coolant.set(shifted - 40)
        if self.rpm.value > RED_LINE:
            self.warning.on()
        else:
            self.warning.off()

    def on_fuel(self, data):
        self.fuel.set(data[0] * 100 / 255)

    def on_request(self, data):
        """Answer service 1 with the uptime in seconds; leave other services to other nodes."""
        if len(data) >= 2 and data[1] == 0x01:
            answer = struct.pack(">BBI", 5, 0x41, pyb.millis() // 1000)
            self.can.send(answer, ID_ANSWER, timeout=20)

    def poll(self):
        """Handle everything in the receive queue; returns how many messages there were."""
        count = 0
        while self.can.any(0):
            message = self.can.recv(0)
            identifier, data = message[0], message[-1]
            handler = self.handlers.get(identifier)
            if handler is None:
                self.unknown += 1
            else:
                handler(data)
            count += 1
        return count


def watch_bus(can, dash):
    """Restart the controller after it went off the bus, which it does by rule after many errors."""
    if can.state() == CAN.BUS_OFF:
        print("bus off, errors (transmit, receive):", can.info()[:2])
        can.restart()
        dash.warning.on()


def main():
    can = CAN(1, CAN.NORMAL, baudrate=BITRATE, sample_point=80)
    # A mask filter: of 0x100 to 0x103 everything, and the request; the rest never wakes us.
    can.setfilter(0, CAN.MASK16, 0, (ID_ENGINE, 0x7FC, ID_REQUEST, 0x7FF))
    dash = Dash(can)
    shown = pyb.millis()
    while True:
        if dash.poll():
            dash.alive.toggle()
        watch_bus(can, dash)
        if pyb.elapsed_millis(shown) >= 250:
            shown = pyb.millis()
            print(dash.rpm, dash.coolant, dash.fuel, sep="   ", end="      \r")
        pyb.delay(2)


main()
