/* The catalog: look-ups, names, and that a save is seen by the next look-up, whole, and never half. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "catalog/folders.h"

#include "moongate/catalog.h"
#include "moongate/log.h"
#include "moongate/memfd.h"
#include "moongate/pack.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

/* The bytes of one file of the current version: "" when there is none, "?" and the reason when it is broken. */
static const char *file_of(struct mg_catalog *catalog, const char *name, const char *file)
{
    static char text[300];
    struct mg_udf *udf = mg_catalog_find(catalog, mg_span(name));
    void *bytes;
    struct mg_unpack in_bundle;
    text[0] = 0;
    if (udf && udf->broken) {
        snprintf(text, sizeof text, "?%s", udf->broken);
    } else if (udf) {
        assert_int_equal(mg_memfd_map(udf->bundle_fd, udf->bundle_bytes, false, &bytes, NULL), MG_OK);
        mg_unpack_init(&in_bundle, bytes, udf->bundle_bytes);
        size_t n = mg_unpack_count(&in_bundle, 100);
        for (size_t i = 0; i < n; i++) {
            struct mg_span one = mg_unpack_bytes(&in_bundle), body = mg_unpack_bytes(&in_bundle);
            if (mg_span_is(one, file))
                snprintf(text, sizeof text, "%.*s", (int)body.len, body.data);
        }
        munmap(bytes, udf->bundle_bytes);
    }
    mg_udf_unref(&udf);
    return text;
}

static const char *code_of(struct mg_catalog *catalog, const char *name)
{
    char file[150];
    snprintf(file, sizeof file, "%s.lua", name);
    return file_of(catalog, name, file);
}

static void remember(void *context, const char *name)
{
    char *all = context;
    snprintf(all + strlen(all), 200 - strlen(all), "%s ", name);
}

/* Tends until the code of `name` holds `part` (NULL: until there is no such UDF), and it was told that it changed; fails
 * after 5 s without news. */
static void tend_until(struct mg_catalog *catalog, const char *name, const char *part)
{
    char changed[200] = "";
    struct pollfd fd = {.fd = mg_catalog_fd(catalog), .events = POLLIN};
    for (;;) {
        struct mg_udf *udf = mg_catalog_find(catalog, mg_span(name));
        bool there = part ? udf && strstr(code_of(catalog, name), part) : !udf;
        mg_udf_unref(&udf);
        if (there && strstr(changed, name))
            return;
        if (poll(&fd, 1, 5000) != 1)
            fail_msg("%s: no further news; told: %s", name, changed);
        changed[0] = 0;
        mg_catalog_tend(catalog, remember, changed);
    }
}

static struct mg_catalog *open_on(const char *dir, const char *source)
{
    struct mg_catalog *catalog = NULL;
    struct mg_errmsg err = {""};
    assert_int_equal(mg_catalog_open(&catalog, &err), MG_OK);
    if (mg_catalog_add_dir(catalog, in(dir), source, &err) != MG_OK)
        fail_msg("%s: %s", dir, err.text);
    return catalog;
}

