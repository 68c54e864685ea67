/* osteoguard check: every problem of a configuration and its content, with its place; with --online
 * also whether the brokers, the topics, the endpoints and the FHIR servers answer. Changes nothing
 * anywhere: no topic is created, no card is posted. */
#include "daemon/cmd_check.h"

#include <getopt.h>
#include <stdlib.h>

#include "connectors/http_client.h"
#include "connectors/jwt.h"
#include "connectors/smart.h"
#include "daemon/cmd.h"
#include "daemon/config.h"
#include "daemon/content_dir.h"
#include "daemon/fhir_servers.h"
#include "daemon/file.h"
#include "daemon/hooks_tls.h"
#include "daemon/log.h"
#include "daemon/rulebook.h"

#define KAFKA_TIMEOUT_MS 10000
#define MAX_TOKEN        65536
#define MAX_JWKS         ((size_t)1 << 20)
#define MAX_RULEBOOK     ((size_t)256 << 20)

static const char usage[] =
    "usage: osteoguard check -c FILE [--online] [--rulebook FILE]\n"
    "       osteoguard check --content DIR [--rulebook FILE]\n"
    "       osteoguard check --options\n"
    "\n"
    "Loads configuration and content as `serve` would and prints every problem with its place.\n"
    "\n"
    "  -c, --config FILE   the configuration\n"
    "      --content DIR   a content folder alone, as it is without a configuration\n"
    "      --rulebook FILE writes the rule book: every rule with its logic, evidence, thresholds,\n"
    "                      codes, texts and cases, to be read and signed; FILE.html or FILE.md\n"
    "      --online        also asks the brokers for the topics, the endpoints whether they "
    "answer,\n"
    "                      and the FHIR servers for their metadata, with a token if configured\n"
    "      --options       prints every option with its default and meaning, as YAML\n"
    "  -h, --help          this text\n"
    "\n"
    "Exit status: 0 good, 1 something is wrong, 2 usage.\n";

typedef struct tally {
    unsigned problems;
} tally;

static void problem(tally *t, const char *where, const char *text)
{
    t->problems++;
    fprintf(stderr, "%s: error: %s\n", where, text);
}

/* ---- offline ---- */

/* The content as the options have it; NULL: it has problems. Caller owns. */
static plan_content *load_content(const char *dir, plan_options *options, tally *t)
{
    og_report report = {.fn = cmd_print_problem, .ctx = &t->problems},
              warnings = {.fn = cmd_print_warning};
    plan_content *content = NULL;
    unsigned before = t->problems;

    options->warnings = &warnings;
    if (content_dir_load(dir, options, &content, &report) != OG_OK) {
        if (t->problems == before)
            problem(t, dir, "the content cannot be loaded");
        return NULL;
    }
    printf("content %s: %zu rules:", dir, plan_content_rule_count(content));
    for (size_t i = 0; i < plan_content_rule_count(content); i++)
        printf(" %s", plan_content_rule_id(content, i));
    printf("\n");
    if (plan_content_rule_count(content) == 0)
        problem(t, dir, "there is no rule, or none is switched on");
    return content;
}

/* FILE.html or FILE.md. */
static bool is_html(const char *path)
{
    return og_str_ends(og_str_of(path), OG_STR(".html"));
}

static void write_rulebook(const char *path, const char *dir, const plan_options *options,
                           const plan_content *content, tally *t)
{
    og_report report = {.fn = cmd_print_problem, .ctx = &t->problems};
    plan_options in_english = *options, in_german = *options;
    plan_content *english = NULL, *german = NULL;

    in_german.language = "de";
    in_english.language = NULL;
    in_german.warnings = in_english.warnings = NULL;
    if (content_dir_load(dir, &in_english, &english, &report) != OG_OK ||
        content_dir_load(dir, &in_german, &german, &report) != OG_OK) {
        plan_content_free(english);
        return;
    }
    rulebook_options o = {.content_dir = dir,
                          .settings = options->settings,
                          .setting_count = options->setting_count,
                          .disabled = options->disabled,
                          .disabled_count = options->disabled_count,
                          .digest = plan_content_digest(content),
                          .english = english,
                          .german = german,
                          .html = is_html(path)};
    og_error err;
    og_buf out;

    og_error_init(&err);
    og_buf_init(&out, MAX_RULEBOOK);
    if (rulebook_write(&o, &out, &err) != OG_OK ||
        file_write(path, og_buf_str(&out), &err) != OG_OK)
        cmd_print_problem(&t->problems, &err);
    else
        printf("rule book: %s, %zu bytes\n", path, out.n);
    plan_content_free(english);
    plan_content_free(german);
    og_buf_done(&out);
}

