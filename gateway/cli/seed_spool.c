/* The spool: a head, then records of a head and bytes. A record counts when its bytes have the hash that its head says, so
 * that a torn end is seen for what it is. Memory: 56 bytes a tile. */
#include "seed_spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAGIC "MGSEED1\n"

struct head {
    char magic[8];
    struct mg_hash of;
};
struct record {
    uint64_t id;
    uint32_t bytes, zero;
    struct mg_hash hash;
};

static enum mg_err add(struct mg_spool *spool, const struct mg_spooled *tile)
{
    if (spool->n == spool->room) {
        size_t room = spool->room ? 2 * spool->room : 1024;
        void *more = realloc(spool->tiles, room * sizeof *spool->tiles);
        if (!more)
            return MG_E_NOMEM;
        spool->tiles = more;
        spool->room = room;
    }
    spool->tiles[spool->n++] = *tile;
    return MG_OK;
}

static enum mg_err read_records(struct mg_spool *spool)
{
    enum { MOST = 256 << 20 };
    struct record r;
    struct mg_buf bytes;
    enum mg_err status = MG_OK;
    mg_buf_init(&bytes, MOST);
    while (!status && pread(spool->fd, &r, sizeof r, (off_t)spool->end) == (ssize_t)sizeof r && r.bytes <= MOST) {
        struct mg_hash hash;
        bytes.len = 0;
        char *room = mg_buf_room(&bytes, r.bytes);
        uint64_t at = spool->end + sizeof r;
        if (!room || pread(spool->fd, room, r.bytes, (off_t)at) != (ssize_t)r.bytes)
            break;
        mg_sha256(room, r.bytes, &hash);
        if (!mg_hash_eq(&hash, &r.hash))
            break;
        status = add(spool, &(struct mg_spooled){r.id, at, r.bytes, r.hash});
        spool->end = at + r.bytes;
    }
    mg_buf_fini(&bytes);
    spool->resumed = spool->n;
    mg_spool_sort(spool);
    return status;
}

enum mg_err mg_spool_open(const char *path, const struct mg_hash *of, struct mg_spool *out, struct mg_errmsg *err)
{
    struct mg_spool spool = {.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644), .end = sizeof(struct head)};
    struct head head = {.of = *of}, old;
    memcpy(head.magic, MAGIC, sizeof head.magic);
    if (spool.fd < 0)
        return mg_err_set(err, MG_E_IO, "%s: %s", path, strerror(errno));
    enum mg_err status = MG_OK;
    if (flock(spool.fd, LOCK_EX | LOCK_NB) < 0) {
        status = mg_err_set(err, MG_E_CONFLICT, "%s is being written by another seed", path);
    } else if (pread(spool.fd, &old, sizeof old, 0) == (ssize_t)sizeof old) {
        if (memcmp(&old, &head, sizeof head) != 0)
            status = mg_err_set(err, MG_E_CONFLICT, "%s was begun with other code, parameters or format: delete it to start "
                                "anew", path);
    } else if (pwrite(spool.fd, &head, sizeof head, 0) != (ssize_t)sizeof head) {
        status = mg_err_set(err, MG_E_IO, "%s: %s", path, strerror(errno));
    }
    if (!status)
        status = read_records(&spool);
    if (!status && ftruncate(spool.fd, (off_t)spool.end) < 0)
        status = mg_err_set(err, MG_E_IO, "%s: %s", path, strerror(errno));
    if (status)
        mg_spool_close(&spool);
    else
        *out = spool;
    return status;
}

void mg_spool_close(struct mg_spool *spool)
{
    if (spool->fd >= 0)
        close(spool->fd);
    spool->fd = -1;
    free(spool->tiles);
    spool->tiles = NULL;
    spool->n = 0;
}

enum mg_err mg_spool_put(struct mg_spool *spool, uint64_t id, struct mg_span bytes, struct mg_errmsg *err)
{
    struct record r = {.id = id, .bytes = (uint32_t)bytes.len};
    mg_sha256(bytes.data ? bytes.data : "", bytes.len, &r.hash);
    struct iovec parts[] = {{&r, sizeof r}, {(void *)bytes.data, bytes.len}};
    ssize_t whole = (ssize_t)(sizeof r + bytes.len);
    if (pwritev(spool->fd, parts, 2, (off_t)spool->end) != whole)
        return mg_err_set(err, MG_E_IO, "writing the spool: %s", strerror(errno ? errno : ENOSPC));
    enum mg_err status = add(spool, &(struct mg_spooled){id, spool->end + sizeof r, r.bytes, r.hash});
    spool->end += (uint64_t)whole;
    return status;
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = ((const struct mg_spooled *)a)->id, y = ((const struct mg_spooled *)b)->id;
    return (x > y) - (x < y);
}

void mg_spool_sort(struct mg_spool *spool) { qsort(spool->tiles, spool->n, sizeof *spool->tiles, by_id); }

bool mg_spool_has(const struct mg_spool *spool, uint64_t id)
{
    struct mg_spooled key = {.id = id};
    return spool->resumed && bsearch(&key, spool->tiles, spool->resumed, sizeof key, by_id) != NULL;
}
