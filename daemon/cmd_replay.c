/* osteoguard replay: produces resources from files to the source topics, as a hospital's
 * integration engine would. What cannot be read as JSON is sent all the same, as it stands: what
 * becomes of it is the daemon's decision, and its dead letter is there to be seen.
 *
 * At most WINDOW values are on their way. Each keeps its bytes until the broker has it, so that it
 * can be sent again; the resume point is behind the contiguous prefix of values that are in the
 * log, so that a repeat sends some values twice and none never. */
#include "daemon/cmd_replay.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "connectors/kafka.h"
#include "connectors/ndjson.h"
#include "daemon/cmd.h"
#include "daemon/config.h"
#include "daemon/file.h"
#include "fhir/resource.h"

enum { WINDOW = 4096, WINDOW_BYTES = 64 << 20, TICK_MS = 10, SHOW_MS = 500, FLUSH_MS = 60000 };

/* A value between reading and the broker's word for it. */
typedef struct parcel {
    struct replay *replay;
    char *bytes, *key; /* key NULL: none */
    size_t size;
    const char *topic;
    uint64_t file_line, next, next_line;
    int file;
    bool settled, again; /* again: not in the log for sure, to be sent once more */
} parcel;

typedef struct place {
    uint64_t next, line;
    bool finished;
    uint64_t size; /* of the file when it was opened; 0: not known */
    bool failed;   /* it could not be read to its end, this time */
} place;

typedef struct replay {
    uv_loop_t loop;
    uv_timer_t tick, show;
    uv_signal_t interrupt, terminate;
    config *c;
    const char *config_path, *state_path;
    double rate; /* values a second; 0: as fast as it goes */
    bool quiet, progress;
    char **files;
    int file_count, file;
    place *places; /* one for each file */
    ndjson_reader *reader;
    kafka_sink *sink;
    og_arena *arena;
    parcel *ring[WINDOW];
    uint64_t head, tail; /* ring[tail % WINDOW] is the oldest */
    parcel *waiting;     /* read, not yet accepted */
    size_t bytes_on_way, agains;
    uint64_t read, sent, refused, unreadable, sent_bytes, due_base;
    uint64_t began_ns;
    unsigned problems;
    bool ended, stopping, closing;
} replay;

const char *replay_topic(const char *const *sources, unsigned count, const char *type)
{
    const char *bundles = NULL;
    for (unsigned i = 0; i < count; i++) {
        const char *last = sources[i];
        for (const char *p = sources[i]; *p != '\0'; p++)
            if (strchr(".-_/", *p) != NULL)
                last = p + 1;
        if (strcasecmp(last, type) == 0)
            return sources[i];
        if (bundles == NULL && strcasecmp(last, "bundle") == 0)
            bundles = sources[i];
    }
    if (bundles != NULL)
        return bundles;
    return count != 0 ? sources[0] : NULL;
}

static void complain(replay *r, const og_error *err)
{
    char text[1024];
    og_error_format(err, text, sizeof text);
    fprintf(stderr, "%s%s\n", r->progress ? "\r\033[K" : "", text);
    r->problems++;
}

static void report_problem(void *ctx, const og_error *err)
{
    complain(ctx, err);
}

/* --- progress and resume --- */

static void show_progress(replay *r)
{
    uint64_t at = 0, size = 0;
    double seconds = (double)(uv_hrtime() - r->began_ns) / 1e9;
    if (r->reader != NULL)
        ndjson_progress(r->reader, &at, &size);
    fprintf(stderr, "\r\033[K%llu values sent (%.1f MB, %.0f/s)", (unsigned long long)r->sent,
            (double)r->sent_bytes / 1e6, seconds > 0 ? (double)r->sent / seconds : 0);
    if (r->file < r->file_count)
        fprintf(stderr, ", file %d of %d", r->file + 1, r->file_count);
    if (size != 0)
        fprintf(stderr, " at %.0f %%", 100.0 * (double)at / (double)size);
    fflush(stderr);
}

static bool save_state(replay *r)
{
    if (r->state_path == NULL)
        return true;
    json_t *root = json_object();
    for (int i = 0; i < r->file_count; i++)
        json_object_set_new(root, r->files[i],
                            json_pack("{s:I,s:I,s:b,s:I}", "next", (json_int_t)r->places[i].next,
                                      "line", (json_int_t)r->places[i].line, "finished",
                                      r->places[i].finished, "size",
                                      (json_int_t)r->places[i].size));
    char *text = json_dumps(root, JSON_INDENT(1));
    json_decref(root);
    og_error err;
    og_error_init(&err);
    og_status status = text != NULL ? file_write(r->state_path, og_str_of(text), &err) : OG_NOMEM;
    free(text);
    if (status != OG_OK)
        complain(r, &err);
    return status == OG_OK;
}

