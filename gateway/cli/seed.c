/* moongate seed: the tiles of a UDF, run by all workers, into a PMTiles or MBTiles archive, or into the result cache.
 *
 * Tiles lie in OUTPUT.part as they come (seed_spool.h); the archive is made of it at the end and renamed into place. The
 * same command again goes on where it was cut short. Twice as many runs as there are workers are under way, so that no
 * worker waits for us. */
#include "moongate/codec.h"
#include "moongate/log.h"
#include "moongate/tile_layers.h"

#include "cli.h"
#include "local.h"
#include "seed_spool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_GIVEN = 64, SAMPLES = 64 };

struct seed {
    struct mg_engine *engine;
    struct mg_ask ask;
    struct mg_given given[MAX_GIVEN];
    struct mg_buf options;
    const struct mg_codec *codec;
    struct mg_bounds bounds;
    int minzoom, maxzoom;
    struct mg_spool spool;
    bool to_file, mbtiles, gzip;
    pthread_mutex_t lock; /* of what follows, and of the spool */
    pthread_cond_t changed;
    unsigned under_way;
    uint64_t total, done, empty, skipped;
    enum mg_err failed;
    struct mg_errmsg why;
};

/* One run. */
struct piece {
    struct seed *seed;
    struct mg_tile tile;
    struct mg_run *run;
    bool told, left; /* both: whoever comes second frees */
};

static volatile sig_atomic_t interrupted;
static void on_signal(int number) { interrupted = number; }

/* ---- running ----------------------------------------------------------------------------------------- */

/* The bytes as the archive holds them. `copy` may get them. */
static enum mg_err body_of(const struct seed *seed, const struct mg_answer *answer, struct mg_buf *copy, struct mg_span *out)
{
    *out = answer->body;
    if (answer->fd >= 0) {
        char *room = mg_buf_room(copy, answer->fd_bytes);
        if (!room || pread(answer->fd, room, answer->fd_bytes, (off_t)answer->fd_offset) != (ssize_t)answer->fd_bytes)
            return MG_E_IO;
        mg_buf_added(copy, answer->fd_bytes);
        *out = (struct mg_span){copy->data, copy->len};
    }
    if (seed->gzip && !answer->gzip && out->len) { /* small ones are not worth it to HTTP; an archive has one way */
        struct mg_buf packed;
        mg_buf_init(&packed, 0);
        enum mg_err status = mg_gzip(*out, &packed);
        mg_buf_fini(copy);
        *copy = packed;
        *out = (struct mg_span){packed.data, packed.len};
        return status;
    }
    return MG_OK;
}

static void told(void *context, struct mg_answer *answer, enum mg_source source, struct mg_span detail)
{
    struct piece *piece = context;
    struct seed *seed = piece->seed;
    struct mg_buf copy;
    struct mg_span body = {0};
    (void)source;
    (void)detail;
    mg_buf_init(&copy, 0);
    bool nothing = answer->empty || answer->status == 204 || !mg_answer_bytes(answer);
    enum mg_err status = answer->err;
    if (!status && answer->status != 200 && answer->status != 204)
        status = MG_E_INVALID;
    if (!status && seed->to_file && !nothing)
        status = body_of(seed, answer, &copy, &body);
    pthread_mutex_lock(&seed->lock);
    if (!status && seed->to_file)
        status = mg_spool_put(&seed->spool, mg_pmtiles_id(piece->tile), body, &seed->why);
    if (status && !seed->failed) {
        const char *why = answer->err && answer->message ? answer->message
                          : seed->why.text[0]            ? seed->why.text
                                                         : mg_err_text(status);
        struct mg_errmsg sentence;
        mg_err_set(&sentence, status, "tile %d/%d/%d: %s", piece->tile.z, piece->tile.x, piece->tile.y, why);
        seed->failed = status;
        seed->why = sentence;
    }
    seed->done += !status;
    seed->empty += !status && nothing;
    seed->under_way--;
    piece->told = true;
    bool last = piece->left;
    pthread_cond_signal(&seed->changed);
    pthread_mutex_unlock(&seed->lock);
    mg_buf_fini(&copy);
    if (last) {
        mg_run_release(&piece->run);
        free(piece);
    }
}

