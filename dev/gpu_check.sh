#!/usr/bin/env bash
# Checks everything that needs a GPU, on a machine that has one: builds, tests, compute-sanitizer, every tiling on every
# layer, and how fast kernels and steps are, the CPU's too, beside PyTorch on the same machine.
# Writes docs/results/gpu-<name>.md. Needs nvcc, and no network if
# third_party/get.sh has been run before (ACINUS_NO_SYSTEM=1 fetches what the machine may lack); PyTorch and
# compute-sanitizer are used where they are. A stage that fails does not stop the others, except the build and the first
# step; the exit code is 1 if one failed, or if there was no time left for it.
#   SECONDS_IN_ALL=470   what is not done by then is left undone   ROUNDS=3   turns that acinus and PyTorch take
#   PYTHON=python3       the one that has PyTorch                  COMMIT=    for the page, where git cannot tell
#   QUICK=1              tiny sizes: does it run at all? The page then goes to a temporary folder
#   EMULATE=1            the same on a machine without a GPU (tensor/cuda/emulate.h), with ten times as much time;
#                        only with QUICK=1
# The targets on the page are no part of the exit code: they are for reading.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
export LC_ALL=C # numbers with a point
total=${SECONDS_IN_ALL:-470} rounds=${ROUNDS:-3} python=${PYTHON:-python3} quick=${QUICK:-0} emulate=${EMULATE:-0}
if [ "$emulate" = 1 ] && [ "$quick" != 1 ]; then
  echo "gpu_check: EMULATE=1 is too slow but with QUICK=1" >&2
  exit 2
fi
build=build time_factor=1
if [ "$emulate" = 1 ]; then build=build/emulate time_factor=10; fi
total=$((total * time_factor))
tmp=$(mktemp -d)
export build tmp quick
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null; exit 1' INT TERM HUP
trap 'finish' EXIT

say() { echo "gpu_check: $*" >&2; }

# ---- stages -------------------------------------------------------------------------------------------------------

failed=0 logs=0
stage() { # NAME SECONDS COMMAND...: one line of the page
  local name=$1 limit=$(($2 * time_factor)) left=$((total - SECONDS)) begin=$SECONDS code=0 verdict
  shift 2
  logs=$((logs + 1))
  log=$tmp/log.$logs
  : >"$log"
  if [ "$limit" -gt "$left" ]; then limit=$left; fi
  if [ "$limit" -lt 5 ]; then
    code=124 verdict="**not run**: no time left"
  else
    timeout -k 5 "$limit" "$@" >"$log" 2>&1 &
    pid=$!
    wait "$pid" || code=$?
    pid=
    case $code in
      0) verdict=passed ;;
      124 | 137) verdict="**failed**: not done after $limit s" ;;
      *) verdict="**failed**: exit code $code" ;;
    esac
    if grep -q '^No tests ran' "$log"; then code=1 verdict="**failed**: there are no such tests"; fi
    # A machine may hold the tool but not let it at its GPU; tests that find none pass.
    if grep -q "^=.*Device not supported" "$log"; then
      code=0 verdict="skipped: compute-sanitizer does not support this device"
    fi
  fi
  if [ $code != 0 ]; then
    failed=1
    { echo; echo "$name:"; echo; echo '```'; tail -n 25 "$log" | cut -c 1-300; echo '```'; } >>"$tmp/failures"
  fi
  echo "| $name | $verdict | $((SECONDS - begin)) |" | tee -a "$tmp/stages" >&2
  return $code
}
skip() { echo "| $1 | skipped: $2 | 0 |" | tee -a "$tmp/stages" >&2; }

tests() { # NAME SECONDS TESTS: by Catch2's names and tags
  stage "$1" "$2" "$build/run_tests" "$3"
}
sanitize() { # TOOL SECONDS TESTS [WHAT]
  local name="compute-sanitizer $1${4:+, $4}"
  if "$build/run_tests" --list-tests "$3" | grep -q '^0 '; then
    failed=1
    skip "$name" "**there are no such tests**"
    return
  fi
  if [ -z "$sanitizer" ]; then skip "$name" "it is not there"; return; fi
  # Blocks exactly as large as was asked for, or what is written beyond them would land in a neighbour (memory.cpp).
  stage "$name" "$2" env ACINUS_EXACT_MEMORY=1 "$sanitizer" --tool "$1" --error-exitcode 1 "$build/run_tests" "$3"
}

