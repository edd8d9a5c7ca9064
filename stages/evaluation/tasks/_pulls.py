"""Whether inputs use the pull that their wiring needs."""

from __future__ import annotations

from stages.evaluation.checks import mode, require
from stages.evaluation.sandbox import Outcome
from stages.evaluation.wiring import Pin


def pulled(outcome: Outcome, *pins: Pin, pull: str = "up") -> None:
    """Raises Wrong."""
    for pin in pins:
        require(mode(outcome, pin) == f"in {pull}", f"pin {pin} needs to be an input with the internal pull-{pull}")
