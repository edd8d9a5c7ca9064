# asyncio on the virtual clock: tasks wait in a list sorted by the instant at which they go on.

import sys

import _hw


class CancelledError(BaseException):
    pass


class TimeoutError(Exception):
    pass


class InvalidStateError(Exception):
    pass


_queue = []  # (instant in µs, order, task)
_order = [0]
_current = [None]
_on_error = [None]


def _push(task, t):
    _order[0] += 1
    place = len(_queue)
    while place > 0 and _queue[place - 1][0] > t:
        place -= 1
    _queue.insert(place, (t, _order[0], task))


def _wake(task):
    _push(task, _hw.now())


def _forget(task):
    for place in range(len(_queue)):
        if _queue[place][2] is task:
            del _queue[place]
            return


class Task:
    def __init__(self, coro):
        if not hasattr(coro, "send"):
            raise TypeError("coroutine expected")
        self.coro = coro
        self._done = False
        self._value = None
        self._error = None
        self._throw = None
        self._waiters = []
        self._waits_in = None  # the list of waiters that this task stands in
        self._awaits = None
        _wake(self)

    def done(self):
        return self._done

    def result(self):
        if not self._done:
            raise InvalidStateError
        if self._error is not None:
            raise self._error
        return self._value

    def cancel(self):
        if self._done:
            return False
        task = self
        while task._awaits is not None and not task._awaits._done:
            task = task._awaits
        if task is _current[0]:
            raise RuntimeError("can't cancel self")
        _leave(task)
        _forget(task)
        task._throw = CancelledError()
        _wake(task)
        return True

    def __iter__(self):
        me = _current[0]
        while not self._done:
            me._awaits = self
            try:
                yield from _wait_in(self._waiters)
            finally:
                me._awaits = None
        return self.result()

    __await__ = __iter__


def _leave(task):
    if task._waits_in is not None and task in task._waits_in:
        task._waits_in.remove(task)
    task._waits_in = None


def _wait_in(waiters):
    me = _current[0]
    waiters.append(me)
    me._waits_in = waiters
    yield


def _release(waiters):
    while waiters:
        task = waiters.pop(0)
        task._waits_in = None
        _wake(task)


def _finish(task, value, error):
    task._done = True
    task._value = value
    task._error = error
    if error is not None and not task._waiters and not isinstance(error, CancelledError) and not task._main:
        context = {"message": "Task exception wasn't retrieved", "exception": error, "future": task}
        (_on_error[0] or _print_error)(get_event_loop(), context)
    _release(task._waiters)


Task._main = False


def _print_error(loop, context):
    print(context["message"])
    print("future:", context["future"], "coro=", context["future"].coro)
    sys.print_exception(context["exception"])


def _step(task):
    _current[0] = task
    try:
        if task._throw is not None:
            error, task._throw = task._throw, None
            task.coro.throw(error)
        else:
            task.coro.send(None)
    except StopIteration as end:
        _finish(task, end.value, None)
    except (CancelledError, Exception) as error:
        _finish(task, None, error)
    finally:
        _current[0] = None


def _loop(main=None, stopped=None):
    while True:
        if main is not None and main._done:
            return main.result()
        if stopped is not None and stopped[0]:
            return None
        if not _queue:
            if not _hw.op("armed"):
                if main is None:
                    return None
                raise RuntimeError("every task waits for another")
            if _hw.op_once("until", _hw.now() + 1e6):
                _hw.serve()
            continue
        if _queue[0][0] > _hw.now():
            _nap(_queue[0][0])
            continue
        task = _queue.pop(0)[2]
        _hw.op("tick")
        _step(task)


def _nap(t):
    # to the next task's instant; an interrupt may have woken an earlier one meanwhile
    while _hw.now() < t and _queue[0][0] >= t:
        if _hw.op_once("until", float(t)):
            _hw.serve()


def run(coro):
    main = Task(coro)
    main._main = True
    return _loop(main)


def create_task(coro):
    return Task(coro)


ensure_future = create_task


def current_task():
    if _current[0] is None:
        raise RuntimeError("no running event loop")
    return _current[0]


def _sleep(us):
    if _current[0] is None:
        raise RuntimeError("no running event loop")
    _push(_current[0], _hw.now() + max(0, us))
    yield


def sleep_ms(ms):
    return _sleep(ms * 1e3)


def sleep(seconds):
    return _sleep(seconds * 1e6)


