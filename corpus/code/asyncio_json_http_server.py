"""A small HTTP server on a Pico W that gives sensor values as JSON and switches the LED.

GET /api/status returns the chip temperature; POST /api/led takes {"on": true}.
No wiring: it uses the internal temperature sensor (ADC channel 4) and the on-board LED.
"""

import asyncio
import json
import time

import network
from machine import ADC, Pin

try:
    from wifi_config import KEY, SSID  # a file wifi_config.py with these two names
except ImportError:
    KEY, SSID = "YOUR_KEY", "YOUR_SSID"

PORT = 80
MAX_BODY = 512
CLIENT_TIMEOUT_S = 5
VOLTS_PER_COUNT = 3.3 / 65535
STARTED = time.time()
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}

led = Pin("LED", Pin.OUT, value=0)
chip_sensor = ADC(4)


class HTTPError(Exception):
    """Raised by a handler; args are (status code, message)."""


def get_status(body):
    volts = chip_sensor.read_u16() * VOLTS_PER_COUNT
    # The data sheet gives 0.706 V at 27 degrees and a slope of -1.721 mV per degree.
    celsius = 27 - (volts - 0.706) / 0.001721
    return {"celsius": round(celsius, 1), "uptime_s": time.time() - STARTED, "led": led.value()}


def post_led(body):
    try:
        wanted = json.loads(body)["on"]
    except (ValueError, KeyError, TypeError):
        raise HTTPError(400, "expected a JSON object with the key on")
    led.value(bool(wanted))
    return {"led": led.value()}


ROUTES = {
    "/api/status": {"GET": get_status},
    "/api/led": {"POST": post_led},
}


def dispatch(method, path, body):
    methods = ROUTES.get(path.split("?")[0])
    if methods is None:
        raise HTTPError(404, "no such resource")
    if method not in methods:
        raise HTTPError(405, "use " + " or ".join(methods))
    return methods[method](body)


async def read_request(reader):
    """Return (method, path, body) of one request."""
    parts = (await reader.readline()).decode().split()
    if len(parts) != 3:
        raise HTTPError(400, "malformed request line")
    length = 0
    while True:
        line = await reader.readline()
        if line in (b"\r\n", b"\n", b""):
            break
        name, _, value = line.decode().partition(":")
        if name.lower() == "content-length":
            length = int(value)
    if length > MAX_BODY:
        raise HTTPError(400, "body too long")
    body = await reader.readexactly(length) if length else b""
    return parts[0], parts[1], body


async def handle_client(reader, writer):
    try:
        try:
            request = await asyncio.wait_for(read_request(reader), CLIENT_TIMEOUT_S)
            code, reply = 200, dispatch(*request)
        except HTTPError as err:
            code, reply = err.args[0], {"error": err.args[1]}
        except (ValueError, EOFError):
            code, reply = 400, {"error": "cannot read the request"}
        body = json.dumps(reply)
        writer.write("HTTP/1.1 {} {}\r\nContent-Type: application/json\r\n".format(
            code, REASONS[code]))
        writer.write("Content-Length: {}\r\nConnection: close\r\n\r\n".format(len(body)))
        writer.write(body)
        await writer.drain()
    except (OSError, asyncio.TimeoutError) as err:
        print("dropped a client:", repr(err))
    finally:
        writer.close()
        await writer.wait_closed()


async def main():
    wlan = network.WLAN(network.WLAN.IF_STA)
    wlan.active(True)
    wlan.connect(SSID, KEY)
    while not wlan.isconnected():
        await asyncio.sleep_ms(200)
    print("try http://{}/api/status".format(wlan.ifconfig()[0]))
    async with await asyncio.start_server(handle_client, "0.0.0.0", PORT):
        while True:
            await asyncio.sleep(3600)


try:
    asyncio.run(main())
except KeyboardInterrupt:
    led.off()
