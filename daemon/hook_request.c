/* Calls of CDS services. Two tables say what a request must look like: the hooks, and the fields
 * that all of them share. */
#include "daemon/hook_request.h"

#include "fhir/base/temporal.h"
#include "fhir/reference.h"

/* CDS Hooks library, as published; versions of the hooks' own definitions. */
static const hook_kind kinds[] = {
    {"patient-view", "1.0", "Osteoprotection: open alerts",
     "Alerts on bone-modifying agents for the patient whose chart is opened", true, false, false,
     HOOK_NO_DRAFTS, NULL},
    {"order-select", "1.0", "Osteoprotection: order being written",
     "Checks a bone-modifying agent while it is being ordered", true, false, true, HOOK_BUNDLE,
     "draftOrders"},
    {"order-sign", "1.0", "Osteoprotection: orders being signed",
     "Checks orders of bone-modifying agents before they are signed", true, false, false,
     HOOK_BUNDLE, "draftOrders"},
    {"order-dispatch", "1.1", "Osteoprotection: orders being dispatched",
     "Alerts on bone-modifying agents when an order is handed to its performer", false, false,
     false, HOOK_NO_DRAFTS, NULL},
    {"encounter-start", "1.0", "Osteoprotection: encounter begins",
     "Alerts on bone-modifying agents at admission", true, true, false, HOOK_NO_DRAFTS, NULL},
    {"encounter-discharge", "1.0", "Osteoprotection: discharge",
     "Alerts on bone-modifying agents at discharge", true, true, false, HOOK_NO_DRAFTS, NULL},
    {"appointment-book", "1.0", "Osteoprotection: appointment",
     "Alerts on bone-modifying agents when an appointment is booked", true, false, false,
     HOOK_BUNDLE, "appointments"},
    {"medication-refill", "0.1.0", "Osteoprotection: refill",
     "Checks a bone-modifying agent when its refill is asked for", false, false, false, HOOK_BUNDLE,
     "medications"},
    {"problem-list-item-create", "0.1.0", "Osteoprotection: new diagnosis",
     "Looks at a new entry of the problem list", true, false, false, HOOK_BUNDLE, "conditions"},
    {"medication-verify", "0.1.0", "Osteoprotection: pharmacist's verification",
     "Checks a bone-modifying agent when the pharmacist verifies its order", true, false, false,
     HOOK_RESOURCE, "medication"},
};

const hook_kind *hook_kind_at(size_t i)
{
    return i < sizeof kinds / sizeof kinds[0] ? &kinds[i] : NULL;
}

const hook_kind *hook_kind_find(og_str name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (og_str_is(name, kinds[i].name))
            return &kinds[i];
    return NULL;
}

/* ---- fields ---- */

static og_status invalid(og_error *err, const char *path, const char *what)
{
    og_status status = og_fail(err, OG_INVALID, "%s", what);
    og_error_path(err, path);
    return status;
}

/* A member that is there with a value: JSON null is taken for absent. */
static fhir_elem member(fhir_elem object, const char *name)
{
    fhir_elem e = fhir_get(object, name);
    return fhir_kind_of(e) == FHIR_NULL ? FHIR_ABSENT : e;
}

typedef struct reading {
    og_arena *arena;
    og_error *err;
    og_status status; /* of the first thing that is wrong */
} reading;

static void complain(reading *r, const char *path, const char *what)
{
    if (r->status == OG_OK)
        r->status = invalid(r->err, path, what);
}

static og_str text_of(reading *r, fhir_elem object, const char *name, const char *path,
                      bool required)
{
    fhir_elem e = member(object, name);
    og_str text = fhir_string(r->arena, e);
    if (!fhir_exists(e)) {
        if (required)
            complain(r, path, "is required");
        return (og_str){NULL, 0};
    }
    if (fhir_kind_of(e) != FHIR_STRING)
        complain(r, path, "must be a string");
    else if (text.n == 0)
        complain(r, path, "is empty");
    return text;
}

static fhir_elem object_of(reading *r, fhir_elem object, const char *name, const char *path,
                           bool required)
{
    fhir_elem e = member(object, name);
    if (!fhir_exists(e) && required)
        complain(r, path, "is required");
    if (fhir_exists(e) && fhir_kind_of(e) != FHIR_OBJECT) {
        complain(r, path, "must be an object");
        return FHIR_ABSENT;
    }
    return e;
}

