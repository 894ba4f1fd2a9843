/* moongate list: UDFs of folders and the examples. */
#include "moongate/catalog.h"
#include "moongate/log.h"

#include "cli.h"
#include "share.h"

#include <stdio.h>
#include <stdlib.h>

/* The first line of a Markdown text, without its marks. */
static void first_line(const char *text, char *out, size_t size)
{
    text += strspn(text, "# \n");
    int len = (int)strcspn(text, "\n");
    snprintf(out, size, "%.*s", len < 90 ? len : 90, text);
    while (*out && ((unsigned char)out[strlen(out) - 1] & 0xC0) == 0x80 && len > 90) /* no half character */
        out[strlen(out) - 1] = 0;
}

static json_t *as_json(const struct mg_udf *udf)
{
    json_t *json = json_pack("{ss ss ss ss ss sb}", "name", udf->name, "type", udf->type, "source", udf->source, "dir",
                             udf->dir, "description", udf->description, "public", udf->is_public);
    if (udf->broken)
        json_object_set_new(json, "broken", json_string(udf->broken));
    if (udf->has_view)
        json_object_set_new(json, "view", json_pack("{sf sf sf}", "lng", udf->lng, "lat", udf->lat, "zoom", udf->zoom));
    return json;
}

static void print(const struct mg_config *config, struct mg_catalog *catalog)
{
    size_t n;
    struct mg_udf **list = mg_catalog_list(catalog, &n);
    struct mg_cli_table table = {.columns = 4};
    json_t *json = json_array();
    if (n) {
        mg_cli_cell(&table, "NAME");
        mg_cli_cell(&table, "TYPE");
        mg_cli_cell(&table, "SOURCE");
        mg_cli_cell(&table, "DESCRIPTION");
    }
    for (size_t i = 0; i < n; i++) {
        char line[420];
        first_line(list[i]->description, line, sizeof line);
        if (list[i]->broken)
            snprintf(line, sizeof line, "broken: %.400s", list[i]->broken);
        mg_cli_cell(&table, list[i]->name);
        mg_cli_cell(&table, list[i]->type);
        mg_cli_cell(&table, list[i]->source);
        mg_cli_cell(&table, line);
        json_array_append_new(json, as_json(list[i]));
        mg_udf_unref(&list[i]);
    }
    free(list);
    if (config->json)
        mg_cli_print_json(json_incref(json));
    else if (!n)
        fprintf(stderr, "moongate: no UDFs; `moongate new NAME` writes one\n");
    if (config->json)
        mg_buf_fini(&table.cells);
    else
        mg_cli_print_table(&table);
    json_decref(json);
}

int mg_cmd_list(int argc, char **argv)
{
    struct mg_config config;
    struct mg_share share;
    struct mg_errmsg err = {""};
    if (mg_config_parse(argc, argv, &config, &err) != MG_OK)
        return mg_cli_fail(2, &err);
    if (config.help)
        return mg_cli_help("list [DIR…]", "Lists the UDFs of the folders, and the examples, as serve would have them.\n");
    mg_log_init("list", MG_LOG_ERROR, false);
    struct mg_catalog *catalog = NULL;
    enum mg_err status = mg_catalog_open(&catalog, &err);
    if (!status && !config.no_examples)
        status = mg_share_find(&share, &err);
    if (!status && !config.no_examples && share.udfs)
        status = mg_catalog_add_dir(catalog, share.udfs, "example", &err);
    for (int i = 0; i < config.n_args && !status; i++)
        status = mg_catalog_add_dir(catalog, config.args[i], "folder", &err);
    if (!status)
        print(&config, catalog);
    mg_catalog_close(&catalog);
    return status ? mg_cli_fail(1, &err) : 0;
}
