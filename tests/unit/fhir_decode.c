/* The reader against its contract, against JSONTestSuite, and value for value against jansson. */
#include "tests/unit/fhir_files.h"

#include <errno.h>
#include <jansson.h>

#include "fhir/decode.h"

#define ARENA ((size_t)256 << 20)

static og_status decode(og_arena *a, og_str text, fhir_doc *d, og_error *err)
{
    og_error_init(err);
    return fhir_decode(a, text, NULL, d, err);
}

static fhir_doc decoded(og_arena *a, const char *text)
{
    fhir_doc d;
    og_error err;
    og_status st = decode(a, og_str_of(text), &d, &err);
    if (st != OG_OK)
        fail_msg("%s: %s", text, err.text);
    return d;
}

/* A copy that ends where the memory ends. */
static char *tight(og_str s)
{
    char *p = malloc(s.n != 0 ? s.n : 1);
    assert_non_null(p);
    if (s.n != 0)
        memcpy(p, s.p, s.n);
    return p;
}

/* Asks everything of everything below e; returns how many elements there are. */
static size_t touch(og_arena *a, fhir_elem e, int depth)
{
    size_t n = 1;
    if (depth > 4000)
        return n;
    og_str raw = fhir_raw(e), s = fhir_string(a, e), key = fhir_key_of(e);
    volatile unsigned char sum = 0; /* so that every byte is read */
    for (size_t i = 0; i < raw.n; i++)
        sum = (unsigned char)(sum + (unsigned char)raw.p[i]);
    for (size_t i = 0; i < s.n; i++)
        sum = (unsigned char)(sum + (unsigned char)s.p[i]);
    (void)fhir_is(e, "final");
    (void)fhir_get_str(e, key);
    (void)fhir_path(e, "code.coding.code");
    (void)fhir_length(e);
    for (fhir_elem c = fhir_first(e); fhir_exists(c); c = fhir_next(e, c))
        n += touch(a, c, depth + 1);
    return n;
}

/* --- what is refused, where, with which words --- */

static const struct {
    const char *text;
    og_status status;
    int byte;
    const char *words;
} refused[] = {
    {"", OG_SYNTAX, 0, "expected a value, found the end of the text"},
    {"  ", OG_SYNTAX, 2, "expected a value, found the end of the text"},
    {"\xEF\xBB\xBF{}", OG_SYNTAX, 0, "byte order mark"},
    {"{", OG_SYNTAX, 1, "expected a key, found the end of the text"},
    {"[", OG_SYNTAX, 1, "expected a value, found the end of the text"},
    {"{]", OG_SYNTAX, 1, "expected a key, found ']'"},
    {"[}", OG_SYNTAX, 1, "expected a value, found '}'"},
    {"[1,]", OG_SYNTAX, 3, "expected a value, found ']'"},
    {"[,1]", OG_SYNTAX, 1, "expected a value, found ','"},
    {"[1 2]", OG_SYNTAX, 3, "expected ',' or ']', found a number"},
    {"[1}", OG_SYNTAX, 2, "expected ',' or ']', found '}'"},
    {"{\"a\":1,}", OG_SYNTAX, 7, "expected a key, found '}'"},
    {"{\"a\" 1}", OG_SYNTAX, 5, "expected ':', found a number"},
    {"{\"a\":}", OG_SYNTAX, 5, "expected a value, found '}'"},
    {"{\"a\":1 \"b\":2}", OG_SYNTAX, 7, "expected ',' or '}', found a string"},
    {"{\"a\":1]", OG_SYNTAX, 6, "expected ',' or '}', found ']'"},
    {"{a:1}", OG_SYNTAX, 1, "expected a key, found something else"},
    {"{1:1}", OG_SYNTAX, 1, "expected a key, found a number"},
    {"[1] 2", OG_SYNTAX, 4, "expected nothing behind the document, found a number"},
    {"{}}", OG_SYNTAX, 2, "expected nothing behind the document, found '}'"},
    {"1\f", OG_SYNTAX, 1, "found byte 0x0C"},
    {"tru", OG_SYNTAX, 0, "expected a value"},
    {"truE", OG_SYNTAX, 0, "expected a value"},
    {"nul", OG_SYNTAX, 0, "expected a value"},
    {"NaN", OG_SYNTAX, 0, "expected a value"},
    {"01", OG_SYNTAX, 0, "superfluous zero"},
    {"-", OG_SYNTAX, 1, "expected a digit, found the end of the text"},
    {"-a", OG_SYNTAX, 1, "expected a digit, found something else"},
    {"1.", OG_SYNTAX, 2, "a digit behind the decimal point"},
    {"1.e1", OG_SYNTAX, 2, "a digit behind the decimal point"},
    {".5", OG_SYNTAX, 0, "expected a value"},
    {"+1", OG_SYNTAX, 0, "expected a value"},
    {"1e", OG_SYNTAX, 2, "a digit in the exponent"},
    {"1e+", OG_SYNTAX, 3, "a digit in the exponent"},
    {"0x1", OG_SYNTAX, 1, "expected nothing behind the document"},
    {"\"a", OG_SYNTAX, 2, "without a closing quote"},
    {"\"a\\", OG_SYNTAX, 3, "expected an escape"},
    {"\"a\\\"", OG_SYNTAX, 4, "without a closing quote"},
    {"\"\n\"", OG_SYNTAX, 1, "control character"},
    {"\"\x1F\"", OG_SYNTAX, 1, "control character"},
    {"\"\\x\"", OG_SYNTAX, 1, "unknown escape"},
    {"\"\\U0041\"", OG_SYNTAX, 1, "unknown escape"},
    {"\"\\u12\"", OG_SYNTAX, 1, "four hexadecimal digits"},
    {"\"\\u12G4\"", OG_SYNTAX, 1, "four hexadecimal digits"},
    {"\"\\uD800\"", OG_SYNTAX, 1, "half a surrogate pair"},
    {"\"\\uDC00\"", OG_SYNTAX, 1, "half a surrogate pair"},
    {"\"\\uD800\\u0041\"", OG_SYNTAX, 1, "half a surrogate pair"},
    {"\"\\uD800\\uD800\"", OG_SYNTAX, 1, "half a surrogate pair"},
    {"\"\\uDC00\\uD800\"", OG_SYNTAX, 1, "half a surrogate pair"},
    {"\"\\uD800\\\"", OG_SYNTAX, 1, "half a surrogate pair"},
    {"\"ab\x80\"", OG_SYNTAX, 3, "UTF-8"},
    {"\"\xC0\xAF\"", OG_SYNTAX, 1, "UTF-8"},
    {"\"\xE0\x80\xAF\"", OG_SYNTAX, 1, "UTF-8"},
    {"\"\xED\xA0\x80\"", OG_SYNTAX, 1, "UTF-8"},
    {"\"\xF4\x90\x80\x80\"", OG_SYNTAX, 1, "UTF-8"},
    {"\"\xC3\"", OG_SYNTAX, 1, "UTF-8"},
    {"\"\xC3\xA4\xFF\"", OG_SYNTAX, 3, "UTF-8"},
    {"{\"\xFF\":1}", OG_SYNTAX, 2, "UTF-8"},
    {"\xC3\xA4", OG_SYNTAX, 0, "found byte 0xC3"},
    {"{\"id\":1,\"id\":2}", OG_INVALID, 9, "the key \"id\" stands twice in one object"},
    {"{\"a\":{\"b\":1,\"b\":2}}", OG_INVALID, 13, "stands twice"},
    {"{\"a\":1,\"b\":{\"a\":1},\"a\":2}", OG_INVALID, 20, "stands twice"},
    {"{\"a\":1,\"\\u0061\":2}", OG_INVALID, 8, "stands twice"},
    {"{\"\\u0061\":1,\"a\":2}", OG_INVALID, 13, "stands twice"},
    {"{\"\\u0061\":1,\"\\u0061\":2}", OG_INVALID, 13, "a key stands twice"},
    {"{\"a\\/b\":1,\"a/b\":2}", OG_INVALID, 11, "stands twice"},
    {"{\"\\u00e4\":1,\"\xC3\xA4\":2}", OG_INVALID, 13, "stands twice"},
    {"{\"\\ud83d\\ude00\":1,\"\xF0\x9F\x98\x80\":2}", OG_INVALID, 19, "stands twice"},
    {"{\"\":1,\"\":2}", OG_INVALID, 7, "stands twice"},
};

