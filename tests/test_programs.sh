#!/usr/bin/env bash
# What a user sees of the programs: exit codes, one clear line for each thing that is wrong, nothing left half-written,
# and the same numbers from the same seed.
#
#   tests/test_programs.sh [FOLDER]      the folder that holds the programs; default: this one
#   NO_GPU=1                             leaves out what runs on one
set -u
programs=$(cd "${1:-.}" && pwd) || exit 2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
train=$programs/train predict=$programs/predict phantom=$programs/phantom prepare=$programs/prepare doctor=$programs/doctor
evaluate=$programs/evaluate
for program in "$train" "$predict" "$phantom" "$prepare" "$doctor" "$evaluate"; do
  [ -x "$program" ] || { echo "test_programs.sh: $program is not there; run make first" >&2; exit 2; }
done
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

# ---- command lines ------------------------------------------------------------------------------------------------

for program in train predict phantom prepare doctor evaluate; do
  expect "$program --help" 0 --config "$programs/$program" --help
  argument=$([ $program = train ] || [ $program = doctor ] || echo x)
  expect "$program: an unknown flag" 2 nonsense "$programs/$program" $argument --nonsense 1
done
expect "train: an argument too many" 2 surplus "$train" surplus
expect "train: no number" 2 "train.lr.*fast" "$train" --train.lr fast
expect "train: no whole number" 2 "seed.*1\.5" "$train" --seed 1.5
expect "train: neither true nor false" 2 "input.lungs.*maybe" "$train" --input.lungs maybe
expect "train: a value that makes no sense" 2 "input.planes must be odd" "$train" --input.planes 2
expect "train: an unknown preset" 2 "preset.*desktop" "$train" --preset desktop
expect "train: an unknown loss" 2 "train.loss.*hinge" "$train" --train.loss hinge
expect "train: a flag misspelt" 2 "no setting --epochs; --train.epochs perhaps" "$train" --epochs 3
expect "train: a value beyond its limits" 2 "train.foreground must be between 0 and 1" "$train" --train.foreground -3
expect "train: an unknown upsampling" 2 "net.up is one of nearest|bilinear|transpose" "$train" --net.up foo
expect "train: groups that do not divide" 2 "norm_groups must divide" "$train" --net.norm group --net.width 12
expect "train: --set" 2 "train.lr must be between\|train.lr must be at least" "$train" --set train.lr=-1
expect "train: --set of what is no setting" 2 "no setting --train.lrr; --train.lr perhaps" "$train" --set train.lrr=1
expect "train: --set without a value" 2 "set train.lr: must be name=value" "$train" --set train.lr
expect "train: shares beyond all" 2 "together 1 at most" "$train" --train.foreground 0.7 --train.hard 0.4
expect "train: a fold that is not there" 2 "fold counts from 0" "$train" --fold 5 --folds 5
expect "train: folds and patients held out" 2 "held_out or --folds" "$train" --held_out 1 --folds 3
expect "train: a fold of nothing" 2 "fold needs --folds" "$train" --fold 1
expect "train: classes that are no numbers" 2 "classes 0,x: must be numbers" "$train" --classes 0,x
expect "train: nothing to resume" 1 "resume nowhere: there is no last.safetensors" "$train" --resume nowhere
expect "prepare: no folder" 2 DIR "$prepare"
expect "predict: no scan" 2 SCAN "$predict"
expect "predict: no model" 2 "model is missing" "$predict" scan.mhd
expect "phantom: no folder" 2 DIR "$phantom"
expect "doctor: nothing to look at" 2 "one of --data, --run and --prediction" "$doctor"
expect "doctor: two things" 2 "one of --data, --run and --prediction" "$doctor" --data x --run y
expect "doctor: a mask without its scan" 2 "needs --scan" "$doctor" --prediction mask.mhd
"$doctor" --run none >out
report "doctor: what is wrong is on stdout, and the exit code is 1" "$([ $? = 1 ] && grep -q "1 finding: 1 error" out || cat out)"
expect "evaluate: nothing to look at" 2 PREDICTIONS "$evaluate"
expect "evaluate: no data" 2 "data is missing" "$evaluate" predictions
expect "evaluate froc: no submission" 2 SUBMISSION "$evaluate" froc
expect "evaluate froc: no annotations" 2 "annotations is missing" "$evaluate" froc a.csv
expect "phantom: no scans" 2 "scans must be between 1 and 100000" "$phantom" set --scans 0

