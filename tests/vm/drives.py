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
    """A drive with a file system, the bytes of which lie in a file."""

    def __init__(self, place, fs, mib):
        self.fs, self.image = fs, f"{place}/{fs}-{len(os.listdir(place))}.img"
        with open(self.image, "wb") as file:
            file.truncate(mib * MIB)
        run(*MAKE[fs], self.image)
        self.readonly, self.rate, self.bad = False, None, []

    def node(self, box, name):
        """What qemu is told of it."""
        file = {"driver": "file", "filename": self.image}
        if self.bad:
            file = {"driver": "blkdebug", "image": file, "inject-error": self.bad}
        node = {"driver": "raw", "read-only": self.readonly, "file": file}
        if self.rate:
            group = f"{name}-rate"
            box.monitor.ask("object-add", **{"qom-type": "throttle-group", "id": group, "limits": {"bps-total": self.rate}})
            node = {"driver": "throttle", "throttle-group": group, "read-only": self.readonly, "file": node}
        return {**node, "node-name": name}

    def pulled(self):
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
