/* Measures on the ground: area, length, distance and buffers in metres (vector_ops.h).
 *
 * The ellipsoid's formulas are PROJ's geodesic.h (Karney 2013): 1 to 2 us for each segment. A distance
 * between shapes is found in a plane whose two axes are scaled to metres at the latitude between them, and
 * measured along the geodesic of the two points that are closest there. */
#include "geometry_geos.h"
#include "vector_shapes.h"

#include "moongate/gdal.h"

#include <geodesic.h>
#include <math.h>
#include <stdio.h>

const struct geod_geodesic *ground_ellipsoid(void)
{
    static struct geod_geodesic wgs84;
    if (wgs84.a == 0)
        geod_init(&wgs84, 6378137.0, 1 / 298.257223563);
    return &wgs84;
}

enum mg_err ground_is_round(const char *crs, bool *out, struct mg_errmsg *err)
{
    static char last[64];
    static bool last_round;
    OGRSpatialReferenceH srs = NULL;
    if (mg_crs_is_lnglat(crs) || mg_crs_is_merc(crs)) {
        *out = true;
        return MG_OK;
    }
    if (strcmp(crs, last) != 0) {
        enum mg_err e = mg_crs_parse(crs, &srs, err);
        if (e)
            return e;
        bool round = OSRIsGeographic(srs);
        OSRRelease(srs);
        snprintf(last, sizeof last, "%s", strlen(crs) < sizeof last ? crs : "");
        last_round = round;
        *out = round;
        return MG_OK;
    }
    *out = last_round;
    return MG_OK;
}

double ground_geodesic(double lng1, double lat1, double lng2, double lat2)
{
    double metres = NAN;
    geod_inverse(ground_ellipsoid(), lat1, lng1, lat2, lng2, &metres, NULL, NULL);
    return metres;
}

static void measure_part(const struct mg_wkb_part *part, double *area, double *length)
{
    size_t dims = (size_t)part->dims;
    struct geod_polygon shape;
    double found_area = 0, found_length = 0;
    if (part->type < 2 || part->n < 2)
        return;
    geod_polygon_init(&shape, part->type == 2);
    for (size_t i = 0; i < part->n - (part->type == 3); i++)
        geod_polygon_addpoint(ground_ellipsoid(), &shape, mg_wkb_coord(part, i * dims + 1),
                              mg_wkb_coord(part, i * dims));
    geod_polygon_compute(ground_ellipsoid(), &shape, 0, 1, part->type == 3 ? &found_area : NULL,
                         &found_length);
    *area += part->type == 3 ? (part->ring ? -fabs(found_area) : fabs(found_area)) : 0;
    *length += found_length;
}

enum mg_err mg_ground_measure(struct mg_span wkb, const char *crs, double *area, double *length,
                              struct mg_errmsg *err)
{
    bool round = false;
    struct mg_transform *transform = NULL;
    struct mg_buf degrees;
    struct mg_wkb_iter iter;
    struct mg_wkb_part part;
    double found_area = 0, found_length = 0;
    enum mg_err e = ground_is_round(crs, &round, err);
    if (e || (!round && (e = mg_wkb_measure(wkb, area, length, err), true)))
        return e;
    if ((e = mg_wkb_check(wkb, err)) || (e = mg_transform_get(crs, "EPSG:4326", &transform, err)))
        return e;
    mg_buf_init(&degrees, 0);
    if (transform && !(e = mg_wkb_transform(transform, wkb, &degrees, err)))
        wkb = (struct mg_span){degrees.data, degrees.len};
    for (mg_wkb_iter_init(&iter, wkb); !e && mg_wkb_next(&iter, &part);)
        measure_part(&part, &found_area, &found_length);
    mg_buf_fini(&degrees);
    if (e)
        return e;
    if (area)
        *area = found_area;
    if (length)
        *length = found_length;
    return MG_OK;
}

