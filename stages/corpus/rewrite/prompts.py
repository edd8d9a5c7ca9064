"""The same request in other words.

The first sentence of a prompt is taken apart into opening and request and gets another opening of the same
meaning; some phrases are exchanged for others. Code, quotes, addresses and error messages are cut out before
and put back after; a result in which a number or a name is not where it was is thrown away.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Sequence

from stages.corpus.rewrite.synonyms import word_set

_KEPT = re.compile(
    r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]*`|\"[^\"\n]*\"|“[^”\n]*”|(?<!\w)'[^'\n]*'(?!\w)|https?://\S+"
    r"|^(?: {4}|\t|>>> )[^\n]*$|\b\w+(?:Error|Exception|Interrupt)\b(?::(?:[^\n.?!]|[.?!](?=\S))*)?",
    re.DOTALL | re.MULTILINE,
)
_WORD = re.compile(r"(?P<inside>\S )?(?P<word>\w+(?:\.\w+)*)")
_SENTENCE = re.compile(r"(?P<said>[^\n]*?)(?P<end>[.?!:](?=\s|$)|(?=\n|$))")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|vs|approx|no)\.", re.IGNORECASE)

# What a board may be asked to do. Those marked * are nouns as well, and verbs only before an object.
_BOARD_VERBS = word_set(
    "animate average* blink* broadcast calculate change* compute connect control* convert copy count*"
    " debounce decode delete detect dim* display* download draw drive* echo* encode erase fade* fetch find"
    " flash* handle keep limit* list* listen load* log* map* measure mount move* open* parse ping* play*"
    " poll* print* publish pulse* put read receive record* remove rename restart rotate run* sample* save"
    " scan* scroll* send serve set* smooth* sort* sound* split* start* stop* store* subscribe sweep*"
    " switch* synchronise synchronize test* time* toggle turn* update* upload use* wait* wake watch*"
)
_DOES = {verb.rstrip("*"): verb.endswith("*") for verb in _BOARD_VERBS}
_WRITES = word_set("build create describe design develop explain fix generate give implement make show write")
_OBJECT = re.compile(
    r"(?:an?|the|my|all|every|each|one|two|three|four|some|its?|this|that|these|those|on|off|up|down|out|in"
    r"|from|to|with|at|as|text|lines|bytes|data|[A-Z0-9]\S+)(?:\s|$)"
)

_MISTAKE = re.compile(r"\b(?:bugs?|mistakes?|errors?|problems?|wrong)\b", re.IGNORECASE)

_POLITE = r"(?:(?:could|can|would) you (?:please )?|please )"
_HOW_TO = re.compile(
    r"(?:how (?:do|can|could|would|should) (?:i|you|we) |how to |what(?: is|'s) the way to "
    rf"|{_POLITE}?(?:show|tell) me how to )",
    re.IGNORECASE,
)
_WANTED = re.compile(
    rf"{_POLITE}|i (?:want|need|would like) (?:you )?to |i'd like (?:you )?to "
    r"|write (?:a program|a script|code) to ",
    re.IGNORECASE,
)
_HOW = (
    "How do I {}?", "How can I {}?", "How could I {}?", "What is the way to {}?", "Show me how to {}.",
    "Tell me how to {}.", "Can you show me how to {}?", "Please show me how to {}.",
    "I want to know how to {}.",
)  # fmt: skip
_DO = (
    "{}.", "Please {}.", "I want to {}.", "I need to {}.", "I'd like to {}.", "How do I {}?", "How can I {}?",
    "Show me how to {}.", "Write a program to {}.", "Write code to {}.",
)  # fmt: skip
_WRITE = ("{}.", "Please {}.", "Could you {}?", "Can you {}?", "I need you to {}.", "I'd like you to {}.")
_OTHERS: Sequence[tuple[str, tuple[str, ...]]] = (
    (
        r"(?:what(?: is|'s)|(?:can you |please )?explain) the difference between (.+)",
        (
            "What is the difference between {}?",
            "Explain the difference between {}.",
            "Tell me the difference between {}.",
        ),
    ),
    (
        r"what does (.+) do",
        ("Explain what {} does.", "Can you explain what {} does?", "I want to know what {} does."),
    ),
    (r"(?:can|could) i (.+)|is it possible to (.+)", ("Can I {}?", "Could I {}?", "Is it possible to {}?")),
    (
        r"what(?: is|'s) (.+) (?:good|used) for",
        ("What is {} good for?", "What is {} used for?", "What do I need {} for?"),
    ),
)

_EITHER_WAY = (
    ("doesn't", "does not"), ("don't", "do not"), ("isn't", "is not"), ("aren't", "are not"),
    ("didn't", "did not"), ("can't", "cannot"), ("couldn't", "could not"), ("I'm", "I am"),
    ("several", "multiple"), ("bigger", "larger"), ("instead of", "rather than"),
    ("check whether", "check if"), ("for instance", "for example"), ("a program that", "a script that"),
    ("a MicroPython program", "a MicroPython script"), ("write a function", "create a function"),
    ("write a class", "create a class"), ("turns off", "switches off"),
    ("what is wrong with this code", "what is the problem with this code"),
    ("where is the mistake", "where is the bug"),
)  # fmt: skip
_ONE_WAY = (
    ("it's", "it is"), ("what's", "what is"), ("I've", "I have"), ("whenever", "each time"),
    ("how come?", "why is that?"), ("at the same time", "simultaneously"),
    ("once a second", "every second"), ("once a minute", "every minute"), ("turn on the", "switch on the"),
    ("turn off the", "switch off the"), ("turns on the", "switches on the"),
)  # fmt: skip
_EXCHANGES = (*_EITHER_WAY, *((right, left) for left, right in _EITHER_WAY), *_ONE_WAY)


# A board named at the end of a request, which may as well stand at its beginning.
_BOARD_LAST = re.compile(
    r"(?P<asked>.{12,}\S) on (?P<board>(?:an?|the|my) (?:Raspberry Pi Pico|Pico|ESP32|ESP8266)(?: W)?)"
    r"(?P<please> please)?",
    re.IGNORECASE,
)


def rephrase(prompt: str, rng: random.Random) -> str | None:
    """The same request in other words: openings, politeness, board names untouched; None where no rule fits.

    Never changes code blocks, quotes, numbers or pins.
    """
    kept = [match[0] for match in _KEPT.finditer(prompt)]
    prose = _KEPT.sub("\0", prompt)
    changed = _with_other_phrases(_with_other_opening(prose, rng), rng)
    if "\0" in prompt or _names(changed) != _names(prose):
        return None
    changed = _with_context_first(changed, rng)
    if changed == prose:
        return None
    spans = iter(kept)
    return re.sub("\0", lambda match: next(spans), changed)


def _names(prose: str) -> list[str]:
    """Words that are no ordinary ones: numbers, names with dots, underscores or capitals."""
    return [
        match["word"]
        for match in _WORD.finditer(prose)
        if re.search(r"[\d_.]|[A-Z].*[A-Z]", match["word"])
        or (match["inside"] and match["word"][0].isupper() and len(match["word"]) > 1)
    ]


def _with_other_opening(prose: str, rng: random.Random) -> str:
    start = len(prose) - len(prose.lstrip())
    sentence = _SENTENCE.match(prose, start)
    if sentence is None or not sentence["said"] or _ABBREVIATION.search(prose):
        return prose
    said, end = sentence["said"], sentence["end"]
    core, templates = _taken_apart(said)
    if core.lower().endswith(" please"):
        core = core[: -len(" please")].rstrip(",")
    casual = said[0].islower()
    options = []
    for template in templates:
        opening, mark = template[:-1], template[-1]
        if end == ":" and mark == "?":
            continue  # what follows belongs to the sentence, and the question would not end there
        said_anew = (opening.lower() if casual else opening).format(core)
        if not casual:
            said_anew = said_anew[0].upper() + said_anew[1:]
        if end in ("?", ".") or (mark == "?" and not end and not casual):
            said_anew += mark
        else:
            said_anew += end
        options.append(said_anew)
    options = [option for option in options if option.lower() != (said + end).lower()]
    return prose[:start] + rng.choice(options) + prose[sentence.end() :] if options else prose


def _taken_apart(said: str) -> tuple[str, Sequence[str]]:
    """What is asked for, as a verb in the infinitive with its objects, and the openings that it can have."""
    if how := _HOW_TO.match(said):
        return said[how.end() :], _HOW
    for pattern, templates in _OTHERS:
        if other := re.fullmatch(pattern, said, re.IGNORECASE):
            return next(group for group in other.groups() if group), templates
    wanted = _WANTED.match(said)
    core = said[wanted.end() :] if wanted else said
    verb, _, rest = core.partition(" ")
    verb = verb.lower()
    does = rest and verb in _DOES and (not _DOES[verb] or _OBJECT.match(rest))
    if rest and (verb in _WRITES or (does and _MISTAKE.search(rest))):
        return f"{verb} {rest}", _WRITE
    if does:
        return f"{verb} {rest}", _DO
    return "", ()


def _with_context_first(prose: str, rng: random.Random) -> str:
    """`Read a button on the ESP32.` → `On the ESP32, read a button.`"""
    start = len(prose) - len(prose.lstrip())
    sentence = _SENTENCE.match(prose, start)
    if sentence is None or not _taken_apart(sentence["said"])[0] or _ABBREVIATION.search(prose):
        return prose
    said = sentence["said"]
    moved = _BOARD_LAST.fullmatch(said)
    if moved is None or "\0" in said or rng.random() < 0.5:
        return prose
    asked = (
        moved["asked"] if moved["asked"].startswith(("I ", "I'")) else moved["asked"][0].lower() + moved["asked"][1:]
    )
    on = "on" if said[0].islower() else "On"
    return f"{prose[:start]}{on} {moved['board']}, {asked}{moved['please'] or ''}{prose[sentence.end('said') :]}"


def _with_other_phrases(prose: str, rng: random.Random) -> str:
    for old, new in _EXCHANGES:
        pattern = re.compile(rf"(?<![\w'])(?<!\w-){re.escape(old)}(?![\w'-])", re.IGNORECASE)
        if pattern.search(prose) and rng.random() < 0.5:
            prose = pattern.sub(functools.partial(_in_case_of, new), prose)
    return prose


def _in_case_of(new: str, old: re.Match[str]) -> str:
    first = old[0][0]
    if new.startswith("I") and first == "i":
        return "i" + new[1:]
    return new[0].upper() + new[1:] if first.isupper() else new
