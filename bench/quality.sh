#!/usr/bin/env bash
# What compressing costs in quality on real models, at equal bytes.
#   bench/quality.sh [BUILD_FOLDER] [SECTION...]    sections: gptq uniform sweep; default: all
# Data: $BITSMITH_DATA (default ../shared/data). Calibration text is from the novels the model was
# trained on, evaluation text is not.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${1:-build/release}/bin
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- gptq uniform sweep
data=${BITSMITH_DATA:-../shared/data}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
novel=$data/text/classics/treasure_island.txt
novels=$out/novels.txt
{ xzcat "$data/text/classics/train-25MB.txt.xz" || true; } 2>/dev/null | head -c 3000000 >"$novels"
classics=models/classics-7m
tiny=$data/llm/tinystories-656k

compress() { # name model options...
  "$bin/bitsmith" compress "$2" -o "$out/$1.bitsmith" --quiet "${@:3}" >/dev/null
}
quality() { # title name model text
  echo "### $1: $(stat -c %s "$out/$2.bitsmith") bytes"
  "$bin/bitsmith" eval "$out/$2.bitsmith" --text "$4" --against "$3" 2>/dev/null
}

gptq() {
  three=(--set code.bits=3 --set code.group=64 --set code.symmetric=false)
  compare() { # model calibration text
    compress nearest "$1" --recipe nearest "${three[@]}"
    quality nearest nearest "$1" "$3"
    compress gptq "$1" --recipe gptq "${three[@]}" --calibration "$2"
    quality gptq gptq "$1" "$3"
  }
  echo "## GPTQ against nearest, 3 bits, groups of 64: classics-7m, treasure_island.txt"
  compare "$classics" "$novels" "$novel"
  [ -d "$tiny" ] || return 0
  local sample=$data/text/tinystories-sample/tinystories_sample.txt
  head -c 1500000 "$sample" >"$out/stories.txt"
  tail -c 400000 "$sample" >"$out/other.txt"
  echo
  echo "## The same: tinystories-656k, the sample's last 400 kB (calibration: its first 1.5 MB)"
  compare "$tiny" "$out/stories.txt" "$out/other.txt"
}

uniform() {
  echo "## One code for all matrices (GPTQ) against the mix at the bytes of that file: classics-7m"
  for code in "2 32 false" "3 0 true" "3 64 false" "4 64 false"; do
    local bits group symmetric
    read -r bits group symmetric <<<"$code"
    compress uniform "$classics" --recipe gptq --calibration "$novels" --set code.bits="$bits" \
      --set code.group="$group" --set code.symmetric="$symmetric"
    quality "uniform, $bits bits, groups of $group, symmetric $symmetric" uniform "$classics" "$novel"
    compress mix "$classics" --recipe gptq-mix --calibration "$novels" \
      --size "$(stat -c %s "$out/uniform.bitsmith")B"
    quality "mix" mix "$classics" "$novel"
  done
}

sweep() {
  echo "## gptq-mix, calibrated on 3 MB of training novels, measured on treasure_island.txt"
  "$bin/bitsmith" sweep "$classics" --bits 2,2.5,3,3.5,4,5,6,8 --calibration "$novels" \
    --text "$novel" --quiet
}

for section in "$@"; do
  "$section"
  echo
done
