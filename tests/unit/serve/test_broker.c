/* The broker against a zygote and workers that answer, die, lie and vanish: each waiter is told exactly once. */
#include "broker_rig.h"

static void one_run_for_a_thousand(void **state)
{
    enum { N = 1000 };
    struct rig rig;
    (void)state;
    rig_start(&rig, (struct mg_broker_config){.workers = 2});
    struct told *told = calloc(N, sizeof *told);
    struct mg_job job = job_of(&rig, "one");
    for (int i = 0; i < N; i++)
        submit(&rig, &job, &told[i]);
    struct event event = expect(&rig, MG_MSG_RUN);
    done(event.from, "body");
    int shared = 0;
    for (int i = 0; i < N; i++) {
        wait_told(&told[i]);
        assert_int_equal(told[i].err, MG_OK);
        assert_string_equal(told[i].body, "body");
        shared += told[i].shared;
    }
    assert_int_equal(shared, N - 1);
    struct told other = {0};
    struct mg_job next = job_of(&rig, "another"); /* the next run is another job's: none was left behind */
    submit(&rig, &next, &other);
    event = expect(&rig, MG_MSG_RUN);
    done(event.from, "next");
    wait_told(&other);
    assert_string_equal(other.body, "next");
    for (int i = 0; i < N; i++)
        assert_int_equal(told_count(&told[i]), 1);
    free(told);
    rig_stop(&rig);
}

static void cancel_queued_and_running(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, (struct mg_broker_config){.workers = 1});
    rig.auto_kill = false;
    struct told running = {0}, queued = {0}, with_company[2] = {{.count = 0}};
    struct mg_job a = job_of(&rig, "a"), b = job_of(&rig, "b"), c = job_of(&rig, "c");
    submit(&rig, &a, &running);
    struct event event = expect(&rig, MG_MSG_RUN);
    struct fake *first = event.from;
    submit(&rig, &b, &queued);
    submit(&rig, &c, &with_company[0]);
    submit(&rig, &c, &with_company[1]);
    assert_true(mg_broker_cancel(rig.broker, &queued.waiter));
    assert_true(mg_broker_cancel(rig.broker, &with_company[0].waiter)); /* the other one still waits */
    assert_false(mg_broker_cancel(rig.broker, &queued.waiter));         /* only once */
    assert_true(mg_broker_cancel(rig.broker, &running.waiter));
    event = expect(&rig, MG_MSG_KILL);
    assert_int_equal(event.msg.id, first->id);
    die(&rig, first, SIGKILL);
    event = expect(&rig, MG_MSG_RUN);
    done(event.from, "c");
    wait_told(&with_company[1]);
    assert_string_equal(with_company[1].body, "c");
    assert_false(mg_broker_cancel(rig.broker, &with_company[1].waiter)); /* told already */
    rig_stop(&rig);
    assert_int_equal(told_count(&running) + told_count(&queued) + told_count(&with_company[0]), 0);
}

static void deadline_kills(void **state)
{
    struct rig rig;
    struct told told = {0};
    (void)state;
    rig_start(&rig, (struct mg_broker_config){.workers = 1, .wall_ms = 100});
    rig.auto_kill = false;
    struct mg_job job = job_of(&rig, NULL);
    submit(&rig, &job, &told);
    struct event event = expect(&rig, MG_MSG_RUN);
    struct fake *fake = event.from;
    event = expect(&rig, MG_MSG_KILL);
    assert_int_equal(event.msg.id, fake->id);
    die(&rig, fake, SIGKILL);
    wait_told(&told);
    assert_int_equal(told.err, MG_E_TIMEOUT);
    rig_stop(&rig);
}

