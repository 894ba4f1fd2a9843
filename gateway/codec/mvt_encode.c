/* MVT 2.1 layers as protocol buffer bytes (github.com/mapbox/vector-tile-spec, 4.1 to 4.4).
 *
 * Features are written as they come; keys are numbered once for a layer, and so are values, by open
 * addressing over hashes of type and bytes, but for columns whose values are nearly all different.
 * Marks make the last features undoable: values leave the hash table in the reverse order in which
 * they came, which linear probing allows. Cost: about 20 ns a value, 1 ns a byte. */
#include "mvt.h"

#include "moongate/json.h"

#include <stdlib.h>

bool mvt_grow(void **at, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap)
        return true;
    size_t wanted = *cap + *cap / 2 > need ? *cap + *cap / 2 : need + 64;
    void *grown = realloc(*at, wanted * size);
    if (!grown)
        return false;
    *at = grown;
    *cap = wanted;
    return true;
}

static inline char *put_varint(char *at, uint64_t v)
{
    while (v >= 128) {
        *at++ = (char)(v | 128);
        v >>= 7;
    }
    *at++ = (char)v;
    return at;
}

static inline size_t varint_bytes(uint64_t v)
{
    return (size_t)(70 - __builtin_clzll(v | 1)) / 7;
}

void mvt_layer_init(struct mvt_layer *layer)
{
    *layer = (struct mvt_layer){0};
    mg_buf_init(&layer->features, 0);
    mg_buf_init(&layer->keys, 0);
    mg_buf_init(&layer->values_out, 0);
}

void mvt_layer_fini(struct mvt_layer *layer)
{
    mg_buf_fini(&layer->features);
    mg_buf_fini(&layer->keys);
    mg_buf_fini(&layer->values_out);
    free(layer->list);
    free(layer->values);
    free(layer->slots);
}

void mvt_layer_expect(struct mvt_layer *layer, size_t features, size_t max_bytes)
{
    enum { USUAL_BYTES = 32 };
    size_t bytes = features * USUAL_BYTES;
    if (mvt_grow((void **)&layer->list, &layer->list_cap, features, sizeof *layer->list) &&
        mvt_grow((void **)&layer->values, &layer->values_cap, features, sizeof *layer->values))
        mg_buf_room(&layer->features, bytes < max_bytes ? bytes : max_bytes);
}

static void put_bytes_field(struct mg_buf *out, int field, const char *data, size_t len)
{
    char head[12], *at = put_varint(head, (uint64_t)field << 3 | 2);
    at = put_varint(at, len);
    mg_buf_put(out, head, (size_t)(at - head));
    mg_buf_put(out, data, len);
}

uint32_t mvt_layer_key(struct mvt_layer *layer, struct mg_span name)
{
    put_bytes_field(&layer->keys, 3, name.data, name.len);
    return layer->n_keys++;
}

