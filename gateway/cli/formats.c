/* moongate formats: the formats of this program and their options, as /formats lists them. */
#include "moongate/formats.h"

#include "cli.h"

#include <stdio.h>

static const char usage[] = "formats [FORMAT]";

static void print_all(void)
{
    struct mg_cli_table table = {.columns = 3};
    const struct mg_codec *codec;
    for (size_t i = 0; (codec = mg_codec_at(i)); i++) {
        struct mg_buf names, kinds;
        mg_buf_init(&names, 0);
        mg_buf_init(&kinds, 0);
        mg_buf_printf(&names, "%s%s%s", codec->name, codec->aliases ? "," : "", codec->aliases ? codec->aliases : "");
        mg_format_kinds(codec, ", ", &kinds);
        mg_cli_cell(&table, names.data ? names.data : "");
        mg_cli_cell(&table, kinds.data ? kinds.data : "");
        mg_cli_cell(&table, codec->mime);
        mg_buf_fini(&names);
        mg_buf_fini(&kinds);
    }
    mg_cli_print_table(&table);
}

static void print_one(const struct mg_codec *codec)
{
    struct mg_cli_table table = {.columns = 3};
    size_t n = mg_option_count(codec);
    for (size_t i = 0; i < n; i++) {
        struct mg_buf name, text;
        mg_buf_init(&name, 0);
        mg_buf_init(&text, 0);
        mg_buf_printf(&name, "%s.%s", codec->name, codec->options[i].name);
        mg_option_describe(&codec->options[i], &text);
        mg_cli_cell(&table, name.data ? name.data : "");
        mg_cli_cell(&table, text.data ? text.data : "");
        mg_cli_cell(&table, codec->options[i].help);
        mg_buf_fini(&name);
        mg_buf_fini(&text);
    }
    if (n)
        mg_cli_print_table(&table);
    else
        printf("%s has no options\n", codec->name);
}

int mg_cmd_formats(int argc, char **argv)
{
    struct mg_config config;
    struct mg_errmsg err = {""};
    if (mg_config_parse(argc, argv, &config, &err) != MG_OK)
        return mg_cli_fail(2, &err);
    if (config.help)
        return mg_cli_help(usage, "Lists the formats of answers, or the options of one. --markdown: the README's table.\n");
    const struct mg_codec *codec = config.n_args ? mg_codec_find(mg_span(config.args[0])) : NULL;
    if (config.n_args > 1 || (config.n_args && !codec))
        return mg_cli_usage(usage, config.n_args > 1 ? "one format at most" : "there is no format \"%.40s\"",
                            config.args[0]);
    if (config.json) {
        mg_cli_print_json(mg_formats_json());
    } else if (config.markdown) {
        struct mg_buf text;
        mg_buf_init(&text, 0);
        mg_formats_markdown(&text);
        fputs(text.data ? text.data : "", stdout);
        mg_buf_fini(&text);
    } else if (codec) {
        print_one(codec);
    } else {
        print_all();
    }
    return 0;
}
