"""Honest variants of MicroPython programs and questions, and questions and answers made from programs."""

from stages.corpus.rewrite.bugpairs import bugfix_pairs
from stages.corpus.rewrite.compiler import compiles
from stages.corpus.rewrite.docpairs import docstring_pairs
from stages.corpus.rewrite.gaps import choose_gap
from stages.corpus.rewrite.identifiers import rename_identifiers
from stages.corpus.rewrite.pins import change_pins, change_pins_in_messages
from stages.corpus.rewrite.prompts import rephrase
from stages.corpus.rewrite.texts import fenced_python
from stages.corpus.rewrite.units import change_units, change_units_in_messages

__all__ = [
    "bugfix_pairs",
    "change_pins",
    "change_pins_in_messages",
    "change_units",
    "change_units_in_messages",
    "choose_gap",
    "compiles",
    "docstring_pairs",
    "fenced_python",
    "rename_identifiers",
    "rephrase",
]
