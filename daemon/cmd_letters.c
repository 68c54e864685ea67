/* osteoguard dead-letters list|show|retry
 *
 * A dead letter says in its headers why an input could not be used and where it stands in its
 * source topic. `retry` takes the message from there and puts it on the same topic and partition
 * again, with its key, its time and the offset that it had, so that it goes the same way as at
 * first and can never look newer than it is. When the source no longer has it, the letter's own
 * bytes are sent, if it has all of them. Nothing is taken out of the dead-letter topic: it is the
 * record of what happened. */
#include "daemon/cmd_letters.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/cmd.h"
#include "daemon/config.h"
#include "daemon/gather.h"
#include "daemon/moment.h"
#include "daemon/topic_reader.h"
#include "fhir/base/table.h"

enum { FLUSH_MS = 60000, MAX_REASONS = 64, MAX_NAMED = 1024 };

typedef enum action { LIST, SHOW, RETRY } action;

typedef struct number { /* a letter as people name it: PARTITION/OFFSET */
    int32_t partition;
    int64_t offset;
    bool seen;
} number;

typedef struct letter { /* borrowed from the message */
    int32_t partition;
    int64_t offset, time_ms;
    og_str reason, detail, topic, entry, position, path, bytes, more, server, resource, value;
    int32_t source_partition;
    int64_t source_offset;
    bool sourced; /* the headers say where it came from */
} letter;

typedef struct job { /* a source message that is to be sent again */
    const char *topic;
    int32_t partition;
    int64_t offset;
    number letter;
    bool whole; /* the letter has all bytes, and they are an input of their own */
    bool settled;
} job;

typedef struct tally {
    char reason[48];
    uint64_t count;
} tally;

typedef struct letters {
    action action;
    const char *config_path, *reason, *topic;
    int64_t since_ms, limit;
    bool json, all, dry;
    number named[MAX_NAMED];
    size_t named_count;
    config *c;
    uv_loop_t loop;
    topic_reader *reader;
    kafka_sink *sink;
    og_arena *arena;
    og_table jobs; /* source coordinates → job */
    tally tallies[MAX_REASONS];
    size_t tally_count;
    uint64_t found, sent, lost, refused;
    bool broken, closed;
} letters;

/* ---- reading a letter ---- */

static og_str header(const conn_message *m, const char *name)
{
    og_str value = {NULL, 0};
    (void)kafka_message_header(m, name, &value);
    return value;
}

static letter letter_of(const conn_message *m)
{
    letter l = {.partition = m->origin.partition,
                .offset = m->origin.offset,
                .time_ms = m->origin.timestamp_ms,
                .reason = header(m, "reason"),
                .detail = header(m, "detail"),
                .topic = header(m, "source-topic"),
                .entry = header(m, "entry"),
                .position = header(m, "position"),
                .path = header(m, "path"),
                .bytes = header(m, "bytes"),
                .more = header(m, "more"),
                .server = header(m, "fhir-server"),
                .resource = header(m, "resource"),
                .value = m->value};
    int64_t partition;
    l.sourced = l.topic.n != 0 &&
                og_str_int(header(m, "source-partition"), 0, INT32_MAX, &partition) &&
                og_str_int(header(m, "source-offset"), 0, INT64_MAX, &l.source_offset);
    l.source_partition = l.sourced ? (int32_t)partition : -1;
    return l;
}

static number *named(letters *x, const letter *l)
{
    for (size_t i = 0; i < x->named_count; i++)
        if (x->named[i].partition == l->partition && x->named[i].offset == l->offset)
            return &x->named[i];
    return NULL;
}

static bool chosen(letters *x, const letter *l)
{
    number *n = named(x, l);
    if (n != NULL)
        n->seen = true;
    if (x->named_count != 0 && n == NULL)
        return false;
    return (x->reason == NULL || og_str_is(l->reason, x->reason)) &&
           (x->topic == NULL || og_str_is(l->topic, x->topic)) &&
           (x->since_ms == 0 || l->time_ms >= x->since_ms);
}

/* ---- showing ---- */

