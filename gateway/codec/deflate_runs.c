/* Deflate (RFC 1951) without a search: one block of Huffman codes of its own, and runs of one byte as matches at
 * distance 1.
 *
 * For the filtered rows of a map tile, where a search finds next to nothing: entropy coding alone gives the same bytes
 * (within 3 %) in half of the time. Codes have at most 11 bits, so that four literals fit into a word beside seven
 * waiting bits. Runs are found eight bytes at a time and are at least that long. Measured for 66 kB: 10 us nearly
 * empty, 60 us noise; 5 us of it make the code. */
#include "deflate.h"

#include <isa-l/igzip_lib.h>

enum {
    LITERALS = 256, END = 256, SYMBOLS = 286, MAX_BITS = 11, MAX_RUN = 258, WORD = 8,
    LENGTH_SYMBOLS = 19, MAX_LENGTH_BITS = 7,
    CELLS = 1024, /* of the look for repeats */
};

/* Bits go in from the low end; whole bytes are stored, the rest waits. */
struct bits {
    uint8_t *at;
    uint64_t word;
    unsigned n;
};

static void flush(struct bits *b)
{
    memcpy(b->at, &b->word, WORD); /* little endian, as all machines that this is built for */
    b->at += b->n >> 3;
    b->word >>= b->n & ~7u;
    b->n &= 7;
}

static void put(struct bits *b, uint64_t value, unsigned n)
{
    b->word |= value << b->n;
    b->n += n;
}

static unsigned run_symbol(unsigned len, unsigned *extra, unsigned *n_extra)
{
    if (len == MAX_RUN) {
        *extra = *n_extra = 0;
        return 285;
    }
    unsigned v = len - 3, top = v < 8 ? 0 : 29 - (unsigned)__builtin_clz(v); /* RFC 1951, 3.2.5 */
    *n_extra = top;
    *extra = v & ((1u << top) - 1);
    return 257 + (top << 2) + (v >> top);
}

/* ---- Codes ---------------------------------------------------------------------------------------------------- */

struct code {
    uint16_t bits[SYMBOLS];
    uint8_t len[SYMBOLS];
};

/* Lengths of a Huffman code from sorted counts, in place (Moffat and Katajainen 1995): `a` holds the counts in
 * ascending order, then the lengths in descending order. */
static void minimum_redundancy(uint32_t *a, int n)
{
    int leaf = 2, root = 0, next;
    a[0] += a[1];
    for (next = 1; next < n - 1; next++) {
        a[next] = leaf >= n || a[root] < a[leaf] ? a[root] : a[leaf];
        if (leaf >= n || a[root] < a[leaf])
            a[root++] = (uint32_t)next;
        else
            leaf++;
        if (leaf >= n || (root < next && a[root] < a[leaf])) {
            a[next] += a[root];
            a[root++] = (uint32_t)next;
        } else {
            a[next] += a[leaf++];
        }
    }
    a[n - 2] = 0;
    for (next = n - 3; next >= 0; next--)
        a[next] = a[a[next]] + 1;
    int available = 1, used = 0;
    uint32_t depth = 0;
    root = n - 2;
    next = n - 1;
    while (available > 0) {
        while (root >= 0 && a[root] == depth) {
            used++;
            root--;
        }
        while (available > used) {
            a[next--] = depth;
            available--;
        }
        available = 2 * used;
        depth++;
        used = 0;
    }
}