static void looking_up(void **state)
{
    (void)state;
    make_dir("look");
    make_udf("look/B", "return 'b'");
    make_udf("look/A", "return 'a'");
    make_udf("look/Aa", "return 'aa'");
    make_dir("look/notes");
    write_text("look/README.md", "no UDF");
    struct mg_catalog *catalog = open_on("look", "folder");
    struct mg_errmsg err = {""};
    assert_string_equal(code_of(catalog, "A"), "return 'a'");
    assert_string_equal(code_of(catalog, "Aa"), "return 'aa'");
    assert_null(mg_catalog_find(catalog, mg_span("notes")));
    assert_null(mg_catalog_find(catalog, mg_span("")));
    assert_null(mg_catalog_find(catalog, mg_span("Ab")));
    assert_int_equal(mg_catalog_add_code(catalog, "Scene", "file", mg_span("return 's'"), (struct mg_span){0}, &err), MG_OK);
    assert_int_equal(mg_catalog_add_code(catalog, "a b", "file", mg_span(""), (struct mg_span){0}, &err), MG_E_INVALID);
    assert_int_equal(mg_catalog_add_dir(catalog, in("nowhere"), "folder", &err), MG_E_NOT_FOUND);
    assert_int_equal(mg_catalog_add_dir(catalog, "/", "folder", &err), MG_E_INVALID);
    size_t n;
    struct mg_udf **list = mg_catalog_list(catalog, &n);
    static const char *const names[] = {"A", "Aa", "B", "Scene"};
    assert_int_equal(n, 4);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(list[i]->name, names[i]);
        mg_udf_unref(&list[i]);
    }
    free(list);
    assert_string_equal(code_of(catalog, "Scene"), "return 's'");
    assert_int_equal(mg_catalog_add_code(catalog, "Scene", "file", mg_span("return 't'"), (struct mg_span){0}, &err), MG_OK);
    assert_string_equal(code_of(catalog, "Scene"), "return 't'");
    mg_catalog_close(&catalog);
    assert_null(catalog);
}

static void later_folders_win(void **state)
{
    (void)state;
    struct mg_errmsg err = {""};
    make_dir("examples");
    make_udf("examples/Same", "return 'example'");
    make_dir("mine");
    make_udf("mine/Same", "return 'mine'");
    struct mg_catalog *catalog = open_on("mine", "folder");
    assert_int_equal(mg_catalog_add_dir(catalog, in("examples"), "example", &err), MG_OK);
    assert_string_equal(code_of(catalog, "Same"), "return 'mine'");
    size_t n;
    struct mg_udf **list = mg_catalog_list(catalog, &n);
    assert_int_equal(n, 1);
    mg_udf_unref(&list[0]);
    free(list);
    /* When it goes, the example is seen again. */
    unlink(in("mine/Same/Same.lua"));
    rmdir(in("mine/Same"));
    tend_until(catalog, "Same", "return 'example'");
    mg_catalog_close(&catalog);
}

static void the_next_look_up_sees_a_save(void **state)
{
    (void)state;
    make_dir("save");
    make_udf("save/Hello", "return 0");
    write_text("save/Hello/utils.lua", "return 0");
    struct mg_catalog *catalog = open_on("save", "folder");
    struct mg_udf *first = mg_catalog_find(catalog, MG_SPAN("Hello"));
    char code[40];
    for (int i = 0; i < 200; i++) {
        snprintf(code, sizeof code, "return %d", i);
        write_text("save/Hello/Hello.lua", code);
        assert_string_equal(code_of(catalog, "Hello"), code);
        write_text("save/Hello/new", code);
        rename(in("save/Hello/new"), in("save/Hello/utils.lua"));
        assert_string_equal(file_of(catalog, "Hello", "utils.lua"), code);
    }
    /* A version in use stays as it was. */
    void *bytes;
    assert_int_equal(mg_memfd_map(first->bundle_fd, first->bundle_bytes, false, &bytes, NULL), MG_OK);
    struct mg_hash hash;
    mg_sha256(bytes, first->bundle_bytes, &hash);
    assert_true(mg_hash_eq(&hash, &first->code));
    munmap(bytes, first->bundle_bytes);
    mg_udf_unref(&first);
    /* The same bytes again are no new version: its signature stays. */
    struct mg_udf *before = mg_catalog_find(catalog, MG_SPAN("Hello"));
    write_text("save/Hello/Hello.lua", "return 199");
    struct mg_udf *after = mg_catalog_find(catalog, MG_SPAN("Hello"));
    assert_ptr_equal(before, after);
    mg_udf_unref(&before);
    mg_udf_unref(&after);
    /* The watcher is told once of all of it. */
    tend_until(catalog, "Hello", "return 199");
    mg_catalog_close(&catalog);
}

