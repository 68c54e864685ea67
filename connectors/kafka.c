/* What all Kafka clients here have in common: configuration, the wake-up descriptor, taking handles
 * down.
 *
 * The defaults are the ones that librdkafka 2.0.2 needs to be safe (no silent offset reset, range
 * assignor, idempotent producer); properties on which a promise of kafka.h rests cannot be
 * overridden, and an attempt is an error rather than a silent loss. The consumer is in
 * kafka_source.c, the producer in kafka_sink.c, topics in kafka_topics.c. */
#include "connectors/kafka_private.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- configuration ---- */

/* Our settings. fixed: the caller may repeat the value and not change it. */
typedef struct setting {
    const char *name, *value;
    bool fixed;
    const char *why;
} setting;

static const setting common_settings[] = {
    {"log.queue", "true", true, "librdkafka's log goes through on_log"},
    {"log.connection.close", "false", false, NULL},
    {"socket.keepalive.enable", "true", false, NULL},
    {"socket.nagle.disable", "true", false, NULL}, /* latency with TLS before 2.10 */
};

static const setting consumer_settings[] = {
    {"enable.auto.commit", "false", true, "offsets are committed when the work is safe"},
    {"enable.auto.offset.store", "false", true, "offsets are stored when the work is safe"},
    {"auto.offset.reset", "error", true, "a lost position must be seen, not skipped"},
    {"partition.assignment.strategy", "range", true,
     "only range co-partitions topics, and cooperative-sticky loses assignments before librdkafka "
     "2.10"},
    {"enable.partition.eof", "true", true, "the end of a partition must be noticed"},
    {"check.crcs", "true", false, NULL},
    {"queued.max.messages.kbytes", "16384", false, NULL},
    {"queued.min.messages", "10000", false, NULL},
    {"fetch.message.max.bytes", "8388608", false, NULL},
    {"receive.message.max.bytes", "268435456", false, NULL},
};

