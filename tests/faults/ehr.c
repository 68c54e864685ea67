/* What an EHR can do to those who deliver to it. */
#include "invariants.h"

#include <arpa/inet.h>
#include <netdb.h>

#include "metric_says.h"
#include "rough_ehr.h"

#define HOUR_MS       3600000
#define RETRY_AFTER_S 2
#define TIMEOUT_MS    700
#define LONG_MS       100000 /* no timeout has a part in this */

static const rough_step take_all = {.act = ROUGH_TAKE};
static const rough_step away = {.act = ROUGH_ANSWER, .status = 503}; /* its gateway says so */

static void take_for_stage(void *ctx, const char *key, og_str body)
{
    take_post(ctx, key, body);
}

/* The stage's only EHR is this one. */
static rough_ehr *rough_for(stage *s, const char *host, int max_in_flight)
{
    static char endpoints[256];
    rough_ehr *e = rough_new(&s->loop, take_for_stage, s);
    snprintf(endpoints, sizeof endpoints,
             "ehr: {url: \"http://%s:%d/cards\", timeout_ms: %d, max_in_flight: %d}", host,
             rough_port(e), TIMEOUT_MS, max_in_flight);
    s->endpoints = endpoints;
    rough_play(e, NULL, 0, take_all);
    return e;
}

static size_t requests_of(const rough_ehr *e)
{
    size_t n;
    (void)rough_requests(e, &n);
    return n;
}

static rough_ehr *seen;
static size_t wanted_requests;

static bool were_asked(stage *s)
{
    (void)s;
    return requests_of(seen) >= wanted_requests;
}

static void wait_for_requests(stage *s, rough_ehr *e, size_t n)
{
    seen = e;
    wanted_requests = n;
    wait_until(s, "requests", were_asked);
}

/* ---- one failure after the other ---- */

#define STATUS(n)                                                                                  \
    {                                                                                              \
        .act = ROUGH_ANSWER, .status = (n)                                                         \
    }

/* Each once; what is taken all the same comes again with its old key. */
static const rough_step every_way[] = {
    STATUS(500),
    STATUS(502),
    STATUS(503),
    STATUS(504),
    STATUS(408),
    STATUS(425),
    STATUS(401),
    STATUS(404),
    {.act = ROUGH_CLOSE},
    {.act = ROUGH_HALF},
    {.act = ROUGH_TAKE_CLOSE},
    {.act = ROUGH_TAKE_HALF},
    {.act = ROUGH_HANG},
    {.act = ROUGH_ANSWER, .status = 429, .header = "Retry-After: nonsense"},
    {.act = ROUGH_ANSWER, .status = 429, .header = "Retry-After: 2"},
};
#define WAYS (sizeof every_way / sizeof every_way[0])

static bool all_is_evaluated(stage *s)
{
    return is_gathered(s) && is_applied(s) && is_reviewed(s);
}

void ehr_fails_in_every_way(void)
{
    size_t n;
    stage *s = stage_new();
    rough_ehr *e = rough_for(s, "127.0.0.1", 1); /* one at a time: each failure is seen alone */
    rough_play(e, NULL, 0, away);
    start_and_wait(s);
    (void)send_stream(s, 0, SIZE_MAX);
    wait_until(s, "the rules", all_is_evaluated); /* nothing new comes between two attempts */
    size_t before = requests_of(e);
    rough_play(e, every_way, WAYS, take_all);
    wait_for_requests(s, e, before + WAYS + 1);
    const rough_request *r = rough_requests(e, &n) + before;
    int64_t waited_ms = r[WAYS].at_ms - r[WAYS - 1].at_ms;
    check(waited_ms >= RETRY_AFTER_S * 1000, "Retry-After: %d is waited for (%lld ms)",
          RETRY_AFTER_S, (long long)waited_ms);
    wait_until(s, "what waits has come", is_quiet); /* before the day that judges ends an alert */
    check(s->repeats == 2, "what had been taken came again, nothing else (%zu times)", s->repeats);
    judge(s, NULL);
    check(s->repeats == 2, "and nothing since (%zu times)", s->repeats);
    check(metric_value(METRIC_OUTBOX_PARKED) == 0, "nothing is given up");
    note("%zu ways to fail", WAYS);
    stop(s);
    rough_free(e, s);
    stage_free(s);
}

