/* What CDS Hooks 2.0 asks of discovery and of cards, looked for in everything that our rules really
 * say: each clinical case is sent as prefetch, and all answers are kept. Each test looks at one
 * part of them and wants to have seen it. tests/conformance/cds-hooks-2.0.tsv names the
 * requirements. */
#include "daemon_world.h"

#include <dirent.h>

#include <jansson.h>

#include "daemon/hooks.h"
#include "daemon/moment.h"

#define UUID      "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"
#define MAX_CASES 1024

static struct {
    json_t *discovery;
    json_t *sources; /* rule → url */
    json_t *answers[MAX_CASES];
    size_t count;
} said;

/* ---- asking ---- */

static json_t *patient_of(json_t *bundle)
{
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(bundle, "entry"), i, entry)
    {
        json_t *r = json_object_get(entry, "resource");
        const char *type = json_string_value(json_object_get(r, "resourceType"));
        if (type != NULL && strcmp(type, "Patient") == 0)
            return json_object_get(r, "id");
    }
    return NULL;
}

static json_t *ask(world *w, json_t *bundle, const char *patient, const moment *at)
{
    hook_request q;
    og_error err;
    og_arena *a = og_arena_new((size_t)256 << 20);
    og_error_init(&err);
    json_t *request = json_pack("{s:s,s:s,s:{s:s,s:s},s:{s:O}}", "hook", "patient-view",
                                "hookInstance", UUID, "context", "userId", "Practitioner/1",
                                "patientId", patient, "prefetch", "all", bundle);
    char *text = json_dumps(request, JSON_COMPACT);
    assert_non_null(text);
    if (hook_request_read(a, og_str_of(text), hook_kind_find(OG_STR("patient-view")), &q, &err) !=
        OG_OK)
        fail_msg("%s: %s", err.path, err.text);
    hooks_call call = {.content = w->content,
                       .tenant = "t",
                       .language = "en",
                       .store = w->stores[0],
                       .shared = w->shared_store,
                       .request = &q,
                       .feedback = &w->setup.feedback,
                       .now_ms = at->ms,
                       .offset_min = at->offset_min,
                       .known_ms = -1,
                       .arena = a};
    hooks_answer(&call);
    assert_int_equal(call.status, 200);
    json_t *answer = json_loadb(call.answer.p, call.answer.n, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(answer);
    free(text);
    json_decref(request);
    og_arena_free(a);
    return answer;
}

/* For those who look at the answers with other tools (tests/conformance/invariants). */
static void hand_out(const json_t *answer, const char *file)
{
    char path[1024];
    const char *dir = getenv("OG_ANSWERS");
    if (dir == NULL)
        return;
    snprintf(path, sizeof path, "%s/%s", dir, file);
    assert_int_equal(json_dump_file(answer, path, JSON_INDENT(1)), 0);
}

static void keep_case(world *w, const char *file)
{
    char path[512];
    moment at;
    snprintf(path, sizeof path, "%s/rules/content/cases/%s", OG_SOURCE_DIR, file);
    json_t *root = json_load_file(path, 0, NULL);
    assert_non_null(root);
    json_t *bundle = json_object_get(root, "bundle");
    const char *patient = json_string_value(patient_of(bundle));
    assert_true(
        moment_parse(og_str_of(json_string_value(json_object_get(root, "asOf"))), false, &at));
    assert_true(said.count < MAX_CASES);
    said.answers[said.count++] = ask(w, bundle, patient, &at);
    hand_out(said.answers[said.count - 1], file);
    json_decref(root);
}

static int begin(void **state)
{
    char path[512];
    const struct dirent *e;
    og_buf page;
    world *w = world_new();
    (void)state;
    snprintf(path, sizeof path, "%s/rules/content/cases", OG_SOURCE_DIR);
    DIR *dir = opendir(path);
    while (dir != NULL && (e = readdir(dir)) != NULL)
        if (strstr(e->d_name, ".json") != NULL)
            keep_case(w, e->d_name);
    if (dir != NULL)
        closedir(dir);
    said.sources = json_object();
    og_buf_init(&page, 4u << 20);
    hooks_discovery(w->content, &page);
    said.discovery = json_loadb(page.p, page.n, JSON_REJECT_DUPLICATES, NULL);
    og_buf_done(&page);
    world_free(w);
    return said.count > 0 && said.discovery != NULL ? 0 : 1;
}

static int end(void **state)
{
    (void)state;
    for (size_t i = 0; i < said.count; i++)
        json_decref(said.answers[i]);
    json_decref(said.discovery);
    json_decref(said.sources);
    return 0;
}

/* ---- looking ---- */

static const char *text_of(json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* A text that is there and says something. */
static const char *words_of(json_t *object, const char *name)
{
    const char *text = text_of(object, name);
    if (text == NULL || text[strspn(text, " \t\n")] == '\0')
        fail_msg("no %s in %s", name, json_dumps(object, JSON_COMPACT));
    return text;
}

/* An array that is there and holds something, or nothing at all; how many. */
static size_t list_of(json_t *object, const char *name)
{
    json_t *list = json_object_get(object, name);
    if (list == NULL)
        return 0;
    assert_true(json_is_array(list));
    assert_true(json_array_size(list) > 0);
    return json_array_size(list);
}

static bool is_absolute(const char *url)
{
    size_t scheme = strncmp(url, "https://", 8) == 0 ? 8 : strncmp(url, "http://", 7) == 0 ? 7 : 0;
    return scheme > 0 && url[scheme] != '\0' && url[scheme] != '/' && strpbrk(url, " \t\n") == NULL;
}

static json_t *card_at(size_t i, size_t k)
{
    return json_array_get(json_object_get(said.answers[i], "cards"), k);
}

/* fn for every card; how often. */
static size_t each_card(size_t (*fn)(json_t *card))
{
    size_t seen = 0;
    json_t *card;
    for (size_t i = 0; i < said.count; i++)
        for (size_t k = 0; (card = card_at(i, k)) != NULL; k++)
            seen += fn(card);
    return seen;
}

/* ---- discovery ---- */

static void every_service_says_what_it_is(void **state)
{
    size_t i, k;
    json_t *service, *list = json_object_get(said.discovery, "services");
    (void)state;
    assert_int_equal(json_object_size(said.discovery), 1);
    assert_true(json_array_size(list) > 1);
    json_array_foreach(list, i, service)
    {
        const char *id = words_of(service, "id");
        (void)words_of(service, "hook");
        (void)words_of(service, "title");
        (void)words_of(service, "description");
        (void)words_of(service, "usageRequirements");
        assert_int_equal(strspn(id, "abcdefghijklmnopqrstuvwxyz-"), strlen(id)); /* one segment */
        for (k = 0; k < i; k++) /* no service takes another one's cards back */
            assert_string_not_equal(id, text_of(json_array_get(list, k), "id"));
    }
}

/* Cuts `lead` off text. */
static bool pass_over(const char **text, const char *lead)
{
    if (strncmp(*text, lead, strlen(lead)) != 0)
        return false;
    *text += strlen(lead);
    return true;
}

/* A read of the patient, or a search by patient and tokens, with no modifier and the one kind of
 * prefetch token. */
static void check_template(const char *text)
{
    static const char *const parameters[] = {"code",     "component-code", "value-concept",
                                             "category", "vaccine-code",   NULL};
    const char *at = text;
    if (strcmp(text, "Patient/{{context.patientId}}") == 0)
        return;
    at += strspn(at, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    if (at == text || !pass_over(&at, "?patient={{context.patientId}}"))
        fail_msg("%s", text);
    if (*at == '\0')
        return;
    bool known = false;
    at += *at == '&';
    for (size_t i = 0; parameters[i] != NULL && !known; i++)
        known = strncmp(at, parameters[i], strlen(parameters[i])) == 0 &&
                at[strlen(parameters[i])] == '=';
    if (!known || strpbrk(at, "{}& \"") != NULL || strchr(at, '|') == NULL)
        fail_msg("%s", text);
}

static void templates_keep_to_the_subset(void **state)
{
    size_t i, seen = 0;
    const char *key;
    json_t *service, *template;
    (void)state;
    json_array_foreach(json_object_get(said.discovery, "services"), i, service)
    {
        json_t *prefetch = json_object_get(service, "prefetch");
        assert_true(json_object_size(prefetch) > 1);
        json_object_foreach(prefetch, key, template)
        {
            assert_true(key[0] != '\0');
            check_template(json_string_value(template));
            seen++;
        }
    }
    assert_true(seen > 10);
}

/* ---- answers ---- */

static void check_filled(json_t *j, bool cards)
{
    size_t i;
    const char *key;
    json_t *value;
    assert_false(json_is_null(j));
    assert_false(json_is_string(j) && json_string_length(j) == 0);
    assert_false(json_is_array(j) && json_array_size(j) == 0 && !cards);
    assert_false(json_is_object(j) && json_object_size(j) == 0);
    json_array_foreach(j, i, value) check_filled(value, false);
    json_object_foreach(j, key, value) check_filled(value, strcmp(key, "cards") == 0);
}

static void nothing_is_empty(void **state)
{
    (void)state;
    check_filled(said.discovery, false);
    for (size_t i = 0; i < said.count; i++)
        check_filled(said.answers[i], false);
}

static void an_answer_is_an_object_with_cards(void **state)
{
    size_t none = 0, some = 0;
    (void)state;
    for (size_t i = 0; i < said.count; i++) {
        json_t *cards = json_object_get(said.answers[i], "cards");
        assert_true(json_is_array(cards));
        assert_int_equal(json_object_size(said.answers[i]), 1); /* no systemActions either */
        none += json_array_size(cards) == 0;
        some += json_array_size(cards) > 0;
    }
    assert_true(some > 10);
    assert_true(none > 0);
}

static void cards_have_uuids_of_their_own(void **state)
{
    json_t *card;
    size_t seen = 0;
    (void)state;
    for (size_t i = 0; i < said.count; i++)
        for (size_t k = 0; (card = card_at(i, k)) != NULL; k++, seen++) {
            assert_true(og_str_is_uuid(og_str_of(words_of(card, "uuid")), true));
            for (size_t n = 0; n < k; n++)
                assert_string_not_equal(text_of(card, "uuid"), text_of(card_at(i, n), "uuid"));
        }
    assert_true(seen > 50);
}

static size_t characters(const char *s)
{
    size_t n = 0;
    for (; *s != '\0'; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static size_t look_at_texts(json_t *card)
{
    assert_true(characters(words_of(card, "summary")) < 140);
    const char *detail = words_of(card, "detail");
    for (const char *at = detail; (at = strchr(at, '<')) != NULL; at++) /* markdown without HTML */
        if (at[1] != ' ' && (at == detail || at[-1] != '\\'))
            fail_msg("%s", detail);
    return strstr(detail, "\n| --- |") != NULL; /* a table of GitHub's kind */
}

static void summaries_are_short_and_details_markdown(void **state)
{
    (void)state;
    assert_true(each_card(look_at_texts) > 50);
}

static void indicators_are_one_of_three(void **state)
{
    static const char *const names[] = {"critical", "warning", "info"};
    size_t seen[3] = {0}, at;
    json_t *card;
    (void)state;
    for (size_t i = 0; i < said.count; i++) {
        size_t before = 0;
        for (size_t k = 0; (card = card_at(i, k)) != NULL; k++) {
            const char *indicator = words_of(card, "indicator");
            for (at = 0; at < 3 && strcmp(names[at], indicator) != 0;)
                at++;
            assert_true(at < 3);
            assert_true(at >= before); /* the most urgent first */
            before = at;
            seen[at]++;
        }
    }
    for (at = 0; at < 3; at++)
        assert_true(seen[at] > 0);
}

static void check_coding(json_t *coding, bool display)
{
    (void)words_of(coding, "code");
    (void)words_of(coding, "system");
    if (display || json_object_get(coding, "display") != NULL)
        (void)words_of(coding, "display");
}

static size_t look_at_source(json_t *card)
{
    json_t *source = json_object_get(card, "source");
    const char *url = text_of(source, "url");
    (void)words_of(source, "label");
    assert_null(json_object_get(source, "icon"));
    check_coding(json_object_get(source, "topic"), false);
    if (url == NULL)
        return 0;
    assert_true(is_absolute(url));
    /* who is behind the rule, not what is on this card: the same for every patient */
    const char *rule = text_of(json_object_get(source, "topic"), "code");
    const char *before = text_of(said.sources, rule);
    if (before != NULL)
        assert_string_equal(before, url);
    json_object_set_new(said.sources, rule, json_string(url));
    return before != NULL;
}

static void sources_are_named(void **state)
{
    (void)state;
    assert_true(each_card(look_at_source) > 10);
}

static size_t look_at_suggestions(json_t *card)
{
    size_t i, n = list_of(card, "suggestions"), recommended = 0;
    const char *behaviour = text_of(card, "selectionBehavior");
    json_t *suggestion;
    assert_int_equal(behaviour != NULL, n > 0);
    if (n == 0)
        return 0;
    bool one = strcmp(behaviour, "at-most-one") == 0;
    assert_true(one || strcmp(behaviour, "any") == 0);
    json_array_foreach(json_object_get(card, "suggestions"), i, suggestion)
    {
        json_t *flag = json_object_get(suggestion, "isRecommended");
        (void)words_of(suggestion, "label");
        assert_true(og_str_is_uuid(og_str_of(words_of(suggestion, "uuid")), true));
        assert_true(flag == NULL || json_is_boolean(flag));
        recommended += json_is_true(flag);
    }
    assert_true(!one || recommended <= 1);
    return 1;
}

static void suggestions_come_with_their_behaviour(void **state)
{
    (void)state;
    assert_true(each_card(look_at_suggestions) > 10);
}

/* Nothing is changed or taken away by what we suggest: every action makes something new. */
static size_t look_at_actions(json_t *card)
{
    size_t i, k, seen = 0;
    json_t *suggestion, *action;
    json_array_foreach(json_object_get(card, "suggestions"), i, suggestion)
    {
        (void)list_of(suggestion, "actions");
        json_array_foreach(json_object_get(suggestion, "actions"), k, action)
        {
            json_t *resource = json_object_get(action, "resource");
            assert_string_equal(words_of(action, "type"), "create");
            (void)words_of(action, "description");
            (void)words_of(resource, "resourceType");
            assert_null(json_object_get(resource, "id")); /* the EHR gives it one */
            assert_null(json_object_get(action, "resourceId"));
            seen++;
        }
    }
    return seen;
}

static void actions_create_what_is_new(void **state)
{
    (void)state;
    assert_true(each_card(look_at_actions) > 10);
}

static size_t look_at_reasons(json_t *card)
{
    size_t i;
    json_t *reason;
    (void)list_of(card, "overrideReasons");
    json_array_foreach(json_object_get(card, "overrideReasons"), i, reason)
        check_coding(reason, true);
    return i;
}

static void reasons_have_words(void **state)
{
    (void)state;
    assert_true(each_card(look_at_reasons) > 10);
}

static size_t look_at_links(json_t *card)
{
    size_t i;
    json_t *link;
    (void)list_of(card, "links");
    json_array_foreach(json_object_get(card, "links"), i, link)
    {
        (void)words_of(link, "label");
        assert_true(is_absolute(words_of(link, "url")));
        assert_string_equal(words_of(link, "type"), "absolute");
        assert_null(json_object_get(link, "appContext"));
    }
    return i;
}

static void links_are_absolute(void **state)
{
    (void)state;
    assert_true(each_card(look_at_links) > 0);
}

static size_t look_at_extensions(json_t *card)
{
    const char *key;
    json_t *value, *extension = json_object_get(card, "extension");
    assert_true(json_is_object(extension));
    json_object_foreach(extension, key, value)
        assert_int_equal(strncmp(key, "org.osteoguard.", 15), 0);
    return json_object_get(extension, "org.osteoguard.freshness") != NULL;
}

static void extensions_are_objects_with_reversed_names(void **state)
{
    (void)state;
    assert_true(each_card(look_at_extensions) > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_service_says_what_it_is),
        cmocka_unit_test(templates_keep_to_the_subset),
        cmocka_unit_test(nothing_is_empty),
        cmocka_unit_test(an_answer_is_an_object_with_cards),
        cmocka_unit_test(cards_have_uuids_of_their_own),
        cmocka_unit_test(summaries_are_short_and_details_markdown),
        cmocka_unit_test(indicators_are_one_of_three),
        cmocka_unit_test(sources_are_named),
        cmocka_unit_test(suggestions_come_with_their_behaviour),
        cmocka_unit_test(actions_create_what_is_new),
        cmocka_unit_test(reasons_have_words),
        cmocka_unit_test(links_are_absolute),
        cmocka_unit_test(extensions_are_objects_with_reversed_names),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