/* Codes of at most `max` bits for the symbols that occur; there must be two of them. */
static void make_code(const uint32_t *counts, int n_symbols, int max, uint16_t *bits, uint8_t *lens)
{
    uint64_t order[SYMBOLS]; /* count, then symbol: sorted by one comparison */
    uint32_t a[SYMBOLS], per_len[16] = {0}, next[16];
    int n = 0;
    memset(lens, 0, (size_t)n_symbols);
    for (int i = 0; i < n_symbols; i++)
        if (counts[i])
            order[n++] = (uint64_t)counts[i] << 16 | (unsigned)i;
    MG_ASSERT(n >= 2);
    for (int gap = n > 40 ? 57 : 1; gap; gap = gap > 4 ? gap * 4 / 9 : gap > 1 ? 1 : 0)
        for (int i = gap; i < n; i++) {
            uint64_t one = order[i];
            int k = i;
            for (; k >= gap && order[k - gap] > one; k -= gap)
                order[k] = order[k - gap];
            order[k] = one;
        }
    for (int i = 0; i < n; i++)
        a[i] = (uint32_t)(order[i] >> 16);
    minimum_redundancy(a, n);
    /* Too long codes are cut. What that oversubscribes is paid by the longest codes that can still grow; change goes to
     * the longest that fit. A code that is not full is refused by readers. */
    uint32_t used = 0;
    for (int i = 0; i < n; i++) {
        uint32_t len = a[i] > (uint32_t)max ? (uint32_t)max : a[i];
        per_len[len]++;
        used += 1u << ((uint32_t)max - len);
    }
    while (used > 1u << max) {
        int len = max - 1;
        while (!per_len[len])
            len--;
        per_len[len]--;
        per_len[len + 1]++;
        used -= 1u << (max - len - 1);
    }
    while (used < 1u << max) {
        int len = max;
        while (!per_len[len])
            len--;
        per_len[len]--;
        per_len[len - 1]++;
        used += 1u << (max - len);
    }
    for (int len = max, i = 0; len > 0; len--)
        for (uint32_t k = 0; k < per_len[len]; k++)
            lens[order[i++] & 0xffff] = (uint8_t)len;
    uint32_t code = 0;
    next[0] = 0;
    for (int len = 1; len <= max; len++)
        next[len] = code = (code + (len > 1 ? per_len[len - 1] : 0)) << 1;
    for (int i = 0; i < n_symbols; i++) {
        uint32_t v = lens[i] ? next[lens[i]]++ : 0, turned = 0;
        for (int k = 0; k < lens[i]; k++)
            turned |= (v >> k & 1) << (lens[i] - 1 - k);
        bits[i] = (uint16_t)turned;
    }
}

/* The head of a dynamic block: the lengths of the codes, themselves coded (RFC 1951, 3.2.7). */
static void put_head(struct bits *b, const struct code *code, bool last)
{
    static const uint8_t order[LENGTH_SYMBOLS] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    uint8_t symbols[SYMBOLS + 1], extra[SYMBOLS + 1], all[SYMBOLS + 1];
    uint32_t counts[LENGTH_SYMBOLS] = {0};
    int n_codes = SYMBOLS, n = 0;
    while (n_codes > END + 1 && code->len[n_codes - 1] == 0)
        n_codes--;
    memcpy(all, code->len, (size_t)n_codes);
    all[n_codes] = 1; /* the one distance code, of one bit */
    for (int i = 0, same; i <= n_codes; i += same) {
        for (same = 1; i + same <= n_codes && all[i + same] == all[i];)
            same++;
        if (all[i] == 0 && same >= 3) {
            same = same > 138 ? 138 : same;
            symbols[n] = same > 10 ? 18 : 17;
            extra[n] = (uint8_t)(same - (same > 10 ? 11 : 3));
        } else if (i > 0 && all[i] == all[i - 1] && same >= 3) {
            same = same > 6 ? 6 : same;
            symbols[n] = 16;
            extra[n] = (uint8_t)(same - 3);
        } else {
            same = 1;
            symbols[n] = all[i];
            extra[n] = 0;
        }
        counts[symbols[n++]]++;
    }
    int kinds = 0;
    for (int i = 0; i < LENGTH_SYMBOLS; i++)
        kinds += counts[i] != 0;
    if (kinds < 2)
        counts[counts[0] ? 1 : 0] = 1; /* a code needs two */
    uint16_t bits[LENGTH_SYMBOLS];
    uint8_t lens[LENGTH_SYMBOLS];
    make_code(counts, LENGTH_SYMBOLS, MAX_LENGTH_BITS, bits, lens);
    int n_lens = LENGTH_SYMBOLS;
    while (n_lens > 4 && lens[order[n_lens - 1]] == 0)
        n_lens--;
    put(b, (last ? 1 : 0) | 2 << 1, 3);
    put(b, (uint64_t)(n_codes - 257), 5);
    put(b, 0, 5);
    put(b, (uint64_t)(n_lens - 4), 4);
    flush(b);
    for (int i = 0; i < n_lens; i++) {
        put(b, lens[order[i]], 3);
        flush(b);
    }
    for (int i = 0; i < n; i++) {
        put(b, bits[symbols[i]], lens[symbols[i]]);
        if (symbols[i] >= 16)
            put(b, extra[i], symbols[i] == 16 ? 2 : symbols[i] == 17 ? 3 : 7);
        flush(b);
    }
}

