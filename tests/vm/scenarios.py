"""What happens to sets on real USB drives: each function is one story, told with a kernel of its own."""
import base64, json, os, tarfile
from box import Failed, run
from drives import MIB, Drive, Served

STORIES = {}
RECIPIENTS = "--recipients /keys/recipients.txt"
EXPORT = f"export /checkpoint {RECIPIENTS} --to /drive"
# Groups are short, so that some are complete when something happens to the next.
IN_GROUPS = f"{EXPORT} --parity 4+2 --volume-size 2M"
# Bytes a second of a drive that is slow enough for something to happen in the middle.
SLOW = 3_000_000


# A module that not every kernel has.
NEEDS = {"ntfs3": "ntfs3"}


def story(function):
    STORIES[function.__name__.replace("_", "-")] = function


def check(holds, what):
    if not holds:
        raise Failed(what)


def again(box, drive, place="/drive", bus="storage", options=""):
    """A drive is unmounted, pulled, put back and mounted."""
    box.unmount(place)
    box.pull(drive)
    box.mount(box.plug(drive, bus), place, drive.fs, options)


def elsewhere(box, drive, device, bus="storage"):
    """A drive that was pulled is put back under another name and mounted at another place. What was mounted before stays, and is dead."""
    back = box.plug(drive, bus)
    check(back != device, f"it has the same name as before: {back}")
    box.mount(back, "/other", drive.fs)


def recorded(box, place):
    """Whether an import to there has something to go on with: what is recorded before the last line is durable."""
    return box.run(f"test $(grep -c placed {place}/.ckvault-*/journal) -gt 1").code == 0


def is_whole(box, place="/drive"):
    box.ckvault(f"verify {place}").ends(0).says("intact")
    box.ckvault(f"import {place} --to /work/restored").ends(0)
    box.same("/checkpoint", "/work/restored")


def claims_nothing(box, place="/drive"):
    """Whoever gets the drive now is told that there is no set."""
    box.run(f"test ! -e {place}/*.ckvault/manifest.json").ends(0)
    box.ckvault(f"verify {place}").ends(5).says("untrusted", "has no manifest")


# There and back.


def there_and_back(box, place, fs, bus):
    """To a drive, with a pause in which it is in nobody's machine, and back; and onto a second drive with the same file system."""
    drive, target = Drive(place, fs, 400), Drive(place, fs, 400)
    box.mount(box.plug(drive, bus), "/drive", fs)
    box.ckvault(EXPORT).ends(0).says("safe to unplug")
    again(box, drive, bus=bus)
    is_whole(box)
    box.mount(box.plug(target, bus), "/target", fs)
    box.ckvault("import /drive --to /target/restored --links copy").ends(0)
    again(box, target, "/target", bus)
    box.run("rm /work/restored/latest && cp '/work/restored/step 100/shard-1.bin' /work/restored/latest && "
            "diff -r /work/restored /target/restored").ends(0)


@story
def exfat(box, place):
    there_and_back(box, place, "exfat", "storage")


@story
def exfat_uas(box, place):
    there_and_back(box, place, "exfat", "uas")


@story
def vfat(box, place):
    there_and_back(box, place, "vfat", "storage")


@story
def ntfs3(box, place):
    there_and_back(box, place, "ntfs3", "storage")


@story
def xfs(box, place):
    there_and_back(box, place, "xfs", "storage")


@story
def ext4(box, place):
    there_and_back(box, place, "ext4", "storage")


@story
def ext4_uas(box, place):
    there_and_back(box, place, "ext4", "uas")


@story
def a_disc(box, place):
    """A set is burnt on a disc, and read in a drive for such and from a stick with the same bytes."""
    drive, between = Drive(place, "exfat", 400), Drive(place, None, 64)
    box.mount(box.plug(drive), "/drive", "exfat")
    box.ckvault(EXPORT).ends(0)
    box.run(f"tar -c -f {box.plug(between)} -C /drive . && sync").ends(0)
    with tarfile.open(between.image) as tar:
        tar.extractall(f"{place}/burnt")
    disc = Drive(place, None, 0)
    run("xorriso", "-as", "mkisofs", "-quiet", "-R", "-J", "-o", disc.image, f"{place}/burnt")
    disc.readonly = True
    box.unmount("/drive")
    for bus, kind, name in (("uas", "scsi-cd", "sr"), ("storage", "scsi-hd", "sd")):
        device = box.plug(disc, bus, kind)
        check(device.startswith(f"/dev/{name}"), device)
        box.run(f"mkdir -p /disc; mount -t iso9660 -o ro {device} /disc; rm -rf /work/restored").ends(0)
        is_whole(box, "/disc")
        box.ckvault(EXPORT.replace("/drive", "/disc")).ends(7).says("read-only")
        box.unmount("/disc")
        box.pull(disc)


