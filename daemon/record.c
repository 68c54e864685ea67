/* The form of records: written by gather, read by the pipeline, readable by a person with kcat. */
#include "daemon/record.h"

#include <inttypes.h>

#include "fhir/base/temporal.h"

#define LATEST_MS ((int64_t)253402300799000) /* the end of 9999 */

#define CMP(a, b)                                                                                  \
    do {                                                                                           \
        if ((a) != (b))                                                                            \
            return (a) < (b) ? -1 : 1;                                                             \
    } while (0)

int record_order_cmp_version(const record_order *a, const record_order *b)
{
    CMP(a->round, b->round);
    CMP(a->epoch, b->epoch);
    CMP(a->time_us, b->time_us);
    return 0;
}

int record_order_cmp(const record_order *a, const record_order *b)
{
    CMP(a->round, b->round);
    CMP(a->epoch, b->epoch);
    CMP(a->time_us, b->time_us);
    CMP(a->topic, b->topic);
    CMP(a->partition, b->partition);
    CMP(a->offset, b->offset);
    CMP(a->entry, b->entry);
    return 0;
}

/* Did a arrive before b? Offsets tell within a partition, the brokers' timestamps (-1: unknown)
 * between them. */
static bool came_before(const record_order *a, int64_t a_ms, const record_order *b, int64_t b_ms)
{
    if (a->topic == b->topic && a->partition == b->partition)
        return a->offset < b->offset || (a->offset == b->offset && a->entry < b->entry);
    return a_ms >= 0 && a_ms < b_ms;
}

void record_outdo(record *gone, const record *had)
{
    if (gone->untimed && !had->deleted && gone->order.epoch == had->order.epoch &&
        gone->order.time_us <= had->order.time_us && had->order.time_us < INT64_MAX &&
        came_before(&had->order, had->timestamp_ms, &gone->order, gone->timestamp_ms))
        gone->order.time_us = had->order.time_us + 1;
}

bool record_patient_valid(og_str patient)
{
    if (patient.n == 0 || patient.n > RECORD_MAX_PATIENT)
        return false;
    for (size_t i = 0; i < patient.n; i++) {
        unsigned char c = (unsigned char)patient.p[i];
        if (c < 0x20 || c == 0x7f || c >= 0xfe) /* no UTF-8; it would be twice as long in a key */
            return false;
    }
    return true;
}

/* A tenant may be called like a prefix, but a record's key has two bars. */
static bool has_prefix(og_str key, og_str prefix)
{
    return og_str_starts(key, prefix) && og_str_find(og_str_from(key, prefix.n), '|') < 0;
}

bool record_is_beat(og_str key)
{
    return has_prefix(key, OG_STR(RECORD_BEAT));
}

bool record_is_place(og_str key)
{
    return has_prefix(key, OG_STR(RECORD_PLACE));
}

bool record_sender_valid(og_str name)
{
    return name.n <= RECORD_MAX_SENDER && fhir_id_usable(name);
}

og_str record_sender(og_str id)
{
    ptrdiff_t end = og_str_find(id, RECORD_SENDER);
    og_str name = {id.p, end < 0 ? 0 : (size_t)end};
    return record_sender_valid(name) ? (og_str){id.p, name.n + 1} : (og_str){NULL, 0};
}

og_str record_plain_id(og_str id)
{
    return og_str_from(id, record_sender(id).n);
}

void record_write_route(og_buf *out, og_str tenant, og_str patient)
{
    og_buf_adds(out, tenant);
    og_buf_addc(out, '|');
    og_buf_adds(out, patient);
}

void record_via_text(og_str via, char out[RECORD_VIA_TEXT])
{
    uint64_t hash = og_str_hash(via);
    out[0] = RECORD_VIA;
    for (int i = 0; i < RECORD_VIA_TEXT - 1; i++)
        out[i + 1] = "0123456789abcdef"[hash >> (60 - 4 * i) & 15];
}

void record_write_key(og_buf *out, const record *r)
{
    char via[RECORD_VIA_TEXT];
    record_write_route(out, r->tenant, r->patient);
    og_buf_addc(out, '|');
    og_buf_adds(out, r->type);
    og_buf_addc(out, '/');
    og_buf_adds(out, r->id);
    if (r->via.n > 0) {
        record_via_text(r->via, via);
        og_buf_adds(out, (og_str){via, sizeof via});
    }
}

