"""A short battery of calls catches each bug that is planted in the CUDA backend.

So the stand-in for CuPy shows bugs, also those that a GPU shows only now and then, like a missing barrier.  A bug is a
text that occurs once in a file, and its replacement.
"""

import re
import sys
from contextlib import contextmanager
from importlib.resources import files
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from kinds import CuPyArrays

import unpool
from unpool.testing import oracle
from unpool.testing.cases import FORMATS, POOLINGS, anywhere, bits, crowded, pooled, pooling, whole
from unpool.testing.compare import Guarded, assert_same_bits, assert_same_numbers

# (file, text, planted)
BUGS = {
    # --- barriers
    "zeros may come after values": (
        "scatter.cuh",
        "make_uint4(0, 0, 0, 0);\n    __syncthreads();",
        "make_uint4(0, 0, 0, 0);",
    ),
    "a block is written before it is whole": (
        "scatter.cuh",
        "    }\n    __syncthreads();\n    for (Count deep = 0;",
        "    }\n    for (Count deep = 0;",
    ),
    "claims are made before they are open": (
        "ranges.cuh",
        "claims[slot] = NOBODY;\n    __syncthreads();",
        "claims[slot] = NOBODY;",
    ),
    "claims are read before they are all made": (
        "ranges.cuh",
        "    }\n    __syncthreads();\n    if (DUPL",
        "    }\n    if (DUPL",
    ),
    "the next to add is chosen too soon": (
        "scatter.cuh",
        "entry.window);\n            __syncthreads();",
        "entry.window);",
    ),
    "the next range begins before this one is written": (
        "scatter.cuh",
        "channel)] = value;\n        }\n        __syncthreads();",
        "channel)] = value;\n        }",
    ),
    "the next range begins before this one is gathered": (
        "gather.cuh",
        "values[entry.element] = Word();\n        }\n        __syncthreads();",
        "values[entry.element] = Word();\n        }",
    ),
    # --- indices
    "negative indices pass": ("indices.cuh", "(u64)index < (u64)job.cells;", "index < (i64)job.cells;"),
    "an index is cut to 32 bits": (
        "indices.cuh",
        "(u64)index < (u64)job.cells;",
        "(uint32_t)index < (u64)job.cells;",
    ),
    "an index is cut to 32 bits in a range": (
        "ranges.cuh",
        "const u64 index = (u64)read_index(job,",
        "const u64 index = (uint32_t)read_index(job,",
    ),
    "one past the plane passes": (
        "indices.cuh",
        "(u64)index < (u64)job.cells;",
        "(u64)index <= (u64)job.cells;",
    ),
    "the last bad index is reported": ("job.cuh", "atomicMin(first, (u64)element)", "atomicMax(first, (u64)element)"),
    "a bad index is not reported by blocks": ("scatter.cuh", "report(&status->bad, block.first + i);", ";"),
    "a bad index is not reported by a gather": ("gather.cuh", "report(&status->bad, element);", ";"),
    "a bad index is not reported by ranges": (
        "ranges.cuh",
        "        report(&status->bad, entry.element);\n",
        "        ;\n",
    ),
    "a bad index takes the position in its block": ("scatter.cuh", "&status->bad, block.first + i", "&status->bad, i"),
    "the first of two that repeat is reported": (
        "ranges.cuh",
        "if (entry.here && claims[entry.slot] != entry.window)",
        "if (entry.here && claims[entry.slot] == entry.window)",
    ),
    # --- who wins
    "the first wins": ("ranges.cuh", "DUPLICATES == LAST ? job.windows - 1 - window", "DUPLICATES == LAST ? window"),
    "a stray is not marked": ("scatter.cuh", "            mark(status, job, place);", "            ;"),
    "a stray is not marked by a gather": (
        "gather.cuh",
        "                mark(status, job, place);",
        "                ;",
    ),
    "a stray is not marked by ranges": ("ranges.cuh", "            mark_strip(status, range.strip);", "            ;"),
    "another strip is marked": ("job.cuh", "(place.channel >> job.strip_shift)", "place.channel"),
    "the plane of a strip is not counted": ("job.cuh", "place.outer * job.strips_each + (", "place.outer + ("),
    "that a strip is marked is not told": ("job.cuh", "    status->clean = 0;\n", ""),
    "all is done anew": ("ranges.cuh", "return !job.redo || ", "return job.redo || "),
    "a hidden value has its gradient": (
        "gather.cuh",
        "entry.here && claims[entry.slot] == number_of(job, entry.window)",
        "entry.here",
    ),
    "a bad index keeps what was in memory": ("gather.cuh", "else if (entry.here || entry.bad)", "else if (entry.here)"),
    "the first wins in a tile": (
        "cells.cuh",
        "slot_of_thread<Count>(slot) = window;",
        "slot_of_thread<Count>(slot) = slot_of_thread<Count>(slot) == NOBODY ? window : slot_of_thread<Count>(slot);",
    ),
    "tiles read the last row of windows first": (
        "cells.cuh",
        "for (Int row = rows.first; row < rows.end; ++row) {",
        "for (Int row = rows.end - 1; row >= rows.first; --row) {",
    ),
    "an index outside its window is not marked by tiles": ("cells.cuh", "mark(status, job, place);", ";"),
    "a bad index is not reported by tiles": ("cells.cuh", "report(&status->bad, element);", ";"),
    "a repeated index is not reported by tiles": ("cells.cuh", "report(&status->repeated, element);", ";"),
    "the first of a cell's windows has its gradient": (
        "gather.cuh",
        "if (window <= place.window)",
        "if (window >= place.window)",
    ),
    "an index outside its window is not marked by an overlapping gather": (
        "gather.cuh",
        "known = reaches(job, window_at(job, place.window), cell);",
        "known = true;",
    ),
    "a repeated index is not reported by a gather": ("gather.cuh", "report(&status->repeated, element);", ";"),
    # --- where
    "windows that start in the padding are not checked": (
        "windows.cuh",
        "along.starting = low > 0 ? ",
        "along.starting = true ? ",
    ),
    "windows that start past the plane are not checked": (
        "windows.cuh",
        "along.end = end < job.plane[axis] ? ",
        "along.end = true ? ",
    ),
    "windows reach one cell less": (
        "windows.cuh",
        "away <= (Count)(job.kernel[axis] - 1) * job.dilation[axis];",
        "away < (Count)(job.kernel[axis] - 1) * job.dilation[axis];",
    ),
    "windows reach as far as the plane": (
        "windows.cuh",
        "away <= (Count)(job.kernel[axis] - 1) * job.dilation[axis];",
        "away <= (Count)job.plane[axis];",
    ),
    "another slice is taken for that of the tile": ("cells.cuh", "cell.at[0] == tile.slice && ", ""),
    "another row is taken for that of the tile": ("cells.cuh", "y < height && ", ""),
    "the end of a row of a tile is not written": ("cells.cuh", "if (c < length)", "if (c + 1 < length)"),
    "tiles go past their row": ("cells.cuh", "if (c < length)", "if (true)"),
    "16 bytes are written at any address": ("cells.cuh", " && ((u64)cells & 15) == 0", ""),
    "the channel of a tile is forgotten": ("cells.cuh", "tile.channel = number - rest * job.step;", ""),
    "the last window owns nothing more": (
        "windows.cuh",
        "return window == job.pooled[axis] || start > size ? size : start;",
        "return start > size ? size : start;",
    ),
    "cells past the last window have no owner": (
        "windows.cuh",
        "return window < job.pooled[axis] ? window : job.pooled[axis] - 1;",
        "return window;",
    ),
    "owners forget the padding": (
        "windows.cuh",
        "window = (Int)job.by_stride[axis].quotient(cell + job.padding[axis]);",
        "window = (Int)job.by_stride[axis].quotient(cell);",
    ),
    "the last windows that reach a cell forget the padding": (
        "windows.cuh",
        "last = (Int)job.by_stride[axis].quotient(cell + job.padding[axis]);",
        "last = (Int)job.by_stride[axis].quotient(cell);",
    ),
    "spans forget the padding": (
        "windows.cuh",
        "window * job.stride[axis] - job.padding[axis];",
        "window * job.stride[axis];",
    ),
    "squares are one row short": (
        "windows.cuh",
        "for (Count r = 0; r < SIDE; ++r)",
        "for (Count r = 1; r < SIDE; ++r)",
    ),
    "near windows are a row short": (
        "ranges.cuh",
        "job.pooled[1] + row + 1) * job.pooled[2];",
        "job.pooled[1] + row) * job.pooled[2];",
    ),
    "near windows begin a row late": (
        "windows.cuh",
        "(Int)job.by_stride[axis].quotient(ahead + job.stride[axis] - 1);",
        "(Int)job.by_stride[axis].quotient(ahead) + 1;",
    ),
    "ranges leave windows out": (
        "ranges.cuh",
        "        range.end_window = range.end_window < next ? next : range.end_window;\n",
        "",
    ),
    "the end of a run is not written": (
        "scatter.cuh",
        "byte < high && byte < end; byte",
        "byte < high && byte + sizeof(Word) < end; byte",
    ),
    "a unit is written past its run": ("scatter.cuh", "if (begin <= low && high <= end)", "if (begin <= low)"),
    "a unit is written before its run": ("scatter.cuh", "if (begin <= low && high <= end)", "if (high <= end)"),
    "runs lie as in another unit": ("scatter.cuh", "return (Count)((u64)cells & 15);", "return 0;"),
    "planes lie one cell closer": (
        "job.cuh",
        "return (outer * job.cells + cell) * job.step",
        "return (outer * (job.cells - 1) + cell) * job.step",
    ),
    "the last planes are too many": (
        "scatter.cuh",
        "outer + job.planes_each < job.outer ? job.planes_each : job.outer - outer",
        "job.planes_each",
    ),
    "channels of the last strip run over": ("ranges.cuh", "if (entry.channel < job.step) {", "if (true) {"),
    "a channel is not told from the next": (
        "job.cuh",
        "place.channel = element - flat * job.step;",
        "place.channel = 0;",
    ),
    # --- numbers
    "the first NaN stays": (
        "kinds.cuh",
        "(magnitude(value) > (W)infinity) |",
        "((magnitude(value) > (W)infinity) & (magnitude(best) <= (W)infinity)) |",
    ),
    "NaN loses": ("kinds.cuh", "(magnitude(value) > (W)infinity) |", ""),
    "-0 is less than 0": (
        "kinds.cuh",
        "magnitude(value) == value ? (Ordered)value : -(Ordered)magnitude(value);",
        "magnitude(value) == value ? (Ordered)value : -(Ordered)magnitude(value) - 1;",
    ),
    "signs are not looked at": ("kinds.cuh", "return (W)(value ^ sign) > (W)(best ^ sign);", "return value > best;"),
    "infinity is NaN": ("kinds.cuh", "magnitude(value) > (W)infinity) |", "magnitude(value) >= (W)infinity) |"),
    "the last of equals is taken": (
        "kinds.cuh",
        "(ordered(value) > ordered(best))",
        "(ordered(value) >= ordered(best))",
    ),
    "taps begin one late": (
        "windows.cuh",
        "before = along.start < 0 ? 0 - (Count)along.start : 0;",
        "before = along.start < 0 ? 1 - (Count)along.start : 0;",
    ),
    "taps end one early": (
        "windows.cuh",
        "along.end = dilation == 1 ? ahead :",
        "along.end = dilation == 1 ? ahead - 1 :",
    ),
    "padding is picked": ("pooling.cuh", "inside[r][c] & (first |", "(first |"),
    "taps past the kernel count": (
        "pooling.cuh",
        " &\n                                                (column + c < columns.end));",
        ");",
    ),
    "sums of half precision are cut": ("numbers.h", "+ 0xfffu + even", ""),
    "bool adds to two": ("kinds.cuh", "return a | b;", "return a + b;"),
    "a lone sum is not added to zero": ("scatter.cuh", "= Kind::add(Word(), batch.value[b]);", "= batch.value[b];"),
    "sums go backwards": (
        "scatter.cuh",
        "atomicMin(&claims[entry.slot], entry.window);",
        "atomicMin(&claims[entry.slot], job.windows - 1 - entry.window);",
    ),
    # --- the host
    "a divisor is off by one": ("job.py", "// divisor + 1, shift", "// divisor, shift"),
    "shared memory is a unit short": (
        "job.py",
        "grid, BLOCK_THREADS, runs * units * 16,",
        "grid, BLOCK_THREADS, runs * units * 16 - 16,",
    ),
    "what is left for the last windows is forgotten": (
        "job.py",
        "min(size, max(windows * stride, size - (",
        "min(size, max(windows * stride, 0 * size - (",
    ),
    "runs have no room for where they begin": ("job.py", "self.itemsize + 15 + 15) // 16", "self.itemsize + 15) // 16"),
    "strips are not done anew": (
        "job.py",
        'launches = (first, *cut.redo("unpool_scatter_ranges", slot, device))',
        "launches = (first,)",
    ),
    "rows that begin anywhere have too few tiles": ("job.py", "(length - 1 if shifted else 0)", "0"),
    "the last rows have no tile": ("job.py", "_parts(plane[1], rows)", "plane[1] // rows"),
    "tiles take the memory of others": ("job.py", "TILE_THREADS * rows * length *", "TILE_THREADS * length *"),
    "near strays are not done anew": ("job.py", "return (near, *self.redo(kernel, slot, device))", "return (near,)"),
    "squares are taken for granted": ("job.py", "side if whole and plan.stride", "side if plan.stride"),
    "slices are taken for squares, too": ("job.py", "or plan.plane[1] == plan.pooled[1] * side", "or True"),
    "windows are taken to be whole": ("job.py", "side if whole and plan.kernel ==", "side if plan.kernel =="),
    "windows that stick out are whole": (
        "job.py",
        "<= plan.plane[axis] for axis in range(3)",
        "> 0 for axis in range(3)",
    ),
    "padding is no reason": ("job.py", "and not any(plan.padding) else 0", "else 0"),
    "gradients take no heed of who won": (
        "job.py",
        'if duplicates == "sum":\n        launches: ',
        'if duplicates != "error":\n        launches: ',
    ),
    "windows that touch are apart": ("job.py", "(k - 1) * d < s for", "(k - 1) * d <= s for"),
    "nothing is too large": ("job.py", "if runs * self._run(cells) > device.shared:", "if False:"),
    "a status is not cleared": ("__init__.py", "    status.data.memset_async(255, status.nbytes)\n", ""),
    "a status is cleared in part": ("__init__.py", "memset_async(255, status.nbytes)", "memset_async(255, 24)"),
    "large shared memory is not asked for": ("__init__.py", "if launch.shared > _SHARED:", "if False:"),
    "out may be what is read": (
        "__init__.py",
        "if any(_overlap(out, array) for array in others):",
        "if False:",
    ),
    "addresses may be odd": ("__init__.py", " and array.data.ptr % array.itemsize == 0", ""),
    "out may have any order": ("__init__.py", "    if not _is_usable(out):", "    if False:"),
    "devices are not looked at": ("__init__.py", "array.device.id != device", "False"),
    "unsigned indices are signed": (
        "__init__.py",
        "return ready.view(np.int64) if",
        "return ready.astype(np.int32).astype(np.int64) if",
    ),
    "all calls wait": ("__init__.py", "(plan.validate or duplicates", "(True or duplicates"),
    "no call waits": ("__init__.py", "(plan.validate or duplicates", "(False and duplicates"),
    "a capture waits": ("__init__.py", "    if _capturing() or not (plan", "    if not (plan"),
    "a captured status may be freed": ("__init__.py", "status = _kept(cupy.empty(", "status = (cupy.empty("),
}
# The same for what taps alone need.
BUGS_OF_TAPS = {
    "one past the last tap passes": (
        "indices.cuh",
        "return (u64)index < (u64)job.taps;",
        "return (u64)index <= (u64)job.taps;",
    ),
    "a tap is cut to 32 bits": (
        "indices.cuh",
        "return (u64)index < (u64)job.taps;",
        "return (uint32_t)index < (u64)job.taps;",
    ),
    "a bad tap hides a value": ("indices.cuh", "return is_tap(job, index) & (at", "return (at"),
    "a tap of another row hides a value": ("indices.cuh", "& (at.at[1] == cell.at[1]) ", ""),
    "windows past the end of a row are read": ("cells.cuh", "if (!read || !read_cell(", "if (!read_cell("),
    "taps are adjacent": ("windows.cuh", "+ (Count)cell.at[axis] * job.dilation[axis]);", "+ (Count)cell.at[axis]);"),
    "pooling takes rows for slices": ("indices.cuh", "(slice * job.kernel[1] + row)", "(row * job.kernel[1] + slice)"),
    "pooling writes positions": ("indices.cuh", "return BY_TAPS ? (slice", "return !BY_TAPS ? (slice"),
    "windows are taken for squares": ("job.py", "whole &= not plan.by_taps or plan.kernel == plan.stride", "pass"),
    "taps are counted with 32 bits": ("job.py", "self.step, self.taps\n", "self.step\n"),
    "signed bytes are unsigned": ("__init__.py", 'plan.by_taps and ready.dtype.kind == "u" and', "plan.by_taps and"),
}


