"""Gathering: which files are taken, what is noted of them, and what makes a run gather again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.errors import UsageError
from pipeline.shards import map_ordered
from pipeline.stage import Context, Metrics, Section, Stage
from stages.corpus import gather
from stages.corpus.gather import GatherConfig


@dataclass
class StageRun:
    """What a stage left behind when it was run outside of a store."""

    out: Path
    metrics: Metrics = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)

    def lines(self, name: str) -> list[Any]:
        return [json.loads(line) for line in (self.out / name).read_text(encoding="utf-8").split("\n") if line]


class _Bar:
    def advance(self, amount: float = 1, note: str | None = None) -> None:
        pass


@contextmanager
def _progress(total: float, unit: str) -> Iterator[_Bar]:
    yield _Bar()


@contextmanager
def _no_interrupts() -> Iterator[Callable[[], bool]]:
    yield lambda: False


def sections_of(stage: Stage, config: Mapping[str, Any]) -> dict[str, Section]:
    return {name: model.model_validate_json(json.dumps(config.get(name, {}))) for name, model in stage.sections.items()}


def run_stage(
    stage: Stage, out: Path, inputs: Mapping[str, Path] | None = None, *, base: Path = Path(), seed: int = 1337,
    name: str = "tiny", **config: Any,
) -> StageRun:  # fmt: skip
    """Run a stage the way the runner does; `config` gives sections by name."""
    out.mkdir(parents=True, exist_ok=True)
    done = StageRun(out)
    context = Context(
        sections=sections_of(stage, config), inputs=inputs or {}, out=out, seed=seed, base=base, name=name,
        map=map_ordered,
        say=done.said.append, warn=done.warned.append, progress=_progress, deferred_interrupts=_no_interrupts,
    )  # fmt: skip
    done.metrics.update(stage.run(context))
    return done


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def gathered(out: Path, *sources: Mapping[str, Any], base: Path = Path()) -> StageRun:
    return run_stage(gather.STAGE, out, base=base, gather={"sources": sources})


def fingerprint(base: Path, *sources: Mapping[str, Any]) -> Any:
    return gather.fingerprint(sections_of(gather.STAGE, {"gather": {"sources": sources}}), base)


def test_every_kind_is_taken_with_its_licence_and_checksum(tmp_path: Path) -> None:
    code = write_files(tmp_path / "code", {"a.py": "a = 1\n", "deep/er/b.py": b"b\r\n\xff", "notes.TXT": "Hi\n"})
    docs = write_files(tmp_path / "docs", dict.fromkeys(("a.md", "b.rst", "c.ipynb", "d.pdf", "e.jsonl"), "x"))
    source = {"folder": str(docs), "license": "CC-BY-4.0", "attribution": "Ada Lovelace"}
    run = gathered(tmp_path / "out", {"folder": str(code), "license": "MIT"}, source)
    entries = run.lines("files.jsonl")
    assert [(entry["path"], entry["license"], entry["attribution"]) for entry in entries] == [
        ("a.py", "MIT", ""),
        ("deep/er/b.py", "MIT", ""),
        ("notes.TXT", "MIT", ""),
        *((name, "CC-BY-4.0", "Ada Lovelace") for name in ("a.md", "b.rst", "c.ipynb", "d.pdf", "e.jsonl")),
    ]
    for entry in entries:
        data = (Path(entry["source"]) / entry["path"]).read_bytes()
        assert (run.out / entry["file"]).read_bytes() == data
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
    assert run.metrics == {"files": 8, "skipped": {}, "licenses": {"CC-BY-4.0": 5, "MIT": 3}}


def test_other_kinds_hidden_files_and_links_to_elsewhere_stay_out(tmp_path: Path) -> None:
    outside = write_files(tmp_path / "outside", {"secret.py": "x = 1\n"})
    folder = write_files(tmp_path / "in", {
        "a.py": "a\n", "picture.png": "p", "LICENSE": "l", ".hidden.py": "h", ".git/b.py": "g", "__pycache__/c.py": "c",
        "sub/.d/e.py": "e",
    })  # fmt: skip
    (folder / "link.py").symlink_to(outside / "secret.py")
    (folder / "links").symlink_to(outside)
    (folder / "broken.py").symlink_to(tmp_path / "nowhere.py")
    (folder / "loop").symlink_to(folder)
    run = gathered(tmp_path / "out", {"folder": str(folder), "license": "MIT"})
    assert [entry["path"] for entry in run.lines("files.jsonl")] == ["a.py"]
    assert run.metrics["skipped"] == {".png": 1, "LICENSE": 1}


def test_patterns_choose(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "in", dict.fromkeys(("a.py", "b.md", "sub/c.py", "sub/test_d.py"), "x"))
    source = {"folder": str(folder), "license": "MIT", "include": ["*.py"], "exclude": ["*test_*"]}
    run = gathered(tmp_path / "out", source)
    assert [entry["path"] for entry in run.lines("files.jsonl")] == ["a.py", "sub/c.py"]


def test_relative_folders_start_at_the_base_and_keep_their_name(tmp_path: Path) -> None:
    write_files(tmp_path / "project/my code", {"ä b.py": "x\n"})
    run = gathered(tmp_path / "out", {"folder": "my code", "license": "MIT"}, base=tmp_path / "project")
    (entry,) = run.lines("files.jsonl")
    assert (entry["source"], entry["path"]) == ("my code", "ä b.py")
    assert (run.out / entry["file"]).read_bytes() == b"x\n"


def test_two_sources_with_the_same_names_do_not_meet(tmp_path: Path) -> None:
    folders = [write_files(tmp_path / name, {"a.py": name}) for name in ("one", "two")]
    run = gathered(tmp_path / "out", *({"folder": str(folder), "license": "MIT"} for folder in folders))
    assert [(run.out / entry["file"]).read_text() for entry in run.lines("files.jsonl")] == ["one", "two"]


def test_file_names_that_are_not_utf8_or_hold_line_separators(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "in", {"good.py": "x\n", "a\u2028b.py": "y\n"})
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.py")).write_bytes(b"z\n")
    source = {"folder": str(folder), "license": "MIT"}
    fingerprint(tmp_path, source)
    run = gathered(tmp_path / "out", source)
    texts = {entry["path"]: (run.out / entry["file"]).read_text() for entry in run.lines("files.jsonl")}
    assert texts == {"good.py": "x\n", "a\u2028b.py": "y\n", "caf\\xe9.py": "z\n"}


def test_a_file_without_permission_is_left_out_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_files(tmp_path / "in", {"good.py": "x\n", "locked.py": "y\n"})
    copyfile = shutil.copyfile

    def refuse(source: Path, target: Path) -> Any:
        if source.name == "locked.py":
            raise PermissionError(13, "Permission denied", str(source))
        return copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", refuse)
    run = gathered(tmp_path / "out", {"folder": str(folder), "license": "MIT"})
    assert run.metrics["files"] == 1 and run.metrics["skipped"] == {"unreadable": 1}
    assert "locked.py" in run.warned[0]


@pytest.mark.parametrize("files", [{}, {"a.png": "x", "LICENSE": "y"}])
def test_a_folder_with_nothing_usable_says_what_would_be(tmp_path: Path, files: dict[str, str]) -> None:
    (tmp_path / "in").mkdir()
    write_files(tmp_path / "in", files)
    with pytest.raises(UsageError, match=r"no usable file in .*/in; usable are \.py \.md") as caught:
        gathered(tmp_path / "out", {"folder": str(tmp_path / "in"), "license": "MIT"})
    assert caught.value.hint and caught.value.exit_code == 2


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    source = {"folder": "gone", "license": "MIT"}
    with pytest.raises(UsageError, match=f"the folder {tmp_path}/gone does not exist"):
        gathered(tmp_path / "out", source, base=tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        fingerprint(tmp_path, source)


@pytest.mark.parametrize(
    "source", [{"folder": "a"}, {"license": "MIT"}, {"folder": "", "license": "MIT"}, {"folder": "a", "license": ""}]
)
def test_a_source_needs_a_folder_and_a_licence(source: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        GatherConfig.model_validate_json(json.dumps({"sources": [source]}))
    with pytest.raises(ValidationError):
        GatherConfig.model_validate_json('{"sources": []}')


def test_the_fingerprint_follows_every_change_of_a_file_and_nothing_else(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "in", {"a.py": "a\n", "sub/b.py": "b\n", "c.md": "c\n"})
    source = {"folder": str(folder), "license": "MIT", "include": ["*.py"]}
    before = fingerprint(tmp_path, source)
    write_files(folder, {"c.md": "other", ".hidden.py": "h"})
    (folder / "a.py").read_bytes()
    assert fingerprint(tmp_path, source) == before

    seen = {before}
    os.utime(folder / "a.py", ns=(1, 1))
    seen.add(fingerprint(tmp_path, source))
    write_files(folder, {"sub/b.py": "bb\n"})
    seen.add(fingerprint(tmp_path, source))
    (folder / "a.py").rename(folder / "d.py")
    seen.add(fingerprint(tmp_path, source))
    (folder / "d.py").unlink()
    seen.add(fingerprint(tmp_path, source))
    assert len(seen) == 5


def test_the_output_does_not_depend_on_when_or_where_it_was_gathered(tmp_path: Path) -> None:
    write_files(tmp_path / "x/in", {f"{name}.py": name for name in "zmka"})
    shutil.copytree(tmp_path / "x/in", tmp_path / "y/in")
    os.utime(tmp_path / "y/in/a.py", ns=(1, 1))
    runs = [gathered(tmp_path / n / "out", {"folder": "in", "license": "MIT"}, base=tmp_path / n) for n in "xy"]
    contents = [
        {path.relative_to(run.out): path.read_bytes() for path in run.out.rglob("*") if path.is_file()} for run in runs
    ]
    assert contents[0] == contents[1]
