/* What a child gives back of a library: it works on as before. */
#include "moongate/master.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

/* Bytes in memory of the mappings of a library that nobody can write. */
static long resident(const char *library)
{
    char line[4096];
    long bytes = 0, kb;
    bool ours = false;
    FILE *maps = fopen("/proc/self/smaps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        char rights[5];
        if (sscanf(line, "%lx-%lx %4s", &from, &to, rights) == 3)
            ours = strstr(line, library) && rights[1] == '-';
        else if (ours && sscanf(line, "Rss: %ld kB", &kb) == 1)
            bytes += kb * 1024;
    }
    fclose(maps);
    return bytes;
}

static void test_drop_clean(void **state)
{
    (void)state;
    static const char name[] = "libcrypto.so.3";
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(library);
    const char *(*version)(int) = NULL;
    *(void **)&version = dlsym(library, "OpenSSL_version");
    assert_non_null(version);
    char before[128];
    snprintf(before, sizeof before, "%s", version(0));
    long bytes = resident(name);
    size_t dropped = mg_child_drop_clean(name);
    assert_true(dropped > 100000);
    assert_true(resident(name) < bytes / 2);
    assert_string_equal(version(0), before);
    assert_int_equal(mg_child_drop_clean("libthere-is-none.so"), 0);
    dlclose(library);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_drop_clean)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
