/* Reading test data: whole files, the lines of (gzip) NDJSON, the names in a folder. What is not
 * there is a test skipped with a clear line, never a test passed. */
#ifndef TESTS_UNIT_FHIR_FILES_H
#define TESTS_UNIT_FHIR_FILES_H

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <zlib.h>

#include <cmocka.h>

#include "fhir/base/text.h"

/* The bytes of a file, plain or gzip, in memory of exactly their size, so that a read behind the
 * end is seen. Caller frees .p. Skips the test when there is no such file. */
static inline og_str files_read(const char *path)
{
    gzFile f = gzopen(path, "rb");
    if (f == NULL) {
        print_message("skipped: %s is not there\n", path);
        skip();
    }
    size_t n = 0, cap = 1 << 16;
    char *p = malloc(cap);
    int got;
    while (p != NULL && (got = gzread(f, p + n, (unsigned)(cap - n))) > 0) {
        n += (size_t)got;
        if (n == cap)
            p = realloc(p, cap *= 2);
    }
    gzclose(f);
    char *exact = malloc(n != 0 ? n : 1);
    assert_non_null(p);
    assert_non_null(exact);
    memcpy(exact, p, n);
    free(p);
    return (og_str){exact, n};
}

/* Takes the next line off *rest, without its newline; false when nothing is left. Empty lines are
 * passed over. */
static inline bool files_line(og_str *rest, og_str *ret_line)
{
    while (rest->n != 0) {
        ptrdiff_t end = og_str_find(*rest, '\n');
        og_str line = {rest->p, end < 0 ? rest->n : (size_t)end};
        *rest = og_str_from(*rest, end < 0 ? rest->n : (size_t)end + 1);
        if (line.n != 0 && line.p[line.n - 1] == '\r')
            line.n--;
        if (line.n != 0) {
            *ret_line = line;
            return true;
        }
    }
    return false;
}

static inline int files_visible(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

/* Calls each for every plain file below folder, in the order of the names. Returns how many there
 * were; skips the test when there is no such folder. */
static inline size_t files_each(const char *folder,
                                void (*each)(const char *path, const char *name))
{
    struct dirent **list = NULL;
    size_t count = 0;
    int n = scandir(folder, &list, files_visible, alphasort);
    if (n < 0) {
        print_message("skipped: %s is not there\n", folder);
        skip();
    }
    for (int i = 0; i < n; i++) {
        char path[1024];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", folder, list[i]->d_name);
        if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
            count += files_each(path, each);
        } else {
            each(path, list[i]->d_name);
            count++;
        }
        free(list[i]);
    }
    free(list);
    return count;
}

#endif
