/* zip (APPNOTE 6.3.3) of named results: each member encoded by the same pick as a value alone, one after the other.
 *
 * Our own container, because ISA-L deflates: sizes stand in the local headers, so that stream readers manage; names
 * are UTF-8 and say so, whatever the process's locale is; the time is fixed, so that equal members give equal bytes
 * and one ETag. A member that does not shrink by a fiftieth is stored. No zip64: an answer is far below 4 GB, which
 * the limit of the buffer and the checks here hold to. Memory: the archive and one member. */
#include "moongate/codec.h"

#include "deflate.h"
#include "rows.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    LEVEL = 2,
    LOCAL_BYTES = 30,
    NAME_BYTES = 120,
    MAX_MEMBERS = 4096,
    VERSION = 20, /* 2.0: deflate */
    MADE_BY = 3 << 8 | VERSION, /* Unix */
    UTF8_NAMES = 1 << 11,
    STORED = 0,
    DEFLATED = 8,
    DOS_TIME = 0,
    DOS_DATE = 1 << 5 | 1, /* 1980-01-01 */
};

struct member {
    char name[NAME_BYTES + 32];
    uint32_t crc, packed, bytes, offset;
    uint16_t method;
};

static void put16(struct mg_buf *out, unsigned v)
{
    const uint8_t bytes[] = {(uint8_t)v, (uint8_t)(v >> 8)};
    mg_buf_put(out, bytes, sizeof bytes);
}

static void put32(struct mg_buf *out, uint32_t v)
{
    put16(out, v & 0xffff);
    put16(out, v >> 16);
}

/* What local headers and the directory say alike: flags to the length of the name. */
static void put_common(struct mg_buf *out, const struct member *m)
{
    put16(out, VERSION);
    put16(out, UTF8_NAMES);
    put16(out, m->method);
    put16(out, DOS_TIME);
    put16(out, DOS_DATE);
    put32(out, m->crc);
    put32(out, m->packed);
    put32(out, m->bytes);
    put16(out, (unsigned)strlen(m->name));
    put16(out, 0); /* extra */
}

static void put_local(struct mg_buf *out, const struct member *m)
{
    put32(out, 0x04034b50);
    put_common(out, m);
    mg_buf_str(out, m->name);
}

static void put_directory(struct mg_buf *out, const struct member *members, size_t n)
{
    size_t begin = out->len;
    for (size_t i = 0; i < n; i++) {
        put32(out, 0x02014b50);
        put16(out, MADE_BY);
        put_common(out, &members[i]);
        put16(out, 0);                  /* comment */
        put16(out, 0);                  /* disk */
        put16(out, 0);                  /* internal attributes */
        put32(out, (uint32_t)0100644 << 16); /* a plain file that all may read */
        put32(out, members[i].offset);
        mg_buf_str(out, members[i].name);
    }
    uint32_t bytes = (uint32_t)(out->len - begin);
    put32(out, 0x06054b50);
    put16(out, 0);
    put16(out, 0);
    put16(out, (unsigned)n);
    put16(out, (unsigned)n);
    put32(out, bytes);
    put32(out, (uint32_t)begin);
    put16(out, 0);
}

/* ---- names ------------------------------------------------------------------------------------------- */

/* Bytes of the UTF-8 sequence at `at`; 0 when it is none. */
static size_t sequence(const unsigned char *at)
{
    size_t n = at[0] < 0x80 ? 1 : at[0] >= 0xc2 && at[0] < 0xe0 ? 2 : at[0] >= 0xe0 && at[0] < 0xf0 ? 3
               : at[0] >= 0xf0 && at[0] < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < n; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    bool bad = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] >= 0xa0) ||
               (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] >= 0x90);
    return n > 1 && bad ? 0 : n;
}

/* Names of devices, which Windows opens whatever follows the dot. */
static bool is_device(const char *name)
{
    static const char *const devices[] = {"con", "prn", "aux", "nul"};
    size_t len = strcspn(name, ".");
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
        if (len == 3 && strncasecmp(name, devices[i], 3) == 0)
            return true;
    return len == 4 && (strncasecmp(name, "com", 3) == 0 || strncasecmp(name, "lpt", 3) == 0) && name[3] >= '1' &&
           name[3] <= '9';
}

static bool ends_with(const char *text, size_t len, const char *extension)
{
    size_t n = strlen(extension);
    return len > n + 1 && text[len - n - 1] == '.' && strncasecmp(text + len - n, extension, n) == 0;
}

/* A name that every system can unpack, within the folder that it is unpacked in. */
static void safe_stem(const char *name, const char *extension, char out[NAME_BYTES + 1])
{
    size_t len = strlen(name), n = 0;
    if (ends_with(name, len, extension))
        len -= strlen(extension) + 1;
    const unsigned char *at = (const unsigned char *)name, *end = at + len;
    while (at < end) {
        size_t bytes = sequence(at);
        if (n + (bytes ? bytes : 1) > NAME_BYTES - 1)
            break;
        if (bytes == 0 || (bytes == 1 && (*at < 0x20 || *at == 0x7f || strchr("/\\:*?\"<>|", *at)))) {
            out[n++] = '_';
            at++;
            continue;
        }
        memcpy(out + n, at, bytes);
        n += bytes;
        at += bytes;
    }
    while (n && (out[n - 1] == ' ' || out[n - 1] == '.'))
        n--;
    out[n] = '\0';
    if (!n)
        memcpy(out, "result", sizeof "result");
    else if (out[0] == '.')
        out[0] = '_';
    if (is_device(out)) {
        memmove(out + 1, out, strlen(out) + 1);
        out[0] = '_';
    }
}

