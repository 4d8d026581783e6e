"""What happens to sets on real USB drives: each function is one story, told with a kernel of its own."""
from drives import Drive

STORIES = {}


def story(function):
    STORIES[function.__name__.replace("_", "-")] = function
    return function


def there_and_back(box, place, fs, bus):
    drive = Drive(place, fs, 400)
    box.mount(box.plug(drive, bus), "/drive", fs)
    box.ckvault("export /checkpoint --to /drive --recipients /keys/recipients.txt").ends(0)
    box.unmount("/drive")
    box.pull(drive)
    box.mount(box.plug(drive, bus), "/drive", fs)
    box.ckvault("verify /drive").ends(0).says("intact")
    box.ckvault("import /drive --to /work/restored").ends(0)
    box.same("/checkpoint", "/work/restored")


@story
def exfat(box, place):
    there_and_back(box, place, "exfat", "storage")