/* Metres of a degree of longitude and latitude there (the ellipsoid's radii of curvature). */
void ground_degree(double lat, double *x, double *y)
{
    static const double a = 6378137.0, e2 = 0.0066943799901413165;
    double s = sin(lat * (M_PI / 180)), w = 1 - e2 * s * s;
    *x = fmax(a / sqrt(w) * cos(lat * (M_PI / 180)), 1e-3) * (M_PI / 180);
    *y = a * (1 - e2) / (w * sqrt(w)) * (M_PI / 180);
}

struct plane {
    double lng, lat, x, y; /* origin; metres a degree */
};

static int onto_plane(double *x, double *y, void *context)
{
    const struct plane *p = context;
    *x = (*x - p->lng) * p->x;
    *y = (*y - p->lat) * p->y;
    return 1;
}

static enum mg_err closest(const GEOSGeometry *a, const GEOSGeometry *b, const struct plane *plane,
                           double *out, struct mg_errmsg *err)
{
    GEOSCoordSequence *pair = GEOSNearestPoints_r(geos_context, a, b);
    double p[4] = {0};
    bool good = pair && GEOSCoordSeq_getXY_r(geos_context, pair, 0, &p[0], &p[1]) &&
                GEOSCoordSeq_getXY_r(geos_context, pair, 1, &p[2], &p[3]);
    if (pair)
        GEOSCoordSeq_destroy_r(geos_context, pair);
    if (!good)
        return geos_failed(err, "distance");
    for (int i = 0; i < 4; i += 2) {
        p[i] = p[i] / plane->x + plane->lng;
        p[i + 1] = p[i + 1] / plane->y + plane->lat;
    }
    *out = p[0] == p[2] && p[1] == p[3] ? 0 : ground_geodesic(p[0], p[1], p[2], p[3]);
    return MG_OK;
}

enum mg_err ground_distance_degrees(struct mg_span wkb_a, struct mg_span wkb_b, double *out,
                                    struct mg_errmsg *err)
{
    GEOSGeometry *a = NULL, *b = NULL, *flat_a = NULL, *flat_b = NULL;
    struct mg_bounds box_a, box_b;
    struct plane at_a, at_b;
    if (!mg_wkb_bounds(wkb_a, &box_a) || !mg_wkb_bounds(wkb_b, &box_b)) {
        *out = NAN;
        return MG_OK;
    }
    if (mg_wkb_plain_point(wkb_a) && mg_wkb_plain_point(wkb_b)) {
        *out = ground_geodesic(box_a.xmin, box_a.ymin, box_b.xmin, box_b.ymin);
        return MG_OK;
    }
    enum mg_err e = geos_read(wkb_a, &a, err);
    if (e || (e = geos_read(wkb_b, &b, err)))
        goto out;
    double lng_a = (box_a.xmin + box_a.xmax) / 2, lng_b = (box_b.xmin + box_b.xmax) / 2;
    at_a.lng = lng_a;
    at_a.lat = (fmin(box_a.ymin, box_b.ymin) + fmax(box_a.ymax, box_b.ymax)) / 2;
    ground_degree(at_a.lat, &at_a.x, &at_a.y);
    at_b = at_a; /* the shorter way round the world */
    at_b.lng += 360 * round((lng_b - lng_a) / 360);
    flat_a = GEOSGeom_transformXY_r(geos_context, a, onto_plane, &at_a);
    flat_b = GEOSGeom_transformXY_r(geos_context, b, onto_plane, &at_b);
    e = flat_a && flat_b ? closest(flat_a, flat_b, &at_a, out, err) : geos_failed(err, "distance");
out:
    GEOSGeometry *all[] = {a, b, flat_a, flat_b};
    for (size_t i = 0; i < 4; i++)
        if (all[i])
            GEOSGeom_destroy_r(geos_context, all[i]);
    return e;
}

