"""Which model is meant where none is named."""

from __future__ import annotations

from pathlib import Path

from pipeline import history
from pipeline.errors import UsageError
from pipeline.store import Store

TRAINED = ("finetune", "pretrain")  # the last first


def newest_weights(store: Store, config: Path | None = None, stage: str = "") -> str:
    """What `open_model` is to open: the newest run's weights (of a config, of a stage).

    Raises UsageError, with the command that trains, where there are none.
    """
    artifacts = history.newest_trained(store, config)
    found = [name for name in TRAINED if name in artifacts and stage in ("", name)]
    if not found:
        raise UsageError(
            f"the newest trained run has no {stage or 'trained'} weights; --stage is pretrain or finetune",
            hint="pipeline log",
        )
    return str(artifacts[found[0]].path)


def newest_release(store: Store, config: Path | None = None) -> str:
    """What `open_model` is to open: the newest run's release, and where it made none its weights; raises as they do."""
    artifacts = history.newest_trained(store, config)
    return str(artifacts["export"].path) if "export" in artifacts else newest_weights(store, config)
