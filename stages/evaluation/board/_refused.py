# Modules that talk to the world: importing works, using them is refused and counted.

from _hw import op as _op

AF_INET, SOCK_STREAM, SOCK_DGRAM, SOL_SOCKET, SO_REUSEADDR = 2, 1, 2, 1, 4


def _refuse(name):
    def refused(*args, **kwargs):
        _op("refused", name)
        raise OSError(113)  # EHOSTUNREACH

    return refused


class MQTTException(Exception):
    pass


class UUID:
    def __init__(self, value):
        self.value = value


socket = getaddrinfo = _refuse("socket")
wrap_socket = _refuse("ssl")
get = post = put = patch = delete = head = request = _refuse("requests")
MQTTClient = _refuse("mqtt")
BLE = _refuse("bluetooth")
settime = time = _refuse("ntp")
host = "pool.ntp.org"


def __getattr__(name):
    if name == name.upper() and name[0] != "_":
        return 0  # some constant
    raise AttributeError(name)
