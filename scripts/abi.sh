#!/bin/sh
# libfal's binary interface, compared with the one that packaging/abi holds.
#
#   scripts/abi.sh check BUILD       what changed since; ends with 1 when programs built before would break
#   scripts/abi.sh baseline BUILD    writes the interface of BUILD/libfal.so as the new one: with each release
set -eu
cd "$(dirname "$0")/.."
BASELINE=packaging/abi/libfal.so.0.abi
SO=$2/libfal.so
TMP=$(mktemp -d)
trap 'rm -rf "$TMP"' EXIT

command -v abidiff >/dev/null || { echo 'abi.sh: abidiff is not installed (abigail-tools)' >&2; exit 1; }
[ -e "$SO" ] || { echo "abi.sh: $SO is not there" >&2; exit 1; }

# What no program built before survives. A struct that grows at its end does no harm where its `size` says so or the
# library makes it; the others are those that programs make or hand over by value.
breaks() {
    awk '/(data member|enumerator) (change|deletion)|offset changed|[Rr]eturn type changed|parameter [0-9]+ .*(changed|was (added|removed))/ { print }
         /^ *\[D\]/ { print }
         match($0, /(struct|enum) fal_[a-z_]+/) { type = substr($0, RSTART, RLENGTH) }
         /type size changed/ && type ~ /^struct fal_(fd|done|acl_rule)$/ { print type ":" $0 }' "$1"
}

case $1 in
check)
    code=0
    abidiff --headers-dir1 include --headers-dir2 include "$BASELINE" "$SO" >"$TMP/report" || code=$?
    [ $((code & 3)) = 0 ] || { cat "$TMP/report" >&2; echo 'abi.sh: abidiff could not compare them' >&2; exit 1; }
    grep . "$TMP/report" || :
    breaks "$TMP/report" >"$TMP/breaks"
    [ $((code & 8)) = 0 ] && ! [ -s "$TMP/breaks" ] || { echo 'abi.sh: programs that were built before would break' >&2; exit 1; }
    ;;
baseline)
    mkdir -p "$(dirname "$BASELINE")"
    abidw --headers-dir include --exported-interfaces-only --no-corpus-path --no-comp-dir-path --no-elf-needed \
        "$SO" | sed -E "s#path='[^']*/(src|include)/#path='\1/#; s#path='/usr/#path='#" >"$BASELINE"
    ;;
*) echo "usage: $0 check|baseline BUILD" >&2; exit 2 ;;
esac
