#!/usr/bin/env bash
# Runs each fuzz target for some seconds, two at a time, from the seeds in corpus/: run.sh SECONDS [TARGET...]
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

# One target; prints a line. What it says besides goes to a file.
run() {
  local target=$1 log=target/artifacts/$1.log more=()
  mkdir -p "target/corpus/$target" "target/artifacts/$target"
  # A scope may end before its threads are gone, and what those still hold then looks lost; the limit of memory finds real leaks.
  # It is slow, too: its inputs, a few decisions each, do not have to begin with the shortest.
  if [ "$target" = importer ]; then more=(-detect_leaks=0 -len_control=0 -max_len=256); fi
  if "target/$triple/release/$target" "target/corpus/$target" "corpus/$target" -seed="$seed" -max_total_time="$seconds" \
    -rss_limit_mb=2048 -timeout=60 -print_final_stats=1 -artifact_prefix="target/artifacts/$target/" "${more[@]}" 2>"$log"; then
    printf '%-10s seed %s %s\n' "$target" "$seed" "$(sed -n 's/^stat::number_of_executed_units: */executions /p' "$log")"
  else
    printf '%-10s seed %s FAILED\n%s\n' "$target" "$seed" "$(tail -60 "$log")"
    touch "target/artifacts/$target.failed"
  fi
}

rm -f target/artifacts/*.failed
# As many at a time as there are processors, up to two: some take a gigabyte.
most=$(nproc)
if [ "$most" -gt 2 ]; then most=2; fi
for target in "${targets[@]}"; do
  while [ "$(jobs -rp | wc -l)" -ge "$most" ]; do wait -n || true; done
  run "$target" &
done
wait
failed=(target/artifacts/*.failed)
if [ -e "${failed[0]}" ]; then
  echo "failed: ${failed[*]##*/}"
  exit 1
fi
