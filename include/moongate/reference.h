/* The reference of the Lua library, from the annotations (LuaCATS) in lua/moon/, which are its one source.
 * Any process, any thread. */
#ifndef MOONGATE_REFERENCE_H
#define MOONGATE_REFERENCE_H

#include "moongate/json.h"

/* {"modules": [{name, file, doc, examples, entries, classes}]}, both sorted by name. An entry: {name
 * ("moon.map", or "moon.Raster:slope" of a method), line, signature, doc, parameters: [{name, type, optional,
 * doc}], returns: [{type, doc}], examples}; a class: {name, line, doc, examples, fields: [{name, type,
 * doc}]}. Returns new. MG_E_NO_FILE. */
MG_MUST_CHECK enum mg_err mg_reference_load(const char *lua_dir, json_t **out, struct mg_errmsg *err);
/* One page of all. */
void mg_reference_html(const json_t *reference, struct mg_buf *out);
/* A list of all names with a sentence each; or, of a module, class, function, method or field ("raster",
 * "moon.map", "map", "Raster:slope"), all that is known of it. MG_E_NOT_FOUND names the nearest. */
MG_MUST_CHECK enum mg_err mg_reference_text(const json_t *reference, const char *name, struct mg_buf *out,
                                            struct mg_errmsg *err);

#endif
