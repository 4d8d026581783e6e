#!/usr/bin/env python3
"""usage: measure.py CKVAULT DIR PLACE [RUNS]

Exports, verifies and imports DIR with PLACE (a directory, on tmpfs for example) as drive and target, in turn with
`tar | zstd -T0 -3 | age | split` and its way back, and prints medians over RUNS (5) of each as megabytes of DIR a second, and
the peak memory of ckvault. Needs age, zstd and tar.
"""
import os, shutil, statistics, subprocess, sys, time

ckvault, source, place = (os.path.abspath(p) for p in sys.argv[1:4])
runs = int(sys.argv[4]) if len(sys.argv) > 4 else 5
size = sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(source) for f in files)
place = os.path.join(place, "ckvault-measure")
shutil.rmtree(place, ignore_errors=True)
os.makedirs(place)
os.chdir(place)
os.environ["CKVAULT_HOME"] = os.path.join(place, "home")
subprocess.run([ckvault, "keygen"], check=True, stdout=subprocess.DEVNULL)
recipient = [line for line in open("home/recipients.txt") if line.startswith("age1")][0].strip()
parent, name = os.path.split(source)
jobs = {
    "export": ("drive", f"{ckvault} export {source} --to drive --no-read-back"),
    "tar | zstd -T0 -3 | age | split": ("split", f"tar -c -C {parent} {name} | zstd -q -T0 -3 | age -r {recipient} | split -b 100M - split/v."),
    "export with read-back": ("drive2", f"{ckvault} export {source} --to drive2"),
    "verify": (None, f"{ckvault} verify drive"),
    "import": ("target", f"{ckvault} import drive --to target"),
    "cat | age -d | zstd -d | tar x": ("unpacked", "cat split/v.* | age -d -i home/identity.txt | zstd -q -d | tar -x -C unpacked"),
}
times, peaks = {job: [] for job in jobs}, {job: 0 for job in jobs}
for run in range(runs + 1):
    for job, (fresh, command) in jobs.items():
        if fresh:
            shutil.rmtree(fresh, ignore_errors=True)
            os.mkdir(fresh)
        begun = time.monotonic()
        child = subprocess.Popen(["sh", "-c", command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            sys.exit(f"failed: {command}")
        if run:
            times[job].append(time.monotonic() - begun)
        peaks[job] = max(peaks[job], usage.ru_maxrss)
print(f"{size / 1e6:.0f} MB in {source}, {os.cpu_count()} cores, medians of {runs}")
for job in jobs:
    median = statistics.median(times[job])
    memory = f", peak {peaks[job] / 1024:.0f} MiB" if "ckvault" in jobs[job][1].split()[0] else ""
    print(f"{job:34} {median:6.3f} s  {size / 1e6 / median:6.0f} MB/s{memory}")
sizes = {d: sum(os.path.getsize(os.path.join(p, f)) for p, _, files in os.walk(d) for f in files) for d in ("drive", "split")}
print(f"on the drive: {sizes['drive'] / 1e6:.1f} MB with 16+2 parity, hashes and copies; split: {sizes['split'] / 1e6:.1f} MB without")
shutil.rmtree(place)
