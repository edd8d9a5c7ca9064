"""Downloads from a server on this machine that truncates, refuses, stalls, lies and is killed."""

from __future__ import annotations

import hashlib
import http.server
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline.errors import StageError
from stages.corpus.sources import download
from stages.corpus.sources.cache import Cache, Unavailable

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Site:
    """A server with files by path. `answers` are taken one per request before it behaves.

    An answer is a status, ("cut", bytes) to close early, ("stall", bytes) to hang until released, or headers to add.
    """

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    answers: list[object] = field(default_factory=list)
    ranges: bool = True
    length: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    release: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"


def handler(site: Site) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.at_once += 1
            site.most_at_once = max(site.at_once, site.most_at_once)
            try:
                self.answer()
            except (BrokenPipeError, ConnectionResetError):
                pass
            finally:
                site.at_once -= 1

        def answer(self) -> None:
            path, span = self.path.lstrip("/"), self.headers.get("Range")
            site.asked.append((path, span))
            site.headers.append(dict(self.headers))
            planned = site.answers.pop(0) if site.answers else None
            if isinstance(planned, int):
                self.send_response(planned)
                self.send_header("Retry-After", "0")
                self.end_headers()
                return
            if isinstance(planned, str):
                self.send_response(302)
                self.send_header("Location", planned)
                self.end_headers()
                return
            content = site.files.get(path)
            if content is None:
                self.send_error(404)
                return
            start = int(span.removeprefix("bytes=").rstrip("-")) if span and site.ranges else 0
            if start and start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                start += planned == ("lie",)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            if site.length:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            if isinstance(planned, tuple) and planned[0] in ("cut", "stall"):
                self.wfile.write(content[start : start + planned[1]])
                self.wfile.flush()
                if planned[0] == "stall":
                    site.release.wait(30)
                return
            self.wfile.write(content[start:])

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


@contextmanager
def serving() -> Iterator[Site]:
    site = Site()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(site)) as server:
        server.daemon_threads = True
        site.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield site
        finally:
            site.release.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    with serving() as site:
        site.files = {"book.pdf": CONTENT}
        yield site


class Bar:
    """Records what was shown."""

    def __init__(self) -> None:
        self.totals: list[float] = []
        self.steps: list[float] = []

    @contextmanager
    def __call__(self, total: float, unit: str) -> Iterator[Bar]:
        self.totals.append(total)
        self.steps = []
        yield self

    def advance(self, amount: float = 1, note: str | None = None) -> None:
        self.steps.append(amount)


def get(folder: Path, url: str, *, sha256: str = SHA256, max_bytes: int = 10**8, bar: Bar | None = None) -> bytes:
    return download.fetch(Cache(folder), url, sha256, max_bytes=max_bytes, progress=bar or Bar()).read_bytes()


def test_a_file_is_fetched_once_and_then_taken_from_the_cache(tmp_path: Path, site: Site) -> None:
    bar = Bar()
    assert get(tmp_path, site.url("book.pdf"), bar=bar) == CONTENT
    assert bar.totals == [len(CONTENT) / 1e6] and sum(bar.steps) == pytest.approx(len(CONTENT) / 1e6)
    site.files.clear()
    assert get(tmp_path, site.url("book.pdf")) == CONTENT
    assert site.asked == [("book.pdf", None)]
    assert "pipeline" in site.headers[0]["User-Agent"] and site.headers[0]["Accept-Encoding"] == "identity"
    assert not list((tmp_path / "partial").iterdir())


def test_a_damaged_cache_is_noticed_and_fetched_again(tmp_path: Path, site: Site) -> None:
    get(tmp_path, site.url("book.pdf"))
    (tmp_path / "blobs" / SHA256).write_bytes(CONTENT[:-1] + b"?")
    assert get(tmp_path, site.url("book.pdf")) == CONTENT
    assert len(site.asked) == 2


@pytest.mark.parametrize("length", [True, False])
def test_a_connection_that_breaks_is_gone_on_with(tmp_path: Path, site: Site, length: bool) -> None:
    site.length = length
    site.answers = [("cut", 300_000)] * (3 if length else 0)
    bar = Bar()
    assert get(tmp_path, site.url("book.pdf"), bar=bar) == CONTENT
    if length:
        spans = [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]
        assert [span for _, span in site.asked] == spans
        assert bar.steps[0] == 0.9 and sum(bar.steps) == pytest.approx(len(CONTENT) / 1e6)


def test_many_small_steps_arrive_but_no_steps_at_all_give_up(tmp_path: Path, site: Site) -> None:
    site.answers = [("cut", 50_000)] * 15
    assert get(tmp_path, site.url("book.pdf")) == CONTENT
    site.answers = [*[("cut", 0)] * 3, ("cut", 50_000), *[("cut", 0)] * 3]
    assert get(tmp_path / "patient", site.url("book.pdf")) == CONTENT
    site.answers = [("cut", 0)] * 15
    with pytest.raises(Unavailable, match=r"the connection ended after 0 of .* \(tried 4 times\)"):
        get(tmp_path / "other", site.url("book.pdf"))


def test_a_server_without_ranges_starts_again(tmp_path: Path, site: Site) -> None:
    site.ranges = False
    site.answers = [("cut", 700_000), ("cut", 300_000)]
    assert get(tmp_path, site.url("book.pdf")) == CONTENT