static void refuses_with_place_and_words(void **state)
{
    (void)state;
    og_arena *a = og_arena_new(ARENA);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        og_str s = og_str_of(refused[i].text);
        char *p = tight(s);
        fhir_doc d = {.count = 77};
        og_error err;
        og_status st = decode(a, (og_str){p, s.n}, &d, &err);
        if (st != refused[i].status || err.status != st || err.byte != refused[i].byte ||
            strstr(err.text, refused[i].words) == NULL || d.count != 77)
            fail_msg("%s: %s at byte %lld: %s", refused[i].text, og_status_name(st),
                     (long long)err.byte, err.text);
        free(p);
    }
    og_arena_free(a);
}

static void refuses_a_nul(void **state)
{
    (void)state;
    static const og_str with_nul[] = {
        {"\0", 1}, {"[1,\0]", 5}, {"\"a\0\"", 4}, {"{}\0", 3}, {"\"\\\0\"", 4}};
    og_arena *a = og_arena_new(ARENA);
    fhir_doc d;
    og_error err;
    for (size_t i = 0; i < sizeof with_nul / sizeof with_nul[0]; i++)
        assert_int_equal(decode(a, with_nul[i], &d, &err), OG_SYNTAX);
    og_arena_free(a);
}

static void never_quotes_the_patient(void **state)
{
    (void)state;
    og_arena *a = og_arena_new(ARENA);
    fhir_doc d;
    og_error err;
    assert_int_equal(decode(a, OG_STR("{\"Anna Muster\":1,\"Anna Muster\":2}"), &d, &err),
                     OG_INVALID);
    assert_null(strstr(err.text, "Anna"));
    assert_int_equal(decode(a, OG_STR("[\"x\", Anna]"), &d, &err), OG_SYNTAX);
    assert_null(strstr(err.text, "A'"));
    og_arena_free(a);
}

/* --- limits --- */

static char *nested(size_t depth, size_t *ret_size)
{
    char *p = malloc(2 * depth + 1);
    assert_non_null(p);
    memset(p, '[', depth);
    memset(p + depth, ']', depth);
    *ret_size = 2 * depth;
    return p;
}

static void limits_depth(void **state)
{
    (void)state;
    og_arena *a = og_arena_new(ARENA);
    static const uint32_t depths[] = {1, 2, 31, 32, 33, 64, 65, 128, 129, 1000, 100000};
    for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++) {
        size_t n;
        char *p = nested(depths[i], &n);
        fhir_doc d;
        og_error err;
        og_error_init(&err);
        fhir_limits lim = {.max_bytes = 1u << 20, .max_depth = depths[i]};
        assert_int_equal(fhir_decode(a, (og_str){p, n}, &lim, &d, &err), OG_OK);
        assert_int_equal(d.count, depths[i]);
        lim.max_depth--;
        assert_int_equal(fhir_decode(a, (og_str){p, n}, &lim, &d, &err), OG_LIMIT);
        assert_int_equal(err.byte, depths[i] - 1);
        assert_int_equal(fhir_decode(a, (og_str){p, n}, NULL, &d, NULL),
                         depths[i] > FHIR_LIMITS_DEFAULT.max_depth ? OG_LIMIT : OG_OK);
        free(p);
    }
    og_arena_free(a);
}

