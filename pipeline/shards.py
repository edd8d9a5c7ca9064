"""Map a function over many inputs with local processes, in order; run one call under limits in its own process."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, TypeVar

from pipeline.hardware import usable_cores

InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")


def map_ordered(
    function: Callable[[InputT], OutputT], inputs: Iterable[InputT], *, workers: int | None = None
) -> Iterator[OutputT]:
    """Yield `function(x)` for each input, in the order of the inputs, whatever the number of workers.

    The function must be importable (top level of a module). At most a few inputs per worker are held at once, so
    memory stays flat. An exception in the function is raised here.
    """
    workers = workers or usable_cores()
    if workers == 1:
        yield from map(function, inputs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_signals_to_parent) as pool:
        waiting: deque[Future[OutputT]] = deque()
        try:
            for item in inputs:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class LimitExceeded(Exception):
    """A call went over its limit; the message says which."""


def call_limited(
    function: Callable[[InputT], OutputT], value: InputT, *, timeout_seconds: float, max_memory_mb: int
) -> OutputT:
    """`function(value)` in a child process of its own that is ended at its limits.

    Raises LimitExceeded on timeout, memory or death of the child, and whatever the function itself raised. The memory
    limit is on address space and holds where the system has `resource.setrlimit` (Linux, macOS).
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(sender, function, value, max_memory_mb), daemon=True)
    child.start()
    sender.close()
    try:
        if not receiver.poll(timeout_seconds):
            raise LimitExceeded(f"took longer than {timeout_seconds:g} s")
        kind, answer = receiver.recv()
    except EOFError:
        child.join(5)
        raise LimitExceeded(f"its process died (exit {child.exitcode}; limit {max_memory_mb} MB)") from None
    finally:
        child.kill()
        child.join()
        receiver.close()
    if kind == "memory":
        raise LimitExceeded(f"needed more than {max_memory_mb} MB")
    if kind == "error":
        raise answer
    result: OutputT = answer
    return result


def _answer(sender: Any, function: Callable[[Any], Any], value: Any, max_memory_mb: int) -> None:
    _leave_signals_to_parent()
    try:
        import resource

        limit = max_memory_mb * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (ImportError, ValueError, OSError):
        pass  # no such limit on this system: the timeout still holds
    try:
        sender.send(("ok", function(value)))
    except MemoryError:
        sender.send(("memory", None))
    except Exception as error:
        sender.send(("error", error))


def _leave_signals_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
