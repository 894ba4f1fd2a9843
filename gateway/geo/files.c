/* Names of files, resolved by the kernel beneath open folders.
 *
 * Invariant: no name is compared or cut to find out where it leads; openat2 with RESOLVE_BENEATH refuses what leaves
 * its folder, also through symbolic links, and RESOLVE_NO_MAGICLINKS what leads through /proc. Cost: one system call
 * for each layer that is looked through (about 2 us). */
#include "moongate/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FD_PREFIX "fd://"
#define CACHE_PREFIX "/mnt/cache/"

/* The same without openat2, which a worker's sandbox takes away where the kernel's Landlock does not know truncation
 * (proc/seccomp.c): part by part, where a symbolic link is refused even if it stays inside. */
static int open_by_parts(int dirfd, const char *path, uint64_t flags)
{
    int at = dirfd, fd = -EXDEV;
    if (*path == '/')
        return -EXDEV;
    for (;;) {
        char part[256];
        size_t n = strcspn(path, "/");
        const char *rest = path + n + strspn(path + n, "/");
        if (n == 0 || n >= sizeof part) {
            fd = n ? -ENAMETOOLONG : -ENOENT;
            break;
        }
        memcpy(part, path, n);
        part[n] = 0;
        if (strcmp(part, "..") == 0) {
            fd = -EXDEV;
            break;
        }
        bool last = *rest == 0;
        int part_flags = (last ? (int)flags : O_PATH) | (last && path[n] ? O_DIRECTORY : 0) | O_NOFOLLOW | O_CLOEXEC;
        fd = openat(at, part, part_flags);
        struct stat st;
        if (fd < 0) {
            fd = errno == ELOOP ? -EXDEV : -errno;
        } else if (part_flags & O_PATH && fstat(fd, &st) == 0 && S_ISLNK(st.st_mode)) {
            close(fd);
            fd = -EXDEV;
        }
        if (fd < 0 || last)
            break;
        if (at != dirfd)
            close(at);
        at = fd;
        path = rest;
    }
    if (at != dirfd)
        close(at);
    return fd;
}

int mg_files_beneath(int dirfd, const char *path, uint64_t flags)
{
    path = *path ? path : "."; /* the folder itself */
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    for (int tries = 0;; tries++) {
        long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof how);
        if (fd >= 0)
            return (int)fd;
        if (errno == ENOSYS)
            return open_by_parts(dirfd, path, flags);
        /* EAGAIN: a folder on the way was renamed meanwhile. */
        if ((errno != EAGAIN && errno != EINTR) || tries == 16)
            return -errno;
    }
}

/* The part of `path` that lies in the mount; NULL when its first part is not the mount's name. */
static const char *beneath_mount(const struct mg_mount *mount, const char *path)
{
    size_t n = strlen(mount->name);
    if (n == 0)
        return path;
    return strncmp(path, mount->name, n) == 0 && path[n] == '/' ? path + n + 1 : NULL;
}

/* Opens in the first layer that has the file. Returns a descriptor or -errno: that of a layer that refused, before
 * that of one that has no such file. */
static int open_name(const struct mg_files *files, const char *name, uint64_t flags)
{
    size_t n = strlen(FD_PREFIX), c = strlen(CACHE_PREFIX);
    if (strncmp(name, CACHE_PREFIX, c) == 0)
        return files->cache_dirfd < 0 ? -ENOENT : mg_files_beneath(files->cache_dirfd, name + c, flags);
    if (strncmp(name, FD_PREFIX, n) != 0)
        return -EINVAL;
    for (size_t i = 0; i < files->n_mounts; i++) {
        const char *path = beneath_mount(&files->mounts[i], name + n);
        int fd = path ? mg_files_beneath(files->mounts[i].dirfd, path, flags) : -ENOENT;
        if (fd >= 0 || (fd != -ENOENT && fd != -ENOTDIR))
            return fd;
    }
    return -ENOENT;
}

int mg_files_layer(const struct mg_files *files, const char *name, int layer, uint64_t flags)
{
    size_t n = strlen(FD_PREFIX);
    bool fd_name = strncmp(name, FD_PREFIX, n) == 0;
    if (layer < 0 || (fd_name ? (size_t)layer >= files->n_mounts : layer > 0))
        return -ENXIO;
    if (!fd_name)
        return open_name(files, name, flags);
    const char *path = beneath_mount(&files->mounts[layer], name + n);
    return path ? mg_files_beneath(files->mounts[layer].dirfd, path, flags) : -ENOENT;
}

