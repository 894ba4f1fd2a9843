/* SVG: a table's geometry drawn to fit, or a raster as the PNG inside of it.
 *
 * Longitudes and latitudes are drawn in Mercator (cut at 85 degrees, as web maps are), other CRSs as they
 * are, and a tile shows just its square. Points are circles, lines and polygons paths with two decimals of a
 * pixel; vertices nearer than a tenth of a pixel to the one before are left out. svg.title names the column
 * whose text shows at the pointer. Two passes over the geometry; cost: some 60 ns a vertex. */
#include "rows_of.h"
#include "xml_of.h"

#include <math.h>
#include <stdlib.h>

enum { OPT_WIDTH, OPT_HEIGHT, OPT_FILL, OPT_STROKE, OPT_OPACITY, OPT_STROKE_WIDTH, OPT_RADIUS, OPT_TITLE,
      OPT_MIN, OPT_MAX };
static const struct mg_option options[] = {
    [OPT_WIDTH] = {"width", MG_OPT_INT, 1, 8192, NULL, NULL,
                   "pixels (800; of a tile its size; of a raster its own)"},
    [OPT_HEIGHT] = {"height", MG_OPT_INT, 1, 8192, NULL, NULL, "pixels (what the shape asks for)"},
    [OPT_FILL] = {"fill", MG_OPT_STRING, 1, 64, NULL, "#3f7fd6", "colour of areas and points, or none"},
    [OPT_STROKE] = {"stroke", MG_OPT_STRING, 1, 64, NULL, "#1d3f72", "colour of lines and outlines, or none"},
    [OPT_OPACITY] = {"opacity", MG_OPT_NUMBER, 0, 1, NULL, "0.5", "of the fill"},
    [OPT_STROKE_WIDTH] = {"stroke_width", MG_OPT_NUMBER, 0, 100, NULL, "1", "pixels"},
    [OPT_RADIUS] = {"radius", MG_OPT_NUMBER, 0, 1000, NULL, "3", "of points, pixels"},
    [OPT_TITLE] = {"title", MG_OPT_STRING, 0, 400, NULL, NULL, "column that is shown at the pointer"},
    [OPT_MIN] = {"min", MG_OPT_NUMBER, -1e300, 1e300, NULL, NULL,
                 "a raster's sample that is black (0, or the type's least)"},
    [OPT_MAX] = {"max", MG_OPT_NUMBER, -1e300, 1e300, NULL, NULL,
                 "a raster's sample that is white (1, or the type's most)"},
    {0},
};

enum { WIDTH = 800, MAX_SIDE = 8192 };

struct drawing {
    struct rows_of rows;
    bool mercator;
    struct mg_bounds view;            /* in drawing units, y up */
    double scale, left, top;          /* pixel = (x - view.xmin) * scale + left; y downwards */
    double width, height, radius;
    int title;                        /* column; -1: none */
    struct mg_buf points, lines, areas; /* of the feature at hand */
};

/* Degrees to Mercator in degrees of longitude; other units stay. */
static void project(const struct drawing *d, double *x, double *y)
{
    if (!d->mercator)
        return;
    double lat = fmin(fmax(*y, -MG_MERC_MAX_LAT), MG_MERC_MAX_LAT), s = sin(lat * (M_PI / 180));
    *y = isnan(*y) ? *y : log((1 + s) / (1 - s)) * (90 / M_PI);
    (void)x;
}

static bool part_point(const struct drawing *d, const struct mg_wkb_part *part, size_t i, double *x,
                       double *y)
{
    *x = mg_wkb_coord(part, i * (size_t)part->dims);
    *y = mg_wkb_coord(part, i * (size_t)part->dims + 1);
    project(d, x, y);
    return isfinite(*x) && isfinite(*y);
}

