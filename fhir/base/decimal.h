/* CQL and FHIR decimals: exact, 28 digits before the point and 8 after it, as a 128-bit integer
 * scaled by 10^8. No binary floating point is stored anywhere.
 *
 * CQL 1.5.3, B.1 asks for 28 digits altogether, +-(10^28-1)/10^8 in steps of 10^-8, and allows
 * more. What it asks for is where the type ends (OG_DECIMAL_MAX: `maximum Decimal`, and what a
 * closed null boundary stands for); numbers go on behind it, to OG_DECIMAL_LIMIT. What would leave
 * that is null (here: false). */
#ifndef OG_BASE_DECIMAL_H
#define OG_BASE_DECIMAL_H

#include "fhir/base/text.h"

typedef __int128 og_int128;
typedef og_int128 og_decimal; /* unscaled: value * 10^8 */

#define OG_DECIMAL_SCALE  100000000LL
#define OG_DECIMAL_PLACES 8

#define OG_DECIMAL_TEN14 ((og_int128)100000000000000LL)
/* The ends of the type: (10^28-1)/10^8 and its negative. */
#define OG_DECIMAL_MAX (OG_DECIMAL_TEN14 * OG_DECIMAL_TEN14 - 1)
#define OG_DECIMAL_MIN (-OG_DECIMAL_MAX)
/* 10^28: the greatest magnitude of a result. A number that is written stays below it. */
#define OG_DECIMAL_LIMIT (OG_DECIMAL_TEN14 * OG_DECIMAL_TEN14 * OG_DECIMAL_SCALE)

static inline bool og_decimal_fits(og_int128 d)
{
    return d <= OG_DECIMAL_LIMIT && d >= -OG_DECIMAL_LIMIT;
}
static inline og_decimal og_decimal_of(int64_t i)
{
    return (og_decimal)i * OG_DECIMAL_SCALE;
}
/* Reads [+-]digits[.digits][(e|E)[+-]digits]; *ret_scale gets the written number of places (0..8).
 * More than 8 places: rounded half away from zero when round is true, else false is returned. False
 * also when there are more than 28 digits before the point, leading zeros apart, and on syntax. */
bool og_decimal_parse(og_str s, bool round, og_decimal *ret, int *ret_scale);
/* Shortest text with at least min_places decimals ("2.50" for min_places 2); returns length (< 40).
 */
size_t og_decimal_format(og_decimal d, int min_places, char out[48]);
bool og_decimal_add(og_decimal a, og_decimal b, og_decimal *ret);
bool og_decimal_sub(og_decimal a, og_decimal b, og_decimal *ret);
/* Rounded half away from zero at 8 places, as all that follow. */
bool og_decimal_mul(og_decimal a, og_decimal b, og_decimal *ret);
bool og_decimal_div(og_decimal a, og_decimal b, og_decimal *ret); /* false also when b is 0 */
og_decimal og_decimal_round(og_decimal d, int places);            /* may exceed the limit */
og_decimal og_decimal_truncate(og_decimal d);                     /* towards zero, whole number */

/* Right to the last of the 8 places, whatever the size of the result (decimal_real.c). False for
 * what is not defined (a logarithm of what is not above 0, to base 1; a fractional power of a
 * negative number, a negative one of 0) and what leaves the limit. */
bool og_decimal_exp(og_decimal x, og_decimal *ret);
bool og_decimal_ln(og_decimal x, og_decimal *ret);
bool og_decimal_log(og_decimal x, og_decimal base, og_decimal *ret);
bool og_decimal_power(og_decimal base, og_decimal exponent, og_decimal *ret);
/* The n-th root of the product of n magnitudes; false when there are none. */
bool og_decimal_geometric_mean(const og_decimal *values, size_t n, og_decimal *ret);

#endif
