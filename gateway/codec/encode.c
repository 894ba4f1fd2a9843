/* The shared part around the encoders: what a row does not accept is converted before it is called.
 *
 * Image formats (8 and 16 bit) scale: floats from 0..1, integers from their type's range, either from
 * <format>.min to <format>.max when given, to 8 bit; NaN becomes a hole of the mask. Formats that store values
 * (tif) get the smallest accepted type that holds all of the samples'. Cost: one pass, about 1 ns a sample. */
#include "moongate/codec.h"
#include "moongate/raster_ops.h"

#include "rows.h"

#include <math.h>
#include <stdlib.h>

static const struct {
    double low, high; /* what is black and what is white */
} ranges[MG_SAMPLE_COUNT] = {
    [MG_U8] = {0, UINT8_MAX},           [MG_I8] = {INT8_MIN, INT8_MAX},    [MG_U16] = {0, UINT16_MAX},
    [MG_I16] = {INT16_MIN, INT16_MAX},  [MG_U32] = {0, UINT32_MAX},        [MG_I32] = {INT32_MIN, INT32_MAX},
    [MG_F32] = {0, 1},                  [MG_F64] = {0, 1},
};

/* The next wider types of a format that stores values, in order of preference; the type itself comes first. */
static const enum mg_sample wider[MG_SAMPLE_COUNT][3] = {
    [MG_U8] = {MG_U16, MG_I16, MG_F32}, [MG_I8] = {MG_I16, MG_I32, MG_F32},  [MG_U16] = {MG_U32, MG_I32, MG_F32},
    [MG_I16] = {MG_I32, MG_F32, MG_F64}, [MG_U32] = {MG_F64, MG_F64, MG_F64}, [MG_I32] = {MG_F64, MG_F64, MG_F64},
    [MG_F32] = {MG_F64, MG_F64, MG_F64}, [MG_F64] = {MG_F64, MG_F64, MG_F64},
};

/* The clamp is written so that NaN, for which every comparison is false, ends as 0. */
#define SCALE(name, type, real)                                                                                      \
    static void scale_##name(const void *in, size_t n, double low, double factor, uint8_t *restrict out)             \
    {                                                                                                                \
        const type *restrict samples = in;                                                                           \
        real base = (real)low, times = (real)factor;                                                                 \
        for (size_t i = 0; i < n; i++) {                                                                             \
            real v = ((real)samples[i] - base) * times + (real)0.5;                                                  \
            v = v > 0 ? v : 0;                                                                                       \
            v = v < 255 ? v : 255;                                                                                   \
            out[i] = (uint8_t)(int)v;                                                                                \
        }                                                                                                            \
    }
SCALE(u8, uint8_t, float)
SCALE(i8, int8_t, float)
SCALE(u16, uint16_t, float)
SCALE(i16, int16_t, float)
SCALE(u32, uint32_t, double)
SCALE(i32, int32_t, double)
SCALE(f32, float, float)
SCALE(f64, double, double)

typedef void scale_f(const void *in, size_t n, double low, double factor, uint8_t *out);
static scale_f *const scales[MG_SAMPLE_COUNT] = {
    [MG_U8] = scale_u8,   [MG_I8] = scale_i8,   [MG_U16] = scale_u16, [MG_I16] = scale_i16,
    [MG_U32] = scale_u32, [MG_I32] = scale_i32, [MG_F32] = scale_f32, [MG_F64] = scale_f64,
};

static bool mark_nan(const struct mg_raster *raster, int band, size_t n, uint8_t *restrict mask)
{
    unsigned missing = 0;
    if (raster->sample == MG_F32) {
        const float *v = mg_raster_samples(raster, band);
        for (size_t i = 0; i < n; i++) {
            mask[i] = v[i] == v[i];
            missing |= v[i] != v[i];
        }
    } else {
        const double *v = mg_raster_samples(raster, band);
        for (size_t i = 0; i < n; i++) {
            mask[i] = v[i] == v[i];
            missing |= v[i] != v[i];
        }
    }
    return missing != 0;
}

/* To 8 bit. low and high are NAN where the type's own range counts. */
static enum mg_err scaled(const struct mg_raster *in, double low, double high, struct mg_raster **out,
                          struct mg_errmsg *err)
{
    struct mg_raster *made;
    size_t n = (size_t)in->width * (size_t)in->height;
    enum mg_err e = mg_raster_new(in->width, in->height, in->bands, MG_U8, &made, err);
    if (e)
        return e;
    for (int band = 0; band < in->bands; band++) {
        bool alpha = band + 1 == in->bands && (in->bands == 2 || in->bands == 4);
        double from = isnan(low) || alpha ? ranges[in->sample].low : low;
        double to = isnan(high) || alpha ? ranges[in->sample].high : high;
        scales[in->sample](mg_raster_samples(in, band), n, from, 255 / (to - from), mg_raster_samples(made, band));
    }
    if (in->mask || mg_sample_is_float(in->sample)) {
        e = mg_raster_need_mask(made, err);
        if (e)
            goto out;
    }
    bool holes = in->mask != NULL;
    if (in->mask)
        memcpy(made->mask, in->mask, n * (size_t)in->bands);
    for (int band = 0; mg_sample_is_float(in->sample) && band < in->bands; band++)
        holes |= mark_nan(in, band, n, made->mask + (size_t)band * n);
    if (!holes) {
        free(made->mask);
        made->mask = NULL;
    }
    *out = made;
    made = NULL;
out:
    mg_raster_unref(&made);
    return e;
}

