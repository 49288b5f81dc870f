# Masks and lists of scans by ./predict; images and masks of another task.

make_set
make_network unet $small
model=unet/best.safetensors
ls set/subset0/*.mhd | while read -r scan; do
  expect "predict $(basename "$scan" | tail -c 12)" 0 "mask.mhd" "$predict" "$scan" --model $model --out p
  mask=p/$(basename "$scan" .mhd)_mask.mhd
  keys='^(NDims|DimSize|ElementSpacing|Offset|TransformMatrix) '
  report "... on the scan's own grid" "$(diff <(grep -E "$keys" "$scan") <(grep -E "$keys" "$mask") | head -n 2 | tr '\n' ' ')"
done >predictions  # in a shell of its own: counted below
cat predictions
passed=$((passed + $(grep -c '^ok' predictions))) failed=$((failed + $(grep -c '^FAIL' predictions)))
expect "predict with the last network" 0 "mask.mhd" "$predict" "$scan" --model unet/last.safetensors --out p2
ACINUS_PROFILE=1 "$predict" "$scan" --model $model --out p2 >out 2>err
report "ACINUS_PROFILE=1: where the time went" "$(grep -q ' % .* conv2d[a-z_]* .* fwd .*coder' err || head -c 300 err)"
expect "... not with ACINUS_PROFILE=0" 0 "mask.mhd" env ACINUS_PROFILE=0 "$predict" "$scan" --model $model --out p2
expect "predict: a scan that is not there" 1 "nowhere.mhd: No such file" "$predict" nowhere.mhd --model $model --out p3
mkdir cut && cp set/subset0/"$(basename "$scan" .mhd)".* cut/ && truncate -s -1 cut/*.raw
expect "predict: a truncated scan" 1 "$(basename "$scan" .mhd).raw" "$predict" cut/$(basename "$scan") --model $model --out p3
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
expect "predict a folder with a broken scan" 1 "failed: batch/broken.mhd" "$predict" batch --model $model,unet/last.safetensors \
  --mirror --candidates.threshold 0.01 --candidates.min_diameter_mm 0 --out p5
report "... says so at the end" "$(grep -q '^1 of 4 scans failed' out || tail -n 1 out)"
report "... a mask of each other scan" "$([ "$(ls p5/*_mask.mhd | wc -l)" = 3 ] || ls p5)"
report "... all their candidates in one list" "$([ "$(tail -n +2 p5/nodules.csv | cut -d, -f1 | sort -u | wc -l)" = 3 ] || cat p5/nodules.csv)"
report "... the page says why" "$(grep -q 'broken.mhd' p5/index.html || echo "it does not")"
rows=$(wc -l <p5/nodules.csv)
printf "\xEF\xBB\xBF%s\n" "$(basename "$scan")" >batch/list.txt  # with the byte order mark of some editors
expect "predict a list" 0 "nodules among" "$predict" batch/list.txt --model $model --candidates.threshold 1 --pictures 0 --out p5
report "... rows of other scans stay, its own go" "$(awk -F, -v id="$(basename "$scan" .mhd)" -v rows=$rows \
  '$1 == id {bad++} END {if (bad || NR < 2 || NR >= rows) print NR, rows, bad}' p5/nodules.csv)"
expect "predict: results beside the scan" 2 "results need another folder" "$predict" "$scan" --model $model --out set/subset0
expect "predict: two scans of one name" 1 "two scans are called" "$predict" . --model $model --out p6
expect "predict: a folder without scans" 1 "there is no scan in it" "$predict" nothing --model $model --out p6

# Images and masks of some other task: here the scans, and what a network takes for nodules.
mkdir -p pairs/images pairs/masks
for name in $(cd set/subset0 && ls ./*.mhd | sed 's/.mhd//'); do
  cp set/subset0/"$name".* pairs/images/
  "$predict" set/subset0/"$name".mhd --model $model --threshold 0.000001 --pictures 0 --out pairs/masks >out 2>err
done
expect "train on images and masks" 0 "2 pictures to train on, 1 held out" "$train" --data pairs $small --out pairs-run
expect "classify is not for images and masks" 1 "is for scans with annotations.csv" \
  "$train" $second --data pairs --segmenter pairs-run/best.safetensors --out c0
expect "predict on all images, and not on the masks" 0 "/3\] .*voxels of foreground" "$predict" pairs --model pairs-run/best.safetensors --out pairs-q
expect "predict on an image" 0 "voxels of foreground" "$predict" "$scan" --model pairs-run/best.safetensors --out pairs-p
report "... the window is the data's" "$(grep -A 3 '"window": "fixed"' pairs-run/config.json | grep -q '"low": -1000' && echo "it is not")"
