"""`pipeline chat`: a conversation in the terminal, or over pipes.

with open_model(model or newest_release(store, config), system=system) as opened:
    settings = settings_of(opened, temperature=…, top_k=…, …, max_tokens=…, stop=…)
    chat(opened, sampling=settings.sampling, max_tokens=settings.max_tokens, seed=…, stop=settings.stop)
"""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TextIO

from pipeline import console
from pipeline.errors import Interrupted, PipelineError, UsageError
from stages.evaluation.conversation import SETTINGS, Conversation
from stages.evaluation.entries import Entries, Typed
from stages.evaluation.models.interface import Defaults, Model
from stages.evaluation.spoken import printable
from stages.tokens.sampling import Sampling

HELP = '''\
/reset                   forget the conversation
/retry                   ask the last question again
/system TEXT             set the system message ("" for none; shown without TEXT)
/set NAME VALUE          change a setting (shown without VALUE, all without NAME), such as /set temperature 0.5
/set stop TEXT …         end answers before one of these texts ("" for none; \\n is a line end)
/save FILE               add the conversation to a file of pairs that the pipeline can be finetuned on
/exit                    leave; so does Ctrl-D
Ctrl-C                   stop an answer
"""                      begin and end a text of several lines'''
USUAL = Defaults(0.2, 40, 1.0, 0.0, 1.0, 64, 256)  # where neither the options nor the model say
COMMANDS = ("/help", "/?", "/reset", "/retry", "/system", "/set", "/save", "/exit", "/quit", "/bye")


@dataclass(frozen=True)
class Settings:
    """How answers are drawn, how many tokens one has at most, and the texts before which it ends."""

    sampling: Sampling
    max_tokens: int
    stop: tuple[str, ...]


def settings_of(
    model: Model,
    *,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repeat_penalty: float | None = None,
    max_tokens: int | None = None,
    stop: Sequence[str] | None = None,
) -> Settings:
    """The options that are given; else what the model's Modelfile says, as Ollama asks it; else what is usual here.

    Raises UsageError for options out of range.
    """
    given = Defaults(temperature, top_k, top_p, min_p, repeat_penalty, None, max_tokens, tuple(stop or ()))
    chosen: dict[str, Any] = {}
    for field in fields(Defaults):
        told = [getattr(each, field.name) for each in (given, model.defaults, USUAL)]
        chosen[field.name] = next((value for value in told if value not in (None, ())), ())
    limit, ends = chosen.pop("num_predict"), chosen.pop("stop")
    try:
        return Settings(Sampling(**chosen), limit, ends)
    except ValueError as error:
        raise UsageError(str(error), hint="pipeline chat --help") from None


class _Terminal:
    """Carries out what is typed in a conversation; `kept` is the file that keeps it, if any."""

    def __init__(self, talk: Conversation, stdout: TextIO, say: Callable[[str], object], kept: Path | None) -> None:
        self._talk, self._stdout, self._say, self._kept = talk, stdout, say, kept

    def take(self, typed: Typed) -> bool:
        """Carry out one entry; False where it ends the chat. Raises PipelineError for what cannot be done."""
        if typed.command == "":
            if typed.text.strip():
                self._answer(typed.text.strip())
            return True
        match typed.command:
            case "/exit" | "/quit" | "/bye":
                return False
            case "/help" | "/?":
                self._say(HELP)
                if self._kept:
                    self._say(f"What you type is kept for the arrow keys of the next chat, in {self._kept}")
            case "/reset":
                self._talk.reset()
                self._say("the conversation is forgotten")
            case "/retry":
                question = self._talk.retry()
                if not question:
                    raise UsageError("nothing was asked yet")
                self._answer(question)
            case "/system":
                self._system(typed)
            case "/set":
                self._set(typed.text)
            case "/save":
                self._save(typed.text)
            case unknown:
                near = get_close_matches(unknown, COMMANDS, n=1)
                raise UsageError(
                    f"there is no command {unknown}{f'; did you mean {near[0]}?' if near else ''}",
                    hint="/help lists them; a space before it makes it a question",
                )
        return True

    def _answer(self, question: str) -> None:
        pieces, said = self._talk.ask(question), False
        try:
            while True:
                self._stdout.write(printable(next(pieces)))
                self._stdout.flush()
                said = True
        except StopIteration as end:
            self._line_end()
            for note in end.value:
                self._say(f"({note})")
        except PipelineError:
            if said:
                self._line_end()
            raise
        finally:
            pieces.close()

    def _line_end(self) -> None:
        self._stdout.write("\n")
        self._stdout.flush()

    def _system(self, typed: Typed) -> None:
        model = self._talk.model
        if typed.text or typed.block:
            model.system = "" if typed.text.strip() in ('""', "''") else typed.text.strip()
        self._say(f"system message: {model.system}" if model.system else "no system message")

    def _set(self, text: str) -> None:
        name, _, value = text.strip().partition(" ")
        if value:
            self._talk.set(name, value.strip())
        settings = self._talk.settings()
        if name and name not in settings:
            self._talk.set(name, "")  # raises, with the nearest name
        for each in [name] if name else SETTINGS:
            told = settings[each]
            self._say(f"{each} {' '.join(map(json.dumps, told)) or 'none' if each == 'stop' else told}")

    def _save(self, text: str) -> None:
        if not text.strip():
            raise UsageError("/save needs a file", hint="/save pairs.jsonl")
        path = Path(text.strip()).expanduser()
        if not path.suffix and not path.is_dir():
            path = path.with_suffix(".jsonl")
        try:
            self._talk.save(path)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}") from None
        self._say(f"{len(self._talk.turns) // 2} questions with answers are in {path}")
        if not self._talk.whole:
            self._say("(an answer was stopped or cut off; mend it before you finetune on it)")


def chat(
    model: Model,
    *,
    sampling: Sampling,
    max_tokens: int,
    seed: int,
    stop: Sequence[str] = (),
    stdin: TextIO | None = None,
    stdout: TextIO | None = None,
    say: Callable[[str], object] = console.say,
) -> None:
    """Talk with a model until the input ends. Answers go to stdout, everything else through `say`.

    On a terminal lines can be edited, and called back from former chats; Ctrl-C stops an answer, errors do not end the
    chat. From a pipe each line, or text between triple quotes, is a turn, and the first error is raised. Raises
    UsageError for a model that does not chat.
    """
    if not model.chats:
        raise UsageError(
            f"{model.name} was not taught to answer: it only goes on with texts",
            hint='pipeline sample "import machine"',
        )
    out, typing = stdout or sys.stdout, stdin or sys.stdin or io.StringIO()  # a process may have no input
    for stream in (out, typing):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    talk = Conversation(model, sampling=sampling, max_tokens=max_tokens, seed=seed, stop=stop)
    with Entries(typing, out) as entries:
        terminal = _Terminal(talk, out, say, entries.kept)
        if entries.interactive:
            say(f"{model.name} ({model.kind}); /help shows the commands, Ctrl-D ends")
        while True:
            try:
                typed = entries.read()
                if typed is None or not terminal.take(typed):
                    return
            except PipelineError as error:
                if not entries.interactive:
                    raise
                say(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else ""))
            except KeyboardInterrupt:
                if not entries.interactive:
                    raise Interrupted("stopped", signal_number=signal.SIGINT) from None
                out.write("\n")
                out.flush()
                say("(stopped; Ctrl-D or /exit ends the chat)")
