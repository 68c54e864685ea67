/* Units. An expression is parsed into exponents: how often each unit of the table stands in it,
 * plus powers of ten and whole numbers. Two expressions are compared by subtracting exponents, so
 * that what stands in both cancels before any number is multiplied; what remains is multiplied as
 * integers of up to 1,024 bits, and divided once, at the end. So mg/dL to g/L is a power of ten and
 * nothing else, and a result is wrong only in its ninth decimal. */
#include "fhir/ucum.h"

#define MAX_TEXT     255  /* bytes of one expression */
#define MAX_NESTING  32   /* of parentheses */
#define MAX_EXPONENT 9999 /* of one unit in one place */
#define DIMENSIONS   7

enum { RATIO, LINEAR, OWN };

typedef struct prefix_row {
    char code[3];
    uint8_t length;
    int16_t ten;
    uint64_t factor;
} prefix_row;

typedef struct unit_row {
    const char *code;
    uint8_t length;
    uint8_t kind;
    uint8_t metric;
    uint16_t own; /* for OWN: the unit that it equals, usually itself */
    uint64_t num, den;
    int16_t ten;
    int8_t pi;
    int8_t dims[DIMENSIONS];
    int64_t offset; /* for LINEAR: kelvin = (value + offset) * factor */
} unit_row;

#include "fhir/ucum.inc"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define UNITS        COUNT(units)

/* [pi] as PI_HIGH * 10^18 + PI_LOW, times 10^-35. */
#define PI_HIGH 314159265358979323ULL
#define PI_LOW  846264338327950288ULL
#define PI_TEN  (-35)

/* --- reading --- */

#define MAX_PARTS (MAX_TEXT / 2 + 1) /* "m.m.m": a unit and an operator each */

typedef struct power {
    uint16_t unit; /* number in the table */
    int32_t exponent;
} power;

/* What an expression comes to. */
typedef struct parsed {
    power powers[MAX_PARTS]; /* each unit once; those from count on are not set */
    uint32_t count;
    int32_t ten;                /* powers of ten: prefixes, 10*n, zeros of whole numbers */
    unsigned __int128 num, den; /* whole numbers, binary prefixes */
    uint32_t parts;             /* units and numbers seen, annotations not counted */
    const unit_row *alone;      /* the one unit, when it has exponent 1 */
    bool overflow;              /* valid, but too large to calculate with */
} parsed;

/* One component of an expression as it is met. exponent carries the sign of the division. */
typedef struct component {
    const unit_row *unit;     /* NULL for a whole number */
    const prefix_row *prefix; /* or NULL */
    uint64_t number;
    og_str text; /* without exponent and annotation */
    int32_t exponent;
} component;

typedef bool (*component_fn)(void *user, const component *c);

typedef struct reader {
    og_str s;
    size_t at;
    unsigned depth;
    component_fn fn;
    void *user;
} reader;

