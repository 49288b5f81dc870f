# Other ways to train, and trainings that go wrong.

make_set
expect "early stopping" 0 "no better network since epoch" "$train" --data set $tiny_net --train.epochs 50 --train.steps 1 \
  --train.lr 1e-12 --train.patience 2 --out patient
expect "accumulated batches" 0 "epoch *2/2" "$train" --data set $small --train.accumulate 3 --out accumulated
expect "folds" 0 "2 patients to train on, 1 held out" "$train" --data set $small --fold 2 --folds 3 --out folds
expect "validated every other epoch" 0 "val dice  *- " "$train" --data set $small --train.validate_every 2 --out every

expect "NaN in the first epoch stops it and names the op" 1 'conv2d_fused in .*Nothing was saved' \
  "$train" --data set $tiny_net $diverge --train.steps 3 --out nan
report "... without a network" "$(ls nan/*.safetensors 2>/dev/null)"
expect "NaN later stops it, too" 1 'conv2d_fused in .*later/last.safetensors' \
  "$train" --data set $tiny_net $diverge --train.steps 1 --out later
report "... and keeps the last network" "$([ -s later/last.safetensors ] || echo "it is not there")"

ACINUS_PROFILE=1 "$train" --data set $tiny_net $diverge --train.steps 3 --out nan2 >out 2>err
report "... also where it took the time till then" \
  "$(head -n 1 err | grep -q 'conv2d_fused in' && grep -q ' % .* conv2d[a-z_]* .* bwd .*coder' err || head -c 300 err)"

# A file may not grow beyond 100 blocks of 1 KB.
limited() { (trap '' XFSZ; ulimit -f 100; exec "$@"); }
expect "a file that cannot be written whole" 1 'safetensors.*File too large' limited "$train" --data set $large --out limit
report "... is not there at all" "$(ls limit/*.safetensors 2>/dev/null)"
