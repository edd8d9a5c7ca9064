"""One commit of a git repository, from repositories made here: only its files, checked, and nothing of it acts."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from test_download import Bar

from pipeline.errors import StageError
from stages.corpus.sources import repositories
from stages.corpus.sources.cache import Cache, Unavailable
from stages.corpus.sources.declared import GitSource
from stages.corpus.sources.members import Limits
from stages.corpus.sources.repositories import Repository

LIMITS = Limits(file_bytes=10**7, total_bytes=10**8, files=1000, ratio=100)
FILES = {
    "LICENSE": b"MIT License\n\nCopyright (c) 2020 Ada Lovelace\n", "a.py": b"a = 1\n", "docs/b c.md": b"# B\n" * 5000,
    "docs/deep/ä.rst": b"x", "big.bin": bytes(1000), "empty.py": b"",
}  # fmt: skip


def git(folder: Path, *arguments: str, given: bytes = b"") -> str:
    identity = {f"GIT_{who}_{what}": "x@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    env = {**os.environ, **identity, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", *arguments], cwd=folder, env=env, input=given, capture_output=True, check=True)
    return done.stdout.decode().strip()


def make_repository(folder: Path, files: Mapping[str, bytes], *, partial: bool = False) -> str:
    """A repository with one commit after another; returns the last one's id."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "first")
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "-m", "second")
    if partial:
        git(folder, "config", "uploadpack.allowFilter", "true")
        git(folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    return git(folder, "rev-parse", "HEAD")


def get(
    cache: Path, url: str, commit: str, wanted: Callable[[str], bool] = lambda path: True, *, base: Path = Path(),
    limits: Limits = LIMITS,
) -> Repository:  # fmt: skip
    source = GitSource.model_validate_json(json.dumps({"git": url, "commit": commit, "license": "MIT"}))
    return repositories.fetch(Cache(cache), source, base, wanted, limits=limits, progress=Bar())


def contents(repository: Repository) -> dict[str, Any]:
    return {member.path: member.refused or b"".join(member.chunks()) for member in repository.members()}


def held(cache: Path, content: bytes) -> bool:
    """Whether a blob lies in the cached repository, by git's own word."""
    oid = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    (place,) = (cache / "git").iterdir()
    told = subprocess.run(["git", "--git-dir", str(place), "cat-file", "--batch-check"], input=oid.encode(),
                          capture_output=True, check=True)  # fmt: skip
    return b"missing" not in told.stdout


@pytest.mark.parametrize("form", ["path", "relative", "file"])
def test_the_files_of_the_commit_and_no_others(tmp_path: Path, form: str) -> None:
    commit = make_repository(tmp_path / "origin", FILES)
    (tmp_path / "origin" / "a.py").write_text("later")
    git(tmp_path / "origin", "commit", "--quiet", "-am", "third")
    url = {"path": str(tmp_path / "origin"), "relative": "origin", "file": (tmp_path / "origin").as_uri()}[form]
    repository = get(tmp_path / "cache", url, commit, base=tmp_path)
    assert contents(repository) == FILES
    assert [entry.path for entry in repository.entries] == sorted(FILES)
    assert not held(tmp_path / "cache", b"later")


def test_once_fetched_it_needs_no_origin(tmp_path: Path) -> None:
    commit = make_repository(tmp_path / "origin", FILES)
    get(tmp_path / "cache", str(tmp_path / "origin"), commit)
    shutil.rmtree(tmp_path / "origin")
    assert contents(get(tmp_path / "cache", str(tmp_path / "origin"), commit)) == FILES
    assert contents(get(tmp_path / "cache", "https://127.0.0.1:9/gone", commit)) == FILES
    assert not list((tmp_path / "cache" / "partial").iterdir())


def test_only_wanted_files_are_fetched_where_the_server_can_leave_out_the_rest(tmp_path: Path) -> None:
    commit = make_repository(tmp_path / "origin", FILES, partial=True)
    url = (tmp_path / "origin").as_uri()
    repository = get(tmp_path / "cache", url, commit, lambda path: path.endswith(".py"))
    assert contents(repository) == {name: data if name.endswith(".py") else b"" for name, data in FILES.items()}
    assert held(tmp_path / "cache", FILES["a.py"]) and not held(tmp_path / "cache", FILES["big.bin"])
    more = get(tmp_path / "cache", url, commit, lambda path: not path.endswith(".bin"))
    assert contents(more) == {**FILES, "big.bin": b""}
    shutil.rmtree(tmp_path / "origin")
    assert contents(get(tmp_path / "cache", url, commit, lambda path: path.endswith(".md")))["docs/b c.md"]
    with pytest.raises(Unavailable):
        get(tmp_path / "cache", url, commit)


def test_many_files_come_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repositories, "BATCH", 2)
    commit = make_repository(tmp_path / "origin", FILES, partial=True)
    assert contents(get(tmp_path / "cache", (tmp_path / "origin").as_uri(), commit)) == FILES


