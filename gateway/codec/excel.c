/* Excel (Office Open XML, ECMA-376): one sheet, a frozen bold header, then the rows.
 *
 * Our own writer and not libxlsxwriter, which has no memory output, needs files on disk and prints
 * each number with snprintf: 5 times slower. What Excel cannot hold exactly is text: integers
 * beyond 2^53, dates before 1900 (or after 9999), decimals of too many digits. NaN and null are
 * empty cells, infinities the error #NUM!. Timestamps are UTC, to the microsecond that a double
 * holds. Text is always text: no formula and no link is made of it. Geometry is WKT. The XML goes
 * through a window of 64 kB into ISA-L. */
#include "excel_zip.h"
#include "rows_of.h"

#include <math.h>
#include <strings.h>

enum {
    MAX_ROWS = 1048576,
    MAX_COLUMNS = 16384,
    MAX_CELL = 32767, /* UTF-16 code units */
    MAX_SHEET_NAME = 31,
    WINDOW = 64 << 10,
    SAMPLE_ROWS = 100,
    MIN_WIDTH = 8,
    MAX_WIDTH = 60,
};
enum { STYLE_PLAIN, STYLE_HEADER, STYLE_DATE, STYLE_TIME }; /* cellXfs of the styles below */

enum { OPT_SHEET };
static const struct mg_option options[] = {
    [OPT_SHEET] = {"sheet", MG_OPT_STRING, 1, 4 * MAX_SHEET_NAME, NULL, "Sheet1",
                   "the sheet's name"},
    {0},
};

#define XML "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n"
#define MAIN_NS "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
#define REL_NS "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
#define PACKAGE_NS "http://schemas.openxmlformats.org/package/2006/"
#define PART "application/vnd.openxmlformats-officedocument.spreadsheetml."
static const struct {
    const char *name, *xml;
} fixed_parts[] = {
    {"[Content_Types].xml",
     XML "<Types xmlns=\"" PACKAGE_NS "content-types\">"
         "<Default Extension=\"rels\" "
         "ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/>"
         "<Default Extension=\"xml\" ContentType=\"application/xml\"/>"
         "<Override PartName=\"/xl/workbook.xml\" ContentType=\"" PART "sheet.main+xml\"/>"
         "<Override PartName=\"/xl/worksheets/sheet1.xml\" ContentType=\"" PART "worksheet+xml\"/>"
         "<Override PartName=\"/xl/styles.xml\" ContentType=\"" PART "styles+xml\"/></Types>"},
    {"_rels/.rels", XML "<Relationships xmlns=\"" PACKAGE_NS
                        "relationships\"><Relationship Id=\"rId1\" Type=\"" REL_NS
                        "/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>"},
    {"xl/_rels/workbook.xml.rels", XML
     "<Relationships xmlns=\"" PACKAGE_NS "relationships\"><Relationship Id=\"rId1\" Type=\"" REL_NS
     "/worksheet\" Target=\"worksheets/sheet1.xml\"/><Relationship Id=\"rId2\" Type=\"" REL_NS
     "/styles\" Target=\"styles.xml\"/></Relationships>"},
    {"xl/styles.xml", XML
     "<styleSheet xmlns=\"" MAIN_NS
     "\"><numFmts count=\"2\"><numFmt numFmtId=\"164\" formatCode=\"yyyy\\-mm\\-dd\"/>"
     "<numFmt numFmtId=\"165\" formatCode=\"yyyy\\-mm\\-dd\\ hh:mm:ss\"/></numFmts>"
     "<fonts count=\"2\"><font><sz val=\"11\"/><name val=\"Calibri\"/><family val=\"2\"/></font>"
     "<font><b/><sz val=\"11\"/><name val=\"Calibri\"/><family val=\"2\"/></font></fonts>"
     "<fills count=\"2\"><fill><patternFill patternType=\"none\"/></fill>"
     "<fill><patternFill patternType=\"gray125\"/></fill></fills>"
     "<borders count=\"1\"><border><left/><right/><top/><bottom/><diagonal/></border></borders>"
     "<cellStyleXfs count=\"1\"><xf numFmtId=\"0\" fontId=\"0\" fillId=\"0\" "
     "borderId=\"0\"/></cellStyleXfs>"
     "<cellXfs count=\"4\"><xf numFmtId=\"0\" fontId=\"0\" fillId=\"0\" borderId=\"0\" xfId=\"0\"/>"
     "<xf numFmtId=\"0\" fontId=\"1\" fillId=\"0\" borderId=\"0\" xfId=\"0\" applyFont=\"1\"/>"
     "<xf numFmtId=\"164\" fontId=\"0\" fillId=\"0\" borderId=\"0\" xfId=\"0\" "
     "applyNumberFormat=\"1\"/>"
     "<xf numFmtId=\"165\" fontId=\"0\" fillId=\"0\" borderId=\"0\" xfId=\"0\" "
     "applyNumberFormat=\"1\"/></cellXfs>"
     "<cellStyles count=\"1\"><cellStyle name=\"Normal\" xfId=\"0\" "
     "builtinId=\"0\"/></cellStyles></styleSheet>"},
};

