# How the tasks of a call are shared among threads, and how many take part while other programs keep cores busy.
#
# OpenMP's threads wait for each other at the end of a call, and then for the next one, by spinning: GCC's for 8 ms.  A
# thread that spun its time away is put aside for another program when there is work again, and the call waits longer
# for it than all of the work takes.  So after a call that had to wait, the next ones go without one thread; it is let
# in again after a while, twice as long each time that this was too soon.
#
# The thread that Python called, number 0, also looks for signals between two chunks of tasks, as Ctrl-C sends one.  If
# its handler raises, all threads leave, and the call ends with that exception.

import threading

cdef extern from *:
    """
    #include <time.h>
    #ifdef _OPENMP
    #define unpool_now() (1e3 * omp_get_wtime())
    #else
    #define unpool_now() (1e3 * clock() / CLOCKS_PER_SEC)
    #define omp_get_num_procs() 1
    #endif
    #if defined(__GNUC__)
    #define unpool_take(next, count) __atomic_fetch_add((next), (count), __ATOMIC_RELAXED)
    #elif defined(_MSC_VER)
    #include <intrin.h>
    #define unpool_take(next, count) _InterlockedExchangeAdd64((next), (count))
    #else
    #error this compiler has no atomic addition that unpool knows
    #endif
    """
    double now "unpool_now"() noexcept nogil
    int omp_get_num_procs() noexcept nogil
    int64_t take_from "unpool_take"(int64_t *, int64_t) noexcept nogil
    int PyErr_CheckSignals() noexcept
    unsigned long PyThread_get_thread_ident() noexcept


cdef extern from "start.h" nogil:
    int startable_team "unpool_startable_team"(int) noexcept


cdef enum:
    # Milliseconds that threads may wait for the last one of them: what several chunks take.
    PATIENCE = 2
    # Milliseconds for which a thread is left out: at first, and at most.
    SHORTEST_PAUSE = 50
    LONGEST_PAUSE = 1600
    # Milliseconds between two looks for signals.
    WATCH = 100


cdef struct Crowd:
    # Threads left out, since when it is so many, in milliseconds, and whether that is because one was let in again.
    int left_out
    double since
    bint let_in
    double pause


cdef Crowd crowd = Crowd(0, 0, False, SHORTEST_PAUSE)


cdef int team(int threads) noexcept nogil:
    """How many of so many threads take part now.  Callers may race for it: it decides how soon, and never what."""
    if crowd.left_out == 0 or threads > omp_get_num_procs():  # who wants more than there are has them wait
        return threads
    if now() - crowd.since >= crowd.pause:
        crowd.left_out -= 1
        crowd.let_in = True
        crowd.since = now()
    return max(1, threads - crowd.left_out)


# The thread that runs Python's signal handlers.
cdef unsigned long main_thread = threading.main_thread().ident


cdef void join_in(Job *job, Share *share) noexcept:
    """Give a call what its threads share; a short one has no time for signals."""
    share.watched = job.long and PyThread_get_thread_ident() == main_thread
    share.stop = False
    share.checked = 0
    job.share = share


cdef inline void begin(const Job *job) noexcept nogil:
    """Share out the tasks of a call, or of its second round, from the first one on."""
    job.share.next = job.share.done = 0
    job.share.began = now() if job.threads > 1 else 0


cdef inline bint stopped(const Job *job, int thread) noexcept nogil:
    """Whether the call is to end, since a signal's handler raised an exception."""
    if thread == 0 and job.share.watched:
        check_signals(job.share)
    return job.share.stop


cdef void check_signals(Share *share) noexcept nogil:
    cdef double time = now()
    if share.checked == 0:
        share.checked = time
    if time - share.checked >= WATCH:
        share.checked = time
        with gil:
            share.stop = share.stop or PyErr_CheckSignals() != 0


cdef int raise_if_stopped(const Job *job) except -1:
    """Raise what the signal's handler raised, which is still set."""
    return -1 if job.share.stop else 0


cdef inline Py_ssize_t next_chunk(const Job *job, int thread, Py_ssize_t tasks) noexcept nogil:
    """Hand out the next `job.chunk` of so many tasks, and none where the call is to end."""
    return tasks if stopped(job, thread) else take_from(&job.share.next, job.chunk)


cdef inline void leave(const Job *job) noexcept nogil:
    if job.threads > 1 and take_from(&job.share.done, 1) == 0:
        job.share.left = now()


cdef void learn(const Job *job) noexcept nogil:
    """Leave out a thread of the next calls, if the first of this one to be done waited too long for the last."""
    cdef double end = now()
    cdef double wait = end - job.share.left
    if wait <= PATIENCE or 4 * wait <= end - job.share.began or job.threads > omp_get_num_procs():
        return
    if crowd.let_in:
        # Letting it in was too soon, unless that was long ago.
        crowd.pause = min(2 * crowd.pause, LONGEST_PAUSE) if end - crowd.since < crowd.pause else SHORTEST_PAUSE
    crowd.left_out = min(crowd.left_out, job.threads - 2) + 1
    crowd.let_in = False
    crowd.since = end
