#include "cli/cli.h"
#include "llm/engine.h"

int cmd_engine_exec(int argc, char **argv) {
    return engine_exec_main(argc, argv);
}
