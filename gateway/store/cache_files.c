/* Bodies beside the cache's environment: files/<2 hex digits>/<key>.<number>, written under another
 * name first.
 *
 * A file is never changed under its name; a new body receives a new number. Reading one checks all its
 * bytes the first time that this process opens it (about 10 GB/s), later its length and time of
 * change. */
#include "cache_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ORPHAN_S = 3600, CHUNK = 1 << 18, NAME_LEN = 64 + 1 + 16 };

static void file_name(const struct mg_cache *cache, const struct mg_hash *key, uint64_t file,
                      char *out, size_t size)
{
    char hex[65];
    mg_hash_hex(key, hex);
    snprintf(out, size, "%s/files/%.2s/%s.%016" PRIx64, cache->dir, hex, hex, file);
}

/* The next bytes of the source from `at`: its own memory, or read into `piece`. 0: it ends too early. */
static ssize_t next_piece(const struct source *body, uint64_t at, char *piece, const char **out)
{
    uint64_t left = body->len - at;
    size_t n = left < CHUNK ? (size_t)left : CHUNK;
    if (body->data) {
        *out = body->data + at;
        return (ssize_t)n;
    }
    *out = piece;
    ssize_t got;
    do
        got = pread(body->fd, piece, n, (off_t)(body->offset + at));
    while (got < 0 && errno == EINTR);
    return got;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n == 0 || (n < 0 && errno != EINTR))
            return n == 0 ? ENOSPC : errno;
        data += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int write_body(int fd, const struct source *body, uint64_t *check)
{
    char *piece = body->data ? NULL : malloc(CHUNK);
    int why = body->data || piece ? 0 : ENOMEM;
    for (uint64_t at = 0; at < body->len && !why;) {
        const char *data;
        ssize_t n = next_piece(body, at, piece, &data);
        why = n > 0 ? write_all(fd, data, (size_t)n) : n < 0 ? errno : EIO;
        if (!why) {
            *check = cache_check_more(*check, data, (size_t)n);
            at += (uint64_t)n;
        }
    }
    free(piece);
    return why;
}

enum mg_err cache_file_write(struct mg_cache *cache, const struct mg_hash *key, uint64_t file,
                             const struct source *body, uint64_t *check, struct mg_errmsg *err)
{
    char name[4200], temp[4208], folder[4200];
    file_name(cache, key, file, name, sizeof name);
    snprintf(temp, sizeof temp, "%s.new", name);
    snprintf(folder, sizeof folder, "%s", name);
    *strrchr(folder, '/') = '\0';
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == ENOENT) {
        enum mg_err status = env_make_dir(folder, err);
        if (status != MG_OK)
            return status;
        fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    }
    if (fd < 0)
        return mg_err_set(err, MG_E_IO, "%s cannot be made: %s", temp, strerror(errno));
    int why = write_body(fd, body, check);
    if (close(fd) != 0 && !why)
        why = errno;
    if (!why && rename(temp, name) != 0)
        why = errno;
    if (!why)
        return MG_OK;
    unlink(temp);
    return mg_err_set(err, MG_E_IO, "%s cannot be written: %s", name, strerror(why));
}

static bool bytes_are_right(int fd, uint64_t check, const struct record *record)
{
    char *chunk = malloc(CHUNK);
    if (!chunk)
        return false;
    uint64_t at = 0;
    while (at < record->body_len) {
        ssize_t n = pread(fd, chunk, CHUNK, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        check = cache_check_more(check, chunk, (size_t)n);
        at += (uint64_t)n;
    }
    free(chunk);
    return at == record->body_len && check == record->check;
}

int cache_file_open(struct mg_cache *cache, const struct mg_hash *key, const struct record *record,
                    struct mg_span meta)
{
    char name[4200];
    struct stat st;
    file_name(cache, key, record->file, name, sizeof name);
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != record->body_len) {
        close(fd);
        return -1;
    }
    uint64_t changed = (uint64_t)st.st_mtim.tv_sec * 1000000000 + (uint64_t)st.st_mtim.tv_nsec;
    uint64_t mark = record->file ^ record->check ^ changed * UINT64_C(0x9E3779B97F4A7C15);
    _Atomic uint64_t *slot = &cache->verified[record->file % CACHE_VERIFIED];
    if (atomic_load_explicit(slot, memory_order_relaxed) == mark)
        return fd;
    if (!bytes_are_right(fd, cache_check_start(key, record, meta), record)) {
        close(fd);
        return -1;
    }
    atomic_store_explicit(slot, mark, memory_order_relaxed);
    return fd;
}

void cache_file_unlink(struct mg_cache *cache, const struct mg_hash *key, uint64_t file)
{
    char name[4200];
    file_name(cache, key, file, name, sizeof name);
    unlink(name); /* one that stays is swept later */
}

static bool is_named(struct mg_cache *cache, const char *name)
{
    struct mg_hash key;
    struct use use;
    if (strlen(name) != NAME_LEN || !mg_hash_from_hex((struct mg_span){name, 64}, &key))
        return false;
    uint64_t file = strtoull(name + 65, NULL, 16);
    MDB_txn *txn = env_read_begin(&cache->env);
    if (!txn)
        return true;
    MDB_val k = env_val(&key, sizeof key), v;
    int rc = mdb_get(txn, cache->db[DB_USES], &k, &v);
    bool named = rc != MDB_NOTFOUND; /* after an error we know nothing */
    if (rc == 0 && v.mv_size == sizeof use) {
        memcpy(&use, v.mv_data, sizeof use);
        named = use.file == file;
    }
    env_read_end(&cache->env, txn);
    return named;
}

static void sweep_folder(struct mg_cache *cache, const char *folder, int64_t now_s)
{
    DIR *dir = opendir(folder);
    struct dirent *item;
    if (!dir)
        return;
    while ((item = readdir(dir))) {
        struct stat st;
        if (fstatat(dirfd(dir), item->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(st.st_mode) && st.st_mtime + ORPHAN_S < now_s && !is_named(cache, item->d_name))
            unlinkat(dirfd(dir), item->d_name, 0);
    }
    closedir(dir);
}

void cache_files_sweep(struct mg_cache *cache, int64_t now_s)
{
    char folder[4100];
    for (unsigned i = 0; i < 256; i++) {
        snprintf(folder, sizeof folder, "%s/files/%02x", cache->dir, i);
        sweep_folder(cache, folder, now_s);
    }
}
