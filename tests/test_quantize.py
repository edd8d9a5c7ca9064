"""Quantised files against llama-quantize itself where there is one, and against what it once wrote where there is none.

`LLAMA_QUANTIZE` in the environment, or a `llama-quantize` on the PATH, names the program (https://github.com/ggml-org/
llama.cpp, target llama-quantize).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from test_architectures import make_model
from test_gguf import TinyLlama, make_llama, read_fields, train_tokenizer

from stages.release import llamacpp
from stages.release import quantize as module
from stages.release.architectures import POSITIONS, Shape, add_shape, tensors
from stages.release.errors import ReleaseError
from stages.release.llamacpp import RuntimeUnavailable, quantize_rows, widen_halves
from stages.release.mixes import QUANTS
from stages.release.quantize import quantize, read_shapes
from stages.release.runtime import Runtime

K_QUANTS = ("q4_k_m", "q5_k_m", "q6_k")
PROGRAM = os.environ.get("LLAMA_QUANTIZE") or shutil.which("llama-quantize")


def make_shape(architecture: str = "llama", **sizes: Any) -> Shape:
    defaults: dict[str, Any] = dict(
        vocab_size=99, d_model=256, n_layers=2, n_heads=8, n_kv_heads=8, head_dim=32, d_ff=512,
        context_length=64, norm_eps=1e-5, rope_theta=None if architecture == "gpt2" else 1e4, tied=True,
    )  # fmt: skip
    return Shape(architecture=architecture, **(defaults | sizes))


def noise(seed: int, *shape: int) -> NDArray[np.float32]:
    """Bell-shaped numbers around 0, the same on every machine and with every numpy."""
    x = np.arange(4 * np.prod(shape), dtype=np.uint32) + np.uint32((seed << 24) % 2**32)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    return ((x >> 8).reshape(4, *shape).sum(axis=0).astype(np.float32) - 2**25) / np.float32(2**25)


def write_random(path: Path, shape: Shape, *, float16: bool = True) -> None:
    """A GGUF with all that llama-quantize looks at, some of its rows zero and some a thousand times the others."""
    from gguf import GGUFWriter

    writer = GGUFWriter(path, shape.architecture)
    writer.add_file_type(1 if float16 else 0)
    writer.add_quantization_version(2)
    writer.add_name("random")
    add_shape(writer, shape)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"<{number}>" for number in range(shape.vocab_size)])
    for seed, (name, tensor) in enumerate(tensors(shape).items()):
        values = noise(seed, *tensor.shape)
        if len(tensor.shape) == 2:
            values[3::16], values[5::16] = 0, values[5::16] * 1000
        exact = len(tensor.shape) == 1 or name == POSITIONS or not float16
        writer.add_tensor(name, values if exact else values.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_importance(path: Path, shape: Shape) -> dict[str, NDArray[np.float32]]:
    """An importance matrix as llama-imatrix writes it, here of 3 windows of 64 tokens; returns the mean squares."""
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "imatrix")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["text.txt"])
    writer.add_uint32("imatrix.chunk_count", 3)
    writer.add_uint32("imatrix.chunk_size", 64)
    means = {}
    for seed, (name, tensor) in enumerate(tensors(shape).items()):
        if len(tensor.shape) == 2 and "attn_k" not in name and name != POSITIONS:  # attn_k: one that is missing
            sums = noise(100 + seed, 1, tensor.shape[1]) ** 4 * 500
            sums[0, :5] = 0
            writer.add_tensor(f"{name}.in_sum2", sums)
            writer.add_tensor(f"{name}.counts", np.array([[192]], np.float32))
            means[name] = sums[0] / np.float32(192)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return means


def notes_of(means: Mapping[str, Any]) -> dict[str, str | int]:
    return {
        "quantize.imatrix.file": "imatrix.gguf", "quantize.imatrix.dataset": "text.txt",
        "quantize.imatrix.entries_count": len(means), "quantize.imatrix.chunks_count": 3,
    }  # fmt: skip


def check_all_quants(folder: Path, shape: Shape, *, float16: bool = True) -> None:
    """Every file, with an importance matrix and without, is llama-quantize's to the last byte."""
    if not PROGRAM:
        pytest.skip("no llama-quantize on PATH or in LLAMA_QUANTIZE")
    source, ours, theirs = folder / "source.gguf", folder / "ours.gguf", folder / "theirs.gguf"
    write_random(source, shape, float16=float16)
    means = write_importance(folder / "imatrix.gguf", shape)
    for quant in QUANTS:
        for options in ([], ["--imatrix", "imatrix.gguf"]):
            command = [PROGRAM, *options, source.name, theirs.name, quant]
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
            if options:
                quantize(source, ours, quant, importance=means, notes=notes_of(means))
            else:
                quantize(source, ours, quant)
            assert ours.read_bytes() == theirs.read_bytes(), f"{quant} {options}"


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gpt2"])
def test_files_are_those_of_llama_quantize(architecture: str, tied: bool, tmp_path: Path) -> None:
    check_all_quants(tmp_path, make_shape(architecture, tied=tied))


