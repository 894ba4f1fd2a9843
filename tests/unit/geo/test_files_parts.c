/* Names of files where openat2 is not to be had: under the filter that goes with Landlock's ABI 2. */
#include "moongate/files.h"
#include "proc/sandbox_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char base[] = "/tmp/mg-parts-XXXXXX";

static const struct {
    const char *name;
    enum mg_err expected;
    const char *sentence;
} rows[] = {
    {"fd://a.txt", MG_OK, "a file is opened"},
    {"fd://deep/er/b.txt", MG_OK, "a file in folders is opened"},
    {"fd://deep//er/./b.txt", MG_OK, "slashes and dots more are passed over"},
    {"fd://none.txt", MG_E_NO_FILE, "a missing file is missing"},
    {"fd://a.txt/b", MG_E_NO_FILE, "a file is no folder"},
    {"fd://deep/../a.txt", MG_E_FORBIDDEN, "the way up is refused"},
    {"fd://../outside.txt", MG_E_FORBIDDEN, "the way out is refused"},
    {"fd://link.txt", MG_E_FORBIDDEN, "a link to the outside is refused"},
    {"fd://linked/outside.txt", MG_E_FORBIDDEN, "a folder that is a link is refused"},
    {"fd:///etc/passwd", MG_E_FORBIDDEN, "a path from the root is refused"},
};

static int open_all(void)
{
    char path[64];
    int wrong = 0;
    snprintf(path, sizeof path, "%s/fd", base);
    struct mg_files files = {.n_mounts = 1, .cache_dirfd = -1};
    files.mounts[0].dirfd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || mg_seccomp_enforce(2, NULL) != MG_OK)
        return 99;
    int before = dup(0);
    close(before);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct stat st;
        struct mg_errmsg err = {{0}};
        int fd = -1;
        enum mg_err code = mg_files_open(&files, rows[i].name, &fd, &st, &err);
        if (code != rows[i].expected) {
            fprintf(stderr, "%s: %s (%s)\n", rows[i].sentence, mg_err_name(code), err.text);
            wrong++;
        }
        if (code == MG_OK)
            close(fd);
        int next = dup(0);
        if (next != before) {
            fprintf(stderr, "%s, and leaves no descriptor behind\n", rows[i].sentence);
            wrong++;
        }
        close(next);
    }
    return wrong;
}

static void test_parts(void **state)
{
    (void)state;
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(open_all());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static int make_folders(void **state)
{
    (void)state;
    char command[512];
    if (!mkdtemp(base))
        return -1;
    snprintf(command, sizeof command,
             "cd %s && mkdir -p fd/deep/er && echo 1 > fd/a.txt && echo 2 > fd/deep/er/b.txt && echo 3 > outside.txt "
             "&& ln -s ../outside.txt fd/link.txt && ln -s .. fd/linked",
             base);
    return system(command);
}

static int remove_folders(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", base);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parts)};
    return cmocka_run_group_tests(tests, make_folders, remove_folders);
}
