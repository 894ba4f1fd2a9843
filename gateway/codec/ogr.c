/* FlatGeobuf (with its spatial index) and GeoPackage, by GDAL into /vsimem.
 *
 * GDAL 3.6 writes no Arrow: one feature is made and filled again for each row. The table is looked
 * through first, because FlatGeobuf must know beforehand whether geometries have Z or M and are of
 * one type, and holds no features without a place. Losses: times to the millisecond (years 0 to
 * 9999, else null), a time of day as text, lists and structs as JSON, NaN in a GeoPackage as null,
 * NUL in text as U+FFFD, names made unique. Geometry that is no WKB is null; a FlatGeobuf has no
 * rows without geometry. The file's memory is taken over, not copied. Cost: 2 to 4 us a row of
 * five. */
#include "moongate/codec.h"
#include "moongate/gdal.h"
#include "moongate/geometry.h"

#include "rows_of.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include <cpl_conv.h>
#include <cpl_string.h>
#include <cpl_vsi.h>
#include <ogr_api.h>

enum { MAX_NAME = 200 };

/* What the geometries have in common. */
struct shapes {
    int type; /* 1 to 7 as WKB numbers them; 0: mixed or none */
    bool z, m, any;
    int64_t hole; /* the first row, from 1, whose geometry is null, empty or broken; 0: none */
};

struct field {
    OGRFieldType type;
    OGRFieldSubType subtype;
    int index; /* in the layer; -1: the geometry */
};

struct sink {
    const struct mg_table *table;
    struct field *fields;
    struct shapes shapes;
    char folder[64], path[96];
    GDALDatasetH set;
    OGRLayerH layer;
    OGRFeatureH feature;
    struct mg_buf text;
};

/* ISO or EWKB, as far as the first five bytes say. */
static int wkb_head(struct mg_span wkb, bool *z, bool *m)
{
    uint32_t code;
    if (wkb.len < 5)
        return 0;
    memcpy(&code, wkb.data + 1, 4);
    if (wkb.data[0] == 0)
        code = __builtin_bswap32(code);
    uint32_t thousands = (code & 0xffff) / 1000;
    *z = (code & 0x80000000u) || thousands == 1 || thousands == 3;
    *m = (code & 0x40000000u) || thousands == 2 || thousands == 3;
    return (int)((code & 0xffff) % 1000);
}

static void see_geometry(struct shapes *shapes, int64_t row, struct mg_span wkb)
{
    struct mg_bounds bounds;
    bool z = false, m = false;
    int type = wkb_head(wkb, &z, &m);
    if (!shapes->hole && (mg_wkb_check(wkb, NULL) || !mg_wkb_bounds(wkb, &bounds)))
        shapes->hole = row;
    if (type < 1 || type > 7)
        return;
    shapes->type = shapes->any && shapes->type != type ? 0 : type;
    shapes->any = true;
    shapes->z |= z;
    shapes->m |= m;
}

static void field_of(const struct ArrowSchema *schema, struct field *out)
{
    static const struct {
        const char *formats;
        OGRFieldType type;
        OGRFieldSubType subtype;
    } singles[] = {{"b", OFTInteger, OFSTBoolean}, {"cs", OFTInteger, OFSTInt16},
                   {"CSi", OFTInteger, OFSTNone},  {"IlL", OFTInteger64, OFSTNone},
                   {"ef", OFTReal, OFSTFloat32},   {"g", OFTReal, OFSTNone},
                   {"zZ", OFTBinary, OFSTNone}};
    const char *format = schema->dictionary ? schema->dictionary->format : schema->format;
    *out = (struct field){.type = OFTString, .subtype = OFSTNone};
    for (size_t i = 0; !format[1] && i < sizeof singles / sizeof *singles; i++)
        if (strchr(singles[i].formats, format[0])) {
            out->type = singles[i].type;
            out->subtype = singles[i].subtype;
        }
    if (format[0] == 't' && format[1] == 'd')
        out->type = OFTDate;
    else if (format[0] == 't' && format[1] == 's')
        out->type = OFTDateTime;
    else if (format[0] == 't' && format[1] == 'D')
        out->type = OFTReal;
    else if (format[0] == 'w')
        out->type = OFTBinary;
    else if (format[0] == 'd' && strtol(format + 2, NULL, 10) <= 15)
        out->type = OFTReal;
    else if (format[0] == '+')
        out->subtype = OFSTJSON;
}

