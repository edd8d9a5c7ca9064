"""Can programs be run on this machine? Tried with one, for an evaluation before it begins and for `pipeline doctor`."""

from __future__ import annotations

import shutil
from pathlib import Path

from stages.evaluation.node import SandboxUnavailable, elsewhere, find_interpreter, find_node, is_cached
from stages.evaluation.sandbox import Outcome, Program, run_programs, without_network

TRIED = Program("tried", "from machine import Pin\nled = Pin(25, Pin.OUT)\nled.on()\nprint(led.value())\n")
WITHOUT = "without it, programs of the model are compiled but not run; all else works"


def check_sandbox(cache: Path | None = None) -> None:
    """Fetch what is missing and run one small program; raises SandboxUnavailable where that does not work."""
    interpreter = find_interpreter(cache)
    [outcome] = run_programs([TRIED], interpreter=interpreter)
    if not _as_expected(outcome):
        raise SandboxUnavailable(
            f"a first program did not work under {interpreter.node}: it ended by {outcome.ended}",
            hint="try another version of Node from https://nodejs.org",
        )


def _as_expected(outcome: Outcome) -> bool:
    return (outcome.ended, outcome.stdout) == ("done", "1") and any(e["what"] == "pin" for e in outcome.events)


def examined(cache: Path | None = None) -> dict[str, str]:
    """What `pipeline doctor` tells: whether generated programs can be run here, and what works where they cannot.

    Nothing is fetched for it.
    """
    found = {"what": "programs on the simulated board", "state": "ok", "found": "", "advice": ""}
    try:
        node, version = find_node()
        if is_cached(cache):
            check_sandbox(cache)
    except SandboxUnavailable as missing:
        return found | {"state": "warn", "found": str(missing), "advice": f"{missing.hint}; {WITHOUT}"}
    here = f"Node {'.'.join(map(str, version))} at {node}"
    wall = f"kept from the network by {'the kernel' if without_network() else 'WebAssembly alone'}"
    if is_cached(cache):
        return found | {"found": f"{here}, interpreter fetched and tried; {wall}"}
    if shutil.which("npm"):
        return found | {"found": f"{here}, interpreter fetched with npm when it is first needed; {wall}"}
    advice = f"install npm, or {elsewhere(cache)}; {WITHOUT}"
    return found | {"state": "warn", "found": f"{here}, but no npm to fetch the interpreter with", "advice": advice}
