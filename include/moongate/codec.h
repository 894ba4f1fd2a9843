/* Codecs: the one registry of output formats, and the shared part around the encoders.
 *
 * A codec file ends in its rows (struct mg_codec[]), which the build collects. The shared part looks up, parses
 * options, converts the value to what the row accepts; an encoder sees a conforming value and a buffer, and knows
 * nothing of HTTP. Rows are read in any process; encoding happens in the worker. */
#ifndef MOONGATE_CODEC_H
#define MOONGATE_CODEC_H

#include "moongate/raster.h"
#include "moongate/table.h"

enum mg_shape { MG_SHAPE_RASTER = 1, MG_SHAPE_TABLE = 2, MG_SHAPE_TEXT = 4, MG_SHAPE_JSON = 8, MG_SHAPE_NAMED = 16,
                MG_SHAPE_FRAMES = 32 };
#define MG_SAMPLE_BIT(sample) (1u << (sample))

enum mg_option_type { MG_OPT_INT, MG_OPT_NUMBER, MG_OPT_BOOL, MG_OPT_ENUM, MG_OPT_STRING };
struct mg_option {
    const char *name; /* "quality"; as a parameter "<format>.quality" */
    enum mg_option_type type;
    double min, max;    /* of a string: of its length in bytes */
    const char *values; /* of an enum: "deflate,zstd,none" */
    const char *fallback; /* NULL: unset, which a number shows as NaN */
    const char *help;
};
struct mg_option_value {
    double number;       /* int, number, bool; index of the enum value */
    struct mg_span text; /* string, borrowed from the request or the fallback; data NULL: unset */
};

/* The value of a run, in one of its shapes. Named results are the layers of a vector tile when all of them are
 * tables, otherwise the members of a zip. Frames are an animation: rasters of one size. */
struct mg_value {
    enum mg_shape shape;
    struct mg_raster *raster;
    struct mg_table *table;
    struct mg_span text; /* TEXT: HTML; JSON: JSON text */
    struct mg_named {
        const char *name;
        const struct mg_value *value; /* never named itself */
    } *named;
    size_t n_named;
    struct mg_frame {
        struct mg_raster *raster;
        int delay_ms;
    } *frames;
    size_t n_frames;
};

struct mg_codec;
struct mg_wish;
struct mg_codec_job {
    const struct mg_value *value;
    const struct mg_option_value *options; /* as many and in the order of the row's options */
    const struct mg_tile *tile;            /* NULL on a file call */
    int tile_size;                         /* pixels; MVT's extent does not depend on it */
    /* What the encoder wants told: "X-Moongate-Thinned: 1200/171075", one call for each header. */
    void (*header)(void *context, const char *name, const char *value);
    /* What the members of a container (zip) are made by; NULL: no wish, each format's defaults. */
    const struct mg_wish *wish;
    enum mg_err (*options_of)(void *context, const struct mg_codec *codec, struct mg_option_value *out,
                              struct mg_errmsg *err);
    void *context; /* of both calls */
};
enum { MG_MAX_OPTIONS = 32 }; /* of one format */
typedef enum mg_err mg_encode_f(const struct mg_codec_job *job, struct mg_buf *out, struct mg_errmsg *err);

struct mg_codec {
    const char *name;
    const char *aliases;  /* "jpeg" of jpg; comma-separated, or NULL */
    const char *mime;     /* with charset where text */
    const char *extension;
    unsigned shapes;      /* enum mg_shape, or-ed */
    unsigned samples;     /* MG_SAMPLE_BIT, or-ed; the shared part converts (float 0..1 or .min/.max to 8 bit) */
    int max_bands;        /* a palette counts as 1 when `palette`, else it is expanded to RGBA */
    bool palette, compressible; /* gzip pays */
    bool needs_geometry, tile_only; /* tables without a geometry, file calls: cannot */
    bool any_named;                 /* a container: named results of every kind; else of tables alone */
    const struct mg_option *options; /* ends with a row without a name */
    mg_encode_f *encode;
};

/* By name or alias; NULL. */
const struct mg_codec *mg_codec_find(struct mg_span name);
/* The i-th row; NULL behind the last. */
const struct mg_codec *mg_codec_at(size_t i);
/* What was asked for, in the order of preference; from design section 4. */
struct mg_wish {
    const struct mg_codec *formats[16]; /* format= and URL extension: nothing else will do */
    size_t n_formats;
    const struct mg_codec *vector, *raster; /* dtype_out_vector, dtype_out_raster */
    const struct mg_codec *accepts[16];     /* Accept, normalised */
    size_t n_accepts;
};
/* Picks the row for a value: MG_E_NOT_ACCEPTABLE names the formats that can hold it. `by_accept` says that Accept
 * chose (Vary). Named results that no format holds as a whole are a zip, when each of them has a format. */
MG_MUST_CHECK enum mg_err mg_codec_pick(const struct mg_wish *wish, const struct mg_value *value, bool tile_call,
                                        const struct mg_codec **out, bool *by_accept, struct mg_errmsg *err);
/* Codec for an empty answer on a tile call (nil): raster when both are asked. */
const struct mg_codec *mg_codec_for_empty(const struct mg_wish *wish);
/* Checks one "<format>.<option>=text"; MG_E_PARAMETER names option, value and range. */
MG_MUST_CHECK enum mg_err mg_option_parse(const struct mg_codec *codec, struct mg_span option, struct mg_span text,
                                          size_t *index, struct mg_option_value *out, struct mg_errmsg *err);
size_t mg_option_count(const struct mg_codec *codec);
void mg_option_defaults(const struct mg_codec *codec, struct mg_option_value *out);
/* Converts and encodes. out->max_bytes bounds the result. */
MG_MUST_CHECK enum mg_err mg_encode(const struct mg_codec *codec, const struct mg_codec_job *job, struct mg_buf *out,
                                    struct mg_errmsg *err);
/* gzip (RFC 1952) by ISA-L; for text answers and mvt. */
MG_MUST_CHECK enum mg_err mg_gzip(struct mg_span in, struct mg_buf *out);
/* Back again; out->max_bytes bounds it. MG_E_INVALID: damaged. */
MG_MUST_CHECK enum mg_err mg_gunzip(struct mg_span in, struct mg_buf *out);
/* The same for large bodies, piece by piece, in a few hundred kB of memory. What `put` returns ends it. `get` gives the
 * next piece, which lives until it is asked again, and none at the end. */
typedef enum mg_err mg_put_piece_f(void *context, struct mg_span piece);
typedef enum mg_err mg_get_piece_f(void *context, struct mg_span *piece);
MG_MUST_CHECK enum mg_err mg_gzip_pieces(struct mg_span in, mg_put_piece_f *put, void *context);
MG_MUST_CHECK enum mg_err mg_gunzip_pieces(mg_get_piece_f *get, mg_put_piece_f *put, void *context);

#endif
