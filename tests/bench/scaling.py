#!/usr/bin/env python3
"""usage: scaling.py CKVAULT FILE PLACE [--bytes 1,4,16] [--entries 1000,10000,100000,1000000]

What a gigabyte costs in a set of 1, 4 and 16 GiB (FILE, of real weights, repeated; every second byte of each repetition is
another one), what an entry costs in a set of 1,000 to 1,000,000 small files, what `import --only` of one small file reads of
the largest set, and how much memory all of that takes. Prints the tables of the README. PLACE is a directory with room for
source and set at once: 32 GiB for the largest of --bytes, 13 GB for the largest of --entries (on tmpfs that is memory).
A figure of 0 leaves a table out: --bytes 0.
"""
import argparse, os, re, shutil, subprocess, sys, time

VERBS = ["export", "list", "verify", "import"]
GIB = 1 << 30


def run(ckvault, *arguments):
    """Runs ckvault; returns seconds, seconds of processor time, peak memory in MiB, and bytes that it read."""
    begun = time.monotonic()
    child = subprocess.Popen([ckvault, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = child.stderr.read().decode(errors="replace")
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    seconds = time.monotonic() - begun
    read = int(re.search(r"rchar: (\d+)", open(f"/proc/{child.pid}/io").read())[1])
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"ckvault {' '.join(arguments)}\n{errors}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, read


def journey(ckvault, source):
    """Export to import; the source does not stay, for the room, and the set does."""
    for name in ("drive", "target"):
        shutil.rmtree(name, ignore_errors=True)
    os.mkdir("drive")
    results = [run(ckvault, "export", source, "--to", "drive", "--no-read-back")]
    shutil.rmtree(source)
    results += [run(ckvault, verb, "drive") for verb in ("list", "verify")]
    results.append(run(ckvault, "import", "drive", "--to", "target"))
    shutil.rmtree("target")
    return results


def make_bytes(source, file, total):
    """Files of at most 4 GiB, together `total` bytes, and a small one."""
    weights = open(file, "rb").read()
    os.mkdir(source)
    with open(f"{source}/config.json", "w") as small:
        small.write('{"hidden_size": 4096}\n' * 40)
    left, repetition, number = total, 0, 0
    while left:
        number += 1
        of_file = min(left, 4 * GIB)
        left -= of_file
        with open(f"{source}/model-{number:05}.safetensors", "wb") as out:
            while of_file:
                repetition += 1
                # The low byte of each bf16 number becomes another one, the skew of the high one stays.
                changed = bytearray(weights[: min(of_file, len(weights))])
                changed[0::2] = changed[0::2].translate(bytes(b ^ repetition % 256 for b in range(256)))
                out.write(changed)
                of_file -= len(changed)


def make_entries(source, count):
    """Directories of 1,000 entries, as sharded checkpoints have; files of 100 to 300 bytes."""
    os.mkdir(source)
    left = count - 1
    directory = 0
    while left:
        directory += 1
        os.mkdir(f"{source}/layer-{directory:05}")
        left -= 1
        for number in range(min(left, 999)):
            with open(f"{source}/layer-{directory:05}/shard.{number:04}.0", "wb") as out:
                out.write((b"%d.%d " % (directory, number)) * (12 + number % 20))
        left -= min(left, 999)


def in_a_child(make, *arguments):
    """Makes data in a process of its own: what this one needs would count as the peak memory of those that it starts."""
    child = os.fork()
    if child == 0:
        make(*arguments)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit("no data could be made")


def copy(source):
    """Seconds that `cp -a` needs: what the file system itself takes for so many files."""
    begun = time.monotonic()
    subprocess.run(["cp", "-a", source, "copy"], check=True)
    seconds = time.monotonic() - begun
    shutil.rmtree("copy")
    return seconds


def table(title, unit, rows):
    """One line a size: for each verb seconds of the clock and of processors by a unit of size, and peak memory."""
    heads = [title, *(head for verb in VERBS for head in (f"{verb}: {unit}", "MiB")), *(["cp -a"] if rows[0][3] else [])]
    print("\n| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for label, scale, results, control in rows:
        cells = [f"{s / scale:.2f} ({cpu / scale:.2f}) | {mib:.0f}" for s, cpu, mib, _ in results]
        cells += [f"{control / scale:.2f}"] if control else []
        print(f"| {label} | " + " | ".join(cells) + " |", flush=True)


def main():
    parse = argparse.ArgumentParser(usage=__doc__.split("\n")[0].removeprefix("usage: "))
    parse.add_argument("ckvault"), parse.add_argument("file"), parse.add_argument("place")
    parse.add_argument("--bytes", default="1,4,16"), parse.add_argument("--entries", default="1000,10000,100000,1000000")
    arguments = parse.parse_intermixed_args()
    ckvault, weights = os.path.abspath(arguments.ckvault), os.path.abspath(arguments.file)
    place = os.path.join(os.path.abspath(arguments.place), "ckvault-scaling")
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(place)
    os.chdir(place)
    os.environ["CKVAULT_HOME"] = os.path.join(place, "home")
    subprocess.run([ckvault, "keygen"], check=True, stdout=subprocess.DEVNULL)
    try:
        entries = [int(n) for n in arguments.entries.split(",") if int(n)]
        rows = []
        for count in entries:
            in_a_child(make_entries, "source", count)
            control = copy("source")
            rows.append((f"{count:,}", count / 1e6, journey(ckvault, "source"), control))
        if entries:
            table("entries", "µs each (of processors)", rows)
        sizes, rows = [int(n) for n in arguments.bytes.split(",") if int(n)], []
        for size in sizes:
            in_a_child(make_bytes, "source", weights, size * GIB)
            rows.append((f"{size} GiB", size * GIB / 1e9, journey(ckvault, "source"), None))
            only = run(ckvault, "import", "drive", "--to", "target", "--only", "config.json")
            shutil.rmtree("target")
        if sizes:
            table("bytes", "s a GB (of processors)", rows)
            print(f"\n`import --only` of a small file from {sizes[-1]} GiB: {only[0]:.2f} s, {only[3] / 1e6:.1f} MB read in all")
    finally:
        shutil.rmtree(place)


main()
