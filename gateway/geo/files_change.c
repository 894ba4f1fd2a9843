/* Changing an organisation's files: new files, folders, deletion, listing, and how much there is.
 *
 * A new file is written under a name of its own beside the place where it is to stand and renamed there when
 * it is whole: a reader sees the old bytes or the new ones. What a process that was killed left half done has
 * the prefix
 * `.moongate-`, is never listed, and is taken away by the next count once it is an hour old. Folders are
 * resolved by files.c; every change is made by the last part of a name in an open folder.
 *
 * The quota is counted by walking the two folders at most once in RECOUNT_MS for a process, with what it
 * wrote since added: cheap writes, and a limit that several processes together can pass by what they write in
 * that time. */
#include "moongate/crypto.h"
#include "moongate/files.h"
#include "moongate/pack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { RECOUNT_MS = 10000, MAX_DEPTH = 32, MAX_ENTRIES = 100000, STALE_S = 3600 };
#define HIDDEN ".moongate-"
#define HALF HIDDEN "part-"
#define BESIDE HIDDEN "got-"
#define FD_PREFIX "fd://"
#define CACHE_PREFIX "/mnt/cache/"

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool is_hidden(const char *base)
{
    return strncmp(base, HIDDEN, strlen(HIDDEN)) == 0;
}

/* The folder that a name is to be changed in, and the path beneath it. */
static enum mg_err writable_root(const struct mg_files *files, const char *name, int *dirfd,
                                 const char **path, struct mg_errmsg *err)
{
    size_t n = strlen(FD_PREFIX), c = strlen(CACHE_PREFIX);
    if (strncmp(name, CACHE_PREFIX, c) == 0) {
        if (files->cache_dirfd < 0)
            return mg_err_set(err, MG_E_FORBIDDEN, "%.300s: there is no /mnt/cache here", name);
        *dirfd = files->cache_dirfd;
        *path = name + c;
        return MG_OK;
    }
    if (strncmp(name, FD_PREFIX, n) != 0)
        return mg_err_set(
            err, MG_E_ARGUMENT,
            "\"%.200s\" is not the name of a file that can be changed: use fd://NAME or /mnt/cache/NAME",
            name);
    for (size_t i = 0; i < files->n_mounts; i++) {
        const struct mg_mount *mount = &files->mounts[i];
        size_t len = strlen(mount->name);
        if (len && !mount->writable && strncmp(mount->name, name + n, len) == 0 &&
            (name[n + len] == '/' || !name[n + len]))
            return mg_err_set(err, MG_E_FORBIDDEN, "%.300s: the mount fd://%s/ is read-only", name,
                              mount->name);
    }
    for (size_t i = 0; i < files->n_mounts; i++)
        if (files->mounts[i].writable && !files->mounts[i].name[0]) {
            *dirfd = files->mounts[i].dirfd;
            *path = name + n;
            return MG_OK;
        }
    return mg_err_set(err, MG_E_FORBIDDEN, "%.300s: there is no folder that can be written here", name);
}

/* The folder of the last part of `path`, which goes to `base`; made with all above it when `make`. Returns a
 * descriptor or -errno. */
static int open_parent(int root, const char *path, bool make, char base[NAME_MAX + 1], int depth)
{
    const char *slash = strrchr(path, '/');
    const char *last = slash ? slash + 1 : path;
    size_t n = strlen(last), above = slash ? (size_t)(slash - path) : 0;
    if (n == 0 || strcmp(last, ".") == 0 || strcmp(last, "..") == 0)
        return -EISDIR;
    if (n > NAME_MAX || above >= PATH_MAX)
        return -ENAMETOOLONG;
    if (depth > MAX_DEPTH)
        return -ELOOP;
    memcpy(base, last, n + 1);
    if (!slash)
        return mg_files_beneath(root, ".", O_PATH | O_DIRECTORY);
    if (above == 0)
        return -EXDEV; /* a path from the root */
    char prefix[PATH_MAX];
    memcpy(prefix, path, above);
    while (above > 1 && prefix[above - 1] == '/')
        above--;
    prefix[above] = 0;
    int fd = mg_files_beneath(root, prefix, O_PATH | O_DIRECTORY);
    if (fd != -ENOENT || !make)
        return fd;
    char folder[NAME_MAX + 1];
    int parent = open_parent(root, prefix, true, folder, depth + 1);
    if (parent < 0)
        return parent == -EISDIR ? -EXDEV : parent;
    fd = mkdirat(parent, folder, 0755) == 0 || errno == EEXIST ? 0 : -errno;
    close(parent);
    return fd < 0 ? fd : mg_files_beneath(root, prefix, O_PATH | O_DIRECTORY);
}

