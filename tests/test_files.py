"""The files of a release: by name and by size, with and without an importance matrix."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_architectures import make_model

from stages.release.errors import ReleaseError
from stages.release.files import (
    IMATRIX,
    NONE,
    Model,
    check_sizes,
    checked_size,
    given_importance,
    measured_importance,
    write_fits,
    write_named,
)
from stages.release.gguf import GgufMetadata, write_gguf
from stages.release.imatrix import Squares, matrices, write_imatrix

WINDOWS = [[1, *(int(token) for token in np.random.default_rng(seed).integers(6, 40, 20))] for seed in range(6)]


@pytest.fixture
def model(tmp_path: Path) -> Model:
    make_model(tmp_path / "huggingface", "llama", hidden_size=256, intermediate_size=512, num_hidden_layers=2)
    (tmp_path / "out").mkdir()
    made = Model(tmp_path / "huggingface", tmp_path / "out/m-f16.gguf", GgufMetadata(name="m"), WINDOWS)
    write_gguf(made.huggingface, made.base, file_type="f16", metadata=made.metadata)
    return made


def read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Keys and tensor types by gguf's own reader."""
    from gguf import GGUFReader

    reader = GGUFReader(path)
    return (
        {name: field.contents() for name, field in reader.fields.items()},
        {tensor.name: tensor.tensor_type.name for tensor in reader.tensors},
    )


def test_the_importance_goes_into_the_release_and_into_what_coarse_files_say(model: Model) -> None:
    importance = measured_importance(model, lambda share: None)
    assert given_importance(model, model.base.with_name(IMATRIX)).columns.keys() == importance.columns.keys()
    with_it, without = write_named(model, "q4_k_m", importance), write_named(model, "q6_k", importance)
    assert (with_it["imatrix"], without["imatrix"]) == (True, False)
    keys, _ = read(model.file("q4_k_m"))
    assert keys["quantize.imatrix.file"] == IMATRIX and keys["quantize.imatrix.chunks_count"] == len(WINDOWS)
    assert keys["quantize.imatrix.entries_count"] == len(importance.columns)
    assert "quantize.imatrix.file" not in read(model.file("q6_k"))[0]
    weighed = model.file("q4_k_m").read_bytes()
    write_named(model, "q4_k_m", NONE)
    assert model.file("q4_k_m").read_bytes() != weighed


@pytest.mark.parametrize(
    ("only", "columns", "message"),
    [
        ("blk.7.ffn_up.weight", 256, r"it says nothing of blk\.0\.\w+\.weight and 13 more matrices"),
        ("", 128, r"128 columns of [\w.]+, here \d+"),
    ],
)
def test_an_importance_matrix_of_another_model_is_refused(
    model: Model, tmp_path: Path, only: str, columns: int, message: str
) -> None:
    names = [only] if only else list(matrices(model.huggingface))
    sums = {name: np.ones(columns, dtype=np.float32) for name in names}
    write_imatrix(tmp_path / "other.gguf", Squares(sums, 9, 1, 9), dataset="x")
    with pytest.raises(ReleaseError, match=r"other\.gguf is of another model: " + message):
        given_importance(model, tmp_path / "other.gguf")


def test_f32_and_bf16_are_of_the_trained_weights(model: Model) -> None:
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from safetensors.numpy import load_file

    source = load_file(model.huggingface / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    for quant, step in (("f32", 0.0), ("bf16", 2.0**-8)):
        write_named(model, quant, NONE)
        found = next(t for t in GGUFReader(model.file(quant)).tensors if t.name == "blk.0.ffn_up.weight")
        values = dequantize(found.data, found.tensor_type)
        assert np.all(np.abs(values - source) <= step * np.abs(source))
    assert not np.array_equal(source, source.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("known", [False, True])
def test_a_fit_stays_within_its_size_and_more_room_costs_less(model: Model, known: bool) -> None:
    importance = measured_importance(model, lambda share: None) if known else NONE
    largest = model.base.stat().st_size
    sizes = [checked_size(f"{share * largest / 1000:.3f} kB") for share in (0.2, 0.3, 0.5)]
    entries = list(write_fits(model, sizes, importance, lambda share: None))
    for size, entry, share in zip(sizes, entries, (0.2, 0.3, 0.5), strict=True):
        path = model.file(f"fit-{size}")
        assert entry["file"] == path.name and entry["bytes"] == path.stat().st_size <= share * largest + 1
        _, types = read(path)
        matrices = [kind for name, kind in types.items() if kind != "F32"]
        assert sum(entry["types"].values()) == len(matrices) and set(matrices) == set(entry["types"])
    expected = [entry["expected"] for entry in entries]
    assert expected == sorted(expected, reverse=True) and expected[0] > expected[-1]


def test_bits_per_weight_are_those_of_the_matrices(model: Model) -> None:
    entry = next(write_fits(model, ["5bpw"], NONE, lambda share: None))
    from gguf import GGUFReader

    tensors = GGUFReader(model.file("fit-5bpw")).tensors
    bits = 8 * sum(t.n_bytes for t in tensors) / sum(t.n_elements for t in tensors)
    assert 4.5 < bits <= 5.0 and entry["types"]


def test_a_size_that_nothing_fits_is_refused(model: Model) -> None:
    with pytest.raises(ReleaseError, match=r"no mix fits into .*the smallest takes \d+ bytes"):
        list(write_fits(model, ["1kb"], NONE, lambda share: None))


@pytest.mark.parametrize(
    ("size", "message", "hint"),
    [
        ("1kb", r"export: no mix fits into .*the smallest takes \d+ bytes", "export --fit "),
        ("1bpw", r"export: no mix fits into .*the smallest takes \d+ bytes", "export --fit "),
        ("1gb", r"export: .* \(1gb\) is more than the F16 file takes, ", "export --quant f16"),
        ("32bpw", r"export: .* \(32bpw\) is more than the F16 file takes, ", "export --quant f16"),
    ],
)
def test_a_size_that_no_file_can_have_is_refused_by_shapes_alone(
    model: Model, size: str, message: str, hint: str
) -> None:
    blind = dataclasses.replace(model, windows=())
    check_sizes(blind, ["8bpw", f"{model.base.stat().st_size}"])
    with pytest.raises(ReleaseError, match=message) as caught:
        check_sizes(blind, ["8bpw", size])
    assert hint in str(caught.value.hint)
    if match := re.search(r"--fit (\w+)", str(caught.value.hint)):
        check_sizes(blind, [checked_size(match[1])])


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("12MB", "12mb"), ("1.5 GiB", "1.5gib"), ("4.5BPW", "4.5bpw"), ("5.0bpw", "5bpw"), ("0012.50MB", "12.5mb"),
        (f"12.{'0' * 280}MB", "12mb"), ("12345678.9kB", "12345678.9kb"), ("123456789012", "123456789012"),
    ],
)  # fmt: skip
def test_sizes_are_read(text: str, size: str) -> None:
    assert checked_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-3MB", "4.5 bits", "1e6", "../x", "0.00000001GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither a size such as 12MB nor bits per weight"):
        checked_size(text)


@pytest.mark.parametrize("text", ["0bpw", "0.5bpw", "33bpw", "9" * 35 + "bpw", "9" * 280 + "bpw", "9" * 400 + "bpw"])
def test_bits_that_no_weight_has_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="bits per weight are from 1 to 32") as caught:
        checked_size(text)
    assert len(str(caught.value)) < 100
