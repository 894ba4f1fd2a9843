/* Runs in the slots of a busy worker: done by it one after the other, or taken back in time, and each told once. */
#include "broker_rig.h"

enum { TRIES = 200 };

/* A worker that is busy with `a`, and has taken `b`; `c` is behind it unless the clock had it taken back. */
struct scene {
    struct rig rig;
    struct fake *worker;
    struct mg_slot *slot; /* of a */
    struct told a, b, c;
};

static struct mg_slot *behind(struct scene *s, unsigned i)
{
    return &s->worker->channel.slots[(size_t)(s->slot - s->worker->channel.slots + i) % MG_SLOTS];
}

static void done_in(struct fake *fake, struct mg_slot *slot, uint64_t run, const char *body)
{
    struct mg_run_result result = {.status = 200, .mime = MG_SPAN("text/plain"), .body = mg_span(body), .max_age_s = -1};
    struct mg_buf packed;
    mg_buf_init(&packed, 0);
    mg_run_result_pack(&result, true, &packed);
    assert_true(packed.len <= MG_SLOT_RESULT);
    memcpy(slot->result, packed.data, packed.len);
    send_to(fake, MG_MSG_DONE, run, packed.len, (uint64_t)(slot - fake->channel.slots) + 1);
    mg_buf_fini(&packed);
}

static void answer_messages(struct scene *s, unsigned n)
{
    while (n) {
        struct event event;
        if (!next_within(&s->rig, &event, WAIT_MS))
            fail_msg("no run came");
        if (event.msg.type != MG_MSG_RUN) {
            assert_int_equal(event.msg.type, MG_MSG_KILL); /* of one that is dead already */
            continue;
        }
        done(event.from, "message");
        n--;
    }
}

/* The clock may take back what has waited for milliseconds; then the scene is set once more. */
static void scene_set(struct scene *s, struct mg_broker_config config, bool taken)
{
    memset(s, 0, sizeof *s);
    rig_start(&s->rig, config);
    s->rig.auto_kill = false;
    for (int i = 0; i < TRIES; i++) {
        char keys[3][16];
        for (int k = 0; k < 3; k++)
            snprintf(keys[k], sizeof keys[k], "%c%d", 'a' + k, i);
        struct mg_job a = job_of(&s->rig, keys[0]), b = job_of(&s->rig, keys[1]), c = job_of(&s->rig, keys[2]);
        s->a = s->b = s->c = (struct told){.count = 0};
        submit(&s->rig, &a, &s->a);
        struct event event = expect(&s->rig, MG_MSG_RUN);
        s->worker = event.from;
        assert_in_range(event.msg.tag, 1, MG_SLOTS);
        s->slot = &s->worker->channel.slots[event.msg.tag - 1];
        submit(&s->rig, &b, &s->b);
        submit(&s->rig, &c, &s->c);
        if (taken ? mg_slot_take(behind(s, 1))
                  : __atomic_load_n(&behind(s, 1)->state, __ATOMIC_ACQUIRE) == MG_SLOT_READY)
            return;
        done(s->worker, "a");
        wait_told(&s->a);
        answer_messages(s, 2);
        wait_told(&s->b);
        wait_told(&s->c);
    }
    fail_msg("in %d tries no run came into a slot", TRIES);
}

static void assert_told(struct told *told, const char *body)
{
    wait_told(told);
    assert_int_equal(told->err, MG_OK);
    assert_string_equal(told->body, body);
    assert_int_equal(told_count(told), 1);
}