@pytest.mark.slow
@pytest.mark.parametrize("n_kv_heads", [8, 4, 2, 1])
def test_files_with_shared_heads_are_those_of_llama_quantize(n_kv_heads: int, tmp_path: Path) -> None:
    check_all_quants(tmp_path, make_shape("qwen3" if n_kv_heads == 2 else "llama", n_kv_heads=n_kv_heads))


@pytest.mark.slow
@pytest.mark.parametrize("n_layers", [1, 8, 9, 16, 17, 24])
def test_files_of_any_depth_are_those_of_llama_quantize(n_layers: int, tmp_path: Path) -> None:
    sizes = {"n_layers": n_layers, "n_heads": 4, "d_ff": 256}
    check_all_quants(tmp_path, make_shape("gpt2" if n_layers == 9 else "llama", **sizes))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "d_model", "d_ff"),
    [("llama", 96, 200), ("llama", 256, 688), ("qwen3", 384, 1000), ("gpt2", 100, 300), ("gpt2", 320, 256)],
)
def test_files_that_fall_back_are_those_of_llama_quantize(
    architecture: str, d_model: int, d_ff: int, tmp_path: Path
) -> None:
    sizes = {"d_model": d_model, "d_ff": d_ff, "n_heads": 2, "n_kv_heads": 2, "head_dim": d_model // 2, "n_layers": 3}
    check_all_quants(tmp_path, make_shape(architecture, **sizes, tied=d_model != 384))


def test_files_from_float32_are_those_of_llama_quantize(tmp_path: Path) -> None:
    check_all_quants(tmp_path, make_shape(tied=False), float16=False)


# Of each tensor's name, type and bytes, as llama-quantize (llama.cpp 0c1e57098, x86-64) wrote them: without an
# importance matrix, and with one.
DIGESTS = {
    "f32": ("eadcb3f0e8b23ac1", "eadcb3f0e8b23ac1"),
    "f16": ("133ccf141ab5720a", "133ccf141ab5720a"),
    "bf16": ("b8a8c2907823afa4", "b8a8c2907823afa4"),
    "q8_0": ("782f39e854283989", "782f39e854283989"),
    "q6_k": ("299a80010949ec97", "19dd3ccfbb1b51c4"),
    "q5_k_m": ("1977a54ec42f9432", "945223280ec7eb88"),
    "q5_k_s": ("c5890cb4190aaee8", "28cbfa857fedf424"),
    "q4_k_m": ("40e34caa6973f082", "db345d06d5f18dfd"),
    "q4_k_s": ("25a2ebb303aee78d", "a2abf528f6963d00"),
    "q4_0": ("3323217015d67e3a", "d06625d5c913e00a"),
    "q3_k_m": ("761a0c252962110d", "8c18681dc1c9fdb8"),
    "q2_k": ("b5a77327a35062c8", "924be6fa99d5b149"),
    "iq4_xs": ("26a2c2b06c1c9514", "0536794809a50056"),
}


def digest(path: Path) -> str:
    """Of the tensors, whatever their order and the file's metadata."""
    total = hashlib.sha256()
    for name, tensor in sorted(read(path).items()):
        total.update(f"{name} {tensor.tensor_type.name} {tensor.shape}".encode() + tensor.data.tobytes())
    return total.hexdigest()[:16]


MIXED = make_shape(n_layers=9, n_heads=4, n_kv_heads=1, head_dim=64, d_ff=288, vocab_size=40, tied=False)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors round sums otherwise")
@pytest.mark.parametrize("quant", QUANTS)
def test_tensors_are_those_that_llama_quantize_once_wrote(quant: str, tmp_path: Path) -> None:
    """Rows of 256 and of 288, which fall back; one key/value head to four query heads."""
    source, plain, weighed = tmp_path / "source.gguf", tmp_path / "plain.gguf", tmp_path / "weighed.gguf"
    write_random(source, MIXED)
    quantize(source, plain, quant)
    quantize(source, weighed, quant, importance=write_importance(tmp_path / "imatrix.gguf", MIXED))
    assert (digest(plain), digest(weighed)) == DIGESTS[quant]


def test_order_is_that_of_llama_quantize(tmp_path: Path) -> None:
    source, target = tmp_path / "source.gguf", tmp_path / "out.gguf"
    write_random(source, make_shape(n_layers=11, d_model=32, d_ff=32, tied=False))
    quantize(source, target, "q8_0", notes={"some.note": 1})
    names = list(read_shapes(target))
    assert names[:4] == ["output.weight", "output_norm.weight", "token_embd.weight", "blk.0.attn_k.weight"]
    assert [name.split(".")[1] for name in names[3:]] == [str(layer) for layer in range(11) for _ in range(9)]
    assert names[-9:] == sorted(names[-9:]) and all(name.startswith("blk.10.") for name in names[-9:])
    assert list(read_fields(target))[-3:] == ["general.quantization_version", "general.file_type", "some.note"]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> TinyLlama:
    """Rows of 256 and 512, so that nothing falls back."""
    shape: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 3}
    return make_llama(tmp_path_factory.mktemp("wide"), train_tokenizer(), **shape, initializer_range=0.05)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> TinyLlama:
    """Rows of 96 (a multiple of 32 only) and 200 (not even that), and an output matrix of its own."""
    shape: dict[str, Any] = {"hidden_size": 96, "intermediate_size": 200, "tie_word_embeddings": False}
    return make_llama(tmp_path_factory.mktemp("narrow"), train_tokenizer(), **shape)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> TinyLlama:
    folder = tmp_path_factory.mktemp("gpt2")
    return TinyLlama(folder, make_model(folder, "gpt2", n_embd=256, n_inner=512, n_layer=9))


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> TinyLlama:
    folder = tmp_path_factory.mktemp("qwen3")
    sizes: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 512, "head_dim": 64}
    return TinyLlama(folder, make_model(folder, "qwen3", num_hidden_layers=4, **sizes))


