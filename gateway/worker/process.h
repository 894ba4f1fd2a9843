/* What the zygote hands to a worker that it forks. */
#ifndef MOONGATE_WORKER_PROCESS_H
#define MOONGATE_WORKER_PROCESS_H

#include "moongate/sandbox.h"
#include "moongate/worker.h"

struct worker_start {
    int sock; /* the link to the front */
    int channel_fd;
    const char *org_dir;           /* data_dir/orgs/<org>, with fd and cache in it */
    const char *scratch_dir;       /* this worker's own; empty */
    const struct mg_mount *layers; /* example data and mounts, opened by the zygote */
    size_t n_layers;
    const char *const *read_paths; /* NULL-terminated */
    const char *outside;           /* for the sandbox's probes */
    unsigned uid;                  /* 0: stay */
    size_t data_bytes;
    uint64_t quota_bytes;          /* of the organisation's files; 0: no limit */
};

/* In the forked process: confines it, warms it, serves until the link ends. Returns the exit code.
 */
int mg_worker_main(const struct worker_start *start);

#endif
