/* Check of an LMDB file before it is mapped.
 *
 * LMDB trusts its file: a page beyond the end is SIGBUS, a wrong offset a wild read. So the tree is
 * walked here with pread: every reachable branch and leaf page must carry its own number, offsets
 * within itself, children within the file, and each page is used at most once, the free ones
 * included (LMDB writes over those). Layout of LMDB 0.9 (its format version 1, 64-bit,
 * little-endian). Of values on overflow pages only the heads are read, and of the first VALUES_MAX
 * only (the cache's guard sees to the others); their bytes carry checksums of their own. Another
 * process may be writing meanwhile: what looks wrong counts only where no commit happened during
 * the walk. Cost: about 1 us a tree page in the page cache. */
#include "env.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PAGE_HEAD = 16,
    NODE_HEAD = 8,
    P_BRANCH = 0x01,
    P_LEAF = 0x02,
    P_OVERFLOW = 0x04,
    P_META = 0x08,
    F_BIGDATA = 0x01,
    F_SUBDATA = 0x02,
    DEPTH_MAX = 32, /* LMDB's own */
    DB_BYTES = 48,
    META_BYTES = 136,
    KEY_MAX = 511,
    TRIES = 5,
    VALUES_MAX = 1 << 14,
};

enum kind { FREE_TREE, MAIN_TREE, SUB_TREE };

struct tree { /* LMDB's MDB_db */
    uint32_t pad;
    uint16_t flags, depth;
    uint64_t branch_pages, leaf_pages, overflow_pages, entries, root;
};

struct meta { /* LMDB's MDB_meta */
    uint32_t magic, version;
    uint64_t address, map_bytes;
    struct tree trees[2]; /* free pages; the main one */
    uint64_t last_page, txn;
};
_Static_assert(sizeof(struct tree) == DB_BYTES && sizeof(struct meta) == META_BYTES,
               "LMDB's layout");

struct walk {
    int fd;
    uint32_t page_bytes;
    uint64_t pages;  /* up to the last used one */
    uint8_t *seen;   /* a bit a page */
    unsigned values; /* heads of overflow pages read */
    const char *why; /* what is wrong */
    uint64_t at;     /* where */
};

static bool bad(struct walk *walk, uint64_t page, const char *why)
{
    walk->why = why;
    walk->at = page;
    return false;
}

static bool see(struct walk *walk, uint64_t first, uint64_t n)
{
    if (first < 2 || n == 0 || n > walk->pages || first > walk->pages - n)
        return bad(walk, first, "a page lies outside of the file");
    for (uint64_t page = first; page < first + n; page++) {
        uint8_t bit = (uint8_t)(1u << (page & 7));
        if (walk->seen[page >> 3] & bit)
            return bad(walk, page, "a page is used twice");
        walk->seen[page >> 3] |= bit;
    }
    return true;
}

