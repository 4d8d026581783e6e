#!/usr/bin/env python3
"""The tree that lies in all golden sets, and what it is, for make-golden.sh. It knows nothing of ckvault.

    golden_tree.py make DIR         makes the tree in a directory that is empty
    golden_tree.py beside DIR       makes, beside it, what a set has more groups for than one, and its inventory more pieces
    golden_tree.py describe DIR     prints all that must come back, in JSON: an entry in a line

Paths, targets and attributes are in percent-encoding, since they may be any bytes; hashes are BLAKE3 of all bytes, holes too.
"""
import hashlib, json, os, stat, struct, subprocess, sys, urllib.parse

# Allocated bytes that do not tell a sparse file from another.
SLACK = 128 << 10


def noise(name, length):
    return hashlib.shake_128(name.encode()).digest(length)


def write(path, data, mode=0o644):
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, mode)


def numbers(count):
    """Numbers that are like weights: around 0, of different sizes."""
    for whole in struct.unpack("<%dI" % count, noise("weights", 4 * count)):
        yield (whole / 2**32 - 0.5) / 2 ** (whole % 7)


def weights():
    os.makedirs("model/shards")
    write("model/config.json", b'{"architectures": ["Golden"]}\n' * 40, 0o640)
    fp32 = struct.pack("<16000f", *numbers(16000))
    write("model/weights.bf16", b"".join(fp32[i + 2 : i + 4] for i in range(0, len(fp32), 4)) * 2)
    write("model/weights.fp32", fp32, 0o444)
    write("model/weights.fp64", struct.pack("<9000d", *numbers(9000)), 0o600)
    write("model/shards/noise.bin", noise("shard", 70000), 0o664)
    write("model/run.sh", b"#!/bin/sh\nexec true\n", 0o755)


def names():
    os.mkdir("names")
    longest = "long" * 63 + "est"
    odd = [b"not-utf8-\xff\xfe", b"new\nline", b"-rf", b" ", b"back\\slash", b"quo\"te'", b"*?[x]", b"\x01\x1b[31m", b".hidden", b"..."]
    for name in odd + [longest.encode(), "caf\u00e9".encode(), "cafe\u0301".encode(), "\U0001f511".encode(), b"case", b"CASE"]:
        write(b"names/" + name, b"in " + name)
    deep = "names/" + "/".join(["deep" * 20 + str(n) for n in range(12)])
    os.makedirs(deep)
    write(deep + "/ground", b"far below\n")
    os.mkdir(b"names/dir-\xc3\x28")
    write(b"names/dir-\xc3\x28/inside", b"")
    return longest


def links(longest):
    os.mkdir("links")
    os.link("model/weights.fp32", "links/weights-again.fp32")
    os.link("model/weights.fp32", "model/shards/weights-a-third-time.fp32")
    os.link(b"names/not-utf8-\xff\xfe", b"links/hard-\xff")
    os.symlink("../model/config.json", "links/relative")
    os.symlink("relative", "links/chain")
    os.symlink("../model/shards/", "links/to-a-directory")
    os.symlink("../names/" + longest, "links/far")
    os.symlink(b"../names/not-utf8-\xff\xfe", b"links/soft-\xff")
    os.symlink(".", "links/here")


def sparse():
    os.mkdir("sparse")
    with open("sparse/middle", "wb") as file:
        file.seek(3 << 20)
        file.write(noise("middle", 5000))
        file.truncate(8 << 20)
    with open("sparse/nothing", "wb") as file:
        file.truncate((5 << 20) + 7)
    with open("sparse/ends", "wb") as file:
        file.write(b"begins")
        file.seek(12 << 20)
        file.write(b"ends")
    # More stretches than stand in a header of tar and the first record after it.
    with open("sparse/comb", "wb") as file:
        for n in range(30):
            file.seek(n * 160 << 10)
            file.write(noise("tooth", 100))