def read(path: Path) -> dict[str, Any]:
    from gguf import GGUFReader

    return {tensor.name: tensor for tensor in GGUFReader(path).tensors}


def values(tensor: Any) -> NDArray[np.float32]:
    from gguf.quants import dequantize

    return np.asarray(dequantize(tensor.data, tensor.tensor_type))


@pytest.mark.parametrize("quant", QUANTS)
def test_metadata_is_copied_and_vectors_stay_float32(wide: TinyLlama, quant: str, tmp_path: Path) -> None:
    source, target = wide.write("f16"), tmp_path / "out.gguf"
    assert quantize(source, target, quant, notes={"quantize.imatrix.chunks_count": 3, "some.text": "ä"}) == {}
    before, after = read_fields(source), read_fields(target)
    assert after.pop("general.file_type") == QUANTS[quant].file_type
    assert (after.pop("quantize.imatrix.chunks_count"), after.pop("some.text")) == (3, "ä")
    assert before.pop("general.file_type") == 1
    assert before == after
    shapes, tensors = read_shapes(source), read(target)
    assert read_shapes(target) == shapes == {name: tuple(each.shape[::-1]) for name, each in read(source).items()}
    for name, exact in read(source).items():
        if len(shapes[name]) == 1:
            assert tensors[name].tensor_type.name == "F32" and np.array_equal(tensors[name].data, exact.data)
    assert [path.name for path in tmp_path.iterdir()] == ["out.gguf"]


