"""The importance of a matrix's columns: how large the numbers are that enter it, over a text.

A quantiser that weighs each column's error by it keeps the outputs closer than one that treats all alike. The file is
llama.cpp's (github.com/ggml-org/llama.cpp, tools/imatrix): a GGUF with sums and counts for each matrix.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.hardware import usable_cores
from stages.release.architectures import POSITIONS, Tensor, read_config, tensors
from stages.release.errors import ReleaseError
from stages.release.folder import replacing

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Advance = Callable[[float], Any]
Windows = Sequence[Sequence[int]]
_SUMS, _COUNTS = ".in_sum2", ".counts"
_DATASETS, _CHUNKS, _CHUNK_SIZE = "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"


@dataclass(frozen=True)
class Squares:
    """What entered the matrices of a model over some windows of a text."""

    sums: Mapping[str, NDArray[np.float32]]  # of squares, (columns,), by the matrix's name in a GGUF
    tokens: int  # in all windows
    windows: int
    longest: int  # tokens of the longest window

    @property
    def columns(self) -> dict[str, NDArray[np.float32]]:
        """Mean square of each column's input by the name of the matrix, as llama-quantize computes it from the file."""
        return {name: _mean(sums, self.tokens) for name, sums in self.sums.items()}


def collect(huggingface: Path, windows: Windows, advance: Advance = lambda share: None) -> Squares:
    """Run transformers' model in the folder `huggingface` over `windows` of token ids and note what enters each matrix.

    The matrix that gives the logits is among them; where it is the embedding, too, it goes by that name, and that
    half of its work counts. An embedding of its own has no inputs. `advance` gets shares that add up to 1. Raises
    ReleaseError where there are no windows or an input is not finite.
    """
    import torch

    if not windows:
        raise ReleaseError(f"{huggingface}: no text to measure importance with")
    model, layout = load_model(huggingface), matrices(huggingface)
    noted = threading.local()  # what the window has given that a thread is at
    sums: dict[str, torch.Tensor] = {}

    def noting(name: str) -> Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], None]:
        def note(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            noted.squares[name] = inputs[0].detach().flatten(0, -2).double().square().sum(0)

        return note

    def read(window: Sequence[int]) -> dict[str, torch.Tensor]:
        noted.squares = {}
        with torch.inference_mode():
            model(torch.tensor([list(window)]), use_cache=False)
        return dict(noted.squares)

    for name, module in _readers(model, layout).items():
        module.register_forward_pre_hook(noting(name))
    with torch_threads(1), ThreadPoolExecutor(usable_cores()) as pool:
        for squares in pool.map(read, windows):  # in order, so that sums do not depend on who was first
            for name, found in squares.items():
                sums[name] = sums[name] + found if name in sums else found
            advance(1 / len(windows))
    for name, found in sums.items():
        if not found.isfinite().all():
            raise ReleaseError(f"{huggingface}: what enters {layout[name].source} is not finite")
    lengths = [len(window) for window in windows]
    return Squares({name: sums[name].float().numpy() for name in sums}, sum(lengths), len(lengths), max(lengths))


def write_imatrix(path: Path, squares: Squares, *, dataset: str) -> None:
    """Write the file that `llama-quantize --imatrix` reads; `dataset` says what text it was made with."""
    from gguf import GGUFWriter

    with replacing(path) as partial:
        writer = GGUFWriter(partial, "imatrix")
        try:
            writer.kv_data[0].pop("general.architecture")  # it is no model, and llama-imatrix writes none
            writer.add_type("imatrix")
            writer.add_array(_DATASETS, [dataset])
            writer.add_uint32(_CHUNKS, squares.windows)
            writer.add_uint32(_CHUNK_SIZE, squares.longest)
            for name, sums in sorted(squares.sums.items()):
                writer.add_tensor(f"{name}{_SUMS}", np.asarray(sums, dtype=np.float32))
                writer.add_tensor(f"{name}{_COUNTS}", np.array([squares.tokens], dtype=np.float32))
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()


def read_imatrix(path: Path) -> dict[str, NDArray[np.float32]]:
    """{name of a matrix: mean square of each column's input (columns,)}, as llama-quantize computes it.

    Raises ReleaseError for a file that llama-quantize would refuse, and for the older format without GGUF.
    """
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        found = {tensor.name: np.array(tensor.data, dtype=np.float32) for tensor in reader.tensors}
    except (OSError, ValueError, LookupError) as error:
        raise ReleaseError(
            f"{path}: not an importance matrix in GGUF: {error}", hint="llama-imatrix --output-format gguf writes one"
        ) from None
    if missing := [key for key in (_DATASETS, _CHUNKS, _CHUNK_SIZE) if key not in reader.fields]:
        raise ReleaseError(f"{path}: not an importance matrix: no key {', '.join(missing)}")
    means = {}
    for name in (name.removesuffix(_SUMS) for name in found if name.endswith(_SUMS)):
        sums, counts = found[f"{name}{_SUMS}"], found.get(f"{name}{_COUNTS}")
        if counts is None or counts.size != 1:
            raise ReleaseError(f"{path}: {name} has no single count")
        means[name] = _mean(sums.reshape(-1), float(counts.item()))
        if not np.isfinite(means[name]).all():
            raise ReleaseError(f"{path}: {name} has values that are not finite")
    if not means:
        raise ReleaseError(f"{path}: an importance matrix without entries")
    return means


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use so many threads for one operation: they wait for each other after every small matrix.

    On two busy cores, two threads took twenty times as long as one.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def load_model(huggingface: Path) -> PreTrainedModel:
    """transformers' model of a folder in float32 on the CPU, its parameters without gradients."""
    import torch
    from transformers import AutoModelForCausalLM

    quiet_transformers()
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(huggingface, dtype=torch.float32)
    return model.eval().requires_grad_(False)


def quiet_transformers() -> None:
    """No progress bars and no advice from transformers among our own lines."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def matrices(huggingface: Path) -> dict[str, Tensor]:
    """The tensors of the model's GGUF that are quantised, by name."""
    layout = tensors(read_config(huggingface))
    return {name: tensor for name, tensor in layout.items() if len(tensor.shape) == 2 and name != POSITIONS}


def _readers(model: PreTrainedModel, layout: Mapping[str, Tensor]) -> dict[str, torch.nn.Module]:
    """The modules that multiply with the matrices, by the names of these."""
    readers = {
        name: model.get_submodule(tensor.source.removesuffix(".weight"))
        for name, tensor in layout.items()
        if name != "token_embd.weight"
    }
    if "output.weight" not in layout:
        readers["token_embd.weight"] = model.get_output_embeddings()
    return readers


def _mean(sums: NDArray[np.float32], count: float) -> NDArray[np.float32]:
    if count <= 0:  # llama-quantize then takes all columns as equal
        return np.ones_like(sums)
    return sums / np.float32(count)
