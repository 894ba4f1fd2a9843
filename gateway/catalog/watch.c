/* Watching by inotify.
 *
 * Order rules, so that a save is never half-seen: a file that was written to (IN_MODIFY) is read only once its writer
 * has closed it; a file that was deleted, moved away or created receives WATCH_SETTLE_MS to come back whole, for editors
 * rename the old file before they write the new one; a whole file (IN_CLOSE_WRITE, IN_MOVED_TO) is read at once. A
 * folder's watch is set before the folder is read, so nothing falls between. When the kernel's queue ran over, all is
 * read again. A given folder that vanishes is looked for twice a second.
 *
 * Events of a finished save are queued before close() returns: a look-up that first takes in what is queued sees
 * every save that happened before it (mg_catalog_find). Where another thread has taken it in, the queue is empty before
 * the version is in place; `installing` is set before events are taken and cleared after, so whoever finds the queue
 * empty finds it set, and waits. Cost: one read(2) for some 100 events; one version read, about 0.1 ms, for each
 * changed UDF. */
#include "watch.h"

#include "moongate/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static const uint32_t mask = IN_CLOSE_WRITE | IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |
                             IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

enum mg_err watch_open(struct mg_catalog *catalog, struct mg_errmsg *err)
{
    catalog->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (catalog->inotify_fd < 0)
        return mg_err_set(err, MG_E_UNAVAILABLE, "cannot watch folders: %s (raise fs.inotify.max_user_instances)",
                          strerror(errno));
    catalog->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    catalog->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    catalog->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    const int fds[] = {catalog->inotify_fd, catalog->timer_fd, catalog->event_fd};
    for (size_t i = 0; i < 3; i++) {
        struct epoll_event event = {.events = EPOLLIN};
        if (fds[i] < 0 || epoll_ctl(catalog->epoll_fd, EPOLL_CTL_ADD, fds[i], &event) < 0)
            return mg_err_set(err, MG_E_UNAVAILABLE, "cannot watch folders: %s", strerror(errno));
    }
    return MG_OK;
}

