/* A UDF's tiles, described: bounds, zooms, and the layers and fields of vector tiles.
 *
 * Fields come from meta.json where serve wrote them (files), else from the tile in the middle of the UDF's view, which
 * is an ordinary run: cached, single flight, with its deadline. Cost of reading a tile: its bytes, once. */
#include "tileset.h"

#include "moongate/codec.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_TILE_BYTES = 16 << 20, MAX_LAYERS = 64, MAX_FIELDS = 1024 };

/* "vector" or "raster" by the UDF's type; NULL when it does not say. */
static const char *kind_of(const struct mg_udf *udf)
{
    if (strstr(udf->type, "vector"))
        return "vector";
    return strstr(udf->type, "raster") ? "raster" : NULL;
}

static const json_t *metadata_of(const struct mg_udf *udf)
{
    json_t *metadata = NULL;
    if (json_unpack(udf->meta, "{s:{s:[{s:{s:o}}]}}", "job_config", "steps", "udf", "metadata", &metadata) < 0)
        return NULL;
    return metadata;
}

void mg_tileset_of(const struct mg_udf *udf, struct mg_tileset *out)
{
    json_t *metadata = (json_t *)metadata_of(udf);
    struct mg_bounds own;
    int low, high;
    *out = (struct mg_tileset){kind_of(udf), "", {-180, -MG_MERC_MAX_LAT, 180, MG_MERC_MAX_LAT}, 0, MG_TILE_MAX_ZOOM};
    if (out->kind)
        out->extension = strcmp(out->kind, "vector") == 0 ? "mvt" : "png";
    if (json_unpack(metadata, "{s:[F,F,F,F]}", "moongate:bounds", &own.xmin, &own.ymin, &own.xmax, &own.ymax) == 0 &&
        mg_bounds_valid(own)) {
        if (own.xmin < own.xmax) { /* one that crosses the antimeridian has no form in TileJSON */
            out->bounds.xmin = own.xmin;
            out->bounds.xmax = own.xmax;
        }
        double ymin = out->bounds.ymin, ymax = out->bounds.ymax;
        out->bounds.ymin = fmax(ymin, fmin(own.ymin, ymax));
        out->bounds.ymax = fmin(ymax, fmax(own.ymax, ymin));
    }
    if (json_unpack(metadata, "{s:[i,i]}", "moongate:zooms", &low, &high) == 0 && low >= 0 && low <= high &&
        high <= MG_TILE_MAX_ZOOM) {
        out->minzoom = low;
        out->maxzoom = high;
    }
}

void mg_tileset_limits(const struct mg_tileset *set, int z, struct mg_tile *first, struct mg_tile *last)
{
    *first = mg_tile_at(set->bounds.xmin, set->bounds.ymax, z);
    *last = mg_tile_at(set->bounds.xmax, set->bounds.ymin, z);
}

bool mg_tileset_has(const struct mg_tileset *set, struct mg_tile tile)
{
    struct mg_tile first, last;
    if (!mg_tile_valid(tile) || tile.z < set->minzoom || tile.z > set->maxzoom)
        return false;
    mg_tileset_limits(set, tile.z, &first, &last);
    return tile.x >= first.x && tile.x <= last.x && tile.y >= first.y && tile.y <= last.y;
}

double mg_tileset_cell_m(int z) { return ldexp(2 * MG_MERC_MAX / 256, -z); }
double mg_tileset_scale(int z) { return mg_tileset_cell_m(z) / 0.00028; }

/* ---- a vector tile's layers: protocol buffers, read with a cursor that never leaves its bytes ------------------ */

struct cursor {
    const uint8_t *at, *end;
    bool bad;
};

static uint64_t varint(struct cursor *c)
{
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (c->at == c->end)
            break;
        uint8_t byte = *c->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return value;
    }
    c->bad = true;
    return 0;
}

