"""Compare unpool on TensorFlow tensors with the usual alternatives: eagerly, in a graph, and under XLA.

    python benchmarks/tensors.py [--quick] [--rounds 3] [--threads N] [--keep-memory] [--json FILE]

tf.scatter_nd                       the recipe that people copy since 2016; positions in the whole array are precomputed
tf.scatter_nd, from plane indices   the same recipe; the time includes computing positions from unpool's indices
Addons' formula                     MaxUnpooling2D of TensorFlow Addons: positions of four coordinates each
tf.nn.max_pool_with_argmax          pooling with indices; XLA has no kernel for it

Every round runs one process per peer, one after the other, with the same number of threads.  A figure in the Markdown
table is the median, over the rounds, of each process's median.  Before a call is timed, its result is compared with
unpool's on NumPy arrays.  If it differs, the report names the call and has no time.  A call ends when an element of
each result has been read.

A new output of 103 MB costs 40 to 50 ms of page faults: TensorFlow uses glibc's malloc, which maps and unmaps it at
every call.  Only unpool's eager results reuse memory.  With --keep-memory, glibc keeps freed memory in every process,
as jemalloc or tcmalloc would.  So the times are those of the computation.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from math import prod
from typing import Any, Final, NamedTuple, TypeAlias

import unpool
from unpool import convert_indices
from unpool.__main__ import as_program, new_file, positive, show
from unpool.bench import measure
from unpool.bench.cases import Array, Case, Data
from unpool.bench.peers import Call, Peer
from unpool.bench.report import Report, medians, start, table, usable_cores

SECONDS = 1.0  # a call, in each process
QUICK = 0.3
LAST: Final = "channels_last"
CASES = (
    Case("unpool k2", "unpool", data_format=LAST),
    Case("unpool k2 and gradient", "unpool_backward", data_format=LAST),
    Case("pool k2", "pool", data_format=LAST),
    Case("pool k3 s2", "pool", kernel=3, stride=2, data_format=LAST),
)
MODES: dict[str, Callable[[Any, Any], Any]] = {
    "eager": lambda tf, function: function,
    "tf.function": lambda tf, function: tf.function(function),
    "jit_compile=True": lambda tf, function: tf.function(function, jit_compile=True),
}
KEEPING = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "10000000000",
    "MALLOC_TOP_PAD_": "500000000",
}


# --- the peers --------------------------------------------------------------------------------------------------------


class Work(NamedTuple):
    """A function of tensors, its arguments as arrays, and a conversion of its result to arrays like unpool's."""

    function: Callable[..., Any]
    inputs: tuple[Array, ...]
    arrays: Callable[[Any], Any] = lambda result: result.numpy()
    xla: bool = True


# Takes TensorFlow and the arrays of a case; returns None if the peer lacks the operation.
Worker: TypeAlias = "Callable[[Any, Data], Work | None]"


def of_unpool(tf: Any, data: Data) -> Work:
    case = data.case

    def scatter(values: Any, indices: Any) -> Any:
        return unpool.max_unpool2d(values, indices, case.kernel, case.stride, data_format=LAST)

    def pool(plane: Any) -> Any:
        return unpool.max_pool2d(plane, case.kernel, case.stride, return_indices=True, data_format=LAST)

    if case.operation == "pool":
        return Work(pool, (data.plane,), lambda result: tuple(tensor.numpy() for tensor in result))
    return Work(scatter, (data.values, data.indices))


def of_scatter(tf: Any, data: Data) -> Work | None:
    if data.case.operation == "pool":
        return None
    shape = data.plane.shape
    flat = convert_indices(data.indices, "plane", "tensorflow_batch", output_size=shape, data_format=LAST)
    return Work(partial(recipe, tf, shape), (data.values, flat.reshape(-1, 1)))


def of_scatter_from_planes(tf: Any, data: Data) -> Work | None:
    if data.case.operation == "pool":
        return None
    shape = batch, height, width, channels = data.plane.shape

    def scatter(values: Any, indices: Any) -> Any:
        corners = tf.range(batch, dtype=indices.dtype)[:, None, None, None] * (height * width)
        flat = (indices + corners) * channels + tf.range(channels, dtype=indices.dtype)
        return recipe(tf, shape, values, tf.reshape(flat, [-1, 1]))

    return Work(scatter, (data.values, data.indices))


def recipe(tf: Any, shape: tuple[int, ...], values: Any, flat: Any) -> Any:
    return tf.reshape(tf.scatter_nd(flat, tf.reshape(values, [-1]), [prod(shape)]), shape)


def of_addons(tf: Any, data: Data) -> Work | None:
    if data.case.operation == "pool":
        return None
    shape = batch, _, width, channels = data.plane.shape
    mask = convert_indices(data.indices, "plane", "tensorflow", output_size=shape, data_format=LAST)

    def scatter(values: Any, mask: Any) -> Any:
        mask = tf.cast(mask, tf.int32)
        every = tf.ones_like(mask)
        coordinates = [
            every * tf.range(batch)[:, None, None, None],
            mask // (width * channels),
            mask // channels % width,
            every * tf.range(channels),
        ]
        positions = tf.transpose(tf.reshape(tf.stack(coordinates), [4, -1]))
        return tf.scatter_nd(positions, tf.reshape(values, [-1]), shape)

    return Work(scatter, (data.values, mask))


