/* Cards as terminal text. The detail is GitHub-flavoured markdown; what our cards use of it is
 * shown: paragraphs, emphasis (left out), lists, tables (aligned), escapes, links as "text
 * (address)". Colour is never the only signal. */
#include "tests/demo/card_text.h"

#include <stdlib.h>

enum { INDENT = 4, MAX_COLUMNS = 12, MAX_TEXT = 1 << 20 };

#define BOLD  "\033[1m"
#define DIM   "\033[2m"
#define RESET "\033[0m"

/* ---- text ---- */

static size_t width_of(og_str s)
{
    size_t n = 0, at = 0;
    while (at < s.n) {
        uint32_t c = og_utf8_next(s, &at);
        n += !(c >= 0x300 && c < 0x370); /* combining marks take no room */
    }
    return n;
}

void card_text_add_safe(og_buf *out, og_str s)
{
    size_t at = 0;
    while (at < s.n) {
        size_t from = at;
        uint32_t c = og_utf8_next(s, &at);
        if (c < 0x20 || (c >= 0x7f && c < 0xa0))
            og_buf_addc(out, ' ');
        else
            og_buf_add(out, s.p + from, at - from);
    }
}

static void add_spaces(og_buf *out, size_t n)
{
    while (n-- > 0)
        og_buf_addc(out, ' ');
}

static void add_line(og_buf *out, const card_style *style, const char *colour, const char *text)
{
    if (style->colour)
        og_buf_addz(out, colour);
    card_text_add_safe(out, og_str_of(text));
    if (style->colour)
        og_buf_addz(out, RESET);
    og_buf_addc(out, '\n');
}

/* Words of s in lines of the style's width, the first with `first` in front, the others indented as
 * far. */
static void add_wrapped(og_buf *out, const card_style *style, const char *first, og_str s)
{
    size_t indent = width_of(og_str_of(first)), column = indent, at = 0;
    bool begun = false;
    og_buf_addz(out, first);
    while (at < s.n) {
        while (at < s.n && (s.p[at] == ' ' || s.p[at] == '\t'))
            at++;
        size_t from = at;
        while (at < s.n && s.p[at] != ' ' && s.p[at] != '\t')
            at++;
        og_str word = {s.p + from, at - from};
        size_t w = width_of(word);
        if (w == 0)
            break;
        if (begun && column + 1 + w > (size_t)style->width) {
            og_buf_addc(out, '\n');
            add_spaces(out, indent);
            column = indent;
        } else if (begun) {
            og_buf_addc(out, ' ');
            column++;
        }
        card_text_add_safe(out, word);
        column += w;
        begun = true;
    }
    og_buf_addc(out, '\n');
}

/* ---- markdown ---- */

static bool entity(og_str s, size_t *at, og_buf *out)
{
    static const struct {
        const char *name;
        char c;
    } entities[] = {{"&lt;", '<'}, {"&gt;", '>'}, {"&amp;", '&'}, {"&quot;", '"'}, {"&#39;", '\''}};
    for (size_t i = 0; i < sizeof(entities) / sizeof(entities[0]); i++) {
        if (og_str_starts(og_str_from(s, *at), og_str_of(entities[i].name))) {
            og_buf_addc(out, entities[i].c);
            *at += strlen(entities[i].name);
            return true;
        }
    }
    return false;
}

static bool link_text(og_str s, size_t *at, og_buf *out)
{
    og_str rest = og_str_from(s, *at);
    ptrdiff_t close = og_str_find(rest, ']');
    if (rest.n == 0 || rest.p[0] != '[' || close < 0 || (size_t)close + 1 >= rest.n ||
        rest.p[close + 1] != '(')
        return false;
    og_str target = og_str_from(rest, (size_t)close + 2);
    ptrdiff_t end = og_str_find(target, ')');
    if (end < 0)
        return false;
    og_buf_add(out, rest.p + 1, (size_t)close - 1);
    og_buf_addz(out, " (");
    og_buf_add(out, target.p, (size_t)end);
    og_buf_addc(out, ')');
    *at += (size_t)close + 2 + (size_t)end + 1;
    return true;
}

