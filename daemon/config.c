/* Configuration. libyaml gives a tree of nodes with their places; the table made from config.def
 * says what may stand where. Defaults, file and environment go through the same setter, so that all
 * three obey the same rules, and every message has a place.
 *
 * libyaml and not a schema library on top of it, because Kafka's properties are an open map and
 * because a bad value must have its line and column as much as an unknown key. */
#include "daemon/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#include "connectors/http_client.h"
#include "daemon/envelope.h"
#include "daemon/file.h"
#include "daemon/forward.h"
#include "daemon/record.h"
#include "fhir/base/temporal.h"

#define MAX_FILE    ((size_t)1 << 20)
#define MAX_ARENA   ((size_t)16 << 20)
#define MAX_SILENCE 527040 /* minutes: a year */
#define PREFIX      "OSTEOGUARD_"

typedef enum option_type {
    OPTION_IS_TEXT,
    OPTION_IS_INT,
    OPTION_IS_BOOL,
    OPTION_IS_CHOICE,
    OPTION_IS_LIST,
    OPTION_IS_MAP
} option_type;

/* Sections whose keys are names that the site gives: each has the same options. */
typedef struct family {
    const char *section, *one, *example; /* one of it, and a name for the description */
    const char *mark;                    /* "# ": it is none by default */
    size_t size, list, count;            /* of an element; where the list and its length stand */
} family;

typedef struct option {
    const char *section, *key; /* section NULL: of each element of the family */
    const family *family;
    option_type type;
    size_t offset;
    const char *deflt;
    int64_t min, max;
    const char *choices, *help;
} option;

#define AT(field)    offsetof(config, field)
#define AT_EP(field) offsetof(config_endpoint, field)
#define AT_CL(field) offsetof(config_client, field)
#define AT_FS(field) offsetof(config_fhir_server, field)
static const family endpoints_family = {
    "endpoints",   "an endpoint",     "ehr", "", sizeof(config_endpoint),
    AT(endpoints), AT(endpoint_count)};
static const family clients_family = {
    "clients", "a client", "ehr", "# ", sizeof(config_client), AT(clients), AT(client_count)};
static const family fhir_servers_family = {
    "fhir_servers",   "a FHIR server",      "ehr_fhir", "# ", sizeof(config_fhir_server),
    AT(fhir_servers), AT(fhir_server_count)};
static const family *const families[] = {&endpoints_family, &clients_family, &fhir_servers_family};
#define FAMILIES (sizeof families / sizeof families[0])
static const option options[] = {
#define OPTION_TEXT(s, k, f, d, h)        {s, k, NULL, OPTION_IS_TEXT, AT(f), d, 0, 0, NULL, h},
#define OPTION_INT(s, k, f, d, lo, hi, h) {s, k, NULL, OPTION_IS_INT, AT(f), d, lo, hi, NULL, h},
#define OPTION_BOOL(s, k, f, d, h)        {s, k, NULL, OPTION_IS_BOOL, AT(f), d, 0, 0, NULL, h},
#define OPTION_CHOICE(s, k, f, d, c, h)   {s, k, NULL, OPTION_IS_CHOICE, AT(f), d, 0, 0, c, h},
#define OPTION_LIST(s, k, f, d, h)        {s, k, NULL, OPTION_IS_LIST, AT(f), d, 0, 0, NULL, h},
#define OPTION_MAP(s, k, f, d, h)         {s, k, NULL, OPTION_IS_MAP, AT(f), d, 0, 0, NULL, h},
#define ENDPOINT_TEXT(k, f, d, h)                                                                  \
    {NULL, k, &endpoints_family, OPTION_IS_TEXT, AT_EP(f), d, 0, 0, NULL, h},
#define ENDPOINT_INT(k, f, d, lo, hi, h)                                                           \
    {NULL, k, &endpoints_family, OPTION_IS_INT, AT_EP(f), d, lo, hi, NULL, h},
#define ENDPOINT_BOOL(k, f, d, h)                                                                  \
    {NULL, k, &endpoints_family, OPTION_IS_BOOL, AT_EP(f), d, 0, 0, NULL, h},
#define ENDPOINT_CHOICE(k, f, d, c, h)                                                             \
    {NULL, k, &endpoints_family, OPTION_IS_CHOICE, AT_EP(f), d, 0, 0, c, h},
#define CLIENT_TEXT(k, f, d, h)                                                                    \
    {NULL, k, &clients_family, OPTION_IS_TEXT, AT_CL(f), d, 0, 0, NULL, h},
#define CLIENT_INT(k, f, d, lo, hi, h)                                                             \
    {NULL, k, &clients_family, OPTION_IS_INT, AT_CL(f), d, lo, hi, NULL, h},
#define CLIENT_LIST(k, f, d, h)                                                                    \
    {NULL, k, &clients_family, OPTION_IS_LIST, AT_CL(f), d, 0, 0, NULL, h},
#define FHIR_TEXT(k, f, d, h)                                                                      \
    {NULL, k, &fhir_servers_family, OPTION_IS_TEXT, AT_FS(f), d, 0, 0, NULL, h},
#define FHIR_BOOL(k, f, d, h)                                                                      \
    {NULL, k, &fhir_servers_family, OPTION_IS_BOOL, AT_FS(f), d, 0, 0, NULL, h},
#define FHIR_INT(k, f, d, lo, hi, h)                                                               \
    {NULL, k, &fhir_servers_family, OPTION_IS_INT, AT_FS(f), d, lo, hi, NULL, h},
#include "daemon/config.def"
};
#define OPTIONS (sizeof options / sizeof options[0])

/* One reading: what it fills, where it is, whom it tells. */
typedef struct reader {
    config *c;
    og_report *report;
    const char *origin;
    yaml_document_t *doc;
    bool placed; /* marks are places in a file, not in a variable's value */
    og_status status;
} reader;

static void problem(reader *r, const yaml_mark_t *mark, const char *fmt, ...) OG_PRINTF(3, 4);

static void problem(reader *r, const yaml_mark_t *mark, const char *fmt, ...)
{
    char text[512];
    og_error err;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    og_error_init(&err);
    (void)og_fail(&err, OG_INVALID, "%s", text);
    og_error_origin(&err, r->origin);
    if (mark != NULL && r->placed)
        og_error_at(&err, (uint32_t)mark->line + 1, (uint32_t)mark->column + 1);
    og_report_add(r->report, &err);
    if (r->status == OG_OK)
        r->status = OG_INVALID;
}

static const char *full_name(const option *o, const char *endpoint, char room[160])
{
    if (o->family == NULL)
        snprintf(room, 160, "%s.%s", o->section, o->key);
    else
        snprintf(room, 160, "%s.%s.%s", o->family->section, endpoint, o->key);
    return room;
}

/* ---- one value ---- */

