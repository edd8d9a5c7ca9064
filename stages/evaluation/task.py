"""What a task of the suite is, and how an answer to it is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from stages.evaluation.checks import Verdict, Wrong
from stages.evaluation.sandbox import Ended, Limits, Outcome, Program, run_programs
from stages.evaluation.wiring import Setup

LEVELS = {
    1: "pure Python",
    2: "pins and PWM",
    3: "ADC, I2C, SPI, UART",
    4: "timers, interrupts, asyncio",
    5: "small programs",
}

# How a run may end. On a board, a program whose text has ended and that waits for interrupts is both at once.
BY_ITSELF: tuple[Ended, ...] = ("done", "waiting")
FOR_EVER: tuple[Ended, ...] = ("time_limit", "waiting")
EITHER: tuple[Ended, ...] = ("done", "waiting", "time_limit")


@dataclass(frozen=True)
class Task:
    """A request, the board it is answered on, and a check over what the answer did there.

    `prefix` is the beginning of the program for models that complete code; what they write is appended to it.
    `given` is code that stands before the answer (a driver, a function that the prompt says exists already).
    `calls` are expressions evaluated after the answer. `ends` are the ways in which a run may end, by default FOR_EVER,
    or BY_ITSELF where there are calls. `wrong` fails for the reason `mistake`.
    """

    id: str
    level: int
    prompt: str
    reference: str
    wrong: str
    mistake: str
    check: Callable[[Outcome], None]
    setup: Setup = field(default_factory=Setup)
    prefix: str = ""
    given: str = ""
    calls: tuple[str, ...] = ()
    seconds: float = 10.0
    ends: tuple[Ended, ...] = ()

    def program(self, answer: str, id: str | None = None) -> Program:
        """What is run for an answer: a whole program, not the continuation of the prefix."""
        return Program(id or self.id, self.given + answer, self.setup, self.calls, self.seconds)

    def judge(self, outcome: Outcome) -> Verdict:
        """Whether the program did what was asked; what cannot be simulated does not pass, but is not called wrong."""
        verdict = self._judge(outcome)
        reason = "".join(c if c.isprintable() else "\ufffd" for c in verdict.reason)  # it is shown on terminals
        verdict = replace(verdict, reason=reason)
        missing = sorted({event["text"] for event in outcome.events if event["what"] in ("unsupported", "refused")})
        if verdict.passed or not missing:
            return verdict
        return Verdict(False, f"not decided: the board has no {', '.join(missing)[:200]}", "not simulated")

    def _judge(self, outcome: Outcome) -> Verdict:
        if outcome.raised is not None:
            where = "" if outcome.raised.line is None else f" (line {outcome.raised.line - self.given.count(chr(10))})"
            return Verdict(False, f"{outcome.raised.message[:200]}{where}", outcome.ended)
        ends = self.ends or (BY_ITSELF if self.calls else FOR_EVER)
        if outcome.ended not in ends:
            return _ended_wrongly(outcome)
        for event in outcome.events:
            if event["what"] == "handler_error":
                return Verdict(False, f"an interrupt handler raised {event['text'][:200]}", "exception")
        try:
            self.check(outcome)
        except Wrong as wrong:
            return Verdict(False, str(wrong), "wrong")
        except (LookupError, ValueError, TypeError, ArithmeticError, AttributeError, RecursionError) as error:
            return Verdict(False, f"its output could not be read: {type(error).__name__}: {error}", "wrong")
        return Verdict(True, "", "passed")


def _ended_wrongly(outcome: Outcome) -> Verdict:
    seconds = f"{outcome.end_us / 1e6:.3g} s"
    if outcome.ended in BY_ITSELF:
        return Verdict(False, f"it ended after {seconds} and was to go on", "wrong")
    if outcome.ended in FOR_EVER:
        return Verdict(False, f"it has not ended after {seconds}", "wrong")
    return Verdict(False, f"ended by {outcome.ended}", "wrong" if outcome.ended == "reset" else outcome.ended)


def judge_all(
    answers: Iterable[tuple[Task, str]], *, limits: Limits | None = None, workers: int = 1
) -> Iterator[tuple[Task, Outcome, Verdict]]:
    """Run and judge (task, program) pairs, in their order; raises SandboxUnavailable."""
    pairs = [*answers]
    programs = [task.program(answer, f"{number}:{task.id}") for number, (task, answer) in enumerate(pairs)]
    for (task, _), outcome in zip(pairs, run_programs(programs, limits=limits, workers=workers), strict=True):
        yield task, outcome, task.judge(outcome)
