/* The one database of the process: loading the library, opening, confining, failing.
 *
 * Opened with one thread, so that it survives fork: the zygote opens it once and its workers have it (20 to
 * 40 ms saved). It spills nothing to disk and loads no extension. The first statement of a process confines
 * it for good, in this order (each locks the door behind the one before): allowed folders, no other access,
 * settings locked. COPY can only write by path: to a memfd that was made before the sandbox closed, by its
 * name in /proc. */
#include "duck.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEFAULT_MEMORY = 512 << 20, MAX_PATH = 4096 };

struct duck_library duck;

static struct {
    char library[MAX_PATH];
    char dir[MAX_PATH];
    size_t memory_bytes;
    struct duck_db *db;
    struct duck_con *con;
    bool loaded, confined;
    char **folders;
    int output_fd;
    char output_path[MAX_PATH];
} state = {.output_fd = -1};

/* ---- where things are ---- */

/* Found from the program's own path, so that a prefix can be moved as a whole. */
static bool find_library(void)
{
    static const char *const places[] = {"share/lib", "../share/moongate/lib"};
    char exe[MAX_PATH - 64];
    if (state.library[0])
        return true;
    ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (len <= 0)
        return false;
    exe[len] = 0;
    *strrchr(exe, '/') = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        int n = snprintf(state.library, sizeof state.library, "%s/%s/libduckdb.so", exe, places[i]);
        if (n > 0 && (size_t)n < sizeof state.library && access(state.library, R_OK) == 0)
            return true;
    }
    state.library[0] = 0;
    return false;
}

void mg_sql_setup(const struct mg_sql_config *config)
{
    if (config->library)
        snprintf(state.library, sizeof state.library, "%s", config->library);
    state.memory_bytes = config->memory_bytes;
}

const char *mg_sql_library_dir(void)
{
    char *slash;
    if (!find_library() || !realpath(state.library, state.dir) || !(slash = strrchr(state.dir, '/')))
        return NULL;
    *slash = 0;
    return state.dir;
}

static size_t memory_bytes(void)
{
    return state.memory_bytes ? state.memory_bytes : (size_t)DEFAULT_MEMORY;
}

/* ---- errors ---- */

static enum mg_err kind_of(const char *type)
{
    static const struct {
        const char *word;
        enum mg_err err;
    } kinds[] = {{"Out of Memory", MG_E_UDF_MEMORY}, {"Permission", MG_E_FORBIDDEN}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strncmp(type, kinds[i].word, strlen(kinds[i].word)) == 0)
            return kinds[i].err;
    return MG_E_SQL;
}

/* "…\n\nLINE 2: from nowhere\n             ^": the caret's column counts behind "LINE 2: ". The text of the
 * line may have been cut on the left, which "..." shows; then only the line is said. */
static void position_of(const char *at, int *line, int *column)
{
    const char *text = at + strlen("LINE "), *colon = strchr(text, ':'), *end = strchr(text, '\n');
    char *stop;
    *line = (int)strtol(text, &stop, 10);
    *column = 0;
    if (!colon || !end || strncmp(colon + 1, " ...", 4) == 0)
        return;
    const char *caret = strchr(end + 1, '^');
    long offset = caret ? (long)(caret - (end + 1)) - (long)(colon + 2 - at) : -1;
    if (offset >= 0)
        *column = (int)offset + 1;
}

enum mg_err duck_fail(const char *message, struct mg_errmsg *err)
{
    if (!message)
        return mg_err_set(err, MG_E_SQL, "DuckDB gave no reason");
    enum mg_err code = kind_of(message);
    if (code == MG_E_UDF_MEMORY) /* DuckDB's advice is of settings that are locked */
        return mg_err_set(err, code,
                          "the statement used more than its %zu MB of memory: read fewer columns or rows, "
                          "or sort and group less at once",
                          memory_bytes() >> 20);
    const char *place = strstr(message, "\nLINE ");
    size_t len = place ? (size_t)(place - message) : strlen(message);
    char text[420];
    size_t n = 0;
    int line = 0, column = 0;
    for (size_t i = 0; i < len && n < sizeof text - 1; i++) {
        bool blank = message[i] == '\n' || message[i] == ' ';
        if (!blank || (n && text[n - 1] != ' '))
            text[n++] = blank ? ' ' : message[i];
    }
    while (n && text[n - 1] == ' ')
        n--;
    text[n] = 0;
    if (place)
        position_of(place + 1, &line, &column);
    if (column)
        return mg_err_set(err, code, "%s (line %d, column %d of the statement)", text, line, column);
    if (line)
        return mg_err_set(err, code, "%s (line %d of the statement)", text, line);
    return mg_err_set(err, code, "%s", text);
}