/* One pass over geometries and unsigned integers. */
static enum mg_err look_through(struct sink *sink, struct mg_errmsg *err)
{
    const struct mg_table *table = sink->table;
    for (int c = 0; c < table->schema.n_children; c++) {
        field_of(table->schema.children[c], &sink->fields[c]);
        const struct ArrowSchema *schema = table->schema.children[c];
        const char *format = schema->dictionary ? schema->dictionary->format : schema->format;
        int64_t row = 0;
        for (size_t b = 0; b < table->n_batches; b++) {
            struct mg_cursor *cursor = NULL;
            if (c != table->geometry && strcmp(format, "L") != 0)
                break;
            enum mg_err e = mg_cursor_open(table, b, c, &cursor, err);
            if (e)
                return e;
            for (int64_t r = 0; r < table->batches[b].length; r++) {
                struct mg_cell cell = {0};
                mg_cursor_get(cursor, r, &cell);
                row++;
                if (c == table->geometry)
                    see_geometry(&sink->shapes, row,
                                 cell.type == MG_CELL_BINARY ? cell.s : MG_SPAN(""));
                else if (cell.type == MG_CELL_UINT && cell.u > INT64_MAX)
                    sink->fields[c].type = OFTString;
            }
            mg_cursor_close(&cursor);
        }
    }
    return MG_OK;
}

static enum mg_err gdal_failed(const struct mg_gdal_errors *errors, const char *what,
                               struct mg_errmsg *err)
{
    return mg_err_set(err, MG_E_INTERNAL, "%s: %.300s", what,
                      errors->text[0] ? errors->text : "GDAL says no more");
}

static bool name_taken(struct sink *sink, const char *name, const char *also)
{
    return (also && strcasecmp(name, also) == 0) ||
           OGR_FD_GetFieldIndex(OGR_L_GetLayerDefn(sink->layer), name) >= 0;
}

/* The column's name; where another column has it (SQL sees no case), with a number. */
static void name_field(struct sink *sink, int column, const char *geometry, char out[MAX_NAME + 32])
{
    const char *name = sink->table->schema.children[column]->name;
    char stem[MAX_NAME + 1];
    if (name && *name)
        snprintf(stem, sizeof stem, "%s", name);
    else
        snprintf(stem, sizeof stem, "column_%d", column + 1);
    snprintf(out, MAX_NAME + 32, "%s", stem);
    for (int i = 2; name_taken(sink, out, geometry); i++)
        snprintf(out, MAX_NAME + 32, "%s_%d", stem, i);
}

static bool has_column(const struct mg_table *table, const char *name)
{
    for (int c = 0; c < table->schema.n_children; c++)
        if (table->schema.children[c]->name &&
            strcasecmp(table->schema.children[c]->name, name) == 0)
            return true;
    return false;
}

static const char *geometry_name(const struct mg_table *table)
{
    const char *name = table->geometry < 0 ? NULL : table->schema.children[table->geometry]->name;
    return name && *name && strlen(name) < 64 ? name : "geometry";
}

static char **layer_options(const struct sink *sink, bool gpkg)
{
    char **options = NULL;
    if (!gpkg)
        return CSLSetNameValue(options, "SPATIAL_INDEX", "YES");
    char fid[32] = "fid";
    for (int i = 2; has_column(sink->table, fid); i++)
        snprintf(fid, sizeof fid, "fid_%d", i);
    options = CSLSetNameValue(options, "FID", fid);
    return sink->table->geometry < 0
               ? options
               : CSLSetNameValue(options, "GEOMETRY_NAME", geometry_name(sink->table));
}

