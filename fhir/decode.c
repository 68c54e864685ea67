/* The FHIR JSON reader: one pass over the bytes, one node per value and per key.
 *
 * The pass is a loop and not a recursion: frames hold what is known of the open containers, so that
 * depth costs a counter. Strings are scanned 16 bytes at a time for the bytes that matter: quote,
 * backslash, control characters, and everything that is not ASCII (which is then checked as UTF-8).
 *
 * Duplicate keys: an object of up to FEW_KEYS members carries a 64-bit mask of fingerprints; only a
 * key whose bit is set already is compared with those before it. Larger objects, and those with
 * escapes in a key, are sorted by hash and content when they close: n log n whatever the sender
 * chose as names.
 *
 * What a value means is left to others: tape.c walks what is made here. */
#include "fhir/decode.h"

#include "fhir/fhir_private.h"

#if defined(__SSE2__) && !defined(OG_NO_SIMD)
#define OG_SSE2 1
#include <emmintrin.h>
#endif

#define MAX_BYTES   ((1u << 28) - 1) /* a node has 28 bits for a length or an index */
#define FEW_KEYS    32u
#define NEAR_FRAMES 32u /* depth that needs no memory beyond the stack */

/* An open container. */
typedef struct frame {
    uint64_t seen;    /* fingerprints of the keys so far */
    uint32_t at;      /* its node */
    uint32_t members; /* keys so far */
    bool object;
    bool escaped; /* a key has escapes */
} frame;

/* A key of an object that is checked when it closes. */
typedef struct key {
    uint64_t hash; /* of the unescaped name */
    uint32_t node;
} key;

typedef struct reader {
    og_arena *arena;
    const char *text, *end;
    og_error *err;
    og_status status;
    fhir_node *nodes;
    uint32_t count, cap;
    frame *frames, *top; /* top is NULL outside of any container */
    uint32_t depth, frame_cap, max_depth;
    key *keys; /* scratch of the duplicate check: two halves of key_cap */
    uint32_t key_cap;
} reader;

/* --- errors --- */

static const char *fail_at(reader *r, const char *p, og_status status, const char *text)
{
    r->status = og_fail(r->err, status, "%s", text);
    og_error_byte(r->err, p - r->text);
    return NULL;
}

/* "expected X, found Y": Y is named by kind, never quoted, since the text is about a patient. */
static const char *unexpected(reader *r, const char *p, const char *expected)
{
    char found[24];
    unsigned char c = p < r->end ? (unsigned char)*p : 0;
    if (p == r->end)
        snprintf(found, sizeof found, "the end of the text");
    else if (c == '"')
        snprintf(found, sizeof found, "a string");
    else if (c == '-' || (c >= '0' && c <= '9'))
        snprintf(found, sizeof found, "a number");
    else if (c != 0 && strchr("{}[]:,", c) != NULL)
        snprintf(found, sizeof found, "'%c'", c);
    else if (c < 0x20 || c >= 0x7F)
        snprintf(found, sizeof found, "byte 0x%02X", c);
    else
        snprintf(found, sizeof found, "something else");
    r->status = og_fail(r->err, OG_SYNTAX, "expected %s, found %s", expected, found);
    og_error_byte(r->err, p - r->text);
    return NULL;
}

static const char *no_memory(reader *r)
{
    r->status = og_fail(r->err, OG_NOMEM, "no memory for the document");
    return NULL;
}

/* --- the tape --- */

static bool grow_nodes(reader *r)
{
    uint32_t cap = r->cap + r->cap / 2 + 16;
    fhir_node *n = og_arena_grow(r->arena, r->nodes, r->cap * sizeof *n, cap * sizeof *n);
    if (n == NULL)
        return no_memory(r) != NULL;
    r->nodes = n;
    r->cap = cap;
    return true;
}

/* The caller has made sure that there is room. */
static inline void put(reader *r, fhir_kind kind, const char *from, size_t length)
{
    r->nodes[r->count++] =
        (fhir_node){(uint32_t)(from - r->text), (uint32_t)length << 4 | (uint32_t)kind};
}

/* --- strings --- */

/* The first byte from p on that is a quote, a backslash, a control character or not ASCII; end if
 * none. */