static void count_reason(letters *x, og_str reason)
{
    size_t i = 0;
    while (i < x->tally_count && !og_str_is(reason, x->tallies[i].reason))
        i++;
    if (i == MAX_REASONS)
        return;
    if (i == x->tally_count)
        snprintf(x->tallies[x->tally_count++].reason, sizeof x->tallies[i].reason, "%.*s",
                 OG_STR_ARG(reason));
    x->tallies[i].count++;
}

static void time_text(int64_t ms, char out[48])
{
    moment m = {.ms = ms};
    size_t n = ms >= 0 ? moment_format(&m, out) : 0;
    if (n == 0)
        n = (size_t)snprintf(out, 48, "no time");
    out[n] = '\0';
}

/* Headers come from the topic, which others can write to: no control characters on a terminal. */
static void print_clean(og_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        putchar(c < 0x20 || c == 0x7f ? ' ' : c);
    }
}

static void print_source(const letter *l)
{
    if (l->server.n != 0) {
        fputs("FHIR server ", stdout);
        print_clean(l->server);
        putchar(' ');
        print_clean(l->resource);
        return;
    }
    if (!l->sourced) {
        fputs("no source", stdout);
        return;
    }
    print_clean(l->topic);
    printf("[%d]@%lld", (int)l->source_partition, (long long)l->source_offset);
}

static void print_line(const letter *l)
{
    char when[48];
    time_text(l->time_ms, when);
    printf("%d/%lld  %s  ", (int)l->partition, (long long)l->offset, when);
    print_clean(l->reason);
    fputs("  ", stdout);
    print_source(l);
    const struct {
        const char *word;
        og_str value;
    } places[] = {{" entry ", l->entry}, {" byte ", l->position}, {" ", l->path}};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (places[i].value.n != 0) {
            fputs(places[i].word, stdout);
            print_clean(places[i].value);
        }
    fputs("  ", stdout);
    print_clean(l->detail);
    putchar('\n');
}

static void add_text(og_buf *b, const char *name, og_str value)
{
    if (value.n == 0)
        return;
    og_buf_addf(b, ",\"%s\":", name);
    if (og_utf8_check(value) == value.n)
        og_buf_add_json(b, value);
    else
        og_buf_addz(b, "\"(not UTF-8)\"");
}

static void print_json(const letter *l)
{
    og_buf b;
    char when[48];
    og_buf_init(&b, (size_t)1 << 20);
    time_text(l->time_ms, when);
    og_buf_addf(&b, "{\"partition\":%d,\"offset\":%lld,\"time\":\"%s\"", (int)l->partition,
                (long long)l->offset, when);
    add_text(&b, "reason", l->reason);
    add_text(&b, "detail", l->detail);
    if (l->sourced) {
        og_buf_addz(&b, ",\"source\":{\"topic\":");
        og_buf_add_json(&b, l->topic);
        og_buf_addf(&b, ",\"partition\":%d,\"offset\":%lld}", (int)l->source_partition,
                    (long long)l->source_offset);
    }
    add_text(&b, "fhirServer", l->server);
    add_text(&b, "resource", l->resource);
    add_text(&b, "entry", l->entry);
    add_text(&b, "position", l->position);
    add_text(&b, "path", l->path);
    add_text(&b, "more", l->more);
    og_buf_addf(&b, ",\"size\":%zu,\"cut\":%s}\n", l->value.n, l->bytes.n != 0 ? "true" : "false");
    fwrite(b.p, 1, b.n, stdout);
    og_buf_done(&b);
}

