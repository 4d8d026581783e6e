#!/usr/bin/env python3
"""usage: run.py CKVAULT [STORY...] [--cache DIR] [--kernel PACKAGE] [--list] [--verbose]

Sets on USB drives, as a real kernel drives them: Debian's, in qemu, without the help of the machine's own processor. CKVAULT is the static
program (tests/portable/build.sh). Each story boots a box of its own and prints one line; without names, all are told. Needs
qemu-system-x86_64, busybox (the static one), apt-get and dpkg-deb for the kernel, which is unpacked in the cache and not
installed, and mkfs of exfat, fat, ntfs, xfs and ext4; a-disc needs xorriso. The kernel of Debian 12 has no NTFS; that of its
backports has (`apt-get download` it from there, and give the file with --kernel).
"""
import argparse, os, random, subprocess, sys, tempfile, time

sys.dont_write_bytecode = True
import box, scenarios

MIB = 1 << 20


def make_checkpoint(root):
    """Weights, which are noise in every other byte, and what lies beside them."""
    noise = random.Random(1)
    os.makedirs(f"{root}/step 100/empty")
    for number, mib in enumerate((12, 12, 5)):
        weights = bytearray(noise.randbytes(mib * MIB + 4321))
        weights[1::2] = bytes(noise.choices(range(58, 64), k=len(weights) // 2))
        with open(f"{root}/model-{number}.safetensors", "wb") as file:
            file.write(weights)
    for number in range(20):
        with open(f"{root}/step 100/shard-{number}.bin", "wb") as file:
            file.write(noise.randbytes(noise.randrange(60_000)))
    with open(f"{root}/config.json", "w") as file:
        file.write('{"hidden_size": 4096}\n' * 1000)
    os.chmod(f"{root}/config.json", 0o640)
    os.symlink("step 100/shard-1.bin", f"{root}/latest")


def tell(name, image, ramdisk, work, verbose):
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=work) as place:
        try:
            with box.Box(place, image, ramdisk, verbose) as machine:
                os.mkdir(f"{place}/drives")
                scenarios.STORIES[name](machine, f"{place}/drives")
        except box.Failed as failed:
            print(f"FAILED {name} after {time.monotonic() - begun:.0f} s: {failed}")
            print("the console's last lines:")
            with open(f"{place}/console", errors="replace") as console:
                print("".join(console.readlines()[-40:]), flush=True)
            return False
    print(f"ok {name} ({time.monotonic() - begun:.0f} s)", flush=True)
    return True


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("ckvault")
    options.add_argument("stories", nargs="*", metavar="STORY")
    options.add_argument("--cache", default=os.path.join(os.path.dirname(__file__), "../../target/vm"))
    options.add_argument("--kernel", metavar="PACKAGE", help="a file linux-image-….deb, instead of the stock kernel of this release")
    options.add_argument("--list", action="store_true", help="only say which stories there are")
    options.add_argument("--verbose", action="store_true", help="show what ckvault is asked in each story, and what it says")
    given = options.parse_intermixed_args()
    if given.list:
        print("\n".join(scenarios.STORIES))
        return
    unknown = [name for name in given.stories if name not in scenarios.STORIES]
    if unknown:
        options.error(f"no such story: {', '.join(unknown)}; there are {', '.join(scenarios.STORIES)}")
    image, modules = box.kernel(os.path.abspath(given.cache), given.kernel)
    untold = [name for name, module in scenarios.NEEDS.items() if module not in box.all_modules(modules)]
    if asked := [name for name in given.stories if name in untold]:
        sys.exit(f"this kernel cannot tell {', '.join(asked)}: give a later one with --kernel")
    with tempfile.TemporaryDirectory(prefix="ckvault-vm-") as work:
        subprocess.run([given.ckvault, "keygen", "--out", f"{work}/keys"], check=True, stdout=subprocess.DEVNULL)
        make_checkpoint(f"{work}/checkpoint")
        ramdisk = f"{work}/initramfs"
        box.initramfs(ramdisk, modules, given.ckvault, {"keys": f"{work}/keys", "checkpoint": f"{work}/checkpoint"})
        stories = given.stories or [name for name in scenarios.STORIES if name not in untold]
        held = [tell(name, image, ramdisk, work, given.verbose) for name in stories]
    if untold and not given.stories:
        print(f"NOT TOLD, since this kernel cannot (a later one with --kernel may): {', '.join(untold)}")
    if not all(held):
        sys.exit(f"{held.count(False)} of {len(held)} did not hold")


if __name__ == "__main__":
    main()
