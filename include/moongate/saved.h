/* Saved UDFs, in the durable state: each has an id for life, a name within its organisation, and
 * versions.
 *
 * A version is a package: pack of a count, then name and bytes of each file, sorted by name. It is
 * named by its SHA-256; an unchanged package makes no new version. Every change is one transaction,
 * on disk when it is acknowledged: after a kill there is the old state or the new one. `revision`
 * counts all changes of a UDF, so that a writer who gives the one that it has seen learns when it
 * lost (MG_E_PRECONDITION). Thread-safe; other processes see each commit. */
#ifndef MOONGATE_SAVED_H
#define MOONGATE_SAVED_H

#include "moongate/state.h"

enum { MG_SAVED_ID_LEN = 36, MG_PACKAGE_MAX = 3 << 20 };

struct mg_saved {
    char id[MG_SAVED_ID_LEN + 1]; /* a random UUID */
    char org[MG_NAME_MAX], account[MG_NAME_MAX], name[128];
    struct mg_hash package; /* of the version that is served */
    int64_t version;        /* its number, from 1 */
    int64_t last_version;   /* the highest number given out */
    int64_t revision;
    int64_t created_s, updated_s;
    bool is_public; /* reachable as UDF_<Name>; such a name is unique among all organisations */
};
struct mg_saved_version {
    int64_t number, created_s;
    struct mg_hash package;
    char account[MG_NAME_MAX]; /* who saved it */
};

/* From org, account, name and is_public of *saved; fills in the rest. MG_E_CONFLICT: the name is
 * taken. */
MG_MUST_CHECK enum mg_err mg_saved_create(struct mg_state *state, struct mg_saved *saved,
                                          struct mg_span package, struct mg_errmsg *err);
struct mg_saved_change {
    int64_t if_revision;    /* 0: whatever it is */
    const char *by;         /* account */
    const char *name;       /* NULL: as it is */
    const char *owner;      /* another account of the organisation; NULL: as it is */
    struct mg_span package; /* data NULL: as it is */
    int64_t to_version;     /* an earlier version is served again; 0: no */
    int is_public;          /* -1: as it is */
};
/* Of org and id. MG_E_NOT_FOUND, MG_E_PRECONDITION, MG_E_CONFLICT (name). *out: as it is now. */
MG_MUST_CHECK enum mg_err mg_saved_change(struct mg_state *state, const char *org, const char *id,
                                          const struct mg_saved_change *change,
                                          struct mg_saved *out, struct mg_errmsg *err);
MG_MUST_CHECK enum mg_err mg_saved_delete(struct mg_state *state, const char *org, const char *id,
                                          int64_t if_revision, struct mg_errmsg *err);
/* By id or by name. MG_E_NOT_FOUND, also for another organisation's. Cost: one or two LMDB reads.
 */
MG_MUST_CHECK enum mg_err mg_saved_get(struct mg_state *state, const char *org,
                                       struct mg_span id_or_name, struct mg_saved *out,
                                       struct mg_errmsg *err);
/* The public one of that name, of whatever organisation. */
MG_MUST_CHECK enum mg_err mg_saved_get_public(struct mg_state *state, struct mg_span name,
                                              struct mg_saved *out, struct mg_errmsg *err);
/* By name; return false to stop. org NULL: the public ones of all organisations. */
typedef bool mg_saved_each_f(void *context, const struct mg_saved *saved);
MG_MUST_CHECK enum mg_err mg_saved_each(struct mg_state *state, const char *org,
                                        mg_saved_each_f *each, void *context,
                                        struct mg_errmsg *err);
/* Versions, newest first. */
typedef bool mg_version_each_f(void *context, const struct mg_saved_version *version);
MG_MUST_CHECK enum mg_err mg_saved_versions(struct mg_state *state, const struct mg_saved *saved,
                                            mg_version_each_f *each, void *context,
                                            struct mg_errmsg *err);
MG_MUST_CHECK enum mg_err mg_saved_version(struct mg_state *state, const struct mg_saved *saved,
                                           int64_t number, struct mg_saved_version *out,
                                           struct mg_errmsg *err);
/* Appends the bytes of a package of this UDF. */
MG_MUST_CHECK enum mg_err mg_saved_package(struct mg_state *state, const struct mg_saved *saved,
                                           const struct mg_hash *package, struct mg_buf *out,
                                           struct mg_errmsg *err);

#endif
