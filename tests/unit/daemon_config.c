/* The configuration: every kind of error with its place, the environment over the file, and the
 * reference file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/config.h"
#include "daemon/file.h"

#define MINIMAL "endpoints: {ehr: {url: \"http://localhost:1/cards\"}}\n"

typedef struct heard {
    char text[4096];
    unsigned count;
} heard;

static void hear(void *ctx, const og_error *err)
{
    heard *h = ctx;
    char line[1400];
    og_error_format(err, line, sizeof line);
    h->count++;
    if (strlen(h->text) + strlen(line) + 2 < sizeof h->text) {
        strcat(h->text, line);
        strcat(h->text, "\n");
    }
}

static og_status parse_with(const char *yaml, char *const *environment, config **ret, heard *h,
                            heard *warned)
{
    og_report report = {.fn = hear, .ctx = h}, warn = {.fn = hear, .ctx = warned};
    memset(h, 0, sizeof *h);
    if (warned != NULL)
        memset(warned, 0, sizeof *warned);
    return config_parse(og_str_of(yaml), "test.yaml", environment, ret, &report,
                        warned != NULL ? &warn : NULL);
}

static config *good(const char *yaml, char *const *environment)
{
    config *c = NULL;
    heard h;
    if (parse_with(yaml, environment, &c, &h, NULL) != OG_OK)
        fail_msg("%s", h.text);
    assert_int_equal(h.count, 0);
    return c;
}

static void an_empty_file_gives_the_defaults(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "# nothing\n", "kafka:\n",
                                        "kafka: ~\nsite: {tenant: }\n", "---\n...\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        config *c = good(texts[i], NULL);
        assert_string_equal(c->tenant, "default");
        assert_string_equal(c->kafka_bootstrap, "localhost:9092");
        assert_int_equal(c->kafka_sources.count, 9);
        assert_string_equal(c->kafka_sources.at[8], "fhir.bundle");
        assert_int_equal(c->kafka_partitions, 8);
        assert_true(c->kafka_create_topics);
        assert_int_equal(c->store_sync, CONFIG_SYNC_INTERVAL);
        assert_int_equal(c->log_level, LOG_LEVEL_INFO);
        assert_string_equal(c->http_host, "127.0.0.1");
        assert_int_equal(c->http_port, 8080);
        assert_int_equal(c->endpoint_count, 0);
        assert_string_equal(c->clock_start, "");
        assert_false(c->clock_simulated);
        assert_int_equal(c->content_disabled.count, 0);
        config_free(c);
    }
}

static void values_are_read(void **state)
{
    (void)state;
    config *c = good("site: {tenant: \"42\", timezone: Europe/Berlin, source_epoch: 3}\n"
                     "kafka:\n"
                     "  sources: [a.b, \"c\"]\n"
                     "  create_topics: false\n"
                     "  properties: {security.protocol: PLAINTEXT, fetch.wait.max.ms: 7}\n"
                     "store: {sync: batch}\n"
                     "content: {disabled: [D3, A7], parameters: {Overdue Warn: 28 days}}\n"
                     "http: {listen: \"[::1]:0\"}\n"
                     "clock: {start: \"2026-02-28T23:59:40+01:00\", speed: 2.5}\n"
                     "endpoints:\n"
                     "  one: {url: \"http://a/x\", timeout_ms: 7, fhir_server: \"https://f\"}\n"
                     "  two: {url: \"https://b/y\", max_in_flight: 1, worklist: true}\n",
                     NULL);
    assert_string_equal(c->tenant, "42");
    assert_int_equal(c->source_epoch, 3);
    assert_int_equal(c->kafka_sources.count, 2);
    assert_false(c->kafka_create_topics);
    assert_int_equal(c->kafka_properties.count, 2);
    assert_string_equal(c->kafka_properties.at[1].value, "7");
    assert_int_equal(c->store_sync, CONFIG_SYNC_BATCH);
    assert_string_equal(c->content_disabled.at[1], "A7");
    assert_string_equal(c->content_parameters.at[0].name, "Overdue Warn");
    assert_string_equal(c->content_parameters.at[0].value, "28 days");
    assert_string_equal(c->http_host, "::1");
    assert_int_equal(c->http_port, 0);
    assert_true(c->clock_simulated);
    assert_int_equal(c->clock_start_ms, 1772319580000);
    assert_int_equal(c->clock_speed_per_1000, 2500);
    assert_int_equal(c->endpoint_count, 2);
    assert_string_equal(c->endpoints[0].name, "one");
    assert_int_equal(c->endpoints[0].timeout_ms, 7);
    assert_int_equal(c->endpoints[0].max_in_flight, 8);
    assert_false(c->endpoints[0].worklist);
    assert_true(c->endpoints[1].worklist);
    assert_string_equal(c->endpoints[1].url, "https://b/y");
    assert_int_equal(c->endpoints[1].timeout_ms, 30000);
    config_free(c);
}

typedef struct bad {
    const char *yaml, *message;
} bad;

static const bad bads[] = {
    {"kafka:\n  bootstap: x\n", "test.yaml:2:3: error: unknown key kafka.bootstap"},
    {"endpoints:\n  ehr-1: {url: \"http://x\"}\n  Ehr_1: {url: \"http://y\"}\n",
     "test.yaml:3:3: error: ehr-1 and Ehr_1 would have the same variables in the environment"},
    {"kafka: {bootstrap: x}\n---\nkafka: {bootstrap: y}\n",
     "test.yaml:3:1: error: a second YAML document: there must be one only"},
    {"kafkka: {}\n", "test.yaml:1:1: error: unknown section kafkka"},
    {"endpoints:\n  ehr:\n    uri: x\n", "test.yaml:3:5: error: unknown key endpoints.ehr.uri"},
    {"site:\n  tenant: a\n  tenant: b\n", "test.yaml:3:3: error: tenant stands here twice"},
    {"site: {}\nsite: {}\n", "test.yaml:2:1: error: site stands here twice"},
    {"kafka: {properties: {a: 1, a: 2}}\n",
     "test.yaml:1:28: error: kafka.properties: a stands here twice"},
    {"kafka:\n  partitions: many\n",
     "test.yaml:2:15: error: kafka.partitions: \"many\" is not a whole number"},
    {"kafka:\n  partitions: 1.5\n", "is not a whole number"},
    {"kafka:\n  partitions: 99999999999999999999\n", "is not a whole number"},
    {"kafka:\n  partitions: 0\n",
     "test.yaml:2:15: error: kafka.partitions: 0 is not between 1 and 1024"},
    {"kafka:\n  create_topics: yes\n",
     "test.yaml:2:18: error: kafka.create_topics: \"yes\" is neither true nor false"},
    {"store:\n  sync: never\n",
     "test.yaml:2:9: error: store.sync: \"never\" is not one of interval|batch"},
    {"kafka:\n  sources: fhir.x\n", "test.yaml:2:12: error: kafka.sources: expected a list"},
    {"kafka:\n  sources: [a, [b]]\n", "test.yaml:2:16: error: kafka.sources: expected a text"},
    {"kafka:\n  sources: {a: b}\n", "kafka.sources: expected a single value"},
    {"kafka:\n  bootstrap: [a]\n", "kafka.bootstrap: expected a single value"},
    {"kafka:\n  properties: [a]\n", "kafka.properties: expected"},
    {"kafka: [a]\n", "test.yaml:1:8: error: kafka: expected key: value pairs"},
    {"- a\n", "test.yaml:1:1: error: the configuration: expected key: value pairs"},
    {"a: [\n", "test.yaml:2:1: error: "},
    {"a: b: c\n", "test.yaml:1:5: error: "},
    {"\tkafka: x\n", "test.yaml:1:1: error: "},
    {"site: {tenant: \"a\\0b\"}\n", "a NUL character is not allowed"},
    {"endpoints: {kafka: {url: \"http://x\"}}\n", "an endpoint cannot be called kafka"},
    {"endpoints: {\"a b\": {url: \"http://x\"}}\n", "\"a b\" cannot name an endpoint"},
    {"endpoints: {ehr: {}}\n", "endpoints.ehr.url: \"\" is not an http or https URL"},
    {"endpoints: {ehr: {url: \"ftp://x\"}}\n", "is not an http or https URL"},
    {"endpoints: {ehr: {url: \"http://x\", ca_file: /no/such}}\n",
     "endpoints.ehr: cannot read /no/such"},
    {"endpoints: {ehr: {url: \"http://x\", key_file: /dev/null}}\n", "key_file without cert_file"},
    {"clients: {c: {issuer: i, audiences: [\"/\"], jwks_file: /dev/null}}\n",
     "clients.c: an audience is empty"},
    {"clients: {c: {issuer: i, audiences: [a], jwks_url: \"http://127.0.0.1.example.org/k\"}}\n",
     "clients.c.jwks_url: \"http://127.0.0.1.example.org/k\" is not an https URL"},
    {"clients: {c: {issuer: i, audiences: [a], jwks_file: /dev/null, fhir_servers: [f]}}\n",
     "clients.c: there is no f among the fhir_servers"},
    {"fhir_servers: {f: {url: \"http://ehr/fhir\"}}\n",
     "fhir_servers.f.url: \"http://ehr/fhir\" is not an https URL"},
    {"fhir_servers: {f: {url: \"https://ehr/fhir\", client_id: x}}\n",
     "fhir_servers.f: client_id and private_jwk_file belong together"},
    {"fhir_servers: {f: {url: \"https://e/f\", backfill: true}}\n",
     "fhir_servers.f: backfill needs client_id"},
    {"fhir_servers: {f: {url: \"https://e/f\", backfill: true, client_id: x, sender: lab}}\n",
     "fhir_servers.f: backfill: no topic of kafka.sources has the sender \"lab\""},
    {"fhir_servers: {f: {url: \"http://127.0.0.1:1@evil.example/f\"}}\n",
     "fhir_servers.f.url: \"http://127.0.0.1:1@evil.example/f\" is not an https URL"},
    {"fhir_servers: {f: {url: \"https://e/f?x=1\"}}\n",
     "fhir_servers.f.url: \"https://e/f?x=1\" has more than a base URL has"},
    {"hooks: {deadline_ms: 300}\nfhir_servers: {f: {url: \"https://e/f\"}}\n",
     "hooks.fetch_budget_ms is not smaller than hooks.deadline_ms"},
    {"hooks: {listen: \"127.0.0.1:0\", instance_url: \"http://me:8081\"}\n",
     "hooks.instance_url: \"http://me:8081\" is not an https URL"},
    {"hooks: {listen: \"127.0.0.1:0\", instance_url: \"https://me?x\"}\n",
     "hooks.instance_url: \"https://me?x\" has more than a base URL has"},
    {"hooks: {instance_url: \"https://me\"}\n", "hooks: instance_url needs listen"},
    {"hooks: {listen: \"127.0.0.1:0\", instance_url: \"https://me\"}\n",
     "hooks: instance_url needs instance_secret_file"},
    {"hooks: {instance_secret_file: /dev/null}\n", "instance_secret_file without instance_url"},
    {"hooks: {listen: \"127.0.0.1:0\", instance_url: \"https://me\", instance_secret_file: /no}\n",
     "hooks.instance_secret_file: cannot read /no"},
    {"hooks: {listen: \"127.0.0.1:0\", instance_url: \"https://me\", instance_secret_file: "
     "/dev/null}\n",
     "hooks.instance_secret_file: /dev/null has fewer than 32 bytes"},
    {"hooks: {listen: \"127.0.0.1:0\", instance_url: \"https://me\", deadline_ms: 800}\n",
     "hooks: forward_budget_ms and fetch_budget_ms together are not smaller than deadline_ms"},
    {"fhir_servers: {f: {url: \"https://e/f\", token_url: \"http://e/t\"}}\n",
     "fhir_servers.f.token_url: \"http://e/t\" is not an https URL"},
    {"fhir_servers: {f: {url: \"https://e/f\"}, g: {url: \"https://E:443/f/\"}}\n",
     "fhir_servers.g: fhir_servers.f has the same url"},
    {"endpoints: {ehr: {url: \"http://x\", task: true}}\n",
     "endpoints.ehr: flag and task need format fhir"},
    {"site: {tenant: \"a|b\"}\n", "site.tenant"},
    {"kafka: {sources: []}\n", "kafka.sources: at least one topic is needed"},
    {"kafka: {sources: [a, b, a]}\n", "kafka.sources: a is there twice"},
    {"kafka: {sources: [\"a b\"]}\n", "kafka.sources: \"a b\" cannot be a topic's name"},
    {"kafka: {sources: [\"\"]}\n", "kafka.sources: \"\" cannot be a topic's name"},
    {"kafka: {records_topic: \"x!\"}\n", "kafka: \"x!\" cannot be a topic's name"},
    {"kafka: {alerts_topic: \"..\"}\n", "kafka: \"..\" cannot be a topic's name"},
    {"store: {dir: \"\"}\n", "store.dir: must not be empty"},
    {"http: {listen: \"x:1\"}\nhooks: {listen: \"x:1\"}\n",
     "hooks.listen: x:1 is http.listen already"},
    {"endpoints: {e: {url: \"http://x\", bearer_token_file: /tmp}}\n",
     "endpoints.e: /tmp is a directory"},
    {"kafka: {envelopes: {none: payload}}\n", "kafka.envelopes: none is none of kafka.sources"},
    {"kafka: {sources: [a], envelopes: {a: data..x}}\n", "\"data..x\" a member in the path"},
    {"kafka: {sources: [a], envelopes: {a: \"base64:\"}}\n", "\"base64:\" names no member"},
    {"kafka: {silence_minutes: {none: 5}}\n",
     "kafka.silence_minutes: none is none of kafka.sources"},
    {"kafka: {sources: [a], silence_minutes: {a: 0}}\n",
     "kafka.silence_minutes: a: \"0\" is not between 1 and 527040"},
    {"kafka: {sources: [a], silence_minutes: {a: 1h}}\n",
     "kafka.silence_minutes: a: \"1h\" is not between 1 and 527040"},
    {"kafka: {sources: [a], silence_minutes: {a: 1}}\nlimits: {freshness_ms: 0}\n",
     "kafka.silence_minutes: with limits.freshness_ms: 0 nobody asks for it"},
    {"kafka: {senders: {none: lab}}\n", "kafka.senders: none is none of kafka.sources"},
    {"kafka: {sources: [a], senders: {a: \"lab~\"}}\n", "\"lab~\" must have 1 to 8"},
    {"kafka: {sources: [a], senders: {a: laboratory}}\n", "\"laboratory\" must have 1 to 8"},
    {"endpoints: {ehr: {url: \"http://x\", sender: lab}}\n",
     "endpoints.ehr.sender: no topic in kafka.senders has the sender \"lab\""},
    {"hooks: {sender: lab}\n", "hooks.sender: no topic in kafka.senders has the sender \"lab\""},
    {"kafka: {records_topic: x, alerts_topic: x}\n", "topic x has two roles"},
    {"kafka: {records_topic: fhir.patient}\n", "topic fhir.patient is a source and one of ours"},
    {"http: {listen: 8080}\n", "http.listen: \"8080\" is not address:port"},
    {"http: {listen: \"x:99999\"}\n", "is not address:port"},
    {"clock: {start: yesterday}\n", "clock.start: \"yesterday\" is not an instant"},
    {"clock: {start: \"2026-01-01T00:00:00\"}\n", "is not an instant with offset"},
    {"clock: {speed: fast}\n", "clock.speed: \"fast\" is not a number"},
    {"clock: {speed: -1}\n", "clock.speed"},
    {"delivery: {backoff_min_ms: 5000, backoff_max_ms: 10}\n", "backoff_max_ms is smaller"},
    {"limits: {message_bytes: 2000, record_bytes: 3000}\n", "record_bytes is larger"},
    {"kafka: {properties: {no.such.property: 1}}\n", "no.such.property"},
    {"kafka: {consumer_properties: {partition.assignment.strategy: cooperative-sticky}}\n",
     "partition.assignment.strategy"},
};

static void every_mistake_is_told_with_its_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bads / sizeof bads[0]; i++) {
        config *c = NULL;
        heard h;
        assert_int_not_equal(parse_with(bads[i].yaml, NULL, &c, &h, NULL), OG_OK);
        if (strstr(h.text, bads[i].message) == NULL)
            fail_msg("%s gives\n%sand not %s", bads[i].yaml, h.text, bads[i].message);
        assert_null(c);
    }
}

static void all_mistakes_are_told_at_once(void **state)
{
    config *c = NULL;
    heard h;
    (void)state;
    assert_int_not_equal(
        parse_with("kafka: {a: 1, partitions: x}\nlog: {level: loud}\nnothing: 1\n", NULL, &c, &h,
                   NULL),
        OG_OK);
    assert_int_equal(h.count, 4);
}

static void the_environment_wins(void **state)
{
    (void)state;
    char *const environment[] = {"PATH=/bin",
                                 "OSTEOGUARD_KAFKA_BOOTSTRAP=broker:1",
                                 "OSTEOGUARD_KAFKA_PARTITIONS=3",
                                 "OSTEOGUARD_KAFKA_SOURCES=a, b,,c ",
                                 "OSTEOGUARD_CONTENT_DISABLED=[\"x y\", z]",
                                 "OSTEOGUARD_KAFKA_PROPERTIES={fetch.wait.max.ms: 5}",
                                 "OSTEOGUARD_EHR_URL=https://other/cards",
                                 "OSTEOGUARD_ENDPOINTS_EHR_TIMEOUT_MS=9",
                                 "OSTEOGUARD_HTTP_LISTEN=",
                                 "OSTEOGUARD_SITE_TENANT=: not [yaml",
                                 NULL};
    config *c =
        good("kafka: {bootstrap: file, partitions: 5, properties: {client.rack: r}}\n" MINIMAL,
             environment);
    assert_string_equal(c->kafka_bootstrap, "broker:1");
    assert_int_equal(c->kafka_partitions, 3);
    assert_int_equal(c->kafka_sources.count, 3);
    assert_string_equal(c->kafka_sources.at[2], "c");
    assert_int_equal(c->content_disabled.count, 2);
    assert_string_equal(c->content_disabled.at[0], "x y");
    assert_int_equal(c->kafka_properties.count, 1);
    assert_string_equal(c->endpoints[0].url, "https://other/cards");
    assert_int_equal(c->endpoints[0].timeout_ms, 9);
    assert_string_equal(c->http_host, "");
    assert_string_equal(c->tenant, ": not [yaml");
    config_free(c);
}

static void mistakes_of_the_environment_name_the_variable(void **state)
{
    (void)state;
    char *const bad_value[] = {"OSTEOGUARD_KAFKA_PARTITIONS=many", NULL};
    char *const unknown[] = {"OSTEOGUARD_KAFKA_BOOTSTAP=x", NULL};
    char *const bad_map[] = {"OSTEOGUARD_KAFKA_PROPERTIES={a", NULL};
    config *c = NULL;
    heard h, warned;
    assert_int_not_equal(parse_with(MINIMAL, bad_value, &c, &h, &warned), OG_OK);
    assert_non_null(strstr(h.text, "OSTEOGUARD_KAFKA_PARTITIONS"));
    assert_int_not_equal(parse_with(MINIMAL, bad_map, &c, &h, &warned), OG_OK);
    assert_non_null(strstr(h.text, "OSTEOGUARD_KAFKA_PROPERTIES"));
    assert_int_equal(parse_with(MINIMAL, unknown, &c, &h, &warned), OG_OK);
    assert_int_equal(warned.count, 1);
    assert_non_null(strstr(warned.text, "OSTEOGUARD_KAFKA_BOOTSTAP"));
    config_free(c);
}

static const char *value_of(const config_map *m, const char *name)
{
    for (size_t i = 0; i < m->count; i++)
        if (strcmp(m->at[i].name, name) == 0)
            return m->at[i].value;
    return NULL;
}

static void kafka_properties_are_laid_over_each_other(void **state)
{
    config_map m;
    og_error err;
    (void)state;
    og_error_init(&err);
    config *c = good("kafka:\n  bootstrap: b:1\n  properties: {client.id: common, "
                     "socket.keepalive.enable: true}\n"
                     "  consumer_properties: {client.id: special}\n",
                     NULL);
    assert_int_equal(config_kafka(c, true, &m, &err), OG_OK);
    assert_string_equal(value_of(&m, "bootstrap.servers"), "b:1");
    assert_string_equal(value_of(&m, "client.id"), "special");
    assert_int_equal(config_kafka(c, false, &m, &err), OG_OK);
    assert_string_equal(value_of(&m, "client.id"), "common");
    assert_string_equal(value_of(&m, "socket.keepalive.enable"), "true");
    config_free(c);
}

/* The reference file names every option once, and says the default where it is not deliberately
 * another. */