/* A line of markdown without its marks. */
static void add_plain(og_buf *out, og_str s)
{
    size_t at = 0;
    while (at < s.n) {
        char c = s.p[at];
        if (c == '\\' && at + 1 < s.n &&
            strchr("\\`*_{}[]()#+-.!|<>~&\"'$%,/:;=?@^", s.p[at + 1]) != NULL) {
            og_buf_addc(out, s.p[at + 1]);
            at += 2;
        } else if (c == '*' || c == '`') {
            at++;
        } else if (!(c == '&' && entity(s, &at, out)) && !(c == '[' && link_text(s, &at, out))) {
            og_buf_addc(out, c);
            at++;
        }
    }
}

/* The cells of a table row; each is a buffer that the caller frees. Returns how many. */
static size_t row_cells(og_str line, og_buf cells[MAX_COLUMNS])
{
    size_t n = 0, at = 1; /* behind the first bar */
    while (at < line.n && n < MAX_COLUMNS) {
        size_t end = at;
        while (end < line.n && line.p[end] != '|')
            end += line.p[end] == '\\' && end + 1 < line.n ? 2 : 1;
        og_str cell = {line.p + at, (end < line.n ? end : line.n) - at};
        while (cell.n > 0 && cell.p[0] == ' ')
            cell = og_str_from(cell, 1);
        while (cell.n > 0 && cell.p[cell.n - 1] == ' ')
            cell.n--;
        if (end >= line.n && cell.n == 0)
            break; /* behind the last bar */
        og_buf_init(&cells[n], MAX_TEXT);
        add_plain(&cells[n], cell);
        n++;
        at = end + 1;
    }
    return n;
}

static bool is_rule(og_str line)
{
    for (size_t i = 0; i < line.n; i++) {
        if (strchr("|-: ", line.p[i]) == NULL)
            return false;
    }
    return true;
}

static og_str line_at(og_str text, size_t at)
{
    og_str rest = og_str_from(text, at);
    ptrdiff_t nl = og_str_find(rest, '\n');
    rest.n = nl >= 0 ? (size_t)nl : rest.n;
    while (rest.n > 0 && (rest.p[0] == ' ' || rest.p[0] == '\t'))
        rest = og_str_from(rest, 1);
    while (rest.n > 0 && (rest.p[rest.n - 1] == ' ' || rest.p[rest.n - 1] == '\r'))
        rest.n--;
    return rest;
}

static size_t line_next(og_str text, size_t at)
{
    ptrdiff_t nl = og_str_find(og_str_from(text, at), '\n');
    return nl >= 0 ? at + (size_t)nl + 1 : text.n;
}

/* Goes over the rows of the table at `at`: first to measure, then to write. Returns the position
 * behind it. */
static size_t table_rows(og_buf *out, const card_style *style, og_str text, size_t at,
                         size_t widths[MAX_COLUMNS])
{
    og_buf cells[MAX_COLUMNS];
    bool head = true;
    while (at < text.n) {
        og_str line = line_at(text, at);
        if (line.n == 0 || line.p[0] != '|')
            break;
        at = line_next(text, at);
        if (is_rule(line))
            continue;
        size_t n = row_cells(line, cells);
        if (out != NULL) {
            add_spaces(out, INDENT + 2);
            if (head && style->colour)
                og_buf_addz(out, DIM);
        }
        for (size_t i = 0; i < n; i++) {
            og_str cell = og_buf_str(&cells[i]);
            size_t w = width_of(cell);
            if (out != NULL) {
                card_text_add_safe(out, cell);
                add_spaces(out, i + 1 < n ? widths[i] - w + 2 : 0);
            } else if (w > widths[i]) {
                widths[i] = w;
            }
            og_buf_done(&cells[i]);
        }
        if (out != NULL)
            og_buf_addz(out, head && style->colour ? RESET "\n" : "\n");
        head = false;
    }
    return at;
}

static size_t add_table(og_buf *out, const card_style *style, og_str text, size_t at)
{
    size_t widths[MAX_COLUMNS] = {0};
    (void)table_rows(NULL, style, text, at, widths);
    return table_rows(out, style, text, at, widths);
}

