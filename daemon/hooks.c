/* Discovery and answers of the CDS services. */
#include "daemon/hooks.h"

#include <stdlib.h>

#include "daemon/hook_lenient.h"
#include "daemon/moment.h"
#include "daemon/uuid.h"
#include "fhir/base/table.h"
#include "fhir/bundle.h"

#define MAX_ANSWER    ((size_t)16 << 20)
#define MAX_TEMPLATES 64
#define MAX_CODES     200 /* in one template: an address may not become too long */

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

/* The search parameter that finds what a rule's filter on this element finds (R4 search
 * parameters). */
static const char *search_parameter(og_str path)
{
    static const struct {
        const char *path, *parameter;
    } table[] = {
        {"code", "code"},           {"medication", "code"},   {"component.code", "component-code"},
        {"value", "value-concept"}, {"category", "category"}, {"vaccineCode", "vaccine-code"}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (og_str_is(path, table[i].path))
            return table[i].parameter;
    return NULL;
}

static void add_encoded(og_buf *b, og_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            (c != '\0' && strchr("-._~:/", c) != NULL))
            og_buf_addc(b, (char)c);
        else
            og_buf_addf(b, "%%%02X", c);
    }
}

typedef struct templates {
    og_buf *out;
    struct {
        char name[96];
    } names[MAX_TEMPLATES];
    size_t count;
    bool whole_only; /* this round: types that are read whole */
    og_table whole;  /* their names */
    og_arena *arena;
} templates;

/* condition, observation, observationComponentCode: the type, and the parameter unless it is the
 * code. */
static void name_template(char *out, size_t size, og_str type, const char *parameter)
{
    size_t n = (size_t)snprintf(out, size, "%c%.*s", type.p[0] | 0x20, (int)type.n - 1, type.p + 1);
    bool upper = true;
    if (parameter == NULL || strcmp(parameter, "code") == 0)
        return;
    for (const char *p = parameter; *p != '\0' && n + 1 < size; p++) {
        if (*p != '-')
            out[n++] = upper ? (char)(*p & ~0x20) : *p;
        upper = *p == '-';
    }
    out[n] = '\0';
}

static void add_template(templates *t, og_str type, const char *parameter,
                         const fhir_valueset *codes)
{
    og_str system, code, display;
    char name[96];
    name_template(name, sizeof name, type, parameter);
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->names[i].name, name) == 0)
            return;
    if (t->count == MAX_TEMPLATES)
        return;
    memcpy(t->names[t->count++].name, name, sizeof name);
    og_buf_addf(t->out, ",\"%s\":\"%.*s?patient={{context.patientId}}", name, OG_STR_ARG(type));
    for (size_t i = 0; codes != NULL && i < fhir_valueset_count(codes); i++) {
        fhir_valueset_code(codes, i, &system, &code, &display);
        if (i == 0)
            og_buf_addf(t->out, "&%s=", parameter);
        else
            og_buf_addc(t->out, ',');
        add_encoded(t->out, system);
        og_buf_addc(t->out, '|');
        add_encoded(t->out, code);
    }
    og_buf_addc(t->out, '"');
}

static void on_want(void *ctx, og_str type, og_str path, const fhir_valueset *codes)
{
    templates *t = ctx;
    const char *parameter = codes != NULL ? search_parameter(path) : NULL;
    bool whole = parameter == NULL || fhir_valueset_count(codes) > MAX_CODES;
    if (og_str_is(type, "Patient") || !fhir_in_patient_compartment(type))
        return; /* there already, or not to be found by patient */
    if (t->whole_only) {
        if (whole && og_table_get(&t->whole, type) == NULL) {
            (void)og_table_put(&t->whole, type, t);
            add_template(t, type, NULL, NULL);
        }
        return;
    }
    if (whole || og_table_get(&t->whole, type) != NULL)
        return;
    add_template(t, type, parameter, codes);
}

static void add_prefetch(const plan_content *c, og_buf *out)
{
    templates t = {.out = out, .arena = og_arena_new((size_t)1 << 20)};
    og_buf_addz(out, ",\"prefetch\":{\"patient\":\"Patient/{{context.patientId}}\"");
    if (t.arena != NULL) {
        og_table_init(&t.whole, t.arena);
        t.whole_only = true;
        plan_content_each_want(c, on_want, &t);
        t.whole_only = false;
        plan_content_each_want(c, on_want, &t);
    }
    og_buf_addc(out, '}');
    og_arena_free(t.arena);
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
    size_t count, cap;
    og_table places;   /* Type/id → place in list, from 1 */
    bool sent;         /* the request brought something that rules read */
    bool partial;      /* a page of more, or an OperationOutcome in place of data */
    bool relevant;     /* a draft that rules read */
    og_table selected; /* Type/id of what the user has chosen */
    unsigned drafts;
} view;

static bool grow(view *v)
{
    if (v->count < v->cap)
        return true;
    size_t cap = v->cap != 0 ? v->cap * 2 : 64;
    void *grown = og_arena_grow(v->arena, v->list, v->cap * sizeof *v->list, cap * sizeof *v->list);
    if (grown == NULL)
        return false;
    v->list = grown;
    v->cap = cap;
    return true;
}

static og_str key_of(view *v, const fhir_resource *r)
{
    return og_arena_printf(v->arena, "%.*s/%.*s", OG_STR_ARG(r->type), OG_STR_ARG(r->id));
}

