#!/usr/bin/env bash
# A small corpus: from download to tokens. See README.md.
set -euo pipefail
stage=0 stop_stage=5 root=corpora/mini_librispeech corpus="" recipe=recipes/base.toml out=runs/mini device=cpu
download=() more=()
while [ $# -gt 0 ]; do
  case "$1" in
    --stage) stage=$2 ;;
    --stop-stage) stop_stage=$2 ;;
    --root) root=$2 ;;
    --corpus) corpus=$2 ;;
    --recipe) recipe=$2 ;;
    --out) out=$2 ;;
    --device) device=$2 ;;
    --mirror | --checksum) download+=("$1" "$2") ;;
    --set) more+=(--set "$2") ;;
    *) echo "unknown option $1; see README.md" >&2; exit 2 ;;
  esac
  shift 2
done
cd "$(dirname "$0")/../../.."
manifest=${corpus:-$root/manifest.jsonl}
runs() { [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ]; }
prepares() { runs "$1" && [ -z "$corpus" ]; }

if prepares 0; then python recipes/prepare/mini_librispeech.py --root "$root" --only download "${download[@]}"; fi
if prepares 1; then python recipes/prepare/mini_librispeech.py --root "$root" --only manifest; fi
if runs 2; then sqcodec train "$recipe" --data "$manifest" --out "$out" --device "$device" "${more[@]}"; fi
if runs 3; then sqcodec evaluate "$manifest" --model "$out" --split test --out "$out/evaluation"; fi
if runs 4; then sqcodec export onnx "$out/onnx" --model "$out" --force; fi
if runs 5; then sqcodec tokens "$manifest" --out "$out/tokens" --model "$out" --format npz; fi
