/* A TCP proxy that makes trouble: between the daemon and a broker, or the daemon and an EHR.
 *
 *   chaosproxy --target-file FILE [--port-file FILE]
 *
 * The target's port stands in FILE and is read at each connection, so that the proxy can be started
 * first. Commands come as lines on standard input and hold from then on, for open connections too:
 *
 *   clear            as if it were not there
 *   latency MS       each piece of data is that much later
 *   slice N          pieces of at most N bytes
 *   drop             takes connections and data, passes nothing on (half-open)
 *   refuse           closes new connections at once, and those that are open
 *   reset            the same with RST, once
 *   cut N            each connection ends after N more bytes of the target's answers
 *
 * Ends with its standard input. */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define PIECE      65536
#define HIGH_WATER (4u << 20) /* bytes on their way; then reading waits */

typedef struct conn conn;

/* One direction of a connection. */
typedef struct flow {
    conn *conn;
    struct flow *other;
    uv_tcp_t handle; /* is read from; written to by the other flow */
    size_t on_the_way;
    bool reading;
} flow;

struct conn {
    conn *next;
    flow client, target;
    uv_connect_t connect;
    long long left; /* of the target's bytes; -1: no end */
    int open;       /* handles */
    int waiting;    /* pieces that still hold a pointer to it */
    bool closing;
};

typedef struct piece {
    uv_write_t write;
    uv_timer_t timer;
    flow *from;
    size_t n;
    char bytes[];
} piece;

static uv_loop_t loop;
static uv_tcp_t listener;
static uv_pipe_t commands;
static conn *conns;
static const char *target_file;
static long long latency_ms, slice = PIECE, cut = -1;
static bool dropping, refusing;
static char line[256];
static size_t line_n;

static void *must(void *p)
{
    if (p == NULL) {
        fputs("chaosproxy: out of memory\n", stderr);
        exit(1);
    }
    return p;
}

/* ---- the end of a connection ---- */

