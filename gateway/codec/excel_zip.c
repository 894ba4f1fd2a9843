/* The container of an Excel file: a zip (APPNOTE 6.3.3) whose members are streamed.
 *
 * Beside zip.c, which holds whole members: a sheet's XML is ten times its compressed size and is
 * never whole in memory here. The local header is filled in when the member ends. Times are fixed,
 * so that equal tables give equal bytes. No zip64: more than 4 GB is refused. */
#include "excel_zip.h"

#include "deflate.h"

enum { LEVEL = 1, VERSION = 20, DEFLATED = 8, DOS_DATE = 1 << 5 | 1, LOCAL_BYTES = 30 };

void excel_zip_init(struct excel_zip *zip, struct mg_buf *out)
{
    *zip = (struct excel_zip){.out = out, .start = out->len};
}

static uint8_t *put16(uint8_t *at, unsigned v)
{
    at[0] = (uint8_t)v;
    at[1] = (uint8_t)(v >> 8);
    return at + 2;
}

static uint8_t *put32(uint8_t *at, uint64_t v)
{
    return put16(put16(at, (unsigned)(v & 0xffff)), (unsigned)(v >> 16 & 0xffff));
}

/* What local headers and the directory say alike. */
static uint8_t *put_common(uint8_t *at, const struct excel_member *m)
{
    at = put16(put16(put16(at, VERSION), 0), DEFLATED);
    at = put16(put16(at, 0), DOS_DATE);
    at = put32(put32(put32(at, m->crc), m->packed), m->bytes);
    return put16(put16(at, (unsigned)strlen(m->name)), 0);
}

static void local_header(const struct excel_member *m, uint8_t out[LOCAL_BYTES])
{
    put_common(put32(out, 0x04034b50), m);
}

enum mg_err excel_zip_begin(struct excel_zip *zip, const char *name, struct mg_errmsg *err)
{
    uint8_t header[LOCAL_BYTES];
    MG_ASSERT(zip->n < EXCEL_ZIP_MEMBERS);
    struct excel_member *m = &zip->members[zip->n++];
    *m = (struct excel_member){.name = name, .offset = zip->out->len - zip->start};
    local_header(m, header);
    mg_buf_put(zip->out, header, sizeof header);
    mg_buf_str(zip->out, name);
    return mg_deflate_begin(LEVEL, MG_WRAP_NONE, err);
}

void excel_zip_put(struct excel_zip *zip, struct mg_span bytes, bool last)
{
    struct excel_member *m = &zip->members[zip->n - 1];
    if (zip->out->failed)
        return;
    m->crc = mg_crc32(m->crc, bytes.data, bytes.len);
    m->bytes += bytes.len;
    mg_deflate_put(zip->out, bytes.data, bytes.len, last);
    if (!last || zip->out->failed)
        return;
    size_t at = zip->start + m->offset;
    m->packed = (uint32_t)(zip->out->len - at - LOCAL_BYTES - strlen(m->name));
    local_header(m, (uint8_t *)zip->out->data + at);
}

enum mg_err excel_zip_end(struct excel_zip *zip, struct mg_errmsg *err)
{
    size_t begin = zip->out->len - zip->start, most = begin;
    uint8_t head[64], *at;
    for (size_t i = 0; i < zip->n; i++) {
        const struct excel_member *m = &zip->members[i];
        most = m->bytes > most ? m->bytes : most;
        at = put16(put32(head, 0x02014b50), VERSION);
        at = put_common(at, m);
        at = put32(put32(put16(at, 0), 0), 0); /* comment, disk, attributes */
        at = put32(at, m->offset);
        mg_buf_put(zip->out, head, (size_t)(at - head));
        mg_buf_str(zip->out, m->name);
    }
    size_t bytes = zip->out->len - zip->start - begin;
    at = put32(put32(head, 0x06054b50), 0);
    at = put16(put16(at, (unsigned)zip->n), (unsigned)zip->n);
    at = put16(put32(put32(at, bytes), begin), 0);
    mg_buf_put(zip->out, head, (size_t)(at - head));
    if (!zip->out->failed && most > UINT32_MAX)
        return mg_err_set(err, MG_E_UDF_OUTPUT, "an Excel file of more than 4 GB is not made");
    return mg_buf_status(zip->out, err);
}
