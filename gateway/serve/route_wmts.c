/* WMTS 1.0.0 (OGC 07-057r7) of one UDF's tiles: capabilities, and GetTile as key-value pairs and as RESTful URLs.
 *
 *   /{token}/wmts?SERVICE=WMTS&REQUEST=GetCapabilities          /{token}/wmts/1.0.0/WMTSCapabilities.xml
 *   /{token}/wmts?…&REQUEST=GetTile&TILEMATRIX=z&TILEROW=y&…    /{token}/wmts/1.0.0/{layer}/default/WebMercatorQuad/z/y/x.png
 *
 * The UDF's own parameters go along in both: those of the capabilities' URL stand in the URLs that they list. A tile is
 * the same run as at /run/tiles, under the same key. Mistakes are ows:ExceptionReport, as clients expect them. */
#include "tileset.h"

#include "moongate/codec.h"

#include <stdarg.h>
#include <stdio.h>

#define MATRIX_SET "WebMercatorQuad"

/* What is WMTS's own among the parameters. */
static const char *const own_names[] = {"service", "request", "version", "acceptversions", "sections", "updatesequence",
                                        "acceptformats", "layer", "style", "format", "tilematrixset", "tilematrix",
                                        "tilerow", "tilecol", NULL};

/* The formats of a layer, the first one the usual. */
static const char *const raster_formats[] = {"png", "webp", "jpg", NULL}, *const vector_formats[] = {"mvt", NULL};

static const char *const *formats_of(const struct mg_tileset *set)
{
    return set->kind && strcmp(set->kind, "vector") == 0 ? vector_formats : raster_formats;
}

static void fault(struct mg_exchange *exchange, int status, const char *code, const char *locator, const char *format,
                  ...) MG_PRINTF(5, 6);
static void fault(struct mg_exchange *exchange, int status, const char *code, const char *locator, const char *format,
                  ...)
{
    char text[256];
    struct mg_buf xml;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    mg_buf_init(&xml, 0);
    mg_buf_printf(&xml, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                  "<ows:ExceptionReport xmlns:ows=\"http://www.opengis.net/ows/1.1\" version=\"1.1.0\">"
                  "<ows:Exception exceptionCode=\"%s\"", code);
    if (locator)
        mg_buf_printf(&xml, " locator=\"%s\"", locator);
    mg_buf_str(&xml, "><ows:ExceptionText>");
    mg_buf_html(&xml, text, strlen(text));
    mg_buf_str(&xml, "</ows:ExceptionText></ows:Exception></ows:ExceptionReport>\n");
    mg_reply_text(exchange, status, "application/xml; charset=utf-8", &xml);
}

/* ---- capabilities ------------------------------------------------------------------------------------ */

static void put_text(struct mg_buf *xml, const char *element, const char *text)
{
    mg_buf_printf(xml, "<%s>", element);
    mg_buf_html(xml, text, strlen(text));
    mg_buf_printf(xml, "</%s>", element);
}

/* An operation at one URL, by key-value pairs. */
static void put_operation(struct mg_buf *xml, const char *name, const char *url)
{
    mg_buf_printf(xml, "<ows:Operation name=\"%s\"><ows:DCP><ows:HTTP><ows:Get xlink:href=\"", name);
    mg_buf_html(xml, url, strlen(url));
    mg_buf_str(xml, "\"><ows:Constraint name=\"GetEncoding\"><ows:AllowedValues><ows:Value>KVP</ows:Value>"
                    "</ows:AllowedValues></ows:Constraint></ows:Get></ows:HTTP></ows:DCP></ows:Operation>\n");
}

