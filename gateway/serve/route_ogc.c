/* OGC API - Tiles - Part 1 (OGC 20-057): landing page, conformance, collections, tilesets and tile matrix sets, JSON.
 *
 *   /ogc            the server: its public UDFs are collections, each with its tileset
 *   /{token}/ogc    one UDF: a dataset with one collection, so that it has dataset tilesets too
 *
 * Beneath either: conformance, tileMatrixSets[/{id}], collections[/{id}], and for a collection or the dataset
 * tiles (vector tiles) or map/tiles (rasters), then /{tileMatrixSet}[/{tileMatrix}/{tileRow}/{tileCol}]. A tile is the
 * same run as at /run/tiles, under the same key; the UDF's own parameters go along. */
#include "tileset.h"

#include "moongate/codec.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define MATRIX_SET "WebMercatorQuad"
#define CRS_URI "http://www.opengis.net/def/crs/EPSG/0/3857"
#define CRS84_URI "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
#define SET_URI "http://www.opengis.net/def/tilematrixset/OGC/1.0/" MATRIX_SET
#define REL "http://www.opengis.net/def/rel/ogc/1.0/"
#define TILES "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/"
#define TMS "http://www.opengis.net/spec/tms/2.0/conf/"

static const char *const own_names[] = {"f", NULL};

static const char *const conformance[] = {
    TILES "core", TILES "tileset", TILES "tilesets-list", TILES "geodata-tilesets", TILES "mvt", TILES "png",
    TILES "jpeg", TMS "tilematrixset", TMS "json-tilematrixset", TMS "tilesetmetadata", TMS "json-tilesetmetadata",
    TILES "dataset-tilesets", /* the last one: of one UDF only */
};
enum { N_CONFORMANCE = sizeof conformance / sizeof *conformance };

/* One request: `base` is the URL of the API's root, `rest` the segments behind it. */
struct place {
    struct mg_exchange *exchange;
    char base[800];
    const struct mg_span *rest;
    size_t n;
    bool one;           /* of one UDF */
    bool of_collection; /* the tilesets are a collection's, not the dataset's */
};

static void not_found(struct mg_exchange *exchange, const char *sentence)
{
    mg_reply_error(exchange, MG_E_NOT_FOUND, sentence, (struct mg_span){0});
}

/* A link, its address from a format. */
static void add_link(json_t *links, const char *rel, const char *type, const char *title, bool template,
                     const char *format, ...) MG_PRINTF(6, 7);
