/* What lies in an archive: zip, tar (also compressed), or one compressed file (gz, xz, zst, bz2). Worker process.
 *
 * Hostile input: names that are absolute or have `..`, links, encrypted members, more than 10,000 files, and more than
 * 100 bytes for each one of the archive (above the first MB) are errors. */
#ifndef MOONGATE_UNARCHIVE_H
#define MOONGATE_UNARCHIVE_H

#include "moongate/buf.h"

enum { MG_ARCHIVE_FILES = 10000, MG_ARCHIVE_RATIO = 100 };

/* For each file begin, data …, end, in the order of the archive; folders are not told. What they return other than
 * MG_OK ends it. */
struct mg_unarchive_to {
    enum mg_err (*begin)(void *context, const char *name, struct mg_errmsg *err);
    enum mg_err (*data)(void *context, struct mg_span bytes, struct mg_errmsg *err);
    enum mg_err (*end)(void *context, struct mg_errmsg *err);
};
/* Reads fd from its beginning; `bytes` is its size. `plain`: it is no archive but one compressed file, of that name;
 * NULL: a zip or tar. MG_E_BAD_FILE, MG_E_TOO_LARGE. Memory: some 100 kB, and what zstd or xz ask for. */
MG_MUST_CHECK enum mg_err mg_unarchive(int fd, uint64_t bytes, const char *plain, const struct mg_unarchive_to *to,
                                       void *context, struct mg_errmsg *err);

#endif
