#!/bin/sh
# Installs what the benchmark compares with: the gateways into the cache folder, the queues as Debian packages (as root).
#
#   bench/peers.sh [litellm] [portkey] [queues]     all when none is named
#
# `make bench` measures those that are there and says "not installed" of the others. Versions are fixed: these were
# measured before (LiteLLM 1.82.7 and 1.82.8 were malware and must never be put here). To remove: the folder below.
set -eu
LITELLM=1.102.4
PORTKEY=1.15.2
PEERS=${XDG_CACHE_HOME:-$HOME/.cache}/anyllm/peers

say() { printf 'peers: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Each is made beside its place and moved there when it is whole: a half installation is never measured.
litellm() {
    place=$PEERS/litellm-$LITELLM
    [ ! -x "$place/bin/litellm" ] || { say "LiteLLM $LITELLM is there"; return 0; }
    python3 -c 'import ensurepip, venv' 2>/dev/null || die 'python3 with venv is missing (Debian: python3-venv)'
    say "LiteLLM $LITELLM from PyPI into $place (some minutes)"
    rm -rf "$place"
    # A virtual environment knows its own path, so it is made in place and loses its program if it does not get whole.
    python3 -m venv "$place"
    "$place/bin/pip" install --quiet --disable-pip-version-check "litellm[proxy]==$LITELLM" >&2 ||
        { rm -rf "$place"; die 'LiteLLM could not be installed'; }
}

portkey() {
    place=$PEERS/portkey-$PORTKEY
    [ ! -e "$place/node_modules/@portkey-ai/gateway/build/start-server.js" ] || { say "Portkey $PORTKEY is there"; return 0; }
    command -v npm >/dev/null || die 'npm is missing (Debian: npm)'
    say "Portkey $PORTKEY from npm into $place"
    rm -rf "$place.part"
    mkdir -p "$place.part"
    cat >"$place.part/package.json" <<JSON
{
  "private": true,
  "dependencies": { "@portkey-ai/gateway": "$PORTKEY" },
  "overrides": { "hono": "4.9.7", "@hono/node-server": "1.13.5" }
}
JSON
    (cd "$place.part" && npm install --silent --no-audit --no-fund --ignore-scripts >&2) ||
        { rm -rf "$place.part"; die 'Portkey could not be installed'; }
    rm -rf "$place"
    mv "$place.part" "$place"
}

# beanstalkd and PostgreSQL. Neither is started, and no cluster is made: the benchmark makes its own and removes it.
queues() {
    if command -v beanstalkd >/dev/null && [ -x "$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | tail -n 1)" ]; then
        say 'beanstalkd and PostgreSQL are there'
        return 0
    fi
    [ "$(id -u)" = 0 ] || die 'beanstalkd and PostgreSQL are Debian packages: run as root'
    say 'beanstalkd and PostgreSQL from Debian'
    policy=/usr/sbin/policy-rc.d
    [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy; chmod 755 $policy; ours=1; }
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    fi
    code=0
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -o Dpkg::Options::=--force-confold \
        beanstalkd postgresql >&2 || code=1
    [ -z "${ours:-}" ] || rm -f $policy
    [ $code = 0 ] || die 'they could not be installed'
}

mkdir -p "$PEERS"
[ $# -gt 0 ] || set -- litellm portkey queues
for peer in "$@"; do
    case $peer in
    litellm | portkey | queues) $peer ;;
    *) die "unknown peer '$peer': litellm, portkey or queues" ;;
    esac
done
