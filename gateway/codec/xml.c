/* XML: a table as <data> of <row>s, an element for each column; what any XML 1.0 reader takes.
 *
 * A column's name that is no element's name has what does not fit replaced by _ and comes in full in the
 * attribute `name`. Characters that XML 1.0 cannot hold (controls, U+FFFE, bytes that are not UTF-8) become
 * U+FFFD; a carriage return is a reference, because readers would turn it into a line feed. Null is xsi:nil.
 * Geometry is WKT in its own CRS, nested values are JSON, binary ones base64, doubles as XML Schema writes
 * them (NaN, INF). Cost: 200 to 400 ns a row of five. */
#include "rows_of.h"
#include "xml_of.h"

#include <math.h>
#include <stdlib.h>

enum { OPT_COLUMNS };
static const struct mg_option options[] = {
    [OPT_COLUMNS] = {"columns", MG_OPT_STRING, 0, 4000, NULL, NULL,
                     "columns that are written: names between commas"},
    {0},
};

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_name_char(char c)
{
    return is_letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '.';
}

/* "<name" or "<na_me name=\"na me\"", and "</name>", of a column. Names that begin with xml are reserved. */
struct tag {
    struct mg_buf open, close;
};

static void tag_init(struct tag *tag, struct mg_span name)
{
    bool reserved = name.len >= 3 && (name.data[0] | 32) == 'x' && (name.data[1] | 32) == 'm' &&
                    (name.data[2] | 32) == 'l';
    bool changed = name.len == 0 || !is_letter(name.data[0]) || reserved;
    mg_buf_init(&tag->open, 0);
    mg_buf_init(&tag->close, 0);
    mg_buf_str(&tag->open, changed ? "<_" : "<");
    for (size_t i = 0; i < name.len; i++) {
        bool fits = is_name_char(name.data[i]);
        changed |= !fits;
        mg_buf_char(&tag->open, fits ? name.data[i] : '_');
    }
    mg_buf_str(&tag->close, "</");
    mg_buf_put(&tag->close, tag->open.data + 1, tag->open.len ? tag->open.len - 1 : 0);
    mg_buf_str(&tag->close, ">\n");
    if (changed) {
        mg_buf_str(&tag->open, " name=\"");
        xml_of_text(name, true, &tag->open);
        mg_buf_char(&tag->open, '"');
    }
}

static void put_value(const struct mg_cell *cell, struct mg_buf *text, struct mg_buf *out)
{
    if (cell->type == MG_CELL_STRING || cell->type == MG_CELL_NESTED) {
        xml_of_text(cell->s, false, out);
    } else if (cell->type == MG_CELL_DOUBLE && !isfinite(cell->d)) {
        mg_buf_str(out, isnan(cell->d) ? "NaN" : cell->d > 0 ? "INF" : "-INF");
    } else {
        text->len = 0;
        mg_cell_text(cell, text);
        rows_of_put(out, text->data ? text->data : "", text->len);
    }
}

static void put_row(struct rows_of *rows, const struct tag *tags, struct mg_buf *text, struct mg_buf *out)
{
    ROWS_OF_TEXT(out, "<row>\n");
    for (int i = 0; i < rows->n; i++) {
        struct mg_cell cell = {0};
        const struct tag *tag = &tags[i];
        int c = rows->columns[i];
        rows_of_cell(rows, c, &cell);
        rows_of_put(out, tag->open.data, tag->open.len);
        if (cell.type == MG_CELL_NULL) {
            ROWS_OF_TEXT(out, " xsi:nil=\"true\"/>\n");
            continue;
        }
        ROWS_OF_TEXT(out, ">");
        if (c == rows->table->geometry && cell.type == MG_CELL_BINARY)
            mg_wkb_to_wkt(cell.s, out); /* letters, digits, parentheses: nothing to escape */
        else
            put_value(&cell, text, out);
        rows_of_put(out, tag->close.data, tag->close.len);
    }
    ROWS_OF_TEXT(out, "</row>\n");
}

static enum mg_err encode(const struct mg_codec_job *job, struct mg_buf *out, struct mg_errmsg *err)
{
    struct rows_of rows;
    struct mg_buf text;
    struct tag *tags = NULL;
    int n_tags = 0;
    bool more = true;
    enum mg_err e = rows_of_open(&rows, job->value->table, false, err);
    mg_buf_init(&text, 0);
    if (!e)
        e = rows_of_select(&rows, "xml.columns", job->options[OPT_COLUMNS].text, err);
    if (!e && !(tags = calloc((size_t)rows.n + 1, sizeof *tags)))
        e = mg_err_set(err, MG_E_NOMEM, "out of memory for a table's columns");
    for (; !e && n_tags < rows.n; n_tags++) {
        tag_init(&tags[n_tags], rows_of_name(&rows, rows.columns[n_tags]));
        if (tags[n_tags].open.failed || tags[n_tags].close.failed)
            e = mg_err_set(err, MG_E_NOMEM, "out of memory for a table's columns");
    }
    mg_buf_str(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                    "<data xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\n");
    while (!e && !(e = rows_of_next(&rows, &more, err)) && more && !out->failed)
        put_row(&rows, tags, &text, out);
    mg_buf_str(out, "</data>\n");
    for (int i = 0; i < n_tags; i++) {
        mg_buf_fini(&tags[i].open);
        mg_buf_fini(&tags[i].close);
    }
    free(tags);
    mg_buf_fini(&text);
    rows_of_close(&rows);
    return e ? e : mg_buf_status(out, err);
}

const struct mg_codec mg_codec_xml[] = {
    {.name = "xml",
     .mime = "application/xml; charset=utf-8",
     .extension = "xml",
     .shapes = MG_SHAPE_TABLE,
     .compressible = true,
     .options = options,
     .encode = encode},
    {0},
};