def test_nothing_in_a_repository_acts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = tmp_path / "ran"
    secret = tmp_path / "secret.py"
    secret.write_text("SECRET")
    origin = tmp_path / "origin"
    files = {
        ".gitattributes": b"*.py filter=evil ident export-subst\n*.md export-ignore text eol=crlf\n",
        "a.py": b"# $Id$ $Format:%H$\n", "b.md": b"b\n", ".gitmodules": b'[submodule "s"]\n\tpath = s\n\turl = ./x\n',
    }  # fmt: skip
    commit = make_repository(origin, files)
    git(origin, "update-index", "--add", "--cacheinfo", f"160000,{commit},s")
    link = git(origin, "hash-object", "-w", "--stdin", given=str(secret).encode())
    git(origin, "update-index", "--add", "--cacheinfo", f"120000,{link},link.py")
    git(origin, "commit", "--quiet", "-m", "third")
    commit = git(origin, "rev-parse", "HEAD")
    hook = origin / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    templates = tmp_path / "templates" / "hooks"
    templates.mkdir(parents=True)
    for path in (hook, *(templates / name for name in ("post-checkout", "reference-transaction", "post-merge"))):
        path.write_text(f"#!/bin/sh\ntouch {ran}\n")
        path.chmod(0o755)
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(templates.parent))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(tmp_path / "nowhere"))
    found = contents(get(tmp_path / "cache", str(origin), commit))
    assert found == {**files, "link.py": "link", "s": "submodule"}
    assert not ran.exists() and not (tmp_path / "nowhere").exists()


