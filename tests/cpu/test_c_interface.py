"""The C interface: a program in C calls the kernels, without Python's lock, and gets what the oracle computes."""

import ctypes
import shutil
import subprocess
import sysconfig
from dataclasses import replace
from itertools import product
from pathlib import Path

import c_interface
import numpy as np
import pytest
import unpool_backends
from c_interface import DONE, FOUND, REFUSED
from processes import posix, python

from unpool import arguments, plan
from unpool.taps import cells_of
from unpool.testing import oracle
from unpool.testing.cases import FORMATS, POOLINGS, REALS, arranged, pooling
from unpool.testing.compare import assert_same_bits

SOURCE = Path(__file__).with_name("c_interface.c")
SMALL = {name: case for name, case in POOLINGS.items() if case.taps <= 256}
every_case = pytest.mark.parametrize("case", POOLINGS.values(), ids=POOLINGS)
every_format = pytest.mark.parametrize("data_format", FORMATS)


def compiled(folder):
    """Compile the program in C, with warnings as errors, and return its path."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        pytest.skip(f"no C compiler {compiler!r} is installed")
    library = folder / "c_interface.so"
    flags = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-shared", "-fPIC", "-pthread")
    include = Path(unpool_backends.__file__).parent / "include"
    subprocess.run([compiler, *flags, f"-I{include}", str(SOURCE), "-o", str(library)], check=True)
    return library


def plan_of(case, shape, data_format, validate=True):
    window = arguments.window(case.rank, *case.window.values())
    return replace(
        plan.plan_pooling(shape, window, case.ceil_mode, data_format == "channels_last", "int64"), validate=validate
    )


@posix
def test_a_program_in_c(tmp_path):
    library = ctypes.CDLL(str(compiled(tmp_path)))
    assert library.main_of(ctypes.c_void_p(c_interface.address())) == 0
    assert library.main_of_denormals(ctypes.c_void_p(c_interface.address())) == 0


LOCKED = """
import ctypes, sys
import numpy as np
import c_interface
from unpool import arguments, plan
from unpool.taps import cells_of

window = arguments.window(2, 2, 2, 0, 1)
planned = plan.plan_pooling((4, 64, 64, 64), window, False, False, "int64")
x = np.random.default_rng(0).standard_normal(planned.plane_shape, "float32")
values, indices = np.empty(planned.pooled_shape, "float32"), np.empty(planned.pooled_shape, "int64")
library = ctypes.PyDLL(sys.argv[1])  # calls keep Python's lock
call, arrays = c_interface.call_of(planned, "pool"), c_interface.arrays_of(planned, values, indices, x)
assert library.run_elsewhere(ctypes.c_void_p(c_interface.address()), ctypes.byref(call), ctypes.byref(arrays)) == 0
assert values[0, 0, 0, 0] == x[0, 0, :2, :2].max()
"""


@posix
def test_it_never_waits_for_pythons_lock(tmp_path):
    """Python's lock is held while another thread calls a team of threads; waiting for the lock would never end."""
    assert python("-c", LOCKED, str(compiled(tmp_path))).stderr == ""


@every_format
@every_case
def test_it_computes_what_the_oracle_does(case, data_format):
    shape = case.shape((2, 3), data_format)
    x = np.random.default_rng(1).permutation(np.prod(shape)).reshape(shape).astype("float32")
    planned = plan_of(case, shape, data_format)
    values, indices = np.empty(planned.pooled_shape, "float32"), np.empty(planned.pooled_shape, "int32")
    assert c_interface.run(planned, "pool", values, indices, x) == (DONE, -1, -1)
    expected = case.pool(x, data_format)
    assert_same_bits(values, expected[0])
    np.testing.assert_array_equal(indices, expected[1])
    alone = np.empty_like(values)
    assert c_interface.run(planned, "pool", alone, None, x, fresh=1)[0] == DONE
    assert_same_bits(alone, values)
    for duplicates in ("last", "sum"):
        planes, taken = np.empty_like(x), np.empty_like(values)
        assert c_interface.run(planned, "scatter", values, indices, planes, duplicates)[0] == DONE
        last = data_format == "channels_last"
        assert_same_bits(planes, oracle.max_unpool(values, indices, case.size, duplicates, last))
        assert c_interface.run(planned, "gather", taken, indices, x, duplicates)[0] == DONE
        assert_same_bits(taken, oracle.max_unpool_backward(x, indices, case.rank, duplicates, last))