/* The next field: its number, and for length-delimited ones what lies in it. False at the end, or when damaged. */
static bool field(struct cursor *c, uint64_t *number, struct cursor *inside)
{
    if (c->bad || c->at == c->end)
        return false;
    uint64_t key = varint(c), skip = 0;
    *number = key >> 3;
    *inside = (struct cursor){c->at, c->at, false};
    switch (key & 7) {
    case 0:
        varint(c);
        return !c->bad;
    case 1:
        skip = 8;
        break;
    case 2:
        skip = varint(c);
        break;
    case 5:
        skip = 4;
        break;
    default:
        c->bad = true;
    }
    if (c->bad || skip > (uint64_t)(c->end - c->at)) {
        c->bad = true;
        return false;
    }
    *inside = (struct cursor){c->at, c->at + skip, false};
    c->at += skip;
    return true;
}

/* The name of a value's type: the first field says it. */
static const char *type_of(struct cursor value)
{
    uint64_t number;
    struct cursor inside;
    if (!field(&value, &number, &inside))
        return NULL;
    return number == 1 ? "String" : number == 7 ? "Boolean" : number >= 2 && number <= 6 ? "Number" : NULL;
}

struct layer {
    struct cursor name;
    struct cursor keys[MAX_FIELDS];
    const char *types[MAX_FIELDS]; /* of each key, as features use it */
    size_t n_keys, n_values;
    const char **values; /* the type of each value */
};

/* Pairs of indices into keys and values. */
static void read_tags(struct layer *layer, struct cursor tags)
{
    while (!tags.bad && tags.at < tags.end) {
        uint64_t key = varint(&tags), value = varint(&tags);
        if (tags.bad || key >= layer->n_keys || value >= layer->n_values || !layer->values[value])
            return;
        const char **type = &layer->types[key];
        *type = !*type || *type == layer->values[value] ? layer->values[value] : "Mixed";
    }
}

static json_t *read_layer(struct cursor all, struct layer *layer)
{
    struct cursor c = all, inside, tags;
    uint64_t number, part;
    *layer = (struct layer){.values = NULL};
    /* Each value takes at least two bytes. */
    layer->values = calloc((size_t)(all.end - all.at) / 2 + 1, sizeof *layer->values);
    if (!layer->values)
        return NULL;
    while (field(&c, &number, &inside)) {
        if (number == 1)
            layer->name = inside;
        else if (number == 3 && layer->n_keys < MAX_FIELDS)
            layer->keys[layer->n_keys++] = inside;
        else if (number == 4)
            layer->values[layer->n_values++] = type_of(inside);
    }
    json_t *row = NULL, *fields = json_object();
    if (!c.bad && layer->name.at < layer->name.end) {
        for (c = all; field(&c, &number, &inside);)
            while (number == 2 && field(&inside, &part, &tags))
                if (part == 2)
                    read_tags(layer, tags);
        for (size_t i = 0; i < layer->n_keys; i++)
            if (layer->types[i]) { /* text that is not UTF-8 is left out: Jansson takes none */
                json_t *type = json_string(layer->types[i]);
                json_object_setn_new(fields, (const char *)layer->keys[i].at,
                                     (size_t)(layer->keys[i].end - layer->keys[i].at), type);
            }
        json_t *id = json_stringn((const char *)layer->name.at, (size_t)(layer->name.end - layer->name.at));
        if (id)
            row = json_pack("{s:o, s:O}", "id", id, "fields", fields);
    }
    json_decref(fields);
    free(layer->values);
    return row;
}

json_t *mg_tile_layers(struct mg_span mvt)
{
    const uint8_t *start = (const uint8_t *)(mvt.data ? mvt.data : "");
    struct cursor c = {start, start + mvt.len, false}, inside;
    uint64_t number;
    struct layer *layer = malloc(sizeof *layer);
    json_t *list = json_array();
    while (layer && json_array_size(list) < MAX_LAYERS && field(&c, &number, &inside)) {
        json_t *row = number == 3 ? read_layer(inside, layer) : NULL;
        if (row)
            json_array_append_new(list, row);
        else
            c.bad |= number == 3;
    }
    free(layer);
    if (!c.bad)
        return list;
    json_decref(list);
    return NULL;
}

