/* Fuzz target: unit expressions. The input is a value's eight bytes, then two units with a line
 * feed between them. Properties: a valid unit converts to itself unchanged, comparing one way is
 * the opposite of the other way, and a product's text is valid again. */
#include "fhir/ucum.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t number;
    if (size < sizeof(number))
        return 0;
    memcpy(&number, data, sizeof(number));
    og_str rest = {(const char *)data + sizeof(number), size - sizeof(number)};
    ptrdiff_t split = og_str_find(rest, '\n');
    og_str a = {rest.p, split < 0 ? rest.n : (size_t)split};
    og_str b = split < 0 ? a : og_str_from(rest, (size_t)split + 1);
    og_decimal value = number, converted;
    check(ucum_convert(value, a, a, &converted) == ucum_valid(a));
    if (ucum_valid(a))
        check(converted == value);
    check(ucum_comparable(a, b) == ucum_comparable(b, a));
    if (ucum_convert(value, a, b, &converted))
        check(ucum_comparable(a, b));
    int one = 0, other = 0;
    if (ucum_compare(value, a, value, b, &one) && ucum_compare(value, b, value, a, &other))
        check(one == -other);
    char out[1024];
    if (ucum_multiply(a, b, out, sizeof(out)))
        check(strlen(out) > 255 || ucum_valid(og_str_of(out)));
    if (ucum_divide(a, b, out, sizeof(out)))
        check(strlen(out) > 255 || ucum_valid(og_str_of(out)));
    return 0;
}
