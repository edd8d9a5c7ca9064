"""Text: greedy as transformers writes it, the same alone and beside others; and samples while a model is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from test_data import write_tokens
from test_encoding import tokenizer_model, train_encoding
from test_huggingface import CONTEXT as THEIR_CONTEXT
from test_huggingface import SHAPES, converted, ours_of
from test_huggingface import VOCAB_SIZE as THEIR_VOCAB_SIZE

from pipeline.errors import UsageError
from stages.evaluation.models.checkpoint import Checkpoint
from stages.evaluation.models.interface import Chat, Text
from stages.tokens import byte_level
from stages.tokens.characters import CharacterEncoding
from stages.tokens.encoding import Encoding, SentencePieceEncoding
from stages.tokens.sampling import Generated, Sampling
from stages.training import sample
from stages.training.model import save_model
from stages.training.networks.llama import Llama
from stages.training.networks.network import Network
from stages.training.sample import generate, generate_batch, speaker
from stages.training.shape import ModelConfig

VOCAB_SIZE, CONTEXT = 300, 32
GREEDY = Sampling(temperature=0)


def sharp(vocab_size: int = VOCAB_SIZE, seed: int = 0, context_length: int = CONTEXT) -> Llama:
    """A random model that has opinions."""
    torch.manual_seed(seed)
    model = Llama(ModelConfig(d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=48), vocab_size, context_length)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def tokens_of(model: Network, prompt: Sequence[int], sampling: Sampling = GREEDY, **more: Any) -> list[int]:
    usual: dict[str, Any] = {"max_tokens": 12, "stop": frozenset(), "seed": 1}
    return list(generate(model, prompt, sampling=sampling, **(usual | more)))


def batch_of(
    model: Network, prompts: Sequence[Sequence[int]], sampling: Sampling = GREEDY, **more: Any
) -> list[Generated]:
    usual: dict[str, Any] = {"max_tokens": 12, "stop": frozenset(), "seeds": range(len(prompts))}
    return generate_batch(model, prompts, sampling=sampling, **(usual | more))


def some_prompts(*lengths: int, vocab_size: int = VOCAB_SIZE) -> list[list[int]]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randint(vocab_size, (length,), generator=generator).tolist() for length in lengths]


@pytest.mark.parametrize("name", SHAPES)
def test_temperature_0_is_the_greedy_search_of_transformers_alone_and_in_a_batch(name: str) -> None:
    """In float64, where there are no ties. Theirs go on to the end of the context, without a token that stops."""
    model = ours_of(name)
    theirs, prompts = converted(model), some_prompts(4, 1, 9, 23, 4, vocab_size=THEIR_VOCAB_SIZE)
    theirs.generation_config.eos_token_id = None
    expected = [
        theirs.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), do_sample=False,
            max_length=THEIR_CONTEXT, pad_token_id=0,
        )[0, len(prompt) :].tolist()
        for prompt in prompts
    ]  # fmt: skip
    assert [tokens_of(model, prompt, max_tokens=len(ids)) for prompt, ids in zip(prompts, expected, strict=True)] == (
        expected
    )
    assert batch_of(model, prompts, max_tokens=99) == [Generated(tuple(ids), False) for ids in expected]
    stop = frozenset(ids[2] for ids in expected[:2])
    until = [next((n for n, token in enumerate(ids) if token in stop), None) for ids in expected]
    assert batch_of(model, prompts, max_tokens=99, stop=stop) == [
        Generated(tuple(ids[:end]), end is not None) for ids, end in zip(expected, until, strict=True)
    ]


def others(model: Llama, prompts: Sequence[Sequence[int]], **more: Any) -> list[Generated]:
    """What `generate` writes of each prompt."""
    stop: frozenset[int] = more.pop("stop", frozenset())
    found = []
    for seed, prompt in enumerate(prompts):
        most = min(more["max_tokens"], CONTEXT - len(prompt))
        ids = tokens_of(model, prompt, **more | {"max_tokens": most + 1, "seed": seed, "stop": stop})
        found.append(Generated(tuple(ids[:most]), len(ids) < most))
    return found


@pytest.mark.parametrize("rows", [1, 4, 64])
def test_the_same_seed_writes_the_same_beside_whatever_else_is_written(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for few rows at once, later ones take the places of those that have ended."""
    monkeypatch.setattr(sample, "ROWS", rows)
    model = sharp().double()
    prompts = some_prompts(*[1, 30, 5, 17, 5, 9, 31, 2] * 2)
    sampling = Sampling(1.5, 40, 0.95, 0.01, 1.2)
    settings: dict[str, Any] = {"sampling": sampling, "max_tokens": 14, "stop": frozenset(range(20))}
    expected = others(model, prompts, **settings)
    ended: list[int] = []
    assert batch_of(model, prompts, advance=ended.append, **settings) == expected
    assert sum(ended) == len(prompts) and len(ended) > 2
    assert {text.ended for text in expected} == {True, False} and len({len(text.ids) for text in expected}) > 4
    backwards = batch_of(model, prompts[::-1], **settings | {"seeds": range(len(prompts))[::-1]})
    assert backwards[::-1] == expected