static void the_reference_file_is_complete(void **state)
{
    static const char *const others[] = {"site.timezone", "content.dir", "endpoints.url"};
    og_buf text;
    config_option_info o;
    (void)state;
    og_buf_init(&text, 1 << 20);
    assert_int_equal(file_read(OG_SOURCE_DIR "/docker/osteoguard.yaml", 1 << 20, &text, NULL),
                     OG_OK);
    config *c = good(og_buf_str(&text).p, NULL);
    config_free(c);
    for (size_t i = 0; config_option(i, &o); i++) {
        char line[700], name[100];
        bool other = false;
        snprintf(name, sizeof name, "%s.%s", o.section, o.key);
        for (size_t k = 0; k < sizeof others / sizeof others[0]; k++)
            other |= strcmp(name, others[k]) == 0;
        /* These are examples that are commented out: there is none by default. */
        bool example = strcmp(o.section, "clients") == 0 || strcmp(o.section, "fhir_servers") == 0;
        const char *mark = example ? "# " : "";
        snprintf(line, sizeof line, "\n%s%s%s: ", mark, o.of_each ? "    " : "  ", o.key);
        char head[100]; /* keys can be the same in two sections */
        snprintf(head, sizeof head, "\n%s%s:\n", mark, o.section);
        const char *section = strstr(og_buf_str(&text).p, head);
        const char *at = section != NULL ? strstr(section, line) : NULL;
        if (at == NULL)
            fail_msg("docker/osteoguard.yaml does not name %s", name);
        const char *section_end = at + strlen(line);
        if (other)
            continue;
        char value[600];
        snprintf(value, sizeof value, "%.*s", (int)strcspn(section_end, "\n"), section_end);
        bool same = strcmp(value, o.deflt) == 0 ||
                    (o.deflt[0] == '\0' && (strcmp(value, "\"\"") == 0 ||
                                            strcmp(value, "[]") == 0 || strcmp(value, "{}") == 0));
        if (value[0] == '[' && value[1] != ']')
            same = strncmp(value + 1, o.deflt, strlen(o.deflt)) == 0;
        if (!same)
            fail_msg("docker/osteoguard.yaml: %s is %s, the default is %s", name, value, o.deflt);
    }
    og_buf_done(&text);
}

