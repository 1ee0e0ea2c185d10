#include "queue/world.h"
int main(void) {
    return 0;
}
