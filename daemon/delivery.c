/* Rows of deliveries and the bodies that are made of them. All decisions about what a receiver has
 * to hear are here; when to send, and what an answer means, is the outbox' and the connector's. */
#include "daemon/delivery.h"

#include <inttypes.h>

#include "daemon/delivery_fhir.h"
#include "daemon/kv_key.h"

#define MAX_BODY   ((size_t)4 << 20)
#define ROW_BYTES  512  /* of most rows */
#define HEAD_BYTES 1024 /* of most messages, beside the card */

static const char *const state_names[] = {"pending", "intent", "delivered", "parked"};

/* ---- rows ---- */

/* What all rows of a patient's endpoint begin with. */
static bool make_prefix(char *out, size_t size, og_str endpoint, og_str patient, size_t *ret_n)
{
    size_t n = endpoint.n + 1 + patient.n + 1;
    if (n > size)
        return false;
    if (endpoint.n > 0)
        memcpy(out, endpoint.p, endpoint.n);
    out[endpoint.n] = '\0';
    if (patient.n > 0)
        memcpy(out + endpoint.n + 1, patient.p, patient.n);
    out[endpoint.n + 1 + patient.n] = '\0';
    *ret_n = n;
    return true;
}

static bool make_key(char *out, size_t size, og_str endpoint, og_str patient, const char *alert_id,
                     size_t *ret_n)
{
    og_str id = {alert_id, strlen(alert_id)};
    size_t n;
    if (!make_prefix(out, size, endpoint, patient, &n) || n + id.n > size)
        return false;
    if (id.n > 0)
        memcpy(out + n, id.p, id.n);
    *ret_n = n + id.n;
    return true;
}

og_str delivery_write(og_arena *a, const delivery *d)
{
    og_buf b;
    og_buf_init(&b, MAX_BODY);
    og_buf_reserve(&b, ROW_BYTES);
    og_buf_addf(&b,
                "{\"state\":\"%s\",\"resolved\":%s,\"revision\":%" PRIu32 ",\"sequence\":%" PRId64
                ",\"attempts\":%" PRId64 ",\"next\":%" PRId64 ",\"cause\":%" PRId64
                ",\"doubtful\":\"%s\",\"doubted\":%s,\"held\":[",
                state_names[d->state], d->resolved ? "true" : "false", d->revision, d->sequence,
                d->attempts, d->next_ms, d->cause_ms, d->doubtful, d->doubted ? "true" : "false");
    for (size_t i = 0; i < d->held_count; i++)
        og_buf_addf(&b, "%s\"%s\"", i > 0 ? "," : "", d->held[i]);
    og_buf_addc(&b, ']');
    if (d->under_way[0] != '\0')
        og_buf_addf(&b, ",\"underWay\":\"%s\",\"underWayRevision\":%" PRIu32, d->under_way,
                    d->under_way_revision);
    og_buf_addz(&b, ",\"reason\":");
    og_buf_add_json(&b, d->reason);
    og_buf_addc(&b, '}');
    og_str text = og_buf_failed(&b) ? (og_str){NULL, 0} : og_arena_str(a, og_buf_str(&b));
    og_buf_done(&b);
    return text;
}

static bool read_number(fhir_elem o, const char *name, int64_t *ret)
{
    return fhir_int(fhir_get(o, name), INT64_MIN, INT64_MAX, ret);
}

static bool read_uuid(fhir_elem e, char out[UUID_TEXT])
{
    og_str raw = fhir_raw(e);
    if (fhir_kind_of(e) != FHIR_STRING || raw.n >= UUID_TEXT)
        return false;
    if (raw.n > 0)
        memcpy(out, raw.p, raw.n);
    out[raw.n] = '\0';
    return true;
}

/* May be missing. */
static bool read_under_way(fhir_elem o, delivery *d)
{
    int64_t revision = 0;
    fhir_elem card = fhir_get(o, "underWay");
    d->under_way[0] = '\0';
    d->under_way_revision = 0;
    if (!fhir_exists(card))
        return true;
    if (!read_uuid(card, d->under_way) || !read_number(o, "underWayRevision", &revision))
        return false;
    d->under_way_revision = (uint32_t)revision;
    return true;
}

