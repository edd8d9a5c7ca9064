"""A release on the Hub: what is uploaded, where it lies there, and what is told where it cannot be uploaded.

The Hub is a server here that speaks as much of its API as huggingface_hub asks for, and keeps what it is sent.
"""

from __future__ import annotations

import base64
import hashlib
import inspect
import json
import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import huggingface_hub
import pytest
import yaml
from huggingface_hub import constants

from pipeline.errors import IntegrityError, PipelineError, UsageError
from stages.release import push as module
from stages.release.card import _HERE
from stages.release.publish import write_sums
from stages.release.push import HubError, push
from stages.release.usage import FROM_HERE

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the Hub's client

TOKEN = "hf_AbcdefghijklmnopqrstuvwxyzSecret"
CARD = f"---\nlicense: mit\n---\n\n# tiny\n\n{_HERE}\n\n### Ollama\n\n```python\n{FROM_HERE}\n```\n"


class Hub(ThreadingHTTPServer):
    """`repositories` maps names to files, `private` holds those that not everybody sees; `answers` come before all."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.large: dict[str, bytes] = {}
        self.commits: list[list[dict[str, Any]]] = []
        self.answers: dict[str, tuple[int, dict[str, Any]]] = {}
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, value: Any, status: int = 200, **headers: str) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        told = {"Content-Length": str(len(body)), "X-Repo-Commit": "c" * 40, **headers}
        for name, text in told.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_request(self) -> None:
        hub, path = self.server, self.path.partition("?")[0]
        hub.asked.append(f"{self.command} {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if canned := next((canned for start, canned in hub.answers.items() if path.startswith(start)), None):
            return self.answer(canned[1], canned[0])
        if path.startswith("/large/"):
            hub.large[path.removeprefix("/large/")] = body
            return self.answer({})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer({"error": "Invalid credentials in Authorization header"}, 401)
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            yaml.safe_load(json.loads(body)["content"].split("---")[1])
            return self.answer({"errors": [], "warnings": []})
        name = "/".join(path.removeprefix("/api/models").removesuffix(".git/info/lfs/objects/batch").split("/")[1:3])
        files = hub.repositories.get(name)
        if files is None:
            return self.answer({"error": "Repository not found"}, 404, **{"X-Error-Code": "RepoNotFound"})
        if "/preupload/" in path:
            asked = json.loads(body)["files"]
            modes = [{"path": file["path"], "shouldIgnore": False, "oid": None} for file in asked]
            weights = (".gguf", ".safetensors")
            return self.answer(
                {"files": [m | {"uploadMode": "lfs" if m["path"].endswith(weights) else "regular"} for m in modes]}
            )
        if path.endswith("/objects/batch"):
            objects = [
                {"oid": o["oid"], "size": o["size"]}
                | ({} if o["oid"] in hub.large else {"actions": {"upload": {"href": f"{hub.url}/large/{o['oid']}"}}})
                for o in json.loads(body)["objects"]
            ]
            return self.answer({"transfer": "basic", "objects": objects})
        if "/commit/" in path:
            return self.commit(name, [json.loads(line) for line in body.splitlines()])
        if "/resolve/" in path:
            content = files[path.split("/resolve/main/")[1]]
            return self.answer(content, ETag=f'"{hashlib.sha1(content).hexdigest()}"')
        return self.answer(
            {"id": name, "private": name in hub.private, "siblings": [{"rfilename": file} for file in files]}
        )

    do_GET = do_POST = do_PUT = do_HEAD = handle_request

    def create(self, asked: dict[str, Any]) -> None:
        hub, name = self.server, f"{asked['organization']}/{asked['name']}"
        if asked["organization"] != "ada":
            return self.answer({"error": "You don't have the rights to create a model under that namespace"}, 403)
        if name in hub.repositories:
            return self.answer({"error": "You already created this model repo", "url": f"{hub.url}/{name}"}, 409)
        hub.repositories[name] = {".gitattributes": b""}
        if asked.get("private") or asked.get("visibility") == "private":
            hub.private.add(name)
        return self.answer({"url": f"{hub.url}/{name}"})

    def commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        hub = self.server
        files = hub.repositories[name]
        hub.commits.append(lines)
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = hub.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self.answer({"commitUrl": f"{hub.url}/{name}/commit/{'c' * 40}", "commitOid": "c" * 40})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    server = Hub()
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    for name, value in {
        "ENDPOINT": server.url, "HF_HUB_DISABLE_XET": True, "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_TOKEN_PATH": str(tmp_path / "no-token"), "HF_HUB_OFFLINE": False,
        "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_URL_HOSTS": constants.HF_URL_HOSTS | {"127.0.0.1"},
    }.items():  # fmt: skip
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    huggingface_hub.close_session()
    yield server
    huggingface_hub.close_session()
    server.shutdown()
    server.server_close()


def make_release(folder: Path, **texts: str) -> Path:
    (folder / "huggingface").mkdir(parents=True)
    texts = {
        "README.md": CARD, "LICENSE": "MIT", "Modelfile": "FROM ./tiny-f16.gguf", "tiny-f16.gguf": "weights",
        "huggingface/config.json": "{}", "huggingface/model.safetensors": "numbers", **texts,
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text)
    write_sums(folder)
    return folder


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = make_release(tmp_path / "tiny")
    (folder / "notes.txt").write_text("mine: not listed, not to be uploaded")
    return folder


def test_a_release_lies_in_its_repository_as_people_look_for_it(hub: Hub, release: Path, tmp_path: Path) -> None:
    assert push(release, "ada/tiny") == f"{hub.url}/ada/tiny"
    assert hub.private == {"ada/tiny"} and len(hub.commits) == 1
    files = hub.repositories["ada/tiny"]
    assert files.keys() == {
        ".gitattributes", "README.md", "LICENSE", "Modelfile", "tiny-f16.gguf", "config.json", "model.safetensors",
        "SHA256SUMS",
    }  # fmt: skip
    assert files["tiny-f16.gguf"] == b"weights" and files["model.safetensors"] == b"numbers"
    listed = dict(reversed(line.split("  ")) for line in files["SHA256SUMS"].decode().splitlines())
    assert listed == {
        name: hashlib.sha256(data).hexdigest()
        for name, data in files.items()
        if name not in (".gitattributes", "SHA256SUMS")
    }
    card = files["README.md"].decode()
    assert 'folder = "ada/tiny"' in card and "`huggingface/`" not in card and "hf download ada/tiny" in card
    assert (release / "README.md").read_text() == CARD
    if shutil.which("sha256sum"):
        for name, data in files.items():
            (tmp_path / "clone" / name).parent.mkdir(exist_ok=True)
            (tmp_path / "clone" / name).write_bytes(data)
        check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
        assert subprocess.run(check, cwd=tmp_path / "clone", capture_output=True).returncode == 0


def test_the_next_release_takes_the_place_of_the_last_and_of_nothing_else(
    hub: Hub, release: Path, tmp_path: Path
) -> None:
    push(make_release(tmp_path / "old", **{"tiny-q2_k.gguf": "few", "NOTICES.txt": "by Ada"}), "ada/tiny")
    hub.repositories["ada/tiny"]["picture.png"] = b"hers"
    hub.asked.clear()
    push(release, "ada/tiny")
    assert hub.repositories["ada/tiny"].keys() == {
        ".gitattributes", "README.md", "LICENSE", "Modelfile", "tiny-f16.gguf", "config.json", "model.safetensors",
        "SHA256SUMS", "picture.png",
    }  # fmt: skip
    assert not any(asked.startswith("PUT") for asked in hub.asked)  # the weights are there already


def test_public_has_to_be_asked_for(hub: Hub, release: Path) -> None:
    push(release, "ada/tiny", private=False)
    assert hub.private == set()
    hub.commits.clear()
    with pytest.raises(HubError, match="ada/tiny can be seen by everybody") as caught:
        push(release, "ada/tiny")
    assert caught.value.hint is not None and "--public" in caught.value.hint and not hub.commits


def test_another_model_is_not_overwritten(hub: Hub, release: Path) -> None:
    hub.repositories["ada/tiny"] = {"README.md": b"", "config.json": b"{}"}
    hub.private.add("ada/tiny")
    with pytest.raises(HubError, match=r"ada/tiny holds something else: config\.json, and no SHA256SUMS"):
        push(release, "ada/tiny")
    assert hub.repositories["ada/tiny"] == {"README.md": b"", "config.json": b"{}"}


@pytest.mark.parametrize("name", ["tiny", "ada/", "ada/ti ny", "../tiny", "ada/x--y", "ada/a..b", "ada/é", "a/b/c", ""])
def test_a_name_that_cannot_be_is_refused_before_anything_is_asked(hub: Hub, release: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is no name of a repository on the Hub"):
        push(release, name)
    assert not hub.asked


def test_a_damaged_release_is_not_uploaded(hub: Hub, release: Path) -> None:
    (release / "tiny-f16.gguf").write_text("wEights")
    with pytest.raises(IntegrityError, match=r"tiny-f16\.gguf does not match its checksum"):
        push(release, "ada/tiny")
    assert not hub.asked


def told(error: PipelineError) -> str:
    return f"{error} {error.hint}"


def test_without_a_token_it_is_said_where_to_get_one(hub: Hub, release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(HubError, match="no token") as caught:
        push(release, "ada/tiny")
    assert "hf auth login" in told(caught.value) and not hub.asked


@pytest.mark.parametrize(
    ("path", "status", "wanted"),
    [
        ("/api/repos/create", 401, "does not know the token (401: no TOKEN here)"),
        ("/api/repos/create", 403, "may not write to ada/tiny (403"),
        ("/api/models/ada/tiny/preupload", 403, "may not write to ada/tiny (403"),
        ("/api/models/ada/tiny/commit", 413, "refused ada/tiny (413"),
        ("/api/repos/create", 429, "refused ada/tiny (429"),
        ("/api/validate-yaml", 400, "Invalid metadata in README.md. - no TOKEN here"),
        ("/large/", 403, "tiny-f16.gguf"),
    ],
)
def test_each_refusal_says_what_to_do_and_never_the_token(
    hub: Hub, release: Path, capfd: pytest.CaptureFixture[str], path: str, status: int, wanted: str
) -> None:
    said = f"no {TOKEN} here"
    hub.answers[path] = (status, {"error": said, "errors": [{"message": said}]})
    if path == "/large/":
        (release / "huggingface/model.safetensors").unlink()
        write_sums(release)
    with pytest.raises(HubError) as caught:
        push(release, "ada/tiny")
    assert wanted.replace("TOKEN", "…") in told(caught.value) and caught.value.hint
    captured = capfd.readouterr()
    assert TOKEN not in told(caught.value) + captured.out + captured.err
    assert not hub.repositories.get("ada/tiny", {}).keys() - {".gitattributes"}


def test_a_name_of_somebody_else_is_refused(hub: Hub, release: Path) -> None:
    with pytest.raises(HubError, match=r"may not write to bob/tiny"):
        push(release, "bob/tiny")


def test_without_a_network_the_address_is_named(hub: Hub, release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"http://127\.0\.0\.1:9: .*refused"):
        push(release, "ada/tiny")


def test_what_is_called_of_the_client_is_there() -> None:
    """Later versions of huggingface_hub keep these names, or this says so before an upload does."""
    wanted = {
        "create_repo": {"repo_id", "private", "exist_ok"}, "model_info": {"repo_id"},
        "hf_hub_download": {"repo_id", "filename"}, "create_commit": {"repo_id", "operations", "commit_message"},
    }  # fmt: skip
    for name, parameters in wanted.items():
        assert parameters <= inspect.signature(getattr(huggingface_hub.HfApi, name)).parameters.keys()
    assert module.REPOSITORY.fullmatch("ada/tiny-1.0_x")
