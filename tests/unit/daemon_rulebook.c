/* The rule book: CQL as people read it, what the document holds, and that nothing in it is mistaken
 * for markup. */
#include "plan_fixture.h"

#include <fcntl.h>
#include <unistd.h>

#include "daemon/book.h"
#include "daemon/cmd_check.h"
#include "daemon/cql_source.h"
#include "daemon/file.h"
#include "daemon/rulebook.h"

/* ---- CQL as text ---- */

#define RULES_CQL                                                                                  \
    "/* Group T: tests. More of it. */\n"                                                          \
    "library TestRules version '1'\n\n"                                                            \
    "using FHIR version '4.0.1'\n\n"                                                               \
    "include Shared version '1' called Common\n"                                                   \
    "include Terms version '1'\n\n"                                                                \
    "/* How long is long.\n   Local design. */\n"                                                  \
    "parameter \"Long Days\" Integer default 28 // four weeks\n"                                   \
    "parameter \"Longer Days\" Integer default 56\n\n"                                             \
    "parameter \"Alone\" Decimal default 2.5\n\n"                                                  \
    "context Patient\n\n"                                                                          \
    "// ---- a heading ----\n\n"                                                                   \
    "/* Why it fires. */\n"                                                                        \
    "define \"R1 Applies\":\n"                                                                     \
    "  \"Days\" > \"Long Days\"\n"                                                                 \
    "    and exists [Condition: Terms.\"Sick\"] // \"Alone\" is only named here\n\n"               \
    "define \"Days\": Common.\"Days Since\"(@2026-01-01) /* 'not \"Alone\"' */\n\n"                \
    "define \"Words\": 'not \"Alone\" either'\n"
#define SHARED_CQL                                                                                 \
    "library Shared version '1'\n\ncontext Patient\n\n"                                            \
    "define function \"Days Since\"(day System.Date):\n"                                           \
    "  difference in days between day and \"Now\"\n\n"                                             \
    "define private Now: Today()\n"
#define TERMS_CQL "library Terms version '1'\n\nvalueset \"Sick\": 'urn:set/Sick'\n"

typedef struct shelf {
    og_arena *arena;
    source_set set;
    char names[512];
} shelf;

static void shelf_begin(shelf *s)
{
    static const char *const texts[] = {RULES_CQL, SHARED_CQL, TERMS_CQL};
    bool bad;
    memset(s, 0, sizeof *s);
    s->arena = og_arena_new(1 << 20);
    s->set.arena = s->arena;
    for (size_t i = 0; i < 3; i++)
        assert_true(source_add(&s->set, og_str_of(texts[i]), &bad));
}

static void note_name(void *ctx, source_item *item)
{
    shelf *s = ctx;
    snprintf(s->names + strlen(s->names), sizeof s->names - strlen(s->names), "%.*s.%.*s;",
             OG_STR_ARG(item->library->name), OG_STR_ARG(item->name));
}

static const char *mentions(shelf *s, const char *library, const char *name)
{
    s->names[0] = '\0';
    const source_item *item = source_find(&s->set, og_str_of(library), og_str_of(name));
    assert_non_null(item);
    source_each_mention(&s->set, item, note_name, s);
    return s->names;
}

static void statements_are_told_apart(void **state)
{
    shelf s;
    (void)state;
    shelf_begin(&s);
    assert_int_equal(s.set.count, 3);
    assert_str(s.set.libraries[0].name, "TestRules");
    assert_str(s.set.libraries[0].comment, "Group T: tests. More of it.");
    assert_int_equal(s.set.libraries[0].count, 6);
    const source_item *p = source_find(&s.set, OG_STR("TestRules"), OG_STR("Long Days"));
    assert_int_equal(p->kind, SOURCE_PARAMETER);
    assert_str(p->value, "28");
    assert_str(p->note, "four weeks");
    assert_str(p->comment, "How long is long.\n   Local design.");
    p = source_find(&s.set, OG_STR("TestRules"), OG_STR("Longer Days"));
    assert_str(p->value, "56");
    assert_str(p->comment, "How long is long.\n   Local design."); /* of the group */
    p = source_find(&s.set, OG_STR("TestRules"), OG_STR("\"Alone\""));
    assert_str(p->value, "2.5");
    assert_int_equal(p->comment.n, 0);
    p = source_find(&s.set, OG_STR("TestRules"), OG_STR("R1 Applies"));
    assert_str(p->comment, "Why it fires.");
    assert_true(og_str_starts(p->text, OG_STR("define \"R1 Applies\":\n  \"Days\"")));
    p = source_find(&s.set, OG_STR("Shared"), OG_STR("Days Since"));
    assert_int_equal(p->kind, SOURCE_FUNCTION);
    p = source_find(&s.set, OG_STR("Terms"), OG_STR("Sick"));
    assert_int_equal(p->kind, SOURCE_VALUESET);
    assert_str(p->value, "urn:set/Sick");
    assert_null(source_find(&s.set, OG_STR("Terms"), OG_STR("Days")));
    og_arena_free(s.arena);
}

