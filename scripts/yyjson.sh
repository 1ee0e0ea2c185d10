#!/bin/sh
# Brings yyjson's source, for packages of systems that have none of their own and for make dist-libfal.
#
#   scripts/yyjson.sh FOLDER    FOLDER/yyjson.c, FOLDER/yyjson.h, FOLDER/LICENSE and a meson.build
#
# It is Debian 13's upstream archive, from the archive that this machine's own apt sources name, checked by its SHA-256.
# Silent when it is there.
set -eu
SOURCE=yyjson=0.10.0+ds-1
SHA256=ae6fde69a193e10afab426ef13f113d6903446405f9db9ee98bfb572bd6c961a

[ $# = 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
mkdir -p "$1"
FOLDER=$(CDPATH='' cd -- "$1" && pwd)
cd "$(dirname "$0")/.."
if ! [ -e "$FOLDER/.complete" ]; then
    TMP=$(mktemp -d)
    trap 'rm -rf "$TMP"' EXIT
    echo "fetching yyjson's source" >&2
    scripts/deps.sh source "$SOURCE" "$TMP/in"
    archive=$(find "$TMP/in" -name '*.orig.tar.*' | sed -n 1p)
    printf '%s  %s\n' "$SHA256" "$archive" | sha256sum -c --status ||
        { echo "yyjson.sh: $(basename "$archive") is not the file we expect (SHA-256)" >&2; exit 1; }
    tar -C "$TMP" --strip-components=1 -xf "$archive" --wildcards '*/src/yyjson.[ch]' '*/LICENSE'
    cp "$TMP/src/yyjson.c" "$TMP/src/yyjson.h" "$TMP/LICENSE" "$FOLDER"
    : >"$FOLDER/.complete"
fi
cp packaging/yyjson.build "$FOLDER/meson.build"
