/* Reading vectors: from a layer that the worker keeps whole, or through OGR where it is too large.
 *
 * A layer is kept with the index of its boxes; `where` is part of its key, since OGR evaluates it.
 * Bounds select the same rows both ways: whose geometry, not only its box, meets them
 * (mg_wkb_meets_box), in the order of the file. Cost of a kept layer: a stat, O(log n + rows read).
 */
#include "moongate/vector_read.h"

#include "layer_cache.h"
#include "layer_file.h"
#include "moongate/geometry.h"
#include "vector_open.h"

#include <cpl_conv.h>
#include <cpl_string.h>
#include <cpl_vsi.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEEP_FILE_BYTES = 128 << 20, KEEP_DECODED_BYTES = 64 << 20, READ_BYTES = 512 << 20 };

/* One or two boxes in the layer's CRS; `all` when they hold the whole layer. */
struct query {
    struct mg_bounds boxes[2];
    int n;
    bool all;
};

static struct mg_span geometry_at(const struct mg_table *table, int64_t row)
{
    const struct ArrowArray *column = table->batches[0].children[table->geometry];
    struct arrow_type type;
    if (!arrow_valid(column, row) ||
        !arrow_type_parse(table->schema.children[table->geometry]->format, &type))
        return (struct mg_span){NULL, 0};
    int64_t from = arrow_offset(&type, column->buffers[1], row);
    return (struct mg_span){(const char *)column->buffers[2] + from,
                            (size_t)(arrow_offset(&type, column->buffers[1], row + 1) - from)};
}

/* Bounds that reach over 180 degrees become two; those of several turns one. */
static int split(struct mg_bounds in, struct mg_bounds out[2])
{
    if (in.xmin > in.xmax)
        in.xmax += 360;
    if (in.xmax - in.xmin >= 360) {
        out[0] = (struct mg_bounds){-INFINITY, in.ymin, INFINITY, in.ymax};
        return 1;
    }
    out[0] = in;
    if (in.xmin < -180)
        out[1] = (struct mg_bounds){in.xmin + 360, in.ymin, in.xmax + 360, in.ymax};
    else if (in.xmax > 180)
        out[1] = (struct mg_bounds){in.xmin - 360, in.ymin, in.xmax - 360, in.ymax};
    else
        return 1;
    return 2;
}

/* `degrees` of the layer: what lies outside of it need not be transformed, and often could not be.
 */
static enum mg_err make_query(const struct mg_bounds *bounds, const char *crs,
                              const struct mg_bounds *degrees, struct query *out,
                              struct mg_errmsg *err)
{
    struct mg_bounds parts[2];
    struct mg_transform *transform;
    *out = (struct query){0};
    if (isnan(bounds->xmin) || isnan(bounds->xmax) || !(bounds->ymin <= bounds->ymax))
        return mg_err_set(err, MG_E_ARGUMENT,
                          "bounds are xmin, ymin, xmax, ymax in degrees, not %g, %g, %g, %g",
                          bounds->xmin, bounds->ymin, bounds->xmax, bounds->ymax);
    enum mg_err e = mg_transform_get("OGC:CRS84", crs, &transform, err);
    if (e)
        return e;
    int n = split(*bounds, parts);
    for (int i = 0; i < n; i++) {
        struct mg_bounds part = parts[i];
        if (part.xmin > degrees->xmax || part.xmax < degrees->xmin || part.ymin > degrees->ymax ||
            part.ymax < degrees->ymin)
            continue;
        if (part.xmin <= degrees->xmin && part.xmax >= degrees->xmax &&
            part.ymin <= degrees->ymin && part.ymax >= degrees->ymax) {
            out->all = true;
            return MG_OK;
        }
        if (transform) {
            part =
                (struct mg_bounds){fmax(part.xmin, degrees->xmin), fmax(part.ymin, degrees->ymin),
                                   fmin(part.xmax, degrees->xmax), fmin(part.ymax, degrees->ymax)};
            if ((e = mg_transform_bounds(transform, part, &part, err)))
                return e;
        }
        out->boxes[out->n++] = part;
    }
    return MG_OK;
}