static void set_int(reader *r, const option *o, const char *name, const char *text, int64_t *target,
                    const yaml_mark_t *mark)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (text[0] == '\0' || *end != '\0' || errno != 0 || isspace((unsigned char)text[0]))
        problem(r, mark, "%s: \"%s\" is not a whole number", name, text);
    else if (value < o->min || value > o->max)
        problem(r, mark, "%s: %lld is not between %lld and %lld", name, value, (long long)o->min,
                (long long)o->max);
    else
        *target = value;
}

static void set_choice(reader *r, const option *o, const char *name, const char *text,
                       int64_t *target, const yaml_mark_t *mark)
{
    og_str rest = og_str_of(o->choices);
    for (int64_t number = 0;; number++) {
        ptrdiff_t bar = og_str_find(rest, '|');
        og_str choice = {rest.p, bar < 0 ? rest.n : (size_t)bar};
        if (og_str_is(choice, text)) {
            *target = number;
            return;
        }
        if (bar < 0)
            break;
        rest = og_str_from(rest, (size_t)bar + 1);
    }
    problem(r, mark, "%s: \"%s\" is not one of %s", name, text, o->choices);
}

static void set_scalar(reader *r, const option *o, void *base, const char *endpoint,
                       const char *text, const yaml_mark_t *mark)
{
    char room[160];
    const char *name = full_name(o, endpoint, room);
    void *target = (char *)base + o->offset;
    switch (o->type) {
    case OPTION_IS_TEXT:
        *(const char **)target = og_arena_str(r->c->arena, og_str_of(text)).p;
        break;
    case OPTION_IS_INT: set_int(r, o, name, text, target, mark); break;
    case OPTION_IS_CHOICE: set_choice(r, o, name, text, target, mark); break;
    case OPTION_IS_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
            problem(r, mark, "%s: \"%s\" is neither true nor false", name, text);
        else
            *(bool *)target = strcmp(text, "true") == 0;
        break;
    case OPTION_IS_LIST: problem(r, mark, "%s: expected a list, for example [a, b]", name); break;
    case OPTION_IS_MAP: problem(r, mark, "%s: expected name: value pairs", name); break;
    }
}

/* "a, b" → list; the empty text is the empty list. */
static void set_commas(reader *r, const option *o, void *base, const char *text)
{
    config_list *list = (config_list *)(void *)((char *)base + o->offset);
    size_t count = 1;
    for (const char *c = text; *c != '\0'; c++)
        count += *c == ',';
    const char **at = og_arena_zalloc(r->c->arena, count, sizeof *at);
    size_t n = 0;
    og_str rest = og_str_of(text);
    while (at != NULL) {
        ptrdiff_t comma = og_str_find(rest, ',');
        og_str item = {rest.p, comma < 0 ? rest.n : (size_t)comma};
        while (item.n > 0 && item.p[0] == ' ')
            item = og_str_from(item, 1);
        while (item.n > 0 && item.p[item.n - 1] == ' ')
            item.n--;
        if (item.n > 0)
            at[n++] = og_arena_str(r->c->arena, item).p;
        if (comma < 0)
            break;
        rest = og_str_from(rest, (size_t)comma + 1);
    }
    *list = (config_list){at, n};
}

/* ---- one node ---- */

static const char *scalar_text(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

/* A key without a value (`key:` or `key: ~`) leaves the default. */
static bool is_null(const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    const char *text = scalar_text(node);
    return text[0] == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0;
}

/* libyaml hands NUL bytes through (they can be written as "\0"); a C string cannot hold them. */
static bool plain_text(reader *r, const char *name, const yaml_node_t *node)
{
    if (memchr(node->data.scalar.value, '\0', node->data.scalar.length) == NULL)
        return true;
    problem(r, &node->start_mark, "%s: a NUL character is not allowed", name);
    return false;
}

static const yaml_node_t *node_at(const reader *r, int index)
{
    return yaml_document_get_node(r->doc, index);
}

static void set_list(reader *r, const option *o, void *base, const char *name,
                     const yaml_node_t *node)
{
    config_list *list = (config_list *)(void *)((char *)base + o->offset);
    size_t count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start), n = 0;
    const char **at = og_arena_zalloc(r->c->arena, count + 1, sizeof *at);
    for (size_t i = 0; at != NULL && i < count; i++) {
        const yaml_node_t *item = node_at(r, node->data.sequence.items.start[i]);
        if (item->type != YAML_SCALAR_NODE || is_null(item))
            problem(r, &item->start_mark, "%s: expected a text as element of the list", name);
        else if (plain_text(r, name, item))
            at[n++] = og_arena_str(r->c->arena, og_str_of(scalar_text(item))).p;
    }
    *list = (config_list){at, n};
}

static void set_map(reader *r, const option *o, void *base, const char *name,
                    const yaml_node_t *node)
{
    config_map *map = (config_map *)(void *)((char *)base + o->offset);
    size_t count = (size_t)(node->data.mapping.pairs.top - node->data.mapping.pairs.start), n = 0;
    kafka_property *at = og_arena_zalloc(r->c->arena, count + 1, sizeof *at);
    for (size_t i = 0; at != NULL && i < count; i++) {
        const yaml_node_t *key = node_at(r, node->data.mapping.pairs.start[i].key);
        const yaml_node_t *value = node_at(r, node->data.mapping.pairs.start[i].value);
        bool twice = false;
        if (key->type != YAML_SCALAR_NODE || value->type != YAML_SCALAR_NODE) {
            problem(r, &key->start_mark, "%s: expected name: value with a text as value", name);
            continue;
        }
        if (!plain_text(r, name, key) || !plain_text(r, name, value))
            continue;
        for (size_t k = 0; k < n; k++)
            twice |= strcmp(at[k].name, scalar_text(key)) == 0;
        if (twice) {
            problem(r, &key->start_mark, "%s: %s stands here twice", name, scalar_text(key));
            continue;
        }
        at[n].name = og_arena_str(r->c->arena, og_str_of(scalar_text(key))).p;
        at[n++].value = og_arena_str(r->c->arena, og_str_of(scalar_text(value))).p;
    }
    *map = (config_map){at, n};
}

static void set_node(reader *r, const option *o, void *base, const char *endpoint,
                     const yaml_node_t *node)
{
    char room[160];
    const char *name = full_name(o, endpoint, room);
    if (is_null(node))
        return;
    if (o->type == OPTION_IS_LIST && node->type == YAML_SEQUENCE_NODE)
        set_list(r, o, base, name, node);
    else if (o->type == OPTION_IS_MAP && node->type == YAML_MAPPING_NODE)
        set_map(r, o, base, name, node);
    else if (node->type != YAML_SCALAR_NODE)
        problem(r, &node->start_mark, "%s: expected a single value", name);
    else if (o->type == OPTION_IS_LIST && !r->placed)
        set_commas(r, o, base, scalar_text(node));
    else if (plain_text(r, name, node))
        set_scalar(r, o, base, endpoint, scalar_text(node), &node->start_mark);
}