static bool load_state(replay *r)
{
    if (r->state_path == NULL || access(r->state_path, F_OK) != 0)
        return true;
    json_error_t why;
    json_t *root = json_load_file(r->state_path, 0, &why);
    if (!json_is_object(root)) {
        fprintf(stderr, "%s:%d:%d: error: not a state file of replay: %s\n", r->state_path,
                why.line > 0 ? why.line : 1, why.column > 0 ? why.column : 1,
                root == NULL ? why.text : "not an object");
        json_decref(root);
        return false;
    }
    for (int i = 0; i < r->file_count; i++) {
        json_t *p = json_object_get(root, r->files[i]);
        json_int_t next = json_integer_value(json_object_get(p, "next"));
        json_int_t line = json_integer_value(json_object_get(p, "line"));
        json_int_t size = json_integer_value(json_object_get(p, "size"));
        if (next > 0 && line > 0)
            r->places[i] = (place){(uint64_t)next, (uint64_t)line,
                                   json_is_true(json_object_get(p, "finished")),
                                   size > 0 ? (uint64_t)size : 0, false};
    }
    json_decref(root);
    return true;
}

/* --- parcels --- */

static void parcel_free(parcel *p)
{
    if (p == NULL)
        return;
    free(p->bytes);
    free(p->key);
    free(p);
}

static char *copy_bytes(og_str s)
{
    char *p = malloc(s.n + 1);
    if (p != NULL) {
        if (s.n != 0)
            memcpy(p, s.p, s.n);
        p[s.n] = '\0';
    }
    return p;
}

/* Topic and key follow from what the value says of itself; one that cannot be read has neither. */
static void address(replay *r, parcel *p, og_str text)
{
    fhir_doc doc;
    og_str type = OG_STR(""), id = {0};
    og_arena_reset(r->arena);
    if (fhir_decode(r->arena, text, NULL, &doc, NULL) == OG_OK) {
        type = fhir_string(r->arena, fhir_get(fhir_root(&doc), "resourceType"));
        id = fhir_string(r->arena, fhir_get(fhir_root(&doc), "id"));
    } else {
        r->unreadable++;
    }
    og_str name = og_arena_str(r->arena, type);
    p->topic = replay_topic(r->c->kafka_sources.at, (unsigned)r->c->kafka_sources.count,
                            name.p != NULL ? name.p : "");
    if (type.n != 0 && id.n != 0 &&
        asprintf(&p->key, "%.*s/%.*s", OG_STR_ARG(type), OG_STR_ARG(id)) < 0)
        p->key = NULL;
}

static parcel *parcel_new(replay *r, const ndjson_item *item)
{
    parcel *p = calloc(1, sizeof *p);
    if (p == NULL || (p->bytes = copy_bytes(item->text)) == NULL) {
        parcel_free(p);
        return NULL;
    }
    p->replay = r;
    p->size = item->text.n;
    p->file = r->file;
    p->file_line = item->line;
    p->next = item->next;
    p->next_line = ndjson_line(r->reader);
    address(r, p, item->text);
    return p;
}

static void settle(replay *r)
{
    while (r->tail != r->head && r->ring[r->tail % WINDOW]->settled) {
        parcel *p = r->ring[r->tail++ % WINDOW];
        r->places[p->file].next = p->next;
        r->places[p->file].line = p->next_line;
        r->bytes_on_way -= p->size;
        parcel_free(p);
    }
}

static void on_report(void *ctx, conn_verdict verdict, int32_t partition, int64_t offset,
                      const kafka_error *error)
{
    parcel *p = ctx;
    replay *r = p->replay;
    (void)partition;
    (void)offset;
    if (verdict == CONN_AGAIN && !r->closing) {
        p->again = true; /* the tick sends it */
        r->agains++;
        return;
    }
    if (verdict == CONN_DONE) {
        r->sent++;
        r->sent_bytes += p->size;
    } else {
        fprintf(stderr, "%s:%llu:1: error: not sent to %s: %s\n", r->files[p->file],
                (unsigned long long)p->file_line, p->topic,
                error != NULL ? error->text : "the broker does not answer");
        r->refused++;
        if (verdict == CONN_AGAIN)
            return; /* not in the log for sure: the resume point must not pass it */
    }
    p->settled = true;
    settle(r);
}

