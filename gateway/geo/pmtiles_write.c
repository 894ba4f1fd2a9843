/* Writing PMTiles version 3: clustered (tiles lie in the order of their numbers), the same bytes once, runs of one tile
 * as one entry, directories gzip.
 *
 * Where everything lies follows from the index alone, so that the file is written once, from start to end. Memory: some
 * 100 bytes a tile. */
#include "pmtiles.h"

#include <cpl_compressor.h>
#include <cpl_conv.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

struct plan {
    struct pmtiles_entry *entries;
    size_t n_entries, n_contents;
    const struct mg_spooled **contents; /* in the order of the file */
    uint64_t data_bytes;
};

static void put_varint(struct mg_buf *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        mg_buf_char(out, (char)(value | 0x80));
    mg_buf_char(out, (char)value);
}

/* Entries for all tiles; a table of hashes finds what is there already. */
static enum mg_err make_plan(const struct mg_spooled *tiles, size_t n, struct plan *plan)
{
    size_t slots = 64;
    while (slots < 2 * n)
        slots *= 2;
    struct slot {
        const struct mg_spooled *tile;
        uint64_t offset;
    } *table = calloc(slots, sizeof *table);
    *plan = (struct plan){.entries = calloc(n ? n : 1, sizeof *plan->entries),
                          .contents = calloc(n ? n : 1, sizeof *plan->contents)};
    if (!table || !plan->entries || !plan->contents) {
        free(table);
        return MG_E_NOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t at;
        memcpy(&at, tiles[i].hash.bytes, sizeof at);
        struct slot *slot = &table[at & (slots - 1)];
        while (slot->tile && !mg_hash_eq(&slot->tile->hash, &tiles[i].hash))
            slot = slot + 1 == table + slots ? table : slot + 1;
        if (!slot->tile) {
            *slot = (struct slot){&tiles[i], plan->data_bytes};
            plan->contents[plan->n_contents++] = &tiles[i];
            plan->data_bytes += tiles[i].bytes;
        }
        struct pmtiles_entry *last = plan->n_entries ? &plan->entries[plan->n_entries - 1] : NULL;
        if (last && last->offset == slot->offset && last->id + last->run == tiles[i].id)
            last->run++;
        else
            plan->entries[plan->n_entries++] = (struct pmtiles_entry){tiles[i].id, slot->offset, tiles[i].bytes, 1};
    }
    free(table);
    return MG_OK;
}

static enum mg_err put_gzip(struct mg_span in, struct mg_buf *out, struct mg_errmsg *err)
{
    const CPLCompressor *gzip = CPLGetCompressor("gzip");
    void *packed = NULL;
    size_t len = 0;
    if (!gzip || !gzip->pfnFunc(in.data, in.len, &packed, &len, NULL, gzip->user_data))
        return mg_err_set(err, MG_E_INTERNAL, "gzip of a directory failed");
    mg_buf_put(out, packed, len);
    VSIFree(packed);
    return MG_OK;
}

/* One directory, column by column. */
static enum mg_err put_directory(const struct pmtiles_entry *e, size_t n, struct mg_buf *out, struct mg_errmsg *err)
{
    struct mg_buf plain;
    mg_buf_init(&plain, 0);
    put_varint(&plain, n);
    for (size_t i = 0; i < n; i++)
        put_varint(&plain, e[i].id - (i ? e[i - 1].id : 0));
    for (size_t i = 0; i < n; i++)
        put_varint(&plain, e[i].run);
    for (size_t i = 0; i < n; i++)
        put_varint(&plain, e[i].bytes);
    for (size_t i = 0; i < n; i++) {
        bool follows = i && e[i].offset == e[i - 1].offset + e[i - 1].bytes;
        put_varint(&plain, follows ? 0 : e[i].offset + 1);
    }
    enum mg_err status = mg_buf_status(&plain, err);
    if (!status)
        status = put_gzip((struct mg_span){plain.data, plain.len}, out, err);
    mg_buf_fini(&plain);
    return status;
}

/* The root must end within the first 16 KB of the file; what does not fit goes to leaves, larger ones until it does. */
static enum mg_err put_directories(const struct plan *plan, struct mg_buf *root, struct mg_buf *leaves,
                                   struct mg_errmsg *err)
{
    enum mg_err status = put_directory(plan->entries, plan->n_entries, root, err);
    for (size_t each = 4096; !status && root->len > PMTILES_ROOT_END - PMTILES_HEADER; each += each / 4) {
        size_t n = (plan->n_entries + each - 1) / each;
        struct pmtiles_entry *pointers = calloc(n, sizeof *pointers);
        if (!pointers)
            return MG_E_NOMEM;
        root->len = leaves->len = 0;
        for (size_t i = 0; !status && i < n; i++) {
            size_t first = i * each, count = plan->n_entries - first < each ? plan->n_entries - first : each;
            uint64_t start = leaves->len;
            status = put_directory(plan->entries + first, count, leaves, err);
            pointers[i] = (struct pmtiles_entry){plan->entries[first].id, start, (uint32_t)(leaves->len - start), 0};
        }
        if (!status)
            status = put_directory(pointers, n, root, err);
        free(pointers);
    }
    return status;
}