/* ---- the file ---- */

/* Of a section; of a family when it is given. key NULL: any. */
static const option *find_option(const family *f, const char *section, const char *key)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        bool same = f != NULL
                        ? options[i].family == f
                        : options[i].section != NULL && strcmp(options[i].section, section) == 0;
        if (same && (key == NULL || strcmp(options[i].key, key) == 0))
            return &options[i];
    }
    return NULL;
}

static const family *find_family(const char *section)
{
    for (size_t i = 0; i < FAMILIES; i++)
        if (strcmp(families[i]->section, section) == 0)
            return families[i];
    return NULL;
}

/* Every element of a family begins with its name. */
static void *element_at(const config *c, const family *f, size_t i)
{
    char *const *list = (char *const *)(const void *)((const char *)c + f->list);
    return *list + i * f->size;
}

static size_t element_count(const config *c, const family *f)
{
    return *(const size_t *)(const void *)((const char *)c + f->count);
}

static const char *element_name(const void *element)
{
    return *(const char *const *)element;
}

/* True when the key of pair i stands in the mapping before; the problem is reported. */
static bool repeated(reader *r, const yaml_node_t *mapping, size_t i)
{
    const yaml_node_t *key = node_at(r, mapping->data.mapping.pairs.start[i].key);
    for (size_t k = 0; k < i; k++) {
        const yaml_node_t *other = node_at(r, mapping->data.mapping.pairs.start[k].key);
        if (other->type == YAML_SCALAR_NODE && strcmp(scalar_text(other), scalar_text(key)) == 0) {
            problem(r, &key->start_mark, "%s stands here twice", scalar_text(key));
            return true;
        }
    }
    return false;
}

/* Calls fn for each `key: value` of a mapping, after checking that keys are texts and stand once.
 */
typedef void pair_fn(reader *r, const char *key, const yaml_mark_t *mark, const yaml_node_t *value,
                     void *ctx);

static void each_pair(reader *r, const char *what, const yaml_node_t *node, pair_fn *fn, void *ctx)
{
    if (is_null(node))
        return;
    if (node->type != YAML_MAPPING_NODE) {
        problem(r, &node->start_mark, "%s: expected key: value pairs", what);
        return;
    }
    size_t count = (size_t)(node->data.mapping.pairs.top - node->data.mapping.pairs.start);
    for (size_t i = 0; i < count; i++) {
        const yaml_node_t *key = node_at(r, node->data.mapping.pairs.start[i].key);
        if (key->type != YAML_SCALAR_NODE)
            problem(r, &key->start_mark, "%s: a key must be a text", what);
        else if (!repeated(r, node, i))
            fn(r, scalar_text(key), &key->start_mark,
               node_at(r, node->data.mapping.pairs.start[i].value), ctx);
    }
}

static void set_defaults(reader *r, void *base, const family *f)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        const option *o = &options[i];
        if (o->family != f)
            continue;
        if (o->type == OPTION_IS_LIST)
            set_commas(r, o, base, o->deflt);
        else if (o->type != OPTION_IS_MAP)
            set_scalar(r, o, base, "", o->deflt, NULL);
    }
}

typedef struct element {
    const family *family;
    void *at;
} element;

static void element_pair(reader *r, const char *key, const yaml_mark_t *mark,
                         const yaml_node_t *value, void *ctx)
{
    const element *e = ctx;
    const option *o = find_option(e->family, NULL, key);
    if (o == NULL)
        problem(r, mark, "unknown key %s.%s.%s", e->family->section, element_name(e->at), key);
    else
        set_node(r, o, e->at, element_name(e->at), value);
}

static bool element_name_valid(const char *name)
{
    if (name[0] == '\0' || strlen(name) > 32)
        return false;
    for (const char *c = name; *c != '\0'; c++)
        if (!isalnum((unsigned char)*c) && *c != '_' && *c != '-')
            return false;
    return true;
}

/* One more element, with its name and the defaults; NULL: no memory. */
static void *add_element(reader *r, const family *f, const char *name)
{
    config *c = r->c;
    char **list = (char **)(void *)((char *)c + f->list);
    size_t *count = (size_t *)(void *)((char *)c + f->count), old = *count * f->size;
    char *grown = og_arena_grow(c->arena, *list, old, old + f->size);
    if (grown == NULL)
        return NULL;
    *list = grown;
    void *at = grown + old;
    memset(at, 0, f->size);
    *(const char **)at = og_arena_str(c->arena, og_str_of(name)).p;
    ++*count;
    set_defaults(r, at, f);
    return at;
}

/* - and _ are the same in a variable's name, and so are letters of either case. */
static bool same_variable(const char *a, const char *b)
{
    size_t i = 0;
    for (; a[i] != '\0' && b[i] != '\0'; i++)
        if (a[i] != b[i] && (isalnum((unsigned char)a[i]) || isalnum((unsigned char)b[i])) &&
            toupper((unsigned char)a[i]) != toupper((unsigned char)b[i]))
            return false;
    return a[i] == b[i];
}

static bool is_ambiguous(reader *r, const family *f, const char *name, const yaml_mark_t *mark)
{
    const char *list = *(char **)(void *)((char *)r->c + f->list);
    size_t count = *(size_t *)(void *)((char *)r->c + f->count);
    for (size_t i = 0; i < count; i++) {
        const char *other = element_name(list + i * f->size);
        if (!same_variable(other, name))
            continue;
        problem(r, mark, "%s and %s would have the same variables in the environment", other, name);
        return true;
    }
    return false;
}

static void family_pair(reader *r, const char *key, const yaml_mark_t *mark,
                        const yaml_node_t *value, void *ctx)
{
    element e = {.family = ctx};
    if (!element_name_valid(key)) {
        problem(r, mark, "\"%s\" cannot name %s: letters, digits, - and _, at most 32", key,
                e.family->one);
        return;
    }
    if (find_option(NULL, key, NULL) != NULL || find_family(key) != NULL) {
        problem(r, mark, "%s cannot be called %s, that is a section of the configuration",
                e.family->one, key);
        return;
    }
    if (is_ambiguous(r, e.family, key, mark))
        return;
    e.at = add_element(r, e.family, key);
    if (e.at != NULL)
        each_pair(r, e.family->section, value, element_pair, &e);
}

static void section_pair(reader *r, const char *key, const yaml_mark_t *mark,
                         const yaml_node_t *value, void *ctx)
{
    const char *section = ctx;
    const option *o = find_option(NULL, section, key);
    if (o == NULL)
        problem(r, mark, "unknown key %s.%s", section, key);
    else
        set_node(r, o, r->c, NULL, value);
}