/* Length of the UTF-8 sequence at `at` (RFC 3629); 0 when it is none. */
static size_t sequence(const unsigned char *at, size_t left)
{
    size_t n = at[0] < 0x80   ? 1
               : at[0] < 0xc2 ? 0
               : at[0] < 0xe0 ? 2
               : at[0] < 0xf0 ? 3
               : at[0] < 0xf5 ? 4
                              : 0;
    if (n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    bool bad = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] >= 0xa0) ||
               (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] >= 0x90);
    return n > 1 && bad ? 0 : n;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* "_x0041_" in a text would be read as "A". */
static bool looks_escaped(struct mg_span s)
{
    return s.len >= 7 && s.data[1] == 'x' && is_hex(s.data[2]) && is_hex(s.data[3]) &&
           is_hex(s.data[4]) && is_hex(s.data[5]) && s.data[6] == '_';
}

/* Which bytes cannot stand as they are: 1 in XML, 2 perhaps in Excel, 4 not ASCII. */
static const uint8_t special[256] = {
    [0 ... 8] = 1, [9 ... 10] = 0, [11 ... 31] = 1, ['&'] = 1,  ['<'] = 1,
    ['>'] = 1,     ['"'] = 1,      ['_'] = 2,       [0x7f] = 0, [0x80 ... 0xff] = 4,
};

static void put_escape(unsigned char c, struct mg_buf *out)
{
    static const char digits[] = "0123456789ABCDEF";
    switch (c) {
    case '&':
        ROWS_OF_TEXT(out, "&amp;");
        return;
    case '<':
        ROWS_OF_TEXT(out, "&lt;");
        return;
    case '>':
        ROWS_OF_TEXT(out, "&gt;");
        return;
    case '"':
        ROWS_OF_TEXT(out, "&quot;");
        return;
    default: { /* a control character, as Excel itself writes it */
        const char text[] = {'_', 'x', '0', '0', digits[c >> 4], digits[c & 15], '_'};
        rows_of_put(out, text, sizeof text);
    }
    }
}

/* As XML text, also of an attribute; returns its UTF-16 code units. */
static size_t put_text(struct mg_span s, struct mg_buf *out)
{
    size_t units = 0;
    while (s.len) {
        size_t plain = 0;
        while (plain < s.len && !special[(unsigned char)s.data[plain]])
            plain++;
        rows_of_put(out, s.data, plain);
        units += plain;
        s = (struct mg_span){s.data + plain, s.len - plain};
        if (!s.len)
            break;
        unsigned char c = (unsigned char)s.data[0];
        size_t n = sequence((const unsigned char *)s.data, s.len);
        bool none = n == 0 || (n == 3 && c == 0xef && (unsigned char)s.data[1] == 0xbf &&
                               (unsigned char)s.data[2] >= 0xbe); /* U+FFFE and U+FFFF are no XML */
        units += n == 4 ? 2 : 1;
        n = n ? n : 1;
        if (none)
            ROWS_OF_TEXT(out, "\357\277\275");
        else if (special[c] == 1)
            put_escape(c, out);
        else if (special[c] == 2 && looks_escaped(s))
            ROWS_OF_TEXT(out, "_x005F_");
        else
            rows_of_put(out, s.data, n);
        s = (struct mg_span){s.data + n, s.len - n};
    }
    return units;
}

