"""Text: greedy as transformers writes it, the same alone and beside others, and in whole characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from test_encoding import tokenizer_model, train_encoding
from test_huggingface import CONTEXT as THEIR_CONTEXT
from test_huggingface import SHAPES, converted, ours_of
from test_huggingface import VOCAB_SIZE as THEIR_VOCAB_SIZE

from pipeline.errors import UsageError
from stages.tokens import byte_level
from stages.tokens.characters import CharacterEncoding
from stages.tokens.encoding import Encoding, SentencePieceEncoding
from stages.tokens.sampling import Generated, Sampling
from stages.training import sample
from stages.training.model import save_model
from stages.training.networks.llama import Llama
from stages.training.networks.network import Network
from stages.training.sample import generate, generate_batch, load_trained, speaker, stream_samples, stream_text
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


@pytest.mark.parametrize("chat", [False, True])
def test_samples_while_training_are_what_the_command_writes(chat: bool, folders: dict[str, Path]) -> None:
    prompts = ["import ", "", "é"]
    _, model = load_trained(folders)
    model.train()
    spoken = speaker(folders["tokenizer"], prompts, chat=chat, max_tokens=7, seed=4)(model)
    for found, prompt in zip(spoken, prompts, strict=True):
        text = stream(folders, prompt=prompt, chat=chat, max_tokens=7, sampling=Sampling(), seed=4)
        assert found == {"prompt": prompt, "text": "".join(text)}


def test_a_prompt_for_samples_that_cannot_be_said_is_told_before_the_training(tmp_path: Path) -> None:
    folder = with_kind(tmp_path, OTHERS["char"])["tokenizer"]
    with pytest.raises(UsageError, match=r"does not know 'x'"):
        speaker(folder, ["ab", "x"], chat=False, max_tokens=1, seed=1)
