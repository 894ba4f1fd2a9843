/* MVT 2.1: tables as the layers of a tile (github.com/mapbox/vector-tile-spec).
 *
 * One layer `udf` for a table, or one for each named table. A non-negative integer column `id` (else `fid`)
 * is the feature's id and not repeated among its attributes; where a row's value cannot be an id it stays an
 * attribute. Nulls are left out, dates and times are ISO strings, nested values their JSON, binary ones
 * base64.
 *
 * No tile is larger than mvt.max_bytes, no layer has more than mvt.max_features. One that would is thinned:
 * features come in the order of a rank and as many are kept as fit. The rank is the feature's own (size class
 * of its box, the large first; then a hash of its box), so that the same features survive in neighbouring
 * tiles and in each run, and a tile with less room keeps a subset. Of points in one pixel (extent / 512) the
 * first by rank is kept. Several layers share the room by their sizes. The header X-Moongate-Thinned says
 * kept/total. Cost: 100 ns a point, 1 us a small polygon. */
#include "mvt.h"

#include "moongate/table_plain.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { OPT_EXTENT, OPT_BUFFER, OPT_SIMPLIFY, OPT_MAX_BYTES, OPT_MAX_FEATURES };
static const struct mg_option options[] = {
    [OPT_EXTENT] = {"extent", MG_OPT_INT, 256, 8192, NULL, "4096", "units of a tile's side"},
    [OPT_BUFFER] = {"buffer", MG_OPT_INT, 0, 1024, NULL, "64",
                    "units around the tile that are kept"},
    [OPT_SIMPLIFY] = {"simplify", MG_OPT_NUMBER, 0, 256, NULL, "4",
                      "tolerance in units (4 of 4096: half a pixel at 512); 0: none"},
    [OPT_MAX_BYTES] = {"max_bytes", MG_OPT_INT, 1000, 5000000, NULL, "500000",
                       "a larger tile is thinned"},
    [OPT_MAX_FEATURES] = {"max_features", MG_OPT_INT, 1, 1000000, NULL, "1000000",
                          "of a layer; one with more is thinned"},
    {0},
};

/* Nothing is smaller on the wire than a point without attributes. */
enum { MIN_FEATURE_BYTES = 9, MAX_MISFITS = 64 };

/* A table being made a layer. */
struct work {
    const struct mg_table *table;
    struct mvt_space space;
    struct mvt_work geometry;
    struct mvt_layer layer;
    struct mg_cursor **cursors; /* one a column, of the batch at hand */
    struct mg_plain *plain;     /* the same, where cells are not needed */
    size_t batch;               /* SIZE_MAX: none */
    uint32_t *keys;             /* of each column; UINT32_MAX: none yet */
    struct mvt_column *columns;
    uint32_t *tags;
    int id_column;
    int extent;
    size_t max_bytes;
    int64_t max_features;
    /* Rows whose box meets the tile. */
    struct candidate {
        uint32_t batch, row; /* row of the batch */
        uint32_t order;      /* row of the table: the place in the layer */
        uint32_t rank;
        bool point, outside; /* a point, and beyond the clip box */
        int32_t xy[2];       /* of a point, in units of the tile */
    } * candidates;
    size_t n, cap, n_points;
    int64_t kept;
};

static void work_fini(struct work *w)
{
    for (int64_t c = 0; w->cursors && c < w->table->schema.n_children; c++)
        mg_cursor_close(&w->cursors[c]);
    free(w->cursors);
    free(w->plain);
    free(w->keys);
    free(w->columns);
    free(w->tags);
    free(w->candidates);
    mvt_work_fini(&w->geometry);
    mvt_layer_fini(&w->layer);
}

static void forget_keys(struct work *w)
{
    for (int64_t c = 0; c < w->table->schema.n_children; c++)
        w->keys[c] = UINT32_MAX;
    memset(w->columns, 0, (size_t)w->table->schema.n_children * sizeof *w->columns);
}

static int find_id(const struct mg_table *table)
{
    int id = mg_table_column(table, MG_SPAN("id"));
    if (id < 0)
        id = mg_table_column(table, MG_SPAN("fid"));
    return id;
}

