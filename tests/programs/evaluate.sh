# ./evaluate: a submission, and what ./predict leaves.

make_set
make_network unet $small
# One nodule of 10 mm: two marks in it, one just at its radius, one elsewhere.
echo s,0,0,0,10 >nodules.csv
printf '%s\n' s t >seriesuids.csv
printf '%s\n' s,4.9,0,0,.9 s,0,4.8,0,.8 s,0,0,5,.7 t,50,0,0,.95 >marks.csv
froc="$evaluate froc marks.csv --annotations nodules.csv --seriesuids seriesuids.csv --out judged"
expect "evaluate froc" 0 "4 marks; 1 nodule found (TP), 0 missed (FN), 2 false positives (FP)" $froc
report "... what is not counted is said" "$(grep -q "not counted: 0 on excluded findings, 1 duplicate on a nodule" out || cat out)"
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

made "$predict" set/subset0 --model unet/best.safetensors --pictures 0 --out p
# The masks of p, and as marks the nodules themselves.
awk -F, -v OFS=, 'NR == 1 {print $0, "probability"} NR > 1 {print $0, 1 / NR}' set/annotations.csv >p/nodules.csv
expect "evaluate what predict left" 0 "^3 scans, [1-9].* nodules" "$evaluate" p --data set --cache cache --out judged-p
report "... all nodules are found" "$(grep -q ' 0 missed (FN), 0 false positives' out && grep -q '^p/nodules.csv .* 1.000$' out || cat out)"
report "... where they are" "$(grep -q '^  distance  mean    0.00   deviation    0.00$' out || cat out)"
report "... each mask is judged" "$([ "$(grep -c '^1\..*,[0-9]' judged-p/scans.csv)" = 3 ] || cat judged-p/scans.csv)"
first=$(basename "$(ls p/*_mask.mhd | head -n 1)" _mask.mhd)
mkdir fewer && cp p/"$first"_mask.* fewer/ && grep "^seriesuid\|^$first," p/nodules.csv >fewer/nodules.csv
expect "... only the scans with a prediction" 0 "2 of 3 scans have no prediction" "$evaluate" fewer --data set --cache cache --out judged-f
cp -r set healthy && sed -i "/^$first,/d" healthy/annotations.csv
expect "... a scan without nodules" 0 "1 scan, 0 nodules" "$evaluate" fewer --data healthy --out judged-h
report "... have masks and false positives, and no curve" "$(grep -q 'no nodule$' out && grep -q '[1-9][0-9]* false positives' out && grep -q '^note: no nodule in these scans' out &&
  [ "$(ls judged-h | tr '\n' ' ')" = 'evaluation.html scans.csv ' ] || cat out)"
rm fewer/nodules.csv
expect "... no table of marks" 1 "fewer/nodules.csv: no such file" "$evaluate" fewer --data set --cache cache
expect "... a folder that is not there" 1 "nowhere: no such folder" "$evaluate" nowhere --data set
report "none of these left an evaluation behind" "$(ls -d evaluation 2>/dev/null)"
