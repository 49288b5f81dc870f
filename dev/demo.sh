#!/usr/bin/env bash
# From scans to a judged prediction: trains on all scans of a folder but one patient's, finds nodules in that one, and
# judges them. Opens nothing; says which pages to look at.
#
#   dev/demo.sh [DATA] [FOLDER]      scans in LUNA16 form, default ../shared/luna; for the results, default runs/demo
#   HELD_OUT=603192                  the last characters of the seriesuid that is left out of the training
#   TRAIN="--train.steps 20"         more settings for ./train
set -euo pipefail
cd "$(dirname "$0")/.."
data=${1:-../shared/luna} out=${2:-runs/demo} held_out=${HELD_OUT:-603192}
[ -d "$data" ] || { echo "demo: there is no folder $data; name one with scans in LUNA16 form" >&2; exit 1; }
scan=$(find -L "$data" -name "*$held_out.mhd" -not -path '*/seg-lungs*' | sort | head -n 1)
[ -n "$scan" ] || { echo "demo: there is no scan *$held_out.mhd below $data; which one is to be held out? HELD_OUT=..." >&2; exit 1; }
[ ! -e "$out" ] || { echo "demo: $out is there already; name another folder, or remove it" >&2; exit 1; }
say() { printf '\n> %s\n' "$*"; "$@"; }

say ./train --data "$data" --held_out "$held_out" --out "$out/run" ${TRAIN:-}
say ./predict "$scan" --model "$out/run/best.safetensors" --out "$out/predictions"
say ./evaluate "$out/predictions" --data "$data" --out "$out/evaluation"
printf '\nto look at:\n'
printf '  %s\n' "$out/run/report.html" "$out/predictions/$(basename "$scan" .mhd).html" "$out/evaluation/evaluation.html"
