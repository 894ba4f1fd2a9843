/* Where the units of a tile lie in a table's CRS.
 *
 * Longitude and latitude need no PROJ: x is linear, y the spherical Mercator term. At low zooms it is read
 * from a table of cubic pieces, made once, exact to 1/500 of a unit up to TABLE_ZOOM; deeper it is a
 * polynomial fitted to the tile's latitudes, exact to 1/50 of a unit. Cost: setting up about a
 * microsecond, a point 3 ns, 40 ns by the formula. */
#include "mvt.h"

#include <math.h>
#include <pthread.h>

enum { TABLE_ZOOM = 6, PIECES = 1024 };
static const double table_lat = 85.06; /* a tile's world ends at 85.0511 degrees */
static double table[PIECES][4];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static double merc_term(double lat)
{
    double limited = lat < -89.99 ? -89.99 : lat > 89.99 ? 89.99 : lat;
    double s = sin(limited * (M_PI / 180));
    return log((1 + s) / (1 - s));
}

/* Cubic Hermite pieces in t = 0 .. 1 from the term and its derivative, 2 / cos. */
static void make_table(void)
{
    const double step = 2 * table_lat / PIECES, radians = M_PI / 180;
    double y0 = merc_term(-table_lat), d0 = 2 * radians * step / cos(-table_lat * radians);
    for (int i = 0; i < PIECES; i++) {
        double lat = -table_lat + (i + 1) * step;
        double y1 = merc_term(lat), d1 = 2 * radians * step / cos(lat * radians);
        table[i][0] = y0;
        table[i][1] = d0;
        table[i][2] = 3 * (y1 - y0) - 2 * d0 - d1;
        table[i][3] = 2 * (y0 - y1) + d0 + d1;
        y0 = y1;
        d0 = d1;
    }
}

static inline double by_table(double lat)
{
    double at = (lat + table_lat) * (PIECES / (2 * table_lat));
    if (!(at >= 0 && at < PIECES))
        return merc_term(lat);
    int i = (int)at;
    double t = at - i;
    return table[i][0] + t * (table[i][1] + t * (table[i][2] + t * table[i][3]));
}

static double by_polynomial(const struct mvt_space *s, double lat)
{
    double y = s->coef[s->degree];
    for (int i = s->degree - 1; i >= 0; i--)
        y = y * (lat - s->node[i]) + s->coef[i];
    return y;
}

/* Newton's divided differences on Chebyshev nodes: the lowest degree that is good enough at points
 * between. */
static void fit_latitude(struct mvt_space *s)
{
    enum { PROBES = 24 };
    double half = (s->lat1 - s->lat0) / 2, middle = (s->lat1 + s->lat0) / 2;
    for (int degree = 3; degree <= MVT_MAX_DEGREE; degree += 3) {
        double worst = 0;
        for (int i = 0; i <= degree; i++) {
            s->node[i] = middle + half * cos(M_PI * (i + 0.5) / (degree + 1));
            s->coef[i] = s->sy * merc_term(s->node[i]) + s->oy;
        }
        for (int k = 1; k <= degree; k++)
            for (int i = degree; i >= k; i--)
                s->coef[i] = (s->coef[i] - s->coef[i - 1]) / (s->node[i] - s->node[i - k]);
        s->degree = degree;
        for (int i = 0; i <= PROBES; i++) {
            double lat = s->lat0 + (s->lat1 - s->lat0) * i / PROBES;
            worst = fmax(worst, fabs(by_polynomial(s, lat) - (s->sy * merc_term(lat) + s->oy)));
        }
        if (worst < 0.02)
            return;
    }
    s->degree = 0;
}

