# The queue: durable submits against the disk, full cycles beside other queues', its latency, what it keeps.
# shellcheck shell=sh

CLIENTS='1 8 64 256'

# The requests that were accepted are run meanwhile; the next count of clients begins when all are.
submits_of_round() { # submits_of_round ROUND SECONDS
    for clients in $CLIENTS; do
        disk=$(probe fsync_rate "$DATA" 1)
        get "http://127.0.0.1:$MOCK_PORT/_reset" - '' >/dev/null
        begin=$(date +%s%N)
        load submit "$clients" "$2" "$1" fal "$BASE/queue/fal-ai/any-llm" "$KEY" "$ANYLLM_PID"
        accepted=$(awk -v r="$1" -v c="$clients" -v s="$2" '$1 == "submit" && $2 == c && $3 == r { printf "%d", $4 * s }' "$TMP/loads")
        for _ in $(seq 600); do
            [ "$(stat_of calls)" -lt "${accepted:-0}" ] || break
            sleep 0.05
        done
        took=$((($(date +%s%N) - begin) / 1000000))
        echo "disk $clients $1 $disk" >>"$TMP/loads"
        echo "cycles $clients $1 $(($(stat_of calls) * 1000 / took))" >>"$TMP/loads"
        [ "$(stat_of calls)" -ge "${accepted:-0}" ] ||
            echo "- Of $accepted accepted requests only $(stat_of calls) had reached the upstream 30 s later." >>"$TMP/invalid"
    done
}

part_submit() {
    rounds=3 seconds=2
    [ -z "$SHORT" ] || { rounds=1 seconds=1; }
    : >"$TMP/loads"
    for round in $(seq $rounds); do
        start_anyllm ''
        submits_of_round "$round" $seconds
        stop_anyllm
    done
    for clients in $CLIENTS; do
        goal='' better=''
        [ "$clients" != 64 ] || goal=1 better='over 1'
        # shellcheck disable=SC2046
        set -- $(paired "$clients" 4 submit disk / | spread) $(column submit "$clients" 4 | spread) $(column disk "$clients" 4 | spread)
        # shellcheck disable=SC2086
        row "durable submits/s at $clients clients against this disk's fdatasync rate, workers running" "$goal" "$(fixed 2 "$1")" \
            "$(fixed 2 "$2" "$3"); $(fixed 0 "$4")/s on a disk of $(fixed 0 "$7")/s" $better
    done
    # shellcheck disable=SC2046
    set -- $(column cycles 64 4 | spread)
    row 'queue: submitted, run on the mock and finished per second, 64 clients' '' "$(fixed 0 "$1")" "$(fixed 0 "$2" "$3")"
}

# Nothing runs: the one request that may start meets an upstream that never answers.
part_alone() {
    rounds=3 seconds=2
    [ -z "$SHORT" ] || { rounds=1 seconds=1; }
    : >"$TMP/loads"
    for round in $(seq $rounds); do
        start_idle_queue
        for clients in $CLIENTS; do
            echo "disk $clients $round $(probe fsync_rate "$DATA" 1)" >>"$TMP/loads"
            load submit "$clients" $seconds "$round" fal "$BASE/queue/fal-ai/any-llm" "$KEY" "$ANYLLM_PID"
        done
        kill -9 "$ANYLLM_PID"
        stop_anyllm
    done
    for clients in $CLIENTS; do
        # shellcheck disable=SC2046
        set -- $(paired "$clients" 4 submit disk / | spread) $(column submit "$clients" 4 | spread) $(column disk "$clients" 4 | spread)
        row "… and while nothing runs, $clients clients" '' "$(fixed 2 "$1")" \
            "$(fixed 2 "$2" "$3"); $(fixed 0 "$4")/s on a disk of $(fixed 0 "$7")/s"
    done
}