def nothing():
    os.mkdir("empty")
    os.mkdir("empty/dir")
    os.mkdir("empty/closed", 0o555)
    os.mkdir("empty/shared")
    os.chmod("empty/shared", 0o1777)
    write("empty/file", b"")


def attributes():
    os.setxattr("model/config.json", "user.origin", b"golden")
    os.setxattr("model/config.json", "user.bytes", bytes(range(256)))
    os.setxattr("model/config.json", "user.empty", b"")
    os.setxattr("model", "user.of a directory", b"too")
    os.setxattr("model/weights.fp32", b"user.not-utf8-\xff", b"\xff")


TIMES = {
    b"./empty/file": 0,
    b"./empty/dir": -1,  # a nanosecond before 1970
    b"./model/config.json": -1_500_000_001,
    b"./model/run.sh": 1_700_000_000 * 10**9,
    b"./model/weights.bf16": (2**31 + 1) * 10**9 + 999_999_999,
    b"./model/weights.fp64": (2**33 + 1) * 10**9 + 1,  # more than eleven octal digits
    b"./links/relative": 1_234_567_890_123_456_789,
}


def set_times():
    for directory, dirs, files in os.walk(b".", topdown=False):
        for path in [os.path.join(directory, name) for name in files + dirs] + [directory]:
            time = TIMES.get(path, 1_700_000_000_123_456_789)
            os.utime(path, ns=(time, time), follow_symlinks=False)


def make(to):
    os.umask(0o022)
    os.chmod(to, 0o755)
    os.chdir(to)
    weights()
    links(names())
    sparse()
    nothing()
    attributes()
    set_times()


def beside(to):
    os.umask(0o022)
    os.chdir(to)
    write("more.bin", noise("more", 900_000))
    os.mkdir("marked")
    for n in range(80):
        write("marked/%02d" % n, b"")
        os.setxattr("marked/%02d" % n, "user.mark", noise("mark %d" % n, 1000))
    for path in ["more.bin"] + ["marked/%02d" % n for n in range(80)] + ["marked"]:
        os.utime(path, ns=(10**18, 10**18))


def spelt(data):
    return urllib.parse.quote_from_bytes(data, safe="/")


def blake3(path):
    with open(path, "rb") as file:
        ran = subprocess.run(["b3sum", "--no-names"], stdin=file, stdout=subprocess.PIPE, check=True)
    return ran.stdout.decode().strip()


def attributes_of(path):
    found = [os.fsencode(name) for name in os.listxattr(path)]
    return {spelt(name): spelt(os.getxattr(path, name)) for name in sorted(found) if name.startswith(b"user.")}


def entry(path, inodes):
    """An entry, and the first name of the same file, if it has several."""
    seen = os.lstat(path)
    out = {"path": spelt(path[2:])}
    out["kind"] = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "symlink"}[stat.S_IFMT(seen.st_mode)]
    seconds, nanoseconds = divmod(seen.st_mtime_ns, 10**9)
    out["mtime"] = [seconds, nanoseconds]
    if out["kind"] == "symlink":
        out["target"] = spelt(os.readlink(path))
        return out
    out["mode"] = "%04o" % stat.S_IMODE(seen.st_mode)
    if out["kind"] == "file":
        out.update(size=seen.st_size, blake3=blake3(path), sparse=seen.st_blocks * 512 + SLACK < seen.st_size)
        if seen.st_nlink > 1:
            out["first"] = inodes.setdefault(seen.st_ino, out["path"])
    out["xattrs"] = attributes_of(path)
    return out


def walk(path, inodes):
    yield entry(path, inodes)
    if os.path.isdir(path) and not os.path.islink(path):
        for name in sorted(os.listdir(path)):
            yield from walk(path + b"/" + name, inodes)


def describe(root):
    os.chdir(root)
    print("[\n" + ",\n".join(json.dumps(e) for e in walk(b".", {})) + "\n]")


if __name__ == "__main__":
    _, what, where = sys.argv
    {"make": make, "beside": beside, "describe": describe}[what](where)
