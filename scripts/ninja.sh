#!/bin/sh
# ninja in the build folder $1, silent but for warnings and errors. First the build files by themselves, because
# Meson describes their making at length. Two at a time in one folder would spoil it, so the second waits.
set -u
exec 9>"$1/ninja.lock"
if command -v flock >/dev/null 2>&1; then flock 9; fi
if ! ninja -C "$1" --quiet build.ninja >"$1/setup.log" 2>&1; then
    tail -n 20 "$1/setup.log" >&2
    exit 1
fi
{
    ninja -C "$1" --quiet 2>&1
    echo $? >"$1/ninja.status"
} | sed -u '/^ninja: no work to do/d'
exit "$(cat "$1/ninja.status")"
