"""Shards of documents that grow in order, with a journal from which an interrupted run goes on."""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from stages.corpus.documents import SHARD_BYTES

SYNC_SECONDS = 1.0
JOURNAL = ".journal"


class Journal:
    """Writes `documents-00000.jsonl`, … and beside them `.journal`, a line for each batch of documents.

    A line holds where in the shards the batch's bytes stand, their CRC-32, the caller's note, and a CRC-32 of itself.
    Whatever the moment of a kill or a power cut, the lines up to the first that does not match are whole; what follows
    is cut off, and the caller goes on with the batch after. So the bytes are those of an undisturbed run, nothing is
    written twice, and no list of documents is held in memory.
    """

    def __init__(self, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
        self.folder, self.shard_bytes = folder, shard_bytes
        self.path = folder / JOURNAL
        self._shard = self._size = 0
        self._cut_to_what_is_whole()
        self._journal = self.path.open("ab")
        self._file = self._open_shard()
        self._synced = time.monotonic()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._sync()
        self._file.close()
        self._journal.close()

    def append(self, lines: Sequence[str], note: Any) -> None:
        """Add a batch: documents as lines of JSON without line ends, and what `notes` shall give back."""
        spans: list[list[int]] = []
        begin, check = self._size, 0
        for line in lines:
            if self._size >= self.shard_bytes:
                spans.append([self._shard, begin, self._size, check])
                self._next_shard()
                begin, check = 0, 0
            data = f"{line}\n".encode()
            self._file.write(data)
            self._size += len(data)
            check = zlib.crc32(data, check)
        spans.append([self._shard, begin, self._size, check])
        record = json.dumps({"spans": spans, "note": note}, ensure_ascii=False).encode()
        self._journal.write(b"%08x %b\n" % (zlib.crc32(record), record))
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self._sync()

    def notes(self) -> Iterator[Any]:
        """The note of every batch so far, in order."""
        self._journal.flush()
        with self.path.open("rb") as file:
            for line in file:
                yield json.loads(line[9:])["note"]

    def _sync(self) -> None:
        """The shard first: what the journal says is there, is there."""
        for file in (self._file, self._journal):
            file.flush()
            os.fsync(file.fileno())
        self._synced = time.monotonic()

    def _next_shard(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._shard, self._size = self._shard + 1, 0
        self._file = self._open_shard()

    def _shard_path(self, number: int) -> Path:
        return self.folder / f"documents-{number:05d}.jsonl"

    def _open_shard(self) -> BinaryIO:
        return self._shard_path(self._shard).open("ab")

    def _cut_to_what_is_whole(self) -> None:
        good = 0
        ends: dict[Path, int] = {}
        if self.path.exists():
            with self.path.open("rb") as file:
                for line in file:
                    spans = _spans(line)
                    if spans is None or not all(self._matches(*span) for span in spans):
                        break
                    good += len(line)
                    self._shard, _, self._size, _ = spans[-1]
                    ends |= {self._shard_path(shard): end for shard, _, end, _ in spans}
            os.truncate(self.path, good)
        for path in self.folder.glob("documents-*.jsonl"):
            if path in ends:
                os.truncate(path, ends[path])
            else:
                path.unlink()

    def _matches(self, shard: int, begin: int, end: int, check: int) -> bool:
        path = self._shard_path(shard)
        if not path.exists() or path.stat().st_size < end:
            return False
        found = 0
        with path.open("rb") as file:
            file.seek(begin)
            while begin < end and (data := file.read(min(2**20, end - begin))):
                found = zlib.crc32(data, found)
                begin += len(data)
        return found == check


def _spans(line: bytes) -> list[list[int]] | None:
    """What a line of the journal says of the shards; None where the line is not whole."""
    record = line[9:-1]
    if not line.endswith(b"\n") or line[:9] != b"%08x " % zlib.crc32(record):
        return None
    spans: list[list[int]] = json.loads(record)["spans"]
    return spans
