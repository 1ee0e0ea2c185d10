#!/bin/sh
# libfal's binary interface, compared with the one that packaging/abi holds.
#
#   scripts/abi.sh check BUILD       what changed since; ends with 1 when programs built before would break
#   scripts/abi.sh baseline BUILD    writes the interface of BUILD/libfal.so as the new one: with each release
set -eu
cd "$(dirname "$0")/.."
BASELINE=packaging/abi/libfal.so.0.abi
SO=$2/libfal.so

command -v abidiff >/dev/null || { echo 'abi.sh: abidiff is not installed (abigail-tools)' >&2; exit 1; }
[ -e "$SO" ] || { echo "abi.sh: $SO is not there" >&2; exit 1; }

case $1 in
check)
    # Bit 4 (8): an incompatible change; bit 3 (4): some change; 1, 2: abidiff itself went wrong.
    code=0
    abidiff --headers-dir1 include --headers-dir2 include --no-added-syms "$BASELINE" "$SO" || code=$?
    [ $((code & 11)) = 0 ] || { echo 'abi.sh: programs that were built before would break' >&2; exit 1; }
    # A struct that grew at its end is a change that its size member makes good; everything else is to be looked at.
    [ "$code" = 0 ] || echo 'abi.sh: changes that programs built before may survive: see above'
    ;;
baseline)
    mkdir -p "$(dirname "$BASELINE")"
    abidw --headers-dir include --no-corpus-path --no-comp-dir-path --no-show-locs "$SO" >"$BASELINE"
    ;;
*) echo "usage: $0 check|baseline BUILD" >&2; exit 2 ;;
esac
