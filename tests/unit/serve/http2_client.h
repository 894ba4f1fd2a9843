/* A client of HTTP/2 that writes frames by hand, good ones and bad ones. */
#ifndef MOONGATE_TESTS_HTTP2_CLIENT_H
#define MOONGATE_TESTS_HTTP2_CLIENT_H

#include "http_fixture.h"

enum {
    F_DATA,
    F_HEADERS,
    F_PRIORITY,
    F_RST_STREAM,
    F_SETTINGS,
    F_PUSH,
    F_PING,
    F_GOAWAY,
    F_WINDOW_UPDATE,
    F_CONTINUATION
};
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };

static void put_frame(struct mg_buf *out, uint8_t type, uint8_t flags, uint32_t stream,
                      const void *payload, size_t len)
{
    const uint8_t head[9] = {(uint8_t)(len >> 16),
                             (uint8_t)(len >> 8),
                             (uint8_t)len,
                             type,
                             flags,
                             (uint8_t)(stream >> 24),
                             (uint8_t)(stream >> 16),
                             (uint8_t)(stream >> 8),
                             (uint8_t)stream};
    mg_buf_put(out, head, sizeof head);
    if (len) {
        mg_buf_put(out, payload, len);
    }
}

/* A literal field without indexing. */
static void put_field(struct mg_buf *block, const char *name, const char *value)
{
    size_t lens[2] = {strlen(name), strlen(value)};
    mg_buf_char(block, 0);
    for (int i = 0; i < 2; i++) {
        if (lens[i] < 127) {
            mg_buf_char(block, (char)lens[i]);
        } else {
            mg_buf_char(block, 127);
            size_t rest = lens[i] - 127;
            for (; rest >= 128; rest /= 128) {
                mg_buf_char(block, (char)(rest % 128 + 128));
            }
            mg_buf_char(block, (char)rest);
        }
        mg_buf_str(block, i ? value : name);
    }
}

static void put_request(struct mg_buf *block, const char *method, const char *path)
{
    put_field(block, ":method", method);
    put_field(block, ":scheme", "http");
    put_field(block, ":path", path);
    put_field(block, ":authority", "x");
}

static void put_get(struct mg_buf *out, uint32_t stream, const char *path)
{
    struct mg_buf block;
    mg_buf_init(&block, 0);
    put_request(&block, "GET", path);
    put_frame(out, F_HEADERS, END_HEADERS | END_STREAM, stream, block.data, block.len);
    mg_buf_fini(&block);
}

static void put_preface(struct mg_buf *out)
{
    mg_buf_str(out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    put_frame(out, F_SETTINGS, 0, 0, NULL, 0);
}

static int h2_connect(void)
{
    int fd = connect_to(fx.clear_port);
    struct mg_buf out;
    mg_buf_init(&out, 0);
    put_preface(&out);
    static const uint8_t wide[] = {0, 4, 0x7f, 0xff, 0xff, 0xff}, more[] = {0x3f, 0xff, 0xff, 0xff};
    put_frame(&out, F_SETTINGS, 0, 0, wide, sizeof wide);
    put_frame(&out, F_WINDOW_UPDATE, 0, 0, more, sizeof more);
    assert_true(send_all(fd, out.data, out.len));
    mg_buf_fini(&out);
    return fd;
}

struct frame {
    uint8_t type, flags;
    uint32_t stream;
    size_t len;
    uint8_t payload[16384 + 1];
};

/* False: the connection ended. */
static bool recv_frame(int fd, struct frame *frame)
{
    uint8_t head[9];
    if (recv(fd, head, 9, MSG_WAITALL) != 9) {
        return false;
    }
    frame->len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
    frame->type = head[3];
    frame->flags = head[4];
    frame->stream = (uint32_t)(head[5] & 0x7f) << 24 | (uint32_t)head[6] << 16 |
                    (uint32_t)head[7] << 8 | head[8];
    assert_true(frame->len < sizeof frame->payload);
    frame->payload[frame->len] = 0;
    return frame->len == 0 ||
           recv(fd, frame->payload, frame->len, MSG_WAITALL) == (ssize_t)frame->len;
}

/* Status of the HEADERS of an answer: h2o writes it first, indexed or as a literal of three digits.
 */
static int status_of(const struct frame *frame)
{
    static const int indexed[] = {200, 204, 206, 304, 400, 404, 500};
    uint8_t b = frame->payload[0];
    if (b >= 0x88 && b <= 0x8e) {
        return indexed[b - 0x88];
    }
    assert_true(b == 8 && frame->payload[1] == 3);
    return atoi((const char[]){(char)frame->payload[2], (char)frame->payload[3],
                               (char)frame->payload[4], 0});
}

struct reply {
    int status;     /* 0: none came */
    uint32_t reset; /* error code of RST_STREAM or GOAWAY, + 1; 0: none */
    bool goaway;
    struct mg_buf body;
};

/* Reads until stream is answered or reset, or the connection ends. */
static void recv_reply(int fd, uint32_t stream, struct reply *reply)
{
    struct frame frame;
    *reply = (struct reply){0};
    mg_buf_init(&reply->body, 0);
    while (recv_frame(fd, &frame)) {
        if (frame.type == F_GOAWAY) {
            reply->goaway = true;
            reply->reset = frame.payload[7] + 1u;
        } else if (frame.stream != stream) {
            continue;
        } else if (frame.type == F_HEADERS) {
            reply->status = status_of(&frame);
        } else if (frame.type == F_DATA) {
            mg_buf_put(&reply->body, frame.payload, frame.len);
        } else if (frame.type == F_RST_STREAM) {
            reply->reset = frame.payload[3] + 1u;
            return;
        }
        if (frame.type <= F_HEADERS && frame.flags & END_STREAM) {
            return;
        }
    }
}

#endif
