#!/bin/sh
# one-object.sh PARTS.a OUT.a FOLDER: an archive of one object, in which only the public names are visible to a linker.
# Without this a program that links libfal.a could not have a function called buf_add of its own.
set -eu
mkdir -p "$3"
"${LD:-ld}" -r -o "$3/fal.o" --whole-archive "$1"
"${OBJCOPY:-objcopy}" --localize-hidden "$3/fal.o"
rm -f "$2"
"${AR:-ar}" rcD "$2" "$3/fal.o"
