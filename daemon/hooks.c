/* Discovery and answers of the CDS services. */
#include "daemon/hooks.h"

#include <stdlib.h>

#include "daemon/hook_lenient.h"
#include "daemon/moment.h"
#include "daemon/prefetch.h"
#include "daemon/shown.h"
#include "daemon/uuid.h"
#include "fhir/base/table.h"
#include "fhir/bundle.h"

#define MAX_ANSWER ((size_t)16 << 20)

/* ---- discovery ---- */

const hook_kind *hooks_service(const plan_content *c, og_str id)
{
    size_t only;
    if (!og_str_starts(id, OG_STR(HOOKS_SERVICE_PREFIX)))
        return NULL;
    const hook_kind *kind = hook_kind_find(og_str_from(id, strlen(HOOKS_SERVICE_PREFIX)));
    return kind != NULL && plan_content_hook_rules(c, og_str_of(kind->name), &only) > 0 ? kind
                                                                                        : NULL;
}

static void add_template(void *ctx, const char *name, og_str query)
{
    og_buf *out = ctx;
    og_buf_addf(out, "%s\"%s\":\"%.*s\"", og_str_ends(og_buf_str(out), OG_STR("{")) ? "" : ",",
                name, OG_STR_ARG(query));
}

static void add_prefetch(const plan_content *c, og_buf *out)
{
    og_buf_addz(out, ",\"prefetch\":{");
    prefetch_each(c, add_template, out);
    og_buf_addc(out, '}');
}

void hooks_discovery(const plan_content *c, og_buf *out)
{
    const hook_kind *kind;
    size_t only, count = 0;
    og_buf_addz(out, "{\"services\":[");
    for (size_t i = 0; (kind = hook_kind_at(i)) != NULL; i++) {
        if (plan_content_hook_rules(c, og_str_of(kind->name), &only) == 0)
            continue;
        og_buf_addf(out,
                    "%s{\"hook\":\"%s\",\"title\":\"%s\",\"description\":\"%s\",\"id\":\"%s%s\","
                    "\"version\":\"2.0.0\",\"hookVersion\":\"%s\",\"usageRequirements\":\"Nothing "
                    "has to be sent along: what the prefetch templates name makes the answer more "
                    "current than the event stream.\"",
                    count++ > 0 ? "," : "", kind->name, kind->title, kind->description,
                    HOOKS_SERVICE_PREFIX, kind->name, kind->version);
        add_prefetch(c, out);
        og_buf_addc(out, '}');
    }
    og_buf_addz(out, "]}");
}

/* ---- errors ---- */

og_str hooks_outcome(og_arena *a, const char *code, const char *text, const char *path)
{
    og_buf b;
    og_buf_init(&b, 4096);
    og_buf_addf(&b,
                "{\"resourceType\":\"OperationOutcome\",\"issue\":[{\"severity\":\"error\","
                "\"code\":\"%s\",\"diagnostics\":",
                code);
    og_str sentence = path[0] != '\0' ? og_arena_printf(a, "%s %s", path, text) : og_str_of(text);
    og_buf_add_json(&b, sentence);
    if (path[0] != '\0') {
        og_buf_addz(&b, ",\"expression\":[");
        og_buf_add_json(&b, og_str_of(path));
        og_buf_addc(&b, ']');
    }
    og_buf_addz(&b, "}]}");
    og_str json = og_buf_failed(&b) ? (og_str){NULL, 0} : og_arena_str(a, og_buf_str(&b));
    og_buf_done(&b);
    return json;
}

static void refuse(hooks_call *c, int status, const char *code, const char *text)
{
    c->status = status;
    c->answer = hooks_outcome(c->arena, code, text, "");
}

/* ---- the patient as this call sees it ---- */

typedef struct view {
    hooks_call *call;
    og_arena *arena;
    fhir_resource *list;
    uint64_t *hashes; /* of each one's text, as in store_view_hashed */
    size_t count, cap;
    og_table places;   /* Type/id → place in list, from 1 */
    bool sent;         /* the request brought something that rules read */
    bool partial;      /* a page of more, or an OperationOutcome in place of data, or not fetched */
    bool known;        /* the store has something of the patient */
    bool fetched;      /* something that rules read came from the FHIR server */
    bool relevant;     /* a draft that rules read */
    og_table selected; /* Type/id of what the user has chosen */
    unsigned drafts;
} view;

