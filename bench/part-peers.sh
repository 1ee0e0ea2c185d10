# Other gateways beside us, when `make bench-peers` has installed them: LiteLLM (Python) and Portkey (Node).
# shellcheck shell=sh

PEER_FOLDER=$CACHE/peers
PEERS='' # those that run

peer_name() { case $1 in litellm) echo LiteLLM ;; portkey) echo Portkey ;; *) echo "$1" ;; esac; }

peer_program() { # the file that says it is installed
    case $1 in
    litellm) ls "$PEER_FOLDER"/litellm-*/bin/litellm ;;
    portkey) ls "$PEER_FOLDER"/portkey-*/node_modules/@portkey-ai/gateway/build/start-server.js ;;
    esac 2>/dev/null | tail -n 1
}

peer_version() { peer_program "$1" | sed "s,.*/peers/$1-\([^/]*\)/.*,\1,"; }
peer_url() { case $1 in litellm) echo "http://127.0.0.1:$LITELLM_PORT/v1/chat/completions" ;; portkey) echo "http://127.0.0.1:$PORTKEY_PORT/v1/chat/completions" ;; esac; }
peer_pid() { case $1 in litellm) echo "$LITELLM_PID" ;; portkey) echo "$PORTKEY_PID" ;; esac; }

# peer_headers PEER PREFIX: what its calls carry besides
peer_headers() {
    [ "$1" = portkey ] || return 0
    printf 'x-portkey-provider: openai\nx-portkey-custom-host: http://127.0.0.1:%s%s/v1' "$MOCK_PORT" "$2"
}

# LiteLLM goes to the mock's plain path, or to the first text's, by the model's name.
start_litellm() {
    LITELLM_PORT=$(free_port)
    cat >"$TMP/litellm.yaml" <<YAML
model_list:
  - model_name: openai/gpt-4o-mini
    litellm_params: { model: openai/x, api_base: "http://127.0.0.1:$MOCK_PORT/v1", api_key: x }
  - model_name: openai/gpt-4o-flow
    litellm_params: { model: openai/x, api_base: "http://127.0.0.1:$MOCK_PORT$FIRST_PATH/v1", api_key: x }
YAML
    sed 's/gpt-4o-mini/gpt-4o-flow/' "$TMP/openai-stream.json" >"$TMP/litellm-stream.json"
    start litellm '' pin 0 env LITELLM_LOCAL_MODEL_COST_MAP=True LITELLM_LOG=ERROR LITELLM_MODE=PRODUCTION \
        "$(peer_program litellm)" --config "$TMP/litellm.yaml" --host 127.0.0.1 \
        --port "$LITELLM_PORT" --num_workers 1
    LITELLM_PID=$PID
}

# Portkey listens on every address; what is loaded before it keeps it on loopback.
start_portkey() {
    PORTKEY_PORT=$(free_port)
    cat >"$TMP/loopback.cjs" <<'JS'
const net = require('net');
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {
    if (port && typeof port === 'object') return listen.call(this, { ...port, host: '127.0.0.1' }, ...rest);
    return listen.call(this, port, '127.0.0.1', ...rest.filter((a) => typeof a !== 'string'));
};
JS
    start portkey '' pin 0 env NODE_ENV=production node --require "$TMP/loopback.cjs" "$(peer_program portkey)" \
        "--port=$PORTKEY_PORT" --headless
    PORTKEY_PID=$PID
}

peer_answers() { # peer_answers PEER: within 60 s
    for _ in $(seq 600); do
        (export BENCH_HEADERS="$(peer_headers "$1" '')"
            get "$(peer_url "$1")" - "$(cat "$TMP/openai.json")" >/dev/null 2>&1) && return 0
        kill -0 "$(peer_pid "$1")" 2>/dev/null || break
        sleep 0.1
    done
    return 1
}

