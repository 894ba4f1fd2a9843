/* Archives, by libarchive, one member after the other. */
#include "moongate/unarchive.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STEP = 64 << 10, FREE_BYTES = 1 << 20 };

static enum mg_err broken(struct archive *in, struct mg_errmsg *err)
{
    const char *why = archive_error_string(in);
    return mg_err_set(err, MG_E_BAD_FILE, "the archive cannot be read: %s", why ? why : "it is damaged");
}

/* Whether a name stays in its folder. */
static bool name_ok(const char *name)
{
    if (!*name || *name == '/' || strchr(name, '\\'))
        return false;
    for (const char *at = name; *at;) {
        size_t n = strcspn(at, "/");
        if ((n == 2 && memcmp(at, "..", 2) == 0) || n > 255)
            return false;
        at += n + strspn(at + n, "/");
    }
    return true;
}

static enum mg_err copy_member(struct archive *in, uint64_t most, uint64_t *total,
                               const struct mg_unarchive_to *to, void *context, struct mg_errmsg *err)
{
    char step[STEP];
    for (;;) {
        la_ssize_t n = archive_read_data(in, step, sizeof step);
        if (n == 0)
            return MG_OK;
        if (n < 0)
            return broken(in, err);
        *total += (uint64_t)n;
        if (*total > most)
            return mg_err_set(err, MG_E_TOO_LARGE, "the archive unpacks to more than %d times its size",
                              MG_ARCHIVE_RATIO);
        enum mg_err e = to->data(context, (struct mg_span){step, (size_t)n}, err);
        if (e)
            return e;
    }
}

static enum mg_err each_member(struct archive *in, uint64_t most, const char *plain,
                               const struct mg_unarchive_to *to, void *context, struct mg_errmsg *err)
{
    struct archive_entry *entry;
    uint64_t total = 0;
    int files = 0;
    for (;;) {
        int status = archive_read_next_header(in, &entry);
        if (status == ARCHIVE_EOF)
            break;
        if (status < ARCHIVE_WARN)
            return broken(in, err);
        bool raw = archive_format(in) == ARCHIVE_FORMAT_RAW;
        if (raw && archive_filter_count(in) < 2) /* the filter "none" alone */
            return mg_err_set(err, MG_E_BAD_FILE, "the file is neither an archive nor compressed");
        const char *name = raw ? plain : archive_entry_pathname(entry);
        if (!name || !name_ok(name))
            return mg_err_set(err, MG_E_BAD_FILE,
                              "the archive has a member whose name leads out of its folder: %.100s",
                              name ? name : "(unreadable)");
        if (!raw && archive_entry_filetype(entry) == S_IFDIR)
            continue;
        if (!raw && (archive_entry_filetype(entry) != S_IFREG || archive_entry_hardlink(entry)))
            return mg_err_set(err, MG_E_BAD_FILE, "the archive's member %.100s is a link or device", name);
        if (archive_entry_is_encrypted(entry))
            return mg_err_set(err, MG_E_BAD_FILE, "the archive's member %.100s is encrypted", name);
        if (++files > MG_ARCHIVE_FILES)
            return mg_err_set(err, MG_E_TOO_LARGE, "the archive has more than %d files", MG_ARCHIVE_FILES);
        enum mg_err e = to->begin(context, name, err);
        if (!e)
            e = copy_member(in, most, &total, to, context, err);
        if (!e)
            e = to->end(context, err);
        if (e)
            return e;
    }
    return files ? MG_OK : mg_err_set(err, MG_E_BAD_FILE, "the archive is empty");
}

enum mg_err mg_unarchive(int fd, uint64_t bytes, const char *plain, const struct mg_unarchive_to *to,
                         void *context, struct mg_errmsg *err)
{
    struct archive *in = archive_read_new();
    if (!in)
        return mg_err_set(err, MG_E_NOMEM, "no memory to unpack an archive");
    archive_read_support_filter_gzip(in);
    archive_read_support_filter_bzip2(in);
    archive_read_support_filter_xz(in);
    archive_read_support_filter_zstd(in);
    if (plain) { /* never guessed: a file of zeros looks like an empty tar */
        archive_read_support_format_raw(in);
    } else {
        archive_read_support_format_zip(in);
        archive_read_support_format_tar(in);
    }
    enum mg_err e = MG_OK;
    if (lseek(fd, 0, SEEK_SET) != 0 || archive_read_open_fd(in, fd, STEP) != ARCHIVE_OK)
        e = broken(in, err);
    else
        e = each_member(in, bytes * MG_ARCHIVE_RATIO + FREE_BYTES, plain, to, context, err);
    archive_read_free(in);
    return e;
}
