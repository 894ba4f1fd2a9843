/* The catalog: UDF folders, watched; each version an immutable bundle named by its content hash.
 *
 * Sources: the examples, folders given to serve (a folder that is a UDF, or a folder of UDFs), and files (a raster
 * or vector file makes a UDF of its own). A version is read when a writer has closed its file (inotify), and files
 * that changed while they were read are read again: a save is never half-seen. A broken UDF keeps its place with
 * an error that says what is wrong. Thread-safe: versions are reference-counted and never change. */
#ifndef MOONGATE_CATALOG_H
#define MOONGATE_CATALOG_H

#include "moongate/sig.h"

struct mg_udf {
    int refs;               /* atomic */
    char name[128];
    char dir[1024];
    char source[16];        /* "example", "folder", "file", "saved" */
    char org[64];           /* of a saved one; else "" */
    char id[40];            /* of a saved one; else "" */
    struct mg_hash code;    /* SHA-256 of the bundle: names and bytes of the .lua files and meta.json */
    int bundle_fd;          /* sealed memfd with the bundle; -1 when broken */
    size_t bundle_bytes;
    char *broken;           /* what is wrong, or NULL */
    char *description;      /* fused:description, or "" */
    char type[32];          /* fused:udfType */
    bool is_public;         /* reachable as UDF_<Name> without a token */
    bool has_view;
    double lng, lat, zoom;  /* fused:defaultViewState */
    double view[4];         /* bounds around it, degrees */
    json_t *meta;           /* meta.json, or NULL */
    void *sig;              /* struct mg_sig *, atomic: NULL until described; set once by mg_udf_set_sig */
};

struct mg_catalog;
MG_MUST_CHECK enum mg_err mg_catalog_open(struct mg_catalog **out, struct mg_errmsg *err);
void mg_catalog_close(struct mg_catalog **catalog);
/* A UDF folder, or a folder of UDF folders (scanned, watched). MG_E_NOT_FOUND. */
MG_MUST_CHECK enum mg_err mg_catalog_add_dir(struct mg_catalog *catalog, const char *dir, const char *source,
                                             struct mg_errmsg *err);
/* A UDF from code in memory (one Lua file and meta.json text, nullable). */
MG_MUST_CHECK enum mg_err mg_catalog_add_code(struct mg_catalog *catalog, const char *name, const char *source,
                                              struct mg_span lua, struct mg_span meta, struct mg_errmsg *err);
/* Borrowed reference: mg_udf_unref. NULL when there is none of that name. */
struct mg_udf *mg_catalog_find(struct mg_catalog *catalog, struct mg_span name);
/* All, by name; unref each, free(list). */
struct mg_udf **mg_catalog_list(struct mg_catalog *catalog, size_t *n);
void mg_udf_unref(struct mg_udf **udf);
/* The saved UDFs of `state` (borrowed until close) are found from here on. */
struct mg_state;
void mg_catalog_set_state(struct mg_catalog *catalog, struct mg_state *state);
/* What `name` means to an organisation: of `local`, a folder that was given to serve; its saved UDF of that name or id;
 * an example, or a folder's UDF that is public. Sees every save that was acknowledged. A reference; NULL: none. */
struct mg_udf *mg_catalog_find_in(struct mg_catalog *catalog, const char *org, struct mg_span name);
/* The public UDF of that name: of a folder, or saved. A reference; NULL: none. */
struct mg_udf *mg_catalog_find_public(struct mg_catalog *catalog, struct mg_span name);
/* It is what find_in gives for its own name or id at this moment. Cost: one look-up. */
bool mg_catalog_is_current(struct mg_catalog *catalog, const char *org, const struct mg_udf *udf);
/* Takes sig; the first one stays. */
void mg_udf_set_sig(struct mg_udf *udf, struct mg_sig *sig);
const struct mg_sig *mg_udf_sig(const struct mg_udf *udf);
/* For the thread that watches: poll this descriptor, then call tend, which reloads what changed. `changed` is told
 * the name of each UDF that has a new version (also removed ones). */
int mg_catalog_fd(const struct mg_catalog *catalog);
void mg_catalog_tend(struct mg_catalog *catalog, void (*changed)(void *context, const char *name), void *context);

/* Reads one folder without a catalog: for `check`, `run DIR`. A broken one gives MG_E_UDF_BROKEN and, in *out, the
 * version with its .broken text. Checks: name [A-Za-z][A-Za-z0-9_]*, the eponymous file, meta.json, module names
 * that no library has, sizes (1 MB all in all). */
MG_MUST_CHECK enum mg_err mg_udf_read(const char *dir, const char *source, struct mg_udf **out,
                                      struct mg_errmsg *err);
/* Bundle: pack of a count (meta.json included), then name, bytes, sorted by name. */

#endif
