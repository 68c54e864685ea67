/* The queue of deliveries. Per endpoint: a table of lines, one for each patient that has anything
 * to be sent; a line is a list of items in order of sequence, of which the first may be under way,
 * and those after it prepared.
 * Lines that could begin stand in a heap by the time at which their first item may be sent; a line
 * under way does not stand in it.
 *
 * When the lines are as many as may be, and when it becomes ours, a partition gets a rest: its
 * store is read from the first patient to the last while there is room, and what is new of patients
 * that have no line waits for that, unless its place has been passed. What finds no room at a place
 * that was passed makes one more pass necessary. So does what finds no memory: then all of the
 * patient that waits is left to the store, or others would overtake it. */
#include "daemon/outbox.h"

#include <stdlib.h>

typedef enum item_state {
    ITEM_WAITING,
    ITEM_PREPARING,
    ITEM_BEHIND, /* prepared, with something of its line before it */
    ITEM_READY,
    ITEM_SENDING
} item_state;

#define FLYING_BUCKETS 256
#define MAX_PATIENTS   20000
#define MAX_READ       256 /* patients that are read from the store at a time */
#define FAILING_AT     8   /* patients of whom nothing was taken, one after the other */
#define PACE           100 /* the shortest wait has so many of the waits by which these slow down */
#define PROBES         10  /* within the longest wait, at the least */
#define LONGEST_MS     3600000 /* no back-off and no Retry-After is longer */

typedef struct kept { /* a message */
    outbox_message m; /* points into bytes */
    char bytes[];
} kept;

typedef struct item {
    struct item *next, *next_ready, *next_flying;
    outbox_item pub; /* patient borrows from the line */
    item_state state;
    kept *message;        /* while it is ready, or behind another */
    bool dropped;         /* while under way: nobody wants it any more */
    struct item *renewed; /* while under way: it was wanted anew */
    uint64_t outages;     /* of its endpoint, when it was sent */
} item;

typedef struct line {
    struct line *hash_next;
    item *first;
    size_t heap_at; /* 1-based place in the heap; 0: not in it */
    size_t endpoint;
    uint64_t hash;
    uint64_t came_back; /* the number of the series in which something of it did */
    bool partial;       /* some of its rows are in the store alone */
    size_t patient_n;
    char patient[];
} line;

typedef struct rest { /* rows of a partition that are in its store alone */
    bool there;       /* or may be; the others count only then */
    bool again;       /* some of them where it was read already */
    bool given_up, given_up_again;
    uint64_t pass;
    size_t after_n; /* read up to this patient */
    char after[KV_MAX_KEY];
} rest;

typedef struct endpoint {
    outbox_endpoint info;
    rest *rests; /* of each partition */
    size_t rest_count;
    line **buckets;
    size_t bucket_count, line_count;
    line **heap;
    size_t heap_count, heap_cap;
    size_t pending;
    item *ready, **ready_end;
    int preparing, sending; /* those whose message is kept count as the former */
    int kept;
    int window; /* so many may be prepared or sent, before the endpoint fails and after */
    int64_t failures, not_before_ms; /* the endpoint itself is failing */
    uint64_t outages;
    uint64_t series; /* of answers none of which took anything */
    int came_back;   /* patients in it */
} endpoint;

struct outbox {
    outbox_options options;
    endpoint *endpoints;
    uint64_t next_ticket, random;
    uint64_t next_pass;
    item *flying[FLYING_BUCKETS]; /* items under way, found by ticket */
    bool stopped;
};

/* ---- heap of lines ---- */

static int64_t line_time(const line *l)
{
    return l->first->pub.not_before_ms;
}

static bool earlier(const line *a, const line *b)
{
    if (line_time(a) != line_time(b))
        return line_time(a) < line_time(b);
    return a->first->pub.ticket < b->first->pub.ticket;
}

static void heap_set(endpoint *ep, size_t at, line *l)
{
    ep->heap[at] = l;
    l->heap_at = at + 1;
}

static void heap_up(endpoint *ep, size_t at)
{
    line *l = ep->heap[at];
    while (at > 0 && earlier(l, ep->heap[(at - 1) / 2])) {
        heap_set(ep, at, ep->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_set(ep, at, l);
}

static void heap_down(endpoint *ep, size_t at)
{
    line *l = ep->heap[at];
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= ep->heap_count)
            break;
        if (child + 1 < ep->heap_count && earlier(ep->heap[child + 1], ep->heap[child]))
            child++;
        if (!earlier(ep->heap[child], l))
            break;
        heap_set(ep, at, ep->heap[child]);
        at = child;
    }
    heap_set(ep, at, l);
}

static void heap_remove(endpoint *ep, line *l)
{
    if (l->heap_at == 0)
        return;
    size_t at = l->heap_at - 1;
    l->heap_at = 0;
    line *last = ep->heap[--ep->heap_count];
    if (last == l)
        return;
    heap_set(ep, at, last);
    heap_up(ep, at);
    heap_down(ep, last->heap_at - 1);
}

