/* Configuration: flags, variables, their order, and what is said of mistakes; the nearest word. */
#include "moongate/config.h"
#include "moongate/nearest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

/* Words separated by blanks. */
static enum mg_err parse(const char *line, struct mg_config *out, struct mg_errmsg *err)
{
    static char words[8][1024]; /* the configuration borrows from them */
    static int next;
    char *copy = words[next++ % 8], *argv[100], *save = NULL;
    int argc = 0;
    snprintf(copy, sizeof words[0], "%s", line);
    for (char *word = strtok_r(copy, " ", &save); word && argc < 99; word = strtok_r(NULL, " ", &save))
        argv[argc++] = word;
    argv[argc] = NULL;
    return mg_config_parse(argc, argv, out, err);
}

static void defaults_and_flags(void **state)
{
    (void)state;
    struct mg_config config;
    struct mg_errmsg err = {""};
    assert_int_equal(parse("", &config, &err), MG_OK);
    assert_string_equal(config.listen, "127.0.0.1:8080");
    assert_int_equal(config.timeout, 30);
    assert_null(config.data);
    assert_null(config.mount[0]);
    assert_false(config.json);
    assert_int_equal(config.n_args, 0);
    assert_int_equal(parse("a --workers 3 --listen=[::1]:0 b --mount x=/x --json --mount=y=/y -o out.png -- --c", &config, &err),
                     MG_OK);
    assert_int_equal(config.workers, 3);
    assert_string_equal(config.listen, "[::1]:0");
    assert_string_equal(config.mount[0], "x=/x");
    assert_string_equal(config.mount[1], "y=/y");
    assert_null(config.mount[2]);
    assert_true(config.json);
    assert_string_equal(config.output, "out.png");
    assert_int_equal(config.n_args, 3);
    assert_string_equal(config.args[2], "--c");
    assert_null(config.args[3]);
    assert_int_equal(parse("--json=false --workers 3 --workers 4 --bounds -1,-2,3,4 -", &config, &err), MG_OK);
    assert_false(config.json);
    assert_int_equal(config.workers, 4);
    assert_string_equal(config.bounds, "-1,-2,3,4");
    assert_string_equal(config.args[0], "-");
    assert_int_equal(parse("-h", &config, &err), MG_OK);
    assert_true(config.help);
}

static void variables(void **state)
{
    (void)state;
    struct mg_config config;
    struct mg_errmsg err = {""};
    setenv("MOONGATE_PUBLIC_URL", "https://h", 1);
    setenv("MOONGATE_WORKERS", "7", 1);
    setenv("MOONGATE_NO_EXAMPLES", "yes", 1);
    setenv("MOONGATE_MOUNT", "a=/a,b=/b", 1);
    setenv("MOONGATE_DATA", "", 1);
    assert_int_equal(parse("", &config, &err), MG_OK);
    assert_string_equal(config.public_url, "https://h");
    assert_int_equal(config.workers, 7);
    assert_true(config.no_examples);
    assert_string_equal(config.mount[0], "a=/a");
    assert_string_equal(config.mount[1], "b=/b");
    assert_null(config.data);
    assert_int_equal(parse("--workers 2 --mount c=/c --no-examples=0", &config, &err), MG_OK);
    assert_int_equal(config.workers, 2);
    assert_string_equal(config.mount[0], "c=/c");
    assert_null(config.mount[1]);
    assert_false(config.no_examples);
    setenv("MOONGATE_WORKERS", "many", 1);
    assert_int_equal(parse("", &config, &err), MG_E_INVALID);
    assert_non_null(strstr(err.text, "MOONGATE_WORKERS"));
    unsetenv("MOONGATE_PUBLIC_URL");
    unsetenv("MOONGATE_WORKERS");
    unsetenv("MOONGATE_NO_EXAMPLES");
    unsetenv("MOONGATE_MOUNT");
    unsetenv("MOONGATE_DATA");
}

static void mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *line, *part, *why;
    } rows[] = {
        {"--wokers 3", "did you mean --workers?", "a typing error"},
        {"--zzzzzz", "--help lists", "nothing near"},
        {"--workers", "--workers: a value is expected", "no value"},
        {"--listen --json", "--listen: a value is expected", "a flag in the place of a value"},
        {"--data=", "--data: a value is expected", "an empty value"},
        {"--workers x", "whole number from 0 to 1024", "no number"},
        {"--workers 1.5", "whole number", "half a worker"},
        {"--workers 1025", "from 0 to 1024", "too many"},
        {"--workers -1", "from 0 to 1024", "too few"},
        {"--timeout 0", "from 1 to 3600", "below the range"},
        {"--workers 99999999999999999999", "whole number", "beyond 64 bits"},
        {"--json=maybe", "true or false", "neither"},
        {"-x", "no flag -x", "an unknown letter"},
        {"-oo", "no flag -oo", "letters do not combine"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_config config = {.n_args = -7};
        struct mg_errmsg err = {""};
        if (parse(rows[i].line, &config, &err) != MG_E_INVALID || !strstr(err.text, rows[i].part))
            fail_msg("%s: \"%s\" should speak of \"%s\"", rows[i].why, err.text, rows[i].part);
        assert_int_equal(config.n_args, -7);
    }
    char line[1024] = "";
    for (int i = 0; i < 33; i++)
        strncat(line, "--mount a=/a ", sizeof line - strlen(line) - 1);
    struct mg_config config;
    struct mg_errmsg err = {""};
    assert_int_equal(parse(line, &config, &err), MG_E_INVALID);
    assert_non_null(strstr(err.text, "more than 32"));
}

static void help(void **state)
{
    (void)state;
    struct mg_buf out;
    mg_buf_init(&out, 0);
    mg_config_help(&out);
    assert_non_null(strstr(out.data, "--listen VALUE"));
    assert_non_null(strstr(out.data, "(default 127.0.0.1:8080)"));
    mg_buf_fini(&out);
    mg_buf_init(&out, 0);
    mg_config_help_of((const char *const[]){"json", NULL}, &out);
    assert_non_null(strstr(out.data, "--json"));
    assert_null(strstr(out.data, "--listen"));
    mg_buf_fini(&out);
}

static void nearest(void **state)
{
    (void)state;
    static const char *const words[] = {"bounds", "low", "high", "scene", "cache_max_age"};
    static const struct {
        const char *word, *expected;
    } rows[] = {{"bonds", "bounds"}, {"lwo", "low"},   {"LOW", "low"},   {"hihg", "high"}, {"x", NULL},
                {"scenes", "scene"}, {"abc", NULL},    {"", NULL},       {"cache_maxage", "cache_max_age"},
                {"l", NULL},         {"sceen", "scene"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *found = mg_nearest(mg_span(rows[i].word), words, sizeof words / sizeof *words);
        if ((found == NULL) != (rows[i].expected == NULL) || (found && strcmp(found, rows[i].expected) != 0))
            fail_msg("\"%s\": %s, expected %s", rows[i].word, found ? found : "none", rows[i].expected ? rows[i].expected : "none");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_and_flags), cmocka_unit_test(variables), cmocka_unit_test(mistakes),
        cmocka_unit_test(help),               cmocka_unit_test(nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
