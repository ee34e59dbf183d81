"""Write the vectors of unpool.testing: ``write_vectors.py [FOLDER]``; the default is unpool/testing/vectors.

The answers come from the oracle, and nothing here calls a backend.  Values come from Python's `random`, whose numbers
are the same in every version.  README.md in that folder describes the format.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unpool.testing import oracle
from unpool.testing.arrays import Array
from unpool.testing.cases import INTEGERS, POSITIONS, REALS, VALUES, Pooling, arranged, pooling, special
from unpool.testing.vectors import word

FOLDER = Path(__file__).parents[1] / "unpool" / "testing" / "vectors"
GEOMETRIES = {
    "row": pooling((6,), 2),
    "row, overlap and padding": pooling((7,), 3, 2, 1),
    "row, gaps": pooling((8,), 2, 3),
    "row, ceil_mode": pooling((6,), 3, 2, ceil_mode=True),
    "even": pooling((4, 6), 2),
    "odd": pooling((5, 3), 2),
    "overlap": pooling((4, 5), 3, 1),
    "overlap and padding": pooling((5, 4), 3, 2, 1),
    "gaps": pooling((5, 5), (2, 1), (3, 2)),
    "dilation": pooling((5, 6), (3, 2), (1, 2), 0, (2, 3)),
    "ceil_mode": pooling((4, 6), 3, 2, ceil_mode=True),
    "same": pooling((5, 4), 3, 2, "same"),
    "same_lower": pooling((5, 4), (2, 3), 2, "same_lower"),
    "padding before or after": pooling((4, 5), 3, 2, ((1, 0), (0, 2))),
    "volume": pooling((2, 4, 4), 2),
    "volume, overlap and padding": pooling((3, 2, 4), 2, 1, (1, 0, 1)),
    "volume, same": pooling((3, 3, 2), (2, 3, 2), (2, 1, 1), "same"),
    "volume, dilation, ceil_mode": pooling((4, 3, 4), 2, (1, 2, 3), (0, 1, 1), (3, 2, 1), ceil_mode=True),
}
PLANE, TAPS = "plane", "window"
FIRST, LAST = "channels_first", "channels_last"


# Summands whose sums are no NaN, since the payload of a new NaN depends on the processor.
FINITE = np.array([-0.0, 0.0, 1.0, -2.0, 3.0, 0.5])

Case = dict[str, Any]


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for operation in (max_pool, max_unpool, max_unpool_backward, max_pool_backward, take_along_plane):
        lines = ",\n".join([json.dumps(case, separators=(",", ":")) for case in operation()])
        (folder / f"{operation.__name__}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8", newline="\n")


class Problem(NamedTuple):
    """Indices of a pooling, and what they mean."""

    name: str
    case: Pooling
    index_format: str
    data_format: str
    indices: Array

    @property
    def last(self) -> bool:
        return self.data_format == LAST

    @property
    def plane_shape(self) -> tuple[int, ...]:
        rank, shape = self.case.rank, self.indices.shape
        leading = (*shape[: -rank - 1], shape[-1]) if self.last else shape[:-rank]
        return self.case.shape(leading, self.data_format)

    @property
    def arguments(self) -> dict[str, Any]:
        return window(self.case) | {"data_format": self.data_format, "index_format": self.index_format}

    @property
    def cells(self) -> Array:
        """Return the cell that each index names, or -1 for a bad one."""
        if self.index_format == TAPS:
            return oracle.cells(self.indices, *self.case, channels_last=self.last)
        return inside(self.indices, math.prod(self.case.size))


# --- the operations ---------------------------------------------------------------------------------------------------


def max_pool() -> Iterator[Case]:
    for name, case, index_format, data_format, leading in variants():
        x = some(special("float32"), case.shape(leading, data_format), name)
        yield pooled(name, case, x, index_format, data_format)
    for dtype in REALS:
        yield pooled(dtype.name, GEOMETRIES["even"], some(special(dtype), (2, 1, 4, 6), dtype.name), PLANE, FIRST)
    yield pooled("no samples", GEOMETRIES["even"], np.zeros((0, 2, 4, 6), "float32"), PLANE, FIRST)


def max_unpool() -> Iterator[Case]:
    for variant in variants():
        problem = problem_of(*variant)
        yield unpooled(problem, some(special("float32"), problem.indices.shape, problem.name), "last")
        if problem.index_format == PLANE:
            yield unpooled(problem, some(FINITE, problem.indices.shape, problem.name).astype("float32"), "sum")
    case = GEOMETRIES["overlap and padding"]
    for dtype in VALUES:
        problem = problem_of(dtype.name, case, PLANE, FIRST, (2, 1))
        yield unpooled(problem, some(special(dtype), problem.indices.shape, dtype.name), "last")
        yield unpooled(problem, summands(dtype, problem.indices.shape, dtype.name), "sum")
    for index_format, dtypes in ((PLANE, POSITIONS), (TAPS, INTEGERS)):
        for dtype in dtypes:
            name = f"{dtype.name} indices, {index_format}"
            problem = problem_of(name, case, index_format, LAST, (1, 2), dtype.name)
            yield unpooled(problem, some(special("float16"), problem.indices.shape, name), "last")
    for problem in wrong():
        yield refused(unpooled(problem, some(FINITE, problem.indices.shape, problem.name).astype("float16"), "error"))
    for problem in unique():
        yield unpooled(problem, some(special("float32"), problem.indices.shape, problem.name), "error")
    for name, plane in (("no window", (3, 4)), ("no window, more values than cells", (2, 1))):
        indices = some(np.arange(math.prod(plane)), (1, 2, 2, 2), name)
        values = some(special("float32"), indices.shape, name)
        arguments = {"kernel_size": None, "data_format": FIRST, "duplicates": "last", "output_size": list(plane)}
        outputs = {"output": oracle.max_unpool(values, indices, plane)}
        yield entry(name, 2, arguments, {"input": values, "indices": indices}, outputs)


def max_unpool_backward() -> Iterator[Case]:
    for variant in variants():
        problem = problem_of(*variant)
        grad = some(special("float32"), problem.plane_shape, problem.name)
        yield gathered(problem, grad, "last" if problem.index_format == PLANE else "sum")
    for problem in wrong():
        yield refused(gathered(problem, some(FINITE, problem.plane_shape, problem.name).astype("float16"), "error"))
    for problem in unique():
        yield gathered(problem, some(special("float32"), problem.plane_shape, problem.name), "error")


def max_pool_backward() -> Iterator[Case]:
    for variant in variants():
        problem = problem_of(*variant)
        yield added(problem, some(FINITE, problem.indices.shape, problem.name).astype("float32"))
    for dtype in REALS:
        problem = problem_of(dtype.name, GEOMETRIES["overlap and padding"], PLANE, FIRST, (2, 1))
        yield added(problem, summands(dtype, problem.indices.shape, dtype.name))


def take_along_plane() -> Iterator[Case]:
    for (plane, wanted), data_format in product([((3, 4), (2, 2)), ((2, 2), (3, 4))], [FIRST, LAST]):
        name = f"{wanted[0]} x {wanted[1]} indices of {plane[0]} x {plane[1]} cells, {data_format}"
        x = some(special("float32"), arranged((1, 2), plane, data_format), name)
        indices = some(np.arange(math.prod(plane)), arranged((1, 2), wanted, data_format), name)
        # With "sum", the gradient of unpooling is the value at each index.
        values = oracle.max_unpool_backward(x, indices, 2, "sum", data_format == LAST)
        yield entry(name, 2, {"data_format": data_format}, {"input": x, "indices": indices}, {"output": values})
        bad = indices.copy()
        bad.reshape(-1)[[2, 5]] = math.prod(plane), -1
        error = error_of(bad, inside(bad, math.prod(plane)), 2, data_format, "last")
        yield entry(f"{name}, bad", 2, {"data_format": data_format}, {"input": x, "indices": bad}, error=error)


# --- cases ------------------------------------------------------------------------------------------------------------


def pooled(name: str, case: Pooling, x: Array, index_format: str, data_format: str) -> Case:
    values, indices = case.pool(x, data_format)
    dtype = "int64"
    if index_format == TAPS:
        indices, dtype = oracle.taps(indices, *case, channels_last=data_format == LAST), case.tap_dtype
    arguments = window(case) | {"ceil_mode": case.ceil_mode, "data_format": data_format}
    arguments |= {"index_format": index_format, "index_dtype": dtype}
    return entry(name, case.rank, arguments, {"input": x}, {"output": values, "indices": indices.astype(dtype)})


def unpooled(problem: Problem, values: Array, duplicates: str) -> Case:
    name, rank = f"{problem.name}, {duplicates}", problem.case.rank
    arguments = problem.arguments | {"duplicates": duplicates, "output_size": list(problem.case.size)}
    inputs = {"input": values, "indices": problem.indices}
    if error := error_of(problem.indices, problem.cells, rank, problem.data_format, duplicates):
        return entry(name, rank, arguments, inputs, error=error)
    output = oracle.max_unpool(values, problem.cells, problem.case.size, duplicates, problem.last)
    return entry(name, rank, arguments, inputs, {"output": output})


def gathered(problem: Problem, grad: Array, duplicates: str) -> Case:
    name, rank = f"{problem.name}, {duplicates}", problem.case.rank
    arguments = problem.arguments | {"duplicates": duplicates}
    inputs = {"grad_output": grad, "indices": problem.indices}
    if error := error_of(problem.indices, problem.cells, rank, problem.data_format, duplicates):
        return entry(name, rank, arguments, inputs, error=error)
    output = oracle.max_unpool_backward(grad, problem.cells, rank, duplicates, problem.last)
    return entry(name, rank, arguments, inputs, {"output": output})


def added(problem: Problem, grad: Array) -> Case:
    arguments = problem.arguments | {"input_size": list(problem.case.size)}
    output = oracle.max_pool_backward(grad, problem.cells, problem.case.size, problem.last)
    inputs = {"grad_output": grad, "indices": problem.indices}
    return entry(problem.name, problem.case.rank, arguments, inputs, {"output": output})


def refused(case: Case) -> Case:
    assert "error" in case, case["name"]
    return case


def entry(
    name: str,
    rank: int,
    arguments: dict[str, Any],
    inputs: dict[str, Array],
    outputs: dict[str, Array] | None = None,
    error: dict[str, Any] | None = None,
) -> Case:
    """Return a case as the files hold it."""
    case = {"name": name, "spatial_dimensions": rank, "arguments": arguments, "inputs": written(inputs)}
    return case | ({"error": error} if outputs is None else {"outputs": written(outputs)})


def written(arrays: dict[str, Array]) -> dict[str, Any]:
    entries = {}
    for name, array in arrays.items():
        stored = word(array.dtype)
        data = np.ascontiguousarray(array).view(stored.newbyteorder("=")).astype(stored).tobytes().hex()
        entries[name] = {"dtype": array.dtype.name, "shape": list(array.shape), "data": data}
    return entries


def window(case: Pooling) -> dict[str, Any]:
    padding = [list(side) if isinstance(side, tuple) else [side, side] for side in case.padding]
    return {
        "kernel_size": list(case.kernel),
        "stride": list(case.stride),
        "padding": case.padding[0] if case.same else padding,
        "dilation": list(case.dilation),
    }


def error_of(indices: Array, cells: Array, rank: int, data_format: str, duplicates: str) -> dict[str, Any] | None:
    """Return the error of a call; `cells` has the cell of each index, or -1 for a bad one."""
    bad = next((at for at in np.ndindex(cells.shape) if cells[at] < 0), None)
    if bad is not None:
        return {"kind": "bad index", "position": list(bad), "index": str(indices[bad])}
    repeated = oracle.first_repeated(cells, rank, data_format == LAST) if duplicates == "error" else None
    if repeated is not None:
        return {"kind": "repeated index", "positions": [list(at) for at in repeated]}
    return None


# --- values and indices -----------------------------------------------------------------------------------------------


def variants() -> Iterator[tuple[str, Pooling, str, str, tuple[int, ...]]]:
    """Yield each geometry twice: with positions of a batch, channels first, and with taps, no batch, channels last."""
    for name, case in GEOMETRIES.items():
        yield f"{name}, plane", case, PLANE, FIRST, (1, 2)
        yield f"{name}, window", case, TAPS, LAST, (2,)


def some(choices: Array, shape: tuple[int, ...], seed: str) -> Array:
    """Return an array of random choices; the seed is a text."""
    rng = random.Random(seed)
    chosen = [int(rng.random() * len(choices)) for _ in range(math.prod(shape))]
    return choices[np.array(chosen, np.intp)].reshape(shape)


def summands(dtype: np.dtype[Any], shape: tuple[int, ...], seed: str) -> Array:
    """Return values whose sums round in floats, and wrap in integers."""
    if dtype.kind in "biu":
        return some(special(dtype), shape, seed)
    one = dtype.type(1)
    eps = np.array([2.0**-bits for bits in range(60) if one + dtype.type(2.0**-bits) != one][-1:], dtype)
    return some(np.concatenate([FINITE.astype(dtype), eps, eps + one, eps / dtype.type(2)]), shape, seed)


def problem_of(
    name: str, case: Pooling, index_format: str, data_format: str, leading: tuple[int, ...], dtype: str = ""
) -> Problem:
    """Return random indices: positions anywhere in the plane, or taps inside it."""
    first = valid(name, case, index_format, data_format, leading)
    cells = case.taps if index_format == TAPS else math.prod(case.size)
    drawn = first._replace(indices=some(np.arange(cells), first.indices.shape, name))
    indices = np.where(drawn.cells < 0, first.indices, drawn.indices)
    default = case.tap_dtype if index_format == TAPS else "int32"
    return drawn._replace(indices=indices.astype(dtype or default))


def valid(name: str, case: Pooling, index_format: str, data_format: str, leading: tuple[int, ...]) -> Problem:
    """Return the first cell of each window; none repeats where windows do not overlap."""
    _, indices = case.pool(np.zeros(case.shape(leading, data_format), "uint8"), data_format)
    if index_format == TAPS:
        indices = oracle.taps(indices, *case, channels_last=data_format == LAST)
    return Problem(name, case, index_format, data_format, indices)


def inside(indices: Array, cells: int) -> Array:
    """Return each index as int64, or -1 for one outside of a plane of so many cells."""
    named = [int(index) if 0 <= int(index) < cells else -1 for index in indices.reshape(-1)]
    return np.array(named, "int64").reshape(indices.shape)


def unique() -> list[Problem]:
    """Return indices without a repeat."""
    case = GEOMETRIES["odd"]
    return [valid(f"unique, {form}", case, form, data, (1, 2)) for form, data in ((PLANE, LAST), (TAPS, FIRST))]


def wrong() -> Iterator[Problem]:
    """Yield bad and repeated indices, for planes of 4 x 6 cells and windows of 3 x 3 taps."""
    positions = {
        "int8": [-1, -128, 24],
        "int32": [-1, 24, -(2**31), 2**31 - 1],
        "int64": [-1, 24, 2**32, 2**32 + 3, -(2**63), 2**63 - 1],
        "uint32": [2**32 - 1],
        "uint64": [2**63 + 3, 2**64 - 1],
    }
    taps = {"int8": [-1], "uint8": [9, 255], "uint16": [9, 2**8], "int64": [-1, 2**32 + 4], "uint64": [2**64 - 1]}
    even, overlap = GEOMETRIES["even"], GEOMETRIES["overlap and padding"]
    for index_format, case, numbers in ((PLANE, even, positions), (TAPS, overlap, taps)):
        for (dtype, bad), data_format in product(numbers.items(), [FIRST, LAST]):
            for number in bad:
                name = f"bad, {dtype} {number}, {index_format}, {data_format}"
                problem = valid(name, case, index_format, data_format, (1, 2))
                indices, rng = problem.indices.astype(dtype), random.Random(name)
                for _ in range(2):
                    indices.reshape(-1)[int(rng.random() * indices.size)] = number
                yield problem._replace(indices=indices)
    problem = valid("bad, a tap in the padding", overlap, TAPS, FIRST, (1, 2))
    problem.indices[0, 1, 0, 1] = 1  # the first row of this window is above the plane
    yield problem
    problem = valid("repeated, taps at one cell", overlap, TAPS, FIRST, (1, 2))
    problem.indices[0, 1, 0, :2] = 5, 3  # the cell in row 0, column 1
    yield problem
    for data_format in (FIRST, LAST):
        problem = valid(f"repeated, {data_format}", even, PLANE, data_format, (1, 2))
        planes = np.moveaxis(problem.indices, -1, 1) if data_format == LAST else problem.indices
        planes[0, 1, 1, 2] = planes[0, 1, 0, 0]
        planes[0, 0, 1, 1] = planes[0, 0, 0, 1]
        yield problem._replace(indices=problem.indices.copy())
        planes[0, 1, 1, 1] = 24
        yield problem._replace(name=f"repeated, and then bad, {data_format}")


if __name__ == "__main__":
    main()