static inline uint64_t mix(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_bytes(uint8_t tag, const char *data, size_t len)
{
    uint64_t h = 0x9E3779B97F4A7C15u ^ tag ^ (uint64_t)len << 8, a = 0, b = 0;
    while (len > 16) {
        memcpy(&a, data, 8);
        memcpy(&b, data + 8, 8);
        h = mix(a ^ h, b ^ 0xE7037ED1A0B428DBu);
        data += 16;
        len -= 16;
    }
    a = b = 0;
    if (len >= 8) {
        memcpy(&a, data, 8);
        memcpy(&b, data + len - 8, 8);
    } else if (len >= 4) {
        memcpy(&a, data, 4);
        memcpy(&b, data + len - 4, 4);
    } else if (len) {
        a = (uint8_t)data[0] | (uint64_t)(uint8_t)data[len / 2] << 8 |
            (uint64_t)(uint8_t)data[len - 1] << 16;
    }
    return mix(a ^ h, b ^ 0x8EBC6AF09C88C6E3u) | 1;
}

static bool rehash(struct mvt_layer *layer)
{
    size_t n = layer->n_slots ? layer->n_slots * 4 : 4096;
    uint64_t *slots = calloc(n, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < layer->n_values; i++) {
        size_t at = layer->values[i].hash & (n - 1);
        if (!layer->values[i].hash)
            continue;
        while (slots[at])
            at = (at + 1) & (n - 1);
        slots[at] = (uint64_t)layer->values[i].hash << 32 | (i + 1);
    }
    free(layer->slots);
    layer->slots = slots;
    layer->n_slots = n;
    return true;
}

/* Room for one more value of so many bytes at the end of values_out; NULL: no memory. */
static inline char *value_room(struct mvt_layer *layer, size_t bytes)
{
    char *room = mg_buf_spare(&layer->values_out, bytes);
    if (!room)
        room = mg_buf_room(&layer->values_out, bytes);
    if (!room || layer->values_out.len + bytes > UINT32_MAX ||
        (layer->n_values == layer->values_cap &&
         !mvt_grow((void **)&layer->values, &layer->values_cap, layer->n_values + 1, sizeof *layer->values))) {
        layer->no_memory = true;
        return NULL;
    }
    return room;
}

static inline uint32_t add_value(struct mvt_layer *layer, uint32_t hash, size_t bytes)
{
    layer->values[layer->n_values] = (struct mvt_value){hash, (uint32_t)layer->values_out.len, (uint32_t)bytes};
    mg_buf_added(&layer->values_out, bytes);
    return (uint32_t)layer->n_values++;
}

/* Whether a value of the column is to be looked for: always, until most were new; then one in eight, so that
 * a column that begins to repeat itself is found out. */
static inline bool is_sought(struct mvt_column *column)
{
    enum { SURE = 128 };
    return column->fresh < SURE || ++column->seen * 0x9E3779B9u >> 29 == 0;
}

/* The number of the value whose `all` bytes have been written behind values_out: that of the same one
 * before it, or a new one. */
static uint32_t number_of(struct mvt_layer *layer, struct mvt_column *column, uint32_t hash, size_t all)
{
    enum { BACK = 8 };
    hash |= 1; /* 0 is for those in no slot */
    if (layer->n_slotted * 2 >= layer->n_slots && !rehash(layer)) {
        layer->no_memory = true;
        return 0;
    }
    const char *bytes = layer->values_out.data;
    size_t slot = hash & (layer->n_slots - 1);
    for (; layer->slots[slot]; slot = (slot + 1) & (layer->n_slots - 1)) {
        uint32_t index = (uint32_t)layer->slots[slot] - 1;
        const struct mvt_value *value = &layer->values[index];
        if (layer->slots[slot] >> 32 == hash && value->len == all &&
            memcmp(bytes + value->at, bytes + layer->values_out.len, all) == 0) {
            column->fresh = column->fresh > BACK ? column->fresh - BACK : 0;
            layer->values_out.data[layer->values_out.len] = '\0';
            return index;
        }
    }
    column->fresh += column->fresh < UINT8_MAX;
    layer->slots[slot] = (uint64_t)hash << 32 | (layer->n_values + 1);
    layer->n_slotted++;
    return add_value(layer, hash, all);
}

/* A number: tag is the field of Tile.Value (3 double, 5 uint, 6 sint, 7 bool). */
static inline uint32_t put_number(struct mvt_layer *layer, struct mvt_column *column, uint8_t tag, uint64_t bits)
{
    char *start = value_room(layer, 16), *at = start;
    if (!start)
        return 0;
    *at++ = 0x22; /* Layer.values */
    at++;         /* its length */
    *at++ = (char)(tag << 3 | (tag == 3));
    if (tag == 3) {
        memcpy(at, &bits, 8);
        at += 8;
    } else {
        at = put_varint(at, bits);
    }
    start[1] = (char)(at - start - 2);
    size_t all = (size_t)(at - start);
    if (!is_sought(column))
        return add_value(layer, 0, all);
    uint32_t hash = (uint32_t)(mix(bits ^ 0x9E3779B97F4A7C15u, 0xE7037ED1A0B428DBu + tag) >> 8);
    return number_of(layer, column, hash, all);
}

static uint32_t put_string(struct mvt_layer *layer, struct mvt_column *column, const char *data, size_t len)
{
    char *start = value_room(layer, len + 24), *at = start;
    if (!start)
        return 0;
    *at++ = 0x22;
    at = put_varint(at, 1 + varint_bytes(len) + len);
    *at++ = 0x0A;
    at = put_varint(at, len);
    if (len)
        memcpy(at, data, len);
    size_t all = (size_t)(at - start) + len;
    if (!is_sought(column))
        return add_value(layer, 0, all);
    return number_of(layer, column, (uint32_t)(hash_bytes(1, data, len) >> 8), all);
}

/* A tile's string is UTF-8 and readers insist on it: what is not becomes U+FFFD, by way of JSON's
 * escapes. */
uint32_t mvt_layer_text(struct mvt_layer *layer, struct mvt_column *column, struct mg_span s)
{
    struct mg_buf quoted;
    json_t *value = NULL;
    uint32_t index;
    if (mg_utf8_valid(s))
        return put_string(layer, column, s.data ? s.data : "", s.len);
    mg_buf_init(&quoted, 0);
    mg_buf_json_string(&quoted, s.data, s.len);
    if (quoted.failed || mg_json_parse((struct mg_span){quoted.data, quoted.len}, quoted.len, &value, NULL)) {
        layer->no_memory |= quoted.failed;
        index = put_string(layer, column, "", 0);
    } else {
        index = put_string(layer, column, json_string_value(value), json_string_length(value));
        json_decref(value);
    }
    mg_buf_fini(&quoted);
    return index;
}

uint32_t mvt_layer_double(struct mvt_layer *layer, struct mvt_column *column, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, 8);
    return put_number(layer, column, 3, bits);
}

