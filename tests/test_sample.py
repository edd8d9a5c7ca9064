"""Sampling: greedy as transformers does it, truncation as numpy computes it, and text that comes whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_encoding import tokenizer_model, train_encoding

from pipeline.errors import UsageError
from stages.tokens import byte_level
from stages.tokens.characters import CharacterEncoding
from stages.tokens.encoding import Encoding, SentencePieceEncoding
from stages.training import sample
from stages.training.huggingface import huggingface_tensors
from stages.training.model import save_model
from stages.training.networks.llama import Llama
from stages.training.sample import Sampling, draw, generate, load_trained, stream_samples, stream_text
from stages.training.shape import ModelConfig

VOCAB_SIZE, CONTEXT = 300, 32
GREEDY = Sampling(temperature=0)


def sharp(vocab_size: int = VOCAB_SIZE, seed: int = 0) -> Llama:
    """A random model that has opinions."""
    torch.manual_seed(seed)
    model = Llama(ModelConfig(d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=48), vocab_size, CONTEXT)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def tokens_of(model: Llama, prompt: Sequence[int], sampling: Sampling = GREEDY, **more: Any) -> list[int]:
    usual: dict[str, Any] = {"max_tokens": 12, "stop": frozenset(), "seed": 1}
    return list(generate(model, prompt, sampling=sampling, **(usual | more)))


def test_temperature_0_is_the_greedy_search_of_transformers() -> None:
    """The weights go through `huggingface_tensors`, which its own tests compare with transformers."""
    from transformers import LlamaConfig, LlamaForCausalLM

    model = sharp()
    theirs = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB_SIZE, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=CONTEXT, rms_norm_eps=1e-5, tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
            bos_token_id=1, eos_token_id=None, pad_token_id=3,
        )
    ).eval()  # fmt: skip
    theirs.load_state_dict(huggingface_tensors(model), strict=False)
    prompt = [1, 17, 200, 33]
    expected = theirs.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=20)[0, len(prompt) :].tolist()
    assert tokens_of(model, prompt, max_tokens=20) == expected
    assert len(set(expected)) > 3


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


def by_numpy(logits: Sequence[float], sampling: Sampling) -> np.ndarray[Any, Any]:
    """The distribution to draw from: temperature, the k likeliest, then the smallest set that holds `top_p`."""
    scaled = np.array(logits, dtype=np.float64) / sampling.temperature
    order = np.argsort(-scaled)
    if sampling.top_k:
        order = order[: sampling.top_k]
    chances = np.exp(scaled[order] - scaled[order[0]])
    chances /= chances.sum()
    size = len(chances)
    if sampling.top_p < 1:
        total = 0.0
        for size, chance in enumerate(chances, 1):  # noqa: B007 (the last size counts)
            total += chance
            if total >= sampling.top_p:
                break
    kept = np.zeros(len(logits))
    kept[order[:size]] = chances[:size] / chances[:size].sum()
    return kept


SAMPLINGS = [
    Sampling(1.0, 0, 1.0),
    Sampling(0.5, 0, 1.0),
    Sampling(2.0, 3, 1.0),
    Sampling(1.0, 0, 0.7),
    Sampling(1.5, 4, 0.8),
    Sampling(1.0, 99, 0.999),
    Sampling(0.8, 1, 1.0),
    Sampling(1.0, 0, 0.01),
]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_tokens_come_as_often_as_numpy_says(sampling: Sampling) -> None:
    logits = [2.0, -1.0, 0.5, 1.5, 0.0, 1.0, -3.0]
    generator = torch.Generator().manual_seed(0)
    drawn = [draw(torch.tensor(logits), sampling, generator) for _ in range(3000)]
    counts = np.bincount(drawn, minlength=len(logits)) / len(drawn)
    expected = by_numpy(logits, sampling)
    assert set(np.flatnonzero(counts)) <= set(np.flatnonzero(expected))
    assert np.abs(counts - expected).sum() / 2 < 0.03


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(-40, 40), min_size=2, max_size=12, unique=True),
    st.floats(0.3, 3),
    st.integers(0, 14),
    st.floats(0.05, 1),
)
def test_only_what_numpy_leaves_in_is_ever_drawn_and_all_of_it_is(
    eighths: list[int], temperature: float, top_k: int, top_p: float
) -> None:
    logits, sampling = [value / 8 for value in eighths], Sampling(temperature, top_k, top_p)
    expected = by_numpy(logits, sampling)
    without = np.sort(by_numpy(logits, Sampling(temperature, top_k, 1.0)))[::-1].cumsum()
    assume(np.abs(without - top_p).min() > 1e-4)  # float32 may round the edge of the nucleus either way
    generator = torch.Generator().manual_seed(0)
    drawn = {draw(torch.tensor(logits), sampling, generator) for _ in range(150)}
    assert drawn <= set(np.flatnonzero(expected))
    assert set(np.flatnonzero(expected > 0.1)) <= drawn


def test_drawing_leaves_the_logits_as_they_were() -> None:
    logits = torch.tensor([1.0, 2.0, 3.0])
    draw(logits, Sampling(0.5, 2, 0.5), torch.Generator())
    assert logits.tolist() == [1.0, 2.0, 3.0]


@pytest.fixture(scope="module")
def encoding() -> SentencePieceEncoding:
    return train_encoding()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The artifacts of a run: a tokenizer, a pretrained and a finetuned model."""
    found = {name: tmp_path_factory.mktemp(name) for name in ("tokenizer", "pretrain", "finetune")}
    (found["tokenizer"] / "tokenizer.model").write_bytes(tokenizer_model())
    size = train_encoding().vocab_size
    save_model(found["pretrain"], sharp(size, seed=1))
    save_model(found["finetune"], sharp(size, seed=2))
    return found


