/* Values of definitions that outlive their run: the next one, about nearly the same resources, need
 * not work them out again.
 *
 * What is kept is data alone: a value with an element of a resource or with something of the
 * content in it is worked out again. So nothing points out of what is kept; it is one block of
 * bytes that may be copied anywhere, and means something to runs of the same set only.
 *
 * A kept value holds as long as no resource comes, changes or goes that one of the retrieves finds
 * on which it rests, the run's parameters are the same, and the clock has not come to where the run
 * that worked it out says (cql_run_changes_ms), nor to another day or offset. That is for the
 * caller to know. */
#ifndef OG_CQL_KEPT_H
#define OG_CQL_KEPT_H

#include "rules/cql/cql.h"

/* The values of definitions that took run at least least_steps steps, or were given to it by
 * cql_run_remember, as one block of at most max_bytes in a; what has no room is left out. Empty:
 * there are none, the run knows sources, or memory is out. */
og_str cql_run_keep(cql_run *run, og_arena *a, uint32_t least_steps, size_t max_bytes);
/* A copy in a of what is kept, without the values that rest on one of the retrieves in moved
 * (cql_run_note_reads). Empty when none is left, or memory is out. */
og_str cql_kept_without(og_arena *a, og_str kept, const uint64_t *moved);
/* The steps that they took whoever worked them out, those that had been given to it apart. */
uint64_t cql_kept_steps(og_str kept);
/* Before anything is asked of run: lets it have these values. They are copied. */
void cql_run_remember(cql_run *run, og_str kept);

#endif
