# A second look at candidates: training the classifier, and ./predict with it.

make_set
make_network whole $long
make_network other $small
expect "classify: without a U-Net" 2 "task classify needs --segmenter" "$train" --task classify
expect "classify: a U-Net for nothing" 2 "segmenter is for --task classify" "$train" --segmenter whole/best.safetensors
expect "classify: a U-Net that is not there" 1 "none.safetensors" "$train" $second --segmenter none.safetensors --out c0
expect "classify: a U-Net with other patients held out" 1 "who is held out here, was not held out" "$train" $second --validation 0.6 --out c0
expect "classify: a setting of the U-Net" 2 "train.size is for --task segment" "$train" $second --train.size 32 --out c0
expect "segment: a setting of the classifier" 2 "classify.size is for --task classify" "$train" --data set --classify.size 8 --out c0
expect "classify: bf16" 2 "bf16 is for --task segment" "$train" $second --precision bf16 --out c0
report "none of these left a run behind" "$(ls -d c0 2>/dev/null)"
expect "a classifier" 0 "AUC by the U-Net's own probability" "$train" $second --out classifier --threads 1
missing=
for file in config.json metrics.csv candidates.csv best.safetensors last.safetensors report.html; do
  [ -s classifier/$file ] || missing="$missing $file"
done
report "... leaves all of its files" "${missing:+missing:$missing}"
expect "the same again" 0 "epoch *2/2" "$train" $second --out classifier2 --threads 2 --train.loaders 2
compare "a classifier, with one thread or two" classifier classifier2
report "... the same candidates" "$(cmp classifier/candidates.csv classifier2/candidates.csv 2>&1)"
expect "a classifier, validated every other epoch" 0 "val AUC  *- " "$train" $second --out every --train.validate_every 2
expect "a classifier, stopped" 0 "Go on with" "$train" $second --out stopped3 --limits.steps 6
expect "... and resumed" 0 "going on after step 6, in epoch 2" "$train" --resume stopped3
compare "a classifier, stopped and resumed" classifier stopped3
expect "a classifier, stopped while candidates are looked for" 0 "stopped at step 0" "$train" $second --out stopped4 --limits.minutes 1e-9
expect "... and resumed" 0 "epoch *2/2" "$train" --resume stopped4 --limits.minutes 0
compare "the same classifier" classifier stopped4
expect "classify: another U-Net when it is resumed" 1 "its candidates and their crops would change" \
  "$train" --resume stopped3 --segmenter other/best.safetensors
expect "classify: another crop" 1 "its candidates and their crops would change" "$train" --resume stopped3 --classify.pixel_mm 6
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
expect "classify: other patients held out" 1 "evaluated on patients that it was trained on" "$train" --resume stopped3 --validation 0.9

model=other/best.safetensors
all="--candidates.threshold 0.01 --candidates.min_diameter_mm 0 --pictures 0"
expect "predict with a classifier" 0 "the classifier [0-9.]* s" "$predict" "$scan" --model $model $all --out p7 \
  --classifier classifier/best.safetensors --rle
report "... its probabilities, at the same places" "$(awk -F, 'FNR == 1 {next} {place = $2 $3 $4}
  NR == FNR {before[place] = $6; n++; next} {same += before[place] == $6; n--; if (!(place in before)) print "another place"}
  END {if (n || same) print n, same}' <("$predict" "$scan" --model $model $all --out p8 >/dev/null; cat p8/nodules.csv) p7/nodules.csv)"
report "... a submission" "$(head -n 1 p7/submission.csv | grep -qx seriesuid,coordX,coordY,coordZ,probability || head -n 2 p7/submission.csv)"
report "... the mask as run lengths" "$(grep -qE '^[0-9]+,1,[0-9]+ [0-9]+' p7/*_rle.csv || head -n 2 p7/*_rle.csv)"
expect "predict: a U-Net for a classifier" 1 "holds a U-Net" "$predict" "$scan" --model $model --classifier $model --out p9
