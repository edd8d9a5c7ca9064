"""Fetch one file over http(s) or from a file URL: in pieces, resumed, bounded, and gently."""

from __future__ import annotations

import errno
import http.client
import random
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import StageError
from pipeline.stage import ProgressBar
from pipeline.store import sha256_file
from stages.corpus.sources.cache import Cache, Unavailable

Progress = Callable[[float, str], AbstractContextManager[ProgressBar]]

USER_AGENT = "pipeline-gather/1 (fetches declared training sources once and keeps them)"
ATTEMPTS = 4
TIMEOUT_SECONDS = 30.0
PAUSE_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
CHUNK = 2**16
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_OWN_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG}
_last_request: dict[str, float] = {}


def fetch(cache: Cache, url: str, sha256: str, *, max_bytes: int, progress: Progress) -> Path:
    """The file with a checksum, from the cache or its URL.

    What an interrupted or killed try has received is kept and gone on with. Raises Unavailable where nobody gives it,
    StageError where it is larger than `max_bytes` or is another file.
    """
    if found := cache.blob(sha256):
        return found
    with cache.lock(sha256):
        if found := cache.blob(sha256):
            return found
        partial = cache.partial(sha256)
        resumed = partial.exists()
        while True:
            _receive(cache, url, partial, max_bytes, progress)
            got = sha256_file(partial)
            if got == sha256:
                return cache.keep(partial)[0]
            partial.unlink()
            if not resumed:
                break
            resumed = False  # what an earlier try left may have been of another version
    raise StageError(
        f"{url} has the sha256 {got}, not {sha256} as declared",
        hint="the file was changed where it lies, or the checksum in the config is of another file",
    )


def _receive(cache: Cache, url: str, partial: Path, max_bytes: int, progress: Progress) -> None:
    """Bring the partial file to its full length, in several tries where one is cut off."""
    if url.startswith("file:"):
        _copy(url, partial, max_bytes)
        return
    failures = 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            with _turn(cache, url):
                _request(url, partial, max_bytes, progress)
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # there is no more than we have, or we have more than there is
                partial.unlink(missing_ok=True)
            elif error.code not in _PASSING:
                raise Unavailable(f"{url}: the server answers {error.code} {error.reason}") from error
            problem, wait = f"the server answers {error.code} {error.reason}", _asked_wait(error.headers)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in _OWN_TROUBLE:
                raise
            problem, wait = str(getattr(error, "reason", None) or error), None
        if partial.exists() and partial.stat().st_size > before:
            failures = 0  # it moves, if only in steps
            continue
        failures += 1
        if failures == ATTEMPTS:
            raise Unavailable(f"{url}: {problem} (tried {ATTEMPTS} times)")
        time.sleep(wait if wait is not None else 2.0**failures * random.uniform(0.5, 1) * PAUSE_SECONDS)


def _request(url: str, partial: Path, max_bytes: int, progress: Progress) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        total = _total(response, have)
        if total is None:
            have, total = 0, _length(response)
        if total is not None and total > max_bytes:
            raise _too_large(url, max_bytes)
        with partial.open("ab" if have else "wb") as file, progress((total or 0) / 1e6, "MB") as bar:
            bar.advance(have / 1e6, note=url.rpartition("/")[2])
            while chunk := response.read1(CHUNK):
                have += len(chunk)
                if have > max_bytes:
                    raise _too_large(url, max_bytes)
                file.write(chunk)
                bar.advance(len(chunk) / 1e6)
    if total is not None and have < total:
        raise ConnectionError(f"the connection ended after {have:,} of {total:,} bytes")


def _total(response: Any, have: int) -> int | None:
    """The length of the whole file where the answer goes on after `have` bytes; None where it starts at the beginning.

    Raises ConnectionError where the answer is neither (RFC 9110, 14.4).
    """
    if response.status != 206:
        return None
    unit, _, given = (response.headers.get("Content-Range") or "").partition(" ")
    span, _, length = given.partition("/")
    if unit != "bytes" or span.partition("-")[0] != str(have):
        raise ConnectionError("the server answers with another range than asked for")
    return int(length) if length.isdigit() else have + (_length(response) or 0)


def _length(response: Any) -> int | None:
    given = response.headers.get("Content-Length") or ""
    return int(given) if given.isdigit() else None


def _too_large(url: str, max_bytes: int) -> StageError:
    return StageError(
        f"{url} is larger than {max_bytes / 1e6:,.0f} MB", hint="raise gather.max_source_mb if that is right"
    )


def _copy(url: str, partial: Path, max_bytes: int) -> None:
    path = Path(urllib.request.url2pathname(urlsplit(url).path))
    try:
        if path.stat().st_size > max_bytes:
            raise _too_large(url, max_bytes)
        shutil.copyfile(path, partial)
    except OSError as error:
        raise Unavailable(f"{url}: {error.strerror}") from error


def _asked_wait(headers: Any) -> float | None:
    """Seconds that the server asks to wait (Retry-After: a number, or a date), within bounds."""
    given = (headers.get("Retry-After") or "").strip() if headers else ""
    if not given:
        return None
    try:
        seconds = float(given) if given.isdigit() else parsedate_to_datetime(given).timestamp() - time.time()
    except ValueError:
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)


@contextmanager
def _turn(cache: Cache, url: str) -> Iterator[None]:
    """One connection per host at a time over all processes, and a pause after each."""
    host = urlsplit(url).netloc.rpartition("@")[2]
    with cache.lock(f"host {host}"):
        wait = _last_request.get(host, -PAUSE_SECONDS) + PAUSE_SECONDS - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        try:
            yield
        finally:
            _last_request[host] = time.monotonic()
