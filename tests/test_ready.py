"""Whether programs can be run is tried, not guessed; where they cannot be, the message says what helps."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import pytest

from stages.evaluation import node, ready, sandbox
from stages.evaluation.node import SandboxUnavailable, is_cached
from stages.evaluation.ready import WITHOUT, check_sandbox, examined

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the tools here are shell scripts")
real = pytest.mark.skipif(shutil.which("node") is None or not is_cached(), reason="not fetched here")


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH; write tools into it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(sandbox, "without_network", lambda: ())
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds what stands for the interpreter here, with its checksum."""
    monkeypatch.setattr(node, "WASM_SHA256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    wasm = node._wasm(node._folder(tmp_path / "cache"))
    wasm.parent.mkdir(parents=True)
    wasm.write_bytes(b"abc")  # FIPS 180-4, B.1
    return tmp_path / "cache"


def tool(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def fails_after(start: str) -> str:
    """A Node that tells its version and starts, and then does no more than this."""
    return f'if [ "$1" = --version ]; then echo v20.1.0; exit; fi\n{start}'


STARTED = "echo '{\"ready\": 1}'\nread request\n"
SILENT = (
    '{"ended": "done", "exception": null, "returned": 0, "virtual_us": 0, "stdout": "", "events": [], "values": [], '
    '"files": {}}'
)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("exit 1", "the interpreter does not start under"),
        ("echo 'Segmentation fault'", "the interpreter does not start under"),
        (f"{STARTED}exit 1", "it ended by crashed"),
        (f"{STARTED}echo {shlex.quote(SILENT)}", "it ended by done"),  # and did nothing
    ],
)
def test_a_node_that_starts_and_then_fails_is_found_out(tools: Path, cache: Path, start: str, message: str) -> None:
    tool(tools, "node", fails_after(start))
    with pytest.raises(SandboxUnavailable, match=message) as caught:
        check_sandbox(cache)
    assert str(tools / "node") in str(caught.value) and caught.value.hint
    found = examined(cache)
    assert (found["state"], found["found"]) == ("warn", str(caught.value))
    assert found["advice"] == f"{caught.value.hint}; {WITHOUT}"


@real
def test_what_is_here_runs_a_program() -> None:
    check_sandbox()
    assert examined()["state"] == "ok" and "fetched and tried; kept from the network by" in examined()["found"]


@pytest.mark.parametrize(("words", "wall"), [(("unshare", "--net"), "the kernel"), ((), "WebAssembly alone")])
def test_the_doctor_tells_the_wall_before_the_network(
    tools: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], wall: str
) -> None:
    tool(tools, "node", "echo v20.1.0")
    monkeypatch.setattr(ready, "check_sandbox", lambda cache: None)
    monkeypatch.setattr(ready, "without_network", lambda: words)
    found = f"Node 20.1 at {tools / 'node'}, interpreter fetched and tried; kept from the network by {wall}"
    assert examined(cache) == {"what": "programs on the simulated board", "state": "ok", "found": found, "advice": ""}


def test_the_doctor_tells_what_is_missing_and_what_works_without_it(tools: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert examined(nowhere)["state"] == "warn"
    assert "no `node` on the PATH" in examined(nowhere)["found"]
    assert "apt install nodejs npm" in examined(nowhere)["advice"] and "not run" in examined(nowhere)["advice"]
    tool(tools, "node", "echo v20.1.0")
    found = examined(nowhere)
    assert (found["state"], found["found"].rpartition(", ")[2]) == ("warn", "but no npm to fetch the interpreter with")
    assert found["advice"].startswith("install npm, or copy package.json") and str(nowhere) in found["advice"]
    tool(tools, "npm", "exit 1")
    found = examined(nowhere)
    assert found["state"] == "ok" and "interpreter fetched with npm when it is first needed; kept" in found["found"]
    assert not nowhere.exists()
