"""Signals end a run in order: at once, or when the work at hand has been saved."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from pipeline.errors import Interrupted
from pipeline.interrupts import SIGNALS, Interrupts


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_raises_with_the_exit_code_of_the_shell(number: signal.Signals, code: int) -> None:
    with (
        pytest.raises(Interrupted, match=f"interrupted by {number.name}; finished stages are kept") as caught,
        Interrupts(),
    ):
        send(number)
        raise AssertionError("not reached")
    assert caught.value.exit_code == code
    assert caught.value.hint == "run the same command again to go on"


def test_the_handlers_of_before_are_there_again_afterwards() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interrupts():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_deferred_signal_lets_the_block_finish_and_then_raises() -> None:
    done = []
    with pytest.raises(Interrupted) as caught, Interrupts() as interrupts, interrupts.deferred() as interrupted:
        assert not interrupted()
        send(signal.SIGTERM)
        assert interrupted()
        done.append("saved")
    assert done == ["saved"] and caught.value.exit_code == 143


def test_a_second_signal_does_not_wait_for_the_block() -> None:
    done = []
    with pytest.raises(Interrupted) as caught, Interrupts() as interrupts, interrupts.deferred():
        send(signal.SIGTERM)
        send(signal.SIGINT)
        done.append("saved")
    assert done == [] and caught.value.exit_code == 130


def test_a_block_without_a_signal_ends_quietly_and_later_signals_raise_at_once() -> None:
    with pytest.raises(Interrupted), Interrupts() as interrupts:
        with interrupts.deferred() as interrupted:
            assert not interrupted()
        interrupts.check()
        send(signal.SIGINT)
        raise AssertionError("not reached")


def test_an_error_in_the_block_is_not_hidden_by_the_signal() -> None:
    with Interrupts() as interrupts, pytest.raises(ZeroDivisionError), interrupts.deferred():
        send(signal.SIGINT)
        raise ZeroDivisionError


def test_a_swallowed_signal_is_remembered() -> None:
    with pytest.raises(Interrupted), Interrupts() as interrupts:
        with pytest.raises(Interrupted):
            send(signal.SIGINT)
        interrupts.check()


def test_outside_the_main_thread_the_handlers_stay_as_they_are() -> None:
    seen = []

    def work() -> None:
        with Interrupts() as interrupts:
            interrupts.check()
            seen.append([signal.getsignal(number) for number in SIGNALS])

    before = [signal.getsignal(number) for number in SIGNALS]
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