static bool read_held(og_arena *a, fhir_elem list, delivery *d)
{
    uint32_t n = fhir_length(list), i = 0;
    char(*held)[UUID_TEXT] = og_arena_zalloc(a, n + 1u, sizeof *held);
    if (held == NULL)
        return false;
    for (fhir_elem e = fhir_first(list); fhir_exists(e) && i < n; e = fhir_next(list, e))
        if (!read_uuid(e, held[i++]))
            return false;
    d->held = (const char(*)[UUID_TEXT])held;
    d->held_count = i;
    return true;
}

static bool read_state(fhir_elem e, delivery_state *ret)
{
    for (size_t i = 0; i < sizeof state_names / sizeof state_names[0]; i++) {
        if (fhir_is(e, state_names[i])) {
            *ret = (delivery_state)i;
            return true;
        }
    }
    return false;
}

static bool read_key(og_str key, delivery *d)
{
    ptrdiff_t zero = og_str_find(key, '\0');
    if (zero < 0)
        return false;
    d->endpoint = (og_str){key.p, (size_t)zero};
    og_str rest = og_str_from(key, (size_t)zero + 1);
    zero = og_str_find(rest, '\0');
    if (zero < 0 || rest.n - (size_t)zero - 1 >= UUID_TEXT)
        return false;
    d->patient = (og_str){rest.p, (size_t)zero};
    og_str id = og_str_from(rest, (size_t)zero + 1);
    memcpy(d->alert_id, id.p, id.n);
    d->alert_id[id.n] = '\0';
    return true;
}

/* For want of memory nothing is damaged: it is read again. */
static og_status unreadable(const og_arena *a, og_error *err)
{
    return og_arena_failed(a) ? og_fail(err, OG_NOMEM, "no memory for a delivery")
                              : og_fail(err, OG_CORRUPT, "a stored delivery cannot be read");
}

