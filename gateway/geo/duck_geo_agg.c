/* ST_…_Agg: the WKBs of a group are gathered, the end makes one geometry of them.
 *
 * A state is a buffer of WKBs, each behind its length; a group without any gives null. To add an aggregate,
 * add a row to the table. Cost: that of GEOS, once a group. Single thread. */
#include "duck_geo.h"

#include <stdio.h>
#include <stdlib.h>

struct gathered {
    struct mg_buf *wkbs; /* each behind its length */
};

static uint64_t state_size(struct duck_info *info)
{
    (void)info;
    return sizeof(struct gathered);
}
static void state_init(struct duck_info *info, struct duck_state *state)
{
    (void)info;
    ((struct gathered *)(void *)state)->wkbs = NULL;
}
static void state_free(struct duck_state **states, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        struct gathered *state = (struct gathered *)(void *)states[i];
        if (state->wkbs)
            mg_buf_fini(state->wkbs);
        free(state->wkbs);
        state->wkbs = NULL;
    }
}

static bool gather(struct gathered *state, const void *bytes, size_t n)
{
    if (!state->wkbs && !(state->wkbs = calloc(1, sizeof *state->wkbs)))
        return false;
    mg_buf_put(state->wkbs, bytes, n);
    return !state->wkbs->failed;
}

static void on_update(struct duck_info *info, struct duck_chunk *in, struct duck_state **states)
{
    struct duck_vector *vector = duck.data_chunk_get_vector(in, 0);
    const union duck_string *strings = duck.vector_get_data(vector);
    const uint64_t *validity = duck.vector_get_validity(vector);
    uint64_t rows = duck.data_chunk_get_size(in);
    for (uint64_t row = 0; row < rows; row++) {
        struct gathered *state = (struct gathered *)(void *)states[row];
        if (!duck_valid(validity, row))
            continue;
        struct mg_span wkb = duck_span(&strings[row]);
        uint64_t len = wkb.len;
        if (!gather(state, &len, sizeof len) || !gather(state, wkb.data, wkb.len)) {
            duck.aggregate_function_set_error(info, "out of memory");
            return;
        }
    }
}

static void on_combine(struct duck_info *info, struct duck_state **from, struct duck_state **to, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        const struct gathered *source = (struct gathered *)(void *)from[i];
        struct gathered *target = (struct gathered *)(void *)to[i];
        if (source->wkbs && !gather(target, source->wkbs->data, source->wkbs->len))
            duck.aggregate_function_set_error(info, "out of memory");
    }
}

/* All parts as a collection; NULL when there are none or one is broken. */
static GEOSGeometry *collect(const struct mg_buf *wkbs, int type)
{
    size_t n = 0, at = 0;
    uint64_t len;
    for (; at < wkbs->len; at += sizeof len + len, n++)
        memcpy(&len, wkbs->data + at, sizeof len);
    GEOSGeometry **parts = calloc(n ? n : 1, sizeof *parts), *all = NULL;
    size_t got = 0;
    for (at = 0; parts && got < n; at += sizeof len + len) {
        memcpy(&len, wkbs->data + at, sizeof len);
        if (!duck_geos_parse((struct mg_span){wkbs->data + at + sizeof len, len}, &parts[got]))
            break;
        got++;
    }
    if (parts && got == n)
        all = GEOSGeom_createCollection_r(duck_geos.context, type, parts, (unsigned)n);
    for (size_t i = 0; !all && i < got; i++)
        GEOSGeom_destroy_r(duck_geos.context, parts[i]);
    free(parts);
    return all;
}

typedef GEOSGeometry *aggregate_f(GEOSContextHandle_t, const GEOSGeometry *);
static const struct geo_aggregate {
    const char *name;
    aggregate_f *run;
} aggregates[] = {
    {"st_union_agg", GEOSUnaryUnion_r},
    {"st_extent_agg", GEOSEnvelope_r},
    {"st_collect_agg", GEOSGeom_clone_r},
};

static void on_finalize(struct duck_info *info, struct duck_state **from, struct duck_vector *out,
                        uint64_t n, uint64_t offset)
{
    const struct geo_aggregate *aggregate = duck.aggregate_function_get_extra_info(info);
    uint64_t *nulls = NULL;
    duck_geos.error[0] = 0;
    for (uint64_t i = 0; i < n; i++) {
        const struct gathered *state = (struct gathered *)(void *)from[i];
        if (!state->wkbs) {
            duck_set_null(out, &nulls, offset + i);
            continue;
        }
        GEOSGeometry *all = collect(state->wkbs, GEOS_GEOMETRYCOLLECTION);
        GEOSGeometry *one = all ? aggregate->run(duck_geos.context, all) : NULL;
        bool good = one && duck_geos_put(out, offset + i, one);
        if (all)
            GEOSGeom_destroy_r(duck_geos.context, all);
        if (one)
            GEOSGeom_destroy_r(duck_geos.context, one);
        if (!good) {
            char text[400];
            snprintf(text, sizeof text, "%s: %s", aggregate->name,
                     duck_geos.error[0] ? duck_geos.error : "GEOS could not do it");
            duck.aggregate_function_set_error(info, text);
            return;
        }
    }
}

static bool register_aggregate(struct duck_con *con, const struct geo_aggregate *row)
{
    struct duck_aggregate *aggregate = duck.create_aggregate_function();
    struct duck_type *type = duck.create_logical_type(DUCK_GEOMETRY);
    duck.aggregate_function_set_name(aggregate, row->name);
    duck.aggregate_function_add_parameter(aggregate, type);
    duck.aggregate_function_set_return_type(aggregate, type);
    duck.aggregate_function_set_extra_info(aggregate, (void *)(uintptr_t)row, NULL);
    duck.aggregate_function_set_functions(aggregate, state_size, state_init, on_update, on_combine,
                                          on_finalize);
    duck.aggregate_function_set_destructor(aggregate, state_free);
    bool good = duck.register_aggregate_function(con, aggregate) == 0;
    duck.destroy_logical_type(&type);
    duck.destroy_aggregate_function(&aggregate);
    return good;
}

enum mg_err duck_geo_register_aggregates(struct duck_con *con, struct mg_errmsg *err)
{
    for (size_t i = 0; i < sizeof aggregates / sizeof *aggregates; i++)
        if (!register_aggregate(con, &aggregates[i]))
            return mg_err_set(err, MG_E_INTERNAL, "DuckDB does not take %s", aggregates[i].name);
    return MG_OK;
}
