/* One sample a line: name, optional labels in braces, value. A label's value may hold anything but
 * a bare quote. */
#include "tests/demo/metrics_page.h"

#include <stdlib.h>

/* Skips {label="value",...}; returns the position behind it. */
static size_t skip_labels(og_str line, size_t at)
{
    bool quoted = false;
    for (; at < line.n; at++) {
        if (quoted && line.p[at] == '\\')
            at++;
        else if (line.p[at] == '"')
            quoted = !quoted;
        else if (line.p[at] == '}' && !quoted)
            return at + 1;
    }
    return at;
}

static bool sample(og_str line, og_str name, double *ret)
{
    char number[64];
    size_t at = name.n;
    if (!og_str_starts(line, name) || at >= line.n || (line.p[at] != ' ' && line.p[at] != '{'))
        return false;
    if (line.p[at] == '{')
        at = skip_labels(line, at);
    og_str rest = og_str_from(line, at);
    if (rest.n == 0 || rest.n >= sizeof(number))
        return false;
    memcpy(number, rest.p, rest.n);
    number[rest.n] = '\0';
    *ret = strtod(number, NULL);
    return true;
}

double metrics_page_sum(og_str page, const char *name)
{
    double sum = 0, value;
    bool found = false;
    while (page.n > 0) {
        ptrdiff_t nl = og_str_find(page, '\n');
        og_str line = {page.p, nl >= 0 ? (size_t)nl : page.n};
        if (sample(line, og_str_of(name), &value)) {
            sum += value;
            found = true;
        }
        page = og_str_from(page, line.n + (nl >= 0));
    }
    return found ? sum : -1;
}