/* Room for one more line, taken when a line is made, so that putting it into the heap cannot fail.
 */
static bool heap_reserve(endpoint *ep)
{
    if (ep->heap_cap > ep->line_count)
        return true;
    size_t cap = ep->heap_cap == 0 ? 64 : ep->heap_cap * 2;
    line **grown = realloc(ep->heap, cap * sizeof(line *));
    if (grown == NULL)
        return false;
    ep->heap = grown;
    ep->heap_cap = cap;
    return true;
}

/* Puts the line where its first item says: into the heap when that waits, out of it when not. */
static void heap_place(endpoint *ep, line *l)
{
    heap_remove(ep, l);
    if (l->first == NULL || l->first->state != ITEM_WAITING)
        return;
    ep->heap[ep->heap_count] = l;
    l->heap_at = ++ep->heap_count;
    heap_up(ep, l->heap_at - 1);
}

/* ---- table of lines ---- */

static bool grow_buckets(endpoint *ep)
{
    size_t count = ep->bucket_count == 0 ? 64 : ep->bucket_count * 2;
    line **buckets = calloc(count, sizeof(line *));
    if (buckets == NULL)
        return ep->bucket_count > 0;
    for (size_t i = 0; i < ep->bucket_count; i++) {
        for (line *l = ep->buckets[i], *next; l != NULL; l = next) {
            next = l->hash_next;
            l->hash_next = buckets[l->hash & (count - 1)];
            buckets[l->hash & (count - 1)] = l;
        }
    }
    free(ep->buckets);
    ep->buckets = buckets;
    ep->bucket_count = count;
    return true;
}

static line *find_line(const endpoint *ep, og_str patient, uint64_t hash)
{
    if (ep->bucket_count == 0)
        return NULL;
    for (line *l = ep->buckets[hash & (ep->bucket_count - 1)]; l != NULL; l = l->hash_next)
        if (l->hash == hash && og_str_eq((og_str){l->patient, l->patient_n}, patient))
            return l;
    return NULL;
}

static line *make_line(outbox *ob, size_t endpoint_number, og_str patient)
{
    endpoint *ep = &ob->endpoints[endpoint_number];
    uint64_t hash = og_str_hash(patient);
    line *l = find_line(ep, patient, hash);
    if (l != NULL)
        return l;
    if ((ep->line_count >= ep->bucket_count && !grow_buckets(ep)) || !heap_reserve(ep))
        return NULL;
    l = calloc(1, sizeof *l + patient.n + 1);
    if (l == NULL)
        return NULL;
    memcpy(l->patient, patient.p, patient.n);
    l->patient_n = patient.n;
    l->endpoint = endpoint_number;
    l->hash = hash;
    l->hash_next = ep->buckets[hash & (ep->bucket_count - 1)];
    ep->buckets[hash & (ep->bucket_count - 1)] = l;
    ep->line_count++;
    return l;
}

static void drop_line_if_empty(endpoint *ep, line *l)
{
    if (l->first != NULL)
        return;
    heap_remove(ep, l);
    line **link = &ep->buckets[l->hash & (ep->bucket_count - 1)];
    while (*link != l)
        link = &(*link)->hash_next;
    *link = l->hash_next;
    ep->line_count--;
    free(l);
}

static void insert_item(endpoint *ep, line *l, item *it)
{
    item **link = &l->first;
    /* what is under way stays first */
    while (*link != NULL &&
           ((*link)->state != ITEM_WAITING || (*link)->pub.sequence <= it->pub.sequence))
        link = &(*link)->next;
    it->next = *link;
    *link = it;
    it->pub.patient = (og_str){l->patient, l->patient_n};
    ep->pending++;
}

static void unlink_item(endpoint *ep, line *l, item *it)
{
    item **link = &l->first;
    while (*link != it)
        link = &(*link)->next;
    *link = it->next;
    ep->pending--;
}

static item *find_item(const line *l, const char *alert_id)
{
    for (item *it = l->first; it != NULL; it = it->next)
        if (strcmp(it->pub.alert_id, alert_id) == 0)
            return it;
    return NULL;
}

/* ---- items under way ---- */

static item **flying_bucket(outbox *ob, uint64_t ticket)
{
    return &ob->flying[ticket % FLYING_BUCKETS];
}

static void flying_add(outbox *ob, item *it)
{
    item **bucket = flying_bucket(ob, it->pub.ticket);
    it->next_flying = *bucket;
    *bucket = it;
}

static item *flying_find(outbox *ob, uint64_t ticket)
{
    item *it = *flying_bucket(ob, ticket);
    while (it != NULL && it->pub.ticket != ticket)
        it = it->next_flying;
    return it;
}

static void flying_remove(outbox *ob, const item *it)
{
    item **link = flying_bucket(ob, it->pub.ticket);
    while (*link != it)
        link = &(*link)->next_flying;
    *link = it->next_flying;
}

