#!/bin/sh
# Runs test suites and counts single tests, not programs.
#
#   scripts/run-tests.sh BUILD SUITE...     SUITE: unit, wire, all
#
# unit, wire   the tests that meson.build files declare with suite: 'unit' or 'wire' (all: every declared one)
# wire, all    also test/wire/*.test.mjs by Node's runner and test/wire/test_*.py by pytest; what they show of each client
#              must be docs/compatibility.md (COMPATIBILITY=write writes it)
#
# A program that crashes, ends early or runs no test counts as a failed test. A skipped test says why with a line
# "skip: REASON" before it skips. T=PATTERN runs the test functions whose names contain PATTERN.
# The last line is "N passed, N failed, N skipped"; it is also appended to the file that TEST_TOTALS names.
set -u
ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
BUILD=$(CDPATH='' cd -- "$1" && pwd) || exit 1
shift
OUT=$BUILD/test-results
RESULTS=$OUT/results     # one line per test: "passed|failed|skipped PROGRAM NAME REASON", separated by tabs
T=${T:-}

# Nothing of the user's own set-up reaches the tests, but an engine of their choice.
clean_environment() {
    for name in $(env | sed -n 's/^\(\(FAL\|OPENROUTER\|ANYLLM\)_[A-Z0-9_]*\)=.*/\1/p'); do
        [ "$name" = ANYLLM_ENGINE ] || unset "$name"
    done
}

# The declared tests whose program holds a function name that contains T (test functions leave theirs in it).
programs_with() {
    meson introspect -i --tests "$BUILD" | awk '
        /"cmd": \[/  { getline; gsub(/^ *"|",?$/, ""); program = $0 }
        /"name": /   { sub(/^ *"name": "/, ""); sub(/",?$/, ""); print program "\t" $0 }' |
        while IFS='	' read -r program name; do
            grep -qF -- "$T" "$program" 2>/dev/null && echo "$name"
        done | sort -u
}

run_meson() {
    suites=
    [ "$1" = all ] || suites="--suite $1"
    names=
    if [ -n "$T" ]; then
        names=$(programs_with)
        [ -n "$names" ] || return 0
    fi
    log=$BUILD/meson-logs/count-$1
    rm -f "$log.txt"
    # shellcheck disable=SC2086
    CMOCKA_MESSAGE_OUTPUT=TAP TEST_FILTER=${T:+*$T*} meson test -C "$BUILD" --no-rebuild --print-errorlogs \
        --logbase "count-$1" $suites $names 2>&1 |
        sed -u -e '/^ninja: /d' -e '/^$/d' -e '/^Full log written/d' -e '/^[A-Z][A-Za-z ]*: *[0-9]* *$/d' \
            -e '/^Summary of Failures:$/,$d'
    if [ -r "$log.txt" ]; then
        count_meson "$log.txt" >>"$RESULTS"
        sed -n 's/^# \([0-9]* rows .* wait for .*\):$/\1/p' "$log.txt" # test/wire/waits.h
    else note failed meson "$1" 'the tests could not be started'
    fi
}

# Reads the sections of Meson's log: the TAP that cmocka wrote, and how the program ended. Why a test failed stands in the
# comments after its line; what fail_msg() said in the program's standard error, in the tests' order.
count_meson() {
    awk -v filtered="$T" '
        function result(kind, name, why) {
            if (kind == "failed") { failures++; failing[failures] = name; reasons[failures] = why }
            else print kind "\t" program "\t" name "\t" why
        }
        function print_failures(   i, said) {
            for (i = 1; i <= failures; i++) {
                if (reasons[i] ~ /^[^;]*: error: Failure!$/ && said < messages) reasons[i] = message[++said] "; " reasons[i]
                print "failed\t" program "\t" failing[i] "\t" substr(reasons[i], 1, 400)
            }
        }
        function finish() {
            if (program == "") return
            if (plan < 0 && seen == 0) result(ended == "exit status 0" ? "passed" : ended == "exit status 77" ? "skipped" : "failed",
                                              "(whole program)", ended == "exit status 77" ? reason : ended)
            else if (plan == 0 && filtered == "") result("failed", "(whole program)", "ran no test")
            else if (seen < plan || (ended != "exit status 0" && failed == 0))
                result("failed", "(whole program)", "ended early: " ended)
            print_failures()
            program = ""
        }
        /^=+ *[0-9]+\/[0-9]+ *=+$/ {
            finish()
            plan = -1
            seen = failed = failures = messages = inside = open = 0
            reason = ended = ""
            next
        }
        /^test: /    && !inside { program = $0; sub(/^test: */, "", program); next }
        /^result: /  && !inside { ended = $0; sub(/^result: */, "", ended); next }
        /^-+ stdout -+$/ { inside = 1; next }
        /^-+ stderr -+$/ { open = 0; next }
        /^1\.\.[0-9]+$/ && inside { plan = substr($0, 4) + 0; next }
        /^skip: / { reason = substr($0, 7); next }
        /^ERROR: / { message[++messages] = substr($0, 8); next }
        /^# / && open {
            gsub(/\t/, " ")
            reasons[failures] = reasons[failures] (reasons[failures] == "" ? "" : "; ") substr($0, 3)
            if (/: error: Failure!$/) open = 0
            next
        }
        /^(not )?ok [0-9]+/ && inside {
            seen++
            kind = /# SKIP/ ? "skipped" : /^ok/ ? "passed" : "failed"
            if (kind == "failed") failed++
            open = kind == "failed"
            name = $0
            sub(/^(not )?ok [0-9]+ *-? */, "", name)
            if (match(name, /. # SKIP */)) { reason = substr(name, RSTART + RLENGTH); name = substr(name, 1, RSTART) }
            sub(/# SKIP */, "", name)                     # cmocka: "not ok 3 # SKIP name"
            result(kind, name, kind == "skipped" ? reason : "")
            reason = ""
        }
        /^Summary of Failures:$/ || /^Ok: +[0-9]+/ { finish() }
        END { finish() }' "$1"
}

run_node() {
    set -- "$ROOT"/test/wire/*.test.mjs
    [ -e "$1" ] || return 0
    if [ -n "$T" ]; then # a file without such a test would only start its servers
        tables= # their tests are named "FEATURE: CLIENT"; they are the files that fill cells
        grep -qF -- "${T%%: *}" "$ROOT/test/wire/features.json" && tables=cells.mjs
        # shellcheck disable=SC2046
        set -- $(grep -lF -e "$T" ${tables:+-e "$tables"} -- "$@")
        [ $# -gt 0 ] || return 0
    fi
    "$ROOT/scripts/wire-setup.sh" python >/dev/null || : # snippets of the documents are Python's too
    node=$("$ROOT/scripts/wire-setup.sh" node) || { note failed node set-up 'the JavaScript client could not be fetched'; return; }
    (cd "$ROOT/test/wire" && TEST_BUILD=$BUILD "$node" --test --test-force-exit --test-timeout=300000 \
        ${T:+--test-name-pattern="$T"} --test-reporter=spec --test-reporter-destination=stdout \
        --test-reporter=tap --test-reporter-destination="$OUT/node.tap" "$@") || :
    count_node "$OUT/node.tap" >>"$RESULTS"
}

# Every "ok" line of Node's TAP but those of suites (they only gather) and of whole files (a file that holds no
# test reports itself as one; that is a failure).
count_node() {
    [ -s "$1" ] || { printf 'failed\tnode\t(runner)\tended early\n'; return; }
    awk -v filtered="$T" '
        function flush() {
            if (line == "") return
            kind = line ~ /^ *not ok/ ? "failed" : "passed"
            name = line
            sub(/^ *(not )?ok [0-9]+ - /, "", name)
            why = ""
            if (match(name, / # (SKIP|TODO)/)) {
                if (name ~ / # SKIP/) kind = "skipped"
                why = substr(name, RSTART + 7); name = substr(name, 1, RSTART - 1)
            }
            if (name ~ /\.test\.mjs$/) {
                if (kind == "passed" && filtered != "") { line = ""; return }
                kind = "failed"; why = "the file ran no test or ended early"
            }
            if (kind == "failed" && why == "") why = substr(told, 1, 400)
            if (type != "suite") print kind "\tnode\t" name "\t" why
            line = ""
        }
        /^ *(not )?ok [0-9]+ - / { flush(); line = $0; type = "test"; told = ""; next }
        /^ *error: / && told == "" {
            told = $0
            sub(/^ *error: */, "", told)
            if (told ~ /^\|-?$/) { getline told; sub(/^ */, "", told) }
            gsub(/\t/, " ", told)
        }
        /^ *type: .suite.$/ { type = "suite" }
        /^# tests / { whole = 1 }
        END { flush(); if (!whole) print "failed\tnode\t(runner)\tended early" }' "$1"
}

# test/wire/conftest.py writes a line for each test into the results.
run_python() {
    set -- "$ROOT"/test/wire/test_*.py
    [ -e "$1" ] || return 0
    case $T in *[!A-Za-z0-9_:.+/-]*) return 0 ;; esac # no word that pytest can look for
    python=$("$ROOT/scripts/wire-setup.sh" python) || { note failed python set-up 'the Python clients could not be fetched'; return; }
    ended=0
    (cd "$ROOT/test/wire" && TEST_BUILD=$BUILD TEST_PYTHON_RESULTS=$RESULTS TEST_NAMED=$T \
        "$python" -B -m pytest -p no:cacheprovider -o tmp_path_retention_policy=none -v) || ended=$?
    case $ended in
    0 | 1 | 5) ;; # passed, some failed (they are counted), none has such a name
    *) note failed python '(runner)' "ended with $ended" ;;
    esac
}