# --- the battery ------------------------------------------------------------------------------------------------------

# With little shared memory, each is cut in a way of its own.
SMALL = {
    "planes": pooling((4, 6), 2),
    "rows": pooling((26, 31), 2),
    "rows, one left over": pooling((33, 31), 2),
    "squares": pooling((24, 27), 3),
    "squares and padding": pooling((24, 27), 3, 3, 1),
    "squares and gaps": pooling((24, 27), 2, 3),
    "squares in a volume, odd": pooling((3, 7, 8), (1, 2, 2)),
    "gaps and padding": pooling((23, 31), 3, 4, 1),
    "pieces": pooling((3, 600), 2, 3),
    "volume": pooling((5, 30, 8), 3, (1, 7, 2), 1),
    "volume of gaps": pooling((5, 7, 9), 2, 3, 1),
    "overlap": pooling((25, 40), 3, 2, 1),
    "overlap, row": pooling((300,), 5, 2, 2),
    "overlap, volume": pooling((9, 12, 8), (3, 2, 3), (2, 1, 2), 1),
    "touching": pooling((6, 8), 2, 1),
    "dilated": pooling((9, 8), 3, 2, 1, 2),
    "whole units": pooling((11, 32), 3, 2, 1),
    "parts of units": pooling((9, 21), 3, 2, 1),
    "whole units, volume": pooling((5, 6, 16), 3, 2, 1),
    "gaps": pooling((12,), (1,), (3,)),
}