static size_t column_letters(int column, char out[4])
{
    char reversed[4];
    size_t n = 0;
    for (int c = column + 1; c > 0; c = (c - 1) / 26)
        reversed[n++] = (char)('A' + (c - 1) % 26);
    for (size_t i = 0; i < n; i++)
        out[i] = reversed[n - 1 - i];
    return n;
}

struct sheet {
    struct excel_zip *zip;
    struct rows_of rows;
    struct mg_buf xml, wkt;
    int64_t row; /* of the sheet, from 1 */
    char digits[24];
    size_t n_digits; /* of row as text */
};

static void flush(struct sheet *sheet, bool last)
{
    if (sheet->xml.len < WINDOW && !last)
        return;
    excel_zip_put(sheet->zip,
                  (struct mg_span){sheet->xml.data ? sheet->xml.data : "", sheet->xml.len}, last);
    sheet->xml.len = 0;
}

static void begin_row(struct sheet *sheet)
{
    struct mg_buf *xml = &sheet->xml;
    size_t at;
    sheet->row++;
    ROWS_OF_TEXT(xml, "<row r=\"");
    at = xml->len;
    mg_buf_int(xml, sheet->row);
    sheet->n_digits = xml->failed ? 0 : xml->len - at;
    if (sheet->n_digits)
        memcpy(sheet->digits, xml->data + at, sheet->n_digits);
    ROWS_OF_TEXT(xml, "\">");
}

/* `<c r="B7"`, without an end. */
static void begin_cell(struct sheet *sheet, int column)
{
    char letters[4];
    size_t n = column_letters(column, letters);
    ROWS_OF_TEXT(&sheet->xml, "<c r=\"");
    rows_of_put(&sheet->xml, letters, n);
    rows_of_put(&sheet->xml, sheet->digits, sheet->n_digits);
    ROWS_OF_TEXT(&sheet->xml, "\"");
}

static enum mg_err put_string(struct sheet *sheet, int column, struct mg_span text, bool header,
                              struct mg_errmsg *err)
{
    struct mg_buf *xml = &sheet->xml;
    begin_cell(sheet, column);
    if (header)
        ROWS_OF_TEXT(xml, " s=\"1\"");
    ROWS_OF_TEXT(xml, " t=\"inlineStr\"><is><t xml:space=\"preserve\">");
    size_t units = put_text(text, xml);
    ROWS_OF_TEXT(xml, "</t></is></c>");
    if (units <= MAX_CELL)
        return MG_OK;
    const char *name = sheet->rows.table->schema.children[column]->name;
    return mg_err_set(err, MG_E_NOT_ACCEPTABLE,
                      "an Excel cell holds at most %d characters; row %lld, column \"%.80s\" has "
                      "%zu: shorten it, drop "
                      "the column, or ask for csv, parquet or json",
                      MAX_CELL, (long long)sheet->row - 1, name ? name : "", units);
}

static void put_number(struct sheet *sheet, int column, int style, double value)
{
    struct mg_buf *xml = &sheet->xml;
    begin_cell(sheet, column);
    if (style == STYLE_DATE)
        ROWS_OF_TEXT(xml, " s=\"2\"");
    else if (style == STYLE_TIME)
        ROWS_OF_TEXT(xml, " s=\"3\"");
    ROWS_OF_TEXT(xml, "><v>");
    if (value == floor(value) && fabs(value) < 1e15)
        mg_buf_int(xml, (int64_t)value);
    else
        mg_buf_double(xml, value);
    ROWS_OF_TEXT(xml, "</v></c>");
}

/* Days since 1970 as Excel counts; false for what it does not know: before 1900 and after 9999. It
 * believes in a 29 February 1900, so that the first two months are a day behind. */
