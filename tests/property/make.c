/* make FOLDER SEED CASES: random tables and rasters, each written in every format, and what they hold as JSON.
 *
 * The truth is written by the generator from its own numbers, not through the code that the encoders share, so that a
 * reader (tests/property/read.test.mjs) that agrees with it agrees with neither's mistakes. A seed gives the same files on
 * every machine. Files: <case>.json, and <case>.<format> or, where the format cannot hold it, <case>.<format>.refused. */
#include "moongate/codec.h"
#include "moongate/geometry.h"
#include "moongate/raster_read.h"
#include "moongate/sql.h"

#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t state;

static uint64_t roll(void)
{
    uint64_t z = (state += 0x9e3779b97f4a7c15u); /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static int64_t below(int64_t n) { return n > 0 ? (int64_t)(roll() % (uint64_t)n) : 0; }

static _Noreturn void die(const char *what, const struct mg_errmsg *err)
{
    fprintf(stderr, "make: %s: %s\n", what, err ? err->text : "");
    exit(1);
}

static void write_file(const char *folder, int n, const char *suffix, struct mg_span bytes)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%d.%s", folder, n, suffix);
    FILE *file = fopen(path, "we");
    if (!file || fwrite(bytes.data, 1, bytes.len, file) != bytes.len || fclose(file) != 0)
        die(path, NULL);
}

/* ---- columns ----------------------------------------------------------------------------------------- */

enum kind { BOOL, SIGNED, UNSIGNED, FLOAT, TEXT, BINARY, DATE, STAMP, DECIMAL, LIST, STRUCT, WKB, ROW };

static const struct type {
    const char *name, *format;
    enum kind kind;
    int bytes; /* of a value, or of an offset */
} types[] = {
    {"bool", "b", BOOL, 0},        {"int8", "c", SIGNED, 1},      {"uint8", "C", UNSIGNED, 1},
    {"int16", "s", SIGNED, 2},     {"uint16", "S", UNSIGNED, 2},  {"int32", "i", SIGNED, 4},
    {"uint32", "I", UNSIGNED, 4},  {"int64", "l", SIGNED, 8},     {"uint64", "L", UNSIGNED, 8},
    {"float32", "f", FLOAT, 4},    {"float64", "g", FLOAT, 8},    {"string", "u", TEXT, 4},
    {"large_string", "U", TEXT, 8}, {"binary", "z", BINARY, 4},   {"date", "tdD", DATE, 4},
    {"timestamp", "tsu:", STAMP, 8}, {"timestamp_utc", "tsu:UTC", STAMP, 8}, {"decimal", "d:18,4", DECIMAL, 16},
    {"list", "+l", LIST, 4},       {"struct", "+s", STRUCT, 0},
};
enum { TYPES = sizeof types / sizeof *types, MAX_ROWS = 40 };
static const struct type wkb_type = {"geometry", "z", WKB, 4}, item_type = {"item", "i", SIGNED, 4},
                         row_type = {"row", "i", ROW, 4}; /* its number: some formats have an order of their own */

static const char *const texts[] = {
    "", "plain", "say \"hi\"", "it's", "a,b;c\td", "two\nlines", "=1+1", "+49", "-x", "@cmd", "<b>&amp;</b>", "Süd ß",
    "世界 🌍", "שלום עולם", "null", "NULL", "true", "007", "1e5", " padded ", "\\n", "%s%n", "{\"a\":1}", "]]>",
};
static const int64_t edges[] = {0, 1, -1, INT64_MAX, INT64_MIN, 9007199254740991, 9007199254740993, 255, 65536, -128};

static void free_schema(struct ArrowSchema *schema)
{
    for (int64_t i = 0; i < schema->n_children; i++) {
        schema->children[i]->release(schema->children[i]);
        free(schema->children[i]);
    }
    free(schema->children);
    free((void *)schema->name);
    schema->release = NULL;
}

static void free_array(struct ArrowArray *array)
{
    for (int64_t i = 0; i < array->n_children; i++) {
        array->children[i]->release(array->children[i]);
        free(array->children[i]);
    }
    for (int64_t i = 0; i < array->n_buffers; i++)
        free((void *)array->buffers[i]);
    free(array->children);
    free(array->buffers);
    array->release = NULL;
}

static struct ArrowSchema *new_schema(const char *format, const char *name, int children)
{
    struct ArrowSchema *schema = calloc(1, sizeof *schema);
    *schema = (struct ArrowSchema){.format = format, .name = strdup(name), .flags = ARROW_FLAG_NULLABLE,
                                   .n_children = children, .children = calloc((size_t)children + 1, sizeof(void *)),
                                   .release = free_schema};
    return schema;
}

