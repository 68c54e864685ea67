/* One byte marks a UUID's 16, another one a byte that is itself one of the two. UTF-8 has neither;
 * numbers in keys do. */
#include "daemon/kv_key.h"

#define MARK_UUID  0xfe /* less than MARK_BYTE: a marked byte stays behind all that is less */
#define MARK_BYTE  0xff
#define UUID_BYTES 16
#define UUID_CHARS 36

static bool is_of_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
}

static unsigned digit_of(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static bool is_hyphen_at(size_t i)
{
    return i == 8 || i == 13 || i == 18 || i == 23;
}

/* s begins with a UUID that ends there. */
static bool read_uuid(og_str s, char out[UUID_BYTES])
{
    if (s.n < UUID_CHARS || s.p[8] != '-' || (s.n > UUID_CHARS && is_of_word(s.p[UUID_CHARS])) ||
        !og_str_is_uuid((og_str){s.p, UUID_CHARS}, false))
        return false;
    for (size_t i = 0; i < UUID_CHARS; i += 2) {
        i += is_hyphen_at(i);
        *out++ = (char)(unsigned char)(digit_of(s.p[i]) << 4 | digit_of(s.p[i + 1]));
    }
    return true;
}

static void write_uuid(const char *bytes, char *to)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < UUID_CHARS; i++) {
        if (is_hyphen_at(i)) {
            *to++ = '-';
            continue;
        }
        unsigned char b = (unsigned char)*bytes++;
        *to++ = digits[b >> 4];
        *to++ = digits[b & 15];
        i++;
    }
}

size_t kv_key_pack(og_str key, char *to)
{
    char *at = to;
    bool inside = false; /* a word */
    for (size_t i = 0; i < key.n; i++) {
        unsigned char c = (unsigned char)key.p[i];
        if (!inside && read_uuid(og_str_from(key, i), at + 1)) {
            *at = (char)MARK_UUID;
            at += 1 + UUID_BYTES;
            i += UUID_CHARS - 1; /* no word goes on behind it */
            continue;
        }
        if (c >= MARK_UUID)
            *at++ = (char)MARK_BYTE;
        *at++ = (char)c;
        inside = is_of_word((char)c);
    }
    return (size_t)(at - to);
}

static bool has_mark(og_str packed)
{
    for (size_t i = 0; i < packed.n; i++)
        if ((unsigned char)packed.p[i] >= MARK_UUID)
            return true;
    return false;
}

og_str kv_key_unpack(og_str packed, char *to, size_t room)
{
    static const og_str none = {NULL, 0};
    size_t n = 0;
    if (!has_mark(packed))
        return packed.n <= room ? packed : none;
    for (size_t i = 0; i < packed.n; i++) {
        unsigned char c = (unsigned char)packed.p[i];
        if (c == MARK_UUID) {
            if (packed.n - i < 1 + UUID_BYTES || room - n < UUID_CHARS)
                return none;
            write_uuid(packed.p + i + 1, to + n);
            n += UUID_CHARS;
            i += UUID_BYTES;
            continue;
        }
        i += c == MARK_BYTE;
        if (i == packed.n || n == room)
            return none;
        to[n++] = packed.p[i];
    }
    return (og_str){to, n};
}
