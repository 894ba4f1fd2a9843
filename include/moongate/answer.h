/* An answer: what a run gave, immutable and reference-counted, as it is sent to n waiters and kept in the cache.
 * Any thread. */
#ifndef MOONGATE_ANSWER_H
#define MOONGATE_ANSWER_H

#include "moongate/run_wire.h"

struct mg_answer {
    int refs; /* atomic */
    bool hot, used; /* atomic, the hot tier's: it holds the answer; asked for since it last looked */
    enum mg_err err;
    char *message, *file, *traceback, *log; /* NULL when there is none */
    int64_t line;
    int status;
    char *mime, *codec;
    bool by_accept, empty;
    bool gzip;               /* the body is gzip; identity_bytes is its length without */
    uint64_t identity_bytes;
    int64_t udf_max_age_s;   /* asked for by the UDF; -1: not */
    int64_t created_s;       /* seconds since 1970 */
    int64_t ttl_s;           /* for which the cache may give it; 0: not kept */
    int64_t lua_us, encode_us, cpu_us, queue_us;
    char etag[40];           /* of the identity body, with quotes; empty: none */
    struct mg_buf headers;   /* packed: count, then name, value */
    struct mg_buf deps;      /* packed: count, then kind, name, version */
    struct mg_span body;     /* in memory, or: */
    int fd;                  /* a sealed memfd or cache file of fd_bytes; -1: none */
    uint64_t fd_offset, fd_bytes;
    void *memory;            /* what body lies in; freed with the answer */
};

/* Returns new; aborts without memory for the struct itself. */
struct mg_answer *mg_answer_new(void);
/* An answer that only says what went wrong. */
struct mg_answer *mg_answer_error(enum mg_err err, const char *message);
struct mg_answer *mg_answer_ref(struct mg_answer *answer);
void mg_answer_unref(struct mg_answer **answer);
uint64_t mg_answer_bytes(const struct mg_answer *answer);
/* From a worker's result: copies everything but the body. Then set_body gives it the body and the ETag. */
struct mg_answer *mg_answer_from_result(const struct mg_run_result *result);
void mg_answer_set_body(struct mg_answer *answer, void *memory, struct mg_span body); /* takes memory */
/* Takes fd (on success), a sealed memfd of `bytes` from offset. */
MG_MUST_CHECK enum mg_err mg_answer_set_fd(struct mg_answer *answer, int fd, uint64_t offset, uint64_t bytes);
/* Gives an answer that lies in a descriptor its ETag; before anyone else sees it. Reads all of it, piece by piece:
 * 64 MB take some 20 ms. */
MG_MUST_CHECK enum mg_err mg_answer_hash(struct mg_answer *answer);
/* The meta of a cache entry, and back (body, memory and fd are set by the caller). */
void mg_answer_pack(const struct mg_answer *answer, struct mg_buf *out);
MG_MUST_CHECK enum mg_err mg_answer_unpack(struct mg_span meta, struct mg_answer **out);
/* The answer as a packed mg_run_result with its body inline: for a parent run. */
MG_MUST_CHECK enum mg_err mg_answer_to_result(const struct mg_answer *answer, struct mg_buf *out);

#endif