enum mg_err duck_do(struct duck_con *con, const char *sql, struct mg_errmsg *err)
{
    struct duck_result result = {0};
    enum mg_err code = MG_OK;
    if (duck.query(con, sql, &result) != 0)
        code = duck_fail(duck.result_error(&result), err);
    duck.destroy_result(&result);
    return code;
}

/* ---- open ---- */

static enum mg_err load(struct mg_errmsg *err)
{
    if (state.loaded)
        return MG_OK;
    if (!find_library())
        return mg_err_set(err, MG_E_UNAVAILABLE,
                          "libduckdb.so is not there: run ./moongate, or install with cmake --install");
    void *library = dlopen(state.library, RTLD_LAZY | RTLD_LOCAL);
    if (!library)
        return mg_err_set(err, MG_E_UNAVAILABLE, "libduckdb.so cannot be loaded: %s", dlerror());
    void **slot;
#define LOAD(result, name, parameters)           \
    slot = (void **)&duck.name;                  \
    *slot = dlsym(library, "duckdb_" #name);     \
    if (!*slot)                                  \
        return mg_err_set(err, MG_E_UNAVAILABLE, \
                          "libduckdb.so is of another version: it has no duckdb_" #name);
    DUCK_FUNCTIONS(LOAD)
#undef LOAD
    state.loaded = true;
    return MG_OK;
}

enum mg_err mg_sql_open(struct mg_errmsg *err)
{
    char memory[32];
    const char *const settings[][2] = {{"threads", "1"},
                                       {"memory_limit", memory},
                                       {"temp_directory", ""},
                                       {"autoinstall_known_extensions", "false"},
                                       {"autoload_known_extensions", "false"},
                                       {"allow_community_extensions", "false"},
                                       {"allow_persistent_secrets", "false"}};
    struct duck_config *config = NULL;
    char *why = NULL;
    if (state.con)
        return MG_OK;
    enum mg_err code = load(err);
    if (code != MG_OK)
        return code;
    snprintf(memory, sizeof memory, "%zuB", memory_bytes());
    if (duck.create_config(&config) != 0)
        return mg_err_set(err, MG_E_NOMEM, "out of memory for DuckDB");
    for (size_t i = 0; code == MG_OK && i < sizeof settings / sizeof *settings; i++)
        if (duck.set_config(config, settings[i][0], settings[i][1]) != 0)
            code = mg_err_set(err, MG_E_UNAVAILABLE, "DuckDB has no setting %s", settings[i][0]);
    if (code == MG_OK) {
        /* Whatever limit it is given, it asks how much memory there is; in the sandbox that fails where it
         * reads of cgroups, and ends the process. This variable is asked first. */
        char megabytes[32];
        snprintf(megabytes, sizeof megabytes, "%zuM", memory_bytes() >> 20);
        setenv("SLURM_MEM_PER_NODE", megabytes, 1);
        if (duck.open_ext(NULL, &state.db, config, &why) != 0)
            code = mg_err_set(err, MG_E_UNAVAILABLE, "DuckDB does not open: %.300s", why ? why : "");
        unsetenv("SLURM_MEM_PER_NODE");
        duck.free(why);
    }
    duck.destroy_config(&config);
    if (code == MG_OK && duck.connect(state.db, &state.con) != 0) {
        state.con = NULL;
        code = mg_err_set(err, MG_E_UNAVAILABLE, "DuckDB takes no connection");
    }
    if (code == MG_OK)
        code = duck_do(state.con, "SET TimeZone = 'UTC'", err);
    if (code == MG_OK)
        code = duck_scan_register(state.con, err);
    if (code == MG_OK)
        code = duck_geo_register(state.con, err);
    if (code != MG_OK && state.con)
        duck.disconnect(&state.con); /* the next call tries again */
    return code;
}

/* ---- confine ---- */

static void free_folders(void)
{
    for (char **f = state.folders; f && *f; f++)
        free(*f);
    free(state.folders);
    state.folders = NULL;
}

enum mg_err mg_sql_confine(const char *const *folders, int output_fd, struct mg_errmsg *err)
{
    size_t n = 0;
    if (state.confined)
        return mg_err_set(err, MG_E_INTERNAL, "DuckDB is confined already");
    while (folders && folders[n])
        n++;
    free_folders();
    if (!(state.folders = calloc(n + 1, sizeof *state.folders)))
        return mg_err_set(err, MG_E_NOMEM, "out of memory");
    for (size_t i = 0; i < n; i++)
        if (!(state.folders[i] = strdup(folders[i])))
            return mg_err_set(err, MG_E_NOMEM, "out of memory");
    state.output_fd = output_fd;
    return MG_OK;
}

/* Where there is no memfd yet and none can be made: a file that has lost its name. */
static enum mg_err open_output(struct mg_errmsg *err)
{
    if (state.output_fd < 0)
        state.output_fd = memfd_create("moongate-sql", MFD_CLOEXEC);
    if (state.output_fd < 0) {
        char path[MAX_PATH];
        const char *dir = getenv("TMPDIR");
        snprintf(path, sizeof path, "%s/sql-XXXXXX", dir ? dir : "/tmp");
        state.output_fd = mkostemp(path, O_CLOEXEC);
        if (state.output_fd < 0)
            return mg_err_set(err, MG_E_IO, "there is nowhere to write: %s", strerror(errno));
        unlink(path);
    }
    snprintf(state.output_path, sizeof state.output_path, "/proc/self/fd/%d", state.output_fd);
    return MG_OK;
}

void duck_put_quoted(struct mg_buf *out, char quote, struct mg_span text)
{
    mg_buf_char(out, quote);
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == quote)
            mg_buf_char(out, quote);
        mg_buf_char(out, text.data[i]);
    }
    mg_buf_char(out, quote);
}

