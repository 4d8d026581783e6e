#!/usr/bin/env python3
"""Restores an undamaged ckvault set without ckvault: Python's standard library, plus age, zstd and tar on PATH.

    python3 recover.py SETDIR... --identity FILE --to DIR [--signers FILE]

SETDIR: a *.ckvault directory; give all of them when the set lies on several drives, of all its parts when it has several.
--signers: an allowed_signers file.
The format is written down in ckvault-format(5). Parity is not used here: a damaged set needs ckvault.
"""
import argparse, base64, json, os, subprocess, sys

FRAME = 16  # magic, length, segment number
FILTER = (0x184D2A5F).to_bytes(4, "little")


def die(why):
    sys.exit("recover.py: " + why)


def find(dirs, name):
    for place in [p for d in dirs for p in (d, os.path.join(d, "copy"))]:
        if os.path.isfile(os.path.join(place, name)):
            return os.path.join(place, name)
    die(f"{name} is in none of the directories given: name the directories of the other drives too")


def age(identity, data):
    """age -d with the set's secret handed over in a pipe, so that it touches no disk and no argument list."""
    read, write = os.pipe()
    os.write(write, identity)
    os.close(write)
    run = subprocess.run(["age", "-d", "-i", f"/dev/fd/{read}"], input=data, stdout=subprocess.PIPE, pass_fds=[read])
    os.close(read)
    return run.stdout if run.returncode == 0 else die("age cannot decrypt; is this the right identity?")


def have(tool):
    return any(os.access(os.path.join(d, tool), os.X_OK) for d in os.environ.get("PATH", "").split(os.pathsep))


def check_signature(dirs, manifest, signers):
    signature = find(dirs, "manifest.json.sig")
    if not (signers and have("ssh-keygen")):
        print("signature NOT VERIFIED (needs ssh-keygen and --signers FILE)", file=sys.stderr)
        return
    verify = lambda *args: subprocess.run(["ssh-keygen", "-Y", *args, "-n", "ckvault", "-s", signature], stdin=open(manifest, "rb"), stdout=subprocess.PIPE, text=True)
    who = verify("find-principals", "-f", signers).stdout.splitlines()
    if not who or verify("verify", "-f", signers, "-I", who[0]).returncode:
        die("the signature over manifest.json is not by a trusted signer")
    print(f"signature verified: {who[0]}", file=sys.stderr)


def check_hashes(dirs, manifest):
    """Everything that is used must have the hash that the signed manifest says. Returns where each file is."""
    signed = {name: manifest["files"][name]["blake3"] for name in ("keys.age", "inventory.age")}
    for g, group in enumerate(manifest["groups"]):
        for v, volume in enumerate(group["volumes"][: group["k"]]):
            signed[f"g{g:05}-d{v:03}.ckv"] = volume["blake3"]
    paths = {name: os.path.realpath(find(dirs, name)) for name in signed}
    if not have("b3sum"):
        print("contents NOT VERIFIED (needs b3sum)", file=sys.stderr)
        return paths
    lines = "".join(f"{signed[name]}  {path}\n" for name, path in paths.items())
    if subprocess.run(["b3sum", "--quiet", "-c"], input=lines, text=True).returncode:
        die("files are not as they were signed: bring another drive, or repair the set with ckvault")
    print(f"contents verified against the manifest: {len(paths)} files", file=sys.stderr)
    return paths


def unzstd(packed):
    run = subprocess.run(["zstd", "-dc"], input=packed, stdout=subprocess.PIPE)
    return run.stdout if run.returncode == 0 else die("zstd cannot decompress: repair the set with ckvault")


def from_planes(packed, planes):
    """A segment as it was: words of N bytes put together from planes, and turned right by a bit if they had been turned left."""
    if packed[:4] != FILTER:
        return planes
    out, at, end = [], 0, 8 + int.from_bytes(packed[4:8], "little")
    for r in range(8, end, 5):
        length, n = int.from_bytes(packed[r : r + 4], "little"), packed[r + 4] & 0x7F
        plane = length // n
        words = bytearray(plane * n)
        for k in range(n):
            words[k::n] = planes[at + k * plane : at + (k + 1) * plane]
        if packed[r + 4] & 0x80:
            word = int.from_bytes(words, "little")
            low = word & int.from_bytes((b"\1" + bytes(n - 1)) * plane, "little")
            words = ((word ^ low) >> 1 | low << 8 * n - 1).to_bytes(plane * n, "little")
        out += words, planes[at + plane * n : at + length]
        at += length
    return b"".join(out)


