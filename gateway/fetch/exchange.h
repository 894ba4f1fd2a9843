/* Requests of UDFs: batches of HTTP requests, as moon.http makes them, with retries. Private to fetch/.
 * Single thread; time is a parameter.
 *
 * A batch comes packed (pack.h) in a memfd and its answer goes back so:
 *   request: count, concurrency, max_bytes of a body; each: method, URL, count of headers, "Name: value" …,
 * body, timeout_ms, retries, follow (bool) answer:  count; each: enum mg_err, sentence, status, final URL,
 * count of headers, name (lower case), value …, body */
#ifndef FETCH_EXCHANGE_H
#define FETCH_EXCHANGE_H

#include "transfer.h"

struct mg_batch_answer {
    uint64_t id, tag;
    enum mg_err err;
    const char *text; /* the error's sentence */
    int fd;           /* a sealed memfd of `bytes`, borrowed; -1 */
    uint64_t bytes;
};
typedef void mg_batch_answer_f(void *context, const struct mg_batch_answer *answer);

struct mg_exchanges;
/* Borrows all of it until the end. */
MG_MUST_CHECK enum mg_err mg_exchanges_new(const struct mg_fetch_config *config,
                                           struct mg_transfers *transfers, mg_batch_answer_f *answer,
                                           void *context, struct mg_exchanges **out, struct mg_errmsg *err);
/* Free the transfers first: they point here. */
void mg_exchanges_free(struct mg_exchanges **exchanges);
/* Answered now or in a later step of the transfers or tend, exactly once unless dropped. Borrows fd. */
void mg_exchanges_ask(struct mg_exchanges *exchanges, uint64_t id, uint64_t tag, int fd, uint64_t bytes,
                      int64_t now_ms);
/* Nobody is there any more to be answered: no request is tried again. */
void mg_exchanges_drop(struct mg_exchanges *exchanges);
/* Says what time it is; starts what is due. Gives the milliseconds until the next is, at most `most`. */
int mg_exchanges_tend(struct mg_exchanges *exchanges, int64_t now_ms, int most);

#endif
