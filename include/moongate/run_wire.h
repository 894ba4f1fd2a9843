/* What the front asks of a worker for one run, and what the worker answers: structs and their packing.
 *
 * Lies in proc/ because both sides (serve/, worker/) need it. In a channel the request is one pack; the result is
 * struct mg_result_head, the packed meta, then the body (64-byte aligned) unless it has a memfd of its own. The
 * front copies the head first and checks it before anything else is read: the worker can write at any time. */
#ifndef MOONGATE_RUN_WIRE_H
#define MOONGATE_RUN_WIRE_H

#include "moongate/crypto.h"
#include "moongate/pack.h"

/* An argument is its name (bytes), its kind (int), and by kind: nothing; bool; int; double; bytes (string, JSON
 * text of a list or table, WKT or GeoJSON, ISO 8601 date); four doubles (bounds: xmin ymin xmax ymax, degrees);
 * tile: three ints z x y and an int size in pixels. The packed arguments are a count, then the arguments. */
enum mg_arg_kind { MG_ARG_NIL, MG_ARG_BOOL, MG_ARG_INT, MG_ARG_NUMBER, MG_ARG_STRING, MG_ARG_JSON, MG_ARG_GEOMETRY,
                   MG_ARG_DATE, MG_ARG_BOUNDS, MG_ARG_TILE, MG_ARG_KIND_COUNT };

enum mg_run_mode {
    MG_RUN_ANSWER,   /* encode the value for HTTP */
    MG_RUN_DESCRIBE, /* the body is the signature record, JSON (catalog's sig.h) */
    MG_RUN_VALUE,    /* a child run: the body is the value in the internal format */
};

struct mg_run_request {
    enum mg_run_mode mode;
    struct mg_span org, udf;  /* names */
    struct mg_hash code;      /* of the bundle */
    struct mg_span args;      /* packed named arguments, all that the signature has and that are given */
    struct mg_span extra;     /* packed arguments for `...`, count 0 when none */
    bool has_tile;
    int64_t z, x, y, tile_size;
    struct mg_span formats, vector, raster, accepts; /* names of codecs, comma-separated; empty: not asked */
    struct mg_span options;   /* packed: count, then codec name, option name, value text */
    int64_t deadline_ms;      /* left */
    int64_t depth;            /* of nested runs */
    int64_t lua_bytes, result_bytes; /* limits */
    bool owner;               /* the caller may see printed lines and tracebacks */
    bool gzip;                /* compress a body that gains by it */
};

struct mg_dep {
    struct mg_span kind; /* "file", "url", "udf", "http", "secret" */
    struct mg_span name;
    struct mg_span version; /* mtime_ns:size, ETag, code hash in hex, seconds since 1970 until when */
};

struct mg_run_result {
    enum mg_err err;
    struct mg_span message;   /* the error's sentence, with "file:line: " in front when it is the author's */
    struct mg_span file;      /* of the error */
    int64_t line;             /* 0: none */
    struct mg_span traceback;
    struct mg_span log;       /* printed lines */
    int64_t status;           /* of the HTTP answer */
    struct mg_span codec;     /* that made the body, or empty */
    struct mg_span mime;
    bool by_accept;           /* Vary: Accept */
    bool compressible;        /* set by the VM from the codec's row; the worker compresses */
    bool gzip;                /* the body is gzip (RFC 1952) of identity_bytes bytes */
    int64_t identity_bytes;
    bool empty;               /* the UDF returned nothing */
    bool retire;              /* the worker should not run again (memory error, SQL) */
    int64_t max_age_s;        /* asked for by the UDF; -1: not */
    int64_t lua_us, encode_us, cpu_us;
    struct mg_span headers;   /* packed: count, then name, value */
    struct mg_span deps;      /* packed: count, then kind, name, version */
    struct mg_span body;
};

struct mg_result_head {
    char magic[8]; /* "MGRESLT1" */
    uint64_t meta_bytes, body_bytes;
};

void mg_run_request_pack(const struct mg_run_request *request, struct mg_buf *out);
/* Borrows from data. MG_E_INVALID when it does not fit. */
MG_MUST_CHECK enum mg_err mg_run_request_unpack(struct mg_span data, struct mg_run_request *out);
/* Head and meta, then (when inline_body) the body, 64-byte aligned. */
void mg_run_result_pack(const struct mg_run_result *result, bool inline_body, struct mg_buf *out);
/* Borrows from data; body stays empty when it is not inline. */
MG_MUST_CHECK enum mg_err mg_run_result_unpack(struct mg_span data, struct mg_run_result *out);
/* The offset of the body behind a head. */
uint64_t mg_result_body_offset(const struct mg_result_head *head);

#endif
