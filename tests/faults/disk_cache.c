/* The disk of guest.h: a server of the NBD protocol (network block devices, fixed newstyle
 * handshake, simple replies) with a write cache that a cut of the power empties.
 *
 * The file is what lies on the disk. What the guest reads and writes is a private map of the file;
 * each write is noted as well, and comes to the file with the next flush. When the connection ends,
 * the notes are what the cache held: some of their pages come to the file still, and the private
 * map is forgotten. */
#include "guest.h"

#include <endian.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define PAGE 4096u

#define MAGIC         0x4e42444d41474943u /* "NBDMAGIC" */
#define OPTION_MAGIC  0x49484156454f5054u /* "IHAVEOPT" */
#define ANSWER_MAGIC  0x0003e889045565a9u
#define REQUEST_MAGIC 0x25609513u
#define REPLY_MAGIC   0x67446698u
#define NEWSTYLE      1 /* flags of the handshake */
#define NO_ZEROES     2
#define HAS_FLAGS     1 /* of the disk: it has flags, and takes flushes */
#define TAKES_FLUSHES 4
#define EXPORT_NAME   1 /* options */
#define ABORT         2
#define UNSUPPORTED   0x80000001u

enum { READ = 0, WRITE = 1, DISCONNECT = 2, FLUSH = 3 };

typedef struct request {
    uint32_t magic;
    uint16_t flags, type;
    uint64_t handle, from;
    uint32_t size;
} __attribute__((packed)) request;

typedef struct reply {
    uint32_t magic, error;
    uint64_t handle;
} __attribute__((packed)) reply;

typedef struct note_of_write {
    uint64_t from;
    uint32_t size;
    char *bytes;
} note_of_write;

typedef struct disk {
    int file, client;
    char *map;
    uint64_t size, chance;
    note_of_write *late;
    size_t late_count, late_cap;
    disk_state *state;
} disk;

static void must(bool good, const char *what)
{
    if (good)
        return;
    perror(what);
    exit(1);
}

static bool take(int fd, void *to, size_t n)
{
    for (char *at = to; n > 0;) {
        ssize_t got = recv(fd, at, n, 0);
        if (got <= 0)
            return false;
        at += got;
        n -= (size_t)got;
    }
    return true;
}

static bool give(int fd, const void *from, size_t n)
{
    for (const char *at = from; n > 0;) {
        ssize_t put = send(fd, at, n, MSG_NOSIGNAL);
        if (put <= 0)
            return false;
        at += put;
        n -= (size_t)put;
    }
    return true;
}

/* ---- the cache ---- */

static void note_write(disk *d, uint64_t from, uint32_t size)
{
    if (d->late_count == d->late_cap) {
        d->late_cap = d->late_cap == 0 ? 256 : d->late_cap * 2;
        d->late = realloc(d->late, d->late_cap * sizeof *d->late);
        must(d->late != NULL, "memory");
    }
    note_of_write *w = &d->late[d->late_count++];
    *w = (note_of_write){from, size, malloc(size)};
    must(w->bytes != NULL, "memory");
    memcpy(w->bytes, d->map + from, size);
}

static bool is_kept(disk *d, disk_keeps keeps)
{
    d->chance = d->chance * 6364136223846793005u + 1442695040888963407u;
    return keeps == KEEPS_ALL || (keeps == KEEPS_SOME && d->chance >> 63 != 0);
}

/* In the order in which they came, page by page. Each page decides for itself, so that of two
 * writes to one page the older can be what is there. Returns how many are gone. */
static uint64_t empty_cache(disk *d, disk_keeps keeps, uint64_t *ret_pages)
{
    uint64_t lost = 0, pages = 0;
    for (size_t i = 0; i < d->late_count; i++) {
        const note_of_write *w = &d->late[i];
        for (uint32_t done = 0; done < w->size; pages++) {
            uint32_t n = PAGE - (uint32_t)((w->from + done) % PAGE);
            n = n < w->size - done ? n : w->size - done;
            if (!is_kept(d, keeps))
                lost++;
            else
                must(pwrite(d->file, w->bytes + done, n, (off_t)(w->from + done)) == (ssize_t)n,
                     "the disk's file");
            done += n;
        }
        free(w->bytes);
    }
    d->late_count = 0;
    *ret_pages = pages;
    return lost;
}

