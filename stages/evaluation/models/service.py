"""An HTTP service that answers a request with a stream of JSON objects."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from email.message import Message
from http.client import HTTPException
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import StageError, UsageError

PROBE, SILENCE, WHOLE = 10.0, 300.0, 1800.0  # seconds: of a short question, without a byte, of an answer
BLOCK, LINE, ANSWER = 1 << 16, 1 << 22, 1 << 26  # bytes that are read at once, of a line, of a whole answer
FULL = re.compile(
    r"(exceed|longer|larger|too long|maximum).{0,60}context|context.{0,30}(exceed|length|size|window)",
    re.IGNORECASE | re.DOTALL,
)


class ServiceError(StageError):
    """A service could not be asked, or refused; `status` is that of HTTP where it answered."""

    def __init__(self, message: str, hint: str | None = None, *, status: int = 0, again: float | None = None) -> None:
        """`again`: it may work after so many seconds."""
        super().__init__(message, hint)
        self.status, self.again = status, again

    @property
    def too_long(self) -> bool:
        """Whether a prompt did not fit the context."""
        return self.status in (400, 413, 422, 500) and FULL.search(str(self)) is not None


class _Stay(urllib.request.HTTPRedirectHandler):
    """A key is not carried elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Service:
    """Where a service is, and the key to it, which no message shows."""

    def __init__(self, name: str, url: str, *, key: str = "", start: str | None = None) -> None:
        """`name` is for messages; `start` the command that starts it on this machine.

        Raises UsageError for what is no address, and for a key that would leave this machine unencrypted.
        """
        parts = urlsplit(url)
        try:
            known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            known = False
        if not known or not url.isascii() or not url.isprintable() or " " in url:
            raise UsageError(f"`{_without_user(url)}` is no address of a service", hint="http://host:port/path")
        if "@" in parts.netloc:
            raise UsageError(f"`{_without_user(url)}`: a password in an address ends in logs; it is not taken")
        if not key.isascii() or not key.isprintable() or " " in key:
            raise UsageError("the key has characters that no key has", hint="OPENAI_API_KEY without quotes or spaces")
        self.name, self.url, self._key = name, url.rstrip("/"), key
        if key and parts.scheme != "https" and not self.is_here:
            raise UsageError(
                f"OPENAI_API_KEY would go to {self.url} for everybody on the way to read",
                hint="name it with https://, or unset OPENAI_API_KEY if it takes none",
            )
        self.stopped = False  # answers that are on their way are waited for no more
        self._hint = f"start it with: {start}" if start and self.is_here else None
        proxies = [urllib.request.ProxyHandler({})] if self.is_here else []
        self._opener = urllib.request.build_opener(_Stay, *proxies)

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """The one object that answers a short question; raises ServiceError."""
        data = b"".join(self._blocks(path, body, PROBE))
        try:
            told = json.loads(data)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise self._error(f"answers with no JSON object but {_start(data)}")
        return told

    def events(self, path: str, body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """The objects that answer a request as they come: a line of JSON each, or server-sent events with one each.

        Raises ServiceError, where trying again may help with `again`.
        """
        pending = b""
        for block in self._blocks(path, body, SILENCE):
            *lines, pending = (pending + block).split(b"\n")
            for line in lines:
                yield from self._event(line)
            if len(pending) > LINE:
                raise self._error(f"sends a line of more than {LINE:,} bytes")
        yield from self._event(pending)

    def _event(self, line: bytes) -> Iterator[Mapping[str, Any]]:
        line = line.strip()
        if line.startswith((b":", b"event:", b"id:", b"retry:")) or not line:
            return
        data = line.removeprefix(b"data:").strip()
        if data == b"[DONE]":
            return
        try:
            told = json.loads(data)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise self._error(f"sends what is no JSON object: {_start(line)}", again=1.0)
        if told.get("error"):
            error = told["error"]
            status = _number(told.get("status")) or _number(error.get("code") if isinstance(error, dict) else 0) or 500
            raise self._error(f"refuses: {reason(told)}", status=status, again=1.0 if status >= 500 else None)
        yield told

    def _blocks(self, path: str, body: Mapping[str, Any] | None, timeout: float) -> Iterator[bytes]:
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)
        allowed, began, size = WHOLE if timeout == SILENCE else timeout, time.monotonic(), 0
        try:
            with self._opener.open(request, timeout=timeout) as response:
                while block := response.read1(BLOCK):
                    if self.stopped:
                        raise self._error("was left")
                    size += len(block)
                    if size > ANSWER:
                        raise self._error(f"answers with more than {ANSWER:,} bytes")
                    if time.monotonic() > began + allowed:
                        raise self._error(f"has not ended its answer after {allowed:,.0f} seconds")
                    yield block
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error.code, error.headers, _read(error)) from None
        except TimeoutError:
            raise self._error(f"said nothing for {timeout:,.0f} seconds") from None
        except (OSError, HTTPException) as error:
            cause = getattr(error, "reason", error)
            if isinstance(cause, TimeoutError):
                raise self._error(f"said nothing for {timeout:,.0f} seconds") from None
            told = str(cause) or type(cause).__name__
            raise self._error(f"does not answer ({told})", self._hint, again=1.0) from None

    def _refusal(self, status: int, headers: Message, data: bytes) -> ServiceError:
        try:
            told = json.loads(data)
        except ValueError:
            told = None
        words = reason(told) if isinstance(told, dict) else ""
        words = words or (_start(data) if data else "")
        if status < 400:
            return self._error(f"sends elsewhere, to {headers.get('Location')}: name that address", status=status)
        wait = headers.get("Retry-After", "")
        again = None
        if status == 429 or status >= 500:
            again = min(float(wait), 60.0) if wait.isdigit() else 1.0
        return self._error(f"refuses with status {status}: {words}".rstrip(": "), status=status, again=again)

    def _error(
        self, what: str, hint: str | None = None, *, status: int = 0, again: float | None = None
    ) -> ServiceError:
        message = f"{self.name} at {self.url} {what}"
        if self._key:
            message = message.replace(self._key, "…")
        return ServiceError(message, hint, status=status, again=again)


def reason(told: Mapping[str, Any]) -> str:
    """What an object of an answer says went wrong, as Ollama and as OpenAI put it."""
    error = told.get("error", told.get("message", told.get("detail", "")))
    if isinstance(error, dict):
        error = " ".join(error[part] for part in ("message", "code") if isinstance(error.get(part), str))
    return str(error)[:500]


def _read(error: urllib.error.HTTPError) -> bytes:
    try:
        return error.read(BLOCK)
    except (OSError, HTTPException):
        return b""


def _start(data: bytes) -> str:
    return repr(data[:100].decode("utf-8", "replace"))


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _without_user(url: str) -> str:
    return re.sub(r"//[^/]*@", "//…@", url)