static conn_verdict post(replay *r, parcel *p)
{
    og_error err;
    og_error_init(&err);
    kafka_record record = {.topic = p->topic,
                           .partition = KAFKA_PARTITION_BY_KEY,
                           .key = p->key != NULL ? og_str_of(p->key) : (og_str){0},
                           .value = {p->bytes, p->size}};
    conn_verdict v = kafka_sink_send(r->sink, &record, on_report, p, &err);
    if (v == CONN_NEVER) {
        og_error_origin(&err, r->files[p->file]);
        og_error_at(&err, (uint32_t)p->file_line, 1);
        complain(r, &err);
        r->refused++;
    }
    return v;
}

/* --- reading --- */

static uint64_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
}

/* Nothing of it is to be sent: all was, and nothing has come since, or it is not the file that it
 * was. What was appended to lines is sent as well. */
static bool is_passed_over(replay *r, const char *path, place *at)
{
    og_error err;
    uint64_t size = size_of(path);
    bool known = at->next > 0 && at->size != 0 && size != 0;
    bool grown = known && size > at->size && (!at->finished || ndjson_has_lines(path));
    if (!known || grown || size == at->size)
        return at->finished && !grown;
    og_error_init(&err);
    (void)og_fail(&err, OG_INVALID,
                  "has changed since it was sent: use another state file to send it");
    og_error_origin(&err, path);
    complain(r, &err);
    at->failed = true;
    return true;
}

static void next_file(replay *r)
{
    if (r->reader != NULL && r->file < r->file_count) {
        ndjson_close(r->reader);
        r->reader = NULL;
        r->file++;
    }
    for (; r->file < r->file_count; r->file++) {
        og_error err;
        og_error_init(&err);
        place *at = &r->places[r->file];
        if (is_passed_over(r, r->files[r->file], at))
            continue;
        uint64_t size = size_of(r->files[r->file]); /* what comes while it is read is new */
        if (ndjson_open(r->files[r->file], at->next, at->line, 0, &r->reader, &err) == OG_OK) {
            at->finished = false;
            at->size = size;
            return;
        }
        at->failed = true;
        complain(r, &err);
    }
    r->ended = true;
}

/* The next value of the files, or NULL when there is none. */
static parcel *read_parcel(replay *r)
{
    while (!r->ended && !r->stopping) {
        ndjson_item item;
        og_error err;
        og_error_init(&err);
        og_status status = ndjson_next(r->reader, &item, &err);
        if (status == OG_OK) {
            parcel *p = parcel_new(r, &item);
            if (p == NULL) {
                fputs("osteoguard replay: error: out of memory\n", stderr);
                r->problems++;
                r->stopping = true;
            }
            r->read++;
            return p;
        }
        if (status != OG_NOTFOUND)
            complain(r, &err);
        if (status != OG_NOTFOUND && status != OG_LIMIT)
            r->places[r->file].failed = true;
        if (status != OG_LIMIT)
            next_file(r);
    }
    return NULL;
}

static bool may_send(const replay *r)
{
    if (r->head - r->tail >= WINDOW || r->bytes_on_way >= WINDOW_BYTES)
        return false;
    if (r->rate <= 0)
        return true;
    double seconds = (double)(uv_hrtime() - r->began_ns) / 1e9;
    return (double)(r->head - r->due_base) <= seconds * r->rate;
}

static void finish(replay *r);

/* Sends once more what came back; false while the queue has no room. */
static bool send_again(replay *r)
{
    for (uint64_t i = r->tail; r->agains != 0 && i != r->head; i++) {
        parcel *p = r->ring[i % WINDOW];
        if (!p->again)
            continue;
        conn_verdict v = post(r, p);
        if (v == CONN_AGAIN)
            return false;
        p->again = false;
        p->settled = v == CONN_NEVER;
        r->agains--;
    }
    settle(r);
    return true;
}

/* Sends what may go now. */
static void pump(replay *r)
{
    if (r->closing || (!r->stopping && !send_again(r)))
        return;
    while (may_send(r)) {
        if (r->waiting == NULL)
            r->waiting = read_parcel(r);
        parcel *p = r->waiting;
        if (p == NULL)
            break;
        conn_verdict v = post(r, p);
        if (v == CONN_AGAIN)
            return; /* on_room or the tick goes on */
        r->waiting = NULL;
        p->settled = v == CONN_NEVER;
        r->ring[r->head++ % WINDOW] = p;
        r->bytes_on_way += p->size;
        settle(r);
    }
    if ((r->ended || r->stopping) && r->waiting == NULL && (r->agains == 0 || r->stopping))
        finish(r);
}

