/* Start threads to find out how many the system allows.
 *
 * If a thread cannot start, libgomp ends the process.  Limits on processes (RLIMIT_NPROC, a container's pids) and on
 * address space (RLIMIT_AS) cause that.  So before a team grows, as many threads are started here, all at once. */
#ifndef UNPOOL_START_H
#define UNPOOL_START_H

#if defined(_OPENMP) && !defined(_WIN32)
#include <pthread.h>
#include <stdlib.h>

/* The size of this thread's last team, which OpenMP keeps for the next one. */
static __thread int unpool_team = 1;

static void *unpool_wait_for(void *lock) {
    pthread_mutex_lock((pthread_mutex_t *)lock);
    pthread_mutex_unlock((pthread_mutex_t *)lock);
    return NULL;
}

static int unpool_startable(int wanted) {
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_t *threads = (pthread_t *)malloc(wanted * sizeof *threads);
    int started = 0, i;
    if (threads == NULL) return 0;
    pthread_mutex_lock(&lock);
    while (started < wanted && !pthread_create(&threads[started], NULL, unpool_wait_for, &lock)) started++;
    pthread_mutex_unlock(&lock);
    for (i = 0; i < started; i++) pthread_join(threads[i], NULL);
    free(threads);
    return started;
}

/* Return how many of these threads, which include the caller, a team can have. */
static int unpool_startable_team(int threads) {
    if (threads > unpool_team) threads = unpool_team + unpool_startable(threads - unpool_team);
    return unpool_team = threads;
}

#else
static int unpool_startable_team(int threads) { return threads; }
#endif

#endif
