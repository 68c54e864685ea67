/* What the files of `serve` share. serve.c starts, turns and stops; serve_kafka.c wires sources,
 * sink and topics; serve_said.c claims partitions and reads what was said of them; serve_stores.c
 * opens, checks and rebuilds; serve_deliver.c sends what the outbox wants sent; serve_http.c
 * answers; serve_fetch.c fetches what a call lacks; serve_forward.c hands calls to the instance
 * that has the patient; serve_beat.c tells others how much is known, serve_silence.c which sources
 * are silent, and serve_loss.c what was lost. */
#ifndef OG_DAEMON_SERVE_PRIVATE_H
#define OG_DAEMON_SERVE_PRIVATE_H

#include "connectors/ehr_webhook.h"
#include "connectors/http_client.h"
#include "connectors/http_server.h"
#include "connectors/kafka.h"
#include "daemon/audit.h"
#include "daemon/fhir_servers.h"
#include "daemon/gather.h"
#include "daemon/hooks.h"
#include "daemon/outbox.h"
#include "daemon/owner.h"
#include "daemon/schedule.h"
#include "daemon/serve.h"
#include "daemon/trust.h"

typedef enum serve_step {
    SERVE_TOPICS,  /* are our topics there? */
    SERVE_ENDS,    /* where do the records and the shared topic end? */
    SERVE_RESTORE, /* records and shared resources are read up to there */
    SERVE_WORKING,
    SERVE_STOPPING
} serve_step;

#define SERVE_BEATS      64
#define SERVE_BULKS      2 /* of the workers that libuv has, the rest is for the pipeline */
#define SERVE_BULK_BYTES ((size_t)1 << 18)
#define SERVE_MARKS      1024 /* partitions of the sources that one instance may have */
#define SERVE_BEAT_BYTES ((size_t)1 << 18)

typedef struct serve_beat { /* the newest of one instance */
    char id[UUID_TEXT];
    uint64_t heard;      /* a greater one was heard later; 0: the place is free */
    int64_t at_ms;       /* what had come by then (real time) it has finished */
    unsigned char *read; /* of these partitions of the sources, a bit for each; NULL: of none */
    int64_t of;          /* it knows of so many */
    int64_t wants;       /* wants_digest of the content with which it has read them */
    int64_t lost_ms;     /* the newest loss that it waits for; 0: none */
    int64_t filled_ms;   /* losses up to this one are over where it looks */
} serve_beat;

typedef struct serve_read { /* who has read a partition of the sources last */
    int64_t wants;          /* as in its beat; 0: not known */
    int64_t at_ms;
} serve_read;

typedef struct serve_silence { /* of a source; serve_silence.c */
    int64_t heard_ms;      /* when the newest message came that anybody has told of; real time */
    int64_t hold_until_ms; /* monotonic */
    bool fell_silent;
} serve_silence;

typedef struct serve_partition {
    store *store;      /* NULL: not open, because it is not ours */
    store *syncing;    /* what the sync that runs writes to the disk; NULL: nothing of this one */
    bool syncing_ours; /* and it follows its topic */
    char *dir;
    char id[UUID_TEXT];    /* of the store */
    bool assigned;         /* by the group */
    bool foreign;          /* the last assignment left it out: its store is to be closed */
    bool was_restored;     /* when the group took it back */
    char nonce[UUID_TEXT]; /* of our newest claim */
    int64_t epoch;         /* offset of our claim; -1: not read back yet, nothing may be said */
    int64_t claim_at_ms;   /* when to claim (again), on the monotonic clock; 0: not */
    int64_t said_next;     /* next offset of the alerts topic to be read; 0: its beginning */
    int64_t said_claim;    /* newest claim before that */
    size_t publishing;     /* our records on their way to the alerts topic */
    serve_beat beats[SERVE_BEATS];
    bool read_known; /* the next one is what these beats say */
    int64_t read_until_ms;
    int64_t noted_offset, noted_ms; /* what beats up to there said, when the store gets there */
    int64_t stored_until_ms;        /* what earlier ones said; 0, -1: not known */
    int64_t again_ms;     /* the newest loss for which beats here say that they read again */
    unsigned char *again; /* a bit for each partition of the sources that was, whoever did it */
    size_t again_bits;
    int64_t filled_ms;      /* losses up to this one were over when the store was opened */
    size_t posting;         /* deliveries to webhooks under way */
    int64_t end;            /* shared topic: where it ended; INT64_MAX: not known (any more) */
    int64_t seen_ms;        /* STORE_SEEN of the store; in the worker while sync_busy */
    int64_t synced_offset;  /* what a commit to the group may say */
    int64_t syncing_offset; /* what it may say after the sync that runs */
    bool not_on_disk;       /* the sync that runs has failed */
    bool rebuild;           /* to be thrown away as soon as nobody uses it */
    bool ask_end;           /* the topic's end is to be asked for again */
    int64_t asked_at;       /* next offset of the store when it was asked for */
    uint64_t parked;        /* deliveries given up */
} serve_partition;

