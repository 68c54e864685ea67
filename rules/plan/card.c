/* A rule that fires, as a CDS Hooks card (CDS Hooks 2.0, "Card Attributes"): first its parts, then,
 * when it is known which rules of the run belong together (relation.c), the whole.
 *
 * The card is deterministic byte for byte: same values, same text. Its uuid is not in it, because
 * that depends on the alert's revision (alert.c). Text that comes from patients' data is escaped
 * where it stands in markdown; the rule's own texts are markdown by intent. */
#include "rules/plan/plan_private.h"

#define RULE_SYSTEM "https://osteoguard.org/rule"
#define MAX_TEXT    ((size_t)1 << 20)   /* of one rule */
#define MAX_ROWS    4096                /* of one rule */
#define MAX_DETAIL  ((size_t)512 << 20) /* of all that can stand on one card */

const char *plan__indicator_name(plan_indicator i)
{
    static const char *const names[] = {"info", "warning", "critical"};
    return names[i];
}

static bool indicator_of(og_str s, plan_indicator *ret)
{
    static const struct {
        const char *name;
        plan_indicator indicator;
    } names[] = {{"info", PLAN_INFO},      {"routine", PLAN_INFO}, {"warning", PLAN_WARNING},
                 {"urgent", PLAN_WARNING}, {"asap", PLAN_WARNING}, {"critical", PLAN_CRITICAL},
                 {"stat", PLAN_CRITICAL}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (og_str_is(s, names[i].name)) {
            *ret = names[i].indicator;
            return true;
        }
    return false;
}

/* ---- summary ---- */

/* One line: every run of white space and control characters is one space, none at the ends. */
static og_str one_line(og_arena *a, og_str s)
{
    char *p = og_arena_alloc(a, s.n + 1);
    size_t n = 0;

    if (p == NULL)
        return (og_str){0};
    for (size_t i = 0; i < s.n; i++) {
        bool blank = (unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f;
        if (!blank)
            p[n++] = s.p[i];
        else if (n != 0 && p[n - 1] != ' ')
            p[n++] = ' ';
    }
    if (n != 0 && p[n - 1] == ' ')
        n--;
    p[n] = '\0';
    return (og_str){p, n};
}

/* The summary with fewer characters than the limit: cut behind a word, with an ellipsis. */
static og_str cut(og_arena *a, og_str s)
{
    size_t at = 0, space = 0;

    for (size_t characters = 0; at < s.n && characters < PLAN__MAX_SUMMARY - 2; characters++) {
        if (s.p[at] == ' ')
            space = at;
        og_utf8_next(s, &at);
    }
    if (at < s.n && s.p[at] == ' ')
        space = at;
    return og_arena_printf(a, "%.*s\xe2\x80\xa6", (int)(space != 0 ? space : at), s.p);
}

static og_status make_summary(plan__eval *e, const plan__rule *r, og_str *ret, og_str *ret_note,
                              og_error *err)
{
    og_str s;
    og_status status = plan__expr_text(e->run, &r->dynamic_summary, &s, err);

    if (status != OG_OK)
        return status;
    s = one_line(e->arena, s);
    if (s.n == 0)
        s = one_line(e->arena, r->summary);
    if (s.n == 0)
        return og_fail(err, OG_EVAL, "the summary is empty or null");
    size_t characters = plan__characters(s);
    if (characters >= PLAN__MAX_SUMMARY) {
        *ret_note = og_arena_printf(e->arena,
                                    "the summary has %zu characters and was cut: fewer than %d "
                                    "are allowed",
                                    characters, PLAN__MAX_SUMMARY);
        s = cut(e->arena, s);
    }
    *ret = s;
    return OG_OK;
}

static og_status make_indicator(plan__eval *e, const plan__rule *r, plan_indicator *ret,
                                og_error *err)
{
    og_str s;
    og_status status = plan__expr_text(e->run, &r->dynamic_indicator, &s, err);

    if (status != OG_OK)
        return status;
    *ret = r->indicator;
    if (s.n != 0 && !indicator_of(s, ret)) {
        og_fail(err, OG_EVAL, "'%.*s' is none of info, warning, critical", OG_STR_ARG(s));
        return OG_EVAL;
    }
    if (r->worklist && *ret != PLAN_INFO)
        return og_fail(err, OG_EVAL, "a rule for a worklist is info, this is %s",
                       plan__indicator_name(*ret));
    return OG_OK;
}

/* ---- evidence ---- */

static og_status evidence_cell(const plan__expr *x, og_str name, cql_value v, plan_evidence *ret,
                               og_error *err)
{
    static const char *const names[] = {"label", "value", "date", "reference"};
    og_str *cells[] = {&ret->label, &ret->value, &ret->date, &ret->reference};

    for (size_t i = 0; i < 4; i++) {
        if (!og_str_is(name, names[i]))
            continue;
        if (v.kind != CQL_STRING && v.kind != CQL_NULL)
            return plan__expr_kind(x, v, "have Strings in its tuples", err);
        *cells[i] = v.kind == CQL_STRING ? cql_str(v) : (og_str){0};
        return OG_OK;
    }
    return og_fail(err, OG_EVAL,
                   "an evidence tuple has label, value, date and reference, not '%.*s'",
                   OG_STR_ARG(name));
}

static og_status evidence_row(const plan__expr *x, cql_value row, plan_evidence *ret, og_error *err)
{
    if (row.kind != CQL_TUPLE)
        return plan__expr_kind(x, row, "be a list of tuples", err);
    for (size_t i = 0; i < row.tuple->count; i++) {
        og_status s = evidence_cell(x, row.tuple->names[i], row.tuple->items[i], ret, err);
        if (s != OG_OK)
            return s;
    }
    return OG_OK;
}

static og_status make_evidence(plan__eval *e, const plan__rule *r, plan_card *ret, og_error *err)
{
    cql_value v;
    og_status s = plan__expr_value(e->run, &r->evidence, &v, err);

    if (s != OG_OK || cql_is_null(v))
        return s;
    if (v.kind != CQL_LIST)
        return plan__expr_kind(&r->evidence, v, "be a list of tuples", err);
    if (v.list->count > MAX_ROWS)
        return og_fail(err, OG_LIMIT, "the evidence has more than %d rows", MAX_ROWS);
    plan_evidence *rows = og_arena_zalloc(e->arena, v.list->count + 1, sizeof *rows);
    if (rows == NULL)
        return og_fail(err, OG_NOMEM, "no memory for the evidence");
    for (size_t i = 0; i < v.list->count; i++) {
        if (cql_is_null(v.list->items[i]))
            continue;
        s = evidence_row(&r->evidence, v.list->items[i], &rows[ret->evidence_count], err);
        if (s != OG_OK)
            return s;
        ret->evidence_count++;
    }
    ret->evidence = rows;
    return OG_OK;
}

static bool same_row(const plan_evidence *a, const plan_evidence *b)
{
    return og_str_eq(a->label, b->label) && og_str_eq(a->value, b->value) &&
           og_str_eq(a->date, b->date) && og_str_eq(a->reference, b->reference);
}

static void add_rows(plan_evidence *rows, size_t *count, const plan_card *from)
{
    for (size_t i = 0; i < from->evidence_count; i++) {
        size_t k = 0;
        while (k < *count && !same_row(&rows[k], &from->evidence[i]))
            k++;
        if (k == *count)
            rows[(*count)++] = from->evidence[i];
    }
}

/* The host's rows and the guests', none twice. */
static bool join_evidence(og_arena *a, const plan__made *m, plan_card *card)
{
    size_t most = m->card.evidence_count;

    if (m->guest_count == 0)
        return true;
    for (size_t i = 0; i < m->guest_count; i++)
        most += m->guests[i]->card.evidence_count;
    plan_evidence *rows = og_arena_zalloc(a, most + 1, sizeof *rows);
    if (rows == NULL)
        return false;
    card->evidence = rows;
    card->evidence_count = 0;
    add_rows(rows, &card->evidence_count, &m->card);
    for (size_t i = 0; i < m->guest_count; i++)
        add_rows(rows, &card->evidence_count, &m->guests[i]->card);
    return true;
}

/* ---- detail ---- */

/* Characters that mean something in GitHub-flavoured markdown are escaped. */
static void add_escaped(og_buf *b, og_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (strchr("\\`*_[]<>|~&", c) != NULL && c != '\0')
            og_buf_addc(b, '\\');
        og_buf_addc(b, (unsigned char)c < ' ' ? ' ' : c);
    }
}

static void add_cell(og_buf *b, og_str s)
{
    og_buf_addz(b, "| ");
    add_escaped(b, s);
    og_buf_addc(b, ' ');
}

static bool german(const plan__eval *e)
{
    return og_str_starts(e->content->language, OG_STR("de"));
}

static void add_table(og_buf *b, bool in_german, const plan_evidence *rows, size_t count)
{
    og_buf_addz(b, in_german ? "| Befund | Wert | Datum | Quelle |\n"
                             : "| Finding | Value | Date | Source |\n");
    og_buf_addz(b, "| --- | --- | --- | --- |");
    for (size_t i = 0; i < count; i++) {
        og_buf_addc(b, '\n');
        add_cell(b, rows[i].label);
        add_cell(b, rows[i].value);
        add_cell(b, rows[i].date);
        add_cell(b, rows[i].reference);
        og_buf_addc(b, '|');
    }
}

static bool withheld_before(const plan__made *m, size_t guests, og_str line)
{
    for (size_t g = 0; g < guests; g++) {
        const plan__made *x = g == 0 ? m : m->guests[g - 1];
        for (size_t i = 0; i < x->withheld_count; i++)
            if (og_str_eq(x->withheld[i], line))
                return true;
    }
    return false;
}

/* What is not offered because another rule forbids it, as the last line. */
static void add_withheld(og_buf *b, bool in_german, const plan__made *m)
{
    const char *join = in_german ? "Nicht angeboten: " : "Not offered: ";

    for (size_t g = 0; g <= m->guest_count; g++) {
        const plan__made *x = g == 0 ? m : m->guests[g - 1];
        for (size_t i = 0; i < x->withheld_count; i++) {
            if (withheld_before(m, g, x->withheld[i]))
                continue;
            if (*join != ';' && b->n != 0)
                og_buf_addz(b, "\n\n");
            og_buf_addz(b, join);
            add_escaped(b, x->withheld[i]);
            join = "; ";
        }
    }
    if (*join == ';')
        og_buf_addc(b, '.');
}

static og_status make_text(plan__eval *e, const plan__rule *r, og_str *ret, og_error *err)
{
    og_status s = plan__expr_text(e->run, &r->dynamic_detail, ret, err);

    if (s == OG_OK && ret->n == 0)
        *ret = r->detail;
    if (s == OG_OK && ret->n > MAX_TEXT)
        return og_fail(err, OG_LIMIT, "the detail is too long");
    return s;
}

static og_status make_detail(plan__eval *e, const plan__made *m, plan_card *ret, og_error *err)
{
    og_buf b;

    og_buf_init(&b, MAX_DETAIL);
    og_buf_adds(&b, m->text);
    for (size_t i = 0; i < m->guest_count; i++) {
        og_buf_addz(&b, b.n != 0 ? "\n\n### " : "### ");
        add_escaped(&b, m->guests[i]->card.summary);
        if (m->guests[i]->text.n != 0)
            og_buf_addz(&b, "\n\n");
        og_buf_adds(&b, m->guests[i]->text);
    }
    if (ret->evidence_count != 0) {
        if (b.n != 0)
            og_buf_addz(&b, "\n\n");
        add_table(&b, german(e), ret->evidence, ret->evidence_count);
    }
    add_withheld(&b, german(e), m);
    ret->detail = og_buf_failed(&b) ? (og_str){0} : og_arena_str(e->arena, og_buf_str(&b));
    bool failed = og_buf_failed(&b) || ret->detail.p == NULL;
    og_buf_done(&b);
    return failed ? og_fail(err, OG_NOMEM, "no memory for a card") : OG_OK;
}

/* ---- suggestions ---- */

static og_status add_draft(plan__eval *e, const plan__draft *d, plan__json *actions, og_error *err)
{
    bool offered;
    og_str description;
    plan__json *resource, *action;
    og_status s = plan__expr_all(e->run, d->conditions, d->condition_count, &offered, err);

    if (s != OG_OK || !offered)
        return s;
    if ((s = plan__expr_text(e->run, &d->dynamic_description, &description, err)) != OG_OK ||
        (s = plan__draft_build(e->arena, e->run, d,
                               e->patient->plain_id.n > 0 ? e->patient->plain_id : e->patient->id,
                               &resource, err)) != OG_OK)
        return s;
    action = plan__json_object(e->arena);
    plan__json_set_string(e->arena, action, "type", OG_STR("create"));
    plan__json_set_string(e->arena, action, "description",
                          description.n != 0 ? description : d->description);
    plan__json_set(action, OG_STR("resource"), resource);
    plan__json_add(actions, action);
    return OG_OK;
}

static og_status add_suggestion(plan__eval *e, const plan__suggestion *x, const char *alert_id,
                                plan__json *list, og_error *err)
{
    og_arena *a = e->arena;
    og_str label;
    bool offered;
    char uuid[37];
    plan__json *suggestion = plan__json_object(a), *actions = plan__json_array(a);
    og_status s = plan__expr_all(e->run, x->conditions, x->condition_count, &offered, err);

    if (s != OG_OK || !offered)
        return s;
    if ((s = plan__expr_text(e->run, &x->dynamic_label, &label, err)) != OG_OK)
        return s;
    label = one_line(a, label.n != 0 ? label : x->label);
    if (label.n == 0)
        return og_fail(err, OG_EVAL, "the label of a suggestion is empty or null");
    og_str parts[] = {og_str_of(alert_id), OG_STR("suggestion"), x->key};
    plan__uuid(a, parts, 3, uuid);
    plan__json_set_string(a, suggestion, "label", label);
    plan__json_set_string(a, suggestion, "uuid", og_arena_str(a, og_str_of(uuid)));
    if (x->recommended)
        plan__json_set(suggestion, OG_STR("isRecommended"), plan__json_raw(a, OG_STR("true")));
    for (size_t i = 0; i < x->draft_count && s == OG_OK; i++)
        s = add_draft(e, &x->drafts[i], actions, err);
    plan__json_set(suggestion, OG_STR("actions"), actions);
    plan__json_add(list, suggestion);
    return s;
}

/* ---- the rest of the card ---- */

static og_str member(const plan__json *object, const char *name)
{
    return plan__json_text_of(plan__json_get(object, og_str_of(name)));
}

static plan__json *source_json(og_arena *a, const plan__rule *r)
{
    plan__json *source = plan__json_object(a), *topic = plan__json_object(a);
    plan__json_set_string(a, source, "label", r->source_label);
    /* A citation of a printed work has no address; the rule itself has one. */
    plan__json_set_string(a, source, "url",
                          r->source_url.n != 0                    ? r->source_url
                          : og_str_starts(r->url, OG_STR("http")) ? r->url
                                                                  : (og_str){0});
    plan__json_set_string(a, topic, "system", OG_STR(RULE_SYSTEM));
    plan__json_set_string(a, topic, "code", r->id);
    plan__json_set_string(a, topic, "display", r->title);
    plan__json_set(source, OG_STR("topic"), topic);
    return source;
}

static void add_reasons(og_arena *a, const plan__rule *r, plan__json *list)
{
    for (size_t i = 0; i < r->override_reason_count; i++) {
        const plan__coding *reason = &r->override_reasons[i];
        const plan__json *had;
        size_t k = 0;
        while ((had = plan__json_at(list, k)) != NULL &&
               !(og_str_eq(member(had, "system"), reason->system) &&
                 og_str_eq(member(had, "code"), reason->code)))
            k++;
        if (had != NULL)
            continue;
        plan__json *coding = plan__json_object(a);
        plan__json_set_string(a, coding, "system", reason->system);
        plan__json_set_string(a, coding, "code", reason->code);
        plan__json_set_string(a, coding, "display", reason->display);
        plan__json_add(list, coding);
    }
}

static void add_links(og_arena *a, const plan__rule *r, plan__json *list)
{
    for (size_t i = 0; i < r->link_count; i++) {
        const plan__json *had;
        size_t k = 0;
        while ((had = plan__json_at(list, k)) != NULL &&
               !og_str_eq(member(had, "url"), r->links[i].url))
            k++;
        if (had != NULL)
            continue;
        plan__json *link = plan__json_object(a);
        plan__json_set_string(a, link, "label", r->links[i].label);
        plan__json_set_string(a, link, "url", r->links[i].url);
        plan__json_set_string(a, link, "type", OG_STR("absolute"));
        plan__json_add(list, link);
    }
}

/* Which rule, in which version. */
static void set_definition(og_arena *a, const plan__rule *r, plan__json *j)
{
    plan__json_set_string(a, j, "definition", r->url);
    plan__json_set_string(a, j, "version", r->version);
}

static plan__json *alert_json(og_arena *a, const plan__made *m)
{
    plan__json *alert = plan__json_object(a), *merged = plan__json_array(a);

    plan__json_set_string(a, alert, "id", og_arena_str(a, og_str_of(m->card.alert_id)));
    plan__json_set_string(a, alert, "rule", m->rule->id);
    plan__json_set_string(a, alert, "slot", m->card.slot);
    set_definition(a, m->rule, alert);
    if (m->rule->worklist)
        plan__json_set_string(a, alert, "channel", OG_STR("worklist"));
    for (size_t i = 0; i < m->guest_count; i++) {
        plan__json *guest = plan__json_object(a);
        plan__json_set_string(a, guest, "rule", m->guests[i]->rule->id);
        set_definition(a, m->guests[i]->rule, guest);
        plan__json_add(merged, guest);
    }
    plan__json_set(alert, OG_STR("merged"), merged);
    return alert;
}

static plan__json *extension_json(og_arena *a, const plan__made *m, const plan_card *card)
{
    plan__json *extension = plan__json_object(a), *rows = plan__json_array(a);

    plan__json_set(extension, OG_STR("org.osteoguard.alert"), alert_json(a, m));
    for (size_t i = 0; i < card->evidence_count; i++) {
        plan__json *row = plan__json_object(a);
        plan__json_set_string(a, row, "label", card->evidence[i].label);
        plan__json_set_string(a, row, "value", card->evidence[i].value);
        plan__json_set_string(a, row, "date", card->evidence[i].date);
        plan__json_set_string(a, row, "reference", card->evidence[i].reference);
        plan__json_add(rows, row);
    }
    plan__json_set(extension, OG_STR("org.osteoguard.evidence"), rows);
    return extension;
}

static og_status make_slot(plan__eval *e, const plan__rule *r, og_str *ret, og_error *err)
{
    cql_value v;
    og_status s = plan__expr_value(e->run, &r->slot, &v, err);

    if (s != OG_OK)
        return s;
    if (!plan__value_text(e->arena, v, ret))
        return plan__expr_kind(&r->slot, v, "be a String, a date or a number", err);
    if (ret->n == 0)
        *ret = r->static_slot;
    return OG_OK;
}

/* The rule's own word for what makes the card a new one, else the summary. */
static og_status make_anchor(plan__eval *e, const plan__rule *r, const plan_card *card, og_str *ret,
                             og_error *err)
{
    cql_value v;
    og_status s = plan__expr_value(e->run, &r->material, &v, err);

    if (s != OG_OK)
        return s;
    if (!plan__value_text(e->arena, v, ret))
        return plan__expr_kind(&r->material, v, "be a String, a date or a number", err);
    if (r->material.define == NULL)
        *ret = card->summary;
    return OG_OK;
}

og_status plan__card_build(plan__eval *e, const plan__rule *r, plan__made *ret, og_str *ret_note,
                           og_error *err)
{
    plan__made m = {.rule = r,
                    .card = {.rule = r->id, .worklist = r->worklist},
                    .suggestions = plan__json_array(e->arena)};
    plan_card *card = &m.card;
    og_str note = {0};
    og_status s;

    if ((s = make_slot(e, r, &card->slot, err)) != OG_OK ||
        (s = make_summary(e, r, &card->summary, &note, err)) != OG_OK ||
        (s = make_indicator(e, r, &card->indicator, err)) != OG_OK ||
        (s = make_evidence(e, r, card, err)) != OG_OK ||
        (s = make_text(e, r, &m.text, err)) != OG_OK)
        return s;
    og_str parts[] = {e->patient->tenant, e->patient->id, card->rule, card->slot};
    plan__uuid(e->arena, parts, 4, card->alert_id);
    for (size_t i = 0; i < r->suggestion_count; i++)
        if ((s = add_suggestion(e, &r->suggestions[i], card->alert_id, m.suggestions, err)) !=
            OG_OK)
            return s;
    if ((s = make_anchor(e, r, card, &m.anchor, err)) != OG_OK)
        return s;
    *ret = m;
    *ret_note = note;
    return OG_OK;
}

/* ---- the whole card ---- */

/* The drafts of a suggestion as text; empty when it has none. */
static og_str drafts_of(og_arena *a, const plan__json *suggestion)
{
    const plan__json *actions = plan__json_get(suggestion, OG_STR("actions")), *action;
    plan__json *drafts = plan__json_array(a);

    for (size_t i = 0; (action = plan__json_at(actions, i)) != NULL; i++)
        plan__json_add(drafts, plan__json_clone(a, plan__json_get(action, OG_STR("resource"))));
    return plan__json_length(drafts) != 0 ? plan__json_text(a, drafts) : (og_str){0};
}

/* Whether a card offers the same already: who reads the label cannot tell them apart, or the drafts
 * are the same. */
static bool offers(og_arena *a, const plan__json *list, const plan__json *suggestion)
{
    og_str drafts = drafts_of(a, suggestion);
    const plan__json *had;

    for (size_t i = 0; (had = plan__json_at(list, i)) != NULL; i++)
        if (og_str_eq(member(had, "label"), member(suggestion, "label")) ||
            (drafts.n != 0 && og_str_eq(drafts, drafts_of(a, had))))
            return true;
    return false;
}

static bool has_recommended(const plan__json *list)
{
    const plan__json *x;
    for (size_t i = 0; (x = plan__json_at(list, i)) != NULL; i++)
        if (plan__json_get(x, OG_STR("isRecommended")) != NULL)
            return true;
    return false;
}

/* The suggestions of host and guests. Where one of them has suggestions that exclude each other,
 * all do: two drafts too few do less harm than two that must not meet. */
static plan__json *join_suggestions(og_arena *a, const plan__made *m, bool *ret_at_most_one)
{
    plan__json *list = m->suggestions;
    bool at_most_one = m->rule->at_most_one && plan__json_length(list) != 0;

    for (size_t g = 0; g < m->guest_count; g++)
        at_most_one |=
            m->guests[g]->rule->at_most_one && plan__json_length(m->guests[g]->suggestions) != 0;
    for (size_t g = 0; g < m->guest_count; g++) {
        const plan__json *x;
        for (size_t i = 0; (x = plan__json_at(m->guests[g]->suggestions, i)) != NULL; i++) {
            if (offers(a, list, x))
                continue;
            plan__json *copy = plan__json_clone(a, x);
            if (at_most_one && has_recommended(list))
                plan__json_set(copy, OG_STR("isRecommended"), NULL);
            plan__json_add(list, copy);
        }
    }
    *ret_at_most_one = at_most_one;
    return list;
}

/* What makes the card a new one: channel, indicator, what each rule on it calls material,
 * suggestions. False when memory is out. */
static bool material_of(const plan__made *m, plan_indicator indicator, og_str suggestions,
                        uint64_t *ret)
{
    og_buf b;

    og_buf_init(&b, (size_t)64 << 20);
    og_buf_addz(&b, m->rule->worklist ? "worklist " : "");
    og_buf_addz(&b, plan__indicator_name(indicator));
    og_buf_addc(&b, '\n');
    og_buf_adds(&b, m->anchor);
    og_buf_addc(&b, '\n');
    og_buf_adds(&b, suggestions);
    for (size_t i = 0; i < m->guest_count; i++) {
        og_buf_addc(&b, '\n');
        og_buf_adds(&b, m->guests[i]->rule->id);
        og_buf_addc(&b, ' ');
        og_buf_adds(&b, m->guests[i]->anchor);
    }
    bool good = !og_buf_failed(&b);
    *ret = og_str_hash(og_buf_str(&b));
    og_buf_done(&b);
    return good;
}

static plan__json *card_json(og_arena *a, const plan__made *m, const plan_card *card,
                             const plan__json *suggestions, og_str text, bool at_most_one)
{
    plan__json *j = plan__json_object(a), *reasons = plan__json_array(a);
    plan__json *links = plan__json_array(a);

    for (size_t g = 0; g <= m->guest_count; g++) {
        const plan__rule *r = g == 0 ? m->rule : m->guests[g - 1]->rule;
        add_reasons(a, r, reasons);
        add_links(a, r, links);
    }
    plan__json_set_string(a, j, "summary", card->summary);
    plan__json_set_string(a, j, "indicator", og_str_of(plan__indicator_name(card->indicator)));
    plan__json_set_string(a, j, "detail", card->detail);
    plan__json_set(j, OG_STR("source"), source_json(a, m->rule));
    if (plan__json_length(suggestions) != 0) {
        plan__json_set(j, OG_STR("suggestions"), plan__json_raw(a, text));
        plan__json_set_string(a, j, "selectionBehavior",
                              at_most_one ? OG_STR("at-most-one") : OG_STR("any"));
    }
    plan__json_set(j, OG_STR("overrideReasons"), reasons);
    plan__json_set(j, OG_STR("links"), links);
    plan__json_set(j, OG_STR("extension"), extension_json(a, m, card));
    return j;
}

og_status plan__card_finish(plan__eval *e, const plan__made *m, plan_card *ret, og_error *err)
{
    plan_card card = m->card;
    bool at_most_one = false;

    for (size_t i = 0; i < m->guest_count; i++)
        if (m->guests[i]->card.indicator > card.indicator)
            card.indicator = m->guests[i]->card.indicator;
    if (!join_evidence(e->arena, m, &card))
        return og_fail(err, OG_NOMEM, "no memory for a card");
    og_status s = make_detail(e, m, &card, err);
    if (s != OG_OK)
        return s;
    plan__json *suggestions = join_suggestions(e->arena, m, &at_most_one);
    /* They are the larger part of the card; written once, for its material too. */
    og_str text = plan__json_text(e->arena, suggestions);
    bool good = text.p != NULL && material_of(m, card.indicator, text, &card.material);
    card.json =
        plan__json_text(e->arena, card_json(e->arena, m, &card, suggestions, text, at_most_one));
    if (!good || card.json.p == NULL || og_arena_failed(e->arena))
        return og_fail(err, OG_NOMEM, "no memory for a card");
    *ret = card;
    return OG_OK;
}