uint32_t mvt_layer_value(struct mvt_layer *layer, struct mvt_column *column, const struct mg_cell *cell)
{
    char text[40];
    switch (cell->type) {
    case MG_CELL_BOOL:
        return put_number(layer, column, 7, cell->b);
    case MG_CELL_UINT:
        return put_number(layer, column, 5, cell->u);
    case MG_CELL_INT:
        if (cell->i >= 0)
            return put_number(layer, column, 5, (uint64_t)cell->i);
        return put_number(layer, column, 6, (uint64_t)cell->i << 1 ^ (uint64_t)(cell->i >> 63));
    case MG_CELL_DOUBLE:
        return mvt_layer_double(layer, column, cell->d);
    case MG_CELL_DATE:
    case MG_CELL_TIMESTAMP:
        return put_string(layer, column, text, mg_time_text(cell, text));
    case MG_CELL_BINARY: { /* base64: a tile's string is UTF-8 */
        struct mg_buf buf;
        mg_buf_init(&buf, 0);
        mg_cell_text(cell, &buf);
        uint32_t index = put_string(layer, column, buf.data ? buf.data : "", buf.len);
        mg_buf_fini(&buf);
        return index;
    }
    default:
        return mvt_layer_text(layer, column, cell->s);
    }
}

/* A feature whose lengths all fit one byte, which most points and buildings are: written in one
 * pass. */
static char *put_small(char *start, bool has_id, uint64_t id, const uint32_t *tags, size_t n_tags,
                       int type, const struct mvt_commands *geometry)
{
    char *at = start;
    *at++ = 0x12; /* Layer.features */
    char *body = at++;
    if (has_id) {
        *at++ = 0x08;
        at = put_varint(at, id);
    }
    if (n_tags) {
        *at++ = 0x12;
        char *packed = at++;
        for (size_t i = 0; i < n_tags; i++)
            at = put_varint(at, tags[i]);
        *packed = (char)(at - packed - 1);
    }
    *at++ = 0x18;
    *at++ = (char)type;
    *at++ = 0x22;
    char *packed = at++;
    for (size_t i = 0; i < geometry->n; i++)
        at = put_varint(at, geometry->at[i]);
    *packed = (char)(at - packed - 1);
    *body = (char)(at - body - 1);
    return at;
}