static enum mg_err make_layer(struct sink *sink, bool gpkg, const struct mg_gdal_errors *errors,
                              struct mg_errmsg *err)
{
    const struct mg_table *table = sink->table;
    GDALDriverH driver = GDALGetDriverByName(gpkg ? "GPKG" : "FlatGeobuf");
    OGRSpatialReferenceH crs = NULL;
    OGRwkbGeometryType type = wkbNone;
    /* GDAL 3.6 leaves such rows out and says nothing. */
    if (!gpkg && sink->shapes.hole)
        return mg_err_set(err, MG_E_NOT_ACCEPTABLE,
                          "flatgeobuf holds no rows without a place, and the geometry of row %lld "
                          "is null or empty: leave "
                          "such rows out, or ask for gpkg, parquet or geojson",
                          (long long)sink->shapes.hole);
    if (!driver)
        return mg_err_set(err, MG_E_INTERNAL, "GDAL has no driver for %s here",
                          gpkg ? "GeoPackage" : "FlatGeobuf");
    if (table->geometry >= 0) {
        type = OGR_GT_SetModifier((OGRwkbGeometryType)sink->shapes.type, sink->shapes.z,
                                  sink->shapes.m);
        if (table->crs) {
            enum mg_err e = mg_crs_parse(table->crs, &crs, err);
            if (e)
                return e;
        }
    }
    sink->set = GDALCreate(driver, sink->path, 0, 0, 0, GDT_Unknown, NULL);
    char **options = layer_options(sink, gpkg);
    if (sink->set)
        sink->layer = GDALDatasetCreateLayer(sink->set, "result", crs, type, options);
    CSLDestroy(options);
    if (crs)
        OSRRelease(crs);
    if (!sink->layer)
        return gdal_failed(errors, "no layer", err);
    for (int c = 0; c < table->schema.n_children; c++) {
        struct field *field = &sink->fields[c];
        char name[MAX_NAME + 32];
        field->index = -1;
        if (c == table->geometry)
            continue;
        name_field(sink, c, gpkg && table->geometry >= 0 ? geometry_name(table) : NULL, name);
        OGRFieldDefnH definition = OGR_Fld_Create(name, field->type);
        OGR_Fld_SetSubType(definition, field->subtype);
        OGRErr failed = OGR_L_CreateField(sink->layer, definition, TRUE);
        OGR_Fld_Destroy(definition);
        field->index = OGR_FD_GetFieldCount(OGR_L_GetLayerDefn(sink->layer)) - 1;
        if (failed != OGRERR_NONE || field->index < 0)
            return gdal_failed(errors, "no field", err);
    }
    sink->feature = OGR_F_Create(OGR_L_GetLayerDefn(sink->layer));
    return sink->feature ? MG_OK : mg_err_set(err, MG_E_NOMEM, "no memory for a feature");
}

/* As C text; a NUL within would end it. */
static const char *c_text(struct sink *sink, struct mg_span s)
{
    sink->text.len = 0;
    mg_buf_put(&sink->text, "", 0);
    while (s.len) {
        const char *nul = memchr(s.data, '\0', s.len);
        size_t n = nul ? (size_t)(nul - s.data) : s.len;
        mg_buf_put(&sink->text, s.data, n);
        if (nul)
            mg_buf_str(&sink->text, "\357\277\275");
        n += nul != NULL;
        s = (struct mg_span){s.data + n, s.len - n};
    }
    return sink->text.data ? sink->text.data : "";
}

static int two_digits(const char *at)
{
    return (at[0] - '0') * 10 + at[1] - '0';
}

/* From the ISO text, "2024-02-29T12:34:56.789012Z", which is of fixed width for four-digit years.
 */
static bool set_time(struct sink *sink, int index, const struct mg_cell *cell)
{
    char text[40];
    size_t n = mg_time_text(cell, text);
    if (n < 10 || text[0] == '-' || text[0] == '+')
        return false;
    int year = two_digits(text) * 100 + two_digits(text + 2), hour = 0, minute = 0;
    int second = 0, millis = 0;
    if (n >= 19) {
        hour = two_digits(text + 11);
        minute = two_digits(text + 14);
        second = two_digits(text + 17);
        if (n >= 26)
            millis = two_digits(text + 20) * 10 + text[22] - '0';
    }
    OGR_F_SetFieldDateTimeEx(sink->feature, index, year, two_digits(text + 5), two_digits(text + 8),
                             hour, minute, (float)(second * 1000 + millis) / 1000.f,
                             cell->zoned ? 100 : 0);
    return true;
}

