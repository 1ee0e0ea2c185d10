#!/bin/sh
# fal.h as foreign-function interfaces read it (Python's cffi, LuaJIT's ffi): its declarations without what it includes.
#
#   cdef.sh /usr/include/fal.h >fal_cdef.h
set -eu
${CC:-cc} -E "$1" | awk -v header="$1" '
    /^# [0-9]+ "/ { ours = $3 == "\"" header "\""; next }
    ours && NF    { gsub(/__attribute__\(\([^)]*\)\)\) /, ""); print }'
