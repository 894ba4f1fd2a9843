/* The scratch folder of a worker: its own, empty at the start of each run, gone with the worker.
 *
 * Where the kernel lets a worker mount, the sandbox lays a file system in memory over it, of
 * SCRATCH_BYTES (sandbox.c); elsewhere it is a plain folder, and the zygote ends a worker that has
 * more there. Zygote, but for scratch_empty. */
#ifndef MOONGATE_WORKER_SCRATCH_H
#define MOONGATE_WORKER_SCRATCH_H

#include "moongate/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

enum { SCRATCH_BYTES = 256 << 20, SCRATCH_FILES = 4096 };

/* Makes <org_dir>/scratch/<link>-<id>, owned by the uid (0: by us); gives its path. */
MG_MUST_CHECK enum mg_err scratch_make(const char *org_dir, unsigned link, uint64_t id, unsigned uid,
                                       char *path, size_t size, struct mg_errmsg *err);
/* The folder and all in it; a failure is logged. */
void scratch_remove(const char *path);
/* What the workers of a killed zygote left, in all organisations. */
void scratch_sweep(const char *data_dir);
/* Whether the files in it take more than the limits, on the disk; `holds`: whether there are any. */
bool scratch_is_over(const char *path, bool *holds);

/* Removes what lies in the open folder. False: something is left. */
bool scratch_empty(int dirfd);
/* The same for a folder that is seldom written to: looks only when its time tells a change. `seen`
 * is the caller's, zero at first. Cost: two system calls. */
bool scratch_tidy(int dirfd, struct stat *seen);

#endif