static void on_room(void *ctx)
{
    pump(ctx);
}

static void on_tick(uv_timer_t *t)
{
    pump(t->data);
}

static void on_show(uv_timer_t *t)
{
    replay *r = t->data;
    if (r->progress)
        show_progress(r);
    save_state(r);
}

static void on_signal(uv_signal_t *s, int number)
{
    replay *r = s->data;
    (void)number;
    r->stopping = true;
    parcel_free(r->waiting);
    r->waiting = NULL;
}

static void on_kafka_error(void *ctx, const kafka_error *e)
{
    replay *r = ctx;
    fprintf(stderr, "%sosteoguard replay: %s: %s\n", r->progress ? "\r\033[K" : "", e->name,
            e->text);
}

/* --- the end: wait for the broker's word for everything, then close --- */

static void on_sink_closed(void *ctx)
{
    replay *r = ctx;
    uv_close((uv_handle_t *)&r->tick, NULL);
    uv_close((uv_handle_t *)&r->show, NULL);
    uv_close((uv_handle_t *)&r->interrupt, NULL);
    uv_close((uv_handle_t *)&r->terminate, NULL);
}

static void on_flushed(void *ctx, size_t remaining)
{
    replay *r = ctx;
    if (remaining != 0)
        fprintf(stderr, "osteoguard replay: error: the broker has not confirmed %zu values\n",
                remaining);
    r->closing = true;
    kafka_sink_close(r->sink, 1, on_sink_closed, r);
}

static void finish(replay *r)
{
    if (kafka_sink_flush(r->sink, FLUSH_MS, on_flushed, r) == OG_OK)
        r->closing = true;
}

/* --- start --- */

static void usage(FILE *to)
{
    fputs("usage: osteoguard replay -c FILE [options] INPUT...\n"
          "\n"
          "Produces FHIR resources and Bundles from files (NDJSON, JSON, either gzipped; - is "
          "standard\n"
          "input) to the source topics of the configuration, one message for each value: a "
          "resource to the\n"
          "topic named after its type, a Bundle and everything else to the topic for bundles. Keys "
          "are\n"
          "Type/id. Waits until the broker has confirmed every message.\n"
          "\n"
          "  -c, --config FILE   configuration of the daemon\n"
          "  --rate N            at most N values a second\n"
          "  --resume STATE      goes on where an earlier run with the same STATE file stopped\n"
          "  --quiet             no progress line, no summary\n"
          "  --help              this text\n"
          "\n"
          "Exit status: 0 all sent; 1 a file could not be read or a value was refused; 2 usage.\n",
          to);
}

