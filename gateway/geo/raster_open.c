/* Open raster datasets and the cache of decoded chunks.
 *
 * A chunk is a rectangle of one band at one level, decoded into the file's sample type with its
 * validity; its sides follow the file's blocks. Chunks are found by hash and dropped by age of use
 * beyond 64 MB; a file that changed (size or mtime) receives a new serial, so its old chunks are never
 * found again. A warm read does no GDAL call. Where a level is still much finer than asked, chunks
 * are thinned while they are read (`factor`), with average, pick or majority, so that memory does
 * not grow with the file.
 *
 * Invariant: a chunk's samples are never changed once it is in the table; a window copies out of it
 * at once. */
#include "geo/raster_open.h"
#include "moongate/gdal.h"
#include "geo/raster_strip.h"
#include "geo/thin.h"

#include <cpl_conv.h>
#include <cpl_error.h>
#include <cpl_vsi.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum {
    MAX_SOURCES = 32,
    BUCKETS = 4096,
    CHUNK_SIDE = 256,
    MAX_STRIP_WIDTH = 2048,
};
static const size_t max_chunk_bytes_held = (size_t)64 << 20;
static const double max_block_bytes = 256e6;

struct chunk {
    uint64_t serial;
    int band, level, factor, cx, cy, kind;
    int w, h;
    uint8_t *data;
    uint8_t *mask; /* NULL: all valid */
    size_t bytes;
    struct chunk *next;          /* in its bucket */
    struct chunk *newer, *older; /* by age of use */
};

static struct chunk *buckets[BUCKETS], *newest, *oldest;
static struct mg_chunk_stats stats;

static struct {
    char *path;
    int64_t size, mtime_s, mtime_ns;
    uint64_t used;
    struct mg_source *source;
} sources[MAX_SOURCES];
static uint64_t clock_of_use, last_serial;

struct mg_chunk_stats mg_source_chunk_stats(void)
{
    return stats;
}

static void source_free(struct mg_source *s)
{
    if (!s)
        return;
    if (s->dataset)
        GDALClose(s->dataset);
    free(s->crs);
    free(s);
}

static const struct {
    GDALDataType type;
    enum mg_sample sample;
} types[] = {
    {GDT_Byte, MG_U8},
    {GDT_UInt16, MG_U16},
    {GDT_Int16, MG_I16},
    {GDT_UInt32, MG_U32},
    {GDT_Int32, MG_I32},
    {GDT_Float32, MG_F32},
    {GDT_Float64, MG_F64},
    /* 53 bits are kept of 64-bit numbers. */
    {GDT_UInt64, MG_F64},
    {GDT_Int64, MG_F64},
};

static int sample_of(GDALDataType type)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].type == type)
            return (int)types[i].sample;
    return -1;
}

/* What GDAL is asked to fill; MG_I8 is read as bytes, which is what GDAL 3.6 calls it. */
static GDALDataType type_of(enum mg_sample sample)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].sample == sample)
            return types[i].type;
    return GDT_Byte;
}

static bool is_signed_byte(GDALRasterBandH band)
{
    const char *pixel = GDALGetMetadataItem(band, "PIXELTYPE", "IMAGE_STRUCTURE");
    return pixel && strcasecmp(pixel, "SIGNEDBYTE") == 0;
}

double mg_crs_period(const char *crs)
{
    OGRSpatialReferenceH srs;
    if (!crs)
        return 0;
    if (strcasecmp(crs, "EPSG:3857") == 0)
        return 2 * MG_MERC_MAX;
    if (strcasecmp(crs, "EPSG:4326") == 0)
        return 360;
    if (mg_crs_parse(crs, &srs, NULL) != MG_OK)
        return 0;
    double period = 0;
    if (OSRIsGeographic(srs)) {
        double unit = OSRGetAngularUnits(srs, NULL);
        period = unit > 0 ? 2 * M_PI / unit : 360;
    }
    OSRRelease(srs);
    return period;
}

static int round_up(int n, int unit)
{
    return (int)(((int64_t)n + unit - 1) / unit * unit);
}

/* Chunks of whole blocks, near 256 x 256; a file of strips receives its whole width while that is
 * small. */
