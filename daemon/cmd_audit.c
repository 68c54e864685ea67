/* osteoguard audit verify FILE */
#include "daemon/cmd_audit.h"

#include <inttypes.h>
#include <string.h>

#include "daemon/audit.h"

static int verify(const char *path)
{
    og_error err;
    char hash[65];
    uint64_t lines;
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        fprintf(stderr, "%s: error: cannot be read\n", path);
        return 1;
    }
    og_error_init(&err);
    og_status status = audit_verify(file, path, &lines, hash, &err);
    fclose(file);
    if (status == OG_OK)
        printf("%" PRIu64 " lines, each follows from the one before; the last hash is %s\n", lines,
               hash);
    else
        fprintf(stderr, "%s:%" PRIu64 ": error: %s\n", path, lines + 1, err.text);
    return status == OG_OK ? 0 : 1;
}

int cmd_audit(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "verify") == 0)
        return verify(argv[2]);
    bool help = argc == 2 && strcmp(argv[1], "--help") == 0;
    fputs("usage: osteoguard audit verify FILE\n\nNames the first line of an audit log that was "
          "changed, removed or inserted. Lines cut off at the end\nshow only to who has noted the "
          "last hash.\n",
          help ? stdout : stderr);
    return help ? 0 : 2;
}
