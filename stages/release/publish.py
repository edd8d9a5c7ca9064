"""Bring a finished release to `exports/<name>/`, whole or not at all, and leave alone there what is not ours.

Weights are not stored twice: they share their blocks with the artifact where the file system can do that (reflinks),
and are else a second name of the same file. A text that somebody might edit is always a copy. Weights that are
written over in place in `exports/` are noticed by the store's checksums, and the next run makes the artifact anew.
"""

from __future__ import annotations

import errno
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NoReturn

from pipeline import console
from pipeline.errors import IntegrityError, StageError
from pipeline.hardware import free_bytes
from pipeline.store import MANIFEST, fsync, sha256_file
from stages.release.modelfile import create_command

SUMS = "SHA256SUMS"
WEIGHTS = (".gguf", ".safetensors")  # nobody edits these by hand
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FICLONE = 0x40049409  # linux/fs.h
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS for every file below the folder, as `sha256sum -c` reads it."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    lines = (f"{sha256_file(found[name])}  {name}\n" for name in sorted(found.keys() - {SUMS, MANIFEST}))
    (folder / SUMS).write_text("".join(lines), encoding="utf-8", newline="\n")


def read_sums(folder: Path) -> dict[str, str]:
    """The checksum of each file of a release. Raises IntegrityError where its SHA256SUMS is missing or damaged."""
    path = folder / SUMS
    try:
        lines = [line.partition("  ") for line in path.read_text(encoding="utf-8").splitlines()]
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{path}: {error}") from None
    for digest, _, name in lines:
        parts = PurePosixPath(name).parts
        if len(digest) != 64 or not parts or ".." in parts or name.startswith("/"):
            raise IntegrityError(f"{path}: not a list of checksums")
    return {name: digest for digest, _, name in lines}


def problems(folder: Path, sums: Mapping[str, str]) -> Iterator[str]:
    """What is missing or changed below the folder against its checksums, by name."""
    for name, digest in sums.items():
        if not (folder / name).is_file():
            yield f"{name} is missing"
        elif sha256_file(folder / name) != digest:
            yield f"{name} does not match its checksum"


def publish(artifact: Path, name: str, exports: Path) -> str:
    """Make `exports/<name>/` the same as the artifact, and return the command that takes it to Ollama.

    On any failure, and after a crash at any point, the release before is there as it was. Files in the folder that are
    no part of a release stay; one of a release that somebody changed is kept under another name. Raises IntegrityError
    for a damaged artifact, StageError where there is no room or no permission.
    """
    told = exports / name
    target = told.resolve() if told.is_symlink() else told  # it may be on another disk
    try:
        _finish(target)
        if target.exists() and not target.is_dir():
            raise StageError(f"export: {told} is a file, and the release needs a folder of that name", "move it away")
        sums = read_sums(artifact)
        if not _is_published(target, artifact, sums):
            _replace(target, artifact, sums)
    except OSError as error:
        _explain(error, target)
    return shlex.join(create_command(name, told))


def _is_published(target: Path, artifact: Path, sums: Mapping[str, str]) -> bool:
    try:
        same = (target / SUMS).read_bytes() == (artifact / SUMS).read_bytes()
        return same and not any(problems(target, sums))
    except OSError:
        return False


def _replace(target: Path, artifact: Path, sums: Mapping[str, str]) -> None:
    for problem in problems(artifact, sums):
        raise IntegrityError(f"{artifact}: {problem}", hint="pipeline run  makes a damaged artifact anew")
    fresh = _beside(target, "new")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        fresh.mkdir()
        _lay_out(artifact, (*sums, SUMS), fresh)
        kept = _take_along(target, fresh, sums)
        for folder, _, _ in os.walk(fresh):
            fsync(Path(folder))
        _swap(fresh, target)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    with suppress(OSError):  # it is there, and what made it can make it again
        fsync(target.parent)
    for leftover in ("new", "old"):
        shutil.rmtree(_beside(target, leftover), ignore_errors=True)
    for name, other in kept.items():
        console.warn(f"{target / name} was changed since it was released; that version is now {other}")


def _lay_out(artifact: Path, names: tuple[str, ...], fresh: Path) -> None:
    """Give the release's files a place in the new folder, first those that need no room."""
    waiting = []
    for name in names:
        source, copy = artifact / name, fresh / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not (_cloned(source, copy) or (copy.suffix in WEIGHTS and _linked(source, copy))):
            waiting.append((source, copy))
    needed = sum(source.stat().st_size for source, _ in waiting)
    try:
        if needed > free_bytes(fresh):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        for source, copy in waiting:
            with source.open("rb") as old, copy.open("xb") as new:
                shutil.copyfileobj(old, new, 2**20)
                new.flush()
                os.fsync(new.fileno())
    except OSError as error:
        if error.errno in _FULL:
            shutil.rmtree(fresh, ignore_errors=True)  # so that the room told is that for another try
            raise _no_room(fresh.parent, f"{console.size(needed)} needed, ") from error
        raise


