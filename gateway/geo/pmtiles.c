/* Reading PMTiles version 3: header, directories (found by bisection), tiles.
 *
 * The file is not trusted: offsets and counts are checked against the file and fixed limits before memory is taken. */
#include "pmtiles.h"

#include "moongate/gdal.h"

#include <cpl_compressor.h>
#include <cpl_vsi.h>
#include <stdlib.h>

enum { MAX_DIRECTORY = 16 << 20, MAX_DEPTH = 4, MAX_TILE = 64 << 20 };

/* One step of the Hilbert curve's recursion: turns the quadrant. */
static void turn(int64_t side, int64_t *x, int64_t *y, int64_t rx, int64_t ry)
{
    if (ry)
        return;
    if (rx) {
        *x = side - 1 - *x;
        *y = side - 1 - *y;
    }
    int64_t swap = *x;
    *x = *y;
    *y = swap;
}

/* (4^z - 1) / 3 tiles lie in the zooms before z. */
static uint64_t before(int z) { return ((1ull << (2 * z)) - 1) / 3; }

uint64_t mg_pmtiles_id(struct mg_tile tile)
{
    int64_t x = tile.x, y = tile.y, at = 0;
    for (int64_t s = (1ll << tile.z) / 2; s > 0; s /= 2) {
        int64_t rx = (x & s) > 0, ry = (y & s) > 0;
        at += s * s * ((3 * rx) ^ ry);
        turn(s, &x, &y, rx, ry);
        x &= s - 1;
        y &= s - 1;
    }
    return before(tile.z) + (uint64_t)at;
}

bool mg_pmtiles_tile(uint64_t id, struct mg_tile *out)
{
    int z = 0;
    while (z <= MG_TILE_MAX_ZOOM && id >= before(z + 1))
        z++;
    if (z > MG_TILE_MAX_ZOOM)
        return false;
    int64_t at = (int64_t)(id - before(z)), x = 0, y = 0;
    for (int64_t s = 1; s < 1ll << z; s *= 2) {
        int64_t rx = 1 & (at / 2), ry = 1 & (at ^ rx);
        turn(s, &x, &y, rx, ry);
        x += s * rx;
        y += s * ry;
        at /= 4;
    }
    *out = (struct mg_tile){z, (int32_t)x, (int32_t)y};
    return true;
}

struct mg_pmtiles {
    VSILFILE *file;
    uint64_t size, root[2], metadata[2], leaves[2], data[2]; /* offset, bytes */
    int internal; /* compression of directories and metadata */
    struct mg_archive_info info;
};

static uint64_t u64_at(const uint8_t *p)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | p[i];
    return value;
}