static void start(struct seed *seed, struct mg_tile tile)
{
    struct piece *piece = calloc(1, sizeof *piece);
    MG_ASSERT(piece);
    *piece = (struct piece){.seed = seed, .tile = tile};
    struct mg_ask ask = seed->ask;
    ask.z = tile.z;
    ask.x = tile.x;
    ask.y = tile.y;
    struct mg_run *run = mg_run_start(seed->engine, &ask, told, piece);
    pthread_mutex_lock(&seed->lock);
    piece->run = run;
    piece->left = true;
    bool last = piece->told;
    pthread_mutex_unlock(&seed->lock);
    if (last) {
        mg_run_release(&piece->run);
        free(piece);
    }
}

static double now_s(void) { return (double)mg_now_us() / 1e6; }

static void show(struct seed *seed, double begun, bool end)
{
    static double shown;
    double now = now_s();
    if (!isatty(STDERR_FILENO) || (!end && now - shown < 0.2))
        return;
    shown = now;
    uint64_t at = seed->done + seed->skipped;
    double share = seed->total ? (double)at / (double)seed->total : 1, rate = (double)seed->done / (now - begun + 1e-9);
    int bars = (int)(share * 30);
    fprintf(stderr, "\r[%.*s%*s] %3.0f %%  %llu of %llu tiles, %.0f/s, %.0f s left ", bars,
            "##############################", 30 - bars, "", share * 100, (unsigned long long)at,
            (unsigned long long)seed->total, rate, rate > 0 ? (double)(seed->total - at) / rate : 0.0);
    if (end)
        fputc('\n', stderr);
}

/* Waits until at most `most` runs are under way. */
static void wait_for(struct seed *seed, unsigned most, double begun)
{
    pthread_mutex_lock(&seed->lock);
    while (seed->under_way > most) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 200000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&seed->changed, &seed->lock, &until);
        show(seed, begun, false);
    }
    pthread_mutex_unlock(&seed->lock);
}

static void corners(const struct seed *seed, int z, struct mg_tile *first, struct mg_tile *last)
{
    *first = mg_tile_at(seed->bounds.xmin, seed->bounds.ymax, z);
    *last = mg_tile_at(seed->bounds.xmax, seed->bounds.ymin, z);
}

static enum mg_err run_all(struct seed *seed, unsigned workers, struct mg_errmsg *err)
{
    enum { QUEUE = 48 }; /* less than the broker turns away */
    double begun = now_s();
    unsigned ahead = 2 * workers < QUEUE ? 2 * workers : QUEUE;
    bool stop = false;
    for (int z = seed->minzoom; z <= seed->maxzoom; z++) {
        struct mg_tile first, last;
        corners(seed, z, &first, &last);
        seed->total += (uint64_t)(last.x - first.x + 1) * (uint64_t)(last.y - first.y + 1);
    }
    for (int z = seed->minzoom; z <= seed->maxzoom && !stop; z++) {
        struct mg_tile first, last;
        corners(seed, z, &first, &last);
        for (int32_t y = first.y; y <= last.y && !stop; y++)
            for (int32_t x = first.x; x <= last.x && !stop; x++) {
                struct mg_tile tile = {z, x, y};
                wait_for(seed, ahead - 1, begun);
                pthread_mutex_lock(&seed->lock);
                bool there = seed->to_file && mg_spool_has(&seed->spool, mg_pmtiles_id(tile));
                seed->skipped += there;
                seed->under_way += !there;
                stop = seed->failed || interrupted;
                seed->under_way -= stop && !there;
                pthread_mutex_unlock(&seed->lock);
                if (!there && !stop)
                    start(seed, tile);
            }
    }
    wait_for(seed, 0, begun);
    show(seed, begun, true);
    if (seed->failed)
        return mg_err_set(err, seed->failed, "%s", seed->why.text);
    if (interrupted)
        return mg_err_set(err, MG_E_CANCELLED, "stopped; %llu of %llu tiles are done, and the same command goes on from there",
                          (unsigned long long)(seed->done + seed->skipped), (unsigned long long)seed->total);
    return MG_OK;
}

/* ---- the archive ------------------------------------------------------------------------------------- */

