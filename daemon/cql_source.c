/* Reads CQL as text, not as a language: a statement goes from its keyword at the first column to
 * the next line that has something there. That is enough to show definitions and to follow the
 * quoted names in them; a name that means something else here (an alias in quotes) would merely be
 * shown needlessly. */
#include "daemon/cql_source.h"

#include <string.h>

/* ---- characters ---- */

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static og_str trim(og_str s)
{
    while (s.n != 0 && blank(s.p[0]))
        s = og_str_from(s, 1);
    while (s.n != 0 && blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* Behind a comment, a string or one character at `at`. */
static size_t skip_token(og_str t, size_t at)
{
    if (t.p[at] == '/' && at + 1 < t.n && t.p[at + 1] == '*') {
        for (at += 2; at + 1 < t.n && (t.p[at] != '*' || t.p[at + 1] != '/'); at++)
            ;
        return at + 2 < t.n ? at + 2 : t.n;
    }
    if (t.p[at] == '/' && at + 1 < t.n && t.p[at + 1] == '/') {
        while (at < t.n && t.p[at] != '\n')
            at++;
        return at;
    }
    if (t.p[at] == '\'' || t.p[at] == '"') {
        char quote = t.p[at++];
        while (at < t.n && t.p[at] != quote)
            at += t.p[at] == '\\' && at + 1 < t.n ? 2 : 1;
        return at < t.n ? at + 1 : t.n;
    }
    return at + 1;
}

/* What stands between the quotes at `at`, which the next token ends; empty when it has no end. */
static og_str inside_quotes(og_str t, size_t at)
{
    size_t end = skip_token(t, at);
    return end >= at + 2 && t.p[end - 1] == t.p[at] ? (og_str){t.p + at + 1, end - at - 2}
                                                    : (og_str){0};
}

/* A name at `at`, quoted or not; *at goes behind it. Empty: there is none. */
static og_str read_name(og_str t, size_t *at)
{
    size_t i = *at;
    while (i < t.n && (t.p[i] == ' ' || t.p[i] == '\t'))
        i++;
    size_t begin = i;
    if (i < t.n && t.p[i] == '"') {
        *at = skip_token(t, i);
        return inside_quotes(t, begin);
    }
    while (i < t.n && name_char(t.p[i]))
        i++;
    *at = i;
    return (og_str){t.p + begin, i - begin};
}

static bool take_word(og_str t, size_t *at, const char *word)
{
    size_t i = *at;
    og_str name = read_name(t, &i);
    if (!og_str_is(name, word))
        return false;
    *at = i;
    return true;
}

/* ---- statements ---- */

typedef struct reading {
    source_set *set;
    source_library *library;
    og_str text;
    size_t cap;
    og_str comment; /* pending: right above what comes */
    og_str group;   /* of the parameters above, with nothing between */
    bool failed;
} reading;

/* The first column holds a blank in lines that belong to the statement before. */
static size_t end_of_statement(og_str t, size_t at)
{
    for (bool first = true; at < t.n; first = false) {
        if (!first && (at == 0 || t.p[at - 1] == '\n') && !blank(t.p[at]) && t.p[at] != ')' &&
            t.p[at] != '}')
            break;
        at = skip_token(t, at);
    }
    return at;
}

static void add_item(reading *r, source_item item)
{
    source_library *l = r->library;

    if (l->count == r->cap) {
        size_t cap = r->cap != 0 ? r->cap * 2 : 64;
        source_item *grown =
            og_arena_grow(r->set->arena, l->items, r->cap * sizeof *grown, cap * sizeof *grown);
        if (grown == NULL) {
            r->failed = true;
            return;
        }
        l->items = grown;
        r->cap = cap;
    }
    l->items[l->count++] = item;
}

/* Behind `default`, or behind the colon. */
static og_str value_after(og_str text, size_t at, const char *word)
{
    while (at < text.n) {
        size_t i = at;
        if (*word == ':' ? text.p[at] == ':' : take_word(text, &i, word)) {
            og_str value = trim(og_str_from(text, *word == ':' ? at + 1 : i));
            if (value.n >= 2 && *word == ':' && value.p[0] == '\'')
                return inside_quotes(value, 0);
            return value;
        }
        if (name_char(text.p[at]))
            while (at < text.n && name_char(text.p[at]))
                at++;
        else
            at = skip_token(text, at);
    }
    return (og_str){0};
}

static void read_define(reading *r, og_str text, size_t at)
{
    source_item item = {.kind = SOURCE_DEFINE, .comment = r->comment, .text = text};

    while (take_word(text, &at, "private") || take_word(text, &at, "public") ||
           take_word(text, &at, "fluent"))
        ;
    if (take_word(text, &at, "function"))
        item.kind = SOURCE_FUNCTION;
    item.name = read_name(text, &at);
    add_item(r, item);
}

static void read_parameter(reading *r, og_str text, size_t at)
{
    source_item item = {.kind = SOURCE_PARAMETER, .comment = r->comment, .text = text};

    item.name = read_name(text, &at);
    item.value = value_after(text, at, "default");
    for (size_t i = 0; i < item.value.n; i = skip_token(item.value, i))
        if (og_str_starts(og_str_from(item.value, i), OG_STR("//"))) {
            item.note = trim(og_str_from(item.value, i + 2));
            item.value = trim((og_str){item.value.p, i});
        }
    if (item.comment.n == 0)
        item.comment = r->group;
    r->group = item.comment;
    add_item(r, item);
}

static void read_valueset(reading *r, og_str text, size_t at)
{
    source_item item = {.kind = SOURCE_VALUESET, .comment = r->comment, .text = text};

    item.name = read_name(text, &at);
    item.value = value_after(text, at, ":");
    add_item(r, item);
}

static void read_statement(reading *r, og_str text)
{
    size_t at = 0;
    og_str keyword = read_name(text, &at), group = r->group;

    r->group = (og_str){0};
    if (og_str_is(keyword, "library")) {
        r->library->name = read_name(text, &at);
        r->library->comment = r->comment;
    } else if (og_str_is(keyword, "define")) {
        read_define(r, text, at);
    } else if (og_str_is(keyword, "parameter")) {
        r->group = group;
        read_parameter(r, text, at);
    } else if (og_str_is(keyword, "valueset")) {
        read_valueset(r, text, at);
    }
    r->comment = (og_str){0};
}

static og_str without_marks(og_str comment)
{
    return trim((og_str){comment.p + 2, comment.n - 4});
}

/* What stands at the first column at `at`; returns the position behind it. */
static size_t read_top(reading *r, size_t at)
{
    og_str t = r->text;

    if (t.p[at] == '\n') { /* an empty line ends what a comment speaks of */
        r->comment = r->group = (og_str){0};
        return at + 1;
    }
    size_t end = t.p[at] == '/' ? skip_token(t, at) : end_of_statement(t, at);
    og_str text = trim((og_str){t.p + at, end - at});
    if (og_str_starts(text, OG_STR("/*")) && text.n >= 4)
        r->comment = without_marks(text);
    else if (og_str_starts(text, OG_STR("//")))
        r->comment = (og_str){0};
    else
        read_statement(r, text);
    /* end_of_statement swallows empty lines; they still separate */
    if (t.p[at] != '/' && end >= 2 && end <= t.n && t.p[end - 1] == '\n' && t.p[end - 2] == '\n')
        r->group = (og_str){0};
    while (end < t.n && t.p[end] != '\n' && t.p[end - 1] != '\n')
        end++;
    return end < t.n && t.p[end] == '\n' && t.p[end - 1] != '\n' ? end + 1 : end;
}

bool source_add(source_set *s, og_str text, bool *ret_bad)
{
    *ret_bad = false;
    if (s->count == s->cap) {
        size_t cap = s->cap != 0 ? s->cap * 2 : 16;
        source_library *grown = og_arena_zalloc(s->arena, cap, sizeof *grown);
        if (grown == NULL)
            return false;
        if (s->count != 0)
            memcpy(grown, s->libraries, s->count * sizeof *grown);
        s->libraries = grown;
        s->cap = cap;
    }
    source_library *l = &s->libraries[s->count];
    *l = (source_library){.text = text};
    reading r = {.set = s, .library = l, .text = text};
    for (size_t at = 0; at < text.n;)
        at = read_top(&r, at);
    *ret_bad = l->name.n == 0;
    if (r.failed || l->name.n == 0)
        return false;
    s->count++;
    return true;
}

/* ---- finding ---- */

static const source_library *library_named(const source_set *s, og_str name)
{
    for (size_t i = 0; i < s->count; i++)
        if (og_str_eq(s->libraries[i].name, name))
            return &s->libraries[i];
    return NULL;
}

static source_item *item_named(const source_library *l, og_str name)
{
    for (size_t i = 0; l != NULL && i < l->count; i++) {
        l->items[i].library = l;
        if (og_str_eq(l->items[i].name, name))
            return &l->items[i];
    }
    return NULL;
}

source_item *source_find(const source_set *s, og_str library, og_str name)
{
    if (name.n >= 2 && name.p[0] == '"')
        name = (og_str){name.p + 1, name.n - 2};
    return item_named(library_named(s, library), name);
}

/* The library that an `include NAME ... called ALIAS` of this one means by the alias. */
static const source_library *library_called(const source_set *s, const source_library *in,
                                            og_str alias)
{
    og_str t = in->text;

    for (size_t at = 0; at < t.n; at++) {
        if ((at != 0 && t.p[at - 1] != '\n') ||
            !og_str_starts(og_str_from(t, at), OG_STR("include ")))
            continue;
        size_t i = at + 7;
        og_str name = read_name(t, &i);
        size_t end = i;
        while (end < t.n && t.p[end] != '\n')
            end++;
        og_str called = value_after((og_str){t.p + i, end - i}, 0, "called");
        if (og_str_eq(called.n != 0 ? called : name, alias))
            return library_named(s, name);
    }
    return NULL;
}

/* `alias.` in front of `at`. */
static og_str alias_before(og_str t, size_t at)
{
    if (at < 2 || t.p[at - 1] != '.')
        return (og_str){0};
    size_t end = at - 1, begin = end;
    while (begin > 0 && name_char(t.p[begin - 1]))
        begin--;
    return (og_str){t.p + begin, end - begin};
}

void source_each_mention(const source_set *s, const source_item *item,
                         void (*fn)(void *ctx, source_item *mentioned), void *ctx)
{
    og_str t = item->text;

    for (size_t at = 0, next; at < t.n; at = next) {
        next = skip_token(t, at);
        if (t.p[at] != '"')
            continue;
        og_str name = inside_quotes(t, at), alias = alias_before(t, at);
        const source_library *l =
            alias.n != 0 ? library_called(s, item->library, alias) : item->library;
        source_item *found = item_named(l, name);
        if (found != NULL && found != item)
            fn(ctx, found);
    }
}