/* Names are followed, through aliases too; what stands in strings and comments is no name. */
static void mentions_are_followed(void **state)
{
    shelf s;
    bool bad;
    (void)state;
    shelf_begin(&s);
    assert_string_equal(mentions(&s, "TestRules", "R1 Applies"),
                        "TestRules.Days;TestRules.Long Days;Terms.Sick;");
    assert_string_equal(mentions(&s, "TestRules", "Days"), "Shared.Days Since;");
    assert_string_equal(mentions(&s, "TestRules", "Words"), "");
    assert_string_equal(mentions(&s, "Shared", "Days Since"), "Shared.Now;");
    assert_false(source_add(&s.set, OG_STR("define \"X\": 1\n"), &bad));
    assert_true(bad);
    assert_int_equal(s.set.count, 3);
    og_arena_free(s.arena);
}

/* Whatever is cut off, reading ends and stays inside the text. */
static void damaged_cql_does_no_harm(void **state)
{
    size_t items = 0;
    (void)state;
    for (size_t n = 0; n < strlen(RULES_CQL); n++) {
        og_arena *a = og_arena_new(1 << 20);
        source_set set = {.arena = a};
        bool bad;
        char *copy = malloc(n + 1); /* so that a byte too far is noticed */
        memcpy(copy, RULES_CQL, n);
        if (source_add(&set, (og_str){copy, n}, &bad)) {
            for (size_t i = 0; i < set.libraries[0].count; i++) {
                shelf s = {.arena = a, .set = set};
                const source_item *item =
                    source_find(&set, set.libraries[0].name, set.libraries[0].items[i].name);
                assert_non_null(item); /* what is there has a name, however it ends */
                source_each_mention(&set, item, note_name, &s);
            }
            assert_true(set.libraries[0].count >= items); /* more text never hides an item */
            items = set.libraries[0].count;
        }
        free(copy);
        og_arena_free(a);
    }
    assert_true(items > 1);
}

/* ---- the document ---- */

static og_str written(og_buf *out, bool html, og_str nasty)
{
    static const char *const heads[] = {"a", "b", NULL};
    book b = {.out = out, .html = html};
    book_begin(&b, nasty);
    book_page(&b, "x\" onload=\"y", nasty);
    book_heading(&b, 2, nasty);
    book_text(&b, nasty);
    book_quiet(&b, nasty);
    book_field(&b, "l", nasty);
    book_fold_begin(&b, nasty);
    book_code(&b, "y<z", nasty);
    book_fold_end(&b);
    book_table_begin(&b, heads);
    book_row_begin(&b);
    book_cell(&b, nasty);
    book_cell_link(&b, "q'r", nasty);
    book_row_end(&b);
    book_table_end(&b);
    book_links_begin(&b);
    book_link(&b, "s>t", nasty, nasty);
    book_links_end(&b);
    if (html)
        book_markdown(&b, nasty);
    book_page_end(&b);
    book_end(&b);
    return og_buf_str(out);
}

static size_t count_of(og_str text, const char *part)
{
    size_t n = 0;
    for (size_t i = 0; i + strlen(part) <= text.n; i++)
        n += memcmp(text.p + i, part, strlen(part)) == 0;
    return n;
}

