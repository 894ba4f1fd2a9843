/* Cursors over a column, and the text of a cell.
 *
 * A cursor resolves type, offset and buffers once; get is one switch and one load. The JSON of a
 * nested cell is built in the cursor's own buffer. Times are civil dates of the proleptic Gregorian
 * calendar by Howard Hinnant's days algorithm ("chrono-Compatible Low-Level Date Algorithms"). */
#include "moongate/table_plain.h"
#include "table_arrow.h"

#include <math.h>
#include <stdlib.h>

/* One array, ready to be read. */
struct view {
    const struct ArrowSchema *schema;
    const struct ArrowArray *array;
    struct arrow_type type;
};
struct mg_cursor {
    struct view view;  /* of the column, or of the indices of its dictionary */
    struct view words; /* the dictionary */
    int64_t offset;    /* of the batch */
    struct mg_buf text;
};

static bool view_init(struct view *view, const struct ArrowSchema *schema,
                      const struct ArrowArray *array)
{
    view->schema = schema;
    view->array = array;
    return arrow_type_parse(schema->format, &view->type);
}

enum mg_err mg_cursor_open(const struct mg_table *table, size_t batch, int column,
                           struct mg_cursor **out, struct mg_errmsg *err)
{
    if (batch >= table->n_batches || column < 0 || column >= table->schema.n_children)
        return mg_err_set(err, MG_E_ARGUMENT, "the table has no column %d in batch %zu", column,
                          batch);
    struct mg_cursor *cursor = calloc(1, sizeof *cursor);
    if (!cursor)
        return mg_err_set(err, MG_E_NOMEM, "out of memory for a cursor");
    const struct ArrowSchema *schema = table->schema.children[column];
    const struct ArrowArray *array = table->batches[batch].children[column];
    mg_buf_init(&cursor->text, (size_t)64 << 20);
    cursor->offset = table->batches[batch].offset;
    bool ok = view_init(&cursor->view, schema, array);
    if (ok && schema->dictionary)
        ok = view_init(&cursor->words, schema->dictionary, array->dictionary);
    MG_ASSERT(ok); /* import saw these formats */
    *out = cursor;
    return MG_OK;
}

void mg_cursor_close(struct mg_cursor **cursor)
{
    if (!*cursor)
        return;
    mg_buf_fini(&(*cursor)->text);
    free(*cursor);
    *cursor = NULL;
}

static double half_to_double(uint16_t h)
{
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double value = exponent == 31 ? (fraction ? NAN : INFINITY)
                   : exponent     ? ldexp(1024 + fraction, exponent - 25)
                                  : ldexp(fraction, -24);
    return h & 0x8000 ? -value : value;
}

/* Divides a number of four 64-bit words, the lowest first, by ten; gives the remainder. */
static int divide_by_ten(uint64_t words[4])
{
    uint64_t rest = 0;
    for (int i = 3; i >= 0; i--) {
        unsigned __int128 part = (unsigned __int128)rest << 64 | words[i];
        words[i] = (uint64_t)(part / 10);
        rest = (uint64_t)(part % 10);
    }
    return (int)rest;
}

/* Two's complement of `width` bytes as sign and size. */
static bool load_decimal(const uint8_t *at, size_t width, uint64_t words[4])
{
    bool negative = at[width - 1] >> 7;
    uint64_t carry = negative;
    memset(words, negative ? 0xFF : 0, 32);
    memcpy(words, at, width);
    for (int i = 0; negative && i < 4; i++) {
        words[i] = ~words[i] + carry;
        carry = carry && words[i] == 0;
    }
    return negative;
}

