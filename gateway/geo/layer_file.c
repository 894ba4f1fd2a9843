/* Layers as files: a table and the index of its boxes as they lie in memory, mapped by every worker
 * of the organisation.
 *
 * Reading a layer of 171,000 points through OGR takes 0.3 s and leaves 60 MB in a worker; mapping
 * what another worker has made of it 10 ms and nothing that is its own. A file is named by all that
 * its content follows from (path, size and time of the source, layer, where, CRS, our version),
 * appears by rename, and is never changed. What is read is checked like any foreign table; but its
 * bytes stay in the hands of the organisation's workers, as those of all its files do, so the
 * folder must be no other organisation's. */
#include "layer_file.h"

#include "moongate/crypto.h"
#include "moongate/log.h"
#include "moongate/pack.h"
#include "pin.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { VERSION = 1, ALIGN = 64, MAX_FILES = 4096, NAME = 72 };

struct head {
    char magic[8];
    uint64_t file_bytes, table_bytes, index_bytes; /* index: 0 without geometry */
    struct mg_bounds degrees;
    uint8_t unused[64];
};
static const char magic[8] = "MGLAYER";
_Static_assert(sizeof(struct head) == 128, "what follows is aligned");

static size_t aligned(size_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static bool name_of(const struct layer_key *key, char out[NAME])
{
    const char *texts[] = {key->path, key->layer, key->where, key->source_crs, MG_VERSION};
    struct mg_buf packed;
    struct mg_hash hash;
    mg_buf_init(&packed, 0);
    mg_pack_int(&packed, VERSION);
    mg_pack_int(&packed, key->size);
    mg_pack_int(&packed, key->mtime_ns);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        mg_pack_int(&packed, texts[i] != NULL);
        mg_pack_str(&packed, texts[i] ? texts[i] : "");
    }
    bool ok = !packed.failed;
    if (ok) {
        mg_sha256(packed.data, packed.len, &hash);
        mg_hash_hex(&hash, out);
    }
    mg_buf_fini(&packed);
    return ok;
}

static bool parse(struct pin *pin, struct layer *out)
{
    struct head head;
    memcpy(&head, pin->at, sizeof head);
    size_t room = pin->len - sizeof head;
    if (memcmp(head.magic, magic, sizeof magic) != 0 || head.file_bytes != pin->len ||
        head.table_bytes > room || head.index_bytes > room ||
        aligned(head.table_bytes) + head.index_bytes != room)
        return false;
    const char *at = (const char *)pin->at + sizeof head;
    struct layer layer = {.degrees = head.degrees, .bytes = pin->len};
    if (table_restore_pinned((struct mg_span){at, head.table_bytes}, pin, &layer.table, NULL) != MG_OK)
        return false;
    at += aligned(head.table_bytes);
    bool one_batch = layer.table->n_batches == 1, geometry = layer.table->geometry >= 0;
    if (one_batch && geometry && layer.table->rows <= UINT32_MAX)
        layer.index =
            mg_rtree_restore((struct mg_span){at, head.index_bytes}, (uint32_t)layer.table->rows, pin);
    if (!one_batch || geometry != (layer.index != NULL)) {
        layer_fini(&layer);
        return false;
    }
    *out = layer;
    return true;
}

/* Files are not forced to the disk, which the first tile would wait for: one from before the machine
 * started may have lost some of it. */
static bool is_of_this_boot(const struct stat *st)
{
    struct timespec now, up;
    return clock_gettime(CLOCK_REALTIME, &now) == 0 && clock_gettime(CLOCK_BOOTTIME, &up) == 0 &&
           st->st_mtim.tv_sec > now.tv_sec - up.tv_sec;
}

bool layer_file_load(int dirfd, const struct layer_key *key, struct layer *out)
{
    char name[NAME];
    struct stat st;
    int fd = name_of(key, name) ? openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (fd < 0)
        return false;
    struct pin *pin = NULL;
    bool loaded = false;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && is_of_this_boot(&st) &&
        st.st_size > (off_t)sizeof(struct head) && st.st_size <= LAYER_FILES_BYTES && (pin = calloc(1, sizeof *pin))) {
        *pin = (struct pin){.refs = 1, .len = (size_t)st.st_size};
        pin->at = mmap(NULL, pin->len, PROT_READ, MAP_SHARED, fd, 0);
        if (pin->at == MAP_FAILED) {
            free(pin);
            pin = NULL;
        }
    }
    close(fd);
    if (pin)
        loaded = parse(pin, out);
    pin_unref(&pin); /* the layer's parts hold it now, if there are any */
    if (!loaded)
        unlinkat(dirfd, name, 0); /* whatever it is, it is in the way of a good one */
    return loaded;
}

/* Removes the oldest files until `bytes` more fit. What a worker has mapped stays with it. */
static void make_room(int dirfd, uint64_t bytes)
{
    for (;;) {
        char oldest[NAME] = "";
        struct timespec time = {0};
        uint64_t sum = bytes;
        int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), n = 0;
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir) {
            if (fd >= 0)
                close(fd);
            return;
        }
        for (struct dirent *entry; (entry = readdir(dir)) && n < MAX_FILES;) {
            struct stat st;
            if (entry->d_name[0] == '.' || strlen(entry->d_name) >= NAME ||
                fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                continue;
            n++;
            sum += (uint64_t)st.st_size;
            if (!oldest[0] || st.st_mtim.tv_sec < time.tv_sec ||
                (st.st_mtim.tv_sec == time.tv_sec && st.st_mtim.tv_nsec < time.tv_nsec)) {
                memcpy(oldest, entry->d_name, strlen(entry->d_name) + 1);
                time = st.st_mtim;
            }
        }
        closedir(dir);
        if (sum <= LAYER_FILES_BYTES || !oldest[0] || unlinkat(dirfd, oldest, 0) < 0)
            return;
    }
}

static bool write_all(int fd, const char *data, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, data + done, len - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            return false;
    }
    return true;
}

bool layer_file_save(int dirfd, const struct layer_key *key, const struct layer *layer)
{
    static const char zeros[ALIGN];
    struct head head = {.degrees = layer->degrees};
    char name[NAME], half[NAME];
    struct mg_buf out;
    if (!name_of(key, name))
        return false;
    mg_buf_init(&out, LAYER_FILES_BYTES / 2);
    mg_buf_put(&out, &head, sizeof head);
    mg_table_store(layer->table, &out);
    head.table_bytes = out.len - sizeof head;
    mg_buf_put(&out, zeros, aligned(out.len) - out.len);
    size_t before = out.len;
    if (layer->index)
        mg_rtree_store(layer->index, &out);
    head.index_bytes = out.len - before;
    head.file_bytes = out.len;
    memcpy(head.magic, magic, sizeof magic);
    bool ok = !out.failed;
    if (ok) {
        memcpy(out.data, &head, sizeof head);
        make_room(dirfd, out.len);
        snprintf(half, sizeof half, "half-%d", (int)getpid());
        unlinkat(dirfd, half, 0);
        int fd = openat(dirfd, half, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        ok = fd >= 0 && write_all(fd, out.data, out.len) && renameat(dirfd, half, dirfd, name) == 0;
        if (!ok)
            mg_log_warn("a layer is not kept for other workers: %s", strerror(errno));
        if (fd >= 0)
            close(fd);
        if (!ok)
            unlinkat(dirfd, half, 0);
    }
    mg_buf_fini(&out);
    return ok;
}
