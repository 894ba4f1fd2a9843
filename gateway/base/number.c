/* Numbers as text: integers, and the shortest decimal of a double that reads back exactly.
 *
 * A value of at most 15 significant digits and 9 decimals is found by integers: with r = round(v *
 * 10^k) below 2^53, r and 10^k are exact doubles, so r / 10^k is the correctly rounded value of
 * that decimal; where it equals v the decimal reads back as v, and decimals of up to 15 digits are
 * unique. Everything else tries 15, 16 and 17 digits. Cost: about 20 ns on the first path, 1 us on
 * the second. */
#include "moongate/buf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Writes `value` in decimal so that it ends before `end`; gives its first character. */
static char *digits_before(char *end, uint64_t value)
{
    static const char pairs[] =
        "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
        "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
        "8081828384858687888990919293949596979899";
    while (value >= 100) {
        end -= 2;
        memcpy(end, pairs + value % 100 * 2, 2);
        value /= 100;
    }
    if (value >= 10) {
        end -= 2;
        memcpy(end, pairs + value * 2, 2);
    } else {
        *--end = (char)('0' + value);
    }
    return end;
}

void mg_buf_int(struct mg_buf *buf, int64_t value)
{
    char text[24], *end = text + sizeof text;
    char *at = digits_before(end, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
    if (value < 0)
        *--at = '-';
    mg_buf_put(buf, at, (size_t)(end - at));
}

/* |value| as digits with `decimals` of them behind the point, none of them a trailing zero. */
static void put_fixed(struct mg_buf *buf, bool negative, uint64_t scaled, int decimals)
{
    while (decimals > 0 && scaled % 10 == 0) {
        scaled /= 10;
        decimals--;
    }
    char text[40], *end = text + sizeof text;
    char *at = digits_before(end, scaled);
    if (decimals > 0) {
        while (end - at <= decimals)
            *--at = '0';
        char *point = end - decimals;
        memmove(at - 1, at, (size_t)(point - at));
        at--;
        point[-1] = '.';
    }
    if (negative)
        *--at = '-';
    mg_buf_put(buf, at, (size_t)(end - at));
}

/* To the nearest whole number below 2^51: what is behind the point falls off the mantissa. No call of nearbyint(). */
static double round_whole(double v)
{
    const double magic = 6755399441055744.0; /* 3 * 2^51 */
    return v < 2251799813685248.0 ? (v + magic) - magic : v;
}

static bool put_short(struct mg_buf *buf, double value)
{
    /* Few decimals first: they are common, and each try is one multiplication and one division. */
    static const double tens[] = {1e2, 1e5, 1e9};
    static const int decimals[] = {2, 5, 9};
    double size = fabs(value);
    if (size >= 1e15)
        return false;
    uint64_t whole = (uint64_t)size;
    if ((double)whole == size) {
        put_fixed(buf, value < 0, whole, 0);
        return true;
    }
    for (int i = 0; i < 3; i = i ? 3 : size < 1e6 ? 2 : 1) {
        double scaled = round_whole(size * tens[i]);
        if (scaled >= 1e15)
            return false;
        if (scaled / tens[i] == size) {
            put_fixed(buf, value < 0, (uint64_t)scaled, decimals[i]);
            return true;
        }
    }
    return false;
}

/* The shortest decimal within the rounding interval of `size`; of several the nearest. */
static bool put_exact(struct mg_buf *buf, bool negative, double size)
{
    static const uint64_t tens[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000,
                                    10000000000, 100000000000, 1000000000000, 10000000000000, 100000000000000,
                                    1000000000000000, 10000000000000000, 100000000000000000, 1000000000000000000};
    if (!(size >= 1e-4 && size < 1e15)) /* else 10^k times a mantissa leaves 128 bits */
        return false;
    uint64_t bits;
    memcpy(&bits, &size, 8);
    uint64_t mantissa = (bits & ((UINT64_C(1) << 52) - 1)) | UINT64_C(1) << 52;
    int exponent = (int)(bits >> 52) - 1075; /* size = mantissa * 2^exponent, normal in this range */
    /* k so that size * 10^k has 17 digits (or 18). */
    int k = 16 - (int)floor((exponent + 52) * 0.30102999566398120);
    unsigned __int128 ten = (unsigned __int128)tens[k < 18 ? k : 18] * tens[k < 18 ? 0 : k - 18];
    /* In units of 2^(exponent - 2): the value and its neighbours' halves, nearer below a power of two. */
    unsigned __int128 value = ten * mantissa * 4, above = ten * 2;
    unsigned __int128 below = mantissa == UINT64_C(1) << 52 ? ten : ten * 2;
    int shift = 2 - exponent;
    unsigned __int128 one = (unsigned __int128)1 << shift;
    bool closed = !(mantissa & 1); /* the ends themselves round to an even mantissa */
    uint64_t low = (uint64_t)((value - below + (closed ? one - 1 : one)) >> shift);
    uint64_t high = (uint64_t)((value + above - (closed ? 0 : 1)) >> shift);
    uint64_t unit = 1, best = (uint64_t)((value + one / 2) >> shift);
    if (low > high)
        return false;
    if (high / 10 * 10 >= low) { /* by a constant: most need all 17 digits */
        unit = 10;
        for (int i = 2; i < 18 && high / tens[i] * tens[i] >= low; i++)
            unit = tens[i];
    }
    if (unit > 1) {
        uint64_t down = best / unit * unit, up = down + unit;
        bool down_fits = down >= low, up_fits = up <= high;
        if (down_fits && up_fits)
            best = best - down <= up - best ? down : up;
        else
            best = down_fits ? down : up;
    }
    put_fixed(buf, negative, best, k);
    return true;
}

void mg_buf_double(struct mg_buf *buf, double value)
{
    if (!isfinite(value)) {
        mg_buf_put(buf, "null", 4);
        return;
    }
    if (value == 0) {
        mg_buf_str(buf, signbit(value) ? "-0" : "0");
        return;
    }
    if (put_short(buf, value) || put_exact(buf, value < 0, fabs(value)))
        return;
    char text[40];
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, value);
        if (precision == 17 || strtod(text, NULL) == value)
            break;
    }
    mg_buf_str(buf, text);
}
