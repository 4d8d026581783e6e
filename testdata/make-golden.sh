#!/usr/bin/env bash
# usage: make-golden.sh CKVAULT    makes golden/draft-5 anew; needs root, to mount drives of limited size
set -euo pipefail
ckvault=$(realpath "$1")
cd "$(dirname "$0")/golden"
version=draft-5
rm -rf "$version"
mkdir -p "$version"/{keys,drive1,drive2,part1,part2}
source=$(mktemp -d)
ports=$(mktemp -d)
trap 'umount "$ports"/* 2>/dev/null || true; rm -rf "$source" "$ports"' EXIT
python3 - "$source" <<'PY'
import hashlib, os, struct, sys

os.chdir(sys.argv[1])
noise = b"".join(hashlib.sha512(b"%d" % i).digest() for i in range(3000))
write = lambda name, data: open(name, "wb").write(data)
os.mkdir("model")
write("model/weights.bin", noise)
write("model/config.json", b'{"architectures": ["Golden"]}\n' * 40)
# Planes: the bf16, fp32 and fp64 forms of numbers that are like weights.
numbers = [int.from_bytes(noise[i : i + 4], "little") / 2**32 * (-1) ** i / 2 ** (noise[i] % 7) for i in range(0, 160000, 4)]
fp32 = struct.pack("<%df" % len(numbers), *numbers)
write("model/weights.bf16", b"".join(fp32[i + 2 : i + 4] for i in range(0, len(fp32), 4)))
write("model/weights.fp32", fp32)
write("model/weights.fp64", struct.pack("<%dd" % len(numbers), *numbers))
write("model/empty", b"")
os.link("model/weights.bin", "model/weights-again.bin")
os.symlink("weights.bin", "model/link")
write(b"not-utf8-\xff", b"x")
write("new\nline " + "long" * 40, b"y")
os.mkdir("empty-dir")
with open("sparse", "wb") as f:
    f.seek(10 << 20)
    f.write(noise[:5000])
    f.truncate(32 << 20)
os.setxattr("model/config.json", "user.origin", b"golden")
os.chmod("model/config.json", 0o640)
for directory, names, files in os.walk(b".", topdown=False):
    for name in files + names + [b"."]:
        os.utime(os.path.join(directory, name), ns=(1_700_000_000_123_456_789,) * 2, follow_symlinks=False)
PY
export CKVAULT_HOME=$PWD/$version/keys XDG_STATE_HOME=$ports/state
"$ckvault" keygen >/dev/null
"$ckvault" export "$source" --to "$version/drive1" --to "$version/drive2" --parity 3+2 --volume-size 2M --label golden --recipients "$CKVAULT_HOME/recipients.txt"
"$ckvault" list "$version"/drive? --json > "$version/expected.json"

# The same in two parts: drives of which the first is too small.
mkdir "$ports"/drive{1,2}
mount -t tmpfs -o size=6760K none "$ports/drive1"
mount -t tmpfs -o size=20M none "$ports/drive2"
ln -s drive1 "$ports/port"
"$ckvault" export "$source/model" --to "$ports/port" --parity 2+1 --volume-size 2M --label parts --recipients "$CKVAULT_HOME/recipients.txt" \
  --next-drive-command 'ln -sfn drive$CKVAULT_DRIVE_NUMBER $CKVAULT_DRIVE'
cp -r "$ports/drive1/." "$version/part1"
cp -r "$ports/drive2/." "$version/part2"
"$ckvault" list "$version"/part2 --json > "$version/expected-parts.json"
