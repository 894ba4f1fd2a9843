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

/* How much there is in the folders that may be written: counted now and then (files_change.c). */
struct mg_files_usage {
    uint64_t quota; /* bytes; 0: no limit */
    uint64_t bytes;
    int64_t counted_ms; /* 0: not yet */
};

struct mg_files {
    struct mg_mount mounts[32]; /* looked through in order; first the organisation's fd folder */
    size_t n_mounts;
    int cache_dirfd;              /* /mnt/cache; -1: none */
    struct mg_files_usage *usage; /* NULL: not counted */
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
/* The version text of a dependency as the file or folder (its list of names) stands now; "-" when it is not there. */
void mg_files_version(const struct mg_files *files, const char *name, char *out, size_t size);
/* Opens `path` beneath the folder, and nowhere else; O_CREAT is not for it. Returns a descriptor or -errno. */
int mg_files_beneath(int dirfd, const char *path, uint64_t flags);
/* Opens the name in its layer-th layer. Returns a descriptor or -errno; -ENXIO: no such layer. */
int mg_files_layer(const struct mg_files *files, const char *name, int layer, uint64_t flags);

/* Changes, in the organisation's own fd:// and /mnt/cache; MG_E_FORBIDDEN elsewhere, MG_E_QUOTA. Atomic: a reader
 * sees the old file or the whole new one; folders on the way are made. Worker process. */
MG_MUST_CHECK enum mg_err mg_files_write(const struct mg_files *files, const char *name, struct mg_span bytes,
                                         struct mg_errmsg *err);
/* A folder must be empty unless `recursive`. What was not there is no error. */
MG_MUST_CHECK enum mg_err mg_files_delete(const struct mg_files *files, const char *name, bool recursive,
                                          bool *was_there, struct mg_errmsg *err);
/* Appends *n entries to out, by name: name (relative), 1 for a folder, bytes, milliseconds since 1970 (packed).
 * MG_E_NO_FILE: no such folder. Cost: two system calls a file. */
MG_MUST_CHECK enum mg_err mg_files_list(const struct mg_files *files, const char *folder, bool recursive,
                                        struct mg_buf *out, size_t *n, struct mg_errmsg *err);
/* Whether `bytes` more fit into the quota. */
MG_MUST_CHECK enum mg_err mg_files_room(const struct mg_files *files, const char *name, uint64_t bytes,
                                        struct mg_errmsg *err);

/* The hidden file beside `name`, made when missing, where a download notes what it is of; returns new fd. */
MG_MUST_CHECK enum mg_err mg_files_beside(const struct mg_files *files, const char *name, int *fd,
                                          struct mg_errmsg *err);

/* A file in pieces: begin, put …, then commit or abandon (which both end it). */
struct mg_new_file {
    int fd, dirfd;
    uint64_t written;
    struct mg_files_usage *usage;
    char base[256], half[64], name[1024];
};
MG_MUST_CHECK enum mg_err mg_file_begin(const struct mg_files *files, const char *name, struct mg_new_file *out,
                                        struct mg_errmsg *err);
MG_MUST_CHECK enum mg_err mg_file_put(struct mg_new_file *file, struct mg_span bytes, struct mg_errmsg *err);
MG_MUST_CHECK enum mg_err mg_file_commit(struct mg_new_file *file, struct mg_errmsg *err);
void mg_file_abandon(struct mg_new_file *file);

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
