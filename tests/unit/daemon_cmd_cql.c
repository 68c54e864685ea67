/* osteoguard cql: one line per define, errors with their place, exit statuses, data requirements.
 * The command runs in this process, its output in a file. */
#include "elm.h"

#include <fcntl.h>
#include <unistd.h>

#include "daemon/cmd_cql.h"
#include "daemon/file.h"

typedef struct folder {
    char dir[64];
    char out[64 * 1024], errors[64 * 1024];
} folder;

static int make_folder(void **state)
{
    folder *f = calloc(1, sizeof *f);
    assert_non_null(f);
    snprintf(f->dir, sizeof f->dir, "/tmp/osteoguard-cql-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    *state = f;
    return 0;
}

static int remove_folder(void **state)
{
    folder *f = *state;
    assert_int_equal(file_remove_tree(f->dir, NULL), OG_OK);
    free(f);
    return 0;
}

/* Writes a text with ' for " and the shorthands of elm.h; its path is dir/name. */
static void write_file(folder *f, const char *name, const char *text)
{
    char path[256], *slash;
    char *elm = elm_text(text);
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    slash = strrchr(path, '/');
    *slash = '\0';
    assert_int_equal(file_make_dirs(path, NULL), OG_OK);
    *slash = '/';
    assert_int_equal(file_write(path, og_str_of(elm), NULL), OG_OK);
    free(elm);
}

static void read_back(const char *dir, const char *name, char *to, size_t size)
{
    char path[256];
    og_buf b;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    og_buf_init(&b, size);
    assert_int_equal(file_read(path, size - 1, &b, NULL), OG_OK);
    snprintf(to, size, "%.*s", OG_STR_ARG(og_buf_str(&b)));
    og_buf_done(&b);
}

static int redirect(const char *dir, const char *name, int fd)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int kept = dup(fd);
    assert_true(file >= 0 && kept >= 0);
    assert_true(dup2(file, fd) >= 0);
    close(file);
    return kept;
}

static void restore(int kept, int fd)
{
    assert_true(dup2(kept, fd) >= 0);
    close(kept);
}

