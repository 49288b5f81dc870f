# Data that is there, missing, damaged or changed: ./phantom, the reading of ./train, ./prepare and its cache.

expect "phantom writes a set" 0 "3 scans" "$phantom" set $tiny --flipped 0.5
expect "phantom does not write over one" 1 "set" "$phantom" set $tiny
"$phantom" again $tiny --flipped 0.5 >out 2>err
report "phantom: the same seed, the same bytes" "$(diff -r set again | head -n 1)"
scan=$(ls set/subset0/*.mhd | head -n 1)
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
expect "train: --out that is not empty" 1 "empty: exists and is not an empty folder" "$train" --data set --out empty $small
echo x >file
expect "train: --out that is a file" 1 "file" "$train" --data set --out file $small
report "... which is left alone" "$([ "$(cat file)" = x ] || echo changed)"

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
