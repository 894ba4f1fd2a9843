/* Geometry and bounds: a light check in the front (the worker's readers check to the end), to one spelling.
 *
 * A geometry is WKT or a GeoJSON geometry (RFC 7946); a Feature, or a FeatureCollection of one feature, gives its
 * geometry. Bounds are four numbers as list, text or object, or the box of any GeoJSON. Depth is bounded before any
 * recursion (coerce_parse, mg_sig_coerce). */
#include "coerce.h"

#include <ctype.h>
#include <math.h>

static const char *const geojson_types[] = {"Point",           "LineString",   "Polygon",           "MultiPoint",
                                            "MultiLineString", "MultiPolygon", "GeometryCollection"};
static const char *const wkt_types[] = {"POINT",           "LINESTRING",   "POLYGON",           "MULTIPOINT",
                                        "MULTILINESTRING", "MULTIPOLYGON", "GEOMETRYCOLLECTION"};
enum { TYPES = sizeof wkt_types / sizeof *wkt_types };

static const json_t *geometry_of(const json_t *json)
{
    const char *type = mg_json_str(json, "type", "");
    const json_t *features = json_object_get(json, "features");
    if (strcmp(type, "FeatureCollection") == 0 && json_array_size(features) == 1)
        return geometry_of(json_array_get(features, 0));
    if (strcmp(type, "Feature") == 0)
        return geometry_of(json_object_get(json, "geometry"));
    for (int i = 0; i < TYPES; i++)
        if (strcmp(type, geojson_types[i]) == 0)
            return json_is_array(json_object_get(json, i == TYPES - 1 ? "geometries" : "coordinates")) ? json : NULL;
    return NULL;
}

/* A known word, then balanced parentheses (or EMPTY). */
static bool looks_like_wkt(struct mg_span text)
{
    size_t word = 0;
    while (word < text.len && isalpha((unsigned char)text.data[word]))
        word++;
    bool known = false;
    for (int i = 0; i < TYPES; i++)
        known = known || (strlen(wkt_types[i]) == word && strncasecmp(wkt_types[i], text.data, word) == 0);
    int depth = 0, opened = 0;
    for (size_t i = word; i < text.len && depth >= 0 && known; i++) {
        char c = text.data[i];
        if (!isalnum((unsigned char)c) && !strchr("(),.+- \t\r\n", c))
            return false;
        depth += (c == '(') - (c == ')');
        opened += c == '(';
        if (depth == 0 && c == ')' && i + 1 < text.len)
            return false;
    }
    struct mg_span rest = coerce_trim((struct mg_span){text.data + word, text.len - word});
    bool empty = rest.len >= 5 && strncasecmp(rest.data + rest.len - 5, "EMPTY", 5) == 0;
    return known && depth == 0 && (opened || empty);
}

bool coerce_geometry(const struct value *value, struct mg_buf *out, struct mistake *mistake)
{
    struct mg_span text = coerce_trim(value->text);
    json_t *parsed = NULL;
    const json_t *json = value->json;
    if (json_is_string(json)) {
        text = coerce_trim((struct mg_span){json_string_value(json), json_string_length(json)});
        json = NULL;
    }
    struct mg_errmsg why = {""};
    if (!value->json || json_is_string(value->json)) {
        json = parsed = coerce_parse(text, "{", &why);
        if (!parsed && text.len && text.data[0] != '{' && looks_like_wkt(text)) {
            mg_buf_put(out, text.data, text.len);
            return true;
        }
    }
    const json_t *geometry = geometry_of(json);
    if (geometry)
        mg_json_write(geometry, out);
    json_decref(parsed);
    if (geometry)
        return true;
    return coerce_wrong(mistake, "geometry_parsing",
                        "Input should be a geometry as WKT, like POINT (-34.9 -8), or as GeoJSON%s%s",
                        why.text[0] ? "; " : "", why.text);
}

static void cover(struct mg_bounds *box, double x, double y)
{
    box->xmin = fmin(box->xmin, x);
    box->ymin = fmin(box->ymin, y);
    box->xmax = fmax(box->xmax, x);
    box->ymax = fmax(box->ymax, y);
}

