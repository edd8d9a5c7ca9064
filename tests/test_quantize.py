"""Quantised files against gguf's own quantiser and dequantiser, and llama-quantize where cyllama has it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from test_architectures import make_model
from test_gguf import TinyLlama, make_llama, read_fields, train_tokenizer

from stages.release import llamacpp
from stages.release.errors import ReleaseError
from stages.release.llamacpp import RuntimeUnavailable, quantize_rows
from stages.release.quantize import QUANTS, Fallback, fallbacks, quantize, read_shapes, tensor_types
from stages.release.runtime import Runtime

K_QUANTS = ("q4_k_m", "q5_k_m", "q6_k")


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
def gpt2_narrow(tmp_path_factory: pytest.TempPathFactory) -> TinyLlama:
    folder = tmp_path_factory.mktemp("gpt2-narrow")
    return TinyLlama(folder, make_model(folder, "gpt2 untied", n_embd=96, n_inner=200))


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> TinyLlama:
    folder = tmp_path_factory.mktemp("qwen3")
    sizes: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 512, "head_dim": 64}
    return TinyLlama(folder, make_model(folder, "qwen3", num_hidden_layers=4, **sizes))


def read(path: Path) -> dict[str, Any]:
    from gguf import GGUFReader

    return {tensor.name: tensor for tensor in GGUFReader(path).tensors}


def values(tensor: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    from gguf.quants import dequantize

    return np.asarray(dequantize(tensor.data, tensor.tensor_type))


def llama_shapes(n_layers: int, d_model: int, d_ff: int, *, tied: bool) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (9, d_model), "output_norm.weight": (d_model,)}
    for layer in range(n_layers):
        shapes[f"blk.{layer}.attn_v.weight"] = (d_model, d_model)
        shapes[f"blk.{layer}.attn_q.weight"] = (d_model, d_model)
        shapes[f"blk.{layer}.ffn_down.weight"] = (d_model, d_ff)
    return shapes if tied else shapes | {"output.weight": (9, d_model)}


@pytest.mark.parametrize(
    ("n_layers", "sensitive"),
    # Q4_K_M, counted by hand: before n // 8, from 7 n // 8 on, and where (layer - n // 8) % 3 is 2.
    [(2, {1}), (6, {2, 5}), (8, {0, 3, 6, 7}), (9, {0, 3, 6, 7, 8}), (17, {0, 1, 4, 7, 10, 13, 14, 15, 16})],
)
def test_the_layers_that_a_mix_keeps_finer(n_layers: int, sensitive: set[int]) -> None:
    types = tensor_types(llama_shapes(n_layers, 256, 512, tied=True), "q4_k_m")
    for layer in range(n_layers):
        finer = "Q6_K" if layer in sensitive else "Q4_K"
        assert types[f"blk.{layer}.attn_v.weight"] == types[f"blk.{layer}.ffn_down.weight"] == finer
        assert types[f"blk.{layer}.attn_q.weight"] == "Q4_K"
    assert types["token_embd.weight"] == "Q6_K" and types["output_norm.weight"] == "F32"


def test_an_output_matrix_takes_the_embedding_s_part() -> None:
    types = tensor_types(llama_shapes(1, 256, 256, tied=False), "q4_0")
    assert (types["output.weight"], types["token_embd.weight"]) == ("Q6_K", "Q4_0")


def gpt2_shapes(n_layers: int, d_model: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (9, d_model), "position_embd.weight": (16, d_model), "output_norm.bias": (d_model,),
    }  # fmt: skip
    for layer in range(n_layers):
        shapes[f"blk.{layer}.attn_qkv.weight"] = (3 * d_model, d_model)
        shapes[f"blk.{layer}.attn_qkv.bias"] = (3 * d_model,)
        shapes[f"blk.{layer}.attn_output.weight"] = (d_model, d_model)
        shapes[f"blk.{layer}.ffn_down.weight"] = (d_model, 4 * d_model)
    return shapes


@pytest.mark.parametrize(("quant", "finer", "most"), [("q4_k_m", "Q6_K", "Q4_K"), ("q5_k_m", "Q6_K", "Q5_K")])
def test_the_fused_matrix_of_gpt2_counts_as_attn_v(quant: str, finer: str, most: str) -> None:
    types = tensor_types(gpt2_shapes(9, 256), quant)
    for layer in range(9):
        expected = finer if layer in {0, 3, 6, 7, 8} else most
        assert types[f"blk.{layer}.attn_qkv.weight"] == types[f"blk.{layer}.ffn_down.weight"] == expected
        assert types[f"blk.{layer}.attn_output.weight"] == most and types[f"blk.{layer}.attn_qkv.bias"] == "F32"
    assert types["position_embd.weight"] == types["output_norm.bias"] == "F32"
    assert types["token_embd.weight"] == "Q6_K"


def test_positions_never_fall_back() -> None:
    fallen = fallbacks(gpt2_shapes(1, 100), "q4_k_m")
    assert {name: fallback.used for name, fallback in fallen.items()} == {
        "token_embd.weight": "F16", "blk.0.attn_qkv.weight": "F16", "blk.0.attn_output.weight": "F16",
        "blk.0.ffn_down.weight": "F16",
    }  # fmt: skip
    assert fallbacks(gpt2_shapes(4, 256), "q4_k_m") == {}


def test_fallbacks_by_hand() -> None:
    shapes = llama_shapes(1, 192, 200, tied=True)
    assert fallbacks(shapes, "q4_k_m") == {
        "token_embd.weight": Fallback("Q6_K", "Q8_0"),
        "blk.0.attn_v.weight": Fallback("Q6_K", "Q8_0"),
        "blk.0.attn_q.weight": Fallback("Q4_K", "Q5_0"),
        "blk.0.ffn_down.weight": Fallback("Q6_K", "F16"),
    }
    assert fallbacks(shapes, "q5_k_m")["blk.0.attn_q.weight"] == Fallback("Q5_K", "Q5_1")
    assert fallbacks(shapes, "q8_0") == {"blk.0.ffn_down.weight": Fallback("Q8_0", "F16")}
    assert fallbacks(shapes, "f16") == fallbacks(shapes, "bf16") == fallbacks(shapes, "f32") == {}
    assert fallbacks(llama_shapes(4, 256, 512, tied=True), "q4_k_m") == {}


@pytest.mark.parametrize("quant", QUANTS)
def test_metadata_is_copied_and_vectors_stay_float32(wide: TinyLlama, quant: str, tmp_path: Path) -> None:
    source, target = wide.write("f16"), tmp_path / "out.gguf"
    quantize(source, target, quant)
    before, after = read_fields(source), read_fields(target)
    assert after.pop("general.file_type") == QUANTS[quant].file_type
    assert before.pop("general.file_type") == 1
    assert before == after
    shapes, tensors = read_shapes(source), read(target)
    assert read_shapes(target) == shapes
    exact = read(source)
    for name, kind in tensor_types(shapes, quant).items():
        assert tensors[name].tensor_type.name == kind
        if len(shapes[name]) == 1:
            assert kind == "F32" and np.array_equal(tensors[name].data, exact[name].data)
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
def test_ggml_and_gguf_s_quantiser_agree(rows: np.ndarray[Any, np.dtype[np.float32]], kind: str) -> None:
    """These are written without llama.cpp, which is right only if it would write the same."""
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize as reference

    number = GGMLQuantizationType[kind]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        assert quantize_rows(rows, number).tobytes() == reference(rows, number).tobytes()


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


def test_llama_cpp_loads_all_and_errors_shrink_with_bits(wide: TinyLlama, tmp_path: Path) -> None:
    source = wide.write("f32")
    ids = list(np.random.default_rng(0).integers(6, 500, 100))
    with Runtime(source, threads=1) as exact:
        logits = exact.logits(ids)
    error = {}
    for quant in ("f32", "f16", "q8_0", *reversed(K_QUANTS), "q4_0", "bf16"):
        quantize(source, tmp_path / f"{quant}.gguf", quant)
        with Runtime(tmp_path / f"{quant}.gguf", threads=1) as loaded:
            error[quant] = float(np.abs(loaded.logits(ids) - logits).mean() / logits.std())
    assert error["f32"] == 0 and error["f16"] < 2e-3 and error["bf16"] < 2e-2 and error["q4_0"] < 0.5
    order = ("f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0")
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


def test_fallen_tensors_load_too(narrow: TinyLlama, tmp_path: Path) -> None:
    source, target = narrow.write("f16"), tmp_path / "out.gguf"
    quantize(source, target, "q4_k_m")
    fallen = fallbacks(read_shapes(source), "q4_k_m")
    assert len(fallen) == 2 + 2 * 7
    assert {name: tensor.tensor_type.name for name, tensor in read(target).items() if name in fallen} == {
        name: fallback.used for name, fallback in fallen.items()
    }
    with Runtime(target) as loaded:
        assert np.isfinite(loaded.logits([1, 2, 3])).all()


def test_wrong_sources_and_names_are_refused(wide: TinyLlama, tmp_path: Path) -> None:
    from gguf import GGUFWriter

    source, target = wide.write("f32"), tmp_path / "out.gguf"
    with pytest.raises(ValueError, match=r"unknown quantisation 'q4_k_x'; known: f32, f16, .*q4_k_m, q4_0"):
        quantize(source, target, "q4_k_x")
    with pytest.raises(ReleaseError, match="not a readable GGUF"):
        quantize(Path(__file__), target, "q8_0")
    with pytest.raises(ReleaseError, match="not a readable GGUF"):
        quantize(tmp_path / "missing.gguf", target, "q8_0")
    truncated = tmp_path / "truncated.gguf"
    truncated.write_bytes(source.read_bytes()[:100_000])
    with pytest.raises(ReleaseError, match="not a readable GGUF"):
        quantize(truncated, target, "q8_0")
    other = GGUFWriter(tmp_path / "bert.gguf", "bert")
    other.write_header_to_file()
    other.write_kv_data_to_file()
    other.write_tensors_to_file()
    other.close()
    with pytest.raises(ReleaseError, match="architecture 'bert'"):
        quantize(tmp_path / "bert.gguf", target, "q8_0")
    quantize(source, tmp_path / "small.gguf", "q8_0")
    with pytest.raises(ReleaseError, match=r"token_embd\.weight is quantised already"):
        quantize(tmp_path / "small.gguf", target, "q4_0")
    assert not target.exists() and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("value", [1e5, np.nan, np.inf])
def test_values_that_no_scale_can_hold_are_refused(wide: TinyLlama, value: float, tmp_path: Path) -> None:
    path = tmp_path / "large.gguf"
    data = bytearray(wide.write("f32").read_bytes())
    offset = read(wide.write("f32"))["blk.1.attn_q.weight"].data_offset
    data[offset : offset + 4] = np.float32(value).tobytes()
    path.write_bytes(data)
    with pytest.raises(ReleaseError, match=r"blk\.1\.attn_q\.weight has values that Q8_0 cannot hold"):
        quantize(path, tmp_path / "out.gguf", "q8_0")


def test_without_llama_cpp_floats_and_q8_0_still_work(
    wide: TinyLlama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    llamacpp.library.cache_clear()
    try:
        for quant in ("f16", "bf16", "q8_0"):
            quantize(wide.write("f32"), tmp_path / f"{quant}.gguf", quant)
        with pytest.raises(RuntimeUnavailable, match="pip install xllamacpp"):
            quantize(wide.write("f32"), tmp_path / "q4_k_m.gguf", "q4_k_m")
    finally:
        llamacpp.library.cache_clear()
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["bf16", "f16", "q8_0"]


@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize("model", ["wide", "narrow", "gpt2", "gpt2_narrow", "qwen3"])
def test_tensors_are_those_of_llama_quantize(
    model: str, quant: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    llama_cpp = pytest.importorskip("cyllama.llama.llama_cpp")
    if "narrow" in model and quant in ("q8_0", "q4_0"):
        pytest.skip("llama-quantize refuses rows of 200 for these, where we fall back to F16")
    source = request.getfixturevalue(model).write("f32")
    quantize(source, tmp_path / "ours.gguf", quant)
    params = llama_cpp.LlamaModelQuantizeParams()
    params.ftype = QUANTS[quant].file_type
    llama_cpp.model_quantize(str(source), str(tmp_path / "theirs.gguf"), params)
    ours, theirs = read(tmp_path / "ours.gguf"), read(tmp_path / "theirs.gguf")
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].tensor_type == tensor.tensor_type
        assert ours[name].data.tobytes() == tensor.data.tobytes(), name
