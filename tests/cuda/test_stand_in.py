"""The stand-in for CuPy (`cuda_on_cpu`) keeps its promises: what it lets pass is right, and what is wrong it sees."""

from __future__ import annotations

import inspect
import json
import operator
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from compare import assert_same_bits
from needs import promised
from tree import ROOT

FOLDER = ROOT / "tests" / "support" / "cuda_on_cpu"
ORDERS = ("ascending", "descending", "shuffled")
THREADS = 256

if sys.platform != "linux" or not shutil.which(os.environ.get("CXX", "g++")):
    pytest.skip("the stand-in for CuPy is built by g++, on Linux", allow_module_level=True)


@pytest.fixture(scope="module")
def cupy():
    """The stand-in, whatever package of that name the other tests have."""
    loaded = sys.modules.get("cupy")
    if hasattr(loaded, "cuda_on_cpu"):
        yield loaded
        return
    real = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "cupy"}
    sys.path.insert(0, str(FOLDER))
    try:
        yield import_module("cupy")
    finally:
        sys.path.remove(str(FOLDER))
        for name in [name for name in sys.modules if name.partition(".")[0] == "cupy"]:
            del sys.modules[name]
        sys.modules.update(real)


@pytest.fixture
def knobs(cupy, monkeypatch):
    """Set the stand-in's knobs, until the test is over."""
    monkeypatch.setattr(cupy.cuda_on_cpu, "seed", 0)

    def turn(**values):
        for name, value in values.items():
            monkeypatch.setattr(cupy.cuda_on_cpu, name, value)

    return turn


@pytest.fixture(params=ORDERS)
def order(request, knobs):
    knobs(order=request.param)
    return request.param


@pytest.fixture(scope="module")
def function(cupy):
    """Return a kernel, of a source of its own or of KERNELS."""
    modules = {}

    def function(name, source=None, options=()):
        source = source or KERNELS
        if (source, options) not in modules:
            modules[source, options] = cupy.RawModule(code=source, options=options)
        return modules[source, options].get_function(name)

    return function


