/* Arithmetic over whole rasters.
 *
 * Every operand is brought, a strip of samples at a time, into a scratch array of the working type
 * (float, or double when an operand is float64, uint32 or int32) in which no data is NaN; the
 * operation runs over the scratch, and the strip is written out. The scratch stays in the
 * first-level cache, so an operation costs one pass over each operand. Each step is a plain loop
 * over arrays that the compiler vectorises (simd.h). */
#include "moongate/raster_ops.h"
#include "geo/raster_strip.h"
#include "geo/simd.h"

#include <math.h>
#include <stdlib.h>

static bool is_comparison(enum mg_op op)
{
    return op >= MG_OP_GT && op <= MG_OP_NE;
}
static bool is_logic(enum mg_op op)
{
    return op == MG_OP_AND || op == MG_OP_OR;
}

/* clang-format off */
#define LOOP(expression) \
    for (int i = 0; i < n; i++) \
        out[i] = (expression); \
    break
#define ARITHMETIC(type, name, suffix)                                                                            \
    MG_SIMD static void name(enum mg_op op, const type *restrict a, const type *restrict b, type *restrict out,   \
                             int n)                                                                               \
    {                                                                                                             \
        switch (op) {                                                                                             \
        case MG_OP_ADD: LOOP(a[i] + b[i]);                                                                        \
        case MG_OP_SUB: LOOP(a[i] - b[i]);                                                                        \
        case MG_OP_MUL: LOOP(a[i] * b[i]);                                                                        \
        case MG_OP_DIV: LOOP(a[i] / b[i]);                                                                        \
        case MG_OP_MOD: LOOP(a[i] - floor##suffix(a[i] / b[i]) * b[i]);                                           \
        case MG_OP_POW: LOOP(pow##suffix(a[i], b[i]));                                                            \
        /* a + b is NaN when either is, which < alone would lose. */                                              \
        case MG_OP_MIN: LOOP(isnan(a[i] + b[i]) ? (type)NAN : a[i] < b[i] ? a[i] : b[i]);                         \
        case MG_OP_MAX: LOOP(isnan(a[i] + b[i]) ? (type)NAN : a[i] > b[i] ? a[i] : b[i]);                         \
        case MG_OP_GT: LOOP(a[i] > b[i]);                                                                         \
        case MG_OP_GE: LOOP(a[i] >= b[i]);                                                                        \
        case MG_OP_LT: LOOP(a[i] < b[i]);                                                                         \
        case MG_OP_LE: LOOP(a[i] <= b[i]);                                                                        \
        case MG_OP_EQ: LOOP(a[i] == b[i]);                                                                        \
        case MG_OP_NE: LOOP(a[i] != b[i]);                                                                        \
        case MG_OP_AND: LOOP((a[i] != 0) & (b[i] != 0));                                                          \
        case MG_OP_OR: LOOP((a[i] != 0) | (b[i] != 0));                                                           \
        case MG_OP_COUNT: break;                                                                                  \
        }                                                                                                         \
    }
ARITHMETIC(float, arithmetic_f, f)
ARITHMETIC(double, arithmetic_d, )

#define UNARY(type, name, suffix)                                                                                 \
    MG_SIMD static void name(enum mg_unary op, const type *restrict a, type *restrict out, int n)                 \
    {                                                                                                             \
        switch (op) {                                                                                             \
        case MG_OP_NEG: LOOP(-a[i]);                                                                              \
        case MG_OP_NOT: LOOP(a[i] == 0);                                                                          \
        case MG_OP_ABS: LOOP(fabs##suffix(a[i]));                                                                 \
        case MG_OP_SQRT: LOOP(sqrt##suffix(a[i]));                                                                \
        case MG_OP_EXP: LOOP(exp##suffix(a[i]));                                                                  \
        case MG_OP_LOG: LOOP(log##suffix(a[i]));                                                                  \
        case MG_OP_SIN: LOOP(sin##suffix(a[i]));                                                                  \
        case MG_OP_COS: LOOP(cos##suffix(a[i]));                                                                  \
        case MG_OP_FLOOR: LOOP(floor##suffix(a[i]));                                                              \
        case MG_OP_CEIL: LOOP(ceil##suffix(a[i]));                                                                \
        case MG_UNARY_COUNT: break;                                                                               \
        }                                                                                                         \
    }
UNARY(float, unary_f, f)
UNARY(double, unary_d, )

/* x - x is 0 for every finite x, NaN otherwise: infinities become NaN without a branch. */
#define FINITE(type, name)                                                                                        \
    MG_SIMD static void name(const type *restrict from, type *restrict to, int n)                                 \
    {                                                                                                             \
        for (int i = 0; i < n; i++)                                                                               \
            to[i] = from[i] + (from[i] - from[i]);                                                                \
    }
FINITE(float, put_finite_f)
FINITE(double, put_finite_d)

/* 0 or 1, and whether both operands had data. Returns how many had none. */
#define TRUTH(type, name)                                                                                         \
    MG_SIMD static int name(const type *restrict a, const type *restrict b, const type *restrict truth,           \
                            uint8_t *restrict to, uint8_t *restrict valid, int n)                                 \
    {                                                                                                             \
        int missing = 0;                                                                                          \
        for (int i = 0; i < n; i++) {                                                                             \
            uint8_t ok = (a[i] == a[i]) & (b[i] == b[i]);                                                         \
            to[i] = (uint8_t)((truth[i] != 0) & ok);                                                              \
            valid[i] = ok;                                                                                        \
            missing += !ok;                                                                                       \
        }                                                                                                         \
        return missing;                                                                                           \
    }
TRUTH(float, put_truth_f)
TRUTH(double, put_truth_d)
/* clang-format on */

static bool needs_double(const struct mg_raster *r)
{
    return r && (r->sample == MG_F64 || r->sample == MG_U32 || r->sample == MG_I32);
}

static enum mg_err same_size(const struct mg_raster *a, const struct mg_raster *b,
                             struct mg_errmsg *err)
{
    if (a->width != b->width || a->height != b->height)
        return mg_err_set(err, MG_E_ARGUMENT,
                          "rasters of %d x %d and %d x %d pixels do not fit together", a->width,
                          a->height, b->width, b->height);
    if (a->bands != b->bands && a->bands != 1 && b->bands != 1)
        return mg_err_set(err, MG_E_ARGUMENT, "rasters of %d and %d bands do not fit together",
                          a->bands, b->bands);
    return MG_OK;
}

/* The result takes size and place from `like`; band names when it has as many bands. */
static enum mg_err result_of(const struct mg_raster *like, int bands, enum mg_sample sample,
                             struct mg_raster **out, struct mg_errmsg *err)
{
    struct mg_raster *r;
    enum mg_err code = mg_raster_new(like->width, like->height, bands, sample, &r, err);
    if (code != MG_OK)
        return code;
    code = mg_raster_copy_georef(r, like);
    if (code == MG_OK && like->names && like->bands == bands) {
        r->names = calloc((size_t)bands, sizeof *r->names);
        for (int i = 0; r->names && i < bands; i++)
            if (like->names[i] && !(r->names[i] = strdup(like->names[i])))
                code = MG_E_NOMEM;
        if (!r->names)
            code = MG_E_NOMEM;
    }
    if (code != MG_OK) {
        mg_raster_unref(&r);
        return mg_err_set(err, code, "no memory for a raster");
    }
    *out = r;
    return MG_OK;
}

/* One operand: a raster (a lone band serves every band) or a number. */
static void load(const struct mg_raster *r, double number, int band, size_t at, int n, bool wide,
                 union mg_strip *to)
{
    if (r)
        mg_strip_load(r, r->bands == 1 ? 0 : band, at, n, wide, to);
    else
        mg_strip_fill(number, n, wide, to);
}

enum mg_err mg_raster_binary(enum mg_op op, const struct mg_raster *a, double a_number,
                             const struct mg_raster *b, double b_number, struct mg_raster **out,
                             struct mg_errmsg *err)
{
    if ((unsigned)op >= MG_OP_COUNT || (!a && !b))
        return mg_err_set(err, MG_E_ARGUMENT, "an operation needs a raster");
    enum mg_err code = a && b ? same_size(a, b, err) : MG_OK;
    if (code != MG_OK)
        return code;
    bool wide = needs_double(a) || needs_double(b), truth = is_comparison(op) || is_logic(op);
    const struct mg_raster *like = a && (!b || a->bands >= b->bands) ? a : b;
    struct mg_raster *r;
    code = result_of(like, like->bands, truth ? MG_U8 : wide ? MG_F64 : MG_F32, &r, err);
    if (code != MG_OK)
        return code;
    size_t pixels = (size_t)r->width * (size_t)r->height;
    int missing = 0;
    if (truth && (code = mg_raster_need_mask(r, err)) != MG_OK) {
        mg_raster_unref(&r);
        return code;
    }
    for (int band = 0; band < r->bands; band++) {
        for (size_t at = 0; at < pixels; at += MG_STRIP) {
            union mg_strip x, y, z;
            int n = pixels - at < MG_STRIP ? (int)(pixels - at) : MG_STRIP;
            load(a, a_number, band, at, n, wide, &x);
            load(b, b_number, band, at, n, wide, &y);
            uint8_t *to = (uint8_t *)mg_raster_samples(r, band) + at * mg_sample_bytes(r->sample);
            if (wide)
                arithmetic_d(op, x.d, y.d, z.d, n);
            else
                arithmetic_f(op, x.f, y.f, z.f, n);
            if (truth) {
                uint8_t *valid = r->mask + (size_t)band * pixels + at;
                missing += wide ? put_truth_d(x.d, y.d, z.d, to, valid, n)
                                : put_truth_f(x.f, y.f, z.f, to, valid, n);
            } else if (wide) {
                put_finite_d(z.d, (double *)to, n);
            } else {
                put_finite_f(z.f, (float *)to, n);
            }
        }
    }
    if (r->mask && missing == 0) {
        free(r->mask);
        r->mask = NULL;
    }
    *out = r;
    return MG_OK;
}

enum mg_err mg_raster_unary(enum mg_unary op, const struct mg_raster *a, struct mg_raster **out,
                            struct mg_errmsg *err)
{
    if ((unsigned)op >= MG_UNARY_COUNT)
        return mg_err_set(err, MG_E_ARGUMENT, "unknown operation");
    /* `not` is `== 0`, which also gives it the mask that truth values have. */
    if (op == MG_OP_NOT)
        return mg_raster_binary(MG_OP_EQ, a, 0, NULL, 0, out, err);
    bool wide = needs_double(a);
    struct mg_raster *r;
    enum mg_err code = result_of(a, a->bands, wide ? MG_F64 : MG_F32, &r, err);
    if (code != MG_OK)
        return code;
    size_t pixels = (size_t)r->width * (size_t)r->height;
    for (int band = 0; band < r->bands; band++) {
        for (size_t at = 0; at < pixels; at += MG_STRIP) {
            union mg_strip x, z;
            int n = pixels - at < MG_STRIP ? (int)(pixels - at) : MG_STRIP;
            mg_strip_load(a, band, at, n, wide, &x);
            if (wide) {
                unary_d(op, x.d, z.d, n);
                put_finite_d(z.d, (double *)mg_raster_samples(r, band) + at, n);
            } else {
                unary_f(op, x.f, z.f, n);
                put_finite_f(z.f, (float *)mg_raster_samples(r, band) + at, n);
            }
        }
    }
    *out = r;
    return MG_OK;
}

/* The type that holds all values of both; a whole number that fits leaves an integer type as it is.
 */
static enum mg_sample common(const struct mg_raster *a, const struct mg_raster *b, double number,
                             bool no_number)
{
    enum mg_sample wide = needs_double(a) || needs_double(b) ? MG_F64 : MG_F32;
    if (b)
        return a->sample == b->sample ? a->sample : wide;
    if (no_number || mg_sample_is_float(a->sample) || mg_sample_holds(a->sample, number))
        return a->sample;
    return wide;
}

enum mg_err mg_raster_where(const struct mg_raster *a, const struct mg_raster *mask,
                            const struct mg_raster *b, double b_number, bool keep_nodata,
                            struct mg_raster **out, struct mg_errmsg *err)
{
    enum mg_err code = same_size(a, mask, err);
    if (code == MG_OK && b)
        code = same_size(a, b, err);
    if (code == MG_OK && b)
        code = same_size(mask, b, err);
    if (code != MG_OK)
        return code;
    int bands = a->bands > mask->bands ? a->bands : mask->bands;
    const struct mg_raster *like = a->bands == bands ? a : mask;
    if (b && b->bands > bands)
        bands = b->bands, like = b;
    bool wide = needs_double(a) || needs_double(b);
    enum mg_sample sample = common(a, keep_nodata ? NULL : b, b_number, keep_nodata);
    struct mg_raster *r;
    if ((code = result_of(like, bands, sample, &r, err)) != MG_OK)
        return code;
    size_t pixels = (size_t)r->width * (size_t)r->height;
    for (int band = 0; band < bands; band++) {
        for (size_t at = 0; at < pixels; at += MG_STRIP) {
            union mg_strip x, m, y, z;
            int n = pixels - at < MG_STRIP ? (int)(pixels - at) : MG_STRIP;
            load(a, 0, band, at, n, wide, &x);
            load(mask, 0, band, at, n, wide, &m);
            load(keep_nodata ? NULL : b, keep_nodata ? NAN : b_number, band, at, n, wide, &y);
            /* Where the mask itself has no data, neither side is known. */
            for (int i = 0; i < n; i++) {
                if (wide)
                    z.d[i] = isnan(m.d[i]) ? NAN : m.d[i] != 0 ? x.d[i] : y.d[i];
                else
                    z.f[i] = isnan(m.f[i]) ? NAN : m.f[i] != 0 ? x.f[i] : y.f[i];
            }
            if ((code = mg_strip_store(r, band, at, n, wide, &z, err)) != MG_OK) {
                mg_raster_unref(&r);
                return code;
            }
        }
    }
    if (a->n_palette && r->sample == MG_U8 && r->bands == 1) {
        r->n_palette = a->n_palette;
        memcpy(r->palette, a->palette, sizeof r->palette);
    }
    *out = r;
    return MG_OK;
}

enum mg_err mg_raster_convert(const struct mg_raster *a, enum mg_sample sample,
                              struct mg_raster **out, struct mg_errmsg *err)
{
    struct mg_raster *r;
    enum mg_err code = result_of(a, a->bands, sample, &r, err);
    if (code != MG_OK)
        return code;
    bool wide = needs_double(a) || needs_double(r);
    size_t pixels = (size_t)r->width * (size_t)r->height;
    for (int band = 0; band < a->bands; band++) {
        for (size_t at = 0; at < pixels; at += MG_STRIP) {
            union mg_strip x;
            int n = pixels - at < MG_STRIP ? (int)(pixels - at) : MG_STRIP;
            mg_strip_load(a, band, at, n, wide, &x);
            if ((code = mg_strip_store(r, band, at, n, wide, &x, err)) != MG_OK) {
                mg_raster_unref(&r);
                return code;
            }
        }
    }
    if (a->has_nodata) {
        r->has_nodata = true;
        r->nodata = a->nodata;
    }
    *out = r;
    return MG_OK;
}

enum mg_err mg_raster_stack(struct mg_raster *const *parts, size_t n, const char *const *names,
                            struct mg_raster **out, struct mg_errmsg *err)
{
    if (n == 0)
        return mg_err_set(err, MG_E_ARGUMENT, "a stack needs a raster");
    size_t bands = 0;
    enum mg_sample sample = parts[0]->sample;
    bool wide = false;
    for (size_t i = 0; i < n; i++) {
        if (parts[i]->width != parts[0]->width || parts[i]->height != parts[0]->height)
            return mg_err_set(err, MG_E_ARGUMENT,
                              "rasters of %d x %d and %d x %d pixels do not fit together",
                              parts[0]->width, parts[0]->height, parts[i]->width, parts[i]->height);
        bands += (size_t)parts[i]->bands;
        wide |= needs_double(parts[i]);
        if (parts[i]->sample != sample)
            sample = MG_SAMPLE_COUNT;
    }
    if (sample == MG_SAMPLE_COUNT)
        sample = wide ? MG_F64 : MG_F32;
    if (bands > MG_RASTER_MAX_BANDS)
        return mg_err_set(err, MG_E_ARGUMENT, "a stack of %zu bands: at most %d are possible",
                          bands, MG_RASTER_MAX_BANDS);
    struct mg_raster *r;
    enum mg_err code = result_of(parts[0], (int)bands, sample, &r, err);
    if (code != MG_OK)
        return code;
    size_t pixels = (size_t)r->width * (size_t)r->height;
    int to = 0;
    for (size_t i = 0; i < n; i++) {
        for (int band = 0; band < parts[i]->bands; band++, to++) {
            for (size_t at = 0; at < pixels; at += MG_STRIP) {
                union mg_strip x;
                int k = pixels - at < MG_STRIP ? (int)(pixels - at) : MG_STRIP;
                mg_strip_load(parts[i], band, at, k, wide, &x);
                if ((code = mg_strip_store(r, to, at, k, wide, &x, err)) != MG_OK)
                    goto out;
            }
        }
    }
    if (names && !r->names && !(r->names = calloc(bands, sizeof *r->names)))
        code = mg_err_set(err, MG_E_NOMEM, "no memory for band names");
    for (size_t i = 0; names && code == MG_OK && i < bands; i++) {
        free(r->names[i]);
        r->names[i] = names[i] ? strdup(names[i]) : NULL;
        if (names[i] && !r->names[i])
            code = mg_err_set(err, MG_E_NOMEM, "no memory for band names");
    }
out:
    if (code != MG_OK)
        mg_raster_unref(&r);
    else
        *out = r;
    return code;
}