static struct ArrowArray *new_array(int64_t rows, int buffers, int children)
{
    struct ArrowArray *array = calloc(1, sizeof *array);
    *array = (struct ArrowArray){.length = rows, .n_buffers = buffers, .n_children = children,
                                 .buffers = calloc((size_t)buffers + 1, sizeof(void *)),
                                 .children = calloc((size_t)children + 1, sizeof(void *)), .release = free_array};
    return array;
}

static void put_separator(struct mg_buf *json, int64_t row) { mg_buf_str(json, row ? "," : ""); }

/* A number of the type's width, often at an edge of it. */
static int64_t integer_of(int bytes, bool is_signed)
{
    int64_t v = below(3) ? (int64_t)roll() : edges[below(sizeof edges / sizeof *edges)];
    int bits = 8 * bytes;
    if (bits == 64)
        return is_signed || v >= 0 || below(2) ? v : -(v + 1);
    int64_t low = v & ((INT64_C(1) << bits) - 1);
    return is_signed && low >> (bits - 1) ? low - (INT64_C(1) << bits) : low;
}

static double double_of(bool narrow)
{
    static const double special[] = {0, -0.0, 1, 0.1, 1e-7, 123456.789, -2.5, 1e21, 5e-324, 1.7976931348623157e308};
    double v = below(4) ? ldexp((double)(int64_t)roll(), (int)below(80) - 100)
                        : special[below(narrow ? 8 : sizeof special / sizeof *special)];
    return narrow ? (double)(float)v : v;
}

static struct mg_span text_of(void)
{
    return mg_span(texts[below(sizeof texts / sizeof *texts)]);
}

/* WKB of a random geometry; its coordinates as GeoJSON into `json`. Rings run counterclockwise, far from ±180. */
static void geometry_of(const char *kind, struct mg_buf *wkb, struct mg_buf *json)
{
    struct mg_buf wkt;
    struct mg_errmsg err = {""};
    mg_buf_init(&wkt, 0);
    double x = (double)(below(26000) - 13000) / 100, y = (double)(below(14000) - 7000) / 100;
    double w = (double)(below(800) + 100) / 100;
    bool multi = strncmp(kind, "Multi", 5) == 0;
    int parts = multi ? 1 + (int)below(3) : 1;
    const char *part = multi ? kind + 5 : kind;
    mg_buf_printf(&wkt, "%s%s", kind, strcmp(kind, "PointZ") == 0 ? "" : " ");
    mg_buf_printf(json, "{\"type\":\"%s\",\"coordinates\":%s", strcmp(kind, "PointZ") == 0 ? "Point" : kind, multi ? "[" : "");
    mg_buf_str(&wkt, multi ? "(" : "");
    for (int i = 0; i < parts; i++, x += w * 1.5) {
        const char *comma = i ? "," : "";
        if (strcmp(part, "PointZ") == 0) {
            wkt.len = 0;
            mg_buf_printf(&wkt, "POINT Z (%.2f %.2f %.2f)", x, y, w);
            mg_buf_printf(json, "[%.2f,%.2f,%.2f]", x, y, w);
        } else if (strcmp(part, "Point") == 0) {
            mg_buf_printf(&wkt, "%s(%.2f %.2f)", comma, x, y);
            mg_buf_printf(json, "%s[%.2f,%.2f]", comma, x, y);
        } else if (strcmp(part, "LineString") == 0) {
            mg_buf_printf(&wkt, "%s(%.2f %.2f, %.2f %.2f, %.2f %.2f)", comma, x, y, x + w, y, x + w, y + w);
            mg_buf_printf(json, "%s[[%.2f,%.2f],[%.2f,%.2f],[%.2f,%.2f]]", comma, x, y, x + w, y, x + w, y + w);
        } else {
            mg_buf_printf(&wkt, "%s((%.2f %.2f, %.2f %.2f, %.2f %.2f, %.2f %.2f))", comma, x, y, x + w, y, x + w, y + w, x, y);
            mg_buf_printf(json, "%s[[[%.2f,%.2f],[%.2f,%.2f],[%.2f,%.2f],[%.2f,%.2f]]]", comma, x, y, x + w, y, x + w,
                          y + w, x, y);
        }
    }
    mg_buf_str(&wkt, multi ? ")" : "");
    mg_buf_str(json, multi ? "]}" : "}");
    if (mg_wkb_from_wkt((struct mg_span){wkt.data, wkt.len}, wkb, &err) != MG_OK)
        die(wkt.data, &err);
    mg_buf_fini(&wkt);
}