static void root_pair(reader *r, const char *key, const yaml_mark_t *mark, const yaml_node_t *value,
                      void *ctx)
{
    char section[64];
    const family *f = find_family(key);
    (void)ctx;
    if (f != NULL) {
        each_pair(r, key, value, family_pair, (void *)(uintptr_t)f);
        return;
    }
    if (strlen(key) >= sizeof section || find_option(NULL, key, NULL) == NULL) {
        problem(r, mark, "unknown section %.64s", key);
        return;
    }
    memcpy(section, key, strlen(key) + 1);
    each_pair(r, key, value, section_pair, section);
}

/* A second document would be passed over in silence. */
static void refuse_more(reader *r, yaml_parser_t *parser)
{
    yaml_document_t doc;
    if (!yaml_parser_load(parser, &doc)) {
        yaml_mark_t mark = parser->problem_mark;
        problem(r, &mark, "%s", parser->problem != NULL ? parser->problem : "not YAML");
        return;
    }
    const yaml_node_t *root = yaml_document_get_root_node(&doc);
    bool empty = root == NULL || (root->type == YAML_SCALAR_NODE && root->data.scalar.length == 0);
    if (!empty)
        problem(r, &root->start_mark, "a second YAML document: there must be one only");
    yaml_document_delete(&doc);
}

/* Parses text into a document and gives its root (NULL: empty) to fn; the document lives during the
 * call. */
static void with_document(reader *r, og_str text,
                          void (*fn)(reader *r, const yaml_node_t *root, void *ctx), void *ctx)
{
    yaml_parser_t parser;
    yaml_document_t doc;
    if (!yaml_parser_initialize(&parser)) {
        problem(r, NULL, "no memory for the YAML reader");
        return;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.p, text.n);
    if (!yaml_parser_load(&parser, &doc)) {
        yaml_mark_t mark = parser.problem_mark;
        problem(r, &mark, "%s%s%s", parser.context != NULL ? parser.context : "",
                parser.context != NULL ? ": " : "",
                parser.problem != NULL ? parser.problem : "not YAML");
        yaml_parser_delete(&parser);
        return;
    }
    r->doc = &doc;
    fn(r, yaml_document_get_root_node(&doc), ctx);
    r->doc = NULL;
    yaml_document_delete(&doc);
    refuse_more(r, &parser);
    yaml_parser_delete(&parser);
}

static void read_root(reader *r, const yaml_node_t *root, void *ctx)
{
    (void)ctx;
    if (root != NULL)
        each_pair(r, "the configuration", root, root_pair, NULL);
}

/* ---- the environment ---- */

/* True when name (a variable's, behind the prefix) is SECTION_KEY in upper case; - and . become _.
 */
static bool names_option(const char *name, const char *section, const char *key)
{
    char want[160];
    int n = snprintf(want, sizeof want, "%s_%s", section, key);
    if (n < 0 || (size_t)n >= sizeof want)
        return false;
    for (char *c = want; *c != '\0'; c++)
        *c = isalnum((unsigned char)*c) ? (char)toupper((unsigned char)*c) : '_';
    return strcmp(want, name) == 0;
}

typedef struct override {
    const option *o;
    void *base;
    const char *endpoint;
} override;

static bool find_override(config *c, const char *name, override *ret)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        const option *o = &options[i];
        if (o->section != NULL && names_option(name, o->section, o->key)) {
            *ret = (override){o, c, NULL};
            return true;
        }
        for (size_t e = 0; o->section == NULL && e < element_count(c, o->family); e++) {
            void *at = element_at(c, o->family, e);
            char long_name[64];
            snprintf(long_name, sizeof long_name, "%s_%s", o->family->section, element_name(at));
            /* Endpoints may be named alone: OSTEOGUARD_EHR_URL. */
            if ((o->family == &endpoints_family && names_option(name, element_name(at), o->key)) ||
                names_option(name, long_name, o->key)) {
                *ret = (override){o, at, element_name(at)};
                return true;
            }
        }
    }
    return false;
}

static void read_override(reader *r, const yaml_node_t *root, void *ctx)
{
    const override *v = ctx;
    if (root != NULL)
        set_node(r, v->o, v->base, v->endpoint, root);
}

static void apply_variable(reader *r, const char *variable, og_report *warn)
{
    char name[160];
    const char *equals = strchr(variable, '=');
    override v;
    if (strncmp(variable, PREFIX, sizeof PREFIX - 1) != 0 || equals == NULL)
        return;
    if ((size_t)(equals - variable) >= sizeof name)
        return;
    memcpy(name, variable, (size_t)(equals - variable));
    name[equals - variable] = '\0';
    r->origin = name;
    if (!find_override(r->c, name + sizeof PREFIX - 1, &v)) {
        og_error err;
        og_error_init(&err);
        (void)og_fail(&err, OG_NOTFOUND, "no option has this variable; it is ignored");
        og_error_origin(&err, name);
        og_report_add(warn, &err);
    } else if (v.o->type == OPTION_IS_MAP || (v.o->type == OPTION_IS_LIST && equals[1] == '[')) {
        with_document(r, og_str_of(equals + 1), read_override, &v);
    } else if (v.o->type == OPTION_IS_LIST) {
        set_commas(r, v.o, v.base, equals + 1);
    } else {
        set_scalar(r, v.o, v.base, v.endpoint, equals + 1, NULL);
    }
    r->origin = r->c->origin;
}

/* ---- what belongs together ---- */

/* address:port taken apart; host "" when there is to be no server. */
static void check_listen(reader *r, const char *option, const char *text, const char **ret_host,
                         int *ret_port)
{
    *ret_host = "";
    if (text[0] == '\0')
        return;
    const char *colon = strrchr(text, ':');
    char *end;
    long port = colon != NULL ? strtol(colon + 1, &end, 10) : -1;
    if (colon == NULL || colon == text || colon[1] == '\0' || *end != '\0' || port < 0 ||
        port > 65535) {
        problem(r, NULL, "%s: \"%s\" is not address:port, for example 127.0.0.1:8080 or [::]:8080",
                option, text);
        return;
    }
    og_str host = {text, (size_t)(colon - text)};
    if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = (og_str){host.p + 1, host.n - 2};
    *ret_host = og_arena_str(r->c->arena, host).p;
    *ret_port = (int)port;
}

static void check_clock(reader *r)
{
    config *c = r->c;
    og_temporal t;
    if (c->clock_start[0] != '\0') {
        if (!og_temporal_parse_fhir(og_str_of(c->clock_start), &t) || t.precision < OG_MINUTE ||
            !t.has_offset) {
            problem(r, NULL,
                    "clock.start: \"%s\" is not an instant with offset, for example "
                    "2026-02-28T23:59:40+01:00",
                    c->clock_start);
            return;
        }
        c->clock_simulated = true;
        c->clock_start_ms = og_temporal_earliest_ms(&t, 0);
    }
    char *end;
    double speed = strtod(c->clock_speed, &end);
    if (c->clock_speed[0] == '\0' || *end != '\0' || !(speed >= 0 && speed <= 100000))
        problem(r, NULL, "clock.speed: \"%s\" is not a number between 0 and 100000",
                c->clock_speed);
    else
        c->clock_speed_per_1000 = (int64_t)(speed * 1000 + 0.5);
}

