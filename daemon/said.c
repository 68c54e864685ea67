/* The alerts topic's records, in and out of the store. Which of them count is decided by who reads
 * the topic in order (serve_said.c); here they are keys and rows. */
#include "daemon/said.h"

#include "daemon/shown.h"

og_str said_alert_key(og_arena *a, og_str tenant, og_str patient, const char *alert_id)
{
    return og_arena_printf(a, "%.*s|%.*s|%s", OG_STR_ARG(tenant), OG_STR_ARG(patient), alert_id);
}

og_str said_delivery_key(og_arena *a, og_str tenant, const delivery *d)
{
    return og_arena_printf(a, "%.*s|%.*s|%s|%.*s", OG_STR_ARG(tenant), OG_STR_ARG(d->patient),
                           d->alert_id, OG_STR_ARG(d->endpoint));
}

static bool read_uuid(og_str s, char out[UUID_TEXT])
{
    if (!og_str_is_uuid(s, false))
        return false;
    memcpy(out, s.p, s.n);
    out[s.n] = '\0';
    return true;
}

/* Cuts what stands behind the last '|' off s. */
static bool cut_last(og_str *s, og_str *ret)
{
    for (size_t i = s->n; i > 0; i--) {
        if (s->p[i - 1] != '|')
            continue;
        *ret = og_str_from(*s, i);
        s->n = i - 1;
        return true;
    }
    return false;
}

/* The patient may hold '|' itself (system|value); tenant, alert and endpoint cannot. */
bool said_read_key(og_str key, said_key *ret)
{
    said_key k = {.endpoint = {NULL, 0}};
    og_str last;
    if (!cut_last(&key, &last))
        return false;
    if (!read_uuid(last, k.alert_id)) {
        k.endpoint = last;
        if (last.n == 0 || last.n > SAID_MAX_ENDPOINT || !cut_last(&key, &last) ||
            !read_uuid(last, k.alert_id))
            return false;
    }
    ptrdiff_t first = og_str_find(key, '|');
    if (first < 0)
        return false;
    k.tenant = (og_str){key.p, (size_t)first};
    k.patient = og_str_from(key, (size_t)first + 1);
    if (!record_patient_valid(k.patient))
        return false;
    *ret = k;
    return true;
}

/* Whoever shows a card does not know what others have shown, or what has become of it. */
static og_status is_news(store_txn *t, og_arena *a, og_str patient, const plan_alert *shown,
                         bool *ret, og_error *err)
{
    plan_alert had;
    const plan_alert *alerts;
    size_t count;
    og_status status = store_alert(t, a, patient, shown->id, &had, err);
    *ret = false;
    if (status != OG_NOTFOUND)
        return status;
    status = store_alerts(t, a, patient, &alerts, &count, err);
    *ret = status == OG_OK && !shown_is_alert(alerts, count, shown->id);
    return status;
}

static og_status apply_alert(store_txn *t, og_arena *a, const said_key *k, og_str value,
                             said_taken *ret, plan_alert *ret_shown, og_error *err)
{
    plan_alert alert = {0};
    bool news;
    if (value.p == NULL) /* erased; of an alert the store's own row says how it stands */
        return store_forget_shown(t, a, k->patient, k->alert_id, err);
    og_status status = plan_alert_read(a, value, &alert, err);
    if (status == OG_LIMIT) /* of the value, not of the disk: it would never be taken */
        status = OG_INVALID;
    if (status == OG_OK && strcmp(alert.id, k->alert_id) != 0)
        status = og_fail(err, OG_INVALID, "an alert stands under the key of another one");
    if (status == OG_OK && alert.state == PLAN_ALERT_SHOWN &&
        alert.feedback.answer == PLAN_UNANSWERED) {
        status = is_news(t, a, k->patient, &alert, &news, err);
        *ret = news ? SAID_SHOWN : SAID_PASSED;
        *ret_shown = alert;
        if (status == OG_OK && !news)
            return OG_OK;
    }
    return status == OG_OK ? store_put_alert(t, a, k->patient, &alert, err) : status;
}

/* A row that is told and holds nothing is no row. An attempt that was under way may still arrive:
 * it is repeated with the same key, when it cannot be under way any more. */
static og_status apply_delivery(store_txn *t, og_arena *a, const said_key *k, const said_message *m,
                                og_error *err)
{
    delivery d = {.endpoint = k->endpoint, .patient = k->patient};
    memcpy(d.alert_id, k->alert_id, sizeof d.alert_id);
    if (m->value.p == NULL)
        return delivery_remove(t, &d, err);
    og_status status = delivery_read_value(a, m->value, &d, err);
    if (status != OG_OK)
        return status == OG_CORRUPT ? OG_INVALID : status;
    status = store_raise_sequence(t, k->endpoint, k->patient, d.sequence, err);
    if (status != OG_OK)
        return status;
    if (d.state == DELIVERY_DELIVERED && d.held_count == 0)
        return delivery_remove(t, &d, err);
    if (d.state == DELIVERY_INTENT)
        d.next_ms = m->not_before_ms;
    return delivery_put(t, a, &d, err);
}

og_status said_apply(store_txn *t, og_arena *a, og_str tenant, const said_message *m,
                     said_taken *ret, plan_alert *ret_shown, og_error *err)
{
    said_key k;
    *ret = m->outdated ? SAID_PASSED : SAID_TAKEN;
    if (m->outdated)
        return OG_OK;
    if (!said_read_key(m->key, &k) || !og_str_eq(k.tenant, tenant))
        return og_fail(err, OG_INVALID, "the key is no tenant|patient|alert of ours");
    og_status status = k.endpoint.n == 0 ? apply_alert(t, a, &k, m->value, ret, ret_shown, err)
                                         : apply_delivery(t, a, &k, m, err);
    if (status != OG_OK || *ret == SAID_PASSED)
        return status;
    return store_mark_dirty(t, k.patient, -1, err);
}

og_status said_own(store_txn *t, og_arena *a, og_str key, og_str *ret, og_error *err)
{
    said_key k = {.endpoint = {NULL, 0}};
    plan_alert alert;
    delivery d = {0};
    og_str text = {NULL, 0};
    og_status status = OG_NOTFOUND;
    bool ours = said_read_key(key, &k);
    if (ours && k.endpoint.n == 0) {
        status = store_alert(t, a, k.patient, k.alert_id, &alert, err);
        if (status == OG_OK)
            text = plan_alert_write(a, &alert);
    } else if (ours) {
        status = delivery_get(t, a, k.endpoint, k.patient, k.alert_id, &d, err);
        if (status == OG_OK)
            text = delivery_write(a, &d);
    }
    if (status == OG_OK && text.p == NULL)
        return og_fail(err, OG_NOMEM, "no memory for what was said");
    if (status == OG_OK || status == OG_NOTFOUND)
        *ret = text;
    return status == OG_NOTFOUND ? OG_OK : status;
}
