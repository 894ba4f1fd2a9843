/* What the parts of the worker's process share: its state, and its link to the front. Worker process; single thread. */
#ifndef MOONGATE_WORKER_LINK_H
#define MOONGATE_WORKER_LINK_H

#include "process.h"

#include "moongate/memfd.h"
#include "moongate/msg.h"

enum { BUNDLES = 32, BUNDLE_MAX = 64 << 20, EXIT_SANDBOX = 3, EXIT_BROKEN = 4 };

struct bundle {
    struct mg_hash code;
    void *at;
    size_t len;
};

struct worker {
    int sock;
    struct mg_channel channel;
    struct mg_files files;
    struct mg_files_usage usage;
    int scratch;
    struct stat scratch_seen;
    struct mg_vm *vm;
    struct bundle bundles[BUNDLES]; /* newest first */
    size_t n_bundles;
    char *request; /* MG_CHANNEL_REQUEST bytes */
    uint64_t run, next_tag;
    unsigned slot; /* of the run, counted from 1; 0: none */
    uint64_t generation; /* of the front's function values, as far as this worker knows */
    struct mg_buf meta, gzip;
};

/* The link is the worker's reason to be: without it there is nobody to tell. */
_Noreturn void link_leave(int code);
void link_send(struct worker *w, const struct mg_msg *msg);
/* Waits for one message; *fd is -1 when none came along. */
void link_receive(struct worker *w, struct mg_msg *msg, int *fd);
/* The answer to what the current run asked for. Anything else now is a front that has lost count. */
void link_answer(struct worker *w, enum mg_msg_type type, uint64_t tag, struct mg_msg *msg, int *fd);
/* Asks for a memfd, puts the bytes there and seals it. */
MG_MUST_CHECK enum mg_err link_send_big(struct worker *w, struct mg_span bytes);

/* link_calls.c: what mg_vm_host has of child runs and function values; context is the struct worker. */
void link_host_calls(struct worker *w, struct mg_vm_host *host);

#endif
