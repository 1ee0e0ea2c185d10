#!/bin/sh
# Measures anyllm against nginx and against what this machine can do, and writes bench/RESULTS.md.
#
#   bench/run.sh [BUILD] [--short] [--only PART]
#
#   BUILD        the build folder (build)
#   --short      a quick look, under a minute, without the local engine; writes nothing
#   --only PART  gateway stream submit queue start memory size tokens; writes nothing
#
# The gateway runs on CPU 0, the mock upstream and the load on CPU 1, in interleaved rounds whose order rotates;
# figures are medians over rounds, ratios are taken within a round. A round with any error or any answer but 2xx
# is invalid, is left out and is reported. Ends with 1 when the ratio to nginx at 64 connections is under 1.2,
# or 20 % below the last committed one; with 2 when something is missing.
set -eu
ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
BENCH=$ROOT/bench
BUILD=$ROOT/build SHORT='' ONLY=''
while [ $# -gt 0 ]; do
    case $1 in
    --short) SHORT=1 ;;
    --only) ONLY=${2:?--only wants a part}; shift ;;
    -*) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 2 ;;
    *) BUILD=$(CDPATH='' cd -- "$1" && pwd) ;;
    esac
    shift
done

say() { printf '%s\n' "$*" >&2; }
die() { say "bench: $*"; exit 2; }

for tool in nginx wrk; do
    command -v $tool >/dev/null || PATH=$PATH:/usr/sbin:/sbin
    command -v $tool >/dev/null || die "$tool is missing; scripts/deps.sh bench installs it"
done
for name in $(env | sed -n 's/^\(\(FAL\|OPENROUTER\|ANYLLM\)_[A-Z0-9_]*\)=.*/\1/p'); do unset "$name"; done
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
ANYLLM=${BENCH_ANYLLM:-$BUILD/anyllm}
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/anyllm
MOCK=$BUILD/test/mock/mockllm
[ -x "$MOCK" ] || MOCK=$BUILD/bench/mockllm
[ -x "$MOCK" ] && [ -x "$BUILD/bench/bench_ttfb" ] || die "nothing is built in $BUILD; make build builds it"
[ -x "$ANYLLM" ] || die "there is no $ANYLLM; make build builds it"

# On the disk that holds the build folder: a temporary folder is often in memory, and a queue there is not durable.
TMP=$(mktemp -d "$BUILD/bench-run.XXXXXX")
PIDS='' INVALID=0
stop_all() {
    for pid in $PIDS; do kill "$pid" 2>/dev/null || :; done
    for pid in $PIDS; do wait "$pid" 2>/dev/null || :; done
    PIDS=''
}
trap 'stop_all; rm -rf "$TMP"' EXIT
trap 'exit 130' INT TERM

# ---- small tools ----

CPUS=$(nproc)
pin() { # pin CPU COMMAND...: as far as there are CPUs
    cpu=$1
    shift
    if [ "$CPUS" -gt 1 ] && command -v taskset >/dev/null; then exec taskset -c "$cpu" "$@"; else exec "$@"; fi
}

# start NAME LINE COMMAND...: runs it in the background and waits until its output holds LINE (if any); its id
# is then in $PID.
start() {
    name=$1 line=$2
    shift 2
    "$@" >"$TMP/$name.log" 2>&1 &
    PID=$!
    PIDS="$PIDS $PID"
    [ -n "$line" ] || return 0
    for _ in $(seq 1000); do
        grep -q "$line" "$TMP/$name.log" 2>/dev/null && return 0
        kill -0 $PID 2>/dev/null || break
        sleep 0.02
    done
    say "bench: $name did not start; it said:"
    tail -n 20 "$TMP/$name.log" >&2
    exit 2
}

stop() { # stop PID: and wait for its end
    kill "$1" 2>/dev/null || :
    wait "$1" 2>/dev/null || :
    PIDS=$(echo "$PIDS" | sed "s/ $1\b//")
}