/* The layers of the first tiles that have any, together. Returns new text. */
static char *layers_of(const struct seed *seed, const struct mg_spooled *tiles, size_t n)
{
    json_t *all = json_array(), *layer;
    for (size_t i = 0; i < n && i < SAMPLES; i++) {
        struct mg_buf packed, tile;
        mg_buf_init(&packed, 0);
        mg_buf_init(&tile, 64 << 20);
        char *room = mg_buf_room(&packed, tiles[i].bytes);
        json_t *found = NULL;
        if (room && pread(seed->spool.fd, room, tiles[i].bytes, (off_t)tiles[i].offset) == (ssize_t)tiles[i].bytes &&
            mg_gunzip((struct mg_span){room, tiles[i].bytes}, &tile) == MG_OK)
            found = mg_tile_layers((struct mg_span){tile.data, tile.len});
        size_t at;
        json_array_foreach(found, at, layer)
        {
            size_t k = 0;
            while (k < json_array_size(all) && strcmp(json_string_value(json_object_get(json_array_get(all, k), "id")),
                                                      json_string_value(json_object_get(layer, "id"))) != 0)
                k++;
            if (k == json_array_size(all))
                json_array_append(all, layer);
            else
                json_object_update_missing(json_object_get(json_array_get(all, k), "fields"), json_object_get(layer, "fields"));
        }
        json_decref(found);
        mg_buf_fini(&packed);
        mg_buf_fini(&tile);
    }
    char *text = json_dumps(all, JSON_COMPACT);
    json_decref(all);
    return text;
}