static inline const char *skip_plain(const char *p, const char *end)
{
#ifdef OG_SSE2
    const __m128i quote = _mm_set1_epi8('"'), back = _mm_set1_epi8('\\'),
                  space = _mm_set1_epi8(' ');
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i odd = _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, back));
        odd = _mm_or_si128(
            odd, _mm_cmplt_epi8(v, space)); /* signed: bytes from 0x80 on are below, too */
        unsigned mask = (unsigned)_mm_movemask_epi8(odd);
        if (mask != 0)
            return p + __builtin_ctz(mask);
    }
#else
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    for (; end - p >= 8; p += 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        uint64_t q = w ^ ones * '"', b = w ^ ones * '\\';
        /* a byte below x borrows into its high bit; false alarms above a true one do no harm */
        if (((w | (w - ones * 0x20) | (q - ones) | (b - ones)) & highs) != 0)
            break;
    }
#endif
    while (p < end) {
        unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\' || c < 0x20 || c >= 0x80)
            break;
        p++;
    }
    return p;
}

/* Four hexadecimal digits at p, or -1. */
static int32_t hex4(const char *p, const char *end)
{
    int32_t v = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int32_t d = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (d < 0)
            return -1;
        v = v << 4 | d;
    }
    return v;
}

/* p at a backslash; returns the byte behind the escape. */
static const char *read_escape(reader *r, const char *p)
{
    if (r->end - p < 2)
        return unexpected(r, r->end, "an escape and a closing quote");
    if (p[1] != 'u')
        return p[1] != 0 && strchr("\"\\/bfnrt", p[1]) != NULL
                   ? p + 2
                   : fail_at(r, p, OG_SYNTAX, "unknown escape in a string");
    int32_t hi = hex4(p + 2, r->end);
    if (hi < 0)
        return fail_at(r, p, OG_SYNTAX, "\\u needs four hexadecimal digits");
    if (hi < 0xD800 || hi > 0xDFFF)
        return p + 6;
    int32_t lo =
        hi < 0xDC00 && r->end - p >= 8 && p[6] == '\\' && p[7] == 'u' ? hex4(p + 8, r->end) : -1;
    if (lo < 0xDC00 || lo > 0xDFFF)
        return fail_at(r, p, OG_SYNTAX, "half a surrogate pair in a string");
    return p + 12;
}

/* p at a byte that is not ASCII; returns the next one that is. */
static const char *read_utf8(reader *r, const char *p)
{
    while (p < r->end && ((unsigned char)*p & 0x80) != 0) {
        size_t n = og_utf8_length(p, (size_t)(r->end - p));
        if (n == 0)
            return fail_at(r, p, OG_SYNTAX, "not valid UTF-8");
        p += n;
    }
    return p;
}

/* p behind the opening quote; returns the closing one. */
static inline const char *read_string(reader *r, const char *p, bool *ret_escaped)
{
    *ret_escaped = false;
    for (;;) {
        p = skip_plain(p, r->end);
        if (p == r->end)
            return fail_at(r, p, OG_SYNTAX, "a string without a closing quote");
        if (*p == '"')
            return p;
        if (*p == '\\') {
            *ret_escaped = true;
            p = read_escape(r, p);
        } else if (((unsigned char)*p & 0x80) != 0) {
            p = read_utf8(r, p);
        } else {
            return fail_at(r, p, OG_SYNTAX, "a control character in a string must be escaped");
        }
        if (p == NULL)
            return NULL;
    }
}

/* --- numbers and words --- */

static bool is_digit(const char *p, const char *end)
{
    return p < end && *p >= '0' && *p <= '9';
}

/* RFC 8259 section 6. */
static const char *read_number(reader *r, const char *p)
{
    const char *from = p;
    if (*p == '-')
        p++;
    if (!is_digit(p, r->end))
        return unexpected(r, p, "a digit");
    if (*p == '0') {
        p++;
        if (is_digit(p, r->end))
            return fail_at(r, from, OG_SYNTAX, "a number begins with a superfluous zero");
    }
    while (is_digit(p, r->end))
        p++;
    if (p < r->end && *p == '.') {
        p++;
        if (!is_digit(p, r->end))
            return unexpected(r, p, "a digit behind the decimal point");
        while (is_digit(p, r->end))
            p++;
    }
    if (p < r->end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < r->end && (*p == '+' || *p == '-'))
            p++;
        if (!is_digit(p, r->end))
            return unexpected(r, p, "a digit in the exponent");
        while (is_digit(p, r->end))
            p++;
    }
    put(r, FHIR_NUMBER, from, (size_t)(p - from));
    return p;
}

