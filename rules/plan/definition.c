/* One PlanDefinition, from its JSON to a plan__rule (rules/content/README.md is the mapping).
 *
 * Everything that evaluation may then assume is decided here: names are resolved to defines, paths
 * to FHIR types, texts to the configured language. What the mapping does not know but would change
 * what the rule does is refused; what only describes it is passed over. All problems are reported,
 * each at its place. */
#include "rules/plan/plan_private.h"

#define E_BASE         "https://osteoguard.org/fhir/StructureDefinition/"
#define RULE_SYSTEM    "https://osteoguard.org/rule"
#define TRANSLATION    "http://hl7.org/fhir/StructureDefinition/translation"
#define CHANNEL_SYSTEM "https://osteoguard.org/fhir/CodeSystem/channel"
#define CONTEXT_SYSTEM "http://terminology.hl7.org/CodeSystem/usage-context-type"
#define MAX_LABEL      200

typedef struct reader {
    plan__load *l;
    og_arena *a;
    const plan__source *file;
    plan__rule *rule;
    fhir_elem root;
    const cql_library **libraries;
    size_t library_count;
    plan__expr *all;
    size_t all_count, all_cap;
} reader;

/* ---- small parts ---- */

#define problem(r, e, ...) plan__problem_at((r)->l, (r)->file->name, (e), __VA_ARGS__)

static void *list_of(reader *r, size_t count, size_t size)
{
    void *p = og_arena_zalloc(r->a, count != 0 ? count : 1, size);
    if (p == NULL)
        problem(r, r->root, "out of memory");
    return p;
}

/* Number of things behind an element that may repeat. */
static size_t each_count(fhir_elem e)
{
    size_t n = 0;
    for (fhir_elem c = fhir_each_first(e); fhir_exists(c); c = fhir_each_next(e, c))
        n++;
    return n;
}

static og_str string_at(reader *r, fhir_elem object, const char *name)
{
    return fhir_string(r->a, fhir_get(object, name));
}

static fhir_elem extension_of(fhir_elem object, const char *url)
{
    fhir_elem list = fhir_get(object, "extension");
    for (fhir_elem x = fhir_each_first(list); fhir_exists(x); x = fhir_each_next(list, x))
        if (fhir_is(fhir_get(x, "url"), url))
            return x;
    return FHIR_ABSENT;
}

static bool language_fits(og_str have, og_str want)
{
    if (have.n > want.n && have.p[want.n] == '-')
        have.n = want.n;
    return og_str_ieq(have, want);
}

/* The translation extension of `_name` in the configured language; empty: there is none. */
static og_str translation_of(reader *r, fhir_elem object, const char *name)
{
    char sibling[32];
    og_str want = r->l->content->language;

    snprintf(sibling, sizeof sibling, "_%s", name);
    fhir_elem list = fhir_get(fhir_get(object, sibling), "extension");
    for (fhir_elem x = fhir_each_first(list); want.n != 0 && fhir_exists(x);
         x = fhir_each_next(list, x)) {
        if (!fhir_is(fhir_get(x, "url"), TRANSLATION))
            continue;
        og_str lang = {0}, content = {0};
        fhir_elem parts = fhir_get(x, "extension");
        for (fhir_elem p = fhir_each_first(parts); fhir_exists(p); p = fhir_each_next(parts, p)) {
            if (fhir_is(fhir_get(p, "url"), "lang"))
                lang = string_at(r, p, "valueCode");
            else if (fhir_is(fhir_get(p, "url"), "content")) {
                og_str type;
                content = fhir_string(r->a, fhir_choice(p, "value", &type));
            }
        }
        if (language_fits(lang, want) && content.n != 0)
            return content;
    }
    return (og_str){0};
}

static void tell_untranslated(reader *r, fhir_elem e, const char *name)
{
    const plan_options *o = r->l->options;
    og_error err;

    if (o == NULL || o->untranslated == NULL || r->l->content->language.n == 0 || !fhir_exists(e))
        return;
    og_error_init(&err);
    og_fail(&err, OG_INVALID, "%s has no translation into '%.*s'", name,
            OG_STR_ARG(r->l->content->language));
    plan__place_at(r->file->name, e, &err);
    og_report_add(o->untranslated, &err);
}

/* A text in the configured language, else as it stands. Names of printed works have none. */
static og_str name_at(reader *r, fhir_elem object, const char *name)
{
    og_str text = translation_of(r, object, name);
    return text.n != 0 ? text : string_at(r, object, name);
}

/* The same for what somebody reads on a card: one that is not translated is told. */
static og_str text_at(reader *r, fhir_elem object, const char *name)
{
    og_str text = translation_of(r, object, name);

    if (text.n != 0)
        return text;
    tell_untranslated(r, fhir_get(object, name), name);
    return string_at(r, object, name);
}

static bool absolute_url(og_str url)
{
    return (og_str_starts(url, OG_STR("https://")) && url.n > 8) ||
           (og_str_starts(url, OG_STR("http://")) && url.n > 7);
}

size_t plan__characters(og_str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
    return n;
}

/* Elements that would change what happens and that the mapping has not. */
static void refuse(reader *r, fhir_elem object, const char *what, const char *const *names)
{
    for (; *names != NULL; names++) {
        fhir_elem e = fhir_get(object, *names);
        if (fhir_exists(e))
            problem(r, e, "%s.%s is not supported", what, *names);
    }
}