/* Whom nobody could be admitted by. */
static void check_jwks(const config *c, tally *t)
{
    for (size_t i = 0; i < c->client_count; i++) {
        const char *path = c->clients[i].jwks_file;
        og_buf text;
        og_error err;
        jwks *keys = NULL;
        if (path[0] == '\0' || c->clients[i].jwks_url[0] != '\0')
            continue; /* where there is a URL too, that may have the keys */
        og_error_init(&err);
        og_buf_init(&text, MAX_JWKS);
        if (file_read(path, MAX_JWKS, &text, &err) != OG_OK ||
            jwks_parse(og_buf_str(&text), &keys, &err) != OG_OK)
            problem(t, path, err.text);
        else if (jwks_count(keys) == 0)
            problem(t, path, "has no key that a signature can be checked with");
        jwks_free(keys);
        og_buf_done(&text);
    }
}

/* With what the CDS services would be offered. */
static void check_hooks_tls(const config *c, tally *t)
{
    http_server_options o = {0};
    hooks_tls tls;
    og_error err;
    og_error_init(&err);
    og_status status = hooks_tls_read(c, &tls, &o, &err);
    if (status == OG_OK)
        status = http_server_try_tls(&o, &err);
    if (status != OG_OK)
        problem(t, err.origin[0] != '\0' ? err.origin : "hooks", err.text);
    hooks_tls_forget(&tls);
}

/* With what we would ask for tokens. */
static void check_smart_keys(const config *c, tally *t)
{
    for (size_t i = 0; i < c->fhir_server_count; i++) {
        const char *path = c->fhir_servers[i].private_jwk_file;
        og_error err;
        og_error_init(&err);
        if (path[0] != '\0' && smart_try_key(path, &err) != OG_OK)
            problem(t, path, err.text);
    }
}

static void check_content(const char *dir, plan_options *options, const char *rulebook, tally *t)
{
    plan_content *content = load_content(dir, options, t);

    if (content != NULL && rulebook != NULL)
        write_rulebook(rulebook, dir, options, content, t);
    plan_content_free(content);
}

static void check_configured_content(const config *c, const char *rulebook, tally *t)
{
    plan_options options;
    if (config_rules(c, c->arena, &options, NULL) != OG_OK) {
        problem(t, c->origin, "out of memory");
        return;
    }
    check_content(c->content_dir, &options, rulebook, t);
}

static void check_zone(const config *c, tally *t)
{
    og_error err;
    og_error_init(&err);
    if (clock_set_zone(c->timezone, &err) != OG_OK)
        problem(t, c->origin, err.text);
}

/* ---- online: Kafka ---- */

static void check_topics(config *c, tally *t)
{
    size_t count = 4 + c->kafka_sources.count;
    config_map properties;
    og_error err;
    og_error_init(&err);
    kafka_topic_spec *specs = og_arena_zalloc(c->arena, count, sizeof *specs);
    kafka_topic_state *states = og_arena_zalloc(c->arena, count, sizeof *states);
    if (specs == NULL || states == NULL || config_kafka(c, false, &properties, &err) != OG_OK) {
        problem(t, c->origin, "out of memory");
        return;
    }
    int32_t n = (int32_t)c->kafka_partitions;
    specs[0] = (kafka_topic_spec){.name = c->kafka_records, .partitions = n, .exact = true};
    specs[1] = (kafka_topic_spec){.name = c->kafka_alerts, .partitions = n, .exact = true};
    specs[2] = (kafka_topic_spec){.name = c->kafka_shared, .partitions = 1, .exact = true};
    specs[3] = (kafka_topic_spec){.name = c->kafka_dead_letters};
    for (size_t i = 4; i < count; i++)
        specs[i] = (kafka_topic_spec){.name = c->kafka_sources.at[i - 4]};
    og_status status = kafka_topics_ensure(properties.at, properties.count, specs, count,
                                           KAFKA_TIMEOUT_MS, states, &err);
    if (status == OG_IO) {
        problem(t, c->kafka_bootstrap, err.text);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (states[i].status == OG_OK)
            printf("topic %s: %d partitions\n", specs[i].name, (int)states[i].partitions);
        else if (states[i].status == OG_NOTFOUND && c->kafka_create_topics)
            printf("topic %s: missing, `serve` would create it\n", specs[i].name);
        else
            problem(t, specs[i].name, states[i].text);
    }
}