static bool serial_of(double days, double *out)
{
    enum { FIRST = -25567, MARCH = -25508, BEHIND_LAST = 2932897 };
    if (!(days >= FIRST && days < BEHIND_LAST))
        return false;
    *out = days + (days >= MARCH ? 25569 : 25568);
    return true;
}

static enum mg_err put_time(struct sheet *sheet, int column, const struct mg_cell *cell,
                            struct mg_errmsg *err)
{
    char text[40];
    double serial;
    bool date = cell->type == MG_CELL_DATE;
    if (serial_of(date ? (double)cell->i : (double)cell->i / 86400e6, &serial)) {
        put_number(sheet, column, date ? STYLE_DATE : STYLE_TIME, serial);
        return MG_OK;
    }
    size_t n = mg_time_text(cell, text);
    return n ? put_string(sheet, column, (struct mg_span){text, n}, false, err) : MG_OK;
}

static enum mg_err put_as_text(struct sheet *sheet, int column, const struct mg_cell *cell,
                               struct mg_errmsg *err)
{
    sheet->wkt.len = 0;
    if (column == sheet->rows.table->geometry && cell->type == MG_CELL_BINARY)
        mg_wkb_to_wkt(cell->s, &sheet->wkt);
    else
        mg_cell_text(cell, &sheet->wkt);
    enum mg_err e = mg_buf_status(&sheet->wkt, err);
    if (e || !sheet->wkt.len)
        return e;
    return put_string(sheet, column, (struct mg_span){sheet->wkt.data, sheet->wkt.len}, false, err);
}

static enum mg_err put_cell(struct sheet *sheet, int column, const struct mg_cell *cell,
                            struct mg_errmsg *err)
{
    static const int64_t exact = (int64_t)1 << 53;
    struct mg_buf *xml = &sheet->xml;
    switch (cell->type) {
    case MG_CELL_NULL:
        return MG_OK;
    case MG_CELL_BOOL:
        begin_cell(sheet, column);
        if (cell->b)
            ROWS_OF_TEXT(xml, " t=\"b\"><v>1</v></c>");
        else
            ROWS_OF_TEXT(xml, " t=\"b\"><v>0</v></c>");
        return MG_OK;
    case MG_CELL_INT:
        if (cell->i > exact || cell->i < -exact)
            return put_as_text(sheet, column, cell, err);
        put_number(sheet, column, STYLE_PLAIN, (double)cell->i);
        return MG_OK;
    case MG_CELL_UINT:
        if (cell->u > (uint64_t)exact)
            return put_as_text(sheet, column, cell, err);
        put_number(sheet, column, STYLE_PLAIN, (double)cell->u);
        return MG_OK;
    case MG_CELL_DOUBLE:
        if (isinf(cell->d)) {
            begin_cell(sheet, column);
            ROWS_OF_TEXT(xml, " t=\"e\"><v>#NUM!</v></c>");
        } else if (!isnan(cell->d)) {
            put_number(sheet, column, STYLE_PLAIN, cell->d);
        }
        return MG_OK;
    case MG_CELL_DATE:
    case MG_CELL_TIMESTAMP:
        return put_time(sheet, column, cell, err);
    case MG_CELL_STRING:
    case MG_CELL_NESTED:
        return put_string(sheet, column, cell->s, false, err);
    case MG_CELL_BINARY:
        return put_as_text(sheet, column, cell, err);
    }
    return MG_OK;
}

/* Characters of the text up to its first line's end; the widest decides the column. */
static int shown_width(struct mg_span s)
{
    int n = 0;
    for (size_t i = 0; i < s.len && s.data[i] != '\n' && n < MAX_WIDTH; i++)
        n += ((unsigned char)s.data[i] & 0xc0) != 0x80;
    return n;
}