static enum mg_err work_init(struct work *w, const struct mg_table *table,
                             const struct mg_codec_job *job, size_t max_bytes,
                             struct mg_errmsg *err)
{
    size_t columns = (size_t)table->schema.n_children;
    *w = (struct work){.table = table,
                       .batch = SIZE_MAX,
                       .id_column = find_id(table),
                       .max_bytes = max_bytes,
                       .max_features = (int64_t)job->options[OPT_MAX_FEATURES].number,
                       .extent = (int)job->options[OPT_EXTENT].number};
    mvt_layer_init(&w->layer);
    if (table->geometry < 0)
        return mg_err_set(err, MG_E_NOT_ACCEPTABLE,
                          "a vector tile needs a geometry, and the table has none");
    if (!table->crs)
        return mg_err_set(err, MG_E_NO_CRS,
                          "the table's geometry has no CRS: name one, for instance \"EPSG:4326\"");
    if (table->rows > UINT32_MAX)
        return mg_err_set(err, MG_E_UDF_OUTPUT,
                          "a tile of more than 4 billion rows: read less by bounds");
    w->cursors = calloc(columns, sizeof *w->cursors);
    w->plain = calloc(columns, sizeof *w->plain);
    w->keys = malloc(columns * sizeof *w->keys);
    w->columns = malloc(columns * sizeof *w->columns);
    w->tags = malloc(2 * columns * sizeof *w->tags);
    if (!w->cursors || !w->plain || !w->keys || !w->columns || !w->tags)
        return mg_err_set(err, MG_E_NOMEM, "out of memory for a tile");
    forget_keys(w);
    return mvt_space_init(&w->space, table->crs, *job->tile, w->extent,
                          (int)job->options[OPT_BUFFER].number, job->options[OPT_SIMPLIFY].number,
                          err);
}

static enum mg_err use_batch(struct work *w, size_t batch, struct mg_errmsg *err)
{
    if (w->batch == batch)
        return MG_OK;
    w->batch = batch;
    for (int c = 0; c < (int)w->table->schema.n_children; c++) {
        mg_cursor_close(&w->cursors[c]);
        enum mg_err e = mg_cursor_open(w->table, batch, c, &w->cursors[c], err);
        if (e)
            return e;
        w->plain[c] = mg_cursor_plain(w->cursors[c]);
    }
    return MG_OK;
}

static inline struct mg_span geometry_of(struct work *w, int64_t row)
{
    const struct mg_plain *plain = &w->plain[w->table->geometry];
    struct mg_cell cell;
    if (plain->type == MG_CELL_BINARY)
        return mg_plain_bytes(plain, row);
    mg_cursor_get(w->cursors[w->table->geometry], row, &cell);
    return cell.type == MG_CELL_BINARY ? cell.s : (struct mg_span){NULL, 0};
}

/* Bounds, with a short way for the commonest geometry: a little-endian 2D point. */
static inline bool box_of(struct mg_span wkb, struct mg_bounds *out)
{
    double xy[2];
    if (!mg_wkb_plain_point(wkb))
        return mg_wkb_bounds(wkb, out);
    memcpy(xy, wkb.data + 5, 16);
    *out = (struct mg_bounds){xy[0], xy[1], xy[0], xy[1]};
    return xy[0] - xy[0] == 0 && xy[1] - xy[1] == 0;
}

/* A bijective mixer (the finaliser of MurmurHash3). */
static uint64_t mix64(uint64_t x)
{
    x = (x ^ x >> 33) * 0xFF51AFD7ED558CCDu;
    x = (x ^ x >> 33) * 0xC4CEB9FE1A85EC53u;
    return x ^ x >> 33;
}

static uint64_t bits_of(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, 8);
    return bits;
}

/* Low ranks are kept first. Size classes are powers of two of the box in units of the tile. */
static uint32_t rank_of(const struct mvt_space *space, const struct mg_bounds *b, bool point)
{
    uint64_t hash = mix64(bits_of(b->xmin) +
                          mix64(bits_of(b->ymin) + mix64(bits_of(b->xmax) ^ bits_of(b->ymax))));
    uint32_t class = 63;
    if (!point) {
        double size = fmax(b->xmax - b->xmin, b->ymax - b->ymin);
        double units = space->kind == MVT_LNGLAT ? size * space->sx : size * fabs(space->sx);
        int exponent = 0;
        frexp(units, &exponent);
        class = (uint32_t)(exponent < -30 ? 62 : exponent > 31 ? 0 : 32 - exponent);
    }
    return class << 26 | (uint32_t)(hash >> 38);
}