static const char *read_word(reader *r, const char *p, og_str word, fhir_kind kind)
{
    if ((size_t)(r->end - p) < word.n || memcmp(p, word.p, word.n) != 0)
        return unexpected(r, p, "a value");
    put(r, kind, p, word.n);
    return p + word.n;
}

/* A value that holds no others. */
static const char *read_scalar(reader *r, const char *p)
{
    switch (*p) {
    case 't': return read_word(r, p, OG_STR("true"), FHIR_TRUE);
    case 'f': return read_word(r, p, OG_STR("false"), FHIR_FALSE);
    case 'n': return read_word(r, p, OG_STR("null"), FHIR_NULL);
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9': return read_number(r, p);
    default: break;
    }
    if (p == r->text && r->end - p >= 3 && memcmp(p, "\xEF\xBB\xBF", 3) == 0)
        return fail_at(r, p, OG_SYNTAX, "a byte order mark stands before the text");
    return unexpected(r, p, "a value");
}

/* --- duplicate keys --- */

static og_str key_text(const reader *r, uint32_t node)
{
    return (og_str){r->text + r->nodes[node].pos, r->nodes[node].info >> 4};
}

/* Bit of a 64-bit mask for a name: its length and its first and last bytes. */
static inline uint64_t fingerprint(const char *p, size_t n)
{
    uint64_t w = 0;
    if (n >= 8) {
        uint64_t z;
        memcpy(&w, p, 8);
        memcpy(&z, p + n - 8, 8);
        w ^= z * 31;
    } else {
        memcpy(&w, p, n);
    }
    return 1ull << ((w ^ n) * 0x9E3779B97F4A7C15u >> 58);
}

static uint32_t node_behind(const reader *r, uint32_t i)
{
    fhir_kind k = (fhir_kind)(r->nodes[i].info & 15);
    return k == FHIR_OBJECT || k == FHIR_ARRAY ? r->nodes[i].info >> 4 : i + 1;
}

static const char *duplicate(reader *r, uint32_t node)
{
    og_str name = key_text(r, node);
    bool plain = name.n != 0 && name.n <= 64;
    for (size_t i = 0; plain && i < name.n; i++)
        plain = name.p[i] > ' ' && name.p[i] != 0x7F && name.p[i] != '\\';
    if (plain)
        r->status = og_fail(r->err, OG_INVALID, "the key \"%.*s\" stands twice in one object",
                            OG_STR_ARG(name));
    else
        r->status = og_fail(r->err, OG_INVALID, "a key stands twice in one object");
    og_error_byte(r->err, r->nodes[node].pos);
    return NULL;
}

/* Is the key just read (the last node) one of the open object's earlier ones? Linear, for few keys.
 */
static bool seen_before(const reader *r, const frame *f)
{
    og_str name = key_text(r, r->count - 1);
    for (uint32_t i = f->at + 1; i < r->count - 1; i = node_behind(r, i + 1))
        if (og_str_eq(key_text(r, i), name))
            return true;
    return false;
}

static uint64_t name_hash(const reader *r, uint32_t node)
{
    og_str s = key_text(r, node);
    const char *p = s.p, *end = s.p + s.n;
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    while (p < end) {
        char out[4];
        size_t n = fhir__unescape(&p, end, out);
        for (size_t i = 0; i < n; i++)
            h = (h ^ (unsigned char)out[i]) * 0x100000001b3u;
    }
    return h;
}

static int name_cmp(const reader *r, uint32_t a, uint32_t b)
{
    if (((r->nodes[a].info | r->nodes[b].info) & 15) == FHIR_KEY)
        return og_str_cmp(key_text(r, a), key_text(r, b));
    return fhir__cmp_escaped(key_text(r, a), key_text(r, b));
}

static bool key_less(const reader *r, const key *a, const key *b)
{
    return a->hash != b->hash ? a->hash < b->hash : name_cmp(r, a->node, b->node) < 0;
}

