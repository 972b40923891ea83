#!/usr/bin/env bash
# Speed and memory at TinyLlama-1.1B's shape (random weights): compressing, decode, prefill.
#   bench/speed.sh [BUILD_FOLDER]
# LLAMA_BENCH="path/to/llama-bench ..." and GGUF4, GGUF8 (files of the same shape in Q4_0 and Q8_0)
# add other engines' figures to the same run. Takes some 10 GB of disk below ${TMPDIR:-/tmp}.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${1:-build/release}/bin
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$bin/make_model" --shape tinyllama-1.1b --output "$out/model"
cp models/classics-7m/tokenizer* "$out/model/" # any tokenizer with fewer tokens serves for calibration

compress() { # name options...
  local name=$1
  shift
  echo "## compress: $*"
  "$bin/bitsmith" compress "$out/model" "$@" -o "$out/$name.bitsmith" --quiet | grep -E "file|time|memory"
}
compress q4 --recipe nearest --ram 1GB
compress q8 --recipe nearest --set code.bits=8 --ram 1GB
if [ -n "${CALIBRATION:-}" ]; then # GPTQ, 32 x 512 tokens
  compress gptq --recipe gptq --set code.group=32 --set calibrate.sequences=32 \
    --calibration "$CALIBRATION" --ram 1GB
fi
for round in 1 2 3; do
  for threads in 1 2; do
    for name in q4 q8; do
      echo "## bitsmith $name, $threads threads, round $round"
      "$bin/bitsmith" bench "$out/$name.bitsmith" --threads "$threads" | sed -n '4,6p'
    done
    for bench in ${LLAMA_BENCH:-}; do
      for gguf in ${GGUF4:-} ${GGUF8:-}; do
        echo "## $bench $(basename "$gguf"), $threads threads, round $round"
        "$bench" -m "$gguf" -t "$threads" -n 64 -p 512 -r 2 2>/dev/null | grep -E 'pp512|tg64'
      done
    done
  done
done
