"""Settings in a JSON file: defaults, checked types, and a save that survives a power cut.

Runs on every port, no wiring. The new content goes to a second file first, which then
takes the place of the old one, so there is always one complete file.
"""

import json
import os

SETTINGS_FILE = "settings.json"

DEFAULTS = {
    "name": "greenhouse",
    "sample_s": 60,
    "alarm_celsius": 32.5,
    "enabled": True,
    "pins": [2, 3],
}

# Limits for numbers; keys that are missing here take any value of the right type.
LIMITS = {
    "sample_s": (1, 3600),
    "alarm_celsius": (-40, 85),
}


class SettingsError(ValueError):
    pass


def checked(key, value):
    """Return the value, converted if that is harmless, or raise SettingsError."""
    if key not in DEFAULTS:
        raise SettingsError("unknown setting: {}".format(key))
    kind = type(DEFAULTS[key])
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise SettingsError("{} must be {}, not {}".format(
            key, kind.__name__, type(value).__name__))
    if key in LIMITS:
        low, high = LIMITS[key]
        if not low <= value <= high:
            raise SettingsError("{} must be from {} to {}".format(key, low, high))
    return value


class Settings:
    """Behaves like a dictionary that knows which keys exist."""

    def __init__(self, path):
        self.path = path
        self.changed = False
        # A copy through JSON, because the list inside must not be shared.
        self.values = json.loads(json.dumps(DEFAULTS))
        self._load()

    def _load(self):
        try:
            with open(self.path) as f:
                stored = json.load(f)
        except OSError:
            return  # no file yet: the defaults do
        except ValueError:
            print("{} is damaged, using the defaults".format(self.path))
            return
        for key, value in stored.items():
            try:
                self.values[key] = checked(key, value)
            except SettingsError as err:
                # One bad entry, perhaps from an older version, must not stop the board.
                print("ignored:", err)

    def __getitem__(self, key):
        return self.values[key]

    def __setitem__(self, key, value):
        value = checked(key, value)
        if value != self.values[key]:
            self.values[key] = value
            self.changed = True

    def save(self):
        """Write only when something changed; flash wears out with every write."""
        if not self.changed:
            return False
        temporary = self.path + ".tmp"
        with open(temporary, "w") as f:
            json.dump(self.values, f)
        # rename() replaces the target in one step on LittleFS.
        os.rename(temporary, self.path)
        self.changed = False
        return True

    def reset(self):
        for key, value in DEFAULTS.items():
            self[key] = list(value) if isinstance(value, list) else value


def demo():
    settings = Settings(SETTINGS_FILE)
    print("interval is", settings["sample_s"], "s")

    settings["sample_s"] = 120
    settings["alarm_celsius"] = 30
    for key, value in (("sample_s", 0), ("enabled", "yes"), ("colour", "red")):
        try:
            settings[key] = value
        except SettingsError as err:
            print("refused:", err)
    print("saved:", settings.save())
    print("saved again without a change:", settings.save())

    again = Settings(SETTINGS_FILE)
    print("after a restart:", again["sample_s"], again["alarm_celsius"])


if __name__ == "__main__":
    demo()
