/* GDAL's view of a UDF's files: the read-only file system /vsimoon/.
 *
 * Local names are opened beneath their folders (files.c) and read with pread. Remote ones are block files of the
 * fetcher: a read looks at the bitmap (mapped, so that a warm read costs no request and no system call but its
 * pread) and has missing blocks fetched, all that a read needs in one request, more of them while it reads on in
 * order. The first look at a remote file asks for its first block, which of a COG is the whole header.
 * One file is one generation: when a fetch comes back with another block file, the remote file changed and the read
 * fails. Sidecar files of remote names (.aux.xml, .ovr …) are not there: GDAL's probing must not cause requests. */
#include "moongate/files.h"

#include <cpl_error.h>
#include <cpl_vsi.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

#define PREFIX "/vsimoon/"
enum { NAME_MAX_BYTES = 2048, AHEAD_MAX = 16, REMOTES = 8 };

/* A block file, shared by the handles on it. */
struct remote {
    int refs;
    int fd;
    const struct mg_block_head *head; /* mapped with the bitmap behind it */
    size_t mapped;
    uint64_t size;
    char *url;
};

struct handle {
    int fd;                /* of the local file; the remote's otherwise, which owns it */
    struct remote *remote; /* NULL: local */
    uint64_t at, size;
    uint64_t expected;     /* where a reader in order would go on */
    unsigned ahead;        /* blocks to fetch beyond what is asked for */
    bool eof;
};

struct name_list {
    char **names;
    size_t n, cap;
};

static struct {
    const struct mg_files *files;
    mg_fetch_f *fetch;
    mg_files_seen_f *seen;
    void *context;
    struct name_list told;             /* names that `seen` knows of in this run */
    struct remote *remotes[REMOTES];   /* of this run, newest first: checked with the fetcher once */
    enum mg_err error;
    struct mg_errmsg message;
} use;

static void fail(enum mg_err error)
{
    use.error = error;
    CPLError(CE_Failure, CPLE_FileIO, "%s", use.message.text);
}

/* ---- What a run reads --------------------------------------------------------------------------------- */

static void list_clear(struct name_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->names[i]);
    free(list->names);
    *list = (struct name_list){0};
}

/* True when it was not there. Without memory a name is told of again, which is harmless. */
static bool list_add(struct name_list *list, const char *name)
{
    for (size_t i = list->n; i-- > 0;)
        if (strcmp(list->names[i], name) == 0)
            return false;
    if (list->n == list->cap) {
        size_t cap = list->cap ? 2 * list->cap : 16;
        char **names = realloc(list->names, cap * sizeof *names);
        if (!names)
            return true;
        list->names = names;
        list->cap = cap;
    }
    char *copy = strdup(name);
    if (copy)
        list->names[list->n++] = copy;
    return true;
}

static void tell(const char *name, const char *version)
{
    if (use.seen && list_add(&use.told, name))
        use.seen(use.context, name, version);
}

/* ---- Remote files ------------------------------------------------------------------------------------- */

static bool is_remote(const char *name)
{
    return strncmp(name, "http://", 7) == 0 || strncmp(name, "https://", 8) == 0;
}

static bool is_sidecar(const char *name)
{
    static const char *const ends[] = {".aux.xml", ".ovr", ".msk",     ".tfw",   ".tifw", ".wld",
                                       ".rpb",     ".imd", "_rpc.txt", "_mtl.txt", ".tif.aux", ".aux"};
    size_t n = strcspn(name, "?#");
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t len = strlen(ends[i]);
        if (n > len && strncasecmp(name + n - len, ends[i], len) == 0)
            return true;
    }
    return false;
}

static void remote_unref(struct remote **remote_at)
{
    struct remote *remote = *remote_at;
    *remote_at = NULL;
    if (!remote || --remote->refs > 0)
        return;
    if (remote->head)
        munmap((void *)(uintptr_t)remote->head, remote->mapped);
    if (remote->fd >= 0)
        close(remote->fd);
    free(remote->url);
    free(remote);
}

static uint64_t block_count(uint64_t size) { return size / MG_BLOCK_BYTES + (size % MG_BLOCK_BYTES != 0); }