static void write_head(og_buf *out, const record *r)
{
    og_buf_addf(out, "{\"osteoguard\":1,\"epoch\":%" PRIu32 ",\"time\":%" PRId64 ",\"topic\":",
                r->order.epoch, r->order.time_us);
    og_buf_add_json(out, r->topic);
    og_buf_addf(out,
                ",\"partition\":%" PRId32 ",\"offset\":%" PRId64 ",\"timestamp\":%" PRId64
                ",\"order\":%" PRIu32 ",\"entry\":%" PRIu32 ",\"of\":%" PRIu32,
                r->order.partition, r->order.offset, r->timestamp_ms, r->order.entry, r->entry,
                r->of);
    if (r->via.n > 0) {
        og_buf_addf(out, ",\"round\":%" PRId64 ",\"via\":", r->order.round);
        og_buf_add_json(out, r->via);
    }
    og_buf_addz(out, r->deleted ? ",\"deleted\":true" : "");
    og_buf_addz(out, r->untimed ? ",\"untimed\":true}\n" : "}\n");
}

void record_write_value(og_buf *out, const record *r)
{
    write_head(out, r);
    if (!r->deleted)
        og_buf_adds(out, r->body);
}

void record_write_place_key(og_buf *out, og_str type, og_str id)
{
    og_buf_adds(out, OG_STR(RECORD_PLACE));
    og_buf_adds(out, type);
    og_buf_addc(out, '/');
    og_buf_adds(out, id);
}

void record_write_place_value(og_buf *out, const record *r)
{
    write_head(out, r);
    og_buf_adds(out, r->patient);
}

static bool read_type_id(og_str text, record *ret)
{
    ptrdiff_t slash = og_str_find(text, '/');
    if (slash <= 0 || (size_t)slash + 1 >= text.n)
        return false;
    ret->type = (og_str){text.p, (size_t)slash};
    ret->id = og_str_from(text, (size_t)slash + 1);
    return ret->type.n <= 64 && fhir_id_usable(record_plain_id(ret->id));
}

/* tenant|patient|Type/id; the patient may hold '|' itself (system|value), tenant and Type/id
 * cannot. *ret_via: what stands behind that, for a copy. */
static bool read_key(og_str key, record *ret, og_str *ret_via)
{
    ptrdiff_t first = og_str_find(key, '|'), last = -1;
    for (size_t i = key.n; i > 0 && last < 0; i--)
        if (key.p[i - 1] == '|')
            last = (ptrdiff_t)i - 1;
    if (first < 0 || last <= first)
        return false;
    og_str what = og_str_from(key, (size_t)last + 1);
    ptrdiff_t via = og_str_find(what, RECORD_VIA);
    *ret_via = via < 0 ? (og_str){NULL, 0} : og_str_from(what, (size_t)via);
    ret->tenant = (og_str){key.p, (size_t)first};
    ret->patient = (og_str){key.p + first + 1, (size_t)(last - first - 1)};
    return read_type_id((og_str){what.p, what.n - ret_via->n}, ret) &&
           (ret->patient.n == 0 || record_patient_valid(ret->patient));
}