# What the tests have shown of each client, against docs/compatibility.md.
compare_compatibility() {
    [ -z "$T" ] || return 0
    node=$("$ROOT/scripts/wire-setup.sh" node) || return 0
    if "$node" "$ROOT/test/wire/compatibility.mjs" "$COMPATIBILITY_CELLS" ${COMPATIBILITY:+--write}; then
        note passed compatibility docs/compatibility.md ''
    else
        note failed compatibility docs/compatibility.md 'not what the tests have shown'
    fi
}

note() { printf '%s\t%s\t%s\t%s\n' "$@" >>"$RESULTS"; }

list() {
    awk -F'\t' -v kind="$1" '$1 == kind { printf "%s: %s: %s%s\n", kind, $2, $3, $4 == "" ? "" : " (" $4 ")" }' "$RESULTS"
}

summary() {
    list skipped
    list failed
    passed=$(grep -c '^passed' "$RESULTS")
    failed=$(grep -c '^failed' "$RESULTS")
    skipped=$(grep -c '^skipped' "$RESULTS")
    [ -z "${TEST_TOTALS:-}" ] || echo "$passed $failed $skipped" >>"$TEST_TOTALS"
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ] && [ "$((passed + skipped))" -gt 0 ]
}

clean_environment
mkdir -p "$OUT"
: >"$RESULTS"
COMPATIBILITY_CELLS=$OUT/cells # test/wire/cells.mjs, test/wire/conftest.py
: >"$COMPATIBILITY_CELLS"
export COMPATIBILITY_CELLS
for suite in "$@"; do
    run_meson "$suite"
    case $suite in wire | all) run_node; run_python; compare_compatibility ;; esac
done
summary
