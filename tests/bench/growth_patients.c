/* The patients that bench_growth makes out of those of the sample stream. */
#include "growth.h"

#include <string.h>

#include "connectors/ndjson.h"

/* The first Bundle of each patient of the stream. */
void patients_read(bench *b, const char *path)
{
    ndjson_reader *r;
    ndjson_item item;
    og_error err;
    og_error_init(&err);
    if (ndjson_open(path, 0, 0, 0, &r, &err) != OG_OK)
        die(path, err.text);
    while (ndjson_next(r, &item, &err) == OG_OK && b->pattern_count < MAX_PATTERNS) {
        if (item.text.n < 3000) /* a later event, not a patient's beginning */
            continue;
        b->patterns[b->pattern_count++] = strndup(item.text.p, item.text.n);
    }
    ndjson_close(r);
    if (b->pattern_count == 0)
        die(path, "no patient in it");
}

/* Scattered, and the same from run to run. */
static uint32_t name_of(uint32_t n)
{
    return n * 2654435761u;
}

/* The pattern with other ids: every "sample-" becomes the patient's own prefix. */
og_str patients_bundle(bench *b, uint32_t n)
{
    static const char mark[] = "sample-";
    const char *at = b->patterns[n % b->pattern_count], *hit;
    og_buf_clear(&b->text);
    while ((hit = strstr(at, mark)) != NULL) {
        og_buf_add(&b->text, at, (size_t)(hit - at));
        og_buf_addf(&b->text, "g%08x-", name_of(n));
        at = hit + sizeof mark - 1;
    }
    og_buf_addz(&b->text, at);
    return og_buf_str(&b->text);
}

/* Whose number in the pattern it is: "g01234567-07". */
static void patient_id(const bench *b, uint32_t n, char out[32])
{
    const char *at = strstr(b->patterns[n % b->pattern_count], "sample-");
    int length = at != NULL ? (int)strspn(at + 7, "0123456789") : 0;
    snprintf(out, 32, "g%08x-%.*s", name_of(n), length, length > 0 ? at + 7 : "");
}

/* A value that is another one with each version. */
og_str patients_creatinine(bench *b, uint32_t n, uint32_t version)
{
    char id[32];
    patient_id(b, n, id);
    og_buf_clear(&b->text);
    og_buf_addf(
        &b->text,
        "{\"resourceType\":\"Observation\",\"id\":\"%s-new\",\"meta\":{\"versionId\":\"%u\","
        "\"lastUpdated\":\"2026-02-28T%02u:%02u:%02uZ\"},\"status\":\"final\",\"code\":{"
        "\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"2160-0\"}]},\"subject\":{"
        "\"reference\":\"Patient/%s\"},\"effectiveDateTime\":\"2026-02-28\","
        "\"valueQuantity\":{\"value\":%s,\"unit\":\"mg/dL\",\"system\":"
        "\"http://unitsofmeasure.org\",\"code\":\"mg/dL\"}}",
        id, version + 1, 7 + version / 3600 % 12, version / 60 % 60, version % 60, id,
        version % 2 == 0 ? "0.8" : "1.9");
    return og_buf_str(&b->text);
}