static enum mg_err confine(struct mg_errmsg *err)
{
    struct mg_buf sql;
    if (state.confined)
        return MG_OK;
    enum mg_err code = open_output(err);
    if (code != MG_OK)
        return code;
    mg_buf_init(&sql, 1 << 20);
    mg_buf_str(&sql, "SET allowed_directories = [");
    for (char **f = state.folders; f && *f; f++) {
        if (f != state.folders)
            mg_buf_char(&sql, ',');
        duck_put_quoted(&sql, '\'', mg_span(*f));
    }
    mg_buf_str(&sql, "]; SET allowed_paths = [");
    duck_put_quoted(&sql, '\'', mg_span(state.output_path));
    mg_buf_str(&sql, "]; SET enable_external_access = false; SET lock_configuration = true");
    code = mg_buf_status(&sql, err);
    if (code == MG_OK)
        code = duck_do(state.con, sql.data, err);
    mg_buf_fini(&sql);
    state.confined = code == MG_OK;
    return code;
}

enum mg_err duck_ready(struct duck_con **con, struct mg_errmsg *err)
{
    enum mg_err code = mg_sql_open(err);
    if (code == MG_OK)
        code = confine(err);
    if (code == MG_OK)
        *con = state.con;
    return code;
}

/* ---- output ---- */

const char *duck_output_path(void)
{
    return state.output_path;
}

void duck_output_drop(void)
{
    if (ftruncate(state.output_fd, 0) < 0)
        return; /* the next COPY truncates it too */
}

enum mg_err duck_output_take(struct mg_buf *out, struct mg_errmsg *err)
{
    struct stat st;
    if (fstat(state.output_fd, &st) < 0)
        return mg_err_set(err, MG_E_IO, "the output cannot be read: %s", strerror(errno));
    size_t n = (size_t)st.st_size, done = 0;
    char *at = n ? mg_buf_room(out, n) : NULL;
    while (at && done < n) {
        ssize_t got = pread(state.output_fd, at + done, n - done, (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return mg_err_set(err, MG_E_IO, "the output cannot be read: %s", strerror(errno));
        done += (size_t)got;
    }
    if (at)
        out->len += n;
    duck_output_drop();
    return mg_buf_status(out, err);
}

enum mg_err duck_output_put(struct mg_span bytes, struct mg_errmsg *err)
{
    size_t done = 0;
    duck_output_drop();
    while (done < bytes.len) {
        ssize_t put = pwrite(state.output_fd, bytes.data + done, bytes.len - done, (off_t)done);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return mg_err_set(err, MG_E_IO, "%zu bytes cannot be kept: %s", bytes.len, strerror(errno));
        done += (size_t)put;
    }
    return MG_OK;
}