/* The box of all that is drawn; false when that is nothing. */
static enum mg_err find_view(struct drawing *d, bool *any, struct mg_errmsg *err)
{
    struct mg_bounds box = {INFINITY, INFINITY, -INFINITY, -INFINITY};
    bool more;
    enum mg_err e;
    while (!(e = rows_of_next(&d->rows, &more, err)) && more) {
        struct mg_bounds one;
        struct mg_span wkb = rows_of_geometry(&d->rows);
        if (!wkb.data || !mg_wkb_bounds(wkb, &one) || !isfinite(one.xmax - one.xmin) ||
            !isfinite(one.ymax - one.ymin))
            continue;
        project(d, &one.xmin, &one.ymin);
        project(d, &one.xmax, &one.ymax);
        box.xmin = fmin(box.xmin, one.xmin);
        box.ymin = fmin(box.ymin, one.ymin);
        box.xmax = fmax(box.xmax, one.xmax);
        box.ymax = fmax(box.ymax, one.ymax);
    }
    *any = box.xmin <= box.xmax;
    d->view = *any ? box : (struct mg_bounds){0, 0, 0, 0};
    return e;
}

static double chosen(const struct mg_codec_job *job, int option, double otherwise)
{
    return isnan(job->options[option].number) ? otherwise : job->options[option].number;
}

static void fit(struct drawing *d, const struct mg_codec_job *job)
{
    double dx = d->view.xmax - d->view.xmin, dy = d->view.ymax - d->view.ymin;
    double pad = job->tile ? 0 : d->radius + job->options[OPT_STROKE_WIDTH].number;
    d->width = chosen(job, OPT_WIDTH, job->tile ? job->tile_size : WIDTH);
    pad = fmin(pad, d->width / 4);
    double shape = dx > 0 && dy > 0 ? dy / dx : 1;
    double wanted = job->tile ? d->width : round((d->width - 2 * pad) * shape + 2 * pad);
    d->height = chosen(job, OPT_HEIGHT, fmin(fmax(wanted, 1), MAX_SIDE));
    pad = fmin(pad, d->height / 4);
    d->scale = INFINITY;
    if (dx > 0)
        d->scale = (d->width - 2 * pad) / dx;
    if (dy > 0)
        d->scale = fmin(d->scale, (d->height - 2 * pad) / dy);
    if (!isfinite(d->scale)) /* one point, or nothing: in the middle */
        d->scale = 0;
    d->left = (d->width - dx * d->scale) / 2;
    d->top = (d->height - dy * d->scale) / 2;
}

static void to_pixels(const struct drawing *d, double *x, double *y)
{
    *x = (*x - d->view.xmin) * d->scale + d->left;
    *y = (d->view.ymax - *y) * d->scale + d->top;
}

static void put_pair(struct mg_buf *out, const char *before, double x, double y, const char *between)
{
    char *start = mg_buf_room(out, 2 * 40 + 32), *at = start;
    size_t n = strlen(before);
    if (!start)
        return;
    memcpy(at, before, n);
    at += n;
    at += mg_fixed_text(x, 2, at);
    n = strlen(between);
    memcpy(at, between, n);
    at += n;
    at += mg_fixed_text(y, 2, at);
    mg_buf_added(out, (size_t)(at - start));
}

static void put_path(const struct drawing *d, const struct mg_wkb_part *part, struct mg_buf *out)
{
    double x, y, px = 0, py = 0;
    size_t n = 0, last = part->n;
    /* Z closes a ring: its last vertex is the first again. */
    if (part->type == 3 && last)
        last--;
    for (size_t i = 0; i < last; i++) {
        if (!part_point(d, part, i, &x, &y))
            continue;
        to_pixels(d, &x, &y);
        bool near = n && fabs(x - px) < 0.1 && fabs(y - py) < 0.1;
        if (near && !(part->type == 2 && i + 1 == last && n == 1))
            continue;
        put_pair(out, n == 0 ? "M" : n == 1 ? "L" : " ", x, y, " ");
        px = x;
        py = y;
        n++;
    }
    if (n && part->type == 3)
        mg_buf_char(out, 'Z');
}

static void put_element(struct rows_of *rows, const char *before, const struct mg_buf *path, int title,
                        struct mg_buf *text, struct mg_buf *out)
{
    struct mg_cell cell = {0};
    if (path->len == 0)
        return;
    mg_buf_str(out, before);
    mg_buf_put(out, path->data, path->len);
    if (title >= 0)
        rows_of_cell(rows, title, &cell);
    if (title < 0 || cell.type == MG_CELL_NULL) {
        mg_buf_str(out, "\"/>\n");
        return;
    }
    text->len = 0;
    mg_cell_text(&cell, text);
    mg_buf_str(out, "\"><title>");
    xml_of_text((struct mg_span){text->data ? text->data : "", text->len}, false, out);
    mg_buf_str(out, "</title></path>\n");
}

