/* GeoJSON (RFC 7946): a FeatureCollection in WGS 84 longitude and latitude.
 *
 * Coordinates have geojson.precision decimals (7: a centimetre), trailing zeros dropped; exteriors
 * run anticlockwise. Column `id`, an integer or a string, is the feature's id as well as a
 * property. Integers are exact, NaN is null, a geometry that cannot be reprojected is null. Cost:
 * 150 to 300 ns a point with attributes. */
#include "keys_of.h"
#include "rows_of.h"

enum { OPT_PRECISION };
static const struct mg_option options[] = {
    [OPT_PRECISION] = {"precision", MG_OPT_INT, 0, 15, NULL, "7", "decimals of a coordinate"},
    {0},
};

static void put_feature(struct rows_of *rows, const struct keys_of *keys, int id, int precision,
                        struct mg_buf *out)
{
    struct mg_cell cell = {0};
    bool first = true;
    ROWS_OF_TEXT(out, "{\"type\":\"Feature\",");
    if (id >= 0) {
        rows_of_cell(rows, id, &cell);
        if (cell.type == MG_CELL_INT || cell.type == MG_CELL_UINT || cell.type == MG_CELL_STRING) {
            ROWS_OF_TEXT(out, "\"id\":");
            mg_cell_json(&cell, out);
            ROWS_OF_TEXT(out, ",");
        }
    }
    ROWS_OF_TEXT(out, "\"properties\":{");
    for (int c = 0; c < rows->n; c++) {
        if (c == rows->table->geometry)
            continue;
        struct mg_span key = keys_of_get(keys, c);
        if (!first)
            ROWS_OF_TEXT(out, ",");
        first = false;
        rows_of_put(out, key.data, key.len);
        rows_of_cell(rows, c, &cell);
        mg_cell_json(&cell, out);
    }
    ROWS_OF_TEXT(out, "},\"geometry\":");
    struct mg_span wkb = rows_of_geometry(rows);
    if (!wkb.data || mg_wkb_to_geojson(wkb, precision, out))
        ROWS_OF_TEXT(out, "null");
    ROWS_OF_TEXT(out, "}");
}

static enum mg_err encode(const struct mg_codec_job *job, struct mg_buf *out, struct mg_errmsg *err)
{
    const struct mg_table *table = job->value->table;
    struct rows_of rows;
    struct keys_of keys = {0};
    bool more = true, first = true;
    int id = mg_table_column(table, MG_SPAN("id"));
    enum mg_err e = rows_of_open(&rows, table, true, err);
    if (!e)
        e = keys_of_open(&keys, table, err);
    mg_buf_str(out, "{\"type\":\"FeatureCollection\",\"features\":[");
    while (!e && !(e = rows_of_next(&rows, &more, err)) && more) {
        mg_buf_put(out, first ? "\n" : ",\n", first ? 1 : 2);
        first = false;
        put_feature(&rows, &keys, id, (int)job->options[OPT_PRECISION].number, out);
        if (out->failed)
            break;
    }
    mg_buf_str(out, "\n]}\n");
    keys_of_close(&keys);
    rows_of_close(&rows);
    return e ? e : mg_buf_status(out, err);
}

const struct mg_codec mg_codec_geojson[] = {
    {.name = "geojson",
     .mime = "application/geo+json",
     .extension = "geojson",
     .shapes = MG_SHAPE_TABLE,
     .compressible = true,
     .options = options,
     .encode = encode},
    {0},
};
