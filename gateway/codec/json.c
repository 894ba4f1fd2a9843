/* JSON: a table as a list of records, its geometry a GeoJSON object; a plain value as it is.
 *
 * Integers are exact, NaN is null, dates and times are ISO strings, binary is base64. Geometry is
 * WGS 84 longitude and latitude as in GeoJSON; one without a CRS is written in the coordinates it
 * has. */
#include "keys_of.h"
#include "rows_of.h"

enum { OPT_PRECISION };
static const struct mg_option options[] = {
    [OPT_PRECISION] = {"precision", MG_OPT_INT, 0, 15, NULL, "7", "decimals of a coordinate"},
    {0},
};

static void put_record(struct rows_of *rows, const struct keys_of *keys, int precision,
                       struct mg_buf *out)
{
    struct mg_cell cell = {0};
    ROWS_OF_TEXT(out, "{");
    for (int c = 0; c < rows->n; c++) {
        struct mg_span key = keys_of_get(keys, c);
        if (c)
            ROWS_OF_TEXT(out, ",");
        rows_of_put(out, key.data, key.len);
        if (c == rows->table->geometry) {
            struct mg_span wkb = rows_of_geometry(rows);
            if (!wkb.data || mg_wkb_to_geojson(wkb, precision, out))
                ROWS_OF_TEXT(out, "null");
        } else {
            rows_of_cell(rows, c, &cell);
            mg_cell_json(&cell, out);
        }
    }
    ROWS_OF_TEXT(out, "}");
}

static enum mg_err encode_table(const struct mg_codec_job *job, struct mg_buf *out,
                                struct mg_errmsg *err)
{
    const struct mg_table *table = job->value->table;
    struct rows_of rows;
    struct keys_of keys = {0};
    bool more = true, first = true;
    enum mg_err e = rows_of_open(&rows, table, table->crs != NULL, err);
    if (!e)
        e = keys_of_open(&keys, table, err);
    ROWS_OF_TEXT(out, "[");
    while (!e && !(e = rows_of_next(&rows, &more, err)) && more) {
        mg_buf_put(out, first ? "\n" : ",\n", first ? 1 : 2);
        first = false;
        put_record(&rows, &keys, (int)job->options[OPT_PRECISION].number, out);
        if (out->failed)
            break;
    }
    mg_buf_str(out, "\n]\n");
    keys_of_close(&keys);
    rows_of_close(&rows);
    return e ? e : mg_buf_status(out, err);
}

static enum mg_err encode(const struct mg_codec_job *job, struct mg_buf *out, struct mg_errmsg *err)
{
    if (job->value->shape == MG_SHAPE_TABLE)
        return encode_table(job, out, err);
    mg_buf_put(out, job->value->text.data, job->value->text.len);
    return mg_buf_status(out, err);
}

const struct mg_codec mg_codec_json[] = {
    {.name = "json",
     .mime = "application/json",
     .extension = "json",
     .shapes = MG_SHAPE_TABLE | MG_SHAPE_JSON,
     .compressible = true,
     .options = options,
     .encode = encode},
    {0},
};
