/* Block files: root/<org>/<SHA-256 of the URL>.
 *
 * Invariants: a block's bit is written after its bytes; a file receives its name only with a complete header; a
 * generation never changes its size or ETag. A process that is killed leaves at most a draft, which the next start
 * deletes. Bits and header are written with pwrite: a store into a mapped page of a full disk would be SIGBUS.
 * Eviction scans an organisation's folder after each 64 MB and deletes what was used longest ago (mtime). */
#include "blocks.h"

#include "moongate/crypto.h"
#include "moongate/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { CHECK_BYTES = 64 << 20, PAGE = 4096 };
#define BOOT_FILE ".boot"

struct mg_block_store {
    int root;
    uint64_t max_bytes, quota, unchecked, drafts;
    uint64_t data_offset; /* room for the bitmap of max_bytes, whatever the file's size */
};

static uint64_t blocks_of(uint64_t size) { return size / MG_BLOCK_BYTES + (size % MG_BLOCK_BYTES != 0); }
static size_t bitmap_bytes(const struct mg_block_store *store)
{
    return (size_t)(store->data_offset - sizeof(struct mg_block_head));
}

static bool write_all(int fd, const void *data, size_t n, uint64_t at)
{
    const char *from = data;
    while (n) {
        ssize_t done = pwrite(fd, from, n, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        from += done;
        at += (uint64_t)done;
        n -= (size_t)done;
    }
    return true;
}

static enum mg_err disk_error(const char *what, struct mg_errmsg *err)
{
    return mg_err_set(err, MG_E_IO, "%s a copy of the remote file: %s", what, strerror(errno));
}

/* ---- The folder --------------------------------------------------------------------------------------- */

/* Calls `each` for every entry of a folder but dot files; borrows dirfd. */
static void each_entry(int dirfd, void (*each)(int dirfd, const char *name, void *context), void *context)
{
    int own = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = own < 0 ? NULL : fdopendir(own);
    if (!dir) {
        if (own >= 0)
            close(own);
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.')
            each(dirfd, entry->d_name, context);
    closedir(dir);
}

static void delete_file(int dirfd, const char *name, void *only_drafts)
{
    if (!only_drafts || strncmp(name, "draft-", 6) == 0)
        unlinkat(dirfd, name, 0);
}

static void clean_org(int root, const char *name, void *only_drafts)
{
    int dirfd = openat(root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dirfd < 0)
        return;
    each_entry(dirfd, delete_file, only_drafts);
    close(dirfd);
}

static size_t read_small(int dirfd, const char *name, char *out, size_t size)
{
    int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, size - 1);
    if (fd >= 0)
        close(fd);
    out[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

static void clean(int root)
{
    char now[64], then[64];
    bool same = read_small(AT_FDCWD, "/proc/sys/kernel/random/boot_id", now, sizeof now) > 0 &&
                read_small(root, BOOT_FILE, then, sizeof then) > 0 && strcmp(now, then) == 0;
    each_entry(root, clean_org, same ? &same : NULL);
    int fd = same ? -1 : openat(root, BOOT_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    if (!write_all(fd, now, strlen(now), 0))
        mg_log_warn("cannot write " BOOT_FILE ": %s", strerror(errno));
    close(fd);
}

enum mg_err mg_block_store_open(int root, uint64_t max_bytes, uint64_t quota, struct mg_block_store **out,
                                struct mg_errmsg *err)
{
    struct mg_block_store *store = calloc(1, sizeof *store);
    if (!store) {
        close(root);
        return mg_err_set(err, MG_E_NOMEM, "no memory for the block files");
    }
    uint64_t header = sizeof(struct mg_block_head) + blocks_of(max_bytes) / 8 + 1;
    *store = (struct mg_block_store){.root = root, .max_bytes = max_bytes, .quota = quota,
                                     .data_offset = (header + PAGE - 1) / PAGE * PAGE};
    clean(root);
    *out = store;
    return MG_OK;
}

void mg_block_store_close(struct mg_block_store **store)
{
    if (!*store)
        return;
    close((*store)->root);
    free(*store);
    *store = NULL;
}

static int open_org(const struct mg_block_store *store, const char *org, bool make)
{
    if (make && mkdirat(store->root, org, 0700) && errno != EEXIST)
        return -1;
    return openat(store->root, org, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* ---- Eviction ----------------------------------------------------------------------------------------- */

struct aged {
    char name[80];
    struct timespec used;
    uint64_t bytes;
};
struct survey {
    struct aged *files;
    size_t n, cap;
    uint64_t bytes;
};

static void survey_file(int dirfd, const char *name, void *context)
{
    struct survey *survey = context;
    struct stat st;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
        return;
    survey->bytes += (uint64_t)st.st_blocks * 512;
    if (survey->n == survey->cap) {
        size_t cap = survey->cap ? 2 * survey->cap : 64;
        struct aged *files = realloc(survey->files, cap * sizeof *files);
        if (!files)
            return;
        survey->files = files;
        survey->cap = cap;
    }
    struct aged *file = &survey->files[survey->n];
    int len = snprintf(file->name, sizeof file->name, "%s", name);
    if (len < 0 || (size_t)len >= sizeof file->name)
        return;
    file->used = st.st_mtim;
    file->bytes = (uint64_t)st.st_blocks * 512;
    survey->n++;
}

static int by_age(const void *a, const void *b)
{
    const struct timespec *x = &((const struct aged *)a)->used, *y = &((const struct aged *)b)->used;
    if (x->tv_sec != y->tv_sec)
        return x->tv_sec < y->tv_sec ? -1 : 1;
    return x->tv_nsec < y->tv_nsec ? -1 : x->tv_nsec > y->tv_nsec;
}

/* Down to nine tenths of the quota; never the file that is being filled. */
static void evict(struct mg_block_store *store, const char *org, const char *keep)
{
    struct survey survey = {0};
    int dirfd = open_org(store, org, false);
    if (dirfd < 0)
        return;
    each_entry(dirfd, survey_file, &survey);
    if (survey.bytes > store->quota) {
        qsort(survey.files, survey.n, sizeof *survey.files, by_age);
        for (size_t i = 0; i < survey.n && survey.bytes > store->quota / 10 * 9; i++) {
            if (strcmp(survey.files[i].name, keep) == 0 || unlinkat(dirfd, survey.files[i].name, 0))
                continue;
            survey.bytes -= survey.files[i].bytes;
        }
    }
    free(survey.files);
    close(dirfd);
}

/* ---- A file ------------------------------------------------------------------------------------------- */

static struct mg_block_file *file_new(struct mg_block_store *store, const char *org, const char *url)
{
    struct mg_block_file *file = calloc(1, sizeof *file);
    uint8_t *bits = calloc(1, bitmap_bytes(store));
    if (!file || !bits) {
        free(file);
        free(bits);
        return NULL;
    }
    struct mg_hash hash;
    *file = (struct mg_block_file){.store = store, .fd = -1, .reader = -1, .bits = bits};
    snprintf(file->org, sizeof file->org, "%s", org);
    mg_sha256(url, strlen(url), &hash);
    mg_hash_hex(&hash, file->key);
    return file;
}

static bool same_file(int a, int b)
{
    struct stat x, y;
    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

void mg_block_close(struct mg_block_file **file_at)
{
    struct mg_block_file *file = *file_at;
    *file_at = NULL;
    if (!file)
        return;
    int dirfd = file->draft[0] ? open_org(file->store, file->org, false) : -1;
    if (dirfd >= 0) {
        unlinkat(dirfd, file->draft, 0);
        close(dirfd);
    }
    if (file->fd >= 0)
        close(file->fd);
    if (file->reader >= 0)
        close(file->reader);
    free(file->bits);
    free(file);
}

enum mg_err mg_block_open(struct mg_block_store *store, const char *org, const char *url, struct mg_block_file **out)
{
    struct mg_block_file *file = file_new(store, org, url);
    enum mg_err e = file ? MG_E_NOT_FOUND : MG_E_NOMEM;
    int dirfd = file ? open_org(store, org, false) : -1;
    struct stat st;
    if (dirfd < 0)
        goto out;
    file->fd = openat(dirfd, file->key, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    file->reader = file->fd < 0 ? -1 : openat(dirfd, file->key, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (file->reader < 0 || !same_file(file->fd, file->reader) || fstat(file->fd, &st))
        goto out;
    struct mg_block_head *head = &file->head;
    if (pread(file->fd, head, sizeof *head, 0) != (ssize_t)sizeof *head ||
        memcmp(head->magic, MG_BLOCK_MAGIC, sizeof head->magic) != 0 || head->size > store->max_bytes ||
        head->data_offset != store->data_offset || head->etag[sizeof head->etag - 1] ||
        (uint64_t)st.st_size != head->data_offset + head->size ||
        pread(file->fd, file->bits, bitmap_bytes(store), sizeof *head) != (ssize_t)bitmap_bytes(store)) {
        unlinkat(dirfd, file->key, 0); /* damaged, or of another max_bytes */
        goto out;
    }
    file->n_blocks = blocks_of(head->size);
    *out = file;
    file = NULL;
    e = MG_OK;
out:
    if (dirfd >= 0)
        close(dirfd);
    mg_block_close(&file);
    return e;
}

enum mg_err mg_block_create(struct mg_block_store *store, const char *org, const char *url, uint64_t size,
                            const char *etag, struct mg_block_file **out, struct mg_errmsg *err)
{
    struct mg_block_file *file = file_new(store, org, url);
    enum mg_err e = MG_E_NOMEM;
    int dirfd = -1;
    if (!file) {
        mg_err_set(err, e, "no memory for a remote file");
        goto out;
    }
    dirfd = open_org(store, org, true);
    snprintf(file->draft, sizeof file->draft, "draft-%llu", (unsigned long long)store->drafts++);
    if (dirfd >= 0)
        file->fd = openat(dirfd, file->draft, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    file->reader = file->fd < 0 ? -1 : openat(dirfd, file->draft, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (file->reader < 0) {
        e = disk_error("cannot make", err);
        goto out;
    }
    memcpy(file->head.magic, MG_BLOCK_MAGIC, sizeof file->head.magic);
    file->head.size = MG_SIZE_UNKNOWN;
    file->head.data_offset = store->data_offset;
    snprintf(file->head.etag, sizeof file->head.etag, "%s", etag);
    /* The whole bitmap is written, so that later bits need no space of a full disk. */
    if (!write_all(file->fd, file->bits, bitmap_bytes(store), sizeof file->head)) {
        e = disk_error("cannot write", err);
        goto out;
    }
    e = size == MG_SIZE_UNKNOWN ? MG_OK : mg_block_size(file, size, err);
    if (e)
        goto out;
    *out = file;
    file = NULL;
out:
    if (dirfd >= 0)
        close(dirfd);
    mg_block_close(&file);
    return e;
}

enum mg_err mg_block_size(struct mg_block_file *file, uint64_t size, struct mg_errmsg *err)
{
    MG_ASSERT(file->head.size == MG_SIZE_UNKNOWN && size <= file->store->max_bytes);
    struct mg_block_head head = file->head;
    head.size = size;
    if (ftruncate(file->fd, (off_t)(head.data_offset + size)) || !write_all(file->fd, &head, sizeof head, 0))
        return disk_error("cannot write", err);
    int dirfd = open_org(file->store, file->org, true);
    int failed = dirfd < 0 ? -1 : renameat(dirfd, file->draft, dirfd, file->key);
    enum mg_err e = failed ? disk_error("cannot name", err) : MG_OK;
    if (dirfd >= 0)
        close(dirfd);
    if (e)
        return e;
    file->draft[0] = '\0';
    file->head = head;
    file->n_blocks = blocks_of(size);
    return MG_OK;
}

enum mg_err mg_block_put(struct mg_block_file *file, uint64_t block, const void *data, size_t n,
                         struct mg_errmsg *err)
{
    struct mg_block_store *store = file->store;
    MG_ASSERT(n <= MG_BLOCK_BYTES && block / 8 < bitmap_bytes(store));
    uint8_t bits = (uint8_t)(file->bits[block / 8] | 1 << (block % 8));
    if (!write_all(file->fd, data, n, store->data_offset + block * MG_BLOCK_BYTES) ||
        !write_all(file->fd, &bits, 1, sizeof file->head + block / 8))
        return disk_error("cannot write", err);
    file->bits[block / 8] = bits;
    store->unchecked += n;
    if (store->unchecked >= CHECK_BYTES || store->unchecked >= store->quota / 4) {
        store->unchecked = 0;
        evict(store, file->org, file->draft[0] ? file->draft : file->key);
    }
    return MG_OK;
}

bool mg_block_has(const struct mg_block_file *file, uint64_t block)
{
    return file->bits[block / 8] >> (block % 8) & 1;
}

void mg_block_touch(struct mg_block_file *file) { futimens(file->fd, NULL); }

void mg_block_forget(struct mg_block_file *file)
{
    int dirfd = open_org(file->store, file->org, false);
    if (dirfd < 0)
        return;
    int named = openat(dirfd, file->key, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (named >= 0 && same_file(named, file->fd))
        unlinkat(dirfd, file->key, 0);
    if (named >= 0)
        close(named);
    close(dirfd);
}
