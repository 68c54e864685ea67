/* Who is merged into whom, and what follows. Rows that merging needs are copies of types that FHIR
 * does not know: REPLACES says "its sender survives you", MARK says "its sender is merged into
 * you".
 */
#include "daemon/merge.h"

#include "daemon/errand.h"
#include "fhir/reference.h"

#define REPLACES "Replaces"
#define MARK     "Merged"

typedef struct merge {
    store_txn *t;
    og_arena *a, *scratch;
    og_str tenant, patient;
    int64_t offset;
    merge_counts *counts;
} merge;

/* ---- ways ---- */

static og_str first_of(og_str way)
{
    ptrdiff_t end = og_str_find(way, '\n');
    return end < 0 ? way : (og_str){way.p, (size_t)end};
}

static og_str behind_first(og_str way)
{
    size_t n = first_of(way).n;
    return n < way.n ? og_str_from(way, n + 1) : (og_str){NULL, 0};
}

static bool leads_through(og_str way, og_str patient)
{
    for (; way.n > 0; way = behind_first(way))
        if (og_str_eq(first_of(way), patient))
            return true;
    return false;
}

static size_t length_of(og_str way)
{
    size_t n = 0;
    for (; way.n > 0; way = behind_first(way))
        n++;
    return n;
}

/* ---- sending ---- */

static og_status send(const merge *m, og_str to, const record *r, bool gone, og_error *err)
{
    record copy = *r;
    copy.tenant = m->tenant;
    copy.patient = to;
    copy.via = r->via.n > 0
                   ? og_arena_printf(m->a, "%.*s\n%.*s", OG_STR_ARG(r->via), OG_STR_ARG(m->patient))
                   : m->patient;
    if (copy.via.p == NULL)
        return og_fail(err, OG_NOMEM, "no memory for the way of a copy");
    copy.order.round = m->offset;
    copy.deleted |= gone;
    if (copy.deleted)
        copy.body = (og_str){NULL, 0};
    m->counts->copies++;
    return errand_record(m->t, &copy, err);
}

/* REPLACES and MARK, which begin here. */
static og_status send_word(const merge *m, og_str to, const char *type, bool gone, og_error *err)
{
    record word = {.type = og_str_of(type),
                   .id = OG_STR("link"),
                   .timestamp_ms = -1,
                   .of = 1,
                   .body = OG_STR("{}")};
    return send(m, to, &word, gone, err);
}

static bool is_mark(const record *r)
{
    return og_str_is(r->type, MARK) && r->via.n > 0;
}

static bool is_own_patient(const record *r)
{
    return og_str_is(r->type, "Patient") && r->via.n == 0;
}

/* May a row go on to this survivor? Its own mark comes home once: that closes the circle. */
static bool may_go(const merge *m, og_str to, const record *r)
{
    if (is_own_patient(r) || (og_str_is(r->type, REPLACES) && r->via.n > 0))
        return false;
    if (is_mark(r) && og_str_eq(first_of(r->via), to))
        return true;
    if (leads_through(r->via, to) || leads_through(r->via, m->patient))
        return false;
    if (length_of(r->via) < MERGE_MAX_WAY)
        return true;
    m->counts->too_far++;
    return false;
}

typedef struct sending {
    merge *m;
    og_str to;
    bool rows, marks, gone;
} sending;

static og_status send_one(void *ctx, const record *r, og_error *err)
{
    const sending *s = ctx;
    if ((is_mark(r) ? !s->marks : !s->rows) || !may_go(s->m, s->to, r))
        return OG_OK;
    return send(s->m, s->to, r, s->gone, err);
}

static og_status send_all(merge *m, og_str to, bool rows, bool marks, bool gone, og_error *err)
{
    sending s = {m, to, rows, marks, gone};
    if (to.n == 0 || (!rows && !marks))
        return OG_OK;
    og_status status = marks ? send_word(m, to, MARK, gone, err) : OG_OK;
    return status == OG_OK ? store_each_record(m->t, m->a, m->scratch, m->tenant, m->patient,
                                               (og_str){NULL, 0}, send_one, &s, err)
                           : status;
}

/* ---- what the links say ---- */

