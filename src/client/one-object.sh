#!/bin/sh
# one-object.sh OUT.a FOLDER PARTS.a...: an archive of one object, in which only the public names are visible to a linker.
# Without this a program that links libfal.a could not have a function called buf_add of its own.
set -eu
out=$1 folder=$2
shift 2
mkdir -p "$folder"
"${LD:-ld}" -r -o "$folder/fal.o" --whole-archive "$@"
"${OBJCOPY:-objcopy}" --localize-hidden "$folder/fal.o"
rm -f "$out"
"${AR:-ar}" rcD "$out" "$folder/fal.o"
