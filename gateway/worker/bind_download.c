/* moon.download: a remote file as a file of the organisation.
 *
 * The bytes come through the fetcher's block files, which are shared by all workers: whoever asks, each block
 * is fetched once, and what is there survives a run that was ended, so that the next goes on where it
 * stopped. The worker then copies them to the file's own place and renames it there. A hidden file beside it
 * says of which URL and ETag it is and when that was looked at last; its lock makes one worker copy while the
 * others wait. */
#include "vm.h"

#include "moongate/unarchive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { STEP = 8 << 20, COPY = 256 << 10, MAX_CHANGES = 3, TELL_FROM = 16 << 20, NOTE_BYTES = 4096 };

struct download {
    struct mg_vm *vm;
    const struct mg_files *files;
    const char *url, *name;
    int64_t max_age_s;
    bool unpack;
    /* of the remote file */
    struct mg_block_head head;
};

/* What the file beside says. */
struct note {
    char url[2048], etag[256], version[64];
    long long checked_s;
    int unpacked;
};

static bool read_note(int fd, struct note *note)
{
    char text[NOTE_BYTES];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    if (n <= 0)
        return false;
    text[n] = 0;
    return sscanf(text, "1\n%2047[^\n]\n%255[^\n]\n%63[^\n]\n%lld %d\n", note->url, note->etag, note->version,
                  &note->checked_s, &note->unpacked) == 5;
}

static enum mg_err write_note(int fd, const struct note *note, struct mg_errmsg *err)
{
    char text[NOTE_BYTES];
    int n = snprintf(text, sizeof text, "1\n%s\n%s\n%s\n%lld %d\n", note->url, note->etag, note->version,
                     note->checked_s, note->unpacked);
    if (n < 0 || (size_t)n >= sizeof text || ftruncate(fd, 0) || pwrite(fd, text, (size_t)n, 0) != n)
        return mg_err_set(err, MG_E_IO, "what was downloaded cannot be noted: %s", strerror(errno));
    return MG_OK;
}

/* Asks for bytes of the remote file; gives the block file and its head. */
static enum mg_err ask(struct download *d, uint64_t offset, uint64_t bytes, int *fd,
                       struct mg_block_head *head, struct mg_errmsg *err)
{
    enum mg_err e = d->vm->host.fetch(d->vm->host.context, d->url, offset, bytes, fd, err);
    if (e)
        return e;
    if (pread(*fd, head, sizeof *head, 0) == (ssize_t)sizeof *head &&
        memcmp(head->magic, MG_BLOCK_MAGIC, sizeof head->magic) == 0 &&
        memchr(head->etag, 0, sizeof head->etag) && head->size <= INT64_MAX)
        return MG_OK;
    close(*fd);
    return mg_err_set(err, MG_E_FETCH, "%.300s: the fetcher's file is broken", d->url);
}

static bool same(const struct mg_block_head *a, const struct mg_block_head *b)
{
    return a->size == b->size && strcmp(a->etag, b->etag) == 0;
}

static enum mg_err copy_range(int fd, const struct mg_block_head *head, uint64_t offset, uint64_t bytes,
                              struct mg_new_file *to, struct mg_errmsg *err)
{
    static char room[COPY];
    while (bytes) {
        size_t n = bytes < COPY ? (size_t)bytes : COPY;
        ssize_t got = pread(fd, room, n, (off_t)(head->data_offset + offset));
        if (got <= 0)
            return mg_err_set(err, MG_E_FETCH, "the fetcher's file ends too early");
        enum mg_err e = mg_file_put(to, (struct mg_span){room, (size_t)got}, err);
        if (e)
            return e;
        offset += (uint64_t)got;
        bytes -= (uint64_t)got;
    }
    return MG_OK;
}

/* Copies the remote file; *changed: it became another while it was read. */
static enum mg_err copy_all(struct download *d, struct mg_new_file *to, bool *changed, struct mg_errmsg *err)
{
    const uint64_t size = d->head.size;
    uint64_t told = 0;
    for (uint64_t at = 0; at < size;) {
        uint64_t n = size - at < STEP ? size - at : STEP;
        struct mg_block_head head;
        int fd;
        enum mg_err e = ask(d, at, n, &fd, &head, err);
        if (e)
            return e;
        *changed = !same(&head, &d->head);
        e = *changed ? MG_OK : copy_range(fd, &head, at, n, to, err);
        close(fd);
        if (e || *changed)
            return e;
        at += n;
        if (size >= TELL_FROM && (at - told) * 10 >= size && at < size) {
            vm_note(d->vm, "download: %.300s: %llu of %llu MB", d->url, (unsigned long long)(at >> 20),
                    (unsigned long long)(size >> 20));
            told = at;
        }
    }
    return MG_OK;
}