static void add_paragraph_line(og_buf *out, const card_style *style, og_str line)
{
    char first[INDENT + 3] = "    ";
    og_buf plain;
    og_buf_init(&plain, MAX_TEXT);
    if (line.n > 1 && strchr("-*+", line.p[0]) != NULL && line.p[1] == ' ') {
        memcpy(first, "    - ", sizeof("    - "));
        line = og_str_from(line, 2);
    }
    while (line.n > 0 && line.p[0] == '#')
        line = og_str_from(line, 1);
    add_plain(&plain, line);
    add_wrapped(out, style, first, og_buf_str(&plain));
    og_buf_done(&plain);
}

static void add_markdown(og_buf *out, const card_style *style, og_str text)
{
    size_t at = 0;
    bool gap = false;
    while (at < text.n) {
        og_str line = line_at(text, at);
        if (line.n == 0) {
            gap = true;
            at = line_next(text, at);
            continue;
        }
        if (gap)
            og_buf_addc(out, '\n');
        gap = false;
        if (line.p[0] == '|') {
            at = add_table(out, style, text, at);
        } else {
            add_paragraph_line(out, style, line);
            at = line_next(text, at);
        }
    }
}

/* ---- cards ---- */

static const char *text_of(const json_t *object, const char *name)
{
    const char *s = json_string_value(json_object_get(object, name));
    return s != NULL ? s : "";
}

static void add_headline(og_buf *out, const card_style *style, const json_t *card,
                         const json_t *delivery)
{
    static const struct {
        const char *name, *shown, *colour;
    } indicators[] = {{"critical", "!!! CRITICAL", "\033[1;37;41m"},
                      {"warning", "!!  WARNING ", "\033[1;30;43m"},
                      {"info", "i   INFO    ", "\033[1;30;46m"}};
    const json_t *topic = json_object_get(json_object_get(card, "source"), "topic");
    const char *shown = "?   UNKNOWN ", *colour = BOLD, *name = text_of(card, "indicator");
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(indicators[i].name, name) == 0) {
            shown = indicators[i].shown;
            colour = indicators[i].colour;
        }
    }
    og_buf_addf(out, "%s %s %s", style->colour ? colour : "[", shown, style->colour ? RESET : "]");
    og_buf_addz(out, " patient ");
    card_text_add_safe(out, og_str_of(text_of(delivery, "patientId")));
    og_buf_addz(out, "  rule ");
    card_text_add_safe(out, og_str_of(text_of(topic, "code")));
    if (*text_of(topic, "display") != '\0') {
        og_buf_addz(out, ", ");
        card_text_add_safe(out, og_str_of(text_of(topic, "display")));
    }
    og_buf_addc(out, '\n');
}

static void add_suggestions(og_buf *out, const card_style *style, const json_t *card)
{
    size_t i;
    const json_t *s;
    json_array_foreach(json_object_get(card, "suggestions"), i, s)
    {
        char first[32];
        snprintf(first, sizeof(first), "    offer %zu: ", i + 1);
        add_wrapped(out, style, first, og_str_of(text_of(s, "label")));
    }
}

static void add_source(og_buf *out, const card_style *style, const json_t *card)
{
    const json_t *source = json_object_get(card, "source");
    og_buf line;
    og_buf_init(&line, MAX_TEXT);
    og_buf_addz(&line, text_of(source, "label"));
    if (*text_of(source, "url") != '\0')
        og_buf_addf(&line, " <%s>", text_of(source, "url"));
    add_wrapped(out, style, "    source: ", og_buf_str(&line));
    og_buf_done(&line);
}

void card_text_add(og_buf *out, const json_t *card, const json_t *delivery, const card_style *style)
{
    og_buf_addc(out, '\n');
    add_headline(out, style, card, delivery);
    add_line(out, style, BOLD, text_of(card, "summary"));
    const char *detail = text_of(card, "detail");
    if (*detail != '\0')
        add_markdown(out, style, og_str_of(detail));
    add_suggestions(out, style, card);
    add_source(out, style, card);
}

void card_text_add_withdrawn(og_buf *out, const char *patient, const char *summary,
                             const char *reason, const card_style *style)
{
    og_buf line;
    og_buf_init(&line, MAX_TEXT);
    og_buf_addf(&line, "patient %s: %s (%s)", patient, summary, reason);
    og_buf_addz(out, style->colour ? "\n" BOLD "withdrawn:" RESET " " : "\nwithdrawn: ");
    card_text_add_safe(out, og_buf_str(&line));
    og_buf_addc(out, '\n');
    og_buf_done(&line);
}
