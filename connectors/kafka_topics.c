/* Topics: are they there, with the partitions that we rely on, and if not, make them.
 *
 * The list of topics comes from one metadata request for all of them, because a request for a topic
 * by name makes brokers with auto.create.topics.enable create it with their own number of
 * partitions. Only where the brokers do not know CreateTopics at all (librdkafka's mock cluster) is
 * that the way a missing topic comes to be; its partitions are then checked like any other's. */
#include "connectors/kafka.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "connectors/kafka_private.h"

enum { ATTEMPT_MS = 3000, PAUSE_MS = 100 };

typedef struct job {
    rd_kafka_t *rk;
    const kafka_topic_spec *specs;
    kafka_topic_state *states;
    size_t count;
    int64_t until;
    bool no_controller; /* the cluster names a controller that is none of its brokers */
} job;

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int remaining(const job *j)
{
    int64_t left = j->until - now_ms();
    return left < 0 ? 0 : (int)left;
}

static int attempt(const job *j)
{
    int left = remaining(j);
    return left < ATTEMPT_MS ? left : ATTEMPT_MS;
}

/* What was logged while we waited is only of interest as the reason of a failure, and that comes as
 * an error code. */
static void events_drop(rd_kafka_t *rk)
{
    rd_kafka_queue_t *q = rd_kafka_queue_get_main(rk);
    rd_kafka_event_t *ev;
    while ((ev = rd_kafka_queue_poll(q, 0)) != NULL)
        rd_kafka_event_destroy(ev);
    rd_kafka_queue_destroy(q);
}

static const rd_kafka_metadata_topic_t *topic_of(const rd_kafka_metadata_t *md, const char *name)
{
    for (int i = 0; i < md->topic_cnt; i++) {
        if (strcmp(md->topics[i].topic, name) == 0)
            return &md->topics[i];
    }
    return NULL;
}

/* CreateTopics goes to the controller, and librdkafka would wait for one that does not exist until
 * the time is over. */
static bool controller_missing(const job *j, const rd_kafka_metadata_t *md)
{
    int32_t id = rd_kafka_controllerid(j->rk, 0);
    for (int i = 0; i < md->broker_cnt; i++) {
        if (md->brokers[i].id == id)
            return false;
    }
    return id >= 0;
}

