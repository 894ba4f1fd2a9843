/* Inside of the MVT codec: from WKB to tile units, and from those to a layer's bytes. */
#ifndef MOONGATE_CODEC_MVT_H
#define MOONGATE_CODEC_MVT_H

#include "moongate/codec.h"
#include "moongate/geometry.h"

enum { MVT_MAX_DEGREE = 12 };

/* From the table's CRS to the units of one tile: x right, y down, 0 .. extent. */
struct mvt_space {
    enum { MVT_LNGLAT, MVT_MERC, MVT_OTHER } kind;
    struct mg_transform *transform; /* MVT_OTHER: to EPSG:3857, then as MVT_MERC */
    struct mg_bounds cull;          /* the clip box in the table's CRS */
    bool turns; /* longitudes repeat: what crosses the antimeridian is drawn on both sides */
    double sx, ox, sy, oy; /* x = sx * source + ox; MVT_LNGLAT: y = sy * log term + oy */
    /* Tile y by latitude: from the table of low zooms, as a polynomial in Newton's form, or (degree 0) by the
     * formula. */
    bool by_table;
    int degree;
    double node[MVT_MAX_DEGREE + 1], coef[MVT_MAX_DEGREE + 1], lat0, lat1;
    double lo, hi; /* clip box in tile units */
    double tolerance, min_area;
};
MG_MUST_CHECK enum mg_err mvt_space_init(struct mvt_space *space, const char *crs,
                                         struct mg_tile tile, int extent, int buffer,
                                         double tolerance, struct mg_errmsg *err);

/* Growing arrays of a geometry at work; freed at the end of the codec's run. */
struct mvt_path {
    double *x, *y;
    size_t n, cap;
};
struct mvt_ints {
    int32_t *at; /* x, y, x, y … */
    size_t n, cap;
};
struct mvt_commands {
    uint32_t *at;
    size_t n, cap;
    int32_t x, y; /* the cursor */
};
struct mvt_work {
    struct mvt_path a, b;
    struct mvt_ints found;  /* points of a multipoint */
    struct mvt_ints points; /* the rings of one polygon one behind the other, or a line */
    struct mvt_ints edges;  /* of the validity check */
    uint32_t *order;        /* of the same */
    size_t order_cap;
    uint32_t *ring_ends; /* in points */
    size_t n_rings, rings_cap;
    unsigned char *keep; /* of the simplification */
    uint32_t *stack;
    size_t keep_cap;
    struct mvt_commands out[4]; /* by MVT geometry type: 1 points, 2 lines, 3 polygons */
    struct mg_buf wkb, repaired;
    bool no_memory;
};
void mvt_work_fini(struct mvt_work *work);
/* Fills work->out with what of the geometry lies in the tile. */
void mvt_geometry(const struct mvt_space *space, struct mg_span wkb, const struct mg_bounds *bounds,
                  struct mvt_work *work);
/* Whether the box, or one of its repetitions around the world, meets the tile's clip box. */
bool mvt_space_meets(const struct mvt_space *space, const struct mg_bounds *bounds);
/* One turn around the world in the units of the CRS; whether a box may be drawn a turn away. */
double mvt_space_turn(const struct mvt_space *space);
bool mvt_space_turns(const struct mvt_space *space, const struct mg_bounds *bounds);
/* Whether two boxes meet when the first is moved in x. */
static inline bool mvt_boxes_meet(const struct mg_bounds *a, const struct mg_bounds *b, double shift)
{
    return a->xmin + shift <= b->xmax && a->xmax + shift >= b->xmin && a->ymin <= b->ymax &&
           a->ymax >= b->ymin;
}
/* To tile units, in place. */
void mvt_project(const struct mvt_space *space, double *x, double *y, size_t n);
void mvt_project_point(const struct mvt_space *space, double *x, double *y);
/* Whether the rings, one behind the other from `at`, are simple, do not meet, and holes lie inside.
 */
bool mvt_rings_valid(struct mvt_work *work, const int32_t *at, const uint32_t *ends,
                     size_t n_rings);

/* Rounds half up. A cast rounds to zero, so the sum is made positive first: no call of floor().
 * What is not a number, or is out of all tiles, must not reach the cast. */
static inline int32_t mvt_round(double v)
{
    return v > -1e6 && v < 1e6 ? (int32_t)(v + 1048576.5) - 1048576 : 0;
}

bool mvt_grow(void **at, size_t *cap, size_t need, size_t size);

/* One layer as it grows. */
struct mvt_value {
    uint32_t hash, at, len; /* its bytes in `values_out`, with tag and length; hash 0: in no slot */
};
/* How one column's values are numbered. A value that stood there before gets its number again; where nearly
 * all are new, most are not looked for: a layer's values may repeat, and to look costs more than to write. */
struct mvt_column {
    uint32_t seen;
    uint8_t fresh; /* up by one for each new one, down for each that stood there */
};
struct mvt_feature {
    uint32_t row, at, len;
};
struct mvt_layer {
    struct mg_buf features; /* each with its own tag and length */
    struct mvt_feature *list;
    size_t n, list_cap;
    struct mg_buf keys;
    uint32_t n_keys;
    struct mvt_value *values;
    size_t n_values, values_cap;
    uint64_t *slots; /* open addressing; 0: free, else hash in the upper half and index + 1 */
    size_t n_slots, n_slotted;
    struct mg_buf values_out; /* as they go into the tile */
    bool no_memory;
};
void mvt_layer_init(struct mvt_layer *layer);
void mvt_layer_fini(struct mvt_layer *layer);
/* Room for so many features of at most `max_bytes` together; a guess, which costs nothing when it is wrong. */
void mvt_layer_expect(struct mvt_layer *layer, size_t features, size_t max_bytes);
uint32_t mvt_layer_key(struct mvt_layer *layer, struct mg_span name);
/* Index of the cell's value; the cell is not null. `column` begins as zero. */
uint32_t mvt_layer_value(struct mvt_layer *layer, struct mvt_column *column, const struct mg_cell *cell);
uint32_t mvt_layer_double(struct mvt_layer *layer, struct mvt_column *column, double value);
uint32_t mvt_layer_text(struct mvt_layer *layer, struct mvt_column *column, struct mg_span text);
void mvt_layer_feature(struct mvt_layer *layer, uint32_t row, bool has_id, uint64_t id,
                       const uint32_t *tags, size_t n_tags, int type,
                       const struct mvt_commands *geometry);
size_t mvt_layer_bytes(const struct mvt_layer *layer);
/* Undoes all since the marks were taken. */
struct mvt_mark {
    size_t features, n, n_values, values_out;
};
struct mvt_mark mvt_layer_mark(const struct mvt_layer *layer);
void mvt_layer_rollback(struct mvt_layer *layer, const struct mvt_mark *mark);
/* Writes the layer, its features in the order of their rows. Nothing when it has none. */
void mvt_layer_write(struct mvt_layer *layer, const char *name, int extent, struct mg_buf *out);

#endif