/* One column of `rows` values, of which one in `nulls` is null (0: none, 1: all); its truth into `json`. */
static struct ArrowArray *make_column(const struct type *type, const char *geometry, int64_t rows, int nulls,
                                      struct mg_buf *json)
{
    bool offsets = type->kind == TEXT || type->kind == BINARY || type->kind == WKB || type->kind == LIST;
    bool bytes = offsets && type->kind != LIST;
    struct ArrowArray *array = new_array(rows, type->kind == STRUCT ? 1 : bytes ? 3 : 2, type->kind >= LIST && type->kind <= STRUCT);
    uint8_t *valid = calloc((size_t)rows / 8 + 8, 1), *values = calloc((size_t)(rows + 2) * 16, 1);
    struct mg_buf body, items;
    int64_t n_items = 0;
    mg_buf_init(&body, 0);
    mg_buf_init(&items, 0);
    mg_buf_char(json, '[');
    for (int64_t row = 0; row < rows; row++) {
        bool is_null = nulls == 1 || (nulls > 1 && below(nulls) == 0);
        put_separator(json, row);
        array->null_count += is_null;
        valid[row / 8] = (uint8_t)(valid[row / 8] | !is_null << row % 8);
        int64_t whole = integer_of(type->bytes ? type->bytes < 8 ? type->bytes : 8 : 4, type->kind != UNSIGNED);
        double real = double_of(type->bytes == 4);
        struct mg_span text = text_of();
        if (is_null)
            mg_buf_str(json, "null");
        switch (is_null ? (enum kind)-1 : type->kind) {
        case BOOL:
            whole &= 1;
            values[row / 8] = (uint8_t)(values[row / 8] | whole << row % 8);
            mg_buf_str(json, whole ? "\"true\"" : "\"false\"");
            break;
        case DATE:
            whole = below(60000) - 30000;
            goto put;
        case STAMP:
            whole = below(INT64_C(4000000000)) * 1000000 + (below(2) ? 0 : below(1000) * 1000);
            goto put;
        case DECIMAL:
            whole %= INT64_C(100000000000);
            memset(values + row * 16 + 8, whole < 0 ? 0xff : 0, 8);
            memcpy(values + row * 16, &whole, 8);
            mg_buf_printf(json, "\"%lld\"", (long long)whole);
            break;
        case ROW:
            whole = row;
            goto put;
        case SIGNED:
        case UNSIGNED:
        put:
            memcpy(values + row * type->bytes, &whole, (size_t)type->bytes); /* little-endian, as Arrow */
            mg_buf_printf(json, type->kind == UNSIGNED ? "\"%llu\"" : "\"%lld\"", (unsigned long long)whole);
            break;
        case FLOAT:
            if (type->bytes == 4)
                memcpy(values + row * 4, &(float){(float)real}, 4);
            else
                memcpy(values + row * 8, &real, 8);
            mg_buf_printf(json, "\"%.17g\"", real);
            break;
        case TEXT:
            mg_buf_put(&body, text.data, text.len);
            mg_buf_json_string(json, text.data, text.len);
            break;
        case BINARY: {
            size_t n = (size_t)below(9);
            mg_buf_char(json, '"');
            for (size_t i = 0; i < n; i++) {
                uint8_t byte = (uint8_t)roll();
                mg_buf_put(&body, &byte, 1);
                mg_buf_printf(json, "%02x", byte);
            }
            mg_buf_char(json, '"');
            break;
        }
        case WKB:
            geometry_of(geometry, &body, json);
            break;
        case LIST: {
            int64_t n = below(4);
            mg_buf_char(json, '[');
            for (int64_t i = 0; i < n; i++, n_items++) {
                int32_t item = (int32_t)integer_of(4, true);
                mg_buf_put(&items, &item, 4);
                put_separator(json, i);
                mg_buf_printf(json, "\"%d\"", item);
            }
            mg_buf_char(json, ']');
            break;
        }
        case STRUCT:
            break;
        default:
            break;
        }
        if (type->kind == STRUCT) { /* the child has a value also where the struct is null */
            int32_t item = (int32_t)integer_of(4, true);
            mg_buf_put(&items, &item, 4);
            if (!is_null)
                mg_buf_printf(json, "{\"a\":\"%d\"}", item);
        }
        int64_t end = type->kind == LIST ? n_items : (int64_t)body.len;
        if (offsets)
            memcpy(values + (row + 1) * type->bytes, &end, (size_t)type->bytes);
    }
    mg_buf_char(json, ']');
    array->buffers[0] = valid;
    if (type->kind == STRUCT)
        free(values);
    else
        array->buffers[1] = values;
    if (bytes) {
        mg_buf_char(&body, 0); /* never NULL */
        array->buffers[2] = mg_buf_take(&body, NULL);
    }
    if (array->n_children) {
        struct ArrowArray *child = new_array(type->kind == LIST ? n_items : rows, 2, 0);
        mg_buf_put(&items, "\0\0\0\0", 4);
        child->buffers[1] = mg_buf_take(&items, NULL);
        array->children[0] = child;
    }
    mg_buf_fini(&items);
    return array;
}

