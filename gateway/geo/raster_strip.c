/* Conversion between sample types and the working types, one vectorised loop for each pair.
 *
 * Invariant: NaN is the only form of no data in a working array; integers round half away from zero and clamp, as
 * GDAL's writers do. */
#include "geo/raster_strip.h"
#include "geo/simd.h"

#include <math.h>

static const struct {
    double low, high;
} ranges[MG_SAMPLE_COUNT] = {
    [MG_U8] = {0, UINT8_MAX},           [MG_I8] = {INT8_MIN, INT8_MAX},
    [MG_U16] = {0, UINT16_MAX},         [MG_I16] = {INT16_MIN, INT16_MAX},
    [MG_U32] = {0, UINT32_MAX},         [MG_I32] = {INT32_MIN, INT32_MAX},
    [MG_F32] = {-INFINITY, INFINITY},   [MG_F64] = {-INFINITY, INFINITY},
};

bool mg_sample_holds(enum mg_sample sample, double number)
{
    return number >= ranges[sample].low && number <= ranges[sample].high &&
           (mg_sample_is_float(sample) || number == floor(number));
}

/* clang-format off */
#define TO(from_type, to_type)                                                                                    \
    MG_SIMD static void from_type##_to_##to_type(const void *restrict from, to_type *restrict to, int n)          \
    {                                                                                                             \
        const from_type *restrict f = from;                                                                       \
        for (int i = 0; i < n; i++)                                                                               \
            to[i] = (to_type)f[i];                                                                                \
    }
#define EACH(to_type) \
    TO(uint8_t, to_type) TO(int8_t, to_type) TO(uint16_t, to_type) TO(int16_t, to_type) TO(uint32_t, to_type) \
    TO(int32_t, to_type) TO(float, to_type) TO(double, to_type)
EACH(float)
EACH(double)
#define TABLE(to_type) { [MG_U8] = uint8_t_to_##to_type, [MG_I8] = int8_t_to_##to_type, \
    [MG_U16] = uint16_t_to_##to_type, [MG_I16] = int16_t_to_##to_type, [MG_U32] = uint32_t_to_##to_type, \
    [MG_I32] = int32_t_to_##to_type, [MG_F32] = float_to_##to_type, [MG_F64] = double_to_##to_type }
static void (*const to_float[MG_SAMPLE_COUNT])(const void *, float *, int) = TABLE(float);
static void (*const to_double[MG_SAMPLE_COUNT])(const void *, double *, int) = TABLE(double);

/* Clamped before it is cast: a float beyond the type's range must not be converted. NaN compares false and becomes
 * `low`; `valid` tells. `high` is the greatest value of the working type that the sample type holds. */
#define FROM(work, to_type, name, low, high)                                                                      \
    MG_SIMD static int name(const work *restrict from, void *restrict to, uint8_t *restrict valid, int n)         \
    {                                                                                                             \
        to_type *restrict t = to;                                                                                 \
        int missing = 0;                                                                                          \
        for (int i = 0; i < n; i++) {                                                                             \
            work v = from[i];                                                                                     \
            uint8_t ok = v == v;                                                                                  \
            v = v + (v < 0 ? (work)-0.5 : (work)0.5);                                                             \
            v = v > (work)(low) ? v : (work)(low);                                                                \
            v = v < (work)(high) ? v : (work)(high);                                                              \
            t[i] = (to_type)v;                                                                                    \
            valid[i] = ok;                                                                                        \
            missing += !ok;                                                                                       \
        }                                                                                                         \
        return missing;                                                                                           \
    }