static const unit_row *unit_of(og_str code)
{
    size_t low = 0, high = UNITS;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int c = og_str_cmp((og_str){units[middle].code, units[middle].length}, code);
        if (c == 0)
            return &units[middle];
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* UCUM 2.3: a unit's own code goes before a prefix and a metric unit: "cd" is the candela. */
static bool symbol_of(og_str text, component *c)
{
    c->text = text;
    c->prefix = NULL;
    c->unit = unit_of(text);
    for (size_t i = 0; c->unit == NULL && i < COUNT(prefixes); i++) {
        og_str code = {prefixes[i].code, prefixes[i].length};
        if (text.n <= code.n || !og_str_starts(text, code))
            continue;
        const unit_row *unit = unit_of(og_str_from(text, code.n));
        if (unit == NULL || !unit->metric)
            continue;
        c->unit = unit;
        c->prefix = &prefixes[i];
    }
    return c->unit != NULL;
}

static bool more(const reader *r)
{
    return r->at < r->s.n;
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool accept(reader *r, char c)
{
    if (!more(r) || r->s.p[r->at] != c)
        return false;
    r->at++;
    return true;
}

/* {...}: printable ASCII without braces (UCUM 2.1). Nothing there is fine; a broken one is not. */
static bool annotation(reader *r, bool *ret_seen)
{
    *ret_seen = accept(r, '{');
    if (!*ret_seen)
        return true;
    while (more(r) && r->s.p[r->at] > ' ' && r->s.p[r->at] < 127 && r->s.p[r->at] != '{' &&
           r->s.p[r->at] != '}')
        r->at++;
    return accept(r, '}');
}

static bool exponent(reader *r, int32_t *ret)
{
    size_t start = r->at;
    bool negative = accept(r, '-');
    if (!negative)
        accept(r, '+');
    size_t first = r->at;
    int32_t n = 0;
    for (; more(r) && digit(r->s.p[r->at]); r->at++) {
        n = n * 10 + (r->s.p[r->at] - '0');
        if (n > MAX_EXPONENT)
            return false;
    }
    if (r->at == first) {
        *ret = 1;
        return first == start;
    }
    *ret = negative ? -n : n;
    return true;
}

/* The text of a unit without its exponent: digits and operators end it, but not inside brackets. */
static og_str symbol(reader *r)
{
    size_t start = r->at;
    bool inside = false;
    for (; more(r); r->at++) {
        char c = r->s.p[r->at];
        if (c <= ' ' || c >= 127 || c == '{' || c == '}' || c == '=' || c == '"')
            break;
        if (c == '[' || c == ']') {
            if (inside == (c == '['))
                break;
            inside = c == '[';
        } else if (!inside && (digit(c) || strchr("+-./()", c) != NULL)) {
            break;
        }
    }
    return (og_str){r->s.p + start, r->at - start};
}

static bool term(reader *r, int sign);

static bool number(reader *r, component *c)
{
    size_t start = r->at;
    uint64_t n = 0;
    for (; more(r) && digit(r->s.p[r->at]); r->at++)
        if (__builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, (uint64_t)(r->s.p[r->at] - '0'), &n))
            return false;
    c->number = n;
    c->text = (og_str){r->s.p + start, r->at - start};
    return n != 0;
}

/* unit[exponent] or a whole number; 10* and 10^ are units although they begin with digits. */
static bool simple(reader *r, int sign)
{
    component c = {.exponent = 1};
    og_str rest = og_str_from(r->s, r->at);
    if (og_str_starts(rest, OG_STR("10*")) || og_str_starts(rest, OG_STR("10^"))) {
        r->at += 3;
        if (!symbol_of((og_str){rest.p, 3}, &c) || !exponent(r, &c.exponent))
            return false;
    } else if (digit(rest.p[0])) {
        if (!number(r, &c))
            return false;
    } else if (!symbol_of(symbol(r), &c) || !exponent(r, &c.exponent)) {
        return false;
    }
    c.exponent *= sign;
    return r->fn(r->user, &c);
}

static bool part(reader *r, int sign)
{
    bool seen;
    if (!more(r) || !annotation(r, &seen))
        return false;
    if (seen)
        return true;
    if (accept(r, '(')) {
        if (++r->depth > MAX_NESTING || !term(r, sign) || !accept(r, ')'))
            return false;
        r->depth--;
    } else if (!simple(r, sign)) {
        return false;
    }
    return annotation(r, &seen);
}

/* component {("." | "/") component}; a division binds the next component only. The whole
 * expression, but nothing in parentheses, may begin with "/". */
static bool term(reader *r, int sign)
{
    bool divide = r->depth == 0 && accept(r, '/');
    for (;;) {
        if (!part(r, divide ? -sign : sign))
            return false;
        divide = false;
        if (accept(r, '/'))
            divide = true;
        else if (!accept(r, '.'))
            return true;
    }
}

static bool read_components(og_str s, component_fn fn, void *user)
{
    reader r = {.s = s, .fn = fn, .user = user};
    return s.n != 0 && s.n <= MAX_TEXT && term(&r, 1) && r.at == s.n;
}

static bool times(unsigned __int128 *into, uint64_t by)
{
    if (*into > ~(unsigned __int128)0 / by)
        return false;
    *into *= by;
    return true;
}

/* by to the power of exponent into the whole-number part. */
static void number_into(parsed *p, uint64_t by, int32_t exponent_of)
{
    for (; by % 10 == 0; by /= 10)
        p->ten += exponent_of;
    int32_t n = exponent_of < 0 ? -exponent_of : exponent_of;
    unsigned __int128 *into = exponent_of < 0 ? &p->den : &p->num;
    for (; n > 0 && by != 1 && !p->overflow; n--)
        p->overflow = !times(into, by);
}

static void add_power(parsed *p, uint16_t unit, int32_t exponent_of)
{
    uint32_t i = 0;
    while (i < p->count && p->powers[i].unit != unit)
        i++;
    if (i == p->count)
        p->powers[p->count++] = (power){unit, 0};
    p->powers[i].exponent += exponent_of;
}

static int32_t power_of(const parsed *p, uint16_t unit)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (p->powers[i].unit == unit)
            return p->powers[i].exponent;
    return 0;
}

