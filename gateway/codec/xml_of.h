/* Inside of the codecs that write XML: text as XML 1.0 holds it. */
#ifndef MOONGATE_CODEC_XML_OF_H
#define MOONGATE_CODEC_XML_OF_H

#include "moongate/buf.h"

/* Escaped; `attribute`: also what an attribute's value would lose. */
void xml_of_text(struct mg_span text, bool attribute, struct mg_buf *out);

#endif
