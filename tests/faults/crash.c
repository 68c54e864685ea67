/* The daemon dies at every place of the table of crash points (STREAM 3.9), one after the other, on
 * one broker and one store, while events come; then, in a long run, at random moments. After each
 * death the next one takes over. */
#include "invariants.h"

#include "daemon/crash.h"

#define RUNS       200 /* random deaths of a long run */
#define LATEST     10  /* pass of a place at which a long run dies too */
#define UNDER_WAY  16  /* deliveries: 8 requests out, 8 receipts on their way to the topic */
#define MESSAGES   14  /* that come before a death */
#define PATIENT_MS 20000

static const char *const names[] = {
#define X(id, name) name,
    CRASH_MAP(X)
#undef X
};

/* Only when requests were under way may they come again in numbers. */
static bool may_repeat(crash_place place)
{
    return place == CRASH_POSTED || place == CRASH_ANSWERED || place == CRASH_RECEIPT ||
           place == CRASH_POLLED;
}

static const char late_one[] =
    "{\"resourceType\":\"Patient\",\"id\":\"late\",\"meta\":{\"lastUpdated\":"
    "\"2026-01-0%dT00:00:00Z\"},\"gender\":\"male\"}";

/* The newer version first: the owner has to write it again. */
static void send_out_of_order(stage *s)
{
    for (int day = 2; day >= 1; day--) {
        char text[256];
        int n = snprintf(text, sizeof text, late_one, day);
        mock_kafka_put(&s->kafka, "fhir.bundle", 0, NULL, text, (size_t)n);
        s->sent++;
    }
}

/* A patient who is merged into one of the sample's, and what names it. */
static void send_merged(stage *s)
{
    static const char *const texts[] = {
        "{\"resourceType\":\"MedicationRequest\",\"id\":\"retired-1\",\"status\":\"active\","
        "\"intent\":\"order\",\"subject\":{\"reference\":\"Patient/retired\"},"
        "\"medicationCodeableConcept\":{\"coding\":[{\"system\":\"http://www.whocc.no/atc\","
        "\"code\":\"M05BX04\"}]}}",
        "{\"resourceType\":\"Patient\",\"id\":\"retired\",\"link\":[{\"type\":\"replaced-by\","
        "\"other\":{\"reference\":\"Patient/sample-01\"}}]}"};
    for (size_t i = 0; i < 2; i++) {
        mock_kafka_put(&s->kafka, "fhir.bundle", 0, NULL, texts[i], strlen(texts[i]));
        s->sent++;
    }
}

static void send_what_it_takes(stage *s, crash_place place)
{
    if (place == CRASH_SWEPT)
        s->later = true;
    if (place == CRASH_POISON) {
        mock_kafka_put(&s->kafka, "fhir.bundle", 0, NULL, "{", 1);
        s->sent++;
    }
    if (place == CRASH_REASSERTED)
        send_out_of_order(s);
    if (place == CRASH_ERRAND)
        send_merged(s);
}

static void die_at(stage *s, crash_place place, int pass, size_t *next)
{
    char at[64];
    size_t repeats = s->repeats;
    snprintf(at, sizeof at, "%s:%d", names[place], pass);
    setenv("CRASH_AT", at, 1);
    life l = life_begin(s, 0);
    *next += send_stream(s, *next, *next + MESSAGES);
    send_what_it_takes(s, place);
    bool died =
        life_end(s, &l, PATIENT_MS) && WIFEXITED(l.status) && WEXITSTATUS(l.status) == CRASH_STATUS;
    unsetenv("CRASH_AT");
    printf("%-12s pass %-2d %s, %zu requests again\n", names[place], pass,
           died ? "died there" : "not reached", s->repeats - repeats);
    fflush(stdout);
    if (!may_repeat(place) && pass == 1)
        check(s->repeats - repeats <= UNDER_WAY, "I4: nothing was under way but %d deliveries (%s)",
              UNDER_WAY, at);
    check(died || pass > 1, "the point is reached: %s", at);
}

/* Every third place, beginning with `first`. */
static void die_at_every_third(int first, bool disk_goes)
{
    stage *s = stage_new();
    size_t next = send_stream(s, 0, 6);
    int deaths = 0;
    for (int pass = 1; pass <= (is_long() ? LATEST : 1); pass += LATEST - 1) {
        for (int place = first; place < CRASH_PLACES; place += 3) {
            die_at(s, (crash_place)place, pass, &next);
            deaths++;
            if (disk_goes)
                remove_stores(s);
        }
    }
    (void)send_stream(s, next, SIZE_MAX);
    judge(s, NULL);
    note("%d deaths, %zu requests came again", deaths, s->repeats);
    stage_free(s);
}

void crash_early(void)
{
    die_at_every_third(0, false);
}

void crash_middle(void)
{
    die_at_every_third(1, false);
}

void crash_without_disk(void)
{
    die_at_every_third(2, true);
}

void crash_at_random(void)
{
    uint64_t seed = 20260301;
    stage *s = stage_new();
    size_t next = 0;
    for (int run = 0; run < RUNS; run++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        life l = life_begin(s, 0);
        if (run % 3 == 0)
            next += send_stream(s, next, next + 1);
        (void)life_end(s, &l, 50 + (int64_t)(seed >> 33) % 6000);
    }
    (void)send_stream(s, next, SIZE_MAX);
    judge(s, NULL);
    note("%d deaths, %zu requests came again", RUNS, s->repeats);
    stage_free(s);
}