static struct ArrowSchema *schema_of(const struct type *type, const char *name)
{
    bool nested = type->kind == LIST || type->kind == STRUCT;
    struct ArrowSchema *schema = new_schema(type->format, name, nested);
    if (nested)
        schema->children[0] = new_schema(item_type.format, type->kind == LIST ? "item" : "a", 0);
    return schema;
}

static const char *const geometries[] = {NULL,           "Point",           "LineString", "Polygon", "MultiPoint",
                                         "MultiLineString", "MultiPolygon", "PointZ"};
enum { GEOMETRIES = sizeof geometries / sizeof *geometries };

static struct mg_table *make_table(int n, struct mg_buf *json)
{
    static const int null_modes[] = {0, 4, 1};
    const char *geometry = geometries[n % GEOMETRIES];
    int nulls = null_modes[n / GEOMETRIES % 3];
    int64_t rows = n % 50 == 49 ? 0 : 1 + below(MAX_ROWS);
    int columns = 1 + TYPES + (geometry != NULL);
    int places = n / (GEOMETRIES * 3) % 2 == 0 ? 0 : nulls == 1 ? 2 : nulls; /* some formats hold no row without one */
    struct ArrowSchema *schema = new_schema("+s", "", columns);
    struct ArrowArray *array = new_array(rows, 1, columns);
    struct mg_errmsg err = {""};
    struct mg_table *table = NULL;
    mg_buf_printf(json, "{\"rows\":%lld,\"geometry\":\"%s\",\"nulls\":\"%s\",\"columns\":{", (long long)rows,
                  geometry ? geometry : "none", nulls == 0 ? "none" : nulls == 1 ? "all" : "some");
    for (int i = 0; i < columns; i++) {
        const struct type *type = i == 0 ? &row_type : i <= TYPES ? &types[i - 1] : &wkb_type;
        mg_buf_printf(json, "%s\"%s\":", i ? "," : "", type->name);
        schema->children[i] = schema_of(type, type->name);
        array->children[i] = make_column(type, geometry, rows, type->kind == ROW ? 0 : type->kind == WKB ? places : nulls, json);
    }
    mg_buf_str(json, "}}\n");
    if (mg_table_import(schema, array, 1, geometry ? "geometry" : NULL, geometry ? "EPSG:4326" : NULL, &table, &err))
        die("table", &err);
    free(schema);
    free(array);
    return table;
}

/* ---- rasters ----------------------------------------------------------------------------------------- */

static struct mg_raster *make_raster(int n, struct mg_buf *json)
{
    enum mg_sample sample = (enum mg_sample)(n % MG_SAMPLE_COUNT);
    static const int band_counts[] = {1, 2, 3, 4, 6};
    int bands = band_counts[n / MG_SAMPLE_COUNT % 5], width = 1 + (int)below(40), height = 1 + (int)below(40);
    bool holes = n / (MG_SAMPLE_COUNT * 5) % 2, few = n / (MG_SAMPLE_COUNT * 10) % 2;
    struct mg_raster *raster;
    struct mg_errmsg err = {""};
    if (mg_raster_new(width, height, bands, sample, &raster, &err) ||
        (holes && !mg_sample_is_float(sample) && mg_raster_need_mask(raster, &err)))
        die("raster", &err);
    size_t pixels = (size_t)width * (size_t)height, bytes = mg_sample_bytes(sample);
    mg_buf_printf(json, "{\"width\":%d,\"height\":%d,\"bands\":%d,\"sample\":\"%s\",\"holes\":%s,\"values\":[", width, height,
                  bands, mg_sample_name(sample), holes ? "true" : "false");
    for (int band = 0; band < bands; band++) {
        mg_buf_str(json, band ? ",[" : "[");
        for (size_t i = 0; i < pixels; i++) {
            bool hole = holes && (i * 7 + i / 5) % 11 == 0; /* in all bands */
            int64_t whole = few ? below(4) * 40 : integer_of((int)bytes, sample == MG_I8 || sample == MG_I16 || sample == MG_I32);
            double v = sample == MG_F32 || sample == MG_F64 ? (double)below(1000) / 8 : (double)whole;
            char *at = (char *)mg_raster_samples(raster, band) + i * bytes;
            if (mg_sample_is_float(sample)) {
                v = hole ? NAN : v;
                if (sample == MG_F32)
                    memcpy(at, &(float){(float)v}, 4);
                else
                    memcpy(at, &v, 8);
            } else {
                memcpy(at, &whole, bytes);
                if (hole)
                    raster->mask[(size_t)band * pixels + i] = 0;
            }
            mg_buf_str(json, i ? "," : "");
            hole ? mg_buf_str(json, "null") : mg_buf_printf(json, "%.17g", v);
        }
        mg_buf_char(json, ']');
    }
    mg_buf_str(json, "]}\n");
    return raster;
}