static enum mg_err check_size(const struct download *d, struct mg_errmsg *err)
{
    struct rlimit limit;
    uint64_t most =
        getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY ? limit.rlim_cur : INT64_MAX;
    if (d->head.size > most)
        return mg_err_set(err, MG_E_TOO_LARGE, "%.300s has %llu MB; files of up to %llu MB are downloaded",
                          d->url, (unsigned long long)(d->head.size >> 20), (unsigned long long)(most >> 20));
    return mg_files_room(d->files, d->name, d->head.size, err);
}

/* ---- Archives ----------------------------------------------------------------------------------------- */

struct unpacking {
    struct download *d;
    struct mg_new_file file;
    bool open;
};

static enum mg_err member_begin(void *context, const char *name, struct mg_errmsg *err)
{
    struct unpacking *u = context;
    char full[1024];
    if ((size_t)snprintf(full, sizeof full, "%s/%s", u->d->name, name) >= sizeof full)
        return mg_err_set(err, MG_E_BAD_FILE, "the archive has a name of more than 1,000 bytes");
    enum mg_err e = mg_file_begin(u->d->files, full, &u->file, err);
    u->open = e == MG_OK;
    return e;
}

static enum mg_err member_data(void *context, struct mg_span bytes, struct mg_errmsg *err)
{
    struct unpacking *u = context;
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        u->file.written + bytes.len > limit.rlim_cur)
        return mg_err_set(err, MG_E_TOO_LARGE, "a file of the archive has more than %llu MB",
                          (unsigned long long)(limit.rlim_cur >> 20));
    if (u->file.written >> 20 != (u->file.written + bytes.len) >> 20) {
        enum mg_err e = mg_files_room(u->d->files, u->d->name, u->file.written + bytes.len, err);
        if (e)
            return e;
    }
    return mg_file_put(&u->file, bytes, err);
}

static enum mg_err member_end(void *context, struct mg_errmsg *err)
{
    struct unpacking *u = context;
    u->open = false;
    return mg_file_commit(&u->file, err);
}

/* The name of the one file of "…/places.csv.gz", "places.csv"; false when the URL is not that of one
 * compressed file. */
static bool plain_name(const char *url, char out[256])
{
    static const char *const ends[] = {".gz", ".bz2", ".xz", ".zst"};
    size_t n = strcspn(url, "?#"), at = n;
    while (at && url[at - 1] != '/')
        at--;
    snprintf(out, 256, "%.*s", (int)(n - at < 255 ? n - at : 255), url + at);
    size_t len = strlen(out);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t end = strlen(ends[i]);
        if (len > end && strcmp(out + len - end, ends[i]) == 0) {
            out[len - end] = 0;
            return len - end <= 4 || strcmp(out + len - end - 4, ".tar") != 0;
        }
    }
    return false;
}

