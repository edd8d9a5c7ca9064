"""Which model `sample` and `chat` take where none is named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.store import Store
from stages.evaluation.models.newest import newest_release, newest_weights


def test_without_a_run_the_next_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run in") as caught:
        newest_weights(Store(tmp_path))
    assert caught.value.hint == "pipeline run --config micropython.yaml"


@pytest.mark.parametrize(
    ("stages", "stage", "found"),
    [
        (["pretrain", "finetune"], "", "finetune"),
        (["pretrain", "finetune"], "pretrain", "pretrain"),
        (["pretrain"], "", "pretrain"),
        (["pretrain"], "finetune", None),
        (["pretrain"], "export", None),
    ],
)
def test_the_last_weights_of_the_newest_run_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stages: Sequence[str], stage: str, found: str | None
) -> None:
    class Made:
        def __init__(self, name: str) -> None:
            self.path = tmp_path / name / "v0001-abc"

    monkeypatch.setattr("pipeline.history.newest_trained", lambda store, config: {name: Made(name) for name in stages})
    if found:
        assert newest_weights(Store(tmp_path), stage=stage) == str(tmp_path / found / "v0001-abc")
    else:
        with pytest.raises(UsageError, match=f"no {stage} weights"):
            newest_weights(Store(tmp_path), stage=stage)


@pytest.mark.parametrize(
    ("stages", "found"),
    [
        (["pretrain", "finetune", "export"], "export"),
        (["pretrain", "finetune"], "finetune"),
        (["pretrain"], "pretrain"),
    ],
)
def test_a_chat_is_with_the_release_or_else_with_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stages: Sequence[str], found: str
) -> None:
    class Made:
        def __init__(self, name: str) -> None:
            self.path = tmp_path / name / "v0001-abc"

    monkeypatch.setattr("pipeline.history.newest_trained", lambda store, config: {name: Made(name) for name in stages})
    assert newest_release(Store(tmp_path)) == str(tmp_path / found / "v0001-abc")