/* Takes fd, also on failure. */
static enum mg_err remote_new(int fd, const char *url, struct remote **out, struct mg_errmsg *err)
{
    struct mg_block_head head;
    struct stat st;
    enum mg_err e = MG_E_NOMEM;
    struct remote *remote = calloc(1, sizeof *remote);
    if (!remote) {
        close(fd);
        return mg_err_set(err, e, "no memory to open %.300s", url);
    }
    *remote = (struct remote){.refs = 1, .fd = fd, .url = strdup(url)};
    if (!remote->url) {
        mg_err_set(err, e, "no memory to open %.300s", url);
        goto out;
    }
    e = MG_E_INTERNAL;
    if (pread(fd, &head, sizeof head, 0) != (ssize_t)sizeof head || fstat(fd, &st) ||
        memcmp(head.magic, MG_BLOCK_MAGIC, sizeof head.magic) != 0 || head.size > UINT64_MAX / 2 ||
        head.data_offset < sizeof head + (block_count(head.size) + 7) / 8 || head.data_offset > UINT64_MAX / 4 ||
        (uint64_t)st.st_size < head.data_offset + head.size) {
        mg_err_set(err, e, "the fetched copy of %.300s is damaged", url);
        goto out;
    }
    void *mapped = mmap(NULL, (size_t)head.data_offset, PROT_READ, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) {
        mg_err_set(err, e, "%.300s: %s", url, strerror(errno));
        goto out;
    }
    remote->head = mapped;
    remote->mapped = (size_t)head.data_offset;
    remote->size = head.size;
    *out = remote;
    return MG_OK;
out:
    remote_unref(&remote);
    return e;
}

static enum mg_err fetch(const char *url, uint64_t offset, uint64_t bytes, int *fd)
{
    use.message.text[0] = '\0';
    if (!use.fetch)
        return mg_err_set(&use.message, MG_E_FETCH, "remote files cannot be read here: %.300s", url);
    return use.fetch(use.context, url, offset, bytes, fd, &use.message);
}

/* The remote file as this run sees it; a new reference. The fetcher is asked once a run. */
static enum mg_err remote_get(const char *url, struct remote **out)
{
    for (int i = 0; i < REMOTES && use.remotes[i]; i++)
        if (strcmp(use.remotes[i]->url, url) == 0) {
            use.remotes[i]->refs++;
            *out = use.remotes[i];
            return MG_OK;
        }
    int fd;
    struct remote *remote;
    enum mg_err e = fetch(url, 0, MG_BLOCK_BYTES, &fd);
    if (!e)
        e = remote_new(fd, url, &remote, &use.message);
    if (e)
        return e;
    remote_unref(&use.remotes[REMOTES - 1]);
    memmove(use.remotes + 1, use.remotes, (REMOTES - 1) * sizeof *use.remotes);
    use.remotes[0] = remote;
    remote->refs++;
    tell(url, remote->head->etag);
    *out = remote;
    return MG_OK;
}

static bool has_block(const struct remote *remote, uint64_t block)
{
    const uint8_t *bits = (const uint8_t *)(remote->head + 1);
    return __atomic_load_n(&bits[block / 8], __ATOMIC_ACQUIRE) >> (block % 8) & 1;
}

/* Makes the bytes be there, `ahead` blocks more when something must be fetched anyway. */
static bool ensure(const struct remote *remote, uint64_t offset, uint64_t bytes, unsigned ahead)
{
    uint64_t first = offset / MG_BLOCK_BYTES, last = (offset + bytes - 1) / MG_BLOCK_BYTES;
    uint64_t most = block_count(remote->size) - 1;
    while (first <= last && has_block(remote, first))
        first++;
    while (last > first && has_block(remote, last))
        last--;
    if (first > last)
        return true;
    last = last + ahead < most ? last + ahead : most;
    int fd;
    uint64_t from = first * MG_BLOCK_BYTES, to = (last + 1) * MG_BLOCK_BYTES;
    enum mg_err e = fetch(remote->url, from, (to < remote->size ? to : remote->size) - from, &fd);
    if (e) {
        fail(e);
        return false;
    }
    struct stat ours, theirs;
    bool same = fstat(remote->fd, &ours) == 0 && fstat(fd, &theirs) == 0 && ours.st_ino == theirs.st_ino &&
                ours.st_dev == theirs.st_dev;
    close(fd);
    for (uint64_t block = first; same && block <= last; block++)
        same = has_block(remote, block);
    if (!same) {
        mg_err_set(&use.message, MG_E_FETCH, "%.300s changed while it was read; try again", remote->url);
        fail(MG_E_FETCH);
    }
    return same;
}

