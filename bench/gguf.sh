#!/usr/bin/env bash
# GGUF files by bitsmith and by llama.cpp, at equal bytes: what each costs in quality.
#   LLAMA_CPP=FOLDER bench/gguf.sh [BUILD_FOLDER] [TYPE...]     default: Q2_K Q3_K_M Q4_K_M Q5_K_M
# FOLDER has llama.cpp's llama-imatrix, llama-quantize and llama-perplexity. Both calibrate on the
# same text and are measured on another: by llama-perplexity --kl-divergence, the second half of each
# of 100 windows of 256 tokens, and by `bitsmith eval`, all tokens of all windows.
# The model is classics-7m, calibrated on novels that it was trained on, measured on one that was
# held out; MODEL, CALIBRATION and TEXT name others. Data: $BITSMITH_DATA (default ../shared/data).
# With IK_LLAMA_CPP=FOLDER of ik_llama.cpp's tools, its types too (IK_TYPES, default IQ2_K IQ3_K
# IQ4_KS IQ4_K), from the same importance matrix, measured by its llama-perplexity on the same logits.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${1:-build/release}/bin/bitsmith
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- Q2_K Q3_K_M Q4_K_M Q5_K_M
data=${BITSMITH_DATA:-../shared/data}
llama=${LLAMA_CPP:?set LLAMA_CPP to the folder of llama-imatrix and llama-quantize}
model=${MODEL:-models/classics-7m}
text=${TEXT:-$data/text/classics/treasure_island.txt}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
calibration=${CALIBRATION:-$out/novels.txt}
if [ -z "${CALIBRATION:-}" ]; then
  { xzcat "$data/text/classics/train-25MB.txt.xz" || true; } 2>/dev/null | head -c 3000000 >"$calibration"
fi

windows=(-f "$text" -c 256 --chunks 100 -t 1 --kl-divergence-base "$out/logits")
by_llama() { # title file tools
  printf '%-20s %8d bytes' "$1" "$(stat -c %s "$2")"
  "$3/llama-perplexity" "${windows[@]}" -m "$2" --kl-divergence 2>/dev/null |
    awk '/^Mean +KLD/ {k=$3} /^Same top p/ {s=$4} END {printf "  llama.cpp: KL %s, same top-1 %s %%", k, s}'
}
quality() { # title file
  by_llama "$1" "$2" "$llama"
  "$bin" eval "$2" --text "$text" --against "$model" --quiet |
    awk '/^KL/ {k=$4} /^same/ {s=$4} END {printf "  bitsmith: KL %s, %s %%\n", k, s}'
}

"$bin" export "$model" -o "$out/f32.gguf" --type f32 --quiet >/dev/null
"$llama/llama-imatrix" -m "$out/f32.gguf" -f "$calibration" -o "$out/imatrix" -c 256 -t 1 \
  --chunks 200 >"$out/log" 2>&1
"$llama/llama-perplexity" "${windows[@]}" -m "$out/f32.gguf" >"$out/log" 2>&1
ours() { # file of the size to take
  "$bin" compress "$model" --to gguf --size "$(stat -c %s "$1")B" --calibration "$calibration" \
    -o "$out/ours.gguf" --quiet >/dev/null
  quality "bitsmith" "$out/ours.gguf"
}
for type in "$@"; do
  "$llama/llama-quantize" --imatrix "$out/imatrix" "$out/f32.gguf" "$out/llama.gguf" "$type" \
    >"$out/log" 2>&1
  quality "llama-quantize $type" "$out/llama.gguf"
  ours "$out/llama.gguf"
done
[ -n "${IK_LLAMA_CPP:-}" ] || exit 0
for type in ${IK_TYPES:-IQ2_K IQ3_K IQ4_KS IQ4_K}; do
  "$IK_LLAMA_CPP/llama-quantize" --imatrix "$out/imatrix" "$out/f32.gguf" "$out/ik.gguf" "$type" \
    >"$out/log" 2>&1
  by_llama "ik_llama.cpp $type" "$out/ik.gguf" "$IK_LLAMA_CPP"
  echo
  ours "$out/ik.gguf"
done
