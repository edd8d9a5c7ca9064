"""A Bluetooth LE thermometer on a Pico W, readable with any BLE scanner app on a phone.

It offers the Environmental Sensing service (0x181A) with the Temperature characteristic
(0x2A6E) and notifies connected phones. No wiring: the chip measures its own temperature.
"""

import struct
import time

import bluetooth
from machine import ADC, Pin
from micropython import const

_IRQ_CENTRAL_CONNECT = const(1)
_IRQ_CENTRAL_DISCONNECT = const(2)
_IRQ_MTU_EXCHANGED = const(21)

# Types of the fields in an advertising packet.
_ADV_FLAGS = const(0x01)
_ADV_UUID16_COMPLETE = const(0x03)
_ADV_NAME_COMPLETE = const(0x09)
_GENERAL_DISCOVERABLE_LE_ONLY = const(0x06)

DEVICE_NAME = "pico-thermo"
ADVERTISE_EVERY_US = 250_000
MEASURE_EVERY_MS = 2000

SENSING_UUID = bluetooth.UUID(0x181A)
TEMPERATURE = (
    bluetooth.UUID(0x2A6E),
    bluetooth.FLAG_READ | bluetooth.FLAG_NOTIFY,
)


def field(kind, value):
    """One advertising field: length, type, value."""
    return bytes([len(value) + 1, kind]) + value


def advertising_payload(name, service):
    payload = (
        field(_ADV_FLAGS, bytes([_GENERAL_DISCOVERABLE_LE_ONLY]))
        + field(_ADV_UUID16_COMPLETE, bytes(service))
        + field(_ADV_NAME_COMPLETE, name.encode())
    )
    if len(payload) > 31:
        raise ValueError("the name is too long for an advertisement")
    return payload


class Thermometer:
    def __init__(self, name):
        self.led = Pin("LED", Pin.OUT, value=0)
        self.sensor = ADC(ADC.CORE_TEMP)
        self.connections = set()
        self.payload = advertising_payload(name, SENSING_UUID)

        self.ble = bluetooth.BLE()
        self.ble.active(True)
        self.ble.config(gap_name=name)
        self.ble.irq(self._event)
        services = ((SENSING_UUID, (TEMPERATURE,)),)
        ((self.handle,),) = self.ble.gatts_register_services(services)
        self.advertise()

    def advertise(self):
        self.ble.gap_advertise(ADVERTISE_EVERY_US, adv_data=self.payload)

    def _event(self, event, data):
        """Called by the BLE stack: keep it short, no waiting in here."""
        if event == _IRQ_CENTRAL_CONNECT:
            connection, _, address = data
            self.connections.add(connection)
            self.led.on()
            # The address is valid only during this call, so print a copy.
            print("connected:", bytes(address).hex())
        elif event == _IRQ_CENTRAL_DISCONNECT:
            connection, _, _ = data
            self.connections.discard(connection)
            self.led.value(bool(self.connections))
            print("disconnected")
            # Advertising ended with the connection: be visible again.
            self.advertise()
        elif event == _IRQ_MTU_EXCHANGED:
            print("MTU", data[1])

    def celsius(self):
        volts = self.sensor.read_u16() * 3.3 / 65535
        return 27 - (volts - 0.706) / 0.001721

    def publish(self):
        """Store the newest value for readers and send it to whoever is connected."""
        celsius = self.celsius()
        # The characteristic is a signed 16-bit number in hundredths of a degree.
        self.ble.gatts_write(self.handle, struct.pack("<h", round(celsius * 100)))
        for connection in list(self.connections):
            try:
                self.ble.gatts_notify(connection, self.handle)
            except OSError as err:
                print("notification failed:", err)
        return celsius

    def close(self):
        self.ble.gap_advertise(None)
        self.ble.active(False)
        self.led.off()


def main():
    thermometer = Thermometer(DEVICE_NAME)
    print("advertising as", DEVICE_NAME)
    try:
        while True:
            print("{:.2f} C, {} connected".format(
                thermometer.publish(), len(thermometer.connections)))
            time.sleep_ms(MEASURE_EVERY_MS)
    except KeyboardInterrupt:
        print("stopped")
    finally:
        thermometer.close()


main()
