# The TLS listener against nginx with TLS: requests on connections that are kept, and handshakes.
# shellcheck shell=sh

tls_port() { # tls_port TARGET CERTIFICATE
    case $1.$2 in
    nginx.ec) echo "$NGINX_TLS_EC" ;; nginx.rsa) echo "$NGINX_TLS_RSA" ;;
    anyllm.ec) echo "$ANYLLM_TLS_EC" ;; anyllm.rsa) echo "$ANYLLM_TLS_RSA" ;;
    esac
}

tls_pid() { case $1.$2 in nginx.*) echo "$NGINX" ;; anyllm.ec) echo "$ANYLLM_EC" ;; anyllm.rsa) echo "$ANYLLM_RSA" ;; esac; }

# One anyllm for each certificate.
start_tls() {
    anyllm_config ''
    for kind in ec rsa; do
        port=$(free_port)
        launch_anyllm --listen-tls "127.0.0.1:$port" --tls-cert "$TMP/cert-$kind.pem" --tls-key "$TMP/cert-$kind.key"
        case $kind in
        ec) ANYLLM_TLS_EC=$port ANYLLM_EC=$ANYLLM_PID ;;
        rsa) ANYLLM_TLS_RSA=$port ANYLLM_RSA=$ANYLLM_PID ;;
        esac
    done
}

tls_load() { # tls_load TARGET SECONDS ROUND
    case $1 in
    nginx) load nginx 64 "$2" "$3" openai "https://127.0.0.1:$NGINX_TLS_EC/v1/chat/completions" '' "$NGINX" ;;
    anyllm) load anyllm 64 "$2" "$3" fal "https://127.0.0.1:$ANYLLM_TLS_EC/run/fal-ai/any-llm" "$KEY" "$ANYLLM_EC" ;;
    esac
}

# handshakes TARGET CERTIFICATE KIND SECONDS ROUND: adds "certificate.kind.target 32 round per_second cpu_us" to loads
handshakes() {
    result=$(pin 1 "$BUILD/bench/bench_handshakes" "https://127.0.0.1:$(tls_port "$1" "$2")/healthz" 32 "$4" \
        "$(tls_pid "$1" "$2")" "$3") || die "no handshake with $1: $result"
    if ! handshakes_valid "$3"; then
        echo "- TLS, $2, $3, $1, round $5: $result" >>"$TMP/invalid"
        return 0
    fi
    echo "$2.$3.$1 32 $5 $(value done "$result") $(value seconds "$result") $(value cpu_ms "$result")" |
        awk '{ print $1, $2, $3, $4 / $5, $6 / $4 * 1000 }' >>"$TMP/loads"
}

# All of one protocol (nginx 1.22 would speak 1.2 unless told); full ones are all full, resumed ones all resumed.
handshakes_valid() { # handshakes_valid KIND, of $result
    [ "$(value errors "$result") $(value version "$result")" = '0 TLSv1.3' ] || return 1
    made=$(value done "$result") resumed=$(value resumed "$result")
    if [ "$1" = full ]; then [ "$resumed" = 0 ]; else [ "$resumed" = "$made" ]; fi
}

handshake_row() { # handshake_row CERTIFICATE KIND NAME
    # shellcheck disable=SC2046
    set -- "$@" $(paired 32 4 "$1.$2.anyllm" "$1.$2.nginx" / | spread) $(paired 32 5 "$1.$2.nginx" "$1.$2.anyllm" / | spread) \
        $(column "$1.$2.anyllm" 32 4 | spread)
    row "TLS: $3 per second against nginx" 1.0 "$(fixed 2 "$4")" \
        "$(fixed 2 "$5" "$6"); $(fixed 0 "${10}")/s; per CPU second $(fixed 2 "$7")" over 1.0
}

tls_table() {
    echo '## TLS'
    echo
    echo "| what | target | per second, median (range) | CPU µs each |"
    echo '|---|---|---|---|'
    for target in nginx anyllm; do
        tls_line 'requests, 64 kept connections, P-256' $target $target 64 7
    done
    for kind in ec.full rsa.full ec.resume; do
        for target in nginx anyllm; do tls_line "connections with one GET: $kind" $target $kind.$target 32 5; done
    done
    echo
    echo "All by TLS 1.3."
}

tls_line() { # tls_line WHAT TARGET LABEL CONNECTIONS CPU_FIELD
    # shellcheck disable=SC2046
    set -- "$1" "$2" $(column "$3" "$4" 4 | spread) $(column "$3" "$4" "$5" | spread)
    printf '| %s | %s | %s (%s) | %s |\n' "$1" "$2" "$(fixed 0 "$3")" "$(fixed 0 "$4" "$5")" "$(fixed 1 "$6")"
}

part_tls() {
    rounds=4 seconds=2 shakes=1
    [ -z "$SHORT" ] || { rounds=2 seconds=1 shakes=0.5; }
    if ! "$ANYLLM" serve --help | grep -q -e --listen-tls; then
        row 'TLS listener' '' - 'this anyllm has none'
        return 0
    fi
    start_tls
    : >"$TMP/loads"
    for target in nginx anyllm; do tls_load $target 1 0; done
    : >"$TMP/loads"
    for round in $(seq $rounds); do
        for target in $(rotated "$round" nginx anyllm); do
            tls_load "$target" $seconds "$round"
            for kind in ec.full rsa.full ec.resume; do
                handshakes "$target" "${kind%.*}" "${kind#*.}" $shakes "$round"
            done
        done
    done
    # shellcheck disable=SC2046
    set -- $(paired 64 4 anyllm nginx / | spread) $(paired 64 7 nginx anyllm / | spread)
    row 'TLS: requests/s against nginx with TLS, 64 connections' 1.2 "$(fixed 2 "$1")" \
        "$(fixed 2 "$2" "$3"); per CPU second $(fixed 2 "$4")" over 1.2
    handshake_row ec full 'full handshakes (P-256) with one GET'
    handshake_row rsa full 'full handshakes (RSA 2,048) with one GET'
    handshake_row ec resume 'resumed handshakes (P-256) with one GET'
    tls_table >"$TMP/detail_tls"
    stop "$ANYLLM_EC"
    stop "$ANYLLM_RSA"
}