/* ---- expressions ---- */

static og_str unquoted(og_str s)
{
    if (s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"' && memchr(s.p + 1, '"', s.n - 2) == NULL)
        return (og_str){s.p + 1, s.n - 2};
    return s;
}

static og_str trimmed(og_str s)
{
    while (s.n != 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = og_str_from(s, 1);
    while (s.n != 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

static void remember(reader *r, const plan__expr *x)
{
    for (size_t i = 0; i < r->all_count; i++)
        if (r->all[i].define == x->define)
            return;
    if (r->all_count == r->all_cap) {
        size_t cap = r->all_cap != 0 ? r->all_cap * 2 : 16;
        plan__expr *grown =
            og_arena_grow(r->a, r->all, r->all_cap * sizeof *grown, cap * sizeof *grown);
        if (grown == NULL)
            return;
        r->all = grown;
        r->all_cap = cap;
    }
    r->all[r->all_count++] = *x;
}

/* The define called name in one of the rule's libraries; *ret_count is how many have one. */
static void find_define(const reader *r, og_str name, plan__expr *x, size_t *ret_count)
{
    *ret_count = 0;
    for (size_t i = 0; i < r->library_count; i++) {
        const cql_define *d = cql_library_define(r->libraries[i], name);
        if (d == NULL)
            continue;
        if ((*ret_count)++ == 0) {
            x->library = r->libraries[i];
            x->define = d;
        }
    }
}

/* `Library.Define` or `"Library"."Define"`, at each dot that could be the one. */
static void find_qualified(const reader *r, og_str text, plan__expr *x)
{
    for (size_t dot = 0; dot < text.n && x->define == NULL; dot++) {
        if (text.p[dot] != '.')
            continue;
        og_str library = unquoted((og_str){text.p, dot});
        og_str name = unquoted(og_str_from(text, dot + 1));
        for (size_t i = 0; i < r->library_count && x->define == NULL; i++) {
            if (!og_str_eq(cql_library_name(r->libraries[i]), library))
                continue;
            x->library = r->libraries[i];
            x->define = cql_library_define(r->libraries[i], name);
        }
    }
}

static void resolve(reader *r, fhir_elem place, plan__expr *x)
{
    size_t found = 0;

    if (!r->l->linked)
        return;
    find_define(r, unquoted(x->text), x, &found);
    if (found > 1)
        problem(r, place, "'%.*s' is defined in %zu libraries of this rule: write Library.Name",
                OG_STR_ARG(x->text), found);
    if (found == 0)
        find_qualified(r, x->text, x);
    if (x->define == NULL)
        problem(r, place, "no library of this rule defines '%.*s'", OG_STR_ARG(x->text));
    else
        remember(r, x);
}

/* Reads an Expression; absent gives none. */
static plan__expr read_expr(reader *r, fhir_elem e)
{
    plan__expr x = {0};

    if (!fhir_exists(e))
        return x;
    fhir_elem language = fhir_get(e, "language"), text = fhir_get(e, "expression");
    if (!fhir_is(language, "text/cql-identifier") && !fhir_is(language, "text/cql.identifier"))
        problem(r, fhir_exists(language) ? language : e,
                "an expression needs the language text/cql-identifier");
    x.text = trimmed(fhir_string(r->a, text));
    x.words = text_at(r, e, "description");
    if (x.text.n == 0)
        problem(r, e, "an expression needs the name of a CQL define");
    else
        resolve(r, text, &x);
    return x;
}

static plan__expr extension_expr(reader *r, fhir_elem object, const char *url)
{
    fhir_elem x = extension_of(object, url);
    if (!fhir_exists(x))
        return (plan__expr){0};
    fhir_elem value = fhir_get(x, "valueExpression");
    if (!fhir_exists(value))
        problem(r, x, "this extension needs a valueExpression");
    return read_expr(r, value);
}

static void read_conditions(reader *r, fhir_elem action, const plan__expr **ret, size_t *ret_count)
{
    fhir_elem list = fhir_get(action, "condition");
    plan__expr *x = list_of(r, each_count(list), sizeof *x);
    size_t n = 0;

    if (x == NULL)
        return;
    for (fhir_elem c = fhir_each_first(list); fhir_exists(c); c = fhir_each_next(list, c)) {
        if (!fhir_is(fhir_get(c, "kind"), "applicability"))
            problem(r, c, "only conditions of kind applicability are supported");
        if (!fhir_exists(fhir_get(c, "expression")))
            problem(r, c, "a condition needs an expression");
        x[n++] = read_expr(r, fhir_get(c, "expression"));
    }
    *ret = x;
    *ret_count = n;
}

/* ---- the head ---- */

static bool id_valid(og_str id)
{
    for (size_t i = 0; i < id.n; i++) {
        char c = id.p[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!letter && (i == 0 || (c != '-' && c != '_' && c != '.')))
            return false;
    }
    return id.n != 0 && id.n <= 64;
}

static void read_identifier(reader *r)
{
    fhir_elem list = fhir_get(r->root, "identifier");
    size_t found = 0;

    for (fhir_elem i = fhir_each_first(list); fhir_exists(i); i = fhir_each_next(list, i)) {
        if (!fhir_is(fhir_get(i, "system"), RULE_SYSTEM))
            continue;
        r->rule->id = og_arena_str(r->a, string_at(r, i, "value"));
        if (found++ > 0)
            problem(r, i, "a rule has one identifier of system " RULE_SYSTEM);
        else if (!id_valid(r->rule->id))
            problem(r, i, "a rule id is made of letters, digits, '-', '_' and '.'");
    }
    if (found == 0)
        problem(r, r->root, "an identifier of system " RULE_SYSTEM " is missing");
}

static void read_status(reader *r)
{
    fhir_elem status = fhir_get(r->root, "status"), type = fhir_get(r->root, "type");

    if (fhir_is(status, "retired"))
        r->rule->off = true;
    else if (!fhir_is(status, "draft") && !fhir_is(status, "active"))
        problem(r, fhir_exists(status) ? status : r->root,
                "status must be draft, active or retired");
    for (fhir_elem c = fhir_first(fhir_get(type, "coding")); fhir_exists(c);
         c = fhir_next(fhir_get(type, "coding"), c))
        if (fhir_is(fhir_get(c, "code"), "eca-rule"))
            return;
    problem(r, fhir_exists(type) ? type : r->root, "type must have the code eca-rule");
}

/* `https://…/Library/NAME|VERSION`: the library's name is what stands behind the last slash. */
static void read_libraries(reader *r)
{
    fhir_elem list = fhir_get(r->root, "library");
    size_t count = each_count(list);

    r->libraries = list_of(r, count, sizeof *r->libraries);
    if (r->libraries == NULL)
        return;
    if (count == 0)
        problem(r, r->root, "a rule needs a library");
    for (fhir_elem e = fhir_each_first(list); fhir_exists(e); e = fhir_each_next(list, e)) {
        og_str name = fhir_string(r->a, e), version = {0};
        ptrdiff_t bar = og_str_find(name, '|');
        if (bar >= 0) {
            version = og_str_from(name, (size_t)bar + 1);
            name.n = (size_t)bar;
        }
        for (size_t i = name.n; i-- > 0;)
            if (name.p[i] == '/') {
                name = og_str_from(name, i + 1);
                break;
            }
        if (!r->l->linked)
            continue;
        const cql_library *lib = cql_set_find(r->l->content->cql, name, version);
        if (lib == NULL) {
            problem(r, e, "there is no CQL library '%.*s'%s%.*s", OG_STR_ARG(name),
                    version.n != 0 ? " of version " : "", OG_STR_ARG(version));
            continue;
        }
        for (size_t i = 0; i < r->library_count; i++)
            if (r->libraries[i] == lib)
                problem(r, e, "the library stands here twice");
        r->libraries[r->library_count++] = lib;
    }
}

/* The card's source and its links. */
static void read_related(reader *r)
{
    fhir_elem list = fhir_get(r->root, "relatedArtifact");
    plan__link *links = list_of(r, each_count(list), sizeof *links);

    if (links == NULL)
        return;
    for (fhir_elem e = fhir_each_first(list); fhir_exists(e); e = fhir_each_next(list, e)) {
        bool documentation = fhir_is(fhir_get(e, "type"), "documentation");
        if (!documentation && !fhir_is(fhir_get(e, "type"), "citation"))
            continue;
        og_str label = name_at(r, e, "label"), url = string_at(r, e, "url");
        if (url.n != 0 && !absolute_url(url))
            problem(r, fhir_get(e, "url"), "a card's url must be absolute (https://…)");
        if (label.n != 0 && r->rule->source_label.n == 0) {
            r->rule->source_label = label;
            r->rule->source_url = url;
        }
        if (!documentation || url.n == 0)
            continue;
        if (label.n == 0)
            label = name_at(r, e, "display");
        if (label.n == 0)
            problem(r, e, "a link needs a label or a display");
        links[r->rule->link_count++] = (plan__link){label, url};
    }
    r->rule->links = links;
    if (r->rule->source_label.n == 0)
        problem(r, r->root,
                "a relatedArtifact of type citation or documentation with a label is missing: "
                "the card's source");
}

/* The Coding's extension override-days: a whole number of days. */
static int64_t override_days(reader *r, fhir_elem coding)
{
    fhir_elem list = fhir_get(coding, "extension");
    for (fhir_elem e = fhir_first(list); fhir_exists(e); e = fhir_next(list, e)) {
        og_str raw = fhir_raw(fhir_get(e, "valueInteger"));
        int64_t days = 0;
        if (!og_str_is(string_at(r, e, "url"), E_BASE "override-days"))
            continue;
        for (size_t i = 0; i < raw.n && days >= 0; i++)
            days = raw.p[i] >= '0' && raw.p[i] <= '9' ? days * 10 + (raw.p[i] - '0') : -1;
        if (raw.n == 0 || raw.n > 4 || days < 0)
            problem(r, e, "override-days needs a valueInteger from 0 to 9999");
        return days;
    }
    return -1;
}

static void read_override(reader *r, fhir_elem x, plan__coding *ret)
{
    fhir_elem c = fhir_get(x, "valueCoding");

    *ret = (plan__coding){string_at(r, c, "system"), string_at(r, c, "code"),
                          text_at(r, c, "display"), override_days(r, c)};
    if (ret->system.n == 0 || ret->code.n == 0 || ret->display.n == 0)
        problem(r, x, "an override reason needs a valueCoding with system, code and display");
}

/* The id of another rule. */
static void read_mention(reader *r, fhir_elem x, const char *what, plan__mention *list,
                         plan__mentions *to)
{
    plan__mention *m = &list[to->count++];

    to->at = list;
    *m = (plan__mention){string_at(r, x, "valueCode"), plan__elem_byte(x)};
    if (m->id.n == 0)
        problem(r, x, "%s needs a valueCode with a rule id", what);
    else if (og_str_eq(m->id, r->rule->id))
        problem(r, x, "%s names the rule itself", what);
    for (size_t i = 0; i + 1 < to->count; i++)
        if (og_str_eq(list[i].id, m->id))
            problem(r, x, "%s names %.*s twice", what, OG_STR_ARG(m->id));
}

static void read_forbids(reader *r, fhir_elem x, const fhir_valueset **list)
{
    og_str url = string_at(r, x, "valueCanonical"), version = {0};
    ptrdiff_t bar = og_str_find(url, '|');

    if (bar >= 0) {
        version = og_str_from(url, (size_t)bar + 1);
        url.n = (size_t)bar;
    }
    if (url.n == 0) {
        problem(r, x, "forbids needs a valueCanonical: the url of a value set of medicines");
        return;
    }
    const fhir_valueset *set = fhir_valueset_find(r->l->content->terms, url, version);
    if (set == NULL)
        problem(r, x, "there is no value set '%.*s'", OG_STR_ARG(url));
    else
        list[r->rule->forbid_count++] = set;
}

static void read_extensions(reader *r)
{
    plan__rule *rule = r->rule;
    fhir_elem list = fhir_get(r->root, "extension");
    size_t count = each_count(list);
    plan__coding *reasons = list_of(r, count, sizeof *reasons);
    plan__mention *suppresses = list_of(r, count, sizeof *suppresses);
    plan__mention *hosts = list_of(r, count, sizeof *hosts);

    rule->forbids = list_of(r, count, sizeof(fhir_valueset *));
    if (reasons == NULL || suppresses == NULL || hosts == NULL || rule->forbids == NULL)
        return;
    for (fhir_elem x = fhir_each_first(list); fhir_exists(x); x = fhir_each_next(list, x)) {
        og_str url = string_at(r, x, "url");
        if (og_str_is(url, E_BASE "override-reason"))
            read_override(r, x, &reasons[rule->override_reason_count++]);
        else if (og_str_is(url, E_BASE "suppresses"))
            read_mention(r, x, "suppresses", suppresses, &rule->suppresses);
        else if (og_str_is(url, E_BASE "merge-into"))
            read_mention(r, x, "merge-into", hosts, &rule->merge_into);
        else if (og_str_is(url, E_BASE "forbids"))
            read_forbids(r, x, rule->forbids);
        else if (og_str_starts(url, OG_STR(E_BASE)))
            problem(r, x, "unknown extension '%.*s' of a PlanDefinition", OG_STR_ARG(url));
    }
    rule->override_reasons = reasons;
}

/* ---- the top action ---- */

static void read_data_trigger(reader *r, fhir_elem trigger)
{
    fhir_elem data = fhir_get(trigger, "data");

    r->rule->on_data = true;
    for (fhir_elem d = fhir_each_first(data); fhir_exists(d); d = fhir_each_next(data, d)) {
        og_str type = string_at(r, d, "type");
        if (!fhir_type_is_concrete_resource(fhir_type_of(type)))
            problem(r, d, "'%.*s' is not a FHIR R4 resource type", OG_STR_ARG(type));
    }
}

static void read_triggers(reader *r, fhir_elem action)
{
    fhir_elem list = fhir_get(action, "trigger");
    og_str *hooks = list_of(r, each_count(list), sizeof *hooks);

    r->rule->hooks = hooks;
    for (fhir_elem t = fhir_each_first(list); fhir_exists(t); t = fhir_each_next(list, t)) {
        fhir_elem type = fhir_get(t, "type");
        if (fhir_exists(fhir_get(t, "condition")))
            problem(r, t, "a condition of a trigger is not supported");
        if (fhir_is(type, "data-changed") || fhir_is(type, "data-added") ||
            fhir_is(type, "data-modified")) {
            read_data_trigger(r, t);
        } else if (fhir_is(type, "periodic")) {
            r->rule->on_clock = true;
        } else if (fhir_is(type, "named-event")) {
            og_str name = string_at(r, t, "name");
            if (name.n == 0)
                problem(r, t, "a named-event trigger needs a name: the CDS Hooks hook");
            else if (hooks != NULL)
                hooks[r->rule->hook_count++] = name;
        } else {
            problem(r, t, "trigger type must be data-changed, periodic or named-event");
        }
    }
    if (!fhir_exists(fhir_each_first(list)))
        problem(r, action, "the action needs a trigger");
}

static void read_priority(reader *r, fhir_elem action)
{
    fhir_elem e = fhir_get(action, "priority");

    if (!fhir_exists(e) || fhir_is(e, "routine"))
        r->rule->indicator = PLAN_INFO;
    else if (fhir_is(e, "urgent") || fhir_is(e, "asap"))
        r->rule->indicator = PLAN_WARNING;
    else if (fhir_is(e, "stat"))
        r->rule->indicator = PLAN_CRITICAL;
    else
        problem(r, e, "priority must be routine, urgent, asap or stat");
    if (r->rule->worklist && r->rule->indicator != PLAN_INFO)
        problem(r, e, "a rule for a worklist has the priority routine");
}

/* useContext of the kind workflow with a channel of ours; every other one only describes. */
static void read_channel(reader *r)
{
    fhir_elem list = fhir_get(r->root, "useContext");

    for (fhir_elem u = fhir_each_first(list); fhir_exists(u); u = fhir_each_next(list, u)) {
        fhir_elem kind = fhir_get(u, "code");
        fhir_elem codings = fhir_path(u, "valueCodeableConcept.coding");
        if (!fhir_is(fhir_get(kind, "system"), CONTEXT_SYSTEM) ||
            !fhir_is(fhir_get(kind, "code"), "workflow"))
            continue;
        for (fhir_elem c = fhir_each_first(codings); fhir_exists(c);
             c = fhir_each_next(codings, c)) {
            if (!fhir_is(fhir_get(c, "system"), CHANNEL_SYSTEM))
                continue;
            if (!fhir_is(fhir_get(c, "code"), "worklist"))
                problem(r, c, "the channel of a rule is worklist, or it has none");
            r->rule->worklist = true;
        }
    }
}

static og_str without_prefix(og_str path, og_str prefix)
{
    return og_str_starts(path, prefix) ? og_str_from(path, prefix.n) : path;
}

static void read_rule_dynamic(reader *r, fhir_elem d)
{
    og_str path = without_prefix(string_at(r, d, "path"), OG_STR("action."));
    plan__expr x = read_expr(r, fhir_get(d, "expression")), *to = NULL;

    if (og_str_is(path, "title"))
        to = &r->rule->dynamic_summary;
    else if (og_str_is(path, "description"))
        to = &r->rule->dynamic_detail;
    else if (og_str_is(path, "priority"))
        to = &r->rule->dynamic_indicator;
    if (to == NULL)
        problem(r, d, "the path of a rule's dynamicValue is title, description or priority");
    else if (to->text.n != 0)
        problem(r, d, "the path '%.*s' is set twice", OG_STR_ARG(path));
    else if (x.text.n == 0)
        problem(r, d, "a dynamicValue needs an expression");
    else
        *to = x;
}

static void read_slot(reader *r, fhir_elem action)
{
    fhir_elem x = extension_of(action, E_BASE "slot");
    fhir_elem text = fhir_get(x, "valueString");

    if (fhir_exists(text))
        r->rule->static_slot = fhir_string(r->a, text);
    else
        r->rule->slot = extension_expr(r, action, E_BASE "slot");
}

static void read_absence(reader *r, fhir_elem action)
{
    fhir_elem list = fhir_get(action, "extension");

    for (fhir_elem x = fhir_each_first(list); fhir_exists(x); x = fhir_each_next(list, x)) {
        fhir_elem value = fhir_get(x, "valueBoolean");
        if (!og_str_is(string_at(r, x, "url"), E_BASE "absence"))
            continue;
        if (fhir_kind_of(value) != FHIR_TRUE && fhir_kind_of(value) != FHIR_FALSE)
            problem(r, x, "the extension absence needs a valueBoolean");
        r->rule->on_absence = fhir_kind_of(value) == FHIR_TRUE;
    }
}

static void check_action_extensions(reader *r, fhir_elem action)
{
    static const char *const known[] = {E_BASE "evidence", E_BASE "slot", E_BASE "next-review",
                                        E_BASE "material", E_BASE "absence"};
    fhir_elem list = fhir_get(action, "extension");
    const size_t count = sizeof known / sizeof known[0];
    unsigned seen[sizeof known / sizeof known[0]] = {0};

    for (fhir_elem x = fhir_each_first(list); fhir_exists(x); x = fhir_each_next(list, x)) {
        og_str url = string_at(r, x, "url");
        size_t i = 0;
        while (i < count && !og_str_is(url, known[i]))
            i++;
        if (i < count && seen[i]++ > 0)
            problem(r, x, "this extension stands here twice");
        else if (i == count && og_str_starts(url, OG_STR(E_BASE)))
            problem(r, x, "unknown extension '%.*s' of an action", OG_STR_ARG(url));
    }
}

/* ---- suggestions ---- */

static fhir_elem contained_of(reader *r, og_str id)
{
    fhir_elem list = fhir_get(r->root, "contained");
    for (fhir_elem c = fhir_each_first(list); fhir_exists(c); c = fhir_each_next(list, c))
        if (fhir_is_str(fhir_get(c, "id"), id))
            return c;
    return FHIR_ABSENT;
}

/* What people read inside an element of a draft, in the configured language: texts, each of which
 * is to have a translation, and names of codes, which may have one. */
static void translate_inside(reader *r, fhir_elem e, plan__json *copy)
{
    size_t i = 0;

    for (fhir_elem c = fhir_first(e); fhir_exists(c); c = fhir_next(e, c)) {
        og_str key = fhir_key_of(c), words = {0};
        if (fhir_kind_of(e) == FHIR_ARRAY) {
            translate_inside(r, c, plan__json_at(copy, i++));
            continue;
        }
        if (og_str_is(key, "text"))
            words = text_at(r, e, "text");
        else if (og_str_is(key, "display"))
            words = name_at(r, e, "display");
        if (words.n != 0)
            plan__json_set(copy, key, plan__json_string(r->a, words));
        else
            translate_inside(r, c, plan__json_get(copy, key));
    }
}

/* ActivityDefinition element → element of the draft, where the draft's type has it. */
static void copy_elements(reader *r, fhir_elem activity, plan__draft *d, plan__json *resource)
{
    static const char *const pairs[][2] = {
        {"priority", "priority"},
        {"doNotPerform", "doNotPerform"},
        {"productCodeableConcept", "medicationCodeableConcept"},
        {"productReference", "medicationReference"},
        {"code", "code"},
        {"dosage", "dosageInstruction"},
        {"quantity", "quantityQuantity"},
        {"bodySite", "bodySite"},
        {"timingTiming", "occurrenceTiming"},
        {"timingDateTime", "occurrenceDateTime"},
        {"timingPeriod", "occurrencePeriod"},
        {"timingRange", "occurrenceRange"},
        {"timingAge", "occurrenceAge"},
        {"timingDuration", "occurrenceDuration"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        fhir_elem e = fhir_get(activity, pairs[i][0]);
        if (!fhir_exists(e))
            continue;
        og_str name = og_str_of(pairs[i][1]);
        if (og_str_is(d->kind, "DeviceRequest") && og_str_is(name, "code"))
            name = OG_STR("codeCodeableConcept");
        uint16_t type;
        if (fhir_model_member(d->type, name, &type) == NULL) {
            problem(r, e, "a %.*s has no place for %s", OG_STR_ARG(d->kind), pairs[i][0]);
            continue;
        }
        plan__json *copy = plan__json_copy(r->a, e);
        translate_inside(r, e, copy);
        plan__json_set(resource, name, copy);
    }
}

static void read_kind(reader *r, fhir_elem activity, plan__draft *d)
{
    static const char *const kinds[] = {"MedicationRequest", "ServiceRequest", "DeviceRequest",
                                        "Task"};
    d->kind = string_at(r, activity, "kind");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (og_str_is(d->kind, kinds[i]))
            d->type = fhir_type_of(d->kind);
    if (d->type == 0)
        problem(r, activity,
                "kind must be MedicationRequest, ServiceRequest, DeviceRequest or Task");
}

static og_str read_intent(reader *r, fhir_elem activity)
{
    fhir_elem e = fhir_get(activity, "intent");

    if (!fhir_exists(e) || fhir_is(e, "proposal"))
        return OG_STR("proposal");
    if (!fhir_is(e, "plan"))
        problem(r, e, "intent must be proposal or plan: a rule never orders");
    return OG_STR("plan");
}

static void read_activity(reader *r, fhir_elem activity, plan__draft *d)
{
    static const char *const refused[] = {"subjectReference",
                                          "subjectCodeableConcept",
                                          "location",
                                          "participant",
                                          "specimenRequirement",
                                          "observationRequirement",
                                          "observationResultRequirement",
                                          "transform",
                                          "profile",
                                          NULL};
    plan__json *resource = plan__json_object(r->a);

    refuse(r, activity, "ActivityDefinition", refused);
    read_kind(r, activity, d);
    if (d->type == 0)
        return;
    plan__json_set_string(r->a, resource, "resourceType", d->kind);
    plan__json_set_string(r->a, resource, "status", OG_STR("draft"));
    plan__json_set_string(r->a, resource, "intent", read_intent(r, activity));
    copy_elements(r, activity, d, resource);
    d->resource = resource;
    d->description = text_at(r, activity, "description");
    if (d->description.n == 0)
        d->description = text_at(r, activity, "title");
}

/* One dynamicValue of an ActivityDefinition or of a sub-action (suggestion given). */
static void read_dynamic(reader *r, fhir_elem e, plan__suggestion *suggestion, plan__draft *d,
                         plan__dynamic *list)
{
    og_str path = string_at(r, e, "path");
    plan__expr x = read_expr(r, fhir_get(e, "expression"));
    og_error err;

    og_error_init(&err);
    if (x.text.n == 0) {
        problem(r, e, "a dynamicValue needs an expression");
    } else if (suggestion != NULL && og_str_is(path, "action.title")) {
        suggestion->dynamic_label = x;
    } else if (og_str_is(path, "action.description") && d != NULL) {
        d->dynamic_description = x;
    } else if (d == NULL || d->type == 0) {
        problem(r, e, "there is no draft resource that '%.*s' could be set in", OG_STR_ARG(path));
    } else {
        plan__dynamic *to = &list[d->dynamic_count];
        to->path = path;
        to->value = x;
        if (plan__path_read(r->a, path, d->type, &to->steps, &to->step_count, &err))
            d->dynamic_count++;
        else
            problem(r, e, "%s", err.text);
    }
}

/* file is where the ActivityDefinition stands. */
static void read_dynamics(reader *r, fhir_elem action, fhir_elem activity,
                          plan__suggestion *suggestion, plan__draft *d, const plan__source *file)
{
    const plan__source *rule_file = r->file;

    fhir_elem of_activity = fhir_get(activity, "dynamicValue");
    fhir_elem of_action = fhir_get(action, "dynamicValue");
    plan__dynamic *list = list_of(r, each_count(of_activity) + each_count(of_action), sizeof *list);

    if (list == NULL)
        return;
    r->file = file;
    for (fhir_elem e = fhir_each_first(of_activity); fhir_exists(e);
         e = fhir_each_next(of_activity, e))
        read_dynamic(r, e, NULL, d, list);
    r->file = rule_file;
    for (fhir_elem e = fhir_each_first(of_action); fhir_exists(e); e = fhir_each_next(of_action, e))
        read_dynamic(r, e, suggestion, d, list);
    if (d != NULL)
        d->dynamics = list;
}

/* The ActivityDefinition that a canonical names: contained (`#id`) or in a file of its own.
 * *ret_file is where it stands. */
static fhir_elem activity_of(reader *r, fhir_elem canonical, const plan__source **ret_file)
{
    og_str name = fhir_string(r->a, canonical);

    *ret_file = r->file;
    if (name.n > 1 && name.p[0] == '#') {
        fhir_elem activity = contained_of(r, og_str_from(name, 1));
        if (!fhir_exists(activity))
            problem(r, canonical, "'%.*s' is not a contained resource", OG_STR_ARG(name));
        else if (!fhir_is(fhir_get(activity, "resourceType"), "ActivityDefinition"))
            problem(r, canonical, "'%.*s' is not an ActivityDefinition", OG_STR_ARG(name));
        else
            return activity;
        return FHIR_ABSENT;
    }
    plan__source *s = plan__activity_find(r->l, name);
    if (s == NULL) {
        problem(r, canonical, "there is no ActivityDefinition '%.*s'", OG_STR_ARG(name));
        return FHIR_ABSENT;
    }
    s->used = true;
    *ret_file = s;
    return fhir_root(&s->doc);
}

/* Problems of a shared definition are told once, and in its own file. */
static void read_shared_activity(reader *r, fhir_elem activity, plan__source *file, plan__draft *d)
{
    const plan__source *rule_file = r->file;
    unsigned before = r->l->count;

    if (file->faulty)
        return;
    r->file = file;
    read_activity(r, activity, d);
    r->file = rule_file;
    file->faulty = r->l->count != before;
}

/* The definition of one sub-action. False when it has none. */
static bool read_draft(reader *r, fhir_elem action, plan__suggestion *suggestion, plan__draft *d)
{
    fhir_elem canonical = fhir_get(action, "definitionCanonical");
    const plan__source *file = r->file;

    if (fhir_exists(fhir_get(action, "definitionUri")))
        problem(r, action, "definitionUri is not supported: name an ActivityDefinition");
    if (!fhir_exists(canonical)) {
        read_dynamics(r, action, FHIR_ABSENT, suggestion, NULL, r->file);
        return false;
    }
    fhir_elem activity = activity_of(r, canonical, &file);
    if (fhir_exists(activity) && file == r->file)
        read_activity(r, activity, d);
    else if (fhir_exists(activity))
        read_shared_activity(r, activity, plan__activity_find(r->l, fhir_string(r->a, canonical)),
                             d);
    read_dynamics(r, action, activity, suggestion, d->type != 0 ? d : NULL, file);
    if (d->type != 0 && d->description.n == 0)
        d->description = text_at(r, action, "description");
    if (d->type != 0 && d->description.n == 0)
        d->description = text_at(r, action, "title");
    if (d->type != 0 && d->description.n == 0 && d->dynamic_description.text.n == 0)
        problem(r, action, "the draft needs a description");
    return true;
}

static const char *const refused_in_actions[] = {
    "trigger",          "relatedAction",          "timingDateTime",
    "timingAge",        "timingPeriod",           "timingDuration",
    "timingRange",      "timingTiming",           "groupingBehavior",
    "requiredBehavior", "cardinalityBehavior",    "transform",
    "subjectReference", "subjectCodeableConcept", NULL};

static void check_action_type(reader *r, fhir_elem action)
{
    fhir_elem type = fhir_get(action, "type"), coding = fhir_get(type, "coding");

    for (fhir_elem c = fhir_each_first(coding); fhir_exists(c); c = fhir_each_next(coding, c))
        if (!fhir_is(fhir_get(c, "code"), "create"))
            problem(r, c, "only actions of type create are supported");
}

/* Further drafts of one suggestion. */
static void read_parts(reader *r, fhir_elem list, plan__draft *drafts, size_t *count)
{
    for (fhir_elem p = fhir_each_first(list); fhir_exists(p); p = fhir_each_next(list, p)) {
        plan__draft *d = &drafts[*count];
        refuse(r, p, "action", refused_in_actions);
        check_action_type(r, p);
        if (fhir_exists(fhir_get(p, "action")))
            problem(r, p, "actions nest at most three deep: rule, suggestion, draft");
        read_conditions(r, p, &d->conditions, &d->condition_count);
        if (read_draft(r, p, NULL, d))
            (*count)++;
        else
            problem(r, p, "a draft needs a definitionCanonical");
    }
}

static void read_suggestion(reader *r, fhir_elem action, size_t number, plan__suggestion *s)
{
    fhir_elem parts = fhir_get(action, "action"), precheck = fhir_get(action, "precheckBehavior");
    plan__draft *drafts = list_of(r, 1 + each_count(parts), sizeof *drafts);
    size_t count = 0;

    if (drafts == NULL)
        return;
    refuse(r, action, "action", refused_in_actions);
    check_action_type(r, action);
    s->key = string_at(r, action, "id");
    if (s->key.n == 0)
        s->key = og_arena_printf(r->a, "%zu", number);
    s->label = text_at(r, action, "title");
    s->recommended = fhir_is(precheck, "yes");
    read_conditions(r, action, &s->conditions, &s->condition_count);
    if (read_draft(r, action, s, &drafts[0]))
        count = 1;
    read_parts(r, parts, drafts, &count);
    s->drafts = drafts;
    s->draft_count = count;
    if (s->label.n == 0 && s->dynamic_label.text.n == 0)
        problem(r, action, "a suggestion needs a title: its label");
    if (plan__characters(s->label) > MAX_LABEL)
        problem(r, action, "a suggestion's label has at most %d characters", MAX_LABEL);
}

static void read_suggestions(reader *r, fhir_elem action)
{
    fhir_elem list = fhir_get(action, "action"), behavior = fhir_get(action, "selectionBehavior");
    size_t count = each_count(list), n = 0, recommended = 0;
    plan__suggestion *s = list_of(r, count, sizeof *s);

    if (s == NULL)
        return;
    for (fhir_elem e = fhir_each_first(list); fhir_exists(e); e = fhir_each_next(list, e)) {
        read_suggestion(r, e, n + 1, &s[n]);
        for (size_t i = 0; i < n; i++)
            if (og_str_eq(s[i].key, s[n].key))
                problem(r, e, "two suggestions have the id '%.*s'", OG_STR_ARG(s[n].key));
        recommended += s[n++].recommended;
    }
    r->rule->at_most_one = fhir_is(behavior, "at-most-one") || fhir_is(behavior, "exactly-one");
    if (r->rule->at_most_one && recommended > 1)
        problem(r, action, "at most one of suggestions that exclude each other is recommended");
    r->rule->suggestions = s;
    r->rule->suggestion_count = n;
}

static void read_texts(reader *r, fhir_elem action)
{
    plan__rule *rule = r->rule;
    fhir_elem dynamic = fhir_get(action, "dynamicValue");

    rule->summary = text_at(r, action, "title");
    rule->detail = text_at(r, action, "description");
    read_priority(r, action);
    for (fhir_elem d = fhir_each_first(dynamic); fhir_exists(d); d = fhir_each_next(dynamic, d))
        read_rule_dynamic(r, d);
    if (rule->dynamic_summary.text.n == 0 && rule->summary.n == 0)
        problem(r, action, "the action needs a title, or a dynamicValue for it: the summary");
    if (plan__characters(rule->summary) >= PLAN__MAX_SUMMARY)
        problem(r, fhir_get(action, "title"),
                "a summary has fewer than %d characters, this has %zu", PLAN__MAX_SUMMARY,
                plan__characters(rule->summary));
}

/* A condition that nobody can read is none that anybody has agreed to. */
static void demand_words(reader *r, fhir_elem action)
{
    fhir_elem list = fhir_get(action, "condition");

    for (fhir_elem c = fhir_each_first(list); fhir_exists(c); c = fhir_each_next(list, c)) {
        fhir_elem x = fhir_get(c, "expression");
        if (fhir_exists(x) && !fhir_exists(fhir_get(x, "description")))
            problem(r, x, "a condition needs a description: what it says in words");
    }
}

static void read_action(reader *r)
{
    fhir_elem list = fhir_get(r->root, "action"), action = fhir_each_first(list);
    plan__rule *rule = r->rule;

    if (each_count(list) != 1) {
        problem(r, fhir_exists(list) ? list : r->root, "a rule has one top action");
        return;
    }
    refuse(r, action, "action", refused_in_actions + 1);
    check_action_extensions(r, action);
    read_triggers(r, action);
    read_conditions(r, action, &rule->conditions, &rule->condition_count);
    demand_words(r, action);
    if (!fhir_exists(fhir_get(action, "condition")))
        problem(r, action, "the action needs a condition: a rule that always fires is none");
    read_texts(r, action);
    rule->evidence = extension_expr(r, action, E_BASE "evidence");
    rule->next_review = extension_expr(r, action, E_BASE "next-review");
    read_absence(r, action);
    rule->material = extension_expr(r, action, E_BASE "material");
    read_slot(r, action);
    if (fhir_exists(fhir_get(action, "definitionCanonical")))
        problem(r, action, "the top action has no definition: suggestions are its sub-actions");
    read_suggestions(r, action);
}

bool plan__definition_read(plan__load *l, const plan__source *file, plan__rule *ret)
{
    static const char *const refused[] = {"subjectReference", "goal", NULL};
    unsigned before = l->count;
    reader r = {
        .l = l, .a = l->content->arena, .file = file, .rule = ret, .root = fhir_root(&file->doc)};

    *ret = (plan__rule){.file = file->name, .doc = &file->doc};
    refuse(&r, r.root, "PlanDefinition", refused);
    read_identifier(&r);
    ret->url = string_at(&r, r.root, "url");
    ret->version = string_at(&r, r.root, "version");
    ret->title = text_at(&r, r.root, "title");
    if (ret->title.n == 0)
        problem(&r, r.root, "a rule needs a title");
    read_status(&r);
    read_libraries(&r);
    read_related(&r);
    read_extensions(&r);
    read_channel(&r);
    read_action(&r);
    ret->all = r.all;
    ret->all_count = r.all_count;
    return l->count == before;
}
