#!/bin/sh
# What `make install` puts down, used as its readers use it: packages.sh BUILD SOURCE ANYLLM MOCKLLM
# Every C example of the README and of the manual pages is compiled and run against a server. Speaks TAP.
BUILD=$1 SOURCE=$2 ANYLLM=$3 MOCKLLM=$4
TMP=$(mktemp -d)
ROOT=$TMP/root
PIDS=
n=0

clean_up() {
    for pid in $PIDS; do kill "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; done
    rm -rf "$TMP"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

check() { # NAME WHAT-IS-WRONG
    n=$((n + 1))
    if [ -n "$2" ]; then
        echo "not ok $n - $1"
        echo "$2" | sed 's/^/# /'
    else
        echo "ok $n - $1"
    fi
}

skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }

# --- what is there

install_all() {
    meson install -C "$BUILD" --no-rebuild --quiet --destdir "$ROOT" >"$TMP/install.log" 2>&1 || { cat "$TMP/install.log"; return; }
    PREFIX=$ROOT$(sed -n 's/^prefix=//p' "$BUILD/meson-private/fal.pc")
    PC=$(dirname "$(find "$ROOT" -name fal.pc)")
    LIB=$(dirname "$PC")
}

lacking() {
    for file in bin/anyllm include/fal.h share/man/man1/anyllm.1 share/man/man3/libfal.3 \
        share/doc/libfal/examples/run.c share/bash-completion/completions/anyllm share/zsh/site-functions/_anyllm \
        share/fish/vendor_completions.d/anyllm.fish; do
        [ -s "$PREFIX/$file" ] || echo "$file is not installed"
    done
    for file in libfal.so libfal.so.0 libfal.a pkgconfig/fal.pc cmake/fal/falConfig.cmake cmake/fal/falConfigVersion.cmake; do
        [ -s "$LIB/$file" ] || echo "$file is not installed"
    done
}

# The program's word for what its table holds, in each shell that is here.
completions() {
    for command in run serve status; do
        for file in share/bash-completion/completions/anyllm share/zsh/site-functions/_anyllm share/fish/vendor_completions.d/anyllm.fish; do
            grep -qw "$command" "$PREFIX/$file" || echo "$file does not know $command"
        done
    done
    bash -n "$PREFIX/share/bash-completion/completions/anyllm" 2>&1
    command -v zsh >/dev/null && zsh -n "$PREFIX/share/zsh/site-functions/_anyllm" 2>&1
    command -v fish >/dev/null && fish -n "$PREFIX/share/fish/vendor_completions.d/anyllm.fish" 2>&1
    :
}

# --- the pages and the header

paged() {
    groups=" libfal fal_async fal_queue fal_realtime fal_result fal_client fal_storage fal_token fal_webhook "
    for page in "$PREFIX"/share/man/man3/*.3; do
        name=$(basename "$page" .3)
        case $groups in *" $name "*) ;; *) echo "$name" ;; esac
    done | sort -u
}

dangling() {
    for page in "$PREFIX"/share/man/man3/*.3; do
        target=$(sed -n '1s/^\.so //p' "$page")
        [ -z "$target" ] || [ -s "$PREFIX/share/man/$target" ] || echo "$page leads to $target"
    done
}

# Prototypes, one a line, blanks folded: of the header, and of the SYNOPSIS sections.
fold() { tr '\n' ' ' | tr -s ' ' | sed 's/; */;\n/g' | sed 's/( /(/g' | grep . | sort; }
prototypes() { awk 'sub(/^FAL_API /, "") { inside = 1 } inside { print } /;/ { inside = 0 }' "$SOURCE/include/fal.h" | fold; }
synopses() {
    for page in "$SOURCE"/man/*.3; do
        sed -n '/^\.SH SYNOPSIS/,/^\.fi/{s/\\f[BIR]//g;/^\./!p}' "$page"
    done | fold
}

# Members of the header's structs that no page names; `size` is in libfal(3).
unexplained() {
    sed 's/\\-/-/g' "$SOURCE"/man/*.3 >"$TMP/pages"
    awk '/^struct fal_[a-z_]+ \{/ { name = $2 } /^\};/ { name = "" }
         name != "" { gsub(/\/\*.*\*\//, ""); sub(/\/\*.*/, "") }
         name != "" && /^ *[a-z].*;$/ && !/^ *\*/ { print name, $0 }' "$SOURCE/include/fal.h" |
        while read -r name line; do
            case $line in
            *'(*'*) echo "$line" | sed 's/.*(\*\([a-z_]*\)).*/\1/' ;;
            *) echo "$line" | tr ',' '\n' | sed 's/;.*//; s/.*[ *]//' ;;
            esac | while read -r member; do grep -qw -- "$member" "$TMP/pages" || echo "$name: no page names $member"; done
        done
}

