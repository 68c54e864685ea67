#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fhir/base/text.h"

static void first_error_wins(void **state)
{
    (void)state;
    og_error e;
    og_error_init(&e);
    assert_int_equal(e.status, OG_OK);
    assert_int_equal(e.byte, -1);
    assert_int_equal(og_fail(&e, OG_SYNTAX, "first %d", 1), OG_SYNTAX);
    assert_int_equal(og_fail(&e, OG_LIMIT, "second"), OG_LIMIT); /* returned, not recorded */
    assert_int_equal(e.status, OG_SYNTAX);
    assert_string_equal(e.text, "first 1");
}

static void null_is_accepted(void **state)
{
    (void)state;
    og_error_init(NULL);
    assert_int_equal(og_fail(NULL, OG_IO, "x"), OG_IO);
    og_error_origin(NULL, "x");
    og_error_at(NULL, 1, 1);
    og_error_record(NULL, "x", 1, 1);
    og_error_path(NULL, "x");
    og_error_byte(NULL, 1);
    og_report_add(NULL, NULL);
}

static void places_are_added_once(void **state)
{
    (void)state;
    og_error e;
    og_error_init(&e);
    og_error_origin(&e, "before"); /* no error yet: nothing to place */
    og_error_at(&e, 9, 9);
    og_error_path(&e, "before");
    og_error_byte(&e, 9);
    og_error_record(&e, "before", 9, 9);
    assert_true(e.origin[0] == '\0' && e.line == 0 && e.path[0] == '\0' && e.byte == -1 &&
                !e.has_record);
    assert_int_equal(og_fail(&e, OG_INVALID, "bad"), OG_INVALID);
    og_error_byte(&e, 0);
    og_error_byte(&e, 5);
    og_error_path(&e, "Patient.id");
    og_error_path(&e, "Patient.name");
    og_error_origin(&e, "a.json");
    og_error_origin(&e, "b.json");
    og_error_origin(&e, NULL);
    og_error_at(&e, 3, 4);
    og_error_at(&e, 5, 6);
    assert_int_equal(e.byte, 0);
    assert_string_equal(e.path, "Patient.id");
    assert_string_equal(e.origin, "a.json");
    assert_int_equal(e.line, 3);
    assert_int_equal(e.column, 4);
    og_error_record(&e, "topic", 2, 77);
    og_error_record(&e, "topic", 3, 78);
    assert_int_equal(e.partition, 2);
    assert_int_equal(e.offset, 77);
}

static void formats_the_place(void **state)
{
    (void)state;
    char out[1200];
    og_error e;
    og_error_init(&e);
    assert_int_equal(og_fail(&e, OG_SYNTAX, "bad"), OG_SYNTAX);
    og_error_format(&e, out, sizeof out);
    assert_string_equal(out, "error: bad");
    og_error_byte(&e, 12);
    og_error_format(&e, out, sizeof out);
    assert_string_equal(out, "error: bad (at byte 12)");
    og_error_origin(&e, "a.json");
    og_error_format(&e, out, sizeof out);
    assert_string_equal(out, "a.json: error: bad (at byte 12)");
    og_error_at(&e, 3, 4);
    og_error_format(&e, out, sizeof out);
    assert_string_equal(out, "a.json:3:4: error: bad");
    og_error_path(&e, "Patient.id");
    assert_int_equal(og_error_format(&e, out, sizeof out),
                     (int)strlen("a.json:3:4: error: bad (at Patient.id)"));
    assert_string_equal(out, "a.json:3:4: error: bad (at Patient.id)");
    assert_int_equal(og_error_format(&e, out, 8),
                     (int)strlen("a.json:3:4: error: bad (at Patient.id)"));
    assert_string_equal(out, "a.json:");
    og_error_init(&e);
    assert_int_equal(og_fail(&e, OG_NOTFOUND, "%s", ""), OG_NOTFOUND);
    og_error_record(&e, "fhir.condition", 2, 77);
    og_error_format(&e, out, sizeof out);
    assert_string_equal(out, "fhir.condition[2]@77: error: not found");
}

/* A text that is too long is cut between two characters. */
static void cuts_whole_characters(void **state)
{
    (void)state;
    for (size_t shift = 0; shift < 4; shift++) {
        og_error e;
        og_buf b;
        og_buf_init(&b, 4096);
        for (size_t i = 0; i < shift; i++)
            og_buf_addc(&b, 'a');
        for (int i = 0; i < 300; i++)
            og_buf_addz(&b, "\xF0\x9F\x98\x80");
        og_error_init(&e);
        assert_int_equal(og_fail(&e, OG_IO, "%s", b.p), OG_IO);
        og_error_path(&e, b.p);
        og_error_origin(&e, b.p);
        og_str cut[] = {og_str_of(e.text), og_str_of(e.path), og_str_of(e.origin)};
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(og_utf8_check(cut[i]), cut[i].n);
            assert_true(cut[i].n >= 250);
        }
        og_buf_done(&b);
    }
    og_error e;
    char exact[sizeof e.text];
    memset(exact, 'x', sizeof exact);
    exact[sizeof exact - 1] = '\0';
    og_error_init(&e);
    assert_int_equal(og_fail(&e, OG_IO, "%s", exact), OG_IO);
    assert_int_equal(strlen(e.text), sizeof exact - 1); /* fits, and nothing is cut */
}

static void every_status_has_words(void **state)
{
    (void)state;
    for (int s = OG_OK; s <= OG_INTERNAL; s++) {
        assert_string_not_equal(og_status_name((og_status)s), "UNKNOWN");
        assert_string_not_equal(og_status_text((og_status)s), "unknown status");
    }
    assert_string_equal(og_status_name(OG_SYNTAX), "SYNTAX");
    assert_string_equal(og_status_name((og_status)999), "UNKNOWN");
}

static void collect(void *ctx, const og_error *err)
{
    strcat(ctx, err->text);
}

static void reports_all(void **state)
{
    (void)state;
    char texts[64] = "";
    og_report r = {.fn = collect, .ctx = texts};
    for (int i = 0; i < 3; i++) {
        og_error e;
        og_error_init(&e);
        assert_int_equal(og_fail(&e, OG_INVALID, "%d", i), OG_INVALID);
        og_report_add(&r, &e);
    }
    assert_int_equal(r.count, 3);
    assert_string_equal(texts, "012");
    og_report silent = {0};
    og_report_add(&silent, NULL);
    assert_int_equal(silent.count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_error_wins),      cmocka_unit_test(null_is_accepted),
        cmocka_unit_test(places_are_added_once), cmocka_unit_test(formats_the_place),
        cmocka_unit_test(cuts_whole_characters), cmocka_unit_test(every_status_has_words),
        cmocka_unit_test(reports_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
