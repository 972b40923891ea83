#!/usr/bin/env bash
# Speed of GGUF files beside other engines: a prompt of 512 tokens, and 64 tokens one by one.
#   bench/gguf_speed.sh [BUILD_FOLDER] FILE.gguf...
# LLAMA_BENCH="path/to/llama-bench ..." names the other engines' programs (a script that adds options,
# as `-rtr 1` for ik_llama.cpp, will do). Each of ROUNDS (default 3) measures all of them in turn; the
# best of the rounds counts, for other work on a machine only takes away.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=build/release/bin
if [ -d "${1:-}" ]; then
  bin=$1/bin
  shift
fi
[ $# -gt 0 ] || { sed -n '2,6s/^# \?//p' "$0" >&2; exit 2; }
results=$(mktemp)
trap 'rm -f "$results"' EXIT

for round in $(seq "${ROUNDS:-3}"); do
  for file in "$@"; do
    for threads in ${THREADS:-1 2}; do
      key="$(basename "$file" .gguf) $threads"
      "$bin/bitsmith" bench "$file" --threads "$threads" --runs 1 --prompt 512 --tokens 64 --json |
        jq -r --arg key "$key" '.runs[0] | "\($key) bitsmith \(.prompt_tokens_per_s) \(.text_tokens_per_s)"' >>"$results"
      for other in ${LLAMA_BENCH:-}; do
        "$other" -m "$file" -t "$threads" -p 512 -n 64 -r 1 -o json 2>/dev/null |
          jq -r --arg key "$key" --arg name "$(basename "$other")" \
            '"\($key) \($name) \(map(select(.n_prompt > 0))[0].avg_ts) \(map(select(.n_gen > 0))[0].avg_ts)"' >>"$results"
      done
    done
  done
  echo "round $round done" >&2
done

printf '%-10s %7s  %-18s %14s %12s\n' file threads engine "prompt tok/s" "text tok/s"
awk '{ key = $1 " " $2 " " $3
       if (!(key in order)) { order[key] = ++count; keys[count] = key }
       if ($4 > prompt[key]) prompt[key] = $4
       if ($5 > text[key]) text[key] = $5 }
     END { for (i = 1; i <= count; ++i) { split(keys[i], part, " ")
             printf "%-10s %7s  %-18s %14.1f %12.2f\n", part[1], part[2], part[3],
                    prompt[keys[i]], text[keys[i]] } }' "$results"
