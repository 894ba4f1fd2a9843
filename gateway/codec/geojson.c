/* GeoJSON (RFC 7946): a FeatureCollection in WGS 84 longitude and latitude, cut at the antimeridian.
 *
 * Coordinates have geojson.precision decimals (7: a centimetre), trailing zeros dropped; exteriors
 * run anticlockwise. Column `id`, an integer or a string, is the feature's id as well as a
 * property. Integers are exact, NaN is null, a geometry that cannot be reprojected is null. Cost:
 * 150 to 300 ns a point with attributes. */
#include "keys_of.h"
#include "rows_of.h"

#include <math.h>

enum { OPT_PRECISION, OPT_BBOX, OPT_COLUMNS };
static const struct mg_option options[] = {
    [OPT_PRECISION] = {"precision", MG_OPT_INT, 0, 15, NULL, "7", "decimals of a coordinate"},
    [OPT_BBOX] = {"bbox", MG_OPT_BOOL, 0, 1, NULL, "false", "a bounding box of each feature"},
    [OPT_COLUMNS] = {"columns", MG_OPT_STRING, 0, 4000, NULL, NULL,
                     "properties that are written: names between commas"},
    {0},
};

/* Member `bbox` behind the geometry. What was cut at the antimeridian has west > east (RFC 7946, 5.2): its
 * eastern piece begins there, its western one ends there. */
static void put_bbox(struct mg_span wkb, int precision, struct mg_buf *out)
{
    struct mg_wkb_iter iter;
    struct mg_wkb_part part;
    struct mg_bounds box;
    double west = INFINITY, east = -INFINITY; /* of the parts in each half of the world */
    bool both = false;
    if (!mg_wkb_bounds(wkb, &box))
        return;
    if (box.xmin <= -180 && box.xmax >= 180) {
        both = true;
        mg_wkb_iter_init(&iter, wkb);
        while (mg_wkb_next(&iter, &part)) {
            double low = INFINITY, high = -INFINITY;
            for (size_t i = 0; i < part.n; i++) {
                double x = mg_wkb_coord(&part, i * (size_t)part.dims);
                low = fmin(low, x);
                high = fmax(high, x);
            }
            if (low > 0)
                west = fmin(west, low);
            else if (high < 0)
                east = fmax(east, high);
            else
                both = false;
        }
    }
    const double sides[4] = {both ? west : box.xmin, box.ymin, both ? east : box.xmax, box.ymax};
    char text[40];
    ROWS_OF_TEXT(out, ",\"bbox\":[");
    for (int i = 0; i < 4; i++) {
        if (i)
            ROWS_OF_TEXT(out, ",");
        rows_of_put(out, text, mg_fixed_text(sides[i], precision, text));
    }
    ROWS_OF_TEXT(out, "]");
}

static void put_feature(struct rows_of *rows, const struct keys_of *keys, int id, int precision,
                        bool bbox, struct mg_buf *out)
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
    for (int i = 0; i < rows->n; i++) {
        int c = rows->columns[i];
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
    struct mg_span wkb = rows_of_geometry_cut(rows);
    if (!wkb.data || mg_wkb_to_geojson(wkb, precision, out))
        ROWS_OF_TEXT(out, "null");
    else if (bbox && !out->failed)
        put_bbox(wkb, precision, out);
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
        e = rows_of_select(&rows, "geojson.columns", job->options[OPT_COLUMNS].text, err);
    if (!e)
        e = keys_of_open(&keys, table, err);
    mg_buf_str(out, "{\"type\":\"FeatureCollection\",\"features\":[");
    while (!e && !(e = rows_of_next(&rows, &more, err)) && more) {
        mg_buf_put(out, first ? "\n" : ",\n", first ? 1 : 2);
        first = false;
        put_feature(&rows, &keys, id, (int)job->options[OPT_PRECISION].number,
                    job->options[OPT_BBOX].number != 0, out);
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
