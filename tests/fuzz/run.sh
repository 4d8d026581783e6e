#!/usr/bin/env bash
# Runs each fuzz target for some seconds, one after the other, from the seeds in corpus/: run.sh SECONDS [TARGET...]
# Fails if any crashes, hangs or needs too much memory. What is found lies below target/: corpus/ and artifacts/.
# SEED chooses the seed of all of them; it is printed, so that a run can be repeated.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:?usage: run.sh SECONDS [TARGET...]}
shift
toolchain=${TOOLCHAIN:-nightly}
triple=$(rustc "+$toolchain" -vV | sed -n 's/^host: //p')
seed=${SEED:-$((RANDOM * 32768 + RANDOM + 1))}
# Sets are written to memory where that is possible.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ]; then export TMPDIR=/dev/shm; fi
export ASAN_OPTIONS=detect_odr_violation=0

cargo "+$toolchain" fuzz build -O --fuzz-dir .
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then targets=(header frame manifest inventory hashes signature signers segment importer); fi

failed=()
for target in "${targets[@]}"; do
  mkdir -p "target/corpus/$target" "target/artifacts/$target"
  log=target/artifacts/$target.log
  # A scope may end before its threads are gone, and what those still hold then looks lost; the limit of memory finds real leaks.
  # It is slow, too: its inputs, a few decisions each, do not have to begin with the shortest.
  more=()
  if [ "$target" = importer ]; then more=(-detect_leaks=0 -len_control=0 -max_len=256); fi
  printf '%-10s seed %s ' "$target" "$seed"
  if "target/$triple/release/$target" "target/corpus/$target" "corpus/$target" -seed="$seed" -max_total_time="$seconds" \
    -rss_limit_mb=2048 -timeout=60 -print_final_stats=1 -artifact_prefix="target/artifacts/$target/" "${more[@]}" 2>"$log"; then
    sed -n 's/^stat::number_of_executed_units: */executions /p' "$log"
  else
    echo "FAILED"
    tail -60 "$log"
    failed+=("$target")
  fi
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}"
  exit 1
fi