# ---- steps --------------------------------------------------------------------------------------------------------

# Workloads and batches, as torch_gpu.py names them.
workloads=$([ "$quick" = 1 ] && echo "train1 train2 forward1" || echo "train2 train8 forward1")
export workloads
one_step() { # WORKLOAD HOW PRECISION: adds "ms train2.graph.bf16 1.0" and so on to the numbers
  local graph=true repeat=20 size="--size 512 --width 32 --depth 4" train=true
  case $2 in plain) graph=false ;; esac
  case $1 in forward*) train=false ;; esac
  case $3 in fp32) repeat=10 ;; esac
  if [ "$quick" = 1 ]; then repeat=1 size="--size 16 --width 8 --depth 2"; fi
  # shellcheck disable=SC2086
  "$build/bench_step" --device cuda --precision "$3" --graph $graph --batch "${1//[a-z]/}" --train $train \
    --repeat $repeat $size >"$tmp/one" && awk -v name="$1.$2.$3" '{print $1, name, $2}' "$tmp/one" >>"$tmp/ours"
}
round_of_ours() {
  local workload code=0
  for workload in $workloads; do
    one_step "$workload" graph fp32 || code=1
    one_step "$workload" graph tf32 || code=1
    one_step "$workload" graph bf16 || code=1
    one_step "$workload" plain bf16 || code=1
  done
  return $code
}
export -f one_step round_of_ours

# PyTorch's rounds with ours between them; the same lines that torch_gpu.py prints are left in $tmp/torch.
steps() {
  if [ -z "$torch" ]; then
    for _ in $(seq "$1"); do round_of_ours || return 1; done
    return 0
  fi
  local device=cuda
  if [ "$EMULATE" = 1 ]; then device=cpu; fi
  round_of_ours || return 1 # at least these, whatever becomes of the others: to compile may take longer than there is time
  # shellcheck disable=SC2046
  "$python" dev/bench/torch_gpu.py --device $device $([ "$quick" = 1 ] && echo --quick) --rounds "$1" --seconds "$2" \
    --compile-seconds 30 --between round_of_ours >"$tmp/torch" || return 1
  cat "$tmp/torch"
  ! grep -q '^skip between' "$tmp/torch"
}
export -f steps
export python EMULATE=$emulate

# The CPU's step on this machine's cores, beside PyTorch's, in turns: of a network that is small enough for one thread.
cpu_steps() { # SECONDS: no number of threads is begun after so many
  local threads layout size="--size 256 --width 16 --depth 4 --batch 4 --repeat 3"
  if [ "$quick" = 1 ]; then size="--size 16 --width 8 --depth 1 --batch 1 --repeat 1"; fi
  for threads in 1 2 4 8 16 32 64; do
    if [ "$threads" -gt "$(nproc)" ] || [ "$SECONDS" -gt "$1" ]; then break; fi
    for _ in 1 2; do
      # shellcheck disable=SC2086
      "$build/bench_step" --device cpu --threads $threads $size | awk -v t=$threads '$1 == "ms" {print "cpu", "ours." t, $2}'
      [ -n "$torch" ] || continue
      for layout in channels_last contiguous; do
        # shellcheck disable=SC2086
        "$python" dev/bench/torch_step.py --threads $threads --layout $layout $size |
          awk -v t=$threads -v l=$layout '$1 == "ms" {print "cpu", l "." t, $2}'
      done
    done
  done >"$tmp/cpu"
  [ -s "$tmp/cpu" ]
}
export -f cpu_steps

# ---- the page -----------------------------------------------------------------------------------------------------

