/* Powers, roots and logarithms of decimals. A result may have 36 digits, twice what a long double
 * holds, so they are computed in 256-bit numbers of which 192 bits stand behind the point: a
 * logarithm by the series of artanh, a power of e by Taylor's, both after the powers of 2 have been
 * taken out. Every step cuts off less than 2^-191; what adds up stays below 2^-150 of the result,
 * and the half that is rounded is taken for a half from 2^-140 below it on, so that a result that
 * is exact in decimals is rounded as such.
 *
 * Most results are short. Where the processor's long double decides all 8 places beyond doubt, it
 * does (`decided`); otherwise the long way is gone. Which way was taken is never seen. */
#include "fhir/base/decimal.h"

#include <float.h>
#include <math.h>

typedef unsigned __int128 u128;

#define LIMBS    4
#define FRACTION 192 /* bits behind the point */

/* Not negative; limb[0] is the lowest. */
typedef struct wide {
    uint64_t limb[LIMBS];
} wide;

static const wide one = {{0, 0, 0, 1}};
static const wide ln_2 = {{0x40f343267298b62du, 0xc9e3b39803f2f6afu, 0xb17217f7d1cf79abu, 0}};

static u128 magnitude(og_decimal d)
{
    return d < 0 ? -(u128)d : (u128)d;
}

/* ---- 256-bit numbers ---- */

static wide wide_of(u128 v)
{
    return (wide){{(uint64_t)v, (uint64_t)(v >> 64)}};
}

static bool is_zero(const wide *a)
{
    return (a->limb[0] | a->limb[1] | a->limb[2] | a->limb[3]) == 0;
}

static bool is_less(const wide *a, const wide *b)
{
    for (int i = LIMBS - 1; i > 0; i--)
        if (a->limb[i] != b->limb[i])
            return a->limb[i] < b->limb[i];
    return a->limb[0] < b->limb[0];
}

static wide sum_of(const wide *a, const wide *b)
{
    wide r;
    u128 carry = 0;
    for (int i = 0; i < LIMBS; i++) {
        carry += (u128)a->limb[i] + b->limb[i];
        r.limb[i] = (uint64_t)carry;
        carry >>= 64;
    }
    return r;
}

/* a - b; a is not less. */
static wide difference_of(const wide *a, const wide *b)
{
    wide r;
    bool borrow = false;
    for (int i = 0; i < LIMBS; i++) {
        uint64_t first;
        bool below = __builtin_sub_overflow(a->limb[i], b->limb[i], &first);
        borrow = __builtin_sub_overflow(first, (uint64_t)borrow, &r.limb[i]) || below;
    }
    return r;
}

static wide shifted_left(const wide *a, unsigned by)
{
    wide r = {{0}};
    unsigned limbs = by / 64, bits = by % 64;
    for (unsigned i = limbs; i < LIMBS; i++) {
        r.limb[i] = a->limb[i - limbs] << bits;
        if (bits != 0 && i > limbs)
            r.limb[i] |= a->limb[i - limbs - 1] >> (64 - bits);
    }
    return r;
}

static wide shifted_right(const wide *a, unsigned by)
{
    wide r = {{0}};
    unsigned limbs = by / 64, bits = by % 64;
    for (unsigned i = 0; i + limbs < LIMBS; i++) {
        r.limb[i] = a->limb[i + limbs] >> bits;
        if (bits != 0 && i + limbs + 1 < LIMBS)
            r.limb[i] |= a->limb[i + limbs + 1] << (64 - bits);
    }
    return r;
}

static wide times(const wide *a, uint64_t by)
{
    wide r;
    u128 carry = 0;
    for (int i = 0; i < LIMBS; i++) {
        carry += (u128)a->limb[i] * by;
        r.limb[i] = (uint64_t)carry;
        carry >>= 64;
    }
    return r;
}

static wide over(const wide *a, uint64_t by)
{
    wide r;
    u128 rest = 0;
    for (int i = LIMBS - 1; i >= 0; i--) {
        rest = rest << 64 | a->limb[i];
        r.limb[i] = (uint64_t)(rest / by);
        rest %= by;
    }
    return r;
}

/* All bits of a * b. */
static void multiply(const wide *a, const wide *b, uint64_t ret[2 * LIMBS])
{
    memset(ret, 0, 2 * LIMBS * sizeof *ret);
    for (int i = 0; i < LIMBS; i++) {
        u128 carry = 0;
        for (int j = 0; j < LIMBS; j++) {
            carry += (u128)a->limb[i] * b->limb[j] + ret[i + j];
            ret[i + j] = (uint64_t)carry;
            carry >>= 64;
        }
        ret[i + LIMBS] = (uint64_t)carry;
    }
}

static wide product_of(const wide *a, const wide *b)
{
    uint64_t all[2 * LIMBS];
    wide r;
    multiply(a, b, all);
    memcpy(&r, all + FRACTION / 64, sizeof r);
    return r;
}