/* Runs `cql` with the words of a command line; @ stands for the folder. */
static int run(folder *f, const char *line)
{
    char words[1024];
    char *argv[32] = {(char *)"cql"}, *save = NULL;
    int argc = 1;
    size_t n = 0;
    for (; *line != '\0' && n + sizeof f->dir < sizeof words; line++) {
        if (*line == '@')
            n += (size_t)snprintf(words + n, sizeof words - n, "%s", f->dir);
        else
            words[n++] = *line;
    }
    words[n] = '\0';
    for (char *w = strtok_r(words, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    fflush(stdout);
    fflush(stderr);
    int out = redirect(f->dir, "stdout", STDOUT_FILENO);
    int err = redirect(f->dir, "stderr", STDERR_FILENO);
    int status = cmd_cql(argc, argv);
    fflush(stdout);
    fflush(stderr);
    restore(err, STDERR_FILENO);
    restore(out, STDOUT_FILENO);
    read_back(f->dir, "stdout", f->out, sizeof f->out);
    read_back(f->dir, "stderr", f->errors, sizeof f->errors);
    return status;
}

#define LIBRARY                                                                                    \
    "{'library':{'identifier':{'id':'Main','version':'1'},'usings':{'def':[{'localIdentifier':'"   \
    "FHIR',"                                                                                       \
    "'uri':'http://hl7.org/"                                                                       \
    "fhir','version':'4.0.1'}]},'includes':{'def':[{'localIdentifier':'C','path':"                 \
    "'Common','version':'2'}]},'parameters':{'def':[{'name':'days','default':$I(28),"              \
    "'parameterTypeSpecifier':{'type':'NamedTypeSpecifier','name':$T(Integer)}}]},"                \
    "'valueSets':{'def':[{'name':'V','id':'urn:v'}]},'statements':{'def':["                        \
    "{'name':'Two','locator':'9:1-9:2','expression':{'type':'ExpressionRef','libraryName':'C','"   \
    "name':'Two'}},"                                                                               \
    "{'name':'One','locator':'3:1-3:2','expression':{'type':'Divide','operand':[$D(11.00000005),$" \
    "D(5.0)]}},"                                                                                   \
    "{'name':'Count','locator':'10:1-10:2','context':'Patient','expression':{'type':'Count','"     \
    "source':{'type':"                                                                             \
    "'Retrieve','dataType':$F(Observation),'codeProperty':'code','codes':{'type':'ValueSetRef','"  \
    "name':'V',"                                                                                   \
    "'preserve':true}}}},"                                                                         \
    "{'name':'Days','locator':'11:1-11:2','expression':{'type':'ParameterRef','name':'days'}},"    \
    "{'name':'Bad','locator':'12:1-12:2','expression':{'type':'SingletonFrom','locator':'12:1-12:" \
    "2','operand':"                                                                                \
    "{'type':'List','element':[$I(1),$I(2)]}}},"                                                   \
    "{'name':'Today','locator':'13:1-13:2','expression':{'type':'Today'}}]}}}"

static void write_library(folder *f)
{
    write_file(f, "Main.json", LIBRARY);
    write_file(
        f, "Common-1.json",
        "{'library':{'identifier':{'id':'Common','version':'1'},'statements':{'def':[{'name':'Two',"
        "'expression':$S(old)}]}}}");
    write_file(
        f, "Common-2.json",
        "{'library':{'identifier':{'id':'Common','version':'2'},'statements':{'def':[{'name':'Two',"
        "'expression':$S(two)}]}}}");
    write_file(f, "notes.json", "[1, 2]"); /* other content does no harm */
    write_file(f, "broken.json", "{ no json");
    write_file(f, "terms/v.json",
               "{'resourceType':'ValueSet','url':'urn:v','compose':{'include':[{'system':'urn:s','"
               "concept':"
               "[{'code':'a'}]}]}}");
    write_file(
        f, "data.json",
        "{'resourceType':'Bundle','type':'collection','entry':[{'resource':{'resourceType':'"
        "Patient',"
        "'id':'p'}},{'resource':{'resourceType':'Observation','id':'o','status':'final','subject':{"
        "'reference':'Patient/p'},'code':{'coding':[{'system':'urn:s','code':'a'}]}}}]}");
    write_file(f, "parameters.json", "{'days':90}");
}

static void a_line_per_define_in_source_order(void **state)
{
    folder *f = *state;
    write_library(f);
    assert_int_equal(run(f, "@/Main.json --terminology @/terms --data @/data.json --parameters "
                            "@/parameters.json --as-of 2024-03-01"),
                     1); /* an expression is in error */
    assert_string_equal(
        f->out, "{\"name\":\"One\",\"type\":\"System.Decimal\",\"value\":\"2.20000001\"}\n"
                "{\"name\":\"Two\",\"type\":\"System.String\",\"value\":\"'two'\"}\n"
                "{\"name\":\"Count\",\"type\":\"System.Integer\",\"value\":\"1\"}\n"
                "{\"name\":\"Days\",\"type\":\"System.Integer\",\"value\":\"90\"}\n"
                "{\"name\":\"Bad\",\"error\":\"Main:12:1: error: singleton from: the list has 2 "
                "elements (at Bad)\"}\n"
                "{\"name\":\"Today\",\"type\":\"System.Date\",\"value\":\"@2024-03-01\"}\n");
    assert_string_equal(f->errors, "");
}

static void one_define_alone(void **state)
{
    folder *f = *state;
    write_library(f);
    assert_int_equal(run(f, "@/Main.json --define One"), 0);
    assert_string_equal(
        f->out, "{\"name\":\"One\",\"type\":\"System.Decimal\",\"value\":\"2.20000001\"}\n");
    assert_int_equal(run(f, "@/Main.json --define None"), 1);
    assert_non_null(strstr(f->errors, "there is no define \"None\""));
    /* Without its value set the define that asks for it is in error, and no other. */
    assert_int_equal(run(f, "@/Main.json --define Count"), 1);
    assert_non_null(strstr(f->out, "value set urn:v is not known"));
}

static void requirements_are_a_fhir_library(void **state)
{
    folder *f = *state;
    write_library(f);
    assert_int_equal(run(f, "@/Main.json --data-requirements"), 0);
    assert_string_equal(
        f->out,
        "{\"resourceType\":\"Library\",\"name\":\"Main\",\"version\":\"1\",\"status\":\"active\","
        "\"type\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/library-type\","
        "\"code\":\"module-definition\"}]},\"dataRequirement\":[{\"type\":\"Observation\","
        "\"mustSupport\":[\"code\"],\"codeFilter\":[{\"path\":\"code\","
        "\"valueSet\":\"urn:v\"}]}]}\n");
    assert_int_equal(run(f, "@/Main.json --data-requirements --define One"), 0);
    assert_null(strstr(f->out, "dataRequirement"));
}

static void a_value_is_explained_and_bounded(void **state)
{
    folder *f = *state;
    write_library(f);
    assert_int_equal(run(f, "@/Main.json --define One"), 0);
    assert_null(strstr(f->out, "explain"));
    assert_int_equal(run(f, "@/Main.json --define One --explain"), 0);
    assert_non_null(strstr(f->out, ",\"explain\":{\"name\":\"One\",\"library\":\"Main\""));
    assert_non_null(strstr(f->out, "\"sources\":[]"));
    assert_int_equal(run(f, "@/Main.json --terminology @/terms --data @/data.json --define Count "
                            "--max-steps 1"),
                     1);
    assert_non_null(strstr(f->out, "more than 1 steps (at Count)"));
    assert_int_equal(run(f, "@/Main.json --max-steps 0"), 2);
    assert_int_equal(run(f, "@/Main.json --max-depth 10001"), 2);
    assert_int_equal(run(f, "@/Main.json --max-list -1"), 2);
}

static void what_is_wrong_is_told_with_its_place(void **state)
{
    folder *f = *state;
    write_library(f);
    write_file(
        f, "Bad.json",
        "{'library':{'identifier':{'id':'Bad'},\n'statements':{'def':[{'name':'X','expression':\n"
        "{'type':'Nonsense'}}]}}}");
    assert_int_equal(run(f, "@/Bad.json"), 1);
    assert_non_null(strstr(f->errors, "Bad.json:3:1: error: unknown ELM node Nonsense (at "
                                      "library.statements.def[0].expression)"));
    assert_string_equal(f->out, "");
    assert_int_equal(run(f, "@/none.json"), 1);
    assert_non_null(strstr(f->errors, "none.json"));
    assert_int_equal(run(f, "@/Main.json --library-path @/terms"), 1);
    assert_non_null(strstr(f->errors, "included library Common version 2 is not there"));
    assert_int_equal(run(f, "@/Main.json --library-path @/none"), 1);
    write_file(f, "p.json", "{'nothing':1}");
    assert_int_equal(run(f, "@/Main.json --parameters @/p.json"), 1);
    assert_non_null(strstr(f->errors, "no library has a parameter nothing"));
    write_file(f, "p.json", "{'days':'28 parsecs of'}");
    assert_int_equal(run(f, "@/Main.json --parameters @/p.json"), 1);
    assert_non_null(strstr(f->errors, "parameter days"));
    write_file(f, "p.json", "{'Main.days':7}");
    assert_int_equal(run(f, "@/Main.json --parameters @/p.json --define Days"), 0);
    assert_non_null(strstr(f->out, "\"value\":\"7\""));
    write_file(f, "two.json",
               "{'resourceType':'Bundle','type':'collection','entry':[{'resource':{'resourceType':'"
               "Patient',"
               "'id':'p'}},{'resource':{'resourceType':'Patient','id':'q'}}]}");
    assert_int_equal(run(f, "@/Main.json --data @/two.json"), 1);
    assert_non_null(strstr(f->errors, "2 patients, one is needed"));
}

static void misuse_is_told(void **state)
{
    folder *f = *state;
    assert_int_equal(run(f, ""), 2);
    assert_non_null(strstr(f->errors, "LIBRARY is missing"));
    assert_int_equal(run(f, "a b"), 2);
    assert_int_equal(run(f, "a --frob"), 2);
    assert_non_null(strstr(f->errors, "unknown option --frob"));
    assert_int_equal(run(f, "a --data"), 2);
    assert_non_null(strstr(f->errors, "--data needs a value"));
    assert_int_equal(run(f, "a --as-of yesterday"), 2);
    assert_int_equal(run(f, "--help"), 0);
    assert_non_null(strstr(f->out, "usage: osteoguard cql"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_per_define_in_source_order, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(one_define_alone, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(requirements_are_a_fhir_library, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(a_value_is_explained_and_bounded, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(what_is_wrong_is_told_with_its_place, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(misuse_is_told, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
