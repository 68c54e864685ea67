/* Shared between the files of this room, not outside it. */
#ifndef OG_FHIR_PRIVATE_H
#define OG_FHIR_PRIVATE_H

#include "fhir/decode.h"
#include "fhir/model.h"

/* Takes one escape, or one byte as it stands, off *p (which is before end) and writes its UTF-8 to
 * out. Returns the length. Damaged escapes, which fhir_decode lets nobody see, become U+FFFD. */
size_t fhir__unescape(const char **p, const char *end, char out[4]);
/* Byte order of two texts that may hold escapes, by their unescaped form: <0, 0, >0. */
int fhir__cmp_escaped(og_str a, og_str b);

/* A text with its escapes resolved: raw itself when it has none, else in buf; {NULL,0} when that is
 * too small. */
og_str fhir__short_text(og_str raw, char *buf, size_t size);
/* The node behind e and all that it holds. */
uint32_t fhir__behind(fhir_elem e);

/* `system|value` in a; every byte counts, NUL too. {NULL,0} without memory. */
og_str fhir__identifier_name(og_arena *a, og_str system, og_str value);
/* Has e the JSON type, and the lexical form too, of a primitive of this kind? */
bool fhir__primitive_json(fhir_primitive kind, fhir_elem e);
bool fhir__primitive_form(fhir_primitive kind, fhir_elem e);

#endif
