/* meta.json, version 0.0.3: what the gateway uses of it.
 *
 * The file is optional; where it is there it must be whole, for a half-read one would lose what its author said.
 * Unknown keys are kept (mg_udf.meta) and otherwise ignored. */
#include "udf.h"

#include "moongate/tile.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The map window that a view state is for. */
enum { VIEW_WIDTH = 1024, VIEW_HEIGHT = 768, VIEW_TILE = 512 };

void catalog_view_bounds(double lng, double lat, double zoom, double out[4])
{
    double pixel = 2 * MG_MERC_MAX / VIEW_TILE / exp2(zoom), x, y, none;
    mg_lnglat_to_merc(lng, lat, &x, &y);
    double half_x = fmin(pixel * VIEW_WIDTH / 2, MG_MERC_MAX), half_y = pixel * VIEW_HEIGHT / 2;
    double west = x - half_x, east = x + half_x;
    if (half_x == MG_MERC_MAX) {
        west = -MG_MERC_MAX;
        east = MG_MERC_MAX;
    }
    mg_merc_to_lnglat(west, fmax(y - half_y, -MG_MERC_MAX), &out[0], &out[1]);
    mg_merc_to_lnglat(east, fmin(y + half_y, MG_MERC_MAX), &out[2], &out[3]);
    mg_merc_to_lnglat(0, fmax(y - half_y, -MG_MERC_MAX), &none, &out[1]);
    /* A window over the antimeridian has west > east, as in RFC 7946. */
    if (out[0] < -180)
        out[0] += 360;
    if (out[2] > 180)
        out[2] -= 360;
}

static bool number_in(const json_t *object, const char *key, double min, double max, double *out)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value) || json_number_value(value) < min || json_number_value(value) > max)
        return false;
    *out = json_number_value(value);
    return true;
}

static enum mg_err read_view(const json_t *view, struct mg_udf *udf, struct mg_errmsg *err)
{
    if (!json_is_object(view) || json_is_false(json_object_get(view, "enable")))
        return MG_OK;
    if (!number_in(view, "latitude", -90, 90, &udf->lat) || !number_in(view, "longitude", -180, 180, &udf->lng) ||
        !number_in(view, "zoom", 0, MG_TILE_MAX_ZOOM, &udf->zoom))
        return mg_err_set(err, MG_E_UDF_BROKEN,
                          "meta.json: fused:defaultViewState needs latitude (-90 to 90), longitude (-180 to 180) and "
                          "zoom (0 to %d)", MG_TILE_MAX_ZOOM);
    udf->has_view = true;
    catalog_view_bounds(udf->lng, udf->lat, udf->zoom, udf->view);
    return MG_OK;
}

static enum mg_err read_udf(const json_t *entry, struct mg_udf *udf, struct mg_errmsg *err)
{
    const char *source = mg_json_str(entry, "source", NULL), *name = mg_json_str(entry, "name", NULL);
    char expected[160];
    snprintf(expected, sizeof expected, "%s.lua", udf->name);
    if (source && strcmp(source, expected) != 0)
        return mg_err_set(err, MG_E_UDF_BROKEN, "meta.json: source is \"%.100s\", it must be \"%s\"", source, expected);
    if (name && strcmp(name, udf->name) != 0)
        return mg_err_set(err, MG_E_UDF_BROKEN, "meta.json: name is \"%.100s\", the folder is called \"%s\"", name,
                          udf->name);
    const json_t *meta = json_object_get(entry, "metadata");
    if (!meta)
        return MG_OK;
    if (!json_is_object(meta))
        return mg_err_set(err, MG_E_UDF_BROKEN, "meta.json: metadata must be an object");
    char *description = strdup(mg_json_str(meta, "fused:description", ""));
    if (!description)
        return MG_E_NOMEM;
    free(udf->description);
    udf->description = description;
    snprintf(udf->type, sizeof udf->type, "%s", mg_json_str(meta, "fused:udfType", "auto"));
    if (json_is_true(json_object_get(meta, "fused:public")))
        udf->is_public = true;
    return read_view(json_object_get(meta, "fused:defaultViewState"), udf, err);
}

enum mg_err catalog_read_meta(struct mg_span text, struct mg_udf *udf, struct mg_errmsg *err)
{
    enum mg_err status = mg_json_parse(text, CATALOG_UDF_BYTES, &udf->meta, err);
    if (status)
        return mg_err_prefix(err, MG_E_UDF_BROKEN, "meta.json");
    const char *version = mg_json_str(udf->meta, "version", "");
    if (strcmp(version, "0.0.3") != 0)
        return mg_err_set(err, MG_E_UDF_BROKEN, "meta.json: version is \"%.40s\", 0.0.3 is expected", version);
    const json_t *steps = json_object_get(json_object_get(udf->meta, "job_config"), "steps");
    const json_t *entry = json_object_get(json_array_get(steps, 0), "udf");
    if (json_array_size(steps) != 1 || !json_is_object(entry))
        return mg_err_set(err, MG_E_UDF_BROKEN,
                          "meta.json: one UDF is expected at job_config.steps[0].udf; `moongate new NAME` writes an example");
    return read_udf(entry, udf, err);
}