def _take_along(target: Path, fresh: Path, sums: Mapping[str, str]) -> dict[str, str]:
    """Take into the new folder what in the old one is somebody's own, and return what got another name there."""
    try:
        released = read_sums(target)
    except IntegrityError:
        released = {}
    ours = {str(parent) for name in released for parent in PurePosixPath(name).parents}
    own, changed = [], []
    for path in _below(target) if target.exists() else ():
        name = path.relative_to(target).as_posix()
        if path.is_dir() and not path.is_symlink():
            if name not in ours:
                (fresh / name).mkdir(exist_ok=True)
        elif name in released or name in sums:
            if not _is_ours(path, name, released, sums):
                changed.append((path, f"{name}.kept"))
        elif name != SUMS:
            own.append((path, name))
    kept: dict[str, str] = {}
    for path, name in [*own, *changed]:
        copy = _free_name(fresh / name)
        if copy.name != path.name:
            kept[path.relative_to(target).as_posix()] = copy.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not _linked(path, copy):
            shutil.copy2(path, copy, follow_symlinks=False)
    return kept


def _is_ours(path: Path, name: str, released: Mapping[str, str], sums: Mapping[str, str]) -> bool:
    """Whether a file is what a release brought under its name; of weights the name says enough."""
    if name in released and path.suffix in WEIGHTS:
        return True
    return path.is_file() and sha256_file(path) in (released.get(name), sums.get(name))


def _free_name(path: Path) -> Path:
    """The path itself, or with `.kept` and a number after it where something is there already."""
    names = (path, *(path.with_name(f"{path.name.removesuffix('.kept')}.kept{more}") for more in ("", *range(2, 1000))))
    return next(name for name in names if not os.path.lexists(name))


def _below(folder: Path) -> Iterator[Path]:
    """Everything below a folder, a folder before what is in it; links are not followed."""

    def fail(error: OSError) -> NoReturn:
        raise error

    for above, folders, files in os.walk(folder, onerror=fail):
        for name in sorted([*folders, *files]):
            yield Path(above, name)


def share(source: str, copy: str) -> None:
    """A copy that takes no room where it needs none: for `shutil.copytree` from one artifact to another."""
    path, new = Path(source), Path(copy)
    if not (_cloned(path, new) or (new.suffix in WEIGHTS and _linked(path, new))):
        shutil.copyfile(path, new)


def _cloned(source: Path, copy: Path) -> bool:
    """Make a copy that shares its blocks with the source until one of them is changed; False where that cannot be."""
    try:
        import fcntl

        with source.open("rb") as old, copy.open("xb") as new:
            fcntl.ioctl(new, _FICLONE, old.fileno())
    except (ImportError, OSError):
        copy.unlink(missing_ok=True)
        return False
    return True


def _linked(source: Path, copy: Path) -> bool:
    """Give a file, or a symbolic link, a second name; False where that cannot be."""
    try:
        os.link(source, copy, follow_symlinks=False)
    except (OSError, NotImplementedError):
        return False
    return True


def _swap(fresh: Path, target: Path) -> None:
    """Put the new folder where the old one is, which is then beside it."""
    if not target.exists():
        fresh.rename(target)
    elif not _exchanged(fresh, target):
        try:
            target.rename(_beside(target, "old"))
            fresh.rename(target)
        except BaseException:
            _finish(target)
            raise


def _exchanged(first: Path, second: Path) -> bool:
    """Let two folders change names in one step (Linux's renameat2), so that there is no moment without either."""
    import ctypes

    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    done: int = rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    return done == 0


def _finish(target: Path) -> None:
    """Bring back the release that a crash left under another name, and delete what it left half done."""
    old = _beside(target, "old")
    if old.exists() and not target.exists():
        old.rename(target)
    for leftover in (_beside(target, "new"), old):
        if leftover.exists():
            shutil.rmtree(leftover)


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(f".{target.name}.{suffix}")


def _no_room(folder: Path, needed: str) -> StageError:
    free = console.size(free_bytes(folder))
    return StageError(
        f"export: no room in {folder.absolute()}: {needed}{free} free; the release before is as it was",
        hint="pipeline gc  frees old artifacts; then the same command again",
    )


def _explain(error: OSError, target: Path) -> NoReturn:
    if error.errno in _FULL:
        raise _no_room(target.parent, "") from error
    raise StageError(
        f"export: {error.filename or target}: {error.strerror or error}; the release before is as it was",
        hint=f"make {target.parent.absolute()} a folder that you may write to; then the same command again",
    ) from error