def test_equal_prompts_are_read_once_and_their_texts_differ_by_their_seeds() -> None:
    model, seen = sharp(), list[tuple[int, ...]]()
    model.blocks[0].register_forward_hook(lambda block, given, _: seen.append(tuple(given[0].shape[:2])))
    texts = batch_of(model, [[5, 6, 7]] * 5 + [[5, 6]], Sampling(2.0, 0), seeds=[1, 2, 3, 1, 2, 1], max_tokens=4)
    assert seen == [(2, 3), (6, 1), (6, 1), (6, 1)]
    assert texts[0] == texts[3] and texts[1] == texts[4] and len({text.ids for text in texts}) == 4


def test_texts_that_have_ended_are_computed_no_further() -> None:
    model, prompts = sharp(), some_prompts(3, 7, 28, 30)
    widths = list[int]()
    model.norm.register_forward_hook(lambda norm, given, _: widths.append(given[0].shape[0]))
    batch_of(model, prompts, max_tokens=8)
    assert widths == [4, 4, 3, 3, 2, 2, 2, 2]


def test_a_batch_ends_with_the_context_and_what_does_not_fit_gets_no_text() -> None:
    model, prompts = sharp(), some_prompts(CONTEXT - 3, CONTEXT, CONTEXT + 5, CONTEXT - 1)
    assert [len(text.ids) for text in batch_of(model, prompts)] == [3, 0, 0, 1]
    nothing = Generated((), False)
    assert batch_of(model, prompts, max_tokens=0) == [nothing] * 4
    assert batch_of(model, []) == []


def test_a_model_of_much_memory_writes_few_texts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, widths = sharp(), list[int]()
    expected = batch_of(model, some_prompts(*[4] * 9))
    monkeypatch.setattr(sample, "NUMBERS", 2 * 2 * 2 * 8 * CONTEXT * 3)  # of three rows
    model.norm.register_forward_hook(lambda norm, given, _: widths.append(given[0].shape[0]))
    assert batch_of(model, some_prompts(*[4] * 9)) == expected
    assert max(widths) == 3


def test_beyond_the_context_the_oldest_tokens_fall_out_of_sight() -> None:
    model = sharp()
    prompt = [5 + index % 50 for index in range(100)]
    assert tokens_of(model, prompt) == tokens_of(model, prompt[-CONTEXT:])
    assert tokens_of(model, prompt) != tokens_of(model, prompt[-CONTEXT + 8 :])
    assert len(tokens_of(model, prompt[-CONTEXT + 2 :], max_tokens=40)) == 40


def test_a_stop_token_ends_the_text_and_is_not_part_of_it() -> None:
    whole = tokens_of(sharp(), [1, 17, 200, 33])
    stop = whole[7]
    assert tokens_of(sharp(), [1, 17, 200, 33], stop=frozenset({stop, 299})) == whole[: whole.index(stop)]
    assert tokens_of(sharp(), [1, 17, 200, 33], max_tokens=3) == whole[:3]


def test_the_same_seed_gives_the_same_tokens_whatever_was_drawn_before() -> None:
    model, sampling = sharp(), Sampling(temperature=2.0, top_k=0)
    first = tokens_of(model, [1], sampling, seed=3)
    torch.rand(17)
    assert tokens_of(model, [1], sampling, seed=3) == first
    assert tokens_of(model, [1], sampling, seed=4) != first


