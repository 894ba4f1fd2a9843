/* Pack: type byte, then 8 little-endian bytes (a number or a length), then bytes. The machines that
 * we build for are little-endian; a static assert holds that. */
#include "moongate/pack.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "packed values are copied as they lie in memory");

static void put_number(struct mg_buf *out, char type, const void *eight)
{
    char bytes[9] = {type};
    memcpy(bytes + 1, eight, 8);
    mg_buf_put(out, bytes, sizeof bytes);
}

void mg_pack_nil(struct mg_buf *out)
{
    mg_buf_char(out, 'n');
}

void mg_pack_bool(struct mg_buf *out, bool value)
{
    mg_buf_put(out, (char[]){'b', value}, 2);
}

void mg_pack_int(struct mg_buf *out, int64_t value)
{
    put_number(out, 'i', &value);
}

void mg_pack_double(struct mg_buf *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (value != value)
        bits = UINT64_C(0x7FF8000000000000);
    else if (value == 0)
        bits = 0;
    put_number(out, 'd', &bits);
}

void mg_pack_bytes(struct mg_buf *out, const void *data, size_t len)
{
    uint64_t n = len;
    /* Length and bytes go in whole or not at all. */
    if (len > SIZE_MAX - 16 || !mg_buf_room(out, 9 + len)) {
        out->failed = true;
        return;
    }
    put_number(out, 's', &n);
    mg_buf_put(out, data, len);
}

void mg_pack_str(struct mg_buf *out, const char *text)
{
    if (text)
        mg_pack_bytes(out, text, strlen(text));
    else
        mg_pack_nil(out);
}

void mg_unpack_init(struct mg_unpack *in, const void *data, size_t len)
{
    static const uint8_t nothing;
    const uint8_t *at = data ? data : &nothing;
    *in = (struct mg_unpack){.at = at, .end = at + (data ? len : 0)};
}

char mg_unpack_peek(const struct mg_unpack *in)
{
    return in->failed || in->at == in->end ? 0 : (char)*in->at;
}

static bool take(struct mg_unpack *in, char type, void *out, size_t n)
{
    if (mg_unpack_peek(in) != type || (size_t)(in->end - in->at) < 1 + n) {
        in->failed = true;
        return false;
    }
    if (n)
        memcpy(out, in->at + 1, n);
    in->at += 1 + n;
    return true;
}

bool mg_unpack_bool(struct mg_unpack *in)
{
    uint8_t value = 0;
    if (take(in, 'b', &value, 1) && value > 1)
        in->failed = true;
    return value == 1;
}

int64_t mg_unpack_int(struct mg_unpack *in)
{
    int64_t value = 0;
    take(in, 'i', &value, sizeof value);
    return value;
}

double mg_unpack_double(struct mg_unpack *in)
{
    double value = 0;
    take(in, 'd', &value, sizeof value);
    return value;
}

struct mg_span mg_unpack_bytes(struct mg_unpack *in)
{
    uint64_t n = 0;
    if (mg_unpack_peek(in) == 'n') {
        in->at++;
        return (struct mg_span){NULL, 0};
    }
    if (!take(in, 's', &n, sizeof n))
        return (struct mg_span){NULL, 0};
    if (n > (uint64_t)(in->end - in->at)) {
        in->failed = true;
        return (struct mg_span){NULL, 0};
    }
    struct mg_span span = {(const char *)in->at, (size_t)n};
    in->at += n;
    return span;
}

bool mg_unpack_skip(struct mg_unpack *in)
{
    switch (mg_unpack_peek(in)) {
    case 'n':
        in->at++;
        break;
    case 'b':
        mg_unpack_bool(in);
        break;
    case 'i':
        mg_unpack_int(in);
        break;
    case 'd':
        mg_unpack_double(in);
        break;
    case 's':
        mg_unpack_bytes(in);
        break;
    default:
        in->failed = true;
    }
    return !in->failed;
}

bool mg_unpack_str(struct mg_unpack *in, char *out, size_t size)
{
    struct mg_span span = mg_unpack_bytes(in);
    if (in->failed || !size || span.len >= size || (span.len && memchr(span.data, 0, span.len))) {
        in->failed = true;
        if (size)
            out[0] = '\0';
        return false;
    }
    if (span.len)
        memcpy(out, span.data, span.len);
    out[span.len] = '\0';
    return true;
}

size_t mg_unpack_count(struct mg_unpack *in, size_t max)
{
    int64_t n = mg_unpack_int(in);
    if (n < 0 || (uint64_t)n > max) {
        in->failed = true;
        return 0;
    }
    return (size_t)n;
}

bool mg_unpack_done(const struct mg_unpack *in)
{
    return !in->failed && in->at == in->end;
}
