"""The errors a user can meet, and the exit code of each.

PipelineError            1   what went wrong, and `hint`: the one next command
├── ConfigError          2   the configuration or the command line is wrong; carries every error at once
├── UsageError           2   the command cannot be carried out as given
├── StageError           1   a stage could not do its work on its input
├── IntegrityError       3   something stored does not match its checksum
└── Interrupted        130   Ctrl-C or SIGTERM (143); the same command resumes
"""

from __future__ import annotations

from collections.abc import Sequence


class PipelineError(Exception):
    """An error with a message for people and, where one exists, the next command as `hint`."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(PipelineError):
    """The command cannot be carried out as it was given."""

    exit_code = 2


class ConfigError(UsageError):
    """Everything that is wrong with a configuration; one line per error, each starting with `file:line:column`."""

    def __init__(self, errors: Sequence[str], hint: str | None = None) -> None:
        super().__init__("\n".join(errors), hint)
        self.errors = tuple(errors)


class StageError(PipelineError):
    """A stage could not do its work on the input it was given."""


class IntegrityError(PipelineError):
    """A stored file is missing or does not match its checksum."""

    exit_code = 3


class Interrupted(PipelineError):
    """The run was interrupted by a signal; what was done is kept."""

    def __init__(self, message: str, *, signal_number: int, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.exit_code = 128 + signal_number