struct serve {
    uv_loop_t *loop;
    config *config;
    serve_options options;
    og_clock clock;
    serve_step step;
    int status;

    plan_content *content;
    serve_partition *partitions; /* [0..count) and, behind them, the shared topic's */
    int count;
    idset *recorded; /* ids; the gatherer's and all batches' */
    int lock;        /* of the store's directory; 0: not held */

    pipeline_setup setup;
    delivery_endpoint *endpoints; /* webhooks, then the alerts topic */
    size_t endpoint_count;
    ehr_webhook **hooks;
    bool *failing; /* as was logged, of each endpoint */
    owner *owner;
    recall *recall;    /* of calls; NULL without limits.recall_mb */
    char program[256]; /* setup's */
    outbox *outbox;
    gather *gather;
    schedule *schedule;

    kafka_sink *sink;
    kafka_source *sources, *records, *shared, *said;
    struct serve_saying *sayings,
        **sayings_end;      /* on their way to the alerts topic; serve_said.c */
    int64_t said_again_ms;  /* none is written before; monotonic */
    bool revoking;          /* the group waits until what is under way has landed */
    int64_t revoked_ms;     /* when it took partitions back last */
    serve_silence *silence; /* of each of the sources */
    int64_t started_ms;     /* real time */
    og_arena *beat_arena;
    int64_t beat_ms, beat_there_ms; /* our last heartbeat, and the last that the brokers took */
    int64_t beat_at_ms;             /* what it said */
    uint64_t beats_heard;
    int64_t wants;       /* wants_digest of our content */
    serve_read *read_by; /* of each partition of the sources; NULL: of none */
    size_t read_by_count;
    int64_t told_ahead_ms; /* that another one's clock is; monotonic */
    bool told_wants;       /* that another instance's are not ours */
    int64_t known_ms;      /* everything is finished that had come by then; real time */
    bool share_away;       /* the sources were closed, and the group has given none yet */
    bool share_unread;     /* other partitions, or begun anew: not yet read to their ends */
    int64_t lost_ms;       /* the newest loss that is not over; 0: none (serve_loss.c) */
    int64_t filled_ms;     /* losses up to this one are over, as far as we can see */
    int64_t read_from_ms;  /* the loss for which the sources were last read anew */
    int64_t share_from_ms; /* the same of those that are ours now; 0: begun where the group stood */
    bool share_through;    /* and they were read to an end that came after */
    bool asking_ends;      /* the brokers, where the sources end */
    int64_t asked_ms;      /* when that was; 0: the answer is about another share; real time */
    int64_t ask_next_ms;   /* not before; monotonic */
    unsigned asked_in_vain;
    int64_t asked_at[SERVE_MARKS]; /* the positions then */
    int64_t mark_ms;               /* of these ends, which are to be reached next; 0: none */
    int64_t mark[SERVE_MARKS];     /* these ends */
    size_t mark_count;
    int64_t tick_wall_ms, tick_steady_ms, clock_hold_until_ms;
    bool clock_doubted;        /* it has jumped far ahead, and nobody has said the same */
    bool sync_failed;          /* the last one: the disk */
    int64_t gave_back_ms;      /* when the allocator was asked for what lies idle */
    int64_t breath_ms;         /* when the loop turned last */
    int64_t recorded_retry_ms; /* when a damaged one may be renewed next; monotonic */
    int64_t recorded_sync_ms;  /* when it was synced last; of the worker */
    bool sources_closing, records_closing, shared_closing;
    bool gather_paused, sources_paused;
    bool joined, gathering; /* the groups of the records and of the sources have let us in */
    bool reread_all;        /* assignments of the sources begin at their beginning */
    bool wants_pending;     /* they do because more is wanted; noted when all have got past that */
    int64_t sources_not_before_ms;
    unsigned progress_ticks, sweep_ticks;
    bool restoring_told;
    http_client *client;
    fhir_servers *fhir;
    struct serve_backfill *backfills; /* of each server that has one; NULL: none is configured */
    void (*backfill_closed)(void *ctx);
    struct serve_fetch *fetches; /* calls that wait for data; serve_fetch.c */
    size_t fetch_count;
    http_room fetch_room;            /* of what they fetch, all together */
    struct serve_forwards *forwards; /* other instances, and calls handed to them; NULL: none are */
    struct serve_sending *sendings;  /* under way; serve_deliver.c */
    bool hooks_closed;
    bool posted; /* something was posted in this turn of the loop */
    http_server *server;
    http_server *hook_server;
    og_arena *hook_arena; /* of one call */
    trust *trust;
    const config_client *caller;           /* of the call that is being answered */
    struct serve_bulk *bulks[SERVE_BULKS]; /* calls that a worker has; serve_bulk.c */
    const plan_content *retired;           /* replaced, and still used by one of them */
    audit *audit;                          /* NULL: none is kept */
    int audit_fd;                          /* is being synced while audit_busy */
    bool audit_sync_failed;