@every_format
@pytest.mark.parametrize("case", SMALL.values(), ids=SMALL)
def test_taps_compute_what_the_oracle_does(case, data_format):
    last, shape = data_format == "channels_last", case.shape((2, 3), data_format)
    x = np.random.default_rng(1).permutation(np.prod(shape)).reshape(shape).astype("float32")
    planned = plan_of(case, shape, data_format)
    values, taps = np.empty(planned.pooled_shape, "float32"), np.empty(planned.pooled_shape, "uint8")
    assert c_interface.run(planned, "pool", values, taps, x) == (DONE, -1, -1)
    expected, indices = case.pool(x, data_format)
    assert_same_bits(values, expected)
    np.testing.assert_array_equal(oracle.cells(taps, *case, channels_last=last), indices)
    for duplicates in ("last", "sum"):
        planes, taken = np.empty_like(x), np.empty_like(values)
        assert c_interface.run(planned, "scatter", values, taps, planes, duplicates)[0] == DONE
        assert_same_bits(planes, oracle.max_unpool(values, indices, case.size, duplicates, last))
        assert c_interface.run(planned, "gather", taken, taps, x, duplicates)[0] == DONE
        assert_same_bits(taken, oracle.max_unpool_backward(x, indices, case.rank, duplicates, last))


@every_format
@pytest.mark.parametrize("kernel", [(1, 1, 2), (1, 2, 2), (2, 2, 3)])
@pytest.mark.parametrize("stride", [1, 2])
def test_taps_of_many_windows_on_few_cells(kernel, stride, data_format):
    """No Plan has such shapes: most windows have no cell, so that their taps are dropped."""
    planned = replace(
        plan_of(POOLINGS["even"], POOLINGS["even"].shape((1, 2), data_format), data_format),
        batch=1,
        channels=2,
        kernel=kernel,
        stride=(stride,) * 3,
        validate=False,
    )
    for pooled, plane in (((1, 1, 9_000), (1, 1, 3)), ((1, 4_500, 2), (1, 2, 1)), ((3, 90, 9), (2, 2, 9))):
        planned = replace(planned, pooled=pooled, plane=plane)
        pooled_shape, plane_shape = (arranged((1, 2), sizes, data_format) for sizes in (pooled, plane))
        taps = np.random.default_rng(3).integers(0, np.prod(kernel) + 1, pooled_shape, "uint8")
        axes = (1, 2, 3) if data_format == "channels_last" else (2, 3, 4)
        corners = [
            np.arange(windows).reshape([-1 if place == axis else 1 for place in range(5)]) * stride
            for axis, windows in zip(axes, pooled, strict=True)
        ]
        cells, inside = cells_of(taps.astype(int), plane, corners, planned)
        values, grad = np.arange(taps.size, dtype="float32").reshape(pooled_shape), np.ones(plane_shape, "float32")
        for duplicates in ("last", "sum"):
            planes, taken = np.empty_like(grad), np.empty_like(values)
            assert c_interface.run(planned, "scatter", values, taps, planes, duplicates)[0] == DONE
            assert c_interface.run(planned, "gather", taken, taps, grad, duplicates)[0] == DONE
            for given, found, gathers in ((values, planes, False), (grad, taken, True)):
                last = data_format == "channels_last"
                assert_same_bits(found, oracle.dropped(given, cells, inside, plane, duplicates, gathers, last))


