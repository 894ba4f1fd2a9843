/* The master: binds, starts the children, connects them, restarts a dead one with back-off, stops all.
 *
 * It parses nothing that comes from outside. Each child has a control link to it (MG_MSG_PEER, STOP, PING…);
 * whenever a child (re)starts, each of its links to living peers is made anew and both get their end as PEER.
 * A child that does not answer three pings is killed. SIGTERM and SIGINT stop gracefully, SIGHUP reloads. */
#ifndef MOONGATE_MASTER_H
#define MOONGATE_MASTER_H

#include "moongate/err.h"

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
    const char *run_dir; /* crash reports (crash-<name>.txt: signal or status, time) are written here */
};

/* Runs until stopped; returns the exit code. Back-off: 100 ms doubling to 10 s, reset after 60 s of life. */
int mg_master_run(const struct mg_master *master);

/* For a child: sets its name, default signals, PR_SET_PDEATHSIG, and forgets the master's signal handlers. */
void mg_child_setup(const char *name);

#endif