static bool component_into(void *user, const component *c)
{
    parsed *p = user;
    p->parts++;
    p->alone = NULL;
    if (c->unit == NULL) {
        number_into(p, c->number, c->exponent);
        return true;
    }
    if (c->prefix != NULL) {
        p->ten += c->prefix->ten * c->exponent;
        number_into(p, c->prefix->factor, c->exponent);
    }
    const unit_row *unit = c->unit->kind == OWN ? &units[c->unit->own] : c->unit;
    add_power(p, (uint16_t)(unit - units), c->exponent);
    if (p->parts == 1 && c->exponent == 1)
        p->alone = unit;
    return true;
}

static bool parse(og_str s, parsed *p)
{
    p->count = p->parts = 0; /* not the whole of it: the powers need no zeros */
    p->ten = 0;
    p->num = p->den = 1;
    p->alone = NULL;
    p->overflow = false;
    return read_components(s, component_into, p);
}

bool ucum_valid(og_str unit)
{
    parsed p;
    return parse(unit, &p);
}

/* --- large integers --- */

enum { LIMBS = 16 };

typedef struct big {
    uint64_t limb[LIMBS]; /* lowest first; those from n on are not looked at */
    int n;
    bool overflow;
} big;

static void big_set(big *b, unsigned __int128 v)
{
    b->limb[0] = (uint64_t)v;
    b->limb[1] = (uint64_t)(v >> 64);
    b->n = b->limb[1] != 0 ? 2 : b->limb[0] != 0;
    b->overflow = false;
}

static void big_push(big *b, uint64_t limb)
{
    if (limb == 0)
        return;
    if (b->n == LIMBS)
        b->overflow = true;
    else
        b->limb[b->n++] = limb;
}

static void big_times(big *b, uint64_t by)
{
    unsigned __int128 carry = 0;
    for (int i = 0; i < b->n; i++) {
        carry += (unsigned __int128)b->limb[i] * by;
        b->limb[i] = (uint64_t)carry;
        carry >>= 64;
    }
    big_push(b, (uint64_t)carry);
}

static void big_add(big *b, const big *other)
{
    unsigned __int128 carry = 0;
    b->overflow = b->overflow || other->overflow;
    for (int i = 0; i < other->n || (carry != 0 && i < b->n); i++) {
        if (i == b->n)
            b->limb[b->n++] = 0;
        carry += (unsigned __int128)b->limb[i] + (i < other->n ? other->limb[i] : 0);
        b->limb[i] = (uint64_t)carry;
        carry >>= 64;
    }
    big_push(b, (uint64_t)carry);
}

static void big_times_128(big *b, unsigned __int128 by)
{
    big high = *b;
    big_times(b, (uint64_t)by);
    if (by >> 64 == 0)
        return;
    big_times(&high, (uint64_t)(by >> 64));
    if (high.n == LIMBS) {
        b->overflow = true;
        return;
    }
    memmove(high.limb + 1, high.limb, (size_t)high.n * sizeof(high.limb[0]));
    high.limb[0] = 0;
    high.n += high.n != 0;
    big_add(b, &high);
}

static void big_times_power(big *b, uint64_t by, int64_t exponent_of)
{
    for (; exponent_of > 0 && by != 1 && !b->overflow && b->n != 0; exponent_of--)
        big_times(b, by);
}