static void goes_on_by_itself(void **state)
{
    struct scene s;
    (void)state;
    scene_set(&s, (struct mg_broker_config){.workers = 1}, true);
    uint64_t run = behind(&s, 1)->run;
    assert_int_equal(behind(&s, 1)->bytes, 7);
    assert_memory_equal(behind(&s, 1)->request, "request", 7);
    done_in(s.worker, s.slot, s.worker->run, "a");
    assert_told(&s.a, "a");
    assert_int_equal(told_count(&s.b), 0);
    done_in(s.worker, behind(&s, 1), run, "b");
    assert_told(&s.b, "b");
    struct event event = expect(&s.rig, MG_MSG_RUN); /* c was not taken: by message */
    done(event.from, "c");
    assert_told(&s.c, "c");
    rig_stop(&s.rig);
}

static void not_taken_comes_by_message(void **state)
{
    struct scene s;
    (void)state;
    scene_set(&s, (struct mg_broker_config){.workers = 1}, false);
    done_in(s.worker, s.slot, s.worker->run, "a");
    assert_told(&s.a, "a");
    struct event event = expect(&s.rig, MG_MSG_RUN);
    assert_false(mg_slot_take(behind(&s, 1)));
    done(event.from, "b");
    assert_told(&s.b, "b");
    event = expect(&s.rig, MG_MSG_RUN);
    done(event.from, "c");
    assert_told(&s.c, "c");
    rig_stop(&s.rig);
}

/* Cancelled before the worker has it: never run, and what is behind it still is. */
static void cancelled_in_line(void **state)
{
    struct scene s;
    (void)state;
    scene_set(&s, (struct mg_broker_config){.workers = 1}, false);
    assert_true(mg_broker_cancel(s.rig.broker, &s.b.waiter));
    assert_false(mg_broker_cancel(s.rig.broker, &s.b.waiter));
    done(s.worker, "a");
    assert_told(&s.a, "a");
    answer_messages(&s, 1);
    assert_told(&s.c, "message");
    struct event event;
    assert_false(next_within(&s.rig, &event, 50));
    assert_int_equal(told_count(&s.b), 0);
    rig_stop(&s.rig);
}

/* Cancelled when the worker has it: as a run that has begun. */
static void cancelled_when_taken(void **state)
{
    struct scene s;
    (void)state;
    scene_set(&s, (struct mg_broker_config){.workers = 1}, true);
    uint64_t run = behind(&s, 1)->run;
    assert_true(mg_broker_cancel(s.rig.broker, &s.b.waiter));
    done_in(s.worker, s.slot, s.worker->run, "a");
    assert_told(&s.a, "a");
    done_in(s.worker, behind(&s, 1), run, "b");
    answer_messages(&s, 1);
    assert_told(&s.c, "message");
    assert_int_equal(told_count(&s.b), 0);
    rig_stop(&s.rig);
}

/* Who dies of one run takes no other with it; who dies of the next is told apart by its DONE of the last. */
static void deaths(void **state)
{
    static const bool said_done[] = {false, true};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct scene s;
        scene_set(&s, (struct mg_broker_config){.workers = 1}, true);
        if (said_done[i])
            done_in(s.worker, s.slot, s.worker->run, "a");
        die(&s.rig, s.worker, SIGSEGV);
        answer_messages(&s, said_done[i] ? 1 : 2);
        wait_told(&s.a);
        wait_told(&s.b);
        assert_int_equal(s.a.err, said_done[i] ? MG_OK : MG_E_UDF_CRASHED);
        assert_int_equal(s.b.err, said_done[i] ? MG_E_UDF_CRASHED : MG_OK);
        assert_told(&s.c, "message");
        rig_stop(&s.rig);
    }
}

static void deadline_of_the_first(void **state)
{
    struct scene s;
    (void)state;
    scene_set(&s, (struct mg_broker_config){.workers = 1, .wall_ms = 300}, true);
    struct event event = expect(&s.rig, MG_MSG_KILL);
    assert_int_equal(event.msg.id, s.worker->id);
    die(&s.rig, s.worker, SIGKILL);
    answer_messages(&s, 2);
    wait_told(&s.a);
    assert_int_equal(s.a.err, MG_E_TIMEOUT);
    assert_told(&s.b, "message");
    assert_told(&s.c, "message");
    rig_stop(&s.rig);
}

