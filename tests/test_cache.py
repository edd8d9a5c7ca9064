"""The cache: what it gives out is what its name says, whoever else uses it and whatever was killed."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.hardware import cache_folder
from stages.corpus.sources.cache import Cache


def put(cache: Cache, content: bytes) -> tuple[Path, str]:
    partial = cache.partial("x")
    partial.write_bytes(content)
    return cache.keep(partial)


def test_a_blob_is_found_by_its_checksum(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    path, sha256 = put(cache, b"hello")
    assert sha256 == hashlib.sha256(b"hello").hexdigest() == path.name
    assert cache.blob(sha256) == path and path.read_bytes() == b"hello"
    assert cache.blob("0" * 64) is None and not cache.partial("x").exists()


@pytest.mark.parametrize("damage", [b"hellO", b"hell", b"", b"hello!"])
def test_a_damaged_blob_is_not_found_and_cleared_away(tmp_path: Path, damage: bytes) -> None:
    cache = Cache(tmp_path)
    path, sha256 = put(cache, b"hello")
    path.write_bytes(damage)
    assert cache.blob(sha256) is None and not path.exists()


def test_records_survive_and_unreadable_ones_are_none(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.note("package a==1", {"file": "a.whl"})
    assert cache.record("package a==1") == {"file": "a.whl"} and cache.record("package b==1") == {}
    (record,) = (tmp_path / "records").iterdir()
    for text in ("{", "[]", ""):
        record.write_text(text)
        assert cache.record("package a==1") == {}


def test_keys_that_look_alike_do_not_meet(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    keys = ["a/b", "a:b", "a-b", "A-b", "x" * 300, "x" * 301, "../a", "", "ä"]
    paths = {cache.partial(key) for key in keys}
    assert len(paths) == len(keys) and all(path.parent == tmp_path / "partial" for path in paths)
    assert all(len(path.name) < 100 for path in paths)


def test_a_workspace_is_empty_and_goes_away_even_what_a_killed_one_left(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with pytest.raises(RuntimeError), cache.workspace("git a") as folder:
        (folder / "x").write_text("x")
        raise RuntimeError
    left = cache.partial("git a").with_name(f"{cache.partial('git a').name}.work-dead")
    left.mkdir()
    (left / "y").write_text("y")
    other = left.with_name("other.work-alive")
    other.mkdir()
    with cache.lock("git a"), cache.workspace("git a") as folder:
        assert not list(folder.iterdir()) and not left.exists() and other.exists()
    assert not folder.exists()


HOLDER = """
import sys, time
from pathlib import Path
from stages.corpus.sources.cache import Cache
with Cache(Path(sys.argv[1])).lock("a"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_a_name_is_worked_on_by_one_process_and_freed_by_its_death(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path)]
    holder = subprocess.Popen([*command, "60"], stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdout.readline() == b"held\n"
    waiter = subprocess.Popen([*command, "0"], stdout=subprocess.PIPE)
    time.sleep(0.7)
    assert waiter.poll() is None
    with Cache(tmp_path).lock("b"):
        holder.send_signal(signal.SIGKILL)
    assert waiter.communicate(timeout=20)[0] == b"held\n"
    holder.communicate(timeout=20)


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.setenv("PIPELINE_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == tmp_path / ".cache" / "pipeline"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "pipeline"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == tmp_path / "Library" / "Caches" / "pipeline"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local" / "pipeline" / "cache"


def test_a_cache_that_cannot_be_written_says_how_to_have_another(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written") as caught, Cache(tmp_path / "file").lock("a"):
        pass
    assert caught.value.hint and "PIPELINE_CACHE" in caught.value.hint
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208  (what is there, and nothing else)
