"""The stand-in for CuPy runs threads in a chosen order between barriers, and detects deadlocks."""

import numpy as np
import pytest
from stand_in import ORDERS, THREADS, failing, require_compiler

require_compiler()

KERNELS = r"""
// --- barriers

extern "C" __global__ void backwards(int* to) {
    extern __shared__ int own[];
    own[threadIdx.x] = threadIdx.x;
    __syncthreads();
    to[blockIdx.x * blockDim.x + threadIdx.x] = own[blockDim.x - 1 - threadIdx.x];
}
extern "C" __global__ void without_barrier(int* to) {
    extern __shared__ int own[];
    own[threadIdx.x] = threadIdx.x;
    to[threadIdx.x] = own[blockDim.x - 1 - threadIdx.x];
}
extern "C" __global__ void rounds(int* to) {  // thread i returns after i + 1 rounds, and the others continue
    extern __shared__ int present[];
    if (threadIdx.x == 0)
        present[0] = 0;
    __syncthreads();
    for (unsigned round = 0; round <= threadIdx.x; ++round) {
        atomicAdd(present, 1);
        __syncthreads();
        to[threadIdx.x] = present[0];
        __syncthreads();
        if (round == threadIdx.x)
            return;
    }
}
extern "C" __global__ void diverge(int* to) {
    if (threadIdx.x % 2)
        __syncthreads();
    else
        __syncthreads_or(1);
    *to = 0;
}
extern "C" __global__ void vote(int* to, int who) {
    const int none = __syncthreads_or(0);
    const int some = __syncthreads_or((int)threadIdx.x == who ? 2 : 0);
    to[threadIdx.x] = 10 * (none != 0) + (some != 0);
}
extern "C" __global__ void vote_of_the_living(int* to) {
    if (threadIdx.x == 0)
        return;
    to[threadIdx.x] = __syncthreads_or(threadIdx.x == 0);
}
extern "C" __global__ void warps(int* to) {  // warp i makes i + 1 rounds; then half of each warp synchronises alone
    extern __shared__ int own[];
    for (unsigned round = 0; round <= threadIdx.x / 32; ++round) {
        own[threadIdx.x] = round;
        __syncwarp();
        to[threadIdx.x] = own[threadIdx.x / 32 * 32 + 31 - threadIdx.x % 32];
        __syncwarp(0xffffffff);
    }
    if (threadIdx.x % 32 < 16)
        __syncwarp(0x0000ffff);
}
extern "C" __global__ void forgotten_warp() {
    if (threadIdx.x == 7)
        __syncthreads();
    else
        __syncwarp();
}
extern "C" __global__ void outside_of_mask() { __syncwarp(1); }

// --- order

extern "C" __global__ void record(int* log, int* count) {
    log[atomicAdd(count, 1)] = blockIdx.x * blockDim.x + threadIdx.x;
    __syncthreads();
    log[atomicAdd(count, 1)] = blockIdx.x * blockDim.x + threadIdx.x;
}
extern "C" __global__ void last_one(int* to) { *to = blockIdx.x * blockDim.x + threadIdx.x; }
extern "C" __global__ void count_badly(int* to) { *to = *to + 1; }
extern "C" __global__ void count(int* to) { atomicAdd(to, 1); }
extern "C" __global__ void spin(volatile int* flag) { while (*flag == 0) {} }
extern "C" __global__ void meet(int* to) { while (__syncthreads_or(1)) {} *to = 1; }

// --- functions

extern "C" __global__ void atomics(int* i, unsigned* u, long long* l, unsigned long long* w) {
    i[4] = atomicMin(i, -5); i[5] = atomicMax(i + 1, 5); i[6] = atomicOr(i + 2, 5); i[7] = atomicAdd(i + 3, 2147483647);
    u[4] = atomicMin(u, 5u); u[5] = atomicMax(u + 1, ~0u); u[6] = atomicOr(u + 2, 5u); u[7] = atomicAdd(u + 3, ~0u);
    l[4] = atomicMin(l, -5ll); l[5] = atomicMax(l + 1, 1ll << 40);
    w[4] = atomicMin(w, 5ull); w[5] = atomicMax(w + 1, ~0ull); w[6] = atomicOr(w + 2, 1ull << 40);
    w[7] = atomicAdd(w + 3, ~0ull);
}
extern "C" __global__ void multiply(const unsigned long long* from, unsigned long long* to) {
    to[0] = __umul64hi(from[0], from[1]);
    to[1] = __umulhi((unsigned)from[0], (unsigned)from[1]);
    to[2] = __float_as_uint(-0.0f);
    to[3] = __uint_as_float(0x7f800000u) > 1e38f;
}
"""

# --- barriers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 33, 256, 1024])
def test_all_threads_of_a_block_meet_at_a_barrier(cupy, function, order, threads):
    to = cupy.empty(3 * threads, np.int32)
    function("backwards")((3,), (threads,), (to,), shared_mem=4 * threads)
    assert to.get().tolist() == 3 * list(reversed(range(threads)))


def test_a_missing_barrier_is_seen(cupy, function, order):
    to = cupy.empty(THREADS, np.int32)
    function("without_barrier")((1,), (THREADS,), (to,), shared_mem=4 * THREADS)
    assert to.get().tolist() != list(reversed(range(THREADS)))


def test_threads_that_left_are_not_waited_for(cupy, function, order):
    to = cupy.empty(8, np.int32)
    function("rounds")((1,), (8,), (to,), shared_mem=4)
    assert to.get().tolist() == np.cumsum(range(8, 0, -1)).tolist()