def test_hostile_names_in_a_tree_come_as_they_are_for_the_taker_to_judge(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    make_repository(origin, {"a.py": b"a"})
    blob = git(origin, "hash-object", "-w", "--stdin", given=b"x")
    tree = b"100644 nul.py\0" + bytes.fromhex(blob) + b"100644 what?.py\0" + bytes.fromhex(blob)
    made = git(origin, "hash-object", "-w", "--stdin", "-t", "tree", "--literally", given=tree)
    commit = git(origin, "commit-tree", made, "-m", "hostile")
    git(origin, "update-ref", "refs/heads/hostile", commit)
    assert set(contents(get(tmp_path / "cache", str(origin), commit))) == {"nul.py", "what?.py"}
    tree = b"100644 ..\0" + bytes.fromhex(blob)
    made = git(origin, "hash-object", "-w", "--stdin", "-t", "tree", "--literally", given=tree)
    commit = git(origin, "commit-tree", made, "-m", "hostile")
    git(origin, "update-ref", "refs/heads/hostile", commit)
    with pytest.raises(Unavailable, match=r"fsck|hasDotdot|contains"):
        get(tmp_path / "cache", str(origin), commit)


def test_a_damaged_repository_is_noticed_and_fetched_again(tmp_path: Path) -> None:
    commit = make_repository(tmp_path / "origin", FILES)
    get(tmp_path / "cache", str(tmp_path / "origin"), commit)
    for damage in (flip_a_byte_of_the_pack, lose_the_index, forge_an_object):
        damage(tmp_path / "cache" / "git" / commit)
        assert contents(get(tmp_path / "cache", str(tmp_path / "origin"), commit)) == FILES, damage.__name__
    shutil.rmtree(tmp_path / "origin")
    flip_a_byte_of_the_pack(tmp_path / "cache" / "git" / commit)
    with pytest.raises(Unavailable):
        get(tmp_path / "cache", str(tmp_path / "origin"), commit)


def flip_a_byte_of_the_pack(place: Path) -> None:
    for path in place.glob("objects/pack/*.pack"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.chmod(0o644)
        path.write_bytes(data)


def lose_the_index(place: Path) -> None:
    for path in place.glob("objects/pack/*.idx"):
        path.unlink()


def forge_an_object(place: Path) -> None:
    """Put another content under the id of a.py, as a loose object beside a repository without packs."""
    subprocess.run(["git", "--git-dir", str(place), "fsck"], check=True, capture_output=True)
    for pack in place.glob("objects/pack/*.pack"):
        data = pack.read_bytes()
        for path in place.glob("objects/pack/*"):
            path.unlink()
        subprocess.run(["git", "--git-dir", str(place), "unpack-objects"], input=data, check=True, capture_output=True)
    a, b = (
        hashlib.sha1(f"blob {len(FILES[name])}\0".encode() + FILES[name]).hexdigest() for name in ("a.py", "big.bin")
    )
    target = place / "objects" / a[:2] / a[2:]
    target.chmod(0o644)
    target.write_bytes((place / "objects" / b[:2] / b[2:]).read_bytes())


def test_what_a_killed_git_left_does_not_stop_the_next(tmp_path: Path) -> None:
    commit = make_repository(tmp_path / "origin", FILES, partial=True)
    url = (tmp_path / "origin").as_uri()
    get(tmp_path / "cache", url, commit, lambda path: path == "a.py")
    place = tmp_path / "cache" / "git" / commit
    for name in ("shallow.lock", "config.lock", "objects/pack/tmp_pack_x"):
        (place / name).write_text("left")
    (place / "config").write_text('[core]\n\trepositoryformatversion = 1\n[extensions]\n\tpartialClone = "')
    assert contents(get(tmp_path / "cache", url, commit)) == FILES


@pytest.mark.parametrize(
    ("url", "told"),
    [("gone", "does not appear to be a git repository"), ("https://127.0.0.1:9/x", "127.0.0.1"),
     ("ssh://127.0.0.1:9/x", "Could not read from remote|cannot run ssh|unable to fork")],
)  # fmt: skip
def test_an_origin_that_cannot_be_had_is_told(tmp_path: Path, url: str, told: str) -> None:
    with pytest.raises(Unavailable, match=rf"git:{url}@{'0' * 40}: fatal: .*({told})"):
        get(tmp_path / "cache", url, "0" * 40, base=tmp_path)


def test_a_commit_that_is_not_there_is_told(tmp_path: Path) -> None:
    make_repository(tmp_path / "origin", FILES)
    with pytest.raises(Unavailable, match=f"@{'1' * 40}: fatal: .*{'1' * 40}"):
        get(tmp_path / "cache", str(tmp_path / "origin"), "1" * 40)


def test_a_blob_or_tag_is_no_commit(tmp_path: Path) -> None:
    make_repository(tmp_path / "origin", FILES)
    blob = git(tmp_path / "origin", "rev-parse", "HEAD:a.py")
    with pytest.raises(StageError):
        get(tmp_path / "cache", str(tmp_path / "origin"), blob)


def test_more_than_the_limits_is_refused(tmp_path: Path) -> None:
    files = {f"{number}.bin": hashlib.shake_256(bytes([number])).digest(300_000) for number in range(10)}
    commit = make_repository(tmp_path / "origin", files)
    with pytest.raises(StageError, match="fetched more than 1 MB"):
        get(tmp_path / "cache", str(tmp_path / "origin"), commit, limits=Limits(10**7, 10**6, 1000, 100))
    with pytest.raises(StageError, match="has more than 9 files"):
        get(tmp_path / "cache", str(tmp_path / "origin"), commit, limits=Limits(10**7, 10**7, 9, 100))
