"""Fetch a web page with plain sockets on an ESP32, decoding chunked transfer encoding.

The body is handed out piece by piece, so a page larger than the free RAM can be processed.
The Wi-Fi credentials are placeholders below; no wiring.
"""

import socket
import ssl
import time

import network

WIFI_SSID = "YOUR_SSID"
WIFI_KEY = "YOUR_KEY"
URL = "http://example.com/"
TIMEOUT_S = 10
PIECE = 512


def split_url(url):
    """Return (secure, host, port, path)."""
    scheme, sep, rest = url.partition("://")
    if not sep or scheme not in ("http", "https"):
        raise ValueError("not an http or https URL: " + url)
    host, _, path = rest.partition("/")
    host, colon, port = host.partition(":")
    secure = scheme == "https"
    default = 443 if secure else 80
    return secure, host, int(port) if colon else default, "/" + path


class Response:
    """The answer to one GET request: status, headers, and a body that can be read once."""

    def __init__(self, stream):
        self.stream = stream
        parts = stream.readline().split(None, 2)
        if len(parts) < 2 or not parts[0].startswith(b"HTTP/"):
            raise ValueError("the server does not speak HTTP")
        self.status = int(parts[1])
        self.headers = {}
        while True:
            line = stream.readline().strip()
            if not line:
                break
            name, _, value = line.decode().partition(":")
            self.headers[name.lower()] = value.strip()

    def pieces(self):
        """Yield the body as bytes, whichever way the server marks its end."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while True:
                # A size line may carry extensions after a semicolon.
                size = int(self.stream.readline().split(b";")[0].strip(), 16)
                if size == 0:
                    break
                yield from self._exactly(size)
                self.stream.readline()  # the line end that closes a chunk
        elif "content-length" in self.headers:
            yield from self._exactly(int(self.headers["content-length"]))
        else:
            while True:
                piece = self.stream.read(PIECE)
                if not piece:
                    break
                yield piece

    def _exactly(self, count):
        while count:
            piece = self.stream.read(min(count, PIECE))
            if not piece:
                raise OSError("connection closed {} bytes early".format(count))
            count -= len(piece)
            yield piece


def http_get(url, consume):
    """Call consume(piece) for each part of the body; return (status, total bytes)."""
    secure, host, port, path = split_url(url)
    info = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
    sock = socket.socket(info[0], info[1])
    sock.settimeout(TIMEOUT_S)
    try:
        sock.connect(info[-1])
        if secure:
            # Encrypted, but not authenticated: set verify_mode and load a CA for that.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.verify_mode = ssl.CERT_NONE
            sock = context.wrap_socket(sock, server_hostname=host)
        request = "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n".format(path, host)
        sock.write(request.encode())
        response = Response(sock)
        total = 0
        for piece in response.pieces():
            consume(piece)
            total += len(piece)
        return response.status, total
    finally:
        sock.close()


def connect_wifi():
    wlan = network.WLAN(network.WLAN.IF_STA)
    wlan.active(True)
    if not wlan.isconnected():
        wlan.connect(WIFI_SSID, WIFI_KEY)
        start = time.ticks_ms()
        while not wlan.isconnected():
            if time.ticks_diff(time.ticks_ms(), start) > 20_000:
                raise RuntimeError("no Wi-Fi connection")
            time.sleep_ms(100)


if __name__ == "__main__":
    connect_wifi()
    try:
        status, size = http_get(URL, lambda piece: print(piece.decode(), end=""))
        print("\nstatus {}, {} bytes".format(status, size))
    except (OSError, ValueError) as err:
        print("request failed:", err)
