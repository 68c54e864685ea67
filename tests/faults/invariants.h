/* What must hold after any fault (STREAM 6), judged from what is left behind:
 *
 *   I1  every message that was sent is in the state or a dead letter: records and dead letters are
 *       those of the same messages without a fault
 *   I2  of each resource the newest version that stands on a topic stands last there, and the store
 *       has it
 *   I3  the open alerts are those of the same messages without a fault, on the topic as in the
 *       store, and the EHR has exactly the cards of those
 *   I4  a request comes again only with its old key and its old bytes, a card has one key, and a
 *       patient's deliveries come in their order
 *   I9  stores that are read back from the topics alone are what was there, and say nothing new
 *
 * Every break is one line that names what was lost, made up, wrong or said twice. */
#ifndef OG_TESTS_INVARIANTS_H
#define OG_TESTS_INVARIANTS_H

#include "faults.h"

#include "daemon/topic_reader.h"
#include "fhir/base/table.h"

/* One source message. */
typedef struct sent_message {
    const char *topic;
    int32_t partition;
    og_str key, value; /* .p NULL: none */
} sent_message;

typedef struct sent_list {
    sent_message *at;
    size_t count;
} sent_list;

/* All messages of a topic, from the oldest of each partition. */
void topic_scan(stage *s, const char *topic, topic_reader_fn *fn, void *ctx);
/* What stands on the source topics; lives in a. */
void sent_read(stage *s, og_arena *a, sent_list *ret);

/* The sample stream, as send_stream sends it. */
void sent_sample(og_arena *a, sent_list *ret);

/* Names and what is so of each: `record KEY`, `letter TOPIC[PARTITION]@OFFSET`, `alert PATIENT ID`.
 */
typedef struct facts {
    og_arena *arena;
    og_table table; /* name → const char * */
} facts;

void facts_init(facts *f);
void facts_done(facts *f);
void facts_put(facts *f, const char *name, const char *text);
/* Of the topics and, for what the topics do not tell, of nothing else. Breaks of I2 on the topics
 * are complained about with check. */
void facts_read(stage *s, facts *ret);
/* The same messages through a daemon that nothing happens to, with the clock of `like`. */
void facts_without_faults(const stage *like, const sent_list *sent, facts *ret);
size_t facts_count(const facts *f, const char *prefix);
/* Names that begin with prefix; prints what differs, and counts it. */
size_t facts_differ(const facts *expected, const facts *got, const char *prefix);

/* What an EHR has taken (answered with 200, or taken without a word). */
typedef struct ledger {
    const char *endpoint;
    const post *posts;
    size_t count;
} ledger;

ledger ledger_of(const stage *s);
/* I4, for one endpoint. */
void judge_ledger(const ledger *l);
/* I3 for one endpoint: `at` is its place in the configuration. */
void judge_cards(const stage *s, const ledger *l, size_t at);

typedef struct judge_options {
    const facts *expected; /* NULL: those of the same messages without faults */
    bool letters_differ;   /* expected says nothing of dead letters */
    facts *ret_got;        /* NULL, or gets the facts; the caller ends them */
} judge_options;

/* Starts a daemon in this process if none runs, lets everything come to rest after midnight, and
 * judges. NULL: the default options. The daemon runs on. */
void judge(stage *s, const judge_options *options);

/* Everything is delivered and reviewed, and nothing is left to be written again. */
bool at_rest(stage *s);
/* Everything that the stores hold, as text; the caller ends the buffer. */
void draw_stores(const serve *s, og_buf *out);

#endif
