# From nothing to a trained network: what a run leaves, and that the same seed gives the same numbers.

phantoms="--phantom.scans 3 --phantom.size 48 --phantom.slices 12 --phantom.pixel_mm 7 --phantom.slice_mm 20
          --phantom.min_diameter_mm 14"
mkdir a b threads1 threads2 recompute
expect "train on scans of its own" 0 "epoch *2/2" env -C a "$train" $phantoms $small --out run
report "... an epoch fits into 80 columns" "$(awk '/^epoch/ && length > 80' out)"
report "... names who is held out, and the report once it is there" \
  "$(grep -q '^  held out: 1\.3' out && [ "$(grep -A 1 '^epoch *1/2' out | tail -n 1)" = "look: run/report.html" ] &&
    [ "$(grep -c '^look' out)" = 1 ] || cat out)"
missing=
for file in config.json metrics.csv best.safetensors last.safetensors report.html overlays/epoch_001.png; do
  [ -s a/run/$file ] || missing="$missing $file"
done
report "a run leaves config, metrics, networks, pictures and a report" "${missing:+missing:$missing}"

report "metrics.csv begins with what does not depend on the clock" \
  "$(metrics a/run | head -n 1 | grep -vx epoch,step,loss,val_dice,lr)"
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
expect "--recompute= says nothing" 2 'recompute: "" is not true' "$train" --recompute=
expect "--recompute takes no other word" 2 'recompute: "perhaps" is not true' "$train" --recompute perhaps
expect "with the config.json of a run" 0 "epoch *2/2" env -C b "$train" --config run/config.json --out again
compare "its config.json alone" a/run b/again
make_set
expect "with another seed" 0 "epoch *2/2" "$train" --data set $small --out seed2 --seed 2
report "... the numbers differ" "$(cmp -s <(metrics a/run) <(metrics seed2) && echo "they do not")"
