/* What the bindings of raster analysis share. Worker process; single thread. */
#ifndef MOONGATE_WORKER_BIND_ANALYSIS_H
#define MOONGATE_WORKER_BIND_ANALYSIS_H

#include "vm.h"

#include "moongate/raster_analysis.h"

/* A band's number from 0; the first one when nothing stands at the index. Raises. */
int vm_check_band(lua_State *L, const char *what, const struct mg_raster *raster, int index);
enum mg_reduction vm_check_reduction(lua_State *L, const char *what, int index);
/* The raster's CRS; raises when it has no place. */
const char *vm_check_georef(lua_State *L, const char *what, const struct mg_raster *raster);
void vm_open_zones(lua_State *L);   /* bind_zones.c */
int vm_raster_legend(lua_State *L); /* bind_colour.c */

#endif
