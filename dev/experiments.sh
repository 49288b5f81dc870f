#!/usr/bin/env bash
# Two tables, made of many runs of ./train. What each improvement over the seed system's recipe is worth (docs/ablation.md): every
# recipe with three seeds, on one fixed set of phantoms and, where they are there, on the three real scans, each held
# out in turn. And what each of the seed system's mistakes costs (docs/museum.md). Takes four hours or so on two cores;
# may be stopped and started again, and goes on where it was.
#
#   dev/experiments.sh [FOLDER]      the runs; default runs/experiments
#   SEEDS="1 2 3"  JOBS=2  LUNA=../shared/luna  TRAIN=./train  DOCS=docs  ONLY=ablation or museum
#   QUICK=1                          two steps each, to try the script
#
# Results are kept in DOCS/experiments.csv, one line a run; what is in there is not run again. Remove lines to have them
# made anew.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-runs/experiments} seeds=${SEEDS:-1 2 3} jobs=${JOBS:-$(nproc)} luna=${LUNA:-../shared/luna} train=${TRAIN:-./train}
docs=${DOCS:-docs} only=${ONLY:-ablation museum}
results=$docs/experiments.csv commit=$(git rev-parse --short HEAD)
mkdir -p "$runs" "$docs"
[ -f "$results" ] || echo "run,dice,honest_dice,commit" >"$results"

# Each recipe is the one before it and something more. All but the first see as many pieces in as many steps.
small="--net.width 16 --net.depth 3 --net.norm batch --net.init he --train.optimizer adamw --train.lr 1e-2
  --train.weight_decay 1e-4 --train.decay cosine --train.warmup 20 --train.clip 1 --train.epochs 12 --train.steps 50"
no_change="--augment.rotate 0 --augment.zoom 0 --augment.elastic 0 --augment.noise 0 --augment.blur 0 --augment.brightness 0
  --augment.contrast 0 --augment.low_resolution 0 --augment.gamma 0 --augment.gamma_of_inverse 0"
plain="$small --train.hard 0 --train.ema 0 --net.deep_supervision 0 $no_change"
names=(
  "the seed recipe"
  "a small network with batch norm and He's initialisation, AdamW at 1e-2 with warm-up and cosine"
  "Dice + BCE"
  "pieces of 64x64, half of them around nodules"
  "three neighbouring slices"
  "mirrored"
  "the lungs: pieces are drawn there, and nothing is predicted outside"
  "hard pieces"
  "deep supervision, mean of the weights"
  "turned, other brightness, contrast and noise: the laptop preset"
)
flags() { # RECIPE, a number
  case $1 in
    0) echo "--preset seed --train.size $side" ;;
    1) echo "$plain --train.loss dice --train.whole_slices --train.foreground 1 --train.batch 2 --train.size $side
             --input.planes 1 --input.lungs false --augment.mirror 0" ;;
    2) echo "$(flags 1) --train.loss dice+bce" ;;
    3) echo "$plain --input.planes 1 --input.lungs false --augment.mirror 0" ;;
    4) echo "$plain --input.lungs false --augment.mirror 0" ;;
    5) echo "$plain --input.lungs false" ;;
    6) echo "$plain" ;;
    7) echo "$plain --train.hard 0.1" ;;
    8) echo "$plain --train.hard 0.1 --train.ema 0.99 --net.deep_supervision 2" ;;
    9) echo "--train.steps 50" ;;
  esac
}

# ./train with a bug of docs/museum.md, built in a copy of the sources.
flawed() { # BUG
  local copy=$runs/museum-$1
  mkdir -p "$copy"
  { git ls-files -z && find third_party/root ! -type d -print0; } | tar cf - --null -T - | tar xf - -C "$copy"
  (cd "$copy" && GIT_CEILING_DIRECTORIES=$(dirname "$PWD") git apply "docs/museum/$1.diff" && make train)
}

# Dice over whole scans of held-out patients and true masks, of a network that may have been trained with a bug.
honest() { # FOLDER of a run
  local uids=$(awk '/^held-out patients/ {table = 1} table && $1 ~ /^[0-9.]+$/ {print $1}' "$1.log" | sort -u)
  rm -rf "$1/predictions" "$1/evaluation"
  "${train%train}predict" $(printf "$phantoms/subset0/%s.mhd " $uids) --model "$1/best.safetensors" --out "$1/predictions" --pictures 0 >"$1/predict.log"
  "${train%train}evaluate" "$1/predictions" --data "$phantoms" --out "$1/evaluation" | awk '/^mean over/ {print $(NF - 2)}'
}

# One run. Kept are the last epoch's validation Dice, without a choice among epochs, which would flatter all of them;
# and, for the museum, the honest Dice; of split it is that of a fifth of the slices, which its own table shows.
one() { # NAME FLAGS...
  local name=$1 folder=$runs/$1 program=$train bug dice
  shift
  [[ $name != museum-* ]] || bug=${name#museum-} bug=${bug%-*}
  [ -z "${bug-}" ] || [ "$bug" = none ] || program=$runs/museum-$bug/train
  if [ -s "$folder/last.safetensors" ]; then set -- --resume "$folder"; else rm -rf "$folder"; set -- "$@" --out "$folder"; fi
  OMP_WAIT_POLICY=passive "$program" --threads 1 "$@" >>"$folder.log" 2>&1 </dev/null || { echo "failed: $folder.log"; return 1; }
  dice=$(sed -n 's/^  mean over.* //p' "$folder.log" | tail -n 1)
  case ${bug-none} in none | split) ;; *) dice=$(honest "$folder") ;; esac
  echo "$name,$(tail -n 1 "$folder/metrics.csv" | cut -d, -f4),$dice,$commit" \
    >>"$results"
  tail -n 1 "$results"
}
export -f one honest
export train runs results commit

