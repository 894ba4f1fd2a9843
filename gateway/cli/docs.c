/* moongate docs: the reference of the Lua library in the terminal, and as JSON for editors. */
#include "moongate/reference.h"

#include "cli.h"
#include "share.h"

#include <stdio.h>

static const char usage[] = "docs [NAME]";

int mg_cmd_docs(int argc, char **argv)
{
    struct mg_config config;
    struct mg_share share;
    struct mg_errmsg err = {""};
    struct mg_buf text;
    json_t *reference = NULL;
    if (mg_config_parse(argc, argv, &config, &err) != MG_OK)
        return mg_cli_fail(2, &err);
    if (config.help)
        return mg_cli_help(
            usage, "Lists the functions of the Lua library, or says all of one: `moongate docs map`,\n"
                   "`moongate docs Raster:slope`, `moongate docs raster`. --json: all of it, for editors.\n");
    if (config.n_args > 1)
        return mg_cli_usage(usage, "one name at most");
    enum mg_err status = mg_share_find(&share, &err);
    if (!status)
        status = mg_reference_load(share.lua, &reference, &err);
    if (status)
        return mg_cli_fail(1, &err);
    if (config.json) {
        mg_cli_print_json(reference);
        return 0;
    }
    mg_buf_init(&text, 0);
    status = mg_reference_text(reference, config.n_args ? config.args[0] : NULL, &text, &err);
    if (!status)
        fputs(text.data ? text.data : "", stdout);
    mg_buf_fini(&text);
    json_decref(reference);
    return status ? mg_cli_fail(1, &err) : 0;
}