static bool grow(view *v)
{
    if (v->count < v->cap)
        return true;
    size_t cap = v->cap != 0 ? v->cap * 2 : 64;
    v->list = og_arena_grow(v->arena, v->list, v->cap * sizeof *v->list, cap * sizeof *v->list);
    v->hashes =
        og_arena_grow(v->arena, v->hashes, v->cap * sizeof *v->hashes, cap * sizeof *v->hashes);
    v->cap = cap;
    return v->list != NULL && v->hashes != NULL;
}

static og_str key_of(view *v, const fhir_resource *r)
{
    return og_arena_printf(v->arena, "%.*s/%.*s", OG_STR_ARG(r->type), OG_STR_ARG(r->id));
}

static bool add(view *v, og_str key, const fhir_resource *r, uint64_t hash)
{
    if (key.p == NULL || !grow(v))
        return false;
    v->list[v->count] = *r;
    v->hashes[v->count++] = hash;
    return og_table_put(&v->places, key, (void *)(uintptr_t)v->count);
}

/* True when both say when they were written and `sent` is the older one. */
static bool is_older(const fhir_resource *sent, const fhir_resource *have)
{
    og_temporal a, b;
    return og_temporal_parse_fhir(fhir_meta_last_updated(sent), &a) &&
           og_temporal_parse_fhir(fhir_meta_last_updated(have), &b) &&
           og_temporal_earliest_ms(&a, 0) < og_temporal_earliest_ms(&b, 0);
}

/* What the EHR sends is what it has now: it stands in for our version unless it is older. */
static bool put(view *v, const fhir_resource *r)
{
    og_str key = key_of(v, r), text = fhir_raw(r->root);
    uintptr_t place = key.p != NULL ? (uintptr_t)og_table_get(&v->places, key) : 0;
    if (place == 0)
        return add(v, key, r, og_str_hash(text));
    fhir_resource *have = &v->list[place - 1];
    if (og_str_eq(fhir_raw(have->root), text) || is_older(r, have))
        return true;
    *have = *r;
    v->hashes[place - 1] = og_str_hash(text);
    return true;
}

static bool is_ours(view *v, const fhir_resource *r)
{
    og_str patient;
    if (!fhir_in_patient_compartment(r->type))
        return true;
    return fhir_patient_of(v->arena, r, NULL, &patient, NULL) == OG_OK &&
           og_str_eq(patient, v->call->request->patient_id);
}

/* The answer rests on less than was sent, and says so. */
static og_status misread(view *v, const og_error *why, og_status status)
{
    hooks_call *c = v->call;
    if (c->misread++ == 0)
        memcpy(c->misread_path, why->path, sizeof c->misread_path);
    v->partial = true;
    return status;
}

/* What is known already is taken as it is or not at all. */
static og_status check_known(view *v, const fhir_resource *r)
{
    og_error why;
    og_error_init(&why);
    og_status s = fhir_resource_check(r, &why);
    return s == OG_OK ? OG_OK : misread(v, &why, s);
}

static og_status check_draft(view *v, fhir_resource *r)
{
    unsigned cut = 0;
    og_error why;
    og_error_init(&why);
    og_status s = hook_cut_misread(v->arena, r, &cut, &why);
    return s == OG_OK && cut == 0 ? OG_OK : misread(v, &why, s);
}

static bool take_resource(view *v, fhir_elem e)
{
    fhir_resource r;
    if (fhir_is(fhir_get(e, "resourceType"), "OperationOutcome")) {
        v->partial = true;
        return true;
    }
    if (fhir_resource_of(e, &r, NULL) != OG_OK || r.id.n == 0 ||
        !plan_content_wants_type(v->call->content, r.type))
        return true; /* nothing that a rule could ask for */
    og_status s = check_known(v, &r);
    if (s != OG_OK || !is_ours(v, &r))
        return s != OG_NOMEM;
    v->sent = true;
    return put(v, &r);
}

