#!/usr/bin/env bash
# The honest test of a fresh machine: a bare Debian 12 with g++, make, git and ca-certificates and nothing else, a fresh
# clone of what is committed here, then `make && ./train` and `make test`, with their times. Needs root and debootstrap.
#
#   sudo dev/bare_chroot.sh /var/tmp/bare                       makes the folder with debootstrap, if it is not there
#   sudo dev/bare_chroot.sh /var/tmp/bare --train.epochs 1      what follows goes to ./train
#
# The run folder comes back as FOLDER.runs/. Seconds are of the clock, then CPU seconds (user + system, all threads).
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2; }
repository=$(cd "$(dirname "$0")/.." && pwd)
root=$1
shift
[ "$(id -u)" = 0 ] || { echo "$0: needs root, for debootstrap and chroot" >&2; exit 1; }

if [ ! -e "$root" ]; then
  debootstrap --variant=minbase --include=g++,make,git,ca-certificates bookworm "$root" http://deb.debian.org/debian
fi
[ -x "$root/usr/bin/g++" ] || { echo "$0: $root is not a Debian with g++" >&2; exit 1; }
cp /etc/resolv.conf "$root/etc/resolv.conf"

mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
trap 'umount "$root/proc"' EXIT
rm -rf "$root/acinus" "$root.runs"
# Under its own path and as a mirror would serve it; the chroot's git must not mind who owns the files.
git clone -q --no-hardlinks "$repository" "$root/acinus"

inside() { chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 bash -c "cd /acinus && $*"; }
failed=0
step() { # COMMAND: runs it inside, prints its times, remembers a failure
  echo "\$ $*"
  TIMEFORMAT="--- $*: %R s, %U + %S CPU seconds"
  time inside "$@" || { failed=1; echo "--- $*: FAILED"; }
}
echo "$(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg), commit $(git -C "$repository" log -1 --format='%h %s')"
step make
step ./train "$@"
step make test
if [ -d "$root/acinus/runs" ]; then cp -r "$root/acinus/runs" "$root.runs" && ls "$root.runs"/*; fi
exit $failed
