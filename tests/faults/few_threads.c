/* A machine that gives no more threads, for a daemon that is begun with this library before all
 * others (LD_PRELOAD): while MOST_THREADS of them live, or the file NO_THREADS is there, none can
 * be begun. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <threads.h>
#include <unistd.h>

static atomic_int alive;

typedef struct one {
    void *(*fn)(void *);
    thrd_start_t fn_c11;
    void *arg;
} one;

static void *run(void *arg)
{
    one o = *(one *)arg;
    free(arg);
    void *result = o.fn(o.arg);
    atomic_fetch_sub(&alive, 1);
    return result;
}

static int run_c11(void *arg)
{
    one o = *(one *)arg;
    free(arg);
    int result = o.fn_c11(o.arg);
    atomic_fetch_sub(&alive, 1);
    return result;
}

/* NULL: none may be begun. */
static one *allowed(one o)
{
    const char *most = getenv("MOST_THREADS"), *file = getenv("NO_THREADS");
    bool refused = file != NULL && access(file, F_OK) == 0;
    refused |= most != NULL && atomic_load(&alive) >= atoi(most);
    one *copy = refused ? NULL : malloc(sizeof *copy);
    if (copy == NULL)
        return NULL;
    *copy = o;
    atomic_fetch_add(&alive, 1);
    return copy;
}

static void take_back(one *o)
{
    free(o);
    atomic_fetch_sub(&alive, 1);
}

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): the C library's are reserved */

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    one *o = allowed((one){.fn = fn, .arg = arg});
    if (o == NULL)
        return EAGAIN;
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    int rc = real(thread, attr, run, o);
    if (rc != 0)
        take_back(o);
    return rc;
}

int thrd_create(thrd_t *thread, thrd_start_t fn, void *arg)
{
    static int (*real)(thrd_t *, thrd_start_t, void *);
    one *o = allowed((one){.fn_c11 = fn, .arg = arg});
    if (o == NULL)
        return thrd_error;
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "thrd_create");
    int rc = real(thread, run_c11, o);
    if (rc != thrd_success)
        take_back(o);
    return rc;
}

/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
