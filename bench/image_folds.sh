#!/usr/bin/env bash
# What a recipe costs a network of which there are few images, with all of them measured: five times,
# every fifth image is for calibration and the other four fifths are classified.
#
#   bench/image_folds.sh BITSMITH FOLDER NET.onnx RECIPE [options of `bitsmith compress`...]
#
# FOLDER has labels.txt, lines of "image, label" with paths in FOLDER. Each image counts four times,
# calibrated on other images each time: the mean change is known better than of one division, its
# deviation is not that of four times as many images. Needs python3.
set -euo pipefail
[ $# -ge 4 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }
bitsmith=$(realpath "$1") folder=$(realpath "$2") net=$(realpath "$3") recipe=$4
shift 4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for fold in 0 1 2 3 4; do
  number=0
  while IFS=, read -r image label || [ -n "$image" ]; do
    part=evaluation
    if [ $((number++ % 5)) -eq "$fold" ]; then part=calibration; fi
    mkdir -p "$work/$part/$(dirname "$image")"
    cp "$folder/$image" "$work/$part/$image"
    echo "$image,$label" >> "$work/$part/labels.txt"
  done < "$folder/labels.txt"
  half=$(( $(wc -l < "$work/calibration/labels.txt") / 2 ))
  "$bitsmith" compress "$net" --recipe "$recipe" --calibration "$work/calibration" \
    --set "calibrate.sequences=$half" -o "$work/net.bitsmith" --quiet "$@" > "$work/log" ||
    { cat "$work/log" >&2; exit 1; }
  "$bitsmith" eval "$work/net.bitsmith" --against "$net" --images "$work/evaluation" \
    --labels "$work/evaluation/labels.txt" --quiet --json \
    > "$work/fold$fold.json"
  rm -rf "$work/calibration" "$work/evaluation" "$work/net.bitsmith"
done

python3 - "$work" <<'PYTHON'
import json, sys
lost = gained = images = 0
kl = agreement = 0.0
print("fold  images  top-1, original  compressed  lost  gained  KL, nats  same first choice")
for fold in range(5):
    result = json.load(open(f"{sys.argv[1]}/fold{fold}.json"))
    c = result["comparison"]
    n = result["images"]
    print(f"{fold:4}  {n:6}  {100 * result['original']['top1']['value']:13.2f} %  "
          f"{100 * result['model']['top1']['value']:8.2f} %  {c['lost']:4}  {c['gained']:6}  "
          f"{c['kl_nats']['value']:8.4f}  {100 * c['agreement']['value']:15.2f} %")
    lost += c["lost"]; gained += c["gained"]; images += n
    kl += c["kl_nats"]["value"] / 5; agreement += 20 * c["agreement"]["value"]
print(f"all   {images:6}  change of top-1 {100 * (gained - lost) / images:+.2f} points: {lost} lost, "
      f"{gained} gained; KL {kl:.4f}, same first choice {agreement:.2f} %")
PYTHON