/* a / b with all bits behind the point. b is below 2^255; the quotient fits. */
static wide quotient_of(const wide *a, const wide *b)
{
    wide q = {{0}}, rest = {{0}};
    for (int i = 255 + FRACTION; i >= 0; i--) {
        int at = i - FRACTION;
        rest = shifted_left(&rest, 1);
        if (at >= 0)
            rest.limb[0] |= a->limb[at / 64] >> at % 64 & 1;
        if (is_less(&rest, b))
            continue;
        rest = difference_of(&rest, b);
        q.limb[i / 64 % LIMBS] |= (uint64_t)1 << i % 64;
    }
    return q;
}

/* ---- logarithm and power of e ---- */

/* mantissa * 2^power, 1 <= mantissa < 2 */
typedef struct binary {
    wide mantissa;
    int64_t power;
} binary;

/* n / d; neither is 0. */
static binary binary_of(u128 n, u128 d)
{
    binary r = {.power = 0};
    for (; n >> 1 >= d; r.power++)
        d <<= 1;
    for (; n < d; r.power--)
        n <<= 1;
    wide a = wide_of(n), b = wide_of(d);
    r.mantissa = quotient_of(&a, &b);
    return r;
}

/* A logarithm, or what e is raised to. */
typedef struct exponent {
    bool negative;
    wide size;
} exponent;

/* ln m = 2 artanh t = 2 (t + t^3/3 + t^5/5 + ...), t = (m-1)/(m+1) < 1/3 */
static wide ln_of_mantissa(const wide *m)
{
    wide below = difference_of(m, &one), above = sum_of(m, &one);
    wide t = quotient_of(&below, &above), square = product_of(&t, &t);
    wide sum = {{0}};
    for (uint64_t n = 1; !is_zero(&t); n += 2) {
        wide term = over(&t, n);
        sum = sum_of(&sum, &term);
        t = product_of(&t, &square);
    }
    return shifted_left(&sum, 1);
}

static exponent ln_of(const binary *x)
{
    wide of_mantissa = ln_of_mantissa(&x->mantissa);
    if (x->power >= 0) {
        wide of_power = times(&ln_2, (uint64_t)x->power);
        return (exponent){false, sum_of(&of_power, &of_mantissa)};
    }
    wide of_power = times(&ln_2, (uint64_t)-x->power);
    return (exponent){true, difference_of(&of_power, &of_mantissa)};
}

/* e^x = e^r * 2^k with 0 <= r < ln 2; e^r by Taylor's series of r/256, squared eight times. */
static binary power_of_e(const exponent *x)
{
    binary r = {.power = 0};
    wide rest = x->size;
    for (; !is_less(&rest, &ln_2); r.power++)
        rest = difference_of(&rest, &ln_2);
    if (x->negative) {
        r.power = -r.power - 1;
        rest = difference_of(&ln_2, &rest);
    }
    wide term = one, step = shifted_right(&rest, 8);
    r.mantissa = one;
    for (uint64_t n = 1; !is_zero(&term); n++) {
        term = product_of(&term, &step);
        term = over(&term, n);
        r.mantissa = sum_of(&r.mantissa, &term);
    }
    for (int i = 0; i < 8; i++)
        r.mantissa = product_of(&r.mantissa, &r.mantissa);
    return r;
}

/* x * scale as a whole number; false when it is beyond a Decimal's limit. The mantissa may be as
 * large as 128 here, scale is below 2^32. */
static bool rounded(const binary *x, uint64_t scale, og_decimal *ret)
{
    if (x->power > 120)
        return false;
    if (x->power < -60) {
        *ret = 0;
        return true;
    }
    unsigned drop = (unsigned)(FRACTION - x->power);
    wide r = times(&x->mantissa, scale), sliver = shifted_right(&r, 140), half = {{0}};
    half.limb[(drop - 1) / 64] = (uint64_t)1 << (drop - 1) % 64;
    r = sum_of(&r, &sliver);
    r = sum_of(&r, &half);
    r = shifted_right(&r, drop);
    if ((r.limb[2] | r.limb[3]) != 0 || r.limb[1] >> 63 != 0)
        return false;
    og_decimal d = (og_decimal)r.limb[1] << 64 | r.limb[0];
    if (!og_decimal_fits(d))
        return false;
    *ret = d;
    return true;
}

static bool raised(const exponent *x, uint64_t scale, og_decimal *ret)
{
    if (x->size.limb[3] >= 128) { /* e^128 is beyond every limit */
        if (x->negative)
            *ret = 0;
        return x->negative;
    }
    binary r = power_of_e(x);
    return rounded(&r, scale, ret);
}

/* ---- the short way ---- */

static long double real_of(og_decimal d)
{
    return (long double)d / (long double)OG_DECIMAL_SCALE;
}

/* Takes x when 2^-54 of it cannot change a place: it is below 2^40 steps, and its fraction of a
 * step is not within 2^-10 of a half. */