const char *config_sender_of(const config *c, const char *topic)
{
    for (size_t i = 0; i < c->kafka_senders.count; i++)
        if (strcmp(c->kafka_senders.at[i].name, topic) == 0)
            return c->kafka_senders.at[i].value;
    return "";
}

static bool is_source(const config *c, const char *topic)
{
    for (size_t i = 0; i < c->kafka_sources.count; i++)
        if (strcmp(c->kafka_sources.at[i], topic) == 0)
            return true;
    return false;
}

static void check_envelopes(reader *r)
{
    const config *c = r->c;
    for (size_t i = 0; i < c->kafka_envelopes.count; i++) {
        const kafka_property *e = &c->kafka_envelopes.at[i];
        const char *wrong = envelope_check(e->value);
        if (!is_source(c, e->name))
            problem(r, NULL, "kafka.envelopes: %s is none of kafka.sources", e->name);
        if (wrong != NULL)
            problem(r, NULL, "kafka.envelopes: %s: \"%s\" %s", e->name, e->value, wrong);
    }
}

static void check_sender(reader *r, const char *option, const char *name)
{
    const config_map *senders = &r->c->kafka_senders;
    bool known = name[0] == '\0';
    for (size_t i = 0; i < senders->count; i++)
        known |= strcmp(senders->at[i].value, name) == 0;
    if (!known)
        problem(r, NULL, "%s: no topic in kafka.senders has the sender \"%s\"", option, name);
}

static void check_senders(reader *r)
{
    const config *c = r->c;
    char option[160];
    for (size_t i = 0; i < c->kafka_senders.count; i++) {
        const kafka_property *s = &c->kafka_senders.at[i];
        if (!is_source(c, s->name))
            problem(r, NULL, "kafka.senders: %s is none of kafka.sources", s->name);
        if (!record_sender_valid(og_str_of(s->value)))
            problem(r, NULL, "kafka.senders: %s: \"%s\" must have 1 to %d letters or digits",
                    s->name, s->value, RECORD_MAX_SENDER);
    }
    for (size_t i = 0; i < c->endpoint_count; i++) {
        snprintf(option, sizeof option, "endpoints.%s.sender", c->endpoints[i].name);
        check_sender(r, option, c->endpoints[i].sender);
    }
    check_sender(r, "hooks.sender", c->hooks_sender);
}

static void set_silence(reader *r, const char *topic, int64_t minutes)
{
    config *c = r->c;
    for (size_t i = 0; i < c->kafka_sources.count; i++)
        if (strcmp(c->kafka_sources.at[i], topic) == 0)
            c->kafka_silence_ms[i] = minutes * 60000;
}

static void check_silence(reader *r)
{
    config *c = r->c;
    if (c->kafka_silence.count == 0)
        return;
    c->kafka_silence_ms =
        og_arena_zalloc(c->arena, c->kafka_sources.count + 1, sizeof *c->kafka_silence_ms);
    if (c->kafka_silence_ms == NULL)
        r->status = OG_NOMEM;
    if (c->freshness_ms == 0)
        problem(r, NULL, "kafka.silence_minutes: with limits.freshness_ms: 0 nobody asks for it");
    for (size_t i = 0; c->kafka_silence_ms != NULL && i < c->kafka_silence.count; i++) {
        const kafka_property *e = &c->kafka_silence.at[i];
        int64_t minutes;
        if (!is_source(c, e->name))
            problem(r, NULL, "kafka.silence_minutes: %s is none of kafka.sources", e->name);
        else if (!og_str_int(og_str_of(e->value), 1, MAX_SILENCE, &minutes))
            problem(r, NULL, "kafka.silence_minutes: %s: \"%s\" is not between 1 and %d", e->name,
                    e->value, MAX_SILENCE);
        else
            set_silence(r, e->name, minutes);
    }
}

