/* What the stages are held against: bare loops that do nothing but parse, or nothing but write, the
 * same bytes. */
#include "growth.h"

#include <errno.h>
#include <jansson.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <lmdb.h>
#include <string.h>
#include <sys/stat.h>

typedef struct bare {
    MDB_env *env;
    MDB_dbi dbi;
    MDB_txn *txn;
} bare;

static void flush(bare *x)
{
    if (x->txn != NULL && mdb_txn_commit(x->txn) != 0)
        die("bare LMDB", "commit");
    x->txn = NULL;
}

/* The same records, with nothing but LMDB, as many a transaction as a batch has. */
static void write_one(bench *b, bare *x, const kafka_record *r)
{
    MDB_val k = {r->key.n, (void *)(uintptr_t)r->key.p},
            v = {r->value.n, (void *)(uintptr_t)r->value.p};
    if (b->f.write.count >= SAMPLE || r->key.n > 511)
        return;
    start(&b->f.write);
    if (x->txn == NULL && mdb_txn_begin(x->env, NULL, 0, &x->txn) != 0)
        die("bare LMDB", "begin");
    if (mdb_put(x->txn, x->dbi, &k, &v, 0) != 0)
        die("bare LMDB", "put");
    if ((b->f.write.count + 1) % BATCH == 0)
        flush(x);
    stop(&b->f.write, 1);
}

static void open_env(const bench *b, bare *x)
{
    char path[300];
    MDB_txn *t;
    snprintf(path, sizeof path, "%s/bare", b->dir);
    if (mkdir(path, 0750) != 0 || mdb_env_create(&x->env) != 0 ||
        mdb_env_set_mapsize(x->env, MAP_BYTES) != 0 ||
        mdb_env_open(x->env, path, MDB_NOSYNC | MDB_NOMETASYNC | MDB_NORDAHEAD, 0640) != 0 ||
        mdb_txn_begin(x->env, NULL, 0, &t) != 0 || mdb_dbi_open(t, NULL, 0, &x->dbi) != 0 ||
        mdb_txn_commit(t) != 0)
        die("bare LMDB", strerror(errno));
}

void bare_write(bench *b)
{
    bare x = {0};
    /* the records of the first patients, once more through gather, to LMDB and nowhere else */
    open_env(b, &x);
    for (uint32_t n = 0; n < b->f.patients && b->f.write.count < SAMPLE; n++) {
        stage nothing = {0};
        daemon_take_in(b, patients_bundle(b, n), &nothing);
        for (int p = 0; p <= PARTITIONS; p++) {
            queue *q = &b->queues[p];
            for (size_t i = 0; i < q->count; i++) {
                kafka_record r = {.key = q->at[i].key, .value = q->at[i].value};
                write_one(b, &x, &r);
            }
            q->next_offset -= (int64_t)q->count;
            daemon_forget(q);
        }
    }
    start(&b->f.write);
    flush(&x);
    stop(&b->f.write, 0);
    mdb_env_close(x.env);
}

/* The Bundles of the first patients from an embedded broker through librdkafka and jansson; counted
 * in resources. */
void bare_parse(bench *b)
{
    char text[256];
    rd_kafka_conf_t *conf[3] = {rd_kafka_conf_new(), rd_kafka_conf_new(), rd_kafka_conf_new()};
    rd_kafka_conf_set(conf[2], "log_level", "0", NULL, 0);
    rd_kafka_t *owner = rd_kafka_new(RD_KAFKA_PRODUCER, conf[2], text, sizeof text);
    rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(owner, 1);
    uint64_t sent = 0, taken = 0, resources = 0;
    size_t held[PARTITIONS] = {0};
    rd_kafka_mock_topic_create(cluster, "bare", PARTITIONS, 1);
    for (int i = 0; i < 2; i++)
        rd_kafka_conf_set(conf[i], "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(cluster),
                          NULL, 0);
    rd_kafka_conf_set(conf[1], "group.id", "bare", NULL, 0);
    rd_kafka_t *out = rd_kafka_new(RD_KAFKA_PRODUCER, conf[0], text, sizeof text);
    for (uint32_t n = 0; n < b->f.patients; n++) {
        og_str v = patients_bundle(b, n);
        int p = (int)(n % PARTITIONS);
        if (held[p] + v.n > BARE_BYTES)
            break;
        held[p] += v.n;
        while (rd_kafka_producev(out, RD_KAFKA_V_TOPIC("bare"), RD_KAFKA_V_PARTITION(p),
                                 RD_KAFKA_V_VALUE((void *)(uintptr_t)v.p, v.n),
                                 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                 RD_KAFKA_V_END) != RD_KAFKA_RESP_ERR_NO_ERROR)
            rd_kafka_poll(out, 10);
        sent++;
    }
    rd_kafka_flush(out, 60000);
    rd_kafka_destroy(out);
    rd_kafka_t *in = rd_kafka_new(RD_KAFKA_CONSUMER, conf[1], text, sizeof text);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(PARTITIONS);
    for (int p = 0; p < PARTITIONS; p++)
        rd_kafka_topic_partition_list_add(list, "bare", p)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_poll_set_consumer(in);
    rd_kafka_assign(in, list);
    while (taken < sent) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(in, 1000);
        if (m == NULL)
            continue;
        if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            if (taken++ == 0) /* joining and the first fetch do not count */
                start(&b->f.parse);
            json_t *j = json_loadb(m->payload, m->len, 0, NULL);
            resources += json_array_size(json_object_get(j, "entry"));
            json_decref(j);
        }
        rd_kafka_message_destroy(m);
    }
    stop(&b->f.parse, resources);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_consumer_close(in);
    rd_kafka_destroy(in);
    rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(owner);
}
