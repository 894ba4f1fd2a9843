/* The container of an Excel file: members deflated as they are written. Private to codec/. */
#ifndef CODEC_EXCEL_ZIP_H
#define CODEC_EXCEL_ZIP_H

#include "moongate/buf.h"

enum { EXCEL_ZIP_MEMBERS = 8 };
struct excel_zip {
    struct mg_buf *out;
    size_t start; /* of the container in out */
    struct excel_member {
        const char *name; /* static */
        uint32_t crc, packed;
        uint64_t bytes, offset;
    } members[EXCEL_ZIP_MEMBERS];
    size_t n;
};
void excel_zip_init(struct excel_zip *zip, struct mg_buf *out);
MG_MUST_CHECK enum mg_err excel_zip_begin(struct excel_zip *zip, const char *name,
                                          struct mg_errmsg *err);
/* The next bytes of the member; `last` ends it. */
void excel_zip_put(struct excel_zip *zip, struct mg_span bytes, bool last);
MG_MUST_CHECK enum mg_err excel_zip_end(struct excel_zip *zip, struct mg_errmsg *err);

#endif
