#!/bin/sh
# Makes the third-party headers available, without root and without asking. `make` calls it; the table with
# versions, licences and reasons is third_party/README.md.
#
# For each one: if the compiler already finds its header, the system's is used. Otherwise the Debian package
# named below is downloaded, checked against its SHA-256, and unpacked under third_party/root (a .deb is an
# `ar` archive with a tar in it, so this works on any Linux). Writes third_party/root/flags.mk for make.
#
#   third_party/get.sh              what make calls
#   ACINUS_NO_SYSTEM=1 third_party/get.sh   ignore the system's packages (for testing this script)
set -eu
cd "$(dirname "$0")"
CXX=${CXX:-c++}
root=$PWD/root
pool=pool/main
mkdir -p "$root"

fail() { echo "third_party/get.sh: $*" >&2; exit 1; }

download() { # URL FILE SHA256
  if command -v curl >/dev/null 2>&1; then curl -fsSL --retry 3 -o "$2" "$1"
  elif command -v wget >/dev/null 2>&1; then wget -q -O "$2" "$1"
  elif [ -x /usr/lib/apt/apt-helper ]; then /usr/lib/apt/apt-helper download-file "$1" "$2" "SHA256:$3" >/dev/null
  else fail "need curl, wget or apt to download $1"; fi
}

sha256() { if command -v sha256sum >/dev/null 2>&1; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1; }

found() { # HEADER: does the compiler find it by itself?
  [ -z "${ACINUS_NO_SYSTEM:-}" ] && echo "#include <$1>" | $CXX -std=c++20 -isystem /usr/include/eigen3 -E -x c++ - >/dev/null 2>&1
}

get() { # NAME HEADER-TO-LOOK-FOR PATH-IN-POOL SHA256
  if found "$2"; then echo "  ✓ $1 (the system's)"; return; fi
  if [ -f "$root/$1.done" ] && [ "$(cat "$root/$1.done")" = "$4" ]; then echo "  ✓ $1 (third_party/)"; return; fi
  deb=$root/$1.deb
  rm -f "$deb"
  # The pool keeps what Debian 12 ships now; the snapshot archive keeps everything ever shipped.
  download "http://deb.debian.org/debian/$pool/$3" "$deb" "$4" ||
    download "https://snapshot.debian.org/archive/debian/20250520T000000Z/$pool/$3" "$deb" "$4" ||
    fail "cannot download $1; install it with your package manager (see third_party/README.md) and run make again"
  [ "$(sha256 "$deb")" = "$4" ] || fail "$1: the download does not have the expected SHA-256; nothing was unpacked"
  (cd "$root" && member=$(ar t "$deb" | grep '^data\.tar') && ar p "$deb" "$member" >"$1.${member#data.}" &&
    tar xf "$1.${member#data.}" && rm -f "$1.${member#data.}" "$deb") || fail "$1: cannot unpack $deb (needs ar, tar and xz)"
  echo "$4" >"$root/$1.done"
  echo "  ✓ $1 (fetched into third_party/)"
}

get eigen Eigen/Core e/eigen3/libeigen3-dev_3.4.0-4_all.deb \
  1a167bb381acb90c1d8450a8f3e66a09d216dbc64b33ac8a082a0912513ef939
get json nlohmann/json.hpp n/nlohmann-json3/nlohmann-json3-dev_3.11.2-2_all.deb \
  ec57940def6b6186c30be0e0ee81d1e58f86d11a54a145b28686a1e3e4aae801
get cli11 CLI/CLI.hpp c/cli11/libcli11-dev_2.1.2+ds-1_all.deb \
  f1f6ee9ec053e0e0bcec47345e241b6a8ee006321248b4329e9ce88d2b4b64a8
get catch2 catch2/catch.hpp c/catch2/catch2_2.13.10-1_amd64.deb \
  0b32d3017609fecef1ecb0827729c2f3cda61332dd1f50da73ea9066fb4fc7ca
get stb stb/stb_image.h libs/libstb/libstb-dev_0.0~git20220908.8b5f1f3+ds-1_amd64.deb \
  4f85f82942c61845ac96d64d722ef1b2f4897d6662cb98bc5ff78596b8fbb144
case $(uname -s)-$(uname -m) in
  Linux-aarch64) get zlib zlib.h z/zlib/zlib1g-dev_1.2.13.dfsg-1_arm64.deb \
    afb60f0bae432f2f0edfe2d674e99c1a13a147c9aa2b52f2f23e3df19ece76f5 ;;
  Linux-x86_64) get zlib zlib.h z/zlib/zlib1g-dev_1.2.13.dfsg-1_amd64.deb \
    f9ce531f60cbd5df37996af9370e0171be96902a17ec2bdbd8d62038c354094f ;;
  *) found zlib.h || fail "zlib.h not found: install zlib's development package and run make again" ;;
esac

# What make adds to the compiler's flags. The fetched headers come as -isystem, so their warnings stay quiet.
{
  echo "THIRD_PARTY_FLAGS := -isystem third_party/root/usr/include -isystem third_party/root/usr/include/eigen3 -isystem /usr/include/eigen3"
  zlib=$(find root/usr/lib -name libz.a 2>/dev/null | head -n 1)
  echo "ZLIB := ${zlib:+third_party/}${zlib:--lz}"
} >"$root/flags.mk.tmp"
mv "$root/flags.mk.tmp" "$root/flags.mk"
