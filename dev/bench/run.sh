#!/usr/bin/env bash
# make bench: prints how fast acinus is, as Markdown, beside PyTorch where PYTHON (python3) has it. Everything that is
# compared takes turns, so that a machine whose speed drifts is fair to all, and the numbers are medians.
#   ROUNDS=3   turns of each row        QUICK=1   tiny sizes: does it run at all?
#   README=1   into README.md (the steps) and docs/speed.md (each layer), too
set -euo pipefail
cd "$(dirname "$0")/../.."
export LC_ALL=C # numbers with a point
build=${BUILD:-build} python=${PYTHON:-python3} rounds=${ROUNDS:-3} quick=${QUICK:-0} readme=${README:-0}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp" README.md.$$.tmp docs/speed.md.$$.tmp' EXIT
torch=$("$python" -c 'import torch; print(torch.__version__)' 2>/dev/null || true)
cores=$(env -u OMP_NUM_THREADS nproc 2>/dev/null || sysctl -n hw.ncpu)
counts=$([ "$cores" = 1 ] && echo 1 || echo "1 $cores")
conv_counts=$([ "$readme" = 1 ] && echo "$cores" || echo "$counts") # the page is to stay short

say() { echo "bench: $*" >&2; }

begin='<!-- bench:begin (written by make bench README=1) -->' end='<!-- bench:end -->'
if [ -n "${PYTHON:-}" ] && [ -z "$torch" ]; then say "$PYTHON has no PyTorch"; exit 1; fi
if [ "$readme" = 1 ] && { [ -z "$torch" ] || [ "$quick" = 1 ]; }; then
  say "README.md is for numbers beside PyTorch's (PYTHON=...), at full size"
  exit 1
fi
for page in README.md docs/speed.md; do
  if [ "$readme" = 1 ] && [ "$(grep -xF -e "$begin" -e "$end" $page)" != "$begin"$'\n'"$end" ]; then
    say "$page needs each of the lines '$begin' and '$end' once, for the table to go between"
    exit 1
  fi
done

median() { # FILE WORD: of the numbers that follow the word
  awk -v word="$2" '$1 == word {print $2}' "$1" | sort -n |
    awk '{v[NR] = $1} END {print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2}'
}
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {if (b > 0) printf "%.2f", a / b; else printf "-"}'; }
is_less() { awk -v a="$1" -v b="$2" 'BEGIN {exit !(a < b)}'; }
short() { awk -v x="$1" 'BEGIN {printf x < 100 ? "%.1f" : "%.0f", x}'; }
others() { # percent of the cores' time that other programs take, over half a second (Linux)
  { head -n 1 /proc/stat; sleep 0.5; head -n 1 /proc/stat; } 2>/dev/null |
    awk '{total = -total; idle = -idle; for (i = 2; i <= 9; i++) total += $i; idle += $5 + $6}
         END {print (total > 0 ? int(100 * (1 - idle / total)) : 0)}' || true
}

turn=0 turns=0 disturbed=0
next() { # WHAT THREADS: says what comes, how much there is of it, and whether the machine is busy
  local busy; busy=$(others)
  turn=$((turn + 1))
  say "$turn of $turns, $SECONDS s: $1, threads: $2$([ "$busy" -le 10 ] || echo " (other programs take $busy % of the cores)")"
  if [ "$busy" -gt 10 ]; then disturbed=$((disturbed + 1)); fi
}

line() { # NAME THREADS FILE: ours in FILE beside PyTorch's faster layout
  local ms mb best=channels_last their_ms their_mb
  ms=$(median "$3" ms) mb=$(median "$3" mb)
  if [ -z "$torch" ]; then echo "| $1 | $2 | $(short "$ms") | - | - | $mb | - | - |"; return; fi
  if is_less "$(median "$tmp/contiguous" ms)" "$(median "$tmp/channels_last" ms)"; then best=contiguous; fi
  their_ms=$(median "$tmp/$best" ms) their_mb=$(median "$tmp/$best" mb)
  echo "| $1 | $2 | $(short "$ms") | $(short "$their_ms") ($best) | **$(ratio "$ms" "$their_ms")** |" \
       "$mb | $their_mb | **$(ratio "$mb" "$their_mb")** |"
}

row() { # NAME THREADS ARGUMENTS, and a second line with --recompute where the name is that of the seed's training step
  local name=$1 threads=$2 layout; shift 2
  rm -f "$tmp"/{ours,recompute,channels_last,contiguous}
  for _ in $(seq "$rounds"); do
    next "$name" "$threads"
    "$build/bench_step" --threads "$threads" "$@" >>"$tmp/ours"
    case $name in seed*step*) "$build/bench_step" --threads "$threads" "$@" --recompute >>"$tmp/recompute" ;; esac
    [ -n "$torch" ] || continue
    for layout in channels_last contiguous; do
      "$python" dev/bench/torch_step.py --threads "$threads" --layout "$layout" "$@" >>"$tmp/$layout"
    done
  done
  line "$name" "$threads" "$tmp/ours"
  if [ -e "$tmp/recompute" ]; then line "the same with \`--recompute\`" "$threads" "$tmp/recompute"; fi
}

if [ "$quick" = 1 ]; then size=32 patch=16 repeat=1; else size=512 patch=64 repeat=3; fi

machine() {
  echo "$(grep -m1 'model name' /proc/cpuinfo 2>/dev/null | sed 's/.*: //' || uname -m)," \
       "$cores cores, $(uname -sr), $(date +%F), $(${CXX:-g++} --version | head -n 1)${torch:+, PyTorch $torch}."
  echo
}

steps() {
  local threads seed="--width 32 --depth 4 --size $size --repeat $repeat"
  machine
  echo "| what | threads | acinus ms | PyTorch ms (its faster layout) | ratio | acinus MB | PyTorch MB | ratio |"
  echo "|---|---|---|---|---|---|---|---|"
  for threads in $counts; do
    row "seed network, ${size}x$size, training step, batch 2" "$threads" $seed --batch 2
    row "seed network, ${size}x$size, forward, batch 1" "$threads" $seed --batch 1 --train false
    row "laptop network, ${patch}x$patch, training step, batch 16" "$threads" \
      --in 3 --width 16 --depth 3 --size "$patch" --batch 16 --norm batch --repeat $((repeat * 7))
  done
  warning
}

layers() {
  local threads
  machine
  for threads in $conv_counts; do
    next "convolutions" "$threads"
    "$build/bench_conv" --threads "$threads" --size "$size" --repeat $((repeat + 2))
    echo
  done
  warning
}

warning() {
  [ $disturbed -gt 0 ] || return 0
  echo
  echo "Other programs were running when $disturbed of the $turns turns began, so these numbers are not to be trusted," \
       "those of PyTorch with several threads least: they wait for each other in busy loops."
}

keep() { # PAGE TABLE: the table between the page's two lines
  awk -v begin="$begin" -v end="$end" -v table="$2" '
    $0 == end { inside = 0 }
    !inside { print }
    $0 == begin { inside = 1; while ((getline line < table) > 0) print line }' "$1" >"$1.$$.tmp"
  mv "$1.$$.tmp" "$1"
  say "the table is in $1"
}

turns=$(($(wc -w <<<"$counts") * 3 * rounds + $(wc -w <<<"$conv_counts")))
steps >"$tmp/steps"
cat "$tmp/steps"
echo
layers >"$tmp/layers"
cat "$tmp/layers"
[ "$readme" = 1 ] || exit 0
keep README.md "$tmp/steps"
keep docs/speed.md "$tmp/layers"
