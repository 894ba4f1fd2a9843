/* Commands, called as main calls them: exit codes, what lies on disk after them, and what they print. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "catalog/folders.h"
#include "cli/cli.h"

#include "moongate/catalog.h"
#include "moongate/state.h"

#include <time.h>

static char output[65536];

/* Runs a command with words separated by blanks; `output` gets what it printed on standard output. */
static int command(mg_cmd_f *run, const char *line)
{
    char copy[1024], *argv[32], *save = NULL, path[200];
    int argc = 0;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok_r(copy, " ", &save); word && argc < 31; word = strtok_r(NULL, " ", &save))
        argv[argc++] = word;
    argv[argc] = NULL;
    snprintf(path, sizeof path, "%s", in("output"));
    fflush(stdout);
    int out = dup(1), err = dup(2), to = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    dup2(to, 1);
    dup2(to, 2);
    int code = run(argc, argv);
    fflush(stdout);
    dup2(out, 1);
    dup2(err, 2);
    ssize_t n = pread(to, output, sizeof output - 1, 0);
    output[n > 0 ? n : 0] = 0;
    close(out);
    close(err);
    close(to);
    return code;
}

static bool printed(const char *part) { return strstr(output, part) != NULL; }

static int set_up(void **state)
{
    if (folders_make(state) != 0)
        return -1;
    setenv("HOME", folders_root, 1);
    unsetenv("XDG_DATA_HOME");
    return chdir(folders_root);
}

static void new_writes_what_works(void **state)
{
    (void)state;
    struct mg_udf *udf = NULL;
    struct mg_errmsg err = {""};
    assert_int_equal(command(mg_cmd_new, "Grid"), 0);
    assert_int_equal(mg_udf_read("Grid", "folder", &udf, &err), MG_OK);
    assert_string_equal(udf->type, "vector_tile");
    assert_true(udf->has_view);
    mg_udf_unref(&udf);
    assert_int_equal(access("Grid/README.md", R_OK), 0);
    write_text("Grid/utils.lua", "-- mine\n");
    assert_int_equal(command(mg_cmd_new, "Grid"), 1);
    assert_true(printed("already there"));
    char mine[20] = "";
    FILE *file = fopen("Grid/utils.lua", "re");
    assert_non_null(fgets(mine, sizeof mine, file));
    fclose(file);
    assert_string_equal(mine, "-- mine\n");
    assert_int_equal(command(mg_cmd_new, "9lives"), 2);
    assert_int_equal(command(mg_cmd_new, "a-b"), 2);
    assert_int_equal(command(mg_cmd_new, ""), 2);
    assert_int_equal(command(mg_cmd_new, "Two Names"), 2);
    assert_int_equal(command(mg_cmd_new, "nowhere/Grid"), 1);
    assert_int_equal(command(mg_cmd_new, "--help"), 0);
    assert_true(printed("Usage: moongate new"));
}

static void data_directories(void **state)
{
    (void)state;
    struct mg_config config = {0};
    struct mg_errmsg err = {""};
    char dir[1024], expected[1024];
    struct stat st;
    assert_int_equal(mg_data_dir_name(&config, dir, sizeof dir, &err), MG_OK);
    if (geteuid() == 0)
        snprintf(expected, sizeof expected, "/var/lib/moongate"); /* what the unprivileged front can reach */
    else
        snprintf(expected, sizeof expected, "%s/.local/share/moongate", folders_root);
    assert_string_equal(dir, expected);
    setenv("XDG_DATA_HOME", in("xdg"), 1);
    assert_int_equal(mg_data_dir(&config, dir, sizeof dir, &err), MG_OK);
    assert_string_equal(dir, in("xdg/moongate"));
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    config.data = "here/data";
    assert_int_equal(mg_data_dir(&config, dir, sizeof dir, &err), MG_OK);
    assert_string_equal(dir, in("here/data"));
    assert_int_equal(mg_data_dir(&config, dir, 10, &err), MG_E_INVALID);
    config.data = "/dev/null/data";
    assert_int_equal(mg_data_dir(&config, dir, sizeof dir, &err), MG_E_IO);
    assert_non_null(strstr(err.text, "--data"));
    unsetenv("XDG_DATA_HOME");
}