static void texts_are_never_markup(void **state)
{
    og_str nasty = OG_STR("<script>a & \"b\" 'c'</script>");
    og_buf out;
    (void)state;
    og_buf_init(&out, 1 << 20);
    og_str html = written(&out, true, nasty);
    assert_int_equal(count_of(html, "<script>"), 1); /* our own */
    assert_int_equal(count_of(html, "&lt;script&gt;a &amp; &quot;b&quot; &#39;c&#39;"), 13);
    assert_contains(html, "id=\"x--onload--y\"");
    assert_contains(html, "href=\"#q-r\"");
    og_buf_done(&out);
    og_buf_init(&out, 1 << 20);
    og_str md = written(&out, false, OG_STR("<b> | *x* `y` [z](u)"));
    assert_int_equal(count_of(md, "<b> |"), 1); /* in a block of code it means nothing */
    assert_contains(md, "&lt;b\\> \\| \\*x\\* \\`y\\` \\[z\\](u)");
    og_buf_done(&out);
}

static void a_cards_detail_is_rendered(void **state)
{
    og_buf out;
    book b = {.out = &out, .html = true};
    (void)state;
    og_buf_init(&out, 1 << 16);
    book_markdown(
        &b,
        OG_STR(
            "Words \\*here\\*.\n\n### Guest\n\n| A | B |\n| --- | --- |\n| x\\|y | <2 |\n\nEnd | "
            "of it."));
    assert_str(og_buf_str(&out),
               "<div class=\"card\">\n<p>Words *here*.</p>\n<h4>Guest</h4>\n<table>\n"
               "<tr><td> A </td><td> B </td></tr>\n<tr><td> x|y </td><td> &lt;2 </td></tr>\n"
               "</table>\n<p>End | of it.</p>\n</div>\n");
    og_buf_done(&out);
}

static void a_long_paragraph_is_rendered_in_full(void **state)
{
    og_buf out, text;
    book b = {.out = &out, .html = true};
    (void)state;
    og_buf_init(&out, 1 << 16);
    og_buf_init(&text, 1 << 16);
    for (int i = 0; i < 300; i++)
        og_buf_addz(&text, "ten words ");
    og_buf_addz(&text, "NOT FOR CHILDREN");
    book_markdown(&b, og_buf_str(&text));
    assert_contains(og_buf_str(&out), "NOT FOR CHILDREN");
    og_buf_done(&out);
    og_buf_done(&text);
}

/* ---- the whole ---- */

#define ELM                                                                                        \
    LIBRARY("TestRules", "", "",                                                                   \
            "," DEF("R1 Applies",                                                                  \
                    "{\"type\":\"Exists\",\"operand\":{\"type\":\"Retrieve\",\"dataType\":\"{"     \
                    "http://hl7.org/fhir}Condition\"}}") "," DEF("Words", STR("Dynamic words")))
#define GERMAN(text)                                                                               \
    "{\"extension\":[{\"url\":\"http://hl7.org/fhir/StructureDefinition/translation\","            \
    "\"extension\":[{\"url\":\"lang\",\"valueCode\":\"de\"},{\"url\":\"content\","                 \
    "\"valueString\":\"" text "\"}]}]}"
#define BOOK_RULE(id, extension, more)                                                             \
    "{\"resourceType\":\"PlanDefinition\",\"url\":\"https://example.org/" id                       \
    "\",\"version\":\"3\",\"identifier\":[{\"system\":\"https://osteoguard.org/"                   \
    "rule\",\"value\":\"" id "\"}],\"title\":\"Title <of> " id "\",\"_title\":" GERMAN(            \
        "Titel von " id) ",\"status\":\"draft\",\"purpose\":\"For the test\",\"type\":{\"coding\"" \
                         ":[{\"code\":\"eca-rule\"}]},\"extension\":[" extension                   \
                         "],\"library\":[\"https://osteoguard.org/fhir/Library/TestRules\"],"      \
                         "\"relatedArtifact\":[{\"type\":\"citation\",\"label\":\"The review\","   \
                         "\"citation\":\"Statement S1\"}],\"action\":[{\"trigger\":[{\"type\":"    \
                         "\"data-changed\",\"data\":[{\"type\":\"Condition\"}]}],\"condition\":["  \
                         "{\"kind\":\"applicability\",\"expression\":{\"language\":\"text/"        \
                         "cql-identifier\",\"expression\":\"R1 Applies\",\"description\":"         \
                         "\"Something is wrong\",\"_description\":" GERMAN(                        \
                             "Etwas fehlt") "}}],"                                                 \
                                            "\"title\":\"Sick for long\",\"_title\":" GERMAN(      \
                                                "Lange krank") more "}]}"

