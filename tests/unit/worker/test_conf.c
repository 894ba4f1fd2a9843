/* moongate.conf.lua: what it may say, what counts before it, and what is said of mistakes. */
#include "moongate/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char path[] = "/tmp/moongate-conf-XXXXXX";

static void write_file(const char *lua)
{
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    assert_true(fputs(lua, out) >= 0 && fclose(out) == 0);
}

static enum mg_err parse(const char *lua, const char *flag, struct mg_config *out, struct mg_errmsg *err)
{
    static char config_flag[] = "--config", given[64];
    char *argv[] = {config_flag, path, given, NULL};
    snprintf(given, sizeof given, "%s", flag ? flag : "");
    write_file(lua);
    return mg_config_parse(flag ? 3 : 2, argv, out, err);
}

static void settings(void **state)
{
    (void)state;
    struct mg_config config;
    struct mg_errmsg err = {""};
    assert_int_equal(parse("-- two servers share this\n"
                           "listen = '0.0.0.0:' .. (8000 + 81)\n"
                           "workers = 3\n"
                           "json = true\n"
                           "trusted_proxy = { '10.0.0.0/8', '192.0.2.1' }\n"
                           "local mine = 5\n"
                           "timeout = mine * 2\n"
                           "public_url = env 'CONF_TEST_URL'\n",
                           NULL, &config, &err),
                     MG_OK);
    assert_string_equal(config.listen, "0.0.0.0:8081");
    assert_int_equal(config.workers, 3);
    assert_true(config.json);
    assert_string_equal(config.trusted_proxy[0], "10.0.0.0/8");
    assert_string_equal(config.trusted_proxy[1], "192.0.2.1");
    assert_null(config.trusted_proxy[2]);
    assert_int_equal(config.timeout, 10);
    assert_null(config.public_url);
    assert_int_equal(setenv("CONF_TEST_URL", "https://maps.example.org", 1), 0);
    assert_int_equal(parse("public_url = env('CONF_TEST_URL')", NULL, &config, &err), MG_OK);
    assert_string_equal(config.public_url, "https://maps.example.org");
}

static void order(void **state)
{
    (void)state;
    struct mg_config config;
    struct mg_errmsg err = {""};
    assert_int_equal(parse("workers = 3", "--workers=5", &config, &err), MG_OK);
    assert_int_equal(config.workers, 5);
    assert_int_equal(setenv("MOONGATE_WORKERS", "4", 1), 0);
    assert_int_equal(setenv("MOONGATE_MOUNT", "a=/a", 1), 0);
    assert_int_equal(parse("workers = 3 mount = { 'b=/b', 'c=/c' }", NULL, &config, &err), MG_OK);
    assert_int_equal(config.workers, 4);
    assert_string_equal(config.mount[0], "a=/a");
    assert_null(config.mount[1]);
    assert_int_equal(unsetenv("MOONGATE_WORKERS") | unsetenv("MOONGATE_MOUNT"), 0);
    assert_int_equal(setenv("MOONGATE_CONFIG", path, 1), 0);
    assert_int_equal(mg_config_parse(0, NULL, &config, &err), MG_OK);
    assert_int_equal(config.workers, 3);
    assert_int_equal(unsetenv("MOONGATE_CONFIG"), 0);
}

static void mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *lua, *says, *why;
    } rows[] = {
        {"workers = ", ":1:", "a syntax error has its line"},
        {"\nerror 'no'", ":2:", "an error has its line"},
        {"worker = 3", "did you mean workers", "the nearest name is told"},
        {"workers = 'many'", "workers: a whole number", "a value out of its type"},
        {"workers = {1, {}}", "is a table", "a list of lists"},
        {"workers = print", NULL, "what is not lent is nil, and no setting"},
        {"listen = function() end", "is a function", "a function"},
        {"os.execute 'true'", "os", "there are no processes"},
        {"require 'ffi'", "require", "there are no modules"},
        {"config = 'x'", "no setting config", "a file does not name another"},
        {"\x1bLJ\x02", "wrong mode", "text only"},
        {"_G_x = 1", "no setting", "no foreign globals"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_config config;
        struct mg_errmsg err = {""};
        enum mg_err status = parse(rows[i].lua, NULL, &config, &err);
        if (!rows[i].says && status != MG_OK)
            fail_msg("%s: %s", rows[i].why, err.text);
        if (rows[i].says && (status != MG_E_INVALID || !strstr(err.text, rows[i].says)))
            fail_msg("%s: %d \"%s\"", rows[i].why, status, err.text);
    }
    char flag[] = "--config=/nowhere/moongate.conf.lua", *argv[] = {flag, NULL};
    struct mg_config config;
    struct mg_errmsg err = {""};
    assert_int_equal(mg_config_parse(1, argv, &config, &err), MG_E_INVALID);
    assert_non_null(strstr(err.text, "/nowhere/moongate.conf.lua"));
}

static int open_file(void **state)
{
    (void)state;
    mg_config_reader(mg_conf_read);
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(settings), cmocka_unit_test(order), cmocka_unit_test(mistakes)};
    return cmocka_run_group_tests(tests, open_file, remove_file);
}