static void the_description_is_a_configuration(void **state)
{
    og_buf text;
    (void)state;
    og_buf_init(&text, 1 << 20);
    config_describe(&text);
    char *const environment[] = {"OSTEOGUARD_EHR_URL=http://x", NULL};
    config *c = good(og_buf_str(&text).p, environment);
    assert_int_equal(c->endpoint_count, 1);
    config_free(c);
    og_buf_done(&text);
}

static void a_missing_file_is_an_error(void **state)
{
    config *c = NULL;
    heard h = {0};
    og_report report = {.fn = hear, .ctx = &h};
    (void)state;
    assert_int_equal(config_load("/no/such/file.yaml", &c, &report, NULL), OG_NOTFOUND);
    assert_non_null(strstr(h.text, "/no/such/file.yaml"));
}

static void a_silence_is_of_its_source(void **state)
{
    config *c = good(MINIMAL, NULL);
    (void)state;
    assert_null(c->kafka_silence_ms);
    config_free(c);
    c = good(MINIMAL "kafka: {sources: [a, b], silence_minutes: {b: 90}}\n", NULL);
    assert_int_equal(c->kafka_silence_ms[0], 0);
    assert_int_equal(c->kafka_silence_ms[1], 90 * 60000);
    config_free(c);
}

static void note(void *ctx, const char *name)
{
    heard *h = ctx;
    h->count++;
    strcat(strcat(h->text, name), " ");
}

