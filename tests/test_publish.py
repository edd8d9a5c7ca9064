"""`exports/` holds a whole release or the one before, whatever fails, and nothing of its owner's is lost."""

from __future__ import annotations

import ctypes  # noqa: F401 (loaded here, so that no fault falls into its loading)
import errno
import hashlib
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import IntegrityError, PipelineError, StageError
from stages.release import publish as module
from stages.release.publish import problems, publish, read_sums, write_sums

GGUF = "tiny-f16.gguf"


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make_artifact(folder: Path, **texts: str) -> Path:
    """A small artifact with checksums, as the export stage and the store leave one."""
    (folder / "huggingface").mkdir(parents=True)
    for name, text in {"Modelfile": "FROM ./x", GGUF: "weights", **texts}.items():
        (folder / name).write_text(text)
    (folder / "huggingface/config.json").write_text("{}")
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files_below(folder).items())
    (folder / "SHA256SUMS").write_text(sums)
    (folder / "manifest.json").write_text("{}")
    return folder


def released(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in files_below(folder).items() if name != "manifest.json"}


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return make_artifact(tmp_path / "first")


@pytest.fixture
def second(tmp_path: Path) -> Path:
    return make_artifact(tmp_path / "second", **{GGUF: "better weights", "README.md": "new", "Modelfile": "FROM ./y"})


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    return tmp_path / "exports"


