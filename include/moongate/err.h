/* Errors: one table (err.def) makes the enum, the HTTP status and the name that Lua and clients see.
 *
 * A function that can fail returns enum mg_err (MG_OK is 0); the detail, a sentence for its reader,
 * goes into a nullable struct mg_errmsg. On failure outputs are untouched. Any thread, any process. */
#ifndef MOONGATE_ERR_H
#define MOONGATE_ERR_H

#include <stddef.h>

enum mg_err {
#define MG_ERR(symbol, status, name, text) MG_E_##symbol,
#include "moongate/err.def"
#undef MG_ERR
    MG_ERR_COUNT
};
#define MG_OK MG_E_OK

#define MG_MUST_CHECK __attribute__((warn_unused_result))
#define MG_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* A sentence that says what is wrong and what to do. Always terminated; cut when too long. */
struct mg_errmsg {
    char text[512];
};

/* HTTP status of `err`, for instance 422. */
int mg_err_status(enum mg_err err);
/* Name of `err` as clients see it, for instance "parameter". Static. */
const char *mg_err_name(enum mg_err err);
/* Fallback sentence of `err`. Static. */
const char *mg_err_text(enum mg_err err);
/* The error of that name; MG_E_INTERNAL when there is none. */
enum mg_err mg_err_from_name(const char *name);
/* Formats into `msg` (nullable) and returns `err`: `return mg_err_set(msg, MG_E_X, "…", …);` */
enum mg_err mg_err_set(struct mg_errmsg *msg, enum mg_err err, const char *format, ...) MG_PRINTF(3, 4);
/* Puts "prefix: " before what `msg` holds; returns `err`. */
enum mg_err mg_err_prefix(struct mg_errmsg *msg, enum mg_err err, const char *format, ...) MG_PRINTF(3, 4);

/* What we guarantee, checked in release too; never for input from outside. Prints and aborts. */
#define MG_ASSERT(condition) \
    ((condition) ? (void)0 : mg_assert_failed(#condition, __FILE__, __LINE__))
_Noreturn void mg_assert_failed(const char *condition, const char *file, int line);

#endif
