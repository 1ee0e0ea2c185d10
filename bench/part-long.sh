# A long answer as fal's protocol writes it: every event repeats the whole text. 100 KB in 2,000 events of the upstream.
# shellcheck shell=sh

LONG_TEXT=100000
LONG_ANSWER=/tokens/2000/wide/50

# long_load CASE TARGET STREAMS PACE_MS OPTION...: each stream once; adds "case.target streams round cpu_ms times seconds"
# to loads, both per answer, times being bytes on the wire against bytes of text.
long_load() {
    case=$1 target=$2 streams=$3 pace=$4
    shift 4
    case $target in
    nginx) pid=$NGINX; set -- "$@" "http://127.0.0.1:$NGINX_PORT$LONG_ANSWER/sse-interval/$pace/v1/chat/completions" - \
        "$TMP/openai-stream.json" ;;
    anyllm) pid=$ANYLLM_PID; set -- "$@" "$BASE/run/fal-ai/any-llm/stream" "$KEY" "$TMP/fal-$pace.json" ;;
    esac
    result=$(pin 1 "$BUILD/bench/bench_streams" --pid "$pid" "$@" "$streams") || die "a long answer through $target: $result"
    if [ "$(value errors "$result")" != 0 ] || [ "$(value done "$result")" != "$streams" ]; then
        echo "- A long answer ($case) through $target failed: $result" >>"$TMP/invalid"
        return 0
    fi
    # The last event of ours holds all of the text.
    [ "$target" = nginx ] || [ "$(value largest "$result")" -ge $LONG_TEXT ] || die "a long answer was not whole: $result"
    echo "$case.$target $streams 1 $(value cpu_ms "$result") $(value bytes "$result") $(value seconds "$result") \
$(value events "$result")" | awk -v text=$LONG_TEXT '{ print $1, $2, $3, $4 / $2, $5 / $2 / text, $6, $7 / $2 }' >>"$TMP/loads"
}

long_lines() { # long_lines CASE STREAMS NAME TARGET
    # shellcheck disable=SC2046
    set -- "$3" "$4" $(awk -v w="$1.$4" -v s="$2" '$1 == w && $2 == s { print $4, $5, $6, $7 }' "$TMP/loads")
    [ $# = 6 ] || return 0
    [ "$1" != "$PACE_NAME" ] || set -- "$1" "$2" - "$4" "$5" "$6"
    printf '| %s | %s | %s | %s | %s | %s |\n' "$1" "$2" "$(fixed 1 "$3")" "$(fixed 1 "$4")" "$(fixed 0 "$6")" "$(fixed 1 "$5")"
}

# One upstream for each pace, chosen by the model's name.
long_config() {
    {
        cat "$TMP/keys.yaml" "$TMP/limits.yaml"
        echo 'upstreams:'
        for pace in "$@"; do
            echo "  pace$pace: { kind: openai, base_url: http://127.0.0.1:$MOCK_PORT$LONG_ANSWER/sse-interval/$pace/v1, key: sk-bench, concurrency: 20000 }"
        done
        echo 'routes:'
        for pace in "$@"; do
            echo "  - { model: \"bench/pace$pace\", to: [pace$pace] }"
            sed "s,openai/gpt-4o-mini,bench/pace$pace," "$TMP/fal.json" >"$TMP/fal-$pace.json"
        done
    } >"$TMP/anyllm.yaml"
    chmod 600 "$TMP/anyllm.yaml"
}

# The pace of a model matters: what is joined by time alone grows with the seconds that the answer takes. The slowest
# one runs beside the others on an anyllm of its own; only its bytes are looked at.
part_long() {
    slow=20
    [ -z "$SHORT" ] || slow=10
    PACE_NAME="an event every $slow ms, fast reader, beside the others"
    : >"$TMP/loads"
    long_config $slow
    launch_anyllm
    SLOW_PID=$ANYLLM_PID
    long_load pace anyllm 1 $slow &
    watcher=$!
    long_config 0 5
    launch_anyllm
    long_load warm anyllm 2 0
    for target in nginx anyllm; do long_load burst $target 8 0; done
    for target in nginx anyllm; do long_load fast $target 4 5; done
    long_load slow anyllm 4 5 --rate 100000
    wait $watcher || die 'the slow model could not be measured'
    most=$(awk '$1 ~ /anyllm$/ && $5 > m { m = $5 } END { print m + 0 }' "$TMP/loads")
    # shellcheck disable=SC2046
    set -- $(column fast.anyllm 4 4 | spread) $(column fast.nginx 4 4 | spread) $(column slow.anyllm 4 4 | spread)
    row '100 KB answer in 2,000 events: bytes to the caller, times the answer, the worst case below' '< 20' \
        "$(fixed 1 "$most")" "nginx passes $(column fast.nginx 4 5 | spread | awk '{ printf "%.1f", $1 }')" under 20
    row '100 KB answer in 2,000 events: CPU of a fast reader, of a slow one' '' "$(fixed 1 "$1") / $(fixed 1 "$7") ms" \
        "nginx passing it to a fast one $(fixed 1 "$4")"
    {
        echo '## An answer of 100 KB in 2,000 events of the upstream'
        echo
        echo '| case | target | CPU ms per answer | bytes to the caller, times the answer | events to the caller | seconds |'
        echo '|---|---|---|---|---|---|'
        for target in nginx anyllm; do long_lines burst 8 'no pause between events, fast reader' $target; done
        for target in nginx anyllm; do long_lines fast 4 'an event every 5 ms, fast reader' $target; done
        long_lines slow 4 'an event every 5 ms, reader of 100 KB/s with a small buffer' anyllm
        long_lines pace 1 "$PACE_NAME" anyllm
    } >"$TMP/detail_long"
    stop "$SLOW_PID"
    stop_anyllm
}
