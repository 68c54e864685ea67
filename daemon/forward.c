/* Announcements, signed calls and sealed answers. Every mark is an HMAC-SHA256 over lines of text,
 * the first of which says what it is for: a mark of one kind never passes for another. Bodies go in
 * by their SHA-256. */
#include "daemon/forward.h"

#include <inttypes.h>
#include <stdlib.h>

#include <gnutls/crypto.h>

#include "daemon/seen.h"
#include "fhir/decode.h"
#include "fhir/resource.h"

#define MAX_PEERS 64
#define MAX_TEXT  ((size_t)1 << 14)
#define FRESH_MS  30000 /* of an announcement: three of them */
#define LIFE_MS   30000 /* of a signed call, on either side of our clock */

struct forward {
    unsigned char *secret;
    size_t secret_n;
    char id[UUID_TEXT];
    char *url;
    forward_peer peers[MAX_PEERS];
    size_t peer_count;
    seen *seen;
};

/* ---- marks ---- */

static void write_hex(const unsigned char *bytes, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

/* False, and a mark that nothing fits: it could not be made. */
static bool mark_of(const forward *f, const og_buf *lines, char ret[FORWARD_MARK])
{
    unsigned char digest[32];
    ret[0] = '\0';
    if (og_buf_failed(lines) || gnutls_hmac_fast(GNUTLS_MAC_SHA256, f->secret, f->secret_n,
                                                 lines->p, lines->n, digest) != 0)
        return false;
    write_hex(digest, sizeof digest, ret);
    return true;
}

static bool is_mark(const forward *f, const og_buf *lines, og_str given)
{
    char mark[FORWARD_MARK];
    return mark_of(f, lines, mark) && given.n == strlen(mark) &&
           gnutls_memcmp(given.p, mark, given.n) == 0;
}

static void add_hash(og_buf *lines, og_str body)
{
    unsigned char digest[32];
    char text[FORWARD_MARK] = "";
    if (gnutls_hash_fast(GNUTLS_DIG_SHA256, body.p != NULL ? body.p : "", body.n, digest) == 0)
        write_hex(digest, sizeof digest, text);
    og_buf_addf(lines, "%s\n", text);
}

/* ---- who is where ---- */

static void announcement_lines(og_buf *b, og_str id, og_str url, int64_t at_ms, og_str owns)
{
    og_buf_init(b, MAX_TEXT);
    og_buf_addf(b, "osteoguard instance 1\n%.*s\n%.*s\n%" PRId64 "\n%.*s\n", OG_STR_ARG(id),
                OG_STR_ARG(url), at_ms, OG_STR_ARG(owns));
}

void forward_announce(const forward *f, og_str owns, bool first, int64_t now_ms, og_buf *out)
{
    char mark[FORWARD_MARK];
    og_buf lines;
    announcement_lines(&lines, og_str_of(f->id), og_str_of(f->url), now_ms, owns);
    (void)mark_of(f, &lines, mark);
    og_buf_done(&lines);
    og_buf_addz(out, "{\"osteoguard\":1,\"url\":");
    og_buf_add_json(out, og_str_of(f->url));
    og_buf_addf(out, ",\"at\":%" PRId64 ",\"owns\":\"%.*s\",\"first\":%s,\"mac\":\"%s\"}", now_ms,
                OG_STR_ARG(owns), first ? "true" : "false", mark);
}

static forward_peer *find_peer(forward *f, og_str id)
{
    for (size_t i = 0; i < f->peer_count; i++)
        if (og_str_is(id, f->peers[i].id))
            return &f->peers[i];
    return NULL;
}

/* For one that is new: a free place, or that of one who has not spoken for long. */
static forward_peer *new_peer(forward *f, og_str id, int64_t now_ms)
{
    forward_peer *p = f->peer_count < MAX_PEERS ? &f->peers[f->peer_count++] : NULL;
    for (size_t i = 0; p == NULL && i < f->peer_count; i++)
        if (f->peers[i].at_ms < now_ms - FRESH_MS)
            p = &f->peers[i];
    if (p == NULL)
        return NULL;
    free(p->url);
    *p = (forward_peer){.url = NULL};
    memcpy(p->id, id.p, id.n);
    return p;
}

static bool set_url(forward_peer *p, og_str url)
{
    if (p->url != NULL && og_str_is(url, p->url))
        return true;
    char *copy = strndup(url.p, url.n);
    if (copy == NULL)
        return false;
    free(p->url);
    p->url = copy;
    return true;
}

static void set_owns(forward_peer *p, og_str owns)
{
    memset(p->owns, 0, sizeof p->owns);
    while (owns.n > 0) {
        int64_t number;
        ptrdiff_t comma = og_str_find(owns, ',');
        og_str one = comma >= 0 ? (og_str){owns.p, (size_t)comma} : owns;
        if (og_str_int(one, 0, FORWARD_MAX_PARTITIONS - 1, &number))
            p->owns[number / 8] |= (unsigned char)(1U << (number % 8));
        owns = og_str_from(owns, comma >= 0 ? (size_t)comma + 1 : owns.n);
    }
}

static bool is_fresh(int64_t at_ms, int64_t now_ms)
{
    return at_ms >= now_ms - FRESH_MS && at_ms <= now_ms + FRESH_MS;
}

static bool is_announced(const forward *f, og_str id, og_str url, int64_t at_ms, og_str owns,
                         og_str mark)
{
    og_buf lines;
    announcement_lines(&lines, id, url, at_ms, owns);
    bool good = is_mark(f, &lines, mark);
    og_buf_done(&lines);
    return good;
}

forward_word forward_hear(forward *f, og_str id, og_str value, og_arena *a, int64_t now_ms)
{
    fhir_doc doc;
    int64_t at_ms;
    if (id.n == 0 || id.n >= UUID_TEXT || og_str_is(id, f->id) || value.p == NULL ||
        fhir_decode(a, value, NULL, &doc, NULL) != OG_OK)
        return FORWARD_PASSED;
    fhir_elem o = fhir_root(&doc);
    og_str url = fhir_string(a, fhir_get(o, "url")), owns = fhir_string(a, fhir_get(o, "owns"));
    if (url.n == 0 || !fhir_int(fhir_get(o, "at"), 0, INT64_MAX, &at_ms) ||
        !is_fresh(at_ms, now_ms))
        return FORWARD_PASSED; /* the topic keeps what was said long ago */
    if (!is_announced(f, id, url, at_ms, owns, fhir_string(a, fhir_get(o, "mac"))))
        return FORWARD_UNMARKED;
    forward_peer *p = find_peer(f, id);
    if (p != NULL && p->at_ms > at_ms)
        return FORWARD_PASSED;
    bool known = p != NULL && is_fresh(p->at_ms, now_ms) && og_str_is(url, p->url) &&
                 !og_str_is(fhir_raw(fhir_get(o, "first")), "true");
    if (p == NULL)
        p = new_peer(f, id, now_ms);
    if (p == NULL || !set_url(p, url))
        return FORWARD_FULL;
    p->at_ms = at_ms;
    set_owns(p, owns);
    return known ? FORWARD_HEARD : FORWARD_NEW;
}

static bool owns_it(const forward_peer *p, int partition)
{
    return partition >= 0 && partition < FORWARD_MAX_PARTITIONS &&
           (p->owns[partition / 8] >> (partition % 8) & 1) != 0;
}

const forward_peer *forward_owner(const forward *f, int partition, int64_t now_ms)
{
    const forward_peer *found = NULL;
    for (size_t i = 0; i < f->peer_count; i++) {
        const forward_peer *p = &f->peers[i];
        if (is_fresh(p->at_ms, now_ms) && owns_it(p, partition) &&
            (found == NULL || found->at_ms < p->at_ms))
            found = p;
    }
    return found;
}

const char *forward_url(const forward *f, og_str id)
{
    const forward_peer *p = find_peer((forward *)(uintptr_t)f, id);
    return p != NULL ? p->url : NULL;
}

void forward_rest(forward *f, const char *id, int64_t until_ms)
{
    forward_peer *p = find_peer(f, og_str_of(id));
    if (p != NULL)
        p->rest_until_ms = until_ms;
}

void forward_disown(forward *f, const char *id, int partition)
{
    forward_peer *p = find_peer(f, og_str_of(id));
    if (p != NULL && owns_it(p, partition))
        p->owns[partition / 8] &= (unsigned char)~(1U << (partition % 8));
}

/* ---- a call ---- */

typedef struct words { /* of the header; slices of it */
    og_str from, to, at, nonce, budget, mac, client;
} words;

/* Takes "name=value " off the text. */
static bool take(og_str *text, const char *name, og_str *ret)
{
    size_t n = strlen(name);
    if (!og_str_starts(*text, og_str_of(name)) || text->n <= n || text->p[n] != '=')
        return false;
    og_str rest = og_str_from(*text, n + 1);
    ptrdiff_t space = og_str_find(rest, ' ');
    if (space < 0)
        return false;
    *ret = (og_str){rest.p, (size_t)space};
    *text = og_str_from(rest, (size_t)space + 1);
    return true;
}

static bool read_words(og_str header, words *w)
{
    static const char client[] = "client=";
    if (!take(&header, "from", &w->from) || !take(&header, "to", &w->to) ||
        !take(&header, "at", &w->at) || !take(&header, "nonce", &w->nonce) ||
        !take(&header, "budget", &w->budget) || !take(&header, "mac", &w->mac) ||
        !og_str_starts(header, OG_STR(client)))
        return false;
    w->client = og_str_from(header, strlen(client)); /* the rest: it may hold spaces */
    return true;
}

static void call_lines(og_buf *b, const words *w, og_str path, og_str body)
{
    const og_str parts[] = {w->from, w->to, w->at, w->nonce, w->budget, w->client, path};
    og_buf_init(b, MAX_TEXT);
    og_buf_addz(b, "osteoguard call 1\n");
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        og_buf_addf(b, "%.*s\n", OG_STR_ARG(parts[i]));
    add_hash(b, body);
}

void forward_sign(const forward *f, const forward_call *c, int64_t now_ms, og_buf *out)
{
    char at[24], budget[24], mark[FORWARD_MARK];
    og_buf lines;
    snprintf(at, sizeof at, "%" PRId64, now_ms);
    snprintf(budget, sizeof budget, "%" PRId64, c->budget_ms);
    words w = {.from = og_str_of(f->id),
               .to = og_str_of(c->to),
               .at = og_str_of(at),
               .nonce = og_str_of(c->nonce),
               .budget = og_str_of(budget),
               .client = og_str_of(c->client)};
    call_lines(&lines, &w, c->path, c->body);
    (void)mark_of(f, &lines, mark);
    og_buf_done(&lines);
    og_buf_addf(out, "from=%s to=%s at=%s nonce=%s budget=%s mac=%s client=%s", f->id, c->to, at,
                c->nonce, budget, mark, c->client);
}

static bool read_visit(const words *w, forward_visit *ret)
{
    forward_visit v = {.budget_ms = 0};
    if (og_str_find(w->nonce, '\0') >= 0 || og_str_find(w->client, '\0') >= 0)
        return false; /* they are kept as C strings */
    if (w->nonce.n == 0 || w->nonce.n >= sizeof v.nonce || w->client.n >= sizeof v.client ||
        !og_str_int(w->budget, 0, 3600000, &v.budget_ms))
        return false;
    memcpy(v.nonce, w->nonce.p, w->nonce.n);
    memcpy(v.client, w->client.p, w->client.n);
    *ret = v;
    return true;
}

bool forward_read(og_str header, forward_visit *ret)
{
    words w;
    return header.p != NULL && read_words(header, &w) && read_visit(&w, ret);
}

const char *forward_verify(forward *f, og_str header, og_str path, og_str body, int64_t now_ms,
                           forward_visit *ret)
{
    words w;
    og_buf lines;
    int64_t at_ms;
    forward_visit v;
    if (header.p == NULL || !read_words(header, &w) || !read_visit(&w, &v) ||
        !og_str_int(w.at, 0, INT64_MAX, &at_ms))
        return "form";
    if (!og_str_is(w.to, f->id)) /* what costs nothing first: anybody can send a long body */
        return "receiver";
    if (at_ms < now_ms - LIFE_MS || at_ms > now_ms + LIFE_MS)
        return "time";
    call_lines(&lines, &w, path, body);
    bool good = is_mark(f, &lines, w.mac);
    og_buf_done(&lines);
    if (!good)
        return "mark";
    if (seen_take(f->seen, w.nonce, now_ms / 1000, (at_ms + LIFE_MS) / 1000 + 1) != SEEN_NEW)
        return "repeat";
    *ret = v;
    return "";
}

/* ---- its answer ---- */

static void answer_lines(og_buf *b, const char *nonce, int status, og_str body)
{
    og_buf_init(b, MAX_TEXT);
    og_buf_addf(b, "osteoguard answer 1\n%s\n%d\n", nonce, status);
    add_hash(b, body);
}

void forward_seal(const forward *f, const char *nonce, int status, og_str body,
                  char ret[FORWARD_MARK])
{
    og_buf lines;
    answer_lines(&lines, nonce, status, body);
    (void)mark_of(f, &lines, ret);
    og_buf_done(&lines);
}

bool forward_is_sealed(const forward *f, const char *nonce, int status, og_str body, og_str seal)
{
    og_buf lines;
    answer_lines(&lines, nonce, status, body);
    bool good = is_mark(f, &lines, seal);
    og_buf_done(&lines);
    return good;
}

/* ---- life ---- */

og_status forward_new(og_str secret, const char *id, const char *url, forward **ret, og_error *err)
{
    if (secret.n < FORWARD_MIN_SECRET)
        return og_fail(err, OG_INVALID, "the secret has fewer than %d bytes", FORWARD_MIN_SECRET);
    forward *f = calloc(1, sizeof *f);
    if (f == NULL)
        return og_fail(err, OG_NOMEM, "no memory for other instances");
    f->secret = malloc(secret.n);
    f->url = strdup(url);
    f->seen = seen_new();
    if (f->secret == NULL || f->url == NULL || f->seen == NULL) {
        forward_free(f);
        return og_fail(err, OG_NOMEM, "no memory for other instances");
    }
    memcpy(f->secret, secret.p, secret.n);
    f->secret_n = secret.n;
    snprintf(f->id, sizeof f->id, "%s", id);
    *ret = f;
    return OG_OK;
}

void forward_free(forward *f)
{
    if (f == NULL)
        return;
    for (size_t i = 0; i < f->peer_count; i++)
        free(f->peers[i].url);
    if (f->secret != NULL)
        explicit_bzero(f->secret, f->secret_n);
    free(f->secret);
    free(f->url);
    seen_free(f->seen);
    free(f);
}