static void merge(const reader *r, const key *from, uint32_t mid, uint32_t n, key *to)
{
    uint32_t i = 0, j = mid;
    for (uint32_t k = 0; k < n; k++)
        to[k] = i < mid && (j >= n || !key_less(r, &from[j], &from[i])) ? from[i++] : from[j++];
}

/* Stable merge sort from the bottom up; tmp has room for n. Returns the half that holds the result.
 */
static key *sort_keys(const reader *r, key *keys, key *tmp, uint32_t n)
{
    for (uint64_t width = 1; width < n; width *= 2) {
        for (uint64_t i = 0; i < n; i += 2 * width) {
            uint64_t left = n - i, run = left < 2 * width ? left : 2 * width;
            merge(r, keys + i, (uint32_t)(width < run ? width : run), (uint32_t)run, tmp + i);
        }
        key *swap = keys;
        keys = tmp;
        tmp = swap;
    }
    return keys;
}

static bool room_for_keys(reader *r, uint32_t n)
{
    if (n <= r->key_cap)
        return true;
    uint32_t cap = r->key_cap * 2 > n ? r->key_cap * 2 : n;
    r->keys = og_arena_alloc(r->arena, 2 * (size_t)cap * sizeof *r->keys);
    r->key_cap = r->keys != NULL ? cap : 0;
    return r->keys != NULL;
}

/* All keys of an object that is about to close. Returns p, or NULL. */
static const char *check_keys(reader *r, const frame *f, const char *p)
{
    if (!room_for_keys(r, f->members))
        return no_memory(r);
    uint32_t n = 0;
    for (uint32_t i = f->at + 1; i < r->count; i = node_behind(r, i + 1))
        r->keys[n++] = (key){name_hash(r, i), i};
    const key *sorted = sort_keys(r, r->keys, r->keys + n, n);
    uint32_t twice = UINT32_MAX; /* the first in the text */
    for (uint32_t i = 1; i < n; i++)
        if (sorted[i].hash == sorted[i - 1].hash && sorted[i].node < twice &&
            name_cmp(r, sorted[i].node, sorted[i - 1].node) == 0)
            twice = sorted[i].node;
    return twice == UINT32_MAX ? p : duplicate(r, twice);
}

/* --- structure --- */

