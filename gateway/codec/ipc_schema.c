/* Arrow schemas as FlatBuffers: types, dictionaries, metadata, the geometry's CRS.
 *
 * The geometry column is geoarrow.wkb with its CRS as PROJJSON in the extension's metadata, and the
 * schema carries the `geo` key of GeoParquet, which is what geopandas looks for in Feather files.
 * All other metadata is kept. Specs: Schema.fbs, https://geoarrow.org/extension-types */
#include "moongate/gdal.h"

#include "ipc.h"

#include <cpl_conv.h>
#include <stdlib.h>

enum {
    TYPE_NULL = 1,
    TYPE_INT,
    TYPE_FLOAT,
    TYPE_BINARY,
    TYPE_UTF8,
    TYPE_BOOL,
    TYPE_DECIMAL,
    TYPE_DATE,
    TYPE_TIME,
    TYPE_TIMESTAMP,
    TYPE_LIST = 12,
    TYPE_STRUCT,
    TYPE_FIXED_BINARY = 15,
    TYPE_FIXED_LIST,
    TYPE_MAP,
    TYPE_DURATION,
    TYPE_LARGE_BINARY,
    TYPE_LARGE_UTF8,
    TYPE_LARGE_LIST
};
enum { MAX_METADATA_PAIRS = 256 };

static const struct {
    const char *format;
    struct ipc_type type;
} formats[] = {
#define FIXED(format, tag, width, ...)                    \
    {                                                     \
        format,                                           \
        {                                                 \
            tag, IPC_FIXED, width, 0, {__VA_ARGS__}, NULL \
        }                                                 \
    }
    {"n", {.tag = TYPE_NULL, .layout = IPC_NOTHING}},
    {"b", {.tag = TYPE_BOOL, .layout = IPC_BITS}},
    FIXED("c", TYPE_INT, 1, 8, 1),
    FIXED("C", TYPE_INT, 1, 8, 0),
    FIXED("s", TYPE_INT, 2, 16, 1),
    FIXED("S", TYPE_INT, 2, 16, 0),
    FIXED("i", TYPE_INT, 4, 32, 1),
    FIXED("I", TYPE_INT, 4, 32, 0),
    FIXED("l", TYPE_INT, 8, 64, 1),
    FIXED("L", TYPE_INT, 8, 64, 0),
    FIXED("e", TYPE_FLOAT, 2, 0),
    FIXED("f", TYPE_FLOAT, 4, 1),
    FIXED("g", TYPE_FLOAT, 8, 2),
    FIXED("tdD", TYPE_DATE, 4, 0),
    FIXED("tdm", TYPE_DATE, 8, 1),
    FIXED("tts", TYPE_TIME, 4, 0, 32),
    FIXED("ttm", TYPE_TIME, 4, 1, 32),
    FIXED("ttu", TYPE_TIME, 8, 2, 64),
    FIXED("ttn", TYPE_TIME, 8, 3, 64),
    FIXED("tDs", TYPE_DURATION, 8, 0),
    FIXED("tDm", TYPE_DURATION, 8, 1),
    FIXED("tDu", TYPE_DURATION, 8, 2),
    FIXED("tDn", TYPE_DURATION, 8, 3),
    {"u", {.tag = TYPE_UTF8, .layout = IPC_BYTES, .width = 4}},
    {"U", {.tag = TYPE_LARGE_UTF8, .layout = IPC_BYTES, .width = 8}},
    {"z", {.tag = TYPE_BINARY, .layout = IPC_BYTES, .width = 4}},
    {"Z", {.tag = TYPE_LARGE_BINARY, .layout = IPC_BYTES, .width = 8}},
    {"+l", {.tag = TYPE_LIST, .layout = IPC_LIST, .width = 4}},
    {"+L", {.tag = TYPE_LARGE_LIST, .layout = IPC_LIST, .width = 8}},
    {"+m", {.tag = TYPE_MAP, .layout = IPC_LIST, .width = 4}},
    {"+s", {.tag = TYPE_STRUCT, .layout = IPC_CHILDREN, .times = 1}},
#undef FIXED
};

