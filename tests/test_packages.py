"""Packages come through pip from a folder on this machine; nothing of them is run, and only wheels are taken."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from test_download import Bar

from pipeline.errors import StageError
from stages.corpus.sources import packages
from stages.corpus.sources.cache import Cache, Unavailable
from stages.corpus.sources.declared import PackageSource

LICENCE = "MIT License\n\nCopyright (c) 2020 Ada Lovelace\n"


def make_wheel(
    folder: Path, name: str, version: str, files: Mapping[str, bytes], *, metadata: str = "Author: Ada Lovelace\n"
) -> Path:
    """A wheel as pip accepts it, written by hand (the format of PEP 427)."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/licenses/LICENSE": LICENCE.encode(),
    }
    rows = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}"
        for path, data in content.items()
    ]
    content[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in content.items():
            archive.writestr(zipfile.ZipInfo(member), data)
    return path


def make_sdist(folder: Path, name: str, version: str, ran: Path) -> Path:
    """A source package that does what a source package may do while pip asks for its name: run its own code."""
    files = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": f"open({str(ran)!r}, 'w').close()\n",
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for member, text in files.items():
            info = tarfile.TarInfo(f"{name}-{version}/{member}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip knows of."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CONFIG_FILE", "PIP_CERT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def declared(package: str, **more: Any) -> PackageSource:
    return PackageSource.model_validate_json(json.dumps({"package": package, "license": "MIT", **more}))


def get(folder: Path, package: str, *, max_bytes: int = 10**8, **more: Any) -> tuple[Path, str]:
    return packages.fetch(Cache(folder), declared(package, **more), max_bytes=max_bytes, progress=Bar())


def test_a_wheel_is_fetched_once_and_then_needs_no_index(tmp_path: Path, index: Path) -> None:
    wheel = make_wheel(index, "toy-stubs", "1.0", {"toy.pyi": b"x: int\n"})
    data = wheel.read_bytes()
    path, name = get(tmp_path / "cache", "toy-stubs==1.0")
    assert (path.read_bytes(), name) == (data, wheel.name)
    wheel.unlink()
    for same in ("toy-stubs==1.0", "Toy.Stubs==1.0", "toy_stubs==1.0"):
        assert get(tmp_path / "cache", same) == (path, name)
    assert get(tmp_path / "cache", "toy-stubs==1.0", sha256=hashlib.sha256(data).hexdigest()) == (path, name)
    assert packages.author(path) == "Ada Lovelace"


def test_the_exact_version_is_taken_whatever_else_there_is(tmp_path: Path, index: Path) -> None:
    for version in ("0.9", "1.0", "1.0.post1", "2.0"):
        make_wheel(index, "toy", version, {"toy.pyi": version.encode()})
    assert get(tmp_path / "cache", "toy==1.0")[1] == "toy-1.0-py3-none-any.whl"
    assert get(tmp_path / "cache", "toy==1.0.post1")[1] == "toy-1.0.post1-py3-none-any.whl"


def test_a_source_package_is_refused_without_running_a_line_of_it(tmp_path: Path, index: Path) -> None:
    ran = tmp_path / "ran"
    make_sdist(index, "evil", "1.0", ran)
    with pytest.raises(Unavailable, match=r"evil==1\.0: no wheel to be had: .*only a source package.*`url:`"):
        get(tmp_path / "cache", "evil==1.0")
    assert not ran.exists()


def test_what_there_is_instead_is_told(tmp_path: Path, index: Path) -> None:
    make_wheel(index, "toy", "1.0", {})
    with pytest.raises(Unavailable, match=r"toy==3\.0: no wheel of this version .*the last ones: 1\.0"):
        get(tmp_path / "cache", "toy==3.0")
    with pytest.raises(Unavailable, match=r"nobody==1: no wheel to be had: offline, a wrong name"):
        get(tmp_path / "cache", "nobody==1")


def test_an_index_that_cannot_be_reached_is_told(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setattr(packages, "RETRIES", 1)
    with pytest.raises(Unavailable, match="toy==1: the package index cannot be reached"):
        get(tmp_path / "cache", "toy==1")


def test_another_wheel_than_declared_or_than_last_time_is_refused(tmp_path: Path, index: Path) -> None:
    wheel = make_wheel(index, "toy", "1.0", {"toy.pyi": b"first"})
    first = hashlib.sha256(wheel.read_bytes()).hexdigest()
    with pytest.raises(StageError, match=f"toy==1.0 has the sha256 {first}, not {'0' * 64} as declared"):
        get(tmp_path / "cache", "toy==1.0", sha256="0" * 64)
    path, _ = get(tmp_path / "cache", "toy==1.0")
    make_wheel(index, "toy", "1.0", {"toy.pyi": b"second"})
    path.write_bytes(b"damaged")
    with pytest.raises(StageError, match=f"had the sha256 {first} when it was first fetched"):
        get(tmp_path / "cache", "toy==1.0")


def test_a_damaged_wheel_in_the_cache_is_fetched_again(tmp_path: Path, index: Path) -> None:
    data = make_wheel(index, "toy", "1.0", {"toy.pyi": b"x"}).read_bytes()
    path, _ = get(tmp_path / "cache", "toy==1.0")
    path.write_bytes(data[:-1])
    assert get(tmp_path / "cache", "toy==1.0")[0].read_bytes() == data


def test_a_wheel_over_the_limit_is_refused(tmp_path: Path, index: Path) -> None:
    make_wheel(index, "toy", "1.0", {"toy.pyi": hashlib.shake_256(b"x").digest(300_000)})
    with pytest.raises(StageError, match=r"MB|too large"):
        get(tmp_path / "cache", "toy==1.0", max_bytes=100_000)


def test_a_python_without_pip_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.machinery.PathFinder.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="this Python has no pip") as caught:
        get(tmp_path / "cache", "toy==1.0")
    assert caught.value.hint == f"{Path(sys.executable).name} -m ensurepip"


@pytest.mark.parametrize(
    ("metadata", "author"),
    [
        ("Author-email: Ada <ada@example.com>, b@example.com\n", "Ada, b@example.com"),
        ("Author: \nMaintainer: Grace Hopper\n", "Grace Hopper"),
        ("", ""),
    ],
)
def test_who_wrote_it_is_in_the_metadata(tmp_path: Path, metadata: str, author: str) -> None:
    assert packages.author(make_wheel(tmp_path, "toy", "1.0", {}, metadata=metadata)) == author