static void limits_size(void **state)
{
    (void)state;
    og_arena *a = og_arena_new(ARENA);
    fhir_doc d;
    og_error err;
    fhir_limits lim = {.max_bytes = 4, .max_depth = 4};
    og_error_init(&err);
    assert_int_equal(fhir_decode(a, OG_STR("[11]"), &lim, &d, &err), OG_OK);
    assert_int_equal(fhir_decode(a, OG_STR("[111]"), &lim, &d, &err), OG_LIMIT);
    assert_int_equal(err.byte, 4);
    /* whatever the limit says, a node has no more than 28 bits; nothing is read, so no bytes are
     * needed */
    lim.max_bytes = UINT32_MAX;
    og_error_init(&err);
    assert_int_equal(fhir_decode(a, (og_str){"", (size_t)1 << 28}, &lim, &d, &err), OG_LIMIT);
    assert_int_equal(err.byte, (1 << 28) - 1);
    og_arena_free(a);
}

/* An arena of one byte more each time: out of memory until it is enough, and nothing worse. */
static void survives_every_lack_of_memory(void **state)
{
    (void)state;
    og_buf b;
    og_buf_init(&b, 1 << 20);
    og_buf_addz(&b, "{\"deep\":");
    for (int i = 0; i < 60; i++)
        og_buf_addz(&b, "[{\"a\":");
    og_buf_addz(&b, "1");
    for (int i = 0; i < 60; i++)
        og_buf_addz(&b, "},2,3,4,5]");
    og_buf_addz(&b, ",\"wide\":{\"\\u006b\":0");
    for (int i = 0; i < 300; i++)
        og_buf_addf(&b, ",\"k%d\":%d", i, i);
    og_buf_addz(&b, "}}");
    size_t failures = 0;
    for (size_t limit = 0;; limit += 512) {
        og_arena *a = og_arena_new(limit);
        fhir_doc d = {.count = 77};
        og_error err;
        og_status st = decode(a, og_buf_str(&b), &d, &err);
        og_arena_free(a);
        if (st == OG_OK)
            break;
        assert_int_equal(st, OG_NOMEM);
        assert_int_equal(d.count, 77);
        failures++;
        assert_true(limit < ((size_t)1 << 20));
    }
    assert_true(failures > 3);
    og_buf_done(&b);
}

/* --- what is read --- */

static void keeps_lexemes(void **state)
{
    (void)state;
    og_arena *a = og_arena_new(ARENA);
    fhir_doc d = decoded(
        a, " [1.00, -0, 1E400, 0.10e-07 ,123456789012345678901234567890 , true,false,null]\r\n\t ");
    static const char *const want[] = {
        "1.00", "-0",    "1E400", "0.10e-07", "123456789012345678901234567890",
        "true", "false", "null"};
    size_t i = 0;
    fhir_elem root = fhir_root(&d);
    for (fhir_elem e = fhir_first(root); fhir_exists(e); e = fhir_next(root, e), i++)
        assert_true(og_str_is(fhir_raw(e), want[i]));
    assert_int_equal(i, 8);
    assert_int_equal(fhir_length(root), 8);
    og_arena_free(a);
}

static void lays_out_the_tape(void **state)
{
    (void)state;
    og_arena *a = og_arena_new(ARENA);
    fhir_doc d = decoded(a, "{\"a\":[1,\"x\"],\"\\u0062\":{},\"c\":[[]]}");
    static const struct {
        fhir_kind kind;
        uint32_t pos, above; /* length or end index */
    } want[] = {{FHIR_OBJECT, 0, 10}, {FHIR_KEY, 2, 1},    {FHIR_ARRAY, 5, 5},
                {FHIR_NUMBER, 6, 1},  {FHIR_STRING, 9, 1}, {FHIR_KEY_ESCAPED, 14, 6},
                {FHIR_OBJECT, 22, 7}, {FHIR_KEY, 26, 1},   {FHIR_ARRAY, 29, 10},
                {FHIR_ARRAY, 30, 10}};
    assert_int_equal(d.count, sizeof want / sizeof want[0]);
    for (uint32_t i = 0; i < d.count; i++) {
        assert_int_equal(d.nodes[i].info & 15, want[i].kind);
        assert_int_equal(d.nodes[i].pos, want[i].pos);
        assert_int_equal(d.nodes[i].info >> 4, want[i].above);
    }
    og_arena_free(a);
}

static void unescapes(void **state)
{
    (void)state;
    static const struct {
        const char *json, *value;
        size_t n;
    } cases[] = {
        {"\"\"", "", 0},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8},
        {"\"\\u0041\\u00e4\\u20AC\\uD83D\\uDE00\"", "A\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80", 10},
        {"\"\\u0000\"", "\0", 1},
        {"\"\\uFFFF\"", "\xEF\xBF\xBF", 3},
        {"\"\\uDBFF\\uDFFF\"", "\xF4\x8F\xBF\xBF", 4},
        {"\"http:\\/\\/loinc.org\"", "http://loinc.org", 16},
        {"\"Pr\xC3\xBC\\u0066ung\x7F\"",
         "Pr\xC3\xBC"
         "fung\x7F",
         9},
    };
    og_arena *a = og_arena_new(ARENA);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fhir_doc d = decoded(a, cases[i].json);
        og_str want = {cases[i].value, cases[i].n}, got = fhir_string(a, fhir_root(&d));
        assert_true(og_str_eq(got, want));
        assert_true(fhir_is_str(fhir_root(&d), want));
        assert_false(fhir_is_str(fhir_root(&d), OG_STR("something else")));
        if (want.n != 0)
            assert_false(fhir_is_str(fhir_root(&d), (og_str){want.p, want.n - 1}));
        assert_int_equal(fhir_kind_of(fhir_root(&d)), FHIR_STRING);
    }
    og_arena_free(a);
}

