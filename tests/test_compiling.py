"""How the loss of a micro-batch is run: compiled or not it is the same, and a failure only costs speed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.training import compiling
from stages.training.compiling import WORTH, LossFunction, prepare
from stages.training.model import make_model
from stages.training.networks.network import Network
from stages.training.recompute import recompute_blocks
from stages.training.shape import ModelConfig

VOCAB_SIZE, CONTEXT = 53, 32


class Told:
    """What was said and warned of."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []


@pytest.fixture
def told() -> Told:
    return Told()


def network(**more: Any) -> Network:
    torch.manual_seed(2)
    sizes = dict(d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=48, init_std=0.2)
    return make_model(ModelConfig(**(sizes | more)), VOCAB_SIZE, CONTEXT)


def prepared(model: Network, how: Any, told: Told, precision: str = "fp32", flops: float = 0.0) -> LossFunction:
    say, warn = told.said.append, told.warned.append
    return prepare(model, how, device=torch.device("cpu"), precision=precision, warn=warn, say=say, flops=flops)


def rows(time: int = CONTEXT) -> tuple[Tensor, Tensor]:
    text = torch.randint(VOCAB_SIZE, (3, time + 1), generator=torch.Generator().manual_seed(4))
    targets = text[:, 1:].clone()
    targets[0, :4] = -100
    return text[:, :-1].contiguous(), targets


def gradients(model: Network) -> dict[str, Tensor]:
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    return found


def test_the_loss_is_the_cross_entropy_of_the_logits(told: Told) -> None:
    model = network()
    tokens, targets = rows()
    made = prepared(model, False, told)(tokens, targets, None)
    expected = F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten(), reduction="sum")
    torch.testing.assert_close(made, expected)


def test_bf16_mixed_multiplies_in_bf16_and_keeps_float32_weights(told: Told) -> None:
    model = network()
    tokens, targets = rows()
    exact, low = (
        prepared(model, False, told, precision)(tokens, targets, None) for precision in ("fp32", "bf16-mixed")
    )
    assert exact.item() != low.item() == pytest.approx(exact.item(), rel=0.02)
    low.backward()  # type: ignore[no-untyped-call]
    assert {gradient.dtype for gradient in gradients(model).values()} == {torch.float32}


def stand_in(run: Callable[..., Any]) -> Callable[..., Any]:
    """In place of torch.compile: what it makes of a function."""
    return lambda function, **_: lambda *inputs: run(function, *inputs)


def test_what_cannot_be_compiled_runs_plain_and_says_so(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("no such instruction\nmany lines")

    monkeypatch.setattr(torch, "compile", stand_in(fail))
    monkeypatch.setattr(compiling, "_cpp_compiler", lambda: True)
    model = network()
    loss = prepared(model, True, told)
    first, second = (loss(*rows(), None) for _ in range(2))
    torch.testing.assert_close(first, prepared(model, False, told)(*rows(), None), rtol=0, atol=0)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert told.warned == ["torch.compile does not work here (no such instruction); training goes on without it"]


def test_running_out_of_memory_is_no_failure_to_compile(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    def fail(*_: Any) -> Any:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(torch, "compile", stand_in(fail))
    monkeypatch.setattr(compiling, "_cpp_compiler", lambda: True)
    with pytest.raises(torch.OutOfMemoryError):
        prepared(network(), True, told)(*rows(), None)
    assert not told.warned


def test_without_a_compiler_it_runs_plain_and_says_so(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    loss = prepared(network(), True, told)
    assert loss(*rows(), None).item() > 0
    assert len(told.warned) == 1 and "C++ compiler" in told.warned[0]


def test_short_runs_on_the_processor_are_not_compiled(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    monkeypatch.setattr(torch, "compile", stand_in(lambda function, *inputs: function(*inputs)))
    monkeypatch.setattr(compiling, "_cpp_compiler", lambda: True)
    prepared(network(), "auto", told, flops=WORTH / 2)(*rows(), None)
    assert not told.said
    prepared(network(), "auto", told, flops=WORTH * 2)(*rows(), None)
    assert told.said


def test_trying_leaves_random_numbers_and_gradients_alone(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    monkeypatch.setattr(torch, "compile", stand_in(lambda function, *inputs: function(*inputs)))
    monkeypatch.setattr(compiling, "_cpp_compiler", lambda: True)
    results = []
    for how in (True, False):
        model = network(dropout=0.3).train()
        torch.manual_seed(8)
        prepared(model, how, told)(*rows(), None).backward()
        results.append((gradients(model), torch.rand(3)))
    (compiled, drawn), (plain, as_well) = results
    assert torch.equal(drawn, as_well)
    assert all(torch.equal(compiled[name], plain[name]) for name in plain)
    assert len(told.said) == 1


def test_short_rows_are_padded_to_few_widths(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    widths: set[int] = set()

    def note(function: Callable[..., Any], *inputs: Any) -> Any:
        if inputs[1].dim() == 3:  # a block and what flows through it
            widths.add(inputs[1].shape[1])
        return function(*inputs)

    monkeypatch.setattr(torch, "compile", stand_in(note))
    monkeypatch.setattr(compiling, "_cpp_compiler", lambda: True)
    model = network()
    loss, plain = prepared(model, True, told), prepared(model, False, told)
    for time in (3, 8, 9, 17, 31, 32):
        for documents in (None, (torch.arange(time) // 5).expand(3, -1)):
            torch.testing.assert_close(loss(*rows(time), documents), plain(*rows(time), documents))
    assert widths == {8, 16, 24, 32}


@pytest.mark.slow
@pytest.mark.parametrize("again", [False, True], ids=["kept", "recomputed"])
def test_compiled_equals_plain(again: bool, told: Told) -> None:
    pytest.importorskip("torch._inductor")
    if not compiling._cpp_compiler():
        pytest.skip("no C++ compiler here")
    model = network(qk_norm=True).train()
    if again:
        recompute_blocks(model)
    documents = (torch.arange(CONTEXT) // 13).expand(3, -1)
    for inputs in ((*rows(), None), (*rows(), documents)):
        found = []
        for how in (True, False):
            loss = prepared(model, how, told)(*inputs)
            loss.backward()  # type: ignore[no-untyped-call]
            found.append((loss.detach(), gradients(model)))
        (compiled, compiled_gradients), (plain, plain_gradients) = found
        torch.testing.assert_close(compiled, plain)
        for name, gradient in plain_gradients.items():
            torch.testing.assert_close(compiled_gradients[name], gradient, rtol=1e-4, atol=1e-4, msg=name)
    assert not told.warned and len(told.said) == 2


def test_precision_is_resolved_by_what_the_device_is_fast_at(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for fast, precision in ((True, "bf16-mixed"), (False, "fp32")):
        monkeypatch.setattr(compiling, "fast_bf16", lambda fast=fast: fast)
        assert compiling.resolve_precision("auto", cpu) == precision
        assert compiling.resolve_precision("fp32", cpu) == "fp32"
        assert compiling.resolve_precision("bf16-mixed", cpu) == "bf16-mixed"
