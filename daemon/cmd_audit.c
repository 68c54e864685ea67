/* osteoguard audit verify FILE… */
#include "daemon/cmd_audit.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "daemon/audit.h"
#include "daemon/cmd.h"

static og_status verify_file(audit_chain *chain, const char *path, og_error *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        og_status status = og_fail(err, OG_IO, "cannot be read: %s", strerror(errno));
        snprintf(err->origin, sizeof err->origin, "%s", path);
        return status;
    }
    og_status status = audit_verify(chain, file, path, err);
    fclose(file);
    return status;
}

static int verify(const char *after, const char *const *files, size_t count)
{
    og_error err;
    audit_chain chain;
    og_status status = OG_OK;
    og_error_init(&err);
    if (!audit_chain_begin(&chain, after))
        return cmd_misuse("audit", "--after takes the hash of a line, 64 digits: %s", after);
    for (size_t i = 0; i < count && status == OG_OK; i++)
        status = verify_file(&chain, files[i], &err);
    if (status != OG_OK) {
        cmd_print_problem(NULL, &err);
        return 1;
    }
    printf("%" PRIu64
           " lines in %zu file%s, each follows from the one before; the last hash is %s\n",
           chain.first == 0 ? 0 : chain.last - chain.first + 1, count, count == 1 ? "" : "s",
           chain.hash);
    return 0;
}

/* One name stands for all files of the log. */
static int verify_log(const char *after, const char *path)
{
    og_arena *a = og_arena_new((size_t)64 << 20);
    const char *const *files;
    size_t count;
    og_error err;
    int status = 1;
    og_error_init(&err);
    og_status found = a != NULL ? audit_files(a, path, &files, &count, &err) : OG_NOMEM;
    if (found == OG_OK && count > 0)
        status = verify(after, files, count);
    else if (found == OG_OK || found == OG_NOTFOUND)
        status = verify(after, &path, 1); /* says that it is not there */
    else
        cmd_print_problem(NULL, &err);
    og_arena_free(a);
    return status;
}

int cmd_audit(int argc, char **argv)
{
    const char *after = NULL;
    bool help = argc == 2 && strcmp(argv[1], "--help") == 0;
    if (argc > 4 && strcmp(argv[1], "verify") == 0 && strcmp(argv[2], "--after") == 0) {
        after = argv[3];
        argv += 2;
        argc -= 2;
    }
    if (argc == 3 && strcmp(argv[1], "verify") == 0 && argv[2][0] != '-')
        return verify_log(after, argv[2]);
    if (argc > 3 && strcmp(argv[1], "verify") == 0 && argv[2][0] != '-')
        return verify(after, (const char *const *)argv + 2, (size_t)argc - 2);
    fputs("usage: osteoguard audit verify [--after HASH] FILE\n"
          "       osteoguard audit verify [--after HASH] FILE FILE ...\n"
          "\n"
          "Names the first line of an audit log that was changed, removed or inserted. One file "
          "stands\n"
          "for all of its log, those that were renamed when they were full (FILE.000000001234) "
          "with it;\n"
          "several are read as they stand. Where the files before are kept elsewhere, --after "
          "takes the\n"
          "last hash of them. Lines cut off at the end show only to who has noted the last hash.\n",
          help ? stdout : stderr);
    return help ? 0 : 2;
}