def test_a_server_that_gives_another_range_is_not_believed(tmp_path: Path, site: Site) -> None:
    site.answers = [("cut", 1000), ("lie",)]
    assert get(tmp_path, site.url("book.pdf")) == CONTENT


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_a_server_in_trouble_is_asked_again_as_it_wishes(tmp_path: Path, site: Site, status: int) -> None:
    site.answers = [status, status]
    assert get(tmp_path, site.url("book.pdf")) == CONTENT
    assert len(site.asked) == 3


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_clear_no_is_taken_as_one(tmp_path: Path, site: Site, status: int) -> None:
    site.answers = [status]
    with pytest.raises(Unavailable, match=f"{site.url('book.pdf')}: the server answers {status}"):
        get(tmp_path, site.url("book.pdf"))
    assert len(site.asked) == 1


def test_waiting_follows_the_server_within_bounds() -> None:
    asked: Callable[[dict[str, str]], float | None] = download._asked_wait
    assert asked({"Retry-After": "7"}) == 7
    assert asked({"Retry-After": "9999"}) == download.LONGEST_WAIT_SECONDS
    assert asked({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert asked({"Retry-After": "soon"}) is None and asked({}) is None


def test_another_file_than_declared_is_refused_and_not_kept(tmp_path: Path, site: Site) -> None:
    site.files["book.pdf"] = CONTENT[:-1] + b"?"
    got = hashlib.sha256(site.files["book.pdf"]).hexdigest()
    with pytest.raises(StageError, match=f"has the sha256 {got}, not {SHA256} as declared") as caught:
        get(tmp_path, site.url("book.pdf"))
    assert not isinstance(caught.value, Unavailable) and caught.value.hint
    assert not (tmp_path / "blobs").exists() and not list((tmp_path / "partial").iterdir())


def test_the_rest_of_an_earlier_version_is_thrown_away(tmp_path: Path, site: Site) -> None:
    for left in (b"another file", CONTENT[:1000], CONTENT, CONTENT + b"more"):
        cache = Cache(tmp_path / str(len(left)))
        cache.partial(SHA256).write_bytes(left)
        assert get(cache.root, site.url("book.pdf")) == CONTENT


@pytest.mark.parametrize("length", [True, False])
def test_more_than_the_limit_is_refused(tmp_path: Path, site: Site, length: bool) -> None:
    site.length = length
    with pytest.raises(StageError, match=r"is larger than 1 MB") as caught:
        get(tmp_path, site.url("book.pdf"), max_bytes=1_000_000)
    assert caught.value.hint and "max_source_mb" in caught.value.hint
    assert sum(path.stat().st_size for path in (tmp_path / "partial").iterdir()) <= (0 if length else 10**6)


def test_a_server_that_stalls_is_left_and_gone_on_with(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.3)
    site.answers = [("stall", 500_000)]
    assert get(tmp_path, site.url("book.pdf")) == CONTENT
    assert [span for _, span in site.asked] == [None, "bytes=500000-"]


def test_a_redirect_is_followed_but_not_to_a_file(tmp_path: Path, site: Site) -> None:
    site.answers = [site.url("book.pdf")]
    assert get(tmp_path, site.url("old.pdf")) == CONTENT
    (tmp_path / "secret").write_bytes(CONTENT)
    site.answers = [(tmp_path / "secret").as_uri()]
    with pytest.raises(Unavailable):
        get(tmp_path / "other", site.url("old.pdf"))


def test_nobody_there_is_told_with_the_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:9/a\.pdf: .*refused.* \(tried 4 times\)"):
        get(tmp_path, "http://127.0.0.1:9/a.pdf")


def test_file_urls(tmp_path: Path) -> None:
    (tmp_path / "a b.pdf").write_bytes(CONTENT)
    url = (tmp_path / "a b.pdf").as_uri()
    assert get(tmp_path / "cache", url) == CONTENT
    (tmp_path / "a b.pdf").unlink()
    assert get(tmp_path / "cache", url) == CONTENT
    with pytest.raises(Unavailable, match="No such file"):
        get(tmp_path / "other", url)


def test_there_is_a_pause_between_requests_to_one_host(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.3)
    site.files["two"] = b"2"
    began = time.monotonic()
    get(tmp_path, site.url("book.pdf"))
    get(tmp_path, site.url("two"), sha256=hashlib.sha256(b"2").hexdigest())
    assert time.monotonic() - began >= 0.3


FETCH = """
import sys
from pathlib import Path
from stages.corpus.sources import download
from stages.corpus.sources.cache import Cache
from test_download import Bar
download.PAUSE_SECONDS = 0.0
print(download.fetch(Cache(Path(sys.argv[1])), sys.argv[2], sys.argv[3], max_bytes=10**9, progress=Bar()))
"""


def fetching(cache: Path, url: str) -> subprocess.Popen[bytes]:
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n{textwrap.dedent(FETCH)}"
    return subprocess.Popen([sys.executable, "-c", code, str(cache), url, SHA256], stdout=subprocess.PIPE)


def test_a_download_that_was_killed_goes_on_where_it_was(tmp_path: Path, site: Site) -> None:
    site.answers = [("stall", 600_000)]
    child = fetching(tmp_path, site.url("book.pdf"))
    for _ in range(300):
        left = [path.stat().st_size for path in tmp_path.glob("partial/*")]
        if left and left[0] >= 500_000:
            break
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=20)
    assert not (tmp_path / "blobs").exists()
    assert get(tmp_path, site.url("book.pdf")) == CONTENT
    (_, span) = site.asked[-1]
    assert span and int(span.removeprefix("bytes=").rstrip("-")) >= 500_000


def test_several_processes_fetch_a_file_once_over_one_connection(tmp_path: Path, site: Site) -> None:
    children = [fetching(tmp_path, site.url("book.pdf")) for _ in range(3)]
    assert {child.communicate(timeout=60)[0].strip() for child in children} == {
        str(tmp_path / "blobs" / SHA256).encode()
    }
    assert len(site.asked) == 1 and site.most_at_once == 1