def test_dropout_is_off_while_sampling() -> None:
    model = Llama(ModelConfig(d_model=32, n_layers=1, n_heads=2, n_kv_heads=1, d_ff=16, dropout=0.9), 100, CONTEXT)
    model.train()
    assert tokens_of(model, [1, 2]) == tokens_of(model, [1, 2])


ENCODINGS: dict[str, Encoding] = {
    "sentencepiece": train_encoding(),
    "byte_level": byte_level.train(["def f(x):\n    return x\n" * 9], 300),
    "char": CharacterEncoding("abcdé日🙂 \n"),
}
SYSTEM = "Answer with code."


def checkpoint(root: Path, kind: str) -> Path:
    """Finetuned weights in a store, with all that they were made from."""
    encoding = ENCODINGS[kind]
    folders = {stage: root / stage / "v0001-00000000" for stage in ("tokenizer", "tokenize", "finetune")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    if isinstance(encoding, SentencePieceEncoding):
        (folders["tokenizer"] / "tokenizer.model").write_bytes(tokenizer_model())
    else:
        encoding.save(folders["tokenizer"])
    write_tokens(folders["tokenize"], [7] * 9, [7] * 9, context_length=99, vocab_size=encoding.vocab_size)
    meta = folders["tokenize"] / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"system": SYSTEM}))
    save_model(folders["finetune"], sharp(encoding.vocab_size, context_length=99))
    for stage, need in (("finetune", "tokenize"), ("tokenize", "tokenizer"), ("tokenizer", "")):
        inputs = {need: {"artifact": f"{need}/v0001-00000000"}} if need else {}
        told = {"stage": stage, "inputs": inputs, "metrics": {}}
        (folders[stage] / "manifest.json").write_text(json.dumps(told))
    return folders["finetune"]


@pytest.mark.parametrize(("kind", "chat"), [("sentencepiece", 0), ("sentencepiece", 1), ("byte_level", 1), ("char", 0)])
def test_samples_while_training_are_what_the_command_writes(kind: str, chat: int, tmp_path: Path) -> None:
    prompts = ["a", "", "é b"]
    folder = checkpoint(tmp_path, kind)
    with Checkpoint(folder) as model:
        model.network.train()
        tokenizer = tmp_path / "tokenizer" / "v0001-00000000"
        speak = speaker(tokenizer, prompts, chat=bool(chat), max_tokens=4, seed=4, system=SYSTEM)
        for _ in range(2):  # always the same
            spoken = speak(model.network)
            for found, prompt in zip(spoken, prompts, strict=True):
                asked = Chat(({"role": "user", "content": prompt},)) if chat else Text(prompt)
                text = "".join(model.stream(asked, sampling=Sampling(), max_tokens=4, seed=4)).rstrip("\ufffd")
                assert found == {"prompt": prompt, "text": text if chat else prompt + text}


@pytest.mark.parametrize("system", ["", SYSTEM])
def test_questions_of_samples_come_after_the_system_message(
    system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoding, asked = ENCODINGS["sentencepiece"], list[list[int]]()

    def written(network: Network, prompts: list[list[int]], **more: Any) -> list[Generated]:
        asked.extend(prompts)
        return [Generated((), True)] * len(prompts)

    monkeypatch.setattr(sample, "generate_batch", written)
    (tmp_path / "tokenizer.model").write_bytes(tokenizer_model())
    speaker(tmp_path, ["Why <|im_end|>?"], chat=True, max_tokens=1, seed=1, system=system)(sharp())
    messages = [{"role": "system", "content": system}] if system else []
    assert asked == [encoding.encode_chat([*messages, {"role": "user", "content": "Why <|im_end|>?"}], prompt=True)[0]]


def test_a_prompt_for_samples_that_cannot_be_said_is_told_before_the_training(tmp_path: Path) -> None:
    ENCODINGS["char"].save(tmp_path)
    with pytest.raises(UsageError, match=r"does not know 'x' \(U\+0078\) × 2") as caught:
        speaker(tmp_path, ["ab", "xax"], chat=False, max_tokens=1, seed=1)
    assert caught.value.hint and "sample_prompts" in caught.value.hint
