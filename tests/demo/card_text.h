/* A pushed CDS Hooks body as text that a pharmacist reads in a terminal. */
#ifndef OG_DEMO_CARD_TEXT_H
#define OG_DEMO_CARD_TEXT_H

#include <jansson.h>

#include "fhir/base/text.h"

typedef struct card_style {
    bool colour;
    int width; /* columns */
} card_style;

/* Adds one card of a body to out: indicator, patient, summary, detail with its tables, suggestions,
 * source. delivery is extension."org.osteoguard.delivery" (may be NULL). */
void card_text_add(og_buf *out, const json_t *card, const json_t *delivery,
                   const card_style *style);
/* Adds "withdrawn: ..." for a card that does not hold any more. */
void card_text_add_withdrawn(og_buf *out, const char *patient, const char *summary,
                             const char *reason, const card_style *style);
/* Text of others made safe for a terminal: control characters become spaces. */
void card_text_add_safe(og_buf *out, og_str s);

#endif
