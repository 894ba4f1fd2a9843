/* Memory shared between processes: memfds of fixed size, sealed so that no peer can shrink them under us.
 *
 * The channel of a worker is one such memfd of two halves: the request that the front writes, and the result
 * (or the request of a child run) that the worker writes. Larger results get a memfd of their own. */
#ifndef MOONGATE_MEMFD_H
#define MOONGATE_MEMFD_H

#include "moongate/buf.h"

enum { MG_CHANNEL_REQUEST = 1 << 20, MG_CHANNEL_RESULT = 1 << 20 };

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
};
/* Front: makes the memfd and maps it. Worker: fd >= 0 given, checks and maps it. */
MG_MUST_CHECK enum mg_err mg_channel_open(struct mg_channel *channel, int fd, struct mg_errmsg *err);
void mg_channel_close(struct mg_channel *channel);

#endif