static bool take_prefetch(view *v, fhir_elem value)
{
    if (fhir_kind_of(value) != FHIR_OBJECT)
        return true; /* null: the client has no data */
    if (!fhir_is(fhir_get(value, "resourceType"), "Bundle"))
        return take_resource(v, value);
    fhir_elem entries = fhir_get(value, "entry");
    v->partial |= fhir_exists(prefetch_next_page(value));
    for (fhir_elem e = fhir_each_first(entries); fhir_exists(e); e = fhir_each_next(entries, e))
        if (!take_resource(v, fhir_get(e, "resource")))
            return false;
    return true;
}

/* What came from the FHIR server counts as what was sent along does. What was sent in part is whole
 * when the rest could be fetched. */
static og_status take_fetched(view *v, og_error *err)
{
    const hooks_call *c = v->call;
    bool sent = v->sent, good = true;
    v->sent = false;
    for (size_t i = 0; i < c->fetched_count && good; i++) {
        fhir_doc *doc = og_arena_zalloc(v->arena, 1, sizeof *doc);
        if (doc == NULL)
            return og_fail(err, OG_NOMEM, "no memory for a call");
        og_status s = fhir_decode(v->arena, c->fetched[i], NULL, doc, NULL);
        if (s == OG_NOMEM)
            return og_fail(err, OG_NOMEM, "no memory for a call");
        good = s != OG_OK || take_prefetch(v, fhir_root(doc));
    }
    v->fetched = v->sent;
    v->sent = sent;
    if (c->tried)
        v->partial = !c->complete || c->misread > 0;
    return good ? OG_OK : og_fail(err, OG_NOMEM, "no memory for a call");
}

/* ---- drafts ---- */

static bool note_selections(view *v)
{
    fhir_elem list = v->call->request->selections;
    og_table_init(&v->selected, v->arena);
    for (fhir_elem s = fhir_each_first(list); fhir_exists(s); s = fhir_each_next(list, s)) {
        fhir_reference ref = fhir_reference_parse(fhir_raw(s));
        og_str key =
            og_arena_printf(v->arena, "%.*s/%.*s", OG_STR_ARG(ref.type), OG_STR_ARG(ref.id));
        if (key.p == NULL || !og_table_put(&v->selected, key, v))
            return false;
    }
    return true;
}

/* The draft as an order: `draft` becomes `active`, and it has an id and a subject, which what is
 * not on the server yet may lack. */
static og_status as_order(view *v, const fhir_resource *r, fhir_resource *ret)
{
    og_str raw = fhir_raw(r->root);
    fhir_elem status = fhir_get(r->root, "status");
    og_str word = fhir_raw(status);
    bool draft = fhir_is(status, "draft");
    bool self, owned = fhir_exists(fhir_patient_element(r, &self)) ||
                       !fhir_in_patient_compartment(r->type);
    fhir_doc *doc = og_arena_zalloc(v->arena, 1, sizeof *doc);
    og_buf b;
    og_buf_init(&b, raw.n + 512);
    og_buf_addc(&b, '{');
    if (r->id.n == 0)
        og_buf_addf(&b, "\"id\":\"draft-%u\",", v->drafts);
    if (!owned) {
        og_buf_addz(&b, "\"subject\":{\"reference\":\"Patient/");
        og_buf_adds(&b, v->call->request->patient_id);
        og_buf_addz(&b, "\"},");
    }
    if (draft) {
        og_buf_add(&b, raw.p + 1, (size_t)(word.p - raw.p) - 1);
        og_buf_addz(&b, "active");
        og_buf_adds(&b, og_str_from(raw, (size_t)(word.p - raw.p) + word.n));
    } else {
        og_buf_adds(&b, og_str_from(raw, 1));
    }
    og_str text = og_buf_failed(&b) ? (og_str){NULL, 0} : og_arena_str(v->arena, og_buf_str(&b));
    og_buf_done(&b);
    if (doc == NULL || text.p == NULL)
        return OG_NOMEM;
    og_status s = fhir_decode(v->arena, text, NULL, doc, NULL);
    return s == OG_OK ? fhir_resource_of(fhir_root(doc), ret, NULL) : s;
}