/* ---- asking a UDF ------------------------------------------------------------------------------------ */

/* The layer that a table alone makes. */
static json_t *unknown_layers(void)
{
    return json_pack("[{s:s, s:{}}]", "id", "udf", "fields");
}

struct asked {
    struct mg_exchange *exchange;
    mg_tileset_then_f *then;
};

static void on_tile(void *context, struct mg_answer *answer, enum mg_source source, struct mg_span detail)
{
    struct asked asked = *(struct asked *)context;
    json_t *layers = NULL;
    struct mg_buf inflated;
    (void)source;
    (void)detail;
    free(context);
    mg_buf_init(&inflated, MAX_TILE_BYTES);
    if (!answer->err && answer->status == 200 && answer->fd < 0 && answer->codec && strcmp(answer->codec, "mvt") == 0) {
        struct mg_span body = answer->body;
        bool good = true;
        if (answer->gzip) {
            good = mg_gunzip(body, &inflated) == MG_OK;
            body = (struct mg_span){inflated.data, inflated.len};
        }
        layers = good ? mg_tile_layers(body) : NULL;
    }
    mg_buf_fini(&inflated);
    if (!json_array_size(layers)) {
        json_decref(layers);
        layers = unknown_layers();
    }
    asked.then(asked.exchange, layers);
}

/* The deepest tile that has all of the bounds; where these are the world, the one of the view. */
static struct mg_tile sample_of(const struct mg_udf *udf, const struct mg_tileset *set)
{
    struct mg_tile tile = {0, 0, 0}, first, last;
    for (int z = 0; z <= set->maxzoom; z++) {
        mg_tileset_limits(set, z, &first, &last);
        if (first.x != last.x || first.y != last.y)
            break;
        tile = first;
    }
    if (set->bounds.xmax - set->bounds.xmin >= 360 && udf->has_view)
        tile = mg_tile_at(udf->lng, udf->lat, udf->zoom < set->maxzoom ? (int)udf->zoom : set->maxzoom);
    return tile;
}

void mg_tileset_ask(struct mg_exchange *exchange, mg_tileset_then_f *then)
{
    struct mg_udf *udf = exchange->udf;
    struct mg_tileset set;
    struct mg_query query;
    mg_tileset_of(udf, &set);
    const json_t *fields = json_object_get(metadata_of(udf), "moongate:fields");
    if (!set.kind || strcmp(set.kind, "vector") != 0 || udf->broken) {
        then(exchange, json_array());
        return;
    }
    if (json_is_object(fields)) {
        then(exchange, json_pack("[{s:s, s:o}]", "id", "udf", "fields", json_deep_copy(fields)));
        return;
    }
    struct mg_errmsg err = {0};
    enum mg_err status = mg_query_parse(&query, exchange->request, &err);
    if (status) {
        mg_reply_error(exchange, status, err.text, (struct mg_span){0});
        return;
    }
    mg_route_drop_protocol(exchange, &query);
    struct mg_tile tile = sample_of(udf, &set);
    struct asked *asked = malloc(sizeof *asked);
    MG_ASSERT(asked);
    *asked = (struct asked){exchange, then};
    struct mg_ask ask = {.org = exchange->org, .udf = udf, .mode = MG_RUN_ANSWER, .given = query.given, .n_given = query.n,
                         .has_tile = true, .z = tile.z, .x = tile.x, .y = tile.y, .tile_size = 256,
                         .formats = MG_SPAN("mvt"), .max_age_s = -1};
    struct mg_buf no_options;
    mg_buf_init(&no_options, 0);
    mg_pack_int(&no_options, 0);
    ask.options = (struct mg_span){no_options.data, no_options.len};
    /* As in route_run.c: the answer may be sent, and released, before mg_run_start returns. */
    __atomic_add_fetch(&exchange->refs, 1, __ATOMIC_RELAXED);
    exchange->run = mg_run_start(exchange->app->engine, &ask, on_tile, asked);
    mg_exchange_unref(exchange);
    mg_query_free(&query);
    mg_buf_fini(&no_options);
}
