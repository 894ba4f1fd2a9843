/* Arrow C data nodes: the formats we read, and release callbacks of nodes whose buffers come from
 * malloc.
 *
 * Invariant: a node made here owns its buffers, children, name and metadata; releasing a child
 * first is allowed by the specification, so release skips what is already released. */
#include "table_arrow.h"

#include <stdio.h>
#include <stdlib.h>

static const struct {
    const char *format;
    struct arrow_type type;
} formats[] = {
    {"n", {.kind = ARROW_NULL}},
    {"b", {.kind = ARROW_BOOL, .n_buffers = 2}},
    {"c", {.kind = ARROW_I8, .n_buffers = 2, .width = 1}},
    {"C", {.kind = ARROW_U8, .n_buffers = 2, .width = 1}},
    {"s", {.kind = ARROW_I16, .n_buffers = 2, .width = 2}},
    {"S", {.kind = ARROW_U16, .n_buffers = 2, .width = 2}},
    {"i", {.kind = ARROW_I32, .n_buffers = 2, .width = 4}},
    {"I", {.kind = ARROW_U32, .n_buffers = 2, .width = 4}},
    {"l", {.kind = ARROW_I64, .n_buffers = 2, .width = 8}},
    {"L", {.kind = ARROW_U64, .n_buffers = 2, .width = 8}},
    {"e", {.kind = ARROW_F16, .n_buffers = 2, .width = 2}},
    {"f", {.kind = ARROW_F32, .n_buffers = 2, .width = 4}},
    {"g", {.kind = ARROW_F64, .n_buffers = 2, .width = 8}},
    {"u", {.kind = ARROW_STRING, .n_buffers = 3, .width = 4, .offsets = true}},
    {"U", {.kind = ARROW_STRING, .n_buffers = 3, .width = 8, .offsets = true}},
    {"z", {.kind = ARROW_BYTES, .n_buffers = 3, .width = 4, .offsets = true}},
    {"Z", {.kind = ARROW_BYTES, .n_buffers = 3, .width = 8, .offsets = true}},
    {"tdD", {.kind = ARROW_DATE32, .n_buffers = 2, .width = 4}},
    {"tdm", {.kind = ARROW_DATE64, .n_buffers = 2, .width = 8}},
    {"tts", {.kind = ARROW_TIME32, .n_buffers = 2, .width = 4, .unit = 1}},
    {"ttm", {.kind = ARROW_TIME32, .n_buffers = 2, .width = 4, .unit = 1000}},
    {"ttu", {.kind = ARROW_TIME64, .n_buffers = 2, .width = 8, .unit = 1000000}},
    {"ttn", {.kind = ARROW_TIME64, .n_buffers = 2, .width = 8, .unit = 1000000000}},
    {"tDs", {.kind = ARROW_DURATION, .n_buffers = 2, .width = 8, .unit = 1}},
    {"tDm", {.kind = ARROW_DURATION, .n_buffers = 2, .width = 8, .unit = 1000}},
    {"tDu", {.kind = ARROW_DURATION, .n_buffers = 2, .width = 8, .unit = 1000000}},
    {"tDn", {.kind = ARROW_DURATION, .n_buffers = 2, .width = 8, .unit = 1000000000}},
    {"+l", {.kind = ARROW_LIST, .n_buffers = 2, .width = 4, .offsets = true}},
    {"+L", {.kind = ARROW_LIST, .n_buffers = 2, .width = 8, .offsets = true}},
    {"+s", {.kind = ARROW_STRUCT, .n_buffers = 1}},
    {"+m", {.kind = ARROW_MAP, .n_buffers = 2, .width = 4, .offsets = true}},
};

static bool parse_int(const char *text, char end, long *out, const char **rest)
{
    char *stop;
    if (*text < '0' || *text > '9')
        return false;
    *out = strtol(text, &stop, 10);
    *rest = stop;
    return *stop == end && *out <= INT32_MAX;
}

/* "19,10" or "19,10,256": precision, scale, bits (128). */
static bool parse_decimal(const char *text, struct arrow_type *out)
{
    const char *rest;
    long precision, scale, bits = 128;
    char *stop;
    if (!parse_int(text, ',', &precision, &rest) || precision < 1)
        return false;
    bool negative = *++rest == '-';
    if (rest[negative] < '0' || rest[negative] > '9')
        return false;
    scale = strtol(rest, &stop, 10);
    if (*stop == ',' && !parse_int(stop + 1, '\0', &bits, &rest))
        return false;
    if ((*stop && *stop != ',') || (bits != 32 && bits != 64 && bits != 128 && bits != 256) ||
        precision > ARROW_MAX_DIGITS || scale < -ARROW_MAX_DIGITS || scale > ARROW_MAX_DIGITS)
        return false;
    *out = (struct arrow_type){
        .kind = ARROW_DECIMAL, .n_buffers = 2, .width = (int)bits / 8, .scale = (int)scale};
    return true;
}

bool arrow_type_parse(const char *format, struct arrow_type *out)
{
    const char *rest;
    long n;
    if (!format)
        return false;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (strcmp(format, formats[i].format) == 0) {
            *out = formats[i].type;
            return true;
        }
    if (strncmp(format, "ts", 2) == 0 && format[2] && format[3] == ':') {
        static const char units[] = "smun";
        const char *unit = strchr(units, format[2]);
        if (!unit)
            return false;
        static const int64_t per_second[] = {1, 1000, 1000000, 1000000000};
        *out = (struct arrow_type){.kind = ARROW_TIMESTAMP,
                                   .n_buffers = 2,
                                   .width = 8,
                                   .unit = per_second[unit - units],
                                   .zoned = format[4] != '\0'};
        return true;
    }
    if (strncmp(format, "w:", 2) == 0 && parse_int(format + 2, '\0', &n, &rest)) {
        *out = (struct arrow_type){
            .kind = ARROW_FIXED, .n_buffers = 2, .width = (int)n, .list_size = (int32_t)n};
        return true;
    }
    if (strncmp(format, "+w:", 3) == 0 && parse_int(format + 3, '\0', &n, &rest)) {
        *out =
            (struct arrow_type){.kind = ARROW_FIXED_LIST, .n_buffers = 1, .list_size = (int32_t)n};
        return true;
    }
    return strncmp(format, "d:", 2) == 0 && parse_decimal(format + 2, out);
}

