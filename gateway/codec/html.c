/* HTML: a string as the page it is; a table as a page of its own, sortable by a click on a column.
 *
 * Everything of the table is escaped. The page needs nothing from outside. Geometry is WKT, cut
 * after 60 characters; html.rows bounds the rows that are shown, and a line says how many there
 * are. */
#include "rows_of.h"

enum { OPT_ROWS, OPT_COLUMNS, WKT_SHOWN = 60 };
static const struct mg_option options[] = {
    [OPT_ROWS] = {"rows", MG_OPT_INT, 1, 1000000, NULL, "10000", "rows that are shown at most"},
    [OPT_COLUMNS] = {"columns", MG_OPT_STRING, 0, 4000, NULL, NULL,
                     "columns that are shown: names between commas"},
    {0},
};

static const char head[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
    "<meta name=\"viewport\" "
    "content=\"width=device-width,initial-scale=1\"><title>Table</title>\n<style>"
    "body{font:14px/1.4 system-ui,sans-serif;margin:1rem;color:#1d2530;background:#fff}"
    "table{border-collapse:collapse}"
    "th,td{padding:.25rem .6rem;border-bottom:1px solid #d8dee6;text-align:left;vertical-align:top}"
    "th{position:sticky;top:0;background:#f2f5f8}"
    "th button{all:unset;cursor:pointer;font-weight:600}th button:focus-visible{outline:2px solid "
    "#2962ff}"
    "th[aria-sort=ascending] button::after{content:\" \\25B2\"}"
    "th[aria-sort=descending] button::after{content:\" \\25BC\"}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}td.g{font-family:monospace;color:#"
    "5b6775}"
    "@media(prefers-color-scheme:dark){body{color:#dde4ec;background:#14181d}th{background:#1f262e}"
    "th,td{border-color:#36404b}}"
    "</style></head><body>\n";

static const char script[] =
    "<script>\n"
    "document.querySelectorAll('th').forEach((th,i)=>th.firstChild.addEventListener('click',()=>{\n"
    "const up=th.getAttribute('aria-sort')!=='ascending',body=document.querySelector('tbody');\n"
    "document.querySelectorAll('th').forEach(o=>o.removeAttribute('aria-sort'));\n"
    "th.setAttribute('aria-sort',up?'ascending':'descending');\n"
    "const key=r=>r.cells[i].textContent,rows=[...body.rows];\n"
    "rows.sort((a,b)=>{const x=key(a),y=key(b);if(x===''||y==='')return(x==='')-(y==='');\n"
    "const d=x-y;return(isNaN(d)?x.localeCompare(y):d)*(up?1:-1)});\n"
    "body.append(...rows)}));\n"
    "</script>\n";

static void put_cell(struct rows_of *rows, int column, struct mg_buf *text, struct mg_buf *out)
{
    struct mg_cell cell = {0};
    rows_of_cell(rows, column, &cell);
    bool number =
        cell.type == MG_CELL_INT || cell.type == MG_CELL_UINT || cell.type == MG_CELL_DOUBLE;
    text->len = 0;
    if (column == rows->table->geometry && cell.type == MG_CELL_BINARY) {
        mg_wkb_to_wkt(cell.s, text);
        mg_buf_str(out, "<td class=\"g\">");
        mg_buf_html(out, text->data ? text->data : "",
                    text->len < WKT_SHOWN ? text->len : WKT_SHOWN);
        if (text->len > WKT_SHOWN)
            mg_buf_str(out, "\xE2\x80\xA6");
    } else {
        mg_cell_text(&cell, text);
        mg_buf_str(out, number ? "<td class=\"n\">" : "<td>");
        mg_buf_html(out, text->data ? text->data : "", text->len);
    }
    mg_buf_str(out, "</td>");
}

static enum mg_err encode_table(const struct mg_codec_job *job, struct mg_buf *out,
                                struct mg_errmsg *err)
{
    const struct mg_table *table = job->value->table;
    struct rows_of rows;
    struct mg_buf text;
    int64_t shown = (int64_t)job->options[OPT_ROWS].number;
    bool more = true;
    enum mg_err e = rows_of_open(&rows, table, false, err);
    if (!e)
        e = rows_of_select(&rows, "html.columns", job->options[OPT_COLUMNS].text, err);
    mg_buf_init(&text, 0);
    shown = shown < table->rows ? shown : table->rows;
    mg_buf_put(out, head, sizeof head - 1);
    mg_buf_str(out, "<p>");
    mg_buf_int(out, table->rows);
    mg_buf_str(out, table->rows == 1 ? " row" : " rows");
    if (shown < table->rows) {
        mg_buf_str(out, ", the first ");
        mg_buf_int(out, shown);
        mg_buf_str(out, " shown (html.rows)");
    }
    mg_buf_str(out, "</p>\n<table><thead><tr>");
    for (int i = 0; !e && i < rows.n; i++) {
        struct mg_span name = rows_of_name(&rows, rows.columns[i]);
        mg_buf_str(out, "<th scope=\"col\"><button type=\"button\">");
        mg_buf_html(out, name.data, name.len);
        mg_buf_str(out, "</button></th>");
    }
    mg_buf_str(out, "</tr></thead><tbody>\n");
    for (int64_t i = 0; !e && i < shown && !out->failed; i++) {
        if ((e = rows_of_next(&rows, &more, err)) || !more)
            break;
        mg_buf_str(out, "<tr>");
        for (int c = 0; c < rows.n; c++)
            put_cell(&rows, rows.columns[c], &text, out);
        mg_buf_str(out, "</tr>\n");
    }
    mg_buf_str(out, "</tbody></table>\n");
    mg_buf_put(out, script, sizeof script - 1);
    mg_buf_str(out, "</body></html>\n");
    mg_buf_fini(&text);
    rows_of_close(&rows);
    return e ? e : mg_buf_status(out, err);
}

static enum mg_err encode(const struct mg_codec_job *job, struct mg_buf *out, struct mg_errmsg *err)
{
    return rows_of_encode(job, encode_table, out, err);
}

const struct mg_codec mg_codec_html[] = {
    {.name = "html",
     .mime = "text/html; charset=utf-8",
     .extension = "html",
     .shapes = MG_SHAPE_TABLE | MG_SHAPE_TEXT,
     .compressible = true,
     .options = options,
     .encode = encode},
    {0},
};
