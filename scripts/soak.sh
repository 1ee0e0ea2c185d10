#!/bin/sh
# The long forms of the suites that kill, cut and simulate. Each says what it has found as it goes; the last lines are the
# figures of each promise, for docs/reliability.md.
#
#   scripts/soak.sh BUILD [BUILD-ASAN]     BUILD-ASAN: has the programs whose allocations fail, with the sanitizers
set -u
BUILD=$1
MEMORY=${2:-$BUILD}
LOG=$BUILD/soak.log
WIRE="$BUILD/anyllm $BUILD/test/mock/mockllm"
KILLS="$WIRE $BUILD/test/anyllm-breakable"
failed=0
: >"$LOG"

# once NAME PROGRAM ARGUMENT…: the test functions whose names begin so. Nothing that passed and no figure: there are none.
once() {
    name=$1
    began=$(date +%s)
    shift
    if TEST_FILTER="$name*" "$@" >"$LOG.one" 2>&1; then end=ok; else end=FAILED; failed=1; fi
    sed -n "s/^# \([A-Z][0-9]\)/$name: \1/p" "$LOG.one" >>"$LOG"
    if [ "$end" = ok ] && ! grep -Eq '^# [A-Z][0-9]|^\[  PASSED  \] [1-9]' "$LOG.one"; then
        end='FAILED: no test ran'
        failed=1
    fi
    [ "$end" = ok ] || cat "$LOG.one"
    printf 'soak: %s: %s after %s s\n' "$name" "$end" "$(($(date +%s) - began))"
}

export ANYLLM_LONG=1
# shellcheck disable=SC2086
{
    once T1_T2_T15_kills "$BUILD/test/wire/test_kill_loop" $KILLS
    once T2_a_retry "$BUILD/test/wire/test_kill_loop" $KILLS
    once T14_ "$BUILD/test/wire/test_kill_status" $KILLS
    once T3_ "$BUILD/test/wire/test_kill_ends" $KILLS
    once T4_ "$BUILD/test/wire/test_kill_ends" $KILLS
    once T12_ "$BUILD/test/wire/test_kill_ends" $KILLS
    once Q4_ "$BUILD/test/wire/test_kill_ends" $KILLS
    once Q10_ "$BUILD/test/wire/test_kill_ends" $KILLS
    once Q14_ "$BUILD/test/wire/test_kill_ends" $KILLS
    once Q15_ "$BUILD/test/wire/test_kill_clock" $WIRE "$BUILD/test/wire/libkill_clock_shim.so"
    once T7_ "$BUILD/test/store/test_power"
    once T8_ "$BUILD/test/store/test_power_faults"
    once Q11_ "$BUILD/test/wire/test_disk_full" $WIRE "$BUILD/test/wire/libdisk_shim.so"
    once T11_ "$BUILD/test/wire/test_disk_outside" $KILLS
    [ "$MEMORY" != "$BUILD" ] || echo "soak: T9_: without the sanitizers"
    once T9_ "$MEMORY/test/wire/test_failing_memory" "$MEMORY/test/wire/anyllm-failing" "$MEMORY/test/mock/mockllm"
    once T16_simulator "$BUILD/test/sim/sim" 1 100000
    once shows_no_half_file_after_kill_9 "$BUILD/test/store/test_blobs"
    ANYLLM_KILLS=100 once F12_kills_in_uploads_leave_no_half_file "$BUILD/test/wire/test_bad_parts" $WIRE
    for _ in $(seq 20); do # five kills each
        once W20_no_delivery_is_lost_to_kills "$BUILD/test/wire/test_webhook_ends" $WIRE
    done
}
rm -f "$LOG.one"
cat "$LOG"
exit "$failed"
