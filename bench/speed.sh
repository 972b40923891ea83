#!/usr/bin/env bash
# Speed and memory at TinyLlama-1.1B's shape (random weights).
#   bench/speed.sh [BUILD_FOLDER] [SECTION...]    sections: compress gptq prompt write
#                                                 default: compress prompt write
# compress: nearest at 4 and 8 bits. gptq: 32 x 512 tokens of the text $CALIBRATION. prompt: 512
# tokens at once. write: 64 tokens from an almost empty context, as llama-bench does it.
# LLAMA_BENCH="path/to/llama-bench ..." and GGUF4, GGUF8 (files of the same shape in Q4_0 and Q8_0)
# put other engines' figures beside each of ours. MODELS is a folder that keeps the models from one
# run to the next (6 GB); without it they are made anew below ${TMPDIR:-/tmp}.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${1:-build/release}/bin
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- compress prompt write
if [ -n "${MODELS:-}" ]; then
  out=$MODELS
  mkdir -p "$out"
else
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
fi
if [ ! -d "$out/model" ]; then
  "$bin/make_model" --shape tinyllama-1.1b --output "$out/model"
  # Any tokenizer with fewer tokens serves for calibration.
  cp models/classics-7m/tokenizer* "$out/model/"
fi

make() { # name options...
  local name=$1
  shift
  rm -f "$out/$name.bitsmith"
  "$bin/bitsmith" compress "$out/model" "$@" -o "$out/$name.bitsmith" --quiet
}
q4=(q4 --recipe nearest --ram 1GB)
q8=(q8 --recipe nearest --set code.bits=8 --ram 1GB)

compress() {
  for name in q4 q8; do
    local -n options=$name
    echo "## compress ${options[*]:1}"
    make "${options[@]}" | grep -E "file|time|memory"
  done
}

gptq() {
  echo "## compress --recipe gptq, groups of 32, 32 x 512 tokens, --ram 1500MB"
  make gptq --recipe gptq --set code.group=32 --set calibrate.sequences=32 \
    --set calibrate.length=512 --calibration "${CALIBRATION:?a text}" --ram 1500MB |
    grep -E "file|time|memory"
}

# Ours and every other engine's in turn, so that each has neighbours of the same minutes.
beside() { # rounds llama-bench-options pattern, bitsmith-options...
  local rounds=$1 theirs=$2 pattern=$3 round threads bits
  shift 3
  [ -f "$out/q4.bitsmith" ] || make "${q4[@]}" >/dev/null
  [ -f "$out/q8.bitsmith" ] || make "${q8[@]}" >/dev/null
  for round in $(seq "$rounds"); do
    for threads in 1 2; do
      for bits in 4 8; do
        echo "## $bits bits, $threads threads, round $round"
        "$bin/bitsmith" bench "$out/q$bits.bitsmith" --threads "$threads" "$@" | sed -n '4,6p'
        local gguf=GGUF$bits bench
        for bench in ${LLAMA_BENCH:-}; do
          [ -n "${!gguf:-}" ] || continue
          # shellcheck disable=SC2086
          echo "$(basename "$bench"): $("$bench" -m "${!gguf}" -t "$threads" $theirs -r 2 2>/dev/null | grep "$pattern")"
        done
      done
    done
  done
}

prompt() {
  echo "# A prompt of 512"
  beside 3 "-n 0 -p 512" pp512 --prompt 512 --tokens 1 --runs 2
}

write() {
  echo "# Writing 64 tokens"
  beside 5 "-n 64 -p 0" tg64 --prompt 8 --tokens 64 --runs 2
}

for section in "$@"; do
  "$section"
  echo
done
