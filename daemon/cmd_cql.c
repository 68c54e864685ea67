/* osteoguard cql: a library on a patient, one JSON line per define.
 *
 * The engine alone, without rules and cards: for authors who want to see what an expression gives,
 * and for comparing engines. Included libraries are looked for by name and version among the files
 * of the library path, so that a folder full of other content does no harm. */
#include "daemon/cmd_cql.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>

#include "connectors/ndjson.h"
#include "daemon/clock.h"
#include "daemon/cmd.h"
#include "daemon/file.h"
#include "daemon/moment.h"
#include "daemon/patients.h"
#include "rules/cql/cql.h"

#define MAX_FILE_BYTES ((size_t)64 << 20)
#define ARENA_BYTES    ((size_t)1 << 30)
#define MAX_PARAMETERS 256
#define MAX_DEPTH      10000 /* the stack of a thread holds this many */

static const fhir_limits library_limits = {.max_bytes = 64u << 20, .max_depth = 8000};

typedef struct candidate { /* a library file that an include may mean */
    og_str name, version, text;
    const char *path;
    bool added;
} candidate;

typedef struct command {
    const char *library, *library_path, *terminology, *data, *parameters, *as_of, *define;
    bool requirements, explain;
    moment now;
    og_arena *arena;
    cql_set *set;
    const cql_library *main;
    fhir_terminology *terms;
    candidate *candidates;
    size_t candidate_count;
    cql_parameter values[MAX_PARAMETERS];
    cql_request request;
    unsigned problems;
} command;

static void usage(FILE *to)
{
    fputs("usage: osteoguard cql LIBRARY [options]\n"
          "\n"
          "Evaluates a CQL library (ELM JSON, or a FHIR Library that carries it) and writes one\n"
          "JSON line per define, in the order of the source:\n"
          "  {\"name\":\"...\",\"type\":\"System.Decimal\",\"value\":\"2.20000001\"}\n"
          "  {\"name\":\"...\",\"error\":\"...\"}\n"
          "\n"
          "  --library-path DIR     where included libraries are (default: beside LIBRARY)\n"
          "  --terminology DIR      FHIR ValueSets and ConceptMaps\n"
          "  --data FILE            Bundle, resource or NDJSON of one patient\n"
          "  --parameters FILE      JSON object: parameter name to CQL literal\n"
          "  --as-of TIME           FHIR date or dateTime to evaluate at (default: now)\n"
          "  --define NAME          only this define\n"
          "  --explain              adds \"explain\" to each line: the values of its\n"
          "                         sub-expressions with their places in the CQL source, and the\n"
          "                         resources that it rests on (these are patient data)\n"
          "  --max-steps N          expressions evaluated at most (default: 10000000)\n"
          "  --max-depth N          nesting of calls and expressions (default: 1500)\n"
          "  --max-list N           elements that expand and the like make (default: 100000)\n"
          "  --data-requirements    writes what the library (or the define) can read, as a FHIR\n"
          "                         Library of type module-definition, and evaluates nothing\n"
          "  --help                 this text\n"
          "\n"
          "Exit status: 0 good; 1 the library, the data or an expression was in error; 2 usage.\n",
          to);
}

