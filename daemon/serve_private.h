/* What the files of `serve` share. serve.c starts, turns and stops; serve_kafka.c wires sources,
 * sink and topics; serve_stores.c opens, checks and rebuilds; serve_deliver.c sends what the outbox
 * wants sent; serve_http.c answers. */
#ifndef OG_DAEMON_SERVE_PRIVATE_H
#define OG_DAEMON_SERVE_PRIVATE_H

#include "connectors/ehr_webhook.h"
#include "connectors/http_client.h"
#include "connectors/http_server.h"
#include "connectors/kafka.h"
#include "daemon/gather.h"
#include "daemon/outbox.h"
#include "daemon/owner.h"
#include "daemon/schedule.h"
#include "daemon/serve.h"

typedef enum serve_step {
    SERVE_TOPICS,  /* are our topics there? */
    SERVE_ENDS,    /* where do the records and the shared topic end? */
    SERVE_RESTORE, /* records and shared resources are read up to there */
    SERVE_WORKING,
    SERVE_STOPPING
} serve_step;

typedef struct serve_partition {
    store *store;
    char *dir;
    int64_t end;            /* of the topic when it was asked; INT64_MAX: not known (any more) */
    int64_t synced_offset;  /* what a commit to the group may say */
    int64_t syncing_offset; /* what it may say after the sync that runs */
    bool rebuild;           /* to be thrown away as soon as nobody uses it */
    bool ask_end;           /* the topic's end is to be asked for again */
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
    locator *locator;
    int lock; /* of the store's directory; 0: not held */

    pipeline_setup setup;
    delivery_endpoint *endpoints; /* webhooks, then the alerts topic */
    size_t endpoint_count;
    ehr_webhook **hooks;
    owner *owner;
    outbox *outbox;
    gather *gather;
    schedule *schedule;

    kafka_sink *sink;
    kafka_source *sources, *records, *shared;
    bool sources_closing, records_closing, shared_closing;
    bool gather_paused, sources_paused;
    bool joined, gathering; /* the groups of the records and of the sources have let us in */
    bool reread_all;        /* assignments of the sources begin at their beginning */
    bool wants_pending;     /* they do because more is wanted; noted when all have got past that */
    int64_t sources_not_before_ms;
    size_t ends_missing;
    http_client *client;
    struct serve_sending *sendings; /* under way; serve_deliver.c */
    http_server *server;
    http_server *hook_server;
    og_arena *hook_arena; /* of one call */

    uv_prepare_t turn;
    uv_timer_t tick, wake, sync, retry, watchdog;
    uv_work_t topics_work, sync_work, reload_work;
    bool topics_busy, sync_busy, reload_busy, swap_pending, stop_now;
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

#define SERVE_SHARED(s) (&(s)->partitions[(s)->count])

/* serve.c */
/* Goes on with the next step of starting. */
void serve__advance(serve *s, serve_step step);
void serve__failed(serve *s, const char *what, const og_error *err); /* the daemon cannot go on */
bool serve__stopping(const serve *s);
/* What the content in force wants is noted in the store's directory. */
void serve__note_wants(serve *s);

/* serve_stores.c */
OG_MUSTCHECK og_status serve__open_stores(serve *s, og_error *err);
void serve__close_stores(serve *s);
/* A store is thrown away and opened empty; the caller sees to it that nobody uses it. */
OG_MUSTCHECK og_status serve__rebuild(serve *s, serve_partition *p, og_error *err);
/* Rows that are to be sent go into the outbox. */
OG_MUSTCHECK og_status serve__load_outbox(serve *s, int partition, og_error *err);
/* Begins to write all stores to the disk and to give their pages back, in a worker. */
void serve__sync(serve *s);
OG_MUSTCHECK og_status serve__next_offset(store *st, int64_t *ret, og_error *err);

/* serve_kafka.c */
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

/* serve_deliver.c */
OG_MUSTCHECK og_status serve__open_outbox(serve *s, og_error *err);
void serve__close_hooks(serve *s);
void serve__on_delivery(void *ctx, int partition, const pipeline_delivery *d);
void serve__on_prepared(void *ctx, int partition, const pipeline_prepared *p);

/* serve_hooks.c */
OG_MUSTCHECK og_status serve__listen_hooks(serve *s, og_error *err);

/* serve_http.c */
OG_MUSTCHECK og_status serve__listen(serve *s, og_error *err);
void serve__set_gauges(serve *s);

#endif
