/* For tests of the catalog: folders and files in a scratch folder that is removed at the end. */
#ifndef TESTS_CATALOG_FOLDERS_H
#define TESTS_CATALOG_FOLDERS_H

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folders_root[64];

static inline int folders_make(void **state)
{
    (void)state;
    snprintf(folders_root, sizeof folders_root, "/tmp/moongate-test-XXXXXX");
    return mkdtemp(folders_root) ? 0 : -1;
}

static inline int folders_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline int folders_remove(void **state)
{
    (void)state;
    return nftw(folders_root, folders_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* The path of a name in the scratch folder; valid until the fourth next call. */
static inline const char *in(const char *name)
{
    static char paths[4][512];
    static int next;
    next = (next + 1) % 4;
    snprintf(paths[next], sizeof paths[next], "%s/%s", folders_root, name);
    return paths[next];
}

static inline void make_dir(const char *name) { mkdir(in(name), 0755); }

static inline void write_text(const char *name, const char *text)
{
    int fd = open(in(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        abort();
    close(fd);
}

static inline void make_udf(const char *dir, const char *code)
{
    char file[300];
    const char *name = strrchr(dir, '/');
    make_dir(dir);
    snprintf(file, sizeof file, "%s/%s.lua", dir, name ? name + 1 : dir);
    write_text(file, code);
}

#endif
