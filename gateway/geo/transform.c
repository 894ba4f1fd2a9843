/* Transforms between CRSs, x = longitude or easting first.
 *
 * Longitude/latitude to and from EPSG:3857 is a formula (EPSG Guidance Note 7-2, 1024: spherical
 * Mercator); all else is PROJ through GDAL, whose objects gdal_setup.c keeps by their pair; a
 * transform here is that pair's name and kind, so that it stays valid when PROJ's object is
 * replaced. Cost: a lookup for each call, not each point. */
#include "moongate/gdal.h"
#include "moongate/geometry.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum kind { BY_PROJ, TO_MERC, FROM_MERC };
enum { MAX_PAIRS = 256 };

struct mg_transform {
    enum kind kind;
    char *from, *to;
};

static struct mg_transform *pairs[MAX_PAIRS];
static size_t n_pairs, next_pair;

bool mg_crs_is_lnglat(const char *crs)
{
    return strcmp(crs, "EPSG:4326") == 0 || strcmp(crs, "OGC:CRS84") == 0;
}

bool mg_crs_is_merc(const char *crs)
{
    return strcmp(crs, "EPSG:3857") == 0;
}

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0 || (mg_crs_is_lnglat(a) && mg_crs_is_lnglat(b));
}

/* Kind of the pair after PROJ was asked whether it knows both. */
static enum mg_err make(const char *from, const char *to, struct mg_transform **out,
                        struct mg_errmsg *err)
{
    OGRCoordinateTransformationH transform;
    enum kind kind = mg_crs_is_lnglat(from) && mg_crs_is_merc(to)   ? TO_MERC
                     : mg_crs_is_merc(from) && mg_crs_is_lnglat(to) ? FROM_MERC
                                                                    : BY_PROJ;
    if (kind == BY_PROJ) {
        enum mg_err e = mg_crs_transform(from, to, &transform, err);
        if (e)
            return e;
    }
    struct mg_transform *made = calloc(1, sizeof *made);
    if (made)
        *made = (struct mg_transform){.kind = kind, .from = strdup(from), .to = strdup(to)};
    if (!made || !made->from || !made->to) {
        if (made) {
            free(made->from);
            free(made->to);
        }
        free(made);
        return mg_err_set(err, MG_E_NOMEM, "out of memory for a transform");
    }
    *out = made;
    return MG_OK;
}

enum mg_err mg_transform_get(const char *from, const char *to, struct mg_transform **out,
                             struct mg_errmsg *err)
{
    if (same(from, to)) {
        *out = NULL;
        return MG_OK;
    }
    for (size_t i = 0; i < n_pairs; i++)
        if (strcmp(pairs[i]->from, from) == 0 && strcmp(pairs[i]->to, to) == 0) {
            *out = pairs[i];
            return MG_OK;
        }
    struct mg_transform *made = NULL;
    enum mg_err e = make(from, to, &made, err);
    if (e)
        return e;
    if (n_pairs < MAX_PAIRS) {
        pairs[n_pairs++] = made;
    } else {
        struct mg_transform *old = pairs[next_pair];
        free(old->from);
        free(old->to);
        free(old);
        pairs[next_pair] = made;
        next_pair = (next_pair + 1) % MAX_PAIRS;
    }
    *out = made;
    return MG_OK;
}

#define RADIUS 6378137.0

static size_t to_merc(double *x, double *y, size_t n)
{
    size_t failed = 0;
    for (size_t i = 0; i < n; i++) {
        double s = sin(y[i] * (M_PI / 180));
        x[i] *= RADIUS * M_PI / 180;
        y[i] = RADIUS * 0.5 * log((1 + s) / (1 - s));
        if (!isfinite(x[i]) || !isfinite(y[i]) || fabs(y[i]) > 1e9) { /* a pole */
            x[i] = y[i] = HUGE_VAL;
            failed++;
        }
    }
    return failed;
}