numbers() { cat "$tmp/ours" "$tmp/torch" "$tmp/cpu" 2>/dev/null; }
median() { # WORD [NAME]: of the numbers on the lines that begin so; nothing where there are none
  numbers | awk -v word="$1" -v name="${2:-}" '$1 == word && (name == "" || $2 == name) {print $NF}' | sort -g |
    awk '{v[NR] = $1} END {if (NR) print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2}'
}
short() { # four digits, or "-" for nothing
  awk -v x="${1:-}" 'BEGIN {
    if (x == "") printf "-"
    else printf x < 10 ? "%.3f" : x < 100 ? "%.2f" : x < 1000 ? "%.1f" : "%.0f", x}'
}
ratio() { # A B [TARGET]
  awk -v a="${1:-}" -v b="${2:-}" -v target="$([ "$quick" = 1 ] || echo "${3:-}")" 'BEGIN {
    if (a == "" || b == "" || b == 0) { printf "-"; exit }
    printf "%.2f", a / b
    if (target != "") printf a / b <= target ? " (met)" : " (**missed**)"
  }'
}

step_row() { # TITLE HOW PRECISION
  local row="| $1 |" workload
  for workload in $workloads; do row+=" $(short "$(median ms "$workload.$2.$3")") |"; done
  for workload in $workloads; do
    case $workload in train*) row+=" $(median mb "$workload.$2.$3" | grep . || echo -) |" ;; esac
  done
  echo "$row"
}
ratio_row() { # TITLE WORD OURS THEIRS [TARGET]
  local row="| $1 |" workload
  for workload in $workloads; do
    if [ "$2" = mb ] && [[ $workload = forward* ]]; then
      row+=" |"
    else # the targets are those of training
      row+=" $(ratio "$(median "$2" "$workload.$3")" "$(median "$2" "$workload.$4")" \
        "$([[ $workload = forward* ]] || echo "${5:-}")") |"
    fi
  done
  echo "$row ${5:+at most $5} |"
}
titles() { # "training step, batch 2" and so on, as cells
  local workload
  for workload in $workloads; do
    case $workload in
      train*) echo -n " training, batch ${workload#train} |" ;;
      *) echo -n " forward, batch ${workload#forward} |" ;;
    esac
  done
}
step_tables() {
  local size=512 width=32 depth=4 workload
  if [ "$quick" = 1 ]; then size=16 width=8 depth=2; fi
  cat <<END
U-Net of width $width and depth $depth, ${size}x$size, Dice loss, Adam. All take turns (rounds:
$(grep -c "^mb ${workloads%% *}.graph.bf16" "$tmp/ours")); medians over all steps. acinus' steps are timed one by one,
from asking for a step until it is done; PyTorch's by events in the GPU's queue, while more steps are asked for. One of
these rounds, acinus' first, comes before PyTorch compiles. PyTorch
is channels-last, with fused Adam. Memory: what acinus took from the GPU; of PyTorch the most that its tensors held,
which is less than what it took.
END
  echo
  echo -n "| milliseconds |"
  titles
  for workload in $workloads; do
    case $workload in train*) echo -n " MB, batch ${workload#train} |" ;; esac
  done
  echo
  echo "|---|---|---|---|---|---|"
  step_row "acinus, float32" graph fp32
  step_row "acinus, TF32" graph tf32
  step_row "acinus, bfloat16" graph bf16
  step_row "the same, not as a graph" plain bf16
  step_row "PyTorch, float32" eager fp32
  step_row "PyTorch, TF32" eager tf32
  step_row "PyTorch, bfloat16 autocast" eager bf16
  step_row "PyTorch, the same by \`torch.compile\`" compile bf16
  step_row "PyTorch, the same with its CUDA graphs (\`mode=\"reduce-overhead\"\`)" reduce-overhead bf16
  echo
  echo "| acinus' time by PyTorch's |$(titles) target in training |"
  echo "|---|---|---|---|---|"
  ratio_row "bfloat16 by eager" ms graph.bf16 eager.bf16
  ratio_row "bfloat16 by \`torch.compile\`" ms graph.bf16 compile.bf16 0.5
  ratio_row "bfloat16 by \`torch.compile\` with CUDA graphs" ms graph.bf16 reduce-overhead.bf16 0.8
  ratio_row "TF32 by eager" ms graph.tf32 eager.tf32 0.8
  ratio_row "float32 by eager" ms graph.fp32 eager.fp32 0.8
  ratio_row "memory, bfloat16 by eager" mb graph.bf16 eager.bf16 0.5
  ratio_row "memory, bfloat16 by \`torch.compile\`" mb graph.bf16 compile.bf16
  if grep -q '^skip' "$tmp/torch" 2>/dev/null; then
    echo
    echo "Left out:"
    echo
    awk '$1 == "skip" {name = $2; sub(/^skip [^ ]+ /, ""); print "- `" name "`: " $0}' "$tmp/torch" | sort -u
  fi
}