static double degrees_at(const uint8_t *p)
{
    int32_t value = (int32_t)((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
    return value / 1e7;
}

static enum mg_err damaged(struct mg_errmsg *err, const char *what)
{
    return mg_err_set(err, MG_E_BAD_FILE, "the PMTiles archive is damaged: %s", what);
}

/* Appends `bytes` from `offset`. */
static enum mg_err read_at(struct mg_pmtiles *a, uint64_t offset, uint64_t bytes, struct mg_buf *out, struct mg_errmsg *err)
{
    if (offset > a->size || bytes > a->size - offset)
        return damaged(err, "something lies beyond its end");
    char *room = mg_buf_room(out, bytes);
    if (!room)
        return MG_E_NOMEM;
    if (VSIFSeekL(a->file, offset, SEEK_SET) != 0 || VSIFReadL(room, 1, bytes, a->file) != bytes)
        return mg_err_set(err, MG_E_BAD_FILE, "the PMTiles archive cannot be read at %llu", (unsigned long long)offset);
    mg_buf_added(out, bytes);
    return MG_OK;
}

/* A directory or the metadata, decompressed. */
static enum mg_err read_inner(struct mg_pmtiles *a, uint64_t offset, uint64_t bytes, struct mg_buf *out,
                              struct mg_errmsg *err)
{
    struct mg_buf packed;
    if (bytes > MAX_DIRECTORY)
        return damaged(err, "a directory of more than 16 MB");
    if (a->internal == PMTILES_PLAIN)
        return read_at(a, offset, bytes, out, err);
    mg_buf_init(&packed, MAX_DIRECTORY + 1);
    enum mg_err status = read_at(a, offset, bytes, &packed, err);
    if (!status) {
        const uint8_t *end = (const uint8_t *)packed.data + packed.len;
        size_t size = packed.len < 18 ? 0 : (size_t)end[-4] | (size_t)end[-3] << 8 | (size_t)end[-2] << 16 | (size_t)end[-1] << 24;
        const CPLCompressor *gzip = CPLGetDecompressor("gzip");
        void *room = size && size <= MAX_DIRECTORY ? mg_buf_room(out, size) : NULL;
        size_t got = size;
        if (!gzip)
            status = mg_err_set(err, MG_E_BAD_FILE, "this GDAL has no gzip");
        else if (!room || !gzip->pfnFunc(packed.data, packed.len, &room, &got, NULL, gzip->user_data) || got != size)
            status = damaged(err, "a directory is not gzip");
        else
            mg_buf_added(out, got);
    }
    mg_buf_fini(&packed);
    return status;
}

static bool within(const struct mg_pmtiles *a, const uint64_t part[2])
{
    return part[0] <= a->size && part[1] <= a->size - part[0];
}

static enum mg_err read_header(struct mg_pmtiles *a, struct mg_errmsg *err)
{
    struct mg_buf head;
    mg_buf_init(&head, 0);
    if (a->size < PMTILES_HEADER)
        return mg_err_set(err, MG_E_BAD_FILE, "this is no PMTiles archive");
    enum mg_err status = read_at(a, 0, PMTILES_HEADER, &head, err);
    const uint8_t *p = (const uint8_t *)head.data;
    if (!status && memcmp(p, "PMTiles", 7) != 0)
        status = mg_err_set(err, MG_E_BAD_FILE, "this is no PMTiles archive");
    else if (!status && p[7] != 3)
        status = mg_err_set(err, MG_E_BAD_FILE, "PMTiles of version %d; version 3 can be read", p[7]);
    else if (!status && (p[97] < PMTILES_PLAIN || p[97] > PMTILES_GZIP || p[98] > PMTILES_GZIP))
        status = mg_err_set(err, MG_E_BAD_FILE, "PMTiles compressed by brotli or zstd cannot be read; gzip can");
    if (!status) {
        uint64_t *parts[] = {a->root, a->metadata, a->leaves, a->data};
        for (int i = 0; i < 4; i++) {
            parts[i][0] = u64_at(p + 8 + 16 * i);
            parts[i][1] = u64_at(p + 16 + 16 * i);
            if (!within(a, parts[i]))
                status = damaged(err, "a part lies beyond its end");
        }
        a->internal = p[97];
        a->info = (struct mg_archive_info){
            .kind = p[99] <= MG_TILES_WEBP ? (enum mg_tile_kind)p[99] : MG_TILES_UNKNOWN,
            .gzip = p[98] == PMTILES_GZIP,
            .minzoom = p[100],
            .maxzoom = p[101],
            .bounds = {degrees_at(p + 102), degrees_at(p + 106), degrees_at(p + 110), degrees_at(p + 114)},
        };
        if (!status && (p[100] > p[101] || p[101] > 31))
            status = damaged(err, "its zooms");
    }
    mg_buf_fini(&head);
    return status;
}

enum mg_err mg_pmtiles_open(const char *path, struct mg_pmtiles **out, struct mg_errmsg *err)
{
    VSIStatBufL st;
    VSILFILE *file = VSIFOpenL(path, "rb");
    if (!file || VSIStatL(path, &st) != 0) {
        if (file)
            VSIFCloseL(file);
        return mg_err_set(err, MG_E_NO_FILE, "%s cannot be opened", path);
    }
    struct mg_pmtiles *a = calloc(1, sizeof *a);
    MG_ASSERT(a);
    a->file = file;
    a->size = (uint64_t)st.st_size;
    enum mg_err status = read_header(a, err);
    if (status)
        mg_pmtiles_close(&a);
    else
        *out = a;
    return status;
}

void mg_pmtiles_close(struct mg_pmtiles **archive)
{
    if (!*archive)
        return;
    VSIFCloseL((*archive)->file);
    free(*archive);
    *archive = NULL;
}

const struct mg_archive_info *mg_pmtiles_info(const struct mg_pmtiles *archive) { return &archive->info; }

enum mg_err mg_pmtiles_metadata(struct mg_pmtiles *archive, struct mg_buf *out, struct mg_errmsg *err)
{
    return read_inner(archive, archive->metadata[0], archive->metadata[1], out, err);
}

struct cursor {
    const uint8_t *at, *end;
    bool bad;
};

static uint64_t varint(struct cursor *c)
{
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && c->at < c->end; shift += 7) {
        uint8_t byte = *c->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return value;
    }
    c->bad = true;
    return 0;
}

/* Column by column: ids, runs, lengths, offsets. Returns new. */
static struct pmtiles_entry *parse(struct mg_span bytes, size_t *n, struct mg_errmsg *err)
{
    struct cursor c = {(const uint8_t *)bytes.data, (const uint8_t *)bytes.data + bytes.len, false};
    uint64_t count = varint(&c), id = 0;
    struct pmtiles_entry *e = !c.bad && count && count <= bytes.len / 4 ? calloc(count, sizeof *e) : NULL;
    for (size_t i = 0; e && i < count; i++)
        e[i].id = id += varint(&c);
    for (size_t i = 0; e && i < count; i++)
        e[i].run = (uint32_t)varint(&c);
    for (size_t i = 0; e && i < count; i++)
        e[i].bytes = (uint32_t)varint(&c);
    for (size_t i = 0; e && i < count; i++) {
        uint64_t offset = varint(&c);
        c.bad |= !offset && !i;
        e[i].offset = offset || !i ? offset - 1 : e[i - 1].offset + e[i - 1].bytes;
    }
    if (!e || c.bad) {
        free(e);
        (void)damaged(err, "a directory");
        return NULL;
    }
    *n = count;
    return e;
}

/* The last entry that starts at or before the id; NULL. */
static const struct pmtiles_entry *find(const struct pmtiles_entry *e, size_t n, uint64_t id)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (e[middle].id <= id)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? &e[low - 1] : NULL;
}

