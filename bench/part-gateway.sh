# The direct call against nginx: requests per second, CPU, added latency.
# shellcheck shell=sh

# One wrk run: load TARGET CONNECTIONS SECONDS ROUND BODY URL KEY PID. A valid round becomes a line in loads:
# (round 0 warms up and leaves none): target connections round requests/s p50_ms p99_ms cpu_us_per_request cpu_share
load() {
    before=$(ticks "$8")
    result=$(export BENCH_BODY="$TMP/$5.json" BENCH_KEY="$7"
        pin 1 wrk -t1 -c"$2" -d"$3"s --timeout 30s -s "$BENCH/call.lua" "$6" 2>&1) || die "wrk: $result"
    ticks=$(($(ticks "$8") - before))
    result=$(printf '%s\n' "$result" | sed -n 's/^RESULT //p')
    # shellcheck disable=SC2086
    set -- "$1" "$2" "$4" $result
    [ "$3" != 0 ] || return 0 # warming up
    if [ "${6:-1}" != 0 ] || [ "${4:-0}" = 0 ]; then
        echo "- $1 at $2 connections, round $3: ${6:-?} errors or answers but 2xx in ${4:-?} requests" >>"$TMP/invalid"
        say "bench: invalid round: $1, $2 connections: ${6:-?} errors in ${4:-?} requests"
        return 0
    fi
    echo "$1 $2 $3 $4 $5 $7 $8 $ticks $HERTZ" | awk '{
        print $1, $2, $3, $4 / $5, $6, $7, $8 / $9 / $4 * 1e6, $8 / $9 / $5 }' >>"$TMP/loads"
}

load_target() { # load_target TARGET CONNECTIONS SECONDS ROUND
    case $1 in
    nginx) load "$@" openai "http://127.0.0.1:$NGINX_PORT/v1/chat/completions" '' "$NGINX" ;;
    direct) load "$@" openai "http://127.0.0.1:$MOCK_PORT/v1/chat/completions" '' "$MOCK_PID" ;;
    anyllm) load "$@" fal "$BASE/run/fal-ai/any-llm" "$KEY" "$ANYLLM_PID" ;;
    esac
}

# rotated ROUND WORD...: the words, beginning with another one each round
rotated() {
    turns=$1
    shift
    for _ in $(seq $((turns % $#))); do
        first=$1
        shift
        set -- "$@" "$first"
    done
    echo "$@"
}

# column TARGET CONNECTIONS FIELD: its numbers, one per valid round
column() { awk -v t="$1" -v c="$2" -v f="$3" '$1 == t && $2 == c { print $f }' "$TMP/loads"; }

# paired CONNECTIONS FIELD A B OPERATOR: A (operator) B within each round
paired() {
    awk -v c="$1" -v f="$2" -v a="$3" -v b="$4" -v op="$5" '$2 == c { v[$1, $3] = $f; rounds[$3] }
        END { for (r in rounds) if (((a, r) in v) && ((b, r) in v))
            print op == "/" ? v[a, r] / v[b, r] : v[a, r] - v[b, r] }' "$TMP/loads"
}

ratio_row() { # ratio_row CONNECTIONS GOAL
    # shellcheck disable=SC2046
    set -- "$1" "$2" $(paired "$1" 4 anyllm nginx / | spread)
    row "direct call, requests/s against nginx, $1 connection$([ "$1" = 1 ] || echo s)" "$2" \
        "$(fixed 2 "$3")" "$(fixed 2 "$4" "$5")" over "$2"
    [ "$1" != 64 ] || echo "$3" >"$TMP/ratio64"
}

latency_row() { # latency_row NAME FIELD LIMIT
    # shellcheck disable=SC2046
    set -- "$@" $(paired 1 "$2" anyllm direct - | spread) $(paired 1 "$2" nginx direct - | spread)
    row "added latency at 1 connection, $1" "< $3 ms" "$(fixed 3 "$4") ms" "$(fixed 3 "$5" "$6"); nginx $(fixed 3 "$7")" \
        under "$3"
}

part_gateway() {
    counts='1 64 1000' rounds=5 seconds=3
    [ -z "$SHORT" ] || { counts='1 64' rounds=3 seconds=1; }
    start_anyllm ''
    for target in nginx anyllm direct; do load_target $target 64 1 0; done
    : >"$TMP/loads"
    for connections in $counts; do
        for round in $(seq $rounds); do
            for target in $(rotated "$round" nginx anyllm direct); do
                load_target "$target" "$connections" $seconds "$round"
            done
        done
    done
    goal=1.0
    for connections in $counts; do
        ratio_row "$connections" $goal
        goal=1.2
    done
    latency_row p50 5 0.1
    latency_row p99 6 1
    # shellcheck disable=SC2046
    set -- $(paired 64 7 nginx anyllm / | spread)
    row "direct call, requests per CPU second against nginx, 64 connections" 1.2 "$(fixed 2 "$1")" \
        "$(fixed 2 "$2" "$3")" over 1.2
    echo "After these rounds anyllm held $(memory "$ANYLLM_PID" Rss) MB, nginx's worker $(memory "$NGINX" Rss) MB." >"$TMP/gateway_memory"
    stop_anyllm
    for connections in $counts; do
        for target in nginx anyllm direct; do load_lines $target "$connections" >>"$TMP/detail"; done
    done
}

load_lines() { # load_lines TARGET CONNECTIONS: a line of the second table
    # shellcheck disable=SC2046
    set -- "$1" "$2" $(column "$1" "$2" 4 | spread) $(column "$1" "$2" 7 | spread) $(column "$1" "$2" 8 | spread) \
        $(column "$1" "$2" 5 | spread) $(column "$1" "$2" 6 | spread)
    printf '| %s | %s | %s (%s) | %s | %s | %s | %s |\n' "$2" "$1" "$(fixed 0 "$3")" "$(fixed 0 "$4" "$5")" \
        "$(fixed 1 "$6")" "$(fixed 2 "$9")" "$(fixed 3 "${12}")" "$(fixed 3 "${15}")"
}