/* A box in degrees around a box of the layer's CRS; the whole world where there is no telling. */
static struct mg_bounds to_degrees(struct mg_bounds box, const char *crs)
{
    static const struct mg_bounds world = {-INFINITY, -INFINITY, INFINITY, INFINITY};
    struct mg_transform *transform;
    struct mg_bounds out;
    if (!(box.xmin <= box.xmax))
        return box;
    if (mg_transform_get(crs, "OGC:CRS84", &transform, NULL))
        return world;
    if (!transform)
        return box;
    if (mg_transform_bounds(transform, box, &out, NULL) || out.xmin > out.xmax)
        return world;
    /* What densified edges miss. */
    double dx = (out.xmax - out.xmin) * 0.01, dy = (out.ymax - out.ymin) * 0.01;
    return (struct mg_bounds){out.xmin - dx, out.ymin - dy, out.xmax + dx, out.ymax + dy};
}

struct hits {
    const struct mg_table *table;
    struct mg_bounds box;
    uint64_t *bits; /* of the rows */
};

static void on_hit(void *context, uint32_t row, bool whole)
{
    struct hits *hits = context;
    if (whole || mg_wkb_meets_box(geometry_at(hits->table, row), hits->box))
        hits->bits[row >> 6] |= UINT64_C(1) << (row & 63);
}

/* The few rows of a small tile, without touching a bit for each row of the layer. */
struct few {
    const struct mg_table *table;
    struct mg_bounds box;
    int64_t *rows;
    size_t n, cap; /* n > cap: too many */
};

static void on_few(void *context, uint32_t row, bool whole)
{
    struct few *few = context;
    if (few->n > few->cap || !(whole || mg_wkb_meets_box(geometry_at(few->table, row), few->box)))
        return;
    if (few->n < few->cap)
        few->rows[few->n] = row;
    few->n++;
}

