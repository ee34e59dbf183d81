# The task loop: how threads share the tasks of a call, and how many threads a call uses while other programs keep cores
# busy.
#
# OpenMP's threads spin while they wait for each other at the end of a call and for the next call: GCC's for 8 ms.  The
# scheduler preempts a thread that has used up its time slice by spinning.  A call that starts then waits for it longer
# than the work takes.  So there is a back-off: after a call that had to wait, the next calls use one thread less.  The
# thread comes back after a pause, which doubles each time that it came back too soon.  A caller that limits the threads
# of its calls divides the cores itself, so those calls neither use nor change the back-off.
#
# Thread 0, the one that called from Python, also checks for signals between two chunks of tasks; Ctrl-C sends one.  If
# the handler of a signal raises, all threads leave the loop and the call raises that exception.

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
    #define unpool_read(place) __atomic_load_n((place), __ATOMIC_RELAXED)
    #define unpool_store(place, number) __atomic_store_n((place), (number), __ATOMIC_RELAXED)
    #elif defined(_MSC_VER)
    #include <intrin.h>
    #define unpool_take(next, count) _InterlockedExchangeAdd64((next), (count))
    #define unpool_read(place) (*(volatile long long *)(place))
    #define unpool_store(place, number) (*(volatile long long *)(place) = (number))
    #else
    #error this compiler has no atomic addition that unpool knows
    #endif
    /* Cython's own `parallel` takes the GIL before each region, also in a thread that must not wait for it. */
    static void unpool_run_team(int threads, void (*work)(const void *, int), const void *job) {
    #ifdef _OPENMP
        #pragma omp parallel num_threads(threads)
        work(job, omp_get_thread_num());
    #else
        (void)threads;
        work(job, 0);
    #endif
    }
    """
    double now "unpool_now"() noexcept nogil
    int omp_get_num_procs() noexcept nogil
    void run_team "unpool_run_team"(int, void (*)(const void *, int) noexcept nogil, const void *) noexcept nogil
    int64_t take_from "unpool_take"(int64_t *, int64_t) noexcept nogil
    # For numbers that one thread stores while others read them.
    int64_t read_from "unpool_read"(int64_t *) noexcept nogil
    void store_in "unpool_store"(int64_t *, int64_t) noexcept nogil
    int PyErr_CheckSignals() noexcept
    unsigned long PyThread_get_thread_ident() noexcept


cdef extern from "denormals.h" nogil:
    uint64_t keep_denormals "unpool_keep_denormals"() noexcept
    void restore_fp_mode "unpool_restore_fp_mode"(uint64_t) noexcept


cdef extern from "start.h" nogil:
    int startable_team "unpool_startable_team"(int) noexcept


cdef enum:
    # Milliseconds that threads may wait for the last thread: the time of several chunks.
    PATIENCE = 2
    # Milliseconds that the back-off lasts: at first, and at most.
    SHORTEST_PAUSE = 50
    LONGEST_PAUSE = 1600
    # Milliseconds between two checks for signals.
    SIGNAL_INTERVAL = 100


cdef struct Backoff:
    # The number of threads left out; the time of its last change, in milliseconds; 1 if a thread returned then.
    int64_t left_out
    int64_t since
    int64_t returned
    int64_t pause


cdef Backoff backoff = Backoff(0, 0, 0, SHORTEST_PAUSE)


cdef int allowed_threads(const Job *job) noexcept nogil:
    """Return the most threads that a call may use now."""
    if forked:
        return 1
    return job.most_threads if job.most_threads else team(omp_get_max_threads())


cdef int team(int threads) noexcept nogil:
    """Return how many of these threads to use now.  Callers may race: results do not depend on this number."""
    # Read once: of two callers that change it, each stores a number that is right.
    cdef int64_t left_out = read_from(&backoff.left_out)
    if left_out <= 0 or threads > omp_get_num_procs():  # with more threads than cores, waiting is normal
        return threads
    if now() - read_from(&backoff.since) >= read_from(&backoff.pause):
        left_out -= 1
        change(left_out, True)
    return max(1, threads - <int> left_out)


cdef void change(int64_t left_out, bint returned) noexcept nogil:
    """Leave out so many threads from now on."""
    store_in(&backoff.left_out, left_out)
    store_in(&backoff.returned, returned)
    store_in(&backoff.since, <int64_t> now())


# Python runs signal handlers in this thread only.
cdef unsigned long main_thread = threading.main_thread().ident


cdef void join_in(Job *job, Share *share) noexcept:
    """Give a call of Python the state that its threads share.  A short call does not check for signals."""
    share_out(job, share)
    share.watched = job.long and PyThread_get_thread_ident() == main_thread


cdef void share_out(Job *job, Share *share) noexcept nogil:
    share.watched = share.stop = False
    share.checked = 0
    job.share = share


# --- the task loop ----------------------------------------------------------------------------------------------------


cdef void run(const Job *job) noexcept nogil:
    """Run a call: first by blocks, if it can be, then the remaining strips by cells."""
    if job.in_blocks:
        run_round(job, False)
    if job.operation != POOL and not job.share.stop and any_strayed(job, 0, job.strips):
        run_round(job, True)


cdef void run_round(const Job *job, bint by_cells) noexcept nogil:
    """Run all tasks of one kind: parts of strips by blocks, or ranges of strips by cells."""
    cdef Share *share = job.share
    share.by_cells = by_cells
    share.tasks = job.strips * (job.ranges if by_cells else job.parts)
    share.next = share.finished = 0
    share.began = now() if job.threads > 1 else 0
    if job.threads == 1:
        run_tasks(job, 0)
    else:
        run_team(job.threads, &run_tasks, job)
        if not job.most_threads:
            back_off(job)


cdef void run_tasks(const void *call, int thread) noexcept nogil:
    """Run one thread's tasks: take chunks of them until none are left."""
    cdef const Job *job = <const Job *> call
    cdef uint64_t mode = keep_denormals()
    cdef Chunk chunk = next_chunk(job, thread)
    while chunk.first < chunk.end:
        do_chunk(job, &chunk)
        chunk = next_chunk(job, thread)
    restore_fp_mode(mode)
    if job.threads > 1 and take_from(&job.share.finished, 1) == 0:
        job.share.first_finished = now()


