"""What the files of a release make of text: token ids, chat prompts, and where an answer ends."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from stages.release.errors import ReleaseError
from stages.release.imatrix import quiet_transformers
from stages.release.runtime import Runtime
from stages.tokens.chat import Message, with_system
from stages.tokens.encoding import Encoding

BATCH = 256  # texts that the HuggingFace tokenizer takes at once
TALKS: tuple[tuple[Message, ...], ...] = (
    ({"role": "user", "content": "Blink the LED."},),
    ({"role": "user", "content": ""},),
    ({"role": "user", "content": "  \n\tindented\n\n"}, {"role": "assistant", "content": "\n```python\nx = 1\n```\n"}),
    (
        {"role": "system", "content": "Be brief.\n"},
        {"role": "user", "content": "naïve 漢字 👩🏽‍💻 e\u0301\r\n{{ x }} {% y %} </s> '\"\\"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "Again?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "7" * 50},
    ),
)  # fmt: skip


def check_tokens(runtime: Runtime, encoding: Encoding, tokenizer: Any, texts: Sequence[str]) -> int:
    """How many ids of texts were compared between training, the HuggingFace `tokenizer` and llama.cpp.

    Raises ReleaseError where any differs, where a text does not start with exactly one start of text, or where
    llama.cpp would end its answer at a token of plain text. A tokenizer that brings text into the normal form NFC, as
    some that are taken from pretrained models do, is compared on such text: llama.cpp leaves that to its caller.
    """
    normal = _normal_form(encoding)
    seen: set[int] = set()
    compared = 0
    for at in range(0, len(texts), BATCH):
        part = [normal(text) for text in texts[at : at + BATCH]]
        theirs = tokenizer(part, split_special_tokens=True)["input_ids"]
        for text, in_transformers in zip(part, theirs, strict=True):
            ours = encoding.encode(text)
            for reader, ids in (
                ("transformers", in_transformers),
                ("llama.cpp", runtime.tokenize(text, add_special=True)),
            ):
                if list(ids) != [encoding.bos_id, *ours]:
                    raise ReleaseError(_difference(reader, text, list(ids), ours, encoding))
            seen.update(ours)
            compared += len(ours)
    if ends := [token for token in sorted(seen) if runtime.is_end_of_generation(token)]:
        raise ReleaseError(f"export: llama.cpp would end its answer at {_spelt(runtime, ends[0])}, which is plain text")
    return compared


def _difference(reader: str, text: str, ids: list[int], ours: list[int], encoding: Encoding) -> str:
    before = len(ids) - len(ours)
    if before >= 0 and ids[before:] == ours:
        return (
            f"export: {reader} does not give {text[:60]!r}… the one start of text that training gave "
            f"({encoding.bos_id}), but {ids[:before]}"
        )
    theirs = ids[1:] if ids[:1] == [encoding.bos_id] else ids
    same = next((place for place, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), len(ours))
    after = encoding.decode(ours[max(0, same - 8) : same])
    return f"export: {reader} gives other token ids for {text[:60]!r}… than training did, first after {after!r}"


def _normal_form(encoding: Encoding) -> Callable[[str], str]:
    if encoding.encode("e\u0301") == encoding.encode("\u00e9"):
        return lambda text: unicodedata.normalize("NFC", text)
    return lambda text: text


def read_tokenizer(huggingface: Path) -> Any:
    """The tokenizer that transformers reads from a folder."""
    from transformers import AutoTokenizer

    quiet_transformers()
    return AutoTokenizer.from_pretrained(huggingface)


def check_stops(runtime: Runtime, encoding: Encoding) -> list[str]:
    """The tokens at which llama.cpp ends an answer; ReleaseError unless all that training ended one with are there."""
    for token in sorted(encoding.stops):
        if not runtime.is_end_of_generation(token):
            raise ReleaseError(
                f"export: llama.cpp goes on after {_spelt(runtime, token)}, with which the model ends its answers"
            )
    return [_spelt(runtime, token) for token in range(runtime.vocab_size) if runtime.is_end_of_generation(token)]


def check_chat(
    runtime: Runtime, encoding: Encoding, tokenizer: Any, talks: Sequence[Sequence[Message]], system: str
) -> dict[str, int]:
    """Compare conversations through the chat templates of the GGUF and of transformers with the ids that training had.

    `talks` and some built-in ones are compared with the system message of finetuning and without, up to each place
    where the model is to answer. Left out are those that hold the spelling of a special token, as every runtime reads
    it as that token. Returns how many were compared (`conversations`) and left out (`special`). Raises ReleaseError
    where any differs; without chat markers nothing is compared.
    """
    told = {"conversations": 0, "special": 0}
    if not encoding.chats:
        return told
    if not runtime.chat_template:
        raise ReleaseError("export: the GGUF has no chat template")
    render = renderer(runtime)
    start = _spelt(runtime, encoding.bos_id)
    for messages in _prompts([*TALKS, *talks], system):
        if any(
            runtime.tokenize(each["content"], parse_special=True) != encoding.encode(each["content"])
            for each in messages
        ):
            told["special"] += 1
            continue
        wanted, _ = encoding.encode_chat(messages, prompt=True)
        answered, _ = encoding.encode_chat((*messages, {"role": "assistant", "content": "x"}))  # what was trained on
        text = render(messages)
        # llama-server cuts a start of text off a rendered prompt and gives it its own.
        in_llama = runtime.tokenize(text.removeprefix(start), add_special=True, parse_special=True)
        in_transformers = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=False)
        for reader, ids in (("llama.cpp", in_llama), ("transformers", in_transformers)):
            if not list(ids) == wanted == answered[: len(wanted)]:
                raise ReleaseError(
                    f"export: the chat template in {reader} gives other token ids than training had for a conversation "
                    f"that ends with {messages[-1]['content'][-60:]!r}"
                )
        told["conversations"] += 1
    return told


def _prompts(talks: Sequence[Sequence[Message]], system: str) -> Iterator[tuple[Message, ...]]:
    """Each conversation, led by the system message too, up to each place where an answer follows."""
    for talk in talks:
        led = with_system(talk, system)
        for messages in (led, tuple(talk)) if led != tuple(talk) else (led,):
            for place in range(1, len(messages) + 1):
                if messages[place - 1]["role"] == "user":
                    yield messages[:place]


def renderer(runtime: Runtime) -> Callable[[Sequence[Message]], str]:
    """What the file's own chat template makes of a conversation as a prompt, by Jinja as transformers sets it up."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(
        runtime.chat_template or ""
    )
    names = {"bos_token": _spelt(runtime, runtime.bos_id), "eos_token": _spelt(runtime, runtime.eos_id)}
    return lambda messages: template.render(messages=messages, add_generation_prompt=True, **names)


def _spelt(runtime: Runtime, token: int) -> str:
    return runtime.piece(token, special=True).decode("utf-8", "replace")