static const setting producer_settings[] = {
    {"enable.idempotence", "true", true, "a repeated produce must not appear twice"},
    {"acks", "all", true, "a record must survive the loss of a broker"},
    {"partitioner", "murmur2_random", true, "other clients must agree on the partition of a key"},
    /* Never give up inside the library: the caller decides. */
    {"message.timeout.ms", "0", false, NULL},
    /* The broker judges the size. The queue holds two of the largest, so that one always fits into
       an empty queue. */
    {"message.max.bytes", "67108864", false, NULL},
    {"queue.buffering.max.kbytes", "131072", false, NULL},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Names that mean the same setting; librdkafka takes both. */
static const char *property_canonical(const char *name)
{
    static const char *const alias[][2] = {
        {"metadata.broker.list", "bootstrap.servers"},
        {"request.required.acks", "acks"},
        {"max.partition.fetch.bytes", "fetch.message.max.bytes"},
        {"delivery.timeout.ms", "message.timeout.ms"},
        {"queue.buffering.max.ms", "linger.ms"},
        {"compression.codec", "compression.type"},
    };
    for (size_t i = 0; i < COUNT(alias); i++) {
        if (strcmp(name, alias[i][0]) == 0)
            return alias[i][1];
    }
    return name;
}

static bool same_value(const char *name, const char *a, const char *b)
{
    if (strcasecmp(a, b) == 0)
        return true;
    return strcmp(name, "acks") == 0 && strcmp(a, "-1") == 0 && strcmp(b, "all") == 0;
}

static const setting *setting_fixed(bool consumer, const char *name)
{
    const setting *list[] = {common_settings, consumer ? consumer_settings : producer_settings};
    const size_t counts[] = {COUNT(common_settings),
                             consumer ? COUNT(consumer_settings) : COUNT(producer_settings)};
    for (size_t l = 0; l < 2; l++) {
        for (size_t i = 0; i < counts[l]; i++) {
            if (list[l][i].fixed && strcmp(list[l][i].name, name) == 0)
                return &list[l][i];
        }
    }
    return NULL;
}

static og_status conf_set(rd_kafka_conf_t *conf, const char *name, const char *value, og_error *err)
{
    char text[400];
    if (rd_kafka_conf_set(conf, name, value, text, sizeof(text)) == RD_KAFKA_CONF_OK)
        return OG_OK;
    return og_fail(err, OG_INVALID, "Kafka property \"%s\": %s", name, text);
}

static og_status conf_set_all(rd_kafka_conf_t *conf, const setting *list, size_t count,
                              og_error *err)
{
    for (size_t i = 0; i < count; i++) {
        og_status st = conf_set(conf, list[i].name, list[i].value, err);
        if (st != OG_OK)
            return st;
    }
    return OG_OK;
}

/* A value may be a password: it never goes into an error text. librdkafka's own text repeats the
 * value only for properties whose values are numbers or words of a list. */
static og_status conf_set_property(rd_kafka_conf_t *conf, bool consumer, const kafka_property *p,
                                   const char *const *extra, og_error *err)
{
    if (p->name == NULL || p->value == NULL)
        return og_fail(err, OG_INVALID, "Kafka property without name or value");
    const char *name = property_canonical(p->name);
    const setting *fixed = setting_fixed(consumer, name);
    if (fixed != NULL && !same_value(name, p->value, fixed->value))
        return og_fail(err, OG_INVALID, "Kafka property \"%s\" must be \"%s\": %s", p->name,
                       fixed->value, fixed->why);
    if (!consumer && strcmp(name, "transactional.id") == 0)
        return og_fail(err, OG_INVALID, "Kafka property \"transactional.id\" is not supported");
    for (size_t i = 0; extra != NULL && extra[i] != NULL; i += 2) {
        if (strcmp(extra[i], name) == 0 && strcmp(extra[i + 1], p->value) != 0)
            return og_fail(err, OG_INVALID, "Kafka property \"%s\" is set by its own option",
                           p->name);
    }
    return conf_set(conf, p->name, p->value, err);
}

og_status kafka__conf_new(bool consumer, const kafka_property *properties, size_t count,
                          const char *const *extra, rd_kafka_conf_t **ret, og_error *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    og_status st = conf_set_all(conf, common_settings, COUNT(common_settings), err);
    if (st == OG_OK)
        st = consumer ? conf_set_all(conf, consumer_settings, COUNT(consumer_settings), err)
                      : conf_set_all(conf, producer_settings, COUNT(producer_settings), err);
    if (st == OG_OK && !consumer) {
        /* Absent when librdkafka was built without it: then records go uncompressed. */
        char ignored[64];
        (void)rd_kafka_conf_set(conf, "compression.type", "lz4", ignored, sizeof(ignored));
    }
    for (size_t i = 0; st == OG_OK && i < count; i++)
        st = conf_set_property(conf, consumer, &properties[i], extra, err);
    for (size_t i = 0; st == OG_OK && extra != NULL && extra[i] != NULL; i += 2)
        st = conf_set(conf, extra[i], extra[i + 1], err);
    if (st != OG_OK) {
        rd_kafka_conf_destroy(conf);
        return st;
    }
    *ret = conf;
    return OG_OK;
}

bool kafka__lacks_thread(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;
}

og_status kafka__handle_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, rd_kafka_t **ret,
                            og_error *err)
{
    char text[400];
    rd_kafka_t *rk = rd_kafka_new(type, conf, text, sizeof(text));
    if (rk == NULL) {
        bool lacks_thread = kafka__lacks_thread(rd_kafka_last_error());
        rd_kafka_conf_destroy(conf);
        return og_fail(err, lacks_thread ? OG_IO : OG_INVALID, "Kafka client: %s", text);
    }
    *ret = rk;
    return OG_OK;
}

og_status kafka_properties_check(const kafka_property *properties, size_t count, bool consumer,
                                 og_error *err)
{
    rd_kafka_conf_t *conf;
    og_status st = kafka__conf_new(consumer, properties, count, NULL, &conf, err);
    if (st == OG_OK)
        rd_kafka_conf_destroy(conf);
    return st;
}

/* ---- waking the loop ---- */

og_status kafka__wake_start(kafka__wake *w, uv_loop_t *loop, uv_poll_cb cb, og_error *err)
{
    w->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (w->fd < 0)
        return og_fail(err, OG_IO, "eventfd: %s", strerror(errno));
    int rc = uv_poll_init(loop, &w->poll, w->fd);
    if (rc != 0) {
        close(w->fd);
        w->fd = -1;
        return og_fail(err, OG_IO, "uv_poll: %s", uv_strerror(rc));
    }
    uv_poll_start(&w->poll, UV_READABLE, cb); /* cannot fail on Linux once it is initialised */
    return OG_OK;
}

void kafka__wake_read(kafka__wake *w)
{
    uint64_t n;
    ssize_t got = read(w->fd, &n, sizeof(n));
    (void)got; /* EAGAIN: nothing was signalled */
}

void kafka__wake_again(kafka__wake *w)
{
    const uint64_t one = 1;
    ssize_t put = write(w->fd, &one, sizeof(one));
    (void)put; /* EAGAIN: it is signalled already */
}

void kafka__wake_watch(kafka__wake *w, rd_kafka_queue_t *queue)
{
    static const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(queue, w->fd, &one, sizeof(one));
}