static void borrows_what_has_no_escapes(void **state)
{
    (void)state;
    og_arena *a = og_arena_new(ARENA);
    fhir_doc d = decoded(a, "[\"plain\"]");
    assert_ptr_equal(fhir_string(a, fhir_first(fhir_root(&d))).p, d.text + 2);
    og_arena_free(a);
}

static void reads_whole_numbers(void **state)
{
    (void)state;
    og_arena *a = og_arena_new(ARENA);
    fhir_doc d = decoded(a, "{\"n\":-12,\"fraction\":1.0,\"exponent\":1e3,\"text\":\"5\"}");
    fhir_elem root = fhir_root(&d);
    int64_t n = 0;
    assert_true(fhir_int(fhir_get(root, "n"), -12, 0, &n));
    assert_int_equal(n, -12);
    assert_false(fhir_int(fhir_get(root, "n"), -11, 0, &n));
    assert_false(fhir_int(fhir_get(root, "fraction"), 0, 10, &n));
    assert_false(fhir_int(fhir_get(root, "exponent"), 0, 10000, &n));
    assert_false(fhir_int(fhir_get(root, "text"), 0, 10, &n));
    assert_false(fhir_int(fhir_get(root, "absent"), 0, 10, &n));
    assert_int_equal(n, -12);
    og_arena_free(a);
}

static void walks_members(void **state)
{
    (void)state;
    og_arena *a = og_arena_new(ARENA);
    fhir_doc d =
        decoded(a, "{\"code\":{\"coding\":[{\"code\":\"1\"},{\"code\":\"2\"}]},\"\\u0069d\":\"x\","
                   "\"e\":{},\"f\":[],\"valueQuantity\":{\"value\":1.0}}");
    fhir_elem root = fhir_root(&d);
    assert_true(fhir_is(fhir_path(root, "code.coding.code"), "1"));
    assert_true(fhir_is(fhir_get(root, "id"), "x"));
    assert_true(og_str_is(fhir_key_of(fhir_get(root, "id")), "\\u0069d"));
    assert_false(fhir_exists(fhir_get(root, "cod")));
    assert_false(fhir_exists(fhir_get(root, "value")));
    assert_false(fhir_exists(fhir_get(root, "")));
    assert_false(fhir_exists(fhir_first(fhir_get(root, "e"))));
    assert_false(fhir_exists(fhir_first(fhir_get(root, "f"))));
    assert_int_equal(fhir_length(fhir_path(root, "code.coding")), 2);
    assert_int_equal(fhir_length(root), 0); /* no array */
    assert_true(og_str_is(fhir_raw(fhir_get(root, "code")),
                          "{\"coding\":[{\"code\":\"1\"},{\"code\":\"2\"}]}"));
    assert_true(og_str_is(fhir_raw(fhir_get(root, "e")), "{}"));
    assert_true(og_str_is(fhir_raw(root), d.text));
    fhir_elem coding = fhir_path(root, "code.coding"), quantity = fhir_get(root, "valueQuantity");
    size_t n = 0;
    for (fhir_elem e = fhir_each_first(coding); fhir_exists(e); e = fhir_each_next(coding, e))
        n++;
    for (fhir_elem e = fhir_each_first(quantity); fhir_exists(e); e = fhir_each_next(quantity, e))
        n += 10;
    assert_int_equal(n, 12);
    og_arena_free(a);
}

static void absent_stays_absent(void **state)
{
    (void)state;
    og_arena *a = og_arena_new(ARENA);
    fhir_elem e = FHIR_ABSENT;
    assert_int_equal(fhir_kind_of(e), FHIR_NONE);
    assert_false(fhir_exists(fhir_get(e, "x")));
    assert_false(fhir_exists(fhir_path(e, "x.y")));
    assert_false(fhir_exists(fhir_first(e)));
    assert_false(fhir_exists(fhir_next(e, e)));
    assert_false(fhir_exists(fhir_each_first(e)));
    assert_false(fhir_exists(fhir_each_next(e, e)));
    assert_false(fhir_exists(fhir_root(NULL)));
    assert_int_equal(fhir_length(e), 0);
    assert_null(fhir_raw(e).p);
    assert_null(fhir_string(a, e).p);
    assert_null(fhir_key_of(e).p);
    assert_false(fhir_is(e, ""));
    fhir_doc d = decoded(a, "5");
    assert_false(fhir_exists(fhir_get(fhir_root(&d), "x")));
    assert_null(fhir_string(a, fhir_root(&d)).p);
    assert_false(fhir_is(fhir_root(&d), "5"));
    assert_null(fhir_key_of(fhir_root(&d)).p);
    og_arena_free(a);
}

/* Strings of every length at the end of memory and with the odd byte at every place: the scan by
 * words and by vectors must see what the scan by bytes sees. */
