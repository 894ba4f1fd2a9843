/* Cache entries whose bytes follow from their number, so that any mix-up shows. */
#ifndef MOONGATE_TESTS_ENTRIES_H
#define MOONGATE_TESTS_ENTRIES_H

#include "moongate/cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline struct mg_hash name_of(uint64_t n)
{
    struct mg_hash hash;
    mg_sha256(&n, sizeof n, &hash);
    return hash;
}

/* The body of entry n: every byte follows from n and its place. */
static inline void fill(char *body, size_t len, uint64_t n)
{
    for (size_t i = 0; i < len; i++)
        body[i] = (char)(n * 31 + i * 7 + (i >> 8));
}

static inline enum mg_err put(struct mg_cache *cache, uint64_t n, uint64_t group, size_t len)
{
    struct mg_hash key = name_of(n), of = name_of(group);
    char *body = malloc(len + 1), meta[32];
    int meta_len = snprintf(meta, sizeof meta, "meta %llu", (unsigned long long)n);
    fill(body, len, n);
    enum mg_err status = mg_cache_put(cache, &key, &of, (struct mg_span){meta, (size_t)meta_len},
                                      (struct mg_span){body, len}, NULL);
    free(body);
    return status;
}

enum seen { RIGHT, MISS, WRONG };

static inline enum seen get(struct mg_cache *cache, uint64_t n, size_t len)
{
    struct mg_hash key = name_of(n);
    struct mg_buf meta, body;
    int fd;
    uint64_t fd_bytes = 0;
    char *want = malloc(len + 1), want_meta[32];
    snprintf(want_meta, sizeof want_meta, "meta %llu", (unsigned long long)n);
    fill(want, len, n);
    mg_buf_init(&meta, 0);
    mg_buf_init(&body, 0);
    enum seen seen = MISS;
    if (mg_cache_get(cache, &key, &meta, &body, &fd, &fd_bytes) == MG_OK) {
        if (fd >= 0) {
            char *at = mg_buf_room(&body, (size_t)fd_bytes);
            if (read(fd, at, (size_t)fd_bytes) == (ssize_t)fd_bytes)
                body.len = (size_t)fd_bytes;
            close(fd);
        }
        bool right = mg_span_is((struct mg_span){meta.data, meta.len}, want_meta) &&
                     body.len == len && (len == 0 || memcmp(body.data, want, len) == 0);
        seen = right ? RIGHT : WRONG;
    }
    mg_buf_fini(&meta);
    mg_buf_fini(&body);
    free(want);
    return seen;
}

#endif