static void add_link(json_t *links, const char *rel, const char *type, const char *title, bool template,
                     const char *format, ...)
{
    char href[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(href, sizeof href, format, args);
    va_end(args);
    json_t *link = json_pack("{s:s, s:s, s:s, s:s}", "rel", rel, "type", type, "title", title, "href", href);
    if (template)
        json_object_set_new(link, "templated", json_true());
    json_array_append_new(links, link);
}

static bool is_vector(const struct mg_tileset *set) { return set->kind && strcmp(set->kind, "vector") == 0; }

/* "tiles" for vector tiles, "map/tiles" for pictures. */
static const char *tiles_path(const struct mg_tileset *set) { return is_vector(set) ? "tiles" : "map/tiles"; }

/* ---- what there is ----------------------------------------------------------------------------------- */

static void landing(const struct place *at)
{
    json_t *links = json_array();
    add_link(links, "self", "application/json", "this document", false, "%s", at->base);
    add_link(links, "conformance", "application/json", "conformance classes", false, "%s/conformance", at->base);
    add_link(links, REL "conformance", "application/json", "conformance classes", false, "%s/conformance", at->base);
    add_link(links, "data", "application/json", "collections", false, "%s/collections", at->base);
    add_link(links, REL "data", "application/json", "collections", false, "%s/collections", at->base);
    add_link(links, REL "tiling-schemes", "application/json", "tile matrix sets", false, "%s/tileMatrixSets", at->base);
    if (at->one) {
        struct mg_tileset set;
        mg_tileset_of(at->exchange->udf, &set);
        add_link(links, is_vector(&set) ? REL "tilesets-vector" : REL "tilesets-map", "application/json", "tilesets",
                 false, "%s/%s", at->base, tiles_path(&set));
    }
    const struct mg_udf *udf = at->exchange->udf;
    mg_route_json(at->exchange, 200,
                  json_pack("{s:s, s:s, s:o}", "title", at->one ? udf->name : "Moongate", "description",
                            at->one && udf->description ? udf->description : "Tiles of UDFs", "links", links));
}

static void conforms(const struct place *at)
{
    json_t *list = json_array();
    for (int i = 0; i < N_CONFORMANCE - !at->one; i++)
        json_array_append_new(list, json_string(conformance[i]));
    mg_route_json(at->exchange, 200, json_pack("{s:o}", "conformsTo", list));
}

static json_t *matrix(int z)
{
    char id[8];
    snprintf(id, sizeof id, "%d", z);
    return json_pack("{s:s, s:f, s:f, s:s, s:[f,f], s:i, s:i, s:i, s:i}", "id", id, "scaleDenominator",
                     mg_tileset_scale(z), "cellSize", mg_tileset_cell_m(z), "cornerOfOrigin", "topLeft",
                     "pointOfOrigin", -MG_MERC_MAX, MG_MERC_MAX, "tileWidth", 256, "tileHeight", 256, "matrixWidth",
                     1 << z, "matrixHeight", 1 << z);
}

static void matrix_sets(const struct place *at)
{
    json_t *links = json_array();
    if (at->n == 1) {
        add_link(links, "self", "application/json", MATRIX_SET, false, "%s/tileMatrixSets/" MATRIX_SET, at->base);
        mg_route_json(at->exchange, 200,
                      json_pack("{s:[{s:s, s:s, s:s, s:s, s:o}]}", "tileMatrixSets", "id", MATRIX_SET, "title",
                                "Google Maps Compatible for the World", "uri", SET_URI, "crs", CRS_URI, "links", links));
        return;
    }
    json_decref(links);
    if (!mg_span_is(at->rest[1], MATRIX_SET) || at->n > 2) {
        not_found(at->exchange, "the tile matrix sets are: " MATRIX_SET);
        return;
    }
    json_t *matrices = json_array();
    for (int z = 0; z <= MG_TILE_MAX_ZOOM; z++)
        json_array_append_new(matrices, matrix(z));
    mg_route_json(at->exchange, 200,
                  json_pack("{s:s, s:s, s:s, s:s, s:[s,s], s:s, s:o}", "id", MATRIX_SET, "title",
                            "Google Maps Compatible for the World", "uri", SET_URI, "crs", CRS_URI, "orderedAxes", "X",
                            "Y", "wellKnownScaleSet", "http://www.opengis.net/def/wkss/OGC/1.0/GoogleMapsCompatible",
                            "tileMatrices", matrices));
}

static json_t *collection(const struct place *at, const struct mg_udf *udf)
{
    struct mg_tileset set;
    json_t *links = json_array();
    mg_tileset_of(udf, &set);
    add_link(links, "self", "application/json", udf->name, false, "%s/collections/%s", at->base, udf->name);
    add_link(links, is_vector(&set) ? REL "tilesets-vector" : REL "tilesets-map", "application/json", "tilesets", false,
             "%s/collections/%s/%s", at->base, udf->name, tiles_path(&set));
    return json_pack("{s:s, s:s, s:s, s:s, s:[s], s:{s:{s:[[f,f,f,f]], s:s}}, s:o}", "id", udf->name, "title", udf->name,
                     "description", udf->description ? udf->description : "", "dataType", is_vector(&set) ? "vector" : "map",
                     "crs", CRS84_URI, "extent", "spatial", "bbox", set.bounds.xmin, set.bounds.ymin, set.bounds.xmax,
                     set.bounds.ymax, "crs", CRS84_URI, "links", links);
}

static void collections(const struct place *at)
{
    json_t *list = json_array(), *links = json_array();
    add_link(links, "self", "application/json", "collections", false, "%s/collections", at->base);
    if (at->one)
        json_array_append_new(list, collection(at, at->exchange->udf));
    size_t n = 0;
    struct mg_udf **udfs = at->one ? NULL : mg_catalog_list(at->exchange->app->engine->catalog, &n);
    for (size_t i = 0; i < n; i++) {
        struct mg_tileset set;
        mg_tileset_of(udfs[i], &set);
        if (udfs[i]->is_public && !udfs[i]->broken && set.kind) /* others do not say that they make tiles */
            json_array_append_new(list, collection(at, udfs[i]));
        mg_udf_unref(&udfs[i]);
    }
    free(udfs);
    mg_route_json(at->exchange, 200, json_pack("{s:o, s:o}", "links", links, "collections", list));
}

/* ---- tilesets ---------------------------------------------------------------------------------------- */

/* The URL of the resource that has the tilesets: the dataset's or a collection's. */
static void owner_url(const struct place *at, char *out, size_t size)
{
    snprintf(out, size, "%s%s%s", at->base, at->of_collection ? "/collections/" : "",
             at->of_collection ? at->exchange->udf->name : "");
}

/* Fields and links that a tileset has alone and in the list. */
static json_t *tileset_item(const struct place *at, const struct mg_tileset *set, bool whole)
{
    const char *const *f, *const vector[] = {"mvt", NULL}, *const raster[] = {"png", "webp", "jpg", NULL};
    char owner[1200];
    struct mg_buf query, first;
    json_t *links = json_array();
    owner_url(at, owner, sizeof owner);
    mg_buf_init(&query, 0);
    mg_buf_init(&first, 0);
    mg_route_put_query(at->exchange, '?', &first);
    mg_route_put_query(at->exchange, '&', &query);
    add_link(links, "self", "application/json", "this tileset", false, "%s/%s/" MATRIX_SET "%s", owner, tiles_path(set),
             first.data ? first.data : "");
    if (whole) {
        add_link(links, REL "tiling-scheme", "application/json", MATRIX_SET, false, "%s/tileMatrixSets/" MATRIX_SET,
                 at->base);
        for (f = is_vector(set) ? vector : raster; *f; f++)
            add_link(links, "item", mg_codec_find(mg_span(*f))->mime, "tiles", true,
                     "%s/%s/" MATRIX_SET "/{tileMatrix}/{tileRow}/{tileCol}?f=%s%s", owner, tiles_path(set), *f,
                     query.data ? query.data : "");
    }
    mg_buf_fini(&query);
    mg_buf_fini(&first);
    return json_pack("{s:s, s:s, s:s, s:s, s:o}", "title", at->exchange->udf->name, "dataType",
                     is_vector(set) ? "vector" : "map", "crs", CRS_URI, "tileMatrixSetURI", SET_URI, "links", links);
}

/* TileJSON's words for types in JSON Schema's. */
static json_t *schema_of(const json_t *fields)
{
    const char *name;
    json_t *type, *properties = json_object();
    json_object_foreach((json_t *)fields, name, type)
    {
        const char *word = json_string_value(type);
        bool number = word && strcmp(word, "Number") == 0, flag = word && strcmp(word, "Boolean") == 0;
        bool mixed = word && strcmp(word, "Mixed") == 0;
        json_object_set_new(properties, name,
                            mixed ? json_object() : json_pack("{s:s}", "type", number ? "number" : flag ? "boolean" : "string"));
    }
    return json_pack("{s:s, s:o}", "type", "object", "properties", properties);
}

static void then_tileset(struct mg_exchange *exchange, json_t *vector_layers)
{
    struct place *at = (struct place *)exchange->memory; /* put there by tileset() */
    exchange->memory = NULL;
    struct mg_tileset set;
    mg_tileset_of(exchange->udf, &set);
    json_t *item = tileset_item(at, &set, true), *limits = json_array(), *layers = json_array(), *layer;
    for (int z = set.minzoom; z <= set.maxzoom; z++) {
        struct mg_tile first, last;
        char id[8];
        snprintf(id, sizeof id, "%d", z);
        mg_tileset_limits(&set, z, &first, &last);
        json_array_append_new(limits, json_pack("{s:s, s:i, s:i, s:i, s:i}", "tileMatrix", id, "minTileRow", first.y,
                                                "maxTileRow", last.y, "minTileCol", first.x, "maxTileCol", last.x));
    }
    size_t i;
    json_array_foreach(vector_layers, i, layer)
        json_array_append_new(layers, json_pack("{s:O, s:s, s:o}", "id", json_object_get(layer, "id"), "dataType",
                                                "vector", "propertiesSchema", schema_of(json_object_get(layer, "fields"))));
    if (!json_array_size(layers))
        json_array_append_new(layers, json_pack("{s:s, s:s}", "id", exchange->udf->name, "dataType", "map"));
    json_decref(vector_layers);
    json_object_set_new(item, "tileMatrixSetLimits", limits);
    json_object_set_new(item, "layers", layers);
    json_object_set_new(item, "boundingBox",
                        json_pack("{s:[f,f], s:[f,f], s:s}", "lowerLeft", set.bounds.xmin, set.bounds.ymin, "upperRight",
                                  set.bounds.xmax, set.bounds.ymax, "crs", CRS84_URI));
    if (exchange->udf->has_view) {
        char z[8];
        snprintf(z, sizeof z, "%d", (int)exchange->udf->zoom);
        json_object_set_new(item, "centerPoint",
                            json_pack("{s:[f,f], s:s, s:s}", "coordinates", exchange->udf->lng, exchange->udf->lat, "crs",
                                      CRS84_URI, "tileMatrix", z));
    }
    free(at);
    mg_route_json(exchange, 200, item);
}

static bool whole_number(struct mg_span text, long *out)
{
    long value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        value = value * 10 + (text.data[i] - '0');
    }
    *out = value;
    return text.len > 0 && text.len < 10;
}