misread_roff() {
    for page in "$SOURCE"/man/*.[13]; do
        LC_ALL=C.UTF-8 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null | sed "s|^|$(basename "$page"): |"
    done
}

# --- a server to ask

wait_line() { # FILE SED-SCRIPT: what it prints of the file, as soon as it prints something
    for try in $(seq 1200); do
        line=$(sed -n "$2" "$1" | sed -n 1p)
        [ -z "$line" ] || { echo "$line"; return; }
        sleep 0.05
    done
}

start_server() {
    : >"$TMP/mock"
    : >"$TMP/log"
    "$MOCKLLM" --port 0 --die-with-parent >"$TMP/mock" 2>&1 &
    PIDS="$PIDS $!"
    port=$(wait_line "$TMP/mock" 's/^listening on //p')
    cat >"$TMP/anyllm.yaml" <<END
upstreams:
  mock: { kind: openai, base_url: "http://127.0.0.1:$port/v1" }
routes:
  - { model: "*", to: [mock] }
END
    mkdir "$TMP/home"
    env -i PATH="$PATH" HOME="$TMP/home" "$ANYLLM" serve --config "$TMP/anyllm.yaml" --listen 127.0.0.1:0 --data "$TMP/data" 2>"$TMP/log" &
    PIDS="$PIDS $!"
    BASE=$(wait_line "$TMP/log" 's/^listening on //p')
}

# --- programs

flags() { PKG_CONFIG_PATH=$PC pkg-config --define-variable=prefix="$PREFIX" "$@" fal; }
compile() { # SOURCE PROGRAM FLAGS…
    in=$1 out=$2
    shift 2
    # shellcheck disable=SC2068
    "${CC:-cc}" -Wall -Wextra -Wno-unused-parameter -Werror "$in" $@ -o "$out" 2>&1
}

signed() { # the signature of the delivery in $TMP/body, as Standard Webhooks has it
    { printf 'msg_1.%s.' "$1"; cat "$TMP/body"; } |
        openssl dgst -sha256 -mac HMAC -macopt hexkey:"$(printf %s "$SECRET" | base64 -d | od -An -tx1 | tr -d ' \n')" -binary | base64
}

# Asks the server, receives a delivery: whatever the example does, what it needs is there.
run() { # PROGRAM
    now=$(date +%s)
    env -i PATH="$PATH" HOME="$TMP/home" LD_LIBRARY_PATH="$LIB" FAL_BASE_URL="$BASE" FAL_KEY=any:key \
        HTTP_WEBHOOK_ID=msg_1 HTTP_WEBHOOK_TIMESTAMP="$now" HTTP_WEBHOOK_SIGNATURE="v1,$(signed "$now")" \
        WEBHOOK_SECRET="whsec_$SECRET" timeout 60 "$1" <"$TMP/body" >"$TMP/out" 2>"$TMP/err"
    code=$?
    [ "$code" = 0 ] || { echo "ended with $code"; cat "$TMP/err" "$TMP/out"; }
    grep -q . "$TMP/out" || echo 'printed nothing'
}

readme_example() {
    sed -n '/^```c$/,/^```$/{/^```/!p}' "$SOURCE/README.md" | sed "s|http://127.0.0.1:8787|$BASE|" >"$TMP/readme.c"
}

says_output() { grep -q '"output"' "$TMP/out" || { echo 'no output in the answer:'; cat "$TMP/out" "$TMP/err"; }; }

shared() { compile "$TMP/readme.c" "$TMP/shared" $(flags --cflags --libs) && run "$TMP/shared" && says_output; }

# With the archive; what it needs besides are the libraries that fal.pc names as private.
archived() {
    compile "$TMP/readme.c" "$TMP/archived" $(flags --cflags) "$LIB/libfal.a" $(sed -n 's/^Libs.private: //p' "$PC/fal.pc") \
        $(pkg-config --libs $(sed -n 's/^Requires.private: //p' "$PC/fal.pc" | tr -d ,)) && run "$TMP/archived" && says_output
    ldd "$TMP/archived" | grep libfal
}

cmake_project() {
    mkdir "$TMP/cmake"
    cp "$TMP/readme.c" "$TMP/cmake/ask.c"
    cat >"$TMP/cmake/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.13)
project(ask C)
find_package(fal 0.1 REQUIRED)
add_executable(ask ask.c)
target_link_libraries(ask fal::fal)
add_executable(ask_static ask.c)
target_link_libraries(ask_static fal::fal_static)
END
    { cmake -S "$TMP/cmake" -B "$TMP/cmake/build" -DCMAKE_PREFIX_PATH="$PREFIX" && cmake --build "$TMP/cmake/build"; } >"$TMP/cmake.log" 2>&1 ||
        { cat "$TMP/cmake.log"; return; }
    run "$TMP/cmake/build/ask" && says_output
    run "$TMP/cmake/build/ask_static" && says_output
}

# --- the folder to vendor

WITHOUT='-DFAL_WITHOUT_REALTIME -DFAL_WITHOUT_WEBHOOK'
amalgamate() { "$SOURCE/scripts/amalgamate.sh" "$TMP/one" --no-yyjson 2>&1; }

one_object() { # NAME FLAGS…: with it, an object that the programs below are linked with
    name=$1
    shift
    "${CC:-cc}" -std=c17 -O1 -Wall -Wextra -Werror "$@" -c "$TMP/one/fal.c" -o "$TMP/one/$name.o" 2>&1
    nm -g --defined-only "$TMP/one/$name.o" | awk '$3 !~ /^fal_/ { print "shows " $3 }'
}

one_warnings() {
    one_object whole
    # shellcheck disable=SC2086
    one_object less $WITHOUT
    for less in -DFAL_WITHOUT_REALTIME -DFAL_WITHOUT_WEBHOOK; do
        "${CC:-cc}" -std=c17 -Wall -Wextra -Werror -fsyntax-only $less "$TMP/one/fal.c" 2>&1
        ! command -v clang >/dev/null || clang -std=c17 -Wall -Wextra -Werror -fsyntax-only $less "$TMP/one/fal.c" 2>&1
    done
    ! command -v clang >/dev/null || clang -std=c17 -Wall -Wextra -Werror -fsyntax-only "$TMP/one/fal.c" 2>&1
}

one_exports() { nm -g --defined-only "$TMP/one/whole.o" | awk '$3 !~ /^fal__/ { print $3 }' | sort | diff "$TMP/declared" -; }

one_answers() { # OBJECT LIBRARIES…
    object=$1
    shift
    # shellcheck disable=SC2046
    "${CC:-cc}" -I"$TMP/one" "$TMP/readme.c" "$TMP/one/$object.o" "$@" $(pkg-config --libs yyjson libcurl) -pthread -o "$TMP/one/ask" 2>&1 &&
        run "$TMP/one/ask" && says_output
}

# What is left out is not wanted in any form, and answers with words.
one_without() {
    # shellcheck disable=SC2086
    "${CC:-cc}" $WITHOUT -M "$TMP/one/fal.c" | grep -oE '[^ ]*/(msgpack|wslay|openssl)[^ ]*\.h' | head -3
    cat >"$TMP/one/less.c" <<'END'
#include <fal.h>
#include <stdio.h>
int main(void) {
    fal_client *client = NULL;
    fal_result *result = NULL;
    fal_realtime *realtime = NULL;
    struct fal_webhook delivery = FAL_WEBHOOK_INIT;
    struct fal_webhook_keys keys = FAL_WEBHOOK_KEYS_INIT;
    if (fal_client_new(NULL, &client) != FAL_OK) return 1;
    int code = fal_realtime_open(client, "a/b", NULL, &realtime, &result);
    printf("%d %s %d\n", code, fal_result_error(result)->message, fal_webhook_verify(&delivery, &keys));
    fal_result_free(result);
    fal_client_free(client);
    return code == FAL_ERR_ARGUMENT && fal_webhook_verify(&delivery, &keys) == FAL_WEBHOOK_NO_KEY ? 0 : 2;
}
END
    # shellcheck disable=SC2046
    "${CC:-cc}" -I"$TMP/one" "$TMP/one/less.c" "$TMP/one/less.o" $(pkg-config --libs yyjson libcurl) -o "$TMP/one/less" 2>&1 &&
        run "$TMP/one/less"
    grep -q 'built without' "$TMP/out" || cat "$TMP/out"
    one_answers less
}

