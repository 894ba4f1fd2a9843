/* What serve was given: folders, and files that become UDFs. */
#ifndef MOONGATE_CLI_SERVE_INPUTS_H
#define MOONGATE_CLI_SERVE_INPUTS_H

#include "moongate/config.h"
#include "moongate/front.h"

enum { MG_MAX_INPUTS = 16 };

struct mg_serve_inputs {
    const char *dirs[MG_MAX_INPUTS + 1];            /* real paths */
    struct mg_front_file files[MG_MAX_INPUTS + 1];
    const char *mounts[2 * MG_MAX_INPUTS + 1];      /* --mount, and one for the folder of each file */
};

/* MG_E_NOT_FOUND, MG_E_BAD_FILE: names the argument and what may be done. Files are looked at in a child process that
 * has no rights but to read them. */
MG_MUST_CHECK enum mg_err mg_serve_inputs_read(const struct mg_config *config, struct mg_serve_inputs *out,
                                               struct mg_errmsg *err);
void mg_serve_inputs_free(struct mg_serve_inputs *inputs);

#endif
