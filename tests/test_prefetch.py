"""Batches made ahead: in order, never too far, errors where they are met, and no thread left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import torch

from stages.training.data import Batch
from stages.training.prefetch import Prefetcher

CPU = torch.device("cpu")


def step(number: int) -> list[Batch]:
    return [Batch(torch.tensor([[number, part]]), torch.tensor([[part, -100]])) for part in range(2)]


def running() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_steps_come_in_order_from_the_first_asked_for() -> None:
    with Prefetcher(step, 7, CPU) as steps:
        for number, batches in zip(range(7, 60), steps, strict=False):
            assert [batch.inputs.tolist() for batch in batches] == [[[number, 0]], [[number, 1]]]
            assert [batch.counted for batch in batches] == [1, 1]
    assert not running()
    assert list(steps) == []


def test_the_thread_stays_as_far_ahead_as_asked_and_no_further() -> None:
    made: list[int] = []
    with Prefetcher(lambda number: made.append(number) or step(number), 0, CPU, ahead=3) as steps:
        wait_until(lambda: made == [0, 1, 2])
        next(steps)
        wait_until(lambda: made == [0, 1, 2, 3])
        time.sleep(0.02)
        assert made == [0, 1, 2, 3]


def test_a_step_that_is_ready_is_not_waited_for() -> None:
    def slow(number: int) -> list[Batch]:
        time.sleep(0.02)
        return step(number)

    with Prefetcher(slow, 0, CPU) as steps:
        next(steps)
        assert steps.waited > 0.005
        waited = steps.waited
        for _ in range(5):
            time.sleep(0.04)  # the computing
            next(steps)
        assert steps.waited - waited < 0.01


def test_an_error_is_raised_where_its_step_is_asked_for_and_again_after_that() -> None:
    def failing(number: int) -> list[Batch]:
        if number == 2:
            raise ValueError("step 2 is broken")
        return step(number)

    with Prefetcher(failing, 0, CPU) as steps:
        assert [next(steps)[0].inputs[0, 0].item() for _ in range(2)] == [0, 1]
        for _ in range(2):
            with pytest.raises(ValueError, match="step 2 is broken"):
                next(steps)
    assert not running()


def test_an_error_of_the_consumer_ends_the_thread_and_is_not_swallowed() -> None:
    with pytest.raises(KeyboardInterrupt), Prefetcher(step, 0, CPU) as steps:
        next(steps)
        raise KeyboardInterrupt
    assert not running()


def test_closing_twice_or_at_once_or_during_a_step_is_no_error() -> None:
    Prefetcher(step, 0, CPU).close()
    steps = Prefetcher(lambda number: time.sleep(0.05) or step(number), 0, CPU)
    time.sleep(0.01)
    steps.close()
    steps.close()
    assert not running()


def test_no_random_number_of_torchs_is_drawn() -> None:
    before = torch.get_rng_state()
    with Prefetcher(step, 0, CPU) as steps:
        next(steps)
    assert torch.equal(before, torch.get_rng_state())