static bool is_absolute_url(og_str s)
{
    og_str rest = og_str_starts(s, OG_STR("https://"))  ? og_str_from(s, 8)
                  : og_str_starts(s, OG_STR("http://")) ? og_str_from(s, 7)
                                                        : (og_str){NULL, 0};
    if (rest.n == 0 || rest.p[0] == '/')
        return false;
    for (size_t i = 0; i < rest.n; i++)
        if ((unsigned char)rest.p[i] <= 0x20 || (unsigned char)rest.p[i] == 0x7f)
            return false;
    return true;
}

/* ---- the parts of a request ---- */

static void read_head(reading *r, fhir_elem root, const hook_kind *kind, hook_request *q)
{
    og_str hook = text_of(r, root, "hook", "hook", true);
    if (hook.n != 0 && !og_str_is(hook, kind->name))
        complain(r, "hook", "is not the hook of this service");
    q->instance = text_of(r, root, "hookInstance", "hookInstance", true);
    if (q->instance.n != 0 && !og_str_is_uuid(q->instance, true))
        complain(r, "hookInstance", "must be a UUID");
    q->fhir_server = text_of(r, root, "fhirServer", "fhirServer", false);
    if (q->fhir_server.n != 0 && !is_absolute_url(q->fhir_server))
        complain(r, "fhirServer", "must be an absolute http or https URL");
}

/* CDS Hooks 2.0, "Passing the Access Token to the CDS Service". */
static void read_authorization(reading *r, fhir_elem root, hook_request *q)
{
    fhir_elem e = object_of(r, root, "fhirAuthorization", "fhirAuthorization", false);
    q->authorization = e;
    if (!fhir_exists(e))
        return;
    q->authorized = true;
    if (q->fhir_server.n == 0)
        complain(r, "fhirServer", "is required together with fhirAuthorization");
    (void)text_of(r, e, "access_token", "fhirAuthorization.access_token", true);
    og_str type = text_of(r, e, "token_type", "fhirAuthorization.token_type", true);
    if (type.n != 0 && !og_str_ieq(type, OG_STR("Bearer")))
        complain(r, "fhirAuthorization.token_type", "must be Bearer");
    fhir_elem expires = member(e, "expires_in");
    og_str lexeme = fhir_raw(expires);
    if (!fhir_exists(expires))
        complain(r, "fhirAuthorization.expires_in", "is required");
    else if (fhir_kind_of(expires) != FHIR_NUMBER || og_str_find(lexeme, '.') >= 0 ||
             og_str_find(lexeme, 'e') >= 0 || og_str_find(lexeme, 'E') >= 0)
        complain(r, "fhirAuthorization.expires_in", "must be an integer");
    (void)text_of(r, e, "scope", "fhirAuthorization.scope", true);
    (void)text_of(r, e, "subject", "fhirAuthorization.subject", true);
    (void)text_of(r, e, "patient", "fhirAuthorization.patient", false);
}

static void check_selections(reading *r, fhir_elem list)
{
    if (!fhir_exists(list)) {
        complain(r, "context.selections", "is required");
        return;
    }
    if (fhir_kind_of(list) != FHIR_ARRAY) {
        complain(r, "context.selections", "must be an array");
        return;
    }
    for (fhir_elem e = fhir_first(list); fhir_exists(e); e = fhir_next(list, e))
        if (fhir_kind_of(e) != FHIR_STRING)
            complain(r, "context.selections", "must hold strings, Type/id");
}

static void check_bundle(reading *r, fhir_elem bundle, const char *path)
{
    fhir_elem entries = fhir_get(bundle, "entry");
    if (!fhir_is(fhir_get(bundle, "resourceType"), "Bundle")) {
        complain(r, path, "must be a Bundle");
        return;
    }
    if (fhir_exists(entries) && fhir_kind_of(entries) != FHIR_ARRAY)
        complain(r, path, "must be a Bundle whose entry is an array");
}

static void read_drafts(reading *r, hook_request *q)
{
    const hook_kind *kind = q->kind;
    char path[64];
    if (kind->drafts == HOOK_NO_DRAFTS)
        return;
    snprintf(path, sizeof path, "context.%s", kind->draft_field);
    if (kind->drafts == HOOK_RESOURCE) {
        /* The definition says context.medication, its example context.order.resource. */
        fhir_elem other = fhir_get(member(q->context, "order"), "resource");
        q->drafts = object_of(r, q->context, kind->draft_field, path, !fhir_exists(other));
        if (!fhir_exists(q->drafts))
            q->drafts = other;
        if (fhir_exists(q->drafts) &&
            !fhir_is(fhir_get(q->drafts, "resourceType"), "MedicationRequest"))
            complain(r, path, "must be a MedicationRequest");
        return;
    }
    q->drafts = object_of(r, q->context, kind->draft_field, path, true);
    if (fhir_exists(q->drafts))
        check_bundle(r, q->drafts, path);
}

