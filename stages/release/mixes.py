"""Named mixes of tensor types: which ggml type `llama-quantize` gives each tensor of a model. Pure, without files.

The rules are those of llama.cpp (github.com/ggml-org/llama.cpp, src/llama-quant.cpp) for models without experts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from stages.release.architectures import POSITIONS

FAMILIES = ("llama", "qwen3", "gpt2")  # those whose mixes are known to be llama-quantize's

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class _Place:
    """Where a matrix sits in its model."""

    layer: int
    n_layers: int
    sharing: int  # query heads to one key/value head
    importance: bool  # whether the importance of columns is known


_Rule = tuple[str, Callable[[_Place], bool]]


def _always(_: _Place) -> bool:
    return True


def _first(count: int) -> Callable[[_Place], bool]:
    return lambda place: place.layer < count


def _part(divisor: int) -> Callable[[_Place], bool]:
    return lambda place: place.layer < place.n_layers // divisor


def _spread(place: _Place) -> bool:
    """First and last eighth of the layers, and each third between."""
    eighth = place.n_layers // 8
    return place.layer < eighth or place.layer >= 7 * place.n_layers // 8 or (place.layer - eighth) % 3 == 2


def _shared(place: _Place) -> bool:
    return place.sharing >= 4


def _measured_start(place: _Place) -> bool:
    return place.importance and _part(8)(place)


def _unmeasured_start(place: _Place) -> bool:
    return not place.importance and _part(8)(place)


@dataclass(frozen=True)
class Quant:
    """A named mix: the type of most matrices, and of three kinds those rules that say otherwise (the first counts)."""

    file_type: int  # general.file_type of the GGUF (llama_ftype in llama.h)
    matrix: str
    attn_v: tuple[_Rule, ...] = ()  # and attn_qkv
    ffn_down: tuple[_Rule, ...] = ()
    attn_output: tuple[_Rule, ...] = ()

    @property
    def output(self) -> str:
        """Type of the output matrix, or of the embedding that stands in for it."""
        return self.matrix if self.matrix in ("F32", "F16", "BF16", "Q8_0") else "Q6_K"


_FINER = (("Q6_K", _spread),)
QUANTS: Mapping[str, Quant] = MappingProxyType(
    {
        "f32": Quant(0, "F32"),
        "f16": Quant(1, "F16"),
        "bf16": Quant(32, "BF16"),
        "q8_0": Quant(7, "Q8_0"),
        "q6_k": Quant(18, "Q6_K"),
        "q5_k_m": Quant(17, "Q5_K", attn_v=_FINER, ffn_down=_FINER),
        "q5_k_s": Quant(16, "Q5_K"),
        "q4_k_m": Quant(15, "Q4_K", attn_v=_FINER, ffn_down=_FINER),
        "q4_k_s": Quant(14, "Q4_K", attn_v=(("Q5_K", _first(4)),), ffn_down=(("Q5_K", _part(8)),)),
        "q4_0": Quant(2, "Q4_0", ffn_down=(("Q4_1", _measured_start),)),
        "q3_k_m": Quant(
            12,
            "Q3_K",
            attn_v=(("Q5_K", _first(2)), ("Q4_K", _always)),
            ffn_down=(("Q5_K", _part(16)), ("Q4_K", _always)),
            attn_output=(("Q4_K", _always),),
        ),
        "q2_k": Quant(
            10,
            "Q2_K",
            attn_v=(("Q4_K", _shared), ("Q3_K", _always)),
            ffn_down=(("Q3_K", _always),),
            attn_output=(("Q3_K", _always),),
        ),
        "iq4_xs": Quant(30, "IQ4_XS", attn_v=(("Q5_K", _shared),), ffn_down=(("Q5_K", _unmeasured_start),)),
    }
)

# A K-quant packs 256 values of a row. Rows that are no multiple of it take a type that packs 32.
_SMALLER_BLOCKS = {
    "Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0", "IQ4_XS": "IQ4_NL"
}  # fmt: skip
_UNPACKED = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class Fallback:
    """A tensor that could not have the type its mix asks for."""

    wanted: str
    used: str


def known(quant: str) -> Quant:
    """The mix called `quant`. Raises ValueError, naming all of them, for a name that is none."""
    try:
        return QUANTS[quant]
    except KeyError:
        raise ValueError(f"unknown quantisation {quant!r}; known: {', '.join(QUANTS)}") from None


def tensor_types(
    shapes: Shapes,
    quant: str,
    *,
    architecture: str = "llama",
    n_heads: int,
    n_kv_heads: int,
    importance: bool = False,
) -> dict[str, str]:
    """The ggml type that each tensor gets.

    `shapes` is {name: (rows, columns)} with the names of a GGUF, all tensors of the model; `importance` says whether
    an importance matrix is used, which some mixes trust with fewer bits. Raises ValueError for an unknown `quant` or
    `architecture`.
    """
    wanted = _wanted(shapes, known(quant), architecture, n_heads, n_kv_heads, importance)
    return {name: fitting(kind, shapes[name][-1]) for name, kind in wanted.items()}


def fallbacks(
    shapes: Shapes,
    quant: str,
    *,
    architecture: str = "llama",
    n_heads: int,
    n_kv_heads: int,
    importance: bool = False,
) -> dict[str, Fallback]:
    """The tensors whose rows do not fit the type that the mix has for them; arguments as in `tensor_types`."""
    wanted = _wanted(shapes, known(quant), architecture, n_heads, n_kv_heads, importance)
    used = {name: fitting(kind, shapes[name][-1]) for name, kind in wanted.items()}
    return {name: Fallback(wanted[name], used[name]) for name in wanted if wanted[name] != used[name]}


def block(kind: str) -> int:
    """How many values of a row the ggml type `kind` packs together."""
    return 1 if kind in _UNPACKED else 256 if kind in _SMALLER_BLOCKS else 32


def fitting(kind: str, columns: int) -> str:
    """`kind`, or what stands in for it where rows of `columns` values do not fill its blocks."""
    if columns % block(kind):
        kind = _SMALLER_BLOCKS.get(kind, kind)
    return "F16" if columns % block(kind) else kind


def awkward(widths: Mapping[str, int], quants: Iterable[str]) -> dict[str, int]:
    """Those of a model's row widths that make tensors of `quants` fall back, with the nearest width that does not.

    `widths` are numbers of columns under any names, say d_model, n_heads x head_dim and d_ff; "d_model" is that of the
    embedding. Raises ValueError for an unknown quantisation.
    """
    mixes = [known(quant) for quant in quants]
    nearest = {}
    for name, width in widths.items():
        unit = max((block(mix.output if name == "d_model" else mix.matrix) for mix in mixes), default=1)
        if width % unit:
            nearest[name] = max(1, (width + unit // 2) // unit) * unit
    return nearest


def _wanted(
    shapes: Shapes, mix: Quant, architecture: str, n_heads: int, n_kv_heads: int, importance: bool
) -> dict[str, str]:
    """The mix before anything is known of row lengths: {name: type}."""
    if architecture not in FAMILIES:
        raise ValueError(f"architecture {architecture!r}; mixes are known for {', '.join(FAMILIES)}")
    n_layers = sum(name.endswith(".ffn_down.weight") for name in shapes)
    last = "output.weight" if "output.weight" in shapes else "token_embd.weight"
    wanted = {}
    for name, shape in shapes.items():
        if len(shape) == 1 or name == POSITIONS:
            wanted[name] = "F32"
        elif name == last:
            wanted[name] = mix.output
        elif part := re.fullmatch(r"blk\.(\d+)\.(attn_v|attn_qkv|ffn_down|attn_output)\.weight", name):
            place = _Place(int(part[1]), n_layers, n_heads // n_kv_heads, importance)
            rules: tuple[_Rule, ...] = getattr(mix, "attn_v" if part[2] == "attn_qkv" else part[2])
            wanted[name] = next((kind for kind, holds in rules if holds(place)), mix.matrix)
        else:
            wanted[name] = mix.matrix
    return wanted