def of_argmax(tf: Any, data: Data) -> Work | None:
    case, (kernel, stride, _) = data.case, data.case.window
    if case.operation != "pool":
        return None

    def pool(plane: Any) -> Any:
        return tf.nn.max_pool_with_argmax(plane, [1, *kernel, 1], [1, *stride, 1], "VALID", output_dtype=tf.int64)

    def arrays(result: Any) -> tuple[Array, Array]:
        values, argmax = (tensor.numpy() for tensor in result)
        convention = {"output_size": data.plane.shape, "data_format": LAST}
        return values, convert_indices(argmax, "tensorflow", "plane", **convention)

    return Work(pool, (data.plane,), arrays, xla=False)


WORKERS: dict[str, Worker] = {
    "unpool": of_unpool,
    "tf.scatter_nd": of_scatter,
    "tf.scatter_nd, from plane indices": of_scatter_from_planes,
    "Addons' formula": of_addons,
    "tf.nn.max_pool_with_argmax": of_argmax,
}
PEERS = {
    name: Peer(
        needs=("tensorflow", "numpy", "unpool"),
        install="tensorflow",
        columns=(name,),
        program=f"import tensors; tensors.serve({name!r})",
    )
    for name in WORKERS
}


# --- the process of a peer --------------------------------------------------------------------------------------------


def serve(name: str) -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(int(os.environ["OMP_NUM_THREADS"]))
    tf.config.threading.set_inter_op_parallelism_threads(1)
    measure.serve(partial(calls, tf, name))


def calls(tf: Any, name: str, data: Data) -> dict[str, Call]:
    """Return the calls of a peer on a case, by column: its name and the mode."""
    work = WORKERS[name](tf, data)
    if work is None:
        return {}
    if data.case.operation == "unpool_backward":
        work = with_gradient(tf, work, data.plane)
    tensors = [tf.constant(array) for array in work.inputs]

    def call(function: Callable[..., Any]) -> Call:
        def run() -> Any:
            result = function(*tensors)
            for tensor in tf.nest.flatten(result):
                tensor[0, 0, 0, 0].numpy()
            return result

        return Call(run, work.arrays)

    modes = {mode: make for mode, make in MODES.items() if work.xla or mode != "jit_compile=True"}
    return {column(name, mode): call(make(tf, work.function)) for mode, make in modes.items()}


def with_gradient(tf: Any, work: Work, upstream: Array) -> Work:
    """Return the work of a training step: forward and backward."""

    def both(values: Any, indices: Any, upstream: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(values)
            planes = work.function(values, indices)
        # Return the planes, too: the gradient does not use them, so a graph would prune them.
        return planes, tape.gradient(planes, values, upstream)

    return Work(both, (*work.inputs, upstream), lambda result: result[1].numpy())


def column(name: str, mode: str) -> str:
    return f"{name}, {mode}"


# --- the command ------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--quick", action="store_true", help="one round, and less time for each call")
    add("--rounds", type=positive, metavar="N", help="(default: 3, or 1 with --quick)")
    add("--threads", type=positive, default=usable_cores(), metavar="N", help="threads per peer (default: the cores)")
    add("--keep-memory", action="store_true", help="let glibc keep freed memory, in every process")
    add("--json", type=new_file, metavar="FILE", help="write every run to a file")
    options = parser.parse_args()
    if not find_spec("tensorflow"):
        sys.exit("TensorFlow is not installed: pip install tensorflow")
    report = start(CASES, options.threads)
    if options.keep_memory:
        report["load"] = ", with freed memory kept"
        os.environ.update(KEEPING)  # for the peers' processes: glibc reads it when a process starts
    for _ in range(options.rounds or (1 if options.quick else 3)):
        measure.add_round(report, PEERS, QUICK if options.quick else SECONDS)
    show(markdown(report), report, options.json)


def markdown(report: Report) -> str:
    """Return the report with a row for each peer on a case, and a column for each mode."""
    rows: dict[str, dict[str, str]] = {}
    for case, times in medians(report).items():
        for name in WORKERS:
            if cells := {mode: cell(times, name, mode) for mode in MODES if column(name, mode) in times}:
                rows[f"{case}: {name}"] = cells
    columns = {mode: {row: cells[mode] for row, cells in rows.items() if mode in cells} for mode in MODES}
    problems = [[answer for answer in answers if "problem" in answer] for answers in report["rounds"]]
    # The rows and columns are different from other benchmarks; the head and the notes below are the same.
    return table(report | {"cases": [{"name": row} for row in rows], "columns": [], "rounds": problems}, **columns)


def cell(times: Mapping[str, float], name: str, mode: str) -> str:
    time, ours = times[column(name, mode)], times.get(column("unpool", mode))
    return f"{time:.1f}" + (f" ({time / ours:.2f}x)" if ours and name != "unpool" else "")


if __name__ == "__main__":
    as_program(main)
