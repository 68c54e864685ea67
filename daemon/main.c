/* osteoguard: a table of commands, nothing else. */
#include <stdio.h>
#include <string.h>

#include "daemon/cmd_audit.h"
#include "daemon/cmd_check.h"
#include "daemon/cmd_cql.h"
#include "daemon/cmd_eval.h"
#include "daemon/cmd_letters.h"
#include "daemon/cmd_replay.h"
#include "daemon/cmd_report.h"
#include "daemon/cmd_review.h"
#include "daemon/cmd_serve.h"
#include "daemon/cmd_test.h"

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *does;
} commands[] = {
    {"serve", cmd_serve, "the daemon: FHIR events in, CDS Hooks cards out"},
    {"check", cmd_check, "tries configuration and content, prints every problem with its place"},
    {"eval", cmd_eval, "evaluates the rules on files, one JSON line per patient"},
    {"test", cmd_test, "runs the clinical cases of a content folder"},
    {"cql", cmd_cql, "evaluates a CQL library, one JSON line per define"},
    {"replay", cmd_replay, "sends resources from files to the source topics"},
    {"review", cmd_review, "says what would open and close at another time, or with other content"},
    {"dead-letters", cmd_letters, "lists and shows what could not be used, sends it again"},
    {"report", cmd_report, "says what became of each rule's alerts"},
    {"audit", cmd_audit, "says whether an audit log is as it was written"},
};

static void usage(FILE *to)
{
    fputs("usage: osteoguard COMMAND [OPTIONS]\n\n", to);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        fprintf(to, "  %-12s %s\n", commands[i].name, commands[i].does);
    fputs("\n`osteoguard COMMAND --help` explains a command. Exit status: 0 good, 1 the thing "
          "checked is wrong, 2 usage.\n"
          "Not a medical device: physicians and pharmacists must approve the content before "
          "clinical use.\n",
          to);
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        usage(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        puts("osteoguard " OG_VERSION);
        return 0;
    }
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "osteoguard: there is no command \"%s\"\n\n", argv[1]);
    usage(stderr);
    return 2;
}

/* Output that a full disk or a closed pipe has cut off is no success, whatever the command says. */
int main(int argc, char **argv)
{
    int status = run(argc, argv);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    fprintf(stderr, "osteoguard%s%s: error: standard output does not take all that is written\n",
            argc > 1 ? " " : "", argc > 1 ? argv[1] : "");
    return status != 0 ? status : 1;
}
