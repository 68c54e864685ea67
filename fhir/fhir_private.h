/* Shared between the files of this room, not outside it. */
#ifndef OG_FHIR_PRIVATE_H
#define OG_FHIR_PRIVATE_H

#include "fhir/decode.h"

/* Takes one escape, or one byte as it stands, off *p (which is before end) and writes its UTF-8 to
 * out. Returns the length. Damaged escapes, which fhir_decode lets nobody see, become U+FFFD. */
size_t fhir__unescape(const char **p, const char *end, char out[4]);
/* Byte order of two texts that may hold escapes, by their unescaped form: <0, 0, >0. */
int fhir__cmp_escaped(og_str a, og_str b);

#endif