get() { "$BUILD/bench/bench_get" "$@"; }
probe() { program=$1; shift; "$BUILD/bench/bench_$program" "$@"; }
ticks() { awk '{ sub(/^.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"; }
stat_of() { get "http://127.0.0.1:$MOCK_PORT/_stats" | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"; }
HERTZ=$(getconf CLK_TCK)

# spread < numbers: "median least most", or "- - -"
spread() {
    sort -g | awk '{ v[NR] = $1 } END { if (!NR) { print "- - -"; exit }
        m = NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2; print m, v[1], v[NR] }'
}
# fixed DIGITS NUMBER [NUMBER]: rounded; two are a range
fixed() {
    case $2 in -) printf - ;; *) printf "%.$1f" "$2" ;; esac
    [ $# -lt 3 ] || printf ' – %s' "$(fixed "$1" "$3")"
}

# row FIGURE GOAL REACHED RANGE [BETTER LIMIT]: a line of the table; BETTER is over or under.
row() {
    verdict=''
    [ $# -lt 6 ] || [ "$3" = - ] || verdict=$(awk -v x="${3%% *}" -v better="$5" -v limit="$6" 'BEGIN {
        print (better == "over" ? x + 0 >= limit : x + 0 <= limit) ? "yes" : "no" }')
    printf '| %s | %s | %s | %s | %s |\n' "$1" "$2" "$3" "$4" "$verdict" >>"$TMP/table"
    say "$1: $3 ($4) goal $2 $verdict"
}

wanted() { [ -z "$ONLY" ] || [ "$ONLY" = "$1" ]; }

# ---- what is started ----

text_of() { # text_of BYTES: words without anything JSON would escape
    yes 'What is the meaning of life, and who asked the question first of all? ' | tr -d '\n' | head -c "$1"
}

prepare() {
    # Both requests are 937 bytes.
    printf '{"model":"openai/gpt-4o-mini","prompt":"%s","temperature":0.7}' "$(text_of 875)" >"$TMP/fal.json"
    printf '{"model":"openai/gpt-4o-mini","messages":[{"role":"user","content":"%s"}],"temperature":0.7}' \
        "$(text_of 844)" >"$TMP/openai.json"
    sed 's/,"temperature":0.7}/,"stream":true}/' "$TMP/openai.json" >"$TMP/openai-stream.json"
    {
        echo 'keys:'
        seq 1000 | awk '{ printf "  - { id: app%d, secret: secret-%08d-of-the-bench }\n", $1, $1 * 7919 }'
    } >"$TMP/keys.yaml"
    KEY="Key app500:$(printf 'secret-%08d-of-the-bench' $((500 * 7919)))"
    MOCK_CPU=1
    [ "$CPUS" -le 2 ] || MOCK_CPU=2
    start mock '^listening on ' pin $MOCK_CPU "$MOCK" --port 0
    MOCK_PID=$PID
    MOCK_PORT=$(sed -n 's/^listening on //p' "$TMP/mock.log")
}

free_port() { # asks the kernel for one
    : >"$TMP/port"
    "$MOCK" --port 0 >"$TMP/port" &
    asked=$!
    until grep -q '^listening on ' "$TMP/port"; do sleep 0.02; done
    kill $asked
    wait $asked || :
    sed -n 's/^listening on //p' "$TMP/port"
}

