"""What made an artifact: the digest of a stage's code, package versions, and the git state of the project."""

from __future__ import annotations

import ast
import hashlib
import subprocess
from functools import cache
from importlib import metadata, util
from pathlib import Path

from pipeline.stage import Stage

PROJECT = Path(__file__).resolve().parents[1]
PACKAGES = ("pipeline", "stages")


def code_digests(stage: Stage) -> dict[str, str]:
    """The SHA-256 of a stage's module and of every project module it imports, by module name."""
    found: dict[str, str] = {}
    waiting = [stage.module]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        digest, imported = _module(name)
        if digest:
            found[name] = digest
            waiting += imported
    return dict(sorted(found.items()))


@cache
def _module(name: str) -> tuple[str, tuple[str, ...]]:
    """The digest of a module's source and the project modules it imports; an empty digest where there is no source."""
    path = _source(name)
    if path is None:
        return "", ()
    source = path.read_bytes()
    return hashlib.sha256(source).hexdigest(), tuple(sorted(_imports(ast.parse(source))))


@cache
def _source(name: str) -> Path | None:
    """The file of a module, found without importing it or what it lies in: that would take seconds."""
    top, *inner = name.split(".")
    spec = util.find_spec(top)
    if spec is None or spec.origin is None:
        return None
    if not inner:
        return Path(spec.origin)
    path = Path(spec.origin).parent.joinpath(*inner)
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _imports(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] in PACKAGES and _source(name)}


def package_versions() -> dict[str, str]:
    """Versions of the packages that the project needs, of those that are installed."""
    found = {}
    for name in requirements():
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def requirements() -> list[str]:
    """The names of the packages that the project needs to run."""
    lines = metadata.requires("pipeline") or []
    cut = str.maketrans(dict.fromkeys("<>=!~;[( ", "\n"))
    return sorted({line.translate(cut).split("\n")[0] for line in lines if "extra ==" not in line})


def git_state() -> str | None:
    """The commit of the project's code, with `+changes` where the work tree differs; None outside a git checkout."""
    try:
        told = subprocess.run(
            ["git", "-C", str(PROJECT), "describe", "--always", "--abbrev=12", "--dirty=+changes", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip() or None