/* Returns -1 when all is well, else an exit status. */
static int read_options(command *c, int argc, char **argv)
{
    enum {
        PATH = 1,
        TERMINOLOGY,
        DATA,
        PARAMETERS,
        AS_OF,
        DEFINE,
        EXPLAIN,
        STEPS,
        DEPTH,
        LIST,
        REQUIREMENTS,
        HELP
    };
    static const struct option options[] = {
        {"library-path", required_argument, NULL, PATH},
        {"terminology", required_argument, NULL, TERMINOLOGY},
        {"data", required_argument, NULL, DATA},
        {"parameters", required_argument, NULL, PARAMETERS},
        {"as-of", required_argument, NULL, AS_OF},
        {"define", required_argument, NULL, DEFINE},
        {"explain", no_argument, NULL, EXPLAIN},
        {"max-steps", required_argument, NULL, STEPS},
        {"max-depth", required_argument, NULL, DEPTH},
        {"max-list", required_argument, NULL, LIST},
        {"data-requirements", no_argument, NULL, REQUIREMENTS},
        {"help", no_argument, NULL, HELP},
        {NULL, 0, NULL, 0},
    };
    cql_limits *limits = &c->request.limits;
    int64_t n;
    int o;

    optind = 0; /* another command may have used getopt before */
    opterr = 0;
    while ((o = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        switch (o) {
        case PATH: c->library_path = optarg; break;
        case TERMINOLOGY: c->terminology = optarg; break;
        case DATA: c->data = optarg; break;
        case PARAMETERS: c->parameters = optarg; break;
        case AS_OF: c->as_of = optarg; break;
        case DEFINE: c->define = optarg; break;
        case EXPLAIN: c->explain = true; break;
        case STEPS:
            if (!og_str_int(og_str_of(optarg), 1, INT64_MAX, &n))
                return cmd_misuse("cql", "--max-steps: '%s' is not a number above 0", optarg);
            limits->max_steps = (uint64_t)n;
            break;
        case DEPTH:
            if (!og_str_int(og_str_of(optarg), 1, MAX_DEPTH, &n))
                return cmd_misuse("cql", "--max-depth: '%s' is not a number from 1 to 10000",
                                  optarg);
            limits->max_depth = (uint32_t)n;
            break;
        case LIST:
            if (!og_str_int(og_str_of(optarg), 1, INT32_MAX, &n))
                return cmd_misuse("cql", "--max-list: '%s' is not a number above 0", optarg);
            limits->max_list = (uint32_t)n;
            break;
        case REQUIREMENTS: c->requirements = true; break;
        case HELP: usage(stdout); return 0;
        case ':': return cmd_misuse("cql", "%s needs a value", argv[optind - 1]);
        default: return cmd_misuse("cql", "unknown option %s", argv[optind - 1]);
        }
    }
    if (argc - optind < 1)
        return cmd_misuse("cql", "LIBRARY is missing");
    if (argc - optind > 1)
        return cmd_misuse("cql", "one library at a time, not also %s", argv[optind + 1]);
    c->library = argv[optind];
    c->now.ms = clock_wall_ms();
    c->now.offset_min = clock_offset_min(c->now.ms);
    if (c->as_of != NULL && !moment_parse(og_str_of(c->as_of), false, &c->now))
        return cmd_misuse("cql", "'%s' is not a FHIR date or dateTime", c->as_of);
    return -1;
}

static void problem(command *c, const char *origin, og_status status, const char *fmt, ...)
    OG_PRINTF(4, 5);

static void problem(command *c, const char *origin, og_status status, const char *fmt, ...)
{
    char text[500];
    og_error err;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    og_error_init(&err);
    (void)og_fail(&err, status, "%s", text);
    og_error_origin(&err, origin);
    cmd_print_problem(&c->problems, &err);
}

/* The file's text in the arena; false after a problem was told. */
static bool read_text(command *c, const char *path, og_str *ret)
{
    og_error err;
    og_buf b;
    bool ok = false;

    og_error_init(&err);
    og_buf_init(&b, MAX_FILE_BYTES);
    if (file_read(path, MAX_FILE_BYTES, &b, &err) != OG_OK) {
        cmd_print_problem(&c->problems, &err);
    } else {
        *ret = og_arena_str(c->arena, og_buf_str(&b));
        ok = ret->p != NULL;
        if (!ok)
            problem(c, path, OG_NOMEM, "out of memory");
    }
    og_buf_done(&b);
    return ok;
}

static bool has_suffix(const char *name, const char *suffix)
{
    return og_str_ends(og_str_of(name), og_str_of(suffix));
}

typedef void (*file_fn)(command *c, const char *path);

/* Calls fn for each .json file of a folder. */
static bool each_file(command *c, const char *dir, file_fn fn)
{
    const char *const *names;
    size_t count;
    og_error err;

    og_error_init(&err);
    if (file_list(c->arena, dir, &names, &count, &err) != OG_OK) {
        cmd_print_problem(&c->problems, &err);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        og_str path = og_arena_printf(c->arena, "%s/%s", dir, names[i]);
        if (has_suffix(names[i], ".json") && path.p != NULL)
            fn(c, path.p);
    }
    return true;
}

/* ---- libraries ---- */

/* Remembers a file of the library path by the name and version that it claims. What is no library,
 * or no JSON, is none of our business before something includes it. */
static void remember_library(command *c, const char *path)
{
    fhir_doc doc;
    og_str text;
    og_arena *scratch = og_arena_new(ARENA_BYTES);

    if (scratch == NULL || !read_text(c, path, &text) ||
        fhir_decode(scratch, text, &library_limits, &doc, NULL) != OG_OK)
        goto out;
    fhir_elem root = fhir_root(&doc), id = fhir_path(root, "library.identifier");
    bool resource = fhir_is(fhir_get(root, "resourceType"), "Library");
    if (!fhir_exists(id) && !resource)
        goto out;
    og_str name = fhir_string(scratch, resource ? fhir_get(root, "name") : fhir_get(id, "id"));
    og_str version = fhir_string(scratch, fhir_get(resource ? root : id, "version"));
    candidate *more = og_arena_grow(c->arena, c->candidates, c->candidate_count * sizeof *more,
                                    (c->candidate_count + 1) * sizeof *more);
    if (more == NULL)
        goto out;
    c->candidates = more;
    c->candidates[c->candidate_count++] = (candidate){
        og_arena_str(c->arena, name), og_arena_str(c->arena, version), text, path, false};
out:
    og_arena_free(scratch);
}

/* The last part of a path with a namespace is the library's name. */
static og_str bare_name(og_str path)
{
    size_t at = path.n;
    while (at > 0 && path.p[at - 1] != '/')
        at--;
    return og_str_from(path, at);
}

static candidate *find_candidate(command *c, og_str path, og_str version)
{
    for (size_t i = 0; i < c->candidate_count; i++) {
        candidate *k = &c->candidates[i];
        if (!k->added && og_str_eq(k->name, bare_name(path)) &&
            (version.n == 0 || og_str_eq(k->version, version)))
            return k;
    }
    return NULL;
}

/* Adds what the libraries of the set include until nothing is missing that can be found; what
 * cannot is told by the linker. */
static void add_includes(command *c, og_report *report)
{
    for (size_t i = 0; i < cql_set_count(c->set); i++) {
        const cql_library *lib = cql_set_at(c->set, i);
        for (size_t k = 0; k < cql_library_include_count(lib); k++) {
            og_str path, version;
            cql_library_include_at(lib, k, &path, &version);
            if (cql_set_find(c->set, path, version) != NULL)
                continue;
            candidate *found = find_candidate(c, path, version);
            if (found == NULL)
                continue;
            found->added = true;
            (void)cql_set_add(c->set, found->text, found->path, report);
        }
    }
}

static const char *folder_of(command *c, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return ".";
    og_str dir = og_arena_str(c->arena, (og_str){path, (size_t)(slash - path)});
    return dir.n != 0 ? dir.p : "/";
}

static bool load_libraries(command *c)
{
    og_report report = {.fn = cmd_print_problem, .ctx = &c->problems};
    og_str text;

    if (!read_text(c, c->library, &text) || cql_set_add(c->set, text, c->library, &report) != OG_OK)
        return false;
    c->main = cql_set_at(c->set, 0);
    if (cql_library_include_count(c->main) != 0) {
        const char *dir = c->library_path != NULL ? c->library_path : folder_of(c, c->library);
        if (!each_file(c, dir, remember_library))
            return false;
        add_includes(c, &report);
    }
    cql_set_allow_missing_valuesets(c->set, true); /* an error of the define that asks for it */
    return c->problems == 0 && cql_set_link(c->set, c->terms, &report) == OG_OK;
}

/* ---- terminology ---- */

static void add_terminology(command *c, const char *path)
{
    static const char *const types[] = {"ValueSet", "CodeSystem", "ConceptMap"};
    og_report report = {.fn = cmd_print_problem, .ctx = &c->problems};
    og_error err;
    og_str text;
    fhir_doc *doc = og_arena_alloc(c->arena, sizeof *doc);

    og_error_init(&err);
    if (doc == NULL || !read_text(c, path, &text))
        return;
    if (fhir_decode(c->arena, text, NULL, doc, &err) != OG_OK) {
        og_error_origin(&err, path);
        cmd_print_problem(&c->problems, &err);
        return;
    }
    fhir_elem root = fhir_root(doc), entries = fhir_get(root, "entry");
    bool bundle = fhir_is(fhir_get(root, "resourceType"), "Bundle");
    for (fhir_elem e = bundle ? fhir_first(entries) : root; fhir_exists(e);
         e = bundle ? fhir_next(entries, e) : FHIR_ABSENT) {
        fhir_elem resource = bundle ? fhir_get(e, "resource") : e;
        for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
            if (fhir_is(fhir_get(resource, "resourceType"), types[i]))
                (void)fhir_terminology_add(c->terms, resource, path, &report);
    }
}

static bool load_terminology(command *c)
{
    og_report report = {.fn = cmd_print_problem, .ctx = &c->problems};

    if (c->terminology != NULL && !each_file(c, c->terminology, add_terminology))
        return false;
    return fhir_terminology_link(c->terms, &report) == OG_OK && c->problems == 0;
}

/* ---- data ---- */

static bool load_data(command *c, patients *people)
{
    og_report report = {.fn = cmd_print_problem, .ctx = &c->problems};
    ndjson_reader *reader = NULL;
    ndjson_item item;
    og_error err;

    og_error_init(&err);
    og_status s = ndjson_open(c->data, 0, 0, 0, &reader, &err);
    while (s == OG_OK) {
        s = ndjson_next(reader, &item, &err);
        if (s == OG_OK)
            patients_add(people, item.text, c->data, (uint32_t)item.line, &report);
    }
    ndjson_close(reader);
    if (s != OG_NOTFOUND) {
        og_error_origin(&err, c->data);
        cmd_print_problem(&c->problems, &err);
    }
    if (patients_count(people) > 1)
        problem(c, c->data, OG_INVALID, "%zu patients, one is needed", patients_count(people));
    if (c->problems != 0 || patients_count(people) == 0)
        return c->problems == 0;
    og_error_init(&err);
    if (patients_view(people, 0, c->arena, &c->request.resources, &c->request.resource_count,
                      &err) == OG_OK)
        return true;
    cmd_print_problem(&c->problems, &err);
    return false;
}

/* ---- parameters ---- */

/* "Name" or "Library.Name", as far as some library declares it. */
static bool find_parameter(const command *c, og_str key, cql_parameter *ret)
{
    for (size_t i = 0; i < cql_set_count(c->set); i++) {
        const cql_library *lib = cql_set_at(c->set, i);
        og_str name = cql_library_name(lib);
        bool qualified = key.n > name.n + 1 && og_str_starts(key, name) && key.p[name.n] == '.';
        for (size_t k = 0; k < cql_library_parameter_count(lib); k++) {
            og_str p = cql_library_parameter_at(lib, k);
            if (og_str_eq(p, key)) {
                *ret = (cql_parameter){.name = p};
                return true;
            }
            if (qualified && og_str_eq(p, og_str_from(key, name.n + 1))) {
                *ret = (cql_parameter){.library = name, .name = p};
                return true;
            }
        }
    }
    return false;
}

static void add_parameter(command *c, fhir_elem value)
{
    og_error err;
    og_str key = fhir_key_of(value);
    og_str text =
        fhir_kind_of(value) == FHIR_STRING ? fhir_string(c->arena, value) : fhir_raw(value);
    cql_parameter *p = &c->values[c->request.parameter_count];

    og_error_init(&err);
    if (c->request.parameter_count == MAX_PARAMETERS) {
        problem(c, c->parameters, OG_LIMIT, "more than %d parameters", MAX_PARAMETERS);
    } else if (!find_parameter(c, key, p)) {
        problem(c, c->parameters, OG_NOTFOUND, "no library has a parameter %.*s", OG_STR_ARG(key));
    } else if (cql_literal(c->arena, text, &p->value, &err) != OG_OK) {
        problem(c, c->parameters, err.status, "parameter %.*s: %s", OG_STR_ARG(key), err.text);
    } else {
        c->request.parameter_count++;
    }
}

static bool load_parameters(command *c)
{
    og_error err;
    og_str text;
    fhir_doc *doc = og_arena_alloc(c->arena, sizeof *doc);

    og_error_init(&err);
    c->request.parameters = c->values;
    if (c->parameters == NULL)
        return true;
    if (doc == NULL || !read_text(c, c->parameters, &text))
        return false;
    if (fhir_decode(c->arena, text, NULL, doc, &err) != OG_OK) {
        og_error_origin(&err, c->parameters);
        cmd_print_problem(&c->problems, &err);
        return false;
    }
    fhir_elem root = fhir_root(doc);
    if (fhir_kind_of(root) != FHIR_OBJECT)
        problem(c, c->parameters, OG_INVALID, "a JSON object is expected");
    else
        for (fhir_elem e = fhir_first(root); fhir_exists(e); e = fhir_next(root, e))
            add_parameter(c, e);
    return c->problems == 0;
}

/* ---- output ---- */

static void write_define(command *c, cql_run *run, const cql_define *d)
{
    cql_value v;
    og_error err;
    og_buf out, part;

    og_error_init(&err);
    og_buf_init(&out, (size_t)256 << 20);
    og_buf_init(&part, (size_t)256 << 20);
    og_buf_addz(&out, "{\"name\":");
    og_buf_add_json(&out, cql_define_name(d));
    if (cql_run_define(run, d, &v, &err) == OG_OK) {
        og_buf_addz(&out, ",\"type\":");
        cql_value_type(&part, v);
        og_buf_add_json(&out, og_buf_str(&part));
        og_buf_clear(&part);
        og_buf_addz(&out, ",\"value\":");
        cql_value_format(&part, v);
        og_buf_add_json(&out, og_buf_str(&part));
    } else {
        char line[1400];
        og_error_format(&err, line, sizeof line);
        og_buf_addz(&out, ",\"error\":");
        og_buf_add_json(&out, og_str_of(line));
        c->problems++;
    }
    if (c->explain) {
        og_error_init(&err);
        og_buf_addz(&out, ",\"explain\":");
        if (cql_explain(run, d, &out, &err) != OG_OK)
            problem(c, c->library, err.status, "%s", err.text);
    }
    og_buf_addz(&out, "}\n");
    if (og_buf_failed(&out) || og_buf_failed(&part))
        problem(c, c->library, OG_LIMIT, "the value of %.*s is too long to be written",
                OG_STR_ARG(cql_define_name(d)));
    else
        fwrite(out.p, 1, out.n, stdout);
    og_buf_done(&part);
    og_buf_done(&out);
}

static const cql_define *wanted_define(command *c)
{
    const cql_define *d = cql_library_define(c->main, og_str_of(c->define));
    if (d == NULL)
        problem(c, c->library, OG_NOTFOUND, "there is no define \"%s\"", c->define);
    return d;
}

static void evaluate(command *c)
{
    c->request.as_of_ms = c->now.ms;
    c->request.offset_min = c->now.offset_min;
    const cql_define *one = c->define != NULL ? wanted_define(c) : NULL;
    if (c->define != NULL && one == NULL)
        return;
    cql_run *run = cql_run_begin(c->arena, c->set, &c->request);
    if (run == NULL) {
        problem(c, c->library, OG_NOMEM, "out of memory");
        return;
    }
    if (one != NULL)
        write_define(c, run, one);
    for (size_t i = 0; one == NULL && i < cql_library_define_count(c->main); i++)
        write_define(c, run, cql_library_define_at(c->main, i));
}

static void write_codes(og_buf *out, const cql_requirement *r)
{
    for (size_t i = 0; i < r->code_count; i++) {
        const cql_code *k = &r->codes[i];
        og_buf_addz(out, i != 0 ? ",{\"system\":" : "{\"system\":");
        og_buf_add_json(out, k->system);
        og_buf_addz(out, ",\"code\":");
        og_buf_add_json(out, k->code);
        if (k->display.n != 0) {
            og_buf_addz(out, ",\"display\":");
            og_buf_add_json(out, k->display);
        }
        og_buf_addc(out, '}');
    }
}

/* FHIR R4 DataRequirement. */
static void write_requirement(command *c, const cql_define *d, og_buf *out,
                              const cql_requirement *r)
{
    const og_str *names;
    size_t count = cql_elements_read(c->arena, c->main, d, r->type, &names);

    og_buf_addz(out, "{\"type\":");
    og_buf_add_json(out, r->type);
    for (size_t i = 0; i < count; i++) {
        og_buf_addz(out, i == 0 ? ",\"mustSupport\":[" : ",");
        og_buf_add_json(out, names[i]);
    }
    og_buf_addz(out, count != 0 ? "]" : "");
    if (r->code_path.n != 0) {
        og_buf_addz(out, ",\"codeFilter\":[{\"path\":");
        og_buf_add_json(out, r->code_path);
        if (r->valueset_url.n != 0) {
            og_buf_addz(out, ",\"valueSet\":");
            og_buf_add_json(out, r->valueset_url);
        } else {
            og_buf_addz(out, ",\"code\":[");
            write_codes(out, r);
            og_buf_addc(out, ']');
        }
        og_buf_addz(out, "}]");
    }
    og_buf_addc(out, '}');
}

static void write_requirements(command *c)
{
    const cql_requirement *r;
    const cql_define *d = c->define != NULL ? wanted_define(c) : NULL;
    og_buf out;

    if (c->define != NULL && d == NULL)
        return;
    size_t count = cql_requirements(c->main, d, &r);
    og_buf_init(&out, (size_t)64 << 20);
    og_buf_addz(&out, "{\"resourceType\":\"Library\",\"name\":");
    og_buf_add_json(&out, cql_library_name(c->main));
    if (cql_library_version(c->main).n != 0) {
        og_buf_addz(&out, ",\"version\":");
        og_buf_add_json(&out, cql_library_version(c->main));
    }
    og_buf_addz(&out, ",\"status\":\"active\",\"type\":{\"coding\":[{\"system\":"
                      "\"http://terminology.hl7.org/CodeSystem/library-type\","
                      "\"code\":\"module-definition\"}]}");
    for (size_t i = 0; i < count; i++) {
        og_buf_addz(&out, i == 0 ? ",\"dataRequirement\":[" : ",");
        write_requirement(c, d, &out, &r[i]);
    }
    og_buf_addz(&out, count != 0 ? "]}\n" : "}\n");
    if (og_buf_failed(&out))
        problem(c, c->library, OG_NOMEM, "out of memory");
    else
        fwrite(out.p, 1, out.n, stdout);
    og_buf_done(&out);
}

static int run_command(command *c)
{
    patients *people = patients_new();

    c->arena = og_arena_new(ARENA_BYTES);
    c->set = cql_set_new();
    c->terms = fhir_terminology_new();
    if (people == NULL || c->arena == NULL || c->set == NULL || c->terms == NULL) {
        problem(c, c->library, OG_NOMEM, "out of memory");
        goto out;
    }
    if (!load_terminology(c) || !load_libraries(c))
        goto out;
    if (c->requirements) {
        write_requirements(c);
        goto out;
    }
    if ((c->data == NULL || load_data(c, people)) && load_parameters(c))
        evaluate(c);
out:
    patients_free(people);
    fhir_terminology_free(c->terms);
    cql_set_free(c->set);
    og_arena_free(c->arena);
    return c->problems != 0;
}

int cmd_cql(int argc, char **argv)
{
    command *c = calloc(1, sizeof *c);
    if (c == NULL)
        return 1;
    int status = read_options(c, argc, argv);
    if (status < 0)
        status = run_command(c);
    free(c);
    return status;
}
