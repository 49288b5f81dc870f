#!/usr/bin/env bash
# Prints a table of step times, acinus and PyTorch in turn (so that a machine whose speed drifts is fair to both),
# medians over all repetitions. PyTorch is used where `python3 -c 'import torch'` works; PYTHON=... names another.
#   bench/run.sh [ROUNDS]        default 3 rounds of 3 repetitions
set -euo pipefail
cd "$(dirname "$0")/.."
step=${STEP:-build/bench_step}
python=${PYTHON:-python3}
rounds=${1:-3}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
has_torch=0
"$python" -c 'import torch' 2>/dev/null && has_torch=1

median() { grep "^$2 " "$1" | awk '{print $2}' | sort -n | awk '{v[NR]=$1} END {print NR%2 ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2}'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.2f", a/b}'; }

cores=$(nproc 2>/dev/null || sysctl -n hw.ncpu)
cpu=$(grep -m1 'model name' /proc/cpuinfo 2>/dev/null | cut -d: -f2- | sed 's/^ *//' || true)
echo "${cpu:-$(uname -m)}, $cores cores, $(date +%F), $(${CXX:-g++} --version | head -n 1)" \
     "$([ $has_torch = 1 ] && "$python" -c 'import torch; print("; PyTorch", torch.__version__)')"
echo
echo "| what | threads | acinus ms | PyTorch ms (faster layout) | ratio | acinus MB | PyTorch MB | ratio |"
echo "|---|---|---|---|---|---|---|---|"

row() { # NAME THREADS ARGUMENTS...
  local name=$1 threads=$2; shift 2
  local layouts="channels_last contiguous"
  rm -f "$tmp"/*
  for _ in $(seq "$rounds"); do
    "$step" --threads "$threads" "$@" >>"$tmp/acinus"
    if [ $has_torch = 1 ]; then
      for layout in $layouts; do "$python" bench/torch_step.py --threads "$threads" --layout "$layout" "$@" >>"$tmp/$layout"; done
    fi
  done
  local a_ms a_mb; a_ms=$(median "$tmp/acinus" ms); a_mb=$(median "$tmp/acinus" mb)
  if [ $has_torch = 0 ]; then echo "| $name | $threads | $a_ms | - | - | $a_mb | - | - |"; return; fi
  local best=channels_last
  for layout in $layouts; do
    [ "$(ratio "$(median "$tmp/$layout" ms)" "$(median "$tmp/$best" ms)" | tr -d .)" -lt 100 ] && best=$layout
  done
  local t_ms t_mb; t_ms=$(median "$tmp/$best" ms); t_mb=$(median "$tmp/$best" mb)
  echo "| $name | $threads | $a_ms | $t_ms ($best) | $(ratio "$a_ms" "$t_ms") | $a_mb | $t_mb | $(ratio "$a_mb" "$t_mb") |"
}

for threads in 1 "$cores"; do
  row "seed network 512x512, training step, batch 2" "$threads" --width 32 --depth 4 --size 512 --batch 2
  row "seed network 512x512, forward, batch 1" "$threads" --width 32 --depth 4 --size 512 --batch 1 --train false
  row "laptop preset 64x64, training step, batch 16" "$threads" --in 3 --width 16 --depth 3 --size 64 --batch 16 --norm batch --repeat 20
done
