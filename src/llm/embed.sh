#!/bin/sh
# embed.sh INPUT OUTPUT NAME: a file as a C array NAME[] and its length NAME_len (od and sed are everywhere).
set -eu
{
    printf '#include "llm/embedded.h"\nconst unsigned char %s[] = {\n' "$3"
    od -An -v -tx1 "$1" | sed 's/ *\([0-9a-f][0-9a-f]\)/0x\1,/g'
    printf '};\nconst size_t %s_len = sizeof %s;\n' "$3" "$3"
} >"$2"
