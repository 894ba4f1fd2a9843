/* The stored form of a raster: a fixed head, texts, then data and masks, each part 64-byte aligned
 * from the start, so that a mapped file can be read in place.
 *
 *   head (128 bytes) | geotransform, palette | crs NUL names NUL… | pad | bands * band_stride | pad
 * | masks | pad
 *
 * Same machine and build only (a child's answer, a function-cache value): native byte order, and a
 * version that is raised with every change. Everything is checked on restore, because workers are
 * not trusted. */
#include "moongate/raster.h"

#include <stdlib.h>

static const char magic[8] = "MGRAST1";

struct head {
    char magic[8];
    uint32_t width, height, bands, sample;
    uint32_t has_nodata, has_georef, has_crs, has_names, has_mask, n_palette;
    uint64_t texts_bytes; /* crs and names, with their NULs */
    uint64_t total_bytes;
    double nodata;
    uint8_t reserved[56];
};
_Static_assert(sizeof(struct head) == 128, "the stored head is 128 bytes");

struct plan {
    size_t texts, data, mask, total; /* offsets */
};

static size_t round64(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

static struct plan plan_of(size_t texts_bytes, size_t data_bytes, size_t mask_bytes)
{
    struct plan p;
    p.texts = sizeof(struct head) + 6 * sizeof(double) + 1024;
    p.data = round64(p.texts + texts_bytes);
    p.mask = p.data + data_bytes;
    p.total = round64(p.mask + mask_bytes);
    return p;
}

static size_t texts_bytes(const struct mg_raster *r)
{
    size_t n = r->crs ? strlen(r->crs) + 1 : 0;
    for (int i = 0; r->names && i < r->bands; i++)
        n += (r->names[i] ? strlen(r->names[i]) : 0) + 1;
    return n;
}

static size_t mask_bytes(const struct mg_raster *r)
{
    return r->mask ? (size_t)r->width * (size_t)r->height * (size_t)r->bands : 0;
}

size_t mg_raster_stored_bytes(const struct mg_raster *r)
{
    return plan_of(texts_bytes(r), r->band_stride * (size_t)r->bands, mask_bytes(r)).total;
}

static void pad_to(struct mg_buf *out, size_t start, size_t offset)
{
    static const char zeros[64] = {0};
    while (!out->failed && out->len - start < offset) {
        size_t n = offset - (out->len - start);
        mg_buf_put(out, zeros, n < sizeof zeros ? n : sizeof zeros);
    }
}

void mg_raster_store(const struct mg_raster *r, struct mg_buf *out)
{
    size_t start = out->len, data_bytes = r->band_stride * (size_t)r->bands;
    struct plan plan = plan_of(texts_bytes(r), data_bytes, mask_bytes(r));
    struct head head = {
        .width = (uint32_t)r->width,
        .height = (uint32_t)r->height,
        .bands = (uint32_t)r->bands,
        .sample = (uint32_t)r->sample,
        .has_nodata = r->has_nodata,
        .has_georef = r->has_georef,
        .has_crs = r->crs != NULL,
        .has_names = r->names != NULL,
        .has_mask = r->mask != NULL,
        .n_palette = (uint32_t)r->n_palette,
        .texts_bytes = texts_bytes(r),
        .total_bytes = plan.total,
        .nodata = r->nodata,
    };
    memcpy(head.magic, magic, sizeof head.magic);
    mg_buf_put(out, &head, sizeof head);
    mg_buf_put(out, r->geotransform, sizeof r->geotransform);
    mg_buf_put(out, r->palette, sizeof r->palette);
    if (r->crs)
        mg_buf_put(out, r->crs, strlen(r->crs) + 1);
    for (int i = 0; r->names && i < r->bands; i++) {
        const char *name = r->names[i] ? r->names[i] : "";
        mg_buf_put(out, name, strlen(name) + 1);
    }
    pad_to(out, start, plan.data);
    mg_buf_put(out, r->data, data_bytes);
    mg_buf_put(out, r->mask, mask_bytes(r));
    pad_to(out, start, plan.total);
}

/* The next NUL-terminated text; NULL at the end or without memory. */
static char *next_text(struct mg_span *rest)
{
    const char *end = rest->len ? memchr(rest->data, 0, rest->len) : NULL;
    if (!end)
        return NULL;
    size_t n = (size_t)(end - rest->data) + 1;
    char *copy = malloc(n);
    if (copy)
        memcpy(copy, rest->data, n);
    rest->data += n;
    rest->len -= n;
    return copy;
}

static bool head_ok(const struct head *h, size_t len)
{
    return memcmp(h->magic, magic, sizeof h->magic) == 0 && h->width >= 1 &&
           h->width <= MG_RASTER_MAX_SIDE && h->height >= 1 && h->height <= MG_RASTER_MAX_SIDE &&
           h->bands >= 1 && h->bands <= MG_RASTER_MAX_BANDS && h->sample < MG_SAMPLE_COUNT &&
           h->has_nodata <= 1 && h->has_georef <= 1 && h->has_crs <= 1 && h->has_names <= 1 &&
           h->has_mask <= 1 && h->n_palette <= 256 &&
           (h->n_palette == 0 || (h->sample == MG_U8 && h->bands == 1)) && h->total_bytes == len &&
           h->texts_bytes <= len;
}

enum mg_err mg_raster_restore(struct mg_span stored, struct mg_raster **out, struct mg_errmsg *err)
{
    static const char broken[] = "a stored raster is broken";
    struct head head;
    struct mg_raster *r = NULL;
    enum mg_err code;

    if (stored.len < sizeof head)
        return mg_err_set(err, MG_E_INVALID, "%s", broken);
    memcpy(&head, stored.data, sizeof head);
    if (!head_ok(&head, stored.len))
        return mg_err_set(err, MG_E_INVALID, "%s", broken);
    size_t pixels = (size_t)head.width * head.height;
    size_t data_bytes = round64(pixels * mg_sample_bytes((enum mg_sample)head.sample)) * head.bands;
    struct plan plan =
        plan_of(head.texts_bytes, data_bytes, head.has_mask ? pixels * head.bands : 0);
    if (plan.total != stored.len)
        return mg_err_set(err, MG_E_INVALID, "%s", broken);
    code = mg_raster_new((int)head.width, (int)head.height, (int)head.bands,
                         (enum mg_sample)head.sample, &r, err);
    if (code != MG_OK)
        return code;
    r->has_nodata = head.has_nodata;
    r->nodata = head.nodata;
    r->has_georef = head.has_georef;
    r->n_palette = (int)head.n_palette;
    memcpy(r->geotransform, stored.data + sizeof head, sizeof r->geotransform);
    memcpy(r->palette, stored.data + sizeof head + sizeof r->geotransform, sizeof r->palette);
    struct mg_span texts = {stored.data + plan.texts, head.texts_bytes};
    code = MG_E_INVALID;
    if (head.has_crs && !(r->crs = next_text(&texts)))
        goto out;
    if (head.has_names) {
        if (!(r->names = calloc(head.bands, sizeof *r->names)))
            goto out;
        for (uint32_t i = 0; i < head.bands; i++)
            if (!(r->names[i] = next_text(&texts)))
                goto out;
    }
    if (texts.len != 0)
        goto out;
    memcpy(r->data, stored.data + plan.data, data_bytes);
    if (head.has_mask) {
        if (!(r->mask = malloc(pixels * head.bands))) {
            code = MG_E_NOMEM;
            goto out;
        }
        memcpy(r->mask, stored.data + plan.mask, pixels * head.bands);
        for (size_t i = 0; i < pixels * head.bands; i++)
            r->mask[i] = r->mask[i] != 0;
    }
    *out = r;
    return MG_OK;
out:
    mg_raster_unref(&r);
    return mg_err_set(err, code, "%s", code == MG_E_NOMEM ? "no memory for a raster" : broken);
}
