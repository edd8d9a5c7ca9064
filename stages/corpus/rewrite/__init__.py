"""Honest variants of MicroPython programs and questions: other names, other legal pins, other words."""

from stages.corpus.rewrite.compiler import compiles
from stages.corpus.rewrite.identifiers import rename_identifiers
from stages.corpus.rewrite.pins import change_pins, change_pins_in_messages, fenced_python
from stages.corpus.rewrite.prompts import rephrase

__all__ = [
    "change_pins",
    "change_pins_in_messages",
    "compiles",
    "fenced_python",
    "rename_identifiers",
    "rephrase",
]
