"""Gathering: which files are taken, what is noted of them, and what makes a run gather again."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from test_archives import special, tar_bytes, zip_bytes
from test_download import serving
from test_packages import make_wheel
from test_repositories import make_repository

from pipeline.errors import StageError, UsageError
from pipeline.shards import map_ordered
from pipeline.stage import Context, Metrics, Section, Stage
from stages.corpus import gather
from stages.corpus.gather import GatherConfig
from stages.corpus.sources import download


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
    assert run.metrics == {
        "files": 8, "bytes": sum(len((run.out / entry["file"]).read_bytes()) for entry in entries), "skipped": {},
        "refused": {}, "licenses": {"CC-BY-4.0": 5, "MIT": 3}, "checksums": {}, "without": {},
        "sources": [
            {"source": str(code), "license": "MIT", "attribution": "", "files": 3, "skipped": {}, "refused": {},
             "bytes": sum((code / name).stat().st_size for name in ("a.py", "deep/er/b.py", "notes.TXT"))},
            {"source": str(docs), "license": "CC-BY-4.0", "attribution": "Ada Lovelace", "files": 5, "bytes": 5,
             "skipped": {}, "refused": {}},
        ],
    }  # fmt: skip


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
    assert run.metrics["skipped"] == run.metrics["sources"][0]["skipped"] == {".png": 1, "LICENSE": 1}
    left_out = [json.loads(line) for line in (run.out / "left_out.jsonl").read_text().splitlines()]
    assert sorted((line["path"], line["reason"]) for line in left_out) == [
        ("LICENSE", "unknown format"), ("picture.png", "unknown format: .png"),
    ]  # fmt: skip


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
    opened = Path.open

    def refuse(path: Path, *arguments: Any, **named: Any) -> Any:
        if path == folder / "locked.py":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", refuse)
    run = gathered(tmp_path / "out", {"folder": str(folder), "license": "MIT"})
    assert run.metrics["files"] == 1 and run.metrics["refused"] == {"unreadable": 1}
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


MIT = {"license": "MIT"}
COPYRIGHT = "MIT License\n\nCopyright (c) 2020 Ada Lovelace\n"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, a pip that knows only `index`, and no pauses."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("PIPELINE_CACHE", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    return folder


def url_source(url: str, content: bytes, **more: Any) -> dict[str, Any]:
    return {"url": url, "sha256": hashlib.sha256(content).hexdigest(), **MIT, **more}


def taken(run: StageRun) -> dict[str, bytes]:
    return {entry["path"]: (run.out / entry["file"]).read_bytes() for entry in run.lines("files.jsonl")}


def test_all_four_kinds_in_one_run_and_again_without_their_origins(tmp_path: Path, cache: Path) -> None:
    write_files(tmp_path / "mine", {"a.py": "a\n"})
    commit = make_repository(tmp_path / "origin", {"b.py": b"b\n", "x.png": b"p", "LICENSE": COPYRIGHT.encode()})
    wheel = make_wheel(
        tmp_path / "index", "toy", "1.0", {"toy.pyi": b"c: int\n", "toy.so": b"s"}, metadata="Author: Bob\n"
    )
    book = b"%PDF-1.4 d"
    archive = zip_bytes({"e.md": b"e\n", "COPYING": b"Copyright (c) 2021 Eve\n", "n.zip": zip_bytes({"f.py": b"f"})})
    with serving() as site:
        site.files = {"d.pdf": book, "e.zip": archive}
        sources = [
            {"folder": "mine", **MIT},
            {"git": "origin", "commit": commit, **MIT, "attribution": "Ada and others"},
            {"package": "toy==1.0", **MIT},
            url_source(site.url("d.pdf"), book, attribution="Dora"),
            url_source(site.url("e.zip"), archive, license="CC-BY-4.0"),
        ]
        first = gathered(tmp_path / "one", *sources, base=tmp_path)
        urls = [site.url("d.pdf"), site.url("e.zip")]
    assert [(e["file"], e["source"], e["license"], e["attribution"]) for e in first.lines("files.jsonl")] == [
        ("files/000/a.py", "mine", "MIT", ""),
        ("files/001/b.py", f"git:origin@{commit}", "MIT", "Ada and others"),
        ("files/002/toy.pyi", "pypi:toy==1.0", "MIT", "Copyright (c) 2020 Ada Lovelace"),
        ("files/003/d.pdf", f"url:{urls[0]}", "MIT", "Dora"),
        ("files/004/e.md", f"url:{urls[1]}", "CC-BY-4.0", "Copyright (c) 2021 Eve"),
    ]
    assert taken(first) == {"a.py": b"a\n", "b.py": b"b\n", "toy.pyi": b"c: int\n", "d.pdf": book, "e.md": b"e\n"}
    for entry in first.lines("files.jsonl"):
        assert entry["sha256"] == hashlib.sha256((first.out / entry["file"]).read_bytes()).hexdigest()
    assert first.metrics["skipped"] == {".png": 1, ".so": 1, ".zip": 1}
    assert first.metrics["checksums"]["pypi:toy==1.0"] == hashlib.sha256(wheel.read_bytes()).hexdigest()
    kept = [name for row in first.lines("sources.jsonl") for name in row["license_files"]]
    assert kept == ["licenses/001/LICENSE", "licenses/002/toy-1.0.dist-info/licenses/LICENSE", "licenses/004/COPYING"]
    assert all((first.out / name).is_file() for name in kept)

    shutil.rmtree(tmp_path / "origin")
    wheel.unlink()
    second = gathered(tmp_path / "two", *sources, base=tmp_path)
    assert tree(first.out) == tree(second.out)


def tree(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_fetched_asks_nothing_of_the_network_to_be_planned(tmp_path: Path, cache: Path) -> None:
    folder = write_files(tmp_path / "in", {"a.py": "a\n"})
    alone = fingerprint(tmp_path, {"folder": str(folder), **MIT})
    gone = [
        {"git": "https://127.0.0.1:9/x", "commit": "0" * 40, **MIT},
        {"package": "nobody==1", **MIT},
        url_source("http://127.0.0.1:9/a.pdf", b""),
    ]
    assert fingerprint(tmp_path, {"folder": str(folder), **MIT}, *gone) == alone
    assert not cache.exists()


@pytest.mark.parametrize("kind", ["git", "package", "url"])
def test_what_cannot_be_had_stops_the_run_unless_it_is_optional(tmp_path: Path, cache: Path, kind: str) -> None:
    folder = {"folder": str(write_files(tmp_path / "in", {"a.py": "a\n"})), **MIT}
    source: dict[str, Any] = {
        "git": {"git": "https://127.0.0.1:9/x", "commit": "0" * 40, **MIT},
        "package": {"package": "nobody==1", **MIT},
        "url": url_source("http://127.0.0.1:9/a.pdf", b"a"),
    }[kind]
    (tmp_path / "index").mkdir()
    with pytest.raises(StageError) as caught:
        gathered(tmp_path / "out", folder, source)
    assert {"git": "https://127.0.0.1:9/x", "package": "nobody==1", "url": "http://127.0.0.1:9/a.pdf"}[kind] in str(
        caught.value
    )
    assert str(caught.value).endswith(f"; the cache {cache} has no copy")
    run = gathered(tmp_path / "again", {**source, "optional": True}, folder)
    assert taken(run) == {"a.py": b"a\n"}
    (name,) = run.metrics["without"]
    assert name == sections_of(gather.STAGE, {"gather": {"sources": [source]}})["gather"].sources[0].name  # type: ignore[attr-defined]
    assert run.warned[0].startswith("left out") and run.warned[0].endswith("(it is optional)")
    assert run.said == ["1 files from 1 sources"]


def test_another_content_than_declared_stops_even_an_optional_source(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"other")
    with pytest.raises(StageError, match="has the sha256"):
        gathered(tmp_path / "out", url_source((tmp_path / "a.pdf").as_uri(), b"declared", optional=True))


def test_hostile_members_cost_only_themselves(tmp_path: Path, cache: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    files = {
        "good.py": b"g", "../../../outside/a.py": b"x", str(outside / "b.py"): b"x", "c:/d.py": b"x", "nul.py": b"x",
        "GOOD.PY": b"x", "good.py/sub.py": b"x", "y" * 300 + ".py": b"x", "dir/.hidden.py": b"x", "dir/last.md": b"l",
    }  # fmt: skip
    data = gzip.compress(
        tar_bytes(files, special("link.py", tarfile.SYMTYPE, str(outside)), special("f.py", tarfile.FIFOTYPE))
    )
    (tmp_path / "x.tar.gz").write_bytes(data)
    run = gathered(tmp_path / "out", url_source((tmp_path / "x.tar.gz").as_uri(), data))
    assert taken(run) == {"good.py": b"g", "dir/last.md": b"l"}
    assert run.metrics["refused"] == {
        "leads out of the source": 3, "link": 1, "device": 1, "name not allowed everywhere": 1, "name too long": 1,
        "name meets another": 2,
    }  # fmt: skip
    assert not list(outside.iterdir())
    assert {path.name for path in (run.out / "files" / "000").rglob("*")} == {"good.py", "dir", "last.md"}


HOSTILE = (
    "../a.py",
    "/b.py",
    "a.py",
    "A.py",
    "a.py/b.py",
    "con.py",
    "x/../../y.py",
    "c:e.py",
    ".h.py",
    "LICENSE",
    "d/LICENSE",
)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)


@given(names=st.lists(TEXT | TEXT.map("{}.py".format) | st.sampled_from(HOSTILE), max_size=8), tar=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_members_are_called_nothing_is_written_elsewhere(
    tmp_path_factory: pytest.TempPathFactory, cache: Path, names: list[str], tar: bool
) -> None:
    home = tmp_path_factory.mktemp("h")
    files = {name: name.encode() for name in [*names, "always.py"]}
    data = tar_bytes(files) if tar else zip_bytes(files)
    (home / "in").mkdir()
    path = home / "in" / ("x.tar" if tar else "x.zip")
    path.write_bytes(data)
    run = gathered(home / "out", url_source(path.as_uri(), data))
    entries = run.lines("files.jsonl")
    assert {p for p in home.rglob("*") if p.is_file()} == {
        path, *(run.out / f"{name}.jsonl" for name in ("files", "sources", "left_out")),
        *(run.out / entry["file"] for entry in entries),
        *(run.out / name for name in run.lines("sources.jsonl")[0]["license_files"]),
    }  # fmt: skip
    assert "always.py" in {entry["path"] for entry in entries}
    assert len({entry["path"].casefold() for entry in entries}) == len(entries)


def test_a_bomb_refuses_the_source(tmp_path: Path, cache: Path) -> None:
    data = zip_bytes({"a.txt": bytes(20_000_000)})
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(StageError, match=r"x\.zip unpacks to more than 100 times") as caught:
        gathered(tmp_path / "out", url_source((tmp_path / "x.zip").as_uri(), data, optional=True))
    assert caught.value.hint and "gather.max_ratio" in caught.value.hint
    source = url_source((tmp_path / "x.zip").as_uri(), data)
    run = run_stage(gather.STAGE, tmp_path / "two", gather={"sources": [source], "max_ratio": 2000})
    assert run.metrics["bytes"] == 20_000_000


def test_larger_files_are_left_out_and_counted(tmp_path: Path, cache: Path) -> None:
    files = {"big.md": b"x" * 20_000, "small.md": b"x"}
    folder = write_files(tmp_path / "in", files)
    commit = make_repository(tmp_path / "origin", files)
    data = zip_bytes(files, zipfile.ZIP_STORED)
    (tmp_path / "x.zip").write_bytes(data)
    sources = [
        {"folder": str(folder), **MIT}, {"git": str(tmp_path / "origin"), "commit": commit, **MIT},
        url_source((tmp_path / "x.zip").as_uri(), data),
    ]  # fmt: skip
    run = run_stage(gather.STAGE, tmp_path / "out", gather={"sources": sources, "max_file_mb": 0.01})
    assert [entry["path"] for entry in run.lines("files.jsonl")] == ["small.md"] * 3
    assert run.metrics["refused"] == {"too large": 3} and len(run.warned) == 3 and "big.md" in run.warned[0]


def test_licences_beside_or_above_what_is_taken_are_kept_and_no_others(tmp_path: Path, cache: Path) -> None:
    files = {
        "LICENSE": COPYRIGHT, "lib/LICENSE.md": "Copyright (c) 1999 Zoe\n", "lib/a.py": "a", "vendor/LICENSE": "GPL",
        "vendor/b.py": "b", "docs/license.rst": "text", "docs/c.md": "c",
    }  # fmt: skip
    commit = make_repository(tmp_path / "origin", {name: text.encode() for name, text in files.items()})
    source = {"git": str(tmp_path / "origin"), "commit": commit, **MIT, "exclude": ["vendor/*"]}
    run = gathered(tmp_path / "out", source)
    assert list(taken(run)) == ["docs/c.md", "lib/a.py"]
    (row,) = run.lines("sources.jsonl")
    assert row["license_files"] == [
        f"licenses/000/{name}" for name in ("LICENSE", "docs/license.rst", "lib/LICENSE.md")
    ]
    assert row["attribution"] == "Copyright (c) 2020 Ada Lovelace"


def test_one_repository_may_be_declared_in_parts_under_different_licences(tmp_path: Path, cache: Path) -> None:
    commit = make_repository(tmp_path / "origin", {"a/x.py": b"x", "b/y.py": b"y"}, partial=True)
    origin = {"git": (tmp_path / "origin").as_uri(), "commit": commit}
    parts = [{**origin, **MIT, "include": ["a/*"]}, {**origin, "license": "BSD-3-Clause", "include": ["b/*"]}]
    run = gathered(tmp_path / "out", *parts)
    assert [(entry["path"], entry["license"]) for entry in run.lines("files.jsonl")] == [
        ("a/x.py", "MIT"), ("b/y.py", "BSD-3-Clause"),
    ]  # fmt: skip
    assert len(list((cache / "git").iterdir())) == 1


RUN = """
import json, sys
from pathlib import Path
from stages.corpus import gather
from stages.corpus.sources import download
from test_gather import run_stage
download.PAUSE_SECONDS = 0.0
run_stage(gather.STAGE, Path(sys.argv[1]), gather=json.loads(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_gathering_killed_anywhere_ends_with_the_same_bytes(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = zip_bytes({f"{n}.md": hashlib.shake_256(bytes([n])).digest(60_000) for n in range(20)}, zipfile.ZIP_STORED)
    commit = make_repository(
        tmp_path / "origin", {f"{n}.py": f"x = {n}\n".encode() * 99 for n in range(50)}, partial=True
    )
    make_wheel(tmp_path / "index", "toy", "1.0", {"toy.pyi": b"x: int\n"})
    with serving() as site:
        site.files = {"x.zip": data}
        config = {"sources": [
            url_source(site.url("x.zip"), data), {"package": "toy==1.0", **MIT},
            {"git": (tmp_path / "origin").as_uri(), "commit": commit, **MIT},
        ]}  # fmt: skip
        code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n{RUN}"
        ended = 0
        for attempt in range(10):
            site.answers = [("cut", 100_000)] * 3 + [("stall", 50_000)] * (attempt < 2)
            child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / f"k{attempt}"), json.dumps(config)])
            try:
                ended += child.wait(0.8 + 0.2 * attempt) == 0
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
                child.wait()
        site.answers = []
        last = run_stage(gather.STAGE, tmp_path / "last", gather=config)
        assert ended < 10
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "fresh"))
    with serving() as site:
        site.files = {"x.zip": data}
        config["sources"][0]["url"] = site.url("x.zip")
        undisturbed = run_stage(gather.STAGE, tmp_path / "undisturbed", gather=config)
    assert tree(last.out / "files") == tree(undisturbed.out / "files")
    assert not list((cache / "partial").glob("*.work-*"))


def test_memory_does_not_grow_with_what_is_taken(tmp_path: Path, cache: Path) -> None:
    peaks = []
    for size in (2_000_000, 20_000_000):
        data = zip_bytes(
            {f"{n}.md": hashlib.shake_256(bytes([n])).digest(size // 4) for n in range(4)}, zipfile.ZIP_STORED
        )
        path = tmp_path / f"{size}.zip"
        path.write_bytes(data)
        source = url_source(path.as_uri(), data)
        del data
        tracemalloc.start()
        gathered(tmp_path / f"out{size}", source)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] and peaks[1] < 5_000_000
