/* The folders of organisations: made when missing, owned by the organisation's uid. Zygote only. */
#ifndef MOONGATE_WORKER_ORG_DIRS_H
#define MOONGATE_WORKER_ORG_DIRS_H

#include "moongate/err.h"

#include <stdbool.h>

/* Letters, digits, '-', '_' and '.', not first; at most 63. */
bool org_name_valid(const char *org);
/* Makes data_dir/orgs/<org>/{fd,cache,scratch,layers}, gives the folder and the uid of its workers (0:
 * stay). With base_uid the owner of the fd folder is the record of which uid is whose: a new
 * organisation receives the next free one. */
MG_MUST_CHECK enum mg_err org_dirs_make(const char *data_dir, const char *org, unsigned base_uid,
                                        char *dir, size_t dir_size, unsigned *uid,
                                        struct mg_errmsg *err);
/* A file that every worker's uid could write and no worker may touch: what the sandbox's probes aim
 * at. */
MG_MUST_CHECK enum mg_err org_dirs_outside(const char *data_dir, char *path, size_t size,
                                           struct mg_errmsg *err);

#endif