static void lose_power(disk *d)
{
    uint64_t late;
    d->state->lost = empty_cache(d, (disk_keeps)d->state->keeps, &late);
    d->state->late = late;
    must(madvise(d->map, d->size, MADV_DONTNEED) == 0, "forgetting");
    d->state->ends++;
}

/* ---- the protocol ---- */

static bool answer_option(int fd, uint32_t option)
{
    const uint64_t magic = htobe64(ANSWER_MAGIC);
    const uint32_t rest[3] = {htobe32(option), htobe32(UNSUPPORTED), 0};
    return give(fd, &magic, sizeof magic) && give(fd, rest, sizeof rest);
}

static bool pass_over(int fd, uint32_t n)
{
    char byte;
    while (n > 0 && take(fd, &byte, 1))
        n--;
    return n == 0;
}

static bool shake_hands(const disk *d)
{
    static const char zeroes[124];
    const uint64_t hello[2] = {htobe64(MAGIC), htobe64(OPTION_MAGIC)}, size = htobe64(d->size);
    const uint16_t ours = htobe16(NEWSTYLE | NO_ZEROES), can = htobe16(HAS_FLAGS | TAKES_FLUSHES);
    uint64_t magic;
    uint32_t theirs, option[2]; /* which, and how many bytes it has */
    if (!give(d->client, hello, sizeof hello) || !give(d->client, &ours, sizeof ours) ||
        !take(d->client, &theirs, sizeof theirs))
        return false;
    do {
        if (!take(d->client, &magic, sizeof magic) || be64toh(magic) != OPTION_MAGIC ||
            !take(d->client, option, sizeof option) || !pass_over(d->client, be32toh(option[1])) ||
            be32toh(option[0]) == ABORT)
            return false;
    } while (be32toh(option[0]) != EXPORT_NAME && answer_option(d->client, be32toh(option[0])));
    return give(d->client, &size, sizeof size) && give(d->client, &can, sizeof can) &&
           ((be32toh(theirs) & NO_ZEROES) != 0 || give(d->client, zeroes, sizeof zeroes));
}

/* The time stands still: nothing is done any more until the power goes. */
static void stand_still(disk *d)
{
    char byte;
    d->state->stopped = true;
    while (take(d->client, &byte, 1))
        continue;
}

static bool flush(disk *d)
{
    uint64_t pages;
    if (++d->state->flushes == d->state->stop_at) {
        stand_still(d);
        return false;
    }
    (void)empty_cache(d, KEEPS_ALL, &pages);
    return true;
}

static bool do_request(disk *d, const request *r)
{
    uint64_t from = be64toh(r->from);
    uint32_t size = be32toh(r->size);
    int type = be16toh(r->type);
    bool inside = type == FLUSH || (from <= d->size && size <= d->size - from);
    reply answer = {htobe32(REPLY_MAGIC), 0, r->handle};
    if (be32toh(r->magic) != REQUEST_MAGIC || type > FLUSH || type == DISCONNECT || !inside)
        return false;
    if (type == WRITE) {
        if (!take(d->client, d->map + from, size))
            return false;
        note_write(d, from, size);
    }
    if (type == FLUSH && !flush(d))
        return false;
    return give(d->client, &answer, sizeof answer) &&
           (type != READ || give(d->client, d->map + from, size));
}

void disk_serve(const char *socket_path, const char *image, disk_state *state)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct stat st;
    request r;
    disk d = {.file = open(image, O_RDWR | O_CLOEXEC), .chance = 20260301, .state = state};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(name.sun_path, sizeof name.sun_path, "%s", socket_path);
    must(d.file >= 0 && fstat(d.file, &st) == 0, image);
    d.size = (uint64_t)st.st_size;
    d.map = mmap(NULL, d.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, d.file, 0);
    must(d.map != MAP_FAILED, "mapping the disk");
    must(bind(listener, (struct sockaddr *)&name, sizeof name) == 0 && listen(listener, 1) == 0,
         socket_path);
    for (;;) {
        d.client = accept(listener, NULL, NULL);
        must(d.client >= 0, "accept");
        state->flushes = 0;
        state->stopped = false;
        if (shake_hands(&d))
            while (take(d.client, &r, sizeof r) && do_request(&d, &r))
                continue;
        close(d.client);
        lose_power(&d);
    }
}
