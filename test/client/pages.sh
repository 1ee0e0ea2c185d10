#!/bin/sh
# What people read about the program against the program: pages.sh ANYLLM MOCKLLM MAN-PAGE USER-PAGE.md
# Every command, option and letter of the table stands in the man page's section about it, and nothing else does; every
# example of both pages runs, in the order in which it stands, against a server with the scripted upstream. Speaks TAP.
set -u
ANYLLM=$(realpath "$1") MOCK=$(realpath "$2") MAN=$3 GUIDE=$4
n=0
TMP=$(mktemp -d)
SERVER='' UPSTREAM=''
trap 'end_server; kill $UPSTREAM 2>/dev/null; rm -rf "$TMP"' EXIT
trap 'exit 1' HUP INT TERM

check() { # NAME WHAT-IS-WRONG
    n=$((n + 1))
    if [ -n "$2" ]; then
        echo "not ok $n - $1"
        echo "$2" | sed 's/^/# /'
    else
        echo "ok $n - $1"
    fi
}

# ---- The table

commands() { "$ANYLLM" help | sed -n 's/^  \([a-z-]*\)  .*/\1/p'; }

# "--name", "-x" of a command, one in a line.
options() { "$ANYLLM" help "$1" | sed -n 's/^ *\(-[A-Za-z], \)\{0,1\}\(--[a-z-]*\).*/\1\n\2/p' | tr -d ', ' | grep .; }

# The man page as text; backslashes and fonts away.
plain() { sed 's/\\-/-/g; s/\\f[A-Z]//g; s/^\.[A-Z]* //; s/"//g; s/\\(.[a-z]//g' "$MAN"; }

# What stands under the heading that names this command.
section() {
    word=$(printf %s "$1" | tr a-z A-Z)
    awk -v word="$word" '/^\.SH / { on = 0; line = $0; gsub(/[,"]/, " ", line); k = split(line, w, " ")
                                    for (i = 2; i <= k; i++) if (w[i] == word) on = 1 }
                         on' "$MAN" | sed 's/\\-/-/g; s/\\f[A-Z]/ /g; s/"//g; s/ , / /g'
}

# The options that stand at the head of a .TP there. "--no-x" and "--x" are each their own.
documented() {
    section "$1" | awk '/^\.TP/ { getline; print }' | grep -oE -- '(^| )--?[A-Za-z][a-z-]*' | tr -d ' ' | sort -u
}

heads() { sed -n 's/^\.SH //p' "$MAN" | tr 'A-Z,' 'a-z ' | tr -s ' ' '\n' | tr -d '"'; }

missing_commands() {
    for c in $(commands); do
        heads | grep -qx "$c" || echo "anyllm $c has no section in the man page"
        plain | grep -qE "anyllm ([a-z]+ )*$c|\| $c" || echo "anyllm $c is not in the synopsis"
    done
}

missing_options() {
    for c in $(commands); do
        options "$c" >"$TMP/options"
        documented "$c" >"$TMP/documented"
        while read -r o; do
            grep -qxe "$o" "$TMP/documented" || echo "anyllm $c $o is not in the man page"
        done <"$TMP/options"
    done
}

# An option in a section is one of the commands of that heading.
unknown_options() {
    for c in $(commands); do
        documented "$c" >"$TMP/documented"
        heading=$(section "$c" | sed -n '1s/^\.SH //p' | tr 'A-Z,' 'a-z ')
        for other in $heading; do options "$other"; done 2>/dev/null | sort -u >"$TMP/options"
        comm -13 "$TMP/options" "$TMP/documented" | sed "s/^/the section about $c has an option that none has: /"
    done | sort -u
}

# Each option of the client commands with the commands that its paragraph names in parentheses, none: "--image: run stream submit".
named() {
    section run | sed 's/^\.[A-Z]* //; s/^TP/.TP/' | awk -v commands="$(commands | tr '\n' ' ')" '
        function end_of_paragraph(    i, k, w, list, rest, part) {
            list = ""; rest = text
            while (match(rest, /\([^)]*\)/)) {
                part = substr(rest, RSTART + 1, RLENGTH - 2); rest = substr(rest, RSTART + RLENGTH)
                gsub(/,/, " ", part); k = split(part, w, " ")
                for (i = 1; i <= k; i++) if (index(" " commands, " " w[i] " ")) list = list " " w[i]
            }
            k = split(head, w, /[ ,]+/)
            for (i = 1; i <= k; i++) if (w[i] ~ /^--?[A-Za-z]/) print w[i] ":" list
            head = text = ""
        }
        /^\.TP/ { end_of_paragraph(); getline; head = $0; next }
        { text = text " " $0 }
        END { end_of_paragraph() }'
}

