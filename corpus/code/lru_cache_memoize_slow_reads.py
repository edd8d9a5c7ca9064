"""Caches for small memories: an LRU dictionary, a decorator with an age limit, and what they save.

Runs on every board; the "slow sensor" is played by a function that sleeps.
"""
import gc
import time


class LRU:
    """A dictionary of bounded size that forgets what was not used for the longest time.

    A doubly linked list runs through small lists [previous, next, key, value], so that both
    looking up and moving to the front take the same time however full it is.
    """

    PREVIOUS, NEXT, KEY, VALUE = range(4)

    def __init__(self, size):
        if size < 1:
            raise ValueError("size must be at least 1")
        self.size = size
        self.cells = {}
        self.root = root = []
        root[:] = [root, root, None, None]

    def _unlink(self, cell):
        before, after = cell[self.PREVIOUS], cell[self.NEXT]
        before[self.NEXT] = after
        after[self.PREVIOUS] = before

    def _link_first(self, cell):
        first = self.root[self.NEXT]
        cell[self.PREVIOUS] = self.root
        cell[self.NEXT] = first
        first[self.PREVIOUS] = cell
        self.root[self.NEXT] = cell

    def get(self, key, default=None):
        cell = self.cells.get(key)
        if cell is None:
            return default
        self._unlink(cell)
        self._link_first(cell)
        return cell[self.VALUE]

    def __setitem__(self, key, value):
        cell = self.cells.get(key)
        if cell is not None:
            cell[self.VALUE] = value
            self._unlink(cell)
        else:
            if len(self.cells) >= self.size:
                last = self.root[self.PREVIOUS]
                self._unlink(last)
                del self.cells[last[self.KEY]]
            cell = [None, None, key, value]
            self.cells[key] = cell
        self._link_first(cell)

    def __len__(self):
        return len(self.cells)

    def keys(self):
        """From the newest to the oldest."""
        cell = self.root[self.NEXT]
        while cell is not self.root:
            yield cell[self.KEY]
            cell = cell[self.NEXT]

    def clear(self):
        self.cells.clear()
        self.root[self.PREVIOUS] = self.root[self.NEXT] = self.root


def cached(size=16, max_age_ms=None):
    """Decorator: remember results by their arguments, for a limited time if an age is given."""

    def decorate(function):
        memory = LRU(size)
        counts = [0, 0]

        def wrapper(*arguments):
            now = time.ticks_ms()
            entry = memory.get(arguments)
            if entry is not None:
                stamp, value = entry
                if max_age_ms is None or time.ticks_diff(now, stamp) <= max_age_ms:
                    counts[0] += 1
                    return value
            counts[1] += 1
            value = function(*arguments)
            memory[arguments] = now, value
            return value

        # Functions carry no attributes here, so the figures are handed out by a second function.
        return wrapper, lambda: tuple(counts)

    return decorate


def slow_sensor(channel):
    time.sleep_ms(40)
    return channel * 100 + time.ticks_ms() % 10


def test_lru():
    cache = LRU(3)
    for letter in "abc":
        cache[letter] = letter.upper()
    assert cache.get("a") == "A"
    cache["d"] = "D"  # pushes out b, because a was just used
    assert cache.get("b") is None and list(cache.keys()) == ["d", "a", "c"]
    cache["c"] = "new"
    assert len(cache) == 3 and list(cache.keys()) == ["c", "d", "a"]
    cache.clear()
    assert list(cache.keys()) == [] and len(cache) == 0


def main():
    test_lru()
    read, figures = cached(size=4, max_age_ms=500)(slow_sensor)
    started = time.ticks_ms()
    for turn in range(60):
        read(turn * turn % 5)
        time.sleep_ms(5)
    hits, misses = figures()
    print("%d ms, %d from the cache, %d measured" % (time.ticks_diff(time.ticks_ms(), started), hits, misses))

    gc.collect()
    before = gc.mem_alloc()
    cache = LRU(100)
    for number in range(100):
        cache[number] = number
    print("an entry takes %d bytes" % ((gc.mem_alloc() - before) // 100))


main()