static void big_times_ten(big *b, int64_t exponent_of)
{
    for (; exponent_of >= 19; exponent_of -= 19) {
        if (b->overflow || b->n == 0)
            return;
        big_times(b, 10000000000000000000u);
    }
    big_times_power(b, 10, exponent_of);
}

static int big_compare(const big *a, const big *b)
{
    if (a->n != b->n)
        return a->n < b->n ? -1 : 1;
    for (int i = a->n - 1; i >= 0; i--)
        if (a->limb[i] != b->limb[i])
            return a->limb[i] < b->limb[i] ? -1 : 1;
    return 0;
}

/* a -= b; a is not smaller. */
static void big_subtract(big *a, const big *b)
{
    uint64_t borrow = 0;
    for (int i = 0; i < a->n; i++) {
        uint64_t y = i < b->n ? b->limb[i] : 0;
        uint64_t first = a->limb[i] - y;
        uint64_t next = (a->limb[i] < y) | (first < borrow);
        a->limb[i] = first - borrow;
        borrow = next;
    }
    while (a->n > 0 && a->limb[a->n - 1] == 0)
        a->n--;
}

static int big_bits(const big *b)
{
    return b->n == 0 ? 0 : b->n * 64 - __builtin_clzll(b->limb[b->n - 1]);
}

/* b * 2^by; there is room. */
static void big_shift_left(big *b, int by)
{
    int limbs = by / 64, bits = by % 64;
    uint64_t over = 0;
    for (int i = b->n - 1; i >= 0; i--) {
        uint64_t v = b->limb[i];
        if (bits != 0) {
            if (i == b->n - 1)
                over = v >> (64 - bits);
            v = v << bits | (i > 0 ? b->limb[i - 1] >> (64 - bits) : 0);
        }
        b->limb[i + limbs] = v;
    }
    for (int i = 0; i < limbs; i++)
        b->limb[i] = 0;
    b->n += limbs;
    big_push(b, over);
}

static void big_shift_right_1(big *b)
{
    for (int i = 0; i < b->n; i++)
        b->limb[i] = b->limb[i] >> 1 | (i + 1 < b->n ? b->limb[i + 1] << 63 : 0);
    if (b->n > 0 && b->limb[b->n - 1] == 0)
        b->n--;
}

/* a / b rounded half up into *ret; false when it is 2^120 or more. b is not 0. */
static bool big_divide(const big *a, const big *b, unsigned __int128 *ret)
{
    unsigned __int128 q = 0;
    big rest = *a, divisor = *b;
    int shift = big_bits(a) - big_bits(b);
    if (shift >= 120)
        return false;
    if (b->n == 1) {
        unsigned __int128 carry = 0;
        for (int i = a->n - 1; i >= 0; i--) {
            carry = carry << 64 | a->limb[i];
            q = q << 64 | (uint64_t)(carry / b->limb[0]);
            carry %= b->limb[0];
        }
        *ret = q + (carry * 2 >= b->limb[0]);
        return true;
    }
    if (shift > 0)
        big_shift_left(&divisor, shift);
    for (; shift >= 0; shift--) {
        q <<= 1;
        if (big_compare(&rest, &divisor) >= 0) {
            big_subtract(&rest, &divisor);
            q |= 1;
        }
        if (shift > 0)
            big_shift_right_1(&divisor);
    }
    big twice = rest;
    big_add(&twice, &rest);
    *ret = q + (twice.overflow || big_compare(&twice, b) >= 0);
    return true;
}

/* --- converting --- */

/* A signed fraction times a power of ten. */
typedef struct fraction {
    bool negative;
    big num, den;
    int64_t ten;
} fraction;

static unsigned __int128 magnitude(og_decimal d)
{
    return d < 0 ? -(unsigned __int128)d : (unsigned __int128)d;
}

