/* One small file for each folder. */
#include "daemon/unsynced.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "daemon/file.h"

void unsynced_boot_id(char out[BOOT_ID_BYTES])
{
    og_buf text;
    og_buf_init(&text, 256);
    if (file_read("/proc/sys/kernel/random/boot_id", 256, &text, NULL) == OG_OK && text.n > 0)
        snprintf(out, BOOT_ID_BYTES, "%.*s", (int)strcspn(og_buf_str(&text).p, "\n"),
                 og_buf_str(&text).p);
    else
        snprintf(out, BOOT_ID_BYTES, "unknown");
    og_buf_done(&text);
}

static void path_of(const char *dir, char out[640])
{
    snprintf(out, 640, "%s/unsynced", dir);
}

/* The boot on which it was used without waiting for the disk; false: all that it has is synced. */
static bool read_mark(const char *dir, char out[BOOT_ID_BYTES])
{
    char path[640];
    og_buf text;
    og_buf_init(&text, BOOT_ID_BYTES);
    path_of(dir, path);
    og_status status = file_read(path, BOOT_ID_BYTES - 1, &text, NULL);
    snprintf(out, BOOT_ID_BYTES, "%.*s", OG_STR_ARG(og_buf_str(&text)));
    og_buf_done(&text);
    return status != OG_NOTFOUND;
}

bool unsynced_machine_stopped(const char *dir, const char *boot_id)
{
    char boot[BOOT_ID_BYTES];
    return read_mark(dir, boot) && strcmp(boot, boot_id) != 0;
}

void unsynced_sync_folder(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)fsync(fd);
    close(fd);
}

bool unsynced_mark(const char *dir, const char *boot_id)
{
    char path[640], boot[BOOT_ID_BYTES];
    if (read_mark(dir, boot) && strcmp(boot, boot_id) == 0)
        return true;
    path_of(dir, path);
    if (file_write(path, og_str_of(boot_id), NULL) != OG_OK)
        return false;
    unsynced_sync_folder(dir);
    return true;
}

/* Were the file back after a loss of power, what is whole would be thrown away. */
void unsynced_clear(const char *dir)
{
    char path[640];
    path_of(dir, path);
    if (unlink(path) == 0)
        unsynced_sync_folder(dir);
}