/* Deaths that nobody ordered. */
static void deaths(void **state)
{
    static const struct {
        int status;     /* of waitpid; -1: the zygote says nothing */
        bool tried_again;
        enum mg_err second; /* after the second such death */
        const char *sentence;
    } rows[] = {
        {SIGKILL, true, MG_E_UDF_CRASHED, "a stranger's SIGKILL: once more, then an error"},
        {-1, true, MG_E_UDF_CRASHED, "an end that the zygote does not explain: once more, then an error"},
        {SIGSEGV, false, MG_E_UDF_CRASHED, "a fault of the run's own is not tried again"},
        {3 << 8, false, MG_E_UDF_CRASHED, "an exit of the run's own is not tried again"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rig rig;
        struct told told = {0};
        rig_start(&rig, (struct mg_broker_config){.workers = 1});
        struct mg_job job = job_of(&rig, "x");
        submit(&rig, &job, &told);
        for (int turn = 0; turn < 1 + rows[i].tried_again; turn++) {
            struct event event = expect(&rig, MG_MSG_RUN);
            if (rows[i].status >= 0)
                die(&rig, event.from, rows[i].status);
            else
                fake_close(event.from);
        }
        wait_told(&told);
        if (told.err != rows[i].second)
            fail_msg("%s: %s", rows[i].sentence, mg_err_name(told.err));
        rig_stop(&rig);
        assert_int_equal(told.count, 1);
    }
}

/* What a hostile worker may send while it has a run. */
enum lie { BAD_MAGIC, META_BEYOND, BODY_BEYOND, BODY_OVERFLOW, BIG_WITHOUT, META_GARBAGE, GZIP_BOMB, WRONG_RUN, READY_AGAIN,
           NEED_ZERO, NEED_TOO_MUCH, NEED_TWICE, CALL_TOO_LONG, FETCH_OF_ANOTHER, FROM_FRONT, NO_MESSAGE };

static void tell_lie(struct rig *rig, struct fake *fake, enum lie lie)
{
    struct mg_run_result result = {.status = 200, .mime = MG_SPAN("text/plain"), .body = MG_SPAN("x"), .max_age_s = -1};
    if (lie == GZIP_BOMB) {
        result.gzip = true;
        result.identity_bytes = INT64_MAX;
    }
    uint64_t bytes = put_result(fake, &result, true);
    struct mg_result_head head;
    memcpy(&head, fake->channel.result, sizeof head);
    switch (lie) {
    case BAD_MAGIC: head.magic[3] ^= 1; break;
    case META_BEYOND: head.meta_bytes = MG_CHANNEL_RESULT; break;
    case BODY_BEYOND: head.body_bytes = MG_CHANNEL_RESULT; break;
    case BODY_OVERFLOW: head.body_bytes = UINT64_MAX - 63; break;
    case META_GARBAGE: memset(fake->channel.result + sizeof head, 0xee, head.meta_bytes); break;
    default: break;
    }
    memcpy(fake->channel.result, &head, sizeof head);
    struct mg_msg msg;
    switch (lie) {
    case BIG_WITHOUT:
        mg_msg_init(&msg, MG_MSG_DONE);
        msg.id = fake->run;
        msg.big = 1;
        msg.bytes = bytes;
        assert_int_equal(mg_msg_send(fake->sock, &msg, NULL, 0), MG_OK);
        break;
    case WRONG_RUN: send_to(fake, MG_MSG_DONE, fake->run + 1, bytes, 0); break;
    case READY_AGAIN:
        mg_msg_init(&msg, MG_MSG_READY);
        msg.layers = MG_LAYER_MANDATORY;
        assert_int_equal(mg_msg_send(fake->sock, &msg, NULL, 0), MG_OK);
        break;
    case NEED_ZERO: send_to(fake, MG_MSG_NEED, fake->run, 0, 0); break;
    case NEED_TOO_MUCH: send_to(fake, MG_MSG_NEED, fake->run, UINT64_MAX, 0); break;
    case NEED_TWICE:
        send_to(fake, MG_MSG_NEED, fake->run, 4096, 0);
        expect(rig, MG_MSG_BIG);
        send_to(fake, MG_MSG_NEED, fake->run, 4096, 0);
        break;
    case CALL_TOO_LONG: send_to(fake, MG_MSG_CALL, fake->run, MG_CHANNEL_RESULT + 1, 1); break;
    case FETCH_OF_ANOTHER: send_to(fake, MG_MSG_FETCH, fake->run + 7, 10, 1); break;
    case FROM_FRONT: send_to(fake, MG_MSG_RUN, fake->run, 10, 1); break;
    case NO_MESSAGE: assert_int_equal(write(fake->sock, "hello", 5), 5); break;
    default: send_to(fake, MG_MSG_DONE, fake->run, bytes, 0);
    }
}

static void lies(void **state)
{
    static const struct {
        enum lie lie;
        enum mg_err err;
        const char *sentence;
    } rows[] = {
        {BAD_MAGIC, MG_E_UDF_CRASHED, "a head without its magic"},
        {META_BEYOND, MG_E_UDF_CRASHED, "a meta that leaves the channel"},
        {BODY_BEYOND, MG_E_UDF_CRASHED, "a body that leaves the channel"},
        {BODY_OVERFLOW, MG_E_UDF_CRASHED, "a body whose length overflows"},
        {BIG_WITHOUT, MG_E_UDF_CRASHED, "a big result without a memfd"},
        {META_GARBAGE, MG_E_UDF_CRASHED, "a meta that is no pack"},
        {GZIP_BOMB, MG_E_UDF_CRASHED, "a gzip body that would inflate beyond the limit"},
        {WRONG_RUN, MG_E_UDF_CRASHED, "the result of another run"},
        {READY_AGAIN, MG_E_UDF_CRASHED, "READY in the middle of a run"},
        {NEED_ZERO, MG_E_UDF_OUTPUT, "a memfd of no bytes"},
        {NEED_TOO_MUCH, MG_E_UDF_OUTPUT, "a memfd beyond the limit"},
        {NEED_TWICE, MG_E_UDF_CRASHED, "two memfds for one run"},
        {CALL_TOO_LONG, MG_E_UDF_CRASHED, "a call that leaves the channel"},
        {FETCH_OF_ANOTHER, MG_E_UDF_CRASHED, "a fetch for another run"},
        {FROM_FRONT, MG_E_UDF_CRASHED, "a message that only the front sends"},
        {NO_MESSAGE, MG_E_UDF_CRASHED, "bytes that are no message"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rig rig;
        struct told told = {0}, after = {0};
        rig_start(&rig, (struct mg_broker_config){.workers = 1});
        rig.auto_kill = false;
        struct mg_job job = job_of(&rig, NULL);
        submit(&rig, &job, &told);
        struct event event = expect(&rig, MG_MSG_RUN);
        struct fake *liar = event.from;
        tell_lie(&rig, liar, rows[i].lie);
        event = expect(&rig, MG_MSG_KILL);
        assert_int_equal(event.msg.id, liar->id);
        die(&rig, liar, SIGKILL);
        wait_told(&told);
        if (told.err != rows[i].err)
            fail_msg("%s: %s", rows[i].sentence, mg_err_name(told.err));
        submit(&rig, &job, &after);
        event = expect(&rig, MG_MSG_RUN);
        done(event.from, "fine");
        wait_told(&after);
        assert_string_equal(after.body, "fine");
        rig_stop(&rig);
        assert_int_equal(told.count, 1);
    }
}

static void big_results(void **state)
{
    enum { BYTES = 2 << 20 };
    struct rig rig;
    (void)state;
    for (int sealed = 0; sealed < 2; sealed++) {
        struct told told = {0};
        rig_start(&rig, (struct mg_broker_config){.workers = 1});
        rig.auto_kill = false;
        struct mg_job job = job_of(&rig, NULL);
        submit(&rig, &job, &told);
        struct event event = expect(&rig, MG_MSG_RUN);
        struct fake *fake = event.from;
        send_to(fake, MG_MSG_NEED, fake->run, BYTES, 0);
        event = expect(&rig, MG_MSG_BIG);
        assert_int_equal(event.msg.bytes, BYTES);
        if (sealed)
            assert_int_equal(mg_memfd_seal(fake->big, NULL), MG_OK);
        char *body = calloc(1, BYTES);
        struct mg_run_result result = {.status = 200, .mime = MG_SPAN("text/plain"), .body = {body, BYTES}, .max_age_s = -1};
        put_result(fake, &result, false);
        free(body);
        struct mg_msg msg;
        mg_msg_init(&msg, MG_MSG_DONE);
        msg.id = fake->run;
        msg.big = 1;
        msg.bytes = BYTES;
        assert_int_equal(mg_msg_send(fake->sock, &msg, NULL, 0), MG_OK);
        if (!sealed) { /* it could still be written: refused */
            expect(&rig, MG_MSG_KILL);
            die(&rig, fake, SIGKILL);
        }
        wait_told(&told);
        assert_int_equal(told.err, sealed ? MG_OK : MG_E_UDF_CRASHED);
        rig_stop(&rig);
    }
}

static void nested_calls_with_one_worker(void **state)
{
    struct rig rig;
    struct told told = {0};
    struct fake *stack[MG_MAX_DEPTH + 1];
    (void)state;
    rig_start(&rig, (struct mg_broker_config){.workers = 1});
    struct mg_job job = job_of(&rig, "root");
    submit(&rig, &job, &told);
    for (int depth = 0; depth <= MG_MAX_DEPTH; depth++) {
        struct event event = expect(&rig, MG_MSG_RUN);
        stack[depth] = event.from;
        if (depth < MG_MAX_DEPTH)
            send_to(event.from, MG_MSG_CALL, event.from->run, 4, (uint64_t)depth + 1);
    }
    for (int depth = MG_MAX_DEPTH; depth >= 0; depth--) {
        done(stack[depth], "deep");
        if (depth > 0) {
            struct event event = expect(&rig, MG_MSG_CHILD);
            assert_ptr_equal(event.from, stack[depth - 1]);
            assert_int_equal(event.msg.tag, depth);
        }
    }
    wait_told(&told);
    assert_string_equal(told.body, "deep");
    rig_stop(&rig);
}

/* A parent that dies takes its child run with it. */
static void dead_parent_cancels_child(void **state)
{
    struct rig rig;
    struct told told = {0};
    (void)state;
    rig_start(&rig, (struct mg_broker_config){.workers = 1});
    rig.auto_kill = false;
    struct mg_job job = job_of(&rig, "root");
    submit(&rig, &job, &told);
    struct event event = expect(&rig, MG_MSG_RUN);
    struct fake *parent = event.from;
    send_to(parent, MG_MSG_CALL, parent->run, 4, 1);
    event = expect(&rig, MG_MSG_RUN);
    struct fake *child = event.from;
    assert_ptr_not_equal(child, parent);
    die(&rig, parent, SIGSEGV);
    event = expect(&rig, MG_MSG_KILL);
    while (event.msg.id == parent->id) /* a closed link is killed after, too */
        event = expect(&rig, MG_MSG_KILL);
    assert_int_equal(event.msg.id, child->id);
    die(&rig, child, SIGKILL);
    wait_told(&told);
    assert_int_equal(told.err, MG_E_UDF_CRASHED);
    rig_stop(&rig);
}

static void full_queues(void **state)
{
    enum { ORG = 4, ALL = 6 };
    struct rig rig;
    struct told told[ALL + 3] = {{.count = 0}};
    (void)state;
    rig_start(&rig, (struct mg_broker_config){.workers = 1, .queue_org = ORG, .queue_all = ALL});
    rig.idle_spawns = true;
    struct mg_job ours = job_of(&rig, NULL), theirs = job_of(&rig, NULL);
    strcpy(theirs.org, "other");
    int n = 0;
    for (int i = 0; i < ORG; i++)
        submit(&rig, &ours, &told[n++]);
    submit(&rig, &ours, &told[n]);
    wait_told(&told[n]);
    assert_int_equal(told[n++].err, MG_E_TOO_MANY);
    for (int i = 0; i < ALL - ORG; i++)
        submit(&rig, &theirs, &told[n++]);
    submit(&rig, &theirs, &told[n]);
    wait_told(&told[n]);
    assert_int_equal(told[n++].err, MG_E_UNAVAILABLE);
    struct mg_broker_stats stats;
    mg_broker_stats(rig.broker, &stats);
    assert_int_equal(stats.queued, ALL);
    assert_int_equal(stats.workers, 0);
    rig_stop(&rig); /* tells those that wait */
    for (int i = 0; i < n; i++)
        assert_int_equal(told[i].count, 1);
    assert_int_equal(told[0].err, MG_E_UNAVAILABLE);
}

/* In which order the end of the old zygote and the link of the new one are seen is chance. */
static void zygote_lost(void **state)
{
    (void)state;
    for (int closed_first = 0; closed_first < 2; closed_first++) {
        struct rig rig;
        struct told told = {0};
        rig_start(&rig, (struct mg_broker_config){.workers = 1});
        struct mg_job job = job_of(&rig, "x");
        submit(&rig, &job, &told);
        expect(&rig, MG_MSG_RUN);
        int old = rig.zygote;
        if (closed_first)
            close(old);
        rig_zygote(&rig);
        if (!closed_first)
            close(old);
        struct event event = expect(&rig, MG_MSG_RUN); /* once more, by a worker of the new one */
        done(event.from, "again");
        wait_told(&told);
        assert_int_equal(told.err, MG_OK);
        assert_string_equal(told.body, "again");
        struct mg_broker_stats stats;
        mg_broker_stats(rig.broker, &stats);
        assert_true(stats.zygote);
        rig_stop(&rig);
    }
}

/* A worker that asks and never reads: its link fills up, it is ended, its run has an answer all the same. */
static void deaf_worker(void **state)
{
    struct rig rig;
    struct told told = {0};
    (void)state;
    rig_start(&rig, (struct mg_broker_config){.workers = 1});
    struct mg_job job = job_of(&rig, NULL);
    submit(&rig, &job, &told);
    for (int turn = 0; turn < 2; turn++) {
        struct event event = expect(&rig, MG_MSG_RUN);
        struct mg_msg msg;
        mg_msg_init(&msg, MG_MSG_FETCH);
        msg.id = event.from->run;
        enum mg_err status = MG_OK;
        while (!status) /* no fetcher is there: each is refused at once */
            status = mg_msg_send_wait(event.from->sock, &msg, NULL, 0, WAIT_MS);
        die(&rig, event.from, SIGKILL);
    }
    wait_told(&told);
    assert_int_equal(told.err, MG_E_UDF_CRASHED);
    rig_stop(&rig);
}

/* Submits and cancels from several threads while runs end: nobody is told twice, and none is lost. */
static struct rig *storm_rig;

static void *storm_thread(void *context)
{
    enum { ROUNDS = 300 };
    unsigned seed = (unsigned)(uintptr_t)context;
    for (int i = 0; i < ROUNDS; i++) {
        struct told told = {0};
        char key[16];
        snprintf(key, sizeof key, "%d", rand_r(&seed) % 8);
        struct mg_job job = job_of(storm_rig, key);
        submit(storm_rig, &job, &told);
        if (rand_r(&seed) % 2 && mg_broker_cancel(storm_rig->broker, &told.waiter))
            MG_ASSERT(told_count(&told) == 0);
        else
            wait_told(&told);
    }
    return NULL;
}

static void storm(void **state)
{
    enum { THREADS = 4 };
    struct rig rig;
    pthread_t threads[THREADS];
    struct event event;
    (void)state;
    rig_start(&rig, (struct mg_broker_config){.workers = 2});
    storm_rig = &rig;
    rig.auto_kill = false;
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, storm_thread, (void *)(i + 1)), 0);
    int left = THREADS;
    while (left > 0) {
        if (!next_within(&rig, &event, 50)) {
            for (int i = 0; i < THREADS; i++)
                if (threads[i] && pthread_tryjoin_np(threads[i], NULL) == 0) {
                    threads[i] = 0;
                    left--;
                }
        } else if (event.msg.type == MG_MSG_RUN) {
            done(event.from, "storm");
        } else if (event.msg.type == MG_MSG_KILL) {
            struct fake *fake = fake_of(&rig, event.msg.id);
            die(&rig, fake, SIGKILL);
            *fake = rig.fakes[--rig.n]; /* its place is free */
        }
    }
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_run_for_a_thousand),
        cmocka_unit_test(cancel_queued_and_running),
        cmocka_unit_test(deadline_kills),
        cmocka_unit_test(deaths),
        cmocka_unit_test(lies),
        cmocka_unit_test(big_results),
        cmocka_unit_test(nested_calls_with_one_worker),
        cmocka_unit_test(dead_parent_cancels_child),
        cmocka_unit_test(full_queues),
        cmocka_unit_test(zygote_lost),
        cmocka_unit_test(deaf_worker),
        cmocka_unit_test(storm),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