static void put_layer(const struct mg_exchange *exchange, const struct mg_tileset *set, struct mg_buf *xml)
{
    const struct mg_udf *udf = exchange->udf;
    struct mg_bounds b = set->bounds;
    mg_buf_str(xml, "<Layer>");
    put_text(xml, "ows:Title", udf->name);
    if (udf->description && udf->description[0])
        put_text(xml, "ows:Abstract", udf->description);
    mg_buf_printf(xml, "<ows:WGS84BoundingBox><ows:LowerCorner>%.9g %.9g</ows:LowerCorner><ows:UpperCorner>%.9g %.9g"
                  "</ows:UpperCorner></ows:WGS84BoundingBox>", b.xmin, b.ymin, b.xmax, b.ymax);
    put_text(xml, "ows:Identifier", udf->name);
    mg_buf_str(xml, "<Style isDefault=\"true\"><ows:Identifier>default</ows:Identifier></Style>\n");
    for (const char *const *f = formats_of(set); *f; f++)
        put_text(xml, "Format", mg_codec_find(mg_span(*f))->mime);
    mg_buf_str(xml, "<TileMatrixSetLink><TileMatrixSet>" MATRIX_SET "</TileMatrixSet><TileMatrixSetLimits>\n");
    for (int z = set->minzoom; z <= set->maxzoom; z++) {
        struct mg_tile first, last;
        mg_tileset_limits(set, z, &first, &last);
        mg_buf_printf(xml, "<TileMatrixLimits><TileMatrix>%d</TileMatrix><MinTileRow>%d</MinTileRow><MaxTileRow>%d"
                      "</MaxTileRow><MinTileCol>%d</MinTileCol><MaxTileCol>%d</MaxTileCol></TileMatrixLimits>\n", z,
                      first.y, last.y, first.x, last.x);
    }
    mg_buf_str(xml, "</TileMatrixSetLimits></TileMatrixSetLink>\n");
    for (const char *const *f = formats_of(set); *f; f++) {
        struct mg_buf url;
        mg_buf_init(&url, 0);
        mg_buf_printf(&url, "%s/%s/wmts/1.0.0/%s/{Style}/{TileMatrixSet}/{TileMatrix}/{TileRow}/{TileCol}.%s",
                      exchange->app->base_url, exchange->token, udf->name, *f);
        mg_route_put_query(exchange, '?', &url);
        mg_buf_printf(xml, "<ResourceURL format=\"%s\" resourceType=\"tile\" template=\"",
                      mg_codec_find(mg_span(*f))->mime);
        mg_buf_html(xml, url.data, url.len);
        mg_buf_str(xml, "\"/>\n");
        mg_buf_fini(&url);
    }
    mg_buf_str(xml, "</Layer>\n");
}

static void put_matrix_set(const struct mg_tileset *set, struct mg_buf *xml)
{
    mg_buf_str(xml, "<TileMatrixSet><ows:Title>Web Mercator</ows:Title><ows:Identifier>" MATRIX_SET "</ows:Identifier>"
                    "<ows:SupportedCRS>urn:ogc:def:crs:EPSG::3857</ows:SupportedCRS>"
                    "<WellKnownScaleSet>urn:ogc:def:wkss:OGC:1.0:GoogleMapsCompatible</WellKnownScaleSet>\n");
    for (int z = 0; z <= set->maxzoom; z++)
        mg_buf_printf(xml, "<TileMatrix><ows:Identifier>%d</ows:Identifier><ScaleDenominator>%.17g</ScaleDenominator>"
                      "<TopLeftCorner>%.15g %.15g</TopLeftCorner><TileWidth>256</TileWidth><TileHeight>256</TileHeight>"
                      "<MatrixWidth>%d</MatrixWidth><MatrixHeight>%d</MatrixHeight></TileMatrix>\n", z,
                      mg_tileset_scale(z), -MG_MERC_MAX, MG_MERC_MAX, 1 << z, 1 << z);
    mg_buf_str(xml, "</TileMatrixSet>\n");
}

