#!/bin/sh
# Puts the Debian packages that a verb of the Makefile needs on this machine.
#
#   scripts/deps.sh GROUP...    GROUP: build fetch test lint bench engine deb
#   scripts/deps.sh source NAME=VERSION FOLDER    the upstream archive of a source package of Debian 13
#
# Quick and silent when nothing is missing. Says what it will add before it adds it. The machine's own
# package sources stay as they are: what Debian 12 lacks comes from Debian 13's suite through an apt
# configuration of our own that lets only those packages through.
set -eu

BUILD='gcc libc6-dev make meson ninja-build pkgconf ca-certificates libgomp1
    libuv1-dev libssl-dev libsqlite3-dev libcurl4-openssl-dev libfyaml-dev libyyjson-dev libllhttp-dev
    libwslay-dev libmsgpack-dev libedit-dev'   # on Debian 13 libmsgpack-dev brings libmsgpack-c-dev
TEST='libcmocka-dev g++ luajit python3-cffi'   # the last two: the bindings of examples/
LINT='clang-format-19'
BENCH='nginx-light wrk curl'
ENGINE='g++ cmake'
DEB='debhelper dpkg-dev fakeroot lintian mmdebstrap abigail-tools man-db'
BACKPORTED='libyyjson0 libyyjson-dev libllhttp9.2 libllhttp-dev'   # on Debian 12, from 13
MODULES='libuv yyjson libllhttp openssl sqlite3 libcurl libfyaml libedit'  # what pkg-config must find

say() { printf '%s\n' "$*" >&2; }
die() { say "deps: $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# The packages of one group. Tools that the machine may have in another form are asked for by command.
group_packages() {
    case $1 in
    build) echo "$BUILD" ;;
    fetch)
        have unzip || echo unzip
        have curl || echo curl
        python3 -m pip --version >/dev/null 2>&1 || echo python3 python3-pip ;;
    test)
        echo "$TEST"
        [ -e "$(dirname "$0")/../.deps/venv/.complete" ] || python3 -c 'import ensurepip, venv' 2>/dev/null ||
            echo python3 python3-venv
        have curl || echo curl
        have openssl || echo openssl
        have node || echo nodejs
        have npm || echo npm ;;
    lint) echo "$LINT" ;;
    bench) echo "$BENCH" ;;
    engine)
        have g++ && have cmake || echo "$ENGINE" ;;
    deb) echo "$DEB" ;;
    *) die "unknown group '$1'" ;;
    esac
}

wanted_packages() {
    for group in "$@"; do group_packages "$group"; done | tr -s ' \n' '\n\n' | sed '/^$/d' | sort -u
}

missing_packages() {
    if ! have dpkg-query; then
        printf '%s\n' "$1"
        return
    fi
    # shellcheck disable=SC2086
    installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' $1 2>/dev/null |
        sed -n 's/^installed //p' || :)
    printf '%s\n' "$1" | while read -r package; do
        case "
$installed
" in *"
$package
"*) ;; *) echo "$package" ;; esac
    done
}

debian_version() {
    [ -r /etc/os-release ] || { echo other; return; }
    # shellcheck disable=SC1091
    (. /etc/os-release; [ "${ID:-}" = debian ] && echo "${VERSION_ID:-other}" || echo other)
}

# Anything but Debian 12 and 13: go on when everything is there, else say what to install.
check_other_system() {
    lacking=
    for tool in cc meson ninja pkg-config; do have "$tool" || lacking="$lacking $tool"; done
    for module in $MODULES; do
        pkg-config --exists "$module" 2>/dev/null || lacking="$lacking $module"
    done
    pkg-config --exists msgpack-c || pkg-config --exists msgpack || lacking="$lacking msgpack-c"
    echo '#include <wslay/wslay.h>' | ${CC:-cc} -E - >/dev/null 2>&1 || lacking="$lacking wslay"
    case " $* " in *' test '*)
        for tool in node npm; do have "$tool" || lacking="$lacking $tool"; done
        pkg-config --exists cmocka 2>/dev/null || lacking="$lacking cmocka" ;;
    esac
    case " $* " in *' fetch '*)
        for tool in unzip curl; do have "$tool" || lacking="$lacking $tool"; done
        python3 -m pip --version >/dev/null 2>&1 || lacking="$lacking python3-pip" ;;
    esac
    case " $* " in *' lint '*) have clang-format-19 || lacking="$lacking clang-format-19" ;; esac
    case " $* " in *' bench '*)
        for tool in nginx wrk; do have "$tool" || lacking="$lacking $tool"; done ;;
    esac
    case " $* " in *' engine '*)
        for tool in g++ cmake; do have "$tool" || lacking="$lacking $tool"; done ;;
    esac
    [ -n "$lacking" ] || exit 0
    say 'anyllm sets itself up on Debian 12 and 13 only. Here, please install these yourself'
    say '(tools by command, libraries by the name pkg-config knows them by), then run this again:'
    for item in $lacking; do say "    $item"; done
    exit 1
}