/* An order form that is open, and no drug is chosen yet. */
static bool orders_nothing(const fhir_resource *r)
{
    return og_str_is(r->type, "MedicationRequest") &&
           !fhir_exists(fhir_get(r->root, "medicationCodeableConcept")) &&
           !fhir_exists(fhir_get(r->root, "medicationReference"));
}

static bool take_draft(view *v, fhir_elem e)
{
    fhir_resource r, order;
    v->drafts++;
    if (fhir_resource_of(e, &r, NULL) != OG_OK ||
        (v->call->request->kind->selections && og_table_get(&v->selected, key_of(v, &r)) == NULL))
        return true;
    og_status read = check_draft(v, &r);
    if (read != OG_OK || orders_nothing(&r))
        return read != OG_NOMEM;
    og_status s = as_order(v, &r, &order);
    if (s == OG_NOMEM)
        return false;
    if (s != OG_OK || !plan_content_wants(v->call->content, &order) || !is_ours(v, &order))
        return true;
    v->relevant = true;
    return put(v, &order);
}

static bool take_drafts(view *v)
{
    const hook_request *q = v->call->request;
    if (!fhir_exists(q->drafts))
        return true;
    if (!note_selections(v))
        return false;
    if (q->kind->drafts == HOOK_RESOURCE)
        return take_draft(v, q->drafts);
    fhir_elem entries = fhir_get(q->drafts, "entry");
    for (fhir_elem e = fhir_each_first(entries); fhir_exists(e); e = fhir_each_next(entries, e))
        if (!take_draft(v, fhir_get(e, "resource")))
            return false;
    return true;
}

static og_status view_fill(view *v, store_txn *t, store_txn *shared, og_error *err)
{
    const hook_request *q = v->call->request;
    const fhir_resource *known = NULL;
    const uint64_t *hashes = NULL;
    size_t count = 0;
    bool good = true;
    og_table_init(&v->places, v->arena);
    og_status s = OG_OK;
    if (t != NULL)
        s = store_view_hashed(t, shared, v->arena, q->patient, &known, &hashes, &count, err);
    for (size_t i = 0; s == OG_OK && i < count; i++)
        good = good && add(v, key_of(v, &known[i]), &known[i], hashes[i]);
    v->known = s == OG_OK && count > 0;
    for (fhir_elem e = fhir_first(q->prefetch); s == OG_OK && fhir_exists(e);
         e = fhir_next(q->prefetch, e))
        good = good && take_prefetch(v, e);
    if (s == OG_OK && good)
        s = take_fetched(v, err);
    if (s == OG_OK)
        good = good && take_drafts(v);
    return s == OG_OK && !good ? og_fail(err, OG_NOMEM, "no memory for a call") : s;
}

/* ---- cards ---- */

typedef struct told { /* a card that goes into the answer */
    og_str rule, json;
    og_str note; /* behind the detail; may be empty */
    plan_indicator indicator;
    char uuid[UUID_TEXT]; /* to be added; empty: it has one */
} told;

typedef struct answer {
    hooks_call *call;
    const view *view;
    store_txn *txn; /* of the patient's partition; NULL: another instance has it */
    told *list;
    size_t count;
} answer;

static int by_weight(const void *a, const void *b)
{
    const told *x = a, *y = b;
    if (x->indicator != y->indicator)
        return x->indicator > y->indicator ? -1 : 1;
    return og_str_cmp(x->rule, y->rule);
}

