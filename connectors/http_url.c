/* URLs: what is one, which of them mean the same place, and where a link leads. libcurl takes them
 * apart, so that what is checked here is what it will ask. */
#include <curl/curl.h>
#include <stdlib.h>
#include <strings.h>

#include "connectors/http_client.h"

og_status http_url_check(const char *url, og_error *err)
{
    char *scheme = NULL, *host = NULL;
    og_status st = OG_OK;
    CURLU *u = curl_url();
    if (u == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    if (url == NULL || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK || *host == '\0')
        st = og_fail(err, OG_INVALID, "not a URL");
    else if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
        st = og_fail(err, OG_INVALID, "a URL of scheme \"%.16s\"; only http and https are possible",
                     scheme);
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(u);
    return st;
}

typedef struct parts {
    char *scheme, *host, *port, *path, *user, *password, *query, *fragment;
} parts;

static void parts_done(parts *p)
{
    curl_free(p->scheme);
    curl_free(p->host);
    curl_free(p->port);
    curl_free(p->path);
    curl_free(p->user);
    curl_free(p->password);
    curl_free(p->query);
    curl_free(p->fragment);
    memset(p, 0, sizeof *p);
}

/* False: no URL. The port is there also when it is the scheme's. */
static bool parts_of(CURLU *u, parts *p)
{
    memset(p, 0, sizeof *p);
    (void)curl_url_get(u, CURLUPART_USER, &p->user, 0);
    (void)curl_url_get(u, CURLUPART_PASSWORD, &p->password, 0);
    (void)curl_url_get(u, CURLUPART_QUERY, &p->query, 0);
    (void)curl_url_get(u, CURLUPART_FRAGMENT, &p->fragment, 0);
    return curl_url_get(u, CURLUPART_SCHEME, &p->scheme, 0) == CURLUE_OK &&
           curl_url_get(u, CURLUPART_HOST, &p->host, 0) == CURLUE_OK &&
           curl_url_get(u, CURLUPART_PORT, &p->port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
           curl_url_get(u, CURLUPART_PATH, &p->path, 0) == CURLUE_OK;
}

static bool same_origin(const parts *a, const parts *b)
{
    return strcasecmp(a->scheme, b->scheme) == 0 && strcasecmp(a->host, b->host) == 0 &&
           strcmp(a->port, b->port) == 0;
}

static og_str without_slash(const char *path)
{
    og_str s = og_str_of(path);
    while (s.n > 0 && s.p[s.n - 1] == '/')
        s.n--;
    return s;
}

static bool is_plain(const parts *p)
{
    return p->user == NULL && p->password == NULL && p->query == NULL && p->fragment == NULL;
}

static bool is_same(const parts *a, const parts *b)
{
    return is_plain(a) && is_plain(b) && same_origin(a, b) &&
           og_str_eq(without_slash(a->path), without_slash(b->path));
}

/* Could a server take this path for another one? What is left of dots after libcurl has resolved
 * them may be hidden from it, by an escape or a backslash. */
static bool is_devious(og_str path)
{
    static const char *const tricks[] = {"..", "\\", "%2e", "%2f", "%5c"};
    for (size_t i = 0; i < path.n; i++)
        for (size_t k = 0; k < sizeof tricks / sizeof tricks[0]; k++) {
            size_t n = strlen(tricks[k]);
            if (path.n - i >= n && strncasecmp(path.p + i, tricks[k], n) == 0)
                return true;
        }
    return false;
}

static bool is_below(const parts *base, const parts *url)
{
    og_str top = without_slash(base->path), path = og_str_of(url->path);
    og_str rest = og_str_starts(path, top) ? og_str_from(path, top.n) : (og_str){NULL, 0};
    return same_origin(base, url) && url->user == NULL && url->password == NULL && rest.p != NULL &&
           (rest.n == 0 || rest.p[0] == '/') && !is_devious(rest);
}

static bool compare(const char *a, const char *b, bool (*fn)(const parts *a, const parts *b))
{
    CURLU *ua = curl_url(), *ub = curl_url();
    parts pa = {0}, pb = {0};
    bool good = ua != NULL && ub != NULL && curl_url_set(ua, CURLUPART_URL, a, 0) == CURLUE_OK &&
                curl_url_set(ub, CURLUPART_URL, b, 0) == CURLUE_OK && parts_of(ua, &pa) &&
                parts_of(ub, &pb) && fn(&pa, &pb);
    parts_done(&pa);
    parts_done(&pb);
    curl_url_cleanup(ua);
    curl_url_cleanup(ub);
    return good;
}

bool http_url_same(const char *a, const char *b)
{
    return compare(a, b, is_same);
}

bool http_url_below(const char *base, const char *url)
{
    return compare(base, url, is_below);
}

bool http_url_keeps_secrets(const char *url)
{
    CURLU *u = curl_url();
    parts p = {0};
    bool good = u != NULL && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
                parts_of(u, &p) && p.user == NULL && p.password == NULL &&
                (strcmp(p.scheme, "https") == 0 ||
                 (strcmp(p.scheme, "http") == 0 && strcmp(p.host, "127.0.0.1") == 0));
    parts_done(&p);
    curl_url_cleanup(u);
    return good;
}

og_status http_url_join(const char *base, const char *link, og_buf *ret, og_error *err)
{
    CURLU *u = curl_url();
    parts from = {0}, to = {0};
    char *whole = NULL;
    og_status status = OG_OK;
    if (u == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    if (curl_url_set(u, CURLUPART_URL, base, 0) != CURLUE_OK || !parts_of(u, &from))
        status = og_fail(err, OG_INVALID, "not a URL");
    else if (curl_url_set(u, CURLUPART_URL, link, 0) != CURLUE_OK || !parts_of(u, &to) ||
             curl_url_get(u, CURLUPART_URL, &whole, 0) != CURLUE_OK)
        status = og_fail(err, OG_INVALID, "the link is no URL");
    else if (!same_origin(&from, &to))
        status = og_fail(err, OG_INVALID, "the link leads to another server");
    else if (to.user != NULL || to.password != NULL)
        status = og_fail(err, OG_INVALID, "the link carries credentials");
    else
        og_buf_addz(ret, whole);
    curl_free(whole);
    parts_done(&from);
    parts_done(&to);
    curl_url_cleanup(u);
    return status;
}

void http_url_encode(og_buf *b, og_str s, const char *keep)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            (c != '\0' && (strchr("-._~", c) != NULL || strchr(keep, c) != NULL)))
            og_buf_addc(b, (char)c);
        else
            og_buf_addf(b, "%%%02X", c);
    }
}
