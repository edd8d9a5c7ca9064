"""The examination of a machine finds what is missing and says what to do about it."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

import pytest

from pipeline import doctor, hardware
from pipeline.doctor import Finding


def examine(folder: Path) -> dict[str, Finding]:
    return {finding["what"]: finding for finding in doctor.examine(folder)}


def test_this_machine_can_run_the_tests_and_so_the_road(tmp_path: Path) -> None:
    found = examine(tmp_path)
    assert {finding["state"] for finding in found.values()} <= {"ok", "warn"}
    assert found["python"]["found"] == platform.python_version()
    assert found["sentencepiece"]["found"] == metadata.version("sentencepiece")
    assert found["torch build"]["found"].startswith(metadata.version("torch"))
    assert all(finding["advice"] for finding in found.values() if finding["state"] != "ok")


def test_missing_packages_are_found_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def without(name: str) -> str:
        if name in ("torch", "gguf"):
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", without)
    found = examine(tmp_path)
    assert [name for name, finding in found.items() if finding["state"] == "fail"] == ["gguf", "torch"]
    assert found["gguf"] == {"what": "gguf", "state": "fail", "found": "not installed", "advice": "pip install gguf"}
    assert found["torch build"]["found"].startswith("not installed")


def test_a_package_whose_module_is_gone_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.util, "find_spec", lambda name: None if name == "yaml" else object())
    assert [what for what, finding in examine(tmp_path).items() if finding["state"] == "fail"] == ["pyyaml"]


def test_a_nearly_full_disk_and_a_missing_ollama_are_warnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "free_bytes", lambda path: 10**9)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = examine(tmp_path)
    assert (found["disk"]["state"], found["disk"]["advice"]) == ("warn", "free some space: pipeline gc")
    assert found["disk"]["found"] == f"1.0 GB free for {tmp_path}"
    assert found["ollama"]["state"] == "warn"
    (tmp_path / "ollama").touch(mode=0o755)
    assert examine(tmp_path)["ollama"]["found"] == str(tmp_path / "ollama")


def test_an_old_python_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor.sys, "version_info", (3, 10, 9))
    assert examine(tmp_path)["python"]["advice"] == "install Python 3.11 or newer"


def test_findings_of_the_stages_come_last(tmp_path: Path) -> None:
    told = {"what": "node", "state": "warn", "found": "missing", "advice": "install it"}
    assert doctor.examine(tmp_path, [told]) == [*doctor.examine(tmp_path), told]
