#!/bin/sh
# Measures anyllm against nginx, other gateways and what this machine can do, and writes bench/RESULTS.md.
#
#   bench/run.sh [BUILD] [--short] [--only PART]...
#
#   BUILD        the build folder (build)
#   --short      a quick look, without the local engine; writes nothing
#   --only PART  only this part (may be said again); writes nothing. Parts:
#                gateway ttfb streams burst long idle tls peers submit alone queue cycles kept backlog files webhooks realtime start memory size libfal tokens
#
# The gateway runs on CPU 0, the mock upstream and the load on CPU 1, in interleaved rounds whose order rotates;
# figures are medians over rounds, ratios are taken within a round. A round with any error or any answer but 2xx
# is invalid, is left out and is reported. Ends with 1 when the ratio to nginx at 64 connections is under 1.2,
# or 20 % below the last committed one; with 2 when something is missing or a part could not be measured.
set -eu
ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
BENCH=$ROOT/bench
PARTS='gateway ttfb streams burst long idle tls peers submit alone queue cycles kept backlog files webhooks realtime start memory size libfal tokens'
BUILD=$ROOT/build SHORT='' ONLY=''
while [ $# -gt 0 ]; do
    case $1 in
    --short) SHORT=1 ;;
    --only)
        case " $PARTS " in *" ${2:-} "*) ;; *) sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 2 ;; esac
        ONLY="$ONLY $2"
        shift ;;
    -*) sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 2 ;;
    *) BUILD=$(CDPATH='' cd -- "$1" && pwd) ;;
    esac
    shift
done

say() { printf '%s\n' "$*" >&2; }
die() { say "bench: $*"; exit 2; }

for tool in nginx wrk openssl; do
    command -v $tool >/dev/null || PATH=$PATH:/usr/sbin:/sbin
    command -v $tool >/dev/null || die "$tool is missing; scripts/deps.sh bench installs it"
done
for name in $(env | sed -n 's/^\(\(FAL\|OPENROUTER\|ANYLLM\)_[A-Z0-9_]*\)=.*/\1/p'); do unset "$name"; done
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
ANYLLM=${BENCH_ANYLLM:-$BUILD/anyllm}
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/anyllm
MOCK=$BUILD/test/mock/mockllm
[ -x "$MOCK" ] || MOCK=$BUILD/bench/mockllm
[ -x "$MOCK" ] && [ -x "$BUILD/bench/bench_handshakes" ] || die "nothing is built in $BUILD; make build builds it"
[ -x "$ANYLLM" ] || die "there is no $ANYLLM; make build builds it"

# On the disk that holds the build folder: a temporary folder is often in memory, and a queue there is not durable.
TMP=$(mktemp -d "$BUILD/bench-run.XXXXXX")
PIDS=''
stop_all() {
    for pid in $PIDS; do kill "$pid" 2>/dev/null || :; kill -CONT "$pid" 2>/dev/null || :; done
    for pid in $PIDS; do wait "$pid" 2>/dev/null || :; done
    PIDS=''
}
trap 'stop_all; rm -rf "$TMP"' EXIT
trap 'exit 130' INT TERM HUP PIPE

for file in tools part-gateway part-streams part-long part-tls part-peers part-queue part-files part-process part-libfal part-engine; do
    . "$BENCH/$file.sh"
done

# ---- the run ----

wanted() {
    case " $ONLY " in '  ' | *" $1 "*) return 0 ;; esac
    return 1
}

# Each part in a shell of its own: what it started ends with it, and when it cannot be measured the others still are.
run_part() {
    say "bench: $1 ($(($(date +%s) - BEGAN)) s so far)"
    set +e
    (
        set -e
        PIDS=''
        trap stop_all EXIT
        trap 'exit 130' INT TERM HUP PIPE
        "part_$1"
    )
    ended=$?
    set -e
    [ $ended != 130 ] || exit 130
    [ $ended = 0 ] && return 0
    echo "$1" >>"$TMP/failed"
    echo "- The part \`$1\` could not be measured." >>"$TMP/invalid"
    say "bench: the part $1 could not be measured"
}

# ---- the page ----

machine() {
    echo "- $CPUS × $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(awk '/MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo) GiB"
    echo "- $( (. /etc/os-release; echo "$PRETTY_NAME")), Linux $(uname -r)"
    echo "- $(cc --version | head -n 1); $(nginx -v 2>&1 | sed 's/.*: //'); wrk $(wrk -v 2>&1 | sed -n 's/^wrk \([^ ]*\).*/\1/p')"
    echo "- load average before the run $LOAD (the figures want a machine with nothing else to do)"
    echo "- commit $COMMIT, $(date -u +%Y-%m-%d); the run took $((($(date +%s) - BEGAN + 30) / 60)) minutes"
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
        cat "$TMP/gateway_memory"
        echo
    fi
    for table in streams long tls peers; do
        [ ! -s "$TMP/detail_$table" ] || { cat "$TMP/detail_$table"; echo; }
    done
    if [ -s "$TMP/invalid" ]; then
        echo '## Invalid rounds (left out), and what else went wrong'
        echo
        cat "$TMP/invalid"
    else
        echo 'No round had an error or an answer but 2xx.'
    fi
    echo
    cat "$BENCH/how.md"
    echo
    [ ! -s "$TMP/ratio64" ] || echo "<!-- bench ratio64=$(fixed 3 "$(cat "$TMP/ratio64")") commit=$COMMIT -->"
}

verdict() {
    last=$(git -C "$ROOT" show HEAD:bench/RESULTS.md 2>/dev/null | sed -n 's/.*bench ratio64=\([0-9.]*\).*/\1/p' || :)
    awk -v now="$(cat "$TMP/ratio64")" -v last="${last:-0}" 'BEGIN {
        if (now == "-") { print "bench: no valid round at 64 connections"; exit 1 }
        if (now < 1.2) { printf "bench: %.2f times nginx at 64 connections, under 1.2\n", now; exit 1 }
        if (now < 0.8 * last) { printf "bench: %.2f times nginx, 20 %% below the committed %.2f\n", now, last; exit 1 }
    }' >&2
}

COMMIT=$(git -C "$ROOT" rev-parse --short HEAD 2>/dev/null || echo unknown)
git -C "$ROOT" diff --quiet HEAD -- src include 2>/dev/null || COMMIT="$COMMIT with changes"
[ -z "${BENCH_ANYLLM:-}" ] || COMMIT="$COMMIT, another anyllm (BENCH_ANYLLM)"
LOAD=$(cut -d' ' -f1 /proc/loadavg) BEGAN=$(date +%s)
awk -v load="$LOAD" 'BEGIN { exit load > 0.7 }' || say "bench: the load average is $LOAD: others are working, the figures will suffer"
: >"$TMP/table"
prepare
start_nginx
for part in $PARTS; do
    [ "$part$SHORT$ONLY" != tokens1 ] || continue
    ! wanted $part || run_part $part
done
page >"$TMP/page"
if [ -z "$SHORT$ONLY" ]; then
    cp "$TMP/page" "$BENCH/RESULTS.md"
    say "bench: written to bench/RESULTS.md"
else
    cat "$TMP/page"
fi
[ ! -s "$TMP/ratio64" ] || verdict
[ ! -s "$TMP/failed" ] || exit 2
