#!/usr/bin/env bash
# usage: old.sh CKVAULT [DIR]    the whole way of DIR (or of some MB that are made here) with a processor of 2008, which has
# neither AVX nor AVX2: keys, export to three drives, verify, damage, repair, import, compare. And what older processors are
# told. Needs qemu-x86_64 (Debian: qemu-user).
set -euo pipefail
ckvault=$(realpath "$1")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
export CKVAULT_HOME=$place/home XDG_STATE_HOME=$place/state
cd "$place"

on() { # on PROCESSOR ARGUMENTS...    what is said is shown only if it ends otherwise than expected
  local processor=$1; shift
  qemu-x86_64 -cpu "$processor" "$ckvault" "$@" >out 2>&1
}
ends() { # ends CODE PROCESSOR ARGUMENTS...
  local expected=$1 code=0; shift
  on "$@" || code=$?
  if [ $code -ne "$expected" ]; then
    echo "FAILED: on $1, ckvault ${*:2} ended with $code, not $expected" >&2
    cat out >&2
    exit 1
  fi
}
says() { grep -qF -- "$1" out || { echo "FAILED: it does not say: $1" >&2; cat out >&2; exit 1; }; }

if [ $# -gt 1 ]; then
  dir=$(realpath "$2")
else
  # bf16 weights: bytes of noise, and bytes that hardly vary. And text.
  mkdir "$place/checkpoint"
  dir=$place/checkpoint
  python3 - "$dir" <<'PY'
import random, sys
noise = random.Random(1)
weights = bytearray(noise.randbytes(6 << 20))
weights[1::2] = bytes(noise.choices(range(58, 64), k=len(weights) // 2))
open(sys.argv[1] + "/model.safetensors", "wb").write(weights)
open(sys.argv[1] + "/config.json", "w").write('{"hidden_size": 4096}\n' * 1000)
PY
fi

old=Nehalem
ends 0 $old keygen
cp home/recipients.txt keys.txt
mkdir usb1 usb2 usb3 new
ends 0 $old export "$dir" --to usb1 --to usb2 --to usb3 --survive-drives 1 --same-device-ok --recipients keys.txt --label old
ends 0 $old verify usb1 usb2 usb3
says intact
# A drive is lost, and of another some blocks of two volumes are wiped, each in other rows.
rm -r usb2
volumes=(usb3/*.ckvault/g00000-d*.ckv)
dd if=/dev/zero of="${volumes[0]}" bs=65536 seek=1 count=1 conv=notrunc status=none
dd if=/dev/zero of="${volumes[1]}" bs=65536 seek=2 count=2 conv=notrunc status=none
ends 3 $old verify usb1 usb3
says repairable
ends 0 $old import usb1 usb3 --to restored-damaged
diff -r "$dir" restored-damaged
ends 0 $old repair usb1 usb3
ends 0 $old repair usb1 usb3 --to new
ends 0 $old verify usb1 usb3 new
says intact
ends 0 $old list usb1
ends 0 $old inspect usb1
ends 0 $old import usb1 new usb3 --to restored
diff -r "$dir" restored
echo "ok: $(du -sm "$dir" | cut -f1) MB there and back on $old"

# What lacks something says what, before it touches anything.
for older in core2duo qemu64; do
  mkdir "none-$older"
  ends 1 $older export "$dir" --to "none-$older" --recipients keys.txt
  says "ckvault: this processor lacks"
  says "hint: "
  rmdir "none-$older"
  echo "ok: on $older, $(head -1 out)"
done
