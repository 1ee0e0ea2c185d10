#!/bin/sh
# One question to a real model through the whole machine: client library, HTTP, queue on disk, worker, engine.
#
#   scripts/demo.sh build/anyllm
#
# Own port, own data folder, nothing of the user's configuration; ends with 0 only if an answer came.
set -eu
ANYLLM=$1
QUESTION='What is the capital of France? Answer in one sentence.'
DATA=$(mktemp -d)
SERVER=

step() { printf '\n== %s\n' "$*"; }
show() { printf '   $ %s\n' "$*"; }

clean_environment() {
    for name in $(env | sed -n 's/^\(\(FAL\|OPENROUTER\|ANYLLM\)_[A-Z0-9_]*\)=.*/\1/p'); do
        [ "$name" = ANYLLM_ENGINE ] || unset "$name"
    done
    export XDG_CACHE_HOME="${XDG_CACHE_HOME:-$HOME/.cache}"     # engine and model are there
    export XDG_CONFIG_HOME="$DATA/config"                       # and no configuration file
}

stop_server() {
    [ -n "$SERVER" ] || return 0
    kill -TERM "$SERVER" 2>/dev/null || :
    code=0
    wait "$SERVER" || code=$?
    SERVER=
    return "$code"
}

clean_up() {
    stop_server || :
    rm -rf "$DATA"
}

start_server() {
    show anyllm serve --listen 127.0.0.1:0 --data "$DATA/data"
    "$ANYLLM" serve --listen 127.0.0.1:0 --data "$DATA/data" 2>"$DATA/server.log" &
    SERVER=$!
    tries=0
    until BASE=$(sed -n 's/^listening on \(http:.*\)/\1/p' "$DATA/server.log" | sed -n 1p) && [ -n "$BASE" ]; do
        tries=$((tries + 1))
        if [ "$tries" -gt 300 ] || ! kill -0 "$SERVER" 2>/dev/null; then
            cat "$DATA/server.log" >&2
            echo 'demo: the server did not start' >&2
            exit 1
        fi
        sleep 0.1
    done
    printf '   listening on %s\n' "$BASE"
}

ask() {
    show anyllm run --logs --temperature 0 --base "$BASE" "\"$QUESTION\""
    "$ANYLLM" run --logs --temperature 0 --base "$BASE" "$QUESTION" >"$DATA/answer" 2>"$DATA/updates" &
    client=$!
    code=0
    wait "$client" || code=$?
    sed 's/^/   | /' "$DATA/updates"
    [ "$code" = 0 ] || fail "anyllm run ended with exit code $code"
    grep -q '[^[:space:]]' "$DATA/answer" || fail 'the answer is empty'
    printf '\n'
    sed 's/^/   /' "$DATA/answer"
}

fail() {
    printf '\ndemo: %s; the server said:\n' "$*" >&2
    tail -n 30 "$DATA/server.log" >&2
    exit 1
}

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
clean_environment

step '1. The server: gateway, queue on disk and a local model, in one process and its engine'
start_server

step '2. The question goes libfal -> HTTP -> queue on disk -> worker -> model, and the answer the same way back'
ask

step '3. What the server did'
sed -n 's/^/   | /p' "$DATA/server.log" | cut -c1-200

step '4. The server ends: what runs is finished, what waits stays for the next start'
show kill -TERM "$SERVER"
stop_server || fail "the server ended with exit code $?"
printf '\nThat was a real model answering through anyllm. Next: build/anyllm serve, then build/anyllm run "..."\n'