@pytest.mark.parametrize("duplicates", ["last", "sum"])
def test_a_bad_tap_is_dropped_after_rows_of_good_ones(duplicates):
    """The rows before it must not be added twice."""
    case = pooling((70, 75), 3, 2, 1)
    planned = replace(plan_of(case, case.shape((1, 2), "channels_first"), "channels_first"), validate=False)
    taps = np.full(planned.pooled_shape, 4, "uint8")
    taps[0, 1, 20, 30] = 9
    cells = oracle.cells(taps, *case)
    values, grad = np.ones(planned.pooled_shape, "float32"), np.ones(planned.plane_shape, "float32")
    planes, taken = np.empty_like(grad), np.empty_like(values)
    assert c_interface.run(planned, "scatter", values, taps, planes, duplicates)[0] == DONE
    assert c_interface.run(planned, "gather", taken, taps, grad, duplicates)[0] == DONE
    for given, found, gathers in ((values, planes, False), (grad, taken, True)):
        assert_same_bits(found, oracle.dropped(given, cells, cells >= 0, case.size, duplicates, gathers))


@every_format
@every_case
@pytest.mark.parametrize("operation", ["scatter", "gather"])
def test_bad_indices_are_dropped_or_reported(case, data_format, operation):
    """Half of the indices lie anywhere, some of them out of range."""
    last = data_format == "channels_last"
    planned = plan_of(case, case.shape((2, 3), data_format), data_format)
    generator = np.random.default_rng(2)
    cells = planned.cells
    indices = generator.integers(-cells // 4, cells + cells // 4 + 1, planned.pooled_shape)
    given = generator.standard_normal(planned.pooled_shape if operation == "scatter" else planned.plane_shape)
    kept = (indices >= 0) & (indices < cells)
    bad = c_interface.flat(oracle.first_bad(indices, cells), indices.shape)
    for duplicates in ("last", "sum"):
        found = np.empty(planned.plane_shape if operation == "scatter" else planned.pooled_shape)
        pooled, plane = (given, found) if operation == "scatter" else (found, given)
        dropping = replace(planned, validate=False)
        assert c_interface.run(dropping, operation, pooled, indices, plane, duplicates) == (DONE, -1, -1)
        gathers = operation == "gather"
        assert_same_bits(found, oracle.dropped(given, indices, kept, case.size, duplicates, gathers, last))
        expected = (FOUND, bad, -1) if bad >= 0 else (DONE, -1, -1)
        assert c_interface.run(planned, operation, pooled, indices, plane, duplicates) == expected


def test_repeated_indices_are_reported_beside_dropped_ones():
    planned = replace(
        plan.plan_unpooling((1, 2, 4), arguments.window(1, 2, 2, 0, 1), None, False, True, "input", "output_size"),
        validate=False,
    )
    indices = np.array([[[9, 9, 1, 2], [-1, 5, 3, 5]]])
    values, planes = np.arange(1.0, 9).reshape(1, 2, 4), np.empty((1, 2, 8))
    assert c_interface.run(planned, "scatter", values, indices, planes, "error") == (FOUND, -1, 7)
    indices[0, 1, 3] = 6
    assert c_interface.run(planned, "scatter", values, indices, planes, "error") == (DONE, -1, -1)
    assert planes.tolist() == [[[0, 3, 4, 0, 0, 0, 0, 0], [0, 0, 0, 7, 0, 6, 8, 0]]]


@pytest.mark.parametrize("offset", [0, 4, 4096])
def test_large_fresh_results(offset):
    """The kernels request large pages from 8 MB on, inside the result alone; the memory around it stays as it is."""
    shape = (2, 4, 1200, 1200)
    planned = plan.plan_pooling(shape, arguments.window(2, 2, 2, 0, 1), False, False, "int64")
    x = np.random.default_rng(4).random(shape, "float32")
    values, indices = np.empty(planned.pooled_shape, "float32"), np.empty(planned.pooled_shape, "int64")
    assert c_interface.run(planned, "pool", values, indices, x, fresh=1)[0] == DONE
    assert_same_bits(values, x.reshape(2, 4, 600, 2, 600, 2).max((3, 5)))
    memory = np.full(x.nbytes + 3 * 4096, 77, np.uint8)
    planes = memory[offset : offset + x.nbytes].view("float32").reshape(shape)
    assert c_interface.run(planned, "scatter", values, indices, planes, fresh=1)[0] == DONE
    assert np.count_nonzero(planes) == np.count_nonzero(values)
    assert_same_bits(
        np.take_along_axis(planes.reshape(2, 4, -1), indices.reshape(2, 4, -1), -1), values.reshape(2, 4, -1)
    )
    assert (memory[:offset] == 77).all()
    assert (memory[offset + x.nbytes :] == 77).all()


def test_an_empty_batch():
    planned = replace(plan_of(POOLINGS["even"], (2, 3, 6, 8), "channels_first"), batch=0)
    call = c_interface.call_of(planned, "pool")
    assert c_interface.function()(call, c_interface.Arrays(0, 11, 8, None, None, None), c_interface.Found()) == DONE


REFUSALS = {
    "operation": [-1, 3],
    "kernel": [0, 2**31, 2**40],
    "stride": [0, -1, 2**31],
    "dilation": [0, 2**31],
    "padding": [-1, 2],
    "pooled": [0, -4, 2**60, 5],
    "plane": [0, -1, 2**62, 4],
    "channels": [0, -3, 2**60],
    "duplicates": [-1, 3],
    "check": [-1, 3],
    "batch": [-1, 2**60],
    "kind": [-1, 15, 13],
    "index_bytes": [0, 2, 16],
}


@pytest.mark.parametrize(("field", "value"), [pair for name in REFUSALS for pair in product([name], REFUSALS[name])])
def test_a_call_that_breaks_a_rule_is_refused(field, value):
    """Nothing is read or written. 5 windows of stride 2 need more than 8 cells."""
    planned = plan_of(POOLINGS["even"], (2, 3, 6, 8), "channels_first")
    call, arrays = c_interface.call_of(planned, "pool"), c_interface.Arrays(2, 11, 8, 64, None, 64)
    target = arrays if field in ("batch", "kind", "index_bytes") else call
    if field in c_interface.TRIPLES:
        getattr(target, field)[2] = value
    else:
        setattr(target, field, value)
    assert c_interface.function()(call, arrays, c_interface.Found()) == REFUSED


def test_long_planes_without_a_window_are_not_refused():
    """There is no sample, so no such plane is read or written."""
    window = arguments.window(1, None, None, 0, 1, optional=True)
    for count, size in product((1, 2, 3, 2**31, 2**40), (1, 2, 2**31, 2**32 + 1, 2**40)):
        planned = plan.plan_unpooling((0, 1, count), window, (size,), False)
        for operation in ("scatter", "gather"):
            call, arrays = c_interface.call_of(planned, operation), c_interface.Arrays(0, 11, 8, None, None, None)
            assert c_interface.function()(call, arrays, c_interface.Found()) == DONE


@pytest.mark.parametrize("operation", c_interface.OPERATIONS)
def test_taps_that_a_byte_cannot_number_are_refused(operation):
    call = c_interface.call_of(plan_of(POOLINGS["even"], (2, 3, 6, 8), "channels_first"), operation)
    for kernel in ((1, 1, 257), (17, 4, 4), (1, 2**30, 2**30)):
        call.kernel[:] = kernel
        assert c_interface.function()(call, c_interface.Arrays(2, 11, 1, 64, 64, 64), c_interface.Found()) == REFUSED


def test_pooling_is_refused_where_its_indices_do_not_fit():
    planned = plan_of(POOLINGS["even"], (2, 3, 6, 8), "channels_first")
    call = c_interface.call_of(planned, "pool")
    call.plane[2], call.plane[1] = 2**20, 2**12
    assert c_interface.function()(call, c_interface.Arrays(1, 11, 4, 64, 64, 64), c_interface.Found()) == REFUSED
    call.kernel[2], call.dilation[2] = 2, 2**31 - 1
    call.kernel[1], call.dilation[1] = 3, 2**20
    assert c_interface.function()(call, c_interface.Arrays(1, 11, 8, 64, 64, 64), c_interface.Found()) == REFUSED


def test_a_window_without_a_tap_is_refused():
    """Taps of the first window lie at -5 and 5, around a plane of 3 cells; of two windows, only the second has one."""
    call = c_interface.call_of(plan_of(POOLINGS["row"], (1, 1, 8), "channels_first"), "pool")
    call.kernel[2], call.stride[2], call.padding[2], call.dilation[2] = 2, 1, 5, 10
    call.pooled[2], call.plane[2] = 1, 3
    assert c_interface.function()(call, c_interface.Arrays(1, 11, 8, 64, 64, 64), c_interface.Found()) == REFUSED
    call.stride[2], call.padding[2], call.pooled[2] = 3, 9, 1  # taps at -9 and 1
    x, values, indices = np.arange(3, dtype="float32"), np.empty(1, "float32"), np.empty(1, "int64")
    arrays = c_interface.Arrays(1, 11, 8, *(array.ctypes.data for array in (values, indices, x)))
    assert c_interface.function()(call, arrays, c_interface.Found()) == DONE
    assert (values[0], indices[0]) == (1, 1)
    call.pooled[2] = 2  # taps at -6 and 4
    assert c_interface.function()(call, arrays, c_interface.Found()) == REFUSED


@pytest.mark.parametrize(("operation", "missing"), [*product(c_interface.OPERATIONS, ["pooled", "plane"])])
def test_a_missing_array_is_refused(operation, missing):
    call = c_interface.call_of(plan_of(POOLINGS["even"], (2, 3, 6, 8), "channels_first"), operation)
    for name in {missing, "indices" if operation != "pool" else missing}:
        arrays = c_interface.Arrays(2, 11, 8, 64, 64, 64)
        setattr(arrays, name, None)
        assert c_interface.function()(call, arrays, c_interface.Found()) == REFUSED


FORKED = """
import os, sys
import numpy as np
import c_interface
from unpool import arguments, plan
from unpool.taps import cells_of

window = arguments.window(2, 2, 2, 0, 1)
planned = plan.plan_pooling((4, 64, 64, 64), window, False, False, "int64")
x = np.random.default_rng(0).standard_normal(planned.plane_shape, "float32")

def pooled():
    values, indices = np.empty(planned.pooled_shape, "float32"), np.empty(planned.pooled_shape, "int64")
    assert c_interface.run(planned, "pool", values, indices, x)[0] == 0
    return values.tobytes() + indices.tobytes()

expected = pooled()
child = os.fork()
if not child:
    os._exit(pooled() != expected)
print(os.waitpid(child, 0)[1])
"""


@posix
def test_after_a_fork():
    """The team of threads stays behind in the parent; a call in the child does not wait for it."""
    assert python("-c", FORKED).stdout == "0\n"


@pytest.mark.parametrize("dtype", REALS, ids=str)
def test_every_dtype(dtype):
    case, shape = POOLINGS["overlap"], (2, 3, 7, 6)
    x = np.random.default_rng(3).integers(0, 100, shape).astype(dtype)
    planned = plan_of(case, shape, "channels_first")
    values, indices = np.empty(planned.pooled_shape, dtype), np.empty(planned.pooled_shape, "int64")
    assert c_interface.run(planned, "pool", values, indices, x)[0] == DONE
    assert_same_bits(values, case.pool(x, "channels_first")[0])