    uv_prepare_t turn;
    uint64_t turn_ns, turn_idle_ns; /* when it last ended; what the loop had waited by then */
    uv_timer_t tick, wake, sync, retry, watchdog;
    uv_work_t topics_work, sync_work, reload_work, audit_work;
    bool topics_busy, sync_busy, reload_busy, audit_busy, swap_pending, stop_now;
    bool reload_wanted; /* came while another one was under way */
    kafka_topic_spec *topic_specs;
    kafka_topic_state *topic_states;
    size_t topic_count;
    config_map topics_properties;
    og_status topics_status;
    og_error topics_error;
    plan_content *reloaded;
    size_t
        open_things; /* handles, connectors and jobs that still have to say that they are closed */
    bool closing_handles;
};

/* A record for the alerts topic, with its headers. */
typedef struct serve_record {
    kafka_record record;
    conn_header headers[3];
    char epoch[32];
} serve_record;

#define SERVE_SHARED(s) (&(s)->partitions[(s)->count])

/* serve.c */
/* Goes on with the next step of starting. */
void serve__advance(serve *s, serve_step step);
void serve__failed(serve *s, const char *what, const og_error *err); /* the daemon cannot go on */
bool serve__stopping(const serve *s);
/* What the content in force wants is noted in the store's directory. */
void serve__note_wants(serve *s);
/* The next assignments of the sources begin at their beginning, also if the process dies. */
void serve__want_reread(serve *s);

/* serve_said.c */
/* The partition is assigned to us: writes a claim; nothing is said or sent before it is read back.
 */