def check(cuda, case, data_format, dtype, index_dtype="int64"):
    """Unpool and take back, with right indices, strayed ones and bad ones, into arrays that begin anywhere."""
    last, cells, rng = data_format == "channels_last", int(np.prod(case.size)), np.random.default_rng(3)
    leading = (2, 11) if last else (2, 3)
    window, plane = case.window | {"data_format": data_format}, case.shape(leading, data_format)
    own = pooled(case, leading, data_format)
    strayed = own.copy()
    strayed.reshape(-1)[rng.choice(own.size, 2)] = rng.integers(0, cells, 2)
    up, down = sums(dtype, own.shape), bits(dtype, plane, 2)
    there, back = case.function("max_unpool"), case.function("max_unpool_backward")
    for shift, indices in enumerate((own, strayed, rng.integers(0, cells, own.shape))):
        for duplicates in ("last", "sum", "error"):
            named = window | {"duplicates": duplicates}
            given = indices.astype(index_dtype)
            repeated = oracle.first_repeated(indices, case.rank, last) if duplicates == "error" else None
            if repeated:
                for function, array, size in ((there, up, {"output_size": case.size}), (back, down, {})):
                    with pytest.raises(ValueError, match=re.escape(f"= indices{list(repeated[1])} =")):
                        cuda.run(function, array, given, **named, **size)
                continue
            guarded = Guarded(plane, dtype, shift + 1, cuda)
            statuses = recorded(cuda)
            cuda.run(there, up, given, **named, output_size=case.size, out=guarded.array)
            wanted = oracle.max_unpool(up, indices, case.size, duplicates, last)
            (assert_same_numbers if duplicates == "sum" else assert_same_bits)(guarded.written(), wanted)
            assert guarded.intact()
            if duplicates != "error":
                wanted = oracle.max_unpool_backward(down, indices, case.rank, duplicates, last)
                assert_same_bits(cuda.call(back, down, given, **named), wanted)
            if indices is own:  # and so none has to be done anew
                assert all((cuda.tonumpy(status)[24:] == 255).all() for status in statuses)
    for bad in (-1, cells, None):
        wrong = own.copy()
        where = sorted(rng.choice(wrong.size, 2, replace=False))
        # The first 32 bits may be those of a right index.
        wrong.reshape(-1)[where] = own.reshape(-1)[where] + 2**32 if bad is None else bad
        position = [int(axis) for axis in np.unravel_index(where[0], wrong.shape)]
        text = re.escape(f"indices{position} = {wrong[tuple(position)]} is")
        for function, array, size in ((there, up, {"output_size": case.size}), (back, down, {})):
            with pytest.raises(IndexError, match=text):
                cuda.run(function, array, wrong, **window, **size)