# Pulled.


def pulled_in_export(box, drive, bus):
    drive.rate = SLOW
    device = box.plug(drive, bus)
    box.mount(device, "/drive", drive.fs)
    job = box.start(IN_GROUPS)
    job.while_it_goes(lambda: box.run("cd /drive/*.ckvault && test -e g00000-p001.ckv -a -e g00001-d001.ckv.partial").code == 0)
    box.pull(drive)
    job.end().ends(7).says("/drive", "Input/output error", "export --resume")
    drive.rate = None
    elsewhere(box, drive, device, bus)
    claims_nothing(box, "/other")
    kept = "stat -c '%i %y' /other/*.ckvault/g00000-*.ckv"
    before = box.run(kept).ends(0).out
    box.ckvault("export --resume --to /other").ends(0).says("checking what is there: all")
    check(len(before.split("\n")) > 6 and box.run(kept).out == before, "what was complete was written again")
    again(box, drive, "/other", bus)
    is_whole(box, "/other")


@story
def pulled_export(box, place):
    """The one that is told wherever changes are checked: a stick with exFAT goes in the middle of an export, and comes back."""
    pulled_in_export(box, Drive(place, "exfat", 400), "storage")


@story
def pulled_export_ext4(box, place):
    pulled_in_export(box, Drive(place, "ext4", 400), "uas")


@story
def pulled_export_forgets(box, place):
    """A drive is pulled that had more in its cache than it had written down."""
    pulled_in_export(box, Served(place, "exfat", 400, forgets=True), "uas")


@story
def pulled_import(box, place):
    """The drive that is read goes: in a verify, which tells that as what it is, and in an import, which goes on later."""
    drive = Drive(place, "exfat", 400)
    # More than is asked of a drive ahead of what is placed: else all of it may be in memory before anything is recorded.
    box.run("mkdir /work/source && for copy in one two three; do cp -a /checkpoint /work/source/$copy; done").ends(0)
    box.mount(box.plug(drive), "/drive", "exfat")
    box.ckvault(IN_GROUPS.replace("/checkpoint", "/work/source")).ends(0)
    drive.rate = SLOW
    again(box, drive)
    job = box.start("verify /drive")
    job.while_it_goes(lambda: box.moved(drive, "rd") > 6 * MIB)
    box.pull(drive)
    job.end().ends(7).says("incomplete", "absent   drive 1")
    box.run("umount -l /drive").ends(0)

    device = box.plug(drive)
    box.mount(device, "/drive", "exfat")
    job = box.start("import /drive --to /work/restored")
    job.while_it_goes(lambda: recorded(box, "/work"))
    box.pull(drive)
    job.end().ends(7).says("drive 1", "--resume")
    box.run("test ! -e /work/restored").ends(0)
    drive.rate = None
    elsewhere(box, drive, device)
    box.ckvault("import /other --to /work/restored").ends(1).says("an unfinished import is there", "--resume")
    box.ckvault("import /other --to /work/restored --resume").ends(0)
    box.same("/work/source", "/work/restored")
    box.ckvault("verify /other").ends(0)


def pulled_target(box, place, fs, bus, links=""):
    drive, target = Drive(place, "exfat", 400), Drive(place, fs, 400)
    box.mount(box.plug(drive), "/drive", "exfat")
    box.ckvault(IN_GROUPS).ends(0)
    target.rate = SLOW
    box.mount(box.plug(target, bus), "/target", fs)
    job = box.start(f"import /drive --to /target/restored {links}")
    job.while_it_goes(lambda: recorded(box, "/target"))
    box.pull(target)
    job.end().ends(1).says("cannot ", " /target/", "Input/output error", "--resume")
    target.rate = None
    # What is unfinished belongs to the path that was given for it, and to no other.
    box.mount(box.plug(target, bus), "/other", fs)
    box.ckvault(f"import /drive --to /other/restored --resume {links}").ends(1).says("of another import: nothing in it was touched")
    box.run("test ! -e /other/restored && umount -l /target").ends(0)
    box.run("mount -o move /other /target").ends(0)
    box.ckvault(f"import /drive --to /target/restored --resume {links}").ends(0)
    again(box, target, "/target", bus)


@story
def pulled_target_ext4(box, place):
    pulled_target(box, place, "ext4", "storage")
    box.same("/checkpoint", "/target/restored")


@story
def pulled_target_exfat(box, place):
    pulled_target(box, place, "exfat", "uas", "--links copy")
    box.run("cp -a /checkpoint /work/expected && cd /work/expected && rm latest && cp 'step 100/shard-1.bin' latest && "
            "diff -r . /target/restored").ends(0)