cdef inline Chunk next_chunk(const Job *job, int thread) noexcept nogil:
    """Take the next `job.chunk` tasks: none if none are left or the call is stopped."""
    cdef Py_ssize_t tasks = job.share.tasks
    cdef Py_ssize_t first = tasks if stopped(job, thread) else take_from(&job.share.next, job.chunk)
    return Chunk(first, min(first + job.chunk, tasks), thread)


cdef void back_off(const Job *job) noexcept nogil:
    """Use one thread less in the next calls if the first thread that finished waited too long for the last."""
    cdef double end = now()
    cdef double wait = end - job.share.first_finished
    cdef int64_t pause
    if wait <= PATIENCE or 4 * wait <= end - job.share.began or job.threads > omp_get_num_procs():
        return
    if read_from(&backoff.returned):
        # The thread came back too soon, unless it came back long ago.
        pause = read_from(&backoff.pause)
        pause = min(2 * pause, LONGEST_PAUSE) if end - read_from(&backoff.since) < pause else SHORTEST_PAUSE
        store_in(&backoff.pause, pause)
    change(min(read_from(&backoff.left_out), job.threads - 2) + 1, False)


# --- signals ----------------------------------------------------------------------------------------------------------


cdef inline bint stopped(const Job *job, int thread) noexcept nogil:
    """Return True if the call must end because a signal's handler raised an exception."""
    if thread == 0 and job.share.watched:
        check_signals(job.share)
    return read_from(&job.share.stop) != 0


cdef void check_signals(Share *share) noexcept nogil:
    cdef double time = now()
    if share.checked == 0:
        share.checked = time
    if time - share.checked >= SIGNAL_INTERVAL:
        share.checked = time
        with gil:
            if not share.stop and PyErr_CheckSignals() != 0:
                store_in(&share.stop, True)


cdef int raise_if_stopped(const Job *job) except -1:
    """Raise the exception of a signal's handler, which is still set."""
    return -1 if job.share.stop else 0
