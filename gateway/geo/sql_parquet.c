/* A table as GeoParquet 1.1, written by DuckDB.
 *
 * DuckDB's own GeoParquet is 1.0 without a CRS, so that the geometry goes in as plain bytes (WKB), beside
 * it a struct column `bbox` that readers prune by (the covering), and the `geo` metadata is ours: version,
 * encoding, geometry types, bounds, the CRS as PROJJSON. The bbox column is made here, in the pass that
 * finds the types and bounds for the metadata. Spec: https://geoparquet.org/releases/v1.1.0/ */
#include "duck.h"
#include "table_arrow.h"

#include "moongate/gdal.h"
#include "moongate/geometry.h"

#include <cpl_conv.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { TYPES = 8, ROW_GROUP = 122880, MIN_ROW_GROUP = 2048 };

/* What the metadata says of all geometries. */
struct summary {
    bool seen[TYPES][2]; /* by WKB type; with z */
    bool any;
    struct mg_bounds bounds;
};

/* ISO (1001 …) and EWKB (the high bit) both say that there is a height. */
static bool wkb_has_z(struct mg_span wkb)
{
    uint32_t code;
    if (wkb.len < 5)
        return false;
    memcpy(&code, wkb.data + 1, 4);
    if (wkb.data[0] == 0)
        code = __builtin_bswap32(code);
    uint32_t thousands = (code & 0x0fffffff) / 1000;
    return (code & 0x80000000u) || thousands == 1 || thousands == 3;
}

static void widen(struct summary *s, struct mg_bounds b)
{
    if (!s->any)
        s->bounds = b;
    s->any = true;
    s->bounds.xmin = fmin(s->bounds.xmin, b.xmin);
    s->bounds.ymin = fmin(s->bounds.ymin, b.ymin);
    s->bounds.xmax = fmax(s->bounds.xmax, b.xmax);
    s->bounds.ymax = fmax(s->bounds.ymax, b.ymax);
}

/* ---- the table with its bbox column ---- */

/* Nodes of ours around the table's own columns, which are borrowed. */
struct covered {
    struct mg_table table;
    struct ArrowSchema **columns, bbox_schema;
    struct ArrowArray *batches, ***children, *boxes;
    size_t n_boxes;
};

static void drop_covered(struct covered *c)
{
    for (size_t b = 0; b < c->n_boxes; b++)
        arrow_array_release(&c->boxes[b]);
    for (size_t b = 0; c->children && b < c->table.n_batches; b++)
        free(c->children[b]);
    arrow_schema_release(&c->bbox_schema);
    free(c->columns);
    free(c->batches);
    free(c->children);
    free(c->boxes);
}

static bool make_bbox_schema(struct ArrowSchema *out, const char *name)
{
    static const char *const sides[] = {"xmin", "ymin", "xmax", "ymax"};
    if (!arrow_schema_new(out, "+s", name, 4, false))
        return false;
    for (int i = 0; i < 4; i++)
        if (!arrow_schema_new(out->children[i], "g", sides[i], 0, false))
            return false;
    return true;
}

/* Boxes of a batch's geometries. Null and empty ones have a null box. */
static enum mg_err make_boxes(const struct mg_table *table, size_t batch, struct ArrowArray *out,
                              struct summary *s, struct mg_errmsg *err)
{
    int64_t n = table->batches[batch].length;
    size_t bytes = (size_t)(n ? n : 1) * sizeof(double);
    struct mg_cursor *cursor = NULL;
    double *sides[4];
    bool good = arrow_array_new(out, n, 1, 4);
    uint8_t *valid = good ? calloc((size_t)n / 8 + 1, 1) : NULL;
    if (good)
        out->buffers[0] = valid;
    good = good && valid;
    for (int i = 0; good && i < 4; i++) {
        good = arrow_array_new(out->children[i], n, 2, 0) && (sides[i] = calloc(1, bytes));
        if (good)
            out->children[i]->buffers[1] = sides[i];
    }
    if (!good)
        return mg_err_set(err, MG_E_NOMEM, "out of memory");
    enum mg_err code = mg_cursor_open(table, batch, table->geometry, &cursor, err);
    for (int64_t row = 0; code == MG_OK && row < n; row++) {
        struct mg_cell cell;
        struct mg_bounds b;
        mg_cursor_get(cursor, row, &cell);
        if (cell.type != MG_CELL_BINARY)
            continue;
        int type = mg_wkb_type(cell.s);
        if (type > 0 && type < TYPES)
            s->seen[type][wkb_has_z(cell.s)] = true;
        if (!mg_wkb_bounds(cell.s, &b))
            continue;
        widen(s, b);
        valid[row / 8] |= (uint8_t)(1u << (row % 8));
        sides[0][row] = b.xmin;
        sides[1][row] = b.ymin;
        sides[2][row] = b.xmax;
        sides[3][row] = b.ymax;
    }
    out->null_count = -1;
    mg_cursor_close(&cursor);
    return code;
}

