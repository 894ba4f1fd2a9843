/* A UDF folder to an immutable version: its files, read whole, as one sealed bundle.
 *
 * Invariant: the bytes of a bundle were all in the folder at one time: the folder and each file are looked at (inode,
 * size, times) before and after reading; where anything moved meanwhile, all is read again. Links are refused, so
 * that nothing outside the folder can be named. Cost: one open, two fstat and one read a file; about 60 us for three
 * files. */
#include "udf.h"

#include "moongate/memfd.h"
#include "moongate/pack.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TRIES = 20 };

/* What a name was, to see whether it still is. */
struct mark {
    char name[256];
    ino_t inode;
    off_t size;
    struct timespec mtime, ctime;
};
struct folder {
    struct mark marks[CATALOG_UDF_FILES];
    size_t n;
};

struct mg_udf *catalog_udf_new(struct mg_span name, const char *dir, const char *source)
{
    struct mg_udf *udf = calloc(1, sizeof *udf);
    if (!udf)
        return NULL;
    udf->refs = 1;
    udf->bundle_fd = -1;
    snprintf(udf->name, sizeof udf->name, "%.*s", name.len < CATALOG_NAME_MAX ? (int)name.len : CATALOG_NAME_MAX,
             name.data);
    snprintf(udf->dir, sizeof udf->dir, "%s", dir);
    snprintf(udf->source, sizeof udf->source, "%s", source);
    snprintf(udf->type, sizeof udf->type, "auto");
    udf->is_public = strcmp(source, "example") == 0;
    udf->description = strdup("");
    if (!udf->description) {
        free(udf);
        return NULL;
    }
    return udf;
}

struct mg_udf *catalog_udf_ref(struct mg_udf *udf)
{
    __atomic_add_fetch(&udf->refs, 1, __ATOMIC_RELAXED);
    return udf;
}