/* Of the names and the first rows. */
static enum mg_err put_widths(struct sheet *sheet, struct mg_errmsg *err)
{
    const struct mg_table *table = sheet->rows.table;
    struct mg_buf text;
    enum mg_err e = MG_OK;
    mg_buf_init(&text, 0);
    if (sheet->rows.n)
        ROWS_OF_TEXT(&sheet->xml, "<cols>");
    for (int c = 0; !e && c < sheet->rows.n; c++) {
        int width = shown_width(mg_span(table->schema.children[c]->name));
        struct mg_cursor *cursor = NULL;
        int64_t n = table->n_batches ? table->batches[0].length : 0;
        if (n)
            e = mg_cursor_open(table, 0, c, &cursor, err);
        for (int64_t r = 0; !e && r < n && r < SAMPLE_ROWS; r++) {
            struct mg_cell cell = {0};
            mg_cursor_get(cursor, r, &cell);
            text.len = 0;
            if (cell.type != MG_CELL_BINARY && cell.type != MG_CELL_STRING)
                mg_cell_text(&cell, &text);
            struct mg_span shown =
                cell.type == MG_CELL_STRING ? cell.s : (struct mg_span){text.data, text.len};
            int wide = cell.type == MG_CELL_BINARY ? MAX_WIDTH / 2 : shown_width(shown);
            width = wide > width ? wide : width;
        }
        mg_cursor_close(&cursor);
        width = width + 2 < MIN_WIDTH ? MIN_WIDTH : width + 2 > MAX_WIDTH ? MAX_WIDTH : width + 2;
        mg_buf_printf(&sheet->xml, "<col min=\"%d\" max=\"%d\" width=\"%d\" customWidth=\"1\"/>",
                      c + 1, c + 1, width);
    }
    if (sheet->rows.n)
        ROWS_OF_TEXT(&sheet->xml, "</cols>");
    mg_buf_fini(&text);
    return e;
}

static enum mg_err put_rows(struct sheet *sheet, struct mg_errmsg *err)
{
    const struct mg_table *table = sheet->rows.table;
    enum mg_err e = MG_OK;
    bool more = true;
    begin_row(sheet);
    for (int c = 0; !e && c < sheet->rows.n; c++) {
        const char *name = table->schema.children[c]->name;
        e = put_string(sheet, c, mg_span(name ? name : ""), true, err);
    }
    ROWS_OF_TEXT(&sheet->xml, "</row>");
    while (!e && !(e = rows_of_next(&sheet->rows, &more, err)) && more) {
        begin_row(sheet);
        for (int c = 0; !e && c < sheet->rows.n; c++) {
            struct mg_cell cell = {0};
            rows_of_cell(&sheet->rows, c, &cell);
            e = put_cell(sheet, c, &cell, err);
        }
        ROWS_OF_TEXT(&sheet->xml, "</row>");
        flush(sheet, false);
        if (!e)
            e = mg_buf_status(sheet->zip->out, err);
    }
    return e ? e : mg_buf_status(&sheet->xml, err);
}

static enum mg_err put_sheet(struct sheet *sheet, const struct mg_table *table,
                             struct mg_errmsg *err)
{
    enum mg_err e = excel_zip_begin(sheet->zip, "xl/worksheets/sheet1.xml", err);
    mg_buf_init(&sheet->xml, 0);
    mg_buf_init(&sheet->wkt, 0);
    if (!e)
        e = rows_of_open(&sheet->rows, table, false, err);
    if (e)
        goto out;
    mg_buf_str(&sheet->xml, XML
               "<worksheet xmlns=\"" MAIN_NS
               "\"><sheetViews><sheetView tabSelected=\"1\" workbookViewId=\"0\">"
               "<pane ySplit=\"1\" topLeftCell=\"A2\" activePane=\"bottomLeft\" state=\"frozen\"/>"
               "<selection pane=\"bottomLeft\"/></sheetView></sheetViews><sheetFormatPr "
               "defaultRowHeight=\"15\"/>");
    e = put_widths(sheet, err);
    ROWS_OF_TEXT(&sheet->xml, "<sheetData>");
    if (!e)
        e = put_rows(sheet, err);
    ROWS_OF_TEXT(&sheet->xml, "</sheetData></worksheet>");
    flush(sheet, true);
    if (!e)
        e = mg_buf_status(&sheet->xml, err);
out:
    rows_of_close(&sheet->rows);
    mg_buf_fini(&sheet->xml);
    mg_buf_fini(&sheet->wkt);
    return e;
}

