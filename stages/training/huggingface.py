"""HuggingFace's Llama, Qwen3 and GPT-2: names, layouts and configs, from ours to theirs and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError
from stages.training.shape import ModelConfig

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig

    from stages.training.networks.network import Network


@dataclass(frozen=True)
class Family:
    """An architecture of theirs.

    `names` maps our tensors to theirs, `{}` being the number of a block; where several of theirs are named, ours is
    these stacked. `prefix` is what their names lose where a model is saved without its head. `keys` maps the keys of
    their config to ours, and `ours` is what our config says besides.
    """

    architecture: str
    config: str
    prefix: str
    names: Mapping[str, tuple[str, ...]]
    keys: Mapping[str, str]
    ours: Mapping[str, Any]

    @property
    def is_gpt2(self) -> bool:
        """Matrices inside the blocks have a row for each input, positions are learned, embeddings usually tied."""
        return bool(self.ours["architecture"] == "gpt2")

    @property
    def context(self) -> str:
        """The key of their config that holds the context length."""
        return "n_positions" if self.is_gpt2 else "max_position_embeddings"


def _in_blocks(ours: str, theirs: str, names: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {ours + own: tuple(theirs + name for name in other.split()) for own, other in names.items()}


LLAMA_NAMES = {
    "embedding.weight": ("model.embed_tokens.weight",),
    "norm.weight": ("model.norm.weight",),
    "output.weight": ("lm_head.weight",),
} | _in_blocks(
    "blocks.{}.",
    "model.layers.{}.",
    {
        "attention_norm.weight": "input_layernorm.weight",
        "attention.qkv.weight": "self_attn.q_proj.weight self_attn.k_proj.weight self_attn.v_proj.weight",
        "attention.output.weight": "self_attn.o_proj.weight",
        "feed_forward_norm.weight": "post_attention_layernorm.weight",
        "feed_forward.gate_up.weight": "mlp.gate_proj.weight mlp.up_proj.weight",
        "feed_forward.down.weight": "mlp.down_proj.weight",
    },
)
QWEN3_NAMES = LLAMA_NAMES | _in_blocks(
    "blocks.{}.attention.",
    "model.layers.{}.self_attn.",
    {"q_norm.weight": "q_norm.weight", "k_norm.weight": "k_norm.weight"},
)
GPT2_NAMES = {
    "embedding.weight": ("transformer.wte.weight",),
    "positions.weight": ("transformer.wpe.weight",),
    "norm.weight": ("transformer.ln_f.weight",),
    "norm.bias": ("transformer.ln_f.bias",),
    "output.weight": ("lm_head.weight",),
} | _in_blocks(
    "blocks.{}.",
    "transformer.h.{}.",
    {
        f"{ours}.{kind}": f"{theirs}.{kind}"
        for ours, theirs in {
            "attention_norm": "ln_1",
            "attention.qkv": "attn.c_attn",
            "attention.output": "attn.c_proj",
            "feed_forward_norm": "ln_2",
            "feed_forward.up": "mlp.c_fc",
            "feed_forward.down": "mlp.c_proj",
        }.items()
        for kind in ("weight", "bias")
    },
)

LLAMA_KEYS = {
    "hidden_size": "d_model",
    "intermediate_size": "d_ff",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "num_key_value_heads": "n_kv_heads",
    "head_dim": "head_dim",
    "rms_norm_eps": "norm_eps",
    "tie_word_embeddings": "tie_embeddings",
    "initializer_range": "init_std",
}
GPT2_KEYS = {
    "n_embd": "d_model",
    "n_inner": "d_ff",
    "n_layer": "n_layers",
    "n_head": "n_heads",
    "layer_norm_epsilon": "norm_eps",
    "tie_word_embeddings": "tie_embeddings",
    "initializer_range": "init_std",
}
FAMILIES = {
    "llama": Family("LlamaForCausalLM", "LlamaConfig", "model.", LLAMA_NAMES, LLAMA_KEYS, {"architecture": "llama"}),
    "qwen3": Family(
        "Qwen3ForCausalLM", "Qwen3Config", "model.", QWEN3_NAMES, LLAMA_KEYS, {"architecture": "llama", "qk_norm": True}
    ),
    "gpt2": Family("GPT2LMHeadModel", "GPT2Config", "transformer.", GPT2_NAMES, GPT2_KEYS, {"architecture": "gpt2"}),
}
OPTIONAL = {"num_key_value_heads", "head_dim", "n_inner", "tie_word_embeddings", "initializer_range"}
BUFFERS = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")  # old files carry masks and tables along


def family_of(config: ModelConfig) -> str:
    """The key in FAMILIES of a network of ours. Raises StageError where HuggingFace has none."""
    if config.architecture == "llama":
        return "qwen3" if config.qk_norm else "llama"
    if config.architecture == "gpt2":
        return "gpt2"
    raise StageError(
        f"transformers has no architecture like {config.architecture}, so there is nothing to convert it to",
        hint="pipeline sample  speaks with the model as it is",
    )


def huggingface_config(
    config: ModelConfig, vocab_size: int, context_length: int, **token_ids: int | list[int] | None
) -> PretrainedConfig:
    """The config of the stock architecture that computes the same.

    `token_ids` are bos_token_id, eos_token_id and pad_token_id. Raises StageError where there is none.
    """
    import transformers

    family = FAMILIES[family_of(config)]
    told: dict[str, Any] = {theirs: getattr(config, ours) for theirs, ours in family.keys.items()}
    told |= {family.context: context_length, "vocab_size": vocab_size}
    if family.is_gpt2:
        told |= dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), config.dropout)
        told["n_ctx"] = context_length  # transformers has dropped it, llama.cpp's converter asks for it
    else:
        told["rope_parameters"] = {"rope_type": "default", "rope_theta": config.rope_theta}
    made: PretrainedConfig = getattr(transformers, family.config)(
        **told, architectures=[family.architecture], dtype="float32", **token_ids
    )
    return made


def huggingface_tensors(network: Network) -> dict[str, Tensor]:
    """The weights under HuggingFace's names, float32 on the CPU, a tied output matrix left out as transformers does.

    A bias that theirs has and ours has not is zero. Raises StageError where HuggingFace has no such architecture.
    """
    own = network.state_dict()
    return dict(each_huggingface_tensor(network, lambda name: own[name].detach().float().cpu()))


def each_huggingface_tensor(network: Network, read: Callable[[str], Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The same one after another, `read` giving the weights of that name; of `network` only the shapes matter."""
    import torch

    config = network.config
    family = FAMILIES[family_of(config)]
    own = network.state_dict()
    for ours, theirs in _pairs(family, config):
        whole = read(ours) if ours in own else torch.zeros(len(own[ours.replace("bias", "weight")]))
        rows = network.row_parts(ours) if len(theirs) > 1 else (len(whole),)
        for name, part in zip(theirs, torch.split(whole, list(rows)), strict=True):
            yield name, (part.T if _is_transposed(family, ours, part) else part).contiguous()