/* {tileMatrix}/{tileRow}/{tileCol}, the format by f= or {tileCol}.{format}. */
static void tile(const struct place *at, const struct mg_tileset *set, const struct mg_span *s, struct mg_span format)
{
    struct mg_span dotted = s[2], col;
    long z, row, x;
    mg_span_cut(&dotted, '.', &col);
    if (dotted.data)
        format = dotted;
    const struct mg_codec *codec = mg_codec_find(format.data ? format : mg_span(set->extension[0] ? set->extension : "png"));
    if (!whole_number(s[0], &z) || z > set->maxzoom)
        not_found(at->exchange, "there is no such tile matrix; the tileset lists them");
    else if (!whole_number(s[1], &row) || !whole_number(col, &x) ||
             !mg_tileset_has(set, (struct mg_tile){(int32_t)z, (int32_t)x, (int32_t)row}))
        not_found(at->exchange, "there is no such tile: the tileset lists the rows and columns that each tile matrix has");
    else if (!codec || (codec->shapes & (is_vector(set) ? MG_SHAPE_TABLE : MG_SHAPE_RASTER)) == 0)
        mg_reply_error(at->exchange, MG_E_INVALID, "f: the formats of these tiles are in the tileset's links",
                       (struct mg_span){0});
    else
        mg_route_run_tile(at->exchange, mg_span(codec->name), s[0], col, s[1]);
}