typedef struct folder {
    char dir[64], book[96];
} folder;

static void put_file(const folder *f, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    assert_int_equal(file_write(path, og_str_of(text), NULL), OG_OK);
}

/* The ELM of a text carries its mark. */
static void put_elm(const folder *f, const char *name, const char *cql, const char *elm)
{
    char text[16384];
    snprintf(
        text, sizeof text,
        "{\"library\":{\"annotation\":[{\"type\":\"OsteoguardSource\",\"source\":\"crc32c:%08x:"
        "%zu\"}],%s",
        og_crc32c(0, cql, strlen(cql)), strlen(cql), elm + strlen("{\"library\":{"));
    put_file(f, name, text);
}

static int begin(void **state)
{
    folder *f = calloc(1, sizeof *f);
    char path[128];
    if (f == NULL)
        return 1;
    strcpy(f->dir, "/tmp/osteoguard-book-XXXXXX");
    if (mkdtemp(f->dir) == NULL)
        return 1;
    snprintf(f->book, sizeof f->book, "%s.html", f->dir);
    snprintf(path, sizeof path, "%s/elm", f->dir);
    assert_int_equal(file_make_dirs(path, NULL), OG_OK);
    snprintf(path, sizeof path, "%s/cases", f->dir);
    assert_int_equal(file_make_dirs(path, NULL), OG_OK);
    put_file(f, "TestRules.cql", RULES_CQL);
    put_file(f, "Shared.cql", SHARED_CQL);
    put_file(f, "Terms.cql", TERMS_CQL);
    put_elm(f, "elm/TestRules.json", RULES_CQL, ELM);
    put_elm(f, "elm/Shared.json", SHARED_CQL, LIBRARY("Shared", "", "", ""));
    put_elm(f, "elm/Terms.json", TERMS_CQL, LIBRARY("Terms", "", "", ""));
    put_file(f, "ValueSet-Sick.json",
             "{\"resourceType\":\"ValueSet\",\"url\":\"urn:set/Sick\",\"version\":\"9\",\"title\":"
             "\"Sickness\",\"status\":\"active\",\"compose\":{\"include\":[{\"system\":\"http://"
             "snomed.info/sct\",\"concept\":[{\"code\":\"39104002\",\"display\":\"Illness\","
             "\"extension\":[{\"url\":\"https://osteoguard.org/fhir/StructureDefinition/"
             "code-source\",\"valueString\":\"V (somewhere)\"}]}]}]}}");
    put_file(
        f, "PlanDefinition-R1.json",
        BOOK_RULE(
            "R1",
            OG_EXT("suppresses", "\"valueCode\":\"R2\"") "," OG_EXT(
                "forbids",
                "\"valueCanonical\":\"urn:set/Sick\"") "," OG_EXT("override-reason",
                                                                  "\"valueCoding\":{\"system\":"
                                                                  "\"urn:r\",\"code\":\"known\","
                                                                  "\"display\":\"We "
                                                                  "know\",\"_display\":" GERMAN(
                                                                      "Bekannt") "}"),
            ",\"description\":\"In words\",\"_description\":" GERMAN(
                "In Worten") ",\"action\":[{\"title\":\"Ask\",\"_title\":" GERMAN("Fragen") "}]"));
    put_file(f, "PlanDefinition-R2.json",
             BOOK_RULE("R2", OG_EXT("merge-into", "\"valueCode\":\"R1\""), ""));
    put_file(
        f, "cases/K1.json",
        "{\"id\":\"K1\",\"title\":\"Somebody is sick\",\"asOf\":\"2026-03-01T09:00:00+01:00\","
        "\"bundle\":{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[{"
        "\"resource\":{\"resourceType\":\"Patient\",\"id\":\"a\"}},{\"resource\":{"
        "\"resourceType\":\"Condition\",\"id\":\"c\",\"subject\":{\"reference\":\"Patient/a\"}}}"
        "]},\"expect\":[{\"rule\":\"R1\",\"indicator\":\"info\",\"merges\":[\"R2\"]}],"
        "\"variants\":[{\"id\":\"K1b\",\"title\":\"Nobody is\",\"absent\":[\"R1\"]}]}");
    *state = f;
    return 0;
}

