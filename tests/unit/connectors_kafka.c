/* What the Kafka connectors decide without a broker: which properties they take, and where a key
 * goes. */
#include "connectors/kafka.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static og_status check(const char *name, const char *value, bool consumer, og_error *err)
{
    const kafka_property p = {name, value};
    og_error_init(err);
    return kafka_properties_check(&p, 1, consumer, err);
}

static void test_properties(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value;
        bool consumer, good;
    } cases[] = {
        {"bootstrap.servers", "a:1,b:2", true, true},
        {"security.protocol", "SSL", true, true},
        {"security.protocol", "maybe", true, false},
        {"no.such.property", "1", true, false},
        {"session.timeout.ms", "6000", true, true},
        {"session.timeout.ms", "soon", true, false},
        {"group.instance.id", "osteoguard-0", true, true},
        /* What a promise rests on may be repeated, not changed. */
        {"partition.assignment.strategy", "range", true, true},
        {"partition.assignment.strategy", "cooperative-sticky", true, false},
        {"partition.assignment.strategy", "range,roundrobin", true, false},
        {"enable.auto.commit", "true", true, false},
        {"enable.auto.offset.store", "true", true, false},
        {"auto.offset.reset", "latest", true, false},
        {"auto.offset.reset", "error", true, true},
        {"enable.idempotence", "false", false, false},
        {"enable.idempotence", "TRUE", false, true},
        {"acks", "1", false, false},
        {"acks", "-1", false, true},
        {"request.required.acks", "all", false, true},
        {"request.required.acks", "0", false, false},
        {"partitioner", "random", false, false},
        {"transactional.id", "x", false, false},
        {"linger.ms", "20", false, true},
        {"delivery.timeout.ms", "60000", false, true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        og_error err;
        og_status st = check(cases[i].name, cases[i].value, cases[i].consumer, &err);
        if ((st == OG_OK) != cases[i].good)
            fail_msg("%s=%s: %s", cases[i].name, cases[i].value, err.text);
        if (st != OG_OK) {
            assert_int_equal(st, OG_INVALID);
            assert_non_null(strstr(err.text, cases[i].name));
        }
    }
}

static void test_a_password_stays_out_of_errors(void **state)
{
    (void)state;
    og_error err;
    const kafka_property p[] = {{"sasl.password", "hunter2"}, {"nonsense", "hunter2"}};
    og_error_init(&err);
    assert_int_equal(kafka_properties_check(p, 2, true, &err), OG_INVALID);
    assert_null(strstr(err.text, "hunter2"));
}

static void test_options_are_checked(void **state)
{
    (void)state;
    uv_loop_t loop;
    kafka_source *s = NULL;
    kafka_sink *k = NULL;
    og_error err;
    const char *const topics[] = {"a", ""};
    const kafka_property group[] = {{"group.id", "other"}};
    const kafka_source_options bad[] = {
        {.mode = KAFKA_SOURCE_GROUP, .topics = topics, .topic_count = 1},
        {.mode = KAFKA_SOURCE_GROUP, .group = "g"},
        {.mode = KAFKA_SOURCE_GROUP, .group = "g", .topics = topics, .topic_count = 2},
        {.mode = KAFKA_SOURCE_READER, .group = "g", .properties = group, .property_count = 1},
    };
    uv_loop_init(&loop);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        og_error_init(&err);
        assert_int_equal(kafka_source_new(&loop, &bad[i], &s, &err), OG_INVALID);
        assert_true(err.text[0] != '\0');
    }
    const kafka_property acks[] = {{"acks", "0"}};
    og_error_init(&err);
    const kafka_sink_options o = {.properties = acks, .property_count = 1};
    assert_int_equal(kafka_sink_new(&loop, &o, &k, &err), OG_INVALID);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* Hashes as in Apache Kafka's own UtilsTest: every client must find the same partition. */
static void test_partition_of_a_key(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        int32_t murmur2;
    } cases[] = {{"21", -973932308},
                 {"foobar", -790332482},
                 {"a-little-bit-long-string", -985981536},
                 {"a-little-bit-longer-string", -1486304829},
                 {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
                 {"abc", 479470107}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int32_t n = 1; n < 50; n++)
            assert_int_equal(kafka_partition_for(og_str_of(cases[i].key), n),
                             (cases[i].murmur2 & 0x7fffffff) % n);
    }
    assert_int_equal(kafka_partition_for((og_str){NULL, 0}, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_properties),
        cmocka_unit_test(test_a_password_stays_out_of_errors),
        cmocka_unit_test(test_options_are_checked),
        cmocka_unit_test(test_partition_of_a_key),
    };
    return cmocka_run_group_tests_name("connectors_kafka", tests, NULL, NULL);
}