static const struct mg_option_value *option(const struct mg_codec *codec, const struct mg_codec_job *job,
                                            const char *name)
{
    for (size_t i = 0; codec->options && codec->options[i].name; i++)
        if (strcmp(codec->options[i].name, name) == 0)
            return &job->options[i];
    return NULL;
}

/* A raster that the row accepts: the given one (a new reference) or a converted one. */
static enum mg_err conforming(const struct mg_codec *codec, const struct mg_codec_job *job, struct mg_raster *in,
                              struct mg_raster **out, struct mg_errmsg *err)
{
    const struct mg_option_value *min = option(codec, job, "min"), *max = option(codec, job, "max");
    double low = min ? min->number : NAN, high = max ? max->number : NAN;
    bool stretch = !in->n_palette && !(isnan(low) && isnan(high));
    if ((codec->samples & MG_SAMPLE_BIT(in->sample)) && !stretch) {
        *out = mg_raster_ref(in);
        return MG_OK;
    }
    bool stores_values = (codec->samples & (MG_SAMPLE_BIT(MG_F32) | MG_SAMPLE_BIT(MG_F64))) != 0;
    if (stores_values) {
        for (int i = 0; i < 3; i++)
            if (codec->samples & MG_SAMPLE_BIT(wider[in->sample][i]))
                return mg_raster_convert(in, wider[in->sample][i], out, err);
        return mg_err_set(err, MG_E_NOT_ACCEPTABLE, "%s cannot hold %s samples; tif can", codec->name,
                          mg_sample_name(in->sample));
    }
    double from = isnan(low) ? ranges[in->sample].low : low, to = isnan(high) ? ranges[in->sample].high : high;
    if (!(from < to))
        return mg_err_set(err, MG_E_PARAMETER, "%s.min (%g) must be below %s.max (%g)", codec->name, from,
                          codec->name, to);
    return scaled(in, low, high, out, err);
}

static void free_frames(struct mg_frame *frames, size_t n)
{
    for (size_t i = 0; frames && i < n; i++)
        mg_raster_unref(&frames[i].raster);
    free(frames);
}

/* Frames that the row accepts, with their delays; they must have one size. */
static enum mg_err conforming_frames(const struct mg_codec *codec, const struct mg_codec_job *job,
                                     struct mg_frame **out, struct mg_errmsg *err)
{
    size_t n = job->value->n_frames;
    const struct mg_frame *in = job->value->frames;
    if (n == 0)
        return mg_err_set(err, MG_E_UDF_TYPE, "an animation without a frame");
    struct mg_frame *made = calloc(n, sizeof *made);
    if (!made)
        return mg_err_set(err, MG_E_NOMEM, "no memory for %zu frames", n);
    enum mg_err e = MG_OK;
    for (size_t i = 0; !e && i < n; i++) {
        const struct mg_raster *r = in[i].raster, *first = in[0].raster;
        made[i].delay_ms = in[i].delay_ms;
        if (r->width != first->width || r->height != first->height)
            e = mg_err_set(err, MG_E_UDF_TYPE, "frames have one size: the first has %d x %d pixels, frame %zu %d x %d",
                           first->width, first->height, i + 1, r->width, r->height);
        else
            e = conforming(codec, job, in[i].raster, &made[i].raster, err);
    }
    if (e)
        free_frames(made, n);
    else
        *out = made;
    return e;
}

enum mg_err mg_encode(const struct mg_codec *codec, const struct mg_codec_job *job, struct mg_buf *out,
                      struct mg_errmsg *err)
{
    if (!mg_codec_holds(codec, job->value, job->tile != NULL))
        return mg_codec_refuse(codec, job->value, job->tile != NULL, err);
    struct mg_raster *raster = NULL;
    struct mg_value value = *job->value;
    struct mg_codec_job own = *job;
    struct mg_frame *frames = NULL;
    enum mg_err e = MG_OK;
    if (value.shape == MG_SHAPE_RASTER) {
        e = conforming(codec, job, value.raster, &raster, err);
        value.raster = raster;
    } else if (value.shape == MG_SHAPE_FRAMES) {
        e = conforming_frames(codec, job, &frames, err);
        value.frames = frames;
    }
    if (e)
        return e;
    own.value = &value;
    e = codec->encode(&own, out, err);
    mg_raster_unref(&raster);
    free_frames(frames, value.n_frames);
    return e ? e : mg_buf_status(out, err);
}