void mvt_layer_feature(struct mvt_layer *layer, uint32_t row, bool has_id, uint64_t id,
                       const uint32_t *tags, size_t n_tags, int type,
                       const struct mvt_commands *geometry)
{
    /* 5 bytes a number, 11 of the id, 6 of field keys and lengths. */
    if ((n_tags + geometry->n) * 5 + 17 < 128) {
        char *small = mg_buf_spare(&layer->features, 130);
        if (!small)
            small = mg_buf_room(&layer->features, 130);
        if (!small || layer->features.len + 130 > UINT32_MAX ||
            !mvt_grow((void **)&layer->list, &layer->list_cap, layer->n + 1, sizeof *layer->list)) {
            layer->no_memory = true;
            return;
        }
        size_t len = (size_t)(put_small(small, has_id, id, tags, n_tags, type, geometry) - small);
        layer->list[layer->n++] =
            (struct mvt_feature){row, (uint32_t)layer->features.len, (uint32_t)len};
        mg_buf_added(&layer->features, len);
        return;
    }
    size_t tag_bytes = 0, geometry_bytes = 0;
    for (size_t i = 0; i < n_tags; i++)
        tag_bytes += varint_bytes(tags[i]);
    for (size_t i = 0; i < geometry->n; i++)
        geometry_bytes += varint_bytes(geometry->at[i]);
    size_t body = (has_id ? 1 + varint_bytes(id) : 0) +
                  (n_tags ? 1 + varint_bytes(tag_bytes) + tag_bytes : 0) + 2 + 1 +
                  varint_bytes(geometry_bytes) + geometry_bytes;
    size_t all = 1 + varint_bytes(body) + body;
    char *start = mg_buf_room(&layer->features, all), *at = start;
    if (!start || layer->features.len + all > UINT32_MAX ||
        !mvt_grow((void **)&layer->list, &layer->list_cap, layer->n + 1, sizeof *layer->list)) {
        layer->no_memory = true;
        return;
    }
    layer->list[layer->n++] =
        (struct mvt_feature){row, (uint32_t)layer->features.len, (uint32_t)all};
    *at++ = 0x12; /* Layer.features */
    at = put_varint(at, body);
    if (has_id) {
        *at++ = 0x08;
        at = put_varint(at, id);
    }
    if (n_tags) {
        *at++ = 0x12;
        at = put_varint(at, tag_bytes);
        for (size_t i = 0; i < n_tags; i++)
            at = put_varint(at, tags[i]);
    }
    *at++ = 0x18;
    *at++ = (char)type;
    *at++ = 0x22;
    at = put_varint(at, geometry_bytes);
    for (size_t i = 0; i < geometry->n; i++)
        at = put_varint(at, geometry->at[i]);
    MG_ASSERT((size_t)(at - start) == all);
    *at = '\0';
    layer->features.len += all;
}

size_t mvt_layer_bytes(const struct mvt_layer *layer)
{
    return layer->features.len + layer->keys.len + layer->values_out.len;
}

struct mvt_mark mvt_layer_mark(const struct mvt_layer *layer)
{
    return (struct mvt_mark){layer->features.len, layer->n, layer->n_values,
                             layer->values_out.len};
}

void mvt_layer_rollback(struct mvt_layer *layer, const struct mvt_mark *mark)
{
    while (layer->n_values > mark->n_values) {
        uint32_t index = (uint32_t)layer->n_values;
        size_t slot = layer->values[index - 1].hash & (layer->n_slots - 1);
        layer->n_values--;
        if (!layer->values[index - 1].hash)
            continue;
        while ((uint32_t)layer->slots[slot] != index)
            slot = (slot + 1) & (layer->n_slots - 1);
        layer->slots[slot] = 0;
        layer->n_slotted--;
    }
    layer->features.len = mark->features;
    layer->n = mark->n;
    layer->values_out.len = mark->values_out;
}

static int by_row(const void *a, const void *b)
{
    const struct mvt_feature *x = a, *y = b;
    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return x->at < y->at ? -1 : 1;
}

void mvt_layer_write(struct mvt_layer *layer, const char *name, int extent, struct mg_buf *out)
{
    if (layer->n == 0)
        return;
    size_t name_len = strlen(name);
    size_t body = 2 + 1 + varint_bytes(name_len) + name_len + mvt_layer_bytes(layer) + 1 +
                  varint_bytes((uint64_t)extent);
    char head[16], *at = head;
    if (!mg_buf_room(out, body + sizeof head))
        return;
    *at++ = 0x1A; /* Tile.layers */
    at = put_varint(at, body);
    *at++ = 0x78; /* version 2 */
    *at++ = 2;
    mg_buf_put(out, head, (size_t)(at - head));
    put_bytes_field(out, 1, name, name_len);
    bool sorted = true;
    for (size_t i = 1; i < layer->n && sorted; i++)
        sorted = layer->list[i - 1].row <= layer->list[i].row;
    if (sorted) {
        mg_buf_put(out, layer->features.data, layer->features.len);
    } else {
        qsort(layer->list, layer->n, sizeof *layer->list, by_row);
        for (size_t i = 0; i < layer->n; i++)
            mg_buf_put(out, layer->features.data + layer->list[i].at, layer->list[i].len);
    }
    mg_buf_put(out, layer->keys.data, layer->keys.len);
    mg_buf_put(out, layer->values_out.data, layer->values_out.len);
    at = head;
    *at++ = 0x28;
    at = put_varint(at, (uint64_t)extent);
    mg_buf_put(out, head, (size_t)(at - head));
}
