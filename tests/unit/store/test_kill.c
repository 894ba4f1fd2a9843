/* A process that acknowledges each token it made is killed 20 times: each acknowledged token holds,
 * also while another process has the state open. Nothing is timed: the kill comes after a count of
 * acknowledgements. */
#include "moongate/state.h"

#include "store/scratch.h"

#include <signal.h>
#include <sys/wait.h>

enum { KILLS = 20, TEXTS = 4096 };

static char texts[TEXTS][MG_TOKEN_LEN + 1];

static _Noreturn void make_tokens(const char *dir, int out)
{
    struct mg_state *state;
    if (mg_state_open(dir, &state, NULL) != MG_OK)
        _exit(2);
    for (;;) {
        struct mg_token token = {
            .org = "local", .account = "owner@local", .udf = "Hello", .max_age_s = -1};
        if (mg_token_create(state, &token, NULL) != MG_OK ||
            write(out, token.text, MG_TOKEN_LEN) != MG_TOKEN_LEN)
            _exit(3);
    }
}

static size_t check_all(struct mg_state *state, size_t n)
{
    struct mg_token token;
    for (size_t i = 0; i < n; i++)
        if (mg_token_check(state, mg_span(texts[i]), 0, &token, NULL) != MG_OK)
            fail_msg("acknowledged token %zu of %zu holds after the kill", i, n);
    return n;
}

static void test_kill(void **context)
{
    (void)context;
    char *dir = scratch_make();
    size_t n = 0;
    for (int round = 0; round < KILLS; round++) {
        int fds[2], status;
        assert_int_equal(pipe(fds), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(fds[0]);
            make_tokens(dir, fds[1]);
        }
        close(fds[1]);
        for (size_t got = 0; n < TEXTS; n++, got++) {
            ssize_t len = read(fds[0], texts[n], MG_TOKEN_LEN);
            if (len == 0)
                break;
            assert_int_equal(len, MG_TOKEN_LEN);
            if (got == (size_t)round % 7)
                kill(child, SIGKILL);
        }
        close(fds[0]);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        struct mg_state *state = NULL;
        assert_int_equal(mg_state_open(dir, &state, NULL), MG_OK);
        assert_true(check_all(state, n) > (size_t)round);
        mg_state_close(&state);
    }
    scratch_remove(dir);
}

/* The server sees what the command line does, at once, and the other way round. */
static void test_two_processes(void **context)
{
    (void)context;
    char *dir = scratch_make(), go = 0;
    int up[2], down[2], status;
    assert_int_equal(pipe(up), 0);
    assert_int_equal(pipe(down), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    struct mg_state *state = NULL;
    struct mg_token token = {
        .org = "local", .account = "owner@local", .udf = "Hello", .max_age_s = -1};
    if (child == 0) {
        close(up[0]);
        close(down[1]);
        bool good =
            mg_state_open(dir, &state, NULL) == MG_OK &&
            mg_token_create(state, &token, NULL) == MG_OK &&
            write(up[1], token.text, MG_TOKEN_LEN) == MG_TOKEN_LEN && read(down[0], &go, 1) == 1 &&
            mg_token_check(state, mg_span(token.text), 0, &token, NULL) == MG_E_UNAUTHORIZED;
        mg_state_close(&state);
        _exit(good ? 0 : 1);
    }
    close(up[1]);
    close(down[0]);
    assert_int_equal(mg_state_open(dir, &state, NULL), MG_OK);
    assert_int_equal(read(up[0], texts[0], MG_TOKEN_LEN), MG_TOKEN_LEN);
    assert_int_equal(mg_token_check(state, mg_span(texts[0]), 0, &token, NULL), MG_OK);
    assert_int_equal(mg_token_revoke(state, "local", mg_span(texts[0]), &token, NULL), MG_OK);
    assert_int_equal(write(down[1], &go, 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (status != 0)
        fail_msg("a revocation by one process holds at the next look-up of another");
    mg_state_close(&state);
    close(up[0]);
    close(down[1]);
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_two_processes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
