#!/bin/sh
# aliases.sh PAGE.3...: for each function that a page's NAME section names, a line "PAGE FUNCTION" (but for the page's own name).
for page; do
    own=$(basename "$page" .3)
    sed -n '/^\.SH NAME/{n;s/ \\-.*//;s/, */\n/g;p;q}' "$page" | grep -vx "$own" | sed "s/^/$own /"
done
exit 0
