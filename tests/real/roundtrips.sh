#!/usr/bin/env bash
# usage: roundtrips.sh CKVAULT DIR...    exports, verifies and imports each DIR, on one drive and on three of which one is
# then lost, and compares the result with rsync: names, kinds, modes, times, links, attributes, contents.
# DIRs named odd* are exported with --skip-special --links keep and imported with --links keep; their fifos may be missing.
set -euo pipefail
ckvault=$(realpath "$1"); shift
place=$(mktemp -d)
trap 'chmod -R u+rwX "$place" 2>/dev/null; rm -rf "$place"' EXIT
export CKVAULT_HOME=$place/home
"$ckvault" keygen >/dev/null

compare() { # compare ORIGINAL COPY
  local differences follow=
  # A snapshot of the hub cache is links that lead out of it: what travels is what they lead to.
  case $1 in */snapshots/*) follow=L ;; esac
  differences=$(rsync -aHnX$follow --checksum --delete --itemize-changes "$1/" "$2/" | grep -v '^cS' || true)
  if [ -n "$differences" ]; then
    printf '%s\n' "$differences" | head -20
    echo "FAILED: $1 and its copy differ" >&2
    exit 1
  fi
}

run() { # run DIR NAME DRIVES EXPORT-FLAGS...
  local dir=$1 name=$2 drives=$3; shift 3
  local links=() out=() import=() i
  case $(basename "$dir") in odd*) links=(--skip-special --links keep); import=(--links keep) ;; esac
  rm -rf "$place"/drive* "$place/copy"
  for i in $(seq "$drives"); do mkdir "$place/drive$i"; out+=(--to "$place/drive$i"); done
  "$ckvault" export "$dir" --recipients "$CKVAULT_HOME/recipients.txt" "${out[@]}" "${links[@]}" "$@" >/dev/null 2>&1
  "$ckvault" verify "$place"/drive* >/dev/null 2>&1
  if [ "$drives" -gt 1 ]; then rm -rf "$place/drive2"; fi
  "$ckvault" import "$place"/drive* --to "$place/copy" "${import[@]}" >/dev/null 2>&1
  compare "$dir" "$place/copy"
  echo "ok: $(basename "$dir"), $name"
}

for dir in "$@"; do
  run "$dir" "one drive" 1
  run "$dir" "three drives, one of them lost" 3 --survive-drives 1 --same-device-ok
done