/* num * 10^ten, -num * 10^ten added to f. */
static void fraction_add(fraction *f, og_decimal v)
{
    if (v == 0)
        return;
    big term_of = f->den;
    big_times_128(&term_of, magnitude(v));
    if (f->ten > 0)
        big_times_ten(&f->num, f->ten);
    else
        big_times_ten(&term_of, -f->ten);
    f->ten = f->ten > 0 ? 0 : f->ten;
    f->num.overflow = f->num.overflow || term_of.overflow;
    if (f->negative == (v < 0)) {
        big_add(&f->num, &term_of);
    } else if (big_compare(&f->num, &term_of) >= 0) {
        big_subtract(&f->num, &term_of);
    } else {
        big left = term_of;
        big_subtract(&left, &f->num);
        left.overflow = f->num.overflow;
        f->num = left;
        f->negative = v < 0;
    }
}

static void times_power(fraction *f, uint64_t num, uint64_t den, int32_t exponent_of)
{
    if (exponent_of < 0) {
        big_times_power(&f->num, den, -(int64_t)exponent_of);
        big_times_power(&f->den, num, -(int64_t)exponent_of);
    } else {
        big_times_power(&f->num, num, exponent_of);
        big_times_power(&f->den, den, exponent_of);
    }
}

/* Multiplies by [pi]^exponent. */
static void times_pi(fraction *f, int32_t exponent_of)
{
    unsigned __int128 pi = (unsigned __int128)PI_HIGH * 1000000000000000000ULL + PI_LOW;
    big *into = exponent_of < 0 ? &f->den : &f->num;
    f->ten += (int64_t)PI_TEN * exponent_of;
    for (int32_t n = exponent_of < 0 ? -exponent_of : exponent_of; n > 0 && !into->overflow; n--)
        big_times_128(into, pi);
}

/* The scale of a temperature that stands alone, or NULL. */
static const unit_row *scale_of(const parsed *p)
{
    bool plain = p->alone != NULL && p->num == 1; /* a binary prefix on a temperature: no */
    return plain && p->alone->kind == LINEAR ? p->alone : NULL;
}

/* A unit that has no relation to others where it stands: arbitrary, logarithmic, or a temperature
 * scale inside a product. */
static bool stands_apart(uint16_t unit, const parsed *p)
{
    return units[unit].kind == OWN || (units[unit].kind == LINEAR && scale_of(p) == NULL);
}

/* The units that stand apart in a stand likewise in b. */
static bool apart_alike(const parsed *a, const parsed *b)
{
    for (uint32_t i = 0; i < a->count; i++) {
        uint16_t unit = a->powers[i].unit;
        int32_t x = a->powers[i].exponent, y = power_of(b, unit);
        bool x_apart = x != 0 && stands_apart(unit, a), y_apart = y != 0 && stands_apart(unit, b);
        if ((x_apart || y_apart) && (x != y || x_apart != y_apart))
            return false;
    }
    return true;
}

static void add_dimensions(const parsed *p, int sign, int64_t dims[DIMENSIONS])
{
    for (uint32_t i = 0; i < p->count; i++)
        for (int d = 0; d < DIMENSIONS && !stands_apart(p->powers[i].unit, p); d++)
            dims[d] += (int64_t)sign * p->powers[i].exponent * units[p->powers[i].unit].dims[d];
}

/* True when both are of one dimension. */
static bool same_dimension(const parsed *a, const parsed *b)
{
    int64_t dims[DIMENSIONS] = {0};
    if (!apart_alike(a, b) || !apart_alike(b, a))
        return false;
    add_dimensions(a, 1, dims);
    add_dimensions(b, -1, dims);
    for (int d = 0; d < DIMENSIONS; d++)
        if (dims[d] != 0)
            return false;
    return true;
}

/* Multiplies f by a unit to a power; powers of [pi] are only counted. */
static void times_unit(fraction *f, uint16_t unit, int32_t exponent_of, int64_t *pi)
{
    if (exponent_of == 0)
        return;
    times_power(f, units[unit].num, units[unit].den, exponent_of);
    f->ten += (int64_t)units[unit].ten * exponent_of;
    *pi += (int64_t)units[unit].pi * exponent_of;
}