static void read_context(reading *r, fhir_elem root, hook_request *q)
{
    const hook_kind *kind = q->kind;
    q->context = object_of(r, root, "context", "context", true);
    if (!fhir_exists(q->context))
        return;
    q->user_id = text_of(r, q->context, "userId", "context.userId", kind->user_required);
    fhir_reference user = fhir_reference_parse(q->user_id);
    if (q->user_id.n != 0 && user.kind != FHIR_REF_RELATIVE)
        complain(r, "context.userId", "must be Type/id");
    q->patient_id = text_of(r, q->context, "patientId", "context.patientId", true);
    q->patient = q->patient_id;
    if (q->patient_id.n != 0 && !fhir_id_usable(q->patient_id))
        complain(r, "context.patientId", "must be the id of a Patient");
    q->encounter_id =
        text_of(r, q->context, "encounterId", "context.encounterId", kind->encounter_required);
    if (kind->selections) {
        q->selections = member(q->context, "selections");
        check_selections(r, q->selections);
    }
    read_drafts(r, q);
}

/* Each value is a resource, or null when the client has no data (2.0 "Prefetch Template"). */
static void read_prefetch(reading *r, fhir_elem root, hook_request *q)
{
    q->prefetch = object_of(r, root, "prefetch", "prefetch", false);
    for (fhir_elem e = fhir_first(q->prefetch); fhir_exists(e); e = fhir_next(q->prefetch, e)) {
        fhir_kind kind = fhir_kind_of(e);
        if (kind == FHIR_NULL)
            continue;
        if (kind != FHIR_OBJECT || fhir_kind_of(fhir_get(e, "resourceType")) != FHIR_STRING) {
            char path[160];
            snprintf(path, sizeof path, "prefetch.%.*s", OG_STR_ARG(fhir_key_of(e)));
            complain(r, path, "must be a FHIR resource or null");
        }
    }
}