static void scans_strings_of_every_length(void **state)
{
    (void)state;
    static const struct {
        const char *odd;
        bool good;
    } odd[] = {{"", true},      {"\\n", true},   {"\xC3\xA4", true},     {"\x7F", true},
               {"\x1F", false}, {"\x80", false}, {"\xE2\x82\xAC", true}, {"\\", false}};
    og_arena *a = og_arena_new(ARENA);
    for (size_t n = 0; n <= 50; n++)
        for (size_t k = 0; k < sizeof odd / sizeof odd[0]; k++)
            for (size_t at = 0; at <= n; at += odd[k].odd[0] != '\0' ? 1 : n + 1) {
                og_buf b;
                og_buf_init(&b, 4096);
                og_buf_addc(&b, '"');
                for (size_t i = 0; i <= n; i++) {
                    if (i == at)
                        og_buf_addz(&b, odd[k].odd);
                    if (i < n)
                        og_buf_addc(&b, odd[k].odd[0] == '\\' && odd[k].odd[1] == '\0'
                                            ? 'x'
                                            : "a #z~"[i % 5]);
                }
                og_buf_addc(&b, '"');
                char *p = tight(og_buf_str(&b));
                fhir_doc d;
                og_error err;
                og_arena_reset(a);
                og_status st = decode(a, (og_str){p, b.n}, &d, &err);
                assert_int_equal(st, odd[k].good ? OG_OK : OG_SYNTAX);
                if (st == OG_OK)
                    assert_int_equal(fhir_raw(fhir_root(&d)).n, b.n - 2);
                else if (odd[k].odd[0] != '\\')
                    assert_int_equal(err.byte, 1 + at);
                free(p);
                og_buf_done(&b);
            }
    og_arena_free(a);
}

/* --- duplicate keys in large objects --- */

static void wide_object(og_buf *b, size_t keys, const char *format)
{
    og_buf_clear(b);
    og_buf_addc(b, '{');
    for (size_t i = 0; i < keys; i++) {
        og_buf_addz(b, i != 0 ? ",\"" : "\"");
        og_buf_addf(b, format, i);
        og_buf_addz(b, "\":0");
    }
}

static void finds_duplicates_in_objects_of_every_size(void **state)
{
    (void)state;
    static const char *const formats[] = {
        "%zu", "valueQuantity%zu", "%zu a longer common end",
        "a rather long common beginning that fills words %09zu and an end"};
    og_arena *a = og_arena_new(ARENA);
    og_buf b;
    og_buf_init(&b, 1 << 20);
    for (size_t f = 0; f < sizeof formats / sizeof formats[0]; f++)
        for (size_t n = 1; n <= 100; n++) {
            fhir_doc d;
            og_error err;
            og_arena_reset(a);
            wide_object(&b, n, formats[f]);
            og_buf_addc(&b, '}');
            assert_int_equal(decode(a, og_buf_str(&b), &d, &err), OG_OK);
            size_t again = n / 2;
            wide_object(&b, n, formats[f]);
            og_buf_addz(&b, ",\"");
            size_t at = b.n;
            og_buf_addf(&b, formats[f], again); /* NOLINT */
            og_buf_addz(&b, "\":0,\"tail\":{\"x\":1}}");
            assert_int_equal(decode(a, og_buf_str(&b), &d, &err), OG_INVALID);
            assert_int_equal(err.byte, at);
        }
    og_buf_done(&b);
    og_arena_free(a);
}

/* A quarter of a million keys, alike but for some digits, or in escapes: n log n, so it ends. */
static void survives_very_wide_objects(void **state)
{
    (void)state;
    static const char *const formats[] = {"k%06zu", "%06zuk",
                                          "aaaaaaaaaaaaaaaa%06zuzzzzzzzzzzzzzzzz", "\\u006b%06zu"};
    og_arena *a = og_arena_new(ARENA);
    og_buf b;
    og_buf_init(&b, 64 << 20);
    for (size_t f = 0; f < sizeof formats / sizeof formats[0]; f++) {
        fhir_doc d;
        og_error err;
        og_arena_reset(a);
        wide_object(&b, 250000, formats[f]);
        og_buf_addc(&b, '}');
        assert_int_equal(decode(a, og_buf_str(&b), &d, &err), OG_OK);
        assert_int_equal(d.count, 500001);
        b.n--;
        size_t at = b.n + 2;
        og_buf_addz(&b, f == 3 ? ",\"k123456\":0}" : ",\"k123456\":1,\"k123456\":2}");
        og_status st = decode(a, og_buf_str(&b), &d, &err);
        assert_int_equal(st, OG_INVALID);
        if (f == 0 || f == 3)
            assert_int_equal(err.byte, at);
    }
    og_buf_done(&b);
    og_arena_free(a);
}

/* --- damage --- */

static const char sample[] =
    "{\"resourceType\":\"Observation\",\"id\":\"a-1\",\"status\":\"final\",\"code\":{\"coding\":[{"
    "\"system\":"
    "\"http:\\/\\/loinc.org\",\"code\":\"2160-0\",\"display\":\"Kreatinin \\u00e4 "
    "\xC3\xBC\"}]},\"value"
    "Quantity\":{\"value\":1.10e+0,\"unit\":\"mg\\/dL\"},\"a\":[true,false,null,[],{},-0.5,\"\"]}";

static void refuses_every_prefix(void **state)
{
    (void)state;
    og_arena *a = og_arena_new(ARENA);
    for (size_t n = 0; n < sizeof sample - 1; n++) {
        char *p = tight((og_str){sample, n});
        fhir_doc d;
        og_error err;
        assert_int_equal(decode(a, (og_str){p, n}, &d, &err), OG_SYNTAX);
        assert_true(err.byte >= 0 && (size_t)err.byte <= n);
        free(p);
    }
    decoded(a, sample);
    og_arena_free(a);
}