/* -1: go on; otherwise the exit status. */
static int read_arguments(replay *r, int argc, char **argv)
{
    static const struct option names[] = {
        {"config", required_argument, NULL, 'c'}, {"rate", required_argument, NULL, 'r'},
        {"resume", required_argument, NULL, 's'}, {"quiet", no_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
    int c;
    char *end;
    optind = 1;
    while ((c = getopt_long(argc, argv, "c:h", names, NULL)) != -1)
        switch (c) {
        case 'c': r->config_path = optarg; break;
        case 'r':
            r->rate = strtod(optarg, &end);
            if (*end != '\0' || end == optarg || !(r->rate > 0))
                return cmd_misuse("replay", "--rate takes a number of values a second above 0: %s",
                                  optarg);
            break;
        case 's': r->state_path = optarg; break;
        case 'q': r->quiet = true; break;
        case 'h': usage(stdout); return 0;
        default: return cmd_misuse("replay", "unknown or incomplete option");
        }
    if (r->config_path == NULL)
        return cmd_misuse("replay", "a configuration is needed (-c FILE)");
    if (optind >= argc)
        return cmd_misuse("replay", "no input files");
    r->files = argv + optind;
    r->file_count = argc - optind;
    return -1;
}

static bool ensure_topics(replay *r, const config_map *properties, og_error *err)
{
    size_t n = r->c->kafka_sources.count;
    kafka_topic_spec *specs = calloc(n + 1, sizeof *specs);
    kafka_topic_state *states = calloc(n + 1, sizeof *states);
    og_status status = specs != NULL && states != NULL ? OG_OK : OG_NOMEM;
    for (size_t i = 0; status == OG_OK && i < n; i++)
        specs[i] = (kafka_topic_spec){.name = r->c->kafka_sources.at[i],
                                      .create = r->c->kafka_create_topics,
                                      .replication = (int)r->c->kafka_replication};
    if (status == OG_OK)
        status =
            kafka_topics_ensure(properties->at, properties->count, specs, n, 15000, states, err);
    free(specs);
    free(states);
    return status == OG_OK;
}

static bool open_all(replay *r)
{
    og_error err;
    og_error_init(&err);
    og_report report = {report_problem, r, 0}, warn = {.fn = cmd_print_warning};
    config_map properties;
    if (config_load(r->config_path, &r->c, &report, &warn) != OG_OK)
        return false;
    if (r->c->kafka_sources.count == 0) {
        fprintf(stderr, "%s: error: kafka.sources is empty\n", r->config_path);
        return false;
    }
    r->arena = og_arena_new((size_t)1 << 30);
    r->places = calloc((size_t)r->file_count, sizeof *r->places);
    if (r->arena == NULL || r->places == NULL || !load_state(r))
        return false;
    kafka_sink_options sink = {.ctx = r, .on_room = on_room, .on_error = on_kafka_error};
    if (config_kafka(r->c, false, &properties, &err) != OG_OK ||
        !ensure_topics(r, &properties, &err)) {
        complain(r, &err);
        return false;
    }
    sink.properties = properties.at;
    sink.property_count = properties.count;
    if (kafka_sink_new(&r->loop, &sink, &r->sink, &err) != OG_OK) {
        complain(r, &err);
        return false;
    }
    return true;
}

static void run(replay *r)
{
    uv_timer_init(&r->loop, &r->tick);
    uv_timer_init(&r->loop, &r->show);
    uv_signal_init(&r->loop, &r->interrupt);
    uv_signal_init(&r->loop, &r->terminate);
    r->tick.data = r->show.data = r->interrupt.data = r->terminate.data = r;
    uv_signal_start(&r->interrupt, on_signal, SIGINT);
    uv_signal_start(&r->terminate, on_signal, SIGTERM);
    r->progress = !r->quiet && isatty(2) != 0;
    r->began_ns = uv_hrtime();
    next_file(r);
    uv_timer_start(&r->tick, on_tick, 0, TICK_MS);
    uv_timer_start(&r->show, on_show, SHOW_MS, SHOW_MS);
    uv_run(&r->loop, UV_RUN_DEFAULT);
}

static void summary(replay *r)
{
    double seconds = (double)(uv_hrtime() - r->began_ns) / 1e9;
    for (int i = 0; i < r->file_count;
         i++) /* all that was read is in the log: the file is done with */
        if (i < r->file && r->refused == 0 && r->tail == r->head && !r->places[i].failed)
            r->places[i].finished = true;
    save_state(r);
    if (r->quiet)
        return;
    fprintf(stderr, "%s%llu values sent from %d file%s (%.1f MB in %.1f s)",
            r->progress ? "\r\033[K" : "", (unsigned long long)r->sent, r->file_count,
            r->file_count == 1 ? "" : "s", (double)r->sent_bytes / 1e6, seconds);
    if (r->unreadable != 0)
        fprintf(stderr, ", %llu of them not readable as JSON", (unsigned long long)r->unreadable);
    if (r->refused != 0)
        fprintf(stderr, "; %llu not sent", (unsigned long long)r->refused);
    fprintf(stderr, "%s\n", r->stopping ? "; stopped before the end" : "");
}

int cmd_replay(int argc, char **argv)
{
    replay *r = calloc(1, sizeof *r);
    if (r == NULL)
        return 1;
    int status = read_arguments(r, argc, argv);
    if (status >= 0) {
        free(r);
        return status;
    }
    uv_loop_init(&r->loop);
    bool opened = open_all(r);
    if (opened) {
        run(r);
        summary(r);
    } else
        uv_run(&r->loop, UV_RUN_DEFAULT);
    status =
        !opened || r->problems != 0 || r->refused != 0 || r->stopping || r->tail != r->head ? 1 : 0;
    ndjson_close(r->reader);
    for (; r->tail != r->head; r->tail++)
        parcel_free(r->ring[r->tail % WINDOW]);
    parcel_free(r->waiting);
    og_arena_free(r->arena);
    config_free(r->c);
    free(r->places);
    uv_loop_close(&r->loop);
    free(r);
    return status;
}
