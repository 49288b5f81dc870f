#!/usr/bin/env bash
# What a user sees of the programs: exit codes, one clear line for each thing that is wrong, nothing left half-written,
# and the same numbers from the same seed. Each file of tests/programs/ is a part, which makes what it needs in a folder
# of its own; as many parts as there are cores run at once.
#
#   tests/test_programs.sh [FOLDER [PART...]]     the folder that holds the programs, default: this one; and the parts'
#                                                 names, default: all. One part alone shows each of its checks
#   JOBS=1                                        one part after the other
#   NO_GPU=1                                      leaves out what runs on a GPU
set -u
programs=$(cd "${1:-.}" && pwd) || exit 2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
train=$programs/train predict=$programs/predict phantom=$programs/phantom prepare=$programs/prepare doctor=$programs/doctor
evaluate=$programs/evaluate
for program in "$train" "$predict" "$phantom" "$prepare" "$doctor" "$evaluate"; do
  [ -x "$program" ] || { echo "test_programs.sh: $program is not there; run make first" >&2; exit 2; }
done

if [ $# != 2 ]; then  # all parts, or some: each by this script
  if [ $# -gt 2 ]; then
    parts=("${@:2}")
  else
    parts=(resume train recipes predict classify evaluate gpu data arguments)  # the longest first
    for file in "$here"/programs/*.sh; do
      name=$(basename "$file" .sh)
      [[ " ${parts[*]} " == *" $name "* ]] || parts+=("$name")
    done
  fi
  logs=$(mktemp -d)
  trap 'rm -rf "$logs"' EXIT
  part() {
    local begin=$SECONDS
    bash "$0" "$programs" "$1" >"$logs/$1" 2>&1
    grep -v '^ok ' "$logs/$1" | sed "\$ s/$/ in $((SECONDS - begin)) s: $1/"
  }
  export -f part
  export logs programs
  printf '%s\n' "${parts[@]}" | xargs -P "${JOBS:-$(nproc 2>/dev/null || echo 2)}" -I{} bash -c 'part {}' "${BASH_SOURCE[0]}"
  for name in "${parts[@]}"; do tail -n 1 "$logs/$name"; done |  # a part whose last line is another one has failed
    awk -v parts=${#parts[@]} '/^[0-9]+ passed, [0-9]+ failed$/ {passed += $1; failed += $3; parts--}
      END {print passed + 0 " passed, " failed + parts " failed"; exit failed + parts > 0}'
  exit
fi

[ -f "$here/programs/$2.sh" ] || { echo "test_programs.sh: there is no part $2" >&2; exit 2; }
bash -n "$here/programs/$2.sh" || exit 2
work=$(mktemp -d)
mounted=
trap 'cd /; [ -z "$mounted" ] || umount "$mounted"; rm -rf "$work"' EXIT
cd "$work" || exit 2

passed=0 failed=0
report() {  # name, and what is wrong with it, if anything
  if [ -z "${2:-}" ]; then passed=$((passed + 1)); echo "ok    $1"; else failed=$((failed + 1)); echo "FAIL  $1: $2"; fi
}

# expect NAME CODE PATTERN COMMAND...: the exit code; for a failure, one line on stderr that matches the pattern; for a
# success, a line on stdout that does, and nothing on stderr. The output stays in ./out and ./err.
expect() {
  local name=$1 code=$2 pattern=$3 wrong=
  shift 3
  "$@" >out 2>err </dev/null
  local got=$?
  if [ $got != "$code" ]; then
    wrong="exit code $got, not $code: $(head -c 300 err)"
  elif [ "$code" = 0 ] && [ -s err ]; then
    wrong="on stderr: $(head -c 300 err)"
  elif [ "$code" = 0 ] && ! grep -qe "$pattern" out; then
    wrong="no \"$pattern\" in the output"
  elif [ "$code" != 0 ] && [ "$(wc -l <err)" != 1 ]; then
    wrong="$(wc -l <err) lines on stderr: $(head -c 300 err)"
  elif [ "$code" != 0 ] && ! grep -qe "$pattern" err; then
    wrong="no \"$pattern\" in: $(head -c 300 err)"
  elif [ -n "$(find . -name '*.tmp*')" ]; then
    wrong="left behind: $(find . -name '*.tmp*' | head -n 3)"
  fi
  report "$name" "$wrong"
}

weights() {  # what follows a safetensors file's header, in which the settings are
  local length=$(od -An -t u8 -N 8 "$1" | tr -d ' ')
  tail -c "+$((length + 9))" "$1"
}

metrics() { cut -d, -f1-5 "$1/metrics.csv"; }  # without seconds, images a second and memory
compare() {  # name, two run folders
  report "$1: the same metrics" "$(diff <(metrics "$2") <(metrics "$3") | head -n 2 | tr '\n' ' ')"
  report "$1: the same network" "$(cmp <(weights "$2/best.safetensors") <(weights "$3/best.safetensors") 2>&1)"
}

# What several parts train on: small enough for a second, as large as it takes to go wrong.
tiny="--scans 3 --size 48 --slices 12 --pixel_mm 7 --slice_mm 20 --min_diameter_mm 14 --pictures 0"
tiny_net="--net.width 4 --net.depth 2 --net.norm_groups 2 --train.epochs 2 --train.batch 2 --train.size 32"
small="$tiny_net --train.steps 3 --train.warmup 1"
long="$tiny_net --train.epochs 3 --train.steps 30 --train.warmup 5 --train.ema 0.9"
diverge="--train.lr 1e30 --train.clip 0 --train.warmup 0 --train.decay constant --net.norm none"
large="--net.width 16 --net.depth 2 --train.epochs 1 --train.steps 1 --train.batch 1 --train.size 16"  # 500 KB
made() { "$@" >out 2>err </dev/null || report "$*" "exit code $?: $(head -c 300 err)"; }
make_set() { made "$phantom" set $tiny --flipped 0.5; scan=$(ls set/subset0/*.mhd | head -n 1); }
make_mixed() { made "$phantom" mixed ${tiny/--scans 3/--scans 4} --flipped 0.5 --seed 3; }
make_network() { made "$train" --data set ${*:2} --out "$1"; }  # folder, flags
# Trains a classifier of candidates with the U-Net in ./whole.
second="--task classify --segmenter whole/best.safetensors --data set --train.epochs 2 --train.steps 4 --train.warmup 1
        --train.batch 8 --classify.width 4 --classify.stages 2 --classify.size 8 --classify.pixel_mm 7 --classify.planes 3
        --classify.plane_mm 20"

source "$here/programs/$2.sh"
echo "$passed passed, $failed failed"
[ $failed = 0 ]
