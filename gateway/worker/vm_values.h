/* What moon.cache keeps between calls (bind_cache.c), and what the machine tells it of. Worker process; single thread. */
#ifndef MOONGATE_WORKER_VM_VALUES_H
#define MOONGATE_WORKER_VM_VALUES_H

#include "recent.h"
#include "vm.h"

enum { VM_CALLS = 64 };

/* A cached function that runs. */
struct vm_cached_call {
    bool used, claimed;
    struct mg_hash key;
    size_t deps_from, log_from; /* what it read and printed begins there */
    char path[512];             /* its entry's file; "": the front keeps it */
};

struct vm_values {
    struct recents recents;
    struct vm_cached_call calls[VM_CALLS];
    int open;              /* of calls */
    struct mg_buf touched; /* packed dependencies met while a call is open, also those that the run had already */
    struct mg_buf key, entry, values, deps;
};

/* A run begins: nothing is open. */
void vm_values_begin(struct mg_vm *vm);
void vm_values_touch(struct mg_vm *vm, const char *kind, struct mg_span name, struct mg_span version);
void vm_values_free(struct mg_vm *vm);

#endif