static enum mg_err explain(const char *name, const char *what, int error, struct mg_errmsg *err)
{
    switch (error) {
    case EISDIR:
        return mg_err_set(err, MG_E_ARGUMENT, "%.300s is a folder, not a file", name);
    case ENOTDIR:
        return mg_err_set(err, MG_E_ARGUMENT, "%.300s: a part of the name is a file, not a folder", name);
    case EXDEV:
    case ELOOP:
        return mg_err_set(err, MG_E_FORBIDDEN, "%.300s leads out of its folder", name);
    case ENAMETOOLONG:
        return mg_err_set(err, MG_E_ARGUMENT, "%.300s: a part of the name is longer than %d bytes", name,
                          NAME_MAX);
    case ENOSPC:
    case EDQUOT:
        return mg_err_set(err, MG_E_QUOTA, "%.300s: the server's disk is full", name);
    case EACCES:
    case EPERM:
        return mg_err_set(err, MG_E_FORBIDDEN, "%.300s may not be %s by the server", name, what);
    default:
        return mg_err_set(err, MG_E_IO, "%.300s cannot be %s: %s", name, what, strerror(error));
    }
}

/* ---- The quota ---------------------------------------------------------------------------------------- */

/* Takes the folder's descriptor. */
static uint64_t count_folder(int fd, int depth, time_t now)
{
    uint64_t bytes = 0;
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return 0;
    }
    for (struct dirent *entry; (entry = readdir(dir));) {
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW))
            continue;
        if (S_ISREG(st.st_mode)) {
            if (strncmp(entry->d_name, HALF, strlen(HALF)) == 0 && now - st.st_mtime > STALE_S &&
                unlinkat(dirfd(dir), entry->d_name, 0) == 0)
                continue;
            bytes += (uint64_t)st.st_blocks * 512;
        } else if (S_ISDIR(st.st_mode) && depth < MAX_DEPTH) {
            int below = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (below >= 0)
                bytes += count_folder(below, depth + 1, now);
        }
    }
    closedir(dir);
    return bytes;
}

static uint64_t count_root(int root)
{
    int fd = root < 0 ? -1 : mg_files_beneath(root, ".", O_RDONLY | O_DIRECTORY);
    return fd < 0 ? 0 : count_folder(fd, 0, time(NULL));
}

enum mg_err mg_files_room(const struct mg_files *files, const char *name, uint64_t bytes,
                          struct mg_errmsg *err)
{
    struct mg_files_usage *usage = files->usage;
    if (!usage || !usage->quota)
        return MG_OK;
    int64_t now = now_ms();
    if (!usage->counted_ms || now - usage->counted_ms > RECOUNT_MS ||
        (usage->bytes + bytes > usage->quota && now - usage->counted_ms > RECOUNT_MS / 10)) {
        usage->bytes = count_root(files->cache_dirfd);
        for (size_t i = 0; i < files->n_mounts; i++)
            if (files->mounts[i].writable)
                usage->bytes += count_root(files->mounts[i].dirfd);
        usage->counted_ms = now;
    }
    if (usage->bytes + bytes > usage->quota)
        return mg_err_set(
            err, MG_E_QUOTA,
            "%.200s: the organisation's files would take more than their %llu MB; delete some, or have the "
            "operator raise --quota",
            name, (unsigned long long)(usage->quota >> 20));
    return MG_OK;
}

/* ---- New files ---------------------------------------------------------------------------------------- */

