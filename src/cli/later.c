/* Commands that are still to come; each stub goes when its file brings the command. */
#include "cli/cli.h"

int cmd_chat(int argc, char **argv) {
    (void)argc;
    return cli_usage_error(argv[0], "not built yet");
}
