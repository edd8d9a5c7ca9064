"""Where a pretrained tokenizer is looked for: a folder first, then the hub, of which only its files are asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from pipeline.errors import UsageError
from stages.tokens.pretrained import pretrained_folder


def test_a_folder_goes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("the hub was asked"))
    (tmp_path / "gpt2").mkdir()
    assert pretrained_folder("gpt2", tmp_path) == tmp_path / "gpt2"
    assert pretrained_folder(str(tmp_path / "gpt2"), Path("/")) == tmp_path / "gpt2"
    for name in ("./gpt3", "/nowhere/gpt2", "models/of/mine"):
        with pytest.raises(UsageError, match="does not exist"):
            pretrained_folder(name, tmp_path)


@pytest.mark.parametrize(("name", "asked"), [("gpt2", ("gpt2", None)), ("owner/name@abc123", ("owner/name", "abc123"))])
def test_the_hub_is_asked_for_files_of_tokenizers_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, asked: tuple[str, str | None]
) -> None:
    calls: list[tuple[str, str | None]] = []

    def download(repository: str, *, revision: str | None, allow_patterns: list[str], **_: Any) -> str:
        calls.append((repository, revision))
        assert not any(pattern.endswith((".py", ".bin", ".safetensors", "*")) for pattern in allow_patterns)
        return str(tmp_path / "cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert pretrained_folder(name, tmp_path) == tmp_path / "cache"
    assert calls == [asked]


def test_a_hub_that_cannot_be_had_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise OSError("404 Client Error\nmany\nmore lines")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(UsageError, match=r"the hub does not give it: 404 Client Error$") as caught:
        pretrained_folder("owner/missing", tmp_path)
    assert caught.value.hint and caught.value.exit_code == 2
