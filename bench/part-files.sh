# Files against nginx's WebDAV PUT and static GET, webhooks to a fast receiver, realtime sockets against the direct call.
# shellcheck shell=sh

# One transfer: moved TARGET DIRECTION ROUND MEGABYTES_PER_S, into loads as the other parts have it.
moved() { [ "${4:-0}" = 0 ] || echo "$1 $2 $3 $4" >>"$TMP/loads"; }

put_files() { # put_files TARGET ROUND SECONDS BYTES CONNECTIONS
    case $1 in
    nginx) set -- "$1" "$2" "$3" "$4" "$5" PUT "http://127.0.0.1:$NGINX_PORT/dav/$2-%" ;;
    *) set -- "$1" "$2" "$3" "$4" "$5" POST "$BASE/cdn/files/upload" ;;
    esac
    result=$(pin 1 "$BUILD/bench/bench_transfer" "$6" "$7" "$KEY" "$4" "$5" "$3" 2>>"$TMP/transfer.log") || {
        echo "- upload to $1, round $2: $(tail -n 1 "$TMP/transfer.log")" >>"$TMP/invalid"
        return 0
    }
    moved "$1" "put$4" "$2" "${result#* }"
    [ "$1" != nginx ] || find "$TMP/nginx/dav" -type f -delete
}

get_files() { # get_files TARGET URL ROUND SECONDS NAME
    result=$(pin 1 wrk -t1 -c4 -d"$4"s --timeout 30s "$2" 2>&1)
    case $result in *'Non-2xx'* | *'Socket errors'*)
        echo "- download from $1, round $3: $(echo "$result" | tail -n 3 | tr '\n' ' ')" >>"$TMP/invalid"
        return 0 ;;
    esac
    moved "$1" "get$5" "$3" "$(echo "$result" | awk '/^Transfer\/sec/ { n = $2 + 0; u = $2
        print u ~ /GB/ ? n * 1000 : u ~ /MB/ ? n : u ~ /KB/ ? n / 1000 : n / 1e6 }')"
}

file_row() { # file_row FIGURE WHAT UNIT_TEXT
    # shellcheck disable=SC2046
    set -- "$1" "$2" $(paired "$2" 4 anyllm nginx / | spread) $(column anyllm "$2" 4 | spread)
    row "$1" '' "$(fixed 2 "$3")" "$(fixed 2 "$4" "$5"); $(fixed 0 "$6") MB/s"
}

part_files() {
    rounds=3 seconds=4
    [ -z "$SHORT" ] || { rounds=1 seconds=1; }
    : >"$TMP/loads"
    mkdir -p "$TMP/nginx/dav"
    start_anyllm ''
    head -c 10000000 /dev/urandom >"$TMP/nginx/dav/large"
    head -c 10000 /dev/urandom >"$TMP/nginx/dav/small"
    for size in large small; do
        url=$(curl -sf -H "Authorization: $KEY" -H 'Content-Type: application/octet-stream' \
            --data-binary "@$TMP/nginx/dav/$size" "$BASE/cdn/files/upload" | sed -n 's/.*"access_url":"\([^"]*\)".*/\1/p')
        eval "$size=\$url"
        cp "$TMP/nginx/dav/$size" "$TMP/nginx/$size"
    done
    for round in $(seq $rounds); do
        for target in $(rotated "$round" nginx anyllm); do
            put_files "$target" "$round" $seconds 10000000 4
            put_files "$target" "$round" $seconds 10000 16
        done
        cp "$TMP/nginx/large" "$TMP/nginx/small" "$TMP/nginx/dav/"
        for target in $(rotated "$round" nginx anyllm); do
            for size in large small; do
                eval "url=\$$size"
                [ "$target" = anyllm ] || url=http://127.0.0.1:$NGINX_PORT/dav/$size
                get_files "$target" "$url" "$round" $seconds $size
            done
        done
    done
    file_row "upload of 10 MB files, 4 at once, MB/s against nginx's WebDAV PUT" put10000000
    file_row 'upload of 10 KB files, 16 at once, the same' put10000
    file_row "download of a 10 MB file, 4 at once, MB/s against nginx's static GET" getlarge
    file_row 'download of a 10 KB file, 4 at once, the same' getsmall
    stop_anyllm
    part_upload_memory
}

