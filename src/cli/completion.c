/* anyllm completion: scripts for shells, written from the table of commands. */
#include "cli/cli.h"

#include <string.h>

/* ---- What stands in the table ---- */

/* What a value is completed to. */
struct expected {
    enum { NOTHING, WORDS, FILES, FOLDERS } kind;
    char words[96]; /* WORDS: with spaces between */
};

/* Keeps of "a|B|c" the alternatives in small letters, or with `all` all of them. */
static void take_words(struct expected *e, const char *text, bool all) {
    size_t used = 0;
    for (const char *w = text; *w != '\0';) {
        size_t len = strcspn(w, "| ");
        bool literal = len > 0 && (all || strspn(w, "abcdefghijklmnopqrstuvwxyz") == len);
        if (literal && used + len + 2 < sizeof(e->words)) {
            used += (size_t)snprintf(e->words + used, sizeof(e->words) - used, "%s%.*s",
                                     used > 0 ? " " : "", (int)len, w);
        }
        w += len;
        if (*w != '|') {
            break;
        }
        w++;
    }
    e->kind = used > 0 ? WORDS : NOTHING;
}

static struct expected value_of(const struct cli_option *o) {
    struct expected e = {.kind = NOTHING};
    if (o->words != NULL) {
        take_words(&e, o->words, true);
    } else if (strstr(o->value, "FILE") != NULL) {
        e.kind = FILES;
    } else if (strstr(o->value, "DIR") != NULL) {
        e.kind = FOLDERS;
    } else {
        take_words(&e, o->value, false);
    }
    return e;
}

/* Of a command without its options: "create|list|revoke [OPTION…] [KEY-ID]", "[OPTION…] FILE|-". */
static struct expected operand_of(const struct cli_command *c) {
    struct expected e = {.kind = strstr(c->usage, "FILE") != NULL ? FILES : NOTHING};
    if (e.kind == NOTHING && strchr(c->usage, '|') != NULL) {
        take_words(&e, c->usage, false);
    }
    return e;
}

static bool takes_command(const struct cli_command *c) {
    return strcmp(c->usage, "[COMMAND]") == 0;
}

static bool option_at(const struct cli_command *c, size_t i, struct cli_option *o) {
    return c->options != NULL && c->options(c->name, i, o);
}

static void put_commands(const char *before) {
    for (size_t i = 0; i < cli_command_count; i++) {
        if (cli_commands[i].summary != NULL) {
            printf("%s%s", i > 0 ? " " : before, cli_commands[i].name);
        }
    }
}

/* Inside single quotes; `specials` also get a backslash. */
static void put_quoted(const char *text, const char *quote, const char *specials) {
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '\'') {
            fputs(quote, stdout);
        } else {
            if (strchr(specials, *p) != NULL) putchar('\\');
            putchar(*p);
        }
    }
}

/* ---- bash ---- */

static const char bash_head[] =
    "# bash completion for anyllm, made by: anyllm completion bash\n"
    "_anyllm_paths() {\n"
    "    compopt -o filenames 2>/dev/null\n"
    "    local before=\n"
    "    [[ $2 == @* ]] && before=@\n"
    "    mapfile -t COMPREPLY < <(compgen \"$1\" -P \"$before\" -- \"${2#@}\")\n"
    "}\n\n"
    "_anyllm() {\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=\n"
    "    COMPREPLY=()\n"
    "    if [[ $cur == = ]]; then\n"
    "        cur=\n"
    "    elif [[ $prev == = ]]; then\n"
    "        prev=${COMP_WORDS[COMP_CWORD-2]}\n"
    "    fi\n"
    "    ((COMP_CWORD > 1)) || prev=\n"
    "    case ${COMP_WORDS[1]}:$COMP_CWORD in\n";

static const char bash_tail[] = "    esac\n"
                                "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
                                "}\n"
                                "complete -F _anyllm anyllm\n";

static void bash_value(const struct cli_option *o) {
    struct expected e = value_of(o);
    printf("        ");
    if (o->letter != 0) {
        printf("-%c | ", o->letter);
    }
    printf("--%s) ", o->name);
    switch (e.kind) {
    case NOTHING: puts("return ;;"); break;
    case WORDS: printf("words='%s' ;;\n", e.words); break;
    case FILES: puts("_anyllm_paths -f \"$cur\"; return ;;"); break;
    case FOLDERS: puts("_anyllm_paths -d \"$cur\"; return ;;"); break;
    }
}

static void bash_command(const struct cli_command *c) {
    struct expected e = operand_of(c);
    struct cli_option o;
    printf("    %s:*)\n        case $prev in\n", c->name);
    for (size_t i = 0; option_at(c, i, &o); i++) {
        if (o.value != NULL) {
            bash_value(&o);
        }
    }
    puts("        *)");
    if (e.kind == FILES) {
        puts("            [[ $cur == -* ]] || { _anyllm_paths -f \"$cur\"; return; }");
    }
    fputs("            words='--help", stdout);
    for (size_t i = 0; option_at(c, i, &o); i++) {
        printf(" --%s", o.name);
    }
    puts("'");
    if (e.kind == WORDS || takes_command(c)) {
        printf("            [[ $cur == -* ]] || words='%s", e.kind == WORDS ? e.words : "");
        if (takes_command(c)) {
            put_commands("");
        }
        puts("'");
    }
    puts("            ;;\n        esac ;;");
}