static inline const char *skip_space(const char *p, const char *end)
{
    while (p < end && (unsigned char)*p <= ' ' &&
           (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r'))
        p++;
    return p;
}

static bool grow_frames(reader *r)
{
    uint32_t cap = r->frame_cap * 2;
    frame *f = og_arena_alloc(r->arena, cap * sizeof *f);
    if (f == NULL)
        return no_memory(r) != NULL;
    memcpy(f, r->frames, r->depth * sizeof *f);
    r->frames = f;
    r->frame_cap = cap;
    return true;
}

/* p at the opening bracket; returns the byte behind it. */
static const char *open_container(reader *r, const char *p, bool object)
{
    if (r->depth >= r->max_depth)
        return fail_at(r, p, OG_LIMIT, "nested too deeply");
    if (r->depth == r->frame_cap && !grow_frames(r))
        return NULL;
    r->top = &r->frames[r->depth++];
    *r->top = (frame){.at = r->count, .object = object};
    put(r, object ? FHIR_OBJECT : FHIR_ARRAY, p, 0);
    return p + 1;
}

/* p at the closing bracket; returns the byte behind it. */
static const char *close_container(reader *r, const char *p)
{
    frame *f = r->top;
    if ((f->members > FEW_KEYS || f->escaped) && check_keys(r, f, p) == NULL)
        return NULL;
    r->nodes[f->at].info = r->count << 4 | (f->object ? FHIR_OBJECT : FHIR_ARRAY);
    r->depth--;
    r->top = r->depth != 0 ? f - 1 : NULL;
    return p + 1;
}

/* p at a key's opening quote; returns the first byte of the value. */
static const char *read_key(reader *r, const char *p)
{
    bool escaped;
    if (p == r->end || *p != '"')
        return unexpected(r, p, "a key");
    const char *from = p + 1;
    p = read_string(r, from, &escaped);
    if (p == NULL)
        return NULL;
    frame *f = r->top;
    put(r, escaped ? FHIR_KEY_ESCAPED : FHIR_KEY, from, (size_t)(p - from));
    f->escaped |= escaped;
    if (++f->members <= FEW_KEYS && !f->escaped) {
        uint64_t bit = fingerprint(from, (size_t)(p - from));
        if ((f->seen & bit) != 0 && seen_before(r, f))
            return duplicate(r, r->count - 1);
        f->seen |= bit;
    }
    p = skip_space(p + 1, r->end);
    if (p == r->end || *p != ':')
        return unexpected(r, p, "':'");
    return skip_space(p + 1, r->end);
}

/* Behind a value: closes what closes here and steps over a comma and a key. Returns the first byte
 * of the next value, or the end of the text when the document is complete. */
static const char *next_value(reader *r, const char *p)
{
    for (;;) {
        p = skip_space(p, r->end);
        if (r->top == NULL)
            return p == r->end ? p : unexpected(r, p, "nothing behind the document");
        if (p < r->end && *p == ',') {
            p = skip_space(p + 1, r->end);
            return r->top->object ? read_key(r, p) : p;
        }
        if (p == r->end || *p != (r->top->object ? '}' : ']'))
            return unexpected(r, p, r->top->object ? "',' or '}'" : "',' or ']'");
        p = close_container(r, p);
        if (p == NULL)
            return NULL;
    }
}

/* p at '{' or '['; returns the first byte of the first value inside, or of the closing bracket. */
static const char *enter(reader *r, const char *p, bool *ret_empty)
{
    bool object = *p == '{';
    p = open_container(r, p, object);
    if (p == NULL)
        return NULL;
    p = skip_space(p, r->end);
    *ret_empty = p < r->end && *p == (object ? '}' : ']');
    return object && !*ret_empty ? read_key(r, p) : p;
}

static bool read_document(reader *r)
{
    const char *p = skip_space(r->text, r->end);
    do {
        bool escaped, empty = false;
        if (r->cap - r->count < 2 && !grow_nodes(r)) /* a container and its first key */
            return false;
        if (p == r->end) {
            p = unexpected(r, p, "a value");
        } else if (*p == '"') {
            const char *from = p + 1;
            p = read_string(r, from, &escaped);
            if (p != NULL) {
                put(r, escaped ? FHIR_STRING_ESCAPED : FHIR_STRING, from, (size_t)(p - from));
                p++;
            }
        } else if (*p == '{' || *p == '[') {
            p = enter(r, p, &empty);
            if (p != NULL && !empty)
                continue;
        } else {
            p = read_scalar(r, p);
        }
        if (p != NULL)
            p = next_value(r, p);
    } while (p != NULL && r->top != NULL);
    return p != NULL;
}

static og_status check_size(og_str text, const fhir_limits *lim, og_error *err)
{
    uint32_t max = lim->max_bytes < MAX_BYTES ? lim->max_bytes : MAX_BYTES;
    if (text.n > max) {
        og_fail(err, OG_LIMIT, "%zu bytes, more than the limit of %u", text.n, max);
        og_error_byte(err, max);
        return OG_LIMIT;
    }
    return OG_OK;
}

og_status fhir_decode(og_arena *a, og_str text, const fhir_limits *lim, fhir_doc *ret,
                      og_error *err)
{
    const fhir_limits normal = FHIR_LIMITS_DEFAULT;
    frame near[NEAR_FRAMES];

    if (lim == NULL)
        lim = &normal;
    og_status st = check_size(text, lim, err);
    if (st != OG_OK)
        return st;
    const char *p = text.n != 0 ? text.p : "";
    reader r = {.arena = a,
                .text = p,
                .end = p + text.n,
                .err = err,
                .frames = near,
                .frame_cap = NEAR_FRAMES,
                .max_depth = lim->max_depth,
                .cap = (uint32_t)text.n / 8 + 16};
    r.nodes = og_arena_alloc(a, r.cap * sizeof *r.nodes);
    if (r.nodes == NULL) {
        no_memory(&r);
        return r.status;
    }
    if (!read_document(&r))
        return r.status;
    og_arena_shrink(a, r.nodes, r.cap * sizeof *r.nodes, r.count * sizeof *r.nodes);
    *ret = (fhir_doc){.text = p, .size = (uint32_t)text.n, .count = r.count, .nodes = r.nodes};
    return OG_OK;
}
