#!/bin/sh
# Brings fal's official clients for the wire tests here, and prints the path of the program that runs them.
#
#   scripts/wire-setup.sh node      into test/wire/node_modules; a Node of version 22 or later
#   scripts/wire-setup.sh python    into .deps/venv; its Python
#   scripts/wire-setup.sh schema    into .deps/schema; its schemathesis
#
# Silent and without the network when everything is there.
set -eu
ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
WIRE=$ROOT/test/wire
VENV=$ROOT/.deps/venv
SCHEMA=$ROOT/.deps/schema

say() { printf '%s\n' "$*" >&2; }

system_node_is_new() {
    version=$(node --version 2>/dev/null | sed -n 's/^v\([0-9]*\)\..*/\1/p')
    [ -n "$version" ] && [ "$version" -ge 22 ]
}

# The Node of npm's packages, by itself: older npm versions make no link for it when scripts are off.
own_node() { find "$WIRE"/node_modules/node-linux-*/bin/node 2>/dev/null | sed -n 1p; }

# The lock file npm leaves in node_modules is written last: it stands for a whole installation.
node_modules_complete() {
    installed=$WIRE/node_modules/.package-lock.json
    [ -e "$installed" ] && [ ! "$WIRE/package-lock.json" -nt "$installed" ] || return 1
    system_node_is_new || [ -n "$(own_node)" ]
}

install_node_modules() {
    say "fetching fal's JavaScript client$1 into test/wire/node_modules"
    # shellcheck disable=SC2086
    (cd "$WIRE" && npm ci --ignore-scripts --no-audit --no-fund --no-progress $2 --loglevel=error) >&2
    touch "$WIRE/node_modules/.package-lock.json"
}

set_up_node() {
    node_modules_complete && return
    if system_node_is_new; then install_node_modules '' --omit=optional
    else install_node_modules ' and Node 22' ''
    fi
}

# set_up_venv FOLDER REQUIREMENTS WHAT
set_up_venv() {
    [ -e "$1/.complete" ] && [ ! "$2" -nt "$1/.complete" ] && return
    say "fetching $3 into ${1#"$ROOT/"}"
    rm -rf "$1"
    python3 -m venv "$1"
    "$1/bin/python" -m pip --disable-pip-version-check install -q --require-hashes --only-binary=:all: -r "$2" >&2
    touch "$1/.complete"
}

set_up_python() {
    [ -e "$WIRE/requirements.txt" ] || return 0
    set_up_venv "$VENV" "$WIRE/requirements.txt" 'the Python clients'
}

case ${1:-} in
node)
    set_up_node
    if system_node_is_new; then command -v node; else own_node; fi ;;
python)
    set_up_python
    if [ -e "$VENV/.complete" ]; then echo "$VENV/bin/python"; else command -v python3; fi ;;
schema)
    set_up_venv "$SCHEMA" "$WIRE/requirements-schema.txt" schemathesis
    echo "$SCHEMA/bin/schemathesis" ;;
*) say 'usage: wire-setup.sh node|python|schema'; exit 2 ;;
esac
