# libfal beside fal's own clients: the same direct calls to the same server in the same run. Gateway and mock on CPU 0, the
# client alone on CPU 1. The official clients come with scripts/wire-setup.sh.
# shellcheck shell=sh

client_of() { # client_of NAME CALLS CONNECTIONS: its command line, as words
    case $1 in
    libfal) echo "$BUILD/bench/bench_client_c $2 $3" ;;
    javascript) echo "$NODE $BENCH/client.mjs $2 $3" ;;
    python) echo "$PYTHON $BENCH/client.py $2 $3" ;;
    esac
}

clients_ready() {
    NODE=$("$ROOT/scripts/wire-setup.sh" node | tail -n 1) PYTHON=$("$ROOT/scripts/wire-setup.sh" python | tail -n 1)
    [ -x "$NODE" ] && [ -x "$PYTHON" ] || die 'the official clients are not there'
    start mock2 '^listening on ' pin 0 "$MOCK" --port 0
    MOCK_PORT=$(sed -n 's/^listening on //p' "$TMP/mock2.log")
    start_anyllm ''
    export FAL_BASE_URL="$BASE" FAL_KEY="${KEY#Key }" WIRE="$ROOT/test/wire"
}

# Interleaved; each line "client per_second cpu_us rss_kb".
clients_load() { # clients_load ROUNDS CALLS CONNECTIONS
    for round in $(seq "$1"); do
        for name in libfal javascript python; do
            # shellcheck disable=SC2046
            said=$(pin 1 $(client_of $name "$2" "$3") | tail -n 1)
            [ "$(value failed "$said")" = 0 ] || { echo "- libfal, round $round, $name: $said" >>"$TMP/invalid"; continue; }
            echo "$name $(value per_second "$said") $(value cpu_us "$said") $(value rss_kb "$said")"
        done
    done
}

# clients_ratio FILE COLUMN PEER HOW: of each round; HOW more: libfal's is to be more.
clients_ratio() {
    awk -v column="$2" -v peer="$3" -v how="$4" '
        $1 == "libfal" { mine = $column }
        $1 == peer && mine > 0 { print how == "more" ? mine / $column : $column / mine }' "$1" | spread
}

clients_column() { awk -v name="$2" -v column="$3" '$1 == name { print $column }' "$1" | spread | awk '{ print $1 }'; }

short() { awk -v n="$1" -v d="$2" 'BEGIN { printf "%.4g", n / d }'; }

# compared FIGURE GOAL FILE COLUMN HOW DIVISOR UNIT: a line for each peer; GOAL "": none.
compared() {
    for peer in javascript python; do
        clients_ratio "$3" "$4" $peer "$5" >"$TMP/ratio"
        read -r middle least most <"$TMP/ratio"
        against="$(short "$(clients_column "$3" libfal "$4")" "$6") against $(short "$(clients_column "$3" $peer "$4")" "$6") $7"
        set -- "$1" "$2" "$3" "$4" "$5" "$6" "$7" "libfal: $1, times $peer" "${2:+${2}x}" "$(fixed 1 "$middle")" \
            "$(fixed 1 "$least" "$most"); $against"
        if [ -n "$2" ]; then row "$8" "$9" "${10}" "${11}" over "$2"; else row "$8" '' "${10}" "${11}"; fi
    done
}

libfal_rows() {
    compared 'process start to first answer' 20 "$TMP/first" 2 less 1 ms
    compared 'CPU per request, 64 at once' '' "$TMP/load" 3 less 1 'µs'
    compared 'resident memory at most' '' "$TMP/load" 4 less 1024 MB
    compared 'requests per second, 64 at once' '' "$TMP/load" 2 more 1 'a second'
}

libfal_size() {
    "$BENCH/size.sh" >"$TMP/sizes" 2>"$TMP/size.log" || { echo "- libfal's size: $(tail -n 1 "$TMP/size.log")" >>"$TMP/invalid"; return 0; }
    while read -r bytes limit what; do
        row "libfal.so, stripped, $what" "$limit KB" "$(short "$bytes" 1000) KB" '' under "$limit"
    done <<SIZES
$(sed -n 's/.*our own code *\([0-9]*\) .*/\1/p' "$TMP/sizes") 120 our own code
$(sed -n 's/.*inside *\([0-9]*\) .*/\1/p' "$TMP/sizes") 300 with its JSON library inside
SIZES
}

part_libfal() {
    rounds=5 calls=4000 runs=20
    [ -z "$SHORT" ] || { rounds=2 calls=1000 runs=5; }
    clients_ready
    for round in $(seq "$rounds"); do
        for name in libfal javascript python; do
            # shellcheck disable=SC2046
            echo "$name $(pin 1 "$BUILD/bench/bench_first" "$((runs / rounds + 1))" $(client_of $name 0 1) | awk '{ print $1 }')"
        done
    done >"$TMP/first"
    clients_load "$rounds" "$calls" 64 >"$TMP/load"
    stop_anyllm
    libfal_rows
    [ -n "$SHORT" ] || libfal_size
}