void watch_close(struct mg_catalog *catalog)
{
    const int fds[] = {catalog->inotify_fd, catalog->timer_fd, catalog->event_fd, catalog->epoll_fd};
    for (size_t i = 0; i < 4; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

void watch_wake(struct mg_catalog *catalog)
{
    uint64_t one = 1;
    if (write(catalog->event_fd, &one, sizeof one) < 0)
        MG_ASSERT(errno == EAGAIN); /* already awake */
}

bool watch_reported(const struct mg_catalog *catalog)
{
    int bytes = 0;
    return ioctl(catalog->inotify_fd, FIONREAD, &bytes) == 0 && bytes > 0;
}

bool watch_pending(const struct mg_catalog *catalog)
{
    /* In this order: what is not in the queue any more was taken out after `installing` was set. */
    return watch_reported(catalog) || __atomic_load_n(&catalog->installing, __ATOMIC_SEQ_CST);
}

/* The first watch of wd, or where it would be. */
static size_t place_of(const struct mg_catalog *catalog, int wd)
{
    size_t low = 0, high = catalog->n_watches;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (catalog->watches[middle].wd < wd)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void add_watch(struct mg_catalog *catalog, const char *dir, struct slot *slot, struct source *source)
{
    int wd = inotify_add_watch(catalog->inotify_fd, dir, mask);
    if (wd < 0) {
        if (errno == ENOSPC && !catalog->warned) {
            mg_log_warn("the kernel watches no more folders: later changes in %s and others are not seen; raise "
                        "fs.inotify.max_user_watches (sysctl)", dir);
            catalog->warned = true;
        }
        return;
    }
    if (catalog->n_watches == catalog->cap_watches) {
        catalog->cap_watches = catalog->cap_watches ? catalog->cap_watches * 2 : 16;
        catalog->watches = realloc(catalog->watches, catalog->cap_watches * sizeof *catalog->watches);
        MG_ASSERT(catalog->watches);
    }
    size_t at = place_of(catalog, wd);
    memmove(catalog->watches + at + 1, catalog->watches + at, (catalog->n_watches - at) * sizeof *catalog->watches);
    catalog->watches[at] = (struct watch){wd, slot, source};
    catalog->n_watches++;
}

void watch_forget(struct mg_catalog *catalog, const struct slot *slot, const struct source *source)
{
    for (size_t i = 0; i < catalog->n_watches;) {
        const struct watch *watch = &catalog->watches[i];
        if (!((slot && watch->slot == slot) || (source && watch->source == source))) {
            i++;
            continue;
        }
        int wd = watch->wd;
        catalog->n_watches--;
        memmove(catalog->watches + i, catalog->watches + i + 1, (catalog->n_watches - i) * sizeof *catalog->watches);
        size_t other = place_of(catalog, wd);
        if (other == catalog->n_watches || catalog->watches[other].wd != wd)
            inotify_rm_watch(catalog->inotify_fd, wd); /* fails when the folder is gone: it went with it */
    }
}

void watch_slot(struct mg_catalog *catalog, struct slot *slot)
{
    watch_forget(catalog, slot, NULL);
    add_watch(catalog, slot->dir, slot, NULL);
    slot->n_touched = 0;
    slot_read(catalog, slot, true);
}

static bool is_folder(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* A folder beneath a source: a slot, watched and read. */
static void take_folder(struct mg_catalog *catalog, struct source *source, const char *name)
{
    char path[PATH_MAX];
    struct slot *slot;
    int len = snprintf(path, sizeof path, "%s/%s", source->dir, name);
    if (*name == '.' || len >= (int)sizeof path || strlen(name) > CATALOG_NAME_MAX || !is_folder(path))
        return;
    slot = slot_of_dir(catalog, source, path);
    if (!slot && slot_add(catalog, source, mg_span(name), path, &slot) != MG_OK)
        return;
    watch_slot(catalog, slot);
}

static void remove_gone(struct mg_catalog *catalog, const struct source *source)
{
    for (size_t i = 0; i < catalog->n_slots;) {
        struct slot *slot = catalog->slots[i];
        if (slot->source == source && slot->dir && !is_folder(slot->dir))
            slot_remove(catalog, slot);
        else
            i++;
    }
}

void watch_source(struct mg_catalog *catalog, struct source *source)
{
    remove_gone(catalog, source);
    source->gone = !is_folder(source->dir);
    if (source->gone)
        return;
    if (source->single) {
        struct slot *slot = slot_of_dir(catalog, source, source->dir);
        const char *name = strrchr(source->dir, '/') + 1;
        if (slot || slot_add(catalog, source, mg_span(name), source->dir, &slot) == MG_OK)
            watch_slot(catalog, slot);
        return;
    }
    watch_forget(catalog, NULL, source);
    add_watch(catalog, source->dir, NULL, source);
    DIR *dir = opendir(source->dir);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        take_folder(catalog, source, entry->d_name);
    if (dir)
        closedir(dir);
}

static void touch(struct slot *slot, const char *name, int64_t until_ms)
{
    size_t i = 0;
    while (i < slot->n_touched && strcmp(slot->touched[i].name, name) != 0)
        i++;
    if (i == slot->n_touched) {
        if (!slot->touched)
            slot->touched = calloc(WATCH_TOUCHED_MAX, sizeof *slot->touched);
        if (!slot->touched || i == WATCH_TOUCHED_MAX)
            return;
        slot->n_touched++;
        snprintf(slot->touched[i].name, sizeof slot->touched[i].name, "%s", name);
    }
    slot->touched[i].until_ms = until_ms;
}

static void settled(struct slot *slot, const char *name)
{
    for (size_t i = 0; i < slot->n_touched; i++)
        if (strcmp(slot->touched[i].name, name) == 0) {
            slot->touched[i] = slot->touched[--slot->n_touched];
            return;
        }
}

static void slot_event(struct slot *slot, const struct inotify_event *event, int64_t now)
{
    if (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF)) {
        if (slot->source->single)
            slot->source->gone = true;
        else
            slot->source->lost = true;
        return;
    }
    if (!event->len || (event->mask & IN_ISDIR) || !catalog_is_file_of_udf(event->name))
        return;
    if (event->mask & IN_MODIFY) {
        touch(slot, event->name, INT64_MAX);
    } else if (event->mask & (IN_CLOSE_WRITE | IN_MOVED_TO)) {
        settled(slot, event->name);
        slot->wanted = true;
    } else if (event->mask & (IN_DELETE | IN_MOVED_FROM | IN_CREATE)) {
        touch(slot, event->name, now + WATCH_SETTLE_MS);
        slot->wanted = true;
    } else if (event->mask & IN_ATTRIB) {
        slot->wanted = true;
    }
}

static void source_event(struct mg_catalog *catalog, struct source *source, const struct inotify_event *event)
{
    if (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF))
        source->gone = true;
    else if (event->len && (event->mask & (IN_CREATE | IN_MOVED_TO)) && (event->mask & IN_ISDIR))
        take_folder(catalog, source, event->name);
    else if (event->len && (event->mask & (IN_DELETE | IN_MOVED_FROM)) && (event->mask & IN_ISDIR))
        source->lost = true;
}

static void read_all_again(struct mg_catalog *catalog)
{
    mg_log_warn("more changes than the kernel could report: all UDF folders are read again");
    for (size_t i = 0; i < catalog->n_sources; i++)
        if (catalog->sources[i]->dir)
            watch_source(catalog, catalog->sources[i]);
}

static void take_events(struct mg_catalog *catalog, int64_t now)
{
    _Alignas(struct inotify_event) char bytes[16384];
    ssize_t got;
    bool overflow = false;
    while ((got = read(catalog->inotify_fd, bytes, sizeof bytes)) > 0) {
        for (const char *at = bytes; at < bytes + got;) {
            const struct inotify_event *event = (const void *)at;
            at += sizeof *event + event->len;
            overflow = overflow || (event->mask & IN_Q_OVERFLOW);
            if (event->mask & (IN_Q_OVERFLOW | IN_IGNORED))
                continue;
            struct watch same[8]; /* copied: handling one may change the list */
            size_t n = 0;
            for (size_t i = place_of(catalog, event->wd);
                 i < catalog->n_watches && catalog->watches[i].wd == event->wd && n < 8; i++)
                same[n++] = catalog->watches[i];
            for (size_t i = 0; i < n; i++) {
                if (same[i].slot)
                    slot_event(same[i].slot, event, now);
                else
                    source_event(catalog, same[i].source, event);
            }
        }
    }
    if (overflow)
        read_all_again(catalog);
}

/* When the slot may be read: now (0), at a time, or not before another event (INT64_MAX). */
static int64_t slot_due(struct slot *slot, int64_t now)
{
    int64_t due = 0;
    for (size_t i = 0; i < slot->n_touched;) {
        if (slot->touched[i].until_ms <= now) {
            slot->touched[i] = slot->touched[--slot->n_touched];
            continue;
        }
        due = slot->touched[i].until_ms > due ? slot->touched[i].until_ms : due;
        i++;
    }
    return due;
}

static void arm(const struct mg_catalog *catalog, int64_t at_ms)
{
    struct itimerspec when = {{0, 0}, {at_ms / 1000, at_ms % 1000 * 1000000}};
    if (at_ms == INT64_MAX)
        when = (struct itimerspec){{0, 0}, {0, 0}};
    timerfd_settime(catalog->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* A source or a folder of it vanished: given time to return, as files are. */
static int64_t tend_sources(struct mg_catalog *catalog, int64_t now)
{
    int64_t next = INT64_MAX;
    for (size_t i = 0; i < catalog->n_sources; i++) {
        struct source *source = catalog->sources[i];
        if (!source->gone && !source->lost) {
            source->look_ms = 0;
            continue;
        }
        if (source->look_ms == 0)
            source->look_ms = now + WATCH_SETTLE_MS;
        if (source->look_ms <= now) {
            if (source->gone)
                watch_source(catalog, source);
            else
                remove_gone(catalog, source);
            source->lost = false;
            source->look_ms = source->gone ? now + WATCH_RETURN_MS : 0;
        }
        if (source->look_ms && source->look_ms < next)
            next = source->look_ms;
    }
    return next;
}

/* True: done, and *next is when there is more to do; false: more was reported meanwhile. */
static bool tend_once(struct mg_catalog *catalog, bool last, int64_t *next)
{
    int64_t now = now_ms();
    bool done = true;
    take_events(catalog, now);
    *next = tend_sources(catalog, now);
    for (size_t i = 0; i < catalog->n_slots; i++) {
        struct slot *slot = catalog->slots[i];
        int64_t due = slot->wanted ? slot_due(slot, now) : INT64_MAX;
        if (due == 0)
            done = slot_read(catalog, slot, last) && done;
        else if (due < *next)
            *next = due;
    }
    return done;
}

void watch_tend(struct mg_catalog *catalog)
{
    enum { TRIES = 4 }; /* folders that never rest shall not keep a look-up for ever */
    uint64_t ticks;
    int64_t next = INT64_MAX;
    __atomic_store_n(&catalog->installing, true, __ATOMIC_SEQ_CST);
    while (read(catalog->timer_fd, &ticks, sizeof ticks) > 0)
        continue;
    for (int i = 1; i <= TRIES && !tend_once(catalog, i == TRIES, &next); i++)
        continue;
    arm(catalog, next);
    __atomic_store_n(&catalog->installing, false, __ATOMIC_SEQ_CST);
}
