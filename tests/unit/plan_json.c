/* The JSON tree: what is written, what is left out. */
#include "plan_fixture.h"

static void same(og_arena *a, const plan__json *j, const char *want)
{
    assert_str(plan__json_text(a, j), want);
}

static plan__json *parsed(og_arena *a, const char *text)
{
    fhir_doc *doc = og_arena_zalloc(a, 1, sizeof *doc);
    assert_int_equal(fhir_decode(a, og_str_of(text), NULL, doc, NULL), OG_OK);
    return plan__json_copy(a, fhir_root(doc));
}

static void copies_keep_digits_and_order(void **state)
{
    (void)state;
    og_arena *a = og_arena_new(1 << 20);
    const char *text =
        "{\"z\":1.00,\"a\":[1e3,-0,true,false,\"x\\ny\"],\"\\u0061b\":{\"c\":\"\u00e4\"}}";
    same(a, parsed(a, text),
         "{\"z\":1.00,\"a\":[1e3,-0,true,false,\"x\\ny\"],\"ab\":{\"c\":\"\u00e4\"}}");
    og_arena_free(a);
}

static void empty_things_are_left_out(void **state)
{
    static const char *const table[][2] = {
        {"{\"a\":null,\"b\":1}", "{\"b\":1}"},
        {"{\"a\":\"\",\"b\":1}", "{\"b\":1}"},
        {"{\"a\":[],\"b\":1}", "{\"b\":1}"},
        {"{\"a\":{},\"b\":1}", "{\"b\":1}"},
        {"{\"a\":[null,{\"x\":[{}]}],\"b\":1}", "{\"b\":1}"},
        {"[\"\",1,null,2,[],{}]", "[1,2]"},
        {"{\"a\":{\"b\":{\"c\":null}},\"d\":{\"e\":[\"\",\"f\"]}}", "{\"d\":{\"e\":[\"f\"]}}"},
        {"{\"a\":false,\"b\":0}", "{\"a\":false,\"b\":0}"},
    };
    (void)state;
    og_arena *a = og_arena_new(1 << 20);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        same(a, parsed(a, table[i][0]), table[i][1]);
    og_arena_free(a);
}

static void members_are_replaced_in_place(void **state)
{
    (void)state;
    og_arena *a = og_arena_new(1 << 20);
    plan__json *j = parsed(a, "{\"a\":1,\"b\":2,\"c\":3}");
    plan__json_set(j, OG_STR("b"), plan__json_raw(a, OG_STR("9")));
    same(a, j, "{\"a\":1,\"b\":9,\"c\":3}");
    plan__json_set(j, OG_STR("c"), NULL);
    same(a, j, "{\"a\":1,\"b\":9}");
    plan__json_set(j, OG_STR("a"), NULL);
    plan__json_set_string(a, j, "d", OG_STR("q\"\\"));
    same(a, j, "{\"b\":9,\"d\":\"q\\\"\\\\\"}");
    plan__json_set(j, OG_STR("b"), NULL);
    plan__json_set(j, OG_STR("d"), NULL);
    plan__json_set(j, OG_STR("d"), NULL);
    plan__json_set_string(a, j, "e", OG_STR("f"));
    same(a, j, "{\"e\":\"f\"}");
    og_arena_free(a);
}

static void elements_are_put_and_taken(void **state)
{
    (void)state;
    og_arena *a = og_arena_new(1 << 20);
    plan__json *j = parsed(a, "[1,2,3]");
    assert_true(plan__json_put(j, 1, plan__json_raw(a, OG_STR("7"))));
    assert_true(plan__json_put(j, 3, plan__json_raw(a, OG_STR("4"))));
    assert_false(plan__json_put(j, 9, plan__json_raw(a, OG_STR("5"))));
    same(a, j, "[1,7,3,4]");
    assert_true(plan__json_put(j, 3, NULL));
    assert_true(plan__json_put(j, 0, NULL));
    plan__json_add(j, plan__json_raw(a, OG_STR("8")));
    same(a, j, "[7,3,8]");
    assert_int_equal(plan__json_length(j), 3);
    og_arena_free(a);
}

static void a_clone_is_its_own(void **state)
{
    (void)state;
    og_arena *a = og_arena_new(1 << 20);
    plan__json *j = parsed(a, "{\"a\":{\"b\":[1,{\"c\":2}]}}"), *copy = plan__json_clone(a, j);
    plan__json_set(plan__json_get(copy, OG_STR("a")), OG_STR("b"), NULL);
    plan__json_set_string(a, copy, "x", OG_STR("y"));
    same(a, j, "{\"a\":{\"b\":[1,{\"c\":2}]}}");
    same(a, copy, "{\"x\":\"y\"}");
    og_arena_free(a);
}

/* Memory that runs out anywhere gives no half-written text. */
static void memory_may_run_out(void **state)
{
    (void)state;
    for (size_t limit = 0; limit < 64 << 10; limit += 16 << 10) {
        og_arena *a = og_arena_new(limit);
        plan__json *j = plan__json_object(a);
        for (int i = 0; i < 2000; i++)
            plan__json_set(j, OG_STR("a"), plan__json_string(a, OG_STR("b")));
        assert_true(og_arena_failed(a));
        og_arena_free(a);
    }
    assert_null(plan__json_clone(NULL, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_keep_digits_and_order),
        cmocka_unit_test(empty_things_are_left_out),
        cmocka_unit_test(members_are_replaced_in_place),
        cmocka_unit_test(elements_are_put_and_taken),
        cmocka_unit_test(a_clone_is_its_own),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
