"""Finetuning as a stage: the loss of the answers alone, by hand, and a model passed on where nothing is to do."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_data import BOS, PAD, Pair, numbered, write_tokens
from test_encoding import tokenizer_model, train_encoding
from test_loop import Stand, interrupted_after, outputs

from pipeline.errors import Interrupted
from stages.tokens.chat import with_system
from stages.tokens.sampling import Generated
from stages.training import finetune
from stages.training.finetune import FinetuneConfig
from stages.training.model import load_model, save_model
from stages.training.networks.llama import Llama
from stages.training.shape import ModelConfig

VOCAB_SIZE, CONTEXT = 60, 12
PAIRS: list[Pair] = [
    ([BOS, 10, 11, 12, 20, 21, 5], [0, 0, 0, 0, 1, 1, 1]),
    ([BOS, 13, 30, 5, 14, 15, 31, 32, 33, 5], [0, 0, 1, 1, 0, 0, 1, 1, 1, 1]),
    ([BOS, 16, 17, 40, 5], [0, 0, 0, 1, 1]),
]


def stand(
    folder: Path,
    name: str = "out",
    *,
    pairs: list[Pair] = PAIRS,
    val: list[Pair] = PAIRS,
    dropout: float = 0.0,
    **config: Any,
) -> Stand:
    tokens, pretrained = folder / "tokens", folder / "pretrain"
    if not tokens.exists():
        texts = numbered(30)
        write_tokens(tokens, texts, texts, context_length=CONTEXT, vocab_size=VOCAB_SIZE, pairs=pairs, val_pairs=val)
        pretrained.mkdir()
        torch.manual_seed(0)
        shape = ModelConfig(d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=48, dropout=dropout)
        model = Llama(shape, VOCAB_SIZE, CONTEXT)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.2)
        save_model(pretrained, model)
    quick = dict(precision="fp32", batch_size=3, max_steps=6, learning_rate=0.01, min_lr=0.001, warmup_steps=2)
    sections = [FinetuneConfig(**(quick | {"eval_every": 2} | config))]  # type: ignore[arg-type]
    return Stand(folder / name, {"pretrain": pretrained, "tokenize": tokens}, sections)


def answers_loss(model: Llama, pairs: list[Pair]) -> torch.Tensor:
    """Mean cross-entropy of the marked tokens given all before, conversation by conversation, without any padding."""
    losses = []
    for ids, mask in pairs:
        logits = model(torch.tensor([list(ids[:-1])]))[0]
        for position, (token, counts) in enumerate(zip(ids, mask, strict=True)):
            if counts:
                losses.append(F.cross_entropy(logits[position - 1], torch.tensor(token)))
    return torch.stack(losses).mean()


def test_the_loss_and_its_gradient_are_those_of_the_answers_alone(tmp_path: Path) -> None:
    """One step sees all three conversations, whatever their order."""
    here = stand(tmp_path, max_steps=1, warmup_steps=0, eval_every=1)
    model = load_model(tmp_path / "pretrain")
    loss = answers_loss(model, PAIRS)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    finetune.run(here.context)
    (record,) = here.log
    assert record["loss"] == pytest.approx(loss.item(), rel=1e-5)
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm().item()
    assert record["grad_norm"] == pytest.approx(norm, rel=1e-4)
    everything: list[Pair] = [(ids, [0] + [1] * (len(ids) - 1)) for ids, _ in PAIRS]
    assert abs(answers_loss(model, everything).item() - loss.item()) > 0.01


def test_validation_counts_the_answers_alone_and_the_best_weights_are_kept(tmp_path: Path) -> None:
    here = stand(tmp_path, val=PAIRS[1:], batch_size=1, max_steps=30)
    metrics = finetune.run(here.context)
    kept = load_model(here.out)
    assert metrics["val_loss"] == pytest.approx(answers_loss(kept, PAIRS[1:]).item(), rel=1e-5)
    assert metrics["val_loss"] < 0.5 * answers_loss(load_model(tmp_path / "pretrain"), PAIRS[1:]).item()
    assert metrics["epochs"] == 10
    assert kept.config == load_model(tmp_path / "pretrain").config


def test_a_model_that_has_learnt_says_the_answer_and_ends_it(tmp_path: Path) -> None:
    here = stand(tmp_path, max_steps=60)
    finetune.run(here.context)
    model = load_model(here.out)
    for ids, mask in PAIRS:
        said = list(ids[: mask.index(1)])
        while said[-1] != 5:
            said.append(int(model(torch.tensor([said]))[0, -1].argmax()))
            assert len(said) <= CONTEXT
        assert said == list(ids[: len(said)])


def test_padding_changes_nothing(tmp_path: Path) -> None:
    """The same conversations beside a long one, which pads them, and alone; only the order of rounding may differ."""
    pairs = [PAIRS[0]] * 2
    alone = stand(tmp_path / "alone", pairs=pairs, val=pairs, batch_size=2, max_steps=1)
    finetune.run(alone.context)
    mute: Pair = ([BOS, *range(10, 21)], [0] * 12)
    beside = stand(tmp_path / "beside", pairs=[*pairs, mute], val=pairs, batch_size=3, max_steps=1)
    finetune.run(beside.context)
    own, padded = alone.log[0], beside.log[0]
    assert [own.pop("tokens"), padded.pop("tokens")] == [2 * CONTEXT, 3 * CONTEXT]
    assert own == pytest.approx(padded, rel=1e-5)
    assert PAD not in {token for ids, _ in PAIRS for token in ids}


@pytest.mark.parametrize(
    ("pairs", "max_steps", "said"),
    [([], 5, "no instruction pairs: the pretrained model is passed on"), (PAIRS, 0, "max_steps is 0")],
)
def test_with_nothing_to_learn_the_pretrained_model_is_passed_on_as_it_is(
    tmp_path: Path, pairs: list[Pair], max_steps: int, said: str
) -> None:
    here = stand(tmp_path, pairs=pairs, val=[], max_steps=max_steps)
    assert finetune.run(here.context) == {"steps": 0}
    assert here.said == [said]
    assert outputs(here.out) == outputs(tmp_path / "pretrain")


def test_without_conversations_held_back_the_last_weights_are_kept(tmp_path: Path) -> None:
    here = stand(tmp_path, val=[])
    assert finetune.run(here.context)["steps"] == 6
    assert not any("val_loss" in record for record in here.log)
    start, end = (answers_loss(load_model(path), PAIRS).item() for path in (tmp_path / "pretrain", here.out))
    assert end < start


def test_samples_are_asked_for_after_the_system_message_that_the_answers_were_learnt_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, asked = stand(tmp_path, sample_prompts=("Blink.",), max_steps=2), list[list[int]]()
    meta = tmp_path / "tokens" / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"system": "Be short."}))
    (tmp_path / "tokenizer.model").write_bytes(tokenizer_model())
    here.inputs = {**here.inputs, "tokenizer": tmp_path}

    def written(network: Any, prompts: list[list[int]], **more: Any) -> list[Generated]:
        asked.extend(prompts)
        return [Generated((), True)]

    monkeypatch.setattr("stages.training.sample.generate_batch", written)
    finetune.run(here.context)
    messages = with_system([{"role": "user", "content": "Blink."}], "Be short.")
    assert len(messages) == 2 and asked == [train_encoding().encode_chat(messages, prompt=True)[0]]


def test_an_interrupted_finetuning_goes_on_to_the_same_result(tmp_path: Path) -> None:
    whole = stand(tmp_path, "whole", dropout=0.2, gradient_accumulation=2)
    finetune.run(whole.context)
    for steps in (1, 3, 5):
        cut = stand(tmp_path, f"cut-{steps}", dropout=0.2, gradient_accumulation=2)
        cut.deferred = interrupted_after(cut, steps)
        with pytest.raises(Interrupted):
            finetune.run(cut.context)
        cut.deferred = lambda: nullcontext(lambda: False)
        finetune.run(cut.context)
        assert outputs(cut.out) == outputs(whole.out)


def test_the_stage_resumes_and_depends_on_the_seed() -> None:
    assert finetune.STAGE.resumable and finetune.STAGE.seeded
    assert set(finetune.STAGE.needs) == {"pretrain", "tokenize", "tokenizer"} and finetune.STAGE.parallel