static enum mg_err cover(const struct mg_table *table, const char *bbox, struct covered *c,
                         struct summary *s, struct mg_errmsg *err)
{
    size_t n = (size_t)table->schema.n_children, n_batches = table->n_batches;
    *c = (struct covered){.table = *table};
    c->table.geometry = -1; /* bytes, not GEOMETRY */
    c->columns = calloc(n + 1, sizeof *c->columns);
    c->batches = calloc(n_batches + 1, sizeof *c->batches);
    c->children = calloc(n_batches + 1, sizeof *c->children);
    c->boxes = calloc(n_batches + 1, sizeof *c->boxes);
    if (!c->columns || !c->batches || !c->children || !c->boxes || !make_bbox_schema(&c->bbox_schema, bbox))
        return mg_err_set(err, MG_E_NOMEM, "out of memory");
    memcpy(c->columns, table->schema.children, n * sizeof *c->columns);
    c->columns[n] = &c->bbox_schema;
    c->table.schema.children = c->columns;
    c->table.schema.n_children = (int64_t)n + 1;
    c->table.batches = c->batches;
    for (size_t b = 0; b < n_batches; b++) {
        struct ArrowArray **children = calloc(n + 1, sizeof *children);
        if (!(c->children[b] = children))
            return mg_err_set(err, MG_E_NOMEM, "out of memory");
        c->n_boxes = b + 1;
        enum mg_err code = make_boxes(table, b, &c->boxes[b], s, err);
        if (code != MG_OK)
            return code;
        memcpy(children, table->batches[b].children, n * sizeof *children);
        children[n] = &c->boxes[b];
        /* Boxes begin with the batch's first row: undo its offset for them. */
        c->boxes[b].offset -= table->batches[b].offset;
        c->batches[b] = table->batches[b];
        c->batches[b].children = children;
        c->batches[b].n_children = (int64_t)n + 1;
    }
    return MG_OK;
}

/* ---- metadata ---- */

static void put_crs(const char *crs, struct mg_buf *out)
{
    OGRSpatialReferenceH parsed = NULL;
    char *projjson = NULL;
    if (mg_crs_parse(crs ? crs : "EPSG:4326", &parsed, NULL) != MG_OK ||
        OSRExportToPROJJSON(parsed, &projjson, NULL) != OGRERR_NONE || !projjson || projjson[0] != '{')
        mg_buf_str(out, "null"); /* not known, which is not the same as left out (CRS84) */
    else
        mg_buf_str(out, projjson);
    CPLFree(projjson);
    if (parsed)
        OSRRelease(parsed);
}

static void put_metadata(const struct mg_table *table, const char *bbox, const struct summary *s,
                         struct mg_buf *out)
{
    static const char *const names[] = {
        "",           "Point",           "LineString",   "Polygon",
        "MultiPoint", "MultiLineString", "MultiPolygon", "GeometryCollection"};
    const char *name = table->schema.children[table->geometry]->name, *comma = "";
    mg_buf_str(out, "{\"version\":\"1.1.0\",\"primary_column\":");
    mg_buf_json_string(out, name, strlen(name));
    mg_buf_str(out, ",\"columns\":{");
    mg_buf_json_string(out, name, strlen(name));
    mg_buf_str(out, ":{\"encoding\":\"WKB\",\"geometry_types\":[");
    for (int type = 1; type < TYPES; type++)
        for (int z = 0; z < 2; z++)
            if (s->seen[type][z]) {
                mg_buf_printf(out, "%s\"%s%s\"", comma, names[type], z ? " Z" : "");
                comma = ",";
            }
    mg_buf_str(out, "],\"crs\":");
    put_crs(table->crs, out);
    if (s->any) {
        const double sides[] = {s->bounds.xmin, s->bounds.ymin, s->bounds.xmax, s->bounds.ymax};
        mg_buf_str(out, ",\"bbox\":");
        for (int i = 0; i < 4; i++) {
            mg_buf_char(out, i ? ',' : '[');
            mg_buf_double(out, sides[i]);
        }
        mg_buf_char(out, ']');
    }
    mg_buf_str(out, ",\"covering\":{\"bbox\":");
    static const char *const sides[] = {"xmin", "ymin", "xmax", "ymax"};
    for (int i = 0; i < 4; i++) {
        mg_buf_printf(out, "%s\"%s\":[", i ? "," : "{", sides[i]);
        mg_buf_json_string(out, bbox, strlen(bbox));
        mg_buf_printf(out, ",\"%s\"]", sides[i]);
    }
    mg_buf_str(out, "}}}}}");
}

/* ---- the file ---- */

