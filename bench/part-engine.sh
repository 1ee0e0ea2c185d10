# The local model: tokens per second through anyllm, from its engine, from an engine started by hand.
# shellcheck shell=sh

# The engine that anyllm started: its program, socket and key, as its command line says.
find_engine() {
    ENGINE_SOCKET='' ENGINE_KEY=-
    for child in $(pgrep -P "$ANYLLM_PID"); do
        arguments=$(tr '\0' '\n' <"/proc/$child/cmdline")
        ENGINE_SOCKET=$(printf '%s\n' "$arguments" | sed -n '/^--host$/{n;p;}')
        file=$(printf '%s\n' "$arguments" | sed -n '/^--api-key-file$/{n;p;}')
        [ -z "$file" ] || ENGINE_KEY="Bearer $(head -n 1 "$file")"
        ENGINE=$(readlink "/proc/$child/exe")
        ENGINE_LIBRARIES=$(tr '\0' '\n' <"/proc/$child/environ" | sed -n 's/^LD_LIBRARY_PATH=//p')
        [ -z "$ENGINE_SOCKET" ] || return 0
    done
    die 'anyllm runs no engine'
}

tokens_of() { # tokens_of TARGET STREAMS TOKENS
    case $1 in
    hand) probe tokens openai "http://127.0.0.1:$HAND_PORT/v1/chat/completions" - "$2" "$3" ;;
    engine) probe tokens openai "unix:$ENGINE_SOCKET:/v1/chat/completions" "$ENGINE_KEY" "$2" "$3" ;;
    anyllm) probe tokens fal "$BASE/run/fal-ai/any-llm/stream" - "$2" "$3" "http://127.0.0.1:$HAND_PORT/" - ;;
    esac
}

# anyllm with the local model, and the same engine as one starts it by hand: with its own defaults.
start_engines() { # start_engines MODEL
    DATA=$(mktemp -d "$TMP/data.XXXXXX")
    echo 'log_level: info' >"$TMP/plain.yaml" # not the user's own file
    LAUNCHED=-local
    start anyllm-local 'listening on ' "$ANYLLM" serve --config "$TMP/plain.yaml" --local-model "$1" --listen 127.0.0.1:0 \
        --data "$DATA"
    ANYLLM_PID=$PID
    BASE=$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' "$TMP/anyllm-local.log" | head -n 1)
    wait_ready 12000 # a first start tries out how to run the engine
    find_engine
    HAND_PORT=$(free_port)
    start hand '' env LD_LIBRARY_PATH="$ENGINE_LIBRARIES" "$ENGINE" -m "$1" --host 127.0.0.1 --port "$HAND_PORT"
    HAND_PID=$PID
    until get "http://127.0.0.1:$HAND_PORT/health" >/dev/null 2>&1; do
        kill -0 "$HAND_PID" 2>/dev/null || die "llama-server ended: $(tail -n 3 "$TMP/hand.log")"
        sleep 0.1
    done
}

token_rows() { # token_rows STREAMS GOAL_HAND
    # shellcheck disable=SC2046
    set -- "$1" "$2" $(paired "$1" 4 anyllm engine / | spread) $(paired "$1" 4 anyllm hand / | spread) \
        $(column anyllm "$1" 4 | spread) $(column engine "$1" 4 | spread) $(column hand "$1" 4 | spread)
    name="local model, tokens/s through anyllm, $1 stream$([ "$1" = 1 ] || echo s)"
    row "$name, against its engine called directly" 0.97 "$(fixed 3 "$3")" \
        "$(fixed 3 "$4" "$5"); $(fixed 0 "$9") of $(fixed 0 "${12}") tokens/s" over 0.97
    row "$name, against llama-server started by hand" "$2x" "$(fixed 2 "$6")x" \
        "$(fixed 2 "$7" "$8"); $(fixed 0 "$9") of $(fixed 0 "${15}") tokens/s" over "$2"
}

TOKENS_SECONDS=60 # no round begins later: where others work, waiting threads make the engine 20 times slower

part_tokens() {
    rounds=3 tokens=128
    [ -z "$SHORT" ] || { rounds=1 tokens=48; }
    model=$(find -L "$CACHE" -name '*.gguf' -type f 2>/dev/null | head -n 1)
    if [ -z "$model" ]; then
        row 'local model, tokens/s' '' - 'no model at hand: make demo fetches engine and model'
        return 0
    fi
    start_engines "$model"
    : >"$TMP/loads"
    for target in hand engine anyllm; do tokens_of $target 1 16 >/dev/null || die "no tokens from $target"; done
    began=$(date +%s)
    for round in $(seq $rounds); do
        if [ $(($(date +%s) - began)) -gt $TOKENS_SECONDS ]; then
            echo "- Local model: only $((round - 1)) of $rounds rounds, the engine is slow here today." >>"$TMP/invalid"
            break
        fi
        for streams in 1 8; do
            for target in $(rotated "$round" hand engine anyllm); do
                result=$(tokens_of "$target" $streams $tokens) || die "no tokens from $target"
                echo "$target $streams $round $result" >>"$TMP/loads"
            done
        done
    done
    token_rows 1 3
    token_rows 8 2
    stop_anyllm
    stop "$HAND_PID"
}

