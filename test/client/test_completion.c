/* anyllm completion: bash's own machinery is given words; zsh and fish look at the text where they are installed. */
#include "client/program.h"
#include "client/pty.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ANYLLM_FOLDER "$(dirname " ANYLLM_BINARY ")"

static char search[1024] = "PATH=/usr/bin:/bin";

/* Readline's view: the words so far, the last one is completed. Prints the answers, one in a line. */
static const char complete[] =
    "source <(\"$1\" completion bash) || exit 9\n"
    "complete -p anyllm >/dev/null || exit 8\n"
    "shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1))\n"
    "_anyllm anyllm \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"\n"
    "printf '%s\\n' \"${COMPREPLY[@]}\"\n";

#define WORDS(...) ((char *const[]){(char[]){"anyllm"}, __VA_ARGS__, NULL})

static void completes(struct program *p, char *const *words) {
    char *argv[16] = {(char[]){"bash"}, (char[]){"-c"}, (char *)(uintptr_t)complete,
                      (char[]){"bash"}, (char[]){ANYLLM_BINARY}};
    for (size_t i = 0; words[i] != NULL && i < 10; i++) {
        argv[5 + i] = words[i];
    }
    program_begin(p, "/bin/bash", "", -1, ENV(search), argv);
    program_end(p);
    assert_string_equal(p->err, "");
    assert_int_equal(p->code, 0);
}

static void bash_completes_commands_options_and_choices(void **state) {
    (void)state;
    struct program p;
    completes(&p, WORDS("ru"));
    assert_string_equal(p.out, "run\n");
    completes(&p, WORDS("s"));
    assert_string_equal(p.out, "serve\nstream\nsubmit\nstatus\n");
    completes(&p, WORDS("run", "--pri"));
    assert_string_equal(p.out, "--priority\n");
    completes(&p, WORDS("run", "--priority", ""));
    assert_string_equal(p.out, "normal\nlow\n");
    completes(&p, WORDS("run", "--priority", "=", "l"));
    assert_string_equal(p.out, "low\n");
    completes(&p, WORDS("run", "--base", ""));
    assert_string_equal(p.out, "fal\n");
    completes(&p, WORDS("run", "-m", ""));
    assert_string_equal(p.out, "\n");
    completes(&p, WORDS("keys", "cr"));
    assert_string_equal(p.out, "create\n");
    completes(&p, WORDS("keys", "create", "--scope", "A"));
    assert_string_equal(p.out, "API\nADMIN\n");
    completes(&p, WORDS("serve", "--log-level", "d"));
    assert_string_equal(p.out, "debug\n");
    completes(&p, WORDS("help", "up"));
    assert_string_equal(p.out, "upload\n");
    completes(&p, WORDS("completion", ""));
    assert_string_equal(p.out, "bash\nzsh\nfish\n");
    completes(&p, WORDS("engine"));
    assert_string_equal(p.out, "\n");
}

static void bash_completes_file_names_where_files_are_wanted(void **state) {
    (void)state;
    struct program p;
    char folder[] = "/tmp/anyllm-files-XXXXXX", file[64], start[64], at[64], expected[80];
    assert_non_null(mkdtemp(folder));
    snprintf(file, sizeof(file), "%s/a picture.png", folder);
    fclose(fopen(file, "w"));
    snprintf(start, sizeof(start), "%s/a", folder);
    snprintf(at, sizeof(at), "@%s/a", folder);
    snprintf(expected, sizeof(expected), "%s\n", file);
    completes(&p, WORDS("upload", start));
    assert_string_equal(p.out, expected);
    completes(&p, WORDS("run", "--image", start));
    assert_string_equal(p.out, expected);
    completes(&p, WORDS("serve", "--data", start));
    assert_string_equal(p.out, "\n");
    snprintf(expected, sizeof(expected), "@%s\n", file);
    completes(&p, WORDS("run", "--input", at));
    assert_string_equal(p.out, expected);
    unlink(file);
    rmdir(folder);
}

/* With readline and a key that is pressed. */
static void bash_completes_at_the_press_of_tab(void **state) {
    (void)state;
    struct pty *p = calloc(1, sizeof(*p));
    char command[512], term[] = "TERM=dumb", prompt[] = "PS1=ready>", quiet[] = "HISTFILE=";
    assert_non_null(p);
    pty_start(p, "/bin/bash", ENV(search, term, prompt, quiet),
              ARGV("--norc", "--noprofile", "-i"));
    pty_expect(p, "ready>");
    snprintf(command, sizeof(command), "PATH=%s:$PATH; source <(anyllm completion bash)\n",
             ANYLLM_FOLDER);
    pty_type(p, command);
    pty_expect(p, "ready>");
    pty_type(p, "anyllm ru\t--prio\tlo\t");
    pty_expect(p, "anyllm run --priority low");
    pty_type(p, "\x15"
                "exit 0\n"); /* the line away */
    pty_end(p);
    assert_int_equal(p->code, 0);
    free(p);
}

/* `SHELL -n FILE` where it is installed; what must stand in it everywhere. */
static void is_read_by(const char *shell, const char *part, const char *another) {
    struct program p;
    char path[] = "/tmp/anyllm-completion-XXXXXX", command[256];
    PROGRAM_RUN(&p, ANYLLM_BINARY, ENV(search), "completion", (char *)(uintptr_t)shell);
    assert_int_equal(p.code, 0);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    snprintf(command, sizeof(command),
             "\"$0\" completion %s >%s; command -v %s || exit 0; %s -n %s", shell, path, shell,
             shell, path);
    PROGRAM_RUN(&p, "/bin/sh", ENV(search), "-c", command, ANYLLM_BINARY);
    assert_string_equal(p.err, "");
    assert_int_equal(p.code, 0);
    snprintf(command, sizeof(command), "grep -F -e '%s' %s && grep -F -e \"%s\" %s", part, path,
             another, path);
    PROGRAM_RUN(&p, "/bin/sh", ENV(search), "-c", command);
    assert_int_equal(p.code, 0);
    close(fd);
    unlink(path);
}

static void zsh_and_fish_read_theirs(void **state) {
    (void)state;
    is_read_by("bash", "complete -F _anyllm anyllm", "--priority) words='normal low'");
    is_read_by("zsh", "#compdef anyllm", ":normal|low:(normal low)'");
    is_read_by("fish", "complete -c anyllm -f", "-l priority -x -a 'normal low'");
}

static void another_shell_is_wrong_usage(void **state) {
    (void)state;
    struct program p;
    PROGRAM_RUN(&p, ANYLLM_BINARY, ENV(search), "completion", "csh");
    assert_int_equal(p.code, 2);
    PROGRAM_RUN(&p, ANYLLM_BINARY, ENV(search), "completion");
    assert_int_equal(p.code, 2);
    assert_string_equal(p.err, "anyllm completion: usage: anyllm completion bash|zsh|fish\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bash_completes_commands_options_and_choices),
        cmocka_unit_test(bash_completes_file_names_where_files_are_wanted),
        cmocka_unit_test(bash_completes_at_the_press_of_tab),
        cmocka_unit_test(zsh_and_fish_read_theirs),
        cmocka_unit_test(another_shell_is_wrong_usage),
    };
    if (access("/bin/bash", X_OK) != 0) {
        print_message("skip: there is no bash\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
