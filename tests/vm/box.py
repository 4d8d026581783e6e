"""A box: Debian's stock kernel in qemu, with an initramfs of busybox, ckvault and a checkpoint, and USB drives to plug in and pull.

Nothing of it is installed and nothing in it is trusted: the guest does what it is told over a virtio port, and the host judges.
"""
import base64, itertools, json, lzma, os, re, shlex, shutil, socket, stat, subprocess, tempfile, time

# What the guest has to begin with; what else the kernel asks for, its own modprobe brings from what FETCHED names.
LOADED = "virtio_pci virtio_console xhci_pci usb_storage uas sd_mod sr_mod".split()
FETCHED = "exfat vfat ntfs3 xfs ext4 isofs nls_cp437 nls_ascii nls_iso8859_1 nls_utf8 crc32c_generic crc32c_intel crct10dif_common " \
    "crct10dif_generic crct10dif_pclmul crc_t10dif crc64_rocksoft crc64_rocksoft_generic t10_pi".split()
INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /dev /proc /sys /tmp /run /work /sbin /usr/bin /usr/sbin
/bin/busybox --install -s
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t tmpfs -o size=60% work /work
for module in {loaded}; do modprobe $module; done
until [ -c /dev/vport0p1 ]; do sleep 0.1; done
exec 3<>/dev/vport0p1
echo ready >&3
while read -r line <&3; do
  echo "$line" | base64 -d >/run/line
  sh /run/line >/run/out 2>/run/err </dev/null 3>&-
  echo $? $(stat -c %s /run/out /run/err) >&3
  cat /run/out /run/err >&3