@pytest.mark.parametrize("quant", ["f16", "bf16", "q8_0", "q4_0"])
def test_bytes_are_those_of_gguf_s_own_quantiser(wide: TinyLlama, quant: str, tmp_path: Path) -> None:
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize as reference

    source, target = wide.write("f32"), tmp_path / "out.gguf"
    quantize(source, target, quant)
    kind = GGMLQuantizationType[quant.upper()]
    compared = 0
    for name, tensor in read(target).items():
        if tensor.tensor_type == kind:
            assert tensor.data.tobytes() == reference(read(source)[name].data, kind).tobytes(), name
            compared += 1
    assert compared == 3 * 7 + (quant != "q4_0")  # the embedding of a q4_0 file is Q6_K


@settings(max_examples=60, deadline=None)
@given(
    rows=arrays(np.float32, (3, 64), elements=st.floats(-65504, 65504, width=32)),
    kind=st.sampled_from(["Q8_0", "F16", "BF16"]),
)
def test_ggml_and_gguf_s_quantiser_agree(rows: NDArray[np.float32], kind: str) -> None:
    """These are written without llama.cpp, which is right only if it would write the same."""
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize as reference

    number = GGMLQuantizationType[kind]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        assert quantize_rows(rows, number).tobytes() == reference(rows, number).tobytes()


def test_halves_are_widened_as_numpy_does() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(8, -1)
    assert np.array_equal(widen_halves(halves), halves.astype(np.float32), equal_nan=True)
    assert np.array_equal(widen_halves(halves[:, ::2]), halves[:, ::2].astype(np.float32), equal_nan=True)


# Type: values per scale, quantisation levels between the smallest and the largest of them.
LEVELS = {"Q4_0": (32, 15), "Q8_0": (32, 254), "Q4_K": (32, 15), "Q5_K": (32, 31), "Q6_K": (16, 62)}


@pytest.mark.parametrize("quant", ["q8_0", "q4_0", *K_QUANTS])
def test_values_come_back_within_the_step_of_the_format(wide: TinyLlama, quant: str, tmp_path: Path) -> None:
    source, target = wide.write("f32"), tmp_path / "out.gguf"
    quantize(source, target, quant)
    exact = read(source)
    for name, tensor in read(target).items():
        if tensor.tensor_type.name == "F32":
            continue
        group, levels = LEVELS[tensor.tensor_type.name]
        original = exact[name].data.reshape(-1, group)
        error = np.abs(values(tensor).reshape(-1, group) - original)
        step = 2 * np.abs(original).max(axis=1, keepdims=True) / levels
        assert (error <= 1.5 * step).all(), name
        assert np.sqrt((error**2).mean()) < 0.4 * step.mean(), name


@pytest.mark.parametrize("quant", ["f32", "q8_0"])
def test_a_bfloat16_file_can_be_quantised(wide: TinyLlama, quant: str, tmp_path: Path) -> None:
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize as reference

    source, target = tmp_path / "bf16.gguf", tmp_path / "out.gguf"
    quantize(wide.write("f32"), source, "bf16")
    quantize(source, target, quant)
    name, kind = "blk.1.ffn_up.weight", GGMLQuantizationType[quant.upper()]
    assert read(source)[name].tensor_type.name == "BF16"
    assert read(target)[name].data.tobytes() == reference(values(read(source)[name]), kind).tobytes()


def test_important_columns_come_back_better(wide: TinyLlama, tmp_path: Path) -> None:
    source, name = wide.write("f16"), "blk.1.attn_q.weight"
    weight = np.ones(256, np.float32)
    weight[:32] = 1e4
    quantize(source, tmp_path / "plain.gguf", "q2_k")
    quantize(source, tmp_path / "weighed.gguf", "q2_k", importance={name: weight})
    exact = values(read(source)[name])
    plain, weighed = ((values(read(tmp_path / f"{each}.gguf")[name]) - exact) ** 2 for each in ("plain", "weighed"))
    assert (weighed * weight).mean() < 0.9 * (plain * weight).mean()
    same = set(read(source)) - {name}
    assert {each: read(tmp_path / "plain.gguf")[each].data.tobytes() for each in same} == {
        each: read(tmp_path / "weighed.gguf")[each].data.tobytes() for each in same
    }