start_nginx() {
    NGINX_PORT=$(free_port)
    user=''
    [ "$(id -u)" != 0 ] || user='user root;'
    mkdir -p "$TMP/nginx"
    cat >"$TMP/nginx/conf" <<NGINX
$user
worker_processes 1;
worker_rlimit_nofile 65536;
pid $TMP/nginx/pid;
error_log $TMP/nginx/error.log crit;
events { worker_connections 30000; }
http {
    access_log off;
    client_body_temp_path $TMP/nginx; proxy_temp_path $TMP/nginx; fastcgi_temp_path $TMP/nginx;
    uwsgi_temp_path $TMP/nginx; scgi_temp_path $TMP/nginx;
    keepalive_requests 100000000;
    upstream mock { server 127.0.0.1:$MOCK_PORT; keepalive 1024; keepalive_requests 100000000; }
    server {
        listen 127.0.0.1:$NGINX_PORT backlog=4096;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        location / { proxy_pass http://mock; proxy_buffering off; }
        location /v1/ { proxy_pass http://mock; }
    }
}
NGINX
    start nginx '' pin 0 nginx -p "$TMP/nginx" -e "$TMP/nginx/error.log" -c "$TMP/nginx/conf" -g 'daemon off;'
    NGINX_MASTER=$PID
    for _ in $(seq 200); do
        NGINX=$(pgrep -P "$NGINX_MASTER" || :)
        if [ -n "$NGINX" ] && get "http://127.0.0.1:$NGINX_PORT/v1/models" >/dev/null 2>&1; then return 0; fi
        sleep 0.02
    done
    die "nginx did not start: $(cat "$TMP/nginx.log" "$TMP/nginx/error.log" 2>/dev/null)"
}

# anyllm_config PREFIX: an upstream on the mock under that prefix, 1,000 keys.
anyllm_config() {
    {
        cat "$TMP/keys.yaml"
        echo 'upstreams:'
        echo "  mock: { kind: openai, base_url: http://127.0.0.1:$MOCK_PORT$1/v1, key: sk-bench, concurrency: 20000 }"
        echo 'routes:'
        echo '  - { model: "*", to: [mock] }'
        echo 'max_connections: 20000'
    } >"$TMP/anyllm.yaml"
    chmod 600 "$TMP/anyllm.yaml"
}

# start_anyllm PREFIX: with a data folder of its own; sets ANYLLM_PID and BASE.
start_anyllm() {
    anyllm_config "$1"
    DATA=$(mktemp -d "$TMP/data.XXXXXX")
    start anyllm 'listening on ' pin 0 "$ANYLLM" serve --config "$TMP/anyllm.yaml" \
        --listen 127.0.0.1:0 --data "$DATA" --log-level warn
    ANYLLM_PID=$PID
    BASE=$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' "$TMP/anyllm.log" | head -n 1)
    wait_ready 500
}

wait_ready() { # wait_ready FIFTIETHS_OF_A_SECOND
    for _ in $(seq "$1"); do
        get "$BASE/readyz" >/dev/null 2>&1 && return 0
        sleep 0.02
    done
    die "anyllm is not ready: $(get "$BASE/readyz" 2>&1 | head -c 300; tail -n 5 "$TMP/anyllm.log")"
}

stop_anyllm() {
    stop "$ANYLLM_PID"
    rm -rf "$DATA"
}

# ---- the gateway against nginx ----

# One wrk run: load TARGET CONNECTIONS SECONDS ROUND BODY URL KEY PID. A valid round becomes a line in loads:
# target connections round requests/s p50_ms p99_ms cpu_us_per_request cpu_share
load() {
    before=$(ticks "$8")
    result=$(export BENCH_BODY="$TMP/$5.json" BENCH_KEY="$7"
        pin 1 wrk -t1 -c"$2" -d"$3"s --timeout 30s -s "$BENCH/call.lua" "$6" 2>&1) || die "wrk: $result"
    ticks=$(($(ticks "$8") - before))
    result=$(printf '%s\n' "$result" | sed -n 's/^RESULT //p')
    # shellcheck disable=SC2086
    set -- "$1" "$2" "$4" $result
    if [ "${6:-1}" != 0 ] || [ "${4:-0}" = 0 ]; then
        INVALID=$((INVALID + 1))
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
    [ "$1" != 64 ] || RATIO64=$3
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
    start_nginx
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
    GATEWAY_MEMORY="After these rounds anyllm held $(memory "$ANYLLM_PID" Rss) MB, nginx's worker $(memory "$NGINX" Rss) MB."
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

# ---- streams ----

first_text() { # first_text TARGET N: "p50 p99 ..." in ms
    path=/sse-interval/1/tokens/3/v1/chat/completions
    case $1 in
    direct) pin 1 "$BUILD/bench/bench_ttfb" "http://127.0.0.1:$MOCK_PORT$path" - "$(cat "$TMP/openai-stream.json")" The "$2" ;;
    nginx) pin 1 "$BUILD/bench/bench_ttfb" "http://127.0.0.1:$NGINX_PORT$path" - "$(cat "$TMP/openai-stream.json")" The "$2" ;;
    anyllm) pin 1 "$BUILD/bench/bench_ttfb" "$BASE/run/fal-ai/any-llm/stream" "$KEY" "$(cat "$TMP/fal.json")" The "$2" ;;
    esac
}

