/* Block files on disk (files.h has their layout): made, filled and evicted by the fetcher alone. Private to fetch/.
 * Single thread. */
#ifndef FETCH_BLOCKS_H
#define FETCH_BLOCKS_H

#include "moongate/files.h"

#define MG_SIZE_UNKNOWN UINT64_MAX

struct mg_block_store;
/* `root` is the folder's descriptor (taken, also on failure); files of more than max_bytes are refused; an
 * organisation's files take quota bytes at most, give or take the slack of one check (64 MB). Files of an earlier
 * boot are deleted: their bitmaps may say more than reached the disk. */
MG_MUST_CHECK enum mg_err mg_block_store_open(int root, uint64_t max_bytes, uint64_t quota,
                                              struct mg_block_store **out, struct mg_errmsg *err);
void mg_block_store_close(struct mg_block_store **store);

struct mg_block_file {
    struct mg_block_store *store;
    int fd, reader;            /* ours; read-only, to be handed out */
    struct mg_block_head head; /* size is MG_SIZE_UNKNOWN until it is known */
    uint64_t n_blocks;         /* 0 while the size is unknown */
    uint8_t *bits;             /* what is there */
    char org[64], key[65], draft[80]; /* draft: its name until it is published, or "" */
};
/* The file of an earlier request. MG_E_NOT_FOUND: none, or a damaged one. Returns new. */
MG_MUST_CHECK enum mg_err mg_block_open(struct mg_block_store *store, const char *org, const char *url,
                                        struct mg_block_file **out);
/* A new generation, empty; takes the place of the old one (at mg_block_size when size is unknown). Returns new. */
MG_MUST_CHECK enum mg_err mg_block_create(struct mg_block_store *store, const char *org, const char *url,
                                          uint64_t size, const char *etag, struct mg_block_file **out,
                                          struct mg_errmsg *err);
void mg_block_close(struct mg_block_file **file);
/* Says the size and gives the file its name. */
MG_MUST_CHECK enum mg_err mg_block_size(struct mg_block_file *file, uint64_t size, struct mg_errmsg *err);
/* Writes a whole block (the last one may be short) and marks it. */
MG_MUST_CHECK enum mg_err mg_block_put(struct mg_block_file *file, uint64_t block, const void *data, size_t n,
                                       struct mg_errmsg *err);
bool mg_block_has(const struct mg_block_file *file, uint64_t block);
/* It was used: evicted later. */
void mg_block_touch(struct mg_block_file *file);
/* Takes the name away: the next request starts anew. */
void mg_block_forget(struct mg_block_file *file);

#endif
