/* Commands on topics, over an embedded broker: what dead-letters lists, shows and sends again, what
 * report counts, and what replay sends when it goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/cmd_letters.h"
#include "daemon/cmd_replay.h"
#include "daemon/cmd_report.h"
#include "daemon/file.h"
#include "daemon/gather.h"
#include "daemon/topic_reader.h"
#include "mock_kafka.h"

#define LETTERS "osteoguard.dead-letters"
#define BUNDLE  "{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":[]}"

typedef struct stage {
    mock_kafka kafka;
    char dir[64], config[96], out[96], err[96];
} stage;

static void put_letter(stage *s, int32_t partition, const char *value, const char *reason,
                       const char *topic, const char *at, const char *offset, const char *bytes)
{
    rd_kafka_headers_t *h = rd_kafka_headers_new(8);
    const char *const pairs[][2] = {{"reason", reason},        {"detail", "why\nnot"},
                                    {"source-topic", topic},   {"source-partition", at},
                                    {"source-offset", offset}, {"bytes", bytes}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        if (pairs[i][1] != NULL)
            rd_kafka_header_add(h, pairs[i][0], -1, pairs[i][1], -1);
    assert_int_equal(rd_kafka_producev(s->kafka.rk, RD_KAFKA_V_TOPIC(LETTERS),
                                       RD_KAFKA_V_PARTITION(partition),
                                       RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                       RD_KAFKA_V_VALUE((void *)(uintptr_t)value, strlen(value)),
                                       RD_KAFKA_V_HEADERS(h), RD_KAFKA_V_END),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(rd_kafka_flush(s->kafka.rk, 30000), RD_KAFKA_RESP_ERR_NO_ERROR);
}

/* Two messages of one Bundle, one that the source no longer has, a cut one, and one without a
 * source. */
static void fill(stage *s)
{
    mock_kafka_topic(&s->kafka, LETTERS, 2);
    mock_kafka_topic(&s->kafka, "fhir.bundle", 2);
    mock_kafka_put(&s->kafka, "fhir.bundle", 1, "first", "{}", 2);
    mock_kafka_put(&s->kafka, "fhir.bundle", 1, "second", BUNDLE, strlen(BUNDLE));
    mock_kafka_put(&s->kafka, "fhir.bundle", 1, "third", "{}", 2);
    put_letter(s, 0, "{\"a\":1}", "no-patient", "fhir.bundle", "1", "1", NULL);
    put_letter(s, 0, "{\"b\":2}", "no-patient", "fhir.bundle", "1", "1", NULL);
    put_letter(s, 0, "{\"c\":3}", "invalid", "fhir.bundle", "0", "77", NULL);
    put_letter(s, 1, "{\"d\":", "too-large", "fhir.gone", "0", "5", "4711");
    put_letter(s, 1, "{\"e\":5}", "syntax", NULL, NULL, NULL, NULL);
}

static int begin(void **state)
{
    char text[512];
    stage *s = calloc(1, sizeof *s);
    if (s == NULL)
        return 1;
    strcpy(s->dir, "/tmp/og-letters-XXXXXX");
    if (mkdtemp(s->dir) == NULL)
        return 1;
    mock_kafka_start(&s->kafka);
    fill(s);
    snprintf(s->config, sizeof s->config, "%s/c.yaml", s->dir);
    snprintf(s->out, sizeof s->out, "%s/out", s->dir);
    snprintf(s->err, sizeof s->err, "%s/err", s->dir);
    snprintf(text, sizeof text,
             "kafka:\n  bootstrap: %s\n  consumer_properties: {fetch.wait.max.ms: 20}\n"
             "endpoints: {ehr: {url: \"http://127.0.0.1:1/\"}}\n",
             s->kafka.bootstrap);
    *state = s;
    return file_write(s->config, og_str_of(text), NULL) != OG_OK;
}

static int end(void **state)
{
    stage *s = *state;
    mock_kafka_stop(&s->kafka);
    int status = file_remove_tree(s->dir, NULL) != OG_OK;
    free(s);
    return status;
}

static int redirect(int fd, const char *path)
{
    int saved = dup(fd), to = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    assert_true(saved >= 0 && to >= 0);
    dup2(to, fd);
    close(to);
    return saved;
}