/* ---- What GDAL calls ---------------------------------------------------------------------------------- */

/* GDAL gives names without the prefix. */
static enum mg_err name_of(const char *rest, char *name)
{
    char path[NAME_MAX_BYTES + sizeof PREFIX];
    int n = snprintf(path, sizeof path, PREFIX "%s", rest);
    if (!use.files || n < 0 || (size_t)n >= sizeof path || !mg_files_name_of(path, name, NAME_MAX_BYTES))
        return mg_err_set(&use.message, MG_E_NO_FILE, "no file %.300s", path);
    if (is_remote(name) && is_sidecar(name))
        return mg_err_set(&use.message, MG_E_NO_FILE, "%.300s is not asked for", name);
    return MG_OK;
}

/* A time that changes with the version, so that caches keyed by size and time see a new file. So they must when the
 * fetcher began another block file for the same version: missing blocks of the old one will never come. */
static struct timespec time_of(const struct remote *remote)
{
    struct stat st;
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (const char *etag = remote->head->etag; *etag; etag++)
        hash = (hash ^ (uint8_t)*etag) * 1099511628211u;
    if (fstat(remote->fd, &st) == 0)
        hash = (hash ^ (uint64_t)st.st_ino) * 1099511628211u;
    return (struct timespec){.tv_sec = (time_t)(hash >> 33), .tv_nsec = (long)(hash % 1000000000u)};
}

static int moon_stat(void *context, const char *path, VSIStatBufL *out, int flags)
{
    (void)context;
    (void)flags;
    char name[NAME_MAX_BYTES], version[64];
    struct stat st = {0};
    use.error = name_of(path, name);
    if (!use.error && is_remote(name)) {
        struct remote *remote;
        use.error = remote_get(name, &remote);
        if (use.error)
            goto out;
        st.st_mode = S_IFREG | 0444;
        st.st_nlink = 1;
        st.st_size = (off_t)remote->size;
        st.st_mtim = st.st_ctim = time_of(remote);
        remote_unref(&remote);
    } else if (!use.error) {
        use.error = mg_files_stat(use.files, name, &st, &use.message);
        if (use.error)
            goto out;
        if (S_ISREG(st.st_mode)) {
            mg_files_version_of(&st, version, sizeof version);
            tell(name, version);
        }
    }
out:
    if (use.error) {
        errno = ENOENT;
        return -1;
    }
    _Static_assert(sizeof *out == sizeof st, "off_t is 64 bit, so that stat64 is stat");
    memcpy(out, &st, sizeof st);
    return 0;
}

static void *moon_open(void *context, const char *path, const char *access)
{
    (void)context;
    char name[NAME_MAX_BYTES], version[64];
    struct handle *handle = NULL;
    if (strpbrk(access, "wa+")) {
        use.error = mg_err_set(&use.message, MG_E_FORBIDDEN, "%.300s is read-only", path);
        errno = EROFS;
        return NULL;
    }
    use.error = name_of(path, name);
    if (use.error)
        goto out;
    handle = calloc(1, sizeof *handle);
    if (!handle) {
        use.error = mg_err_set(&use.message, MG_E_NOMEM, "no memory to open %.300s", name);
        goto out;
    }
    handle->fd = -1;
    if (is_remote(name)) {
        use.error = remote_get(name, &handle->remote);
        if (use.error)
            goto out;
        handle->fd = handle->remote->fd;
        handle->size = handle->remote->size;
    } else {
        struct stat st;
        use.error = mg_files_open(use.files, name, &handle->fd, &st, &use.message);
        if (use.error)
            goto out;
        handle->size = (uint64_t)st.st_size;
        mg_files_version_of(&st, version, sizeof version);
        tell(name, version);
    }
    return handle;
out:
    free(handle);
    errno = ENOENT;
    return NULL;
}