static enum mg_err write_archive(struct seed *seed, const char *output, uint64_t *bytes, struct mg_errmsg *err)
{
    static const struct {
        const char *codec;
        enum mg_tile_kind kind;
    } kinds[] = {{"mvt", MG_TILES_MVT}, {"png", MG_TILES_PNG}, {"jpg", MG_TILES_JPEG}, {"webp", MG_TILES_WEBP}};
    char fresh[1100];
    struct stat st;
    snprintf(fresh, sizeof fresh, "%s.new", output);
    struct mg_archive_info info = {.gzip = seed->gzip, .minzoom = seed->minzoom, .maxzoom = seed->maxzoom,
                                   .bounds = seed->bounds, .name = seed->ask.udf->name,
                                   .description = seed->ask.udf->description ? seed->ask.udf->description : ""};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(seed->codec->name, kinds[i].codec) == 0)
            info.kind = kinds[i].kind;
    mg_spool_sort(&seed->spool);
    size_t n = 0; /* without the empty ones, and within what is asked for now: a spool may have more */
    struct mg_spooled *tiles = calloc(seed->spool.n + 1, sizeof *tiles);
    if (!tiles)
        return MG_E_NOMEM;
    for (size_t i = 0; i < seed->spool.n; i++) {
        struct mg_tile tile, first, last;
        if (!seed->spool.tiles[i].bytes || !mg_pmtiles_tile(seed->spool.tiles[i].id, &tile))
            continue;
        corners(seed, tile.z, &first, &last);
        if (tile.z >= seed->minzoom && tile.z <= seed->maxzoom && tile.x >= first.x && tile.x <= last.x &&
            tile.y >= first.y && tile.y <= last.y && (!n || tiles[n - 1].id != seed->spool.tiles[i].id))
            tiles[n++] = seed->spool.tiles[i];
    }
    char *layers = info.kind == MG_TILES_MVT ? layers_of(seed, tiles, n) : NULL;
    info.vector_layers = layers;
    enum mg_err status;
    if (seed->mbtiles) {
        status = mg_mbtiles_write(fresh, &info, tiles, n, seed->spool.fd, err);
    } else {
        int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        status = fd < 0 ? mg_err_set(err, MG_E_IO, "%s: %s", fresh, strerror(errno))
                        : mg_pmtiles_write(fd, &info, tiles, n, seed->spool.fd, err);
        if (!status && fsync(fd) < 0)
            status = mg_err_set(err, MG_E_IO, "%s: %s", fresh, strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    if (!status && (stat(fresh, &st) < 0 || rename(fresh, output) < 0))
        status = mg_err_set(err, MG_E_IO, "%s: %s", output, strerror(errno));
    *bytes = status ? 0 : (uint64_t)st.st_size;
    if (status)
        unlink(fresh);
    free(layers);
    free(tiles);
    return status;
}

/* ---- what was asked for -------------------------------------------------------------------------------- */

static enum mg_err read_bounds(const struct mg_config *config, const json_t *metadata, struct seed *seed,
                               struct mg_errmsg *err)
{
    struct mg_bounds b;
    int used = 0, low, high;
    if (config->bounds) {
        if (sscanf(config->bounds, "%lf,%lf,%lf,%lf%n", &b.xmin, &b.ymin, &b.xmax, &b.ymax, &used) != 4 ||
            config->bounds[used] || !mg_bounds_valid(b) || b.xmin >= b.xmax)
            return mg_err_set(err, MG_E_INVALID, "--bounds %s: xmin,ymin,xmax,ymax in degrees is expected", config->bounds);
    } else if (json_unpack((json_t *)metadata, "{s:[F,F,F,F]}", "moongate:bounds", &b.xmin, &b.ymin, &b.xmax, &b.ymax) < 0 ||
               !mg_bounds_valid(b) || b.xmin >= b.xmax) {
        return mg_err_set(err, MG_E_INVALID, "--bounds xmin,ymin,xmax,ymax: the UDF does not say where its data is");
    }
    seed->bounds = b;
    used = 0;
    if (config->zooms) {
        int n = sscanf(config->zooms, "%d%n-%d%n", &low, &used, &high, &used);
        high = n == 1 ? low : high;
        if (n < 1 || config->zooms[used] || low < 0 || high < low || high > MG_TILE_MAX_ZOOM)
            return mg_err_set(err, MG_E_INVALID, "--zooms %s: for instance 0-12, or 8; at most %d is expected",
                              config->zooms, MG_TILE_MAX_ZOOM);
    } else if (json_unpack((json_t *)metadata, "{s:[i,i]}", "moongate:zooms", &low, &high) < 0 || low < 0 || low > high ||
               high > MG_TILE_MAX_ZOOM) {
        return mg_err_set(err, MG_E_INVALID, "--zooms FROM-TO: the UDF does not say which zooms it has");
    }
    seed->minzoom = low;
    seed->maxzoom = high;
    return MG_OK;
}

static enum mg_err read_seed(const struct mg_config *config, struct seed *seed, struct mg_errmsg *err)
{
    struct mg_udf *udf = seed->ask.udf;
    json_t *metadata = NULL;
    const char *dot = config->output ? strrchr(config->output, '.') : NULL;
    if (json_unpack(udf->meta, "{s:{s:[{s:{s:o}}]}}", "job_config", "steps", "udf", "metadata", &metadata) < 0)
        metadata = NULL;
    seed->to_file = config->output != NULL;
    seed->mbtiles = dot && strcmp(dot, ".mbtiles") == 0;
    if (config->output && !seed->mbtiles && (!dot || strcmp(dot, ".pmtiles") != 0))
        return mg_err_set(err, MG_E_INVALID, "--output %s: a file that ends in .pmtiles or .mbtiles is expected",
                          config->output);
    const char *format = config->format ? config->format : strstr(udf->type, "vector") ? "mvt" : "png";
    seed->codec = mg_codec_find(mg_span(format));
    if (!seed->codec || !strstr("mvt png jpg webp", seed->codec->name))
        return mg_err_set(err, MG_E_INVALID, "--format %s: tiles are mvt, png, jpg or webp", format);
    seed->gzip = strcmp(seed->codec->name, "mvt") == 0;
    for (int i = 1; i < config->n_args; i++) {
        const char *equals = strchr(config->args[i], '=');
        if (!equals || equals == config->args[i] || seed->ask.n_given == MAX_GIVEN)
            return mg_err_set(err, MG_E_INVALID, "%s: NAME=VALUE is expected, at most %d times", config->args[i], MAX_GIVEN);
        seed->given[seed->ask.n_given++] =
            (struct mg_given){.name = {config->args[i], (size_t)(equals - config->args[i])}, .text = mg_span(equals + 1)};
    }
    mg_pack_int(&seed->options, 0);
    seed->ask.given = seed->given;
    seed->ask.formats = mg_span(seed->codec->name);
    seed->ask.options = (struct mg_span){seed->options.data, seed->options.len};
    seed->ask.no_cache = seed->to_file;
    return read_bounds(config, metadata, seed, err);
}

/* What the spool's tiles are made of. */
static void identity_of(const struct seed *seed, const struct mg_hash *library, struct mg_hash *out)
{
    struct mg_buf text;
    mg_buf_init(&text, 0);
    mg_pack_bytes(&text, seed->ask.udf->code.bytes, sizeof seed->ask.udf->code.bytes);
    mg_pack_bytes(&text, library->bytes, sizeof library->bytes);
    mg_pack_str(&text, seed->codec->name);
    for (size_t i = 0; i < seed->ask.n_given; i++) {
        mg_pack_bytes(&text, seed->given[i].name.data, seed->given[i].name.len);
        mg_pack_bytes(&text, seed->given[i].text.data, seed->given[i].text.len);
    }
    mg_sha256(text.data, text.len, out);
    mg_buf_fini(&text);
}

static int report(const struct seed *seed, const struct mg_config *config, uint64_t bytes, double seconds)
{
    if (config->json) {
        mg_cli_print_json(json_pack("{s:I, s:I, s:I, s:I, s:I, s:f}", "tiles", (json_int_t)seed->total, "run",
                                    (json_int_t)seed->done, "resumed", (json_int_t)seed->skipped, "empty",
                                    (json_int_t)seed->empty, "bytes", (json_int_t)bytes, "seconds", seconds));
        return 0;
    }
    fprintf(stderr, "%s: %llu tiles, %llu of them empty, %llu from an earlier run", config->output ? config->output : "the cache",
            (unsigned long long)seed->total, (unsigned long long)seed->empty, (unsigned long long)seed->skipped);
    if (bytes)
        fprintf(stderr, ", %.1f MB", (double)bytes / 1e6);
    fprintf(stderr, ", %.1f s (%.0f/s)\n", seconds, (double)seed->done / (seconds + 1e-9));
    return 0;
}

static enum mg_err seed_udf(const struct mg_config *config, struct seed *seed, struct mg_errmsg *err)
{
    struct mg_local local;
    struct mg_hash of;
    char part[1100];
    uint64_t bytes = 0;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned workers = config->workers ? (unsigned)config->workers : (unsigned)(cores > 0 ? cores : 1);
    double begun = now_s();
    enum mg_err status = mg_local_open(config, config->args[0], workers, &local, err);
    seed->engine = local.engine;
    seed->ask.udf = local.udf;
    if (!status)
        status = read_seed(config, seed, err);
    if (!status && seed->to_file) {
        if ((size_t)snprintf(part, sizeof part, "%s.part", config->output) >= sizeof part)
            status = mg_err_set(err, MG_E_INVALID, "--output: the path is too long");
        identity_of(seed, &local.library, &of);
        if (!status)
            status = mg_spool_open(part, &of, &seed->spool, err);
    }
    if (!status)
        status = run_all(seed, workers, err);
    if (!status && seed->to_file)
        status = write_archive(seed, config->output, &bytes, err);
    if (!status) {
        if (seed->to_file)
            unlink(part);
        report(seed, config, bytes, now_s() - begun);
    }
    mg_spool_close(&seed->spool);
    mg_local_close(&local);
    return status;
}

int mg_cmd_seed(int argc, char **argv)
{
    struct mg_config config;
    struct mg_errmsg err = {0};
    struct sigaction action = {.sa_handler = on_signal};
    struct seed seed = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .spool = {.fd = -1},
                        .ask = {.org = "local", .has_tile = true, .tile_size = 256, .max_age_s = -1,
                                .mode = MG_RUN_ANSWER}};
    if (mg_config_parse(argc, argv, &config, &err) != MG_OK)
        return mg_cli_fail(2, &err);
    if (config.help || config.n_args == 0) {
        int status = mg_cli_help("seed NAME|DIR [PARAMETER=VALUE…] [--bounds xmin,ymin,xmax,ymax] [--zooms FROM-TO] "
                                 "[--output x.pmtiles|x.mbtiles] [--format F]",
                                 "Renders the tiles of a UDF with all workers into an archive, or, without --output, into the "
                                 "result\ncache of the data directory. Cut short, the same command goes on where it was.\n");
        return config.help ? status : 2;
    }
    mg_log_init("seed", MG_LOG_WARN, false);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    mg_buf_init(&seed.options, 0);
    enum mg_err status = seed_udf(&config, &seed, &err);
    mg_buf_fini(&seed.options);
    if (!status)
        return 0;
    mg_cli_fail(1, &err);
    return status == MG_E_CANCELLED ? 130 : 1;
}
