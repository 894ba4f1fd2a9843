/* Errors: the facts of err.def, and sentences put together in a fixed buffer. Nothing here
 * allocates, so an error can always be reported. */
#include "moongate/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    int status;
    const char *name;
    const char *text;
} rows[] = {
#define MG_ERR(symbol, status, name, text) [MG_E_##symbol] = {status, name, text},
#include "moongate/err.def"
#undef MG_ERR
};

/* An error may arrive in a message of another process, so an unknown one is read as MG_E_INTERNAL.
 */
static enum mg_err known(enum mg_err err)
{
    return (unsigned)err < MG_ERR_COUNT ? err : MG_E_INTERNAL;
}

int mg_err_status(enum mg_err err)
{
    return rows[known(err)].status;
}

const char *mg_err_name(enum mg_err err)
{
    return rows[known(err)].name;
}

const char *mg_err_text(enum mg_err err)
{
    return rows[known(err)].text;
}

enum mg_err mg_err_from_name(const char *name)
{
    if (!name)
        return MG_E_INTERNAL;
    for (size_t i = 0; i < MG_ERR_COUNT; i++)
        if (strcmp(rows[i].name, name) == 0)
            return (enum mg_err)i;
    return MG_E_INTERNAL;
}

/* A cut must not leave half a UTF-8 sequence: the text goes into JSON. */
static void trim_utf8(char *text)
{
    size_t len = strlen(text), start = len;
    while (start > 0 && len - start < 4 && ((unsigned char)text[start - 1] & 0xC0) == 0x80)
        start--;
    if (start == 0)
        return;
    unsigned char lead = (unsigned char)text[start - 1];
    size_t want = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    if (len - (start - 1) < want)
        text[start - 1] = '\0';
}

enum mg_err mg_err_set(struct mg_errmsg *msg, enum mg_err err, const char *format, ...)
{
    if (msg) {
        struct mg_errmsg next; /* an argument may lie in *msg */
        va_list args;
        va_start(args, format);
        int n = vsnprintf(next.text, sizeof next.text, format, args);
        va_end(args);
        if (n < 0)
            snprintf(next.text, sizeof next.text, "%s", mg_err_text(err));
        else if ((size_t)n >= sizeof next.text)
            trim_utf8(next.text);
        memcpy(msg->text, next.text, strlen(next.text) + 1);
    }
    return err;
}

enum mg_err mg_err_prefix(struct mg_errmsg *msg, enum mg_err err, const char *format, ...)
{
    if (msg) {
        struct mg_errmsg prefix;
        va_list args;
        va_start(args, format);
        int n = vsnprintf(prefix.text, sizeof prefix.text, format, args);
        va_end(args);
        if (n >= 0) {
            if ((size_t)n >= sizeof prefix.text)
                trim_utf8(prefix.text);
            mg_err_set(msg, err, "%s: %s", prefix.text,
                       msg->text[0] ? msg->text : mg_err_text(err));
        }
    }
    return err;
}

_Noreturn void mg_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "moongate: assertion failed at %s:%d: %s\n", file, line, condition);
    abort();
}