def recorded(cuda):
    """A list of what calls find, from now on."""
    import unpool_backends.cuda

    statuses, new = [], getattr(unpool_backends.cuda._new_status, "new", unpool_backends.cuda._new_status)

    def record(work):
        statuses.append(new(work))
        return statuses[-1]

    record.new = new
    unpool_backends.cuda._new_status = record
    return statuses


def check_past_the_plane(cuda):
    """Of each slice of this volume, the last row of windows begins past the cells, and no range is near to it."""
    depth, row, column = np.indices((3, 6, 44))
    indices = (depth * 1664 + np.clip(row * 3 - 1, 0, 12) * 128 + np.clip(column * 3 - 1, 0, 127))[np.newaxis]
    values = np.arange(indices.size, dtype="uint16").reshape(indices.shape)
    window = {"kernel_size": (1, 4, 4), "stride": (1, 3, 3), "padding": (0, 2, 2), "output_size": (3, 13, 128)}
    actual = cuda.call(unpool.max_unpool3d, values, indices, **window)
    assert_same_bits(actual, oracle.max_unpool(values, indices, (3, 13, 128)))


def check_left_over(cuda):
    """The first windows of each row name what is left over at the end of the row before, which is the last window's."""
    case = SMALL["rows"]
    indices = pooled(case, (1, 3), "channels_first").copy()
    indices[:, :, 1:, 0] = np.arange(len(indices[0, 0]) - 1) * 2 * 31 + 30
    values = bits("float16", indices.shape)
    actual = cuda.call(unpool.max_unpool2d, values, indices, 2, output_size=case.size)
    assert_same_bits(actual, oracle.max_unpool(values, indices, case.size))


