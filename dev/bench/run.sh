#!/usr/bin/env bash
# make bench: bench.py does it. Without Python, acinus' own numbers of one round, each number the median of its repetitions.
set -euo pipefail
cd "$(dirname "$0")/../.."
export BUILD=${BUILD:-build} LC_ALL=C # numbers with a point
python=${PYTHON:-python3}
if "$python" -c 'import sys; assert sys.version_info >= (3, 8)' 2>/dev/null; then exec "$python" dev/bench/bench.py; fi
echo "bench: $python is not there, so acinus is timed by itself" >&2
if [ -n "${PYTHON:-}" ] || [ "${README:-0}" = 1 ]; then exit 1; fi

if [ "${QUICK:-0}" = 1 ]; then size=32 patch=16 image=32 repeat=1; else size=512 patch=64 image=160 repeat=5; fi
cores=$(nproc 2>/dev/null || sysctl -n hw.ncpu)
counts=$([ "$cores" = 1 ] && echo 1 || echo "1 $cores")
row() { # NAME ARGUMENTS of step.cpp
  local name=$1 threads; shift
  for threads in $counts; do
    "$BUILD/bench_step" --threads "$threads" --repeat $repeat "$@" | sort -k2 -n |
      awk -v begin="| $name | $threads |" '$1 == "ms" {v[++n] = $2} $1 == "mb" {mb = $2}
        END {printf "%s %.1f | %d |\n", begin, (v[int((n + 1) / 2)] + v[int(n / 2) + 1]) / 2, mb}'
  done
}
echo "| what | threads | ms | MB |"
echo "|---|---|---|---|"
row "seed network, training step, batch 2" --width 32 --depth 4 --size $size --batch 2
row "seed network, forward" --width 32 --depth 4 --size $size --batch 1 --train false
laptop=(--in 3 --width 16 --depth 3 --norm batch)
row "laptop network, training step, batch 16" "${laptop[@]}" --size $patch --batch 16
row "laptop network, forward" "${laptop[@]}" --size $image --batch 1 --train false
for threads in $counts; do
  echo
  "$BUILD/bench_conv" --threads "$threads" --size $size --repeat $repeat
done