enum mg_err mg_pmtiles_get(struct mg_pmtiles *archive, struct mg_tile tile, struct mg_buf *out, bool *found,
                           struct mg_errmsg *err)
{
    uint64_t id = mg_pmtiles_id(tile), at[2] = {archive->root[0], archive->root[1]};
    *found = false;
    for (int depth = 0; depth < MAX_DEPTH; depth++) {
        struct mg_buf bytes;
        size_t n = 0;
        mg_buf_init(&bytes, MAX_DIRECTORY + 1);
        enum mg_err status = read_inner(archive, at[0], at[1], &bytes, err);
        struct pmtiles_entry *list = status ? NULL : parse((struct mg_span){bytes.data, bytes.len}, &n, err);
        mg_buf_fini(&bytes);
        if (!list)
            return status ? status : MG_E_BAD_FILE;
        const struct pmtiles_entry *e = find(list, n, id);
        struct pmtiles_entry hit = e ? *e : (struct pmtiles_entry){.run = 1, .bytes = 0};
        free(list);
        if (!e || (hit.run && id - hit.id >= hit.run))
            return MG_OK;
        const uint64_t *part = hit.run ? archive->data : archive->leaves;
        if (hit.offset > part[1] || hit.bytes > part[1] - hit.offset)
            return damaged(err, "a tile lies beyond its end");
        if (hit.run) {
            if (hit.bytes > MAX_TILE)
                return damaged(err, "a tile of more than 64 MB");
            *found = true;
            return read_at(archive, part[0] + hit.offset, hit.bytes, out, err);
        }
        at[0] = part[0] + hit.offset;
        at[1] = hit.bytes;
    }
    return damaged(err, "its directories are nested too deeply");
}
