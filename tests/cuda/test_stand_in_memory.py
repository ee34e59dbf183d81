"""The stand-in for CuPy raises where a GPU has undefined behaviour: accesses out of bounds, misaligned, or freed."""

import numpy as np
import pytest
from stand_in import failing, require_compiler

require_compiler()

KERNELS = r"""
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

// --- undefined behaviour

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
"""

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
    function("write_int")((1,), (1,), (array, 9))  # an error does no harm to the next launch
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
