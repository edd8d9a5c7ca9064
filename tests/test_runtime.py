"""llama.cpp through ctypes against transformers (logits, greedy text) and SentencePiece (token ids)."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_gguf import TEMPLATE, VOCAB_SIZE, TinyLlama, make_llama, train_tokenizer

from stages.release.decoder import Decoder
from stages.release.errors import ReleaseError
from stages.release.llamacpp import library
from stages.release.quantize import quantize
from stages.release.runtime import BATCH, Part, Runtime, steps
from stages.tokens.sampling import Generated, Sampling

CODE = [
    "def f(x):\n\tif x:\n\t\treturn  x\n\n\n    # trailing   \n",
    "   leading spaces, tabs\t\t\tand\r\n line ends \u2028\u00a0\u3000",
    "naïve café 漢字 ☃ 🐍🏽 e\u0301 \u2581 <bos> <|im_start|>user<|im_end|> <0x0A> <unk>",
    "print(f'{1234567890:>{width}}')  # ½ ﬁ ²",
    "", " ", "\n", "\x00\x01\x7f",
]  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyLlama:
    return make_llama(tmp_path_factory.mktemp("tiny"), train_tokenizer())


@pytest.fixture(scope="module")
def runtime(tiny: TinyLlama) -> Iterator[Runtime]:
    with Runtime(tiny.write("f32"), threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def sentencepiece(tiny: TinyLlama) -> Any:
    from sentencepiece import SentencePieceProcessor

    return SentencePieceProcessor(model_file=str(tiny.folder / "tokenizer.model"))


def some_ids(count: int, seed: int = 0) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(6, VOCAB_SIZE, count)]


GREEDY = Sampling(temperature=0)


def generated(runtime: Runtime, prompt: list[int], max_tokens: int, sampling: Sampling, seed: int) -> Generated:
    tokens = runtime.generate(prompt, max_tokens=max_tokens, sampling=sampling, seed=seed)
    ids = []
    while True:
        try:
            ids.append(next(tokens))
        except StopIteration as stop:
            return Generated(tuple(ids), stop.value)


def greedy(runtime: Runtime, prompt: list[int], max_tokens: int) -> Generated:
    return generated(runtime, prompt, max_tokens, GREEDY, 0)


def reference_logits(model: Any, ids: list[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
    import torch

    with torch.no_grad():
        return np.asarray(model(torch.tensor([ids])).logits[0].float().numpy())


def test_what_the_file_says(runtime: Runtime) -> None:
    assert (runtime.vocab_size, runtime.context_length) == (VOCAB_SIZE, 128)
    assert (runtime.bos_id, runtime.eos_id) == (1, 2)
    assert runtime.chat_template == TEMPLATE
    # <eos> by its id, <pad> by nothing, <|im_end|> by its name
    assert [token for token in range(VOCAB_SIZE) if runtime.is_end_of_generation(token)] == [2, 5]


def test_logits_are_those_of_transformers(tiny: TinyLlama, runtime: Runtime) -> None:
    for seed in range(4):
        ids = some_ids(128, seed)
        ours, theirs = runtime.logits(ids), reference_logits(tiny.model, ids)
        assert ours.shape == (128, VOCAB_SIZE) and ours.dtype == np.float32
        assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()
        assert (ours.argmax(1) == theirs.argmax(1)).mean() >= 0.999


@pytest.mark.parametrize(
    "config",
    [
        {"num_key_value_heads": 4, "tie_word_embeddings": False},
        {"num_key_value_heads": 1, "head_dim": 24, "intermediate_size": 100},
        {"max_position_embeddings": 1200, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
    ],
    ids=["untied multi-head", "wide heads", "longer than a batch"],
)
def test_logits_of_other_shapes(config: dict[str, Any], tmp_path: Path) -> None:
    llama = make_llama(tmp_path, train_tokenizer(), **config)
    with Runtime(llama.write("f32")) as loaded:
        ids = some_ids(loaded.context_length)
        ours, theirs = loaded.logits(ids), reference_logits(llama.model, ids)
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()
    assert (ours.argmax(1) == theirs.argmax(1)).mean() >= 0.999


def test_logits_of_a_float16_file(tiny: TinyLlama) -> None:
    ids = some_ids(128)
    with Runtime(tiny.write("f16")) as loaded:
        ours = loaded.logits(ids)
    theirs = reference_logits(tiny.model, ids)
    assert np.abs(ours - theirs).max() < 1e-2 * np.abs(theirs).max()
    second, first = np.sort(theirs, axis=1)[:, -2:].T
    clear = first - second > 2 * np.abs(ours - theirs).max()  # where rounding cannot change the winner
    assert clear.mean() > 0.8 and (ours.argmax(1) == theirs.argmax(1))[clear].all()


@given(st.lists(st.integers(1, 200), max_size=90), st.integers(1, 128))
def test_steps_read_every_token_once_and_long_windows_alone(lengths: list[int], size: int) -> None:
    plan = steps(lengths, size)
    assert all(0 < sum(part.stop - part.start for part in step) <= size and len(step) <= 64 for step in plan)
    read: dict[int, int] = {}
    for step in plan:
        for part in step:
            assert part.start == read.get(part.window, 0) < part.stop
            assert part.stop - part.start == min(size, lengths[part.window] - part.start)
            read[part.window] = part.stop
        assert len(step) == 1 or all(part.start == 0 for part in step)
    assert read == dict(enumerate(lengths))


def test_short_windows_are_read_together() -> None:
    assert steps([5, 3, 2, 4], 7) == [
        (Part(0, 0, 5), Part(2, 0, 2)),
        (Part(3, 0, 4), Part(1, 0, 3)),
    ]


@pytest.mark.parametrize("size", [512, 40])
def test_windows_read_together_do_not_see_each_other(
    tiny: TinyLlama, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr("stages.release.runtime.ROOM", size * VOCAB_SIZE)
    windows = [some_ids(length, length) for length in (7, 128, 1, 30, 64, 2, 128, 11)]
    for exact, tolerance in ((True, 1e-4), (False, 1e-2)):
        found = [np.zeros((len(ids), VOCAB_SIZE), np.float32) for ids in windows]
        for step, rows in runtime.read(windows, exact=exact):
            assert len(rows) <= max(size, 32) and rows.dtype == np.float32
            at = 0
            for part in step:
                count = part.stop - part.start
                found[part.window][part.start : part.stop] = rows[at : at + count]
                at += count
            assert at == len(rows)
        for ids, ours in zip(windows, found, strict=True):
            theirs = reference_logits(tiny.model, ids)
            assert np.abs(ours - theirs).max() < tolerance * np.abs(theirs).max()


def test_fewer_tokens_are_read_at_once_where_the_vocabulary_is_large(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runtime.step_size == BATCH
    for vocab_size, wanted in ((8192, 512), (32_768, 256), (151_936, 55), (10**6, 32)):
        monkeypatch.setattr(runtime, "vocab_size", vocab_size)
        assert runtime.step_size == wanted


@pytest.mark.parametrize("text", CODE)
def test_token_ids_are_those_of_sentencepiece(runtime: Runtime, sentencepiece: Any, text: str) -> None:
    ids = runtime.tokenize(text)
    assert ids == sentencepiece.encode(text)
    assert runtime.detokenize(ids) == text.replace("\u2581", " ") if ids else text == ""


COMMON = st.sampled_from(" \t\n\r_=:()abcdef0123456789<|>\u2581é漢🐍")


@settings(max_examples=300, deadline=None)
@given(st.text(st.one_of(COMMON, st.characters(codec="utf-8")), max_size=60))
def test_token_ids_of_any_text(runtime: Runtime, sentencepiece: Any, text: str) -> None:
    assert runtime.tokenize(text) == sentencepiece.encode(text)


def test_special_tokens_only_when_asked_for(runtime: Runtime) -> None:
    plain = runtime.tokenize("<bos>x<|im_end|>")
    assert not {1, 5} & set(plain)
    x = runtime.tokenize("x")
    assert runtime.tokenize("<bos>x<|im_end|>", parse_special=True) == [1, *x, 5]
    assert runtime.tokenize("x", add_special=True) == [1, *x]
    assert runtime.detokenize([1, *x, 5]) == "x"
    assert runtime.piece(5) == b"" and runtime.piece(5, special=True) == b"<|im_end|>"


def test_a_cut_character_becomes_a_replacement(runtime: Runtime) -> None:
    ids = runtime.tokenize("🐍")
    assert b"".join(map(runtime.piece, ids)).decode() == "🐍"
    assert runtime.detokenize(ids[:-1]) == "\ufffd"


def test_greedy_text_is_that_of_transformers(tiny: TinyLlama, runtime: Runtime) -> None:
    import torch

    for seed in range(3):
        prompt = some_ids(20, seed)
        wanted: dict[str, Any] = {"max_new_tokens": 60, "do_sample": False, "eos_token_id": [2, 5]}
        theirs = tiny.model.generate(torch.tensor([prompt]), **wanted)
        expected = [token for token in theirs[0, 20:].tolist() if token not in (2, 5)]
        assert list(greedy(runtime, prompt, 60).ids) == expected


def test_generation_ends(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = some_ids(120)
    text = greedy(runtime, prompt, 50).ids
    assert len(text) == 8  # the context of 128 is full
    assert greedy(runtime, prompt, 3) == Generated(text[:3], False)
    assert greedy(runtime, prompt, 0) == greedy(runtime, some_ids(128), 5) == Generated((), False)
    end = text[5]
    monkeypatch.setattr(runtime, "is_end_of_generation", lambda token: token == end)
    assert greedy(runtime, prompt, 50) == Generated(text[: text.index(end)], True)


def test_sampling_repeats_with_its_seed(runtime: Runtime) -> None:
    def sample(seed: int, temperature: float, **cut: Any) -> Generated:
        return generated(runtime, some_ids(10), 30, Sampling(temperature, **{"top_k": 0} | cut), seed)

    assert sample(1, 1.0) == sample(1, 1.0) != sample(2, 1.0)
    likeliest = sample(0, 0)
    assert sample(3, 1.0, top_k=1) == sample(4, 1.0, top_p=1e-9) == sample(5, 1.0, min_p=1.0) == likeliest
    assert sample(6, 1e-300) == likeliest
    assert sample(0, 0, repeat_penalty=5.0) != likeliest


@pytest.mark.parametrize(("rows", "room"), [(32, 1 << 30), (3, 1 << 30), (1, 1 << 30), (32, 1)])
def test_texts_written_together_are_those_written_alone(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, rows: int, room: int
) -> None:
    monkeypatch.setattr("stages.release.runtime.ROWS", rows)
    monkeypatch.setattr("stages.release.runtime.CACHE", room)
    monkeypatch.setattr(runtime, "is_end_of_generation", lambda token: token % 40 == 2)
    prompts = [some_ids(length, length) for length in (10, 90, 3, 125, 128, 200, 40, 1)]
    prompts = [prompts[number] for number in (0, 1, 0, 2, 0, 3, 4, 1, 5, 0, 6, 7, 7, 0, 2)]
    for sampling in (GREEDY, Sampling(1.0, repeat_penalty=1.3)):
        heard: list[int] = []
        seeds = list(range(len(prompts)))
        found = runtime.generate_batch(prompts, max_tokens=25, sampling=sampling, seeds=seeds, advance=heard.append)
        alone = [
            generated(runtime, prompt, 25, sampling, seed) if len(prompt) <= 128 else Generated((), False)
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        assert found == alone
        assert sum(heard) == len(prompts)
        assert {written.ended for written in found} == {True, False}


def test_a_text_has_a_context_of_its_own_length(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    def made(library: Any, model: int, length: int, **more: Any) -> Decoder:
        lengths.append(length)
        return Decoder(library, model, length, **more)

    monkeypatch.setattr("stages.release.runtime.Decoder", made)
    assert len(greedy(runtime, some_ids(10), 7).ids) == 7
    assert len(greedy(runtime, some_ids(120), 50).ids) == 8
    assert lengths == [17, 128]


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as people get it, of matrices wide enough for its types."""
    folder = tmp_path_factory.mktemp("wide")
    wide = make_llama(folder, train_tokenizer(), hidden_size=256, intermediate_size=512, head_dim=64)
    quantize(wide.write("f16"), folder / "q4_k_m.gguf", "q4_k_m")
    return folder / "q4_k_m.gguf"


