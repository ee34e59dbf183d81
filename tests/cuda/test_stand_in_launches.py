"""The stand-in for CuPy launches kernels as CuPy does: grids and blocks, arguments, sources and their options."""

import os
import subprocess
import sys

import numpy as np
import pytest
from stand_in import FOLDER, THREADS, require_compiler

from unpool.testing.compare import assert_same_bits

require_compiler()

KERNELS = r"""
extern "C" __global__ void __launch_bounds__(256) twice(const float* __restrict__ from, float* to, unsigned count) {
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
        to[i] = 2 * from[i];
}
extern "C" __global__ void last_one(int* to) { *to = blockIdx.x * blockDim.x + threadIdx.x; }
extern "C" __global__ void nothing() {}

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
"""

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
        function("nothing")(grid, block, ())


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
    path = f"{FOLDER}{os.pathsep}{FOLDER.parent}"
    environment = os.environ | {"PYTHONPATH": path, "UNPOOL_TEST_CACHE": str(tmp_path)}
    for _ in range(2):
        processes = [subprocess.Popen([sys.executable, "-c", program], env=environment) for _ in range(3)]
        assert [process.wait(60) for process in processes] == [0, 0, 0]
        built = {path: path.stat().st_mtime_ns for path in (tmp_path / "cuda_on_cpu").iterdir()}
        assert [path.suffix for path in built] == [".so", ".so"]  # machine.cpp and the kernel's module
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cuda_on_cpu").iterdir()} == built