static void cover_coordinates(const json_t *list, struct mg_bounds *box)
{
    if (json_array_size(list) >= 2 && json_is_number(json_array_get(list, 0)) &&
        json_is_number(json_array_get(list, 1))) {
        cover(box, json_number_value(json_array_get(list, 0)), json_number_value(json_array_get(list, 1)));
        return;
    }
    for (size_t i = 0; i < json_array_size(list); i++)
        cover_coordinates(json_array_get(list, i), box);
}

static void cover_geojson(const json_t *geojson, struct mg_bounds *box)
{
    cover_coordinates(json_object_get(geojson, "coordinates"), box);
    const json_t *inner = json_object_get(geojson, "geometry");
    if (inner)
        cover_geojson(inner, box);
    static const char *const lists[] = {"features", "geometries"};
    for (int l = 0; l < 2; l++) {
        const json_t *list = json_object_get(geojson, lists[l]);
        for (size_t i = 0; i < json_array_size(list); i++)
            cover_geojson(json_array_get(list, i), box);
    }
}

bool coerce_geojson_bounds(const json_t *geojson, struct mg_bounds *out)
{
    struct mg_bounds box = {INFINITY, INFINITY, -INFINITY, -INFINITY};
    if (!json_is_object(geojson) || !json_is_string(json_object_get(geojson, "type")))
        return false;
    cover_geojson(geojson, &box);
    if (!(box.xmin <= box.xmax))
        return false;
    *out = box;
    return true;
}

static bool four_of_list(const json_t *list, double v[4])
{
    if (json_array_size(list) != 4)
        return false;
    for (size_t i = 0; i < 4; i++) {
        if (!json_is_number(json_array_get(list, i)))
            return false;
        v[i] = json_number_value(json_array_get(list, i));
    }
    return true;
}

static bool four_of_object(const json_t *object, double v[4])
{
    static const char *const names[] = {"xmin", "ymin", "xmax", "ymax"};
    for (size_t i = 0; i < 4; i++) {
        const json_t *item = json_object_get(object, names[i]);
        if (!json_is_number(item))
            return false;
        v[i] = json_number_value(item);
    }
    return true;
}

static bool four_of_text(struct mg_span text, double v[4])
{
    struct mg_span part;
    size_t n = 0;
    while (mg_span_cut(&text, ',', &part)) {
        if (n == 4 || !coerce_number(coerce_trim(part), &v[n]))
            return false;
        n++;
    }
    return n == 4;
}

bool coerce_bounds(const struct value *value, struct mg_bounds *out, struct mistake *mistake)
{
    struct mg_span text = coerce_trim(value->text);
    json_t *parsed = NULL;
    const json_t *json = value->json;
    struct mg_errmsg why = {""};
    struct mg_bounds box;
    double v[4];
    if (json_is_string(json))
        text = coerce_trim((struct mg_span){json_string_value(json), json_string_length(json)});
    if (!json || json_is_string(json))
        json = parsed = coerce_parse(text, "[{", &why);
    bool found = json ? four_of_list(json, v) || four_of_object(json, v) : four_of_text(text, v);
    if (found)
        box = (struct mg_bounds){v[0], v[1], v[2], v[3]};
    else
        found = coerce_geojson_bounds(json, &box);
    json_decref(parsed);
    if (!found)
        return coerce_wrong(mistake, "bounds_parsing",
                            "Input should be xmin,ymin,xmax,ymax in degrees, like -35,-8.1,-34.8,-7.9, or GeoJSON%s%s",
                            why.text[0] ? "; " : "", why.text);
    if (!mg_bounds_valid(box))
        return coerce_wrong(mistake, "bounds_range",
                            "Input should be degrees as xmin,ymin,xmax,ymax with latitudes from -90 to 90 and an area "
                            "(xmin > xmax only where -180 to 180 crosses the antimeridian)");
    /* -0 and 0 are one edge. */
    *out = (struct mg_bounds){box.xmin + 0.0, box.ymin + 0.0, box.xmax + 0.0, box.ymax + 0.0};
    return true;
}