def test_threads_at_different_barriers_are_refused(cupy, function, order):
    failing(lambda: function("diverge")((1,), (4,), (cupy.empty((), np.int32),)), "diverge", "waits at the barrier on")
    function("diverge")((1,), (1,), (cupy.empty((), np.int32),))


@pytest.mark.parametrize(("who", "expected"), [(-1, 0), (0, 1), (17, 1), (255, 1)])
def test_a_vote_is_the_or_over_the_block(cupy, function, order, who, expected):
    to = cupy.empty(THREADS, np.int32)
    function("vote")((1,), (THREADS,), (to, np.int32(who)))
    assert to.get().tolist() == [expected] * THREADS


def test_threads_that_left_have_no_vote(cupy, function, order):
    to = cupy.empty(THREADS, np.int32)
    function("vote_of_the_living")((1,), (THREADS,), (to,))
    assert to.get().tolist()[1:] == [0] * (THREADS - 1)


def test_warps_meet_by_themselves(cupy, function, order):
    to = cupy.empty(128, np.int32)
    function("warps")((1,), (128,), (to,), shared_mem=512)
    assert to.get().tolist() == [thread // 32 for thread in range(128)]


def test_a_warp_that_waits_in_vain_is_refused(function, order):
    failing(lambda: function("forgotten_warp")((1,), (32,), ()), "in vain")
    failing(lambda: function("outside_of_mask")((1,), (2,), ()), "mask")
    function("outside_of_mask")((1,), (1,), ())


# --- order ------------------------------------------------------------------------------------------------------------


def recorded(cupy, function):
    log, count = cupy.empty(24, np.int32), cupy.zeros((), np.int32)
    function("record")((3,), (4,), (log, count))
    return log.get().tolist()


def test_threads_and_blocks_run_in_the_order_that_was_chosen(cupy, function, knobs):
    knobs(order="ascending")
    assert recorded(cupy, function) == [*range(4), *range(4), *range(4, 8), *range(4, 8), *range(8, 12), *range(8, 12)]
    knobs(order="descending")
    descending = recorded(cupy, function)
    assert descending == [*range(11, 7, -1)] * 2 + [*range(7, 3, -1)] * 2 + [*range(3, -1, -1)] * 2
    knobs(order="shuffled", seed=5)
    shuffled = [recorded(cupy, function) for _ in range(10)]
    assert len({tuple(log) for log in shuffled}) == 10
    for log in shuffled:
        assert sorted(log) == sorted(descending)
        for block in range(0, 24, 8):  # blocks run one after the other, and so do the parts between barriers
            assert sorted(log[block : block + 4]) == sorted(log[block + 4 : block + 8])
            assert len({thread // 4 for thread in log[block : block + 8]}) == 1
    knobs(seed=5)
    assert recorded(cupy, function) == shuffled[0]


def test_a_race_ends_in_three_ways(cupy, function, knobs):
    knobs(order="rotating")
    to, ends, orders = cupy.empty((), np.int32), [], []
    for _ in range(6):
        function("last_one")((4,), (64,), (to,))
        ends.append(to.item())
        orders.append(cupy.cuda_on_cpu.launches[-1].order)
        for _ in range(2):  # each kernel has a rotation of its own
            function("count")((1,), (1,), (to,))
    assert sorted(orders) == sorted(2 * ORDERS)
    assert orders[:3] == orders[3:]
    assert len(set(ends[:3])) == 3


def test_shuffled_threads_come_between_a_read_and_a_write(cupy, function, order):
    to = cupy.zeros((), np.int32)
    function("count")((4,), (THREADS,), (to,))
    assert to.item() == 4 * THREADS
    to.fill(0)
    function("count_badly")((4,), (THREADS,), (to,))
    assert (to.item() < 4 * THREADS) == (order == "shuffled")


def test_what_does_not_end_is_ended(cupy, function, knobs, order):
    knobs(patience=10_000)
    failing(lambda: function("spin")((1,), (2,), (cupy.zeros((), np.int32),)), "does not end")
    failing(lambda: function("meet")((1,), (2,), (cupy.zeros((), np.int32),)), "does not end")


# --- functions --------------------------------------------------------------------------------------------------------


def test_atomic_functions_change_memory_and_return_what_was_there(cupy, function):
    start = [0, 0, 2, 1, 9, 9, 9, 9]
    arrays = [cupy.asarray(np.array(start, dtype)) for dtype in (np.int32, np.uint32, np.int64, np.uint64)]
    function("atomics")((1,), (1,), tuple(arrays))
    assert [array.get().tolist() for array in arrays] == [
        [-5, 5, 7, -(2**31), 0, 0, 2, 1],
        [0, 2**32 - 1, 7, 0, 0, 0, 2, 1],
        [-5, 2**40, 2, 1, 0, 0, 9, 9],
        [0, 2**64 - 1, 2 + 2**40, 0, 0, 0, 2, 1],
    ]


def test_the_upper_halves_of_products(cupy, function):
    a, b = 0xFEDCBA9876543210, 0xF123456789ABCDEF
    result = cupy.empty(4, np.uint64)
    function("multiply")((1,), (1,), (cupy.asarray(np.array([a, b], np.uint64)), result))
    expected = [a * b >> 64, (a % 2**32) * (b % 2**32) >> 32, 0x80000000, 1]
    assert result.get().tolist() == expected
