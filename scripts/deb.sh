#!/bin/sh
# Builds the Debian packages libfal0, libfal-dev and anyllm for the release that this machine runs.
#
#   scripts/deb.sh OUT    OUT/*.deb; OUT/lintian is what lintian says of them
#
# They depend on nothing outside that release: on Debian 12 yyjson and llhttp, which it has no packages of, are linked
# in. Builds from a copy of what git knows here.
set -eu
ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
[ $# = 1 ] || { echo "usage: $0 OUT" >&2; exit 2; }
mkdir -p "$1"
OUT=$(CDPATH='' cd -- "$1" && pwd)
# shellcheck disable=SC1091
RELEASE=$(. /etc/os-release && [ "$ID" = debian ] && echo "$VERSION_ID") ||
    { echo 'deb.sh: packages are built on Debian' >&2; exit 1; }
WORK=$OUT/work
rm -rf "$WORK" "$OUT"/*.deb "$OUT"/*.changes "$OUT"/*.buildinfo
mkdir -p "$WORK/anyllm"
trap 'rm -rf "$WORK"' EXIT

cd "$ROOT"
git ls-files -z | xargs -0 sh -c 'for f; do [ -e "$f" ] && printf "%s\0" "$f"; done' - | tar -c --null -T - | tar -x -C "$WORK/anyllm"
cp -r packaging/debian "$WORK/anyllm/debian"
cp packaging/systemd/anyllm.service "$WORK/anyllm/debian/anyllm.service"
if [ "$RELEASE" = 12 ]; then
    scripts/yyjson.sh .deps/yyjson
    mkdir -p "$WORK/anyllm/subprojects"
    cp -r .deps/yyjson "$WORK/anyllm/subprojects/yyjson"
fi
sed -i "1s/(\([^)]*\))/(\1+deb$RELEASE)/" "$WORK/anyllm/debian/changelog"

cd "$WORK/anyllm"
DEB_BUILD_OPTIONS="${DEB_BUILD_OPTIONS:-parallel=$(nproc)} noautodbgsym" dpkg-buildpackage -b -uc -us >"$OUT/log" 2>&1 ||
    { grep -v '^\[' "$OUT/log" | tail -n 30 >&2; exit 1; }
mv "$WORK"/*.deb "$OUT"
lintian --tag-display-limit 0 --allow-root "$OUT"/*.deb >"$OUT/lintian" 2>&1 || :
cat "$OUT/lintian" >&2
ls -l "$OUT"/*.deb