static vsi_l_offset moon_tell(void *file) { return ((struct handle *)file)->at; }

static int moon_seek(void *file, vsi_l_offset offset, int whence)
{
    struct handle *handle = file;
    handle->eof = false;
    handle->at = whence == SEEK_SET ? offset : (whence == SEEK_CUR ? handle->at : handle->size) + offset;
    return 0;
}

/* Bytes read, short at the end of the file or after an error. */
static size_t read_at(struct handle *handle, uint64_t at, void *buffer, size_t bytes)
{
    if (at >= handle->size)
        return 0;
    if (bytes > handle->size - at)
        bytes = (size_t)(handle->size - at);
    uint64_t base = 0;
    if (handle->remote && bytes) {
        bool in_order = at == handle->expected;
        handle->ahead = !in_order ? 0 : handle->ahead ? handle->ahead : 1;
        if (!ensure(handle->remote, at, bytes, handle->ahead))
            return 0;
        if (in_order && at / MG_BLOCK_BYTES != (at + bytes) / MG_BLOCK_BYTES && handle->ahead < AHEAD_MAX)
            handle->ahead *= 2;
        handle->expected = at + bytes;
        base = handle->remote->head->data_offset;
    }
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = pread(handle->fd, (char *)buffer + done, bytes - done, (off_t)(base + at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    return done;
}

static size_t moon_read(void *file, void *buffer, size_t size, size_t count)
{
    struct handle *handle = file;
    size_t bytes;
    if (size == 0 || count == 0)
        return 0;
    if (__builtin_mul_overflow(size, count, &bytes))
        return 0;
    size_t done = read_at(handle, handle->at, buffer, bytes);
    handle->at += done;
    handle->eof = done < bytes;
    return done / size;
}

static int moon_read_multi(void *file, int n, void **buffers, const vsi_l_offset *offsets, const size_t *sizes)
{
    struct handle *handle = file;
    /* Neighbours, a block apart at most, are fetched together; the reads then find them. */
    for (int i = 0, end; handle->remote && i < n; i = end) {
        uint64_t from = offsets[i], to = from + sizes[i];
        for (end = i + 1; end < n && offsets[end] >= from && offsets[end] <= to + MG_BLOCK_BYTES; end++)
            to = offsets[end] + sizes[end] > to ? offsets[end] + sizes[end] : to;
        to = to < handle->size ? to : handle->size;
        if (to > from && !ensure(handle->remote, from, to - from, 0))
            return -1;
    }
    for (int i = 0; i < n; i++)
        if (read_at(handle, offsets[i], buffers[i], sizes[i]) != sizes[i])
            return -1;
    return 0;
}

static int moon_eof(void *file) { return ((struct handle *)file)->eof; }

static int moon_close(void *file)
{
    struct handle *handle = file;
    if (handle->remote)
        remote_unref(&handle->remote);
    else
        close(handle->fd);
    free(handle);
    return 0;
}

void mg_vsimoon_install(void)
{
    static bool installed;
    if (installed)
        return;
    VSIFilesystemPluginCallbacksStruct *callbacks = VSIAllocFilesystemPluginCallbacksStruct();
    callbacks->stat = moon_stat;
    callbacks->open = moon_open;
    callbacks->tell = moon_tell;
    callbacks->seek = moon_seek;
    callbacks->read = moon_read;
    callbacks->read_multi_range = moon_read_multi;
    callbacks->eof = moon_eof;
    callbacks->close = moon_close;
    installed = VSIInstallPluginHandler(PREFIX, callbacks) == 0;
    VSIFreeFilesystemPluginCallbacksStruct(callbacks);
    MG_ASSERT(installed);
}

void mg_vsimoon_use(const struct mg_files *files, mg_fetch_f *fetch_blocks, mg_files_seen_f *seen, void *context)
{
    list_clear(&use.told);
    for (int i = 0; i < REMOTES; i++)
        remote_unref(&use.remotes[i]);
    use.files = files;
    use.fetch = fetch_blocks;
    use.seen = seen;
    use.context = context;
    use.error = MG_OK;
}

enum mg_err mg_vsimoon_error(struct mg_errmsg *err)
{
    if (use.error && err)
        *err = use.message;
    return use.error;
}
