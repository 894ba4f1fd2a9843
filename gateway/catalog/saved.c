/* Saved UDFs as the catalog gives them: versions made from the store when they are asked for, and
 * kept.
 *
 * Invariant: what is given is what the last commit says. The state's generation changes with each
 * commit of any process; an entry that was looked at under the present one is given as it is, else
 * its record is read again (2 us), and the version made anew only where its package is another one.
 * An entry holds a descriptor (the bundle), so there are at most SLOTS of them; one that is pushed
 * out is read again when it is asked for (0.1 ms). Names that mean nothing are kept as well: an
 * example is looked up on each hit, and no store must be read for it. */
#include "watch.h"

#include "moongate/log.h"
#include "moongate/package.h"
#include "moongate/saved.h"

#include <stdio.h>
#include <stdlib.h>

enum { SLOTS = 512 };

struct entry {
    char org[MG_NAME_MAX], name[128]; /* as asked for: a name or an id; org "" for what is public */
    uint64_t generation;              /* 0: empty */
    struct mg_udf *udf;               /* NULL: there is none of that name */
    struct mg_hash package;
    bool is_public;
};
struct saved_udfs {
    struct mg_state *state;
    pthread_rwlock_t lock;
    struct entry entries[SLOTS];
};

void mg_catalog_set_state(struct mg_catalog *catalog, struct mg_state *state)
{
    catalog->saved = calloc(1, sizeof *catalog->saved);
    MG_ASSERT(catalog->saved);
    catalog->saved->state = state;
    pthread_rwlock_init(&catalog->saved->lock, NULL);
}

void saved_close(struct mg_catalog *catalog)
{
    if (!catalog->saved)
        return;
    for (size_t i = 0; i < SLOTS; i++)
        mg_udf_unref(&catalog->saved->entries[i].udf);
    pthread_rwlock_destroy(&catalog->saved->lock);
    free(catalog->saved);
    catalog->saved = NULL;
}

static struct entry *entry_of(struct saved_udfs *saved, const char *org, struct mg_span name)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    for (const char *c = org; *c; c++)
        h = (h ^ (uint8_t)*c) * 1099511628211u;
    h *= 1099511628211u;
    for (size_t i = 0; i < name.len; i++)
        h = (h ^ (uint8_t)name.data[i]) * 1099511628211u;
    return &saved->entries[(h ^ h >> 32) % SLOTS];
}

static bool is_of(const struct entry *entry, const char *org, struct mg_span name)
{
    return entry->generation && strcmp(entry->org, org) == 0 && mg_span_is(name, entry->name);
}

/* NULL: it cannot be had; the log says why. */
static struct mg_udf *make(struct saved_udfs *saved, const struct mg_saved *record)
{
    struct mg_buf packed;
    struct mg_package package = {0};
    struct mg_udf *udf = NULL;
    struct mg_errmsg err = {""};
    mg_buf_init(&packed, 0);
    enum mg_err status = mg_saved_package(saved->state, record, &record->package, &packed, &err);
    if (!status)
        status = mg_package_read((struct mg_span){packed.data, packed.len}, &package, &err);
    if (!status)
        status = mg_package_udf(&package, record->name, "saved", &udf, &err);
    if (status)
        mg_log_error("the saved UDF %s: %s", record->name,
                     err.text[0] ? err.text : mg_err_text(status));
    else {
        snprintf(udf->org, sizeof udf->org, "%s", record->org);
        snprintf(udf->id, sizeof udf->id, "%s", record->id);
        udf->is_public = record->is_public;
    }
    mg_package_free(&package);
    mg_buf_fini(&packed);
    return udf;
}

static bool same_record(const struct entry *entry, const struct mg_saved *record)
{
    return entry->udf && strcmp(entry->udf->id, record->id) == 0 &&
           strcmp(entry->udf->name, record->name) == 0 &&
           mg_hash_eq(&entry->package, &record->package) && entry->is_public == record->is_public;
}

/* org "": what is public, whosever it is. */
static struct mg_udf *find(struct saved_udfs *saved, const char *org, struct mg_span name)
{
    struct mg_saved record;
    struct mg_udf *udf = NULL;
    if (!saved || name.len == 0 || name.len >= sizeof saved->entries[0].name ||
        strlen(org) >= MG_NAME_MAX)
        return NULL;
    /* Before the record is read: a commit meanwhile makes the entry old, never wrong. */
    uint64_t generation = mg_state_generation(saved->state);
    struct entry *entry = entry_of(saved, org, name);
    pthread_rwlock_rdlock(&saved->lock);
    bool known = is_of(entry, org, name) && entry->generation == generation;
    if (known && entry->udf)
        udf = catalog_udf_ref(entry->udf);
    pthread_rwlock_unlock(&saved->lock);
    if (known)
        return udf;
    enum mg_err status = *org ? mg_saved_get(saved->state, org, name, &record, NULL)
                              : mg_saved_get_public(saved->state, name, &record, NULL);
    if (status != MG_OK && status != MG_E_NOT_FOUND)
        return NULL;
    pthread_rwlock_wrlock(&saved->lock);
    struct mg_udf *before = NULL;
    if (!(is_of(entry, org, name) && status == MG_OK && same_record(entry, &record))) {
        before = entry->udf;
        entry->udf = status == MG_OK ? make(saved, &record) : NULL;
        snprintf(entry->org, sizeof entry->org, "%s", org);
        snprintf(entry->name, sizeof entry->name, "%.*s", (int)name.len, name.data);
        if (status == MG_OK) {
            entry->package = record.package;
            entry->is_public = record.is_public;
        }
    }
    entry->generation = generation;
    if (entry->udf)
        udf = catalog_udf_ref(entry->udf);
    pthread_rwlock_unlock(&saved->lock);
    mg_udf_unref(&before);
    return udf;
}

struct mg_udf *mg_catalog_find_in(struct mg_catalog *catalog, const char *org, struct mg_span name)
{
    struct mg_udf *folder = mg_catalog_find(catalog, name);
    if (folder && strcmp(org, "local") == 0 && strcmp(folder->source, "example") != 0)
        return folder; /* whoever edits a folder sees the edit */
    struct mg_udf *own = find(catalog->saved, org, name);
    if (!own && folder && folder->is_public)
        return folder;
    mg_udf_unref(&folder);
    return own;
}

struct mg_udf *mg_catalog_find_public(struct mg_catalog *catalog, struct mg_span name)
{
    struct mg_udf *udf = mg_catalog_find(catalog, name);
    if (udf && udf->is_public)
        return udf;
    mg_udf_unref(&udf);
    return find(catalog->saved, "", name);
}

bool mg_catalog_is_current(struct mg_catalog *catalog, const char *org, const struct mg_udf *udf)
{
    struct mg_udf *now =
        mg_catalog_find_in(catalog, org, mg_span(udf->id[0] ? udf->id : udf->name));
    bool current =
        now == udf ||
        (now && *udf->id && strcmp(now->id, udf->id) == 0 && strcmp(now->name, udf->name) == 0 &&
         mg_hash_eq(&now->code, &udf->code) && now->is_public == udf->is_public);
    mg_udf_unref(&now);
    return current;
}
