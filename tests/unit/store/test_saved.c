/* Saved UDFs in the state: names, revisions, versions, and what a kill leaves behind. */
#include "moongate/saved.h"

#include "store/scratch.h"

#include <signal.h>
#include <sys/wait.h>

static char *dir;

static int set_up(void **context)
{
    (void)context;
    dir = scratch_make();
    return 0;
}

static int tear_down(void **context)
{
    (void)context;
    scratch_remove(dir);
    return 0;
}

static struct mg_state *open_state(void)
{
    struct mg_state *state = NULL;
    struct mg_errmsg err = {""};
    if (mg_state_open(dir, &state, &err) != MG_OK)
        fail_msg("the state opens: %s", err.text);
    return state;
}

static enum mg_err create(struct mg_state *state, const char *org, const char *name, bool is_public,
                          const char *package, struct mg_saved *out)
{
    *out = (struct mg_saved){.is_public = is_public};
    snprintf(out->org, sizeof out->org, "%s", org);
    snprintf(out->account, sizeof out->account, "owner@%s", org);
    snprintf(out->name, sizeof out->name, "%s", name);
    return mg_saved_create(state, out, mg_span(package), NULL);
}

static void test_names(void **context)
{
    (void)context;
    struct mg_state *state = open_state();
    struct mg_saved a, b, c, found;
    assert_int_equal(create(state, "one", "Hello", true, "x", &a), MG_OK);
    assert_int_equal(create(state, "one", "Hello", false, "x", &b), MG_E_CONFLICT);
    assert_int_equal(create(state, "two", "Hello", false, "x", &b), MG_OK);
    assert_int_equal(create(state, "two", "World", true, "x", &c), MG_OK);
    assert_int_equal(mg_saved_get(state, "one", mg_span("Hello"), &found, NULL), MG_OK);
    assert_string_equal(found.id, a.id);
    assert_int_equal(mg_saved_get(state, "one", mg_span(b.id), &found, NULL), MG_E_NOT_FOUND);
    assert_int_equal(mg_saved_get(state, "two", mg_span(a.id), &found, NULL), MG_E_NOT_FOUND);
    assert_int_equal(mg_saved_get(state, "two", mg_span(b.id), &found, NULL), MG_OK);
    assert_int_equal(mg_saved_get_public(state, mg_span("Hello"), &found, NULL), MG_OK);
    assert_string_equal(found.org, "one");
    /* A public name is one among all: neither made public nor renamed to. */
    struct mg_saved_change open = {.by = "x", .is_public = 1},
                           rename = {.by = "x", .name = "Hello", .is_public = -1};
    assert_int_equal(mg_saved_change(state, "two", b.id, &open, &found, NULL), MG_E_CONFLICT);
    assert_int_equal(mg_saved_change(state, "two", c.id, &rename, &found, NULL), MG_E_CONFLICT);
    assert_int_equal(mg_saved_get(state, "two", mg_span("World"), &found, NULL), MG_OK);
    assert_int_equal(mg_saved_delete(state, "two", a.id, 0, NULL), MG_E_NOT_FOUND);
    assert_int_equal(mg_saved_delete(state, "one", a.id, 0, NULL), MG_OK);
    assert_int_equal(mg_saved_get_public(state, mg_span("Hello"), &found, NULL), MG_E_NOT_FOUND);
    assert_int_equal(mg_saved_change(state, "two", b.id, &open, &found, NULL), MG_OK);
    mg_state_close(&state);
}

static bool count(void *context, const struct mg_saved_version *version)
{
    int64_t *expected = context;
    assert_int_equal(version->number, (*expected)--);
    return true;
}

static void test_versions(void **context)
{
    (void)context;
    struct mg_state *state = open_state();
    struct mg_saved saved, old;
    struct mg_buf bytes;
    assert_int_equal(create(state, "one", "Hello", false, "first", &saved), MG_OK);
    old = saved;
    const char *const texts[] = {"second", "second", "third"};
    for (size_t i = 0; i < 3; i++) {
        struct mg_saved_change change = {.by = "b@one", .package = mg_span(texts[i]),
                                         .if_revision = saved.revision, .is_public = -1};
        assert_int_equal(mg_saved_change(state, "one", saved.id, &change, &saved, NULL), MG_OK);
    }
    assert_int_equal(saved.last_version, 3);
    struct mg_saved_change late = {.by = "c@one", .package = mg_span("late"),
                                   .if_revision = old.revision, .is_public = -1};
    assert_int_equal(mg_saved_change(state, "one", saved.id, &late, &old, NULL), MG_E_PRECONDITION);
    int64_t expected = 3;
    assert_int_equal(mg_saved_versions(state, &saved, count, &expected, NULL), MG_OK);
    assert_int_equal(expected, 0);
    struct mg_saved_change back = {.by = "b@one", .to_version = 1, .is_public = -1},
                           none = {.by = "b@one", .to_version = 7, .is_public = -1};
    assert_int_equal(mg_saved_change(state, "one", saved.id, &none, &saved, NULL), MG_E_NOT_FOUND);
    assert_int_equal(mg_saved_change(state, "one", saved.id, &back, &saved, NULL), MG_OK);
    mg_buf_init(&bytes, 0);
    assert_int_equal(mg_saved_package(state, &saved, &saved.package, &bytes, NULL), MG_OK);
    assert_string_equal(bytes.data, "first");
    mg_buf_fini(&bytes);
    assert_int_equal(mg_saved_delete(state, "one", saved.id, saved.revision + 1, NULL), MG_E_PRECONDITION);
    assert_int_equal(mg_saved_delete(state, "one", saved.id, 0, NULL), MG_OK);
    mg_buf_init(&bytes, 0);
    assert_int_equal(mg_saved_package(state, &saved, &saved.package, &bytes, NULL), MG_E_NOT_FOUND);
    mg_buf_fini(&bytes);
    mg_state_close(&state);
}

