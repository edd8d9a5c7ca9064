"""Map a function over many inputs, in order, here or on a Ray cluster; run one call under limits in its own process."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from types import ModuleType
from typing import Any, Literal, TypeVar

from pipeline.errors import UsageError
from pipeline.hardware import usable_cores

InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")
Engine = Literal["local", "ray"]
IN_FLIGHT = 4  # inputs per worker: enough that none waits, few enough that memory stays flat


def map_ordered(
    function: Callable[[InputT], OutputT],
    inputs: Iterable[InputT],
    *,
    workers: int = 0,
    engine: Engine = "local",
) -> Iterator[OutputT]:
    """Yield `function(x)` for each input, in the order of the inputs, whatever the engine and the number of workers.

    The function must be importable (top level of a module). At most a few inputs per worker are held at once, so
    memory stays flat. `workers` 0 is one per usable core. An exception in the function is raised here.
    `local` uses processes of this machine, `ray` the cluster that RAY_ADDRESS names, or one of this machine's cores;
    every machine of a cluster has to see the same files. Raises UsageError where Ray is not installed.
    """
    if engine == "ray":
        return _map_with_ray(function, inputs, workers)
    workers = workers or usable_cores()
    return map(function, inputs) if workers == 1 else _map_with_processes(function, inputs, workers)


def _map_with_processes(
    function: Callable[[InputT], OutputT], inputs: Iterable[InputT], workers: int
) -> Iterator[OutputT]:
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker) as pool:
        waiting: deque[Future[OutputT]] = deque()
        try:
            for item in inputs:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= IN_FLIGHT * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BaseException:  # an error, Ctrl-C, or nobody wants the rest: no waiting for what is under way
            for worker in set(multiprocessing.active_children()) - others:
                worker.kill()
            raise


def _map_with_ray(function: Callable[[InputT], OutputT], inputs: Iterable[InputT], workers: int) -> Iterator[OutputT]:
    try:
        import ray
    except ImportError:
        raise UsageError("engine: ray needs Ray, which is not installed", hint="pip install 'pipeline[ray]'") from None
    if not ray.is_initialized():
        cores = None if os.environ.get("RAY_ADDRESS") else workers or usable_cores()
        ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    workers = workers or int(ray.cluster_resources().get("CPU", 1))
    remote = ray.remote(_call)  # Ray takes no built-in and no partial, so they go as an argument
    waiting: deque[Any] = deque()
    try:
        for item in inputs:
            waiting.append(remote.remote(function, item))
            if len(waiting) >= IN_FLIGHT * workers:
                yield _ray_result(waiting.popleft())
        while waiting:
            yield _ray_result(waiting.popleft())
    finally:
        for reference in waiting:
            ray.cancel(reference)


def _call(function: Callable[[InputT], OutputT], value: InputT) -> OutputT:
    return function(value)


def _ray_result(reference: Any) -> Any:
    """The result of a Ray task; raises what the function raised, without Ray's wrapping."""
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None


class LimitExceeded(Exception):
    """A call went over its limit; the message says which."""


def call_limited(
    function: Callable[[InputT], OutputT],
    value: InputT,
    *,
    timeout_seconds: float,
    max_memory_mb: int,
    preload: Sequence[str] = (),
) -> OutputT:
    """`function(value)` in a child process of its own that is ended, with all it started, at its limits.

    Raises LimitExceeded on timeout, memory or death of the child, and whatever the function itself raised. The memory
    limit is on address space and holds where the system has `resource.setrlimit` (Linux, macOS). The function must be
    importable from another module than `__main__`.

    The child is forked, within milliseconds, from a server process that holds nothing but the function's module and
    the modules of `preload` (those of the first call; others are imported by the child). Windows starts a new Python.
    """
    context = _limiting_context()
    receiver, sender = context.Pipe(duplex=False)
    arguments = (sender, function, value, timeout_seconds, max_memory_mb)
    child = context.Process(target=_answer, args=arguments, daemon=True)
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload([__name__, function.__module__, *preload])
    _start_without_main(child)
    sender.close()
    try:
        if not receiver.poll(timeout_seconds):
            raise LimitExceeded(f"took longer than {timeout_seconds:g} s")
        kind, answer = receiver.recv()
    except (EOFError, ConnectionError):
        child.join(5)
        if child.exitcode == -_ALARM:
            raise LimitExceeded(f"took longer than {timeout_seconds:g} s") from None
        raise LimitExceeded(f"its process died (exit {child.exitcode}; limit {max_memory_mb} MB)") from None
    finally:
        _end_group(child)
        receiver.close()
    if kind == "memory":
        raise LimitExceeded(f"needed more than {max_memory_mb} MB")
    if kind == "error":
        raise answer
    result: OutputT = answer
    return result


_ALARM = getattr(signal, "SIGALRM", 0)


def _limiting_context() -> Any:
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")


def _start_without_main(child: Any) -> None:
    """Start the child without the main script, which multiprocessing would otherwise run again in each one."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        child.start()
    finally:
        sys.modules["__main__"] = main


def _end_group(child: Any) -> None:
    """End the child and whatever it started; it leads a process group of its own where there are such."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    child.join()


def _answer(
    sender: Any, function: Callable[[Any], Any], value: Any, timeout_seconds: float, max_memory_mb: int
) -> None:
    _begin_worker()
    if hasattr(os, "setsid"):
        os.setsid()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, timeout_seconds + 1)  # ends the child even if its parent was killed
    try:
        import resource

        limit = max_memory_mb * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        pass  # no such limit on this system: the timeout still holds
    try:
        sender.send(("ok", function(value)))
    except MemoryError:
        sender.send(("memory", None))
    except Exception as error:
        sender.send(("error", _picklable(error)))


def _picklable(error: Exception) -> Exception:
    """The error, or one that says the same where it cannot travel between processes."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _leave_signals_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _begin_worker() -> None:
    """A pool's worker waits on a pipe that it holds open itself, so it would outlive a parent that was killed."""
    _leave_signals_to_parent()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
