#!/usr/bin/env bash
# usage: reproducible.sh CKVAULT    CKVAULT, which build.sh has made here, has the same bytes when it is built from the same
# files in another directory, with another CARGO_HOME and CARGO_TARGET_DIR; and no path of this machine stands in it.
set -euo pipefail
ckvault=$(realpath "$1")
cd -P "$(dirname "$0")/../.."
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
home=${CARGO_HOME:-$HOME/.cargo}
fail() { echo "FAILED: $*" >&2; exit 1; }

mkdir -p "$place/another checkout" "$place/cargo/registry"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$place/another checkout"
# What was fetched need not be fetched again, but is unpacked anew.
for fetched in index cache; do cp -R "$home/registry/$fetched" "$place/cargo/registry/"; done
env CARGO_HOME="$place/cargo" CARGO_TARGET_DIR="$place/elsewhere/target" "$place/another checkout/tests/portable/build.sh"
again=$place/elsewhere/target/x86_64-unknown-linux-gnu/release/ckvault

for path in "$PWD" "$place" "$(realpath "$home")" "$home" "$(rustc --print sysroot)" "$HOME/" .cargo/registry; do
  # The home directory of some users is the root of everything.
  if [ "$path" != / ] && [ "$path" != // ]; then
    for program in "$ckvault" "$again"; do
      ! grep -aqF -- "$path" "$program" || fail "$program names $path: $(strings -a "$program" | grep -F -- "$path" | head -3)"
    done
  fi
done
cmp "$ckvault" "$again"
echo "ok: $(b3sum --no-names "$ckvault"), whether built here or elsewhere"
