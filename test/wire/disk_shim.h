/* What disk_full.c tells disk_shim.c through a file: an errno each, 0: all is well. */
#ifndef ANYLLM_TEST_WIRE_DISK_SHIM_H
#define ANYLLM_TEST_WIRE_DISK_SHIM_H

struct disk_fault {
    int writes, syncs;
};

#endif
