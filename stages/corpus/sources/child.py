"""Run another program under watch: what it writes is bounded, it asks nobody anything, and it ends when we end."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.errors import StageError
from pipeline.stage import ProgressBar

POLL_SECONDS = 0.25
_TOLD_BYTES = 20_000


class Failed(Exception):
    """The program ended with an error; the message is the end of what it said."""


def run(
    command: Sequence[str],
    folder: Path,
    *,
    env: Mapping[str, str],
    max_bytes: int,
    bar: ProgressBar,
    given: bytes = b"",
) -> str:
    """Run a program whose output files lie below `folder`, advancing the bar by the MB that appear there.

    `given` is its input; returns what it said. Raises Failed where it ends with an error or is not installed,
    StageError where the folder grows by more than `max_bytes`.
    """
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as told:
        told.write(given)
        told.seek(0)
        start = shown = _size(folder)
        try:
            child = subprocess.Popen(
                list(command), stdin=told, stdout=said, stderr=said, env=dict(env), start_new_session=os.name != "nt"
            )
        except FileNotFoundError as error:
            raise Failed(f"`{command[0]}` is not installed") from error
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    child.wait(POLL_SECONDS)
                size = _size(folder)
                bar.advance(max(0, size - shown) / 1e6)
                shown = max(size, shown)
                if size - start > max_bytes:
                    raise StageError(
                        f"`{command[0]}` fetched more than {max_bytes / 1e6:,.0f} MB",
                        hint="raise gather.max_source_mb if that is right",
                    )
                if child.returncode is not None:
                    break
        finally:
            _end(child)
        said.seek(max(0, said.seek(0, 2) - _TOLD_BYTES))
        text = said.read().decode("utf-8", "replace").strip()
        if child.returncode:
            raise Failed(text or f"`{command[0]}` ended with {child.returncode}")
        return text


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the program with everything it started."""
    if child.poll() is None:
        if os.name == "nt":
            child.kill()
        else:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # gone meanwhile
            total += path.lstat().st_size
    return total
