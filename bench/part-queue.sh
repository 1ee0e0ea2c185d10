# The queue: durable submits against the disk, full cycles, its latency.
# shellcheck shell=sh

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