/* "bbox", or with underscores where the table has a column of that name. */
static void name_bbox(const struct mg_table *table, char out[64])
{
    snprintf(out, 64, "bbox");
    for (size_t n = 4; n < 63 && mg_table_column(table, mg_span(out)) >= 0; n++) {
        out[n] = '_';
        out[n + 1] = 0;
    }
}

/* A null in a column of fixed-size lists is written as one with elements, which no reader takes; as a list
 * of any size it is right. */
static void put_list_casts(struct mg_buf *out, const struct mg_table *table)
{
    const char *before = " REPLACE (", *after = "";
    for (int64_t i = 0; i < table->schema.n_children; i++) {
        struct arrow_type type;
        const struct ArrowSchema *column = table->schema.children[i];
        if (!arrow_type_parse(column->format, &type) || type.kind != ARROW_FIXED_LIST)
            continue;
        mg_buf_str(out, before);
        duck_put_quoted(out, '"', mg_span(column->name));
        mg_buf_str(out, "[:] AS ");
        duck_put_quoted(out, '"', mg_span(column->name));
        before = ", ";
        after = ")";
    }
    mg_buf_str(out, after);
}

static enum mg_err copy(struct duck_con *con, const struct mg_table *table,
                        const struct mg_sql_parquet *options, struct mg_span geo, struct mg_buf *out,
                        struct mg_errmsg *err)
{
    const struct mg_sql_table lent = {"", table};
    const char *compression = options->compression ? options->compression : "snappy";
    struct mg_buf sql;
    mg_buf_init(&sql, 0);
    mg_buf_str(&sql, "COPY (SELECT *");
    put_list_casts(&sql, table);
    mg_buf_str(&sql, " FROM moon_scan(0)) TO ");
    duck_put_quoted(&sql, '\'', mg_span(duck_output_path()));
    mg_buf_printf(&sql, " (FORMAT parquet, USE_TMP_FILE false, COMPRESSION '%s', ROW_GROUP_SIZE %lld",
                  strcmp(compression, "none") == 0 ? "uncompressed" : compression,
                  (long long)(options->row_group >= MIN_ROW_GROUP ? options->row_group : ROW_GROUP));
    if (options->level && strcmp(compression, "zstd") == 0)
        mg_buf_printf(&sql, ", COMPRESSION_LEVEL %d", options->level);
    if (geo.len) {
        mg_buf_str(&sql, ", KV_METADATA {geo: ");
        duck_put_quoted(&sql, '\'', geo);
        mg_buf_char(&sql, '}');
    }
    mg_buf_char(&sql, ')');
    enum mg_err code = mg_buf_status(&sql, err);
    duck_scan_lend(&lent, 1);
    if (code == MG_OK)
        code = duck_do(con, sql.data, err);
    duck_scan_lend(NULL, 0);
    mg_buf_fini(&sql);
    if (code == MG_OK)
        return duck_output_take(out, err);
    duck_output_drop();
    return code;
}

enum mg_err mg_sql_to_parquet(const struct mg_table *table, const struct mg_sql_parquet *options,
                              struct mg_buf *out, struct mg_errmsg *err)
{
    struct duck_con *con;
    struct covered covered;
    struct summary summary = {0};
    struct mg_buf geo;
    char bbox[64];
    enum mg_err code = duck_ready(&con, err);
    if (code != MG_OK)
        return code;
    if (table->schema.n_children == 0)
        return mg_err_set(err, MG_E_NOT_ACCEPTABLE, "parquet: a table without columns");
    if (table->geometry < 0)
        return copy(con, table, options, (struct mg_span){0}, out, err);
    mg_buf_init(&geo, 0);
    name_bbox(table, bbox);
    code = cover(table, bbox, &covered, &summary, err);
    if (code == MG_OK) {
        put_metadata(table, bbox, &summary, &geo);
        code = mg_buf_status(&geo, err);
    }
    if (code == MG_OK)
        code = copy(con, &covered.table, options, (struct mg_span){geo.data, geo.len}, out, err);
    drop_covered(&covered);
    mg_buf_fini(&geo);
    return code;
}

enum mg_err mg_sql_from_parquet(struct mg_span bytes, struct mg_table **out, struct mg_errmsg *err)
{
    struct duck_con *con;
    struct mg_buf sql;
    enum mg_err code = duck_ready(&con, err);
    if (code != MG_OK || (code = duck_output_put(bytes, err)) != MG_OK)
        return code;
    mg_buf_init(&sql, 0);
    mg_buf_str(&sql, "SELECT * FROM read_parquet(");
    duck_put_quoted(&sql, '\'', mg_span(duck_output_path()));
    mg_buf_char(&sql, ')');
    const struct mg_sql_query query = {.text = {sql.data, sql.len}};
    code = mg_buf_status(&sql, err);
    if (code == MG_OK)
        code = mg_sql_run(&query, out, err);
    mg_buf_fini(&sql);
    duck_output_drop();
    return code;
}