/* Until when the data reach that this answer rests on. */
static og_str freshness(const answer *w, char when[48])
{
    const hooks_call *c = w->call;
    bool german = c->language != NULL && strncmp(c->language, "de", 2) == 0;
    moment m = {c->known_ms, c->offset_min};
    size_t n = c->known_ms >= 0 ? moment_format(&m, when) : 0;
    when[n] = '\0';
    const char *known = german ? "Datenstand" : "Data known until";
    const char *unknown =
        german ? "Datenstand nicht bekannt" : "How current the data are is not known";
    const char *sent = !w->view->sent ? ""
                       : german       ? ", ergänzt um die Daten dieser Anfrage"
                                      : ", with what this request brought along";
    const char *fetched = !w->view->fetched ? ""
                          : german          ? ", ergänzt um Daten vom FHIR-Server"
                                            : ", with data fetched from the FHIR server";
    const char *part = !w->view->partial ? "" : german ? " (unvollständig)" : " (incomplete)";
    return og_arena_printf(c->arena, "%s%s%s%s%s%s", n > 0 ? known : unknown, n > 0 ? " " : "",
                           when, sent, fetched, part);
}

static void add_freshness(const answer *w, og_buf *out, const char *when)
{
    og_buf_addz(out, "\"org.osteoguard.freshness\":{");
    if (when[0] != '\0')
        og_buf_addf(out, "\"knownUntil\":\"%s\",", when);
    og_buf_addf(out, "\"request\":%s,\"fetched\":%s,\"partial\":%s}",
                w->view->sent ? "true" : "false", w->view->fetched ? "true" : "false",
                w->view->partial ? "true" : "false");
}

/* The card with its uuid, and what it rests on in time: at the end of its detail for people, in an
 * extension for programs. */
static og_status write_card(const answer *w, const told *t, og_buf *out, og_error *err)
{
    fhir_doc doc;
    char when[48];
    og_str line = freshness(w, when);
    if (t->note.n > 0)
        line = og_arena_printf(w->call->arena, "%.*s. %.*s", OG_STR_ARG(line), OG_STR_ARG(t->note));
    og_status s = fhir_decode(w->call->arena, t->json, NULL, &doc, err);
    if (s != OG_OK)
        return s;
    og_str detail = fhir_raw(fhir_get(fhir_root(&doc), "detail"));
    og_str extension = fhir_raw(fhir_get(fhir_root(&doc), "extension"));
    const char *at = t->json.p + 1, *end = t->json.p + t->json.n - 1;
    og_buf_addc(out, '{');
    if (t->uuid[0] != '\0')
        og_buf_addf(out, "\"uuid\":\"%s\",", t->uuid);
    if (detail.p == NULL) {
        og_buf_addz(out, "\"detail\":");
        og_buf_add_json(out, line);
        og_buf_addc(out, ',');
    } else {
        og_buf_add(out, at, (size_t)(detail.p + detail.n - at));
        og_buf_addf(out, "\\n\\n%.*s", OG_STR_ARG(line));
        at = detail.p + detail.n;
    }
    if (extension.p == NULL || extension.p < at) {
        og_buf_add(out, at, (size_t)(end - at));
        og_buf_addz(out, ",\"extension\":{");
        add_freshness(w, out, when);
        og_buf_addz(out, "}}");
        return OG_OK;
    }
    og_buf_add(out, at, (size_t)(extension.p + 1 - at));
    add_freshness(w, out, when);
    if (extension.n > 2)
        og_buf_addc(out, ',');
    og_buf_add(out, extension.p + 1, (size_t)(t->json.p + t->json.n - (extension.p + 1)));
    return OG_OK;
}

static og_status write_answer(answer *w, og_error *err)
{
    og_buf b;
    og_status s = OG_OK;
    if (w->count > 1)
        qsort(w->list, w->count, sizeof *w->list, by_weight);
    og_buf_init(&b, MAX_ANSWER);
    og_buf_addz(&b, "{\"cards\":[");
    for (size_t i = 0; i < w->count && s == OG_OK; i++) {
        og_buf_addz(&b, i > 0 ? "," : "");
        s = write_card(w, &w->list[i], &b, err);
    }
    og_buf_addc(&b, ']');
    if (w->view->partial) { /* said also where no card could say it */
        char when[48];
        (void)freshness(w, when);
        og_buf_addz(&b, ",\"extension\":{");
        add_freshness(w, &b, when);
        og_buf_addc(&b, '}');
    }
    og_buf_addc(&b, '}');
    if (s == OG_OK && og_buf_failed(&b))
        s = og_fail(err, OG_NOMEM, "no memory for the answer");
    if (s == OG_OK) {
        w->call->status = 200;
        w->call->cards = w->count;
        w->call->answer = og_arena_str(w->call->arena, og_buf_str(&b));
        if (w->call->answer.p == NULL)
            s = og_fail(err, OG_NOMEM, "no memory for the answer");
    }
    og_buf_done(&b);
    return s;
}