static bool add(view *v, const fhir_resource *r)
{
    og_str key = key_of(v, r);
    if (!grow(v) || key.p == NULL)
        return false;
    v->list[v->count++] = *r;
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
    og_str key = key_of(v, r);
    uintptr_t place = key.p != NULL ? (uintptr_t)og_table_get(&v->places, key) : 0;
    if (place == 0)
        return add(v, r);
    if (!is_older(r, &v->list[place - 1]))
        v->list[place - 1] = *r;
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

static bool has_next_page(fhir_elem bundle)
{
    fhir_elem links = fhir_get(bundle, "link");
    for (fhir_elem l = fhir_each_first(links); fhir_exists(l); l = fhir_each_next(links, l))
        if (fhir_is(fhir_get(l, "relation"), "next"))
            return true;
    return false;
}

static bool take_prefetch(view *v, fhir_elem value)
{
    if (fhir_kind_of(value) != FHIR_OBJECT)
        return true; /* null: the client has no data */
    if (!fhir_is(fhir_get(value, "resourceType"), "Bundle"))
        return take_resource(v, value);
    fhir_elem entries = fhir_get(value, "entry");
    v->partial |= has_next_page(value);
    for (fhir_elem e = fhir_each_first(entries); fhir_exists(e); e = fhir_each_next(entries, e))
        if (!take_resource(v, fhir_get(e, "resource")))
            return false;
    return true;
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
    const fhir_resource *known;
    size_t count;
    bool good = true;
    og_table_init(&v->places, v->arena);
    og_status s = store_view(t, shared, v->arena, q->patient, &known, &count, err);
    for (size_t i = 0; s == OG_OK && i < count; i++)
        good = good && add(v, &known[i]);
    for (fhir_elem e = fhir_first(q->prefetch); s == OG_OK && fhir_exists(e);
         e = fhir_next(q->prefetch, e))
        good = good && take_prefetch(v, e);
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
    const char *part = !w->view->partial ? "" : german ? " (unvollständig)" : " (incomplete)";
    return og_arena_printf(c->arena, "%s%s%s%s%s", n > 0 ? known : unknown, n > 0 ? " " : "", when,
                           sent, part);
}

static void add_freshness(const answer *w, og_buf *out, const char *when)
{
    og_buf_addz(out, "\"org.osteoguard.freshness\":{");
    if (when[0] != '\0')
        og_buf_addf(out, "\"knownUntil\":\"%s\",", when);
    og_buf_addf(out, "\"request\":%s,\"partial\":%s}", w->view->sent ? "true" : "false",
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
    og_buf_addz(&b, "]}");
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
        t.json = stored->card;
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
    return s == OG_NOTFOUND ? OG_OK : s;
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
                            .hook = og_str_of(c->request->kind->name)};
    og_status s = plan_content_evaluate(c->content, c->arena, &patient, c->now_ms, c->offset_min,
                                        false, &result, err);
    if (s != OG_OK)
        return s;
    c->evaluated = true;
    c->outcomes = result.outcomes;
    c->outcome_count = result.outcome_count;
    w->list = og_arena_zalloc(c->arena, result.card_count + 1, sizeof *w->list);
    if (w->list == NULL)
        return og_fail(err, OG_NOMEM, "no memory for the answer");
    for (size_t i = 0; i < result.card_count && s == OG_OK; i++)
        if (plan_content_on_hook(c->content, result.cards[i].rule, patient.hook))
            s = tell_card(w, shared, &result.cards[i],
                          stored_alert(alerts, count, result.cards[i].alert_id), err);
    return s;
}

/* ---- the call ---- */

static bool brings_nothing(const hook_request *q)
{
    return q->kind->drafts == HOOK_NO_DRAFTS && !fhir_exists(fhir_first(q->prefetch));
}

static og_status answer_in(hooks_call *c, store_txn *t, store_txn *shared, og_error *err)
{
    view v = {.call = c, .arena = c->arena};
    answer w = {.call = c, .view = &v};
    const plan_alert *alerts;
    size_t count, only;
    og_status s = store_alerts(t, c->arena, c->request->patient, &alerts, &count, err);
    (void)plan_content_hook_rules(c->content, og_str_of(c->request->kind->name), &only);
    if (s == OG_OK && count > 0 && only == 0 && brings_nothing(c->request))
        return tell_alerts(&w, alerts, count, err);
    if (s == OG_OK)
        s = view_fill(&v, t, shared, err);
    if (s != OG_OK)
        return s;
    if (c->request->kind->drafts != HOOK_NO_DRAFTS && !v.relevant)
        return write_answer(&w, err); /* nothing that our rules speak about is being done */
    if (v.count == 0) {
        refuse(c, 412, "not-found",
               "nothing is known of this patient, and no prefetch data were sent along");
        return OG_OK;
    }
    if (!v.sent && !v.relevant && only == 0)
        return tell_alerts(&w, alerts, count, err);
    s = tell_evaluated(&w, shared, alerts, count, err);
    return s == OG_OK ? write_answer(&w, err) : s;
}

void hooks_answer(hooks_call *c)
{
    store_txn *t = NULL, *shared = NULL;
    og_error_init(&c->error);
    c->cards = c->outcome_count = c->misread = 0;
    c->evaluated = false;
    og_status s = store_begin(c->store, false, &t, &c->error);
    if (s == OG_OK && c->shared != NULL)
        s = store_begin(c->shared, false, &shared, &c->error);
    if (s == OG_OK)
        s = answer_in(c, t, shared, &c->error);
    store_abort(shared);
    store_abort(t);
    if (s != OG_OK)
        refuse(c, 500, "exception", "the call could not be answered");
}