KERNELS = r"""
extern "C" __global__ void __launch_bounds__(256) twice(const float* __restrict__ from, float* to, unsigned count) {
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
        to[i] = 2 * from[i];
}

// --- parameters

struct alignas(16) Wide { unsigned long long low, high; };
struct Odd { unsigned a, b, c; };
extern "C" __global__ void take_bool(long long* to, bool value) { *to = value; }
extern "C" __global__ void take_short(long long* to, short value) { *to = value; }
extern "C" __global__ void take_int(long long* to, int value) { *to = value; }
extern "C" __global__ void take_long(long long* to, long long value) { *to = value; }
extern "C" __global__ void take_float(long long* to, float value) { *to = (long long)(2 * value); }
extern "C" __global__ void take_double(long long* to, double value) { *to = (long long)(2 * value); }
extern "C" __global__ void take_pointer(long long* to, const int* value) { *to = value ? *value : -1; }
extern "C" __global__ void take_structs(long long* to, Odd odd, Wide wide, bool last) {
    *to = odd.a + 10 * odd.b + 100 * odd.c + 1000 * wide.low + 10000 * wide.high + 100000 * last;
}

// --- memory

extern "C" __global__ void write_int(int* to, long long at) { to[at] = 1; }
extern "C" __global__ void read_int(int* to, const int* from, long long at) { *to = from[at]; }
extern "C" __global__ void add_atomically(int* to, long long at) { atomicAdd(&to[at], 1); }
extern "C" __global__ void copy_bytes(char* to, const char* from, unsigned long long bytes) { memcpy(to, from, bytes); }
extern "C" __global__ void set_bytes(char* to, unsigned long long bytes) { memset(to, 0, bytes); }
extern "C" __global__ void write_wide(char* to) { *(uint4*)to = make_uint4(1, 2, 3, 4); }
extern "C" __global__ void store_wide(char* to) { __stcs((uint4*)to, make_uint4(1, 2, 3, 4)); }
extern "C" __global__ void load_wide(uint2* to, const char* from) { *to = __ldcs((const uint2*)from); }
extern "C" __global__ void read_half(int* to, const char* from) { *to = *(const short*)from; }

// --- undefined

extern "C" __global__ void overflow(int* to, int value) { *to = value + 1; }
extern "C" __global__ void shift(int* to, int value) { *to = 1 << value; }
extern "C" __global__ void divide(int* to, int value) { *to = 1 / value; }
extern "C" __global__ void index_local(int* to, int value) { int local[4] = {1, 2, 3, 4}; *to = local[value]; }
extern "C" __global__ void unset(int* to, int value) { int local; if (value == 1) local = 5; *to = local; }

// --- shared memory

extern __shared__ uint4 stage[];
extern "C" __global__ void write_stage(int* to, unsigned at) { ((char*)stage)[at] = 1; *to = 1; }
extern "C" __global__ void read_stage(int* to, unsigned at) { *to = ((const char*)stage)[at]; }
extern "C" __global__ void place_of_stage(unsigned long long* to) { *to = (unsigned long long)stage; }
extern "C" __global__ void leave_behind(unsigned* found) {
    extern __shared__ unsigned own[];
    __shared__ unsigned fixed[4];
    found[2 * blockIdx.x] = own[0];
    found[2 * blockIdx.x + 1] = fixed[3];
    own[0] = fixed[3] = 12345;
}

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
extern "C" __global__ void rounds(int* to) {  // thread i leaves after i rounds; the others go on without it
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
extern "C" __global__ void warps(int* to) {  // each warp goes through its own number of rounds, and half of one alone
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


def failing(call, *parts):
    with pytest.raises(RuntimeError) as caught:
        call()
    assert type(caught.value).__name__ == "KernelError"
    for part in parts:
        assert part in str(caught.value)


# --- launches ---------------------------------------------------------------------------------------------------------


def test_a_kernel_runs(cupy, function, order):
    values = np.arange(1000, dtype=np.float32)
    result = cupy.empty(1000, np.float32)
    function("twice")((2,), (THREADS,), (cupy.asarray(values), result, np.uint32(1000)))
    assert_same_bits(result.get(), 2 * values)


def test_a_grid_and_a_block_have_three_dimensions(cupy, function):
    source = """extern "C" __global__ void places(unsigned* to) {
        const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
        const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
        to[block * blockDim.x * blockDim.y * blockDim.z + thread] += 1;
    }"""
    result = cupy.zeros(2 * 3 * 4 * 3 * 4 * 2, np.uint32)
    function("places", source)((2, 3, 4), (3, 4, 2), (result,))
    assert result.get().tolist() == [1] * result.size


def test_a_launch_is_recorded(cupy, function, knobs):
    knobs(order="shuffled", seed=3)
    to = cupy.empty(4, np.int32)
    with cupy.cuda.Stream(non_blocking=True) as stream:
        function("last_one")((2,), (4, 2), (to,), shared_mem=8)
    launch = cupy.cuda_on_cpu.launches[-1]
    assert launch == ("last_one", (2, 1, 1), (4, 2, 1), 8, 0, stream.ptr, "shuffled", 3)
    assert cupy.cuda_on_cpu.seed == 4


def test_an_empty_grid_is_one_block(cupy, function):
    to = cupy.full(1, -1, np.int32)
    function("last_one")((0,), (0,), (to,))
    assert to.item() == 0


@pytest.mark.parametrize(
    ("grid", "block"), [((2**31,), (1,)), ((1, 2**16), (1,)), ((1,), (1025,)), ((1,), (1, 1, 65)), ((1,), (32, 33))]
)
def test_a_launch_has_limits(cupy, function, grid, block):
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match="INVALID_VALUE"):
        function("last_one")(grid, block, (cupy.empty(1, np.int32),))


def test_a_block_is_within_its_launch_bounds(cupy, function):
    array = cupy.zeros(1, np.float32)
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match="OUT_OF_RESOURCES"):
        function("twice")((1,), (257,), (array, array, np.uint32(1)))
    source = """#define MOST(n) __launch_bounds__(2 * (n), 1)
        extern "C" __global__ MOST(8) void first() {}
        extern "C" __global__ void MOST(16) second() {}"""
    for name, most in (("first", 16), ("second", 32)):
        function(name, source)((1,), (most,), ())
        with pytest.raises(cupy.cuda.driver.CUDADriverError):
            function(name, source)((1,), (most + 1,), ())


@pytest.mark.parametrize(("grid", "block"), [([1], (1,)), ((1,), 1), (1, (1,))])
def test_a_grid_and_a_block_are_tuples(function, grid, block):
    with pytest.raises(TypeError, match="tuple"):
        function("outside_of_mask")(grid, block, ())


# --- parameters -------------------------------------------------------------------------------------------------------

WIDE = np.dtype({"names": ["low", "high"], "formats": ["u8", "u8"], "itemsize": 16})
ODD = np.dtype([("a", "u4"), ("b", "u4"), ("c", "u4")])


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("bool", True, 1),
        ("bool", np.bool_(True), 1),
        ("short", np.int16(-3), -3),
        ("int", np.int32(-3), -3),
        ("int", np.array([7], np.int32), 7),
        ("long", -3, -3),
        ("long", 2**63, -(2**63)),
        ("long", np.uint64(5), 5),
        ("float", np.float32(1.5), 3),
        ("double", 1.5, 3),
        ("double", np.float64(1.5), 3),
        ("pointer", None, -1),
        ("pointer", np.uintp(0), -1),
    ],
    ids=repr,
)
def test_an_argument_is_passed_as_cupy_does(cupy, function, name, value, expected):
    to = cupy.empty((), np.int64)
    function(f"take_{name}")((1,), (1,), (to, value))
    assert to.item() == expected


def test_arrays_and_their_memory_are_passed_as_pointers(cupy, function):
    to, values = cupy.empty((), np.int64), cupy.arange(10, dtype=np.int32)
    for pointer in (values[3:], values.data + 12, np.uint64(values.data.ptr + 12)):
        to.fill(0)
        function("take_pointer")((1,), (1,), (to, pointer))
        assert to.item() == 3


def test_structures_are_passed_by_value(cupy, function):
    to = cupy.empty((), np.int64)
    odd, wide = np.array((1, 2, 3), ODD), np.array([(4, 5)], WIDE)
    function("take_structs")((1,), (1,), (to, odd, wide, True))
    assert to.item() == 154321


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("int", 3),
        ("long", np.int32(3)),
        ("float", 1.5),
        ("bool", 1),
        ("long", True),
        ("pointer", np.float32(1)),
        ("long", np.zeros(2, np.int32)),
        ("long", "abcdefgh"),
        ("long", b"abcdefgh"),
        ("long", [1]),
    ],
    ids=repr,
)
def test_an_argument_of_another_size_is_refused(cupy, function, name, value):
    to = cupy.full((), 7, np.int64)
    with pytest.raises(TypeError, match=r"bytes|Unsupported|size one"):
        function(f"take_{name}")((1,), (1,), (to, value))
    assert to.item() == 7


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_arguments_is_refused(cupy, function, count):
    arguments = (cupy.empty((), np.int64), 1, 1)[:count]
    with pytest.raises(TypeError, match=f"take_long takes 2 arguments, and {count} were passed"):
        function("take_long")((1,), (1,), arguments)


# --- sources ----------------------------------------------------------------------------------------------------------

OPTIONAL = """
#ifndef VALUE
#define VALUE 1
#endif
#if VALUE > 1
extern "C" __global__ void large(int* to) { *to = VALUE; }
#else
extern "C" __global__ void small(int* to) { *to = VALUE; }
#endif
"""


def test_options_define_macros_and_decide_which_kernels_there_are(cupy, function):
    to = cupy.empty((), np.int32)
    function("small", OPTIONAL)((1,), (1,), (to,))
    assert to.item() == 1
    options = ("-arch=sm_90", "-DVALUE=5", "-ftz=true", "--std=c++14")
    function("large", OPTIONAL, options)((1,), (1,), (to,))
    assert to.item() == 5
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match="NOT_FOUND"):
        function("small", OPTIONAL, options)


def test_options_are_a_tuple(cupy):
    with pytest.raises(TypeError, match="tuple"):
        cupy.RawModule(code=OPTIONAL, options=["-DVALUE=5"])


@pytest.mark.parametrize(
    "source",
    [
        'extern "C" __global__ void wrong(int* to) { *to = missing; }',
        '#include <stdint.h>\nextern "C" __global__ void wrong(int* to) { *to = 1; }',
        'extern "C" __global__ void wrong(uint32_t* to) { *to = 1; }',
        'extern "C" __global__ void wrong(int* to) { threadIdx.x = 1; }',
        'extern "C" __global__ void wrong(long long* to) { atomicAdd(to, 1ll); }',
    ],
)
def test_what_does_not_compile_says_so(cupy, source):
    module = cupy.RawModule(code=source)
    with pytest.raises(cupy.cuda.compiler.CompileException, match="error"):
        module.get_function("wrong")


def test_a_source_looks_as_if_no_cuda_compiler_had_it(cupy, function):
    source = """
        #if defined(__CUDACC__) || defined(__CUDA_ARCH__)
        #error "neither"
        #endif
        extern "C" __global__ void fine() {}"""
    function("fine", source)((1,), (1,), ())


def test_processes_share_what_is_built(tmp_path):
    program = """if True:
        import cupy
        to = cupy.empty((), cupy.int32)
        code = 'extern "C" __global__ void set(int* to) { *to = 5; }'
        cupy.RawModule(code=code).get_function("set")((1,), (1,), (to,))
        assert to.item() == 5
        """
    environment = os.environ | {
        "PYTHONPATH": f"{FOLDER}{os.pathsep}{FOLDER.parent}",
        "UNPOOL_TEST_CACHE": str(tmp_path),
    }
    for _ in range(2):
        processes = [subprocess.Popen([sys.executable, "-c", program], env=environment) for _ in range(3)]
        assert [process.wait(60) for process in processes] == [0, 0, 0]
        built = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        assert [path.suffix for path in built] == [".so", ".so"]  # the machine, and the module
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == built


# --- memory -----------------------------------------------------------------------------------------------------------


def test_memory_is_aligned_as_cupy_aligns_it_and_no_more(cupy):
    for size in (1, 100, 5000, 3 << 20):
        assert cupy.empty(size, np.uint8).data.ptr % 1024 == 512
    assert cupy.empty(0).data.ptr == 0


def test_empty_memory_is_poisoned_each_time_with_something_else(cupy):
    seen = []
    for _ in range(4):
        array = cupy.empty(3000, np.uint8).get()
        assert np.all(array == array[0])
        seen.append(int(array[0]))
    assert 0 not in seen
    assert len(set(seen)) == 4


def test_memory_has_an_end(cupy):
    with pytest.raises(cupy.cuda.memory.OutOfMemoryError):
        cupy.empty(2**50, np.uint8)


@pytest.mark.parametrize("at", [-1, 10, 10_000, -10_000])
def test_what_is_outside_of_an_array_is_neither_read_nor_written(cupy, function, order, at):
    array, other = cupy.zeros(10, np.int32), cupy.zeros(10, np.int32)
    failing(lambda: function("write_int")((1,), (1,), (array, at)), "write_int: thread (0, 0, 0)", "write of 4 bytes")
    failing(lambda: function("read_int")((1,), (1,), (other, array, at)), "read of 4 bytes")
    failing(lambda: function("add_atomically")((1,), (1,), (array, at)), "write of 4 bytes")
    assert not array.any()
    assert not other.any()
    function("write_int")((1,), (1,), (array, 9))  # the machine is as good as new
    assert array.get().tolist() == [0] * 9 + [1]


def test_bytes_are_copied_and_set_within_arrays(cupy, function):
    array, other = cupy.arange(10, dtype=np.uint8), cupy.zeros(9, np.uint8)
    function("copy_bytes")((1,), (1,), (other, array, 9))
    function("set_bytes")((1,), (1,), (array, 5))
    assert other.get().tolist() == list(range(9))
    assert array.get().tolist() == [0] * 5 + [5, 6, 7, 8, 9]
    failing(lambda: function("copy_bytes")((1,), (1,), (other, array, 10)), "write of 10 bytes")
    failing(lambda: function("copy_bytes")((1,), (1,), (array, other, 10)), "read of 10 bytes")
    failing(lambda: function("set_bytes")((1,), (1,), (array, 11)), "write of 11 bytes")


def test_what_was_freed_is_not_used(cupy, function):
    pointer = np.uint64(cupy.zeros(10, np.int32).data.ptr)
    failing(lambda: function("write_int")((1,), (1,), (pointer, 0)), "where no memory is allocated")


@pytest.mark.parametrize("at", [0, 5])
def test_nothing_is_at_no_address(cupy, function, at):
    failing(lambda: function("write_int")((1,), (1,), (None, at)))
    failing(lambda: function("write_int")((1,), (1,), (cupy.empty(0, np.int32), at)))


def test_another_devices_memory_is_not_used(cupy, function):
    with cupy.cuda.Device(1):
        array = cupy.zeros(10, np.int32)
        function("write_int")((1,), (1,), (array, 3))
        assert cupy.cuda_on_cpu.launches[-1].device == 1
    failing(lambda: function("write_int")((1,), (1,), (array, 3)), "on device 1 by a kernel on device 0")


@pytest.mark.parametrize(("name", "size"), [("write_wide", 16), ("store_wide", 16), ("load_wide", 8), ("read_half", 2)])
def test_a_misaligned_access_is_refused(cupy, function, name, size):
    memory, result = cupy.zeros(64, np.uint8), cupy.zeros(2, np.uint32)
    for start in range(2 * size):
        arguments = (memory[start:],) if name.endswith(("te_wide", "re_wide")) else (result, memory[start:])
        if start % size:
            failing(lambda: function(name)((1,), (1,), arguments), "misaligned")  # noqa: B023
        else:
            function(name)((1,), (1,), arguments)


@pytest.mark.parametrize(
    ("name", "fine", "wrong", "why"),
    [
        ("overflow", 2**31 - 2, 2**31 - 1, "signed addition overflows"),
        ("shift", 30, 32, "shift"),
        ("divide", 1, 0, "division by zero"),
        ("index_local", 3, 4, "index out of bounds"),
    ],
)
def test_what_is_undefined_is_refused(cupy, function, name, fine, wrong, why):
    to = cupy.empty((), np.int32)
    function(name)((1,), (1,), (to, np.int32(fine)))
    failing(lambda: function(name)((1,), (1,), (to, np.int32(wrong))), "kernel.cu:", why)


def test_what_a_kernel_did_not_set_is_odd(cupy, function):
    to = cupy.empty((), np.int32)
    function("unset")((1,), (1,), (to, np.int32(1)))
    assert to.item() == 5
    function("unset")((1,), (1,), (to, np.int32(0)))
    assert to.item() == np.uint32(0xFEFEFEFE).view(np.int32)


# --- shared memory ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bytes", [1, 100, 48 << 10])
def test_dynamic_shared_memory_has_as_many_bytes_as_were_asked_for(cupy, function, bytes):
    to = cupy.zeros((), np.int32)
    function("write_stage")((1,), (1,), (to, np.uint32(bytes - 1)), shared_mem=bytes)
    assert to.item() == 1
    for name in ("write_stage", "read_stage"):
        failing(lambda: function(name)((1,), (1,), (to, np.uint32(bytes)), shared_mem=bytes), "bytes")  # noqa: B023
    failing(lambda: function("write_stage")((1,), (1,), (to, np.uint32(0))))


def test_dynamic_shared_memory_is_aligned_for_16_bytes_and_no_more(cupy, function):
    to = cupy.empty((), np.uint64)
    function("place_of_stage")((1,), (1,), (to,), shared_mem=64)
    assert to.item() % 32 == 16


def test_much_dynamic_shared_memory_is_to_be_asked_for(cupy, function, monkeypatch):
    to, at = cupy.empty((), np.int32), np.uint32(0)
    kernel = function("write_stage")
    assert kernel.max_dynamic_shared_size_bytes == 48 << 10
    with pytest.raises(cupy.cuda.driver.CUDADriverError):
        kernel((1,), (1,), (to, at), shared_mem=(48 << 10) + 1)
    kernel.max_dynamic_shared_size_bytes = 50_000
    kernel((1,), (1,), (to, at), shared_mem=50_000)
    with pytest.raises(cupy.cuda.driver.CUDADriverError):
        kernel((1,), (1,), (to, at), shared_mem=50_001)
    with cupy.cuda.Device(1):
        assert kernel.max_dynamic_shared_size_bytes == 48 << 10
    with pytest.raises(cupy.cuda.driver.CUDADriverError):
        kernel.max_dynamic_shared_size_bytes = (64 << 10) + 1
    monkeypatch.setitem(cupy.cuda_on_cpu.attributes, "MaxSharedMemoryPerBlockOptin", 100_000)
    kernel.max_dynamic_shared_size_bytes = 100_000
    kernel((1,), (1,), (to, at), shared_mem=100_000)


def test_shared_memory_is_poisoned_before_each_block(cupy, function, order):
    found = cupy.empty(8, np.uint32)
    function("leave_behind")((4,), (1,), (found,), shared_mem=4)
    found = found.get()
    assert not np.any((found == 12345) | (found == 0))
    assert len(set(found.tolist())) == 4


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
        for block in range(0, 24, 8):  # blocks follow each other, and so does what barriers part
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
        for _ in range(2):  # another kernel has a rotation of its own
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


# --- arrays -----------------------------------------------------------------------------------------------------------


def test_arrays_are_cupys_by_name(cupy):
    assert cupy.ndarray.__module__ == "cupy"
    assert not issubclass(cupy.ndarray, np.ndarray)


@pytest.mark.parametrize(
    "use",
    [
        np.asarray,
        np.array,
        np.zeros_like,
        operator.index,
        hash,
        lambda array: np.ones(3) + array,
        lambda array: array + np.ones(3),
        lambda array: array * np.ones(()),
        lambda array: array == np.ones(3),
        lambda array: np.add(array, np.ones(3)),
        lambda array: np.add(array, array, out=np.ones(3)),
        lambda array: np.add.reduce(array),
        lambda array: operator.add(array, [1, 2, 3]),
        lambda array: array + "a",
        lambda array: np.zeros(3).__setitem__(slice(None), array),
        lambda array: memoryview(array),
    ],
)
def test_numpy_does_not_get_hold_of_device_memory(cupy, use):
    with pytest.raises(TypeError):
        use(cupy.ones(3))


def test_comparisons_with_a_single_number_of_numpys_are_fine(cupy):
    array = cupy.arange(3)
    assert (array == np.array(1)).get().tolist() == [False, True, False]
    assert (np.float32(1) < array).get().tolist() == [False, False, True]


def test_what_cupy_does_not_have_is_not_there(cupy):
    array = cupy.ones(3)
    for name in ("ctypes", "__array_interface__", "__array_namespace__", "__index__", "tostring", "nonsense"):
        assert not hasattr(array, name)
    with pytest.raises(AttributeError):
        array.nonsense = 1
    with pytest.raises(AttributeError):
        cupy.nonsense  # noqa: B018


@pytest.mark.parametrize("dtype", ["U3", "S2", "O", "M8[s]", [("a", "i4")]], ids=str)
def test_dtypes_that_cupy_does_not_have_are_refused(cupy, dtype):
    with pytest.raises(ValueError, match="Unsupported dtype"):
        cupy.empty(3, dtype)
    with pytest.raises(ValueError, match="Unsupported dtype"):
        cupy.zeros(3).view(dtype)


def test_another_byte_order_is_for_views_alone(cupy):
    """As CuPy 14.2 has it: such an array is not made, but a view is not looked at."""
    with pytest.raises(ValueError, match="big-endian byte-order"):
        cupy.empty(3, ">i4")
    with pytest.raises(ValueError, match="big-endian byte-order"):
        cupy.zeros(3, "i4").astype(">i4")
    assert cupy.zeros(3, "i4").view(">i4").dtype == ">i4"
    assert cupy.ndarray((3,), ">i4", cupy.zeros(3, "i4").data).dtype == ">i4"


KEYS = [
    0,
    -1,
    np.int64(1),
    slice(None),
    slice(1, None),
    slice(None, None, -1),
    slice(3, 0, -2),
    ...,
    None,
    (0, 1),
    (0, 1, 2),
    (slice(None), -1),
    (..., 0),
    (..., slice(None, None, -1), None),
    (0, ..., 1),
    (slice(5, 5),),
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_a_part_of_an_array_is_a_view(cupy, key):
    host = np.arange(60, dtype=np.float32).reshape(4, 5, 3)
    array = cupy.asarray(host)
    view, expected = array[key], host[(*key, ...) if isinstance(key, tuple) and ... not in key else key]
    assert_same_bits(view.get(), np.asarray(expected))
    if expected.size:
        assert view.data.ptr - array.data.ptr == np.asarray(expected).ctypes.data - host.ctypes.data
        assert view.strides == np.asarray(expected).strides
        assert view.base is array
    assert cupy.may_share_memory(view, array) == bool(expected.size)
    array[key] = -1
    host[key] = -1
    assert_same_bits(array.get(), host)
    array[key] = cupy.zeros((), np.float64)
    host[key] = 0
    assert_same_bits(array.get(), host)


@pytest.mark.parametrize("key", [[0], True, np.bool_(True), np.array([0]), (slice(None), [1])], ids=str)
def test_an_array_is_not_indexed_by_arrays(cupy, key):
    with pytest.raises(NotImplementedError):
        cupy.zeros((3, 3))[key]


@pytest.mark.parametrize("key", [3, (0, 0, 0), (..., ...)], ids=str)
def test_an_index_out_of_bounds_is_refused(cupy, key):
    with pytest.raises(IndexError):
        cupy.zeros((3, 3))[key]


def test_only_numbers_and_arrays_are_assigned(cupy):
    array = cupy.zeros(3)
    array[0] = np.array(5)
    assert array.get().tolist() == [5, 0, 0]
    with pytest.raises(ValueError, match="non-scalar"):
        array[:] = np.zeros(3)
    with pytest.raises(TypeError, match="Unsupported type"):
        array[:] = [1, 2, 3]


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint64, np.float16, np.float32, np.complex128])
def test_arrays_come_and_go_unchanged(cupy, dtype):
    host = (np.arange(24).reshape(2, 3, 4) % 7).astype(dtype)
    for source in (host, host[::-1, :, ::2], host.T, np.asfortranarray(host), host[0, 0, 0], host[:0]):
        array = cupy.asarray(source)
        assert (array.shape, array.dtype, array.size) == (source.shape, source.dtype, source.size)
        assert (array.ndim, array.itemsize, array.nbytes) == (source.ndim, source.itemsize, source.nbytes)
        assert_same_bits(array.get(), np.asarray(source))
        assert_same_bits(cupy.asnumpy(array), np.asarray(source))
        assert cupy.asarray(array) is array
        assert cupy.ascontiguousarray(array).flags.c_contiguous
    assert cupy.asarray(host.astype(host.dtype.newbyteorder(">"))).dtype == dtype


def test_memory_order_is_kept_as_cupy_keeps_it(cupy):
    host = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    array = cupy.asarray(host)
    assert array.flags.c_contiguous
    assert array.flags["OWNDATA"]
    fortran = cupy.asarray(np.asfortranarray(host))
    assert fortran.flags.f_contiguous
    assert not fortran.flags.c_contiguous
    assert cupy.asarray(host.transpose(1, 0, 2)).flags.c_contiguous  # neither: C
    moved = array.transpose(1, 2, 0)
    assert not moved.flags["OWNDATA"]
    assert moved.astype(np.int32).strides == tuple(2 * stride for stride in moved.strides)
    assert moved.copy().flags.c_contiguous
    assert (moved + 1).strides == moved.strides
    assert_same_bits((moved + 1).get(), host.transpose(1, 2, 0) + np.int16(1))


def test_reshape_is_a_view_where_it_can_be(cupy):
    array = cupy.arange(24, dtype=np.int32)
    for shape in ((4, 6), ((4, -1),), ([2, 3, 4],)):
        view = array.reshape(*shape)
        assert view.data.ptr == array.data.ptr
        assert view.base is array
    turned = array.reshape(4, 6).T
    assert turned.reshape(24).base is None
    assert turned.reshape(24).get().tolist() == np.arange(24).reshape(4, 6).T.reshape(24).tolist()
    assert cupy.reshape(array, (3, 8)).shape == (3, 8)
    assert array.view(np.int64).shape == (12,)
    with pytest.raises(ValueError, match="reshape"):
        array.reshape(5)


def test_what_is_computed_stays_on_the_device(cupy):
    host = np.array([[3, -1, 7], [0, 5, 7]], np.int32)
    array = cupy.asarray(host)
    for compute in (
        lambda a: a + 1,
        lambda a: 2 - a,
        lambda a: a // 2 % 2,
        lambda a: -a,
        lambda a: a / a.astype(np.float32),
        lambda a: (a > 0) & (a <= 5),
        lambda a: a.argmax(),
        lambda a: a.any(axis=0),
        lambda a: (a > -2).all(),
        lambda a: a.max(axis=1, keepdims=True),
        lambda a: a.min(),
        lambda a: a.sum(),
    ):
        with np.errstate(all="ignore"):
            result = compute(array)
            assert type(result) is cupy.ndarray
            assert_same_bits(result.get(), np.asarray(compute(host)))
    array += 1
    assert type(array) is cupy.ndarray
    assert array.get().tolist() == (host + 1).tolist()


def test_arrays_are_made(cupy):
    assert cupy.zeros((2, 3)).get().tolist() == [[0, 0, 0], [0, 0, 0]]
    assert cupy.ones(3, np.int8).get().tolist() == [1, 1, 1]
    assert cupy.full((2,), 2.5).get().tolist() == [2.5, 2.5]
    assert cupy.arange(2, 8, 2).get().tolist() == [2, 4, 6]
    assert cupy.array([[1, 2]], np.float32).dtype == np.float32
    assert cupy.empty((2, 3), np.int8, order="F").flags.f_contiguous
    with pytest.raises(ValueError, match="Negative"):
        cupy.empty(-1)


def test_an_array_is_made_of_memory(cupy):
    array = cupy.arange(12, dtype=np.int32)
    rows = cupy.ndarray((3, 2), np.int32, array.data, (16, 4))
    assert rows.get().tolist() == [[0, 1], [4, 5], [8, 9]]
    assert cupy.ndarray((48,), np.uint8, array.data).get()[4] == 1
    assert cupy.ndarray((), np.int32, array.data + 44).item() == 11
    with pytest.raises((ValueError, TypeError)):
        cupy.ndarray((13,), np.int32, array.data)
    with pytest.raises((ValueError, TypeError)):
        cupy.ndarray((3, 2), np.int32, array.data, (24, 4))


def test_memory_is_set_and_copied_within_its_bounds(cupy):
    array, other = cupy.zeros(8, np.uint8), cupy.arange(8, dtype=np.uint8)
    array[4:].data.memset_async(255, 3)
    assert array.get().tolist() == [0, 0, 0, 0, 255, 255, 255, 0]
    array.data.copy_from_device_async(other.data + 2, 4)
    assert array.get().tolist() == [2, 3, 4, 5, 255, 255, 255, 0]
    with pytest.raises(ValueError, match="bytes 4 to 9 of an allocation of 8"):
        array[4:].data.memset_async(255, 5)
    with pytest.raises(ValueError, match="allocation"):
        array.data.copy_from_device_async(other.data + 2, 7)
    cupy.empty(0).data.memset_async(255, 0)


# --- waiting ----------------------------------------------------------------------------------------------------------

WAITS = {
    "get": lambda cupy, array: array.get(),
    "item": lambda cupy, array: array.item(),
    "tolist": lambda cupy, array: array.tolist(),
    "__int__": lambda cupy, array: int(array),
    "__float__": lambda cupy, array: float(array),
    "__bool__": lambda cupy, array: bool(array),
    "__repr__": lambda cupy, array: repr(array),
    "synchronize": lambda cupy, array: cupy.cuda.get_current_stream().synchronize(),
}


@pytest.mark.parametrize("name", WAITS)
def test_waiting_is_counted_and_refused_in_a_capture(cupy, knobs, name):
    array = cupy.ones(())
    cupy.cuda_on_cpu.synchronised.clear()
    WAITS[name](cupy, array)
    assert cupy.cuda_on_cpu.synchronised == {name: 1}
    assert not cupy.cuda.get_current_stream().is_capturing()
    knobs(capturing=True)
    assert cupy.cuda.get_current_stream().is_capturing()
    with pytest.raises(RuntimeError, match="capturing"):
        WAITS[name](cupy, array)
    assert cupy.cuda_on_cpu.synchronised == {name: 1}


def test_nothing_else_waits(cupy, knobs, function):
    function("count")
    knobs(capturing=True)
    cupy.cuda_on_cpu.synchronised.clear()
    array = cupy.zeros((2, 3), np.int32)
    array[0] = 5
    array.data.memset_async(0, 4)
    function("count")((1,), (1,), (array[1:],))
    cupy.ascontiguousarray(array.T + 1).any().reshape(1)
    assert not cupy.cuda_on_cpu.synchronised
    assert cupy.empty(0).get().size == 0


# --- devices ----------------------------------------------------------------------------------------------------------


def test_an_array_is_on_the_device_that_was_current(cupy):
    assert cupy.cuda.runtime.getDeviceCount() == 2
    assert cupy.cuda.Device().id == 0
    first = cupy.zeros(3)
    with cupy.cuda.Device(1) as device:
        assert cupy.cuda.Device() == device
        second = cupy.zeros(3)
        with first.device:
            assert cupy.cuda.runtime.getDevice() == 0
        assert cupy.cuda.runtime.getDevice() == 1
    assert cupy.cuda.Device().id == 0
    assert (first.device.id, second.device.id, second[1:].device.id) == (0, 1, 1)
    assert first.device != second.device
    for mixed in (lambda: first + second, lambda: second + 1, lambda: first.__setitem__(0, second[0]), second.any):
        with pytest.raises(ValueError, match="device"):
            mixed()
    assert second.copy().device.id == 0
    assert second.get().tolist() == [0, 0, 0]


def test_devices_are_as_many_and_as_large_as_a_test_wants(cupy, knobs, monkeypatch):
    assert cupy.cuda.Device().attributes["MultiProcessorCount"] == 4
    monkeypatch.setitem(cupy.cuda_on_cpu.attributes, "MultiProcessorCount", 132)
    assert cupy.cuda.Device(1).attributes["MultiProcessorCount"] == 132
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError) as caught:
        cupy.cuda.Device(2).use()
    assert caught.value.status == 101
    knobs(device_count=0)
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError) as caught:
        cupy.cuda.runtime.getDeviceCount()
    assert caught.value.status == 100


def test_streams_are_current_one_in_the_other(cupy):
    assert cupy.cuda.get_current_stream().ptr == 0
    with cupy.cuda.Stream() as outer:
        with cupy.cuda.Stream() as inner:
            assert cupy.cuda.get_current_stream() is inner
        assert cupy.cuda.get_current_stream() is outer
        assert outer.ptr != inner.ptr
    assert cupy.cuda.get_current_stream() is cupy.cuda.Stream.null


# --- and CuPy ---------------------------------------------------------------------------------------------------------


def names(cupy):
    """Yield the name of all that is public, and the names of the parameters of what is a function of the package."""
    array = cupy.zeros(1)
    samples = {
        "flags": array.flags,
        "cuda.MemoryPointer": array.data,
        "cuda.Memory": array.data.mem,
        "cuda.Device": cupy.cuda.Device(),
        "cuda.Stream.null": cupy.cuda.Stream.null,
        "RawKernel": cupy.RawModule(code=OPTIONAL).get_function("small"),
    }
    for name, sample in samples.items():
        yield from ((f"{name}.{attribute}", None) for attribute in vars(sample) if attribute[0] != "_")
    for module in ("", "cuda.", "cuda.compiler.", "cuda.driver.", "cuda.memory.", "cuda.nvrtc.", "cuda.runtime."):
        for name, value in vars(operator.attrgetter(module[:-1])(cupy) if module else cupy).items():
            if name[0] == "_" or (inspect.ismodule(value) and not value.__name__.startswith("cupy.cuda.")):
                continue
            yield module + name, list(inspect.signature(value).parameters) if inspect.isfunction(value) else None
            if inspect.isclass(value) and value.__module__.startswith("cupy"):
                yield from ((f"{module}{name}.{part}", None) for part in vars(value) if part[0] != "_")


REAL = """
import inspect, json, operator, sys

