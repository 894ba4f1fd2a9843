/* Memory bombs: whatever takes the memory, and whatever catches the error, the run ends as
 * udf_memory. Each bomb runs in a process of its own, as in a worker, where LuaJIT's end over a
 * refusal is told by the exit status. */
#include "vm_harness.h"

#include <signal.h>
#include <sys/wait.h>

#define UDF(body) "local moon = require 'moon'\nreturn moon.udf(function()\n" body "\nend)"

enum { TOLD = 40, TOLD_OTHER = 41, RAN = 42, SECONDS = 20 };

static const bool *flag;

static void give_up(void *context)
{
    (void)context;
    _exit(MG_WORKER_EXIT_MEMORY);
}

/* As in the worker. */
static void on_fault(int signal)
{
    if (*flag)
        _exit(MG_WORKER_EXIT_MEMORY);
    raise(signal);
}

static int run(const char *code, const char *with)
{
    static struct harness h;
    static const struct mg_vm_host host = {.give_up = give_up};
    static char stack[64 << 10];
    harness_open(&h, &host);
#ifndef __SANITIZE_ADDRESS__
    static const int faults[] = {SIGSEGV, SIGBUS, SIGABRT};
    stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = on_fault,
                               .sa_flags = SA_ONSTACK | SA_RESETHAND | SA_NODEFER};
    flag = mg_vm_memory_flag(h.vm);
    assert_int_equal(sigaltstack(&alternative, NULL), 0);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        assert_int_equal(sigaction(faults[i], &action, NULL), 0);
#else
    (void)stack, (void)on_fault;
#endif
    harness_code(&h, code);
    h.request.lua_bytes = 64 << 20;
    alarm(SECONDS); /* a bomb that is not ended ends the test */
    const struct mg_run_result *r = harness_run(&h);
    if (r->err == MG_OK)
        return RAN;
    if (r->err != MG_E_UDF_MEMORY || !r->retire ||
        !memmem(r->message.data, r->message.len, with, strlen(with))) {
        fprintf(stderr, "got %s, retire %d: %.*s\n", mg_err_name(r->err), r->retire,
                (int)r->message.len, r->message.data);
        return TOLD_OTHER;
    }
    /* What comes next is whole again. */
    harness_code(&h, UDF("return 'fine'"));
    return harness_run(&h)->err == MG_OK ? TOLD : TOLD_OTHER;
}

static void test_bombs(void **state)
{
    (void)state;
    static const struct {
        const char *code, *with;
        bool in_process; /* the run itself is told, with its line; else the process may end */
        const char *sentence;
    } rows[] = {
        {UDF("return string.rep('x', 1e9)"), "64 MB", true, "one string"},
        {UDF("local s = 'x' while true do s = s .. s end"), "64 MB", true, "a string that doubles"},
        {UDF("local s = 'x' for i = 1, 1e9 do s = s .. i .. ('x'):rep(1e6) end"), "", false,
         "a string that grows"},
        {UDF("local t = {} for i = 1, 1e9 do t[i] = {} end"), "", false, "tables in a list"},
        {UDF("local t = {} for i = 1, 1e9 do t[i] = i end"), "", false, "a list of numbers"},
        {UDF("local t = {} for i = 1, 1e9 do t['k' .. i] = i end"), "", false, "names in a table"},
        {UDF("local t = {} for i = 1, 1e9 do t[i] = function() return i end end"), "", false,
         "closures"},
        {UDF("local t = {} for i = 1, 1e9 do t[i] = coroutine.create(print) end"), "", false,
         "coroutines"},
        {UDF("local t = {} for i = 1, 1e9 do t[i] = tostring(i):rep(100) end"), "", false,
         "many strings"},
        {UDF("local t = {} for i = 1, 1e9 do t[i] = moon.point(1, 2) end"), "", false,
         "geometries"},
        {UDF("local t = {} for i = 1, 1e9 do t[i] = moon.bounds(1, 2, 3, 4) end"), "", false,
         "bounds"},
        {UDF("pcall(string.rep, 'x', 1e9) return 'fine'"), "64 MB", true,
         "an error that is caught"},
        {UDF("local ok = moon.try(string.rep, 'x', 1e9) return 'fine'"), "64 MB", true,
         "an error that is tried"},
        {UDF("while true do pcall(string.rep, 'x', 1e9) end"), "", false, "caught for ever"},
        {UDF("local t = {} while true do pcall(function() for i = 1, 1e7 do t[#t + 1] = "
             "('x'):rep(1e5) .. i end end) "
             "end"),
         "", false, "strings, caught for ever"},
        {UDF("local t = {} while true do pcall(function() t[#t + 1] = { 1, 2, 3 } end) end"), "",
         false, "tables, each call caught"},
        {UDF("local t = {} local co = coroutine.wrap(function() while true do t[#t + 1] = { {} } "
             "coroutine.yield() end "
             "end) while true do co() end"),
         "", false, "in a coroutine"},
        {UDF("local t = setmetatable({}, { __index = function(t, i) local v = { i } rawset(t, i, "
             "v) return v end }) "
             "for i = 1, 1e9 do local x = t[i] end"),
         "", false, "in a metamethod"},
        {UDF("local t = {} xpcall(function() for i = 1, 1e9 do t[i] = {} end end, function() while "
             "true do t[#t + 1] = "
             "{} end end) return 'fine'"),
         "", false, "in an error handler"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pid_t pid = fork();
        int status = 0;
        if (pid == 0)
            _exit(run(rows[i].code, rows[i].with));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        bool told = WIFEXITED(status) &&
                    (WEXITSTATUS(status) == TOLD ||
                     (!rows[i].in_process && WEXITSTATUS(status) == MG_WORKER_EXIT_MEMORY));
        if (!told)
            fail_msg("%s: %s %d", rows[i].sentence, WIFEXITED(status) ? "status" : "signal",
                     WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
        if (getenv("MG_TEST_VERBOSE"))
            print_message("%s: %s\n", rows[i].sentence,
                          WEXITSTATUS(status) == TOLD ? "told" : "ended");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bombs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