static line *line_of(outbox *ob, const item *it)
{
    const endpoint *ep = &ob->endpoints[it->pub.endpoint];
    return find_line(ep, it->pub.patient, og_str_hash(it->pub.patient));
}

/* ---- messages that are ready ---- */

static char *keep_part(char *to, og_str from, og_str *ret)
{
    if (from.n > 0)
        memcpy(to, from.p, from.n);
    *ret = (og_str){from.p != NULL ? to : NULL, from.n};
    return to + from.n;
}

static bool keep_message(endpoint *ep, item *it, const outbox_message *m)
{
    kept *k = malloc(sizeof *k + m->body.n + m->key.n + m->said_key.n + m->said_value.n);
    if (k == NULL)
        return false;
    char *to = keep_part(k->bytes, m->body, &k->m.body);
    to = keep_part(to, m->key, &k->m.key);
    to = keep_part(to, m->said_key, &k->m.said_key);
    (void)keep_part(to, m->said_value, &k->m.said_value);
    it->message = k;
    ep->kept++;
    return true;
}

static void forget_message(endpoint *ep, item *it)
{
    if (it->message == NULL)
        return;
    free(it->message);
    it->message = NULL;
    ep->kept--;
}

static void put_ready(endpoint *ep, item *it)
{
    it->state = ITEM_READY;
    it->next_ready = NULL;
    *ep->ready_end = it;
    ep->ready_end = &it->next_ready;
}

static item *take_ready(endpoint *ep, item **link)
{
    item *it = *link;
    *link = it->next_ready;
    if (ep->ready_end == &it->next_ready)
        ep->ready_end = link;
    return it;
}

/* ---- the end of being under way ---- */

/* It was prepared, but is not on its way any more: a row that says it might be would have its alert
 * withdrawn where it never was. */
static void say_not_sent(outbox *ob, const outbox_item *it)
{
    delivery_outcome outcome = {.verdict = CONN_AGAIN,
                                .not_sent = true,
                                .revision = it->revision,
                                .resolved = it->resolved,
                                .reason = ""};
    ob->options.settle(ob->options.ctx, it, &outcome);
}

/* It waits as if it had not been prepared. */
static void step_back(outbox *ob, endpoint *ep, item *it)
{
    flying_remove(ob, it);
    forget_message(ep, it);
    ep->preparing--;
    it->state = ITEM_WAITING;
}

/* What comes first now: if it is prepared, it is its turn; if it waits, so do those behind it. */
static void move_up(outbox *ob, endpoint *ep, const line *l)
{
    if (l->first == NULL)
        return;
    if (l->first->state == ITEM_BEHIND) {
        put_ready(ep, l->first);
        return;
    }
    for (item *it = l->first->next; it != NULL; it = it->next) {
        if (it->state != ITEM_BEHIND)
            continue;
        say_not_sent(ob, &it->pub);
        step_back(ob, ep, it);
    }
}

/* The item leaves its state of being under way: gone, or waiting once more. One that is ready has
 * left the list before. */
static void land(outbox *ob, item *it, bool keep)
{
    endpoint *ep = &ob->endpoints[it->pub.endpoint];
    line *l = line_of(ob, it);
    item *renewed = it->renewed;
    flying_remove(ob, it);
    forget_message(ep, it);
    if (it->state == ITEM_SENDING)
        ep->sending--;
    else
        ep->preparing--;
    if (renewed != NULL || it->dropped)
        keep = false;
    if (keep) {
        it->state = ITEM_WAITING;
    } else {
        unlink_item(ep, l, it);
        free(it);
    }
    if (renewed != NULL)
        insert_item(ep, l, renewed);
    move_up(ob, ep, l);
    heap_place(ep, l);
    drop_line_if_empty(ep, l);
}

/* Those that nobody wants any more, or that are wanted anew. */
static void drop_unwanted(outbox *ob, endpoint *ep)
{
    for (item **link = &ep->ready; *link != NULL;) {
        if (!(*link)->dropped && (*link)->renewed == NULL) {
            link = &(*link)->next_ready;
            continue;
        }
        if ((*link)->renewed != NULL)
            say_not_sent(ob, &(*link)->pub);
        land(ob, take_ready(ep, link), false);
    }
}

/* ---- time ---- */

static uint64_t next_random(outbox *ob)
{
    ob->random ^= ob->random << 13; /* xorshift64 */
    ob->random ^= ob->random >> 7;
    ob->random ^= ob->random << 17;
    return ob->random;
}

/* Exponential with full jitter; at least what the receiver asked for. */
static int64_t backoff(outbox *ob, int64_t attempts, int64_t retry_after_ms)
{
    int64_t ceiling = ob->options.backoff_min_ms;
    for (int64_t i = 1; i < attempts && ceiling < ob->options.backoff_max_ms; i++)
        ceiling *= 2;
    if (ceiling > ob->options.backoff_max_ms)
        ceiling = ob->options.backoff_max_ms;
    int64_t wait = (int64_t)(next_random(ob) % (uint64_t)(ceiling + 1));
    return wait > retry_after_ms ? wait : retry_after_ms;
}

