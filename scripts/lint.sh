#!/bin/sh
# The checks of `make lint`, each one a function below. Prints FILE:LINE: what is wrong; ends with 1 if anything is.
# Reports without failing: functions of 61 to 80 lines.
set -u
cd "$(dirname "$0")/.." || exit 1
TMP=$(mktemp -d)
trap 'rm -rf "$TMP"' EXIT
FORMATTER=clang-format-19

c_files() { find include src test bench examples fuzz -name '*.[ch]' -not -path '*/node_modules/*' 2>/dev/null | sort; }

# The text of a C file with comments, strings and character constants blanked out; lines stay lines.
code_of() {
    awk -v quote="'" '
        { out = ""; n = length($0)
          for (i = 1; i <= n; i++) {
              c = substr($0, i, 1); two = substr($0, i, 2)
              if (comment)          { if (two == "*/") { comment = 0; i++ } continue }
              if (two == "/*")      { comment = 1; i++; out = out " "; continue }
              if (two == "//")      break
              if (c == "\"" || c == quote) {
                  for (i++; i <= n && substr($0, i, 1) != c; i++) if (substr($0, i, 1) == "\\") i++
                  out = out c c; continue
              }
              out = out c
          }
          print out }' "$1"
}

# Formatting is clang-format 19's; another version lays some things out differently.
check_format() {
    command -v "$FORMATTER" >/dev/null || { echo "$FORMATTER is not installed (make lint installs it on Debian)"; return; }
    c_files | xargs "$FORMATTER" --dry-run -Werror 2>&1 | sed -n 's/: error: code should be clang-formatted.*/: not formatted (make format FILES=…)/p' |
        awk -F: '!seen[$1]++'
}

# Functions that copy without a bound, convert without an error, keep hidden state or eat the stack.
check_banned() {
    c_files | while read -r file; do
        code_of "$file" | awk -v file="$file" '
            { line = $0
              while (match(line, /[A-Za-z_][A-Za-z_0-9]*[ \t]*\(/)) {
                  name = substr(line, RSTART, RLENGTH); sub(/[ \t]*\($/, "", name)
                  if (name ~ /^(strcpy|strcat|sprintf|vsprintf|gets|atoi|atol|atoll|strtok|gmtime|localtime|ctime|asctime|alloca)$/)
                      print file ":" NR ": banned function " name
                  line = substr(line, RSTART + RLENGTH)
              } }'
    done
}

# The table of ARCHITECTURE.md: which room may include which. libfal and the program know fal.h besides.
allowed_rooms() {
    case $1 in
    base)   echo base ;;
    net)    echo net base ;;
    store)  echo store base net/loop.h ;;
    queue)  echo queue store net base ;;
    llm)    echo llm net base ;;
    api)    echo api queue llm store net base ;;
    client) echo client base ;;
    cli)    echo cli base ;;
    serve)  echo cli api queue llm store net base ;;
    esac
}

# Headers of ours are included as "room/file.h" everywhere. `serve` alone joins the server's rooms; engine_exec is the
# hidden command by which it starts the engine.
check_arrows() {
    find src -name '*.[ch]' | sort | while read -r file; do
        room=${file#src/}
        room=${room%%/*}
        case $file in src/cli/serve*.c | src/cli/engine_exec.c) room=serve ;; esac
        allowed=" $(allowed_rooms "$room") "
        sed -n 's/^[ \t]*#[ \t]*include[ \t]*"\([^"]*\)".*/\1/p' "$file" | while read -r header; do
            check_arrow "$file" "$room" "$header" "$allowed"
        done
        grep -qE '^[ \t]*#[ \t]*include[ \t]*<fal\.h>' "$file" && case $room in
            client | cli | serve) ;; *) echo "$file: <fal.h> is for client and cli" ;;
        esac
    done
}

check_arrow() {
    case $3 in
    fal.h) case $2 in client | cli | serve) return ;; esac ;;
    */*)
        case $4 in *" ${3%%/*} "* | *" $3 "*) return ;; esac
        [ -d "src/${3%%/*}" ] || return ;;
    *)
        [ -e "$(dirname "$1")/$3" ] && { echo "$1: include \"$3\" by its room: \"$(basename "$(dirname "$1")")/$3\""; return; }
        return ;;
    esac
    echo "$1: the room $2 may not include \"$3\""
}

# Every key of the option tables (lines that begin {"name", FIELD_…) stands in docs/configuration.md, and those that
# are flags also in man/anyllm.1.
check_options() {
    sed -n 's/^ *{"\([a-z_]*\)", FIELD_[A-Z0-9_]*, \(USE_[A-Z_| ]*\),.*/\1 \2/p' src/base/*.c >"$TMP/options"
    [ -s "$TMP/options" ] || { echo 'src/base: no option table found (lines that begin {"name", FIELD_…, USE_…)'; return; }
    while read -r key use; do
        grep -qwE -- "$key" docs/configuration.md 2>/dev/null || echo "docs/configuration.md: the key $key is not documented"
        [ "$use" = USE_FILE ] || in_man_page "$(printf %s "$key" | tr _ -)"
    done <"$TMP/options"
    # The client's and the operator's commands' options: {"name", "VALUE" or NULL, the commands …
    for file in src/cli/args.c src/cli/admin_args.c; do
        sed -n 's/^ *{"\([a-z-]*\)", \(NULL\|"[^"]*"\), [A-Z_| ]*,.*/\1/p' "$file" >"$TMP/options"
        [ -s "$TMP/options" ] || echo "$file: no option table found"
        while read -r flag; do in_man_page "$flag"; done <"$TMP/options"
    done
}

in_man_page() {
    sed 's/\\-/-/g' man/anyllm.1 | grep -qE -- "--(no-)?$1([^a-z-]|\$)" || echo "man/anyllm.1: --$1 is not documented"
}

# Our layout puts a function's head and its closing brace into column 1, so its length is the distance.
check_length() {
    c_files | xargs awk '
        FNR == 1 { head = body = 0 }
        !body && /^[A-Za-z_].*\(/ { head = FNR }
        !body && head && /;$|=/   { head = 0 }
        !body && head && /\{$/    { body = 1 }
        /^\}/ {
            lines = FNR - head + 1
            if (body && lines > 60)
                print FILENAME ":" head ": " (lines > 80 ? "" : "note: ") "function of " lines " lines (60 is the limit)"
            head = body = 0
        }'
}

# No registry address in a lock file, nothing of one machine in what is committed.
check_lock_files() {
    grep -nE '"resolved"|https?://' test/wire/package-lock.json 2>/dev/null | sed 's/^/test\/wire\/package-lock.json:/; s/$/ (no addresses in a lock file)/'
}

for check in format banned arrows options length lock_files; do "check_$check" >>"$TMP/found"; done
cat "$TMP/found" >&2
faults=$(grep -vc ': note: ' "$TMP/found")
[ "$faults" = 0 ] || { echo "lint: $faults faults" >&2; exit 1; }
