#!/usr/bin/env bash
# Are the vectors right on other processors, and how fast is a build for all of them?
#
#   dev/portability.sh quick   the tests of the convolutions and matrix products: AVX2, and NEON under qemu
#   dev/portability.sh         the same; all unit tests but the slow ones with AVX2; steps of that build beside this machine's
#
# AVX2 is ARCH=-march=x86-64-v3, which any x86-64 processor since about 2015 runs. It installs nothing; what is missing is said.
set -euo pipefail
cd "$(dirname "$0")/.."
export CUDA=0 LC_ALL=C
CXX=${CXX:-g++}
make CXX="$CXX" third_party/root/flags.mk
third_party=$(sed -n 's/^THIRD_PARTY_FLAGS := //p' third_party/root/flags.mk)

# What computes, and the tests of what uses vectors directly; not by make, so that the ops are compiled in one piece.
vector_tests() { # NAME COMPILER FLAGS RUNNER...
  local to=build/vectors_$1 compiler=$2 flags=$3 files; shift 3
  rm -rf "$to" && mkdir -p "$to"
  printf '#include "%s"\n' tensor/ops/*.cu >"$to/ops.cpp"
  files="$to/ops.cpp $(ls tensor/*.c* tensor/conv/*.c* tensor/conv/cpu/*.c* tensor/cuda/device.cpp)"
  files+=" tests/main.cpp tests/tensor/test_gemm.cpp tests/tensor/test_winograd.cpp"
  # shellcheck disable=SC2086,SC2016
  tr ' ' '\n' <<<"$files" | xargs -P "$(nproc)" -I{} bash -c '"$@" -o "$0/$(tr / _ <<<{}).o" -x c++ -c {}' "$to" \
    "$compiler" $flags -std=c++20 -O1 -fopenmp -Wall -Wextra -I. $third_party
  rm -f "$to"/*.a && ar rcs "$to/rest.a" "$to"/tensor_*.o "$to"/*ops.cpp.o
  # shellcheck disable=SC2086
  "$compiler" $flags -fopenmp "$to"/tests_*.o "$to/rest.a" -lpthread -o "$to/run"
  OMP_WAIT_POLICY=passive "$@" "$to/run"
}

avx2() {
  if ! grep -qw avx2 /proc/cpuinfo; then echo "AVX2: this processor does not have it, not tested"; return; fi
  vector_tests avx2 "$CXX" -march=x86-64-v3
}

neon() {
  local cross=aarch64-linux-gnu-g++ qemu
  qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64 || true)
  if [ "$(uname -m)" = aarch64 ]; then
    vector_tests neon "$CXX" ""
  elif command -v $cross >/dev/null && [ -n "$qemu" ]; then
    vector_tests neon $cross -static "$qemu"
  else
    echo "NEON: not tested; it needs an arm64 compiler and an emulator (Debian: apt install g++-aarch64-linux-gnu qemu-user)"
  fi
}

median() { sort -n | awk '{v[NR] = $1} END {print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2}'; }

# The two builds take turns.
speed() {
  local native=build/bench_step any=build/avx2/bench_step
  make CXX="$CXX" $native
  make CXX="$CXX" BUILD=build/avx2 ARCH=-march=x86-64-v3 $any
  step() { # NAME ARGUMENTS
    local name=$1 t=build/avx2/times; shift
    rm -f $t.*
    for _ in 1 2 3 4 5; do
      $native "$@" | sed -n 's/^ms //p' >>$t.native
      $any "$@" | sed -n 's/^ms //p' >>$t.any
    done
    awk -v name="$name" -v a="$(median <$t.native)" -v b="$(median <$t.any)" \
      'BEGIN {printf "%s: -march=native %.1f ms, x86-64-v3 %.1f ms, ratio %.2f\n", name, a, b, b / a}'
  }
  echo "$(grep -m1 'model name' /proc/cpuinfo | sed 's/.*: //'), $(grep -qw avx512f /proc/cpuinfo && echo with || echo without) AVX-512," \
       "$(nproc) cores; -march=native is $($CXX -march=native -Q --help=target 2>/dev/null | awk '$1 == "-march=" {print $2}')"
  step "seed network, training step" --repeat 1
  step "laptop network, training step" --in 3 --width 16 --depth 3 --norm batch --size 64 --batch 16 --repeat 10
  step "laptop network, forward" --in 3 --width 16 --depth 3 --norm batch --size 160 --batch 1 --train false --repeat 30
}

avx2
neon
if [ "${1:-}" != quick ] && grep -qw avx2 /proc/cpuinfo 2>/dev/null; then
  make CXX="$CXX" BUILD=build/avx2 ARCH=-march=x86-64-v3 ONLY="~[slow]" test-units
  speed
fi
