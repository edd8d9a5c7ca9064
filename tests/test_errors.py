"""The errors that people meet: their exit codes, and that they come through a process border whole."""

from __future__ import annotations

import pickle

import pytest

from pipeline.errors import ConfigError, IntegrityError, Interrupted, PipelineError, StageError, UsageError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PipelineError("x"), 1),
        (StageError("x"), 1),
        (UsageError("x"), 2),
        (ConfigError(["x"]), 2),
        (IntegrityError("x"), 3),
        (Interrupted("x", signal_number=2), 130),
        (Interrupted("x", signal_number=15), 143),
    ],
)
def test_each_error_has_its_exit_code(error: PipelineError, code: int) -> None:
    assert error.exit_code == code


@pytest.mark.parametrize("kind", [PipelineError, UsageError, StageError, IntegrityError])
def test_an_error_of_a_worker_keeps_its_message_and_hint(kind: type[PipelineError]) -> None:
    error = pickle.loads(pickle.dumps(kind("no usable word", hint="add some")))
    assert (type(error), str(error), error.hint) == (kind, "no usable word", "add some")


def test_a_config_error_is_one_line_per_error() -> None:
    error = ConfigError(["c.yaml:1:2: one", "c.yaml:3:4: two"], hint="mend it")
    assert str(error).splitlines() == list(error.errors) == ["c.yaml:1:2: one", "c.yaml:3:4: two"]
