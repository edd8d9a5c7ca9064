"""Importance against a model computed by hand, and its file against gguf's reader, llama-imatrix and llama-quantize.

`LLAMA_IMATRIX` and `LLAMA_QUANTIZE` in the environment, or programs of these names on the PATH, are llama.cpp's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from test_architectures import MODELS, make_model, written
from test_gguf import TinyLlama, edit_weights, make_llama, read_fields, read_tensors, train_tokenizer

from stages.release.architectures import read_config, tensors
from stages.release.errors import ReleaseError
from stages.release.imatrix import Squares, collect, read_imatrix, write_imatrix
from stages.release.quantize import quantize
from stages.release.runtime import Runtime

QUANTIZE = os.environ.get("LLAMA_QUANTIZE") or shutil.which("llama-quantize")
IMATRIX = os.environ.get("LLAMA_IMATRIX") or shutil.which("llama-imatrix")
SOURCE = Path(__file__).read_text(encoding="utf-8")
Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyLlama:
    return make_llama(tmp_path_factory.mktemp("tiny"), train_tokenizer(), num_hidden_layers=1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An importance matrix with two entries."""
    sums = {
        "output.weight": np.array([2.0, 0.5], dtype=np.float32),
        "blk.0.ffn_up.weight": np.ones(3, dtype=np.float32),
    }
    write_imatrix(tmp_path / "imatrix.gguf", Squares(sums, tokens=7, windows=2, longest=4), dataset="some text")
    return tmp_path / "imatrix.gguf"