/* A child goes before all that waits, and is never in a line itself. */
static void child_goes_first(void **state)
{
    struct scene s;
    (void)state;
    scene_set(&s, (struct mg_broker_config){.workers = 1}, false);
    struct told child = {0};
    struct mg_job job = job_of(&s.rig, "child");
    job.child = true;
    job.request = MG_SPAN("child");
    submit(&s.rig, &job, &child);
    assert_false(mg_slot_take(behind(&s, 1)));
    done(s.worker, "a");
    assert_told(&s.a, "a");
    struct event event = expect(&s.rig, MG_MSG_RUN);
    assert_memory_equal(event.from->channel.request, "child", 5);
    done(event.from, "child");
    assert_told(&child, "child");
    answer_messages(&s, 2);
    assert_told(&s.b, "message");
    assert_told(&s.c, "message");
    rig_stop(&s.rig);
}

/* Another worker that has nothing to do gets what waits in a line. */
static void idle_worker_takes_over(void **state)
{
    struct scene s;
    (void)state;
    memset(&s, 0, sizeof s);
    rig_start(&s.rig, (struct mg_broker_config){.workers = 2});
    s.rig.auto_kill = false;
    struct told told[4] = {{.count = 0}};
    struct fake *busy[2];
    for (int i = 0; i < 2; i++) {
        struct mg_job job = job_of(&s.rig, i ? "1" : "0");
        submit(&s.rig, &job, &told[i]);
        busy[i] = expect(&s.rig, MG_MSG_RUN).from;
    }
    for (int i = 2; i < 4; i++) {
        struct mg_job job = job_of(&s.rig, i == 3 ? "3" : "2");
        submit(&s.rig, &job, &told[i]);
    }
    for (int i = 0; i < 2; i++) { /* in a line of either, or in the queue: both come to the one that is free */
        done(busy[0], "first");
        struct event event = expect(&s.rig, MG_MSG_RUN);
        assert_ptr_equal(event.from, busy[0]);
    }
    done(busy[0], "first");
    done(busy[1], "second");
    for (int i = 0; i < 4; i++)
        assert_told(&told[i], i == 1 ? "second" : "first");
    rig_stop(&s.rig);
}

/* The worker can write what it likes into its slots: it harms its own runs, and each is told. */
static void lies(void **state)
{
    (void)state;
    for (int lie = 0; lie < 5; lie++) {
        struct scene s;
        scene_set(&s, (struct mg_broker_config){.workers = 1}, false);
        for (unsigned i = 0; i < MG_SLOTS; i++) /* all are taken, it says; or all wait; or neither */
            __atomic_store_n(&s.worker->channel.slots[i].state,
                             lie == 0 ? MG_SLOT_TAKEN : lie == 1 ? MG_SLOT_READY : lie == 2 ? 99 : MG_SLOT_TAKEN,
                             __ATOMIC_RELEASE);
        uint64_t next = behind(&s, 1)->run;
        if (lie == 3)
            send_to(s.worker, MG_MSG_DONE, s.worker->run, 64, MG_SLOTS + 9); /* there is no such slot */
        else if (lie == 4)
            done_in(s.worker, behind(&s, 3), s.worker->run, "a"); /* not the run's */
        else
            done_in(s.worker, s.slot, s.worker->run, "a");
        if (lie < 3)
            send_to(s.worker, MG_MSG_DONE, next + 77, 64, 0); /* of a run that it does not have */
        struct event event;
        int runs = 0;
        while (told_count(&s.a) + told_count(&s.b) + told_count(&s.c) < 3) {
            if (!next_within(&s.rig, &event, 50))
                continue;
            if (event.msg.type == MG_MSG_KILL)
                die(&s.rig, fake_of(&s.rig, event.msg.id), SIGKILL);
            else if (event.msg.type == MG_MSG_RUN && ++runs)
                done(event.from, "honest");
        }
        assert_int_equal(s.a.err, lie < 3 ? MG_OK : MG_E_UDF_CRASHED);
        rig_stop(&s.rig);
    }
}