part_first_text() {
    rounds=5 calls=300
    [ -z "$SHORT" ] || { rounds=3 calls=60; }
    start_anyllm /sse-interval/1/tokens/3
    : >"$TMP/loads"
    for round in $(seq $rounds); do
        for target in $(rotated "$round" nginx anyllm direct); do
            result=$( (first_text "$target" $calls)) || die "no first text from $target"
            echo "$target 1 $round $result" >>"$TMP/loads"
        done
    done
    # shellcheck disable=SC2046
    set -- $(paired 1 4 anyllm direct - | spread) $(paired 1 4 nginx direct - | spread)
    row 'time to the first streamed text over going direct, p50' '< 1 ms' "$(fixed 3 "$1") ms" \
        "$(fixed 3 "$2" "$3"); nginx $(fixed 3 "$4")" under 1
    stop_anyllm
}

events_load() { # events_load TARGET SECONDS ROUND: adds "target streams round events/s cpu_us_per_event"
    path=/tokens/200/sse-interval/20/v1/chat/completions
    events=$(stat_of events)
    : >"$TMP/one"
    mv "$TMP/loads" "$TMP/kept"
    case $1 in
    nginx) load nginx 256 "$2" "$3" openai-stream "http://127.0.0.1:$NGINX_PORT$path" '' "$NGINX" ;;
    anyllm) load anyllm 256 "$2" "$3" fal "$BASE/run/fal-ai/any-llm/stream" "$KEY" "$ANYLLM_PID" ;;
    esac
    events=$(($(stat_of events) - events))
    [ ! -s "$TMP/loads" ] || awk -v n=$events '{ s = $8 / $7; print $1, $2, $3, n, $8 }' "$TMP/loads" >"$TMP/one"
    awk -v n=$events -v s="$2" '{ print $1, $2, $3, n / s, $5 * s / n * 1e6 }' "$TMP/one" >>"$TMP/kept"
    mv "$TMP/kept" "$TMP/loads"
}

part_events() {
    start_anyllm /tokens/200/sse-interval/20
    : >"$TMP/loads"
    for round in 1 2 3; do
        for target in $(rotated "$round" nginx anyllm); do events_load "$target" 6 "$round"; done
    done
    # shellcheck disable=SC2046
    set -- $(paired 256 5 anyllm nginx / | spread) $(column anyllm 256 5 | spread)
    row 'CPU per event with rewriting against nginx without, 256 streams of 50 events/s' 0.9 "$(fixed 2 "$1")" \
        "$(fixed 2 "$2" "$3"); $(fixed 1 "$4") µs" under 0.9
    stop_anyllm
}

part_idle_streams() {
    streams=10000
    [ "$(ulimit -n)" -gt 25000 ] || streams=$((($(ulimit -n) - 1000) / 3))
    start_anyllm /stall/e3
    get "http://127.0.0.1:$MOCK_PORT/_reset" - '' >/dev/null
    (export BENCH_BODY="$TMP/fal.json" BENCH_KEY="$KEY"
        pin 1 wrk -t1 -c$streams -d14s --timeout 60s -s "$BENCH/call.lua" "$BASE/run/fal-ai/any-llm/stream") \
        >"$TMP/wrk.log" 2>&1 &
    load_pid=$!
    for _ in $(seq 120); do
        [ "$(stat_of open)" -lt $streams ] || break
        sleep 0.1
    done
    sleep 0.5
    open=$(stat_of open)
    held=$(memory "$ANYLLM_PID" Rss)
    wait $load_pid || :
    for _ in $(seq 100); do
        [ "$(stat_of open)" != 0 ] || break
        sleep 0.05
    done
    row "resident memory with $open idle streams" "$((100 * streams / 10000)) MB" "$held MB" \
        "upstream calls still open 5 s after the callers left: $(stat_of open)" under $((100 * streams / 10000))
    [ "$open" = $streams ] || echo "- Only $open of $streams idle streams came up." >>"$TMP/invalid"
    stop_anyllm
}

part_stream() {
    [ -n "${NGINX:-}" ] || start_nginx
    part_first_text
    [ -z "$SHORT" ] || return 0
    part_events
    part_idle_streams
}