/* The patient that a link names, as records are keyed: another of the same sender. */
static og_str other_of(const merge *m, fhir_elem link)
{
    og_arena *a = m->a;
    fhir_reference ref = fhir_reference_of(a, fhir_get(link, "other"));
    og_str sender = record_sender(m->patient);
    bool patient = ref.type.n == 0 || og_str_is(ref.type, "Patient");
    og_str id = {NULL, 0};
    switch (ref.kind) {
    case FHIR_REF_RELATIVE:
    case FHIR_REF_ABSOLUTE:
    case FHIR_REF_BARE:
        id = og_arena_printf(a, "%.*s%.*s", OG_STR_ARG(sender), OG_STR_ARG(ref.id));
        break;
    case FHIR_REF_LOGICAL:
        id = og_arena_printf(a, "%.*s|%.*s", OG_STR_ARG(ref.id_system), OG_STR_ARG(ref.id_value));
        break;
    default: break;
    }
    return patient && record_patient_valid(id) ? id : (og_str){NULL, 0};
}

/* The own Patient, or absent. */
static og_status own_patient(const merge *m, fhir_doc *doc, fhir_elem *ret, og_error *err)
{
    og_status status =
        store_resource(m->t, m->a, m->patient, OG_STR("Patient"), m->patient, doc, err);
    *ret = (fhir_elem){0};
    if (status == OG_OK)
        *ret = fhir_root(doc);
    return status == OG_NOTFOUND ? OG_OK : status;
}

static og_str replaced_by(const merge *m, fhir_elem own)
{
    fhir_elem list = fhir_get(own, "link");
    for (fhir_elem l = fhir_first(list); fhir_exists(l); l = fhir_next(list, l)) {
        og_str id =
            fhir_is(fhir_get(l, "type"), "replaced-by") ? other_of(m, l) : (og_str){NULL, 0};
        if (id.n > 0 && !og_str_eq(id, m->patient))
            return id;
    }
    return (og_str){NULL, 0};
}

/* What the copies say: who survives, and whether our own mark came home. */
typedef struct words {
    const merge *m;
    og_str survivor; /* of several the first */
    bool circle, first;
} words;

static og_status hear_word(void *ctx, const record *r, og_error *err)
{
    words *w = ctx;
    if (r->deleted || r->via.n == 0)
        return OG_OK;
    if (og_str_is(r->type, REPLACES) &&
        (w->survivor.n == 0 || og_str_cmp(r->via, w->survivor) < 0)) {
        w->survivor = og_arena_str(w->m->a, r->via);
        if (w->survivor.p == NULL)
            return og_fail(err, OG_NOMEM, "no memory for the id of a patient");
    }
    if (!is_mark(r) || !og_str_eq(first_of(r->via), w->m->patient))
        return OG_OK;
    w->circle = w->first = true;
    for (og_str way = behind_first(r->via); way.n > 0; way = behind_first(way))
        w->first &= og_str_cmp(w->m->patient, first_of(way)) < 0;
    return OG_OK;
}

static og_status desired(const merge *m, store_merged *ret, og_error *err)
{
    words w = {.m = m};
    fhir_doc doc;
    fhir_elem own;
    og_status status = own_patient(m, &doc, &own, err);
    if (status != OG_OK)
        return status;
    og_str into = replaced_by(m, own);
    static const char *const words_of[] = {REPLACES "/", MARK "/"};
    for (int i = 0; i < 2 && status == OG_OK; i++)
        status = store_each_record(m->t, m->a, m->scratch, m->tenant, m->patient,
                                   og_str_of(words_of[i]), hear_word, &w, err);
    *ret = (store_merged){.into = into.n > 0 ? into : w.survivor, .stays = w.circle && w.first};
    return status;
}

static og_status decide(merge *m, og_error *err)
{
    store_merged had = {0}, now;
    og_status status = store_merge(m->t, m->a, m->patient, &had, err);
    if (status == OG_OK || status == OG_NOTFOUND)
        status = desired(m, &now, err);
    if (status != OG_OK)
        return status;
    bool other = !og_str_eq(had.into, now.into), was = had.into.n > 0 && !had.stays,
         is = now.into.n > 0 && !now.stays;
    if (!other && was == is)
        return OG_OK;
    m->counts->merged += is && !was;
    m->counts->separated += was && !is;
    m->counts->circles += now.into.n > 0 && now.stays;
    status = store_set_merge(m->t, m->patient, &now, err);
    if (status == OG_OK)
        status = send_all(m, had.into, was && (other || !is), other, true, err);
    if (status == OG_OK)
        status = send_all(m, now.into, is && (other || !was), other, false, err);
    return status;
}