void kafka__wake_unwatch(rd_kafka_queue_t *queue)
{
    rd_kafka_queue_io_event_enable(queue, -1, NULL, 0);
}

/* ---- taking a handle down ---- */

/* Shared by the loop and the destroying thread; whoever leaves last frees it. */
typedef struct reaper {
    pthread_mutex_t lock;
    rd_kafka_t *rk;
    uv_async_t *async; /* NULL: the loop has given up waiting */
    bool finished;
} reaper;

typedef struct reaper_loop { /* the loop's half: uv handles and the callback */
    uv_async_t async;
    uv_timer_t timer;
    int open;
    bool over;
    reaper *shared;
    void (*cb)(void *ctx);
    void *ctx;
} reaper_loop;

static void reaper_free(reaper *r)
{
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static void *reaper_run(void *arg)
{
    reaper *r = arg;
    rd_kafka_destroy_flags(r->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    pthread_mutex_lock(&r->lock);
    r->finished = true;
    bool alone = r->async == NULL;
    if (!alone)
        uv_async_send(r->async);
    pthread_mutex_unlock(&r->lock);
    if (alone)
        reaper_free(r);
    return NULL;
}

static void reaper_closed(uv_handle_t *h)
{
    reaper_loop *l = h->data;
    if (--l->open > 0)
        return;
    if (l->cb != NULL)
        l->cb(l->ctx);
    free(l);
}

static void reaper_over(reaper_loop *l)
{
    if (l->over)
        return;
    l->over = true;
    pthread_mutex_lock(&l->shared->lock);
    bool finished = l->shared->finished;
    l->shared->async = NULL;
    pthread_mutex_unlock(&l->shared->lock);
    if (finished)
        reaper_free(l->shared);
    uv_close((uv_handle_t *)&l->async, reaper_closed);
    uv_close((uv_handle_t *)&l->timer, reaper_closed);
}

static void reaper_done(uv_async_t *a)
{
    reaper_over(a->data);
}

static void reaper_late(uv_timer_t *t)
{
    reaper_over(t->data);
}

void kafka__destroy(uv_loop_t *loop, rd_kafka_t *rk, uint64_t timeout_ms, void (*cb)(void *ctx),
                    void *ctx)
{
    reaper *r = calloc(1, sizeof(*r));
    reaper_loop *l = calloc(1, sizeof(*l));
    pthread_t thread;
    pthread_attr_t attr;
    if (r == NULL || l == NULL || uv_async_init(loop, &l->async, reaper_done) != 0)
        goto direct;
    pthread_mutex_init(&r->lock, NULL);
    r->rk = rk;
    r->async = &l->async;
    uv_timer_init(loop, &l->timer);
    l->open = 2;
    l->shared = r;
    l->cb = cb;
    l->ctx = ctx;
    l->async.data = l->timer.data = l;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int rc = pthread_create(&thread, &attr, reaper_run, r);
    pthread_attr_destroy(&attr);
    if (rc != 0) { /* no thread to be had: block rather than leak */
        rd_kafka_destroy_flags(rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
        r->finished = true;
        reaper_over(l);
        return;
    }
    uv_timer_start(&l->timer, reaper_late, timeout_ms, 0);
    return;
direct:
    free(r);
    free(l);
    rd_kafka_destroy_flags(rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    if (cb != NULL)
        cb(ctx);
}

/* ---- small things ---- */

void kafka__log_event(rd_kafka_event_t *ev, kafka_log_fn *fn, void *ctx)
{
    const char *facility, *text;
    int level;
    if (fn != NULL && rd_kafka_event_log(ev, &facility, &text, &level) == 0)
        fn(ctx, level, facility, text);
}

kafka_error kafka__error(rd_kafka_resp_err_t code, const char *text)
{
    return (kafka_error){.code = code,
                         .name = rd_kafka_err2name(code),
                         .text = text != NULL ? text : rd_kafka_err2str(code),
                         .partition = -1,
                         .offset = -1};
}

const char *kafka_version(void)
{
    return rd_kafka_version_str();
}

int32_t kafka_partition_for(og_str key, int32_t count)
{
    return (int32_t)((og_murmur2(key.p, key.n) & 0x7fffffffU) % (uint32_t)count);
}

bool kafka_message_header(const conn_message *message, const char *name, og_str *ret)
{
    rd_kafka_headers_t *headers;
    const void *value;
    size_t size;
    if (message->native == NULL || rd_kafka_message_headers(message->native, &headers) != 0 ||
        rd_kafka_header_get_last(headers, name, &value, &size) != 0 || value == NULL)
        return false;
    *ret = (og_str){value, size};
    return true;
}