# ---- the queue ----

part_submit() {
    rounds=3 seconds=3
    [ -z "$SHORT" ] || { rounds=1 seconds=1; }
    : >"$TMP/loads"
    for round in $(seq $rounds); do
        start_anyllm ''
        disk=$(probe fsync_rate "$DATA" 2)
        get "http://127.0.0.1:$MOCK_PORT/_reset" - '' >/dev/null
        begin=$(date +%s%N)
        load submit 64 $seconds "$round" fal "$BASE/queue/fal-ai/any-llm" "$KEY" "$ANYLLM_PID"
        accepted=$(awk -v r="$round" -v s=$seconds '$1 == "submit" && $3 == r { printf "%d", $4 * s }' "$TMP/loads")
        for _ in $(seq 600); do
            [ "$(stat_of calls)" -lt "${accepted:-0}" ] || break
            sleep 0.05
        done
        took=$((($(date +%s%N) - begin) / 1000000))
        echo "disk 64 $round $disk" >>"$TMP/loads"
        echo "cycles 64 $round $(($(stat_of calls) * 1000 / took))" >>"$TMP/loads"
        [ "$(stat_of calls)" -ge "${accepted:-0}" ] ||
            echo "- Of $accepted accepted requests only $(stat_of calls) had reached the upstream 30 s later." >>"$TMP/invalid"
        stop_anyllm
    done
    # shellcheck disable=SC2046
    set -- $(paired 64 4 submit disk / | spread) $(column submit 64 4 | spread) $(column disk 64 4 | spread)
    row "durable submits/s at 64 clients against this disk's fdatasync rate" 1 "$(fixed 2 "$1")" \
        "$(fixed 2 "$2" "$3"); $(fixed 0 "$4")/s on a disk of $(fixed 0 "$7")/s" over 1
    # shellcheck disable=SC2046
    set -- $(column cycles 64 4 | spread)
    row 'queue: submitted, run and finished per second, 64 clients' '' "$(fixed 0 "$1")" "$(fixed 0 "$2" "$3")"
}

part_queue() {
    calls=300
    [ -z "$SHORT" ] || calls=50
    start_anyllm ''
    # shellcheck disable=SC2046
    set -- $(probe queued "$BASE/queue/fal-ai/any-llm" "$KEY" "$(cat "$TMP/fal.json")" $calls || die 'the queue does not answer')
    row 'submit, worker, result without the model, p50' '< 5 ms' "$(fixed 2 "$1") ms" "least $(fixed 2 "$3"), p99 $(fixed 2 "$2")" \
        under 5
    stop_anyllm
}

# ---- the process ----

memory() { # memory PID Rss|Private|Shared: MB, one decimal
    awk -v what="$2" '$1 ~ "^" what { kb += $2 } END { printf "%.1f", kb / 1024 }' "/proc/$1/smaps_rollup"
}

part_start() {
    runs=20
    [ -z "$SHORT" ] || runs=5
    anyllm_config ''
    for i in $(seq $runs); do
        probe start 1 "$ANYLLM" serve --config "$TMP/anyllm.yaml" --listen 127.0.0.1:0 --data "$TMP/fresh$i" ||
            die 'anyllm does not start'
    done | awk '{ print $1 }' >"$TMP/fresh"
    # shellcheck disable=SC2046
    set -- $(probe start $runs "$ANYLLM" serve --config "$TMP/anyllm.yaml" --listen 127.0.0.1:0 --data "$TMP/fresh1") \
        $(spread <"$TMP/fresh")
    row 'start to ready, no local model' '50 ms' "$(fixed 1 "$1") ms" "$(fixed 1 "$3" "$4"); new data folder $(fixed 1 "$6")" \
        under 50
}

part_memory() {
    start_anyllm ''
    sleep 0.5
    row 'resident memory, idle, 1,000 keys' '15 MB' "$(memory "$ANYLLM_PID" Rss) MB" \
        "private $(memory "$ANYLLM_PID" Private), shared $(memory "$ANYLLM_PID" Shared)" under 15
    stop_anyllm
}

