/* Secrets stand in files, not in the configuration: `file:PATH` as a Kafka property's value. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/config.h"
#include "daemon/file.h"

static const char *value_of(const config_map *m, const char *name)
{
    for (size_t i = 0; i < m->count; i++)
        if (strcmp(m->at[i].name, name) == 0)
            return m->at[i].value;
    return NULL;
}

static config *parse(const char *path)
{
    char text[512];
    config *c = NULL;
    snprintf(text, sizeof text,
             "kafka:\n  properties: {sasl.username: file, sasl.password: 'file:%s'}\n"
             "endpoints:\n  ehr:\n    url: http://localhost:1/cards\n",
             path);
    assert_int_equal(config_parse(og_str_of(text), "test.yaml", NULL, &c, NULL, NULL), OG_OK);
    return c;
}

static void test_value_is_read_from_the_file(void **state)
{
    (void)state;
    char path[] = "/tmp/osteoguard_secret.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(file_write(path, OG_STR("pass word: x\r\n"), NULL), OG_OK);

    config *c = parse(path);
    config_map m;
    assert_int_equal(config_kafka(c, true, &m, NULL), OG_OK);
    assert_string_equal(value_of(&m, "sasl.password"), "pass word: x");
    assert_string_equal(value_of(&m, "sasl.username"), "file");
    config_free(c);
    unlink(path);
}

static void test_missing_file_is_named(void **state)
{
    (void)state;
    config *c = parse("/nonexistent/osteoguard-secret");
    config_map m = {NULL, 0};
    og_error err;
    og_error_init(&err);
    assert_int_equal(config_kafka(c, false, &m, &err), OG_NOTFOUND);
    assert_string_equal(err.origin, "/nonexistent/osteoguard-secret");
    assert_null(m.at);
    config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_value_is_read_from_the_file),
        cmocka_unit_test(test_missing_file_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