static int by_row(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Rows that meet the query, ascending. */
static enum mg_err find_rows(const struct layer *layer, const struct query *query, int64_t **out,
                             int64_t *n_out, struct mg_errmsg *err)
{
    enum { FEW = 2048 };
    const struct mg_table *table = layer->table;
    struct few few = {.table = table, .rows = malloc(FEW * sizeof *few.rows), .cap = FEW};
    if (!few.rows)
        return mg_err_set(err, MG_E_NOMEM, "out of memory for row numbers");
    for (int i = 0; i < query->n; i++) {
        few.box = query->boxes[i];
        mg_rtree_query(layer->index, query->boxes[i], on_few, &few);
    }
    if (few.n <= few.cap) {
        size_t n = 0;
        qsort(few.rows, few.n, sizeof *few.rows, by_row);
        for (size_t i = 0; i < few.n; i++)
            if (n == 0 || few.rows[n - 1] != few.rows[i])
                few.rows[n++] = few.rows[i];
        *out = few.rows;
        *n_out = (int64_t)n;
        return MG_OK;
    }
    free(few.rows);
    size_t words = (size_t)table->rows / 64 + 1;
    struct hits hits = {.table = table, .bits = calloc(words, sizeof *hits.bits)};
    int64_t n = 0, *rows = NULL;
    if (hits.bits) {
        for (int i = 0; i < query->n; i++) {
            hits.box = query->boxes[i];
            mg_rtree_query(layer->index, query->boxes[i], on_hit, &hits);
        }
        for (size_t w = 0; w < words; w++)
            n += __builtin_popcountll(hits.bits[w]);
        rows = malloc((size_t)(n + 1) * sizeof *rows);
    }
    if (!rows) {
        free(hits.bits);
        return mg_err_set(err, MG_E_NOMEM, "out of memory for row numbers");
    }
    n = 0;
    for (size_t w = 0; w < words; w++)
        for (uint64_t bits = hits.bits[w]; bits; bits &= bits - 1)
            rows[n++] = (int64_t)w * 64 + __builtin_ctzll(bits);
    free(hits.bits);
    *out = rows;
    *n_out = n;
    return MG_OK;
}

/* Indices of the asked columns, the geometry last unless it was named. NULL in `out`: all. */
static enum mg_err pick_columns(const struct mg_table *table, const char *const *columns,
                                const char *name, int **out, int *n_out, struct mg_errmsg *err)
{
    int n = 0;
    bool geometry = table->geometry < 0;
    *out = NULL;
    *n_out = 0;
    if (!columns)
        return MG_OK;
    while (columns[n])
        n++;
    int *picked = malloc(((size_t)n + 1) * sizeof *picked);
    if (!picked)
        return mg_err_set(err, MG_E_NOMEM, "out of memory for columns");
    for (int i = 0; i < n; i++) {
        picked[i] = mg_table_column(table, mg_span(columns[i]));
        if (picked[i] < 0) {
            char list[320] = "";
            for (int64_t c = 0; c < table->schema.n_children; c++) {
                size_t len = strlen(list);
                snprintf(list + len, sizeof list - len, "%s%s", len ? ", " : "",
                         table->schema.children[c]->name);
            }
            free(picked);
            return mg_err_set(err, MG_E_ARGUMENT, "%.100s has no column %.60s (columns: %s)", name,
                              columns[i], list);
        }
        geometry |= picked[i] == table->geometry;
    }
    if (!geometry)
        picked[n++] = table->geometry;
    *out = picked;
    *n_out = n;
    return MG_OK;
}

/* Rows and columns of a whole layer, as the options say. */
static enum mg_err select_from(const struct layer *layer, const char *name,
                               const struct mg_vector_options *options, struct mg_table **out,
                               struct mg_errmsg *err)
{
    struct mg_table *table = layer->table;
    int64_t *rows = NULL, n = table->rows;
    int *columns = NULL, n_columns = 0;
    struct query query = {.all = true};
    enum mg_err e = pick_columns(table, options->columns, name, &columns, &n_columns, err);
    if (e)
        return e;
    if (options->degrees) {
        if (table->geometry < 0)
            e = mg_err_set(err, MG_E_ARGUMENT, "%s has no geometry: read it without bounds", name);
        else
            e = make_query(options->degrees, table->crs, &layer->degrees, &query, err);
        /* All, but rows without a geometry lie nowhere. */
        if (!e && query.all && (int64_t)mg_rtree_count(layer->index) < n) {
            query = (struct query){.n = 1, .boxes = {mg_rtree_bounds(layer->index)}};
        }
        if (!e && !query.all)
            e = find_rows(layer, &query, &rows, &n, err);
    }
    if (!e && options->limit > 0 && n > options->limit) {
        n = options->limit;
        if (!rows && (rows = malloc((size_t)n * sizeof *rows)))
            for (int64_t i = 0; i < n; i++)
                rows[i] = i;
        if (!rows)
            e = mg_err_set(err, MG_E_NOMEM, "out of memory for row numbers");
    }
    if (!e && options->max_rows > 0 && n > options->max_rows)
        e = mg_err_set(err, MG_E_UDF_OUTPUT,
                       "%s has %lld rows here, more than %lld: read less by bounds, where or "
                       "limit",
                       name, (long long)n, (long long)options->max_rows);
    if (!e && !rows && !columns)
        *out = mg_table_ref(table);
    else if (!e)
        e = mg_table_take(table, rows, n, columns, n_columns, out, err);
    free(rows);
    free(columns);
    return e;
}

/* Completes a layer around its table: the index. */
static enum mg_err index_layer(struct layer *layer, struct mg_errmsg *err)
{
    struct mg_table *table = layer->table;
    layer->bytes = table_bytes(table);
    if (table->geometry < 0)
        return MG_OK;
    struct mg_bounds *boxes = malloc(((size_t)table->rows + 1) * sizeof *boxes);
    if (boxes && table->rows < UINT32_MAX) {
        for (int64_t i = 0; i < table->rows; i++)
            if (!mg_wkb_bounds(geometry_at(table, i), &boxes[i]))
                boxes[i] = (struct mg_bounds){1, 1, 0, 0};
        layer->index = mg_rtree_new(boxes, (uint32_t)table->rows);
    }
    free(boxes);
    if (!layer->index)
        return mg_err_set(err, MG_E_NOMEM, "out of memory for a spatial index");
    layer->bytes += mg_rtree_bytes(layer->index);
    layer->degrees = table->crs ? to_degrees(mg_rtree_bounds(layer->index), table->crs)
                                : mg_rtree_bounds(layer->index);
    return MG_OK;
}

/* A geometry without a CRS lies nowhere. */
static enum mg_err need_crs(const struct vector_source *source, struct mg_errmsg *err)
{
    if (source->geometry[0] && !source->crs[0])
        return mg_err_set(err, MG_E_NO_CRS, "%s has no CRS: name it, source_crs = \"EPSG:…\"",
                          source->name);
    return MG_OK;
}

static void ignore_columns(struct vector_source *source, const char *const *columns,
                           const struct mg_vector_options *o)
{
    /* OGR evaluates a filter on columns that it reads: leave them all when there is one. */
    if (!columns || o->where || !OGR_L_TestCapability(source->layer, OLCIgnoreFields))
        return;
    char **ignored = NULL;
    OGRFeatureDefnH fields = OGR_L_GetLayerDefn(source->layer);
    for (int i = 0; i < OGR_FD_GetFieldCount(fields); i++) {
        const char *name = OGR_Fld_GetNameRef(OGR_FD_GetFieldDefn(fields, i));
        bool wanted = false;
        for (const char *const *c = columns; *c; c++)
            wanted |= strcmp(*c, name) == 0;
        if (!wanted)
            ignored = CSLAddString(ignored, name);
    }
    OGR_L_SetIgnoredFields(source->layer, (const char **)ignored);
    CSLDestroy(ignored);
}

/* What the filters let through becomes a layer of its own, from which the options select the rest.
 */
static enum mg_err read_through(struct vector_source *source,
                                const struct mg_vector_options *options, struct mg_table **out,
                                struct mg_errmsg *err)
{
    struct layer part = {0};
    if (options->degrees && source->geometry[0]) {
        OGREnvelope extent = {0};
        struct query query;
        struct mg_bounds degrees = {-INFINITY, -INFINITY, INFINITY, INFINITY};
        if (OGR_L_GetExtent(source->layer, &extent, 1) == OGRERR_NONE)
            degrees =
                to_degrees((struct mg_bounds){extent.MinX, extent.MinY, extent.MaxX, extent.MaxY},
                           source->crs);
        enum mg_err e = make_query(options->degrees, source->crs, &degrees, &query, err);
        if (e)
            return e;
        /* One rectangle around both parts: exact below. Outside of all: one that nothing meets. */
        struct mg_bounds box = query.n ? query.boxes[0]
                                       : (struct mg_bounds){extent.MaxX + 1e9, extent.MaxY + 1e9,
                                                            extent.MaxX + 2e9, extent.MaxY + 2e9};
        if (query.n == 2)
            box = (struct mg_bounds){
                fmin(box.xmin, query.boxes[1].xmin), fmin(box.ymin, query.boxes[1].ymin),
                fmax(box.xmax, query.boxes[1].xmax), fmax(box.ymax, query.boxes[1].ymax)};
        if (!query.all)
            OGR_L_SetSpatialFilterRect(source->layer, fmax(box.xmin, -1e30), fmax(box.ymin, -1e30),
                                       fmin(box.xmax, 1e30), fmin(box.ymax, 1e30));
    }
    ignore_columns(source, options->columns, options);
    enum mg_err e = vector_stream(source, options->limit > 0 ? 0 : options->max_rows, READ_BYTES,
                                  &part.table, err);
    if (e == MG_E_TOO_LARGE)
        e = MG_E_UDF_OUTPUT;
    if (!e)
        e = index_layer(&part, err);
    if (!e)
        e = select_from(&part, source->name, options, out, err);
    layer_fini(&part);
    return e;
}

/* Size and time of the file; false when it has none that can be trusted to change with it. */
static bool stat_key(const char *path, struct layer_key *key)
{
    VSIStatBufL st;
    if (VSIStatExL(path, &st, VSI_STAT_EXISTS_FLAG | VSI_STAT_NATURE_FLAG | VSI_STAT_SIZE_FLAG))
        return false;
    key->size = (int64_t)st.st_size;
    key->mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    size_t n = strlen(path);
    if (n > 4 && strcmp(path + n - 4, ".shp") == 0) { /* the attributes lie beside it */
        char *beside = strdup(path);
        if (!beside)
            return false;
        memcpy(beside + n - 3, "dbf", 3);
        if (!VSIStatExL(beside, &st,
                        VSI_STAT_EXISTS_FLAG | VSI_STAT_NATURE_FLAG | VSI_STAT_SIZE_FLAG)) {
            key->size += (int64_t)st.st_size << 20;
            key->mtime_ns ^= (int64_t)st.st_mtim.tv_sec * 1000000007 + st.st_mtim.tv_nsec;
        }
        free(beside);
    }
    return st.st_mtime != 0 && st.st_size <= KEEP_FILE_BYTES;
}

static int keep_dirfd = -1;

void mg_vector_keep_in(int dirfd)
{
    keep_dirfd = dirfd;
}

/* The layer moves into a file, where it is no memory of ours; or stays as it is. */
static void share(const struct layer_key *key, struct layer *layer)
{
    struct layer shared;
    if (keep_dirfd < 0 || layer->bytes < LAYER_FILE_MIN || !layer_file_save(keep_dirfd, key, layer) ||
        !layer_file_load(keep_dirfd, key, &shared))
        return;
    layer_fini(layer);
    *layer = shared;
    malloc_trim(0); /* what reading it took was a multiple of it */
}

enum mg_err mg_vector_read(const char *path, const struct mg_vector_options *options,
                           struct mg_table **out, struct mg_errmsg *err)
{
    struct layer_key key = {.path = path,
                            .layer = options->layer,
                            .where = options->where,
                            .source_crs = options->source_crs};
    struct vector_source source = {0};
    struct layer layer = {0};
    char name[256];
    bool keep = stat_key(path, &key);
    const struct layer *kept = keep ? layer_cache_get(&key) : NULL;
    mg_gdal_user_name(path, name, sizeof name);
    if (keep && !kept && keep_dirfd >= 0 && layer_file_load(keep_dirfd, &key, &layer)) {
        kept = layer_cache_put(&key, &layer);
        if (!kept)
            return mg_err_set(err, MG_E_NOMEM, "out of memory for a layer");
    }
    if (kept && !kept->too_big)
        return select_from(kept, name, options, out, err);
    enum mg_err e = vector_open(path, options->layer, options->source_crs, &source, err);
    if (e)
        return e;
    e = need_crs(&source, err);
    if (!e && options->where)
        e = vector_where(&source, options->where, err);
    if (e || !keep || kept)
        goto through;
    e = vector_stream(&source, 0, KEEP_DECODED_BYTES, &layer.table, err);
    if (e == MG_E_TOO_LARGE) {
        layer = (struct layer){.too_big = true};
        kept = layer_cache_put(&key, &layer);
        e = MG_OK;
        OGR_L_ResetReading(source.layer);
        goto through;
    }
    if (!e)
        e = index_layer(&layer, err);
    if (e) {
        layer_fini(&layer);
        goto out;
    }
    share(&key, &layer);
    kept = layer_cache_put(&key, &layer);
    e = kept ? select_from(kept, name, options, out, err)
             : mg_err_set(err, MG_E_NOMEM, "out of memory for a layer");
    goto out;
through:
    if (!e)
        e = read_through(&source, options, out, err);
out:
    vector_close(&source);
    return e;
}

enum mg_err mg_vector_info(const char *path, const char *layer, struct mg_vector_info *out,
                           struct mg_errmsg *err)
{
    struct vector_source source = {0};
    struct mg_vector_info info = {.degrees = {-180, -90, 180, 90}};
    OGREnvelope extent = {0};
    enum mg_err e = vector_open(path, layer, NULL, &source, err);
    if (e)
        return e;
    snprintf(info.driver, sizeof info.driver, "%s",
             GDALGetDriverShortName(GDALGetDatasetDriver(source.dataset)));
    snprintf(info.layer, sizeof info.layer, "%s", OGR_L_GetName(source.layer));
    snprintf(info.crs, sizeof info.crs, "%s", source.crs);
    info.rows = (int64_t)OGR_L_GetFeatureCount(source.layer, 0);
    vector_columns(&source, info.columns, sizeof info.columns);
    if (source.geometry[0] && source.crs[0] &&
        OGR_L_GetExtent(source.layer, &extent, 1) == OGRERR_NONE) {
        struct mg_bounds box = {extent.MinX, extent.MinY, extent.MaxX, extent.MaxY}, degrees;
        struct mg_transform *transform;
        if (!mg_transform_get(source.crs, "OGC:CRS84", &transform, NULL) &&
            !mg_transform_bounds(transform, box, &degrees, NULL))
            info.degrees = degrees;
    }
    vector_close(&source);
    *out = info;
    return MG_OK;
}
