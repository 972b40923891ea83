#!/usr/bin/env bash
# Size against quality of classics-7m on a held-out novel, and GPTQ against nearest at 3 bits.
#   bench/quality.sh [BUILD_FOLDER]        data: $BITSMITH_DATA (default ../shared/data)
# Calibration text is from the novels the model was trained on, evaluation text is not.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${1:-build/release}/bin
data=${BITSMITH_DATA:-../shared/data}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
{ xzcat "$data/text/classics/train-25MB.txt.xz" || true; } 2>/dev/null | head -c 3000000 >"$out/calibration.txt"
novel=$data/text/classics/treasure_island.txt
model=models/classics-7m

echo "## gptq-mix, calibrated on 3 MB of training novels, measured on treasure_island.txt"
"$bin/bitsmith" sweep "$model" --bits 2,2.5,3,3.5,4,5,6,8 --calibration "$out/calibration.txt" \
  --text "$novel" --quiet


echo
echo "## classics-7m: one code for all matrices (GPTQ) against the mix at the bytes of that file"
compress() { # name options...
  "$bin/bitsmith" compress "$model" --calibration "$out/calibration.txt" -o "$out/$1.bitsmith" \
    --quiet "${@:2}" >/dev/null
}
for code in "2 32 false" "3 0 true" "3 64 false" "4 64 false"; do
  read -r bits group symmetric <<<"$code"
  compress uniform --recipe gptq --set code.bits="$bits" --set code.group="$group" \
    --set code.symmetric="$symmetric"
  size=$(stat -c %s "$out/uniform.bitsmith")
  compress mix --recipe gptq-mix --size "${size}B"
  for name in uniform mix; do
    echo "### $name, at $bits bits, groups of $group, symmetric $symmetric: $size bytes at most"
    "$bin/bitsmith" eval "$out/$name.bitsmith" --text "$novel" --against "$model" 2>/dev/null
  done
done

compare() { # model calibration evaluation
  for recipe in nearest gptq; do
    calibration=()
    if [ "$recipe" = gptq ]; then calibration=(--calibration "$2"); fi
    "$bin/bitsmith" compress "$1" --recipe "$recipe" --set code.bits=3 --set code.group=64 \
      --set code.symmetric=false "${calibration[@]}" -o "$out/$recipe.bitsmith" --quiet >/dev/null
    echo "### $recipe"
    "$bin/bitsmith" eval "$out/$recipe.bitsmith" --text "$3" --against "$1" 2>/dev/null
  done
}
echo
echo "## classics-7m, 3 bits, groups of 64"
compare "$model" "$out/calibration.txt" "$novel"
tiny=$data/llm/tinystories-656k
if [ -d "$tiny" ]; then
  head -c 1500000 "$data/text/tinystories-sample/tinystories_sample.txt" >"$out/stories.txt"
  tail -c 400000 "$data/text/tinystories-sample/tinystories_sample.txt" >"$out/other.txt"
  echo
  echo "## tinystories-656k, 3 bits, groups of 64 (the sample's last 400 kB; calibration: its first 1.5 MB)"
  compare "$tiny" "$out/stories.txt" "$out/other.txt"
fi