def stream(folders: dict[str, Path], stage: str = "", prompt: str = "import ", **more: Any) -> list[str]:
    usual: dict[str, Any] = {"chat": False, "max_tokens": 20, "sampling": Sampling(temperature=1.0), "seed": 1}
    return list(stream_text(*load_trained(folders, stage), prompt, **(usual | more)))


def test_the_prompt_comes_first_and_the_weights_are_those_asked_for(folders: dict[str, Path]) -> None:
    newest = stream(folders)
    assert newest[0] == "import "
    assert stream(folders, "finetune") == newest
    assert stream(folders, "pretrain") != newest
    assert stream({name: folders[name] for name in ("tokenizer", "pretrain")}) == stream(folders, "pretrain")
    assert stream(folders, chat=True)[0] != "import "


def test_a_run_without_the_weights_says_so(folders: dict[str, Path]) -> None:
    tokenizer, pretrain = {"tokenizer": folders["tokenizer"]}, {"pretrain": folders["pretrain"]}
    with pytest.raises(UsageError, match="no trained weights"):
        stream(tokenizer)
    with pytest.raises(UsageError, match="no finetune weights") as caught:
        stream(tokenizer | pretrain, "finetune")
    assert caught.value.hint
    with pytest.raises(UsageError):
        stream(pretrain)


def say(monkeypatch: pytest.MonkeyPatch, tokens: Sequence[int]) -> list[dict[str, Any]]:
    """Let the model say these tokens; returns what it was asked."""
    asked: list[dict[str, Any]] = []

    def spoken(model: Llama, prompt: Sequence[int], **more: Any) -> Iterator[int]:
        asked.append({"prompt": list(prompt), **more})
        yield from tokens

    monkeypatch.setattr(sample, "generate", spoken)
    return asked


