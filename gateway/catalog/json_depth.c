/* JSON depth. */
#include "catalog.h"

bool catalog_json_shallow(const json_t *value, int depth)
{
    if (!json_is_array(value) && !json_is_object(value))
        return true;
    if (depth == 0)
        return false;
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!catalog_json_shallow(json_array_get(value, i), depth - 1))
            return false;
    json_t *object = (json_t *)(uintptr_t)value, *item; /* Jansson's iteration takes no const */
    const char *name;
    json_object_foreach(object, name, item) if (!catalog_json_shallow(item, depth - 1)) return false;
    return true;
}