static void capabilities(struct mg_exchange *exchange)
{
    struct mg_tileset set;
    struct mg_buf xml, url;
    mg_tileset_of(exchange->udf, &set);
    mg_buf_init(&xml, 0);
    mg_buf_init(&url, 0);
    mg_buf_printf(&url, "%s/%s/wmts?", exchange->app->base_url, exchange->token);
    size_t bare = url.len;
    mg_route_put_query(exchange, '&', &url);
    if (url.len > bare) { /* "?&a=b" is "?a=b&": clients append their own behind a '?' or a '&' */
        memmove(url.data + bare, url.data + bare + 1, url.len - bare - 1);
        url.data[url.len - 1] = '&';
    }
    mg_buf_str(&xml, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Capabilities xmlns=\"http://www.opengis.net/wmts/1.0\" "
                     "xmlns:ows=\"http://www.opengis.net/ows/1.1\" xmlns:xlink=\"http://www.w3.org/1999/xlink\" "
                     "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:schemaLocation=\"http://www.opengis.net/"
                     "wmts/1.0 http://schemas.opengis.net/wmts/1.0/wmtsGetCapabilities_response.xsd\" version=\"1.0.0\">\n"
                     "<ows:ServiceIdentification>");
    put_text(&xml, "ows:Title", exchange->udf->name);
    mg_buf_str(&xml, "<ows:ServiceType>OGC WMTS</ows:ServiceType><ows:ServiceTypeVersion>1.0.0</ows:ServiceTypeVersion>"
                     "</ows:ServiceIdentification>\n<ows:OperationsMetadata>\n");
    put_operation(&xml, "GetCapabilities", url.data);
    put_operation(&xml, "GetTile", url.data);
    mg_buf_str(&xml, "</ows:OperationsMetadata>\n<Contents>\n");
    put_layer(exchange, &set, &xml);
    put_matrix_set(&set, &xml);
    mg_buf_str(&xml, "</Contents>\n<ServiceMetadataURL xlink:href=\"");
    url.len = 0;
    mg_buf_printf(&url, "%s/%s/wmts/1.0.0/WMTSCapabilities.xml", exchange->app->base_url, exchange->token);
    mg_route_put_query(exchange, '?', &url);
    mg_buf_html(&xml, url.data, url.len);
    mg_buf_str(&xml, "\"/>\n</Capabilities>\n");
    mg_buf_fini(&url);
    if (xml.failed) {
        mg_buf_fini(&xml);
        mg_reply_error(exchange, MG_E_NOMEM, mg_err_text(MG_E_NOMEM), (struct mg_span){0});
        return;
    }
    mg_reply_text(exchange, 200, "application/xml; charset=utf-8", &xml);
}

/* ---- tiles ------------------------------------------------------------------------------------------- */

struct place {
    struct mg_span layer, style, matrix_set, z, row, col, extension;
};

static bool whole(struct mg_span text, int64_t *out)
{
    int64_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        value = value * 10 + (text.data[i] - '0');
    }
    *out = value;
    return text.len > 0 && text.len < 10;
}

static bool in_list(struct mg_span name, const char *const *list)
{
    for (; *list; list++)
        if (mg_codec_find(name) == mg_codec_find(mg_span(*list)))
            return true;
    return false;
}

static void tile(struct mg_exchange *exchange, const struct place *place)
{
    struct mg_tileset set;
    struct mg_tile first, last;
    int64_t z, row, col;
    mg_tileset_of(exchange->udf, &set);
    if (!mg_span_is(place->layer, exchange->udf->name))
        fault(exchange, 400, "InvalidParameterValue", "Layer", "the one layer here is %s", exchange->udf->name);
    else if (!mg_span_is(place->style, "default") && place->style.len)
        fault(exchange, 400, "InvalidParameterValue", "Style", "the one style is default");
    else if (!mg_span_is(place->matrix_set, MATRIX_SET))
        fault(exchange, 400, "InvalidParameterValue", "TileMatrixSet", "the one tile matrix set is " MATRIX_SET);
    else if (!mg_codec_find(place->extension) || !in_list(place->extension, formats_of(&set)))
        fault(exchange, 400, "InvalidParameterValue", "Format", "the formats of this layer are in its capabilities");
    else if (!whole(place->z, &z) || z < set.minzoom || z > set.maxzoom)
        fault(exchange, 400, "InvalidParameterValue", "TileMatrix", "tile matrices are %d to %d", set.minzoom,
              set.maxzoom);
    else if (mg_tileset_limits(&set, (int)z, &first, &last), !whole(place->row, &row) || row < first.y || row > last.y)
        fault(exchange, 400, "TileOutOfRange", "TileRow", "rows of tile matrix %d are %d to %d", (int)z, first.y, last.y);
    else if (!whole(place->col, &col) || col < first.x || col > last.x)
        fault(exchange, 400, "TileOutOfRange", "TileCol", "columns of tile matrix %d are %d to %d", (int)z, first.x,
              last.x);
    else
        mg_route_run_tile(exchange, place->extension, place->z, place->col, place->row);
}

