#!/usr/bin/env python3
"""Restores an undamaged ckvault set without ckvault: Python's standard library, plus age, zstd and tar on PATH.

    python3 recover.py SETDIR... --identity FILE --to DIR [--signers FILE]

SETDIR: a *.ckvault directory; give several when the volumes lie on several drives. --signers: an allowed_signers file.
The format is written down in ckvault-format(5). Parity is not used here: a damaged set needs ckvault.
"""
import argparse, base64, glob, json, os, subprocess, sys, tempfile

FRAME = 16  # magic, length, segment number


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


def frames(paths, segments):
    """The age files of all segments, in order."""
    opened = {}
    for n, s in enumerate(segments):
        g, v = s["group"], s["volume"]
        if (g, v) not in opened:
            if any(key[0] != g for key in opened):
                [f.close() for f in opened.values()]
                opened.clear()
            opened[g, v] = open(paths[f"g{g:05}-d{v:03}.ckv"], "rb")
        opened[g, v].seek(s["offset"])
        frame = opened[g, v].read(s["bytes"])
        header = b"ckvF" + (s["bytes"] - FRAME).to_bytes(4, "little") + n.to_bytes(8, "little")
        if s["segment"] != n or len(frame) != s["bytes"] or frame[:FRAME] != header:
            die(f"segment {n} is damaged: repair the set with ckvault")
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


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("setdir", nargs="+")
    args.add_argument("--identity", required=True)
    args.add_argument("--to", required=True)
    args.add_argument("--signers")
    args = args.parse_args()
    manifest = find(args.setdir, "manifest.json")
    check_signature(args.setdir, manifest, args.signers)
    signed = json.load(open(manifest, "rb"))
    paths = check_hashes(args.setdir, signed)
    slot = subprocess.run(["age", "-d", "-i", args.identity, paths["keys.age"]], stdout=subprocess.PIPE)
    identity = slot.stdout if slot.returncode == 0 else die("age cannot open keys.age with this identity")
    packed = age(identity, open(paths["inventory.age"], "rb").read())
    lines = subprocess.run(["zstd", "-dc"], input=packed, stdout=subprocess.PIPE, check=True).stdout.splitlines()
    head, rest = json.loads(lines[0]), lines[1:]
    entries = [json.loads(line) for line in rest[: head["entries"]]]
    segments = [json.loads(line) for line in rest[head["entries"] :]]
    if head["set"] != signed["set"]:
        die("the inventory is that of another set")
    if [s["segment"] for s in segments] != list(range(head["segments"])):
        die("the inventory does not name every segment")
    os.makedirs(args.to, exist_ok=True)
    if os.listdir(args.to):
        die(f"{args.to} is not empty")
    tar = subprocess.Popen(["tar", "-x", "-C", args.to, "--no-same-owner", "--no-same-permissions", "-f", "-"], stdin=subprocess.PIPE)
    zstd = subprocess.Popen(["zstd", "-dc"], stdin=subprocess.PIPE, stdout=tar.stdin)
    tar.stdin.close()
    for sealed in frames(paths, segments):
        zstd.stdin.write(age(identity, sealed))
    zstd.stdin.close()
    if zstd.wait() or tar.wait():
        die("zstd or tar failed: what is in " + args.to + " is not complete")
    finish(entries, args.to)
    print(f"restored {head['entries']} entries to {args.to}", file=sys.stderr)


main()