echo '{"train": {"learning_rate": 1}}' >unknown.json
expect "--config with an unknown setting" 2 'unknown.json.*train\.learning_rate' "$train" --config unknown.json
echo '{"train": {"lr": "fast"}}' >wrong.json
expect "--config with a wrong type" 2 'train\.lr.*fast' "$train" --config wrong.json
echo '{"train": {"lr": 1e-3}' >bad.json
echo '{"train": {"size": 1}}' >limits.json
expect "--config with a value beyond its limits" 2 'limits.json: --train.size' "$train" --config limits.json
echo '[1]' >list.json
expect "--config that is no object" 1 'list.json: must hold a JSON object' "$train" --config list.json
expect "--config that is not JSON" 1 'bad.json.*JSON' "$train" --config bad.json
expect "--config that is not there" 1 'none.json: No such file' "$train" --config none.json

# ---- data -----------------------------------------------------------------------------------------------------------

tiny="--scans 3 --size 48 --slices 12 --pixel_mm 7 --slice_mm 20 --min_diameter_mm 14 --pictures 0"
expect "phantom writes a set" 0 "3 scans" "$phantom" set $tiny --flipped 0.5
expect "phantom does not write over one" 1 "set" "$phantom" set $tiny
"$phantom" again $tiny --flipped 0.5 >out 2>err
report "phantom: the same seed, the same bytes" "$(diff -r set again | head -n 1)"
scan=$(ls set/subset0/*.mhd | head -n 1)
"$phantom" mixed ${tiny/--scans 3/--scans 4} --flipped 0.5 --seed 3 >out 2>err

# Small enough for a second, as large as it takes to go wrong.
tiny_net="--net.width 4 --net.depth 2 --net.norm_groups 2 --train.epochs 2 --train.batch 2 --train.size 32"
small="$tiny_net --train.steps 3 --train.warmup 1"
expect "train: a folder that is not there" 1 "nowhere: no such folder" "$train" --data nowhere --out run
mkdir empty
expect "train: no annotations" 1 "empty: holds no annotations.csv" "$train" --data empty --out run
head -n 1 set/annotations.csv >empty/annotations.csv
expect "train: no scans" 1 "empty: holds no scan" "$train" --data empty --out run
copy() { rm -rf "$1" && cp -r set "$1"; }
copy unmatched && sed -i 's/^[0-9]/x&/' unmatched/annotations.csv
expect "train: annotations of other scans" 1 "unmatched: no row of annotations.csv" "$train" --data unmatched --out run
copy damaged && sed -i '2s/,[^,]*$/,wide/' damaged/annotations.csv
expect "train: annotations that are damaged" 1 "annotations.csv:2: .*wide" "$train" --data damaged --out run
copy truncated && raw=$(ls truncated/subset0/*.raw | tail -n 1) && truncate -s -1 "$raw"
expect "train: a truncated scan" 1 "$(basename "$raw")" "$train" --data truncated --out run
copy doubled && cp -r doubled/subset0 doubled/subset1
expect "train: scans twice" 1 "is there twice" "$train" --data doubled --out run
copy one && for uid in $(cd one/subset0 && ls ./*.mhd | sed 's/.mhd//' | tail -n 2); do rm one/subset0/"$uid".*; done
expect "train: one patient alone" 1 "." "$train" --data one --out run
expect "train: held out patients that are not there" 1 "held out" "$train" --data set --held_out x --out run
expect "train: more folds than patients" 1 "7 folds of 3 patients" "$train" --data set --folds 7 --out run
report "none of these left a run behind" "$(ls -d run 2>/dev/null)"
expect "train: --out that is not empty" 1 "empty: is there already" "$train" --data set --out empty $small
echo x >file
expect "train: --out that is a file" 1 "file" "$train" --data set --out file $small
report "... which is left alone" "$([ "$(cat file)" = x ] || echo changed)"

# ---- data made ready ------------------------------------------------------------------------------------------------

expect "prepare: a folder that is not there" 1 "nowhere: no such folder" "$prepare" nowhere
report "... leaves nothing behind" "$(ls -d runs/cache/nowhere* 2>/dev/null)"
expect "prepare reads the scans once" 0 "^3 scans, .* 3 made ready" "$prepare" set --cache cache
report "... and draws each" "$([ "$(ls cache/pictures/*.png | wc -l)" = 3 ] || ls cache/pictures 2>&1)"
expect "... not again while nothing changes" 0 "^3 scans, .* 0 made ready" "$prepare" set --cache cache
cp cache/*$(basename "$scan" .mhd)-*.safetensors kept
touch "$scan"
expect "... but a scan that was touched" 0 "^3 scans, .* 1 made ready" "$prepare" set --cache cache --threads 1
report "... into the same bytes, but for its key" "$(cmp <(weights kept) <(weights cache/*$(basename "$scan" .mhd)-*) 2>&1)"
for file in cache/*.safetensors; do truncate -s -1 "$file"; done
expect "a cache that is cut off is made again" 0 "^3 scans, .* 3 made ready" "$prepare" set --cache cache
expect "in 8 bits" 0 "^3 scans, .* 3 made ready" "$prepare" set --cache cache --cache_bits 8 --pictures 0
expect "a cache that cannot be" 1 "cannot make the folder file/cache" "$prepare" set --cache file/cache

# ---- from nothing to a mask -----------------------------------------------------------------------------------------

phantoms="--phantom.scans 3 --phantom.size 48 --phantom.slices 12 --phantom.pixel_mm 7 --phantom.slice_mm 20
          --phantom.min_diameter_mm 14"
mkdir a b threads1 threads2 recompute
expect "train on scans of its own" 0 "epoch *2/2" env -C a "$train" $phantoms $small --out run
missing=
for file in config.json metrics.csv best.safetensors last.safetensors report.html overlays/epoch_001.png; do
  [ -s a/run/$file ] || missing="$missing $file"
done
report "a run leaves config, metrics, networks, pictures and a report" "${missing:+missing:$missing}"

metrics() { cut -d, -f1-5 "$1/metrics.csv"; }  # without seconds, images a second and memory
report "metrics.csv begins with what does not depend on the clock" \
  "$(metrics a/run | head -n 1 | grep -vx epoch,step,loss,val_dice,lr)"
compare() {  # name, two run folders
  report "$1: the same metrics" "$(diff <(metrics "$2") <(metrics "$3") | head -n 2 | tr '\n' ' ')"
  report "$1: the same network" "$(cmp <(weights "$2/best.safetensors") <(weights "$3/best.safetensors") 2>&1)"
}
# On a terminal there are progress lines besides, in place and no wider than it. script(1) is one to the program.
if command -v script >/dev/null; then
  mkdir terminal
  (cd terminal && script -qec "stty cols 60; '$train' $(echo $phantoms $small) --out run" /dev/null) >out 2>err </dev/null
  report "train on a terminal" "$([ -s terminal/run/best.safetensors ] || tail -c 300 out)"
  report "... shows how far it is" "$(grep -q 'reading scans  \[####################\]  3/3' out || head -c 300 out)"
  report "... on one line" "$(tr '\r' '\n' <out | sed -n 's/^\x1b\[K\(.*[^ ].*\)/\1/p' | grep '\[[#.]*\]\|ETA' |
    awk 'length > 59 {print; exit}')"
else
  echo "skip  train on a terminal: there is no script(1)"
fi
expect "the same again" 0 "epoch *2/2" env -C b "$train" $phantoms $small --out run
compare "the same seed" a/run b/run
report "... to the last byte" "$(cmp a/run/best.safetensors b/run/best.safetensors 2>&1)"
for n in 1 2; do
  expect "with --threads $n" 0 "epoch *2/2" env -C threads$n "$train" $phantoms $small --out run --threads $n
done
compare "one thread or two" threads1/run threads2/run
expect "with --recompute" 0 "epoch *2/2" env -C recompute "$train" $phantoms $small --out run --recompute
compare "activations kept or computed again" a/run recompute/run
expect "--recompute= says nothing" 2 'recompute is true or false, not ""' "$train" --recompute=
expect "--recompute takes no other word" 2 "recompute is true or false" "$train" --recompute perhaps
expect "with the config.json of a run" 0 "epoch *2/2" env -C b "$train" --config run/config.json --out again
compare "its config.json alone" a/run b/again
expect "with another seed" 0 "epoch *2/2" "$train" --data set $small --out seed2 --seed 2
report "... the numbers differ" "$(cmp -s <(metrics a/run) <(metrics seed2) && echo "they do not")"

# ---- stopped, killed, resumed -----------------------------------------------------------------------------------------

long="$tiny_net --train.epochs 3 --train.steps 30 --train.warmup 5 --train.ema 0.9"
expect "a run without a break" 0 "epoch *3/3" "$train" --data set $long --out whole
expect "stopped after a step" 0 "go on with\|Go on with" "$train" --data set $long --out stopped --limits.steps 41
report "... says where" "$(grep -q 'stopped at step 41 of 90 (--limits.steps)' out || cat out)"
report "... has the first epoch's numbers" "$(diff <(metrics whole | head -n 2) <(metrics stopped))"
expect "resumed" 0 "going on after step 41, in epoch 2" "$train" --resume stopped
compare "stopped and resumed" whole stopped
expect "resumed with nothing left to do" 0 "the run is over" "$train" --resume stopped
compare "... nothing changes" whole stopped
expect "--resume of another data set" 1 "are not those that stopped was trained on" "$train" --resume stopped --data mixed
"$train" --data set $long --out half --limits.steps 41 >out 2>err
expect "--resume with other patients held out" 1 "judged on patients that it was trained on" "$train" --resume half --validation 0.9
expect "--resume with other epochs" 1 "step 41 is not in epoch 2, of 10 steps" "$train" --resume half --train.steps 10
expect "--resume into another folder" 2 "in the run's own folder" "$train" --resume half --out elsewhere
rm half/best.safetensors
expect "--resume without the best network" 1 "best network, of epoch 1, is not there" "$train" --resume half
"$train" --data set $long --train.epochs 3000 --out signalled >out 2>err & pid=$!
for _ in $(seq 100); do grep -q 'epoch *1/' out && break; sleep 0.1; done
kill -TERM $pid; wait $pid
report "SIGTERM saves and says how to go on" "$([ $? = 143 ] && grep -q 'SIGTERM.*all of it is saved' out || { echo "code $?"; tail -n 3 out; })"
expect "... and it does go on" 0 "stopped at step" "$train" --resume signalled --limits.minutes 0.001
"$train" --data set $long --train.epochs 3000 --out signalled2 >out 2>err & pid=$!
for _ in $(seq 100); do grep -q 'epoch *1/' out && break; sleep 0.1; done
"$train" --resume signalled2 >out2 2>err2
report "two programs in one run's folder" "$(grep -q 'another ./train is at work in it' err2 || cat err2)"
kill -KILL $pid; wait $pid 2>/dev/null

# Killed again and again, at moments that differ from run to run, while it saves after every step.
for delay in 0.3 0.35 0.4 0.5 0.45 0.6 0.55 0.8 0.7 1; do
  again="--resume killed"
  [ -s killed/last.safetensors ] || { rm -rf killed; again="--data set $long --limits.save_minutes 0 --out killed"; }
  "$train" $again >>killed.out 2>>killed.err & pid=$!
  sleep $delay; kill -KILL $pid 2>/dev/null; wait $pid 2>/dev/null
done
expect "kill -9, then --resume to the end" 0 "epoch *3/3\|mean over" "$train" $again
report "... it was killed on the way" "$([ "$(grep -c 'going on after step' killed.out)" -ge 2 ] || cat killed.out)"
compare "killed and resumed" whole killed
expect "early stopping" 0 "no better network since epoch" "$train" --data set $tiny_net --train.epochs 50 --train.steps 1 \
  --train.lr 1e-12 --train.patience 2 --out patient
expect "accumulated batches" 0 "epoch *2/2" "$train" --data set $small --train.accumulate 3 --out accumulated
expect "folds" 0 "2 patients to train on, 1 held out" "$train" --data set $small --fold 2 --folds 3 --out folds
expect "validated every other epoch" 0 "val dice  *- " "$train" --data set $small --train.validate_every 2 --out every
plain=$(basename "$(grep -L '^TransformMatrix = -1' mixed/subset0/*.mhd | head -n 1)" .mhd)
for bug in none radius flip split norm single-nodule; do
  expect "the seed's bug: $bug" 0 "epoch *2/2" "$train" --data mixed $small --seed_bug $bug --held_out "$plain" --out bug-$bug
done
for bug in radius flip split norm single-nodule; do
  report "... with $bug the numbers differ" "$(cmp -s <(metrics bug-$bug) <(metrics bug-none) && echo "they do not")"
done

# ---- a second look at candidates --------------------------------------------------------------------------------------

second="--task classify --segmenter whole/best.safetensors --data set --train.epochs 2 --train.steps 4 --train.warmup 1
        --train.batch 8 --classify.width 4 --classify.stages 2 --classify.size 8 --classify.pixel_mm 7 --classify.planes 3
        --classify.plane_mm 20"
expect "classify: without a U-Net" 2 "task classify needs --segmenter" "$train" --task classify
expect "classify: a U-Net for nothing" 2 "segmenter is for --task classify" "$train" --segmenter whole/best.safetensors
expect "classify: a U-Net that is not there" 1 "none.safetensors" "$train" $second --segmenter none.safetensors --out c0
expect "classify: a U-Net with other patients held out" 1 "who is held out here, is not among" "$train" $second --validation 0.6 --out c0
expect "classify: bf16" 2 "bf16 is for --task segment" "$train" $second --precision bf16 --out c0
report "none of these left a run behind" "$(ls -d c0 2>/dev/null)"
expect "a classifier" 0 "AUC by the U-Net's own probability" "$train" $second --out classifier --threads 1
missing=
for file in config.json metrics.csv candidates.csv best.safetensors last.safetensors report.html; do
  [ -s classifier/$file ] || missing="$missing $file"
done
report "... leaves all of its files" "${missing:+missing:$missing}"
expect "the same again" 0 "epoch *2/2" "$train" $second --out classifier2 --threads 2
compare "a classifier, with one thread or two" classifier classifier2
report "... the same candidates" "$(cmp classifier/candidates.csv classifier2/candidates.csv 2>&1)"
expect "a classifier, stopped" 0 "Go on with" "$train" $second --out stopped3 --limits.steps 6
expect "... and resumed" 0 "going on after step 6, in epoch 2" "$train" --resume stopped3
compare "a classifier, stopped and resumed" classifier stopped3
expect "a classifier, stopped while candidates are looked for" 0 "stopped at step 0" "$train" $second --out stopped4 --limits.minutes 1e-9
expect "... and resumed" 0 "epoch *2/2" "$train" --resume stopped4 --limits.minutes 0
compare "the same classifier" classifier stopped4
expect "classify: another U-Net when it is resumed" 1 "its candidates and their crops would be others" \
  "$train" --resume stopped3 --segmenter a/run/best.safetensors
expect "classify: another crop" 1 "its candidates and their crops would be others" "$train" --resume stopped3 --classify.pixel_mm 6
rm stopped4/candidates.csv
expect "classify: the candidates are gone" 1 "candidates.csv: is not there any more" "$train" --resume stopped4
expect "a classifier for a U-Net, in predict" 1 "holds a classifier of candidates" "$predict" "$scan" --model classifier/best.safetensors --out p0
expect "... in train" 1 "holds a classifier of candidates" "$train" $second --segmenter classifier/best.safetensors --out c0
"$doctor" --run classifier >out
report "doctor: a classifier's run" "$([ $? = 1 ] && grep -q "is the run of a classifier" out || cat out)"
expect "classify: the state of a U-Net's training" 1 "is the state of a U-Net's training" \
  "$train" --resume whole --task classify --segmenter whole/best.safetensors
expect "segment: the state of a classifier's training" 1 "is the state of a classifier's training" \
  "$train" --resume classifier --task segment --segmenter ""
expect "classify: other patients held out" 1 "judged on patients that it was trained on" "$train" --resume stopped3 --validation 0.9

model=a/run/best.safetensors
ls set/subset0/*.mhd | while read -r scan; do
  expect "predict $(basename "$scan" | tail -c 12)" 0 "mask.mhd" "$predict" "$scan" --model $model --out p
  mask=p/$(basename "$scan" .mhd)_mask.mhd
  keys='^(NDims|DimSize|ElementSpacing|Offset|TransformMatrix) '
  report "... on the scan's own grid" "$(diff <(grep -E "$keys" "$scan") <(grep -E "$keys" "$mask") | head -n 2 | tr '\n' ' ')"
done >predictions  # in a shell of its own: counted below
cat predictions
passed=$((passed + $(grep -c '^ok' predictions))) failed=$((failed + $(grep -c '^FAIL' predictions)))
expect "predict with the last network" 0 "mask.mhd" "$predict" "$scan" --model a/run/last.safetensors --out p2
ACINUS_PROFILE=1 "$predict" "$scan" --model $model --out p2 >out 2>err
report "ACINUS_PROFILE=1: where the time went" "$(grep -q ' % .* conv2d[a-z_]* .* fwd .*coder' err || head -c 300 err)"
expect "... not with ACINUS_PROFILE=0" 0 "mask.mhd" env ACINUS_PROFILE=0 "$predict" "$scan" --model $model --out p2
expect "predict: a scan that is not there" 1 "nowhere.mhd: No such file" "$predict" nowhere.mhd --model $model --out p3
expect "predict: a truncated scan" 1 "$(basename "$raw")" "$predict" "${raw%.raw}.mhd" --model $model --out p3
expect "predict: no network there" 1 "none.safetensors: there is no such network" "$predict" "$scan" --model none.safetensors --out p3
expect "predict: a network that is none" 1 "safetensors" "$predict" "$scan" --model "$scan" --out p3
head -c 1000 $model >cut.safetensors
expect "predict: a network cut off" 1 "cut.safetensors" "$predict" "$scan" --model cut.safetensors --out p3
LC_ALL=C sed 's/\\"depth\\":2/\\"depth\\":3/' $model >other.safetensors
"$predict" "$scan" --model other.safetensors --out p3 >out 2>err
report "predict: a network of other settings, exit code" "$([ $? = 1 ] || echo "not 1")"
report "... the differences are listed" "$(grep -q 'missing: *encoder.3' err || head -c 300 err)"
report "none of these left anything behind" "$(ls -d p3 2>/dev/null)"

mkdir batch nothing
cp set/subset0/*.mhd set/subset0/*.raw batch/
echo "ElementType = MET_SHORT" >batch/broken.mhd
expect "predict a folder with a broken scan" 1 "failed: batch/broken.mhd" "$predict" batch --model $model,a/run/last.safetensors \
  --mirror --candidates.threshold 0.01 --candidates.min_diameter_mm 0 --out p5
report "... says so at the end" "$(grep -q '^1 of 4 scans failed' out || tail -n 1 out)"
report "... a mask of each other scan" "$([ "$(ls p5/*_mask.mhd | wc -l)" = 3 ] || ls p5)"
report "... all their candidates in one list" "$([ "$(tail -n +2 p5/nodules.csv | cut -d, -f1 | sort -u | wc -l)" = 3 ] || cat p5/nodules.csv)"
report "... the page says why" "$(grep -q 'broken.mhd' p5/index.html || echo "it does not")"
rows=$(wc -l <p5/nodules.csv)
echo "$(basename "$scan")" >batch/list.txt
expect "predict a list" 0 "nodules among" "$predict" batch/list.txt --model $model --candidates.threshold 1 --pictures 0 --out p5
report "... rows of other scans stay, its own go" "$(awk -F, -v id="$(basename "$scan" .mhd)" -v rows=$rows \
  '$1 == id {bad++} END {if (bad || NR < 2 || NR >= rows) print NR, rows, bad}' p5/nodules.csv)"
all="--candidates.threshold 0.01 --candidates.min_diameter_mm 0 --pictures 0"
expect "predict with a classifier" 0 "the classifier [0-9.]* s" "$predict" "$scan" --model $model $all --out p7 \
  --classifier classifier/best.safetensors --rle
report "... its probabilities, at the same places" "$(awk -F, 'FNR == 1 {next} {place = $2 $3 $4}
  NR == FNR {before[place] = $6; n++; next} {same += before[place] == $6; n--; if (!(place in before)) print "another place"}
  END {if (n || same) print n, same}' <("$predict" "$scan" --model $model $all --out p8 >/dev/null; cat p8/nodules.csv) p7/nodules.csv)"
report "... a submission" "$(head -n 1 p7/submission.csv | grep -qx seriesuid,coordX,coordY,coordZ,probability || head -n 2 p7/submission.csv)"
report "... the mask as run lengths" "$(grep -qE '^[0-9]+,1,[0-9]+ [0-9]+' p7/*_rle.csv || head -n 2 p7/*_rle.csv)"
expect "predict: results beside the scan" 2 "results need another folder" "$predict" "$scan" --model $model --out set/subset0
expect "predict: a U-Net for a classifier" 1 "holds a U-Net" "$predict" "$scan" --model $model --classifier $model --out p9
expect "predict: two scans of one name" 1 "two scans are called" "$predict" . --model $model --out p6
expect "predict: a folder without scans" 1 "there is no scan in it" "$predict" nothing --model $model --out p6
# ---- judged -----------------------------------------------------------------------------------------------------------

# One nodule of 10 mm: two marks in it, one just at its radius, one elsewhere.
echo s,0,0,0,10 >nodules.csv
printf '%s\n' s t >seriesuids.csv
printf '%s\n' s,4.9,0,0,.9 s,0,4.8,0,.8 s,0,0,5,.7 t,50,0,0,.95 >marks.csv
froc="$evaluate froc marks.csv --annotations nodules.csv --seriesuids seriesuids.csv --out judged"
expect "evaluate froc" 0 "4 marks; 1 nodule found (TP), 0 missed (FN), 2 false positives (FP)" $froc
report "... what is not counted is said" "$(grep -q 'not counted: 0 on excluded findings, 1 more than one' out || cat out)"
report "... the line to (0,0)" "$(grep -q '^marks.csv *0.000  0.000  1.000  1.000  1.000  1.000  1.000  0.714$' out || cat out)"
report "... leaves a table, a plot and a page" "$(ls judged | tr '\n' ' ' | grep -vx 'evaluation.html froc.csv froc.svg ')"
cp judged/froc.csv froc.csv
expect "... the same again" 0 CPM $froc --threads 1
report "... to the last bit, with one thread" "$(cmp froc.csv judged/froc.csv 2>&1)"
echo s,0,0,7,-1 >excluded.csv
expect "... with excluded findings" 0 "not counted: 1 on excluded findings" $froc --excluded excluded.csv
sed 's/^t,.*/t,50,0,0,.1/' marks.csv >better.csv
expect "... two submissions" 0 "^better.csv minus marks.csv: CPM 0.286" ${froc/marks.csv/marks.csv better.csv}
expect "... without the list of scans" 0 "WITHOUT --seriesuids the scans are the 2 that" ${froc/--seriesuids seriesuids.csv/}
echo seriesuid,coordX,coordY,coordZ,probability >nothing.csv
expect "... nothing found" 0 "^nothing.csv.* 0.000$" ${froc/marks/nothing}
echo u,1,2,3,1 >>marks.csv
expect "... a mark of an unknown scan" 1 "marks.csv:5: the scan u is not in seriesuids.csv" $froc
expect "... that may be ignored" 0 "note: marks.csv: left out: 1 mark" $froc --ignore_unknown
echo s,1,2,3,nan >>marks.csv
expect "... a probability that is none" 1 "marks.csv:6: probability is 'nan'" $froc
expect "... no column of probabilities" 1 "no column 'probability' in seriesuid,coordX,coordY,coordZ,diameter_mm" \
  "$evaluate" froc set/annotations.csv --annotations set/annotations.csv
printf '%s\n' x y >others.csv
expect "... no nodule" 1 "no nodule in 2 scans" "$evaluate" froc nothing.csv --annotations nodules.csv --seriesuids others.csv

# The masks of p, and as marks the nodules themselves.
awk -F, -v OFS=, 'NR == 1 {print $0, "probability"} NR > 1 {print $0, 1 / NR}' set/annotations.csv >p/nodules.csv
expect "evaluate what predict left" 0 "^3 scans, [1-9].* nodules" "$evaluate" p --data set --cache cache --out judged-p
report "... all nodules are found" "$(grep -q ' 0 missed (FN), 0 false positives' out && grep -q '^p/nodules.csv .* 1.000$' out || cat out)"
report "... where they are" "$(grep -q '^  distance  mean    0.00   deviation    0.00$' out || cat out)"
report "... each mask is judged" "$([ "$(grep -c '^1\..*,[0-9]' judged-p/scans.csv)" = 3 ] || cat judged-p/scans.csv)"
first=$(basename "$(ls p/*_mask.mhd | head -n 1)" _mask.mhd)
mkdir fewer && cp p/"$first"_mask.* fewer/ && grep "^seriesuid\|^$first," p/nodules.csv >fewer/nodules.csv
expect "... only the scans with a prediction" 0 "2 of 3 scans have no prediction" "$evaluate" fewer --data set --cache cache --out judged-f
rm fewer/nodules.csv
expect "... no table of marks" 1 "fewer/nodules.csv: is not there" "$evaluate" fewer --data set --cache cache
expect "... a folder that is not there" 1 "nowhere: no such folder" "$evaluate" nowhere --data set
report "none of these left an evaluation behind" "$(ls -d evaluation 2>/dev/null)"

# ---- a GPU, if there is one, or one that is emulated ------------------------------------------------------------------

expect "train: no such device" 2 "device gpu: it must be auto, cpu, cuda, or cuda:1" "$train" --device gpu
expect "train: no number of a GPU" 2 "device cuda:x: the GPUs are cuda:0" "$train" --device cuda:x
expect "train: a GPU that is not there" 1 "there is no GPU.*" "$train" --device cuda:77
expect "train: bf16 on the CPU" 2 "precision bf16 is for a GPU.*CPU" "$train" --device cpu --precision bf16
expect "train: an unknown precision" 2 "precision.*fp16" "$train" --precision fp16
if [ "${NO_GPU:-0}" = 1 ]; then
  echo "skip  the GPU: NO_GPU=1"
elif "$train" --data set $tiny_net --train.steps 1 --device cuda --out gpu0 >out 2>err </dev/null; then
  report "the run says that it is on the GPU" "$(grep -q '^GPU in fp32: ' out || echo "it does not")"
  for run in 1 2; do
    expect "on the GPU, run $run" 0 "epoch *2/2" "$train" --data set $small --out gpu$run --device cuda
  done
  compare "twice on the GPU" gpu1 gpu2
  expect "on the CPU" 0 "epoch *2/2" "$train" --data set $small --out cpu --device cpu
  report "the GPU's first epoch is the CPU's" "$(awk -F, 'FNR == 2 {loss[++n] = $3}
    END {d = loss[1] - loss[2]; if (n != 2 || d * d > 1e-6) print loss[1], loss[2]}' cpu/metrics.csv gpu1/metrics.csv)"
  for precision in tf32 bf16; do
    expect "in $precision" 0 "epoch *2/2" "$train" --data set $small --out $precision --device cuda --precision $precision
    report "... the numbers are other ones" "$(cmp -s <(metrics gpu1) <(metrics $precision) && echo "they are not")"
    expect "predict in $precision" 0 "mask.mhd" "$predict" "$scan" --model $model --out p4 --device cuda --precision $precision
  done
  expect "a classifier on the GPU" 0 "epoch *2/2" "$train" $second --out classifier-gpu --device cuda
  expect "... in predict" 0 "the classifier" "$predict" "$scan" --model $model --classifier classifier-gpu/best.safetensors --out p10 --device cuda
  expect "NaN on the GPU stops it and names the op" 1 'conv2d_fused in .*Nothing was saved' \
    "$train" --data set $tiny_net --train.lr 1e30 --train.clip 0 --train.warmup 0 --train.decay constant --net.norm none \
    --train.steps 3 --out gpu_nan --device cuda
  ACINUS_PROFILE=1 "$train" --data set $tiny_net --train.steps 3 --out gpu_profile --device cuda >out 2>err
  report "ACINUS_PROFILE=1 on the GPU" "$(grep -q ' % .* conv2d[a-z_]* .* bwd .*coder' err || head -c 300 err)"
else
  report "without a GPU, --device cuda says what to do" "$([ "$(wc -l <err)" = 1 ] && grep -q 'no GPU to use.*--device cpu' err || head -c 300 err)"
fi

# ---- what goes wrong on the way -----------------------------------------------------------------------------------

diverge="--train.lr 1e30 --train.clip 0 --train.warmup 0 --train.decay constant --net.norm none"
expect "NaN in the first epoch stops it and names the op" 1 'conv2d_fused in .*Nothing was saved' \
  "$train" --data set $tiny_net $diverge --train.steps 3 --out nan
report "... without a network" "$(ls nan/*.safetensors 2>/dev/null)"
expect "NaN later stops it, too" 1 'conv2d_fused in .*later/last.safetensors' \
  "$train" --data set $tiny_net $diverge --train.steps 1 --out later
report "... and keeps the last network" "$([ -s later/last.safetensors ] || echo "it is not there")"

ACINUS_PROFILE=1 "$train" --data set $tiny_net $diverge --train.steps 3 --out nan2 >out 2>err
report "... also where it took the time till then" \
  "$(head -n 1 err | grep -q 'conv2d_fused in' && grep -q ' % .* conv2d[a-z_]* .* bwd .*coder' err || head -c 300 err)"

# A file may not grow beyond 100 blocks of 1 KB; the network has 500 KB.
large="--net.width 16 --net.depth 2 --train.epochs 1 --train.steps 1 --train.batch 1 --train.size 16"
limited() { (trap '' XFSZ; ulimit -f 100; exec "$@"); }
expect "a file that cannot be written whole" 1 'safetensors.*File too large' limited "$train" --data set $large --out limit
report "... is not there at all" "$(ls limit/*.safetensors 2>/dev/null)"
# Images and masks of some other task: here the scans, and what a network takes for nodules.
mkdir -p pairs/images pairs/masks
for name in $(cd set/subset0 && ls ./*.mhd | sed 's/.mhd//'); do
  cp set/subset0/"$name".* pairs/images/
  "$predict" set/subset0/"$name".mhd --model $model --threshold 0.000001 --pictures 0 --out pairs/masks >out 2>err
done
expect "train on images and masks" 0 "2 pictures to train on, 1 held out" "$train" --data pairs $small --out pairs-run
expect "classify is not for images and masks" 1 "is for scans with annotations.csv" \
  "$train" $second --data pairs --segmenter pairs-run/best.safetensors --out c0
expect "predict on an image" 0 "voxels of foreground" "$predict" "$scan" --model pairs-run/best.safetensors --out pairs-p
report "... the window is the data's" "$(grep -A 3 '"window": "fixed"' pairs-run/config.json | grep -q '"low": -1000' && echo "it is not")"

mkdir disk
if [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=200k tmpfs disk 2>/dev/null; then
  mounted=$work/disk
  expect "a full disk" 1 'safetensors.*No space left on device' "$train" --data set $large --out disk/run
  report "... holds no part of a file" "$(ls disk/run/*.safetensors 2>/dev/null)"
  expect "a disk too small for the cache" 1 "the cache needs 1 MB more" "$prepare" set --cache disk/cache
  umount disk && mounted=
else
  echo "skip  a full disk: needs root and a mount"
fi

# ---- the comparison with PyTorch notices ----------------------------------------------------------------------------

check=
for folder in "$programs" "$programs/build"; do [ ! -x "$folder/check_reference" ] || check=$folder/check_reference; done
if [ -n "$check" ]; then
  mkdir reference none
  cp "$here"/cases/linear.safetensors reference/
  expect "check_reference: a case that agrees" 0 "1 passed, 0 failed" "$check" reference
  printf '\x01' | dd of=reference/linear.safetensors bs=1 seek=$(($(stat -c %s reference/linear.safetensors) - 1)) \
    conv=notrunc 2>/dev/null
  "$check" reference >out 2>err
  report "check_reference: a changed number is found" "$([ $? = 1 ] && grep -q '^FAIL linear' out || head -c 200 out)"
  expect "check_reference: an empty folder" 1 "holds no .safetensors" "$check" none
  expect "check_reference: no folder" 2 usage "$check"
fi

echo "$passed passed, $failed failed"
[ $failed = 0 ]