/* What brokers take as a topic's name. */
static bool is_topic_name(const char *name)
{
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t n = strlen(name);
    return n > 0 && n <= 249 && name[strspn(name, good)] == '\0' && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

static void check_sources(reader *r)
{
    const config_list *sources = &r->c->kafka_sources;
    if (sources->count == 0)
        problem(r, NULL, "kafka.sources: at least one topic is needed");
    for (size_t i = 0; i < sources->count; i++) {
        if (!is_topic_name(sources->at[i]))
            problem(r, NULL, "kafka.sources: \"%s\" cannot be a topic's name", sources->at[i]);
        for (size_t k = 0; k < i; k++)
            if (strcmp(sources->at[i], sources->at[k]) == 0)
                problem(r, NULL, "kafka.sources: %s is there twice", sources->at[i]);
    }
}

static void check_names(reader *r)
{
    config *c = r->c;
    if (c->tenant[0] == '\0' || strchr(c->tenant, '|') != NULL || strlen(c->tenant) > 64)
        problem(r, NULL, "site.tenant: must have 1 to 64 characters and no |");
    check_sources(r);
    if (c->kafka_bootstrap[0] == '\0')
        problem(r, NULL, "kafka.bootstrap: at least one broker is needed");
    const char *const ours[] = {c->kafka_records, c->kafka_alerts, c->kafka_shared,
                                c->kafka_dead_letters};
    for (size_t i = 0; i < 4; i++) {
        if (!is_topic_name(ours[i]))
            problem(r, NULL, "kafka: \"%s\" cannot be a topic's name", ours[i]);
        for (size_t k = 0; k < i; k++)
            if (strcmp(ours[i], ours[k]) == 0)
                problem(r, NULL, "kafka: topic %s has two roles", ours[i]);
        for (size_t k = 0; k < c->kafka_sources.count; k++)
            if (strcmp(ours[i], c->kafka_sources.at[k]) == 0)
                problem(r, NULL, "kafka: topic %s is a source and one of ours", ours[i]);
    }
}

static void check_readable(reader *r, const char *name, const char *path)
{
    struct stat st;
    if (path[0] == '\0')
        return;
    if (access(path, R_OK) != 0 || stat(path, &st) != 0)
        problem(r, NULL, "%s: cannot read %s: %s", name, path, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        problem(r, NULL, "%s: %s is a directory", name, path);
    else if (S_ISREG(st.st_mode) && st.st_size == 0)
        problem(r, NULL, "%s: %s is empty", name, path);
}

static void check_endpoint(reader *r, const config_endpoint *ep)
{
    char name[64];
    if (strncmp(ep->url, "http://", 7) != 0 && strncmp(ep->url, "https://", 8) != 0)
        problem(r, NULL, "endpoints.%s.url: \"%s\" is not an http or https URL", ep->name, ep->url);
    if ((ep->flag || ep->task) && ep->format != CONFIG_FORMAT_FHIR)
        problem(r, NULL, "endpoints.%s: flag and task need format fhir", ep->name);
    if (ep->key_file[0] != '\0' && ep->cert_file[0] == '\0')
        problem(r, NULL, "endpoints.%s: key_file without cert_file", ep->name);
    snprintf(name, sizeof name, "endpoints.%s", ep->name);
    const char *const files[] = {ep->bearer_token_file, ep->ca_file, ep->cert_file, ep->key_file};
    for (size_t i = 0; i < 4; i++)
        check_readable(r, name, files[i]);
}

static bool has_source_of(const config *c, const char *sender)
{
    for (size_t i = 0; i < c->kafka_sources.count; i++)
        if (strcmp(config_sender_of(c, c->kafka_sources.at[i]), sender) == 0)
            return true;
    return false;
}

static void check_backfill(reader *r, size_t i)
{
    const config_fhir_server *f = &r->c->fhir_servers[i];
    if (f->client_id[0] == '\0')
        problem(r, NULL, "fhir_servers.%s: backfill needs client_id", f->name);
    if (!has_source_of(r->c, f->sender))
        problem(r, NULL,
                "fhir_servers.%s: backfill: no topic of kafka.sources has the sender \"%s\"",
                f->name, f->sender);
    for (size_t k = 0; k < i; k++)
        if (r->c->fhir_servers[k].backfill && strcmp(r->c->fhir_servers[k].sender, f->sender) == 0)
            problem(r, NULL, "fhir_servers.%s: fhir_servers.%s has backfill already", f->name,
                    r->c->fhir_servers[k].name);
}

static void check_fhir_server(reader *r, size_t i)
{
    const config_fhir_server *f = &r->c->fhir_servers[i];
    char name[64];
    if (!http_url_keeps_secrets(f->url))
        problem(r, NULL, "fhir_servers.%s.url: \"%s\" is not an https URL", f->name, f->url);
    else if (!http_url_same(f->url, f->url)) /* no call could ever name it */
        problem(r, NULL, "fhir_servers.%s.url: \"%s\" has more than a base URL has", f->name,
                f->url);
    if (f->token_url[0] != '\0' && !http_url_keeps_secrets(f->token_url))
        problem(r, NULL, "fhir_servers.%s.token_url: \"%s\" is not an https URL", f->name,
                f->token_url);
    if ((f->client_id[0] == '\0') != (f->private_jwk_file[0] == '\0'))
        problem(r, NULL, "fhir_servers.%s: client_id and private_jwk_file belong together",
                f->name);
    if (f->backfill)
        check_backfill(r, i);
    if (f->key_file[0] != '\0' && f->cert_file[0] == '\0')
        problem(r, NULL, "fhir_servers.%s: key_file without cert_file", f->name);
    snprintf(name, sizeof name, "fhir_servers.%s", f->name);
    const char *const files[] = {f->private_jwk_file, f->ca_file, f->cert_file, f->key_file};
    for (size_t k = 0; k < sizeof files / sizeof files[0]; k++)
        check_readable(r, name, files[k]);
    for (size_t k = 0; k < i; k++)
        if (http_url_same(f->url, r->c->fhir_servers[k].url))
            problem(r, NULL, "fhir_servers.%s: fhir_servers.%s has the same url", f->name,
                    r->c->fhir_servers[k].name);
}

static bool names_fhir_server(const config *c, const char *name)
{
    for (size_t i = 0; i < c->fhir_server_count; i++)
        if (strcmp(c->fhir_servers[i].name, name) == 0)
            return true;
    return false;
}

static void check_client(reader *r, size_t i)
{
    const config_client *cl = &r->c->clients[i];
    bool token = cl->issuer[0] != '\0', keys = cl->jwks_file[0] != '\0' || cl->jwks_url[0] != '\0';
    char name[64];
    if (!token && cl->certificate[0] == '\0')
        problem(r, NULL, "clients.%s: needs an issuer (tokens) or a certificate (mutual TLS)",
                cl->name);
    if (token && !keys)
        problem(r, NULL, "clients.%s: jwks_file or jwks_url is needed to check its tokens",
                cl->name);
    if (token && cl->audiences.count == 0)
        problem(r, NULL, "clients.%s: audiences is needed: what its tokens name as aud", cl->name);
    for (size_t k = 0; k < cl->audiences.count; k++)
        if (cl->audiences.at[k][strspn(cl->audiences.at[k], "/")] == '\0')
            problem(r, NULL, "clients.%s: an audience is empty", cl->name);
    for (size_t k = 0; k < cl->fhir_servers.count; k++)
        if (!names_fhir_server(r->c, cl->fhir_servers.at[k]))
            problem(r, NULL, "clients.%s: there is no %s among the fhir_servers", cl->name,
                    cl->fhir_servers.at[k]);
    if (cl->jwks_url[0] != '\0' && !http_url_keeps_secrets(cl->jwks_url))
        problem(r, NULL, "clients.%s.jwks_url: \"%s\" is not an https URL", cl->name, cl->jwks_url);
    if (cl->certificate[0] != '\0' && r->c->hooks_client_ca_file[0] == '\0')
        problem(r, NULL, "clients.%s: a certificate needs hooks.client_ca_file", cl->name);
    snprintf(name, sizeof name, "clients.%s.jwks_file", cl->name);
    check_readable(r, name, cl->jwks_file);
    for (size_t k = 0; token && k < i; k++)
        if (strcmp(r->c->clients[k].issuer, cl->issuer) == 0)
            problem(r, NULL, "clients.%s: clients.%s has the same issuer", cl->name,
                    r->c->clients[k].name);
}

static void check_secret(reader *r, const char *path)
{
    struct stat st;
    check_readable(r, "hooks.instance_secret_file", path);
    if (path[0] != '\0' && stat(path, &st) == 0 && st.st_size < FORWARD_MIN_SECRET)
        problem(r, NULL, "hooks.instance_secret_file: %s has fewer than %d bytes", path,
                FORWARD_MIN_SECRET);
}

/* Calls carry what is confidential, and go where the URL says. */
static void check_instance(reader *r)
{
    const config *c = r->c;
    if (c->hooks_instance_url[0] == '\0') {
        if (c->hooks_instance_secret_file[0] != '\0')
            problem(r, NULL, "hooks: instance_secret_file without instance_url");
        return;
    }
    if (!http_url_keeps_secrets(c->hooks_instance_url))
        problem(r, NULL, "hooks.instance_url: \"%s\" is not an https URL", c->hooks_instance_url);
    else if (!http_url_same(c->hooks_instance_url, c->hooks_instance_url))
        problem(r, NULL, "hooks.instance_url: \"%s\" has more than a base URL has",
                c->hooks_instance_url);
    if (c->hooks_listen[0] == '\0')
        problem(r, NULL, "hooks: instance_url needs listen");
    if (c->hooks_instance_secret_file[0] == '\0')
        problem(r, NULL, "hooks: instance_url needs instance_secret_file");
    check_secret(r, c->hooks_instance_secret_file);
    check_readable(r, "hooks.instance_ca_file", c->hooks_instance_ca_file);
    if (c->hooks_forward_budget_ms + c->hooks_fetch_budget_ms >= c->hooks_deadline_ms)
        problem(r, NULL,
                "hooks: forward_budget_ms and fetch_budget_ms together are not smaller than "
                "deadline_ms");
}

static void check_hooks(reader *r)
{
    const config *c = r->c;
    if ((c->hooks_cert_file[0] == '\0') != (c->hooks_key_file[0] == '\0'))
        problem(r, NULL, "hooks: cert_file and key_file belong together");
    if (c->hooks_client_ca_file[0] != '\0' && c->hooks_cert_file[0] == '\0')
        problem(r, NULL, "hooks: client_ca_file needs TLS, that is cert_file and key_file");
    check_readable(r, "hooks.cert_file", c->hooks_cert_file);
    check_readable(r, "hooks.key_file", c->hooks_key_file);
    check_readable(r, "hooks.client_ca_file", c->hooks_client_ca_file);
    check_instance(r);
    for (size_t i = 0; i < c->client_count; i++)
        check_client(r, i);
}

/* A property that librdkafka does not know, or that would break a promise of the connector. */
static void check_properties(reader *r)
{
    static const bool consumer[] = {true, false};
    char said[sizeof((og_error *)0)->text] = "";
    for (size_t i = 0; i < 2; i++) {
        config_map map = {0};
        og_error err;
        og_error_init(&err);
        og_status status = config_kafka(r->c, consumer[i], &map, &err);
        if (status == OG_OK)
            status = kafka_properties_check(map.at, map.count, consumer[i], &err);
        if (status != OG_OK && strcmp(err.text, said) != 0) /* of what both have it is said once */
            problem(r, NULL, "kafka: %s%s%s", err.origin, err.origin[0] != '\0' ? ": " : "",
                    err.text);
        snprintf(said, sizeof said, "%s", err.text);
    }
}

static void check_whole(reader *r)
{
    config *c = r->c;
    check_listen(r, "http.listen", r->c->http_listen, &r->c->http_host, &r->c->http_port);
    check_listen(r, "hooks.listen", r->c->hooks_listen, &r->c->hooks_host, &r->c->hooks_port);
    if (c->hooks_listen[0] != '\0' && c->hooks_port != 0 &&
        strcmp(c->hooks_listen, c->http_listen) == 0)
        problem(r, NULL, "hooks.listen: %s is http.listen already", c->hooks_listen);
    if (c->store_dir[0] == '\0')
        problem(r, NULL, "store.dir: must not be empty");
    check_clock(r);
    check_names(r);
    check_envelopes(r);
    check_senders(r);
    check_silence(r);
    for (size_t i = 0; i < c->endpoint_count; i++)
        check_endpoint(r, &c->endpoints[i]);
    check_hooks(r);
    for (size_t i = 0; i < c->fhir_server_count; i++)
        check_fhir_server(r, i);
    if (c->fhir_server_count > 0 && c->hooks_fetch_budget_ms >= c->hooks_deadline_ms)
        problem(r, NULL, "hooks.fetch_budget_ms is not smaller than hooks.deadline_ms");
    if (c->backoff_max_ms < c->backoff_min_ms)
        problem(r, NULL, "delivery.backoff_max_ms is smaller than delivery.backoff_min_ms");
    if (c->max_record_bytes > c->max_message_bytes)
        problem(r, NULL, "limits.record_bytes is larger than limits.message_bytes");
    check_properties(r);
}

og_status config_parse(og_str text, const char *origin, char *const *environment, config **ret,
                       og_report *report, og_report *warn)
{
    reader r = {.report = report, .placed = true};
    og_arena *arena = og_arena_new(MAX_ARENA);
    config *c = arena != NULL ? og_arena_zalloc(arena, 1, sizeof *c) : NULL;
    if (c == NULL) {
        og_arena_free(arena);
        return OG_NOMEM;
    }
    c->arena = arena;
    c->origin = og_arena_str(arena, og_str_of(origin)).p;
    r.c = c;
    r.origin = c->origin;

    set_defaults(&r, c, NULL);
    with_document(&r, text, read_root, NULL);
    r.placed = false;
    for (size_t i = 0; environment != NULL && environment[i] != NULL; i++)
        apply_variable(&r, environment[i], warn);
    if (r.status == OG_OK)
        check_whole(&r);
    if (og_arena_failed(arena))
        problem(&r, NULL, "the configuration is too large");
    if (r.status != OG_OK) {
        config_free(c);
        return r.status;
    }
    *ret = c;
    return OG_OK;
}

og_status config_load(const char *path, config **ret, og_report *report, og_report *warn)
{
    og_buf text;
    og_error err;
    og_error_init(&err);
    og_buf_init(&text, MAX_FILE);
    og_status status = file_read(path, MAX_FILE, &text, &err);
    if (status != OG_OK)
        og_report_add(report, &err);
    else
        status = config_parse(og_buf_str(&text), path, environ, ret, report, warn);
    if (status == OG_OK)
        (*ret)->from_file = true;
    og_buf_done(&text);
    return status;
}

void config_free(config *c)
{
    if (c != NULL)
        og_arena_free(c->arena);
}

static void put_property(kafka_property *at, size_t *count, kafka_property p)
{
    for (size_t i = 0; i < *count; i++) {
        if (strcmp(at[i].name, p.name) == 0) {
            at[i].value = p.value;
            return;
        }
    }
    at[(*count)++] = p;
}

/* Appends a property; one whose value is `file:PATH` gets what stands in that file, without its
 * line end, so that passwords need not stand in the configuration. */
static og_status take_property(config *c, kafka_property *at, size_t *count, kafka_property p,
                               og_error *err)
{
    static const char prefix[] = "file:";
    if (strncmp(p.value, prefix, sizeof prefix - 1) == 0) {
        og_buf text;
        og_buf_init(&text, MAX_FILE);
        og_status st = file_read(p.value + sizeof prefix - 1, MAX_FILE, &text, err);
        while (text.n != 0 && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == '\r'))
            text.p[--text.n] = '\0';
        p.value = st == OG_OK ? og_arena_str(c->arena, og_buf_str(&text)).p : NULL;
        og_buf_done(&text);
        if (p.value == NULL)
            return st != OG_OK ? st : og_fail(err, OG_NOMEM, "no memory for Kafka's properties");
    }
    put_property(at, count, p);
    return OG_OK;
}

og_status config_kafka(config *c, bool consumer, config_map *ret, og_error *err)
{
    const config_map *special =
        consumer ? &c->kafka_consumer_properties : &c->kafka_producer_properties;
    size_t count = 0, room = 2 + c->kafka_properties.count + special->count;
    kafka_property *at = og_arena_zalloc(c->arena, room, sizeof *at);
    if (at == NULL)
        return og_fail(err, OG_NOMEM, "no memory for Kafka's properties");
    put_property(at, &count, (kafka_property){"bootstrap.servers", c->kafka_bootstrap});
    put_property(at, &count, (kafka_property){"client.id", c->kafka_client_id});
    og_status st = OG_OK;
    for (size_t i = 0; st == OG_OK && i < c->kafka_properties.count; i++)
        st = take_property(c, at, &count, c->kafka_properties.at[i], err);
    for (size_t i = 0; st == OG_OK && i < special->count; i++)
        st = take_property(c, at, &count, special->at[i], err);
    if (st == OG_OK)
        *ret = (config_map){at, count};
    return st;
}

og_status config_rules(const config *c, og_arena *a, plan_options *ret, og_error *err)
{
    plan_setting *settings = og_arena_zalloc(a, c->content_parameters.count + 1, sizeof *settings);
    if (settings == NULL)
        return og_fail(err, OG_NOMEM, "no memory for the parameters of the content");
    for (size_t i = 0; i < c->content_parameters.count; i++)
        settings[i] =
            (plan_setting){c->content_parameters.at[i].name, c->content_parameters.at[i].value};
    *ret = (plan_options){.settings = settings,
                          .setting_count = c->content_parameters.count,
                          .disabled = c->content_disabled.at,
                          .disabled_count = c->content_disabled.count,
                          .language = c->language,
                          .limits = {.max_steps = (uint64_t)c->evaluation_steps,
                                     .max_depth = (uint32_t)c->evaluation_depth,
                                     .max_list = (uint32_t)c->evaluation_list}};
    return OG_OK;
}

void config_clock(const config *c, og_clock *ret)
{
    if (c->clock_simulated)
        clock_simulate(ret, c->clock_start_ms, c->clock_speed_per_1000);
    else
        clock_real(ret);
}

/* ---- comparing ---- */

static bool same_list(const config_list *a, const config_list *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++)
        same = strcmp(a->at[i], b->at[i]) == 0;
    return same;
}

