"""Which type each tensor gets, against tables made by hand from llama.cpp's rules and what `llama-quantize` printed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.release.architectures import Shape, tensors
from stages.release.mixes import QUANTS, Fallback, awkward, block, fallbacks, fitting, known, tensor_types

HEADS: dict[str, Any] = {"n_heads": 8, "n_kv_heads": 8}


def make_shapes(architecture: str = "llama", **sizes: Any) -> dict[str, tuple[int, ...]]:
    defaults: dict[str, Any] = dict(
        vocab_size=300, d_model=256, n_layers=2, n_heads=8, n_kv_heads=8, head_dim=32, d_ff=512,
        context_length=64, norm_eps=1e-5, rope_theta=None if architecture == "gpt2" else 1e4, tied=True,
    )  # fmt: skip
    layout = tensors(Shape(architecture=architecture, **(defaults | sizes)))
    return {name: tensor.shape for name, tensor in layout.items()}


def layers_of(types: dict[str, str], part: str) -> str:
    """The types of one matrix of all layers, a character each: K-quants by their digit, x IQ4_XS, | Q4_0, + Q4_1."""
    letters = {"IQ4_XS": "x", "Q4_0": "|", "Q4_1": "+"} | {f"Q{bits}_K": str(bits) for bits in (2, 3, 4, 5, 6)}
    n_layers = sum(name.endswith("ffn_down.weight") for name in types)
    return "".join(letters[types[f"blk.{layer}.{part}.weight"]] for layer in range(n_layers))


# 17 layers: n // 8 is 2, 7 n // 8 is 14, n // 16 is 1; (layer - 2) % 3 is 2 for 4, 7, 10, 13.
SPREAD4, SPREAD5 = "66446446446446666", "66556556556556666"
TABLE = [
    # quant, query heads to a key/value head, importance, attn_v, ffn_down, attn_output
    ("q6_k", 1, False, "6" * 17, "6" * 17, "6" * 17),
    ("q5_k_m", 1, False, SPREAD5, SPREAD5, "5" * 17),
    ("q5_k_s", 4, True, "5" * 17, "5" * 17, "5" * 17),
    ("q4_k_m", 1, False, SPREAD4, SPREAD4, "4" * 17),
    ("q4_k_m", 8, True, SPREAD4, SPREAD4, "4" * 17),
    ("q4_k_s", 2, False, "5555" + "4" * 13, "55" + "4" * 15, "4" * 17),
    ("q4_k_s", 2, True, "5555" + "4" * 13, "55" + "4" * 15, "4" * 17),
    ("q4_0", 1, False, "|" * 17, "|" * 17, "|" * 17),
    ("q4_0", 1, True, "|" * 17, "++" + "|" * 15, "|" * 17),
    ("q3_k_m", 8, False, "55" + "4" * 15, "5" + "4" * 16, "4" * 17),
    ("q2_k", 1, False, "3" * 17, "3" * 17, "3" * 17),
    ("q2_k", 2, True, "3" * 17, "3" * 17, "3" * 17),
    ("q2_k", 4, False, "4" * 17, "3" * 17, "3" * 17),
    ("iq4_xs", 2, False, "x" * 17, "55" + "x" * 15, "x" * 17),
    ("iq4_xs", 2, True, "x" * 17, "x" * 17, "x" * 17),
    ("iq4_xs", 4, True, "5" * 17, "x" * 17, "x" * 17),
]


@pytest.mark.parametrize(("quant", "sharing", "importance", "attn_v", "ffn_down", "attn_output"), TABLE)
def test_the_layers_that_a_mix_keeps_finer(
    quant: str, sharing: int, importance: bool, attn_v: str, ffn_down: str, attn_output: str
) -> None:
    shapes = make_shapes(n_layers=17, n_kv_heads=8 // sharing, head_dim=256)
    types = tensor_types(shapes, quant, n_heads=8, n_kv_heads=8 // sharing, importance=importance)
    assert layers_of(types, "attn_v") == attn_v
    assert layers_of(types, "ffn_down") == ffn_down
    assert layers_of(types, "attn_output") == attn_output
    rest = {types[f"blk.{layer}.{part}.weight"] for layer in range(17) for part in ("attn_q", "attn_k", "ffn_up")}
    assert rest == {QUANTS[quant].matrix}
    assert types["token_embd.weight"] == "Q6_K"
    assert {types[name] for name, shape in shapes.items() if len(shape) == 1} == {"F32"}


@pytest.mark.parametrize(
    ("n_layers", "expected"), [(1, "6"), (2, "46"), (6, "446446"), (8, "64464466"), (9, "644644666")]
)
def test_few_layers_are_spread_by_the_same_rule(n_layers: int, expected: str) -> None:
    types = tensor_types(make_shapes(n_layers=n_layers), "q4_k_m", **HEADS)
    assert layers_of(types, "attn_v") == layers_of(types, "ffn_down") == expected


@pytest.mark.parametrize("quant", QUANTS)
def test_an_output_matrix_takes_the_embedding_s_part(quant: str) -> None:
    most = {"q5_k_m": "Q5_K", "q5_k_s": "Q5_K", "q4_k_m": "Q4_K", "q4_k_s": "Q4_K", "q3_k_m": "Q3_K"}
    finest = {name: name.upper() for name in ("f32", "f16", "bf16", "q8_0")}
    types = tensor_types(make_shapes(tied=False), quant, **HEADS)
    assert types["output.weight"] == finest.get(quant, "Q6_K")
    assert types["token_embd.weight"] == most.get(quant, quant.upper())
    assert tensor_types(make_shapes(), quant, **HEADS)["token_embd.weight"] == finest.get(quant, "Q6_K")


@pytest.mark.parametrize(
    ("quant", "expected"),
    [("q4_k_m", "644644666"), ("q5_k_m", "655655666"), ("q4_k_s", "555544444"), ("q3_k_m", "554444444")],
)
def test_the_fused_matrix_of_gpt2_counts_as_attn_v(quant: str, expected: str) -> None:
    types = tensor_types(make_shapes("gpt2", n_layers=9), quant, architecture="gpt2", **HEADS)
    assert layers_of(types, "attn_qkv") == expected
    assert types["position_embd.weight"] == types["output_norm.bias"] == types["blk.3.ffn_up.bias"] == "F32"
    assert types["token_embd.weight"] == "Q6_K"


def test_fallbacks_by_hand() -> None:
    shapes = make_shapes(n_layers=1, d_model=192, head_dim=24, d_ff=200)
    assert fallbacks(shapes, "q4_k_m", **HEADS) == {
        "token_embd.weight": Fallback("Q6_K", "Q8_0"),
        "blk.0.attn_v.weight": Fallback("Q6_K", "Q8_0"),
        **{f"blk.0.{part}.weight": Fallback("Q4_K", "Q5_0") for part in ("attn_q", "attn_k", "attn_output")},
        **{f"blk.0.{part}.weight": Fallback("Q4_K", "Q5_0") for part in ("ffn_gate", "ffn_up")},
        "blk.0.ffn_down.weight": Fallback("Q6_K", "F16"),
    }
    assert fallbacks(shapes, "q8_0", **HEADS) == {"blk.0.ffn_down.weight": Fallback("Q8_0", "F16")}
    assert fallbacks(shapes, "q4_0", **HEADS).keys() == {"token_embd.weight", "blk.0.ffn_down.weight"}
    assert not any(fallbacks(shapes, quant, **HEADS) for quant in ("f32", "f16", "bf16"))
    assert not any(fallbacks(make_shapes(n_layers=9), quant, **HEADS) for quant in QUANTS)


def test_positions_never_fall_back() -> None:
    shapes = make_shapes("gpt2", n_layers=1, d_model=100, d_ff=400, tied=False)
    fallen = fallbacks(shapes, "q4_k_m", architecture="gpt2", **HEADS)
    assert {name: fallback.used for name, fallback in fallen.items()} == {
        name: "F16" for name, shape in shapes.items() if len(shape) == 2 and name != "position_embd.weight"
    }


@pytest.mark.parametrize(
    ("kind", "multiple_of_32"),
    [
        ("Q2_K", "Q4_0"), ("Q3_K", "Q4_0"), ("Q4_K", "Q5_0"), ("Q5_K", "Q5_1"), ("Q6_K", "Q8_0"), ("IQ4_XS", "IQ4_NL"),
        ("Q8_0", "Q8_0"), ("Q4_0", "Q4_0"), ("Q4_1", "Q4_1"), ("F16", "F16"), ("F32", "F32"),
    ],
)  # fmt: skip
def test_rows_that_do_not_fill_a_block(kind: str, multiple_of_32: str) -> None:
    assert fitting(kind, 512) == kind
    assert fitting(kind, 96) == multiple_of_32
    assert fitting(kind, 100) == (kind if kind.startswith("F") else "F16")


def test_blocks_are_those_of_gguf() -> None:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    for kind in ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K", "Q4_0", "Q4_1", "Q5_0", "Q5_1",
                 "IQ4_XS", "IQ4_NL"):  # fmt: skip
        assert block(kind) == GGML_QUANT_SIZES[GGMLQuantizationType[kind]][0]


def test_file_types_are_those_of_gguf() -> None:
    from gguf import LlamaFileType

    for name, quant in QUANTS.items():
        assert LlamaFileType(quant.file_type).name == ("ALL_F32" if name == "f32" else f"MOSTLY_{name.upper()}")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown quantisation 'q4_k_x'; known: f32, f16, bf16, q8_0, .*, iq4_xs"):
        known("q4_k_x")
    with pytest.raises(ValueError, match="architecture 'bert'; mixes are known for llama, qwen3, gpt2"):
        tensor_types(make_shapes(), "q4_k_m", architecture="bert", **HEADS)


def test_awkward_widths_by_hand() -> None:
    widths = {"d_model": 384, "n_heads x head_dim": 256, "d_ff": 1000, "tiny": 16}
    assert awkward(widths, ["q8_0", "q4_k_m"]) == {"d_model": 512, "d_ff": 1024, "tiny": 256}
    assert awkward(widths, ["iq4_xs"]) == {"d_model": 512, "d_ff": 1024, "tiny": 256}
    assert awkward(widths, ["q8_0"]) == {"d_ff": 992, "tiny": 32}
    assert awkward(widths, ["q4_0"]) == {"d_model": 512, "d_ff": 992, "tiny": 32}  # its embedding is Q6_K
    assert awkward(widths, ["f16", "bf16", "f32"]) == awkward(widths, []) == {}


@given(
    st.integers(1, 40), st.integers(1, 2500), st.integers(1, 700), st.sets(st.sampled_from(list(QUANTS)), min_size=1)
)
def test_awkward_names_the_widths_of_the_tensors_that_fall_back(
    d_model: int, d_ff: int, inner: int, quants: set[str]
) -> None:
    widths = {"d_model": 32 * d_model, "heads": 2 * inner, "d_ff": d_ff}

    def fall(widths: dict[str, int]) -> set[str]:
        shapes = make_shapes(
            d_model=widths["d_model"], d_ff=widths["d_ff"], n_heads=1, n_kv_heads=1, head_dim=widths["heads"]
        )
        fallen = {name for quant in quants for name in fallbacks(shapes, quant, n_heads=1, n_kv_heads=1)}
        rows = {"token_embd": "d_model", "attn_q": "d_model", "attn_output": "heads", "ffn_down": "d_ff"}
        return {width for part, width in rows.items() if any(part in name for name in fallen)}

    better = awkward(widths, quants)
    assert better.keys() == fall(widths)
    assert fall(widths | better) == set()
