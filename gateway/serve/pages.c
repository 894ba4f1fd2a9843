/* Static pages: the files of the web folder, read once at start. Their gzip form and ETag are made when a page is first
 * asked for (some milliseconds, once, for the largest script): a start does not wait for them. */
#include "app.h"
#include "negotiate.h"

#include "moongate/codec.h"
#include "moongate/log.h"
#include "moongate/reference.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_PAGES = 64, MAX_PAGE_BYTES = 16 << 20 };
static const char config_mark[] = "{\"moongate\":\"config\"}";

struct mg_page {
    char name[256];
    const char *mime;
    char *data, *gzip;
    size_t len, gzip_len;
    char etag[24], gzip_etag[24];
    bool finished; /* atomic: what finish_page makes is there */
};
static pthread_mutex_t finish_lock = PTHREAD_MUTEX_INITIALIZER;

static const struct {
    const char *extension, *mime;
} types[] = {
    {".html", "text/html; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".mjs", "text/javascript; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".json", "application/json"},
    {".txt", "text/plain; charset=utf-8"},
};

static const char *mime_of(const char *name)
{
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++)
        if (strcmp(dot, types[i].extension) == 0)
            return types[i].mime;
    return NULL;
}

/* ETag and gzip form of what data and len hold. */
static void finish_page(struct mg_page *page)
{
    struct mg_hash hash;
    struct mg_buf packed;
    mg_sha256(page->data, page->len, &hash);
    snprintf(page->etag, sizeof page->etag, "\"%02x%02x%02x%02x%02x%02x%02x%02x\"", hash.bytes[0], hash.bytes[1],
             hash.bytes[2], hash.bytes[3], hash.bytes[4], hash.bytes[5], hash.bytes[6], hash.bytes[7]);
    snprintf(page->gzip_etag, sizeof page->gzip_etag, "%.17s-g\"", page->etag);
    mg_buf_init(&packed, 0);
    if (mg_gzip((struct mg_span){page->data, page->len}, &packed) == MG_OK && packed.len < page->len)
        page->gzip = mg_buf_take(&packed, &page->gzip_len);
    mg_buf_fini(&packed);
}

static void need_finished(struct mg_page *page)
{
    if (__atomic_load_n(&page->finished, __ATOMIC_ACQUIRE))
        return;
    pthread_mutex_lock(&finish_lock);
    if (!page->finished) {
        finish_page(page);
        __atomic_store_n(&page->finished, true, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&finish_lock);
}

static bool read_page(struct mg_page *page, int dir, const char *name)
{
    struct stat st;
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    bool good = false;
    page->mime = mime_of(name);
    if (fd >= 0 && page->mime && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= MAX_PAGE_BYTES &&
        (page->data = malloc((size_t)st.st_size + 1))) {
        ssize_t n = read(fd, page->data, (size_t)st.st_size);
        good = n == st.st_size;
        page->len = good ? (size_t)n : 0;
        page->data[page->len] = 0;
    }
    if (fd >= 0)
        close(fd);
    if (!good) {
        free(page->data);
        page->data = NULL;
        return false;
    }
    snprintf(page->name, sizeof page->name, "%s", name);
    return true;
}

/* The reference, made of the Lua library that lies beside the web folder. */
static bool make_reference(struct mg_page *page, const char *web_dir)
{
    char path[2048];
    struct mg_errmsg err = {""};
    struct mg_buf text;
    json_t *reference = NULL;
    snprintf(path, sizeof path, "%s/../lua", web_dir);
    if (mg_reference_load(path, &reference, &err) != MG_OK) {
        mg_log_warn("no reference: %s", err.text);
        return false;
    }
    mg_buf_init(&text, 0);
    mg_reference_html(reference, &text);
    json_decref(reference);
    if (text.failed || !text.data) {
        mg_buf_fini(&text);
        return false;
    }
    page->mime = mime_of("reference.html");
    page->data = mg_buf_take(&text, &page->len);
    snprintf(page->name, sizeof page->name, "reference.html");
    return true;
}

void mg_pages_load(struct mg_app *app, const char *web_dir)
{
    DIR *dir = web_dir ? opendir(web_dir) : NULL;
    app->pages = calloc(MAX_PAGES, sizeof *app->pages);
    MG_ASSERT(app->pages);
    if (!dir) {
        mg_log_warn("no web pages: %s cannot be read", web_dir ? web_dir : "the web folder");
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir)) && app->n_pages < MAX_PAGES;)
        app->n_pages += read_page(&app->pages[app->n_pages], dirfd(dir), entry->d_name);
    closedir(dir);
    if (app->n_pages < MAX_PAGES)
        app->n_pages += make_reference(&app->pages[app->n_pages], web_dir);
}

