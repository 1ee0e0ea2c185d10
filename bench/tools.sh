# The small tools of run.sh, and what it starts: the mock, nginx, anyllm.
# shellcheck shell=sh

# ---- small tools ----

CPUS=$(nproc)
pin() { # pin CPU COMMAND...: becomes the command (so: in a subshell), on that CPU as far as there are CPUs
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
    kill -CONT "$1" 2>/dev/null || :
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
    case $2 in - | *nan | *inf) printf - ;; *) printf "%.$1f" "$2" ;; esac
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

# value NAME LINE: of a line of name=value
value() { printf '%s\n' "$2" | tr ' ' '\n' | sed -n "s/^$1=//p"; }

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
    make_certificates
    bench_limits
    MOCK_CPU=1
    [ "$CPUS" -le 2 ] || MOCK_CPU=2
    start mock '^listening on ' pin $MOCK_CPU "$MOCK" --port 0
    MOCK_PID=$PID
    MOCK_PORT=$(sed -n 's/^listening on //p' "$TMP/mock.log")
}

# Two pairs, since what a handshake costs is above all the signature: P-256 and RSA of 2,048 bits.
make_certificates() {
    for kind in ec:prime256v1 rsa:2048; do
        file=$TMP/cert-${kind%%:*}
        case $kind in
        ec:*) set -- -newkey ec -pkeyopt "ec_paramgen_curve:${kind#*:}" ;;
        *) set -- -newkey "$kind" ;;
        esac
        openssl req -x509 -nodes "$@" -keyout "$file.key" -out "$file.pem" -days 2 -subj /CN=localhost \
            -addext subjectAltName=DNS:localhost,IP:127.0.0.1 >"$TMP/openssl.log" 2>&1 || die "openssl: $(cat "$TMP/openssl.log")"
    done
}

# What is measured is not limited: the lines for those of the limits that this anyllm knows.
bench_limits() {
    for name in max_connections:20000 max_concurrent_calls:0 max_concurrent_calls_per_key:0 \
        max_status_polls_per_second_per_key:0; do
        flag=--$(echo "${name%%:*}" | tr _ -)
        ! "$ANYLLM" serve --help | grep -q -e "$flag" || echo "${name%%:*}: ${name#*:}"
    done >"$TMP/limits.yaml"
    [ -s "$TMP/limits.yaml" ] || die 'anyllm serve --help names no limits'
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
    NGINX_PORT=$(free_port) NGINX_TLS_EC=$(free_port) NGINX_TLS_RSA=$(free_port)
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
        location /dav/ { root $TMP/nginx; dav_methods PUT; client_max_body_size 0; sendfile on; }
        location = /hook { access_log $TMP/nginx/hooks.log; return 200; }
    }
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:bench:10m;
    server {
        listen 127.0.0.1:$NGINX_TLS_EC ssl backlog=4096;
        ssl_certificate $TMP/cert-ec.pem; ssl_certificate_key $TMP/cert-ec.key;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        location = /healthz { return 200 "ok"; }
        location / { proxy_pass http://mock; }
    }
    server {
        listen 127.0.0.1:$NGINX_TLS_RSA ssl backlog=4096;
        ssl_certificate $TMP/cert-rsa.pem; ssl_certificate_key $TMP/cert-rsa.key;
        location = /healthz { return 200 "ok"; }
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
        cat "$TMP/limits.yaml"
    } >"$TMP/anyllm.yaml"
    chmod 600 "$TMP/anyllm.yaml"
}

# start_anyllm PREFIX: with a data folder of its own; sets ANYLLM_PID and BASE.
start_anyllm() {
    anyllm_config "$1"
    launch_anyllm
}

launch_anyllm() { # launch_anyllm FLAG...: with the configuration that is there
    DATA=$(mktemp -d "$TMP/data.XXXXXX")
    LAUNCHED=$((${LAUNCHED:-0} + 1))
    start "anyllm$LAUNCHED" 'listening on ' pin 0 "$ANYLLM" serve --config "$TMP/anyllm.yaml" \
        --listen 127.0.0.1:0 --data "$DATA" --log-level warn "$@"
    ANYLLM_PID=$PID
    BASE=$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' "$TMP/anyllm$LAUNCHED.log" | head -n 1)
    wait_ready 500
}

wait_ready() { # wait_ready FIFTIETHS_OF_A_SECOND
    for _ in $(seq "$1"); do
        get "$BASE/readyz" >/dev/null 2>&1 && return 0
        sleep 0.02
    done
    die "anyllm is not ready: $(get "$BASE/readyz" 2>&1 | head -c 300; tail -n 5 "$TMP/anyllm${LAUNCHED:-}.log")"
}

stop_anyllm() {
    stop "$ANYLLM_PID"
    rm -rf "$DATA"
}