/* Each byte replaced by each byte: read or refused, as jansson does (see the differences below). */
static void agrees_with_jansson_on_every_damaged_byte(void **state)
{
    (void)state;
    og_arena *a = og_arena_new(ARENA);
    for (size_t i = 0; i < sizeof sample - 1; i++)
        for (unsigned c = 0; c < 256; c++) {
            char *p = tight((og_str){sample, sizeof sample - 1});
            p[i] = (char)c;
            fhir_doc d;
            og_error err;
            og_arena_reset(a);
            og_status st = decode(a, (og_str){p, sizeof sample - 1}, &d, &err);
            json_error_t je;
            json_t *j = json_loadb(p, sizeof sample - 1,
                                   JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
            if ((st == OG_OK) != (j != NULL))
                fail_msg("byte %zu = 0x%02X: %s (%s), jansson: %s", i, c, og_status_name(st),
                         err.text, j != NULL ? "read" : je.text);
            if (st == OG_OK)
                touch(a, fhir_root(&d), 0);
            json_decref(j);
            free(p);
        }
    og_arena_free(a);
}

static void arrays_are_found_at_any_depth(void **state)
{
    (void)state;
    static const char text[] =
        "{\"coding\":{\"coding\":[1]},\"a\":[{\"coding\":[2,{\"coding\":[3]}]},\"coding\",[4]],"
        "\"codin\":[5],\"codings\":[6],\"coding2\":\"coding\",\"b\":{\"coding\":[]},\"c\":["
        "\"coding\",[7]]}";
    og_arena *a = og_arena_new(ARENA);
    fhir_doc doc = decoded(a, text);
    fhir_elem root = fhir_root(&doc), found = FHIR_ABSENT;
    const char *const wanted[] = {"[1]", "[2,{\"coding\":[3]}]", "[]"};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        found = fhir_find_array(root, OG_STR("coding"), found);
        assert_true(og_str_is(fhir_raw(found), wanted[i]));
    }
    assert_false(fhir_exists(fhir_find_array(root, OG_STR("coding"), found)));
    fhir_elem part = fhir_get(root, "b"); /* not what stands before or behind it */
    found = fhir_find_array(part, OG_STR("coding"), FHIR_ABSENT);
    assert_true(og_str_is(fhir_raw(found), "[]"));
    assert_false(fhir_exists(fhir_find_array(part, OG_STR("coding"), found)));
    assert_false(fhir_exists(fhir_find_array(FHIR_ABSENT, OG_STR("coding"), FHIR_ABSENT)));
    og_arena_free(a);
}

/* --- the image --- */

static void image_must_give_back(og_arena *a, const fhir_doc *d)
{
    fhir_doc back;
    size_t n = fhir_image_size(d);
    for (size_t shift = 0; shift < 8; shift++) { /* an image may stand anywhere */
        char *p = malloc(n + shift);
        assert_non_null(p);
        fhir_image_write(d, p + shift);
        og_error err;
        og_error_init(&err);
        assert_int_equal(fhir_image_read(a, (og_str){p + shift, n}, &back, &err), OG_OK);
        assert_int_equal(back.count, d->count);
        assert_memory_equal(back.nodes, d->nodes, d->count * sizeof *d->nodes);
        assert_int_equal(back.size, d->size);
        assert_memory_equal(back.text, d->text, d->size);
        assert_true(back.text >= p && back.text < p + n + shift);
        free(p);
    }
}

static void image_gives_the_document_back(void **state)
{
    (void)state;
    og_arena *a = og_arena_new(ARENA);
    fhir_doc d = decoded(a, sample);
    image_must_give_back(a, &d);
    og_arena_free(a);
}

/* Lengths, distances and containers around the places where their numbers need a byte more. */
static void image_holds_numbers_of_any_size(void **state)
{
    (void)state;
    static const size_t sizes[] = {0,   1,   13,  14,  15,  16,    127,
                                   128, 141, 142, 143, 144, 16383, 16384};
    og_arena *a = og_arena_new(ARENA);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        og_buf b;
        og_buf_init(&b, (size_t)1 << 20);
        og_buf_addz(&b, "{\"text\":\"");
        for (size_t k = 0; k < sizes[i]; k++)
            og_buf_addc(&b, 'x');
        og_buf_addz(&b, "\",");
        for (size_t k = 0; k < sizes[i]; k++)
            og_buf_addc(&b, ' ');
        og_buf_addz(&b, "\"list\":[");
        for (size_t k = 0; k < sizes[i]; k++)
            og_buf_addz(&b, k > 0 ? ",1" : "1");
        og_buf_addz(&b, "]}");
        og_buf_addc(&b, '\0');
        fhir_doc d = decoded(a, b.p);
        assert_int_equal(d.count, 5 + sizes[i]);
        image_must_give_back(a, &d);
        og_buf_done(&b);
        og_arena_reset(a);
    }
    og_arena_free(a);
}

static void image_refuses_damage(void **state)
{
    (void)state;
    og_arena *a = og_arena_new(ARENA);
    fhir_doc d = decoded(a, sample), back;
    size_t n = fhir_image_size(&d);
    char *good = malloc(n), *p = malloc(n);
    assert_non_null(good);
    assert_non_null(p);
    fhir_image_write(&d, good);
    for (size_t cut = 0; cut < n; cut++) {
        char *q = tight((og_str){good, cut});
        og_error err;
        og_error_init(&err);
        assert_int_equal(fhir_image_read(a, (og_str){q, cut}, &back, &err), OG_CORRUPT);
        assert_int_equal(err.status, OG_CORRUPT);
        free(q);
    }
    size_t seen = 0;
    for (size_t at = 0; at < n - d.size; at++) /* header and nodes, every bit */
        for (unsigned bit = 0; bit < 8; bit++) {
            memcpy(p, good, n);
            p[at] = (char)(p[at] ^ 1 << bit);
            og_arena_reset(a);
            og_status st = fhir_image_read(a, (og_str){p, n}, &back, NULL);
            assert_true(st == OG_OK || st == OG_CORRUPT);
            seen += st == OG_CORRUPT;
            if (st == OG_OK)
                touch(a, fhir_root(&back), 0);
        }
    assert_true(seen > 0);
    for (size_t at = n - d.size; at < n;
         at++) { /* the text: a checksum's business, but never a crash */
        memcpy(p, good, n);
        p[at] = '\\';
        og_arena_reset(a);
        if (fhir_image_read(a, (og_str){p, n}, &back, NULL) == OG_OK)
            touch(a, fhir_root(&back), 0);
    }
    free(p);
    free(good);
    og_arena_free(a);
}

