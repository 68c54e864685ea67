/* The exit is reported when both have come: the process's end and the end of its standard error. */
#include "tests/demo/child.h"

#include <stdlib.h>

enum { LINE_MAX_BYTES = 1 << 20, CHUNK = 16384 };

extern char **environ;

struct child {
    uv_process_t process;
    uv_pipe_t pipe;
    child_options o;
    og_buf line;
    char chunk[CHUNK];
    int open; /* handles not closed yet */
    int64_t status;
    int signal;
};

static void handle_closed(uv_handle_t *h)
{
    child *c = h->data;
    if (--c->open > 0)
        return;
    if (c->line.n > 0)
        c->o.on_line(c->o.ctx, og_buf_str(&c->line));
    c->o.on_exit(c->o.ctx, c->status, c->signal);
    og_buf_done(&c->line);
    free(c);
}

static void never_was(uv_handle_t *h)
{
    child *c = h->data;
    if (--c->open == 0)
        free(c);
}

static void process_ended(uv_process_t *p, int64_t status, int signal)
{
    child *c = p->data;
    c->status = status;
    c->signal = signal;
    uv_close((uv_handle_t *)p, handle_closed);
}

static void give_buffer(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    child *c = h->data;
    (void)suggested;
    *buf = uv_buf_init(c->chunk, CHUNK);
}

static void take_bytes(child *c, og_str s)
{
    ptrdiff_t nl;
    while ((nl = og_str_find(s, '\n')) >= 0) {
        og_buf_add(&c->line, s.p, (size_t)nl);
        if (c->line.n > 0)
            c->o.on_line(c->o.ctx, og_buf_str(&c->line));
        og_buf_clear(&c->line);
        s = og_str_from(s, (size_t)nl + 1);
    }
    og_buf_adds(&c->line, s);
}

static void pipe_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    child *c = stream->data;
    if (n > 0)
        take_bytes(c, (og_str){buf->base, (size_t)n});
    else if (n < 0)
        uv_close((uv_handle_t *)stream, handle_closed);
}

/* Our environment with the overrides on top; NULL when memory is out. Only the array is the
 * caller's. */
static char **environment_with(const char *const *more)
{
    size_t n = 0, m = 0, used = 0;
    while (environ[n] != NULL)
        n++;
    while (more[m] != NULL)
        m++;
    char **all = calloc(n + m + 1, sizeof(*all));
    if (all == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t name = strcspn(environ[i], "=") + 1;
        bool replaced = false;
        for (size_t j = 0; j < m; j++)
            replaced = replaced || strncmp(environ[i], more[j], name) == 0;
        if (!replaced)
            all[used++] = environ[i];
    }
    for (size_t j = 0; j < m; j++)
        all[used++] = (char *)more[j];
    return all;
}

og_status child_start(uv_loop_t *loop, const child_options *options, child **ret, og_error *err)
{
    child *c = calloc(1, sizeof(*c));
    char **environment = environment_with(options->environment);
    if (c == NULL || environment == NULL) {
        free(c);
        free(environment);
        return og_fail(err, OG_NOMEM, "out of memory");
    }
    c->o = *options;
    og_buf_init(&c->line, LINE_MAX_BYTES);
    uv_pipe_init(loop, &c->pipe, 0);
    c->pipe.data = c->process.data = c;
    c->open = 2;
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = 1},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&c->pipe}};
    uv_process_options_t o = {.file = options->argv[0],
                              .args = (char **)options->argv,
                              .env = environment,
                              .stdio_count = 3,
                              .stdio = stdio,
                              .flags = UV_PROCESS_DETACHED,
                              .exit_cb = process_ended};
    int rc = uv_spawn(loop, &c->process, &o);
    free(environment);
    if (rc != 0) { /* a child that never was: its handles still close through the loop */
        uv_close((uv_handle_t *)&c->pipe, never_was);
        uv_close((uv_handle_t *)&c->process, never_was);
        return og_fail(err, OG_IO, "%s: %s", options->argv[0], uv_strerror(rc));
    }
    uv_read_start((uv_stream_t *)&c->pipe, give_buffer, pipe_read);
    *ret = c;
    return OG_OK;
}

void child_signal(child *c, int signal)
{
    if (c != NULL)
        (void)uv_process_kill(&c->process, signal); /* gone already: then on_exit is on its way */
}