/* In a pass of its own: no point waits for the one before it. `at` has the points' places in the table's CRS. */
static void project_points(struct work *w, const double (*at)[2], size_t first)
{
    double turn = w->space.kind == MVT_OTHER ? 0 : mvt_space_turn(&w->space);
    for (size_t i = first; i < w->n; i++, at++) {
        struct candidate *c = &w->candidates[i];
        double x = (*at)[0], y = (*at)[1];
        if (!c->point)
            continue;
        if (x > w->space.cull.xmax)
            x -= turn;
        else if (x < w->space.cull.xmin)
            x += turn;
        mvt_project_point(&w->space, &x, &y);
        c->outside = !(x >= w->space.lo && x <= w->space.hi && y >= w->space.lo && y <= w->space.hi);
        c->xy[0] = mvt_round(x);
        c->xy[1] = mvt_round(y);
    }
}

static enum mg_err find_candidates(struct work *w, struct mg_errmsg *err)
{
    enum { BLOCK = 256 };
    uint32_t order = 0;
    for (size_t b = 0; b < w->table->n_batches; b++) {
        int64_t rows = w->table->batches[b].length;
        enum mg_err e = use_batch(w, b, err);
        if (e)
            return e;
        if (!mvt_grow((void **)&w->candidates, &w->cap, w->n + (size_t)rows, sizeof *w->candidates))
            return mg_err_set(err, MG_E_NOMEM, "out of memory for a tile");
        double at[BLOCK][2];
        size_t first = w->n;
        for (int64_t row = 0; row < rows; row++, order++) {
            struct mg_bounds box;
            if (w->n - first == BLOCK) {
                project_points(w, at, first);
                first = w->n;
            }
            struct mg_span wkb = geometry_of(w, row);
            if (!box_of(wkb, &box) ||
                !(mvt_boxes_meet(&box, &w->space.cull, 0) || mvt_space_meets(&w->space, &box)))
                continue;
            bool point = wkb.len == 21;
            w->n_points += point;
            at[w->n - first][0] = box.xmin;
            at[w->n - first][1] = box.ymin;
            w->candidates[w->n++] = (struct candidate){
                .batch = (uint32_t)b, .row = (uint32_t)row, .order = order, .point = point};
        }
        project_points(w, at, first);
    }
    return MG_OK;
}

/* Ranks, and the candidates in their order: two passes of 16 bits, stable. */
static enum mg_err sort_candidates(struct work *w, struct mg_errmsg *err)
{
    struct candidate *other = malloc((w->n + 1) * sizeof *other);
    uint32_t *count = malloc(65537 * sizeof *count);
    enum mg_err e = MG_OK;
    if (!other || !count)
        e = mg_err_set(err, MG_E_NOMEM, "out of memory for a tile");
    for (size_t i = 0; !e && i < w->n; i++) {
        struct candidate *c = &w->candidates[i];
        struct mg_bounds box = {0};
        e = use_batch(w, c->batch, err);
        if (!e && box_of(geometry_of(w, c->row), &box))
            c->rank = rank_of(&w->space, &box, c->point);
    }
    for (int shift = 0; !e && shift < 32; shift += 16) {
        memset(count, 0, 65537 * sizeof *count);
        for (size_t i = 0; i < w->n; i++)
            count[(w->candidates[i].rank >> shift & 65535) + 1]++;
        for (size_t i = 0; i < 65536; i++)
            count[i + 1] += count[i];
        for (size_t i = 0; i < w->n; i++)
            other[count[w->candidates[i].rank >> shift & 65535]++] = w->candidates[i];
        memcpy(w->candidates, other, w->n * sizeof *other);
    }
    free(other);
    free(count);
    return e;
}

static bool cell_as_id(const struct mg_cell *cell, uint64_t *id)
{
    if (cell->type == MG_CELL_INT && cell->i >= 0)
        *id = (uint64_t)cell->i;
    else if (cell->type == MG_CELL_UINT)
        *id = cell->u;
    else
        return false;
    return true;
}

static inline void put_tag(struct work *w, int column, uint32_t value, size_t *n)
{
    if (w->keys[column] == UINT32_MAX)
        w->keys[column] = mvt_layer_key(&w->layer, mg_span(w->table->schema.children[column]->name));
    w->tags[(*n)++] = w->keys[column];
    w->tags[(*n)++] = value;
}

