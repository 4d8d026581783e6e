#!/usr/bin/env bash
# usage: make-golden.sh CKVAULT    makes golden/v1
#
# It is run once, by the version of ckvault that freezes the format, and never again: what it made is what imports for ever, and
# a set that is made anew proves nothing of those that were made before. So it does nothing where there are sets of version 1.
# It needs root, to mount drives of a limited size; b3sum, python3 and ssh-keygen; and a temporary directory with user attributes.
set -euo pipefail
ckvault=$(realpath "$1")
cd "$(dirname "$0")"
tree=$PWD/golden_tree.py
export PATH=$PWD/../tests/cli:$PATH # the plugin of age for post-quantum identities
if grep -rqs '"format":"1"' --include=manifest.json golden; then
  echo "golden/v1 has sets of version 1, which are never made anew" >&2
  exit 1
fi

umask 022
work=$(mktemp -d)
mounted=
trap 'for drive in $mounted; do umount "$drive"; done; rm -rf "$work"' EXIT
export CKVAULT_HOME=$work/home XDG_STATE_HOME=$work/state
v1=$work/v1
packed=$work/packed
mkdir -p "$v1/keys" "$packed/tree"

# What is packed, and what must come back: the tree alone; or the tree and something beside it, both under their names.
"$tree" make "$packed/tree"
"$tree" beside "$packed"
"$tree" describe "$packed/tree" > "$v1/expected.json"
"$tree" describe "$packed" | grep -v '^{"path": "\(marked[^"]*\)\?",' > "$v1/expected-more.json"
"$tree" describe "$packed" | grep -v '^{"path": "\(more.bin\)\?",' > "$v1/expected-marked.json"

# Keys: those that open, and the public half of that which signs. The other half is gone when this ends.
"$ckvault" keygen > /dev/null
own=$CKVAULT_HOME/recipients.txt
cp "$CKVAULT_HOME/identity.txt" "$v1/keys/identity.txt"
echo "golden namespaces=\"ckvault\" $(cut -d ' ' -f 1-2 "$CKVAULT_HOME/signing_key.pub")" > "$v1/keys/allowed_signers"
ssh-keygen -q -t ed25519 -N '' -C golden -f "$work/ssh_ed25519"
ssh-keygen -q -t rsa -b 2048 -N '' -C golden -f "$work/ssh_rsa"
cp "$work"/ssh_{ed25519,rsa} "$v1/keys"
age-plugin-pq -keygen > "$work/quantum"
sed -n 's/^# public key: //p' "$work/quantum" > "$work/quantum.pub"
grep '^AGE-PLUGIN-PQ-1' "$work/quantum" > "$v1/keys/quantum.txt"
sed -n 's/^# native: //p' "$work/quantum" > "$v1/keys/quantum-native.txt"

# pack NAME DRIVES OPTION...: a set that lies in NAME, on so many drives.
pack() {
  local name=$1 to=() number
  for number in $(seq "$2"); do
    mkdir -p "$v1/$name/drive$number"
    to+=(--to "$v1/$name/drive$number")
  done
  "$ckvault" export "${to[@]}" --volume-size 2M --same-device-ok "${@:3}"
}
pack one 1 "$packed/tree" --label one --parity 2+1 --recipients "$own"
pack three 3 "$packed/tree" --label three --survive-drives 1 --recipients "$own"
pack ssh 1 "$packed/tree" --parity 1+1 --compress zstd --recipients "$work/ssh_ed25519.pub" --recipients "$work/ssh_rsa.pub"
pack quantum 1 "$packed/tree" --label quantum --parity 1+1 --recipients "$work/quantum.pub"
pack large-blocks 1 "$packed"/{tree,more.bin} --label large-blocks --parity 1+1 --block-size 1M --recipients "$own"
pack damaged 2 "$packed"/{tree,marked} --label damaged --parity 3+2 --recipients "$own"

# In parts, on drives that are too small: how small is found out. Those that are tried first have no room for a part; then the first
# part takes more and more, and as soon as a part has room at all the second has the rest.
pack_parts() {
  local drive
  for drive in "$work"/parts/drive{1,2}; do
    mkdir -p "$drive"
    mount -t tmpfs -o size="$1K" none "$drive"
    mounted+=" $drive"
  done
  ln -sfn drive1 "$work/parts/port"
  "$ckvault" export "$packed/tree" --to "$work/parts/port" --volume-size 2M --label parts --parity 1+1 --recipients "$own" \
    --next-drive-command 'next=$(dirname $CKVAULT_DRIVE)/drive$CKVAULT_DRIVE_NUMBER; [ -d $next ] && ln -sfn $next $CKVAULT_DRIVE'
}
leave_parts() {
  local drive
  for drive in $mounted; do umount "$drive"; done
  mounted=
  rm -rf "$XDG_STATE_HOME"
}
for size in $(seq 3000 40 12000); do
  if pack_parts "$size" > "$work/said" 2>&1; then
    mkdir "$v1/parts"
    cp -r "$work"/parts/drive{1,2} "$v1/parts"
    break
  fi
  leave_parts
done
leave_parts
cat "$work/said"
ls -d "$v1"/parts/drive1/parts-????????.ckvault "$v1"/parts/drive2/parts-????????.p2.ckvault # both are there, or this ends here

# Damage, no more than parity and copies make good: a volume is gone, and no two of the others have a bad block in the same row; of
# each metadata file there is a whole copy, but for the inventory, of which each piece is whole in some copy.
python3 - "$v1/damaged" <<'PY'
import glob, os, sys

BLOCK = 64 << 10


def only(pattern):
    (path,) = glob.glob(os.path.join(sys.argv[1], pattern))
    return path


def spoil(path, at, length):
    with open(only(path), "r+b") as file:
        file.seek(at)
        was = file.read(length)
        assert len(was) == length, path
        file.seek(at)
        file.write(bytes(byte ^ 0x5A for byte in was))


os.remove(only("*/*/g00000-d001.ckv"))
spoil("*/*/g00000-p000.ckv", 30, 1)
short, long = sorted(("*/*/g00000-d000.ckv", "*/*/g00000-d002.ckv"), key=lambda path: os.path.getsize(only(path)))
spoil(short, BLOCK + 1000, 20_000)
with open(only(long), "r+b") as file:
    assert file.seek(0, 2) > 2 * BLOCK + 1000, "nothing to cut off"
    file.truncate(2 * BLOCK + 77)
for path in ("drive1/*/copy/keys.age", "drive2/*/manifest.json", "drive2/*/recover.py", "drive2/*/inventory.age"):
    os.remove(only(path))
spoil("drive1/*/inventory.age", 500, 200)
spoil("drive1/*/copy/inventory.age", BLOCK + 500, 200)
spoil("drive2/*/copy/inventory.age", BLOCK - 10, 20)
PY

(cd "$v1" && find . -type f -printf '%P\n' | LC_ALL=C sort | xargs b3sum > "$work/sums" && mv "$work/sums" B3SUMS)
rm -rf golden
mkdir golden
cp -r "$v1" golden/v1
du -sh --apparent-size golden/v1/* golden/v1
echo
echo "now put these into tests/cli/golden.rs, as VERSION and FROZEN:"
grep -o '"format":"[^"]*"' golden/v1/one/drive1/*/manifest.json
b3sum --no-names golden/v1/B3SUMS
