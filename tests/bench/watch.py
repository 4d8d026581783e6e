#!/usr/bin/env python3
"""usage: watch.py CKVAULT DIR WORK [--rate 25] [--fs ext4|exfat|xfs] [--every 5]

What somebody sees who exports DIR to a slow drive, verifies it and imports it: a loop device in WORK that the block layer lets take and
give so many MB a second, and a terminal of 80 columns and 24 lines, on which all runs in colour. Prints the screen every so many
seconds, and at the end of each verb: its seconds, and the longest time in which nothing on the screen moved, and in which nothing was
on it at all. Needs root, losetup, cgroups with a blkio controller (version 1), mkfs and mount of the file system, and pyte from PyPI.
"""
import argparse, fcntl, os, pty, select, struct, subprocess, sys, tempfile, termios, time
import pyte
from drives import Drive

THROTTLE = "/sys/fs/cgroup/blkio/blkio.throttle.{}_bps_device"


def throttle(device, rate):
    node = os.stat(device).st_rdev
    for way in ("read", "write"):
        with open(THROTTLE.format(way), "w") as file:
            file.write(f"{os.major(node)}:{os.minor(node)} {rate}")


class Watched:
    """A command on a terminal of its own, and what was on its screen when."""

    def __init__(self, command, every):
        self.screen = pyte.Screen(80, 24)
        self.stream = pyte.ByteStream(self.screen)
        self.seen, self.every = [], every
        self.begun = time.monotonic()
        self.code = self.run(command)
        self.seconds = time.monotonic() - self.begun

    def run(self, command):
        child, terminal = pty.fork()
        if child == 0:
            os.execvpe(command[0], command, {**os.environ, "TERM": "xterm-256color"})
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        shown = -self.every
        while True:
            ready, _, _ = select.select([terminal], [], [], 0.05)
            try:
                data = os.read(terminal, 1 << 16) if ready else b""
            except OSError:
                break
            if ready and not data:
                break
            self.stream.feed(data)
            now = time.monotonic() - self.begun
            lines = [line.rstrip() for line in self.screen.display]
            if not self.seen or self.seen[-1][1] != lines:
                self.seen.append((now, lines))
            if now - shown >= self.every:
                shown = now
                print(f"--- {now:.0f} s\n" + "\n".join(line for line in lines if line), flush=True)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def longest(self, which):
        """The longest time between two looks of the screen for the first of which `which` holds."""
        ends = [at for at, _ in self.seen[1:]] + [self.seconds]
        return max((end - at for (at, lines), end in zip(self.seen, ends) if which(lines)), default=0)

    def blank(self):
        """The longest time in which nothing was on the screen, from the start."""
        first = next((at for at, lines in self.seen if any(lines)), self.seconds)
        return max(first, self.longest(lambda lines: not any(lines)))

    def report(self, verb):
        print("--- at the end\n" + "\n".join(line for line in self.seen[-1][1] if line))
        print(f"=== {verb}: exit {self.code}, {self.seconds:.1f} s; nothing moved for {self.longest(lambda lines: True):.2f} s at most; "
              f"blank for {self.blank():.2f} s at most", flush=True)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("ckvault", "source", "work"):
        options.add_argument(name)
    options.add_argument("--rate", type=float, default=25)
    options.add_argument("--fs", default="ext4")
    options.add_argument("--every", type=float, default=5)
    given = options.parse_args()
    ckvault, source = os.path.abspath(given.ckvault), os.path.abspath(given.source)
    work = tempfile.mkdtemp(dir=given.work)
    os.environ.update(CKVAULT_HOME=f"{work}/home", XDG_STATE_HOME=f"{work}/state")
    subprocess.run([ckvault, "keygen"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    size = int(subprocess.run(["du", "-sb", source], check=True, capture_output=True, text=True).stdout.split()[0])
    drive = Drive(given.fs, work, 0, (size >> 19 << 20) + (1 << 30))
    failed = False
    try:
        throttle(drive.device, int(given.rate * 1e6))
        for verb in (
            ["export", source, "--to", drive.place, "--recipients", f"{work}/home/recipients.txt"],
            ["verify", drive.place],
            ["import", drive.place, "--to", f"{work}/out"],
        ):
            drive.unmount(), drive.mount()
            watched = Watched([ckvault, *verb], given.every)
            watched.report(verb[0])
            failed |= watched.code != 0
    finally:
        throttle(drive.device, 0)
        drive.end()
        subprocess.run(["rm", "-rf", work])
    sys.exit(failed)


main()
