"""`pipeline sample`: texts from any model, from a beginning, in answer to a question, or between two texts.

The command line gives its options to one function after the other:

    spec = model or newest_weights(store, config, stage)
    prompt = read_prompt(text, file=…, chat=…, prefix=…, suffix=…)
    with open_model(spec, system=system) as opened:
        sample(opened, prompt, samples=…, sampling=…, max_tokens=…, seed=…, stop=…, json=…)
"""

from __future__ import annotations

import io
import json as jsonlib
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from pipeline.errors import UsageError
from stages.evaluation.models.interface import Chat, Gap, Model, Prompt, Text
from stages.evaluation.spoken import printable, until_stop
from stages.tokens.sampling import Sampling


def read_prompt(
    text: str = "",
    *,
    file: Path | None = None,
    prefix: str | None = None,
    suffix: str | None = None,
    chat: bool = False,
    stdin: TextIO | None = None,
) -> Prompt:
    """The prompt that the command line names; without any the empty text.

    `text` is `-`, or missing while something is piped in: stdin, without its last line end. `file` is read as it is.
    `prefix` and `suffix` name a gap; each is a text, `@path` for a file's, `@@…` for a text that begins with `@`.
    Raises UsageError for more than one of these, and for a file that cannot be read.
    """
    piped = stdin or sys.stdin or io.StringIO()  # a process may have none
    gap = prefix is not None or suffix is not None
    if sum((bool(text), file is not None, gap)) > 1:
        raise UsageError("a prompt, --file, and --prefix with --suffix are three ways to begin; give one")
    if gap:
        if chat:
            raise UsageError("--chat asks a question; it does not go with --prefix and --suffix")
        return Gap(_said(prefix or ""), _said(suffix or ""))
    if file is not None and str(file) != "-":
        text = _read(file)
    elif file is not None or text == "-" or (not text and _piped(piped)):
        text = piped.read().removesuffix("\n")
    text = text.encode("utf-8", "replace").decode()
    if not chat:
        return Text(text)
    if not text.strip():
        raise UsageError("--chat needs a question", hint='pipeline sample --chat "Blink the LED on pin 15."')
    return Chat(({"role": "user", "content": text.strip()},))


def sample(
    model: Model,
    prompt: Prompt,
    *,
    samples: int = 1,
    sampling: Sampling,
    max_tokens: int,
    seed: int,
    stop: Sequence[str] = (),
    json: bool = False,
    stdout: TextIO | None = None,
) -> None:
    """Write texts to stdout as they come, each with a seed of its own: `seed`, `seed` + 1, …

    A text goes on from its beginning, which stands before it; answers and what fills a gap stand alone. Where one has
    several lines, a line `---` parts it from the next. With `json` each is a line of its own: `seed`, `text` (only
    what is new), `tokens`, `ended`. Raises UsageError for a prompt that the model does not take.
    """
    out = stdout or sys.stdout
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(errors="replace")
    before = prompt.text if isinstance(prompt, Text) else ""
    for number in range(samples):
        pieces = until_stop(model.stream(prompt, sampling=sampling, max_tokens=max_tokens, seed=seed + number), stop)
        long, begun = "\n" in before, False
        while True:
            try:
                piece = next(pieces)
            except StopIteration as end:
                answer = end.value
                break
            if json:
                continue
            long = long or "\n" in piece
            out.write(printable(piece if begun else before + piece))
            out.flush()
            begun = True
        if json:
            told = {"seed": seed + number, "text": answer.text, "tokens": answer.tokens, "ended": answer.ended}
            out.write(f"{jsonlib.dumps(told, ensure_ascii=False)}\n")
        else:
            out.write("" if begun else printable(before))
            out.write("\n---\n" if long and number + 1 < samples else "\n")
        out.flush()


def _said(text: str) -> str:
    """One side of a gap: a text, or that of a file."""
    if text.startswith("@@"):
        return text[1:]
    return _read(Path(text[1:]), hint=f"@{text} is the text that begins with @") if text.startswith("@") else text


def _read(path: Path, *, hint: str | None = None) -> str:
    try:
        return path.expanduser().read_bytes().decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: byte {error.start} is no UTF-8", hint=hint) from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}", hint=hint) from None


def _piped(stdin: TextIO) -> bool:
    """Whether a file or the output of a command comes in; what starts in the background has neither."""
    try:
        kind = os.fstat(stdin.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(kind) or stat.S_ISREG(kind)
