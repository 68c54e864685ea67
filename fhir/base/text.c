/* Text: slices, a bounded growable buffer, UTF-8, checksums. */
#include "fhir/base/text.h"

#include <stdarg.h>
#include <stdlib.h>

int og_str_cmp(og_str a, og_str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n != 0 ? memcmp(a.p, b.p, n) : 0;
    if (c != 0)
        return c;
    return (a.n > b.n) - (a.n < b.n);
}

static unsigned char lower(unsigned char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned char)(c + 32) : c;
}

bool og_str_ieq(og_str a, og_str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower((unsigned char)a.p[i]) != lower((unsigned char)b.p[i]))
            return false;
    return true;
}

uint64_t og_str_hash(og_str a)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < a.n; i++)
        h = (h ^ (unsigned char)a.p[i]) * 0x100000001b3u;
    h ^= h >> 32; /* the low bits choose the slot: let the high ones take part */
    return h;
}

bool og_str_int(og_str a, int64_t min, int64_t max, int64_t *ret)
{
    bool minus = a.n != 0 && a.p[0] == '-';
    uint64_t v = 0;
    if (a.n == minus || a.n - minus > 19)
        return false;
    for (size_t i = minus; i < a.n; i++) {
        if (a.p[i] < '0' || a.p[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(a.p[i] - '0');
    }
    if (v > (uint64_t)INT64_MAX + minus)
        return false;
    int64_t n = minus ? (int64_t)(0 - v) : (int64_t)v;
    if (n < min || n > max)
        return false;
    *ret = n;
    return true;
}

bool og_str_is_uuid(og_str a, bool upper)
{
    if (a.n != 36)
        return false;
    for (size_t i = 0; i < a.n; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        char c = upper ? (char)lower((unsigned char)a.p[i]) : a.p[i];
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        if (dash ? c != '-' : !hex)
            return false;
    }
    return true;
}

void og_buf_init(og_buf *b, size_t max_bytes)
{
    *b = (og_buf){.max = max_bytes};
}

void og_buf_done(og_buf *b)
{
    free(b->p);
    *b = (og_buf){0};
}

void og_buf_clear(og_buf *b)
{
    b->n = 0;
    b->failed = b->full = false;
    if (b->p != NULL)
        b->p[0] = '\0';
}

static __attribute__((noinline)) bool grow(og_buf *b, size_t n)
{
    if (b->failed)
        return false;
    if (n > b->max || b->n > b->max - n) {
        b->failed = b->full = true;
        return false;
    }
    if (b->n + n < b->cap)
        return true;
    size_t cap = b->cap != 0 ? b->cap : 128;
    while (cap <= b->n + n)
        cap += cap / 2 + 64;
    char *p = realloc(b->p, cap);
    if (p == NULL) {
        b->failed = true;
        return false;
    }
    b->p = p;
    b->cap = cap;
    return true;
}

/* Room for n more bytes and the NUL behind them. */
static inline bool room(og_buf *b, size_t n)
{
    return (b->n + n < b->cap && n <= b->max - b->n && !b->failed) || grow(b, n);
}

void og_buf_reserve(og_buf *b, size_t n)
{
    size_t left = b->max - b->n;
    (void)room(b, n < left ? n : left);
}

void og_buf_add(og_buf *b, const void *p, size_t n)
{
    if (!room(b, n))
        return;
    if (n != 0)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = '\0';
}

void og_buf_adds(og_buf *b, og_str s)
{
    og_buf_add(b, s.p, s.n);
}

void og_buf_addz(og_buf *b, const char *c)
{
    og_buf_add(b, c, strlen(c));
}

void og_buf_addc(og_buf *b, char c)
{
    if (!room(b, 1))
        return;
    b->p[b->n++] = c;
    b->p[b->n] = '\0';
}

void og_buf_addf(og_buf *b, const char *fmt, ...)
{
    va_list ap, again;
    size_t left = b->p != NULL && !b->failed ? b->cap - b->n : 0;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(left > 0 ? b->p + b->n : NULL, left, fmt, ap); /* mostly there is room */
    va_end(ap);
    bool fits = n >= 0 && (size_t)n < left;
    if (left > 0 && (!fits || (size_t)n > b->max - b->n))
        b->p[b->n] = '\0'; /* as before */
    if (n < 0)
        b->failed = true;
    else if (room(b, (size_t)n)) {
        if (!fits)
            vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    }
    va_end(again);
}

#define EVERY_BYTE(b) (0x0101010101010101u * (b))

/* How many bytes at p are the same in a JSON string. Eight at a time: a byte below 0x20, or one
 * that is zero after the mask for a quote or a backslash, sets the top bit of its place. Behind the
 * first such byte others may be set too, so the eight that have one are looked at one by one. */
static size_t plain_bytes(const char *p, size_t n)
{
    size_t i = 0;
    for (uint64_t w; i + 8 <= n; i += 8) {
        memcpy(&w, p + i, 8);
        uint64_t quote = w ^ EVERY_BYTE('"'), slash = w ^ EVERY_BYTE('\\');
        uint64_t hit = ((w - EVERY_BYTE(0x20)) & ~w) | ((quote - EVERY_BYTE(1)) & ~quote) |
                       ((slash - EVERY_BYTE(1)) & ~slash);
        if ((hit & EVERY_BYTE(0x80)) != 0)
            break;
    }
    while (i < n && (unsigned char)p[i] >= 0x20 && p[i] != '"' && p[i] != '\\')
        i++;
    return i;
}

static void add_escaped(og_buf *b, unsigned char c)
{
    switch (c) {
    case '"': og_buf_addz(b, "\\\""); break;
    case '\\': og_buf_addz(b, "\\\\"); break;
    case '\n': og_buf_addz(b, "\\n"); break;
    case '\r': og_buf_addz(b, "\\r"); break;
    case '\t': og_buf_addz(b, "\\t"); break;
    default: og_buf_addf(b, "\\u%04x", c);
    }
}

/* Most strings have nothing to be escaped: they are put in with their quotes at once. */
static bool add_plain(og_buf *b, og_str s)
{
    if (s.n == 0 || s.n > b->max || plain_bytes(s.p, s.n) < s.n || !room(b, s.n + 2))
        return false;
    char *to = b->p + b->n;
    to[0] = '"';
    memcpy(to + 1, s.p, s.n);
    to[s.n + 1] = '"';
    to[s.n + 2] = '\0';
    b->n += s.n + 2;
    return true;
}

void og_buf_add_json(og_buf *b, og_str s)
{
    if (add_plain(b, s))
        return;
    og_buf_addc(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        size_t run = plain_bytes(s.p + i, s.n - i);
        if (run != 0)
            og_buf_add(b, s.p + i, run);
        i += run;
        if (i < s.n)
            add_escaped(b, (unsigned char)s.p[i]);
    }
    og_buf_addc(b, '"');
}

og_str og_buf_str(const og_buf *b)
{
    return (og_str){b->p != NULL ? b->p : "", b->n};
}

size_t og_utf8_length(const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xC2 || p[0] > 0xF4)
        return 0;
    size_t len = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    if (n < len)
        return 0;
    unsigned char lo = 0x80, hi = 0xBF;
    switch (p[0]) {
    case 0xE0: lo = 0xA0; break;
    case 0xED: hi = 0x9F; break;
    case 0xF0: lo = 0x90; break;
    case 0xF4: hi = 0x8F; break;
    default: break;
    }
    if (p[1] < lo || p[1] > hi)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return len;
}

size_t og_utf8_check(og_str s)
{
    size_t i = 0;
    while (i < s.n) {
        uint64_t w;
        if (s.n - i >= 8 && (memcpy(&w, s.p + i, 8), (w & 0x8080808080808080u) == 0)) {
            i += 8;
            continue;
        }
        size_t len = og_utf8_length(s.p + i, s.n - i);
        if (len == 0)
            return i;
        i += len;
    }
    return s.n;
}

uint32_t og_utf8_next(og_str s, size_t *at)
{
    const unsigned char *p = (const unsigned char *)s.p + *at;
    size_t len = og_utf8_length(s.p + *at, s.n - *at);
    *at += len != 0 ? len : 1;
    switch (len) {
    case 1: return p[0];
    case 2: return (uint32_t)(p[0] & 0x1F) << 6 | (p[1] & 0x3F);
    case 3: return (uint32_t)(p[0] & 0x0F) << 12 | (uint32_t)(p[1] & 0x3F) << 6 | (p[2] & 0x3F);
    case 4:
        return (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3F) << 12 |
               (uint32_t)(p[2] & 0x3F) << 6 | (p[3] & 0x3F);
    default: return 0xFFFD;
    }
}

size_t og_utf8_put(uint32_t cp, char *out)
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xC0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xE0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}

