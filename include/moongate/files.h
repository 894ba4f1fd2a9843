/* Files that a UDF may name: fd://, /mnt/cache, mounts and (through the fetcher) http(s)://.
 *
 * A name is resolved beneath open folders with openat2(RESOLVE_BENEATH), never by comparing strings; another
 * organisation's files do not exist. fd://a/b is looked for in the organisation's fd folder, then (read-only) in
 * the example data; fd://NAME/… in the mount NAME. GDAL sees all of it as /vsimoon/<name>, read-only. Worker
 * process (and the front for stat of dependencies). */
#ifndef MOONGATE_FILES_H
#define MOONGATE_FILES_H

#include "moongate/buf.h"

#include <sys/stat.h>

struct mg_mount {
    char name[64]; /* "" for a layer beneath all of fd:// */
    int dirfd;     /* O_PATH */
    bool writable;
};

struct mg_files {
    struct mg_mount mounts[32]; /* looked through in order; first the organisation's fd folder */
    size_t n_mounts;
    int cache_dirfd; /* /mnt/cache; -1: none */
};

/* What a run read, for its dependency list. Called for each name's first stat or open in a run. `version` is "mtime_ns:size" for a local
 * file, the ETag for a remote one. */
typedef void mg_files_seen_f(void *context, const char *name, const char *version);

/* Opens read-only; MG_E_NO_FILE names the file; MG_E_FORBIDDEN when it leaves the folder. Returns new fd. */
MG_MUST_CHECK enum mg_err mg_files_open(const struct mg_files *files, const char *name, int *fd, struct stat *st,
                                        struct mg_errmsg *err);
/* What is there, also a folder. */
MG_MUST_CHECK enum mg_err mg_files_stat(const struct mg_files *files, const char *name, struct stat *st,
                                        struct mg_errmsg *err);
void mg_files_version_of(const struct stat *st, char *out, size_t size);
/* The version text of a dependency as the file stands now; "-" when it is not there. */
void mg_files_version(const struct mg_files *files, const char *name, char *out, size_t size);
/* "fd://a.tif" -> "/vsimoon/fd/a.tif", "/mnt/cache/x" -> "/vsimoon/cache/x", "https://h/p" -> "/vsimoon/https/h/p".
 * MG_E_ARGUMENT for any other form (it lists the forms). */
MG_MUST_CHECK enum mg_err mg_files_gdal_path(const char *name, char *out, size_t size, struct mg_errmsg *err);
/* The way back; false when it is no such path or does not fit. */
bool mg_files_name_of(const char *gdal_path, char *out, size_t size);

/* Remote bytes, by the fetcher. A block file is a sparse copy of the remote file that only the fetcher writes: struct
 * mg_block_head and one bit for each 64 kB block that is there (block i: byte i / 8, bit i % 8), up to data_offset (a
 * multiple of 4,096), then the bytes themselves. A bit is set after its block was written and never cleared. A
 * remote file that changed gets a new block file; the old one stays as it is. */
enum { MG_BLOCK_BYTES = 64 << 10 };
#define MG_BLOCK_MAGIC "MGBLOCK1"
struct mg_block_head {
    char magic[8];
    uint64_t size; /* of the remote file */
    uint64_t data_offset;
    char etag[232]; /* terminated; what stands in for one where the server gives none */
};
/* Asks for blocks (bytes at offset; 0 bytes: open only) and waits. Gives the block file's descriptor (new) when
 * fd is not NULL. */
typedef enum mg_err mg_fetch_f(void *context, const char *url, uint64_t offset, uint64_t bytes, int *fd,
                               struct mg_errmsg *err);

/* Installs the GDAL file system /vsimoon/. Once in a process; pointers are kept for its life. */
void mg_vsimoon_install(void);
/* Says whose files /vsimoon/ shows from now on, and who is told of what is read. */
void mg_vsimoon_use(const struct mg_files *files, mg_fetch_f *fetch, mg_files_seen_f *seen, void *context);
/* Why the last stat, open or read of a /vsimoon/ name failed, as GDAL cannot say: MG_E_NO_FILE, MG_E_FORBIDDEN,
 * MG_E_FETCH …; MG_OK when it did not fail. */
enum mg_err mg_vsimoon_error(struct mg_errmsg *err);

#endif
