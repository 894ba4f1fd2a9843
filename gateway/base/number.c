/* Numbers as text: integers, and the shortest decimal of a double that reads back exactly.
 *
 * A value of at most 15 significant digits and 2 (or 5) decimals is found by integers: with r = round(v *
 * 10^k) below 10^15, r and 10^k are exact doubles, so r / 10^k is the correctly rounded value of that
 * decimal; where it equals v the decimal reads back as v, and decimals of up to 15 digits are unique.
 * Everything else goes by Schubfach (R. Giulietti, "The Schubfach way to render doubles", 2020): three
 * products with a power of ten in 128 bits. Written as ECMAScript writes a number: plain from 1e-6 to 1e21,
 * else with an exponent; but -0 keeps its sign. Cost: an integer 3 ns, a double 10 ns by the first way and 30
 * by the second. */
#include "moongate/buf.h"

#include "powers_of_ten.h"

#include <math.h>

static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
                            "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
                            "8081828384858687888990919293949596979899";

/* Decimal digits of a value; 1 of 0. */
static inline int count_digits(uint64_t value)
{
    static const uint64_t tens[] = {0, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000,
                                    10000000000, 100000000000, 1000000000000, 10000000000000, 100000000000000,
                                    1000000000000000, 10000000000000000, 100000000000000000,
                                            1000000000000000000,
                                    10000000000000000000u};
    int guess = (64 - __builtin_clzll(value | 1)) * 1233 >> 12;
    return guess + 1 - (value < tens[guess]);
}

/* Writes `value` so that it ends before `end`. */
static inline void digits_before(char *end, uint64_t value)
{
    while (value >= 100) {
        end -= 2;
        memcpy(end, pairs + value % 100 * 2, 2);
        value /= 100;
    }
    if (value >= 10)
        memcpy(end - 2, pairs + value * 2, 2);
    else
        end[-1] = (char)('0' + value);
}

static inline size_t put_digits(uint64_t value, char *out)
{
    int n = count_digits(value);
    digits_before(out + n, value);
    return (size_t)n;
}

size_t mg_uint_text(uint64_t value, char out[MG_NUMBER_TEXT])
{
    return put_digits(value, out);
}

size_t mg_int_text(int64_t value, char out[MG_NUMBER_TEXT])
{
    *out = '-';
    return value < 0 ? 1 + put_digits(0 - (uint64_t)value, out + 1) : put_digits((uint64_t)value, out);
}

/* digits * 10^exponent; the digits do not end in 0. */
static size_t put_decimal(uint64_t digits, int exponent, char *out)
{
    int n = count_digits(digits), point = n + exponent; /* digits before the point */
    char *at = out;
    if (exponent >= 0 && point <= 21) {
        digits_before(at + n, digits);
        memset(at + n, '0', (size_t)exponent);
        return (size_t)point;
    }
    if (point > 0 && point <= 21) {
        digits_before(at + n + 1, digits); /* all one place to the right, then the integer part back */
        memmove(at, at + 1, (size_t)point);
        at[point] = '.';
        return (size_t)n + 1;
    }
    if (point <= 0 && point > -6) {
        memcpy(at, "0.000000", 8);
        digits_before(at + 2 - point + n, digits);
        return (size_t)(2 - point + n);
    }
    digits_before(at + n + 1, digits);
    at[0] = at[1];
    at[1] = '.';
    at += n > 1 ? n + 1 : 1;
    *at++ = 'e';
    *at++ = point > 0 ? '+' : '-';
    at += put_digits((uint64_t)(point > 0 ? point - 1 : 1 - point), at);
    return (size_t)(at - out);
}

/* To the nearest whole number below 2^51: what is behind the point falls off the mantissa. No call of
 * nearbyint(). */
static inline double round_whole(double v)
{
    const double magic = 6755399441055744.0; /* 3 * 2^51 */
    return v < 2251799813685248.0 ? (v + magic) - magic : v;
}

static inline uint64_t trimmed(uint64_t digits, int *exponent)
{
    while (digits % 100 == 0) {
        digits /= 100;
        *exponent += 2;
    }
    if (digits % 10 == 0) {
        digits /= 10;
        ++*exponent;
    }
    return digits;
}

