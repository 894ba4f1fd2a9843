/* The folders of organisations.
 *
 * The owner of an organisation's fd folder says which uid its workers have, so nothing else has to
 * be kept, and a uid is never given to a second organisation while the first one's files are there.
 * Cost: a few system calls at the start of a worker, one listing of data_dir/orgs for a new
 * organisation. */
#include "org_dirs.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_ORGS = 100000 };

bool org_name_valid(const char *org)
{
    size_t len = strlen(org);
    if (len == 0 || len > 63 || !isalnum((unsigned char)org[0]))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)org[i]) && !strchr("-_.", org[i]))
            return false;
    return true;
}

static enum mg_err failed(struct mg_errmsg *err, const char *what, const char *path)
{
    return mg_err_set(err, MG_E_IO, "cannot %s %s: %s", what, path, strerror(errno));
}

static bool fits(int printed, size_t size)
{
    return printed >= 0 && (size_t)printed < size;
}

static enum mg_err make_dir(const char *path, mode_t mode, struct mg_errmsg *err)
{
    return mkdir(path, mode) < 0 && errno != EEXIST ? failed(err, "make the folder", path) : MG_OK;
}

/* One more than the highest uid that owns an organisation's folder. */
static unsigned next_uid(const char *orgs_dir, unsigned base_uid)
{
    unsigned next = base_uid;
    DIR *dir = opendir(orgs_dir);
    if (!dir)
        return next;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[320];
        struct stat st;
        if (entry->d_name[0] != '.' &&
            fits(snprintf(path, sizeof path, "%s/fd", entry->d_name), sizeof path) &&
            fstatat(dirfd(dir), path, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_uid >= next &&
            st.st_uid < base_uid + MAX_ORGS)
            next = st.st_uid + 1;
    }
    closedir(dir);
    return next;
}

enum mg_err org_dirs_make(const char *data_dir, const char *org, unsigned base_uid, char *dir,
                          size_t dir_size, unsigned *uid, struct mg_errmsg *err)
{
    static const char *const names[] = {"fd", "cache", "scratch", "layers"};
    char orgs[4096], path[4096];
    struct stat st;
    unsigned owner = 0;
    if (!org_name_valid(org))
        return mg_err_set(err, MG_E_INVALID,
                          "an organisation's name has letters, digits, '-', '_' and '.'");
    if (!fits(snprintf(orgs, sizeof orgs, "%s/orgs", data_dir), sizeof orgs) ||
        !fits(snprintf(dir, dir_size, "%s/%s", orgs, org), dir_size))
        return mg_err_set(err, MG_E_INVALID, "the path of the data directory is too long");
    enum mg_err code = make_dir(orgs, 0755, err);
    if (code == MG_OK)
        code = make_dir(dir, 0755, err);
    for (size_t i = 0; code == MG_OK && i < sizeof names / sizeof *names; i++) {
        if (!fits(snprintf(path, sizeof path, "%s/%s", dir, names[i]), sizeof path))
            return mg_err_set(err, MG_E_INVALID, "the path of the data directory is too long");
        if ((code = make_dir(path, 0755, err)) != MG_OK || base_uid == 0 || geteuid() != 0)
            continue;
        if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode))
            return mg_err_set(err, MG_E_IO, "%s is not a folder", path);
        bool owned = st.st_uid >= base_uid && st.st_uid < base_uid + MAX_ORGS;
        if (i == 0)
            owner = owned ? st.st_uid : next_uid(orgs, base_uid);
        if (st.st_uid != owner && lchown(path, owner, owner) < 0)
            code = failed(err, "give away the folder", path);
    }
    if (code == MG_OK)
        *uid = owner;
    return code;
}

enum mg_err org_dirs_outside(const char *data_dir, char *path, size_t size, struct mg_errmsg *err)
{
    char folder[4096];
    if (!fits(snprintf(folder, sizeof folder, "%s/orgs", data_dir), sizeof folder))
        return mg_err_set(err, MG_E_INVALID, "the path of the data directory is too long");
    enum mg_err code = make_dir(folder, 0755, err);
    if (code != MG_OK)
        return code;
    if (!fits(snprintf(folder, sizeof folder, "%s/orgs/.probe", data_dir), sizeof folder) ||
        !fits(snprintf(path, size, "%s/outside", folder), size))
        return mg_err_set(err, MG_E_INVALID, "the path of the data directory is too long");
    if ((code = make_dir(folder, 0755, err)) != MG_OK)
        return code;
    int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return failed(err, "write", path);
    /* The umask must not make the probes succeed for the wrong reason. */
    if (fchmod(fd, 0666) < 0)
        code = failed(err, "write", path);
    close(fd);
    return code;
}