/* "38,10" or "38,10,256"; false when it is something else. */
static bool parse_numbers(const char *text, int32_t *out, int n, int *found)
{
    for (*found = 0; *found < n;) {
        char *end;
        long value = strtol(text, &end, 10);
        if (end == text || value < INT32_MIN || value > INT32_MAX)
            return false;
        out[(*found)++] = (int32_t)value;
        if (!*end)
            return true;
        if (*end != ',')
            return false;
        text = end + 1;
    }
    return false;
}

enum mg_err ipc_type_of(const char *format, struct ipc_type *out, struct mg_errmsg *err)
{
    int32_t n[3] = {0, 0, 128};
    int found;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (strcmp(format, formats[i].format) == 0) {
            *out = formats[i].type;
            return MG_OK;
        }
    if (strncmp(format, "ts", 2) == 0 && format[2] && format[3] == ':') {
        static const char units[] = "smun";
        const char *unit = strchr(units, format[2]);
        if (unit) {
            *out = (struct ipc_type){.tag = TYPE_TIMESTAMP,
                                     .layout = IPC_FIXED,
                                     .width = 8,
                                     .args = {(int32_t)(unit - units)},
                                     .zone = format + 4};
            return MG_OK;
        }
    } else if (strncmp(format, "d:", 2) == 0 && parse_numbers(format + 2, n, 3, &found) &&
               found >= 2 && (n[2] == 32 || n[2] == 64 || n[2] == 128 || n[2] == 256)) {
        *out = (struct ipc_type){.tag = TYPE_DECIMAL,
                                 .layout = IPC_FIXED,
                                 .width = n[2] / 8,
                                 .args = {n[0], n[1], n[2]}};
        return MG_OK;
    } else if (strncmp(format, "w:", 2) == 0 && parse_numbers(format + 2, n, 1, &found) &&
               n[0] >= 0) {
        *out = (struct ipc_type){
            .tag = TYPE_FIXED_BINARY, .layout = IPC_FIXED, .width = n[0], .args = {n[0]}};
        return MG_OK;
    } else if (strncmp(format, "+w:", 3) == 0 && parse_numbers(format + 3, n, 1, &found) &&
               n[0] >= 0) {
        *out = (struct ipc_type){
            .tag = TYPE_FIXED_LIST, .layout = IPC_CHILDREN, .times = n[0], .args = {n[0]}};
        return MG_OK;
    }
    return mg_err_set(err, MG_E_NOT_ACCEPTABLE,
                      "Arrow files of ours hold no columns of Arrow format \"%.40s\": cast it",
                      format);
}

static ipc_ref put_type(struct ipc_flat *flat, const struct ipc_type *type, int64_t flags)
{
    ipc_ref zone = 0;
    if (type->zone && *type->zone)
        zone = ipc_flat_string(flat, mg_span(type->zone));
    ipc_flat_begin(flat);
    switch (type->tag) {
    case TYPE_INT:
        ipc_flat_slot_i32(flat, 0, type->args[0]);
        ipc_flat_slot_u8(flat, 1, (uint8_t)type->args[1]);
        break;
    case TYPE_FLOAT:
    case TYPE_DATE:
    case TYPE_DURATION:
        ipc_flat_slot_i16(flat, 0, (int16_t)type->args[0]);
        break;
    case TYPE_TIME:
        ipc_flat_slot_i32(flat, 1, type->args[1]);
        ipc_flat_slot_i16(flat, 0, (int16_t)type->args[0]);
        break;
    case TYPE_TIMESTAMP:
        if (zone)
            ipc_flat_slot_ref(flat, 1, zone);
        ipc_flat_slot_i16(flat, 0, (int16_t)type->args[0]);
        break;
    case TYPE_DECIMAL:
        for (int i = 0; i < 3; i++)
            ipc_flat_slot_i32(flat, i, type->args[i]);
        break;
    case TYPE_FIXED_BINARY:
    case TYPE_FIXED_LIST:
        ipc_flat_slot_i32(flat, 0, type->args[0]);
        break;
    case TYPE_MAP:
        ipc_flat_slot_u8(flat, 0, (flags & ARROW_FLAG_MAP_KEYS_SORTED) != 0);
        break;
    default:
        break;
    }
    return ipc_flat_end(flat);
}

