#!/bin/sh
# Installs the packages of `make deb` into a bare Debian of the same release and uses them there, as root.
#
#   scripts/deb-test.sh DEBS PROGRAMS    DEBS: the folder with the packages; PROGRAMS: a build folder, for its mockllm
#
# The bare system is made anew by mmdebstrap in a folder of its own, with the packages of the archive that this machine's
# own apt sources name. Prints TAP; ends with 0 only when everything held.
set -eu
ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
DEBS=$(CDPATH='' cd -- "$1" && pwd)
MOCK=$(find "$2" -type f -name mockllm -perm -u+x | sed -n 1p)
[ "$(id -u)" = 0 ] || { echo 'deb-test.sh: a bare system is made as root' >&2; exit 1; }
[ -n "$MOCK" ] || { echo "deb-test.sh: no mockllm in $2; run make build" >&2; exit 1; }
set -- "$DEBS"/libfal0_*.deb "$DEBS"/libfal-dev_*.deb "$DEBS"/anyllm_*.deb
[ -e "$3" ] || { echo "deb-test.sh: no packages in $DEBS; run make deb" >&2; exit 1; }
# shellcheck disable=SC1091
SUITE=$(. /etc/os-release && echo "$VERSION_CODENAME")
TMP=$(mktemp -d)
BARE=$TMP/bare
MOCK_PID=
n=0
failed=0