/* Key and value numbers of the row; and its id. */
static size_t make_tags(struct work *w, int64_t row, bool *has_id, uint64_t *id)
{
    size_t n = 0;
    *has_id = false;
    for (int c = 0, columns = (int)w->table->schema.n_children; c < columns; c++) {
        const struct mg_plain *plain = &w->plain[c];
        struct mg_cell cell;
        if (c == w->table->geometry)
            continue;
        if (plain->type == MG_CELL_DOUBLE) {
            if (isfinite(plain->doubles[row]))
                put_tag(w, c, mvt_layer_double(&w->layer, &w->columns[c], plain->doubles[row]), &n);
        } else if (plain->type == MG_CELL_STRING) {
            put_tag(w, c, mvt_layer_text(&w->layer, &w->columns[c], mg_plain_bytes(plain, row)), &n);
        } else if (c == w->id_column && plain->type == MG_CELL_INT && plain->ints[row] >= 0) {
            *id = (uint64_t)plain->ints[row];
            *has_id = true;
        } else {
            mg_cursor_get(w->cursors[c], row, &cell);
            if (cell.type == MG_CELL_NULL || (cell.type == MG_CELL_DOUBLE && !isfinite(cell.d)))
                continue;
            if (c == w->id_column && cell_as_id(&cell, id))
                *has_id = true;
            else
                put_tag(w, c, mvt_layer_value(&w->layer, &w->columns[c], &cell), &n);
        }
    }
    return n;
}

/* Adds the feature whose commands are in w->geometry; kinds of a mixed collection become features
 * of their own. */
static void add_feature(struct work *w, const struct candidate *c)
{
    bool has_id = false, any = false;
    uint64_t id = 0;
    size_t n_tags = 0;
    for (int type = 1; type <= 3; type++) {
        if (w->geometry.out[type].n == 0)
            continue;
        if (!any)
            n_tags = make_tags(w, c->row, &has_id, &id);
        any = true;
        mvt_layer_feature(&w->layer, c->order, has_id, id, w->tags, n_tags, type,
                          &w->geometry.out[type]);
    }
    w->kept += any;
}

/* The quick way of most features. */
static bool make_point(struct work *w, const int32_t xy[2])
{
    struct mvt_commands *out = &w->geometry.out[1];
    if (!mvt_grow((void **)&out->at, &out->cap, 3, sizeof *out->at)) {
        w->geometry.no_memory = true;
        return false;
    }
    out->at[0] = 1 | 1 << 3;
    out->at[1] = (uint32_t)xy[0] << 1 ^ (uint32_t)(xy[0] >> 31);
    out->at[2] = (uint32_t)xy[1] << 1 ^ (uint32_t)(xy[1] >> 31);
    out->n = 3;
    w->geometry.out[2].n = w->geometry.out[3].n = 0;
    return true;
}

/* Pixels that hold a point already. */
struct pixels {
    uint8_t *taken;
    int32_t side, shift_units, first;
};

static bool take_pixel(struct pixels *p, const int32_t xy[2])
{
    size_t at = (size_t)((xy[1] - p->first) / p->shift_units) * (size_t)p->side +
                (size_t)((xy[0] - p->first) / p->shift_units);
    if (p->taken[at])
        return false;
    p->taken[at] = 1;
    return true;
}

/* Encodes the candidates in their order: all, or (with pixels) what fits. *fits tells whether all
 * did. */
static enum mg_err encode_rows(struct work *w, struct pixels *pixels, bool *fits,
                               struct mg_errmsg *err)
{
    int misfits = 0;
    *fits = true;
    for (size_t i = 0; i < w->n && misfits < MAX_MISFITS; i++) {
        const struct candidate *c = &w->candidates[i];
        enum mg_err e = w->batch == c->batch ? MG_OK : use_batch(w, c->batch, err);
        if (e)
            return e;
        if (c->point) {
            if (c->outside || !make_point(w, c->xy) || (pixels && !take_pixel(pixels, c->xy)))
                continue;
        } else {
            struct mg_bounds box;
            struct mg_span wkb = geometry_of(w, c->row);
            if (!box_of(wkb, &box))
                continue;
            mvt_geometry(&w->space, wkb, &box, &w->geometry);
        }
        struct mvt_mark mark = mvt_layer_mark(&w->layer);
        int64_t kept = w->kept;
        add_feature(w, c);
        if (w->geometry.no_memory || w->layer.no_memory)
            return mg_err_set(err, MG_E_NOMEM, "out of memory for a tile");
        if (mvt_layer_bytes(&w->layer) <= w->max_bytes && w->kept <= w->max_features) {
            misfits = 0;
            continue;
        }
        *fits = false;
        if (!pixels)
            return MG_OK;
        mvt_layer_rollback(&w->layer, &mark);
        w->kept = kept;
        misfits++;
    }
    return MG_OK;
}

