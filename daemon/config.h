/* The configuration: one YAML file, each value overridable by environment, secrets by file
 * reference.
 *
 * The options stand in config.def and nowhere else. OSTEOGUARD_SECTION_KEY in the environment wins
 * over the file; an endpoint is a section of its own name (OSTEOGUARD_EHR_URL for the endpoint
 * `ehr`). Lists are written there as `a, b`, lists and maps also as YAML: `[a, b]`, `{name:
 * value}`. */
#ifndef OG_DAEMON_CONFIG_H
#define OG_DAEMON_CONFIG_H

#include "connectors/kafka.h"
#include "daemon/clock.h"
#include "daemon/log.h"
#include "fhir/base/arena.h"
#include "rules/plan/plan.h"

typedef enum config_sync { CONFIG_SYNC_INTERVAL, CONFIG_SYNC_BATCH } config_sync;
typedef enum config_audit_sync { CONFIG_AUDIT_INTERVAL, CONFIG_AUDIT_LINE } config_audit_sync;
typedef enum config_format { CONFIG_FORMAT_WEBHOOK, CONFIG_FORMAT_FHIR } config_format;

typedef struct config_list {
    const char *const *at;
    size_t count;
} config_list;

typedef struct config_map {
    const kafka_property *at; /* in the order of the file */
    size_t count;
} config_map;

typedef struct config_endpoint {
    const char *name;
    const char *url, *bearer_token_file, *ca_file, *cert_file, *key_file, *fhir_server, *service;
    const char *sender;
    int64_t format; /* config_format */
    int64_t connect_timeout_ms, timeout_ms, max_in_flight;
    bool worklist, flag, task;
} config_endpoint;

typedef struct config_client { /* who may call the CDS services */
    const char *name;
    const char *issuer, *jwks_file, *jwks_url, *jku, *tenant, *certificate;
    config_list audiences, services, fhir_servers;
    int64_t calls_per_second;
} config_client;

typedef struct config_fhir_server { /* what may be asked, and how */
    const char *name;
    const char *url, *client_id, *private_jwk_file, *token_url, *scope;
    const char *ca_file, *cert_file, *key_file;
    int64_t connect_timeout_ms, timeout_ms, max_bytes, backfill_per_minute;
    bool backfill;
    const char *sender; /* whose patients are fetched */
} config_fhir_server;

/* Texts are never NULL; one that is not set is "". */
typedef struct config {
    og_arena *arena;    /* holds everything below */
    const char *origin; /* the file's name for messages */
    bool from_file;     /* origin is the path that it was read from: it can be read again */

    const char *tenant, *timezone, *language;
    int64_t source_epoch;

    const char *kafka_bootstrap, *kafka_client_id, *kafka_group_prefix;
    config_list kafka_sources;
    config_map kafka_envelopes, kafka_senders, kafka_silence;
    int64_t *kafka_silence_ms; /* of each of kafka_sources, 0: never; NULL: of none */
    const char *kafka_records, *kafka_alerts, *kafka_shared, *kafka_dead_letters;
    int64_t kafka_partitions, kafka_replication, kafka_linger_ms;
    bool kafka_create_topics;
    config_map kafka_properties, kafka_consumer_properties, kafka_producer_properties;

    const char *store_dir;
    int64_t store_map_size_mb, store_sync, store_sync_interval_ms; /* store_sync: config_sync */

    const char *content_dir;
    config_list content_disabled;
    config_map content_parameters;

    int64_t log_level, log_format; /* enums of log.h */
    bool log_identifiers;

    const char *http_listen, *http_port_file;
    const char *http_host; /* of http_listen; "" when there is to be no server */
    int http_port;
    const char *hooks_listen, *hooks_port_file, *hooks_sender;
    const char *hooks_host; /* of hooks_listen, likewise */
    int hooks_port;
    const char *hooks_cert_file, *hooks_key_file, *hooks_client_ca_file;
    config_list hooks_cors_origins;
    int64_t hooks_clock_skew_s, hooks_token_life_s;
    int64_t hooks_body_bytes, hooks_deadline_ms, hooks_max_connections, hooks_fetch_budget_ms;
    int64_t hooks_fetch_bytes;
    const char *hooks_instance_url, *hooks_instance_secret_file, *hooks_instance_ca_file;
    int64_t hooks_forward_budget_ms;

    const char *audit_file;
    int64_t audit_rotate_mb, audit_sync; /* config_audit_sync */
    int64_t override_days, override_critical_hours, ignored_days, shown_days;

    int64_t backoff_min_ms, backoff_max_ms;
    int64_t max_message_bytes, max_record_bytes, dead_letter_bytes, max_depth;
    int64_t batches, batch_records, batch_wait_ms, arena_mb, recall_mb, max_in_flight, freshness_ms;
    int64_t tombstone_days;
    int64_t evaluation_quiet_ms, evaluation_wait_ms;
    int64_t evaluation_steps, evaluation_depth, evaluation_list;

    const char *clock_start, *clock_speed;
    bool clock_simulated;
    int64_t clock_start_ms, clock_speed_per_1000;

    config_endpoint *endpoints; /* in the order of the file */
    size_t endpoint_count;
    config_client *clients; /* likewise */
    size_t client_count;
    config_fhir_server *fhir_servers; /* likewise */
    size_t fhir_server_count;
} config;

/* Reads a configuration from text (origin names it in messages) and environment (NAME=value
 * strings, NULL at the end; NULL: none). Every problem goes to report with line and column, or with
 * the variable's name as origin. On success *ret is the caller's, to be given to config_free.
 * Unknown OSTEOGUARD_ variables are handed to `warn` (may be NULL) and do no harm. */
OG_MUSTCHECK og_status config_parse(og_str text, const char *origin, char *const *environment,
                                    config **ret, og_report *report, og_report *warn);
/* The same from a file, with the process' environment. */
OG_MUSTCHECK og_status config_load(const char *path, config **ret, og_report *report,
                                   og_report *warn);
void config_free(config *c); /* accepts NULL */

/* The properties for a consumer or a producer: bootstrap.servers, client.id, the common map, the
 * special map; a later one wins. A value `file:PATH` is what stands in that file (OG_NOTFOUND,
 * OG_IO with the path). Lives in the configuration. */
OG_MUSTCHECK og_status config_kafka(config *c, bool consumer, config_map *ret, og_error *err);

/* The sender of a source topic (kafka.senders); "": none. */
const char *config_sender_of(const config *c, const char *topic);

/* How the content is to be loaded; lives in a and borrows from the configuration. OG_NOMEM. */
OG_MUSTCHECK og_status config_rules(const config *c, og_arena *a, plan_options *ret, og_error *err);

/* The clock that the configuration asks for, started now. */
void config_clock(const config *c, og_clock *ret);

/* Names the options that are not the same in both, as they are written in messages; an element of a
 * section with names (endpoints, clients, fhir_servers) that only one of them has is named itself.
 * Options of the section `except` do not count (NULL: all do). */
void config_compare(const config *a, const config *b, const char *except,
                    void (*fn)(void *ctx, const char *name), void *ctx);

/* Writes every option with its default, range and help as YAML comments: `check --options`. */
void config_describe(og_buf *out);

typedef struct config_option_info {
    const char *section;
    bool of_each; /* of each element of the section: endpoints, clients */
    const char *key, *deflt;
} config_option_info;
/* Option i of config.def, false behind the last: for the test that compares them with the reference
 * file. */
bool config_option(size_t i, config_option_info *ret);

#endif
