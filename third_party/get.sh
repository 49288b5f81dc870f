#!/bin/sh
# Makes the third-party headers available, without root and without asking. `make` and CMake call it; the table
# with versions, licences and reasons is third_party/README.md.
#
# For each one: if the compiler already finds its header, the system's is used. Otherwise the Debian package
# named below is downloaded, checked against its SHA-256, and unpacked under third_party/root (headers are the
# same on every Linux and on macOS; only zlib is compiled code). Writes third_party/root/flags.mk for make.
# It can be interrupted at any time: what is not marked done is downloaded and unpacked again.
#
#   third_party/get.sh                      what make calls; CXX=clang++ asks another compiler
#   ACINUS_NO_SYSTEM=1 third_party/get.sh   ignore the system's packages (for testing this script)
set -eu
cd "$(dirname "$0")"
CXX=${CXX:-c++}
root=$PWD/root
pool=pool/main

fail() { echo "third_party/get.sh: $*" >&2; exit 1; }

$CXX --version >/dev/null 2>&1 || fail "no C++ compiler '$CXX': install g++ or clang++, or set CXX"
mkdir -p "$root"
tmp=$(mktemp -d "$root/tmp.XXXXXX")  # one of its own, so that two runs at a time do not meet
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

# A bare Debian has neither curl nor wget, but apt brings a downloader.
download() { # URL FILE
  if command -v curl >/dev/null 2>&1; then curl -fsSL --connect-timeout 20 --retry 2 -o "$2" "$1"
  elif command -v wget >/dev/null 2>&1; then wget -nv -T 30 -t 3 -O "$2" "$1"
  elif [ -x /usr/lib/apt/apt-helper ]; then /usr/lib/apt/apt-helper download-file "$1" "$2"
  else echo "there is no curl, no wget and no apt to download with"; false; fi
}

sha256() { if command -v sha256sum >/dev/null 2>&1; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1; }

# A .deb is an `ar` archive with a tar in it. dpkg-deb also works without an xz program, as on a bare Debian.
unpack() { # DEB, into $root
  if command -v dpkg-deb >/dev/null 2>&1; then dpkg-deb -x "$1" "$root"
  else
    member=$(ar t "$1" | grep '^data\.tar' | tr -d /) &&
      ar p "$1" "$member" >"$tmp/$member" && tar xf "$tmp/$member" -C "$root"
  fi
}

preprocesses() { # HEADER COMPILER-FLAGS...
  header=$1; shift
  echo "#include <$header>" | $CXX -std=c++20 "$@" -E -x c++ - >/dev/null 2>&1
}
fetched() { # NAME HEADER SHA256: was it unpacked here, whole, and is it still there?
  [ "$(cat "$root/$1.done" 2>/dev/null)" = "$3" ] &&
    preprocesses "$2" -isystem "$root/usr/include" -isystem "$root/usr/include/eigen3"
}
system_has() { # HEADER [LIBRARY]: does the compiler find it by itself, or Eigen where Linux puts it?
  [ -z "${ACINUS_NO_SYSTEM:-}" ] || return 1
  if [ -z "${2:-}" ]; then preprocesses "$1" -isystem /usr/include/eigen3
  else echo "int main() {}" | $CXX -include "$1" -x c++ - "$2" -o "$tmp/linked" >/dev/null 2>&1; fi
}

get() { # NAME HEADER-TO-LOOK-FOR PATH-IN-POOL SHA256 [LIBRARY-THAT-THE-SYSTEM-MUST-HAVE-TOO]
  if fetched "$1" "$2" "$4"; then echo "  ✓ $1 (third_party/)"; return; fi
  if system_has "$2" "${5:-}"; then echo "  ✓ $1 (the system's)"; return; fi
  deb=$tmp/$1.deb
  reasons=
  # The pool keeps what Debian 12 ships now; the snapshot archive keeps everything ever shipped. (The first is
  # plain http, which works without certificates: the SHA-256 is what vouches for the file.)
  for url in "http://deb.debian.org/debian/$pool/$3" \
    "https://snapshot.debian.org/archive/debian/20250520T000000Z/$pool/$3"; do
    rm -f "$deb"
    if ! download "$url" "$deb" >"$tmp/log" 2>&1; then reason=$(tail -n 1 "$tmp/log")
    elif [ "$(sha256 "$deb")" != "$4" ]; then reason="what came does not have the expected SHA-256"
    else
      unpack "$deb" || fail "$1: cannot unpack ${3##*/} (needs dpkg-deb, or ar, tar and xz; and free space)"
      echo "$4" >"$tmp/done" && mv "$tmp/done" "$root/$1.done"
      echo "  ✓ $1 (fetched into third_party/)"
      return
    fi
    reasons="$reasons
    $url
      $reason"
  done
  package=${3##*/}
  fail "cannot fetch $1:$reasons
  Offline? Install it with your package manager (Debian, Ubuntu: apt install ${package%%_*};
  others: see third_party/README.md), then run make again."
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

# zlib is the one that is not only headers, so the package must fit the machine.
case $(uname -s)-$($CXX -dumpmachine) in
  Linux-x86_64-*gnu*) get zlib zlib.h z/zlib/zlib1g-dev_1.2.13.dfsg-1_amd64.deb \
    f9ce531f60cbd5df37996af9370e0171be96902a17ec2bdbd8d62038c354094f -lz ;;
  Linux-aarch64-*gnu*) get zlib zlib.h z/zlib/zlib1g-dev_1.2.13.dfsg-1_arm64.deb \
    afb60f0bae432f2f0edfe2d674e99c1a13a147c9aa2b52f2f23e3df19ece76f5 -lz ;;
  *) system_has zlib.h -lz || fail "zlib not found: install its development package (zlib-devel, zlib-dev), then make again"
    echo "  ✓ zlib (the system's)" ;;
esac
zlib=usr/lib/$(uname -m)-linux-gnu/libz.a
if [ -f "$root/zlib.done" ] && [ -f "$root/$zlib" ]; then zlib=third_party/root/$zlib; else zlib=-lz; fi

# What make adds to the compiler's flags. As -isystem, so that these headers' own warnings stay quiet.
{
  echo "THIRD_PARTY_FLAGS := -isystem third_party/root/usr/include -isystem third_party/root/usr/include/eigen3 -isystem /usr/include/eigen3"
  echo "ZLIB := $zlib"
} >"$tmp/flags.mk"
mv "$tmp/flags.mk" "$root/flags.mk"