static bool decided(long double x, og_decimal *ret)
{
    long double steps = fabsl(x) * (long double)OG_DECIMAL_SCALE;
    if (LDBL_MANT_DIG < 64 || !(steps < 0x1p40L))
        return false;
    int64_t whole = (int64_t)steps;
    long double above_half = steps - (long double)whole - 0.5L;
    if (fabsl(above_half) < 0x1p-10L)
        return false;
    whole += above_half > 0;
    *ret = x < 0 ? -whole : whole;
    return true;
}

/* ---- functions of decimals ---- */

bool og_decimal_exp(og_decimal x, og_decimal *ret)
{
    if (x > og_decimal_of(128))
        return false;
    if (x < -og_decimal_of(128)) {
        *ret = 0;
        return true;
    }
    if (decided(expl(real_of(x)), ret))
        return true;
    wide steps = wide_of(magnitude(x));
    steps = shifted_left(&steps, FRACTION);
    exponent e = {x < 0, over(&steps, OG_DECIMAL_SCALE)};
    return raised(&e, OG_DECIMAL_SCALE, ret);
}

/* ln of a decimal above 0 */
static exponent ln_of_decimal(og_decimal x)
{
    binary b = binary_of((u128)x, OG_DECIMAL_SCALE);
    return ln_of(&b);
}

bool og_decimal_ln(og_decimal x, og_decimal *ret)
{
    if (x <= 0)
        return false;
    if (decided(logl(real_of(x)), ret))
        return true;
    exponent e = ln_of_decimal(x);
    binary b = {e.size, 0};
    if (!rounded(&b, OG_DECIMAL_SCALE, ret))
        return false;
    if (e.negative)
        *ret = -*ret;
    return true;
}

bool og_decimal_log(og_decimal x, og_decimal base, og_decimal *ret)
{
    if (x <= 0 || base <= 0 || base == OG_DECIMAL_SCALE)
        return false;
    long double ln_base = logl(real_of(base));
    if (fabsl(ln_base) > 0x1p-8L && decided(logl(real_of(x)) / ln_base, ret))
        return true;
    exponent of_x = ln_of_decimal(x), of_base = ln_of_decimal(base);
    binary b = {quotient_of(&of_x.size, &of_base.size), 0};
    if (!rounded(&b, OG_DECIMAL_SCALE, ret))
        return false;
    if (of_x.negative != of_base.negative)
        *ret = -*ret;
    return true;
}

/* size * |by| / 10^8; false when it is 128 or more. */
static bool scale_exponent(wide *size, og_decimal by)
{
    uint64_t all[2 * LIMBS];
    wide factor = wide_of(magnitude(by));
    multiply(size, &factor, all);
    u128 rest = 0;
    for (int i = 2 * LIMBS - 1; i >= 0; i--) {
        rest = rest << 64 | all[i];
        all[i] = (uint64_t)(rest / OG_DECIMAL_SCALE);
        rest %= OG_DECIMAL_SCALE;
    }
    memcpy(size, all, sizeof *size);
    return (all[4] | all[5] | all[6] | all[7]) == 0 && all[3] < 128;
}

/* base^by for base > 0 */
static bool positive_power(og_decimal base, og_decimal by, og_decimal *ret)
{
    if (by > -og_decimal_of(512) && by < og_decimal_of(512) &&
        decided(powl(real_of(base), real_of(by)), ret))
        return true;
    exponent e = ln_of_decimal(base);
    bool fits = scale_exponent(&e.size, by);
    e.negative ^= by < 0;
    if (fits)
        return raised(&e, OG_DECIMAL_SCALE, ret);
    if (e.negative)
        *ret = 0;
    return e.negative;
}

bool og_decimal_power(og_decimal base, og_decimal by, og_decimal *ret)
{
    bool is_whole = by % OG_DECIMAL_SCALE == 0, is_odd = by / OG_DECIMAL_SCALE % 2 != 0;
    if ((base == 0 && by < 0) || (base < 0 && !is_whole))
        return false;
    if (by == 0 || base == 0) {
        *ret = by == 0 ? OG_DECIMAL_SCALE : 0;
        return true;
    }
    if (!positive_power(base < 0 ? -base : base, by, ret))
        return false;
    if (base < 0 && is_odd)
        *ret = -*ret;
    return true;
}

bool og_decimal_geometric_mean(const og_decimal *values, size_t n, og_decimal *ret)
{
    binary product = {one, 0};
    if (n == 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (values[i] == 0) {
            *ret = 0;
            return true;
        }
        wide v = wide_of(magnitude(values[i]));
        int power =
            v.limb[1] != 0 ? 127 - __builtin_clzll(v.limb[1]) : 63 - __builtin_clzll(v.limb[0]);
        v = shifted_left(&v, (unsigned)(FRACTION - power));
        product.mantissa = product_of(&product.mantissa, &v);
        product.power += power;
        if (product.mantissa.limb[3] > 1) {
            product.mantissa = shifted_right(&product.mantissa, 1);
            product.power++;
        }
    }
    exponent e = ln_of(&product); /* of a number of steps: never negative */
    e.size = over(&e.size, n);
    return raised(&e, 1, ret);
}