# The most that was resident, over what it was before.
part_upload_memory() {
    start_anyllm ''
    idle=$(awk '/^VmRSS/ { print $2 }' "/proc/$ANYLLM_PID/status")
    seconds=5
    [ -z "$SHORT" ] || seconds=2
    (pin 1 "$BUILD/bench/bench_transfer" POST "$BASE/cdn/files/upload" "$KEY" 20000000 100 $seconds) >/dev/null ||
        echo '- 100 uploads at once: some failed' >>"$TMP/invalid"
    most=$(awk '/^VmHWM/ { print $2 }' "/proc/$ANYLLM_PID/status")
    stop_anyllm
    start_anyllm ''
    one=$(awk '/^VmRSS/ { print $2 }' "/proc/$ANYLLM_PID/status")
    big=2000000000
    [ -z "$SHORT" ] || big=200000000
    (pin 1 "$BUILD/bench/bench_transfer" POST "$BASE/cdn/files/upload" "$KEY" $big 1 1) >/dev/null ||
        echo '- the upload of 2 GB failed' >>"$TMP/invalid"
    grown=$(awk -v b="$one" '/^VmHWM/ { printf "%.1f", ($2 - b) / 1024 }' "/proc/$ANYLLM_PID/status")
    row 'memory that one upload of 2 GB adds' '< 8 MB' "$grown MB" "from $((one / 1024)) MB" under 8
    row 'memory while 100 uploads run' '' "$((most / 1024)) MB" "from $((idle / 1024)) MB"
    stop_anyllm
}

part_webhooks() {
    rounds=3 calls=4000
    [ -z "$SHORT" ] || { rounds=1 calls=500; }
    : >"$TMP/hooks"
    for round in $(seq $rounds); do
        anyllm_config ''
        echo 'webhook_allow: [127.0.0.0/8]' >>"$TMP/anyllm.yaml"
        launch_anyllm
        : >"$TMP/nginx/hooks.log"
        begin=$(date +%s%N)
        (pin 1 "$BUILD/bench/bench_submits" "$BASE/queue/fal-ai/any-llm?fal_webhook=http://127.0.0.1:$NGINX_PORT/hook" \
            "$KEY" "$(cat "$TMP/fal.json")" 64 "$calls" >/dev/null) || echo "- webhooks, round $round: a submit failed" >>"$TMP/invalid"
        for _ in $(seq 1200); do
            [ "$(wc -l <"$TMP/nginx/hooks.log")" -lt "$calls" ] || break
            sleep 0.05
        done
        got=$(wc -l <"$TMP/nginx/hooks.log")
        took=$((($(date +%s%N) - begin) / 1000000))
        [ "$got" -ge "$calls" ] || echo "- webhooks, round $round: only $got of $calls came within 60 s" >>"$TMP/invalid"
        echo "$((got * 1000 / took))" >>"$TMP/hooks"
        stop_anyllm
    done
    # shellcheck disable=SC2046
    set -- $(spread <"$TMP/hooks")
    row 'webhooks: submitted, run, signed and delivered per second' '' "$(fixed 0 "$1")" "$(fixed 0 "$2" "$3")"
}

part_realtime() {
    rounds=3 seconds=3
    [ -z "$SHORT" ] || { rounds=1 seconds=1; }
    : >"$TMP/loads"
    start_anyllm ''
    printf '{"prompt":"hello","model":"openai/gpt-4o-mini"}' >"$TMP/hello.json"
    for connections in 1 64; do
        for round in $(seq $rounds); do
            for target in $(rotated "$round" socket call); do
                case $target in
                call) load call $connections $seconds "$round" hello "$BASE/run/fal-ai/any-llm" "$KEY" "$ANYLLM_PID" ;;
                socket)
                    result=$(pin 1 "$BUILD/bench/bench_socket" "$BASE/run/fal-ai/any-llm/realtime" "$KEY" \
                        "$(cat "$TMP/hello.json")" $connections $seconds 2>>"$TMP/transfer.log") ||
                        echo "- realtime, round $round: $(tail -n 1 "$TMP/transfer.log")" >>"$TMP/invalid"
                    moved socket $connections "$round" "$result" ;;
                esac
            done
        done
        # shellcheck disable=SC2046
        set -- "$connections" $(column socket $connections 4 | spread) $(paired $connections 4 socket call / | spread)
        row "realtime round trips/s, $1 socket$([ "$1" = 1 ] || echo s)" '' "$(fixed 0 "$2")" \
            "$(fixed 0 "$3" "$4"); $(fixed 2 "$5") of the direct call's"
    done
    stop_anyllm
}
