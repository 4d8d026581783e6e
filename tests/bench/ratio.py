#!/usr/bin/env python3
"""usage: ratio.py CKVAULT PLACE [--megabytes 64] KIND=PATH...

How small data becomes, by kind: the frames in the data volumes of a set, without parity, relative to what went in, beside
zstd -3 and -19 of the same bytes. Prints a table in Markdown. PATH is a file or a directory of data of that kind (real
weights, optimizer states, texts); of it, the first --megabytes count. Kinds that need no example are made: random bytes,
int8 weights, and what is compressed already.
"""
import argparse, os, random, shutil, subprocess, sys, zlib

HEADER_PAGE = 64 << 10


def first_bytes(path, most):
    """The first bytes of the files there, the largest first: a checkpoint has small files of other kinds too."""
    files = [path] if os.path.isfile(path) else [os.path.join(d, f) for d, _, names in os.walk(path) for f in names]
    data = bytearray()
    for name in sorted(files, key=os.path.getsize, reverse=True):
        with open(name, "rb") as file:
            data += file.read(most - len(data))
    return data


def made(most):
    """Kinds that need no example."""
    dice = random.Random(1)
    noise = dice.randbytes(most)
    # The sum of eight uniform bytes is close to normal; quantized weights are.
    columns = [dice.randbytes(min(most, 16 << 20)) for _ in range(8)]
    yield "int8 weights (made: normal, deviation 26)", bytes((sum(c) // 8) - 128 & 255 for c in zip(*columns))
    yield "random bytes", noise
    text = b" ".join(b"%d" % dice.getrandbits(20) for _ in range(most // 8))
    yield "compressed already (deflate)", zlib.compress(text, 6)


def set_bytes(ckvault, data):
    """What the frames of a set take. With one data volume a group, as little as this fills segments of 1 MiB."""
    for name in ("source", "drive"):
        shutil.rmtree(name, ignore_errors=True)
        os.mkdir(name)
    with open("source/data", "wb") as file:
        file.write(data)
    export = [ckvault, "export", "source", "--to", "drive", "--parity", "1+1", "--no-read-back"]
    subprocess.run(export, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    volumes = [os.path.join(d, f) for d, _, names in os.walk("drive") for f in names if f.endswith(".ckv") and "-d" in f]
    return sum(os.path.getsize(v) - HEADER_PAGE for v in volumes)


def zstd_bytes(level, data):
    return len(subprocess.run(["zstd", "-q", "-T0", f"-{level}", "-c", "source/data"], check=True, capture_output=True).stdout)


def main():
    parse = argparse.ArgumentParser(usage=__doc__.split("\n")[0].removeprefix("usage: "))
    parse.add_argument("ckvault"), parse.add_argument("place"), parse.add_argument("kinds", nargs="*")
    parse.add_argument("--megabytes", type=int, default=64)
    arguments = parse.parse_intermixed_args()
    most = arguments.megabytes << 20
    kinds = [(kind, os.path.abspath(path)) for kind, path in (k.split("=", 1) for k in arguments.kinds)]
    ckvault, place = os.path.abspath(arguments.ckvault), os.path.join(os.path.abspath(arguments.place), "ckvault-ratio")
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(place)
    os.chdir(place)
    try:
        os.environ["CKVAULT_HOME"] = os.path.join(place, "home")
        subprocess.run([ckvault, "keygen"], check=True, stdout=subprocess.DEVNULL)
        print("| kind | MB | ckvault | zstd -3 | zstd -19 |\n|---|---|---|---|---|")
        examples = ((kind, first_bytes(path, most)) for kind, path in kinds)
        for kind, data in (pair for source in (examples, made(most)) for pair in source):
            ours = set_bytes(ckvault, data)
            shares = [n / len(data) for n in (ours, zstd_bytes(3, data), zstd_bytes(19, data))]
            print(f"| {kind} | {len(data) / 1e6:.0f} | " + " | ".join(f"{share:.4f}" for share in shares) + " |", flush=True)
    finally:
        shutil.rmtree(place)


main()