enum mg_err mg_file_begin(const struct mg_files *files, const char *name, struct mg_new_file *out,
                          struct mg_errmsg *err)
{
    struct mg_new_file file = {.fd = -1, .usage = files->usage};
    const char *path;
    int root;
    uint64_t random;
    enum mg_err e = writable_root(files, name, &root, &path, err);
    if (e)
        return e;
    file.dirfd = open_parent(root, path, true, file.base, 0);
    if (file.dirfd < 0)
        return explain(name, "written", -file.dirfd, err);
    struct stat st;
    if (is_hidden(file.base))
        e = mg_err_set(err, MG_E_ARGUMENT, "%.300s: names that begin with %s are the server's own", name,
                       HIDDEN);
    else if (fstatat(file.dirfd, file.base, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
        e = explain(name, "written", EISDIR, err);
    mg_random(&random, sizeof random);
    snprintf(file.half, sizeof file.half, HALF "%016llx", (unsigned long long)random);
    if (!e) {
        file.fd = openat(file.dirfd, file.half, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (file.fd < 0)
            e = explain(name, "written", errno, err);
    }
    if (e) {
        close(file.dirfd);
        return e;
    }
    snprintf(file.name, sizeof file.name, "%s", name);
    *out = file;
    return MG_OK;
}

enum mg_err mg_file_put(struct mg_new_file *file, struct mg_span bytes, struct mg_errmsg *err)
{
    while (bytes.len) {
        ssize_t n = write(file->fd, bytes.data, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return explain(file->name, "written", n ? errno : EIO, err);
        bytes = (struct mg_span){bytes.data + n, bytes.len - (size_t)n};
        file->written += (uint64_t)n;
    }
    return MG_OK;
}

enum mg_err mg_file_commit(struct mg_new_file *file, struct mg_errmsg *err)
{
    enum mg_err e = MG_OK;
    if (fdatasync(file->fd) || renameat(file->dirfd, file->half, file->dirfd, file->base))
        e = explain(file->name, "written", errno, err);
    else if (file->usage)
        file->usage->bytes += file->written; /* what it replaces is seen by the next count */
    if (e)
        unlinkat(file->dirfd, file->half, 0);
    close(file->fd);
    close(file->dirfd);
    file->fd = file->dirfd = -1;
    return e;
}

void mg_file_abandon(struct mg_new_file *file)
{
    if (file->fd < 0)
        return;
    unlinkat(file->dirfd, file->half, 0);
    close(file->fd);
    close(file->dirfd);
    file->fd = file->dirfd = -1;
}

enum mg_err mg_files_write(const struct mg_files *files, const char *name, struct mg_span bytes,
                           struct mg_errmsg *err)
{
    struct mg_new_file file;
    enum mg_err e = mg_files_room(files, name, bytes.len, err);
    if (!e)
        e = mg_file_begin(files, name, &file, err);
    if (e)
        return e;
    e = mg_file_put(&file, bytes, err);
    if (!e)
        return mg_file_commit(&file, err);
    mg_file_abandon(&file);
    return e;
}

enum mg_err mg_files_beside(const struct mg_files *files, const char *name, int *fd, struct mg_errmsg *err)
{
    char base[NAME_MAX + 1], beside[NAME_MAX + 1];
    const char *path;
    int root;
    enum mg_err e = writable_root(files, name, &root, &path, err);
    if (e)
        return e;
    int dir = open_parent(root, path, true, base, 0);
    if (dir < 0)
        return explain(name, "written", -dir, err);
    if (is_hidden(base))
        e = mg_err_set(err, MG_E_ARGUMENT, "%.300s: names that begin with %s are the server's own", name,
                       HIDDEN);
    else if ((size_t)snprintf(beside, sizeof beside, BESIDE "%s", base) >= sizeof beside)
        e = explain(name, "written", ENAMETOOLONG, err);
    else if ((*fd = openat(dir, beside, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644)) < 0)
        e = explain(name, "written", errno, err);
    close(dir);
    return e;
}

/* ---- Deletion ----------------------------------------------------------------------------------------- */

/* Empties the folder (takes its descriptor). Returns 0 or -errno of the first failure. */
static int empty_folder(int fd, int depth)
{
    DIR *dir = fdopendir(fd);
    int result = 0;
    if (!dir) {
        close(fd);
        return -errno;
    }
    for (struct dirent *entry; !result && (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd(dir), entry->d_name, 0) == 0 || errno == ENOENT)
            continue;
        if (errno != EISDIR && errno != EPERM) {
            result = -errno;
            break;
        }
        int below = depth < MAX_DEPTH
                        ? openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                        : -1;
        result = below < 0 ? depth < MAX_DEPTH ? -errno : -ELOOP : empty_folder(below, depth + 1);
        if (!result && unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR) && errno != ENOENT)
            result = -errno;
    }
    closedir(dir);
    return result;
}

enum mg_err mg_files_delete(const struct mg_files *files, const char *name, bool recursive, bool *was_there,
                            struct mg_errmsg *err)
{
    char base[NAME_MAX + 1], trimmed[PATH_MAX];
    const char *path;
    int root;
    enum mg_err e = writable_root(files, name, &root, &path, err);
    if (e)
        return e;
    size_t n = strlen(path);
    while (n && path[n - 1] == '/')
        n--;
    if (n >= sizeof trimmed)
        return explain(name, "deleted", ENAMETOOLONG, err);
    memcpy(trimmed, path, n);
    trimmed[n] = 0;
    int dir = open_parent(root, trimmed, false, base, 0);
    if (dir == -ENOENT || dir == -ENOTDIR) {
        *was_there = false;
        return MG_OK;
    }
    if (dir < 0)
        return dir == -EISDIR ? mg_err_set(err, MG_E_FORBIDDEN, "%.300s: the folder itself stays", name)
                              : explain(name, "deleted", -dir, err);
    bool there = true;
    int error = unlinkat(dir, base, 0) == 0 ? 0 : errno;
    if (error == EISDIR || error == EPERM) {
        int below = recursive ? openat(dir, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
        error = !recursive ? 0 : below < 0 ? errno : -empty_folder(below, 0);
        if (!error)
            error = unlinkat(dir, base, AT_REMOVEDIR) == 0 ? 0 : errno;
    }
    if (error == ENOENT) {
        there = false;
        error = 0;
    }
    char beside[NAME_MAX + 1];
    if (!error && there && (size_t)snprintf(beside, sizeof beside, BESIDE "%s", base) < sizeof beside)
        unlinkat(dir, beside, 0); /* what a download noted of it */
    close(dir);
    if (error == ENOTEMPTY || error == EEXIST)
        return mg_err_set(err, MG_E_CONFLICT,
                          "%.300s is a folder that is not empty; { recursive = true } deletes all of it",
                          name);
    if (error)
        return explain(name, "deleted", error, err);
    if (files->usage)
        files->usage->counted_ms = 0; /* there is more room now */
    *was_there = there;
    return MG_OK;
}

/* ---- Listing ------------------------------------------------------------------------------------------ */

struct entry {
    char *name;
    int layer;
    struct stat st;
};
struct listing {
    const struct mg_files *files;
    const char *folder; /* with a slash at its end */
    struct entry *entries;
    size_t n, cap;
    bool recursive, too_many, no_memory;
};

static void add_entry(struct listing *list, int layer, const char *name, const struct stat *st)
{
    if (list->n == MAX_ENTRIES) {
        list->too_many = true;
        return;
    }
    if (list->n == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 64;
        struct entry *more = realloc(list->entries, cap * sizeof *more);
        if (!more) {
            list->no_memory = true;
            return;
        }
        list->entries = more;
        list->cap = cap;
    }
    char *copy = strdup(name);
    if (!copy) {
        list->no_memory = true;
        return;
    }
    list->entries[list->n++] = (struct entry){.name = copy, .layer = layer, .st = *st};
}

/* Takes the descriptor. `prefix`: what the names begin with, "" or "a/". */
static void list_folder(struct listing *list, int fd, int layer, const char *prefix, int depth)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return;
    }
    for (struct dirent *entry; !list->too_many && !list->no_memory && (entry = readdir(dir));) {
        char name[PATH_MAX], full[PATH_MAX];
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || is_hidden(entry->d_name) ||
            (size_t)snprintf(name, sizeof name, "%s%s", prefix, entry->d_name) >= sizeof name - 1 ||
            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW))
            continue;
        /* A link counts as what it leads to, when that is inside. */
        if (S_ISLNK(st.st_mode) &&
            ((size_t)snprintf(full, sizeof full, "%s%s", list->folder, name) >= sizeof full ||
             mg_files_stat(list->files, full, &st, NULL) != MG_OK || S_ISDIR(st.st_mode)))
            continue;
        if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
            continue;
        add_entry(list, layer, name, &st);
        if (!S_ISDIR(st.st_mode) || !list->recursive || depth >= MAX_DEPTH)
            continue;
        int below = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        size_t n = strlen(name);
        memcpy(name + n, "/", 2);
        if (below >= 0)
            list_folder(list, below, layer, name, depth + 1);
    }
    closedir(dir);
}

