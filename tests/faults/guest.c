/* The machine of guest.h. power_cut.sh makes kernel and initramfs of what this machine has. */
#include "guest.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define DISK_BYTES ((off_t)320 << 20) /* XFS wants 300 MB */
#define OUT_BYTES  ((off_t)256 << 20)

typedef enum guest_task { SERVE, GIVE_STORES } guest_task;

static struct {
    const stage *stage;
    char parts[300]; /* what power_cut.sh has made */
    const char *fs, *mount_options;
    guest_task task;
    disk_state *disk;
    uint64_t cuts;
    int disk_pid;
    int words, words_end; /* a pipe to its console */
} guest;

disk_state *guest_disk(void)
{
    return guest.disk;
}

static void run(const char *fmt, ...) OG_PRINTF(1, 2);
static void run(const char *fmt, ...)
{
    char command[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    if (system(command) != 0) // NOLINT(cert-env33-c): a test's own files
        fail_msg("%s", command);
}

/* ---- switching it on ---- */

static int free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && bind(fd, (struct sockaddr *)&at, n) == 0 &&
                getsockname(fd, (struct sockaddr *)&at, &n) == 0;
    close(fd);
    return good ? ntohs(at.sin_port) : 0;
}

/* Its console is a pipe in and a file out. */
static void join_console(void)
{
    char path[160];
    int out = open(stage_path(guest.stage, "console", path), O_CREAT | O_TRUNC | O_WRONLY, 0640);
    if (out < 0 || dup2(guest.words_end, 0) < 0 || dup2(out, 1) < 0)
        _exit(126);
}

/* In the process that is about to become a daemon: becomes the machine with the daemon instead. */
static void become_machine(void)
{
    const char *dir = guest.stage->dir;
    char kernel[320], initramfs[320], line[600], disk[260], config[260], out[260], net[200];
    char path[160], port[16];
    int http = free_port();
    const char *accel = getenv("OG_GUEST_ACCEL");
    snprintf(port, sizeof port, "%d", http);
    if (file_write(stage_path(guest.stage, "port", path), og_str_of(port), NULL) != OG_OK)
        _exit(126);
    join_console();
    snprintf(kernel, sizeof kernel, "%s/kernel", guest.parts);
    snprintf(initramfs, sizeof initramfs, "%s/initramfs", guest.parts);
    snprintf(line, sizeof line,
             "console=ttyS0 loglevel=3 panic=-1 guest_dir=%s guest_fs=%s guest_mount=%s "
             "guest_task=%s guest_ports=%s,%d",
             dir, guest.fs, guest.mount_options, guest.task == SERVE ? "serve" : "out",
             strrchr(guest.stage->kafka.bootstrap, ':') + 1, http_server_port(guest.stage->ehr));
    snprintf(disk, sizeof disk, "file=nbd:unix:%s/disk.socket,format=raw,if=virtio", dir);
    snprintf(config, sizeof config, "file=%s/daemon.yaml,format=raw,if=virtio,readonly=on", dir);
    snprintf(out, sizeof out, "file=%s/out.tar,format=raw,if=virtio", dir);
    snprintf(net, sizeof net, "user,id=net,ipv6=off,hostfwd=tcp:127.0.0.1:%d-:8080", http);
    execlp("qemu-system-x86_64", "qemu-system-x86_64", "-M", "q35", "-accel",
           accel != NULL ? accel : "tcg", "-cpu", "max", "-m", "1024", "-nodefaults",
           "-no-user-config", "-display", "none", "-chardev", "stdio,id=console,signal=off",
           "-serial", "chardev:console", "-kernel", kernel, "-initrd", initramfs, "-append", line,
           "-drive", disk, "-drive", config, "-drive", out, "-netdev", net, "-device",
           "virtio-net-pci,netdev=net,romfile=", (char *)NULL);
    _exit(127);
}

/* ---- making it ---- */

