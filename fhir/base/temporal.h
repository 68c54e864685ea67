/* Calendar and clock values with their precision: FHIR date, dateTime, instant, time and CQL Date,
 * DateTime, Time share them. Proleptic Gregorian, years 0001-9999. */
#ifndef OG_BASE_TEMPORAL_H
#define OG_BASE_TEMPORAL_H

#include "fhir/base/text.h"

typedef enum og_precision {
    OG_YEAR = 1,
    OG_MONTH,
    OG_DAY,
    OG_HOUR,
    OG_MINUTE,
    OG_SECOND,
    OG_MILLISECOND
} og_precision;

typedef struct og_temporal {
    uint8_t precision;  /* og_precision of the finest known component */
    uint8_t has_offset; /* offset_min is meaningful */
    int16_t offset_min; /* minutes east of UTC */
    int16_t year;       /* 0 for a Time */
    uint8_t month, day, hour, minute, second;
    uint16_t ms;
} og_temporal;

/* FHIR dateTime/date/instant (R4 datatypes.html, strict; 24:00 refused; fractions of any length are
 * truncated to ms; the leap second :60, which R4 allows, becomes :59) - false when it is none. */
bool og_temporal_parse_fhir(og_str s, og_temporal *ret);
/* FHIR / CQL time hh:mm[:ss[.fff]]; precision as written. */
bool og_temporal_parse_time(og_str s, og_temporal *ret);
/* ISO text as far as the precision goes, offset as +hh:mm when there is one; returns length (< 40).
 */
size_t og_temporal_format(const og_temporal *t, char out[48]);

/* Days since 1970-01-01 and back. */
int64_t og_days_from_civil(int year, int month, int day);
void og_civil_from_days(int64_t days, int *ret_year, int *ret_month, int *ret_day);
int og_days_in_month(int year, int month);
/* Milliseconds since 1970-01-01T00:00Z of the earliest and the latest instant that t can mean; a
 * value without offset uses default_offset_min. */
int64_t og_temporal_earliest_ms(const og_temporal *t, int default_offset_min);
int64_t og_temporal_latest_ms(const og_temporal *t, int default_offset_min);
/* The DateTime with ms precision and offset at an instant; beyond the years 0001-9999 their first
 * or last. */
og_temporal og_temporal_at(int64_t ms_since_epoch, int offset_min);

#endif