wrong_commands() {
    client=$(section run | sed -n '1s/^\.SH //p' | tr 'A-Z,' 'a-z ')
    for c in $client; do options "$c" | sed "s/^/$c /"; done >"$TMP/table"
    named >"$TMP/named"
    while IFS=: read -r option list; do
        for c in $client; do
            said=no has=no
            case " ${list:-$client} " in *" $c "*) said=yes ;; esac
            grep -qxe "$c $option" "$TMP/table" && has=yes
            [ $said = $has ] || echo "$option of anyllm $c: the man page says $said, the table $has"
        done
    done <"$TMP/named"
}

# ---- The examples

man_examples() { awk '/^\.EX/ { on = 1; next } /^\.EE/ { on = 0 } on' "$MAN" | sed 's/\\-/-/g; s/\\e/\\/g'; }
guide_examples() { awk '/^```sh$/ { on = 1; next } /^```$/ { on = 0 } on' "$GUIDE"; }

start_upstream() {
    "$MOCK" --die-with-parent >"$TMP/mock" &
    UPSTREAM=$!
    wait_for "$TMP/mock" 'listening on'
    PORT=$(sed -n 's/listening on \([0-9]*\).*/\1/p' "$TMP/mock")
}

wait_for() { # FILE TEXT
    tries=0
    until grep -q "$2" "$1" 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || { echo "$2 never came: $(cat "$1")" >&2; exit 1; }
        sleep 0.1
    done
}

end_server() {
    [ -n "$SERVER" ] && kill "$SERVER" 2>/dev/null && wait "$SERVER" 2>/dev/null
    SERVER=''
}

# A home of its own: configuration, data, runtime folder, and what the examples speak of.
make_home() {
    rm -rf "$TMP/home"
    mkdir -p "$TMP/home/config/anyllm" "$TMP/home/bin" "$TMP/home/work"
    mkdir -m 700 "$TMP/home/run"
    ln -s "$ANYLLM" "$TMP/home/bin/anyllm"
    cat >"$TMP/home/config/anyllm/anyllm.yaml" <<END
listen: 127.0.0.1:0
upstreams:
  mock: { kind: openai, base_url: http://127.0.0.1:$PORT/v1 }
routes:
  - { model: "*", to: [mock] }
  - { model: "openai/gpt-4.1", to: [mock] }
END
    (
        cd "$TMP/home/work" || exit 1
        echo 'Milk, bread.' >notes.txt
        echo '{"prompt":"Hello"}' >input.json
        base64 -d >cat.png <<END
iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==
END
    )
}

# In a subshell or in the background: it becomes the command, so that $! is its process.
in_home() { # COMMAND…
    cd "$TMP/home/work" || exit 1
    exec env -i PATH="$TMP/home/bin:/usr/bin:/bin" HOME="$TMP/home" XDG_CONFIG_HOME="$TMP/home/config" \
        XDG_DATA_HOME="$TMP/home/data" XDG_RUNTIME_DIR="$TMP/home/run" ANYLLM_PRIVATE_IDLE=1 ${BASE:+ANYLLM_BASE="$BASE"} "$@"
}

# The first example of a page is the server; what follows asks it.
run_examples() { # EXAMPLES
    make_home
    BASE=
    first=$(head -n 1 "$1")
    case $first in "anyllm serve"*) ;; *) echo "the first example does not start a server: $first"; return ;; esac
    in_home sh -c "exec $first" 2>"$TMP/server" &
    SERVER=$!
    wait_for "$TMP/server" 'event=started' # behind the whole line with the address
    BASE=$(sed -n 's/^listening on \(http.*[0-9]\)$/\1/p' "$TMP/server" | head -n 1)
    [ -n "$BASE" ] || { echo "the server does not say where it listens"; cat "$TMP/server"; return; }
    sed 1d "$1" >"$TMP/script"
    (in_home sh -ex "$TMP/script") >"$TMP/out" 2>"$TMP/err" </dev/null || { tail -n 15 "$TMP/out" "$TMP/err"; tail -n 5 "$TMP/server"; }
    end_server
}

examples() { # PAGE, and how its examples are taken out
    "$1" >"$TMP/examples"
    [ "$(grep -c anyllm "$TMP/examples")" -ge 5 ] || echo "too few examples"
    run_examples "$TMP/examples"
}

echo 1..6
check 'the man page has every command' "$(missing_commands)"
check 'the man page has every option where it belongs' "$(missing_options)"
check 'the man page has no option that is none' "$(unknown_options)"
check 'the man page says which commands an option is of' "$(wrong_commands)"
start_upstream
examples man_examples >"$TMP/wrong"
check 'the examples of the man page run' "$(cat "$TMP/wrong")"
examples guide_examples >"$TMP/wrong"
check 'the examples of docs/cli.md run' "$(cat "$TMP/wrong")"