/* One feature: its areas, its lines and its points, each one element. A point is a path of no length with
 * round ends, which is drawn as a circle. */
static void put_feature(struct drawing *d, struct mg_buf *text, struct mg_buf *out)
{
    struct mg_wkb_iter iter;
    struct mg_wkb_part part;
    struct mg_bounds box;
    struct mg_span wkb = rows_of_geometry(&d->rows);
    if (!wkb.data || !mg_wkb_bounds(wkb, &box))
        return;
    project(d, &box.xmin, &box.ymin);
    project(d, &box.xmax, &box.ymax);
    double margin = d->scale > 0 ? (d->radius + 16) / d->scale : 0;
    if (box.xmin > d->view.xmax + margin || box.xmax < d->view.xmin - margin ||
        box.ymin > d->view.ymax + margin ||
        box.ymax < d->view.ymin - margin)
        return;
    d->points.len = d->lines.len = d->areas.len = 0;
    mg_wkb_iter_init(&iter, wkb);
    while (mg_wkb_next(&iter, &part)) {
        double x, y;
        if (part.type == 3) {
            put_path(d, &part, &d->areas);
        } else if (part.type == 2) {
            put_path(d, &part, &d->lines);
        } else if (part_point(d, &part, 0, &x, &y)) {
            to_pixels(d, &x, &y);
            put_pair(&d->points, "M", x, y, " ");
            mg_buf_str(&d->points, "h0");
        }
    }
    out->failed |= d->points.failed || d->lines.failed || d->areas.failed;
    put_element(&d->rows, "<path class=\"a\" d=\"", &d->areas, d->title, text, out);
    put_element(&d->rows, "<path class=\"l\" d=\"", &d->lines, d->title, text, out);
    put_element(&d->rows, "<path class=\"p\" d=\"", &d->points, d->title, text, out);
}

static enum mg_err check_paint(const struct mg_codec_job *job, int option, struct mg_errmsg *err)
{
    struct mg_span paint = job->options[option].text;
    for (size_t i = 0; i < paint.len; i++) {
        char c = paint.data[i];
        bool fits = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!fits && (c == '\0' || !strchr("#(),.% /-", c)))
            return mg_err_set(err, MG_E_PARAMETER, "svg.%s is \"%.*s\", expected a colour such as #3f7fd6, "
                              "rgb(63, 127, 214), steelblue or none", options[option].name, (int)paint.len,
                              paint.data);
    }
    return MG_OK;
}

static void put_style(const struct mg_codec_job *job, const struct drawing *d, struct mg_buf *out)
{
    const struct mg_option_value *set = job->options;
    struct mg_span fill = set[OPT_FILL].text, stroke = set[OPT_STROKE].text;
    mg_buf_printf(out, "<style>path{stroke-linejoin:round;stroke-linecap:round}"
                       ".a{fill:%.*s;fill-opacity:%g;fill-rule:evenodd;stroke:%.*s;stroke-width:%g}"
                       ".l{fill:none;stroke:%.*s;stroke-width:%g}"
                       ".p{fill:none;stroke:%.*s;stroke-width:%g}</style>\n",
                  (int)fill.len, fill.data, set[OPT_OPACITY].number, (int)stroke.len, stroke.data,
                  set[OPT_STROKE_WIDTH].number, (int)stroke.len, stroke.data, set[OPT_STROKE_WIDTH].number,
                  (int)fill.len, fill.data, 2 * d->radius);
}

static void put_head(double width, double height, struct mg_buf *out)
{
    mg_buf_printf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
                       "viewBox=\"0 0 %.0f %.0f\">\n", width, height, width, height);
}

static enum mg_err draw(struct drawing *d, const struct mg_codec_job *job, struct mg_buf *out,
                        struct mg_errmsg *err)
{
    struct mg_buf text;
    bool any = true, more;
    enum mg_err e = MG_OK;
    if (job->tile) {
        struct mg_bounds tile = mg_tile_bounds(*job->tile);
        project(d, &tile.xmin, &tile.ymin);
        project(d, &tile.xmax, &tile.ymax);
        d->view = tile;
    } else {
        e = find_view(d, &any, err);
        rows_of_rewind(&d->rows);
    }
    fit(d, job);
    put_head(d->width, d->height, out);
    put_style(job, d, out);
    mg_buf_init(&text, 0);
    while (!e && any && !(e = rows_of_next(&d->rows, &more, err)) && more && !out->failed)
        put_feature(d, &text, out);
    mg_buf_str(out, "</svg>\n");
    mg_buf_fini(&text);
    return e;
}