def check_wrapped(cuda):
    """The last window of a row is cut off at the edge: what would be its second column is the next row's first one."""
    case = pooling((25, 31), 2, ceil_mode=True)
    indices = pooled(case, (1, 3), "channels_first").copy()
    first = (np.arange(12) * 2 + 1) * 31
    indices[:, :, :12, 0] = indices[:, :, :12, -1] = first
    values = bits("float16", indices.shape)
    wanted = oracle.max_unpool(values, indices, case.size)
    for _ in range(3):  # in three orders of threads
        assert_same_bits(cuda.call(unpool.max_unpool2d, values, indices, 2, output_size=case.size), wanted)


def sums(dtype, shape):
    """Values whose sums depend on their order, on each rounding, and on the sign of zero."""
    if np.dtype(dtype).kind != "f":
        return bits(dtype, shape, 1)
    values = (whole("float64", shape) * 273 + 2048).astype(dtype)
    values.reshape(-1)[::5] = -0.0
    return values


def check_pooling(cuda):
    for dtype in ("float16", "int8"):
        for name in ("overlap and padding", "wide padding", "volume, dilated, ceil", "odd", "ceil"):
            for data_format in FORMATS:
                case = POOLINGS[name]
                x = crowded(dtype, case.shape((2, 3), data_format))
                named = case.arguments | {"data_format": data_format, "return_indices": True}
                actual = cuda.call(case.function("max_pool"), x, **named)
                for ours, expected in zip(actual, case.pool(x, data_format), strict=True):
                    assert_same_bits(ours, expected)