static bool is_failing(const endpoint *ep)
{
    return ep->failures > 0 || ep->came_back >= FAILING_AT;
}

static int widest(const endpoint *ep)
{
    return ep->info.max_in_flight + OUTBOX_AHEAD;
}

static int most_sending(const endpoint *ep)
{
    return ep->window < ep->info.max_in_flight ? ep->window : ep->info.max_in_flight;
}

static bool has_room(const endpoint *ep)
{
    return ep->preparing + ep->sending < ep->window;
}

/* Or it lies further ahead than any wait: the clock has been set back since. */
static bool is_time(int64_t at_ms, int64_t now_ms)
{
    return at_ms <= now_ms || at_ms - now_ms > LONGEST_MS;
}

static bool may_begin(const endpoint *ep, int64_t now_ms)
{
    return ep->heap_count > 0 && has_room(ep) && is_time(ep->not_before_ms, now_ms) &&
           is_time(line_time(ep->heap[0]), now_ms);
}

static bool may_send(const endpoint *ep, int64_t now_ms)
{
    return ep->sending < most_sending(ep) && is_time(ep->not_before_ms, now_ms);
}

/* False: there is no memory. */
static bool begin_first(outbox *ob, endpoint *ep, int64_t now_ms)
{
    line *l = ep->heap[0];
    item *it = l->first;
    heap_remove(ep, l);
    flying_add(ob, it);
    it->state = ITEM_PREPARING;
    ep->preparing++;
    if (ob->options.prepare(ob->options.ctx, &it->pub))
        return true;
    step_back(ob, ep, it);
    heap_place(ep, l);
    ep->not_before_ms = now_ms + ob->options.backoff_min_ms;
    return false;
}

static void send_now(outbox *ob, endpoint *ep, item *it, const outbox_message *m)
{
    it->state = ITEM_SENDING;
    it->outages = ep->outages;
    ep->preparing--;
    ep->sending++;
    ob->options.send(ob->options.ctx, &it->pub, m);
}

/* Whoever loses the store between an alert's card and its record on the alerts topic, which is the
 * last endpoint, would make the card anew, perhaps with other words, under the same key. */
static bool is_held(const outbox *ob, const endpoint *ep, const item *it)
{
    const endpoint *topic = &ob->endpoints[ob->options.endpoint_count - 1];
    const line *l =
        ep != topic ? find_line(topic, it->pub.patient, og_str_hash(it->pub.patient)) : NULL;
    for (const item *t = l != NULL ? l->first : NULL; t != NULL; t = t->next)
        if ((t->state == ITEM_BEHIND || t->state == ITEM_READY) && t->pub.ticket < it->pub.ticket)
            return true;
    return false;
}

/* Where the first stands that may go now; what it points to is NULL when there is none. */
static item **first_free(const outbox *ob, endpoint *ep)
{
    item **link = &ep->ready;
    while (*link != NULL && is_held(ob, ep, *link))
        link = &(*link)->next_ready;
    return link;
}

static void send_ready(outbox *ob, endpoint *ep, int64_t now_ms)
{
    item **link;
    while (may_send(ep, now_ms) && *(link = first_free(ob, ep)) != NULL) {
        item *it = take_ready(ep, link);
        kept *message = it->message;
        it->message = NULL;
        ep->kept--;
        send_now(ob, ep, it, &message->m);
        free(message);
    }
}

void outbox_deliver(outbox *ob, int64_t now_ms)
{
    for (size_t i = ob->options.endpoint_count; i-- > 0 && !ob->stopped;) {
        endpoint *ep = &ob->endpoints[i];
        drop_unwanted(ob, ep);
        send_ready(ob, ep, now_ms);
        while (may_begin(ep, now_ms) && begin_first(ob, ep, now_ms)) {
        }
    }
}

static int64_t next_ms(const outbox *ob, endpoint *ep)
{
    int64_t at = INT64_MAX;
    if (ep->sending < most_sending(ep) && *first_free(ob, ep) != NULL)
        return ep->not_before_ms;
    if (ep->heap_count > 0 && has_room(ep))
        at = line_time(ep->heap[0]);
    return at > ep->not_before_ms ? at : ep->not_before_ms;
}

int64_t outbox_next_ms(const outbox *ob)
{
    int64_t next = INT64_MAX;
    for (size_t i = 0; i < ob->options.endpoint_count && !ob->stopped; i++) {
        int64_t at = next_ms(ob, &ob->endpoints[i]);
        next = at < next ? at : next;
    }
    return next;
}