void serve__claim(serve *s, int number);
/* Another one may own it by now. */
void serve__lost(serve *s, int number);
/* Reads the alerts topic of the partitions that are assigned, each from where its store stands. */
void serve__follow_said(serve *s);
/* Sends what could not be sent. Once per turn. */
void serve__tend_said(serve *s);
/* The loop turns; when it has not for too long, nothing is believed any more. */
void serve__breathe(serve *s);
/* True when the partition is ours beyond doubt: something may leave in its name. */
bool serve__may_act(serve *s, int number);
/* Writes to the alerts topic, again and again until it is there. value.p NULL: nothing any more. */
void serve__say(serve *s, int partition, og_str key, og_str value);
/* Borrows key and value; for kafka_sink_send. */
void serve__said_record(serve *s, int partition, og_str key, og_str value, serve_record *ret);
void serve__free_sayings(serve *s);
void serve__on_saying(void *ctx, int partition, const pipeline_saying *saying);
void serve__on_said_pause(void *ctx, int partition, bool pause);

/* serve_http.c */
/* Nothing that was to be written to a store has failed since it last worked. */
bool serve__disk_is_good(const serve *s);

/* serve_beat.c */
/* Writes a heartbeat when it is time. Once per tick. */
void serve__tend_beat(serve *s);
/* False: it is no heartbeat but a record. */
bool serve__take_beat(serve *s, int partition, const conn_message *m);
/* What had come to the sources by then (real time) is in the store; -1: not known. */
int64_t serve__stored_until(const serve *s, int partition);
/* A beat was read from there. */
void serve__note_stored(serve *s, int partition, int64_t offset);
/* True when all sources are known to have been read to their ends a moment ago. */
bool serve__is_current(void *ctx, int partition);
/* The brokers have taken a heartbeat of late. */
bool serve__kafka_answers(const serve *s);
/* The real clock moved by wall_ms while passed_ms went by: how long nothing counts as overdue. */
int64_t serve__hold_after_step(int64_t wall_ms, int64_t passed_ms);
/* A message that others wrote bears this time (real time; -1: none). */
void serve__compare_clock(serve *s, int64_t theirs_ms);
/* Compares both clocks with those of the tick before. */
void serve__watch_clock(serve *s, int64_t wall_ms, int64_t steady_ms);

/* Writes one now: there is news. */
void serve__beat(serve *s);
/* The share of the sources is another one, or is read anew: nothing is known of it. */
void serve__forget_ends(serve *s);
/* Those of others. */
void serve__forget_beats(serve_partition *p);
/* The content is another one. covered: it asks for nothing that the one before did not. */
void serve__set_wants(serve *s, bool covered);
/* Whoever had this partition of the sources last, or has it, has not read it as our content asks.
 */
bool serve__is_read_otherwise(const serve *s, const char *topic, int32_t partition);
/* From at_ms on it is read as our content asks. */
void serve__note_read(serve *s, const char *topic, int32_t partition, int64_t at_ms);
/* The partitions of the sources that are ours, as a JSON object: a list for each topic. */
void serve__add_share(const serve *s, og_buf *out);
/* What such an object names is set in bits: a bit for each partition of the sources, in their
 * order. */
void serve__hear_share(const serve *s, fhir_elem named, unsigned char *bits);
/* How many partitions the sources have, whoever reads them. */
int64_t serve__source_partitions(const serve *s);
/* The same of one of them; 0: not known. */
int64_t serve__partitions_of_source(const serve *s, size_t source);

/* serve_silence.c */
/* A message came from a source. */
void serve__heard(serve *s, const conn_message *m);
/* What a beat says of it, as a further member of its JSON; nothing where no silence is watched. */
void serve__say_heard(const serve *s, og_buf *out);
/* The same of another one's beat. */
void serve__hear_heard(serve *s, fhir_elem said);
/* Nothing has come for longer than may be, or not for long enough since. */
bool serve__is_silent(const serve *s, size_t source);
bool serve__any_silent(const serve *s);
/* Once per tick. */
void serve__tend_silence(serve *s);