void mg_pages_free(struct mg_app *app)
{
    for (size_t i = 0; i < app->n_pages; i++) {
        free(app->pages[i].data);
        free(app->pages[i].gzip);
    }
    free(app->pages);
    app->pages = NULL;
    app->n_pages = 0;
}

static struct mg_page *find(const struct mg_app *app, struct mg_span name)
{
    for (size_t i = 0; i < app->n_pages; i++)
        if (mg_span_is(name, app->pages[i].name))
            return &app->pages[i];
    return NULL;
}

/* The pages run only our own scripts and talk to this server alone. */
static void put_policy(struct mg_reply *reply, const char *mime)
{
    if (strncmp(mime, "text/html", 9) == 0)
        mg_reply_header(reply, "content-security-policy",
                        MG_SPAN("default-src 'self'; img-src 'self' data: blob:; worker-src 'self' blob:; "
                                "style-src 'self' 'unsafe-inline'; frame-ancestors 'self'"));
}

bool mg_pages_send(struct mg_exchange *exchange, struct mg_span name)
{
    struct mg_page *page = find(exchange->app, name);
    if (!page)
        return false;
    need_finished(page);
    struct mg_span encodings = mg_http_header(exchange->request, "accept-encoding"),
                   known = mg_http_header(exchange->request, "if-none-match");
    bool gzip = page->gzip && mg_accepts_gzip(encodings);
    const char *etag = gzip ? page->gzip_etag : page->etag;
    bool same = mg_etag_listed(known, etag);
    struct mg_reply reply;
    mg_reply_init(&reply, same ? 304 : 200);
    mg_reply_header(&reply, "content-type", mg_span(page->mime));
    mg_reply_header(&reply, "etag", mg_span(etag));
    mg_reply_header(&reply, "cache-control", MG_SPAN("no-cache"));
    mg_reply_header(&reply, "vary", MG_SPAN("Accept-Encoding"));
    put_policy(&reply, page->mime);
    if (gzip && !same)
        mg_reply_header(&reply, "content-encoding", MG_SPAN("gzip"));
    if (!same)
        reply.response.body = gzip ? (struct mg_span){page->gzip, page->gzip_len} : (struct mg_span){page->data, page->len};
    mg_reply_send(exchange, &reply);
    return true;
}

/* JSON inside a script element: "</" must not end it. */
static void put_config(struct mg_buf *out, const struct mg_buf *json)
{
    for (size_t i = 0; i < json->len; i++)
        if (json->data[i] == '<')
            mg_buf_str(out, "\\u003c");
        else
            mg_buf_char(out, json->data[i]);
}

void mg_pages_send_map(struct mg_exchange *exchange, json_t *config)
{
    const struct mg_page *page = find(exchange->app, MG_SPAN("map.html"));
    const char *mark = page ? memmem(page->data, page->len, config_mark, sizeof config_mark - 1) : NULL;
    if (!mark) {
        mg_reply_error(exchange, MG_E_NOT_FOUND, "the map page is not installed (web/map.html)", (struct mg_span){0});
        return;
    }
    struct mg_buf json, body;
    mg_buf_init(&json, 0);
    mg_buf_init(&body, 0);
    mg_json_write(config, &json);
    mg_buf_put(&body, page->data, (size_t)(mark - page->data));
    put_config(&body, &json);
    mark += sizeof config_mark - 1;
    mg_buf_put(&body, mark, (size_t)(page->data + page->len - mark));
    mg_buf_fini(&json);
    struct mg_reply reply;
    mg_reply_init(&reply, 200);
    size_t len = body.len;
    exchange->memory = mg_buf_take(&body, NULL);
    reply.response.body = (struct mg_span){exchange->memory, len};
    mg_reply_header(&reply, "content-type", mg_span(page->mime));
    mg_reply_header(&reply, "cache-control", MG_SPAN("no-cache"));
    put_policy(&reply, page->mime);
    mg_reply_send(exchange, &reply);
}
