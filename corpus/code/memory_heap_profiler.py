"""See where the memory goes: cost of a call, leaks, and how fragmented the heap is.

Runs on every port with the gc module; no wiring. Import it in the REPL and call
profile(function), or run it as it is for a demonstration.
"""

import gc
import sys
import time

import micropython

STEP = 16  # heaps are managed in blocks of 16 bytes on 32-bit boards


def largest_block(limit=None):
    """Bytes of the largest bytearray that can be made now, found by bisection."""
    gc.collect()
    low = 0
    high = (limit or gc.mem_free()) // STEP
    while low < high:
        middle = (low + high + 1) // 2
        try:
            probe = bytearray(middle * STEP)
            low = middle
            del probe
        except MemoryError:
            high = middle - 1
        gc.collect()
    return low * STEP


def fragmentation():
    """0.0 when all free memory is one piece, near 1.0 when only crumbs are left."""
    gc.collect()
    free = gc.mem_free()
    return 1 - largest_block() / free if free else 0.0


def report(title):
    gc.collect()
    used, free = gc.mem_alloc(), gc.mem_free()
    print("{:22s} used {:7d}  free {:7d}  largest {:7d}".format(
        title, used, free, largest_block()))


def profile(function, *args, repeat=5):
    """Run a function several times and print what it allocates and what it keeps."""
    garbage = []
    kept = []
    for _ in range(repeat):
        gc.collect()
        before = gc.mem_alloc()
        # Without this, a collection in the middle would hide part of the garbage.
        gc.disable()
        try:
            started = time.ticks_us()
            function(*args)
            took = time.ticks_diff(time.ticks_us(), started)
            peak = gc.mem_alloc()
        finally:
            gc.enable()
        gc.collect()
        garbage.append(peak - before)
        kept.append(gc.mem_alloc() - before)
    name = getattr(function, "__name__", "function")
    print("{}: allocates {} bytes, {} us".format(name, min(garbage), took))
    # The first call may fill caches; growth in the later ones is a leak.
    if min(kept[1:] or kept) > 0:
        print("  keeps {} bytes per call: a leak?".format(min(kept[1:] or kept)))


def join_by_adding(count=50):
    text = ""
    for i in range(count):
        text += str(i) + ","  # a new, longer string each time
    return text


def join_by_list(count=50):
    return ",".join([str(i) for i in range(count)])


history = []


def leaky():
    history.append(bytearray(64))


def fragment_heap(count):
    """Allocate small blocks and free every second one: holes remain."""
    blocks = [bytearray(48) for _ in range(count)]
    return blocks[::2]


def main():
    print("MicroPython", ".".join(str(n) for n in sys.implementation.version[:3]))
    report("at start")

    profile(join_by_adding)
    profile(join_by_list)
    profile(leaky)

    report("before fragmenting")
    survivors = fragment_heap(gc.mem_free() // 4 // 64)
    report("with holes")
    print("fragmentation {:.0f} %".format(100 * fragmentation()))
    del survivors
    history.clear()
    report("after cleaning up")

    # Collect before the heap is completely full: shorter pauses, fewer holes.
    gc.threshold(gc.mem_free() // 4 + gc.mem_alloc())
    micropython.mem_info()


if __name__ == "__main__":
    main()
