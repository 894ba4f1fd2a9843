/* The way back from gzip, for clients that want none: bodies that we compressed ourselves, by ISA-L. */
#include "moongate/codec.h"

#include <isa-l.h>
#include <stdlib.h>

enum { PIECE = 256 << 10 };

enum mg_err mg_gunzip(struct mg_span in, struct mg_buf *out)
{
    struct inflate_state state;
    isal_inflate_init(&state);
    state.crc_flag = ISAL_GZIP;
    state.next_in = (uint8_t *)in.data;
    state.avail_in = (uint32_t)in.len;
    do {
        size_t left = out->max_bytes ? out->max_bytes - out->len : 1 << 20;
        size_t step = left < 1 << 20 ? left : 1 << 20;
        char *room = step ? mg_buf_room(out, step) : NULL;
        if (!room)
            return MG_E_TOO_LARGE;
        state.next_out = (uint8_t *)room;
        state.avail_out = (uint32_t)step;
        if (isal_inflate(&state) != ISAL_DECOMP_OK)
            return MG_E_INVALID;
        out->len += step - state.avail_out;
    } while (state.block_state != ISAL_BLOCK_FINISH && (state.avail_in || !state.avail_out));
    return state.block_state == ISAL_BLOCK_FINISH ? MG_OK : MG_E_INVALID;
}

enum mg_err mg_gunzip_pieces(mg_get_piece_f *get, mg_put_piece_f *put, void *context)
{
    struct inflate_state state;
    isal_inflate_init(&state);
    state.crc_flag = ISAL_GZIP;
    uint8_t *out = malloc(PIECE);
    enum mg_err err = out ? MG_OK : MG_E_NOMEM;
    bool more = false; /* the decoder holds bytes that did not fit into the last piece */
    while (!err && state.block_state != ISAL_BLOCK_FINISH) {
        struct mg_span piece = {NULL, 0};
        if (!state.avail_in && !more) {
            err = get(context, &piece);
            if (!err && !piece.len)
                err = MG_E_INVALID; /* cut short */
            if (err)
                break;
            state.next_in = (uint8_t *)(uintptr_t)piece.data;
            state.avail_in = (uint32_t)piece.len;
        }
        state.next_out = out;
        state.avail_out = PIECE;
        if (isal_inflate(&state) != ISAL_DECOMP_OK)
            err = MG_E_INVALID;
        size_t n = PIECE - state.avail_out;
        more = state.avail_out == 0;
        if (!err && n)
            err = put(context, (struct mg_span){(char *)out, n});
    }
    free(out);
    return err;
}
