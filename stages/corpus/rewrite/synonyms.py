"""Words that programmers use for the same thing, and how a name is respelled with them.

Random names teach a small model nothing and harm it; a synonym keeps what the name says. A word is listed
only where the exchange holds in nearly every program: `pin`, `current`, `min` and `flag` are missing, because
theirs does not.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping

Table = Mapping[str, tuple[str, ...]]


def word_set(text: str) -> frozenset[str]:
    """The words of a text, for lists of words that read better as a text."""
    return frozenset(text.split())


# A whole name in lower case, which says by itself what it holds.
NAMES: Table = {
    "adc": ("analog_in", "converter"), "ap": ("access_point",), "callback": ("handler",),
    "cb": ("callback", "handler"), "end": ("finish",), "handler": ("callback",), "i2c": ("bus", "i2c_bus"),
    "kw": ("options",), "last": ("previous", "prev"), "last_press": ("previous_press",),
    "last_state": ("previous_state", "old_state"), "last_time": ("previous_time",),
    "last_value": ("previous_value", "old_value"), "limit": ("bound",), "lst": ("entries", "elements"),
    "name": ("label",), "num": ("number",), "pwm": ("pwm_out", "pulse"), "req": ("request", "query"),
    "res": ("result", "outcome"), "resp": ("response", "answer"), "ret": ("result", "outcome"),
    "rtc": ("clock",), "share": ("fraction", "portion"), "spi": ("bus", "spi_bus"),
    "sta": ("wlan", "station"), "sta_if": ("wlan", "wifi", "station"), "start": ("begin",),
    "step": ("increment", "stride"), "t0": ("start_time", "began"), "uart": ("serial", "serial_port"),
    "wdt": ("watchdog",),
}  # fmt: skip

# The first word of a function's name.
VERBS: Table = {
    "alert": ("warn",), "append": ("add",), "begin": ("start",), "blink": ("flash",),
    "build": ("make", "create"), "calc": ("compute", "calculate"), "calculate": ("compute",),
    "check": ("examine", "inspect"), "choose": ("select", "pick"), "clear": ("erase", "wipe"),
    "collect": ("gather",), "compute": ("calculate",), "configure": ("setup",), "create": ("make", "build"),
    "demo": ("example",), "disable": ("deactivate",), "draw": ("render",), "enable": ("activate",),
    "fade": ("ramp",), "find": ("locate",), "flash": ("blink",), "gather": ("collect",), "get": ("fetch",),
    "handle": ("process",), "make": ("create", "build"), "measure": ("sample",),
    "monitor": ("watch", "observe"), "pause": ("wait",), "pick": ("choose", "select"), "poll": ("query",),
    "prepare": ("setup",), "process": ("handle",), "read": ("fetch", "get"), "record": ("log",),
    "refresh": ("update",), "remove": ("drop", "delete"), "sample": ("measure",), "save": ("store",),
    "scan": ("search",), "search": ("scan",), "select": ("choose", "pick"), "send": ("transmit",),
    "setup": ("prepare", "configure"), "show": ("display",), "start": ("begin", "launch"),
    "stop": ("halt", "end"), "store": ("save",), "toggle": ("flip",), "transmit": ("send",),
    "turn": ("switch",), "update": ("refresh",), "warn": ("alert",), "watch": ("monitor", "observe"),
}  # fmt: skip

# What a sensor gives is measured rather than fetched.
PHRASES: Mapping[tuple[str, str], tuple[str, ...]] = {
    (verb, quantity): ("sample", "measure", "poll")
    for verb in ("read", "get")
    for quantity in (
        "sensor",
        "temperature",
        "voltage",
        "distance",
        "humidity",
        "pressure",
        "adc",
        "level",
        "speed",
    )
}

NOUNS: Table = {
    "addr": ("address",), "address": ("addr",), "amount": ("quantity",), "answer": ("reply", "response"),
    "average": ("mean", "avg"), "avg": ("average", "mean"), "beeper": ("buzzer",), "blinker": ("flasher",),
    "brightness": ("intensity",), "btn": ("button", "key"), "buf": ("buffer",), "buffer": ("buf",),
    "button": ("key", "pushbutton"), "buzzer": ("beeper", "sounder"), "cfg": ("config", "settings"),
    "char": ("character",), "character": ("char",), "chunk": ("piece", "portion"), "cmd": ("command",),
    "cnt": ("count", "counter"), "col": ("column",), "color": ("colour",), "colour": ("color",),
    "column": ("col",), "command": ("cmd",), "config": ("settings", "cfg"), "conn": ("connection",),
    "connection": ("conn",), "count": ("counter",), "counter": ("count",), "data": ("payload",),
    "delay": ("pause",), "dest": ("target", "destination"), "dial": ("knob",), "display": ("screen", "panel"),
    "dist": ("distance",), "distance": ("dist",), "done": ("finished", "complete"), "dst": ("dest", "target"),
    "element": ("item",), "enabled": ("active",), "entry": ("item", "record"), "err": ("error", "exc"),
    "exc": ("error",), "factor": ("multiplier",), "filename": ("filepath",), "finished": ("done", "complete"),
    "folder": ("directory",), "fraction": ("share",), "freq": ("frequency",), "frequency": ("freq",),
    "gap": ("spacing",), "goal": ("target",), "hrs": ("hours",), "idx": ("index",), "index": ("idx",),
    "intensity": ("brightness",), "interval": ("period",), "item": ("entry", "element"), "job": ("task",),
    "knob": ("dial",), "lamp": ("light",), "lcd": ("screen", "display"),
    "led": ("lamp", "light", "indicator"), "len": ("length",), "max": ("maximum",), "maximum": ("max",),
    "mean": ("average", "avg"), "measurement": ("reading", "sample"), "melody": ("tune", "song"),
    "message": ("msg",), "mins": ("minutes",), "minutes": ("mins",), "msg": ("message",),
    "multiplier": ("factor",), "note": ("tone", "pitch"), "number": ("num",), "oled": ("screen", "display"),
    "packet": ("frame",), "param": ("parameter",), "password": ("passphrase",), "pause": ("delay",),
    "payload": ("content", "body"), "period": ("interval",), "pos": ("position",), "position": ("pos",),
    "pot": ("potentiometer", "knob"), "potentiometer": ("pot", "knob"), "pressed": ("pushed",),
    "prev": ("previous",), "previous": ("prev",), "probe": ("sensor",), "pushed": ("pressed",),
    "quantity": ("amount",), "ratio": ("proportion",), "reading": ("measurement", "sample"),
    "reg": ("register",), "register": ("reg",), "reply": ("response", "answer"), "resp": ("response",),
    "response": ("reply", "answer"), "result": ("outcome",), "sample": ("reading", "measurement"),
    "screen": ("display", "panel"), "seconds": ("secs",), "secs": ("seconds",),
    "sensor": ("probe", "detector"), "settings": ("config", "options"), "slope": ("gradient",),
    "sock": ("connection", "link"), "song": ("melody", "tune"), "span": ("extent",), "speed": ("velocity",),
    "src": ("source",), "state": ("status",), "status": ("state",), "sum": ("total",), "target": ("goal",),
    "task": ("job",), "temperature": ("temp",), "text": ("txt",), "threshold": ("limit", "cutoff"),
    "timer": ("ticker",), "timestamp": ("stamp",), "title": ("heading",), "tone": ("note", "pitch"),
    "ts": ("timestamp", "stamp"), "tune": ("melody", "song"), "txt": ("text",), "val": ("value",),
    "value": ("val",), "voltage": ("volts",), "volts": ("voltage",), "wifi": ("wlan", "wireless"),
    "wlan": ("wifi", "wireless"),
}  # fmt: skip

# In constants many words are a datasheet's or a protocol's own (`REG_STATUS`, `_IRQ_SCAN_RESULT`). These are
# not.
IN_CONSTANTS = word_set(
    "addr address brightness btn button buzzer config cfg count delay distance duration freq frequency"
    " interval knob lamp led max melody mins minutes oled password pause period pot potentiometer sample"
    " seconds secs sensor settings song threshold wifi wlan"
)

# Shortened words: no sentence holds them, so in comments they can only be the name.
SHORTENED = word_set(
    "addr avg btn buf cb cfg cmd cnt col conn dest dist dst exc freq hrs idx lst msg num pos prev reg req"
    " res resp ret secs sock src sta_if ts txt val"
)

_PARTS = re.compile(r"[Ii]2[Cc](?![a-z])|[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")


def words_of(name: str) -> list[str]:
    """The words of a name in lower case: `readLED_pin2` is read, led, pin, 2."""
    return [part.lower() for part in _PARTS.findall(name)]


class Thesaurus:
    """One choice of synonyms for one program, so that `led`, `LED_PIN` and `led_on` change alike.

    `names` are all words of the program's text: a noun it already uses is not given to something else.
    `share` is the part of the known words that is exchanged.
    """

    def __init__(self, names: Iterable[str], rng: random.Random, share: float = 0.85) -> None:
        self._rng, self._share = rng, share
        self._in_use = {word for name in names for word in words_of(name)}
        self._chosen: dict[tuple[str, ...], str | None] = {}

    def respell(self, name: str, *, function: bool = False, type_name: bool = False) -> str:
        """The name with its words exchanged, in its own case style; the name itself if no word is known."""
        bare = name.lstrip("_")
        lead = name[: len(name) - len(bare)]
        if bare in NAMES:
            return lead + (self._choose(("name", bare), NAMES[bare]) or bare)
        matches = list(_PARTS.finditer(bare))
        words = [match.group().lower() for match in matches]
        constant = bare.isupper() and not type_name
        new = [self._noun(word, type_name) if not constant or _may_be_in_constant(word) else None for word in words]
        if function and words and (len(words) > 1 or words[0] in VERBS):
            new[0] = self._verb(words)
            if len(words) > 1 and (words[0], words[1]) in PHRASES:
                new[1] = None
        result, done = lead, 0
        for match, word in zip(matches, new, strict=True):
            old = match.group()
            result += bare[done : match.start()] + (_in_case_of(old, word, constant) if word else old)
            done = match.end()
        return result + bare[done:]

    def _verb(self, words: list[str]) -> str | None:
        phrase = tuple(words[:2])
        if phrase in PHRASES:
            return self._choose(phrase, PHRASES[words[0], words[1]])
        return self._choose(("verb", words[0]), VERBS.get(words[0], ()))

    def _noun(self, word: str, type_name: bool) -> str | None:
        singular = word if word in NOUNS else word.removesuffix("s")
        if singular not in NOUNS:
            return None
        chosen = self._choose(("noun", singular), NOUNS[singular])
        if chosen is None or (type_name and chosen in SHORTENED):
            return None
        return chosen if singular == word else _plural(chosen)

    def _choose(self, key: tuple[str, ...], options: tuple[str, ...]) -> str | None:
        if key not in self._chosen:
            names_a_thing = key[0] in ("name", "noun")
            free = [word for word in options if not (names_a_thing and self._in_use.intersection(words_of(word)))]
            chosen = self._rng.choice(free) if free and self._rng.random() < self._share else None
            self._chosen[key] = chosen
            if chosen and names_a_thing:
                self._in_use.update(words_of(chosen))
        return self._chosen[key]


def _may_be_in_constant(word: str) -> bool:
    return word in IN_CONSTANTS or word.removesuffix("s") in IN_CONSTANTS


def _plural(word: str) -> str:
    if word.endswith("s"):
        return word
    if word.endswith(("x", "ch", "sh")):
        return word + "es"
    return word[:-1] + "ies" if word.endswith("y") and word[-2] not in "aeou" else word + "s"


def _in_case_of(old: str, new: str, constant: bool) -> str:
    if constant:
        return new.upper()
    return new.capitalize() if old[0].isupper() else new