/* The parameter, its name in any case; data NULL when absent. */
static struct mg_span key(const struct mg_query *query, const char *name)
{
    for (size_t i = 0; i < query->n; i++)
        if (query->given[i].name.len == strlen(name) &&
            strncasecmp(query->given[i].name.data, name, query->given[i].name.len) == 0)
            return query->given[i].text;
    return (struct mg_span){0};
}

/* Name of the codec with that media type, or the text itself. */
static struct mg_span extension_of(struct mg_span mime)
{
    const struct mg_codec *codec;
    for (size_t i = 0; (codec = mg_codec_at(i)); i++)
        if (mg_span_is(mime, codec->mime))
            return mg_span(codec->name);
    return mime;
}

static void by_keys(struct mg_exchange *exchange)
{
    static const char *const needed[] = {"layer", "format", "tilematrixset", "tilematrix", "tilerow", "tilecol"};
    struct mg_query query;
    struct mg_errmsg err = {0};
    if (mg_query_parse(&query, exchange->request, &err) != MG_OK) {
        fault(exchange, 400, "NoApplicableCode", NULL, "%s", err.text);
        return;
    }
    struct mg_span service = key(&query, "service"), wanted = key(&query, "request"), version = key(&query, "version");
    bool caps = !wanted.data || (wanted.len == 15 && strncasecmp(wanted.data, "GetCapabilities", 15) == 0);
    bool get_tile = wanted.len == 7 && strncasecmp(wanted.data, "GetTile", 7) == 0;
    const char *missing = NULL;
    for (size_t i = 0; get_tile && !missing && i < sizeof needed / sizeof *needed; i++)
        missing = key(&query, needed[i]).len ? NULL : needed[i];
    struct mg_span accepted = key(&query, "acceptversions");
    if (service.data && (service.len != 4 || strncasecmp(service.data, "WMTS", 4) != 0))
        fault(exchange, 400, "InvalidParameterValue", "Service", "the service here is WMTS");
    else if (accepted.len && !memmem(accepted.data, accepted.len, "1.0.0", 5))
        fault(exchange, 400, "VersionNegotiationFailed", "AcceptVersions", "the version here is 1.0.0");
    else if (version.len && !mg_span_is(version, "1.0.0"))
        fault(exchange, 400, "InvalidParameterValue", "Version", "the version here is 1.0.0");
    else if (caps)
        capabilities(exchange);
    else if (!get_tile)
        fault(exchange, 501, "OperationNotSupported", "Request", "the operations are GetCapabilities and GetTile");
    else if (missing)
        fault(exchange, 400, "MissingParameterValue", missing, "GetTile needs %s", missing);
    else
        tile(exchange, &(struct place){key(&query, "layer"), key(&query, "style"), key(&query, "tilematrixset"),
                                       key(&query, "tilematrix"), key(&query, "tilerow"), key(&query, "tilecol"),
                                       extension_of(key(&query, "format"))});
    mg_query_free(&query);
}

void mg_route_wmts(struct mg_exchange *exchange, const struct mg_route_match *match)
{
    const struct mg_span *s = match->segments; /* {token} wmts … */
    exchange->protocol = own_names;
    if (!mg_route_shared(exchange, s[0]))
        return;
    if (match->n == 2) {
        by_keys(exchange);
    } else if (match->n == 4 && mg_span_is(s[2], "1.0.0") && mg_span_is(s[3], "WMTSCapabilities.xml")) {
        capabilities(exchange);
    } else if (match->n == 9 && mg_span_is(s[2], "1.0.0")) {
        struct mg_span extension = s[8], col;
        mg_span_cut(&extension, '.', &col);
        tile(exchange, &(struct place){s[3], s[4], s[5], s[6], s[7], col, extension});
    } else {
        mg_reply_error(exchange, MG_E_NOT_FOUND, "WMTS is at /{token}/wmts, /{token}/wmts/1.0.0/WMTSCapabilities.xml and "
                       "/{token}/wmts/1.0.0/{Layer}/{Style}/{TileMatrixSet}/{TileMatrix}/{TileRow}/{TileCol}.{format}",
                       (struct mg_span){0});
    }
}