static int by_name(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : x->layer - y->layer;
}

enum mg_err mg_files_list(const struct mg_files *files, const char *folder, bool recursive,
                          struct mg_buf *out, size_t *n, struct mg_errmsg *err)
{
    char name[PATH_MAX];
    size_t len = strlen(folder), fd_len = strlen(FD_PREFIX);
    bool fd_names = strncmp(folder, FD_PREFIX, fd_len) == 0, found = false;
    enum mg_err e = MG_OK;
    if (len + 2 > sizeof name)
        return mg_err_set(err, MG_E_ARGUMENT, "%.100s…: the name is too long", folder);
    memcpy(name, folder, len + 1);
    if (len && name[len - 1] != '/')
        memcpy(name + len, "/", 2);
    if (!fd_names && strncmp(name, CACHE_PREFIX, strlen(CACHE_PREFIX)) != 0)
        return mg_err_set(err, MG_E_ARGUMENT,
                          "\"%.200s\" is not a folder's name: use fd://NAME or /mnt/cache/NAME", folder);
    struct listing list = {.files = files, .folder = name, .recursive = recursive};
    int denied = 0;
    for (int layer = 0;; layer++) {
        int fd = mg_files_layer(files, name, layer, O_RDONLY | O_DIRECTORY);
        if (fd == -ENXIO)
            break;
        if (fd < 0) {
            denied = denied || fd == -ENOENT || fd == -ENOTDIR ? denied : -fd;
            continue;
        }
        found = true;
        list_folder(&list, fd, layer, "", 0);
    }
    for (size_t i = 0; fd_names && !name[fd_len] && i < files->n_mounts; i++) {
        struct stat st;
        if (files->mounts[i].name[0] && fstat(files->mounts[i].dirfd, &st) == 0)
            add_entry(&list, -1, files->mounts[i].name, &st);
    }
    if (!found && !denied && mg_files_stat(files, folder, &(struct stat){0}, NULL) == MG_OK)
        e = mg_err_set(err, MG_E_ARGUMENT, "%.300s is a file, not a folder", folder);
    else if (!found)
        e = denied ? explain(folder, "listed", denied, err)
                   : mg_err_set(err, MG_E_NO_FILE, "no folder %.300s", folder);
    else if (list.too_many)
        e = mg_err_set(err, MG_E_TOO_LARGE, "%.300s has more than %d files: list its folders one by one",
                       folder, MAX_ENTRIES);
    if (list.n)
        qsort(list.entries, list.n, sizeof *list.entries, by_name);
    size_t given = 0;
    for (size_t i = 0; i < list.n; i++) {
        const struct entry *entry = &list.entries[i];
        if (!e && (i == 0 || strcmp(entry->name, list.entries[i - 1].name) != 0)) {
            mg_pack_str(out, entry->name);
            mg_pack_int(out, S_ISDIR(entry->st.st_mode));
            mg_pack_int(out, (int64_t)entry->st.st_size);
            mg_pack_int(out, (int64_t)entry->st.st_mtim.tv_sec * 1000 + entry->st.st_mtim.tv_nsec / 1000000);
            given++;
        }
    }
    for (size_t i = 0; i < list.n; i++)
        free(list.entries[i].name);
    free(list.entries);
    if (!e && (list.no_memory || out->failed))
        e = mg_err_set(err, MG_E_NOMEM, "no memory to list %.300s", folder);
    if (!e)
        *n = given;
    return e;
}
