"""Fetch a package of the package index by exact version: its wheel, which is read and never installed or run."""

from __future__ import annotations

import email.parser
import email.utils
import importlib.machinery
import os
import re
import sys
import zipfile
from pathlib import Path

from pipeline.errors import StageError
from stages.corpus.sources import child
from stages.corpus.sources.cache import Cache, Unavailable
from stages.corpus.sources.declared import PackageSource
from stages.corpus.sources.download import Progress

RETRIES = 2
_METADATA_BYTES = 2**20


def fetch(cache: Cache, source: PackageSource, *, max_bytes: int, progress: Progress) -> tuple[Path, str]:
    """The wheel of a package, from the cache or through pip with the user's own settings, and its file name.

    Only wheels are taken, since pip runs the code of a source package to learn its name. Raises Unavailable where
    there is none to be had, StageError where it is another one than `sha256` says.
    """
    key = f"package {re.sub(r'[-_.]+', '-', source.package.partition('==')[0]).lower()}=={_version(source)}"
    with cache.lock(key):
        noted = cache.record(key)
        name, sha256 = str(noted.get("file", "")), str(noted.get("sha256", ""))
        if source.sha256 in (None, sha256) and sha256 and (found := cache.blob(sha256)):
            return found, name
        with cache.workspace(key) as folder:
            wheel = _download(source, folder, max_bytes, progress)
            path, got = cache.keep(wheel)
        if source.sha256 not in (None, got):
            raise StageError(
                f"{source.package} has the sha256 {got}, not {source.sha256} as declared",
                hint="wheels differ by platform; or the checksum in the config is of another version",
            )
        if source.sha256 is None and sha256 not in ("", got):
            raise StageError(
                f"{source.package} had the sha256 {sha256} when it was first fetched, and has {got} now",
                hint=f"if that is right, pin it: sha256: {got}",
            )
        cache.note(key, {"file": wheel.name, "sha256": got})
        return path, wheel.name


def _version(source: PackageSource) -> str:
    return source.package.partition("==")[2]


def _download(source: PackageSource, folder: Path, max_bytes: int, progress: Progress) -> Path:
    if importlib.machinery.PathFinder.find_spec("pip") is None:
        raise Unavailable(f"{source.package}: this Python has no pip", hint=f"{Path(sys.executable).name} -m ensurepip")
    (folder / "tmp").mkdir()
    command = [
        sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--ignore-requires-python",
        "--no-input", "--disable-pip-version-check", "--progress-bar=off", f"--retries={RETRIES}",
        "--dest", str(folder / "got"), "--", source.package,
    ]  # fmt: skip
    env = {**os.environ, "TMPDIR": str(folder / "tmp"), "TEMP": str(folder / "tmp")}
    try:
        with progress(0, "MB") as bar:
            bar.advance(0, note=source.package)
            child.run(command, folder, env=env, max_bytes=max_bytes, bar=bar)
    except child.Failed as error:
        raise Unavailable(f"{source.package}: {_reason(str(error))}") from error
    wheels = [path for path in (folder / "got").iterdir() if path.suffix == ".whl"]
    if len(wheels) != 1:
        raise Unavailable(f"{source.package}: pip gave no wheel")
    if wheels[0].stat().st_size > max_bytes:
        raise StageError(f"{source.package} is too large", hint="raise gather.max_source_mb if that is right")
    return wheels[0]


def _reason(said: str) -> str:
    """What pip's many lines come to."""
    if "NewConnectionError" in said or "Failed to establish" in said or "NameResolution" in said:
        return "the package index cannot be reached"
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    known = re.search(r"\(from versions: (.*?)\)", said)
    if known and known[1] != "none":
        last = ", ".join(known[1].split(", ")[-5:])
        return f"no wheel of this version in the package index (the last ones: {last})"
    if known:
        return (
            "no wheel to be had: offline, a wrong name, or only a source package, which pip would have to run "
            "(declare its archive as `url:`)"
        )
    return errors[-1] if errors else said[-300:]


def author(wheel: Path) -> str:
    """Who has to be named for a wheel, by its metadata; empty where it does not say."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = next(info for info in archive.infolist() if info.filename.endswith(".dist-info/METADATA"))
            with archive.open(info) as file:
                text = file.read(_METADATA_BYTES).decode("utf-8", "replace")
    except (StopIteration, zipfile.BadZipFile, OSError, NotImplementedError):
        return ""
    told = email.parser.Parser().parsestr(text, headersonly=True)
    for person in ("Author", "Maintainer"):
        if name := str(told.get(person) or "").strip():
            return name
        addresses = email.utils.getaddresses([str(told.get(f"{person}-email") or "")])
        if names := [name or address for name, address in addresses if name or address]:
            return ", ".join(names)
    return ""