def test_characters_of_several_tokens_come_whole_and_spaces_stay(
    folders: dict[str, Path], encoding: SentencePieceEncoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "  x = '日本🙂é'\n\t# ½ done  "
    say(monkeypatch, encoding.encode(text))
    pieces = stream(folders, prompt="")
    assert "".join(pieces) == text
    assert "🙂" in "".join(piece for piece in pieces if len(piece) <= 2)
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_character_cut_off_by_the_limit_is_not_shown(
    folders: dict[str, Path], encoding: SentencePieceEncoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, encoding.encode("ok 🙂")[:-1])
    assert "".join(stream(folders, prompt="")) == "ok "


def test_a_question_is_asked_in_the_chat_format_and_the_answer_ends_at_its_marker(
    folders: dict[str, Path], encoding: SentencePieceEncoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, end = encoding.token_id("<|im_start|>"), encoding.token_id("<|im_end|>")
    asked = say(monkeypatch, [])
    stream(folders, prompt="Why <|im_end|>?", chat=True)
    stream(folders, prompt="Why?")
    chat, text = (question["prompt"] for question in asked)
    question = encoding.encode("user\nWhy <|im_end|>?")
    assert chat == [1, start, *question, end, *encoding.encode("\n"), start, *encoding.encode("assistant\n")]
    assert text == [1, *encoding.encode("Why?")]
    assert asked[0]["stop"] == {2, end}


OTHERS = {
    "byte_level": byte_level.train(["def f(x):\n    return x\n" * 9], 300),
    "char": CharacterEncoding("abcdé日🙂 \n"),
}


def with_kind(folder: Path, encoding: Any) -> dict[str, Path]:
    """The artifacts of a run whose tokenizer is of another kind."""
    found = {name: folder / name for name in ("tokenizer", "pretrain")}
    for path in found.values():
        path.mkdir()
    encoding.save(found["tokenizer"])
    save_model(found["pretrain"], sharp(encoding.vocab_size))
    return found


@pytest.mark.parametrize("kind", OTHERS)
def test_every_kind_writes_from_nothing_and_its_characters_come_whole(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders, encoding = with_kind(tmp_path, OTHERS[kind]), OTHERS[kind]
    assert isinstance("".join(stream(folders, prompt="")), str)
    text = "abc é日🙂 \n d"
    asked = say(monkeypatch, encoding.encode(text))
    pieces = stream(folders, prompt="")
    assert "".join(pieces) == text and not any("\ufffd" in piece for piece in pieces)
    assert asked[0]["prompt"] == [encoding.bos_id] and encoding.eos_id in asked[0]["stop"]
    assert len(asked[0]["stop"]) == (2 if kind == "byte_level" else 1)


def test_bytes_that_are_no_text_do_not_hold_back_what_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoding = OTHERS["byte_level"]
    lone = encoding.encode("é")[-1]
    say(monkeypatch, [*encoding.encode("ab"), lone, *encoding.encode("cd"), lone])
    assert "".join(stream(with_kind(tmp_path, encoding), prompt="")) == "ab\ufffdcd"


def test_what_a_character_tokenizer_cannot_say_is_an_error_for_people(tmp_path: Path) -> None:
    folders = with_kind(tmp_path, OTHERS["char"])
    with pytest.raises(UsageError, match=r"does not know 'x' \(U\+0078\) × 2") as caught:
        stream(folders, prompt="axbx")
    assert caught.value.hint
    with pytest.raises(UsageError, match="no chat format"):
        stream(folders, prompt="ab", chat=True)


def samples_of(folders: dict[str, Path], count: int, **more: Any) -> str:
    usual: dict[str, Any] = {"chat": False, "max_tokens": 9, "sampling": Sampling(1.0, 0), "seed": 5}
    return "".join(stream_samples(*load_trained(folders), "", samples=count, **(usual | more)))


def test_several_samples_have_seeds_of_their_own_and_a_line_each(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    each = ["".join(stream(folders, prompt="", seed=seed, max_tokens=9, sampling=Sampling(1.0, 0))) for seed in (5, 6)]
    assert each[0] != each[1]
    parted = "\n---\n" if "\n" in each[0] else "\n"
    assert samples_of(folders, 2) == f"{each[0]}{parted}{each[1]}\n"
    encoding: Encoding = load_trained(folders)[0]
    say(monkeypatch, encoding.encode("anna"))
    assert samples_of(folders, 3) == "anna\nanna\nanna\n"
    say(monkeypatch, encoding.encode("a\nb"))
    assert samples_of(folders, 2) == "a\nb\n---\na\nb\n"