static int end(void **state)
{
    folder *f = *state;
    char path[128];
    snprintf(path, sizeof path, "%s/elm", f->dir);
    assert_int_equal(file_remove_tree(path, NULL), OG_OK);
    snprintf(path, sizeof path, "%s/cases", f->dir);
    assert_int_equal(file_remove_tree(path, NULL), OG_OK);
    assert_int_equal(file_remove_tree(f->dir, NULL), OG_OK);
    unlink(f->book);
    free(f);
    return 0;
}

static int check(const folder *f, const char *book)
{
    char *argv[] = {"check", "--content", (char *)f->dir, "--rulebook", (char *)book, NULL};
    int out = dup(1), err = dup(2), nowhere = open("/dev/null", O_WRONLY);
    assert_true(out >= 0 && err >= 0 && nowhere >= 0);
    fflush(NULL);
    dup2(nowhere, 1);
    dup2(nowhere, 2);
    int status = cmd_check(5, argv);
    fflush(NULL);
    dup2(out, 1);
    dup2(err, 2);
    close(out);
    close(err);
    close(nowhere);
    return status;
}

static void the_book_has_everything(void **state)
{
    static const char *const parts[] = {
        "<h1>R1  Title &lt;of&gt; R1</h1>",
        "Titel von R1",
        "draft, version 3",
        "For the test",
        "<h3>Group T: tests</h3>",
        "when one of these changes: Condition",
        "<td>The review</td><td>Statement S1</td>",
        "<h3>1. Something is wrong</h3>",
        "Etwas fehlt",
        "/* Why it fires. */\ndefine &quot;R1 Applies&quot;:",
        "Long Days</td><td>28</td>",
        "How long is long. Local design. \xe2\x80\x93 four weeks",
        "href=\"#set-Sick\">Sickness</a>",
        "<td>SNOMED CT</td><td>39104002</td><td>Illness</td><td>V (somewhere)</td>",
        "<b>Takes the place of</b><span>R2</span>",
        "<b>No card then offers</b><span>Sickness</span>",
        "<b>Takes onto its card</b><span>R2</span>",
        "<b>Gives way to</b><span>R1</span>",
        "<b>Stands on the card of</b><span>R1</span>",
        "Sick for long<br>Lange krank",
        "<td>known</td><td>We know</td><td>Bekannt</td>",
        "<td>Ask<br>Fragen</td>",
        "<td>K1</td><td>Somebody is sick</td><td>fires, info</td>",
        "<td>K1b</td><td>Nobody is</td><td>does not fire</td>",
        "<td>K1</td><td>Somebody is sick</td><td>fires, on the card of R1</td>",
        "For example, case K1: Somebody is sick",
        "<b>English</b><span>Sick for long</span>",
        "<b>German</b><span>Lange krank</span>",
        "<p>In Worten</p>",
        "Chair of the drug commission",
        "id=\"def-Shared-Days-Since\"",
        "@page{size:A4"};
    folder *f = *state;
    og_buf text, again;
    assert_int_equal(check(f, f->book), 0);
    og_buf_init(&text, 1 << 20);
    assert_int_equal(file_read(f->book, 1 << 20, &text, NULL), OG_OK);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        assert_contains(og_buf_str(&text), parts[i]);
    assert_null(memmem(text.p, text.n, "<of>", 4));
    assert_null(memmem(text.p, text.n, "src=", 4)); /* nothing from outside */
    og_buf_init(&again, 1 << 20);
    assert_int_equal(check(f, f->book), 0);
    assert_int_equal(file_read(f->book, 1 << 20, &again, NULL), OG_OK);
    assert_true(og_str_eq(og_buf_str(&text), og_buf_str(&again)));
    og_buf_done(&text);
    og_buf_done(&again);
}

