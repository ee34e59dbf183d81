#!/usr/bin/env bash
# Get interpreters that a stable Debian lacks, for tox: CPython 3.14 and 3.15.
#
#     tools/get_pythons.sh FOLDER [3.14 3.15]
#     PATH=FOLDER/bin:$PATH tox -e py314,py315
#
# On Debian, as root, in two minutes.  They are those of the unstable suite, unpacked into FOLDER/sid with their C
# library, so that no Python is installed on the system.
set -euo pipefail

[ $# -gt 0 ] || { sed -n '2,9s/^# \?//p' "$0" && exit 2; }
mkdir -p "$1/bin"
folder=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- 3.14 3.15
for version in "$@"; do
    case $version in
    3.14 | 3.15) ;;
    *) echo "no such version: $version; choose from 3.14 3.15" >&2 && exit 2 ;;
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

unstable() { # unstable VERSION: let the interpreter load the C library beside it
    local program=$sid/usr/bin/python$1
    patchelf --set-interpreter "$(echo "$libraries"/ld-linux-*.so.*)" --force-rpath --set-rpath "$libraries" "$program"
    ln -sf "$program" "$folder/bin/"
}

for version in "$@"; do
    unstable "$version"
    "$folder/bin/python$version" -VV
done
