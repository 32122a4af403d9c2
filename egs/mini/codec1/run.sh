#!/usr/bin/env bash
# Trains speech-3k and evaluates it. See README.md.
set -euo pipefail
stage=1 stop_stage=2 corpus="" out=runs/speech-3k
while [ $# -gt 0 ]; do
  case "$1" in
    --stage) stage=$2 ;;
    --stop-stage) stop_stage=$2 ;;
    --corpus) corpus=$2 ;;
    --out) out=$2 ;;
    *) echo "unknown option $1; see README.md" >&2; exit 2 ;;
  esac
  shift 2
done
[ -f "$corpus" ] || { echo "give --corpus PATH/TO/manifest.tsv" >&2; exit 2; }
cd "$(dirname "$0")/../../.."

if [ "$stage" -le 1 ] && [ "$stop_stage" -ge 1 ]; then
  sqcodec train recipes/mini_speech.toml --data "$corpus" --out "$out"
fi
if [ "$stage" -le 2 ] && [ "$stop_stage" -ge 2 ]; then
  sqcodec evaluate --model "$out" --manifest "$corpus" --split test \
    --baselines opus:6,codec2:3200 --out "$out/evaluation"
fi