/* A variant serves as the example where no case itself shows the rule. */
static void a_variant_can_be_the_example(void **state)
{
    folder *f = *state;
    og_buf text;
    put_file(f, "cases/K1.json",
             "{\"id\":\"K1\",\"title\":\"Nobody is\",\"asOf\":\"2026-03-01T09:00:00+01:00\","
             "\"bundle\":{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[{"
             "\"resource\":{\"resourceType\":\"Patient\",\"id\":\"a\"}}]},\"absent\":[\"R1\"],"
             "\"variants\":[{\"id\":\"K1b\",\"title\":\"Sick\",\"put\":[{\"resourceType\":"
             "\"Condition\",\"id\":\"c\",\"subject\":{\"reference\":\"Patient/a\"}}],\"expect\":[{"
             "\"rule\":\"R1\"}]}]}");
    assert_int_equal(check(f, f->book), 0);
    og_buf_init(&text, 1 << 20);
    assert_int_equal(file_read(f->book, 1 << 20, &text, NULL), OG_OK);
    assert_contains(og_buf_str(&text), "For example, case K1b: Sick");
    assert_contains(og_buf_str(&text), "<b>German</b><span>Lange krank</span>");
    og_buf_done(&text);
}

static void the_site_stands_in_it(void **state)
{
    const folder *f = *state;
    plan_setting setting = {"Long Days", "35"};
    const char *off[] = {"R2"};
    rulebook_options o = {.content_dir = f->dir,
                          .settings = &setting,
                          .setting_count = 1,
                          .disabled = off,
                          .disabled_count = 1,
                          .digest = "0123abcd"};
    og_error err;
    og_buf out;
    og_error_init(&err);
    /* without contents there is no example to show */
    put_file(f, "cases/K1.json", "{\"id\":\"K1\",\"title\":\"t\",\"absent\":[\"R1\"]}");
    og_buf_init(&out, 1 << 20);
    assert_int_equal(rulebook_write(&o, &out, &err), OG_OK);
    assert_contains(og_buf_str(&out), "**Content**: 0123abcd");
    assert_contains(og_buf_str(&out), "| Long Days | 28 | 35 |");
    assert_contains(og_buf_str(&out), "draft, version 3, SWITCHED OFF at this site");
    assert_contains(og_buf_str(&out), "# R1  Title &lt;of\\> R1");
    og_buf_done(&out);
    put_file(f, "cases/K1.json", "{\"id\":");
    og_buf_init(&out, 1 << 20);
    assert_int_equal(rulebook_write(&o, &out, &err), OG_SYNTAX);
    assert_non_null(strstr(err.origin, "cases/K1.json"));
    og_buf_done(&out);
}

static void only_two_kinds_are_written(void **state)
{
    folder *f = *state;
    char path[128];
    snprintf(path, sizeof path, "%s.md", f->dir);
    assert_int_equal(check(f, path), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(check(f, "/tmp/book.pdf"), 2);
    put_file(f, "PlanDefinition-R2.json", "{");
    assert_int_equal(check(f, f->book), 1);
    assert_false(file_exists(f->book));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statements_are_told_apart),
        cmocka_unit_test(mentions_are_followed),
        cmocka_unit_test(damaged_cql_does_no_harm),
        cmocka_unit_test(texts_are_never_markup),
        cmocka_unit_test(a_cards_detail_is_rendered),
        cmocka_unit_test(a_long_paragraph_is_rendered_in_full),
        cmocka_unit_test_setup_teardown(the_book_has_everything, begin, end),
        cmocka_unit_test_setup_teardown(a_variant_can_be_the_example, begin, end),
        cmocka_unit_test_setup_teardown(the_site_stands_in_it, begin, end),
        cmocka_unit_test_setup_teardown(only_two_kinds_are_written, begin, end),
    };
    return cmocka_run_group_tests_name("daemon/rulebook", tests, NULL, NULL);
}
