#!/usr/bin/env bash
# Applies each bug of docs/museum.md to a copy of the sources and builds the tests there. The bug must compile, and the
# test of the same name in tests/data/test_museum.cpp must fail with it.
#
#   dev/museum.sh [BUILD]      a folder in which `make tests` has built; default build
#   dev/museum.sh refresh      the lines around the bugs have changed: writes the diffs anew, where patch can place them
#
# make gets its settings (CXX, OPT, CUDA, ...) from the environment; with those of BUILD, little is compiled again.
set -euo pipefail
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
copied() { tar cf - --null -T - | tar xf - -C "$copy"; }

if [ "${1-}" = refresh ]; then
  git ls-files -z | copied
  cd "$copy" && git init -q && git add -A && git -c user.name=- -c user.email=- commit -qm -
  for diff in "$OLDPWD"/docs/museum/*.diff; do
    patch -s -p1 -l -F3 --no-backup-if-mismatch <"$diff"
    git add -AN
    { sed '/^diff --git/,$d' "$diff"; git diff -U1 | sed '/^index /d'; } >new && mv new "$diff"
    git reset -q --hard && git clean -dfq
  done
  exit
fi

build=${1:-build}
rooms=$(ls -d "$build"/{tensor,nn,optim,data,apps,tests})
{ git ls-files -z && find $rooms "$build"/{flags,libacinus.a,run_tests} third_party/root ! -type d -print0; } | copied
failed=0
for diff in "$copy"/docs/museum/*.diff; do
  name=$(basename "$diff" .diff)
  (cd "$copy" && git apply "$diff" && make BUILD="$build" "$build/run_tests") >"$copy/log" 2>&1 ||
    { cat "$copy/log"; echo "$name: does not apply or compile"; exit 1; }
  if ! "$build/run_tests" "museum: $name" >"$copy/log"; then
    cat "$copy/log"; echo "$name: its test fails without the bug, too"; failed=1
  elif "$copy/$build/run_tests" "museum: $name" >"$copy/log"; then
    echo "$name: no test notices it"; failed=1
  else
    echo "$name: its test fails"
  fi
  (cd "$copy" && git apply -R "$diff")
done
exit $failed
