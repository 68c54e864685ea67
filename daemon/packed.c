/* The plain size (4 bytes, this machine's byte order: the store never travels), then an LZ4 block,
 * or, where that would be longer, the bytes as they are. */
#include "daemon/packed.h"

#include <lz4.h>
#include <pthread.h>

#define AS_IT_IS 0x80000000u /* in the size */

/* What comes last is found first. */
static const char words[] =
#include "daemon/packed_words.inc"
    ;

static LZ4_stream_t knows_words; /* copied for each value: to go through the words takes longer */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void learn_words(void)
{
    (void)LZ4_initStream(&knows_words, sizeof knows_words);
    (void)LZ4_loadDict(&knows_words, words, sizeof words - 1);
}

size_t packed_most(size_t n)
{
    return sizeof(uint32_t) + n;
}

size_t packed_write(og_str plain, char *to)
{
    uint32_t head = (uint32_t)plain.n;
    LZ4_stream_t stream;
    int n = 0;
    (void)pthread_once(&once, learn_words);
    if (plain.n > 0 && plain.n <= LZ4_MAX_INPUT_SIZE) {
        memcpy(&stream, &knows_words, sizeof stream);
        n = LZ4_compress_fast_continue(&stream, plain.p, to + sizeof head, (int)plain.n,
                                       (int)plain.n, 1);
    }
    if (n <= 0) { /* it does not fit in as much: nothing would be won */
        head |= AS_IT_IS;
        n = (int)plain.n;
        if (plain.n > 0)
            memcpy(to + sizeof head, plain.p, plain.n);
    }
    memcpy(to, &head, sizeof head);
    return sizeof head + (size_t)n;
}

og_status packed_read(og_arena *a, og_str packed, og_str *ret, og_error *err)
{
    uint32_t head;
    if (packed.n < sizeof head)
        return og_fail(err, OG_CORRUPT, "a packed value is too short");
    memcpy(&head, packed.p, sizeof head);
    size_t n = head & ~AS_IT_IS;
    og_str rest = og_str_from(packed, sizeof head);
    if (n > LZ4_MAX_INPUT_SIZE || rest.n > n || ((head & AS_IT_IS) != 0 && rest.n != n))
        return og_fail(err, OG_CORRUPT, "a packed value has a wrong size");
    char *plain = og_arena_alloc(a, n + 1);
    if (plain == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a packed value");
    if ((head & AS_IT_IS) != 0)
        memcpy(plain, rest.p, n);
    else if (LZ4_decompress_safe_usingDict(rest.p, plain, (int)rest.n, (int)n, words,
                                           sizeof words - 1) != (int)n)
        return og_fail(err, OG_CORRUPT, "a packed value cannot be unpacked");
    plain[n] = '\0';
    *ret = (og_str){plain, n};
    return OG_OK;
}