/* A decimal is a whole number or a double where that is exact or the nearest, else its text. */
static void get_decimal(struct mg_buf *text, const uint8_t *at, const struct arrow_type *type,
                        struct mg_cell *out)
{
    static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                  1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                  1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    uint64_t words[4];
    int scale = type->scale;
    bool negative = load_decimal(at, (size_t)type->width, words);
    bool one_word = !(words[1] | words[2] | words[3]);
    if (one_word && ((scale == 0 && words[0] <= INT64_MAX) ||
                     (scale > 0 && scale <= 22 && words[0] < UINT64_C(1) << 53))) {
        out->type = scale ? MG_CELL_DOUBLE : MG_CELL_INT;
        out->i = negative ? -(int64_t)words[0] : (int64_t)words[0];
        out->d = (double)out->i / tens[scale];
        return;
    }
    char digits[3 * ARROW_MAX_DIGITS], *end = digits + sizeof digits, *p = end;
    bool zero = one_word && words[0] == 0;
    for (int i = zero ? 0 : scale; i < 0; i++)
        *--p = '0';
    for (int n = 0; !zero || n <= (scale > 0 ? scale : 0); n++) {
        if (n == scale && n > 0)
            *--p = '.';
        *--p = (char)('0' + divide_by_ten(words));
        zero = !(words[0] | words[1] | words[2] | words[3]);
    }
    if (negative)
        *--p = '-';
    text->len = 0;
    mg_buf_put(text, p, (size_t)(end - p));
    out->type = MG_CELL_STRING;
    out->s = (struct mg_span){text->data, text->len};
}

static void put_two(char *at, int value)
{
    at[0] = (char)('0' + value / 10);
    at[1] = (char)('0' + value % 10);
}

/* "12:34:56" or with six decimals. */
static size_t clock_text(int64_t micros, char *at)
{
    int seconds = (int)(micros / 1000000), rest = (int)(micros % 1000000);
    put_two(at, seconds / 3600 % 24);
    at[2] = ':';
    put_two(at + 3, seconds / 60 % 60);
    at[5] = ':';
    put_two(at + 6, seconds % 60);
    if (!rest)
        return 8;
    at[8] = '.';
    for (int i = 5; i >= 0; i--, rest /= 10)
        at[9 + i] = (char)('0' + rest % 10);
    return 15;
}

