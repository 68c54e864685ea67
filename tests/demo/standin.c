/* The receiving end of the card push. It behaves as an idempotent endpoint should: the first body
 * under a key counts, the same again is answered 200, another body under that key is an error. */
#include "tests/demo/standin.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "connectors/http_server.h"
#include "tests/demo/card_text.h"

enum {
    MAX_BODY = 16 << 20,
    MAX_TEXT = 32 << 20,
    MIN_WIDTH = 60,
    MAX_WIDTH = 120,
    DEFAULT_WIDTH = 100
};

struct standin {
    http_server *server;
    standin_options o;
    standin_counts n;
    json_t *keys;  /* key → hash of the body */
    json_t *shown; /* uuid of a card → summary */
    FILE *ndjson;
    char *fail_list, *fail_next;
    http_exchange **hung; /* never answered, until we close */
    size_t hung_count;
    card_style style;
    void (*on_closed)(void *ctx);
    void *close_ctx;
};

/* ---- what is shown ---- */

static const char *text_of(const json_t *object, const char *name)
{
    const char *s = json_string_value(json_object_get(object, name));
    return s != NULL ? s : "";
}

static void take_retracts(standin *s, og_buf *out, const json_t *delivery)
{
    size_t i;
    const json_t *r;
    json_array_foreach(json_object_get(delivery, "retracts"), i, r)
    {
        const char *uuid = text_of(r, "uuid"), *summary = text_of(s->shown, uuid);
        if (strcmp(text_of(r, "reason"), "superseded") == 0) {
            s->n.replaced++;
            og_buf_addz(out, "    replaces: ");
            card_text_add_safe(out, og_str_of(*summary != '\0' ? summary : uuid));
            og_buf_addc(out, '\n');
        } else {
            s->n.withdrawn++;
            card_text_add_withdrawn(out, text_of(delivery, "patientId"),
                                    *summary != '\0' ? summary : uuid, text_of(r, "reason"),
                                    &s->style);
        }
        json_object_del(s->shown, uuid);
    }
}

static void take_body(standin *s, const json_t *body)
{
    size_t i;
    const json_t *card;
    og_buf out;
    const json_t *delivery =
        json_object_get(json_object_get(body, "extension"), "org.osteoguard.delivery");
    og_buf_init(&out, MAX_TEXT);
    json_array_foreach(json_object_get(body, "cards"), i, card)
    {
        s->n.cards++;
        card_text_add(&out, card, delivery, &s->style);
        if (*text_of(card, "uuid") != '\0')
            json_object_set(s->shown, text_of(card, "uuid"), json_object_get(card, "summary"));
    }
    take_retracts(s, &out, delivery);
    if (!s->o.quiet && out.n > 0) {
        if (s->o.before_print != NULL)
            s->o.before_print(s->o.ctx);
        fwrite(out.p, 1, out.n, stdout);
        fflush(stdout);
        if (s->o.after_print != NULL)
            s->o.after_print(s->o.ctx);
    }
    og_buf_done(&out);
}

static void keep(standin *s, const char *key, const json_t *body)
{
    if (s->ndjson == NULL)
        return;
    json_t *line = json_pack("{s:s,s:O}", "key", key, "body", (json_t *)body);
    if (line == NULL || json_dumpf(line, s->ndjson, JSON_COMPACT) != 0 ||
        fputc('\n', s->ndjson) == EOF || fflush(s->ndjson) != 0)
        fprintf(stderr, "osteoguard-demo: %s: %s\n", s->o.ndjson, strerror(errno));
    json_decref(line);
}

/* ---- requests ---- */

static void answer(http_exchange *x, int status, const char *text)
{
    http_exchange_answer(x, status, "text/plain; charset=utf-8", og_str_of(text));
}

static void refuse(standin *s, http_exchange *x, int status, const char *text)
{
    s->n.refused++;
    answer(x, status, text);
}

static void hang(standin *s, http_exchange *x)
{
    http_exchange **more = realloc(s->hung, (s->hung_count + 1) * sizeof(*more));
    if (more == NULL) {
        answer(x, 503, "no memory\n");
        return;
    }
    s->hung = more;
    s->hung[s->hung_count++] = x;
}

/* Plays the next entry of the script; false when there is none or it says to take the card. */
static bool fail_as_told(standin *s, http_exchange *x)
{
    char *word = s->fail_next != NULL ? strsep(&s->fail_next, ",") : NULL;
    if (word == NULL || *word == '\0')
        return false;
    if (strcmp(word, "hang") == 0) {
        s->n.failed++;
        hang(s, x);
        return true;
    }
    char *colon = strchr(word, ':');
    int status = atoi(word);
    if (status >= 200 && status < 300)
        return false;
    if (colon != NULL)
        (void)http_exchange_add_header(x, "Retry-After", colon + 1);
    s->n.failed++;
    answer(x, status, "as told\n");
    return true;
}