done
"""
HOME = "CKVAULT_HOME=/keys XDG_STATE_HOME=/work/state "
ENOUGH = 240  # seconds, that no command here should come near to


class Failed(Exception):
    """What a scenario expected is not so."""


def run(*command, **more):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    except FileNotFoundError:
        raise SystemExit(f"there is no {command[0]} here") from None
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)} ended with {done.returncode}\n{done.stdout}")
    return done.stdout


def kernel(place, package=None):
    """Debian's kernel, unpacked in `place`, where it stays: its image, and the directory of its modules. The stock one, or that of
    a package that is given."""
    unpacked = f"{place}/{os.path.basename(package) if package else 'kernel'}"
    if not os.path.isdir(unpacked):
        with tempfile.TemporaryDirectory() as fetched:
            if not package:
                run("apt-get", "update", "-qq")
                name = re.search(r"Depends: (linux-image-\S+)", run("apt-cache", "depends", "linux-image-amd64"))[1]
                run("apt-get", "download", "-q", name, cwd=fetched)
                package, = (f"{fetched}/{name}" for name in os.listdir(fetched))
            os.makedirs(place, exist_ok=True)
            shutil.rmtree(f"{unpacked}.partial", ignore_errors=True)
            run("dpkg-deb", "-x", package, f"{unpacked}.partial")
        for root, _, files in os.walk(f"{unpacked}.partial/lib/modules"):
            for path in (f"{root}/{file}" for file in files if file.endswith(".ko.xz")):
                with lzma.open(path) as packed, open(path.removesuffix(".xz"), "wb") as module:
                    shutil.copyfileobj(packed, module)
                os.remove(path)
        version, = os.listdir(f"{unpacked}.partial/lib/modules")
        run("busybox", "depmod", "-b", f"{unpacked}.partial", version)
        os.rename(f"{unpacked}.partial", unpacked)
    version, = os.listdir(f"{unpacked}/lib/modules")
    return f"{unpacked}/boot/vmlinuz-{version}", f"{unpacked}/lib/modules/{version}"


def all_modules(modules):
    """By their names: file, and the files of what each needs. From what depmod has written."""
    found = {}
    with open(f"{modules}/modules.dep") as lines:
        for line in lines:
            path, _, others = line.partition(":")
            found[os.path.basename(path).removesuffix(".ko").replace("-", "_")] = (path, others.split())
    return found


def wanted_modules(modules):
    """The files of the modules that are named above, and of all that they need."""
    named = all_modules(modules)
    needs, found = dict(named.values()), set()
    waiting = [named[name][0] for name in LOADED + FETCHED if name in named]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += needs[path]
    return found


class Archive:
    """An initramfs in the making: cpio, the kind that the kernel calls newc."""

    def __init__(self, path):
        self.file, self.inodes, self.dirs = open(path, "wb"), itertools.count(1), set()

    def put(self, name, mode, data=b"", mtime=0):
        parent = os.path.dirname(name)
        if parent and parent not in self.dirs:
            self.put(parent, stat.S_IFDIR | 0o755)
        if stat.S_ISDIR(mode):
            self.dirs.add(name)
        fields = [next(self.inodes), mode, 0, 0, 1, mtime, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        for piece in (head, data):
            self.file.write(piece + bytes(-len(piece) % 4))

    def put_file(self, name, path, mode=None):
        known = os.lstat(path)
        if stat.S_ISLNK(known.st_mode):
            data = os.readlink(path).encode()
        elif stat.S_ISDIR(known.st_mode):
            data = b""
        else:
            with open(path, "rb") as file:
                data = file.read()
        self.put(name, mode or known.st_mode, data, int(known.st_mtime))

    def put_tree(self, name, root):
        self.put_file(name, root)
        for place, dirs, files in os.walk(root):
            for entry in sorted(dirs + files):
                path = os.path.join(place, entry)
                self.put_file(os.path.join(name, os.path.relpath(path, root)), path)

    def close(self):
        self.put("TRAILER!!!", 0)
        self.file.close()


def initramfs(path, modules, ckvault, trees):
    """Writes it, with the directories `trees` under the names that they shall have."""
    busybox = shutil.which("busybox")
    for program in (busybox, ckvault):
        with open(program, "rb") as file:
            if b"/lib64/ld-linux" in file.read():
                hint = "busybox-static has a busybox that needs none, tests/portable/build.sh makes such a ckvault"
                raise SystemExit(f"{program} needs libraries, which are not in the box: {hint}")
    archive = Archive(path)
    archive.put("init", stat.S_IFREG | 0o755, INIT.format(loaded=" ".join(LOADED)).encode())
    archive.put_file("bin/busybox", busybox)
    archive.put("bin/sh", stat.S_IFLNK | 0o777, b"busybox")
    archive.put_file("bin/ckvault", ckvault, stat.S_IFREG | 0o755)
    version = os.path.basename(modules)
    for name in sorted(wanted_modules(modules)) + [f"modules.{list}" for list in ("dep", "alias", "symbols", "builtin")]:
        if os.path.exists(f"{modules}/{name}"):
            archive.put_file(f"lib/modules/{version}/{name}", f"{modules}/{name}")
    for name, tree in trees.items():
        archive.put_tree(name, tree)
    archive.close()


class Ran:
    """How a command in the guest ended."""

    def __init__(self, command, code, out, err):
        self.command, self.code, self.out, self.err = command.removeprefix(HOME), code, out, err

    def ends(self, code):
        if self.code != code:
            raise Failed(f"`{self.command}` ended with {self.code}, not {code}\n{self.out}{self.err}")
        return self

    def says(self, *texts):
        for text in texts:
            if text not in self.out + self.err:
                raise Failed(f"`{self.command}` does not say `{text}`\n{self.out}{self.err}")
        return self


class Job:
    """A command that goes on in the guest while the host does something else."""

    def __init__(self, box, command):
        self.box, self.command, self.place = box, command, f"/run/job{next(box.numbers)}"
        box.run(f"mkdir {self.place}; ( sh -c {shlex.quote(command)} >{self.place}/out 2>{self.place}/err; echo $? >{self.place}/c; "
                f"mv {self.place}/c {self.place}/code ) &").ends(0)

    def goes_on(self):
        return self.box.run(f"test ! -e {self.place}/code").code == 0

    def while_it_goes(self, happened):
        """Waits until something has happened, which must be before the command ends."""
        begun = time.monotonic()
        while not happened():
            if not self.goes_on():
                ran = self.end()
                raise Failed(f"`{ran.command}` ended with {ran.code} before that\n{ran.out}{ran.err}")
            if time.monotonic() - begun > ENOUGH:
                raise Failed(f"`{self.command}` does not come so far")
            time.sleep(0.05)

    def end(self):
        begun = time.monotonic()
        while self.goes_on():
            if time.monotonic() - begun > ENOUGH:
                raise Failed(f"`{self.command}` hangs")
            time.sleep(0.1)
        out, err, code = (self.box.run(f"cat {self.place}/{name}").out for name in ("out", "err", "code"))
        return self.box.ran(Ran(self.command, int(code), out, err))


class Monitor:
    """qemu's monitor: commands that are answered, and events."""

    def __init__(self, path, alive):
        self.socket, self.events, self.alive = dial(path, alive), [], alive
        self.lines = self.socket.makefile("r")
        self.lines.readline()
        self.ask("qmp_capabilities")

    def read(self):
        try:
            line = self.lines.readline()
        except OSError as error:
            self.alive()
            raise Failed(f"qemu does not answer: {error}") from None
        if not line:
            self.alive()
            raise Failed("qemu has hung up")
        return json.loads(line)

    def ask(self, command, **arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            said = self.read()
            if "event" in said:
                self.events.append(said)
            elif "error" in said:
                raise Failed(f"qemu, asked for {command}: {said['error']['desc']}")
            else:
                return said["return"]

    def wait_for(self, event, **data):
        def is_it(said):
            return said["event"] == event and data.items() <= said["data"].items()
        while not any(map(is_it, self.events)):
            said = self.read()
            if "event" in said:
                self.events.append(said)
        self.events = [said for said in self.events if not is_it(said)]


def dial(path, alive):
    """A socket that qemu makes while it starts."""
    while True:
        dialled = socket.socket(socket.AF_UNIX)
        try:
            dialled.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            dialled.close()
            alive()
        else:
            dialled.settimeout(ENOUGH)
            return dialled


class Box:
    """A machine that has been booted. Used by `with`."""

    def __init__(self, place, image, ramdisk, verbose=False):
        self.place, self.verbose, self.numbers, self.plugged = place, verbose, itertools.count(), {}
        self.console = f"{place}/console"
        with open(f"{place}/qemu", "w") as said:
            self.qemu = subprocess.Popen(
                ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-accel", "tcg,thread=multi",
                 "-cpu", "max", "-smp", "2", "-m", "1024", "-kernel", image, "-initrd", ramdisk,
                 "-append", "console=ttyS0 loglevel=5 panic=-1", "-serial", f"file:{self.console}",
                 "-qmp", f"unix:{place}/monitor,server=on,wait=off", "-device", "qemu-xhci,id=usb", "-device", "virtio-serial-pci",
                 "-chardev", f"socket,id=port,path={place}/port,server=on,wait=off", "-device", "virtserialport,chardev=port"],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            self.monitor = Monitor(f"{place}/monitor", self.alive)
            self.port = dial(f"{place}/port", self.alive)
            self.answers = self.port.makefile("rb")
            if self.line() != "ready":
                raise Failed("the guest does not start as it should")
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.qemu.kill()
        self.qemu.wait()

    def alive(self):
        """Says how qemu has ended, if it has, or is about to."""
        try:
            self.qemu.wait(0.5)
        except subprocess.TimeoutExpired:
            pass
        else:
            raise Failed(f"qemu ended with {self.qemu.returncode}\n" + open(f"{self.place}/qemu").read())

    def line(self):
        try:
            line = self.answers.readline().decode()
        except OSError as error:
            self.alive()
            raise Failed(f"the guest does not answer: {error}") from None
        if not line:
            self.alive()
            raise Failed("the guest has hung up")
        return line.strip()

    def run(self, command):
        """What a command of the guest's shell says, and how it ends."""
        self.port.sendall(base64.b64encode(command.encode()) + b"\n")
        code, out, err = map(int, self.line().split())
        said = [self.answers.read(length).decode(errors="replace") for length in (out, err)]
        return Ran(command, code, *said)

    def ckvault(self, arguments):
        return self.ran(self.run(HOME + "ckvault " + arguments))

    def ran(self, ran):
        if self.verbose:
            print(f"$ {ran.command}\n{ran.out}{ran.err}[{ran.code}]", flush=True)
        return ran

    def start(self, arguments):
        return Job(self, HOME + "ckvault " + arguments)

    def names(self):
        """Of the disks and discs that the kernel has, and that have a size."""
        with_size = "for name in sd* sr*; do [ -e $name/size ] && [ $(cat $name/size) != 0 ] && echo $name; done"
        return set(self.run(f"cd /sys/block; {with_size}").out.split())

    def plug(self, drive, bus="storage", kind="scsi-hd"):
        """Plugs a drive in; returns the device that it is now."""
        before, name = self.names(), f"drive{next(self.numbers)}"
        drive.gets_power()
        self.monitor.ask("blockdev-add", **drive.node(self, name))
        if bus == "storage":
            self.monitor.ask("device_add", driver="usb-storage", id=name, bus="usb.0", drive=name)
        else:
            self.monitor.ask("device_add", driver="usb-uas", id=name, bus="usb.0")
            self.monitor.ask("device_add", driver=kind, id=f"{name}-lun", bus=f"{name}.0", drive=name)
            # Until then it has no plug, so that it can be given what it carries.
            self.monitor.ask("qom-set", path=f"/machine/peripheral/{name}", property="attached", value=True)
        self.plugged[drive], drive.bus = name, bus
        begun = time.monotonic()
        while not (new := self.names() - before):
            if time.monotonic() - begun > ENOUGH:
                raise Failed(f"the kernel does not see {name}")
            time.sleep(0.1)
        return f"/dev/{new.pop()}"

    def pull(self, drive):
        """Pulls a drive, whatever happens to be underway."""
        name = self.plugged.pop(drive)
        drive.loses_power()
        if drive.bus == "uas":
            # What has been asked of it is answered before the machine goes on: qemu 7.2 ends if such a drive goes before.
            self.monitor.ask("stop")
            self.monitor.ask("device_del", id=name)
            self.monitor.ask("cont")
        else:
            self.monitor.ask("device_del", id=name)
        self.monitor.wait_for("DEVICE_DELETED", device=name)
        self.monitor.ask("blockdev-del", **{"node-name": name})

    def stall(self, drive):
        """A drive that has a rate does nothing more, until it is pulled: which must be soon, or the kernel gives it up."""
        self.monitor.ask("qom-set", path=f"/objects/{self.plugged[drive]}-rate", property="limits", value={"bps-total": 1})

    def moved(self, drive, way):
        """Bytes that the machine has read from a drive (`rd`) or written to it (`wr`) since it was plugged in."""
        name = self.plugged[drive]
        return sum(one["stats"][f"{way}_bytes"] for one in self.monitor.ask("query-blockstats") if one.get("node-name") == name)

    def mount(self, device, place, fs, options=""):
        self.run(f"mkdir -p {place} && mount -t {fs} -o rw,{options or 'nodev'} {device} {place}").ends(0)

    def unmount(self, place):
        self.run(f"umount {place}").ends(0)

    def same(self, one, other):
        """Two trees are the same: names, kinds, modes, times, what links lead to, and every byte."""
        listing = r"find . ! -type d -exec stat -c '%N %f %Y %s' {} + | sort; find . -type d -exec stat -c '%N %f %Y' {} + | sort"
        self.run(f"( cd {one}; {listing} ) >/run/one; ( cd {other}; {listing} ) >/run/other; test $(wc -l </run/one) -gt 5 && "
                 f"diff /run/one /run/other && diff -r {one} {other}").ends(0)
