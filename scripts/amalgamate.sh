#!/bin/sh
# libfal as a folder to put into one's own source: fal.c, fal.h, yyjson.c, yyjson.h, their licences, a README.
#
#   scripts/amalgamate.sh FOLDER [--no-yyjson]    without yyjson's files, for those who have its header
set -eu
ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
case $#${2-} in 1 | 2--no-yyjson) ;; *) echo "usage: $0 FOLDER [--no-yyjson]" >&2; exit 2 ;; esac
mkdir -p "$1"
OUT=$(CDPATH='' cd -- "$1" && pwd)
cd "$ROOT"
VERSION=$(sed -n "s/^ *version: '\([0-9.]*\)',/\1/p" meson.build)

# The files that meson.build makes libfal of.
base_files() { sed -n '/^fal_base/,/)/p' meson.build | grep -o "base/[a-z_0-9]*\.c"; }
client_files() { grep -o "'[a-z_0-9]*\.c'" src/client/meson.build | tr -d "'" | sed 's|^|client/|'; }
FILES="$(base_files) $(client_files)"
# Left out with FAL_WITHOUT_REALTIME (wslay, msgpack-c) and FAL_WITHOUT_WEBHOOK (libcrypto).
chosen() { for file in $FILES; do case $file in $1) printf '%s ' "$file" ;; esac; done; }
REALTIME="$(chosen 'client/realtime*') $(chosen 'base/msgpack*')"
WEBHOOK="$(chosen client/webhook.c)"

{
    cat <<END
/* libfal $VERSION in one file, made of anyllm's src/base and src/client by scripts/amalgamate.sh.
 * fal.h says all about it. SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#if defined(__GNUC__)
#define FAL_PRIVATE __attribute__((unused)) static
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wunused-function"
#else
#define FAL_PRIVATE static
#endif
#define ANYLLM_VERSION "$VERSION"
#include "fal.h"
END
    # shellcheck disable=SC2086
    awk -v src=src -v realtime="$REALTIME" -v webhook="$WEBHOOK" -f packaging/amalgamation/amalgamate.awk $FILES
    sed '1,/^$/d' packaging/amalgamation/without.c
} >"$OUT/fal.c"
cp include/fal.h "$OUT/fal.h"
cp LICENSE "$OUT/LICENSE"
sed "s/@VERSION@/$VERSION/" packaging/amalgamation/README.md >"$OUT/README.md"
[ $# = 1 ] || exit 0
scripts/yyjson.sh .deps/yyjson
cp .deps/yyjson/yyjson.c .deps/yyjson/yyjson.h "$OUT"
cp .deps/yyjson/LICENSE "$OUT/LICENSE.yyjson"
