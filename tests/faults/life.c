/* Daemons as processes of their own: begun, watched from outside, ended. */
#include "faults.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <sys/socket.h>

const char *stage_path(const stage *s, const char *name, char out[160])
{
    snprintf(out, 160, "%s/%s", s->dir, name);
    return out;
}

void remove_stores(const stage *s)
{
    char path[160];
    assert_int_equal(file_remove_tree(stage_path(s, "store", path), NULL), OG_OK);
}

/* ---- beginning and ending ---- */

static life *watched;
static int64_t until_ms;

static bool is_gone(stage *s)
{
    (void)s;
    if (!watched->gone && waitpid(watched->pid, &watched->status, WNOHANG) == watched->pid)
        watched->gone = true;
    return watched->gone;
}

static int64_t steady_ms(void)
{
    return clock_monotonic_us() / 1000;
}

static bool is_gone_or_late(stage *s)
{
    return is_gone(s) || steady_ms() > until_ms;
}

static bool is_late(stage *s)
{
    (void)s;
    return steady_ms() > until_ms;
}

void let_pass(stage *s, int64_t ms)
{
    until_ms = steady_ms() + ms;
    wait_until(s, "a while", is_late);
}

void put_before(const char *library)
{
    const char *asan = getenv("ASAN_OPTIONS");
    char options[512], path[256];
    snprintf(options, sizeof options, "%s%sverify_asan_link_order=0", asan != NULL ? asan : "",
             asan != NULL && asan[0] != '\0' ? ":" : "");
    setenv("ASAN_OPTIONS", options, 1);
    snprintf(path, sizeof path, OG_BINARY_DIR "/tests/faults/lib%s.so", library);
    setenv("LD_PRELOAD", path, 1);
}

life life_begin(stage *s, int number)
{
    char path[160], name[32];
    snprintf(name, sizeof name, "port%s", store_suffix[number]);
    (void)unlink(stage_path(s, name, path)); /* the one before has left it */
    return (life){.pid = spawn_member(s, number), .number = number};
}

bool life_end(stage *s, life *l, int64_t most_ms)
{
    watched = l;
    until_ms = steady_ms() + most_ms;
    if (most_ms > 0)
        wait_until(s, "an end", is_gone_or_late);
    bool by_itself = l->gone;
    if (!l->gone)
        kill(l->pid, SIGKILL);
    wait_until(s, "its end", is_gone);
    return by_itself;
}

void life_stop(stage *s, life *l)
{
    watched = l;
    kill(l->pid, SIGTERM);
    wait_until(s, "its end", is_gone);
    check(WIFEXITED(l->status) && WEXITSTATUS(l->status) == 0,
          "asked to stop, the daemon ends well (status %x)", (unsigned)l->status);
}

/* ---- what it says of itself ---- */

static int port_of(const stage *s, int number)
{
    char path[160], name[32];
    og_buf text;
    int port = 0;
    snprintf(name, sizeof name, "port%s", store_suffix[number]);
    og_buf_init(&text, 64);
    if (file_read(stage_path(s, name, path), 63, &text, NULL) == OG_OK && text.n > 0)
        port = atoi(text.p);
    og_buf_done(&text);
    return port;
}

static bool get_page(int port, const char *path, og_buf *out)
{
    char request[128], chunk[8192];
    struct timeval patience = {.tv_sec = 2};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    int n = snprintf(request, sizeof request,
                     "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    bool sent = connect(fd, (struct sockaddr *)&to, sizeof to) == 0 &&
                send(fd, request, (size_t)n, MSG_NOSIGNAL) == n;
    ssize_t got = -1;
    while (sent && (got = recv(fd, chunk, sizeof chunk, 0)) > 0)
        og_buf_add(out, chunk, (size_t)got);
    close(fd);
    return sent && got == 0 && !og_buf_failed(out) && out->n > 0;
}

static double sum_of(const char *page, const char *name)
{
    double sum = 0;
    size_t n = strlen(name);
    for (const char *line = page; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, n) != 0 || (line[n] != ' ' && line[n] != '{'))
            continue;
        const char *value = line[n] == '{' ? strstr(line, "} ") : line + n;
        sum += value != NULL ? strtod(value + (line[n] == '{'), NULL) : 0;
    }
    return sum;
}

static bool metrics_page(const stage *s, int number, og_buf *out)
{
    int port = port_of(s, number);
    og_buf_init(out, (size_t)4 << 20);
    return port > 0 && get_page(port, "/metrics", out);
}

