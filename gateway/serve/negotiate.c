/* Small parsers over header values; each reads its value once and allocates nothing. */
#include "negotiate.h"

static struct mg_span trim(struct mg_span s)
{
    while (s.len && (*s.data == ' ' || *s.data == '\t'))
        s.data++, s.len--;
    while (s.len && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* Digits to a number that stays at its largest value when there are too many. False: none, or something else. */
static bool number(struct mg_span text, uint64_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        unsigned digit = (unsigned)(text.data[i] - '0');
        value = value > (UINT64_MAX - digit) / 10 ? UINT64_MAX : value * 10 + digit;
    }
    *out = value;
    return text.len > 0;
}

enum mg_range mg_range_parse(struct mg_span value, uint64_t size, uint64_t *first, uint64_t *last)
{
    value = trim(value);
    if (value.len < 6 || strncasecmp(value.data, "bytes=", 6) != 0)
        return MG_RANGE_WHOLE;
    struct mg_span end = trim((struct mg_span){value.data + 6, value.len - 6}), begin;
    uint64_t a, b = UINT64_MAX;
    if (!memchr(end.data, '-', end.len))
        return MG_RANGE_WHOLE;
    mg_span_cut(&end, '-', &begin);
    bool has_end = end.len > 0;
    if (has_end && !number(end, &b))
        return MG_RANGE_WHOLE;
    if (!begin.len) { /* the last b bytes */
        if (!has_end)
            return MG_RANGE_WHOLE;
        if (b == 0 || size == 0)
            return MG_RANGE_OUTSIDE;
        *first = b >= size ? 0 : size - b;
        *last = size - 1;
        return MG_RANGE_PART;
    }
    if (!number(begin, &a) || a > b)
        return MG_RANGE_WHOLE;
    if (a >= size)
        return MG_RANGE_OUTSIDE;
    *first = a;
    *last = b >= size ? size - 1 : b;
    return MG_RANGE_PART;
}

/* Whether the parameters behind a coding forbid it: a q of 0, 0.0 … */
static bool is_zero_q(struct mg_span parameters)
{
    struct mg_span item;
    while (mg_span_cut(&parameters, ';', &item)) {
        item = trim(item);
        if (item.len < 3 || (item.data[0] | 0x20) != 'q' || item.data[1] != '=')
            continue;
        for (size_t i = 2; i < item.len; i++)
            if (item.data[i] >= '1' && item.data[i] <= '9')
                return false;
        return true;
    }
    return false;
}

bool mg_accepts_gzip(struct mg_span list)
{
    struct mg_span item;
    bool any = false;
    while (mg_span_cut(&list, ',', &item)) {
        struct mg_span parameters = item, coding;
        mg_span_cut(&parameters, ';', &coding);
        coding = trim(coding);
        if ((coding.len == 4 && strncasecmp(coding.data, "gzip", 4) == 0) ||
            (coding.len == 6 && strncasecmp(coding.data, "x-gzip", 6) == 0))
            return !is_zero_q(parameters); /* what is named counts more than "*" */
        if (mg_span_is(coding, "*"))
            any = !is_zero_q(parameters);
    }
    return any;
}

/* The weight of parameters, in thousandths: 1000 without one, 0 for what is malformed. */
static unsigned weight_of(struct mg_span parameters)
{
    struct mg_span item;
    while (mg_span_cut(&parameters, ';', &item)) {
        item = trim(item);
        if (item.len < 3 || (item.data[0] | 0x20) != 'q' || item.data[1] != '=')
            continue;
        unsigned weight = 0, scale = 100;
        if (item.data[2] == '1')
            return 1000;
        if (item.data[2] != '0' || (item.len > 3 && item.data[3] != '.'))
            return 0;
        for (size_t i = 4; i < item.len && item.data[i] >= '0' && item.data[i] <= '9'; i++, scale /= 10)
            weight += scale * (unsigned)(item.data[i] - '0');
        return weight;
    }
    return 1000;
}

/* The type of an item of Accept; its weight. */
static struct mg_span media_type(struct mg_span item, unsigned *weight)
{
    struct mg_span parameters = item, type;
    if (!mg_span_cut(&parameters, ';', &type))
        type = (struct mg_span){"", 0};
    *weight = weight_of(parameters);
    return trim(type);
}

static bool is_type(const char *mime, struct mg_span type)
{
    return type.len && strncasecmp(mime, type.data, type.len) == 0 && (mime[type.len] == 0 || mime[type.len] == ';');
}

size_t mg_accepts_formats(struct mg_span accept, const struct mg_codec **out, size_t max)
{
    unsigned weights[16], weight;
    size_t n = 0;
    struct mg_span item;
    max = max < 16 ? max : 16;
    while (mg_span_cut(&accept, ',', &item)) {
        struct mg_span type = media_type(item, &weight);
        const struct mg_codec *codec;
        for (size_t i = 0; (codec = mg_codec_at(i)) && !is_type(codec->mime, type); i++)
            ;
        for (size_t i = 0; codec && i < n; i++)
            if (out[i] == codec)
                codec = NULL;
        if (!codec || weight == 0 || n == max)
            continue;
        size_t at = n++;
        for (; at > 0 && weights[at - 1] < weight; at--) {
            weights[at] = weights[at - 1];
            out[at] = out[at - 1];
        }
        weights[at] = weight;
        out[at] = codec;
    }
    return n;
}

bool mg_accepts_html_first(struct mg_span accept)
{
    unsigned html = 0, json = 0, weight;
    struct mg_span item;
    while (mg_span_cut(&accept, ',', &item)) {
        struct mg_span type = media_type(item, &weight);
        if (is_type("text/html", type) && weight > html)
            html = weight;
        else if (is_type("application/json", type) && weight > json)
            json = weight;
    }
    return html > json;
}

bool mg_etag_listed(struct mg_span list, const char *etag)
{
    if (!list.len || !etag[0])
        return false;
    if (mg_span_is(trim(list), "*"))
        return true;
    struct mg_span item;
    while (mg_span_cut(&list, ',', &item)) { /* none of our tags has a comma */
        item = trim(item);
        if (item.len > 2 && item.data[0] == 'W' && item.data[1] == '/')
            item = (struct mg_span){item.data + 2, item.len - 2};
        if (mg_span_is(item, etag))
            return true;
    }
    return false;
}
