/* A stranger's program: it calls the kernels by unpool.h.  `main_of` returns the line of the first failure, or 0. */
#include <pthread.h>
#include <string.h>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "unpool.h"

#define CHECK(right) \
    if (!(right)) return __LINE__

static const unpool_call_1 HALVES = {
    .operation = UNPOOL_POOL, .kernel = {1, 2, 2}, .stride = {1, 2, 2}, .dilation = {1, 1, 1}, .pooled = {1, 1, 2},
    .plane = {1, 2, 4}, .channels = 1, .duplicates = UNPOOL_LAST, .check = UNPOOL_IN_PLANE,
};

int main_of(unpool_run_1 run) {
    float plane[16] = {1, 5, 2, 0, 3, 4, 7, 6, 0, 0, 9, 8, -1, -2, 0, 0}, values[4], written[16], taken[4];
    int32_t indices[4];
    const unpool_arrays_1 pooling = {2, UNPOOL_FLOAT32, 4, values, indices, plane};
    const unpool_arrays_1 writing = {2, UNPOOL_FLOAT32, 4, values, indices, written};
    const unpool_arrays_1 taking = {2, UNPOOL_FLOAT32, 4, taken, indices, written};
    unpool_call_1 call = HALVES;
    unpool_found_1 found;

    CHECK(sizeof call == 24 * sizeof(int64_t) && sizeof found == 2 * sizeof(int64_t));
    CHECK(run(&call, &pooling, &found) == UNPOOL_DONE);
    CHECK(values[0] == 5 && values[1] == 7 && values[2] == 0 && values[3] == 9);
    CHECK(indices[0] == 1 && indices[1] == 6 && indices[2] == 0 && indices[3] == 2);

    call.operation = UNPOOL_SCATTER;
    memset(written, 1, sizeof written);
    CHECK(run(&call, &writing, &found) == UNPOOL_DONE && found.bad == -1 && found.repeated == -1);
    CHECK(written[1] == 5 && written[6] == 7 && written[10] == 9 && written[0] == 0 && written[15] == 0);
    call.operation = UNPOOL_GATHER;
    CHECK(run(&call, &taking, &found) == UNPOOL_DONE && memcmp(taken, values, sizeof taken) == 0);

    indices[1] = 8, indices[3] = -1;
    call.operation = UNPOOL_SCATTER;
    CHECK(run(&call, &writing, &found) == UNPOOL_FOUND && found.bad == 1 && found.repeated == -1);
    call.check = UNPOOL_DROP;
    CHECK(run(&call, &writing, &found) == UNPOOL_DONE && written[1] == 5 && written[6] == 0 && written[10] == 0);
    call.operation = UNPOOL_GATHER;
    CHECK(run(&call, &taking, &found) == UNPOOL_DONE && taken[0] == 5 && taken[1] == 0 && taken[3] == 0);
    indices[1] = 1, indices[3] = 7;
    call.operation = UNPOOL_SCATTER, call.duplicates = UNPOOL_ERROR;
    CHECK(run(&call, &writing, &found) == UNPOOL_FOUND && found.bad == -1 && found.repeated == 1);
    indices[1] = 0, call.duplicates = UNPOOL_LAST, call.check = UNPOOL_IN_WINDOW;
    CHECK(run(&call, &writing, &found) == UNPOOL_FOUND && found.bad == 1);
    return 0;
}

/* Pool denormals in a thread that reads them as zero, as XLA's threads do; its mode stays as it is. */
int main_of_denormals(unpool_run_1 run) {
#if defined(__SSE2__)
    float plane[8] = {1e-45f, -1e-45f, -1e-45f, 3e-45f, 0, -1e-45f, 1e-45f, 0}, values[2], sums[8];
    int32_t indices[2] = {7, 7};
    const unpool_arrays_1 pooling = {1, UNPOOL_FLOAT32, 4, values, indices, plane};
    const unpool_arrays_1 adding = {1, UNPOOL_FLOAT32, 4, values, indices, sums};
    unpool_call_1 call = HALVES;
    unpool_found_1 found;
    const unsigned mode = _mm_getcsr(), flushing = mode | 0x8040u;
    int done, added, kept;
    _mm_setcsr(flushing);
    done = run(&call, &pooling, &found);
    indices[0] = indices[1];
    call.operation = UNPOOL_SCATTER, call.duplicates = UNPOOL_SUM;
    added = run(&call, &adding, &found);
    kept = _mm_getcsr() == flushing;
    _mm_setcsr(mode);
    CHECK(done == UNPOOL_DONE && added == UNPOOL_DONE && kept);
    CHECK(values[0] == 1e-45f && values[1] == 3e-45f && indices[1] == 3 && sums[3] == values[0] + values[1]);
#else
    (void)run;
#endif
    return 0;
}

typedef struct {
    unpool_run_1 run;
    const unpool_call_1 *call;
    const unpool_arrays_1 *arrays;
    unpool_found_1 found;
    int status;
} Task;

static void *work(void *given) {
    Task *task = given;
    task->status = task->run(task->call, task->arrays, &task->found);
    return NULL;
}

/* Call in a thread that Python does not know, and wait for it: for ever if it needs a lock of this thread's. */
int run_elsewhere(unpool_run_1 run, const unpool_call_1 *call, const unpool_arrays_1 *arrays) {
    Task task = {run, call, arrays, {0, 0}, -1};
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, &task)) return -1;
    pthread_join(thread, NULL);
    return task.status;
}
