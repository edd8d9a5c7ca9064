"""What llama.cpp's server reads of conversations and gaps, asked as people and as Ollama ask it: the ids of training.

Ollama renders its TEMPLATE and sends the text to `/completion`; others send messages to `/v1/chat/completions`, which
renders the chat template of the GGUF, or a prefix and a suffix to `/infill`.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.ollama_template import render
from test_convert import CONTEXT, TinyRelease, make_release
from test_gguf import SPECIALS
from test_modelfile import MODELFILE

from stages.release.gguf import GgufMetadata, write_gguf
from stages.tokens.chat import OLLAMA_TEMPLATE, Message, chat_parts
from stages.tokens.encoding import Encoding

Ask = Callable[..., Any]
TEMPLATE = replace(MODELFILE, fim=True).template
SAMPLING = {"n_predict": 2, "temperature": 0, "n_probs": 5, "cache_prompt": False, "return_tokens": True}
NASTY = [
    "",
    "\n",
    "\n\n",
    "  x ",
    "```python\nx = 1\n```",
    "\tif x:\n",
    "é漢\U0001f600\u200d",
    "{{ bos_token }}",
    "{% if %}",
]

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
contents = st.lists(texts | st.sampled_from(NASTY), max_size=3).map("".join)
plain = contents.filter(lambda text: not any(special in text for special in SPECIALS))
roles = st.sampled_from(["system", "user", "assistant"])


def talks(said: st.SearchStrategy[str]) -> st.SearchStrategy[list[Message]]:
    return st.lists(st.fixed_dictionaries({"role": roles, "content": said}), min_size=1, max_size=5)


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama, pieces": ("sentencepiece", {}),
    "qwen3, bytes": ("byte_level", {"qk_norm": True}),
    "gpt2, bytes": ("byte_level", {"architecture": "gpt2"}),
}


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def release(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyRelease:
    kind, shape = request.param
    made = make_release(tmp_path_factory.mktemp("served") / "artifacts", kind=kind, **shape)
    made.convert()
    write_gguf(made.root / "convert", made.root / "model.gguf", file_type="f16", metadata=GgufMetadata("tiny"))
    return made


@pytest.fixture(scope="module")
def encoding(release: TinyRelease) -> Encoding:
    return release.encoding


@pytest.fixture(scope="module")
def ask(release: TinyRelease) -> Ask:
    xllamacpp = pytest.importorskip("xllamacpp")
    wanted = xllamacpp.CommonParams()
    wanted.model.path = str(release.root / "model.gguf")
    wanted.n_ctx, wanted.n_parallel, wanted.n_gpu_layers, wanted.verbosity = CONTEXT, 1, 0, 0
    wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = 1
    wanted.use_jinja, wanted.warmup, wanted.no_extra_bufts = True, False, True
    server = xllamacpp.Server(wanted)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(path: str, **body: Any) -> Any:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(server.listening_address + path, json.dumps(body).encode(), headers)
        with direct.open(request, timeout=60) as answer:
            return json.load(answer)

    return ask


def read(ask: Ask, text: str) -> list[int]:
    """The ids that the server makes of a prompt."""
    return [*ask("/tokenize", content=text, add_special=True, parse_special=True)["tokens"]]


def answerable(messages: list[Message]) -> bool:
    """Whether llama.cpp's server takes a conversation: it refuses two answers at the end, and goes on from none."""
    *_, last = messages
    return last["role"] != "assistant" or (
        last["content"] != "" and [each["role"] for each in messages[-2:-1]] != ["assistant"]
    )


@settings(max_examples=80, deadline=None)
@given(talks(contents).filter(answerable))
def test_the_templates_of_the_file_and_of_ollama_say_the_same(ask: Ask, messages: list[Message]) -> None:
    theirs = ask("/apply-template", messages=messages)["prompt"]
    ours = "".join(part.text for part in chat_parts(messages, prompt=True))
    assert theirs.removeprefix("<bos>") == render(OLLAMA_TEMPLATE, messages=messages) == ours


@settings(max_examples=80, deadline=None)
@given(talks(plain))
def test_a_conversation_has_the_ids_of_training(ask: Ask, encoding: Encoding, messages: list[Message]) -> None:
    ids, _ = encoding.encode_chat(messages, prompt=True)
    assert read(ask, render(TEMPLATE, messages=messages)) == ids


@settings(max_examples=80, deadline=None)
@given(plain.filter(bool), plain.filter(bool), talks(plain))
def test_a_gap_has_the_ids_of_training(
    ask: Ask, encoding: Encoding, prefix: str, suffix: str, messages: list[Message]
) -> None:
    ids = [encoding.bos_id, *encoding.encode_fim(prefix, "", suffix)]
    assert read(ask, render(TEMPLATE, prompt=prefix, suffix=suffix, messages=messages)) == ids


CODE = "```python\nled.toggle()\n```"
TALKS: list[list[Message]] = [
    [{"role": "user", "content": "Blink."}],
    [{"role": "system", "content": "Be short."}, {"role": "user", "content": "  Blink\n"}],
    [
        {"role": "user", "content": "Blink."},
        {"role": "assistant", "content": CODE},
        {"role": "user", "content": "Why?"},
    ],
    [{"role": "user", "content": "Blink."}, {"role": "assistant", "content": "```python\nled"}],
    [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
]


@pytest.mark.parametrize("messages", TALKS)
def test_a_chat_is_answered_as_its_ids_are(ask: Ask, encoding: Encoding, messages: list[Message]) -> None:
    ids, _ = encoding.encode_chat(messages, prompt=True)
    wanted = ask("/completion", prompt=ids, **SAMPLING)
    by_text = ask("/completion", prompt=render(TEMPLATE, messages=messages), **SAMPLING)
    assert by_text["tokens_evaluated"] == len(ids)
    assert by_text["completion_probabilities"] == wanted["completion_probabilities"]
    chat = ask(
        "/v1/chat/completions", messages=messages, max_tokens=2, temperature=0, logprobs=True, top_logprobs=5,
        cache_prompt=False,
    )  # fmt: skip
    assert chat["usage"]["prompt_tokens"] == len(ids)
    said = [token["logprob"] for token in chat["choices"][0]["logprobs"]["content"]]
    assert said and said == [token["logprob"] for token in wanted["completion_probabilities"]][: len(said)]


@pytest.mark.parametrize(("prefix", "suffix"), [("def f(", "):\n    pass\n"), ("x = ", "\n"), ("  ", "  ")])
def test_a_gap_is_filled_as_its_ids_are(ask: Ask, encoding: Encoding, prefix: str, suffix: str) -> None:
    ids = [encoding.bos_id, *encoding.encode_fim(prefix, "", suffix)]
    wanted = ask("/completion", prompt=ids, **SAMPLING)
    filled = ask("/infill", input_prefix=prefix, input_suffix=suffix, **SAMPLING)
    assert filled["tokens_evaluated"] == len(ids)
    assert filled["completion_probabilities"] == wanted["completion_probabilities"]