def check_host(cuda):
    """Memory, waiting, captures, devices."""
    knobs = cuda.cupy.cuda_on_cpu
    indices = np.array([0, 3, 9, 15, 2**40, 1]).reshape(1, 1, 2, 3)
    values = np.arange(6, dtype="float32").reshape(indices.shape)
    given = cuda.asarray(values), cuda.asarray(indices)
    knobs.synchronised.clear()
    unpooled = unpool.max_unpool2d(*given, 2, validate=False)
    assert not knobs.synchronised.total()
    wanted = np.zeros(24, "float32")
    wanted[indices[indices < 24]] = values[indices < 24]
    assert_same_bits(cuda.tonumpy(unpooled).reshape(-1), wanted)
    for dtype, bad in (("uint64", 2**63 + 1), ("uint64", 2**32 + 1), ("int16", -2)):
        wrong = np.where(indices == 2**40, 5, indices).astype(dtype)
        wrong[0, 0, 1, 1] = bad
        with pytest.raises(IndexError, match=re.escape(f"indices[0, 0, 1, 1] = {bad} is")):
            cuda.run(unpool.max_unpool2d, values, wrong, 2)
    with pytest.raises(ValueError, match="must not share memory"):
        unpool.max_pool2d(given[0], 1, out=given[0])
    order = cuda.asarray(np.asfortranarray(np.zeros((1, 4, 6), "float32")))
    with pytest.raises(ValueError, match="C-contiguous"):
        cuda.run(unpool.max_unpool2d, values[0], np.zeros((1, 2, 3), int), 2, out=order)
    odd = np.zeros(49, np.uint8)[1:].view("float64").reshape(1, 2, 3)
    assert_same_bits(cuda.call(unpool.max_pool2d, odd, 1), np.zeros((1, 2, 3)))
    with cuda.cupy.cuda.Device(1):
        elsewhere = cuda.asarray(indices)
    with pytest.raises(TypeError, match="must be on the device"):
        unpool.max_unpool2d(given[0], elsewhere, 2)
    job = sys.modules["unpool_backends.cuda"].job
    kept, most = sys.modules["unpool_backends.cuda"]._captured, job.MOST_WINDOWS_PER_CELL
    kept.clear()
    knobs.capturing = True
    try:
        unpool.max_unpool2d(*given, 2)
        gradients = []
        for job.MOST_WINDOWS_PER_CELL in (0, most):  # by ranges and by windows
            job.gather.cache_clear()
            gradients.append(unpool.max_unpool2d_backward(unpooled[..., :3, :4], given[1], 2, 1))
    finally:
        knobs.capturing = False
    for gradient in gradients:
        assert cuda.tonumpy(gradient)[0, 0, 1, 1] == 0  # of a bad index
    assert len(kept) == 5  # three statuses and two copies of the gradient
    kept.clear()
    # More shared memory than a launch has without asking.
    large = pooling((130, 110), 65, 40)
    found = anywhere((1, 2, 2), 130 * 110)
    actual = cuda.call(unpool.max_unpool2d, found, found, 65, 40, output_size=large.size, duplicates="sum")
    assert_same_bits(actual, oracle.max_unpool(found, found, large.size, "sum"))
    # The cells of one window are more than all of it.
    found = anywhere((1, 2, 2), 420 * 420)
    actual = cuda.call(unpool.max_unpool2d, found, found, 200, output_size=(420, 420))
    assert_same_bits(actual, oracle.max_unpool(found, found, (420, 420)))