/* Multiplies f by (what a comes to) / (what b comes to). What stands in both cancels first. */
static void times_ratio(fraction *f, const parsed *a, const parsed *b)
{
    int64_t pi = 0;
    big_times_128(&f->num, a->num);
    big_times_128(&f->num, b->den);
    big_times_128(&f->den, a->den);
    big_times_128(&f->den, b->num);
    f->ten += (int64_t)a->ten - b->ten;
    for (uint32_t i = 0; i < a->count; i++) {
        power p = a->powers[i];
        times_unit(f, p.unit, p.exponent - power_of(b, p.unit), &pi);
    }
    for (uint32_t i = 0; i < b->count; i++) {
        power p = b->powers[i];
        bool in_both = false;
        for (uint32_t j = 0; j < a->count && !in_both; j++)
            in_both = a->powers[j].unit == p.unit;
        if (!in_both)
            times_unit(f, p.unit, -p.exponent, &pi);
    }
    times_pi(f, (int32_t)pi);
}

/* value (scaled by 10^8) in a, as a fraction of b's unit before b's own zero point. */
static bool in_terms_of(og_decimal value, const parsed *a, const parsed *b, fraction *f)
{
    if (a->overflow || b->overflow || !same_dimension(a, b))
        return false;
    *f = (fraction){.negative = value < 0};
    big_set(&f->num, magnitude(value));
    big_set(&f->den, 1);
    const unit_row *from = scale_of(a), *to = scale_of(b);
    if (from != NULL || to != NULL) {
        /* (value * prefix + offset) * factor / factor - offset, and the prefix last */
        if (from != NULL) {
            f->ten = a->ten;
            fraction_add(f, from->offset);
            f->ten -= a->ten; /* times_ratio brings it again */
        }
        times_ratio(f, a, b);
        if (to != NULL) {
            f->ten += b->ten;
            fraction_add(f, -(og_decimal)to->offset);
            f->ten -= b->ten;
        }
    } else {
        times_ratio(f, a, b);
    }
    return !f->num.overflow && !f->den.overflow;
}

/* Brings the power of ten into numerator or denominator. */
static bool fraction_settle(fraction *f)
{
    big_times_ten(f->ten > 0 ? &f->num : &f->den, f->ten > 0 ? f->ten : -f->ten);
    f->ten = 0;
    return !f->num.overflow && !f->den.overflow;
}

static bool fraction_round(fraction *f, og_decimal *ret)
{
    unsigned __int128 q;
    /* beyond this a nonzero value is out of range or zero: no need to multiply it out */
    if (f->num.n == 0 || f->ten < -600) {
        *ret = 0;
        return true;
    }
    if (!fraction_settle(f)) {
        if (f->num.overflow || big_bits(&f->num) > 500)
            return false;
        *ret = 0; /* the denominator alone outgrew 1,024 bits */
        return true;
    }
    if (!big_divide(&f->num, &f->den, &q) || q > (unsigned __int128)OG_DECIMAL_LIMIT)
        return false;
    *ret = f->negative ? -(og_decimal)q : (og_decimal)q;
    return true;
}

bool ucum_comparable(og_str a, og_str b)
{
    parsed x, y;
    return parse(a, &x) && parse(b, &y) && same_dimension(&x, &y);
}

bool ucum_convert(og_decimal value, og_str from, og_str to, og_decimal *ret)
{
    parsed a, b;
    fraction f;
    if (!parse(from, &a))
        return false;
    if (og_str_eq(from, to)) {
        *ret = value;
        return true;
    }
    if (!parse(to, &b) || !in_terms_of(value, &a, &b, &f))
        return false;
    return fraction_round(&f, ret);
}

static int decimal_compare(og_decimal a, og_decimal b)
{
    return (a > b) - (a < b);
}

/* f, which stands for the left value in the right one's unit, against the right value. */
static bool fraction_compare(fraction *f, og_decimal b, int *ret)
{
    bool positive = b > 0, negative = b < 0;
    if (f->num.n == 0 || b == 0 || f->negative != negative) {
        int left = f->num.n == 0 ? 0 : f->negative ? -1 : 1;
        *ret = decimal_compare(left, positive - negative);
        return true;
    }
    if (!fraction_settle(f))
        return false;
    big right = f->den;
    big_times_128(&right, magnitude(b));
    if (right.overflow)
        return false;
    int c = big_compare(&f->num, &right);
    *ret = negative ? -c : c;
    return true;
}

