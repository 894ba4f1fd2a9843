/* The inside of a catalog: slots (folders that are or may become UDFs), sources (what was given) and their watches. */
#ifndef MOONGATE_CATALOG_WATCH_H
#define MOONGATE_CATALOG_WATCH_H

#include "udf.h"

#include <pthread.h>

enum { WATCH_SETTLE_MS = 200, WATCH_RETURN_MS = 500, WATCH_TOUCHED_MAX = 64 };

/* A file between two states: open for writing (until_ms: for ever), or just deleted or created. */
struct touched {
    char name[256];
    int64_t until_ms;
};
struct slot {
    struct source *source;
    char *dir;           /* NULL: code in memory */
    char name[128];
    struct mg_udf *udf;  /* the current version; NULL: no UDF (yet) */
    bool wanted;         /* to be read again when nothing is touched any more */
    struct touched *touched;
    size_t n_touched;
};
struct source {
    char *dir, label[16];
    unsigned rank;       /* of two slots of one name the one of higher rank is seen */
    bool single;         /* the folder is a UDF itself */
    bool gone;           /* it vanished: looked for at look_ms, then every WATCH_RETURN_MS */
    bool lost;           /* a folder in it vanished */
    int64_t look_ms;
};
struct watch {
    int wd;
    struct slot *slot;     /* or */
    struct source *source;
};
struct mg_catalog {
    pthread_rwlock_t lock;  /* guards slots (their order) and slot->udf against readers */
    pthread_mutex_t tending; /* all else: whoever changes anything holds it */
    struct slot **slots;    /* by name, then rank, highest first */
    size_t n_slots, cap_slots;
    struct source **sources;
    size_t n_sources;
    struct watch *watches;  /* by wd; several of one wd where folders were given twice */
    size_t n_watches, cap_watches;
    char **changed;         /* names to be told */
    size_t n_changed, cap_changed;
    int inotify_fd, timer_fd, event_fd, epoll_fd;
    bool installing;        /* atomic: somebody has taken in events whose versions may not be in place yet */
    bool adding;            /* nothing is told */
    bool warned;            /* the kernel gives no more watches */
    struct saved_udfs *saved; /* saved.c; NULL: none */
};

/* slots.c; with `tending` held. */
struct slot *slot_of_dir(struct mg_catalog *catalog, const struct source *source, const char *dir);
MG_MUST_CHECK enum mg_err slot_add(struct mg_catalog *catalog, struct source *source, struct mg_span name,
                                   const char *dir, struct slot **out);
void slot_remove(struct mg_catalog *catalog, struct slot *slot);
void slot_set(struct mg_catalog *catalog, struct slot *slot, struct mg_udf *udf); /* takes udf, nullable */
void slot_free(struct slot *slot);
/* Reads the folder and takes over the version when it differs. False: while it was read something was reported, maybe of
 * it, so that it is wanted again; not when this is the `last` try. */
bool slot_read(struct mg_catalog *catalog, struct slot *slot, bool last);
struct slot *slot_find(const struct mg_catalog *catalog, struct mg_span name);

/* saved.c */
void saved_close(struct mg_catalog *catalog);

/* watch.c; with `tending` held. */
MG_MUST_CHECK enum mg_err watch_open(struct mg_catalog *catalog, struct mg_errmsg *err);
void watch_close(struct mg_catalog *catalog);
void watch_slot(struct mg_catalog *catalog, struct slot *slot);
void watch_forget(struct mg_catalog *catalog, const struct slot *slot, const struct source *source);
/* Watches a source and reads what is in it. */
void watch_source(struct mg_catalog *catalog, struct source *source);
/* Takes in what the kernel has reported and reads what is due. */
void watch_tend(struct mg_catalog *catalog);
/* Something waits to be taken in. Any thread. */
bool watch_reported(const struct mg_catalog *catalog);
/* The same, or it was taken in and is not in place yet: whoever then waits for `tending` sees it. Any thread. */
bool watch_pending(const struct mg_catalog *catalog);
void watch_wake(struct mg_catalog *catalog);

#endif