static enum mg_err level_of(struct mg_source *s, GDALRasterBandH band, int overview,
                            const char *name, struct mg_errmsg *err)
{
    int block_w, block_h;
    struct mg_level *level = &s->levels[s->n_levels];
    GDALGetBlockSize(band, &block_w, &block_h);
    double block_bytes = (double)block_w * block_h * (double)mg_sample_bytes(s->sample);
    if (block_w < 1 || block_h < 1 || block_bytes > max_block_bytes)
        return mg_err_set(err, MG_E_BAD_FILE,
                          "%s has blocks of %d x %d pixels, too large to read: gdal_translate -of "
                          "COG in.tif out.tif",
                          name, block_w, block_h);
    level->width = GDALGetRasterBandXSize(band);
    level->height = GDALGetRasterBandYSize(band);
    if (level->width < 1 || level->height < 1)
        return mg_err_set(err, MG_E_BAD_FILE, "%s has an empty overview", name);
    level->x_ratio = (double)s->width / level->width;
    level->y_ratio = (double)s->height / level->height;
    level->overview = overview;
    level->chunk_w = block_w <= 1024 ? round_up(CHUNK_SIDE, block_w) : MAX_STRIP_WIDTH;
    if (level->chunk_w > level->width || (block_w == level->width && block_w <= MAX_STRIP_WIDTH))
        level->chunk_w = level->width <= MAX_STRIP_WIDTH ? level->width : MAX_STRIP_WIDTH;
    level->chunk_h = block_h <= 1024 ? round_up(CHUNK_SIDE, block_h) : 1024;
    if (level->chunk_h > level->height)
        level->chunk_h = level->height;
    s->n_levels++;
    return MG_OK;
}

static void read_crs(struct mg_source *s)
{
    char text[4096];
    OGRSpatialReferenceH srs = GDALGetSpatialRef(s->dataset);
    if (srs && mg_crs_text(srs, text, sizeof text))
        s->crs = strdup(text);
}

static enum mg_err source_open(const char *path, const char *name, struct mg_source **out,
                               struct mg_errmsg *err)
{
    struct mg_source *s = calloc(1, sizeof *s);
    if (!s)
        return mg_err_set(err, MG_E_NOMEM, "no memory for a dataset");
    enum mg_err code = mg_gdal_open(path, GDAL_OF_RASTER, NULL, &s->dataset, err);
    if (code != MG_OK)
        goto out;
    code = MG_E_BAD_FILE;
    snprintf(s->driver, sizeof s->driver, "%s",
             GDALGetDriverShortName(GDALGetDatasetDriver(s->dataset)));
    s->width = GDALGetRasterXSize(s->dataset);
    s->height = GDALGetRasterYSize(s->dataset);
    s->bands = GDALGetRasterCount(s->dataset);
    if (s->bands < 1 || s->width < 1 || s->height < 1) {
        mg_err_set(err, code, "%s holds no raster bands (%s)", name, s->driver);
        goto out;
    }
    GDALDataType type = GDT_Unknown;
    int i8 = 0;
    for (int i = 1; i <= s->bands; i++) {
        GDALRasterBandH band = GDALGetRasterBand(s->dataset, i);
        type = i == 1 ? GDALGetRasterDataType(band)
                      : GDALDataTypeUnion(type, GDALGetRasterDataType(band));
        i8 += is_signed_byte(band);
    }
    int sample = sample_of(type);
    if (sample < 0 || (i8 && i8 != s->bands)) {
        mg_err_set(err, code, "%s has samples of type %s, which is not read", name,
                   GDALGetDataTypeName(type));
        goto out;
    }
    s->sample = i8 ? MG_I8 : (enum mg_sample)sample;
    s->alpha =
        GDALGetRasterColorInterpretation(GDALGetRasterBand(s->dataset, s->bands)) == GCI_AlphaBand;
    s->has_georef = GDALGetGeoTransform(s->dataset, s->geotransform) == CE_None &&
                    GDALInvGeoTransform(s->geotransform, s->inverse);
    if (!s->has_georef) {
        static const double identity[6] = {0, 1, 0, 0, 0, 1};
        memcpy(s->geotransform, identity, sizeof identity);
        memcpy(s->inverse, identity, sizeof identity);
    }
    read_crs(s);
    s->period = mg_crs_period(s->crs);
    s->global =
        s->period > 0 && s->geotransform[2] == 0 &&
        fabs(fabs(s->geotransform[1]) * s->width - s->period) < fabs(s->geotransform[1]) / 2;
    GDALRasterBandH first = GDALGetRasterBand(s->dataset, 1);
    if ((code = level_of(s, first, -1, name, err)) != MG_OK)
        goto out;
    int overviews = GDALGetOverviewCount(first);
    for (int i = 0; i < overviews && s->n_levels < MG_SOURCE_MAX_LEVELS; i++) {
        GDALRasterBandH band = GDALGetOverview(first, i);
        /* Only those that become coarser; a file may hold them in any order. */
        if (band && GDALGetRasterBandXSize(band) < s->levels[s->n_levels - 1].width &&
            (code = level_of(s, band, i, name, err)) != MG_OK)
            goto out;
    }
    code = MG_OK;
out:
    if (code != MG_OK) {
        source_free(s);
        return code;
    }
    s->serial = ++last_serial;
    *out = s;
    return MG_OK;
}