/* ---- out through every format ------------------------------------------------------------------------ */

static void encode_all(const char *folder, int n, const struct mg_value *value)
{
    static const struct {
        const char *format, *option, *text;
    } exact[] = {{"webp", "lossless", "true"}, {"mvt", "simplify", "0"}, {"mvt", "max_bytes", "5000000"}};
    const struct mg_tile whole = {0, 0, 0};
    const struct mg_codec *codec;
    for (size_t i = 0; (codec = mg_codec_at(i)); i++) {
        struct mg_option_value options[MG_MAX_OPTIONS];
        struct mg_errmsg err = {""};
        struct mg_buf out;
        const struct mg_codec *picked;
        bool by_accept;
        struct mg_wish wish = {.formats = {codec}, .n_formats = 1};
        char suffix[64];
        if (!(codec->shapes & value->shape))
            continue;
        mg_buf_init(&out, 64 << 20);
        mg_option_defaults(codec, options);
        for (size_t k = 0; k < sizeof exact / sizeof *exact; k++) {
            size_t index;
            struct mg_option_value given;
            if (strcmp(exact[k].format, codec->name) == 0 &&
                mg_option_parse(codec, mg_span(exact[k].option), mg_span(exact[k].text), &index, &given, &err) == MG_OK)
                options[index] = given;
        }
        struct mg_codec_job job = {.value = value, .options = options, .tile = codec->tile_only ? &whole : NULL,
                                   .tile_size = 256};
        enum mg_err e = mg_codec_pick(&wish, value, codec->tile_only, &picked, &by_accept, &err);
        if (!e)
            e = mg_encode(codec, &job, &out, &err);
        if (e && e != MG_E_NOT_ACCEPTABLE)
            die(codec->name, &err);
        snprintf(suffix, sizeof suffix, "%s%s", codec->name, e ? ".refused" : "");
        write_file(folder, n, suffix, e ? mg_span(err.text) : (struct mg_span){out.data ? out.data : "", out.len});
        mg_buf_fini(&out);
    }
}

int main(int argc, char **argv)
{
    if (argc != 5 || (strcmp(argv[1], "tables") != 0 && strcmp(argv[1], "rasters") != 0)) {
        fprintf(stderr, "make tables|rasters FOLDER SEED CASES\n");
        return 2;
    }
    uint64_t seed = strtoull(argv[3], NULL, 10);
    int cases = (int)strtol(argv[4], NULL, 10);
    struct mg_errmsg err = {""};
    mg_gdal_setup();
    int output = memfd_create("parquet", MFD_CLOEXEC);
    if (mg_sql_open(&err) != MG_OK || mg_sql_confine((const char *const[]){NULL}, output, &err) != MG_OK)
        die("DuckDB", &err);
    for (int n = 0; n < cases; n++) {
        struct mg_buf json;
        struct mg_value value = {0};
        mg_buf_init(&json, 0);
        state = seed * 1000003u + (uint64_t)n;
        if (argv[1][0] == 't') {
            value = (struct mg_value){.shape = MG_SHAPE_TABLE, .table = make_table(n, &json)};
        } else {
            value = (struct mg_value){.shape = MG_SHAPE_RASTER, .raster = make_raster(n, &json)};
        }
        write_file(argv[2], n, "json.truth", (struct mg_span){json.data, json.len});
        encode_all(argv[2], n, &value);
        mg_table_unref(&value.table);
        mg_raster_unref(&value.raster);
        mg_buf_fini(&json);
    }
    return 0;
}