/* Reads one int32-counted string of C metadata and goes behind it. */
static struct mg_span next_word(const char **at)
{
    int32_t len;
    memcpy(&len, *at, 4);
    struct mg_span word = {*at + 4, len > 0 ? (size_t)len : 0};
    *at += 4 + word.len;
    return word;
}

static ipc_ref put_pair(struct ipc_flat *flat, struct mg_span key, struct mg_span value)
{
    ipc_ref v = ipc_flat_string(flat, value), k = ipc_flat_string(flat, key);
    ipc_flat_begin(flat);
    ipc_flat_slot_ref(flat, 0, k);
    ipc_flat_slot_ref(flat, 1, v);
    return ipc_flat_end(flat);
}

/* Metadata of the C interface without the keys that begin like `except`; then `more` pairs. 0:
 * none. */
static ipc_ref put_metadata(struct ipc_flat *flat, const char *metadata, const char *except,
                            const struct mg_span (*more)[2], size_t n_more)
{
    ipc_ref refs[MAX_METADATA_PAIRS + 4];
    size_t n = 0;
    int32_t pairs = 0;
    if (metadata) {
        memcpy(&pairs, metadata, 4);
        metadata += 4;
    }
    for (int32_t i = 0; i < pairs && n < MAX_METADATA_PAIRS; i++) {
        struct mg_span key = next_word(&metadata), value = next_word(&metadata);
        if (!except || !mg_span_starts(key, except))
            refs[n++] = put_pair(flat, key, value);
    }
    for (size_t i = 0; i < n_more; i++)
        refs[n++] = put_pair(flat, more[i][0], more[i][1]);
    return n ? ipc_flat_refs(flat, refs, n) : 0;
}

static ipc_ref put_geometry_metadata(const struct ipc_schema *schema, struct ipc_flat *flat,
                                     const char *metadata)
{
    struct mg_buf text;
    mg_buf_init(&text, 0);
    mg_buf_str(&text, "{");
    if (schema->crs.len) {
        mg_buf_str(&text, "\"crs\":");
        mg_buf_put(&text, schema->crs.data, schema->crs.len);
        mg_buf_str(&text, schema->lnglat ? ",\"crs_type\":\"authority_code\""
                                         : ",\"crs_type\":\"projjson\"");
    }
    mg_buf_str(&text, "}");
    const struct mg_span more[][2] = {
        {MG_SPAN("ARROW:extension:name"), MG_SPAN("geoarrow.wkb")},
        {MG_SPAN("ARROW:extension:metadata"), {text.data, text.len}},
    };
    flat->failed |= text.failed;
    ipc_ref ref = text.failed ? 0 : put_metadata(flat, metadata, "ARROW:extension:", more, 2);
    mg_buf_fini(&text);
    return ref;
}