/* --- jansson as oracle --- */

static void same_value(og_arena *a, fhir_elem e, const json_t *j, const char *where);

static void same_object(og_arena *a, fhir_elem e, const json_t *j, const char *where)
{
    size_t n = 0;
    for (fhir_elem c = fhir_first(e); fhir_exists(c); c = fhir_next(e, c), n++) {
        char quoted[4096];
        og_str key = fhir_key_of(c);
        if (key.n + 3 > sizeof quoted)
            fail_msg("%s: a very long key", where);
        snprintf(quoted, sizeof quoted, "\"%.*s\"", OG_STR_ARG(key));
        fhir_doc k = decoded(a, quoted);
        og_str name = fhir_string(a, fhir_root(&k));
        const json_t *v = json_object_getn(j, name.p, name.n);
        if (v == NULL)
            fail_msg("%s: jansson has no such key", where);
        fhir_elem got = fhir_get_str(e, name);
        assert_int_equal(got.at, c.at);
        same_value(a, c, v, where);
    }
    assert_int_equal(n, json_object_size(j));
}

static void same_number(fhir_elem e, const json_t *j, const char *where)
{
    char text[512];
    og_str raw = fhir_raw(e);
    assert_true(raw.n < sizeof text);
    memcpy(text, raw.p, raw.n);
    text[raw.n] = '\0';
    bool whole = strpbrk(text, ".eE") == NULL;
    if (whole ? !json_is_integer(j) || json_integer_value(j) != strtoll(text, NULL, 10)
              : !json_is_real(j) || json_real_value(j) != strtod(text, NULL))
        fail_msg("%s: %s is another number to jansson", where, text);
}

static void same_value(og_arena *a, fhir_elem e, const json_t *j, const char *where)
{
    og_str s;
    size_t i = 0;
    switch (fhir_kind_of(e)) {
    case FHIR_OBJECT:
        assert_true(json_is_object(j));
        same_object(a, e, j, where);
        return;
    case FHIR_ARRAY:
        assert_true(json_is_array(j));
        assert_int_equal(fhir_length(e), json_array_size(j));
        for (fhir_elem c = fhir_first(e); fhir_exists(c); c = fhir_next(e, c))
            same_value(a, c, json_array_get(j, i++), where);
        return;
    case FHIR_STRING:
        s = fhir_string(a, e);
        if (!json_is_string(j) || s.n != json_string_length(j) ||
            memcmp(s.p, json_string_value(j), s.n) != 0)
            fail_msg("%s: a string differs", where);
        return;
    case FHIR_NUMBER: same_number(e, j, where); return;
    case FHIR_TRUE: assert_true(json_is_true(j)); return;
    case FHIR_FALSE: assert_true(json_is_false(j)); return;
    case FHIR_NULL: assert_true(json_is_null(j)); return;
    default: fail_msg("%s: no value", where);
    }
}

/* Reads the text both ways and compares; returns whether it was accepted. */
static bool same_as_jansson(og_arena *a, og_str text, const char *where)
{
    fhir_doc d;
    og_error err;
    json_error_t je;
    og_arena_reset(a);
    og_status st = decode(a, text, &d, &err);
    json_t *j =
        json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
    if ((st == OG_OK) != (j != NULL))
        fail_msg("%s: %s (%s), jansson: %s", where, og_status_name(st), err.text,
                 j != NULL ? "read" : je.text);
    if (j != NULL) {
        same_value(a, fhir_root(&d), j, where);
        assert_true(og_str_eq(fhir_raw(fhir_root(&d)), text) || text.p[text.n - 1] != '}');
    }
    json_decref(j);
    return st == OG_OK;
}

static void compare_lines(const char *path, size_t every)
{
    og_str all = files_read(path), rest = all, line;
    og_arena *a = og_arena_new(ARENA);
    size_t n = 0;
    while (files_line(&rest, &line)) {
        if (n++ % every != 0)
            continue;
        char where[300];
        snprintf(where, sizeof where, "%s line %zu", strrchr(path, '/') + 1, n);
        assert_true(same_as_jansson(a, line, where));
    }
    assert_true(n >= 100);
    og_arena_free(a);
    free((char *)all.p);
}

static void reads_corpus_dev_like_jansson(void **state)
{
    (void)state;
    compare_lines(OG_SHARED_DATA "/fhir/corpus-dev.ndjson.gz", 1);
}

static void reads_corpus_mimic_like_jansson(void **state)
{
    (void)state;
    compare_lines(OG_SHARED_DATA "/fhir/corpus-dev-mimic.ndjson.gz", 10);
}

static void reads_bundles_like_jansson(void **state)
{
    (void)state;
    compare_lines(OG_SHARED_DATA "/fhir/bundles-dev.ndjson.gz", 1);
}

static void compare_file(const char *path, const char *name)
{
    og_str all = files_read(path);
    og_arena *a = og_arena_new(ARENA);
    og_str text = all;
    while (text.n != 0 && strchr(" \r\n\t", text.p[text.n - 1]) != NULL)
        text.n--;
    assert_true(same_as_jansson(a, text, name));
    og_arena_free(a);
    free((char *)all.p);
}

