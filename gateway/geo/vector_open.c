/* Opening vector layers, and their Arrow stream as one table.
 *
 * GDAL's batches are validated like any foreign Arrow, then gathered into one batch of ours, which
 * also gives GDAL's over-allocated buffers back. Curves, TINs and the like become lines and
 * polygons. */
#include "vector_open.h"

#include "moongate/geometry.h"
#include "table_arrow.h"

#include <cpl_conv.h>
#include <cpl_string.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { MAX_BATCHES = 1 << 16 };

/* Arrow C stream interface, as its specification prints it; GDAL's header has it without the guards
 * that would let it stand beside table.h. */
struct ArrowArrayStream {
    int (*get_schema)(struct ArrowArrayStream *, struct ArrowSchema *out);
    int (*get_next)(struct ArrowArrayStream *, struct ArrowArray *out);
    const char *(*get_last_error)(struct ArrowArrayStream *);
    void (*release)(struct ArrowArrayStream *);
    void *private_data;
};

static void append(char *out, size_t size, const char *name)
{
    size_t len = strlen(out);
    if (len + 3 < size)
        snprintf(out + len, size - len, "%s%s", len ? ", " : "", name);
}

static void list_layers(GDALDatasetH dataset, char *out, size_t size)
{
    out[0] = '\0';
    for (int i = 0; i < GDALDatasetGetLayerCount(dataset); i++)
        append(out, size, OGR_L_GetName(GDALDatasetGetLayer(dataset, i)));
}

static enum mg_err pick_layer(struct vector_source *source, const char *layer,
                              struct mg_errmsg *err)
{
    char list[300];
    int n = GDALDatasetGetLayerCount(source->dataset);
    list_layers(source->dataset, list, sizeof list);
    if (n == 0)
        return mg_err_set(err, MG_E_BAD_FILE, "%s has no vector layer", source->name);
    if (layer && *layer) {
        source->layer = GDALDatasetGetLayerByName(source->dataset, layer);
        if (!source->layer)
            return mg_err_set(err, MG_E_ARGUMENT, "%s has no layer %s (layers: %s)", source->name,
                              layer, list);
        return MG_OK;
    }
    if (n > 1 && !layer)
        return mg_err_set(err, MG_E_ARGUMENT, "%s has %d layers, name one by the layer option: %s",
                          source->name, n, list);
    source->layer = GDALDatasetGetLayer(source->dataset, 0);
    return MG_OK;
}

/* The CRS of the layer's geometry, as GDAL knows it, as the format defines it, or as the caller
 * says. */
static void find_crs(struct vector_source *source, const char *source_crs)
{
    GDALDriverH driver = GDALGetDatasetDriver(source->dataset);
    OGRSpatialReferenceH crs = OGR_L_GetSpatialRef(source->layer);
    source->crs[0] = '\0';
    if (crs && mg_crs_text(crs, source->crs, sizeof source->crs))
        return;
    if (source_crs)
        snprintf(source->crs, sizeof source->crs, "%s", source_crs);
    else if (driver && strcmp(GDALGetDriverShortName(driver), "TopoJSON") == 0)
        snprintf(source->crs, sizeof source->crs, "OGC:CRS84");
}

static bool has_extension(const char *path, const char *extension)
{
    size_t n = strlen(path), k = strlen(extension);
    return n >= k && strcasecmp(path + n - k, extension) == 0;
}

enum mg_err vector_open(const char *path, const char *layer, const char *source_crs,
                        struct vector_source *out, struct mg_errmsg *err)
{
    static const char *const csv[] = {
        "AUTODETECT_TYPE=YES", "X_POSSIBLE_NAMES=lng,lon,long,longitude,x",
        "Y_POSSIBLE_NAMES=lat,latitude,y", "GEOM_POSSIBLE_NAMES=geometry,wkt,geom", NULL};
    struct vector_source source = {0};
    mg_gdal_user_name(path, source.name, sizeof source.name);
    bool is_csv = has_extension(path, ".csv") || has_extension(path, ".tsv");
    enum mg_err e = mg_gdal_open(path, GDAL_OF_VECTOR, is_csv ? csv : NULL, &source.dataset, err);
    if (e)
        return e;
    if ((e = pick_layer(&source, layer, err))) {
        GDALClose(source.dataset);
        return e;
    }
    source.fid = OGR_L_GetFIDColumn(source.layer)[0] != '\0';
    if (OGR_L_GetGeomType(source.layer) != wkbNone) {
        const char *name = OGR_L_GetGeometryColumn(source.layer);
        snprintf(source.geometry, sizeof source.geometry, "%s",
                 name && name[0] ? name : "wkb_geometry");
        find_crs(&source, source_crs);
    }
    *out = source;
    return MG_OK;
}