static void a_save_is_never_half_seen(void **state)
{
    (void)state;
    make_dir("half");
    make_udf("half/Hello", "return 'whole'");
    struct mg_catalog *catalog = open_on("half", "folder");
    int fd = open(in("half/Hello/Hello.lua"), O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_string_equal(code_of(catalog, "Hello"), "return 'whole'");
    assert_int_equal(write(fd, "return ", 7), 7);
    assert_string_equal(code_of(catalog, "Hello"), "return 'whole'");
    /* Another file of it is saved meanwhile: still not. */
    write_text("half/Hello/utils.lua", "return 1");
    assert_string_equal(code_of(catalog, "Hello"), "return 'whole'");
    assert_int_equal(write(fd, "'new'", 5), 5);
    close(fd);
    assert_string_equal(code_of(catalog, "Hello"), "return 'new'");
    assert_string_equal(file_of(catalog, "Hello", "utils.lua"), "return 1");
    /* As some editors save: the old file is moved away, then written anew. */
    rename(in("half/Hello/Hello.lua"), in("half/Hello/Hello.lua~"));
    assert_string_equal(code_of(catalog, "Hello"), "return 'new'");
    fd = open(in("half/Hello/Hello.lua"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_string_equal(code_of(catalog, "Hello"), "return 'new'");
    assert_int_equal(write(fd, "return 3", 8), 8);
    assert_string_equal(code_of(catalog, "Hello"), "return 'new'");
    close(fd);
    assert_string_equal(code_of(catalog, "Hello"), "return 3");
    mg_catalog_close(&catalog);
}

static void broken_and_mended(void **state)
{
    (void)state;
    make_dir("mend");
    make_udf("mend/Hello", "return 1");
    struct mg_catalog *catalog = open_on("mend", "folder");
    write_text("mend/Hello/meta.json", "{");
    assert_non_null(strstr(code_of(catalog, "Hello"), "?meta.json"));
    unlink(in("mend/Hello/meta.json"));
    tend_until(catalog, "Hello", "return 1");
    /* Its code file is gone for good: it keeps its place while the folder has code. */
    write_text("mend/Hello/utils.lua", "return 2");
    unlink(in("mend/Hello/Hello.lua"));
    tend_until(catalog, "Hello", "there is no Hello.lua");
    mg_catalog_close(&catalog);
}

static void folders_come_and_go(void **state)
{
    (void)state;
    make_dir("come");
    struct mg_catalog *catalog = open_on("come", "folder");
    make_udf("come/New", "return 1");
    assert_string_equal(code_of(catalog, "New"), "return 1");
    make_dir("come/Later");
    assert_null(mg_catalog_find(catalog, MG_SPAN("Later")));
    write_text("come/Later/Later.lua", "return 2");
    assert_string_equal(code_of(catalog, "Later"), "return 2");
    /* A whole folder is moved in, and away. */
    make_udf("Moved", "return 3");
    rename(in("Moved"), in("come/Moved"));
    assert_string_equal(code_of(catalog, "Moved"), "return 3");
    write_text("come/Moved/Moved.lua", "return 4");
    assert_string_equal(code_of(catalog, "Moved"), "return 4");
    rename(in("come/Moved"), in("Moved"));
    tend_until(catalog, "Moved", NULL);
    /* The given folder itself vanishes and returns. */
    rename(in("come"), in("gone"));
    tend_until(catalog, "New", NULL);
    write_text("gone/New/New.lua", "return 5");
    rename(in("gone"), in("come"));
    tend_until(catalog, "New", "return 5");
    write_text("come/New/New.lua", "return 6");
    assert_string_equal(code_of(catalog, "New"), "return 6");
    mg_catalog_close(&catalog);
}

static void one_folder_twice(void **state)
{
    (void)state;
    struct mg_errmsg err = {""};
    make_dir("twice");
    make_udf("twice/Hello", "return 1");
    struct mg_catalog *catalog = open_on("twice", "example");
    assert_int_equal(mg_catalog_add_dir(catalog, in("twice/Hello"), "folder", &err), MG_OK);
    write_text("twice/Hello/Hello.lua", "return 2");
    assert_string_equal(code_of(catalog, "Hello"), "return 2");
    struct mg_udf *udf = mg_catalog_find(catalog, MG_SPAN("Hello"));
    assert_string_equal(udf->source, "folder");
    mg_udf_unref(&udf);
    /* The given UDF folder vanishes and returns. */
    unlink(in("twice/Hello/Hello.lua"));
    rmdir(in("twice/Hello"));
    tend_until(catalog, "Hello", NULL);
    make_udf("twice/Hello", "return 3");
    tend_until(catalog, "Hello", "return 3");
    mg_catalog_close(&catalog);
}

static void signatures(void **state)
{
    (void)state;
    struct mg_sig *first = NULL, *second = NULL;
    make_dir("sign");
    make_udf("sign/Hello", "return 1");
    struct mg_catalog *catalog = open_on("sign", "folder");
    struct mg_udf *udf = mg_catalog_find(catalog, MG_SPAN("Hello"));
    assert_null(mg_udf_sig(udf));
    assert_int_equal(mg_sig_parse(mg_span("{\"params\":[]}"), &first, NULL), MG_OK);
    assert_int_equal(mg_sig_parse(mg_span("{\"params\":[]}"), &second, NULL), MG_OK);
    mg_udf_set_sig(udf, first);
    mg_udf_set_sig(udf, second);
    assert_ptr_equal(mg_udf_sig(udf), first);
    mg_udf_unref(&udf);
    mg_catalog_close(&catalog);
}

/* More events than the kernel's queue holds: all is read again, nothing is lost. */
static void overflow(void **state)
{
    (void)state;
    long most = 16384;
    FILE *file = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
    if (file && fscanf(file, "%ld", &most) != 1)
        most = 16384;
    if (file)
        fclose(file);
    make_dir("flood");
    make_udf("flood/A", "return 1");
    make_udf("flood/B", "return 1");
    struct mg_catalog *catalog = open_on("flood", "folder");
    char one[300], two[300];
    snprintf(one, sizeof one, "%s", in("flood/A/x"));
    snprintf(two, sizeof two, "%s", in("flood/A/y"));
    write_text("flood/A/x", "");
    for (long i = 0; i < most; i++) { /* two events each, none equal to the one before */
        rename(one, two);
        rename(two, one);
    }
    write_text("flood/B/B.lua", "return 2"); /* its event is dropped */
    assert_string_equal(code_of(catalog, "B"), "return 2");
    write_text("flood/B/B.lua", "return 3");
    assert_string_equal(code_of(catalog, "B"), "return 3");
    mg_catalog_close(&catalog);
}

struct reader {
    struct mg_catalog *catalog;
    bool stop;
    int wrong;
};

static void *read_on(void *context)
{
    struct reader *reader = context;
    while (!__atomic_load_n(&reader->stop, __ATOMIC_ACQUIRE)) {
        struct mg_udf *udf = mg_catalog_find(reader->catalog, MG_SPAN("Hello"));
        if (!udf || udf->broken || udf->bundle_fd < 0)
            __atomic_add_fetch(&reader->wrong, 1, __ATOMIC_RELAXED);
        mg_udf_unref(&udf);
    }
    return NULL;
}

static void many_threads(void **state)
{
    (void)state;
    make_dir("threads");
    make_udf("threads/Hello", "return 0");
    struct reader reader = {.catalog = open_on("threads", "folder")};
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, read_on, &reader);
    for (int i = 0; i < 200; i++) {
        char code[40], name[60];
        snprintf(code, sizeof code, "return %d", i);
        write_text("threads/Hello/Hello.lua", code);
        snprintf(name, sizeof name, "threads/U%d", i);
        make_udf(name, code);
        mg_catalog_tend(reader.catalog, NULL, NULL);
    }
    __atomic_store_n(&reader.stop, true, __ATOMIC_RELEASE);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(reader.wrong, 0);
    assert_string_equal(code_of(reader.catalog, "Hello"), "return 199");
    assert_string_equal(code_of(reader.catalog, "U199"), "return 199");
    mg_catalog_close(&reader.catalog);
}

/* Who asks after a save was closed gets it, also when another thread has just taken its events out of the queue and
 * still reads the files; and nobody gets the emptied file of a save under way. The writer goes on once all have looked. */
struct asker {
    struct mg_catalog *catalog;
    int *saved; /* number in the code of the last finished save; -1: enough */
    int looked, late, halves;
};

static void *ask_on(void *context)
{
    struct asker *asker = context;
    int seen = 0, saved;
    while ((saved = __atomic_load_n(asker->saved, __ATOMIC_ACQUIRE)) >= 0) {
        struct mg_udf *udf = mg_catalog_find(asker->catalog, MG_SPAN("Hello"));
        char code[64] = "";
        ssize_t n = udf && !udf->broken ? pread(udf->bundle_fd, code, sizeof code - 1, 0) : -1;
        const char *at = n > 0 ? memmem(code, (size_t)n, "return ", 7) : NULL;
        int found = at ? (int)strtol(at + 7, NULL, 10) : -1;
        mg_udf_unref(&udf);
        asker->halves += found < 0; /* the file was empty when it was read */
        asker->late += found >= 0 && found < saved;
        if (saved != seen) {
            seen = saved;
            __atomic_store_n(&asker->looked, saved, __ATOMIC_RELEASE);
        }
    }
    return NULL;
}

static void a_save_is_in_every_later_look_up(void **state)
{
    (void)state;
    enum { ASKERS = 4, SAVES = 300 };
    int saved = 0;
    make_dir("later");
    make_udf("later/Hello", "return 0");
    struct mg_catalog *catalog = open_on("later", "folder");
    struct asker askers[ASKERS];
    pthread_t threads[ASKERS];
    for (int i = 0; i < ASKERS; i++) {
        askers[i] = (struct asker){.catalog = catalog, .saved = &saved};
        pthread_create(&threads[i], NULL, ask_on, &askers[i]);
    }
    for (int i = 1; i <= SAVES; i++) {
        char code[40];
        snprintf(code, sizeof code, "return %d", i);
        int fd = open(in("later/Hello/Hello.lua"), O_WRONLY | O_TRUNC | O_CLOEXEC);
        sched_yield(); /* somebody may find it empty */
        assert_int_equal(write(fd, code, strlen(code)), strlen(code));
        close(fd);
        __atomic_store_n(&saved, i, __ATOMIC_RELEASE);
        for (int k = 0; k < ASKERS; k++)
            while (__atomic_load_n(&askers[k].looked, __ATOMIC_ACQUIRE) < i)
                sched_yield();
    }
    __atomic_store_n(&saved, -1, __ATOMIC_RELEASE);
    int late = 0, halves = 0;
    for (int i = 0; i < ASKERS; i++) {
        pthread_join(threads[i], NULL);
        late += askers[i].late;
        halves += askers[i].halves;
    }
    assert_int_equal(late, 0);
    assert_int_equal(halves, 0);
    mg_catalog_close(&catalog);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(looking_up),
        cmocka_unit_test(later_folders_win),
        cmocka_unit_test(the_next_look_up_sees_a_save),
        cmocka_unit_test(a_save_is_never_half_seen),
        cmocka_unit_test(broken_and_mended),
        cmocka_unit_test(folders_come_and_go),
        cmocka_unit_test(one_folder_twice),
        cmocka_unit_test(signatures),
        cmocka_unit_test(overflow),
        cmocka_unit_test(many_threads),
        cmocka_unit_test(a_save_is_in_every_later_look_up),
    };
    mg_log_init("test", MG_LOG_ERROR, false);
    return cmocka_run_group_tests(tests, folders_make, folders_remove);
}
