"""Safetensors read and written by us, beside the library's own; and what is damaged is named, never believed."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save, save_file

from stages.release.errors import ReleaseError
from stages.release.tensorfile import TensorFile, write_tensors

VALUES = {"a.weight": torch.arange(12.0).reshape(3, 4) / 7, "b": torch.tensor([1e-3, -2.5]), "empty": torch.zeros(0, 4)}
ALL = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(head: Any, data: bytes) -> bytes:
    told = json.dumps(head).encode()
    return struct.pack("<Q", len(told)) + told + data


@pytest.mark.parametrize("dtype", ALL.values(), ids=ALL)
def test_a_file_of_the_library_is_read_as_it_reads_it(tmp_path: Path, dtype: torch.dtype) -> None:
    save_file({name: value.to(dtype) for name, value in VALUES.items()}, tmp_path / "x", metadata={"format": "pt"})
    file = TensorFile(tmp_path / "x")
    theirs = load_file(tmp_path / "x")
    assert file.shape == {name: tuple(value.shape) for name, value in theirs.items()}
    for name, value in theirs.items():
        ours = file.read(name)
        assert ours.dtype == np.float32 and np.array_equal(ours, value.float().numpy())


def test_a_file_of_ours_is_read_by_the_library(tmp_path: Path) -> None:
    arrays = {name: value.numpy() for name, value in VALUES.items()}
    arrays["turned"] = arrays["a.weight"].T
    write_tensors(tmp_path / "x", {name: array.shape for name, array in arrays.items()}, iter(arrays.values()))
    theirs = load_file(tmp_path / "x")
    assert theirs.keys() == arrays.keys()
    assert all(np.array_equal(theirs[name].numpy(), array) for name, array in arrays.items())
    head, _ = split((tmp_path / "x").read_bytes())
    assert head["__metadata__"] == {"format": "pt"}


@pytest.mark.parametrize("wrong", [np.zeros((2, 2), np.float32), np.zeros((1, 2), np.float64)])
def test_a_tensor_of_another_shape_is_not_written(tmp_path: Path, wrong: np.ndarray[Any, Any]) -> None:
    with pytest.raises(ValueError, match="a is"):
        write_tensors(tmp_path / "x", {"a": (1, 2)}, [wrong])
    with pytest.raises(ValueError, match="zip"):
        write_tensors(tmp_path / "x", {"a": (1, 2)}, [])


def test_a_file_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    data, path = save(VALUES), tmp_path / "x.safetensors"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ReleaseError, match=r"x\.safetensors: .*(cut short|no safetensors)"):
            TensorFile(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(ReleaseError, match=f"too long: {len(data) + 1} of {len(data)} bytes"):
        TensorFile(path)
    path.unlink()
    with pytest.raises(ReleaseError, match=r"x\.safetensors: No such file"):
        TensorFile(path)


HEAD, DATA = split(save(VALUES))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda head: head["b"].pop("dtype"), "head is damaged"),
        (lambda head: head["b"].update(dtype=4), "head is damaged"),
        (lambda head: head["b"].update(shape=2), "head is damaged"),
        (lambda head: head["b"].update(shape=[2.0]), "head is damaged"),
        (lambda head: head["b"].update(shape=[-2]), "head is damaged"),
        (lambda head: head["b"].update(shape=[3]), "b does not lie where its shape says"),
        (lambda head: head["b"].update(shape=[2**62, 2**62]), "b does not lie where its shape says"),
        (lambda head: head["b"].update(data_offsets=[0]), "head is damaged"),
        (lambda head: head["b"].update(data_offsets=[8, 0]), "does not lie where its shape says"),
        (lambda head: head["b"].update(data_offsets=[0, 8]), "does not lie where its shape says"),
        (lambda head: head.update(c=dict(head["b"], data_offsets=[56, 64])), "cut short: .* of .* bytes"),
        (lambda head: head.update(b=None), "head is damaged"),
    ],
)
def test_a_head_that_is_not_true_is_refused(tmp_path: Path, change: Callable[[Any], Any], told: str) -> None:
    head = json.loads(json.dumps(HEAD))
    change(head)
    (tmp_path / "x").write_bytes(joined(head, DATA))
    with pytest.raises(ReleaseError, match=f"x: .*{told}"):
        TensorFile(tmp_path / "x")


@pytest.mark.parametrize("head", [[], "x", 1, None, {"a": []}])
def test_a_head_that_is_none_is_refused(tmp_path: Path, head: Any) -> None:
    (tmp_path / "x").write_bytes(joined(head, DATA))
    with pytest.raises(ReleaseError, match="head is damaged"):
        TensorFile(tmp_path / "x")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_damage_ends_in_an_error_that_names_the_file(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Or in values: damage within the numbers can only be found where they are none."""
    whole = bytearray(save(VALUES))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    path.write_bytes(whole)
    try:
        file = TensorFile(path)
        assert all(np.isfinite(file.read(name)).all() for name in file.shape)
    except ReleaseError as error:
        assert "damaged.safetensors" in str(error)


def test_types_and_values_that_no_weight_has_are_refused(tmp_path: Path) -> None:
    spoilt = {kind: torch.tensor([[0.0, value]], dtype=dtype) for value in (float("nan"), float("-inf"))
              for kind, dtype in ALL.items()}  # fmt: skip
    save_file({**spoilt, "long": torch.arange(3), "double": torch.zeros(2, dtype=torch.float64)}, tmp_path / "x")
    file = TensorFile(tmp_path / "x")
    for kind in ALL:
        with pytest.raises(ReleaseError, match=f"x: {kind} has values that are not finite"):
            file.read(kind)
    for name, kind in {"long": "I64", "double": "F64"}.items():
        with pytest.raises(ReleaseError, match=f"{name} is of type {kind}; read are F32, F16, BF16"):
            file.read(name)


def test_a_file_that_shrinks_while_it_is_read_is_found(tmp_path: Path) -> None:
    save_file(VALUES, tmp_path / "x")
    file = TensorFile(tmp_path / "x")
    with (tmp_path / "x").open("r+b") as opened:
        opened.truncate(file.path.stat().st_size - 4)
    with pytest.raises(ReleaseError, match=r"cut short|cannot be read"):
        for name in file.shape:
            file.read(name)