int64_t arrow_index(enum arrow_kind kind, const void *data, int64_t i)
{
    switch (kind) {
    case ARROW_I8:
        return ((const int8_t *)data)[i];
    case ARROW_U8:
        return ((const uint8_t *)data)[i];
    case ARROW_I16:
        return ((const int16_t *)data)[i];
    case ARROW_U16:
        return ((const uint16_t *)data)[i];
    case ARROW_I32:
        return ((const int32_t *)data)[i];
    case ARROW_U32:
        return ((const uint32_t *)data)[i];
    case ARROW_I64:
        return ((const int64_t *)data)[i];
    case ARROW_U64: {
        uint64_t u = ((const uint64_t *)data)[i];
        return u > INT64_MAX ? -1 : (int64_t)u;
    }
    default:
        return -1;
    }
}

void arrow_schema_release(struct ArrowSchema *schema)
{
    if (schema->release)
        schema->release(schema);
    schema->release = NULL;
}

void arrow_array_release(struct ArrowArray *array)
{
    if (array->release)
        array->release(array);
    array->release = NULL;
}

static void release_schema(struct ArrowSchema *schema)
{
    for (int64_t i = 0; i < schema->n_children; i++) {
        arrow_schema_release(schema->children[i]);
        free(schema->children[i]);
    }
    free(schema->children);
    free((void *)schema->name);
    free((void *)schema->format);
    free((void *)schema->metadata);
    schema->release = NULL;
}

/* int32 pairs, then each key and value as int32 length and bytes, in native byte order. */
static char *wkb_metadata(void)
{
    static const char *const words[] = {"ARROW:extension:name", "ogc.wkb"};
    char *out = malloc(4 + 4 + 20 + 4 + 7);
    if (!out)
        return NULL;
    int32_t n = 1;
    size_t at = 0;
    memcpy(out, &n, 4);
    at = 4;
    for (int i = 0; i < 2; i++) {
        int32_t len = (int32_t)strlen(words[i]);
        memcpy(out + at, &len, 4);
        memcpy(out + at + 4, words[i], (size_t)len);
        at += 4 + (size_t)len;
    }
    return out;
}

bool arrow_schema_new(struct ArrowSchema *out, const char *format, const char *name,
                      int64_t n_children, bool wkb)
{
    *out = (struct ArrowSchema){.format = strdup(format),
                                .name = strdup(name ? name : ""),
                                .metadata = wkb ? wkb_metadata() : NULL,
                                .flags = ARROW_FLAG_NULLABLE,
                                .release = release_schema};
    bool ok = out->format && out->name && (!wkb || out->metadata);
    if (ok && n_children > 0) {
        out->children = calloc((size_t)n_children, sizeof *out->children);
        for (; out->children && out->n_children < n_children; out->n_children++)
            if (!(out->children[out->n_children] = calloc(1, sizeof **out->children)))
                break;
        ok = out->n_children == n_children;
    }
    if (!ok)
        arrow_schema_release(out);
    return ok;
}

static void release_array(struct ArrowArray *array)
{
    for (int64_t i = 0; i < array->n_children; i++) {
        arrow_array_release(array->children[i]);
        free(array->children[i]);
    }
    struct pin *pin = array->private_data;
    for (int64_t i = 0; i < array->n_buffers && !pin; i++)
        free((void *)array->buffers[i]);
    pin_unref(&pin);
    array->private_data = NULL;
    free(array->children);
    free(array->buffers);
    array->release = NULL;
}

bool arrow_array_new(struct ArrowArray *out, int64_t length, int n_buffers, int64_t n_children)
{
    *out = (struct ArrowArray){.length = length, .release = release_array};
    bool ok = true;
    if (n_buffers > 0) {
        out->buffers = calloc((size_t)n_buffers, sizeof *out->buffers);
        ok = out->buffers != NULL;
        out->n_buffers = ok ? n_buffers : 0;
    }
    if (ok && n_children > 0) {
        out->children = calloc((size_t)n_children, sizeof *out->children);
        for (; out->children && out->n_children < n_children; out->n_children++)
            if (!(out->children[out->n_children] = calloc(1, sizeof **out->children)))
                break;
        ok = out->n_children == n_children;
    }
    if (!ok)
        arrow_array_release(out);
    return ok;
}

bool arrow_is_wkb(const struct ArrowSchema *schema)
{
    const char *at = schema->metadata;
    int32_t pairs, len;
    if (!at)
        return false;
    memcpy(&pairs, at, 4);
    at += 4;
    for (int32_t i = 0; i < pairs && i < 64; i++) {
        struct mg_span part[2];
        for (int k = 0; k < 2; k++) {
            memcpy(&len, at, 4);
            if (len < 0 || len > 1 << 24)
                return false;
            part[k] = (struct mg_span){at + 4, (size_t)len};
            at += 4 + len;
        }
        if (mg_span_is(part[0], "ARROW:extension:name") &&
            (mg_span_is(part[1], "ogc.wkb") || mg_span_is(part[1], "geoarrow.wkb")))
            return true;
    }
    return false;
}