static enum mg_err thin(struct work *w, int buffer, struct mg_errmsg *err)
{
    bool fits;
    int32_t unit = w->extent / 512 > 0 ? w->extent / 512 : 1,
            side = (w->extent + 2 * buffer) / unit + 2;
    struct pixels pixels = {.taken = calloc((size_t)side * (size_t)side, 1),
                            .side = side,
                            .shift_units = unit,
                            .first = -buffer - 1};
    if (!pixels.taken)
        return mg_err_set(err, MG_E_NOMEM, "out of memory for a tile");
    mvt_layer_fini(&w->layer);
    mvt_layer_init(&w->layer);
    forget_keys(w);
    w->kept = 0;
    enum mg_err e = sort_candidates(w, err);
    if (!e)
        e = encode_rows(w, &pixels, &fits, err);
    free(pixels.taken);
    return e;
}

/* Makes the layer; `total` is what of it there would be without a limit. */
static enum mg_err make_layer(struct work *w, int buffer, struct mg_errmsg *err)
{
    bool fits = false;
    enum mg_err e = find_candidates(w, err);
    if (!e && w->n_points * MIN_FEATURE_BYTES <= w->max_bytes) {
        mvt_layer_expect(&w->layer, w->n, w->max_bytes);
        e = encode_rows(w, NULL, &fits, err);
    }
    if (!e && fits)
        w->n = (size_t)w->kept;
    if (!e && !fits)
        e = thin(w, buffer, err);
    return e;
}

/* Bytes around a layer: its tag, version, name and extent. */
static size_t frame_bytes(const char *name)
{
    return 32 + strlen(name);
}

static enum mg_err encode(const struct mg_codec_job *job, struct mg_buf *out, struct mg_errmsg *err)
{
    struct mg_named single = {.name = "udf", .value = job->value};
    const struct mg_named *layers = job->value->shape == MG_SHAPE_NAMED ? job->value->named : &single;
    size_t n = job->value->shape == MG_SHAPE_NAMED ? job->value->n_named : 1, total = 0;
    size_t limit = (size_t)job->options[OPT_MAX_BYTES].number;
    int buffer = (int)job->options[OPT_BUFFER].number;
    int64_t kept = 0, candidates = 0;
    enum mg_err e = MG_OK;
    if (!job->tile)
        return mg_err_set(err, MG_E_NOT_ACCEPTABLE,
                          "mvt is the format of a tile: ask for …/run/tiles/z/x/y, or for "
                          "another format");
    struct work *works = calloc(n ? n : 1, sizeof *works);
    size_t made = 0;
    if (!works)
        return mg_err_set(err, MG_E_NOMEM, "out of memory for a tile");
    for (; made < n && !e; made++) {
        size_t frame = frame_bytes(layers[made].name);
        e = work_init(&works[made], layers[made].value->table, job, limit > frame ? limit - frame : 0,
                      err);
        if (!e)
            e = make_layer(&works[made], buffer, err);
        if (!e)
            total += mvt_layer_bytes(&works[made].layer) + frame;
    }
    /* Together too large: each again, with its share. */
    for (size_t i = 0; i < n && !e && total > limit; i++) {
        struct work *w = &works[i];
        size_t frame = frame_bytes(layers[i].name), bytes = mvt_layer_bytes(&w->layer) + frame;
        double share = (double)limit * (double)bytes / (double)total;
        w->max_bytes = share > (double)frame ? (size_t)share - frame : 0;
        w->n = 0;
        w->n_points = 0;
        e = find_candidates(w, err);
        if (!e && mvt_layer_bytes(&w->layer) > w->max_bytes)
            e = thin(w, buffer, err);
    }
    for (size_t i = 0; i < n && !e; i++) {
        mvt_layer_write(&works[i].layer, layers[i].name, works[i].extent, out);
        kept += works[i].kept;
        candidates += (int64_t)works[i].n;
    }
    for (size_t i = 0; i < made; i++)
        work_fini(&works[i]);
    free(works);
    if (!e && kept < candidates && job->header) {
        char text[64];
        snprintf(text, sizeof text, "%lld/%lld", (long long)kept, (long long)candidates);
        job->header(job->context, "X-Moongate-Thinned", text);
    }
    return e ? e : mg_buf_status(out, err);
}

const struct mg_codec mg_codec_mvt[] = {
    {.name = "mvt",
     .aliases = "pbf",
     .mime = "application/vnd.mapbox-vector-tile",
     .extension = "mvt",
     .shapes = MG_SHAPE_TABLE | MG_SHAPE_NAMED,
     .needs_geometry = true,
     .tile_only = true,
     .compressible = true,
     .options = options,
     .encode = encode},
    {0},
};
