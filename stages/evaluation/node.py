"""Node and the MicroPython interpreter: found on this machine, or fetched once, with npm, from a lock that is ours."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.hardware import cache_folder

INTERPRETER = Path(__file__).parent / "interpreter"
PACKAGE = "@micropython/micropython-webassembly-pyscript"
WASM_SHA256 = "06338c955b03c5700aa0069015d3e392d76836ef8e2ce25bedbe59b88ccd373c"
OLDEST_NODE = 20
COMMAND = "npm ci --ignore-scripts --no-audit --no-fund"
QUICKLY = ("--prefer-offline", "--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000")


class SandboxUnavailable(PipelineError):
    """Programs cannot be run here; the message says what is missing and the hint which command helps."""


@dataclass(frozen=True)
class Interpreter:
    node: Path
    wasm: Path
    permission: str  # the name of the flag in this version of Node


def find_interpreter(cache: Path | None = None) -> Interpreter:
    """Node and the interpreter, fetched with `npm ci` from our lock on first use; raises SandboxUnavailable."""
    node, version = find_node()
    stable = version >= (23, 5) or (22, 13) <= version < (23, 0)
    wasm = _fetched(cache or interpreters())
    return Interpreter(node, wasm, "--permission" if stable else "--experimental-permission")


def find_node() -> tuple[Path, tuple[int, ...]]:
    """Node on the PATH and its version; raises SandboxUnavailable where it is missing or too old."""
    found = shutil.which("node")
    if found is None:
        raise SandboxUnavailable(
            f"running programs needs Node {OLDEST_NODE} or newer, and there is no `node` on the PATH",
            hint="install it from https://nodejs.org or with `apt install nodejs npm` or `brew install node`",
        )
    try:
        said = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        said = f"broken: {error}"
    version = tuple(int(part) for part in re.findall(r"\d+", said if said.startswith("v") else "")[:2])
    if version < (OLDEST_NODE,):
        raise SandboxUnavailable(
            f"running programs needs Node {OLDEST_NODE} or newer; {found} is {said.strip() or 'of unknown version'}",
            hint="install a newer one from https://nodejs.org",
        )
    return Path(found), version


def interpreters() -> Path:
    """Where fetched interpreters are kept."""
    return cache_folder() / "node"


def is_cached(cache: Path | None = None) -> bool:
    """Whether the interpreter was fetched before, so that it works without a network."""
    return _wasm(_folder(cache or interpreters())).is_file()


def _folder(cache: Path) -> Path:
    lock = (INTERPRETER / "package-lock.json").read_bytes()
    return cache / hashlib.sha256(lock).hexdigest()[:12]


def _wasm(folder: Path) -> Path:
    return folder / "node_modules" / PACKAGE / "micropython.wasm"


def _fetched(cache: Path) -> Path:
    """The module's path in the cache, after its checksum was compared."""
    folder = _folder(cache)
    wasm = _wasm(folder)
    if not wasm.is_file():
        _fetch(folder)
    if not wasm.is_file() or hashlib.sha256(wasm.read_bytes()).hexdigest() != WASM_SHA256:
        raise SandboxUnavailable(
            f"{wasm} is not the interpreter that this version asks for", hint=f"rm -r {shlex.quote(str(folder))}"
        )
    return wasm


def _fetch(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise SandboxUnavailable(
            "the MicroPython interpreter is fetched with npm on first use, and there is no `npm` on the PATH",
            hint=f"install npm, or {elsewhere(folder.parent)}",
        )
    why = ""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            work = Path(temporary) / "work"
            work.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(INTERPRETER / name, work)
            done = subprocess.run(
                [npm, *COMMAND.split()[1:], *QUICKLY],
                cwd=work,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            if done.returncode == 0:
                with contextlib.suppress(OSError):  # another process was faster
                    work.rename(folder)
            else:
                why = _reason(done.stderr)
    except subprocess.TimeoutExpired:
        why = "npm did not answer within 5 minutes"
    except OSError as error:
        why = str(error)
    if why:
        raise SandboxUnavailable(
            f"the MicroPython interpreter could not be fetched: {why}",
            hint=f"go online and run the command again, or {elsewhere(folder.parent)}",
        )


def elsewhere(cache: Path | None = None) -> str:
    """How to fetch the interpreter with another machine's network."""
    folder = _folder(cache or interpreters())
    return (
        f"copy package.json and package-lock.json from {INTERPRETER} to a machine that has npm and a network, "
        f"run `{COMMAND}` beside them and bring that folder here as {folder}"
    )


def _reason(text: str) -> str:
    """What npm gave as the reason, without its prefixes and its advice about log files."""
    lines = [re.sub(r"^npm (error|ERR!) ?", "", line).strip() for line in text.splitlines() if "npm warn" not in line]
    told = [line for line in lines if line and "debug-0.log" not in line]
    codes = [line for line in told if line.startswith(("code ", "errno "))]
    rest = [line for line in told if line not in codes and not line.startswith(("syscall", "type ", "network In most"))]
    return "; ".join([*codes[:1], *rest[:1]])[:300] or "npm failed"
