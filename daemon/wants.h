/* What the rules can ever ask for, remembered from content to content: when a new one asks for more
 * than the old one did, what gather dropped under the old one is missing, and the sources must be
 * read again (DESIGN 2.1). */
#ifndef OG_DAEMON_WANTS_H
#define OG_DAEMON_WANTS_H

#include "rules/plan/plan.h"

/* Writes the content's data requirements to out: a line for each type, and for each code of its
 * filters, as hashes. */
void wants_write(const plan_content *c, og_buf *out);
/* True when everything that c asks for was asked for by the content that wrote `old` (wants_write).
 */
bool wants_covered(const plan_content *c, og_str old);

/* A number for the same set of requirements, above 0, whatever their order; 0: no memory. */
int64_t wants_digest(const plan_content *c);

#endif
