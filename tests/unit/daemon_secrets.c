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

static og_error first;

static void keep_first(void *ctx, const og_error *err)
{
    (void)ctx;
    if (first.status == OG_OK)
        first = *err;
}

static og_status parse(const char *path, config **ret)
{
    char text[512];
    og_report report = {keep_first, NULL, 0};
    og_error_init(&first);
    snprintf(text, sizeof text,
             "kafka:\n  properties: {sasl.username: file, sasl.password: 'file:%s'}\n"
             "endpoints:\n  ehr:\n    url: http://localhost:1/cards\n",
             path);
    return config_parse(og_str_of(text), "test.yaml", NULL, ret, &report, NULL);
}

static void test_value_is_read_from_the_file(void **state)
{
    (void)state;
    char path[] = "/tmp/osteoguard_secret.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(file_write(path, OG_STR("pass word: x\r\n"), NULL), OG_OK);

    config *c = NULL;
    config_map m;
    assert_int_equal(parse(path, &c), OG_OK);
    assert_int_equal(config_kafka(c, true, &m, NULL), OG_OK);
    assert_string_equal(value_of(&m, "sasl.password"), "pass word: x");
    assert_string_equal(value_of(&m, "sasl.username"), "file");
    config_free(c);
    unlink(path);
}

static void test_missing_file_is_named(void **state)
{
    (void)state;
    config *c = NULL;
    assert_int_not_equal(parse("/nonexistent/osteoguard-secret", &c), OG_OK);
    assert_null(c);
    char text[1024];
    og_error_format(&first, text, sizeof text);
    assert_non_null(strstr(text, "/nonexistent/osteoguard-secret"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_value_is_read_from_the_file),
        cmocka_unit_test(test_missing_file_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
