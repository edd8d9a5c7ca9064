"""The head of a GGUF, against gguf's own writer and reader; damaged ones are refused and never believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.release.errors import ReleaseError
from stages.release.header import header_bytes, nbytes, packed, padded, read_header


def write(path: Path) -> Path:
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    writer.add_name("ein Müller ▁")
    writer.add_uint32("some.number", 2**32 - 1)
    writer.add_uint64("some.long", 2**63)
    writer.add_float32("some.fraction", 0.5)
    writer.add_float64("some.double", -0.5)
    writer.add_int8("some.byte", -3)
    writer.add_bool("some.truth", True)
    writer.add_array("some.texts", ["", "a", "ä" * 40])
    writer.add_array("some.numbers", [1, 2, 3])
    writer.add_array("some.floats", [0.25, 3.5])
    writer.add_tensor("vector", np.arange(3, dtype=np.float32))
    writer.add_tensor("matrix", np.arange(10, dtype=np.float16).reshape(2, 5))
    writer.add_tensor("last", np.ones((1, 2), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_all_is_where_gguf_s_own_reader_finds_it(tmp_path: Path) -> None:
    from gguf import GGUFReader

    path = write(tmp_path / "a.gguf")
    header, reader = read_header(path), GGUFReader(path)
    fields = {name: field for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert list(header.keys) == list(fields)
    for name, field in fields.items():
        start = field.offset + 8 + len(name)  # after the name and its length
        assert header.keys[name] == path.read_bytes()[start : start + len(header.keys[name])]
    assert (header.text("general.name"), header.number("some.number")) == ("ein Müller ▁", 2**32 - 1)
    found = {tensor.name: (tensor.shape, tensor.kind, tensor.offset) for tensor in header.tensors}
    assert found == {
        each.name: (tuple(each.shape.tolist()[::-1]), each.tensor_type.name, each.data_offset)
        for each in reader.tensors
    }


def test_what_is_written_again_is_the_same_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf")
    header = read_header(path)
    again = header_bytes(header.keys, [(each.name, each.shape, each.kind) for each in header.tensors])
    assert path.read_bytes().startswith(again) and len(again) == header.tensors[0].offset
    assert packed("ein Müller ▁") == header.keys["general.name"] and packed(2**32 - 1) == header.keys["some.number"]


def test_keys_that_are_missing_or_of_another_type(tmp_path: Path) -> None:
    header = read_header(write(tmp_path / "a.gguf"))
    for key in ("some.gone", "some.number"):
        with pytest.raises(KeyError, match=key):
            header.text(key)
    for key in ("some.gone", "general.name", "some.long"):
        with pytest.raises(KeyError, match=key):
            header.number(key)


def test_sizes_by_hand() -> None:
    # Bits per value of the formats: Q4_K 4.5, Q6_K 6.5625, Q8_0 8.5, IQ4_XS 4.25.
    assert nbytes("F16", (3, 5)) == 30 and nbytes("F32", (7,)) == 28
    assert nbytes("Q4_K", (2, 512)) == 1024 * 4.5 / 8 and nbytes("Q6_K", (1, 256)) == 256 * 6.5625 / 8
    assert nbytes("Q8_0", (2, 32)) == 64 * 8.5 / 8 and nbytes("IQ4_XS", (1, 256)) == 256 * 4.25 / 8
    with pytest.raises(ValueError, match="rows of 100 do not fill the blocks of 256 of Q4_K"):
        nbytes("Q4_K", (4, 100))
    assert [padded(size) for size in (0, 1, 32, 33)] == [0, 32, 32, 64]


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.gguf").read_bytes()
    end = max(tensor.end for tensor in read_header(tmp_path / "a.gguf").tensors)
    cut = tmp_path / "cut.gguf"
    for size in range(0, end, 7):
        cut.write_bytes(whole[:size])
        with pytest.raises(ReleaseError, match="not a readable GGUF"):
            read_header(cut)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_ends_in_no_other_error(data: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    whole = bytearray(write(path).read_bytes()) if not path.exists() else bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        size = data.draw(st.sampled_from([1, 4, 8]))
        whole[place : place + size] = data.draw(st.binary(min_size=size, max_size=size))
    (tmp_path / "b.gguf").write_bytes(whole)
    try:
        header = read_header(tmp_path / "b.gguf")
    except ReleaseError:
        return
    assert all(tensor.end <= len(whole) for tensor in header.tensors)


def test_another_alignment_is_refused(tmp_path: Path) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_custom_alignment(64)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ReleaseError, match="not aligned to 32 bytes"):
        read_header(tmp_path / "a.gguf")


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1), (0, 32), (32, 0)])
def test_shapes_that_ggml_does_not_have_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(header_bytes({}, [("a", shape, "F32")]) + bytes(32))
    with pytest.raises(ReleaseError, match="a has shape"):
        read_header(tmp_path / "a.gguf")
