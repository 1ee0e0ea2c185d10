/* The contract on SQLite. */
#include "store/store_suite.h"

int main(void) {
    return store_suite_run(&store_suite_sqlite);
}
