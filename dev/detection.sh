#!/usr/bin/env bash
# How well nodules are found (docs/detection.md): by a U-Net that sees one slice, by one that sees three, and with a
# classifier that looks again at what the second one found. All learn from the phantoms of ./train, and are judged by
# LUNA16's rule on other ones that none of them has seen. Takes about twenty-five minutes on two cores; may be stopped
# and started again.
#
#   dev/detection.sh [FOLDER]        the runs; default runs/detection
#   SCANS=60   DOCS=docs
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-runs/detection} scans=${SCANS:-60} docs=${DOCS:-docs}
mkdir -p "$runs"

trained() { # NAME FLAGS...
  local folder=$runs/$1
  shift
  [ -f "$folder/finished" ] && return
  if [ -s "$folder/last.safetensors" ]; then set -- --resume "$folder"; else rm -rf "$folder"; set -- "$@" --out "$folder"; fi
  ./train "$@" >>"$folder.log" 2>&1 </dev/null
  touch "$folder/finished"
}
trained one-slice --input.planes 1
trained three-slices
trained classifier --task classify --segmenter "$runs/three-slices/best.safetensors"

data=$runs/unseen
[ -f "$data/annotations.csv" ] ||
  ./phantom "$data" --seed 1001 --scans "$scans" --size 160 --slices 48 --pixel_mm 2 --slice_mm 3 --min_diameter_mm 8 --pictures 0
predicted() { # NAME FLAGS...
  local folder=$runs/predicted/$1
  shift
  [ -f "$folder/nodules.csv" ] || ./predict "$data" --out "$folder" --pictures 0 --probability false "$@" >"$runs/predict.log"
}
predicted one-slice --model "$runs/one-slice/best.safetensors"
predicted three-slices --model "$runs/three-slices/best.safetensors"
predicted mirrored --model "$runs/three-slices/best.safetensors" --mirror
predicted classifier --model "$runs/three-slices/best.safetensors" --classifier "$runs/classifier/best.safetensors"
predicted mirrored-and-classifier --model "$runs/three-slices/best.safetensors" --mirror --classifier "$runs/classifier/best.safetensors"

rows=(one-slice three-slices mirrored classifier mirrored-and-classifier)
names=("U-Net, one slice" "U-Net, three slices (2.5-D)" "the same, mirrored slices averaged (\`--mirror\`)"
  "three slices, and the classifier (\`--classifier\`)" "three slices, mirrored, and the classifier")
rm -rf "$runs/evaluation" "$runs/against-three"
judged() { # FOLDER ROWS...
  local out=$1
  shift
  ./evaluate froc $(printf "$runs/predicted/%s/nodules.csv " "$@") --annotations "$data/annotations.csv" \
    --excluded "$data/annotations_excluded.csv" --seriesuids "$data/seriesuids.csv" --out "$out"
}
judged "$runs/evaluation" "${rows[@]}" >"$runs/evaluation.txt"
judged "$runs/against-three" "${rows[@]:1}" one-slice >"$runs/against-three.txt"
{
  echo "# How well nodules are found"
  echo
  echo "On $scans synthetic patients that no network has seen ($(sed -n 's/^[0-9]* scans, //p' "$runs/evaluation.txt" | head -n 1)), judged by LUNA16's rule:"
  echo "sensitivity at so many false positives a scan, and the CPM, their mean, each with its 95 % interval over scans."
  echo "Written by \`dev/detection.sh\` ($(date +%F), $(git rev-parse --short HEAD)); one training each."
  echo
  echo "The last column is the CPM minus that of three slices alone, of the same drawn scans."
  echo
  echo "| | 1/8 | 1/4 | 1/2 | 1 | 2 | 4 | 8 | CPM | |"
  echo "|---|---|---|---|---|---|---|---|---|---|"
  for i in "${!rows[@]}"; do
    file=${rows[i]} # as ./evaluate shortens the paths
    awk -v file="$file" -v name="${names[i]}" -v minus="$(sed -n "s|^$file minus .*: CPM ||p" "$runs/against-three.txt")" '
      $1 == file && NF == 9 {for (k = 2; k <= 9; k++) value[k] = $k; on = 1; next}
      on && $1 == "95" {for (k = 2; k <= 9; k++) low[k] = $(k + 2); next}
      on && $1 == "to" {
        line = "| " name " |"
        for (k = 2; k <= 9; k++) line = line " " (k == 9 ? "**" value[k] "**" : value[k]) " (" low[k] "–" $k ") |"
        gsub("95 %: ", "", minus); gsub(" to ", "–", minus)
        print line " " minus " |"
        exit
      }' "$runs/evaluation.txt"
  done
  echo
  cat <<'END'
![FROC curves](detection.svg)

The phantoms (`./phantom`) are easier than patients: nodules of 8 mm and more, in lungs with vessels and airways but without disease. What these figures
support is that the parts work together and which of them help, not how many nodules are found in people.
END
} >"$docs/detection.md"
cp "$runs/evaluation/froc.svg" "$docs/detection.svg"
cat "$docs/detection.md"