/* ---- 500 for everybody ---- */

static bool says_failing(stage *s)
{
    serve__set_gauges(s->at[0].serve);
    return metric_says("osteoguard_endpoint_failing{endpoint=\"ehr\"} 1\n");
}

static bool is_probed(stage *s)
{
    return requests_of(seen) >= wanted_requests && says_failing(s);
}

/* Nobody's card is tried for itself then: one goes at a time, and when it is taken all do. */
void ehr_takes_nothing(void)
{
    static const rough_step broken = STATUS(500);
    stage *s = stage_new();
    rough_ehr *e = rough_for(s, "127.0.0.1", 8);
    s->outbox_patients = 1000;
    rough_play(e, NULL, 0, broken);
    start_and_wait(s);
    (void)send_stream(s, 0, SIZE_MAX);
    wait_until(s, "the EHR is said to be failing", says_failing);
    size_t before = requests_of(e); /* how many, depends on how fast the first patients come */
    wait_until(s, "the rules", all_is_evaluated);
    seen = e;
    wanted_requests = requests_of(e) + 20;
    wait_until(s, "probes", is_probed);
    check(s->post_count == 0, "nothing has been taken");
    rough_play(e, NULL, 0, take_all);
    judge(s, NULL);
    check(!says_failing(s), "it is not failing any more");
    check(s->repeats == 0, "nothing came twice");
    note("%zu requests before it was failing, %zu cards came then", before, s->post_count);
    stop(s);
    rough_free(e, s);
    stage_free(s);
}

/* ---- taken, and the answer breaks off ---- */

#define THE_ONE "\"patientId\":\"sample-11\""

static bool one_is_in_doubt(stage *s)
{
    return count_posts(s, THE_ONE) > 0 && all_is_evaluated(s);
}

static bool its_alert_has_ended(stage *s)
{
    return has_d3_by_clock(s) && all_is_evaluated(s);
}

static size_t withdrawn_of_the_one(const stage *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->post_count; i++)
        n += strstr(s->posts[i].body, THE_ONE) != NULL &&
             strstr(s->posts[i].body, "\"retracts\"") != NULL;
    return n;
}

/* What says that it is taken and then breaks off has perhaps not been taken, and perhaps it has:
 * when the alert ends meanwhile, the EHR must hear of that. */
void ehr_breaks_off(void)
{
    static const rough_step half = {.act = ROUGH_TAKE_HALF, .only = THE_ONE};
    stage *s = stage_new();
    rough_ehr *e = rough_for(s, "127.0.0.1", 8);
    rough_play(e, NULL, 0, half);
    start_and_wait(s);
    (void)send_stream(s, 0, SIZE_MAX);
    wait_until(s, "an answer that broke off", one_is_in_doubt);
    check(withdrawn_of_the_one(s) == 0, "nothing of it is withdrawn yet");
    s->now_ms = AFTER_MIDNIGHT;
    wait_until(s, "the end of its alert", its_alert_has_ended);
    rough_play(e, NULL, 0, take_all);
    judge(s, NULL);
    check(withdrawn_of_the_one(s) > 0, "what may be there is withdrawn");
    note("%zu requests came again", s->repeats);
    stop(s);
    rough_free(e, s);
    stage_free(s);
}

/* ---- a card that is refused for good ---- */

static bool is_parked(stage *s)
{
    uint64_t parked = 0;
    for (int i = 0; i < PARTITIONS; i++)
        parked += s->at[0].serve->partitions[i].parked;
    return parked > 0 && is_quiet(s);
}

/* One patient's card is refused; the others', and the patient's other ones, get theirs. When
 * somebody has mended the cause, the next start delivers it. */
