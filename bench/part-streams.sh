# Streams: first text, CPU per event paced and in bursts, idle ones.
# shellcheck shell=sh

FIRST_PATH=/sse-interval/1/tokens/3

# ---- time to the first text ----

first_text() { # first_text TARGET N: "p50 p99 ..." in ms
    case $1 in
    direct) set -- "$2" "http://127.0.0.1:$MOCK_PORT$FIRST_PATH/v1/chat/completions" - openai-stream ;;
    nginx) set -- "$2" "http://127.0.0.1:$NGINX_PORT$FIRST_PATH/v1/chat/completions" - openai-stream ;;
    anyllm) set -- "$2" "$BASE/run/fal-ai/any-llm/stream" "$KEY" fal ;;
    litellm) set -- "$2" "$(peer_url litellm)" - litellm-stream ;;
    portkey) set -- "$2" "$(peer_url portkey)" - openai-stream "$(peer_headers portkey $FIRST_PATH)" ;;
    esac
    (export BENCH_HEADERS="${5:-}"
        pin 1 "$BUILD/bench/bench_ttfb" "$2" "$3" "$(cat "$TMP/$4.json")" The "$1")
}

first_text_round() { # first_text_round ROUND TARGET CALLS
    peer_wakes "$2"
    result=$(first_text "$2" "$3") || die "no first text from $2"
    peer_sleeps "$2"
    echo "$2 1 $1 $result" >>"$TMP/loads"
}

first_text_row() { # first_text_row TARGET NAME p50_LIMIT p99_LIMIT
    # shellcheck disable=SC2046
    set -- "$@" $(paired 1 4 "$1" direct - | spread) $(paired 1 5 "$1" direct - | spread)
    if [ -n "$3" ]; then
        row "time to the first streamed text over going direct, p50" "< $3 ms" "$(fixed 3 "$5") ms" \
            "$(fixed 3 "$6" "$7")" under "$3"
        row "time to the first streamed text over going direct, p99" "< $4 ms" "$(fixed 3 "$8") ms" \
            "$(fixed 3 "$9" "${10}")" under "$4"
    else
        row "the same through $2, p50 / p99" '' "$(fixed 3 "$5") / $(fixed 3 "$8") ms" \
            "$(fixed 3 "$6" "$7") / $(fixed 3 "$9" "${10}")"
    fi
}

part_ttfb() {
    rounds=5 calls=300 peer_calls=60
    [ -z "$SHORT" ] || { rounds=2 calls=60 peer_calls=20; }
    start_anyllm $FIRST_PATH
    start_peers
    : >"$TMP/loads"
    for round in $(seq $rounds); do
        # shellcheck disable=SC2086
        for target in $(rotated "$round" nginx anyllm direct $PEERS); do
            case $target in
            litellm | portkey) first_text_round "$round" "$target" $peer_calls ;;
            *) first_text_round "$round" "$target" $calls ;;
            esac
        done
    done
    first_text_row anyllm anyllm 1 1
    first_text_row nginx nginx '' ''
    for peer in litellm portkey; do
        case " $PEERS " in
        *" $peer "*) first_text_row $peer "$(peer_name $peer)" '' '' ;;
        *) no_peer_row "the same through $(peer_name $peer), p50 / p99" ;;
        esac
    done
    stop_peers
    stop_anyllm
}

# ---- CPU per event ----

# One run of bench_streams: events_load LABEL TARGET STREAMS PATH ROUND OPTION... A valid one becomes a line in loads:
# label.target streams round events/s cpu_us_per_event delivered/s first_p50 first_p99
events_load() {
    label=$1 target=$2 streams=$3 path=$4 round=$5
    shift 5
    case $target in
    nginx) pid=$NGINX; set -- "$@" "http://127.0.0.1:$NGINX_PORT$path/v1/chat/completions" - "$TMP/openai-stream.json" ;;
    anyllm) pid=$ANYLLM_PID; set -- "$@" "$BASE/run/fal-ai/any-llm/stream" "$KEY" "$TMP/fal.json" ;;
    esac
    result=$(pin 1 "$BUILD/bench/bench_streams" --count "http://127.0.0.1:$MOCK_PORT/_stats" --pid "$pid" "$@" "$streams") ||
        die "streams through $target: $result"
    if [ "$(value errors "$result")" != 0 ] || [ "$(value streams "$result")" != "$streams" ]; then
        echo "- $label through $target, round $round: $(value errors "$result") of $streams streams failed" >>"$TMP/invalid"
        say "bench: invalid round: $label through $target: $result"
        return 0
    fi
    if [ "$label" = paced ] && ! keeps_up "$streams"; then
        echo "- $label through $target, round $round: only $(value upstream "$result") events in $(value seconds "$result") s came up" >>"$TMP/invalid"
        say "bench: invalid round: $label through $target: the load did not keep up"
        return 0
    fi
    echo "$label.$target $streams $round $(value seconds "$result") $(value upstream "$result") $(value cpu_ms "$result") \
$(value events "$result") $(value first_p50 "$result") $(value first_p99 "$result")" |
        awk '{ print $1, $2, $3, $5 / $4, $6 / $5 * 1000, $7 / $4, $8, $9 }' >>"$TMP/loads"
}