part_size() {
    strip -o "$TMP/stripped" "$ANYLLM" || cp "$ANYLLM" "$TMP/stripped"
    built=$(stat -Lc %s "$ANYLLM") small=$(stat -c %s "$TMP/stripped")
    row 'release binary, stripped' '3 MB' "$(echo "$small" | awk '{ printf "%.2f", $1 / 1048576 }') MB" \
        "with debugging symbols $(echo "$built" | awk '{ printf "%.2f", $1 / 1048576 }')" under 3
}

# ---- the local engine ----

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
    start anyllm 'listening on ' "$ANYLLM" serve --config "$TMP/plain.yaml" --local-model "$1" --listen 127.0.0.1:0 \
        --data "$DATA"
    ANYLLM_PID=$PID
    BASE=$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' "$TMP/anyllm.log" | head -n 1)
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
    for round in $(seq $rounds); do
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

# ---- the page ----

machine() {
    echo "- $CPUS × $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(awk '/MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo) GiB"
    echo "- $( (. /etc/os-release; echo "$PRETTY_NAME")), Linux $(uname -r)"
    echo "- $(cc --version | head -n 1); $(nginx -v 2>&1 | sed 's/.*: //'); wrk $(wrk -v 2>&1 | sed -n 's/^wrk \([^ ]*\).*/\1/p')"
    echo "- load average before the run $LOAD (the figures want a machine with nothing else to do)"
    echo "- commit $COMMIT, $(date -u +%Y-%m-%d)"
}

page() {
    echo '# What anyllm reaches'
    echo
    echo 'Written by `make bench`. All figures of one run on one machine; ratios are taken within a round.'
    echo
    machine
    echo
    echo '| figure | goal | reached | range | reached? |'
    echo '|---|---|---|---|---|'
    cat "$TMP/table"
    echo
    if [ -s "$TMP/detail" ]; then
        echo '## The rounds against nginx'
        echo
        echo '| connections | target | requests/s, median (range) | CPU µs per request | of its CPU | p50 ms | p99 ms |'
        echo '|---|---|---|---|---|---|---|'
        cat "$TMP/detail"
        echo
        echo "$GATEWAY_MEMORY"
        echo
    fi
    if [ -s "$TMP/invalid" ]; then
        echo '## Invalid rounds, left out'
        echo
        cat "$TMP/invalid"
    else
        echo 'No round had an error or an answer but 2xx.'
    fi
    echo
    cat "$BENCH/how.md"
    echo
    [ -z "$RATIO64" ] || echo "<!-- bench ratio64=$(fixed 3 "$RATIO64") commit=$COMMIT -->"
}

verdict() {
    last=$(git -C "$ROOT" show HEAD:bench/RESULTS.md 2>/dev/null | sed -n 's/.*bench ratio64=\([0-9.]*\).*/\1/p' || :)
    awk -v now="$RATIO64" -v last="${last:-0}" 'BEGIN {
        if (now == "-") { print "bench: no valid round at 64 connections"; exit 1 }
        if (now < 1.2) { printf "bench: %.2f times nginx at 64 connections, under 1.2\n", now; exit 1 }
        if (now < 0.8 * last) { printf "bench: %.2f times nginx, 20 %% below the committed %.2f\n", now, last; exit 1 }
    }' >&2
}

COMMIT=$(git -C "$ROOT" rev-parse --short HEAD 2>/dev/null || echo unknown)
git -C "$ROOT" diff --quiet HEAD -- src include 2>/dev/null || COMMIT="$COMMIT with changes"
RATIO64='' GATEWAY_MEMORY='' LOAD=$(cut -d' ' -f1 /proc/loadavg)
awk -v load="$LOAD" 'BEGIN { exit load > 0.7 }' || say "bench: the load average is $LOAD: others are working, the figures will suffer"
: >"$TMP/table"
prepare
for part in gateway stream submit queue start memory size tokens; do
    [ "$part$SHORT$ONLY" != tokens1 ] || continue
    ! wanted $part || part_$part
done
page >"$TMP/page"
if [ -z "$SHORT$ONLY" ]; then
    cp "$TMP/page" "$BENCH/RESULTS.md"
    say "bench: written to bench/RESULTS.md"
else
    cat "$TMP/page"
fi
[ -z "$RATIO64" ] || verdict