/* ---- Runs and literals ---------------------------------------------------------------------------------------- */

static uint64_t load(const uint8_t *at)
{
    uint64_t v;
    memcpy(&v, at, WORD);
    return v;
}

/* Bytes from `at` on that equal the one before it. */
static size_t run_at(const uint8_t *at, const uint8_t *end)
{
    const uint8_t *p = at;
    while (p + WORD <= end) {
        uint64_t differ = load(p) ^ load(p - 1);
        if (differ)
            return (size_t)(p - at) + (size_t)__builtin_ctzll(differ) / 8;
        p += WORD;
    }
    while (p < end && p[0] == p[-1])
        p++;
    return (size_t)(p - at);
}

/* The next step of a run: never leaves a rest of one or two, which has no code. */
static unsigned run_step(size_t left)
{
    return left <= MAX_RUN ? (unsigned)left : left - MAX_RUN >= 3 ? MAX_RUN : MAX_RUN - 3;
}

/* Four tables: neighbours are often equal, and a counter is not ready for its next count at once. */
struct counts {
    uint32_t of[4][LITERALS];
    uint32_t runs[SYMBOLS];
};

static void count(struct counts *c, const uint8_t *data, size_t len)
{
    const uint8_t *at = data, *end = data + len;
    if (at < end)
        c->of[0][*at++]++;
    while (at + WORD <= end) {
        uint64_t v = load(at);
        if (v == load(at - 1)) {
            size_t run = run_at(at, end);
            at += run;
            while (run) {
                unsigned step = run_step(run), extra, n_extra;
                c->runs[run_symbol(step, &extra, &n_extra)]++;
                run -= step;
            }
            continue;
        }
        for (int i = 0; i < WORD; i++, v >>= 8)
            c->of[i & 3][v & 255]++;
        at += WORD;
    }
    while (at < end)
        c->of[0][*at++]++;
}

static void put_literal(struct bits *b, uint32_t entry) { put(b, entry & 0xffff, entry >> 16); }