# 20 events a second of each: when the load side lags, events wait in the sockets and nobody has paid for them yet.
keeps_up() { # keeps_up STREAMS, of $result
    echo "$(value upstream "$result") $(value events "$result") $(value seconds "$result") $1" |
        awk '{ offered = 20 * $3 * $4; exit !($1 > 0.9 * offered && $2 > 0.9 * offered) }'
}

events_rows() { # events_rows LABEL NAME STREAMS
    # shellcheck disable=SC2046
    set -- "$@" $(paired "$3" 5 "$1.anyllm" "$1.nginx" / | spread) $(column "$1.anyllm" "$3" 5 | spread)
    row "CPU per event with rewriting against nginx without, $2" 0.9 "$(fixed 2 "$4")" \
        "$(fixed 2 "$5" "$6"); $(fixed 1 "$7") µs" under 0.9
    if [ ! -s "$TMP/detail_streams" ]; then
        echo '## Streams'
        echo
        echo '| load | target | events/s from the upstream | events/s to the callers | CPU µs per upstream event | of its CPU | first event p50 ms | p99 ms |'
        echo '|---|---|---|---|---|---|---|---|'
    fi >>"$TMP/detail_streams"
    for target in nginx anyllm; do events_lines "$1" "$2" "$3" $target; done >>"$TMP/detail_streams"
}

events_lines() { # events_lines LABEL NAME STREAMS TARGET
    # shellcheck disable=SC2046
    set -- "$2" "$4" $(column "$1.$4" "$3" 5 | spread) \
        $(for field in 4 6 7 8; do column "$1.$4" "$3" $field | spread | cut -d' ' -f1; done)
    printf '| %s | %s | %s | %s | %s (%s) | %s | %s | %s |\n' "$1" "$2" "$(fixed 0 "$6")" "$(fixed 0 "$7")" "$(fixed 2 "$3")" \
        "$(fixed 2 "$4" "$5")" "$(echo "$6 $3" | awk '{ printf "%.2f", $1 * $2 / 1e6 }')" "$(fixed 2 "$8")" "$(fixed 2 "$9")"
}

# 1,000 streams of 200 events, one every 50 ms; measured for as long as one stream takes, so that each is seen at
# each length of its text.
part_streams() {
    rounds=3 seconds=10
    [ -z "$SHORT" ] || { rounds=1 seconds=3; }
    path=/tokens/200/sse-interval/50
    start_anyllm $path
    : >"$TMP/loads"
    for round in $(seq $rounds); do
        for target in $(rotated "$round" nginx anyllm); do
            events_load paced "$target" 1000 $path "$round" --seconds $seconds --ramp 1000
        done
    done
    events_rows paced '1,000 streams of 20 events/s' 1000
    stop_anyllm
}

# The same on one core as fast as it comes: 64 callers, answers of 200 events without a pause.
part_burst() {
    rounds=4 seconds=2
    [ -z "$SHORT" ] || { rounds=2 seconds=1; }
    path=/tokens/200
    start_anyllm $path
    : >"$TMP/loads"
    for round in $(seq $rounds); do
        for target in $(rotated "$round" nginx anyllm); do
            events_load burst "$target" 64 $path "$round" --seconds $seconds --ramp 100
        done
    done
    events_rows burst 'bursts of 200 events, 64 streams' 64
    stop_anyllm
}

# ---- idle streams ----

# Each stream takes a descriptor for its caller and one for its upstream.
part_idle() {
    streams=10000
    [ "$(ulimit -n)" -ge 20200 ] || streams=$((($(ulimit -n) - 200) / 2))
    [ -z "$SHORT" ] || streams=$((streams / 10))
    start_anyllm /stall/e3
    sleep 0.5
    before=$(memory "$ANYLLM_PID" Rss)
    get "http://127.0.0.1:$MOCK_PORT/_reset" - '' >/dev/null
    start holder '^open ' pin 1 "$BUILD/bench/bench_streams" --hold --ramp 5000 "$BASE/run/fal-ai/any-llm/stream" "$KEY" \
        "$TMP/fal.json" $streams
    holder=$PID
    sleep 1
    open=$(stat_of open)
    held=$(memory "$ANYLLM_PID" Rss)
    [ "$open" = $streams ] || echo "- Only $open of $streams idle streams came up." >>"$TMP/invalid"
    stop "$holder"
    for _ in $(seq 100); do
        [ "$(stat_of open)" != 0 ] || break
        sleep 0.05
    done
    each=$(echo "$held $before $open" | awk '{ printf "%.1f", ($1 - $2) * 1024 / $3 }')
    row "resident memory with $open idle streams, their upstream calls included" "$((streams / 100)) MB" "$held MB" \
        "$each KB a stream; before them $before; upstream calls open 5 s after the callers left: $(stat_of open)" under $((streams / 100))
    stop_anyllm
}
