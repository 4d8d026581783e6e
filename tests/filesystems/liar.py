"""A file system that lies: what it says of its files is not how they are. `liar.py LIE DIR`, with fusepy."""
import itertools, stat, sys

from fuse import FUSE, FuseOSError, Operations

LIE, TARGET = sys.argv[1:3]
FILES = {"/one": b"first\n", "/two": b"something else\n", "/three": b"x" * 100000}
COUNT = itertools.count(1000)


class Liar(Operations):
    def getattr(self, path, fh=None):
        if path == "/":
            return dict(st_mode=stat.S_IFDIR | 0o755, st_nlink=2, st_ino=1)
        if path not in FILES:
            raise FuseOSError(2)
        size, number, links = len(FILES[path]), 10 + len(path), 1
        if LIE == "inodes":  # all are said to be one file
            number, links = 42, 2
        if LIE == "restless":  # another number whenever it is asked
            number = next(COUNT)
        if LIE == "empty" and path == "/two":
            size = 0
        if LIE == "short" and path == "/two":
            size = 4
        if LIE == "long" and path == "/two":
            size += 5
        return dict(st_mode=stat.S_IFREG | 0o644, st_nlink=links, st_ino=number, st_size=size, st_mtime=1e9 + size)

    def readdir(self, path, fh):
        twice = ["two"] if LIE == "twice" else []
        gone = ["gone"] if LIE == "gone" else []
        return [".", "..", "one", "two", "three"] + twice + gone

    def read(self, path, size, offset, fh):
        return FILES[path][offset : offset + size]


FUSE(Liar(), TARGET, foreground=True, use_ino=True, direct_io=True, attr_timeout=0, entry_timeout=0)
