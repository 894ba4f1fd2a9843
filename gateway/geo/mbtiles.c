/* Writing MBTiles 1.3: tables `map` and `images`, so that the same bytes are kept once, and the view `tiles` over them.
 * One transaction; no journal, for the file is new: a crash leaves a file that is not renamed into place. */
#include "moongate/pmtiles.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static enum mg_err failed(sqlite3 *db, const char *path, struct mg_errmsg *err)
{
    return mg_err_set(err, MG_E_IO, "%s: %s", path, sqlite3_errmsg(db));
}

static const char schema[] =
    "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA application_id=0x4d504258; BEGIN;"
    "CREATE TABLE metadata (name text, value text);"
    "CREATE TABLE images (tile_id text PRIMARY KEY, tile_data blob) WITHOUT ROWID;"
    "CREATE TABLE map (zoom_level integer, tile_column integer, tile_row integer, tile_id text,"
    " PRIMARY KEY (zoom_level, tile_column, tile_row)) WITHOUT ROWID;"
    "CREATE VIEW tiles AS SELECT map.zoom_level AS zoom_level, map.tile_column AS tile_column, map.tile_row AS tile_row,"
    " images.tile_data AS tile_data FROM map JOIN images ON images.tile_id = map.tile_id;";

static int put_metadata(sqlite3_stmt *insert, const char *name, const char *value)
{
    sqlite3_bind_text(insert, 1, name, -1, SQLITE_STATIC);
    sqlite3_bind_text(insert, 2, value, -1, SQLITE_TRANSIENT);
    int status = sqlite3_step(insert);
    sqlite3_reset(insert);
    return status == SQLITE_DONE ? SQLITE_OK : status;
}

static int put_info(sqlite3 *db, const struct mg_archive_info *info)
{
    static const char *const formats[] = {"", "pbf", "png", "jpg", "webp"};
    char text[160];
    sqlite3_stmt *insert = NULL;
    int status = sqlite3_prepare_v2(db, "INSERT INTO metadata VALUES (?, ?)", -1, &insert, NULL);
    if (!status)
        status = put_metadata(insert, "name", info->name);
    if (!status)
        status = put_metadata(insert, "description", info->description);
    if (!status)
        status = put_metadata(insert, "format", formats[info->kind]);
    snprintf(text, sizeof text, "%.9g,%.9g,%.9g,%.9g", info->bounds.xmin, info->bounds.ymin, info->bounds.xmax,
             info->bounds.ymax);
    if (!status)
        status = put_metadata(insert, "bounds", text);
    snprintf(text, sizeof text, "%.9g,%.9g,%d", (info->bounds.xmin + info->bounds.xmax) / 2,
             (info->bounds.ymin + info->bounds.ymax) / 2, info->minzoom);
    if (!status)
        status = put_metadata(insert, "center", text);
    snprintf(text, sizeof text, "%d", info->minzoom);
    if (!status)
        status = put_metadata(insert, "minzoom", text);
    snprintf(text, sizeof text, "%d", info->maxzoom);
    if (!status)
        status = put_metadata(insert, "maxzoom", text);
    if (!status && info->vector_layers) {
        struct mg_buf json;
        mg_buf_init(&json, 0);
        mg_buf_printf(&json, "{\"vector_layers\":%s}", info->vector_layers);
        status = json.failed ? SQLITE_NOMEM : put_metadata(insert, "json", json.data);
        mg_buf_fini(&json);
    }
    sqlite3_finalize(insert);
    return status;
}

static enum mg_err put_tiles(sqlite3 *db, const char *path, const struct mg_spooled *tiles, size_t n, int spool_fd,
                             struct mg_errmsg *err)
{
    sqlite3_stmt *image = NULL, *map = NULL;
    struct mg_buf bytes;
    enum mg_err status = MG_OK;
    mg_buf_init(&bytes, 0);
    if (sqlite3_prepare_v2(db, "INSERT OR IGNORE INTO images VALUES (?, ?)", -1, &image, NULL) ||
        sqlite3_prepare_v2(db, "INSERT INTO map VALUES (?, ?, ?, ?)", -1, &map, NULL))
        status = failed(db, path, err);
    for (size_t i = 0; !status && i < n; i++) {
        struct mg_tile tile;
        char id[2 * sizeof tiles[i].hash.bytes + 1];
        bytes.len = 0;
        char *room = mg_buf_room(&bytes, tiles[i].bytes);
        if (!room || !mg_pmtiles_tile(tiles[i].id, &tile)) {
            status = MG_E_NOMEM;
            break;
        }
        if (pread(spool_fd, room, tiles[i].bytes, (off_t)tiles[i].offset) != (ssize_t)tiles[i].bytes) {
            status = mg_err_set(err, MG_E_IO, "reading the spool: %s", strerror(errno));
            break;
        }
        for (size_t b = 0; b < sizeof tiles[i].hash.bytes; b++)
            snprintf(id + 2 * b, 3, "%02x", tiles[i].hash.bytes[b]);
        sqlite3_bind_text(image, 1, id, -1, SQLITE_STATIC);
        sqlite3_bind_blob(image, 2, room, (int)tiles[i].bytes, SQLITE_STATIC);
        sqlite3_bind_int(map, 1, tile.z);
        sqlite3_bind_int(map, 2, tile.x);
        sqlite3_bind_int(map, 3, (1 << tile.z) - 1 - tile.y); /* counted from the south */
        sqlite3_bind_text(map, 4, id, -1, SQLITE_STATIC);
        if (sqlite3_step(image) != SQLITE_DONE || sqlite3_step(map) != SQLITE_DONE)
            status = failed(db, path, err);
        sqlite3_reset(image);
        sqlite3_reset(map);
    }
    sqlite3_finalize(image);
    sqlite3_finalize(map);
    mg_buf_fini(&bytes);
    return status;
}

enum mg_err mg_mbtiles_write(const char *path, const struct mg_archive_info *info, const struct mg_spooled *tiles, size_t n,
                             int spool_fd, struct mg_errmsg *err)
{
    sqlite3 *db = NULL;
    if (n == 0)
        return mg_err_set(err, MG_E_INVALID, "all tiles are empty: there is nothing to write");
    if (unlink(path) < 0 && errno != ENOENT)
        return mg_err_set(err, MG_E_IO, "%s: %s", path, strerror(errno));
    enum mg_err status = MG_OK;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) ||
        sqlite3_exec(db, schema, NULL, NULL, NULL) || put_info(db, info))
        status = failed(db, path, err);
    if (!status)
        status = put_tiles(db, path, tiles, n, spool_fd, err);
    if (!status && sqlite3_exec(db, "COMMIT", NULL, NULL, NULL))
        status = failed(db, path, err);
    sqlite3_close(db);
    return status;
}