static enum mg_err unpack(struct download *d, struct mg_new_file *archive, struct mg_errmsg *err)
{
    static const struct mg_unarchive_to to = {member_begin, member_data, member_end};
    struct unpacking u = {.d = d};
    char plain[256];
    bool one = plain_name(d->url, plain);
    /* It was opened for writing only. */
    int fd = openat(archive->dirfd, archive->half, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    enum mg_err e = fd < 0 ? mg_err_set(err, MG_E_IO, "the archive cannot be read: %s", strerror(errno))
                           : mg_unarchive(fd, d->head.size, one ? plain : NULL, &to, &u, err);
    if (fd >= 0)
        close(fd);
    if (u.open)
        mg_file_abandon(&u.file);
    return e;
}

/* ---- The download ------------------------------------------------------------------------------------- */

/* Makes the file as it is now at the other side. */
static enum mg_err bring(struct download *d, struct mg_errmsg *err)
{
    char half[1100];
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    /* An archive is a hidden file for as long as it is unpacked: of a name that is never committed. */
    snprintf(half, sizeof half, d->unpack ? "%s.archive" : "%s", d->name);
    for (int changes = 0;; changes++) {
        struct mg_new_file file;
        bool changed = false;
        enum mg_err e = check_size(d, err);
        if (!e)
            e = mg_file_begin(d->files, half, &file, err);
        if (e)
            return e;
        e = copy_all(d, &file, &changed, err);
        if (!e && !changed && d->unpack)
            e = unpack(d, &file, err);
        if (!e && !changed && !d->unpack) {
            e = mg_file_commit(&file, err);
        } else {
            mg_file_abandon(&file);
        }
        if (e)
            return e;
        if (!changed)
            break;
        if (changes == MAX_CHANGES)
            return mg_err_set(err, MG_E_FETCH, "%.300s changes faster than it can be read", d->url);
        int fd;
        if ((e = ask(d, 0, 0, &fd, &d->head, err)) != MG_OK)
            return e;
        close(fd);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    double s = (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
    vm_note(d->vm, "download: %.300s -> %.200s: %.1f MB in %.1f s", d->url, d->name,
            (double)d->head.size / 1e6, s);
    return MG_OK;
}

/* The file's (or folder's) version as it stands; "-" when it is not there. */
static bool stands(const struct download *d, const struct note *note)
{
    char version[64];
    mg_files_version(d->files, d->name, version, sizeof version);
    return strcmp(version, "-") != 0 && (d->unpack || strcmp(version, note->version) == 0);
}

static enum mg_err download(struct download *d, int beside, struct mg_errmsg *err)
{
    struct note note = {0}, now = {.unpacked = d->unpack};
    long long now_s = (long long)time(NULL);
    if (strlen(d->url) >= sizeof now.url || strchr(d->url, '\n'))
        return mg_err_set(err, MG_E_ARGUMENT, "the URL is too long or has a line break");
    snprintf(now.url, sizeof now.url, "%s", d->url);
    bool known = read_note(beside, &note) && strcmp(note.url, d->url) == 0 && note.unpacked == now.unpacked &&
                 stands(d, &note);
    if (known && note.checked_s <= now_s && now_s - note.checked_s < d->max_age_s)
        return MG_OK;
    int fd;
    enum mg_err e = ask(d, 0, 0, &fd, &d->head, err);
    if (e)
        return e;
    close(fd);
    snprintf(now.etag, sizeof now.etag, "%llu %s", (unsigned long long)d->head.size,
             strchr(d->head.etag, '\n') ? "?" : d->head.etag);
    if (!known || strcmp(note.etag, now.etag) != 0) {
        e = bring(d, err);
        snprintf(now.etag, sizeof now.etag, "%llu %s", (unsigned long long)d->head.size,
                 strchr(d->head.etag, '\n') ? "?" : d->head.etag);
    }
    if (e)
        return e;
    mg_files_version(d->files, d->name, now.version, sizeof now.version);
    now.checked_s = now_s;
    return write_note(beside, &now, err);
}

/* download(url, name, max_age_s, unpack) */
static int l_download(lua_State *L)
{
    struct mg_vm *vm = vm_of(L);
    struct mg_errmsg why = {""};
    struct download d = {.vm = vm,
                         .files = vm->host.files,
                         .url = luaL_checkstring(L, 1),
                         .name = luaL_checkstring(L, 2),
                         .max_age_s = (int64_t)luaL_checknumber(L, 3),
                         .unpack = lua_toboolean(L, 4)};
    if (!vm->host.fetch || !d.files)
        vm_raise(L, MG_E_UNAVAILABLE, "download: nothing can be downloaded from here");
    char until[32];
    snprintf(until, sizeof until, "%lld", (long long)time(NULL) + (long long)d.max_age_s);
    vm_dep(vm, "http", mg_span(until), mg_span(until));
    int beside;
    enum mg_err err = mg_files_beside(d.files, d.name, &beside, &why);
    if (err == MG_OK) {
        int locked;
        do
            locked = flock(beside, LOCK_EX);
        while (locked && errno == EINTR);
        err = locked ? mg_err_set(&why, MG_E_IO, "%.300s cannot be locked: %s", d.name, strerror(errno))
                     : download(&d, beside, &why);
        close(beside);
    }
    vm_check(L, "download", err, &why);
    return 0;
}

void vm_open_download(lua_State *L)
{
    static const luaL_Reg functions[] = {{"download", l_download}, {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
