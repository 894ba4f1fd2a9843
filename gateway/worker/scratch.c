/* Scratch folders: making, measuring, emptying them.
 *
 * What lies in them was named by a worker, which may have been taken over: nothing is followed, no
 * depth is trusted. A tree is removed without recursion, by moving what is in a subfolder up to the
 * top. Cost: two system calls a file. */
#include "scratch.h"

#include "moongate/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TICK_NS = 20000000 /* the coarsest clock has 10 ms */ };
enum { MAX_DEPTH = 8, FOLDER = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

static bool is_dots(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* A stream of its own over the folder; `dirfd` stays the caller's. */
static DIR *list(int dirfd)
{
    int fd = openat(dirfd, ".", FOLDER);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (fd >= 0 && !dir)
        close(fd);
    return dir;
}

/* Moves what the subfolder holds into its parent, then removes it. */
static bool flatten(int parent, const char *name, uint64_t *moved)
{
    int fd = openat(parent, name, FOLDER);
    DIR *dir = fd < 0 ? NULL : list(fd);
    if (!dir && fd >= 0)
        close(fd);
    if (!dir)
        return false;
    bool ok = true;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char up[40];
        if (is_dots(entry->d_name) || unlinkat(fd, entry->d_name, 0) == 0)
            continue;
        do
            snprintf(up, sizeof up, ".up-%llu", (unsigned long long)(*moved)++);
        while (faccessat(parent, up, F_OK, AT_SYMLINK_NOFOLLOW) == 0);
        ok = renameat(fd, entry->d_name, parent, up) == 0 && ok;
    }
    closedir(dir);
    close(fd);
    return ok && unlinkat(parent, name, AT_REMOVEDIR) == 0;
}

bool scratch_empty(int dirfd)
{
    uint64_t moved = 0;
    for (;;) {
        bool any = false, progress = false;
        DIR *dir = list(dirfd);
        if (!dir)
            return false;
        for (struct dirent *entry; (entry = readdir(dir));) {
            if (is_dots(entry->d_name))
                continue;
            any = true;
            progress |= unlinkat(dirfd, entry->d_name, 0) == 0 || flatten(dirfd, entry->d_name, &moved);
        }
        closedir(dir);
        if (!any)
            return true;
        if (!progress)
            return false;
    }
}

static bool same_time(const struct stat *a, const struct stat *b)
{
    return a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

bool scratch_tidy(int dirfd, struct stat *seen)
{
    struct stat st;
    struct timespec now;
    if (fstat(dirfd, &st) < 0 || clock_gettime(CLOCK_REALTIME_COARSE, &now) < 0)
        return false;
    if (same_time(&st, seen))
        return true;
    /* A change within one tick of the clock may not show in the time: what was looked at while that was young is looked
     * at again. */
    int64_t age_ns = (now.tv_sec - st.st_mtim.tv_sec) * (int64_t)1000000000 + now.tv_nsec - st.st_mtim.tv_nsec;
    bool ok = scratch_empty(dirfd);
    struct stat after;
    bool settled = ok && age_ns > TICK_NS && fstat(dirfd, &after) == 0 && same_time(&after, &st);
    *seen = settled ? after : (struct stat){0};
    return ok;
}

enum mg_err scratch_make(const char *org_dir, unsigned link, uint64_t id, unsigned uid,
                         char *path, size_t size, struct mg_errmsg *err)
{
    int n = snprintf(path, size, "%s/scratch/%u-%llu", org_dir, link, (unsigned long long)id);
    if (n < 0 || (size_t)n >= size)
        return mg_err_set(err, MG_E_INVALID, "the path of the data directory is too long");
    /* Of an earlier server, or made by a hostile hand: anew. */
    if (mkdir(path, 0700) < 0 && errno == EEXIST) {
        scratch_remove(path);
        errno = 0;
        (void)!mkdir(path, 0700);
    }
    struct stat st;
    if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode) || (uid && lchown(path, uid, uid) < 0))
        return mg_err_set(err, MG_E_IO, "cannot make the folder %s: %s", path, strerror(errno));
    return MG_OK;
}

void scratch_remove(const char *path)
{
    int fd = open(path, FOLDER);
    bool emptied = fd >= 0 && scratch_empty(fd);
    if (fd >= 0)
        close(fd);
    if ((rmdir(path) < 0 && errno == ENOTDIR ? unlink(path) : access(path, F_OK) == 0 ? -1 : 0) < 0)
        mg_log_warn("cannot remove the scratch folder %s%s: %s", path, emptied ? "" : ", which is not empty",
                    strerror(errno));
}

void scratch_sweep(const char *data_dir)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/orgs", data_dir);
    DIR *orgs = n > 0 && (size_t)n < sizeof path ? opendir(path) : NULL;
    if (!orgs)
        return;
    for (struct dirent *entry; (entry = readdir(orgs));) {
        if (entry->d_name[0] == '.')
            continue;
        n = snprintf(path, sizeof path, "%s/scratch", entry->d_name);
        int fd = n > 0 && (size_t)n < sizeof path ? openat(dirfd(orgs), path, FOLDER) : -1;
        if (fd >= 0 && !scratch_empty(fd))
            mg_log_warn("cannot empty %s/orgs/%s: %s", data_dir, path, strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    closedir(orgs);
}

struct sum {
    uint64_t bytes;
    unsigned files;
};

/* Adds the folder, which it closes. False when it is too deep, too large, or has too many entries. */
static bool add_folder(int fd, int depth, struct sum *sum)
{
    DIR *dir = depth <= MAX_DEPTH ? fdopendir(fd) : NULL;
    bool within = dir != NULL;
    for (struct dirent *entry; within && (entry = readdir(dir));) {
        struct stat st;
        if (is_dots(entry->d_name) || fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        sum->bytes += (uint64_t)st.st_blocks * 512;
        within = ++sum->files <= SCRATCH_FILES && sum->bytes <= SCRATCH_BYTES;
        int sub = within && S_ISDIR(st.st_mode) ? openat(fd, entry->d_name, FOLDER) : -1;
        if (sub >= 0)
            within = add_folder(sub, depth + 1, sum);
    }
    if (dir)
        closedir(dir);
    else
        close(fd);
    return within;
}

bool scratch_is_over(const char *path, bool *holds)
{
    struct sum sum = {0};
    int fd = open(path, FOLDER);
    bool over = fd >= 0 && !add_folder(fd, 0, &sum);
    *holds = sum.files > 0;
    return over;
}