enum mg_err mvt_space_init(struct mvt_space *space, const char *crs, struct mg_tile tile,
                           int extent, int buffer, double tolerance, struct mg_errmsg *err)
{
    struct mvt_space s = {.lo = -buffer,
                          .hi = extent + buffer,
                          .tolerance = tolerance,
                          .min_area = tolerance * tolerance,
                          .turns = tile.z > 0};
    double tiles = ldexp(1, tile.z), units = tiles * extent; /* of the world */
    if (mg_crs_is_lnglat(crs)) {
        s.kind = MVT_LNGLAT;
        s.sx = units / 360;
        s.ox = units / 2 - (double)tile.x * extent;
        s.sy = -units / (4 * M_PI);
        s.oy = units / 2 - (double)tile.y * extent;
        s.cull.xmin = (s.lo - s.ox) / s.sx;
        s.cull.xmax = (s.hi - s.ox) / s.sx;
        s.cull.ymin =
            atan(sinh(M_PI * (1 - 2 * (tile.y * (double)extent + s.hi) / units))) * 180 / M_PI;
        s.cull.ymax =
            atan(sinh(M_PI * (1 - 2 * (tile.y * (double)extent + s.lo) / units))) * 180 / M_PI;
        s.lat0 = s.cull.ymin;
        s.lat1 = s.cull.ymax;
        if (tile.z <= TABLE_ZOOM)
            pthread_once(&table_once, make_table);
        else
            fit_latitude(&s);
        s.by_table = tile.z <= TABLE_ZOOM;
    } else {
        s.kind = MVT_MERC;
        s.sx = units / (2 * MG_MERC_MAX);
        s.ox = units / 2 - (double)tile.x * extent;
        s.sy = -s.sx;
        s.oy = units / 2 - (double)tile.y * extent;
        s.cull = (struct mg_bounds){(s.lo - s.ox) / s.sx, (s.hi - s.oy) / s.sy,
                                    (s.hi - s.ox) / s.sx, (s.lo - s.oy) / s.sy};
        enum mg_err e = mg_transform_get(crs, "EPSG:3857", &s.transform, err);
        if (e)
            return e;
        if (s.transform) {
            struct mg_transform *back;
            struct mg_bounds there;
            s.kind = MVT_OTHER;
            s.turns = false;
            /* Culls with a margin for what curves between the points of the edges; nothing where it
             * cannot be said. */
            if (mg_transform_get("EPSG:3857", crs, &back, NULL) ||
                mg_transform_bounds(back, s.cull, &there, NULL) || !(there.xmin <= there.xmax)) {
                s.cull = (struct mg_bounds){-INFINITY, -INFINITY, INFINITY, INFINITY};
            } else {
                double dx = (there.xmax - there.xmin) * 0.05, dy = (there.ymax - there.ymin) * 0.05;
                s.cull = (struct mg_bounds){there.xmin - dx, there.ymin - dy, there.xmax + dx,
                                            there.ymax + dy};
            }
        }
    }
    *space = s;
    return MG_OK;
}

static inline double tile_y(const struct mvt_space *s, double y)
{
    if (s->kind != MVT_LNGLAT)
        return s->sy * y + s->oy;
    if (s->by_table)
        return s->sy * by_table(y) + s->oy;
    if (s->degree && y >= s->lat0 && y <= s->lat1)
        return by_polynomial(s, y);
    return s->sy * merc_term(y) + s->oy;
}

void mvt_project_point(const struct mvt_space *s, double *x, double *y)
{
    if (s->kind == MVT_OTHER)
        mg_transform_points(s->transform, x, y, 1);
    *x = s->sx * *x + s->ox;
    *y = tile_y(s, *y);
}

void mvt_project(const struct mvt_space *s, double *x, double *y, size_t n)
{
    if (s->kind == MVT_OTHER)
        mg_transform_points(s->transform, x, y, n);
    for (size_t i = 0; i < n; i++)
        x[i] = s->sx * x[i] + s->ox;
    for (size_t i = 0; i < n; i++)
        y[i] = tile_y(s, y[i]);
}

/* One turn around the world in the units of the CRS. */
double mvt_space_turn(const struct mvt_space *s)
{
    return s->kind == MVT_LNGLAT ? 360 : 2 * MG_MERC_MAX;
}

/* Whether a box may be drawn shifted: a whole-world tile only repeats what itself crosses the
 * antimeridian, and what is wider than the world would cover itself. */
bool mvt_space_turns(const struct mvt_space *s, const struct mg_bounds *bounds)
{
    double half = mvt_space_turn(s) / 2;
    if (bounds->xmax - bounds->xmin > 2 * half)
        return false;
    return s->kind != MVT_OTHER && (s->turns || bounds->xmin < -half || bounds->xmax > half);
}

bool mvt_space_meets(const struct mvt_space *s, const struct mg_bounds *bounds)
{
    if (mvt_boxes_meet(bounds, &s->cull, 0))
        return true;
    return mvt_space_turns(s, bounds) && (mvt_boxes_meet(bounds, &s->cull, mvt_space_turn(s)) ||
                                          mvt_boxes_meet(bounds, &s->cull, -mvt_space_turn(s)));
}
