"""Names of files from elsewhere: none leads out of the folder, none meets another, and all can be written anywhere."""

from __future__ import annotations

import ntpath
import os
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stages.corpus.sources.members import (
    Names,
    Selection,
    Unreadable,
    copyright_line,
    file_reader,
    is_licence,
    name_problem,
    spelled,
    tidy,
)

PARTS = st.sampled_from(
    [
        "..",
        ".",
        "",
        "a",
        "B",
        "con",
        "NUL.txt",
        "c:",
        "C:x",
        "x" * 300,
        "ä",
        "\x00",
        "a\nb",
        "a\\b",
        "..\\..",
        "a.",
        " ",
    ]
)
NAMES = st.text(max_size=30) | st.lists(PARTS | st.text(max_size=5), max_size=6).map("/".join) | PARTS


@given(NAMES)
@example("../../etc/passwd")
@example("/etc/passwd")
@example("a/../../b.py")
@example("C:/x.py")
@example("\\\\host\\share\\x.py")
@example("aux/x.py")
@example("a:stream")
def test_an_accepted_name_stays_below_its_folder_on_every_system(name: str) -> None:
    if name_problem(name) is not None:
        return
    for system in (os.path, ntpath):
        assert not system.isabs(name) and not system.splitdrive(name)[0]
        root = "C:\\in\\here" if system is ntpath else "/in/here"
        joined = system.normpath(system.join(root, name))
        assert joined.startswith(root + system.sep)
    posix, windows = PurePosixPath(name).parts, PureWindowsPath(name).parts
    assert posix == windows == tuple(name.split("/"))
    assert not any(PureWindowsPath(part).is_reserved() for part in posix)
    assert all(0 < len(os.fsencode(part)) <= 255 for part in posix)


@given(NAMES)
def test_an_accepted_name_can_be_written(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    if name_problem(name) is None:
        path = tmp_path_factory.mktemp("n") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        assert path.resolve().is_relative_to(path.parents[name.count("/")].resolve())


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("../a.py", "leads out"), ("a/../../b.py", "leads out"), ("/a.py", "leads out"), ("c:/a.py", "leads out"),
        ("c:a.py", "leads out"), ("\\a.py", "leads out"), ("a\\..\\b.py", "leads out"),
        ("a\x00.py", "control character"),
        ("a\nb.py", "control character"), ("Con.py", "not allowed"), ("a/lpt1/b.py", "not allowed"),
        ("a\\b.py", "not allowed"),
        ("what?.py", "not allowed"), ("a./b.py", "not allowed"), ("a.py ", "not allowed"), ("", "not allowed"),
        ("a//b", "not allowed"), ("a/./b", "not allowed"), ("ä" * 128, "too long"), ("a/" * 61 + "b", "too long"),
        ("abcdefg/" * 50 + "ä" * 250, "too long"),
    ],
)  # fmt: skip
def test_a_refused_name_has_its_reason(name: str, problem: str) -> None:
    assert problem in (name_problem(name) or "")


@pytest.mark.parametrize("name", ["a.py", "deep/er/b c.py", "console.py", "com10.py", "ä/ö.md", "..a", "a..b", "🙂.py"])
def test_ordinary_names_are_fine(name: str) -> None:
    assert name_problem(name) is None


def test_names_that_a_system_without_case_would_mix_are_taken_once() -> None:
    names = Names()
    assert names.take("Docs/A.md") and names.take("docs/b.md") and names.take("x")
    for again in ("Docs/A.md", "docs/a.MD", "DOCS", "x/y.py", "X/z.py", "docs/a.md/c"):
        assert not names.take(again), again
    assert names.take("caf\u00e9.py") and not names.take("cafe\u0301.py")
    assert names.take("stra\u00dfe.py") and not names.take("STRASSE.py")


def test_selection_takes_what_fits_and_nothing_hidden() -> None:
    wanted = Selection(("*.py", "docs/*"), ("*test_*",))
    assert [path for path in ("a.py", "x/a.py", "docs/a.md", "a.md", "x/test_a.py", ".a.py", "x/.d/a.py",
                              "__pycache__/a.py") if wanted(path)] == ["a.py", "x/a.py", "docs/a.md"]  # fmt: skip


def test_licence_files_are_known_by_name() -> None:
    for name in (
        "LICENSE",
        "a/LICENCE.md",
        "COPYING.LESSER",
        "NOTICE.txt",
        "UNLICENSE",
        "LICENSE-MIT",
        "LICENSE_typeshed",
    ):
        assert is_licence(name), name
    for name in ("licenses.py", "licensed.md", "noticeboard.md", "copyright.md", "a/LICENSE/b.md"):
        assert not is_licence(name), name


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("MIT License\n\nCopyright (c) 2018 Ada  Lovelace\n\nPermission is", "Copyright (c) 2018 Ada Lovelace"),
        ("# Copyright 2020, A\n", "Copyright 2020, A"),
        ("copyright notice\nCopyright [yyyy] [name of owner]\nCopyright © B\n", "Copyright © B"),
        ("   A grant of copyright license.\n", ""),
        ("", ""),
    ],
)
def test_who_holds_the_copyright(text: str, line: str) -> None:
    assert copyright_line(text) == line


def test_spelling_and_tidying() -> None:
    assert spelled(os.fsdecode(b"caf\xe9.py")) == "caf\\xe9.py"
    assert [tidy(name) for name in ("./a.py", "a//b/./c", "/etc/x", "../a")] == ["a.py", "a/b/c", "/etc/x", "../a"]


def test_a_file_without_permission_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(Unreadable, match="unreadable"):
        list(file_reader(tmp_path / "a")())
