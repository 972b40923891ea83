#!/usr/bin/env bash
# What `make demo` shows: compress the model that the project carries to 3 bits per weight, measure
# what was lost on a text that neither model has seen, and let the compressed model write.
#   scripts/demo.sh BITSMITH [OUTPUT_FOLDER]        BITSMITH: the built program
# A run that was stopped is resumed by the next one; a finished one is made anew.
set -Eeuo pipefail
export LC_ALL=C
trap 'echo "demo: failed in line $LINENO: $BASH_COMMAND" >&2' ERR
SECONDS=0
bitsmith=${1:?usage: scripts/demo.sh BITSMITH [OUTPUT_FOLDER]}
root=$(cd "$(dirname "$0")/.." && pwd)
out=${2:-$root/out}
model=$root/models/classics-7m
text=$root/models/tale.txt
small=$out/demo.bitsmith
mkdir -p "$out"

step() { printf '\n== %s\n' "$1"; }
# Shows a command as the reader would type it, then runs it.
show() {
  local line="bitsmith" argument
  for argument in "$@"; do
    case $argument in *' '*) argument="\"$argument\"" ;; esac
    line+=" ${argument#"$root"/}"
  done
  printf '$ %s\n' "$line"
  "$bitsmith" "$@"
}

# `bitsmith --json` prints one key on a line, indented by two for each level. This makes lines like
# "model.perplexity.value 48.34" of it; of a list of objects the last one wins.
flatten() {
  awk '{
    match($0, /^ */); depth = RLENGTH / 2
    if (!match($0, /"[^"]*": /)) next
    key = substr($0, RSTART + 1, RLENGTH - 4)
    value = substr($0, RSTART + RLENGTH); sub(/,$/, "", value)
    if (value == "{" || value == "[") {
      name[depth] = key "."
      for (d = depth + 1; d < 16; ++d) name[d] = ""
      next
    }
    path = ""
    for (d = 1; d < depth; ++d) path = path name[d]
    print path key, value
  }' "$1"
}

step "1. Compress: 3.0 bits per weight, all side information included"
echo "No text is given, so the model writes the text that it is calibrated on."
show compress "$model" --bits 3.0 -o "$small"

step "2. Measure: both models on a tale that neither has seen"
echo "\$ bitsmith eval ${small#"$root"/} --against models/classics-7m --text models/tale.txt"
"$bitsmith" eval "$small" --against "$model" --text "$text" --json --quiet >"$out/demo-eval.json"
# A short prompt, so that the speed is that of writing from an empty context.
for name in original compressed; do
  path=$small; [ $name = compressed ] || path=$model
  "$bitsmith" bench "$path" --threads 1 --prompt 64 --tokens 64 --json >"$out/demo-$name.json"
done

{
  flatten "$out/demo-eval.json"
  flatten "$out/demo-original.json" | sed 's/^/speed.original./'
  flatten "$out/demo-compressed.json" | sed 's/^/speed.compressed./'
} | awk '
  { v[$1] = $2 }
  function get(name) {  # a missing figure is an error, never a blank
    if (!(name in v)) { print "demo: no figure " name > "/dev/stderr"; failed = 1; exit 1 }
    return v[name]
  }
  function estimate(name, scale, digits) {
    return sprintf("%.*f +- %.*f", digits, scale * get(name ".value"),
                   digits, scale * get(name ".standard_error"))
  }
  function row(name, side, kl, p99, top1) {
    printf "%-10s  %14d  %6.3f  %14s  %18s  %9s  %15s  %8.0f\n", name,
      get(side ".parameter_bytes"), get(side ".bpw"), estimate(side ".perplexity", 1, 2),
      kl, p99, top1, get("speed." name ".runs.text_tokens_per_s")
  }
  END {
    if (failed) exit 1
    printf "%-10s  %14s  %6s  %14s  %18s  %9s  %15s  %8s\n", "model", "tensor bytes", "bpw",
      "perplexity", "KL mean, nats", "KL 99 %", "top-1 agreement", "tokens/s"
    row("original", "original", "0", "0", "100 %")
    row("compressed", "model", estimate("divergence.kl_nats", 1, 4),
        sprintf("%.3f", get("divergence.kl_p99_nats")),
        estimate("divergence.top1_agreement", 100, 1) " %")
    printf "\n%d tokens scored in %d windows of %d; +- is one standard error. tokens/s: one thread.\n",
      get("scored_tokens"), get("windows"), get("context")
  }'

step "3. Write: the compressed model, one token after the other"
show run "$small" "It was a dark night, and the captain" -n 120 --temperature 0.7 --seed 1

minutes=$((SECONDS / 60))
step "Done in $minutes min $((SECONDS % 60)) s"
echo "The compressed model is ${small#"$root"/}, $(stat -c %s "$small") bytes with its tokenizer."
