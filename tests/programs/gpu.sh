# A GPU, if there is one, or one that is emulated.

make_set
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
    expect "predict in $precision" 0 "mask.mhd" "$predict" "$scan" --model gpu1/best.safetensors --out p4 --device cuda --precision $precision
  done
  make_network whole $long --device cpu
  expect "a classifier on the GPU" 0 "epoch *2/2" "$train" $second --out classifier-gpu --device cuda
  expect "... in predict" 0 "the classifier" "$predict" "$scan" --model gpu1/best.safetensors --classifier classifier-gpu/best.safetensors --out p10 --device cuda
  expect "NaN on the GPU stops it and names the op" 1 'conv2d_fused in .*Nothing was saved' \
    "$train" --data set $tiny_net $diverge --train.steps 3 --out gpu_nan --device cuda
  ACINUS_PROFILE=1 "$train" --data set $tiny_net --train.steps 3 --out gpu_profile --device cuda >out 2>err
  report "ACINUS_PROFILE=1 on the GPU" "$(grep -q ' % .* conv2d[a-z_]* .* bwd .*coder' err || head -c 300 err)"
else
  report "without a GPU, --device cuda says what to do" "$([ "$(wc -l <err)" = 1 ] && grep -q 'no GPU to use.*--device cpu' err || head -c 300 err)"
fi