def test_types_can_be_chosen_for_each_tensor(wide: TinyLlama, narrow: TinyLlama, tmp_path: Path) -> None:
    chosen = {"blk.0.attn_q.weight": "Q3_K", "blk.2.ffn_up.weight": "F16", "token_embd.weight": "IQ4_XS"}
    source, target = wide.write("f16"), tmp_path / "out.gguf"
    quantize(source, tmp_path / "plain.gguf", "q5_k_s")
    quantize(source, target, "q5_k_s", types=chosen)
    plain, other = read(tmp_path / "plain.gguf"), read(target)
    kinds = {name: tensor.tensor_type.name for name, tensor in plain.items()} | chosen
    assert {name: tensor.tensor_type.name for name, tensor in other.items()} == kinds
    with Runtime(target, threads=1) as loaded:
        assert np.isfinite(loaded.logits([1, 2, 3])).all()
    with pytest.raises(ValueError, match=r"has no tensor blk\.9\.attn_q\.weight"):
        quantize(source, target, "q8_0", types={"blk.9.attn_q.weight": "Q8_0"})
    with pytest.raises(ValueError, match="rows of 96 do not fill the blocks of 256 of Q4_K"):
        quantize(narrow.write("f16"), target, "q8_0", types={"blk.0.attn_q.weight": "Q4_K"})
    assert quantize(narrow.write("f16"), target, "q8_0", types={"blk.0.ffn_down.weight": "F16"}).keys() == {
        "blk.1.ffn_down.weight"
    }


def test_an_importance_of_another_model_is_refused(wide: TinyLlama, tmp_path: Path) -> None:
    source, target = wide.write("f16"), tmp_path / "out.gguf"
    with pytest.raises(ReleaseError, match=r"importance of shape \(255,\) for blk\.0\.attn_q\.weight, which has 256"):
        quantize(source, target, "q4_k_m", importance={"blk.0.attn_q.weight": np.ones(255, np.float32)})
    with pytest.raises(ReleaseError, match=r"importance of blk\.0\.attn_q\.weight has values that are no numbers"):
        quantize(source, target, "q4_k_m", importance={"blk.0.attn_q.weight": np.full(256, np.nan, np.float32)})
    assert not target.exists()
    quantize(source, target, "q8_0")
    quantize(source, tmp_path / "other.gguf", "q8_0", importance={"token_embd.weight": np.ones(9, np.float32)})
    assert target.read_bytes() == (tmp_path / "other.gguf").read_bytes()  # llama-quantize passes over it, too


def test_llama_cpp_loads_all_and_errors_shrink_with_bits(wide: TinyLlama, tmp_path: Path) -> None:
    source = wide.write("f32")
    ids = list(np.random.default_rng(0).integers(6, 500, 100))
    with Runtime(source, threads=1) as exact:
        logits = exact.logits(ids)
    error = {}
    for quant in QUANTS:
        quantize(source, tmp_path / f"{quant}.gguf", quant)
        with Runtime(tmp_path / f"{quant}.gguf", threads=1) as loaded:
            error[quant] = float(np.abs(loaded.logits(ids) - logits).mean() / logits.std())
    assert error["f32"] == 0 and error["f16"] < 2e-3 and error["bf16"] < 2e-2 and error["q4_0"] < 0.5
    order = ("f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q3_k_m", "q2_k")
    assert sorted(order, key=lambda quant: error[quant]) == list(order)


@pytest.mark.parametrize("model", ["gpt2", "qwen3"])
def test_other_architectures_keep_their_metadata_and_load(
    model: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source = request.getfixturevalue(model).write("f16")
    ids = list(np.random.default_rng(0).integers(6, 500, 40))
    with Runtime(source, threads=1) as exact:
        logits = exact.logits(ids)
    error = {}
    for quant in ("q8_0", "q6_k", "q4_k_m"):
        quantize(source, tmp_path / "out.gguf", quant)
        before, after = read_fields(source), read_fields(tmp_path / "out.gguf")
        assert after.pop("general.file_type") == QUANTS[quant].file_type
        assert before.pop("general.file_type") == 1 and before == after and before["general.architecture"] == model
        with Runtime(tmp_path / "out.gguf", threads=1) as loaded:
            error[quant] = float(np.abs(loaded.logits(ids) - logits).mean() / logits.std())
    assert error["q8_0"] < error["q6_k"] < error["q4_k_m"] < 0.5


@pytest.mark.parametrize("quant", ["q4_k_m", "q2_k", "iq4_xs"])
def test_fallen_tensors_are_told_and_load_too(narrow: TinyLlama, quant: str, tmp_path: Path) -> None:
    source, target = narrow.write("f16"), tmp_path / "out.gguf"
    fallen = quantize(source, target, quant)
    assert len(fallen) == 2 + 2 * 7
    assert {name: tensor.tensor_type.name for name, tensor in read(target).items() if name in fallen} == {
        name: fallback.used for name, fallback in fallen.items()
    }
    with Runtime(target) as loaded:
        assert np.isfinite(loaded.logits([1, 2, 3])).all()


def test_a_tensor_is_never_in_memory_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: 2)
    source, target = tmp_path / "source.gguf", tmp_path / "out.gguf"
    write_random(source, make_shape(vocab_size=60_000, n_layers=1))
    quantize(source, target, "f32")  # with what is imported on first use
    tracemalloc.start()
    try:
        quantize(source, target, "q8_0")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60_000 * 256 * 2 / 2  # half of the embedding in float16