static void make_parts(const stage *s)
{
    char command[600], why[256] = "nothing was said";
    snprintf(guest.parts, sizeof guest.parts, "%s/machine", s->dir);
    snprintf(command, sizeof command, OG_SOURCE_DIR "/tests/faults/power_cut.sh %s %s",
             OG_BINARY_DIR, guest.parts);
    FILE *f = popen(command, "re"); // NOLINT(cert-env33-c): a test's own script
    assert_non_null(f);
    if (fgets(why, sizeof why, f) != NULL)
        why[strcspn(why, "\n")] = '\0';
    if (pclose(f) == 0)
        return;
    printf("SKIPPED: the power is not cut: %s\n", why);
    assert_int_equal(file_remove_tree(s->dir, NULL), OG_OK);
    cannot_play(why);
}

static void make_file(const stage *s, const char *name, off_t size)
{
    char path[160];
    int fd = open(stage_path(s, name, path), O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0640);
    assert_true(fd >= 0 && ftruncate(fd, size) == 0);
    close(fd);
}

void guest_new_disk(const stage *s)
{
    run("%s/mkfs.%s -q %s %s/disk", guest.parts, guest.fs,
        strcmp(guest.fs, "xfs") == 0 ? "-f" : "-F", s->dir);
}

static void begin_disk(const stage *s)
{
    char image[160], path[160];
    guest.disk =
        mmap(NULL, sizeof *guest.disk, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(guest.disk != MAP_FAILED);
    stage_path(s, "disk", image);
    stage_path(s, "disk.socket", path);
    fflush(NULL);
    guest.disk_pid = fork();
    assert_true(guest.disk_pid >= 0);
    if (guest.disk_pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        disk_serve(path, image, guest.disk);
    }
    while (!file_exists(path))
        usleep(1000);
}

void guest_new(stage *s, const char *fs, const char *mount_options)
{
    int ends[2];
    guest.stage = s;
    guest.fs = fs;
    guest.mount_options = mount_options;
    guest.task = SERVE;
    guest.cuts = 0;
    make_parts(s);
    make_file(s, "disk", DISK_BYTES);
    make_file(s, "out.tar", OUT_BYTES);
    guest_new_disk(s);
    begin_disk(s);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    guest.words_end = ends[0];
    guest.words = ends[1];
    s->before_exec = become_machine;
}

/* ---- what becomes of it ---- */

bool guest_has_said(const char *text)
{
    char path[160];
    og_buf said;
    og_buf_init(&said, (size_t)4 << 20);
    bool has = file_read(stage_path(guest.stage, "console", path), (size_t)4 << 20, &said, NULL) ==
                   OG_OK &&
               said.n > 0 && memmem(said.p, said.n, text, strlen(text)) != NULL;
    og_buf_done(&said);
    return has;
}

static bool daemon_has_ended(stage *s)
{
    (void)s;
    return guest_has_said("guest: ended with ");
}

int guest_stop_daemon(stage *s, life *l)
{
    assert_true(write(guest.words, "stop\n", 5) == 5);
    life_wait(s, l, "that the daemon ends", daemon_has_ended);
    return guest_has_said("guest: ended with 0") ? 0 : 1;
}

static bool disk_is_cut(stage *s)
{
    (void)s;
    return guest.disk->ends == guest.cuts;
}

static void print_console(const stage *s)
{
    char path[160], line[2048];
    FILE *f = fopen(stage_path(s, "console", path), "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        printf("  guest> %s", line);
    if (f != NULL)
        fclose(f);
}

void guest_cut(stage *s, life *l)
{
    (void)life_end(s, l, 0);
    guest.cuts++;
    wait_until(s, "that the disk is without power", disk_is_cut);
    print_console(s);
}

void guest_give_stores(stage *s)
{
    guest.task = GIVE_STORES;
    life l = life_begin(s, 0);
    bool ended = life_end(s, &l, 60000);
    guest.task = SERVE;
    guest.cuts++;
    wait_until(s, "that the disk is without power", disk_is_cut);
    print_console(s);
    check(ended, "the stores come out of the machine");
    run("mkdir -p %s/store && tar -x -f %s/out.tar -C %s/store", s->dir, s->dir, s->dir);
}

void guest_free(stage *s)
{
    s->before_exec = NULL;
    kill(guest.disk_pid, SIGKILL);
    (void)waitpid(guest.disk_pid, NULL, 0);
    (void)munmap(guest.disk, sizeof *guest.disk);
    close(guest.words);
    close(guest.words_end);
}
