/* The result cache: encoded answers by key, in an LMDB environment of its own (cache_dir), bounded and rebuilt.
 *
 * Values are checksummed; a wrong one is a miss and is deleted. Bodies over 1 MB lie in files beside it. Evicted by
 * age of use when over the bound. NOSYNC: a crash may lose entries, never serve torn ones. An environment that
 * cannot be opened (truncated, damaged) is renamed aside and made anew. A process opens it once, and not across a
 * fork; several processes may have it open (the CLI beside the server). Thread-safe. */
#ifndef MOONGATE_CACHE_H
#define MOONGATE_CACHE_H

#include "moongate/crypto.h"

struct mg_cache;
/* max_bytes 0: as when it was made; then 10 % of the free disk, at most 10 GB. */
MG_MUST_CHECK enum mg_err mg_cache_open(const char *cache_dir, uint64_t max_bytes, struct mg_cache **out,
                                        struct mg_errmsg *err);
void mg_cache_close(struct mg_cache **cache);
/* Appends meta and body to the buffers. A body that lies in a file gives fd (new) and its length instead.
 * MG_E_NOT_FOUND is a miss. Cost: one LMDB read, one checksum, one copy. */
MG_MUST_CHECK enum mg_err mg_cache_get(struct mg_cache *cache, const struct mg_hash *key, struct mg_buf *meta,
                                       struct mg_buf *body, int *fd, uint64_t *fd_bytes);
/* Stores; replaces. `group` (a UDF's identity) is what purge names. */
MG_MUST_CHECK enum mg_err mg_cache_put(struct mg_cache *cache, const struct mg_hash *key, const struct mg_hash *group,
                                       struct mg_span meta, struct mg_span body, struct mg_errmsg *err);
/* The same with a body that lies in a descriptor, whatever its size; read piece by piece. */
MG_MUST_CHECK enum mg_err mg_cache_put_fd(struct mg_cache *cache, const struct mg_hash *key,
                                          const struct mg_hash *group, struct mg_span meta, int fd, uint64_t offset,
                                          uint64_t bytes, struct mg_errmsg *err);
/* MG_OK too where there is none. */
MG_MUST_CHECK enum mg_err mg_cache_del(struct mg_cache *cache, const struct mg_hash *key);
/* NULL group: everything. `deleted` gets the number of entries. */
MG_MUST_CHECK enum mg_err mg_cache_purge(struct mg_cache *cache, const struct mg_hash *group, int64_t *deleted,
                                         struct mg_errmsg *err);
struct mg_cache_stats {
    int64_t entries, bytes, max_bytes, evicted, damaged;
};
void mg_cache_stats(struct mg_cache *cache, struct mg_cache_stats *out);
/* Notes uses and evicts towards the bound, a few ms of each; called every second or so by one thread. */
void mg_cache_tend(struct mg_cache *cache);

#endif