/* The head line; *ret_rest: what follows it. */
static og_status read_head(og_arena *a, og_str value, record *ret, og_str *ret_rest, og_error *err)
{
    static const fhir_limits limits = {.max_bytes = 4096, .max_depth = 8};
    record r = *ret;
    fhir_doc *doc = og_arena_zalloc(a, 1, sizeof *doc);
    int64_t version, epoch, partition, order, entry, of;
    if (doc == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a record");
    ptrdiff_t end = og_str_find(value, '\n');
    if (end < 0)
        return og_fail(err, OG_SYNTAX, "the value has no head line");
    og_status status = fhir_decode(a, (og_str){value.p, (size_t)end}, &limits, doc, err);
    if (status != OG_OK)
        return status;
    fhir_elem head = fhir_root(doc);
    if (!fhir_int(fhir_get(head, "osteoguard"), 1, 1, &version) ||
        !fhir_int(fhir_get(head, "epoch"), 0, UINT32_MAX, &epoch) ||
        !fhir_int(fhir_get(head, "time"), INT64_MIN, INT64_MAX, &r.order.time_us) ||
        !fhir_int(fhir_get(head, "partition"), INT32_MIN, INT32_MAX, &partition) ||
        !fhir_int(fhir_get(head, "offset"), INT64_MIN, INT64_MAX, &r.order.offset) ||
        !fhir_int(fhir_get(head, "timestamp"), INT64_MIN, INT64_MAX, &r.timestamp_ms) ||
        !fhir_int(fhir_get(head, "order"), 0, UINT32_MAX, &order) ||
        !fhir_int(fhir_get(head, "entry"), 0, UINT32_MAX, &entry) ||
        !fhir_int(fhir_get(head, "of"), 0, UINT32_MAX, &of))
        return og_fail(err, OG_INVALID, "the head line is not that of a record");
    if (r.timestamp_ms < 0 || r.timestamp_ms > LATEST_MS)
        r.timestamp_ms = -1; /* only a note for people and metrics, but they calculate with it */
    r.topic = fhir_string(a, fhir_get(head, "topic"));
    r.via = fhir_string(a, fhir_get(head, "via"));
    if (r.via.n > 0 && !fhir_int(fhir_get(head, "round"), 0, INT64_MAX, &r.order.round))
        return og_fail(err, OG_INVALID, "a copy has no round");
    r.order.epoch = (uint32_t)epoch;
    r.order.partition = (int32_t)partition;
    r.order.entry = (uint32_t)order;
    r.order.topic = og_crc32c(0, r.topic.p, r.topic.n);
    r.entry = (uint32_t)entry;
    r.of = (uint32_t)of;
    r.deleted = fhir_kind_of(fhir_get(head, "deleted")) == FHIR_TRUE;
    r.untimed = fhir_kind_of(fhir_get(head, "untimed")) == FHIR_TRUE;
    *ret = r;
    *ret_rest = og_str_from(value, (size_t)end + 1);
    return OG_OK;
}

og_status record_read(og_arena *a, og_str key, og_str value, record *ret, og_error *err)
{
    record r = {0};
    char way[RECORD_VIA_TEXT];
    og_str via;
    if (!read_key(key, &r, &via))
        return og_fail(err, OG_SYNTAX, "the key is not tenant|patient|Type/id");
    og_status status = read_head(a, value, &r, &r.body, err);
    if (status != OG_OK)
        return status;
    record_via_text(r.via, way);
    if (r.via.n > 0 ? !og_str_eq(via, (og_str){way, sizeof way}) : via.n > 0)
        return og_fail(err, OG_INVALID, "the key does not belong to the way of the copy");
    if (r.deleted != (r.body.n == 0))
        return og_fail(err, OG_INVALID, "a record has a resource, or is marked as deleted");
    *ret = r;
    return OG_OK;
}

og_status record_read_place(og_arena *a, og_str key, og_str value, record *ret, og_error *err)
{
    record r = {0};
    if (!record_is_place(key) || !read_type_id(og_str_from(key, strlen(RECORD_PLACE)), &r))
        return og_fail(err, OG_SYNTAX, "the key is not " RECORD_PLACE "Type/id");
    og_status status = read_head(a, value, &r, &r.patient, err);
    if (status != OG_OK)
        return status;
    if (r.patient.n > 0 ? !record_patient_valid(r.patient) : !r.deleted)
        return og_fail(err, OG_INVALID, "a place names a patient, or is marked as deleted");
    *ret = r;
    return OG_OK;
}

/* Microseconds behind the last whole millisecond: digits 4 to 6 of the fraction. */
static int64_t extra_us(og_str text)
{
    ptrdiff_t dot = og_str_find(text, '.');
    int64_t us = 0, unit = 100;
    for (size_t i = dot < 0 ? text.n : (size_t)dot + 4; i < text.n && unit > 0; i++, unit /= 10) {
        if (text.p[i] < '0' || text.p[i] > '9')
            break;
        us += (text.p[i] - '0') * unit;
    }
    return us;
}

/* The third digit of the fraction must be there before the fourth can be. */
static bool has_long_fraction(og_str text)
{
    ptrdiff_t dot = og_str_find(text, '.');
    if (dot < 0 || (size_t)dot + 4 >= text.n)
        return false;
    for (size_t i = (size_t)dot + 1; i < (size_t)dot + 4; i++)
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
    return true;
}

bool record_instant_us(og_str text, int64_t *ret)
{
    og_temporal t;
    if (!og_temporal_parse_fhir(text, &t) || t.precision < OG_SECOND)
        return false;
    *ret = og_temporal_earliest_ms(&t, 0) * 1000 + (has_long_fraction(text) ? extra_us(text) : 0);
    return true;
}
