/* Whether a user without rights may pass the root folder. Not in every container: there a server that was started as
 * root stays root, and says so. */
#ifndef TESTS_OTHERS_H
#define TESTS_OTHERS_H

#include <stdbool.h>
#include <sys/stat.h>

static inline bool others_may_pass(void)
{
    struct stat st;
    return stat("/", &st) == 0 && (st.st_mode & S_IXOTH);
}

#endif