clean_up() {
    [ -z "$MOCK_PID" ] || kill "$MOCK_PID" 2>/dev/null || :
    rm -rf --one-file-system "$TMP"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# inside COMMAND…: in the bare system, with a /proc and a process space of its own, so that nothing outlives it.
inside() {
    unshare --mount --pid --fork --kill-child chroot "$BARE" sh -c 'mount -t proc proc /proc && exec "$@"' - \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

# check NAME COMMAND…
check() {
    n=$((n + 1))
    name=$1
    shift
    if "$@" >"$TMP/said" 2>&1; then
        echo "ok $n - $name"
    else
        echo "not ok $n - $name"
        tail -n 25 "$TMP/said" | sed 's/^/# /'
        failed=$((failed + 1))
    fi
}

own_sources() {
    cat /etc/apt/sources.list.d/*.sources 2>/dev/null |
        awk -v suite="$SUITE" 'BEGIN { RS = ""; ORS = "\n\n" } $0 ~ "Suites:[^\n]*" suite && $0 ~ "debian-archive" { print }'
    grep -hE "^deb[[:space:]].*[[:space:]]$SUITE" /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || :
}

make_bare() {
    own_sources >"$TMP/sources"
    [ -s "$TMP/sources" ] || { echo "the apt sources of this machine name no archive for $SUITE" >&2; return 1; }
    mmdebstrap --quiet --mode=root --variant=minbase --include=ca-certificates "$SUITE" "$BARE" "$TMP/sources"
    cp /etc/resolv.conf "$BARE/etc/resolv.conf"
    printf '#!/bin/sh\nexit 101\n' >"$BARE/usr/sbin/policy-rc.d" # no service starts in here
    chmod 755 "$BARE/usr/sbin/policy-rc.d"
    mkdir "$BARE/debs"
    cp "$DEBS"/*.deb "$BARE/debs"
    sed -n '/^```c$/,/^```$/{/^```/!p}' "$ROOT/README.md" >"$BARE/root/ask.c"
    inside dpkg-query -W -f '${Package}\n' | sort >"$TMP/packages-before"
    inside find /etc /usr /var/lib -xdev -not -path '/var/lib/apt/*' -not -path '/var/lib/dpkg/*' | sort >"$TMP/files-before"
}

install_ours() { inside sh -c 'apt-get -q -y --no-install-recommends install /debs/libfal0_*.deb /debs/anyllm_*.deb'; }
install_dev() { inside sh -c 'apt-get -q -y --no-install-recommends install /debs/libfal-dev_*.deb gcc libc6-dev pkgconf'; }

only_this_release() { # every package in there is known to its archive, but ours
    inside sh -c 'apt list --installed 2>/dev/null' | grep ',local\]\|\[installed,local' | cut -d/ -f1 |
        grep -vxE 'anyllm|libfal0|libfal-dev' && return 1
    return 0
}

version_runs() { inside anyllm --version | grep -F "$(sed -n "s/^ *version: '\([0-9.]*\)',/\1/p" "$ROOT/meson.build")"; }
nothing_lacks() { ! inside sh -c 'ldd /usr/bin/anyllm /usr/lib/*/libfal.so.0' | grep 'not found'; }

pages_there() {
    for page in man1/anyllm.1 man3/libfal.3 man3/fal_subscribe.3 man3/fal_queue_submit.3; do
        [ -e "$BARE/usr/share/man/$page.gz" ] || { echo "$page is not there"; return 1; }
    done
}

# Only now comes systemd, which the packages do not need.
unit_verifies() {
    inside sh -c 'apt-get -q -y --no-install-recommends install systemd procps && dpkg-reconfigure anyllm' || return 1
    inside systemd-analyze --man=no verify anyllm.service >"$TMP/verify" 2>&1 || { cat "$TMP/verify"; return 1; }
    ! grep -i anyllm "$TMP/verify"
}

compiles() { inside sh -c 'cc -Wall -Wextra -Wno-unused-parameter -Werror /root/ask.c $(pkg-config --cflags --libs fal) -o /root/ask'; }
compiles_static() {
    # By the names of the shared libraries that libfal0 depends on; its own archive is all that it lacks.
    needs=$(inside sh -c 'ls /usr/lib/*/libwslay.so.? /usr/lib/*/libmsgpack*.so.? /usr/lib/*/libyyjson.so.? 2>/dev/null || :')
    # shellcheck disable=SC2086
    inside cc /root/ask.c -l:libfal.a -lcurl -lcrypto $needs -pthread -o /root/ask-static || return 1
    ! inside ldd /root/ask-static | grep libfal
}

start_mock() {
    : >"$TMP/mock"
    "$MOCK" --port 0 >"$TMP/mock" 2>/dev/null &
    MOCK_PID=$!
    for try in $(seq 600); do
        PORT=$(sed -n 's/^listening on //p' "$TMP/mock")
        [ -z "$PORT" ] || return 0
        sleep 0.1
    done
    echo 'mockllm did not start' >&2
    exit 1
}

# ask_there CONFIG: serves with it in the bare system, and asks the README's question there.
ask_there() {
    printf 'listen: 127.0.0.1:0\n%s\n' "$1" >"$BARE/tmp/try.yaml"
    chmod 644 "$BARE/tmp/try.yaml"
    cat >"$BARE/root/try.sh" <<'TRY'
set -e
cd /tmp
anyllm serve --config /tmp/try.yaml --data /tmp/try-data --no-calibrate 2>/tmp/try.log &
server=$!
for try in $(seq 600); do
    grep -q 'listening on' /tmp/try.log && break
    kill -0 $server || break
    sleep 0.1
done
base=$(sed -n 's/^listening on //p' /tmp/try.log)
[ -n "$base" ] || { cat /tmp/try.log; exit 1; }
sed "s|http://127.0.0.1:8787|$base|" /root/ask.c >/root/here.c
cc /root/here.c $(pkg-config --cflags --libs fal) -o /root/here
FAL_BASE_URL=$base FAL_KEY=any:key /root/here >/tmp/answer || { cat /tmp/try.log; exit 1; }
cat /tmp/answer
grep -q '"output"' /tmp/answer || { cat /tmp/try.log; exit 1; }
anyllm run --base "$base" --quiet hello | grep .
kill -TERM $server
wait $server
rm -rf /tmp/try-data
TRY
    inside sh /root/try.sh
}

answers() {
    ask_there "upstreams: { mock: { kind: openai, base_url: \"http://127.0.0.1:$PORT/v1\" } }
routes: [ { model: \"*\", to: [mock] } ]"
}

# The demo's model and an engine that was built here, where they are in the cache folder.
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/anyllm
ENGINE=$(for folder in engine engine-src; do [ ! -x "$CACHE/$folder/llama-server" ] || echo "$CACHE/$folder"; done | tail -n 1)
MODEL=$(find "$CACHE" -maxdepth 1 -name '*.gguf' 2>/dev/null | sed -n 1p)
real_model_answers() {
    inside apt-get -q -y --no-install-recommends install libgomp1 libstdc++6 libcurl4 || return 1
    mkdir -p "$BARE/opt/engine"
    cp -L "$ENGINE"/* "$BARE/opt/engine/"
    cp "$MODEL" "$BARE/opt/model.gguf"
    ask_there 'upstreams: { local: { kind: local, engine: /opt/engine/llama-server, model: /opt/model.gguf, alias: local/model } }
routes: [ { model: "*", to: [local] } ]
fallback_model: local/model'
    status=$?
    rm -rf "$BARE/opt/engine" "$BARE/opt/model.gguf"
    return $status
}

service_user() { inside getent passwd anyllm | grep '/var/lib/anyllm'; }

purges() {
    inside sh -c 'rm -rf /tmp/try*; apt-get -q -y purge anyllm libfal-dev libfal0 && apt-get -q -y --purge autoremove'
    inside find /etc /usr /var/lib -xdev | grep -iE 'anyllm|libfal|/fal[._]' | grep -v '^/root' && { echo 'is left'; return 1; }
    grep '^anyllm:' "$BARE/etc/passwd" "$BARE/etc/group" && { echo 'is left'; return 1; }
    return 0
}

check bare_system_is_made make_bare
[ "$failed" = 0 ] || { echo "1..$n"; exit 1; }
start_mock
check bare_system_refreshes_its_lists inside apt-get -q update
check packages_install install_ours
check development_package_installs install_dev
check nothing_from_outside_the_release only_this_release
check no_library_is_missing nothing_lacks
check program_says_its_version version_runs
check pages_are_there pages_there
check readme_example_compiles compiles
check readme_example_links_the_archive compiles_static
check readme_example_prints_an_answer answers
if [ -n "$ENGINE" ] && [ -n "$MODEL" ]; then check a_real_model_answers real_model_answers; fi
check unit_is_what_systemd_takes unit_verifies
check unit_has_its_user service_user
check purge_leaves_nothing purges
echo "1..$n"
[ "$failed" = 0 ]
