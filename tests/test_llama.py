"""What the Llama has besides what test_model.py looks at: QK-norm, documents, dropout, starting values."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from stages.training.networks.llama import Llama
from stages.training.shape import ModelConfig

VOCAB_SIZE, CONTEXT = 61, 150


def shape(**more: Any) -> ModelConfig:
    sizes = dict(d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=48)
    return ModelConfig(**(sizes | more))


def llama(**more: Any) -> Llama:
    torch.manual_seed(1)
    model = Llama(shape(init_std=0.2, **more), VOCAB_SIZE, CONTEXT)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model.eval()


def some_tokens(time: int = CONTEXT) -> Tensor:
    return torch.randint(VOCAB_SIZE, (3, time), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("head_dim", [8, 12], ids=["usual", "wider"])
def test_with_qk_norm_it_is_the_qwen3_of_transformers(head_dim: int) -> None:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    ours = llama(qk_norm=True, head_dim=head_dim)
    theirs = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=VOCAB_SIZE,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=head_dim,
            max_position_embeddings=CONTEXT,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
            tie_word_embeddings=True,
            attn_implementation="eager",
            pad_token_id=None,
        )
    ).eval()
    own = ours.state_dict()
    weights = {"model.embed_tokens.weight": own["embedding.weight"], "model.norm.weight": own["norm.weight"]}
    weights["lm_head.weight"] = own["embedding.weight"]
    for layer in range(2):
        mine, its = f"blocks.{layer}", f"model.layers.{layer}"
        parts = own[f"{mine}.attention.qkv.weight"].split([4 * head_dim, 2 * head_dim, 2 * head_dim])
        gate, up = own[f"{mine}.feed_forward.gate_up.weight"].chunk(2)
        weights |= {f"{its}.self_attn.{x}_proj.weight": part for x, part in zip("qkv", parts, strict=True)}
        weights |= {
            f"{its}.self_attn.q_norm.weight": own[f"{mine}.attention.q_norm.weight"],
            f"{its}.self_attn.k_norm.weight": own[f"{mine}.attention.k_norm.weight"],
            f"{its}.self_attn.o_proj.weight": own[f"{mine}.attention.output.weight"],
            f"{its}.input_layernorm.weight": own[f"{mine}.attention_norm.weight"],
            f"{its}.post_attention_layernorm.weight": own[f"{mine}.feed_forward_norm.weight"],
            f"{its}.mlp.gate_proj.weight": gate,
            f"{its}.mlp.up_proj.weight": up,
            f"{its}.mlp.down_proj.weight": own[f"{mine}.feed_forward.down.weight"],
        }
    theirs.load_state_dict(weights)
    logits = theirs(some_tokens()).logits
    assert float(logits.detach().std()) > 0.5
    torch.testing.assert_close(ours(some_tokens()), logits, rtol=0, atol=1e-4)


def test_documents_in_one_row_are_as_if_each_stood_alone() -> None:
    model, tokens = llama().double(), some_tokens()
    cuts = [0, 1, 71, 140, CONTEXT]
    documents = torch.tensor([sum(t >= cut for cut in cuts) for t in range(CONTEXT)]).expand(3, -1)
    together = model(tokens, documents)
    for first, end in pairwise(cuts):
        torch.testing.assert_close(together[:, first:end], model(tokens[:, first:end]), rtol=0, atol=1e-5)
    torch.testing.assert_close(model(tokens, torch.zeros_like(tokens)), model(tokens), rtol=0, atol=1e-10)


def test_dropout_is_for_training_alone() -> None:
    model, plain = llama(dropout=0.5), llama()
    tokens = some_tokens(20)
    torch.testing.assert_close(model(tokens), plain(tokens))
    model.train()
    assert not torch.allclose(model(tokens), model(tokens))


def test_what_writes_to_the_residual_stream_may_start_at_zero() -> None:
    model = Llama(shape(zero_init=True, init_std=0.1), VOCAB_SIZE, CONTEXT)
    for name, parameter in model.named_parameters():
        writes = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
        assert (float(parameter.detach().abs().max()) == 0) == writes, name
    assert float(model.embedding.weight.detach().std()) == pytest.approx(0.1, rel=0.1)


def test_row_parts_add_up_to_the_rows_of_the_parameter() -> None:
    model = llama()
    for name, parameter in model.named_parameters():
        parts = model.row_parts(name)
        assert sum(parts) == (parameter.shape[0] if name.endswith(("qkv.weight", "gate_up.weight")) else 0)
