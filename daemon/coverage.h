/* Which conditions of the rules the clinical cases have seen true and false. */
#ifndef OG_DAEMON_COVERAGE_H
#define OG_DAEMON_COVERAGE_H

#include "rules/plan/plan.h"

typedef struct coverage coverage;

coverage *coverage_new(void); /* caller owns; NULL: no memory */
void coverage_free(coverage *c);

/* Counts a result that was made with PLAN_CONDITIONS. All results are of the same content. A rule
 * that speaks_of denies is not counted: the case says nothing of it. False: no memory. */
bool coverage_add(coverage *c, const plan_result *result, bool (*speaks_of)(void *ctx, og_str rule),
                  void *ctx);

/* Prints a table per rule, and what was never seen. Returns the number of gaps: rules that never
 * fired, conditions that were never true or never false. */
unsigned coverage_print(const coverage *c, FILE *to);

#endif
