# Command lines and configurations; and what check_reference makes of a wrong number.

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
expect "train: a flag misspelt" 2 "no setting --epochs; did you mean --train.epochs?" "$train" --epochs 3
expect "train: a value beyond its limits" 2 "train.foreground: must be between 0 and 1" "$train" --train.foreground -3
expect "train: an unknown upsampling" 2 "net.up: foo not in .*bilinear" "$train" --net.up foo
expect "train: groups that do not divide" 2 "norm_groups must divide" "$train" --net.norm group --net.width 12
expect "train: --set" 2 "train.lr: must be at least" "$train" --set train.lr=-1
expect "train: --set of what is no setting" 2 "no setting --train.lrr; did you mean --train.lr?" "$train" --set train.lrr=1
expect "train: --set without a value" 2 "set train.lr: must be name=value" "$train" --set train.lr
expect "train: shares beyond all" 2 "together 1 at most" "$train" --train.foreground 0.7 --train.hard 0.4
expect "train: a fold that is not there" 2 "fold counts from 0" "$train" --fold 5 --folds 5
expect "train: folds and patients held out" 2 "held_out or --folds" "$train" --held_out 1 --folds 3
expect "train: a fold of nothing" 2 "fold needs --folds" "$train" --fold 1
expect "train: classes that are no numbers" 2 'classes: "0,x" is not INT' "$train" --classes 0,x
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
expect "phantom: no scans" 2 "scans: must be between 1 and 100000" "$phantom" set --scans 0

touch taken
expect "phantom: a file where its folder is to be" 1 "cannot make the folder taken" "$phantom" taken

echo '{"train": {"learning_rate": 1}}' >unknown.json
expect "--config with an unknown setting" 2 'unknown.json.*train\.learning_rate' "$train" --config unknown.json
echo '{"seed_bug": "none", "task": "classify"}' >retired.json
expect "--config with a setting that is gone, and was off" 2 'task classify needs' "$train" --config retired.json
echo '{"seed_bug": "flip"}' >flip.json
expect "--config with a setting that is gone, and was on" 2 'flip.json: seed_bug is gone: .*museum' "$train" --config flip.json
expect "train: a setting that is gone" 2 'seed_bug is gone: .*museum' "$train" --seed_bug flip
echo '{"train": {"lr": "fast"}}' >wrong.json
expect "--config with a wrong type" 2 'train\.lr.*fast' "$train" --config wrong.json
echo '{"train": {"lr": 1e-3}' >bad.json
echo '{"train": {"size": 1}}' >limits.json
expect "--config with a value beyond its limits" 2 'limits.json: --train.size' "$train" --config limits.json
for entry in '"bogus": {}' '"trian": null' '"net": {"wdth": []}'; do
  echo "{$entry}" >empty.json
  expect "--config with nothing under an unknown name: $entry" 2 'empty.json: there is no setting' "$train" --config empty.json
done
echo '{"train": {}, "net": {"depth": null}}' >null.json
expect "--config with null" 2 'null.json: --net.depth: must be INT' "$train" --config null.json
echo '{"classes": [0, 128]}' >array.json
expect "--config with an array" 2 'array.json: --classes: must be INT,INT.*not \[0,128\]' "$train" --config array.json
{ printf '{"train": '; printf '{"a": %.0s' {1..120000}; printf 1; printf '}%.0s' {1..120001}; } >deep.json
expect "--config nested too deep" 1 'deep.json: is not valid JSON: line 1, column .*nested too deeply' "$train" --config deep.json
expect "train: a flag that begins like --set" 2 'no setting --setup' "$train" --setup a=b
expect "train: a flag without its value" 2 'train.lr: .*NUMBER.* missing' "$train" --train.lr
echo '[1]' >list.json
expect "--config that is no object" 1 'list.json: must hold a JSON object' "$train" --config list.json
expect "--config that is not JSON" 1 'bad.json.*JSON' "$train" --config bad.json
expect "--config that is not there" 1 'none.json: No such file' "$train" --config none.json

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
