/* JSON: a table as a list of records, its geometry a GeoJSON object; a plain value as it is.
 *
 * Integers are exact, NaN is null, dates and times are ISO strings, binary is base64. Geometry is WGS 84
 * longitude and latitude as in GeoJSON; one without a CRS is written in the coordinates it has.
 * json.orient=split names the columns once and gives the rows as lists, json.orient=values gives those alone.
 * Cost: 100 to 300 ns a row of five. */
#include "keys_of.h"
#include "rows_of.h"

enum { OPT_PRECISION, OPT_COLUMNS, OPT_ORIENT };
enum orient { RECORDS, SPLIT, VALUES };
static const struct mg_option options[] = {
    [OPT_PRECISION] = {"precision", MG_OPT_INT, 0, 15, NULL, "7", "decimals of a coordinate"},
    [OPT_COLUMNS] = {"columns", MG_OPT_STRING, 0, 4000, NULL, NULL,
                     "columns that are written: names between commas"},
    [OPT_ORIENT] = {"orient", MG_OPT_ENUM, 0, 0, "records,split,values", "records",
                    "rows as objects; as lists beside the columns' names; as lists alone"},
    {0},
};

/* A row as an object (with keys) or as a list. */
static void put_row(struct rows_of *rows, const struct keys_of *keys, int precision, struct mg_buf *out)
{
    struct mg_cell cell = {0};
    rows_of_put(out, keys ? "{" : "[", 1);
    for (int i = 0; i < rows->n; i++) {
        int c = rows->columns[i];
        if (i)
            ROWS_OF_TEXT(out, ",");
        if (keys) {
            struct mg_span key = keys_of_get(keys, c);
            rows_of_put(out, key.data, key.len);
        }
        if (c == rows->table->geometry) {
            struct mg_span wkb = rows_of_geometry(rows);
            if (!wkb.data || mg_wkb_to_geojson(wkb, precision, out))
                ROWS_OF_TEXT(out, "null");
        } else {
            rows_of_cell(rows, c, &cell);
            mg_cell_json(&cell, out);
        }
    }
    rows_of_put(out, keys ? "}" : "]", 1);
}

static void put_names(const struct rows_of *rows, struct mg_buf *out)
{
    ROWS_OF_TEXT(out, "{\"columns\":[");
    for (int i = 0; i < rows->n; i++) {
        struct mg_span name = rows_of_name(rows, rows->columns[i]);
        if (i)
            ROWS_OF_TEXT(out, ",");
        mg_buf_json_string(out, name.data, name.len);
    }
    ROWS_OF_TEXT(out, "],\n\"data\":");
}

static enum mg_err encode_table(const struct mg_codec_job *job, struct mg_buf *out, struct mg_errmsg *err)
{
    const struct mg_table *table = job->value->table;
    enum orient orient = (enum orient)job->options[OPT_ORIENT].number;
    struct rows_of rows;
    struct keys_of keys = {0};
    bool more = true, first = true;
    enum mg_err e = rows_of_open(&rows, table, table->crs != NULL, err);
    if (!e)
        e = rows_of_select(&rows, "json.columns", job->options[OPT_COLUMNS].text, err);
    if (!e)
        e = keys_of_open(&keys, table, err);
    if (!e && orient == SPLIT)
        put_names(&rows, out);
    ROWS_OF_TEXT(out, "[");
    while (!e && !(e = rows_of_next(&rows, &more, err)) && more) {
        rows_of_put(out, first ? "\n" : ",\n", first ? 1 : 2);
        first = false;
        put_row(&rows, orient == RECORDS ? &keys : NULL, (int)job->options[OPT_PRECISION].number, out);
        if (out->failed)
            break;
    }
    mg_buf_str(out, orient == SPLIT ? "\n]}\n" : "\n]\n");
    keys_of_close(&keys);
    rows_of_close(&rows);
    return e ? e : mg_buf_status(out, err);
}

static enum mg_err encode(const struct mg_codec_job *job, struct mg_buf *out, struct mg_errmsg *err)
{
    return rows_of_encode(job, encode_table, out, err);
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
