/* UCUM units (The Unified Code for Units of Measure, case sensitive form) by grammar and generated
 * table (fhir/ucum.inc from the UCUM essence): an exact factor, a seven-dimension vector, the
 * temperature scales Cel, [degF] and [degRe]. No binary floating point: factors are fractions, [pi]
 * has 36 digits.
 *
 * Arbitrary units ([iU], [arb'U]) and logarithmic ones ([pH], B, Np) are each their own dimension:
 * comparable with themselves, also prefixed, and with nothing else. A temperature scale converts
 * where it stands alone; inside a product ("Cel/h") it is likewise its own dimension. Annotations
 * count as 1. Calendar words
 * ("days") are not UCUM and not accepted. Static data, nothing is allocated. */
#ifndef OG_FHIR_UCUM_H
#define OG_FHIR_UCUM_H

#include "fhir/base/decimal.h"

/* True when unit is a valid UCUM expression (case sensitive form). */
bool ucum_valid(og_str unit);
/* True when both are valid and have the same dimension. */
bool ucum_comparable(og_str a, og_str b);
/* value in `from` expressed in `to`, exact up to the final rounding (half away from zero) to 8
 * places; false when not comparable, not valid or out of range. */
bool ucum_convert(og_decimal value, og_str from, og_str to, og_decimal *ret);
/* -1, 0, 1 in *ret: compares without rounding first. False when not comparable. */
bool ucum_compare(og_decimal a, og_str unit_a, og_decimal b, og_str unit_b, int *ret);
/* Unit text of a product or quotient, equal units cancelled and powers gathered ("cm" times "cm" is
 * "cm2", "mg/dL" times "dL" is "mg", "1" when nothing is left; annotations are dropped). The number
 * that goes with it needs no factor. Written to out (terminated); false when it does not fit or is
 * not valid. */
bool ucum_multiply(og_str a, og_str b, char *out, size_t size);
bool ucum_divide(og_str a, og_str b, char *out, size_t size);

#endif
