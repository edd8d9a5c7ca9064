"""Node and the interpreter are found, or fetched once; where that fails, the message says what helps."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from stages.evaluation import node
from stages.evaluation.node import SandboxUnavailable, find_interpreter, find_node, is_cached

LOCKED = Path("node_modules") / node.PACKAGE / "micropython.wasm"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH; write tools into it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def tool(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def refused(cache: Path) -> tuple[str, str]:
    with pytest.raises(SandboxUnavailable) as caught:
        find_interpreter(cache)
    assert isinstance(caught.value, PipelineError) and caught.value.hint
    assert "hint" not in str(caught.value)
    return str(caught.value), caught.value.hint


@pytest.fixture
def wasm(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What stands for the interpreter here, with its checksum."""
    monkeypatch.setattr(node, "WASM_SHA256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    return b"abc"  # FIPS 180-4, B.1


def test_without_node_the_message_says_where_it_is(tools: Path) -> None:
    message, hint = refused(tools)
    assert "needs Node 20 or newer" in message and hint.startswith("install it from https://nodejs.org")


@pytest.mark.parametrize("says", ["echo v18.20.4", "echo v9.1.0", "exit 1", "echo not a version 99.1"])
def test_an_old_or_broken_node_is_told(tools: Path, says: str) -> None:
    tool(tools, "node", says)
    message, hint = refused(tools)
    assert "needs Node 20 or newer" in message and "newer" in hint


def test_a_node_that_cannot_be_started_is_told(tools: Path) -> None:
    (tools / "node").write_bytes(b"\x7fELF of another machine")
    (tools / "node").chmod(0o755)
    assert "needs Node 20 or newer" in refused(tools)[0]


def test_without_npm_there_is_another_way(tools: Path) -> None:
    tool(tools, "node", "echo v20.1.0")
    message, hint = refused(tools / "cache")
    assert "no `npm` on the PATH" in message
    assert "npm ci" in hint and str(tools / "cache") in hint


def test_a_fetch_that_fails_says_why(tools: Path) -> None:
    tool(tools, "node", "echo v20.1.0")
    tool(
        tools,
        "npm",
        "echo 'npm warn config is old' >&2\necho 'npm error code EAI_AGAIN' >&2\necho 'npm error errno EAI_AGAIN' >&2\n"
        "echo 'npm error request to https://registry.npmjs.org failed' >&2\n"
        "echo 'npm error A complete log of this run can be found in: /x/y-debug-0.log' >&2\nexit 1",
    )
    message, hint = refused(tools / "cache")
    assert message.endswith("fetched: code EAI_AGAIN; request to https://registry.npmjs.org failed")
    assert hint.startswith("go online and run the command again, or copy package.json")
    assert not [*(tools / "cache").rglob("node_modules")]


def test_a_cache_that_cannot_be_written_is_told(tools: Path) -> None:
    tool(tools, "node", "echo v20.1.0")
    tool(tools, "npm", "exit 0")
    (tools / "cache").write_text("a file")
    assert "could not be fetched" in refused(tools / "cache")[0]


def test_it_is_fetched_once_and_then_needs_no_npm(tools: Path, tmp_path: Path, wasm: bytes) -> None:
    cache, made = tmp_path / "cache", LOCKED.parent
    tool(tools, "node", "echo v22.20.0")
    tool(tools, "npm", f"/bin/mkdir -p '{made}' && printf {wasm.decode()} > '{LOCKED}' && test -f package-lock.json")
    assert not is_cached(cache)
    found = find_interpreter(cache)
    assert found.wasm.read_bytes() == wasm and found.permission == "--permission"
    (tools / "npm").unlink()
    assert is_cached(cache) and find_interpreter(cache) == found
    assert [path.name for path in cache.iterdir()] == [found.wasm.relative_to(cache).parts[0]]


@pytest.mark.parametrize(
    ("version", "flag"),
    [("20.1.0", "--experimental-permission"), ("22.13.0", "--permission"), ("23.4.0", "--experimental-permission")],
)
def test_the_permission_flag_is_the_one_of_the_version(
    tools: Path, tmp_path: Path, wasm: bytes, version: str, flag: str
) -> None:
    tool(tools, "node", f"echo v{version}")
    tool(tools, "npm", f"/bin/mkdir -p '{LOCKED.parent}' && printf {wasm.decode()} > '{LOCKED}'")
    assert find_interpreter(tmp_path / "cache").permission == flag
    assert find_node()[1] == tuple(map(int, version.split(".")[:2]))


def test_a_changed_interpreter_is_refused(tools: Path, tmp_path: Path, wasm: bytes) -> None:
    tool(tools, "node", "echo v20.1.0")
    tool(tools, "npm", f"/bin/mkdir -p '{LOCKED.parent}' && printf {wasm.decode()}d > '{LOCKED}'")
    message, hint = refused(tmp_path / "cache")
    assert "is not the interpreter" in message and hint.startswith(f"rm -r {tmp_path}")


@pytest.mark.skipif(shutil.which("node") is None or not is_cached(), reason="not fetched here")
def test_what_was_fetched_here_is_what_the_lock_says() -> None:
    assert find_interpreter().wasm.is_relative_to(node.interpreters())
