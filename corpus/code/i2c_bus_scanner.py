"""Scan an I2C bus, name the likely devices and report what comes and goes.

Wiring (Raspberry Pi Pico): SDA to GP4, SCL to GP5, 3V3 and GND to the modules.
"""
import time
from machine import I2C, Pin

SDA_PIN = 4
SCL_PIN = 5
FREQ_HZ = 100_000
RESCAN_S = 3

# Many chips share an address, so an entry is a guess until an id register confirms it.
LIKELY = {
    0x20: "PCF8574 or MCP23017 port expander",
    0x23: "BH1750 light sensor",
    0x27: "PCF8574 LCD backpack",
    0x29: "VL53L0X distance or TSL2591 light sensor",
    0x38: "AHT20 humidity sensor",
    0x3C: "SSD1306 or SH1106 display",
    0x3D: "SSD1306 display, second address",
    0x40: "INA219, PCA9685 or Si7021",
    0x44: "SHT31 humidity sensor",
    0x48: "ADS1115, TMP102 or LM75",
    0x50: "AT24C EEPROM",
    0x57: "AT24C32 on a clock board, or MAX30102",
    0x5A: "MLX90614 thermometer or MPR121 touch",
    0x68: "DS3231 clock or MPU6050 motion sensor",
    0x76: "BMP280 or BME280",
    0x77: "BMP180, BMP280 or BME280",
}

# address, register, expected value, name
ID_REGISTERS = (
    (0x29, 0xC0, 0xEE, "VL53L0X"),
    (0x68, 0x75, 0x68, "MPU6050"),
    (0x76, 0xD0, 0x58, "BMP280"),
    (0x76, 0xD0, 0x60, "BME280"),
    (0x77, 0xD0, 0x55, "BMP180"),
    (0x77, 0xD0, 0x58, "BMP280"),
    (0x77, 0xD0, 0x60, "BME280"),
)


def check_lines():
    """Say which line lacks a pull-up or is held low by a confused device."""
    # The weak internal pull-down loses against any real pull-up resistor.
    sda = Pin(SDA_PIN, Pin.IN, Pin.PULL_DOWN)
    scl = Pin(SCL_PIN, Pin.IN, Pin.PULL_DOWN)
    time.sleep_ms(1)
    for name, pin in (("SDA", sda), ("SCL", scl)):
        if not pin.value():
            print(name, "is low: check the pull-up resistor, the wiring and the power")
    if scl.value() and not sda.value():
        release_bus()


def release_bus():
    """Clock out the byte that a device still wants to send after a reset."""
    scl = Pin(SCL_PIN, Pin.OPEN_DRAIN, value=1)
    for _ in range(9):
        scl.value(0)
        time.sleep_us(10)
        scl.value(1)
        time.sleep_us(10)


def identify(i2c, address):
    for known_address, register, expected, name in ID_REGISTERS:
        if known_address != address:
            continue
        try:
            if i2c.readfrom_mem(address, register, 1)[0] == expected:
                return name + " (confirmed)"
        except OSError:
            pass  # the device does not like this register: fall back to the guess
    return LIKELY.get(address, "unknown device")


def print_grid(found):
    print("     " + " ".join("%2X" % column for column in range(16)))
    for row in range(0, 128, 16):
        cells = []
        for address in range(row, row + 16):
            if address < 0x08 or address > 0x77:
                cells.append("  ")  # reserved by the I2C standard, never scanned
            else:
                cells.append("%02X" % address if address in found else "--")
        print("%02X:  %s" % (row, " ".join(cells)))


def main():
    check_lines()
    i2c = I2C(0, sda=Pin(SDA_PIN), scl=Pin(SCL_PIN), freq=FREQ_HZ)
    present = set(i2c.scan())
    print_grid(present)
    for address in sorted(present):
        print("0x%02X  %s" % (address, identify(i2c, address)))
    if not present:
        print("Nothing answered.")

    while True:
        time.sleep(RESCAN_S)
        now = set(i2c.scan())
        for address in sorted(now - present):
            print("+ 0x%02X  %s" % (address, identify(i2c, address)))
        for address in sorted(present - now):
            print("- 0x%02X  gone" % address)
        present = now


try:
    main()
except KeyboardInterrupt:
    print("Scanner stopped.")
