"""Secrets go, placeholders and programs stay."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.corpus.rules.secrets import mask

CORPUS = Path(__file__).parents[1] / "corpus"
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        ('wlan.connect("HomeNet", "hunter2x")', 'wlan.connect("your-ssid", "your-password")', {"wifi login"}),
        ("sta_if.connect(SSID, 's3cr3t!')", "sta_if.connect(SSID, 'your-password')", {"wifi login"}),
        (
            'wlan.connect(\n    "Net 7",\n    b"hunter2x",\n)',
            'wlan.connect(\n    "your-ssid",\n    b"your-password",\n)',
            {"wifi login"},
        ),
        ('ssid, password = "Net 7", "hunter2x"', 'ssid, password = "your-ssid", "your-password"', {"wifi login"}),
        (
            'ap.config(essid="Net 7", key="hunter2x")',
            'ap.config(essid="your-ssid", key="your-password")',
            {"wifi login"},
        ),
        ('do_connect("Net 7", "hunter2x")', 'do_connect("your-ssid", "your-password")', {"wifi login"}),
        ('WLAN_KEY = "hunter2x"', 'WLAN_KEY = "your-password"', {"password"}),
        ('{"ap": 1, "pass": "hunter2x"}', '{"ap": 1, "pass": "your-password"}', {"password"}),
        ('WIFI = ("Net 7", "hunter2x")', 'WIFI = ("your-ssid", "your-password")', {"wifi login"}),
        ('NETWORKS = [("Net 7", "hunter2x")]', 'NETWORKS = [("your-ssid", "your-password")]', {"wifi login"}),
        ('WIFI_PASS = "abc12345"', 'WIFI_PASS = "your-password"', {"password"}),
        ("password: str = 'hunter2'", "password: str = 'your-password'", {"password"}),
        (
            'ap.config(essid="Kitchen", password="micropythoN")',
            'ap.config(essid="your-ssid", password="your-password")',
            {"password", "wifi name"},
        ),
        (
            '{"ssid": "MyHome", "psk": "abcd1234"}',
            '{"ssid": "your-ssid", "psk": "your-password"}',
            {"password", "wifi name"},
        ),
        ('if password == "hunter2":', 'if password == "your-password":', {"password"}),
        (
            'MQTTClient("id", "broker", 1883, "joe", "pw123")',
            'MQTTClient("id", "broker", 1883, "your-user", "your-password")',
            {"mqtt login"},
        ),
        ('MQTT_USER = "joe77"', 'MQTT_USER = "your-user"', {"mqtt login"}),
        ("mqtt://joe:pw123@broker.lan:1883", "mqtt://user:password@broker.lan:1883", {"login in a URL"}),
        ('api_key = "8a7s6d8a76sd"', 'api_key = "your-key"', {"api key"}),
        ("AKIA" + "ABCDEFGHIJKLMNOP", "your-token", {"token"}),
        ("aio_" + "abcd" * 7, "your-token", {"token"}),
        ("bot = '123456789:AA" + "x" * 33 + "'", "bot = 'your-token'", {"token"}),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----your-secret-----END RSA PRIVATE KEY-----",
            {"private key"},
        ),
        ("# Joe Doe <joe.doe+x@mail.co.uk>", "# Joe Doe <name@example.com>", {"e-mail address"}),
        ("İ = 1\nWIFI_PASS = 'abc12345'", "İ = 1\nWIFI_PASS = 'your-password'", {"password"}),
    ],
)
def test_a_secret_is_replaced_and_counted(before: str, after: str, kinds: set[str]) -> None:
    masked, found = mask(before)
    assert masked == after
    assert found == Counter(kinds)
    assert mask(masked) == (masked, Counter())


@pytest.mark.parametrize(
    "text",
    [
        'password = "your-password"',
        'PASSWORD = "YOUR_WIFI_PASSWORD"',
        'MQTT_PASSWORD = "broker_password_goes_here"',
        'SSID, PASSWORD = "...", ""',
        'password = "********"',
        'password = b"\\x00\\x00\\x00\\x00"',
        'password = "{}".format(word)',
        'print("password: %s" % word)',
        'if b"Password:" in shell.read_until(b"Password:", 5): pass',
        'STATUS = {network.STAT_WRONG_PASSWORD: "wrong password"}',
        'bssid = ":".join(parts)',
        "wlan.connect(SSID, PASSWORD)",
        'url = "http://example.com:8080/@home"',
        "git@github.com:someone/project.git",
        "mail to name@example.org",
        "picture@2x.png",
        "import micropython\n@micropython.native\ndef f(): pass",
        "matrix = left @right.data",
        'keys = {"up": "w", "down": "s"}',
        'SECRET = "2580"  # the code of the lock',
        'wlan.config("mac")',
        "uart.connect(1, 2)",
        "y = A@w.transpose()",
        'while True:\n    pass\nname = "motor seven"',
    ],
)
def test_a_placeholder_or_a_program_stays(text: str) -> None:
    assert mask(text) == (text, Counter())


@given(st.text(LETTERS, min_size=8, max_size=20), st.text(max_size=200), st.text(max_size=200))
def test_a_password_is_found_in_any_company(password: str, before: str, after: str) -> None:
    secret = f"Zq7{password}"
    masked, found = mask(f'{before}\nWIFI_PASSWORD = "{secret}"\n{after}')
    assert found["password"] >= 1
    assert f'"{secret}"' not in masked


@given(st.text(max_size=300))
def test_masking_twice_is_masking_once(text: str) -> None:
    masked, _ = mask(text)
    assert mask(masked)[0] == masked


PROGRAMS = ("wlan.connect({!r}, {!r})", "PASSWORD = {!r}\nSSID = {!r}", "d = {{'ssid': {!r}, 'psk': {!r}}}")


@given(st.sampled_from(PROGRAMS), st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_a_masked_program_is_still_a_program(template: str, first: str, second: str) -> None:
    ast.parse(mask(template.format(first, second))[0])


def test_every_network_of_a_list_is_masked() -> None:
    masked, found = mask('NETWORKS = {"Net 7": "hunter2x", "Net 8": "hunter3x"}\nPORTS = {"a": "b7"}\n')
    assert masked == 'NETWORKS = {"your-ssid": "your-password", "your-ssid": "your-password"}\nPORTS = {"a": "b7"}\n'
    assert found == Counter({"wifi login": 2})


def test_two_far_secrets_are_both_found() -> None:
    text = 'WIFI_PASS = "abc12345"\n' + "x = 1\n" * 5_000 + 'WIFI_PASS = "def67890"\n'
    assert mask(text)[1] == Counter({"password": 2})


def test_what_ships_holds_no_secret() -> None:
    files = [path for suffix in ("*.py", "*.md", "*.rst") for path in CORPUS.rglob(suffix)]
    assert len(files) > 100
    assert {path.name: found for path in files if (found := mask(path.read_text())[1])} == {}