enum mg_err ground_distance_plane(struct mg_span wkb_a, struct mg_span wkb_b, double *out,
                                  struct mg_errmsg *err)
{
    GEOSGeometry *a = NULL, *b = NULL;
    struct mg_bounds box_a, box_b;
    if (!mg_wkb_bounds(wkb_a, &box_a) || !mg_wkb_bounds(wkb_b, &box_b)) {
        *out = NAN;
        return MG_OK;
    }
    if (mg_wkb_plain_point(wkb_a) && mg_wkb_plain_point(wkb_b)) {
        *out = hypot(box_a.xmin - box_b.xmin, box_a.ymin - box_b.ymin);
        return MG_OK;
    }
    enum mg_err e = geos_read(wkb_a, &a, err);
    if (!e && !(e = geos_read(wkb_b, &b, err)))
        e = GEOSDistance_r(geos_context, a, b, out) ? MG_OK : geos_failed(err, "distance");
    if (a)
        GEOSGeom_destroy_r(geos_context, a);
    if (b)
        GEOSGeom_destroy_r(geos_context, b);
    return e;
}

enum mg_err mg_ground_distance(struct mg_span a, struct mg_span b, const char *crs, double *out,
                               struct mg_errmsg *err)
{
    bool round = false;
    struct mg_transform *transform = NULL;
    struct mg_buf degrees[2];
    enum mg_err e = ground_is_round(crs, &round, err);
    if (e || (!round && (e = ground_distance_plane(a, b, out, err), true)))
        return e;
    if ((e = mg_transform_get(crs, "EPSG:4326", &transform, err)))
        return e;
    mg_buf_init(&degrees[0], 0);
    mg_buf_init(&degrees[1], 0);
    if (transform && !(e = mg_wkb_transform(transform, a, &degrees[0], err)) &&
        !(e = mg_wkb_transform(transform, b, &degrees[1], err))) {
        a = (struct mg_span){degrees[0].data, degrees[0].len};
        b = (struct mg_span){degrees[1].data, degrees[1].len};
    }
    if (!e)
        e = ground_distance_degrees(a, b, out, err);
    mg_buf_fini(&degrees[0]);
    mg_buf_fini(&degrees[1]);
    return e;
}

/* One step of a way of transforms: from `in` into `out`, which is emptied. */
static enum mg_err step(const char *from, const char *to, struct mg_span in, struct mg_buf *out,
                        struct mg_errmsg *err)
{
    struct mg_transform *transform = NULL;
    enum mg_err e = mg_transform_get(from, to, &transform, err);
    out->len = 0;
    return e ? e : mg_wkb_transform(transform, in, out, err);
}
#define SPAN(buf) ((struct mg_span){(buf).data, (buf).len})

enum mg_err mg_ground_buffer(struct mg_span wkb, const char *crs, double metres, int quad_segments,
                             struct mg_buf *out, struct mg_errmsg *err)
{
    bool round = false;
    struct mg_bounds b;
    struct mg_buf one, two;
    char utm[16];
    enum mg_err e = ground_is_round(crs, &round, err);
    if (e || !round || !mg_wkb_bounds(wkb, &b)) /* what is empty stays it */
        return e ? e : mg_wkb_buffer(wkb, metres, quad_segments, out, err);
    mg_buf_init(&one, 0);
    mg_buf_init(&two, 0);
    if ((e = step(crs, "EPSG:4326", wkb, &one, err)))
        goto out;
    if (!mg_wkb_bounds(SPAN(one), &b)) {
        e = mg_err_set(err, MG_E_ARGUMENT, "buffer: the geometry has no place on earth");
        goto out;
    }
    mg_utm_of((b.xmin + b.xmax) / 2, (b.ymin + b.ymax) / 2, utm);
    if ((e = step("EPSG:4326", utm, SPAN(one), &two, err)))
        goto out;
    one.len = 0;
    if ((e = mg_wkb_buffer(SPAN(two), metres, quad_segments, &one, err)) ||
        (e = step(utm, "EPSG:4326", SPAN(one), &two, err)))
        goto out;
    bool cut =
        mg_wkb_bounds(SPAN(two), &b) && b.xmax - b.xmin > 180 && mg_wkb_cut_world(SPAN(two), true, &one);
    size_t start = out->len;
    struct mg_transform *back = NULL;
    if (!(e = mg_transform_get("EPSG:4326", crs, &back, err)))
        e = mg_wkb_transform(back, cut ? SPAN(one) : SPAN(two), out, err);
    if (e)
        out->len = start;
out:
    mg_buf_fini(&one);
    mg_buf_fini(&two);
    return e;
}
