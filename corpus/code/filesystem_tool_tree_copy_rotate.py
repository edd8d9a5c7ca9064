"""File helpers for the REPL: tree, free space, copy and log rotation.

Runs on any board, and on the Unix port. The demonstration mounts a LittleFS RAM disk
at /ram, so the flash is not worn; it needs about 20 KB of free memory.
"""

import errno
import os

import vfs

COPY_CHUNK = 256
DIRECTORY = 0x4000
LOG_LIMIT = 600
KEEP_LOGS = 3


class RAMDisk:
    """A block device with the extended protocol, as LittleFS wants it."""

    def __init__(self, block_size, blocks):
        self.block_size = block_size
        self.data = bytearray(block_size * blocks)

    def readblocks(self, block, buf, offset=0):
        start = block * self.block_size + offset
        buf[:] = memoryview(self.data)[start:start + len(buf)]

    def writeblocks(self, block, buf, offset=None):
        start = block * self.block_size + (offset or 0)
        self.data[start:start + len(buf)] = buf

    def ioctl(self, op, arg):
        if op == 4:  # number of blocks
            return len(self.data) // self.block_size
        if op == 5:  # bytes per block
            return self.block_size
        return 0  # erase and sync have nothing to do in RAM


def exists(path):
    try:
        os.stat(path)
        return True
    except OSError as err:
        if err.errno == errno.ENOENT:
            return False
        raise


def size(path):
    return os.stat(path)[6]


def tree(path, indent=0):
    """Print the folder with its sizes; return the bytes in all files below it."""
    total = 0
    for entry in sorted(os.ilistdir(path)):
        name, kind = entry[0], entry[1]
        full = path.rstrip("/") + "/" + name
        if kind == DIRECTORY:
            print("{}{}/".format(" " * indent, name))
            total += tree(full, indent + 2)
        else:
            length = size(full)
            print("{}{:20s} {:6d}".format(" " * indent, name, length))
            total += length
    return total


def free_bytes(path):
    stat = os.statvfs(path)
    return stat[0] * stat[3]  # block size times free blocks


def copy(source, target):
    """Copy in small pieces, so the size of the file does not matter."""
    if free_bytes(target.rsplit("/", 1)[0] or "/") < size(source):
        raise OSError(errno.ENOSPC)
    chunk = bytearray(COPY_CHUNK)
    view = memoryview(chunk)
    with open(source, "rb") as src, open(target, "wb") as dst:
        while True:
            count = src.readinto(chunk)
            if not count:
                break
            dst.write(view[:count])


def rotate(path, keep):
    """log -> log.1 -> log.2 and so on; the oldest one is removed."""
    if exists("{}.{}".format(path, keep)):
        os.remove("{}.{}".format(path, keep))
    for number in range(keep - 1, 0, -1):
        old = "{}.{}".format(path, number)
        if exists(old):
            os.rename(old, "{}.{}".format(path, number + 1))
    if exists(path):
        os.rename(path, path + ".1")


def log(path, line):
    with open(path, "a") as f:
        f.write(line + "\n")
    if size(path) > LOG_LIMIT:
        rotate(path, KEEP_LOGS)


def demo():
    disk = RAMDisk(512, 32)
    vfs.VfsLfs2.mkfs(disk)
    vfs.mount(vfs.VfsLfs2(disk, readsize=64, progsize=64), "/ram")
    try:
        os.mkdir("/ram/logs")
        for number in range(120):
            log("/ram/logs/app.log", "line {} of a talkative program".format(number))
        copy("/ram/logs/app.log.1", "/ram/backup.log")
        print("total {} bytes, {} free".format(tree("/ram"), free_bytes("/ram")))
    finally:
        vfs.umount("/ram")


demo()
