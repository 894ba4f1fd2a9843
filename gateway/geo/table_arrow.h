/* Arrow C data inside geo/: formats as a table of facts, and nodes whose buffers we own. */
#ifndef MOONGATE_GEO_TABLE_ARROW_H
#define MOONGATE_GEO_TABLE_ARROW_H

#include "moongate/table.h"
#include "pin.h"

enum { ARROW_MAX_DEPTH = 8, ARROW_MAX_COLUMNS = 4096, ARROW_MAX_NAME = 4096, ARROW_MAX_DIGITS = 76 };
/* More rows than any machine of ours holds: keeps every product of lengths below 2^63. */
#define ARROW_MAX_LENGTH ((int64_t)1 << 40)

enum arrow_kind {
    ARROW_NULL,
    ARROW_BOOL,
    ARROW_I8,
    ARROW_U8,
    ARROW_I16,
    ARROW_U16,
    ARROW_I32,
    ARROW_U32,
    ARROW_I64,
    ARROW_U64,
    ARROW_F16,
    ARROW_F32,
    ARROW_F64,
    ARROW_DECIMAL,
    ARROW_DATE32,
    ARROW_DATE64,
    ARROW_TIMESTAMP,
    ARROW_TIME32,
    ARROW_TIME64,
    ARROW_DURATION,
    ARROW_FIXED,
    ARROW_STRING,
    ARROW_BYTES,
    ARROW_LIST,
    ARROW_FIXED_LIST,
    ARROW_STRUCT,
    ARROW_MAP
};

struct arrow_type {
    enum arrow_kind kind;
    int n_buffers;
    int width;         /* bytes of an element in the second buffer; of an offset when `offsets` */
    bool offsets;      /* the second buffer holds length + 1 offsets */
    int32_t list_size; /* of a fixed-size list; bytes of fixed-size binary */
    int scale;         /* of a decimal */
    int64_t unit;      /* of a time: units a second */
    bool zoned;        /* a timestamp with a time zone */
};

/* False for formats that we do not read (unions, views, intervals, run-end encoding). */
bool arrow_type_parse(const char *format, struct arrow_type *out);

/* A schema node of ours; `children` are to be filled by the caller. False without memory. */
bool arrow_schema_new(struct ArrowSchema *out, const char *format, const char *name,
                      int64_t n_children, bool wkb);
/* An array node of ours: n_buffers NULL buffers and n_children empty children. Buffers put into it
 * must come from malloc; the release callback frees them, unless private_data is a struct pin that
 * holds them. */
bool arrow_array_new(struct ArrowArray *out, int64_t length, int n_buffers, int64_t n_children);
void arrow_schema_release(struct ArrowSchema *schema);
void arrow_array_release(struct ArrowArray *array);
/* Whether metadata says ARROW:extension:name = ogc.wkb or geoarrow.wkb. */
bool arrow_is_wkb(const struct ArrowSchema *schema);

static inline bool arrow_bit(const void *bits, int64_t i)
{
    return ((const uint8_t *)bits)[i >> 3] >> (i & 7) & 1;
}
/* `i` counts from the start of the buffers: the array's offset is in it. */
static inline bool arrow_valid(const struct ArrowArray *array, int64_t i)
{
    return array->n_buffers == 0 || !array->buffers[0] || arrow_bit(array->buffers[0], i);
}
/* The index at position i (of a dictionary's index array). */
int64_t arrow_index(enum arrow_kind kind, const void *data, int64_t i);
static inline int64_t arrow_offset(const struct arrow_type *type, const void *offsets, int64_t i)
{
    return type->width == 4 ? ((const int32_t *)offsets)[i] : ((const int64_t *)offsets)[i];
}

/* A table from nodes of ours: no validation. Takes both. NULL (and released) without memory. */
struct mg_table *table_adopt(struct ArrowSchema *schema, struct ArrowArray *batches,
                             size_t n_batches, int geometry, const char *crs);
/* mg_table_restore without copies: the buffers lie in `stored`, which `pin` holds. */
MG_MUST_CHECK enum mg_err table_restore_pinned(struct mg_span stored, struct pin *pin, struct mg_table **out,
                                               struct mg_errmsg *err);
/* Bytes that the table's buffers take, about. */
size_t table_bytes(const struct mg_table *table);

#endif
