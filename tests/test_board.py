"""The stand-ins: asyncio against CPython's own, hardware against what data sheets say."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from stages.evaluation import sandbox
from stages.evaluation.node import SandboxUnavailable, find_interpreter
from stages.evaluation.sandbox import Limits, Outcome, Program
from stages.evaluation.wiring import I2CDevice, Serial, Setup, Sonar, SPIDevice

try:
    find_interpreter()
except SandboxUnavailable as missing:
    pytest.skip(str(missing), allow_module_level=True)


WORKER = sandbox._Worker(find_interpreter(), Limits())


@pytest.fixture(scope="module", autouse=True)
def closing() -> Iterator[None]:
    yield
    WORKER.close()


def run(source: str, setup: Setup | None = None, seconds: float = 10.0) -> Outcome:
    return WORKER.run(Program("program", textwrap.dedent(source), setup or Setup(), seconds=seconds))


ASYNC = {
    "order of tasks": """
        async def work(name, seconds, times):
            for i in range(times):
                print(name, i)
                await asyncio.sleep(seconds)
            return name
        async def main():
            task = asyncio.create_task(work("a", 0.03, 3))
            print(await asyncio.gather(work("b", 0.05, 2), work("c", 0.02, 2), task))
            print(task.done())
        """,
    "timeouts": """
        async def slow(seconds):
            try:
                await asyncio.sleep(seconds)
                return "in time"
            except asyncio.CancelledError:
                print("cancelled")
                raise
            finally:
                print("cleaned up")
        async def main():
            print(await asyncio.wait_for(slow(0.01), 0.2))
            try:
                await asyncio.wait_for(slow(0.5), 0.05)
            except asyncio.TimeoutError:
                print("too late")
        """,
    "cancelling": """
        async def inner():
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                print("inner")
                raise
        async def outer(task):
            try:
                await task
            except asyncio.CancelledError:
                print("outer")
                raise
        async def main():
            first = asyncio.create_task(inner())
            second = asyncio.create_task(outer(first))
            await asyncio.sleep(0.02)
            print(second.cancel())
            try:
                await second
            except asyncio.CancelledError:
                print("main")
            print(first.done(), second.done())
        """,
    "events and locks": """
        async def waiter(event, lock, name):
            await event.wait()
            async with lock:
                print(name, "in")
                await asyncio.sleep(0.01)
                print(name, "out")
        async def main():
            event, lock = asyncio.Event(), asyncio.Lock()
            tasks = [asyncio.create_task(waiter(event, lock, n)) for n in "xyz"]
            await asyncio.sleep(0.02)
            print(event.is_set(), lock.locked())
            event.set()
            await asyncio.gather(*tasks)
            print(event.is_set(), lock.locked())
        """,
    "errors": """
        async def bad(seconds):
            await asyncio.sleep(seconds)
            raise ValueError(seconds)
        async def main():
            task = asyncio.create_task(bad(0.01))
            try:
                await task
            except ValueError as error:
                print("caught", error)
            print(await asyncio.gather(bad(0.01), asyncio.sleep(0.02), return_exceptions=True))
            try:
                await asyncio.gather(bad(0.02), bad(0.01))
            except ValueError as error:
                print("first", error)
            await asyncio.sleep(0.05)
            try:
                await asyncio.wait_for(bad(0.01), 1)
            except ValueError:
                print("through wait_for")
        """,
}


@pytest.mark.parametrize("name", ASYNC)
def test_asyncio_does_what_cpython_does(name: str) -> None:
    source = "import asyncio\n" + textwrap.dedent(ASYNC[name]) + "asyncio.run(main())\n"
    truth = subprocess.run([sys.executable, "-W", "ignore", "-c", source], capture_output=True, text=True, timeout=30)
    assert run(source).stdout.replace("ValueError(0.01,)", "ValueError(0.01)") == truth.stdout.strip()


def test_a_thermometer_says_85_until_it_has_converted() -> None:
    rom = bytes.fromhex("28ff641e0516036b")
    source = """
        import time, onewire, ds18x20
        from machine import Pin
        bus = ds18x20.DS18X20(onewire.OneWire(Pin(22)))
        rom = bus.scan()[0]
        bus.convert_temp()
        print(rom.hex() if hasattr(rom, "hex") else "", bus.read_temp(rom))
        time.sleep_ms(750)
        print(bus.read_temp(rom))
        """
    lines = run(source, Setup(ds18x20={22: {rom: ((0.0, 21.25),)}})).stdout.split("\n")
    assert [line.split()[-1] for line in lines] == ["85.0", "21.25"]


def test_the_radio_needs_the_right_password() -> None:
    source = """
        import network, time
        w = network.WLAN(network.STA_IF)
        w.active(True)
        for key in ("wrong", "right"):
            w.connect("workshop", key)
            time.sleep(3)
            print(w.isconnected(), w.status())
        """
    assert run(source, Setup(networks={"workshop": "right"})).stdout == "False -3\nTrue 3"


def test_an_echo_takes_as_long_as_sound() -> None:
    source = """
        from machine import Pin, time_pulse_us
        import time
        t, e = Pin(3, Pin.OUT), Pin(2, Pin.IN)
        for wait in (10, 3):
            t.on()
            time.sleep_us(wait)
            t.off()
            print(time_pulse_us(e, 1, 30000))
            time.sleep_ms(50)
        """
    first, second = run(source, Setup(sonar=(Sonar(3, 2, ((0.0, 343.0),)),))).stdout.split("\n")
    assert abs(int(first) - 2000) <= 1
    assert int(second) == -2  # a trigger of 3 µs is none


def test_a_sensor_of_commands_is_not_ready_at_once() -> None:
    device = I2CDevice(0x44, replies={b"\x24\x00": b"\x66\x66\x93\x80\x00\xa2"}, ready=0.015, busy=True)
    source = """
        from machine import I2C, Pin
        import time
        i2c = I2C(0, scl=Pin(5), sda=Pin(4))
        i2c.writeto(0x44, b"\\x24\\x00")
        try:
            i2c.readfrom(0x44, 6)
        except OSError as error:
            print(error.errno)
        time.sleep_ms(15)
        print(i2c.readfrom(0x44, 6).hex())
        """
    assert run(source, Setup(i2c=(device,))).stdout == "5\n6666938000a2"


def test_two_byte_registers_and_a_moving_pointer() -> None:
    device = I2CDevice(0x50, registers={0x0100: b"abcd"}, reg_bytes=2)
    source = """
        from machine import I2C, Pin
        i2c = I2C(1, scl=Pin(7), sda=Pin(6))
        i2c.writeto_mem(0x50, 0x0102, b"XY", addrsize=16)
        i2c.writeto(0x50, b"\\x01\\x00")
        print(i2c.readfrom(0x50, 2), i2c.readfrom(0x50, 2), i2c.readfrom_mem(0x50, 0x0100, 4, addrsize=16))
        """
    assert run(source, Setup(i2c=(device,))).stdout == "b'ab' b'XY' b'abXY'"


def test_an_spi_device_hears_only_while_it_is_selected() -> None:
    source = """
        from machine import SPI, Pin
        spi = SPI(0, sck=Pin(18), mosi=Pin(19), miso=Pin(16))
        cs = Pin(17, Pin.OUT, value=1)
        b = bytearray(2)
        spi.write_readinto(b"\\x9f\\x00", b)
        print(bytes(b))
        cs.off()
        spi.write_readinto(b"\\x9f\\x00", b)
        cs.on()
        print(bytes(b))
        """
    outcome = run(source, Setup(spi=(SPIDevice(17, {b"\x9f": b"\x00\xef"}),)))
    assert outcome.stdout == "b'\\x00\\x00'\nb'\\x00\\xef'"


def test_a_modem_answers_and_a_timeout_waits_for_it() -> None:
    source = """
        from machine import UART
        u = UART(1, 9600, tx=8, rx=9, timeout=100)
        u.write("AT\\r\\n")
        print(u.readline(), u.readline())
        """
    outcome = run(source, Setup(uart={1: Serial(replies={b"AT\r\n": b"OK\r\n"}, baudrate=9600)}))
    assert outcome.stdout == "b'OK\\r\\n' None"


def test_the_clock_and_the_calendar_agree() -> None:
    source = """
        import time
        from machine import RTC
        time.sleep(90061)
        print(time.localtime()[:6], time.time())
        RTC().datetime((2030, 5, 17, 4, 12, 0, 0, 0))
        time.sleep(0.5)
        print(RTC().datetime()[:7], time.localtime()[:6], time.time())
        print(time.ticks_diff(time.ticks_add(time.ticks_ms(), 500), time.ticks_ms()))
        """
    lines = run(source, Setup(epoch=1_767_225_600), seconds=100_000).stdout.split("\n")
    set_to = datetime(2030, 5, 17, 12, tzinfo=UTC).timestamp()
    shown = f"(2030, 5, 17, 4, 12, 0, 0) (2030, 5, 17, 12, 0, 0) {set_to:.0f}"
    assert lines[:2] == ["(2026, 1, 2, 1, 1, 1) 1767315661", shown]
    assert abs(int(lines[2]) - 500) <= 1


def test_a_pin_has_several_names() -> None:
    source = """
        import os
        from machine import Pin
        print(Pin(5), Pin("GP5"), Pin.board.GP5, Pin.cpu.GPIO5, Pin.board.LED, len(os.urandom(7)), os.sync())
        """
    assert run(source).stdout == "Pin(5) Pin(5) Pin(5) Pin(5) Pin('LED') 7 None"


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("Pin(99)", "ValueError"),
        ("Pin('X')", "ValueError"),
        ("Pin(2.0)", "TypeError"),
        ("PWM(Pin(1), freq=0)", "ValueError"),
        ("PWM(Pin(1)).duty_u16(70000)", "ValueError"),
        ("PWM(Pin(1)).duty_u16(0.5)", "TypeError"),
        ("time.sleep_ms(0.5)", "TypeError"),
        ("time.sleep(-1)", "ValueError"),
        ("I2C(5)", "ValueError"),
        ("I2C(0).writeto(0x20, 5)", "TypeError"),
        ("UART(0).write(5)", "TypeError"),
        ("Timer(period=100, callback=5)", "TypeError"),
        ("Pin(1).irq(5)", "TypeError"),
        ("WDT(timeout=60000)", "ValueError"),
        ("rp2.StateMachine(0)", "NotImplementedError"),
        ("machine.mem32[0x40014000]", "NotImplementedError"),
        ("machine.nothing", "AttributeError"),
        ("ADC(Pin('LED'))", "ValueError"),
    ],
)
def test_misuse_raises_as_on_a_board(statement: str, error: str) -> None:
    outcome = run(f"import time, machine, rp2\nfrom machine import *\n{statement}\n")
    assert outcome.raised is not None
    assert (outcome.raised.type, outcome.raised.line) == (error, 3)
