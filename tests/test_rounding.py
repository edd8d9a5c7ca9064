"""Weights of a quantised file beside those that it was made from, on tensors written by gguf itself."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from stages.release.errors import ReleaseError
from stages.release.header import read_header
from stages.release.llamacpp import quantize_rows
from stages.release.rounding import bits_per_weight, check_rounding, coarsest

Tensors = dict[str, tuple[np.ndarray, str]]
KINDS = ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0", "Q5_0", "Q3_K", "Q2_K", "IQ4_XS", "IQ4_NL")


def written(path: Path, tensors: Tensors) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    for name, (values, kind) in tensors.items():
        number = gguf.GGMLQuantizationType[kind]
        if kind in ("F32", "F16"):
            writer.add_tensor(name, values.astype(np.float32 if kind == "F32" else np.float16))
        else:
            writer.add_tensor(name, quantize_rows(values, number), raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def checked(folder: Path, ours: Tensors, theirs: Tensors) -> float:
    one, other = written(folder / "ours.gguf", ours), written(folder / "f16.gguf", theirs)
    return check_rounding(one, read_header(one), other, read_header(other))


def drawn(kind: str = "normal") -> np.ndarray:
    rng = np.random.default_rng(0)
    values = {"normal": rng.normal(0, 0.02, (70, 512)), "heavy": rng.standard_t(3, (70, 512)) * 0.02}[kind]
    return values.astype(np.float32)


@pytest.mark.parametrize("weights", ["normal", "heavy"])
@pytest.mark.parametrize("kind", KINDS)
def test_honest_rounding_of_every_type_passes(tmp_path: Path, kind: str, weights: str) -> None:
    values = drawn(weights)
    error = checked(tmp_path, {"a.weight": (values, kind)}, {"a.weight": (values, "F16")})
    size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    assert error < 5 * 2 ** (-8 * size[1] / size[0]) + 2e-3


@pytest.mark.parametrize("kind", KINDS)
def test_rows_in_another_place_do_not(tmp_path: Path, kind: str) -> None:
    values = drawn()
    with pytest.raises(
        ReleaseError, match=r"b\.weight of ours\.gguf is 1\d\d\.\d% off the F16 file's, which \d+\.\d\d bits"
    ):
        checked(
            tmp_path,
            {"a.weight": (values, kind), "b.weight": (np.roll(values, 1, axis=0), kind)},
            {"a.weight": (values, "F16"), "b.weight": (values, "F16")},
        )


def test_a_norm_that_changed_and_tensors_that_are_missing_are_told(tmp_path: Path) -> None:
    norm, matrix = np.ones(512, np.float32), drawn()
    both: Tensors = {"norm": (norm, "F32"), "a": (matrix, "F16")}
    assert checked(tmp_path, both, both) == 0
    with pytest.raises(ReleaseError, match=r"norm of ours\.gguf is 10\.0% off"):
        checked(tmp_path, {"norm": (norm * np.float32(1.1), "F32"), "a": (matrix, "F16")}, both)
    for other in ({"norm": (norm, "F32")}, {"norm": (norm, "F32"), "a": (matrix[:-1], "F16")}):
        with pytest.raises(ReleaseError, match="has other tensors than the F16 file: a"):
            checked(tmp_path, other, both)


def test_bits(tmp_path: Path) -> None:
    path = written(tmp_path / "x.gguf", {"a": (drawn(), "Q8_0"), "b": (drawn(), "Q4_0"), "c": (drawn()[0], "F32")})
    header = read_header(path)
    assert coarsest(header) == 4.5
    assert bits_per_weight(header) == pytest.approx((70 * 512 * (8.5 + 4.5) + 512 * 32) / (141 * 512))