/* Runs the command with its output in files. */
static int run_as(stage *s, const char *name, va_list ap)
{
    char *argv[16];
    int argc = 0;
    argv[argc++] = (char *)(uintptr_t)name;
    while (argc < 15 && (argv[argc] = va_arg(ap, char *)) != NULL)
        argc++;
    argv[argc] = NULL;
    fflush(NULL);
    int out = redirect(1, s->out), err = redirect(2, s->err);
    int status = strcmp(name, "report") == 0   ? cmd_report(argc, argv)
                 : strcmp(name, "replay") == 0 ? cmd_replay(argc, argv)
                                               : cmd_letters(argc, argv);
    fflush(NULL);
    dup2(out, 1);
    dup2(err, 2);
    close(out);
    close(err);
    return status;
}

static int run(stage *s, ...)
{
    va_list ap;
    va_start(ap, s);
    int status = run_as(s, "dead-letters", ap);
    va_end(ap);
    return status;
}

static int run_report(stage *s, ...)
{
    va_list ap;
    va_start(ap, s);
    int status = run_as(s, "report", ap);
    va_end(ap);
    return status;
}

static int run_replay(stage *s, ...)
{
    va_list ap;
    va_start(ap, s);
    int status = run_as(s, "replay", ap);
    va_end(ap);
    return status;
}

static const char *contents(const char *path)
{
    static char text[65536];
    og_buf b;
    og_buf_init(&b, sizeof text - 1);
    assert_int_equal(file_read(path, sizeof text - 1, &b, NULL), OG_OK);
    memcpy(text, b.p != NULL ? b.p : "", b.n);
    text[b.n] = '\0';
    og_buf_done(&b);
    return text;
}

static void says(const char *path, const char *part)
{
    const char *text = contents(path);
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" is not in\n%s", part, text);
}

static void silent_on(const char *path, const char *part)
{
    const char *text = contents(path);
    if (strstr(text, part) != NULL)
        fail_msg("\"%s\" is in\n%s", part, text);
}

/* ---- what the source topic holds ---- */

typedef struct seen {
    char text[4096];
    int64_t times[16];
    size_t count;
} seen;

static bool note(void *ctx, const conn_message *m)
{
    seen *x = ctx;
    size_t n = strlen(x->text);
    og_str first;
    if (!kafka_message_header(m, GATHER_RETRY_HEADER, &first))
        first = (og_str){NULL, 0};
    snprintf(x->text + n, sizeof x->text - n, "%d:%.*s=%.*s\n%.*s%s", (int)m->origin.partition,
             OG_STR_ARG(m->key), OG_STR_ARG(m->value), OG_STR_ARG(first),
             first.n > 0 ? " was its offset\n" : "");
    assert_true(x->count < 16);
    x->times[x->count++] = m->origin.timestamp_ms;
    return true;
}

