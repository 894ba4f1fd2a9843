/* Unified diffs of two versions of a UDF, three lines of context.
 *
 * The longest common subsequence of lines by dynamic programming, after what both begin and end
 * with is set aside; where that leaves more than CELLS_MAX pairs, all of the middle is shown as
 * replaced. Cost: the product of the changed lines, at most 16 million steps. */
#include "route_udf.h"

#include <stdlib.h>

enum { CELLS_MAX = 16 << 20, CONTEXT = 3 };

struct lines {
    struct mg_span *at;
    size_t n;
};
/* One line of the result: ' ', '-' or '+'. */
struct row {
    char sign;
    struct mg_span text;
};
struct rows {
    struct row *at;
    size_t n;
};

static struct lines cut(const struct mg_package_file *file)
{
    struct lines lines = {0};
    struct mg_span rest = file ? (struct mg_span){file->bytes.data, file->bytes.len}
                               : (struct mg_span){0},
                   line;
    size_t n = 1;
    for (size_t i = 0; i < rest.len; i++)
        n += rest.data[i] == '\n';
    lines.at = calloc(n, sizeof *lines.at);
    MG_ASSERT(lines.at);
    while (rest.len && mg_span_cut(&rest, '\n', &line))
        lines.at[lines.n++] = line;
    return lines;
}

static void add(struct rows *rows, char sign, struct mg_span text)
{
    rows->at[rows->n++] = (struct row){sign, text};
}

/* The middle parts, which differ at both ends. */
static void middle(const struct mg_span *a, size_t n, const struct mg_span *b, size_t m,
                   struct rows *rows)
{
    size_t i = 0, j = 0;
    uint32_t *longest = n && m && (n + 1) <= CELLS_MAX / (m + 1)
                            ? calloc((n + 1) * (m + 1), sizeof *longest)
                            : NULL;
    if (longest)
        for (size_t x = n; x-- > 0;)
            for (size_t y = m; y-- > 0;) {
                uint32_t down = longest[(x + 1) * (m + 1) + y],
                         right = longest[x * (m + 1) + y + 1];
                longest[x * (m + 1) + y] = mg_span_eq(a[x], b[y])
                                               ? longest[(x + 1) * (m + 1) + y + 1] + 1
                                           : down > right ? down
                                                          : right;
            }
    while (longest && i < n && j < m) {
        if (mg_span_eq(a[i], b[j])) {
            add(rows, ' ', a[i]);
            i++, j++;
        } else if (longest[(i + 1) * (m + 1) + j] >= longest[i * (m + 1) + j + 1]) {
            add(rows, '-', a[i++]);
        } else {
            add(rows, '+', b[j++]);
        }
    }
    while (i < n)
        add(rows, '-', a[i++]);
    while (j < m)
        add(rows, '+', b[j++]);
    free(longest);
}

static size_t changed_after(const struct rows *rows, size_t from)
{
    while (from < rows->n && rows->at[from].sign == ' ')
        from++;
    return from;
}

static void hunks(const struct rows *rows, struct mg_buf *out)
{
    size_t old_line = 1, new_line = 1, at = 0;
    for (size_t next = changed_after(rows, 0); next < rows->n; next = changed_after(rows, at)) {
        size_t begin = next > at + CONTEXT ? next - CONTEXT : at, end = next, olds = 0, news = 0;
        for (size_t more = next; more < rows->n && more <= end + 2 * CONTEXT;
             more = changed_after(rows, end))
            for (end = more; end < rows->n && rows->at[end].sign != ' ';)
                end++;
        end = end + CONTEXT < rows->n ? end + CONTEXT : rows->n;
        old_line += begin - at;
        new_line += begin - at;
        for (size_t i = begin; i < end; i++) {
            olds += rows->at[i].sign != '+';
            news += rows->at[i].sign != '-';
        }
        mg_buf_printf(out, "@@ -%zu,%zu +%zu,%zu @@\n", olds ? old_line : old_line - 1, olds,
                      news ? new_line : new_line - 1, news);
        for (size_t i = begin; i < end; i++) {
            mg_buf_char(out, rows->at[i].sign);
            mg_buf_put(out, rows->at[i].text.data, rows->at[i].text.len);
            mg_buf_char(out, '\n');
        }
        old_line += olds;
        new_line += news;
        at = end;
    }
}

static void diff_file(const char *name, const struct mg_package_file *from,
                      const struct mg_package_file *to, struct mg_buf *out)
{
    struct lines a = cut(from), b = cut(to);
    struct rows rows = {.at = calloc(a.n + b.n + 1, sizeof *rows.at)};
    size_t head = 0, tail = 0;
    MG_ASSERT(rows.at);
    while (head < a.n && head < b.n && mg_span_eq(a.at[head], b.at[head]))
        add(&rows, ' ', a.at[head++]);
    while (tail < a.n - head && tail < b.n - head &&
           mg_span_eq(a.at[a.n - 1 - tail], b.at[b.n - 1 - tail]))
        tail++;
    middle(a.at + head, a.n - head - tail, b.at + head, b.n - head - tail, &rows);
    for (size_t i = a.n - tail; i < a.n; i++)
        add(&rows, ' ', a.at[i]);
    if (changed_after(&rows, 0) < rows.n || !from != !to) {
        mg_buf_printf(out, "--- %s%s\n", from ? "a/" : "/dev/null", from ? name : "");
        mg_buf_printf(out, "+++ %s%s\n", to ? "b/" : "/dev/null", to ? name : "");
        hunks(&rows, out);
    }
    free(rows.at);
    free(a.at);
    free(b.at);
}

void mg_udf_diff(const struct mg_package *from, const struct mg_package *to, struct mg_buf *out)
{
    size_t i = 0, j = 0;
    while (i < from->n || j < to->n) {
        int order = i == from->n ? 1
                    : j == to->n ? -1
                                 : strcmp(from->files[i].name, to->files[j].name);
        const struct mg_package_file *a = order <= 0 ? &from->files[i++] : NULL,
                                     *b = order >= 0 ? &to->files[j++] : NULL;
        diff_file(a ? a->name : b->name, a, b, out);
    }
}