enum mg_err mg_source_get(const char *path, struct mg_source **out, struct mg_errmsg *err)
{
    char name[256];
    VSIStatBufL st;
    struct mg_gdal_errors errors;
    mg_gdal_user_name(path, name, sizeof name);
    if (path[0] != '/')
        return mg_err_set(err, MG_E_BAD_FILE, "%s is not a file's name", name);
    mg_gdal_errors_begin(&errors);
    int missing =
        VSIStatExL(path, &st, VSI_STAT_EXISTS_FLAG | VSI_STAT_NATURE_FLAG | VSI_STAT_SIZE_FLAG);
    mg_gdal_errors_end();
    if (missing)
        return mg_gdal_missing(path, name, err);
    size_t victim = 0;
    for (size_t i = 0; i < MAX_SOURCES; i++) {
        if (sources[i].path && strcmp(sources[i].path, path) == 0) {
            if (sources[i].size == st.st_size && sources[i].mtime_s == st.st_mtim.tv_sec &&
                sources[i].mtime_ns == st.st_mtim.tv_nsec) {
                sources[i].used = ++clock_of_use;
                *out = sources[i].source;
                return MG_OK;
            }
            victim = i;
            break;
        }
        if (sources[i].used < sources[victim].used)
            victim = i;
    }
    source_free(sources[victim].source);
    free(sources[victim].path);
    sources[victim].source = NULL;
    sources[victim].path = NULL;
    sources[victim].used = 0;

    struct mg_source *source = NULL;
    mg_gdal_errors_begin(&errors);
    enum mg_err code = source_open(path, name, &source, err);
    mg_gdal_errors_end();
    char *copy = code == MG_OK ? strdup(path) : NULL;
    if (!copy) {
        source_free(source);
        return code != MG_OK ? code : mg_err_set(err, MG_E_NOMEM, "no memory for a dataset");
    }
    sources[victim].path = copy;
    sources[victim].size = st.st_size;
    sources[victim].mtime_s = st.st_mtim.tv_sec;
    sources[victim].mtime_ns = st.st_mtim.tv_nsec;
    sources[victim].source = source;
    sources[victim].used = ++clock_of_use;
    *out = source;
    return MG_OK;
}

/* --- chunks --- */

struct key {
    uint64_t serial;
    int band, level, factor, kind, cx, cy;
};

static size_t bucket_of(const struct key *k)
{
    uint64_t h = k->serial * 0x9E3779B97F4A7C15u;
    h = (h ^ (uint64_t)(unsigned)k->cx) * 0xBF58476D1CE4E5B9u;
    h = (h ^ (uint64_t)(unsigned)k->cy) * 0x94D049BB133111EBu;
    h = (h ^ (uint64_t)(unsigned)(k->band * 64 + k->level)) * 0x9E3779B97F4A7C15u;
    h = (h ^ (uint64_t)(unsigned)(k->factor * 4 + k->kind)) * 0xBF58476D1CE4E5B9u;
    return (size_t)(h >> 40) % BUCKETS;
}

static void unlink_age(struct chunk *c)
{
    *(c->newer ? &c->newer->older : &newest) = c->older;
    *(c->older ? &c->older->newer : &oldest) = c->newer;
}

static void link_newest(struct chunk *c)
{
    c->newer = NULL;
    c->older = newest;
    *(newest ? &newest->newer : &oldest) = c;
    newest = c;
}