bugs="none radius flip split norm single_nodule"
end="--train.validate_every 1000 ${QUICK:+--train.epochs 1 --train.steps 2}"  # judged after the last step alone
tasks() { # one line a run
  local recipe seed uid bug
  for seed in $seeds; do
    [[ $only != *museum* ]] || for bug in $bugs; do
      echo "museum-$bug-$seed" --data "$phantoms" --seed "$seed" --train.steps 50 --cache "$runs/museum-$bug-cache" $end
    done
    [[ $only == *ablation* ]] || continue
    for recipe in "${!names[@]}"; do
      side=160
      echo "phantoms-$recipe-$seed" $(flags "$recipe") --data "$phantoms" --seed "$seed" $end
      [ -d "$luna" ] || continue
      side=320
      while read -r uid; do
        echo "real-$recipe-$seed-${uid: -4}" $(flags "$recipe") --data "$luna" --held_out "${uid: -8}" --seed "$seed" $end
      done <"$luna/seriesuids.csv"
    done
  done
}

export phantoms=$runs/phantoms
[[ $only != *museum* ]] || for bug in ${bugs#none}; do [ -x "$runs/museum-$bug/train" ] || flawed "$bug"; done
[ -f "$phantoms/annotations.csv" ] ||
  "${train%train}phantom" "$phantoms" --scans 24 --size 160 --slices 48 --pixel_mm 2 --slice_mm 3 --min_diameter_mm 8 --pictures 0
for data in "$phantoms" "$luna"; do [ ! -d "$data" ] || "${train%train}prepare" "$data" --pictures 0; done
tasks | awk -F, 'NR == FNR {done[$1]; next} {split($0, word, " ")} !(word[1] in done)' "$results" - | tr '\n' '\0' | xargs -0 -P "$jobs" -I{} bash -c 'one {}' ||
  echo "some runs failed; the tables are made of the others"

# mean and standard deviation over the seeds; of the real scans the mean over the three held out. Seeds of which a run is
# missing do not count.
row() { # SET RECIPE COLUMN
  awk -F, -v set="$1-$2-" -v column="$3" -v runs=$([ "$1" = real ] && echo 3 || echo 1) -v seeds=$(wc -w <<<"$seeds") 'index($1, set) == 1 {split(substr($1, length(set) + 1), part, "-")
      sum[part[1]] += $column; n[part[1]]++}
    END {for (seed in n) if (n[seed] == runs) {m = sum[seed] / runs; s += m; q += m * m; k++}
      if (!k) {print "-"; exit}
      printf "%.3f", s / k
      if (k > 1) {v = (q - s * s / k) / (k - 1); printf " ± %.3f", (v > 0 ? sqrt(v) : 0)}
      if (k < seeds) printf " (%d of %d seeds)", k, seeds}' "$results"
}
# The same of the differences to another recipe, seed by seed: a seed is another split, and some patients are harder for all.
gain() { # SET RECIPE OTHER COLUMN
  awk -F, -v a="$1-$2-" -v b="$1-$3-" -v column="$4" -v runs=$([ "$1" = real ] && echo 3 || echo 1) '
    function add(set, sign) {
      if (index($1, set) != 1) return
      split(substr($1, length(set) + 1), part, "-"); sum[part[1]] += sign * $column; n[part[1]]++}
    {add(a, 1); add(b, -1)}
    END {for (seed in n) if (n[seed] == 2 * runs) {d = sum[seed] / runs; s += d; q += d * d; k++}
      if (!k) {print "-"; exit}
      printf "%+.3f", s / k
      if (k > 1) {v = (q - s * s / k) / (k - 1); printf " ± %.3f", (v > 0 ? sqrt(v) : 0)}}' "$results"
}
made="Written by \`dev/experiments.sh\` ($(date +%F), $(git rev-parse --short HEAD)), $([ "$(wc -w <<<"$seeds")" = 1 ] && echo "one seed" || echo "mean ± standard deviation over $(wc -w <<<"$seeds") seeds")."
put() { # NAME: what is read takes the place of what stands between the page's two marks
  cat >"$runs/$1.md"
  [ -f "$docs/$1.md" ] || cp "docs/$1.md" "$docs"
  sed -i -e "/<!-- $1:begin/,/<!-- $1:end/{//!d}" -e "/<!-- $1:begin/r $runs/$1.md" "$docs/$1.md"
  echo "$docs/$1.md"
}
if [[ $only == *ablation* ]]; then
  {
    echo "$made"
    echo
    echo "| recipe | phantoms | ... against the row above | three real scans | ... against the row above |"
    echo "|---|---|---|---|---|"
    for recipe in "${!names[@]}"; do
      echo "| $([ "$recipe" = 0 ] || [ "$recipe" = 9 ] || echo "+ ")${names[$recipe]} | $(row phantoms "$recipe" 2) |" \
        "$(gain phantoms "$recipe" $((recipe - 1)) 2) | $(row real "$recipe" 2) | $(gain real "$recipe" $((recipe - 1)) 2) |"
    done
    echo
    echo "The last against the first: $(gain phantoms 9 0 2) on phantoms, $(gain real 9 0 2) on the real scans."
  } | put ablation
fi
if [[ $only == *museum* ]]; then
  {
    echo "$made"
    echo
    echo "| bug | Dice that the run reports | Dice of held-out patients, true masks | ... against none |"
    echo "|---|---|---|---|"
    for bug in $bugs; do
      against=
      [[ $bug == none || $bug == split ]] || against=$(gain museum "$bug" none 3)  # of split it is that of other slices
      echo "| $bug | $(row museum "$bug" 2) | $(row museum "$bug" 3) | $against |"
    done
  } | put museum
fi