async def wait_for(aw, timeout, _unit=1e6):
    task = aw if isinstance(aw, Task) else Task(aw)
    if timeout is None:
        return await task
    late = []

    async def watch():
        await _sleep(timeout * _unit)
        late.append(True)
        task.cancel()

    watcher = Task(watch())
    try:
        return await task
    except CancelledError as error:
        if late:
            raise TimeoutError
        raise error
    finally:
        watcher.cancel()


def wait_for_ms(aw, timeout):
    return wait_for(aw, timeout, 1e3)


async def gather(*aws, return_exceptions=False):
    tasks = [aw if isinstance(aw, Task) else Task(aw) for aw in aws]
    for task in tasks:
        task._main = True  # its error is ours to raise
    while True:
        failed = [task for task in tasks if task._done and task._error is not None]
        open_ones = [task for task in tasks if not task._done]
        if failed and not return_exceptions:
            raise failed[0]._error
        if not open_ones:
            break
        group = []
        for task in open_ones:
            task._waiters.append(_current[0])
        try:
            await _wait_in(group)
        finally:
            for task in open_ones:
                if _current[0] in task._waiters:
                    task._waiters.remove(_current[0])
    return [task._value if task._error is None else task._error for task in tasks]


class Event:
    def __init__(self):
        self._set = False
        self._waiters = []

    def is_set(self):
        return self._set

    def set(self):
        self._set = True
        _release(self._waiters)

    def clear(self):
        self._set = False

    def wait(self):
        if not self._set:
            yield from _wait_in(self._waiters)
        return True


class ThreadSafeFlag:
    def __init__(self):
        self._set = False
        self._waiters = []

    def set(self):
        self._set = True
        _release(self._waiters)

    def clear(self):
        self._set = False

    def wait(self):
        while not self._set:
            yield from _wait_in(self._waiters)
        self._set = False


class Lock:
    def __init__(self):
        self._locked = False
        self._waiters = []

    def locked(self):
        return self._locked

    def release(self):
        if not self._locked:
            raise RuntimeError("Lock not acquired")
        self._locked = False
        if self._waiters:
            task = self._waiters.pop(0)
            task._waits_in = None
            _wake(task)

    def acquire(self):
        while self._locked:
            yield from _wait_in(self._waiters)
        self._locked = True
        return True

    async def __aenter__(self):
        await self.acquire()
        return self

    async def __aexit__(self, kind, error, trace):
        self.release()


class StreamReader:
    def __init__(self, s, e=None):
        self.s = s
        self.out = b""

    def _available(self):
        while not hasattr(self.s, "any") or not self.s.any():
            yield from sleep_ms(1)

    def read(self, n=-1):
        yield from self._available()
        return self.s.read() if n < 0 else self.s.read(min(n, self.s.any()))

    def readinto(self, buf):
        yield from self._available()
        return self.s.readinto(buf, min(len(buf), self.s.any()))

    def readexactly(self, n):
        found = b""
        while len(found) < n:
            yield from self._available()
            found += self.s.read(min(n - len(found), self.s.any()))
        return found

    def readline(self):
        line = b""
        while not line.endswith(b"\n"):
            yield from self._available()
            line += self.s.read(1)
        return line

    def write(self, data):
        self.out += data.encode() if isinstance(data, str) else bytes(data)

    def drain(self):
        data, self.out = self.out, b""
        if data:
            self.s.write(data)
        yield from sleep_ms(0)

    def close(self):
        return None

    def wait_closed(self):
        yield from sleep_ms(0)


StreamWriter = StreamReader


def open_connection(*args, **kwargs):
    _hw.op("refused", "asyncio.open_connection")
    raise OSError(113)


start_server = open_connection


class Loop:
    _stop = [False]

    def create_task(self, coro):
        return Task(coro)

    def run_until_complete(self, coro):
        return run(coro)

    def run_forever(self):
        Loop._stop[0] = False
        _loop(None, Loop._stop)

    def stop(self):
        Loop._stop[0] = True

    def close(self):
        return None

    def set_exception_handler(self, handler):
        _on_error[0] = handler

    def default_exception_handler(self, loop, context):
        _print_error(loop, context)

    def call_exception_handler(self, context):
        (_on_error[0] or _print_error)(self, context)


_the_loop = Loop()


def get_event_loop():
    return _the_loop


def new_event_loop():
    del _queue[:]
    return _the_loop