/* ---- online: endpoints ---- */

typedef struct probe {
    tally *t;
    const config_endpoint *ep;
    http_client *client;
} probe;

static void on_response(void *ctx, const http_response *r)
{
    const probe *p = ctx;
    char text[64];
    if (r->failure != HTTP_FAILURE_NONE) {
        problem(p->t, p->ep->url, r->error);
    } else if (r->status == 401 || r->status == 403) {
        snprintf(text, sizeof text, "the endpoint refuses us (HTTP %d)", r->status);
        problem(p->t, p->ep->url, text);
    } else {
        printf("endpoint %s: answers (HTTP %d)%s\n", p->ep->name, r->status,
               r->status == 404 ? "; is its URL right?" : "");
    }
    http_client_close(p->client, NULL, NULL);
}

static void read_token(const config_endpoint *ep, og_buf *token, tally *t)
{
    og_error err;
    og_error_init(&err);
    if (ep->bearer_token_file[0] != '\0' &&
        file_read(ep->bearer_token_file, MAX_TOKEN, token, &err) != OG_OK)
        problem(t, ep->bearer_token_file, err.text);
    while (token->n > 0 && (token->p[token->n - 1] == '\n' || token->p[token->n - 1] == '\r'))
        token->n--;
}

/* OPTIONS: any answer shows that name, connection, TLS and certificates are good; nothing is
 * posted. */