static bool collect(void *context, const struct mg_saved *saved)
{
    size_t *n = context;
    char name[32];
    snprintf(name, sizeof name, "N%04zu", (*n)++);
    assert_string_equal(saved->name, name);
    return true;
}

/* Many UDFs with packages of many pages, some deleted: rows of others stay. */
static void test_many(void **context)
{
    (void)context;
    enum { N = 60, BYTES = 20000 };
    struct mg_state *state = open_state();
    struct mg_saved all[N], found;
    char *text = malloc(BYTES + 1);
    assert_non_null(text);
    for (size_t i = 0; i < N; i++) {
        char name[32];
        memset(text, 'a' + (int)(i % 26), BYTES);
        text[BYTES] = 0;
        snprintf(name, sizeof name, "N%04zu", i);
        assert_int_equal(create(state, "one", name, false, text, &all[i]), MG_OK);
    }
    size_t n = 0;
    assert_int_equal(mg_saved_each(state, "one", collect, &n, NULL), MG_OK);
    assert_int_equal(n, N);
    for (size_t i = 0; i < N; i += 2)
        assert_int_equal(mg_saved_delete(state, "one", all[i].id, 0, NULL), MG_OK);
    mg_state_close(&state);
    state = open_state();
    for (size_t i = 0; i < N; i++) {
        enum mg_err status = mg_saved_get(state, "one", mg_span(all[i].id), &found, NULL);
        assert_int_equal(status, i % 2 ? MG_OK : MG_E_NOT_FOUND);
        struct mg_buf bytes;
        mg_buf_init(&bytes, 0);
        status = mg_saved_package(state, &all[i], &all[i].package, &bytes, NULL);
        assert_int_equal(status, i % 2 ? MG_OK : MG_E_NOT_FOUND);
        assert_int_equal(bytes.len, i % 2 ? BYTES : 0);
        mg_buf_fini(&bytes);
    }
    free(text);
    mg_state_close(&state);
}

static _Noreturn void save_for_ever(const char *id, int out)
{
    struct mg_state *state;
    struct mg_saved saved;
    if (mg_state_open(dir, &state, NULL) != MG_OK)
        _exit(2);
    for (int64_t i = 0;; i++) {
        char text[64];
        snprintf(text, sizeof text, "%ld %lld", (long)getpid(), (long long)i);
        struct mg_saved_change change = {.by = "x", .package = mg_span(text), .is_public = -1};
        if (mg_saved_change(state, "one", id, &change, &saved, NULL) != MG_OK ||
            write(out, &saved.version, sizeof saved.version) != sizeof saved.version)
            _exit(3);
    }
}

/* What was acknowledged holds, and the record, its version and its package fit. */
static void test_kill(void **context)
{
    (void)context;
    struct mg_state *state = open_state();
    struct mg_saved saved, now;
    struct mg_saved_version version;
    assert_int_equal(create(state, "one", "Hello", false, "first", &saved), MG_OK);
    mg_state_close(&state);
    for (int round = 0; round < 10; round++) {
        int fds[2], status;
        int64_t acknowledged = 0, got;
        assert_int_equal(pipe(fds), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            save_for_ever(saved.id, fds[1]);
        close(fds[1]);
        for (int n = 0; read(fds[0], &got, sizeof got) == sizeof got; n++) {
            acknowledged = got;
            if (n == round % 5)
                kill(child, SIGKILL);
        }
        close(fds[0]);
        waitpid(child, &status, 0);
        assert_true(WIFSIGNALED(status));
        state = open_state();
        struct mg_buf bytes;
        mg_buf_init(&bytes, 0);
        assert_int_equal(mg_saved_get(state, "one", mg_span("Hello"), &now, NULL), MG_OK);
        assert_true(now.version == acknowledged || now.version == acknowledged + 1);
        assert_int_equal(mg_saved_version(state, &now, now.version, &version, NULL), MG_OK);
        assert_memory_equal(&version.package, &now.package, sizeof now.package);
        assert_int_equal(mg_saved_package(state, &now, &now.package, &bytes, NULL), MG_OK);
        mg_buf_fini(&bytes);
        mg_state_close(&state);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_versions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kill, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