static bool same_map(const config_map *a, const config_map *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++)
        same = strcmp(a->at[i].name, b->at[i].name) == 0 &&
               strcmp(a->at[i].value, b->at[i].value) == 0;
    return same;
}

static bool same_option(const option *o, const void *a, const void *b)
{
    const void *x = (const char *)a + o->offset, *y = (const char *)b + o->offset;
    switch (o->type) {
    case OPTION_IS_TEXT: return strcmp(*(const char *const *)x, *(const char *const *)y) == 0;
    case OPTION_IS_BOOL: return *(const bool *)x == *(const bool *)y;
    case OPTION_IS_LIST: return same_list(x, y);
    case OPTION_IS_MAP: return same_map(x, y);
    case OPTION_IS_INT:
    case OPTION_IS_CHOICE: break;
    }
    return *(const int64_t *)x == *(const int64_t *)y;
}

static const void *element_named(const config *c, const family *f, const char *name)
{
    for (size_t i = 0; i < element_count(c, f); i++)
        if (strcmp(element_name(element_at(c, f, i)), name) == 0)
            return element_at(c, f, i);
    return NULL;
}

static void compare_family(const config *a, const config *b, const family *f,
                           void (*fn)(void *ctx, const char *name), void *ctx)
{
    char room[160];
    for (size_t i = 0; i < element_count(a, f); i++) {
        const void *x = element_at(a, f, i);
        const char *name = element_name(x);
        const void *y = element_named(b, f, name);
        snprintf(room, sizeof room, "%s.%s", f->section, name);
        if (y == NULL)
            fn(ctx, room);
        for (size_t k = 0; y != NULL && k < OPTIONS; k++)
            if (options[k].family == f && !same_option(&options[k], x, y))
                fn(ctx, full_name(&options[k], name, room));
    }
    for (size_t i = 0; i < element_count(b, f); i++) {
        const char *name = element_name(element_at(b, f, i));
        snprintf(room, sizeof room, "%s.%s", f->section, name);
        if (element_named(a, f, name) == NULL)
            fn(ctx, room);
    }
}