static enum mg_err put_field(const struct ipc_schema *schema, const struct ArrowSchema *field,
                             bool geometry, struct ipc_flat *flat, ipc_ref *out,
                             struct mg_errmsg *err)
{
    const struct ArrowSchema *values = field->dictionary ? field->dictionary : field;
    const struct ipc_dictionary *dictionary =
        field->dictionary ? ipc_schema_dictionary(schema, field) : NULL;
    struct ipc_type type, index;
    enum mg_err e = ipc_type_of(values->format, &type, err);
    ipc_ref *refs = e ? NULL : malloc(((size_t)values->n_children + 1) * sizeof *refs);
    if (e || !refs)
        return e ? e : mg_err_set(err, MG_E_NOMEM, "out of memory for a table's columns");
    for (int64_t i = 0; !e && i < values->n_children; i++)
        e = put_field(schema, values->children[i], false, flat, &refs[i], err);
    if (!e && dictionary)
        e = ipc_type_of(field->format, &index, err);
    if (e)
        goto out;
    ipc_ref encoding = 0, metadata = geometry ? put_geometry_metadata(schema, flat, field->metadata)
                                              : put_metadata(flat, field->metadata, NULL, NULL, 0);
    ipc_ref children = ipc_flat_refs(flat, refs, (size_t)values->n_children);
    if (dictionary) {
        index.args[0] = dictionary->index_width * 8;
        if (dictionary->index_width != index.width)
            index.args[1] = 1;
        ipc_ref of = put_type(flat, &index, 0);
        ipc_flat_begin(flat);
        ipc_flat_slot_i64(flat, 0, dictionary - schema->dictionaries);
        ipc_flat_slot_ref(flat, 1, of);
        ipc_flat_slot_u8(flat, 2, (field->flags & ARROW_FLAG_DICTIONARY_ORDERED) != 0);
        encoding = ipc_flat_end(flat);
    }
    ipc_ref of = put_type(flat, &type, values->flags);
    ipc_ref name = ipc_flat_string(flat, mg_span(field->name ? field->name : ""));
    ipc_flat_begin(flat);
    ipc_flat_slot_ref(flat, 0, name);
    ipc_flat_slot_ref(flat, 3, of);
    if (encoding)
        ipc_flat_slot_ref(flat, 4, encoding);
    ipc_flat_slot_ref(flat, 5, children);
    if (metadata)
        ipc_flat_slot_ref(flat, 6, metadata);
    ipc_flat_slot_u8(flat, 1, (field->flags & ARROW_FLAG_NULLABLE) != 0);
    ipc_flat_slot_u8(flat, 2, type.tag);
    *out = ipc_flat_end(flat);
out:
    free(refs);
    return e;
}

/* GeoParquet's metadata, version 1.0: of Feather files geopandas reads it too. */
static void geo_json(const struct ipc_schema *schema, struct mg_buf *out)
{
    const char *name = schema->table->schema.children[schema->table->geometry]->name;
    name = name ? name : "";
    mg_buf_str(out, "{\"version\":\"1.0.0\",\"primary_column\":");
    mg_buf_json_string(out, name, strlen(name));
    mg_buf_str(out, ",\"columns\":{");
    mg_buf_json_string(out, name, strlen(name));
    mg_buf_str(out, ":{\"encoding\":\"WKB\",\"geometry_types\":[]");
    if (!schema->crs.len) {
        mg_buf_str(out, ",\"crs\":null");
    } else if (!schema->lnglat) {
        mg_buf_str(out, ",\"crs\":");
        mg_buf_put(out, schema->crs.data, schema->crs.len);
    }
    mg_buf_str(out, "}}}");
}

enum mg_err ipc_schema_put(const struct ipc_schema *schema, struct ipc_flat *flat, ipc_ref *out,
                           struct mg_errmsg *err)
{
    const struct mg_table *table = schema->table;
    size_t n = (size_t)table->schema.n_children;
    struct mg_buf geo;
    ipc_ref metadata = 0, *refs = malloc((n + 1) * sizeof *refs);
    if (!refs)
        return mg_err_set(err, MG_E_NOMEM, "out of memory for a table's columns");
    enum mg_err e = MG_OK;
    for (size_t i = 0; !e && i < n; i++)
        e = put_field(schema, table->schema.children[i], (int)i == table->geometry, flat, &refs[i],
                      err);
    if (e)
        goto out;
    mg_buf_init(&geo, 0);
    if (table->geometry >= 0)
        geo_json(schema, &geo);
    const struct mg_span more[][2] = {{MG_SPAN("geo"), {geo.data, geo.len}}};
    metadata =
        put_metadata(flat, table->schema.metadata, geo.len ? "geo" : NULL, more, geo.len > 0);
    flat->failed |= geo.failed;
    mg_buf_fini(&geo);
    ipc_ref fields = ipc_flat_refs(flat, refs, n);
    ipc_flat_begin(flat);
    ipc_flat_slot_ref(flat, 1, fields);
    if (metadata)
        ipc_flat_slot_ref(flat, 2, metadata);
    ipc_flat_slot_i16(flat, 0, 0); /* little-endian */
    *out = ipc_flat_end(flat);
out:
    free(refs);
    return e;
}