static size_t from_merc(double *x, double *y, size_t n)
{
    size_t failed = 0;
    for (size_t i = 0; i < n; i++) {
        x[i] *= 180 / (RADIUS * M_PI);
        y[i] = (2 * atan(exp(y[i] / RADIUS)) - M_PI / 2) * (180 / M_PI);
        if (!isfinite(x[i]) || !isfinite(y[i])) {
            x[i] = y[i] = HUGE_VAL;
            failed++;
        }
    }
    return failed;
}

static size_t by_proj(const struct mg_transform *transform, double *x, double *y, size_t n)
{
    enum { STEP = 1 << 20 };
    OGRCoordinateTransformationH proj = NULL;
    size_t failed = 0;
    int *good = malloc((n < STEP ? n : STEP) * sizeof *good);
    bool usable = good && !mg_crs_transform(transform->from, transform->to, &proj, NULL);
    struct mg_gdal_errors errors;
    mg_gdal_errors_begin(&errors);
    for (size_t at = 0; at < n; at += STEP) {
        size_t part = n - at < STEP ? n - at : STEP;
        if (usable)
            OCTTransformEx(proj, (int)part, x + at, y + at, NULL, good);
        for (size_t i = 0; i < part; i++)
            if (!usable || !good[i] || !isfinite(x[at + i]) || !isfinite(y[at + i])) {
                x[at + i] = y[at + i] = HUGE_VAL;
                failed++;
            }
    }
    mg_gdal_errors_end();
    free(good);
    return failed;
}

size_t mg_transform_points(struct mg_transform *transform, double *x, double *y, size_t n)
{
    if (!transform || n == 0)
        return 0;
    switch (transform->kind) {
    case TO_MERC:
        return to_merc(x, y, n);
    case FROM_MERC:
        return from_merc(x, y, n);
    default:
        return by_proj(transform, x, y, n);
    }
}

static void put_double(uint8_t *at, bool swap, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, 8);
    if (swap)
        bits = __builtin_bswap64(bits);
    memcpy(at, &bits, 8);
}

/* An empty point is two NaNs and stays one. */
static bool is_empty(const struct mg_wkb_part *part)
{
    return part->type == 1 && isnan(mg_wkb_coord(part, 0)) && isnan(mg_wkb_coord(part, 1));
}

enum mg_err mg_wkb_transform(struct mg_transform *transform, struct mg_span wkb, struct mg_buf *out,
                             struct mg_errmsg *err)
{
    enum mg_err e = mg_wkb_check(wkb, err);
    if (e)
        return e;
    size_t start = out->len, total = 0, k = 0, failed = 0;
    struct mg_wkb_iter iter;
    struct mg_wkb_part part;
    double few[64], *xy = few;
    mg_buf_put(out, wkb.data, wkb.len);
    if (!transform || (e = mg_buf_status(out, err)))
        return e;
    struct mg_span copy = {out->data + start, wkb.len};
    for (mg_wkb_iter_init(&iter, copy); mg_wkb_next(&iter, &part);)
        total += is_empty(&part) ? 0 : part.n;
    if (total > 32 && !(xy = malloc(total * 2 * sizeof *xy))) {
        out->len = start;
        return mg_err_set(err, MG_E_NOMEM, "out of memory for a geometry of %zu points", total);
    }
    for (mg_wkb_iter_init(&iter, copy); mg_wkb_next(&iter, &part);)
        for (size_t i = 0; i < part.n && !is_empty(&part); i++, k++) {
            xy[k] = mg_wkb_coord(&part, i * (size_t)part.dims);
            xy[total + k] = mg_wkb_coord(&part, i * (size_t)part.dims + 1);
        }
    failed = mg_transform_points(transform, xy, xy + total, total);
    k = 0;
    for (mg_wkb_iter_init(&iter, copy); !failed && mg_wkb_next(&iter, &part);)
        for (size_t i = 0; i < part.n && !is_empty(&part); i++, k++) {
            uint8_t *at = (uint8_t *)out->data + (part.coords - (const uint8_t *)out->data) +
                          i * (size_t)part.dims * 8;
            put_double(at, part.swap, xy[k]);
            put_double(at + 8, part.swap, xy[total + k]);
        }
    if (xy != few)
        free(xy);
    if (failed) {
        out->len = start;
        out->data[start] = '\0';
        return mg_err_set(err, MG_E_ARGUMENT,
                          "%zu of %zu points of a geometry lie where %.60s cannot be transformed "
                          "to %.60s",
                          failed, total, transform->from, transform->to);
    }
    return MG_OK;
}

