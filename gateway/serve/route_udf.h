/* What the routes of saved UDFs share. Desk thread. */
#ifndef MOONGATE_SERVE_ROUTE_UDF_H
#define MOONGATE_SERVE_ROUTE_UDF_H

#include "api.h"

/* Reads the body into api->package (over what is there) and api->name. False: answered. */
MG_MUST_CHECK bool mg_udf_body(struct mg_api *api);
/* Makes api->udf of api->package and api->name, has a worker describe it, then takes `step`. */
void mg_udf_check(struct mg_api *api, mg_api_f *step);
/* Nothing is wrong with what was described. False: answered, with line and column. */
MG_MUST_CHECK bool mg_udf_checked(struct mg_api *api);
/* A unified diff of two packages. */
void mg_udf_diff(const struct mg_package *from, const struct mg_package *to, struct mg_buf *out);

#endif