static enum mg_err put_part(struct excel_zip *zip, const char *name, struct mg_span xml,
                            struct mg_errmsg *err)
{
    enum mg_err e = excel_zip_begin(zip, name, err);
    if (!e)
        excel_zip_put(zip, xml, true);
    return e;
}

static enum mg_err put_workbook(struct excel_zip *zip, struct mg_span sheet, struct mg_errmsg *err)
{
    struct mg_buf xml;
    mg_buf_init(&xml, 0);
    mg_buf_str(&xml, XML "<workbook xmlns=\"" MAIN_NS "\" xmlns:r=\"" REL_NS
                         "\"><bookViews><workbookView/></bookViews>"
                         "<sheets><sheet name=\"");
    put_text(sheet, &xml);
    mg_buf_str(&xml, "\" sheetId=\"1\" r:id=\"rId1\"/></sheets></workbook>");
    enum mg_err e = mg_buf_status(&xml, err);
    if (!e)
        e = put_part(zip, "xl/workbook.xml", (struct mg_span){xml.data, xml.len}, err);
    mg_buf_fini(&xml);
    return e;
}

/* What Excel itself refuses as the name of a sheet. */
static enum mg_err check_name(struct mg_span name, struct mg_errmsg *err)
{
    const char *wrong = NULL;
    size_t units = 0;
    for (size_t i = 0, n; i < name.len && !wrong; i += n) {
        unsigned char c = (unsigned char)name.data[i];
        n = sequence((const unsigned char *)name.data + i, name.len - i);
        if (n == 0 || c < 0x20 || c == 0x7f || strchr("[]:*?/\\", c))
            wrong = "it holds one of [ ] : * ? / \\ or no character";
        units += n == 4 ? 2 : 1;
    }
    if (!wrong && (units == 0 || units > MAX_SHEET_NAME))
        wrong = "it has not 1 to 31 characters";
    else if (!wrong && (name.data[0] == '\'' || name.data[name.len - 1] == '\''))
        wrong = "it begins or ends with an apostrophe";
    else if (!wrong && name.len == 7 && strncasecmp(name.data, "history", 7) == 0)
        wrong = "Excel keeps that name for itself";
    if (!wrong)
        return MG_OK;
    return mg_err_set(err, MG_E_PARAMETER,
                      "excel.sheet is \"%.*s\", which cannot be a sheet's name: %s",
                      name.len > 60 ? 60 : (int)name.len, name.data, wrong);
}

static enum mg_err encode(const struct mg_codec_job *job, struct mg_buf *out, struct mg_errmsg *err)
{
    const struct mg_table *table = job->value->table;
    struct excel_zip zip;
    struct sheet sheet = {.zip = &zip};
    struct mg_span name = job->options[OPT_SHEET].text;
    if (!name.data)
        name = MG_SPAN("Sheet1");
    enum mg_err e = check_name(name, err);
    if (e)
        return e;
    if (table->rows > MAX_ROWS - 1 || table->schema.n_children > MAX_COLUMNS)
        return mg_err_set(err, MG_E_NOT_ACCEPTABLE,
                          "an Excel sheet holds %d rows below its header and %d columns, the table "
                          "has %lld and %lld: ask "
                          "for csv, parquet or feather",
                          MAX_ROWS - 1, MAX_COLUMNS, (long long)table->rows,
                          (long long)table->schema.n_children);
    excel_zip_init(&zip, out);
    for (size_t i = 0; !e && i < sizeof fixed_parts / sizeof *fixed_parts; i++)
        e = put_part(&zip, fixed_parts[i].name, mg_span(fixed_parts[i].xml), err);
    if (!e)
        e = put_workbook(&zip, name, err);
    if (!e)
        e = put_sheet(&sheet, table, err);
    return e ? e : excel_zip_end(&zip, err);
}

const struct mg_codec mg_codec_excel[] = {
    {.name = "excel",
     .aliases = "xlsx",
     .mime = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
     .extension = "xlsx",
     .shapes = MG_SHAPE_TABLE,
     .options = options,
     .encode = encode},
    {0},
};