start_idle_queue() {
    anyllm_config /silent
    sed -i 's/concurrency: 20000/concurrency: 1/' "$TMP/anyllm.yaml"
    launch_anyllm
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

# ---- cycles beside other queues: submit, claim, complete, nothing else ----

start_beanstalkd() {
    BEANSTALK_PORT=$(free_port)
    user=''
    [ "$(id -u)" != 0 ] || user='-u root'
    mkdir -p "$TMP/beanstalkd"
    # shellcheck disable=SC2086
    start beanstalkd '' pin 0 beanstalkd -l 127.0.0.1 -p "$BEANSTALK_PORT" -b "$TMP/beanstalkd" -f 0 $user
    BEANSTALKD=$PID
    sleep 0.3
}

# A cluster of its own, which refuses to be run by root.
start_postgresql() {
    PGBIN=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)
    as=''
    [ "$(id -u)" != 0 ] || as='setpriv --reuid=postgres --regid=postgres --clear-groups'
    mkdir -p "$TMP/postgresql"
    chmod 711 "$TMP"
    if [ -n "$as" ]; then chown postgres: "$TMP/postgresql" || return 1; fi
    # shellcheck disable=SC2086
    (cd / && $as "$PGBIN/initdb" -D "$TMP/postgresql/data" -A trust -U bench >"$TMP/initdb.log" 2>&1) || return 1
    # shellcheck disable=SC2086
    start postgresql '' pin 0 $as "$PGBIN/postgres" -D "$TMP/postgresql/data" -k "$TMP/postgresql" -c listen_addresses= \
        -c max_connections=300 -c shared_buffers=256MB
    POSTGRESQL=$PID
    for _ in $(seq 100); do
        "$PGBIN/psql" -h "$TMP/postgresql" -U bench -d postgres -qc 'CREATE TABLE job(id bigserial PRIMARY KEY,
            state int NOT NULL DEFAULT 0, attempt int NOT NULL DEFAULT 0, created timestamptz NOT NULL DEFAULT now(), started timestamptz,
            ended timestamptz, input text NOT NULL, result text); CREATE INDEX ON job(id) WHERE state = 0;' 2>/dev/null && return 0
        sleep 0.1
    done
    return 1
}

cycles_postgresql() { # cycles_postgresql CLIENTS SECONDS
    text=$(text_of 160)
    taskset -c 1 "$PGBIN/pgbench" -h "$TMP/postgresql" -U bench -n -M prepared -f "$BENCH/cycle.sql" -D "input='$text'" -c "$1" \
        -j 1 -T "$2" postgres 2>"$TMP/pgbench.log" | sed -n 's/^tps = \([0-9.]*\).*/\1/p'
}

part_cycles() {
    rounds=3 seconds=2 others=''
    [ -z "$SHORT" ] || { rounds=1 seconds=1; }
    : >"$TMP/loads"
    if command -v beanstalkd >/dev/null; then start_beanstalkd; others=beanstalkd; fi
    if [ -d /usr/lib/postgresql ] && start_postgresql; then others="$others postgresql"; fi
    mkdir -p "$TMP/store"
    for round in $(seq $rounds); do
        for clients in 1 8 64; do
            echo "ours $clients $round $(pin 0 "$BUILD/bench/bench_store" "$TMP/store" $seconds "$clients")" >>"$TMP/loads"
            echo "disk $clients $round $(probe fsync_rate "$TMP/store" 1)" >>"$TMP/loads"
            case $others in *beanstalkd*)
                echo "beanstalkd $clients $round $(pin 1 "$BUILD/bench/bench_beanstalk" "$BEANSTALK_PORT" "$clients" $seconds 160)" ;;
            esac >>"$TMP/loads"
            case $others in *postgresql*)
                echo "postgresql $clients $round $(cycles_postgresql "$clients" $seconds)" ;;
            esac >>"$TMP/loads"
        done
    done
    # shellcheck disable=SC2046
    for clients in 1 8 64; do
        set -- $(column ours $clients 4 | spread) $(column disk $clients 4 | spread)
        row "the store alone: cycles/s (submit, claim, complete) with $clients under way" '' "$(fixed 0 "$1")" \
            "$(fixed 0 "$2" "$3"); the disk syncs $(fixed 0 "$4")/s"
        for other in beanstalkd postgresql; do
            case $others in *$other*) ;; *)
                row "… against $other, $clients clients" '' - 'not installed: make bench-peers'
                continue ;;
            esac
            set -- $(paired $clients 4 ours $other / | spread) $(column $other $clients 4 | spread)
            row "… against $other, $clients clients" '' "$(fixed 2 "$1")" "$(fixed 2 "$2" "$3"); it makes $(fixed 0 "$4")/s"
        done
    done
}