static size_t count_dictionaries(const struct ArrowSchema *field)
{
    size_t n = 0;
    for (int64_t i = 0; i < field->n_children; i++)
        n += count_dictionaries(field->children[i]);
    return field->dictionary ? n + 1 + count_dictionaries(field->dictionary) : n;
}

static enum mg_err add_dictionaries(struct ipc_schema *schema, const struct ArrowSchema *field,
                                    struct mg_errmsg *err)
{
    enum mg_err e = MG_OK;
    for (int64_t i = 0; !e && i < field->n_children; i++)
        e = add_dictionaries(schema, field->children[i], err);
    if (e || !field->dictionary)
        return e;
    struct ipc_type index;
    e = add_dictionaries(schema, field->dictionary, err);
    if (!e)
        e = ipc_type_of(field->format, &index, err);
    if (!e)
        schema->dictionaries[schema->n_dictionaries++] =
            (struct ipc_dictionary){.field = field, .index_width = index.width};
    return e;
}

struct ipc_dictionary *ipc_schema_dictionary(const struct ipc_schema *schema,
                                             const struct ArrowSchema *field)
{
    for (size_t i = 0; i < schema->n_dictionaries; i++)
        if (schema->dictionaries[i].field == field)
            return &schema->dictionaries[i];
    return NULL;
}

static enum mg_err projjson(const char *text, struct mg_buf *out, struct mg_errmsg *err)
{
    static const char *const options[] = {"MULTILINE=NO", NULL};
    struct mg_gdal_errors errors;
    OGRSpatialReferenceH crs;
    char *json = NULL;
    enum mg_err e = mg_crs_parse(text, &crs, err);
    if (e)
        return e;
    mg_gdal_errors_begin(&errors);
    OGRErr failed = OSRExportToPROJJSON(crs, &json, options);
    mg_gdal_errors_end();
    OSRRelease(crs);
    if (failed == OGRERR_NONE && json)
        mg_buf_str(out, json);
    CPLFree(json);
    return failed == OGRERR_NONE ? MG_OK
                                 : mg_err_set(err, MG_E_NO_CRS, "CRS %.80s has no PROJJSON: %.160s",
                                              text, errors.text);
}

enum mg_err ipc_schema_init(struct ipc_schema *schema, const struct mg_table *table,
                            struct mg_errmsg *err)
{
    *schema = (struct ipc_schema){.table = table};
    mg_buf_init(&schema->crs, 0);
    size_t n = count_dictionaries(&table->schema);
    schema->dictionaries = calloc(n + 1, sizeof *schema->dictionaries);
    if (!schema->dictionaries)
        return mg_err_set(err, MG_E_NOMEM, "out of memory for a table's dictionaries");
    enum mg_err e = add_dictionaries(schema, &table->schema, err);
    if (e || table->geometry < 0 || !table->crs)
        return e;
    schema->lnglat = strcmp(table->crs, "OGC:CRS84") == 0;
    if (schema->lnglat)
        mg_buf_str(&schema->crs, "\"OGC:CRS84\"");
    return schema->lnglat ? MG_OK : projjson(table->crs, &schema->crs, err);
}

void ipc_schema_fini(struct ipc_schema *schema)
{
    for (size_t i = 0; i < schema->n_dictionaries; i++)
        mg_buf_fini(&schema->dictionaries[i].bytes);
    free(schema->dictionaries);
    mg_buf_fini(&schema->crs);
}