/* Notes the partitions of every topic that exists. */
static rd_kafka_resp_err_t look(job *j)
{
    const rd_kafka_metadata_t *md;
    rd_kafka_resp_err_t err = rd_kafka_metadata(j->rk, 1, NULL, &md, attempt(j));
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        return err;
    for (size_t i = 0; i < j->count; i++) {
        const rd_kafka_metadata_topic_t *t = topic_of(md, j->specs[i].name);
        bool there = t != NULL && (t->err == RD_KAFKA_RESP_ERR_NO_ERROR ||
                                   t->err == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE);
        j->states[i].partitions = there ? t->partition_cnt : 0;
    }
    j->no_controller = controller_missing(j, md);
    rd_kafka_metadata_destroy(md);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* Asks until a broker answers or the time is over. */
static og_status look_patiently(job *j, og_error *err)
{
    rd_kafka_resp_err_t rc;
    while ((rc = look(j)) != RD_KAFKA_RESP_ERR_NO_ERROR && remaining(j) > 0) {
        events_drop(j->rk);
        usleep(PAUSE_MS * 1000);
    }
    if (rc != RD_KAFKA_RESP_ERR_NO_ERROR)
        return og_fail(err, OG_IO, "no Kafka broker answers: %s", rd_kafka_err2str(rc));
    return OG_OK;
}

static bool to_create(const job *j, size_t i)
{
    return j->states[i].partitions == 0 && j->specs[i].create;
}

static og_status topic_new(const kafka_topic_spec *spec, rd_kafka_NewTopic_t **ret, og_error *err)
{
    char text[300];
    int replication = spec->replication > 0 ? spec->replication : -1;
    rd_kafka_NewTopic_t *t = rd_kafka_NewTopic_new(
        spec->name, spec->partitions > 0 ? spec->partitions : 1, replication, text, sizeof(text));
    if (t == NULL)
        return og_fail(err, OG_INVALID, "topic %s: %s", spec->name, text);
    for (size_t i = 0; i < spec->config_count; i++) {
        const kafka_property *c = &spec->config[i];
        if (rd_kafka_NewTopic_set_config(t, c->name, c->value) != RD_KAFKA_RESP_ERR_NO_ERROR) {
            rd_kafka_NewTopic_destroy(t);
            return og_fail(err, OG_INVALID, "topic %s: bad configuration \"%s\"", spec->name,
                           c->name);
        }
    }
    *ret = t;
    return OG_OK;
}

static void note_created(job *j, const rd_kafka_topic_result_t *r)
{
    rd_kafka_resp_err_t rc = rd_kafka_topic_result_error(r);
    for (size_t i = 0; i < j->count; i++) {
        if (strcmp(j->specs[i].name, rd_kafka_topic_result_name(r)) != 0)
            continue;
        if (rc == RD_KAFKA_RESP_ERR_NO_ERROR)
            j->states[i].created = true;
        else if (rc != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
            snprintf(j->states[i].text, sizeof(j->states[i].text), "cannot be created: %s",
                     rd_kafka_topic_result_error_string(r) != NULL
                         ? rd_kafka_topic_result_error_string(r)
                         : rd_kafka_err2str(rc));
    }
}

/* Sends one CreateTopics request; answers the request's own error. */
static rd_kafka_resp_err_t create_request(job *j, rd_kafka_NewTopic_t **topics, size_t n)
{
    char text[64];
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(j->rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    int left = remaining(j) > 1 ? remaining(j) : 1;
    (void)rd_kafka_AdminOptions_set_request_timeout(options, left, text, sizeof(text));
    (void)rd_kafka_AdminOptions_set_operation_timeout(options, left, text, sizeof(text));
    rd_kafka_queue_t *queue = rd_kafka_queue_new(j->rk);
    rd_kafka_CreateTopics(j->rk, topics, n, options, queue);
    rd_kafka_event_t *ev = rd_kafka_queue_poll(queue, left + 500);
    rd_kafka_resp_err_t rc = ev != NULL ? rd_kafka_event_error(ev) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    if (rc == RD_KAFKA_RESP_ERR_NO_ERROR) {
        size_t count;
        const rd_kafka_topic_result_t **results =
            rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(ev), &count);
        for (size_t i = 0; i < count; i++)
            note_created(j, results[i]);
    }
    if (ev != NULL)
        rd_kafka_event_destroy(ev);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    return rc;
}

/* The brokers know no CreateTopics: a metadata request by name makes those create topics that do so
 * by themselves. */
static void create_by_asking(job *j)
{
    for (size_t i = 0; i < j->count; i++) {
        if (!to_create(j, i))
            continue;
        rd_kafka_topic_t *topic = rd_kafka_topic_new(j->rk, j->specs[i].name, NULL);
        const rd_kafka_metadata_t *md;
        if (topic == NULL)
            continue;
        if (rd_kafka_metadata(j->rk, 0, topic, &md, attempt(j)) == RD_KAFKA_RESP_ERR_NO_ERROR)
            rd_kafka_metadata_destroy(md);
        rd_kafka_topic_destroy(topic);
    }
}

static og_status create_missing(job *j, og_error *err)
{
    rd_kafka_NewTopic_t **topics = calloc(j->count, sizeof(*topics));
    size_t n = 0;
    og_status st = OG_OK;
    if (topics == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    for (size_t i = 0; st == OG_OK && i < j->count; i++) {
        if (!to_create(j, i))
            continue;
        st = topic_new(&j->specs[i], &topics[n], err);
        n += st == OG_OK;
    }
    if (st == OG_OK && n > 0) {
        rd_kafka_resp_err_t rc = j->no_controller ? RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE
                                                  : create_request(j, topics, n);
        if (rc == RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE)
            create_by_asking(j);
        else if (rc != RD_KAFKA_RESP_ERR_NO_ERROR)
            st = og_fail(err, OG_IO, "topics cannot be created: %s", rd_kafka_err2str(rc));
    }
    for (size_t i = 0; i < n; i++)
        rd_kafka_NewTopic_destroy(topics[i]);
    free(topics);
    return st;
}

/* New topics take a moment to appear on every broker. */
static og_status wait_until_there(job *j, og_error *err)
{
    for (;;) {
        og_status st = look_patiently(j, err);
        if (st != OG_OK)
            return st;
        bool waiting = false;
        for (size_t i = 0; i < j->count; i++)
            waiting = waiting || (to_create(j, i) && j->states[i].text[0] == '\0');
        if (!waiting || remaining(j) == 0)
            return OG_OK;
        events_drop(j->rk);
        usleep(PAUSE_MS * 1000);
    }
}

static void judge(const kafka_topic_spec *spec, kafka_topic_state *state)
{
    state->status = OG_OK;
    if (state->partitions == 0) {
        bool refused = spec->create;
        state->status = refused ? OG_UNSUPPORTED : OG_NOTFOUND;
        if (state->text[0] == '\0')
            snprintf(state->text, sizeof(state->text), "%s",
                     refused ? "is missing and the brokers do not create it" : "does not exist");
    } else if (spec->exact && spec->partitions > 0 && state->partitions != spec->partitions) {
        state->status = OG_INVALID;
        snprintf(state->text, sizeof(state->text),
                 "has %" PRId32 " partitions, %" PRId32 " are configured", state->partitions,
                 spec->partitions);
    }
}

static bool any_to_create(const job *j)
{
    for (size_t i = 0; i < j->count; i++) {
        if (to_create(j, i))
            return true;
    }
    return false;
}

static og_status ensure(job *j, og_error *err)
{
    og_status st = look_patiently(j, err);
    if (st == OG_OK && any_to_create(j)) {
        st = create_missing(j, err);
        if (st == OG_OK)
            st = wait_until_there(j, err);
    }
    if (st != OG_OK)
        return st;
    for (size_t i = 0; i < j->count; i++) {
        judge(&j->specs[i], &j->states[i]);
        if (st == OG_OK && j->states[i].status != OG_OK)
            st = og_fail(err, j->states[i].status, "topic %s %s", j->specs[i].name,
                         j->states[i].text);
    }
    return st;
}

og_status kafka_topics_ensure(const kafka_property *properties, size_t property_count,
                              const kafka_topic_spec *specs, size_t count, int timeout_ms,
                              kafka_topic_state *states, og_error *err)
{
    rd_kafka_conf_t *conf;
    memset(states, 0, count * sizeof(*states));
    for (size_t i = 0; i < count; i++)
        states[i].status = OG_IO; /* until a broker says otherwise */
    og_status st = kafka__conf_new(false, properties, property_count, NULL, &conf, err);
    if (st != OG_OK)
        return st;
    job j = {.specs = specs, .states = states, .count = count, .until = now_ms() + timeout_ms};
    st = kafka__handle_new(RD_KAFKA_PRODUCER, conf, &j.rk, err);
    if (st != OG_OK)
        return st;
    rd_kafka_set_log_queue(j.rk, NULL);
    st = ensure(&j, err);
    events_drop(j.rk);
    rd_kafka_destroy(j.rk);
    return st;
}
