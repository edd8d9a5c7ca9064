"""Open and close a chicken house by the sun: times computed from date and place, no light sensor.

Wiring (Pico with a real-time clock that was set to UTC): DRV8871 motor driver IN1 GP10, IN2 GP11;
end switches open GP12 and closed GP13 to GND; test button GP14 to GND.
"""
import math
import time
from machine import Pin

LATITUDE, LONGITUDE = 52.5, 13.4  # degrees north and east
DUSK_MINUTES = 25  # they go in with the last light, not with the sunset
RUN_LIMIT_S = 40


def day_of_year(year, month, day):
    days = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)[month - 1] + day
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return days + (1 if leap and month > 2 else 0)


def sun_times(year, month, day, latitude=LATITUDE, longitude=LONGITUDE):
    """Sunrise and sunset in minutes of the UTC day, good to a few minutes; None if there is none.

    Fourier series for declination and equation of time after Spencer, evaluated for noon;
    the sun's centre is 50 arc minutes below the horizon when its edge appears.
    """
    angle = 2 * math.pi / 365 * (day_of_year(year, month, day) - 1)
    c1, s1 = math.cos(angle), math.sin(angle)
    c2, s2 = math.cos(2 * angle), math.sin(2 * angle)
    c3, s3 = math.cos(3 * angle), math.sin(3 * angle)
    declination = (0.006918 - 0.399912 * c1 + 0.070257 * s1 - 0.006758 * c2 + 0.000907 * s2
                   - 0.002697 * c3 + 0.00148 * s3)
    equation = 229.18 * (0.000075 + 0.001868 * c1 - 0.032077 * s1 - 0.014615 * c2 - 0.040849 * s2)
    phi = math.radians(latitude)
    cosine = (math.cos(math.radians(90.833)) / (math.cos(phi) * math.cos(declination))
              - math.tan(phi) * math.tan(declination))
    if not -1 < cosine < 1:
        return None
    half_day = 4 * math.degrees(math.acos(cosine))  # the earth turns a degree in four minutes
    noon = 720 - 4 * longitude - equation
    return noon - half_day, noon + half_day


class Door:
    def __init__(self):
        self.up, self.down = Pin(10, Pin.OUT, value=0), Pin(11, Pin.OUT, value=0)
        self.is_open = Pin(12, Pin.IN, Pin.PULL_UP)
        self.is_closed = Pin(13, Pin.IN, Pin.PULL_UP)

    def move(self, opening):
        """Run the motor to the end switch. A door that takes too long is stuck, or a hen is in it."""
        motor, switch = (self.up, self.is_open) if opening else (self.down, self.is_closed)
        end = time.ticks_add(time.ticks_ms(), RUN_LIMIT_S * 1000)
        motor.on()
        try:
            while switch.value():
                if time.ticks_diff(end, time.ticks_ms()) < 0:
                    raise OSError("door is stuck")
                time.sleep_ms(20)
        finally:
            motor.off()


def wants_open(now):
    times = sun_times(*now[:3])
    if times is None:
        return True  # beyond the polar circle somebody else must decide
    minute = now[3] * 60 + now[4]
    return times[0] <= minute < times[1] + DUSK_MINUTES


def clock(minutes):
    minutes = int(minutes) % 1440
    return "%02d:%02d" % (minutes // 60, minutes % 60)


def check():
    # On the equator the day has a little over twelve hours all the year.
    for month in range(1, 13):
        rise, fall = sun_times(2025, month, 21, 0, 0)
        assert 720 < fall - rise < 735, (month, fall - rise)
    assert sun_times(2025, 6, 21, 80, 0) is None


def main():
    check()
    door = Door()
    test = Pin(14, Pin.IN, Pin.PULL_UP)
    state = None
    shown = None
    while True:
        now = time.gmtime()
        if now[:3] != shown:
            shown = now[:3]
            times = sun_times(*shown)
            if times:
                print("sun from", clock(times[0]), "to", clock(times[1]), "UTC")
        wanted = wants_open(now)
        if not test.value():
            wanted = not state
        if wanted != state:
            try:
                door.move(wanted)
                state = wanted
                print("door", "open" if state else "closed")
            except OSError as problem:
                print(problem, "- trying again in a minute")
                time.sleep(60)
        time.sleep(2)


if __name__ == "__main__":
    main()