static struct chunk *chunk_find(const struct key *k)
{
    for (struct chunk *c = buckets[bucket_of(k)]; c; c = c->next) {
        if (c->serial == k->serial && c->cx == k->cx && c->cy == k->cy && c->band == k->band &&
            c->level == k->level && c->factor == k->factor && c->kind == k->kind) {
            if (c != newest) {
                unlink_age(c);
                link_newest(c);
            }
            return c;
        }
    }
    return NULL;
}

static void chunk_free(struct chunk *c)
{
    if (c) {
        free(c->data);
        free(c->mask);
        free(c);
    }
}

static void chunk_put(struct chunk *c)
{
    const struct key k = {c->serial, c->band, c->level, c->factor, c->kind, c->cx, c->cy};
    struct chunk **bucket = &buckets[bucket_of(&k)];
    c->next = *bucket;
    *bucket = c;
    link_newest(c);
    stats.bytes += c->bytes;
    stats.decoded++;
    while (stats.bytes > max_chunk_bytes_held && oldest != c) {
        struct chunk *old = oldest, **at;
        const struct key o = {old->serial, old->band, old->level, old->factor,
                              old->kind,   old->cx,   old->cy};
        for (at = &buckets[bucket_of(&o)]; *at != old; at = &(*at)->next)
            ;
        *at = old->next;
        unlink_age(old);
        stats.bytes -= old->bytes;
        chunk_free(old);
    }
}

/* What of a band's samples is no data. */
struct validity {
    bool has_nodata;
    double nodata;
    GDALRasterBandH mask; /* NULL: none */
};

static struct validity validity_of(const struct mg_source *s, GDALRasterBandH band)
{
    struct validity v = {false, 0, NULL};
    int has = 0, flags = GDALGetMaskFlags(band);
    if (flags == GMF_NODATA) {
        v.nodata = GDALGetRasterNoDataValue(band, &has);
        v.has_nodata = has;
        if (s->sample == MG_F32)
            v.nodata = (double)(float)v.nodata;
    } else if (!(flags & GMF_ALL_VALID)) {
        v.mask = GDALGetMaskBand(band);
    }
    return v;
}

/* Writes 1 where a sample is data; returns how many are not. */
static size_t find_valid(const struct mg_source *s, const struct validity *v, const uint8_t *data,
                         const uint8_t *gdal_mask, uint8_t *valid, size_t n)
{
    size_t missing = 0;
    size_t bytes = mg_sample_bytes(s->sample);
    for (size_t at = 0; at < n; at += MG_STRIP) {
        union mg_strip x;
        int k = n - at < MG_STRIP ? (int)(n - at) : MG_STRIP;
        mg_samples_to_double(s->sample, data + at * bytes, x.d, k);
        for (int i = 0; i < k; i++) {
            uint8_t ok = x.d[i] == x.d[i] && !(v->has_nodata && x.d[i] == v->nodata) &&
                         (!gdal_mask || gdal_mask[at + (size_t)i]);
            valid[at + (size_t)i] = ok;
            missing += !ok;
        }
    }
    return missing;
}

/* Reads w x h pixels at x, y of the level's own grid into data and (when given) the mask. Returns
 * the number of invalid pixels, or -1. */
static int64_t read_pixels(const struct mg_source *s, GDALRasterBandH band,
                           const struct validity *v, int x, int y, int w, int h, int to_w, int to_h,
                           uint8_t *data, uint8_t *scratch, uint8_t *valid)
{
    size_t n = (size_t)to_w * (size_t)to_h;
    if (GDALRasterIO(band, GF_Read, x, y, w, h, data, to_w, to_h, type_of(s->sample), 0, 0) !=
        CE_None)
        return -1;
    if (v->mask &&
        GDALRasterIO(v->mask, GF_Read, x, y, w, h, scratch, to_w, to_h, GDT_Byte, 0, 0) != CE_None)
        return -1;
    if (!v->mask && !v->has_nodata && !mg_sample_is_float(s->sample)) {
        memset(valid, 1, n);
        return 0;
    }
    return (int64_t)find_valid(s, v, data, v->mask ? scratch : NULL, valid, n);
}

/* Thinned: rows of `factor` pixels are read and reduced one after the other. Where factor is above
 * 16, GDAL itself skips pixels first, so that a chunk costs at most 4096 x 4096 samples. */
