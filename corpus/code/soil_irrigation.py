"""Water a plant from a battery: measure soil moisture, pump if dry, sleep deeply.

Wiring (ESP32): capacitive moisture sensor powered from GPIO25, its output on GPIO34;
pump MOSFET gate on GPIO26 with 10 k to GND; float switch of the tank GPIO27 to GND.
"""

import struct
import time

from machine import ADC, DEEPSLEEP_RESET, RTC, Pin, deepsleep, reset_cause
from micropython import const

SENSOR_POWER_PIN = const(25)
SENSOR_PIN = const(34)
PUMP_PIN = const(26)
FLOAT_PIN = const(27)

DRY_MV = const(2600)        # sensor held in air
WET_MV = const(1150)        # sensor standing in water
WATER_BELOW = const(35)     # percent
ENOUGH = const(55)
PULSE_S = const(4)
SOAK_S = const(10)
MAX_PULSES = const(5)
SLEEP_MINUTES = const(30)
MIN_PAUSE_CYCLES = const(4)

# Kept in RTC memory while the chip sleeps: cycles, cycles since watering, total seconds.
STATE_FORMAT = "<HHI"


def load_state(rtc):
    """Return [cycles, cycles since watering, pump seconds]; fresh after a power cut."""
    memory = rtc.memory()
    if reset_cause() != DEEPSLEEP_RESET or len(memory) != struct.calcsize(STATE_FORMAT):
        return [0, MIN_PAUSE_CYCLES, 0]
    return list(struct.unpack(STATE_FORMAT, memory))


def save_state(rtc, state):
    cycles, since, seconds = state
    rtc.memory(struct.pack(STATE_FORMAT, cycles & 0xFFFF, min(since, 0xFFFF), seconds))


def moisture_percent(adc, power):
    """Power the sensor, take the median of 15 readings and scale it to percent."""
    power.on()
    try:
        time.sleep_ms(300)
        samples = sorted(adc.read_uv() // 1000 for _ in range(15))
    finally:
        # Without power the probe neither corrodes nor drains the battery.
        power.off()
    millivolts = samples[len(samples) // 2]
    percent = (DRY_MV - millivolts) * 100 // (DRY_MV - WET_MV)
    return max(0, min(100, percent))


def tank_empty(float_switch):
    return float_switch.value() == 0


def irrigate(pump, float_switch, measure):
    """Pump in short pulses until the soil is wet enough; return seconds pumped."""
    pumped = 0
    for pulse in range(1, MAX_PULSES + 1):
        if tank_empty(float_switch):
            print("tank empty, pump stays off")
            break
        pump.on()
        try:
            time.sleep(PULSE_S)
        finally:
            pump.off()
        pumped += PULSE_S
        # Water needs time to reach the probe; without the wait we would drown the plant.
        time.sleep(SOAK_S)
        moisture = measure()
        print("pulse {}: moisture {} %".format(pulse, moisture))
        if moisture >= ENOUGH:
            break
    return pumped


def main():
    pump = Pin(PUMP_PIN, Pin.OUT, value=0)
    power = Pin(SENSOR_POWER_PIN, Pin.OUT, value=0)
    float_switch = Pin(FLOAT_PIN, Pin.IN, Pin.PULL_UP)
    adc = ADC(Pin(SENSOR_PIN), atten=ADC.ATTN_11DB)
    rtc = RTC()

    state = load_state(rtc)
    state[0] += 1
    state[1] += 1
    moisture = moisture_percent(adc, power)
    print("cycle {}: moisture {} %".format(state[0], moisture))

    if moisture < WATER_BELOW and state[1] >= MIN_PAUSE_CYCLES:
        seconds = irrigate(pump, float_switch, lambda: moisture_percent(adc, power))
        if seconds:
            state[1] = 0
            state[2] += seconds
        print("pumped {} s now, {} s in total".format(seconds, state[2]))

    save_state(rtc, state)
    print("sleeping", SLEEP_MINUTES, "minutes")
    time.sleep_ms(100)  # let the serial port send its last line
    deepsleep(SLEEP_MINUTES * 60 * 1000)


main()
