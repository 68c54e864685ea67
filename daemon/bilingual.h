/* The same content in two languages: does it say the same, and is everything translated? */
#ifndef OG_DAEMON_BILINGUAL_H
#define OG_DAEMON_BILINGUAL_H

#include "rules/plan/plan.h"

typedef struct bilingual bilingual;

/* Caller owns; NULL: no memory. */
bilingual *bilingual_new(void);
void bilingual_free(bilingual *b);

/* A report for plan_options.untranslated: texts of the definitions that have no translation. */
og_report bilingual_report(bilingual *b);

/* Compares what both languages say of one patient. What must be the same in every language (cards,
 * indicators, slots, the number of suggestions) and what only this language gets wrong (a rule that
 * fails, a summary that is cut) is told through tell, a line each. Texts that are the same in both
 * are remembered, with the case's id. */
void bilingual_compare(bilingual *b, og_arena *a, og_str case_id, const plan_result *first,
                       const plan_result *second, void (*tell)(void *ctx, const char *line),
                       void *ctx);

/* Prints what is not translated, a line each. Returns how many places. */
unsigned bilingual_print(const bilingual *b, FILE *to);

#endif