cpu_table() {
  local threads theirs last
  echo "U-Net of width 16 and depth 4, 256x256, batch 4, float32 on the CPU; medians. PyTorch in the faster of its two layouts."
  echo
  echo "| threads | acinus, ms | PyTorch, ms | acinus by PyTorch |"
  echo "|---|---|---|---|"
  for threads in 1 2 4 8 16 32 64; do
    grep -q "^cpu ours.$threads " "$tmp/cpu" || continue
    theirs=$(median cpu "channels_last.$threads") last=$(median cpu "contiguous.$threads")
    if awk -v a="${last:-0}" -v b="${theirs:-0}" 'BEGIN {exit !(a < b)}'; then theirs=$last; fi
    echo "| $threads | $(short "$(median cpu "ours.$threads")") | $(short "$theirs") |" \
         "$(ratio "$(median cpu "ours.$threads")" "$theirs") |"
  done
}

page() {
  echo "# $gpu"
  echo
  echo "Written by \`dev/gpu_check.sh\`, $(date -u '+%F %H:%M') UTC, in $SECONDS s."
  if [ "$emulate" = 1 ]; then
    echo
    echo "**There was no GPU. Kernels were emulated on the CPU, at tiny sizes: every number here means nothing,** and" \
         "shows only that the script works."
  elif [ "$quick" = 1 ]; then
    echo
    echo "**At tiny sizes (QUICK=1): the numbers mean nothing.**"
  fi
  echo
  echo "| | |"
  echo "|---|---|"
  echo "| GPU | $gpu${memory:+, $memory} |"
  echo "| driver | ${driver:--} |"
  echo "| nvcc | ${nvcc_version:--} |"
  echo "| PyTorch | ${torch:--} |"
  echo "| CPU | $(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1) |"
  echo "| commit | $commit |"
  echo "| ceilings, measured by PyTorch | $(short "$(median tflops)") TFLOP/s in bfloat16 (a matrix product of" \
       "8192³), $(short "$(median gbs)") GB/s (a copy of 2 GB) |"
  echo
  echo "## What was checked"
  echo
  echo "| stage | verdict | seconds |"
  echo "|---|---|---|"
  cat "$tmp/stages"
  echo
  echo "## The training step"
  echo
  step_tables
  echo
  if [ -s "$tmp/cpu" ]; then
    echo "## The same on the CPU"
    echo
    cpu_table
    echo
  fi
  echo "## The kernels"
  echo
  if [ -s "$tmp/kernels" ]; then cat "$tmp/kernels"; else echo "Not measured."; fi
  if [ -s "$tmp/sweep" ]; then
    echo
    echo "## Every tiling of the 3x3 convolutions"
    echo
    cat "$tmp/sweep"
  fi
  if [ -s "$tmp/failures" ]; then
    echo
    echo "## The end of what the failed stages printed"
    cat "$tmp/failures"
  fi
}