/* Everything that the letter says, then its bytes as they are. */
static void print_whole(const letter *l)
{
    char when[48];
    time_text(l->time_ms, when);
    printf("letter: %d/%lld\ntime: %s\n", (int)l->partition, (long long)l->offset, when);
    fputs("source: ", stdout);
    print_source(l);
    putchar('\n');
    const struct {
        const char *word;
        og_str value;
    } lines[] = {{"reason", l->reason}, {"detail", l->detail},     {"entry", l->entry},
                 {"path", l->path},     {"position", l->position}, {"more inputs", l->more}};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (lines[i].value.n != 0) {
            printf("%s: ", lines[i].word);
            print_clean(lines[i].value);
            putchar('\n');
        }
    if (l->bytes.n != 0)
        printf("bytes: the first %zu of %.*s\n", l->value.n, OG_STR_ARG(l->bytes));
    else
        printf("bytes: %zu\n", l->value.n);
    putchar('\n');
    fwrite(l->value.p, 1, l->value.n, stdout);
    fputs("\n", stdout);
}

/* ---- what is to be sent again ---- */

/* Are the letter's bytes an input that can be sent by itself? */
static bool is_whole(const letter *l)
{
    static const char *const parts[] = {"no-key", "entry"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (og_str_is(l->reason, parts[i]))
            return false;
    return l->bytes.n == 0 && l->more.n == 0 && l->value.n != 0;
}

/* One job for all letters of one message. False: out of memory. */
static bool add_job(letters *x, const letter *l)
{
    char number[64];
    int n = snprintf(number, sizeof number, "/%d/%lld", (int)l->source_partition,
                     (long long)l->source_offset);
    char *name = og_arena_alloc(x->arena, l->topic.n + (size_t)n + 1);
    og_str topic = og_arena_str(x->arena, l->topic), key = {name, l->topic.n + (size_t)n};
    job *j = og_arena_zalloc(x->arena, 1, sizeof *j);
    if (name == NULL || j == NULL || topic.p == NULL)
        return false;
    memcpy(name, l->topic.p, l->topic.n);
    memcpy(name + l->topic.n, number, (size_t)n + 1);
    if (og_table_get(&x->jobs, key) != NULL)
        return true;
    *j = (job){.topic = topic.p,
               .partition = l->source_partition,
               .offset = l->source_offset,
               .letter = {l->partition, l->offset, false},
               .whole = is_whole(l)};
    return og_table_put(&x->jobs, key, j);
}

static bool on_letter(void *ctx, const conn_message *m)
{
    letters *x = ctx;
    letter l = letter_of(m);
    if (!chosen(x, &l))
        return true;
    if (x->limit > 0 && x->found == (uint64_t)x->limit)
        return false;
    x->found++;
    count_reason(x, l.reason);
    if (x->action == SHOW)
        print_whole(&l);
    else if (x->action == LIST && x->json)
        print_json(&l);
    else if (x->action == LIST)
        print_line(&l);
    else if (!l.sourced) {
        fprintf(stderr, "%d/%lld: error: %s\n", (int)l.partition, (long long)l.offset,
                l.server.n != 0 ? "it came from a FHIR server and never stood on a topic"
                                : "the letter does not say where it came from");
        x->lost++;
    } else if (!add_job(x, &l)) {
        fputs("osteoguard dead-letters: error: out of memory\n", stderr);
        x->broken = true;
        return false;
    }
    return true;
}

/* ---- sending again ---- */

static void on_report(void *ctx, conn_verdict verdict, int32_t partition, int64_t offset,
                      const kafka_error *error)
{
    letters *x = ctx;
    (void)partition;
    (void)offset;
    if (verdict == CONN_DONE) {
        x->sent++;
        return;
    }
    x->refused++;
    fprintf(stderr, "osteoguard dead-letters: error: not sent: %s\n",
            error != NULL && error->text != NULL ? error->text : "the brokers do not answer");
}

static void post(letters *x, const job *j, const conn_message *m, og_str key)
{
    char text[24];
    conn_header first = {GATHER_RETRY_HEADER, {text, 0}};
    kafka_record r = {.topic = j->topic,
                      .partition = j->partition,
                      .key = key,
                      .value = m->value,
                      .timestamp_ms = m->origin.timestamp_ms > 0 ? m->origin.timestamp_ms : 0,
                      .headers = &first,
                      .header_count = 1};
    og_error err;
    conn_verdict v;
    first.value.n = (size_t)snprintf(text, sizeof text, "%lld", (long long)j->offset);
    (void)kafka_message_header(m, GATHER_RETRY_HEADER, &first.value); /* not the first time */
    og_error_init(&err);
    while ((v = kafka_sink_send(x->sink, &r, on_report, x, &err)) == CONN_AGAIN)
        uv_run(&x->loop, UV_RUN_ONCE); /* the queue is full: reports make room */
    if (v == CONN_DONE)
        return;
    x->refused++;
    fprintf(stderr, "%s[%d]@%lld: error: not sent: %s\n", j->topic, (int)j->partition,
            (long long)j->offset, err.text);
}

static void say(const job *j, const char *what)
{
    printf("%d/%lld  %s[%d]@%lld  %s\n", (int)j->letter.partition, (long long)j->letter.offset,
           j->topic, (int)j->partition, (long long)j->offset, what);
}

static void on_source(void *ctx, const topic_place *place, const conn_message *m)
{
    letters *x = ctx;
    job *j = place->what;
    j->settled = true;
    say(j, x->dry ? "would be sent again" : "sent again");
    if (!x->dry)
        post(x, j, m, m->key);
}

static void on_own_bytes(void *ctx, const topic_place *place, const conn_message *m)
{
    letters *x = ctx;
    job *j = place->what;
    j->settled = true;
    say(j, x->dry ? "would be sent again from the letter; the source no longer has it"
                  : "sent again from the letter; the source no longer has it");
    if (!x->dry)
        post(x, j, m, (og_str){NULL, 0});
}

static job *job_at(const letters *x, size_t i)
{
    return x->jobs.entries[i].value;
}

/* Messages from their source topics, then from the letters themselves what is missing there.
 * places has room for all jobs. */
static og_status fetch_all(letters *x, topic_place *places, og_error *err)
{
    size_t count = x->jobs.count, n = 0;
    for (size_t i = 0; i < count; i++) {
        job *j = job_at(x, i);
        places[i] = (topic_place){j->topic, j->partition, j->offset, j, false};
    }
    og_status status = topic_reader_fetch(x->reader, places, count, on_source, x, err);
    for (size_t i = 0; i < count; i++) {
        job *j = job_at(x, i);
        if (!j->settled && j->whole)
            places[n++] = (topic_place){x->c->kafka_dead_letters, j->letter.partition,
                                        j->letter.offset, j, false};
    }
    if (status == OG_OK)
        status = topic_reader_fetch(x->reader, places, n, on_own_bytes, x, err);
    if (status != OG_OK)
        return status;
    for (size_t i = 0; i < count; i++)
        if (!job_at(x, i)->settled) {
            x->lost++;
            say(job_at(x, i), "cannot be sent again: the source no longer has it, and the letter "
                              "does not have all of it");
        }
    return OG_OK;
}

static void on_sink_closed(void *ctx)
{
    ((letters *)ctx)->closed = true;
}

static og_status retry(letters *x, og_error *err)
{
    config_map properties;
    kafka_sink_options options = {.ctx = x};
    og_status status = config_kafka(x->c, false, &properties, err);
    if (status != OG_OK)
        return status;
    options.properties = properties.at;
    options.property_count = properties.count;
    status = kafka_sink_new(&x->loop, &options, &x->sink, err);
    if (status != OG_OK)
        return status;
    topic_place *places = calloc(x->jobs.count + 1, sizeof *places);
    status = places != NULL ? fetch_all(x, places, err) : og_fail(err, OG_NOMEM, "out of memory");
    free(places);
    kafka_sink_close(x->sink, FLUSH_MS, on_sink_closed, x);
    while (!x->closed)
        uv_run(&x->loop, UV_RUN_ONCE);
    return status;
}

/* ---- arguments ---- */

static void usage(FILE *to)
{
    fputs(
        "usage: osteoguard dead-letters list  -c FILE [SELECTION] [--json] [--limit N]\n"
        "       osteoguard dead-letters show  -c FILE PARTITION/OFFSET ...\n"
        "       osteoguard dead-letters retry -c FILE SELECTION [--dry-run]\n"
        "\n"
        "What could not be used stands in the dead-letter topic with the reason and its place in\n"
        "the source topic. list names the letters, show prints one with its bytes, retry puts the\n"
        "source's message on its topic once more (same partition, key and time), for when the\n"
        "reason has been mended: a limit was raised, a patient's record has arrived, a rule now\n"
        "asks for it. A letter stays in its topic; a message that fails again makes a new one.\n"
        "\n"
        "SELECTION: any of the following; all that are given must hold\n"
        "  PARTITION/OFFSET ...  these letters, as list names them\n"
        "  --reason REASON       for this reason, for example no-patient\n"
        "  --topic TOPIC         from this source topic\n"
        "  --since TIME          not older than this (ISO 8601)\n"
        "  --all                 all of them (retry wants to be told)\n"
        "\n"
        "  -c, --config FILE     configuration of the daemon\n"
        "  --limit N             at most N letters\n"
        "  --json                one JSON object per line\n"
        "  --dry-run             says what would be sent, sends nothing\n"
        "  --help                this text\n"
        "\n"
        "The bytes of a letter are patient data. Exit status: 0 good; 1 the brokers do not "
        "answer,\n"
        "or a letter is not there or could not be sent again; 2 usage.\n",
        to);
}

static bool parse_named(const char *text, number *ret)
{
    og_str s = og_str_of(text);
    ptrdiff_t slash = og_str_find(s, '/');
    int64_t partition;
    if (slash < 0 || !og_str_int((og_str){s.p, (size_t)slash}, 0, INT32_MAX, &partition) ||
        !og_str_int(og_str_from(s, (size_t)slash + 1), 0, INT64_MAX, &ret->offset))
        return false;
    ret->partition = (int32_t)partition;
    return true;
}

static bool parse_action(const char *text, action *ret)
{
    static const char *const words[] = {"list", "show", "retry"};
    for (int i = LIST; i <= RETRY; i++)
        if (strcmp(text, words[i]) == 0) {
            *ret = (action)i;
            return true;
        }
    return false;
}

/* -1: go on; otherwise the exit status. */
static int read_reason(letters *x, const char *text)
{
    char known[512] = "";
    for (int i = 0; i < GATHER_REASONS; i++) {
        const char *name = gather_reason_name((gather_reason)i);
        size_t n = strlen(known);
        if (strcmp(text, name) == 0) {
            x->reason = text;
            return -1;
        }
        snprintf(known + n, sizeof known - n, "%s%s", i > 0 ? ", " : "", name);
    }
    return cmd_misuse("dead-letters", "there is no reason \"%s\"; they are: %s", text, known);
}

static int read_option(letters *x, int c)
{
    switch (c) {
    case 'c': x->config_path = optarg; return -1;
    case 'r': return read_reason(x, optarg);
    case 't': x->topic = optarg; return -1;
    case 's': return cmd_read_time("dead-letters", "--since", optarg, &x->since_ms);
    case 'l':
        if (!og_str_int(og_str_of(optarg), 1, INT64_MAX, &x->limit))
            return cmd_misuse("dead-letters", "--limit takes a number above 0: %s", optarg);
        return -1;
    case 'j': x->json = true; return -1;
    case 'a': x->all = true; return -1;
    case 'd': x->dry = true; return -1;
    case 'h': usage(stdout); return 0;
    default: return cmd_misuse("dead-letters", "unknown or incomplete option");
    }
}

static int read_arguments(letters *x, int argc, char **argv)
{
    static const struct option names[] = {
        {"config", required_argument, NULL, 'c'}, {"reason", required_argument, NULL, 'r'},
        {"topic", required_argument, NULL, 't'},  {"since", required_argument, NULL, 's'},
        {"limit", required_argument, NULL, 'l'},  {"json", no_argument, NULL, 'j'},
        {"all", no_argument, NULL, 'a'},          {"dry-run", no_argument, NULL, 'd'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
    int c;
    optind = 0;
    opterr = 0;
    while ((c = getopt_long(argc, argv, "c:h", names, NULL)) != -1) {
        int status = read_option(x, c);
        if (status >= 0)
            return status;
    }
    if (optind >= argc)
        return cmd_misuse("dead-letters", "list, show or retry is wanted");
    if (!parse_action(argv[optind], &x->action))
        return cmd_misuse("dead-letters", "list, show or retry is wanted: %s", argv[optind]);
    for (int i = optind + 1; i < argc; i++)
        if (x->named_count == MAX_NAMED)
            return cmd_misuse("dead-letters",
                              "too many letters are named; select them by --reason or --topic");
        else if (!parse_named(argv[i], &x->named[x->named_count++]))
            return cmd_misuse("dead-letters", "a letter is named PARTITION/OFFSET, like 0/12: %s",
                              argv[i]);
    if (x->config_path == NULL)
        return cmd_misuse("dead-letters", "a configuration is needed (-c FILE)");
    if (x->action == SHOW && x->named_count == 0)
        return cmd_misuse("dead-letters", "show which? name it PARTITION/OFFSET");
    if (x->action == RETRY && x->named_count == 0 && x->reason == NULL && x->topic == NULL &&
        x->since_ms == 0 && !x->all)
        return cmd_misuse("dead-letters", "retry which? select some, or say --all");
    return -1;
}

/* ---- the command ---- */

static og_status work(letters *x, og_error *err)
{
    config_map properties;
    og_status status = config_kafka(x->c, true, &properties, err);
    if (status == OG_OK)
        status = topic_reader_new(&x->loop, properties.at, properties.count, &x->reader, err);
    if (status != OG_OK)
        return status;
    status = topic_reader_scan(x->reader, x->c->kafka_dead_letters, on_letter, x, err);
    if (status == OG_OK && x->broken)
        status = OG_NOMEM;
    if (status == OG_OK && x->action == RETRY)
        status = retry(x, err);
    topic_reader_free(x->reader);
    return status;
}

static void summary(const letters *x)
{
    if (x->action == SHOW || x->json)
        return;
    fprintf(stderr, "%llu dead letter%s", (unsigned long long)x->found, x->found == 1 ? "" : "s");
    for (size_t i = 0; i < x->tally_count; i++)
        fprintf(stderr, "%s %s %llu", i == 0 ? ":" : ",", x->tallies[i].reason,
                (unsigned long long)x->tallies[i].count);
    if (x->action == RETRY)
        fprintf(stderr, "; of %u messages %llu sent again, %llu lost, %llu refused", x->jobs.count,
                (unsigned long long)x->sent, (unsigned long long)x->lost,
                (unsigned long long)x->refused);
    fputc('\n', stderr);
}

static int missing(const letters *x)
{
    int n = 0;
    for (size_t i = 0; i < x->named_count; i++)
        if (!x->named[i].seen) {
            fprintf(stderr, "%d/%lld: error: there is no such letter in %s\n",
                    (int)x->named[i].partition, (long long)x->named[i].offset,
                    x->c->kafka_dead_letters);
            n++;
        }
    return n;
}

int cmd_letters(int argc, char **argv)
{
    letters *x = calloc(1, sizeof *x);
    og_report report = {.fn = cmd_print_problem}, warn = {.fn = cmd_print_warning};
    og_error err;
    if (x == NULL)
        return 1;
    og_error_init(&err);
    int status = read_arguments(x, argc, argv);
    if (status >= 0) {
        free(x);
        return status;
    }
    status = 1;
    uv_loop_init(&x->loop);
    x->arena = og_arena_new((size_t)1 << 30);
    if (x->arena == NULL || config_load(x->config_path, &x->c, &report, &warn) != OG_OK)
        goto out;
    og_table_init(&x->jobs, x->arena);
    if (work(x, &err) == OG_OK) {
        summary(x);
        status = missing(x) != 0 || x->lost != 0 || x->refused != 0;
    } else {
        cmd_print_problem(NULL, &err);
    }
out:
    uv_run(&x->loop, UV_RUN_DEFAULT);
    uv_loop_close(&x->loop);
    og_arena_free(x->arena);
    config_free(x->c);
    free(x);
    return status;
}
