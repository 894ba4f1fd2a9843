/* Remote files as the fetcher knows them: who waits for which blocks, what is on its way. Private to fetch/.
 * Single thread; time is a parameter. */
#ifndef FETCH_REMOTES_H
#define FETCH_REMOTES_H

#include "blocks.h"
#include "transfer.h"

struct mg_remote_ask {
    uint64_t id, tag; /* given back */
    const char *org, *url;
    uint64_t offset, bytes;
};
struct mg_remote_answer {
    uint64_t id, tag;
    enum mg_err err;
    const char *text;  /* the error's sentence, or the ETag */
    int fd;            /* the block file, read-only, borrowed; -1 */
    uint64_t received; /* bytes that came over the network since the last answer about this file */
};
typedef void mg_remote_answer_f(void *context, const struct mg_remote_answer *answer);

struct mg_remotes;
/* Borrows all of it until the end. */
MG_MUST_CHECK enum mg_err mg_remotes_new(const struct mg_fetch_config *config, struct mg_block_store *store,
                                         struct mg_transfers *transfers, mg_remote_answer_f *answer, void *context,
                                         struct mg_remotes **out, struct mg_errmsg *err);
/* Free the transfers first: they point here. */
void mg_remotes_free(struct mg_remotes **remotes);
/* Answered now or in a later step of the transfers, exactly once unless dropped. */
void mg_remotes_ask(struct mg_remotes *remotes, const struct mg_remote_ask *ask, int64_t now_ms);
/* Nobody is there any more to be answered. */
void mg_remotes_drop_waiters(struct mg_remotes *remotes);
/* Says what time it is; closes files that nobody asked for lately. */
void mg_remotes_tend(struct mg_remotes *remotes, int64_t now_ms);

#endif