static int64_t read_thinned(const struct mg_source *s, GDALRasterBandH band,
                            const struct validity *v, const struct mg_level *level,
                            const struct key *k, int x, int y, int w, int h, uint8_t *data,
                            uint8_t *valid)
{
    int skip = k->factor > 16 ? k->factor / 16 : 1, f = k->factor / skip;
    size_t bytes = mg_sample_bytes(s->sample), row = (size_t)w * (size_t)f;
    int64_t missing = -1;
    uint8_t *samples = malloc(row * (size_t)f * bytes), *mask = malloc(row * (size_t)f),
            *scratch = malloc(row * (size_t)f);
    if (!samples || !mask || !scratch)
        goto out;
    missing = 0;
    for (int j = 0; j < h && missing >= 0; j++) {
        int64_t x0 = (int64_t)x * k->factor, y0 = (int64_t)(y + j) * k->factor;
        int64_t x1 = x0 + (int64_t)w * k->factor, y1 = y0 + k->factor;
        x1 = x1 < level->width ? x1 : level->width;
        y1 = y1 < level->height ? y1 : level->height;
        int in_w = (int)((x1 - x0 + skip - 1) / skip), in_h = (int)((y1 - y0 + skip - 1) / skip);
        if (read_pixels(s, band, v, (int)x0, (int)y0, (int)(x1 - x0), (int)(y1 - y0), in_w, in_h,
                        samples, scratch, mask) < 0) {
            missing = -1;
            break;
        }
        missing +=
            mg_thin_row(s->sample, samples, mask, in_w, in_h, f, (enum mg_thin)k->kind,
                        data + (size_t)j * (size_t)w * bytes, valid + (size_t)j * (size_t)w, w);
    }
out:
    free(samples);
    free(mask);
    free(scratch);
    return missing;
}

static enum mg_err chunk_load(struct mg_source *s, const char *path, const struct key *k,
                              struct chunk **out, struct mg_errmsg *err)
{
    const struct mg_level *level = &s->levels[k->level];
    int level_w = (level->width + k->factor - 1) / k->factor,
        level_h = (level->height + k->factor - 1) / k->factor;
    int x = k->cx * level->chunk_w, y = k->cy * level->chunk_h;
    int w = level_w - x < level->chunk_w ? level_w - x : level->chunk_w;
    int h = level_h - y < level->chunk_h ? level_h - y : level->chunk_h;
    size_t n = (size_t)w * (size_t)h, bytes = mg_sample_bytes(s->sample);
    struct chunk *c = calloc(1, sizeof *c);
    uint8_t *scratch = malloc(n);
    struct mg_gdal_errors errors = {""};
    int64_t missing = -1;
    bool memory = c && scratch && (c->data = malloc(n * bytes)) && (c->mask = malloc(n));
    if (memory) {
        mg_gdal_errors_begin(&errors);
        GDALRasterBandH band = GDALGetRasterBand(s->dataset, k->band);
        if (band && level->overview >= 0)
            band = GDALGetOverview(band, level->overview);
        if (band && (GDALGetRasterBandXSize(band) != level->width ||
                     GDALGetRasterBandYSize(band) != level->height))
            band = NULL;
        if (band) {
            struct validity v = validity_of(s, band);
            missing = k->factor == 1
                          ? read_pixels(s, band, &v, x, y, w, h, w, h, c->data, scratch, c->mask)
                          : read_thinned(s, band, &v, level, k, x, y, w, h, c->data, c->mask);
        }
        mg_gdal_errors_end();
    }
    free(scratch);
    if (missing < 0) {
        char name[256];
        chunk_free(c);
        if (!memory)
            return mg_err_set(err, MG_E_NOMEM, "no memory to read a raster");
        mg_gdal_user_name(path, name, sizeof name);
        return mg_err_set(err, MG_E_BAD_FILE, "%s cannot be read: %.240s", name,
                          errors.text[0] ? errors.text : "its bands or overviews differ in size");
    }
    if (missing == 0) {
        free(c->mask);
        c->mask = NULL;
    }
    c->serial = k->serial;
    c->band = k->band;
    c->level = k->level;
    c->factor = k->factor;
    c->kind = k->kind;
    c->cx = k->cx;
    c->cy = k->cy;
    c->w = w;
    c->h = h;
    c->bytes = sizeof *c + n * bytes + (c->mask ? n : 0);
    chunk_put(c);
    *out = c;
    return MG_OK;
}