def by_hand(tiny: TinyLlama, token: int) -> dict[str, Array]:
    """What enters each matrix for a window of one token, whose attention can only look at itself."""
    weights = {name: value.double().numpy() for name, value in tiny.model.state_dict().items()}
    config, block = tiny.model.config, "model.layers.0."

    def norm(x: Array, name: str) -> Array:
        return x / np.sqrt((x * x).mean() + config.rms_norm_eps) * weights[f"{name}.weight"]

    def times(x: Array, name: str) -> Array:
        return weights[f"{block}{name}.weight"] @ x

    x = weights["model.embed_tokens.weight"][token]
    read = norm(x, f"{block}input_layernorm")
    heads = times(read, "self_attn.v_proj").reshape(config.num_key_value_heads, -1)
    seen = heads.repeat(config.num_attention_heads // config.num_key_value_heads, axis=0).reshape(-1)
    x = x + times(seen, "self_attn.o_proj")
    after = norm(x, f"{block}post_attention_layernorm")
    gate = times(after, "mlp.gate_proj")
    inner = gate / (1 + np.exp(-gate)) * times(after, "mlp.up_proj")
    last = norm(x + times(inner, "mlp.down_proj"), "model.norm")
    inputs = {"attn_q": read, "attn_k": read, "attn_v": read, "attn_output": seen}
    inputs |= {"ffn_gate": after, "ffn_up": after, "ffn_down": inner}
    return {f"blk.0.{name}.weight": value for name, value in inputs.items()} | {"token_embd.weight": last}


def test_importance_is_the_mean_square_of_what_enters(tiny: TinyLlama) -> None:
    tokens, shares = [1, 40, 300], []
    found = collect(tiny.folder, [[token] for token in tokens], shares.append)
    assert (found.tokens, found.windows, found.longest) == (3, 3, 1)
    assert sum(shares) == pytest.approx(1)
    by_token = [by_hand(tiny, token) for token in tokens]
    assert found.columns.keys() == by_token[0].keys()
    for name, columns in found.columns.items():
        np.testing.assert_allclose(columns, np.mean([one[name] ** 2 for one in by_token], axis=0), rtol=1e-4)


def test_every_token_counts_the_same_in_windows_of_any_length(tiny: TinyLlama) -> None:
    found = collect(tiny.folder, [[1, 9, 9, 200], [1, 77]])
    assert (found.tokens, found.windows, found.longest) == (6, 2, 4)
    squares = [by_hand(tiny, token)["blk.0.attn_k.weight"] ** 2 for token in (1, 9, 9, 200, 1, 77)]
    np.testing.assert_allclose(found.columns["blk.0.attn_k.weight"], np.mean(squares, axis=0), rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_every_matrix_that_multiplies_has_its_columns(name: str, tmp_path: Path) -> None:
    make_model(tmp_path, name)
    shape = read_config(tmp_path)
    wanted = {place: tensor.shape[1:] for place, tensor in tensors(shape).items() if len(tensor.shape) == 2}
    wanted.pop("position_embd.weight", None)
    if not shape.tied:  # then nothing is multiplied with the embedding
        wanted.pop("token_embd.weight")
    assert {place: columns.shape for place, columns in collect(tmp_path, [[1, 5, 6]]).columns.items()} == wanted


def test_the_file_is_laid_out_as_llama_imatrix_does_it(file: Path) -> None:
    fields, found = read_fields(file), read_tensors(file)
    assert fields == {
        "general.type": "imatrix", "imatrix.datasets": ["some text"], "imatrix.chunk_count": 2, "imatrix.chunk_size": 4,
    }  # fmt: skip
    assert list(found) == [
        "blk.0.ffn_up.weight.in_sum2", "blk.0.ffn_up.weight.counts", "output.weight.in_sum2", "output.weight.counts",
    ]  # fmt: skip
    assert {values.dtype for values in found.values()} == {np.dtype(np.float32)}
    assert found["output.weight.in_sum2"].tolist() == [2.0, 0.5] and found["output.weight.counts"].tolist() == [7.0]


def test_means_are_read_as_single_precision_divides_them(file: Path) -> None:
    means = read_imatrix(file)
    assert means["output.weight"].tolist() == [np.float32(2) / np.float32(7), np.float32(0.5) / np.float32(7)]
    assert means["blk.0.ffn_up.weight"].dtype == np.float32


def test_a_matrix_that_saw_nothing_weighs_its_columns_alike(tmp_path: Path) -> None:
    sums = {"output.weight": np.zeros(2, dtype=np.float32)}
    write_imatrix(tmp_path / "i.gguf", Squares(sums, tokens=0, windows=0, longest=0), dataset="none")
    assert read_imatrix(tmp_path / "i.gguf")["output.weight"].tolist() == [1, 1]


def test_other_files_are_refused(file: Path, tiny: TinyLlama) -> None:
    with pytest.raises(ReleaseError, match=r"no key imatrix\.datasets"):
        read_imatrix(tiny.write("f16"))
    with pytest.raises(ReleaseError, match="not an importance matrix in GGUF"):
        read_imatrix(file.with_name("missing.gguf"))
    content = file.read_bytes()
    file.write_bytes(content[:100])
    with pytest.raises(ReleaseError, match="not an importance matrix in GGUF"):
        read_imatrix(file)
    file.write_bytes(content.replace(b"output.weight.counts", b"output.weight.cuunts"))
    with pytest.raises(ReleaseError, match=r"output\.weight has no single count"):
        read_imatrix(file)
    file.write_bytes(content.replace(np.float32(0.5).tobytes(), np.float32("nan").tobytes()))
    with pytest.raises(ReleaseError, match=r"output\.weight has values that are not finite"):
        read_imatrix(file)


def test_a_model_that_overflows_and_a_text_without_windows_are_refused(tiny: TinyLlama, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="no text"):
        collect(tiny.folder, [])
    shutil.copytree(tiny.folder, tmp_path / "broken")

    def grow(weights: dict[str, NDArray[Any]]) -> None:
        weights["model.layers.0.mlp.up_proj.weight"] *= 1e38

    edit_weights(tmp_path / "broken", grow)
    with pytest.raises(ReleaseError, match=r"what enters model\.layers\.0\.mlp\.down_proj\.weight is not finite"):
        collect(tmp_path / "broken", [[1, 2, 3]])


@pytest.mark.skipif(IMATRIX is None, reason="no llama-imatrix")
@pytest.mark.parametrize("name", MODELS)
def test_llama_imatrix_finds_the_same(name: str, tmp_path: Path) -> None:
    assert IMATRIX is not None
    make_model(tmp_path, name)
    base, size = written(tmp_path), 32
    (tmp_path / "text.txt").write_text(SOURCE[:2000], encoding="utf-8")
    options = ["-c", str(size), "-b", str(size), "-t", "1", "--no-ppl", "--process-output", "-o", "theirs.gguf"]
    command = [IMATRIX, "-m", str(base), "-f", "text.txt", *options]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    with Runtime(base) as runtime:
        ids = runtime.tokenize(SOURCE[:2000], add_special=True)
        bos = runtime.bos_id
    windows = [[bos, *ids[start + 1 : start + size]] for start in range(0, len(ids) - size + 1, size)]
    write_imatrix(tmp_path / "ours.gguf", collect(tmp_path, windows), dataset="text.txt")
    assert read_fields(tmp_path / "ours.gguf") == read_fields(tmp_path / "theirs.gguf")
    ours, theirs = read_tensors(tmp_path / "ours.gguf"), read_tensors(tmp_path / "theirs.gguf")
    assert ours.keys() - theirs.keys() <= {"token_embd.weight.in_sum2", "token_embd.weight.counts"}
    for place, values in theirs.items():
        near = 1e-3 * float(values.mean())  # llama.cpp looks the activation functions up in a table of float16
        np.testing.assert_allclose(ours[place], values, rtol=5e-3, atol=near, err_msg=place)


@pytest.mark.skipif(QUANTIZE is None, reason="no llama-quantize")
@pytest.mark.parametrize(("name", "quant"), [("llama", "q2_k"), ("qwen3 untied", "q4_k_m"), ("gpt2", "q3_k_m")])
def test_llama_quantize_makes_the_same_bytes_of_it(name: str, quant: str, tmp_path: Path) -> None:
    assert QUANTIZE is not None
    make_model(tmp_path, name, **({"n_embd": 256} if name == "gpt2" else {"hidden_size": 256}))
    base, matrix = written(tmp_path, "f16"), tmp_path / "imatrix.gguf"
    write_imatrix(matrix, collect(tmp_path, [[1, 5, 6, 7], [1, 90, 91]]), dataset="text")
    command = [QUANTIZE, "--imatrix", str(matrix), str(base), str(tmp_path / "theirs.gguf"), quant, "1"]
    subprocess.run(command, check=True, capture_output=True)
    quantize(base, tmp_path / "ours.gguf", quant, importance=read_imatrix(matrix))
    ours, theirs = read_tensors(tmp_path / "ours.gguf"), read_tensors(tmp_path / "theirs.gguf")
    assert {place: data.tobytes() for place, data in ours.items()} == {
        place: data.tobytes() for place, data in theirs.items()
    }
