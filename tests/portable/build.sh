#!/usr/bin/env bash
# usage: build.sh    Builds the one file for every machine, and says where it lies. No path of this machine stands in it: the
# same source, compilers and C library give the same bytes in every checkout, CARGO_HOME and CARGO_TARGET_DIR.
set -euo pipefail
cd -P "$(dirname "$0")/../.."
triple=x86_64-unknown-linux-gnu
out=$(realpath -ms "${CARGO_TARGET_DIR:-target}")
home=$(realpath -ms "${CARGO_HOME:-$HOME/.cargo}")
std=$(rustc --print sysroot)/lib/rustlib/src/rust
cargo fetch --locked --target "$triple"

# Where several fit, the last one counts.
flags=(-C target-feature=+crt-static "--remap-path-prefix=$PWD=/ckvault" "--remap-path-prefix=$out=/target")
flags+=("--remap-path-prefix=$std=/rustc/$(rustc -vV | sed -n 's/^commit-hash: //p')")
for registry in "$home"/registry/src/*/; do flags+=("--remap-path-prefix=${registry%/}=/crates"); done
# Unlike RUSTFLAGS, it takes paths with blanks.
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; echo "${flags[*]}")
export CARGO_ENCODED_RUSTFLAGS
cargo build --release --locked --target "$triple"
echo "$out/$triple/release/ckvault"
