"""Declaring sources: what is accepted, and what a person reads who wrote it wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import load_config
from pipeline.errors import ConfigError
from stages.corpus import gather
from stages.corpus.gather import GatherConfig
from stages.corpus.sources.declared import GitSource, UrlSource

COMMIT, SHA256 = "0123456789abcdef" * 2 + "01234567", "0123456789abcdef" * 4


def declare(**source: Any) -> Any:
    config = GatherConfig.model_validate_json(json.dumps({"sources": [{"license": "MIT", **source}]}))
    return config.sources[0]


def errors(folder: Path, *lines: str) -> list[str]:
    """What a config with these lines as its one source is told, each without the path of the file."""
    path = folder / "c.yaml"
    path.write_text("name: toy\ngather:\n  sources:\n    - " + "\n      ".join(lines) + "\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, (gather.STAGE,))
    return [error.removeprefix(f"{path}:") for error in caught.value.errors]


def test_every_kind_has_a_stable_name() -> None:
    assert declare(folder="corpus/code").name == "corpus/code"
    assert declare(package="micropython-rp2-stubs==1.26.0.post1").name == "pypi:micropython-rp2-stubs==1.26.0.post1"
    assert declare(git="https://example.com/a/b", commit=COMMIT).name == f"git:https://example.com/a/b@{COMMIT}"
    assert (
        declare(url="https://example.com/a%20b.pdf?x=1", sha256=SHA256).name == "url:https://example.com/a%20b.pdf?x=1"
    )
    assert declare(url="https://example.com/a%20b.pdf?x=1", sha256=SHA256).file == "a b.pdf"
    assert declare(url="https://example.com/?id=3", sha256=SHA256, filename="book.pdf").file == "book.pdf"


def test_what_is_left_out_has_its_default_and_patterns_are_lists() -> None:
    source = declare(git="../mine", commit=COMMIT, include=["*.py"])
    assert isinstance(source, GitSource) and source.optional is False
    assert (source.include, source.exclude, source.attribution) == (("*.py",), (), "")
    written = GatherConfig(sources=(source,)).model_dump(mode="json")["sources"]
    assert written == [
        {"license": "MIT", "attribution": "", "include": ["*.py"], "exclude": [], "lines": False, "optional": False,
         "git": "../mine", "commit": COMMIT}
    ]  # fmt: skip


@pytest.mark.parametrize(
    "git",
    ["https://example.com/x.git", "ssh://git@example.com/x", "git@example.com:a/b.git", "../mine", "/srv/x", "~/x"],
)
def test_the_forms_of_a_repository(git: str) -> None:
    assert declare(git=git, commit=COMMIT).git == git


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["license: MIT"], "4:7: gather.sources.0: has none of folder, package, git, url"),
        (["repo: x", "license: MIT"],
         "4:7: gather.sources.0: has none of folder, package, git, url; it is `git` here, not `repo`"),
        (["plain"],
         "4:7: gather.sources.0: should be a mapping, such as `folder: docs` and `license: MIT`, not \"plain\""),
        (["folder: a"], "4:7: `gather.sources.0.license` is missing"),
        (["folder: a", "license: MIT", "git: b"],
         "6:12: gather.sources.0.git: this source has `folder` already; make it another item of the list"),
        (["folder: a", "license: MIT", "commit: b"],
         "6:15: gather.sources.0.commit: is for git sources, not for folder"),
        (["git: a", "license: MIT", "sha256: b"],
         "6:15: gather.sources.0.sha256: is for package and url sources, not for git"),
        (["git: a", "license: MIT"], "4:7: `gather.sources.0.commit` is missing"),
        (["git: a", "license: MIT", "commit: main"],
         "6:15: gather.sources.0.commit: should be the whole id of a commit, not a branch or tag: "
         "40 hexadecimal digits in lower case, not \"main\""),
        (["url: https://example.com/a.pdf", "license: MIT"], "4:7: `gather.sources.0.sha256` is missing"),
        (["url: https://example.com/", "license: MIT", f"sha256: '{SHA256}'"],
         "4:12: gather.sources.0.url: does not end in the name of a file; give one with `filename:`"),
        (["package: a", "license: MIT"],
         "4:16: gather.sources.0.package: should be one exact version, as in some-package==1.2.0, not \"a\""),
        (["folder: a", "license: MIT License"],
         "5:16: gather.sources.0.license: should be an SPDX expression, such as MIT or `MIT AND Apache-2.0`, "
         "not \"MIT License\""),
        (["folder: a", "licence: MIT", "license: MIT"],
         "5:7: unknown key `gather.sources.0.licence`; it is `license` here"),
        (["package: a==1", "license: MIT", "optinal: true"],
         "6:7: unknown key `gather.sources.0.optinal`; did you mean `optional`?"),
        (["git: a", f"commit: '{COMMIT}'", "license: MIT", "include: '*.py'"],
         "7:16: gather.sources.0.include: should be a valid array, not \"*.py\""),
    ],
)  # fmt: skip
def test_a_mistake_is_told_where_it_stands(tmp_path: Path, lines: list[str], told: str) -> None:
    assert errors(tmp_path, *lines) == [told]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("package", "a>=1"), ("package", "a==1.*"), ("package", "-r==1"), ("package", "a[b]==1"), ("package", "a == 1"),
        ("package", "a==1 --index-url=x"), ("package", "a==1;python_version<'3'"), ("package", "a @ file:///x"),
        ("git", "ext::sh -c id"), ("git", "--upload-pack=id"), ("git", "fd::17"), ("git", "ftp://example.com/x"),
        ("git", ""), ("git", "https://example.com/\nx"), ("url", "ftp://example.com/x.pdf"), ("url", "x.pdf"),
        ("url", "https:///x.pdf"), ("url", "file://host/x.pdf"), ("url", "https://example.com:x/x.pdf"),
        ("url", "https://example.com/a b.pdf"), ("filename", "a/b.pdf"), ("filename", ".."), ("filename", "con.pdf"),
        ("sha256", "A" * 64), ("sha256", "0" * 63), ("commit", "0" * 64), ("commit", "HEAD"),
    ],
)  # fmt: skip
def test_what_could_be_misread_or_misused_is_refused(key: str, value: str) -> None:
    rest = {
        "package": {}, "git": {"commit": COMMIT}, "url": {"sha256": SHA256}, "commit": {"git": "a"},
        "filename": {"url": "https://example.com/a.pdf", "sha256": SHA256}, "sha256": {"url": "https://example.com/a.pdf"},
    }[key]  # fmt: skip
    with pytest.raises(ValueError, match=key):
        declare(**{**rest, key: value})


def test_a_url_that_ends_in_a_path_of_its_own_is_no_name() -> None:
    for end in ("..%2Fx.pdf", "%2e%2e", "a%00.pdf", "nul"):
        with pytest.raises(ValueError, match="does not end in the name of a file"):
            declare(url=f"https://example.com/{end}", sha256=SHA256)
    assert isinstance(declare(url="file:///srv/a.pdf", sha256=SHA256), UrlSource)


@pytest.mark.parametrize("license", ["", "MIT License", "MIT AND", "(MIT", "MIT, BSD", "Apache 2.0", "MIT/BSD"])
def test_a_licence_that_is_no_spdx_expression_is_refused(license: str) -> None:
    with pytest.raises(ValueError, match="should be an SPDX expression"):
        declare(folder="a", license=license)
    for right in (
        "MIT",
        "CC0-1.0",
        "LicenseRef-mine",
        "(MIT OR BSD-3-Clause) AND GPL-2.0-only WITH Classpath-exception-2.0",
    ):
        assert declare(folder="a", license=right).license == right