static void read_source(stage *s, seen *ret)
{
    uv_loop_t loop;
    topic_reader *r;
    og_error err;
    kafka_property bootstrap = {"bootstrap.servers", s->kafka.bootstrap};
    og_error_init(&err);
    memset(ret, 0, sizeof *ret);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(topic_reader_new(&loop, &bootstrap, 1, &r, &err), OG_OK);
    if (topic_reader_scan(r, "fhir.bundle", note, ret, &err) != OG_OK)
        fail_msg("%s", err.text);
    topic_reader_free(r);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* ---- tests ---- */

static void letters_are_listed(void **state)
{
    stage *s = *state;
    assert_int_equal(run(s, "list", "-c", s->config, NULL), 0);
    says(s->out, "0/0  ");
    says(s->out, "no-patient  fhir.bundle[1]@1  why not\n");
    says(s->out, "syntax  no source");
    says(s->err, "5 dead letters: ");
    says(s->err, "no-patient 2");
    assert_int_equal(run(s, "list", "-c", s->config, "--json", "--reason", "too-large", NULL), 0);
    says(s->out, "\"reason\":\"too-large\",\"detail\":\"why\\nnot\",\"source\":{\"topic\":\"fhir."
                 "gone\",\"partition\":0,\"offset\":5},\"size\":5,\"cut\":true}");
    silent_on(s->out, "no-patient");
    assert_int_equal(run(s, "list", "-c", s->config, "--limit", "2", NULL), 0);
    says(s->err, "2 dead letters");
    assert_int_equal(run(s, "list", "-c", s->config, "--since", "2999-01-01", NULL), 0);
    says(s->err, "0 dead letters\n");
}

static void a_letter_is_shown_whole(void **state)
{
    stage *s = *state;
    assert_int_equal(run(s, "show", "-c", s->config, "1/0", NULL), 0);
    says(s->out, "letter: 1/0\n");
    says(s->out, "source: fhir.gone[0]@5\nreason: too-large\ndetail: why not\n");
    says(s->out, "bytes: the first 5 of 4711\n\n{\"d\":\n");
    assert_int_equal(run(s, "show", "-c", s->config, "1/9", NULL), 1);
    says(s->err, "1/9: error: there is no such letter in " LETTERS);
}

static void a_message_is_sent_once_for_all_its_letters(void **state)
{
    stage *s = *state;
    seen before, after;
    read_source(s, &before);
    assert_int_equal(before.count, 3);
    assert_int_equal(run(s, "retry", "-c", s->config, "--reason", "no-patient", "--dry-run", NULL),
                     0);
    says(s->out, "fhir.bundle[1]@1  would be sent again\n");
    read_source(s, &after);
    assert_int_equal(after.count, 3);
    assert_int_equal(run(s, "retry", "-c", s->config, "--reason", "no-patient", NULL), 0);
    says(s->out, "0/0  fhir.bundle[1]@1  sent again\n");
    says(s->err, "2 dead letters: no-patient 2; of 1 messages 1 sent again, 0 lost, 0 refused\n");
    read_source(s, &after);
    assert_int_equal(after.count, 4);
    assert_string_equal(after.text + strlen(before.text),
                        "1:second=" BUNDLE "\n1 was its offset\n");
    assert_int_equal(after.times[3], before.times[1]); /* not newer than it is */
}

static void what_the_source_lost_comes_from_the_letter(void **state)
{
    stage *s = *state;
    seen after;
    assert_int_equal(run(s, "retry", "-c", s->config, "--all", NULL), 1);
    says(s->out, "fhir.bundle[0]@77  sent again from the letter");
    says(s->out, "1/0  fhir.gone[0]@5  cannot be sent again");
    says(s->err, "1/1: error: the letter does not say where it came from");
    says(s->err, "of 3 messages 2 sent again, 2 lost, 0 refused");
    read_source(s, &after);
    if (strstr(after.text, "0:={\"c\":3}\n") == NULL)
        fail_msg("%s", after.text);
}

static void misuse_is_told(void **state)
{
    stage *s = *state;
    assert_int_equal(run(s, "retry", "-c", s->config, NULL), 2);
    says(s->err, "say --all");
    assert_int_equal(run(s, "show", "-c", s->config, NULL), 2);
    assert_int_equal(run(s, "show", "-c", s->config, "12", NULL), 2);
    says(s->err, "PARTITION/OFFSET, like 0/12: 12");
    assert_int_equal(run(s, "list", "-c", s->config, "--reason", "no-patients", NULL), 2);
    says(s->err, "there is no reason \"no-patients\"; they are: syntax, ");
    says(s->err, ", envelope");
    assert_int_equal(run(s, "burn", "-c", s->config, NULL), 2);
    assert_int_equal(run(s, "list", NULL), 2);
    assert_int_equal(run(s, "list", "-c", s->config, "--limit", "0", NULL), 2);
    assert_int_equal(run(s, "list", "-c", "/nowhere.yaml", NULL), 1);
}

#define ALERT                                                                                      \
    "{\"id\":\"00000000-0000-5000-8000-000000000001\",\"rule\":\"C1\",\"slot\":\"\",\"state\":"    \
    "\"active\",\"revision\":1,\"material\":\"00000000000000aa\",\"indicator\":\"warning\","       \
    "\"opened\":1772352000000,\"changed\":1772352000000,\"resolved\":0,\"uuid\":"                  \
    "\"00000000-0000-5000-8000-000000000002\",\"digest\":\"\",\"feedback\":{\"answer\":"           \
    "\"overridden\",\"shown\":1772352000000,\"at\":1772355600000,\"until\":1772442000000,\"who\":" \
    "\"ehr\",\"system\":\"s\",\"code\":\"limited-time\"},\"card\":{\"summary\":\"Anna\"}}"
#define ALERT_KEY "default|anna|00000000-0000-5000-8000-000000000001"

static void alerts_are_reported(void **state)
{
    stage *s = *state;
    mock_kafka_topic(&s->kafka, "osteoguard.alerts", 3);
    mock_kafka_put(&s->kafka, "osteoguard.alerts", 1, ALERT_KEY, ALERT, strlen(ALERT));
    assert_int_equal(run_report(s, "-c", s->config, "--json", "--since", "2026-03-01", NULL), 0);
    says(s->out,
         "\"rules\":[{\"rule\":\"C1\",\"fired\":1,\"inCalls\":0,\"accepted\":0,\"overridden\":1,");
    says(s->out, "\"reasons\":{\"limited-time\":1},\"timeToAction\":{\"count\":1,"
                 "\"medianSeconds\":3600,\"p90Seconds\":3600}}");
    silent_on(s->out, "nna");
    assert_int_equal(run_report(s, "-c", s->config, "--until", "2026-03-01T00:00:00Z", NULL), 0);
    says(s->out, "0 alerts of 0 rules came up until 2026-03-01T00:00:00+00:00\n");
    assert_int_equal(run_report(s, NULL), 2);
    says(s->err, "a configuration is needed");
    assert_int_equal(run_report(s, "-c", s->config, "--since", "soon", NULL), 2);
    assert_int_equal(
        run_report(s, "-c", s->config, "--since", "2026-03-02", "--until", "2026-03-01", NULL), 2);
}

/* What was appended to a file that had been sent is sent as well; one that is another now is not
 * taken for done. */
static void replay_goes_on(void **state)
{
    static const char one[] = "{\"resourceType\":\"Patient\",\"id\":\"p1\"}\n";
    static const char two[] = "{\"resourceType\":\"Patient\",\"id\":\"p1\"}\n"
                              "{\"resourceType\":\"Patient\",\"id\":\"p2\"}\n";
    stage *s = *state;
    char file[96], place[96];
    snprintf(file, sizeof file, "%s/r.ndjson", s->dir);
    snprintf(place, sizeof place, "%s/state", s->dir);
    assert_int_equal(file_write(file, og_str_of(one), NULL), OG_OK);
    assert_int_equal(run_replay(s, "-c", s->config, "--resume", place, file, NULL), 0);
    says(s->err, "1 values sent from 1 file");
    assert_int_equal(run_replay(s, "-c", s->config, "--resume", place, file, NULL), 0);
    says(s->err, "0 values sent from 1 file");
    assert_int_equal(file_write(file, og_str_of(two), NULL), OG_OK);
    assert_int_equal(run_replay(s, "-c", s->config, "--resume", place, file, NULL), 0);
    says(s->err, "1 values sent from 1 file");
    assert_int_equal(run_replay(s, "-c", s->config, "--resume", place, file, NULL), 0);
    says(s->err, "0 values sent from 1 file");
    assert_int_equal(file_write(file, og_str_of(one), NULL), OG_OK);
    assert_int_equal(run_replay(s, "-c", s->config, "--resume", place, file, NULL), 1);
    says(s->err, "has changed since it was sent");
    assert_int_equal(unlink(file),
                     0); /* it cannot be read now: what it has then is not forgotten */
    assert_int_equal(file_write(place, OG_STR("{}"), NULL), OG_OK);
    assert_int_equal(run_replay(s, "-c", s->config, "--resume", place, file, NULL), 1);
    assert_int_equal(file_write(file, og_str_of(one), NULL), OG_OK);
    assert_int_equal(run_replay(s, "-c", s->config, "--resume", place, file, NULL), 0);
    says(s->err, "1 values sent from 1 file");
}

static void a_missing_topic_is_told(void **state)
{
    stage *s = *state;
    char text[512];
    snprintf(text, sizeof text,
             "kafka: {bootstrap: \"%s\", dead_letters_topic: none.such, properties: "
             "{allow.auto.create.topics: \"false\"}}\n"
             "endpoints: {ehr: {url: \"http://127.0.0.1:1/\"}}\n",
             s->kafka.bootstrap);
    assert_int_equal(file_write(s->config, og_str_of(text), NULL), OG_OK);
    assert_int_equal(run(s, "list", "-c", s->config, NULL), 1);
    says(s->err, "none.such");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(letters_are_listed, begin, end),
        cmocka_unit_test_setup_teardown(a_letter_is_shown_whole, begin, end),
        cmocka_unit_test_setup_teardown(a_message_is_sent_once_for_all_its_letters, begin, end),
        cmocka_unit_test_setup_teardown(what_the_source_lost_comes_from_the_letter, begin, end),
        cmocka_unit_test_setup_teardown(misuse_is_told, begin, end),
        cmocka_unit_test_setup_teardown(alerts_are_reported, begin, end),
        cmocka_unit_test_setup_teardown(replay_goes_on, begin, end),
        cmocka_unit_test_setup_teardown(a_missing_topic_is_told, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
