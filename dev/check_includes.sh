#!/usr/bin/env bash
# Checks the arrows of inclusion: every room (folder) includes only from itself and from the rooms that the table names
# for it, and no files include each other in a circle. Prints each arrow that should not be there; exit code 1 if any.
set -euo pipefail
cd "$(dirname "$0")/.."

# room: the rooms that it may include from
rooms='
tensor:            tensor/cuda tensor/io
tensor/cuda:       tensor
tensor/io:         tensor
tensor/conv:       tensor tensor/cuda tensor/conv/cpu tensor/conv/cuda
tensor/conv/cpu:   tensor tensor/conv
tensor/conv/cuda:  tensor tensor/cuda tensor/conv
tensor/ops:        tensor tensor/cuda tensor/conv
nn:                tensor tensor/cuda tensor/io
optim:             tensor tensor/cuda tensor/io
data/volume:       tensor tensor/io
data/formats:      tensor tensor/io data/volume
data/chest:        tensor tensor/io data/volume data/formats
data/dataset:      tensor tensor/io data/volume data/formats data/chest
data/sampling:     tensor tensor/io data/volume data/formats data/dataset data/scoring
data/scoring:      tensor tensor/io data/volume data/formats
apps/common:       tensor tensor/* nn optim data/*
apps/report:       tensor tensor/* nn optim data/* apps/common
apps/prediction:   tensor tensor/* nn optim data/* apps/common apps/report
apps/evaluation:   tensor tensor/* nn optim data/* apps/common apps/report apps/prediction
apps/checks:       tensor tensor/* nn optim data/* apps/common apps/report apps/prediction
apps/training:     tensor tensor/* nn optim data/* apps/common apps/report apps/prediction apps/evaluation apps/checks
apps:              tensor tensor/* nn optim data/* apps/*
'

# One line an arrow: the including file, the included file.
arrows=$(grep -rnH --include='*.h' --include='*.cpp' --include='*.cu' '^ *# *include "' tensor nn optim data apps |
  sed 's/^\([^:]*\):[0-9]*: *# *include "\([^"]*\)".*/\1 \2/')

wrong=$(awk -v rooms="$rooms" '
  function room(file) { sub("/[^/]*$", "", file); return file }
  function may(from, to,   i, n, list, pattern) {
    if (from == to) return 1
    n = split(allowed[from], list, " ")
    for (i = 1; i <= n; i++) {
      pattern = list[i]
      if (pattern == to || (sub("/\\*$", "/", pattern) && index(to, pattern) == 1)) return 1
    }
    return 0
  }
  BEGIN {
    n = split(rooms, line, "\n")
    for (i = 1; i <= n; i++) if (split(line[i], part, ":")) allowed[part[1]] = part[2]
  }
  !(room($1) in allowed) { print $1 ": the room " room($1) " is not in the table of dev/check_includes.sh"; next }
  !may(room($1), room($2)) { print $1 " includes " $2 ": " room($1) " may not include from " room($2) }
' <<<"$arrows")

# tsort says so on stderr when the arrows form a circle.
circles=$(tsort <<<"$arrows" 2>&1 >/dev/null || true)

if [ -n "$wrong$circles" ]; then
  printf '%s\n' "$wrong" "$circles" | grep . >&2
  exit 1
fi
echo "check_includes: $(wc -l <<<"$arrows") arrows, all downwards; no circles"