og_status delivery_read_value(og_arena *a, og_str value, delivery *ret, og_error *err)
{
    delivery d = *ret;
    fhir_doc *doc = og_arena_zalloc(a, 1, sizeof *doc);
    int64_t revision = 0;
    value = og_arena_str(a, value); /* the row outlives the page */
    if (doc == NULL || value.p == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a delivery");
    if (fhir_decode(a, value, NULL, doc, NULL) != OG_OK)
        return unreadable(a, err);
    fhir_elem o = fhir_root(doc);
    if (!read_state(fhir_get(o, "state"), &d.state) || !read_number(o, "revision", &revision) ||
        !read_number(o, "sequence", &d.sequence) || !read_number(o, "attempts", &d.attempts) ||
        !read_number(o, "next", &d.next_ms) || !read_number(o, "cause", &d.cause_ms) ||
        !read_uuid(fhir_get(o, "doubtful"), d.doubtful) || !read_held(a, fhir_get(o, "held"), &d) ||
        !read_under_way(o, &d))
        return unreadable(a, err);
    d.resolved = fhir_kind_of(fhir_get(o, "resolved")) == FHIR_TRUE;
    d.doubted = fhir_kind_of(fhir_get(o, "doubted")) == FHIR_TRUE;
    d.revision = (uint32_t)revision;
    d.reason = fhir_string(a, fhir_get(o, "reason"));
    *ret = d;
    return OG_OK;
}

static og_status read_row(og_arena *a, og_str key, og_str value, delivery *ret, og_error *err)
{
    delivery d = {0};
    key = og_arena_str(a, key);
    if (key.p == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a delivery");
    if (!read_key(key, &d))
        return og_fail(err, OG_CORRUPT, "a stored delivery cannot be read");
    og_status status = delivery_read_value(a, value, &d, err);
    if (status == OG_OK)
        *ret = d;
    return status;
}

/* The row that says what an endpoint has been told lies among the patient's. When something is
 * wanted these pages are written anyway, so it is written then, as it will be; until the message
 * has been taken the row that waits hides it. */
static og_status put_told(store_txn *t, const delivery *d, og_str text, og_error *err)
{
    store_key told;
    og_str had;
    store_told_key(&told, d->patient, d->alert_id, d->endpoint);
    og_str key = {told.p, told.n};
    if (d->held_count == 0)
        return kv_delete(t, STORE_PATIENT, key, err);
    og_status status = kv_get(t, STORE_PATIENT, key, &had, err);
    if (status == OG_OK && og_str_eq(had, text))
        return OG_OK;
    return status == OG_OK || status == OG_NOTFOUND ? kv_put(t, STORE_PATIENT, key, text, err)
                                                    : status;
}

static og_status put_text(store_txn *t, og_arena *a, const delivery *d, og_str *ret, og_error *err)
{
    char key[KV_MAX_KEY];
    size_t n;
    og_str text = delivery_write(a, d);
    if (text.p == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a delivery");
    *ret = text;
    if (!make_key(key, sizeof key, d->endpoint, d->patient, d->alert_id, &n))
        return og_fail(err, OG_LIMIT, "the key of a delivery is too long");
    if (d->state != DELIVERY_DELIVERED)
        return kv_put(t, STORE_DELIVERY, (og_str){key, n}, text, err);
    og_status status = put_told(t, d, text, err);
    return status == OG_OK ? kv_delete(t, STORE_DELIVERY, (og_str){key, n}, err) : status;
}

og_status delivery_put(store_txn *t, og_arena *a, const delivery *d, og_error *err)
{
    og_str text;
    return put_text(t, a, d, &text, err);
}

og_status delivery_remove(store_txn *t, const delivery *d, og_error *err)
{
    char key[KV_MAX_KEY];
    size_t n;
    store_key told;
    if (!make_key(key, sizeof key, d->endpoint, d->patient, d->alert_id, &n))
        return OG_OK; /* it was never put */
    store_told_key(&told, d->patient, d->alert_id, d->endpoint);
    og_status status = kv_delete(t, STORE_DELIVERY, (og_str){key, n}, err);
    return status == OG_OK ? kv_delete(t, STORE_PATIENT, (og_str){told.p, told.n}, err) : status;
}

og_status delivery_get(store_txn *t, og_arena *a, og_str endpoint, og_str patient,
                       const char *alert_id, delivery *ret, og_error *err)
{
    char key[KV_MAX_KEY];
    size_t n;
    og_str value;
    store_key told;
    if (!make_key(key, sizeof key, endpoint, patient, alert_id, &n))
        return OG_NOTFOUND;
    og_status status = kv_get(t, STORE_DELIVERY, (og_str){key, n}, &value, err);
    if (status == OG_NOTFOUND) {
        store_told_key(&told, patient, alert_id, endpoint);
        status = kv_get(t, STORE_PATIENT, (og_str){told.p, told.n}, &value, err);
    }
    return status == OG_OK ? read_row(a, (og_str){key, n}, value, ret, err) : status;
}

typedef struct each {
    og_arena *a;
    delivery_visit *fn;
    void *ctx;
} each;

static og_status visit_row(void *ctx, og_str key, og_str value, og_error *err)
{
    const each *e = ctx;
    delivery d = {0};
    og_arena_reset(e->a);
    og_status status = read_row(e->a, key, value, &d, err);
    return status == OG_OK ? e->fn(e->ctx, &d, err) : status;
}

og_status delivery_each(store_txn *t, og_arena *a, delivery_visit *fn, void *ctx, og_error *err)
{
    each e = {a, fn, ctx};
    return kv_scan(t, STORE_DELIVERY, (og_str){NULL, 0}, (og_str){NULL, 0}, visit_row, &e, err);
}

og_status delivery_each_after(store_txn *t, og_arena *a, og_str endpoint, og_str after,
                              delivery_visit *fn, void *ctx, og_error *err)
{
    char from[KV_MAX_KEY];
    size_t n;
    each e = {a, fn, ctx};
    if (!make_prefix(from, sizeof from, endpoint, after, &n))
        return og_fail(err, OG_LIMIT, "the key of a delivery is too long");
    og_str prefix = {from, endpoint.n + 1};
    if (after.n == 0)
        n = prefix.n;
    else
        from[n - 1] = STORE_ROWS; /* behind all that has \0 there */
    return kv_scan(t, STORE_DELIVERY, (og_str){from, n}, prefix, visit_row, &e, err);
}

bool delivery_is_before(og_str patient, og_str other)
{
    char a[2 * KV_MAX_KEY], b[2 * KV_MAX_KEY];
    if (patient.n > KV_MAX_KEY || other.n > KV_MAX_KEY)
        return false; /* no row can have such a key */
    size_t a_n = kv_key_pack(patient, a), b_n = kv_key_pack(other, b);
    int order = memcmp(a, b, a_n < b_n ? a_n : b_n);
    return order < 0 || (order == 0 && a_n <= b_n);
}

static og_status note_row(void *ctx, og_str key, og_str value, og_error *err)
{
    (void)key;
    (void)value;
    (void)err;
    *(bool *)ctx = true;
    return OG_AGAIN;
}

og_status delivery_waits(store_txn *t, og_str endpoint, og_str patient, bool *ret, og_error *err)
{
    char prefix[KV_MAX_KEY];
    size_t n;
    *ret = false;
    if (!make_prefix(prefix, sizeof prefix, endpoint, patient, &n))
        return OG_OK; /* no row can have such a key */
    og_str all = {prefix, n};
    return kv_scan(t, STORE_DELIVERY, all, all, note_row, ret, err);
}

/* ---- transitions ---- */

static bool holds(const delivery *d, const char *uuid)
{
    for (size_t i = 0; i < d->held_count; i++)
        if (strcmp(d->held[i], uuid) == 0)
            return true;
    return false;
}

static og_status hold(og_arena *a, delivery *d, const char *uuid, og_error *err)
{
    if (uuid[0] == '\0' || holds(d, uuid))
        return OG_OK;
    char(*held)[UUID_TEXT] = og_arena_zalloc(a, d->held_count + 1, sizeof *held);
    if (held == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a delivery");
    if (d->held_count > 0)
        memcpy(held, d->held, d->held_count * sizeof *held);
    memcpy(held[d->held_count], uuid, UUID_TEXT);
    d->held = (const char(*)[UUID_TEXT])held;
    d->held_count++;
    return OG_OK;
}

/* The attempt that is under way is the only one that may have brought this card. */
static void note_under_way(delivery *d)
{
    if (d->state != DELIVERY_INTENT || d->doubted || d->doubtful[0] == '\0' ||
        holds(d, d->doubtful))
        return;
    memcpy(d->under_way, d->doubtful, sizeof d->under_way);
    d->under_way_revision = d->revision;
}

/* That attempt has ended; in vain: the card has not arrived. */
static og_status end_under_way(og_arena *a, delivery *d, bool in_vain, og_error *err)
{
    size_t n = 0;
    if (d->under_way[0] == '\0')
        return OG_OK;
    char(*held)[UUID_TEXT] = og_arena_zalloc(a, d->held_count + 1, sizeof *held);
    if (held == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a delivery");
    for (size_t i = 0; i < d->held_count; i++)
        if (!in_vain || strcmp(d->held[i], d->under_way) != 0)
            memcpy(held[n++], d->held[i], UUID_TEXT);
    d->held = (const char(*)[UUID_TEXT])held;
    d->held_count = n;
    d->under_way[0] = '\0';
    d->under_way_revision = 0;
    return OG_OK;
}

bool delivery_is_over(const delivery_endpoint *ep, const plan_alert *alert)
{
    return alert->state == PLAN_ALERT_RESOLVED ||
           (!ep->is_topic && (alert->state == PLAN_ALERT_SHOWN || plan_alert_is_silent(alert) ||
                              (alert->worklist && !ep->worklist)));
}

static void hold_only(delivery *d, const char (*card)[UUID_TEXT])
{
    d->held = card;
    d->held_count = card != NULL ? 1 : 0;
}

/* The row as it is wanted, not stored yet; a dropped one is taken away. */
static og_status wanted_row(store_txn *t, og_arena *a, const delivery_endpoint *ep, og_str patient,
                            const plan_alert *alert, int64_t cause_ms, delivery_wanted *ret,
                            delivery *ret_row, delivery_state *ret_was, og_error *err)
{
    delivery d = {0};
    og_status status = delivery_get(t, a, og_str_of(ep->name), patient, alert->id, &d, err);
    if (status != OG_OK && status != OG_NOTFOUND)
        return status;
    if (status == OG_NOTFOUND) {
        memset(&d, 0, sizeof d);
        d.endpoint = og_str_of(ep->name);
        d.patient = patient;
        memcpy(d.alert_id, alert->id, sizeof d.alert_id);
    }
    *ret_was = d.state;
    /* Of another owner it may be under way until then; what fails here is told anew at once. */
    bool waits = d.state == DELIVERY_INTENT || (d.state == DELIVERY_PENDING && d.attempts == 0);
    note_under_way(&d);
    status = hold(a, &d, d.doubtful, err);
    if (status != OG_OK)
        return status;
    d.doubtful[0] = '\0';
    d.doubted = false;
    d.resolved = delivery_is_over(ep, alert);
    if (d.resolved && d.held_count == 0 && !ep->is_topic) {
        *ret = DELIVERY_DROPPED;
        *ret_row = d;
        return delivery_remove(t, &d, err);
    }
    status = store_next_sequence(t, ep->name, patient, &d.sequence, err);
    if (status != OG_OK)
        return status;
    d.state = DELIVERY_PENDING;
    d.revision = alert->revision;
    d.attempts = 0;
    if (!waits)
        d.next_ms = 0;
    d.cause_ms = cause_ms;
    d.reason = (og_str){NULL, 0};
    *ret = DELIVERY_SEND;
    *ret_row = d;
    return OG_OK;
}

/* The row when the message with this card has been taken. */
static og_status taken_row(og_arena *a, const delivery_endpoint *ep, const delivery *d,
                           const char *card, delivery *ret, og_error *err)
{
    delivery taken = *d;
    char(*held)[UUID_TEXT] = og_arena_zalloc(a, 1, sizeof *held);
    if (held == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a delivery");
    memcpy(*held, card, UUID_TEXT);
    hold_only(&taken, d->resolved || ep->is_topic ? NULL : (const char(*)[UUID_TEXT])held);
    taken.doubtful[0] = taken.under_way[0] = '\0';
    taken.state = DELIVERY_DELIVERED;
    *ret = taken;
    return OG_OK;
}

/* It is wanted; what is to be written when its first attempt succeeds is written now. */
static og_status put_wanted(store_txn *t, og_arena *a, const delivery_endpoint *ep,
                            const plan_alert *alert, const delivery *d, og_error *err)
{
    delivery taken = {0};
    og_status status = delivery_put(t, a, d, err);
    if (status != OG_OK || ep->is_topic) /* nothing is told to a topic */
        return status;
    status = taken_row(a, ep, d, alert->card_uuid, &taken, err);
    if (status != OG_OK)
        return status;
    taken.attempts++;
    og_str text = taken.held_count > 0 ? delivery_write(a, &taken) : OG_STR("");
    return text.p != NULL ? put_told(t, &taken, text, err)
                          : og_fail(err, OG_NOMEM, "no memory for a delivery");
}

og_status delivery_want(store_txn *t, og_arena *a, const delivery_endpoint *ep, og_str patient,
                        const plan_alert *alert, int64_t cause_ms, delivery_wanted *ret,
                        delivery *ret_row, delivery_state *ret_was, og_error *err)
{
    og_status status = wanted_row(t, a, ep, patient, alert, cause_ms, ret, ret_row, ret_was, err);
    return status == OG_OK && *ret == DELIVERY_SEND ? put_wanted(t, a, ep, alert, ret_row, err)
                                                    : status;
}

/* Same alert, revision, state and endpoint: same key, so that a repeat is recognisable, whoever
 * sends it. An alert for the worklist comes twice at one revision when the endpoint asks for these
 * again: of such, its place in the patient's order tells that it is no repeat. */
static void idempotency_key(const delivery *d, bool worklist, char out[UUID_TEXT])
{
    char name[256];
    int n = snprintf(name, sizeof name, "%s|%" PRIu32 "|%s|%.*s", d->alert_id, d->revision,
                     d->resolved ? "resolved" : "active", OG_STR_ARG(d->endpoint));
    if (worklist)
        n += snprintf(name + n, sizeof name - (size_t)n, "|%" PRId64, d->sequence);
    uuid_of_name((og_str){name, (size_t)n}, out);
}

static void add_member(og_buf *b, const char *name, og_str value)
{
    if (value.n == 0)
        return; /* CDS Hooks knows no empty strings */
    og_buf_addf(b, ",\"%s\":", name);
    og_buf_add_json(b, value);
}

static void add_retracts(og_buf *b, const delivery *d, const plan_alert *alert)
{
    size_t n = 0;
    const char *current = d->resolved ? "" : alert->card_uuid;
    const char *reason = !d->resolved                          ? "superseded"
                         : alert->state == PLAN_ALERT_RESOLVED ? "resolved"
                         : plan_alert_is_silent(alert)         ? "overridden"
                                                               : "resolved";
    for (size_t i = 0; i < d->held_count; i++) {
        if (strcmp(d->held[i], current) == 0)
            continue;
        og_buf_addf(b, "%s{\"uuid\":\"%s\",\"reason\":\"%s\"}", n++ > 0 ? "," : ",\"retracts\":[",
                    d->held[i], reason);
    }
    if (n > 0)
        og_buf_addc(b, ']');
}

bool delivery_concerns(const delivery_endpoint *ep, og_str patient)
{
    og_str sender = record_sender(patient);
    return ep->sender == NULL || ep->sender[0] == '\0' ||
           (sender.n > 0 && og_str_is((og_str){sender.p, sender.n - 1}, ep->sender));
}

/* DESIGN 6, "Card push": an unchanged CDS Hooks response, and beside it what a pull response takes
 * from its request. OG_LIMIT: larger than a message may be. */
static og_status webhook_body(og_arena *a, const delivery_endpoint *ep, const delivery *d,
                              const plan_alert *alert, const char *key, og_str *ret)
{
    og_buf b;
    og_buf_init(&b, MAX_BODY);
    og_buf_reserve(&b, (d->resolved ? 0 : alert->card.n) + HEAD_BYTES);
    og_buf_addz(&b, "{\"cards\":[");
    if (!d->resolved)
        og_buf_adds(&b, alert->card);
    og_buf_addf(&b, "],\"extension\":{\"org.osteoguard.delivery\":{\"id\":\"%s\"", key);
    og_str sender = record_sender(d->patient);
    add_member(&b, "patientId", record_plain_id(d->patient));
    add_member(&b, "sender", (og_str){sender.p, sender.n > 0 ? sender.n - 1 : 0});
    add_member(&b, "fhirServer", og_str_of(ep->fhir_server));
    add_member(&b, "service", og_str_of(ep->service));
    og_buf_addf(&b, ",\"sequence\":%" PRId64 ",\"alertId\":\"%s\",\"revision\":%" PRIu32,
                d->sequence, d->alert_id, d->revision);
    add_member(&b, "rule", alert->rule);
    add_retracts(&b, d, alert);
    og_buf_addz(&b, "}}}");
    og_status status = b.full ? OG_LIMIT : og_buf_failed(&b) ? OG_NOMEM : OG_OK;
    if (status == OG_OK) {
        *ret = og_arena_str(a, og_buf_str(&b));
        status = ret->p != NULL ? OG_OK : OG_NOMEM;
    }
    og_buf_done(&b);
    return status;
}

static og_status make_message(og_arena *a, const delivery_endpoint *ep, og_str tenant, delivery *d,
                              const plan_alert *alert, og_str written, delivery_message *ret)
{
    char uuid[UUID_TEXT];
    if (ep->is_topic) {
        ret->key = og_arena_printf(a, "%.*s|%.*s|%s", OG_STR_ARG(tenant), OG_STR_ARG(d->patient),
                                   d->alert_id);
        ret->body = written.p != NULL ? written : plan_alert_write(a, alert);
        return ret->key.p != NULL && ret->body.p != NULL ? OG_OK : OG_NOMEM;
    }
    idempotency_key(d, alert->worklist, uuid);
    ret->key = og_arena_str(a, og_str_of(uuid));
    og_status status = ep->fhir ? delivery_fhir_body(a, ep, d, alert, MAX_BODY, &ret->body)
                                : webhook_body(a, ep, d, alert, uuid, &ret->body);
    if (status == OG_OK && !d->resolved)
        memcpy(d->doubtful, alert->card_uuid, sizeof d->doubtful);
    return status == OG_OK && ret->key.p == NULL ? OG_NOMEM : status;
}

/* Nobody would ever take it: kept for people, and out of the others' way. */
static og_status park(store_txn *t, og_arena *a, delivery *d, const char *reason,
                      delivery_message *m, og_error *err)
{
    d->state = DELIVERY_PARKED;
    d->reason = og_str_of(reason);
    return put_text(t, a, d, &m->row, err);
}

bool delivery_says(const delivery *d, const delivery_endpoint *ep, const plan_alert *alert)
{
    return d->revision == alert->revision && d->resolved == delivery_is_over(ep, alert);
}

/* The row and its alert. OG_NOTFOUND: nothing is to be sent. */
static og_status due_row(store_txn *t, og_arena *a, const delivery_endpoint *ep, og_str patient,
                         const char *alert_id, delivery *d, plan_alert *alert, og_error *err)
{
    delivery_wanted wanted;
    delivery_state was;
    og_status status = delivery_get(t, a, og_str_of(ep->name), patient, alert_id, d, err);
    if (status == OG_OK && d->state == DELIVERY_DELIVERED)
        status = OG_NOTFOUND;
    if (status == OG_OK)
        status = store_alert(t, a, patient, alert_id, alert, err);
    if (status != OG_OK || delivery_says(d, ep, alert))
        return status;
    status = delivery_want(t, a, ep, patient, alert, d->cause_ms, &wanted, d, &was, err);
    return status == OG_OK && wanted == DELIVERY_DROPPED ? OG_NOTFOUND : status;
}

/* The message is made: from now on it may be on its way. */
static og_status intend(store_txn *t, og_arena *a, delivery *d, delivery_message *m, og_error *err)
{
    if (d->state == DELIVERY_INTENT)
        d->doubted = true;  /* the attempt before was cut off: we never heard of its end */
    d->under_way[0] = '\0'; /* one at a time: nobody hears of an older one any more */
    d->state = DELIVERY_INTENT;
    d->attempts++;
    return put_text(t, a, d, &m->row, err);
}

og_status delivery_prepare(store_txn *t, og_arena *a, const delivery_endpoint *ep, og_str tenant,
                           og_str patient, const char *alert_id, delivery *ret_row,
                           delivery_message *ret, og_error *err)
{
    delivery d = {0};
    delivery_message m = {.body = {NULL, 0}};
    plan_alert alert;
    og_status status = due_row(t, a, ep, patient, alert_id, &d, &alert, err);
    if (status != OG_OK)
        return status;
    status = make_message(a, ep, tenant, &d, &alert, (og_str){NULL, 0}, &m);
    if (status == OG_NOMEM)
        return og_fail(err, OG_NOMEM, "no memory for a delivery");
    if (status == OG_LIMIT)
        status = park(t, a, &d, "the message would be larger than 4 MB", &m, err);
    else
        status = intend(t, a, &d, &m, err);
    if (status == OG_OK) {
        *ret_row = d;
        *ret = m;
    }
    return status;
}

og_status delivery_want_now(store_txn *t, og_arena *a, const delivery_endpoint *ep, og_str tenant,
                            og_str patient, const plan_alert *alert, og_str written,
                            int64_t cause_ms, delivery_wanted *ret, delivery *ret_row,
                            delivery_state *ret_was, delivery_message *ret_message, og_error *err)
{
    delivery_message m = {.body = {NULL, 0}};
    *ret_message = m;
    og_status status = wanted_row(t, a, ep, patient, alert, cause_ms, ret, ret_row, ret_was, err);
    if (status != OG_OK || *ret == DELIVERY_DROPPED)
        return status;
    if (*ret_was == DELIVERY_INTENT)
        return put_wanted(t, a, ep, alert, ret_row, err);
    status = make_message(a, ep, tenant, ret_row, alert, written, &m);
    if (status == OG_NOMEM)
        return og_fail(err, OG_NOMEM, "no memory for a delivery");
    if (status == OG_LIMIT) /* whoever prepares it gives it up, and says so */
        return put_wanted(t, a, ep, alert, ret_row, err);
    status = intend(t, a, ret_row, &m, err);
    if (status == OG_OK)
        *ret_message = m;
    return status;
}

/* The row as text, where it is not stored. */
static og_status write_row(og_arena *a, const delivery *d, og_str *ret, og_error *err)
{
    *ret = delivery_write(a, d);
    return ret->p != NULL ? OG_OK : og_fail(err, OG_NOMEM, "no memory for a delivery");
}

static og_status remove_told(store_txn *t, og_arena *a, delivery *d, og_str *ret_row, og_error *err)
{
    og_status status = delivery_remove(t, d, err);
    d->state = DELIVERY_DELIVERED;
    return status == OG_OK ? write_row(a, d, ret_row, err) : status;
}

static og_status settle_done(store_txn *t, og_arena *a, const delivery_endpoint *ep, delivery *d,
                             og_str *ret_row, og_error *err)
{
    og_status status = taken_row(a, ep, d, d->doubtful, d, err);
    if (status != OG_OK || d->held_count > 0)
        return status == OG_OK ? put_text(t, a, d, ret_row, err) : status;
    return remove_told(t, a, d, ret_row, err);
}

/* Wanted anew while it was under way: want() has put its card among those held. */
static og_status settle_late(store_txn *t, og_arena *a, const delivery_endpoint *ep, delivery *d,
                             const delivery_outcome *o, og_str *ret_row, og_error *err)
{
    bool in_vain = o->verdict == CONN_NEVER || (o->verdict == CONN_AGAIN && !o->in_doubt);
    og_str unsaid;
    og_status status = OG_OK;
    if (o->verdict == CONN_DONE && o->resolved)
        hold_only(d, NULL);
    if (!o->resolved && d->under_way_revision == o->revision)
        status = end_under_way(a, d, in_vain, err);
    if (status != OG_OK)
        return status;
    if (in_vain && d->state == DELIVERY_PENDING && d->resolved && d->held_count == 0 &&
        !ep->is_topic)
        return remove_told(t, a, d, ret_row, err);
    return put_text(t, a, d, o->verdict == CONN_AGAIN ? &unsaid : ret_row, err);
}

og_status delivery_settle(store_txn *t, og_arena *a, const delivery_endpoint *ep, og_str patient,
                          const char *alert_id, const delivery_outcome *o, og_str *ret_row,
                          og_error *err)
{
    delivery d = {0};
    og_str unsaid;
    *ret_row = (og_str){NULL, 0};
    og_status status = delivery_get(t, a, og_str_of(ep->name), patient, alert_id, &d, err);
    if (status != OG_OK)
        return status;
    if (d.revision != o->revision || d.resolved != o->resolved || d.state != DELIVERY_INTENT)
        return settle_late(t, a, ep, &d, o, ret_row, err);
    if (o->verdict == CONN_DONE)
        return settle_done(t, a, ep, &d, ret_row, err);
    if (o->verdict == CONN_AGAIN && o->in_doubt)
        d.doubted = true;
    if (!d.doubted)
        d.doubtful[0] = '\0'; /* no attempt has arrived */
    if (o->verdict == CONN_NEVER) {
        d.state = DELIVERY_PARKED;
        d.reason = og_str_of(o->reason);
    } else {
        d.state = DELIVERY_PENDING;
        d.next_ms = o->next_ms;
        d.attempts -= o->not_sent && d.attempts > 0;
    }
    return put_text(t, a, &d, o->verdict == CONN_AGAIN ? &unsaid : ret_row, err);
}
