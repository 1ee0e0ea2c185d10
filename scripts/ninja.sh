#!/bin/sh
# ninja in the build folder $1, of the targets that follow, or all; silent but for warnings and errors. First the build
# files by themselves, because Meson describes their making at length. Two at a time in one folder would spoil it, so the
# second waits.
set -u
BUILD=$1
shift
exec 9>"$BUILD/ninja.lock"
if command -v flock >/dev/null 2>&1; then flock 9; fi
if ! ninja -C "$BUILD" --quiet build.ninja >"$BUILD/setup.log" 2>&1; then
    tail -n 20 "$BUILD/setup.log" >&2
    exit 1
fi
{
    ninja -C "$BUILD" --quiet "$@" 2>&1
    echo $? >"$BUILD/ninja.status"
} | sed -u '/^ninja: no work to do/d'
exit "$(cat "$BUILD/ninja.status")"