static void base_urls(void **state)
{
    (void)state;
    static const struct {
        const char *listen, *public_url, *expected;
    } rows[] = {
        {"127.0.0.1:8080", NULL, "http://127.0.0.1:8080"},
        {"0.0.0.0:9000", NULL, "http://localhost:9000"},
        {"[::]:9000", NULL, "http://localhost:9000"},
        {":9000", NULL, "http://localhost:9000"},
        {"10.0.0.1:80", "https://tiles.example.org/", "https://tiles.example.org"},
    };
    char url[200];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct mg_config config = {.listen = rows[i].listen, .public_url = rows[i].public_url};
        mg_cli_base_url(&config, url, sizeof url);
        assert_string_equal(url, rows[i].expected);
    }
    make_dir(".moongate");
    write_text(".moongate/credentials", "{\"server\": \"http://h:1\", \"token\": \"t\", \"data\": \"/srv/moon\"}\n");
    struct mg_config config = {.listen = "127.0.0.1:8080", .data = "/srv/moon"};
    mg_cli_base_url(&config, url, sizeof url);
    assert_string_equal(url, "http://h:1");
    config.data = "/srv/other"; /* a server of other data */
    mg_cli_base_url(&config, url, sizeof url);
    assert_string_equal(url, "http://127.0.0.1:8080");
    config.listen = "127.0.0.1:8081";
    mg_cli_base_url(&config, url, sizeof url);
    assert_string_equal(url, "http://127.0.0.1:8081");
    unlink(in(".moongate/credentials"));
}

static enum mg_err check(const char *text)
{
    struct mg_state *state = NULL;
    struct mg_token token;
    struct mg_errmsg err = {""};
    assert_int_equal(mg_state_open(in("data"), &state, &err), MG_OK);
    enum mg_err status = mg_token_check(state, mg_span(text), time(NULL), &token, &err);
    mg_state_close(&state);
    return status;
}

static void tokens(void **state)
{
    (void)state;
    assert_int_equal(command(mg_cmd_token, "create Hello --data data --json --public-url https://h --expires 30d"), 0);
    json_t *json = json_loads(output, 0, NULL);
    const char *text = mg_json_str(json, "token", "");
    char expected[200], line[200];
    assert_int_equal(strlen(text), MG_TOKEN_LEN);
    snprintf(expected, sizeof expected, "https://h/%s/run/tiles/{z}/{x}/{y}", text);
    assert_string_equal(mg_json_str(json, "tile_url", ""), expected);
    snprintf(expected, sizeof expected, "L.tileLayer(\"https://h/%s/run/tiles/{z}/{x}/{y}\").addTo(map)", text);
    assert_string_equal(mg_json_str(json, "leaflet", ""), expected);
    assert_int_equal(check(text), MG_OK);

    assert_int_equal(command(mg_cmd_token, "list --data data"), 0);
    assert_true(printed("Hello"));
    assert_false(printed(text));
    assert_int_equal(command(mg_cmd_token, "list --data data --show"), 0);
    assert_true(printed(text));
    assert_int_equal(command(mg_cmd_token, "list --data data --json"), 0);
    assert_false(printed(text));
    snprintf(line, sizeof line, "show %s --data data", mg_json_str(json, "id", ""));
    assert_int_equal(command(mg_cmd_token, line), 0);
    assert_true(printed(text));
    assert_int_equal(command(mg_cmd_token, "show 00000000 --data data"), 1);
    assert_int_equal(command(mg_cmd_token, "show 0 --data data"), 1);

    snprintf(line, sizeof line, "revoke %s --data data", mg_json_str(json, "id", ""));
    assert_int_equal(command(mg_cmd_token, line), 0);
    assert_int_equal(check(text), MG_E_UNAUTHORIZED);
    assert_int_equal(command(mg_cmd_token, "list --data data"), 0);
    assert_true(printed("revoked"));
    json_decref(json);

    assert_int_equal(command(mg_cmd_token, "create Hello --data data --expires soon"), 2);
    assert_int_equal(command(mg_cmd_token, "create ../x --data data"), 2);
    assert_int_equal(command(mg_cmd_token, "create --data data"), 2);
    assert_int_equal(command(mg_cmd_token, "forge Hello --data data"), 2);
    assert_int_equal(command(mg_cmd_token, "list --dta data"), 2);
    assert_true(printed("did you mean --data?"));
}

