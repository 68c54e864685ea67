/* One empty file for each folder, and the list of maps. */
#include "daemon/damage.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#define DIR_BYTES 512

static const char name[] = "/damaged";

_Thread_local const char *volatile damage_reading;

static damage_watch *watched; /* written by the threads that open and close */
static pthread_mutex_t watched_lock = PTHREAD_MUTEX_INITIALIZER;

/* In a process that is about to die: no locks, no stdio. */
void damage_note(const char *dir)
{
    char path[DIR_BYTES + sizeof name];
    size_t n = 0;
    for (; dir[n] != '\0' && n < DIR_BYTES; n++)
        path[n] = dir[n];
    for (size_t i = 0; i < sizeof name; i++)
        path[n + i] = name[i];
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0640);
    if (fd >= 0)
        close(fd);
}

bool damage_is_noted(const char *dir)
{
    char path[DIR_BYTES + sizeof name];
    snprintf(path, sizeof path, "%s%s", dir, name);
    return access(path, F_OK) == 0;
}

void damage_watch_map(damage_watch *w)
{
    pthread_mutex_lock(&watched_lock);
    w->next = watched;
    watched = w;
    pthread_mutex_unlock(&watched_lock);
}

void damage_unwatch(const damage_watch *w)
{
    pthread_mutex_lock(&watched_lock);
    damage_watch **link = &watched;
    while (*link != NULL && *link != w)
        link = &(*link)->next;
    if (*link != NULL)
        *link = w->next;
    pthread_mutex_unlock(&watched_lock);
}

static const int fatal[] = {SIGBUS, SIGSEGV, SIGABRT};
#define FATALS (sizeof fatal / sizeof fatal[0])
static struct sigaction before[FATALS];

static void on_fatal_signal(int number, siginfo_t *info, void *context)
{
    const char *reading = damage_reading;
    uintptr_t at = (uintptr_t)info->si_addr;
    (void)context;
    for (const damage_watch *w = watched; number == SIGBUS && w != NULL; w = w->next)
        if (at >= (uintptr_t)w->map && at < (uintptr_t)w->map + w->bytes)
            damage_note(w->dir);
    if (reading != NULL)
        damage_note(reading);
    for (size_t i = 0; i < FATALS; i++)
        if (fatal[i] == number)
            (void)sigaction(number, &before[i], NULL);
} /* back to the instruction, which kills us: the handler is gone */

void damage_on_fatal_signals(void)
{
    struct sigaction action = {.sa_sigaction = on_fatal_signal, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < FATALS; i++)
        (void)sigaction(fatal[i], &action, &before[i]);
}