become_root() {
    if [ "$(id -u)" = 0 ]; then ROOT=
    elif have sudo; then ROOT=sudo
    else
        say 'anyllm needs packages that are not installed. As root, please run:'
        say "    $0 $GROUPS_ASKED"
        exit 1
    fi
}

# apt-get as root, quietly, waiting for another one that may be at work.
apt() {
    $ROOT env DEBIAN_FRONTEND=noninteractive apt-get ${APT_OWN:+-c "$APT_OWN"} -o DPkg::Lock::Timeout=600 -q "$@"
}

# The answer of a simulated installation; refreshes the lists once when apt does not know a package.
simulate() {
    apt -s --no-install-recommends install "$@" 2>"$TMP/errors" && return
    say 'deps: refreshing the package lists'
    apt update >"$TMP/update" 2>&1 || { cat "$TMP/update" >&2; return 1; }
    apt -s --no-install-recommends install "$@" 2>"$TMP/errors" || { cat "$TMP/errors" >&2; return 1; }
}

install_packages() {
    simulate "$@" >"$TMP/plan" || die "apt-get cannot install: $*"
    say "anyllm adds these packages to this machine: $*"
    say_plan
    hold_services
    if ! apt -y --no-install-recommends install "$@" >"$TMP/log" 2>&1; then
        apt update >"$TMP/update" 2>&1 || :          # old lists name files the mirror no longer has
        apt -y --no-install-recommends install "$@" >"$TMP/log" 2>&1 ||
            { tail -n 20 "$TMP/log" >&2; die "could not install: $*"; }
    fi
    release_services
}

# How many packages come along, and which installed ones have to be upgraded for them (apt writes "Inst name [old]").
say_plan() {
    say "    with what they need $(grep -c '^Inst ' "$TMP/plan" || :) packages"
    upgraded=$(sed -n 's/^Inst \([^ ]*\) \[.*/\1/p' "$TMP/plan" | tr '\n' ' ')
    [ -z "$upgraded" ] || say "    upgraded because of them: $upgraded"
    removed=$(sed -n 's/^Remv \([^ ]*\) .*/\1/p' "$TMP/plan" | tr '\n' ' ')
    [ -z "$removed" ] || die "this would remove: $removed; nothing was installed"
}

# nginx is here as a yardstick: its package must not start a web server on the machine, now or at the next boot.
hold_services() {
    grep -q '^Inst nginx ' "$TMP/plan" && [ -d /run/systemd/system ] || return 0
    HELD=nginx.service
    $ROOT systemctl mask --quiet "$HELD"
}

release_services() {
    [ -n "$HELD" ] || return 0
    $ROOT systemctl unmask --quiet "$HELD"
    $ROOT systemctl disable --quiet "$HELD" 2>/dev/null || :
    HELD=
}

# The first Debian archive that the machine's own sources name (both forms apt knows), without the suite.
own_mirror() {
    cat /etc/apt/sources.list.d/*.sources 2>/dev/null | awk '
        function flush() { if (!off && uri && suites ~ /(^| )(bookworm|trixie|stable|oldstable)( |$)/) print uri
                           off = 0; uri = suites = "" }
        /^[ \t]*$/                      { flush(); next }
        /^#/                            { next }
        tolower($1) == "enabled:"       { off = tolower($2) == "no" }
        tolower($1) == "uris:"          { uri = $2 }
        tolower($1) == "suites:"        { $1 = ""; suites = $0 }
        END                             { flush() }'
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        sed -n 's/^deb[ \t]*\(\[[^]]*\]\)\{0,1\}[ \t]*\([^ \t]*\)[ \t]*\(bookworm\|trixie\)[ \t].*/\2/p'
}

