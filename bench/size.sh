#!/bin/sh
# How large libfal.so is, stripped, built as packages are (-O2): alone, and with its JSON library inside.
#   bench/size.sh
set -eu
cd "$(dirname "$0")/.."
TMP=$(mktemp -d)
trap 'rm -rf "$TMP"' EXIT
scripts/yyjson.sh subprojects/yyjson

size() { # NAME BUNDLED
    meson setup "$TMP/$2" --buildtype=release -Doptimization=2 -Dtests=disabled -Dbundled="$2" >"$TMP/log" || { cat "$TMP/log" >&2; exit 1; }
    ninja -C "$TMP/$2" libfal.so.0.1.0 >"$TMP/log" || { cat "$TMP/log" >&2; exit 1; }
    strip -o "$TMP/libfal.so" "$TMP/$2/libfal.so.0.1.0"
    bytes=$(stat -c %s "$TMP/libfal.so")
    printf '%-32s %7d bytes, %3d KiB\n' "$1" "$bytes" $((bytes / 1024))
}

size 'libfal.so, our own code' false
size 'libfal.so with yyjson inside' true