static bool set_field(struct sink *sink, const struct field *field, const struct mg_cell *cell)
{
    OGRFeatureH feature = sink->feature;
    int index = field->index;
    switch (cell->type) {
    case MG_CELL_NULL:
        return false;
    case MG_CELL_BOOL:
        OGR_F_SetFieldInteger(feature, index, cell->b);
        return true;
    case MG_CELL_INT:
    case MG_CELL_UINT:
        if (field->type == OFTString) {
            sink->text.len = 0;
            mg_cell_text(cell, &sink->text);
            OGR_F_SetFieldString(feature, index, sink->text.data ? sink->text.data : "");
        } else if (field->type == OFTReal) {
            OGR_F_SetFieldDouble(feature, index, (double)cell->i);
        } else {
            OGR_F_SetFieldInteger64(feature, index,
                                    cell->type == MG_CELL_INT ? cell->i : (int64_t)cell->u);
        }
        return true;
    case MG_CELL_DOUBLE:
        if (field->type == OFTString) { /* a decimal of many digits whose value has few */
            sink->text.len = 0;
            mg_cell_text(cell, &sink->text);
            OGR_F_SetFieldString(feature, index, sink->text.data ? sink->text.data : "");
        } else {
            OGR_F_SetFieldDouble(feature, index, cell->d);
        }
        return true;
    case MG_CELL_STRING:
    case MG_CELL_NESTED:
        OGR_F_SetFieldString(feature, index, c_text(sink, cell->s));
        return true;
    case MG_CELL_BINARY:
        if (cell->s.len > INT32_MAX)
            return false;
        OGR_F_SetFieldBinary(feature, index, (int)cell->s.len, cell->s.data);
        return true;
    case MG_CELL_DATE:
    case MG_CELL_TIMESTAMP:
        return set_time(sink, index, cell);
    }
    return false;
}

static void set_geometry(struct sink *sink, const struct mg_cell *cell)
{
    OGRGeometryH geometry = NULL;
    if (cell->type == MG_CELL_BINARY && cell->s.len <= INT32_MAX &&
        mg_wkb_check(cell->s, NULL) == MG_OK)
        if (OGR_G_CreateFromWkb(cell->s.data, NULL, &geometry, (int)cell->s.len) != OGRERR_NONE)
            geometry = NULL;
    OGR_F_SetGeometryDirectly(sink->feature, geometry);
}

static enum mg_err write_rows(struct sink *sink, const struct mg_gdal_errors *errors,
                              struct mg_errmsg *err)
{
    struct rows_of rows;
    bool more = true;
    enum mg_err e = rows_of_open(&rows, sink->table, false, err);
    while (!e && !(e = rows_of_next(&rows, &more, err)) && more) {
        for (int c = 0; c < rows.n; c++) {
            struct mg_cell cell = {0};
            rows_of_cell(&rows, c, &cell);
            if (c == sink->table->geometry)
                set_geometry(sink, &cell);
            else if (!set_field(sink, &sink->fields[c], &cell))
                OGR_F_SetFieldNull(sink->feature, sink->fields[c].index);
        }
        OGR_F_SetFID(sink->feature, OGRNullFID);
        if (OGR_L_CreateFeature(sink->layer, sink->feature) != OGRERR_NONE)
            e = gdal_failed(errors, "a row is not written", err);
    }
    rows_of_close(&rows);
    if (!e)
        e = mg_buf_status(&sink->text, err);
    return e;
}

/* The file's bytes: its own memory where the output is empty, as it is for an answer. */
static enum mg_err take_file(const struct sink *sink, struct mg_buf *out, struct mg_errmsg *err)
{
    vsi_l_offset bytes = 0;
    GByte *data = VSIGetMemFileBuffer(sink->path, &bytes, FALSE);
    if (!data)
        return mg_err_set(err, MG_E_INTERNAL, "GDAL has written no file");
    if (out->len || (out->max_bytes && bytes > out->max_bytes)) {
        mg_buf_put(out, data, (size_t)bytes); /* or tells that it is too much */
        return mg_buf_status(out, err);
    }
    data = VSIGetMemFileBuffer(sink->path, &bytes, TRUE);
    char *ended = realloc(data, (size_t)bytes + 1); /* GDAL's memory is malloc's */
    if (!ended) {
        VSIFree(data);
        return mg_err_set(err, MG_E_NOMEM, "out of memory for a file of %llu bytes",
                          (unsigned long long)bytes);
    }
    ended[bytes] = '\0';
    free(out->data);
    out->data = ended;
    out->len = (size_t)bytes;
    out->cap = (size_t)bytes + 1;
    return MG_OK;
}