finish() {
  local folder=docs/results name
  if [ "$quick" = 1 ]; then folder=$(mktemp -d); fi
  if [ -s "$tmp/stages" ]; then
    name=gpu-$(tr '[:upper:]' '[:lower:]' <<<"$gpu" | tr -cs 'a-z0-9\n' '-' | sed 's/-*$//').md
    mkdir -p "$folder"
    page >"$folder/$name.$$.tmp" && mv "$folder/$name.$$.tmp" "$folder/$name" && say "$folder/$name, after $SECONDS s"
  fi
  rm -rf "$tmp"
}

# ---- what there is ------------------------------------------------------------------------------------------------

touch "$tmp/stages" "$tmp/ours" "$tmp/torch" "$tmp/cpu"
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc /opt/cuda/bin/nvcc 2>/dev/null | head -n 1)
nvcc_version=$("${nvcc:-false}" --version 2>/dev/null | sed -n 's/.*release \(.*\)/\1/p')
sanitizer=$(command -v compute-sanitizer || ls "${nvcc%nvcc}compute-sanitizer" 2>/dev/null)
torch=$("$python" -c 'import torch; print(torch.__version__)' 2>/dev/null)
export torch
commit=${COMMIT:-$(git rev-parse --short HEAD 2>/dev/null || echo unknown)}
if [ -n "$(git status --porcelain 2>/dev/null)" ]; then commit+=" and changes that were not committed"; fi
if [ "$emulate" = 1 ]; then
  gpu=emulated driver='' memory='' nvcc_version='' sanitizer=''
else
  IFS=, read -r gpu driver memory < <(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader)
  driver=${driver# } memory=${memory# }
  if [ -z "${gpu:-}" ]; then say "there is no GPU here: nvidia-smi finds none"; exit 1; fi
  if [ -z "$nvcc" ]; then say "there is no nvcc here"; exit 1; fi
fi
say "$gpu${torch:+, PyTorch $torch}"

# ---- all of it, what matters most first ---------------------------------------------------------------------------

stage "build" 240 make EMULATE="$emulate" all tests benches || exit 1
# Without a GPU that works the tests below would have nothing to do, and pass.
tiny="--size 16 --width 8 --depth 1 --repeat 1"
stage "a training step on the GPU" 20 "$build/bench_step" --device cuda $tiny || exit 1
tests "tests of the GPU" 60 "[cuda]"
stage "check_reference tests/cases cuda" 40 "$build/check_reference" tests/cases cuda
if [ -d ../shared/reference ] && [ "$quick" != 1 ]; then
  stage "check_reference ../shared/reference cuda" 60 "$build/check_reference" ../shared/reference cuda
fi
# shellcheck disable=SC2046
if stage "every tiling on every layer" 60 "$build/bench_sweep" $([ "$quick" = 1 ] && echo --quick); then
  cp "$log" "$tmp/sweep"
fi
stage "steps${torch:+, beside PyTorch}" 240 bash -c "steps $rounds 120"
# The target of the convolutions, 0.40 of the ceiling, is for a batch of 8.
# shellcheck disable=SC2046
if stage "kernels" 40 "$build/bench_gpu" $([ "$quick" = 1 ] && echo --quick || echo --batch 8) \
  --ceiling-tflops "$(median tflops | grep . || echo 0)" --ceiling-gbs "$(median gbs | grep . || echo 0)"; then
  cp "$log" "$tmp/kernels"
fi
# Short sets: under these tools a kernel takes ten times as long and more. racecheck, which follows every access to
# shared memory, is the slowest: one kernel's tests at a time.
sanitize memcheck 45 "ops: the GPU*,cuda: conv3x3*,cuda: the 3x3 weight*,cuda: the general*,cuda: a step replayed*"
sanitize racecheck 40 "cuda: conv3x3: weights that have changed*" "3x3"
sanitize racecheck 40 "cuda: the 3x3 weight gradient in bfloat16*" "weight gradient"
sanitize racecheck 40 "cuda: the first layer*,cuda: the head*" "few channels"
stage "the CPU's steps" 60 bash -c "cpu_steps 45"
if [ "$quick" != 1 ]; then tests "the other tests, on the CPU" 120 "~[cuda]"; fi
exit $failed
