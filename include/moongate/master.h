/* The master: binds, starts the children, connects them, restarts a dead one with back-off, stops all.
 *
 * It parses nothing that comes from outside. Each child has a control link to it (MG_MSG_PEER, STOP, PING…);
 * whenever a child (re)starts, each of its links to living peers is made anew and both get their end as PEER.
 * A child that does not answer three pings is killed. SIGTERM and SIGINT stop gracefully, SIGHUP reloads. */
#ifndef MOONGATE_MASTER_H
#define MOONGATE_MASTER_H

#include "moongate/msg.h"

/* Runs in the forked child; returns its exit code. `control` is its link to the master. */
typedef int mg_child_main_f(int control, void *context);

struct mg_child {
    enum { MG_CHILD_FRONT = 1, MG_CHILD_ZYGOTE, MG_CHILD_FETCHER } role; /* equals enum mg_role */
    const char *name;
    mg_child_main_f *main;
    void *context;
};

struct mg_master {
    const struct mg_child *children;
    size_t n_children;
    /* Called once in the master when every child has said STARTED the first time. */
    void (*on_ready)(void *context);
    void *context;
    const char *run_dir; /* crash reports (crash-<name>.txt: signal or status, time) are written here; NULL: none */
    unsigned grace_ms;   /* for the front to drain at a stop; 0: 10,000. The others then have 2,000 */
    unsigned ping_ms;    /* 0: 5,000 */
    unsigned backoff_ms; /* first wait before a restart; 0: 100 */
    /* At a SIGHUP these are opened with the master's rights and go to the front with RELOAD, in this order: a private
     * key is root's alone, and the front is not root. Up to MG_MSG_MAX_FDS; NULL where there are fewer. */
    const char *reload_files[MG_MSG_MAX_FDS];
};

/* Runs until stopped; returns the exit code. Back-off: 100 ms doubling to 10 s, reset after 60 s of life. A child
 * that exits with a status before all have STARTED the first time (a broken set-up, not a crash) stops all, and its
 * status is the exit code. A second SIGTERM or SIGINT kills at once. */
int mg_master_run(const struct mg_master *master);

/* What a child does first (the master has done it when main is called): its name, PR_SET_PDEATHSIG, and signals:
 * INT, TERM and HUP are ignored, because a terminal or a service manager sends them to all of us and the master alone
 * decides what follows; PIPE is ignored; the rest is as it is by default, nothing is blocked. */
void mg_child_setup(const char *name);
/* Unmaps what a loaded library has in memory only because loading it read it (its tables of relocations, mostly): its
 * pages that nobody can write, which come back from the file when they are touched. Gives the bytes of these segments. */
size_t mg_child_drop_clean(const char *library);

/* A child's end of its control link, for any kind of event loop: call it while it gives MG_OK when the link is
 * readable. PINGs are answered in it. MG_OK: a PEER (with *fd, now the caller's), STOP or RELOAD; *fd is -1 for the
 * others. MG_E_CANCELLED: nothing more for now. MG_E_UNAVAILABLE: the master is gone, exit. */
MG_MUST_CHECK enum mg_err mg_control_recv(int control, struct mg_msg *msg, int *fd);
/* Tells the master that the child serves. */
void mg_control_started(int control);

#endif