/* serve_loss.c */
/* Records are gone that alerts rest on: the sources are read again, once, by everybody. */
void serve__on_lost(void *ctx, int partition, pipeline_loss what, int64_t since_ms);
/* For the owner. */
pipeline_losses serve__losses(void *ctx, int partition);
/* The newest loss for which beats here and on the shared topic say that all sources were read
 * again; 0: none. */
int64_t serve__filled(const serve *s, int partition);
/* What a beat says of losses, as further members of its JSON; nothing while there is none. */
void serve__say_loss(const serve *s, og_buf *out);
/* What another one's beat says of them goes into b and into what was read again. */
void serve__hear_loss(const serve *s, serve_partition *p, fhir_elem said, serve_beat *b);
/* Takes up what others have lost, and ends what is over. Once per tick. */
void serve__tend_lost(serve *s);

/* serve_stores.c */
/* The shared one and the index of recorded ids; a partition's store is opened when the partition is
 * assigned. */
OG_MUSTCHECK og_status serve__open_stores(serve *s, og_error *err);
OG_MUSTCHECK og_status serve__open_partition(serve *s, int partition, og_error *err);
/* Closes the stores of partitions that are not ours, when nobody uses them. */
void serve__close_foreign(serve *s);
void serve__close_stores(serve *s);
/* A store is thrown away and opened empty; the caller sees to it that nobody uses it. */
OG_MUSTCHECK og_status serve__rebuild(serve *s, serve_partition *p, og_error *err);
/* A damaged index of recorded ids is thrown away and filled from the stores that are open; nobody
 * else may be using it. */
OG_MUSTCHECK og_status serve__renew_recorded(serve *s, og_error *err);
/* Begins to write all stores to the disk and to give their pages back, in a worker. */
void serve__sync(serve *s);

/* serve_kafka.c */
/* Counts it and says what went wrong, with where and why. */
void serve__log_kafka(log_level level, const char *what, const kafka_error *e);
void serve__check_topics(serve *s);
void serve__ask_ends(serve *s);
/* Those that could not be asked for. */
void serve__ask_ends_again(serve *s);
void serve__read_records(serve *s);
void serve__read_sources(serve *s);
/* Closes and opens again where something must be read anew; pauses and resumes. Once per turn. */
void serve__tend_sources(serve *s);
/* Reads the shared topic from where its store stands. */
void serve__read_shared(serve *s);
void serve__restart_records(serve *s);
void serve__restart_sources(serve *s, bool from_beginning);
void serve__commit_records(serve *s);
/* Ends reading from the beginning when every partition is past it. */
void serve__end_reread(serve *s);
void serve__set_lags(serve *s);
OG_MUSTCHECK og_status serve__open_sink(serve *s, og_error *err);
OG_MUSTCHECK og_status serve__open_said(serve *s, void (*on_message)(void *, const conn_message *),
                                        kafka_error_fn *on_error, og_error *err);
void serve__said_error(serve *s, const kafka_error *e);
void serve__on_outgoing(void *ctx, int partition, uint64_t number, const pipeline_outgoing *o);
/* Lets revoked partitions go when what is under way has landed. Once per turn. */
void serve__tend_revoke(serve *s);
/* The partition is settled: what its store wants sent goes into the outbox. */
void serve__on_settled(void *ctx, int partition);
/* Says how far restoring has come, every few seconds while it lasts. */
void serve__tell_progress(serve *s);
/* Partitions that are not done yet: assigned and not restored, or ours a moment ago and nobody
 * else's yet. */
int serve__restoring(const serve *s);
/* Nothing of what is ours is restored, nor will be in a moment. false where nothing is ours: others
 * have all. */
bool serve__has_nothing(const serve *s);
/* The group has said what is ours, and has taken nothing back since. */
bool serve__is_assigned(const serve *s);
/* The same as gauges; what was ours a moment ago and is nobody else's yet counts as not done. */
void serve__set_progress(const serve *s);
/* Says how far the evaluation of everybody with new content has come, and when a partition is
 * through. */
void serve__tell_sweep(serve *s);
void serve__on_swept(void *ctx, int partition, const owner_sweep *sweep);