static void put_all(struct bits *b, const struct code *code, const uint8_t *data, size_t len)
{
    uint32_t table[LITERALS]; /* code, and its length above */
    for (int i = 0; i < LITERALS; i++)
        table[i] = code->bits[i] | (uint32_t)code->len[i] << 16;
    const uint8_t *at = data, *end = data + len;
    if (at < end)
        put_literal(b, table[*at++]);
    flush(b);
    while (at + WORD <= end) {
        uint64_t v = load(at);
        if (v == load(at - 1)) {
            size_t run = run_at(at, end);
            at += run;
            while (run) {
                unsigned step = run_step(run), extra, n_extra, symbol = run_symbol(step, &extra, &n_extra);
                put(b, code->bits[symbol], code->len[symbol]);
                put(b, extra, n_extra + 1); /* and the distance's code, one bit of 0 */
                flush(b);
                run -= step;
            }
            continue;
        }
        /* Two literals each are joined before they wait for the word. */
        for (int half = 0; half < 2; half++, v >>= 32) {
            uint32_t e0 = table[v & 255], e1 = table[v >> 8 & 255], e2 = table[v >> 16 & 255], e3 = table[v >> 24 & 255];
            uint64_t low = (e0 & 0xffff) | (uint64_t)(e1 & 0xffff) << (e0 >> 16);
            uint64_t high = (e2 & 0xffff) | (uint64_t)(e3 & 0xffff) << (e2 >> 16);
            unsigned n = (e0 >> 16) + (e1 >> 16);
            put(b, low | high << n, n + (e2 >> 16) + (e3 >> 16));
            flush(b);
        }
        at += WORD;
    }
    while (at < end) {
        put_literal(b, table[*at++]);
        flush(b);
    }
    put(b, code->bits[END], code->len[END]);
    flush(b);
}

/* ---- The stream ----------------------------------------------------------------------------------------------- */

void mg_deflate_runs(struct mg_buf *out, const uint8_t *data, size_t len)
{
    struct counts counts = {0};
    struct code code;
    count(&counts, data, len);
    uint32_t *all = counts.runs;
    for (int i = 0; i < LITERALS; i++)
        all[i] = counts.of[0][i] + counts.of[1][i] + counts.of[2][i] + counts.of[3][i];
    all[END] = 1;
    if (len == 0)
        all[0] = 1; /* a code needs two symbols */
    make_code(all, SYMBOLS, MAX_BITS, code.bits, code.len);
    uint64_t bits = 3 + 14 + LENGTH_SYMBOLS * 3 + (SYMBOLS + 1) * (uint64_t)(MAX_LENGTH_BITS + 7);
    for (int i = 0; i < SYMBOLS; i++)
        bits += (uint64_t)all[i] * (code.len[i] + (i > END ? 6u : 0u));
    uint8_t *room = (uint8_t *)mg_buf_room(out, 2 + bits / 8 + 4 + 2 * WORD);
    if (!room)
        return;
    room[0] = 0x78; /* zlib (RFC 1950): deflate, a window of 32 kB; fastest */
    room[1] = 0x01;
    struct bits b = {.at = room + 2};
    put_head(&b, &code, true);
    put_all(&b, &code, data, len);
    b.at += b.n ? 1 : 0;
    uint32_t sum = __builtin_bswap32(isal_adler32(1, data, len));
    memcpy(b.at, &sum, sizeof sum);
    out->len += (size_t)(b.at + sizeof sum - room);
    out->data[out->len] = '\0';
}

bool mg_deflate_repeats(const uint8_t *data, size_t len, size_t row)
{
    enum { STRIPS = 4 };
    size_t strip = row * 4 > 1024 ? row * 4 : 1024, matched = 0, looked = 0;
    uint32_t last[CELLS];
    if (strip * STRIPS > len)
        strip = len / STRIPS;
    for (size_t s = 0; s < STRIPS; s++) {
        /* Spread from the first to the last; a cell holds the place after the strip's begin, plus 1. */
        const uint8_t *from = data + (len - strip) * s / (STRIPS - 1);
        memset(last, 0, sizeof last);
        for (size_t i = 1; i + WORD <= strip;) {
            uint64_t v = load(from + i);
            if (v == load(from + i - 1)) {
                i += run_at(from + i, from + strip);
                continue;
            }
            uint32_t cell = (uint32_t)(((uint32_t)v * 2654435761u) >> 22);
            size_t before = last[cell];
            last[cell] = (uint32_t)i + 1;
            bool same = before && load(from + before - 1) == v;
            matched += same ? WORD : 0;
            looked += same ? WORD : 1;
            i += same ? WORD : 1;
        }
    }
    return matched * 5 > looked;
}
