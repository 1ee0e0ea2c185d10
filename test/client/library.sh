#!/bin/sh
# What the built library promises to those who link it: library.sh LIBFAL.SO LIBFAL.A INCLUDE-FOLDER EXAMPLE.C README.md
# Speaks TAP.
SO=$1 A=$2 INCLUDE=$3 EXAMPLE=$4 README=$5
n=0
TMP=$(mktemp -d)
trap 'rm -rf "$TMP"' EXIT

check() { # NAME WHAT-IS-WRONG
    n=$((n + 1))
    if [ -n "$2" ]; then
        echo "not ok $n - $1"
        echo "$2" | sed 's/^/# /'
    else
        echo "ok $n - $1"
    fi
}

exported() { nm -D --defined-only "$SO" | awk '{ print $NF }' | grep -v '^__odr_asan' | sort; }
in_archive() { nm -g --defined-only "$A" | awk 'NF == 3 { print $3 }' | grep -v '^__odr_asan' | sort; }
declared() { sed -n '/^FAL_API/,/;/p' "$INCLUDE/fal.h" | grep -o '\bfal_[a-z_]*(' | tr -d '(' | sort -u; }

soname() {
    readelf -d "$SO" | grep -q 'SONAME.*\[libfal\.so\.0\]' || echo 'the soname is not libfal.so.0'
}

compared() {
    exported >"$TMP/exported"
    declared | diff - "$TMP/exported"
}

c_warnings() {
    for standard in c11 c17; do
        "${CC:-cc}" -std=$standard -Wall -Wextra -Wpedantic -Wconversion -Werror -I"$INCLUDE" -fsyntax-only "$EXAMPLE" 2>&1
    done
}

readme_warnings() {
    sed -n '/^```c$/,/^```$/{/^```/!p}' "$README" >"$TMP/readme.c"
    [ -s "$TMP/readme.c" ] || echo 'README.md holds no C example'
    "${CC:-cc}" -Wall -Wextra -Wno-unused-parameter -Werror -I"$INCLUDE" -fsyntax-only "$TMP/readme.c" 2>&1
}

cxx_warnings() {
    cat >"$TMP/x.cc" <<'END'
#include <fal.h>
int main() {
    fal_options o = FAL_OPTIONS_INIT;
    fal_call_options c = FAL_CALL_OPTIONS_INIT;
    fal_submit_options t = FAL_SUBMIT_OPTIONS_INIT;
    fal_subscribe_options s = FAL_SUBSCRIBE_OPTIONS_INIT;
    fal_stream_options st = FAL_STREAM_OPTIONS_INIT;
    fal_file f = FAL_FILE_INIT;
    fal_files fs = FAL_FILES_INIT;
    fal_lifecycle l = FAL_LIFECYCLE_INIT;
    fal_upload_options u = FAL_UPLOAD_OPTIONS_INIT;
    fal_realtime_options r = FAL_REALTIME_OPTIONS_INIT;
    fal_webhook w = FAL_WEBHOOK_INIT;
    fal_webhook_keys k = FAL_WEBHOOK_KEYS_INIT;
    size_t sizes = o.size + c.size + t.size + s.size + st.size + f.size + fs.size + l.size + u.size + r.size;
    return sizes + w.size + k.size == 0 || fal_global_init() != FAL_OK;
}
END
    for standard in c++11 c++20; do
        "${CXX:-c++}" -std=$standard -Wall -Wextra -Wpedantic -Werror -I"$INCLUDE" -fsyntax-only "$TMP/x.cc" 2>&1
    done
}

echo 1..7
check library_exports_nothing_but_fal "$(exported | grep -v '^fal_')"
check library_exports_what_the_header_declares "$(compared)"
check archive_shows_nothing_but_fal "$(in_archive | grep -v '^fal_')"
check library_has_its_soname "$(soname)"
check header_is_clean_c "$(c_warnings)"
check readme_example_is_clean_c "$(readme_warnings)"
if command -v "${CXX:-c++}" >/dev/null; then
    check header_is_clean_cxx "$(cxx_warnings)"
else
    echo 'ok 7 - header_is_clean_cxx # SKIP no C++ compiler'
fi
