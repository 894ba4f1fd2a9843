/* Tables of names: parameters that never reach a UDF, names that a module may not have, and durations. */
#include "catalog.h"

#include "moongate/sig.h"

#include <ctype.h>

bool mg_reserved_name(struct mg_span name)
{
    static const char *const reserved[] = {"format",        "dtype_out_vector", "dtype_out_raster", "dtype_in",
                                           "cache_max_age", "size",             "tms",              "_cache_id"};
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (mg_span_is(name, reserved[i]))
            return true;
    return false;
}

bool mg_ignored_name(struct mg_span name)
{
    return mg_span_is(name, "_") || mg_span_starts(name, "utm_") || mg_span_is(name, "access_token");
}

bool catalog_library_name(struct mg_span module)
{
    static const char *const library[] = {"moon", "string",  "table",     "math",    "os",    "io",     "ffi", "jit",
                                          "bit",  "debug",   "coroutine", "package", "cjson", "_G",     "init"};
    for (size_t i = 0; i < sizeof library / sizeof *library; i++)
        if (mg_span_is(module, library[i]))
            return true;
    return false;
}

bool catalog_udf_name(struct mg_span name)
{
    if (!name.len || name.len > CATALOG_NAME_MAX || !isalpha((unsigned char)name.data[0]))
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!isalnum((unsigned char)name.data[i]) && name.data[i] != '_')
            return false;
    return true;
}

bool mg_duration_parse(struct mg_span text, int64_t *seconds)
{
    static const struct {
        char letter;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 7 * 86400}};
    const int64_t most = INT64_C(100) * 365 * 86400; /* a century: sums with a clock cannot overflow */
    int64_t value = 0, unit = 1;
    size_t i = 0;
    while (i < text.len && i < 12 && text.data[i] >= '0' && text.data[i] <= '9')
        value = value * 10 + (text.data[i++] - '0');
    if (i == 0 || i + 1 < text.len)
        return false;
    if (i < text.len) {
        unit = 0;
        for (size_t u = 0; u < sizeof units / sizeof *units; u++)
            if (text.data[i] == units[u].letter)
                unit = units[u].seconds;
    }
    if (!unit || value > most / unit)
        return false;
    *seconds = value * unit;
    return true;
}