@story
def one_of_three(box, place):
    """One of three drives goes in the middle of an import, which does not even stop."""
    drives = [Drive(place, fs, 400) for fs in ("exfat", "vfat", "ext4")]
    places = [f"/drive{number}" for number in range(3)]
    for drive, mounted in zip(drives, places):
        box.mount(box.plug(drive), mounted, drive.fs)
    to = " ".join(f"--to {mounted}" for mounted in places)
    box.ckvault(f"export /checkpoint {RECIPIENTS} {to} --survive-drives 1").ends(0)
    drives[1].rate = SLOW
    for drive, mounted in zip(drives, places):
        again(box, drive, mounted)
    job = box.start(f"import {' '.join(places)} --to /work/restored --json")
    job.while_it_goes(lambda: box.moved(drives[1], "rd") > 3 * MIB)
    box.stall(drives[1])
    box.pull(drives[1])
    check(json.loads(job.end().ends(0).out)["repaired_blocks"] > 0, "nothing had to be computed")
    box.same("/checkpoint", "/work/restored")
    box.ckvault("verify /drive0 /drive2").ends(3).says("repairable")
    box.ckvault("verify /drive0").ends(7).says("incomplete")
    box.ckvault("verify /drive0 /drive1 /drive2").ends(3).says("absent   drive 2")


# Bad sectors.


def sector_of(box, drive, volume, number):
    """Where sector `number` of a volume lies on its drive, whatever the file system."""
    said = box.run(f"dd if=$(echo /drive/*.ckvault/{volume}) bs=512 skip={number} count=1 2>/dev/null | base64").ends(0)
    return drive.find(base64.b64decode(said.out))


@story
def bad_sectors(box, place):
    """Sectors that cannot be read, in two volumes and in parity: found, computed, and written elsewhere on the drive."""
    drive = Drive(place, "exfat", 400)
    box.mount(box.plug(drive), "/drive", "exfat")
    box.ckvault(EXPORT).ends(0)
    bad = (("g00000-d000.ckv", 300), ("g00000-d003.ckv", 1000), ("g00000-p001.ckv", 700))
    drive.fails_at([sector_of(box, drive, volume, number) for volume, number in bad], "read")
    again(box, drive)
    verdict = json.loads(box.ckvault("verify /drive --json").ends(3).out)
    check((verdict["verdict"], verdict["read_errors"]) == ("repairable", {"1": 3}), f"{verdict['verdict']}, {verdict['read_errors']}")
    box.ckvault("import /drive --to /work/restored").ends(0).says("2 blocks repaired", "could not read 2 blocks")
    box.same("/checkpoint", "/work/restored")
    box.ckvault("repair /drive").ends(0).says("could not read 3 blocks: replace it")
    again(box, drive)
    box.ckvault("verify /drive").ends(0).says("intact")


@story
def beyond_parity(box, place):
    """Three sectors of one row with two blocks of parity, on ext4: lost, and what else there is can be had."""
    drive = Drive(place, "ext4", 400)
    box.mount(box.plug(drive), "/drive", "ext4")
    box.ckvault(IN_GROUPS).ends(0)
    drive.fails_at([sector_of(box, drive, f"g00001-d00{volume}.ckv", 1300) for volume in range(3)], "read")
    again(box, drive)
    box.ckvault("verify /drive").ends(4).says("lost")
    box.ckvault("import /drive --to /work/restored").ends(4)
    box.run("test ! -e /work/restored").ends(0)
    box.ckvault("repair /drive").ends(4)
    salvaged = json.loads(box.ckvault("import /drive --to /work/restored --salvage --json").ends(4).out)
    check(salvaged["lost"] == [] and 1 <= len(salvaged["incomplete"]) <= 2, f"{salvaged['lost']}, {salvaged['incomplete']}")
    for file in salvaged["incomplete"]:
        path, written_as, before = file["path"], file["written_as"], file["missing"][0][0]
        box.run(f"cd /work/restored; test ! -e '{path}' && cmp -n {before} '/checkpoint/{path}' '{written_as}'").ends(0)
        box.run(f"cp -p '/checkpoint/{path}' /work/restored/ && rm '/work/restored/{written_as}'").ends(0)
    box.run("diff -r /checkpoint /work/restored").ends(0)