def frames(paths, segments):
    """The age files of all segments of a part, in order."""
    opened = {}
    for s in segments:
        g, v = s["group"], s["volume"]
        if (g, v) not in opened:
            if any(key[0] != g for key in opened):
                [f.close() for f in opened.values()]
                opened.clear()
            opened[g, v] = open(paths[f"g{g:05}-d{v:03}.ckv"], "rb")
        opened[g, v].seek(s["offset"])
        frame = opened[g, v].read(s["bytes"])
        header = b"ckvF" + (s["bytes"] - FRAME).to_bytes(4, "little") + s["segment"].to_bytes(8, "little")
        if len(frame) != s["bytes"] or frame[:FRAME] != header:
            die(f"segment {s['segment']} is damaged: repair the set with ckvault")
        yield frame[FRAME:]


def finish(entries, to):
    """What tar cannot carry (nanoseconds, times before 1970, extended attributes), and modes without set-user-id.
    Directories last, innermost first."""
    raw = lambda name: name.encode() if isinstance(name, str) else base64.b64decode(name["base64"])
    for e in sorted(entries, key=lambda e: e["kind"] == "dir" and 1 + 1 / (1 + raw(e["path"]).count(b"/") + bool(e["path"]))):
        path = os.path.join(os.fsencode(to), raw(e["path"]))
        for name, value in e.get("xattrs", []):
            os.chmod(path, 0o700)
            os.setxattr(path, raw(name), raw(value))
        if e["kind"] in ("dir", "file"):
            os.chmod(path, e["mode"] & (0o3777 if e["kind"] == "dir" else 0o1777))
        seconds, nanoseconds = e["mtime"]
        os.utime(path, ns=(seconds * 10**9 + nanoseconds,) * 2, follow_symlinks=False)


def parts(dirs, signers):
    """The parts of the set in order: signed manifest, and where each file is."""
    found = {}
    for d in dirs:
        found.setdefault(json.load(open(find([d], "manifest.json"), "rb"))["part"], []).append(d)
    for n in range(1, max(found) + 1):
        if n not in found:
            die(f"part {n} of the set is not here: name its directory too")
        manifest = find(found[n], "manifest.json")
        check_signature(found[n], manifest, signers)
        signed = json.load(open(manifest, "rb"))
        yield signed, check_hashes(found[n], signed)
    if not signed["last"]:
        die(f"there are more parts than {n}: name their directories too")


def read_inventory(identity, signed, paths):
    """Entries of the whole set, and the segments of this part."""
    lines = unzstd(age(identity, open(paths["inventory.age"], "rb").read())).splitlines()
    head, rest = json.loads(lines[0]), [json.loads(line) for line in lines[1:]]
    if (head["set"], head["part"]) != (signed["set"], signed["part"]):
        die("the inventory is that of another set")
    return head, rest[: head["entries"]], rest[head["entries"] :]


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("setdir", nargs="+")
    args.add_argument("--identity", required=True)
    args.add_argument("--to", required=True)
    args.add_argument("--signers")
    args = args.parse_args()
    found = list(parts(args.setdir, args.signers))
    slot = subprocess.run(["age", "-d", "-i", args.identity, found[0][1]["keys.age"]], stdout=subprocess.PIPE)
    identity = slot.stdout if slot.returncode == 0 else die("age cannot open keys.age with this identity")
    os.makedirs(args.to, exist_ok=True)
    if os.listdir(args.to):
        die(f"{args.to} is not empty")
    tar = subprocess.Popen(["tar", "-x", "-C", args.to, "--no-same-owner", "--no-same-permissions", "-f", "-"], stdin=subprocess.PIPE)
    end = 0
    for signed, paths in found:
        if signed["set"] != found[0][0]["set"]:
            die("these directories are of different sets")
        head, entries, segments = read_inventory(identity, signed, paths)
        if head["first"] != end or [s["segment"] for s in segments] != list(range(end, end + head["segments"])):
            die("the inventory does not name every segment")
        for sealed in frames(paths, segments):
            packed = age(identity, sealed)
            plain = unzstd(packed)
            try:
                tar.stdin.write(from_planes(packed, plain) if signed["filter"] == "planes" else plain)
            except BrokenPipeError:
                die("tar stopped: what is in " + args.to + " is not complete; is there room?")
        end += head["segments"]
    tar.stdin.close()
    if tar.wait():
        die("tar failed: what is in " + args.to + " is not complete")
    finish(entries, args.to)
    print(f"restored {head['entries']} entries to {args.to}", file=sys.stderr)


main()
