/* Values that outlive their run: every kind of value comes back as it was, to a run that has never
 * seen the first one's memory; what rests on something that has moved does not, nor does what has a
 * resource in it. */
#include "elm.h"

#include "rules/cql/kept.h"

#define OBS    "{'type':'Retrieve','dataType':$F(Observation)}"
#define CON    "{'type':'Retrieve','dataType':$F(Condition)}"
#define LARGE  ((size_t)64 << 10)
#define DEF(n) "{'name':'" n "','context':'Patient','expression':"
#define CODE                                                                                       \
    "{'type':'Instance','classType':$T(Code),'element':[{'name':'code','value':$S(A1)},"           \
    "{'name':'system','value':$S(http://s)},{'name':'display','value':$S(One)}]}"
#define FAILS "{'type':'SingletonFrom','operand':{'type':'List','element':[$B(true),$B(false)]}}"

/* A run in an arena of its own. */
static void begin(fixture *f, og_arena **a)
{
    *a = og_arena_new((size_t)64 << 20);
    assert_non_null(*a);
    f->run = cql_run_begin(*a, f->set, &f->request);
    assert_non_null(f->run);
}

/* A copy on the heap, at an odd address. */
static og_str on_heap(og_str kept)
{
    char *p = malloc(kept.n + 1);
    assert_non_null(p);
    if (kept.n > 0)
        memcpy(p + 1, kept.p, kept.n);
    return (og_str){p + 1, kept.n};
}

static void off_heap(og_str kept)
{
    free((char *)(uintptr_t)kept.p - 1);
}

static fixture *with_defs(const char *defs)
{
    fixture *f = fixture_new();
    problems p = {0};
    if (add_defs(f->set, defs, &p) != OG_OK)
        fail_msg("%s: %s (at %s)", defs, p.first.text, p.first.path);
    put(f, "{'resourceType':'Observation','id':'o','status':'final','code':{'text':'c'}}");
    put(f, "{'resourceType':'Condition','id':'c','code':{'text':'d'}}");
    f->request.sourceless = true;
    start(f);
    return f;
}

/* X, and what kept it, taken out of its run, which is gone. */
static og_str keep_of(fixture *f, const char *define, char *text, size_t size)
{
    og_arena *a;
    begin(f, &a);
    snprintf(text, size, "%s", value_of(f, define));
    og_str kept = on_heap(cql_run_keep(f->run, a, 1, LARGE));
    og_arena_free(a);
    return kept;
}

static void every_kind_comes_back(void **state)
{
    static const char *const values[] = {
        "{'type':'As','asType':$T(Boolean),'operand':{'type':'Null'}}",
        "$B(true)",
        "$I(-7)",
        "{'type':'ToLong','operand':$I(7)}",
        "$D(2.50)",
        "$S()",
        "{'type':'Concatenate','operand':[$S(ab),$S(cd)]}",
        "{'type':'Date','year':$I(2024),'month':$I(2)}",
        "{'type':'ToDateTime','operand':$S(2024-03-01T12:00:00.001+01:00)}",
        "{'type':'ToTime','operand':$S(T10:30)}",
        "{'type':'Quantity','value':5.50,'unit':'mg'}",
        "{'type':'Quantity','value':4,'unit':'days'}",
        ("{'type':'Ratio','numerator':{'type':'Quantity','value':1,'unit':'mg'},'denominator':{"
         "'type':'Quantity','value':2,'unit':'mL'}}"),
        CODE,
        "{'type':'ToConcept','operand':" CODE "}",
        "{'type':'Interval','lowClosed':true,'highClosed':false,'low':$I(1),'high':$I(5)}",
        ("{'type':'Interval','lowClosed':true,'highClosed':true,'low':{'type':'Quantity','value':1,"
         "'unit':'mg'},'high':{'type':'Quantity','value':2,'unit':'mg'}}"),
        "{'type':'List','element':[]}",
        "{'type':'List','element':[$I(1),{'type':'Null'},$S(x),{'type':'List','element':[$S(y)]}]}",
        ("{'type':'List','element':[{'type':'Tuple','element':[{'name':'a','value':$S(x)},{'name':"
         "'b','value':{'type':'List','element':[" CODE "," CODE "]}}]},{'type':'Tuple','element':[{"
         "'name':'a','value':$S(y)},{'name':'b','value':{'type':'Null'}}]}]}"),
    };
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char defs[4000], text[4096];
        og_arena *a;
        snprintf(defs, sizeof defs,
                 DEF("V") "%s}," DEF("X") "{'type':'Tuple','element':[{'name':'seen','value':{"
                                          "'type':'Exists','operand':" OBS
                                          "}},{'name':'value','value':$R(V)},{'name':'again',"
                                          "'value':$R(V)}]}}",
                 values[i]);
        fixture *f = with_defs(defs);
        og_str kept = keep_of(f, "X", text, sizeof text);
        assert_true(kept.n > 0);
        assert_true(cql_kept_steps(kept) > 0);
        begin(f, &a);
        cql_run_remember(f->run, kept);
        memset((char *)(uintptr_t)kept.p, 0xee, kept.n); /* it has been copied */
        assert_string_equal(value_of(f, "X"), text);
        assert_true(strstr(text, "seen: true") != NULL);
        assert_int_equal(cql_run_steps(f->run), 0);
        off_heap(kept);
        og_arena_free(a);
        fixture_free(f);
    }
}