FROM(float, uint8_t, float_u8, 0, UINT8_MAX)
FROM(float, int8_t, float_i8, INT8_MIN, INT8_MAX)
FROM(float, uint16_t, float_u16, 0, UINT16_MAX)
FROM(float, int16_t, float_i16, INT16_MIN, INT16_MAX)
FROM(float, uint32_t, float_u32, 0, 4294967040.0)
FROM(float, int32_t, float_i32, INT32_MIN, 2147483520.0)
FROM(double, uint8_t, double_u8, 0, UINT8_MAX)
FROM(double, int8_t, double_i8, INT8_MIN, INT8_MAX)
FROM(double, uint16_t, double_u16, 0, UINT16_MAX)
FROM(double, int16_t, double_i16, INT16_MIN, INT16_MAX)
FROM(double, uint32_t, double_u32, 0, UINT32_MAX)
FROM(double, int32_t, double_i32, INT32_MIN, INT32_MAX)
static int (*const float_to[MG_SAMPLE_COUNT])(const float *, void *, uint8_t *, int) = {
    [MG_U8] = float_u8, [MG_I8] = float_i8, [MG_U16] = float_u16, [MG_I16] = float_i16, [MG_U32] = float_u32,
    [MG_I32] = float_i32 };
static int (*const double_to[MG_SAMPLE_COUNT])(const double *, void *, uint8_t *, int) = {
    [MG_U8] = double_u8, [MG_I8] = double_i8, [MG_U16] = double_u16, [MG_I16] = double_i16, [MG_U32] = double_u32,
    [MG_I32] = double_i32 };

#define NANS(type, name)                                                                                          \
    MG_SIMD static void name(type *restrict v, const uint8_t *restrict mask, int n)                               \
    {                                                                                                             \
        for (int i = 0; i < n; i++)                                                                               \
            v[i] = mask[i] ? v[i] : (type)NAN;                                                                    \
    }
NANS(float, nans_f)
NANS(double, nans_d)
/* clang-format on */

void mg_samples_to_float(enum mg_sample sample, const void *from, float *to, int n) { to_float[sample](from, to, n); }

void mg_samples_to_double(enum mg_sample sample, const void *from, double *to, int n)
{
    to_double[sample](from, to, n);
}

int mg_samples_from_float(const float *from, enum mg_sample sample, void *to, uint8_t *valid, int n)
{
    if (sample == MG_F32)
        memcpy(to, from, (size_t)n * sizeof *from);
    else if (sample == MG_F64)
        mg_samples_to_double(MG_F32, from, to, n);
    else
        return float_to[sample](from, to, valid, n);
    return 0;
}

int mg_samples_from_double(const double *from, enum mg_sample sample, void *to, uint8_t *valid, int n)
{
    if (sample == MG_F64)
        memcpy(to, from, (size_t)n * sizeof *from);
    else if (sample == MG_F32)
        mg_samples_to_float(MG_F64, from, to, n);
    else
        return double_to[sample](from, to, valid, n);
    return 0;
}

void mg_strip_load(const struct mg_raster *r, int band, size_t at, int n, bool wide, union mg_strip *out)
{
    const uint8_t *from = (const uint8_t *)mg_raster_samples(r, band) + at * mg_sample_bytes(r->sample);
    const uint8_t *mask =
        r->mask ? r->mask + (size_t)band * (size_t)r->width * (size_t)r->height + at : NULL;
    if (wide) {
        to_double[r->sample](from, out->d, n);
        if (mask)
            nans_d(out->d, mask, n);
    } else {
        to_float[r->sample](from, out->f, n);
        if (mask)
            nans_f(out->f, mask, n);
    }
}

void mg_strip_fill(double number, int n, bool wide, union mg_strip *out)
{
    for (int i = 0; i < n; i++) {
        if (wide)
            out->d[i] = number;
        else
            out->f[i] = (float)number;
    }
}

enum mg_err mg_strip_store(struct mg_raster *r, int band, size_t at, int n, bool wide, const union mg_strip *strip,
                           struct mg_errmsg *err)
{
    uint8_t valid[MG_STRIP];
    uint8_t *to = (uint8_t *)mg_raster_samples(r, band) + at * mg_sample_bytes(r->sample);
    int missing = wide ? mg_samples_from_double(strip->d, r->sample, to, valid, n)
                       : mg_samples_from_float(strip->f, r->sample, to, valid, n);
    if (missing == 0)
        return MG_OK;
    enum mg_err code = mg_raster_need_mask(r, err);
    if (code == MG_OK)
        memcpy(r->mask + (size_t)band * (size_t)r->width * (size_t)r->height + at, valid, (size_t)n);
    return code;
}