og_status hook_request_read(og_arena *a, og_str body, const hook_kind *kind, hook_request *ret,
                            og_error *err)
{
    fhir_limits limits = {.max_bytes = 64u << 20, .max_depth = HOOK_MAX_DEPTH};
    fhir_doc *doc = og_arena_zalloc(a, 1, sizeof *doc);
    hook_request q = {.kind = kind};
    reading r = {.arena = a, .err = err};
    if (doc == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a request");
    og_status status = fhir_decode(a, body, &limits, doc, err);
    if (status != OG_OK)
        return status;
    fhir_elem root = fhir_root(doc);
    if (fhir_kind_of(root) != FHIR_OBJECT)
        return invalid(err, "", "the request must be a JSON object");
    read_head(&r, root, kind, &q);
    read_authorization(&r, root, &q);
    read_context(&r, root, &q);
    read_prefetch(&r, root, &q);
    if (r.status == OG_OK)
        *ret = q;
    return r.status;
}

/* ---- feedback ---- */

#define MAX_CODE 256 /* bytes of a system or a code */

/* feedback[7].overrideReason.reason, in a buffer that the next call uses again. */
static const char *place(char out[128], size_t i, const char *rest)
{
    snprintf(out, 128, "feedback[%zu]%s%s", i, rest[0] != '\0' ? "." : "", rest);
    return out;
}

static void check_suggestions(reading *r, fhir_elem entry, size_t i, bool required)
{
    char path[128];
    fhir_elem list = member(entry, "acceptedSuggestions");
    (void)place(path, i, "acceptedSuggestions");
    if (!fhir_exists(list)) {
        if (required)
            complain(r, path, "is required when the card was accepted");
        return;
    }
    if (fhir_kind_of(list) != FHIR_ARRAY || fhir_length(list) == 0) {
        complain(r, path, "must be an array that is not empty");
        return;
    }
    for (fhir_elem e = fhir_first(list); fhir_exists(e); e = fhir_next(list, e)) {
        if (fhir_kind_of(e) != FHIR_OBJECT)
            complain(r, path, "must hold objects");
        else if (text_of(r, e, "id", place(path, i, "acceptedSuggestions.id"), true).n > MAX_CODE)
            complain(r, path, "is too long");
    }
}

static og_str code_of(reading *r, fhir_elem coding, const char *name, size_t i, const char *rest,
                      bool required)
{
    char path[128];
    og_str text = text_of(r, coding, name, place(path, i, rest), required);
    if (text.n > MAX_CODE)
        complain(r, path, "is too long");
    return text;
}

static void read_reason(reading *r, fhir_elem entry, size_t i, hook_feedback *f)
{
    char path[128];
    fhir_elem o = object_of(r, entry, "overrideReason", place(path, i, "overrideReason"), false);
    if (!fhir_exists(o))
        return;
    fhir_elem coding = object_of(r, o, "reason", place(path, i, "overrideReason.reason"), false);
    f->comment = text_of(r, o, "userComment", place(path, i, "overrideReason.userComment"), false);
    if (f->comment.n > HOOK_MAX_COMMENT)
        complain(r, path, "is too long");
    if (!fhir_exists(coding)) {
        if (f->comment.n == 0)
            complain(r, place(path, i, "overrideReason"), "must have a reason or a userComment");
        return;
    }
    f->code = code_of(r, coding, "code", i, "overrideReason.reason.code", true);
    f->system = code_of(r, coding, "system", i, "overrideReason.reason.system", true);
    (void)code_of(r, coding, "display", i, "overrideReason.reason.display", false);
}

static void read_time(reading *r, fhir_elem entry, size_t i, hook_feedback *f)
{
    char path[128];
    og_temporal t;
    og_str text = text_of(r, entry, "outcomeTimestamp", place(path, i, "outcomeTimestamp"), true);
    if (text.n != 0 &&
        (!og_temporal_parse_fhir(text, &t) || t.precision < OG_SECOND || !t.has_offset))
        complain(r, path, "must be a date with time and offset (RFC 3339)");
    else if (text.n != 0)
        f->at_us = og_temporal_earliest_ms(&t, 0) * 1000;
}

static void read_entry(reading *r, fhir_elem entry, size_t i, hook_feedback *f)
{
    char path[128];
    if (fhir_kind_of(entry) != FHIR_OBJECT) {
        complain(r, place(path, i, ""), "must be an object");
        return;
    }
    og_str card = text_of(r, entry, "card", place(path, i, "card"), true);
    if (card.n != 0 && !og_str_is_uuid(card, true))
        complain(r, path, "must be the uuid of a card");
    for (size_t k = 0; k < card.n && k < UUID_TEXT - 1; k++)
        f->card[k] = (char)(card.p[k] >= 'A' && card.p[k] <= 'F' ? card.p[k] | 0x20 : card.p[k]);
    og_str outcome = text_of(r, entry, "outcome", place(path, i, "outcome"), true);
    f->accepted = og_str_is(outcome, "accepted");
    if (outcome.n != 0 && !f->accepted && !og_str_is(outcome, "overridden"))
        complain(r, path, "must be accepted or overridden");
    check_suggestions(r, entry, i, f->accepted);
    read_reason(r, entry, i, f);
    read_time(r, entry, i, f);
}

og_status hook_feedback_read(og_arena *a, og_str body, const hook_feedback **ret, size_t *ret_count,
                             og_error *err)
{
    fhir_limits limits = {.max_bytes = 16u << 20, .max_depth = HOOK_MAX_DEPTH};
    fhir_doc *doc = og_arena_zalloc(a, 1, sizeof *doc);
    hook_feedback *list = og_arena_zalloc(a, HOOK_MAX_FEEDBACK, sizeof *list);
    reading r = {.arena = a, .err = err};
    size_t n = 0;
    if (doc == NULL || list == NULL)
        return og_fail(err, OG_NOMEM, "no memory for feedback");
    og_status status = fhir_decode(a, body, &limits, doc, err);
    if (status != OG_OK)
        return status;
    fhir_elem entries = member(fhir_root(doc), "feedback");
    if (fhir_kind_of(fhir_root(doc)) != FHIR_OBJECT)
        return invalid(err, "", "the feedback must be a JSON object");
    if (!fhir_exists(entries))
        return invalid(err, "feedback", "is required");
    if (fhir_kind_of(entries) != FHIR_ARRAY || fhir_length(entries) == 0)
        return invalid(err, "feedback", "must be an array that is not empty");
    if (fhir_length(entries) > HOOK_MAX_FEEDBACK)
        return invalid(err, "feedback", "has too many entries");
    for (fhir_elem e = fhir_first(entries); fhir_exists(e); e = fhir_next(entries, e), n++)
        read_entry(&r, e, n, &list[n]);
    if (r.status == OG_OK) {
        *ret = list;
        *ret_count = n;
    }
    return r.status;
}
