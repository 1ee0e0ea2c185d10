# Makes one file of libfal's files: awk -v src=SRC -v realtime="FILE…" -v webhook="FILE…" -f amalgamate.awk FILE.c…
# (paths below SRC). Our headers are inlined where they are first wanted. All that is not fal.h's becomes static; a static
# name that two files have gets the file's name behind it. A macro of a .c file ends with that file.

function fail(words) { print "amalgamate: " words >"/dev/stderr"; failed = 1; exit 1 }

function stem(file) { sub(/.*\//, "", file); sub(/\.c$/, "", file); return file }

# The line without comments, strings and character constants; in_comment goes on from line to line.
function bare(line,    out, i, n, c, two) {
    out = ""; n = length(line)
    for (i = 1; i <= n; i++) {
        c = substr(line, i, 1); two = substr(line, i, 2)
        if (in_comment) { if (two == "*/") { in_comment = 0; i++ } continue }
        if (two == "/*") { in_comment = 1; i++; continue }
        if (two == "//") break
        if (c == "\"" || c == "'") {
            for (i++; i <= n && substr(line, i, 1) != c; i++) if (substr(line, i, 1) == "\\") i++
            out = out c c; continue
        }
        out = out c
    }
    return out
}

# The name that a line at the left margin brings into the file's own scope, or "".
function own_name(code,    name) {
    if (code ~ /^(struct|enum|union) [A-Za-z_0-9]+ \{/) { split(code, part, " "); return part[2] }
    if (code !~ /^(static|_Thread_local) /) return ""
    if (match(code, /[A-Za-z_][A-Za-z_0-9]*\(/) && code !~ /^[^(]*=/) return substr(code, RSTART, RLENGTH - 1)
    sub(/ *(=|\[|;).*/, "", code)
    name = code; sub(/.*[ *]/, "", name)
    return name
}

function learn(file, is_header,    line, code, name, depth) {
    in_comment = 0
    while ((getline line <(src "/" file)) > 0) {
        code = bare(line)
        name = own_name(code)
        if (name != "" && name !~ /^[{}]?$/ && !((file, name) in owns)) {
            owns[file, name] = 1
            if (owners[name]++ == 0 && is_header) from_header[name] = 1
        }
        if (is_header && match(code, /^extern .*[ *][A-Za-z_0-9]+(\[\])?;/)) {
            name = code; sub(/(\[\])?;.*/, "", name); sub(/.*[ *]/, "", name)
            objects[++object_count] = name
        }
        if (code ~ /^#[ \t]*include "/) {
            name = code; name = line; sub(/^#[ \t]*include "/, "", name); sub(/".*/, "", name)
            if (name != "fal.h" && !(name in learned)) { learned[name] = 1; waiting[++waiting_count] = name }
        }
    }
    close(src "/" file)
}

# Identifiers of `file` that others have too, each with the file's name behind it; members stay.
function renamed(line, file,    out, i, n, c, two, word, before, start) {
    out = ""; n = length(line)
    for (i = 1; i <= n; i++) {
        c = substr(line, i, 1); two = substr(line, i, 2)
        if (in_comment) { if (two == "*/") { in_comment = 0; out = out c; i++; c = "/" } out = out c; continue }
        if (two == "/*") { in_comment = 1; out = out two; i++; continue }
        if (two == "//") { out = out substr(line, i); break }
        if (c == "\"" || c == "'") {
            start = i
            for (i++; i <= n && substr(line, i, 1) != c; i++) if (substr(line, i, 1) == "\\") i++
            out = out substr(line, start, i - start + 1); continue
        }
        if (c ~ /[A-Za-z_]/) {
            match(substr(line, i), /^[A-Za-z_0-9]+/)
            word = substr(line, i, RLENGTH); i += RLENGTH - 1
            before = out; sub(/[ \t]+$/, "", before)
            if (((file, word) in owns) && owners[word] > 1 && before !~ /(\.|->|offsetof\([^()]*,)$/) word = word "__" stem(file)
            out = out word; continue
        }
        if (c ~ /[0-9]/) { match(substr(line, i), /^[A-Za-z_0-9.]+/); out = out substr(line, i, RLENGTH); i += RLENGTH - 1; continue }
        out = out c
    }
    return out
}

function emit(file, is_header,    line, code, name, macros, count, i, was) {
    was = in_comment; in_comment = 0
    count = 0
    printf "\n/* ---- src/%s ---- */\n", file
    while ((getline line <(src "/" file)) > 0) {
        if (line ~ /^#[ \t]*include "/) {
            name = line; sub(/^#[ \t]*include "/, "", name); sub(/".*/, "", name)
            if (name != "fal.h" && !(name in emitted)) { emitted[name] = 1; emit(name, 1) }
            continue
        }
        if (line ~ /^#[ \t]*include <yyjson.h>/) { print "#include \"yyjson.h\""; continue }
        if (!is_header && line ~ /^#[ \t]*define /) {
            name = line; sub(/^#[ \t]*define[ \t]+/, "", name); sub(/[^A-Za-z_0-9].*/, "", name)
            macros[++count] = name
        }
        if (is_header && !in_comment && line ~ /^[A-Za-z_].*\(/ && line !~ /^(static|typedef|extern|FAL_API|_Static_assert)/) line = "FAL_PRIVATE " line
        if (!is_header) line = renamed(line, file)
        else bare(line)
        print line
    }
    close(src "/" file)
    for (i = 1; i <= count; i++) print "#undef " macros[i]
    in_comment = was
}

# A header that wants what a guard is to leave out stays behind it.
function guarded(header,    line, found) {
    while ((getline line <(src "/" header)) > 0) if (line ~ /^#[ \t]*include <(wslay|msgpack|openssl)/) found = 1
    close(src "/" header)
    return found
}

function listed(file, list) { return index(" " list " ", " " file " ") > 0 }

BEGIN {
    for (f = 1; f < ARGC; f++) learn(ARGV[f], 0)
    for (w = 1; w <= waiting_count; w++) learn(waiting[w], 1)
    for (o = 1; o <= object_count; o++) printf "#define %s fal__%s\n", objects[o], objects[o]
    for (f = 1; f < ARGC; f++) {
        guard = listed(ARGV[f], realtime) ? "FAL_WITHOUT_REALTIME" : listed(ARGV[f], webhook) ? "FAL_WITHOUT_WEBHOOK" : ""
        # Headers come before the guard: other files may want them too.
        if (guard != "") {
            while ((getline line <(src "/" ARGV[f])) > 0)
                if (line ~ /^#[ \t]*include "/) {
                    sub(/^#[ \t]*include "/, "", line); sub(/".*/, "", line)
                    if (line != "fal.h" && !(line in emitted) && !guarded(line)) { emitted[line] = 1; emit(line, 1) }
                }
            close(src "/" ARGV[f])
            print "\n#ifndef " guard
        }
        emit(ARGV[f], 0)
        if (guard != "") print "#endif /* " guard " */"
    }
}
