"""Drives for the box: images of file systems, whole ones, and ones that fail in the ways in which drives do."""
import os, socket, struct, subprocess, threading
from box import Failed, run

MIB = 1 << 20
SECTOR = 512
MAKE = {
    "exfat": ["mkfs.exfat"],
    "vfat": ["mkfs.fat", "-F", "32"],
    "ntfs3": ["mkntfs", "-q", "-F", "-f", "-s", "512", "-p", "0", "-H", "16", "-S", "63"],
    "xfs": ["mkfs.xfs", "-q"],
    "ext4": ["mkfs.ext4", "-q", "-F", "-m", "0"],
}


class Drive:
    """A drive, the bytes of which lie in a file: with a file system, or with nothing."""

    def __init__(self, place, fs, mib):
        self.fs, self.image = fs, f"{place}/{len(os.listdir(place))}.img"
        with open(self.image, "wb") as file:
            file.truncate(mib * MIB)
        if fs:
            run(*MAKE[fs], self.image)
        self.readonly, self.rate, self.bad = False, None, []

    def node(self, box, name):
        """What qemu is told of it."""
        file = self.bytes()
        if self.bad:
            file = {"driver": "blkdebug", "image": file, "inject-error": self.bad}
        node = {"driver": "raw", "read-only": self.readonly, "file": file}
        if self.rate:
            group = f"{name}-rate"
            box.monitor.ask("object-add", **{"qom-type": "throttle-group", "id": group, "limits": {"bps-total": self.rate}})
            node = {"driver": "throttle", "throttle-group": group, "read-only": self.readonly, "file": node}
        return {**node, "node-name": name}

    def bytes(self):
        return {"driver": "file", "filename": self.image}

    def gets_power(self):
        pass

    def loses_power(self):
        pass

    def find(self, content):
        """Where the image has these bytes, which stand in one place only."""
        with open(self.image, "rb") as file:
            data = file.read()
        place = data.find(content)
        if place < 0 or place % SECTOR or data.find(content, place + 1) >= 0:
            raise Failed(f"the image does not have it in one place: {place}")
        return place

    def fails_at(self, places, way):
        """Sectors that cannot be read (`read`) or written (`write`) any more, from when it is plugged in next."""
        self.bad += [{"event": "none", "iotype": way, "errno": 5, "sector": place // SECTOR, "once": False} for place in places]


class Served(Drive):
    """A drive that is served by this program, so that it can be worse than qemu can make it: with less room than it tells, or with
    a cache in which everything is lost that nobody asked it to write down before it was pulled."""

    def __init__(self, place, fs, mib, true_mib=None, beyond="wraps", forgets=False):
        super().__init__(place, fs, mib)
        self.size, self.true, self.beyond, self.forgets = mib * MIB, (true_mib or mib) * MIB, beyond, forgets
        self.kept, self.cached, self.lock = open(self.image, "r+b", buffering=0), {}, threading.Lock()
        self.powered, self.forgotten = False, 0
        self.kept.truncate(self.true)
        self.path = f"{self.image}.socket"
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(self.path)
        self.listening.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def bytes(self):
        return {"driver": "nbd", "server": {"type": "unix", "path": self.path}}

    def gets_power(self):
        with self.lock:
            self.powered = True

    def loses_power(self):
        with self.lock:
            # qemu asks it once more to write down what it has, which is too late.
            self.powered, self.forgotten = False, len(self.cached)
            self.cached.clear()

    def serve(self):
        """The oldest form of the protocol, which qemu still speaks: one client at a time, a request after the other."""
        while True:
            client, _ = self.listening.accept()
            with client, client.makefile("rb") as asked:
                client.sendall(b"NBDMAGIC" + struct.pack(">QQI", 0x00420281861253, self.size, 1 | 4) + bytes(124))
                while head := asked.read(28):
                    _, kind, handle, offset, length = struct.unpack(">IIQQI", head)
                    if kind == 2:
                        break
                    reply = b""
                    with self.lock:
                        if kind == 0:
                            reply = b"".join(map(self.read_sector, range(offset // SECTOR, (offset + length) // SECTOR)))
                        elif kind == 1:
                            data = asked.read(length)
                            for start in range(0, length if self.powered else 0, SECTOR):
                                self.cached[(offset + start) // SECTOR] = data[start : start + SECTOR]
                        if kind == 3 or not self.forgets:
                            self.write_down()
                    client.sendall(struct.pack(">IIQ", 0x67446698, 0, handle) + reply)

    def where(self, sector):
        """Where a sector really lies, if anywhere."""
        true = self.true // SECTOR
        return sector if sector < true else sector % true if self.beyond == "wraps" else None

    def read_sector(self, sector):
        if sector in self.cached:
            return self.cached[sector]
        where = self.where(sector)
        return bytes(SECTOR) if where is None else os.pread(self.kept.fileno(), SECTOR, where * SECTOR)

    def write_down(self):
        for sector, data in self.cached.items():
            if (where := self.where(sector)) is not None:
                os.pwrite(self.kept.fileno(), data, where * SECTOR)
        self.cached.clear()
