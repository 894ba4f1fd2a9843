/* The list of codec files, and what the registry shares with the encoding part. Private to codec/. */
#ifndef CODEC_ROWS_H
#define CODEC_ROWS_H

#include "moongate/codec.h"

/* Each exports its rows: const struct mg_codec mg_codec_<file>[], ended by a row without a name. */
#define MG_CODEC_FILES(X) X(png) X(jpg) X(webp) X(gif) X(apng) X(tif) X(npy) X(geojson) X(json) X(csv) X(html) X(xml) X(svg) X(mvt) X(zip) X(feather) X(excel) X(ogr) X(parquet)

#define DECLARE(file) extern const struct mg_codec mg_codec_##file[];
MG_CODEC_FILES(DECLARE)
#undef DECLARE

/* Whether the row's shapes, bands, need of a geometry and of a tile let it hold the value. */
bool mg_codec_holds(const struct mg_codec *codec, const struct mg_value *value, bool tile_call);
/* MG_E_NOT_ACCEPTABLE with the formats that can hold the value. */
MG_MUST_CHECK enum mg_err mg_codec_refuse(const struct mg_codec *codec, const struct mg_value *value, bool tile_call,
                                          struct mg_errmsg *err);
/* The wish without containers: what the members of one are picked by. */
void mg_codec_member_wish(const struct mg_wish *wish, struct mg_wish *out);

#endif