static const plan_alert *stored_alert(const plan_alert *list, size_t count, const char *id)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].state == PLAN_ALERT_ACTIVE && strcmp(list[i].id, id) == 0)
            return &list[i];
    return NULL;
}

/* What the store holds already. */
static og_status tell_alerts(answer *w, const plan_alert *alerts, size_t count, og_error *err)
{
    og_str hook = og_str_of(w->call->request->kind->name);
    w->list = og_arena_zalloc(w->call->arena, count + 1, sizeof *w->list);
    if (w->list == NULL)
        return og_fail(err, OG_NOMEM, "no memory for the answer");
    for (size_t i = 0; i < count; i++)
        if (alerts[i].state == PLAN_ALERT_ACTIVE && !plan_alert_is_silent(&alerts[i]) &&
            plan_content_on_hook(w->call->content, alerts[i].rule, hook))
            w->list[w->count++] = (told){
                .rule = alerts[i].rule, .json = alerts[i].card, .indicator = alerts[i].indicator};
    return write_answer(w, err);
}

/* Once: of another instance's patient the owner knows whether it has been noted already. */
static og_status note_shown(const answer *w, const plan_card *card, const char *uuid, og_error *err)
{
    hooks_call *c = w->call;
    og_str patient = c->request->patient;
    plan_alert had;
    char former[UUID_TEXT];
    og_status s =
        w->txn != NULL ? store_alert(w->txn, c->arena, patient, uuid, &had, err) : OG_NOTFOUND;
    if (s == OG_NOTFOUND && w->txn != NULL) {
        store_former_finding_uuid(card->alert_id, card->material, former);
        s = store_alert(w->txn, c->arena, patient, former, &had, err);
    }
    if (s == OG_NOTFOUND) {
        c->shown[c->shown_count++] = shown_of(c->arena, c->content, card, uuid,
                                              og_str_of(c->request->kind->name), c->now_ms);
        s = OG_OK;
    }
    return s;
}

/* A card of this call: the one that was said already when nothing material differs, else one with
 * a name of its own, the same for the same finding. An override counts for both. */
static og_status tell_card(answer *w, store_txn *shared, const plan_card *card,
                           const plan_alert *stored, og_error *err)
{
    hooks_call *c = w->call;
    told t = {.rule = card->rule, .json = card->json, .indicator = card->indicator};
    feedback_about about = {card->rule, card->alert_id, "", card->material, card->indicator};
    plan_feedback said;
    if (stored != NULL && stored->material == card->material) {
        t.json = stored->card; /* one that was held has no words, and no indicator either */
        t.indicator = stored->indicator;
        if (!plan_alert_is_silent(stored))
            w->list[w->count++] = t;
        return OG_OK;
    }
    store_finding_uuid(card->alert_id, card->material, t.uuid);
    og_status s = shared != NULL
                      ? feedback_find(shared, c->arena, c->feedback, c->content, &about, &said, err)
                      : OG_NOTFOUND;
    if (s == OG_OK && said.answer == PLAN_OVERRIDDEN) {
        if (said.until_ms > c->now_ms)
            return OG_OK;
        t.note = plan_feedback_note(c->arena, c->content, &said);
    }
    w->list[w->count++] = t;
    return s == OG_NOTFOUND || s == OG_OK ? note_shown(w, card, t.uuid, err) : s;
}

/* What is missing may be among what could not be had of a patient whom the store does not know. */
static bool is_premature(const answer *w, og_str rule)
{
    return w->view->partial && !w->view->known &&
           plan_content_rests_on_absence(w->call->content, rule);
}

