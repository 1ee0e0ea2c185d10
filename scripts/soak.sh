#!/bin/sh
# The long forms of the tests that kill: a hundred kills each.
#
#   scripts/soak.sh BUILD
set -eu
BUILD=$1

# once NAME PROGRAM ARGUMENT…: the one test function of that name
once() {
    name=$1
    shift
    printf '%s\n' "soak: $name" >&2
    TEST_FILTER="*$name*" "$@"
}

ANYLLM_LONG=1 once shows_no_half_file_after_kill_9 "$BUILD/test/store/test_blobs"
ANYLLM_KILLS=100 once F12_kills_in_uploads_leave_no_half_file "$BUILD/test/wire/test_bad_parts" \
    "$BUILD/anyllm" "$BUILD/test/mock/mockllm"
for _ in $(seq 20); do # five kills each
    once W20_no_delivery_is_lost_to_kills "$BUILD/test/wire/test_webhook_ends" "$BUILD/anyllm" "$BUILD/test/mock/mockllm"
done
