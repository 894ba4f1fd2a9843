/* Packages as zip files, through libarchive.
 *
 * Nothing is written to a disk, so a path that leads out could do no harm; it is refused all the
 * same, for whoever sent it means none of a UDF. What is unpacked is bounded while it is: 1 MB of
 * files, 10,000 entries, 100:1 in all. */
#include "catalog.h"
#include "moongate/package.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>

enum { ENTRIES_MAX = 10000, RATIO_MAX = 100, SLACK = 64 << 10, PIECE = 16384 };

static enum mg_err refuse(struct mg_errmsg *err, const char *name, const char *why)
{
    return mg_err_set(err, MG_E_PARAMETER, "the zip file: entry \"%.100s\" %s", name, why);
}

static bool leads_out(const char *path)
{
    struct mg_span rest = mg_span(path), part;
    if (path[0] == '/' || strchr(path, '\\') || strchr(path, ':'))
        return true;
    while (mg_span_cut(&rest, '/', &part))
        if (mg_span_is(part, ".."))
            return true;
    return false;
}

/* The bytes of an entry; counted even where they are passed over, for they cost as much. */
static enum mg_err read_entry(struct archive *zip, const char *name, size_t zip_bytes,
                              size_t *total, struct mg_buf *out, struct mg_errmsg *err)
{
    char piece[PIECE];
    for (;;) {
        la_ssize_t got = archive_read_data(zip, piece, sizeof piece);
        if (got == 0)
            return MG_OK;
        if (got < 0)
            return mg_err_set(
                err, MG_E_PARAMETER, "the zip file: entry \"%.100s\" cannot be read: %.150s", name,
                archive_error_string(zip) ? archive_error_string(zip) : "it is damaged");
        *total += (size_t)got;
        if (*total > zip_bytes * RATIO_MAX + SLACK)
            return refuse(err, name, "unpacks to more than 100 times the size of the file");
        mg_buf_put(out, piece, (size_t)got);
        if (out->failed)
            return mg_err_set(err, MG_E_TOO_LARGE,
                              "the zip file: entry \"%.100s\" is larger than %d bytes", name,
                              CATALOG_UDF_BYTES);
    }
}

/* One entry; `folder` is that of the first file which counts, all others must lie there. */
static enum mg_err take_entry(struct archive *zip, struct archive_entry *entry, size_t zip_bytes,
                              size_t *total, struct mg_package *package, char folder[128],
                              struct mg_errmsg *err)
{
    const char *path = archive_entry_pathname(entry);
    struct mg_buf bytes;
    if (!path || !*path)
        return refuse(err, "", "has no readable name");
    if (leads_out(path))
        return refuse(err, path, "has a path that leads out of the folder");
    if (archive_entry_filetype(entry) == AE_IFDIR)
        return MG_OK;
    if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_symlink(entry) ||
        archive_entry_hardlink(entry))
        return refuse(err, path, "is a link or no regular file: put the file itself there");
    if (archive_entry_is_encrypted(entry))
        return refuse(err, path, "is encrypted");
    mg_buf_init(&bytes, CATALOG_UDF_BYTES);
    enum mg_err status = read_entry(zip, path, zip_bytes, total, &bytes, err);
    const char *slash = strchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t folder_len = slash ? (size_t)(slash - path) : 0;
    /* Deeper files, hidden ones and those of other kinds are passed over, as in a folder. */
    bool counts = !strchr(name, '/') && name[0] != '.' && path[0] != '.' &&
                  strncmp(path, "__MACOSX/", 9) != 0 && folder_len < 128 &&
                  (strcmp(name, "meta.json") == 0 || strcmp(name, "README.md") == 0 ||
                   (strlen(name) > 4 && strcmp(name + strlen(name) - 4, ".lua") == 0));
    if (!status && counts && package->n > 0 &&
        (strlen(folder) != folder_len || strncmp(folder, path, folder_len) != 0))
        status = refuse(err, path, "lies in another folder than the others: one UDF is expected");
    else if (!status && counts)
        snprintf(folder, 128, "%.*s", (int)folder_len, path);
    if (!status && counts && mg_package_find(package, name))
        status = refuse(err, path, "is there twice");
    if (!status && counts)
        status =
            mg_package_put(package, mg_span(name), (struct mg_span){bytes.data, bytes.len}, err);
    mg_buf_fini(&bytes);
    return status;
}

enum mg_err mg_package_from_zip(struct mg_span bytes, struct mg_package *package, char folder[128],
                                struct mg_errmsg *err)
{
    struct archive *zip = archive_read_new();
    struct archive_entry *entry;
    size_t total = 0, n = 0;
    int rc = ARCHIVE_FATAL;
    enum mg_err status = MG_OK;
    folder[0] = 0;
    if (zip && archive_read_support_format_zip_seekable(zip) == ARCHIVE_OK)
        rc = archive_read_open_memory(zip, bytes.data, bytes.len);
    if (rc == ARCHIVE_OK)
        while (!status && (rc = archive_read_next_header(zip, &entry)) == ARCHIVE_OK) {
            if (++n > ENTRIES_MAX)
                status = mg_err_set(err, MG_E_PARAMETER, "the zip file has more than %d entries",
                                    ENTRIES_MAX);
            else
                status = take_entry(zip, entry, bytes.len, &total, package, folder, err);
        }
    if (!status && rc != ARCHIVE_EOF)
        status = mg_err_set(err, MG_E_PARAMETER, "the body is no zip file that can be read: %.200s",
                            zip && archive_error_string(zip) ? archive_error_string(zip)
                                                             : "out of memory");
    if (!status && package->n == 0)
        status = mg_err_set(err, MG_E_PARAMETER, "the zip file holds no file of a UDF");
    archive_read_free(zip);
    return status;
}

static la_ssize_t put_bytes(struct archive *zip, void *context, const void *bytes, size_t len)
{
    struct mg_buf *out = context;
    (void)zip;
    mg_buf_put(out, bytes, len);
    return out->failed ? -1 : (la_ssize_t)len;
}

enum mg_err mg_package_to_zip(const struct mg_package *package, const char *folder,
                              struct mg_buf *out, struct mg_errmsg *err)
{
    struct archive *zip = archive_write_new();
    bool good = zip && archive_write_set_format_zip(zip) == ARCHIVE_OK &&
                archive_write_set_bytes_in_last_block(zip, 1) == ARCHIVE_OK &&
                archive_write_open(zip, out, NULL, put_bytes, NULL) == ARCHIVE_OK;
    for (size_t i = 0; i < package->n && good; i++) {
        const struct mg_package_file *file = &package->files[i];
        struct archive_entry *entry = archive_entry_new();
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder, file->name);
        archive_entry_set_pathname(entry, path);
        archive_entry_set_filetype(entry, AE_IFREG);
        archive_entry_set_perm(entry, 0644);
        archive_entry_set_size(entry, (la_int64_t)file->bytes.len);
        archive_entry_set_mtime(entry, 315532800, 0); /* 1980: the same files give the same zip */
        good = archive_write_header(zip, entry) == ARCHIVE_OK &&
               archive_write_data(zip, file->bytes.data ? file->bytes.data : "", file->bytes.len) ==
                   (la_ssize_t)file->bytes.len;
        archive_entry_free(entry);
    }
    good = good && archive_write_close(zip) == ARCHIVE_OK;
    archive_write_free(zip);
    return good ? mg_buf_status(out, err)
                : mg_err_set(err, MG_E_NOMEM, "the zip file could not be made");
}
