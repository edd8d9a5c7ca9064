"""Update the files of a board over the air: manifest, SHA-256 of every file, switch at the end.

ESP32 or Pico W. update.json holds {"ssid": ..., "password": ..., "host": ..., "port": ...,
"path": "/device/"}; the server offers manifest.json there: {"version": 7, "files": {name: hash}}.
"""
import binascii
import hashlib
import json
import machine
import network
import os
import socket
import time

STAGING = "/update"
VERSION_FILE = "version.txt"


class UpdateError(Exception):
    pass


def http_get(host, port, path, timeout_s=15):
    """Yield the body of a plain HTTP/1.0 answer in pieces."""
    sock = socket.socket()
    sock.settimeout(timeout_s)
    try:
        sock.connect(socket.getaddrinfo(host, port)[0][-1])
        sock.write("GET %s HTTP/1.0\r\nHost: %s\r\n\r\n" % (path, host))
        status = sock.readline().split(None, 2)
        if len(status) < 2 or status[1] != b"200":
            raise UpdateError("%s: status %r" % (path, status))
        length = None
        while (line := sock.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        got = 0
        while piece := sock.read(1024 if length is None else min(1024, length - got)):
            got += len(piece)
            yield piece
        if length is not None and got != length:
            raise UpdateError("%s broke off at %d of %d bytes" % (path, got, length))
    finally:
        sock.close()


def file_hash(path):
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(512):
                digest.update(block)
    except OSError:
        return None
    return binascii.hexlify(digest.digest()).decode()


def installed_version():
    try:
        with open(VERSION_FILE) as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def safe(name):
    """Plain names in the root only: a manifest must not write wherever it likes."""
    return name.endswith((".py", ".mpy", ".json")) and "/" not in name and not name.startswith(".")


def download(settings, files):
    """Bring every changed file into the staging folder and check it; nothing is replaced yet."""
    try:
        os.mkdir(STAGING)
    except OSError:
        pass
    for old in os.listdir(STAGING):
        os.remove(STAGING + "/" + old)
    changed = []
    for name, wanted in files.items():
        if not safe(name):
            raise UpdateError("refused file name %r" % name)
        if file_hash("/" + name) == wanted:
            continue
        target = STAGING + "/" + name
        with open(target, "wb") as out:
            for piece in http_get(settings["host"], settings["port"], settings["path"] + name):
                out.write(piece)
        if file_hash(target) != wanted:
            raise UpdateError("%s has another hash than announced" % name)
        print("fetched", name)
        changed.append(name)
    return changed


def install(changed, version):
    """Rename is atomic on the flash file system, so each file is old or new, never half."""
    for name in changed:
        os.rename(STAGING + "/" + name, "/" + name)
    with open(VERSION_FILE, "w") as file:
        file.write(str(version))


def online(settings, seconds=20):
    wlan = network.WLAN(network.STA_IF)
    wlan.active(True)
    wlan.connect(settings["ssid"], settings["password"])
    end = time.ticks_add(time.ticks_ms(), seconds * 1000)
    while not wlan.isconnected():
        if time.ticks_diff(end, time.ticks_ms()) < 0:
            raise UpdateError("no network")
        time.sleep_ms(200)


def update():
    """Return True if files were replaced and the board should restart."""
    with open("update.json") as file:
        settings = json.load(file)
    online(settings)
    text = b"".join(http_get(settings["host"], settings["port"], settings["path"] + "manifest.json"))
    manifest = json.loads(text)
    if manifest["version"] <= installed_version():
        return False
    changed = download(settings, manifest["files"])
    install(changed, manifest["version"])
    return bool(changed)


if __name__ == "__main__":
    try:
        if update():
            print("restarting into the new version")
            machine.reset()
        print("up to date, version", installed_version())
    except (OSError, UpdateError, KeyError, ValueError) as error:
        print("update failed, keeping the old version:", error)
