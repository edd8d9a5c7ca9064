from _hw import op as _op


class DHTBase:
    def __init__(self, pin):
        self.pin = pin
        self._celsius = self._humidity = 0

    def measure(self):
        celsius, humidity = _op("dht", self.pin._id).split()
        self._celsius, self._humidity = float(celsius), float(humidity)


class DHT11(DHTBase):
    def temperature(self):
        return int(self._celsius)

    def humidity(self):
        return int(self._humidity)


class DHT22(DHTBase):
    def temperature(self):
        return self._celsius

    def humidity(self):
        return self._humidity
