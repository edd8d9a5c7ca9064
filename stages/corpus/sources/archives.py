"""Read the files of zip and tar archives one after the other, under limits, without unpacking anything to disk."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from pipeline.errors import StageError
from stages.corpus.sources.members import CHUNK, Limits, Member, Unreadable, nothing, tidy

SUFFIXES = (".zip", ".whl", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
GRACE_BYTES = 10_000_000
_HEADER_BYTES = 2**20
_DIRECTORY_BYTES_PER_FILE = 1000
_DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, RuntimeError,
    ValueError, ArithmeticError, LookupError,
)  # fmt: skip


class Bomb(StageError):
    """An archive that holds more than its limits allow."""


def is_archive(name: str) -> bool:
    """Whether a file of this name is an archive that can be read."""
    return name.lower().endswith(SUFFIXES)


def members(archive: Path, name: str, limits: Limits) -> Iterator[Member]:
    """The files of an archive, of the kind that `name` says; each has to be read before the next is asked for.

    Links, devices and encrypted files come with a reason instead of content. Raises Bomb above the limits on the
    bytes that were unpacked (read or not), on their ratio to the archive's size, and on the number of entries;
    StageError where it cannot be read.
    """
    budget = _Budget(name, archive.stat().st_size, limits)
    try:
        with archive.open("rb") as file:
            if name.lower().endswith((".zip", ".whl")):
                yield from _zip_members(file, budget)
            else:
                yield from _tar_members(file, name.lower(), budget)
    except _DAMAGED as error:
        raise StageError(f"{name} cannot be read as an archive: {error}") from error


class _Budget:
    """Counts what comes out of an archive."""

    def __init__(self, name: str, packed: int, limits: Limits) -> None:
        self.name, self.packed, self.limits = name, packed, limits
        self.bytes = self.entries = 0

    def spend(self, count: int) -> None:
        self.bytes += count
        if self.bytes > self.limits.total_bytes:
            raise Bomb(
                f"{self.name} unpacks to more than {self.limits.total_bytes / 1e6:,.0f} MB",
                hint="raise gather.max_source_mb if that is right",
            )
        if self.bytes > GRACE_BYTES and self.bytes > self.limits.ratio * self.packed:
            raise Bomb(
                f"{self.name} unpacks to more than {self.limits.ratio:g} times its {self.packed:,} bytes",
                hint="raise gather.max_ratio if that is right",
            )

    def enter(self) -> None:
        self.entries += 1
        if self.entries > self.limits.files:
            raise Bomb(
                f"{self.name} has more than {self.limits.files:,} entries",
                hint="raise gather.max_files if that is right",
            )


def _zip_members(file: BinaryIO, budget: _Budget) -> Iterator[Member]:
    _check_directory(file, budget)
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            budget.enter()
            if not info.filename.endswith("/"):
                yield Member(
                    tidy(info.filename), info.file_size, _zip_reader(archive, info, budget), _zip_refusal(info)
                )


def _zip_refusal(info: zipfile.ZipInfo) -> str:
    kind = (info.external_attr >> 16) & 0o170000
    if kind == 0o120000:
        return "link"
    if kind not in (0, 0o100000):
        return "device"
    if info.flag_bits & 0x1:
        return "encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "rare compression"  # zipfile unpacks the others without a bound on memory
    return ""


def _zip_reader(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: _Budget) -> Any:
    def chunks() -> Iterator[bytes]:
        try:
            with archive.open(info) as file:
                while chunk := file.read(CHUNK):
                    budget.spend(len(chunk))
                    yield chunk
        except _DAMAGED as error:
            raise Unreadable("damaged in its archive") from error

    return chunks


def _check_directory(file: BinaryIO, budget: _Budget) -> None:
    """Refuse a zip whose directory alone would fill the memory: it is read as a whole (APPNOTE 6.3, 4.3.16)."""
    size = file.seek(0, 2)
    start = max(0, size - 2**16 - 22)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    length = int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0
    if length > budget.limits.files * _DIRECTORY_BYTES_PER_FILE:
        raise Bomb(
            f"{budget.name} has a directory of more than {budget.limits.files:,} entries",
            hint="raise gather.max_files if that is right",
        )
    file.seek(0)


def _tar_members(file: BinaryIO, name: str, budget: _Budget) -> Iterator[Member]:
    stream = _Forward(_decompressed(file, name), budget)
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:", errors="surrogateescape") as archive:
        while (info := archive.next()) is not None:
            budget.enter()
            cast(Any, archive).members = []  # it keeps every header otherwise
            path = tidy(info.name)
            if info.isdir():
                continue
            if info.islnk() or info.issym():
                yield Member(path, 0, nothing, "link")
            elif not info.isreg() or info.issparse():
                yield Member(path, 0, nothing, "device" if not info.isreg() else "sparse")
            else:
                yield Member(path, info.size, _tar_reader(archive, info))


def _tar_reader(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Any:
    def chunks() -> Iterator[bytes]:
        file = archive.extractfile(info)
        assert file is not None
        try:
            while chunk := file.read(CHUNK):
                yield chunk
        except _DAMAGED as error:
            raise Unreadable("damaged in its archive") from error

    return chunks


def _decompressed(file: BinaryIO, name: str) -> BinaryIO:
    if name.endswith(("gz", "tgz")):
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    if name.endswith("xz"):
        return cast(BinaryIO, lzma.LZMAFile(file))
    if name.endswith("bz2"):
        return cast(BinaryIO, bz2.BZ2File(file))
    return file


class _Forward:
    """A stream that tarfile can read in one pass: it counts every byte, and skips by reading.

    tarfile looks one byte back before each header, so the last byte is kept. A read larger than a header or a chunk
    would be an extended header that claims to be huge, and is refused before memory is spent on it.
    """

    def __init__(self, raw: BinaryIO, budget: _Budget) -> None:
        self.raw, self.budget = raw, budget
        self.position = 0
        self.last = b""
        self.back = False

    def tell(self) -> int:
        return self.position

    def seek(self, position: int, whence: int = 0) -> int:
        if whence == 0 and position == self.position - 1 and self.last and not self.back:
            self.back, self.position = True, position
        elif whence or position < self.position:
            raise tarfile.ReadError("entries overlap")
        while self.position < position and self.read(min(CHUNK, position - self.position)):
            pass
        return self.position

    def read(self, count: int = -1) -> bytes:
        if not 0 <= count <= _HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {count:,} bytes")
        if not count:
            return b""
        held = self.last if self.back else b""
        self.back = False
        chunk = self.raw.read(count - len(held))
        self.budget.spend(len(chunk))
        found = held + chunk
        self.position += len(found)
        self.last = found[-1:] or self.last
        return found