SERVE = """
import sys, xllamacpp
wanted = xllamacpp.CommonParams()
wanted.model.path = sys.argv[1]
wanted.n_ctx, wanted.n_parallel, wanted.n_gpu_layers, wanted.verbosity = 128, 1, 0, 0
wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(wanted)
print("at", server.listening_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def ask(quantized: Path) -> Iterator[Callable[[list[int], int], list[int]]]:
    """llama.cpp's server with the settings that it has by itself, asked for its likeliest tokens.

    It takes the log of the whole process, and so has one of its own.
    """
    pytest.importorskip("xllamacpp")
    command = [sys.executable, "-c", SERVE, str(quantized)]
    serving = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert serving.stdin and serving.stdout
    address = next(line for line in serving.stdout if line.startswith("at ")).split()[1]
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(prompt: list[int], count: int) -> list[int]:
        body = {"prompt": prompt, "n_predict": count, "temperature": 0, "return_tokens": True, "cache_prompt": False}
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(address + "/completion", json.dumps(body).encode(), headers)
        with direct.open(request, timeout=60) as answer:
            return list(json.load(answer)["tokens"])

    yield ask
    serving.communicate()


def test_as_served_the_text_is_that_of_the_server(quantized: Path, ask: Callable[[list[int], int], list[int]]) -> None:
    prompts = [some_ids(length, length) for length in (5, 20, 33, 64)]
    with Runtime(quantized, threads=1, as_served=True) as served:
        assert [list(greedy(served, prompt, 30).ids) for prompt in prompts] == [ask(prompt, 30) for prompt in prompts]


def test_as_served_the_logits_are_near_the_exact_ones(quantized: Path) -> None:
    ids = some_ids(100)
    with Runtime(quantized, threads=1) as exact, Runtime(quantized, threads=1, as_served=True) as served:
        wanted = exact.logits(ids)
        (near,) = (rows.copy() for _, rows in served.read([ids]))
    assert 0 < np.abs(near - wanted).mean() < 0.01 * np.abs(wanted).max()  # matrices of 4 bits, read otherwise
    assert (near.argmax(1) == wanted.argmax(1)).mean() > 0.9


def test_nothing_is_written_for_no_prompts_and_no_tokens(runtime: Runtime) -> None:
    assert runtime.generate_batch([], max_tokens=5, sampling=GREEDY, seeds=[]) == []
    assert runtime.generate_batch([[7]], max_tokens=0, sampling=GREEDY, seeds=[0]) == [Generated((), False)]


def test_a_prompt_asked_several_times_is_read_once(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    from stages.release.decoder import Decoder, Span

    read: list[Span] = []
    real = Decoder.read

    def spied(self: Decoder, spans: list[Span], *, last: bool = False) -> Any:
        read.extend(spans)
        return real(self, spans, last=last)

    monkeypatch.setattr(Decoder, "read", spied)
    sampling = Sampling(1.0)
    prompts = [some_ids(30, 1), some_ids(20, 2)] * 10
    found = runtime.generate_batch(prompts, max_tokens=10, sampling=sampling, seeds=range(20))
    assert sum(span.start == 0 for span in read) == 2
    assert len({written.ids for written in found}) == 20


def test_arguments_out_of_range(tiny: TinyLlama, runtime: Runtime) -> None:
    for ids in ([], some_ids(129), [VOCAB_SIZE], [-1]):
        with pytest.raises(ValueError, match=r"tokens do not fit|token ids must be"):
            runtime.logits(ids)
        with pytest.raises(ValueError, match=r"tokens do not fit|token ids must be"):
            runtime.generate(ids, max_tokens=1, sampling=GREEDY, seed=0)
    with pytest.raises(ValueError, match=r"token ids must be within 0\.\.499"):
        runtime.detokenize([500])
    with pytest.raises(ValueError, match="must not be negative"):
        runtime.generate([1], max_tokens=-1, sampling=GREEDY, seed=0)
    for prompts in ([[1], []], [[1], [VOCAB_SIZE]]):
        with pytest.raises(ValueError, match=r"tokens do not fit|token ids must be"):
            runtime.generate_batch(prompts, max_tokens=1, sampling=GREEDY, seeds=[0, 1])
    with pytest.raises(ValueError, match="context_length 129 is not within the model's 128"):
        Runtime(tiny.write("f32"), context_length=129)


def test_a_shorter_context(tiny: TinyLlama) -> None:
    with Runtime(tiny.write("f32"), context_length=16, threads=1) as loaded:
        assert loaded.context_length == 16
        assert len(greedy(loaded, [1], 99).ids) == 15
        with pytest.raises(ValueError, match="17 tokens do not fit the context of 16"):
            loaded.logits(some_ids(17))


def test_closing_while_text_is_generated(tiny: TinyLlama) -> None:
    loaded = Runtime(tiny.write("f32"))
    text = loaded.generate([7], max_tokens=20, sampling=GREEDY, seed=0)
    next(text)
    loaded.close()
    loaded.close()
    for use in (lambda: next(text), lambda: loaded.tokenize("x"), lambda: loaded.logits([7])):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_a_file_that_does_not_load_says_why(tiny: TinyLlama, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = tiny.write("f32").read_bytes()
    path = tmp_path / "model.gguf"
    with pytest.raises(ReleaseError, match=r"model\.gguf: no such file"):
        Runtime(path)
    path.write_bytes(b"text" * 100)
    with pytest.raises(ReleaseError, match=r"model\.gguf: .*magic"):
        Runtime(path)
    path.write_bytes(whole[:-5000])
    with pytest.raises(ReleaseError, match="not within the file bounds"):
        Runtime(path)
    path.write_bytes(whole.replace(b"llama.block_count", b"llama.block_cnout"))
    with pytest.raises(ReleaseError, match=r"key not found in model: llama\.block_count"):
        Runtime(path)
    assert capfd.readouterr() == ("", "")


def test_llama_cpp_finds_the_markers_of_a_gap(runtime: Runtime) -> None:
    llama = library()
    for name, token in (("pre", 6), ("suf", 7), ("mid", 8)):
        function = getattr(llama, f"llama_vocab_fim_{name}")
        function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_int32
        assert function(runtime._vocab) == token
    x = runtime.tokenize("x")
    gap = "<fim_prefix>x<fim_suffix>x<fim_middle>"
    assert runtime.tokenize(gap, parse_special=True) == [6, *x, 7, *x, 8]
    assert not {6, 7, 8} & set(runtime.tokenize(gap))