/* --- CRC-32C --- */

#define CASTAGNOLI 0x82F63B78u /* reflected */

/* Eight tables: [k][b] is what byte b does to the sum k bytes later. */
static const uint32_t (*crc_tables(void))[256]
{
    static uint32_t table[8][256];
    static bool ready;

    if (__atomic_load_n(&ready, __ATOMIC_ACQUIRE))
        return (const uint32_t(*)[256])table;
    for (uint32_t i = 0; i < 256; i++) { /* every thread that comes here computes the same */
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = (c & 1) != 0 ? c >> 1 ^ CASTAGNOLI : c >> 1;
        __atomic_store_n(&table[0][i], c, __ATOMIC_RELAXED);
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 8; k++) {
            uint32_t c = __atomic_load_n(&table[k - 1][i], __ATOMIC_RELAXED);
            c = c >> 8 ^ __atomic_load_n(&table[0][c & 0xFF], __ATOMIC_RELAXED);
            __atomic_store_n(&table[k][i], c, __ATOMIC_RELAXED);
        }
    __atomic_store_n(&ready, true, __ATOMIC_RELEASE);
    return (const uint32_t(*)[256])table;
}

uint32_t og__crc32c_portable(uint32_t crc, const void *data, size_t n)
{
    const uint32_t(*t)[256] = crc_tables();
    const unsigned char *p = data;

    crc = ~crc;
    for (; n >= 8; n -= 8, p += 8) {
        crc ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        crc = t[7][crc & 0xFF] ^ t[6][crc >> 8 & 0xFF] ^ t[5][crc >> 16 & 0xFF] ^ t[4][crc >> 24] ^
              t[3][p[4]] ^ t[2][p[5]] ^ t[1][p[6]] ^ t[0][p[7]];
    }
    for (; n != 0; n--, p++)
        crc = t[0][(crc ^ *p) & 0xFF] ^ crc >> 8;
    return ~crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const void *data,
                                                               size_t n)
{
    const unsigned char *p = data;
    uint64_t c = (uint32_t)~crc;

    for (; n >= 8; n -= 8, p += 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        c = __builtin_ia32_crc32di(c, w);
    }
    for (; n != 0; n--, p++)
        c = __builtin_ia32_crc32qi((uint32_t)c, *p);
    return ~(uint32_t)c;
}
#endif