static enum mg_err encode_table(const struct mg_codec_job *job, struct mg_buf *out, struct mg_errmsg *err)
{
    const struct mg_table *table = job->value->table;
    struct mg_span title = job->options[OPT_TITLE].text;
    bool mercator = table->crs && (job->tile || mg_crs_is_lnglat(table->crs));
    struct drawing d = {.mercator = mercator, .radius = job->options[OPT_RADIUS].number, .title = -1};
    enum mg_err e = check_paint(job, OPT_FILL, err);
    if (!e)
        e = check_paint(job, OPT_STROKE, err);
    if (!e && job->tile && !table->crs)
        e = mg_err_set(err, MG_E_NO_CRS,
                       "the table's geometry has no CRS: name one, for instance \"EPSG:4326\"");
    if (e)
        return e;
    if (title.data && title.len) {
        d.title = mg_table_column(table, title);
        if (d.title < 0)
            return mg_err_set(err, MG_E_PARAMETER,
                              "svg.title names the column \"%.*s\", which is not in the table",
                              title.len > 60 ? 60 : (int)title.len, title.data);
    }
    mg_buf_init(&d.points, 0);
    mg_buf_init(&d.lines, 0);
    mg_buf_init(&d.areas, 0);
    e = rows_of_open(&d.rows, table, mercator, err);
    if (!e)
        e = draw(&d, job, out, err);
    rows_of_close(&d.rows);
    mg_buf_fini(&d.points);
    mg_buf_fini(&d.lines);
    mg_buf_fini(&d.areas);
    return e ? e : mg_buf_status(out, err);
}

/* A data: URL, so that the picture is one file; sized by svg.width or the raster itself. */
static enum mg_err encode_raster(const struct mg_codec_job *job, struct mg_buf *out, struct mg_errmsg *err)
{
    const struct mg_codec *png = mg_codec_find(MG_SPAN("png"));
    const struct mg_raster *raster = job->value->raster;
    struct mg_option_value *set = calloc(mg_option_count(png) + 1, sizeof *set);
    struct mg_codec_job inner = *job;
    struct mg_buf bytes;
    double width = chosen(job, OPT_WIDTH, raster->width);
    double height = chosen(job, OPT_HEIGHT, fmax(1, round(width * raster->height / raster->width)));
    if (!set)
        return mg_err_set(err, MG_E_NOMEM, "out of memory for a picture");
    mg_option_defaults(png, set);
    inner.options = set;
    mg_buf_init(&bytes, out->max_bytes);
    enum mg_err e = mg_encode(png, &inner, &bytes, err);
    free(set);
    if (!e) {
        struct mg_cell cell = {.type = MG_CELL_BINARY, .s = {bytes.data, bytes.len}};
        put_head(width, height, out);
        mg_buf_printf(out, "<image width=\"%.0f\" height=\"%.0f\" preserveAspectRatio=\"none\" "
                           "href=\"data:image/png;base64,", width, height);
        mg_cell_text(&cell, out);
        mg_buf_str(out, "\"/>\n</svg>\n");
    }
    mg_buf_fini(&bytes);
    return e ? e : mg_buf_status(out, err);
}

static enum mg_err encode(const struct mg_codec_job *job, struct mg_buf *out, struct mg_errmsg *err)
{
    return job->value->shape == MG_SHAPE_RASTER ? encode_raster(job, out, err) : encode_table(job, out, err);
}

const struct mg_codec mg_codec_svg[] = {
    {.name = "svg",
     .mime = "image/svg+xml; charset=utf-8",
     .extension = "svg",
     .shapes = MG_SHAPE_TABLE | MG_SHAPE_RASTER,
     .samples = MG_SAMPLE_BIT(MG_U8) | MG_SAMPLE_BIT(MG_U16),
     .max_bands = 4,
     .palette = true,
     .needs_geometry = true,
     .compressible = true,
     .options = options,
     .encode = encode},
    {0},
};