void vector_close(struct vector_source *source)
{
    if (source->dataset)
        GDALClose(source->dataset);
    source->dataset = NULL;
}

void vector_columns(const struct vector_source *source, char *out, size_t size)
{
    OGRFeatureDefnH fields = OGR_L_GetLayerDefn(source->layer);
    out[0] = '\0';
    if (source->fid)
        append(out, size, OGR_L_GetFIDColumn(source->layer));
    for (int i = 0; i < OGR_FD_GetFieldCount(fields); i++)
        append(out, size, OGR_Fld_GetNameRef(OGR_FD_GetFieldDefn(fields, i)));
}

enum mg_err vector_where(struct vector_source *source, const char *where, struct mg_errmsg *err)
{
    struct mg_gdal_errors errors;
    char columns[256];
    mg_gdal_errors_begin(&errors);
    OGRErr failed = OGR_L_SetAttributeFilter(source->layer, where);
    mg_gdal_errors_end();
    if (!failed)
        return MG_OK;
    vector_columns(source, columns, sizeof columns);
    return mg_err_set(err, MG_E_ARGUMENT, "where \"%.120s\": %.160s (columns: %s)", where,
                      errors.text[0] ? errors.text : "not a condition of OGR SQL", columns);
}

/* Geometry types beyond the simple features (curves, surfaces, TIN) as simple ones; NULL when it
 * cannot be. */
static bool linear_wkb(struct mg_span wkb, struct mg_buf *out)
{
    OGRGeometryH geometry = NULL;
    if (wkb.len > INT32_MAX ||
        OGR_G_CreateFromWkb(wkb.data, NULL, &geometry, (int)wkb.len) != OGRERR_NONE || !geometry)
        return false;
    OGRGeometryH plain = OGR_G_GetLinearGeometry(geometry, 0, NULL);
    OGR_G_DestroyGeometry(geometry);
    if (plain && wkbFlatten(OGR_G_GetGeometryType(plain)) > wkbGeometryCollection)
        plain = OGR_G_ForceToMultiPolygon(plain);
    int n = plain ? OGR_G_WkbSize(plain) : 0;
    char *at = n > 0 ? mg_buf_room(out, (size_t)n) : NULL;
    bool ok = at && OGR_G_ExportToIsoWkb(plain, wkbNDR, (unsigned char *)at) == OGRERR_NONE;
    if (ok)
        out->len += (size_t)n;
    if (plain)
        OGR_G_DestroyGeometry(plain);
    return ok;
}

static bool is_simple(struct mg_span wkb)
{
    uint32_t type;
    if (wkb.len < 5 || (unsigned char)wkb.data[0] > 1)
        return true; /* broken: nothing to convert */
    memcpy(&type, wkb.data + 1, 4);
    if (wkb.data[0] == 0)
        type = __builtin_bswap32(type);
    type = (type & 0x1FFFFFFF) % 1000;
    return type <= 6 || (type == 7 && !mg_wkb_check(wkb, NULL));
}

/* Replaces the geometry column where it has types that are not simple. `table` is of ours, one
 * batch. */
static enum mg_err make_linear(struct mg_table *table, struct mg_errmsg *err)
{
    struct ArrowArray *column = table->batches[0].children[table->geometry];
    const int32_t *offsets = column->buffers[1];
    const char *data = column->buffers[2];
    int64_t first = 0;
    while (first < table->rows &&
           is_simple((struct mg_span){data + offsets[first],
                                      (size_t)(offsets[first + 1] - offsets[first])}))
        first++;
    if (first == table->rows)
        return MG_OK;
    struct mg_buf out;
    int32_t *ends = malloc(((size_t)table->rows + 1) * sizeof *ends);
    mg_buf_init(&out, INT32_MAX);
    for (int64_t i = 0; ends && i < table->rows; i++) {
        struct mg_span wkb = {data + offsets[i], (size_t)(offsets[i + 1] - offsets[i])};
        ends[i] = (int32_t)out.len;
        if (is_simple(wkb) || !linear_wkb(wkb, &out))
            mg_buf_put(&out, wkb.data, wkb.len);
    }
    if (!ends || out.failed) {
        free(ends);
        mg_buf_fini(&out);
        return mg_err_set(err, MG_E_NOMEM, "out of memory while curves are made lines");
    }
    ends[table->rows] = (int32_t)out.len;
    free((void *)column->buffers[1]);
    free((void *)column->buffers[2]);
    column->buffers[1] = ends;
    column->buffers[2] = mg_buf_take(&out, NULL);
    return MG_OK;
}