/* Whether every card that may be told has its words in the store. */
static bool is_said(const answer *w, const plan_result *r, og_str hook, const plan_alert *alerts,
                    size_t count)
{
    for (size_t i = 0; i < r->card_count; i++) {
        const plan_card *card = &r->cards[i];
        const plan_alert *stored = stored_alert(alerts, count, card->alert_id);
        if (plan_content_on_hook(w->call->content, card->rule, hook) &&
            (stored == NULL || stored->material != card->material))
            return false;
    }
    return true;
}

/* What a call for this hook has evaluated resembles this one most; else it is what was evaluated
 * when the data came. */
static og_status look_back(const answer *w, plan_patient *p, note_view *ret, og_error *err)
{
    hooks_call *c = w->call;
    const bool keeps = p->keeps;
    og_str stored = {NULL, 0};
    note_look(c->arena, c->program, c->content, p, w->view->hashes,
              recall_find(c->recall, c->arena, p), c->now_ms, c->offset_min, ret);
    if (ret->holds || c->program == NULL || w->txn == NULL)
        return OG_OK;
    og_status s = store_get_note(w->txn, c->arena, p->id, &stored, err);
    if (s != OG_OK || stored.n == 0)
        return s;
    p->keeps = keeps;
    note_look(c->arena, c->program, c->content, p, w->view->hashes, stored, c->now_ms,
              c->offset_min, ret);
    return OG_OK;
}

static og_status evaluate(answer *w, plan_patient *p, const plan_alert *alerts, size_t count,
                          plan_result *ret, og_error *err)
{
    hooks_call *c = w->call;
    note_view known;
    og_status s = look_back(w, p, &known, err);
    if (s == OG_OK)
        s = plan_content_evaluate(c->content, c->arena, p, c->now_ms, c->offset_min, PLAN_CARDS,
                                  ret, err);
    if (s == OG_OK && ret->brief && !is_said(w, ret, p->hook, alerts, count)) {
        p->held = NULL;
        s = plan_content_evaluate(c->content, c->arena, p, c->now_ms, c->offset_min, PLAN_CARDS,
                                  ret, err);
    }
    if (s == OG_OK)
        recall_keep(c->recall, p, note_make(c->arena, &known, ret, recall_room(c->recall)));
    return s;
}

static og_status tell_evaluated(answer *w, store_txn *shared, const plan_alert *alerts,
                                size_t count, og_error *err)
{
    hooks_call *c = w->call;
    plan_result result;
    plan_patient patient = {.tenant = og_str_of(c->tenant),
                            .id = c->request->patient,
                            .plain_id = c->request->patient_id,
                            .resources = w->view->list,
                            .resource_count = w->view->count,
                            .hook = og_str_of(c->request->kind->name),
                            .keeps = true};
    og_status s = evaluate(w, &patient, alerts, count, &result, err);
    if (s != OG_OK)
        return s;
    c->evaluated = true;
    c->asked = result.asked;
    c->spared = result.spared;
    c->outcomes = result.outcomes;
    c->outcome_count = result.outcome_count;
    w->list = og_arena_zalloc(c->arena, result.card_count + 1, sizeof *w->list);
    c->shown = og_arena_zalloc(c->arena, result.card_count + 1, sizeof *c->shown);
    if (w->list == NULL || c->shown == NULL)
        return og_fail(err, OG_NOMEM, "no memory for the answer");
    for (size_t i = 0; i < result.card_count && s == OG_OK; i++)
        if (plan_content_on_hook(c->content, result.cards[i].rule, patient.hook) &&
            !is_premature(w, result.cards[i].rule))
            s = tell_card(w, shared, &result.cards[i],
                          stored_alert(alerts, count, result.cards[i].alert_id), err);
    return s;
}

/* ---- the call ---- */

/* Of a patient whom nobody knows here, not more than who he is. */
static bool has_data(const view *v)
{
    for (size_t i = 0; i < v->count; i++)
        if (!og_str_is(v->list[i].type, "Patient"))
            return true;
    return v->count > 0 && (v->known || !v->partial);
}

static bool brings_nothing(const hook_request *q)
{
    return q->kind->drafts == HOOK_NO_DRAFTS && !fhir_exists(fhir_first(q->prefetch));
}