void outbox_prepared(outbox *ob, uint64_t ticket, const delivery *row, const outbox_message *m,
                     int64_t now_ms)
{
    item *it = flying_find(ob, ticket);
    if (it == NULL || it->state != ITEM_PREPARING)
        return;
    if (row == NULL || it->dropped) {
        land(ob, it, false);
        return;
    }
    endpoint *ep = &ob->endpoints[it->pub.endpoint];
    /* The row may be newer than what we knew; what is sent counts. */
    it->pub.sequence = row->sequence;
    it->pub.revision = row->revision;
    it->pub.resolved = row->resolved;
    it->pub.attempts = row->attempts;
    bool waits = ob->stopped || ep->ready != NULL || !may_send(ep, now_ms) || is_held(ob, ep, it);
    if (waits && keep_message(ep, it, m))
        put_ready(ep, it);
    else
        send_now(ob, ep, it, m); /* rather one too many than none, when there is no memory */
}

static void give_back(outbox *ob, endpoint *ep)
{
    while (ep->ready != NULL) {
        item *it = take_ready(ep, &ep->ready);
        say_not_sent(ob, &it->pub);
        land(ob, it, true);
    }
}

/* What comes back for one patient may be the message's fault; for one patient after the other it is
 * the endpoint's. */
static bool takes_nothing(outbox *ob, endpoint *ep, const item *it)
{
    line *l = line_of(ob, it);
    ep->came_back += l->came_back != ep->series;
    l->came_back = ep->series;
    return ep->came_back >= FAILING_AT;
}

/* Until somebody else's message is taken the others' are tried ever more slowly, never for long: of
 * twenty patients one may have a message that is taken. */
static int64_t next_probe(const outbox *ob, const endpoint *ep)
{
    int64_t most = ob->options.backoff_max_ms / PROBES;
    int64_t wait = ob->options.backoff_min_ms * (ep->came_back - FAILING_AT) / PACE;
    return wait < most ? wait : most;
}

static void has_failed(outbox *ob, endpoint *ep, int64_t not_before_ms)
{
    if (not_before_ms > ep->not_before_ms)
        ep->not_before_ms = not_before_ms;
    ep->window = 1;
    give_back(ob, ep);
}

/* As with every connection: what is lost stops it, and with what is taken it gets wider again. */
static void note_endpoint(outbox *ob, const item *it, const outbox_answer *answer, int64_t now_ms)
{
    endpoint *ep = &ob->endpoints[it->pub.endpoint];
    if (answer->verdict == CONN_AGAIN && it->dropped)
        return; /* its partition may have gone: then it was not even tried */
    if (is_time(ep->not_before_ms, now_ms))
        ep->not_before_ms = 0;
    if (answer->verdict != CONN_AGAIN && it->outages != ep->outages)
        return; /* let in before it failed */
    if (answer->verdict != CONN_AGAIN) {
        ep->failures = 0;
        ep->not_before_ms = 0;
        ep->series++;
        ep->came_back = 0;
        ep->window = ep->window * 2 < widest(ep) ? ep->window * 2 : widest(ep);
    } else if (answer->endpoint_down && now_ms >= ep->not_before_ms) {
        ep->failures++; /* once: others that were on their way fail for the same reason */
        ep->outages++;
        has_failed(ob, ep, now_ms + backoff(ob, ep->failures, answer->retry_after_ms));
    } else if (!answer->endpoint_down && takes_nothing(ob, ep, it)) {
        has_failed(ob, ep, now_ms + next_probe(ob, ep));
    }
}

void outbox_answered(outbox *ob, uint64_t ticket, const outbox_answer *answer, int64_t now_ms)
{
    item *it = flying_find(ob, ticket);
    if (it == NULL || it->state != ITEM_SENDING)
        return;
    note_endpoint(ob, it, answer, now_ms);
    delivery_outcome outcome = {.verdict = answer->verdict,
                                .in_doubt = answer->in_doubt,
                                .renewed = it->renewed != NULL,
                                .revision = it->pub.revision,
                                .resolved = it->pub.resolved,
                                .reason = answer->reason != NULL ? answer->reason : ""};
    if (answer->verdict == CONN_AGAIN) {
        it->pub.not_before_ms = now_ms + backoff(ob, it->pub.attempts, answer->retry_after_ms);
        outcome.next_ms = it->pub.not_before_ms;
    }
    ob->options.settle(ob->options.ctx, &it->pub, &outcome);
    land(ob, it, answer->verdict == CONN_AGAIN);
}

/* ---- what is in the store alone ---- */

static void end_rest(endpoint *ep, rest *r)
{
    ep->rest_count -= r->there;
    r->there = false;
}

static void begin_rest(outbox *ob, endpoint *ep, rest *r, bool given_up)
{
    ep->rest_count += !r->there;
    r->there = true;
    r->again = r->given_up_again = false;
    r->given_up = given_up;
    r->pass = ++ob->next_pass;
    r->after_n = 0;
}