void mg_udf_unref(struct mg_udf **udf_at)
{
    struct mg_udf *udf = *udf_at;
    *udf_at = NULL;
    if (!udf || __atomic_sub_fetch(&udf->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    struct mg_sig *sig = udf->sig;
    mg_sig_free(&sig);
    if (udf->bundle_fd >= 0)
        close(udf->bundle_fd);
    json_decref(udf->meta);
    free(udf->broken);
    free(udf->description);
    free(udf);
}

void mg_udf_set_sig(struct mg_udf *udf, struct mg_sig *sig)
{
    void *none = NULL;
    if (!__atomic_compare_exchange_n(&udf->sig, &none, sig, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        mg_sig_free(&sig);
}

const struct mg_sig *mg_udf_sig(const struct mg_udf *udf) { return __atomic_load_n(&udf->sig, __ATOMIC_ACQUIRE); }

static bool is_lua(const char *name)
{
    size_t len = strlen(name);
    return len > 4 && strcmp(name + len - 4, ".lua") == 0;
}

/* What can be required: a dot in a module's name means a folder, so that backups like "Name.orig.lua" stay out. */
static bool is_module(const char *name)
{
    if (!is_lua(name))
        return false;
    for (const char *c = name; c < name + strlen(name) - 4; c++)
        if (!isalnum((unsigned char)*c) && *c != '_' && *c != '-')
            return false;
    return true;
}

bool catalog_is_file_of_udf(const char *name) { return is_module(name) || strcmp(name, "meta.json") == 0; }

static enum mg_err no_folder(const char *dir, struct mg_errmsg *err)
{
    return mg_err_set(err, errno == ENOENT || errno == ENOTDIR ? MG_E_NOT_FOUND : MG_E_IO, "cannot open the folder %s: %s",
                      dir, strerror(errno));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct mark *)a)->name, ((const struct mark *)b)->name);
}

/* The .lua files and meta.json of a folder, sorted; hidden files and editors' leavings are passed over. */
static enum mg_err list_folder(int dirfd, struct folder *out, struct mg_errmsg *err)
{
    int copy = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
    if (!dir) {
        if (copy >= 0)
            close(copy);
        return mg_err_set(err, MG_E_IO, "cannot read the folder: %s", strerror(errno));
    }
    enum mg_err status = MG_OK;
    const struct dirent *entry;
    out->n = 0;
    while (!status && (entry = readdir(dir))) {
        struct stat st;
        if (entry->d_name[0] == '.' || !catalog_is_file_of_udf(entry->d_name))
            continue;
        struct mark *mark = &out->marks[out->n];
        if (out->n == CATALOG_UDF_FILES - 1)
            status = mg_err_set(err, MG_E_UDF_BROKEN, "there are more than %d .lua files", CATALOG_UDF_FILES - 1);
        else if (fstatat(dirfd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue; /* gone meanwhile: the second look tells */
        else if (!S_ISREG(st.st_mode))
            status = mg_err_set(err, MG_E_UDF_BROKEN, "%s is %s: put the file itself here", entry->d_name,
                                S_ISLNK(st.st_mode) ? "a link" : "no regular file");
        else {
            snprintf(mark->name, sizeof mark->name, "%s", entry->d_name);
            mark->inode = st.st_ino;
            mark->size = st.st_size;
            mark->mtime = st.st_mtim;
            mark->ctime = st.st_ctim;
            out->n++;
        }
    }
    closedir(dir);
    qsort(out->marks, out->n, sizeof *out->marks, by_name);
    return status;
}

static bool same_folder(const struct folder *a, const struct folder *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; i < a->n && same; i++) {
        const struct mark *x = &a->marks[i], *y = &b->marks[i];
        same = strcmp(x->name, y->name) == 0 && x->inode == y->inode && x->size == y->size &&
               x->mtime.tv_sec == y->mtime.tv_sec && x->mtime.tv_nsec == y->mtime.tv_nsec &&
               x->ctime.tv_sec == y->ctime.tv_sec && x->ctime.tv_nsec == y->ctime.tv_nsec;
    }
    return same;
}

static enum mg_err read_one(int dirfd, const char *name, size_t left, struct mg_buf *out, struct mg_errmsg *err)
{
    int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return mg_err_set(err, MG_E_UDF_BROKEN, "cannot open %s: %s", name, strerror(errno));
    enum mg_err status = MG_OK;
    for (;;) {
        char *room = mg_buf_room(out, 16384);
        ssize_t got = room ? read(fd, room, 16384) : -1;
        if (got < 0 && room && errno == EINTR)
            continue;
        if (got < 0)
            status = mg_err_set(err, room ? MG_E_UDF_BROKEN : MG_E_NOMEM, "cannot read %s: %s", name, strerror(errno));
        if (got <= 0)
            break;
        out->len += (size_t)got;
        if (out->len > left) {
            status = mg_err_set(err, MG_E_UDF_BROKEN, "the .lua files and meta.json are larger than %d bytes in all",
                                CATALOG_UDF_BYTES);
            break;
        }
    }
    close(fd);
    return status;
}

static enum mg_err check_module(const char *name, const char *udf, struct mg_errmsg *err)
{
    struct mg_span module = {name, strlen(name) - 4};
    if (!mg_span_is(module, udf) && catalog_library_name(module))
        return mg_err_set(err, MG_E_UDF_BROKEN, "%s has the name of a library: call the module something else", name);
    return MG_OK;
}

enum mg_err catalog_udf_finish(struct mg_udf *udf, struct catalog_file *files, size_t n, struct mg_errmsg *err)
{
    struct mg_buf bundle;
    struct mg_errmsg why = {""};
    char main_file[160];
    bool has_main = false;
    enum mg_err status = MG_OK;
    snprintf(main_file, sizeof main_file, "%s.lua", udf->name);
    mg_buf_init(&bundle, 0);
    mg_pack_int(&bundle, (int64_t)n);
    for (size_t i = 0; i < n && !status; i++) {
        has_main = has_main || strcmp(files[i].name, main_file) == 0;
        mg_pack_str(&bundle, files[i].name);
        mg_pack_bytes(&bundle, files[i].bytes.data, files[i].bytes.len);
        if (is_lua(files[i].name))
            status = check_module(files[i].name, udf->name, &why);
        else
            status = catalog_read_meta((struct mg_span){files[i].bytes.data, files[i].bytes.len}, udf, &why);
    }
    if (!status && !catalog_udf_name(mg_span(udf->name)))
        status = mg_err_set(&why, MG_E_UDF_BROKEN,
                            "\"%s\" cannot be the name of a UDF: it starts with a letter and consists of letters, digits and _",
                            udf->name);
    if (!status && !has_main)
        status = mg_err_set(&why, MG_E_UDF_BROKEN, "there is no %s: the code file is called like its folder", main_file);
    if (!status && bundle.failed)
        status = mg_err_set(&why, MG_E_NOMEM, "out of memory");
    mg_sha256(bundle.data, bundle.len, &udf->code);
    if (!status)
        status = mg_memfd_of("udf", (struct mg_span){bundle.data, bundle.len}, &udf->bundle_fd, &why);
    if (!status)
        udf->bundle_bytes = bundle.len;
    mg_buf_fini(&bundle);
    if (status) {
        udf->broken = strdup(why.text[0] ? why.text : mg_err_text(status));
        if (err)
            *err = why;
    }
    return status;
}

static enum mg_err read_files(int dirfd, struct mg_udf *udf, const struct folder *folder, struct mg_errmsg *err)
{
    struct catalog_file *files = calloc(folder->n + 1, sizeof *files);
    size_t total = 0, n = 0;
    enum mg_err status = files ? MG_OK : MG_E_NOMEM;
    for (; n < folder->n && !status; n++) {
        snprintf(files[n].name, sizeof files[n].name, "%s", folder->marks[n].name);
        mg_buf_init(&files[n].bytes, 0);
        status = read_one(dirfd, files[n].name, CATALOG_UDF_BYTES - total, &files[n].bytes, err);
        total += files[n].bytes.len;
    }
    if (!status)
        status = catalog_udf_finish(udf, files, n, err);
    for (size_t i = 0; i < n; i++)
        mg_buf_fini(&files[i].bytes);
    free(files);
    return status;
}

/* One attempt; *moved when the folder changed under it. */
static enum mg_err try_read(int dirfd, struct mg_span name, const char *dir, const char *source, struct mg_udf **out,
                            bool *moved, struct mg_errmsg *err)
{
    struct folder *before = malloc(2 * sizeof *before), *after = before + 1;
    struct mg_udf *udf = before ? catalog_udf_new(name, dir, source) : NULL;
    if (!udf) {
        free(before);
        return MG_E_NOMEM;
    }
    struct mg_errmsg why = {""};
    enum mg_err status = list_folder(dirfd, before, &why);
    if (!status)
        status = read_files(dirfd, udf, before, &why);
    *moved = list_folder(dirfd, after, NULL) != MG_OK ? status == MG_OK : !same_folder(before, after);
    free(before);
    if (status && !udf->broken)
        udf->broken = strdup(why.text[0] ? why.text : mg_err_text(status));
    if (status && err)
        *err = why;
    *out = udf;
    return status;
}

enum mg_err mg_udf_read(const char *dir, const char *source, struct mg_udf **out, struct mg_errmsg *err)
{
    char path[PATH_MAX];
    if (!realpath(dir, path))
        return no_folder(dir, err);
    if (strlen(path) >= sizeof ((struct mg_udf *)0)->dir)
        return mg_err_set(err, MG_E_INVALID, "%.100s…: the path is too long", path);
    int dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0)
        return no_folder(dir, err);
    struct mg_span name = mg_span(strrchr(path, '/') + 1);
    struct mg_udf *udf = NULL;
    enum mg_err status = MG_OK;
    bool moved = true;
    for (int i = 0; i < TRIES && moved; i++) {
        mg_udf_unref(&udf);
        status = try_read(dirfd, name, path, source, &udf, &moved, err);
    }
    close(dirfd);
    if (!status && moved) {
        status = mg_err_set(err, MG_E_UDF_BROKEN, "the files keep changing while they are read; save again");
        udf->broken = strdup("the files keep changing while they are read; save again");
    }
    if (udf && status)
        status = MG_E_UDF_BROKEN;
    if (udf)
        *out = udf;
    return status;
}

bool catalog_is_udf_dir(const char *dir, bool any_module)
{
    char path[PATH_MAX], file[PATH_MAX + 300];
    if (!realpath(dir, path))
        return false;
    snprintf(file, sizeof file, "%s/%s.lua", path, strrchr(path, '/') + 1);
    if (access(file, F_OK) == 0)
        return true;
    snprintf(file, sizeof file, "%s/meta.json", path);
    if (access(file, F_OK) == 0)
        return true;
    DIR *folder = any_module ? opendir(path) : NULL;
    const struct dirent *entry;
    bool found = false;
    while (folder && !found && (entry = readdir(folder)))
        found = is_module(entry->d_name);
    if (folder)
        closedir(folder);
    return found;
}