void config_compare(const config *a, const config *b, const char *except,
                    void (*fn)(void *ctx, const char *name), void *ctx)
{
    char room[160];
    for (size_t i = 0; i < OPTIONS; i++) {
        const option *o = &options[i];
        if (o->family == NULL && (except == NULL || strcmp(o->section, except) != 0) &&
            !same_option(o, a, b))
            fn(ctx, full_name(o, NULL, room));
    }
    for (size_t i = 0; i < FAMILIES; i++)
        compare_family(a, b, families[i], fn, ctx);
}

/* ---- describing ---- */

static void describe_option(og_buf *out, const option *o, const char *indent)
{
    og_buf_addf(out, "%s# %s", indent, o->help);
    if (o->type == OPTION_IS_INT)
        og_buf_addf(out, " (%lld to %lld)", (long long)o->min, (long long)o->max);
    if (o->type == OPTION_IS_CHOICE)
        og_buf_addf(out, " (%s)", o->choices);
    bool list = o->type == OPTION_IS_LIST, map = o->type == OPTION_IS_MAP;
    const char *deflt = o->type == OPTION_IS_TEXT && o->deflt[0] == '\0' ? "\"\"" : o->deflt;
    og_buf_addf(out, "\n%s%s: %s%s%s\n", indent, o->key,
                list  ? "["
                : map ? "{"
                      : "",
                deflt,
                list  ? "]"
                : map ? "}"
                      : "");
}

void config_describe(og_buf *out)
{
    const char *section = "";
    for (size_t i = 0; i < OPTIONS && options[i].section != NULL; i++) {
        if (strcmp(section, options[i].section) != 0)
            og_buf_addf(out, "%s%s:\n", i > 0 ? "\n" : "", options[i].section);
        section = options[i].section;
        describe_option(out, &options[i], "  ");
    }
    for (size_t f = 0; f < FAMILIES; f++) {
        const char *mark = families[f]->mark;
        char indent[16];
        snprintf(indent, sizeof indent, "%s    ", mark);
        og_buf_addf(out, "\n%s%s:\n%s  %s:\n", mark, families[f]->section, mark,
                    families[f]->example);
        for (size_t i = 0; i < OPTIONS; i++)
            if (options[i].family == families[f])
                describe_option(out, &options[i], indent);
    }
}

bool config_option(size_t i, config_option_info *ret)
{
    if (i >= OPTIONS)
        return false;
    bool plain = options[i].family == NULL;
    *ret = (config_option_info){plain ? options[i].section : options[i].family->section, !plain,
                                options[i].key, options[i].deflt};
    return true;
}