/* Few decimals, which are common; 0 when it is none. */
static size_t put_short(double size, char *out)
{
    static const double tens[] = {1e2, 1e5};
    static const int decimals[] = {2, 5};
    for (int i = 0; i < 2; i++) {
        double scaled = round_whole(size * tens[i]);
        if (scaled >= 1e15)
            return 0;
        if (scaled / tens[i] == size) {
            int exponent = -decimals[i];
            uint64_t digits = trimmed((uint64_t)scaled, &exponent);
            return put_decimal(digits, exponent, out);
        }
    }
    return 0;
}

/* The upper 64 bits of a product, the lowest of them set when what is cut off was not (nearly) nothing. */
static inline uint64_t round_to_odd(const uint64_t power[2], uint64_t c)
{
    unsigned __int128 low = (unsigned __int128)power[1] * c;
    unsigned __int128 high = (unsigned __int128)power[0] * c + (uint64_t)(low >> 64);
    return (uint64_t)(high >> 64) | ((uint64_t)high > 1);
}

static inline int floor_log2_power(int k) /* floor(log2(10^k)) */
{
    return (k * 1741647) >> 19;
}

static size_t put_exact(double size, char *out)
{
    uint64_t bits;
    memcpy(&bits, &size, 8);
    uint64_t fraction = bits & ((UINT64_C(1) << 52) - 1), c;
    int biased = (int)(bits >> 52), q;
    c = biased ? fraction | UINT64_C(1) << 52 : fraction;
    q = (biased ? biased : 1) - 1075;
    bool near_below = fraction == 0 && biased > 1; /* the neighbour below is at half the distance */
    uint64_t odd = c & 1;
    int k = (q * 1262611 - (near_below ? 524031 : 0)) >> 22;
    int h = q + floor_log2_power(-k) + 1;
    const uint64_t *power = powers_of_ten[-k - POWER_MIN];
    uint64_t v = round_to_odd(power, 4 * c << h);
    uint64_t low = round_to_odd(power, (4 * c - 2 + near_below) << h) + odd;
    uint64_t high = round_to_odd(power, (4 * c + 2) << h) - odd;
    uint64_t s = v / 4, tenth = s / 10;
    if (s >= 10) {
        bool down = low <= 40 * tenth, up = 40 * tenth + 40 <= high;
        if (down != up) {
            k++;
            s = trimmed(tenth + up, &k);
            return put_decimal(s, k, out);
        }
    }
    bool down = low <= 4 * s, up = 4 * s + 4 <= high;
    if (down != up)
        s += up;
    else
        s += v > 4 * s + 2 || (v == 4 * s + 2 && (s & 1));
    s = trimmed(s, &k);
    return put_decimal(s, k, out);
}

size_t mg_double_text(double value, char out[MG_NUMBER_TEXT])
{
    double size = fabs(value);
    if (!(size < INFINITY)) {
        memcpy(out, "null", 4);
        return 4;
    }
    *out = '-';
    size_t sign = signbit(value) != 0;
    if (size < 1e15 && (double)(uint64_t)size == size)
        return sign + put_digits((uint64_t)size, out + sign);
    size_t n = size < 1e13 && size >= 1e-5 ? put_short(size, out + sign) : 0;
    return sign + (n ? n : put_exact(size, out + sign));
}

void mg_buf_int(struct mg_buf *buf, int64_t value)
{
    char text[MG_NUMBER_TEXT], *at = mg_buf_spare(buf, sizeof text);
    if (at)
        mg_buf_added(buf, mg_int_text(value, at));
    else
        mg_buf_put(buf, text, mg_int_text(value, text));
}

void mg_buf_double(struct mg_buf *buf, double value)
{
    char text[MG_NUMBER_TEXT], *at = mg_buf_spare(buf, sizeof text);
    if (at)
        mg_buf_added(buf, mg_double_text(value, at));
    else
        mg_buf_put(buf, text, mg_double_text(value, text));
}