static struct rig *storm_rig;

static void *storm_thread(void *seed_at)
{
    enum { RUNS = 2000, AT_ONCE = 16 };
    unsigned seed = (unsigned)(uintptr_t)seed_at;
    static _Thread_local struct told told[AT_ONCE];
    for (int i = 0; i < RUNS / AT_ONCE; i++) {
        bool cancelled[AT_ONCE] = {false};
        for (int k = 0; k < AT_ONCE; k++) {
            struct mg_job job = job_of(storm_rig, NULL);
            told[k] = (struct told){.count = 0};
            submit(storm_rig, &job, &told[k]);
            if (rand_r(&seed) % 8 == 0)
                cancelled[k] = mg_broker_cancel(storm_rig->broker, &told[k].waiter);
        }
        for (int k = 0; k < AT_ONCE; k++)
            if (!cancelled[k])
                wait_told(&told[k]);
        for (int k = 0; k < AT_ONCE; k++)
            if (told_count(&told[k]) != !cancelled[k])
                abort(); /* told twice, or told and cancelled */
    }
    return NULL;
}

/* As a worker does it: the next is taken before the last is said to be done; some die. */
static void work(struct rig *rig, struct fake *fake, struct mg_slot *slot, unsigned *seed)
{
    uint64_t run = fake->run;
    for (;;) {
        struct mg_slot *next = &fake->channel.slots[(size_t)(slot - fake->channel.slots + 1) % MG_SLOTS];
        if (rand_r(seed) % 500 == 0) {
            die(rig, fake, SIGSEGV);
            *fake = rig->fakes[--rig->n]; /* its place is free */
            return;
        }
        bool taken = rand_r(seed) % 8 && mg_slot_take(next);
        uint64_t next_run = next->run;
        done_in(fake, slot, run, "storm");
        if (!taken)
            return;
        slot = next;
        run = next_run;
    }
}

static void storm(void **state)
{
    enum { THREADS = 3 };
    struct rig rig;
    pthread_t threads[THREADS];
    struct event event;
    unsigned seed = 7;
    (void)state;
    rig_start(&rig, (struct mg_broker_config){.workers = 2});
    storm_rig = &rig;
    rig.auto_kill = false;
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, storm_thread, (void *)(i + 1)), 0);
    for (int left = THREADS; left > 0;) {
        if (!next_within(&rig, &event, 50)) {
            for (int i = 0; i < THREADS; i++)
                if (threads[i] && pthread_tryjoin_np(threads[i], NULL) == 0) {
                    threads[i] = 0;
                    left--;
                }
        } else if (event.msg.type == MG_MSG_RUN) {
            work(&rig, event.from, &event.from->channel.slots[event.msg.tag - 1], &seed);
        } else if (event.msg.type == MG_MSG_KILL) {
            size_t i = 0; /* it may be dead already */
            while (i < rig.n && rig.fakes[i].id != event.msg.id)
                i++;
            if (i == rig.n)
                continue;
            die(&rig, &rig.fakes[i], SIGKILL);
            rig.fakes[i] = rig.fakes[--rig.n];
        }
    }
    struct mg_broker_stats stats;
    mg_broker_stats(rig.broker, &stats);
    assert_int_equal(stats.queued, 0);
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on_by_itself),      cmocka_unit_test(not_taken_comes_by_message),
        cmocka_unit_test(cancelled_in_line),      cmocka_unit_test(cancelled_when_taken),
        cmocka_unit_test(deaths),                 cmocka_unit_test(deadline_of_the_first),
        cmocka_unit_test(child_goes_first),       cmocka_unit_test(idle_worker_takes_over),
        cmocka_unit_test(lies),                   cmocka_unit_test(storm),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
