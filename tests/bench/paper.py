#!/usr/bin/env python3
"""usage: paper.py CKVAULT FILE WORK [--tera 20] [--drives 4x12T] [--survive 1] [--rate 180M] [--sample 4]

What an export of so many terabytes would be, which nobody has to spare: a FUSE file system shows files of that size, made of FILE, of
real weights, again and again, and `ckvault plan` reads of them what it judges by. What grows with the size of a set (the state of the export
on its host, hashes.b3, the inventory) is measured on an export of some gigabytes, cut in segments, blocks and groups as the large
one is, and told in proportion to its bytes; so is the memory, at its peak. Prints both in Markdown. Needs root, fusepy, and room in WORK
for twice the sample.
"""
import argparse, errno, json, mmap, os, re, shutil, stat, subprocess, tempfile, threading, time
import fuse

FILES = 16


class Large(fuse.Operations):
    """Files that have no end of what FILE has."""

    def __init__(self, file, size):
        self.data = mmap.mmap(os.open(file, os.O_RDONLY), 0, prot=mmap.PROT_READ)
        self.of = {f"/model-{n:05d}-of-{FILES:05d}.safetensors": size // FILES for n in range(1, FILES + 1)}

    def getattr(self, path, handle=None):
        if path == "/":
            return dict(st_mode=stat.S_IFDIR | 0o755, st_nlink=2)
        if path not in self.of:
            raise fuse.FuseOSError(errno.ENOENT)
        size = self.of[path]
        return dict(st_mode=stat.S_IFREG | 0o644, st_nlink=1, st_size=size, st_blocks=size // 512, st_mtime=1)

    def readdir(self, path, handle):
        return [".", "..", *(name[1:] for name in self.of)]

    def read(self, path, length, offset, handle):
        at = offset % (len(self.data) - length)
        return self.data[at : at + length]


def run(*command):
    """What it prints, its seconds, and MiB of memory at most."""
    begun = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    told = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: {status}")
    return json.loads(told), time.monotonic() - begun, usage.ru_maxrss / 1024


def largest(place, over):
    """The most bytes that files below a directory had together until `over` is set."""
    most = 0
    while not over.wait(0.02):
        sizes = 0
        for directory, _, names in os.walk(place):
            for name in names:
                try:
                    sizes += os.path.getsize(os.path.join(directory, name))
                except OSError:
                    pass
        most = max(most, sizes)
    return most


def planned(given, work):
    place = f"{work}/large"
    os.mkdir(place)
    size = int(given.tera * 1e12)
    serve = threading.Thread(target=lambda: fuse.FUSE(Large(given.file, size), place, foreground=True, ro=True, allow_other=True))
    serve.start()
    try:
        while not os.path.ismount(place):
            time.sleep(0.05)
        options = ["--drives", given.drives, "--survive-drives", str(given.survive), "--rate", given.rate]
        return run(given.ckvault, "plan", place, *options, "--json")
    finally:
        subprocess.run(["umount", place])
        serve.join()


def sampled(given, work, plan):
    """A part of it, on as many drives, and what there is of each kind of metadata for a byte that goes in."""
    source, size = f"{work}/source", int(given.sample * 1e9)
    os.mkdir(source)
    with open(given.file, "rb") as file, open(f"{source}/weights.bin", "wb") as out:
        while out.tell() < size:
            file.seek(0)
            shutil.copyfileobj(file, out, 16 << 20)
    to = []
    for drive in plan["drives"]:
        os.mkdir(f"{work}/drive{drive['drive']}")
        to += ["--to", f"{work}/drive{drive['drive']}"]
    cut = ["--parity", f"{plan['k']}+{plan['m']}", "--segment-size", str(plan["segment_bytes"]), "--block-size", str(plan["block_bytes"])]
    over, most = threading.Event(), []
    watch = threading.Thread(target=lambda: most.append(largest(os.environ["XDG_STATE_HOME"], over)))
    watch.start()
    recipients = f"{os.environ['CKVAULT_HOME']}/recipients.txt"
    command = [given.ckvault, "export", source, *to, "--recipients", recipients, "--no-read-back", *cut, "--json"]
    told, seconds, memory = run(*command)
    over.set(), watch.join()
    files = {}
    for directory, _, names in os.walk(f"{work}/drive1"):
        if os.path.basename(directory) not in ("copy", "third"):
            files.update((name, os.path.getsize(os.path.join(directory, name))) for name in names)
    got = os.path.getsize(f"{source}/weights.bin")
    return got, {"state on the host": most[0], **{name: files.get(name, 0) for name in ("hashes.b3", "inventory.age", "manifest.json")}}, memory


def human(size):
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:.1f} {unit}"
        size /= 1000


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("ckvault", "file", "work"):
        options.add_argument(name)
    options.add_argument("--tera", type=float, default=20)
    options.add_argument("--drives", default="4x12T")
    options.add_argument("--survive", type=int, default=1)
    options.add_argument("--rate", default="180M")
    options.add_argument("--sample", type=float, default=4)
    given = options.parse_args()
    given.ckvault, given.file = os.path.abspath(given.ckvault), os.path.abspath(given.file)
    work = tempfile.mkdtemp(dir=given.work)
    os.environ.update(CKVAULT_HOME=f"{work}/home", XDG_STATE_HOME=f"{work}/state")
    try:
        subprocess.run([given.ckvault, "keygen"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        plan, seconds, memory = planned(given, work)
        expected = max(drive["expected"] for drive in plan["drives"])
        print(f"{given.tera} TB on {given.drives}, {plan['k']}+{plan['m']}, {plan['groups']} groups, volumes of {human(plan['volume_bytes'])}, "
              f"blocks of {plan['block_bytes'] >> 10} KiB, segments of {plan['segment_bytes'] >> 10} KiB: planned in {seconds:.1f} s, {memory:.0f} MiB\n")
        print(f"on the fullest drive {human(expected)}; written at {given.rate}B/s and read back in {plan['seconds'] / 3600:.1f} h")
        got, sizes, memory = sampled(given, work, plan)
        print(f"\n| | of {human(got)} | of {given.tera} TB |\n|---|---|---|")
        for name, size in sizes.items():
            print(f"| {name} | {human(size)} | {human(size * given.tera * 1e12 / got)} |")
        print(f"| memory of the export | {memory:.0f} MiB | |")
    finally:
        shutil.rmtree(work)


main()