def our_config(said: Mapping[str, Any]) -> tuple[ModelConfig, int, int]:
    """The shape, vocabulary size and context length of a `config.json`. Raises ValueError where ours cannot be so."""
    kind = said.get("model_type")
    if kind not in FAMILIES:
        raise ValueError(f"the architecture {kind} is not supported; supported: {', '.join(FAMILIES)}")
    family = FAMILIES[kind]
    told = {key: value for key, value in said.items() if value is not None}
    lacking = sorted({*family.keys, family.context, "vocab_size"} - OPTIONAL - told.keys())
    if lacking:
        raise ValueError(f"nothing is said of {', '.join(lacking)}")
    strange = list(_strange(told))
    if strange:
        raise ValueError(f"{kind} with {' and '.join(strange)} is not supported")
    values = {**family.ours, "tie_embeddings": family.is_gpt2}
    values |= {ours: told[theirs] for theirs, ours in family.keys.items() if theirs in told}
    if not family.is_gpt2:
        values.setdefault("n_kv_heads", values["n_heads"])
        values["rope_theta"] = _rope(told).get("rope_theta", told.get("rope_theta", 10_000.0))
    return ModelConfig.model_validate(values), int(told["vocab_size"]), int(told[family.context])


def our_tensors(config: ModelConfig, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their weights under our names, float32, a tied output matrix left out. Raises ValueError where some differ."""
    import torch

    family = FAMILIES[family_of(config)]
    given = {
        name if name.startswith((family.prefix, "lm_head.")) else family.prefix + name: tensor
        for name, tensor in tensors.items()
        if not name.endswith(BUFFERS)
    }
    if config.tie_embeddings:
        given.pop("lm_head.weight", None)
    wanted = {name for _, theirs in _pairs(family, config) for name in theirs}
    for what, names in (("lacks", wanted - given.keys()), ("has besides its shape", given.keys() - wanted)):
        if names:
            listed = ", ".join(sorted(names)[:3]) + (" …" if len(names) > 3 else "")
            raise ValueError(f"the model {what} {listed}")
    result = {}
    for ours, theirs in _pairs(family, config):
        parts = [given[name].float() for name in theirs]
        parts = [part.T if _is_transposed(family, ours, part) else part for part in parts]
        try:
            result[ours] = torch.cat(parts) if len(parts) > 1 else parts[0].contiguous()
        except RuntimeError:
            raise ValueError(f"{', '.join(theirs)} do not fit each other") from None
    return result


def _pairs(family: Family, config: ModelConfig) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Our name of each tensor that is saved, and theirs."""
    for ours, theirs in family.names.items():
        if ours == "output.weight" and config.tie_embeddings:
            continue
        for block in range(config.n_layers) if "{}" in ours else (0,):
            yield ours.format(block), tuple(name.format(block) for name in theirs)


def _is_transposed(family: Family, ours: str, tensor: Tensor) -> bool:
    return family.is_gpt2 and ours.startswith("blocks.") and tensor.dim() == 2


def _rope(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the config says of rotary positions: transformers 5 calls it rope_parameters, 4 rope_scaling."""
    rope: Mapping[str, Any] = told.get("rope_parameters") or told.get("rope_scaling") or {}
    return rope


def _strange(told: Mapping[str, Any]) -> Iterator[str]:
    """What a model has that ours cannot have."""
    rope = _rope(told)
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        yield f"RoPE scaling `{kind}`"
    if rope.get("partial_rotary_factor", told.get("partial_rotary_factor", 1.0)) != 1:
        yield "a partial_rotary_factor"
    if told.get("use_sliding_window") or set(told.get("layer_types", ())) - {"full_attention"}:
        yield "a sliding window"
    yield from (key for key in ("attention_bias", "mlp_bias", "quantization_config") if told.get(key))
    yield from (key for key in ("scale_attn_by_inverse_layer_idx", "add_cross_attention") if told.get(key))
    if not told.get("scale_attn_weights", True):
        yield "scale_attn_weights: false"
    activation = told.get("hidden_act", told.get("activation_function"))
    known = ("silu", "swish") if "hidden_act" in told else ("gelu_new", "gelu_pytorch_tanh", None)
    if activation not in known:
        yield f"the activation {activation}"
