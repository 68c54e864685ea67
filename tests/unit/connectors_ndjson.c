/* NDJSON and JSON files as they occur: long lines, no last line end, gzip, damage, resuming. */
#include "connectors/ndjson.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

static char dir[] = "/tmp/og-ndjson-XXXXXX";

static const char *in_dir(const char *name)
{
    static char path[300];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static const char *file(const char *name, const char *text, size_t n)
{
    const char *path = in_dir(name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
    return path;
}

static const char *gz_file(const char *name, const char *text, size_t n)
{
    const char *path = in_dir(name);
    gzFile f = gzopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(gzwrite(f, text, (unsigned)n), (int)n);
    gzclose(f);
    return path;
}

static ndjson_reader *open_at(const char *path, uint64_t resume, uint64_t line, size_t max)
{
    ndjson_reader *r = NULL;
    og_error err;
    og_error_init(&err);
    if (ndjson_open(path, resume, line, max, &r, &err) != OG_OK)
        fail_msg("%s", err.text);
    return r;
}

static void expect(ndjson_reader *r, const char *text, uint64_t line, uint64_t byte, uint64_t next)
{
    ndjson_item item;
    og_error err;
    og_error_init(&err);
    if (ndjson_next(r, &item, &err) != OG_OK)
        fail_msg("expected %s: %s", text, err.text);
    assert_int_equal(item.text.n, strlen(text));
    assert_memory_equal(item.text.p, text, item.text.n);
    assert_int_equal(item.line, line);
    assert_int_equal(item.byte, byte);
    assert_int_equal(item.next, next);
}

static void expect_end(ndjson_reader *r)
{
    ndjson_item item;
    assert_int_equal(ndjson_next(r, &item, NULL), OG_NOTFOUND);
    assert_int_equal(ndjson_next(r, &item, NULL), OG_NOTFOUND);
    ndjson_close(r);
}

static void test_lines(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":1}\n\n  \t\r\n{\"b\":2}\r\nnot json {\n{\"c\":3}";
    const char *path = file("lines.ndjson", text, sizeof(text) - 1);
    ndjson_reader *r = open_at(path, 0, 0, 0);
    expect(r, "{\"a\":1}", 1, 0, 8);
    expect(r, "{\"b\":2}", 4, 14, 23);
    expect(r, "not json {", 5, 23, 34);
    assert_int_equal(ndjson_line(r), 6);
    expect(r, "{\"c\":3}", 6, 34, 41);
    uint64_t at, size;
    ndjson_progress(r, &at, &size);
    assert_int_equal(at, sizeof(text) - 1);
    assert_int_equal(size, sizeof(text) - 1);
    expect_end(r);
    r = open_at(path, 23, 5, 0);
    expect(r, "not json {", 5, 23, 34);
    expect(r, "{\"c\":3}", 6, 34, 41);
    expect_end(r);
    r = open_at(path, 41, 7, 0);
    expect_end(r);
    r = open_at(path, 4000, 7, 0);
    expect_end(r);
}

static void test_forms(void **state)
{
    (void)state;
    static const char pretty[] = "\n{\n  \"a\": \"}]\\\"\",\n  \"b\": [1,\n 2]\n}\n\n";
    ndjson_reader *r = open_at(file("one.json", pretty, sizeof(pretty) - 1), 0, 0, 0);
    expect(r, "{\n  \"a\": \"}]\\\"\",\n  \"b\": [1,\n 2]\n}", 2, 1, sizeof(pretty) - 1);
    expect_end(r);
    /* The same under a name that promises lines. */
    r = open_at(file("one.ndjson", pretty, sizeof(pretty) - 1), 0, 0, 0);
    expect(r, "{", 2, 1, 3);
    expect(r, "  \"a\": \"}]\\\"\",", 3, 3, 18);
    ndjson_close(r);
}

static void test_forms_more(void **state)
{
    (void)state;
    static const char lines[] = "{\"a\":\"{\"}\n[1]\n";
    static const char bom[] = "\xef\xbb\xbf{\"a\":1}\n";
    ndjson_reader *r = open_at(file("lines.json", lines, sizeof(lines) - 1), 0, 0, 0);
    expect(r, "{\"a\":\"{\"}", 1, 0, 10);
    expect(r, "[1]", 2, 10, 14);
    expect_end(r);
    r = open_at(file("bom.json", bom, sizeof(bom) - 1), 0, 0, 0);
    expect(r, "{\"a\":1}", 1, 3, 11);
    expect_end(r);
    r = open_at(file("empty.json", "", 0), 0, 0, 0);
    expect_end(r);
    r = open_at(file("blank.ndjson", "\n\n \n", 4), 0, 0, 0);
    expect_end(r);
    r = open_at(file("zero.ndjson", "a\0b\n", 4), 0, 0, 0);
    ndjson_item item;
    assert_int_equal(ndjson_next(r, &item, NULL), OG_OK);
    assert_int_equal(item.text.n, 3);
    assert_memory_equal(item.text.p, "a\0b", 3);
    expect_end(r);
}

static void test_gzip(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n";
    const char *path = gz_file("x.ndjson.gz", text, sizeof(text) - 1);
    ndjson_reader *r = open_at(path, 0, 0, 0);
    expect(r, "{\"a\":1}", 1, 0, 8);
    expect(r, "{\"b\":2}", 2, 8, 16);
    expect(r, "{\"c\":3}", 3, 16, 24);
    expect_end(r);
    r = open_at(path, 16, 3, 0);
    expect(r, "{\"c\":3}", 3, 16, 24);
    expect_end(r);
    static const char pretty[] = "{\n \"a\": 1\n}\n";
    r = open_at(gz_file("x.json.gz", pretty, sizeof(pretty) - 1), 0, 0, 0);
    expect(r, "{\n \"a\": 1\n}", 1, 0, 12);
    expect_end(r);
}

/* What came before the damage is delivered, then it is an error and never a silent end. */
static void test_damaged_gzip(void **state)
{
    (void)state;
    char *text = malloc(1000000), *bytes = malloc(2000000);
    size_t n = 0;
    assert_non_null(text);
    assert_non_null(bytes);
    srand(7);
    while (n < 900000)
        n += (size_t)sprintf(text + n, "{\"n\":%d}\n", rand());
    FILE *f = fopen(gz_file("damaged.ndjson.gz", text, n), "rb");
    size_t size = fread(bytes, 1, 2000000, f);
    fclose(f);
    for (int kind = 0; kind < 2; kind++) {
        og_error err;
        ndjson_item item;
        og_status st;
        size_t count = 0;
        if (kind == 1)
            memset(bytes + size / 2, 0x55, 1000);
        ndjson_reader *r =
            open_at(file("cut.ndjson.gz", bytes, kind == 0 ? size / 2 : size), 0, 0, 0);
        og_error_init(&err);
        while ((st = ndjson_next(r, &item, &err)) == OG_OK) {
            if (kind == 0) /* damage in the middle shows in the content before the checksum tells */
                assert_memory_equal(item.text.p, text + item.byte, item.text.n);
            count++;
        }
        assert_int_equal(st, OG_IO);
        assert_true(count > 1000);
        if (kind == 0)
            assert_int_equal(err.line, count + 1);
        assert_true(err.text[0] != '\0');
        assert_non_null(strstr(err.origin, "cut.ndjson.gz"));
        ndjson_close(r);
    }
    free(text);
    free(bytes);
}

static void test_too_long(void **state)
{
    (void)state;
    enum { BIG = 300000, MAX = 200000 };
    char *text = malloc(BIG + 100);
    assert_non_null(text);
    memset(text, 'x', BIG + 100);
    memcpy(text, "{\"a\":1}\n", 8);
    text[8 + BIG] = '\n';
    memcpy(text + 9 + BIG, "{\"b\":2}\n", 8);
    ndjson_reader *r = open_at(file("long.ndjson", text, BIG + 17), 0, 0, MAX);
    expect(r, "{\"a\":1}", 1, 0, 8);
    ndjson_item item;
    og_error err;
    og_error_init(&err);
    assert_int_equal(ndjson_next(r, &item, &err), OG_LIMIT);
    assert_int_equal(item.line, 2);
    assert_int_equal(item.byte, 8);
    assert_int_equal(item.next, BIG + 9);
    assert_true(item.text.n > 1000 && item.text.n <= MAX);
    assert_int_equal(item.text.p[0], 'x');
    assert_int_equal(err.line, 2);
    expect(r, "{\"b\":2}", 3, BIG + 9, BIG + 17);
    expect_end(r);
    /* Exactly at the limit, with either line end and without one. */
    static const char *const ends[] = {"\n", "\r\n", ""};
    for (size_t i = 0; i < 3; i++) {
        memset(text, 'y', MAX + 10);
        memcpy(text + MAX, ends[i], strlen(ends[i]));
        r = open_at(file("limit.ndjson", text, MAX + strlen(ends[i])), 0, 0, MAX);
        assert_int_equal(ndjson_next(r, &item, NULL), OG_OK);
        assert_int_equal(item.text.n, MAX);
        expect_end(r);
        memset(text, 'y', MAX + 1);
        memcpy(text + MAX + 1, ends[i], strlen(ends[i]));
        r = open_at(file("over.ndjson", text, MAX + 1 + strlen(ends[i])), 0, 0, MAX);
        assert_int_equal(ndjson_next(r, &item, NULL), OG_LIMIT);
        expect_end(r);
    }
    /* A document over the limit: once, and nothing behind it. */
    memset(text, ' ', BIG);
    text[0] = '{';
    text[1] = '\n';
    text[BIG - 1] = '}';
    r = open_at(file("long.json", text, BIG), 0, 0, MAX);
    assert_int_equal(ndjson_next(r, &item, NULL), OG_LIMIT);
    assert_int_equal(item.line, 1);
    assert_int_equal(item.next, BIG);
    expect_end(r);
    free(text);
}

/* A line of many chunks comes whole, and the same for every way of falling into the window. */
static void test_long_lines_whole(void **state)
{
    (void)state;
    enum { TOTAL = 3 << 20 };
    char *text = malloc(TOTAL);
    assert_non_null(text);
    static const size_t sizes[] = {1, 65535, 65536, 65537, 131072, 1, 700000, 2, 1000000, 3};
    size_t n = 0;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        memset(text + n, (int)('a' + i), sizes[i]);
        n += sizes[i];
        text[n++] = '\n';
    }
    ndjson_reader *r = open_at(file("sizes.ndjson", text, n), 0, 0, 0);
    uint64_t at = 0;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        ndjson_item item;
        assert_int_equal(ndjson_next(r, &item, NULL), OG_OK);
        assert_int_equal(item.text.n, sizes[i]);
        assert_int_equal(item.byte, at);
        assert_memory_equal(item.text.p, text + at, sizes[i]);
        at += sizes[i] + 1;
    }
    expect_end(r);
    free(text);
}

static void test_files_that_are_none(void **state)
{
    (void)state;
    ndjson_reader *r = NULL;
    og_error err;
    og_error_init(&err);
    assert_int_equal(ndjson_open(in_dir("nothing"), 0, 0, 0, &r, &err), OG_NOTFOUND);
    assert_non_null(strstr(err.origin, "nothing"));
    og_error_init(&err);
    assert_int_equal(ndjson_open(dir, 0, 0, 0, &r, &err), OG_IO);
    ndjson_close(NULL);
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(dir) == NULL;
}

static int teardown(void **state)
{
    char command[300];
    (void)state;
    snprintf(command, sizeof(command), "rm -r %s", dir);
    return system(command); /* NOLINT(cert-env33-c): fixed text */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_forms_more),
        cmocka_unit_test(test_gzip),
        cmocka_unit_test(test_damaged_gzip),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_long_lines_whole),
        cmocka_unit_test(test_files_that_are_none),
    };
    return cmocka_run_group_tests_name("connectors_ndjson", tests, setup, teardown);
}
