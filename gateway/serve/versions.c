/* The version table: what each dependency of cached answers looks like now, asked of the file system at most once a
 * second for each name, however many answers depend on it.
 *
 * Bounded: a full table is emptied (it is only a memory of a second). Cost of a current entry: one hash look-up. */
#include "moongate/engine.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { BUCKETS = 4096, MAX_ENTRIES = 65536, RECHECK_US = 1000000, REMOTE_S = 60 };

struct entry {
    struct entry *next;
    int64_t checked_us;
    size_t len; /* of name */
    char version[256];
    char name[]; /* kind, NUL, org, NUL, name */
};

struct mg_versions {
    struct mg_engine *engine;
    pthread_mutex_t lock;
    struct entry *buckets[BUCKETS];
    size_t n;
};

struct mg_versions *mg_versions_new(struct mg_engine *engine)
{
    struct mg_versions *versions = calloc(1, sizeof *versions);
    MG_ASSERT(versions);
    versions->engine = engine;
    pthread_mutex_init(&versions->lock, NULL);
    return versions;
}

static void clear(struct mg_versions *versions)
{
    for (size_t i = 0; i < BUCKETS; i++)
        while (versions->buckets[i]) {
            struct entry *entry = versions->buckets[i];
            versions->buckets[i] = entry->next;
            free(entry);
        }
    versions->n = 0;
}

void mg_versions_free(struct mg_versions **versions_at)
{
    if (!*versions_at)
        return;
    clear(*versions_at);
    pthread_mutex_destroy(&(*versions_at)->lock);
    free(*versions_at);
    *versions_at = NULL;
}

/* A file of an organisation: its own folders, then the layers that all share. `local` has its folders open. */
static void look_at_file(struct mg_engine *engine, const char *org, const char *name, char *out, size_t size)
{
    if (strcmp(org, "local") == 0) {
        mg_files_version(&engine->files, name, out, size);
        return;
    }
    char path[1200];
    struct mg_files files = engine->files;
    snprintf(path, sizeof path, "%s/orgs/%s/fd", engine->config.data_dir, org);
    int own = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    snprintf(path, sizeof path, "%s/orgs/%s/cache", engine->config.data_dir, org);
    files.cache_dirfd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    files.mounts[0].dirfd = own;
    if (own >= 0)
        mg_files_version(&files, name, out, size);
    if (own >= 0)
        close(own);
    if (files.cache_dirfd >= 0)
        close(files.cache_dirfd);
}

static void look(struct mg_engine *engine, const char *org, struct mg_span kind, const char *name, char *out,
                 size_t size)
{
    snprintf(out, size, "-");
    if (mg_span_is(kind, "file")) {
        look_at_file(engine, org, name, out, size);
    } else if (mg_span_is(kind, "secret")) {
        char version[65];
        if (mg_secret_get(engine->state, org, name, NULL, version, NULL) == MG_OK)
            snprintf(out, size, "%s", version);
    } else if (mg_span_is(kind, "udf")) {
        struct mg_udf *udf = mg_catalog_find_in(engine->catalog, org, mg_span(name));
        char hex[65];
        if (udf && !udf->broken) {
            mg_hash_hex(&udf->code, hex);
            snprintf(out, size, "%s", hex);
        }
        mg_udf_unref(&udf);
    }
}

static uint64_t hash_of(const char *bytes, size_t len)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)bytes[i]) * 1099511628211u;
    return h;
}

static bool is_current(struct mg_versions *versions, const char *org, struct mg_span kind, struct mg_span name,
                       struct mg_span version, int64_t now_us, int64_t *until_us)
{
    /* Dependencies were listed by a worker: lengths are checked, and a NUL is as good as any other byte. */
    char id[2048];
    size_t org_len = strlen(org), len = kind.len + 1 + org_len + 1 + name.len;
    if (kind.len > 16 || org_len > 64 || name.len > sizeof id - 128 || memchr(name.data ? name.data : "", 0, name.len))
        return false;
    char *name_at = id + kind.len + 1 + org_len + 1;
    memcpy(id, kind.data ? kind.data : "", kind.len);
    id[kind.len] = 0;
    memcpy(id + kind.len + 1, org, org_len + 1);
    memcpy(name_at, name.data ? name.data : "", name.len);
    name_at[name.len] = 0;
    struct entry **bucket = &versions->buckets[hash_of(id, len) % BUCKETS];
    struct entry *entry = *bucket;
    while (entry && (entry->len != len || memcmp(entry->name, id, entry->len) != 0))
        entry = entry->next;
    if (!entry) {
        if (versions->n >= MAX_ENTRIES)
            clear(versions);
        entry = calloc(1, sizeof *entry + len + 1);
        if (!entry)
            return false;
        entry->len = len;
        memcpy(entry->name, id, entry->len);
        entry->checked_us = -RECHECK_US;
        entry->next = *bucket;
        *bucket = entry;
        versions->n++;
    }
    if (now_us - entry->checked_us >= RECHECK_US) {
        look(versions->engine, org, kind, name_at, entry->version, sizeof entry->version);
        entry->checked_us = now_us;
    }
    if (entry->checked_us + RECHECK_US < *until_us)
        *until_us = entry->checked_us + RECHECK_US;
    return mg_span_is(version, entry->version);
}

static int64_t now_s(void) { return (int64_t)time(NULL); }

/* `text`: seconds since 1970. */
static bool is_before(int64_t now, struct mg_span text)
{
    int64_t s = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || i > 12)
            return false;
        s = s * 10 + (text.data[i] - '0');
    }
    return now < s;
}

int64_t mg_versions_until(struct mg_versions *versions, const char *org, struct mg_span deps, int64_t made_s)
{
    struct mg_unpack in;
    mg_unpack_init(&in, deps.data, deps.len);
    size_t n = deps.len ? mg_unpack_count(&in, 1 << 20) : 0;
    bool current = !deps.len || !in.failed;
    int64_t now_us = mg_now_us(), until_us = now_us + RECHECK_US;
    pthread_mutex_lock(&versions->lock);
    for (size_t i = 0; i < n && current; i++) {
        struct mg_span kind = mg_unpack_bytes(&in), name = mg_unpack_bytes(&in), version = mg_unpack_bytes(&in);
        if (in.failed)
            current = false;
        else if (mg_span_is(kind, "url")) /* the fetcher asks for its ETag again when the run is made again */
            current = now_s() - made_s < REMOTE_S;
        else if (mg_span_is(kind, "http")) /* until when is what its run said of it */
            current = is_before(now_s(), version);
        else
            current = is_current(versions, org, kind, name, version, now_us, &until_us);
    }
    pthread_mutex_unlock(&versions->lock);
    return current ? until_us : 0;
}

bool mg_versions_current(struct mg_versions *versions, const char *org, struct mg_span deps, int64_t made_s)
{
    return mg_versions_until(versions, org, deps, made_s) > 0;
}