# ---- what is kept, and what waits ----

# kept N FILE: N requests submitted and run; their ids.
kept() {
    probe submits "$BASE/queue/fal-ai/any-llm" "$KEY" '{"prompt":"What is the meaning of life?"}' 64 "$1" "$2" >/dev/null ||
        die 'a submit was refused'
    for _ in $(seq 1200); do
        [ "$(stat_of calls)" -lt "$1" ] || return 0
        sleep 0.1
    done
    die 'the requests were not run'
}

# The submits' p99 while a backup of all that is kept is made over and over; checkpoints come by themselves.
submits_beside() { # submits_beside COMMAND...
    "$@" >"$TMP/beside.log" 2>&1 &
    beside=$!
    probe submits "$BASE/queue/fal-ai/any-llm" "$KEY" "$(cat "$TMP/fal.json")" 8 20000
    kill $beside 2>/dev/null || :
    wait $beside 2>/dev/null || :
}

backups() {
    for n in $(seq 100); do
        "$ANYLLM" backup --data "$DATA" "$TMP/backup.db" || exit 1
        rm -f "$TMP/backup.db"
        echo "$n" >"$TMP/backups"
    done
}

part_kept() {
    requests=100000
    [ -z "$SHORT" ] || requests=5000
    start_anyllm ''
    get "http://127.0.0.1:$MOCK_PORT/_reset" - '' >/dev/null
    kept $requests "$TMP/ids"
    : >"$TMP/loads"
    for clients in 1 64; do
        result=$(export BENCH_IDS="$TMP/ids" BENCH_KEY="$KEY" BENCH_PATH=/queue/fal-ai/any-llm/requests/
            pin 1 wrk -t1 -c$clients -d4s -s "$BENCH/poll.lua" "$BASE" | sed -n 's/^RESULT //p')
        # shellcheck disable=SC2086
        set -- $result
        [ "$3" = 0 ] || echo "- $3 status polls of $1 failed." >>"$TMP/invalid"
        row "status polls/s, $requests completed requests kept, $clients clients" '' "$(echo "$1 $2" | awk '{ printf "%.0f", $1 / $2 }')" \
            "p50 $(fixed 2 "$4") ms, p99 $(fixed 2 "$5") ms"
    done
    # shellcheck disable=SC2046
    set -- $(submits_beside sleep 1000)
    row 'submits at 8 clients, p99' '' "$(fixed 2 "$3") ms" "p50 $(fixed 2 "$2"), most $(fixed 1 "$4"); checkpoints in it"
    echo 0 >"$TMP/backups"
    # shellcheck disable=SC2046
    set -- $(submits_beside backups)
    row '… while backups of all that is kept are made' '' "$(fixed 2 "$3") ms" \
        "p50 $(fixed 2 "$2"), most $(fixed 1 "$4"); $(cat "$TMP/backups") whole backups of $(du -m "$DATA/anyllm.db" | cut -f 1) MB meanwhile"
    stop_anyllm
}

part_backlog() {
    requests=100000 runs=5
    [ -z "$SHORT" ] || { requests=5000 runs=2; }
    start_idle_queue
    before=$(memory "$ANYLLM_PID" Rss)
    probe submits "$BASE/queue/fal-ai/any-llm" "$KEY" "$(cat "$TMP/fal.json")" 64 $requests >/dev/null || die 'a submit was refused'
    row "resident memory, $requests requests in the queue" '' "$(memory "$ANYLLM_PID" Rss) MB" "$before before"
    kill -9 "$ANYLLM_PID"
    wait "$ANYLLM_PID" 2>/dev/null || :
    # Each run ends by SIGTERM and gives back the one that runs.
    # shellcheck disable=SC2046
    set -- $(probe start $runs "$ANYLLM" serve --config "$TMP/anyllm.yaml" --listen 127.0.0.1:0 --data "$DATA" --grace 0 --log-level warn)
    row "start to ready, $requests requests in the queue" '50 ms' "$(fixed 1 "$1") ms" "$(fixed 1 "$3" "$4")" under 50
    rm -rf "$DATA"
}