static void free_if_done(conn *c)
{
    if (c->open > 0 || c->waiting > 0)
        return;
    for (conn **at = &conns; *at != NULL; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    free(c);
}

static void on_handle_closed(uv_handle_t *h)
{
    conn *c = ((flow *)h->data)->conn;
    c->open--;
    free_if_done(c);
}

static void end(conn *c, bool with_reset)
{
    flow *both[] = {&c->client, &c->target};
    if (c->closing)
        return;
    c->closing = true;
    for (int i = 0; i < 2; i++) {
        uv_handle_t *h = (uv_handle_t *)&both[i]->handle;
        if (!with_reset || uv_tcp_close_reset(&both[i]->handle, on_handle_closed) != 0)
            uv_close(h, on_handle_closed);
    }
}

static void end_all(bool with_reset)
{
    for (conn *c = conns, *next; c != NULL; c = next) {
        next = c->next;
        end(c, with_reset);
    }
}

/* ---- data ---- */

static void read_on(flow *f);

static void on_piece_closed(uv_handle_t *h)
{
    piece *p = h->data;
    conn *c = p->from->conn;
    free(p);
    c->waiting--;
    free_if_done(c);
}

static void piece_done(piece *p)
{
    flow *f = p->from;
    f->on_the_way -= p->n;
    if (!f->conn->closing && !f->reading && f->on_the_way < HIGH_WATER / 2)
        read_on(f);
    uv_close((uv_handle_t *)&p->timer, on_piece_closed);
}

static void on_written(uv_write_t *w, int status)
{
    piece *p = w->data;
    if (status != 0)
        end(p->from->conn, false);
    piece_done(p);
}

static void pass_on(uv_timer_t *t)
{
    piece *p = t->data;
    flow *f = p->from;
    conn *c = f->conn;
    uv_buf_t buf = uv_buf_init(p->bytes, (unsigned)p->n);
    if (c->closing || dropping) {
        piece_done(p);
        return;
    }
    if (f == &c->target && c->left >= 0) {
        if ((long long)p->n >= c->left) {
            buf.len = (size_t)c->left;
            (void)uv_try_write((uv_stream_t *)&f->other->handle, &buf, 1);
            end(c, true);
            piece_done(p);
            return;
        }
        c->left -= (long long)p->n;
    }
    p->write.data = p;
    if (uv_write(&p->write, (uv_stream_t *)&f->other->handle, &buf, 1, on_written) != 0) {
        end(c, false);
        piece_done(p);
    }
}

static void take(flow *f, const char *bytes, size_t n)
{
    for (size_t at = 0, part; at < n; at += part) {
        part = n - at < (size_t)slice ? n - at : (size_t)slice;
        piece *p = must(malloc(sizeof *p + part));
        p->from = f;
        p->n = part;
        memcpy(p->bytes, bytes + at, part);
        uv_timer_init(&loop, &p->timer);
        p->timer.data = p;
        f->on_the_way += part;
        f->conn->waiting++;
        /* Timers of equal time run in the order in which they were started: pieces keep theirs. A
         * shorter latency must not let a later one overtake: it holds for new connections only. */
        uv_timer_start(&p->timer, pass_on, (uint64_t)latency_ms, 0);
    }
}

static void alloc(uv_handle_t *h, size_t wanted, uv_buf_t *buf)
{
    static char room[PIECE];
    (void)h;
    (void)wanted;
    *buf = uv_buf_init(room, sizeof room);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    flow *f = stream->data;
    if (n < 0) {
        end(f->conn, false);
        return;
    }
    take(f, buf->base, (size_t)n);
    if (f->on_the_way >= HIGH_WATER) {
        uv_read_stop(stream);
        f->reading = false;
    }
}

static void read_on(flow *f)
{
    f->reading = uv_read_start((uv_stream_t *)&f->handle, alloc, on_read) == 0;
    if (!f->reading)
        end(f->conn, false);
}

/* ---- connections ---- */

static int target_port(void)
{
    FILE *f = fopen(target_file, "re");
    int port = 0;
    if (f == NULL || fscanf(f, "%d", &port) != 1)
        port = 0;
    if (f != NULL)
        fclose(f);
    return port;
}

static void on_connected(uv_connect_t *r, int status)
{
    conn *c = r->data;
    if (c->closing)
        return;
    if (status != 0) {
        end(c, false);
        return;
    }
    read_on(&c->client);
    if (!c->closing)
        read_on(&c->target);
}

static void on_connection(uv_stream_t *server, int status)
{
    struct sockaddr_in to;
    conn *c = must(calloc(1, sizeof *c));
    c->client.conn = c->target.conn = c;
    c->client.other = &c->target;
    c->target.other = &c->client;
    c->left = cut;
    c->open = 2;
    uv_tcp_init(&loop, &c->client.handle);
    uv_tcp_init(&loop, &c->target.handle);
    c->client.handle.data = &c->client;
    c->target.handle.data = &c->target;
    c->connect.data = c;
    c->next = conns;
    conns = c;
    if (status != 0 || uv_accept(server, (uv_stream_t *)&c->client.handle) != 0 || refusing) {
        end(c, false);
        return;
    }
    uv_tcp_nodelay(&c->client.handle, 1);
    uv_tcp_nodelay(&c->target.handle, 1);
    uv_ip4_addr("127.0.0.1", target_port(), &to);
    if (uv_tcp_connect(&c->connect, &c->target.handle, (const struct sockaddr *)&to,
                       on_connected) != 0)
        end(c, false);
}

/* ---- commands ---- */

static bool is(const char *word, long long *number)
{
    size_t n = strlen(word);
    char *rest;
    if (strncmp(line, word, n) != 0 || (line[n] != '\0' && line[n] != ' '))
        return false;
    if (number == NULL)
        return line[n] == '\0';
    errno = 0;
    *number = strtoll(line + n, &rest, 10);
    return errno == 0 && rest != line + n && *rest == '\0' && *number > 0;
}

static void obey(void)
{
    long long n;
    if (is("clear", NULL)) {
        latency_ms = 0;
        slice = PIECE;
        cut = -1;
        dropping = refusing = false;
        end_all(false); /* what was dropped is not to be mended within a connection */
    } else if (is("latency", &n)) {
        latency_ms = n;
        end_all(false);
    } else if (is("slice", &n) && n <= PIECE) {
        slice = n;
    } else if (is("drop", NULL)) {
        dropping = true;
    } else if (is("refuse", NULL)) {
        refusing = true;
        end_all(false);
    } else if (is("reset", NULL)) {
        end_all(true);
    } else if (is("cut", &n)) {
        cut = n;
        for (conn *c = conns; c != NULL; c = c->next)
            c->left = n;
    } else {
        fprintf(stderr, "chaosproxy: what is '%s'?\n", line);
        exit(2);
    }
}

static void on_command(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    if (n < 0) {
        uv_close((uv_handle_t *)stream, NULL);
        uv_close((uv_handle_t *)&listener, NULL);
        end_all(false);
        return;
    }
    for (ssize_t i = 0; i < n; i++) {
        char c = buf->base[i];
        if (c != '\n') {
            if (line_n + 1 < sizeof line)
                line[line_n++] = c;
            continue;
        }
        line[line_n] = '\0';
        line_n = 0;
        obey();
    }
}

static void listen_and_tell(const char *port_file)
{
    struct sockaddr_in at;
    int size = sizeof at, port;
    uv_ip4_addr("127.0.0.1", 0, &at);
    uv_tcp_init(&loop, &listener);
    if (uv_tcp_bind(&listener, (const struct sockaddr *)&at, 0) != 0 ||
        uv_listen((uv_stream_t *)&listener, 128, on_connection) != 0 ||
        uv_tcp_getsockname(&listener, (struct sockaddr *)&at, &size) != 0) {
        fputs("chaosproxy: cannot listen\n", stderr);
        exit(1);
    }
    port = ntohs(at.sin_port);
    FILE *f = port_file != NULL ? fopen(port_file, "we") : stdout;
    if (f == NULL || fprintf(f, "%d\n", port) < 0 || fflush(f) != 0) {
        fputs("chaosproxy: cannot tell its port\n", stderr);
        exit(1);
    }
    if (f != stdout)
        fclose(f);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"target-file", required_argument, NULL, 't'},
                                            {"port-file", required_argument, NULL, 'p'},
                                            {NULL, 0, NULL, 0}};
    const char *port_file = NULL;
    int o;
    while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (o) {
        case 't': target_file = optarg; break;
        case 'p': port_file = optarg; break;
        default: return 2;
        }
    }
    if (target_file == NULL) {
        fputs("usage: chaosproxy --target-file FILE [--port-file FILE]\n", stderr);
        return 2;
    }
    uv_loop_init(&loop);
    listen_and_tell(port_file);
    uv_pipe_init(&loop, &commands, 0);
    if (uv_pipe_open(&commands, 0) != 0 ||
        uv_read_start((uv_stream_t *)&commands, alloc, on_command) != 0) {
        fputs("chaosproxy: no commands on standard input\n", stderr);
        return 1;
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return 0;
}
