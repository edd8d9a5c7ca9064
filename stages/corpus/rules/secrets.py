"""Passwords, keys and people's addresses in a text, replaced by placeholders of the same syntax.

General scanners look for keys of cloud services. In programs for boards the secrets are the password of somebody's
Wi-Fi, the login of an MQTT broker, and an author's e-mail address. What is a placeholder already, such as
`"your-password"`, stays as it is, so that a clean text is returned unchanged.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

# One string literal without line ends; `value` is what stands in it. A format string holds names, not secrets. What
# begins or ends with a blank is the code between two literals.
_LITERAL = r"""(?<![fF])(?P<quote>["'])(?P<value>(?! )(?:(?!(?P=quote))[^\\\n]|\\.){1,200})(?<! )(?P=quote)"""
_PLACEHOLDER = re.compile(
    r"""^[\s<>\[\]{}()*xX.?_-]*$                       # nothing but marks
    |^(.|\\x[0-9a-f]{2})\1*$                           # one character over and over
    |^<.*>$|^\$?\{.*\}$|^%\(?\w*\)?[sd]$|^\$\w+$       # <here>, {name}, %s, $NAME
    |\b(your|enter|insert|fill|put|replace|change|todo|here|goes|example|sample|dummy|fake|placeholder|redacted|hidden)
    |^((my|the|a|an|some|any|test|demo|none|null|default|secret|private|passw?|password|passwd|pwd|pw|psk|key|token|ssid
       |essid|wi-?fi|wlan|user|username|login|name|network|net|credentials?|mqtt|api|broker|access|point|ap|of|for|is|to
       |wrong|bad|invalid|incorrect|missing|not|found|error|failed|empty
       )[ -]*)+$
    """,
    re.IGNORECASE | re.VERBOSE,
)
_DOMAIN = re.compile(r"@(?P<domain>[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}\.){1,4}(?P<last>[A-Za-z]{2,24}))\b(?!\s*\()")
_MAILBOX = re.compile(r"(?<![\w.+/-])[A-Za-z0-9][\w.+-]{0,63}\Z")
_IN_URL = re.compile(r"://[^\s/]*\Z")  # a login there is a rule of its own
_NOT_MAIL = frozenset(
    {
        "png",
        "jpg",
        "jpeg",
        "gif",
        "svg",
        "webp",
        "py",
        "mpy",
        "bin",
        "uf2",
        "local",
        "example",
        "test",
        "native",
        "viper",
    }
)
_SAFE_DOMAIN = re.compile(r"(^|\.)(example\.(com|org|net)|users\.noreply\.github\.com)$", re.IGNORECASE)


@dataclass(frozen=True)
class Rule:
    """A pattern of one kind of secret. The groups that it names are replaced, each by its placeholder.

    `hints` are lower-case words one of which stands in every text that the pattern could match, and `reach` is how many
    characters around it are searched; with `within` only what that pattern matches.
    """

    kind: str
    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    placeholders: tuple[tuple[str, str], ...] = (("value", "your-secret"),)
    reach: int = 500
    within: re.Pattern[str] | None = None


def _literal(name: str) -> str:
    """A string literal whose value is the group `name`."""
    return _LITERAL.replace("quote", f"{name}_quote").replace("value", name)


def _named(words: str, value: str = "") -> str:
    """`NAME = "…"`, `name="…"`, `"name": "…"`, `name: str = "…"`, `name == "…"` with a name that ends in the words."""
    annotation, operator = r"(?:\s*:\s*(?:str|bytes))?", r"\s*(?:[=!]?=|:)\s*"
    return (
        rf"""(?i:{words})["']?{annotation}{operator}(?:const\()?[bB]?{value or _literal("value")}(?! *(?:%|\.[a-z]))"""
    )


_PASSWORD = (
    r"passw(?:or)?d|passphrase|passwort|pwd|psk|(?:wifi|wlan)_?pass|(?<![A-Za-z0-9])pass|wifi_?pw|(?<![A-Za-z0-9])pw"
    r"|(?:wpa|wifi|wlan)_?key"
)
_KEY = r"(?:api|app|auth|access|secret)_?key|(?:auth|access|api)_?token|_token|secret"

_LOGIN = (("ssid", "your-ssid"), ("value", "your-password"))

RULES = (
    Rule(
        "private key",
        ("private key",),
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?P<value>.{16,}?)-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL),
        reach=5_000,
    ),
    Rule(
        "token",
        (
            "akia",
            "ghp_",
            "gho_",
            "github_pat_",
            "xox",
            "aiza",
            "sk_live",
            "sk-",
            "eyj",
            "aio_",
            "hf_",
            "glpat-",
            "npm_",
        ),
        re.compile(
            r"\b(?P<value>AKIA[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{50,}|xox[abprs]-[\w-]{10,}"
            r"|AIza[\w-]{35}|sk_live_\w{20,}|sk-[A-Za-z0-9_-]{32,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"
            r"|aio_[A-Za-z0-9]{28}|hf_[A-Za-z0-9]{30,}|glpat-[\w-]{20}|npm_[A-Za-z0-9]{36})"
        ),
        (("value", "your-token"),),
    ),
    Rule("token", (":aa",), re.compile(r"\b(?P<value>\d{8,10}:AA[\w-]{32,34})\b"), (("value", "your-token"),)),
    Rule(
        "login in a URL",
        ("://",),
        re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://(?P<user>[^\s/:@\"'<>{}]{1,64}):(?P<value>[^\s/@\"'<>{}]{1,64})@"),
        (("user", "user"), ("value", "password")),
    ),
    Rule(
        "wifi login",
        ("connect(", "wifi(", "connect_wifi", "wifi_connect"),
        re.compile(
            r"(?i:\b(?:(?:wlan|wifi|wi_fi|sta|sta_if|nic|station|network|net|wl|w|self\.\w+|WLAN\([^()\n]*\))\.connect"
            r"|do_connect|\w*wifi\w*))"
            rf"\(\s*(?:[bB]?{_literal('ssid')}|[\w.]+)\s*,\s*[bB]?{_literal('value')}"
        ),
        _LOGIN,
    ),
    Rule(
        "wifi login",
        ("ssid",),
        re.compile(
            rf"(?i:ssid\w*\s*,\s*\w*(?:pass|pw|key|psk)\w*)\s*=\s*[(]?\s*[bB]?{_literal('ssid')}\s*,\s*"
            rf"[bB]?{_literal('value')}"
        ),
        _LOGIN,
    ),
    Rule(
        "wifi login",
        ("ssid",),
        re.compile(
            rf"(?i:ssid)[\"']?\s*[=:]\s*[bB]?{_literal('ssid')}\s*,\s*[\"']?key[\"']?\s*[=:]\s*[bB]?{_literal('value')}"
        ),
        _LOGIN,
    ),
    Rule(
        "wifi login",
        ("ssid", "wifi", "wlan", "network", "credential"),
        re.compile(rf"(?<=[\[({{,\s])[bB]?{_literal('ssid')}\s*[,:]\s*[bB]?{_literal('value')}(?=\s*[\])}},])"),
        _LOGIN,
        within=re.compile(
            r"(?i:\b\w*(?:wifi|wlan|ssid|networks?|credentials?)\w*)\s*=\s*(?:\([^()]{1,400}\)|\[[^\[\]]{1,2000}\]|\{[^{}]{1,2000}\})"
        ),
    ),
    Rule(
        "mqtt login",
        ("mqttclient",),
        re.compile(
            rf"(?i:\bMQTTClient)\((?:[^\n(),]+,){{3,4}}\s*[bB]?{_literal('user')}\s*,\s*[bB]?{_literal('value')}"
        ),
        (("user", "your-user"), ("value", "your-password")),
    ),
    Rule(
        "password",
        (
            "passw",
            "passphrase",
            "pwd",
            "psk",
            "pass'",
            'pass"',
            "pass =",
            "pass=",
            "pass:",
            "pw'",
            'pw"',
            "pw =",
            "pw=",
            "pw:",
            "wpakey",
            "wpa_key",
            "fi_key",
            "fikey",
            "lan_key",
            "lankey",
        ),
        re.compile(_named(_PASSWORD)),
        (("value", "your-password"),),
    ),
    Rule(
        "wifi name",
        ("ssid",),
        re.compile(r"(?<![bB])" + _named(r"ssid(?:_?name)?")),
        (("value", "your-ssid"),),
    ),
    Rule(
        "mqtt login",
        ("mqtt",),
        re.compile(_named(r"mqtt_?(?:user(?:name)?|login)")),
        (("value", "your-user"),),
    ),
    Rule(
        "api key",
        (
            "api_key",
            "apikey",
            "app_key",
            "appkey",
            "auth_key",
            "authkey",
            "ss_key",
            "sskey",
            "et_key",
            "_token",
            "authtoken",
            "sstoken",
            "apitoken",
            "secret",
        ),
        re.compile(_named(_KEY, _literal("value").replace("{1,200}", "{12,200}"))),
        (("value", "your-key"),),
    ),
)