void ehr_refuses_a_card(void)
{
    static const int refusals[] = {400, 413, 422};
    stage *s = stage_new();
    rough_ehr *e = rough_for(s, "127.0.0.1", 8);
    for (size_t i = 0; i < 3; i++) {
        rough_step refuse = {
            .act = ROUGH_ANSWER, .status = refusals[i], .only = "\"patientId\":\"sample-07\""};
        rough_play(e, NULL, 0, refuse);
        start_and_wait(s);
        if (i == 0)
            (void)send_stream(s, 0, SIZE_MAX);
        wait_until(s, "a card given up", is_parked);
        check(count_posts(s, "\"patientId\":\"sample-07\"") == 0, "nothing of the refused came");
        check(s->post_count > 10, "the others came: %zu", s->post_count);
        stop(s);
    }
    rough_play(e, NULL, 0, take_all);
    judge(s, NULL);
    check(count_posts(s, "\"patientId\":\"sample-07\"") > 0, "mended, it came");
    check(s->repeats == 0, "nothing came twice");
    stop(s);
    rough_free(e, s);
    stage_free(s);
}

/* ---- away for an hour ---- */

static struct {
    post at[512];
    size_t count;
} late;

static void take_late(void *ctx, const char *key, og_str body)
{
    (void)ctx;
    assert_true(late.count < 512);
    late.at[late.count++] = (post){strdup(key), strndup(body.p, body.n)};
}

static void forget_late(void)
{
    for (size_t i = 0; i < late.count; i++) {
        free(late.at[i].key);
        free(late.at[i].body);
    }
}

static bool others_have_all(stage *s)
{
    return s->post_count > 10 && all_is_evaluated(s) &&
           outbox_pending(s->at[0].serve->outbox, 0) == 0;
}

static bool late_one_has_all(stage *s)
{
    return late.count > 0 && at_rest(s);
}

/* One EHR is away while the other works; the first gets in the end what is still so, once, and
 * nothing of what came and went meanwhile. */
void ehr_is_away_for_an_hour(void)
{
    static char endpoints[256];
    stage *s = stage_new();
    rough_ehr *e = rough_new(&s->loop, take_late, NULL);
    snprintf(endpoints, sizeof endpoints,
             "ehr: {url: \"http://127.0.0.1:%d/cards\"}, "
             "away: {url: \"http://127.0.0.1:%d/cards\", timeout_ms: %d}",
             http_server_port(s->ehr), rough_port(e), LONG_MS);
    s->endpoints = endpoints;
    rough_play(e, NULL, 0, away);
    start_and_wait(s);
    for (size_t line = 0; line < 80; line += 20) {
        (void)send_stream(s, line, line + 20);
        wait_until(s, "the other EHR has everything", others_have_all);
    }
    s->now_ms += HOUR_MS;
    wait_until(s, "the other EHR has everything", others_have_all);
    check(has_d3_by_clock(s), "also what came by the clock");
    size_t asked = requests_of(e);
    check(late.count == 0, "who is away has nothing");
    stop(s); /* what waits is in the store */
    start_and_wait(s);
    rough_play(e, NULL, 0, take_all);
    wait_until(s, "who was away has everything", late_one_has_all);
    ledger l = {"away", late.at, late.count};
    judge_cards(s, &l, 1);
    judge_ledger(&l);
    size_t cards = 0;
    for (size_t i = 0; i < late.count; i++)
        cards += strncmp(late.at[i].body, "{\"cards\":[{", 11) == 0;
    check(cards == late.count, "nothing is withdrawn that was never told (%zu of %zu)", cards,
          late.count);
    check(late.count < s->post_count, "what came and went meanwhile is not told");
    judge(s, NULL);
    note("%zu attempts while away, then %zu cards; the other had %zu posts", asked, late.count,
         s->post_count);
    forget_late();
    stop(s);
    rough_free(e, s);
    stage_free(s);
}

/* ---- answers that do not end ---- */

#define AT_A_TIME  3                 /* deliveries under way to one EHR */
#define MOST_BYTES ((size_t)8 << 20) /* of a body that never ends, with what sockets hold */

static bool all_is_stuck(stage *s)
{
    (void)s;
    return requests_of(seen) == AT_A_TIME + 1 && rough_endless_bytes(seen) > 0;
}

/* One EHR hangs, sends a byte now and then, or sends without end, on everything that may be under
 * way to it; the other has all its cards before anything of that has ended. */