/* Without the patient's record, is there all that the rules need? */
static og_status is_enough(hooks_call *c, bool *ret, og_error *err)
{
    const prefetch_need *needs;
    size_t n = 0;
    og_status s = OG_OK;
    if (!c->tried)
        s = prefetch_lacks(c->content, c->arena, c->request, false, &needs, &n, err);
    *ret = c->tried ? c->complete : n == 0;
    return s;
}

static og_status answer_in(hooks_call *c, store_txn *t, store_txn *shared, og_error *err)
{
    view v = {.call = c, .arena = c->arena};
    answer w = {.call = c, .view = &v, .txn = t};
    const plan_alert *alerts = NULL;
    size_t count = 0, only;
    bool enough = true;
    og_status s = OG_OK;
    if (t != NULL)
        s = store_alerts(t, c->arena, c->request->patient, &alerts, &count, err);
    (void)plan_content_hook_rules(c->content, og_str_of(c->request->kind->name), &only);
    if (s == OG_OK && count > 0 && only == 0 && !c->tried && brings_nothing(c->request))
        return tell_alerts(&w, alerts, count, err);
    if (s == OG_OK)
        s = view_fill(&v, t, shared, err);
    if (s != OG_OK)
        return s;
    if (c->request->kind->drafts != HOOK_NO_DRAFTS && !v.relevant)
        return write_answer(&w, err); /* nothing that our rules speak about is being done */
    if (t == NULL && (s = is_enough(c, &enough, err)) != OG_OK)
        return s;
    if (!enough) {
        refuse(c, 503, "transient", "another instance has the records of this patient");
        return OG_OK;
    }
    if (!has_data(&v) && count > 0 && only == 0) /* the records were lost, what was said was not */
        return tell_alerts(&w, alerts, count, err);
    if (!has_data(&v)) {
        refuse(c, 412, "not-found",
               c->tried ? "nothing is known of this patient, no prefetch data were sent along, and "
                          "none came from a FHIR server"
                        : "nothing is known of this patient, and no prefetch data were sent along");
        return OG_OK;
    }
    if (!v.sent && !v.fetched && !v.relevant && only == 0)
        return tell_alerts(&w, alerts, count, err);
    s = tell_evaluated(&w, shared, alerts, count, err);
    return s == OG_OK ? write_answer(&w, err) : s;
}

void hooks_answer(hooks_call *c)
{
    store_txn *t = NULL, *shared = NULL;
    og_error_init(&c->error);
    c->cards = c->shown_count = c->outcome_count = c->misread = c->asked = c->spared = 0;
    c->evaluated = false;
    og_status s = c->store != NULL ? store_begin(c->store, false, &t, &c->error) : OG_OK;
    if (s == OG_OK && c->shared != NULL)
        s = store_begin(c->shared, false, &shared, &c->error);
    if (s == OG_OK)
        s = answer_in(c, t, shared, &c->error);
    store_abort(shared);
    store_abort(t);
    if (s != OG_OK)
        refuse(c, 500, "exception", "the call could not be answered");
}

/* ---- what is to be fetched ---- */

/* Drafts that no rule speaks about need no data: nothing is answered to them. */
static bool is_relevant(hooks_call *c)
{
    view v = {.call = c, .arena = c->arena};
    if (c->request->kind->drafts == HOOK_NO_DRAFTS)
        return true;
    og_table_init(&v.places, v.arena);
    return take_drafts(&v) && v.relevant;
}

og_status hooks_lacks(hooks_call *c, const prefetch_need **ret, size_t *ret_count, og_error *err)
{
    store_txn *t = NULL;
    bool known = false;
    *ret_count = 0;
    if (!is_relevant(c))
        return OG_OK;
    og_status s = c->store != NULL ? store_begin(c->store, false, &t, err) : OG_OK;
    if (s == OG_OK && t != NULL)
        s = store_knows(t, c->request->patient, &known, err);
    store_abort(t);
    c->known = known;
    return s == OG_OK ? prefetch_lacks(c->content, c->arena, c->request, known, ret, ret_count, err)
                      : s;
}