double life_metric(const stage *s, int number, const char *name)
{
    og_buf page;
    double value = metrics_page(s, number, &page) ? sum_of(page.p, name) : -1;
    og_buf_done(&page);
    return value;
}

bool life_is_up(stage *s)
{
    return life_metric(s, watched->number, "osteoguard_ready") > 0;
}

bool life_is_quiet(stage *s)
{
    static const char *const nothing[] = {
        "osteoguard_source_lag",          "osteoguard_records_lag",
        "osteoguard_shared_lag",          "osteoguard_outbox_pending",
        "osteoguard_patients_dirty",      "osteoguard_partitions_not_current",
        "osteoguard_restoring_partitions"};
    og_buf page;
    bool quiet = metrics_page(s, watched->number, &page) && sum_of(page.p, "osteoguard_ready") > 0;
    for (size_t i = 0; quiet && i < sizeof nothing / sizeof nothing[0]; i++)
        quiet = sum_of(page.p, nothing[i]) == 0;
    if (quiet) {
        double due = sum_of(page.p, "osteoguard_next_review_seconds");
        quiet = due == 0 || due > sum_of(page.p, "osteoguard_time_seconds");
    }
    og_buf_done(&page);
    return quiet;
}

static condition *awaited;

static bool has_come_or_is_gone(stage *s)
{
    return is_gone(s) || awaited(s);
}

void life_wait(stage *s, life *l, const char *what, condition *fn)
{
    watched = l;
    awaited = fn;
    wait_until(s, what, has_come_or_is_gone);
    if (l->gone)
        fail_msg("the daemon has gone (status %x) while waiting for %s", (unsigned)l->status, what);
}

bool life_is_gone(life *l)
{
    watched = l;
    return is_gone(NULL);
}

int64_t committed(const stage *s, const char *group, const char *topic, int partitions)
{
    int64_t sum = 0;
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    assert_int_equal(
        rd_kafka_conf_set(conf, "bootstrap.servers", s->kafka.bootstrap, text, sizeof text),
        RD_KAFKA_CONF_OK);
    assert_int_equal(rd_kafka_conf_set(conf, "group.id", group, text, sizeof text),
                     RD_KAFKA_CONF_OK);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    assert_non_null(rk);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
    for (int p = 0; p < partitions; p++)
        rd_kafka_topic_partition_list_add(list, topic, p);
    assert_int_equal(rd_kafka_committed(rk, list, 20000), RD_KAFKA_RESP_ERR_NO_ERROR);
    for (int p = 0; p < partitions; p++)
        sum += list->elems[p].offset > 0 ? list->elems[p].offset : 0;
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(rk);
    return sum;
}

/* What is committed has been acknowledged by our topics; then nothing waits behind it either. */
static bool is_worked_off(stage *s)
{
    return life_is_quiet(s) && committed(s, "osteoguard-gather", "fhir.bundle", 1) >= s->sent &&
           life_is_quiet(s);
}

bool life_comes_to_rest(stage *s, life *l)
{
    watched = l;
    awaited = is_worked_off;
    wait_until(s, "rest", has_come_or_is_gone);
    return !l->gone;
}

/* ---- its configuration ---- */

static char whole_config[4096];

void config_write(const stage *s, const char *from, const char *to)
{
    char path[160];
    og_buf text;
    const char *at = strstr(whole_config, from);
    assert_non_null(at);
    og_buf_init(&text, 8192);
    og_buf_addf(&text, "%.*s%s%s", (int)(at - whole_config), whole_config, to, at + strlen(from));
    assert_int_equal(file_write(stage_path(s, "daemon.yaml", path), og_buf_str(&text), NULL),
                     OG_OK);
    og_buf_done(&text);
}

void config_keep(const stage *s)
{
    char path[160];
    og_buf text;
    og_buf_init(&text, sizeof whole_config);
    assert_int_equal(
        file_read(stage_path(s, "daemon.yaml", path), sizeof whole_config - 1, &text, NULL), OG_OK);
    snprintf(whole_config, sizeof whole_config, "%.*s", OG_STR_ARG(og_buf_str(&text)));
    og_buf_done(&text);
}

size_t life_count(int pid, const char *what)
{
    char path[64];
    size_t n = 0;
    snprintf(path, sizeof path, "/proc/%d/%s", pid, what);
    DIR *d = opendir(path);
    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n - 2; /* itself and the one above */
}
