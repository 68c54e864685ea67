/* Text: slices, a bounded growable buffer, UTF-8, CRC32C. */
#ifndef OG_BASE_TEXT_H
#define OG_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "fhir/base/error.h"

/* A slice: n bytes at p, not terminated. p may be NULL when n is 0. It owns nothing. */
typedef struct og_str {
    const char *p;
    size_t n;
} og_str;

#define OG_STR(lit)   ((og_str){(lit), sizeof(lit) - 1})
#define OG_STR_ARG(s) ((int)(s).n), ((s).p != NULL ? (s).p : "") /* for printf's %.*s */

static inline og_str og_str_of(const char *c)
{
    return (og_str){c, c != NULL ? strlen(c) : 0};
}
static inline bool og_str_eq(og_str a, og_str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
static inline bool og_str_is(og_str a, const char *c)
{
    return og_str_eq(a, og_str_of(c));
}
static inline bool og_str_starts(og_str a, og_str prefix)
{
    return a.n >= prefix.n && (prefix.n == 0 || memcmp(a.p, prefix.p, prefix.n) == 0);
}
static inline bool og_str_ends(og_str a, og_str suffix)
{
    return a.n >= suffix.n &&
           (suffix.n == 0 || memcmp(a.p + a.n - suffix.n, suffix.p, suffix.n) == 0);
}
static inline og_str og_str_from(og_str a, size_t at)
{
    if (a.n == 0) /* p may be NULL, to which nothing can be added */
        return a;
    return at >= a.n ? (og_str){a.p + a.n, 0} : (og_str){a.p + at, a.n - at};
}
/* Position of a byte, or -1. */
static inline ptrdiff_t og_str_find(og_str a, char c)
{
    const char *f = a.n != 0 ? memchr(a.p, c, a.n) : NULL;
    return f != NULL ? f - a.p : -1;
}
/* Byte order, shorter first when equal so far: <0, 0, >0. */
int og_str_cmp(og_str a, og_str b);
/* Equal without regard to ASCII case. */
bool og_str_ieq(og_str a, og_str b);
/* FNV-1a based 64-bit hash. */
uint64_t og_str_hash(og_str a);
/* A whole number from min to max in decimal digits, perhaps behind a minus, without anything around
 * it. */
bool og_str_int(og_str a, int64_t min, int64_t max, int64_t *ret);
/* Is it a UUID as text, without anything around it? Capital digits only when upper. */
bool og_str_is_uuid(og_str a, bool upper);

/* A growable buffer that is born with its maximum. After a failure (no memory, over the maximum)
 * every further call does nothing and og_buf_failed() says so: check once at the end. */
typedef struct og_buf {
    char *p;
    size_t n, cap, max;
    bool failed;
    bool full; /* failed because of the maximum, not for lack of memory */
} og_buf;

void og_buf_init(og_buf *b, size_t max_bytes);
void og_buf_done(og_buf *b); /* frees; accepts a zeroed one */
/* Room for n more bytes, for whoever knows that so many come: one piece of memory, not a dozen. No
 * more than the maximum; what comes may be less, or more. */
void og_buf_reserve(og_buf *b, size_t n);
void og_buf_clear(og_buf *b); /* empty again, memory kept, failure forgotten */
void og_buf_add(og_buf *b, const void *p, size_t n);
void og_buf_adds(og_buf *b, og_str s);
void og_buf_addz(og_buf *b, const char *c); /* terminated C string */
void og_buf_addc(og_buf *b, char c);
void og_buf_addf(og_buf *b, const char *fmt, ...) OG_PRINTF(2, 3);
/* A JSON string with its quotes (RFC 8259); control characters escaped, UTF-8 kept as it is. */
void og_buf_add_json(og_buf *b, og_str s);
/* Contents as slice: borrowed until the next call on b. Contents are always followed by a NUL. */
og_str og_buf_str(const og_buf *b);
static inline bool og_buf_failed(const og_buf *b)
{
    return b->failed;
}

/* Position of the first byte that is not valid UTF-8 (RFC 3629: no surrogates, no overlong forms),
 * or s.n when all is valid. */
size_t og_utf8_check(og_str s);
/* Length of the valid sequence that begins at s (1 to 4), or 0 when none does. n > 0 bytes are
 * readable. */
size_t og_utf8_length(const char *s, size_t n);
/* Decodes one code point at s.p[*at], advances *at; 0xFFFD and one byte on bad input. at < s.n. */
uint32_t og_utf8_next(og_str s, size_t *at);
/* Writes cp as UTF-8 into out (4 bytes room), returns the length. */
size_t og_utf8_put(uint32_t cp, char *out);

/* CRC-32C (Castagnoli); start with crc 0, feed the result back for more. */
uint32_t og_crc32c(uint32_t crc, const void *data, size_t n);
/* The same without the processor's own instruction; for machines that lack it, and for its test. */
uint32_t og__crc32c_portable(uint32_t crc, const void *data, size_t n);
/* MurmurHash2 as Kafka's Java clients compute it (org.apache.kafka.common.utils.Utils.murmur2). */
uint32_t og_murmur2(const void *data, size_t n);

/* Line and column (1-based, column in bytes) of a byte position. */
void og_text_place(og_str text, size_t at, uint32_t *ret_line, uint32_t *ret_column);

#endif