def test_wrong_sources_and_names_are_refused(wide: TinyLlama, tmp_path: Path) -> None:
    from gguf import GGUFWriter

    source, target = wide.write("f32"), tmp_path / "out.gguf"
    with pytest.raises(ValueError, match=r"unknown quantisation 'q4_k_x'; known: f32, f16, .*q4_k_m, .*q4_0"):
        quantize(source, target, "q4_k_x")
    with pytest.raises(ReleaseError, match="not a readable GGUF"):
        quantize(Path(__file__), target, "q8_0")
    with pytest.raises(ReleaseError, match="not a readable GGUF"):
        quantize(tmp_path / "missing.gguf", target, "q8_0")
    truncated = tmp_path / "truncated.gguf"
    truncated.write_bytes(source.read_bytes()[:-1])
    with pytest.raises(ReleaseError, match="not a readable GGUF: it ends too early"):
        quantize(truncated, target, "q8_0")
    for architecture, message in (("bert", "architecture 'bert'"), ("llama", "no key 'llama.attention.head_count'")):
        other = GGUFWriter(tmp_path / "other.gguf", architecture)
        other.write_header_to_file()
        other.write_kv_data_to_file()
        other.write_tensors_to_file()
        other.close()
        with pytest.raises(ReleaseError, match=message):
            quantize(tmp_path / "other.gguf", target, "q8_0")
    quantize(source, tmp_path / "small.gguf", "q8_0")
    with pytest.raises(ReleaseError, match=r"token_embd\.weight is quantised already"):
        quantize(tmp_path / "small.gguf", target, "q4_0")
    assert not target.exists() and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("value", [1e5, -1e5, np.nan, np.inf])
def test_values_that_no_scale_can_hold_are_refused(wide: TinyLlama, value: float, tmp_path: Path) -> None:
    path, target = tmp_path / "large.gguf", tmp_path / "out.gguf"
    target.write_bytes(b"the file of before")
    data = bytearray(wide.write("f32").read_bytes())
    offset = read(wide.write("f32"))["blk.1.attn_q.weight"].data_offset
    data[offset : offset + 4] = np.float32(value).tobytes()
    path.write_bytes(data)
    with pytest.raises(ReleaseError, match=r"blk\.1\.attn_q\.weight has values that Q8_0 cannot hold"):
        quantize(path, target, "q8_0")
    assert target.read_bytes() == b"the file of before" and not list(tmp_path.glob(".*"))


def test_without_llama_cpp_floats_and_q8_0_are_the_same(
    wide: TinyLlama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = {"f16": wide.write("f32"), "bf16": wide.write("f16"), "q8_0": wide.write("f16")}
    for quant, source in sources.items():
        quantize(source, tmp_path / f"{quant}-with.gguf", quant)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    llamacpp.library.cache_clear()
    try:
        for quant, source in sources.items():
            quantize(source, tmp_path / f"{quant}.gguf", quant)
            assert (tmp_path / f"{quant}.gguf").read_bytes() == (tmp_path / f"{quant}-with.gguf").read_bytes()
        with pytest.raises(RuntimeUnavailable, match=r"llama\.cpp is missing"):
            quantize(wide.write("f32"), tmp_path / "q4_k_m.gguf", "q4_k_m")
    finally:
        llamacpp.library.cache_clear()
    assert not (tmp_path / "q4_k_m.gguf").exists()
