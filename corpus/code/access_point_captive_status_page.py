"""ESP32 as an open access point that shows a status page to whoever joins.

Every DNS question is answered with the board's own address, so phones open the page
by themselves. No wiring; set AP_KEY to eight characters or more for a closed network.
"""

import asyncio
import gc
import socket
import time

import network

AP_NAME = "esp32-status"
AP_KEY = ""
DNS_PORT = 53
DNS_POLL_MS = 50
ANSWER_TTL_S = 60
STARTED = time.time()

PAGE = """<!DOCTYPE html>
<html><head><meta name="viewport" content="width=device-width"><title>Status</title></head>
<body><h1>{name}</h1>
<table>
<tr><td>Uptime</td><td>{uptime} s</td></tr>
<tr><td>Free memory</td><td>{free} bytes</td></tr>
<tr><td>Stations</td><td>{stations}</td></tr>
</table></body></html>
"""


def start_access_point():
    ap = network.WLAN(network.WLAN.IF_AP)
    ap.active(True)
    if AP_KEY:
        ap.config(ssid=AP_NAME, key=AP_KEY, security=network.AUTH_WPA2_PSK)
    else:
        ap.config(ssid=AP_NAME, security=network.AUTH_OPEN)
    return ap


def dns_answer(query, address):
    """Build a reply that says "the name you asked for is at address"."""
    # Header: same id, response flag, one question and one answer.
    header = query[:2] + b"\x85\x80" + query[4:6] + query[4:6] + b"\x00\x00\x00\x00"
    end = 12
    while query[end]:
        end += query[end] + 1
    question = query[12:end + 5]
    # 0xC00C points back at the name in the question; type A, class IN.
    record = b"\xc0\x0c\x00\x01\x00\x01" + ANSWER_TTL_S.to_bytes(4, "big") + b"\x00\x04"
    return header + question + record + bytes(int(part) for part in address.split("."))


async def serve_dns(address):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(socket.getaddrinfo("0.0.0.0", DNS_PORT)[0][-1])
    try:
        while True:
            try:
                query, sender = sock.recvfrom(256)
                sock.sendto(dns_answer(query, address), sender)
            except OSError:
                # Nothing waiting (EAGAIN): give the web server its turn.
                await asyncio.sleep_ms(DNS_POLL_MS)
            except IndexError:
                print("ignored a malformed DNS packet")
    finally:
        sock.close()


class StatusServer:
    def __init__(self, ap):
        self.ap = ap
        self.address = ap.ifconfig()[0]

    def page(self):
        gc.collect()
        return PAGE.format(
            name=AP_NAME,
            uptime=time.time() - STARTED,
            free=gc.mem_free(),
            stations=len(self.ap.status("stations")),
        )

    async def handle(self, reader, writer):
        try:
            request = await reader.readline()
            while await reader.readline() not in (b"\r\n", b""):
                pass  # the headers do not matter here
            path = request.split(b" ")[1] if request.count(b" ") >= 2 else b""
            if path == b"/":
                body = self.page()
                writer.write("HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n")
                writer.write("Content-Length: {}\r\n\r\n{}".format(len(body), body))
            else:
                # Connectivity probes of phones ask for odd paths; the redirect opens the portal.
                writer.write("HTTP/1.0 302 Found\r\nLocation: http://{}/\r\n\r\n".format(
                    self.address))
            await writer.drain()
        except OSError as err:
            print("client lost:", err)
        finally:
            writer.close()
            await writer.wait_closed()


async def main():
    ap = start_access_point()
    server = StatusServer(ap)
    print("join", AP_NAME, "and open http://" + server.address)
    try:
        await asyncio.start_server(server.handle, "0.0.0.0", 80)
        await serve_dns(server.address)
    finally:
        ap.active(False)


try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("access point stopped")