void ehr_answers_without_end(void)
{
    static const rough_step without_end[] = {
        {.act = ROUGH_HANG}, {.act = ROUGH_DRIP}, {.act = ROUGH_ENDLESS}};
    static const rough_step hang = {.act = ROUGH_HANG};
    static char endpoints[256];
    stage *s = stage_new();
    rough_ehr *e = rough_new(&s->loop, take_late, NULL);
    snprintf(endpoints, sizeof endpoints,
             "ehr: {url: \"http://127.0.0.1:%d/cards\"}, "
             "slow: {url: \"http://127.0.0.1:%d/cards\", timeout_ms: %d, max_in_flight: %d}",
             http_server_port(s->ehr), rough_port(e), LONG_MS, AT_A_TIME);
    s->endpoints = endpoints;
    rough_play(e, without_end, AT_A_TIME, hang);
    start_and_wait(s);
    (void)send_stream(s, 0, SIZE_MAX);
    seen = e;
    wait_until(s, "that nothing moves", all_is_stuck);
    size_t bytes = rough_endless_bytes(e);
    check(bytes <= MOST_BYTES, "a body without end is ended: after %zu bytes", bytes);
    s->now_ms = AFTER_MIDNIGHT;
    wait_until(s, "the other EHR has everything", others_have_all);
    check(has_d3_by_clock(s), "also what came by the clock");
    check(rough_callers(e) == AT_A_TIME && requests_of(e) == AT_A_TIME + 1 && late.count == 1,
          "all that while the slow one has held %zu of %d, and taken one", rough_callers(e),
          AT_A_TIME);
    rough_play(e, NULL, 0, take_all);
    rough_hang_up(e);
    wait_until(s, "who was slow has everything", late_one_has_all);
    ledger l = {"slow", late.at, late.count};
    judge_cards(s, &l, 1);
    judge_ledger(&l);
    judge(s, NULL);
    check(s->repeats == 0, "nothing came twice");
    note("the body without end: %zu bytes", bytes);
    forget_late();
    stop(s);
    rough_free(e, s);
    stage_free(s);
}

/* ---- its name is gone ---- */

#define NAME "ehr.hospital.test"

static bool name_is_gone;
static int asked_for_name;

/* In place of the C library's, for the whole program: this name is what the scenario says, all
 * others are numbers. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret)
{
    struct sockaddr_in *to;
    if (node != NULL && strcmp(node, NAME) == 0) {
        __atomic_add_fetch(&asked_for_name, 1, __ATOMIC_RELAXED);
        if (__atomic_load_n(&name_is_gone, __ATOMIC_RELAXED))
            return EAI_AGAIN;
        node = "127.0.0.1";
    }
    struct addrinfo *a = calloc(1, sizeof *a + sizeof *to);
    if (a == NULL)
        return EAI_MEMORY;
    to = (struct sockaddr_in *)(a + 1);
    to->sin_family = AF_INET;
    to->sin_port = htons((uint16_t)(service != NULL ? atoi(service) : 0));
    if (inet_pton(AF_INET, node != NULL ? node : "127.0.0.1", &to->sin_addr) != 1) {
        free(a);
        return EAI_NONAME;
    }
    *a = (struct addrinfo){
        .ai_family = AF_INET,
        .ai_socktype = hints != NULL && hints->ai_socktype != 0 ? hints->ai_socktype : SOCK_STREAM,
        .ai_protocol = hints != NULL ? hints->ai_protocol : 0,
        .ai_addrlen = sizeof *to,
        .ai_addr = (struct sockaddr *)to};
    *ret = a;
    return 0;
}

void freeaddrinfo(struct addrinfo *a)
{
    free(a);
}

static bool name_was_asked(stage *s)
{
    (void)s;
    return __atomic_load_n(&asked_for_name, __ATOMIC_RELAXED) >= 5;
}

void ehr_has_no_name(void)
{
    stage *s = stage_new();
    rough_ehr *e = rough_for(s, NAME, 8);
    name_is_gone = true;
    start_and_wait(s);
    (void)send_stream(s, 0, SIZE_MAX);
    wait_until(s, "the name asked for again and again", name_was_asked);
    check(requests_of(e) == 0 && s->post_count == 0, "nothing went anywhere");
    __atomic_store_n(&name_is_gone, false, __ATOMIC_RELAXED);
    judge(s, NULL);
    check(s->repeats == 0, "nothing came twice");
    note("asked %d times", asked_for_name);
    stop(s);
    rough_free(e, s);
    stage_free(s);
}