/* The geometry is called "geometry", whatever the driver says, unless an attribute has the name. */
static void rename_geometry(struct mg_table *table)
{
    struct ArrowSchema *column = table->schema.children[table->geometry];
    char *name = mg_table_column(table, MG_SPAN("geometry")) < 0 ? strdup("geometry") : NULL;
    if (name) {
        free((void *)column->name);
        column->name = name;
    }
}

struct batches {
    struct ArrowArray *at;
    size_t n, cap;
};

static enum mg_err pull(struct vector_source *source, struct ArrowArrayStream *stream,
                        int64_t max_rows, size_t max_bytes, struct batches *out,
                        struct mg_errmsg *err)
{
    int64_t rows = 0;
    size_t bytes = 0;
    for (;;) {
        struct ArrowArray batch = {0};
        if (stream->get_next(stream, &batch)) {
            const char *why = stream->get_last_error(stream);
            return mg_err_set(err, MG_E_BAD_FILE, "%s cannot be read: %.200s", source->name,
                              why ? why : "");
        }
        if (!batch.release)
            return MG_OK;
        if (batch.length == 0) {
            arrow_array_release(&batch);
            continue;
        }
        if (out->n == out->cap) {
            size_t cap = out->cap ? out->cap * 2 : 16;
            struct ArrowArray *at = cap <= MAX_BATCHES ? realloc(out->at, cap * sizeof *at) : NULL;
            if (!at) {
                arrow_array_release(&batch);
                return mg_err_set(err, MG_E_NOMEM, "out of memory for the rows of %s",
                                  source->name);
            }
            out->at = at;
            out->cap = cap;
        }
        out->at[out->n++] = batch;
        rows += batch.length;
        /* What variable-length columns of this batch hold: their last offset. Counted after import
         * otherwise. */
        for (int64_t i = 0; i < batch.n_children; i++) {
            const struct ArrowArray *column = batch.children[i];
            if (column->n_buffers == 3 && column->buffers[1])
                bytes += (size_t)((const int32_t *)column->buffers[1])[column->length];
            else
                bytes += (size_t)column->length * 8;
        }
        if (max_rows && rows > max_rows)
            return mg_err_set(err, MG_E_UDF_OUTPUT,
                              "%s has more than %lld rows here: read less by bounds, where or "
                              "limit",
                              source->name, (long long)max_rows);
        if (bytes > max_bytes)
            return mg_err_set(err, MG_E_TOO_LARGE,
                              "%s holds more than %zu MB here: read less by bounds, columns, "
                              "where or limit",
                              source->name, max_bytes >> 20);
    }
}

enum mg_err vector_stream(struct vector_source *source, int64_t max_rows, size_t max_bytes,
                          struct mg_table **out, struct mg_errmsg *err)
{
    struct ArrowArrayStream stream = {0};
    struct ArrowSchema schema = {0};
    struct batches batches = {0};
    struct mg_table *raw = NULL, *table = NULL;
    struct mg_gdal_errors errors;
    char *options[] = {source->fid ? "INCLUDE_FID=YES" : "INCLUDE_FID=NO", NULL};
    enum mg_err e = MG_OK;
    mg_gdal_errors_begin(&errors);
    if (!OGR_L_GetArrowStream(source->layer, &stream, options) ||
        stream.get_schema(&stream, &schema))
        e = mg_err_set(err, MG_E_BAD_FILE, "%s cannot be read: %.200s", source->name, errors.text);
    if (!e)
        e = pull(source, &stream, max_rows, max_bytes, &batches, err);
    /* A file that breaks off gives the rows before the break: better an error than half of it. */
    if (!e && errors.text[0])
        e = mg_err_set(err, MG_E_BAD_FILE, "%s is damaged: %.200s", source->name, errors.text);
    mg_gdal_errors_end();
    if (stream.release)
        stream.release(&stream);
    if (e) {
        arrow_schema_release(&schema);
        for (size_t i = 0; i < batches.n; i++)
            arrow_array_release(&batches.at[i]);
        goto out;
    }
    e = mg_table_import(&schema, batches.at, batches.n,
                        source->geometry[0] ? source->geometry : NULL,
                        source->crs[0] ? source->crs : NULL, &raw, err);
    if (!e)
        e = mg_table_take(raw, NULL, 0, NULL, 0, &table, err);
    if (!e && table->geometry >= 0) {
        rename_geometry(table);
        e = make_linear(table, err);
    }
    if (!e) {
        *out = table;
        table = NULL;
    }
out:
    free(batches.at);
    if (raw)
        mg_table_unref(&raw);
    if (table)
        mg_table_unref(&table);
    return e;
}
