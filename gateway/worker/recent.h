/* Function values that this worker used last, so that a hit needs no message: a table by key, bounded in bytes, the one
 * used longest ago goes first. Worker process; single thread; outlives the runs. */
#ifndef MOONGATE_WORKER_RECENT_H
#define MOONGATE_WORKER_RECENT_H

#include "moongate/crypto.h"

struct recent {
    struct mg_hash key;
    int64_t stamp;        /* of the front's entry; 0: the entry is none of the front's */
    int64_t made_s;
    int64_t until_us;     /* it need not be asked for again until then (monotonic) … */
    uint64_t generation;  /* … or until the front has new values */
    char *entry;          /* a packed mg_run_result: deps, log, value */
    size_t len;
    struct recent *next;  /* the one used before */
};

struct recents {
    struct recent *newest;
    size_t bytes;
};

/* NULL: not there. Makes it the newest. */
struct recent *recents_find(struct recents *recents, const struct mg_hash *key);
/* Copies the entry; an older one of the key is replaced. Too large ones are not kept. */
void recents_put(struct recents *recents, const struct recent *what);
void recents_drop(struct recents *recents, const struct mg_hash *key);
void recents_free(struct recents *recents);

#endif