/* Columns c0..c1 of chunk row r as working samples. */
static void copy_row(const struct mg_source *s, const struct chunk *c, int r, int c0, int n,
                     bool wide, void *plane, size_t at)
{
    size_t from = (size_t)r * (size_t)c->w + (size_t)c0;
    const uint8_t *data = c->data + from * mg_sample_bytes(s->sample);
    const uint8_t *mask = c->mask ? c->mask + from : NULL;
    if (wide) {
        double *to = (double *)plane + at;
        mg_samples_to_double(s->sample, data, to, n);
        for (int i = 0; mask && i < n; i++)
            to[i] = mask[i] ? to[i] : NAN;
    } else {
        float *to = (float *)plane + at;
        mg_samples_to_float(s->sample, data, to, n);
        for (int i = 0; mask && i < n; i++)
            to[i] = mask[i] ? to[i] : NAN;
    }
}

static int64_t floor_mod(int64_t a, int64_t n)
{
    return ((a % n) + n) % n;
}

/* The part of the window from its column `at` on, `n` columns that lie at `x` of the level. */
static enum mg_err copy_columns(struct mg_source *s, const char *path, const struct mg_window *win,
                                const int *bands, int n_bands, bool wide, void *const *planes,
                                int at, int n, int x, int y0, int y1, struct mg_errmsg *err)
{
    const struct mg_level *level = &s->levels[win->level];
    for (int cy = y0 / level->chunk_h; cy * level->chunk_h < y1; cy++) {
        for (int cx = x / level->chunk_w; cx * level->chunk_w < x + n; cx++) {
            for (int b = 0; b < n_bands; b++) {
                struct key k = {s->serial, bands[b], win->level, win->factor, 0, cx, cy};
                if (win->factor > 1)
                    k.kind = win->nearest ? MG_THIN_PICK : win->mode ? MG_THIN_MODE : MG_THIN_MEAN;
                struct chunk *c = chunk_find(&k);
                enum mg_err code = c ? MG_OK : chunk_load(s, path, &k, &c, err);
                if (code != MG_OK)
                    return code;
                int left = cx * level->chunk_w, top = cy * level->chunk_h;
                int from = x > left ? x : left, to = x + n < left + c->w ? x + n : left + c->w;
                int first = y0 > top ? y0 : top, last = y1 < top + c->h ? y1 : top + c->h;
                for (int y = first; y < last; y++)
                    copy_row(s, c, y - top, from - left, to - from, wide, planes[b],
                             (size_t)(y - win->y) * (size_t)win->w + (size_t)(at + from - x));
            }
        }
    }
    return MG_OK;
}

static void fill_nan(void *plane, size_t at, size_t n, bool wide)
{
    for (size_t i = at; i < at + n; i++) {
        if (wide)
            ((double *)plane)[i] = NAN;
        else
            ((float *)plane)[i] = NAN;
    }
}

enum mg_err mg_source_window(struct mg_source *s, const char *path, const struct mg_window *win,
                             const int *bands, int n_bands, bool wide, void *const *planes,
                             struct mg_errmsg *err)
{
    const struct mg_level *level = &s->levels[win->level];
    int level_w = (level->width + win->factor - 1) / win->factor;
    int level_h = (level->height + win->factor - 1) / win->factor;
    int64_t y0 = win->y > 0 ? win->y : 0,
            y1 = win->y + win->h < level_h ? win->y + win->h : level_h;
    /* A last pixel that is only partly covered by the file breaks the repetition by less than one
     * pixel. */
    int64_t x0 = win->x, x1 = win->x + win->w;
    if (!s->global) {
        x0 = x0 > 0 ? x0 : 0;
        x1 = x1 < level_w ? x1 : level_w;
    }
    bool inside = x0 == win->x && x1 == win->x + win->w && y0 == win->y && y1 == win->y + win->h;
    for (int b = 0; b < n_bands && !inside; b++)
        fill_nan(planes[b], 0, (size_t)win->w * (size_t)win->h, wide);
    if (y0 >= y1)
        return MG_OK;
    while (x0 < x1) {
        int64_t x = floor_mod(x0, level_w);
        int64_t n = x1 - x0 < level_w - x ? x1 - x0 : level_w - x;
        enum mg_err code = copy_columns(s, path, win, bands, n_bands, wide, planes,
                                        (int)(x0 - win->x), (int)n, (int)x, (int)y0, (int)y1, err);
        if (code != MG_OK)
            return code;
        x0 += n;
    }
    return MG_OK;
}