static bool taken(const struct member *members, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcasecmp(members[i].name, name) == 0)
            return true;
    return false;
}

static void name_member(struct member *members, size_t i, const char *name, const char *extension)
{
    char stem[NAME_BYTES + 1];
    safe_stem(name, extension, stem);
    snprintf(members[i].name, sizeof members[i].name, "%s.%s", stem, extension);
    for (unsigned k = 2; taken(members, i, members[i].name); k++)
        snprintf(members[i].name, sizeof members[i].name, "%s-%u.%s", stem, k, extension);
}

/* ---- members ----------------------------------------------------------------------------------------- */

static enum mg_err encode_member(const struct mg_codec_job *job, const struct mg_value *value,
                                 const struct mg_codec **codec, struct mg_buf *out, struct mg_errmsg *err)
{
    static const struct mg_wish none;
    struct mg_wish wish;
    struct mg_option_value options[MG_MAX_OPTIONS];
    bool by_accept;
    mg_codec_member_wish(job->wish ? job->wish : &none, &wish);
    enum mg_err e = mg_codec_pick(&wish, value, job->tile != NULL, codec, &by_accept, err);
    if (e)
        return e;
    MG_ASSERT(mg_option_count(*codec) <= MG_MAX_OPTIONS);
    mg_option_defaults(*codec, options);
    if (job->options_of && (e = job->options_of(job->context, *codec, options, err)))
        return e;
    struct mg_codec_job own = *job;
    own.value = value;
    own.options = options;
    return mg_encode(*codec, &own, out, err);
}

/* Appends the local header and the bytes, deflated where that pays. */
static enum mg_err put_member(struct member *m, struct mg_span body, struct mg_buf *out, struct mg_errmsg *err)
{
    if (body.len > UINT32_MAX || out->len > UINT32_MAX)
        return mg_err_set(err, MG_E_UDF_OUTPUT, "a zip of more than 4 GB is not made");
    m->crc = mg_crc32(0, body.data, body.len);
    m->bytes = m->packed = (uint32_t)body.len;
    m->offset = (uint32_t)out->len;
    m->method = DEFLATED;
    put_local(out, m);
    if (out->failed)
        return mg_buf_status(out, err);
    size_t begin = out->len;
    enum mg_err e = mg_deflate_begin(LEVEL, MG_WRAP_NONE, err);
    if (e)
        return e;
    mg_deflate_put(out, body.data, body.len, true);
    if (out->failed && !out->over_limit)
        return mg_buf_status(out, err);
    if (out->failed || out->len - begin > body.len - body.len / 50) { /* already compressed */
        out->failed = out->over_limit = false;
        out->len = begin;
        m->method = STORED;
        mg_buf_put(out, body.data, body.len);
    }
    if (out->failed)
        return mg_buf_status(out, err);
    m->packed = (uint32_t)(out->len - begin);
    /* The header again, now that the size is known. */
    struct mg_buf header;
    mg_buf_init(&header, 0);
    put_local(&header, m);
    if (!header.failed)
        memcpy(out->data + m->offset, header.data, header.len);
    e = mg_buf_status(&header, err);
    mg_buf_fini(&header);
    return e;
}

static enum mg_err zip_encode(const struct mg_codec_job *job, struct mg_buf *out, struct mg_errmsg *err)
{
    const struct mg_value *value = job->value;
    size_t n = value->n_named;
    enum mg_err e = MG_OK;
    if (n > MAX_MEMBERS)
        return mg_err_set(err, MG_E_NOT_ACCEPTABLE, "a zip holds at most %d results, and there are %zu", MAX_MEMBERS, n);
    struct member *members = calloc(n ? n : 1, sizeof *members);
    if (!members)
        return mg_err_set(err, MG_E_NOMEM, "no memory for %zu results", n);
    for (size_t i = 0; i < n && !e; i++) {
        const struct mg_codec *codec;
        struct mg_buf body;
        mg_buf_init(&body, out->max_bytes);
        e = encode_member(job, value->named[i].value, &codec, &body, err);
        if (e)
            mg_err_prefix(err, e, "result \"%.60s\"", value->named[i].name);
        if (!e) {
            name_member(members, i, value->named[i].name, codec->extension);
            e = put_member(&members[i], (struct mg_span){body.data ? body.data : "", body.len}, out, err);
        }
        mg_buf_fini(&body);
    }
    if (!e)
        put_directory(out, members, n);
    free(members);
    return e;
}

const struct mg_codec mg_codec_zip[] = {
    {.name = "zip",
     .mime = "application/zip",
     .extension = "zip",
     .shapes = MG_SHAPE_NAMED,
     .any_named = true,
     .encode = zip_encode},
    {0},
};
