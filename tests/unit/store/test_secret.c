/* Secrets: what is kept, how it lies on the disk, and what a moved or damaged record gives. */
#include "moongate/state.h"

#include "scratch.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char *dir;
static struct mg_state *state;

static int setup(void **unused)
{
    (void)unused;
    dir = scratch_make();
    assert_int_equal(mg_state_open(dir, &state, NULL), MG_OK);
    return 0;
}

static const char *get(const char *org, const char *name, char version[65])
{
    static char text[256];
    struct mg_buf out;
    mg_buf_init(&out, 0);
    enum mg_err e = mg_secret_get(state, org, name, &out, version, NULL);
    snprintf(text, sizeof text, "%s", e ? mg_err_name(e) : out.data);
    mg_buf_fini(&out);
    return text;
}

static bool list_one(void *context, const char *name, int64_t set_s)
{
    char *all = context;
    assert_true(set_s > 1600000000);
    strncat(all, name, 20);
    strncat(all, " ", 2);
    return true;
}

static void test_round(void **unused)
{
    (void)unused;
    char first[65], second[65], other[65], all[200] = "";
    struct mg_errmsg err;
    assert_string_equal(get("local", "KEY", first), "not_found");
    assert_string_equal(first, "-");
    assert_int_equal(mg_secret_set(state, "local", "KEY", mg_span("one and only value"), NULL), MG_OK);
    assert_int_equal(mg_secret_set(state, "local", "A", mg_span("a"), NULL), MG_OK);
    assert_int_equal(mg_secret_set(state, "localx", "KEY", mg_span("foreign"), NULL), MG_OK);
    assert_string_equal(get("local", "KEY", first), "one and only value");
    assert_string_equal(get("localx", "KEY", other), "foreign");
    assert_string_equal(get("loca", "KEY", other), "not_found");
    assert_int_equal(mg_secret_set(state, "local", "KEY", mg_span("one and only value"), NULL), MG_OK);
    get("local", "KEY", second);
    assert_string_not_equal(first, second); /* sealed anew */
    assert_int_equal(mg_secret_each(state, "local", list_one, all, NULL), MG_OK);
    assert_string_equal(all, "A KEY ");
    assert_int_equal(mg_secret_delete(state, "local", "A", NULL), MG_OK);
    assert_int_equal(mg_secret_delete(state, "local", "A", &err), MG_E_NOT_FOUND);
    assert_string_equal(get("local", "A", other), "not_found");
    static const char *const bad[] = {"", "1A", "a-b", "a b", "../x", "a.b",
                                      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(mg_secret_set(state, "local", bad[i], mg_span("x"), &err), MG_E_INVALID);
        assert_string_equal(get("local", bad[i], other), "not_found");
    }
    assert_int_equal(mg_secret_set(state, "local", "EMPTY", mg_span(""), &err), MG_E_INVALID);
    char *large = calloc(1, MG_SECRET_MAX + 1);
    assert_int_equal(mg_secret_set(state, "local", "L", (struct mg_span){large, MG_SECRET_MAX + 1}, &err), MG_E_INVALID);
    assert_int_equal(mg_secret_set(state, "local", "L", (struct mg_span){large, MG_SECRET_MAX}, &err), MG_OK);
    free(large);
}

/* Neither the value nor a piece of it lies on the disk. */
static void test_sealed(void **unused)
{
    (void)unused;
    char path[256], version[65];
    snprintf(path, sizeof path, "%s/state/data.mdb", dir);
    int fd = open(path, O_RDONLY);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    char *bytes = malloc((size_t)st.st_size);
    assert_int_equal(pread(fd, bytes, (size_t)st.st_size, 0), st.st_size);
    assert_null(memmem(bytes, (size_t)st.st_size, "only value", 10));
    assert_non_null(memmem(bytes, (size_t)st.st_size, "KEY", 3));
    free(bytes);
    close(fd);
    mg_state_close(&state);
    assert_int_equal(mg_state_open(dir, &state, NULL), MG_OK);
    assert_string_equal(get("local", "KEY", version), "one and only value");
}

static int teardown(void **unused)
{
    (void)unused;
    mg_state_close(&state);
    scratch_remove(dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round), cmocka_unit_test(test_sealed)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
