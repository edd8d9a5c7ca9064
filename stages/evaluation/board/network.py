from _hw import op as _op

STA_IF, AP_IF = 0, 1
STAT_IDLE, STAT_CONNECTING, STAT_GOT_IP = 0, 1, 3
STAT_WRONG_PASSWORD, STAT_NO_AP_FOUND, STAT_CONNECT_FAIL = -3, -2, -1
AUTH_OPEN, AUTH_WEP, AUTH_WPA_PSK, AUTH_WPA2_PSK, AUTH_WPA_WPA2_PSK = 0, 1, 2, 3, 4
_name = [None]


def country(code=None):
    return code


def hostname(name=None):
    if name is None:
        return _name[0] or "mpy-board"
    _name[0] = name


class WLAN:
    IF_STA, IF_AP = 0, 1
    PM_NONE, PM_PERFORMANCE, PM_POWERSAVE = 0, 1, 2
    SEC_OPEN, SEC_WPA_WPA2 = 0, 4

    def __init__(self, interface=0):
        self._interface = interface

    def active(self, on=None):
        if on is None:
            return bool(_op("wlan", "active", self._interface, None))
        _op("wlan", "active", self._interface, bool(on))

    def connect(self, ssid=None, key=None, *, security=None, bssid=None):
        _op("wlan", "connect", ssid, key or "")

    def disconnect(self):
        _op("wlan", "disconnect", None, None)

    def status(self, what=None):
        if what == "rssi":
            return -55
        return _op("wlan", "status", None, None)

    def isconnected(self):
        if self._interface == AP_IF:
            return False
        return self.status() == STAT_GOT_IP

    def _addresses(self):
        if self._interface == AP_IF:
            return ("192.168.4.1", "255.255.255.0", "192.168.4.1", "8.8.8.8")
        if self.isconnected():
            return ("192.168.1.57", "255.255.255.0", "192.168.1.1", "192.168.1.1")
        return ("0.0.0.0", "255.255.255.0", "0.0.0.0", "0.0.0.0")

    def ifconfig(self, addresses=None):
        return self._addresses() if addresses is None else None

    def ipconfig(self, what=None, **kwargs):
        return self._addresses()[:2] if what == "addr4" else None

    def config(self, what=None, **kwargs):
        if what == "mac":
            return b"\x28\xcd\xc1\x00\x10\x57"
        if what in ("ssid", "essid"):
            return _name[0] or ""
        if "ssid" in kwargs or "essid" in kwargs:
            _op("wlan", "access_point", kwargs.get("ssid") or kwargs.get("essid"), None)

    def scan(self):
        names = _op("wlan", "scan", None, None).split("\n")
        return [(name.encode(), b"\x02\x00\x00\x00\x00\x01", 6, -55, 4, 1) for name in names if name]
