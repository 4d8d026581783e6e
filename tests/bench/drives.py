#!/usr/bin/env python3
"""usage: drives.py CKVAULT FILE WORK [--sets 0.5,4] [--fs ext4,exfat,xfs] [--drives 1,3] [--parity 16+2,8+4]

How a set makes disks work: FILE, of real weights, repeated to sets of so many GB, is exported to loop devices in WORK, verified and
imported from cold, and what the block layer was asked is counted: a disk that reads or writes 180 MB/s and needs 10 ms for
each seek would take so long for it; printed is what share that is of its speed without any seek, and MB a seek. Of several disks,
the slowest counts. Every second byte of each repetition is another one. Needs root, tracefs, losetup, and mkfs and mount of
each file system; WORK has to have room for the source, twice the set, and what is imported.
"""
import argparse, os, re, shutil, subprocess, tempfile

TRACE = "/sys/kernel/tracing"
EVENT = f"{TRACE}/events/block/block_rq_issue"
RATE, SEEK = 180e6, 0.010
NEAR = 64  # sectors that a disk passes over as fast as it reads them
MAKE = {"ext4": ["mkfs.ext4", "-q", "-m", "0"], "exfat": ["mkfs.exfat"], "xfs": ["mkfs.xfs", "-q"]}
MOUNT = {"ext4": ["mount"], "exfat": ["mount.exfat-fuse", "-o", "big_writes"], "xfs": ["mount"]}


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}")
    return done.stdout.strip()


def put(path, text):
    with open(path, "w") as file:
        file.write(text)


class Drive:
    def __init__(self, fs, work, number, size):
        self.fs, self.place, image = fs, f"{work}/drive{number}", f"{work}/image{number}"
        os.mkdir(self.place)
        run("truncate", "-s", str(size), image)
        self.device = run("losetup", "--find", "--show", image)
        node = os.stat(self.device).st_rdev
        self.number = f"{os.major(node)},{os.minor(node)}"
        run(*MAKE[fs], self.device)
        self.mount()

    def mount(self):
        run(*MOUNT[self.fs], self.device, self.place)

    def unmount(self):
        run("umount", self.place)

    def end(self):
        subprocess.run(["umount", self.place], stderr=subprocess.DEVNULL)
        run("losetup", "-d", self.device)


def traced(drives, *command):
    """What each drive was asked while a command ran: operation, sector, sectors."""
    put(f"{TRACE}/buffer_size_kb", "65536")
    put(f"{EVENT}/filter", "0")
    put(f"{TRACE}/trace", "")
    put(f"{EVENT}/enable", "1")
    try:
        run(*command)
        for drive in drives:
            run("sync", "-f", drive.place)
    finally:
        put(f"{EVENT}/enable", "0")
    asked = {drive.number: [] for drive in drives}
    with open(f"{TRACE}/trace") as lines:
        for line in lines:
            found = re.search(r"block_rq_issue: (\d+,\d+) (\w+) \d+ \(.*?\) (\d+) \+ (\d+)", line)
            if found and found[1] in asked:
                asked[found[1]].append((found[2], int(found[3]), int(found[4])))
    return asked


def judged(asked, kind):
    """The share of its speed that the slowest disk has, and its MB a seek."""
    worst = (0, 1, 0)
    for requests in asked.values():
        seeks, total, last = 0, 0, None
        for _, sector, sectors in (r for r in requests if kind in r[0]):
            seeks += last is None or abs(sector - last) > NEAR
            last, total = sector + sectors, total + sectors * 512
        seconds = total / RATE + seeks * SEEK
        worst = max(worst, (seconds, total / RATE / max(seconds, 1e-9), total / 1e6 / max(seeks, 1)))
    return worst[1:]


def make_source(file, place, size):
    os.mkdir(place)
    with open(file, "rb") as opened:
        data = opened.read(256 << 20)
    written, turn = 0, 0
    with open(f"{place}/weights.bin", "wb") as out:
        while written < size:
            piece = bytearray(data[: size - written])
            piece[::2] = piece[::2].translate(bytes((byte + turn) & 255 for byte in range(256)))
            written, turn = written + out.write(piece), turn + 1


def journey(ckvault, fs, source, drives, parity, gb, work):
    here = tempfile.mkdtemp(dir=work)
    os.environ.update(CKVAULT_HOME=f"{here}/home", XDG_STATE_HOME=f"{here}/state")
    run(ckvault, "keygen")
    size = (int(gb * 2200 / drives) + 1024) << 20
    made = [Drive(fs, here, number, size) for number in range(drives)]
    places = [drive.place for drive in made]
    to = [word for place in places for word in ("--to", place)]
    cells = []
    try:
        put("/proc/sys/vm/drop_caches", "3")
        export = [ckvault, "export", source, *to, "--recipients", f"{here}/home/recipients.txt", "--no-read-back", "--parity", parity]
        cells.append(judged(traced(made, *export), "W"))
        for command in ([ckvault, "verify", *places], [ckvault, "import", *places, "--to", f"{here}/out"]):
            [drive.unmount() for drive in made]
            put("/proc/sys/vm/drop_caches", "3")
            [drive.mount() for drive in made]
            cells.append(judged(traced(made, *command), "R"))
    finally:
        [drive.end() for drive in made]
        shutil.rmtree(here)
    print(f"| {fs} | {gb} GB | {drives} | {parity} | " + " | ".join(f"{share:.2f} ({mb:.1f})" for share, mb in cells) + " |", flush=True)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("ckvault", "file", "work"):
        options.add_argument(name)
    options.add_argument("--sets", default="0.5,4")
    options.add_argument("--fs", default="ext4,exfat,xfs")
    options.add_argument("--drives", default="1,3")
    options.add_argument("--parity", default="16+2,8+4")
    given = options.parse_args()
    ckvault = os.path.abspath(given.ckvault)
    if not os.path.isdir(f"{TRACE}/events"):
        run("mount", "-t", "tracefs", "tracefs", TRACE)
    put(f"{TRACE}/tracing_on", "1")
    print("| file system | set | drives | K+M | export | verify | import |\n|---|---|---|---|---|---|---|")
    for gb in map(float, given.sets.split(",")):
        work = tempfile.mkdtemp(dir=given.work)
        try:
            make_source(given.file, f"{work}/source", int(gb * 1e9))
            for fs in given.fs.split(","):
                for drives in map(int, given.drives.split(",")):
                    for parity in given.parity.split(","):
                        journey(ckvault, fs, f"{work}/source", drives, parity, gb, work)
        finally:
            shutil.rmtree(work)


if __name__ == "__main__":
    main()