import cupy
from cupy._core.flags import Flags as flags

assert not hasattr(cupy, "cuda_on_cpu")
for name, parameters in json.load(sys.stdin):
    try:
        real = operator.attrgetter(name.removeprefix("flags."))(flags if name.startswith("flags.") else cupy)
    except AttributeError:
        print("CuPy has no", name)
        continue
    try:
        known = [*inspect.signature(real).parameters] if parameters is not None else None
    except ValueError:
        continue
    if parameters != known:
        print(name, "has", known, "and not", parameters)
"""


def test_all_public_names_are_cupys(cupy, request):
    public = [(name, parameters) for name, parameters in names(cupy) if name.partition(".")[0] != "cuda_on_cpu"]
    assert len(public) > 100
    elsewhere = [entry for entry in sys.path if entry and Path(entry).resolve() != FOLDER.resolve()]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(elsewhere)}
    finished = subprocess.run(
        [sys.executable, "-c", REAL], input=json.dumps(public), env=environment, capture_output=True, text=True
    )
    if "No module named 'cupy'" in finished.stderr:
        assert request.config.getoption("--cuda-on-cpu") or "cupy" not in promised(), "UNPOOL_REQUIRE promises cupy"
        pytest.skip("cupy is not installed: its names cannot be compared")
    assert (finished.stdout, finished.returncode) == ("", 0), finished.stderr