static void reads_the_examples_like_jansson(void **state)
{
    (void)state;
    assert_true(files_each(OG_SHARED_DATA "/fhir/examples-r4", compare_file) > 500);
}

/* Where we and jansson part, on purpose. jansson turns numbers into binary ones and refuses those
 * that do not fit; we keep the digits. A key with a NUL is no C string to jansson. Depth is a limit
 * of ours. */
static const struct {
    const char *file;
    bool ours;
    const char *why;
} differences[] = {
    {"i_number_huge_exp.json", true, "the lexeme is kept, it overflows nothing"},
    {"i_number_neg_int_huge_exp.json", true, "the lexeme is kept"},
    {"i_number_pos_double_huge_exp.json", true, "the lexeme is kept"},
    {"i_number_real_neg_overflow.json", true, "the lexeme is kept"},
    {"i_number_real_pos_overflow.json", true, "the lexeme is kept"},
    {"i_number_too_big_neg_int.json", true, "the lexeme is kept"},
    {"i_number_too_big_pos_int.json", true, "the lexeme is kept"},
    {"i_number_very_big_negative_int.json", true, "the lexeme is kept"},
    {"y_object_escaped_null_in_key.json", true, "RFC 8259 allows U+0000 in a key"},
    {"n_multidigit_number_then_00.json", false, "jansson takes a NUL for the end of the text"},
    {"i_structure_500_nested_arrays.json", false, "deeper than the default limit"},
    {"y_object_duplicated_key.json", false, "FHIR R4 json.html: property names are unique"},
    {"y_object_duplicated_key_and_value.json", false,
     "FHIR R4 json.html: property names are unique"},
};
static bool difference_seen[sizeof differences / sizeof differences[0]];

static size_t accepted_i;

static void try_suite_file(const char *path, const char *name)
{
    og_str text = files_read(path);
    og_arena *a = og_arena_new(ARENA);
    fhir_doc d;
    og_error err;
    json_error_t je;
    og_status st = decode(a, text, &d, &err);
    bool ours = st == OG_OK;
    json_t *j =
        json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
    bool theirs = j != NULL, known = false;
    for (size_t i = 0; i < sizeof differences / sizeof differences[0]; i++)
        if (strcmp(differences[i].file, name) == 0) {
            known = difference_seen[i] = true;
            if (ours != differences[i].ours)
                fail_msg("%s: %s", name, differences[i].why);
        }
    if (!known && ours != theirs)
        fail_msg("%s: %s (%s), jansson: %s", name, og_status_name(st), err.text,
                 theirs ? "read" : je.text);
    if (!known && ((name[0] == 'y' && !ours) || (name[0] == 'n' && ours)))
        fail_msg("%s: %s (%s)", name, og_status_name(st), err.text);
    if (name[0] == 'n' && ours)
        fail_msg("%s was read", name);
    accepted_i += name[0] == 'i' && ours;
    if (ours)
        touch(a, fhir_root(&d), 0);
    else
        assert_true(err.byte >= 0 && (size_t)err.byte <= text.n && err.text[0] != '\0');
    json_decref(j);
    og_arena_free(a);
    free((char *)text.p);
}

static void passes_json_test_suite(void **state)
{
    (void)state;
    assert_true(files_each(OG_SHARED_DATA "/fhir/malformed/JSONTestSuite", try_suite_file) >= 300);
    for (size_t i = 0; i < sizeof differences / sizeof differences[0]; i++)
        if (!difference_seen[i])
            fail_msg("%s is listed as a difference but was not there", differences[i].file);
}

static void try_malformed(const char *path, const char *name)
{
    (void)name;
    og_str text = files_read(path);
    og_arena *a = og_arena_new(ARENA);
    fhir_doc d;
    og_error err;
    if (decode(a, text, &d, &err) == OG_OK)
        touch(a, fhir_root(&d), 0);
    else
        assert_true(err.byte >= 0 && (size_t)err.byte <= text.n && err.text[0] != '\0');
    og_arena_free(a);
    free((char *)text.p);
}

static void survives_all_malformed_samples(void **state)
{
    (void)state;
    assert_true(files_each(OG_SHARED_DATA "/fhir/malformed", try_malformed) >= 600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_with_place_and_words),
        cmocka_unit_test(refuses_a_nul),
        cmocka_unit_test(never_quotes_the_patient),
        cmocka_unit_test(limits_depth),
        cmocka_unit_test(limits_size),
        cmocka_unit_test(survives_every_lack_of_memory),
        cmocka_unit_test(keeps_lexemes),
        cmocka_unit_test(lays_out_the_tape),
        cmocka_unit_test(unescapes),
        cmocka_unit_test(borrows_what_has_no_escapes),
        cmocka_unit_test(walks_members),
        cmocka_unit_test(reads_whole_numbers),
        cmocka_unit_test(absent_stays_absent),
        cmocka_unit_test(scans_strings_of_every_length),
        cmocka_unit_test(finds_duplicates_in_objects_of_every_size),
        cmocka_unit_test(survives_very_wide_objects),
        cmocka_unit_test(refuses_every_prefix),
        cmocka_unit_test(agrees_with_jansson_on_every_damaged_byte),
        cmocka_unit_test(arrays_are_found_at_any_depth),
        cmocka_unit_test(image_gives_the_document_back),
        cmocka_unit_test(image_holds_numbers_of_any_size),
        cmocka_unit_test(image_refuses_damage),
        cmocka_unit_test(reads_corpus_dev_like_jansson),
        cmocka_unit_test(reads_corpus_mimic_like_jansson),
        cmocka_unit_test(reads_bundles_like_jansson),
        cmocka_unit_test(reads_the_examples_like_jansson),
        cmocka_unit_test(passes_json_test_suite),
        cmocka_unit_test(survives_all_malformed_samples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