# Starts those that are installed; one that does not come up is said and left out.
start_peers() {
    PEERS=''
    for peer in litellm portkey; do
        [ -n "$(peer_program $peer)" ] || continue
        "start_$peer"
        if peer_answers $peer; then
            PEERS="$PEERS $peer"
            peer_sleeps $peer
        else
            say "bench: $(peer_name $peer) did not start; it said: $(tail -n 5 "$TMP/$peer.log")"
            echo "- $(peer_name $peer) is installed and did not start." >>"$TMP/invalid"
            stop "$(peer_pid $peer)"
        fi
    done
}

# They do not rest when idle: each is stopped while another target is measured.
peer_sleeps() { case $1 in litellm | portkey) kill -STOP "$(peer_pid "$1")" ;; esac; }
peer_wakes() { case $1 in litellm | portkey) kill -CONT "$(peer_pid "$1")" ;; esac; }
stop_peers() { for peer in $PEERS; do stop "$(peer_pid "$peer")"; done; }

no_peer_row() { row "$1" '' 'not installed' '`make bench-peers` installs it'; }

peer_load() { # peer_load TARGET ROUND SECONDS
    case $1 in
    litellm | portkey)
        peer_wakes "$1"
        BENCH_HEADERS=$(peer_headers "$1" '')
        export BENCH_HEADERS
        load "$1" 64 "$3" "$2" openai "$(peer_url "$1")" '' "$(peer_pid "$1")"
        unset BENCH_HEADERS
        memory "$(peer_pid "$1")" Rss >"$TMP/memory_$1"
        peer_sleeps "$1" ;;
    *) load_target "$1" 64 "$4" "$2" ;;
    esac
}

peer_row() { # peer_row PEER GOAL
    # shellcheck disable=SC2046
    set -- "$1" "$2" $(paired 64 4 anyllm "$1" / | spread) $(paired 64 4 nginx "$1" / | spread)
    row "direct call, requests/s at 64 connections against $(peer_name "$1") $(peer_version "$1")" "$2x" "$(fixed 0 "$3")x" \
        "$(fixed 0 "$4" "$5"); nginx $(fixed 0 "$6")x" over "$2"
}

# Slow peers need long windows: at 64 connections a call of LiteLLM takes half a second.
part_peers() {
    rounds=2 window=10 quick=3
    [ -z "$SHORT" ] || { rounds=1 window=5 quick=1; }
    start_peers
    if [ -n "$PEERS" ]; then
        start_anyllm ''
        : >"$TMP/loads"
        for target in nginx anyllm $PEERS; do peer_load "$target" 0 2 1; done
        : >"$TMP/loads"
        for round in $(seq $rounds); do
            # shellcheck disable=SC2086
            for target in $(rotated "$round" nginx anyllm $PEERS); do peer_load "$target" "$round" $window $quick; done
        done
        peer_table
        stop_anyllm
    fi
    for peer in portkey litellm; do
        goal=100
        [ $peer = portkey ] || goal=700
        case " $PEERS " in
        *" $peer "*) peer_row $peer $goal ;;
        *) no_peer_row "direct call, requests/s at 64 connections against $(peer_name $peer)" ;;
        esac
    done
    stop_peers
}

peer_table() {
    echo '## Beside other gateways, 64 connections'
    echo
    echo '| target | requests/s, median (range) | CPU µs per request | of its CPU | p50 ms | p99 ms | resident MB afterwards |'
    echo '|---|---|---|---|---|---|---|'
    memory "$ANYLLM_PID" Rss >"$TMP/memory_anyllm"
    memory "$NGINX" Rss >"$TMP/memory_nginx"
    for target in nginx anyllm $PEERS; do
        echo "$(load_lines "$target" 64 | sed "s/^| 64 | $target /| $(peer_name "$target") $(peer_version "$target") /; s/  |/ |/") $(cat "$TMP/memory_$target") |"
    done
} >"$TMP/detail_peers"