static void post_cards(void *ctx, http_exchange *x)
{
    standin *s = ctx;
    json_error_t why;
    char key[200];
    og_str body = http_exchange_body(x), k = http_exchange_header(x, "Idempotency-Key");
    s->n.posts++;
    if (fail_as_told(s, x))
        return;
    if (k.n == 0 || k.n >= sizeof(key)) {
        refuse(s, x, 400, "an Idempotency-Key is needed\n");
        return;
    }
    memcpy(key, k.p, k.n);
    key[k.n] = '\0';
    json_int_t hash = (json_int_t)(og_str_hash(body) >> 1);
    const json_t *before = json_object_get(s->keys, key);
    if (before != NULL && json_integer_value(before) != hash) {
        refuse(s, x, 422, "this Idempotency-Key came with another body\n");
        return;
    }
    if (before != NULL) {
        s->n.repeats++;
        answer(x, 200, "known\n");
        return;
    }
    json_t *parsed = json_loadb(body.p != NULL ? body.p : "", body.n, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_array(json_object_get(parsed, "cards"))) {
        refuse(s, x, 400, "not a CDS Hooks response body\n");
        json_decref(parsed);
        return;
    }
    json_object_set_new(s->keys, key, json_integer(hash));
    keep(s, key, parsed);
    take_body(s, parsed);
    json_decref(parsed);
    answer(x, 200, "taken\n");
}

static void get_stats(void *ctx, http_exchange *x)
{
    standin *s = ctx;
    const standin_counts *n = &s->n;
    char text[400];
    snprintf(text, sizeof(text),
             "{\"posts\":%llu,\"cards\":%llu,\"withdrawn\":%llu,\"replaced\":%llu,\"repeats\":%llu,"
             "\"failed\":%llu,"
             "\"refused\":%llu}\n",
             (unsigned long long)n->posts, (unsigned long long)n->cards,
             (unsigned long long)n->withdrawn, (unsigned long long)n->replaced,
             (unsigned long long)n->repeats, (unsigned long long)n->failed,
             (unsigned long long)n->refused);
    http_exchange_answer(x, 200, "application/json", og_str_of(text));
}

/* ---- making one ---- */

static void standin_free(standin *s)
{
    json_decref(s->keys);
    json_decref(s->shown);
    if (s->ndjson != NULL)
        fclose(s->ndjson);
    free(s->fail_list);
    free(s->hung);
    free(s);
}

static card_style style_of_terminal(void)
{
    struct winsize w;
    card_style style = {.colour = isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL,
                        .width = DEFAULT_WIDTH};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0)
        style.width = w.ws_col < MIN_WIDTH   ? MIN_WIDTH
                      : w.ws_col > MAX_WIDTH ? MAX_WIDTH
                                             : w.ws_col;
    return style;
}

static og_status check_script(const char *fail, og_error *err)
{
    while (fail != NULL && *fail != '\0') {
        size_t n = strcspn(fail, ",");
        int status = atoi(fail);
        if (!(n == 4 && strncmp(fail, "hang", 4) == 0) && (status < 200 || status > 599))
            return og_fail(err, OG_INVALID, "\"%.*s\" is neither a status nor \"hang\"", (int)n,
                           fail);
        fail += n + (fail[n] == ',');
    }
    return OG_OK;
}

og_status standin_new(uv_loop_t *loop, const standin_options *options, standin **ret, og_error *err)
{
    og_status st = check_script(options->fail, err);
    if (st != OG_OK)
        return st;
    standin *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    s->o = *options;
    s->style = style_of_terminal();
    s->keys = json_object();
    s->shown = json_object();
    s->fail_list = s->fail_next = options->fail != NULL ? strdup(options->fail) : NULL;
    if (options->ndjson != NULL && (s->ndjson = fopen(options->ndjson, "we")) == NULL) {
        st = og_fail(err, OG_IO, "%s: %s", options->ndjson, strerror(errno));
        goto fail;
    }
    const http_route routes[] = {{"POST", "/cards", post_cards, s, MAX_BODY},
                                 {"GET", "/stats", get_stats, s, 0}};
    const http_server_options o = {.address = options->listen,
                                   .port = options->port,
                                   .routes = routes,
                                   .route_count = sizeof(routes) / sizeof(routes[0])};
    st = http_server_new(loop, &o, &s->server, err);
    if (st != OG_OK)
        goto fail;
    *ret = s;
    return OG_OK;
fail:
    standin_free(s);
    return st;
}

int standin_port(const standin *s)
{
    return http_server_port(s->server);
}

standin_counts standin_count(const standin *s)
{
    return s->n;
}

static void server_closed(void *ctx)
{
    standin *s = ctx;
    void (*on_closed)(void *) = s->on_closed;
    void *close_ctx = s->close_ctx;
    standin_free(s);
    if (on_closed != NULL)
        on_closed(close_ctx);
}

void standin_close(standin *s, void (*on_closed)(void *ctx), void *ctx)
{
    if (s == NULL) {
        if (on_closed != NULL)
            on_closed(ctx);
        return;
    }
    s->on_closed = on_closed;
    s->close_ctx = ctx;
    for (size_t i = 0; i < s->hung_count; i++)
        answer(s->hung[i], 503, "stopping\n");
    s->hung_count = 0;
    http_server_close(s->server, 1000, server_closed, s);
}