@story
def bad_writes(box, place):
    """A sector that cannot be written: told, nothing claimed. The drive mends itself, as they do, and the export goes on."""
    drive, other = Drive(place, "exfat", 400), Drive(place, "exfat", 400)
    drive.fails_at([34 * MIB], "write")
    box.mount(box.plug(drive), "/drive", "exfat")
    box.ckvault(IN_GROUPS).ends(7).says("cannot ", "/drive/", ".partial", "Input/output error", "export --resume")
    claims_nothing(box)
    # No other drive has what was complete on this one: it is another export.
    box.mount(box.plug(other), "/other", "exfat")
    box.ckvault("export --resume --to /other").ends(7).says("drive 1 is needed")
    box.ckvault(IN_GROUPS.replace("/drive", "/other")).ends(0)
    again(box, other, "/other")
    is_whole(box, "/other")
    box.run("rm -r /work/restored").ends(0)
    drive.bad = []
    again(box, drive)
    box.ckvault("export --resume --to /drive").ends(0)
    again(box, drive)
    is_whole(box)


# Drives that are slow, closed, forgetful, or not what they say.


def timed(box, arguments):
    """Runs a command with progress in lines of JSON; returns the longest time without one, of all that the command lasted."""
    clock = "read -r now rest </proc/uptime; echo $now"
    ran = box.run(f"{clock}; export CKVAULT_HOME=/keys XDG_STATE_HOME=/work/state; set -o pipefail; "
                  f"ckvault {arguments} --progress json 2>&1 >/run/report | while read -r line; do {clock} \"$line\"; done; code=$?; "
                  f"{clock}; cat /run/report >&2; exit $code").ends(0)
    lines = ran.out.splitlines()
    check(sum("{" in line for line in lines) == len(lines) - 2 > 5, ran.out)
    times = [float(line.split()[0]) for line in lines]
    return ran, max(after - before for before, after in zip(times, times[1:]))


@story
def slow(box, place):
    """A drive that takes 5 MB/s: there is always something to see, and it may be pulled the moment that the command is done."""
    drive = Drive(place, "exfat", 400)
    drive.rate = 5_000_000
    box.mount(box.plug(drive), "/drive", "exfat")
    ran, longest = timed(box, EXPORT)
    box.pull(drive)
    ran.says("safe to unplug")
    box.run("umount -l /drive")
    box.mount(box.plug(drive), "/drive", "exfat")
    longest = [longest] + [timed(box, arguments)[1] for arguments in ("verify /drive", "import /drive --to /work/restored")]
    box.same("/checkpoint", "/work/restored")
    # A second is what is promised, and another what the clock of an emulated machine may take.
    check(max(longest) <= 2, f"seconds without a sign of life in export, verify and import: {longest}")


@story
def forgetful(box, place):
    """A drive that forgets what nobody asked it to write down, pulled the moment that the export is done."""
    drive, proof = Served(place, "exfat", 400, forgets=True), Served(place, None, 1, forgets=True)
    # It does forget.
    box.run(f"dd if=/checkpoint/config.json of={box.plug(proof, 'uas')} bs=4096 oflag=direct").ends(0)
    box.pull(proof)
    check(proof.forgotten > 0, "it has forgotten nothing")
    box.mount(box.plug(drive, "uas"), "/drive", "exfat")
    ran = box.ckvault(EXPORT).ends(0)
    box.pull(drive)
    ran.says("safe to unplug")
    box.run("umount -l /drive")
    box.mount(box.plug(drive, "uas"), "/drive", "exfat")
    is_whole(box)


@story
def closed(box, place):
    """A stick with its switch set to read-only."""
    drive = Drive(place, "vfat", 400)
    box.mount(box.plug(drive), "/drive", "vfat")
    box.ckvault(EXPORT).ends(0)
    box.unmount("/drive")
    box.pull(drive)
    drive.readonly = True
    device = box.plug(drive)
    box.run(f"mount -t vfat -o rw {device} /drive").ends(0)
    is_whole(box)
    box.ckvault(EXPORT).ends(7).says("/drive is mounted read-only")
    check(len(box.run("ls -a /drive").out.split()) == 3, "there is something new on it")


def lying(box, place, beyond):
    """A drive tells 400 MiB and has 24: where it wraps around, what was first is written over."""
    drive = Served(place, "exfat", 400, true_mib=24, beyond=beyond)
    box.mount(box.plug(drive), "/drive", "exfat")
    return box.ckvault(EXPORT).ends(7)


@story
def lies_and_drops(box, place):
    """What was written to where nothing is shows when it is read back. What the drive has of the set may go on on another."""
    lying(box, place, "nothing").says("does not hold what was written to it", "its capacity is faked")
    claims_nothing(box)
    other = Drive(place, "exfat", 400)
    box.mount(box.plug(other), "/other", "exfat")
    box.run("cp -r /drive/*.ckvault /other/").ends(0)
    box.ckvault("export --resume --to /other").ends(0)
    again(box, other, "/other")
    is_whole(box, "/other")


@story
def lies_and_wraps(box, place):
    """Worse: what is written last takes the place of what was written first, maybe of the tables of the file system."""
    lying(box, place, "wraps")
