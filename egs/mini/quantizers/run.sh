#!/usr/bin/env bash
# Trains one small network with every quantizer and writes tables and plots. See README.md.
set -euo pipefail
stage=1 stop_stage=2 corpus="" out=runs/study
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
  sqcodec study recipes/study.toml --data "$corpus" --out "$out" --no-plots
fi
if [ "$stage" -le 2 ] && [ "$stop_stage" -ge 2 ]; then
  sqcodec study recipes/study.toml --data "$corpus" --out "$out" --report-only
fi
