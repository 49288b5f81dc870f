#!/bin/sh
# run.sh FOLDER NAME SECONDS: one fuzzer, from the seeds and what earlier runs have kept; called by `make fuzz`.
# One line at the end; a finding is shown, and the input that made it is left in FOLDER/found.
set -u
folder=$1 name=$2 seconds=$3
here=$(dirname "$0")
mkdir -p "$folder/corpus/$name" "$folder/found"
if ! [ "$folder/inputs" -nt "$folder/seeds" ]; then # none yet, or of another seeds.cpp
  rm -rf "$folder/inputs" "$folder/inputs.new"
  "$folder/seeds" "$folder/inputs.new" && mv "$folder/inputs.new" "$folder/inputs" || exit 1
fi
log=$folder/$name.log
if "$folder/fuzz_$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=512 \
  -max_len=8192 -dict="$here/words.dict" -print_final_stats=1 -artifact_prefix="$folder/found/$name-" \
  "$folder/corpus/$name" "$folder/inputs/$name" >"$log" 2>&1 </dev/null; then
  runs=$(sed -n 's/^stat::number_of_executed_units: //p' "$log")
  covered=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1)
  echo "ok    $name: $runs inputs in $seconds s, $covered, $(ls "$folder/corpus/$name" | wc -l) kept"
else
  echo "FOUND $name: see $log; the input:"
  ls -t "$folder/found/$name-"* | head -n 1
  grep -E -A 12 'ERROR|runtime error|does not hold|read again:|SUMMARY' "$log" | head -n 40
  exit 1
fi
