/* Fuzz target: the FHIR JSON reader. The input is a text and also an image of the store.
 * Properties: what is refused says where and why; what is read, jansson reads as well (but for
 * numbers that it cannot hold, NUL in keys, and its own depth), and the other way round; every
 * element's bytes are a document of their own with the same nodes; the image gives the document
 * back; a damaged image is refused or can be walked. */
#include "fhir/decode.h"

#include <jansson.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static volatile unsigned char sum;

static void read_bytes(og_str s)
{
    for (size_t i = 0; i < s.n; i++)
        sum = (unsigned char)(sum + (unsigned char)s.p[i]);
}

static void walk(og_arena *a, fhir_elem e)
{
    og_str raw = fhir_raw(e), s = fhir_string(a, e);
    read_bytes(raw);
    read_bytes(s);
    if (s.p != NULL)
        check(fhir_is_str(e, s));
    for (fhir_elem c = fhir_first(e); fhir_exists(c); c = fhir_next(e, c)) {
        read_bytes(fhir_key_of(c));
        walk(a, c);
    }
}

/* Each element alone is what it is inside; enough of them to notice, not enough to be slow. */
static void read_alone(og_arena *a, const fhir_doc *d)
{
    for (uint32_t i = 0; i < d->count && i < 64; i++) {
        fhir_elem e = {d, i};
        fhir_kind k = fhir_kind_of(e);
        fhir_doc alone;
        if (k != FHIR_OBJECT && k != FHIR_ARRAY && k != FHIR_NUMBER)
            continue;
        check(fhir_decode(a, fhir_raw(e), NULL, &alone, NULL) == OG_OK);
        check(alone.nodes[0].pos == 0 && (alone.nodes[0].info & 15) == (d->nodes[i].info & 15));
    }
}

static void try_image(og_arena *a, const fhir_doc *d)
{
    size_t n = fhir_image_size(d);
    char *image = malloc(n);
    fhir_doc back;
    if (image == NULL)
        return;
    fhir_image_write(d, image);
    check(fhir_image_read(a, (og_str){image, n}, &back, NULL) == OG_OK);
    check(back.count == d->count && memcmp(back.nodes, d->nodes, d->count * sizeof *d->nodes) == 0);
    check(og_str_eq((og_str){back.text, back.size}, (og_str){d->text, d->size}));
    free(image);
}

/* Does jansson refuse for a reason of its own? */
static bool of_its_own(const json_error_t *e)
{
    enum json_error_code code = json_error_code(e);
    return code == json_error_numeric_overflow || code == json_error_null_byte_in_key ||
           code == json_error_null_character || code == json_error_stack_overflow;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    og_str text = {(const char *)data, size};
    og_arena *a = og_arena_new((size_t)256 << 20);
    fhir_doc d;
    og_error err;
    json_error_t je;
    if (a == NULL)
        return 0;
    og_error_init(&err);
    og_status st = fhir_decode(a, text, NULL, &d, &err);
    json_t *j =
        json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
    if (st == OG_OK) {
        check(j != NULL || of_its_own(&je));
        walk(a, fhir_root(&d));
        read_alone(a, &d);
        try_image(a, &d);
    } else {
        check(err.status == st && err.byte >= 0 && (size_t)err.byte <= size && err.text[0] != '\0');
        bool nul_at_end = st == OG_SYNTAX && (size_t)err.byte < size && data[err.byte] == 0;
        check(j == NULL || st == OG_LIMIT || nul_at_end); /* jansson stops at a NUL */
    }
    json_decref(j);
    og_arena_reset(a);
    if (fhir_image_read(a, text, &d, NULL) == OG_OK)
        walk(a, fhir_root(&d));
    og_arena_free(a);
    return 0;
}