/* Something of the patient is here, and so is all of it; what is dropped says nothing. */
static bool is_here(const endpoint *ep, og_str patient)
{
    const line *l = find_line(ep, patient, og_str_hash(patient));
    if (l != NULL && l->partial)
        return false;
    for (const item *it = l != NULL ? l->first : NULL; it != NULL; it = it->next)
        if (!it->dropped)
            return true;
    return false;
}

/* What of the patient is not in a line is read from the store: with this pass, if it has not been
 * there yet. */
static void leave_to_store(outbox *ob, endpoint *ep, rest *r, og_str patient, bool given_up)
{
    if (!r->there) {
        begin_rest(ob, ep, r, given_up);
        return;
    }
    bool with_this =
        !delivery_is_before(patient, (og_str){r->after, r->after_n}) && (r->given_up || !given_up);
    r->again |= !with_this;
    r->given_up_again |= given_up && !with_this;
}

/* Whether a new row may come here; if not, it will be read from the store. */
static bool may_add(outbox *ob, size_t endpoint_number, int partition, og_str patient)
{
    endpoint *ep = &ob->endpoints[endpoint_number];
    rest *r = &ep->rests[partition];
    if (is_here(ep, patient))
        return true;
    if (r->there && (r->again || !delivery_is_before(patient, (og_str){r->after, r->after_n})))
        return false;
    if (ep->line_count < ob->options.max_patients)
        return true;
    leave_to_store(ob, ep, r, patient, false);
    return false;
}

void outbox_read_store(outbox *ob, int partition, bool given_up)
{
    for (size_t i = 0; i < ob->options.endpoint_count; i++)
        begin_rest(ob, &ob->endpoints[i], &ob->endpoints[i].rests[partition], given_up);
}

/* Not for each single one that goes, unless nobody else waits here. */
static size_t patients_to_read(const outbox *ob, const endpoint *ep)
{
    size_t max = ob->options.max_patients;
    size_t most = max / 2 < MAX_READ ? (max + 1) / 2 : MAX_READ;
    size_t room = ep->line_count < max ? max - ep->line_count : 0;
    if (room > most)
        room = most;
    return room == most || ep->heap_count == 0 ? room : 0;
}

/* The alerts topic, which is the last, first: no card goes before its record (is_held). */
bool outbox_wants(const outbox *ob, int partition, delivery_more *ret)
{
    for (size_t i = ob->options.endpoint_count; i-- > 0 && !ob->stopped;) {
        const endpoint *ep = &ob->endpoints[i];
        const rest *r = &ep->rests[partition];
        size_t patients = patients_to_read(ob, ep);
        if (!r->there || patients == 0)
            continue;
        *ret = (delivery_more){.pass = r->pass,
                               .endpoint = i,
                               .patients = patients,
                               .given_up = r->given_up,
                               .after = {r->after, r->after_n}};
        return true;
    }
    return false;
}

static bool has_row(const line *l, const delivery *row)
{
    const item *it = find_item(l, row->alert_id);
    if (it == NULL || it->dropped)
        return false;
    return (it->renewed != NULL ? it->renewed : it)->pub.sequence >= row->sequence;
}

static bool add_row(outbox *ob, size_t endpoint_number, int partition, const delivery *row);
static void leave_line(outbox *ob, size_t endpoint_number, int partition, const delivery *row);

bool outbox_take(outbox *ob, int partition, const delivery_more *wanted, const delivery *rows,
                 size_t count, og_str last, bool end)
{
    endpoint *ep = &ob->endpoints[wanted->endpoint];
    rest *r = &ep->rests[partition];
    if (!r->there || r->pass != wanted->pass)
        return true; /* forgotten meanwhile */
    for (size_t i = 0; i < count; i++) {
        line *l = find_line(ep, rows[i].patient, og_str_hash(rows[i].patient));
        if (l != NULL)
            l->partial = false;
        if (l != NULL && has_row(l, &rows[i]))
            continue;
        if (!add_row(ob, wanted->endpoint, partition, &rows[i])) {
            leave_line(ob, wanted->endpoint, partition, &rows[i]);
            return false;
        }
    }
    if (last.n > 0 && last.n <= sizeof r->after) {
        memcpy(r->after, last.p, last.n);
        r->after_n = last.n;
    }
    if (end && r->again)
        begin_rest(ob, ep, r, r->given_up_again);
    else if (end)
        end_rest(ep, r);
    return true;
}

/* ---- in and out ---- */

static outbox_item item_of(outbox *ob, size_t endpoint_number, int partition, const delivery *row)
{
    outbox_item it = {.ticket = ++ob->next_ticket,
                      .endpoint = endpoint_number,
                      .partition = partition,
                      .patient = row->patient,
                      .revision = row->revision,
                      .resolved = row->resolved,
                      .sequence = row->sequence,
                      .not_before_ms = row->next_ms,
                      .cause_ms = row->cause_ms,
                      .attempts = row->attempts,
                      .given_up = row->state == DELIVERY_PARKED};
    memcpy(it.alert_id, row->alert_id, sizeof it.alert_id);
    return it;
}