# An apt configuration of our own: Debian 13's suite, and of its packages only BACKPORTED.
write_own_apt() {
    mirror=$(own_mirror | sed -n 1p)
    [ -n "$mirror" ] || die 'the apt sources of this machine name no Debian archive for bookworm or trixie'
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -r "$keyring" ] || die "$keyring is missing; please install debian-archive-keyring"
    mkdir -p "$TMP/lists/partial" "$TMP/empty"
    chmod 755 "$TMP" "$TMP/lists" "$TMP/lists/partial" "$TMP/empty"
    echo "${1:-deb} [signed-by=$keyring] $mirror trixie main" >"$TMP/sources.list"
    {
        printf 'Package: *\nPin: release n=trixie\nPin-Priority: -1\n\n'
        printf 'Package: %s\nPin: release n=trixie\nPin-Priority: 500\n' "$BACKPORTED"
    } >"$TMP/preferences"
    cat >"$TMP/apt.conf" <<CONF
Dir::Etc::sourcelist "$TMP/sources.list";
Dir::Etc::sourceparts "$TMP/empty";
Dir::Etc::preferences "$TMP/preferences";
Dir::Etc::preferencesparts "$TMP/empty";
Dir::State::lists "$TMP/lists";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Acquire::Languages "none";
CONF
    APT_OWN=$TMP/apt.conf
}

install_backported() {
    write_own_apt
    say "anyllm adds these packages of Debian 13 to this machine: $*"
    say '    (Debian 12 has none; its package sources stay as they are, nothing else is changed)'
    apt update >"$TMP/update" 2>&1 ||
        { cat "$TMP/update" >&2; die 'cannot read the lists of Debian 13 from this machine'\''s archive'; }
    # Always by the full list, so that the dependencies come from the same suite.
    # shellcheck disable=SC2086
    apt -s --no-install-recommends install $BACKPORTED >"$TMP/plan" || die "apt-get cannot install: $*"
    refuse_more_than "$BACKPORTED"
    # shellcheck disable=SC2086
    apt -y --no-install-recommends install $BACKPORTED >"$TMP/log" 2>&1 ||
        { tail -n 20 "$TMP/log" >&2; die "could not install: $*"; }
    APT_OWN=
}

# fetch_source NAME=VERSION FOLDER: only reads, so it needs no root.
fetch_source() {
    case $(debian_version) in 12 | 13) ;; *) die 'sources are fetched on Debian 12 and 13 only' ;; esac
    TMP=$(mktemp -d)
    trap 'rm -rf "$TMP"' EXIT
    write_own_apt deb-src
    mkdir -p "$2"
    cd "$2"
    apt-get -c "$APT_OWN" -q update >"$TMP/update" 2>&1 || { cat "$TMP/update" >&2; die 'cannot read the lists of Debian 13'; }
    apt-get -c "$APT_OWN" -q source --tar-only --download-only "$1" >"$TMP/log" 2>&1 || { cat "$TMP/log" >&2; die "cannot fetch $1"; }
}

refuse_more_than() {
    awk '$1 == "Inst" || $1 == "Remv" { print $2 }' "$TMP/plan" | while read -r package; do
        case " $1 " in *" $package "*) ;; *)
            say "deps: Debian 13's packages would change '$package' too; nothing was installed"; exit 1 ;;
        esac
    done
}

install_missing() {
    TMP=$(mktemp -d)
    APT_OWN=
    HELD=
    trap 'release_services; $ROOT rm -rf "$TMP"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    own=
    newer=
    for package in "$@"; do
        case "$VERSION $BACKPORTED " in
        12*" $package "*) newer="$newer $package" ;;
        *) own="$own $package" ;;
        esac
    done
    # shellcheck disable=SC2086
    [ -z "$own" ] || install_packages $own
    # shellcheck disable=SC2086
    [ -z "$newer" ] || install_backported $newer
}

[ $# -gt 0 ] || set -- build
[ "$1" != source ] || { fetch_source "$2" "$3"; exit; }
GROUPS_ASKED=$*
missing=$(missing_packages "$(wanted_packages "$@")")
[ -n "$missing" ] || exit 0
VERSION=$(debian_version)
case $VERSION in 12 | 13) ;; *) check_other_system "$@" ;; esac
become_root
# shellcheck disable=SC2086
install_missing $missing
still=$(missing_packages "$(wanted_packages "$@")")
[ -z "$still" ] || die "still missing after the installation: $(echo $still)"