def mask(text: str) -> tuple[str, Counter[str]]:
    """The text with its secrets replaced by placeholders, and how many of each kind there were."""
    found: Counter[str] = Counter()
    lower = text.lower()
    for rule in RULES:
        spans = _spans(lower, rule, len(text))
        if not spans:
            continue
        replaced = _replacing(rule, found)
        kept, place = [], 0
        for start, end in spans:
            kept += [text[place:start], _searched(rule, replaced, text[start:end])]
            place = end
        text = "".join([*kept, text[place:]])
        lower = text.lower()
    return _without_mail(text, found), +found


def _searched(rule: Rule, replaced: Callable[[re.Match[str]], str], text: str) -> str:
    if rule.within is None:
        return rule.pattern.sub(replaced, text)
    return rule.within.sub(lambda match: rule.pattern.sub(replaced, match[0]), text)


def _spans(lower: str, rule: Rule, size: int) -> list[tuple[int, int]]:
    """What is around the hints in a text of `size` characters: plain search is much faster than the pattern."""
    if len(lower) != size:  # a few letters, such as the dotted capital I, are two in lower case
        return [(0, size)]
    spans = []
    for hint in rule.hints:
        place = lower.find(hint)
        while place >= 0:
            spans.append((max(0, place - rule.reach), min(size, place + rule.reach)))
            place = lower.find(hint, place + len(hint))
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _without_mail(text: str, found: Counter[str]) -> str:
    kept, place = [], 0
    for match in _DOMAIN.finditer(text):
        mailbox = _MAILBOX.search(text, max(place, match.start() - 65), match.start())
        safe = match["last"].lower() in _NOT_MAIL or _SAFE_DOMAIN.search(match["domain"])
        if mailbox is None or safe or mailbox[0] == "git" or _IN_URL.search(text, place, mailbox.start()):
            continue
        found["e-mail address"] += 1
        kept += [text[place : mailbox.start()], "name@example.com"]
        place = match.end()
    return "".join([*kept, text[place:]])


def _replacing(rule: Rule, found: Counter[str]) -> Callable[[re.Match[str]], str]:
    def replaced(match: re.Match[str]) -> str:
        whole, start = match[0], match.start()
        hidden = [(match.span(name), put) for name, put in rule.placeholders if match[name] is not None]
        if all(_harmless(match.string[slice(*span)]) for span, _ in hidden):
            return whole
        found[rule.kind] += 1
        for (begin, end), put in sorted(hidden, reverse=True):
            if not _harmless(match.string[begin:end]):
                whole = whole[: begin - start] + put + whole[end - start :]
        return whole

    return replaced


def _harmless(value: str) -> bool:
    return _PLACEHOLDER.search(value) is not None or _PLACEHOLDER.search(value.replace("_", " ")) is not None
