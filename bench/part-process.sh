# The process: start, memory, size.
# shellcheck shell=sh

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