uint32_t og_crc32c(uint32_t crc, const void *data, size_t n)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2"))
        return crc32c_sse42(crc, data, n);
#endif
    return og__crc32c_portable(crc, data, n);
}

uint32_t og_murmur2(const void *data, size_t n)
{
    const unsigned char *p = data;
    const uint32_t m = 0x5bd1e995u;
    uint32_t h = 0x9747b28cu ^ (uint32_t)n;

    for (; n >= 4; n -= 4, p += 4) {
        uint32_t k =
            (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        k *= m;
        k ^= k >> 24;
        k *= m;
        h *= m;
        h ^= k;
    }
    if (n == 3)
        h ^= (uint32_t)p[2] << 16;
    if (n >= 2)
        h ^= (uint32_t)p[1] << 8;
    if (n >= 1) {
        h ^= p[0];
        h *= m;
    }
    h ^= h >> 13;
    h *= m;
    h ^= h >> 15;
    return h;
}

void og_text_place(og_str text, size_t at, uint32_t *ret_line, uint32_t *ret_column)
{
    uint32_t line = 1;
    size_t start = 0;
    for (size_t i = 0; i < at && i < text.n; i++)
        if (text.p[i] == '\n') {
            line++;
            start = i + 1;
        }
    *ret_line = line;
    *ret_column = (uint32_t)(at - start + 1);
}