/* serve_deliver.c */
OG_MUSTCHECK og_status serve__open_outbox(serve *s, og_error *err);
void serve__close_hooks(serve *s);
size_t serve__room(void *ctx, int partition);
bool serve__more(void *ctx, int partition, delivery_more *ret);
bool serve__on_stored(void *ctx, int partition, const pipeline_batch *b);
void serve__on_delivery(void *ctx, int partition, const pipeline_delivery *d);
void serve__on_prepared(void *ctx, int partition, const pipeline_prepared *p);

/* serve_hooks.c */
OG_MUSTCHECK og_status serve__listen_hooks(serve *s, og_error *err);
typedef void serve_visit_fn(serve *s, http_exchange *x, const config_client *who);
/* Lets a caller in who may call, with who it is (NULL: nobody is asked); answers the others. */
void serve__admit(serve *s, http_exchange *x, serve_visit_fn *fn);
void serve__answer_json(const serve *s, http_exchange *x, int status, const char *type,
                        og_str json);
/* Answers with an OperationOutcome; 503 asks to come again. */
void serve__refuse(const serve *s, http_exchange *x, int status, const char *type, const char *code,
                   const char *text, const char *path);
/* The same for a call of a CDS service, which is counted and audited. */
void serve__refuse_call(serve *s, http_exchange *x, const char *hook, int status, const char *code,
                        const char *text, const char *path);
void serve__count_call(const http_exchange *x, const char *hook, int status);
/* 401 without a word about why, or 429 to a client (who) that calls too often. */
void serve__refuse_caller(serve *s, http_exchange *x, const config_client *who, bool busy);
/* The partition of the records topic that has this patient. */
int serve__partition_of(const serve *s, og_str patient);
/* Is it JSON, by Content-Type? */
bool serve__says_json(const http_exchange *x);

/* After hooks_answer: logs, counts, audits and answers. */
void serve__finish_call(serve *s, http_exchange *x, const hooks_call *call, int64_t began_us);

/* What the audit log says of a call. Borrowed. */
typedef struct serve_asked {
    og_str user, patient, instance; /* instance: the call's hookInstance */
} serve_asked;
/* Answers what another instance has answered, in its bytes: counts and audits. */
void serve__relay(serve *s, http_exchange *x, const hook_kind *kind, const serve_asked *asked,
                  int status, og_str json);
/* Answers a call from here that no other instance has answered. Caller is s->caller. */
void serve__call_again(serve *s, http_exchange *x, const hook_kind *kind);

/* serve_letter.c */
/* A resource of a FHIR server that cannot be put on a source topic, for the dead-letter topic. All
 * borrowed for the call. */
typedef struct serve_letter {
    const char *topic, *server; /* where it was to go, and whose it is (name of fhir_servers) */
    const char *resource;       /* Type/id; may be "" */
    const char *reason, *detail;
    og_str json; /* .p NULL: its bytes are gone */
} serve_letter;
/* As kafka_sink_send; CONN_AGAIN also when the daemon has no sink any more. */
conn_verdict serve__send_letter(serve *s, const serve_letter *l, kafka_report_fn *fn, void *ctx);

/* serve_bulk.c */
bool serve__bulk_has_room(const serve *s);
/* Answers in a worker; takes a, in which what the call refers to lives. False: it cannot be had,
 * nothing was taken. */
OG_MUSTCHECK bool serve__bulk_run(serve *s, http_exchange *x, og_arena *a, const hooks_call *call,
                                  int64_t began_us);
/* Does a worker look at this store or content? */
bool serve__bulk_uses(const serve *s, const void *thing);
/* Does one look at anything? */
bool serve__bulk_busy(const serve *s);
/* Frees content that was replaced, as soon as no worker uses it. Accepts NULL. */
void serve__bulk_release(serve *s, const plan_content *old);

