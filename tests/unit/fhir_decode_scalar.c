/* The same tests on the reader without vector instructions, as it is built for other machines: its
 * own copy of the reader takes the place of the library's. */
#define OG_NO_SIMD
#include "fhir/decode.c" /* NOLINT(bugprone-suspicious-include) */

#include "tests/unit/fhir_decode.c" /* NOLINT(bugprone-suspicious-include) */