static void differ(const char *before, const char *after, const char *names)
{
    heard h = {.count = 0};
    config *a = good(before, NULL), *b = good(after, NULL);
    config_compare(a, b, "content", note, &h);
    assert_string_equal(h.text, names);
    config_compare(a, a, NULL, note, &h);
    assert_string_equal(h.text, names);
    config_free(a);
    config_free(b);
}

/* Every type of option, and what has names of its own. */
static void what_has_changed_is_named(void **state)
{
    (void)state;
    differ(MINIMAL, MINIMAL, "");
    differ(MINIMAL "content: {disabled: [D1]}\n", MINIMAL "content: {dir: /x}\n", "");
    differ(MINIMAL "site: {tenant: a}\nlog: {level: info}\n",
           MINIMAL
           "log: {level: warn, identifiers: true}\nlimits: {batches: 2}\nsite: {tenant: b}\n",
           "site.tenant log.level log.identifiers limits.batches ");
    differ(MINIMAL "kafka: {sources: [a, b]}\n", MINIMAL "kafka: {sources: [a]}\n",
           "kafka.sources ");
    differ(MINIMAL "kafka: {sources: [a, b]}\n", MINIMAL "kafka: {sources: [a, c]}\n",
           "kafka.sources ");
    differ(MINIMAL "kafka: {properties: {socket.timeout.ms: 70000}}\n",
           MINIMAL "kafka: {properties: {socket.timeout.ms: 80000}}\n", "kafka.properties ");
    differ(MINIMAL "kafka: {properties: {socket.timeout.ms: 70000}}\n",
           MINIMAL "kafka: {properties: {socket.max.fails: 3}}\n", "kafka.properties ");
    differ("endpoints: {a: {url: \"http://x/\"}, b: {url: \"http://x/\"}}\n",
           "endpoints: {b: {url: \"http://y/\", timeout_ms: 100}, c: {url: \"http://x/\"}}\n",
           "endpoints.a endpoints.b.url endpoints.b.timeout_ms endpoints.c ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_file_gives_the_defaults),
        cmocka_unit_test(what_has_changed_is_named),
        cmocka_unit_test(a_silence_is_of_its_source),
        cmocka_unit_test(values_are_read),
        cmocka_unit_test(every_mistake_is_told_with_its_place),
        cmocka_unit_test(all_mistakes_are_told_at_once),
        cmocka_unit_test(the_environment_wins),
        cmocka_unit_test(mistakes_of_the_environment_name_the_variable),
        cmocka_unit_test(kafka_properties_are_laid_over_each_other),
        cmocka_unit_test(the_reference_file_is_complete),
        cmocka_unit_test(the_description_is_a_configuration),
        cmocka_unit_test(a_missing_file_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
