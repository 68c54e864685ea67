/* An explained result as text for people. */
#ifndef OG_DAEMON_EXPLAIN_TEXT_H
#define OG_DAEMON_EXPLAIN_TEXT_H

#include "rules/plan/plan.h"

/* Appends what each rule came to and why: those with a card first, then merged, suppressed and
 * failed ones, then the others. result was made with PLAN_REASONS; language as in plan_options
 * (NULL: English). only: a rule's id, or NULL for all. */
void explain_text(og_buf *out, og_arena *a, const plan_result *result, const char *language,
                  const char *only);

#endif
