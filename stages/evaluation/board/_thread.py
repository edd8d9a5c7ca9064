from _hw import unsupported as _unsupported


def start_new_thread(*args):
    _unsupported("_thread.start_new_thread")


class _Lock:
    def __init__(self):
        self._held = False

    def acquire(self, wait=1, timeout=-1):
        if self._held:
            return False
        self._held = True
        return True

    def release(self):
        if not self._held:
            raise RuntimeError
        self._held = False

    def locked(self):
        return self._held

    def __enter__(self):
        self.acquire()

    def __exit__(self, *args):
        self.release()


def allocate_lock():
    return _Lock()


def get_ident():
    return 1