static bool add_row(outbox *ob, size_t endpoint_number, int partition, const delivery *row)
{
    endpoint *ep = &ob->endpoints[endpoint_number];
    item *it = calloc(1, sizeof *it);
    line *l = it != NULL ? make_line(ob, endpoint_number, row->patient) : NULL;
    if (l == NULL) {
        free(it);
        return false;
    }
    it->pub = item_of(ob, endpoint_number, partition, row);
    it->pub.patient = (og_str){l->patient, l->patient_n};
    item *old = find_item(l, row->alert_id);
    if (old != NULL && old->state == ITEM_BEHIND)
        step_back(ob, ep, old);
    if (old != NULL && old->state != ITEM_WAITING) {
        free(old->renewed);
        old->renewed = it;
        old->dropped = false;
        return true;
    }
    if (old != NULL) {
        unlink_item(ep, l, old);
        free(old);
    }
    insert_item(ep, l, it);
    heap_place(ep, l);
    return true;
}

static void drop_item(outbox *ob, endpoint *ep, line *l, item *it)
{
    if (it->state == ITEM_BEHIND)
        step_back(ob, ep, it);
    if (it->state != ITEM_WAITING) {
        free(it->renewed);
        it->renewed = NULL;
        it->dropped = true;
        return;
    }
    unlink_item(ep, l, it);
    free(it);
    heap_place(ep, l);
}

/* It is in the store alone from now on; what is under way ends, if it has begun to be sent. */
static void leave_item(outbox *ob, endpoint *ep, line *l, item *it)
{
    if (it->state == ITEM_BEHIND || it->state == ITEM_READY)
        say_not_sent(ob, &it->pub);
    drop_item(ob, ep, l, it);
}

/* There was no memory for the row: so is what waits of its patient. */
static void leave_line(outbox *ob, size_t endpoint_number, int partition, const delivery *row)
{
    endpoint *ep = &ob->endpoints[endpoint_number];
    line *l = find_line(ep, row->patient, og_str_hash(row->patient));
    bool given_up = row->state == DELIVERY_PARKED;
    for (item *it = l != NULL ? l->first : NULL, *next; it != NULL; it = next) {
        next = it->next;
        bool waits = it->state == ITEM_BEHIND || it->state == ITEM_WAITING;
        given_up |= it->pub.given_up || (it->renewed != NULL && it->renewed->pub.given_up);
        if (waits || it->renewed != NULL || strcmp(it->pub.alert_id, row->alert_id) == 0)
            leave_item(ob, ep, l, it);
    }
    leave_to_store(ob, ep, &ep->rests[partition], row->patient, given_up);
    if (l != NULL) {
        l->partial = true;
        drop_line_if_empty(ep, l);
    }
}

/* The row stays in the store; an older one of its alert is not wanted any more. */
static void leave_row(outbox *ob, size_t endpoint_number, const delivery *row)
{
    endpoint *ep = &ob->endpoints[endpoint_number];
    line *l = find_line(ep, row->patient, og_str_hash(row->patient));
    item *it = l != NULL ? find_item(l, row->alert_id) : NULL;
    if (it == NULL)
        return;
    leave_item(ob, ep, l, it);
    drop_line_if_empty(ep, l);
}

bool outbox_add(outbox *ob, size_t endpoint_number, int partition, const delivery *row)
{
    if (!may_add(ob, endpoint_number, partition, row->patient)) {
        leave_row(ob, endpoint_number, row);
        return true;
    }
    if (add_row(ob, endpoint_number, partition, row))
        return true;
    leave_line(ob, endpoint_number, partition, row);
    return false;
}

/* Nothing of its line is before it but what is under way, or prepared as well. */
static bool may_be_behind(const line *l, const item *it)
{
    const item *before = l->first;
    while (before != it && before->state != ITEM_WAITING && before->renewed == NULL)
        before = before->next;
    return before == it;
}

bool outbox_add_prepared(outbox *ob, size_t endpoint_number, int partition, const delivery *row,
                         const outbox_message *m)
{
    endpoint *ep = &ob->endpoints[endpoint_number];
    bool noted = outbox_add(ob, endpoint_number, partition, row);
    line *l = find_line(ep, row->patient, og_str_hash(row->patient));
    if (l == NULL || !has_row(l, row)) { /* it waits in the store */
        outbox_item left = item_of(ob, endpoint_number, partition, row);
        say_not_sent(ob, &left);
        return noted;
    }
    item *it = find_item(l, row->alert_id);
    bool now = it->state == ITEM_WAITING && may_be_behind(l, it) && !is_failing(ep) &&
               !ob->stopped && keep_message(ep, it, m);
    if (!now) {
        say_not_sent(ob, it->renewed != NULL ? &it->renewed->pub : &it->pub);
        return true;
    }
    heap_remove(ep, l);
    flying_add(ob, it);
    ep->preparing++;
    it->state = ITEM_BEHIND;
    if (l->first == it)
        put_ready(ep, it);
    return true;
}

