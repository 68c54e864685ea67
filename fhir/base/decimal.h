/* CQL and FHIR decimals: exact, 28 digits, 8 places. A 128-bit integer scaled by 10^8, exact in
 * every intermediate result. CQL 1.5 Appendix B: range +-(10^28-1)/10^8, step 10^-8, overflow is
 * null (here: false). No binary floating point is stored anywhere. */
#ifndef OG_BASE_DECIMAL_H
#define OG_BASE_DECIMAL_H

#include "fhir/base/text.h"

typedef __int128 og_int128;
typedef og_int128 og_decimal; /* unscaled: value * 10^8 */

#define OG_DECIMAL_SCALE  100000000LL
#define OG_DECIMAL_PLACES 8

extern const og_decimal og_decimal_max, og_decimal_min;

static inline og_decimal og_decimal_of(int64_t i)
{
    return (og_decimal)i * OG_DECIMAL_SCALE;
}
/* Reads [+-]digits[.digits][(e|E)[+-]digits]; *ret_scale gets the written number of places (0..8).
 * More than 8 places: rounded half up when round is true, else false is returned. False also on
 * overflow or syntax. */
bool og_decimal_parse(og_str s, bool round, og_decimal *ret, int *ret_scale);
/* Shortest text with at least min_places decimals ("2.50" for min_places 2); returns length (< 40).
 */
size_t og_decimal_format(og_decimal d, int min_places, char out[48]);
bool og_decimal_add(og_decimal a, og_decimal b, og_decimal *ret);
bool og_decimal_sub(og_decimal a, og_decimal b, og_decimal *ret);
bool og_decimal_mul(og_decimal a, og_decimal b,
                    og_decimal *ret); /* rounded half away from zero at 8 places */
bool og_decimal_div(og_decimal a, og_decimal b, og_decimal *ret); /* false also when b is 0 */
og_decimal og_decimal_round(og_decimal d,
                            int places);             /* half away from zero; may exceed the range */
og_decimal og_decimal_truncate(og_decimal d);        /* towards zero, whole number */
double og_decimal_to_double(og_decimal d);           /* for transcendental functions only */
long double og_decimal_to_long_double(og_decimal d); /* the same with more digits */
bool og_decimal_from_double(double d,
                            og_decimal *ret); /* rounded to 8 places; false: nan, inf, range */
bool og_decimal_from_long_double(long double d, og_decimal *ret); /* the same */

#endif
