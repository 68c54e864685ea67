/* Exact decimals. A value is an integer number of 10^-8 units and never leaves +-(10^28 - 1), so
 * every intermediate result below fits 128 bits: a quotient needs 10^36, and a product is taken
 * apart at the decimal point first. What leaves the range is refused, never wrapped or cut. */
#include "fhir/base/decimal.h"

#include <math.h>

#define TEN14 ((og_int128)100000000000000LL)
#define LIMIT (TEN14 * TEN14 - 1)

const og_decimal og_decimal_max = LIMIT, og_decimal_min = -LIMIT;

static bool in_range(og_int128 d)
{
    return d <= og_decimal_max && d >= og_decimal_min;
}

/* The quotient rounded half away from zero. d > 0; n may have any sign. */
static og_int128 divide_rounded(og_int128 n, og_int128 d)
{
    og_int128 q = n / d, r = n % d;
    if (r < 0)
        r = -r;
    if (r >= d - r)
        q += n < 0 ? -1 : 1;
    return q;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A number's text taken apart; digits are those of s[first..last) without the point at dot. */
typedef struct lexeme {
    bool negative;
    size_t first, dot, last; /* dot == last when there is no point */
    int64_t exponent;
} lexeme;

static bool scan_exponent(og_str s, size_t i, int64_t *ret)
{
    bool negative = false;
    if (i < s.n && (s.p[i] == '+' || s.p[i] == '-'))
        negative = s.p[i++] == '-';
    if (i == s.n)
        return false;
    int64_t e = 0;
    for (; i < s.n; i++) {
        if (!is_digit(s.p[i]))
            return false;
        if (e <
            INT64_MAX / 100) /* no text is long enough to bring such an exponent back into range */
            e = e * 10 + (s.p[i] - '0');
    }
    *ret = negative ? -e : e;
    return true;
}

static bool scan(og_str s, lexeme *ret)
{
    size_t i = 0;
    ret->negative = false;
    ret->exponent = 0;
    if (i < s.n && (s.p[i] == '+' || s.p[i] == '-'))
        ret->negative = s.p[i++] == '-';
    ret->first = i;
    while (i < s.n && is_digit(s.p[i]))
        i++;
    ret->dot = i;
    if (i == ret->first)
        return false;
    if (i < s.n && s.p[i] == '.') {
        i++;
        while (i < s.n && is_digit(s.p[i]))
            i++;
        if (i == ret->dot + 1)
            return false;
    }
    ret->last = i;
    if (i == s.n)
        return true;
    return (s.p[i] == 'e' || s.p[i] == 'E') && scan_exponent(s, i + 1, &ret->exponent);
}

bool og_decimal_parse(og_str s, bool round, og_decimal *ret, int *ret_scale)
{
    lexeme x;
    if (!scan(s, &x))
        return false;
    int64_t written = x.last > x.dot ? (int64_t)(x.last - x.dot - 1) : 0;
    int64_t places = written - x.exponent;
    if (places > OG_DECIMAL_PLACES && !round)
        return false;

    /* `power` is that of the digit at hand, counted in units of 10^-8. */
    int64_t power = (int64_t)(x.dot - x.first) - 1 + x.exponent + OG_DECIMAL_PLACES;
    og_int128 sum = 0;
    bool up = false;
    for (size_t i = x.first; i < x.last; i++) {
        if (i == x.dot)
            continue;
        int digit = s.p[i] - '0';
        if (power >= 0)
            sum = sum * 10 + digit;
        else if (power == -1)
            up = digit >= 5;
        if (sum > og_decimal_max)
            return false;
        power--;
    }
    for (; power >= 0 && sum != 0; power--) {
        sum *= 10;
        if (sum > og_decimal_max)
            return false;
    }
    sum += up;
    if (!in_range(sum))
        return false;
    *ret = x.negative ? -sum : sum;
    if (ret_scale != NULL)
        *ret_scale = places < 0 ? 0 : places > OG_DECIMAL_PLACES ? OG_DECIMAL_PLACES : (int)places;
    return true;
}

size_t og_decimal_format(og_decimal d, int min_places, char out[48])
{
    unsigned __int128 u = d < 0 ? -(unsigned __int128)d : (unsigned __int128)d;
    char digits[48];
    int n = 0;
    do {
        digits[n++] = (char)('0' + (int)(u % 10));
        u /= 10;
    } while (u != 0 || n <= OG_DECIMAL_PLACES);

    int drop = 0; /* trailing zeros that min_places does not ask for */
    while (drop < OG_DECIMAL_PLACES - min_places && drop < OG_DECIMAL_PLACES && digits[drop] == '0')
        drop++;
    size_t at = 0;
    if (d < 0)
        out[at++] = '-';
    for (int i = n - 1; i >= OG_DECIMAL_PLACES; i--)
        out[at++] = digits[i];
    if (drop < OG_DECIMAL_PLACES)
        out[at++] = '.';
    for (int i = OG_DECIMAL_PLACES - 1; i >= drop; i--)
        out[at++] = digits[i];
    out[at] = '\0';
    return at;
}

bool og_decimal_add(og_decimal a, og_decimal b, og_decimal *ret)
{
    og_int128 sum = a + b;
    if (!in_range(sum))
        return false;
    *ret = sum;
    return true;
}

bool og_decimal_sub(og_decimal a, og_decimal b, og_decimal *ret)
{
    return og_decimal_add(a, -b, ret);
}

bool og_decimal_mul(og_decimal a, og_decimal b, og_decimal *ret)
{
    og_int128 whole = a / OG_DECIMAL_SCALE, part = a % OG_DECIMAL_SCALE; /* part has a's sign */
    og_int128 product;
    if (__builtin_mul_overflow(whole, b, &product))
        return false;
    /* Both terms have the same sign, so the one rounding below is the rounding of the whole. */
    og_int128 rest = divide_rounded(part * b, OG_DECIMAL_SCALE);
    if (__builtin_add_overflow(product, rest, &product) || !in_range(product))
        return false;
    *ret = product;
    return true;
}

bool og_decimal_div(og_decimal a, og_decimal b, og_decimal *ret)
{
    if (b == 0)
        return false;
    og_int128 n = a * OG_DECIMAL_SCALE;
    og_int128 q = b < 0 ? divide_rounded(-n, -b) : divide_rounded(n, b);
    if (!in_range(q))
        return false;
    *ret = q;
    return true;
}

og_decimal og_decimal_round(og_decimal d, int places)
{
    if (places >= OG_DECIMAL_PLACES)
        return d;
    if (places < -21) /* more than all digits that there are */
        return 0;
    og_int128 unit = 1;
    for (int i = places; i < OG_DECIMAL_PLACES; i++)
        unit *= 10;
    return divide_rounded(d, unit) * unit;
}

og_decimal og_decimal_truncate(og_decimal d)
{
    return d - d % OG_DECIMAL_SCALE;
}

double og_decimal_to_double(og_decimal d)
{
    return (double)og_decimal_to_long_double(d);
}

long double og_decimal_to_long_double(og_decimal d)
{
    return (long double)d / (long double)OG_DECIMAL_SCALE;
}

bool og_decimal_from_double(double d, og_decimal *ret)
{
    return og_decimal_from_long_double((long double)d, ret);
}

bool og_decimal_from_long_double(long double d, og_decimal *ret)
{
    long double scaled = roundl(d * (long double)OG_DECIMAL_SCALE);
    if (!(fabsl(scaled) < 1e28L)) /* also refuses nan */
        return false;
    og_int128 value = (og_int128)scaled;
    if (!in_range(value))
        return false;
    *ret = value;
    return true;
}