/* SQLite's files lie in memory: nothing to be synced. A fixed date, so that equal tables give equal
 * bytes. */
static const char *const settings[][2] = {
    {"OGR_SQLITE_SYNCHRONOUS", "OFF"},
    {"OGR_SQLITE_JOURNAL", "MEMORY"},
    {"OGR_CURRENT_DATE", "1980-01-01T00:00:00.000Z"},
};

static void use_settings(bool on)
{
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        CPLSetThreadLocalConfigOption(settings[i][0], on ? settings[i][1] : NULL);
}

static enum mg_err write_table(const struct mg_codec_job *job, bool gpkg, struct mg_buf *out,
                               struct mg_errmsg *err)
{
    static _Thread_local uint64_t counter;
    struct sink sink = {.table = job->value->table};
    struct mg_gdal_errors errors;
    sink.fields = calloc((size_t)sink.table->schema.n_children + 1, sizeof *sink.fields);
    if (!sink.fields)
        return mg_err_set(err, MG_E_NOMEM, "out of memory for a table's columns");
    mg_buf_init(&sink.text, 0);
    /* /vsimem is the process's: the address tells threads apart. */
    snprintf(sink.folder, sizeof sink.folder, "/vsimem/moongate-%p-%llu", (void *)&counter,
             (unsigned long long)counter++);
    snprintf(sink.path, sizeof sink.path, "%s/result.%s", sink.folder, gpkg ? "gpkg" : "fgb");
    mg_gdal_errors_begin(&errors);
    use_settings(true);
    VSIMkdir(sink.folder, 0700);
    enum mg_err e = look_through(&sink, err);
    if (!e)
        e = make_layer(&sink, gpkg, &errors, err);
    if (!e && gpkg && GDALDatasetStartTransaction(sink.set, FALSE) != OGRERR_NONE)
        e = gdal_failed(&errors, "no transaction", err);
    if (!e)
        e = write_rows(&sink, &errors, err);
    if (!e && gpkg && GDALDatasetCommitTransaction(sink.set) != OGRERR_NONE)
        e = gdal_failed(&errors, "not written", err);
    if (sink.feature)
        OGR_F_Destroy(sink.feature);
    errors.text[0] = '\0';
    if (sink.set)
        GDALClose(sink.set); /* writes the indices */
    if (!e && errors.text[0])
        e = gdal_failed(&errors, "not written", err);
    if (!e)
        e = take_file(&sink, out, err);
    VSIRmdirRecursive(sink.folder);
    use_settings(false);
    mg_gdal_errors_end();
    mg_buf_fini(&sink.text);
    free(sink.fields);
    return e;
}

static enum mg_err encode_flatgeobuf(const struct mg_codec_job *job, struct mg_buf *out,
                                     struct mg_errmsg *err)
{
    return write_table(job, false, out, err);
}

static enum mg_err encode_gpkg(const struct mg_codec_job *job, struct mg_buf *out,
                               struct mg_errmsg *err)
{
    return write_table(job, true, out, err);
}

const struct mg_codec mg_codec_ogr[] = {
    {.name = "flatgeobuf",
     .aliases = "fgb",
     .mime = "application/flatgeobuf",
     .extension = "fgb",
     .shapes = MG_SHAPE_TABLE,
     .needs_geometry = true,
     .encode = encode_flatgeobuf},
    {.name = "gpkg",
     .aliases = "geopackage",
     .mime = "application/geopackage+sqlite3",
     .extension = "gpkg",
     .shapes = MG_SHAPE_TABLE,
     .encode = encode_gpkg},
    {0},
};