/* ---- whom this patient replaces ---- */

static og_str claim_key(const merge *m, og_str other)
{
    return og_arena_printf(m->a, "%.*s%c%.*s", OG_STR_ARG(m->patient), 0, OG_STR_ARG(other));
}

typedef struct names {
    og_arena *a;
    og_str *at;
    size_t count, cap, prefix;
} names;

static og_status add_name(void *ctx, og_str k, og_str value, og_error *err)
{
    names *l = ctx;
    (void)value;
    if (l->count == l->cap) {
        size_t cap = l->cap == 0 ? 16 : l->cap * 2;
        l->at = og_arena_grow(l->a, l->at, l->cap * sizeof *l->at, cap * sizeof *l->at);
        l->cap = cap;
    }
    og_str name = og_arena_str(l->a, og_str_from(k, l->prefix));
    if (l->at == NULL || name.p == NULL)
        return og_fail(err, OG_NOMEM, "no memory for the id of a patient");
    l->at[l->count++] = name;
    return OG_OK;
}

static bool is_replaced(const merge *m, fhir_elem own, og_str other)
{
    fhir_elem list = fhir_get(own, "link");
    for (fhir_elem l = fhir_first(list); fhir_exists(l); l = fhir_next(list, l))
        if (fhir_is(fhir_get(l, "type"), "replaces") && og_str_eq(other_of(m, l), other))
            return true;
    return false;
}

static og_status claim(merge *m, og_str other, bool gone, og_error *err)
{
    og_str key = claim_key(m, other), value;
    if (key.p == NULL)
        return og_fail(err, OG_NOMEM, "no memory for the id of a patient");
    og_status status = kv_get(m->t, STORE_MERGE, key, &value, err);
    if (status != OG_OK && status != OG_NOTFOUND)
        return status;
    if ((status == OG_OK) == !gone)
        return OG_OK;
    status = gone ? kv_delete(m->t, STORE_MERGE, key, err)
                  : kv_put(m->t, STORE_MERGE, key, OG_STR("1"), err);
    return status == OG_OK ? send_word(m, other, REPLACES, gone, err) : status;
}

static og_status claim_all(merge *m, og_error *err)
{
    fhir_doc doc;
    fhir_elem own;
    og_str prefix = claim_key(m, (og_str){NULL, 0});
    names had = {.a = m->a, .prefix = prefix.n};
    if (prefix.p == NULL)
        return og_fail(err, OG_NOMEM, "no memory for the id of a patient");
    og_status status = own_patient(m, &doc, &own, err);
    if (status == OG_OK)
        status = kv_scan(m->t, STORE_MERGE, prefix, prefix, add_name, &had, err);
    for (size_t i = 0; status == OG_OK && i < had.count; i++)
        if (!is_replaced(m, own, had.at[i]))
            status = claim(m, had.at[i], true, err);
    fhir_elem list = fhir_get(own, "link");
    for (fhir_elem l = fhir_first(list); status == OG_OK && fhir_exists(l);
         l = fhir_next(list, l)) {
        og_str other =
            fhir_is(fhir_get(l, "type"), "replaces") ? other_of(m, l) : (og_str){NULL, 0};
        if (other.n > 0 && !og_str_eq(other, m->patient))
            status = claim(m, other, false, err);
    }
    return status;
}

og_status merge_apply(store_txn *t, og_arena *a, og_arena *scratch, const record *r, int64_t offset,
                      merge_counts *counts, og_error *err)
{
    merge m = {.t = t,
               .a = a,
               .scratch = scratch,
               .tenant = r->tenant,
               .patient = r->patient,
               .offset = offset,
               .counts = counts};
    store_merged into;
    if (is_own_patient(r)) {
        og_status status = claim_all(&m, err);
        return status == OG_OK ? decide(&m, err) : status;
    }
    if (r->via.n > 0 &&
        (og_str_is(r->type, REPLACES) || (is_mark(r) && og_str_eq(first_of(r->via), r->patient))))
        return decide(&m, err);
    og_status status = store_merge(t, a, r->patient, &into, err);
    if (status != OG_OK)
        return status == OG_NOTFOUND ? OG_OK : status;
    if ((into.stays && !is_mark(r)) || !may_go(&m, into.into, r))
        return OG_OK;
    return send(&m, into.into, r, false, err);
}
