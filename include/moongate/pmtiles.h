/* Archives of map tiles in one file: PMTiles version 3 (read and written), MBTiles 1.3 (written).
 *
 * Both hold what a tile server would send. Tiles that are the same bytes are kept once. Writing takes the tiles sorted by
 * mg_pmtiles_id from one file (a spool), so that memory holds an index and no tile. Any process; single thread. */
#ifndef MOONGATE_PMTILES_H
#define MOONGATE_PMTILES_H

#include "moongate/buf.h"
#include "moongate/crypto.h"
#include "moongate/tile.h"

enum mg_tile_kind { MG_TILES_UNKNOWN, MG_TILES_MVT, MG_TILES_PNG, MG_TILES_JPEG, MG_TILES_WEBP };

struct mg_archive_info {
    enum mg_tile_kind kind;
    bool gzip;               /* each tile is gzip (RFC 1952) */
    int minzoom, maxzoom;
    struct mg_bounds bounds; /* degrees */
    const char *name, *description;
    const char *vector_layers; /* JSON list, or NULL */
};

/* A tile's number: all tiles of lesser zooms, then its place on the zoom's Hilbert curve. */
uint64_t mg_pmtiles_id(struct mg_tile tile);
/* False: no tile of zooms 0 to 24 has that number. */
bool mg_pmtiles_tile(uint64_t id, struct mg_tile *out);

/* A tile that lies in the spool. */
struct mg_spooled {
    uint64_t id, offset;
    uint32_t bytes;
    struct mg_hash hash; /* of the bytes */
};
/* Writes to fd, from its start. `tiles` is sorted by id, without duplicates and without empty tiles. */
MG_MUST_CHECK enum mg_err mg_pmtiles_write(int fd, const struct mg_archive_info *info, const struct mg_spooled *tiles,
                                           size_t n, int spool_fd, struct mg_errmsg *err);
/* Makes the file anew. */
MG_MUST_CHECK enum mg_err mg_mbtiles_write(const char *path, const struct mg_archive_info *info,
                                           const struct mg_spooled *tiles, size_t n, int spool_fd, struct mg_errmsg *err);

/* Reading: everything in the file is checked before it is used; a directory is at most 16 MB. */
struct mg_pmtiles;
/* `path` is a GDAL path. MG_E_NO_FILE, MG_E_BAD_FILE. */
MG_MUST_CHECK enum mg_err mg_pmtiles_open(const char *path, struct mg_pmtiles **out, struct mg_errmsg *err);
void mg_pmtiles_close(struct mg_pmtiles **archive);
/* name, description and vector_layers are NULL: they are in the metadata. */
const struct mg_archive_info *mg_pmtiles_info(const struct mg_pmtiles *archive);
/* The JSON metadata, appended. */
MG_MUST_CHECK enum mg_err mg_pmtiles_metadata(struct mg_pmtiles *archive, struct mg_buf *out, struct mg_errmsg *err);
/* Appends the tile as it lies in the file; *found false when the archive has none. Cost: at most four reads. */
MG_MUST_CHECK enum mg_err mg_pmtiles_get(struct mg_pmtiles *archive, struct mg_tile tile, struct mg_buf *out, bool *found,
                                         struct mg_errmsg *err);

#endif
