/* Reads JSON values from a file one after another without parsing them: a line each for NDJSON, or
 * the whole file when it is one pretty-printed document. Gzip is recognised by its first bytes. An
 * NDJSON file is never in memory as a whole. */
#ifndef OG_CONNECTORS_NDJSON_H
#define OG_CONNECTORS_NDJSON_H

#include "fhir/base/text.h"

typedef struct ndjson_reader ndjson_reader;

typedef struct ndjson_item {
    og_str text; /* borrowed until the next call; without the line end; never empty; not checked to
                    be JSON */
    uint64_t line; /* 1-based line on which it begins */
    uint64_t byte; /* 0-based position of its first byte in the (uncompressed) file */
    uint64_t next; /* position after its line end: where to resume */
} ndjson_item;

#define NDJSON_MAX_ITEM ((size_t)64 << 20)

/* Opens path ("-": standard input). A name that ends in .ndjson or .jsonl (before .gz) is read line
 * by line, always. Any other is one document when its first line that is not blank leaves a bracket
 * open, else line by line. A byte order mark at the beginning is skipped. resume: an item's `next`,
 * with resume_line the line that begins there (0 and 0: the beginning); a compressed file is read
 * through up to there. max_item_bytes 0: NDJSON_MAX_ITEM. OG_IO, OG_NOTFOUND; err has the path as
 * origin. Caller owns *ret. */
OG_MUSTCHECK og_status ndjson_open(const char *path, uint64_t resume, uint64_t resume_line,
                                   size_t max_item_bytes, ndjson_reader **ret, og_error *err);
/* By its name it is read line by line (.ndjson, .jsonl, also with .gz), whatever is in it. */
bool ndjson_has_lines(const char *path);
/* The next value. OG_OK: *ret is set. OG_NOTFOUND: the end. OG_LIMIT: a line over the maximum was
 * skipped, *ret says where and its text is the first part of it; reading goes on with the next.
 * OG_IO: reading or decompressing failed; there is no more. Blank lines are passed over. */
OG_MUSTCHECK og_status ndjson_next(ndjson_reader *r, ndjson_item *ret, og_error *err);
/* The line number after the last item: resume_line for its `next`. */
uint64_t ndjson_line(const ndjson_reader *r);
/* Bytes of the file (as it lies on disk, compressed or not) read so far, and its size; size 0 when
 * unknown. For a progress line. */
void ndjson_progress(const ndjson_reader *r, uint64_t *ret_read, uint64_t *ret_size);
void ndjson_close(ndjson_reader *r); /* accepts NULL */

#endif
