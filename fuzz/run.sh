#!/usr/bin/env bash
# Fuzzes every target, or those named, one after the other:  fuzz/run.sh SECONDS [TARGET...]
# What is found is kept in build/fuzz/corpus/ (inputs worth keeping) and build/fuzz/found/ (crashes).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
seconds=${1:?usage: fuzz/run.sh SECONDS [TARGET...]}
shift
build=${BITSMITH_FUZZ_BUILD:-$root/build/fuzz}
if [ $# -eq 0 ]; then
  for source in "$root"/fuzz/*_fuzz.cc; do set -- "$@" "$(basename "$source" .cc)"; done
fi
status=0
for target in "$@"; do
  mkdir -p "$build/corpus/$target" "$build/found"
  dictionary=()
  if [ -f "$root/fuzz/$target.dict" ]; then dictionary=("-dict=$root/fuzz/$target.dict"); fi
  echo "== $target, $seconds s"
  # -rss_limit_mb also bounds single allocations: a small file must not ask for much memory.
  nice -n 2 "$build/bin/$target" -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=10 \
    -max_len=16384 -print_final_stats=1 -print_funcs=0 -artifact_prefix="$build/found/$target-" \
    "${dictionary[@]}" "$build/corpus/$target" "$root/fuzz/corpus/$target" \
    2>"$build/found/$target.log" || status=1
  grep -E "ERROR|SUMMARY|stat::number_of_executed_units|stat::average_exec|stat::peak_rss|DONE" \
    "$build/found/$target.log" || true
done
exit $status