static void check_endpoint(const config_endpoint *ep, tally *t)
{
    http_client_options none = {0};
    uv_loop_t loop;
    og_buf token;
    og_error err;
    probe p = {.t = t, .ep = ep};
    http_tls tls = {.ca_file = ep->ca_file[0] != '\0' ? ep->ca_file : NULL,
                    .cert_file = ep->cert_file[0] != '\0' ? ep->cert_file : NULL,
                    .key_file = ep->key_file[0] != '\0' ? ep->key_file : NULL};
    og_error_init(&err);
    og_buf_init(&token, MAX_TOKEN + 1);
    read_token(ep, &token, t);
    http_request request = {.method = "OPTIONS",
                            .url = ep->url,
                            .connect_timeout_ms = (int)ep->connect_timeout_ms,
                            .timeout_ms = (int)ep->timeout_ms,
                            .tls = &tls};
    if (token.n > 0)
        request.bearer = og_buf_str(&token);
    uv_loop_init(&loop);
    if (http_client_new(&loop, &none, &p.client, &err) != OG_OK) {
        problem(t, ep->url, err.text);
    } else if (http_client_send(p.client, &request, on_response, &p, NULL, &err) != OG_OK) {
        problem(t, ep->url, err.text);
        http_client_close(p.client, NULL, NULL);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    og_buf_done(&token);
}

/* ---- online: FHIR servers ---- */

typedef struct trials {
    tally *t;
    size_t left;
} trials;

static void on_tried(void *ctx, const config_fhir_server *server, bool good, const char *text)
{
    trials *x = ctx;
    x->left--;
    if (good)
        printf("FHIR server %s: %s\n", server->name, text);
    else
        problem(x->t, server->url, text);
}

static void drop_line(void *ctx, og_str line)
{
    (void)ctx;
    (void)line;
}

/* All at once, and each with a token if we have an id there. */
static void check_fhir_servers(const config *c, tally *t)
{
    trials x = {.t = t};
    uv_loop_t loop;
    http_client *client = NULL;
    fhir_servers *servers = NULL;
    og_error err;
    og_error_init(&err);
    uv_loop_init(&loop);
    log_sink(drop_line, NULL); /* what is wrong is said once */
    og_status status = http_client_new(&loop, NULL, &client, &err);
    if (status == OG_OK)
        status = fhir_servers_new(&loop, client, c, 0, &servers, &err);
    for (size_t i = 0; i < c->fhir_server_count && status == OG_OK; i++) {
        status = fhir_servers_try(servers, i, on_tried, &x, &err);
        x.left += status == OG_OK;
    }
    if (status != OG_OK)
        problem(t, c->origin, err.text);
    while (x.left > 0)
        uv_run(&loop, UV_RUN_ONCE);
    fhir_servers_close(servers, NULL, NULL);
    http_client_close(client, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    log_sink(NULL, NULL);
}

/* ---- the command ---- */

static int print_options(void)
{
    og_buf text;
    og_buf_init(&text, 1 << 20);
    config_describe(&text);
    fputs(og_buf_failed(&text) ? "out of memory\n" : og_buf_str(&text).p, stdout);
    og_buf_done(&text);
    return 0;
}

static int conclude(const tally *t)
{
    if (t->problems == 0)
        return 0;
    fflush(stdout);
    fprintf(stderr, "%u problem%s\n", t->problems, t->problems == 1 ? "" : "s");
    return 1;
}

static int check(const char *path, bool online, const char *rulebook)
{
    tally t = {0};
    config *c;
    og_report report = {.fn = cmd_print_problem, .ctx = &t.problems},
              warn = {.fn = cmd_print_warning};
    if (config_load(path, &c, &report, &warn) != OG_OK)
        return conclude(&t) | 1;
    printf("configuration %s: good\n", path);
    check_zone(c, &t);
    check_jwks(c, &t);
    check_hooks_tls(c, &t);
    check_smart_keys(c, &t);
    check_configured_content(c, rulebook, &t);
    if (online) {
        check_topics(c, &t);
        for (size_t i = 0; i < c->endpoint_count; i++)
            check_endpoint(&c->endpoints[i], &t);
        check_fhir_servers(c, &t);
    }
    config_free(c);
    return conclude(&t);
}

static int check_folder(const char *dir, const char *rulebook)
{
    tally t = {0};
    plan_options options = {0};
    check_content(dir, &options, rulebook, &t);
    return conclude(&t);
}

/* What is wrong with the command line; NULL: nothing. */
static const char *misuse(const char *path, const char *dir, const char *rulebook, bool online)
{
    if (path == NULL && dir == NULL)
        return "which configuration? Give it with -c FILE";
    if (path != NULL && dir != NULL)
        return "the configuration says which content: give -c FILE or --content DIR";
    if (online && path == NULL)
        return "--online wants a configuration";
    if (rulebook != NULL && !is_html(rulebook) && !og_str_ends(og_str_of(rulebook), OG_STR(".md")))
        return "a rule book is FILE.html or FILE.md";
    return NULL;
}

int cmd_check(int argc, char **argv)
{
    enum { ONLINE = 256, OPTIONS, CONTENT, RULEBOOK };
    static const struct option longs[] = {{"config", required_argument, NULL, 'c'},
                                          {"content", required_argument, NULL, CONTENT},
                                          {"rulebook", required_argument, NULL, RULEBOOK},
                                          {"online", no_argument, NULL, ONLINE},
                                          {"options", no_argument, NULL, OPTIONS},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    const char *path = NULL, *dir = NULL, *rulebook = NULL;
    bool online = false;
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, "c:h", longs, NULL)) != -1) {
        switch (option) {
        case 'c': path = optarg; break;
        case CONTENT: dir = optarg; break;
        case RULEBOOK: rulebook = optarg; break;
        case ONLINE: online = true; break;
        case OPTIONS: return print_options();
        case 'h': fputs(usage, stdout); return 0;
        default: fputs("Try `osteoguard check --help`.\n", stderr); return 2;
        }
    }
    const char *wrong =
        optind != argc ? "takes no further arguments" : misuse(path, dir, rulebook, online);
    if (wrong != NULL) {
        fprintf(stderr, "osteoguard check: %s.\n", wrong);
        return 2;
    }
    return path != NULL ? check(path, online, rulebook) : check_folder(dir, rulebook);
}
