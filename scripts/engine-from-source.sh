#!/bin/sh
# Builds llama-server from llama.cpp's source (the copy inside the sdist of llama-cpp-python) into the cache folder,
# engine-src/. Silent when it is there. Not for this processor alone: the CPU is chosen at run time
# (a native build died by SIGILL on a virtual machine whose kernel forbids AMX).
set -eu
. "$(dirname "$0")/fetch.sh"

PACKAGE=llama-cpp-python
VERSION=0.3.36
PACKAGE_SHA256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
STAMP=$CACHE/engine-src/.complete
COMMON='-DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
    -DLLAMA_BUILD_TOOLS=ON -DLLAMA_BUILD_SERVER=ON -DLLAMA_BUILD_APP=OFF -DLLAMA_OPENSSL=OFF
    -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DGGML_CCACHE=OFF'
# Backends as libraries beside the program, one for each kind of CPU; or, where that fails, AVX2 for all.
ANY_CPU='-DBUILD_SHARED_LIBS=ON -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON'
# The variants left out differ little from one that stays; sapphirerapids is zen4's with AMX, which CPUs announce and
# the kernels of many virtual machines forbid.
LEFT_OUT='sse42|sandybridge|ivybridge|piledriver|skylakex|cannonlake|cascadelake|cooperlake|alderlake|sapphirerapids'
AVX2='-DBUILD_SHARED_LIBS=OFF -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON'

unpack() {
    mkdir "$TMP/source"
    tar -xzf "$FILE" -C "$TMP/source" --strip-components=1 --wildcards '*/vendor/llama.cpp'
    SOURCE=$TMP/source/vendor/llama.cpp
    sed -i -E "/ggml_add_cpu_backend_variant\(($LEFT_OUT) /d" "$SOURCE/ggml/src/CMakeLists.txt"
    rm -rf "$TMP/download"
}

# build FLAGS: configure and make llama-server alone.
build() {
    rm -rf "$TMP/build"
    # shellcheck disable=SC2086
    cmake -S "$SOURCE" -B "$TMP/build" $COMMON $1 \
        -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON "-DCMAKE_INSTALL_RPATH=\$ORIGIN" >"$TMP/cmake.log" 2>&1 || return 1
    cmake --build "$TMP/build" --parallel "$(nproc)" --target llama-server 9>&-
}

# -L: the libraries by the names the loader asks for, as files.
collect() {
    mkdir "$TMP/engine"
    cp "$TMP/build/bin/llama-server" "$TMP/engine/"
    find "$TMP/build/bin" -name '*.so' -o -name '*.so.[0-9]' | while read -r library; do
        [ -e "$library.0" ] || cp -L "$library" "$TMP/engine/"
    done
    cp "$SOURCE/LICENSE" "$TMP/engine/LLAMA_CPP_LICENSE.txt"
    strip --strip-unneeded "$TMP/engine/llama-server" "$TMP"/engine/*.so* 2>/dev/null || :
    "$TMP/engine/llama-server" --version >"$TMP/version" 2>&1 || { cat "$TMP/version" >&2; return 1; }
}

unset MAKEFLAGS MAKELEVEL     # of the make that called us; cmake runs one of its own

make_engine() {
    "$HERE/deps.sh" engine 9>&-
    say "building the engine llama-server from source into $CACHE/engine-src (10 to 20 minutes on 2 cores)"
    download "$PACKAGE" "$VERSION" "$PACKAGE_SHA256" sdist
    unpack
    build "$ANY_CPU" >&2 || {
        tail -n 5 "$TMP/cmake.log" >&2
        say 'a build for every kind of CPU failed; building a plain one'
        [ "$(uname -m)" = x86_64 ] || AVX2='-DBUILD_SHARED_LIBS=OFF'
        build "$AVX2" >&2 || die 'llama.cpp could not be built'
    }
    collect || die 'the engine that was built does not start'
    (cd "$TMP/engine" && write_stamp .complete "$PACKAGE_SHA256" *)
    try_engine "$TMP/engine" || die 'the engine that was built does not answer on this machine'
    rm -rf "$CACHE/engine-src"
    mv "$TMP/engine" "$CACHE/engine-src"
    say "the engine is $CACHE/engine-src/llama-server"
}

there() { complete "$STAMP" "$PACKAGE_SHA256"; }

if there && runs_here "$CACHE/engine-src"; then exit 0; fi
"$HERE/fetch-model.sh"
begin_fetch
if there && try_engine "$CACHE/engine-src"; then exit 0; fi
make_engine
