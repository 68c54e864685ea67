/* References as they occur in the wild, and whose a resource is.
 *
 * Which element names the patient is the R4 Patient compartment
 * (compartmentdefinition-patient.html) as a table. The compartment lists everybody's part in a
 * resource; whose record it belongs to is a narrower question, so the first path of a row is the
 * subject and decides alone when it is there. */
#include "fhir/reference.h"

#include "fhir/bundle.h"
#include "fhir/fhir_private.h"

/* --- reference strings --- */

static bool is_letter(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* [A-Z][A-Za-z]*: what a resource type looks like. */
static bool looks_like_type(og_str s)
{
    if (s.n == 0 || s.p[0] < 'A' || s.p[0] > 'Z')
        return false;
    for (size_t i = 1; i < s.n; i++)
        if (!is_letter(s.p[i]))
            return false;
    return true;
}

/* Cuts the part behind the last '/' off *s. */
static og_str last_part(og_str *s)
{
    size_t at = s->n;
    while (at > 0 && s->p[at - 1] != '/')
        at--;
    og_str part = og_str_from(*s, at);
    s->n = at != 0 ? at - 1 : 0;
    return part;
}

/* Type/id[/_history/v] at the end of text; what stands before it goes to base. */
static bool split_typed(og_str text, fhir_reference *ref)
{
    og_str rest = text, version = {0};
    og_str id = last_part(&rest), type = last_part(&rest);
    if (og_str_is(type, "_history")) {
        version = id;
        if (!fhir_id_usable(version))
            return false;
        id = last_part(&rest);
        type = last_part(&rest);
    }
    if (!looks_like_type(type) || !fhir_id_usable(id))
        return false;
    ref->type = type;
    ref->id = id;
    ref->version = version;
    ref->base = rest;
    return true;
}

static fhir_reference_kind kind_of_url(og_str text, fhir_reference *ref)
{
    return split_typed(text, ref) ? FHIR_REF_ABSOLUTE : FHIR_REF_OTHER;
}

static fhir_reference_kind kind_of_urn(og_str text, fhir_reference *ref)
{
    bool uuid = og_str_starts(text, OG_STR("urn:uuid:")),
         oid = og_str_starts(text, OG_STR("urn:oid:"));
    if (!uuid && !oid)
        return FHIR_REF_OTHER;
    og_str id = og_str_from(text, uuid ? 9 : 8);
    if (id.n == 0)
        return FHIR_REF_OTHER;
    ref->id = id;
    return FHIR_REF_URN;
}

static fhir_reference_kind kind_of_rest(og_str text, fhir_reference *ref)
{
    ptrdiff_t query = og_str_find(text, '?');
    if (query >= 0) {
        og_str type = {text.p, (size_t)query};
        if (!looks_like_type(type))
            return FHIR_REF_OTHER;
        ref->type = type;
        ref->id = og_str_from(text, (size_t)query + 1);
        return FHIR_REF_CONDITIONAL;
    }
    if (split_typed(text, ref) && ref->base.n == 0 && ref->type.p == text.p)
        return FHIR_REF_RELATIVE;
    *ref = (fhir_reference){.text = text};
    if (!fhir_id_usable(text))
        return FHIR_REF_OTHER;
    ref->id = text;
    return FHIR_REF_BARE;
}

fhir_reference fhir_reference_parse(og_str text)
{
    fhir_reference ref = {.text = text};
    fhir_reference_kind kind;
    if (text.n == 0)
        return ref;
    if (text.p[0] == '#') {
        kind = text.n > 1 ? FHIR_REF_CONTAINED : FHIR_REF_OTHER;
        ref.id = og_str_from(text, 1);
    } else if (og_str_starts(text, OG_STR("http://")) || og_str_starts(text, OG_STR("https://"))) {
        kind = kind_of_url(text, &ref);
    } else if (og_str_starts(text, OG_STR("urn:"))) {
        kind = kind_of_urn(text, &ref);
    } else {
        kind = kind_of_rest(text, &ref);
    }
    ref.kind = kind;
    return ref;
}

/* Reference.type is relative to this address when it is written as a whole URL. */
static og_str type_name(og_str uri)
{
    const og_str base = OG_STR("http://hl7.org/fhir/StructureDefinition/");
    return og_str_starts(uri, base) ? og_str_from(uri, base.n) : uri;
}

fhir_reference fhir_reference_of(og_arena *a, fhir_elem reference)
{
    if (!fhir_exists(reference) || fhir_kind_of(reference) == FHIR_NULL)
        return (fhir_reference){0};
    if (fhir_kind_of(reference) != FHIR_OBJECT)
        return (fhir_reference){.kind = FHIR_REF_OTHER};
    fhir_elem text = fhir_get(reference, "reference");
    fhir_elem identifier = fhir_get(reference, "identifier");
    fhir_reference ref = fhir_reference_parse(fhir_string(a, text));
    if (ref.type.n == 0)
        ref.type = type_name(fhir_string(a, fhir_get(reference, "type")));
    ref.id_system = fhir_string(a, fhir_get(identifier, "system"));
    ref.id_value = fhir_string(a, fhir_get(identifier, "value"));
    if (ref.kind == FHIR_REF_NONE) {
        fhir_kind k = fhir_kind_of(text);
        if (k != FHIR_NONE && k != FHIR_NULL && k != FHIR_STRING)
            ref.kind = FHIR_REF_OTHER;
        else if (ref.id_value.n != 0)
            ref.kind = FHIR_REF_LOGICAL;
    }
    return ref;
}

/* --- the Patient compartment --- */

/* Paths in the order in which they count. `*` before the first: no single subject, so it counts
 * only where it names a Patient. */
static const struct {
    const char *type, *paths;
} compartment[] = {
    {"Account", "*subject"},
    {"AdverseEvent", "subject"},
    {"AllergyIntolerance", "patient recorder asserter"},
    {"Appointment", "*participant.actor"},
    {"AppointmentResponse", "*actor"},
    {"AuditEvent", "*agent.who entity.what"},
    {"Basic", "subject author"},
    {"BodyStructure", "patient"},
    {"CarePlan", "subject activity.detail.performer"},
    {"CareTeam", "subject participant.member"},
    {"ChargeItem", "subject"},
    {"Claim", "patient payee.party"},
    {"ClaimResponse", "patient"},
    {"ClinicalImpression", "subject"},
    {"Communication", "subject sender recipient"},
    {"CommunicationRequest", "subject sender recipient requester"},
    {"Composition", "subject author attester.party"},
    {"Condition", "subject asserter"},
    {"Consent", "patient"},
    {"Coverage", "beneficiary policyHolder subscriber payor"},
    {"CoverageEligibilityRequest", "patient"},
    {"CoverageEligibilityResponse", "patient"},
    {"DetectedIssue", "patient"},
    {"DeviceRequest", "subject performer"},
    {"DeviceUseStatement", "subject"},
    {"DiagnosticReport", "subject"},
    {"DocumentManifest", "subject author recipient"},
    {"DocumentReference", "subject author"},
    {"Encounter", "subject"},
    {"EnrollmentRequest", "candidate"},
    {"EpisodeOfCare", "patient"},
    {"ExplanationOfBenefit", "patient payee.party"},
    {"FamilyMemberHistory", "patient"},
    {"Flag", "subject"},
    {"Goal", "subject"},
    {"Group", "*member.entity"},
    {"ImagingStudy", "subject"},
    {"Immunization", "patient"},
    {"ImmunizationEvaluation", "patient"},
    {"ImmunizationRecommendation", "patient"},
    {"Invoice", "subject recipient"},
    {"List", "subject source"},
    {"MeasureReport", "subject"},
    {"Media", "subject"},
    {"MedicationAdministration", "subject performer.actor"},
    {"MedicationDispense", "subject receiver"},
    {"MedicationRequest", "subject"},
    {"MedicationStatement", "subject"},
    {"MolecularSequence", "patient"},
    {"NutritionOrder", "patient"},
    {"Observation", "subject performer"},
    {"Patient", ""},
    {"Person", "*link.target"},
    {"Procedure", "subject performer.actor"},
    {"Provenance", "*target"},
    {"QuestionnaireResponse", "subject author"},
    {"RelatedPerson", "patient"},
    {"RequestGroup", "subject action.participant"},
    {"ResearchSubject", "individual"},
    {"RiskAssessment", "subject"},
    {"Schedule", "*actor"},
    {"ServiceRequest", "subject performer"},
    {"Specimen", "subject"},
    {"SupplyDelivery", "patient"},
    {"SupplyRequest", "*deliverTo"},
    {"VisionPrescription", "patient"},
};

static const char *paths_of(og_str type)
{
    size_t low = 0, high = sizeof compartment / sizeof compartment[0];
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c = og_str_cmp(og_str_of(compartment[mid].type), type);
        if (c == 0)
            return compartment[mid].paths;
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

bool fhir_in_patient_compartment(og_str type)
{
    return paths_of(type) != NULL;
}

#define LONGEST_TEXT 1024u /* of a reference string with escapes; longer ones name nobody */

static bool names_patient(const fhir_bundle *bundle, fhir_elem reference)
{
    char buf[LONGEST_TEXT];
    fhir_elem text = fhir_get(reference, "reference");
    if (fhir_kind_of(text) == FHIR_STRING) {
        fhir_reference ref =
            fhir_reference_parse(fhir__short_text(fhir_raw(text), buf, sizeof buf));
        if (ref.type.n != 0)
            return og_str_is(ref.type, "Patient");
        const fhir_entry *e = bundle != NULL ? fhir_bundle_resolve(bundle, ref.text) : NULL;
        if (e != NULL)
            return og_str_is(e->type, "Patient");
    }
    return fhir_is(fhir_get(reference, "type"), "Patient");
}

/* Does it say anything at all? What is no object does, so that it is reported and not passed over.
 */
static bool says_something(fhir_elem reference)
{
    fhir_kind k = fhir_kind_of(reference);
    if (k != FHIR_OBJECT)
        return k != FHIR_NONE && k != FHIR_NULL;
    fhir_elem text = fhir_get(reference, "reference");
    return (fhir_exists(text) && fhir_kind_of(text) != FHIR_NULL && !fhir_is(text, "")) ||
           fhir_exists(fhir_path(reference, "identifier.value"));
}

/* The first element along path (names separated by '.', arrays are walked) that counts. */
static fhir_elem find(const fhir_bundle *bundle, fhir_elem at, og_str path, bool subject)
{
    ptrdiff_t dot = og_str_find(path, '.');
    og_str name = {path.p, dot < 0 ? path.n : (size_t)dot};
    fhir_elem all = fhir_get_str(at, name);
    for (fhir_elem e = fhir_each_first(all); fhir_exists(e); e = fhir_each_next(all, e)) {
        fhir_elem found = e;
        if (dot >= 0)
            found = find(bundle, e, og_str_from(path, (size_t)dot + 1), subject);
        else if (subject ? !says_something(e) : !names_patient(bundle, e))
            found = FHIR_ABSENT;
        if (fhir_exists(found))
            return found;
    }
    return FHIR_ABSENT;
}

/* Takes the next path off *paths, which are separated by spaces. */
static og_str next_path(const char **paths)
{
    size_t n = strcspn(*paths, " ");
    og_str path = {*paths, n};
    *paths += n + ((*paths)[n] == ' ' ? 1 : 0);
    return path;
}

static fhir_elem patient_element(const fhir_resource *r, const fhir_bundle *bundle,
                                 og_str *ret_path)
{
    const char *paths = paths_of(r->type);
    if (paths == NULL)
        return FHIR_ABSENT;
    bool subject = *paths != '*';
    paths += subject ? 0 : 1;
    while (*paths != '\0') {
        og_str path = next_path(&paths);
        fhir_elem e = find(bundle, r->root, path, subject);
        if (fhir_exists(e) || ret_path->n == 0)
            *ret_path = path;
        if (fhir_exists(e))
            return e;
        subject = false;
    }
    return FHIR_ABSENT;
}

fhir_elem fhir_patient_element(const fhir_resource *r, bool *ret_self)
{
    og_str path = {0};
    *ret_self = og_str_is(r->type, "Patient");
    return patient_element(r, NULL, &path);
}

/* --- whose it is --- */

og_str fhir__identifier_name(og_arena *a, og_str system, og_str value)
{
    char *p = og_arena_alloc(a, system.n + 1 + value.n);
    if (p == NULL)
        return (og_str){0};
    if (system.n != 0)
        memcpy(p, system.p, system.n);
    p[system.n] = '|';
    if (value.n != 0)
        memcpy(p + system.n + 1, value.p, value.n);
    return (og_str){p, system.n + 1 + value.n};
}

/* One question, on its way down to the answer. */
typedef struct asked {
    og_arena *a;
    const fhir_resource *r;
    const fhir_bundle *bundle; /* may be NULL */
    og_str path;               /* of the element, below the resource */
    og_error *err;
} asked;

static og_status refuse(const asked *q, og_status status, const char *text)
{
    char path[128];
    if (og_arena_failed(q->a)) /* then nothing is known of the reference */
        return og_fail(q->err, OG_NOMEM, "no memory for the patient's id");
    snprintf(path, sizeof path, q->path.n != 0 ? "%.*s.%.*s" : "%.*s", OG_STR_ARG(q->r->type),
             OG_STR_ARG(q->path));
    og_fail(q->err, status, "%s", text);
    og_error_path(q->err, path);
    return status;
}

static og_status answer(const asked *q, og_str id, og_str *ret_id)
{
    if (id.n == 0 || og_arena_failed(q->a))
        return refuse(q, OG_NOTFOUND, "the patient's id is empty");
    if (id.n > FHIR_PATIENT_ID_MAX)
        return refuse(q, OG_INVALID, "the patient's id is too long");
    for (size_t i = 0; i < id.n; i++)
        if ((unsigned char)id.p[i] < 0x20 || id.p[i] == 0x7F)
            return refuse(q, OG_INVALID, "the patient's id holds a control character");
    *ret_id = id;
    return OG_OK;
}

static og_status by_identifier(const asked *q, og_str system, og_str value, og_str *ret_id)
{
    const fhir_entry *e =
        q->bundle != NULL ? fhir_bundle_patient_with(q->bundle, system, value) : NULL;
    if (e != NULL)
        return answer(q, e->id, ret_id);
    if (system.n + value.n + 1 > FHIR_PATIENT_ID_MAX)
        return refuse(q, OG_INVALID, "the patient's identifier is too long");
    return answer(q, fhir__identifier_name(q->a, system, value), ret_id);
}

/* A Patient without an id of its own, by the first identifier: one that the Bundle knows, else one
 * with a system, else any. */
static og_status by_identifiers_of(const asked *q, fhir_elem patient, og_str *ret_id)
{
    og_str system = {0}, value = {0};
    fhir_elem all = fhir_get(patient, "identifier");
    for (fhir_elem e = fhir_each_first(all); fhir_exists(e); e = fhir_each_next(all, e)) {
        og_str s = fhir_string(q->a, fhir_get(e, "system")),
               v = fhir_string(q->a, fhir_get(e, "value"));
        if (v.n == 0)
            continue;
        bool known = q->bundle != NULL && fhir_bundle_patient_with(q->bundle, s, v) != NULL;
        if (known || value.n == 0 || (system.n == 0 && s.n != 0)) {
            system = s;
            value = v;
        }
        if (known)
            break;
    }
    if (value.n == 0)
        return refuse(q, OG_NOTFOUND, "the Patient has neither id nor identifier");
    return by_identifier(q, system, value, ret_id);
}

/* The only contained Patient, or absent when there is none or more than one. */
static fhir_elem lone_patient(const fhir_resource *r)
{
    fhir_elem found = FHIR_ABSENT, all = fhir_get(r->root, "contained");
    for (fhir_elem e = fhir_each_first(all); fhir_exists(e); e = fhir_each_next(all, e)) {
        if (!fhir_is(fhir_get(e, "resourceType"), "Patient"))
            continue;
        if (fhir_exists(found))
            return FHIR_ABSENT;
        found = e;
    }
    return found;
}

/* Some senders write the hash into the contained resource's id as well. */
static bool is_contained_id(fhir_elem e, og_str id)
{
    return fhir_is_str(e, id) || fhir_is_str(e, (og_str){id.p - 1, id.n + 1});
}

static og_status by_contained(const asked *q, og_str id, og_str *ret_id)
{
    fhir_elem all = fhir_get(q->r->root, "contained");
    for (fhir_elem e = fhir_each_first(all); fhir_exists(e); e = fhir_each_next(all, e)) {
        if (!is_contained_id(fhir_get(e, "id"), id))
            continue;
        if (!fhir_is(fhir_get(e, "resourceType"), "Patient"))
            return refuse(q, OG_NOTFOUND, "refers to a contained resource that is no Patient");
        return by_identifiers_of(q, e, ret_id);
    }
    fhir_elem lone = lone_patient(q->r);
    if (fhir_exists(lone) && !fhir_exists(fhir_get(lone, "id")))
        return by_identifiers_of(q, lone, ret_id);
    return refuse(q, OG_NOTFOUND, "refers to a contained resource that is not there");
}

/* --- conditional references --- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decodes s (RFC 3986 2.1); what is no escape stays as it is. */
static og_str percent_decode(og_arena *a, og_str s)
{
    char *to = og_arena_alloc(a, s.n);
    size_t n = 0;
    if (to == NULL)
        return (og_str){0};
    for (size_t i = 0; i < s.n; i++) {
        int hi = s.p[i] == '%' && s.n - i > 2 ? hex_digit(s.p[i + 1]) : -1;
        int lo = hi >= 0 ? hex_digit(s.p[i + 2]) : -1;
        to[n++] = lo >= 0 ? (char)(hi << 4 | lo) : s.p[i];
        i += lo >= 0 ? 2 : 0;
    }
    return (og_str){to, n};
}

/* The value of a parameter of a search, still encoded; {NULL,0} when it is not there. */
static og_str query_value(og_str query, og_str name)
{
    while (query.n != 0) {
        ptrdiff_t amp = og_str_find(query, '&');
        og_str part = {query.p, amp < 0 ? query.n : (size_t)amp};
        if (part.n > name.n && og_str_starts(part, name) && part.p[name.n] == '=')
            return og_str_from(part, name.n + 1);
        query = amp < 0 ? (og_str){0} : og_str_from(query, (size_t)amp + 1);
    }
    return (og_str){0};
}

static og_status by_query(const asked *q, og_str query, og_str *ret_id)
{
    og_str id = percent_decode(q->a, query_value(query, OG_STR("_id")));
    if (id.n != 0 && fhir_id_usable(id))
        return answer(q, id, ret_id);
    og_str token = percent_decode(q->a, query_value(query, OG_STR("identifier")));
    ptrdiff_t bar = og_str_find(token, '|');
    if (og_str_find(token, ',') >= 0)
        return refuse(q, OG_NOTFOUND, "a conditional reference to one of several patients");
    if (bar < 0 || (size_t)bar + 1 == token.n)
        return refuse(q, OG_NOTFOUND, "a conditional reference must say identifier=system|value");
    if (og_utf8_check(token) != token.n)
        return refuse(q, OG_INVALID, "a conditional reference is not valid UTF-8");
    return by_identifier(q, (og_str){token.p, (size_t)bar}, og_str_from(token, (size_t)bar + 1),
                         ret_id);
}

/* --- by the form of the reference --- */

static og_status no_patient(const asked *q, og_str type)
{
    char text[128];
    og_str known = fhir_type_name(fhir_type_of(type));
    snprintf(text, sizeof text, "refers to %.*s, not to a Patient",
             OG_STR_ARG(known.n != 0 ? known : OG_STR("something unknown")));
    return refuse(q, OG_NOTFOUND, text);
}

static og_status by_reference(const asked *q, const fhir_reference *ref, og_str *ret_id)
{
    const fhir_entry *e =
        q->bundle != NULL && ref->text.n != 0 ? fhir_bundle_resolve(q->bundle, ref->text) : NULL;
    if (e != NULL)
        return og_str_is(e->type, "Patient") ? answer(q, e->id, ret_id) : no_patient(q, e->type);
    if (ref->type.n != 0 && !og_str_is(ref->type, "Patient"))
        return no_patient(q, ref->type);
    switch (ref->kind) {
    case FHIR_REF_RELATIVE:
    case FHIR_REF_ABSOLUTE:
    case FHIR_REF_URN:
    case FHIR_REF_BARE: return answer(q, ref->id, ret_id);
    case FHIR_REF_CONTAINED: return by_contained(q, ref->id, ret_id);
    case FHIR_REF_CONDITIONAL: return by_query(q, ref->id, ret_id);
    case FHIR_REF_LOGICAL: return by_identifier(q, ref->id_system, ref->id_value, ret_id);
    case FHIR_REF_NONE:
    case FHIR_REF_OTHER: break;
    }
    if (ref->id_value.n != 0)
        return by_identifier(q, ref->id_system, ref->id_value, ret_id);
    return refuse(q, OG_NOTFOUND, "a reference of a form that names no patient");
}

og_status fhir_patient_of(og_arena *a, const fhir_resource *r, const fhir_bundle *bundle,
                          og_str *ret_id, og_error *err)
{
    asked q = {.a = a, .r = r, .bundle = bundle, .err = err};
    if (og_str_is(r->type, "Patient"))
        return r->id.n != 0 ? answer(&q, r->id, ret_id) : by_identifiers_of(&q, r->root, ret_id);
    if (paths_of(r->type) == NULL)
        return refuse(&q, OG_NOTFOUND, "a resource of this type belongs to no patient");
    fhir_elem e = patient_element(r, bundle, &q.path);
    if (!fhir_exists(e)) {
        fhir_elem lone = lone_patient(r);
        return fhir_exists(lone) ? by_identifiers_of(&q, lone, ret_id)
                                 : refuse(&q, OG_NOTFOUND, "names no patient");
    }
    if (fhir_kind_of(e) != FHIR_OBJECT)
        return refuse(&q, OG_INVALID, "must be a Reference object");
    fhir_reference ref = fhir_reference_of(a, e);
    return by_reference(&q, &ref, ret_id);
}
