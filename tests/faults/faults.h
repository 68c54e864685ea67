/* The fault table (STREAM 3.9 and 6): what goes wrong on purpose, and what must hold all the same.
 *
 * Each scenario is a function that runs in a process of its own, with its own embedded broker, EHR
 * and stores; main.c runs several at a time and prints the table. A scenario plays its fault, says
 * with check() what only it can know, and ends with judge() (invariants.h), which looks at all that
 * is left behind: topics, stores, and what the EHR got. */
#ifndef OG_TESTS_FAULTS_H
#define OG_TESTS_FAULTS_H

#include "serve_stage.h"

#define AFTER_MIDNIGHT (BEFORE_MIDNIGHT + 21000)

/* ---- what a scenario says ---- */

/* Counted; printed when it does not hold. */
void check(bool good, const char *fmt, ...) OG_PRINTF(2, 3);
/* Figures that the table shows behind the result; the last note wins. */
void note(const char *fmt, ...) OG_PRINTF(1, 2);
/* Ends the process: here this fault cannot be played. */
void cannot_play(const char *why) __attribute__((noreturn));
/* The long version was asked for. */
bool is_long(void);

/* ---- a daemon as a process ---- */

typedef struct life {
    int pid, number;
    bool gone;
    int status; /* of waitpid */
} life;

/* For before_exec: the daemon begins with this library of ours before all others. */
void put_before(const char *library);

/* At most one at a time is waited for with wait_gone. */
life life_begin(stage *s, int number);
/* Runs the loop until the process has ended, or is killed after most_ms (0: at once). true: it
 * ended by itself. */
bool life_end(stage *s, life *l, int64_t most_ms);
/* Ends it as an operator would, and checks that it ends well. */
void life_stop(stage *s, life *l);
/* A value of its /metrics, all series together; -1: it does not answer. */
double life_metric(const stage *s, int number, const char *name);
/* Runs the loop until the condition holds, as wait_until, or the process is gone: then fails. */
void life_wait(stage *s, life *l, const char *what, condition *fn);
/* It is ready. */
bool life_is_up(stage *s);
/* It is ready, and nothing waits in it. */
bool life_is_quiet(stage *s);
/* Runs the loop until all that was sent is read and nothing waits; false: it has gone before. */
bool life_comes_to_rest(stage *s, life *l);
bool life_is_gone(life *l);
/* How many the kernel has of it: "fd" or "task". */
size_t life_count(int pid, const char *what);
/* Runs the loop for a while: for what has no sign by which its end could be seen. */
void let_pass(stage *s, int64_t ms);

/* The file of the first daemon's configuration: notes it, and writes it with something else in it.
 */
void config_keep(const stage *s);
void config_write(const stage *s, const char *from, const char *to);
/* What the group has committed, all partitions together. */
int64_t committed(const stage *s, const char *group, const char *topic, int partitions);

/* ---- places ---- */

/* Path of something in the stage's folder; the buffer is the caller's. */
const char *stage_path(const stage *s, const char *name, char out[160]);
void remove_stores(const stage *s);

/* ---- the scenarios ---- */

void crash_early(void);
void crash_middle(void);
void crash_without_disk(void);
void crash_at_random(void);

void ehr_fails_in_every_way(void);
void ehr_takes_nothing(void);
void ehr_breaks_off(void);
void ehr_refuses_a_card(void);
void ehr_is_away_for_an_hour(void);
void ehr_answers_without_end(void);
void ehr_has_no_name(void);

void input_is_poisoned(void);
void input_is_a_huge_bundle(void);
void input_comes_twice_and_reordered(void);
void content_storm(void);
void other_versions(void);
void clock_goes_forward_and_back(void);

void store_is_damaged(void);
void store_is_damaged_under_it(void);
void store_has_wrong_values(void);
void disk_is_full(void);
void store_is_read_only(void);
void disk_has_errors(void);
void descriptors_run_out(void);
void power_goes(void);
void power_is_cut_synced(void);
void power_is_cut_unsynced(void);
void power_is_cut_writeback(void);
void power_is_cut_xfs(void);
void threads_run_out(void);

void store_was_away(void);
void owners_were_away(void);

void broker_is_away(void);
void broker_answers_with_errors(void);
void stopped_under_load(void);
void frozen_and_replaced(void);
void members_come_and_go(void);

#endif
