#!/bin/sh
# One test function under gdb: T=NAME scripts/gdb-test.sh BUILD
set -eu
[ -n "${T:-}" ] || { echo 'usage: make gdb T=NAME' >&2; exit 2; }
command -v gdb >/dev/null || { echo 'gdb is not installed' >&2; exit 1; }
for program in $(find "$1/test" -type f -perm -u+x); do
    if grep -q libcmocka "$program" && grep -qF -- "$T" "$program"; then
        exec env TEST_FILTER="*$T*" gdb -ex "break $T" -ex run "$program"
    fi
done
echo "no test program has a function $T" >&2
exit 1
