/* The hot tier of the result cache: see hot.c. Any thread. */
#ifndef MOONGATE_SERVE_HOT_H
#define MOONGATE_SERVE_HOT_H

#include "moongate/answer.h"

struct mg_hot;
struct mg_hot *mg_hot_new(size_t max_bytes);
void mg_hot_free(struct mg_hot **hot);
/* A new reference, or NULL. */
struct mg_answer *mg_hot_get(struct mg_hot *hot, const struct mg_hash *key);
/* Takes a reference of its own; replaces. answer->hot is true from here until it is replaced or pushed out. An answer
 * lies under one key. */
void mg_hot_put(struct mg_hot *hot, const struct mg_hash *key, struct mg_answer *answer);

#endif
