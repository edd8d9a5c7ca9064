"""A HuggingFace directory whose files are damaged, missing or foreign; and a disk that fills while one is written."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from safetensors.numpy import save_file

from stages.release.errors import ReleaseError
from stages.release.folder import INDEX, WEIGHTS, Weights, read_json, read_text, replacing


@contextmanager
def disk_that_fills(size: int) -> Iterator[None]:
    """Within the block the system lets no file grow beyond `size` bytes, whoever writes it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def sharded(folder: Path, **changes: Any) -> Path:
    """Two tensors in two shards, and an index that says so but for the changes."""
    ones = np.ones((2, 2), np.float32)
    save_file({"a": ones}, folder / "model-1.safetensors")
    save_file({"b": 2 * ones}, folder / "model-2.safetensors")
    places = {"a": "model-1.safetensors", "b": "model-2.safetensors"} | changes
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def test_shards_are_one_model(tmp_path: Path) -> None:
    weights = Weights(sharded(tmp_path))
    assert weights.shape == {"a": (2, 2), "b": (2, 2)}
    assert weights.read("b").tolist() == [[2, 2], [2, 2]]


def test_shards_that_are_not_what_the_index_says_are_named(tmp_path: Path) -> None:
    for changes, told in (
        ({"c": "model-3.safetensors"}, r"model-3\.safetensors: No such file"),
        ({"c": "model-2.safetensors"}, r"model-2\.safetensors: lacks c, which model\.safetensors\.index\.json says"),
        ({"a": "../model-1.safetensors"}, "the place of a is no name of a file"),
        ({"a": 3}, "the place of a is no name of a file"),
    ):
        with pytest.raises(ReleaseError, match=told):
            Weights(sharded(tmp_path, **changes))
    shutil.copyfile(tmp_path / "model-1.safetensors", tmp_path / "model-2.safetensors")
    with pytest.raises(ReleaseError, match=r"model-2\.safetensors: a is in model-1\.safetensors as well"):
        Weights(sharded_again(tmp_path))


def sharded_again(folder: Path) -> Path:
    places = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    (folder / INDEX).write_text(json.dumps({"weight_map": places}))
    return folder


@pytest.mark.parametrize(
    "index",
    [b"", b"\0" * 40, b"[]", b"{}", b'{"weight_map": []}', b'{"weight_map": {}}', b'{"weight_map": {"a"', b"\xff"],
)
def test_an_index_that_is_none_is_refused(tmp_path: Path, index: bytes) -> None:
    (tmp_path / INDEX).write_bytes(index)
    with pytest.raises(ReleaseError, match=r"model\.safetensors\.index\.json: "):
        Weights(tmp_path)


@pytest.mark.parametrize("told", [b"", b"{", b"[" * 100_000, b"\xff\xfe{}", b'"x"', b'{"a": 1, "a": 2}'])
def test_json_that_is_none_or_says_a_thing_twice_is_refused(tmp_path: Path, told: bytes) -> None:
    (tmp_path / "x.json").write_bytes(told)
    with pytest.raises(ReleaseError, match=r"x\.json: "):
        read_json(tmp_path / "x.json")


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"none\.txt: No such file"):
        read_text(tmp_path / "none.txt")
    with pytest.raises(ReleaseError, match=r"model\.safetensors: No such file"):
        Weights(tmp_path)


@pytest.mark.parametrize("filled", [0, 1, 999])
def test_a_disk_that_fills_leaves_what_was_there(tmp_path: Path, filled: int) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"before")
    with pytest.raises(ReleaseError) as caught, disk_that_fills(filled), replacing(path, 1000) as partial:
        partial.write_bytes(bytes(1000))
    told = f"{path}: cannot be written: File too large; it needs 1.0 kB and 1.0 MB to spare; "
    assert str(caught.value).startswith(told)
    assert caught.value.hint and "pipeline gc" in caught.value.hint
    assert [file.name for file in tmp_path.iterdir()] == ["model.gguf"] and path.read_bytes() == b"before"
    with replacing(path, 1000) as partial:
        partial.write_bytes(b"after")
    assert [file.name for file in tmp_path.iterdir()] == ["model.gguf"] and path.read_bytes() == b"after"


def test_a_disk_without_room_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        total: int = 10**10
        used: int = 10**10 - 3_000_000
        free: int = 3_000_000

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage())
    wanted = r"no room on the disk; it needs 2\.1 GB and 1\.0 MB to spare; 3\.0 MB are free"
    with pytest.raises(ReleaseError, match=wanted), replacing(tmp_path / "model.gguf", 2_100_000_000):
        raise AssertionError("it went on")
    assert not list(tmp_path.iterdir())


def test_another_error_passes_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / WEIGHTS) as partial:
        partial.write_bytes(b"half")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
