"""What goes wrong when a release is made."""

from __future__ import annotations

from pipeline.errors import StageError


class ReleaseError(StageError):
    """A model cannot be released as asked; the message names the file and what is wrong with it."""