static void get_time(struct mg_buf *text, int64_t value, int64_t unit, struct mg_cell *out)
{
    char clock[16];
    int64_t per_day = 86400 * unit;
    if (value < 0 || value >= per_day) {
        out->type = MG_CELL_NULL;
        return;
    }
    int64_t micros = unit <= 1000000 ? value * (1000000 / unit) : value / (unit / 1000000);
    size_t n = clock_text(micros, clock);
    text->len = 0;
    mg_buf_put(text, clock, n);
    out->type = MG_CELL_STRING;
    out->s = (struct mg_span){text->data, text->len};
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static void nested_json(const struct view *view, int64_t at, int depth, struct mg_buf *out);

/* `at` counts from the start of the buffers. */
static inline void view_get(const struct view *view, int64_t at, struct mg_buf *text, int depth,
                            struct mg_cell *out)
{
    const struct ArrowArray *array = view->array;
    if (view->type.kind == ARROW_NULL || !arrow_valid(array, at)) {
        out->type = MG_CELL_NULL;
        return;
    }
    const void *data = array->n_buffers > 1 ? array->buffers[1] : NULL;
    switch (view->type.kind) {
    case ARROW_NULL:
        break;
    case ARROW_BOOL:
        out->type = MG_CELL_BOOL;
        out->b = arrow_bit(data, at);
        break;
    case ARROW_I8:
    case ARROW_I16:
    case ARROW_I32:
    case ARROW_I64:
    case ARROW_U8:
    case ARROW_U16:
    case ARROW_U32:
        out->type = MG_CELL_INT;
        out->i = arrow_index(view->type.kind, data, at);
        break;
    case ARROW_U64:
        out->type = MG_CELL_UINT;
        out->u = ((const uint64_t *)data)[at];
        break;
    case ARROW_F16:
        out->type = MG_CELL_DOUBLE;
        out->d = half_to_double(((const uint16_t *)data)[at]);
        break;
    case ARROW_F32:
        out->type = MG_CELL_DOUBLE;
        out->d = ((const float *)data)[at];
        break;
    case ARROW_F64:
        out->type = MG_CELL_DOUBLE;
        out->d = ((const double *)data)[at];
        break;
    case ARROW_DECIMAL:
        get_decimal(text, (const uint8_t *)data + at * view->type.width, &view->type, out);
        break;
    case ARROW_DATE32:
        out->type = MG_CELL_DATE;
        out->i = ((const int32_t *)data)[at];
        break;
    case ARROW_DATE64:
        out->type = MG_CELL_DATE;
        out->i = floor_div(((const int64_t *)data)[at], 86400000);
        break;
    case ARROW_TIMESTAMP: {
        int64_t value = ((const int64_t *)data)[at];
        out->type = MG_CELL_TIMESTAMP;
        out->zoned = view->type.zoned;
        if (view->type.unit > 1000000)
            out->i = floor_div(value, view->type.unit / 1000000);
        else if (__builtin_mul_overflow(value, 1000000 / view->type.unit, &out->i))
            out->type = MG_CELL_NULL;
        break;
    }
    case ARROW_TIME32:
        get_time(text, ((const int32_t *)data)[at], view->type.unit, out);
        break;
    case ARROW_TIME64:
        get_time(text, ((const int64_t *)data)[at], view->type.unit, out);
        break;
    case ARROW_DURATION: /* seconds */
        out->type = MG_CELL_DOUBLE;
        out->d = (double)((const int64_t *)data)[at] / (double)view->type.unit;
        break;
    case ARROW_FIXED:
        out->type = MG_CELL_BINARY;
        out->s =
            (struct mg_span){(const char *)data + at * view->type.width, (size_t)view->type.width};
        break;
    case ARROW_STRING:
    case ARROW_BYTES: {
        int64_t from = arrow_offset(&view->type, data, at),
                to = arrow_offset(&view->type, data, at + 1);
        out->type = view->type.kind == ARROW_STRING ? MG_CELL_STRING : MG_CELL_BINARY;
        out->s = (struct mg_span){to > from ? (const char *)array->buffers[2] + from : "",
                                  (size_t)(to - from)};
        break;
    }
    case ARROW_LIST:
    case ARROW_FIXED_LIST:
    case ARROW_STRUCT:
    case ARROW_MAP:
        out->type = MG_CELL_NESTED;
        if (depth == 0) {
            text->len = 0;
            text->failed = text->over_limit = false;
            nested_json(view, at, 0, text);
            if (text->failed)
                out->type = MG_CELL_NULL;
            out->s = (struct mg_span){text->data, text->len};
        }
        break;
    }
}

/* One value inside of a nested one. `i` is its logical index; the child's own offset is added here.
 */
static void child_json(const struct ArrowSchema *schema, const struct ArrowArray *array, int64_t i,
                       int depth, struct mg_buf *out)
{
    struct view view;
    struct mg_cell cell = {0};
    struct mg_buf scratch;
    int64_t at = array->offset + i;
    bool ok = view_init(&view, schema, array);
    MG_ASSERT(ok);
    if (schema->dictionary) {
        if (!arrow_valid(array, at)) {
            mg_buf_put(out, "null", 4);
            return;
        }
        child_json(schema->dictionary, array->dictionary,
                   arrow_index(view.type.kind, array->buffers[1], at), depth, out);
        return;
    }
    mg_buf_init(&scratch, 0);
    view_get(&view, at, &scratch, depth + 1, &cell);
    if (cell.type == MG_CELL_NESTED)
        nested_json(&view, at, depth + 1, out);
    else
        mg_cell_json(&cell, out);
    mg_buf_fini(&scratch);
}

static bool has_text_keys(const struct ArrowSchema *entries)
{
    struct arrow_type key;
    const struct ArrowSchema *keys = entries->children[0];
    if (keys->dictionary)
        keys = keys->dictionary;
    return arrow_type_parse(keys->format, &key) && key.kind == ARROW_STRING;
}

/* "key":value of a map; a missing key, which the format forbids, is "". */
static void entry_json(const struct ArrowSchema *schema, const struct ArrowArray *array, int64_t i,
                       int depth, struct mg_buf *out)
{
    size_t start = out->len;
    i += array->offset;
    child_json(schema->children[0], array->children[0], i, depth + 1, out);
    if (!out->failed && out->data[start] != '"') {
        out->len = start;
        mg_buf_put(out, "\"\"", 2);
    }
    mg_buf_char(out, ':');
    child_json(schema->children[1], array->children[1], i, depth + 1, out);
}

static void nested_json(const struct view *view, int64_t at, int depth, struct mg_buf *out)
{
    const struct ArrowArray *array = view->array;
    const struct ArrowSchema *schema = view->schema;
    if (view->type.kind == ARROW_STRUCT) {
        mg_buf_char(out, '{');
        for (int64_t i = 0; i < schema->n_children; i++) {
            const char *name = schema->children[i]->name ? schema->children[i]->name : "";
            if (i)
                mg_buf_char(out, ',');
            mg_buf_json_string(out, name, strlen(name));
            mg_buf_char(out, ':');
            child_json(schema->children[i], array->children[i], at, depth, out);
        }
        mg_buf_char(out, '}');
        return;
    }
    int64_t from, to;
    if (view->type.kind == ARROW_FIXED_LIST) {
        from = at * view->type.list_size;
        to = from + view->type.list_size;
    } else {
        from = arrow_offset(&view->type, array->buffers[1], at);
        to = arrow_offset(&view->type, array->buffers[1], at + 1);
    }
    bool object = view->type.kind == ARROW_MAP && has_text_keys(schema->children[0]);
    mg_buf_char(out, object ? '{' : '[');
    for (int64_t i = from; i < to && !out->failed; i++) {
        if (i > from)
            mg_buf_char(out, ',');
        if (object)
            entry_json(schema->children[0], array->children[0], i, depth, out);
        else
            child_json(schema->children[0], array->children[0], i, depth, out);
    }
    mg_buf_char(out, object ? '}' : ']');
}

void mg_cursor_get(struct mg_cursor *cursor, int64_t row, struct mg_cell *out)
{
    const struct view *view = &cursor->view;
    int64_t at = cursor->offset + view->array->offset + row;
    if (view->schema->dictionary) {
        if (!arrow_valid(view->array, at)) {
            out->type = MG_CELL_NULL;
            return;
        }
        at = arrow_index(view->type.kind, view->array->buffers[1], at);
        view = &cursor->words;
        at += view->array->offset;
    }
    view_get(view, at, &cursor->text, 0, out);
}

struct mg_plain mg_cursor_plain(const struct mg_cursor *c)
{
    const struct ArrowArray *array = c->view.array;
    int64_t first = c->offset + array->offset;
    struct mg_plain plain = {.type = MG_CELL_NULL};
    if (c->view.schema->dictionary || array->n_buffers < 2 || !array->buffers[1] ||
        (array->buffers[0] && array->null_count != 0))
        return plain;
    if (c->view.type.kind == ARROW_I64) {
        plain.type = MG_CELL_INT;
        plain.ints = (const int64_t *)array->buffers[1] + first;
    } else if (c->view.type.kind == ARROW_F64) {
        plain.type = MG_CELL_DOUBLE;
        plain.doubles = (const double *)array->buffers[1] + first;
    } else if ((c->view.type.kind == ARROW_STRING || c->view.type.kind == ARROW_BYTES) && array->buffers[2]) {
        plain.type = c->view.type.kind == ARROW_STRING ? MG_CELL_STRING : MG_CELL_BINARY;
        plain.bytes = array->buffers[2];
        if (c->view.type.width == 4)
            plain.offsets = (const int32_t *)array->buffers[1] + first;
        else
            plain.wide_offsets = (const int64_t *)array->buffers[1] + first;
    }
    return plain;
}

static size_t date_text(int64_t days, char out[16])
{
    int64_t z = days + 719468;
    int64_t era = floor_div(z, 146097);
    unsigned doe = (unsigned)(z - era * 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t year = (int64_t)yoe + era * 400;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    unsigned mp = (5 * doy + 2) / 153;
    unsigned day = doy - (153 * mp + 2) / 5 + 1, month = mp < 10 ? mp + 3 : mp - 9;
    char *at = out;
    year += month <= 2;
    if (year >= 0 && year <= 9999) {
        put_two(at, (int)year / 100);
        put_two(at + 2, (int)year % 100);
        at += 4;
    } else { /* ISO 8601: more than four digits need a sign */
        *at++ = year < 0 ? '-' : '+';
        uint64_t size = year < 0 ? 0 - (uint64_t)year : (uint64_t)year, ten = 1000;
        while (size / ten >= 10)
            ten *= 10;
        for (; ten; ten /= 10)
            *at++ = (char)('0' + (int)(size / ten % 10));
    }
    *at++ = '-';
    put_two(at, (int)month);
    at[2] = '-';
    put_two(at + 3, (int)day);
    return (size_t)(at + 5 - out);
}

size_t mg_time_text(const struct mg_cell *cell, char out[40])
{
    char date[16];
    int64_t days = cell->type == MG_CELL_DATE ? cell->i : floor_div(cell->i, 86400000000);
    if (days < -366000000 || days > 366000000) /* a million years: not a date that anyone meant */
        return 0;
    size_t n = date_text(days, date);
    memcpy(out, date, n);
    if (cell->type == MG_CELL_DATE)
        return n;
    out[n++] = 'T';
    n += clock_text(cell->i - days * 86400000000, out + n);
    if (cell->zoned)
        out[n++] = 'Z';
    return n;
}

static void put_base64(struct mg_span bytes, struct mg_buf *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *at = (const uint8_t *)bytes.data;
    size_t len = (bytes.len + 2) / 3 * 4;
    char *to = mg_buf_room(out, len);
    if (!to)
        return;
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        uint32_t v = (uint32_t)at[i] << 16 | (left > 1 ? (uint32_t)at[i + 1] << 8 : 0) |
                     (left > 2 ? at[i + 2] : 0);
        *to++ = digits[v >> 18];
        *to++ = digits[v >> 12 & 63];
        *to++ = left > 1 ? digits[v >> 6 & 63] : '=';
        *to++ = left > 2 ? digits[v & 63] : '=';
    }
    out->len += len;
    out->data[out->len] = '\0';
}

/* A date or time; where it has no text nothing, or null when quoted. */
static void put_time(const struct mg_cell *cell, bool quoted, struct mg_buf *out)
{
    char text[44], *at = mg_buf_spare(out, sizeof text), *start = at ? at : text;
    size_t n = mg_time_text(cell, start + quoted);
    if (quoted && n) {
        start[0] = start[n + 1] = '"';
        n += 2;
    } else if (quoted) {
        memcpy(start, "null", 4);
        n = 4;
    }
    if (at)
        mg_buf_added(out, n);
    else
        mg_buf_put(out, text, n);
}

static void put_uint(struct mg_buf *out, uint64_t value)
{
    char text[MG_NUMBER_TEXT];
    mg_buf_put(out, text, mg_uint_text(value, text));
}

void mg_cell_text(const struct mg_cell *cell, struct mg_buf *out)
{
    switch (cell->type) {
    case MG_CELL_NULL:
        break;
    case MG_CELL_BOOL:
        mg_buf_put(out, cell->b ? "true" : "false", cell->b ? 4 : 5);
        break;
    case MG_CELL_INT:
        mg_buf_int(out, cell->i);
        break;
    case MG_CELL_UINT:
        put_uint(out, cell->u);
        break;
    case MG_CELL_DOUBLE:
        if (isfinite(cell->d))
            mg_buf_double(out, cell->d);
        break;
    case MG_CELL_STRING:
    case MG_CELL_NESTED:
        mg_buf_put(out, cell->s.data, cell->s.len);
        break;
    case MG_CELL_BINARY:
        put_base64(cell->s, out);
        break;
    case MG_CELL_DATE:
    case MG_CELL_TIMESTAMP:
        put_time(cell, false, out);
        break;
    }
}

void mg_cell_json(const struct mg_cell *cell, struct mg_buf *out)
{
    switch (cell->type) {
    case MG_CELL_NULL:
        mg_buf_put(out, "null", 4);
        break;
    case MG_CELL_DOUBLE:
        mg_buf_double(out, cell->d);
        break;
    case MG_CELL_STRING:
        mg_buf_json_string(out, cell->s.data, cell->s.len);
        break;
    case MG_CELL_BINARY:
        mg_buf_char(out, '"');
        put_base64(cell->s, out);
        mg_buf_char(out, '"');
        break;
    case MG_CELL_DATE:
    case MG_CELL_TIMESTAMP:
        put_time(cell, true, out);
        break;
    default:
        mg_cell_text(cell, out);
    }
}
