"""A file system that lies: what it says of its files is not how they are. `liar.py LIE DIR`, with fusepy."""
import errno, itertools, os, stat, sys, time

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


class Mirror(Operations):
    """Shows the directory beside its own, and keeps what is written there; but does not do all that it is asked for."""

    def __init__(self):
        self.root = TARGET.rstrip("/") + ".behind"
        os.makedirs(self.root, exist_ok=True)

    def _at(self, path):
        return self.root + path

    def getattr(self, path, fh=None):
        seen = os.lstat(self._at(path))
        names = "st_mode st_nlink st_ino st_size st_uid st_gid st_mtime st_ctime st_atime st_blocks".split()
        return {name: getattr(seen, name) for name in names}

    def readdir(self, path, fh):
        return [".", ".."] + os.listdir(self._at(path))

    def mkdir(self, path, mode):
        os.mkdir(self._at(path), mode)

    def create(self, path, mode, fi=None):
        return os.open(self._at(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def open(self, path, flags):
        return os.open(self._at(path), flags & ~(os.O_CREAT | os.O_EXCL))

    def read(self, path, size, offset, fh):
        while os.path.exists(TARGET + ".stands"):  # a drive that tries again and again
            open(TARGET + ".waits", "w").close()
            time.sleep(0.01)
        return os.pread(fh, size, offset)

    def write(self, path, data, offset, fh):
        if LIE == "quota" and os.fstat(fh).st_size > 100_000:  # what this user may use is used up
            raise FuseOSError(errno.EDQUOT)
        return os.pwrite(fh, data, offset)

    def truncate(self, path, length, fh=None):
        os.truncate(self._at(path), length)

    def release(self, path, fh):
        os.close(fh)

    def fsync(self, path, datasync, fh):
        # Its volumes are not durable before somebody says so.
        while LIE == "gate" and path.endswith(".ckv.partial") and not os.path.exists(self.root + ".open"):
            time.sleep(0.02)
        os.fsync(fh)

    def fsyncdir(self, path, datasync, fh):
        return 0

    def unlink(self, path):
        os.unlink(self._at(path))

    def rmdir(self, path):
        os.rmdir(self._at(path))

    def rename(self, old, new):
        os.rename(self._at(old), self._at(new))
        if LIE == "forgets" and os.path.isdir(self._at(new)):  # one file of a directory that is moved
            for above, _, names in os.walk(self._at(new)):
                [os.unlink(os.path.join(above, name)) for name in names if name == "config.json"]

    def symlink(self, name, target):
        os.symlink(target, self._at(name))

    def readlink(self, path):
        return os.readlink(self._at(path))

    def link(self, target, source):
        os.link(self._at(source), self._at(target))

    def statfs(self, path):
        told = os.statvfs(self.root)
        names = "f_bavail f_bfree f_blocks f_bsize f_favail f_ffree f_files f_flag f_frsize f_namemax".split()
        return {name: getattr(told, name) for name in names}

    def chmod(self, path, mode):
        if LIE == "modes":
            raise FuseOSError(errno.EPERM)
        if LIE != "deaf":
            os.chmod(self._at(path), mode)

    def chown(self, path, uid, gid):
        raise FuseOSError(errno.EPERM)

    def utimens(self, path, times=None):
        if LIE == "modes":
            raise FuseOSError(errno.EPERM)
        os.utime(self._at(path), times)

    def lock(self, path, fh, cmd, lock):
        if LIE == "locks":
            raise FuseOSError(errno.ENOLCK)
        raise FuseOSError(errno.ENOSYS)


mirrors = LIE in ("locks", "modes", "deaf", "forgets", "quota", "stands", "gate")
FUSE(
    Mirror() if mirrors else Liar(),
    TARGET,
    foreground=True,
    nothreads=True,
    use_ino=True,
    direct_io=not mirrors,
    attr_timeout=60 if LIE == "forgets" else 0,
    entry_timeout=60 if LIE == "forgets" else 0,
)
