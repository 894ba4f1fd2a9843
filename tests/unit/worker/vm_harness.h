/* Runs Lua code as a UDF in this process, for the tests of the machine: code in, result out. */
#ifndef MOONGATE_TEST_VM_HARNESS_H
#define MOONGATE_TEST_VM_HARNESS_H

#include "moongate/raster_read.h"
#include "moongate/worker.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct file {
    const char *name, *text;
};

struct harness {
    struct mg_vm *vm;
    struct mg_files files;
    char folder[32]; /* with fd and cache */
    struct mg_buf bundle, args, extra;
    struct mg_run_request request;
    struct mg_run_result result;
    int64_t n_args, n_extra;
    struct mg_buf all_args, all_extra, options;
};

static inline int harness_remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static inline void harness_remove(const char *folder)
{
    assert_int_equal(nftw(folder, harness_remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static inline void harness_open(struct harness *h, const struct mg_vm_host *host)
{
    struct mg_errmsg err = {""};
    memset(h, 0, sizeof *h);
    snprintf(h->folder, sizeof h->folder, "/tmp/mg_test_vm_XXXXXX");
    assert_non_null(mkdtemp(h->folder));
    for (int i = 0; i < 2; i++) {
        char path[64];
        snprintf(path, sizeof path, "%s/%s", h->folder, i ? "cache" : "fd");
        assert_int_equal(mkdir(path, 0755), 0);
        *(i ? &h->files.cache_dirfd : &h->files.mounts[0].dirfd) = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    h->files.mounts[0].writable = true;
    const char *data = getenv("MG_TEST_DATA");
    h->files.mounts[1].dirfd =
        open(data ? data : MG_SOURCE_DIR "/build/share/data", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (h->files.mounts[1].dirfd < 0)
        fail_msg("the example data is not there: `./moongate test` prepares it, MG_TEST_DATA may "
                 "name its folder");
    h->files.n_mounts = 2;
    if (mg_vm_setup(MG_SOURCE_DIR "/lua", &err) != MG_OK)
        fail_msg("setup: %s", err.text);
    if (mg_gdal_warm(&err) != MG_OK)
        fail_msg("warm: %s", err.text);
    struct mg_vm_host own = host ? *host : (struct mg_vm_host){0};
    own.files = &h->files;
    if (mg_vm_new(&own, &h->vm, &err) != MG_OK)
        fail_msg("new: %s", err.text);
}

static inline void harness_close(struct harness *h)
{
    mg_vm_free(&h->vm);
    close(h->files.mounts[0].dirfd);
    close(h->files.mounts[1].dirfd);
    close(h->files.cache_dirfd);
    harness_remove(h->folder);
    mg_buf_fini(&h->bundle);
    mg_buf_fini(&h->args);
    mg_buf_fini(&h->extra);
    mg_buf_fini(&h->all_args);
    mg_buf_fini(&h->all_extra);
    mg_buf_fini(&h->options);
}

/* A new request for the files; the first is the UDF's own, "Test.lua". */
static inline void harness_bundle(struct harness *h, const struct file *files, size_t n)
{
    h->bundle.len = h->args.len = h->extra.len = h->options.len = 0;
    h->n_args = h->n_extra = 0;
    mg_pack_int(&h->bundle, (int64_t)n);
    for (size_t i = 0; i < n; i++) {
        mg_pack_str(&h->bundle, files[i].name);
        mg_pack_str(&h->bundle, files[i].text);
    }
    mg_pack_int(&h->options, 0);
    h->request = (struct mg_run_request){.mode = MG_RUN_ANSWER,
                                         .org = MG_SPAN("local"),
                                         .udf = MG_SPAN("Test"),
                                         .deadline_ms = 30000,
                                         .lua_bytes = 256 << 20,
                                         .result_bytes = 64 << 20};
}

static inline void harness_code(struct harness *h, const char *code)
{
    const struct file file = {"Test.lua", code};
    harness_bundle(h, &file, 1);
}

static inline void arg_string(struct harness *h, const char *name, const char *text)
{
    mg_pack_str(&h->args, name);
    mg_pack_int(&h->args, MG_ARG_STRING);
    mg_pack_str(&h->args, text);
    h->n_args++;
}

static inline void arg_tile(struct harness *h, const char *name, int z, int x, int y)
{
    mg_pack_str(&h->args, name);
    mg_pack_int(&h->args, MG_ARG_TILE);
    mg_pack_int(&h->args, z);
    mg_pack_int(&h->args, x);
    mg_pack_int(&h->args, y);
    mg_pack_int(&h->args, 256);
    h->n_args++;
    h->request.has_tile = true;
    h->request.z = z;
    h->request.x = x;
    h->request.y = y;
    h->request.tile_size = 256;
}

static inline struct mg_run_result *harness_run(struct harness *h)
{
    h->all_args.len = h->all_extra.len = 0;
    mg_pack_int(&h->all_args, h->n_args);
    mg_buf_put(&h->all_args, h->args.data, h->args.len);
    mg_pack_int(&h->all_extra, h->n_extra);
    mg_buf_put(&h->all_extra, h->extra.data, h->extra.len);
    h->request.args = (struct mg_span){h->all_args.data, h->all_args.len};
    h->request.extra = (struct mg_span){h->all_extra.data, h->all_extra.len};
    h->request.options = (struct mg_span){h->options.data, h->options.len};
    mg_vm_prepare(h->vm);
    mg_vm_run(h->vm, &h->request, (struct mg_span){h->bundle.data, h->bundle.len}, &h->result);
    return &h->result;
}

#endif
