/* Exact decimals. A value is an integer number of 10^-8 units within +-10^36 (OG_DECIMAL_LIMIT),
 * which leaves 128 bits room for a hundred of them: sums need no care. A product is taken apart at
 * both decimal points, a quotient is brought to its places step by step, so that no intermediate
 * result is larger. What leaves the limit is refused, never wrapped or cut. */
#include "fhir/base/decimal.h"

typedef unsigned __int128 u128;

static u128 magnitude(og_decimal d)
{
    return d < 0 ? -(u128)d : (u128)d;
}

/* The quotient rounded half away from zero. d > 0; n may have any sign. */
static og_int128 divide_rounded(og_int128 n, og_int128 d)
{
    og_int128 q = n / d, r = n - q * d;
    if (r < 0)
        r = -r;
    if (r >= d - r)
        q += n < 0 ? -1 : 1;
    return q;
}

static int64_t divide_rounded_64(int64_t n, int64_t d)
{
    int64_t q = n / d, r = n % d;
    return q + (r >= d / 2) - (r <= -d / 2); /* d is even */
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
        if (sum >= OG_DECIMAL_LIMIT)
            return false;
        power--;
    }
    for (; power >= 0 && sum != 0; power--) {
        sum *= 10;
        if (sum >= OG_DECIMAL_LIMIT)
            return false;
    }
    sum += up;
    if (sum >= OG_DECIMAL_LIMIT)
        return false;
    *ret = x.negative ? -sum : sum;
    if (ret_scale != NULL)
        *ret_scale = places < 0 ? 0 : places > OG_DECIMAL_PLACES ? OG_DECIMAL_PLACES : (int)places;
    return true;
}

size_t og_decimal_format(og_decimal d, int min_places, char out[48])
{
    u128 u = magnitude(d);
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
    if (!og_decimal_fits(sum))
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
    int64_t small;
    if (a == (int64_t)a && b == (int64_t)b &&
        !__builtin_mul_overflow((int64_t)a, (int64_t)b, &small)) {
        *ret = divide_rounded_64(small, OG_DECIMAL_SCALE);
        return true;
    }
    /* All four terms have one sign, so the one rounding is the rounding of the whole. */
    og_int128 whole = a / OG_DECIMAL_SCALE, of_b = b / OG_DECIMAL_SCALE;
    int64_t part = (int64_t)(a - whole * OG_DECIMAL_SCALE),
            part_of_b = (int64_t)(b - of_b * OG_DECIMAL_SCALE);
    og_int128 product;
    if (__builtin_mul_overflow(whole, b, &product) || !og_decimal_fits(product))
        return false;
    product += part * of_b + divide_rounded_64(part * part_of_b, OG_DECIMAL_SCALE);
    if (!og_decimal_fits(product))
        return false;
    *ret = product;
    return true;
}

/* n * 10^8 / d, half up; false when it is beyond the limit. */
static bool divide(u128 n, u128 d, u128 *ret)
{
    const u128 room = ~(u128)0 / OG_DECIMAL_SCALE;
    u128 q = 0, rest = n;
    if (n > room) {
        q = n / d;
        rest = n - q * d;
        if (q > (u128)(OG_DECIMAL_LIMIT / OG_DECIMAL_SCALE))
            return false;
    }
    int step = rest > room ? 100 : OG_DECIMAL_SCALE;
    for (int64_t places = 1; places < OG_DECIMAL_SCALE; places *= step) {
        rest *= (unsigned)step;
        u128 next = rest / d;
        q = q * (unsigned)step + next;
        rest -= next * d;
    }
    q += rest >= d - rest;
    *ret = q;
    return q <= (u128)OG_DECIMAL_LIMIT;
}

bool og_decimal_div(og_decimal a, og_decimal b, og_decimal *ret)
{
    u128 q;
    if (b == 0 || !divide(magnitude(a), magnitude(b), &q))
        return false;
    *ret = (a < 0) == (b < 0) ? (og_decimal)q : -(og_decimal)q;
    return true;
}

og_decimal og_decimal_round(og_decimal d, int places)
{
    if (places >= OG_DECIMAL_PLACES)
        return d;
    if (places < -28) /* more than all digits that there are */
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