static enum mg_err refuse_form(const char *name, struct mg_errmsg *err)
{
    return mg_err_set(err, MG_E_ARGUMENT,
                      "\"%.200s\" is not a file's name: use fd://NAME, /mnt/cache/NAME, https://… or http://…", name);
}

static enum mg_err explain(const char *name, int error, struct mg_errmsg *err)
{
    switch (error) {
    case EINVAL:
        return refuse_form(name, err);
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
        return mg_err_set(err, MG_E_NO_FILE, "no file %.300s", name);
    case EXDEV:
    case ELOOP:
        return mg_err_set(err, MG_E_FORBIDDEN, "%.300s leads out of its folder", name);
    case EACCES:
    case EPERM:
        return mg_err_set(err, MG_E_FORBIDDEN, "%.300s may not be read by the server", name);
    default:
        return mg_err_set(err, MG_E_IO, "%.300s: %s", name, strerror(error));
    }
}

enum mg_err mg_files_open(const struct mg_files *files, const char *name, int *fd, struct stat *st,
                          struct mg_errmsg *err)
{
    struct stat seen;
    /* O_NONBLOCK: a FIFO would wait for its writer. */
    int got = open_name(files, name, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (got < 0)
        return explain(name, -got, err);
    if (fstat(got, &seen) || !S_ISREG(seen.st_mode)) {
        close(got);
        return mg_err_set(err, MG_E_NO_FILE, S_ISDIR(seen.st_mode) ? "%.300s is a folder" : "%.300s is not a file",
                          name);
    }
    *fd = got;
    if (st)
        *st = seen;
    return MG_OK;
}

enum mg_err mg_files_stat(const struct mg_files *files, const char *name, struct stat *st, struct mg_errmsg *err)
{
    struct stat seen;
    int fd = open_name(files, name, O_PATH);
    if (fd < 0)
        return explain(name, -fd, err);
    int failed = fstat(fd, &seen);
    close(fd);
    if (failed)
        return mg_err_set(err, MG_E_IO, "%.300s: %s", name, strerror(errno));
    *st = seen;
    return MG_OK;
}

void mg_files_version_of(const struct stat *st, char *out, size_t size)
{
    snprintf(out, size, "%lld:%lld", (long long)st->st_mtim.tv_sec * 1000000000ll + st->st_mtim.tv_nsec,
             (long long)st->st_size);
}

void mg_files_version(const struct mg_files *files, const char *name, char *out, size_t size)
{
    struct stat st;
    if (mg_files_stat(files, name, &st, NULL) == MG_OK && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
        mg_files_version_of(&st, out, size);
    else
        snprintf(out, size, "-");
}

static const struct {
    const char *name, *path;
} forms[] = {
    {FD_PREFIX, "/vsimoon/fd/"},
    {CACHE_PREFIX, "/vsimoon/cache/"},
    {"https://", "/vsimoon/https/"},
    {"http://", "/vsimoon/http/"},
};

static bool swap_prefix(const char *in, const char *from, const char *to, char *out, size_t size, bool *fits)
{
    size_t n = strlen(from);
    if (strncmp(in, from, n) != 0 || !in[n])
        return false;
    int len = snprintf(out, size, "%s%s", to, in + n);
    *fits = len >= 0 && (size_t)len < size;
    return true;
}

enum mg_err mg_files_gdal_path(const char *name, char *out, size_t size, struct mg_errmsg *err)
{
    bool fits;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (swap_prefix(name, forms[i].name, forms[i].path, out, size, &fits))
            return fits ? MG_OK
                        : mg_err_set(err, MG_E_ARGUMENT, "the name %.100s… is too long (%zu bytes at most)", name,
                                     size - strlen(forms[i].path));
    return refuse_form(name, err);
}

bool mg_files_name_of(const char *gdal_path, char *out, size_t size)
{
    bool fits;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (swap_prefix(gdal_path, forms[i].path, forms[i].name, out, size, &fits))
            return fits;
    return false;
}