static enum mg_err put_metadata(const struct mg_archive_info *info, struct mg_buf *out, struct mg_errmsg *err)
{
    static const char *const formats[] = {"", "pbf", "png", "jpg", "webp"};
    struct mg_buf json;
    mg_buf_init(&json, 0);
    mg_buf_str(&json, "{\"name\":");
    mg_buf_json_string(&json, info->name, strlen(info->name));
    mg_buf_str(&json, ",\"description\":");
    mg_buf_json_string(&json, info->description, strlen(info->description));
    mg_buf_printf(&json, ",\"format\":\"%s\",\"generator\":\"moongate " MG_VERSION "\"", formats[info->kind]);
    if (info->vector_layers)
        mg_buf_printf(&json, ",\"vector_layers\":%s", info->vector_layers);
    mg_buf_char(&json, '}');
    enum mg_err status = mg_buf_status(&json, err);
    if (!status)
        status = put_gzip((struct mg_span){json.data, json.len}, out, err);
    mg_buf_fini(&json);
    return status;
}

static void put_u64(struct mg_buf *out, uint64_t value)
{
    for (int i = 0; i < 8; i++, value >>= 8)
        mg_buf_char(out, (char)value);
}

static void put_degrees(struct mg_buf *out, double degrees)
{
    uint32_t value = (uint32_t)(int32_t)lround(degrees * 1e7);
    for (int i = 0; i < 4; i++, value >>= 8)
        mg_buf_char(out, (char)value);
}

static void put_header(const struct mg_archive_info *info, const struct plan *plan, uint64_t n_tiles, size_t root,
                       size_t metadata, size_t leaves, struct mg_buf *out)
{
    uint64_t sizes[] = {root, metadata, leaves, plan->data_bytes}, at = PMTILES_HEADER;
    mg_buf_put(out, "PMTiles\3", 8);
    for (int i = 0; i < 4; at += sizes[i++]) {
        put_u64(out, at);
        put_u64(out, sizes[i]);
    }
    put_u64(out, n_tiles);
    put_u64(out, plan->n_entries);
    put_u64(out, plan->n_contents);
    const char marks[] = {1, PMTILES_GZIP, info->gzip ? PMTILES_GZIP : PMTILES_PLAIN, (char)info->kind,
                          (char)info->minzoom, (char)info->maxzoom};
    mg_buf_put(out, marks, sizeof marks);
    put_degrees(out, info->bounds.xmin);
    put_degrees(out, info->bounds.ymin);
    put_degrees(out, info->bounds.xmax);
    put_degrees(out, info->bounds.ymax);
    mg_buf_char(out, (char)info->minzoom); /* of the centre */
    put_degrees(out, (info->bounds.xmin + info->bounds.xmax) / 2);
    put_degrees(out, (info->bounds.ymin + info->bounds.ymax) / 2);
    MG_ASSERT(out->failed || out->len == PMTILES_HEADER);
}

static enum mg_err write_all(int fd, const char *data, size_t len, struct mg_errmsg *err)
{
    while (len) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return mg_err_set(err, MG_E_IO, "writing the archive: %s", strerror(errno));
        data += n;
        len -= (size_t)n;
    }
    return MG_OK;
}

/* The tiles' bytes, gathered into large writes. */
static enum mg_err write_data(int fd, const struct plan *plan, int spool_fd, struct mg_errmsg *err)
{
    enum { GATHER = 4 << 20 };
    struct mg_buf gather;
    enum mg_err status = MG_OK;
    mg_buf_init(&gather, 0);
    for (size_t i = 0; !status && i < plan->n_contents; i++) {
        const struct mg_spooled *tile = plan->contents[i];
        char *room = mg_buf_room(&gather, tile->bytes);
        if (!room)
            status = MG_E_NOMEM;
        else if (pread(spool_fd, room, tile->bytes, (off_t)tile->offset) != (ssize_t)tile->bytes)
            status = mg_err_set(err, MG_E_IO, "reading the spool: %s", strerror(errno));
        else
            mg_buf_added(&gather, tile->bytes);
        if (!status && (gather.len >= GATHER || i + 1 == plan->n_contents)) {
            status = write_all(fd, gather.data, gather.len, err);
            gather.len = 0;
        }
    }
    mg_buf_fini(&gather);
    return status;
}

enum mg_err mg_pmtiles_write(int fd, const struct mg_archive_info *info, const struct mg_spooled *tiles, size_t n,
                             int spool_fd, struct mg_errmsg *err)
{
    struct plan plan;
    struct mg_buf head, root, metadata, leaves;
    struct mg_buf *parts[] = {&head, &root, &metadata, &leaves};
    if (n == 0)
        return mg_err_set(err, MG_E_INVALID, "all tiles are empty: there is nothing to write");
    for (int i = 0; i < 4; i++)
        mg_buf_init(parts[i], 0);
    enum mg_err status = make_plan(tiles, n, &plan);
    if (!status)
        status = put_directories(&plan, &root, &leaves, err);
    if (!status)
        status = put_metadata(info, &metadata, err);
    if (!status)
        put_header(info, &plan, n, root.len, metadata.len, leaves.len, &head);
    for (int i = 0; !status && i < 4; i++) {
        status = mg_buf_status(parts[i], err);
        if (!status)
            status = write_all(fd, parts[i]->data, parts[i]->len, err);
    }
    if (!status)
        status = write_data(fd, &plan, spool_fd, err);
    for (int i = 0; i < 4; i++)
        mg_buf_fini(parts[i]);
    free(plan.entries);
    free(plan.contents);
    return status;
}
