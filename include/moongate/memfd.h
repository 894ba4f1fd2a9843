/* Memory shared between processes: memfds of fixed size, sealed so that no peer can shrink them under us.
 *
 * The channel of a worker is one such memfd: the request that the front writes, the result (or the request of a child
 * run) that the worker writes, and a ring of slots. Larger results get a memfd of their own. A run has a slot, where a
 * small result goes; into the slots behind it the front may put runs that wait for this very worker, which takes the
 * next one as it ends the last, without a message: under load neither side sleeps between two runs. */
#ifndef MOONGATE_MEMFD_H
#define MOONGATE_MEMFD_H

#include "moongate/buf.h"

enum { MG_CHANNEL_REQUEST = 1 << 20, MG_CHANNEL_RESULT = 1 << 20 };
enum { MG_SLOTS = 8, MG_SLOT_HEAD = 64, MG_SLOT_REQUEST = 4096 - MG_SLOT_HEAD, MG_SLOT_RESULT = 124 << 10 };

/* EMPTY -> READY by the front; READY -> TAKEN by the worker, or -> EMPTY by the front, who wants the run back: whoever
 * exchanges it has the run. What else lies in the slot is the front's while it is EMPTY. */
enum mg_slot_state { MG_SLOT_EMPTY, MG_SLOT_READY, MG_SLOT_TAKEN };

struct mg_slot {
    union {
        struct {
            uint32_t state; /* atomic */
            uint32_t bytes; /* of the request */
            uint64_t run, generation;
        };
        uint8_t head[MG_SLOT_HEAD];
    };
    uint8_t request[MG_SLOT_REQUEST];
    uint8_t result[MG_SLOT_RESULT];
};

/* Makes a memfd of exactly `bytes` with F_SEAL_SHRINK | GROW (| SEAL when `final`). */
MG_MUST_CHECK enum mg_err mg_memfd_new(const char *name, size_t bytes, bool final, int *fd, struct mg_errmsg *err);
/* A sealed, read-only copy of `data` (also F_SEAL_WRITE): a bundle. */
MG_MUST_CHECK enum mg_err mg_memfd_of(const char *name, struct mg_span data, int *fd, struct mg_errmsg *err);
/* Forbids further writing; every writable mapping must be gone. */
MG_MUST_CHECK enum mg_err mg_memfd_seal(int fd, struct mg_errmsg *err);
/* Checks that fd is a memfd of `bytes` that cannot shrink (and, when `sealed`, cannot be written). */
bool mg_memfd_check(int fd, size_t bytes, bool sealed);
/* Maps; unmap with munmap(*out, bytes). */
MG_MUST_CHECK enum mg_err mg_memfd_map(int fd, size_t bytes, bool writable, void **out, struct mg_errmsg *err);

struct mg_channel {
    int fd;
    uint8_t *request; /* MG_CHANNEL_REQUEST bytes */
    uint8_t *result;  /* MG_CHANNEL_RESULT bytes */
    struct mg_slot *slots; /* MG_SLOTS */
};
/* Front: makes the memfd and maps it. Worker: fd >= 0 given, checks and maps it. */
MG_MUST_CHECK enum mg_err mg_channel_open(struct mg_channel *channel, int fd, struct mg_errmsg *err);
void mg_channel_close(struct mg_channel *channel);
/* Front: puts a run into an EMPTY slot. */
void mg_slot_put(struct mg_slot *slot, uint64_t run, uint64_t generation, struct mg_span request);
/* Front: the run is not to be run from there. False: the worker has it. */
bool mg_slot_recall(struct mg_slot *slot);
/* Worker: the run is ours. */
bool mg_slot_take(struct mg_slot *slot);

#endif