enum mg_err mg_transform_bounds(struct mg_transform *transform, struct mg_bounds in,
                                struct mg_bounds *out, struct mg_errmsg *err)
{
    enum { EDGE = 21 };
    if (!transform) {
        *out = in;
        return MG_OK;
    }
    double xmin, ymin, xmax, ymax;
    if (transform->kind == TO_MERC) { /* the poles are infinitely far */
        in.ymin = fmax(in.ymin, -89.99);
        in.ymax = fmin(in.ymax, 89.99);
    }
    if (transform->kind != BY_PROJ) {
        double x[2] = {in.xmin, in.xmax}, y[2] = {in.ymin, in.ymax};
        if (mg_transform_points(transform, x, y, 2))
            goto failed;
        *out = (struct mg_bounds){x[0], y[0], x[1], y[1]};
        return MG_OK;
    }
    /* PROJ's own knows poles and the antimeridian; it fails as a whole where one point does. */
    OGRCoordinateTransformationH proj;
    enum mg_err e = mg_crs_transform(transform->from, transform->to, &proj, err);
    if (e)
        return e;
    struct mg_gdal_errors errors;
    mg_gdal_errors_begin(&errors);
    int good = OCTTransformBounds(proj, in.xmin, in.ymin, in.xmax, in.ymax, &xmin, &ymin, &xmax,
                                  &ymax, EDGE);
    mg_gdal_errors_end();
    if (good && isfinite(xmin) && isfinite(ymin) && isfinite(xmax) && isfinite(ymax)) {
        *out = (struct mg_bounds){xmin, ymin, xmax, ymax};
        return MG_OK;
    }
    /* What of a grid of points can be transformed. */
    double x[EDGE * EDGE], y[EDGE * EDGE];
    for (int i = 0; i < EDGE * EDGE; i++) {
        x[i] = in.xmin + (in.xmax - in.xmin) * (i % EDGE) / (EDGE - 1);
        y[i] = in.ymin + (in.ymax - in.ymin) * (i / EDGE) / (EDGE - 1);
    }
    mg_transform_points(transform, x, y, EDGE * EDGE);
    xmin = ymin = INFINITY;
    xmax = ymax = -INFINITY;
    for (int i = 0; i < EDGE * EDGE; i++)
        if (isfinite(x[i])) {
            xmin = fmin(xmin, x[i]);
            xmax = fmax(xmax, x[i]);
            ymin = fmin(ymin, y[i]);
            ymax = fmax(ymax, y[i]);
        }
    if (xmin > xmax)
        goto failed;
    *out = (struct mg_bounds){xmin, ymin, xmax, ymax};
    return MG_OK;
failed:
    return mg_err_set(err, MG_E_ARGUMENT,
                      "bounds %g,%g,%g,%g cannot be transformed from %.60s to %.60s", in.xmin,
                      in.ymin, in.xmax, in.ymax, transform->from, transform->to);
}

void mg_utm_of(double lng, double lat, char out[16])
{
    double turned = lng - 360 * floor((lng + 180) / 360);
    int zone = isfinite(turned) ? (int)((turned + 180) / 6) + 1 : 31;
    zone = zone < 1 ? 1 : zone > 60 ? 60 : zone;
    /* Norway's west and Svalbard have zones of their own. */
    if (lat >= 56 && lat < 64 && turned >= 3 && turned < 12)
        zone = 32;
    else if (lat >= 72 && lat < 84 && turned >= 0 && turned < 42)
        zone = turned < 9 ? 31 : turned < 21 ? 33 : turned < 33 ? 35 : 37;
    snprintf(out, 16, "EPSG:%d", (lat < 0 ? 32700 : 32600) + zone);
}