static void account_links(void **state)
{
    (void)state;
    struct mg_state *store = NULL;
    struct mg_token token;
    struct mg_errmsg err = {""};
    assert_int_equal(command(mg_cmd_account, "link --data data --public-url https://h"), 0);
    assert_true(strncmp(output, "https://h/login/", 16) == 0);
    output[strcspn(output, "\n")] = 0;
    assert_int_equal(mg_state_open(in("data"), &store, &err), MG_OK);
    assert_int_equal(mg_link_use(store, mg_span(output + 16), time(NULL), &token, &err), MG_OK);
    assert_string_equal(token.account, "owner@local");
    assert_int_not_equal(mg_link_use(store, mg_span(output + 16), time(NULL), &token, &err), MG_OK);
    mg_state_close(&store);
    assert_int_equal(command(mg_cmd_account, "--data data"), 2);
}

static void doctor_reports(void **state)
{
    (void)state;
    command(mg_cmd_doctor, "--data data --json --listen 127.0.0.1:0");
    json_t *json = json_loads(output, 0, NULL);
    const json_t *checks = json_object_get(json, "checks");
    static const char *const wanted[] = {"kernel", "landlock", "sandbox", "libraries", "data directory", "state", "port"};
    for (size_t w = 0; w < sizeof wanted / sizeof *wanted; w++) {
        bool found = false;
        for (size_t i = 0; i < json_array_size(checks); i++)
            found = found || strcmp(mg_json_str(json_array_get(checks, i), "check", ""), wanted[w]) == 0;
        if (!found)
            fail_msg("doctor says nothing of: %s", wanted[w]);
    }
    json_decref(json);
    assert_int_equal(command(mg_cmd_doctor, "--data data --listen nonsense"), 1);
    assert_true(printed("--listen is ADDR:PORT"));
}

/* One call for all folders: the Lua library is set up once in a process. It is found beside the program (share/). */
static void check_names_file_and_line(void **state)
{
    (void)state;
    static const struct {
        const char *name, *module, *code, *part; /* part NULL: nothing is wrong */
    } rows[] = {
        {"Bad", "Bad", "local x = 1\nlocal y = x + nil\n", "/Bad/Bad.lua:2: "},
        {"Crash", "Crash", "local function f() return coroutine.wrap(f)() end f()\n", "ended the process"},
        {"Good", "Good", "local moon = require 'moon'\nreturn moon.udf(function(a) return a end, { a = 1 })\n", NULL},
        {"Module", "Module", "local moon = require 'moon'\nreturn moon.udf(function() end)\n", "/Module/helper.lua:2: "},
        {"Module", "helper", "local M = {}\nM.x = = 1\n", "/Module/helper.lua:2: "},
        {"Spy", "Spy", "require('moon')\nlocal f = io and io.open('/etc/passwd')\nerror('io is ' .. type(f))\n", "io is nil"},
        {"Syntax", "Syntax", "return = 1\n", "/Syntax/Syntax.lua:1: "},
    };
    char file[100];
    make_dir("check");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(file, sizeof file, "check/%s", rows[i].name);
        make_dir(file);
        snprintf(file, sizeof file, "check/%s/%s.lua", rows[i].name, rows[i].module);
        write_text(file, rows[i].code);
    }
    assert_int_equal(command(mg_cmd_check, "--json check"), 1);
    json_t *list = json_loads(output, JSON_DISABLE_EOF_CHECK, NULL);
    if (json_array_size(list) != 6)
        fail_msg("6 UDFs were to be checked: %s", output);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t k = 0; k < json_array_size(list); k++) {
            const json_t *one = json_array_get(list, k), *errors = json_object_get(one, "errors");
            if (strcmp(mg_json_str(one, "name", ""), rows[i].name) != 0)
                continue;
            const char *said = json_string_value(json_array_get(errors, 0));
            if (json_array_size(errors) != (rows[i].part != NULL) || (rows[i].part && !strstr(said, rows[i].part)))
                fail_msg("%s: \"%s\" should speak of \"%s\"", rows[i].name, said ? said : "nothing",
                         rows[i].part ? rows[i].part : "nothing");
        }
    json_decref(list);
    assert_int_equal(command(mg_cmd_check, ""), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_writes_what_works), cmocka_unit_test(data_directories), cmocka_unit_test(base_urls),
        cmocka_unit_test(tokens),                cmocka_unit_test(account_links),    cmocka_unit_test(doctor_reports),
        cmocka_unit_test(check_names_file_and_line),
    };
    return cmocka_run_group_tests(tests, set_up, folders_remove);
}
