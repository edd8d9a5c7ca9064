"""What a docstring says a function does, turned into the infinitive and the third person.

PEP 257 asks for the imperative ("Return the angle."), many write the third person ("Returns the angle."). Only
sentences that begin with a verb of the list are understood; of others nothing is made.
"""

from __future__ import annotations

import re

from stages.corpus.rewrite.synonyms import word_set

VERBS = word_set(
    "add adjust advance apply append ask average blink blend block build calculate call cancel capture change check"
    " choose clamp clear close collect combine compare compress compute configure connect convert copy count crop"
    " create cut debounce decode decrease decrypt delete detach detect determine dim disable disconnect discard display"
    " divide download draw drive drop dump empty enable encode encrypt erase escape establish estimate evaluate execute"
    " expand extract fade feed fetch fill filter find finish fit flash flush format forward gather generate get give"
    " go guess handle hash hold increase initialise initialize insert inspect interpolate invert iterate join keep"
    " leave let light limit list listen load locate lock log look make map mark mask match measure merge mix mount move"
    " multiply normalise normalize obtain open order pack pad parse pause perform pick play poll pop prepare press"
    " print probe process produce provide publish pull pulse push put raise ramp rank read rebuild receive record"
    " reduce refresh register release remove rename render replace reply report request rescale reset resolve restart"
    " restore return reverse ring roll rotate round run sample save scale scan schedule scroll search seek select send"
    " serve set shift show shut shuffle signal skip sleep smooth solve sort sound spin split start step stop store"
    " stream strip subscribe subtract sum swap sweep switch sync take tell test tick toggle transfer transform"
    " translate transmit trim try tune turn unlock unpack update upload use validate verify wait wake walk warn watch"
    " wipe wrap write yield zero"
)
_CERTAIN = word_set("the a an it its them their each every all one none None True False how whether what when this")
_JOINT = re.compile(r"(?P<joint>; |, then |, and | and then | and | or |, or | then |, )(?P<verb>[A-Za-z]+)(?!\w)")
_IRREGULAR = {"go": "goes", "do": "does", "have": "has"}


def third_person_of(verb: str) -> str:
    """`return` → `returns`, `push` → `pushes`, `try` → `tries`."""
    if verb in _IRREGULAR:
        return _IRREGULAR[verb]
    if verb.endswith(("s", "x", "z", "ch", "sh")):
        return verb + "es"
    return verb[:-1] + "ies" if verb.endswith("y") and verb[-2] not in "aeiou" else verb + "s"


_THIRD = {third_person_of(verb): verb for verb in VERBS}


def infinitive(sentence: str) -> str | None:
    """What follows "to": `Return the angle` → `return the angle`. None where the sentence is no imperative."""
    first, _, rest = sentence.partition(" ")
    return f"{first.lower()} {rest}" if rest and first.lower() in VERBS else None


def third_person(sentence: str) -> str | None:
    """What follows "it": `Read the pin and return its level` → `reads the pin and returns its level`.

    None where the sentence begins with no verb, or where a later word may be a verb or a noun.
    """
    first, _, rest = sentence.partition(" ")
    first = first.lower()
    if not rest:
        return None
    if first in _THIRD and first not in VERBS:
        return f"{first} {rest}"
    if first not in VERBS:
        return None
    result, done, rest = third_person_of(first), 0, f" {rest}"
    for match in _JOINT.finditer(rest):
        verb = match["verb"].lower()
        if verb not in VERBS:
            continue
        following = rest[match.end() :].split(maxsplit=1)
        if not following or following[0].strip(".,;:()") not in _CERTAIN:
            return None  # "the count and scale": the second may be a noun
        result += rest[done : match.start("verb")] + third_person_of(verb)
        done = match.end()
    return result + rest[done:]


def sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph, each with its end."""
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+(?=[A-Z`])", paragraph) if part.strip()]