static void what_is_no_data_is_worked_out_again(void **state)
{
    static const char *const values[] = {
        OBS,
        "{'type':'First','source':" OBS "}",
        ("{'type':'Tuple','element':[{'name':'a','value':{'type':'List','element':[{'type':'First',"
         "'source':" OBS "}]}}]}"),
        ("{'type':'Interval','lowClosed':true,'highClosed':true,'low':$I(1),'high':{'type':'If',"
         "'condition':{'type':'Exists','operand':" OBS "},'then':" FAILS ",'else':$I(3)}}"),
        "$I(5)", /* rests on nothing: not worth a place */
    };
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char defs[2000], text[4096];
        snprintf(defs, sizeof defs, DEF("X") "%s}", values[i]);
        fixture *f = with_defs(defs);
        og_str kept = keep_of(f, "X", text, sizeof text);
        assert_int_equal(kept.n, 0);
        assert_int_equal(cql_kept_steps(kept), 0);
        off_heap(kept);
        fixture_free(f);
    }
}

static void set_of(const cql_define *d, uint64_t *set)
{
    const cql_requirement *list;
    size_t n = cql_requirements(cql_define_library(d), d, &list);
    memset(set, 0, 8 * sizeof *set);
    for (size_t i = 0; i < n; i++)
        set[list[i].number / 64] |= (uint64_t)1 << list[i].number % 64;
}

static uint64_t steps_for(fixture *f, const char *define, const char *expected)
{
    uint64_t before = cql_run_steps(f->run);
    assert_string_equal(value_of(f, define), expected);
    return cql_run_steps(f->run) - before;
}

#define EXISTS(what) "{'type':'Exists','operand':" what "}"

static void what_has_moved_is_worked_out_again(void **state)
{
    fixture *f = with_defs(DEF("O") EXISTS(OBS) "}," DEF("C") EXISTS(CON) "}," DEF(
        "Both") "{'type':'And','operand':[$R(O),$R(C)]}}");
    const cql_library *lib = cql_set_at(f->set, 0);
    uint64_t observations[8], conditions[8], none[8] = {0};
    char text[100];
    og_arena *a;
    (void)state;
    set_of(cql_library_define(lib, OG_STR("O")), observations);
    set_of(cql_library_define(lib, OG_STR("C")), conditions);
    og_str all = keep_of(f, "Both", text, sizeof text);
    begin(f, &a);
    og_str same = cql_kept_without(a, all, none), left = cql_kept_without(a, all, observations);
    assert_int_equal(same.n, all.n);
    assert_memory_equal(same.p, all.p, all.n);
    cql_run_remember(f->run, left);
    assert_int_equal(steps_for(f, "C", "true"), 0);
    assert_true(steps_for(f, "O", "true") > 0);
    assert_true(steps_for(f, "Both", "true") > 0);

    /* What was given is kept again, with what it rests on, and so is what was worked out. */
    og_str again = on_heap(cql_run_keep(f->run, a, 1, LARGE));
    og_arena_free(a);
    begin(f, &a);
    cql_run_remember(f->run, cql_kept_without(a, again, conditions));
    assert_int_equal(steps_for(f, "O", "true"), 0);
    assert_true(steps_for(f, "C", "true") > 0);
    assert_true(steps_for(f, "Both", "true") > 0);
    assert_int_equal(cql_kept_without(a, cql_kept_without(a, again, conditions), observations).n,
                     0);
    og_arena_free(a);

    /* Whoever is given a value rests on what it rests on. */
    uint64_t read[8] = {0};
    begin(f, &a);
    cql_run_remember(f->run, again);
    cql_run_note_reads(f->run, read);
    assert_int_equal(steps_for(f, "Both", "true"), 0);
    for (size_t i = 0; i < cql_set_read_words(f->set); i++)
        assert_int_equal(read[i], observations[i] | conditions[i]);
    og_arena_free(a);
    off_heap(all);
    off_heap(again);
    fixture_free(f);
}