def check_taps(cuda, case, data_format, dtype, index_dtype):
    """Pool, unpool and take back by taps; name any tap of a window; then some that are none."""
    last, rng = data_format == "channels_last", np.random.default_rng(3)
    leading = (2, 11) if last else (2, 3)
    arguments = case.window | {"data_format": data_format, "index_format": "window"}
    x = crowded(dtype, case.shape(leading, data_format))
    expected, own = case.pool(x, data_format)
    own = oracle.taps(own, *case, channels_last=last)
    named = arguments | {"return_indices": True, "index_dtype": index_dtype}
    actual = cuda.call(case.function("max_pool"), x, **named)
    for ours, theirs in zip(actual, (expected, own.astype(index_dtype)), strict=True):
        assert_same_bits(ours, theirs)
    up, down = sums(dtype, own.shape), bits(dtype, x.shape, 2)
    there, back = case.function("max_unpool"), case.function("max_unpool_backward")
    taps = rng.integers(0, case.taps, own.shape)
    taps = np.where(oracle.cells(taps, *case, channels_last=last) < 0, own, taps)
    bad = np.where(rng.random(own.shape) < 0.1, case.taps, taps)
    if index_dtype == "int64":  # the first 32 bits may be those of a right tap
        bad = np.where(bad == case.taps, taps + 2**32, bad)
    for given in (own, taps, bad):
        cells = oracle.cells(given, *case, channels_last=last)
        for duplicates in ("last", "sum"):
            named = arguments | {"duplicates": duplicates, "validate": given is not bad}
            guarded = Guarded(x.shape, dtype, 1, cuda)
            read = given.astype(index_dtype)
            cuda.run(there, up, read, **named, output_size=case.size, out=guarded.array)
            wanted = oracle.dropped(up, cells, cells >= 0, case.size, duplicates, False, last)
            (assert_same_numbers if duplicates == "sum" else assert_same_bits)(guarded.written(), wanted)
            assert guarded.intact()
            wanted = oracle.dropped(down, cells, cells >= 0, case.size, duplicates, True, last)
            assert_same_bits(cuda.call(back, down, read, **named), wanted)
    position = next(list(at) for at in np.ndindex(bad.shape) if cells[at] < 0)
    for function, array, size in ((there, up, {"output_size": case.size}), (back, down, {})):
        with pytest.raises(IndexError, match=re.escape(f"indices{position} = {bad[tuple(position)]} is no tap")):
            cuda.run(function, array, bad.astype(index_dtype), **arguments, **size)


def check_many_taps(cuda):
    """The last of 256 taps is no -1, and a window may have more taps than 32 bits count."""
    taps = np.full((1, 1, 1, 1), -1, "int8")
    with pytest.raises(IndexError, match=re.escape("indices[0, 0, 0, 0] = -1 is no tap")):
        cuda.run(unpool.max_unpool2d, np.ones(taps.shape), taps, 16, index_format="window")
    x = np.arange(12, dtype="float32").reshape(1, 3, 4)
    named = {"kernel_size": 70_000, "stride": 2, "padding": "same", "return_indices": True, "index_format": "window"}
    actual = cuda.call(unpool.max_pool2d, x, **named)
    for ours, expected in zip(actual, unpool.max_pool2d(x, **named), strict=True):
        assert_same_bits(ours, expected)


def battery(cuda):
    """Raise if anything is not as the contract has it, with positions in the plane."""
    with cuts(cuda) as (job, cut):
        check_host(cuda)
        check_pooling(cuda)
        job.LEAST_THREADS_EACH, job.TILE = 1, 32  # tiles of several rows, also of float16
        cut(64 << 10, 2**31)
        for name in ("whole units", "parts of units", "dilated", "whole units, volume"):
            for data_format in FORMATS:
                check(cuda, SMALL[name], data_format, "float16")
        check_past_the_plane(cuda)
        job.MOST_WINDOWS_PER_CELL = 0  # no tiles from here on
        cut(2 << 10, 2**31)
        for case in SMALL.values():
            for data_format in FORMATS:
                check(cuda, case, data_format, "float16")
        check_past_the_plane(cuda)
        check_left_over(cuda)
        check_wrapped(cuda)
        check(cuda, SMALL["touching"], "channels_first", "bool", "int32")
        check(cuda, SMALL["overlap"], "channels_first", "float64", "int32")


