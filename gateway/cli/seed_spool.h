/* The spool of `moongate seed`: tiles as they come, in one file that is only appended to, so that a run that was cut short
 * goes on where it was. Not thread-safe. */
#ifndef MOONGATE_CLI_SEED_SPOOL_H
#define MOONGATE_CLI_SEED_SPOOL_H

#include "moongate/pmtiles.h"

struct mg_spool {
    int fd;
    uint64_t end;
    struct mg_spooled *tiles; /* bytes 0: an empty tile */
    size_t n, room, resumed;  /* resumed: so many were there already */
};
/* Opens or makes the file; `of` is what its tiles are made of: another one's spool is refused (MG_E_CONFLICT). What a
 * crash left half-written at the end is cut off. */
MG_MUST_CHECK enum mg_err mg_spool_open(const char *path, const struct mg_hash *of, struct mg_spool *out,
                                        struct mg_errmsg *err);
void mg_spool_close(struct mg_spool *spool);
MG_MUST_CHECK enum mg_err mg_spool_put(struct mg_spool *spool, uint64_t id, struct mg_span bytes, struct mg_errmsg *err);
/* By id. */
void mg_spool_sort(struct mg_spool *spool);
/* Among the sorted. */
bool mg_spool_has(const struct mg_spool *spool, uint64_t id);

#endif
