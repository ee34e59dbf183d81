#!/usr/bin/env bash
# Get interpreters that a stable Debian lacks, for tox: CPython 3.14 and 3.15, and 3.13 without the GIL.
#
#     tools/get_pythons.sh FOLDER [3.14 3.15 3.13t]
#     PATH=FOLDER/bin:$PATH tox -e py314,py315,py313t
#
# On Debian, as root.  3.14 and 3.15 are those of the unstable suite, unpacked into FOLDER/sid with their C library;
# no Python is installed on the system.  They take two minutes.  3.13t is built from the sources of Debian 13, in five.
set -euo pipefail

[ $# -gt 0 ] || { sed -n '2,8s/^# \?//p' "$0" && exit 2; }
mkdir -p "$1/bin"
folder=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- 3.14 3.15 3.13t
for version in "$@"; do
    case $version in
    3.14 | 3.15 | 3.13t) ;;
    *) echo "no such version: $version; choose from 3.14 3.15 3.13t" >&2 && exit 2 ;;
    esac
done
sid=$folder/sid
libraries=$sid/usr/lib/$(uname -m)-linux-gnu

apt-get update -qq
apt-get install -qq --no-install-recommends debootstrap patchelf
if [ ! -e "$folder/unpacked" ]; then
    rm -rf "$sid"
    debootstrap --variant=minbase --include=python3.14,python3.14-venv,python3.15,python3.15-venv,libgomp1 sid "$sid"
    touch "$folder/unpacked"
fi

unstable() { # unstable VERSION: let the interpreter load the C library beside it, and pip compile for it
    local program=$sid/usr/bin/python$1
    patchelf --set-interpreter "$(echo "$libraries"/ld-linux-*.so.*)" --force-rpath --set-rpath "$libraries" "$program"
    ln -sf "$program" "$folder/bin/"
    # Python.h alone: an installed package would bring the headers of this C library, too.
    chroot "$sid" sh -c "cd /tmp && apt-get -qq -o APT::Sandbox::User=root download libpython$1-dev &&
        dpkg -x libpython$1-dev_*.deb / && rm libpython$1-dev_*.deb"
    ln -sfn "../$(uname -m)-linux-gnu" "$sid/usr/include/python$1/$(uname -m)-linux-gnu"
}

free_threaded() { # the package of Debian 13 has the sources, and no build without the GIL
    local sources=$folder/sources
    apt-get install -qq --no-install-recommends build-essential libffi-dev libssl-dev zlib1g-dev
    rm -rf "$sources" "$sid/sources"
    mkdir -p "$sources" "$sid/sources"
    sed 's/^deb /deb-src /; s/ sid / trixie /' "$sid/etc/apt/sources.list" >"$sid/etc/apt/sources.list.d/trixie.list"
    # The suites of a mirror that stands still are out of date.
    chroot "$sid" sh -c "cd /sources && apt-get -qq -o Acquire::Check-Valid-Until=false update &&
        apt-get -qq -o APT::Sandbox::User=root source --download-only python3.13"
    tar -xf "$sid"/sources/python3.13_*.orig.tar.xz -C "$sources" --strip-components 1
    cd "$sources"
    ./configure -q --disable-gil --disable-test-modules --prefix="$folder/3.13t"
    make -s -j"$(nproc)"
    make -s install
    ln -sf "$folder/3.13t/bin/python3.13t" "$folder/bin/"
}

for version in "$@"; do
    if [ "$version" = 3.13t ]; then free_threaded; else unstable "$version"; fi
    "$folder/bin/python$version" -VV
done
