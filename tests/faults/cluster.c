/* Brokers that go, answer with errors, or have other members in the group; and ends under load. */
#include "invariants.h"

#define PRODUCE       0 /* keys of Kafka's requests */
#define FETCH         1
#define OFFSET_COMMIT 8
#define HEARTBEAT     12

static bool some_cards(stage *s)
{
    return s->post_count >= 4;
}

/* ---- the broker ---- */

void broker_is_away(void)
{
    stage *s = stage_new();
    start_and_wait(s);
    (void)send_stream(s, 0, SIZE_MAX);
    for (int i = 0; i < 2; i++) {
        if (i == 0)
            wait_until(s, "some cards", some_cards);
        assert_int_equal(rd_kafka_mock_broker_set_down(s->kafka.cluster, 1),
                         RD_KAFKA_RESP_ERR_NO_ERROR);
        let_pass(s, 8000); /* longer than a session */
        assert_int_equal(rd_kafka_mock_broker_set_up(s->kafka.cluster, 1),
                         RD_KAFKA_RESP_ERR_NO_ERROR);
        wait_until(s, "rest", at_rest);
    }
    judge(s, NULL);
    check(s->repeats <= 16, "what was under way may come again, nothing else (%zu)", s->repeats);
    note("%zu requests came again", s->repeats);
    stage_free(s);
}

void broker_answers_with_errors(void)
{
    static const rd_kafka_resp_err_t produce[] = {
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE};
    static const rd_kafka_resp_err_t fetch[] = {RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                                                RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
                                                RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE};
    static const rd_kafka_resp_err_t commit[] = {
        RD_KAFKA_RESP_ERR_NOT_COORDINATOR_FOR_GROUP, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS};
    static const rd_kafka_resp_err_t beat[] = {RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
                                               RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
                                               RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION};
    stage *s = stage_new();
    start_and_wait(s);
    for (size_t i = 0; i < 4; i++) {
        (void)send_stream(s, i * 20, i * 20 + 20);
        rd_kafka_mock_push_request_errors_array(s->kafka.cluster, PRODUCE, 5, produce);
        rd_kafka_mock_push_request_errors_array(s->kafka.cluster, FETCH, 3, fetch);
        rd_kafka_mock_push_request_errors_array(s->kafka.cluster, OFFSET_COMMIT, 4, commit);
        rd_kafka_mock_push_request_errors_array(s->kafka.cluster, HEARTBEAT, i % 2 == 0 ? 3 : 0,
                                                beat);
        wait_until(s, "rest", at_rest);
        rd_kafka_mock_clear_request_errors(s->kafka.cluster, PRODUCE);
        rd_kafka_mock_clear_request_errors(s->kafka.cluster, FETCH);
    }
    judge(s, NULL);
    check(s->repeats <= 16, "what was under way may come again, nothing else (%zu)", s->repeats);
    stage_free(s);
}

/* ---- members ---- */

/* TERM in the middle of work: it ends well, and the next one goes on. */
void stopped_under_load(void)
{
    stage *s = stage_new();
    size_t next = 0;
    for (int i = 0; i < 5; i++) {
        size_t before = s->post_count;
        life l = life_begin(s, 0);
        next += send_stream(s, next, next + 15);
        life_wait(s, &l, "that it runs",
                  life_is_up); /* before, TERM ends it as it ends any process */
        for (int turn = 0; turn < 2000 && s->post_count < before + (size_t)i; turn++)
            let_pass(s, 10);
        life_stop(s, &l);
    }
    (void)send_stream(s, next, SIZE_MAX);
    judge(s, NULL);
    check(s->repeats == 0, "nothing was under way: nothing comes again (%zu)", s->repeats);
    stage_free(s);
}

static bool both_have_some(stage *s)
{
    return life_metric(s, 0, "osteoguard_partitions") > 0 &&
           life_metric(s, 1, "osteoguard_partitions") > 0 &&
           life_metric(s, 0, "osteoguard_restoring_partitions") == 0 &&
           life_metric(s, 1, "osteoguard_restoring_partitions") == 0;
}

static bool second_has_all(stage *s)
{
    return life_metric(s, 1, "osteoguard_partitions") == PARTITIONS &&
           life_metric(s, 1, "osteoguard_restoring_partitions") == 0;
}

/* One of two stands still for longer than its session lasts, the other takes over; then it wakes
 * and believes for a moment that everything is still its own. */
void frozen_and_replaced(void)
{
    stage *s = stage_new();
    life a = life_begin(s, 0), b = life_begin(s, 1);
    (void)send_stream(s, 0, 30);
    life_wait(s, &b, "both work", both_have_some);
    kill(a.pid, SIGSTOP);
    (void)send_stream(s, 30, 60);
    life_wait(s, &b, "the second has all", second_has_all);
    kill(a.pid, SIGCONT);
    (void)send_stream(s, 60, SIZE_MAX);
    life_wait(s, &b, "both work", both_have_some);
    life_stop(s, &a);
    life_wait(s, &b, "the second has all", second_has_all);
    if (!life_comes_to_rest(s, &b))
        fail_msg("the second died");
    life_stop(s, &b);
    judge(s, NULL);
    check(s->repeats <= 16, "what was under way may come again, nothing else (%zu)", s->repeats);
    note("%zu requests came again", s->repeats);
    stage_free(s);
}

/* A second and a third one join, leave and die while events come. */
void members_come_and_go(void)
{
    uint64_t seed = 7;
    stage *s = stage_new();
    size_t next = 0;
    life first = life_begin(s, 0);
    for (int i = 0; i < 20; i++) {
        life l = life_begin(s, 1 + i % 2);
        next += send_stream(s, next, next + 3);
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        let_pass(s, 500 + (int64_t)(seed >> 33) % 9000);
        if (seed >> 63 != 0)
            (void)life_end(s, &l, 0);
        else
            life_stop(s, &l);
    }
    (void)send_stream(s, next, SIZE_MAX);
    if (!life_comes_to_rest(s, &first))
        fail_msg("the first died");
    life_stop(s, &first);
    judge(s, NULL);
    note("20 came and went, %zu requests came again", s->repeats);
    stage_free(s);
}
