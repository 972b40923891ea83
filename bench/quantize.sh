#!/usr/bin/env bash
# Time to quantize a model without calibration: bitsmith export --type q4_k and llama-quantize Q4_K_S,
# in turns, on the same threads.
#   LLAMA_CPP=FOLDER bench/quantize.sh MODEL.gguf [BUILD_FOLDER] [ROUNDS]       THREADS: default 2
# MODEL.gguf is F16 or F32. FOLDER has llama-quantize, which gives the head Q6_K and some matrices
# Q5_K.
set -euo pipefail
model=$(realpath "${1:?usage: LLAMA_CPP=FOLDER bench/quantize.sh MODEL.gguf [BUILD_FOLDER] [ROUNDS]}")
cd "$(dirname "$0")/.."
bin=${2:-build/release}/bin/bitsmith
llama=${LLAMA_CPP:?set LLAMA_CPP to the folder of llama-quantize}
threads=${THREADS:-2}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
timed() { # name command...
  local name=$1 TIMEFORMAT="%R s, %U s of processors"
  shift
  rm -f "$out/q.gguf"
  printf '%-16s' "$name"
  { time "$@" >"$out/log" 2>&1; } 2>&1
}
for _ in $(seq "${3:-3}"); do
  timed llama-quantize "$llama/llama-quantize" "$model" "$out/q.gguf" Q4_K_S "$threads"
  timed bitsmith "$bin" export "$model" -o "$out/q.gguf" --type q4_k --threads "$threads" --quiet
done
