/* Walking the tape that fhir_decode makes: members, elements, texts, and the image that the store
 * keeps.
 *
 * An element is a document and a node's index; what is absent has no document, and everything asked
 * of it is absent again, so that callers need no check on the way. */
#include "fhir/decode.h"

#include "fhir/fhir_private.h"

#define IMAGE_MAGIC                                                                                \
    0x3254474Fu /* "OGT2" in the machine's byte order: an image does not change machines */

typedef struct image_header {
    uint32_t magic, size, count, packed; /* bytes of the text, nodes, bytes that these take */
} image_header;

/* --- nodes --- */

static fhir_kind kind_at(const fhir_doc *d, uint32_t i)
{
    return (fhir_kind)(d->nodes[i].info & 15);
}

static bool is_container(fhir_kind k)
{
    return k == FHIR_OBJECT || k == FHIR_ARRAY;
}

/* The node behind node i and all that it holds. */
static uint32_t behind(const fhir_doc *d, uint32_t i)
{
    return is_container(kind_at(d, i)) ? d->nodes[i].info >> 4 : i + 1;
}

uint32_t fhir__behind(fhir_elem e)
{
    return behind(e.doc, e.at);
}

static og_str lexeme(const fhir_doc *d, uint32_t i)
{
    return (og_str){d->text + d->nodes[i].pos, d->nodes[i].info >> 4};
}

fhir_elem fhir_root(const fhir_doc *doc)
{
    return doc != NULL && doc->count != 0 ? (fhir_elem){doc, 0} : FHIR_ABSENT;
}

fhir_kind fhir_kind_of(fhir_elem e)
{
    if (e.doc == NULL)
        return FHIR_NONE;
    fhir_kind k = kind_at(e.doc, e.at);
    return k == FHIR_STRING_ESCAPED ? FHIR_STRING : k;
}

/* --- escapes --- */