def battery_of_taps(cuda):
    """Raise if anything is not as the contract has it, with taps of windows."""
    with cuts(cuda) as (job, cut):
        check_many_taps(cuda)
        for name in ("squares", "squares and gaps", "gaps and padding", "volume of gaps"):
            for data_format in FORMATS:
                check_taps(cuda, SMALL[name], data_format, "float16", "uint8")
        job.LEAST_THREADS_EACH, job.TILE = 1, 32
        cut(64 << 10, 2**31)
        for most in (job.MOST_WINDOWS_PER_CELL, 0):  # tiles, then none
            job.MOST_WINDOWS_PER_CELL = most
            for name in ("whole units", "dilated", "overlap, volume"):
                for data_format in FORMATS:
                    check_taps(cuda, SMALL[name], data_format, "float16", "int64")


@contextmanager
def cuts(cuda):
    """Yield the module `job`, and a function that sets the sizes of cuts; restore all of it afterwards."""
    knobs = cuda.cupy.cuda_on_cpu
    from unpool_backends.cuda import _device_of, job

    names = "STAGE", "LEAST_STAGE", "NEAR", "WIDE", "MOST_WINDOWS_PER_CELL", "LEAST_THREADS_EACH", "TILE"
    kept = {name: getattr(job, name) for name in names}
    attributes, patience = dict(knobs.attributes), knobs.patience
    knobs.patience = 2**25  # a bug may be one that never ends

    def cut(shared, wide):
        for cache in (job.pool, job.scatter, job.gather, _device_of):
            cache.cache_clear()
        job.STAGE, job.LEAST_STAGE, job.NEAR, job.WIDE = shared // 2, 256, shared // 4, wide
        knobs.attributes.update(MaxSharedMemoryPerBlockOptin=shared, MultiProcessorCount=1)

    try:
        yield job, cut
    finally:
        knobs.attributes.update(attributes)
        knobs.patience = patience
        for name, value in kept.items():
            setattr(job, name, value)
        for cache in (job.pool, job.scatter, job.gather, _device_of):
            cache.cache_clear()


# --- planting ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cuda(request):
    if not request.config.getoption("--cuda-on-cpu"):
        pytest.skip("bugs are planted in what runs on the CPU: --cuda-on-cpu")
    return CuPyArrays()


@pytest.fixture
def plant(cuda, monkeypatch):
    """A function that puts a text in the place of another for the time of a test; the modules are made anew."""
    import unpool_backends.cuda
    from unpool_backends.cuda import job, kernels

    real = kernels.source
    yield lambda file, text, planted: _plant(monkeypatch, file, text, planted)
    monkeypatch.undo()
    for module in (job, unpool_backends.cuda):
        _execute(module, Path(module.__file__).read_text(encoding="utf-8"))
    kernels.source = real
    _renew(kernels)


def _plant(monkeypatch, file, text, planted):
    from unpool_backends.cuda import kernels

    source = files(kernels._PACKAGES.get(file, "unpool_backends.cuda")).joinpath(file).read_text(encoding="utf-8")
    assert source.count(text) == 1, f"{text!r} stands {source.count(text)} times in {file}"
    changed = source.replace(text, planted)
    if file.endswith(".py"):
        suffix = "" if file == "__init__.py" else f".{file[:-3]}"
        _execute(sys.modules[f"unpool_backends.cuda{suffix}"], changed)
    else:
        with_it = kernels.source().replace(kernels.source(file), kernels.expand(changed))
        monkeypatch.setattr(kernels, "source", lambda: with_it)
    _renew(kernels)


def _execute(module: ModuleType, source):
    exec(compile(source, module.__file__, "exec"), module.__dict__)
    if module.__name__ == "unpool_backends.cuda":
        unpool.registry.LOADED["cuda"] = module.BACKEND


def _renew(kernels):
    kernels.kernel.cache_clear()


@pytest.mark.parametrize("battery", [battery, battery_of_taps])
def test_nothing_is_caught_where_nothing_is_planted(cuda, battery):
    battery(cuda)


@pytest.mark.one_in(24)  # a compiler runs for each bug, for seconds
@pytest.mark.parametrize(
    ("bug", "battery"),
    [*product(BUGS.values(), [battery]), *product(BUGS_OF_TAPS.values(), [battery_of_taps])],
    ids=[*BUGS, *BUGS_OF_TAPS],
)
def test_a_planted_bug_is_caught(cuda, plant, bug, battery):
    plant(*bug)
    with pytest.raises((Exception, pytest.fail.Exception)) as caught:
        battery(cuda)
    # What does not compile was never planted.
    assert not isinstance(caught.value, (cuda.cupy.cuda.compiler.CompileException, NameError, SyntaxError, TypeError))