/* f=, raw. */
static struct mg_span format_of(const struct mg_http_request *request)
{
    struct mg_span rest = request->query, pair;
    while (rest.len && mg_span_cut(&rest, '&', &pair)) {
        struct mg_span value = pair, name;
        mg_span_cut(&value, '=', &name);
        if (mg_span_is(name, "f"))
            return value;
    }
    return (struct mg_span){0};
}

/* From "tiles" or "map" on: exchange->udf is set. `i` is the place of that segment. */
static void tilesets(struct place *at, size_t i, struct mg_span format)
{
    struct mg_exchange *exchange = at->exchange;
    struct mg_tileset set;
    mg_tileset_of(exchange->udf, &set);
    bool map = mg_span_is(at->rest[i], "map");
    const struct mg_span *s = at->rest + i + 1 + map;
    size_t n = at->n - i;
    if (n < 1u + map || !mg_span_is(at->rest[i + map], "tiles")) {
        not_found(exchange, "there is nothing at this URL");
        return;
    }
    n -= 1u + map;
    if (set.kind && map == is_vector(&set)) {
        not_found(exchange, map ? "this UDF makes vector tiles: they are at tiles" : "this UDF makes pictures: they are at map/tiles");
    } else if (n == 0) {
        char owner[1200];
        json_t *links = json_array();
        owner_url(at, owner, sizeof owner);
        add_link(links, "self", "application/json", "tilesets", false, "%s/%s", owner, tiles_path(&set));
        mg_route_json(exchange, 200, json_pack("{s:[o], s:o}", "tilesets", tileset_item(at, &set, false), "links", links));
    } else if (!mg_span_is(s[0], MATRIX_SET)) {
        not_found(exchange, "the tile matrix sets are: " MATRIX_SET);
    } else if (n == 1) {
        struct place *kept = malloc(sizeof *kept);
        MG_ASSERT(kept);
        *kept = *at;
        kept->rest = NULL;
        exchange->memory = (char *)kept;
        mg_tileset_ask(exchange, then_tileset);
    } else if (n == 4) {
        tile(at, &set, s + 1, format);
    } else {
        not_found(exchange, "there is nothing at this URL");
    }
}