bool ucum_compare(og_decimal a, og_str unit_a, og_decimal b, og_str unit_b, int *ret)
{
    parsed x, y;
    fraction f;
    if (!parse(unit_a, &x))
        return false;
    if (og_str_eq(unit_a, unit_b)) {
        *ret = decimal_compare(a, b);
        return true;
    }
    if (!parse(unit_b, &y))
        return false;
    /* The signs decide without a factor, which may be too large to calculate with one way round. */
    int left = decimal_compare(a, 0), right = decimal_compare(b, 0);
    if ((left != right || left == 0) && scale_of(&x) == NULL && scale_of(&y) == NULL) {
        if (!same_dimension(&x, &y))
            return false;
        *ret = decimal_compare(left, right);
        return true;
    }
    if (!in_terms_of(a, &x, &y, &f))
        return false;
    return fraction_compare(&f, b, ret);
}

/* --- products --- */

/* The factors of a product in order of first appearance. */
typedef struct product {
    struct {
        og_str text;
        int32_t exponent;
        bool is_number;
    } factors[MAX_TEXT];
    size_t count;
    int32_t sign; /* 1 or -1: how the text that is being read enters the product */

} product;

static bool factor_into(void *user, const component *c)
{
    product *p = user;
    og_str text = c->text;
    if (c->unit == NULL && c->number == 1)
        return true;
    if (og_str_is(text, "10^"))
        text = OG_STR("10*");
    size_t i = 0;
    while (i < p->count && !og_str_eq(p->factors[i].text, text))
        i++;
    if (i == MAX_TEXT)
        return false;
    if (i == p->count) {
        p->factors[i].text = text;
        p->factors[i].exponent = 0;
        p->factors[i].is_number = c->unit == NULL;
        p->count++;
    }
    p->factors[i].exponent += p->sign * c->exponent;
    return true;
}

typedef struct writer {
    char *out;
    size_t size, at;
    bool full;
} writer;

static void put(writer *w, og_str s)
{
    if (w->full || s.n >= w->size - w->at) {
        w->full = true;
        return;
    }
    memcpy(w->out + w->at, s.p, s.n);
    w->at += s.n;
    w->out[w->at] = '\0';
}

/* A number has no exponent of its own in UCUM ("122" is a hundred and twenty-two): it is repeated.
 */
static void put_factor(writer *w, og_str text, int32_t exponent_of, bool is_number)
{
    bool divide = exponent_of < 0;
    int32_t n = divide ? -exponent_of : exponent_of;
    w->full = w->full || n > MAX_EXPONENT;
    for (int32_t i = 0; i < (is_number ? n : 1) && !w->full; i++) {
        if (divide)
            put(w, OG_STR("/"));
        else if (w->at != 0)
            put(w, OG_STR("."));
        put(w, text);
    }
    if (is_number || (n == 1 && !og_str_is(text, "10*")))
        return;
    char digits[16];
    int length = snprintf(digits, sizeof(digits), "%d", n);
    put(w, (og_str){digits, (size_t)length});
}

static bool write_product(const product *p, char *out, size_t size)
{
    writer w = {out, size, 0, size == 0};
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < p->count; i++)
            if (pass == 0 ? p->factors[i].exponent > 0 : p->factors[i].exponent < 0)
                put_factor(&w, p->factors[i].text, p->factors[i].exponent, p->factors[i].is_number);
    if (w.at == 0)
        put(&w, OG_STR("1"));
    return !w.full;
}

static bool combine(og_str a, og_str b, int32_t sign, char *out, size_t size)
{
    product p = {.sign = 1};
    if (!read_components(a, factor_into, &p))
        return false;
    p.sign = sign;
    return read_components(b, factor_into, &p) && write_product(&p, out, size);
}

bool ucum_multiply(og_str a, og_str b, char *out, size_t size)
{
    return combine(a, b, 1, out, size);
}

bool ucum_divide(og_str a, og_str b, char *out, size_t size)
{
    return combine(a, b, -1, out, size);
}