static uint16_t u16(const uint8_t *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint64_t u64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static bool walk_tree(struct walk *walk, const struct tree *tree, enum kind kind);

/* A record of the free tree: a count, then so many page numbers, descending. */
static bool check_free(struct walk *walk, uint64_t number, const uint8_t *ids, size_t bytes)
{
    if (bytes < 8 || bytes % 8 || u64(ids) > bytes / 8 - 1)
        return bad(walk, number, "a list of free pages has a wrong length");
    uint64_t n = u64(ids), last = UINT64_MAX;
    for (uint64_t i = 1; i <= n; i++) {
        uint64_t id = u64(ids + 8 * i);
        if (id >= last)
            return bad(walk, number, "a list of free pages is out of order");
        if (!see(walk, id, 1))
            return false;
        last = id;
    }
    return true;
}

static bool check_free_far(struct walk *walk, uint64_t number, uint64_t page, size_t bytes)
{
    uint8_t *ids = malloc(bytes);
    bool good = ids && pread(walk->fd, ids, bytes, (off_t)(page * walk->page_bytes + PAGE_HEAD)) ==
                           (ssize_t)bytes;
    good = good ? check_free(walk, number, ids, bytes)
                : bad(walk, number, "a list of free pages cannot be read");
    free(ids);
    return good;
}

/* A value on pages of its own; LMDB believes their count when it frees them. */
static bool check_value(struct walk *walk, uint64_t first, uint64_t bytes)
{
    uint8_t head[PAGE_HEAD];
    uint32_t count;
    uint64_t pages = (PAGE_HEAD + bytes + walk->page_bytes - 1) / walk->page_bytes;
    if (!see(walk, first, pages))
        return false;
    if (walk->values++ >= VALUES_MAX)
        return true;
    if (pread(walk->fd, head, sizeof head, (off_t)(first * walk->page_bytes)) !=
        (ssize_t)sizeof head)
        return bad(walk, first, "a value cannot be read");
    memcpy(&count, head + 12, sizeof count);
    return u64(head) == first && u16(head + 10) == P_OVERFLOW && count == pages
               ? true
               : bad(walk, first, "the head of a value is wrong");
}

static bool check_leaf_node(struct walk *walk, uint64_t number, const uint8_t *node, size_t left,
                            enum kind kind)
{
    uint16_t flags = u16(node + 4), key_bytes = u16(node + 6);
    uint64_t bytes = (uint64_t)u16(node) | (uint64_t)u16(node + 2) << 16;
    size_t inline_bytes = flags & F_BIGDATA ? 8 : (size_t)bytes;
    if (flags & ~(F_BIGDATA | F_SUBDATA) || key_bytes == 0 || key_bytes > KEY_MAX ||
        (size_t)NODE_HEAD + key_bytes > left || inline_bytes > left - NODE_HEAD - key_bytes)
        return bad(walk, number, "a node is not of our making or overlaps");
    const uint8_t *data = node + NODE_HEAD + key_bytes;
    if (flags & F_BIGDATA) {
        if (!check_value(walk, u64(data), bytes))
            return false;
        return kind != FREE_TREE || check_free_far(walk, number, u64(data), bytes);
    }
    if (kind == FREE_TREE)
        return flags == 0 && key_bytes == 8
                   ? check_free(walk, number, data, bytes)
                   : bad(walk, number, "a list of free pages has a wrong head");
    if (!(flags & F_SUBDATA))
        return true;
    struct tree sub;
    if (kind != MAIN_TREE || bytes != DB_BYTES)
        return bad(walk, number, "a database lies where none belongs");
    memcpy(&sub, data, sizeof sub);
    if (sub.flags != 0 || sub.pad != 0)
        return bad(walk, number, "a database is of a kind that we do not make");
    return walk_tree(walk, &sub, SUB_TREE);
}

static bool check_page(struct walk *walk, uint64_t number, unsigned depth, enum kind kind)
{
    if (!see(walk, number, 1))
        return false;
    uint8_t *page = malloc(walk->page_bytes);
    if (!page)
        return bad(walk, number, "no memory to check it");
    bool good = false;
    if (pread(walk->fd, page, walk->page_bytes, (off_t)(number * walk->page_bytes)) !=
        (ssize_t)walk->page_bytes) {
        bad(walk, number, "a page cannot be read");
        goto out;
    }
    unsigned flags = u16(page + 10) & ~0xC000u; /* without LMDB's in-memory bits */
    size_t lower = u16(page + 12), upper = u16(page + 14), n = (lower - PAGE_HEAD) / 2;
    if (u64(page) != number || flags != (depth > 1 ? P_BRANCH : P_LEAF)) {
        bad(walk, number, "a page has a wrong number or kind");
        goto out;
    }
    if (lower < PAGE_HEAD || lower % 2 || lower > upper || upper > walk->page_bytes || n == 0) {
        bad(walk, number, "a page has wrong bounds");
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        size_t at = u16(page + PAGE_HEAD + 2 * i);
        if (at < upper || at % 2 || at + NODE_HEAD > walk->page_bytes) {
            bad(walk, number, "a node lies outside of its page");
            goto out;
        }
        const uint8_t *node = page + at;
        size_t left = walk->page_bytes - at;
        if (depth > 1) {
            if ((size_t)NODE_HEAD + u16(node + 6) > left) {
                bad(walk, number, "a key lies outside of its page");
                goto out;
            }
            uint64_t child =
                (uint64_t)u16(node) | (uint64_t)u16(node + 2) << 16 | (uint64_t)u16(node + 4) << 32;
            if (!check_page(walk, child, depth - 1, kind))
                goto out;
        } else if (!check_leaf_node(walk, number, node, left, kind)) {
            goto out;
        }
    }
    good = true;
out:
    free(page);
    return good;
}

static bool walk_tree(struct walk *walk, const struct tree *tree, enum kind kind)
{
    if (tree->root == UINT64_MAX)
        return tree->depth == 0 ? true : bad(walk, 0, "an empty tree has a depth");
    if (tree->depth == 0 || tree->depth > DEPTH_MAX)
        return bad(walk, tree->root, "a tree is too deep");
    return check_page(walk, tree->root, tree->depth, kind);
}

static bool read_metas(struct walk *walk, struct meta *newest)
{
    struct meta metas[2];
    uint8_t head[PAGE_HEAD + META_BYTES];
    walk->page_bytes = 4096; /* of the second meta's place, until the first one tells */
    for (uint64_t i = 0; i < 2; i++) {
        if (pread(walk->fd, head, sizeof head, (off_t)(i * walk->page_bytes)) !=
            (ssize_t)sizeof head)
            return bad(walk, i, "the file ends within its head");
        memcpy(&metas[i], head + PAGE_HEAD, sizeof metas[i]);
        if (!(u16(head + 10) & P_META) || u64(head) != i || metas[i].magic != 0xBEEFC0DE ||
            metas[i].version != 1)
            return bad(walk, i, "its head is not that of an LMDB file");
        uint32_t bytes = metas[i].trees[0].pad;
        if (bytes < 512 || bytes > 65536 || bytes & (bytes - 1) ||
            (i == 1 && bytes != walk->page_bytes))
            return bad(walk, i, "its page size is wrong");
        walk->page_bytes = bytes;
    }
    *newest = metas[metas[1].txn > metas[0].txn];
    return true;
}

static bool check_file(struct walk *walk, struct meta *found)
{
    struct meta meta;
    struct stat st;
    if (!read_metas(walk, &meta))
        return false;
    *found = meta;
    walk->pages = meta.last_page + 1;
    uint64_t file_bytes = fstat(walk->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
    if (meta.last_page < 1 || meta.last_page >= (UINT64_C(1) << 48) ||
        walk->pages > file_bytes / walk->page_bytes)
        return bad(walk, meta.last_page,
                   "the file is shorter than its head says: it was truncated");
    walk->seen = calloc(walk->pages / 8 + 1, 1);
    if (!walk->seen)
        return bad(walk, 0, "no memory to check it");
    if (meta.trees[1].flags != 0)
        return bad(walk, 0, "its main database is of a kind that we do not make");
    return walk_tree(walk, &meta.trees[1], MAIN_TREE) && walk_tree(walk, &meta.trees[0], FREE_TREE);
}

enum mg_err env_check(const char *file, struct mg_errmsg *err)
{
    struct stat st;
    struct walk walk = {.fd = open(file, O_RDONLY | O_CLOEXEC)};
    if (walk.fd < 0 && errno == ENOENT)
        return MG_OK;
    if (walk.fd < 0 || fstat(walk.fd, &st) != 0) {
        int why = errno;
        if (walk.fd >= 0)
            close(walk.fd);
        return mg_err_set(err, MG_E_IO, "%s cannot be read: %s", file, strerror(why));
    }
    bool good = st.st_size == 0;
    for (int i = 0; i < TRIES && !good; i++) {
        struct meta before = {0}, after = {0};
        free(walk.seen);
        walk.seen = NULL;
        walk.values = 0;
        good = check_file(&walk, &before);
        if (!good) {
            struct walk again = walk;
            if (read_metas(&again, &after) && after.txn == before.txn)
                break;
            good = i == TRIES - 1 && after.txn > before.txn; /* a live writer keeps it in shape */
        }
    }
    free(walk.seen);
    close(walk.fd);
    return good ? MG_OK
                : mg_err_set(err, MG_E_BAD_FILE, "%s is damaged (page %llu: %s)", file,
                             (unsigned long long)walk.at, walk.why);
}