static uint32_t hex(const char *p, const char *end)
{
    uint32_t v = 0;
    if (end - p < 4)
        return 0xFFFD;
    for (int i = 0; i < 4; i++) {
        unsigned char c = (unsigned char)p[i] | 0x20; /* digits keep their value */
        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f'))
            return 0xFFFD;
        v = v << 4 | (uint32_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return v;
}

size_t fhir__unescape(const char **p, const char *end, char out[4])
{
    const char *s = *p;
    if (*s != '\\' || end - s < 2) {
        out[0] = *s;
        *p = s + 1;
        return 1;
    }
    *p = s + 2;
    switch (s[1]) {
    case 'b': out[0] = '\b'; return 1;
    case 'f': out[0] = '\f'; return 1;
    case 'n': out[0] = '\n'; return 1;
    case 'r': out[0] = '\r'; return 1;
    case 't': out[0] = '\t'; return 1;
    case 'u': break;
    default: out[0] = s[1]; return 1;
    }
    uint32_t cp = hex(s + 2, end);
    *p = end - s < 6 ? end : s + 6;
    if (cp < 0xD800 || cp > 0xDFFF)
        return og_utf8_put(cp, out);
    uint32_t lo = end - *p >= 6 ? hex(*p + 2, end) : 0;
    if (cp > 0xDBFF || lo < 0xDC00 || lo > 0xDFFF)
        return og_utf8_put(0xFFFD, out);
    *p += 6;
    return og_utf8_put(0x10000 + ((cp - 0xD800) << 10) + (lo - 0xDC00), out);
}

/* One byte of the unescaped form at a time. */
typedef struct unescaper {
    const char *p, *end;
    char out[4];
    size_t n, at;
} unescaper;

static int next_byte(unescaper *u)
{
    if (u->at == u->n) {
        if (u->p == u->end)
            return -1;
        u->n = fhir__unescape(&u->p, u->end, u->out);
        u->at = 0;
    }
    return (unsigned char)u->out[u->at++];
}

int fhir__cmp_escaped(og_str a, og_str b)
{
    unescaper x = {.p = a.p, .end = a.p + a.n}, y = {.p = b.p, .end = b.p + b.n};
    for (;;) {
        int c = next_byte(&x), d = next_byte(&y);
        if (c != d)
            return c - d;
        if (c < 0)
            return 0;
    }
}

og_str fhir__short_text(og_str raw, char *buf, size_t size)
{
    if (og_str_find(raw, '\\') < 0)
        return raw;
    size_t n = 0;
    for (const char *p = raw.p, *end = raw.p + raw.n; p < end;) {
        char out[4];
        size_t k = fhir__unescape(&p, end, out);
        if (k > size - n)
            return (og_str){0};
        memcpy(buf + n, out, k);
        n += k;
    }
    return (og_str){buf, n};
}

static bool escaped_is(og_str escaped, og_str plain)
{
    unescaper u = {.p = escaped.p, .end = escaped.p + escaped.n};
    for (size_t i = 0; i < plain.n; i++)
        if (next_byte(&u) != (unsigned char)plain.p[i])
            return false;
    return next_byte(&u) < 0;
}

/* --- members and elements --- */

/* Names are short: words compared here cost less than a call. */
static inline bool same_text(const char *a, const char *b, size_t n)
{
    uint64_t x, y;
    size_t i = 0;
    for (; i + sizeof x <= n; i += sizeof x) {
        memcpy(&x, a + i, sizeof x);
        memcpy(&y, b + i, sizeof y);
        if (x != y)
            return false;
    }
    for (; i < n; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

fhir_elem fhir_get_str(fhir_elem object, og_str name)
{
    const fhir_doc *d = object.doc;
    if (d == NULL || kind_at(d, object.at) != FHIR_OBJECT)
        return FHIR_ABSENT;
    uint32_t end = d->nodes[object.at].info >> 4;
    uint32_t plain = (uint32_t)name.n << 4 | FHIR_KEY;
    for (uint32_t i = object.at + 1; i + 1 < end; i = behind(d, i + 1)) {
        fhir_node k = d->nodes[i];
        if (k.info == plain ? same_text(d->text + k.pos, name.p, name.n)
                            : (k.info & 15) == FHIR_KEY_ESCAPED && escaped_is(lexeme(d, i), name))
            return (fhir_elem){d, i + 1};
    }
    return FHIR_ABSENT;
}

/* Does the escaped name mean _name? */
static bool escaped_is_sibling(og_str escaped, og_str name)
{
    unescaper u = {.p = escaped.p, .end = escaped.p + escaped.n};
    if (next_byte(&u) != '_')
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (next_byte(&u) != (unsigned char)name.p[i])
            return false;
    return next_byte(&u) < 0;
}

fhir_elem fhir_get_primitive(fhir_elem object, og_str name, fhir_elem *ret_sibling)
{
    const fhir_doc *d = object.doc;
    fhir_elem found = FHIR_ABSENT;
    *ret_sibling = FHIR_ABSENT;
    if (d == NULL || kind_at(d, object.at) != FHIR_OBJECT)
        return FHIR_ABSENT;
    uint32_t end = d->nodes[object.at].info >> 4;
    uint32_t plain = (uint32_t)name.n << 4 | FHIR_KEY, sibling = plain + (1u << 4);
    for (uint32_t i = object.at + 1; i + 1 < end; i = behind(d, i + 1)) {
        fhir_node k = d->nodes[i];
        const char *key = d->text + k.pos;
        if (k.info == plain && same_text(key, name.p, name.n))
            found = (fhir_elem){d, i + 1};
        else if (k.info == sibling && key[0] == '_' && same_text(key + 1, name.p, name.n))
            *ret_sibling = (fhir_elem){d, i + 1};
        else if ((k.info & 15) == FHIR_KEY_ESCAPED && escaped_is(lexeme(d, i), name))
            found = (fhir_elem){d, i + 1};
        else if ((k.info & 15) == FHIR_KEY_ESCAPED && escaped_is_sibling(lexeme(d, i), name))
            *ret_sibling = (fhir_elem){d, i + 1};
    }
    return found;
}

fhir_elem fhir_get_longer(fhir_elem object, og_str name, fhir_elem behind_child, bool *ret_escaped)
{
    const fhir_doc *d = object.doc;
    if (d == NULL || kind_at(d, object.at) != FHIR_OBJECT)
        return FHIR_ABSENT;
    uint32_t end = d->nodes[object.at].info >> 4;
    uint32_t i = behind_child.doc != NULL ? behind(d, behind_child.at) : object.at + 1;
    for (; i + 1 < end; i = behind(d, i + 1)) {
        fhir_node k = d->nodes[i];
        const char *key = d->text + k.pos;
        size_t n = k.info >> 4;
        *ret_escaped |= (k.info & 15) == FHIR_KEY_ESCAPED;
        if (n > name.n && key[0] == '_') {
            key++;
            n--;
        }
        if (n > name.n && same_text(key, name.p, name.n))
            return (fhir_elem){d, i + 1};
    }
    return FHIR_ABSENT;
}

fhir_elem fhir_find_array(fhir_elem e, og_str name, fhir_elem behind_found)
{
    const fhir_doc *d = e.doc;
    if (d == NULL)
        return FHIR_ABSENT;
    uint32_t end = behind(d, e.at), plain = (uint32_t)name.n << 4 | FHIR_KEY;
    uint32_t i = behind_found.doc != NULL ? behind(d, behind_found.at) : e.at + 1;
    for (; i + 1 < end; i++)
        if (d->nodes[i].info == plain && kind_at(d, i + 1) == FHIR_ARRAY &&
            same_text(d->text + d->nodes[i].pos, name.p, name.n))
            return (fhir_elem){d, i + 1};
    return FHIR_ABSENT;
}

fhir_elem fhir_get(fhir_elem object, const char *name)
{
    return fhir_get_str(object, og_str_of(name));
}

fhir_elem fhir_path(fhir_elem object, const char *path)
{
    fhir_elem e = object;
    for (;;) {
        const char *dot = strchrnul(path, '.');
        e = fhir_get_str(fhir_each_first(e), (og_str){path, (size_t)(dot - path)});
        if (*dot == '\0' || e.doc == NULL)
            return e;
        path = dot + 1;
    }
}

fhir_elem fhir_first(fhir_elem container)
{
    fhir_kind k = fhir_kind_of(container);
    if (!is_container(k))
        return FHIR_ABSENT;
    uint32_t first = container.at + (k == FHIR_OBJECT ? 2 : 1);
    return first < behind(container.doc, container.at) ? (fhir_elem){container.doc, first}
                                                       : FHIR_ABSENT;
}

fhir_elem fhir_next(fhir_elem container, fhir_elem child)
{
    fhir_kind k = fhir_kind_of(container);
    if (!is_container(k) || child.doc == NULL)
        return FHIR_ABSENT;
    uint32_t next = behind(child.doc, child.at) + (k == FHIR_OBJECT ? 1 : 0);
    return next < behind(container.doc, container.at) ? (fhir_elem){child.doc, next} : FHIR_ABSENT;
}

og_str fhir_key_of(fhir_elem member_value)
{
    if (member_value.doc == NULL || member_value.at == 0)
        return (og_str){0};
    fhir_kind k = kind_at(member_value.doc, member_value.at - 1);
    return k == FHIR_KEY || k == FHIR_KEY_ESCAPED ? lexeme(member_value.doc, member_value.at - 1)
                                                  : (og_str){0};
}

fhir_elem fhir_each_first(fhir_elem e)
{
    return fhir_kind_of(e) == FHIR_ARRAY ? fhir_first(e) : e;
}

fhir_elem fhir_each_next(fhir_elem e, fhir_elem child)
{
    return fhir_kind_of(e) == FHIR_ARRAY ? fhir_next(e, child) : FHIR_ABSENT;
}

uint32_t fhir_length(fhir_elem array)
{
    uint32_t n = 0;
    if (fhir_kind_of(array) == FHIR_ARRAY)
        for (fhir_elem c = fhir_first(array); fhir_exists(c); c = fhir_next(array, c))
            n++;
    return n;
}

/* --- texts --- */

/* Byte position behind a node that holds nothing; for a container behind its opening bracket. */
static uint64_t byte_behind(const fhir_doc *d, uint32_t i)
{
    fhir_kind k = kind_at(d, i);
    uint64_t pos = d->nodes[i].pos; /* 64 bits: a damaged image may say anything */
    if (is_container(k))
        return pos + 1;
    bool quoted = k != FHIR_NUMBER && k != FHIR_TRUE && k != FHIR_FALSE && k != FHIR_NULL;
    return pos + (d->nodes[i].info >> 4) + (quoted ? 1 : 0);
}

/* A container's node does not know its closing bracket. Behind the last node inside there are only
 * space and closing brackets: one for each container that ends with that node, and the outermost is
 * ours. */
static og_str container_text(fhir_elem e)
{
    const fhir_doc *d = e.doc;
    uint32_t end = d->nodes[e.at].info >> 4, brackets = 0;
    for (uint32_t i = e.at; i < end; i++)
        if (is_container(kind_at(d, i)) && d->nodes[i].info >> 4 == end)
            brackets++;
    uint32_t p = (uint32_t)byte_behind(d, end - 1);
    for (; p < d->size && brackets != 0; p++)
        if (d->text[p] == '}' || d->text[p] == ']')
            brackets--;
    return (og_str){d->text + d->nodes[e.at].pos, p - d->nodes[e.at].pos};
}

og_str fhir_raw(fhir_elem e)
{
    if (e.doc == NULL)
        return (og_str){0};
    return is_container(kind_at(e.doc, e.at)) ? container_text(e) : lexeme(e.doc, e.at);
}

og_str fhir_string(og_arena *a, fhir_elem e)
{
    if (fhir_kind_of(e) != FHIR_STRING)
        return (og_str){0};
    og_str raw = lexeme(e.doc, e.at);
    if (kind_at(e.doc, e.at) == FHIR_STRING)
        return raw;
    char *to = og_arena_alloc(a, raw.n); /* an escape is never shorter than what it stands for */
    if (to == NULL)
        return (og_str){0};
    size_t n = 0;
    for (const char *p = raw.p, *end = raw.p + raw.n; p < end;) {
        char out[4];
        size_t k = fhir__unescape(&p, end, out);
        memcpy(to + n, out, k);
        n += k;
    }
    og_arena_shrink(a, to, raw.n, n);
    return (og_str){to, n};
}

bool fhir_is_str(fhir_elem e, og_str s)
{
    if (fhir_kind_of(e) != FHIR_STRING)
        return false;
    og_str raw = lexeme(e.doc, e.at);
    return kind_at(e.doc, e.at) == FHIR_STRING ? og_str_eq(raw, s) : escaped_is(raw, s);
}

bool fhir_is(fhir_elem e, const char *c)
{
    return fhir_is_str(e, og_str_of(c));
}

bool fhir_int(fhir_elem e, int64_t min, int64_t max, int64_t *ret)
{
    return fhir_kind_of(e) == FHIR_NUMBER && og_str_int(fhir_raw(e), min, max, ret);
}

/* --- images --- */

/* A node in the image: a byte with its kind and, above, the bytes between the node before and it
 * (15: a number follows, what is beyond); then a number, its length, or how far behind it a
 * container ends. Seven bits a byte, the lowest first, all but the last with the eighth set. Two
 * bytes for most, and eight on the tape. */
#define GAP_BEYOND 15u

static size_t add_number(unsigned char *out, uint32_t n)
{
    size_t used = 0;
    for (; n >= 128; n >>= 7)
        out[used++] = (unsigned char)(n | 128);
    out[used++] = (unsigned char)n;
    return used;
}

/* Packs node i, which is at most 11 bytes. */
static size_t pack(const fhir_doc *d, uint32_t i, unsigned char out[11])
{
    fhir_kind k = kind_at(d, i);
    uint32_t gap = d->nodes[i].pos - (i > 0 ? (uint32_t)byte_behind(d, i - 1) : 0);
    uint32_t length = d->nodes[i].info >> 4, small = gap < GAP_BEYOND ? gap : GAP_BEYOND;
    size_t used = 1;
    out[0] = (unsigned char)(small << 4 | (uint32_t)k);
    if (small == GAP_BEYOND)
        used += add_number(out + used, gap - GAP_BEYOND);
    return used + add_number(out + used, is_container(k) ? length - i : length);
}

static size_t packed_size(const fhir_doc *d)
{
    unsigned char node[11];
    size_t n = 0;
    for (uint32_t i = 0; i < d->count; i++)
        n += pack(d, i, node);
    return n;
}

typedef struct packed {
    const unsigned char *at, *end;
} packed;

static bool read_number(packed *p, uint64_t *ret)
{
    uint64_t n = 0;
    for (unsigned shift = 0; p->at < p->end && shift < 35; shift += 7) {
        unsigned char byte = *p->at++;
        n |= (uint64_t)(byte & 127u) << shift;
        if (byte < 128) {
            *ret = n;
            return true;
        }
    }
    return false;
}

/* d->nodes is out, which becomes whole node by node. They are in the order of the text then;
 * nothing else is proven. */
static bool unpack(packed p, const fhir_doc *d, fhir_node *out)
{
    uint64_t behind_last = 0, gap, length;
    for (uint32_t i = 0; i < d->count; i++) {
        if (p.at == p.end)
            return false;
        unsigned char first = *p.at++;
        uint32_t kind = first & 15u;
        gap = 0;
        if (first >> 4 == GAP_BEYOND && !read_number(&p, &gap))
            return false;
        gap += behind_last + (first >> 4);
        if (!read_number(&p, &length))
            return false;
        if (is_container((fhir_kind)kind))
            length += i;
        if (gap > UINT32_MAX || length > UINT32_MAX >> 4)
            return false;
        out[i] = (fhir_node){(uint32_t)gap, (uint32_t)length << 4 | kind};
        behind_last = byte_behind(d, i);
    }
    return p.at == p.end;
}

size_t fhir_image_size(const fhir_doc *doc)
{
    return sizeof(image_header) + packed_size(doc) + doc->size;
}

void fhir_image_write(const fhir_doc *doc, void *dst)
{
    unsigned char *p = dst, node[11];
    image_header h = {.magic = IMAGE_MAGIC, .size = doc->size, .count = doc->count};
    size_t at = sizeof h;
    for (uint32_t i = 0; i < doc->count; i++) {
        size_t n = pack(doc, i, node);
        memcpy(p + at, node, n);
        at += n;
    }
    h.packed = (uint32_t)(at - sizeof h);
    memcpy(p, &h, sizeof h);
    if (doc->size != 0)
        memcpy(p + at, doc->text, doc->size);
}

/* Does a node that is a leaf or a key lie inside the text? */
static bool leaf_fits(const fhir_doc *d, uint32_t i)
{
    fhir_kind k = kind_at(d, i);
    return k > FHIR_ARRAY && k <= FHIR_KEY_ESCAPED && byte_behind(d, i) <= d->size;
}

/* Are the children of container i well placed: keys and values by turns in an object, no key in an
 * array, the last one ending where the container ends? Each node is looked at once as somebody's
 * child. */
static bool container_fits(const fhir_doc *d, uint32_t i)
{
    uint32_t end = d->nodes[i].info >> 4, at = i + 1;
    bool object = kind_at(d, i) == FHIR_OBJECT;
    if (d->nodes[i].pos >= d->size || end <= i || end > d->count)
        return false;
    while (at < end) {
        fhir_kind k = kind_at(d, at);
        if ((k == FHIR_KEY || k == FHIR_KEY_ESCAPED) != object)
            return false;
        at += object ? 1 : 0;
        if (at >= end || kind_at(d, at) == FHIR_KEY || kind_at(d, at) == FHIR_KEY_ESCAPED)
            return false;
        uint32_t next = behind(d, at);
        if (next <= at)
            return false;
        at = next;
    }
    return at == end;
}

static bool nodes_fit(const fhir_doc *d)
{
    if (d->count == 0 || kind_at(d, 0) == FHIR_KEY || kind_at(d, 0) == FHIR_KEY_ESCAPED ||
        behind(d, 0) != d->count)
        return false;
    for (uint32_t i = 0; i < d->count; i++)
        if (is_container(kind_at(d, i)) ? !container_fits(d, i) : !leaf_fits(d, i))
            return false;
    return true;
}

og_status fhir_image_read(og_arena *a, og_str image, fhir_doc *ret, og_error *err)
{
    image_header h;
    if (image.n < sizeof h)
        return og_fail(err, OG_CORRUPT, "a stored document is shorter than its header");
    memcpy(&h, image.p, sizeof h);
    if (h.magic != IMAGE_MAGIC)
        return og_fail(err, OG_CORRUPT, "a stored document has an unknown header");
    if (image.n != sizeof h + (uint64_t)h.packed + h.size || h.count > h.packed / 2)
        return og_fail(err, OG_CORRUPT, "a stored document has not the size that its header says");
    fhir_node *n = og_arena_alloc(a, h.count * sizeof *n);
    if (n == NULL)
        return og_fail(err, OG_NOMEM, "no memory for the document");
    packed nodes = {(const unsigned char *)image.p + sizeof h,
                    (const unsigned char *)image.p + sizeof h + h.packed};
    fhir_doc d = {.text = (const char *)nodes.end, .size = h.size, .count = h.count, .nodes = n};
    if (!unpack(nodes, &d, n))
        return og_fail(err, OG_CORRUPT, "the nodes of a stored document cannot be read");
    if (!nodes_fit(&d))
        return og_fail(err, OG_CORRUPT, "a stored document points outside of itself");
    *ret = d;
    return OG_OK;
}