# --- the examples of the pages

# FOLDER/PAGE-N.c for each example of the pages that is a whole program.
extract_examples() {
    mkdir "$1"
    for page in "$SOURCE"/man/*.3; do
        awk -v out="$1/$(basename "$page" .3)" '
            /^\.EX/ { inside = 1; n++; next }
            /^\.EE/ { inside = 0 }
            inside  { gsub(/\\-/, "-"); gsub(/\\e/, "\\"); print >(out "-" n ".c") }' "$page"
    done
}

page_example() { # FILE.c
    compile "$1" "${1%.c}" $(flags --cflags --libs) && run "${1%.c}"
    case $1 in */fal_webhook-1.c) grep -q '^Status: 204' "$TMP/out" || cat "$TMP/out" ;; esac
}

install_all >"$TMP/wrong" 2>&1
SECRET=$(printf 'a secret of 24 bytes, not' | base64)
printf '{"status":"OK"}' >"$TMP/body"
start_server
readme_example
extract_examples "$TMP/examples"
set -- "$TMP"/examples/*.c
echo 1..$(($# + 15))

check install_works "$(cat "$TMP/wrong")"
check install_is_whole "$(lacking)"
check completions_are_the_tables "$(completions)"
prototypes | grep -o '\bfal_[a-z_]*(' | tr -d '(' | sort -u >"$TMP/declared"
check each_member_is_named "$(unexplained)"
check each_function_has_a_page "$(paged | diff "$TMP/declared" - ; dangling)"
synopses >"$TMP/synopses"
check synopses_are_the_headers "$(prototypes | diff - "$TMP/synopses")"
if command -v man >/dev/null; then check pages_are_clean "$(misread_roff)"; else skip pages_are_clean 'no man'; fi
check readme_example_answers "$(shared)"
check readme_example_answers_with_the_archive "$(archived)"
if command -v cmake >/dev/null; then check cmake_finds_the_targets "$(cmake_project)"; else skip cmake_finds_the_targets 'no cmake'; fi
check amalgamation_is_made "$(amalgamate)"
check amalgamation_is_clean "$(one_warnings)"
check amalgamation_shows_what_the_header_declares "$(one_exports)"
check amalgamation_answers "$(one_answers whole $(sed -n 's/^Libs.private: //p' "$PC/fal.pc") -lcrypto)"
check amalgamation_answers_with_parts_left_out "$(one_without)"
for file; do
    check "example_$(basename "$file" .c)" "$(page_example "$file")"
done