/* serve_audit.c */
og_status serve__open_audit(serve *s, og_error *err);
/* What is about to be answered goes into the audit log, if there is one. Client and path are filled
 * in. x may be NULL when e->path is there. */
void serve__audit(serve *s, const http_exchange *x, audit_event *e);
/* Once a second: what was written goes to the disk. */
void serve__tend_audit(serve *s);

/* What came from a FHIR server for a call. Borrowed. */
typedef struct serve_fetched {
    const og_str *bodies;
    size_t count;
    bool complete; /* nothing is missing */
} serve_fetched;
/* Answers a call whose caller is s->caller; fetched NULL: now, or after having fetched what it
 * lacks. a holds the request; true: a worker has it now, else it stays the caller's. Nothing is
 * handed to another instance. */
OG_MUSTCHECK bool serve__answer_call(serve *s, http_exchange *x, og_arena *a, const hook_request *q,
                                     const serve_fetched *fetched);
/* Is it so much to look at that everybody else would wait? */
bool serve__is_bulk(const http_exchange *x, const serve_fetched *fetched);

/* serve_fetch.c */
OG_MUSTCHECK og_status serve__open_fhir(serve *s, og_error *err);
/* True: the call lacks data, which are being fetched; it will be answered when they are there or
 * its time is over. False: nothing can be asked for; call->tried says whether it lacks something.
 */
bool serve__fetch(serve *s, http_exchange *x, hooks_call *call);
/* A worker is free again: answers the calls that waited for one, the first first. */
void serve__resume_fetches(serve *s);
/* Refuses the calls that wait. */
void serve__close_fetches(serve *s);

/* serve_forward.c */
/* After the listener: who we are for others; nothing without hooks.instance_url. */
OG_MUSTCHECK og_status serve__open_forwards(serve *s, og_error *err);
/* Tells the others where we are and what we have. Once per tick. */
void serve__tend_forwards(serve *s);
/* A message of the shared topic. False: it is no instance's address. */
bool serve__hear_instance(serve *s, const conn_message *m);
/* True: the call, which s->caller has sent, goes to the instance that has the partition; it will be
 * answered. False: it is to be answered from here. */
OG_MUSTCHECK bool serve__forward(serve *s, http_exchange *x, const hook_request *q, int partition);
/* Has another instance handed this to us? To be believed behind serve__admit only. */
bool serve__is_forwarded(const http_exchange *x);
/* As serve__admit, for what is handed to us. */
void serve__admit_forwarded(serve *s, http_exchange *x, serve_visit_fn *fn);
/* Adds the mark that another instance waits for to the answer, if one does. */
void serve__seal(const serve *s, http_exchange *x, int status, og_str body);
/* How long the call may wait for data. */
int64_t serve__fetch_budget(const serve *s, const http_exchange *x);
/* Refuses the calls that wait. */
void serve__close_forwards(serve *s);
void serve__free_forwards(serve *s);

/* serve_backfill.c */
OG_MUSTCHECK og_status serve__open_backfills(serve *s, og_error *err);
/* A call came for this patient, of whom nothing is known here, and this server may be asked: what
 * the rules read of him is wanted, unless it was already. */
void serve__want_backfill(serve *s, size_t server, og_str patient);
/* The store of a partition says something else now about who is wanted. */
void serve__on_backfill(void *ctx, int partition);
/* How many times on_closed(s) will come. */
size_t serve__close_backfills(serve *s, void (*on_closed)(void *ctx));

/* serve_feedback.c */
/* A call of a service's feedback address by one who may call the service. */
void serve__take_feedback(serve *s, http_exchange *x, const config_client *who);

/* serve_inbound.c */
void serve__inbound_post(void *ctx, http_exchange *x);
void serve__inbound_put(void *ctx, http_exchange *x);
void serve__inbound_delete(void *ctx, http_exchange *x);

/* serve_http.c */
OG_MUSTCHECK og_status serve__listen(serve *s, og_error *err);
void serve__set_gauges(serve *s);

#endif
