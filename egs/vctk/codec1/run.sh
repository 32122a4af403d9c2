#!/usr/bin/env bash
# VCTK: from download to tokens. See README.md.
set -euo pipefail
stage=0 stop_stage=5 root=corpora/vctk recipe=recipes/vctk_3k.toml out=runs/vctk-3k device=cuda mirror=()
while [ $# -gt 0 ]; do
  case "$1" in
    --stage) stage=$2 ;;
    --stop-stage) stop_stage=$2 ;;
    --root) root=$2 ;;
    --recipe) recipe=$2 ;;
    --out) out=$2 ;;
    --device) device=$2 ;;
    --mirror) mirror=(--mirror "$2") ;;
    *) echo "unknown option $1; see README.md" >&2; exit 2 ;;
  esac
  shift 2
done
cd "$(dirname "$0")/../../.."
manifest=$root/manifest.jsonl
runs() { [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ]; }

if runs 0; then python recipes/prepare/vctk.py --root "$root" --only download "${mirror[@]}"; fi
if runs 1; then python recipes/prepare/vctk.py --root "$root" --only manifest; fi
if runs 2; then sqcodec train "$recipe" --data "$manifest" --out "$out" --device "$device"; fi
if runs 3; then
  sqcodec evaluate "$manifest" --model "$out" --split test --baselines opus:6 --out "$out/evaluation"
fi
if runs 4; then sqcodec export onnx "$out/onnx" --model "$out" --force; fi
if runs 5; then sqcodec tokens "$manifest" --out "$out/tokens" --format parquet --model "$out" --device "$device"; fi