static void bash(void) {
    fputs(bash_head, stdout);
    put_commands("    *:1) words='");
    puts(" --help --version' ;;");
    for (size_t i = 0; i < cli_command_count; i++) {
        if (cli_commands[i].summary != NULL) {
            bash_command(&cli_commands[i]);
        }
    }
    fputs(bash_tail, stdout);
}

/* ---- zsh ---- */

static const char zsh_head[] = "#compdef anyllm\n"
                               "# zsh completion for anyllm, made by: anyllm completion zsh\n"
                               "_anyllm() {\n"
                               "    local -a commands\n"
                               "    commands=(\n";

static const char zsh_middle[] = "    )\n"
                                 "    if ((CURRENT == 2)); then\n"
                                 "        _describe -t commands command commands\n"
                                 "        return\n"
                                 "    fi\n"
                                 "    shift words\n"
                                 "    ((CURRENT--))\n"
                                 "    case $words[1] in\n";

static const char zsh_tail[] = "    esac\n"
                               "}\n"
                               "if [[ $funcstack[1] == _anyllm ]]; then\n"
                               "    _anyllm \"$@\"\n"
                               "else\n"
                               "    compdef _anyllm anyllm\n"
                               "fi\n";

static void zsh_action(const struct expected *e) {
    switch (e->kind) {
    case NOTHING: fputs(" ", stdout); break;
    case WORDS: printf("(%s)", e->words); break;
    case FILES: fputs("_files", stdout); break;
    case FOLDERS: fputs("_files -/", stdout); break;
    }
}

static void zsh_option(const struct cli_option *o) {
    fputs(" \\\n            '*'", stdout);
    if (o->letter != 0) {
        printf("{-%c,--%s}", o->letter, o->name);
    } else {
        printf("--%s", o->name);
    }
    fputs("'[", stdout);
    put_quoted(o->help, "'\\''", "[]\\");
    putchar(']');
    if (o->value != NULL) {
        struct expected e = value_of(o);
        putchar(':');
        put_quoted(o->value, "'\\''", ":\\");
        putchar(':');
        zsh_action(&e);
    }
    putchar('\'');
}

static void zsh_command(const struct cli_command *c) {
    struct expected e = operand_of(c);
    struct cli_option o;
    printf("    %s)\n        _arguments '(- *)--help[say how it is used]'", c->name);
    for (size_t i = 0; option_at(c, i, &o); i++) {
        zsh_option(&o);
    }
    if (e.kind == WORDS) {
        printf(" \\\n            '1:action:(%s)'", e.words);
    } else if (e.kind == FILES) {
        fputs(" \\\n            '*:file:_files'", stdout);
    } else if (takes_command(c)) {
        fputs(" \\\n            '1:command:(", stdout);
        put_commands("");
        fputs(")'", stdout);
    }
    puts(" ;;");
}

static void zsh(void) {
    fputs(zsh_head, stdout);
    for (size_t i = 0; i < cli_command_count; i++) {
        if (cli_commands[i].summary != NULL) {
            printf("        '%s:", cli_commands[i].name);
            put_quoted(cli_commands[i].summary, "'\\''", ":\\");
            puts("'");
        }
    }
    fputs(zsh_middle, stdout);
    for (size_t i = 0; i < cli_command_count; i++) {
        if (cli_commands[i].summary != NULL) {
            zsh_command(&cli_commands[i]);
        }
    }
    fputs(zsh_tail, stdout);
}

/* ---- fish ---- */

static void fish_option(const struct cli_command *c, const struct cli_option *o) {
    printf("complete -c anyllm -n '__fish_seen_subcommand_from %s' -l %s", c->name, o->name);
    if (o->letter != 0) {
        printf(" -s %c", o->letter);
    }
    if (o->value != NULL) {
        struct expected e = value_of(o);
        fputs(e.kind == FILES ? " -r -F" : " -x", stdout);
        if (e.kind == FOLDERS) {
            fputs(" -a '(__fish_complete_directories)'", stdout);
        } else if (e.kind == WORDS) {
            printf(" -a '%s'", e.words);
        }
    }
    fputs(" -d '", stdout);
    put_quoted(o->help, "\\'", "\\");
    puts("'");
}

static void fish_command(const struct cli_command *c) {
    struct expected e = operand_of(c);
    struct cli_option o;
    printf("complete -c anyllm -n __fish_use_subcommand -a %s -d '", c->name);
    put_quoted(c->summary, "\\'", "\\");
    puts("'");
    if (e.kind == FILES) {
        printf("complete -c anyllm -n '__fish_seen_subcommand_from %s' -F\n", c->name);
    } else if (e.kind == WORDS) {
        printf("complete -c anyllm -n '__fish_seen_subcommand_from %s' -a '%s'\n", c->name,
               e.words);
    } else if (takes_command(c)) {
        printf("complete -c anyllm -n '__fish_seen_subcommand_from %s' -a '", c->name);
        put_commands("");
        puts("'");
    }
    for (size_t i = 0; option_at(c, i, &o); i++) {
        fish_option(c, &o);
    }
}

static void fish(void) {
    puts("# fish completion for anyllm, made by: anyllm completion fish\n"
         "complete -c anyllm -f");
    for (size_t i = 0; i < cli_command_count; i++) {
        if (cli_commands[i].summary != NULL) {
            fish_command(&cli_commands[i]);
        }
    }
}

int cmd_completion(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*write)(void);
    } shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};
    for (size_t i = 0; argc == 2 && i < sizeof(shells) / sizeof(shells[0]); i++) {
        if (strcmp(argv[1], shells[i].name) == 0) {
            shells[i].write();
            return cli_flush("completion");
        }
    }
    return cli_usage("completion");
}