@pytest.fixture(params=["exchange", "two renames"])
def swapping(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to put a new folder where the old one is."""
    if request.param == "two renames":
        monkeypatch.setattr(module, "_exchanged", lambda *_: False)
    return str(request.param)


def test_publishing_gives_the_command_for_ollama(first: Path, exports: Path) -> None:
    told = publish(first, "tiny", exports)
    assert told == f"ollama create tiny -f {exports}/tiny/Modelfile"
    assert files_below(exports / "tiny") == released(first)
    assert [path.name for path in exports.iterdir()] == ["tiny"]


def test_publishing_again_touches_nothing(first: Path, exports: Path) -> None:
    publish(first, "tiny", exports)
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in exports.rglob("*")}
    publish(first, "tiny", exports)
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in exports.rglob("*")} == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / GGUF).unlink() or (folder / GGUF).write_text("wEights"),
        lambda folder: (folder / "Modelfile").unlink(),
        lambda folder: (folder / "SHA256SUMS").unlink(),
        lambda folder: (folder / "SHA256SUMS").write_bytes(b"\xff\x00"),
        lambda folder: shutil.rmtree(folder),
        lambda folder: (folder / "huggingface/config.json").unlink(),
    ],
    ids=["changed", "missing", "no sums", "foreign sums", "gone", "missing below"],
)
def test_publishing_mends_what_is_damaged(first: Path, exports: Path, damage: Callable[[Path], Any]) -> None:
    publish(first, "tiny", exports)
    damage(exports / "tiny")
    publish(first, "tiny", exports)
    assert files_below(exports / "tiny") == released(first)


def test_a_new_release_replaces_the_whole_of_the_old(first: Path, second: Path, exports: Path, swapping: str) -> None:
    publish(second, "tiny", exports)
    publish(first, "tiny", exports)
    assert files_below(exports / "tiny") == released(first)
    assert [path.name for path in exports.iterdir()] == ["tiny"]


def test_what_is_not_ours_stays_and_what_was_edited_is_kept_aside(
    first: Path, second: Path, exports: Path, swapping: str, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(first, "tiny", exports)
    target = exports / "tiny"
    (target / "notes/empty").mkdir(parents=True)
    (target / "notes/mine.txt").write_text("mine")
    (target / "link").symlink_to("nowhere")
    (target / "README.md").write_text("my own, before there was one")
    (target / "Modelfile").write_text("FROM ./x\nPARAMETER temperature 0.9")
    (target / "Modelfile.kept").write_text("from last time")
    publish(second, "tiny", exports)
    mine = {
        "notes/mine.txt": b"mine", "README.md.kept": b"my own, before there was one",
        "Modelfile.kept2": b"FROM ./x\nPARAMETER temperature 0.9", "Modelfile.kept": b"from last time",
    }  # fmt: skip
    assert files_below(target) == released(second) | mine
    assert (target / "notes/empty").is_dir() and (target / "link").readlink() == Path("nowhere")
    told = capsys.readouterr().err
    assert f"{target}/Modelfile was changed since it was released; that version is now Modelfile.kept2" in told
    assert told.count("warning") == 2 and "README.md.kept" in told
    publish(second, "tiny", exports)
    publish(first, "tiny", exports)
    assert files_below(target) == released(first) | mine
    assert "warning" not in capsys.readouterr().err


def test_a_file_where_the_release_belongs_is_not_touched(first: Path, exports: Path) -> None:
    exports.mkdir()
    (exports / "tiny").write_text("mine")
    with pytest.raises(StageError, match="tiny is a file"):
        publish(first, "tiny", exports)
    assert files_below(exports) == {"tiny": b"mine"}


def test_a_release_on_another_disk_stays_there(first: Path, second: Path, exports: Path, tmp_path: Path) -> None:
    exports.mkdir()
    (exports / "tiny").symlink_to(tmp_path / "disk/tiny")
    for artifact in (first, second):
        publish(artifact, "tiny", exports)
        assert (exports / "tiny").is_symlink() and files_below(tmp_path / "disk/tiny") == released(artifact)
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["tiny"]


def test_weights_are_stored_once_and_texts_can_be_edited(first: Path, exports: Path) -> None:
    publish(first, "tiny", exports)
    assert (exports / "tiny" / GGUF).samefile(first / GGUF)
    for name in ("Modelfile", "SHA256SUMS", "huggingface/config.json"):
        assert not (exports / "tiny" / name).samefile(first / name)


def test_where_the_file_system_shares_blocks_nothing_is_linked(
    first: Path, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def share(new: Any, request: int, old: int) -> None:
        assert request == 0x40049409
        with os.fdopen(os.dup(old), "rb") as source:
            new.write(source.read())

    monkeypatch.setattr("fcntl.ioctl", share)
    monkeypatch.setattr(module, "_linked", lambda *_: pytest.fail("linked"))
    publish(first, "tiny", exports)
    assert files_below(exports / "tiny") == released(first)


def test_on_another_disk_weights_are_copied(first: Path, exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(*_: Any, **__: Any) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", other)
    publish(first, "tiny", exports)
    (exports / "tiny/notes").write_text("mine")
    publish(first, "tiny", exports)
    assert files_below(exports / "tiny") == released(first) | {"notes": b"mine"}
    assert not (exports / "tiny" / GGUF).samefile(first / GGUF)


def test_a_damaged_artifact_is_named_and_not_published_over_a_good_release(
    first: Path, second: Path, exports: Path
) -> None:
    publish(first, "tiny", exports)
    damages: list[tuple[Callable[[], Any], str]] = [
        (lambda: (second / GGUF).write_text("bitter weights"), f"second: {GGUF} does not match its checksum"),
        (lambda: (second / GGUF).unlink(), f"second: {GGUF} is missing"),
        (lambda: (second / "SHA256SUMS").write_text("what is this?\n"), "SHA256SUMS: not a list of checksums"),
        (lambda: (second / "SHA256SUMS").write_text(f"{'0' * 64}  ../first/{GGUF}\n"), "not a list of checksums"),
        (lambda: (second / "SHA256SUMS").unlink(), "second/SHA256SUMS: .*No such file"),
    ]
    for damage, told in damages:
        damage()
        with pytest.raises(IntegrityError, match=told):
            publish(second, "tiny", exports)
        assert files_below(exports) == {f"tiny/{name}": data for name, data in released(first).items()}


def test_the_checksums_are_those_that_coreutils_reads(first: Path) -> None:
    (first / "manifest.json").write_text("not listed: the store writes it later")
    (first / "huggingface/ü 1.txt").write_text("x")
    (first / "SHA256SUMS").unlink()
    write_sums(first)
    assert read_sums(first).keys() == released(first).keys() - {"SHA256SUMS"}
    if shutil.which("sha256sum"):
        check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
        assert subprocess.run(check, cwd=first, capture_output=True, text=True).stdout == ""
        (first / GGUF).write_text("wEights")
        assert subprocess.run(check, cwd=first, capture_output=True, text=True).stdout == f"{GGUF}: FAILED\n"
    (first / "Modelfile").unlink()
    (first / GGUF).write_text("wEights")
    told = sorted(problems(first, read_sums(first)))
    assert told == ["Modelfile is missing", f"{GGUF} does not match its checksum"]


def test_too_little_room_is_told_before_anything_is_written(
    first: Path, second: Path, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(first, "tiny", exports)
    monkeypatch.setattr(module, "free_bytes", lambda _: 5)
    monkeypatch.setattr(os, "link", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EPERM, "no")))
    needed = sum(len(data) for data in released(second).values())
    with pytest.raises(StageError, match=rf"no room in {exports}: {needed} B needed, 5 B free; the release before"):
        publish(second, "tiny", exports)
    assert files_below(exports) == {f"tiny/{name}": data for name, data in released(first).items()}


def test_a_disk_that_fills_at_nine_tenths_leaves_the_release_before(
    tmp_path: Path, first: Path, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(first, "tiny", exports)
    large = make_artifact(tmp_path / "large", **{GGUF: "w" * 100_000})
    monkeypatch.setattr(module, "_linked", lambda *_: False)
    limit, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, hard))  # a write past it fails with EFBIG
    try:
        with pytest.raises(StageError, match=r"no room in .*exports: 100\.\d kB needed, .* free"):
            publish(large, "tiny", exports)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    assert files_below(exports) == {f"tiny/{name}": data for name, data in released(first).items()}
    publish(large, "tiny", exports)
    assert files_below(exports / "tiny") == released(large)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_an_exports_folder_that_is_read_only_is_named(
    first: Path, second: Path, exports: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    publish(first, "tiny", exports)
    mkdir = os.mkdir

    def refuse(path: Any, *args: Any, **kwargs: Any) -> None:
        if Path(path).parent == exports:
            raise OSError(code, os.strerror(code), path)
        mkdir(path, *args, **kwargs)

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(StageError, match=rf"{exports}/\.tiny\.new: {os.strerror(code)}") as caught:
        publish(second, "tiny", exports)
    assert caught.value.hint is not None and str(exports) in caught.value.hint
    assert files_below(exports) == {f"tiny/{name}": data for name, data in released(first).items()}


EVENTS = {
    "open", "os.rename", "os.mkdir", "os.link", "os.remove", "os.rmdir", "os.scandir", "os.listdir", "fcntl.ioctl",
}  # fmt: skip


class Fault:
    """Fails the call to the operating system of a given number: an audit hook sees each one before it is made."""

    def __init__(self) -> None:
        self.at, self.calls, self.error = -1, 0, lambda: None
        sys.addaudithook(self)

    def __call__(self, event: str, _: Any) -> None:
        if self.at >= 0 and event in EVENTS:
            self.count()

    def count(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            self.error()

    @contextmanager
    def __getitem__(self, at: int) -> Iterator[None]:
        self.at, self.calls = at, 0
        try:
            yield
        finally:
            self.at = -1


@pytest.fixture(scope="module")
def fault() -> Fault:
    return Fault()


class Crash(BaseException):
    """Ctrl-C, for a test."""


def prepared(first: Path, exports: Path) -> dict[str, bytes]:
    """The first release with something of its owner's beside it."""
    shutil.rmtree(exports, ignore_errors=True)
    publish(first, "tiny", exports)
    (exports / "tiny/notes.txt").write_text("mine")
    (exports / "tiny/Modelfile").write_text("edited")
    return files_below(exports / "tiny")


@pytest.mark.parametrize("what", ["full", "denied", "interrupted"])
def test_whatever_call_fails_there_is_a_whole_release(
    first: Path, second: Path, exports: Path, swapping: str, fault: Fault, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def fail() -> None:
        if what == "interrupted":
            raise Crash
        raise OSError({"full": errno.ENOSPC, "denied": errno.EACCES}[what], "as the test wants")

    def fsync(descriptor: int) -> None:
        if fault.at >= 0:
            fault.count()

    fault.error = fail
    monkeypatch.setattr(os, "fsync", fsync)
    whole = released(second) | {"notes.txt": b"mine", "Modelfile.kept": b"edited"}
    failures, call = 0, 0
    while call == 0 or fault.calls >= call:
        call += 1
        before = prepared(first, exports)
        with fault[call]:
            try:
                publish(second, "tiny", exports)
                outcome = [whole]
            except (PipelineError, Crash):
                outcome, failures = [before, whole] if what == "interrupted" else [before], failures + 1
                if what != "interrupted":
                    assert [path.name for path in exports.iterdir()] == ["tiny"], call  # no half copy fills the disk
        assert files_below(exports / "tiny") in outcome, call
        publish(second, "tiny", exports)
        assert files_below(exports / "tiny") == whole, call
        assert [path.name for path in exports.iterdir()] == ["tiny"], call
    assert call > 40 and failures > 15


KILLED = """
import os, sys
from pathlib import Path
import ctypes, fcntl, shutil
from stages.release import publish as module
from tests_publish import EVENTS

first, second, exports, exchange = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4] == "exchange"
if not exchange:
    module._exchanged = lambda *_: False
calls = at = 0

def hook(event, _):
    global calls
    if at and event in EVENTS:
        calls += 1
        if calls == at:
            os._exit(9)

sys.addaudithook(hook)

def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

def published(number):
    global calls, at
    child = os.fork()
    if not child:
        calls, at = 0, number
        module.publish(second, "tiny", exports)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

number, without = 0, 0
while True:
    number += 1
    shutil.rmtree(exports, ignore_errors=True)
    module.publish(first, "tiny", exports)
    (exports / "tiny/notes.txt").write_text("mine")
    before = files(exports / "tiny")
    done = published(number)
    after = files(second) | {"notes.txt": b"mine"}
    after.pop("manifest.json")
    if (exports / "tiny").exists():
        assert files(exports / "tiny") in (before, after), number
    else:
        assert not exchange and files(exports / ".tiny.old") == before, number
        without += 1
    module.publish(second, "tiny", exports)
    assert files(exports / "tiny") == after and os.listdir(exports) == ["tiny"], number
    if done:
        break
print(number, without)
"""


@pytest.mark.parametrize("way", ["exchange", "two renames"])
def test_a_kill_at_any_call_leaves_a_whole_release(
    tmp_path: Path, first: Path, second: Path, exports: Path, way: str
) -> None:
    """Killed for good, with no chance to tidy up; with an exchange there is not even a moment without a release."""
    (tmp_path / "tests_publish.py").write_text(f"EVENTS = {EVENTS!r}\n")
    (tmp_path / "script.py").write_text(KILLED)
    project = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py", first, second, exports, way],
        env={**os.environ, "PYTHONPATH": f"{project}{os.pathsep}{tmp_path}"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kills, without = map(int, done.stdout.split())
    assert kills > 30 and without == (1 if way == "two renames" else 0)