size_t outbox_room(const outbox *ob, size_t endpoint_number, int partition)
{
    const endpoint *ep = &ob->endpoints[endpoint_number];
    int most = ep->window - ep->preparing - ep->sending;
    if (ob->stopped || is_failing(ep) || ep->rests[partition].there || most <= 0 ||
        (size_t)most <= ep->heap_count)
        return 0;
    return (size_t)most - ep->heap_count;
}

void outbox_drop(outbox *ob, size_t endpoint_number, og_str patient, const char *alert_id)
{
    endpoint *ep = &ob->endpoints[endpoint_number];
    line *l = find_line(ep, patient, og_str_hash(patient));
    item *it = l != NULL ? find_item(l, alert_id) : NULL;
    if (it == NULL)
        return;
    drop_item(ob, ep, l, it);
    drop_line_if_empty(ep, l);
    drop_unwanted(ob, ep);
}

static void forget_in_line(outbox *ob, endpoint *ep, line *l, int partition)
{
    for (item *it = l->first, *next; it != NULL; it = next) {
        next = it->next;
        if (it->pub.partition == partition)
            drop_item(ob, ep, l, it);
    }
    drop_line_if_empty(ep, l);
}

void outbox_forget_partition(outbox *ob, int partition)
{
    for (size_t i = 0; i < ob->options.endpoint_count; i++) {
        endpoint *ep = &ob->endpoints[i];
        end_rest(ep, &ep->rests[partition]);
        for (size_t b = 0; b < ep->bucket_count; b++)
            for (line *l = ep->buckets[b], *next; l != NULL; l = next) {
                next = l->hash_next;
                forget_in_line(ob, ep, l, partition);
            }
        drop_unwanted(ob, ep);
    }
}

size_t outbox_pending(const outbox *ob, size_t endpoint_number)
{
    size_t sum = 0;
    for (size_t i = 0; i < ob->options.endpoint_count; i++)
        if (endpoint_number == SIZE_MAX || endpoint_number == i)
            sum += ob->endpoints[i].pending + ob->endpoints[i].rest_count;
    return sum;
}

size_t outbox_unread(const outbox *ob)
{
    size_t sum = 0;
    for (size_t i = 0; i < ob->options.endpoint_count; i++)
        sum += ob->endpoints[i].rest_count;
    return sum;
}

bool outbox_is_down(const outbox *ob, size_t endpoint_number)
{
    return is_failing(&ob->endpoints[endpoint_number]);
}

size_t outbox_sending(const outbox *ob)
{
    int sum = 0;
    for (size_t i = 0; i < ob->options.endpoint_count; i++) {
        const endpoint *ep = &ob->endpoints[i];
        sum += ep->preparing - ep->kept + ep->sending;
    }
    return (size_t)sum;
}

void outbox_stop(outbox *ob)
{
    ob->stopped = true;
}

outbox *outbox_new(const outbox_options *options)
{
    outbox *ob = calloc(1, sizeof *ob);
    endpoint *endpoints = calloc(options->endpoint_count + 1, sizeof *endpoints);
    if (ob == NULL || endpoints == NULL) {
        free(ob);
        free(endpoints);
        return NULL;
    }
    ob->options = *options;
    ob->endpoints = endpoints;
    ob->random = options->seed != 0 ? options->seed : 0x9E3779B97F4A7C15u;
    if (ob->options.max_patients == 0)
        ob->options.max_patients = MAX_PATIENTS;
    bool whole = true;
    for (size_t i = 0; i < options->endpoint_count; i++) {
        endpoints[i] = (endpoint){.info = options->endpoints[i],
                                  .window = options->endpoints[i].max_in_flight + OUTBOX_AHEAD,
                                  .series = 1,
                                  .ready_end = &endpoints[i].ready,
                                  .rests = calloc((size_t)options->partitions, sizeof(rest))};
        whole = whole && endpoints[i].rests != NULL;
    }
    if (!whole) {
        outbox_free(ob);
        return NULL;
    }
    return ob;
}

static void free_line(line *l)
{
    for (item *it = l->first, *next; it != NULL; it = next) {
        next = it->next;
        free(it->renewed);
        free(it->message);
        free(it);
    }
    free(l);
}

void outbox_free(outbox *ob)
{
    if (ob == NULL)
        return;
    for (size_t i = 0; i < ob->options.endpoint_count; i++) {
        endpoint *ep = &ob->endpoints[i];
        for (size_t b = 0; b < ep->bucket_count; b++)
            for (line *l = ep->buckets[b], *next; l != NULL; l = next) {
                next = l->hash_next;
                free_line(l);
            }
        free(ep->buckets);
        free(ep->heap);
        free(ep->rests);
    }
    free(ob->endpoints);
    free(ob);
}
