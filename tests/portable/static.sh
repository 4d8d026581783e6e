#!/usr/bin/env bash
# usage: static.sh CKVAULT    CKVAULT is one file that needs nothing of the machine that it runs on; export --with-tool puts it
# on the drives, and what lies there can be checked with stock tools, and does the whole way back.
# Needs file, ldd, b3sum, ssh-keygen and the tools of recover.py.
set -euo pipefail
ckvault=$(realpath "$1")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

# No name of a library in it that it would load, no linker that would load it.
file -b "$ckvault" | grep -q 'static-pie linked\|statically linked' || fail "$(file "$ckvault")"
ldd "$ckvault" 2>&1 | grep -q 'statically linked\|not a dynamic executable' || fail "$(ldd "$ckvault")"

cd "$place"
export CKVAULT_HOME=$place/home XDG_STATE_HOME=$place/state
"$ckvault" keygen >/dev/null
mkdir -p checkpoint/step-100 usb1 usb2
head -c 5000000 /dev/urandom >checkpoint/model.safetensors
head -c 900000 "$ckvault" >checkpoint/step-100/optimizer.bin
"$ckvault" export checkpoint --to usb1 --to usb2 --recipients home/recipients.txt --with-tool >/dev/null 2>&1

# In the air gap: keys, drives, and the commands of RECOVER.txt.
sets=(usb1/*.ckvault usb2/*.ckvault)
cd "${sets[0]}"
who=$(cut -d' ' -f1 "$CKVAULT_HOME/allowed_signers")
ssh-keygen -q -Y verify -f "$CKVAULT_HOME/allowed_signers" -I "$who" -n ckvault -s manifest.json.sig <manifest.json >/dev/null
for copy in "$place"/usb?/*.ckvault/{,copy/}ckvault; do
  cmp "$copy" "$ckvault"
  test "$(stat -c %a "$copy")" = 755 || fail "$copy cannot be run by everybody"
  grep -o '"ckvault":{[^}]*}' manifest.json | grep -q "\"$(b3sum --no-names "$copy")\"" || fail "$copy is not as signed"
done
cd "$place"
cp "${sets[0]}/ckvault" from-the-drive
chmod +x from-the-drive
alone() { env -i CKVAULT_HOME="$CKVAULT_HOME" ./from-the-drive "$@"; }
alone verify usb1 usb2 2>/dev/null | grep -qx intact || fail "verify"
alone import usb1 usb2 --to restored >/dev/null 2>&1
diff -r checkpoint restored
# One copy is damaged: the other mends it.
printf 'x' | dd of="${sets[0]}/ckvault" bs=1 seek=4321 conv=notrunc status=none
code=0; alone verify usb1 usb2 >out 2>/dev/null || code=$?
test $code -eq 3 && grep -q '/ckvault: do not run it' out || fail "damage is not told: $(cat out)"
env -i CKVAULT_HOME="$CKVAULT_HOME" "${sets[0]}/copy/ckvault" repair usb1 usb2 >/dev/null 2>&1
cmp "${sets[0]}/ckvault" "$ckvault"
# None is whole, but the program that repairs is the one that is missing.
rm usb?/*.ckvault/{,copy/}ckvault
alone repair usb1 usb2 >/dev/null 2>&1
alone verify usb1 usb2 2>/dev/null | grep -qx intact || fail "the program does not put itself back"
# The set with the program is one like any other for recover.py.
python3 "${sets[0]}/recover.py" "${sets[@]}" --identity home/identity.txt --to recovered --signers home/allowed_signers 2>/dev/null
diff -r checkpoint recovered

# Who is at home where is read from /etc/passwd: to ask a name service of a system with another C library ends in a crash.
user=(env -i)
if [ "$(id -u)" = 0 ]; then
  chmod 755 "$place"
  user+=("$(command -v setpriv)" --reuid=54321 --clear-groups)
  code=0; "${user[@]}" ./from-the-drive verify usb1 2>err || code=$?
  test $code -eq 2 && grep -q 'set HOME, or CKVAULT_HOME' err || fail "without a home: $code, $(cat err)"
fi
home=$(getent -s files passwd "$(id -u)" | cut -d: -f6)
code=0; env -i ./from-the-drive verify usb1 --set nothing 2>err || code=$?
if [ -n "$home" ]; then test $code -eq 7 || fail "with a home in /etc/passwd: $code, $(cat err)"; fi
echo "ok: $(stat -c %s "$ckvault") bytes that travel and run alone"