static void small_work_is_not_kept(void **state)
{
    fixture *f = with_defs(DEF("O") EXISTS(OBS) "}");
    og_arena *a;
    (void)state;
    begin(f, &a);
    uint32_t steps = (uint32_t)steps_for(f, "O", "true");
    assert_true(cql_run_keep(f->run, a, steps, LARGE).n > 0);
    assert_int_equal(cql_run_keep(f->run, a, steps + 1, LARGE).n, 0);
    og_arena_free(a);
    f->request.sourceless = false;
    begin(f, &a);
    (void)steps_for(f, "O", "true");
    assert_int_equal(cql_run_keep(f->run, a, 1, LARGE).n, 0);
    og_arena_free(a);
    fixture_free(f);
}

/* Of what has no room nothing is kept, and what is kept is whole. */
static void there_is_as_much_as_there_is_room(void **state)
{
    static const char defs[] = DEF("A") "{'type':'Tuple','element':[{'name':'a','value':" EXISTS(
        OBS) "},{'name':'b',"
             "'value':{'type':'Concatenate','operand':[$S(x),$S(y)]}}]}}," DEF(
                 "B") "{'type':'Tuple','element':[{'name':'a','value':" EXISTS(CON) "},{'name':'b',"
                                                                                    "'value':{'"
                                                                                    "type':'List','"
                                                                                    "element':[$R("
                                                                                    "A),$R(A)]}}]}}"
                                                                                    "," DEF("C")
                                                                                        EXISTS(
                                                                                            CON) "}";
    fixture *f = with_defs(defs);
    size_t none = 0, some = 0, all = 0, behind = 0;
    char a_text[500], b_text[1000];
    og_arena *a, *b;
    (void)state;
    for (size_t max = 0; max < 4000; max += 7) {
        begin(f, &a);
        snprintf(b_text, sizeof b_text, "%s", value_of(f, "B"));
        snprintf(a_text, sizeof a_text, "%s", value_of(f, "A"));
        assert_string_equal(value_of(f, "C"), "true");
        og_str kept = on_heap(cql_run_keep(f->run, a, 1, max));
        assert_true(kept.n <= max);
        og_arena_free(a);
        begin(f, &b);
        cql_run_remember(f->run, kept);
        uint64_t for_a = steps_for(f, "A", a_text), for_b = steps_for(f, "B", b_text);
        none += for_a > 0;
        some += for_a == 0 && for_b > 0;
        all += for_b == 0;
        behind += for_b > 0 && steps_for(f, "C", "true") == 0;
        og_arena_free(b);
        off_heap(kept);
    }
    assert_true(none > 0);
    assert_true(behind > 0);
    assert_true(some > 0);
    assert_true(all > 0);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_comes_back),
        cmocka_unit_test(what_is_no_data_is_worked_out_again),
        cmocka_unit_test(what_has_moved_is_worked_out_again),
        cmocka_unit_test(small_work_is_not_kept),
        cmocka_unit_test(there_is_as_much_as_there_is_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
