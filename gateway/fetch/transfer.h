/* One HTTP request, for a range of a remote file or as a UDF asks, by libcurl under the egress policy. Private to fetch/.
 * Single thread: everything happens in mg_transfers_step. */
#ifndef FETCH_TRANSFER_H
#define FETCH_TRANSFER_H

#include "moongate/fetch.h"

#define MG_TOTAL_UNKNOWN UINT64_MAX

struct mg_answer_head {
    int status;         /* 200, 206, 304, 416 … of the last hop */
    uint64_t from;      /* of the body's first byte in the file */
    uint64_t total;     /* bytes of the whole file; MG_TOTAL_UNKNOWN */
    char etag[232];     /* ETag, else Last-Modified, else "" */
};

struct mg_transfer;
struct mg_transfer_events {
    /* The head is complete. False ends the transfer with the error that `err` was given. */
    bool (*head)(void *context, const struct mg_answer_head *head, struct mg_errmsg *err);
    bool (*data)(void *context, const void *data, size_t n, struct mg_errmsg *err);
    /* The end; the transfer is gone afterwards. MG_OK, MG_E_FETCH (the remote's or the network's fault), MG_E_CANCELLED
     * (head or data returned false). `sure`: the server answered, and another try will not help (4xx, refused). */
    void (*done)(void *context, enum mg_err e, bool sure, const struct mg_errmsg *err);
    /* Of mg_transfer_send only, which has no head: each line of the head as it comes, of every hop ("HTTP/" begins
     * one); and just before done the status (0: no answer) and the URL of the last hop (nullable, borrowed). */
    void (*line)(void *context, const char *line, size_t n);
    void (*end)(void *context, int status, const char *url);
};

/* Any request; any status is an answer. */
struct mg_transfer_ask {
    const char *url, *method;   /* GET HEAD POST PUT PATCH DELETE */
    const char *const *headers; /* "Name: value", NULL-terminated, checked by the caller */
    struct mg_span body;        /* borrowed until done */
    int64_t timeout_ms;
    bool follow;                /* redirects of GET, HEAD and POST */
};

struct mg_transfers;
/* Reads config->ca_file (do this before privileges are dropped). Borrows config. */
MG_MUST_CHECK enum mg_err mg_transfers_new(const struct mg_fetch_config *config, struct mg_transfers **out,
                                           struct mg_errmsg *err);
void mg_transfers_free(struct mg_transfers **transfers);
/* Asks for bytes from..to (inclusive); with `etag` (nullable) only if it is no longer that. */
MG_MUST_CHECK enum mg_err mg_transfer_start(struct mg_transfers *transfers, const char *url, uint64_t from,
                                            uint64_t to, const char *etag, const struct mg_transfer_events *events,
                                            void *context, struct mg_errmsg *err);
/* done may say MG_E_FETCH_TIMEOUT and MG_E_EGRESS too. */
MG_MUST_CHECK enum mg_err mg_transfer_send(struct mg_transfers *transfers, const struct mg_transfer_ask *ask,
                                           const struct mg_transfer_events *events, void *context,
                                           struct mg_errmsg *err);
/* Waits up to ms for the network or for one of fds (-1 is passed over) to be readable, and does what is to be done. */
void mg_transfers_step(struct mg_transfers *transfers, const int *fds, size_t n_fds, int ms);
/* http or https with a host, nothing unprintable; the host's name for messages. MG_E_ARGUMENT. */
MG_MUST_CHECK enum mg_err mg_url_check(const char *url, char *host, size_t size, struct mg_errmsg *err);

#endif