void mg_route_ogc(struct mg_exchange *exchange, const struct mg_route_match *match)
{
    struct place at = {.exchange = exchange, .one = !mg_span_is(match->segments[0], "ogc")};
    size_t skip = at.one ? 2 : 1;
    at.rest = match->segments + skip;
    at.n = match->n - skip;
    exchange->protocol = own_names;
    exchange->shared = true;
    if (at.one && !mg_route_shared(exchange, match->segments[0]))
        return;
    if (at.one)
        snprintf(at.base, sizeof at.base, "%s/%s/ogc", exchange->app->base_url, exchange->token);
    else
        snprintf(at.base, sizeof at.base, "%s/ogc", exchange->app->base_url);
    struct mg_span format = format_of(exchange->request), first = at.n ? at.rest[0] : MG_SPAN("");
    at.of_collection = mg_span_is(first, "collections");
    /* A tile has formats of its own; all else is JSON. */
    if (format.data && !mg_span_is(format, "json") && at.n < 5) {
        mg_reply_error(exchange, MG_E_INVALID, "f: json is the one format here", (struct mg_span){0});
        return;
    }
    if (!first.len && at.n <= 1) {
        landing(&at);
    } else if (mg_span_is(first, "conformance") && at.n == 1) {
        conforms(&at);
    } else if (mg_span_is(first, "tileMatrixSets")) {
        matrix_sets(&at);
    } else if (at.of_collection && at.n == 1) {
        collections(&at);
    } else if (at.of_collection) {
        char name[128];
        bool named = mg_decode_segment(at.rest[1], name, sizeof name);
        if (!at.one && named)
            named = mg_auth_public(exchange, mg_span(name), NULL) == MG_OK;
        if (!named || !exchange->udf || strcmp(exchange->udf->name, name) != 0)
            not_found(exchange, "there is no collection of that name");
        else if (at.n == 2)
            mg_route_json(exchange, 200, collection(&at, exchange->udf));
        else
            tilesets(&at, 2, format);
    } else if (at.one && (mg_span_is(first, "tiles") || mg_span_is(first, "map"))) {
        tilesets(&at, 0, format);
    } else {
        not_found(exchange, at.one ? "there is nothing at this URL"
                                   : "there is nothing at this URL; tilesets are those of collections here, and of the "
                                     "whole dataset at /{token}/ogc");
    }
}
