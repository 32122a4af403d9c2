#!/usr/bin/env bash
# From a corpus to a language model that speaks. See README.md.
set -euo pipefail
stage=1 stop_stage=5 corpus="" out=runs/lm1 model=speech-1k settings="minutes=25" prompts=20
while [ $# -gt 0 ]; do
  case "$1" in
    --stage) stage=$2 ;;
    --stop-stage) stop_stage=$2 ;;
    --corpus) corpus=$2 ;;
    --out) out=$2 ;;
    --model) model=$2 ;;
    --settings) settings=$2 ;;
    --prompts) prompts=$2 ;;
    *) echo "unknown option $1; see README.md" >&2; exit 2 ;;
  esac
  shift 2
done
[ -f "$corpus" ] || { echo "give --corpus PATH/TO/manifest.tsv" >&2; exit 2; }
within() { [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ]; }

if within 1; then sqcodec tokens "$corpus" --split train --out "$out/tokens" --model "$model" --precision bfloat16; fi
if within 2; then sqcodec token-report "$corpus" --split test --model "$model" --model speech-3k; fi
if within 3; then
  # shellcheck disable=SC2046
  sqcodec lm train "$out/tokens" --out "$out/lm" $(printf -- '--set %s ' $settings)
fi
if within 4; then  # from 3 s of English test recordings that are long enough
  mapfile -t sources < <(awk -F'\t' '$2 == "test" && $4 > 10.2 && $6 ~ /libri/ { print $1 }' "$corpus" |
    head -n "$prompts" | sed "s|^|$(dirname "$corpus")/|")
  sqcodec lm continue "$out/lm" "${sources[@]}" "$out/continued" --model "$model" --only-new --compare "$out" --force
fi
if within 5; then sqcodec lm judge "$out"/{real,coded,continued,shuffled}; fi
